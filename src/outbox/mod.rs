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
//! | `settle` | what an outcome does to the rows |
//! | `late` | what is told after the handing over; the message map |
//! | `list` | inspection, cancelling, changing what is still queued |
//! | `worker` | one task per bridge: leases lanes, hands them to the bridge, waits for the answers |

mod types;

pub use types::{Carry, News, QueueItem, Sender, StanzaKind, Tell, Telling, Withdrawn};
