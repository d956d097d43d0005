//! A host in memory: what tests set and read. What bridges call stands in `gateway.rs`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;
use url::Url;

use super::PATIENCE;
use crate::address::{Address, BareJid, ContactId, NetworkId, RoomId};
use crate::bridge::Bridge;
use crate::error::Refused;
use crate::host::{Change, Host, Known, Late, LinkState, MessageRef, SessionOf};
use crate::inbound::Inbound;
use crate::message::{DeliveryKey, Media, OnceKey};
use crate::outbound::{Delivery, Intent, Outbound};
use crate::room::RoomView;
use crate::ticket::{Outcome, Ticket};

/// The bridge's word on what became of an event after it was handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Of which message.
    pub of: MessageRef,
    /// For which recipient, where there were several.
    pub leg: Option<ContactId>,
    /// What.
    pub what: Late,
}

/// The core as a bridge sees it, in memory. Make one with [`FakeHost::of`] a bridge or [`FakeHost::new`], and hand [`host()`](Self::host) to the bridge.
pub struct FakeHost {
    pub(super) name: String,
    pub(super) domain: String,
    pub(super) public_url: Option<Url>,
    pub(super) bridge: Option<Arc<dyn Bridge>>,
    pub(super) changed: Notify,
    began: Instant,
    state: Mutex<State>,
}

pub(super) type Refusal = Box<dyn Fn(&Inbound) -> Option<Refused> + Send>;

/// Everything that the host holds; the names are those of the calls that fill it.
#[derive(Default)]
pub(super) struct State {
    pub(super) emits: Vec<Inbound>,
    /// How many more events `emit` takes; `None`: any number.
    pub(super) room_for: Option<usize>,
    pub(super) accepts: Vec<Inbound>,
    pub(super) once: HashSet<OnceKey>,
    pub(super) refusal: Option<Refusal>,
    pub(super) told: Vec<Told>,
    pub(super) reports: Vec<(SessionOf, LinkState)>,
    pub(super) known: Vec<(NetworkId, Known)>,
    pub(super) identities: Vec<(ContactId, BareJid, bool)>,
    pub(super) configured: HashMap<ContactId, BareJid>,
    pub(super) writers: HashMap<(ContactId, ContactId), BareJid>,
    pub(super) rooms: HashMap<(SessionOf, RoomId), Arc<Mutex<RoomView>>>,
    pub(super) values: HashMap<(BareJid, Address), BTreeMap<String, String>>,
    pub(super) defaults: BTreeMap<String, String>,
    pub(super) locks: BTreeMap<String, String>,
    pub(super) registered: HashSet<BareJid>,
    pub(super) barred: HashSet<BareJid>,
    pub(super) blocked: HashSet<(BareJid, Address)>,
    pub(super) contacts: HashMap<BareJid, Vec<(ContactId, Option<String>)>>,
    pub(super) admins: Vec<BareJid>,
    pub(super) persistent: HashSet<SessionOf>,
    pub(super) blobs: Vec<(Bytes, Media)>,
    pub(super) web: HashMap<Url, (Bytes, Media)>,
    pub(super) kept: BTreeMap<(String, String), Change>,
    pub(super) store_away: bool,
    pub(super) started: Vec<(DeliveryKey, u32)>,
    pub(super) lost_leases: HashSet<DeliveryKey>,
    pub(super) settled: Vec<(DeliveryKey, u32, Outcome)>,
    keys: u64,
}

impl FakeHost {
    /// The host of a bridge: knows its settings and its addresses. Named after its gateway type, at `<type>.example`.
    pub fn of(bridge: &Arc<dyn Bridge>) -> Arc<Self> {
        Arc::new(Self { bridge: Some(bridge.clone()), ..Self::plain(bridge.profile().gateway_type) })
    }

    /// The host of this bridge, reachable from outside under this address.
    pub fn reachable(bridge: &Arc<dyn Bridge>, public_url: Url) -> Arc<Self> {
        let plain = Self::plain(bridge.profile().gateway_type);
        Arc::new(Self { bridge: Some(bridge.clone()), public_url: Some(public_url), ..plain })
    }

    /// The host of no bridge in particular: no settings are declared, and all addresses are on the network `name`.
    pub fn new(name: &str) -> Arc<Self> {
        Arc::new(Self::plain(name))
    }

    fn plain(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            domain: format!("{name}.example"),
            public_url: Url::parse("https://gateway.example/").ok(),
            bridge: None,
            changed: Notify::new(),
            began: Instant::now(),
            state: Mutex::default(),
        }
    }

    /// As a bridge gets it.
    pub fn host(self: &Arc<Self>) -> Host {
        self.clone()
    }

    // What a bridge has said.

    /// Events handed to `emit` so far.
    pub fn emits(&self) -> Vec<Inbound> {
        self.state().emits.clone()
    }

    /// The same, and forgets them.
    pub fn take_emits(&self) -> Vec<Inbound> {
        std::mem::take(&mut self.state().emits)
    }

    /// Events committed by `accept` so far; second copies are not among them.
    pub fn accepts(&self) -> Vec<Inbound> {
        self.state().accepts.clone()
    }

    /// Late outcomes as they were told.
    pub fn told(&self) -> Vec<Told> {
        self.state().told.clone()
    }

    /// States of sessions' connections as they were reported.
    pub fn reports(&self) -> Vec<(SessionOf, LinkState)> {
        self.state().reports.clone()
    }

    /// Tries that have committed `starting`.
    pub fn started(&self) -> Vec<(DeliveryKey, u32)> {
        self.state().started.clone()
    }

    /// Every answer to a ticket, in order.
    pub fn settled(&self) -> Vec<(DeliveryKey, u32, Outcome)> {
        self.state().settled.clone()
    }

    /// Waits for the answer to a ticket.
    pub async fn outcome_of(&self, key: &DeliveryKey) -> Outcome {
        let found = |s: &State| s.settled.iter().rev().find(|(k, ..)| k == key).map(|(.., outcome)| outcome.clone());
        self.until(&format!("an answer to the ticket of {key}"), found).await
    }

    /// Waits until the bridge has emitted an event that `wanted` accepts; takes it out.
    pub async fn emitted(&self, what: &str, wanted: impl Fn(&Inbound) -> bool) -> Inbound {
        self.until_mut(what, |s| s.emits.iter().position(&wanted).map(|i| s.emits.remove(i))).await
    }

    /// Waits until an event that `wanted` accepts is committed.
    pub async fn accepted(&self, what: &str, wanted: impl Fn(&Inbound) -> bool) -> Inbound {
        self.until(what, |s| s.accepts.iter().find(|e| wanted(e)).cloned()).await
    }

    /// Waits until a late outcome for a message is told that `wanted` accepts.
    pub async fn told_of(&self, what: &str, wanted: impl Fn(&Told) -> bool) -> Told {
        self.until(what, |s| s.told.iter().find(|t| wanted(t)).cloned()).await
    }

    /// Waits until a state of a connection is reported that `wanted` accepts.
    pub async fn reported(&self, what: &str, wanted: impl Fn(&LinkState) -> bool) -> LinkState {
        self.until(what, |s| s.reports.iter().map(|(_, l)| l).find(|l| wanted(l)).cloned()).await
    }

    /// The highest late state of an outbound event, whichever of its names the bridge used and whenever it told it: what the core would show.
    pub fn state_of(&self, key: &DeliveryKey) -> Option<Late> {
        let state = self.state();
        let ids: Vec<_> =
            state.known.iter().filter(|(_, k)| k.key.as_ref() == Some(key)).flat_map(|(_, k)| k.ids.clone()).collect();
        let ours = |of: &MessageRef| match of {
            MessageRef::Key(k) => k == key,
            MessageRef::Foreign { id, .. } => ids.contains(id),
        };
        state.told.iter().filter(|t| ours(&t.of)).map(|t| t.what.clone()).max_by_key(height)
    }

    // What the test decides.

    /// `emit` takes this many more events and then says [`Full`](crate::Full); `None`: any number, and `ready()` returns.
    pub fn room_for(&self, events: Option<usize>) {
        self.change(|s| s.room_for = events);
    }

    /// What `accept` refuses from now on.
    pub fn refuse(&self, refusal: impl Fn(&Inbound) -> Option<Refused> + Send + 'static) {
        self.change(|s| s.refusal = Some(Box::new(refusal)));
    }

    /// Whether the store fails: every durable call says so, and `accept` says [`Refused::Later`].
    pub fn store_away(&self, away: bool) {
        self.change(|s| s.store_away = away);
    }

    /// The lease of this event is lost: `starting` fails.
    pub fn lose_lease(&self, key: &DeliveryKey) {
        self.change(|s| {
            s.lost_leases.insert(key.clone());
        });
    }

    /// Registers a user.
    pub fn register(&self, user: &BareJid) {
        self.change(|s| {
            s.registered.insert(user.clone());
        });
    }

    /// The access rules keep this user from receiving.
    pub fn bar(&self, user: &BareJid) {
        self.change(|s| {
            s.barred.insert(user.clone());
        });
    }

    /// A default of the administrator's (`[defaults]`).
    pub fn set_default(&self, key: &str, value: &str) {
        self.change(|s| {
            s.defaults.insert(key.to_owned(), value.to_owned());
        });
    }

    /// A value that the administrator has fixed for everybody.
    pub fn lock(&self, key: &str, value: &str) {
        self.change(|s| {
            s.locks.insert(key.to_owned(), value.to_owned());
        });
    }

    /// The configured owner of an own identity.
    pub fn configure_owner(&self, own: &ContactId, user: &BareJid) {
        self.change(|s| {
            s.configured.insert(own.clone(), user.clone());
        });
    }

    /// Gives an own identity to a user, as [`claim`](crate::Gateway::claim) does, at once; whose it is already stays so.
    pub fn own(&self, user: &BareJid, own: &ContactId) {
        self.change(|s| {
            if !s.identities.iter().any(|(known, ..)| known == own) {
                s.identities.push((own.clone(), user.clone(), true));
            }
        });
    }

    /// A contact in the user's list.
    pub fn add_contact(&self, user: &BareJid, contact: ContactId, name: Option<&str>) {
        self.change(|s| s.contacts.entry(user.clone()).or_default().push((contact, name.map(str::to_owned))));
    }

    /// An administrator.
    pub fn add_admin(&self, user: &BareJid) {
        self.change(|s| s.admins.push(user.clone()));
    }

    /// The user wants this session kept up.
    pub fn keep_up(&self, of: &SessionOf) {
        self.change(|s| {
            s.persistent.insert(of.clone());
        });
    }

    /// What `fetch` finds under an address; under any other it finds nothing.
    pub fn serve(&self, url: &Url, body: impl Into<Bytes>, media: Media) {
        self.change(|s| {
            s.web.insert(url.clone(), (body.into(), media));
        });
    }

    /// Puts a message into the message map.
    pub fn remember(&self, network: NetworkId, known: Known) {
        self.change(|s| s.known.push((network, known)));
    }

    // Deliveries.

    /// A fresh key.
    pub fn next_key(&self) -> DeliveryKey {
        self.change(|s| {
            s.keys += 1;
            DeliveryKey::new(format!("k{:08}", s.keys))
        })
    }

    /// An event of this user with a fresh key, happening now.
    pub fn outbound(&self, user: &BareJid, to: Address, intent: Intent) -> Outbound {
        let mut event = Outbound::new(self.next_key(), user.clone(), to, intent);
        event.at = self.time().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        event
    }

    /// The event with a ticket that this host records. From now on the message map knows it.
    pub fn delivery(self: &Arc<Self>, event: Outbound) -> Delivery {
        let first = event.to.first().map_or(Address::Gateway, |r| r.address.clone());
        let network = self.network_of(&first);
        self.change(|s| {
            if let (Some(own), Address::Contact(peer)) = (&event.own, &first) {
                s.writers.insert((own.clone(), peer.clone()), event.user.clone());
            }
            if event.attempt == 0 {
                let mut known = Known::new(event.user.clone(), first);
                known.key = Some(event.key.clone());
                if let Intent::Send(message) = &event.intent {
                    known.thread = message.thread.clone();
                }
                s.known.push((network, known));
            }
        });
        let ticket = Ticket::new(event.key.clone(), event.attempt, self.clone());
        Delivery::new(event, ticket)
    }

    /// The host's clock: a fixed day, moving with tokio's clock.
    pub fn time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000) + self.began.elapsed()
    }

    // For the suite.

    pub(super) fn network_of(&self, address: &Address) -> NetworkId {
        match (&self.bridge, address) {
            (_, Address::Network(network)) => network.clone(),
            (Some(bridge), _) => bridge.addressing().network(address),
            (None, _) => NetworkId::from(self.name.as_str()),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let made = change(&mut self.state());
        self.changed.notify_waiters();
        made
    }

    /// Waits until `found` finds something in the state.
    pub(super) async fn until<T>(&self, what: &str, found: impl Fn(&State) -> Option<T>) -> T {
        self.until_mut(what, |s| found(s)).await
    }

    async fn until_mut<T>(&self, what: &str, mut found: impl FnMut(&mut State) -> Option<T>) -> T {
        let waiting = async {
            loop {
                let mut changed = std::pin::pin!(self.changed.notified());
                changed.as_mut().enable(); // a change between the look and the wait is not missed
                if let Some(found) = found(&mut self.state()) {
                    return found;
                }
                changed.await;
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(found) => found,
            Err(_) => panic!("waited {} s for {what}; the host has {self:?}", PATIENCE.as_secs()),
        }
    }
}

/// Late outcomes only rise.
fn height(late: &Late) -> u8 {
    match late {
        Late::Delayed(_) => 0,
        Late::Failed(_) => 1,
        Late::Delivered => 2,
        Late::Displayed => 3,
    }
}

impl fmt::Debug for FakeHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("FakeHost")
            .field("emits", &state.emits)
            .field("accepts", &state.accepts)
            .field("told", &state.told)
            .field("reports", &state.reports)
            .field("started", &state.started)
            .field("settled", &state.settled)
            .finish_non_exhaustive()
    }
}
