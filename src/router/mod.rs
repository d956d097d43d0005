//! Domain and local part → bridge and address, and back. After this nobody looks at the string again.

use std::borrow::Cow;
use std::sync::Arc;

use isthmus_bridge::{Address, Addressing, BadAddress, BareJid, Parts, Resolved};
use jid::{BareJid as ParsedBare, Jid};

use crate::rooms::nick;
use crate::xmpp::escape::{escape, unescape};

/// A JID of a stanza, parsed once. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    jid: Arc<Jid>,
    full: Arc<str>,
    bare: BareJid,
}

impl Party {
    /// Parses and normalises (RFC 7622).
    pub fn parse(jid: &str) -> Option<Self> {
        let jid = Jid::new(jid).ok()?;
        let full: Arc<str> = jid.as_str().into();
        let bare = match jid.resource() {
            Some(_) => BareJid::new(jid.to_bare().as_str()),
            None => BareJid::new(full.clone()),
        };
        Some(Self { jid: Arc::new(jid), full, bare })
    }

    /// With its resource, if it has one.
    pub fn full(&self) -> &str {
        &self.full
    }

    /// The same, shared.
    pub fn shared(&self) -> Arc<str> {
        self.full.clone()
    }

    /// Without its resource.
    pub fn bare(&self) -> BareJid {
        self.bare.clone()
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

/// The JID of an address, or `None` where no JID can spell it (too long, or with characters that RFC 7622 forbids). An occupant always has one.
pub fn jid(addressing: &dyn Addressing, domain: &str, address: &Address) -> Option<String> {
    let Parts { local, mut resource, .. } = addressing.format(address);
    if let (Address::Occupant { .. }, Some(nick)) = (address, &resource)
        && let Cow::Owned(spelled) = nick::spell(nick)
    {
        resource = Some(spelled);
    }
    let mut text = String::with_capacity(64);
    if let Some(local) = &local {
        text.push_str(&escape(local));
        text.push('@');
    }
    text.push_str(domain);
    // A listing of a large room asks for thousands of these; most are made of characters that RFC 7622 leaves as they are.
    if local.as_deref().is_none_or(is_plain) && resource.as_deref().is_none_or(is_printable) {
        if let Some(resource) = resource {
            text.push('/');
            text.push_str(&resource);
        }
        return Some(text);
    }
    let bare = ParsedBare::new(&text).ok()?;
    match resource {
        Some(resource) => bare.with_resource_str(&resource).ok().map(|full| full.as_str().to_owned()),
        None => Some(bare.as_str().to_owned()),
    }
}

/// Whether a local part needs neither escaping nor mapping.
fn is_plain(local: &str) -> bool {
    let plain = |b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'#' | b'%' | b'+' | b'-' | b'.' | b'_');
    !local.is_empty() && local.len() <= 1023 && local.bytes().all(plain)
}

/// Whether a resource needs no mapping.
fn is_printable(resource: &str) -> bool {
    !resource.is_empty() && resource.len() <= 1023 && resource.bytes().all(|b| matches!(b, 0x21..=0x7E))
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
                Address::Occupant { room, nick } => Parts::occupant(room.as_str(), nick.as_str()),
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
    fn what_is_taken_as_it_is_the_parser_would_leave_too() {
        for byte in 0..=0x7F_u8 {
            let one = char::from(byte).to_string();
            if is_plain(&one) {
                assert_eq!(escape(&one), one);
                let text = format!("{one}x@gw.example");
                assert_eq!(ParsedBare::new(&text).expect("a JID").as_str(), text);
            }
            if is_printable(&one) {
                let bare = ParsedBare::new("gw.example").expect("a JID");
                let text = format!("gw.example/{one}");
                assert_eq!(bare.with_resource_str(&one).expect("a resource").as_str(), text);
            }
        }
        assert!(!is_plain("") && !is_printable("") && !is_plain(&"a".repeat(1024)) && !is_printable(&"a".repeat(1024)));
    }

    #[test]
    fn every_occupant_has_a_jid() {
        for (nick, resource) in [("Ann Ä", "Ann Ä"), ("a\u{FFFD}b", "a_b_050878")] {
            let at = Address::Occupant { room: "#r".into(), nick: nick.to_owned() };
            let expected = format!("#r@gw.example/{resource}");
            assert_eq!(jid(&Names, "gw.example", &at).as_deref(), Some(&*expected));
        }
    }

    #[test]
    fn what_no_jid_can_spell_has_none() {
        assert_eq!(jid(&Names, "gw.example", &Address::Contact(ContactId::from("x".repeat(1100)))), None);
        assert_eq!(jid(&Names, "gw.example", &Address::Contact(ContactId::from("a\u{0}b"))), None);
    }
}
