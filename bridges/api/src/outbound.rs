//! XMPP → network.

use std::time::SystemTime;

use crate::address::{Address, BareJid, ContactId, RoomId};
use crate::error::DeliveryError;
use crate::host::MessageRef;
use crate::message::{DeliveryKey, Message};
use crate::settings::Values;
use crate::text::Lang;
use crate::ticket::Ticket;

/// Who among several recipients somebody is (XEP-0033).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum RecipientKind {
    /// A main recipient.
    #[default]
    To,
    /// Gets a copy, and the others see it.
    Cc,
    /// Gets a copy that the others do not see.
    Bcc,
}

/// One recipient.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Recipient {
    /// Where it goes.
    pub address: Address,
    /// As what.
    pub kind: RecipientKind,
}

impl Recipient {
    /// A main recipient.
    pub fn to(address: Address) -> Self {
        Self { address, kind: RecipientKind::To }
    }

    /// A recipient of this kind.
    pub fn new(address: Address, kind: RecipientKind) -> Self {
        Self { address, kind }
    }
}

/// One event from an XMPP user.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Outbound {
    /// Its name, stable over every try.
    pub key: DeliveryKey,
    /// Keys of the events that were joined into this one (`key` is the first of them); empty where nothing was joined.
    pub joined: Vec<DeliveryKey>,
    /// Whose.
    pub user: BareJid,
    /// As whom on the far network, where the user chose among several identities.
    pub own: Option<ContactId>,
    /// To whom; never empty.
    pub to: Vec<Recipient>,
    /// The sender's language, for texts that come back.
    pub lang: Lang,
    /// When the user sent it, in milliseconds since the epoch.
    pub at: u64,
    /// 0 for the first try.
    pub attempt: u32,
    /// What.
    pub intent: Intent,
}

impl Outbound {
    /// An event to one address.
    pub fn new(key: DeliveryKey, user: BareJid, to: Address, intent: Intent) -> Self {
        Self {
            key,
            joined: Vec::new(),
            user,
            own: None,
            to: vec![Recipient::to(to)],
            lang: Lang::default(),
            at: 0,
            attempt: 0,
            intent,
        }
    }
}

/// What the user wants.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Intent {
    /// A message.
    Send(Box<Message>),
    /// The user has read up to this message (XEP-0333 `displayed`).
    Mark {
        /// Which; `None` where the network has no name for it.
        of: Option<MessageRef>,
        /// When it was said, as the core knows: for networks that mark times.
        at: Option<SystemTime>,
    },
    /// Typing or paused (XEP-0085).
    Typing {
        /// `true` while composing.
        on: bool,
    },
    /// The steps between the last set of reactions and this one (XEP-0444).
    React {
        /// To which message.
        of: MessageRef,
        /// Newly set.
        add: Vec<String>,
        /// Taken back.
        remove: Vec<String>,
    },
    /// Withdraws a message (XEP-0424).
    Retract {
        /// Which.
        of: MessageRef,
        /// Why.
        reason: Option<String>,
    },
    /// The user's presence over all resources.
    Presence {
        /// `false`: no resource is online.
        available: bool,
        /// Away, xa or dnd on all of them.
        away: bool,
        /// Status text.
        status: Option<String>,
    },
    /// Enter a room.
    Join {
        /// The nick asked for.
        nick: String,
        /// Its password.
        password: Option<String>,
    },
    /// Leave a room.
    Leave {
        /// Parting words.
        status: Option<String>,
    },
    /// Another nick.
    Rename {
        /// The new one.
        nick: String,
    },
    /// A room's subject.
    SetSubject {
        /// The new one; empty removes it.
        subject: String,
    },
    /// An occupant's or contact's role or affiliation, by the names of XEP-0045.
    SetRole {
        /// Nick or contact.
        who: Address,
        /// `moderator`, `participant`, `visitor`, …
        role: Option<String>,
        /// `owner`, `admin`, `member`, `none`; `outcast` bans them, however the network does that.
        affiliation: Option<String>,
        /// Why.
        reason: Option<String>,
    },
    /// Throw somebody out.
    Remove {
        /// Who.
        who: Address,
        /// Why.
        reason: Option<String>,
    },
    /// Ban or lift a ban, by address or by the network's mask.
    Ban {
        /// Whom, as shown in the list of bans.
        mask: String,
        /// `false` lifts it.
        on: bool,
        /// Why.
        reason: Option<String>,
    },
    /// Invite somebody into a room.
    Invite {
        /// Which room.
        room: RoomId,
        /// Whom.
        who: Address,
        /// Why.
        reason: Option<String>,
    },
    /// A room's configuration form, filled in.
    SetRoomConfig {
        /// Values by field.
        values: Values,
    },
    /// Asks to see a contact's presence.
    Subscribe {
        /// Words with the request.
        status: Option<String>,
    },
    /// Ends that.
    Unsubscribe,
    /// Nothing more from this contact.
    Block,
    /// Lifts that.
    Unblock,
    /// A line in the network's own language.
    Raw {
        /// One line, without CR, LF or NUL.
        line: String,
    },
    /// An inbound event that the user's server took and gave back for good.
    Undelivered {
        /// The event's own id on the far network.
        of: Option<ForeignId>,
        /// The bridge's [`OnceKey`](crate::OnceKey) of it.
        once: Option<crate::message::OnceKey>,
        /// What it said, where it was a message: for bridges that cannot send it back and keep it instead.
        #[cfg_attr(feature = "serde", serde(default))]
        said: Option<Box<Message>>,
        /// Why.
        error: DeliveryError,
    },
}

/// See [`crate::message::ForeignMessageId`].
pub type ForeignId = crate::message::ForeignMessageId;

/// An event with the ticket on which its outcome is told.
#[derive(Debug)]
#[non_exhaustive]
pub struct Delivery {
    /// What.
    pub event: Outbound,
    /// Where to answer. A ticket dropped unanswered counts as [`Failure::Unknown`](crate::Failure::Unknown).
    pub ticket: Ticket,
}

impl Delivery {
    /// Binds an event to its ticket.
    pub fn new(event: Outbound, ticket: Ticket) -> Self {
        Self { event, ticket }
    }
}
