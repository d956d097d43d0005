//! The few stanza errors that the link itself sends: for what no other part of the gateway gets to see.

use super::error::NotSent;
use super::handle::Shared;
use super::lanes::Lane;
use super::scan::BadStanza;
use super::stanza::{Kind, Stanza};
use super::write;

const STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";

/// Why a stanza is refused without being looked at further (RFC 6120 section 8.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is malformed.
    BadRequest,
    /// An address in it is no JID.
    JidMalformed,
    /// It is larger or deeper than we take.
    PolicyViolation,
}

impl Refusal {
    fn condition(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::JidMalformed => "jid-malformed",
            Self::PolicyViolation => "policy-violation",
        }
    }
}

/// Answers where an answer is allowed: never to an error or a result, never without a sender (RFC 6120 section 8.3.1).
pub(super) fn refuse_stanza(shared: &Shared, stanza: &Stanza, why: Refusal) -> Result<(), NotSent> {
    refuse(shared, &BadStanza::of(stanza, "", why))
}

/// As [`refuse_stanza`], for what the reader refused.
pub(super) fn refuse(shared: &Shared, bad: &BadStanza) -> Result<(), NotSent> {
    let Some(kind) = bad.kind else { return Ok(()) };
    let Some(sender) = bad.from.as_deref().filter(|from| !from.is_empty()) else { return Ok(()) };
    let type_ = bad.type_.as_deref();
    if type_ == Some("error") || (kind == Kind::Iq && (type_ == Some("result") || bad.id.is_none())) {
        return Ok(());
    }
    // An answer comes from where the stanza went, unless that is nothing that the server would let us say.
    let domain = shared.domain.as_str();
    let addressed = bad.to.as_deref().unwrap_or(domain);
    let ours = write::addresses(addressed, sender, domain).is_ok() && addressed.parse::<jid::Jid>().is_ok();
    let from = if ours { addressed } else { domain };
    if sender.parse::<jid::Jid>().is_err() {
        return Ok(());
    }
    shared.write(Lane::LINK, |writer| {
        let id = bad.id.as_deref();
        match kind {
            Kind::Message => writer.message(from, sender, Some("error"), id),
            Kind::Presence => writer.presence(from, sender, Some("error"), id),
            Kind::Iq => writer.iq(from, sender, "error", id.unwrap_or_default()),
        };
        writer.open("error", None).attr("type", "modify").open(bad.refusal.condition(), Some(STANZAS));
    })
}
