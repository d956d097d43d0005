//! What the server has not acknowledged is sent again on the next stream, the same, oldest first.

use std::time::{Duration, SystemTime};

use anyhow::ensure;
use isthmus_testkit::isthmus::Isthmus;
use isthmus_testkit::wait::until;
use isthmus_testkit::xml::Element;

use super::{ALICE, ECHO, PING, attached, chat};

fn numbered(stanza: &Element) -> bool {
    stanza.name == "message" && stanza.body().is_some_and(|body| body.starts_with("number"))
}

/// How many rows of the gateway's inbox there are of which this is true.
async fn rows(gateway: &Isthmus, which: &str) -> anyhow::Result<usize> {
    let database = gateway.folder().join("data/isthmus.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&database).read_only(true);
    let mut reader = <sqlx::SqliteConnection as sqlx::Connection>::connect_with(&options).await?;
    let count = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM inbox WHERE {which}"));
    let count: i64 = sqlx::query_scalar(count).fetch_one(&mut reader).await?;
    Ok(usize::try_from(count)?)
}

/// Until none is left of which this is true.
async fn none(gateway: &Isthmus, which: &str) {
    let probe = async || {
        let left = rows(gateway, which).await?;
        ensure!(left == 0, "{left} rows where {which}");
        Ok(())
    };
    until("what the server has taken", Duration::from_secs(30), probe).await.unwrap();
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_with_the_same_id_and_a_delay() {
    let (mut server, gateway) = attached("held").await;
    // The first time round the barrier is proven; from now on its pings do not come back.
    server.send(ECHO, chat("m", "first")).unwrap();
    server.stanza("the first echo", |s| s.body() == Some("first")).await.unwrap();
    none(&gateway, "state <> 3").await;
    server.rules(|rules| rules.route = false);
    for number in 0..5 {
        server.send(ECHO, chat(&format!("m{number}"), &format!("number {number}"))).unwrap();
    }
    // One window is under way at a time: what it holds is seen, what came later waits behind its barrier.
    let mut first = vec![server.stanza("an echo", numbered).await.unwrap()];
    let window = rows(&gateway, "state = 2").await.unwrap();
    while first.len() < window {
        first.push(server.stanza("an echo", numbered).await.unwrap());
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
    // Now acknowledged, and longer ago than the server's word is in doubt: another stream brings nothing more, but what is new.
    none(&gateway, "state <> 3").await;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    tokio::time::sleep(Duration::from_secs(6)).await;
    none(&gateway, &format!("state <> 3 OR changed > {now}")).await;
    server.cut(ECHO).unwrap();
    server.attached(ECHO).await.unwrap();
    server.send(ECHO, chat("m9", "the last")).unwrap();
    server.stanza("the last echo", |s| s.body() == Some("the last")).await.unwrap();
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
