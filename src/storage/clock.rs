//! Time for the queues: the system's, or one that a test moves by hand.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

/// Milliseconds since the epoch, and waiting for them.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    manual: Option<watch::Sender<i64>>,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that stands until [`advance`](Self::advance) moves it; for tests.
    pub fn manual(start: i64) -> Self {
        Self { manual: Some(watch::Sender::new(start)) }
    }

    /// Whether it is the system's.
    pub fn is_system(&self) -> bool {
        self.manual.is_none()
    }

    /// Now, in milliseconds since the epoch.
    pub fn now(&self) -> i64 {
        match &self.manual {
            Some(manual) => *manual.borrow(),
            None => millis(SystemTime::now()),
        }
    }

    /// Moves a manual clock on; nothing on the system's.
    pub fn advance(&self, by: Duration) {
        if let Some(manual) = &self.manual {
            manual.send_modify(|now| *now += by.as_millis() as i64);
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
                let wait = at.saturating_sub(self.now()).max(0) as u64;
                tokio::time::sleep(Duration::from_millis(wait)).await;
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
