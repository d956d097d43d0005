//! Commands: declared once by a bridge or by the core, shown as ad-hoc commands (XEP-0050, [`adhoc`]), by chat ([`super::chat`]) and as
//! registration (XEP-0077, [`super::register`]). All three run a [`Dialogue`]; what it changed for others comes back as [`Effect`]s.
//!
//! | file | what |
//! |---|---|
//! | [`dialogue`] | one run of one command: forms shown, answers checked, back and on |
//! | [`adhoc`] | XEP-0050: sessions, actions, errors, disco |
//! | `own` | the commands that the core has for every bridge |
//! | `account`, `people`, `configure`, `queue`, `admin`, `rules` | those commands, by subject |

mod account;
pub mod adhoc;
mod admin;
mod bookmark;
pub(crate) mod configure;
pub mod dialogue;
mod history;
pub mod office;
mod own;
mod people;
mod queue;
mod rules;
#[cfg(test)]
pub(crate) mod sample;

use std::sync::Arc;

use isthmus_bridge::{Address, Audience, BareJid, Command, Host, Lang, Place, Registration, Text, Values};

use crate::registry::Instance;
use crate::storage::people::{People, Persons};
use crate::texts::Texts;
pub(in crate::xmpp) use account::remove;
pub use adhoc::Adhoc;
pub(crate) use admin::{COMMAND_LINE, at_the_command_line};
pub use dialogue::{Dialogue, Said, Turn};
pub use office::{Link, Office, Waiting};

/// A bridge and what it says of itself, as commands need it. Cheap to clone.
#[derive(Clone)]
pub struct BridgeRef {
    /// Name, domain, bridge.
    pub instance: Instance,
    /// The core, as the bridge sees it.
    pub host: Host,
}

impl BridgeRef {
    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.instance.name
    }
}

/// What a command changed that others must see: presence, rosters, sessions. Carried out after the answer has gone out (XEP-0100, 4.3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The user is registered now and was not before: subscribe (XEP-0100, 4.1).
    Registered(BareJid),
    /// Everything of the user's is gone: unsubscribe, unsubscribed and unavailable from these addresses (XEP-0100, 4.3).
    Unregistered(BareJid, Vec<Address>),
    /// The user added a contact, or gave it another name.
    ContactAdded(BareJid, Address, Option<String>),
    /// The user removed a contact.
    ContactRemoved(BareJid, Address),
    /// The user blocked or unblocked an address.
    Blocked(BareJid, Address, bool),
    /// Settings at this address changed ([`Work::SettingsChanged`](isthmus_bridge::Work::SettingsChanged)).
    SettingsChanged(BareJid, Address),
}

/// Whoever runs a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// For whom it is done.
    pub user: BareJid,
    /// Who does it.
    pub by: BareJid,
    /// On which address.
    pub at: Address,
    /// The language to answer in.
    pub lang: Lang,
}

impl Caller {
    /// A user for themselves.
    pub fn new(user: BareJid, at: Address, lang: Lang) -> Self {
        Self { by: user.clone(), user, at, lang }
    }
}

/// All that commands run on. Cheap to clone.
#[derive(Clone)]
pub struct Desk {
    /// The persons of all bridges.
    pub people: People,
    /// Words.
    pub texts: Texts,
    /// What the rest of the core does for commands.
    pub office: Arc<dyn Office>,
}

impl Desk {
    /// The persons of a bridge; `None` only where [`People::open`] was not told of it.
    pub(in crate::xmpp) fn persons(&self, bridge: &BridgeRef) -> Option<&Arc<Persons>> {
        self.people.of(bridge.name())
    }

    /// Whether the user is registered, or need not be.
    pub fn is_registered(&self, bridge: &BridgeRef, user: &BareJid) -> bool {
        bridge.instance.bridge.profile().registration == Registration::None
            || self.persons(bridge).is_some_and(|p| p.registered(user))
    }

    /// What the user filled in when registering; `None` where they are not registered.
    pub(in crate::xmpp) fn registration(&self, bridge: &BridgeRef, user: &BareJid) -> Option<Values> {
        self.persons(bridge)?.registration(user)
    }

    /// Whether the bridge has a registration form of its own.
    pub(in crate::xmpp) fn declares_register(&self, bridge: &BridgeRef) -> bool {
        bridge.instance.bridge.commands().iter().any(|c| c.node == own::REGISTER)
    }

    /// The commands that this caller may run at this address: the bridge's, and the core's where the bridge has none of that node.
    pub fn offered(&self, bridge: &BridgeRef, caller: &Caller) -> Vec<Command> {
        let Some(place) = place(&caller.at) else { return Vec::new() };
        let all = self.all(bridge).into_iter();
        all.filter(|c| c.places.contains(&place) && self.may(bridge, caller, c) && self.applies(bridge, caller, c))
            .collect()
    }

    /// The commands that this caller may run at other addresses than the gateway's own, at none of them there.
    pub(in crate::xmpp) fn elsewhere(&self, bridge: &BridgeRef, caller: &Caller) -> Vec<Command> {
        let all = self.all(bridge).into_iter();
        all.filter(|c| !c.places.contains(&Place::Gateway) && self.may(bridge, caller, c)).collect()
    }

    /// For whom a command is; `None` where there is none of that node.
    pub(in crate::xmpp) fn audience(&self, bridge: &BridgeRef, node: &str) -> Option<Audience> {
        self.find(bridge, node).map(|c| c.audience)
    }

    /// A command by its node, whoever asks.
    fn find(&self, bridge: &BridgeRef, node: &str) -> Option<Command> {
        self.all(bridge).into_iter().find(|c| c.node == node)
    }

    fn all(&self, bridge: &BridgeRef) -> Vec<Command> {
        let declared = bridge.instance.bridge.commands();
        let own = own::commands(bridge.instance.bridge.profile());
        let mut all = declared.to_vec();
        all.extend(own.into_iter().filter(|c| declared.iter().all(|d| d.node != c.node)));
        all
    }

    /// Whether the caller belongs to the command's audience.
    fn may(&self, bridge: &BridgeRef, caller: &Caller, command: &Command) -> bool {
        match command.audience {
            Audience::Anyone => true,
            Audience::Registered => self.is_registered(bridge, &caller.user),
            _ => self.office.is_admin(&caller.by),
        }
    }

    /// Whether there is anything for it to do at that address: no `configure` where nothing can be set.
    fn applies(&self, bridge: &BridgeRef, caller: &Caller, command: &Command) -> bool {
        let declared = bridge.instance.bridge.commands().iter().any(|c| c.node == command.node);
        match command.node {
            _ if declared => true,
            own::CONFIGURE => configure::has_settings(self, bridge, caller),
            own::BOOKMARK => self.office.may_bookmark(&caller.user),
            _ => true,
        }
    }

    /// Words in the reader's language.
    pub fn say(&self, bridge: &BridgeRef, text: &Text, lang: &Lang) -> String {
        self.texts.render(bridge.name(), text, lang)
    }
}

/// The kind of place that an address is; occupants have no commands of their own.
fn place(at: &Address) -> Option<Place> {
    match at {
        Address::Gateway => Some(Place::Gateway),
        Address::Network(_) => Some(Place::Network),
        Address::Room(_) => Some(Place::Room),
        Address::Contact(_) => Some(Place::Contact),
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod tests;
