//! Joins, members, modes, subjects, lists.

use isthmus_bridge::query::Part;
use isthmus_bridge::room::{Rank, Standing};
use isthmus_bridge::{Query, RoomId};

use super::*;

#[tokio::test]
async fn ten_thousand_names_are_one_event() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let session = net.session();
    session.send(net.address("#c%net"), join("romeo"));
    let mut client = stage.welcome("PREFIX=(ov)@+").await;
    client.expect("JOIN #c").await;
    let mut burst = ":romeo!u@host.test JOIN #c\r\n:irc.test 332 romeo #c :A subject\r\n:irc.test 333 romeo #c juliet!j@k 1700000000\r\n".to_owned();
    for i in 0..1_000 {
        let names: Vec<String> = (0..10).map(|n| format!("@+nick{i}x{n}")).collect();
        burst.push_str(&format!(":irc.test 353 romeo = #c :{}\r\n", names.join(" ")));
    }
    burst.push_str(":irc.test 353 romeo = #c :romeo\r\n:irc.test 366 romeo #c :End\r\n");
    client.raw(burst.as_bytes()).await;
    net.host.emitted("the end of the join", |e| e.event == Event::Room(RoomChange::Joined)).await;
    let view = net.host.host().room(session.of(), &RoomId::from("#c%net"));
    {
        let view = view.lock().expect("nobody panicked");
        assert_eq!((view.standing, view.members().len(), view.nick()), (Standing::Inside, 10_001, "romeo"));
        assert_eq!((view.subject.words.as_str(), view.subject.by.as_deref()), ("A subject", Some("juliet")));
        assert!(view.members()[0].rank.has(Rank::MODERATOR | Rank::VOICE));
    }
    assert!(!net.host.emits().iter().any(|e| e.event == Event::Room(RoomChange::Entered)), "they are in the view");
    session.stop().await.expect("stops");
    assert_eq!(view.lock().expect("nobody panicked").standing, Standing::Outside);
}

#[tokio::test]
async fn refused_joins_say_why() {
    let cases = [
        ("471", Failure::Full),
        ("473", Failure::Forbidden),
        ("474", Failure::Forbidden),
        ("475", Failure::PasswordRequired),
        ("403", Failure::NoSuchRecipient),
        ("405", Failure::OverQuota),
        ("477", Failure::NotRegistered),
        ("499", Failure::Rejected),
    ];
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo").await;
    for (code, expected) in cases {
        let key = session.send(net.address("#x%net"), join("romeo"));
        client.expect("JOIN #x").await;
        client.send(&format!(":irc.test {code} romeo #x :Cannot join channel")).await;
        let error = error(&net.host, &key).await.expect("refused");
        assert_eq!((error.failure, error.code.as_deref()), (expected, Some(code)));
        assert_eq!(error.text, Text::plain("Cannot join channel"));
    }
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_forward_names_the_other_room_and_leaves_it() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo").await;
    session.send(net.address("#old%net"), join("romeo"));
    client.expect("JOIN #old").await;
    client.send(":irc.test 470 romeo #old #new :Forwarding to another channel").await;
    client.send(":romeo!u@host.test JOIN #new").await;
    let event = net.host.emitted("the refusal", |e| matches!(e.event, Event::Room(RoomChange::Refused { .. }))).await;
    let Event::Room(RoomChange::Refused { redirect, .. }) = event.event else { panic!("a refusal") };
    assert_eq!(redirect, Some(RoomId::from("#new%net")));
    client.expect("PART #new").await;
    assert!(!net.host.emits().iter().any(|e| matches!(e.event, Event::Invited { .. })));
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn who_comes_goes_and_changes_is_seen() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "away-notify extended-join", "romeo @juliet").await;
    let host = &net.host;
    let view = host.host().room(session.of(), &RoomId::from("#c%net"));
    let rank = |nick: &str| {
        let view = view.lock().expect("nobody panicked");
        view.members()
            .iter()
            .find(|m| m.nick() == nick)
            .map(|m| (m.rank, m.person.host.clone(), m.person.account.clone()))
    };
    let mercutio = net.occupant("#c%net", "Mercutio");
    let room = async |what: &str, line: &str, client: &mut Client| {
        client.send(line).await;
        host.emitted(what, |e| matches!(e.event, Event::Room(_))).await
    };
    let event = room("an entry", ":Mercutio!m@verona JOIN #c merc :Real", &mut client).await;
    assert_eq!((event.from, event.event), (mercutio.clone(), Event::Room(RoomChange::Entered)));
    let (_, known, account) = rank("Mercutio").expect("inside");
    assert_eq!((known.as_deref(), account.as_deref()), (Some("m@verona"), Some("merc")));

    let event = room("a mode", ":juliet!j@k MODE #c +v-o mercutio juliet", &mut client).await;
    assert_eq!(
        (event.from, event.event),
        (mercutio, Event::Room(RoomChange::Changed { by: Some("juliet".to_owned()) }))
    );
    assert!(rank("Mercutio").expect("inside").0.has(Rank::VOICE));
    assert!(!rank("juliet").expect("inside").0.has(Rank::MODERATOR));
    host.emitted("the other mode", |e| matches!(e.event, Event::Room(RoomChange::Changed { .. }))).await;
    net.told("the mode in words", key_is("mode")).await;

    room("away", ":Mercutio!m@verona AWAY :dead", &mut client).await;
    assert!(rank("Mercutio").expect("inside").0.has(Rank::AWAY));
    let words = || view.lock().expect("nobody panicked").named("Mercutio").and_then(|m| m.person.away.clone());
    assert_eq!(words().as_deref(), Some("dead"));
    room("other words", ":Mercutio!m@verona AWAY :dead for a ducat", &mut client).await;
    assert_eq!(words().as_deref(), Some("dead for a ducat"));
    room("back", ":Mercutio!m@verona AWAY", &mut client).await;
    assert_eq!((words(), rank("Mercutio").expect("inside").0.has(Rank::AWAY)), (None, false));
    let event = room("a nick", ":Mercutio!m@verona NICK ghost", &mut client).await;
    assert_eq!(event.event, Event::Room(RoomChange::Renamed { nick: "ghost".to_owned() }));
    let event = room("a kick", ":juliet!j@k KICK #c ghost :boo", &mut client).await;
    let kicked = RoomChange::Left {
        status: Some("boo".to_owned()),
        how: isthmus_bridge::inbound::Departure::Kicked,
        by: Some("juliet".to_owned()),
    };
    assert_eq!(event.event, Event::Room(kicked));
    let event = room("a quit", ":juliet!j@k QUIT :so long", &mut client).await;
    assert!(matches!(event.event, Event::Room(RoomChange::Left { .. })));
    let event = room("a subject", ":tybalt!t@k TOPIC #c :\x02New\x02", &mut client).await;
    assert!(matches!(event.event, Event::Room(RoomChange::Subject { subject, .. }) if subject == "*New*"));
    let event = room("our own kick", ":tybalt!t@k KICK #c romeo :out", &mut client).await;
    assert_eq!(event.from, net.occupant("#c%net", "romeo"));
    assert_eq!(view.lock().expect("nobody panicked").standing, Standing::Outside);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn orders_wait_for_the_network_and_refusals_are_told() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "@romeo juliet").await;
    let (host, room, juliet) = (&net.host, net.address("#c%net"), net.occupant("#c%net", "juliet"));

    let key = session.send(
        room.clone(),
        Intent::SetRole { who: juliet.clone(), role: None, affiliation: Some("admin".to_owned()), reason: None },
    );
    assert_eq!(client.expect("MODE").await, "MODE #c +o juliet");
    client.send(":romeo!u@host.test MODE #c +o juliet").await;
    assert_eq!(failure(host, &key).await, None);
    let key = session.send(
        room.clone(),
        Intent::SetRole { who: juliet.clone(), role: None, affiliation: Some("member".to_owned()), reason: None },
    );
    assert_eq!(client.expect("MODE").await, "MODE #c -o+v juliet juliet");
    client.send(":irc.test 482 romeo #c :You're not channel operator").await;
    assert_eq!(failure(host, &key).await, Some(Failure::Forbidden));

    let key = session.send(room.clone(), Intent::SetSubject { subject: "two\nlines".to_owned() });
    assert_eq!(client.expect("TOPIC").await, "TOPIC #c :two lines");
    client.send(":romeo!u@host.test TOPIC #c :two lines").await;
    assert_eq!(failure(host, &key).await, None);

    let key = session.send(room.clone(), Intent::Rename { nick: "tybalt".to_owned() });
    client.expect("NICK tybalt").await;
    client.send(":irc.test 433 romeo tybalt :Nickname is already in use").await;
    assert_eq!(failure(host, &key).await, Some(Failure::Conflict));

    let key = session.send(
        room.clone(),
        Intent::Invite { room: RoomId::from("#c%net"), who: net.address("mercutio%net"), reason: None },
    );
    client.expect("INVITE mercutio #c").await;
    client.send(":irc.test 341 romeo mercutio #c").await;
    assert_eq!(failure(host, &key).await, None);

    let key =
        session.send(room.clone(), Intent::Ban { mask: "juliet".to_owned(), on: true, reason: Some("why".to_owned()) });
    assert_eq!(client.expect("USERHOST").await, "USERHOST juliet");
    // What was asked for by hand answers nothing of ours.
    client.send(":irc.test 302 romeo :tybalt=+t@verona.test").await;
    client.send(":irc.test 302 romeo :Juliet*=-~j@capulet.test ").await;
    assert_eq!(client.expect("MODE").await, "MODE #c +b *!*@capulet.test");
    assert_eq!(client.expect("KICK").await, "KICK #c juliet :why");
    client.send(":romeo!u@host.test MODE #c +b *!*@capulet.test").await;
    assert_eq!(failure(host, &key).await, None);
    // What is on the list already is as it was wanted.
    let ban = Intent::Ban { mask: "*!*@capulet.test".to_owned(), on: true, reason: None };
    let key = session.send(room.clone(), ban);
    assert_eq!(client.expect("MODE").await, "MODE #c +b *!*@capulet.test");
    client.send(":irc.test 697 romeo #c *!*@capulet.test b :Channel ban list already contains *!*@capulet.test").await;
    assert_eq!(failure(host, &key).await, None);
    // Whom nobody knows is nobody; a ban of their nick can be lifted.
    let ban = |on| Intent::Ban { mask: "paris%net".to_owned(), on, reason: None };
    let key = session.send(room.clone(), ban(true));
    client.expect("USERHOST paris").await;
    client.send(":irc.test 302 romeo :").await;
    assert_eq!(failure(host, &key).await, Some(Failure::NoSuchRecipient));
    let key = session.send(room.clone(), ban(false));
    client.expect("USERHOST paris").await;
    client.send(":irc.test 302 romeo :").await;
    assert_eq!(client.expect("MODE").await, "MODE #c -b paris!*@*");
    client.send(":romeo!u@host.test MODE #c -b paris!*@*").await;
    assert_eq!(failure(host, &key).await, None);
    let key = session.send(room.clone(), Intent::Remove { who: net.occupant("#c%net", "nobody"), reason: None });
    assert_eq!(failure(host, &key).await, Some(Failure::NoSuchRecipient));

    let values = isthmus_bridge::Values::new()
        .with("muc#roomconfig_moderatedroom", "1")
        .with("muc#roomconfig_roomsecret", "secret")
        .with("muc#roomconfig_maxusers", "5");
    let key = session.send(room, Intent::SetRoomConfig { values });
    assert_eq!(client.expect("MODE").await, "MODE #c +mkl secret 5");
    client.send(":romeo!u@host.test MODE #c +mkl secret 5").await;
    assert_eq!(failure(host, &key).await, None);
    let view = host.host().room(session.of(), &RoomId::from("#c%net"));
    assert_eq!(view.lock().expect("nobody panicked").modes, "+klm secret 5");
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn who_runs_the_network_wears_a_hat() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo Juliet").await;
    let view = net.host.host().room(session.of(), &RoomId::from("#c%net"));
    let operator = |nick: &str| {
        let view = view.lock().expect("nobody panicked");
        view.named(nick).expect("inside").rank.has(Rank::OPERATOR)
    };
    let changed = async |nick: &str| {
        let told = net.host.emitted("a change", |e| matches!(e.event, Event::Room(RoomChange::Changed { .. }))).await;
        assert_eq!(told.from, net.occupant("#c%net", nick));
    };
    for is in [true, false] {
        let script = async {
            client.expect("WHOIS juliet juliet").await;
            client.send(":irc.test 311 romeo Juliet j k * :Juliet Capulet").await;
            if is {
                client.send(":irc.test 313 romeo Juliet :is an IRC operator").await;
            }
            client.send(":irc.test 318 romeo Juliet :End").await;
        };
        let ((), (_, end)) = tokio::join!(script, session.ask(Query::About(net.address("juliet%net"))));
        assert_eq!(end, Ok(()));
        changed("Juliet").await;
        assert_eq!(operator("Juliet"), is);
    }
    for (modes, is) in [("+iwo", true), ("-o+x", false)] {
        client.send(&format!(":romeo!u@host.test MODE romeo {modes}")).await;
        changed("romeo").await;
        assert_eq!(operator("romeo"), is);
    }
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn modes_that_are_known_late_tell_of_roles_alone() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    let view = net.host.host().room(session.of(), &RoomId::from("#c%net"));
    view.lock().expect("nobody panicked").modes.clear();
    client.send(":irc.test 324 romeo #c +mn").await;
    net.host.emitted("who may speak", |e| matches!(e.event, Event::Room(RoomChange::Roles))).await;
    client.send(":irc.test 324 romeo #c +n").await;
    net.host.emitted("a change", |e| matches!(e.event, Event::Room(RoomChange::Settings))).await;
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn questions_are_answered_from_what_the_server_says() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "@romeo +juliet").await;

    let script = async {
        client.expect("WHOIS juliet juliet").await;
        for line in [
            "311 romeo juliet j k * :Juliet Capulet",
            "319 romeo juliet :@#c",
            "317 romeo juliet 42 1700000000 :seconds idle",
            "318 romeo juliet :End",
        ] {
            client.send(&format!(":irc.test {line}")).await;
        }
        client.expect("LIST").await;
        for line in
            ["321 romeo Channel :Users", "322 romeo #big 99 :Subject", "322 romeo #C 3 :Other", "323 romeo :End"]
        {
            client.send(&format!(":irc.test {line}")).await;
        }
        client.expect("MODE #c b").await;
        for line in ["367 romeo #c *!*@bad.test juliet!j@k 1700000000", "368 romeo #c :End"] {
            client.send(&format!(":irc.test {line}")).await;
        }
        client.expect("PRIVMSG juliet :\u{1}VERSION").await;
        client.send(":juliet!j@k NOTICE romeo :\u{1}VERSION quill 1\u{1}").await;
        for absent in ["401 romeo nobody :No such nick", "402 romeo nobody :No such server"] {
            client.expect("WHOIS nobody").await;
            client.send(&format!(":irc.test {absent}")).await;
            client.send(":irc.test 318 romeo nobody :End").await;
        }
    };
    let asking = async {
        let (parts, end) = session.ask(Query::About(net.address("juliet%net"))).await;
        let Part::Facts(facts) = &parts[0] else { panic!("{parts:?}") };
        assert_eq!(
            (facts.get("realname"), facts.get("idle"), facts.get("rooms"), end),
            (Some("Juliet Capulet"), Some("42"), Some("@#c"), Ok(()))
        );
        let (parts, _) = session.ask(Query::Rooms { filter: Some("BIG".to_owned()) }).await;
        assert!(
            matches!(&parts[..], [Part::Room { room, occupants: Some(99), .. }] if room.as_str() == "#big%net"),
            "{parts:?}"
        );
        let (parts, _) = session.ask(Query::Affiliates { room: "#c%net".into(), list: "outcast".to_owned() }).await;
        assert!(
            matches!(&parts[..], [Part::Affiliate { who, note: Some(by), .. }] if who == "*!*@bad.test" && by == "juliet"),
            "{parts:?}"
        );
        let what = isthmus_bridge::query::ProbeKind::Version;
        let (parts, _) = session.ask(Query::Probe { of: net.occupant("#c%net", "juliet"), what }).await;
        assert_eq!(parts, [Part::Words(Text::plain("quill 1"))]);
        for _ in 0..2 {
            let (_, end) = session.ask(Query::About(net.address("nobody%net"))).await;
            assert_eq!(end.expect_err("nobody").failure, Failure::NoSuchRecipient);
        }
        let (parts, _) = session.ask(Query::Affiliates { room: "#c%net".into(), list: "member".to_owned() }).await;
        assert!(matches!(&parts[..], [Part::Affiliate { nick: Some(nick), .. }] if nick == "juliet"), "{parts:?}");
    };
    tokio::join!(script, asking);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_list_is_worth_a_connection_of_its_own() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let session = net.session();
    let script = async {
        let mut client = stage.welcome("").await;
        client.expect("LIST").await;
        client.send(":irc.test 322 romeo #big 99 :Subject").await;
        client.send(":irc.test 323 romeo :End").await;
        client
    };
    let (client, (parts, end)) = tokio::join!(script, session.ask(Query::Rooms { filter: None }));
    assert_eq!((parts.len(), end), (1, Ok(())));
    drop(client);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn contacts_come_and_go_by_monitor() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    net.host.add_contact(&USER.into(), "juliet%net".into(), None);
    net.host.add_contact(&USER.into(), "other%elsewhere".into(), None);
    let session = net.session();
    session.send(net.address("#c%net"), join("romeo"));
    let mut client = stage.accept().await;
    client.register("extended-monitor away-notify", "MONITOR=100").await;
    // Who is in none of our rooms is told of to those who have asked for both.
    for cap in ["extended-monitor", "away-notify"] {
        assert!(client.granted.split(' ').any(|name| name == cap), "{cap}: {}", client.granted);
    }
    assert_eq!(client.expect("MONITOR").await, "MONITOR + juliet");
    let presence = |available, away| move |e: &isthmus_bridge::Inbound| matches!(e.event, Event::Presence { available: a, away: w, .. } if (a, w) == (available, away));
    client.send(":irc.test 730 romeo :Juliet!j@k").await;
    assert_eq!(net.host.emitted("she is there", presence(true, false)).await.from, net.address("juliet%net"));
    client.send(":Juliet!j@k AWAY :asleep").await;
    net.host.emitted("she is away", presence(true, true)).await;
    client.send(":irc.test 731 romeo :juliet").await;
    net.host.emitted("she is gone", presence(false, false)).await;
    session.send(net.address("mercutio%net"), Intent::Subscribe { status: None });
    client.expect("MONITOR + mercutio").await;
    client.send(":irc.test 730 romeo :mercutio!m@k").await;
    net.host.emitted("he is there", presence(true, false)).await;
    client.reset();
    net.host.emitted("nobody is seen", presence(false, false)).await;
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn contacts_are_asked_for_where_the_server_does_not_tell() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    net.host.add_contact(&USER.into(), "juliet%net".into(), None);
    let (session, mut client) = net.inside(&stage, "", "romeo").await;
    assert!(client.seen.iter().any(|l| l == "ISON juliet"), "{:?}", client.seen);
    let presence = |nick: &str, there: bool| {
        let from = net.address(&format!("{nick}%net"));
        move |e: &Inbound| e.from == from && matches!(e.event, Event::Presence { available, .. } if available == there)
    };
    client.send(":irc.test 303 romeo :Juliet").await;
    net.host.emitted("she is there", presence("juliet", true)).await;
    session.send(net.address("mercutio%net"), Intent::Subscribe { status: None });
    assert_eq!(client.expect("ISON").await, "ISON juliet mercutio");
    client.send(":irc.test 303 romeo :Mercutio").await;
    net.host.emitted("he is there", presence("mercutio", true)).await;
    net.host.emitted("she is gone", presence("juliet", false)).await;
    client.send(":mercutio!m@v QUIT :both your houses").await;
    net.host.emitted("he is gone", presence("mercutio", false)).await;
    client.send("PING :x").await;
    assert_eq!(client.expect("ISON").await, "ISON juliet mercutio");
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn roles_and_affiliations_are_the_servers_modes() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let session = net.session();
    session.send(net.address("#c%net"), join("romeo"));
    let mut client = stage.welcome("PREFIX=(qaohv)~&@%+").await;
    client.admit("#c", "~romeo @juliet +nurse tybalt").await;
    client.expect("MODE #c").await;
    client.send(":irc.test 324 romeo #c +m").await;
    net.host.emitted("the room", |e| e.event == Event::Room(RoomChange::Joined)).await;
    let cases = [
        ("tybalt", None, Some("owner"), "+q tybalt"),
        ("tybalt", None, Some("admin"), "+o tybalt"),
        ("tybalt", None, Some("member"), "+v tybalt"),
        // A server that names the highest rank alone says nothing of those below it.
        ("juliet", None, Some("member"), "-oh+v juliet juliet juliet"),
        ("juliet", None, Some("none"), "-ohv juliet juliet juliet"),
        ("nurse", None, Some("none"), "-v nurse"),
        ("tybalt", Some("moderator"), None, "+h tybalt"),
        ("tybalt", Some("participant"), None, "+v tybalt"),
        ("nurse", Some("visitor"), None, "-v nurse"),
    ];
    for (nick, role, affiliation, expected) in cases {
        let intent = Intent::SetRole {
            who: net.occupant("#c%net", nick),
            role: role.map(str::to_owned),
            affiliation: affiliation.map(str::to_owned),
            reason: None,
        };
        let key = session.send(net.address("#c%net"), intent);
        assert_eq!(client.expect("MODE #c ").await, format!("MODE #c {expected}"), "{nick} {role:?} {affiliation:?}");
        client.send(":irc.test 482 romeo #c :No").await; // so that everybody stays what they are
        assert_eq!(failure(&net.host, &key).await, Some(Failure::Forbidden));
    }
    let out = Intent::SetRole {
        who: net.occupant("#c%net", "tybalt"),
        role: Some("none".to_owned()),
        affiliation: None,
        reason: None,
    };
    session.send(net.address("#c%net"), out);
    client.expect("KICK #c tybalt").await;
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn modes_of_a_new_room_are_told_after_the_join() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let session = net.session();
    session.send(net.address("#new%net"), join("romeo"));
    let mut client = stage.welcome("").await;
    client.expect("JOIN #new").await;
    for line in [
        "romeo!u@host.test JOIN #new",
        "irc.test MODE #new +nt",
        "irc.test 353 romeo = #new :@romeo",
        "irc.test 366 romeo #new :End",
    ] {
        client.send(&format!(":{line}")).await;
    }
    client.expect("MODE #new").await; // asked for when all of it was told
    let told = net.host.take_emits();
    let joined = told.iter().position(|e| e.event == Event::Room(RoomChange::Joined));
    let modes = told.iter().position(|e| matches!(&e.event, Event::Notice { text, .. } if key_is("mode")(text)));
    assert!(joined.is_some() && joined < modes, "{told:?}");
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_long_subject_is_cut_where_a_character_ends_and_as_the_server_takes_it() {
    for (limit, most) in [("", 512), ("TOPICLEN=51 KICKLEN=51 AWAYLEN=51", 51)] {
        let stage = Stage::open().await;
        let net = Net::at(stage.port);
        let session = net.session();
        session.send(net.address("#c%net"), join("romeo"));
        let mut client = stage.welcome(&format!("PREFIX=(ov)@+ {limit}")).await;
        client.admit("#c", "@romeo juliet").await;
        net.host.emitted("the end of the join", |e| e.event == Event::Room(RoomChange::Joined)).await;
        let room = net.address("#c%net");
        let long = "é".repeat(400);
        let away = Intent::Presence { available: true, away: true, status: Some(long.clone()) };
        session.send(room.clone(), Intent::SetSubject { subject: long.clone() });
        session
            .send(room.clone(), Intent::Remove { who: net.occupant("#c%net", "juliet"), reason: Some(long.clone()) });
        session.send(net.address("net"), away);
        for begins in ["TOPIC #c :", "KICK #c juliet :", "AWAY :"] {
            let line = client.expect(begins).await;
            let (words, seen) = (&line[begins.len()..], format!(":romeo!u@host.test {line}\r\n"));
            assert!(words.len() <= most && seen.len() <= 512 && words.len() >= 50, "{} bytes", seen.len());
            assert!(words.chars().all(|c| c == 'é'), "{words}");
        }
        session.send(room, Intent::Leave { status: Some(long.clone()) });
        let line = client.expect("PART #c :").await;
        assert!(line.ends_with('é') && line.len() + ":romeo!u@host.test \r\n".len() <= 512, "{line}");
        session.stop().await.expect("stops");
    }
}

#[tokio::test]
async fn a_rooms_own_encoding_is_that_of_its_subject_too() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let session = net.session();
    let room = net.address("#c%net");
    session.send(room.clone(), join("romeo"));
    let mut client = stage.welcome("PREFIX=(ov)@+ STATUSMSG=@+").await;
    client.admit("#c", "@romeo juliet").await;
    client.expect("MODE #c").await;
    for key in ["encoding_in", "encoding_out"] {
        session.set(&room, key, Some("koi8-r")).await;
    }
    let privet = b"\xf0\xd2\xc9\xd7\xc5\xd4";
    session.send(room.clone(), Intent::SetSubject { subject: "Привет".to_owned() });
    let mut line = b"TOPIC #c :".to_vec();
    line.extend_from_slice(privet);
    assert_eq!(client.bytes().await, line);
    for before in [":irc.test 332 romeo #c :", ":juliet!j@k PRIVMSG @#c :"] {
        client.raw(before.as_bytes()).await;
        client.raw(privet).await;
        client.raw(b"\r\n").await;
    }
    let event = net.host.emitted("words", |e| matches!(e.event, Event::Message(_))).await;
    let view = net.host.host().room(session.of(), &RoomId::from("#c%net"));
    let subject = view.lock().expect("nobody panicked").subject.words.clone();
    assert_eq!((body(&event), subject.as_str()), ("Привет", "Привет"));
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_join_that_nobody_asked_for_is_an_invitation() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo").await;
    client.send(":romeo!u@host.test JOIN #forced").await;
    let event = net.host.emitted("an invitation", |e| matches!(e.event, Event::Invited { .. })).await;
    assert!(matches!(event.event, Event::Invited { room, .. } if room.as_str() == "#forced%net"));
    let key = session.send(net.address("#forced%net"), join("romeo"));
    client.expect("NAMES #forced").await;
    client.send(":irc.test 353 romeo = #forced :romeo @op").await;
    client.send(":irc.test 366 romeo #forced :End").await;
    assert_eq!(failure(&net.host, &key).await, None);
    session.stop().await.expect("stops");
}

/// A letter may take twice as many octets there as in UTF-8.
#[tokio::test]
async fn a_long_subject_in_an_encoding_of_several_octets_is_cut_where_a_character_ends() {
    for limit in ["", "TOPICLEN=99 KICKLEN=99 AWAYLEN=99"] {
        let stage = Stage::open().await;
        let net = Net::at(stage.port);
        net.host.set_default("encoding_out", "gb18030");
        let session = net.session();
        let room = net.address("#c%net");
        session.send(room.clone(), join("romeo"));
        let mut client = stage.welcome(&format!("PREFIX=(ov)@+ {limit}")).await;
        client.admit("#c", "@romeo juliet").await;
        net.host.emitted("the end of the join", |e| e.event == Event::Room(RoomChange::Joined)).await;
        let long = "ñ".repeat(400);
        let kick = Intent::Remove { who: net.occupant("#c%net", "juliet"), reason: Some(long.clone()) };
        let away = Intent::Presence { available: true, away: true, status: Some(long.clone()) };
        session.send(room.clone(), Intent::SetSubject { subject: long.clone() });
        session.send(room.clone(), kick);
        session.send(net.address("net"), away);
        session.send(room, Intent::Leave { status: Some(long) });
        for begins in ["TOPIC #c :", "KICK #c juliet :", "AWAY :", "PART #c :"] {
            let mut line = client.bytes().await;
            while !line.starts_with(begins.as_bytes()) {
                line = client.bytes().await;
            }
            assert!(":romeo!u@host.test \r\n".len() + line.len() <= 512, "{begins} {} octets", line.len());
            let words = &line[begins.len()..];
            assert!(
                limit.is_empty() || begins.starts_with("PART") || words.len() <= 99,
                "{begins} {} octets",
                words.len()
            );
            let (read, _, wrong) = encoding_rs::GB18030.decode(words);
            assert!(!wrong && read.chars().count() > 10 && read.chars().all(|c| c == 'ñ'), "{begins} {read}");
        }
        session.stop().await.expect("stops");
    }
}

#[tokio::test]
async fn rooms_that_an_ascii_server_tells_apart_are_both_entered_again() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    net.host.set_default("persistent", "true");
    let rooms = ["#a[", "#a{"];
    for run in 0..2 {
        let session = net.session();
        if run == 0 {
            rooms.iter().for_each(|room| drop(session.send(net.address(&format!("{room}%net")), join("romeo"))));
        }
        let mut client = stage.welcome("CASEMAPPING=ascii").await;
        assert_eq!(client.expect("JOIN").await, "JOIN #a[,#a{");
        for room in rooms {
            client.send(&format!(":romeo!u@host.test JOIN {room}")).await;
            client.send(&format!(":irc.test 353 romeo = {room} :romeo")).await;
            client.send(&format!(":irc.test 366 romeo {room} :End")).await;
            let from = net.address(&format!("{room}%net"));
            let inside = |e: &Inbound| e.from == from && e.event == Event::Room(RoomChange::Joined);
            net.host.emitted("the room", inside).await;
        }
        session.stop().await.expect("stops");
    }
    // Where they are one, the other address is told so.
    let session = net.session();
    let mut client = stage.welcome("CASEMAPPING=rfc1459").await;
    assert_eq!(client.expect("JOIN").await, "JOIN #a[");
    let refused = net.host.emitted("it is elsewhere", |e| matches!(e.event, Event::Room(RoomChange::Refused { .. })));
    let refused = refused.await;
    let Event::Room(RoomChange::Refused { redirect, .. }) = refused.event else { panic!("a refusal") };
    assert_eq!((refused.from, redirect), (net.address("#a{%net"), Some(RoomId::from("#a[%net"))));
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_subject_has_the_time_at_which_it_was_set() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let session = net.session();
    session.send(net.address("#c%net"), join("romeo"));
    let mut client = stage.welcome("PREFIX=(ov)@+").await;
    client.expect("JOIN #c").await;
    for line in [
        ":romeo!u@host.test JOIN #c",
        ":irc.test 332 romeo #c :Two households",
        ":irc.test 333 romeo #c juliet!j@k 1234567890",
        ":irc.test 353 romeo = #c :romeo",
        ":irc.test 366 romeo #c :End",
    ] {
        client.send(line).await;
    }
    net.host.emitted("the end of the join", |e| e.event == Event::Room(RoomChange::Joined)).await;
    let view = net.host.host().room(session.of(), &RoomId::from("#c%net"));
    let subject = view.lock().expect("nobody panicked").subject.clone();
    let at = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_234_567_890);
    assert_eq!((&*subject.words, subject.by.as_deref(), subject.at), ("Two households", Some("juliet"), Some(at)));
    session.stop().await.expect("stops");
}
