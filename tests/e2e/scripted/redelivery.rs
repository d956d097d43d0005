//! What the server has not acknowledged is sent again on the next stream, the same, oldest first.

use isthmus_testkit::xml::Element;

use super::{ALICE, ECHO, PING, attached, chat};

fn numbered(stanza: &Element) -> bool {
    stanza.name == "message" && stanza.body().is_some_and(|body| body.starts_with("number"))
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
