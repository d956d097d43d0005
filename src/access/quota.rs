//! Messages per minute and day, for each user and for all of a bridge.
//!
//! Each limit is one point in time (the generic cell rate algorithm, a token bucket without a tick): the moment at which its bucket would be
//! full again. A user who has been quiet long enough is therefore the same as one never seen and is forgotten, so memory is bounded.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use isthmus_bridge::{Address, BareJid};

use super::{Ledger, Storage};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Users remembered at most; beyond, the one closest to a full bucket is forgotten.
const USERS: usize = 100_000;

/// Messages within a minute and a day; 0 is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// In a minute.
    pub per_minute: u32,
    /// In a day.
    pub per_day: u32,
}

/// The quotas of one bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quotas {
    /// Of each user.
    pub user: Quota,
    /// Of all users together.
    pub total: Quota,
    /// What may be kept.
    pub storage: Storage,
}

/// Over a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Over {
    /// Until the next message would pass.
    pub passes_in: Duration,
    /// The number that was reached.
    pub limit: u32,
    /// Within this time.
    pub window: Duration,
    /// Whether it is the bridge's own limit, not the user's.
    pub total: bool,
}

/// Counts what users send over one bridge. Time is an argument.
#[derive(Debug)]
pub struct Limiter {
    quotas: Quotas,
    storage: Ledger,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    total: Buckets,
    users: HashMap<BareJid, Buckets>,
    /// Look for quiet users when there are this many.
    sweep_at: usize,
}

impl Limiter {
    /// Nothing counted yet.
    pub fn new(quotas: Quotas) -> Self {
        let state = Mutex::new(State { sweep_at: 1024, ..State::default() });
        Self { quotas, storage: Ledger::new(quotas.storage), state }
    }

    /// What is kept, counted.
    pub fn storage(&self) -> &Ledger {
        &self.storage
    }

    /// How many messages of a user count now: of those in a minute, of those in a day. 0 where there is no bound.
    pub fn used(&self, user: &BareJid, now: Instant) -> (u32, u32) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let own = state.users.get(user).copied().unwrap_or_default();
        let quota = self.quotas.user;
        (spent(own.minute, quota.per_minute, MINUTE, now), spent(own.day, quota.per_day, DAY, now))
    }

    /// The limits.
    pub fn quotas(&self) -> Quotas {
        self.quotas
    }

    /// Nothing is bounded.
    pub fn is_open(&self) -> bool {
        (self.quotas.user, self.quotas.total) == (Quota::default(), Quota::default())
    }

    /// Counts `messages` of a user, all or none of them. More at once than a whole limit count as that limit, else they would never pass.
    pub fn take(&self, user: &BareJid, messages: u32, now: Instant) -> Result<(), Over> {
        if self.is_open() || messages == 0 {
            return Ok(());
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let own = state.users.get(user).copied().unwrap_or_default();
        let own = own.after(self.quotas.user, messages, now, false)?;
        let total = state.total.after(self.quotas.total, messages, now, true)?;
        state.total = total;
        if self.quotas.user != Quota::default() {
            state.users.insert(user.clone(), own);
            state.forget_quiet(now);
        }
        Ok(())
    }

    /// Users remembered now.
    pub fn remembered(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).users.len()
    }
}

impl State {
    fn forget_quiet(&mut self, now: Instant) {
        if self.users.len() < self.sweep_at {
            return;
        }
        self.users.retain(|_, b| !b.full(now));
        if self.users.len() >= USERS {
            let mut ends: Vec<Option<Instant>> = self.users.values().map(Buckets::end).collect();
            let middle = ends.len() / 2;
            let (_, median, _) = ends.select_nth_unstable(middle);
            let median = *median;
            self.users.retain(|_, b| b.end() > median);
        }
        self.sweep_at = (self.users.len() * 2).clamp(1024, USERS);
    }
}

/// How fast one contact may write to one user: messages in an hour. Time is an argument.
#[derive(Debug)]
pub struct Pace {
    per_hour: u32,
    full_at: Mutex<HashMap<(BareJid, Address), Instant>>,
}

impl Pace {
    /// So many in an hour; 0 is no bound.
    pub fn new(per_hour: u32) -> Self {
        Self { per_hour, full_at: Mutex::default() }
    }

    /// Counts one message.
    pub fn take(&self, user: &BareJid, from: &Address, now: Instant) -> Result<(), Over> {
        if self.per_hour == 0 {
            return Ok(());
        }
        let mut all = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (user.clone(), from.clone());
        let next = fill(all.get(&key).copied(), self.per_hour, HOUR, 1, now, false)?;
        if all.len() >= USERS {
            all.retain(|_, at| *at > now);
        }
        // Who cannot be remembered even then is let through: the bound protects people from floods, not memory from people.
        if let Some(next) = next
            && all.len() < 2 * USERS
        {
            all.insert(key, next);
        }
        Ok(())
    }
}

/// When each bucket is full again; `None`: it is.
#[derive(Debug, Clone, Copy, Default)]
struct Buckets {
    minute: Option<Instant>,
    day: Option<Instant>,
}

impl Buckets {
    fn after(self, quota: Quota, messages: u32, now: Instant, total: bool) -> Result<Self, Over> {
        let minute = fill(self.minute, quota.per_minute, MINUTE, messages, now, total);
        let day = fill(self.day, quota.per_day, DAY, messages, now, total);
        match (minute, day) {
            (Ok(minute), Ok(day)) => Ok(Self { minute, day }),
            (Err(m), Err(d)) => Err(if d.passes_in > m.passes_in { d } else { m }),
            (Err(over), Ok(_)) | (Ok(_), Err(over)) => Err(over),
        }
    }

    fn end(&self) -> Option<Instant> {
        self.minute.max(self.day)
    }

    fn full(&self, now: Instant) -> bool {
        self.end().is_none_or(|end| end <= now)
    }
}

/// Messages that a bucket has not given back yet.
fn spent(full_at: Option<Instant>, limit: u32, window: Duration, now: Instant) -> u32 {
    let Some(at) = full_at.filter(|_| limit > 0) else { return 0 };
    let each = window.div_f64(f64::from(limit)).as_nanos().max(1);
    let owed = at.saturating_duration_since(now).as_nanos();
    u32::try_from(owed.div_ceil(each)).unwrap_or(limit).min(limit)
}

fn fill(
    full_at: Option<Instant>,
    limit: u32,
    window: Duration,
    messages: u32,
    now: Instant,
    total: bool,
) -> Result<Option<Instant>, Over> {
    if limit == 0 {
        return Ok(None);
    }
    let each = window.div_f64(f64::from(limit));
    let next = full_at.map_or(now, |at| at.max(now)) + each * messages.min(limit);
    // A nanosecond of rounding per message must not cost the last one of the window.
    let excess = next.saturating_duration_since(now).saturating_sub(window);
    if excess > Duration::from_micros(1) {
        return Err(Over { passes_in: excess, limit, window, total });
    }
    Ok(Some(next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(user: (u32, u32), total: (u32, u32)) -> Limiter {
        let quota = |(per_minute, per_day)| Quota { per_minute, per_day };
        Limiter::new(Quotas { user: quota(user), total: quota(total), ..Quotas::default() })
    }

    fn jid(name: &str) -> BareJid {
        BareJid::new(name)
    }

    #[test]
    fn a_burst_up_to_the_limit_then_one_per_share_of_the_window() {
        let (l, now, u) = (limiter((3, 0), (0, 0)), Instant::now(), jid("a@x"));
        for _ in 0..3 {
            assert_eq!(l.take(&u, 1, now), Ok(()));
        }
        let over = l.take(&u, 1, now).expect_err("the fourth");
        assert_eq!((over.limit, over.window, over.total), (3, MINUTE, false));
        assert_eq!(over.passes_in.as_secs(), 20);
        assert!(l.take(&u, 1, now + over.passes_in - Duration::from_secs(1)).is_err());
        assert_eq!(l.take(&u, 1, now + over.passes_in), Ok(()));
    }

    #[test]
    fn a_refusal_costs_nothing_and_names_the_longer_wait() {
        let (l, now, u) = (limiter((2, 2), (0, 0)), Instant::now(), jid("a@x"));
        l.take(&u, 2, now).expect("both");
        for _ in 0..100 {
            assert_eq!(l.take(&u, 1, now).expect_err("over").window, DAY);
        }
        assert_eq!(l.take(&u, 1, now + DAY / 2), Ok(()));
    }

    #[test]
    fn what_is_used_goes_down_with_time() {
        let (l, now, u) = (limiter((3, 100), (0, 0)), Instant::now(), jid("a@x"));
        assert_eq!(l.used(&u, now), (0, 0));
        l.take(&u, 2, now).expect("both");
        assert_eq!(l.used(&u, now), (2, 2));
        assert_eq!(l.used(&u, now + Duration::from_secs(20)), (1, 2));
        assert_eq!(l.used(&u, now + DAY), (0, 0));
    }

    #[test]
    fn users_do_not_share_but_the_total_is_shared() {
        let (l, now) = (limiter((2, 0), (3, 0)), Instant::now());
        l.take(&jid("a@x"), 2, now).expect("a's own");
        l.take(&jid("b@x"), 1, now).expect("b's own");
        let over = l.take(&jid("b@x"), 1, now).expect_err("the total");
        assert!(over.total);
    }

    #[test]
    fn a_batch_larger_than_the_limit_passes_once_the_bucket_is_full() {
        let (l, now, u) = (limiter((5, 0), (0, 0)), Instant::now(), jid("a@x"));
        assert_eq!(l.take(&u, 50, now), Ok(()));
        assert!(l.take(&u, 1, now).is_err());
        assert_eq!(l.take(&u, 50, now + MINUTE), Ok(()));
    }

    #[test]
    fn no_limit_remembers_nobody() {
        let l = limiter((0, 0), (0, 0));
        assert_eq!(l.take(&jid("a@x"), 1_000_000, Instant::now()), Ok(()));
        assert_eq!(l.remembered(), 0);
    }

    #[test]
    fn one_contact_may_not_flood_one_user() {
        let (pace, now) = (Pace::new(2), Instant::now());
        let (ann, ben) = (Address::Contact("ann".into()), Address::Contact("ben".into()));
        for _ in 0..2 {
            assert_eq!(pace.take(&jid("a@x"), &ann, now), Ok(()));
        }
        assert_eq!(pace.take(&jid("a@x"), &ann, now).expect_err("the third").passes_in.as_secs(), 1800);
        assert_eq!(pace.take(&jid("a@x"), &ben, now), Ok(()), "another contact");
        assert_eq!(pace.take(&jid("b@x"), &ann, now), Ok(()), "another user");
        assert_eq!(pace.take(&jid("a@x"), &ann, now + HOUR / 2), Ok(()));
    }

    #[test]
    fn quiet_users_are_forgotten() {
        let (l, now) = (limiter((60, 0), (0, 0)), Instant::now());
        for i in 0..10_000u64 {
            l.take(&jid(&format!("u{i}@x")), 1, now + Duration::from_secs(i)).expect("first");
        }
        assert!(l.remembered() < 3_000, "{} users remembered", l.remembered());
    }

    #[test]
    fn memory_is_bounded_even_when_nobody_is_quiet() {
        let (l, now) = (limiter((0, 1), (0, 0)), Instant::now());
        for i in 0..(USERS + USERS / 2) {
            l.take(&jid(&format!("u{i}@x")), 1, now + Duration::from_nanos(i as u64)).expect("first");
        }
        assert!(l.remembered() <= USERS);
    }
}
