//! A short attachment, to see whether the server takes us and what it grants.

use std::sync::Arc;
use std::time::Duration;

use minidom::Element;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::xmpp::link::{
    self, BadStanza, Kind, Lane, LinkConfig, LinkError, LinkHandle, LinkState, Permit, Receive, Stanza,
};
use crate::xmpp::ns;
use crate::xmpp::privilege::{self, Grants};
use crate::xmpp::xml::Xml;

/// How long one question to the server may take.
const ANSWER: Duration = Duration::from_secs(10);

/// How long the server's grants are waited for; both servers send them at once.
const GRANTS: Duration = Duration::from_millis(500);

/// A link that is attached for as long as this lives.
pub(super) struct Attached {
    handle: LinkHandle,
    stanzas: mpsc::Receiver<Stanza>,
    grants: Vec<(String, Grants)>,
    stop: CancellationToken,
    life: JoinHandle<link::LinkEnd>,
    asked: u32,
}

impl Attached {
    /// Attaches, once.
    pub(super) async fn attach(config: LinkConfig) -> Result<Self, LinkError> {
        let stop = CancellationToken::new();
        let (sender, stanzas) = mpsc::channel(64);
        let (handle, life) = link::start(config, Arc::new(Ear(sender)), stop.clone());
        let mut state = handle.state();
        let life = tokio::spawn(life);
        let attached = loop {
            let now = state.borrow_and_update().clone();
            match now {
                LinkState::Attached { .. } => break Ok(()),
                LinkState::Down { reason, .. } => break Err(reason),
                LinkState::Connecting => {}
            }
            if state.changed().await.is_err() {
                break Err(LinkError::Stopped);
            }
        };
        let mut made = Self { handle, stanzas, grants: Vec::new(), stop, life, asked: 0 };
        if let Err(reason) = attached {
            made.leave().await;
            return Err(reason);
        }
        made.listen(Instant::now() + GRANTS).await;
        Ok(made)
    }

    /// What the server grants (XEP-0356).
    pub(super) fn grants(&self) -> &[(String, Grants)] {
        &self.grants
    }

    /// Asks `to` and gives what the answer holds; an error's condition in words.
    pub(super) async fn get(&mut self, to: &str, payload: impl FnOnce(&mut Xml)) -> Result<Option<Element>, String> {
        self.asked += 1;
        let id = format!("check-{}", self.asked);
        let mut xml = Xml::stanza("iq");
        xml.attr("type", "get").attr("id", &id).attr("from", self.handle.domain()).attr("to", to);
        payload(&mut xml);
        self.handle.send_raw(Lane::GATEWAY, xml.finish().as_bytes()).map_err(|e| e.to_string())?;
        let until = Instant::now() + ANSWER;
        loop {
            let Some(stanza) = self.next(until).await else { return Err("no answer within 10 seconds".to_owned()) };
            if stanza.kind() != Kind::Iq || stanza.id() != Some(&id) {
                continue;
            }
            let element = stanza.element().map_err(|e| e.to_string())?;
            if stanza.type_() == Some("result") {
                return Ok(element.children().next().cloned());
            }
            let error = element.get_child("error", ns::CLIENT);
            let condition = error.and_then(|e| e.children().find(|c| c.has_ns(ns::STANZAS) && c.name() != "text"));
            return Err(condition.map_or("an error without a condition", |c| c.name()).to_owned());
        }
    }

    /// Closes the stream in order.
    pub(super) async fn leave(self) {
        self.stop.cancel();
        // Its end says nothing that is not known.
        let _ = self.life.await;
    }

    async fn listen(&mut self, until: Instant) {
        while self.next(until).await.is_some() {}
    }

    /// The next stanza; what is not for us is answered, so that no sender waits for ever.
    async fn next(&mut self, until: Instant) -> Option<Stanza> {
        let stanza = timeout_at(until, self.stanzas.recv()).await.ok()??;
        if let Some(grants) = privilege::advertised(&stanza) {
            // Only the server itself grants: its address is a bare domain.
            if let Some(from) = stanza.from().filter(|from| !from.contains(['@', '/'])) {
                self.grants.push((from.to_owned(), grants));
            }
        } else if stanza.type_() != Some("error") && stanza.type_() != Some("result") && stanza.kind() != Kind::Presence
        {
            self.put_off(&stanza);
        }
        Some(stanza)
    }

    fn put_off(&self, stanza: &Stanza) {
        let (Some(from), Some(to)) = (stanza.from(), stanza.to()) else { return };
        let mut xml = Xml::stanza(stanza.kind().name());
        xml.attr("type", "error").attr_opt("id", stanza.id()).attr("from", to).attr("to", from);
        xml.open("error", "").attr("type", "wait").empty("recipient-unavailable", ns::STANZAS);
        // A server that does not take it ends the stream, which the next question shows.
        let _ = self.handle.send_raw(Lane::GATEWAY, xml.finish().as_bytes());
    }
}

/// Hands stanzas over; what is too much is dropped, the attachment lasts a second.
struct Ear(mpsc::Sender<Stanza>);

impl Receive for Ear {
    fn on_stanza(&self, stanza: Stanza, _permit: Permit) {
        let _ = self.0.try_send(stanza);
    }

    fn on_malformed(&self, _: BadStanza) {}

    fn on_state(&self, _: &LinkState) {}
}
