//! What a bridge is and declares.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::address::{Addressing, BareJid};
use crate::command::{Call, Command, Step};
use crate::error::{BridgeError, DeliveryError, Failure, StoreError};
use crate::host::{Host, SessionOf};
use crate::import::Import;
use crate::inbox::Inbox;
use crate::section::{ConfigError, Section};
use crate::settings::Setting;
use crate::text::{Lang, Text};

/// A kind of bridge; one per crate. The registry of the core holds a list of them.
pub trait Kind: Send + Sync {
    /// `kind = "…"` in the configuration.
    fn name(&self) -> &str;

    /// Reads the bridge's section and builds it. Opens nothing: no socket, no file but those that the section names.
    fn build(&self, config: Section<'_>) -> Result<Arc<dyn Bridge>, Vec<ConfigError>>;

    /// Command-line verbs of its own (`isthmus sms check`).
    fn verbs(&self) -> &[Verb] {
        &[]
    }

    /// Programs whose data it can take over (`isthmus import <program> …`).
    fn imports(&self) -> &[&dyn Import] {
        &[]
    }
}

/// A command-line verb of a kind.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Verb {
    /// Its name.
    pub name: &'static str,
    /// One line of help.
    pub about: &'static str,
    /// Does it with the remaining arguments; `Ok` is printed, `Err` printed with exit code 1.
    pub run: fn(&[String]) -> Result<String, String>,
}

impl Verb {
    /// A verb, one line of help, and what it does.
    pub const fn new(name: &'static str, about: &'static str, run: fn(&[String]) -> Result<String, String>) -> Self {
        Self { name, about, run }
    }
}

/// How a bridge carries outbound events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Mode {
    /// Carries at once or fails at once (IRC).
    Live,
    /// Has a durable queue (mail, texts).
    Held,
}

/// The answer to a user's wish to see a contact's presence.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Contacts {
    /// Accepted at once.
    AcceptAll,
    /// Accepted at once, and the network knows who is there: a session that runs is told whom to watch from now on, and whom no more
    /// ([`Intent::Subscribe`](crate::Intent::Subscribe), [`Intent::Unsubscribe`](crate::Intent::Unsubscribe)); of whom it has said nothing
    /// ([`Event::Presence`](crate::Event::Presence)) counts as not there.
    Watched,
    /// The far side is asked ([`Intent::Subscribe`](crate::Intent::Subscribe)).
    Ask,
    /// Refused, with the reason.
    Refuse(Text),
}

/// Whether a user has to register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Registration {
    /// There is nothing to register.
    None,
    /// Before anything else.
    Required,
}

/// What a bridge can do. The core degrades or refuses by it, once, for all bridges.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Profile {
    /// disco#info identity: category `gateway`, this type (`irc`, `smtp`, `sms`).
    pub gateway_type: &'static str,
    /// Name for people, in disco and vCards.
    pub title: String,
    /// Live or held.
    pub mode: Mode,
    /// Whether it has rooms (XEP-0045).
    pub rooms: bool,
    /// disco#info identity of the room service, where it has rooms: category `conference`, this type.
    pub rooms_type: &'static str,
    /// Whether it has several networks, each with a JID of its own.
    pub networks: bool,
    /// Registration.
    pub registration: Registration,
    /// Answer to subscriptions.
    pub contacts: Contacts,
    /// What contacts show as status, where the network has no presence.
    pub contact_status: Option<Text>,
    /// Text, at most, in bytes; longer ones are refused with `TooLong` before they reach the bridge.
    pub max_text: usize,
    /// Recipients of one event, at most.
    pub max_recipients: usize,
    /// Several messages of one user to the same recipients within this time become one event. The setting of this key (seconds) says how long; `None`: never.
    pub join_setting: Option<&'static str>,
    /// The far side reports delivery ([`Late::Delivered`](crate::Late::Delivered)): 0184 is announced on contacts.
    pub receipts: bool,
    /// Typing is carried.
    pub typing: bool,
    /// Markers are carried (`displayed`).
    pub markers: bool,
    /// Reactions are carried; otherwise they are dropped.
    pub reactions: bool,
    /// Corrections are carried as such; otherwise they become a message that begins with `correction_prefix`.
    pub corrections: bool,
    /// What a degraded correction begins with.
    pub correction_prefix: &'static str,
    /// Retractions are carried; otherwise the user is told that the message was not withdrawn.
    pub retractions: bool,
    /// Replies are carried as such; otherwise the answered words are quoted in the text.
    pub replies: bool,
    /// Files are carried ([`Message::files`](crate::Message::files)); otherwise their links stay in the text.
    pub files: bool,
    /// The same event sent twice under the same key arrives once.
    pub idempotent: bool,
    /// Held: a temporary failure is tried again for this long.
    pub retry_for: Duration,
    /// Held: the sender is told that it is still being tried after this time.
    pub notice_after: Option<Duration>,
    /// A delivery that is not answered by then counts as unknown.
    pub answer_within: Duration,
    /// Inbound events of a contact for a user within one hour, at most; 0: no bound.
    pub inbound_per_hour: u32,
}

impl Profile {
    /// A live bridge that carries texts between persons and nothing else.
    pub fn live(gateway_type: &'static str, title: impl Into<String>) -> Self {
        Self {
            gateway_type,
            title: title.into(),
            mode: Mode::Live,
            rooms: false,
            rooms_type: gateway_type,
            networks: false,
            registration: Registration::None,
            contacts: Contacts::AcceptAll,
            contact_status: None,
            max_text: 64 * 1024,
            max_recipients: 1,
            join_setting: None,
            receipts: false,
            typing: false,
            markers: false,
            reactions: false,
            corrections: false,
            correction_prefix: "* ",
            retractions: false,
            replies: false,
            files: false,
            idempotent: false,
            retry_for: Duration::ZERO,
            notice_after: None,
            answer_within: Duration::from_secs(60),
            inbound_per_hour: 0,
        }
    }

    /// A held bridge that carries texts between persons and tries for two days.
    pub fn held(gateway_type: &'static str, title: impl Into<String>) -> Self {
        Self {
            mode: Mode::Held,
            retry_for: Duration::from_secs(2 * 24 * 3600),
            notice_after: Some(Duration::from_secs(3600)),
            answer_within: Duration::from_secs(600),
            ..Self::live(gateway_type, title)
        }
    }
}

/// What a connection can carry of what the [`Profile`] says the bridge can: a server that was reached may not have all of it.
/// See [`Gateway::able`](crate::Gateway::able).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Abilities {
    /// [`Intent::Typing`](crate::Intent::Typing).
    pub typing: bool,
    /// [`Intent::Mark`](crate::Intent::Mark).
    pub markers: bool,
    /// [`Intent::React`](crate::Intent::React).
    pub reactions: bool,
    /// [`Message::replaces`](crate::Message::replaces).
    pub corrections: bool,
    /// [`Intent::Retract`](crate::Intent::Retract).
    pub retractions: bool,
    /// [`Message::reply_to`](crate::Message::reply_to).
    pub replies: bool,
}

impl Abilities {
    /// All that the profile has.
    pub fn of(profile: &Profile) -> Self {
        Self {
            typing: profile.typing,
            markers: profile.markers,
            reactions: profile.reactions,
            corrections: profile.corrections,
            retractions: profile.retractions,
            replies: profile.replies,
        }
    }

    /// What both have.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            typing: self.typing && other.typing,
            markers: self.markers && other.markers,
            reactions: self.reactions && other.reactions,
            corrections: self.corrections && other.corrections,
            retractions: self.retractions && other.retractions,
            replies: self.replies && other.replies,
        }
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Severity {
    /// In order.
    Good,
    /// Works, but somebody should look.
    Warning,
    /// Does not work.
    Fault,
}

/// What `isthmus check` found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// What, in one sentence.
    pub what: String,
    /// What to do about it, in one sentence.
    pub remedy: Option<String>,
}

impl Finding {
    /// All is well.
    pub fn good(what: impl Into<String>) -> Self {
        Self { severity: Severity::Good, what: what.into(), remedy: None }
    }

    /// Something does not work; this mends it.
    pub fn fault(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: Severity::Fault, what: what.into(), remedy: Some(remedy.into()) }
    }

    /// Something is worth a look; this mends it.
    pub fn warning(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::fault(what, remedy) }
    }
}

/// A bridge: one kind of network, configured once, serving all users of one domain.
#[async_trait]
pub trait Bridge: Send + Sync + 'static {
    /// What it can do. Constant while it runs.
    fn profile(&self) -> &Profile;

    /// Its addresses. Constant while it runs.
    fn addressing(&self) -> &dyn Addressing;

    /// One user's presence on one network: reads `inbox` until it gives `None`, owns its sockets, answers every ticket.
    /// Started by the first work (or at the start of the gateway, where [`persistent`](crate::Gateway::persistent)); may return when idle.
    /// A panic, an error or a hang ends this session only.
    async fn session(&self, of: SessionOf, inbox: Inbox, host: Host) -> Result<(), BridgeError>;

    /// What is shared by all sessions (a listener, say), from the start of the gateway until `stop`.
    async fn serve(&self, _host: Host, stop: CancellationToken) -> Result<(), BridgeError> {
        stop.cancelled().await;
        Ok(())
    }

    /// Sessions that are to run from the start of the gateway, without any work for them: those whose users want to stay connected, by what the
    /// bridge keeps itself. The core starts them one by one, each with a [`Work::SettingsChanged`](crate::Work::SettingsChanged) of its network.
    async fn kept(&self, _host: &Host) -> Result<Vec<SessionOf>, StoreError> {
        Ok(Vec::new())
    }

    /// Rooms of an XMPP server (XEP-0045) in which the core itself takes part for this bridge (held bridges only). Each counts as a registered user
    /// who may send: an [`Inbound`](crate::Inbound) message to it is said in the room, with the contact in front, and what an occupant says to a
    /// contact there (`contact: words`, or an XEP-0461 reply) becomes an [`Outbound`](crate::Outbound) of the room's. Constant while it runs.
    fn guest_in(&self) -> Vec<BareJid> {
        Vec::new()
    }

    /// A request under `/hooks/<bridge name>/`; the core has bounded its size.
    async fn webhook(&self, _request: http::Request<Bytes>, _host: &Host) -> http::Response<Bytes> {
        let mut response = http::Response::new(Bytes::new());
        *response.status_mut() = http::StatusCode::NOT_FOUND;
        response
    }

    /// Its settings.
    fn settings(&self) -> &[Setting] {
        &[]
    }

    /// What the network's directory can be searched by, as fields of XEP-0055 (`first`, `last`, `nick`, `email`); none where it has no directory. A
    /// search is a [`Query::Search`](crate::Query::Search) to the user's session, answered by a [`Part::Facts`](crate::Part::Facts) for each person
    /// found: these fields, and `contact`, the person's [`ContactId`](crate::ContactId).
    fn directory(&self) -> &[&'static str] {
        &[]
    }

    /// Its commands, beyond those that the core has for every bridge. The one of node `register`, if declared, is shown as registration
    /// too (XEP-0077); when it is done the core records the user as registered.
    fn commands(&self) -> &[Command] {
        &[]
    }

    /// One step of one of its commands.
    async fn step(&self, call: Call, _host: &Host) -> Result<Step, DeliveryError> {
        Err(DeliveryError::new(Failure::Unsupported, Text::key("no-such-command").with("command", call.node)))
    }

    /// The user has unregistered or asked to be forgotten: ends what the bridge holds of them beyond the core's own store.
    async fn forget(&self, _user: &BareJid, _host: &Host) -> Result<(), DeliveryError> {
        Ok(())
    }

    /// Translation files: one per language, lines of `key = words with {placeholders}`.
    fn texts(&self) -> &[(Lang, &str)] {
        &[]
    }

    /// Looks after what lies outside (`isthmus check` only; never before attaching): is the relay there, does it take mail?
    async fn probe(&self) -> Vec<Finding> {
        Vec::new()
    }
}
