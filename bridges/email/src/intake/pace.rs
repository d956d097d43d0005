//! How many mails of one sender a user gets within an hour: the end of every loop that nothing else has noticed.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use isthmus_bridge::{BareJid, ContactId};
use tokio::time::Instant;

const HOUR: Duration = Duration::from_secs(3600);
/// Pairs that are remembered before those whose hour is over are forgotten.
const MAX_PAIRS: usize = 10_000;

/// Counts, in memory: a restart begins anew.
#[derive(Debug)]
pub(super) struct Pace {
    per_hour: u32,
    seen: Mutex<HashMap<(BareJid, ContactId), (Instant, u32)>>,
}

impl Pace {
    /// At most this many an hour.
    pub(super) fn new(per_hour: u32) -> Self {
        Self { per_hour, seen: Mutex::new(HashMap::new()) }
    }

    /// Counts one more; `false` if it is too many.
    pub(super) fn allows(&self, user: &BareJid, from: &ContactId) -> bool {
        let now = Instant::now();
        let Ok(mut seen) = self.seen.lock() else { return true };
        if seen.len() >= MAX_PAIRS {
            seen.retain(|_, (began, _)| now.duration_since(*began) < HOUR);
        }
        let (began, count) = seen.entry((user.clone(), from.clone())).or_insert((now, 0));
        if now.duration_since(*began) >= HOUR {
            (*began, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= self.per_hour
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_hour_is_counted_for_each_pair() {
        let pace = Pace::new(2);
        let (juliet, romeo) = (BareJid::new("juliet@capulet.lit"), BareJid::new("romeo@montague.lit"));
        let alice = ContactId::new("alice@example.net");
        assert!(pace.allows(&juliet, &alice) && pace.allows(&juliet, &alice));
        assert!(!pace.allows(&juliet, &alice));
        assert!(pace.allows(&romeo, &alice));
        tokio::time::advance(HOUR).await;
        assert!(pace.allows(&juliet, &alice));
    }
}
