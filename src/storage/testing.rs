//! What the tests of store, outbox and inbox share: both engines, and a gateway made of fakes.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use isthmus_bridge::{
    Address, BareJid, Delivery, DeliveryKey, Event, Inbound, Intent, Message, NetworkId, Outbound, Profile, SessionOf,
};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Clock, Open, Store};
use crate::inbox::{Inbox, Later, Prepare, Rendered, Wire, WireLost};
use crate::outbox::{Carry, Outbox, Sender, Tell, Telling};

pub(crate) const BRIDGE: &str = "mail";
pub(crate) const START: i64 = 1_700_000_000_000;

/// Where a test's database lies; it survives the stores that are opened on it.
pub(crate) enum Place {
    Sqlite(tempfile::TempDir),
    Postgres(String),
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().expect("a temporary folder"))
    }

    pub(crate) fn open(&self, clock: Clock) -> Open {
        match self {
            Self::Sqlite(folder) => Open::new("sqlite://isthmus.db", folder.path()),
            Self::Postgres(url) => Open::new(url.clone(), "/nonexistent"),
        }
        .with_clock(clock)
    }
}

/// Each scenario is a test on SQLite; all of them together are one test on PostgreSQL, for which a server is started.
macro_rules! on_both_engines {
    ($($name:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name($crate::storage::testing::Place::sqlite()).await;
            })*
        }
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn the_same_on_postgresql() {
            let server = isthmus_testkit::postgres::Postgres::start().await.expect("PostgreSQL (apt install postgresql) starts");
            $({
                let url = server.database(stringify!($name)).await.expect("a database");
                eprintln!("on PostgreSQL: {}", stringify!($name));
                $name($crate::storage::testing::Place::Postgres(url)).await;
            })*
        }
    };
}
pub(crate) use on_both_engines;

/// A gateway of fakes around real queues.
pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) outbox: Outbox,
    pub(crate) inbox: Inbox,
    pub(crate) carry: Arc<FakeCarry>,
    pub(crate) wire: Arc<FakeWire>,
    pub(crate) prepare: Arc<FakePrepare>,
    tasks: JoinSet<()>,
}

impl World {
    pub(crate) async fn new(place: &Place) -> Self {
        Self::with(place, Clock::manual(START), Arc::default(), Arc::default()).await
    }

    /// A new process on the same database, bridges and server; leases of the old one have run out.
    pub(crate) async fn again(self, place: &Place) -> Self {
        let (clock, carry, wire) = (self.clock.clone(), self.carry.clone(), self.wire.clone());
        self.crash().await;
        carry.carried.lock().unwrap().clear();
        clock.advance(Duration::from_secs(61));
        Self::with(place, clock, carry, wire).await
    }

    pub(crate) async fn with(place: &Place, clock: Clock, carry: Arc<FakeCarry>, wire: Arc<FakeWire>) -> Self {
        let store = Store::open(place.open(clock.clone())).await.expect("the store opens");
        let prepare = Arc::new(FakePrepare::default());
        let outbox = Outbox::new(store.clone(), carry.clone(), Arc::new(FakeTell));
        let inbox = Inbox::new(store.clone(), carry.clone(), prepare.clone(), wire.clone());
        let mut tasks = JoinSet::new();
        let (o, i) = (outbox.clone(), inbox.clone());
        tasks.spawn(async move { o.run(BRIDGE, CancellationToken::new()).await });
        tasks.spawn(async move { i.run(BRIDGE, CancellationToken::new()).await });
        Self { clock, store, outbox, inbox, carry, wire, prepare, tasks }
    }

    /// Ends every task where it stands.
    pub(crate) async fn crash(mut self) {
        self.tasks.shutdown().await;
        self.carry.carried.lock().unwrap().clear();
        let store = self.store.clone();
        drop(self);
        store.close().await;
    }

    pub(crate) async fn send(&self, key: &str, to: &str, body: &str) {
        self.send_event(event(key, to, body)).await;
    }

    pub(crate) async fn send_event(&self, event: Outbound) {
        let mut sender = Sender::new(BRIDGE, format!("{}/phone", event.user), "alice\\40example.net@mail.example.org");
        sender.stanza_id = Some(format!("s-{}", event.key));
        self.outbox.accept(sender, event).await.expect("accepted");
    }

    pub(crate) async fn next(&self) -> Box<Delivery> {
        within("a delivery", self.carry.next()).await
    }

    /// What the user has been told, as `kind key`, once there are `count`.
    pub(crate) async fn told(&self, count: usize) -> Vec<String> {
        within("notices", self.wire.bodies(count)).await
    }

    /// Waits until the queue holds `count` events.
    pub(crate) async fn queue_of(&self, count: usize) {
        let check = async {
            while self.outbox.list(None, None, 1000).await.unwrap().len() != count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within("the queue's length", check).await;
    }

    /// Waits until an event is back in the queue after `tries` failed tries, so that the clock may move on.
    pub(crate) async fn tried(&self, key: &str, tries: i64) {
        let check = async {
            loop {
                let items = self.outbox.list(None, None, 1000).await.unwrap();
                if items.iter().any(|item| item.key == key && item.state == "queued" && item.tries == tries) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within("a failed try to be written down", check).await;
    }

    /// Waits until the server has all that was received, or it has been set aside.
    pub(crate) async fn handed_over(&self) {
        let check = async {
            while self.inbox.list(None, None, 1000).await.unwrap().iter().any(|item| item.state != "quarantined") {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within("the inbox to empty", check).await;
    }

    /// Nothing more is carried or told, as far as a moment shows.
    pub(crate) async fn quiet(&self) {
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert!(self.carry.carried.lock().unwrap().is_empty(), "nothing should be carried now");
    }
}

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(30), future).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long for {what}"),
    }
}

pub(crate) fn event(key: &str, to: &str, body: &str) -> Outbound {
    let to = Address::Contact(to.into());
    Outbound::new(key.into(), "juliet@example.org".into(), to, Intent::Send(Box::new(Message::chat(body))))
}

pub(crate) fn mail(to: &str, body: &str) -> Inbound {
    let from = Address::Contact("alice@example.net".into());
    Inbound::new(to.into(), from, Event::Message(Box::new(Message::chat(body))))
}

pub(crate) struct FakeCarry {
    pub(crate) carried: Mutex<VecDeque<Box<Delivery>>>,
    arrived: Notify,
    pub(crate) profile: Mutex<Profile>,
    pub(crate) refuse: AtomicBool,
    pub(crate) window: AtomicU64,
}

impl Default for FakeCarry {
    fn default() -> Self {
        Self {
            carried: Mutex::default(),
            arrived: Notify::new(),
            profile: Mutex::new(Profile::held("letters", "Letters")),
            refuse: AtomicBool::new(false),
            window: AtomicU64::new(0),
        }
    }
}

impl FakeCarry {
    pub(crate) async fn next(&self) -> Box<Delivery> {
        loop {
            let arrived = self.arrived.notified();
            if let Some(delivery) = self.carried.lock().unwrap().pop_front() {
                return delivery;
            }
            arrived.await;
        }
    }
}

impl Carry for FakeCarry {
    fn carry(&self, _bridge: &str, _of: SessionOf, delivery: Box<Delivery>) -> Result<(), Box<Delivery>> {
        if self.refuse.load(Ordering::SeqCst) {
            return Err(delivery);
        }
        self.carried.lock().unwrap().push_back(delivery);
        self.arrived.notify_one();
        Ok(())
    }

    fn profile(&self, _bridge: &str) -> Option<Profile> {
        Some(self.profile.lock().unwrap().clone())
    }

    fn network(&self, bridge: &str, _address: &Address) -> NetworkId {
        bridge.into()
    }

    fn join_window(&self, _bridge: &str, _user: &BareJid, _at: &Address) -> Duration {
        Duration::from_secs(self.window.load(Ordering::SeqCst))
    }

    fn is_online(&self, _full_jid: &str) -> bool {
        false
    }
}

/// One message whose body is the kind of news and the event's key.
pub(crate) struct FakeTell;

impl Tell for FakeTell {
    fn tell(&self, about: &Telling<'_>) -> Vec<Rendered> {
        let news = format!("{:?}", about.news);
        let kind = news.split([' ', '{']).next().unwrap_or_default();
        let leg = news.split_once("leg: Some(\"").and_then(|(_, rest)| rest.split_once('"')).map(|(leg, _)| leg);
        let body = format!("{kind} {}{}", about.event.key, leg.map(|leg| format!(" {leg}")).unwrap_or_default());
        vec![rendered(about.id, about.event.user.as_str(), &body)]
    }
}

pub(crate) fn rendered(id: &str, to: &str, body: &str) -> Rendered {
    let from = "alice\\40example.net@mail.example.org".to_owned();
    let xml = format!("<message id='{id}' to='{to}' from='{from}'><body>{body}</body></message>").into_bytes();
    Rendered { id: id.to_owned(), to: to.to_owned(), from, xml }
}

/// One stanza with the message's body; its id is the row's.
#[derive(Default)]
pub(crate) struct FakePrepare {
    /// Bodies that have to wait.
    pub(crate) later: Mutex<Vec<String>>,
}

#[async_trait]
impl Prepare for FakePrepare {
    async fn prepare(&self, _bridge: &str, row: &str, event: &Inbound) -> Result<Vec<Rendered>, Later> {
        let Event::Message(message) = &event.event else { return Ok(Vec::new()) };
        if self.later.lock().unwrap().contains(&message.body) {
            return Err(Later { after: Duration::from_secs(60), why: "the upload service is away".into() });
        }
        Ok(vec![rendered(row, event.to.as_str(), &message.body)])
    }
}

/// A server that takes everything, unless told otherwise.
pub(crate) struct FakeWire {
    epoch: watch::Sender<Option<u64>>,
    /// What the server has taken, in order.
    pub(crate) taken: Mutex<Vec<Rendered>>,
    /// Every window that was written, taken or not.
    pub(crate) written: Mutex<Vec<Vec<Rendered>>>,
    arrived: Notify,
    /// Windows whose stream ends before the barrier.
    pub(crate) cut: AtomicU64,
}

impl Default for FakeWire {
    fn default() -> Self {
        Self {
            epoch: watch::Sender::new(Some(1)),
            taken: Mutex::default(),
            written: Mutex::default(),
            arrived: Notify::new(),
            cut: AtomicU64::new(0),
        }
    }
}

impl FakeWire {
    pub(crate) fn detach(&self) {
        self.epoch.send_replace(None);
    }

    pub(crate) fn attach(&self, epoch: u64) {
        self.epoch.send_replace(Some(epoch));
    }

    /// Bodies of what was taken, once there are `count`.
    pub(crate) async fn bodies(&self, count: usize) -> Vec<String> {
        loop {
            let arrived = self.arrived.notified();
            let bodies: Vec<String> = self.taken.lock().unwrap().iter().map(body_of).collect();
            if bodies.len() >= count {
                return bodies;
            }
            arrived.await;
        }
    }

    fn end_stream(&self) {
        let epoch = self.epoch.borrow().unwrap_or(0) + 1;
        self.epoch.send_replace(None);
        self.epoch.send_replace(Some(epoch));
    }
}

pub(crate) fn body_of(stanza: &Rendered) -> String {
    let xml = String::from_utf8_lossy(&stanza.xml);
    let body = xml.split_once("<body>").and_then(|(_, rest)| rest.split_once("</body>"));
    body.map(|(body, _)| body.to_owned()).unwrap_or_default()
}

#[async_trait]
impl Wire for FakeWire {
    fn attached(&self, _bridge: &str) -> watch::Receiver<Option<u64>> {
        self.epoch.subscribe()
    }

    async fn send(&self, _bridge: &str, epoch: u64, batch: &[Rendered]) -> Result<(), WireLost> {
        if *self.epoch.borrow() != Some(epoch) {
            return Err(WireLost::NotWritten);
        }
        self.written.lock().unwrap().push(batch.to_vec());
        let poison = batch.iter().any(|stanza| body_of(stanza) == "poison");
        let cut = self.cut.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if poison || cut {
            self.end_stream();
            return Err(WireLost::Ended);
        }
        tokio::task::yield_now().await;
        self.taken.lock().unwrap().extend_from_slice(batch);
        self.arrived.notify_one();
        Ok(())
    }
}

/// The key of a delivery, and its text.
pub(crate) fn seen(delivery: &Delivery) -> (DeliveryKey, String) {
    let text = match &delivery.event.intent {
        Intent::Send(message) => message.body.clone(),
        other => format!("{other:?}"),
    };
    (delivery.event.key.clone(), text)
}
