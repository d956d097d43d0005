//! Domain and local part → bridge and address, and back. After this nobody looks at the string again.

use std::sync::Arc;

use isthmus_bridge::{Address, Addressing, BadAddress, BareJid, Parts, Resolved};
use jid::{BareJid as ParsedBare, Jid};

use crate::xmpp::escape::{escape, unescape};

/// A JID of a stanza, parsed once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    jid: Jid,
}

impl Party {
    /// Parses and normalises (RFC 7622).
    pub fn parse(jid: &str) -> Option<Self> {
        Jid::new(jid).ok().map(|jid| Self { jid })
    }

    /// With its resource, if it has one.
    pub fn full(&self) -> &str {
        self.jid.as_str()
    }

    /// Without its resource.
    pub fn bare(&self) -> BareJid {
        BareJid::new(self.jid.to_bare().as_str())
    }

    /// Whether it names a resource.
    pub fn is_full(&self) -> bool {
        self.jid.resource().is_some()
    }

    /// Its resource.
    pub fn resource(&self) -> Option<&str> {
        self.jid.resource().map(|r| r.as_str())
    }

    /// Its local part, still escaped.
    pub fn local(&self) -> Option<&str> {
        self.jid.node().map(|n| n.as_str())
    }

    /// Its domain.
    pub fn domain(&self) -> &str {
        self.jid.domain().as_str()
    }
}

/// What a JID of a bridge's domain means.
pub fn address(addressing: &dyn Addressing, to: &Party) -> Result<Address, BadAddress> {
    resolve(to, |local, resource| addressing.parse(local, resource))
}

/// The same where a user with these settings wrote it.
pub fn address_for(
    addressing: &dyn Addressing,
    to: &Party,
    settings: &dyn Fn() -> Arc<Resolved>,
) -> Result<Address, BadAddress> {
    resolve(to, |local, resource| addressing.parse_for(local, resource, settings))
}

fn resolve(
    to: &Party,
    parse: impl Fn(Option<&str>, Option<&str>) -> Result<Address, BadAddress>,
) -> Result<Address, BadAddress> {
    let local = to.local().map(unescape);
    // A resource names an occupant; on anything else it is a client's habit and means the bare JID.
    match parse(local.as_deref(), to.resource()) {
        Err(_) if to.is_full() => parse(local.as_deref(), None),
        parsed => parsed,
    }
}

/// The JID of an address, or `None` where no JID can spell it (too long, or with characters that RFC 7622 forbids).
pub fn jid(addressing: &dyn Addressing, domain: &str, address: &Address) -> Option<String> {
    let Parts { local, resource, .. } = addressing.format(address);
    let mut text = String::with_capacity(64);
    if let Some(local) = &local {
        text.push_str(&escape(local));
        text.push('@');
    }
    text.push_str(domain);
    let bare = ParsedBare::new(&text).ok()?;
    match resource {
        Some(resource) => bare.with_resource_str(&resource).ok().map(|full| full.as_str().to_owned()),
        None => Some(bare.as_str().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isthmus_bridge::{ContactId, NetworkId};

    struct Names;

    impl Addressing for Names {
        fn parse(&self, local: Option<&str>, _resource: Option<&str>) -> Result<Address, BadAddress> {
            Ok(local.map_or(Address::Gateway, |l| Address::Contact(ContactId::from(l))))
        }
        fn format(&self, address: &Address) -> Parts {
            match address {
                Address::Contact(id) => Parts::local(id.as_str()),
                _ => Parts::gateway(),
            }
        }
        fn network(&self, _: &Address) -> NetworkId {
            NetworkId::from("names")
        }
    }

    #[test]
    fn an_escaped_local_part_is_a_contact_and_comes_back() {
        let to = Party::parse(r"Alice\40example.net@gw.example/phone").expect("a JID");
        let found = address(&Names, &to).expect("an address");
        assert_eq!(found, Address::Contact(ContactId::from("alice@example.net")));
        assert_eq!(jid(&Names, "gw.example", &found).as_deref(), Some(r"alice\40example.net@gw.example"));
    }

    #[test]
    fn what_no_jid_can_spell_has_none() {
        assert_eq!(jid(&Names, "gw.example", &Address::Contact(ContactId::from("x".repeat(1100)))), None);
        assert_eq!(jid(&Names, "gw.example", &Address::Contact(ContactId::from("a\u{0}b"))), None);
    }
}
