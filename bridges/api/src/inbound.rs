//! Network → XMPP.

use std::time::SystemTime;

use crate::address::{Address, BareJid, ContactId, RoomId};
use crate::host::MessageRef;
use crate::message::{BlobId, DeliveryKey, ForeignMessageId, Message, OnceKey};
use crate::text::Text;

/// Whether somebody is waiting for it now, or it is history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Origin {
    /// As it happens.
    #[default]
    Live,
    /// Fetched later (history): archived, not delivered.
    Backlog,
}

/// One event for an XMPP user.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Inbound {
    /// For whom.
    pub to: BareJid,
    /// From whom or where.
    pub from: Address,
    /// What.
    pub event: Event,
    /// When it happened on the far network.
    pub at: SystemTime,
    /// Live or history.
    pub origin: Origin,
    /// The network's id of it.
    pub id: Option<ForeignMessageId>,
    /// What makes a second copy (held bridges only).
    pub once: Option<OnceKey>,
    /// The outbound event that this is the network's own copy of, and which part of it (0-based).
    pub echo_of: Option<(DeliveryKey, u16)>,
    /// A server of the user's own choice says so, which nobody else has reason to believe: it counts for this user alone. What is kept of it the
    /// core shows to nobody else, and takes no other message for the one that it names.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "std::ops::Not::not"))]
    pub apart: bool,
}

impl Inbound {
    /// A live event, happening now.
    pub fn new(to: BareJid, from: Address, event: Event) -> Self {
        let at = SystemTime::now();
        Self { to, from, event, at, origin: Origin::Live, id: None, once: None, echo_of: None, apart: false }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Event {
    /// A message.
    Message(Box<Message>),
    /// What the user said themselves to `from`, a contact, by other means than this gateway: another client of the network, say. The core shows it
    /// on their devices as sent by them, and never hands it to the bridge a second time.
    Sent(Box<Message>),
    /// The user's contact list on the network, whole; `from` is the network (or the gateway, where that is the network). The core finds out what
    /// changed since the last one and takes it into the user's roster. Contacts that stood in a list and stand in it no more go.
    ContactList(Vec<Listed>),
    /// The contact's picture: a file that [`Gateway::keep`](crate::Gateway::keep) has taken; `None`: they have none (any more).
    Photo(Option<BlobId>),
    /// The contact has read up to this message. In a room from the user's own nick: another program of theirs has shown it.
    Marked {
        /// Which.
        of: MessageRef,
    },
    /// The contact is typing, or has stopped.
    Typing {
        /// `true` while composing.
        on: bool,
        /// An occupant does so to this user alone, not to the room.
        #[cfg_attr(feature = "serde", serde(default))]
        private: bool,
    },
    /// Reactions came or went. What a user does themselves in a room is emitted too, with `echo_of`, as their words are. The core keeps the sets:
    /// a step that is told twice, by two sessions say, counts once.
    Reacted {
        /// To which message.
        of: MessageRef,
        /// Newly set.
        add: Vec<String>,
        /// Taken back.
        remove: Vec<String>,
    },
    /// A message was withdrawn; `from` is its author, or the room where a moderator did it. In a room the user's own too.
    Retracted {
        /// Which.
        of: MessageRef,
        /// By whom, if not by its author.
        by: Option<Address>,
        /// Why.
        reason: Option<String>,
    },
    /// A contact's presence.
    Presence {
        /// Reachable.
        available: bool,
        /// Away.
        away: bool,
        /// Status text.
        status: Option<Text>,
        /// Display name.
        nick: Option<String>,
    },
    /// Something happened in a room; `from` is the room or the occupant.
    Room(RoomChange),
    /// An invitation; `from` is who invites.
    Invited {
        /// Into which room.
        room: RoomId,
        /// Why.
        reason: Option<String>,
        /// Its password.
        password: Option<String>,
    },
    /// The contact asks to see the user's presence.
    SubscribeAsked {
        /// Words with the request.
        status: Option<String>,
    },
    /// The contact's answer to the user's request.
    SubscribeAnswered {
        /// Yes or no.
        accepted: bool,
        /// Why.
        reason: Option<Text>,
    },
    /// Words of the bridge for the user; shown as a message from `from` that nobody should answer automatically.
    Notice {
        /// The words.
        text: Text,
        /// The message that it is about.
        about: Option<MessageRef>,
        /// What the user can do about it: (command node, label, values filled in). Offered as buttons and as chat commands.
        actions: Vec<(String, Text, crate::settings::Values)>,
    },
}

/// A contact of a list that the network keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Listed {
    /// Who.
    pub contact: ContactId,
    /// What the user calls them there.
    pub name: Option<String>,
    /// Groups that the user has put them into.
    pub groups: Vec<String>,
}

impl Listed {
    /// A contact without a name and in no group.
    pub fn new(contact: ContactId) -> Self {
        Self { contact, name: None, groups: Vec::new() }
    }
}

/// What happened in a room. The room's state itself stands in the [`RoomView`](crate::room::RoomView), which the session has changed before it emits.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum RoomChange {
    /// The user is inside: occupants, subject and own nick are in the view. The ticket of the join is answered about then, not when the wish
    /// was sent.
    Joined,
    /// A join was refused whose ticket is answered already (one that the bridge repeats by itself, say). Where the ticket still waits,
    /// [`Ticket::failed`](crate::Ticket::failed) says it, and this is not emitted. Only a redirect is told by this before the ticket is failed:
    /// the user gets one error.
    Refused {
        /// Why.
        error: crate::error::DeliveryError,
        /// Where the network sends the user instead.
        redirect: Option<RoomId>,
    },
    /// Somebody entered; `from` is the occupant.
    Entered,
    /// Somebody left.
    Left {
        /// Parting words.
        status: Option<String>,
        /// How.
        how: Departure,
        /// Who did it to them.
        by: Option<String>,
    },
    /// Somebody has another nick; `from` has the old one.
    Renamed {
        /// The new one.
        nick: String,
    },
    /// Somebody's rank, away state or account changed; `from` is the occupant.
    Changed {
        /// Who did it.
        by: Option<String>,
    },
    /// Another subject.
    Subject {
        /// The words; empty for none.
        subject: String,
        /// Nick of who set it.
        by: Option<String>,
        /// When it was set.
        at: Option<SystemTime>,
    },
    /// The room's settings changed.
    Settings,
    /// [`RoomView::modes`](crate::room::RoomView::modes) are known only now, after the join. That is no change of the room, but ranks may mean another
    /// role: the core shows those anew whose role it is. [`Settings`](Self::Settings) does the same.
    Roles,
    /// The user is outside now, and not by their own wish: the connection broke, say ([`RoomView::left`](crate::room::RoomView::left) with the
    /// reason). A kick or ban of the user is [`Left`](Self::Left) with their own nick.
    Lost {
        /// Why.
        reason: Text,
        /// The network will be tried again by itself.
        coming_back: bool,
    },
    /// The room has another address from now on. The user is outside the old one ([`RoomView::left`](crate::room::RoomView::left)); whoever of
    /// their resources wants to go on enters the new one, which the session holds open for them.
    Moved {
        /// The new address.
        to: RoomId,
        /// Why.
        reason: Option<String>,
    },
}

/// How somebody left a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Departure {
    /// Left the room.
    Parted,
    /// Left the network.
    Quit,
    /// Thrown out.
    Kicked,
    /// Thrown out for good.
    Banned,
}
