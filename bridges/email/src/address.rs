//! Mail addresses: RFC 5321 mailboxes, their one spelling as contacts, and their JIDs.
//!
//! A [`Mailbox`] keeps the spelling that goes over the wire; [`Mailbox::contact`] is the folded one that names the contact. The domain is
//! always its ASCII form (RFC 5890 A-labels), because the folding of JIDs is not that of domain names (`straße.example` is not
//! `strasse.example`).

use std::fmt;

use isthmus_bridge::{Address, Addressing, BadAddress, ContactId, NetworkId, Parts};

/// A mail address in its wire spelling: `Alice@example.net`. The local part is quoted where it has to be (RFC 5321, 4.1.2).
///
/// Holds no control character, no line end, and no character that would end an `<…>` path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Mailbox {
    local: String,
    domain: String,
}

/// Why a text is no mail address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadMailbox {
    /// No `@`.
    #[error("there is no @ in it")]
    NoAt,
    /// The part before the `@` is empty, too long or holds what it must not.
    #[error("the part before the @ is not valid")]
    Local,
    /// The part after the `@` is no domain name.
    #[error("the part after the @ is not a domain name")]
    Domain,
}

/// RFC 5321, 4.5.3.1.1.
const MAX_LOCAL: usize = 64;
/// RFC 5321, 4.5.3.1.2.
const MAX_DOMAIN: usize = 255;

impl Mailbox {
    /// Reads `local@domain`, without angle brackets or a display name. Domains in any spelling, IDN included.
    pub(crate) fn parse(text: &str) -> Result<Self, BadMailbox> {
        let (local, domain) = text.rsplit_once('@').ok_or(BadMailbox::NoAt)?;
        Self::new(local, domain)
    }

    /// From its two parts; the local part quoted or not.
    pub(crate) fn new(local: &str, domain: &str) -> Result<Self, BadMailbox> {
        let local = read_local(local)?;
        // Folding can make a space of an accent, and so another address; whoever has such a name cannot have a JID.
        let folded = fold(&local).ok_or(BadMailbox::Local)?;
        if read_local(&folded)? != folded || fold(&folded).is_none_or(|again| again != folded) {
            return Err(BadMailbox::Local);
        }
        Ok(Self { local, domain: normal_domain(domain).ok_or(BadMailbox::Domain)? })
    }

    /// The part before the `@`, quoted where it has to be.
    pub(crate) fn local(&self) -> &str {
        &self.local
    }

    /// The domain, lower case, in A-labels.
    pub(crate) fn domain(&self) -> &str {
        &self.domain
    }

    /// Whether it can go to a server without SMTPUTF8 (RFC 6531).
    pub(crate) fn is_ascii(&self) -> bool {
        self.local.is_ascii()
    }

    /// The contact that it names: local part folded as JIDs fold (RFC 6122 nodeprep), so that every spelling is one contact.
    pub(crate) fn contact(&self) -> ContactId {
        let local = fold(&self.local).unwrap_or_else(|| self.local.to_lowercase());
        ContactId::new(format!("{local}@{}", self.domain))
    }

    /// Whether it is its contact's address but for the case of letters. The folding of JIDs does more than that, and then what is written to the
    /// contact goes to another mailbox: no letter may become an ASCII one (the Kelvin sign a `k`), or several.
    pub(crate) fn is_contact(&self) -> bool {
        let lower = |c: char| {
            let mut lower = c.to_lowercase();
            match (lower.next(), lower.next()) {
                (Some(one), None) if c.is_ascii() == one.is_ascii() => one,
                _ => c,
            }
        };
        self.to_string().chars().map(lower).eq(self.contact().as_str().chars())
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

impl TryFrom<String> for Mailbox {
    type Error = BadMailbox;
    fn try_from(text: String) -> Result<Self, BadMailbox> {
        Self::parse(&text)
    }
}

impl From<Mailbox> for String {
    fn from(mailbox: Mailbox) -> Self {
        mailbox.to_string()
    }
}

/// A domain in its one spelling: lower case, A-labels, no trailing dot. `None` for what is no domain name (address literals included).
pub(crate) fn normal_domain(domain: &str) -> Option<String> {
    // The URL parser decodes percent signs and stops at separators; none of them belongs in a domain.
    if domain.is_empty() || domain.contains(|c: char| c.is_control() || "%/\\?#@:[]<>\"'(),; ".contains(c)) {
        return None;
    }
    let url::Host::Domain(name) = url::Host::parse(domain).ok()? else { return None };
    let name = name.strip_suffix('.').unwrap_or(&name);
    let labels_hold = name.split('.').all(|label| !label.is_empty() && label.len() <= 63 && !label.starts_with('-'));
    (labels_hold && name.len() <= MAX_DOMAIN).then(|| name.to_owned())
}

/// The local part in its shortest wire spelling: dot-atom where that is enough, else a quoted string.
fn read_local(local: &str) -> Result<String, BadMailbox> {
    let plain = match local.strip_prefix('"').and_then(|l| l.strip_suffix('"')) {
        Some(inner) => unquote(inner).ok_or(BadMailbox::Local)?,
        None if is_dot_atom(local) => local.to_owned(),
        None => return Err(BadMailbox::Local),
    };
    let wire = if is_dot_atom(&plain) { plain } else { quote(&plain) };
    (!wire.is_empty() && wire.len() <= MAX_LOCAL).then_some(wire).ok_or(BadMailbox::Local)
}

/// RFC 5322 dot-atom with the letters of RFC 6531.
fn is_dot_atom(local: &str) -> bool {
    !local.is_empty() && local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || (!c.is_ascii() && is_letterlike(c))
}

/// No control, no white space, no character that hides or turns others around.
fn is_letterlike(c: char) -> bool {
    !c.is_control()
        && !c.is_whitespace()
        && !matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF0}'..='\u{FFFF}')
}

/// The content of a quoted string (RFC 5321 `QcontentSMTP`). Only printable characters.
fn unquote(inner: &str) -> Option<String> {
    let mut plain = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            '\\' => chars.next().filter(|c| (' '..='~').contains(c))?,
            '"' => return None,
            c => c,
        };
        if !((' '..='~').contains(&c) || (!c.is_ascii() && is_letterlike(c))) {
            return None;
        }
        plain.push(c);
    }
    (!plain.is_empty()).then_some(plain)
}

fn quote(plain: &str) -> String {
    let mut wire = String::with_capacity(plain.len() + 2);
    wire.push('"');
    for c in plain.chars() {
        if matches!(c, '"' | '\\') {
            wire.push('\\');
        }
        wire.push(c);
    }
    wire.push('"');
    wire
}

/// What nodeprep (RFC 6122, appendix A) makes of a local part. Nameprep has the same tables for mapping and normalising; what nodeprep
/// forbids beyond it is what XEP-0106 escapes.
fn fold(local: &str) -> Option<String> {
    stringprep::nameprep(local).ok().map(|folded| folded.into_owned())
}

/// Addresses of one email bridge.
#[derive(Debug, Clone)]
pub(crate) struct MailAddressing {
    network: NetworkId,
}

impl MailAddressing {
    /// Of the bridge with this name.
    pub(crate) fn new(name: &str) -> Self {
        Self { network: NetworkId::new(name) }
    }

    /// The one network that the bridge serves.
    pub(crate) fn only_network(&self) -> &NetworkId {
        &self.network
    }
}

impl Addressing for MailAddressing {
    /// `alice@example.net`, `alice%example.net`; resources mean nothing. A local part without either is an alias of this gateway's own
    /// user, which is no contact.
    fn parse(&self, local: Option<&str>, _resource: Option<&str>) -> Result<Address, BadAddress> {
        let Some(local) = local else { return Ok(Address::Gateway) };
        let mailbox = if local.contains('@') {
            Mailbox::parse(local)
        } else if let Some((user, domain)) = local.rsplit_once('%') {
            Mailbox::new(user, domain)
        } else {
            return Err(BadAddress::Unknown(format!("{local:?} is not a mail address: write it as name@domain")));
        };
        match mailbox {
            Ok(mailbox) => Ok(Address::Contact(mailbox.contact())),
            Err(why) => Err(BadAddress::Malformed(format!("{local:?} is not a mail address: {why}"))),
        }
    }

    fn format(&self, address: &Address) -> Parts {
        match address {
            Address::Contact(contact) => Parts::local(contact.as_str()),
            _ => Parts::gateway(),
        }
    }

    fn network(&self, _address: &Address) -> NetworkId {
        self.network.clone()
    }

    /// Also `Alice <alice@example.net>` and `mailto:alice@example.net`.
    fn prompt(&self, typed: &str) -> Result<Address, BadAddress> {
        let typed = typed.trim();
        let inner = match (typed.rfind('<'), typed.strip_suffix('>')) {
            (Some(open), Some(cut)) => &cut[open + 1..],
            _ => typed.strip_prefix("mailto:").unwrap_or(typed),
        };
        self.parse(Some(inner.trim()), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(local: &str) -> Result<Address, BadAddress> {
        MailAddressing::new("email").parse(Some(local), None)
    }

    fn contact(id: &str) -> Address {
        Address::Contact(ContactId::new(id))
    }

    #[test]
    fn the_table_of_addresses() {
        for (local, id) in [
            ("alice@example.net", "alice@example.net"),
            ("alice%example.net", "alice@example.net"),
            ("Alice@Example.NET", "alice@example.net"),
            ("alice+tag@example.net", "alice+tag@example.net"),
            ("a%b@example.net", "a%b@example.net"),
            ("alice@bücher.example", "alice@xn--bcher-kva.example"),
            ("alice@straße.example", "alice@xn--strae-oqa.example"),
            ("用户@例子.example", "用户@xn--fsqu00a.example"),
            ("\"john doe\"@example.net", "\"john doe\"@example.net"),
            ("\"john\"@example.net", "john@example.net"),
            ("alice@example.net.", "alice@example.net"),
            ("root@localhost", "root@localhost"),
        ] {
            assert_eq!(parse(local), Ok(contact(id)), "{local}");
        }
    }

    #[test]
    fn an_alias_is_unknown_and_the_rest_malformed() {
        assert!(matches!(parse("juliet"), Err(BadAddress::Unknown(_))));
        let long = format!("{}@example.net", "a".repeat(65));
        for local in [
            "@example.net",
            "alice@",
            "alice@-x.example",
            "alice@127.0.0.1",
            "alice@[127.0.0.1]",
            "alice@exa mple.net",
            "alice@ex%61mple.net",
            "al ice@example.net",
            "al\rice@example.net",
            "alice@example.net\r\nRCPT TO:<x@y>",
            "alice>@example.net",
            "\"a\nb\"@example.net",
            "\"a\"b\"@example.net",
            "a..b@example.net",
            "al\u{202E}ice@example.net",
            "´@example.net",
            "a\u{FF20}b@example.net",
            "alice@a..b",
            long.as_str(),
        ] {
            assert!(matches!(parse(local), Err(BadAddress::Malformed(_))), "{local:?} gave {:?}", parse(local));
        }
    }

    #[test]
    fn what_people_type() {
        let addressing = MailAddressing::new("email");
        for typed in
            [" alice@example.net ", "Alice <alice@example.net>", "mailto:alice@example.net", "<Alice@example.net>"]
        {
            assert_eq!(addressing.prompt(typed), Ok(contact("alice@example.net")), "{typed}");
        }
    }

    #[test]
    fn the_wire_keeps_the_case_of_the_local_part() {
        let mailbox = Mailbox::parse("Alice.B@Example.Net").unwrap();
        assert_eq!(mailbox.to_string(), "Alice.B@example.net");
        assert_eq!(mailbox.contact().as_str(), "alice.b@example.net");
    }

    #[test]
    fn only_the_case_of_letters_is_a_matter_of_spelling() {
        for (spelling, same) in [
            ("Alice@example.net", true),
            ("alice@example.net", true),
            ("ÉLODIE@example.net", true),
            ("straße@example.net", false),
            ("ａlice@example.net", false),
            ("\u{212A}ate@example.net", false),
        ] {
            let mailbox = Mailbox::parse(spelling).unwrap();
            assert_eq!(mailbox.is_contact(), same, "{spelling} is {}", mailbox.contact());
        }
    }

    proptest! {
        #[test]
        fn parse_undoes_format(text in "\\PC{0,20}@[a-zA-Zßé0-9.-]{1,20}") {
            let addressing = MailAddressing::new("email");
            if let Ok(address) = addressing.parse(Some(&text), None) {
                let parts = addressing.format(&address);
                prop_assert_eq!(addressing.parse(parts.local.as_deref(), None), Ok(address));
            }
        }

        #[test]
        fn a_mailbox_never_leaves_its_path(text in any::<String>()) {
            if let Ok(mailbox) = Mailbox::parse(&text) {
                let wire = mailbox.to_string();
                prop_assert!(!wire.contains(['\r', '\n', '\0']));
                prop_assert!(wire.starts_with('"') || !wire.contains(['<', '>', ' ']), "{}", wire);
                prop_assert_eq!(Mailbox::parse(&wire), Ok(mailbox));
            }
        }
    }
}
