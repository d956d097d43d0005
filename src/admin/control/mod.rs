//! What an administrator may ask of a running instance: one JSON object a line over `data_dir/control.sock`, answered by one.
//!
//! ```text
//! → {"verb":"queue-retry","args":{"id":"42"}}
//! ← {"ok":null}            or  {"error":"there is no event 42 in the queue"}
//! ```
//!
//! The socket belongs to the user that the gateway runs as, and nobody else can open it: that is its whole authentication.

mod client;
mod server;

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use client::{AskError, Client};
pub use server::{Claim, ClaimError};

/// The longest line on the socket, in bytes.
const MAX_LINE: usize = 1 << 20;

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", content = "args", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Request {
    /// Version and process id.
    Version,
    /// Links, sessions, queues.
    Status,
    /// What `isthmus check` would look at, seen from inside.
    Check,
    /// Registered users.
    Users {
        /// Of this bridge alone.
        bridge: Option<String>,
    },
    /// Registers a user with the values of the bridge's registration form.
    UserAdd {
        /// With this bridge.
        bridge: String,
        /// Whom.
        user: String,
        /// Form values.
        values: BTreeMap<String, String>,
    },
    /// Removes a user and all that is kept of them.
    UserRemove {
        /// From this bridge.
        bridge: String,
        /// Whom.
        user: String,
    },
    /// Runs a command for a user.
    UserAct(ActRequest),
    /// Contacts of users.
    Contacts {
        /// Of this bridge alone.
        bridge: Option<String>,
        /// Of this user alone.
        user: Option<String>,
    },
    /// What waits in the durable queue.
    Queue {
        /// Of this bridge alone.
        bridge: Option<String>,
    },
    /// Tries an event again now.
    QueueRetry {
        /// Its id.
        id: String,
    },
    /// Gives an event up; its sender is told.
    QueueCancel {
        /// Its id.
        id: String,
    },
    /// Sends one message.
    Send(SendRequest),
    /// Changes what is logged, until the next start.
    Level {
        /// As `log.level`.
        level: String,
    },
    /// A new key for secrets at rest.
    RotateKey,
    /// Reads the configuration again; bridges whose part changed start again.
    Reload,
    /// Orderly stop.
    Stop,
}

/// One message through a bridge, as if the user had sent it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendRequest {
    /// The bridge, by name.
    pub bridge: String,
    /// Whose message it is.
    pub user: String,
    /// The far side's address as a person types it.
    pub to: String,
    /// Subject, where the network has such.
    pub subject: Option<String>,
    /// The text.
    pub text: String,
}

impl std::fmt::Debug for SendRequest {
    /// Without the message.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendRequest").field("bridge", &self.bridge).field("user", &self.user).finish_non_exhaustive()
    }
}

/// A command of a bridge, run for a user, with all its forms filled in beforehand.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActRequest {
    /// The bridge, by name.
    pub bridge: String,
    /// For whom.
    pub user: String,
    /// The command's name.
    pub command: String,
    /// The network, room or contact that it is about, as a person types it; `None`: the gateway.
    pub at: Option<String>,
    /// Values of its forms' fields; one that is given several times has several.
    pub values: Vec<(String, String)>,
}

impl std::fmt::Debug for ActRequest {
    /// Without the values: there may be a password among them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { bridge, user, command, .. } = self;
        f.debug_struct("ActRequest")
            .field("bridge", bridge)
            .field("user", user)
            .field("command", command)
            .finish_non_exhaustive()
    }
}

/// What a command said at its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acted {
    /// Sentences.
    pub notes: Vec<String>,
    /// Titles of its table; empty where it has none.
    pub columns: Vec<String>,
    /// Rows of the table.
    pub rows: Vec<Vec<String>>,
}

/// What became of a [`SendRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendAnswer {
    /// Its id in the queue, on bridges that have one.
    pub id: Option<String>,
    /// One sentence: queued, or handed over.
    pub state: String,
}

/// A new key for secrets at rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotated {
    /// The new key's id; it says nothing about the key.
    pub id: String,
    /// Secrets that were sealed again under it.
    pub sealed: u64,
    /// Secrets that could not be opened, and stay as they are.
    pub damaged: u64,
}

/// Links, sessions, queues.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Of the running program.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Since its start.
    pub uptime_seconds: u64,
    /// In order of their names.
    pub bridges: Vec<BridgeStatus>,
}

/// State of a bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeStatus {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// The domain of its JIDs.
    pub domain: String,
    /// Whether the XMPP server has it attached now.
    pub attached: bool,
    /// Why not, or more about it.
    pub detail: Option<String>,
    /// Sessions that run.
    pub sessions: u64,
    /// Events that wait in the queue.
    pub waiting: u64,
}

/// A registered user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRow {
    /// With this bridge.
    pub bridge: String,
    /// Bare JID.
    pub user: String,
    /// What they are called on the far network.
    pub own: Option<String>,
    /// Since, in milliseconds of Unix time.
    pub since: Option<i64>,
}

/// A contact of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactRow {
    /// On this bridge.
    pub bridge: String,
    /// Whose.
    pub user: String,
    /// Its address, as people of the network write it.
    pub address: String,
    /// What the user calls it.
    pub name: Option<String>,
    /// Whether the user sees its presence.
    pub sees: bool,
    /// Whether it sees the user's.
    pub seen: bool,
}

/// An event of the queue; never its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueRow {
    /// For retry and cancel.
    pub id: String,
    /// The bridge.
    pub bridge: String,
    /// Who sent it.
    pub user: String,
    /// To whom.
    pub to: Vec<String>,
    /// `waiting`, `started`, `quarantined`, …
    pub state: String,
    /// Tries so far.
    pub attempts: u32,
    /// Accepted at, in milliseconds of Unix time.
    pub at: i64,
    /// Next try, in milliseconds of Unix time.
    pub next: Option<i64>,
    /// Why it is still here.
    pub reason: Option<String>,
}

/// A line of `isthmus check`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingRow {
    /// The bridge it is about.
    pub bridge: Option<String>,
    /// How bad.
    pub severity: Severity,
    /// What, in one sentence.
    pub what: String,
    /// What to do about it, in one sentence.
    pub remedy: Option<String>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// In order.
    Good,
    /// Works, but somebody should look.
    Warning,
    /// Does not work.
    Fault,
}

impl FindingRow {
    /// In order.
    pub fn good(bridge: Option<&str>, what: impl Into<String>) -> Self {
        Self { bridge: bridge.map(str::to_owned), severity: Severity::Good, what: what.into(), remedy: None }
    }

    /// Worth a look.
    pub fn warning(bridge: Option<&str>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::fault(bridge, what, remedy) }
    }

    /// Does not work.
    pub fn fault(bridge: Option<&str>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: Severity::Fault, remedy: Some(remedy.into()), ..Self::good(bridge, what) }
    }

    /// What a bridge's probe found.
    pub fn of(bridge: &str, finding: isthmus_bridge::Finding) -> Self {
        let severity = match finding.severity {
            isthmus_bridge::Severity::Good => Severity::Good,
            isthmus_bridge::Severity::Warning => Severity::Warning,
            _ => Severity::Fault,
        };
        Self { bridge: Some(bridge.to_owned()), severity, what: finding.what, remedy: finding.remedy }
    }
}

/// What stands in the database: asked of a running instance, or read directly where none runs. Errors are sentences for the administrator.
#[async_trait]
pub trait Records: Send + Sync {
    /// Registered users.
    async fn users(&self, bridge: Option<&str>) -> Result<Vec<UserRow>, String>;
    /// Removes a user and all that is kept of them.
    async fn user_remove(&self, bridge: &str, user: &str) -> Result<(), String>;
    /// Contacts of users.
    async fn contacts(&self, bridge: Option<&str>, user: Option<&str>) -> Result<Vec<ContactRow>, String>;
    /// What waits.
    async fn queue(&self, bridge: Option<&str>) -> Result<Vec<QueueRow>, String>;
    /// Tries an event again now.
    async fn queue_retry(&self, id: &str) -> Result<(), String>;
    /// Gives an event up.
    async fn queue_cancel(&self, id: &str) -> Result<(), String>;
}

/// A running instance, as the control socket asks it. Errors are sentences for the administrator.
#[async_trait]
pub trait Control: Records + 'static {
    /// Links, sessions, queues.
    async fn status(&self) -> Result<Status, String>;
    /// Links, grants, upload service, each bridge's probe.
    async fn check(&self) -> Result<Vec<FindingRow>, String>;
    /// Registers a user with the values of the bridge's registration form.
    async fn user_add(&self, bridge: &str, user: &str, values: BTreeMap<String, String>) -> Result<(), String>;
    /// Runs a command for a user.
    async fn user_act(&self, request: ActRequest) -> Result<Acted, String>;
    /// Sends one message.
    async fn send(&self, request: SendRequest) -> Result<SendAnswer, String>;
    /// Changes what is logged.
    async fn level(&self, level: &str) -> Result<(), String>;
    /// A new key for secrets at rest; what is sealed is sealed again.
    async fn rotate_key(&self) -> Result<Rotated, String>;
    /// Reads the configuration again.
    async fn reload(&self) -> Result<(), String>;
    /// Begins the orderly stop and returns.
    async fn stop(&self) -> Result<(), String>;
}

/// A line that answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Reply {
    Ok(Value),
    Error(String),
}

/// One request, done.
async fn answer(control: &dyn Control, request: Request) -> Result<Value, String> {
    fn value(made: impl Serialize) -> Result<Value, String> {
        serde_json::to_value(made).map_err(|e| e.to_string())
    }
    match request {
        Request::Version => value(crate::version()),
        Request::Status => value(control.status().await?),
        Request::Check => value(control.check().await?),
        Request::Users { bridge } => value(control.users(bridge.as_deref()).await?),
        Request::UserAdd { bridge, user, values } => value(control.user_add(&bridge, &user, values).await?),
        Request::UserRemove { bridge, user } => value(control.user_remove(&bridge, &user).await?),
        Request::UserAct(request) => value(control.user_act(request).await?),
        Request::Contacts { bridge, user } => value(control.contacts(bridge.as_deref(), user.as_deref()).await?),
        Request::Queue { bridge } => value(control.queue(bridge.as_deref()).await?),
        Request::QueueRetry { id } => value(control.queue_retry(&id).await?),
        Request::QueueCancel { id } => value(control.queue_cancel(&id).await?),
        Request::Send(request) => value(control.send(request).await?),
        Request::Level { level } => value(control.level(&level).await?),
        Request::RotateKey => value(control.rotate_key().await?),
        Request::Reload => value(control.reload().await?),
        Request::Stop => value(control.stop().await?),
    }
}

#[cfg(test)]
mod tests;
