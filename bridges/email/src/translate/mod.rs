//! Mail ↔ messages, pure: no clock, no store, no socket.

pub(crate) mod inbound;
pub(crate) mod outbound;
