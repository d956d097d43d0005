//! slixmpp as a test client, on both servers.
#![allow(clippy::unwrap_used, reason = "a test")]

use isthmus_testkit::server::{Flavour, Options, XmppServer};
use isthmus_testkit::slix::SlixClient;

async fn talks(flavour: Flavour) {
    let mut server = XmppServer::start(flavour, Options::default()).await.unwrap();
    let mut alice = SlixClient::online(&server, "alice@localhost/desk").await.unwrap();
    let mut bob = SlixClient::online(&server, "bob@localhost/phone").await.unwrap();
    alice.message("bob@localhost", "a < b & 'c' \u{1f600}").await.unwrap();
    let got = bob.body("a < b & 'c' \u{1f600}").await.unwrap();
    assert_eq!(got.attr("from"), Some("alice@localhost/desk"));
    assert_eq!(alice.ping("localhost").await.unwrap().attr("type"), Some("result"));
    // Nothing attached: the server answers for the component.
    let id = alice.message("x@echo.localhost", "lost").await.unwrap();
    let error = alice.find("an error", |s| s.attr("id") == Some(&id)).await.unwrap();
    assert!(error.error().is_some(), "{error}");
    server.stop().await.unwrap();
    assert!(alice.ping("localhost").await.is_err(), "it does not notice that the server went away");
    server.launch().await.unwrap();
    alice.reconnect().await.unwrap();
    alice.available().await.unwrap();
}

#[tokio::test]
async fn slixmpp_talks_through_prosody() {
    talks(Flavour::Prosody).await;
}

#[tokio::test]
async fn slixmpp_talks_through_ejabberd() {
    talks(Flavour::Ejabberd).await;
}
