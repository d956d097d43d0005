//! What goes wrong: servers that go, split, flood, fall silent or throw us out.

use std::time::Duration;

use isthmus_bridge::room::Standing;
use isthmus_bridge::{LinkState, RoomId};

use super::*;

/// Lets this much time pass for everything that runs here. What waits for a socket meanwhile is not hurried.
pub(super) async fn later(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// A connected session of somebody else on the same bridge, in the room.
async fn another(net: &Net, stage: &Stage, user: &str) -> (Session, Client) {
    let session = Session::start(&net.bridge, &net.host, user, &net.address("net"));
    session.send(net.address("#c%net"), join("nurse"));
    let mut client = stage.welcome("PREFIX=(ov)@+").await;
    client.admit("#c", "nurse").await;
    let inside = |e: &Inbound| e.event == Event::Room(RoomChange::Joined) && e.to.as_str() == user;
    net.host.emitted("the other's join", inside).await;
    (session, client)
}

#[tokio::test]
async fn a_server_that_goes_in_the_middle_of_a_burst_leaves_nothing_half_done() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    // A second room, whose names never end.
    let key = session.send(net.address("#d%net"), join("romeo"));
    client.expect("JOIN #d").await;
    let mut burst = ":romeo!u@host.test JOIN #d\r\n".to_owned();
    for i in 0..1_000 {
        burst.push_str(&format!(":irc.test 353 romeo = #d :a{i} b{i} c{i}\r\n"));
    }
    client.raw(burst.as_bytes()).await;
    client.raw(b":irc.test 353 romeo = #d :half of a na").await;
    client.reset();
    assert_eq!(failure(&net.host, &key).await, Some(Failure::Unreachable));
    let view = net.host.host().room(session.of(), &RoomId::from("#d%net"));
    assert_ne!(view.lock().expect("nobody panicked").standing, Standing::Inside);
    let mut client = stage.welcome("").await;
    let line = client.expect("JOIN").await;
    assert!(line.contains("#c"), "{line}");
    client.send(":romeo!u@host.test JOIN #c").await;
    client.send(":irc.test 353 romeo = #c :romeo juliet").await;
    client.send(":irc.test 366 romeo #c :End").await;
    net.host.emitted("the room", |e| e.event == Event::Room(RoomChange::Joined)).await;
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn five_thousand_quits_at_once_disturb_nobody_else() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo").await;
    let (other, mut others) = another(&net, &stage, "nurse@example.org").await;
    let mut names = String::new();
    for i in 0..5_000 {
        names.push_str(&format!(":n{i}!u@h JOIN #c\r\n"));
    }
    client.raw(names.as_bytes()).await;
    let last =
        |e: &Inbound| e.from == net.occupant("#c%net", "n4999") && matches!(e.event, Event::Room(RoomChange::Entered));
    net.host.emitted("the last of them", last).await;
    net.host.take_emits();
    let quits: String = (0..5_000).map(|i| format!(":n{i}!u@h QUIT :irc.hub irc.leaf\r\n")).collect();
    let words = async {
        others.send(":juliet!j@k PRIVMSG nurse :are you there?").await;
        net.host
            .emitted("the other's words", |e| matches!(&e.event, Event::Message(m) if m.body == "are you there?"))
            .await
    };
    let (heard, ()) = tokio::join!(words, client.raw(quits.as_bytes()));
    assert_eq!(heard.to.as_str(), "nurse@example.org");
    let last = |e: &Inbound| {
        e.from == net.occupant("#c%net", "n4999") && matches!(e.event, Event::Room(RoomChange::Left { .. }))
    };
    net.host.emitted("the last of them", last).await;
    let view = net.host.host().room(session.of(), &RoomId::from("#c%net"));
    assert_eq!(view.lock().expect("nobody panicked").members().len(), 1);
    session.stop().await.expect("stops");
    other.stop().await.expect("stops");
}

/// A room that floods while the XMPP side takes nothing: what the session keeps is bounded, because it stops reading; the server feels that.
#[tokio::test]
async fn a_flood_into_a_slow_reader_is_held_back_and_nothing_of_it_is_lost() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    net.host.room_for(Some(0));
    // Far more than the buffers of two sockets hold: a session that went on reading would take all of it.
    let line = format!(":juliet!j@k PRIVMSG #c :{}\r\n", "x".repeat(400));
    let (mut sent, total) = (0_u64, 200_000_u64);
    let chunk = line.repeat(100);
    let flood = async {
        while sent < total {
            client.raw(chunk.as_bytes()).await;
            sent += 100;
        }
    };
    // It cannot end; that it stands still is seen when nothing more was taken for a while.
    let stuck = tokio::time::timeout(Duration::from_secs(5), flood).await.is_err();
    assert!(stuck, "the session has read {sent} lines that nobody takes from it");
    net.host.room_for(None);
    let mut heard = 0;
    while heard < sent {
        net.host.emitted("a line", |e| matches!(e.event, Event::Message(_))).await;
        heard += 1 + net.host.take_emits().iter().filter(|e| matches!(e.event, Event::Message(_))).count() as u64;
    }
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn questions_without_end_do_not_keep_the_users_own_words_waiting() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    net.host.set_default("throttle", "10 1");
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    for i in 0..120 {
        later(Duration::from_millis(500)).await;
        client.send(":juliet!j@k PRIVMSG romeo :\u{1}VERSION\u{1}").await;
        client.send(&format!("PING :{i}")).await;
        client.expect(&format!("PONG :{i}")).await;
    }
    session.send(net.address("#c%net"), group("hi"));
    client.seen.clear();
    client.expect("PRIVMSG #c :hi").await;
    assert!(client.seen.len() <= 1, "answers went before: {:?}", client.seen);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_silent_server_is_asked_and_then_given_up() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    later(Duration::from_secs(81)).await;
    client.expect("PING").await;
    client.send(":irc.test PONG irc.test :isthmus").await;
    client.send(":juliet!j@k PRIVMSG #c :still here").await;
    net.host.emitted("words", |e| matches!(e.event, Event::Message(_))).await;
    // The next time nothing answers: the connection is half open.
    later(Duration::from_secs(81)).await;
    client.expect("PING").await;
    later(Duration::from_secs(31)).await;
    let state = net.host.reported("the end", |l| matches!(l, LinkState::Down { .. })).await;
    let LinkState::Down { reason, retry_at: Some(_) } = state else { panic!("{state:?}") };
    assert!(key_is("ping-timeout")(&reason), "{reason}");
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_sleep_of_our_own_machine_costs_no_connection() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    later(Duration::from_secs(3_600)).await;
    client.expect("PING").await;
    client.send(":juliet!j@k PRIVMSG #c :slept well?").await;
    net.host.emitted("words", |e| matches!(e.event, Event::Message(_))).await;
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_server_that_is_not_read_is_not_given_up_as_silent() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    let juliet = net.occupant("#c%net", "juliet");
    net.host.room_for(Some(0));
    let line = |n: usize| format!(":juliet!j@k PRIVMSG #c :{n} {}\r\n", "x".repeat(400));
    // What the session keeps for the core, and more: it reads no further.
    client.raw((0..200).map(line).collect::<String>().as_bytes()).await;
    for n in 0..5 {
        later(Duration::from_secs(100)).await;
        // It goes on saying what the user says.
        session.send(net.address("#c%net"), group(&format!("words {n}")));
        client.expect(&format!("PRIVMSG #c :words {n}")).await;
    }
    net.host.room_for(None);
    for n in 0..200 {
        let hers = |e: &Inbound| e.from == juliet && matches!(e.event, Event::Message(_));
        let event = net.host.emitted("a line", hers).await;
        assert!(body(&event).starts_with(&format!("{n} ")), "in order: {}", body(&event));
    }
    let lost = |e: &Inbound| matches!(e.event, Event::Room(RoomChange::Lost { .. }));
    assert!(!net.host.emits().iter().any(lost), "{:?}", net.host.emits());
    // From then on its silence counts.
    later(Duration::from_secs(81)).await;
    client.expect("PING").await;
    later(Duration::from_secs(31)).await;
    net.host.reported("the end", |l| matches!(l, LinkState::Down { .. })).await;
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_room_that_nobody_asked_for_is_left_after_five_minutes() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    client.send(":romeo!u@host.test JOIN #trap").await;
    net.host.emitted("the invitation", |e| matches!(e.event, Event::Invited { .. })).await;
    later(Duration::from_secs(301)).await;
    client.expect("PART #trap").await;
    session.stop().await.expect("stops");
}

/// It is in rooms for all of the user's programs.
#[tokio::test]
async fn a_room_in_which_a_bouncer_is_for_the_user_is_not_left_for_them() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "znc.in/self-message", "romeo juliet").await;
    client.send(":romeo!u@host.test JOIN #elsewhere").await;
    net.host.emitted("the invitation", |e| matches!(e.event, Event::Invited { .. })).await;
    later(Duration::from_secs(70)).await;
    client.send("PING :still there").await;
    later(Duration::from_secs(70)).await;
    client.send("PING :still there").await;
    later(Duration::from_secs(70)).await;
    client.send("PING :still there").await;
    later(Duration::from_secs(70)).await;
    client.send("PING :still there").await;
    later(Duration::from_secs(70)).await;
    // Who enters now finds it as it is, without a second join.
    session.send(net.address("#elsewhere%net"), join("romeo"));
    client.expect("NAMES #elsewhere").await;
    assert!(!client.seen.iter().any(|l| l.starts_with("PART") || l.contains("JOIN #elsewhere")), "{:?}", client.seen);
    session.stop().await.expect("stops");
}

/// soju names itself by what it offers, and tells of every room at each connection; to leave one of them deletes it for all programs.
#[tokio::test]
async fn rooms_of_another_bouncer_are_not_left_either_and_told_of_once() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let caps = "soju.im/no-implicit-names server-time";
    let (session, mut client) = net.inside(&stage, caps, "romeo juliet").await;
    client.send(":romeo!u@host.test JOIN #elsewhere").await;
    net.host.emitted("the invitation", |e| matches!(e.event, Event::Invited { .. })).await;
    client.reset();
    let mut client = stage.accept().await;
    client.register(caps, "").await;
    client.send(":romeo!u@host.test JOIN #elsewhere").await;
    client.admit("#c", "romeo juliet").await;
    client.send(":nurse!n@v PRIVMSG #elsewhere :what they say there").await;
    net.host.emitted("the end of the join", |e| e.event == Event::Room(RoomChange::Joined)).await;
    client.send(":juliet!j@k PRIVMSG #c :sync").await;
    net.host.emitted("words", |e| matches!(e.event, Event::Message(_))).await;
    let seen = net.host.emits();
    assert!(!seen.iter().any(|e| matches!(e.event, Event::Invited { .. })), "they know");
    let overheard =
        |e: &Inbound| matches!(&e.event, Event::Notice { text, .. } if text.to_string().contains("they say there"));
    assert!(!seen.iter().any(overheard), "nobody looks at it");
    for _ in 0..5 {
        later(Duration::from_secs(70)).await;
        client.send("PING :still there").await;
        client.expect("PONG :still there").await;
    }
    assert!(!client.seen.iter().any(|l| l.starts_with("PART")), "{:?}", client.seen);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_nick_that_is_not_answered_is_not_taken_later_either() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    let key = session.send(net.address("#c%net"), Intent::Rename { nick: "juliet".to_owned() });
    client.expect("NICK juliet").await;
    later(Duration::from_secs(21)).await;
    assert_eq!(failure(&net.host, &key).await, Some(Failure::TimedOut));
    client.send(":juliet!j@k QUIT :gone").await;
    session.send(net.address("#c%net"), group("sync"));
    client.expect("PRIVMSG").await;
    assert!(!client.seen.iter().any(|l| l.starts_with("NICK")), "{:?}", client.seen);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_server_that_never_lets_us_in_is_given_up() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let session = net.session();
    let key = session.send(net.address("#c%net"), join("romeo"));
    let mut client = stage.accept().await;
    client.expect("USER ").await;
    later(Duration::from_secs(61)).await;
    assert_eq!(failure(&net.host, &key).await, Some(Failure::Unreachable));
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_connection_for_private_messages_only_is_closed_after_a_quarter_of_an_hour() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let session = net.session();
    session.send(net.address("juliet%net"), chat("hello"));
    let mut client = stage.welcome("").await;
    client.expect("PRIVMSG juliet :hello").await;
    // Its silence would be asked about; a server that says something is not silent.
    for minute in 0..14 {
        later(Duration::from_secs(61)).await;
        client.send(&format!("PING :{minute}")).await;
        assert_eq!(client.line().await, Some(format!("PONG :{minute}")), "an answer may come yet");
    }
    later(Duration::from_secs(61)).await;
    client.expect("QUIT").await;
    client.ended().await;
    net.host.reported("the end", |l| matches!(l, LinkState::Down { retry_at: None, .. })).await;
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_nick_collision_costs_the_connection_and_no_more() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    client.send(":irc.hub KILL romeo :irc.leaf (Nick collision)").await;
    client.send("ERROR :Closing Link: romeo (Killed (irc.hub (Nick collision)))").await;
    drop(client);
    net.host.emitted("the loss", |e| matches!(e.event, Event::Room(RoomChange::Lost { coming_back: true, .. }))).await;
    // The other one has the nick now: we come back under another, and take it when it is free.
    let mut client = stage.accept().await;
    client.expect("USER ").await;
    client.send(":irc.test 436 * romeo :Nickname collision KILL").await;
    client.expect("NICK romeo_").await;
    client.nick = "romeo_".to_owned();
    for line in ["CAP * LS :", "001 romeo_ :Welcome", "376 romeo_ :End"] {
        client.send(&format!(":irc.test {line}")).await;
    }
    client.admit("#c", "romeo_ romeo juliet").await;
    net.host.emitted("the room", |e| e.event == Event::Room(RoomChange::Joined)).await;
    client.send(":romeo!x@y NICK montague").await;
    client.expect("NICK romeo").await;
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn keys_of_rooms_are_known_after_a_break() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    let with_key = Intent::Join { nick: "romeo".to_owned(), password: Some("sesame".to_owned()) };
    let key = session.send(net.address("#d%net"), with_key);
    assert_eq!(client.expect("JOIN").await, "JOIN #d sesame");
    client.send(":romeo!u@host.test JOIN #d").await;
    client.send(":irc.test 366 romeo #d :End").await;
    assert_eq!(failure(&net.host, &key).await, None);
    client.reset();
    let mut client = stage.welcome("").await;
    assert_eq!(client.expect("JOIN").await, "JOIN #d,#c sesame");
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_server_that_bans_at_the_door_says_why() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let session = net.session();
    let key = session.send(net.address("#c%net"), join("romeo"));
    let mut client = stage.accept().await;
    client.expect("USER ").await;
    client.send(":irc.test 465 romeo :You are banned from this server- no gateways (2026/11/22)").await;
    client.send("ERROR :Closing Link: 127.0.0.1 (K-Lined)").await;
    drop(client);
    let error = error(&net.host, &key).await.expect("refused");
    assert!(error.text.to_string().contains("K-Lined"), "{error}");
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_server_that_does_not_mind_floods_gets_lines_as_they_come() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    net.host.set_default("throttle", "1 0.001");
    let session = net.session();
    session.send(net.address("#c%net"), join("romeo"));
    let mut client = stage.welcome("SAFERATE").await;
    client.admit("#c", "romeo").await;
    net.host.emitted("the room", |e| e.event == Event::Room(RoomChange::Joined)).await;
    for i in 0..20 {
        session.send(net.address("#c%net"), group(&format!("line {i}")));
    }
    client.expect("PRIVMSG #c :line 19").await;
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn limits_of_the_administrator_hold() {
    let stage = Stage::open().await;
    let keys = json!({"allow_private_networks": true, "allowed_networks": ["net"], "rooms_per_user": 1, "connections_per_network": 1});
    let bridge = build(&crate::Irc, keys).expect("good keys");
    let host = FakeHost::of(&bridge);
    prepare(&host, stage.port);
    let net = Net { bridge, host };
    let elsewhere = Session::start(&net.bridge, &net.host, USER, &net.address("other.test"));
    let key = elsewhere.send(net.address("#c%other.test"), join("romeo"));
    assert_eq!(failure(&net.host, &key).await, Some(Failure::Forbidden));
    elsewhere.stop().await.expect("stops");
    // A server of one's own behind a name that is allowed is another network.
    let around = Session::start(&net.bridge, &net.host, "tybalt@example.org", &net.address("net"));
    around.set(&net.address("net"), "address", Some("localhost")).await;
    let key = around.send(net.address("#c%net"), join("tybalt"));
    assert_eq!(failure(&net.host, &key).await, Some(Failure::Forbidden));
    around.stop().await.expect("stops");
    let (session, _client) = net.inside(&stage, "", "romeo").await;
    let key = session.send(net.address("#d%net"), join("romeo"));
    assert_eq!(failure(&net.host, &key).await, Some(Failure::OverQuota));
    let other = Session::start(&net.bridge, &net.host, "nurse@example.org", &net.address("net"));
    let key = other.send(net.address("#c%net"), join("nurse"));
    assert_eq!(failure(&net.host, &key).await, Some(Failure::Full));
    other.stop().await.expect("stops");
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn rooms_are_bounded_on_all_networks_together() {
    let stage = Stage::open().await;
    let net = Net::with(stage.port, json!({"allow_private_networks": true, "rooms_per_user": 3}));
    let other = Session::start(&net.bridge, &net.host, USER, &net.address("other"));
    other.send(net.address("#a%other"), join("romeo"));
    let mut elsewhere = stage.welcome("").await;
    elsewhere.admit("#a", "romeo").await;
    other.send(net.address("#b%other"), join("romeo"));
    elsewhere.admit("#b", "romeo").await;
    net.host.emitted("both", |e| e.from == net.address("#b%other") && e.event == Event::Room(RoomChange::Joined)).await;
    let (session, mut client) = net.inside(&stage, "", "romeo").await;
    let key = session.send(net.address("#d%net"), join("romeo"));
    assert_eq!(failure(&net.host, &key).await, Some(Failure::OverQuota));
    // Somebody else has a bound of their own; a room that was left counts no more.
    let key = other.send(net.address("#a%other"), Intent::Leave { status: None });
    elsewhere.expect("PART #a").await;
    elsewhere.send(":romeo!r@h PART #a").await;
    assert_eq!(failure(&net.host, &key).await, None);
    session.send(net.address("#d%net"), join("romeo"));
    client.admit("#d", "romeo").await;
    net.host.emitted("#d", |e| e.from == net.address("#d%net") && e.event == Event::Room(RoomChange::Joined)).await;
    session.stop().await.expect("stops");
    other.stop().await.expect("stops");
}

#[tokio::test]
async fn each_user_connects_from_an_address_of_their_own() {
    let prefix = crate::listen::prefix("2001:db8:1:2::/64").expect("a prefix");
    let net = Net::at(1);
    let of = |user: &str| crate::listen::own_address(&net.host.host(), &user.into(), prefix);
    let (romeo, juliet) = (of("romeo@example.org"), of("juliet@example.org"));
    assert_ne!(romeo, juliet);
    assert_eq!(romeo, of("romeo@example.org"), "the same for ever");
    assert_eq!((romeo.segments()[..4].to_vec(), juliet.segments()[3]), (vec![0x2001, 0xdb8, 1, 2], 2));
    for bad in ["2001:db8::", "2001:db8::/129", "192.0.2.0/24", "x/64"] {
        assert_eq!(crate::listen::prefix(bad), None, "{bad}");
    }
    // A prefix of one address is that address, from which the server sees us come.
    let listener = tokio::net::TcpListener::bind("[::1]:0").await.expect("IPv6 on loopback");
    let port = listener.local_addr().expect("bound").port();
    let bridge =
        build(&crate::Irc, json!({"allow_private_networks": true, "user_addresses": "::1/128"})).expect("good keys");
    let host = FakeHost::of(&bridge);
    prepare(&host, port);
    host.set_default("address", "::1");
    let net = Net { bridge, host };
    let session = net.session();
    session.send(net.address("#c%net"), join("romeo"));
    let (_stream, from) = listener.accept().await.expect("connects");
    assert_eq!(from.ip().to_string(), "::1");
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn connections_come_from_the_address_that_the_administrator_names() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let bridge = build(&crate::Irc, json!({"allow_private_networks": true, "bind": "127.0.0.9"})).expect("good keys");
    let host = FakeHost::of(&bridge);
    prepare(&host, port);
    let net = Net { bridge, host };
    let session = net.session();
    session.send(net.address("#c%net"), join("romeo"));
    let (_stream, from) = listener.accept().await.expect("connects");
    assert_eq!(from.ip().to_string(), "127.0.0.9");
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn administrators_see_everybodys_connections_and_ask_for_anybody() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    let admin = isthmus_bridge::BareJid::from("admin@example.org");
    let gateway = Address::Gateway;
    let run = async |by: &isthmus_bridge::BareJid, node: &str, at: &Address, forms| {
        let call = isthmus_bridge::Call::start(node, by.clone(), at.clone());
        isthmus_bridge::suite::run_command(&*net.bridge, &net.host.host(), call, forms).await.expect("it works")
    };
    let isthmus_bridge::Step::Done { table: None, .. } = run(&admin, "connections", &gateway, Vec::new()).await else {
        panic!("not for everybody")
    };
    net.host.add_admin(&admin);
    let isthmus_bridge::Step::Done { table: Some(table), .. } = run(&admin, "connections", &gateway, Vec::new()).await
    else {
        panic!("a table")
    };
    assert_eq!((table.rows.len(), table.rows[0][0].as_str(), table.rows[0][7].as_str()), (1, USER, "#c%net"));
    let form = |keys: &[(&str, &str)]| {
        vec![keys.iter().fold(isthmus_bridge::Values::new(), |all, (key, value)| all.with(*key, *value))]
    };
    let who = format!("{USER} net");
    let server = async |client: &mut Client| {
        client.expect("WHOIS juliet").await;
        client.send(":irc.test 311 romeo juliet j capulet.test * :Juliet").await;
        client.send(":irc.test 318 romeo juliet :End").await;
    };
    let asked = run(&admin, "whois-user", &gateway, form(&[("session", &who), ("nick", "juliet")]));
    let (step, ()) = tokio::join!(asked, server(&mut client));
    let isthmus_bridge::Step::Done { table: Some(table), .. } = step else { panic!("a table") };
    assert!(table.rows.contains(&vec!["whois.host".to_owned(), "capulet.test".to_owned()]), "{:?}", table.rows);
    // The same for oneself; and rooms.
    let (me, at) = (isthmus_bridge::BareJid::from(USER), net.address("net"));
    let (step, ()) = tokio::join!(run(&me, "whois", &at, form(&[("nick", "juliet")])), server(&mut client));
    assert!(matches!(step, isthmus_bridge::Step::Done { table: Some(_), .. }));
    let listed = async {
        client.expect("LIST").await;
        client.send(":irc.test 322 romeo #verona 12 :Two houses").await;
        client.send(":irc.test 322 romeo #mantua 3 :Exile").await;
        client.send(":irc.test 323 romeo :End").await;
    };
    let (step, ()) = tokio::join!(run(&me, "list", &at, form(&[("filter", "houses")])), listed);
    let isthmus_bridge::Step::Done { table: Some(table), .. } = step else { panic!("a table") };
    assert_eq!(table.rows, [["#verona%net", "12", "Two houses"]]);
    let listed = async {
        client.expect("LIST").await;
        client.send(":irc.test 322 romeo #mantua 3 :Exile").await;
        client.send(":irc.test 323 romeo :End").await;
    };
    let (step, ()) = tokio::join!(run(&admin, "list-user", &gateway, form(&[("session", &who)])), listed);
    let isthmus_bridge::Step::Done { table: Some(table), .. } = step else { panic!("a table") };
    assert_eq!(table.rows, [["#mantua%net", "3", "Exile"]]);
    run(&admin, "reconnect-user", &gateway, form(&[("session", &who)])).await;
    client.expect("QUIT").await;
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_connection_that_nobody_needs_for_too_long_is_closed_and_its_user_told() {
    let stage = Stage::open().await;
    let net = Net::with(stage.port, json!({"allow_private_networks": true, "idle_after": "30d"}));
    net.host.set_default("persistent", "true");
    let day = Duration::from_secs(24 * 3_600);
    let told = |e: &Inbound| matches!(&e.event, Event::Notice { text, .. } if key_is("idle-too-long-days")(text));
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    // Somebody is inside: however long they say nothing, they stay.
    later(day * 40).await;
    client.expect("PING").await;
    client.send(":irc.test PONG irc.test :isthmus").await;
    let out = session.deliver(net.address("#c%net"), Intent::Leave { status: None }).await;
    assert_eq!(out[0].result, Ok(()));
    client.expect("AWAY :No client").await;
    // A restart does not begin the time anew.
    later(day * 20).await;
    client.expect("PING").await;
    client.send(":irc.test PONG irc.test :isthmus").await;
    client.send(":juliet!j@k PRIVMSG #c :still nobody?").await;
    net.host.emitted("words", |e| matches!(e.event, Event::Message(_))).await;
    assert!(!net.host.emits().iter().any(told), "20 days are not 30");
    session.stop().await.expect("stops");
    let session = net.session();
    let mut client = stage.welcome("").await;
    client.admit("#c", "romeo").await;
    net.host.emitted("the return", |e| e.event == Event::Room(RoomChange::Joined)).await;
    assert!(!net.host.emits().iter().any(told), "20 days are not 30");
    later(day * 11).await;
    assert_eq!(client.expect("QUIT").await, "QUIT :Idle for too long");
    let notice = net.host.emitted("the reason", told).await;
    assert_eq!(notice.from, net.address("net"));
    session.stop().await.expect("stops");
    let kept = net.bridge.kept(&net.host.host()).await.expect("the store is there");
    assert_eq!(kept, [], "the next start of the gateway does not bring it back");
}

/// A bouncer that is connected to nowhere says 001 and no more.
#[tokio::test]
async fn a_welcome_without_an_end_is_one() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let session = net.session();
    session.send(net.address("#c%net"), join("romeo"));
    let mut client = stage.accept().await;
    client.expect("USER ").await;
    client.send(":irc.znc.in 001 romeo :Welcome to ZNC").await;
    net.told("the welcome", |t| t.to_string().contains("Welcome to ZNC")).await;
    later(Duration::from_secs(21)).await;
    client.expect("JOIN #c").await;
    session.send(net.address("net"), Intent::Raw { line: "PRIVMSG *status :connect".to_owned() });
    client.expect("PRIVMSG *status :connect").await;
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn what_waits_for_its_turn_loses_no_time_for_its_answer() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    net.host.set_default("throttle", "1 1");
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    for n in 0..40 {
        session.send(net.address("#c%net"), group(&format!("line {n}")));
    }
    let key = session.send(net.address("#c%net"), Intent::SetSubject { subject: "late".to_owned() });
    for _ in 0..6 {
        later(Duration::from_secs(10)).await;
        client.send("PING :there").await;
        client.expect("PONG :there").await;
    }
    if !client.seen.iter().any(|line| line.starts_with("TOPIC")) {
        client.expect("TOPIC #c :late").await;
    }
    client.send(":romeo!u@host.test TOPIC #c :late").await;
    assert_eq!(failure(&net.host, &key).await, None);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_server_that_lets_us_in_and_throws_us_out_again_and_again_is_told_of_once() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo").await;
    let losses = || net.host.emits().iter().filter(|e| lost(e)).count();
    for _ in 0..3 {
        client.reset();
        client = stage.welcome("").await;
        client.admit("#c", "romeo").await;
        net.host.emitted("the return", |e| e.event == Event::Room(RoomChange::Joined)).await;
    }
    assert_eq!(losses(), 1);
    // After a connection that has held the end is news.
    later(Duration::from_secs(61)).await;
    client.reset();
    let mut client = stage.welcome("").await;
    client.admit("#c", "romeo").await;
    net.host.emitted("the return", |e| e.event == Event::Room(RoomChange::Joined)).await;
    assert_eq!(losses(), 2);
    session.stop().await.expect("stops");
}

fn lost(event: &Inbound) -> bool {
    matches!(&event.event, Event::Notice { text, .. } if key_is("link-lost")(text) || key_is("refused-by-server")(text))
}
