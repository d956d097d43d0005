//! Which conversation a message belongs to: `<thread/>` ↔ a chain of References.

use isthmus_bridge::{ContactId, Gateway, Message, MessageRef, Outbound, StoreError};

use crate::state::{self, Begun, Chain};
use crate::translate::outbound::{bare_subject, reply_subject, subject_line};

/// A message's place in a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Talk {
    /// The thread.
    pub thread: String,
    /// What went before; empty for a new conversation.
    pub chain: Chain,
    /// The subject of the mail; `None`: the one of the settings.
    pub subject: Option<String>,
    /// The text, without a line that set the subject.
    pub text: String,
}

impl Talk {
    /// That of a later try of the same mail: what the first one has found, with the words as they are now.
    pub(crate) fn again(message: &Message, begun: &Begun) -> Self {
        let (subject, text) = match subject_line(&message.body) {
            Some((subject, rest)) => (Some(subject.to_owned()), rest.to_owned()),
            None => (begun.subject.clone(), message.body.clone()),
        };
        Self { thread: begun.thread.clone(), chain: begun.chain.clone(), subject, text }
    }
}

/// Finds it. `with` is the contact, where there is only one.
pub(crate) async fn place(
    host: &dyn Gateway,
    event: &Outbound,
    message: &Message,
    with: Option<&ContactId>,
) -> Result<Talk, StoreError> {
    let fresh = || message.thread.clone().unwrap_or_else(|| format!("mail-{}", event.key));
    // A first line `Subject: …` begins a new conversation, even in a client that keeps one `<thread/>` for ever.
    if let Some((subject, rest)) = subject_line(&message.body) {
        let (subject, text) = (Some(subject.to_owned()), rest.to_owned());
        return Ok(Talk { thread: fresh(), chain: Chain::default(), subject, text });
    }
    let (thread, chain) = match answered(host, event, message).await? {
        Some(found) => found,
        None => match current(host, event, message, with).await? {
            Some(thread) => {
                let chain = state::chain(host, &event.user, &thread).await?.unwrap_or_default();
                (thread, chain)
            }
            None => (fresh(), Chain::default()),
        },
    };
    let said = message.subject.as_deref().map(str::trim).filter(|s| !s.is_empty());
    let text = message.body.clone();
    // Another subject without a thread is another matter.
    if message.thread.is_none()
        && message.reply_to.is_none()
        && said.is_some_and(|s| !chain.subject.is_empty() && bare_subject(s) != chain.subject)
    {
        return Ok(Talk { thread: fresh(), chain: Chain::default(), subject: said.map(str::to_owned), text });
    }
    let subject = said.map(str::to_owned).or_else(|| Some(reply_subject(&chain.subject)).filter(|s| !s.is_empty()));
    Ok(Talk { thread, chain, subject, text })
}

/// The conversation of the very mail that the message answers (XEP-0461); that mail comes last in the references.
async fn answered(
    host: &dyn Gateway,
    event: &Outbound,
    message: &Message,
) -> Result<Option<(String, Chain)>, StoreError> {
    let Some(of) = &message.reply_to else { return Ok(None) };
    let known = host.find(of).await?.filter(|known| known.user == event.user);
    let id = match (of, &known) {
        (_, Some(known)) if !known.ids.is_empty() => known.ids[0].as_str().to_owned(),
        (MessageRef::Foreign { id, .. }, _) => id.as_str().to_owned(),
        _ => return Ok(None),
    };
    let thread = match state::thread_of(host, &event.user, &id).await? {
        Some(thread) => thread,
        None => match known.and_then(|k| k.thread).or_else(|| message.thread.clone()) {
            Some(thread) => thread,
            None => return Ok(None),
        },
    };
    let mut chain = state::chain(host, &event.user, &thread).await?.unwrap_or_default();
    chain.push(&id);
    Ok(Some((thread, chain)))
}

/// The message's own thread, else the latest one with that contact.
async fn current(
    host: &dyn Gateway,
    event: &Outbound,
    message: &Message,
    with: Option<&ContactId>,
) -> Result<Option<String>, StoreError> {
    match (&message.thread, with) {
        (Some(thread), _) => Ok(Some(thread.clone())),
        (None, Some(contact)) => state::latest_thread(host, &event.user, contact).await,
        (None, None) => Ok(None),
    }
}
