//! Secrets, conflicts, servers that come and go.

use std::time::Duration;

use isthmus_testkit::fake::{Attach, FakeXmpp};
use isthmus_testkit::ircd::Ircd;
use isthmus_testkit::xml::Element;

use super::{ALICE, ECHO, PING, attached, chat, configured};

const IRC: &str = "irc.localhost";

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

/// By a service manager's signal, and by the one of a terminal.
#[tokio::test]
async fn a_stop_is_orderly() {
    for interrupt in [false, true] {
        let mut server = FakeXmpp::start(&[ECHO, IRC]).await.unwrap();
        let mut ircd = Ircd::start("", &[]).await.unwrap();
        let keys = format!("allow_private_networks = true\n{}", ircd.network());
        let mut gateway = configured(&server, "live").bridge("irc", "irc", IRC, &keys).start().await.unwrap();
        for domain in [ECHO, IRC] {
            server.attached(domain).await.unwrap();
        }
        server.send(ECHO, format!("<presence from='alice@localhost' to='carol@{ECHO}' type='subscribe'/>")).unwrap();
        server.stanza("subscribed", |s| s.attr("type") == Some("subscribed")).await.unwrap();
        let x = "<x xmlns='http://jabber.org/protocol/muc'/>";
        server.send(IRC, format!("<presence from='{ALICE}' to='#verona%net@{IRC}/alice'>{x}</presence>")).unwrap();
        server.stanza("the subject", |s| s.child("subject").is_some()).await.unwrap();
        let status = if interrupt { gateway.interrupt().await } else { gateway.stop().await }.unwrap();
        assert_eq!(status.code(), Some(0), "{status}");
        let quit = ircd.line("QUIT").await.unwrap();
        assert_eq!((quit.nick.as_str(), quit.line.as_str()), ("alice", "QUIT :Gateway shutdown"));
        let gone =
            |from: String| move |s: &Element| s.attr("from") == Some(&from) && s.attr("type") == Some("unavailable");
        server.stanza("the contact goes", gone(format!("carol@{ECHO}"))).await.unwrap();
        server.stanza("the room goes", gone(format!("#verona%net@{IRC}/alice"))).await.unwrap();
        for domain in [ECHO, IRC] {
            assert!(server.detached(domain).await.unwrap(), "{domain} has closed its stream");
        }
    }
}
