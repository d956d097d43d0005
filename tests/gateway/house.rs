//! A gateway in this process, and the server it is attached to.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use isthmus::admin::outside::{GatewayEnd, Outside};
use isthmus::config::Config;
use isthmus::storage::Clock;
use isthmus_bridge::suite::LoopbackKind;
use isthmus_testkit::fake::FakeXmpp;
use isthmus_testkit::server::secret;
use isthmus_testkit::xml::Element;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The echo bridge's domain.
pub(crate) const ECHO: &str = "echo.example.org";
/// The domain of the contract's own network.
pub(crate) const LOOP: &str = "loop.example.org";
/// The domain of IRC networks.
pub(crate) const IRC: &str = "irc.example.org";
/// A user of the local domain.
pub(crate) const JULIET: &str = "juliet@example.org/balcony";

/// The gateway, its server, its folder.
pub(crate) struct House {
    pub(crate) server: FakeXmpp,
    pub(crate) stop: CancellationToken,
    pub(crate) reload: Arc<Notify>,
    pub(crate) end: JoinHandle<Result<(), GatewayEnd>>,
    pub(crate) folder: tempfile::TempDir,
    domain: &'static str,
    /// When it was started.
    pub(crate) began: Instant,
    /// Goes with the system's until a test moves it on.
    pub(crate) clock: Clock,
}

impl House {
    /// An echo bridge with these further lines in its file.
    pub(crate) async fn echo(bridge: &str) -> Self {
        Self::with(bridge, "").await
    }

    /// An echo bridge, with further lines in both files.
    pub(crate) async fn with(bridge: &str, main: &str) -> Self {
        Self::made(bridge, main, "off").await
    }

    /// An echo bridge, and HTTP at this address.
    pub(crate) async fn listening(address: &str) -> Self {
        Self::made("", "", address).await
    }

    async fn made(bridge: &str, main: &str, http: &str) -> Self {
        let server = FakeXmpp::start(&[ECHO]).await.expect("the fake server starts");
        let folder = tempfile::tempdir().expect("a folder");
        write(
            &folder.path().join("bridges/echo.toml"),
            &format!("kind = \"echo\"\ndomain = \"{ECHO}\"\nsecret = \"{}\"\n{bridge}", secret(ECHO)),
        );
        let port = server.address().port();
        write(
            &folder.path().join("isthmus.toml"),
            &format!(
                "admins = [\"admin@example.org\"]\ndata_dir = \"data\"\n[server]\nhost = \"127.0.0.1\"\nport = {port}\n\
                 domains = [\"example.org\"]\n[http]\nlisten = \"{http}\"\n{main}"
            ),
        );
        Self::start(server, folder).await
    }

    /// The contract's own network in memory, with these further lines in its file.
    pub(crate) async fn rooms(bridge: &str) -> Self {
        Self::of(("loop", "loopback"), LOOP, bridge, "").await
    }

    /// One bridge of this name and kind with these keys, and these further tables in the main file.
    pub(crate) async fn of((name, kind): (&str, &str), domain: &'static str, bridge: &str, main: &str) -> Self {
        let server = FakeXmpp::start(&[domain]).await.expect("the fake server starts");
        let folder = tempfile::tempdir().expect("a folder");
        write(
            &folder.path().join(format!("bridges/{name}.toml")),
            &format!("kind = \"{kind}\"\ndomain = \"{domain}\"\nsecret = \"{}\"\n{bridge}", secret(domain)),
        );
        let port = server.address().port();
        write(
            &folder.path().join("isthmus.toml"),
            &format!(
                "data_dir = \"data\"\n[server]\nhost = \"127.0.0.1\"\nport = {port}\ndomains = [\"example.org\"]\n\
                 [http]\nlisten = \"off\"\n{main}"
            ),
        );
        Self::attach(server, folder, domain).await
    }

    /// Starts the gateway on a folder and waits until it is attached.
    pub(crate) async fn start(server: FakeXmpp, folder: tempfile::TempDir) -> Self {
        Self::attach(server, folder, ECHO).await
    }

    async fn attach(server: FakeXmpp, folder: tempfile::TempDir, domain: &'static str) -> Self {
        let path = folder.path().to_owned();
        let load = move || {
            let mut kinds = isthmus::registry::kinds();
            kinds.push(Box::new(LoopbackKind));
            Config::load(&path, Vec::new(), &kinds)
        };
        let config = load().unwrap_or_else(|e| panic!("the configuration has faults: {e:?}"));
        let (stop, reload, clock) = (CancellationToken::new(), Arc::new(Notify::new()), Clock::ahead());
        let outside = Outside {
            stop: stop.clone(),
            reload: reload.clone(),
            load: Arc::new(load),
            level: Arc::new(|_| Ok(())),
            clock: clock.clone(),
            ready: Arc::new(|| {}),
        };
        let began = Instant::now();
        let end = tokio::spawn(isthmus::gateway::run(config, outside));
        let mut house = Self { server, stop, reload, end, folder, domain, began, clock };
        tokio::select! {
            attached = house.server.attached(domain) => drop(attached.expect("the gateway attaches")),
            end = &mut house.end => panic!("the gateway ended: {end:?}"),
        }
        house
    }

    /// Asks and gives the answer.
    pub(crate) async fn ask(&mut self, from: &str, to: &str, kind: &str, payload: &str) -> Element {
        self.server.ask(from, to, kind, payload).await.expect("an answer")
    }

    /// Sends a stanza as the server would.
    pub(crate) fn send(&self, xml: &str) {
        self.server.send(self.domain, xml).expect("attached");
    }

    /// The next stanza that fulfils `is`.
    pub(crate) async fn next(&mut self, what: &str, is: impl FnMut(&Element) -> bool) -> Element {
        self.server.stanza(what, is).await.expect(what)
    }

    /// Ends in order and starts again on the same data.
    pub(crate) async fn again(self) -> Self {
        self.stop.cancel();
        let end = tokio::time::timeout(Duration::from_secs(40), self.end).await.expect("the gateway stops");
        end.expect("no panic").expect("an orderly stop");
        Self::attach(self.server, self.folder, self.domain).await
    }

    /// Ends in order.
    pub(crate) async fn finish(self) -> Result<(), GatewayEnd> {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(40), self.end)
            .await
            .expect("the gateway stops")
            .expect("the gateway does not panic")
    }
}

/// Writes a file and the folders above it.
pub(crate) fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    std::fs::write(path, text).expect("a file");
}
