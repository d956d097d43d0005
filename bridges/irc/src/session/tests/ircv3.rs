//! What IRCv3 adds, with a server that follows its texts.

use isthmus_bridge::{ForeignMessageId, MessageRef, Origin, RoomId};

use super::*;

/// What Ergo offers of it.
pub(super) const ALL: &str = "batch echo-message labeled-response message-tags server-time draft/message-redaction draft/chathistory \
    draft/read-marker draft/channel-rename draft/multiline=max-bytes=4096,max-lines=10 account-tag setname";

fn of(id: &str) -> MessageRef {
    MessageRef::foreign("net".into(), ForeignMessageId::new(id))
}

/// The value of a tag of a line that we have sent.
fn tag(line: &str, name: &str) -> String {
    let line = crate::proto::line::Line::parse(line).expect("a line");
    line.tag(name).unwrap_or_else(|| panic!("no {name} in {line:?}")).into_owned()
}

/// Says something, and has the server confirm it under this id.
async fn said(
    net: &Net,
    session: &isthmus_bridge::suite::Session,
    client: &mut Client,
    words: &str,
    id: &str,
) -> isthmus_bridge::DeliveryKey {
    let key = session.send(net.address("#c%net"), group(words));
    let line = client.holding(&format!("PRIVMSG #c :{words}")).await;
    client
        .send(&format!(
            "@label={};msgid={id};time=2030-03-17T17:46:40.000Z :romeo!u@host.test PRIVMSG #c :{words}",
            tag(&line, "label")
        ))
        .await;
    net.host.emitted("the echo", |e| matches!(e.event, Event::Message(_))).await;
    assert_eq!(failure(&net.host, &key).await, None);
    key
}

#[tokio::test]
async fn a_refusal_with_a_label_is_of_that_message_and_no_other() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, ALL, "romeo juliet").await;
    let first = session.send(net.address("juliet%net"), chat("one"));
    let second = session.send(net.address("juliet%net"), chat("two"));
    let (one, two) = (client.holding(":one").await, client.holding(":two").await);
    client.send(&format!("@label={} :irc.test 404 romeo juliet :Not that one", tag(&two, "label"))).await;
    assert_eq!(failure(&net.host, &second).await, Some(Failure::Forbidden));
    client.send(&format!("@label={} :romeo!u@host.test PRIVMSG juliet :changed on the way", tag(&one, "label"))).await;
    assert_eq!(failure(&net.host, &first).await, None);
    // Standard replies and several lines for one label.
    let third = session.send(net.address("juliet%net"), chat("three"));
    let three = client.holding(":three").await;
    client.send(&format!("@label={} FAIL PRIVMSG ACCOUNT_REQUIRED :Log in first", tag(&three, "label"))).await;
    assert_eq!(failure(&net.host, &third).await, Some(Failure::NotRegistered));
    let topic = |subject: &str| Intent::SetSubject { subject: subject.to_owned() };
    let (fourth, fifth) =
        (session.send(net.address("#c%net"), topic("a")), session.send(net.address("#c%net"), topic("b")));
    let (_, line) = (client.holding("TOPIC #c :a").await, client.holding("TOPIC #c :b").await);
    client.send(&format!("@label={} :irc.test BATCH +x labeled-response", tag(&line, "label"))).await;
    client.send("@batch=x :irc.test 482 romeo #c :You're not an operator").await;
    client.send(":irc.test BATCH -x").await;
    assert_eq!(failure(&net.host, &fifth).await, Some(Failure::Forbidden));
    client.send(":romeo!u@host.test TOPIC #c :a").await;
    assert_eq!(failure(&net.host, &fourth).await, None);
    session.stop().await.expect("stops");
}

/// Else it would be taken as soon as it is free, long after.
#[tokio::test]
async fn a_nick_that_was_refused_with_a_label_is_not_wished_for_any_more() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, ALL, "romeo juliet").await;
    let key = session.send(net.address("#c%net"), Intent::Rename { nick: "juliet".to_owned() });
    let asked = client.holding("NICK juliet").await;
    let label = asked.split(['@', ';', ' ']).find_map(|tag| tag.strip_prefix("label=")).expect("a label").to_owned();
    client.send(&format!("@label={label} :irc.test 433 romeo juliet :Nickname is already in use.")).await;
    assert_eq!(failure(&net.host, &key).await, Some(Failure::Conflict));
    client.send(":juliet!j@k NICK capulet").await;
    client.send(":capulet!j@k QUIT :bye").await;
    client.send("PING :sync").await;
    client.expect("PONG").await;
    assert!(!client.seen.iter().any(|l| l.contains("NICK")), "{:?}", client.seen);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn many_lines_are_one_message_in_both_directions() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, ALL, "romeo juliet").await;
    let text = format!("hello\n\n{}\nend", "wörd ".repeat(90).trim_end());
    let key = session.send(net.address("#c%net"), group(&text));
    let opening = client.holding("BATCH +").await;
    let reference = opening.split('+').nth(1).and_then(|r| r.split(' ').next()).expect("a reference").to_owned();
    assert!(opening.ends_with(&format!("BATCH +{reference} draft/multiline #c")), "{opening}");
    let mut heard = String::new();
    loop {
        let line = client.line().await.expect("a line");
        if line == format!("BATCH -{reference}") {
            break;
        }
        assert!(line.len() <= 512 + 60, "{line}");
        assert_eq!(tag(&line, "batch"), reference);
        let line = crate::proto::line::Line::parse(&line).expect("a line");
        if !heard.is_empty() && line.tag("draft/multiline-concat").is_none() {
            heard.push('\n');
        }
        heard.push_str(line.param(1));
    }
    assert_eq!(heard, text);
    // The server says it again, and it is one message still.
    client
        .send(&format!("@label={};msgid=m1 :romeo!u@host.test BATCH +s draft/multiline #c", tag(&opening, "label")))
        .await;
    for line in text.split('\n') {
        let (head, rest) = line.split_at(line.char_indices().nth(300).map_or(line.len(), |(at, _)| at));
        client.send(&format!("@batch=s :romeo!u@host.test PRIVMSG #c :{head}")).await;
        if !rest.is_empty() {
            client.send(&format!("@batch=s;draft/multiline-concat :romeo!u@host.test PRIVMSG #c :{rest}")).await;
        }
    }
    client.send(":irc.test BATCH -s").await;
    let event = net.host.emitted("the echo", |e| matches!(e.event, Event::Message(_))).await;
    assert_eq!((body(&event), event.echo_of.clone()), (text.as_str(), Some((key.clone(), 0))));
    assert_eq!(event.id, Some("m1".into()));
    assert_eq!(failure(&net.host, &key).await, None);
    // More lines than the server takes: as ever.
    let key = session.send(net.address("#c%net"), group(&["x"; 12].join("\n")));
    assert_eq!(failure(&net.host, &key).await, Some(Failure::TooLong { limit: 5 }));
    // A refused one.
    let key = session.send(net.address("#c%net"), group("a\nb"));
    client.holding("BATCH -").await;
    client.send("FAIL BATCH MULTILINE_INVALID :No").await;
    assert!(matches!(failure(&net.host, &key).await, Some(Failure::Rejected)));
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_batch_that_is_never_closed_costs_little_and_lines_go_on() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, ALL, "romeo juliet").await;
    for i in 0..100 {
        client.send(&format!(":juliet!j@k BATCH +o{i} draft/multiline #c")).await;
        client.send(&format!("@batch=o{i} :juliet!j@k PRIVMSG #c :{}", "x".repeat(400))).await;
    }
    client.send("@batch=unknown :juliet!j@k PRIVMSG #c :of no batch that is known").await;
    let event = net.host.emitted("words", |e| matches!(e.event, Event::Message(_))).await;
    assert_eq!(body(&event), "of no batch that is known");
    client.send(":irc.test BATCH -o99").await;
    let event = net.host.emitted("words", |e| matches!(e.event, Event::Message(_))).await;
    assert_eq!(body(&event), "x".repeat(400));
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn withdrawals_cross_and_name_who_did_it() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, ALL, "@romeo juliet nurse").await;
    let key = said(&net, &session, &mut client, "a plague on both your houses", "m1").await;
    let retract = Intent::Retract { of: MessageRef::Key(key), reason: Some("too harsh".to_owned()) };
    let ticket = session.send(net.address("#c%net"), retract.clone());
    let line = client.holding("REDACT").await;
    assert!(line.ends_with("REDACT #c m1 :too harsh"), "{line}");
    client.send(":romeo!u@host.test REDACT #c m1 :too harsh").await;
    assert_eq!(failure(&net.host, &ticket).await, None);
    let retracted = |e: &Inbound| matches!(e.event, Event::Retracted { .. });
    let event = net.host.emitted("our own", retracted).await;
    assert_eq!((&event.from, &event.echo_of), (&net.occupant("#c%net", "romeo"), &Some((ticket.clone(), 0))));
    assert_eq!(event.event, Event::Retracted { of: of("m1"), by: None, reason: Some("too harsh".to_owned()) });
    // Refused.
    let ticket = session.send(net.address("#c%net"), retract);
    client.holding("REDACT").await;
    client.send("FAIL REDACT REDACT_FORBIDDEN #c m1 :You may not").await;
    assert_eq!(failure(&net.host, &ticket).await, Some(Failure::Forbidden));
    // By its author, and by somebody else.
    for (id, by, from, moderator) in [
        ("j1", "juliet", net.occupant("#c%net", "juliet"), None),
        ("j2", "nurse", net.address("#c%net"), Some(net.occupant("#c%net", "nurse"))),
    ] {
        client.send(&format!("@msgid={id} :juliet!j@k PRIVMSG #c :words")).await;
        net.host.emitted("words", |e| matches!(e.event, Event::Message(_))).await;
        client.send(&format!(":{by}!x@y REDACT #c {id}")).await;
        let event = net.host.emitted("a withdrawal", retracted).await;
        assert_eq!((event.from, event.event), (from, Event::Retracted { of: of(id), by: moderator, reason: None }));
    }
    // What has no name there cannot be withdrawn, and a server without it says so.
    let unknown = Intent::Retract { of: MessageRef::Key("never".into()), reason: None };
    let ticket = session.send(net.address("#c%net"), unknown.clone());
    assert_eq!(failure(&net.host, &ticket).await, Some(Failure::NoSuchRecipient));
    session.stop().await.expect("stops");
    let (session, _client) = net.inside(&stage, "message-tags", "romeo").await;
    let ticket = session.send(net.address("#c%net"), unknown);
    assert_eq!(failure(&net.host, &ticket).await, Some(Failure::Unsupported));
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn reactions_cross_step_by_step() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, ALL, "romeo juliet").await;
    let react =
        Intent::React {
            of: of("m1"), add: vec!["👋".to_owned(), "; \\".to_owned()], remove: vec!["🙁".to_owned()]
        };
    let key = session.send(net.address("#c%net"), react);
    for (name, value) in [("+draft/unreact", "🙁"), ("+draft/react", "👋"), ("+draft/react", "; \\")] {
        let line = client.holding("TAGMSG #c").await;
        assert_eq!(
            (tag(&line, "+reply"), tag(&line, "+draft/reply"), tag(&line, name)),
            ("m1".into(), "m1".into(), value.into())
        );
        if value == "; \\" {
            client
                .send(&format!("@label={};+reply=m1;+draft/react=x :romeo!u@host.test TAGMSG #c", tag(&line, "label")))
                .await;
        }
    }
    let event = net.host.emitted("our own", |e| matches!(e.event, Event::Reacted { .. })).await;
    assert_eq!((event.from, event.echo_of.clone()), (net.occupant("#c%net", "romeo"), Some((key.clone(), 0))));
    assert_eq!(failure(&net.host, &key).await, None);
    client.send("@+draft/reply=m1;+draft/react=lol :juliet!j@k TAGMSG #c").await;
    client.send("@+reply=m1;+draft/unreact=lol :juliet!j@k TAGMSG #c").await;
    for (add, remove) in [(vec!["lol".to_owned()], vec![]), (vec![], vec!["lol".to_owned()])] {
        let hers = |e: &Inbound| matches!(e.event, Event::Reacted { .. }) && e.from == net.occupant("#c%net", "juliet");
        let event = net.host.emitted("hers", hers).await;
        assert_eq!(event.event, Event::Reacted { of: of("m1"), add, remove });
    }
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn answers_name_what_they_answer() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, ALL, "romeo juliet").await;
    let mut message = Message::group("me too");
    message.reply_to = Some(of("j1"));
    session.send(net.address("#c%net"), Intent::Send(Box::new(message.clone())));
    let line = client.holding("PRIVMSG #c :me too").await;
    assert_eq!((tag(&line, "+reply"), tag(&line, "+draft/reply")), ("j1".into(), "j1".into()));
    client.send("@msgid=j2;+reply=m1 :juliet!j@k PRIVMSG #c :and I").await;
    let event = net.host.emitted("hers", |e| e.from == net.occupant("#c%net", "juliet")).await;
    assert!(matches!(&event.event, Event::Message(m) if m.reply_to == Some(of("m1")) && m.body == "and I"));
    session.stop().await.expect("stops");
    // A server that denies the tag gets none.
    let session = net.session();
    session.send(net.address("#c%net"), join("romeo"));
    let mut client = stage.accept().await;
    client.register("message-tags", "CLIENTTAGDENY=*,-typing").await;
    client.admit("#c", "romeo").await;
    net.host.emitted("the room", |e| e.event == Event::Room(RoomChange::Joined)).await;
    session.send(net.address("#c%net"), Intent::Send(Box::new(message)));
    assert!(client.holding("PRIVMSG #c :me too").await.starts_with("PRIVMSG"));
    session.send(net.address("#c%net"), Intent::Typing { on: true });
    client.expect("@+typing=active TAGMSG #c").await;
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn what_was_said_during_a_break_is_fetched_for_the_archive() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, ALL, "romeo juliet").await;
    client.send("@msgid=a;time=2030-03-17T17:46:50.000Z :juliet!j@k PRIVMSG #c :before").await;
    net.host.emitted("words", |e| matches!(e.event, Event::Message(_))).await;
    client.reset();
    let mut client = stage.accept().await;
    client.register(ALL, "CHATHISTORY=2").await;
    client.admit("#c", "romeo juliet").await;
    let asked = client.expect("CHATHISTORY AFTER").await;
    assert_eq!(asked, "CHATHISTORY AFTER #c timestamp=2030-03-17T17:46:48.000Z 2");
    client.send(":irc.test BATCH +h chathistory #c").await;
    client.send("@batch=h;msgid=a;time=2030-03-17T17:46:50.000Z :juliet!j@k PRIVMSG #c :before").await;
    client.send("@batch=h;msgid=b;time=2030-03-17T17:47:00.500Z :juliet!j@k PRIVMSG #c :meanwhile").await;
    client.send(":irc.test BATCH -h").await;
    let meanwhile = |e: &Inbound| e.origin == Origin::Backlog && e.id == Some("b".into());
    let event = net.host.emitted("what was missed", meanwhile).await;
    assert_eq!((body(&event), &event.from), ("meanwhile", &net.occupant("#c%net", "juliet")));
    // A full page is followed by the next.
    assert_eq!(client.expect("CHATHISTORY").await, "CHATHISTORY AFTER #c timestamp=2030-03-17T17:47:00.500Z 2");
    client.send(":irc.test BATCH +i chathistory #c").await;
    client
        .send(
            "@batch=i;msgid=c;time=2030-03-17T17:47:01.000Z :romeo!u@host.test PRIVMSG #c :my own, by another program",
        )
        .await;
    client.send("@batch=i;msgid=d :juliet!j@k BATCH +n draft/multiline #c").await;
    client.send("@batch=n :juliet!j@k PRIVMSG #c :two").await;
    client.send("@batch=n :juliet!j@k PRIVMSG #c :lines").await;
    client.send(":irc.test BATCH -n").await;
    client.send(":irc.test BATCH -i").await;
    for (nick, words) in [("romeo", "my own, by another program"), ("juliet", "two\nlines")] {
        let event =
            net.host.emitted("what was missed", |e| e.origin == Origin::Backlog && e.id != Some("a".into())).await;
        assert_eq!((body(&event), &event.from), (words, &net.occupant("#c%net", nick)));
    }
    // What comes now is heard now.
    client.send("@msgid=e :juliet!j@k PRIVMSG #c :now").await;
    net.host.emitted("words", |e| e.origin == Origin::Live && e.id == Some("e".into())).await;
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn what_the_server_cannot_tell_of_a_room_is_asked_for_again_and_after_the_next_break() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, ALL, "romeo juliet").await;
    client.send("@msgid=a;time=2030-03-17T17:46:50.000Z :juliet!j@k PRIVMSG #c :before").await;
    net.host.emitted("words", |e| matches!(e.event, Event::Message(_))).await;
    client.reset();
    let asked = "CHATHISTORY AFTER #c timestamp=2030-03-17T17:46:48.000Z 2";
    let mut client = stage.accept().await;
    client.register(ALL, "CHATHISTORY=2").await;
    client.admit("#c", "romeo juliet").await;
    for ping in ["PING :a", "PING :b", "PING :c"] {
        assert_eq!(client.expect("CHATHISTORY AFTER").await, asked);
        client.send("FAIL CHATHISTORY MESSAGE_ERROR AFTER #c :Messages could not be retrieved").await;
        client.send(ping).await;
    }
    // Not for ever; and a word of the meantime is no end of the gap.
    client.send("@msgid=z;time=2030-03-17T17:49:00.000Z :juliet!j@k PRIVMSG #c :after").await;
    net.host.emitted("words", |e| e.id == Some("z".into())).await;
    client.seen.clear();
    client.send("PING :d").await;
    client.expect("PONG :d").await;
    client.send("PING :e").await;
    client.expect("PONG :e").await;
    assert!(!client.seen.iter().any(|l| l.starts_with("CHATHISTORY AFTER")), "{:?}", client.seen);
    client.reset();
    let mut client = stage.accept().await;
    client.register(ALL, "CHATHISTORY=2").await;
    client.admit("#c", "romeo juliet").await;
    assert_eq!(client.expect("CHATHISTORY AFTER").await, asked);
    client.send(":irc.test BATCH +h chathistory #c").await;
    client.send("@batch=h;msgid=b;time=2030-03-17T17:47:00.500Z :juliet!j@k PRIVMSG #c :meanwhile").await;
    client.send(":irc.test BATCH -h").await;
    let event = net.host.emitted("what was missed", |e| e.id == Some("b".into())).await;
    assert_eq!((body(&event), event.origin), ("meanwhile", Origin::Backlog));
    client.seen.clear();
    client.send("PING :f").await;
    client.expect("PONG :f").await;
    client.send("PING :g").await;
    client.expect("PONG :g").await;
    assert!(!client.seen.iter().any(|l| l.starts_with("CHATHISTORY AFTER")), "it is complete: {:?}", client.seen);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn private_words_of_a_break_are_heard_after_it_with_their_time() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, ALL, "romeo juliet").await;
    client.send("@time=2030-03-17T17:46:50.000Z :juliet!j@k PRIVMSG romeo :before").await;
    net.host.emitted("words", |e| matches!(e.event, Event::Message(_))).await;
    client.reset();
    let mut client = stage.accept().await;
    client.register(ALL, "CHATHISTORY=50").await;
    let asked = client.expect("CHATHISTORY TARGETS").await;
    assert!(asked.starts_with("CHATHISTORY TARGETS timestamp=2030-03-17T17:46:50.000Z timestamp=2030-"), "{asked}");
    client.send(":irc.test BATCH +t draft/chathistory-targets").await;
    client.send("@batch=t :irc.test CHATHISTORY TARGETS #c 2030-03-17T17:47:00.000Z").await;
    client.send("@batch=t :irc.test CHATHISTORY TARGETS juliet 2030-03-17T17:47:10.000Z").await;
    client.send(":irc.test BATCH -t").await;
    assert_eq!(client.expect("CHATHISTORY").await, "CHATHISTORY AFTER juliet timestamp=2030-03-17T17:46:50.000Z 50");
    client.send(":irc.test BATCH +p chathistory juliet").await;
    client.send("@batch=p;time=2030-03-17T17:47:05.000Z :juliet!j@k PRIVMSG romeo :\u{1}VERSION\u{1}").await;
    client.send("@batch=p;time=2030-03-17T17:47:06.000Z :romeo!u@host.test PRIVMSG juliet :from elsewhere").await;
    client.send("@batch=p;time=2030-03-17T17:47:10.000Z :juliet!j@k PRIVMSG romeo :where are you?").await;
    client.send(":irc.test BATCH -p").await;
    let event = net.host.emitted("her words", |e| matches!(e.event, Event::Message(_))).await;
    assert_eq!((body(&event), &event.from), ("where are you?", &net.address("juliet%net")));
    assert_eq!(event.at, crate::proto::time::server_time("2030-03-17T17:47:10.000Z").expect("a time"));
    assert!(!client.seen.iter().any(|l| l.contains("VERSION")), "{:?}", client.seen);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn private_words_of_a_long_break_come_page_by_page_and_no_failure_loses_them() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, ALL, "romeo juliet").await;
    client.send("@time=2030-03-17T17:46:50.000Z :juliet!j@k PRIVMSG romeo :before").await;
    net.host.emitted("words", |e| matches!(e.event, Event::Message(_))).await;
    client.reset();
    let mut client = stage.accept().await;
    client.register(ALL, "CHATHISTORY=2").await;
    // What the server cannot tell now is asked for again when it asks whether we are there.
    let targets = client.expect("CHATHISTORY TARGETS").await;
    assert!(targets.ends_with(" 2"), "{targets}");
    client.send("FAIL CHATHISTORY MESSAGE_ERROR TARGETS :Messages could not be retrieved").await;
    client.send("PING :x").await;
    assert!(client.expect("CHATHISTORY").await.starts_with(&targets[..50]));
    client.send(":irc.test BATCH +t draft/chathistory-targets").await;
    client.send("@batch=t :irc.test CHATHISTORY TARGETS juliet 2030-03-17T17:47:10.000Z").await;
    client.send(":irc.test BATCH -t").await;
    let first = "CHATHISTORY AFTER juliet timestamp=2030-03-17T17:46:50.000Z 2";
    assert_eq!(client.expect("CHATHISTORY").await, first);
    client.send("FAIL CHATHISTORY MESSAGE_ERROR AFTER juliet :Messages could not be retrieved").await;
    client.send("PING :y").await;
    assert_eq!(client.expect("CHATHISTORY").await, first);
    // A full page is followed by the next, also where all of it is our own.
    client.send(":irc.test BATCH +p chathistory juliet").await;
    for second in [5, 6] {
        client
            .send(&format!(
                "@batch=p;time=2030-03-17T17:47:0{second}.000Z :romeo!u@host.test PRIVMSG juliet :from elsewhere"
            ))
            .await;
    }
    client.send(":irc.test BATCH -p").await;
    let second = "CHATHISTORY AFTER juliet timestamp=2030-03-17T17:47:06.000Z 2";
    assert_eq!(client.expect("CHATHISTORY").await, second);
    // The connection breaks again before it is there; somebody else has said something later.
    client.send("@time=2030-03-17T17:48:00.000Z :nurse!n@k PRIVMSG romeo :madam!").await;
    net.host.emitted("words", |e| matches!(e.event, Event::Message(_))).await;
    client.reset();
    let mut client = stage.accept().await;
    client.register(ALL, "CHATHISTORY=2").await;
    let targets = client.expect("CHATHISTORY TARGETS").await;
    assert!(targets.starts_with("CHATHISTORY TARGETS timestamp=2030-03-17T17:47:06.000Z"), "{targets}");
    client.send(":irc.test BATCH +t draft/chathistory-targets").await;
    for who in ["juliet", "nurse"] {
        client.send(&format!("@batch=t :irc.test CHATHISTORY TARGETS {who} 2030-03-17T17:48:10.000Z")).await;
    }
    client.send(":irc.test BATCH -t").await;
    assert_eq!(client.expect("CHATHISTORY").await, second);
    let hers = "CHATHISTORY AFTER nurse timestamp=2030-03-17T17:48:00.000Z 2";
    assert_eq!(client.expect("CHATHISTORY").await, hers);
    client.send(":irc.test BATCH +p chathistory juliet").await;
    client.send("@batch=p;time=2030-03-17T17:47:10.000Z :juliet!j@k PRIVMSG romeo :where are you?").await;
    client.send(":irc.test BATCH -p").await;
    let event = net.host.emitted("her words", |e| matches!(e.event, Event::Message(_))).await;
    assert_eq!((body(&event), event.origin), ("where are you?", Origin::Live));
    client.send("PING :z").await;
    client.expect("PONG").await;
    assert!(!client.seen.iter().any(|l| l.contains("juliet")), "it is complete: {:?}", client.seen);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn history_that_a_server_plays_to_who_enters_is_heard() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, ALL, "romeo juliet").await;
    client.send(":irc.test BATCH +h chathistory #c").await;
    client.send("@batch=h;time=2030-03-17T17:40:00.000Z :juliet!j@k PRIVMSG #c :earlier").await;
    client.send(":irc.test BATCH -h").await;
    let event = net.host.emitted("words", |e| matches!(e.event, Event::Message(_))).await;
    assert_eq!((body(&event), event.origin), ("earlier", Origin::Live));
    assert!(event.at < net.host.time());
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn read_markers_cross() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, ALL, "romeo juliet").await;
    let at = crate::proto::time::server_time("2030-03-17T17:46:50.250Z");
    session.send(net.address("#c%net"), Intent::Mark { of: None, at });
    assert_eq!(client.expect("MARKREAD").await, "MARKREAD #c timestamp=2030-03-17T17:46:50.250Z");
    client.send("@msgid=a;time=2030-03-17T17:47:00.000Z :juliet!j@k PRIVMSG #c :words").await;
    client.send(":irc.test MARKREAD #c timestamp=2030-03-17T17:46:50.250Z").await;
    client.send(":irc.test MARKREAD #c *").await;
    for _ in 0..2 {
        client.send(":irc.test MARKREAD #c timestamp=2030-03-17T17:47:00.000Z").await;
    }
    client.send(":juliet!j@k PRIVMSG #c :more").await;
    let event = net.host.emitted("the marker", |e| matches!(e.event, Event::Marked { .. })).await;
    assert_eq!((event.from, event.event), (net.occupant("#c%net", "romeo"), Event::Marked { of: of("a") }));
    net.host.emitted("more", |e| matches!(&e.event, Event::Message(m) if m.body == "more")).await;
    assert!(!net.host.emits().iter().any(|e| matches!(e.event, Event::Marked { .. })), "told once");
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn any_line_can_be_read_up_to_and_a_marker_never_goes_back() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, ALL, "romeo juliet").await;
    for (n, id) in ["a", "b", "c", "d"].into_iter().enumerate() {
        client.send(&format!("@msgid={id};time=2030-03-17T17:47:0{n}.500Z :juliet!j@k PRIVMSG #c :{id}")).await;
        net.host.emitted("a line", |e| matches!(&e.event, Event::Message(m) if m.body == id)).await;
    }
    let at = |n: u8| crate::proto::time::server_time(&format!("2030-03-17T17:47:0{n}.500Z"));
    let (room, hers) = (net.address("#c%net"), net.address("juliet%net"));
    // Ours: each line has its own time, and what lies before the last marker is not sent.
    for n in [1, 0, 1, 2] {
        session.send(room.clone(), Intent::Mark { of: None, at: at(n) });
    }
    assert_eq!(client.expect("MARKREAD").await, "MARKREAD #c timestamp=2030-03-17T17:47:01.500Z");
    assert_eq!(client.expect("MARKREAD").await, "MARKREAD #c timestamp=2030-03-17T17:47:02.500Z");
    for n in [2, 1] {
        session.send(hers.clone(), Intent::Mark { of: None, at: at(n) });
    }
    assert_eq!(client.expect("MARKREAD").await, "MARKREAD juliet timestamp=2030-03-17T17:47:02.500Z");
    // Another program's: a time between two lines is the earlier one's; the server's answers to ours are no news.
    for time in ["02.500", "01.000", "02.700", "03.499"] {
        client.send(&format!(":irc.test MARKREAD #c timestamp=2030-03-17T17:47:{time}Z")).await;
    }
    client.send(":irc.test MARKREAD juliet timestamp=2030-03-17T17:48:00.000Z").await;
    client.send(":irc.test MARKREAD #c timestamp=2030-03-17T17:47:09.000Z").await;
    net.host.emitted("the last marker", |e| e.event == Event::Marked { of: of("d") }).await;
    let told: Vec<_> = net.host.emits().into_iter().filter(|e| matches!(e.event, Event::Marked { .. })).collect();
    assert!(told.iter().all(|e| e.event == Event::Marked { of: of("c") }) && told.len() == 1, "{told:?}");
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_room_that_is_renamed_says_where_it_is_and_is_open_there() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, ALL, "romeo juliet").await;
    client.send(":juliet!j@k RENAME #c #C :").await;
    client.send(":juliet!j@k RENAME #c #verona :a better name").await;
    let event = net.host.emitted("the move", |e| matches!(e.event, Event::Room(RoomChange::Moved { .. }))).await;
    let moved = RoomChange::Moved { to: RoomId::from("#verona%net"), reason: Some("a better name".to_owned()) };
    assert_eq!((event.from, event.event), (net.address("#c%net"), Event::Room(moved)));
    let key = session.send(net.address("#verona%net"), join("romeo"));
    client.expect("NAMES #verona").await;
    client.send(":irc.test 353 romeo = #verona :romeo juliet").await;
    client.send(":irc.test 366 romeo #verona :End").await;
    assert_eq!(failure(&net.host, &key).await, None);
    assert!(!client.seen.iter().any(|l| l.contains("JOIN #verona")), "it is inside already");
    // The old name, for who comes later.
    let key = session.send(net.address("#old%net"), join("romeo"));
    client.expect("JOIN #old").await;
    client.send("FAIL JOIN CHANNEL_RENAMED #old #verona :The channel has been renamed").await;
    assert_eq!(failure(&net.host, &key).await, Some(Failure::Rejected));
    let event = net.host.emitted("the redirect", |e| matches!(e.event, Event::Room(RoomChange::Refused { .. }))).await;
    let Event::Room(RoomChange::Refused { redirect, .. }) = event.event else { panic!("a redirect") };
    assert_eq!(redirect, Some(RoomId::from("#verona%net")));
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_renamed_room_that_is_kept_up_is_kept_up_there() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    net.host.set_default("persistent", "true");
    let (session, mut client) = net.inside(&stage, ALL, "romeo juliet").await;
    client.send(":juliet!j@k RENAME #c #verona :").await;
    client.expect("NAMES #verona").await;
    client.send(":irc.test 353 romeo = #verona :romeo juliet").await;
    client.send(":irc.test 366 romeo #verona :End").await;
    net.host
        .emitted("the new room", |e| e.event == Event::Room(RoomChange::Joined) && e.from == net.address("#verona%net"))
        .await;
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn what_was_set_for_a_room_counts_where_it_has_moved() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, ALL, "romeo juliet").await;
    for (key, value) in [("persistent", "true"), ("encoding_in", "iso-8859-5")] {
        session.set(&net.address("#c%net"), key, Some(value)).await;
    }
    session.deliver(net.address("#c%net"), Intent::Leave { status: None }).await;
    client.send(":juliet!j@k MODE #c +k sesame").await;
    client.send(":juliet!j@k RENAME #c #verona :").await;
    client.expect("NAMES #verona").await;
    client.send(":irc.test 353 romeo = #verona :romeo juliet").await;
    client.send(":irc.test 366 romeo #verona :End").await;
    let is_there = |e: &Inbound| e.event == Event::Room(RoomChange::Joined) && e.from == net.address("#verona%net");
    net.host.emitted("the new room", is_there).await;
    let there = net.host.host().resolved(&USER.into(), &net.address("#verona%net"));
    assert_eq!((there.bool("persistent"), there.str("encoding_in")), (true, "iso-8859-5"));
    // Also after a restart.
    session.stop().await.expect("stops");
    let session = net.session();
    let mut client = stage.welcome("").await;
    assert_eq!(client.expect("JOIN").await, "JOIN #verona sesame");
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_netsplit_of_five_thousand_is_one_line_in_each_room() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let session = net.session();
    session.send(net.address("#c%net"), join("romeo"));
    let mut client = stage.accept().await;
    client.register(ALL, "PREFIX=(ov)@+").await;
    client.expect("JOIN #c").await;
    let mut names = ":romeo!u@host.test JOIN #c\r\n:irc.test 353 romeo = #c :romeo juliet\r\n".to_owned();
    for i in 0..500 {
        let ten: Vec<String> = (0..10).map(|n| format!("n{i}x{n}")).collect();
        names.push_str(&format!(":irc.test 353 romeo = #c :{}\r\n", ten.join(" ")));
    }
    names.push_str(":irc.test 366 romeo #c :End\r\n");
    client.raw(names.as_bytes()).await;
    net.host.emitted("the room", |e| e.event == Event::Room(RoomChange::Joined)).await;
    let view = net.host.host().room(session.of(), &RoomId::from("#c%net"));
    let count = || view.lock().expect("nobody panicked").members().len();
    assert_eq!(count(), 5_002);
    let all: Vec<String> = (0..500).flat_map(|i| (0..10).map(move |n| format!("n{i}x{n}"))).collect();
    let batch = |kind: &str, line: &dyn Fn(&str) -> String| {
        let mut text = format!(":irc.test BATCH +b {kind} irc.hub irc.leaf\r\n");
        all.iter().for_each(|nick| text.push_str(&format!("@batch=b {}\r\n", line(nick))));
        text + ":irc.test BATCH -b\r\n"
    };
    client.raw(batch("netsplit", &|nick| format!(":{nick}!u@h QUIT :irc.hub irc.leaf")).as_bytes()).await;
    let told = net.told("the split", key_is("netsplit")).await;
    assert_eq!(told, Text::key("netsplit").with("servers", "irc.hub irc.leaf").with("count", 5_000));
    assert_eq!(count(), 2);
    let gone = net.host.take_emits().into_iter().filter(|e| matches!(e.event, Event::Room(RoomChange::Left { .. })));
    assert_eq!(gone.count(), 5_000, "everybody's end is told");
    // They come back, with their ranks, which nobody reads one by one.
    let back = batch("netjoin", &|nick| format!(":{nick}!u@h JOIN #c"))
        .replace(":irc.test BATCH -b", "@batch=b :irc.hub MODE #c +oo n1x1 n2x2\r\n:irc.test BATCH -b");
    client.raw(back.as_bytes()).await;
    net.told("the end of the split", key_is("netjoin")).await;
    assert_eq!(count(), 5_002);
    assert!(!net.host.emits().iter().any(|e| matches!(&e.event, Event::Notice { text, .. } if key_is("mode")(text))));
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn persons_are_known_by_their_tags() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, ALL, "romeo juliet").await;
    client.send("@account=capulet :juliet!j@k PRIVMSG #c :it is I").await;
    net.host.emitted("words", |e| matches!(e.event, Event::Message(_))).await;
    let view = net.host.host().room(session.of(), &RoomId::from("#c%net"));
    let account = view.lock().expect("nobody panicked").named("juliet").and_then(|m| m.person.account.clone());
    assert_eq!(account.as_deref(), Some("capulet"));
    let changes = |e: &Inbound| e.event == Event::Room(RoomChange::Changed { by: None });
    let shown = net.host.emitted("who it is", changes).await;
    assert_eq!(shown.from, net.occupant("#c%net", "juliet"));
    // The same account is no news, a logout is.
    client.send("@account=capulet :juliet!j@k PRIVMSG #c :it is still I").await;
    net.host.emitted("other words", |e| matches!(e.event, Event::Message(_))).await;
    assert!(!net.host.emits().iter().any(changes));
    client.send(":juliet!j@k ACCOUNT *").await;
    net.host.emitted("the logout", changes).await;
    let account = view.lock().expect("nobody panicked").named("juliet").and_then(|m| m.person.account.clone());
    assert_eq!(account, None);
    client.send("@bot :beep!b@k JOIN #c").await;
    net.host.emitted("a program", |e| matches!(e.event, Event::Room(RoomChange::Changed { .. }))).await;
    // Two of the room's speak of a third (invite-notify).
    client.send(":juliet!j@k INVITE mercutio #c").await;
    let invited = Text::key("invited").with("nick", "mercutio").with("by", "juliet");
    net.told("the invitation", |text| *text == invited).await;
    session.set(&net.address("net"), "realname", Some("Romeo Montague")).await;
    assert_eq!(client.expect("SETNAME").await, "SETNAME :Romeo Montague");
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn an_account_that_a_join_tells_is_shown_in_the_other_rooms() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "extended-join", "romeo juliet").await;
    session.send(net.address("#d%net"), join("romeo"));
    client.admit("#d", "romeo").await;
    net.host.emitted("the other room", |e| e.event == Event::Room(RoomChange::Joined)).await;
    net.host.take_emits();
    // The account-notify of her login was never seen: she is told of where she comes in.
    client.send(":juliet!j@k JOIN #d capulet :Juliet").await;
    let shown = net.host.emitted("who it is", |e| e.event == Event::Room(RoomChange::Changed { by: None })).await;
    assert_eq!(shown.from, net.occupant("#c%net", "juliet"));
    net.host.emitted("her entry", |e| e.event == Event::Room(RoomChange::Entered)).await;
    for room in ["#c%net", "#d%net"] {
        let view = net.host.host().room(session.of(), &RoomId::from(room));
        let account = view.lock().expect("nobody panicked").named("juliet").and_then(|m| m.person.account.clone());
        assert_eq!(account.as_deref(), Some("capulet"), "{room}");
    }
    // What is known is no news.
    client.send(":juliet!j@k PART #d").await;
    client.send(":juliet!j@k JOIN #d capulet :Juliet").await;
    net.host.emitted("her second entry", |e| e.event == Event::Room(RoomChange::Entered)).await;
    assert!(!net.host.emits().iter().any(|e| matches!(e.event, Event::Room(RoomChange::Changed { .. }))));
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_server_that_takes_utf_8_only_gets_nothing_else() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    net.host.set_default("encoding_out", "iso-8859-1");
    let session = net.session();
    session.send(net.address("juliet%net"), chat("naïve"));
    let mut client = stage.welcome("UTF8ONLY").await;
    client.expect("PRIVMSG juliet :naïve").await;
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn who_is_away_enters_the_network_so() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let session = net.session();
    session
        .send(net.address("net"), Intent::Presence { available: true, away: true, status: Some("asleep".to_owned()) });
    session.send(net.address("#c%net"), join("romeo"));
    let mut client = stage.accept().await;
    client.register("draft/pre-away", "").await;
    assert!(client.seen.iter().any(|l| l == "AWAY :asleep"), "before CAP END: {:?}", client.seen);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn what_the_connection_carries_is_told() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, ALL, "romeo").await;
    // Whatever is offered later is used later.
    client.send(":irc.test CAP romeo NEW :away-notify draft/pre-away").await;
    client.expect("CAP REQ :away-notify draft/pre-away").await;
    client.send(":irc.test CAP romeo DEL :draft/message-redaction").await;
    client.send(":juliet!j@k PRIVMSG romeo :sync").await;
    net.host.emitted("words", |e| matches!(e.event, Event::Message(_))).await;
    let ticket = session.send(net.address("#c%net"), Intent::Retract { of: of("m1"), reason: None });
    assert_eq!(failure(&net.host, &ticket).await, Some(Failure::Unsupported));
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn who_is_ignored_is_not_heard() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    net.host.set_default("ignore", "tybalt\n*!*@spam.test");
    let (session, mut client) = net.inside(&stage, ALL, "romeo juliet tybalt").await;
    client.send(":Tybalt!t@v PRIVMSG #c :peace? I hate the word").await;
    client.send(":x!y@spam.test PRIVMSG romeo :buy").await;
    client.send(":x!y@spam.test INVITE romeo #spam").await;
    client.send("@+reply=m1;+draft/react=x :tybalt!t@v TAGMSG #c").await;
    client.send(":tybalt!t@v NOTICE romeo :\u{1}VERSION x\u{1}").await;
    client.send(":juliet!j@k PRIVMSG #c :heard").await;
    let event = net.host.emitted("words", |e| matches!(e.event, Event::Message(_))).await;
    assert_eq!(body(&event), "heard");
    let others = net.host.emits();
    assert!(others.is_empty(), "{others:?}");
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn the_reason_of_a_withdrawal_is_cut_so_that_others_get_it_whole() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, ALL, "@romeo juliet").await;
    let key = said(&net, &session, &mut client, "a plague", "m1").await;
    let retract = Intent::Retract { of: MessageRef::Key(key), reason: Some("é".repeat(300)) };
    session.send(net.address("#c%net"), retract);
    let line = client.holding("REDACT").await;
    let line = line.split_once("REDACT ").map_or("", |(_, rest)| rest);
    assert!(":romeo!u@host.test REDACT \r\n".len() + line.len() <= 512, "{} octets", line.len());
    assert!(line.strip_prefix("#c m1 :").is_some_and(|words| words.chars().all(|c| c == 'é')), "{line}");
    session.stop().await.expect("stops");
}
