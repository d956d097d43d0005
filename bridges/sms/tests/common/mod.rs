//! What the tests share: a bridge in front of a scripted provider, and Juliet, who writes.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use isthmus_bridge::suite::{FakeHost, Session, build};
use isthmus_bridge::{
    Address, Bridge, ContactId, DeliveryError, Event, Host, Inbound, Intent, Leg, Message, Outcome, Recipient,
};
use isthmus_sms::Sms;
use isthmus_testkit::httpd::{Act, Httpd};
use serde_json::{Value, json};

pub const JULIET: &str = "juliet@example.org";
pub const ROMEO: &str = "romeo@example.org";
/// Juliet's own number.
pub const HERS: &str = "+15550001111";
/// A number that all share.
pub const SHARED: &str = "+15550002222";
/// Somebody's phone.
pub const PHONE: &str = "+15551112222";

/// Keys of a bridge whose texts go to this Kannel; `more` is added.
pub fn kannel(url: &str, more: Value) -> Value {
    let mut keys = json!({
        "country": "US",
        "provider": "providers/kannel.toml",
        "credentials": {"username": "gw", "password": "pw", "webhook_secret": "s3cret", "url": url},
        "numbers": [{"number": HERS, "user": JULIET}, {"number": SHARED, "shared": true, "owner": "desk@example.org"}],
    });
    merge(&mut keys, more);
    keys
}

pub fn merge(keys: &mut Value, more: Value) {
    if let (Value::Object(keys), Value::Object(more)) = (keys, more) {
        keys.extend(more);
    }
}

pub struct World {
    pub bridge: Arc<dyn Bridge>,
    pub fake: Arc<FakeHost>,
    pub host: Host,
    pub juliet: Session,
    pub romeo: Session,
}

impl World {
    pub async fn of(keys: Value) -> Self {
        let bridge = build(&Sms, keys).unwrap_or_else(|faults| panic!("{faults:?}"));
        let fake = FakeHost::of(&bridge);
        Self::at(bridge, fake).await
    }

    pub async fn at(bridge: Arc<dyn Bridge>, fake: Arc<FakeHost>) -> Self {
        let host: Host = fake.host();
        for user in [JULIET, ROMEO] {
            fake.register(&user.into());
        }
        fake.own(&JULIET.into(), &ContactId::from(HERS));
        let session = |user: &str| Session::start(&bridge, &fake, user, &contact(PHONE));
        let (juliet, romeo) = (session(JULIET), session(ROMEO));
        Self { bridge, fake, host, juliet, romeo }
    }

    /// In front of a scripted Kannel.
    pub async fn kannel(server: &Httpd, more: Value) -> Self {
        Self::of(kannel(&server.url(), more)).await
    }

    pub async fn say(&self, to: &str, body: &str) -> Result<Vec<Leg>, DeliveryError> {
        self.juliet.say(contact(to), body).await
    }

    pub async fn send(&self, message: Message) -> Vec<Leg> {
        self.juliet.deliver(contact(PHONE), Intent::Send(Box::new(message))).await
    }

    pub async fn to_several(&self, to: &[&str], body: &str) -> Vec<Leg> {
        let mut event = self.fake.outbound(&JULIET.into(), contact(to[0]), text(body));
        event.to = to.iter().map(|n| Recipient::to(contact(n))).collect();
        let key = self.juliet.send_event(event);
        match self.fake.outcome_of(&key).await {
            Outcome::Legs(legs) => legs,
            other => panic!("{other:?}"),
        }
    }

    /// A call under `/hooks/sms/`.
    pub async fn call(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Response<Bytes> {
        let mut request = Request::builder().method(method).uri(format!("/hooks/sms/{target}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.bridge.webhook(request.body(Bytes::from(body.to_owned())).expect("a request"), &self.host).await
    }

    /// A text from a phone, as Kannel hands it over.
    pub async fn text_in(&self, to: &str, id: &str, body: &str) -> StatusCode {
        let query = query(&[("from", PHONE), ("to", to), ("text", body), ("id", id), ("at", "1700000000")]);
        self.call("GET", &format!("kannel/in/s3cret?{query}"), &[], "").await.status()
    }

    /// A report of Kannel's.
    pub async fn report(&self, id: &str, status: &str) -> StatusCode {
        let query = query(&[("id", id), ("status", status), ("words", "NACK/")]);
        self.call("GET", &format!("kannel/report/s3cret?{query}"), &[], "").await.status()
    }

    pub fn bodies(&self) -> Vec<(String, String)> {
        self.fake.accepts().iter().filter_map(|e| Some((e.to.to_string(), body_of(e)?))).collect()
    }
}

pub fn body_of(event: &Inbound) -> Option<String> {
    match &event.event {
        Event::Message(message) => Some(message.body.clone()),
        _ => None,
    }
}

pub fn query(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

pub fn contact(number: &str) -> Address {
    Address::Contact(ContactId::from(number))
}

pub fn text(body: &str) -> Intent {
    Intent::Send(Box::new(Message::chat(body)))
}

/// A provider that takes everything, as Kannel does.
pub async fn taking() -> Httpd {
    Httpd::answering(|_| Act::text(202, "0: Accepted for delivery")).await.expect("a provider")
}
