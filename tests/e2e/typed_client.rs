//! tokio-xmpp's client talks to a contact.

use std::time::Duration;

use futures_util::StreamExt;
use isthmus_testkit::server::{Flavour, password};
use tokio::time::Instant;
use tokio_xmpp::connect::DnsConfig;
use tokio_xmpp::parsers::message::{Lang, Message};
use tokio_xmpp::parsers::presence::Presence;
use tokio_xmpp::xmlstream::Timeouts;
use tokio_xmpp::{Client, Event, Stanza, jid::Jid};

use crate::world::World;

crate::on_both!(a_typed_client_gets_its_echo);

async fn a_typed_client_gets_its_echo(flavour: Flavour) {
    let world = World::echo(flavour).await;
    // COMPAT(tokio-xmpp 6.0): now and then a client that has just come online writes nothing at all, not even its presence. Another one is taken then.
    for _ in 0..5 {
        match echo(&world).await {
            Ok(echo) => {
                assert_eq!(echo.bodies.values().next().map(String::as_str), Some("typed"), "{echo:?}");
                assert_eq!(echo.from.map(|from| from.to_bare().to_string()).as_deref(), Some("carol@echo.localhost"));
                return;
            }
            Err(seen) => assert!(seen.is_empty(), "no echo, only {seen:#?}"),
        }
    }
    panic!("no client wrote anything");
}

/// Logs in, says a word to a contact, gives its answer; else what came instead of it.
async fn echo(world: &World) -> Result<Message, Vec<String>> {
    let jid: Jid = "bob@localhost/typed".parse().unwrap();
    let server = DnsConfig::addr(&world.server.c2s().to_string());
    let mut client = Client::new_plaintext(jid, password("bob@localhost"), server, Timeouts::default());
    let mut seen = Vec::new();
    let begun = Instant::now();
    let answer = loop {
        // Where it was heard at all, the answer is only late.
        let patience = Duration::from_secs(if seen.is_empty() { 20 } else { 60 });
        let Ok(event) = tokio::time::timeout_at(begun + patience, client.next()).await else { return Err(seen) };
        match event {
            Some(Event::Online { .. }) => {
                client.send_stanza(Presence::available().into()).await.unwrap();
                let to: Jid = "carol@echo.localhost".parse().unwrap();
                let message = Message::chat(to).with_body(Lang::default(), "typed".to_owned());
                client.send_stanza(message.into()).await.unwrap();
            }
            // Prosody's mod_privilege greets everybody with an empty message.
            Some(Event::Stanza(Stanza::Message(message))) if !message.bodies.is_empty() => break Some(message),
            Some(other) => seen.push(format!("{other:?}")),
            None => break None,
        }
    };
    client.send_end().await.unwrap();
    answer.ok_or(seen)
}
