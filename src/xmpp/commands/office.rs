//! What the rest of the core does for commands: queues, links, operation. Implemented by the gateway.

use std::time::SystemTime;

use async_trait::async_trait;
use isthmus_bridge::{BareJid, DeliveryKey, Lang, StoreError, Text};

use crate::access::{Pattern, Tier};
use crate::admin::control::Rotated;

/// An outbound event that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its name.
    pub key: DeliveryKey,
    /// Whose.
    pub user: BareJid,
    /// To whom, as people read it.
    pub to: String,
    /// Since when.
    pub since: SystemTime,
    /// Tries so far.
    pub tries: u32,
    /// Why it still waits, if there was a try.
    pub reason: Option<Text>,
    /// When it is tried next.
    pub next: Option<SystemTime>,
}

/// The state of a link, for administrators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Of what: the server, or a user's session.
    pub of: String,
    /// Its state.
    pub state: Text,
}

/// The rest of the core, as commands see it.
#[async_trait]
pub trait Office: Send + Sync {
    /// Whether the user has blocked this address at their own server (XEP-0191), as far as that may be read.
    fn blocks(&self, _user: &BareJid, _at: &isthmus_bridge::Address) -> bool {
        false
    }

    /// Whether this user is an administrator. From memory.
    fn is_admin(&self, user: &BareJid) -> bool;

    /// What the access rules make of this user. From memory.
    fn tier(&self, _user: &BareJid) -> Tier {
        Tier::User
    }

    /// The access rules in their order: pattern, tier, and whether an administrator gave it by command.
    async fn rules(&self) -> Result<Vec<(String, Tier, bool)>, StoreError> {
        Ok(Vec::new())
    }

    /// Gives a rule in front of the others, or takes one away that was given so; `false` where there is none.
    async fn set_rule(&self, _pattern: &Pattern, _tier: Option<Tier>) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// What waits in the outbox: a user's, or everybody's. The oldest first, at most 100.
    async fn waiting(&self, bridge: &str, user: Option<&BareJid>) -> Result<Vec<Waiting>, StoreError>;

    /// Takes an event out of the outbox; `false` where it is under way or gone. With a user: only if it is theirs.
    async fn cancel(&self, bridge: &str, user: Option<&BareJid>, key: &DeliveryKey) -> Result<bool, StoreError>;

    /// Tries an event now; `false` where it is under way or gone. With a user: only if it is theirs.
    async fn retry(&self, bridge: &str, user: Option<&BareJid>, key: &DeliveryKey) -> Result<bool, StoreError>;

    /// What a user has used of which limits: what, and how much of how much.
    async fn usage(&self, bridge: &str, user: &BareJid) -> Result<Vec<(Text, Text)>, StoreError>;

    /// Removes what the core's queues and message map hold of a user.
    async fn forget(&self, bridge: &str, user: &BareJid) -> Result<(), StoreError>;

    /// The link to the server and the sessions.
    async fn links(&self, bridge: &str, lang: &Lang) -> Vec<Link>;

    /// Sends a message from the gateway to these users; returns how many it went out to.
    async fn announce(&self, bridge: &str, to: &[BareJid], words: &str) -> Result<usize, StoreError>;

    /// The log's filter now.
    fn log_level(&self) -> String;

    /// Sets the log's filter; `Err` says what is wrong with it.
    fn set_log_level(&self, filter: &str) -> Result<(), String>;

    /// Whether the user's server lets the gateway write their bookmarks (XEP-0402).
    fn may_bookmark(&self, _user: &BareJid) -> bool {
        false
    }

    /// Puts a room among the user's bookmarks; `Err` says why not.
    async fn bookmark(
        &self,
        _user: &BareJid,
        _room: &isthmus_bridge::Address,
        _autojoin: bool,
        _nick: Option<&str>,
    ) -> Result<(), String> {
        Err("not granted".to_owned())
    }

    /// A new key for secrets at rest; what is sealed is sealed again.
    async fn rotate_key(&self) -> Result<Rotated, String> {
        Err("there is no key".to_owned())
    }

    /// Removes the exports that were [handed out](Self::hand_out) to this user.
    async fn forget_exports(&self, _user: &BareJid) -> Result<(), StoreError> {
        Ok(())
    }

    /// The largest stanza that the server takes, in bytes.
    fn largest_answer(&self) -> usize {
        256 << 10
    }

    /// The largest file that [`hand_out`](Self::hand_out) takes, in bytes.
    fn largest_file(&self) -> u64 {
        u64::MAX
    }

    /// Puts an export where the user can fetch it; `None` where there is no such place.
    async fn hand_out(&self, _user: &BareJid, _name: &str, _body: Vec<u8>) -> Option<String> {
        None
    }

    /// The program's version.
    fn version(&self) -> String;

    /// Reads the configuration again; `Ok` says what changed, `Err` what is wrong.
    async fn reload(&self) -> Result<String, String>;
}
