//! What the tests of the outbound half share: a bridge in front of a relay, and Juliet, who writes.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

use std::net::SocketAddr;
use std::sync::Arc;

use isthmus_bridge::suite::{FakeHost, Session, build};
use isthmus_bridge::{Address, BareJid, Bridge, ContactId, DeliveryError, Host, Intent, Leg, Message};
use isthmus_email::Email;
use serde_json::{Value, json};

pub const JULIET: &str = "juliet@example.org";

/// `[smtp]` of a relay, with what a test adds to it.
pub fn relay(address: SocketAddr, more: Value) -> Value {
    let mut smtp =
        json!({"host": "127.0.0.1", "port": address.port(), "timeout_seconds": 5, "final_timeout_seconds": 5});
    if let (Value::Object(all), Value::Object(more)) = (&mut smtp, more) {
        all.extend(more);
    }
    smtp
}

pub struct Juliet {
    pub bridge: Arc<dyn Bridge>,
    pub host: Arc<FakeHost>,
    pub session: Session,
}

impl Juliet {
    /// Registered as `juliet@email.example`, writing over this relay.
    pub async fn at(smtp: Value, more: Value) -> Self {
        let mut keys = json!({"smtp": smtp, "mail_domain": "gw.test"});
        if let (Value::Object(all), Value::Object(more)) = (&mut keys, more) {
            all.extend(more);
        }
        let bridge = build(&Email, keys).unwrap_or_else(|faults| panic!("{faults:?}"));
        let host = FakeHost::of(&bridge);
        let juliet = BareJid::from(JULIET);
        host.register(&juliet);
        let given: Host = host.host();
        given.claim(&juliet, &ContactId::from("juliet@gw.test")).await.expect("a free alias");
        let session = Session::start(&bridge, &host, JULIET, &contact("alice@outside.test"));
        Self { bridge, host, session }
    }

    pub async fn say(&self, to: &str, body: &str) -> Result<Vec<Leg>, DeliveryError> {
        self.session.say(contact(to), body).await
    }

    pub async fn send(&self, to: &str, message: Message) -> Vec<Leg> {
        self.session.deliver(contact(to), Intent::Send(Box::new(message))).await
    }
}

pub fn contact(address: &str) -> Address {
    Address::Contact(ContactId::from(address))
}
