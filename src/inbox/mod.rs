//! The durable inbox: network → XMPP, for held bridges, and the core's own notices.
//!
//! States of a row: received → prepared (files uploaded, stanzas rendered) → sent → taken (the barrier came back) → done. The bridge
//! answers upstream only after `received` is committed. A stanza is sent again only on a new stream, oldest first, with the
//! same id and an XEP-0203 delay.

mod types;

pub use types::{InboxItem, Later, Prepare, Rendered, Returned, Wire, WireLost};
