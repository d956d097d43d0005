//! Every shipped provider file against request and webhook shapes as the providers' documents show them (recorded by hand; docs/providers.md says which
//! of them have also been run).

mod common;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use common::{HERS, JULIET, PHONE, World, body_of, contact};
use http::StatusCode;
use isthmus_bridge::{Failure, Late};
use isthmus_testkit::httpd::{Act, Heard, Httpd};
use ring::{digest, hmac, signature};
use serde_json::{Value, json};

/// The files, by their paths: each is read, sent with, and called by at least one test below.
const FILES: &[&str] = &[
    "config/providers/android.toml",
    "config/providers/bandwidth.toml",
    "config/providers/http-get.toml",
    "config/providers/infobip.toml",
    "config/providers/jasmin.toml",
    "config/providers/kannel.toml",
    "config/providers/messagebird.toml",
    "config/providers/plivo.toml",
    "config/providers/sinch.toml",
    "config/providers/telnyx.toml",
    "config/providers/twilio.toml",
    "config/providers/vonage.toml",
];

#[test]
fn every_shipped_file_is_named_here() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/providers");
    let mut found: Vec<String> = std::fs::read_dir(folder)
        .expect("the folder")
        .map(|e| format!("config/providers/{}", e.expect("an entry").file_name().to_string_lossy()))
        .collect();
    found.sort();
    assert_eq!(found, FILES);
}

/// The host's clock in these tests stands near this second.
const NOW: u64 = 1_900_000_000;

/// A provider in front of a scripted server.
struct Case {
    world: World,
    server: Httpd,
    name: &'static str,
}

impl Case {
    async fn new(name: &'static str, url_key: &str, credentials: Value, status: u16, answer: &str) -> Self {
        let answer = answer.to_owned();
        let server = Httpd::answering(move |_| Act::json(status, answer.clone())).await.expect("a provider");
        let mut credentials = credentials;
        credentials[url_key] = json!(server.url());
        let keys = json!({"country": "US", "provider": format!("providers/{name}.toml"), "credentials": credentials,
            "numbers": [{"number": HERS, "user": JULIET}]});
        Self { world: World::of(keys).await, server, name }
    }

    /// Sends a text; the request and the id.
    async fn sent(&self, text: &str) -> (Heard, String) {
        let legs = self.world.say(PHONE, text).await.unwrap_or_else(|e| panic!("{}: {e:?}", self.name));
        let id = legs[0].ids[0]
            .as_str()
            .strip_prefix(&format!("{}:", self.name))
            .expect("the name before the id")
            .to_owned();
        (self.server.heard().pop().expect("a request"), id)
    }

    async fn refused(&self) -> isthmus_bridge::DeliveryError {
        self.world.say(PHONE, "hello").await.expect_err("refused")
    }

    async fn call(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> (StatusCode, String) {
        let response = self.world.call(method, &format!("{}/{target}", self.name), headers, body).await;
        (response.status(), String::from_utf8_lossy(response.body()).into_owned())
    }

    /// Somebody's text has reached her, from the phone.
    fn got(&self, body: &str) {
        let accepts = self.world.fake.accepts();
        let last = accepts.last().unwrap_or_else(|| panic!("{}: nothing came", self.name));
        assert_eq!((last.to.as_str(), &last.from), (JULIET, &contact(PHONE)), "{}", self.name);
        assert_eq!(body_of(last).as_deref(), Some(body), "{}", self.name);
    }

    fn state(&self) -> Option<Late> {
        let (key, ..) = self.world.fake.settled().pop().expect("settled");
        self.world.fake.state_of(&key)
    }
}

fn json_of(heard: &Heard) -> Value {
    serde_json::from_slice(&heard.body).unwrap_or_else(|e| panic!("{e}: {}", heard.text()))
}

fn basic(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

fn sha256(data: &str) -> String {
    hex::encode(digest::digest(&digest::SHA256, data.as_bytes()))
}

fn mac(key: &str, data: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), data.as_bytes()).as_ref().to_vec()
}

fn jwt(key: &str, claims: &Value) -> String {
    let part = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
    let signed = format!("{}.{}", part(&json!({"alg": "HS256", "typ": "JWT"})), part(claims));
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac(key, &signed)))
}

#[tokio::test]
async fn vonage() {
    let credentials = json!({"api_key": "abcd1234", "api_secret": "sec", "signature_secret": "sig"});
    let case = Case::new(
        "vonage",
        "api",
        credentials.clone(),
        202,
        r#"{"message_uuid":"aaaaaaaa-bbbb-cccc-dddd-0123456789ab"}"#,
    )
    .await;
    let (asked, id) = case.sent("Привет").await;
    assert_eq!(id, "aaaaaaaa-bbbb-cccc-dddd-0123456789ab");
    assert_eq!(
        (asked.target.as_str(), asked.header("authorization")),
        ("/v1/messages", Some(basic("abcd1234:sec").as_str()))
    );
    let body = json_of(&asked);
    assert_eq!(
        (&body["to"], &body["from"], &body["text"]),
        (&json!("15551112222"), &json!("15550001111"), &json!("Привет"))
    );
    assert_eq!(
        (&body["channel"], &body["message_type"], &body["sms"]["encoding_type"]),
        (&json!("sms"), &json!("text"), &json!("unicode"))
    );
    let call = async |path: &str, body: &Value, key: &str| {
        let body = body.to_string();
        let token = jwt(key, &json!({"iat": NOW, "jti": "1", "iss": "Vonage", "payload_hash": sha256(&body)}));
        case.call("POST", path, &[("authorization", &format!("Bearer {token}"))], &body).await.0
    };
    let inbound = json!({"channel": "sms", "message_uuid": "m-1", "to": "15550001111", "from": "15551112222", "timestamp": "2025-02-03T12:14:25Z",
        "text": "Hello From Vonage!", "message_type": "text", "sms": {"num_messages": "1"}, "usage": {"currency": "EUR", "price": "0.0333"}});
    assert_eq!(call("in", &inbound, "forged").await, 403);
    assert_eq!(call("in", &inbound, "sig").await, 200);
    case.got("Hello From Vonage!");
    let status = json!({"message_uuid": id, "to": "15551112222", "from": "15550001111", "timestamp": "2025-02-03T12:14:25Z", "status": "undeliverable",
        "error": {"type": "https://developer.vonage.com/api-errors/messages#1170", "title": 1170, "detail": "Invalid or Missing MSISDN"}, "channel": "sms"});
    assert_eq!(call("report", &status, "sig").await, 200);
    assert!(
        matches!(case.state(), Some(Late::Failed(e)) if e.failure == Failure::NoSuchRecipient && e.code.as_deref() == Some("1170"))
    );
    let refusing = Case::new("vonage", "api", credentials, 422, r#"{"type":"https://developer.nexmo.com/api-errors#bad","title":"1120","detail":"Illegal Sender Address - rejected"}"#).await;
    assert_eq!(refusing.refused().await.failure, Failure::Forbidden);
}

#[tokio::test]
async fn telnyx() {
    use ring::signature::KeyPair as _;
    let pair = signature::Ed25519KeyPair::from_seed_unchecked(&[9; 32]).expect("a key");
    let credentials = json!({"api_key": "KEY", "public_key": STANDARD.encode(pair.public_key().as_ref())});
    let answer = r#"{"data":{"record_type":"message","id":"40385f64-5717-4562-b3fc-2c963f66afa6","to":[{"phone_number":"+15551112222","status":"queued"}]}}"#;
    let case = Case::new("telnyx", "api", credentials.clone(), 200, answer).await;
    let (asked, id) = case.sent("hello").await;
    assert_eq!((asked.target.as_str(), asked.header("authorization")), ("/v2/messages", Some("Bearer KEY")));
    assert_eq!(
        json_of(&asked),
        json!({"from": HERS, "to": PHONE, "text": "hello", "webhook_url": "https://gateway.example/hooks/sms/telnyx/report"})
    );
    let call = async |path: &str, body: &Value, at: u64| {
        let body = body.to_string();
        let proof = STANDARD.encode(pair.sign(format!("{at}|{body}").as_bytes()).as_ref());
        case.call("POST", path, &[("telnyx-signature-ed25519", &proof), ("telnyx-timestamp", &at.to_string())], &body)
            .await
            .0
    };
    let inbound = json!({"data": {"event_type": "message.received", "id": "e1", "occurred_at": "2021-09-20T15:00:00.000Z", "record_type": "event",
        "payload": {"id": "m-1", "from": {"phone_number": PHONE, "carrier": "T"}, "to": [{"phone_number": HERS, "status": "webhook_delivered"}],
        "text": "Hello from Telnyx!", "media": [], "direction": "inbound", "received_at": "2021-09-20T15:00:00.000Z"}}, "meta": {"attempt": 1}});
    assert_eq!(call("in", &inbound, NOW).await, 200);
    case.got("Hello from Telnyx!");
    assert_eq!(call("in", &inbound, NOW - 400).await, 403, "a replay after five minutes");
    let finalized = json!({"data": {"event_type": "message.finalized", "payload": {"id": id, "to": [{"phone_number": PHONE, "status": "delivered"}], "errors": []}}});
    assert_eq!(call("in", &finalized, NOW).await, 200);
    assert_eq!(case.state(), Some(Late::Delivered));
    let other = json!({"data": {"event_type": "message.unheard_of", "payload": {}}});
    assert_eq!(call("in", &other, NOW).await, 200, "an event that does not concern us");
    let refusing = Case::new(
        "telnyx",
        "api",
        credentials,
        400,
        r#"{"errors":[{"code":"40310","title":"Invalid 'to' address","detail":"The 'to' address is not valid"}]}"#,
    )
    .await;
    assert_eq!(refusing.refused().await.failure, Failure::NoSuchRecipient);
}

#[tokio::test]
async fn plivo() {
    let credentials = json!({"auth_id": "MAXXXXXXXXXXXXXXXXXX", "auth_token": "tok"});
    let answer = r#"{"message":"message(s) queued","message_uuid":["db3ce55a-7f1d-11e1-8ea7-1231380bc196"],"api_id":"db342550"}"#;
    let case = Case::new("plivo", "api", credentials.clone(), 202, answer).await;
    let (asked, id) = case.sent("hello").await;
    assert_eq!(asked.target, "/v1/Account/MAXXXXXXXXXXXXXXXXXX/Message/");
    assert_eq!(asked.header("authorization"), Some(basic("MAXXXXXXXXXXXXXXXXXX:tok").as_str()));
    assert_eq!(json_of(&asked)["dst"], json!("15551112222"));
    let call = async |path: &str, fields: &[(&str, &str)], key: &str| {
        let mut sorted = fields.to_vec();
        sorted.sort();
        let joined: String = sorted.iter().map(|(k, v)| format!("{k}{v}")).collect();
        let signed = format!("https://gateway.example/hooks/sms/plivo/{path}?{joined}.nonce1");
        let proof = format!("AAAA,{}", STANDARD.encode(mac(key, &signed)));
        let headers = [
            ("x-plivo-signature-v3", proof.as_str()),
            ("x-plivo-signature-v3-nonce", "nonce1"),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        case.call("POST", path, &headers, &common::query(fields)).await.0
    };
    let inbound = [
        ("From", "15551112222"),
        ("To", "15550001111"),
        ("Type", "sms"),
        ("Text", "Hello, Plivo"),
        ("MessageUUID", "u-1"),
    ];
    assert_eq!(call("in", &inbound, "forged").await, 403);
    assert_eq!(call("in", &inbound, "tok").await, 200);
    case.got("Hello, Plivo");
    let report = [
        ("MessageUUID", id.as_str()),
        ("To", "15551112222"),
        ("From", "15550001111"),
        ("Status", "undelivered"),
        ("ErrorCode", "20"),
    ];
    assert_eq!(call("report", &report, "tok").await, 200);
    assert!(
        matches!(case.state(), Some(Late::Failed(e)) if e.failure == Failure::Unreachable && e.code.as_deref() == Some("20"))
    );
    let refusing =
        Case::new("plivo", "api", credentials, 400, r#"{"api_id":"x","error":"dst parameter is invalid"}"#).await;
    assert!(refusing.refused().await.text.to_string().contains("dst parameter is invalid"));
}

#[tokio::test]
async fn bandwidth() {
    let credentials = json!({"account_id": "5500", "api_token": "t", "api_secret": "s", "application_id": "app", "webhook_user": "hook", "webhook_password": "pass"});
    let case = Case::new("bandwidth", "api", credentials, 202, r#"{"id":"1589228074636lm4k2je7j7jklbn2","time":"2024-12-02T20:15:57Z","owner":"+15550001111","segmentCount":1}"#).await;
    let (asked, id) = case.sent("hello").await;
    assert_eq!((asked.target.as_str(), &json_of(&asked)["to"]), ("/api/v2/users/5500/messages", &json!([PHONE])));
    let login = basic("hook:pass");
    let inbound = json!([{"time": "2016-09-14T18:20:16Z", "type": "message-received", "to": HERS, "description": "Incoming message received",
        "message": {"id": "14762070468292kw2fuqty55yp2b2", "time": "2016-09-14T18:20:16Z", "to": [HERS], "from": PHONE, "text": "Hey, check this out!", "applicationId": "app", "media": [], "owner": HERS, "direction": "in", "segmentCount": 1}}]).to_string();
    assert_eq!(case.call("POST", "in", &[("authorization", &basic("hook:wrong"))], &inbound).await.0, 403);
    assert_eq!(case.call("POST", "in", &[("authorization", &login)], &inbound).await.0, 200);
    case.got("Hey, check this out!");
    let failed = json!([{"time": "2016-09-14T18:20:16Z", "type": "message-failed", "to": PHONE, "description": "forbidden to country", "errorCode": 4432,
        "message": {"id": id, "to": [PHONE], "from": HERS, "direction": "out"}}]).to_string();
    assert_eq!(case.call("POST", "in", &[("authorization", &login)], &failed).await.0, 200);
    assert!(matches!(case.state(), Some(Late::Failed(e)) if e.code.as_deref() == Some("4432")));
}

#[tokio::test]
async fn messagebird() {
    let credentials = json!({"access_key": "live_x", "signing_key": "sig"});
    let answer = r#"{"id":"e8077d803532c0b5937c639b60216938","href":"https://rest.messagebird.com/messages/e8","direction":"mt","recipients":{"totalSentCount":1,"items":[{"recipient":15551112222,"status":"sent"}]}}"#;
    let case = Case::new("messagebird", "api", credentials.clone(), 201, answer).await;
    let (asked, id) = case.sent("hello").await;
    assert_eq!((asked.target.as_str(), asked.header("authorization")), ("/messages", Some("AccessKey live_x")));
    assert_eq!(
        (&json_of(&asked)["recipients"], &json_of(&asked)["datacoding"]),
        (&json!(["15551112222"]), &json!("plain"))
    );
    let call = async |method: &str, target: &str, body: &str, key: &str| {
        let url = format!("https://gateway.example/hooks/sms/messagebird/{target}");
        let mut claims =
            json!({"iss": "MessageBird", "nbf": NOW - 1, "exp": NOW + 60, "jti": "1", "url_hash": sha256(&url)});
        if !body.is_empty() {
            claims["payload_hash"] = json!(sha256(body));
        }
        case.call(method, target, &[("messagebird-signature-jwt", &jwt(key, &claims))], body).await.0
    };
    let inbound = common::query(&[
        ("id", "m1"),
        ("recipient", "15550001111"),
        ("originator", "15551112222"),
        ("body", "This is an incoming message"),
        ("createdDatetime", "2016-05-03T14:26:57+00:00"),
    ]);
    assert_eq!(call("POST", "in", &inbound, "forged").await, 403);
    assert_eq!(call("POST", "in", &inbound, "sig").await, 200);
    case.got("This is an incoming message");
    let report = common::query(&[
        ("id", &id),
        ("reference", "r"),
        ("recipient", "15551112222"),
        ("status", "delivered"),
        ("statusDatetime", "2017-09-01T10:00:05+00:00"),
    ]);
    assert_eq!(call("GET", &format!("report?{report}"), "", "sig").await, 200);
    assert_eq!(case.state(), Some(Late::Delivered));
    let refusing = Case::new(
        "messagebird",
        "api",
        credentials,
        422,
        r#"{"errors":[{"code":25,"description":"Not enough balance","parameter":null}]}"#,
    )
    .await;
    assert_eq!(refusing.refused().await.code.as_deref(), Some("25"));
}

#[tokio::test]
async fn infobip() {
    let credentials = json!({"api_key": "K", "webhook_secret": "s3cret"});
    let answer = r#"{"bulkId":"2034072219640523072","messages":[{"messageId":"2250be2d4219-3af1-78856-aabe-1362af1edfd2","status":{"description":"Message sent to next instance","groupId":1,"groupName":"PENDING","id":26,"name":"PENDING_ACCEPTED"},"to":"15551112222"}]}"#;
    let case = Case::new("infobip", "api", credentials.clone(), 200, answer).await;
    let (asked, id) = case.sent("hello").await;
    assert_eq!((asked.target.as_str(), asked.header("authorization")), ("/sms/2/text/advanced", Some("App K")));
    let message = &json_of(&asked)["messages"][0];
    assert_eq!((&message["destinations"][0]["to"], &message["text"]), (&json!("15551112222"), &json!("hello")));
    let inbound = json!({"results": [{"messageId": "817790313235066447", "from": "15551112222", "to": "15550001111", "text": "QUIZ Correct answer is Paris", "cleanText": "Correct answer is Paris", "keyword": "QUIZ", "receivedAt": "2016-10-06T09:28:39.220+0000", "smsCount": 1}], "messageCount": 1, "pendingMessageCount": 0}).to_string();
    assert_eq!(case.call("POST", "in/wrong", &[], &inbound).await.0, 403);
    assert_eq!(case.call("POST", "in/s3cret", &[], &inbound).await.0, 200);
    case.got("QUIZ Correct answer is Paris");
    let report = json!({"results": [{"bulkId": "b", "messageId": id, "to": "15551112222", "sentAt": "2019-11-09T16:00:00.000+0000", "doneAt": "2019-11-09T16:00:00.000+0000", "smsCount": 1,
        "status": {"groupId": 2, "groupName": "UNDELIVERABLE", "id": 9, "name": "UNDELIVERABLE_NOT_DELIVERED"}, "error": {"groupId": 1, "groupName": "HANDSET_ERRORS", "id": 27, "name": "EC_ABSENT_SUBSCRIBER", "permanent": false}}]}).to_string();
    assert_eq!(case.call("POST", "report/s3cret", &[], &report).await.0, 200);
    assert!(matches!(case.state(), Some(Late::Failed(e)) if e.failure == Failure::Unreachable));
    let refusing = Case::new("infobip", "api", credentials, 200, r#"{"messages":[{"messageId":"x","status":{"groupId":5,"groupName":"REJECTED","id":12,"name":"REJECTED_NOT_ENOUGH_CREDITS","description":"Not enough credits"},"to":"1"}]}"#).await;
    assert_eq!(refusing.refused().await.code.as_deref(), Some("REJECTED_NOT_ENOUGH_CREDITS"));
}

#[tokio::test]
async fn sinch() {
    let credentials = json!({"plan_id": "plan", "api_token": "T", "hmac_secret": "sec"});
    let case = Case::new("sinch", "api", credentials, 201, r#"{"id":"01FC66621XXXXX119Z8PMV1QPQ","to":["15551112222"],"from":"15550001111","canceled":false,"body":"hello","type":"mt_text"}"#).await;
    let (asked, id) = case.sent("hello").await;
    assert_eq!((asked.target.as_str(), asked.header("authorization")), ("/xms/v1/plan/batches", Some("Bearer T")));
    let call = async |path: &str, body: &Value, key: &str| {
        let (body, at) = (body.to_string(), NOW.to_string());
        let proof = STANDARD.encode(mac(key, &format!("{body}.n1.{at}")));
        let headers = [
            ("x-sinch-webhook-signature", proof.as_str()),
            ("x-sinch-webhook-signature-nonce", "n1"),
            ("x-sinch-webhook-signature-timestamp", at.as_str()),
            ("x-sinch-webhook-signature-algorithm", "HmacSHA256"),
        ];
        case.call("POST", path, &headers, &body).await.0
    };
    let inbound = json!({"body": "This is a test message.", "from": "15551112222", "id": "01XXXXX21XXXXX119Z8P1XXXXX", "operator_id": "string", "received_at": "2022-08-24T14:15:22Z", "to": "15550001111", "type": "mo_text"});
    assert_eq!(call("in", &inbound, "forged").await, 403);
    assert_eq!(call("in", &inbound, "sec").await, 200);
    case.got("This is a test message.");
    let report = json!({"at": "2022-08-30T08:16:08.930Z", "batch_id": id, "code": 0, "recipient": "15551112222", "status": "Delivered", "type": "recipient_delivery_report_sms"});
    assert_eq!(call("report", &report, "sec").await, 200);
    assert_eq!(case.state(), Some(Late::Delivered));
}

#[tokio::test]
async fn jasmin() {
    let credentials = json!({"username": "foo", "password": "bar", "webhook_secret": "s3cret"});
    let case =
        Case::new("jasmin", "url", credentials.clone(), 200, "Success \"07033084-5cfd-4812-90a4-e4d24ffb6e3d\"").await;
    let (asked, id) = case.sent("Привет").await;
    assert_eq!(id, "07033084-5cfd-4812-90a4-e4d24ffb6e3d");
    assert_eq!(
        (asked.field("coding").as_deref(), asked.field("hex-content").as_deref(), asked.field("content")),
        (Some("8"), Some("041f04400438043204350442"), None)
    );
    let (asked, _) = case.sent("hello").await;
    assert_eq!(
        (asked.field("coding").as_deref(), asked.field("content").as_deref(), asked.field("hex-content")),
        (Some("0"), Some("hello"), None)
    );
    let inbound = common::query(&[
        ("id", "m1"),
        ("from", "15551112222"),
        ("to", "15550001111"),
        ("origin-connector", "c"),
        ("coding", "8"),
        ("content", "??"),
        ("binary", "041f0440"),
    ]);
    assert_eq!(case.call("POST", "in/s3cret", &[], &inbound).await, (StatusCode::OK, "ACK/Jasmin".to_owned()));
    case.got("Пр");
    let report = common::query(&[
        ("id", &id),
        ("level", "2"),
        ("message_status", "UNDELIV"),
        ("err", "001"),
        ("text", "no route"),
        ("id_smsc", "1"),
    ]);
    assert_eq!(case.call("POST", "report/s3cret", &[], &report).await, (StatusCode::OK, "ACK/Jasmin".to_owned()));
    let refusing = Case::new("jasmin", "url", credentials, 412, "Error \"No route found\"").await;
    assert!(refusing.refused().await.text.to_string().contains("No route found"));
}

#[tokio::test]
async fn android() {
    let credentials = json!({"username": "u", "password": "p", "signing_key": "sign", "number": HERS});
    let case = Case::new("android", "url", credentials, 202, r#"{"id":"PyDmBQZZXYmyxMwED8Fzy","deviceId":"d","state":"Pending","isHashed":false,"recipients":[{"phoneNumber":"+15551112222","state":"Pending"}]}"#).await;
    let (asked, id) = case.sent("hello").await;
    let body = json_of(&asked);
    assert_eq!((&body["textMessage"]["text"], &body["phoneNumbers"]), (&json!("hello"), &json!([PHONE])));
    let call = async |body: &Value, at: u64, key: &str| {
        let body = body.to_string();
        let proof = hex::encode(mac(key, &format!("{body}{at}")));
        case.call("POST", "in", &[("x-signature", &proof), ("x-timestamp", &at.to_string())], &body).await.0
    };
    let inbound = |at: &str| {
        json!({"deviceId": "ffffffffceb0b1db0000018e937c815b", "event": "sms:received", "id": "Ey6ECgOkVVFjz3CL48B8C",
        "payload": {"messageId": "abc123", "message": "Android is always a sweet treat!", "sender": PHONE, "recipient": null, "simNumber": 1, "receivedAt": at}, "webhookId": "w"})
    };
    let first = inbound("2024-06-22T15:46:11.000+07:00");
    assert_eq!(call(&first, NOW, "forged").await, 403);
    assert_eq!(call(&first, NOW - 301, "sign").await, 403);
    assert_eq!(call(&first, NOW, "sign").await, 200);
    assert_eq!(call(&first, NOW + 1, "sign").await, 200, "a copy");
    case.got("Android is always a sweet treat!");
    assert_eq!(call(&inbound("2024-06-22T15:47:00.000+07:00"), NOW, "sign").await, 200);
    assert_eq!(case.world.bodies().len(), 2, "the same words again have the same id, and are another text");
    let report = json!({"event": "sms:delivered", "id": "e", "payload": {"messageId": id, "recipient": PHONE, "deliveredAt": "2024-06-22T15:46:11.000+07:00"}});
    assert_eq!(call(&report, NOW, "sign").await, 200);
    assert_eq!(case.state(), Some(Late::Delivered));
}

#[tokio::test]
async fn http_get() {
    let credentials = json!({"user": "u", "password": "p", "webhook_secret": "s3cret"});
    let case = Case::new("http-get", "url", credentials.clone(), 200, "OK 12345\n").await;
    let (asked, id) = case.sent("a&b=c").await;
    assert_eq!((asked.method.as_str(), asked.field("text").as_deref(), id.as_str()), ("GET", Some("a&b=c"), "12345"));
    let inbound = common::query(&[("from", PHONE), ("to", HERS), ("text", "hello"), ("id", "1")]);
    assert_eq!(case.call("GET", &format!("in/s3cret?{inbound}"), &[], "").await.0, 200);
    case.got("hello");
    let refusing = Case::new("http-get", "url", credentials, 200, "ERR 17 no credit").await;
    assert_eq!(refusing.refused().await.code.as_deref(), Some("17"));
}
