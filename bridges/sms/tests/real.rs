//! A real Kannel with its fake phone network: both directions, UCS-2, long texts, reports in whatever order they come.

mod common;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use common::{HERS, JULIET, PHONE, SHARED, World, body_of, contact};
use http::Request;
use isthmus_bridge::suite::{FakeHost, build};
use isthmus_bridge::{Bridge, Host, Late};
use isthmus_sms::Sms;
use isthmus_testkit::httpd::{Act, Heard, Httpd};
use isthmus_testkit::kannel::{Kannel, USER};
use isthmus_testkit::wait::until;
use serde_json::json;
use url::Url;

/// What webhooks are handed to, once it is there.
type Taker = Arc<OnceLock<(Arc<dyn Bridge>, Host)>>;

struct Real {
    world: World,
    kannel: Kannel,
    _hooks: Httpd,
}

impl Real {
    async fn start() -> Self {
        let taker: Taker = Arc::default();
        let behind = taker.clone();
        let hooks = Httpd::start(Arc::new(move |heard| {
            let behind = behind.clone();
            Box::pin(async move { hand_over(&behind, heard).await })
        }));
        let hooks = hooks.await.expect("a listener");
        let get_url =
            format!("{}/hooks/sms/kannel/in/s3cret?from=%p&to=%P&text=%b&charset=%C&id=%I&at=%T", hooks.url());
        let kannel = Kannel::start(&get_url).await.expect("Kannel");
        let (user, password) = USER;
        let mut keys = common::kannel(&kannel.sendsms(), json!({}));
        keys["credentials"]["username"] = json!(user);
        keys["credentials"]["password"] = json!(password);
        let bridge = build(&Sms, keys).expect("sound");
        let fake = FakeHost::reachable(&bridge, Url::parse(&hooks.url()).expect("a URL"));
        let world = World::at(bridge, fake).await;
        assert!(taker.set((world.bridge.clone(), world.host.clone())).is_ok());
        Self { world, kannel, _hooks: hooks }
    }

    /// Says it and waits until the phone has it and its delivery is reported.
    async fn carried(&self, body: &str) -> isthmus_testkit::kannel::Arrived {
        self.world.say(PHONE, body).await.expect("taken");
        let (key, ..) = self.world.fake.settled().pop().expect("settled");
        let arrived = self.kannel.phones().received("the text", |a| a.text == body).await.expect("on the phone");
        let reported = until("the report", Duration::from_secs(30), || async {
            anyhow_ok(self.world.fake.state_of(&key) == Some(Late::Delivered))
        });
        reported.await.expect("a receipt");
        arrived
    }
}

fn anyhow_ok(done: bool) -> Result<(), anyhow::Error> {
    anyhow::ensure!(done, "not yet");
    Ok(())
}

async fn hand_over(taker: &Taker, heard: Heard) -> Act {
    let Some((bridge, host)) = taker.get() else { return Act::text(503, "") };
    let request = Request::builder().method(heard.method.as_str()).uri(heard.target).body(Bytes::from(heard.body));
    let response = bridge.webhook(request.expect("a request"), host).await;
    Act::text(response.status().as_u16(), String::from_utf8_lossy(response.body()).into_owned())
}

#[tokio::test]
async fn texts_reach_the_phone_and_are_reported() {
    let real = Real::start().await;
    let plain = real.carried("Hello (from) [all] & sundry: 5 €?").await;
    assert_eq!((plain.from.as_str(), plain.to.as_str(), plain.parts, plain.ucs2), (HERS, PHONE, 1, false));
    let unicode = real.carried("Привет, мир! \u{1F600}").await;
    assert_eq!((unicode.parts, unicode.ucs2), (1, true));
    let long = real.carried("a long text is cut by the network. ".repeat(12).trim_end()).await;
    assert_eq!((long.parts, long.ucs2), (3, false));
    let long = real.carried("длинный текст ".repeat(12).trim_end()).await;
    assert_eq!((long.parts, long.ucs2), (3, true));
    // Each report came once or twice (taken by the SMSC, delivered), in either order; none made a failure.
    assert!(real.world.fake.told().iter().all(|t| t.what == Late::Delivered));
}

#[tokio::test]
async fn texts_from_the_phone_reach_the_user() {
    let real = Real::start().await;
    let phones = real.kannel.phones();
    for text in ["hello from the phone", "привет, как дела? \u{1F600}", "grüße & küsse, 100% + 5"] {
        phones.send(PHONE, HERS, text).await.expect("sent");
        let event = real.world.fake.accepted("the text", |e| body_of(e).as_deref() == Some(text)).await;
        assert_eq!((event.to.as_str(), &event.from), (JULIET, &contact(PHONE)));
    }
    // Eight bits: words are words, and what is none is a file.
    phones.send_data(PHONE, HERS, b"plain words as data").await.expect("sent");
    real.world.fake.accepted("the words", |e| body_of(e).as_deref() == Some("plain words as data")).await;
    phones.send_data(PHONE, HERS, &[0x00, 0xff, 0x10, 0x80]).await.expect("sent");
    let is_file = |e: &isthmus_bridge::Inbound| matches!(&e.event, isthmus_bridge::Event::Message(m) if m.files.len() == 1 && m.files[0].media.size == Some(4));
    real.world.fake.accepted("the file", is_file).await;
    // A shared number: to the owner first, and after she wrote to her.
    phones.send(PHONE, SHARED, "anybody there?").await.expect("sent");
    let event = real.world.fake.accepted("the question", |e| body_of(e).as_deref() == Some("anybody there?")).await;
    assert_eq!(event.to.as_str(), "desk@example.org");
    real.world.romeo.say(contact(PHONE), "it is me").await.expect("taken");
    phones.received("the answer", |a| a.from == SHARED && a.text == "it is me").await.expect("on the phone");
    phones.send(PHONE, SHARED, "hello romeo").await.expect("sent");
    let event = real.world.fake.accepted("the greeting", |e| body_of(e).as_deref() == Some("hello romeo")).await;
    assert_eq!(event.to.as_str(), common::ROMEO);
}

#[tokio::test]
async fn a_kannel_that_is_down_or_refuses_is_certain() {
    let mut real = Real::start().await;
    let error = real.world.say("+15551112222", &"x".repeat(1600)).await.expect_err("over its own bound of segments");
    assert_eq!(error.sent, isthmus_bridge::Sent::No, "{error:?}");
    real.kannel.stop_smsbox();
    let error = real.world.say(PHONE, "hello").await.expect_err("down");
    assert_eq!((error.sent, error.retry), (isthmus_bridge::Sent::No, isthmus_bridge::Retry::ByPolicy));
    real.kannel.start_smsbox().await.expect("Kannel");
    real.carried("up again").await;
}
