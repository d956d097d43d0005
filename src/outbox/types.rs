//! What goes in, what comes out, and the traits that the gateway implements.

use std::time::Duration;

use isthmus_bridge::{
    Address, BareJid, ContactId, Delivery, DeliveryError, NetworkId, Outbound, Profile, SessionOf, Text,
};
use serde::{Deserialize, Serialize};

use crate::inbox::Rendered;

/// The `type` of the stanza that an event came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum StanzaKind {
    /// `chat`.
    #[default]
    Chat,
    /// `normal`, or none.
    Normal,
    /// `groupchat`.
    Groupchat,
}

/// The stanza that an event came from: all that is needed to speak about it later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// The bridge's name in the configuration.
    pub bridge: String,
    /// The full JID that sent.
    pub from_full: String,
    /// The JID that it was sent to, as written.
    pub to: String,
    /// The stanza's id.
    pub stanza_id: Option<String>,
    /// Its type.
    pub kind: StanzaKind,
    /// Its `xml:lang`.
    pub lang: Option<String>,
    /// It asked for a receipt (XEP-0184).
    pub wants_receipt: bool,
    /// It is markable (XEP-0333).
    pub wants_marker: bool,
    /// Its thread (XEP-0201).
    pub thread: Option<String>,
}

impl Sender {
    /// A chat message without any wishes.
    pub fn new(bridge: impl Into<String>, from_full: impl Into<String>, to: impl Into<String>) -> Self {
        Self {
            bridge: bridge.into(),
            from_full: from_full.into(),
            to: to.into(),
            stanza_id: None,
            kind: StanzaKind::Chat,
            lang: None,
            wants_receipt: false,
            wants_marker: false,
            thread: None,
        }
    }
}

/// What the sender is told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum News {
    /// It did not arrive, for good. `leg` names the recipient where there were several.
    Failed {
        /// Whose leg.
        leg: Option<ContactId>,
        /// Why.
        error: DeliveryError,
    },
    /// It may or may not have been sent, and is not tried again.
    MaybeSent {
        /// Whose leg.
        leg: Option<ContactId>,
    },
    /// The bridge broke on it three times; it is not tried again and was not sent.
    Quarantined,
    /// It has not been handed over yet and goes on being tried.
    StillTrying {
        /// Why the last try failed.
        error: DeliveryError,
        /// When it will be given up, in milliseconds since the epoch.
        until: i64,
    },
    /// It was cancelled before it was sent.
    Cancelled,
    /// The network has it and is slow.
    Delayed {
        /// Whose leg.
        leg: Option<ContactId>,
        /// In the network's words.
        reason: Text,
    },
    /// It arrived.
    Delivered {
        /// Whose leg.
        leg: Option<ContactId>,
        /// With this one it has arrived at all recipients.
        all: bool,
    },
    /// It was read.
    Displayed {
        /// Whose leg.
        leg: Option<ContactId>,
        /// With this one it has been read by all recipients.
        all: bool,
    },
}

/// News about an event, with all that [`Tell`] needs to put it into words.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Telling<'a> {
    /// The stanza that it is about.
    pub sender: &'a Sender,
    /// The event that was made of it. After it has ended, its text is cut to a few words.
    pub event: &'a Outbound,
    /// What happened.
    pub news: &'a News,
    /// When the event was accepted, in milliseconds since the epoch.
    pub accepted: i64,
    /// Now.
    pub now: i64,
    /// The full JID that sent is known to be available.
    pub online: bool,
    /// Unguessable and unique to this telling, `[a-z2-7]+`: for stanza ids.
    pub id: &'a str,
}

impl Telling<'_> {
    /// A failure known within 60 s, or while the resource is available, is a stanza error to the full JID; a later one a chat message
    /// to the bare JID, because servers silently discard errors to bare or offline JIDs.
    pub fn by_error(&self) -> bool {
        self.online || self.now - self.accepted <= 60_000
    }
}

/// Hands events to sessions and knows the bridges. Implemented by the gateway. Nothing here blocks.
pub trait Carry: Send + Sync + 'static {
    /// Gives a delivery to the session; hands it back where the session cannot take it now (then it is offered again soon).
    ///
    /// # Errors
    /// The delivery itself, untouched.
    fn carry(&self, bridge: &str, of: SessionOf, delivery: Box<Delivery>) -> Result<(), Box<Delivery>>;
    /// The bridge's profile; `None` where no such bridge is configured (its events wait).
    fn profile(&self, bridge: &str) -> Option<Profile>;
    /// The network that serves an address.
    fn network(&self, bridge: &str, address: &Address) -> NetworkId;
    /// How long messages of this user to this address are collected to become one; zero: not at all.
    fn join_window(&self, bridge: &str, user: &BareJid, at: &Address) -> Duration;
    /// Whether the resource is known to be available.
    fn is_online(&self, full_jid: &str) -> bool;
}

/// Puts news into stanzas for the sender. Pure: no clock, no store; it may run twice for one telling, of which one is kept.
pub trait Tell: Send + Sync + 'static {
    /// The stanzas, in order; none where nobody needs to know.
    fn tell(&self, about: &Telling<'_>) -> Vec<Rendered>;
}

/// What became of a wish to cancel, change or hurry an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withdrawn {
    /// It was still queued; it is cancelled, changed, or due now.
    Queued,
    /// It has been sent, or sending has begun.
    TooLate,
    /// There is no such event of this user.
    Unknown,
}

/// An event that waits, for people: `isthmus queue`, the user's `queue` command. Times are milliseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct QueueItem {
    /// Its key.
    pub key: String,
    /// Which bridge.
    pub bridge: String,
    /// Whose.
    pub user: String,
    /// The JID that it was sent to; empty for what the core itself sends.
    pub to: String,
    /// The stanza's id.
    pub stanza_id: Option<String>,
    /// `queued`, `claimed` (the bridge has it) or `started` (being sent).
    pub state: &'static str,
    /// When it was accepted.
    pub accepted: i64,
    /// When it is tried next.
    pub due: i64,
    /// Tries that failed.
    pub tries: i64,
    /// Why the last one failed.
    pub reason: Option<Text>,
}
