//! Wires the parts, owns every task, orderly stop.
//!
//! | file | what |
//! |---|---|
//! | `core` | what all parts share, and how each of them speaks |
//! | `running` | one bridge: its link, sessions, service and queues, from start to stop |
//! | `receive` | what comes from the server, in order per sender |
//! | `parties` | addresses that were read a moment ago |
//! | `messages`, `presence`, `iq` | the three kinds of stanza |
//! | `live` | answers of live bridges |
//! | `ports` | what the durable queues ask of the gateway |
//! | `rooms` | the MUC service |
//! | `privileges`, `rosters`, `own` | what servers grant (XEP-0356), contact lists in rosters, what users said elsewhere |
//! | `faces` | pictures, vCards, nicks |
//! | `host` | what a bridge asks of the gateway |
//! | `answers` | our own questions |
//! | `dialogue`, `acting` | commands and registration; commands run from the command line |
//! | `references` | stanza ids ↔ messages of the network |
//! | `rights` | what a change of the access rules means for those who are here |
//! | `quotas` | whether there is room: sessions, storage |
//! | `files` | uploaded, served, fetched |
//! | `web` | what stands behind the HTTP listener |
//! | `desk` | the administrator's side: control socket |

mod acting;
mod answers;
mod asides;
mod core;
mod desk;
mod dialogue;
mod faces;
mod files;
mod guest;
mod host;
mod iq;
mod live;
mod messages;
mod own;
mod parties;
mod pending;
mod ports;
mod presence;
mod privileges;
mod quotas;
mod receive;
mod references;
mod rights;
mod rooms;
mod rosters;
mod running;
mod search;
mod seats;
mod web;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use secrecy::ExposeSecret;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::admin::control::Claim;
use crate::admin::outside::{GatewayEnd, Outside};
use crate::config::Config;
use crate::inbox::Inbox;
use crate::outbox::Outbox;
use crate::storage::{Open, Seal, Store};
use crate::texts::Texts;
use crate::xmpp::link::LinkError;

use self::core::Core;
use self::ports::Ports;
use self::running::Running;

/// How long sessions and queues may take to end in order.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often what is past its time is swept away.
const SWEEP: Duration = Duration::from_secs(300);
/// How often what waits is counted, for the figures.
const COUNT: Duration = Duration::from_secs(5);

/// Runs until `outside.stop`.
///
/// # Errors
/// Why it ended otherwise; see [`GatewayEnd`].
pub async fn run(config: Config, outside: Outside) -> Result<(), GatewayEnd> {
    let claim = Claim::new(&config.data_dir)?;
    let seal = Arc::new(Seal::of(&config).map_err(|e| GatewayEnd::Storage(e.to_string()))?);
    let url = config.database.url();
    let store = Store::open(Open::new(url.expose_secret(), &config.data_dir).with_clock(outside.clock.clone()))
        .await
        .map_err(|e| GatewayEnd::Storage(e.to_string()))?;
    let ports = Ports::new();
    let (fatal, mut ended) = mpsc::unbounded_channel();
    let core = Arc::new(Core {
        outbox: Outbox::new(store.clone(), ports.clone(), ports.clone()),
        inbox: Inbox::new(store.clone(), ports.clone(), ports.clone(), ports.clone()),
        files: files::FileDesk::new(&config, &seal)?,
        contact: config.contact.iter().map(|(key, all)| ((*key).into(), all.clone())).collect(),
        limits: config.limits.clone(),
        retention: config.archive,
        roster_way: config.roster,
        public_url: config.http.public_url.clone(),
        texts: ArcSwap::from_pointee(texts(&config)),
        bridges: ArcSwap::default(),
        ports: ports.clone(),
        waiting: ArcSwap::default(),
        online: presence::Online::default(),
        languages: presence::Languages::default(),
        answers: answers::Answers::default(),
        pending: Arc::default(),
        tasks: TaskTracker::new(),
        stop: CancellationToken::new(),
        started: Instant::now(),
        store,
        seal,
        log_level: Mutex::new(config.log.level.clone()),
        outside: outside.clone(),
    });
    ports.open(&core);

    let mut running = Vec::new();
    for bridge in &config.bridges {
        running.push(Running::start(&core, bridge).await?);
    }
    publish(&core, &running);
    for bridge in &running {
        bridge.begin(Some(fatal.clone()));
    }
    let desk = desk::Desk::new(core.clone());
    core.tasks.spawn(claim.serve(Arc::new(desk), core.stop.clone()));
    core.tasks.spawn(housekeeping(core.clone()));
    core.serve_http(&config);
    (outside.ready)();

    let mut config = config;
    let end = loop {
        tokio::select! {
            () = outside.stop.cancelled() => break Ok(()),
            Some(reason) = ended.recv() => break Err(GatewayEnd::Attach(reason)),
            () = outside.reload.notified() => config = reload(&core, &mut running, config, &outside).await,
        }
    };
    stop(&core, running).await;
    end
}

fn texts(config: &Config) -> Texts {
    Texts::new(config.bridges.iter().map(|b| (b.name.as_str(), b.bridge.texts())))
}

fn publish(core: &Core, running: &[Running]) {
    core.bridges.store(Arc::new(running.iter().map(|r| r.served.clone()).collect()));
}

/// SIGHUP: bridges whose part of the configuration changed are stopped and started anew; the others do not notice.
async fn reload(core: &Arc<Core>, running: &mut Vec<Running>, old: Config, outside: &Outside) -> Config {
    let new = match (outside.load)() {
        Ok(new) => new,
        Err(errors) => {
            for e in errors {
                error!("the configuration was not reloaded: {e}");
            }
            return old;
        }
    };
    core.texts.store(Arc::new(texts(&new)));
    let mut kept = Vec::new();
    for bridge in running.drain(..) {
        let name = bridge.name().to_owned();
        let same = match (old.bridge(&name), new.bridge(&name)) {
            (Some(old), Some(new)) => old.same(new),
            _ => false,
        };
        if same {
            if let Some(new) = new.bridge(&name) {
                let before = bridge.served.access();
                bridge.served.govern(new.access.clone(), new.quotas);
                core.rights_changed(&bridge.served, before);
            }
            kept.push(bridge);
        } else {
            info!(bridge = %name, "stopping: its configuration changed");
            bridge.stop(core, PATIENCE).await;
        }
    }
    let mut fresh = Vec::new();
    for bridge in new.bridges.iter().filter(|b| !kept.iter().any(|k| k.name() == b.name)) {
        match Running::start(core, bridge).await {
            Ok(started) => fresh.push(started),
            Err(e) => error!(bridge = %bridge.name, "could not be started: {e}"),
        }
    }
    kept.append(&mut fresh);
    *running = kept;
    publish(core, running);
    for bridge in running.iter() {
        // The gateway goes on: the other bridges have nothing to do with a wrong secret in this one's new file.
        bridge.begin(None);
    }
    info!(bridges = running.len(), "configuration reloaded");
    new
}

/// The orderly stop: no new work, sessions end, who saw us online sees us leave, links close, everything is on disk.
async fn stop(core: &Arc<Core>, running: Vec<Running>) {
    info!("stopping");
    core.stop.cancel();
    let mut ends = Vec::new();
    for bridge in running {
        let core = core.clone();
        ends.push(tokio::spawn(async move { bridge.stop(&core, PATIENCE).await }));
    }
    for end in ends {
        if let Err(e) = end.await {
            error!(error = %e, "a bridge did not stop in order");
        }
    }
    core.tasks.close();
    if tokio::time::timeout(PATIENCE, core.tasks.wait()).await.is_err() {
        warn!(tasks = core.tasks.len(), "some tasks did not end in time");
    }
    core.store.close().await;
    info!("stopped");
}

/// What has to be done now and then.
async fn housekeeping(core: Arc<Core>) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut counted = tokio::time::Instant::now();
    let mut sweep = core.store.clock().instant() + SWEEP;
    let mut blocks = tokio::time::Instant::now();
    loop {
        tokio::select! {
            now = second.tick() => {
                for served in core.bridges().iter() {
                    served.live().expire(now);
                    core.rooms(served).tick();
                    if let Err(e) = served.persons().flush_talks().await {
                        warn!(bridge = %served.instance.name, error = %e, "what was said is not on disk yet; trying again");
                    }
                }
                if counted.elapsed() >= COUNT {
                    counted = now;
                    for served in core.bridges().iter() {
                        served.occupancy.prune();
                        served.forget_rooms();
                        served.forget_states();
                        served.listings.expire();
                        core.rooms(served).end_records();
                    }
                    core.count_waiting().await;
                }
                if blocks.elapsed() >= privileges::BLOCKS {
                    blocks = now;
                    for served in core.bridges().iter() {
                        let (core, served) = (core.clone(), served.clone());
                        core.tasks.clone().spawn(async move { core.read_all_blocks(&served).await });
                    }
                }
                if core.store.clock().instant() >= sweep {
                    sweep = core.store.clock().instant() + SWEEP;
                    core.sweep().await;
                }
            }
            () = core.stop.cancelled() => return,
        }
    }
}

impl Core {
    async fn sweep(&self) {
        let mut failed = Vec::new();
        failed.extend(self.outbox.sweep(self.retention.remember_for).await.err());
        failed.extend(self.inbox.sweep().await.err());
        for served in self.bridges().iter() {
            failed.extend(served.persons().sweep().await.err());
            failed.extend(served.archive().sweep(&self.retention).await.err());
            failed.extend(self.make_room(served).await.err());
        }
        self.sweep_files().await;
        for e in failed {
            warn!(error = %e, "what is past its time could not be swept away; trying again later");
        }
    }
}

/// Where a link reports an end that only the operator can mend.
type Fatal = mpsc::UnboundedSender<LinkError>;
