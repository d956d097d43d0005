//! Bytes on disk, for each user and for all of a bridge: what waits either way, and files kept for somebody.
//!
//! What is kept stands in the database; the [`Ledger`] is a copy that is read again when it is old, and before it refuses anybody.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use isthmus_bridge::BareJid;

/// The copy may be so old when it lets somebody through.
const OLD: Duration = Duration::from_secs(10);
/// And so old when it refuses.
const FRESH: Duration = Duration::from_secs(1);

/// Bytes that may be kept; 0 is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Storage {
    /// For each user.
    pub user: u64,
    /// For all users together.
    pub total: u64,
}

/// What is kept for one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// For whom.
    pub user: BareJid,
    /// How much.
    pub bytes: u64,
    /// When the first of it goes at the latest, in milliseconds since the epoch, where that is known.
    pub ends: Option<i64>,
}

/// There is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// Bytes that are kept.
    pub used: u64,
    /// Bytes that may be.
    pub limit: u64,
    /// When something goes at the latest, in milliseconds since the epoch; `None`: when what waits has been delivered.
    pub ends: Option<i64>,
    /// Whether it is the bridge's own limit, not the user's.
    pub total: bool,
}

/// What a [`Ledger`] knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// There is room, and it is taken.
    Fits,
    /// There is none.
    Full(Full),
    /// What is kept has to be read again ([`Ledger::renew`]).
    Stale,
}

/// Counts what is kept over one bridge. Time is an argument.
#[derive(Debug)]
pub struct Ledger {
    quota: Storage,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    read: Option<Instant>,
    users: HashMap<BareJid, Kept>,
    total: u64,
    ends: Option<i64>,
    /// Something was added since it was read.
    grown: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Kept {
    bytes: u64,
    ends: Option<i64>,
    grown: bool,
}

impl Ledger {
    /// Nothing read yet.
    pub fn new(quota: Storage) -> Self {
        Self { quota, state: Mutex::default() }
    }

    /// Takes room for so many bytes of a user. More than a whole limit counts as that limit, else it would never fit.
    pub fn take(&self, user: &BareJid, bytes: u64, now: Instant) -> Verdict {
        if self.quota == Storage::default() {
            return Verdict::Fits;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(age) = state.read.map(|read| now.saturating_duration_since(read)).filter(|age| *age < OLD) else {
            return Verdict::Stale;
        };
        let own = state.users.get(user).copied().unwrap_or_default();
        let mut grown = own.grown;
        let full = full(own.bytes, bytes, self.quota.user)
            .map(|(used, limit)| Full { used, limit, ends: own.ends, total: false })
            .or_else(|| {
                grown = state.grown;
                full(state.total, bytes, self.quota.total).map(|(used, limit)| Full {
                    used,
                    limit,
                    ends: state.ends,
                    total: true,
                })
            });
        match full {
            // When something that was just added goes is not known yet.
            Some(_) if age >= FRESH || grown => Verdict::Stale,
            Some(full) => Verdict::Full(full),
            None => {
                let kept = Kept { bytes: own.bytes.saturating_add(bytes), ends: own.ends, grown: true };
                state.users.insert(user.clone(), kept);
                (state.total, state.grown) = (state.total.saturating_add(bytes), true);
                Verdict::Fits
            }
        }
    }

    /// This is what is kept now.
    pub fn renew(&self, all: Vec<Held>, now: Instant) {
        let total = all.iter().map(|held| held.bytes).fold(0, u64::saturating_add);
        let ends = all.iter().filter_map(|held| held.ends).min();
        let kept = |held: &Held| Kept { bytes: held.bytes, ends: held.ends, grown: false };
        let users = all.into_iter().map(|held| (held.user.clone(), kept(&held))).collect();
        let new = State { read: Some(now), users, total, ends, grown: false };
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = new;
    }
}

/// What is used and what may be, where so many more bytes are too many.
fn full(used: u64, more: u64, limit: u64) -> Option<(u64, u64)> {
    (limit > 0 && used.saturating_add(more.min(limit)) > limit).then_some((used, limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(user: &str, bytes: u64, ends: Option<i64>) -> Held {
        Held { user: BareJid::new(user), bytes, ends }
    }

    #[test]
    fn room_is_taken_until_there_is_none_and_the_error_says_when_something_goes() {
        let (ledger, now) = (Ledger::new(Storage { user: 100, total: 150 }), Instant::now());
        let (ann, ben) = (BareJid::new("ann@x"), BareJid::new("ben@x"));
        assert_eq!(ledger.take(&ann, 1, now), Verdict::Stale, "nothing was read");
        ledger.renew(vec![held("ann@x", 60, Some(7))], now);
        assert_eq!(ledger.take(&ann, 40, now), Verdict::Fits);
        assert_eq!(ledger.take(&ann, 1, now), Verdict::Stale, "something was added");
        ledger.renew(vec![held("ann@x", 100, Some(7))], now);
        let own = Full { used: 100, limit: 100, ends: Some(7), total: false };
        assert_eq!(ledger.take(&ann, 1, now), Verdict::Full(own));
        assert_eq!(ledger.take(&ben, 50, now), Verdict::Fits);
        assert_eq!(ledger.take(&ben, 1, now), Verdict::Stale);
        ledger.renew(vec![held("ann@x", 100, Some(7)), held("ben@x", 50, Some(8))], now);
        let all = Full { used: 150, limit: 150, ends: Some(7), total: true };
        assert_eq!(ledger.take(&ben, 1, now), Verdict::Full(all));
    }

    #[test]
    fn nobody_is_refused_on_old_news() {
        let (ledger, now) = (Ledger::new(Storage { user: 100, total: 0 }), Instant::now());
        let ann = BareJid::new("ann@x");
        ledger.renew(vec![held("ann@x", 100, None)], now);
        assert!(matches!(ledger.take(&ann, 1, now), Verdict::Full(_)));
        assert_eq!(ledger.take(&ann, 1, now + FRESH), Verdict::Stale);
        assert_eq!(ledger.take(&BareJid::new("ben@x"), 1, now + FRESH), Verdict::Fits, "ben has room all the same");
        assert_eq!(ledger.take(&BareJid::new("ben@x"), 1, now + OLD), Verdict::Stale);
    }

    #[test]
    fn what_is_larger_than_the_limit_fits_into_an_empty_place() {
        let (ledger, now) = (Ledger::new(Storage { user: 100, total: 0 }), Instant::now());
        let ann = BareJid::new("ann@x");
        ledger.renew(Vec::new(), now);
        assert_eq!(ledger.take(&ann, 1000, now), Verdict::Fits);
        ledger.renew(vec![held("ann@x", 1000, None)], now);
        assert!(matches!(ledger.take(&ann, 1, now), Verdict::Full(_)));
    }

    #[test]
    fn without_a_limit_nothing_is_read() {
        assert_eq!(Ledger::new(Storage::default()).take(&BareJid::new("a@x"), u64::MAX, Instant::now()), Verdict::Fits);
    }
}
