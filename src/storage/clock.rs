//! Time for the queues: the system's, or one that a test moves by hand.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

/// Milliseconds since the epoch, and waiting for them.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    manual: Option<watch::Sender<i64>>,
    /// Milliseconds by which it goes before the system's.
    ahead: Option<watch::Sender<i64>>,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that stands until [`advance`](Self::advance) moves it; for tests.
    pub fn manual(start: i64) -> Self {
        Self { manual: Some(watch::Sender::new(start)), ahead: None }
    }

    /// The system's, which [`advance`](Self::advance) moves on; for tests of a whole gateway.
    pub fn ahead() -> Self {
        Self { manual: None, ahead: Some(watch::Sender::new(0)) }
    }

    /// Whether it is the system's.
    pub fn is_system(&self) -> bool {
        self.manual.is_none() && self.ahead.is_none()
    }

    /// Now, in milliseconds since the epoch.
    pub fn now(&self) -> i64 {
        match &self.manual {
            Some(manual) => *manual.borrow(),
            None => millis(SystemTime::now()) + self.offset(),
        }
    }

    /// The same for spans of time.
    pub fn instant(&self) -> Instant {
        Instant::now() + Duration::from_millis(u64::try_from(self.offset()).unwrap_or(0))
    }

    fn offset(&self) -> i64 {
        self.ahead.as_ref().map_or(0, |ahead| *ahead.borrow())
    }

    /// Moves a clock of a test on; nothing on the system's.
    pub fn advance(&self, by: Duration) {
        for manual in [&self.manual, &self.ahead].into_iter().flatten() {
            manual.send_modify(|now| *now += by.as_millis() as i64);
        }
    }

    /// Returns when a span of time has passed, also where a test moves its clock on. Whoever sets the system's clock changes no span.
    pub async fn pass(&self, span: Duration) {
        let end = self.instant() + span;
        let mut moved = self.ahead.as_ref().map(watch::Sender::subscribe);
        loop {
            let left = end.saturating_duration_since(self.instant());
            if left.is_zero() {
                return;
            }
            match &mut moved {
                Some(moved) => tokio::select! {
                    () = tokio::time::sleep(left) => {}
                    // The sender lives in `self`, so waiting cannot fail.
                    _ = moved.changed() => {}
                },
                None => return tokio::time::sleep(left).await,
            }
        }
    }

    /// Returns when the clock shows `at` or later.
    pub async fn sleep_until(&self, at: i64) {
        match &self.manual {
            Some(manual) => {
                // The sender lives in `self`, so waiting cannot fail.
                let _ = manual.subscribe().wait_for(|now| *now >= at).await;
            }
            None => {
                let mut moved = self.ahead.as_ref().map(watch::Sender::subscribe);
                loop {
                    let wait = at.saturating_sub(self.now());
                    if wait <= 0 {
                        return;
                    }
                    let sleep = tokio::time::sleep(Duration::from_millis(wait.unsigned_abs()));
                    match &mut moved {
                        Some(moved) => tokio::select! {
                            () = sleep => {}
                            // The sender lives in `self`, so waiting cannot fail.
                            _ = moved.changed() => {}
                        },
                        None => sleep.await,
                    }
                }
            }
        }
    }
}

/// A time as the store writes it.
pub(crate) fn millis(at: SystemTime) -> i64 {
    match at.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
    }
}
