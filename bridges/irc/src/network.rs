//! What all sessions on one network share: persons, resolved addresses, whether it ever spoke TLS, who is connected.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use isthmus_bridge::room::People;
use isthmus_bridge::{BareJid, NetworkId, SessionOf};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::proto::isupport::{Casemapping, Isupport};
use crate::session::Desk;

/// Below so many entries nothing is forgotten.
const SWEEP_FLOOR: usize = 256;
/// How long resolved addresses are believed.
const FRESH: Duration = Duration::from_secs(60);

/// All networks that anybody has used.
#[derive(Debug, Default)]
pub(crate) struct Networks {
    all: Mutex<HashMap<NetworkId, Arc<Network>>>,
    /// Entries of `all` after which those are forgotten that nobody uses.
    sweep_at: AtomicUsize,
    /// By user and network, in their order: all of one user's lie together.
    desks: Mutex<BTreeMap<(BareJid, NetworkId), Arc<Desk>>>,
    /// Connections that were ended by us, and that their servers have not closed yet.
    parting: Arc<Mutex<HashMap<SessionOf, AbortHandle>>>,
}

impl Networks {
    /// One of them; made at its first use.
    pub(crate) fn get(&self, id: &NetworkId) -> Arc<Network> {
        let mut all = lock(&self.all);
        // Anybody can name any host: twice what was in use the last time is too many.
        if all.len() >= self.sweep_at.load(Ordering::Relaxed).max(SWEEP_FLOOR) && !all.contains_key(id) {
            all.retain(|_, network| Arc::strong_count(network) > 1 || network.is_known());
            self.sweep_at.store(all.len() * 2, Ordering::Relaxed);
        }
        all.entry(id.clone()).or_default().clone()
    }

    /// A running session's desk, for commands.
    pub(crate) fn desk(&self, of: &SessionOf) -> Option<Arc<Desk>> {
        lock(&self.desks).get(&key(of)).cloned()
    }

    /// The desks of all running sessions.
    pub(crate) fn desks(&self) -> Vec<(SessionOf, Arc<Desk>)> {
        let desks = lock(&self.desks);
        desks
            .iter()
            .map(|((user, network), desk)| (SessionOf::new(user.clone(), network.clone()), desk.clone()))
            .collect()
    }

    /// In how many rooms a user is on other networks than this one.
    pub(crate) fn rooms_beside(&self, of: &SessionOf) -> usize {
        let desks = lock(&self.desks);
        let own = desks.range((of.user.clone(), NetworkId::new(""))..).take_while(|((user, _), _)| *user == of.user);
        own.filter(|((_, network), _)| *network != of.network).map(|(_, desk)| desk.rooms()).sum()
    }

    /// A connection is ended by a task of its own.
    pub(crate) fn part(&self, of: SessionOf, link: impl Future<Output = ()> + Send + 'static) {
        let parting = self.parting.clone();
        let mut all = lock(&self.parting);
        let own = of.clone();
        let task = tokio::spawn(async move {
            link.await;
            lock(&parting).remove(&own);
        });
        all.insert(of, task.abort_handle());
    }

    /// Such a connection of this session is closed now, for it is about to have another one.
    pub(crate) fn cut(&self, of: &SessionOf) {
        if let Some(parting) = lock(&self.parting).remove(of) {
            parting.abort();
        }
    }

    /// A session has begun.
    pub(crate) fn open(&self, of: &SessionOf, desk: Arc<Desk>) {
        lock(&self.desks).insert(key(of), desk);
    }

    /// A session has ended; a newer one of the same user stays.
    pub(crate) fn close(&self, of: &SessionOf, desk: &Arc<Desk>) {
        let mut desks = lock(&self.desks);
        if desks.get(&key(of)).is_some_and(|known| Arc::ptr_eq(known, desk)) {
            desks.remove(&key(of));
        }
    }
}

/// One network.
#[derive(Debug, Default)]
pub(crate) struct Network {
    people: [OnceLock<Arc<People>>; 3],
    /// What its servers say of themselves: the same for all of them, mostly, and kept once.
    server: Mutex<Arc<Isupport>>,
    resolved: Mutex<Option<(String, Vec<IpAddr>, Instant)>>,
    /// A connection by TLS has succeeded once: it never falls back to plain text.
    pub(crate) spoke_tls: AtomicBool,
    /// What is stored of it was read.
    pub(crate) remembered: AtomicBool,
    connected: AtomicUsize,
    policy: Mutex<Option<Policy>>,
}

/// What a server has said of strict transport security (IRCv3 `sts`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    /// The host that was spoken to.
    pub(crate) host: String,
    /// Its port for TLS.
    pub(crate) port: u16,
    /// Until then no other way is taken.
    pub(crate) until: SystemTime,
}

impl Policy {
    /// As it was kept.
    pub(crate) fn read(kept: &[u8]) -> Option<Self> {
        let kept: serde_json::Value = serde_json::from_slice(kept).ok()?;
        let until = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(kept["until"].as_u64()?))?;
        let port = u16::try_from(kept["port"].as_u64()?).ok()?;
        Some(Self { host: kept["host"].as_str()?.to_owned(), port, until })
    }
}

impl Network {
    /// Its persons. The mapping is the server's; servers of one network agree on it.
    pub(crate) fn people(&self, mapping: Casemapping) -> Arc<People> {
        self.people[mapping.index()].get_or_init(|| Arc::new(People::new(mapping.fold()))).clone()
    }

    /// The same value, kept once for all connections whose server says the same.
    pub(crate) fn share(&self, server: &Arc<Isupport>) -> Arc<Isupport> {
        let mut known = lock(&self.server);
        if **known != **server {
            *known = server.clone();
        }
        known.clone()
    }

    /// Addresses of a host that were resolved a moment ago.
    pub(crate) fn known(&self, host: &str, now: Instant) -> Option<Vec<IpAddr>> {
        let known = lock(&self.resolved);
        known.as_ref().filter(|(name, _, at)| name == host && now < *at + FRESH).map(|(_, all, _)| all.clone())
    }

    /// What a host resolves to.
    pub(crate) fn learn(&self, host: &str, all: Vec<IpAddr>, now: Instant) {
        *lock(&self.resolved) = Some((host.to_owned(), all, now));
    }

    /// Whether something is known of it that must not be forgotten.
    fn is_known(&self) -> bool {
        self.spoke_tls.load(Ordering::Relaxed) || self.policy().is_some()
    }

    /// Its policy, as far as it is known.
    pub(crate) fn policy(&self) -> Option<Policy> {
        lock(&self.policy).clone()
    }

    /// Another policy, or none.
    pub(crate) fn keep_policy(&self, policy: Option<Policy>) {
        *lock(&self.policy) = policy;
    }

    /// Takes a place among those who are connected; `None` where `most` are already (0: no bound).
    pub(crate) fn enter(self: &Arc<Self>, most: usize) -> Option<Place> {
        let before = self.connected.fetch_add(1, Ordering::Relaxed);
        let place = Place(self.clone());
        (most == 0 || before < most).then_some(place)
    }
}

/// A place among those who are connected; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Network>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connected.fetch_sub(1, Ordering::Relaxed);
    }
}

fn key(of: &SessionOf) -> (BareJid, NetworkId) {
    (of.user.clone(), of.network.clone())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is a single insert or remove.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_given_back() {
        let network = Arc::new(Network::default());
        let first = network.enter(1);
        assert!(first.is_some() && network.enter(1).is_none());
        drop(first);
        assert!(network.enter(1).is_some());
    }

    #[test]
    fn networks_that_nobody_uses_are_forgotten_but_for_what_is_known_of_them() {
        let networks = Networks::default();
        let used = networks.get(&"used".into());
        networks.get(&"strict".into()).spoke_tls.store(true, Ordering::Relaxed);
        for n in 0..10_000 {
            networks.get(&NetworkId::new(format!("irc{n}.example.net")));
        }
        assert!(lock(&networks.all).len() <= SWEEP_FLOOR, "{}", lock(&networks.all).len());
        assert!(Arc::ptr_eq(&used, &networks.get(&"used".into())));
        assert!(networks.get(&"strict".into()).spoke_tls.load(Ordering::Relaxed));
    }

    #[test]
    fn resolved_addresses_are_believed_for_a_minute() {
        let (network, now) = (Network::default(), Instant::now());
        network.learn("a", vec![[127, 0, 0, 1].into()], now);
        assert!(network.known("a", now).is_some() && network.known("b", now).is_none());
        assert!(network.known("a", now + FRESH).is_none());
    }
}
