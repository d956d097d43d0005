//! Files and environment; the only place that reads them.
//!
//! ```text
//! isthmus.toml ─┐
//! bridges/*.toml ┼─ sources (figment) ─ one tree, each value knows its origin ─ read ─ Config | every fault, with file, line and key
//! ISTHMUS_*  ───┘
//! ```

mod places;
mod read;
mod sources;
mod units;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use isthmus_bridge::{BareJid, Bridge, ConfigError, Kind};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use url::Url;

use crate::access::{Policy, Quotas};
pub use crate::archive::Retention;
use crate::settings::Scheme;
pub use crate::xmpp::link::Endpoint;
use crate::xmpp::link::{self, LinkConfig};

/// All that the administrator has decided.
#[derive(Debug)]
pub struct Config {
    /// The configuration folder.
    pub folder: PathBuf,
    /// Administrators.
    pub admins: Arc<[BareJid]>,
    /// What the program writes.
    pub data_dir: PathBuf,
    /// `server.domains`, normalised: whose users are local.
    pub domains: Arc<[String]>,
    /// Where the XMPP server listens; a bridge may have its own ([`BridgeConfig::server`]).
    pub server: Server,
    /// Where things are kept.
    pub database: Database,
    /// The HTTP listener.
    pub http: Http,
    /// Tiers, for what belongs to no bridge.
    pub access: Policy,
    /// Files carried as links.
    pub files: Files,
    /// How long what was said in rooms is kept.
    pub archive: Retention,
    /// Bounds.
    pub limits: Limits,
    /// Logs.
    pub log: Log,
    /// What seals secrets at rest.
    pub seal: Seal,
    /// How contact lists reach rosters.
    pub roster: RosterWay,
    /// Addresses that disco#info gives (XEP-0157): field name without `-addresses`, URIs.
    pub contact: Vec<(&'static str, Vec<String>)>,
    /// The bridges, in order of their names.
    pub bridges: Vec<BridgeConfig>,
}

/// Where the XMPP server listens for components.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Host and port, or a Unix socket.
    pub endpoint: Endpoint,
    /// TLS from the first byte, for a listener that speaks it.
    pub tls: Option<Tls>,
}

/// How the server's certificate is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Certificates to trust instead of the system's (PEM).
    pub ca_file: Option<PathBuf>,
    /// The name in the certificate; the host where absent.
    pub name: Option<String>,
}

/// Where things are kept.
#[derive(Debug, Clone)]
pub enum Database {
    /// An embedded file, absolute or relative to the working folder; created when missing.
    Sqlite(PathBuf),
    /// `postgres://user:password@host/database`; secret because of the password.
    Postgres(SecretString),
}

impl Database {
    /// The URL as [`storage`](crate::storage) opens it; may hold a password.
    pub fn url(&self) -> SecretString {
        match self {
            Self::Sqlite(path) => SecretString::from(format!("sqlite://{}", path.display())),
            Self::Postgres(url) => url.clone(),
        }
    }
}

/// The HTTP listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// Where it listens; `None`: nowhere (`listen = "off"`).
    pub listen: Option<SocketAddr>,
    /// The chain and the key (PEM) of a certificate of its own; without one it speaks plain HTTP.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// How it is reached from outside: needed for webhooks and for files that the gateway serves itself.
    pub public_url: Option<Url>,
}

/// Files carried as links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The upload service (XEP-0363); `None`: found by disco#items of the local domains.
    pub upload: Option<String>,
    /// Hosts from which links of users are fetched, besides the sender's own and those seen in slots.
    pub fetch_from: Vec<String>,
    /// The largest file carried, in bytes.
    pub max_size: u64,
    /// How long files that the gateway serves itself are kept.
    pub keep_for: Duration,
}

/// Bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The largest stanza read or written, in bytes. Prosody closes a component's stream at 512 KiB.
    pub max_stanza: usize,
    /// Sessions of one user over all bridges; 0 is no bound.
    pub sessions_per_user: u32,
    /// Sessions of all users over all bridges; 0 is no bound.
    pub total_sessions: u32,
}

/// How logs look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Human on a terminal, JSON otherwise.
    Auto,
    /// Lines for people.
    Human,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// The words of the configuration and the command line.
    pub const NAMES: [&'static str; 3] = ["auto", "human", "json"];

    /// The format of this word.
    pub fn by_name(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(Self::Auto),
            "human" => Some(Self::Human),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// How the contact lists of networks reach users' rosters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RosterWay {
    /// By privilege (XEP-0356) where the server grants it, else by XEP-0144, else by subscription requests.
    #[default]
    Auto,
    /// By XEP-0144, else by subscription requests.
    Exchange,
    /// By subscription requests.
    Subscribe,
    /// Not at all.
    Off,
}

impl RosterWay {
    /// The words of the configuration.
    pub const NAMES: [&'static str; 4] = ["auto", "exchange", "subscribe", "off"];

    /// The way of this word.
    pub fn by_name(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(Self::Auto),
            "exchange" => Some(Self::Exchange),
            "subscribe" => Some(Self::Subscribe),
            "off" => Some(Self::Off),
            _ => None,
        }
    }
}

/// Logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// How they look.
    pub format: LogFormat,
    /// What is logged: `info`, or by module as in `info,isthmus::xmpp::link=debug`.
    pub level: String,
}

/// What seals secrets at rest. Neither: a key file in [`Config::data_dir`], made at the first start.
#[derive(Debug, Clone, Default)]
pub struct Seal {
    /// `secrets.key_file`: where the key (or the keys, newest first) stands.
    pub key_file: Option<PathBuf>,
    /// `ISTHMUS_SECRETS__KEY`: the key itself.
    pub key: Option<SecretString>,
}

/// One bridge's part.
pub struct BridgeConfig {
    /// Its name: that of its file or table. Used in logs, in URLs of webhooks and on the command line.
    pub name: String,
    /// Which kind of bridge.
    pub kind: String,
    /// The domain of its JIDs, normalised.
    pub domain: String,
    /// The component's secret.
    pub secret: SecretString,
    /// Where this component attaches.
    pub server: Server,
    /// Tiers on this bridge: its own rules before the core's.
    pub access: Policy,
    /// Quotas on this bridge.
    pub quotas: Quotas,
    /// Its picture.
    pub avatar: Option<PathBuf>,
    /// Its settings, with what the administrator says of them (`[defaults]`, `[networks.<name>]`, `[locks]`).
    pub scheme: Scheme,
    /// The bridge, built from its section; it runs only when somebody starts it.
    pub bridge: Arc<dyn Bridge>,
    /// The bridge's own keys, which the core has not read (but for `[defaults]` and the like, where settings have their values). May hold secrets,
    /// so it is not in `Debug`.
    pub section: Map<String, Value>,
}

impl BridgeConfig {
    /// What this bridge's link needs; the certificates of a TLS link are read here.
    ///
    /// # Errors
    /// The CA file holds no certificate, or the name is none that a certificate could have; in words for the operator.
    pub fn link(&self, limits: &Limits) -> Result<LinkConfig, String> {
        let mut made = LinkConfig::new(self.domain.clone(), self.server.endpoint.clone(), self.secret.clone());
        made.limits.max_out = limits.max_stanza;
        made.limits.max_in = made.limits.max_in.max(limits.max_stanza);
        if let Some(tls) = &self.server.tls {
            let host = match (&tls.name, &self.server.endpoint) {
                (Some(name), _) => name.clone(),
                (None, Endpoint::Tcp { host, .. }) => host.clone(),
                (None, Endpoint::Unix(_)) => self.domain.clone(),
            };
            let name = host
                .clone()
                .try_into()
                .map_err(|_| format!("{host:?} is no name that a certificate can have (server.tls_name)"))?;
            made.tls = Some(link::Tls { config: link::tls_config(tls.ca_file.as_deref())?, name });
        }
        Ok(made)
    }

    /// Whether a bridge that runs by this part may go on running by `new` (reload).
    pub fn same(&self, new: &Self) -> bool {
        let secret = |c: &Self| c.secret.expose_secret().to_owned();
        (&self.name, &self.kind, &self.domain, &self.server) == (&new.name, &new.kind, &new.domain, &new.server)
            && self.section == new.section
            && self.avatar == new.avatar
            && secret(self) == secret(new)
    }
}

impl fmt::Debug for BridgeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BridgeConfig")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("domain", &self.domain)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// Reads a configuration folder (or the file `isthmus.toml`, which means its folder) under these environment variables, and builds the
    /// bridges out of `kinds`, the kinds of bridge that this program has. Either everything is in order, or every fault is told.
    pub fn load(
        path: &Path,
        environment: impl IntoIterator<Item = (String, String)>,
        kinds: &[Box<dyn Kind>],
    ) -> Result<Self, Vec<ConfigError>> {
        let (tree, places, mut errors) = sources::gather(path, environment.into_iter().collect())?;
        let config = read::config(tree, &places, kinds, &mut errors);
        errors.sort_by(|a, b| (&a.file, a.line, &a.key).cmp(&(&b.file, b.line, &b.key)));
        match config {
            Some(config) if errors.is_empty() => Ok(config),
            _ => Err(errors),
        }
    }

    /// The bridge of this name.
    pub fn bridge(&self, name: &str) -> Option<&BridgeConfig> {
        self.bridges.iter().find(|b| b.name == name)
    }

    /// Where a running instance listens for the command line.
    pub fn control_socket(&self) -> PathBuf {
        self.data_dir.join("control.sock")
    }
}

/// The program's variables of the process's environment; a name or value that is not Unicode is reported.
pub fn environment() -> io::Result<Vec<(String, String)>> {
    let mut ours = Vec::new();
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str().filter(|n| n.starts_with(sources::PREFIX)) else { continue };
        let value = value.into_string().map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidData, format!("the environment variable {name} is not valid UTF-8"))
        })?;
        ours.push((name.to_owned(), value));
    }
    Ok(ours)
}

/// The normalised domain of a JID, without local part, resource and port; `None` where it is none.
pub fn jid_domain(written: &str) -> Option<String> {
    if written.contains(['@', '/', ':', ' ']) || written.is_empty() {
        return None;
    }
    jid::DomainPart::new(written).ok().map(|d| d.as_str().to_lowercase())
}

/// Whether this is a level (or filter) of the log, else what is wrong and what is expected.
pub fn check_level(level: &str) -> Result<(), String> {
    let expected =
        "expected error, warn, info, debug or trace, or levels by module such as \"info,isthmus::xmpp=debug\"";
    let known = |l: &str| ["off", "error", "warn", "info", "debug", "trace"].contains(&l.to_ascii_lowercase().as_str());
    for part in level.split(',') {
        let (module, level) = part.trim().rsplit_once('=').unwrap_or(("isthmus", part.trim()));
        let named = !module.is_empty() && module.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'));
        if !named || !known(level) {
            return Err(format!("{part:?} is no level: {expected}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
