//! Mail ↔ messages, pure: no clock, no store, no socket.

pub(crate) mod charset;
pub(crate) mod flowed;
pub(crate) mod inbound;
pub(crate) mod mime;
pub(crate) mod outbound;
pub(crate) mod quotes;
mod styling;
pub(crate) mod text;
mod wrap;
