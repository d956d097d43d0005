//! Stanza ids ↔ messages of the network: what answers, corrections, marks and reactions refer to.

use isthmus_bridge::{BareJid, Event, Inbound, MessageRef};
use tracing::warn;

use super::core::{Core, Served};

impl Core {
    /// The message that a stanza id of this user's conversation means.
    pub(super) async fn reference(&self, served: &Served, user: &BareJid, stanza_id: &str) -> Option<MessageRef> {
        let known = self.outbox.by_stanza(&served.instance.name, user, stanza_id).await;
        let known = known.inspect_err(|e| warn!(error = %e, "a reference could not be looked up")).ok().flatten()?;
        let network = served.network(&known.address);
        match (known.ids.into_iter().next(), known.key) {
            (Some(id), _) => Some(MessageRef::foreign(network, id)),
            (None, Some(key)) => Some(MessageRef::Key(key)),
            (None, None) => None,
        }
    }

    /// The stanza id, and its author's JID, of the message that an event refers to.
    pub(super) async fn referenced(&self, served: &Served, event: &Inbound) -> Option<(String, String)> {
        let of = match &event.event {
            Event::Message(message) => message.replaces.as_ref().or(message.reply_to.as_ref())?,
            Event::Marked { of } | Event::Reacted { of, .. } | Event::Retracted { of, .. } => of,
            Event::Notice { about, .. } => about.as_ref()?,
            _ => return None,
        };
        let found = self.outbox.stanza_of(&served.instance.name, of).await;
        let found = found.inspect_err(|e| warn!(error = %e, "a reference could not be looked up")).ok().flatten()?;
        let author = if found.outbound { event.to.to_string() } else { served.jid(&event.from)? };
        Some((found.id, author))
    }
}
