//! What is well-formed and yet no stanza: such a one is refused alone, and the stream goes on.

use super::stanza::{JABBER_CLIENT, Kind, Stanza};

/// What is wrong with a stanza, if anything.
pub(super) fn flaw(stanza: &Stanza) -> Option<&'static str> {
    // XEP-0114 section 3: the server stamps both.
    if stanza.from().is_none_or(str::is_empty) {
        return Some("no from");
    }
    if stanza.to().is_none_or(str::is_empty) {
        return Some("no to");
    }
    match stanza.kind() {
        // RFC 6121 section 5.2.2: a type that we do not know means normal.
        Kind::Message => None,
        Kind::Presence => presence(stanza),
        Kind::Iq => iq(stanza),
    }
}

/// RFC 6121 section 4.7.
fn presence(stanza: &Stanza) -> Option<&'static str> {
    match stanza.type_() {
        None => {
            let show = stanza.child("show", JABBER_CLIENT)?;
            let known = matches!(&*show.text(), "away" | "chat" | "dnd" | "xa");
            (!known).then_some("an unknown show")
        }
        Some("unavailable" | "subscribe" | "subscribed" | "unsubscribe" | "unsubscribed" | "probe" | "error") => None,
        Some(_) => Some("an unknown type"),
    }
}

/// RFC 6120 section 8.2.3.
fn iq(stanza: &Stanza) -> Option<&'static str> {
    if stanza.id().is_none() {
        return Some("an iq without id");
    }
    match stanza.type_() {
        Some("get" | "set") if stanza.children().len() != 1 => Some("a request that does not hold exactly one child"),
        Some("result") if stanza.children().len() > 1 => Some("a result with more than one child"),
        Some("get" | "set" | "result" | "error") => None,
        _ => Some("an unknown type"),
    }
}
