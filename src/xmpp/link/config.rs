//! What a link needs to know.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

/// One link: one bridge domain at one server.
#[derive(Clone)]
pub struct LinkConfig {
    /// The domain that we attach as, in lower case.
    pub domain: String,
    /// Where the server listens for components.
    pub endpoint: Endpoint,
    /// The component's secret.
    pub secret: SecretString,
    /// TLS to the component port (ejabberd's `tls: true`, or a front); none by default.
    pub tls: Option<Tls>,
    /// Bounds on what we read and write.
    pub limits: Limits,
    /// When to ask whether the server is still there.
    pub keepalive: Keepalive,
    /// How long to wait between attempts.
    pub backoff: Backoff,
}

impl LinkConfig {
    /// A plain link with the default limits.
    #[must_use]
    pub fn new(domain: impl Into<String>, endpoint: Endpoint, secret: SecretString) -> Self {
        Self {
            domain: domain.into(),
            endpoint,
            secret,
            tls: None,
            limits: Limits::default(),
            keepalive: Keepalive::default(),
            backoff: Backoff::default(),
        }
    }
}

impl fmt::Debug for LinkConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkConfig")
            .field("domain", &self.domain)
            .field("endpoint", &self.endpoint)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

/// Where the server listens for components.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP port.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A Unix socket (ejabberd's `port: unix:…`, or a proxy).
    Unix(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// TLS from the first byte on.
#[derive(Clone)]
pub struct Tls {
    /// Trust anchors and protocol versions; see [`tls_config`](super::tls_config).
    pub config: Arc<rustls::ClientConfig>,
    /// The name that the certificate must have.
    pub name: rustls::pki_types::ServerName<'static>,
}

/// Bounds on one stanza, and on what waits to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one stanza from the server; what is longer is skipped and answered with `policy-violation`.
    pub max_in: usize,
    /// Bytes of one stanza to the server; what is longer is never written (Prosody closes the stream at 512 KiB).
    pub max_out: usize,
    /// Elements within one another in a stanza, itself included.
    pub depth: usize,
    /// Stanzas handed over and not yet committed at which reading pauses.
    pub uncommitted: usize,
    /// Bytes that one lane may have waiting.
    pub lane: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_in: 1 << 20, max_out: 256 << 10, depth: 100, uncommitted: 256, lane: 256 << 10 }
    }
}

/// When to ask whether the server is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence after which we send a ping that the server routes back to us.
    pub idle: Duration,
    /// Further silence after which the stream counts as lost.
    pub patience: Duration,
    /// How long the first trial ping that looks for the barrier's address may take to come back before another is
    /// sent; doubled for each further one.
    pub trial: Duration,
    /// How long connecting, and each step of the handshake, may take.
    pub attach: Duration,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(30),
            patience: Duration::from_secs(60),
            trial: Duration::from_secs(2),
            attach: Duration::from_secs(15),
        }
    }
}

/// Waiting between attempts: doubled each time, with jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), longest: Duration::from_secs(60) }
    }
}

impl Backoff {
    /// The wait before attempt `failures + 1`, with `chance` from 0 to 1 deciding the jitter: between half of the
    /// doubled time and all of it, so that many gateways do not come back in step.
    #[must_use]
    pub fn wait(&self, failures: u32, chance: f64) -> Duration {
        let full = self.first.saturating_mul(1u32.checked_shl(failures).unwrap_or(u32::MAX)).min(self.longest);
        full.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_limit_and_jitter_at_most_halves_it() {
        let backoff = Backoff::default();
        let table = [(0, 1), (1, 2), (2, 4), (5, 32), (6, 60), (31, 60), (32, 60), (u32::MAX, 60)];
        for (failures, seconds) in table {
            assert_eq!(backoff.wait(failures, 1.0), Duration::from_secs(seconds), "after {failures} failures");
            assert_eq!(backoff.wait(failures, 0.0), Duration::from_secs(seconds) / 2, "after {failures} failures");
        }
    }
}
