//! The write barrier: a ping that the server routes back to us tells that it has taken all that went before.
//!
//! Prosody and ejabberd both route an iq from `b<random>@domain` to `domain` back to the component, behind what was
//! written before it. Any iq with our id counts: the ping itself, a result, an error. On ejabberd with several
//! connections of one component the sender's address decides which of them gets the ping, so the local part is found
//! by trial: the first one whose ping comes back on its own stream serves for that stream.

use std::collections::HashMap;

use tokio::sync::oneshot;

use super::error::LinkError;
use super::stanza::{Kind, Stanza};

type Answer = oneshot::Sender<Result<(), LinkError>>;

/// How a barrier ends: it came back, or the stream ended first.
pub(super) type Return = oneshot::Receiver<Result<(), LinkError>>;

/// What one stream is waiting for.
#[derive(Debug, Default)]
pub(super) struct Barriers {
    /// The local part whose pings come back to this stream.
    local: Option<String>,
    /// Ids of trial pings, and the local part that each was sent from.
    trials: HashMap<String, String>,
    waiting: HashMap<String, Answer>,
    /// Keepalive pings need no bookkeeping: whatever comes back shows that the server lives. Their ids begin so.
    keepalive: Option<String>,
}

impl Barriers {
    /// A ping to write behind a batch, and where its return is reported. None until a local part is known.
    pub(super) fn start(&mut self, domain: &str) -> Option<(Vec<u8>, Return)> {
        let local = self.local.as_ref()?;
        let id = random();
        let ping = ping(local, domain, &id);
        let (answer, waiting) = oneshot::channel();
        self.waiting.retain(|_, answer| !answer.is_closed());
        self.waiting.insert(id, answer);
        Some((ping, waiting))
    }

    /// A ping from an address not tried yet.
    pub(super) fn trial(&mut self, domain: &str) -> Vec<u8> {
        let (local, id) = (format!("b{}", &random()[..16]), random());
        let ping = ping(&local, domain, &id);
        self.trials.insert(id, local);
        ping
    }

    /// A ping whose return nobody waits for.
    pub(super) fn keepalive(&mut self, domain: &str) -> Vec<u8> {
        let id = self.keepalive.get_or_insert_with(random);
        ping(self.local.as_deref().unwrap_or("b"), domain, id)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.local.is_some()
    }

    /// Whether this stanza is one of our pings, or an answer to one; then nobody else needs to see it.
    pub(super) fn on_stanza(&mut self, stanza: &Stanza) -> bool {
        if stanza.kind() != Kind::Iq {
            return false;
        }
        let Some(id) = stanza.id() else { return false };
        if let Some(answer) = self.waiting.remove(id) {
            let _ = answer.send(Ok(())); // who waited may have gone
            return true;
        }
        if let Some(local) = self.trials.remove(id) {
            self.local.get_or_insert(local);
            return true;
        }
        self.keepalive.as_deref() == Some(id)
    }

    /// Tells all who wait that the stream ended.
    pub(super) fn lost(self, reason: &LinkError) {
        for answer in self.waiting.into_values() {
            let _ = answer.send(Err(reason.clone()));
        }
    }
}

fn ping(local: &str, domain: &str, id: &str) -> Vec<u8> {
    // Nothing needs escaping: hex digits and a domain that the configuration has checked.
    format!("<iq from='{local}@{domain}' to='{domain}' id='{id}' type='get'><ping xmlns='urn:xmpp:ping'/></iq>")
        .into_bytes()
}

/// 128 unguessable bits: nobody else may answer our pings.
fn random() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}
