//! One bridge, from start to stop.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use isthmus_bridge::{Address, BareJid, Host, Work};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use super::Fatal;
use super::core::{Core, Parts, Served};
use super::dialogue::{Clerk, Dialogues};
use super::host::BridgeHost;
use super::live::Live;
use super::parties::Parties;
use super::receive::{Queues, Receiver};
use crate::access::Limiter;
use crate::admin::outside::GatewayEnd;
use crate::archive::Archive;
use crate::config::BridgeConfig;
use crate::registry::Instance;
use crate::registry::sessions::Sessions;
use crate::storage::people::{self, People};
use crate::xmpp::link::{self, LinkEnd};

/// A bridge with all its tasks.
pub(super) struct Running {
    pub(super) served: Arc<Served>,
    core: Arc<Core>,
    /// Ends sessions, service and queues.
    stop: CancellationToken,
    /// Ends the link, after them.
    stop_link: CancellationToken,
    tasks: TaskTracker,
    life: Mutex<Option<Life>>,
    attached: OnceLock<JoinHandle<()>>,
}

type Life = std::pin::Pin<Box<dyn std::future::Future<Output = LinkEnd> + Send>>;

impl Running {
    /// Makes everything; nothing runs before [`begin`](Self::begin).
    pub(super) async fn start(core: &Arc<Core>, config: &BridgeConfig) -> Result<Self, GatewayEnd> {
        let name: Arc<str> = config.name.as_str().into();
        let one = people::Served { name: name.clone(), bridge: config.bridge.clone(), scheme: config.scheme.clone() };
        let people = People::open(core.store.clone(), core.seal.clone(), vec![one])
            .await
            .map_err(|e| GatewayEnd::Storage(e.to_string()))?;
        let persons =
            people.of(&name).cloned().ok_or_else(|| GatewayEnd::Failed(format!("bridge {name} is not open")))?;
        let instance =
            Instance { name: name.clone(), domain: config.domain.as_str().into(), bridge: config.bridge.clone() };
        let limiter = Limiter::new(config.quotas);
        let face = config.avatar.as_ref().and_then(|path| face(&name, path));
        let kind = config.kind.clone();
        let served = Served::new(core, instance.clone(), kind, config.access.clone(), limiter, persons, face);
        served.rule(served.persons().rules().await.map_err(|e| GatewayEnd::Storage(e.to_string()))?);
        let served = Arc::new(served);
        let (stop, stop_link, tasks) = (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
        let receiver = Receiver {
            core: core.clone(),
            served: served.clone(),
            queues: Arc::<Queues>::default(),
            parties: Parties::default(),
        };
        let link_config = config.link(&core.limits).map_err(GatewayEnd::Failed)?;
        let (link, life) = link::start(link_config, Arc::new(receiver), stop_link.clone());
        let host: Host = Arc::new(BridgeHost::new(Arc::downgrade(core), served.clone()));
        let sessions = Sessions::new(instance, host.clone(), tasks.clone(), stop.clone());
        let live = Arc::new(Live::new(Arc::downgrade(core), Arc::downgrade(&served)));
        let clerk = Arc::new(Clerk::new(Arc::downgrade(core), Arc::downgrade(&served)));
        let dialogues = Dialogues::new(people, core.texts.load().as_ref().clone(), clerk);
        let archive = Archive::new(core.store.clone(), &name);
        served.open(Parts { link, sessions, host, live, dialogues, archive });
        Ok(Self {
            served,
            core: core.clone(),
            stop,
            stop_link,
            tasks,
            life: Mutex::new(Some(Box::pin(life))),
            attached: OnceLock::new(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.served.instance.name
    }

    /// Starts what [`start`](Self::start) has made; a second call does nothing. What only the operator can mend at the first attach goes to `fatal`.
    pub(super) fn begin(&self, fatal: Option<Fatal>) {
        let life = self.life.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(life) = life else { return };
        let served = self.served.clone();
        let attached = tokio::spawn(async move {
            if let LinkEnd::Fatal(reason) = life.await {
                error!(bridge = %served.instance.name, "{reason}");
                if let Some(fatal) = fatal {
                    // The receiver is gone only when the gateway ends anyway.
                    drop(fatal.send(reason));
                }
            }
        });
        drop(self.attached.set(attached));
        self.tasks.spawn(self.core.clone().serve(self.served.clone(), self.stop.clone()));
        self.tasks.spawn(keep_up(self.served.clone(), self.stop.clone()));
        let (core, name, stop) = (self.core.clone(), self.served.instance.name.clone(), self.stop.clone());
        self.tasks.spawn(async move { core.outbox.run(&name, stop).await });
        let (core, name, stop) = (self.core.clone(), self.served.instance.name.clone(), self.stop.clone());
        self.tasks.spawn(async move { core.inbox.run(&name, stop).await });
        for guest in self.served.guests() {
            self.tasks.spawn(self.core.clone().attend(self.served.clone(), guest.clone(), self.stop.clone()));
        }
        if self.served.profile().rooms || self.served.profile().mode == isthmus_bridge::Mode::Live {
            self.tasks.spawn(self.served.archive().clone().run(self.stop.clone()));
        }
    }

    /// Sessions and queues end first, then who saw us online is told, then the link closes its stream.
    pub(super) async fn stop(self, core: &Arc<Core>, patience: Duration) {
        // Before the sessions part: what they tell of their leaving is nothing that users have to see.
        core.rooms(&self.served).close().await;
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(patience, self.tasks.wait()).await.is_err() {
            warn!(bridge = %self.name(), tasks = self.tasks.len(), "some tasks of the bridge did not end in time");
        }
        if let Err(e) = self.served.archive().end().await {
            warn!(bridge = %self.name(), error = %e, "the last of what was said in rooms was not kept");
        }
        if let Err(e) = self.served.persons().flush_talks().await {
            warn!(bridge = %self.name(), error = %e, "the last of what was said was not kept");
        }
        if tokio::time::timeout(patience, core.say_goodbye(&self.served)).await.is_err() {
            warn!(bridge = %self.name(), "not everybody could be told in time that the gateway goes");
        }
        self.stop_link.cancel();
        if let Some(attached) = self.attached.into_inner()
            && tokio::time::timeout(patience, attached).await.is_err()
        {
            warn!(bridge = %self.served.instance.name, "the link did not close its stream in time");
        }
    }
}

/// The gateway's own picture; without it the gateway goes on.
fn face(name: &str, path: &std::path::Path) -> Option<crate::storage::people::Picture> {
    match std::fs::read(path) {
        Ok(body) => {
            let kind = match body.as_slice() {
                [0xff, 0xd8, ..] => "image/jpeg",
                [b'G', b'I', b'F', ..] => "image/gif",
                [b'R', b'I', b'F', b'F', ..] => "image/webp",
                _ => "image/png",
            };
            Some(super::faces::picture(kind, body))
        }
        Err(e) => {
            warn!(bridge = name, path = %path.display(), error = %e, "the gateway's picture cannot be read");
            None
        }
    }
}

/// Between the starts of two sessions that nobody asked for: a far network that sees all of them come at once takes it for an attack.
const APART: Duration = Duration::from_millis(250);

/// Starts the sessions whose users want to stay connected.
async fn keep_up(served: Arc<Served>, stop: CancellationToken) {
    let kept = match served.instance.bridge.kept(served.host()).await {
        Ok(kept) => kept,
        Err(e) => {
            warn!(bridge = %served.instance.name, error = %e, "the sessions that are to be kept up could not be read");
            return;
        }
    };
    let allowed = kept.into_iter().filter(|of| served.may_run(of));
    one_by_one(allowed, &stop, |of| {
        let work = Work::SettingsChanged(Address::Network(of.network.clone()));
        if served.sessions().push(&of, work).is_err() {
            warn!(bridge = %served.instance.name, user = %of.user, "a session could not be started");
        }
    })
    .await;
}

/// Starts each of them, [`APART`] from the one before, until it is told to stop.
async fn one_by_one<T>(all: impl Iterator<Item = T>, stop: &CancellationToken, mut start: impl FnMut(T)) {
    for one in all {
        start(one);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(APART) => {}
        }
    }
}

/// The same for one user, who may use the gateway again.
pub(super) async fn keep_up_of(served: &Arc<Served>, user: &BareJid) {
    let Ok(kept) = served.instance.bridge.kept(served.host()).await else { return };
    for of in kept.into_iter().filter(|of| of.user == *user) {
        let work = Work::SettingsChanged(Address::Network(of.network.clone()));
        // What does not start now starts with the user's next word to that network.
        drop(served.sessions().push(&of, work));
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn sessions_that_nobody_asked_for_start_one_by_one_until_the_gateway_stops() {
        let (began, stop) = (Instant::now(), CancellationToken::new());
        let mut started = Vec::new();
        one_by_one(0..100, &stop, |_| {
            started.push(began.elapsed());
            if started.len() == 40 {
                stop.cancel();
            }
        })
        .await;
        let expected: Vec<_> = (0..40).map(|before| APART * before).collect();
        assert_eq!(started, expected);
    }
}
