//! Scripted dialogues: the test is the server, or the core, or both.

mod bad_input;
mod choices;
mod connecting;
mod faults;
mod heard;
mod ircd;
mod ircv3;
mod keys;
mod leaving;
mod returns;
mod rooms;
mod secrets;
mod size;
mod slow;
mod typing;
mod who;
mod whose;
mod wishes;
mod words;

use std::sync::Arc;

use isthmus_bridge::suite::{FakeHost, Session, build};
use isthmus_bridge::{Address, Bridge, DeliveryError, Event, Failure, Inbound, Intent, Leg, Message, RoomChange, Text};
use serde_json::json;

use self::ircd::{Client, Stage};

const USER: &str = "romeo@example.org";

/// A bridge whose networks are all at one port of loopback.
struct Net {
    bridge: Arc<dyn Bridge>,
    host: Arc<FakeHost>,
}

impl Net {
    fn at(port: u16) -> Self {
        Self::with(port, json!({"allow_private_networks": true}))
    }

    /// With these keys of the configuration.
    fn with(port: u16, keys: serde_json::Value) -> Self {
        let net = Self::by_name(keys);
        prepare(&net.host, port);
        net
    }

    /// The same where nothing is set: networks are the hosts of their names.
    fn by_name(keys: serde_json::Value) -> Self {
        let bridge = build(&crate::Irc, keys).expect("good keys");
        let host = FakeHost::of(&bridge);
        Self { bridge, host }
    }

    fn address(&self, local: &str) -> Address {
        self.bridge.addressing().parse(Some(local), None).expect("a good local part")
    }

    fn occupant(&self, local: &str, nick: &str) -> Address {
        self.bridge.addressing().parse(Some(local), Some(nick)).expect("a good address")
    }

    fn session(&self) -> Session {
        Session::start(&self.bridge, &self.host, USER, &self.address("net"))
    }

    /// A session in a room, and the other end of its connection.
    async fn inside(&self, stage: &Stage, caps: &str, names: &str) -> (Session, Client) {
        let session = self.session();
        let key = session.send(self.address("#c%net"), join("romeo"));
        let mut client = stage.accept().await;
        client.register(caps, "PREFIX=(ov)@+").await;
        client.admit("#c", names).await;
        assert_eq!(failure(&self.host, &key).await, None, "the join");
        self.host.emitted("the end of the join", |e| e.event == Event::Room(RoomChange::Joined)).await;
        client.expect("MODE #c").await;
        self.host.take_emits();
        (session, client)
    }

    /// The next words of the bridge from an address.
    async fn told(&self, what: &str, is: impl Fn(&Text) -> bool) -> Text {
        let event = self.host.emitted(what, |e| matches!(&e.event, Event::Notice { text, .. } if is(text))).await;
        let Event::Notice { text, .. } = event.event else { panic!("a notice") };
        text
    }
}

fn prepare(host: &FakeHost, port: u16) {
    for (key, value) in
        [("address", "127.0.0.1"), ("tls_ports", ""), ("ports", &port.to_string()), ("throttle", "1000 0")]
    {
        host.set_default(key, value);
    }
}

fn join(nick: &str) -> Intent {
    Intent::Join { nick: nick.to_owned(), password: None }
}

fn group(body: &str) -> Intent {
    Intent::Send(Box::new(Message::group(body)))
}

fn chat(body: &str) -> Intent {
    Intent::Send(Box::new(Message::chat(body)))
}

async fn error(host: &FakeHost, key: &isthmus_bridge::DeliveryKey) -> Option<DeliveryError> {
    match host.outcome_of(key).await {
        isthmus_bridge::Outcome::Legs(legs) => legs.into_iter().find_map(|leg: Leg| leg.result.err()),
        _ => panic!("the ticket of {key} was dropped"),
    }
}

async fn failure(host: &FakeHost, key: &isthmus_bridge::DeliveryKey) -> Option<Failure> {
    error(host, key).await.map(|e| e.failure)
}

fn body(event: &Inbound) -> &str {
    match &event.event {
        Event::Message(message) => &message.body,
        other => panic!("a message, not {other:?}"),
    }
}

fn key_is(name: &'static str) -> impl Fn(&Text) -> bool {
    move |text| matches!(text, Text::Key { name: key, .. } if key == name)
}

mod contract {
    use super::ircd::Ircd;
    use super::prepare;

    isthmus_bridge::contract_suite!({
        let ircd = Ircd::start().await;
        let port = ircd.port;
        Contract::of(crate::Irc, serde_json::json!({"allow_private_networks": true, "rooms_per_user": 5}), "alice%net")
            .with_room("#lounge%net")
            .prepared(move |host| prepare(host, port))
            .holding(ircd)
    });
}
