//! Secrets, conflicts, servers that come and go.

use std::time::Duration;

use isthmus_testkit::fake::{Attach, FakeXmpp};

use super::{ALICE, ECHO, PING, attached, chat, configured};

#[tokio::test]
async fn an_unknown_host_is_explained_and_ends_the_program() {
    let server = FakeXmpp::start(&["other.localhost"]).await.unwrap();
    let mut gateway = configured(&server, "live").write().unwrap();
    gateway.spawn().unwrap();
    let status = gateway.ended(Duration::from_secs(60)).await.unwrap();
    assert!(!status.success());
    assert!(gateway.log().contains(ECHO), "{}", gateway.log());
}

#[tokio::test]
async fn a_conflict_is_named_and_tried_again() {
    let mut server = FakeXmpp::start(&[ECHO]).await.unwrap();
    server.rules(|rules| rules.attach = Attach::Refuse("conflict"));
    let mut gateway = configured(&server, "live").write().unwrap();
    gateway.spawn().unwrap();
    gateway.logged("another component").await.unwrap();
    server.rules(|rules| rules.attach = Attach::Check);
    server.attached(ECHO).await.unwrap();
    gateway.ready().await.unwrap();
}

#[tokio::test]
async fn a_cut_stream_is_attached_again() {
    let (mut server, _gateway) = attached("live").await;
    for _ in 0..3 {
        server.cut(ECHO).unwrap();
        server.attached(ECHO).await.unwrap();
        let pong = server.ask(ALICE, ECHO, "get", PING).await.unwrap();
        assert_eq!(pong.attr("type"), Some("result"), "{pong}");
    }
}

#[tokio::test]
async fn a_server_that_went_down_is_found_again() {
    let (mut server, _gateway) = attached("live").await;
    server.go_down();
    server.come_up().await.unwrap();
    server.attached(ECHO).await.unwrap();
    server.send(ECHO, chat("m1", "hello")).unwrap();
    server.stanza("the echo", |s| s.body() == Some("hello")).await.unwrap();
}

#[tokio::test]
async fn a_stop_is_orderly() {
    let (mut server, mut gateway) = attached("live").await;
    server.send(ECHO, format!("<presence from='alice@localhost' to='carol@{ECHO}' type='subscribe'/>")).unwrap();
    server.stanza("subscribed", |s| s.attr("type") == Some("subscribed")).await.unwrap();
    let status = gateway.stop().await.unwrap();
    assert!(status.success(), "{status}");
    server.stanza("unavailable", |s| s.name == "presence" && s.attr("type") == Some("unavailable")).await.unwrap();
}
