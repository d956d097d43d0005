//! What the process around the gateway gives it, and how the gateway ends.

use std::fmt;
use std::sync::Arc;

use isthmus_bridge::ConfigError;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::control::ClaimError;
use crate::config::Config;
use crate::storage::Clock;
use crate::xmpp::link::LinkError;

/// Reads the configuration, or tells its faults.
pub type Load = Arc<dyn Fn() -> Result<Config, Vec<ConfigError>> + Send + Sync>;

/// Changes what is logged (`log.level`), or says why not.
pub type SetLevel = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// Signals, service manager, logs: all that [`gateway::run`](crate::gateway::run) does not do itself.
#[derive(Clone)]
pub struct Outside {
    /// Cancelled by SIGINT and SIGTERM: begin the orderly stop.
    pub stop: CancellationToken,
    /// Notified by SIGHUP: read the configuration again with [`load`](Self::load).
    pub reload: Arc<Notify>,
    /// Reads the configuration from where it was read at the start.
    pub load: Load,
    /// Changes what is logged (`log.level`).
    pub level: SetLevel,
    /// The gateway's clock: the system's, but in tests.
    pub clock: Clock,
    /// To be called once, when every bridge has been started: tells the service manager.
    pub ready: Arc<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outside").field("stop", &self.stop.is_cancelled()).finish_non_exhaustive()
    }
}

/// Why the gateway ended, other than by an orderly stop. Each is a sentence for the operator and has its own exit code.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayEnd {
    /// The server refuses the secret or does not know the host.
    #[error("{0}")]
    Attach(LinkError),
    /// The data folder is not ours to use.
    #[error("{0}")]
    Claim(#[from] ClaimError),
    /// The store did not open.
    #[error("{0}")]
    Storage(String),
    /// Anything else (a port that is taken, say).
    #[error("{0}")]
    Failed(String),
}
