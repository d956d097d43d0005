//! The durable outbox: XMPP → network, for held bridges.
