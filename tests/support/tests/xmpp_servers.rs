//! The launchers of the real XMPP servers do what they say.
#![allow(clippy::unwrap_used, reason = "a test")]

use isthmus_testkit::server::{Flavour, Options, XmppServer};

async fn serves_and_restarts(flavour: Flavour) {
    let mut server = XmppServer::start(flavour, Options::default()).await.unwrap();
    server.stop().await.unwrap();
    assert!(tokio::net::TcpStream::connect(server.c2s()).await.is_err(), "it listens after the stop");
    server.launch().await.unwrap();
    if flavour == Flavour::Prosody {
        server.kill();
        server.launch().await.unwrap();
    }
    server.add_user("late@localhost").await.unwrap();
}

#[tokio::test]
async fn prosody_starts_ready_and_starts_again_on_its_data() {
    serves_and_restarts(Flavour::Prosody).await;
}

#[tokio::test]
async fn ejabberd_starts_ready_and_starts_again_on_its_data() {
    serves_and_restarts(Flavour::Ejabberd).await;
}
