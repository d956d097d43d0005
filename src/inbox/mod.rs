//! The durable inbox: network → XMPP, for held bridges.
