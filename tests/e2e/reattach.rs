//! The server goes away and comes back; secrets and hosts are wrong.

use std::time::Duration;

use isthmus_testkit::isthmus::Setup;
use isthmus_testkit::server::{Flavour, Options, XmppServer};

use crate::world::World;

crate::on_both!(
    a_server_that_comes_back_finds_the_gateway_again,
    a_server_that_is_not_there_at_the_start_is_waited_for,
    a_wrong_secret_is_explained,
);

async fn a_server_that_comes_back_finds_the_gateway_again(flavour: Flavour) {
    let mut world = World::echo(flavour).await;
    let mut alice = world.client("alice").await;
    match flavour {
        Flavour::Prosody => world.server.kill(),
        Flavour::Ejabberd => world.server.stop().await.unwrap(),
    }
    world.server.launch().await.unwrap();
    while alice.find_within(Duration::from_secs(30), |_| false).await.is_ok() {}
    alice.reconnect().await.unwrap();
    alice.available().await.unwrap();
    // Until it has attached again, the server answers for it.
    isthmus_testkit::wait::until("the gateway again", Duration::from_secs(60), async || {
        let pong = alice.ping("echo.localhost").await?;
        anyhow::ensure!(pong.attr("type") == Some("result"), "{pong}");
        Ok(())
    })
    .await
    .unwrap();
    alice.message("carol@echo.localhost", "again").await.unwrap();
    alice.body("again").await.unwrap();
}

async fn a_server_that_is_not_there_at_the_start_is_waited_for(flavour: Flavour) {
    let mut server = XmppServer::start(flavour, Options::default()).await.unwrap();
    server.stop().await.unwrap();
    let setup = Setup::new(env!("CARGO_BIN_EXE_isthmus"), server.component());
    let mut gateway = setup.echo().write().unwrap();
    gateway.spawn().unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    gateway.check().unwrap();
    assert!(!gateway.log().contains("attached to the XMPP server"), "attached to nothing");
    server.launch().await.unwrap();
    gateway.ready().await.unwrap();
}

async fn a_wrong_secret_is_explained(flavour: Flavour) {
    let server = XmppServer::start(flavour, Options::default()).await.unwrap();
    let setup = Setup::new(env!("CARGO_BIN_EXE_isthmus"), server.component());
    let mut gateway = setup.echo().write().unwrap();
    let wrong = "kind = \"echo\"\ndomain = \"echo.localhost\"\nsecret = \"a wrong one\"\n";
    gateway.write("bridges/echo.toml", wrong).unwrap();
    gateway.spawn().unwrap();
    let status = gateway.ended(Duration::from_secs(60)).await.unwrap();
    assert!(!status.success(), "{status}");
    let log = gateway.log();
    assert!(log.contains("echo.localhost") && log.contains("secret"), "{log}");
    assert!(!log.contains("a wrong one"), "the secret is in the log");
}
