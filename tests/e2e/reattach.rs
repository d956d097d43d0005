//! The server goes away and comes back; secrets and hosts are wrong.

use std::time::Duration;

use isthmus_testkit::isthmus::Setup;
use isthmus_testkit::server::{Flavour, Options, XmppServer};

use isthmus_testkit::xml::Element;

use crate::irc::{DOMAIN, Irc, is_group, join, room};
use crate::world::World;

crate::on_both!(
    a_server_that_comes_back_finds_the_gateway_again,
    a_server_that_is_not_there_at_the_start_is_waited_for,
    a_wrong_secret_is_explained,
    what_is_said_while_the_server_is_away_is_there_when_it_is_back,
);

/// In private it waits in the store, in a room in its archive; the connection to the far network goes on meanwhile.
async fn what_is_said_while_the_server_is_away_is_there_when_it_is_back(flavour: Flavour) {
    let mut irc = Irc::with(flavour, "persistent_by_default = true\n").await;
    let mut juliet = irc.person("juliet").await;
    juliet.join("#verona").await.unwrap();
    let mut romeo = irc.world.client("romeo").await;
    let room = room("verona");
    join(&mut romeo, &room, "romeo").await;
    juliet.line(" JOIN ").await.unwrap();
    irc.world.server.stop().await.unwrap();
    isthmus_testkit::wait::until("the gateway sees it", Duration::from_secs(30), async || {
        anyhow::ensure!(irc.world.gateway.log().contains("not attached"), "it has not");
        Ok(())
    })
    .await
    .unwrap();
    for n in 0..3 {
        juliet.say("romeo", &format!("in private {n}")).await.unwrap();
        juliet.say("#verona", &format!("aloud {n}")).await.unwrap();
    }
    juliet.heard().await.unwrap();
    irc.world.server.launch().await.unwrap();
    while romeo.find_within(Duration::from_secs(30), |_| false).await.is_ok() {}
    romeo.reconnect().await.unwrap();
    romeo.available().await.unwrap();
    let hers = format!("juliet%net@{DOMAIN}");
    let private = |s: &Element| s.name == "message" && s.body().is_some_and(|b| b.starts_with("in private"));
    let mut heard = Vec::new();
    for _ in 0..3 {
        let words = romeo.find("her words", private).await.unwrap();
        assert_eq!(words.attr("from").and_then(|from| from.split('/').next()), Some(&*hers), "{words}");
        heard.extend(words.body().map(str::to_owned));
    }
    // The gateway and the client come back together: whether the server hands over what it kept for the client before
    // what comes just then is the server's matter (ejabberd does not always).
    heard.sort();
    assert_eq!(heard, ["in private 0", "in private 1", "in private 2"], "each once");
    isthmus_testkit::wait::until("the gateway again", Duration::from_secs(60), async || {
        let pong = romeo.ping(DOMAIN).await?;
        anyhow::ensure!(pong.attr("type") == Some("result"), "{pong}");
        Ok(())
    })
    .await
    .unwrap();
    let x = "<x xmlns='http://jabber.org/protocol/muc'/>";
    romeo.send(format!("<presence to='{room}/romeo' id='again'>{x}</presence>")).await.unwrap();
    for n in 0..3 {
        let is = |s: &Element| is_group(s) && s.body().is_some_and(|b| b.starts_with("aloud"));
        let heard = romeo.find("what was said in the room", is).await.unwrap();
        assert_eq!(heard.body(), Some(&*format!("aloud {n}")), "{heard}");
    }
    assert_eq!(romeo.drain().iter().find(|s| private(s)).map(Element::to_string), None, "nothing comes twice");
}

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
