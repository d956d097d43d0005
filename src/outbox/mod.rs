//! The durable outbox: XMPP → network, for held bridges.
//!
//! An event is committed before a bridge sees it. A *lane* (user, recipients) is leased as a whole, so its order holds; one lane that
//! waits for a later try holds back no other. [`Ticket::starting`](isthmus_bridge::Ticket::starting) commits `started` before the first
//! byte leaves: what was only `claimed` when the process died is tried again, what was `started` is uncertain, and its sender gets one
//! message that it may not have been sent (unless the network takes an idempotency key: then it is tried again under the same key).
//! What [`Tell`] says about an event goes into the inbox in the same commit that ends the event: so it is said exactly once.
//!
//! | file | what |
//! |---|---|
//! | `types` | what goes in, what comes out, the traits that the gateway implements |
//! | `policy` | pure: when to try again, when to give up |
//! | `join` | pure: which queued messages become one event |
//! | `rows` | the table: accept, claim, start |
//! | `group` | accepting many at once |
//! | `settle` | what an outcome does to the rows |
//! | `late` | what is told after the handing over; the message map |
//! | `list` | inspection, cancelling, changing what is still queued |
//! | `worker` | one task per bridge: leases lanes, hands them to the bridge, waits for the answers |

mod forget;
mod group;
mod join;
pub(crate) mod json;
mod late;
mod list;
mod policy;
mod rows;
mod settle;
mod stanza;
mod types;
mod worker;

pub use stanza::StanzaOf;
pub use types::{Carry, News, QueueItem, Sender, StanzaKind, Tell, Telling, Withdrawn};

use std::sync::Arc;

use isthmus_bridge::{Outbound, StoreError};
use tokio_util::sync::CancellationToken;

use crate::storage::{Queue, Store, Tx};

/// The outbox. Cheap to clone.
#[derive(Clone)]
pub struct Outbox {
    core: Arc<Core>,
}

/// What every operation of the outbox needs.
pub(crate) struct Core {
    pub(crate) store: Store,
    pub(crate) carry: Arc<dyn Carry>,
    pub(crate) tell: Arc<dyn Tell>,
    accepting: Arc<group::Queue>,
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").finish_non_exhaustive()
    }
}

impl Outbox {
    /// An outbox over this store.
    pub fn new(store: Store, carry: Arc<dyn Carry>, tell: Arc<dyn Tell>) -> Self {
        Self { core: Arc::new(Core { store, carry, tell, accepting: Arc::default() }) }
    }

    /// Takes an event; it is on disk when this returns `Ok`. Many may wait here at once: they share a commit. An event whose key is
    /// already there is not taken twice.
    ///
    /// # Errors
    /// The event was not accepted.
    pub async fn accept(&self, sender: Sender, event: Outbound) -> Result<(), StoreError> {
        let bridge = sender.bridge.clone();
        self.put(&bridge, Some(sender), event).await
    }

    /// Takes an event of the core's own, of which nobody is told anything.
    ///
    /// # Errors
    /// The event was not accepted.
    pub async fn accept_own(&self, bridge: &str, event: Outbound) -> Result<(), StoreError> {
        self.put(bridge, None, event).await
    }

    async fn put(&self, bridge: &str, sender: Option<Sender>, event: Outbound) -> Result<(), StoreError> {
        let window = match event.to.first() {
            Some(to) if join::joinable(&event) => self.core.carry.join_window(bridge, &event.user, &to.address),
            Some(_) => std::time::Duration::ZERO,
            None => return Err(StoreError::Fault("an event without recipients".into())),
        };
        let new = rows::New::of(bridge, sender.as_ref(), &event, window)?;
        self.core.accepting.accept(&self.core.store, new).await?;
        self.core.store.bell(Queue::Outbox, bridge).notify_one();
        Ok(())
    }

    /// Works a bridge's queue until `stop`: then nothing new is begun, and what the sessions still answer within 10 s is recorded.
    /// One such task per bridge.
    pub async fn run(&self, bridge: &str, stop: CancellationToken) {
        worker::run(self.core.clone(), bridge, stop).await;
    }

    /// Removes what is past its time: the message map after `keep`, early outcomes after 24 h. Small steps; call it every few minutes.
    ///
    /// # Errors
    /// The store is away; the next call goes on.
    pub async fn sweep(&self, keep: std::time::Duration) -> Result<(), StoreError> {
        late::sweep(&self.core.store, keep).await
    }
}

/// Puts an event of the core's own into the outbox, in a commit that does something else too. The caller rings the bell.
pub(crate) async fn report(tx: &mut Tx, bridge: &str, event: &Outbound) -> Result<(), StoreError> {
    let new = rows::New::of(bridge, None, event, std::time::Duration::ZERO)?;
    rows::accept(tx, &new).await
}

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod tests;
