//! Which of several things it is that the server speaks of.

use isthmus_bridge::Query;
use isthmus_bridge::query::{Part, ProbeKind};

use super::*;

#[tokio::test]
async fn a_message_to_somebody_who_has_gone_fails_also_while_a_question_to_them_waits() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    let script = async {
        client.expect("PRIVMSG juliet :\u{1}VERSION").await;
        client.send(":juliet!j@k QUIT :bye").await;
        let key = session.send(net.address("juliet%net"), chat("still there?"));
        client.expect("PRIVMSG juliet :still there?").await;
        client.send(":irc.test 401 romeo juliet :No such nick/channel").await;
        assert_eq!(failure(&net.host, &key).await, Some(Failure::NoSuchRecipient), "the message");
        client.send(":irc.test 401 romeo juliet :No such nick/channel").await;
    };
    let what = Query::Probe { of: net.occupant("#c%net", "juliet"), what: ProbeKind::Version };
    let ((), (_, end)) = tokio::join!(script, session.ask(what));
    assert_eq!(end.expect_err("nobody").failure, Failure::NoSuchRecipient, "the question");
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_server_that_says_to_wait_has_answered() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "@romeo juliet list").await;
    let later = Failure::Throttled { retry_after: std::time::Duration::from_secs(60) };
    let list = || Query::Rooms { filter: None };
    let cases = [
        // Charybdis and its kin: the end of the list comes all the same.
        (list(), "LIST", vec!["263 romeo LIST :Please wait a while and try again.", "323 romeo :End of LIST"]),
        (list(), "LIST", vec!["263 romeo :Server load is temporarily too heavy."]),
        (
            Query::About(net.address("list%net")),
            "WHOIS list",
            vec!["263 romeo WHOIS :Please wait", "318 romeo list :End"],
        ),
    ];
    for (question, asked, answers) in cases {
        let script = async {
            client.expect(asked).await;
            for line in &answers {
                client.send(&format!(":irc.test {line}")).await;
            }
        };
        let ((), (parts, end)) = tokio::join!(script, session.ask(question));
        assert_eq!((parts.len(), end.expect_err("refused").failure), (0, later.clone()), "{answers:?}");
    }
    let key = session.send(net.address("#c%net"), Intent::SetSubject { subject: "words".to_owned() });
    client.expect("TOPIC #c").await;
    client.send(":irc.test 263 romeo TOPIC :Please wait a while and try again.").await;
    assert_eq!(failure(&net.host, &key).await, Some(later));
    assert!(!net.host.emits().iter().any(|e| matches!(e.event, Event::Notice { .. })), "who asked knows");
    // The next list is one; and who asks by hand reads the answer.
    let script = async {
        client.expect("LIST").await;
        for line in ["322 romeo #big 99 :Subject", "323 romeo :End of LIST"] {
            client.send(&format!(":irc.test {line}")).await;
        }
    };
    let ((), (parts, end)) = tokio::join!(script, session.ask(list()));
    assert_eq!((parts.len(), end), (1, Ok(())));
    session.send(net.address("net"), Intent::Raw { line: "LIST".to_owned() });
    client.expect("LIST").await;
    client.send(":irc.test 263 romeo LIST :Please wait").await;
    net.told("the answer", |t| t.to_string() == "irc.test: LIST: Please wait").await;
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_nick_that_is_chosen_by_hand_is_the_one_that_the_user_wants() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet tybalt").await;
    let typed = |line: &str| session.send(net.address("net"), Intent::Raw { line: line.to_owned() });
    typed("NICK montague");
    client.expect("NICK montague").await;
    client.send(":romeo!u@host.test NICK montague").await;
    let renamed = |e: &Inbound| matches!(e.event, Event::Room(RoomChange::Renamed { .. }));
    net.host.emitted("the nick", renamed).await;
    typed("nick :juliet");
    client.expect("nick :juliet").await;
    client.send(":irc.test 433 montague juliet :Nickname is already in use").await;
    net.told("the refusal", |t| t.to_string().contains("already in use")).await;
    // The old one becomes free, and so does the one that was refused.
    for line in [":tybalt!t@v NICK romeo", ":romeo!t@v NICK tybalt", ":juliet!j@k QUIT :bye", "PING :sync"] {
        client.send(line).await;
    }
    client.expect("PONG").await;
    assert!(!client.seen.iter().any(|l| l.starts_with("NICK")), "{:?}", client.seen);
    // What the services make of a nick is nobody's wish.
    client.send(":montague!u@host.test NICK Guest1").await;
    client.send(":tybalt!t@v NICK montague").await;
    client.send(":montague!t@v NICK tybalt").await;
    assert_eq!(client.expect("NICK").await, "NICK montague");
    client.reset();
    let mut client = stage.accept().await;
    assert_eq!(client.expect("NICK").await, "NICK montague");
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn who_is_asked_for_by_hand_says_nothing_of_the_contacts() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    net.host.add_contact(&USER.into(), "juliet%net".into(), None);
    let (session, mut client) = net.inside(&stage, "", "romeo").await;
    let gone = |e: &Inbound| matches!(e.event, Event::Presence { available: false, .. });
    let there = |e: &Inbound| matches!(e.event, Event::Presence { available: true, .. });
    client.send(":irc.test 303 romeo :Juliet").await;
    net.host.emitted("she is there", there).await;
    for (typed, answer, shown) in [
        ("ISON somebody", "303 romeo :somebody", "irc.test: somebody"),
        ("ison", "461 romeo ISON :Not enough parameters", "irc.test: ISON: Not enough parameters"),
    ] {
        session.send(net.address("net"), Intent::Raw { line: typed.to_owned() });
        client.expect(typed).await;
        client.send(&format!(":irc.test {answer}")).await;
        net.told("the answer", |t| t.to_string() == shown).await;
    }
    assert!(!net.host.emits().iter().any(gone), "nothing was said of her");
    client.send("PING :x").await;
    client.expect("ISON juliet").await;
    client.send(":irc.test 303 romeo :").await;
    net.host.emitted("she is gone", gone).await;
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn ones_own_occupant_answers_by_itself() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    for of in [net.occupant("#c%net", "romeo"), net.address("romeo%net")] {
        let (parts, end) = session.ask(Query::Probe { of: of.clone(), what: ProbeKind::Version }).await;
        assert!(matches!(&parts[..], [Part::Words(w)] if w.to_string().starts_with("Isthmus ")), "{of:?}: {parts:?}");
        assert_eq!(end, Ok(()));
        let (parts, end) = session.ask(Query::Probe { of: of.clone(), what: ProbeKind::Time }).await;
        assert!(matches!((&parts[..], end), ([Part::Words(_)], Ok(()))), "{of:?}: {parts:?}");
    }
    client.send("PING :sync").await;
    client.expect("PONG").await;
    assert!(!client.seen.iter().any(|l| l.contains("PRIVMSG")), "{:?}", client.seen);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn an_echo_of_something_else_is_not_taken_for_what_is_on_its_way() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "echo-message", "romeo juliet").await;
    let key = session.send(net.address("juliet%net"), chat("but soft"));
    client.expect("PRIVMSG juliet :but soft").await;
    for other in ["\u{1}VERSION\u{1}", "from my telephone"] {
        client.send(&format!(":romeo!u@host.test PRIVMSG juliet :{other}")).await;
    }
    let sent = net.host.emitted("words of another program", |e| matches!(e.event, Event::Sent(_))).await;
    assert!(matches!(&sent.event, Event::Sent(m) if m.body == "from my telephone"), "{sent:?}");
    client.send(":irc.test 401 romeo juliet :No such nick/channel").await;
    assert_eq!(failure(&net.host, &key).await, Some(Failure::NoSuchRecipient), "it was still on its way");
    // In a room; what the server has changed a little is ours all the same.
    for (said, echoed) in [
        ("what \u{2}light\u{2} through", "what light through"),
        ("yonder window breaks", "yonder ****** breaks"),
        ("but soft", "but soft"),
    ] {
        let key = session.send(net.address("#c%net"), group(said));
        client.expect("PRIVMSG #c").await;
        client.send(":romeo!u@host.test PRIVMSG #c :it is the east").await;
        client.send(":romeo!u@host.test PRIVMSG #c :\u{1}ACTION waves\u{1}").await;
        for _ in 0..2 {
            let other = net.host.emitted("other words", |e| matches!(e.event, Event::Message(_))).await;
            assert_eq!(other.echo_of, None, "{other:?}");
        }
        client.send(&format!(":romeo!u@host.test PRIVMSG #c :{echoed}")).await;
        let own = net.host.emitted("the echo", |e| matches!(e.event, Event::Message(_))).await;
        assert_eq!((body(&own), own.echo_of.clone()), (echoed, Some((key.clone(), 0))));
        assert_eq!(failure(&net.host, &key).await, None);
    }
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn what_an_encoding_lacks_is_reflected_as_others_read_it() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    net.host.set_default("encoding_out", "koi8-r");
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    session.send(net.address("#c%net"), group("Привет 😀"));
    assert_eq!(client.bytes().await, b"PRIVMSG #c :\xf0\xd2\xc9\xd7\xc5\xd4 ?");
    let own = net.host.emitted("the reflection", |e| matches!(e.event, Event::Message(_))).await;
    assert_eq!(body(&own), "Привет ?");
    // What takes more octets than in UTF-8 is cut into lines, and nothing of it is lost.
    net.host.set_default("encoding_out", "gb18030");
    session.set(&net.address("#c%net"), "encoding_out", Some("gb18030")).await;
    let long = "é".repeat(300);
    session.send(net.address("#c%net"), group(&long));
    let mut read = String::new();
    while read.len() < long.len() {
        let line = client.bytes().await;
        assert!(line.len() < 510, "{} octets", line.len());
        let words = line.strip_prefix(b"PRIVMSG #c :").expect("words");
        read.push_str(&encoding_rs::GB18030.decode_without_bom_handling(words).0);
    }
    assert_eq!(read, long);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn words_that_their_encoding_cannot_hold_are_known_by_their_echo() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    net.host.set_default("encoding_out", "koi8-r");
    let (session, mut client) = net.inside(&stage, "echo-message", "romeo juliet").await;
    let key = session.send(net.address("#c%net"), group("Привет 😀"));
    client.bytes().await;
    // Read by windows-1252, which is what the user says that the others write.
    client.raw(b":romeo!u@host.test PRIVMSG #c :\xf0\xd2\xc9\xd7\xc5\xd4 ?\r\n").await;
    let own = net.host.emitted("the echo", |e| matches!(e.event, Event::Message(_))).await;
    assert_eq!(own.echo_of, Some((key, 0)), "{own:?}");
    session.stop().await.expect("stops");
}
