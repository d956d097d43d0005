//! Who leaves, and may come back at once.

use isthmus_bridge::RoomId;
use isthmus_bridge::room::Standing;

use super::*;

fn leave() -> Intent {
    Intent::Leave { status: None }
}

/// Lines of the server that come after everything before them was handled.
async fn synced(client: &mut Client) {
    client.send("PING :sync").await;
    client.expect("PONG :sync").await;
}

async fn lines(client: &mut Client, room: &str, all: &[&str]) {
    for line in all {
        client.send(&line.replace("ROMEO", ":romeo!u@host.test").replace("ROOM", room)).await;
    }
}

const LET_IN: [&str; 3] =
    ["ROMEO JOIN ROOM", ":irc.test 353 romeo = ROOM :romeo juliet", ":irc.test 366 romeo ROOM :End"];

fn ends(host: &FakeHost) -> usize {
    host.emits()
        .iter()
        .filter(|e| matches!(e.event, Event::Room(RoomChange::Left { .. }) | Event::Invited { .. }))
        .count()
}

fn standing(net: &Net, session: &Session, room: &str) -> Standing {
    let view = net.host.host().room(session.of(), &RoomId::from(room));
    view.lock().expect("nobody panicked").standing
}

#[tokio::test]
async fn who_leaves_and_comes_back_at_once_is_inside() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    let (room, host) = (net.address("#c%net"), &net.host);
    let left = session.send(room.clone(), leave());
    client.expect("PART #c").await;
    let again = session.send(room.clone(), join("romeo"));
    assert_eq!(client.expect("JOIN").await, "JOIN #c", "behind the PART");
    // Of the first stay.
    lines(&mut client, "#c", &[":mercutio!m@k JOIN ROOM", "ROMEO PART ROOM"]).await;
    assert_eq!(failure(host, &left).await, None);
    lines(&mut client, "#c", &LET_IN).await;
    assert_eq!(failure(host, &again).await, None);
    client.expect("MODE #c").await;
    assert_eq!(standing(&net, &session, "#c%net"), Standing::Inside);
    assert_eq!(ends(host), 0, "{:?}", host.emits());
    // The second stay ends as any other.
    session.send(room, leave());
    client.expect("PART #c").await;
    lines(&mut client, "#c", &["ROMEO PART ROOM"]).await;
    client.expect("QUIT").await;
    assert_eq!(ends(host), 1);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_leave_that_the_server_has_not_heard_of_is_taken_back() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    // JOIN and MODE have taken the tokens; the next line goes out after five seconds.
    net.host.set_default("throttle", "2 0.2");
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    let room = net.address("#c%net");
    let left = session.send(room.clone(), leave());
    let again = session.send(room.clone(), join("romeo"));
    assert_eq!((failure(&net.host, &left).await, failure(&net.host, &again).await), (None, None));
    session.send(room, group("here I am"));
    client.expect("PRIVMSG #c :here I am").await;
    assert!(!client.seen.iter().any(|l| l.starts_with("PART")), "{:?}", client.seen);
    assert_eq!(standing(&net, &session, "#c%net"), Standing::Inside);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn who_leaves_before_the_server_lets_them_in_is_out_and_not_invited() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let session = net.session();
    let room = net.address("#c%net");
    session.send(room.clone(), join("romeo"));
    let mut client = stage.welcome("PREFIX=(ov)@+").await;
    client.expect("JOIN #c").await;
    let left = session.send(room, leave());
    client.expect("PART #c").await;
    assert_eq!(failure(&net.host, &left).await, None);
    lines(&mut client, "#c", &LET_IN).await;
    synced(&mut client).await;
    lines(&mut client, "#c", &["ROMEO PART ROOM"]).await;
    client.expect("QUIT").await;
    let told = net.host.emits();
    assert!(
        !told.iter().any(|e| matches!(e.event, Event::Invited { .. } | Event::Room(RoomChange::Joined))),
        "{told:?}"
    );
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn who_joins_leaves_and_joins_before_any_answer_is_inside() {
    for first in [&LET_IN[..], &[":irc.test 473 romeo ROOM :Cannot join channel (+i)"]] {
        let stage = Stage::open().await;
        let net = Net::at(stage.port);
        let (session, mut client) = net.inside(&stage, "", "romeo").await;
        let room = net.address("#d%net");
        session.send(room.clone(), join("romeo"));
        client.expect("JOIN #d").await;
        session.send(room.clone(), leave());
        client.expect("PART #d").await;
        let again = session.send(room.clone(), join("romeo"));
        client.expect("JOIN #d").await;
        let let_in = first.len() > 1;
        lines(&mut client, "#d", first).await;
        synced(&mut client).await;
        assert_ne!(standing(&net, &session, "#d%net"), Standing::Inside, "that is the stay that ends");
        let parted = if let_in { "ROMEO PART ROOM" } else { ":irc.test 442 romeo ROOM :You're not on that channel" };
        lines(&mut client, "#d", &[parted]).await;
        lines(&mut client, "#d", &LET_IN).await;
        assert_eq!(failure(&net.host, &again).await, None);
        client.expect("MODE #d").await;
        assert_eq!((standing(&net, &session, "#d%net"), ends(&net.host)), (Standing::Inside, 0));
        session.stop().await.expect("stops");
    }
}

#[tokio::test]
async fn who_is_thrown_out_while_leaving_may_come_back() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    let room = net.address("#c%net");
    let left = session.send(room.clone(), leave());
    client.expect("PART #c").await;
    lines(&mut client, "#c", &[":juliet!j@k KICK ROOM romeo :out"]).await;
    assert_eq!(failure(&net.host, &left).await, None);
    let again = session.send(room, join("romeo"));
    client.expect("JOIN #c").await;
    lines(&mut client, "#c", &[":irc.test 442 romeo ROOM :You're not on that channel"]).await;
    lines(&mut client, "#c", &LET_IN).await;
    assert_eq!(failure(&net.host, &again).await, None);
    assert_eq!(standing(&net, &session, "#c%net"), Standing::Inside);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_room_that_was_being_left_does_not_come_back_with_the_connection() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    session.send(net.address("#d%net"), join("romeo"));
    client.admit("#d", "romeo").await;
    client.expect("MODE #d").await;
    let left = session.send(net.address("#c%net"), leave());
    client.expect("PART #c").await;
    client.reset();
    assert_eq!(failure(&net.host, &left).await, None, "they are out");
    let mut client = stage.welcome("").await;
    assert_eq!(client.expect("JOIN").await, "JOIN #d");
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn the_connection_ends_once_the_last_answer_is_there() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    let asking = session.ask(isthmus_bridge::Query::About(net.address("juliet%net")));
    let script = async {
        client.expect("WHOIS juliet").await;
        session.send(net.address("#c%net"), leave());
        client.expect("PART #c").await;
        lines(&mut client, "#c", &["ROMEO PART ROOM"]).await;
        synced(&mut client).await;
        client.send(":irc.test 311 romeo juliet j k * :Juliet").await;
        client.send(":irc.test 318 romeo juliet :End").await;
        client.expect("QUIT").await;
    };
    let ((_, end), ()) = tokio::join!(asking, script);
    assert_eq!(end, Ok(()));
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn who_is_thrown_out_before_the_list_of_names_was_not_inside() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let session = net.session();
    let key = session.send(net.address("#c%net"), join("romeo"));
    let mut client = stage.welcome("").await;
    client.expect("JOIN #c").await;
    for line in [":romeo!u@host.test JOIN #c", ":irc.test 353 romeo = #c :romeo", ":op!o@h KICK #c romeo :not you"] {
        client.send(line).await;
    }
    let error = super::error(&net.host, &key).await.expect("he is out");
    assert_eq!((error.failure, error.text), (Failure::Forbidden, Text::plain("not you")));
    session.stop().await.expect("stops");
}
