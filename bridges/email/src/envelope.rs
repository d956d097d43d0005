//! Envelope senders that name the message a bounce is about, and that nobody else can make.
//!
//! `bounce+<delivery key>.<mac>@mail_domain`: the key is the core's for the outbound event, the MAC is the gateway's. A bounce to such an
//! address names its message even where the far side knows no DSN; one with a wrong MAC is forged and refused at RCPT.

use isthmus_bridge::{ContactId, DeliveryKey, Gateway};

use crate::address::Mailbox;

/// Local part before the tag.
pub(crate) const BOUNCE: &str = "bounce";
/// Purpose of the keyed hash.
const PURPOSE: &str = "email bounce address";
/// Bytes of the MAC that are kept. With a key of up to 34 characters the local part stays within the 64 octets of RFC 5321.
const MAC_BYTES: usize = 8;
/// Bytes of the hash that names the recipient.
const LEG_BYTES: usize = 3;

/// Whose bounce it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bounce {
    /// The outbound event.
    pub key: DeliveryKey,
    leg: String,
}

impl Bounce {
    /// Whether it is about this recipient: each leg of an event has its own envelope.
    pub(crate) fn is_for(&self, to: &ContactId, host: &dyn Gateway) -> bool {
        self.leg == leg_tag(host, &self.key, to)
    }
}

/// The envelope sender of an event's mail to this recipient.
pub(crate) fn sender(host: &dyn Gateway, key: &DeliveryKey, to: &ContactId, mail_domain: &str) -> String {
    let leg = leg_tag(host, key, to);
    let mac = tag(host, &format!("{key}.{leg}"), MAC_BYTES);
    format!("{BOUNCE}+{key}.{leg}{mac}@{mail_domain}")
}

/// What a recipient `bounce+…` names. `None`: no such address was ever made here (550 5.1.1). Case of letters does not matter, for some
/// servers change it.
pub(crate) fn verify(host: &dyn Gateway, recipient: &Mailbox, mail_domain: &str) -> Option<Bounce> {
    if recipient.domain() != mail_domain {
        return None;
    }
    let local = recipient.local().to_ascii_lowercase();
    let (key, tags) = local.strip_prefix(BOUNCE)?.strip_prefix('+')?.rsplit_once('.')?;
    let (leg, mac) = tags.split_at_checked(LEG_BYTES * 2)?;
    let genuine = tag(host, &format!("{key}.{leg}"), MAC_BYTES);
    same(mac.as_bytes(), genuine.as_bytes()).then(|| Bounce { key: DeliveryKey::new(key), leg: leg.to_owned() })
}

/// Whether the address has the form of a bounce address, genuine or not.
pub(crate) fn looks_like_one(recipient: &Mailbox) -> bool {
    let local = recipient.local().to_ascii_lowercase();
    local == BOUNCE || local.strip_prefix(BOUNCE).is_some_and(|rest| rest.starts_with('+'))
}

fn leg_tag(host: &dyn Gateway, key: &DeliveryKey, to: &ContactId) -> String {
    tag(host, &format!("{key} {to}"), LEG_BYTES)
}

fn tag(host: &dyn Gateway, data: &str, bytes: usize) -> String {
    hex::encode(&host.mac(PURPOSE, data.as_bytes())[..bytes])
}

/// Compares without telling by the time it takes where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y)) == 0
}
