//! Local parts ↔ networks, rooms, nicks. The same addresses as biboumi's.
//!
//! | JID | is |
//! |---|---|
//! | `libera.chat@irc…` | a network |
//! | `#rust%libera.chat@irc…` | a room; the *last* `%` separates, for a host name holds none |
//! | `nick%libera.chat@irc…` | a nick, in lower case |
//! | `%libera.chat@irc…/Any@Nick` | a nick that cannot stand in a local part |
//! | with a fixed network: `#rust@irc…`, `nick@irc…`, `%@irc…/Any@Nick` | the same on that network |
//!
//! Ids are `name%network` in either mode.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use isthmus_bridge::{Address, Addressing, BadAddress, ContactId, NetworkId, Parts, RoomId};
use sha2::{Digest, Sha256};

/// What a room's name can begin with at all (RFC 2811 section 2.1), and no nick.
pub(crate) const ROOM_PREFIXES: [char; 4] = ['#', '&', '+', '!'];
/// What it begins with unless the administrator says otherwise; never what a server announces later, for addresses must not depend on it.
pub(crate) const USUAL_PREFIXES: &str = "#&";

/// `&` as XEP-0106 writes it.
const AMPERSAND: &str = "\\26";

/// Nicks whose resource is not their own spelling, at most; beyond, the map begins anew.
const SPELLINGS: usize = 50_000;

/// Local parts of the bridge.
#[derive(Debug)]
pub(crate) struct IrcAddressing {
    /// The network of the domain itself; in fixed-network mode the only one.
    fallback: NetworkId,
    fixed: bool,
    /// What rooms' names begin with here.
    prefixes: Box<str>,
    /// Resource → nick, for nicks outside of rooms that no resource can spell. (Inside, the core finds them among those who are there.)
    spellings: Mutex<HashMap<String, String>>,
    /// The network that was asked for last: it is asked for several times for every message.
    last: Mutex<Option<NetworkId>>,
}

impl IrcAddressing {
    /// With a fixed network, or with any. `name` stands for the network of the gateway's own address.
    pub(crate) fn new(fixed: Option<&str>, name: &str, prefixes: &str) -> Self {
        Self {
            fallback: NetworkId::new(fixed.unwrap_or(name)),
            fixed: fixed.is_some(),
            prefixes: prefixes.into(),
            spellings: Mutex::default(),
            last: Mutex::default(),
        }
    }

    /// The id of a network; mostly the one of before.
    fn known(&self, name: &str) -> NetworkId {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(network) if network.as_str() == name => network.clone(),
            _ => last.insert(NetworkId::new(name)).clone(),
        }
    }

    /// The room of this name; `None` where no channel can have it.
    pub(crate) fn room_id(&self, name: &str, network: &NetworkId) -> Option<RoomId> {
        // In this order: a code that the folding of case makes is read now, not by whoever reads the address that is made of it.
        let name = unescape_again(&name.to_lowercase());
        let fits =
            self.is_room(&name) && name.len() <= 400 && !name.contains(|c: char| " ,".contains(c) || c.is_control());
        fits.then(|| RoomId::new(format!("{name}%{network}")))
    }

    fn is_room(&self, name: &str) -> bool {
        name.starts_with(|c| self.prefixes.contains(c))
    }

    /// The only network, in fixed-network mode.
    pub(crate) fn fixed(&self) -> Option<&NetworkId> {
        self.fixed.then_some(&self.fallback)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, String>> {
        // Every change is a single insert: a panic elsewhere leaves the map whole.
        self.spellings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The nick as a resource; one that no resource can spell gets a spelling of its own, which is remembered.
    fn resource(&self, nick: &str) -> String {
        if is_resource(nick) {
            return nick.to_owned();
        }
        let safe = safe_resource(nick);
        let mut spellings = self.lock();
        if spellings.len() >= SPELLINGS {
            spellings.clear();
        }
        spellings.entry(safe.clone()).or_insert_with(|| nick.to_owned());
        safe
    }

    fn nick(&self, resource: &str) -> String {
        if !resource.contains('_') {
            return resource.to_owned();
        }
        self.lock().get(resource).cloned().unwrap_or_else(|| resource.to_owned())
    }
}

impl Addressing for IrcAddressing {
    fn parse(&self, local: Option<&str>, resource: Option<&str>) -> Result<Address, BadAddress> {
        let resource = resource.filter(|r| !r.is_empty());
        let Some(local) = local else { return Ok(Address::Gateway) };
        let (name, network) = if self.fixed {
            (if local == "%" { "" } else { local }, self.fallback.clone())
        } else {
            match local.rsplit_once('%') {
                Some((name, network)) => (name, network_id(network)?),
                None if self.is_room(local) => {
                    return Err(malformed("a room is #name%network, with the network's name after a percent sign"));
                }
                None => return Ok(Address::Network(network_id(local)?)),
            }
        };
        // Escaped twice, `&local` begins so; what a nick that begins so is written like is another address.
        let escaped = name.starts_with(AMPERSAND).then(|| unescape_again(name)).filter(|name| self.is_room(name));
        let name = escaped.as_deref().unwrap_or(name);
        if self.is_room(name) {
            let room = self.room_id(name, &network).ok_or_else(|| malformed("no room can have this name"))?;
            return Ok(match resource {
                Some(resource) => Address::Occupant { room, nick: resource.to_owned() },
                None => Address::Room(room),
            });
        }
        let nick = match (name, resource) {
            ("", Some(resource)) => self.nick(resource.split_once('@').map_or("", |(_, nick)| nick)),
            (name, _) => name.to_owned(),
        };
        contact_id(&nick, &network).map(Address::Contact).ok_or_else(|| malformed("nobody can have this nick"))
    }

    fn format(&self, address: &Address) -> Parts {
        let local = |id: &str| {
            let name = if self.fixed { split(id).0 } else { id };
            name.to_owned()
        };
        match address {
            Address::Network(network) if !self.fixed => Parts::local(network.as_str()),
            Address::Contact(contact) => {
                let (nick, network) = split(contact.as_str());
                if stands_in_local(nick) {
                    Parts::local(local(contact.as_str()))
                } else {
                    let network = if self.fixed { "" } else { network };
                    Parts::occupant(format!("%{network}"), format!("Any@{}", self.resource(nick)))
                }
            }
            Address::Room(room) => Parts::local(local(room.as_str())),
            Address::Occupant { room, nick } => Parts::occupant(local(room.as_str()), nick.as_str()),
            // In fixed-network mode the gateway is also the network.
            _ => Parts::gateway(),
        }
    }

    fn person(&self, room: &RoomId, nick: &str) -> Option<ContactId> {
        contact_id(nick, &NetworkId::new(split(room.as_str()).1))
    }

    fn network(&self, address: &Address) -> NetworkId {
        let id = match address {
            Address::Network(network) => return network.clone(),
            Address::Contact(contact) => contact.as_str(),
            Address::Room(room) | Address::Occupant { room, .. } => room.as_str(),
            _ => return self.fallback.clone(),
        };
        if self.fixed { self.fallback.clone() } else { self.known(split(id).1) }
    }
}

/// `name%network` → both.
pub(crate) fn split(id: &str) -> (&str, &str) {
    // Asked several times for every message, and the network's name is short.
    let at = id.bytes().rposition(|b| b == b'%');
    at.and_then(|at| Some((id.get(..at)?, id.get(at + 1..)?))).unwrap_or((id, ""))
}

/// Whoever has this nick; `None` where nobody can have it.
pub(crate) fn contact_id(nick: &str, network: &NetworkId) -> Option<ContactId> {
    let possible = !nick.is_empty()
        && nick.len() <= 200
        && !nick.starts_with(ROOM_PREFIXES)
        && !nick.starts_with([':', '%'])
        && !nick.contains(|c: char| c.is_control() || c.is_whitespace() || ",!*?".contains(c));
    if !possible {
        return None;
    }
    let lower = nick.to_lowercase();
    let nick = if stands_in_local(&lower) { lower.as_str() } else { nick };
    Some(ContactId::new(format!("{nick}%{network}")))
}

/// A network's name: a host name or an alias of the administrator's.
fn network_id(name: &str) -> Result<NetworkId, BadAddress> {
    let name = name.to_lowercase();
    let good =
        !name.is_empty() && name.len() <= 255 && name.chars().all(|c| c.is_alphanumeric() || "._-:[]".contains(c));
    if good { Ok(NetworkId::new(name)) } else { Err(malformed("a network is a host name such as irc.libera.chat")) }
}

fn malformed(why: &str) -> BadAddress {
    BadAddress::Malformed(why.to_owned())
}

/// Whether a server's nodeprep (RFC 6122) leaves it as it is.
fn stands_in_local(nick: &str) -> bool {
    !nick.contains('%')
        && !nick.starts_with(AMPERSAND)
        && nick == nick.to_lowercase()
        && (is_plain(nick) || stringprep::nodeprep(&without_escaped(nick)).is_ok_and(|p| p == without_escaped(nick)))
}

/// The core escapes these (XEP-0106), so nodeprep never sees them.
fn without_escaped(nick: &str) -> String {
    nick.chars().filter(|c| !"\"&'/:<>@\\".contains(*c)).collect()
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic())
}

/// Whether resourceprep leaves it as it is.
fn is_resource(nick: &str) -> bool {
    !nick.is_empty()
        && nick.len() <= 1023
        && (is_plain(nick) || stringprep::resourceprep(nick).is_ok_and(|p| p == nick))
}

/// The nick with `_` for what a resource cannot hold, and a hash, so that two such nicks differ.
fn safe_resource(nick: &str) -> String {
    let mut one = [0; 4];
    let safe: String = nick
        .chars()
        .take(200)
        .map(|c| {
            let text: &str = c.encode_utf8(&mut one);
            if is_resource(text) && c != ' ' { c } else { '_' }
        })
        .collect();
    let hash = hex::encode(&Sha256::digest(nick.as_bytes())[..4]);
    let spelled = format!("{safe}_{hash}");
    // Characters that are good one by one can still change side by side (composition).
    if is_resource(&spelled) { spelled } else { format!("_{hash}") }
}

/// COMPAT(clients): some escape twice (XEP-0106 section 5.2), so that one layer is left; no channel has `\40` in its name.
fn unescape_again(name: &str) -> String {
    const CODES: [(&str, &str); 8] = [
        ("\\40", "@"),
        (AMPERSAND, "&"),
        ("\\27", "'"),
        ("\\22", "\""),
        ("\\2f", "/"),
        ("\\3a", ":"),
        ("\\3c", "<"),
        ("\\3e", ">"),
    ];
    if !name.contains('\\') {
        return name.to_owned();
    }
    CODES.iter().fold(name.to_owned(), |name, (code, character)| name.replace(code, character))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any() -> IrcAddressing {
        IrcAddressing::new(None, "irc", USUAL_PREFIXES)
    }

    fn fixed() -> IrcAddressing {
        IrcAddressing::new(Some("irc.example.net"), "irc", USUAL_PREFIXES)
    }

    fn room(id: &str) -> Address {
        Address::Room(RoomId::from(id))
    }

    fn contact(id: &str) -> Address {
        Address::Contact(ContactId::from(id))
    }

    #[test]
    fn addresses_are_biboumis() {
        let occupant = |id: &str, nick: &str| Address::Occupant { room: RoomId::from(id), nick: nick.to_owned() };
        let cases: &[(Option<&str>, Option<&str>, Address)] = &[
            (None, None, Address::Gateway),
            (Some("libera.chat"), None, Address::Network("libera.chat".into())),
            (Some("#rust%libera.chat"), None, room("#rust%libera.chat")),
            (Some("&local%libera.chat"), None, room("&local%libera.chat")),
            (Some("#50%off%libera.chat"), None, room("#50%off%libera.chat")),
            (Some("#b\\40foot%net"), None, room("#b@foot%net")),
            (Some("#b\\3Cfoot%net"), None, room("#b<foot%net")),
            (Some("\\26local%libera.chat"), None, room("&local%libera.chat")),
            (Some("#rust%libera.chat"), Some("Ann"), occupant("#rust%libera.chat", "Ann")),
            (Some("nick%libera.chat"), None, contact("nick%libera.chat")),
            (Some("nick%libera.chat"), Some("phone"), contact("nick%libera.chat")),
            (Some("%libera.chat"), Some("Any@Nick"), contact("nick%libera.chat")),
            (Some("%libera.chat"), Some("Any@ﬁsh"), contact("ﬁsh%libera.chat")),
        ];
        let addressing = any();
        for (local, resource, expected) in cases {
            assert_eq!(addressing.parse(*local, *resource).as_ref(), Ok(expected), "{local:?}/{resource:?}");
        }
        for bad in ["#rust", "%libera.chat", "a b%libera.chat", "#a b%net", "#a,b%net", "net/work", "nick%", "a!b%net"]
        {
            assert!(addressing.parse(Some(bad), None).is_err(), "{bad}");
        }
    }

    #[test]
    fn with_a_fixed_network_a_percent_sign_means_nothing() {
        let addressing = fixed();
        assert_eq!(addressing.parse(Some("#rust"), None), Ok(room("#rust%irc.example.net")));
        assert_eq!(addressing.parse(Some("#a%b"), None), Ok(room("#a%b%irc.example.net")));
        assert_eq!(addressing.parse(Some("nick"), None), Ok(contact("nick%irc.example.net")));
        assert_eq!(addressing.format(&Address::Network("irc.example.net".into())), Parts::gateway());
        assert_eq!(addressing.network(&Address::Gateway).as_str(), "irc.example.net");
        let odd = contact("ﬁsh%irc.example.net");
        // As it is, every XMPP server would make it `fish`.
        let spelled = "Any@_sh_1c6945de";
        assert_eq!(addressing.format(&odd), Parts::occupant("%", spelled));
        assert_eq!(addressing.parse(Some("%"), Some(spelled)), Ok(odd));
    }

    #[test]
    fn a_nick_that_no_resource_can_spell_has_a_spelling_of_its_own() {
        let addressing = any();
        for nick in ["a\u{fffd}b", "ﬁsh", "\u{202e}", "ann🦀\u{fffd}", "\\26local"] {
            let one = contact_id(nick, &"net".into()).map(Address::Contact).expect("somebody may have it");
            let parts = addressing.format(&one);
            let resource = parts.resource.clone().expect("it cannot stand before the @");
            assert!(is_resource(&resource), "{nick:?} is written {resource:?}");
            assert_eq!(addressing.parse(parts.local.as_deref(), Some(&resource)), Ok(one));
            assert_eq!(
                addressing.format(&addressing.parse(parts.local.as_deref(), Some(&resource)).expect("good")),
                parts
            );
        }
        // Unheard of, it is what it looks like.
        let unknown = addressing.parse(Some("%net"), Some("Any@a_b_00000000"));
        assert_eq!(unknown, Ok(contact("a_b_00000000%net")));
    }

    fn keeps_law(addressing: &IrcAddressing, address: &Address) -> Result<(), TestCaseError> {
        let parts = addressing.format(address);
        let again = addressing.parse(parts.local.as_deref(), parts.resource.as_deref());
        prop_assert_eq!(again.as_ref(), Ok(address), "written as {:?}", parts);
        Ok(())
    }

    #[test]
    fn what_rooms_begin_with_is_the_administrators_choice() {
        let narrow = IrcAddressing::new(None, "irc", "#");
        assert!(narrow.parse(Some("&local%net"), None).is_err(), "no room here, and no nick anywhere");
        let wide = IrcAddressing::new(None, "irc", "#&+!");
        for name in ["#c%net", "&c%net", "+c%net", "!c%net"] {
            assert_eq!(wide.parse(Some(name), None), Ok(Address::Room(RoomId::from(name))));
        }
    }

    proptest! {
        #[test]
        fn what_is_made_is_read_again(
            name in "[#&+!]?([a-zA-Z0-9_\\[\\]\\\\`^{}|%@:-]{1,12}|\\PC{1,8})",
            network in "[a-z0-9.-]{1,12}",
            nick in "[a-zA-Z0-9_\\[\\]\\\\`^{}|-]{1,12}|\\PC{1,10}",
        ) {
            for addressing in [any(), fixed(), IrcAddressing::new(None, "irc", "#+!")] {
                let network = addressing.fixed().cloned().unwrap_or_else(|| NetworkId::new(network.as_str()));
                if let Some(room) = addressing.room_id(&name, &network) {
                    keeps_law(&addressing, &Address::Room(room.clone()))?;
                    keeps_law(&addressing, &Address::Occupant { room: room.clone(), nick: nick.clone() })?;
                    prop_assert_eq!(addressing.network(&Address::Room(room)), network.clone());
                }
                if let Some(contact) = contact_id(&name, &network) {
                    keeps_law(&addressing, &Address::Contact(contact))?;
                }
            }
        }
    }
}
