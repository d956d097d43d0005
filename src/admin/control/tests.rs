use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use super::*;

#[derive(Default)]
struct Fake {
    done: Mutex<Vec<String>>,
}

impl Fake {
    fn note(&self, what: impl Into<String>) -> Result<(), String> {
        self.done.lock().expect("no panic before").push(what.into());
        Ok(())
    }
}

#[async_trait]
impl Records for Fake {
    async fn users(&self, bridge: Option<&str>) -> Result<Vec<UserRow>, String> {
        let row = |bridge: &str| UserRow {
            bridge: bridge.to_owned(),
            user: "juliet@example.org".to_owned(),
            own: Some("juliet".to_owned()),
            since: Some(0),
        };
        Ok(vec![row(bridge.unwrap_or("all"))])
    }
    async fn user_remove(&self, bridge: &str, user: &str) -> Result<(), String> {
        self.note(format!("remove {user} from {bridge}"))
    }
    async fn contacts(&self, _: Option<&str>, _: Option<&str>) -> Result<Vec<ContactRow>, String> {
        Ok(Vec::new())
    }

    async fn queue(&self, _: Option<&str>) -> Result<Vec<QueueRow>, String> {
        Ok(Vec::new())
    }
    async fn queue_retry(&self, id: &str) -> Result<(), String> {
        Err(format!("there is no event {id} in the queue"))
    }
    async fn queue_cancel(&self, id: &str) -> Result<(), String> {
        self.note(format!("cancel {id}"))
    }
}

#[async_trait]
impl Control for Fake {
    async fn status(&self) -> Result<Status, String> {
        Ok(Status { version: crate::version().to_owned(), pid: 1, uptime_seconds: 2, bridges: Vec::new() })
    }
    async fn check(&self) -> Result<Vec<FindingRow>, String> {
        Ok(vec![FindingRow::fault(Some("email"), "no relay", "start it")])
    }
    async fn user_add(&self, bridge: &str, user: &str, values: BTreeMap<String, String>) -> Result<(), String> {
        self.note(format!("add {user} to {bridge} with {values:?}"))
    }
    async fn user_act(&self, request: ActRequest) -> Result<Acted, String> {
        let at = request.at.unwrap_or_default();
        let notes = vec![format!("{} for {} {at} {:?}", request.command, request.user, request.values)];
        Ok(Acted { notes, columns: vec!["used".into()], rows: vec![vec!["3\u{1b}".into()]] })
    }
    async fn send(&self, request: SendRequest) -> Result<SendAnswer, String> {
        self.note(request.text)?;
        Ok(SendAnswer { id: Some("7".to_owned()), state: "queued".to_owned() })
    }
    async fn level(&self, level: &str) -> Result<(), String> {
        self.note(format!("level {level}"))
    }
    async fn rotate_key(&self) -> Result<Rotated, String> {
        Err("no key here".to_owned())
    }

    async fn reload(&self) -> Result<(), String> {
        self.note("reload")
    }
    async fn stop(&self) -> Result<(), String> {
        self.note("stop")
    }
}

struct Running {
    folder: tempfile::TempDir,
    fake: Arc<Fake>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (fake, stop) = (Arc::new(Fake::default()), CancellationToken::new());
        let claim = Claim::new(folder.path()).expect("the only instance");
        let task = tokio::spawn(claim.serve(Arc::clone(&fake) as Arc<dyn Control>, stop.clone()));
        Self { folder, fake, stop, task }
    }

    fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("control.sock")
    }

    async fn client(&self) -> Client {
        Client::connect(&self.socket()).await.expect("it opens").expect("it runs")
    }
}

#[tokio::test]
async fn every_verb_goes_there_and_back() {
    let running = Running::start();
    let mut client = running.client().await;
    let version: String = client.ask(&Request::Version).await.expect("version");
    assert_eq!(version, crate::version());
    let users: Vec<UserRow> = client.ask(&Request::Users { bridge: Some("email".into()) }).await.expect("users");
    assert_eq!(users[0].bridge, "email");
    let status: Status = client.ask(&Request::Status).await.expect("status");
    assert_eq!(status.uptime_seconds, 2);
    let findings: Vec<FindingRow> = client.ask(&Request::Check).await.expect("check");
    assert_eq!(findings, [FindingRow::fault(Some("email"), "no relay", "start it")]);
    let send = SendRequest {
        bridge: "email".into(),
        user: "juliet@example.org".into(),
        to: "alice@example.net".into(),
        subject: None,
        text: "two\nlines \u{1F600}".into(),
    };
    assert!(!format!("{send:?}").contains("lines"), "the message stands in Debug");
    let sent: SendAnswer = client.ask(&Request::Send(send)).await.expect("send");
    assert_eq!(sent.id.as_deref(), Some("7"));
    let act = ActRequest {
        bridge: "email".into(),
        user: "a@x".into(),
        command: "configure".into(),
        at: None,
        values: vec![("password".into(), "xyzzy".into())],
    };
    assert!(!format!("{act:?}").contains("xyzzy"), "a password stands in Debug");
    let acted: Acted = client.ask(&Request::UserAct(act)).await.expect("act");
    assert!(acted.notes[0].starts_with("configure for a@x"), "{acted:?}");
    let values = BTreeMap::from([("alias".to_owned(), "juliet".to_owned())]);
    for request in [
        Request::UserAdd { bridge: "email".into(), user: "a@x".into(), values },
        Request::UserRemove { bridge: "email".into(), user: "a@x".into() },
        Request::QueueCancel { id: "9".into() },
        Request::Level { level: "debug".into() },
        Request::Reload,
        Request::Stop,
    ] {
        client.ask::<()>(&request).await.unwrap_or_else(|e| panic!("{request:?}: {e}"));
    }
    let done = running.fake.done.lock().expect("no panic before").clone();
    let expected = [
        "two\nlines \u{1F600}",
        "add a@x to email with {\"alias\": \"juliet\"}",
        "remove a@x from email",
        "cancel 9",
        "level debug",
        "reload",
        "stop",
    ];
    assert_eq!(done, expected);
}

#[tokio::test]
async fn a_refusal_comes_in_the_instances_own_words() {
    let running = Running::start();
    let mut client = running.client().await;
    let error = client.ask::<()>(&Request::QueueRetry { id: "42".into() }).await.expect_err("refused");
    assert_eq!(error.to_string(), "there is no event 42 in the queue");
    client.ask::<Vec<QueueRow>>(&Request::Queue { bridge: None }).await.expect("the connection stays");
}

#[tokio::test]
async fn rubbish_is_answered_and_an_endless_line_is_cut() {
    let running = Running::start();
    let mut stream = UnixStream::connect(running.socket()).await.expect("connects");
    stream.write_all(b"GET / HTTP/1.1\n{\"verb\":\"conquer\"}\n").await.expect("written");
    let mut answers = vec![0; 4096];
    let mut got = String::new();
    while got.matches('\n').count() < 2 {
        let n = stream.read(&mut answers).await.expect("answers");
        assert!(n > 0, "closed after {got}");
        got.push_str(&String::from_utf8_lossy(&answers[..n]));
    }
    assert!(got.lines().all(|l| l.starts_with("{\"error\":\"not a request that this version knows")), "{got}");
    let mut stream = UnixStream::connect(running.socket()).await.expect("connects");
    let endless = vec![b'x'; MAX_LINE + 1];
    stream.write_all(&endless).await.expect("written");
    let mut got = String::new();
    stream.read_to_string(&mut got).await.expect("an answer, then the end");
    assert!(got.contains("bytes long"), "{got}");
    running.client().await.ask::<String>(&Request::Version).await.expect("others are served");
}

#[tokio::test]
async fn only_the_owner_can_open_the_socket() {
    let running = Running::start();
    let mode = std::fs::metadata(running.socket()).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_second_instance_is_refused_in_a_clear_sentence() {
    let running = Running::start();
    let error = Claim::new(running.folder.path()).expect_err("refused").to_string();
    assert!(error.starts_with("another instance of isthmus runs on "), "{error}");
    running.client().await.ask::<String>(&Request::Version).await.expect("the first one is not disturbed");
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_stopped_one_is_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("control.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("bound"));
    assert!(socket.exists(), "a stale socket lies there");
    assert!(Client::connect(&socket).await.expect("no error").is_none(), "nobody answers there");
    let claim = Claim::new(folder.path()).expect("claimed all the same");
    drop(claim);
    assert!(!socket.exists());
    Claim::new(folder.path()).expect("and again");
}

#[tokio::test]
async fn it_stops_when_told() {
    let running = Running::start();
    let _client = running.client().await;
    running.stop.cancel();
    running.task.await.expect("no panic");
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_named() {
    let error = Claim::new(Path::new("/proc/none/isthmus")).expect_err("refused").to_string();
    assert!(error.starts_with("/proc/none/isthmus: "), "{error}");
    assert!(error.ends_with("(data_dir)"), "{error}");
}
