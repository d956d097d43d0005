//! What the server tells of itself and of others, and where it is shown.

use super::*;

fn presence(net: &Net, nick: &str, there: bool) -> impl Fn(&Inbound) -> bool {
    let from = net.address(&format!("{nick}%net"));
    move |e: &Inbound| e.from == from && matches!(e.event, Event::Presence { available, .. } if available == there)
}

#[tokio::test]
async fn contacts_that_the_servers_list_has_no_place_for_are_asked_for() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    for nick in ["abram", "benvolio", "juliet"] {
        net.host.add_contact(&USER.into(), format!("{nick}%net").as_str().into(), None);
    }
    let session = net.session();
    session.send(net.address("#c%net"), join("romeo"));
    let mut client = stage.welcome("MONITOR=2").await;
    assert_eq!(client.expect("MONITOR").await, "MONITOR + abram,benvolio");
    assert_eq!(client.expect("ISON").await, "ISON juliet");
    client.send(":irc.test 730 romeo :abram!a@v").await;
    net.host.emitted("he is there", presence(&net, "abram", true)).await;
    client.send(":irc.test 303 romeo :juliet").await;
    net.host.emitted("she is there", presence(&net, "juliet", true)).await;
    // One more; and one less, whose place the next one gets.
    session.send(net.address("mercutio%net"), Intent::Subscribe { status: None });
    assert_eq!(client.expect("ISON").await, "ISON juliet mercutio");
    client.send(":irc.test 303 romeo :juliet").await;
    session.send(net.address("abram%net"), Intent::Unsubscribe);
    assert_eq!(client.expect("MONITOR").await, "MONITOR - abram");
    session.send(net.address("tybalt%net"), Intent::Subscribe { status: None });
    assert_eq!(client.expect("MONITOR").await, "MONITOR + tybalt");
    // The list was full already, for a line that was typed by hand perhaps.
    client.send(":irc.test 734 romeo 2 tybalt :Monitor list is full.").await;
    assert_eq!(client.expect("ISON").await, "ISON juliet mercutio tybalt");
    client.send(":irc.test 303 romeo :juliet tybalt").await;
    net.host.emitted("he is there", presence(&net, "tybalt", true)).await;
    assert!(!net.host.emits().iter().any(|e| presence(&net, "juliet", false)(e)));
    session.stop().await.expect("stops");
}

/// What is told of contacts: nick, there, away.
async fn seen(net: &Net, client: &mut Client) -> Vec<(String, bool, bool)> {
    client.send("PING :sync").await;
    client.expect("PONG :sync").await;
    let seen = net.host.take_emits().into_iter().filter_map(|e| match e.event {
        Event::Presence { available, away, .. } => {
            let Address::Contact(id) = e.from else { panic!("a contact") };
            Some((id.as_str().replace("%net", ""), available, away))
        }
        Event::Notice { text, .. } => panic!("nobody has asked: {text}"),
        _ => None,
    });
    seen.collect()
}

fn is(nick: &str, there: bool, away: bool) -> (String, bool, bool) {
    (nick.to_owned(), there, away)
}

#[tokio::test]
async fn contacts_who_come_are_asked_about_being_away() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    for nick in ["abram", "[ben]", "juliet"] {
        net.host.add_contact(&USER.into(), format!("{nick}%net").as_str().into(), None);
    }
    let session = net.session();
    session.send(net.address("#c%net"), join("romeo"));
    let mut client = stage.welcome("MONITOR=2").await;
    client.admit("#c", "romeo nurse").await;
    client.expect("ISON juliet").await;
    net.host.emitted("the end of the join", |e| e.event == Event::Room(RoomChange::Joined)).await;
    net.host.take_emits();
    // By the server's own list …
    client.send(":irc.test 730 romeo :Abram!a@v,[ben]!b@v").await;
    client.expect("USERHOST Abram [ben]").await;
    client.send(":irc.test 302 romeo :Abram=-a@v [ben]=+b@v").await;
    assert_eq!(
        seen(&net, &mut client).await,
        [is("abram", true, false), is("[ben]", true, false), is("abram", true, true)]
    );
    // … and where it is asked.
    client.send(":irc.test 303 romeo :Juliet").await;
    while client.expect("USERHOST ").await != "USERHOST juliet" {}
    client.send(":irc.test 302 romeo :Abram=-a@v [ben]=+b@v").await;
    client.send(":irc.test 302 romeo :Juliet*=-j@k ").await;
    assert_eq!(seen(&net, &mut client).await, [is("juliet", true, false), is("juliet", true, true)]);
    // Nothing says who is back: that is asked again when the server asks whether we are there.
    client.expect("USERHOST abram {ben}").await;
    client.send(":irc.test 302 romeo :Abram=+a@v").await;
    assert_eq!(seen(&net, &mut client).await, [is("abram", true, false)]);
    // What is typed is answered to who has typed it, and bans are of those who are meant.
    session.send(net.address("net"), Intent::Raw { line: "USERHOST nurse".to_owned() });
    client.expect("USERHOST nurse").await;
    let ban = Intent::Ban { mask: "nurse".to_owned(), on: true, reason: None };
    session.send(net.address("#c%net"), ban);
    client.expect("USERHOST nurse").await;
    client.send(":irc.test 302 romeo :nurse=+n@verona").await;
    client.expect("MODE #c +b *!*@verona").await;
    client.send(":irc.test 302 romeo :nurse=+n@verona").await;
    net.told("the answer", |t| t.to_string().contains("nurse=+n@verona")).await;
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn however_many_contacts_there_are_all_are_asked_for() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let all: Vec<String> = (10..90).map(|n| format!("montague{n}")).collect();
    for nick in &all {
        net.host.add_contact(&USER.into(), format!("{nick}%net").as_str().into(), None);
    }
    let session = net.session();
    session.send(net.address("#c%net"), join("romeo"));
    let mut client = stage.welcome("").await;
    let mut asked: Vec<Vec<String>> = Vec::new();
    while asked.iter().flatten().count() < all.len() {
        let line = client.expect("ISON ").await;
        assert!(line.len() <= 510, "{line}");
        asked.push(line.split(' ').skip(1).map(str::to_owned).collect());
    }
    assert_eq!(asked.iter().flatten().cloned().collect::<Vec<_>>(), all);
    // Each answer is of those that its line asked for.
    for nicks in &asked {
        client.send(&format!(":irc.test 303 romeo :{}", nicks.join(" "))).await;
    }
    net.host.emitted("the last", presence(&net, "montague89", true)).await;
    assert!(!net.host.emits().iter().any(|e| matches!(e.event, Event::Presence { available: false, .. })));
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn who_is_away_again_after_coming_back_is_told_again() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "away-notify", "romeo juliet").await;
    let away = Text::key("away").with("nick", "juliet").with("words", "lunch");
    let told = async |client: &mut Client, what: &str| {
        client.send(":irc.test 301 romeo juliet :lunch").await;
        net.told(what, |text| *text == away).await;
    };
    told(&mut client, "the first time").await;
    // The server says that she is back.
    client.send(":juliet!j@k AWAY").await;
    told(&mut client, "after her return").await;
    // WHOIS says so.
    let script = async {
        client.expect("WHOIS juliet").await;
        for line in ["311 romeo juliet j k * :J", "318 romeo juliet :End"] {
            client.send(&format!(":irc.test {line}")).await;
        }
    };
    let about = isthmus_bridge::Query::About(net.address("juliet%net"));
    let ((), (_, end)) = tokio::join!(script, session.ask(about));
    assert_eq!(end, Ok(()));
    told(&mut client, "after a look at her").await;
    // Or it says nothing when she is spoken to.
    let key = session.send(net.address("juliet%net"), chat("are you there?"));
    client.expect("PRIVMSG juliet").await;
    assert_eq!(failure(&net.host, &key).await, None);
    session.send(net.address("juliet%net"), chat("and now?"));
    client.expect("PRIVMSG juliet").await;
    told(&mut client, "after words that she got").await;
    client.send(":irc.test 301 romeo juliet :lunch").await;
    client.send(":juliet!j@k PRIVMSG romeo :sync").await;
    net.host.emitted("words", |e| matches!(e.event, Event::Message(_))).await;
    assert!(!net.host.emits().iter().any(|e| matches!(&e.event, Event::Notice { .. })), "once for each change");
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn what_a_server_says_to_a_room_is_heard_in_the_room() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    client.send(":irc.test 005 romeo STATUSMSG=@+ :are supported").await;
    let told = async |what: &str| {
        let event = net.host.emitted(what, |e| matches!(e.event, Event::Notice { .. })).await;
        let Event::Notice { text, .. } = &event.event else { panic!("a notice") };
        (event.from.clone(), text.to_string())
    };
    for (target, from, words) in [
        ("#c", "#c%net", "irc.test: *** juliet has changed something"),
        ("@#C", "#c%net", "irc.test: *** juliet has changed something"),
        ("#far", "net", "irc.test: #far: *** juliet has changed something"),
        ("romeo", "net", "irc.test: *** juliet has changed something"),
    ] {
        client.send(&format!(":irc.test NOTICE {target} :*** juliet has changed something")).await;
        assert_eq!(told(target).await, (net.address(from), words.to_owned()));
    }
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn another_host_and_a_login_are_told() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo").await;
    let cases = [
        ("MODE romeo +x", "396 romeo cloak.test :is now your displayed host", "cloak.test is now your displayed host"),
        (
            "NS IDENTIFY x",
            "900 romeo romeo!u@h romeo :You are now logged in as romeo",
            "You are now logged in as romeo",
        ),
    ];
    for (typed, answer, shown) in cases {
        session.send(net.address("net"), Intent::Raw { line: typed.to_owned() });
        client.expect(typed).await;
        client.send(&format!(":irc.test {answer}")).await;
        net.told(typed, |t| t.to_string() == format!("irc.test: {shown}")).await;
    }
    session.stop().await.expect("stops");
}

/// Servers spell nicks in their own way, and take `[` and `{` for one letter.
#[tokio::test]
async fn a_contact_is_seen_under_the_address_that_the_user_has_it_under() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    for nick in ["[foo]", "{bar}"] {
        net.host.add_contact(&USER.into(), format!("{nick}%net").as_str().into(), None);
    }
    let session = net.session();
    session.send(net.address("#c%net"), join("romeo"));
    let mut client = stage.welcome("MONITOR=100").await;
    assert_eq!(client.expect("MONITOR").await, "MONITOR + [foo],{bar}");
    client.send(":irc.test 730 romeo :[Foo]!f@v,[Bar]!b@v").await;
    for nick in ["[foo]", "{bar}"] {
        net.host.emitted("they are there", presence(&net, nick, true)).await;
    }
    session.send(net.address("[baz]%net"), Intent::Subscribe { status: None });
    assert_eq!(client.expect("MONITOR").await, "MONITOR + [baz]");
    client.send(":irc.test 730 romeo :{Baz}!b@v").await;
    net.host.emitted("another one", presence(&net, "[baz]", true)).await;
    client.reset();
    for nick in ["[foo]", "{bar}", "[baz]"] {
        net.host.emitted("nobody is seen any more", presence(&net, nick, false)).await;
    }
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn what_has_no_other_place_is_shown_as_the_networks_words() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    let shown = async |what: &str, expected: &str| {
        let event = net.host.emitted(what, |e| matches!(e.event, Event::Notice { .. })).await;
        let Event::Notice { text, .. } = &event.event else { panic!("a notice") };
        assert_eq!((event.from, text.to_string()), (net.address("net"), expected.to_owned()), "{what}");
    };
    // A login by hand that fails.
    session.send(net.address("net"), Intent::Raw { line: "AUTHENTICATE PLAIN".to_owned() });
    client.expect("AUTHENTICATE PLAIN").await;
    client.send(":irc.test 908 romeo EXTERNAL :are available SASL mechanisms").await;
    shown("the mechanisms", "irc.test: EXTERNAL are available SASL mechanisms").await;
    client.send(":irc.test 904 romeo :SASL authentication failed").await;
    shown("the refusal", "irc.test: SASL authentication failed").await;
    // An invitation to what is no room here.
    client.send(":juliet!j@k INVITE romeo +tomb").await;
    shown("the invitation", "juliet: INVITE romeo +tomb").await;
    // Words in a room into which an operator has put us.
    client.send(":romeo!u@host.test JOIN #far").await;
    net.host.emitted("an invitation", |e| matches!(e.event, Event::Invited { .. })).await;
    client.send(":juliet!j@k PRIVMSG #far :welcome").await;
    shown("her words", "juliet: #far: welcome").await;
    client.send(":juliet!j@k NOTICE #far :to the tomb").await;
    shown("her notice", "juliet: #far: [notice] to the tomb").await;
    client.send(":juliet!j@k PRIVMSG #far :\u{1}ACTION waves\u{1}").await;
    shown("what she does", "juliet: #far: /me waves").await;
    // Of a room in which we are not, nobody tells us.
    client.send(":juliet!j@k PRIVMSG #farther :welcome").await;
    client.send("PING :sync").await;
    client.expect("PONG :sync").await;
    assert!(!net.host.emits().iter().any(|e| matches!(e.event, Event::Notice { .. })), "{:?}", net.host.emits());
    session.stop().await.expect("stops");
}
