//! Pure: when to try again, when to give up. Times are milliseconds since the epoch.

use std::time::Duration;

use isthmus_bridge::{DeliveryError, Failure, Profile, Retry, Sent};

/// After so many ends that nobody explained, an event is not given to the bridge again.
pub(crate) const UNKNOWN_ENDS: i64 = 3;

/// Pauses between tries; the last one repeats.
const PAUSES: [u64; 9] = [15, 30, 60, 120, 300, 600, 1200, 1800, 3600];

/// What is known of an event when a try of it has failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Situation {
    /// When it was accepted.
    pub(crate) accepted: i64,
    /// Now.
    pub(crate) now: i64,
    /// Tries that failed before this one.
    pub(crate) tries: i64,
    /// Ends that nobody explained, this one included.
    pub(crate) ends: i64,
    /// The sender has been told that it is still being tried.
    pub(crate) noticed: bool,
}

/// What to do with a leg whose try failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// For good.
    Fail,
    /// Nobody knows, and it is not tried again.
    Uncertain,
    /// The bridge has broken on it too often.
    Quarantine,
    /// Again at this time.
    Retry(i64),
}

/// Judges a failed try. An uncertain one is tried again only where the network takes the event's key as a proof of sameness.
pub(crate) fn judge(profile: &Profile, at: Situation, error: &DeliveryError) -> Verdict {
    let maybe = error.sent == Sent::Maybe;
    if maybe && !profile.idempotent {
        return Verdict::Uncertain;
    }
    if at.ends >= UNKNOWN_ENDS {
        return if maybe { Verdict::Uncertain } else { Verdict::Quarantine };
    }
    let end = at.accepted.saturating_add(ms(profile.retry_for));
    let wanted = match (error.retry, &error.failure) {
        (Retry::Never, _) => None,
        (Retry::After(pause), _) => Some(ms(pause).max(1000)),
        (_, Failure::Throttled { retry_after }) => Some(ms(*retry_after).max(1000)),
        _ => Some(pause(at.tries, at.accepted)),
    };
    match wanted {
        Some(wanted) if at.now < end => Verdict::Retry(cap(profile, at, at.now.saturating_add(wanted)).min(end)),
        _ if maybe => Verdict::Uncertain,
        _ => Verdict::Fail,
    }
}

/// Whether the sender is to be told now that the event is still being tried.
pub(crate) fn notice_due(profile: &Profile, at: Situation) -> bool {
    !at.noticed && profile.notice_after.is_some_and(|after| at.now >= at.accepted.saturating_add(ms(after)))
}

/// When it will be given up.
pub(crate) fn until(profile: &Profile, accepted: i64) -> i64 {
    accepted.saturating_add(ms(profile.retry_for))
}

/// A try falls on the time of the notice, so that the notice is neither late nor sent for something that has just gone.
fn cap(profile: &Profile, at: Situation, next: i64) -> i64 {
    let notice = profile.notice_after.map(|after| at.accepted.saturating_add(ms(after)));
    match notice {
        Some(notice) if !at.noticed && at.now < notice && notice < next => notice,
        _ => next,
    }
}

/// The pause after so many tries, spread by up to a tenth so that what failed together does not come back together.
fn pause(tries: i64, seed: i64) -> i64 {
    let step = usize::try_from(tries).unwrap_or(0).min(PAUSES.len() - 1);
    let pause = PAUSES[step] as i64 * 1000;
    pause + pause / 10 * (seed.rem_euclid(97)) / 97
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn profile(idempotent: bool) -> Profile {
        let mut profile = Profile::held("x", "X"); // tries for two days, notice after an hour
        profile.idempotent = idempotent;
        profile
    }

    fn at(now: i64, tries: i64, ends: i64, noticed: bool) -> Situation {
        Situation { accepted: 0, now, tries, ends, noticed }
    }

    #[test]
    fn verdicts() {
        let temporary = DeliveryError::temporary(Failure::Unreachable, "away");
        let never = DeliveryError::new(Failure::Rejected, "no");
        let maybe = DeliveryError::uncertain("?").with_retry(Retry::ByPolicy);
        let maybe_never = DeliveryError::uncertain("?");
        let after = |s| temporary.clone().with_retry(Retry::After(Duration::from_secs(s)));
        let throttled = DeliveryError::temporary(Failure::Throttled { retry_after: Duration::from_secs(7) }, "slow");
        let table = [
            ("first try failed", false, at(0, 0, 0, false), &temporary, Verdict::Retry(15_000)),
            ("pauses grow", false, at(0, 3, 0, false), &temporary, Verdict::Retry(120_000)),
            ("no further than an hour", false, at(2 * HOUR, 50, 0, true), &temporary, Verdict::Retry(3 * HOUR)),
            ("the notice's time is a try", false, at(HOUR - 60_000, 8, 0, false), &temporary, Verdict::Retry(HOUR)),
            (
                "the last try is at the end",
                false,
                at(48 * HOUR - 1000, 50, 0, true),
                &temporary,
                Verdict::Retry(48 * HOUR),
            ),
            ("then it has failed", false, at(48 * HOUR, 51, 0, true), &temporary, Verdict::Fail),
            ("for good", false, at(0, 0, 0, false), &never, Verdict::Fail),
            ("never an uncertain one again", false, at(0, 0, 0, false), &maybe, Verdict::Uncertain),
            ("but with a key", true, at(0, 0, 0, false), &maybe, Verdict::Retry(15_000)),
            ("not if the bridge says never", true, at(0, 0, 0, false), &maybe_never, Verdict::Uncertain),
            ("not for ever", true, at(48 * HOUR, 9, 0, true), &maybe, Verdict::Uncertain),
            ("when the network says", false, at(5000, 0, 0, false), &after(40), Verdict::Retry(45_000)),
            ("a pause of nothing is a second", false, at(0, 0, 0, false), &after(0), Verdict::Retry(1000)),
            ("throttled", false, at(0, 4, 0, false), &throttled, Verdict::Retry(7000)),
            ("third unknown end", false, at(0, 0, 3, false), &temporary, Verdict::Quarantine),
            ("third unknown end with a key", true, at(0, 0, 3, false), &maybe, Verdict::Uncertain),
        ];
        for (what, idempotent, situation, error, expected) in table {
            assert_eq!(judge(&profile(idempotent), situation, error), expected, "{what}");
        }
    }

    #[test]
    fn one_notice_after_its_time() {
        let profile = profile(false);
        assert!(!notice_due(&profile, at(HOUR - 1, 3, 0, false)));
        assert!(notice_due(&profile, at(HOUR, 3, 0, false)));
        assert!(!notice_due(&profile, at(HOUR, 3, 0, true)));
    }

    #[test]
    fn pauses_are_spread_by_a_tenth() {
        assert!((0..1000).all(|seed| (60_000..=66_000).contains(&pause(2, seed))));
    }
}
