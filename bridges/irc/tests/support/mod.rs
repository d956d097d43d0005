//! What the tests on real servers share.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

use std::sync::Arc;

use isthmus_bridge::suite::{FakeHost, Session, build};
use isthmus_bridge::{Address, Bridge, Event, Failure, Inbound, Intent, Message};
use isthmus_irc::Irc;
use serde_json::json;

pub struct Net {
    pub bridge: Arc<dyn Bridge>,
    pub host: Arc<FakeHost>,
}

impl Net {
    /// A bridge whose networks are at this port of loopback.
    pub fn at(port: u16, tls: bool) -> Self {
        Self::with(port, tls, json!({"allow_private_networks": true}))
    }

    /// The same with these keys of the configuration.
    pub fn with(port: u16, tls: bool, keys: serde_json::Value) -> Self {
        let bridge = build(&Irc, keys).expect("good keys");
        let host = FakeHost::of(&bridge);
        let port = port.to_string();
        let (plain, encrypted) = if tls { ("", port.as_str()) } else { (port.as_str(), "") };
        let settings = [
            ("address", "127.0.0.1"),
            ("ports", plain),
            ("tls_ports", encrypted),
            ("verify_cert", "false"),
            ("throttle", "1000 0"),
        ];
        settings.iter().for_each(|(key, value)| host.set_default(key, value));
        Self { bridge, host }
    }

    pub fn address(&self, local: &str) -> Address {
        self.bridge.addressing().parse(Some(local), None).expect("a good local part")
    }

    pub fn occupant(&self, nick: &str) -> Address {
        self.bridge.addressing().parse(Some("#verona%net"), Some(nick)).expect("a good address")
    }

    pub async fn heard(&self, what: &str) -> (Inbound, String) {
        let event = self.host.emitted(what, |e| matches!(e.event, Event::Message(_))).await;
        let Event::Message(message) = &event.event else { panic!("a message") };
        let body = message.body.clone();
        (event, body)
    }
}

pub fn join(nick: &str) -> Intent {
    Intent::Join { nick: nick.to_owned(), password: None }
}

pub fn group(body: &str) -> Intent {
    Intent::Send(Box::new(Message::group(body)))
}

pub async fn done(session: &Session, to: Address, intent: Intent) -> Result<(), Failure> {
    session.deliver(to, intent).await[0].result.clone().map_err(|e| e.failure)
}
