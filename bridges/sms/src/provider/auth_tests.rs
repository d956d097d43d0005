use super::super::read::read;
use super::*;
use secrecy::SecretString;
use std::time::Duration;

fn auth(declared: &str) -> Auth {
    let text = format!(
        "name=\"x\"\n[credentials]\nsecret=\"\"\n[send]\nurl=\"https://api.test/\"\n[send.fields]\na=\"b\"\n[[webhook]]\npath=\"in\"\n[webhook.message]\nfrom=\"field:f\"\nto=\"field:t\"\n[webhook.auth]\n{declared}"
    );
    read("p", &text).unwrap_or_else(|e| panic!("{e:?}")).webhooks.remove(0).auth
}

struct Call {
    method: Method,
    url: Url,
    rest: &'static str,
    headers: HeaderMap,
    body: Bytes,
    peer: Option<IpAddr>,
}

impl Call {
    fn post(url: &str, body: &str) -> Self {
        let url = Url::parse(url).expect("a URL");
        Self {
            method: Method::POST,
            url,
            rest: "",
            headers: HeaderMap::new(),
            body: Bytes::from(body.to_owned()),
            peer: None,
        }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("a name");
        self.headers.insert(name, value.parse().expect("a value"));
        self
    }

    fn believed(&self, auth: &Auth, secret: &str) -> Result<(), Doubt> {
        self.at(auth, secret, 1_700_000_000)
    }

    fn at(&self, auth: &Auth, secret: &str, now: u64) -> Result<(), Doubt> {
        let with = Fillings::new([("secret".to_owned(), SecretString::from(secret.to_owned()))].into());
        let called = Called {
            method: &self.method,
            url: Some(&self.url),
            rest: self.rest,
            query: self.url.query().unwrap_or_default(),
            headers: &self.headers,
            body: &self.body,
            peer: self.peer,
        };
        believed(auth, &with, &called, SystemTime::UNIX_EPOCH + Duration::from_secs(now))
    }
}

fn mac(algorithm: hmac::Algorithm, key: &str, data: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(algorithm, key.as_bytes()), data.as_bytes()).as_ref().to_vec()
}

#[test]
fn secrets_in_path_query_header_and_password() {
    let path = auth("scheme=\"path-secret\"\nsecret=\"{secret}\"");
    let mut call = Call::post("https://g.test/in", "");
    assert!(call.believed(&path, "s3").is_err());
    call.rest = "s3";
    assert_eq!(call.believed(&path, "s3"), Ok(()));
    assert!(call.believed(&path, "s4").is_err());
    assert!(call.believed(&path, "").is_err(), "an empty secret opens nothing");
    let query = auth("scheme=\"query-secret\"\nfield=\"k\"\nsecret=\"{secret}\"");
    assert_eq!(Call::post("https://g.test/in?k=s3&x=1", "").believed(&query, "s3"), Ok(()));
    assert!(Call::post("https://g.test/in?k=s4", "").believed(&query, "s3").is_err());
    assert!(call.believed(&query, "s3").is_err(), "a longer path is not ours");
    let header = auth("scheme=\"header-secret\"\nheader=\"X-Key\"\nsecret=\"{secret}\"");
    assert_eq!(Call::post("https://g.test/in", "").with("x-key", "s3").believed(&header, "s3"), Ok(()));
    assert!(Call::post("https://g.test/in", "").believed(&header, "s3").is_err());
    let basic = auth("scheme=\"basic\"\nuser=\"u\"\npassword=\"{secret}\"");
    let login = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
    assert_eq!(
        Call::post("https://g.test/in", "").with("authorization", &login("u:s3")).believed(&basic, "s3"),
        Ok(())
    );
    assert!(Call::post("https://g.test/in", "").with("authorization", &login("u:s4")).believed(&basic, "s3").is_err());
    assert!(Call::post("https://g.test/in", "").with("authorization", "Basic !").believed(&basic, "s3").is_err());
}

#[test]
fn source_networks_also_behind_a_proxy() {
    let auth = auth("scheme=\"sources\"\nsources=[\"192.0.2.0/24\",\"2001:db8::/32\"]");
    let mut call = Call::post("https://g.test/in", "");
    for (peer, good) in [("192.0.2.77", true), ("192.0.3.1", false), ("2001:db8::1", true), ("2001:db9::1", false)] {
        call.peer = peer.parse().ok();
        assert_eq!(call.believed(&auth, "").is_ok(), good, "{peer}");
    }
    call.peer = None;
    assert!(call.believed(&auth, "").is_err());
    let mut headers = HeaderMap::new();
    headers.insert("x-forwarded-for", "192.0.2.9, 203.0.113.5".parse().expect("a value"));
    let from = |socket: &str| peer(socket.parse().ok(), &headers).map(|ip| ip.to_string());
    assert_eq!(
        from("127.0.0.1:9").as_deref(),
        Some("203.0.113.5"),
        "what the proxy itself added, not what the client claims"
    );
    assert_eq!(from("198.51.100.1:9").as_deref(), Some("198.51.100.1"), "a stranger's word counts for nothing");
}

const URL_FIELDS: &str = "scheme=\"signature\"\nalgorithm=\"hmac-sha1\"\nkey=\"{secret}\"\nheader=\"X-Sig\"\nover=[\"url\",\"fields\"]\nbody_hash=\"bodySHA256\"";

#[test]
fn hmac_over_url_and_sorted_fields() {
    let auth = auth(URL_FIELDS);
    // The example of the vendor's documentation: https://www.twilio.com/docs/usage/security
    let url = "https://mycompany.com/myapp.php?foo=1&bar=2";
    let body = "CallSid=CA1234567890ABCDE&Caller=%2B14158675310&Digits=1234&From=%2B14158675310&To=%2B18005551212";
    let proof = "GvWf1cFY/Q7PnoempGyD5oXAezc=";
    assert_eq!(Call::post(url, body).with("x-sig", proof).believed(&auth, "12345"), Ok(()));
    assert!(Call::post(url, body).with("x-sig", proof).believed(&auth, "12346").is_err());
    assert!(Call::post(url, &format!("{body}&x=y")).with("x-sig", proof).believed(&auth, "12345").is_err());
    assert!(Call::post(&format!("{url}3"), body).with("x-sig", proof).believed(&auth, "12345").is_err());
    assert!(Call::post(url, body).believed(&auth, "12345").is_err());
    assert!(Call::post(url, body).with("x-sig", "").believed(&auth, "12345").is_err());
}

#[test]
fn hmac_over_a_url_with_or_without_port_and_a_body_by_its_hash() {
    let auth = auth(URL_FIELDS);
    for (signed, called) in [
        ("https://g.test/in", "https://g.test:8443/in"),
        ("https://g.test:443/in", "https://g.test/in"),
        ("https://g.test:8443/in", "https://g.test:8443/in"),
    ] {
        let proof = STANDARD.encode(mac(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, "k", signed));
        assert_eq!(Call::post(called, "").with("x-sig", &proof).believed(&auth, "k"), Ok(()), "{signed} {called}");
    }
    let body = "{\"a\":1}";
    let url = format!("https://g.test/in?bodySHA256={}", sha256_hex(body.as_bytes()));
    let proof = STANDARD.encode(mac(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, "k", &url));
    assert_eq!(Call::post(&url, body).with("x-sig", &proof).believed(&auth, "k"), Ok(()));
    assert!(Call::post(&url, "{\"a\":2}").with("x-sig", &proof).believed(&auth, "k").is_err());
}

#[test]
fn hmac_over_url_and_nonce_among_several_signatures() {
    let auth = auth(
        "scheme=\"signature\"\nalgorithm=\"hmac-sha256\"\nkey=\"{secret}\"\nheader=\"X-Sig\"\nover=[\"sorted-url\",\"fields\",\"words:.\",\"header:X-Nonce\"]",
    );
    let url = "https://g.test/in?z=1&a=2";
    let proof = STANDARD.encode(mac(hmac::HMAC_SHA256, "k", "https://g.test/in?a=2&z=1.From1Text2.n0nce"));
    let call = |sigs: &str, nonce: &str| Call::post(url, "Text=2&From=1").with("x-sig", sigs).with("x-nonce", nonce);
    assert_eq!(call(&format!("AAAA,{proof}"), "n0nce").believed(&auth, "k"), Ok(()));
    assert!(call(&proof, "other").believed(&auth, "k").is_err());
    assert!(call("AAAA,BBBB", "n0nce").believed(&auth, "k").is_err());
}

#[test]
fn hmac_over_body_and_time_in_hex() {
    let auth = auth(
        "scheme=\"signature\"\nalgorithm=\"hmac-sha256\"\nkey=\"{secret}\"\nheader=\"X-Signature\"\nencoding=\"hex\"\nover=[\"body\",\"header:X-Timestamp\"]\ntimestamp=\"X-Timestamp\"",
    );
    let proof = hex::encode(mac(hmac::HMAC_SHA256, "k", "{}1700000000"));
    let call = Call::post("https://g.test/in", "{}").with("x-signature", &proof).with("x-timestamp", "1700000000");
    assert_eq!(call.at(&auth, "k", 1_700_000_000), Ok(()));
    assert_eq!(call.at(&auth, "k", 1_700_000_299), Ok(()));
    assert_eq!(call.at(&auth, "k", 1_700_000_301), Err("its time is too far away"), "replayed later");
    let forged = call.with("x-timestamp", "1700000400");
    assert_eq!(forged.at(&auth, "k", 1_700_000_400), Err("its signature is wrong"), "the time is signed too");
}

#[test]
fn ed25519_over_time_and_body() {
    use ring::signature::KeyPair as _;
    let auth = auth(
        "scheme=\"signature\"\nalgorithm=\"ed25519\"\nkey=\"{secret}\"\nheader=\"telnyx-signature-ed25519\"\nover=[\"header:telnyx-timestamp\",\"words:|\",\"body\"]\ntimestamp=\"telnyx-timestamp\"",
    );
    let pair = signature::Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
    let public = STANDARD.encode(pair.public_key().as_ref());
    let proof = STANDARD.encode(pair.sign(b"1700000000|{\"a\":1}").as_ref());
    let call = |body: &str, proof: &str| {
        Call::post("https://g.test/in", body)
            .with("telnyx-signature-ed25519", proof)
            .with("telnyx-timestamp", "1700000000")
    };
    assert_eq!(call("{\"a\":1}", &proof).believed(&auth, &public), Ok(()));
    assert!(call("{\"a\":2}", &proof).believed(&auth, &public).is_err());
    assert!(call("{\"a\":1}", &proof).at(&auth, &public, 1_700_000_400).is_err());
    assert!(call("{\"a\":1}", &proof).believed(&auth, "no key").is_err());
}

fn token(algorithm: &str, hash: hmac::Algorithm, key: &str, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&serde_json::json!({"alg": algorithm, "typ": "JWT"})), part(claims));
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac(hash, key, &signed)))
}

#[test]
fn tokens_with_hashes_of_body_and_url() {
    use serde_json::json;
    let auth = auth("scheme=\"jwt\"\nkey=\"{secret}\"\nheader=\"X-JWT\"\nurl_claim=\"url_hash\"");
    let (url, body) = ("https://g.test/in", "{\"a\":1}");
    let good = json!({"iat": 1_700_000_000, "payload_hash": sha256_hex(body.as_bytes()), "url_hash": sha256_hex(url.as_bytes())});
    for (algorithm, hash) in [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)]
    {
        let call = Call::post(url, body).with("x-jwt", &token(algorithm, hash, "k", &good));
        assert_eq!(call.believed(&auth, "k"), Ok(()), "{algorithm}");
        assert!(call.believed(&auth, "other").is_err());
    }
    let changed = |key: &str, value: Value| {
        let mut claims = good.clone();
        claims[key] = value;
        let call = Call::post(url, body).with("x-jwt", &token("HS256", hmac::HMAC_SHA256, "k", &claims));
        call.believed(&auth, "k")
    };
    assert_eq!(changed("payload_hash", json!(sha256_hex(b"x"))), Err("its body is not the one that was signed"));
    assert_eq!(changed("payload_hash", Value::Null), Err("its body is not the one that was signed"));
    assert_eq!(changed("url_hash", json!("00")), Err("its URL is not the one that was signed"));
    assert_eq!(changed("exp", json!(1_699_999_000)), Err("its token is too old"));
    assert_eq!(changed("nbf", json!(1_700_001_000)), Err("its token is from the future"));
    assert_eq!(changed("iat", json!(1_600_000_000)), Err("its time is too far away"));
    for algorithm in ["none", "RS256", ""] {
        let call = Call::post(url, body).with("x-jwt", &token(algorithm, hmac::HMAC_SHA256, "k", &good));
        assert!(call.believed(&auth, "k").is_err(), "{algorithm}");
    }
    for nonsense in ["", "a.b", "a.b.c.d", "..", "Bearer x"] {
        assert!(Call::post(url, body).with("x-jwt", nonsense).believed(&auth, "k").is_err(), "{nonsense}");
    }
}
