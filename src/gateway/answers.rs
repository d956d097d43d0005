//! Our own questions to the server and to others, and their answers.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use minidom::Element;
use tokio::sync::oneshot;

use super::core::{Core, Served};
use super::receive::Heard;
use crate::storage::fresh_id;
use crate::translate::outbound;
use crate::xmpp::errors::StanzaError;
use crate::xmpp::xml::Xml;

/// Questions that wait for their answer, by id and by whom they went to.
#[derive(Default)]
pub(super) struct Answers(Mutex<HashMap<String, (String, oneshot::Sender<Answer>)>>);

/// The payload of a result, if it has one.
type Answer = Result<Option<Element>, Unanswered>;

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// An error stanza.
    #[error("{condition}{}", text.as_ref().map(|t| format!(" ({t})")).unwrap_or_default())]
    Error {
        /// The defined condition.
        condition: String,
        /// Its words.
        text: Option<String>,
    },
    /// No answer in time.
    #[error("no answer in time")]
    Silence,
    /// It could not be sent.
    #[error("not attached")]
    NotSent,
}

impl Answers {
    /// A result or an error. Answers only count from whom was asked: anybody could guess at ids.
    pub(super) fn take(&self, heard: &Heard) {
        let Some(id) = heard.stanza.id() else { return };
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.get(id).is_none_or(|(asked, _)| asked != heard.from.full()) {
            return;
        }
        let Some((_, back)) = waiting.remove(id) else { return };
        let answer = if heard.stanza.type_() == Some("result") {
            Ok(heard.stanza.children().next().and_then(|c| c.element().ok()))
        } else {
            let returned = outbound::error_of(&heard.stanza);
            Err(Unanswered::Error { condition: returned.condition, text: returned.text })
        };
        // Nobody waits any more when the time was over: then the answer is dropped here.
        drop(back.send(answer));
    }
}

impl Core {
    /// Asks and waits for at most `patience`.
    pub(super) async fn ask(
        &self,
        served: &Served,
        from: &str,
        to: &str,
        kind: &'static str,
        payload: &Element,
        patience: Duration,
    ) -> Answer {
        let id = fresh_id();
        let (back, answer) = oneshot::channel();
        self.answers.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), (to.to_owned(), back));
        let _asked = Asked { answers: &self.answers, id: &id };
        let mut xml = Xml::stanza("iq");
        xml.attr("type", kind).attr("from", from).attr("to", to).attr("id", &id).element(payload);
        let sent = served.link().send_raw(crate::xmpp::link::Lane::GATEWAY, xml.finish().as_bytes());
        match sent {
            Err(_) => Err(Unanswered::NotSent),
            Ok(()) => tokio::select! {
                answered = answer => answered.unwrap_or(Err(Unanswered::Silence)),
                () = self.store.clock().pass(patience) => Err(Unanswered::Silence),
                // The orderly stop waits for nobody's answer.
                () = self.stop.cancelled() => Err(Unanswered::NotSent),
            },
        }
    }
}

/// A question that is waited for; forgotten when it is not any more, also by who has given up.
struct Asked<'a> {
    answers: &'a Answers,
    id: &'a str,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.answers.0.lock().unwrap_or_else(PoisonError::into_inner).remove(self.id);
    }
}

impl From<Unanswered> for StanzaError {
    fn from(_: Unanswered) -> Self {
        Self::new(crate::xmpp::errors::ErrorType::Wait, "remote-server-timeout")
    }
}
