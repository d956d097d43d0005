//! Who and where: the XMPP user, the far network's persons and rooms, and the law between them and JIDs.

use std::{fmt, sync::Arc};

use crate::settings::Resolved;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[cfg_attr(feature = "serde", serde(transparent))]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the id as it is; whoever makes one has already brought it into its one spelling.
            pub fn new(id: impl Into<Arc<str>>) -> Self {
                Self(id.into())
            }

            /// The id itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(id: &str) -> Self {
                Self::new(id)
            }
        }

        impl From<String> for $name {
            fn from(id: String) -> Self {
                Self::new(id)
            }
        }
    };
}
pub(crate) use id;

id!(
    /// A bare JID (RFC 7622) in its normalised form, made by the core: `juliet@capulet.lit`.
    BareJid
);
id!(
    /// One network of a bridge; a bridge that serves a single one uses its own name.
    NetworkId
);
id!(
    /// A person on the far network, as the network names them (a mail address, a number, `nick%network`); opaque to the core.
    ContactId
);
id!(
    /// A room on the far network; opaque to the core.
    RoomId
);

/// Something a JID of the gateway's domain can mean.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Address {
    /// The domain itself.
    Gateway,
    /// A network of the bridge.
    Network(NetworkId),
    /// A person.
    Contact(ContactId),
    /// A room.
    Room(RoomId),
    /// A person in a room, by nick.
    Occupant {
        /// The room.
        room: RoomId,
        /// The nick in it, as the network spells it.
        nick: String,
    },
}

/// The two parts of a JID that an [`Address`] is written in, before XEP-0106 escaping (the core does that).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Parts {
    /// The local part; `None` for the domain itself.
    pub local: Option<String>,
    /// The resource; only occupants have one.
    pub resource: Option<String>,
}

impl Parts {
    /// No local part, no resource: the gateway.
    pub fn gateway() -> Self {
        Self::default()
    }

    /// A local part alone.
    pub fn local(local: impl Into<String>) -> Self {
        Self { local: Some(local.into()), resource: None }
    }

    /// A local part and a resource.
    pub fn occupant(local: impl Into<String>, nick: impl Into<String>) -> Self {
        Self { local: Some(local.into()), resource: Some(nick.into()) }
    }
}

/// A local part that means nothing to the bridge; shown to the sender with `item-not-found` or `jid-malformed`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum BadAddress {
    /// The syntax is not one of the bridge's (`jid-malformed`).
    #[error("{0}")]
    Malformed(String),
    /// Well formed, but nothing that exists (`item-not-found`).
    #[error("{0}")]
    Unknown(String),
}

/// Local parts ↔ addresses.
///
/// Law: `parse(format(a)) == a` for every address that the bridge makes, whatever a server announces at run time; nobody looks at the string again after `parse`.
pub trait Addressing: Send + Sync {
    /// What a JID means. `local` is already unescaped (XEP-0106) and case-folded by the server (nodeprep).
    fn parse(&self, local: Option<&str>, resource: Option<&str>) -> Result<Address, BadAddress>;
    /// The same for a JID that a user wrote to: `settings` gives theirs for the gateway, which decide what the JID leaves open (the country of a
    /// national number, say).
    fn parse_for(
        &self,
        local: Option<&str>,
        resource: Option<&str>,
        _settings: &dyn Fn() -> Arc<Resolved>,
    ) -> Result<Address, BadAddress> {
        self.parse(local, resource)
    }
    /// The JID of an address. The core escapes the local part, and writes an occupant's nick so that it can stand in a JID.
    fn format(&self, address: &Address) -> Parts;
    /// The network that serves an address.
    fn network(&self, address: &Address) -> NetworkId;
    /// Who an occupant is outside of the room, where such an address exists; shown in the room (XEP-0045 `jid`).
    /// An occupant's own JID is always that of the room with the nick as resource.
    fn person(&self, _room: &RoomId, _nick: &str) -> Option<ContactId> {
        None
    }
    /// What a person types to name a contact (`jabber:iq:gateway`, XEP-0100): `alice@example.net`, `+1 555 123 4567`.
    fn prompt(&self, typed: &str) -> Result<Address, BadAddress> {
        self.parse(Some(typed.trim()), None)
    }
    /// The same for a user: their settings for the gateway decide what is left open (the country of a national number, say).
    fn prompt_for(&self, typed: &str, _settings: &Resolved) -> Result<Address, BadAddress> {
        self.prompt(typed)
    }
}
