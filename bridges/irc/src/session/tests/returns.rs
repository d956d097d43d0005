//! Coming back: who, when, and without many words.

use std::time::Duration;

use isthmus_bridge::{LinkState, SessionOf};

use super::faults::later;
use super::ircv3::ALL;
use super::*;

const ROOM: &str = "#c%net";

fn joined(event: &Inbound) -> bool {
    event.event == Event::Room(RoomChange::Joined)
}

/// The registration with a login by SASL, up to this answer.
async fn logs_in(stage: &Stage, answer: &str) -> Client {
    let mut client = stage.accept().await;
    client.expect("USER ").await;
    client.nick = "romeo".to_owned();
    client.send(":irc.test CAP * LS :sasl=PLAIN").await;
    client.expect("CAP REQ").await;
    client.send(":irc.test CAP * ACK :sasl").await;
    client.expect("AUTHENTICATE PLAIN").await;
    client.send("AUTHENTICATE +").await;
    client.expect("AUTHENTICATE ").await;
    client.send(answer).await;
    client
}

async fn enters(stage: &Stage) -> Client {
    let mut client = logs_in(stage, ":irc.test 903 romeo :SASL authentication successful").await;
    client.expect("CAP END").await;
    client.send(":irc.test 001 romeo :Welcome").await;
    client.send(":irc.test 422 romeo :no MOTD").await;
    client.admit("#c", "romeo").await;
    client
}

#[tokio::test]
async fn rooms_that_are_kept_wait_for_a_login_that_succeeds() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    for (key, value) in [("sasl_account", "jilles"), ("sasl_password", "sesame"), ("persistent", "true")] {
        net.host.set_default(key, value);
    }
    let session = net.session();
    session.send(net.address(ROOM), join("romeo"));
    let client = enters(&stage).await;
    net.host.emitted("the room", joined).await;
    client.reset();
    // The services have another password now.
    let mut client = logs_in(&stage, ":irc.test 904 romeo :Invalid").await;
    client.ended().await;
    assert!(!client.seen.iter().any(|l| l.starts_with("JOIN")), "{:?}", client.seen);
    net.host.reported("a login is needed", |l| matches!(l, LinkState::NeedsLogin { .. })).await;
    session.stop().await.expect("stops");
    // A restart changes nothing of that; the user's next wish brings all of it back.
    let session = net.session();
    logs_in(&stage, ":irc.test 904 romeo :Invalid").await.ended().await;
    net.host.reported("a login is needed", |l| matches!(l, LinkState::NeedsLogin { .. })).await;
    session.send(net.address("#d%net"), join("romeo"));
    let mut client = logs_in(&stage, ":irc.test 903 romeo :SASL authentication successful").await;
    client.expect("CAP END").await;
    client.send(":irc.test 001 romeo :Welcome").await;
    client.send(":irc.test 422 romeo :no MOTD").await;
    let rooms = client.expect("JOIN ").await;
    assert!(rooms.contains("#c") && rooms.contains("#d"), "{rooms}");
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_connection_for_rooms_without_any_client_comes_about_without_words() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    net.host.set_default("persistent", "true");
    let (session, mut client) = net.inside(&stage, "", "romeo").await;
    session.deliver(net.address(ROOM), Intent::Leave { status: None }).await;
    client.expect("AWAY :No client").await;
    session.stop().await.expect("stops");
    net.host.take_emits();
    let again = net.session();
    let mut client = stage.accept().await;
    client.nick = "romeo".to_owned();
    client.expect("CAP LS 302").await;
    client.expect("USER ").await;
    client.send(":irc.test CAP * LS :").await;
    client.expect("CAP END").await;
    for line in [
        "001 romeo :Welcome",
        "251 romeo :There are 3 users",
        "375 romeo :- irc.test",
        "372 romeo :- hello",
        "376 romeo :End",
    ] {
        client.send(&format!(":irc.test {line}")).await;
    }
    client.admit("#c", "romeo").await;
    net.host.emitted("the return", joined).await;
    let said = |e: &Inbound| matches!(e.event, Event::Notice { .. }) && e.from == net.address("net");
    let notices: Vec<Inbound> = net.host.take_emits().into_iter().filter(said).collect();
    assert!(notices.is_empty(), "{notices:?}");
    // What the server says later is said.
    client.send(":irc.test NOTICE romeo :maintenance at noon").await;
    net.host.emitted("the server's words", said).await;
    again.stop().await.expect("stops");
}

#[tokio::test]
async fn who_leaves_the_last_room_during_a_break_is_not_connected_again() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, client) = net.inside(&stage, "", "romeo").await;
    client.reset();
    net.host.reported("the break", |l| matches!(l, LinkState::Down { retry_at: Some(_), .. })).await;
    let out = session.deliver(net.address(ROOM), Intent::Leave { status: None }).await;
    assert_eq!(out[0].result, Ok(()));
    net.host.reported("the end", |l| matches!(l, LinkState::Down { retry_at: None, .. })).await;
    session.stop().await.expect("stops");
}

/// What is kept of how a server was spoken to counts also for who has begun at another one.
#[tokio::test]
async fn who_comes_from_a_server_of_their_own_knows_what_the_network_has_spoken() {
    let (stage, own) = (Stage::open().await, Stage::open().await);
    let net = Net::at(stage.port);
    net.host.host().store(vec![isthmus_bridge::Change::put("spoke-tls", "net", "1")]).await.expect("kept");
    net.host.set_default("ports", crate::settings::IMPLICIT_PORTS);
    let session = net.session();
    session.set(&net.address("net"), "ports", Some(&own.port.to_string())).await;
    session.send(net.address(ROOM), join("romeo"));
    let mut client = own.welcome("").await;
    client.admit("#c", "romeo").await;
    net.host.emitted("the room", joined).await;
    let out = session.command("disconnect-from-irc-server", net.address("net"), {
        vec![isthmus_bridge::Values::new().with("quit-message", "bye")]
    });
    out.await.expect("it works");
    client.expect("QUIT").await;
    session.set(&net.address("net"), "ports", None).await;
    let key = session.send(net.address(ROOM), join("romeo"));
    let error = error(&net.host, &key).await.expect("in clear");
    assert!(key_is("encrypted-before")(&error.text), "{error}");
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_join_that_nobody_can_be_told_of_is_taken_back() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo").await;
    for n in 0..50 {
        client.send(&format!(":romeo!u@host.test JOIN #x{n}")).await;
    }
    client.send(":romeo!u@host.test JOIN #y").await;
    assert_eq!(client.expect("PART").await, "PART #y");
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn however_much_an_earlier_break_has_left_the_last_one_is_asked_for() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, ALL, "romeo juliet").await;
    client.send("@msgid=a;time=2030-03-17T17:46:50.000Z :juliet!j@k PRIVMSG #c :before").await;
    net.host.emitted("words", |e| matches!(e.event, Event::Message(_))).await;
    client.reset();
    let mut client = stage.accept().await;
    client.register(ALL, "CHATHISTORY=2").await;
    client.admit("#c", "romeo juliet").await;
    client.expect("CHATHISTORY AFTER #c timestamp=2030-03-17T17:46:48.000Z 2").await;
    client.send("FAIL CHATHISTORY MESSAGE_ERROR AFTER #c :Messages could not be retrieved").await;
    client.send("@msgid=z;time=2030-03-18T09:00:00.000Z :juliet!j@k PRIVMSG #c :a day later").await;
    net.host.emitted("words", |e| e.id == Some("z".into())).await;
    client.reset();
    let mut client = stage.accept().await;
    client.register(ALL, "CHATHISTORY=2").await;
    client.admit("#c", "romeo juliet").await;
    for page in 0..20 {
        client.expect("CHATHISTORY AFTER #c timestamp=2030-03-17T").await;
        client.send(":irc.test BATCH +h chathistory #c").await;
        for line in 0..2 {
            let at = format!("2030-03-17T18:{page:02}:{line:02}.000Z");
            client.send(&format!("@batch=h;msgid=p{page}-{line};time={at} :juliet!j@k PRIVMSG #c :old")).await;
        }
        client.send(":irc.test BATCH -h").await;
    }
    client.expect("CHATHISTORY AFTER #c timestamp=2030-03-18T08:59:58.000Z 2").await;
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn what_was_withdrawn_during_a_break_is_withdrawn_and_no_line_of_history() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, ALL, "romeo juliet").await;
    client.send("@msgid=a;time=2030-03-17T17:46:50.000Z :juliet!j@k PRIVMSG #c :before").await;
    net.host.emitted("words", |e| matches!(e.event, Event::Message(_))).await;
    client.reset();
    let mut client = stage.accept().await;
    client.register(ALL, "CHATHISTORY=2").await;
    client.admit("#c", "romeo juliet").await;
    client.expect("CHATHISTORY AFTER #c").await;
    net.host.take_emits();
    client.send(":irc.test BATCH +h chathistory #c").await;
    client.send("@batch=h;msgid=b;time=2030-03-17T18:00:00.000Z :juliet!j@k PRIVMSG #c :rash words").await;
    client.send("@batch=h;time=2030-03-17T19:00:00.000Z :juliet!j@k REDACT #c b :too rash").await;
    client.send(":irc.test BATCH -h").await;
    let event = net.host.emitted("the withdrawal", |e| matches!(e.event, Event::Retracted { .. })).await;
    let of = isthmus_bridge::MessageRef::foreign("net".into(), "b".into());
    assert_eq!(event.event, Event::Retracted { of, by: None, reason: Some("too rash".to_owned()) });
    assert_eq!((event.origin, event.from), (isthmus_bridge::Origin::Backlog, net.occupant(ROOM, "juliet")));
    // One message of two: that was all.
    client.seen.clear();
    client.send("PING :sync").await;
    client.expect("PONG :sync").await;
    assert!(!client.seen.iter().any(|l| l.starts_with("CHATHISTORY AFTER")), "{:?}", client.seen);
    session.stop().await.expect("stops");
}

/// Messages without names would stand in the archive twice.
#[tokio::test]
async fn where_messages_have_no_names_a_failure_to_tell_them_is_the_end_of_it() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, ALL, "romeo juliet").await;
    client.send("@time=2030-03-17T17:46:50.000Z :juliet!j@k PRIVMSG #c :before").await;
    net.host.emitted("words", |e| matches!(e.event, Event::Message(_))).await;
    client.reset();
    let mut client = stage.accept().await;
    client.register(ALL, "CHATHISTORY=2").await;
    client.admit("#c", "romeo juliet").await;
    client.expect("CHATHISTORY AFTER #c").await;
    client.send("FAIL CHATHISTORY MESSAGE_ERROR AFTER #c :Messages could not be retrieved").await;
    client.seen.clear();
    for sync in ["a", "b"] {
        client.send(&format!("PING :{sync}")).await;
        client.expect(&format!("PONG :{sync}")).await;
    }
    assert!(!client.seen.iter().any(|l| l.starts_with("CHATHISTORY AFTER")), "{:?}", client.seen);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_connection_that_the_user_wants_kept_comes_back_without_a_room() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    net.host.keep_up(&isthmus_bridge::SessionOf::new(USER.into(), "net".into()));
    let session = net.session();
    session.send(net.address("juliet%net"), chat("psst"));
    let mut client = stage.welcome("").await;
    client.expect("PRIVMSG juliet :psst").await;
    client.reset();
    let mut client = stage.welcome("").await;
    net.host.reported("the return", |l| matches!(l, LinkState::Up)).await;
    client.send("PING :sync").await;
    client.expect("PONG :sync").await;
    session.stop().await.expect("stops");
    client.expect("QUIT").await;
    let kept = net.bridge.kept(&net.host.host()).await.expect("the store is there");
    assert_eq!(kept, [isthmus_bridge::SessionOf::new(USER.into(), "net".into())]);
    net.host.take_emits();
    let again = net.session();
    let mut client = stage.welcome("").await;
    client.send(":juliet!j@k PRIVMSG romeo :are you there?").await;
    let event = net.host.emitted("her words", |e| matches!(e.event, Event::Message(_))).await;
    assert_eq!(body(&event), "are you there?");
    // Until it is ended.
    let bye = vec![isthmus_bridge::Values::new().with("quit-message", "bye")];
    again.command("disconnect-from-irc-server", net.address("net"), bye).await.expect("it works");
    client.expect("QUIT").await;
    again.stop().await.expect("stops");
    assert_eq!(net.bridge.kept(&net.host.host()).await.expect("the store is there"), []);
}

#[tokio::test]
async fn who_is_kept_connected_without_a_room_is_away_while_nobody_is_there() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    net.host.keep_up(&isthmus_bridge::SessionOf::new(USER.into(), "net".into()));
    let session = net.session();
    session.send(net.address("juliet%net"), chat("psst"));
    let mut client = stage.welcome("").await;
    client.expect("PRIVMSG juliet :psst").await;
    // The next line of those that are no PING of either side.
    let next = async |client: &mut Client| loop {
        let line = client.line().await.expect("a line");
        if !line.starts_with("PING") && !line.starts_with("PONG") {
            return line;
        }
    };
    for _ in 0..16 {
        later(Duration::from_secs(61)).await;
        client.send("PING :silence").await;
        client.expect("PONG :silence").await;
        if client.seen.iter().any(|l| l.starts_with("AWAY")) {
            break;
        }
    }
    assert_eq!(
        client.seen.iter().filter(|l| l.starts_with("AWAY")).collect::<Vec<_>>(),
        ["AWAY :No client is connected"]
    );
    session.send(net.address("juliet%net"), chat("still here"));
    assert_eq!(next(&mut client).await, "AWAY");
    assert_eq!(next(&mut client).await, "PRIVMSG juliet :still here");
    session.stop().await.expect("stops");
    client.expect("QUIT").await;
    // After a restart nobody has been heard.
    let session = net.session();
    let mut client = stage.welcome("").await;
    assert_eq!(next(&mut client).await, "AWAY :No client is connected");
    session.send(net.address("juliet%net"), chat("good morrow"));
    assert_eq!(next(&mut client).await, "AWAY");
    assert_eq!(next(&mut client).await, "PRIVMSG juliet :good morrow");
    session.stop().await.expect("stops");
}

fn refused(event: &Inbound) -> bool {
    matches!(event.event, Event::Room(RoomChange::Refused { .. }))
}

async fn is_kept(net: &Net) -> bool {
    net.bridge.kept(&net.host.host()).await.expect("the store is there") == [SessionOf::new(USER.into(), "net".into())]
}

/// What the user was told of the room since.
fn words_of_it(net: &Net) -> Vec<Text> {
    let told = net.host.take_emits().into_iter().filter_map(|e| match e.event {
        Event::Notice { text: text @ Text::Key { .. }, .. } => Some(text),
        _ => None,
    });
    told.filter(|text| key_is("room-refused-for-now")(text) || key_is("room-refused")(text)).collect()
}

#[tokio::test]
async fn a_kept_room_into_which_there_is_no_way_back_for_now_is_tried_again() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    net.host.set_default("persistent", "true");
    let (session, mut client) = net.inside(&stage, "", "romeo").await;
    session.deliver(net.address(ROOM), Intent::Leave { status: None }).await;
    client.expect("AWAY :No client").await;
    net.host.take_emits();
    client.reset();
    let mut client = stage.welcome("").await;
    client.expect("JOIN #c").await;
    client.send(":irc.test 471 romeo #c :Cannot join channel (+l)").await;
    net.host.emitted("the refusal", refused).await;
    assert_eq!(words_of_it(&net).len(), 1, "nobody would see it otherwise");
    assert!(is_kept(&net).await);
    // Nobody is inside, and nothing that is said there is taken.
    let key = session.send(net.address(ROOM), group("hello?"));
    assert_eq!(failure(&net.host, &key).await, Some(Failure::NotJoined));
    later(Duration::from_secs(600)).await;
    client.expect("JOIN #c").await;
    client.send(":irc.test 473 romeo #c :Cannot join channel (+i)").await;
    net.host.emitted("the refusal", refused).await;
    assert_eq!(words_of_it(&net), [], "told once");
    // So does the next connection, also after a restart.
    client.reset();
    let mut client = stage.welcome("").await;
    client.expect("JOIN #c").await;
    client.send(":irc.test 477 romeo #c :You need a registered nick").await;
    net.host.emitted("the refusal", refused).await;
    session.stop().await.expect("stops");
    assert!(is_kept(&net).await);
    net.host.take_emits();
    let session = net.session();
    let mut client = stage.welcome("").await;
    client.expect("JOIN #c").await;
    client.send(":irc.test 437 romeo #c :Nick/channel is temporarily unavailable").await;
    net.host.emitted("the refusal", refused).await;
    // A client does not wait for that.
    let key = session.send(net.address(ROOM), join("romeo"));
    client.admit("#c", "romeo").await;
    assert_eq!(failure(&net.host, &key).await, None);
    net.host.emitted("the return", joined).await;
    let key = session.send(net.address(ROOM), group("hello"));
    client.expect("PRIVMSG #c :hello").await;
    assert_eq!(failure(&net.host, &key).await, None);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_kept_room_into_which_there_is_no_way_back_at_all_is_given_up_with_a_word() {
    for (refusal, kept) in [("403 romeo #c :No such channel", false), ("474 romeo #c :Banned", false), ("", true)] {
        let stage = Stage::open().await;
        let net = Net::at(stage.port);
        net.host.set_default("persistent", "true");
        let (session, mut client) = net.inside(&stage, "", "romeo").await;
        session.deliver(net.address(ROOM), Intent::Leave { status: None }).await;
        client.expect("AWAY :No client").await;
        client.reset();
        let mut client = stage.welcome("").await;
        client.expect("JOIN #c").await;
        net.host.take_emits();
        if refusal.is_empty() {
            later(Duration::from_secs(61)).await; // a server that says nothing has said nothing for good
        } else {
            client.send(&format!(":irc.test {refusal}")).await;
        }
        net.told("why", key_is(if kept { "room-refused-for-now" } else { "room-refused" })).await;
        session.stop().await.expect("stops");
        assert_eq!(is_kept(&net).await, kept, "{refusal}");
    }
}

#[tokio::test]
async fn a_room_that_is_not_kept_any_more_is_not_tried_again() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    net.host.set_default("persistent", "true");
    let (session, client) = net.inside(&stage, "", "romeo").await;
    client.reset();
    let mut client = stage.welcome("").await;
    client.expect("JOIN #c").await;
    net.host.take_emits();
    client.send(":irc.test 471 romeo #c :Cannot join channel (+l)").await;
    net.host.emitted("the refusal", refused).await;
    assert_eq!(words_of_it(&net), [], "a client is inside, and sees that it is put out");
    session.set(&net.address(ROOM), "persistent", Some("false")).await;
    assert_eq!(client.expect("QUIT").await, "QUIT :No room left");
    session.stop().await.expect("stops");
}
