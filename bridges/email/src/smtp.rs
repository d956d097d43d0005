//! Hands mail to the relay (RFC 5321, or LMTP to a local MTA).

use isthmus_bridge::Finding;

use crate::config;

/// The way to the relay: a few pooled connections.
#[derive(Debug)]
pub(crate) struct Relay {
    config: config::Relay,
}

impl Relay {
    /// Opens nothing yet.
    pub(crate) fn new(config: config::Relay) -> Self {
        Self { config }
    }

    /// Is it there, does it take mail from us?
    pub(crate) async fn probe(&self) -> Vec<Finding> {
        let _ = &self.config;
        Vec::new()
    }
}
