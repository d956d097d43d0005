//! Flood control: a token bucket, computed when it is used; time is passed in.

use std::time::Duration;

use tokio::time::Instant;

/// How fast lines may go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// At once.
    pub(crate) burst: u32,
    /// One more after this time; zero: no bound.
    pub(crate) every: Duration,
}

impl Rate {
    /// No bound.
    pub(crate) const UNLIMITED: Self = Self { burst: 1, every: Duration::ZERO };
}

/// How many lines went out lately, as the time at which the bucket is full again (the "virtual scheduling" form of a leaky bucket).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    rate: Rate,
    full_at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub(crate) fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, full_at: now }
    }

    /// Another rate from now on; what is spent stays spent.
    pub(crate) fn set(&mut self, rate: Rate) {
        self.rate = rate;
    }

    /// When the last of so many lines goes out.
    pub(crate) fn end_of(&self, lines: u32, now: Instant) -> Instant {
        let depth = self.rate.every.saturating_mul(self.rate.burst.max(1));
        let full_at = self.full_at.max(now) + self.rate.every.saturating_mul(lines);
        full_at.checked_sub(depth).map_or(now, |at| at.max(now))
    }

    /// This many more are spent, whether they are there or not: what goes out as one and counts as several.
    pub(crate) fn spend(&mut self, tokens: u32, now: Instant) {
        self.full_at = self.full_at.max(now) + self.rate.every.saturating_mul(tokens);
    }

    /// Takes one token, or says when there is one.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let full_at = self.full_at.max(now);
        let depth = self.rate.every.saturating_mul(self.rate.burst.max(1) - 1);
        if full_at > now + depth {
            return Err(full_at - depth);
        }
        self.full_at = full_at + self.rate.every;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_one_at_a_time() {
        let start = Instant::now();
        let mut bucket = Bucket::new(Rate { burst: 3, every: Duration::from_secs(1) }, start);
        for _ in 0..3 {
            assert_eq!(bucket.take(start), Ok(()));
        }
        let next = bucket.take(start).expect_err("spent");
        assert_eq!(next, start + Duration::from_secs(1));
        assert_eq!(bucket.take(next), Ok(()));
        assert!(bucket.take(next).is_err());
        let later = start + Duration::from_secs(60);
        for _ in 0..3 {
            assert_eq!(bucket.take(later), Ok(()), "full again, and no fuller");
        }
        assert!(bucket.take(later).is_err());
    }

    #[test]
    fn when_a_queue_has_gone_out_is_known() {
        let start = Instant::now();
        let bucket = Bucket::new(Rate { burst: 3, every: Duration::from_secs(1) }, start);
        assert_eq!(bucket.end_of(3, start), start, "at once");
        assert_eq!(bucket.end_of(10, start), start + Duration::from_secs(7));
        let mut spent = bucket;
        for _ in 0..3 {
            assert_eq!(spent.take(start), Ok(()));
        }
        assert_eq!(spent.end_of(1, start), start + Duration::from_secs(1));
        assert_eq!(Bucket::new(Rate::UNLIMITED, start).end_of(1_000, start), start);
    }

    #[test]
    fn no_bound_is_no_bound() {
        let now = Instant::now();
        let mut bucket = Bucket::new(Rate::UNLIMITED, now);
        assert!((0..1_000).all(|_| bucket.take(now).is_ok()));
    }
}
