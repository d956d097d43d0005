//! The routes over a real socket.

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use super::*;
use crate::files::{Links, Shelf};

struct Gateway {
    attached: Mutex<bool>,
    shelf: Shelf,
    links: Links,
}

#[async_trait]
impl Behind for Gateway {
    fn readiness(&self) -> Vec<Readiness> {
        let ready = *self.attached.lock().expect("no panic");
        let state = if ready { "attached" } else { "down:\nno" };
        vec![Readiness { bridge: "mail".into(), ready, state: state.into() }]
    }

    fn figures(&self, page: &mut Page) {
        page.gauge("isthmus_up", "Whether it lives.").value(&[], 1);
    }

    async fn hook(&self, bridge: &str, request: http::Request<Bytes>) -> Option<http::Response<Bytes>> {
        let said = format!("{} {} {}", request.method(), request.uri(), String::from_utf8_lossy(request.body()));
        let response = http::Response::builder().status(202).header("x-said", "yes").body(Bytes::from(said));
        (bridge == "mail").then(|| response.expect("a response"))
    }

    async fn file(&self, token: &str) -> Option<(Bytes, Media)> {
        let id = self.links.open(token, SystemTime::now())?;
        self.shelf.read(&id).await.ok().flatten()
    }
}

struct Served {
    gateway: Arc<Gateway>,
    base: String,
    client: reqwest::Client,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    _folder: tempfile::TempDir,
}

async fn served() -> Served {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let base = format!("http://{}", listener.local_addr().expect("bound"));
    let good_for = Duration::from_secs(3600);
    let links = Links::new(&[7; 32], base.parse().expect("a URL"), good_for);
    let shelf = Shelf::open(folder.path()).expect("a shelf");
    let gateway = Arc::new(Gateway { attached: Mutex::new(true), shelf, links });
    let stop = CancellationToken::new();
    let task = tokio::spawn(serve(listener, None, gateway.clone(), stop.clone()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let tls = tls.expect("versions").with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    let client = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build().expect("a client");
    Served { gateway, base, client, stop, task, _folder: folder }
}

impl Served {
    async fn get(&self, path: &str) -> reqwest::Response {
        let url = if path.starts_with('/') { format!("{}{path}", self.base) } else { path.to_owned() };
        self.client.get(url).send().await.expect("an answer")
    }
}

#[tokio::test]
async fn life_readiness_and_figures_are_told() {
    let served = served().await;
    assert_eq!(served.get("/live").await.status(), 200);
    let ready = served.get("/ready").await;
    assert_eq!((ready.status().as_u16(), ready.text().await.expect("text").as_str()), (200, "mail: attached\n"));
    *served.gateway.attached.lock().expect("no panic") = false;
    let ready = served.get("/ready").await;
    assert_eq!((ready.status().as_u16(), ready.text().await.expect("text").as_str()), (503, "mail: down:\\nno\n"));
    let figures = served.get("/metrics").await;
    assert_eq!(figures.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert!(figures.text().await.expect("text").ends_with("isthmus_up 1\n"));
    assert_eq!(served.get("/").await.status(), 404);
    served.stop.cancel();
    served.task.await.expect("no panic");
}

#[tokio::test]
async fn a_hook_reaches_its_bridge_as_it_came() {
    let served = served().await;
    let url = format!("{}/hooks/mail/report%2F1?a=b", served.base);
    let answer = served.client.post(url).body("body").send().await.expect("an answer");
    assert_eq!((answer.status().as_u16(), answer.headers()["x-said"].to_str().expect("text")), (202, "yes"));
    assert_eq!(answer.text().await.expect("text"), "POST /hooks/mail/report%2F1?a=b body");
    assert_eq!(served.get("/hooks/mail").await.status(), 202);
    assert_eq!(served.get("/hooks/mail/").await.status(), 202);
    assert_eq!(served.get("/hooks/other/x").await.status(), 404);
    let large =
        served.client.post(format!("{}/hooks/mail/x", served.base)).body(vec![0_u8; LARGEST_HOOK + 1]).send().await;
    // Either the answer arrives, or the connection is closed while we still send.
    assert!(large.is_err() || large.is_ok_and(|answer| answer.status() == 413));
}

#[tokio::test]
async fn a_file_is_served_so_that_it_cannot_run() {
    let served = served().await;
    for (media_type, shown, disposition) in [
        ("image/png", "image/png", "inline"),
        ("text/html", "application/octet-stream", "attachment"),
        ("image/svg+xml", "application/octet-stream", "attachment"),
        ("text/plain\r\nSet-Cookie: a=b", "application/octet-stream", "attachment"),
    ] {
        let media = Media::new(Some("pic.bin".into()), media_type, None);
        let id = served.gateway.shelf.keep(Bytes::from_static(b"<script>"), media).await.expect("kept");
        let url = served.gateway.links.make(&id, "pic.bin", SystemTime::now());
        let answer = served.get(url.as_str()).await;
        assert_eq!(answer.status(), 200, "{media_type}");
        let header = |name: &str| answer.headers()[name].to_str().expect("text").to_owned();
        assert_eq!(header("content-type"), shown, "{media_type}");
        assert!(header("content-disposition").starts_with(disposition), "{media_type}");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert!(header("content-security-policy").contains("sandbox"));
        assert!(answer.headers().get("set-cookie").is_none());
        assert_eq!(&answer.bytes().await.expect("a body")[..], b"<script>");
        let head = served.client.head(url.clone()).send().await.expect("an answer");
        assert_eq!(head.headers()["content-length"], "8");
        assert_eq!(served.client.post(url).send().await.expect("an answer").status(), 405);
    }
    assert_eq!(served.get("/files/abc.def.00/x").await.status(), 404);
    assert_eq!(served.get("/files/..%2F..%2Fetc%2Fpasswd/x").await.status(), 404);
}

#[tokio::test]
async fn with_a_certificate_it_speaks_tls_and_a_renewed_one_is_taken() {
    let folder = isthmus_testkit::process::Folder::new("http").expect("a folder");
    let made = isthmus_testkit::certificate::Certificate::make(&folder).await.expect("a certificate");
    let mut certificate = Certificate::open(&made.certificate, &made.key).expect("it fits");
    let before = certificate.config_in_force();
    certificate.renew();
    assert!(Arc::ptr_eq(&before, &certificate.config_in_force()), "nothing has changed");
    let made = isthmus_testkit::certificate::Certificate::make(&folder).await.expect("a renewed one");
    certificate.renew();
    assert!(!Arc::ptr_eq(&before, &certificate.config_in_force()), "the new one is in force");
    std::fs::write(&made.key, "no key").expect("written");
    certificate.renew();
    assert!(Certificate::open(&made.certificate, &made.key).is_err_and(|e| e.contains("key.pem cannot be read")));

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let stop = CancellationToken::new();
    let good = served().await;
    let task = tokio::spawn(serve(listener, Some(certificate), good.gateway.clone(), stop.clone()));
    let tls = (*made.client().expect("a client")).clone();
    let client = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build().expect("a client");
    let answer = client.get(format!("https://localhost:{port}/live")).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert!(client.get(format!("http://localhost:{port}/live")).send().await.is_err(), "plain HTTP is not answered");
    stop.cancel();
    task.await.expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn who_sends_a_request_byte_by_byte_is_cut_off() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let served = served().await;
    let mut slow = tokio::net::TcpStream::connect(served.base.trim_start_matches("http://")).await.expect("connected");
    slow.write_all(b"GET /live HTTP/1.1\r\nhost: x\r\nx-slow: ").await.expect("written");
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(120), slow.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the connection is still open after two minutes");
}
