//! The promises across crashes: a gateway under traffic in both directions loses its whole runtime at random points, again and again, on
//! one SQLite file. What is counted: nothing accepted is lost, nothing is sent twice, one notice, a second copy only with the same id.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use isthmus_bridge::{
    Address, BareJid, Delivery, DeliveryError, Failure, Intent, NetworkId, OnceKey, Profile, SessionOf,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{Carry, Outbox, Sender};
use crate::inbox::{Inbox, Rendered, Wire, WireLost};
use crate::storage::testing::{BRIDGE, FakePrepare, FakeTell, START, body_of, event, mail};
use crate::storage::{Clock, Open, Store};

const LANES: usize = 6;

/// All that outlives a crash: the network, the server, and what client and relay remember.
struct Outside {
    rng: Mutex<StdRng>,
    calm: AtomicBool,
    clock: Clock,
    epoch: watch::Sender<Option<u64>>,
    epochs: AtomicU64,
    /// Keys of accepted events, by lane, in order.
    accepted: Mutex<BTreeMap<usize, Vec<String>>>,
    /// Keys that reached the network, in order.
    network: Mutex<Vec<String>>,
    /// What bridges were told about inbound events.
    reports: Mutex<HashSet<OnceKey>>,
    /// Bodies of inbound events answered with 250.
    answered: Mutex<Vec<String>>,
    /// What the server took: id and body.
    server: Mutex<Vec<(String, String)>>,
    next: AtomicU64,
}

impl Outside {
    fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
            calm: AtomicBool::new(false),
            clock: Clock::manual(START),
            epoch: watch::Sender::new(None),
            epochs: AtomicU64::new(0),
            accepted: Mutex::default(),
            network: Mutex::default(),
            reports: Mutex::default(),
            answered: Mutex::default(),
            server: Mutex::default(),
            next: AtomicU64::new(0),
        })
    }

    fn below(&self, limit: u32) -> u32 {
        self.rng.lock().unwrap().random_range(0..limit)
    }

    /// True with this chance in a hundred; never when calm.
    fn chance(&self, percent: u32) -> bool {
        !self.calm.load(Ordering::SeqCst) && self.below(100) < percent
    }

    fn attach(&self) {
        let epoch = self.epochs.fetch_add(1, Ordering::SeqCst) + 1;
        self.epoch.send_replace(Some(epoch));
    }

    async fn pause(&self) {
        let pause = u64::from(self.below(3));
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

struct Carrier {
    outside: Arc<Outside>,
    sessions: mpsc::UnboundedSender<Box<Delivery>>,
}

impl Carry for Carrier {
    fn carry(&self, _: &str, _: SessionOf, delivery: Box<Delivery>) -> Result<(), Box<Delivery>> {
        if self.outside.chance(3) {
            return Err(delivery);
        }
        self.sessions.send(delivery).map_err(|gone| gone.0)
    }
    fn profile(&self, _: &str) -> Option<Profile> {
        Some(Profile::held("letters", "Letters"))
    }
    fn network(&self, bridge: &str, _: &Address) -> NetworkId {
        bridge.into()
    }
    fn join_window(&self, _: &str, _: &BareJid, _: &Address) -> Duration {
        Duration::from_secs(2)
    }
    fn is_online(&self, _: &str) -> bool {
        false
    }
}

/// A session: sometimes it breaks, sometimes the network does.
async fn session(outside: Arc<Outside>, delivery: Delivery) {
    if outside.chance(4) {
        return; // broke before it began
    }
    outside.pause().await;
    if delivery.ticket.starting().await.is_err() {
        return;
    }
    let Delivery { event, ticket, .. } = delivery;
    if outside.chance(8) {
        return ticket.failed(DeliveryError::temporary(Failure::Unreachable, "no connection"));
    }
    if let Intent::Undelivered { once: Some(once), .. } = &event.intent {
        outside.reports.lock().unwrap().insert(once.clone());
    } else {
        let mut network = outside.network.lock().unwrap();
        network.push(event.key.to_string());
        network.extend(event.joined.iter().map(ToString::to_string));
    }
    outside.pause().await;
    if outside.chance(3) {
        return ticket.failed(DeliveryError::uncertain("the connection broke"));
    }
    if !outside.chance(3) {
        ticket.sent(Some(format!("<{}@x>", event.key).into()));
    }
}

struct Server(Arc<Outside>);

#[async_trait]
impl Wire for Server {
    fn attached(&self, _: &str) -> watch::Receiver<Option<u64>> {
        self.0.epoch.subscribe()
    }

    async fn send(&self, _: &str, epoch: u64, batch: &[Rendered]) -> Result<(), WireLost> {
        if *self.0.epoch.borrow() != Some(epoch) {
            return Err(WireLost::NotWritten);
        }
        let cut = self.0.chance(10);
        let until = if cut { self.0.below(batch.len() as u32 + 1) as usize } else { batch.len() };
        let taken = batch[..until].iter().map(|stanza| (stanza.id.clone(), body_of(stanza)));
        self.0.server.lock().unwrap().extend(taken);
        if cut {
            self.0.attach();
            return Err(WireLost::Ended);
        }
        self.0.pause().await;
        Ok(())
    }
}

/// A user writes to a contact, one message after the other.
async fn client(outside: Arc<Outside>, outbox: Outbox, lane: usize) {
    loop {
        let n = outside.next.fetch_add(1, Ordering::SeqCst);
        let key = format!("o{lane}x{n:06}");
        let mut event = event(&key, &format!("c{lane}@example.net"), &key);
        event.user = format!("user{}@example.org", lane % 3).into();
        let sender = Sender::new(BRIDGE, format!("{}/phone", event.user), "c@mail.example.org");
        if outbox.accept(sender, event).await.is_ok() {
            outside.accepted.lock().unwrap().entry(lane).or_default().push(key);
        }
        outside.pause().await;
    }
}

/// A relay delivers mail, one after the other for each user; what is not answered it does not bring again (the harder case).
async fn relay(outside: Arc<Outside>, inbox: Inbox, user: usize) {
    loop {
        let n = outside.next.fetch_add(1, Ordering::SeqCst);
        let body = format!("i{user}x{n:06}");
        let mut event = mail(&format!("reader{user}@example.org"), &body);
        event.once = Some(OnceKey::new(body.as_str()));
        let copies = if outside.below(5) == 0 { 2 } else { 1 };
        for _ in 0..copies {
            if inbox.accept(BRIDGE, vec![event.clone()]).await[0].is_ok() {
                outside.answered.lock().unwrap().push(body.clone());
            }
        }
        outside.pause().await;
    }
}

/// One life of the process: until `end`.
fn live(folder: &std::path::Path, outside: &Arc<Outside>, traffic: bool, end: Duration) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let outside = outside.clone();
    outside.attach();
    runtime.block_on(async {
        let how = Open::new("sqlite://isthmus.db", folder).with_clock(outside.clock.clone());
        let store = Store::open(how).await.expect("opens after a crash");
        let (sessions, mut arriving) = mpsc::unbounded_channel::<Box<Delivery>>();
        let carry = Arc::new(Carrier { outside: outside.clone(), sessions });
        let outbox = Outbox::new(store.clone(), carry.clone(), Arc::new(FakeTell));
        let server = Arc::new(Server(outside.clone()));
        let inbox = Inbox::new(store.clone(), carry, Arc::new(FakePrepare::default()), server);
        let at = outside.clone();
        tokio::spawn(async move {
            while let Some(delivery) = arriving.recv().await {
                tokio::spawn(session(at.clone(), *delivery));
            }
        });
        let clock = outside.clock.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(2)).await;
                clock.advance(Duration::from_millis(400));
            }
        });
        let (o, i) = (outbox.clone(), inbox.clone());
        tokio::spawn(async move { o.run(BRIDGE, CancellationToken::new()).await });
        tokio::spawn(async move { i.run(BRIDGE, CancellationToken::new()).await });
        if traffic {
            for lane in 0..LANES {
                tokio::spawn(client(outside.clone(), outbox.clone(), lane));
                tokio::spawn(relay(outside.clone(), inbox.clone(), lane));
            }
            tokio::time::sleep(end).await;
            return;
        }
        let empty = async {
            loop {
                let out = outbox.list(None, None, 10_000).await.unwrap();
                let waits = inbox.list(None, None, 10_000).await.unwrap();
                if out.is_empty() && waits.iter().all(|item| item.state == "quarantined") {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(tokio::time::timeout(end, empty).await.is_ok(), "the queues do not empty");
    });
    // Every task ends at whatever it waits for; nothing is flushed.
    runtime.shutdown_timeout(Duration::from_secs(10));
}

fn crash_and_count(seed: u64, crashes: u32) {
    let folder = tempfile::tempdir().unwrap();
    let outside = Outside::new(seed);
    for _ in 0..crashes {
        let life = Duration::from_millis(u64::from(outside.below(250)) + 5);
        live(folder.path(), &outside, true, life);
    }
    outside.calm.store(true, Ordering::SeqCst);
    live(folder.path(), &outside, false, Duration::from_secs(120));
    let (sent, uncertain) = count_outbound(&outside, seed);
    let inbound = count_inbound(&outside, seed);
    println!(
        "seed {seed}: {crashes} crashes, {sent} accepted events ({uncertain} told as not certain), {inbound} answered mails, none lost"
    );
}

fn count_outbound(outside: &Outside, seed: u64) -> (usize, usize) {
    let mut arrived = HashMap::<String, usize>::new();
    let mut last = HashMap::<String, String>::new();
    for key in outside.network.lock().unwrap().iter() {
        *arrived.entry(key.clone()).or_default() += 1;
        let lane = key.split('x').next().unwrap().to_owned();
        let before = last.insert(lane, key.clone());
        assert!(before.is_none_or(|before| before < *key), "seed {seed}: {key} came out of order");
    }
    let mut notices = HashMap::<String, HashSet<String>>::new();
    for (id, body) in outside.server.lock().unwrap().iter() {
        if let Some((kind, key)) = body.split_once(' ')
            && matches!(kind, "MaybeSent" | "Failed" | "Quarantined")
        {
            notices.entry(key.to_owned()).or_default().insert(id.clone());
        }
    }
    let (mut accepted, mut uncertain) = (0, 0);
    for key in outside.accepted.lock().unwrap().values().flatten() {
        let sent = arrived.get(key).copied().unwrap_or(0);
        let told = notices.get(key).map_or(0, HashSet::len);
        assert!(sent <= 1, "seed {seed}: {key} was sent {sent} times");
        assert!(told <= 1, "seed {seed}: {key} was told {told} times");
        assert!(sent + told >= 1, "seed {seed}: {key} was lost");
        accepted += 1;
        uncertain += told;
    }
    assert!(accepted > 0, "seed {seed}: there was no traffic");
    (accepted, uncertain)
}

fn count_inbound(outside: &Outside, seed: u64) -> usize {
    let mut ids = HashMap::<String, HashSet<String>>::new();
    let mut last = HashMap::<String, String>::new();
    for (id, body) in outside.server.lock().unwrap().iter().filter(|(_, body)| body.starts_with('i')) {
        let known = ids.entry(body.clone()).or_default();
        if known.is_empty() {
            let user = body.split('x').next().unwrap().to_owned();
            let before = last.insert(user, body.clone());
            assert!(before.is_none_or(|before| before < *body), "seed {seed}: {body} came out of order");
        }
        known.insert(id.clone());
    }
    let reports = outside.reports.lock().unwrap();
    let answered: HashSet<String> = outside.answered.lock().unwrap().iter().cloned().collect();
    for body in &answered {
        let copies = ids.get(body).map_or(0, HashSet::len);
        assert!(copies <= 1, "seed {seed}: {body} came under {copies} ids");
        assert!(copies == 1 || reports.contains(&OnceKey::new(body.as_str())), "seed {seed}: {body} was lost");
    }
    assert!(!answered.is_empty(), "seed {seed}: there was no traffic");
    answered.len()
}

/// `DEATHS=300 cargo test …` builds the longer run, whose figures stand in docs/decisions/0002-storage.md.
#[test]
fn nothing_is_lost_when_the_process_dies_at_random_points() {
    let deaths = option_env!("DEATHS").and_then(|n| n.parse().ok()).unwrap_or(12);
    for (seed, left) in (1..).zip((0..deaths).step_by(30)) {
        crash_and_count(seed, (deaths - left).min(30));
    }
}
