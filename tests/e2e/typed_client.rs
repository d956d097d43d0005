//! tokio-xmpp's client talks to a contact.

use std::time::Duration;

use futures_util::StreamExt;
use isthmus_testkit::server::{Flavour, password};
use tokio_xmpp::connect::DnsConfig;
use tokio_xmpp::parsers::message::{Lang, Message};
use tokio_xmpp::parsers::presence::Presence;
use tokio_xmpp::xmlstream::Timeouts;
use tokio_xmpp::{Client, Event, Stanza, jid::Jid};

use crate::world::World;

crate::on_both!(a_typed_client_gets_its_echo);

async fn a_typed_client_gets_its_echo(flavour: Flavour) {
    let world = World::echo(flavour).await;
    let jid: Jid = "bob@localhost/typed".parse().unwrap();
    let server = DnsConfig::addr(&world.server.c2s().to_string());
    let mut client = Client::new_plaintext(jid, password("bob@localhost"), server, Timeouts::default());
    let echo = tokio::time::timeout(Duration::from_secs(60), async {
        while let Some(event) = client.next().await {
            match event {
                Event::Online { .. } => {
                    client.send_stanza(Presence::available().into()).await.unwrap();
                    let to: Jid = "carol@echo.localhost".parse().unwrap();
                    let message = Message::chat(to).with_body(Lang::default(), "typed".to_owned());
                    client.send_stanza(message.into()).await.unwrap();
                }
                // Prosody's mod_privilege greets everybody with an empty message.
                Event::Stanza(Stanza::Message(message)) if !message.bodies.is_empty() => return Some(message),
                _ => {}
            }
        }
        None
    });
    let echo = echo.await.expect("an echo in time").expect("a message");
    assert_eq!(echo.bodies.values().next().map(String::as_str), Some("typed"), "{echo:?}");
    assert_eq!(echo.from.map(|from| from.to_bare().to_string()).as_deref(), Some("carol@echo.localhost"));
    client.send_end().await.unwrap();
}
