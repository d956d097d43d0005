//! Fetching and uploading against a web server on loopback.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use bytes::Bytes;
use isthmus_bridge::{BareJid, DeliveryError, Failure, Fetch, Media};
use minidom::Element;
use tokio::net::TcpListener;
use url::Url;

use super::fetch::{Fetcher, Lookup};
use super::upload::{IqError, IqSender, NotUploaded, Uploader};
use crate::xmpp::link::tls_config;

#[derive(Debug, Default)]
struct Seen {
    requests: AtomicUsize,
    put: Mutex<Option<(HeaderMap, Bytes)>>,
}

/// A web server: `/ok.png`, `/large`, `/endless`, `/slow`, `/gone`, `/busy`, `/to?<address>`, and PUT anywhere.
async fn web() -> (SocketAddr, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let app = Router::new().fallback(answer).with_state(Arc::clone(&seen));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, seen)
}

async fn answer(
    State(seen): State<Arc<Seen>>,
    method: http::Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    seen.requests.fetch_add(1, Ordering::SeqCst);
    if method == http::Method::PUT {
        *seen.put.lock().expect("no panic") = Some((headers, body));
        return if uri.path() == "/refuse" { StatusCode::FORBIDDEN } else { StatusCode::CREATED }.into_response();
    }
    match uri.path() {
        "/a%20photo.png" => ([("content-type", "image/png")], "content").into_response(),
        "/large" => vec![0_u8; 5000].into_response(),
        "/gone" => StatusCode::GONE.into_response(),
        "/busy" => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        "/slow" => {
            tokio::time::sleep(Duration::from_secs(600)).await;
            StatusCode::OK.into_response()
        }
        "/to" => Redirect::temporary(uri.query().unwrap_or_default()).into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn limit(user: &str) -> Fetch {
    within(user, Duration::from_secs(20))
}

fn within(user: &str, time: Duration) -> Fetch {
    Fetch::new(BareJid::new(user), 4000, time)
}

/// A resolver that always gives these addresses, and counts.
fn always(addresses: &[&str]) -> (Lookup, Arc<AtomicUsize>) {
    let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().expect("an address")).collect();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let lookup: Lookup = Arc::new(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        let addresses = addresses.clone();
        Box::pin(async move { Ok(addresses) })
    });
    (lookup, count)
}

fn fetcher(listed: &[&str], lookup: Lookup) -> Fetcher {
    let listed: Vec<String> = listed.iter().map(|host| (*host).to_owned()).collect();
    Fetcher::with_lookup(&listed, 1 << 20, &tls(), lookup).expect("a fetcher")
}

fn tls() -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    builder.expect("protocol versions").with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
}

async fn fetched(fetcher: &Fetcher, url: &str) -> Result<(Bytes, Media), DeliveryError> {
    fetcher.fetch(&Url::parse(url).expect("a URL"), &limit("juliet@example.org")).await
}

#[tokio::test]
async fn a_listed_host_is_fetched_from_with_name_type_and_size() {
    let (web, _) = web().await;
    let fetcher = fetcher(&["files.test"], always(&["127.0.0.1"]).0);
    let (body, media) =
        fetched(&fetcher, &format!("http://files.test:{}/a%20photo.png", web.port())).await.expect("fetched");
    assert_eq!(&body[..], b"content");
    assert_eq!(
        (media.name.as_deref(), media.media_type.as_str(), media.size),
        (Some("a photo.png"), "image/png", Some(7))
    );
}

#[tokio::test]
async fn size_time_and_refusals_are_told_apart() {
    let (web, _) = web().await;
    let fetcher = fetcher(&["files.test"], always(&["127.0.0.1"]).0);
    for (path, failure) in [
        ("large", Failure::TooLong { limit: 4000 }),
        ("gone", Failure::Rejected),
        ("busy", Failure::Unreachable),
        ("nothing", Failure::Rejected),
    ] {
        let error = fetched(&fetcher, &format!("http://files.test:{}/{path}", web.port())).await.expect_err(path);
        assert_eq!(error.failure, failure, "{path}");
    }
    let url = Url::parse(&format!("http://files.test:{}/slow", web.port())).expect("a URL");
    let hasty = within("juliet@example.org", Duration::from_millis(50));
    assert_eq!(fetcher.fetch(&url, &hasty).await.expect_err("slow").failure, Failure::TimedOut);
}

#[tokio::test]
async fn only_hosts_that_somebody_vouches_for_are_asked() {
    let (lookup, lookups) = always(&["127.0.0.1"]);
    let fetcher = fetcher(&["files.test"], lookup);
    fetcher.trust(&Url::parse("https://UPLOAD.test/slot").expect("a URL"));
    let check = |url: &str| {
        fetcher.check(&Url::parse(url).expect("a URL"), &limit("juliet@example.org")).map_err(|e| e.failure)
    };
    for (url, allowed) in [
        ("https://example.org/x", true),
        ("https://share.example.org:8443/x", true),
        ("https://EXAMPLE.org./x", true),
        ("https://upload.test/x", true),
        ("https://files.test/x", true),
        ("http://files.test/x", true),
        ("http://example.org/x", false),
        ("http://upload.test/x", false),
        ("ftp://files.test/x", false),
        ("file:///etc/passwd", false),
        ("https://evilexample.org/x", false),
        ("https://example.org.evil.test/x", false),
        ("https://juliet@evil.test/x", false),
        ("https://sub.upload.test/x", false),
        ("https://127.0.0.1/x", false),
    ] {
        assert_eq!(check(url), if allowed { Ok(()) } else { Err(Failure::Forbidden) }, "{url}");
    }
    let international = limit("a@müller.example");
    assert_eq!(fetcher.check(&Url::parse("https://xn--mller-kva.example/").expect("a URL"), &international), Ok(()));
    assert_eq!(lookups.load(Ordering::SeqCst), 0, "nothing is looked up for a check");
}

#[tokio::test]
async fn a_name_that_leads_into_our_network_is_never_connected_to() {
    let (web, seen) = web().await;
    for addresses in [
        &["127.0.0.1"][..],
        &["::1"],
        &["::ffff:127.0.0.1"],
        &["0.0.0.0"],
        &["169.254.169.254"],
        &["fc00::1"],
        &["10.0.0.1", "127.0.0.1", "::ffff:7f00:1"],
    ] {
        let fetcher = fetcher(&[], always(addresses).0);
        let error =
            fetched(&fetcher, &format!("https://example.org:{}/ok.png", web.port())).await.expect_err("forbidden");
        assert_eq!(error.failure, Failure::Forbidden, "{addresses:?}");
    }
    assert_eq!(seen.requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn every_spelling_of_a_loopback_address_is_refused_as_a_redirect() {
    let (web, seen) = web().await;
    let fetcher = fetcher(&["files.test"], always(&["127.0.0.1"]).0);
    let port = web.port();
    for target in [
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://017700000001/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[64:ff9b::127.0.0.1]/",
        "https://0/",
        "https://169.254.169.254/latest/meta-data/",
        "https://localhost/",
        "https://other.test/",
        "http://other.test/",
        "file:///etc/passwd",
        "http://127.0.0.1/",
    ] {
        let before = seen.requests.load(Ordering::SeqCst);
        let target = target.replace("/latest", &format!(":{port}/latest"));
        let error = fetched(&fetcher, &format!("http://files.test:{port}/to?{target}")).await.expect_err(&target);
        assert_eq!(error.failure, Failure::Forbidden, "{target}");
        assert_eq!(
            seen.requests.load(Ordering::SeqCst),
            before + 1,
            "{target}: only the redirect itself was asked for"
        );
    }
    let round = format!("http://files.test:{port}/to?/to?/to");
    assert!(fetched(&fetcher, &round).await.is_err(), "round in circles");
    let (body, _) =
        fetched(&fetcher, &format!("http://files.test:{port}/to?/a%20photo.png")).await.expect("a good redirect");
    assert_eq!(&body[..], b"content");
}

#[tokio::test]
async fn the_address_that_was_checked_is_the_one_that_is_connected_to() {
    let (web, seen) = web().await;
    // The first answer is harmless (and leads nowhere: a black hole of the documentation would be refused), the second
    // one is ours: whoever looks up again connects to it.
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let lookup: Lookup = Arc::new(move |_| {
        let first = counter.fetch_add(1, Ordering::SeqCst) == 0;
        let address =
            if first { IpAddr::V6("2000::1".parse().expect("an address")) } else { IpAddr::V4(Ipv4Addr::LOCALHOST) };
        Box::pin(async move { Ok(vec![address]) })
    });
    let fetcher = fetcher(&[], lookup);
    let url = Url::parse(&format!("https://example.org:{}/ok.png", web.port())).expect("a URL");
    let hasty = within("juliet@example.org", Duration::from_secs(1));
    let error = fetcher.fetch(&url, &hasty).await.expect_err("nobody is there");
    assert!(matches!(error.failure, Failure::Unreachable | Failure::TimedOut), "{error:?}");
    assert_eq!(count.load(Ordering::SeqCst), 1, "looked up once");
    assert_eq!(seen.requests.load(Ordering::SeqCst), 0);
}

/// An XMPP server with an upload service.
struct Service {
    web: SocketAddr,
    path: &'static str,
    asked: Mutex<Vec<String>>,
    slot: Option<&'static str>,
}

#[async_trait]
impl IqSender for Service {
    async fn iq(&self, to: &str, payload: Element) -> Result<Element, IqError> {
        self.asked.lock().expect("no panic").push(format!("{to} {}", payload.name()));
        let refused = || IqError::Refused { condition: "forbidden".into(), text: None };
        let xml = match (to, payload.ns().as_str()) {
            ("example.org", "http://jabber.org/protocol/disco#items") => {
                "<query xmlns='http://jabber.org/protocol/disco#items'><item jid='muc.example.org'/><item jid='up.example.org'/></query>".to_owned()
            }
            ("up.example.org", "http://jabber.org/protocol/disco#info") => {
                "<query xmlns='http://jabber.org/protocol/disco#info'><feature var='urn:xmpp:http:upload:0'/>\
                 <x xmlns='jabber:x:data' type='result'><field var='max-file-size'><value>100</value></field></x></query>".to_owned()
            }
            ("up.example.org", "urn:xmpp:http:upload:0") => match self.slot {
                Some(xml) => xml.to_owned(),
                None => {
                    let (web, path) = (self.web, self.path);
                    assert_eq!(payload.attr("filename"), Some("a b.png"));
                    format!(
                        "<slot xmlns='urn:xmpp:http:upload:0'><put url='http://{web}/{path}'>\
                         <header name='Authorization'>Basic\n Zm9v</header><header name='Host'>evil</header><header name='Cookie'>a=b</header>\
                         </put><get url='https://get.example.org/a%20b.png'/></slot>"
                    )
                }
            },
            _ => return Err(refused()),
        };
        Ok(xml.parse().expect("XML"))
    }
}

async fn upload(path: &'static str, slot: Option<&'static str>, size: usize) -> (Result<Url, NotUploaded>, Arc<Seen>) {
    let (web, seen) = web().await;
    let service = Service { web, path, asked: Mutex::default(), slot };
    let uploader = Uploader::new(None, &["example.org".to_owned()], &tls()).expect("an uploader");
    let media = Media::new(Some("../a b.png".into()), "image/png", None);
    let result = uploader.upload(&service, Bytes::from(vec![b'x'; size]), &media).await;
    let asked = service.asked.lock().expect("no panic").len();
    let again = uploader.upload(&service, Bytes::from(vec![b'x'; size]), &media).await;
    assert_eq!(again, result, "the same a second time");
    let second = service.asked.lock().expect("no panic").len() - asked;
    assert!(second <= 1, "the service was looked for a second time");
    (result, seen)
}

#[tokio::test]
async fn a_file_is_put_into_the_slot_with_the_headers_that_are_allowed() {
    let (result, seen) = upload("put", None, 100).await;
    assert_eq!(result.map(String::from), Ok("https://get.example.org/a%20b.png".to_owned()));
    let (headers, body) = seen.put.lock().expect("no panic").take().expect("a PUT");
    assert_eq!(body.len(), 100);
    assert_eq!(headers["authorization"], "Basic Zm9v");
    assert_eq!(headers["cookie"], "a=b");
    assert_eq!(headers["content-type"], "image/png");
    assert_eq!(headers["content-length"], "100");
    assert_ne!(headers["host"], "evil");
}

#[tokio::test]
async fn whatever_goes_wrong_is_said_so_that_the_file_can_be_served_otherwise() {
    let (result, seen) = upload("put", None, 101).await;
    assert!(matches!(result, Err(NotUploaded::TooLarge { limit: 100, .. })), "{result:?}");
    assert!(seen.put.lock().expect("no panic").is_none());
    let (result, _) = upload("refuse", None, 10).await;
    assert!(matches!(&result, Err(NotUploaded::Put { why, .. }) if why == "HTTP status 403"), "{result:?}");
    for slot in [
        "<slot xmlns='urn:other'/>",
        "<slot xmlns='urn:xmpp:http:upload:0'><put url='ftp://a/b'/><get url='https://a/b'/></slot>",
        "<slot xmlns='urn:xmpp:http:upload:0'><put url='http://a/b'/></slot>",
    ] {
        let (result, _) = upload("put", Some(slot), 10).await;
        assert!(matches!(result, Err(NotUploaded::BadSlot { .. })), "{slot}: {result:?}");
    }
}

#[tokio::test]
async fn a_service_that_refuses_or_is_missing_is_named() {
    let (web, _) = web().await;
    let service = Service { web, path: "put", asked: Mutex::default(), slot: None };
    let media = Media::new(None, "image/png", None);
    let none = Uploader::new(None, &["nowhere.test".to_owned()], &tls()).expect("an uploader");
    let result = none.upload(&service, Bytes::from_static(b"x"), &media).await;
    assert_eq!(result, Err(NotUploaded::NoService));
    let wrong = Uploader::new(Some("muc.example.org".into()), &[], &tls()).expect("an uploader");
    let result = wrong.upload(&service, Bytes::from_static(b"x"), &media).await.expect_err("refused");
    assert_eq!(result.to_string(), "muc.example.org gives no upload slot: forbidden");
}

#[test]
fn a_ca_file_that_is_none_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("ca.pem");
    for content in [None, Some(""), Some("nonsense")] {
        if let Some(content) = content {
            std::fs::write(&path, content).expect("written");
        }
        let error = tls_config(Some(&path)).expect_err("no certificates");
        assert!(error.contains("ca.pem"), "{error}");
    }
}
