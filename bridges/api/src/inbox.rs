//! The queue that a session reads its work from: bounded by bytes and by items, freed when empty.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::address::Address;
use crate::outbound::{Delivery, Intent};
use crate::query::{Query, Reply};

/// What a session is asked to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum Work {
    /// Carry an event.
    Deliver(Box<Delivery>),
    /// Answer a question.
    Ask(Box<Ask>),
    /// A setting that applies to this address has changed; read it again with [`Gateway::resolved`](crate::Gateway::resolved).
    SettingsChanged(Address),
}

/// A question and the way back. Dropped unanswered it answers [`Failure::Unknown`](crate::Failure::Unknown).
#[derive(Debug)]
#[non_exhaustive]
pub struct Ask {
    /// What.
    pub query: Query,
    /// The way back: any number of parts, then the end.
    pub reply: Reply,
}

impl Ask {
    /// Binds a question to its answer.
    pub fn new(query: Query, reply: Reply) -> Self {
        Self { query, reply }
    }
}

/// At least this many items fit, whatever their size (a delivery of 256 KiB must not block a session's queue for good).
const ITEMS: usize = 1_000;
/// Beyond [`ITEMS`], this many bytes.
const BYTES: usize = 256 * 1024;

struct Queue {
    items: VecDeque<Work>,
    bytes: usize,
    closed: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: wakeup::Notify,
}

mod wakeup {
    //! A single-waiter wake-up built on a cancellation token costs more than a queue entry; this one is a mutex and a waker.
    use std::sync::{Mutex, PoisonError};
    use std::task::{Context, Poll, Waker};

    #[derive(Default)]
    pub(super) struct Notify(Mutex<(bool, Option<Waker>)>);

    impl Notify {
        pub(super) fn notify(&self) {
            let waker = {
                let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                state.0 = true;
                state.1.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        }

        pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if std::mem::take(&mut state.0) {
                return Poll::Ready(());
            }
            match &mut state.1 {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            Poll::Pending
        }
    }
}

/// The reading end, owned by the session.
pub struct Inbox {
    shared: Arc<Shared>,
    stop: CancellationToken,
    /// Made when it is first waited for, and kept: to be told anew for each turn costs more than the turn.
    stopped: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

/// The writing end, owned by the core.
#[derive(Clone)]
pub struct InboxSender {
    shared: Arc<Shared>,
}

/// A queue and the token that stops its session. When `stop` fires, [`Inbox::recv`] gives what is queued and then `None`.
pub fn inbox(stop: CancellationToken) -> (InboxSender, Inbox) {
    let shared = Arc::new(Shared {
        queue: Mutex::new(Queue { items: VecDeque::new(), bytes: 0, closed: false }),
        wake: wakeup::Notify::default(),
    });
    (InboxSender { shared: shared.clone() }, Inbox { shared, stop, stopped: None })
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // A panic while the lock is held leaves the queue whole: every change below is a single push or pop.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InboxSender {
    /// Queues work, or gives it back: `Err` when the queue is full or the session has ended.
    pub fn push(&self, work: Work) -> Result<(), Work> {
        let size = weight(&work);
        {
            let mut queue = self.shared.lock();
            if queue.closed || (queue.items.len() >= ITEMS && queue.bytes + size > BYTES) {
                return Err(work);
            }
            queue.bytes += size;
            if queue.items.capacity() == 0 {
                queue.items.reserve(8); // so that it grows once for what comes together
            }
            queue.items.push_back(work);
        }
        self.shared.wake.notify();
        Ok(())
    }

    /// What a session left behind when it ended, in order; empty while it lives.
    pub fn take_back(&self) -> Vec<Work> {
        let mut queue = self.shared.lock();
        if !queue.closed {
            return Vec::new();
        }
        queue.bytes = 0;
        std::mem::take(&mut queue.items).into()
    }

    /// The session has dropped its end.
    pub fn is_closed(&self) -> bool {
        self.shared.lock().closed
    }

    /// Items waiting.
    pub fn len(&self) -> usize {
        self.shared.lock().items.len()
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Inbox {
    /// The next work; `None` when the session is to stop and nothing is queued any more.
    pub async fn recv(&mut self) -> Option<Work> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// The same for sessions that wait for several things at once without a future for each.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Work>> {
        loop {
            if let Some(work) = self.try_recv() {
                return Poll::Ready(Some(work));
            }
            if self.shared.wake.poll(cx).is_pending() {
                // What came between the two looks has fired the wake-up, or is older than the stop.
                return self.poll_stopped(cx).map(|()| self.try_recv());
            }
        }
    }

    /// Ready when the session is to end ([`stop`](Self::stop)).
    pub fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.stop.is_cancelled() {
            return Poll::Ready(());
        }
        let stop = &self.stop;
        self.stopped.get_or_insert_with(|| Box::pin(stop.clone().cancelled_owned())).as_mut().poll(cx)
    }

    /// The next work if there is any.
    pub fn try_recv(&mut self) -> Option<Work> {
        let mut queue = self.shared.lock();
        let work = queue.items.pop_front()?;
        queue.bytes -= weight(&work);
        if queue.items.is_empty() {
            queue.items = VecDeque::new(); // an idle session keeps no buffer
        }
        Some(work)
    }

    /// Fires when the session is to end: finish what is in hand, leave the network politely, return.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }
}

impl Drop for Inbox {
    /// What the session has not taken stays with the core ([`InboxSender::take_back`]): it goes to the next session, or is dropped with the
    /// queue, which answers its tickets and questions as unknown.
    fn drop(&mut self) {
        self.shared.lock().closed = true;
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("waiting", &self.shared.lock().items.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for InboxSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboxSender").field("waiting", &self.len()).finish_non_exhaustive()
    }
}

/// Bytes that an item holds, near enough: its text, and a flat price for the rest.
fn weight(work: &Work) -> usize {
    const FLAT: usize = 256;
    match work {
        Work::Deliver(delivery) => FLAT + text_of(&delivery.event.intent),
        Work::Ask(_) | Work::SettingsChanged(_) => FLAT,
    }
}

fn text_of(intent: &Intent) -> usize {
    match intent {
        Intent::Send(message) => message.body.len() + message.subject.as_ref().map_or(0, String::len),
        Intent::Raw { line } => line.len(),
        Intent::SetSubject { subject } => subject.len(),
        _ => 0,
    }
}

#[cfg(test)]
#[path = "inbox_tests.rs"]
mod tests;
