//! Back-pressure towards the server: how many stanzas are in our hands and not yet committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// One stanza in our hands. Drop it when the stanza is handled: for a held message when it is committed, for
/// everything else when it has been passed on. While [`Limits::uncommitted`](super::Limits::uncommitted) of them are
/// out the link does not read.
#[derive(Debug)]
#[must_use = "a dropped permit says that the stanza is handled"]
pub struct Permit {
    counter: Arc<Counter>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.counter.out.fetch_sub(1, Ordering::AcqRel) == self.counter.limit {
            self.counter.below.notify_one();
        }
    }
}

/// Counts the permits of one link, over all its streams.
#[derive(Debug)]
pub(super) struct Counter {
    out: AtomicUsize,
    limit: usize,
    below: Notify,
}

impl Counter {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { out: AtomicUsize::new(0), limit: limit.max(1), below: Notify::new() })
    }

    pub(super) fn take(self: &Arc<Self>) -> Permit {
        self.out.fetch_add(1, Ordering::AcqRel);
        Permit { counter: Arc::clone(self) }
    }

    pub(super) fn is_full(&self) -> bool {
        self.out.load(Ordering::Acquire) >= self.limit
    }

    /// Ends when fewer permits are out than the limit. Only the reader waits, so one stored wake-up is enough.
    pub(super) async fn room(&self) {
        while self.is_full() {
            self.below.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_reader_waits_until_a_permit_comes_back() {
        let counter = Counter::new(2);
        let first = counter.take();
        let _second = counter.take();
        assert!(counter.is_full());
        let waiting = tokio::spawn({
            let counter = Arc::clone(&counter);
            async move { counter.room().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "went on with two permits of two out");
        drop(first);
        waiting.await.expect("the waiter panicked");
        assert!(!counter.is_full());
    }
}
