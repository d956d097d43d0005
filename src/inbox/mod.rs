//! The durable inbox: network → XMPP, for held bridges, and the core's own notices.
//!
//! States of a row: received → prepared (files uploaded, stanzas rendered) → sent → taken (the barrier came back) → done. The bridge
//! answers upstream only after `received` is committed. A stanza is sent again only on a new stream (or after a temporary bounce), oldest
//! first, with the same id and an XEP-0203 delay.
//!
//! | file | what |
//! |---|---|
//! | `types` | what comes in, what goes out, the traits that the gateway implements |
//! | `rows` | the tables: accept, prepare, send, take; retention |
//! | `bounce` | what the server took and gave back |
//! | `delay` | pure: the XEP-0203 stamp |
//! | `worker` | one task per bridge: prepares by user, sends in windows |

mod bounce;
mod delay;
mod late;
mod rows;
mod types;
mod worker;

pub use types::{InboxItem, Later, Prepare, Rendered, Returned, Wire, WireLost};

pub(crate) use rows::append_in;

use std::sync::Arc;

use futures_util::future::join_all;
use isthmus_bridge::{BareJid, Inbound, OnceKey, Refused, StoreError};
use tokio_util::sync::CancellationToken;

use crate::args;
use crate::outbox::Carry;
use crate::storage::{Queue, Store};

/// The inbox. Cheap to clone.
#[derive(Clone)]
pub struct Inbox {
    core: Arc<Core>,
}

pub(crate) struct Core {
    store: Store,
    carry: Arc<dyn Carry>,
    prepare: Arc<dyn Prepare>,
    wire: Arc<dyn Wire>,
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").finish_non_exhaustive()
    }
}

impl Inbox {
    /// An inbox over this store.
    pub fn new(store: Store, carry: Arc<dyn Carry>, prepare: Arc<dyn Prepare>, wire: Arc<dyn Wire>) -> Self {
        Self { core: Arc::new(Core { store, carry, prepare, wire }) }
    }

    /// Takes events; one result each, in order. `Ok` means on disk. A second copy (same `once` for the same user) is `Ok` and is not
    /// delivered again; this is remembered for 14 days.
    ///
    /// # Errors
    /// [`Refused::Later`]: the store did not take the event; the upstream should try again.
    pub async fn accept(&self, bridge: &str, events: Vec<Inbound>) -> Vec<Result<(), Refused>> {
        let taken = join_all(events.iter().map(|event| self.accept_one(bridge, event))).await;
        self.core.store.bell(Queue::Inbox, bridge).notify_one();
        taken
    }

    /// Whether an event of this name was taken for this user already.
    ///
    /// # Errors
    /// The store is away.
    pub async fn knows(&self, bridge: &str, user: &BareJid, once: &OnceKey) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM once WHERE bridge = $1 AND person = $2 AND once = $3";
        Ok(!self.core.store.read(sql, args![bridge, user.as_str(), once.as_str()]).await?.is_empty())
    }

    async fn accept_one(&self, bridge: &str, event: &Inbound) -> Result<(), Refused> {
        let network = self.core.carry.network(bridge, &event.from);
        let later = |error: StoreError| Refused::Later(error.to_string());
        let incoming = rows::Incoming::of(bridge, network.as_str(), event).map_err(later)?;
        self.core.store.write(incoming, |tx, incoming| Box::pin(rows::accept(tx, incoming))).await.map_err(later)
    }

    /// Takes a notice of the core's own for a user.
    ///
    /// # Errors
    /// It was not taken.
    pub async fn append(&self, bridge: &str, user: &BareJid, stanza: Rendered) -> Result<(), StoreError> {
        let data = (bridge.to_owned(), user.to_string(), stanza);
        let done =
            self.core.store.write(data, |tx, (bridge, user, stanza)| Box::pin(append_in(tx, bridge, user, stanza)));
        done.await?;
        self.core.store.bell(Queue::Inbox, bridge).notify_one();
        Ok(())
    }

    /// What waits for this user waits no longer: what was in its way is gone.
    ///
    /// # Errors
    /// Nothing was changed; it goes when its time comes.
    pub async fn hurry(&self, bridge: &str, user: &BareJid) -> Result<(), StoreError> {
        let data = (bridge.to_owned(), user.to_string());
        let done = self.core.store.write(data, |tx, (bridge, user)| Box::pin(rows::hurry(tx, bridge, user)));
        done.await?;
        self.core.store.bell(Queue::Inbox, bridge).notify_one();
        Ok(())
    }

    /// An error stanza came back for a stanza of ours that the server had taken. Temporary ones are sent again with growing pauses for
    /// 48 h; permanent ones end the row, and the bridge is told in the same commit ([`isthmus_bridge::Intent::Undelivered`]).
    /// Gives whether the stanza was one of this inbox's.
    ///
    /// # Errors
    /// Nothing was changed.
    pub async fn returned(&self, bridge: &str, error: Returned) -> Result<bool, StoreError> {
        let data = (bridge.to_owned(), error);
        let ours =
            self.core.store.write(data, |tx, (bridge, error)| Box::pin(bounce::returned(tx, bridge, error))).await?;
        if ours {
            self.core.store.bell(Queue::Inbox, bridge).notify_one();
            self.core.store.bell(Queue::Outbox, bridge).notify_one();
        }
        Ok(ours)
    }

    /// Works a bridge's inbox until `stop`; a batch that is on its way then is waited for up to 10 s. One such task per bridge.
    pub async fn run(&self, bridge: &str, stop: CancellationToken) {
        worker::run(self.core.clone(), bridge, stop).await;
    }

    /// What is not done yet, oldest first: of one bridge and user, or of all. `taken` rows, which only wait for a bounce, are left out.
    ///
    /// # Errors
    /// The store is away.
    pub async fn list(
        &self,
        bridge: Option<&str>,
        user: Option<&BareJid>,
        limit: u32,
    ) -> Result<Vec<InboxItem>, StoreError> {
        rows::list(&self.core.store, bridge.unwrap_or(""), user.map_or("", BareJid::as_str), limit).await
    }

    /// Removes what is past its time: taken rows after 48 h, the memory of copies and quarantined rows after 14 days. Small steps; call
    /// it every few minutes.
    ///
    /// # Errors
    /// The store is away; the next call goes on.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        rows::sweep(&self.core.store).await
    }
}

#[cfg(test)]
mod tests;
