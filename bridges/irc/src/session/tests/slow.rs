//! Servers that take their time to complain.

use std::time::Duration;

use super::faults::later;
use super::*;

#[tokio::test]
async fn what_is_said_counts_as_taken_when_the_server_has_come_so_far() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    client.is_slow();
    let taken = session.send(net.address("#c%net"), group("hear me"));
    let refused = session.send(net.address("nobody%net"), chat("hello?"));
    client.expect("PRIVMSG nobody").await;
    later(Duration::from_secs(2)).await;
    assert_eq!(client.expect("PING").await, "PING :said-1");
    // More is said meanwhile, and asked after when this is answered.
    let further = session.send(net.address("juliet%net"), chat("psst"));
    client.expect("PRIVMSG juliet").await;
    later(Duration::from_secs(10)).await;
    client.send(":irc.test 401 romeo nobody :No such nick/channel").await;
    assert_eq!(failure(&net.host, &refused).await, Some(Failure::NoSuchRecipient), "late, and known all the same");
    let is_settled = |key: &isthmus_bridge::DeliveryKey| net.host.settled().iter().any(|(settled, ..)| settled == key);
    assert!(!is_settled(&taken) && !is_settled(&further));
    assert!(!client.seen.iter().any(|line| line.starts_with("PING :said")), "one at a time: {:?}", client.seen);
    net.host.take_emits();
    client.send(":irc.test PONG irc.test :said-1").await;
    assert_eq!(failure(&net.host, &taken).await, None);
    assert_eq!(client.expect("PING").await, "PING :said-2");
    assert!(!is_settled(&further));
    // An old answer says nothing of it; where none comes at all, it is as it is.
    client.send(":irc.test PONG irc.test :said-1").await;
    client.send("PING :sync").await;
    client.expect("PONG :sync").await;
    assert!(!is_settled(&further));
    later(Duration::from_secs(30)).await;
    assert_eq!(failure(&net.host, &further).await, None);
    assert!(!net.host.take_emits().iter().any(|e| matches!(e.event, Event::Notice { .. })), "nobody has asked");
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn nobody_waits_for_a_server_that_does_not_say_how_far_it_has_come() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    client.is_slow();
    let said = session.send(net.address("#c%net"), group("farewell"));
    client.expect("PRIVMSG").await;
    later(Duration::from_secs(2)).await;
    client.expect("PING :said-1").await;
    session.send(net.address("#c%net"), Intent::Leave { status: None });
    client.expect("PART #c").await;
    client.send(":romeo!u@host.test PART #c").await;
    client.expect("QUIT").await;
    assert_eq!(failure(&net.host, &said).await, None, "nobody has complained");
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn what_nobody_waits_for_does_not_keep_words_from_being_taken() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    net.host.set_default("throttle", "1 1");
    let session = net.session();
    let rooms: Vec<String> = (0..40).map(|n| format!("#r{n}")).collect();
    for room in &rooms {
        session.send(net.address(&format!("{room}%net")), join("romeo"));
    }
    let mut client = stage.accept().await;
    client.register("", "").await;
    for room in &rooms {
        client.send(&format!(":romeo!u@host.test JOIN {room}")).await;
        client.send(&format!(":irc.test 353 romeo = {room} :romeo")).await;
        client.send(&format!(":irc.test 366 romeo {room} :End")).await;
        net.host.emitted("the end of the join", |e| e.event == Event::Room(RoomChange::Joined)).await;
    }
    // Forty questions for modes wait for their turn, one a second.
    let said = session.send(net.address("#r0%net"), group("hear me"));
    later(Duration::from_secs(2)).await;
    while !client.expect("P").await.starts_with("PRIVMSG") {}
    for _ in 0..4 {
        later(Duration::from_secs(1)).await;
    }
    assert_eq!(failure(&net.host, &said).await, None);
    let asked = client.seen.iter().filter(|line| line.starts_with("MODE")).count();
    assert!(asked < 20, "{asked} of them went first");
    session.stop().await.expect("stops");
}
