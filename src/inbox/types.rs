//! What comes in, what goes to the server, and the traits that the gateway implements.

use std::time::Duration;

use async_trait::async_trait;
use isthmus_bridge::Inbound;
use serde::Serialize;
use tokio::sync::watch;

/// A stanza as it is written to the server. `from`, `to` and `id` repeat what stands in `xml`, so that nobody has to parse it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// Its `from`: a JID of the bridge's domain.
    pub from: String,
    /// Its `to`.
    pub to: String,
    /// Its id: unguessable, and the same for ever; a bounce is recognised by it.
    pub id: String,
    /// All of it, in the namespace of the stream (no `xmlns` of its own).
    pub xml: Vec<u8>,
}

/// An event cannot be prepared now (the upload service is away, say).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Later {
    /// When to try again.
    pub after: Duration,
    /// Why, for the operator.
    pub why: String,
}

/// Makes stanzas of an event: uploads or serves its files, renders. Implemented by the gateway.
#[async_trait]
pub trait Prepare: Send + Sync + 'static {
    /// The stanzas of this event, in order; none where there is nothing to say. Their ids are derived from `row` (`[a-z2-7]+`, unguessable,
    /// the same at every call), so that a second run makes the same ones.
    ///
    /// # Errors
    /// [`Later`]: the event waits, and with it later ones for the same user.
    async fn prepare(&self, bridge: &str, row: &str, event: &Inbound) -> Result<Vec<Rendered>, Later>;
}

/// The stream ended before the barrier came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireLost {
    /// Nothing of the batch was written: there is no stream, or another one than that of the epoch.
    #[error("not attached")]
    NotWritten,
    /// The stream ended while the batch was not acknowledged; a stanza of it may be what ended it.
    #[error("the stream ended")]
    Ended,
}

/// Writes to the server. Implemented by the gateway on top of the link.
#[async_trait]
pub trait Wire: Send + Sync + 'static {
    /// The number of the stream that is attached now for the bridge's domain, if one is; every stream has another number.
    fn attached(&self, bridge: &str) -> watch::Receiver<Option<u64>>;
    /// Writes the batch and a barrier on the stream `epoch`; `Ok` when the barrier has come back, however long that takes while the stream lives.
    ///
    /// # Errors
    /// See [`WireLost`].
    async fn send(&self, bridge: &str, epoch: u64, batch: &[Rendered]) -> Result<(), WireLost>;
}

/// An error stanza that came back for a stanza of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Returned {
    /// The stanza's id.
    pub id: String,
    /// Who says so: the JID that the stanza was sent to, bare or full, or its domain.
    pub from: String,
    /// The defined condition (RFC 6120 8.3.3): `remote-server-timeout`.
    pub condition: String,
    /// The error's `type`: `wait`, `cancel`, …
    pub kind: String,
    /// Its words, if any.
    pub text: Option<String>,
}

/// An inbound event or notice that is not with the server yet, for people. Times are milliseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct InboxItem {
    /// The row's id.
    pub id: String,
    /// Which bridge.
    pub bridge: String,
    /// For whom.
    pub user: String,
    /// `received`, `prepared`, `sent`, `taken` or `quarantined`.
    pub state: &'static str,
    /// When it came.
    pub received: i64,
    /// When it is tried next.
    pub due: i64,
    /// Why it waits.
    pub reason: Option<String>,
}
