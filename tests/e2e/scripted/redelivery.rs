//! What the server has not acknowledged is sent again on the next stream, the same, oldest first.

use isthmus_testkit::fake::Seen;
use isthmus_testkit::xml::Element;

use super::{ALICE, ECHO, PING, attached, chat};

fn numbered(stanza: &Element) -> bool {
    stanza.name == "message" && stanza.body().is_some_and(|body| body.starts_with("number"))
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_with_the_same_id_and_a_delay() {
    let (mut server, _gateway) = attached("held").await;
    // The first time round the barrier is proven; from now on its pings do not come back.
    server.send(ECHO, chat("m", "first")).unwrap();
    server.stanza("the first echo", |s| s.body() == Some("first")).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    server.rules(|rules| rules.route = false);
    for number in 0..5 {
        server.send(ECHO, chat(&format!("m{number}"), &format!("number {number}"))).unwrap();
    }
    // One window is under way at a time: what it holds is seen, what came later waits behind its barrier.
    let mut first = vec![server.stanza("an echo", numbered).await.unwrap()];
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    for seen in server.drain() {
        if let Seen::Stanza { element, .. } = seen
            && numbered(&element)
        {
            first.push(element);
        }
    }
    server.rules(|rules| rules.route = true);
    server.cut(ECHO).unwrap();
    server.attached(ECHO).await.unwrap();
    let mut second = Vec::new();
    while second.len() < 5 {
        second.push(server.stanza("an echo again", numbered).await.unwrap());
    }
    let bodies: Vec<&str> = second.iter().filter_map(Element::body).collect();
    assert_eq!(bodies, ["number 0", "number 1", "number 2", "number 3", "number 4"], "another order");
    for (before, after) in first.iter().zip(&second) {
        assert_eq!((before.attr("id"), before.body()), (after.attr("id"), after.body()), "\n{before}\n{after}");
        assert!(after.has("delay", "urn:xmpp:delay"), "no delay: {after}");
    }
    // Now acknowledged: another stream brings nothing more.
    server.ask(ALICE, ECHO, "get", PING).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    server.cut(ECHO).unwrap();
    server.attached(ECHO).await.unwrap();
    server.ask(ALICE, ECHO, "get", PING).await.unwrap();
    let more = server.drain().into_iter().filter(|seen| format!("{seen:?}").contains("number ")).count();
    assert_eq!(more, 0, "acknowledged and sent again");
}

#[tokio::test]
async fn what_was_accepted_survives_a_kill_of_the_gateway() {
    let (mut server, mut gateway) = attached("held").await;
    for number in 0..30 {
        server.send(ECHO, chat(&format!("m{number}"), &format!("number {number}"))).unwrap();
    }
    let pong = server.ask(ALICE, ECHO, "get", PING).await.unwrap();
    assert_eq!(pong.attr("type"), Some("result"));
    gateway.kill();
    gateway.launch().await.unwrap();
    for number in 0..30 {
        let body = format!("number {number}");
        server.stanza(&body, |s| s.body() == Some(&body)).await.unwrap();
    }
}

#[tokio::test]
async fn a_stanza_that_ends_the_stream_is_put_aside_and_the_others_arrive() {
    let (mut server, _gateway) = attached("held").await;
    for number in 0..5 {
        let body = if number == 2 { "number 2 poison".to_owned() } else { format!("number {number}") };
        server.send(ECHO, chat(&format!("m{number}"), &body)).unwrap();
    }
    // The server ends the stream whenever it meets the third, as if it could not bear it.
    let mut arrived = std::collections::BTreeSet::new();
    let mut ends = 0;
    while arrived.len() < 4 {
        let next = server.stanza("an echo", numbered).await.unwrap();
        let body = next.body().unwrap_or_default().to_owned();
        if body.contains("poison") {
            ends += 1;
            assert!(ends < 20, "the poison comes again and again");
            let _ = server.stream_error(ECHO, "policy-violation");
            server.attached(ECHO).await.unwrap();
        } else {
            arrived.insert(body);
        }
    }
    let pong = server.ask(ALICE, ECHO, "get", PING).await.unwrap();
    assert_eq!(pong.attr("type"), Some("result"));
}
