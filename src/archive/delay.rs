//! How long rows wait for the disk: from the moment a line is handed to its hearers to the end of the commit that holds it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

/// What is promised.
const BOUND: Duration = Duration::from_secs(1);

/// The upper ends of the steps that are counted, in milliseconds.
const STEPS: [u64; 8] = [50, 100, 250, 500, 750, 1_000, 2_500, 10_000];
/// A store that stays slow is told of this often.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// What was measured since the start: of each commit the wait of its oldest row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delay {
    /// Commits, by the step that their delay fell into; the last: longer than all steps.
    counts: [u64; STEPS.len() + 1],
    /// All delays together.
    pub sum: Duration,
    /// The longest.
    pub longest: Duration,
}

impl Delay {
    /// Commits.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// For each step its upper end in seconds, and how many commits took no longer: what a histogram of Prometheus' is made of.
    pub fn steps(&self) -> impl Iterator<Item = (f64, u64)> {
        let counts = self.counts;
        let mut so_far = 0;
        STEPS.iter().zip(counts).map(move |(step, count)| {
            so_far += count;
            (Duration::from_millis(*step).as_secs_f64(), so_far)
        })
    }

    fn add(&mut self, took: Duration) {
        let step = STEPS.iter().position(|step| took <= Duration::from_millis(*step)).unwrap_or(STEPS.len());
        self.counts[step] += 1;
        self.sum += took;
        self.longest = self.longest.max(took);
    }
}

/// The measurements of one archive.
#[derive(Debug, Default)]
pub(super) struct Delays {
    state: Mutex<(Delay, Option<Instant>)>,
}

impl Delays {
    /// A commit is done whose oldest row waited for so long. Past the bound the operator is told, once a minute.
    pub(super) fn committed(&self, bridge: &str, took: Duration, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0.add(took);
        if took <= BOUND || state.1.is_some_and(|told| now.duration_since(told) < TOLD_EVERY) {
            return;
        }
        state.1 = Some(now);
        drop(state);
        let seconds = took.as_secs_f64();
        warn!(
            bridge,
            seconds,
            "what was said in rooms reached the disk late: a crash within that time loses it; is the disk too slow for this load?"
        );
    }

    pub(super) fn so_far(&self) -> Delay {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_counted_by_their_length() {
        let delays = Delays::default();
        for milliseconds in [50, 51, 900, 1_000, 1_001, 60_000] {
            delays.committed("rooms", Duration::from_millis(milliseconds), Instant::now());
        }
        let delay = delays.so_far();
        let steps: Vec<_> = delay.steps().collect();
        assert_eq!(
            steps,
            [(0.05, 1), (0.1, 2), (0.25, 2), (0.5, 2), (0.75, 2), (1.0, 4), (2.5, 5), (10.0, 5)],
            "each step counts what is below it too"
        );
        assert_eq!((delay.count(), delay.longest), (6, Duration::from_secs(60)));
        assert_eq!(delay.sum, Duration::from_millis(50 + 51 + 900 + 1_000 + 1_001 + 60_000));
    }

    #[test]
    fn a_late_commit_is_told_once_a_minute() {
        let delays = Delays::default();
        let start = Instant::now();
        let told = || delays.state.lock().expect("no panic").1;
        delays.committed("rooms", BOUND, start);
        assert_eq!(told(), None, "within the bound nothing is told");
        delays.committed("rooms", BOUND * 2, start);
        delays.committed("rooms", BOUND * 2, start + TOLD_EVERY / 2);
        assert_eq!(told(), Some(start));
        delays.committed("rooms", BOUND * 2, start + TOLD_EVERY);
        assert_eq!(told(), Some(start + TOLD_EVERY));
    }
}
