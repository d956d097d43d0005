//! The answer that every delivery gets: exactly one outcome per leg.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use crate::address::ContactId;
use crate::error::{DeliveryError, StoreError};
use crate::message::{DeliveryKey, ForeignMessageId};

/// What became of an event for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Leg {
    /// Whose leg; `None` where the event had a single recipient.
    pub to: Option<ContactId>,
    /// The network's ids of what was sent, in order (one message may be N lines, segments or mails).
    pub ids: Vec<ForeignMessageId>,
    /// Handed over (not: delivered), or why not.
    pub result: Result<(), DeliveryError>,
}

impl Leg {
    /// Handed over under these ids.
    pub fn sent(to: Option<ContactId>, ids: Vec<ForeignMessageId>) -> Self {
        Self { to, ids, result: Ok(()) }
    }

    /// Not handed over.
    pub fn failed(to: Option<ContactId>, error: DeliveryError) -> Self {
        Self { to, ids: Vec::new(), result: Err(error) }
    }
}

/// What a ticket was answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Outcome {
    /// One entry per recipient (or a single one with `to: None` that speaks for all).
    Legs(Vec<Leg>),
    /// The bridge dropped the ticket: nobody knows what happened.
    Dropped,
}

/// Where tickets are answered; implemented by the core's outbox (held) and router (live), and by the suite's fake host.
#[async_trait]
pub trait TicketSink: Send + Sync + 'static {
    /// Commits that the first byte is about to leave. An error means that the lease was lost or the store is away: do not send.
    async fn starting(&self, key: &DeliveryKey, attempt: u32) -> Result<(), StoreError>;
    /// Whether [`starting`](Self::starting) has something to commit; where it has not, it is not called.
    fn commits(&self) -> bool {
        true
    }
    /// Takes the outcome; never waits. A settlement with an old attempt number is ignored (fencing).
    fn settle(&self, key: DeliveryKey, attempt: u32, outcome: Outcome);
}

/// The right, and the duty, to say what became of a [`Delivery`](crate::Delivery).
///
/// Law: call [`starting`](Self::starting) before the first byte that could reach the recipient, and answer once.
/// Dropped unanswered it settles as [`Outcome::Dropped`]: before `starting` that is safe to try again, after it the outcome is uncertain.
#[must_use = "a delivery must be answered"]
pub struct Ticket {
    key: DeliveryKey,
    attempt: u32,
    sink: Option<Arc<dyn TicketSink>>,
}

impl Ticket {
    /// A ticket for this event and try. Costs no allocation: the sink is shared.
    pub fn new(key: DeliveryKey, attempt: u32, sink: Arc<dyn TicketSink>) -> Self {
        Self { key, attempt, sink: Some(sink) }
    }

    /// The event's key.
    pub fn key(&self) -> &DeliveryKey {
        &self.key
    }

    /// Commits that sending begins. Until this returns `Ok`, nothing may leave; on an error drop the ticket and send nothing.
    pub async fn starting(&self) -> Result<(), StoreError> {
        match &self.sink {
            Some(sink) if sink.commits() => sink.starting(&self.key, self.attempt).await,
            _ => Ok(()),
        }
    }

    /// Whether [`starting`](Self::starting) has nothing to wait for, as with live events: it need not be called then.
    pub fn starts_at_once(&self) -> bool {
        self.sink.as_ref().is_none_or(|sink| !sink.commits())
    }

    /// One outcome per recipient.
    pub fn done(mut self, legs: Vec<Leg>) {
        self.settle(Outcome::Legs(legs));
    }

    /// All of it was handed over, under this id.
    pub fn sent(self, id: Option<ForeignMessageId>) {
        self.done(vec![Leg::sent(None, id.into_iter().collect())]);
    }

    /// None of it was handed over.
    pub fn failed(self, error: DeliveryError) {
        self.done(vec![Leg::failed(None, error)]);
    }

    fn settle(&mut self, outcome: Outcome) {
        if let Some(sink) = self.sink.take() {
            sink.settle(self.key.clone(), self.attempt, outcome);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.settle(Outcome::Dropped);
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("key", &self.key).field("attempt", &self.attempt).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "ticket_tests.rs"]
mod tests;
