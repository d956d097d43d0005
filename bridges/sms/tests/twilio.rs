//! Twilio without Twilio: requests against its published OpenAPI document, signatures against its own Python library, good and forged.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{HERS, JULIET, PHONE, World, body_of, contact};
use isthmus_bridge::{Event, FileSource, Late, Sent};
use isthmus_testkit::httpd::{Act, Httpd};
use isthmus_testkit::prism::Prism;
use isthmus_testkit::process::run;
use serde_json::{Value, json};

const SID: &str = "AC0123456789abcdef0123456789abcdef";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn document() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/twilio_messages_openapi.json")
}

fn keys(file: &str, api: &str, sid: &str) -> Value {
    json!({"country": "US", "provider": file, "credentials": {"account_sid": sid, "auth_token": TOKEN, "api": api},
        "numbers": [{"number": HERS, "user": JULIET}]})
}

#[tokio::test]
async fn requests_keep_to_the_published_document() {
    let prism = Prism::start(&document()).await.expect("prism");
    let file = "providers/twilio.toml";
    let world = World::of(keys(file, &prism.url(), SID)).await;
    for body in ["hello", "Привет & “мир” = 100% + 5 \u{1F600}", &"long ".repeat(100)] {
        let legs = world.say(PHONE, body).await.expect("the document allows it");
        assert!(legs[0].ids[0].as_str().starts_with("twilio:SM"), "{legs:?}");
    }
    // That prism does look: the same with a wrong account id, and without the recipient.
    let world = World::of(keys(file, &prism.url(), "nonsense")).await;
    let error = world.say(PHONE, "hello").await.expect_err("a wrong account id");
    assert_eq!(error.sent, Sent::No, "{error:?}");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/providers/twilio.toml");
    let text = std::fs::read_to_string(shipped).expect("the file").replace("To = ", "Too = ");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("twilio.toml");
    std::fs::write(&path, text).expect("written");
    let world = World::of(keys(&path.display().to_string(), &prism.url(), SID)).await;
    let error = world.say(PHONE, "hello").await.expect_err("no recipient");
    assert_eq!(error.sent, Sent::No, "{error:?}");
}

/// What the vendor's library makes of a URL and its fields, or of a URL and a body.
async fn signed(url: &str, what: &Value, token: &str) -> Value {
    let script = "import json,sys\nfrom twilio.request_validator import RequestValidator, compare\nurl, what, token = json.loads(sys.argv[1])\nv = RequestValidator(token)\nif isinstance(what, str):\n    url += ('&' if '?' in url else '?') + 'bodySHA256=' + v.compute_hash(what) if hasattr(v, 'compute_hash') else ''\n    what = {}\nprint(json.dumps({'url': url, 'signature': v.compute_signature(url, what)}))";
    let python = isthmus_testkit::process::python("twilio").await.expect("Python with the package twilio");
    let said = run(Command::new(python).args(["-c", script, &json!([url, what, token]).to_string()])).await;
    serde_json::from_str(&said.expect("a signature")).expect("JSON")
}

struct Called {
    world: World,
    media: Httpd,
}

impl Called {
    async fn new() -> Self {
        let media = Httpd::answering(|_| Act::Answer(200, "image/jpeg", "meow".to_owned())).await.expect("media");
        Self { world: World::of(keys("providers/twilio.toml", &media.url(), SID)).await, media }
    }

    /// Calls a webhook with these fields under the library's signature of `token` over the URL as it is.
    async fn call(&self, path: &str, fields: &Value, token: &str) -> (u16, String) {
        let url = format!("https://gateway.example/hooks/sms/twilio/{path}");
        let proof = signed(&url, fields, token).await["signature"].as_str().expect("a signature").to_owned();
        let pairs: Vec<(&str, &str)> =
            fields.as_object().expect("fields").iter().map(|(k, v)| (k.as_str(), v.as_str().expect("text"))).collect();
        let response = self
            .world
            .call("POST", &format!("twilio/{path}"), &[("x-twilio-signature", &proof)], &common::query(&pairs))
            .await;
        (response.status().as_u16(), String::from_utf8_lossy(response.body()).into_owned())
    }
}

fn inbound(id: &str, body: &str) -> Value {
    json!({"ToCountry": "US", "MessageSid": id, "NumMedia": "0", "FromZip": "", "Body": body, "From": PHONE, "To": HERS, "AccountSid": SID, "ApiVersion": "2010-04-01"})
}

#[tokio::test]
async fn signatures_of_the_vendors_library_are_taken_and_forged_ones_are_not() {
    let called = Called::new().await;
    let text = inbound("SM1", "grüße & \u{1F600} + 100% = ünïcode");
    assert_eq!(called.call("in", &text, TOKEN).await, (200, "<Response/>".to_owned()));
    let accepts = called.world.fake.accepts();
    assert_eq!((accepts[0].to.as_str(), &accepts[0].from), (JULIET, &contact(PHONE)));
    assert_eq!(body_of(&accepts[0]).as_deref(), Some("grüße & \u{1F600} + 100% = ünïcode"));
    assert_eq!(called.call("in", &text, TOKEN).await.0, 200, "a replay");
    assert_eq!(called.world.fake.accepts().len(), 1, "is not delivered again");
    assert_eq!(called.call("in", &inbound("SM2", "forged"), "another token").await.0, 403);
    // A signature of one URL is none of another, and one of these fields is none of others.
    let proof = signed("https://gateway.example/hooks/sms/twilio/report", &inbound("SM3", "x"), TOKEN).await;
    let proof = proof["signature"].as_str().expect("a signature");
    let body = common::query(&[("MessageSid", "SM3"), ("Body", "x"), ("From", PHONE), ("To", HERS)]);
    for headers in [&[("x-twilio-signature", proof)][..], &[], &[("x-twilio-signature", "")]] {
        assert_eq!(called.world.call("POST", "twilio/in", headers, &body).await.status(), 403);
    }
    assert_eq!(called.world.fake.accepts().len(), 1);
}

#[tokio::test]
async fn signatures_with_a_port_and_of_a_json_body() {
    let called = Called::new().await;
    let fields = inbound("SM9", "with the port");
    let pairs: Vec<(&str, &str)> =
        fields.as_object().expect("fields").iter().map(|(k, v)| (k.as_str(), v.as_str().expect("text"))).collect();
    let proof = signed("https://gateway.example:443/hooks/sms/twilio/in", &fields, TOKEN).await;
    let proof = proof["signature"].as_str().expect("a signature").to_owned();
    let response =
        called.world.call("POST", "twilio/in", &[("x-twilio-signature", &proof)], &common::query(&pairs)).await;
    assert_eq!(response.status(), 200);
    // A body that is no form is signed by its hash in the query; the library computes both.
    let body = "{\"hello\": \"world\"}";
    let made = signed("https://gateway.example/hooks/sms/twilio/in", &json!(body), TOKEN).await;
    let (url, proof) = (made["url"].as_str().expect("a URL"), made["signature"].as_str().expect("a signature"));
    assert!(url.contains("bodySHA256="), "{url}");
    let target = url.strip_prefix("https://gateway.example/hooks/sms/").expect("ours");
    let status = called.world.call("POST", target, &[("x-twilio-signature", proof)], body).await.status();
    assert_eq!(status, 400, "believed, and then no text is found in it");
    let forged =
        called.world.call("POST", target, &[("x-twilio-signature", proof)], "{\"hello\": \"moon\"}").await.status();
    assert_eq!(forged, 403);
}

#[tokio::test]
async fn reports_and_media() {
    let called = Called::new().await;
    let mut picture = inbound("MM1", "");
    // Media of a host that the file does not list are named, not fetched.
    picture["MediaUrl0"] = json!(format!("{}/2010-04-01/Media/ME1", called.media.url()));
    assert_eq!(called.call("in", &picture, TOKEN).await.0, 200);
    let accepts = called.world.fake.accepts();
    let Event::Message(message) = &accepts[0].event else { panic!("{accepts:?}") };
    assert!(matches!(message.files[0].source, FileSource::Missing) && called.media.heard().is_empty());
    let taker =
        Httpd::answering(|_| Act::json(201, "{\"sid\":\"SMaaaa\",\"status\":\"queued\"}")).await.expect("a provider");
    let called =
        Called { world: World::of(keys("providers/twilio.toml", &taker.url(), SID)).await, media: called.media };
    called.world.say(PHONE, "hello").await.expect("taken");
    let asked = &taker.heard()[0];
    assert_eq!(asked.field("StatusCallback").as_deref(), Some("https://gateway.example/hooks/sms/twilio/report"));
    let (key, ..) = called.world.fake.settled().pop().expect("settled");
    let report = |status: &str, code: &str| json!({"MessageSid": "SMaaaa", "MessageStatus": status, "To": PHONE, "From": HERS, "ErrorCode": code});
    for status in ["queued", "sent"] {
        assert_eq!(called.call("report", &report(status, ""), TOKEN).await.0, 200);
    }
    assert_eq!(called.world.fake.state_of(&key), None);
    assert_eq!(called.call("report", &report("undelivered", "30003"), TOKEN).await.0, 200);
    let Some(Late::Failed(error)) = called.world.fake.state_of(&key) else { panic!("no failure") };
    assert_eq!(error.text.to_string(), "code.unreachable provider=Twilio, code=30003");
    assert_eq!(called.call("report", &report("delivered", ""), "forged").await.0, 403);
    assert!(matches!(called.world.fake.state_of(&key), Some(Late::Failed(_))));
}
