//! A gateway in this process, at a real server: with the contract's own network, which does all that a third party's bridge may do.

use isthmus::admin::outside::{GatewayEnd, Outside};
use isthmus::config::Config;
use isthmus_bridge::suite::LoopbackKind;
use isthmus_testkit::server::{Flavour, Options, XmppServer, secret};
use isthmus_testkit::slix::SlixClient;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The domain of the live network, which has rooms.
pub(crate) const LOOP: &str = "loop.localhost";
/// The domain of the held one.
pub(crate) const HELD: &str = "held.localhost";

/// The gateway and the server.
pub(crate) struct Within {
    pub(crate) server: XmppServer,
    stop: CancellationToken,
    end: JoinHandle<Result<(), GatewayEnd>>,
    _folder: tempfile::TempDir,
}

impl Within {
    pub(crate) async fn start(flavour: Flavour) -> Self {
        let users = vec!["romeo@localhost".to_owned(), "juliet@localhost".to_owned()];
        let options = Options { components: vec![LOOP.to_owned(), HELD.to_owned()], users, ..Options::default() };
        let server = XmppServer::start(flavour, options).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("bridges")).unwrap();
        for (name, domain, mode) in [("loop", LOOP, "live"), ("held", HELD, "held")] {
            let text = format!(
                "kind = \"loopback\"\ndomain = \"{domain}\"\nsecret = \"{}\"\nmode = \"{mode}\"\n",
                secret(domain)
            );
            std::fs::write(folder.path().join(format!("bridges/{name}.toml")), text).unwrap();
        }
        let at = server.component();
        let main = format!(
            "data_dir = \"data\"\n[server]\nhost = \"{}\"\nport = {}\ndomains = [\"localhost\"]\n[http]\nlisten = \"off\"\n",
            at.ip(),
            at.port()
        );
        std::fs::write(folder.path().join("isthmus.toml"), main).unwrap();
        let path = folder.path().to_owned();
        let load = move || {
            let mut kinds = isthmus::registry::kinds();
            kinds.push(Box::new(LoopbackKind));
            Config::load(&path, Vec::new(), &kinds)
        };
        let (stop, ready) = (CancellationToken::new(), Arc::new(Notify::new()));
        let told = ready.clone();
        let outside = Outside {
            stop: stop.clone(),
            reload: Arc::new(Notify::new()),
            load: Arc::new(load.clone()),
            level: Arc::new(|_| Ok(())),
            clock: isthmus::storage::Clock::system(),
            ready: Arc::new(move || told.notify_one()),
        };
        let end = tokio::spawn(isthmus::gateway::run(load().unwrap(), outside));
        tokio::time::timeout(Duration::from_secs(60), ready.notified()).await.expect("the gateway is ready");
        Self { server, stop, end, _folder: folder }
    }

    /// `<user>@localhost/desk`, online.
    pub(crate) async fn client(&self, user: &str) -> SlixClient {
        SlixClient::online(&self.server, &format!("{user}@localhost/desk")).await.unwrap()
    }

    /// Ends in order.
    pub(crate) async fn finish(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(40), self.end).await.unwrap().unwrap().unwrap();
    }
}
