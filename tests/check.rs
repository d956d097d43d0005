//! `isthmus check` against real servers, and beside a running instance.

use std::net::SocketAddr;
use std::sync::Arc;

use isthmus::admin::control::{
    ActRequest, Acted, Claim, ContactRow, Control, FindingRow, QueueRow, Records, Rotated, SendAnswer, SendRequest,
    Status, UserRow,
};
use isthmus_testkit::isthmus::{Isthmus, Setup};
use isthmus_testkit::server::{Flavour, Options, XmppServer};
use tokio_util::sync::CancellationToken;

const BINARY: &str = env!("CARGO_BIN_EXE_isthmus");

fn setup(component: SocketAddr, domain: &str) -> Isthmus {
    Setup::new(BINARY, component).bridge("echo", "echo", domain, "").write().expect("written")
}

async fn check(gateway: &Isthmus) -> (Option<i32>, serde_json::Value) {
    let output = gateway.cli(&["check", "--json"]).await.expect("it runs");
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    (output.status.code(), json)
}

fn faults(json: &serde_json::Value) -> Vec<(String, String)> {
    let text = |f: &serde_json::Value, key: &str| f[key].as_str().unwrap_or_default().to_owned();
    let all = json["findings"].as_array().expect("a list");
    all.iter().filter(|f| f["severity"] == "fault").map(|f| (text(f, "what"), text(f, "remedy"))).collect()
}

async fn looks_at(flavour: Flavour) {
    let server = XmppServer::start(flavour, Default::default()).await.expect("it starts");
    let at = server.component();

    let (code, json) = check(&setup(at, "echo.localhost")).await;
    assert_eq!((code, faults(&json)), (Some(0), vec![]), "{json:#}");
    let said = json.to_string();
    assert!(said.contains(" grants roster: both"), "{said}");

    let wrong = setup(at, "echo.localhost");
    wrong
        .write("bridges/echo.toml", "kind = \"echo\"\ndomain = \"echo.localhost\"\nsecret = \"wrong\"\n")
        .expect("written");
    let (code, json) = check(&wrong).await;
    let found = faults(&json);
    let [(what, remedy)] = found.as_slice() else { panic!("one fault: {json:#}") };
    assert_eq!(*what, format!("the server at {at} refuses the secret of echo.localhost"));
    for words in
        ["component_secret", "Component \"echo.localhost\"", "ejabberd_service: hosts: echo.localhost: password"]
    {
        assert!(remedy.contains(words), "{words} in {remedy}");
    }
    assert_eq!(code, Some(1));
    assert!(!json.to_string().contains("\"wrong\""), "the secret is shown");

    let (code, json) = check(&setup(at, "nowhere.localhost")).await;
    let found = faults(&json);
    let [(what, remedy)] = found.as_slice() else { panic!("one fault: {json:#}") };
    match flavour {
        Flavour::Prosody => assert_eq!(*what, format!("the server at {at} has no component nowhere.localhost")),
        // ejabberd does not tell the two apart, and the remedy says so.
        Flavour::Ejabberd => assert!(remedy.contains("where it has no host nowhere.localhost"), "{what}: {remedy}"),
    }
    assert_eq!(code, Some(1));

    let (code, json) = check(&setup(server.c2s(), "echo.localhost")).await;
    let found = faults(&json);
    let [(_, remedy)] = found.as_slice() else { panic!("one fault: {json:#}") };
    assert!(remedy.contains("component port"), "{remedy}");
    assert_eq!(code, Some(1));
}

#[tokio::test]
async fn check_looks_at_prosody() {
    looks_at(Flavour::Prosody).await;
}

#[tokio::test]
async fn check_looks_at_ejabberd() {
    looks_at(Flavour::Ejabberd).await;
}

async fn asks_for_a_slot(flavour: Flavour) {
    for served in [true, false] {
        let options = Options { upload_for_components: served, ..Options::default() };
        let server = XmppServer::start(flavour, options).await.expect("it starts");
        let keys =
            "mail_domain = \"gw.test\"\n[smtp]\nhost = \"127.0.0.1\"\nport = 1\n[listen]\nlmtp = \"127.0.0.1:0\"\n";
        let gateway = Setup::new(BINARY, server.component());
        let gateway = gateway.bridge("email", "email", "email.localhost", keys).write().expect("written");
        let (_, json) = check(&gateway).await;
        let all = json["findings"].as_array().expect("a list");
        let about = |f: &&serde_json::Value| f["what"].as_str().is_some_and(|what| what.contains("upload slot"));
        let found = all.iter().find(about).unwrap_or_else(|| panic!("nothing of uploads: {json:#}"));
        let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
        if served {
            assert_eq!(text("what"), "upload.localhost gives upload slots");
        } else {
            assert!(text("what").starts_with("upload.localhost gives no upload slot ("), "{found}");
            assert!(text("remedy").contains("http_file_share_access = { \"email.localhost\" }"), "{found}");
            assert!(text("remedy").contains("an acl with server: \"email.localhost\""), "{found}");
        }
    }
}

#[tokio::test]
async fn check_asks_prosody_for_a_slot_and_names_the_missing_line() {
    asks_for_a_slot(Flavour::Prosody).await;
}

#[tokio::test]
async fn check_asks_ejabberd_for_a_slot_and_names_the_missing_line() {
    asks_for_a_slot(Flavour::Ejabberd).await;
}

/// A running instance that has found one thing.
struct Running;

#[async_trait::async_trait]
impl Records for Running {
    async fn users(&self, _: Option<&str>) -> Result<Vec<UserRow>, String> {
        let user = |own: Option<&str>| UserRow {
            bridge: "echo".into(),
            user: "juliet@localhost".into(),
            own: own.map(str::to_owned),
            since: Some(0),
        };
        Ok(vec![user(Some("juliet\u{1b}[2J")), user(None)])
    }
    async fn user_remove(&self, _: &str, user: &str) -> Result<(), String> {
        Err(format!("{user} is not registered"))
    }
    async fn contacts(&self, _: Option<&str>, _: Option<&str>) -> Result<Vec<ContactRow>, String> {
        Ok(Vec::new())
    }

    async fn queue(&self, _: Option<&str>) -> Result<Vec<QueueRow>, String> {
        Ok(Vec::new())
    }
    async fn queue_retry(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
    async fn queue_cancel(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
}

#[async_trait::async_trait]
impl Control for Running {
    async fn status(&self) -> Result<Status, String> {
        Ok(Status { version: "0".into(), pid: 7, uptime_seconds: 90_061, bridges: Vec::new() })
    }
    async fn check(&self) -> Result<Vec<FindingRow>, String> {
        Ok(vec![FindingRow::warning(Some("echo"), "it is quiet", "speak")])
    }
    async fn user_add(&self, _: &str, _: &str, _: std::collections::BTreeMap<String, String>) -> Result<(), String> {
        Ok(())
    }
    async fn user_act(&self, request: ActRequest) -> Result<Acted, String> {
        let at = request.at.unwrap_or_default();
        let notes = vec![format!("{} for {} {at} {:?}", request.command, request.user, request.values)];
        Ok(Acted { notes, columns: vec!["used".into()], rows: vec![vec!["3\u{1b}".into()]] })
    }
    async fn send(&self, request: SendRequest) -> Result<SendAnswer, String> {
        Ok(SendAnswer { id: Some("7".into()), state: format!("queued for {}: {}", request.to, request.text) })
    }
    async fn level(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
    async fn rotate_key(&self) -> Result<Rotated, String> {
        Err("no key here".to_owned())
    }

    async fn reload(&self) -> Result<(), String> {
        Ok(())
    }
    async fn stop(&self) -> Result<(), String> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_instance_is_asked_and_nothing_attaches_beside_it() {
    // Whoever attached would connect here.
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let gateway = setup(server.local_addr().expect("bound"), "echo.localhost");
    let stop = CancellationToken::new();
    let claim = Claim::new(&gateway.folder().join("data")).expect("the only instance");
    let serving = tokio::spawn(claim.serve(Arc::new(Running), stop.clone()));

    let (code, json) = check(&gateway).await;
    assert_eq!((code, json["asked"].as_str()), (Some(0), Some("running instance")), "{json:#}");
    assert!(json.to_string().contains("it is quiet"), "{json:#}");
    let attached = tokio::time::timeout(std::time::Duration::from_millis(200), server.accept()).await;
    assert!(attached.is_err(), "check connected to the server beside a running instance");

    let said = |output: std::process::Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let send = ["send", "--bridge", "echo", "--user", "juliet@localhost", "alice", "two words"];
    let output = gateway.cli(&send).await.expect("it runs");
    assert_eq!(said(output), "queued for alice: two words (id 7)\n");
    let output = gateway.cli(&["status"]).await.expect("it runs");
    assert!(said(output).starts_with("isthmus 0 runs as process 7 since 1d 1h 1m\n"));
    let output = gateway.cli(&["users", "list"]).await.expect("it runs");
    assert_eq!(
        said(output),
        "bridge  user              is there    since\n\
         echo    juliet@localhost  juliet\u{FFFD}[2J  1970-01-01 00:00 UTC\n\
         echo    juliet@localhost              1970-01-01 00:00 UTC\n"
    );
    let act =
        ["users", "act", "--bridge", "echo", "--at", "ann", "juliet@localhost", "configure", "nick=a=b", "x=1", "x=2"];
    let output = gateway.cli(&act).await.expect("it runs");
    assert_eq!(
        said(output),
        "configure for juliet@localhost ann [(\"nick\", \"a=b\"), (\"x\", \"1\"), (\"x\", \"2\")]\nused\n3\u{FFFD}\n"
    );
    let output = gateway.cli(&["users", "remove", "--bridge", "echo", "x@localhost"]).await.expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "isthmus: x@localhost is not registered\n");
    // A second gateway on the same data folder.
    let output = gateway.cli(&["run"]).await.expect("it runs");
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("another instance of isthmus runs on"), "{output:?}");
    stop.cancel();
    serving.await.expect("no panic");
}
