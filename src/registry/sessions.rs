//! The supervisor: one task per session, started by its first work, started again with back-off when it fails. A bridge that panics, hangs or
//! floods harms only its own session.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use isthmus_bridge::inbox::inbox;
use isthmus_bridge::{BareJid, Host, InboxSender, NetworkId, SessionOf, Work};
use smallvec::SmallVec;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, warn};

use super::Instance;
use crate::hash::Map;

/// How long a session may take to leave its network politely.
const GRACE: Duration = Duration::from_secs(10);
/// The first and the longest wait before a failed session is started again.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The sessions of one bridge.
#[derive(Clone)]
pub struct Sessions {
    shared: Arc<Shared>,
}

struct Shared {
    instance: Instance,
    host: Host,
    tasks: TaskTracker,
    stop: CancellationToken,
    running: Mutex<Table>,
}

/// The sessions, by user: how many one user has is asked at every join, and must not cost a walk through all of them.
#[derive(Default)]
struct Table(Map<BareJid, SmallVec<[(NetworkId, Running); 1]>>);

impl Table {
    fn get(&self, of: &SessionOf) -> Option<&Running> {
        self.0.get(&of.user)?.iter().find(|(network, _)| *network == of.network).map(|(_, session)| session)
    }

    fn get_mut(&mut self, of: &SessionOf) -> Option<&mut Running> {
        self.0.get_mut(&of.user)?.iter_mut().find(|(network, _)| *network == of.network).map(|(_, session)| session)
    }

    fn insert(&mut self, of: &SessionOf, session: Running) {
        match self.get_mut(of) {
            Some(old) => *old = session,
            None => self.0.entry(of.user.clone()).or_default().push((of.network.clone(), session)),
        }
    }

    fn remove(&mut self, of: &SessionOf) {
        if let Some(own) = self.0.get_mut(&of.user) {
            own.retain(|(network, _)| *network != of.network);
            if own.is_empty() {
                self.0.remove(&of.user);
            }
        }
    }
}

struct Running {
    inbox: InboxSender,
    /// Ends this session alone.
    end: CancellationToken,
    /// What most sessions never have.
    trouble: Option<Box<Trouble>>,
}

#[derive(Clone, Copy, Default)]
struct Trouble {
    /// How often it failed in a row, and when it may start again.
    failures: u32,
    not_before: Option<Instant>,
    /// It is not to be started again for what it leaves.
    dismissed: bool,
}

impl Running {
    fn trouble(&self) -> Trouble {
        self.trouble.as_deref().copied().unwrap_or_default()
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").field("bridge", &self.shared.instance.name).field("running", &self.len()).finish()
    }
}

impl Sessions {
    /// No session yet. `tasks` owns every task that is started; `stop` ends them all.
    pub fn new(instance: Instance, host: Host, tasks: TaskTracker, stop: CancellationToken) -> Self {
        Self { shared: Arc::new(Shared { instance, host, tasks, stop, running: Mutex::default() }) }
    }

    /// Hands work to a session, starting it if need be. `Err` gives the work back: the session's queue is full, or it failed a moment ago and waits.
    pub fn push(&self, of: &SessionOf, work: Work) -> Result<(), Work> {
        if self.shared.stop.is_cancelled() {
            return Err(work);
        }
        let mut running = self.shared.lock();
        match running.get(of) {
            Some(session) if !session.inbox.is_closed() => return session.inbox.push(work),
            Some(session) if session.trouble().not_before.is_some_and(|at| Instant::now() < at) => return Err(work),
            _ => {}
        }
        let failures = running.get(of).map_or(0, |r| r.trouble().failures);
        let mut left = running.get(of).map(|r| r.inbox.take_back()).unwrap_or_default();
        left.push(work);
        let sender = self.shared.start(&mut running, of.clone(), failures);
        drop(running);
        let mut refused = None;
        for work in left {
            // A fresh queue takes what the old one held; only the last, the new work, can be one too many.
            refused = sender.push(work).err();
        }
        refused.map_or(Ok(()), Err)
    }

    /// Ends a session that no longer answers: its task is stopped, after the grace time aborted; the next work starts it anew.
    pub fn end(&self, of: &SessionOf) {
        if let Some(session) = self.shared.lock().get(of) {
            session.end.cancel();
        }
    }

    /// Ends a session for good: what it leaves in its queue is answered and starts nothing.
    pub fn dismiss(&self, of: &SessionOf) {
        let mut running = self.shared.lock();
        let Some(session) = running.get_mut(of) else { return };
        if session.inbox.is_closed() {
            running.remove(of); // it failed, and waits to be started again
        } else {
            session.trouble.get_or_insert_default().dismissed = true;
            session.end.cancel();
        }
    }

    /// Hands work to a session that runs; where none runs there is nobody to tell.
    pub fn tell(&self, of: &SessionOf, work: Work) {
        if let Some(session) = self.shared.lock().get(of).filter(|s| !s.inbox.is_closed()) {
            // A full queue: the session reads the setting when it next asks for it.
            drop(session.inbox.push(work));
        }
    }

    /// Whether there is such a session, also one that failed and is to be started again.
    pub fn has(&self, of: &SessionOf) -> bool {
        self.shared.lock().get(of).is_some()
    }

    /// Whether a session's task runs.
    pub fn runs(&self, of: &SessionOf) -> bool {
        self.shared.lock().get(of).is_some_and(|r| !r.inbox.is_closed())
    }

    /// A user's sessions.
    pub fn of(&self, user: &BareJid) -> Vec<SessionOf> {
        let running = self.shared.lock();
        let own = running.0.get(user).into_iter().flatten();
        own.map(|(network, _)| SessionOf::new(user.clone(), network.clone())).collect()
    }

    /// Users who have a session.
    pub fn users(&self) -> Vec<BareJid> {
        self.shared.lock().0.keys().cloned().collect()
    }

    /// Sessions whose task runs.
    pub fn len(&self) -> usize {
        self.shared.lock().0.values().flatten().filter(|(_, session)| !session.inbox.is_closed()).count()
    }

    /// No session runs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing that runs under this lock can panic half-way through a change.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(self: &Arc<Self>, running: &mut Table, of: SessionOf, failures: u32) -> InboxSender {
        let end = self.stop.child_token();
        let (sender, inbox) = inbox(end.clone());
        let trouble = (failures > 0).then(|| Box::new(Trouble { failures, ..Trouble::default() }));
        running.insert(&of, Running { inbox: sender.clone(), end: end.clone(), trouble });
        let shared = self.clone();
        let began = Instant::now();
        self.tasks.spawn(async move {
            let session = AssertUnwindSafe(shared.instance.bridge.session(of.clone(), inbox, shared.host.clone())).catch_unwind();
            let ended = tokio::select! {
                ended = session => ended,
                // The timer is boxed: it is never needed, and would stand in every session's task.
                () = async { end.cancelled().await; Box::pin(tokio::time::sleep(GRACE)).await } => {
                    warn!(bridge = %shared.instance.name, user = %of.user, network = %of.network, "a session did not stop in time and was aborted");
                    Ok(Ok(()))
                }
            };
            let failed = match ended {
                Ok(Ok(())) => false,
                Ok(Err(e)) => {
                    warn!(bridge = %shared.instance.name, user = %of.user, network = %of.network, error = %e, "a session failed");
                    true
                }
                Err(_panic) => {
                    error!(bridge = %shared.instance.name, user = %of.user, network = %of.network, "a session panicked");
                    true
                }
            };
            shared.ended(of, failed, began.elapsed());
        });
        sender
    }

    /// Books a session's end; what it left in its queue starts it again, after a failure with back-off.
    fn ended(self: &Arc<Self>, of: SessionOf, failed: bool, lasted: Duration) {
        let mut running = self.lock();
        // One that runs is another, which was started between the end of this one and now.
        let Some(session) = running.get_mut(&of).filter(|session| session.inbox.is_closed()) else { return };
        let left = session.inbox.take_back();
        if session.trouble().dismissed || !failed && left.is_empty() {
            running.remove(&of);
            drop(running); // and then what is left, which answers it
            debug!(bridge = %self.instance.name, user = %of.user, network = %of.network, "a session ended");
            return;
        }
        let before = session.trouble().failures;
        let failures = if failed && lasted < BACKOFF.1 { before + 1 } else { u32::from(failed) };
        let wait = if failed { backoff(failures) } else { Duration::ZERO };
        let not_before = Some(Instant::now() + wait);
        session.trouble = Some(Box::new(Trouble { failures, not_before, dismissed: false }));
        drop(running);
        if left.is_empty() || self.stop.is_cancelled() {
            return; // what is left is answered as unknown, outside of the lock
        }
        let shared = self.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = shared.stop.cancelled() => return, // dropping the work answers it as unknown
            }
            let mut running = shared.lock();
            let sender = match running.get(&of) {
                Some(session) if !session.inbox.is_closed() => session.inbox.clone(),
                _ => shared.start(&mut running, of, failures),
            };
            drop(running);
            for work in left {
                // What does not fit any more is dropped, and so answered as unknown.
                drop(sender.push(work));
            }
        });
    }
}

/// 1 s, 2 s, 4 s … 60 s.
fn backoff(failures: u32) -> Duration {
    BACKOFF.0.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(BACKOFF.1)
}

#[cfg(test)]
mod tests;
