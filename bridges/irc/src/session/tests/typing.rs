//! Who is typing, for how long, and how often that is said.

use std::time::Duration;

use super::faults::later;
use super::*;

const ROOM: &str = "#c%net";

fn typing(on: bool) -> Intent {
    Intent::Typing { on }
}

/// What was sent about it until everything before has been read, to whom.
async fn told(client: &mut Client) -> Vec<String> {
    client.send("PING :sync").await;
    client.seen.clear();
    client.expect("PONG :sync").await;
    client.seen.drain(..).filter(|line| line.contains("TAGMSG")).collect()
}

/// Who is heard to be typing, or no longer.
fn heard(net: &Net) -> Vec<(Address, bool)> {
    let typing = |e: Inbound| match e.event {
        Event::Typing { on, .. } => Some((e.from, on)),
        _ => None,
    };
    net.host.take_emits().into_iter().filter_map(typing).collect()
}

#[tokio::test]
async fn who_is_not_said_to_be_typing_any_more_has_stopped() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "message-tags", "romeo juliet nurse tybalt").await;
    for nick in ["juliet", "nurse", "tybalt"] {
        client.send(&format!("@+typing=active :{nick}!x@y TAGMSG #c")).await;
    }
    client.send("@+typing=active :juliet!x@y TAGMSG romeo").await;
    assert_eq!(told(&mut client).await, [""; 0]);
    assert_eq!(heard(&net).len(), 4);
    later(Duration::from_secs(4)).await;
    client.send("@+typing=active :juliet!x@y TAGMSG #c").await;
    client.send(":nurse!x@y PRIVMSG #c :there it is").await;
    client.send(":tybalt!x@y PART #c").await;
    told(&mut client).await;
    assert_eq!(heard(&net), [(net.occupant(ROOM, "juliet"), true)]);
    later(Duration::from_secs(4)).await;
    let over = |e: &Inbound| matches!(e.event, Event::Typing { on: false, .. });
    assert_eq!(net.host.emitted("the end of it", over).await.from, net.address("juliet%net"));
    told(&mut client).await;
    assert_eq!(heard(&net), [], "who speaks or goes has stopped by that");
    later(Duration::from_secs(3)).await;
    assert_eq!(net.host.emitted("the end of it", over).await.from, net.occupant(ROOM, "juliet"));
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn who_goes_on_typing_is_said_to_until_they_have_said_it() {
    const ACTIVE: &str = "@+typing=active TAGMSG #c";
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "message-tags", "romeo juliet").await;
    session.deliver(net.address(ROOM), typing(false)).await;
    assert_eq!(told(&mut client).await, [""; 0], "what was never begun has no end");
    session.send(net.address(ROOM), typing(true));
    assert_eq!(client.expect("@").await, ACTIVE);
    // The bound is each one's own.
    session.send(net.address("juliet%net"), typing(true));
    assert_eq!(client.expect("@").await, "@+typing=active TAGMSG juliet");
    session.deliver(net.address("juliet%net"), typing(false)).await;
    session.deliver(net.address(ROOM), typing(true)).await;
    assert_eq!(told(&mut client).await, [""; 0], "three seconds are not over");
    later(Duration::from_secs(3)).await;
    let mut both = [client.expect("@").await, client.expect("@").await];
    both.sort();
    assert_eq!(both, [ACTIVE, "@+typing=done TAGMSG juliet"]);
    later(Duration::from_secs(3)).await;
    assert_eq!(client.expect("@").await, ACTIVE);
    session.send(net.address(ROOM), group("hello"));
    client.expect("PRIVMSG #c :hello").await;
    session.deliver(net.address(ROOM), typing(false)).await;
    later(Duration::from_secs(3)).await;
    assert_eq!(told(&mut client).await, [""; 0], "it is said, and done");
    // Of somebody who has forgotten what they began to write nothing is told for ever.
    session.send(net.address(ROOM), typing(true));
    assert_eq!(client.expect("@").await, ACTIVE);
    later(Duration::from_secs(61)).await;
    later(Duration::from_secs(3)).await;
    session.deliver(net.address(ROOM), typing(false)).await;
    assert_eq!(told(&mut client).await, [""; 0]);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn who_is_typing_where_nobody_is_to_be_told_hears_nothing_of_it() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "message-tags", "romeo juliet nurse").await;
    for place in ["juliet%net", "nurse%net", ROOM] {
        session.send(net.address(place), typing(true));
        client.expect("@+typing=active TAGMSG").await;
    }
    net.host.take_emits();
    // One has gone, one is called otherwise now, and in the room one has no voice.
    client.send(":irc.test 401 romeo juliet :No such nick").await;
    client.send(":nurse!n@v NICK angelica").await;
    client.send(":irc.test 404 romeo #c :Cannot send to channel").await;
    assert_eq!(told(&mut client).await, [""; 0]);
    later(Duration::from_secs(4)).await;
    assert_eq!(told(&mut client).await, [""; 0], "nor is it said again");
    assert!(!net.host.take_emits().iter().any(|e| matches!(e.event, Event::Notice { .. })), "and nobody has said it");
    // Who leaves types no more there.
    session.send(net.address(ROOM), typing(true));
    client.expect("@+typing=active TAGMSG #c").await;
    session.send(net.address(ROOM), Intent::Leave { status: None });
    client.expect("PART #c").await;
    later(Duration::from_secs(4)).await;
    client.seen.clear();
    client.send("PING :still there").await;
    client.send(":romeo!u@host.test PART #c").await;
    client.expect("QUIT").await;
    assert!(!client.seen.iter().any(|line| line.contains("TAGMSG")), "{:?}", client.seen);
    session.stop().await.expect("stops");
}
