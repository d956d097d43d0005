//! What a user has sent, against the limits. Reserved before sending, given back where nothing was sent.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use isthmus_bridge::{BareJid, Change, DeliveryError, Failure, Gateway, StoreError, Text};
use serde::{Deserialize, Serialize};

use crate::config::Limits;
use crate::session::store_away;
use crate::state::{self, DAY};

/// Texts, and what they cost in millionths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// Texts.
    pub texts: u64,
    /// Millionths of the currency.
    pub cost: u64,
}

/// What is used, per user and day, per user and month, and over all.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    used: Mutex<HashMap<String, Usage>>,
}

/// The three accounts that a text is written to.
#[derive(Debug, Clone)]
struct Accounts {
    day: String,
    month: String,
    all: String,
}

impl Accounts {
    fn of(user: &BareJid, now: SystemTime) -> Self {
        let (day, month) = (day(now), month(now));
        Self { day: format!("{user} d{day}"), month: format!("{user} m{month}"), all: format!("m{month}") }
    }

    fn names(&self) -> [&String; 3] {
        [&self.day, &self.month, &self.all]
    }
}

impl Meter {
    /// Takes room for these texts, or says which limit is in the way.
    pub(crate) async fn take(
        &self,
        host: &dyn Gateway,
        limits: &Limits,
        user: &BareJid,
        more: Usage,
    ) -> Result<(), DeliveryError> {
        let now = host.now();
        let accounts = Accounts::of(user, now);
        self.learn(host, &accounts).await.map_err(store_away)?;
        let changes = {
            let mut used = self.lock();
            let get = |name: &str| used.get(name).copied().unwrap_or_default();
            let (day, month, all) = (get(&accounts.day), get(&accounts.month), get(&accounts.all));
            if day.texts + more.texts > limits.per_day {
                return Err(over("over.day", day.texts, limits.per_day, until_midnight(now)));
            }
            if month.texts + more.texts > limits.per_month {
                return Err(over("over.month", month.texts, limits.per_month, until_next_month(now)));
            }
            if let Some(limit) = limits.cost.filter(|limit| month.cost + more.cost > *limit) {
                return Err(over("over.cost", shown(month.cost), shown(limit), until_next_month(now)));
            }
            if let Some(limit) = limits.total_cost.filter(|limit| all.cost + more.cost > *limit) {
                return Err(over("over.total", shown(all.cost), shown(limit), until_next_month(now)));
            }
            for name in accounts.names() {
                let entry = used.entry(name.clone()).or_default();
                (entry.texts, entry.cost) = (entry.texts + more.texts, entry.cost + more.cost);
            }
            changes(&used, &accounts, user, now)
        };
        host.store(changes).await.map_err(store_away)
    }

    /// That much was not sent after all.
    pub(crate) async fn give_back(&self, host: &dyn Gateway, user: &BareJid, less: Usage) {
        if less == Usage::default() {
            return;
        }
        let now = host.now();
        let accounts = Accounts::of(user, now);
        let changes = {
            let mut used = self.lock();
            for name in accounts.names() {
                let Some(entry) = used.get_mut(name) else { continue };
                (entry.texts, entry.cost) =
                    (entry.texts.saturating_sub(less.texts), entry.cost.saturating_sub(less.cost));
            }
            changes(&used, &accounts, user, now)
        };
        // Lost, it counts against the user until the day is over; nothing worse.
        let _ = host.store(changes).await;
    }

    /// What the user has used today and this month.
    pub(crate) async fn used(&self, host: &dyn Gateway, user: &BareJid) -> Result<(Usage, Usage), StoreError> {
        let accounts = Accounts::of(user, host.now());
        self.learn(host, &accounts).await?;
        let used = self.lock();
        let get = |name: &str| used.get(name).copied().unwrap_or_default();
        Ok((get(&accounts.day), get(&accounts.month)))
    }

    /// Reads what earlier runs have stored.
    async fn learn(&self, host: &dyn Gateway, accounts: &Accounts) -> Result<(), StoreError> {
        for name in accounts.names() {
            if self.lock().contains_key(name) {
                continue;
            }
            let stored = state::load::<Usage>(host, "usage", name).await?.unwrap_or_default();
            let mut used = self.lock();
            used.entry(name.clone()).or_insert(stored);
            if used.len() > 10_000 {
                // Days and months that are over; the store still has what counts.
                let (day, month) = (format!(" d{}", day(host.now())), format!("m{}", month(host.now())));
                used.retain(|name, _| name.ends_with(&day) || name.ends_with(&month));
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Usage>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn changes(used: &HashMap<String, Usage>, accounts: &Accounts, user: &BareJid, now: SystemTime) -> Vec<Change> {
    let put = |name: &String, life: Duration| {
        state::put("usage", name, &used.get(name).copied().unwrap_or_default()).until(now + life)
    };
    vec![
        put(&accounts.day, DAY * 2).of(user.clone()),
        put(&accounts.month, DAY * 33).of(user.clone()),
        put(&accounts.all, DAY * 33),
    ]
}

fn over(name: &'static str, used: impl ToString, limit: impl ToString, left: Duration) -> DeliveryError {
    let (hours, minutes) = (left.as_secs() / 3600, left.as_secs() % 3600 / 60);
    let text = Text::key(name).with("used", used.to_string()).with("limit", limit.to_string());
    DeliveryError::new(Failure::OverQuota, text.with("hours", hours).with("minutes", minutes))
}

/// Millionths as an amount with two to four places.
pub(crate) fn shown(millionths: u64) -> String {
    let (whole, rest) = (millionths / 1_000_000, millionths % 1_000_000 / 100);
    if rest % 100 == 0 { format!("{whole}.{:02}", rest / 100) } else { format!("{whole}.{rest:04}") }
}

/// Until the day is over (UTC).
pub(crate) fn until_midnight(now: SystemTime) -> Duration {
    Duration::from_secs(86_400 - state::seconds(now) % 86_400)
}

/// Until the month is over (UTC).
pub(crate) fn until_next_month(now: SystemTime) -> Duration {
    let this = month(now);
    let mut at = now + until_midnight(now);
    while month(at) == this {
        at += DAY;
    }
    at.duration_since(now).unwrap_or_default()
}

fn day(at: SystemTime) -> u64 {
    state::seconds(at) / DAY.as_secs()
}

/// Seconds since the epoch as people write them: `2026-11-22 04:52 UTC`.
pub(crate) fn moment(seconds: u64) -> String {
    let (year, month, day) = civil(seconds / DAY.as_secs());
    let of_day = seconds % DAY.as_secs();
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", of_day / 3600, of_day % 3600 / 60)
}

/// Months since the year 0.
fn month(at: SystemTime) -> u64 {
    let (year, month, _) = civil(day(at));
    year * 12 + month - 1
}

/// Year, month and day of a day since the epoch (Howard Hinnant's civil calendar).
fn civil(day: u64) -> (u64, u64, u64) {
    let days = day + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let of_century = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * of_century + of_century / 4 - of_century / 100);
    let shifted = (5 * of_year + 2) / 153;
    let (year, month) = (of_century + era * 400, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    (if month <= 2 { year + 1 } else { year }, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_by_table() {
        for (seconds, year, number) in [
            (0_u64, 1970, 1),
            (951_782_400, 2000, 2), // 29 February 2000
            (951_868_800, 2000, 3),
            (1_735_689_599, 2024, 12),
            (1_735_689_600, 2025, 1),
        ] {
            assert_eq!(
                month(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)),
                year * 12 + number - 1,
                "{seconds}"
            );
        }
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_735_689_600 - 3600);
        assert_eq!(until_next_month(end), Duration::from_secs(3600));
        assert_eq!(until_midnight(end), Duration::from_secs(3600));
    }

    #[test]
    fn moments_by_table() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_399, "2000-02-28 23:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (1_735_689_599, "2024-12-31 23:59 UTC"),
            (1_763_786_720, "2025-11-22 04:45 UTC"),
        ] {
            assert_eq!(moment(seconds), text);
        }
    }

    #[test]
    fn amounts_by_table() {
        for (millionths, text) in [(0, "0.00"), (10_000_000, "10.00"), (7_900, "0.0079"), (1_230_000, "1.23")] {
            assert_eq!(shown(millionths), text);
        }
    }
}
