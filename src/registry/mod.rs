//! Bridges built from configuration; supervisor of sessions. The only module that names networks.

pub mod sessions;
pub mod templates;

use std::fmt;
use std::sync::Arc;

use isthmus_bridge::{Bridge, Kind};

/// Every kind that this build knows. A new network is one line here and one in `Cargo.toml`.
pub fn kinds() -> Vec<Box<dyn Kind>> {
    vec![
        #[cfg(feature = "echo")]
        Box::new(isthmus_echo::EchoKind),
        #[cfg(feature = "email")]
        Box::new(isthmus_email::Email),
        #[cfg(feature = "sms")]
        Box::new(isthmus_sms::Sms),
        #[cfg(feature = "irc")]
        Box::new(isthmus_irc::Irc),
    ]
}

/// A bridge as it is configured.
#[derive(Clone)]
pub struct Instance {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The domain of its JIDs.
    pub domain: Arc<str>,
    /// The bridge itself.
    pub bridge: Arc<dyn Bridge>,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("name", &self.name).field("domain", &self.domain).finish_non_exhaustive()
    }
}
