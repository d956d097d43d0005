//! The gateway in this process with the contract's own network (Loopback), at a real server: what the core does for a bridge that a third party
//! writes.

use std::sync::Arc;
use std::time::Duration;

use isthmus::admin::outside::{GatewayEnd, Outside};
use isthmus::config::Config;
use isthmus::storage::Clock;
use isthmus_bridge::suite::LoopbackKind;
use isthmus_testkit::server::{Flavour, Options, XmppServer, secret};
use isthmus_testkit::slix::SlixClient;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The domain of the live network, which has rooms.
pub(crate) const LOOP: &str = "loop.localhost";
/// The domain of the held one, where there is one.
pub(crate) const HELD: &str = "held.localhost";

/// A server and the gateway at it.
pub(crate) struct Inside {
    pub(crate) server: XmppServer,
    /// The gateway's, which a test moves on.
    pub(crate) clock: Clock,
    folder: tempfile::TempDir,
    stop: CancellationToken,
    reload: Arc<Notify>,
    end: Option<JoinHandle<Result<(), GatewayEnd>>>,
}

impl Inside {
    /// With these lines in the bridge's file.
    pub(crate) async fn start(flavour: Flavour, bridge: &str) -> Self {
        Self::with(flavour, bridge, "", |_| {}).await
    }

    /// With the held network too, and with romeo and juliet among the users.
    pub(crate) async fn both(flavour: Flavour) -> Self {
        Self::both_with(flavour, |_| {}, "").await
    }

    /// The same at a server that is not quite the usual one, with these tables in `isthmus.toml`.
    pub(crate) async fn both_with(flavour: Flavour, change: impl FnOnce(&mut Options), tables: &str) -> Self {
        let change = |options: &mut Options| {
            options.components.push(HELD.to_owned());
            options.users.extend(["romeo@localhost", "juliet@localhost"].map(str::to_owned));
            change(options);
        };
        Self::with(flavour, "mode = \"live\"\n", tables, change).await
    }

    /// With further lines under `[server]` and behind it, and another server than the usual one.
    pub(crate) async fn with(flavour: Flavour, bridge: &str, keys: &str, change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options { components: vec![LOOP.to_owned()], ..Options::default() };
        change(&mut options);
        let held = options.components.iter().any(|domain| domain == HELD);
        let server = XmppServer::start(flavour, options).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("bridges")).unwrap();
        let held = held.then_some(("held", HELD, "mode = \"held\"\n"));
        for (name, domain, lines) in std::iter::once(("loop", LOOP, bridge)).chain(held) {
            let secret = secret(domain);
            let text = format!("kind = \"loopback\"\ndomain = \"{domain}\"\nsecret = \"{secret}\"\n{lines}");
            std::fs::write(folder.path().join(format!("bridges/{name}.toml")), text).unwrap();
        }
        let (host, port) = (server.component().ip(), server.component().port());
        let http = if keys.contains("[http]") { "" } else { "[http]\nlisten = \"off\"\n" };
        let text = format!(
            "admins = [\"carol@localhost\"]\ndata_dir = \"data\"\n{http}[server]\nhost = \"{host}\"\n\
             port = {port}\ndomains = [\"localhost\"]\n{keys}\n"
        );
        std::fs::write(folder.path().join("isthmus.toml"), text).unwrap();
        let mut made = Self {
            server,
            clock: Clock::ahead(),
            folder,
            stop: CancellationToken::new(),
            reload: Arc::default(),
            end: None,
        };
        made.launch().await;
        made
    }

    /// Starts the gateway (again) on its data, and waits until it answers.
    pub(crate) async fn launch(&mut self) {
        let path = self.folder.path().to_owned();
        let load = move || Config::load(&path, Vec::new(), &[Box::new(LoopbackKind)]);
        let config = load().unwrap_or_else(|faults| panic!("the configuration has faults: {faults:?}"));
        self.stop = CancellationToken::new();
        let outside = Outside {
            stop: self.stop.clone(),
            reload: self.reload.clone(),
            load: Arc::new(load),
            level: Arc::new(|_| Ok(())),
            ready: Arc::new(|| {}),
            clock: self.clock.clone(),
        };
        self.end = Some(tokio::spawn(isthmus::gateway::run(config, outside)));
        let mut client = SlixClient::online(&self.server, "bob@localhost/waiting").await.unwrap();
        let held = self.folder.path().join("bridges/held.toml").exists();
        for domain in std::iter::once(LOOP).chain(held.then_some(HELD)) {
            attached(&mut client, domain).await;
        }
    }

    /// Whether these words stand in any file of the gateway's data.
    pub(crate) fn holds(&self, words: &str) -> bool {
        let files = std::fs::read_dir(self.folder.path().join("data")).unwrap();
        let texts = files.filter_map(|file| std::fs::read(file.unwrap().path()).ok());
        texts.into_iter().any(|bytes| bytes.windows(words.len()).any(|window| window == words.as_bytes()))
    }

    /// Adds these tables to `isthmus.toml`, and has it read again.
    pub(crate) fn reload_with(&self, tables: &str) {
        let path = self.folder.path().join("isthmus.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, text + tables).unwrap();
        self.reload.notify_one();
    }

    /// Ends the gateway for good.
    pub(crate) async fn finish(mut self) {
        self.stop().await;
    }

    /// `<user>@localhost/desk`, online, and nothing else.
    pub(crate) async fn online(&self, user: &str) -> SlixClient {
        SlixClient::online(&self.server, &format!("{user}@localhost/desk")).await.unwrap()
    }

    /// Ends the gateway in order.
    pub(crate) async fn stop(&mut self) {
        self.stop.cancel();
        let end = self.end.take().expect("it runs");
        tokio::time::timeout(Duration::from_secs(60), end).await.expect("it stops").expect("no panic").unwrap();
    }

    /// `<user>@localhost/<resource>`, online, its roster asked for, with carbons.
    pub(crate) async fn client(&self, user: &str, resource: &str) -> SlixClient {
        let mut client = SlixClient::online(&self.server, &format!("{user}@localhost/{resource}")).await.unwrap();
        let roster = "<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>";
        let carbons = "<iq type='set' id='carbons'><enable xmlns='urn:xmpp:carbons:2'/></iq>";
        client.send(format!("{roster}{carbons}")).await.unwrap();
        client.answer("roster").await.unwrap();
        client.answer("carbons").await.unwrap();
        client
    }
}

/// Waits until this domain answers.
async fn attached(client: &mut SlixClient, domain: &str) {
    for _ in 0..300 {
        if client.ping(domain).await.unwrap().attr("type") == Some("result") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{domain} is not attached");
}
