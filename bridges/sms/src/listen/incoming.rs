//! A text from outside: whose it is, and one event for each of them.

use std::time::SystemTime;

use isthmus_bridge::{
    Address, BareJid, ContactId, Event, File, ForeignMessageId, Host, Inbound, Message, OnceKey, Refused, StoreError,
    Taken,
};
use tracing::{debug, info, warn};

use super::webhook::NotTaken;
use super::{media, optout, parts};
use crate::Texts;
use crate::carry::foreign;
use crate::config::Provider;
use crate::provider::auth::sha256_hex;
use crate::provider::hook::Heard;
use crate::state;
use crate::translate::number::{Number, Shortened};

/// A whole text, its numbers in their one spelling.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    /// Our number.
    pub own: ContactId,
    /// The sender.
    pub from: Number,
    /// The sender as the provider wrote it.
    pub spelled: String,
    /// Words.
    pub text: String,
    /// What came instead of words.
    pub data: Option<bytes::Bytes>,
    /// The provider's id, with its name before it.
    pub id: Option<String>,
    /// When it was sent.
    pub at: SystemTime,
    /// URLs of media.
    pub media: Vec<String>,
    /// What makes a copy.
    pub once: String,
}

/// Takes a text, or a part of one.
pub(crate) async fn take(texts: &Texts, provider: &Provider, heard: Heard, host: &Host) -> Result<(), NotTaken> {
    let plan = &texts.config.plan;
    let international = provider.spec.numbers.in_digits;
    let own = plan.heard(&heard.to, international);
    let from = plan.heard(&heard.from, international);
    let (Some(own), Some(from)) = (own, from) else {
        warn!(provider = provider.name, "a text names a number that is none");
        return Err(NotTaken::Unreadable);
    };
    let own = own.contact();
    let once = once(provider, &own, &from, &heard);
    let now = host.now();
    let at = heard.at.filter(|at| *at <= now).unwrap_or(now);
    if let Some(part) = heard.part {
        let kept = state::KeptPart {
            provider: provider.name.clone(),
            own: own.to_string(),
            from: from.to_string(),
            spelled: heard.from,
            count: part.count,
            number: part.number,
            // A part of eight bits is shown as what it would be as text: it has no other place among the parts.
            text: heard.data.map_or(heard.text, |data| data.iter().map(|b| char::from(*b)).collect()),
            once,
            id: heard.id,
            came: state::seconds(now),
            at: state::seconds(at),
        };
        return parts::take(texts, host, &part.of, kept).await;
    }
    let id = heard.id.map(|id| foreign(&provider.name, &id));
    let (text, data) = (heard.text, heard.data);
    let letter = Letter { own, from, spelled: heard.from, text, data, id, at, media: heard.media, once };
    deliver(texts, Some(provider), letter, host).await
}

/// Made of what the provider file says, the numbers always among it.
fn once(provider: &Provider, own: &ContactId, from: &Number, heard: &Heard) -> String {
    let part = heard.part.as_ref().map(|p| format!("{} {} {}", p.of, p.number, p.count)).unwrap_or_default();
    let all = [provider.name.as_str(), own.as_str(), from.as_str(), &part];
    let all: Vec<&str> = all.into_iter().chain(heard.once.iter().map(String::as_str)).collect();
    sha256_hex(serde_json::to_string(&all).unwrap_or_default().as_bytes())
}

/// Gives a whole text to whom it is for. `Ok` after it is committed.
pub(crate) async fn deliver(
    texts: &Texts,
    provider: Option<&Provider>,
    letter: Letter,
    host: &Host,
) -> Result<(), NotTaken> {
    let peer = letter.from.contact();
    let users = whose(texts, host, &letter.own, &peer).await.map_err(|_| NotTaken::Later)?;
    let users: Vec<BareJid> = users.into_iter().filter(|user| host.may_receive(user)).collect();
    if users.is_empty() {
        warn!(to = %Shortened(letter.own.as_str()), from = %Shortened(peer.as_str()), "a text to a number that is nobody's");
        return Err(NotTaken::Unknown);
    }
    if matches!(letter.from, Number::Short(_)) {
        host.store(vec![state::see_short(&peer)]).await.map_err(|_| NotTaken::Later)?;
    }
    let warning = optout::heed(texts, host, &letter).await.map_err(|_| NotTaken::Later)?;
    let mut files = match provider {
        Some(provider) => media::keep(texts, provider, &letter.media, host).await.map_err(|_| NotTaken::Later)?,
        None => Vec::new(),
    };
    if let Some(data) = &letter.data {
        files.push(media::keep_data(data, host).await.map_err(|_| NotTaken::Later)?);
    }
    let events: Vec<Inbound> = users
        .iter()
        .filter(|user| !host.blocked(user, &Address::Contact(peer.clone())))
        .map(|user| event(user, &letter, &files, warning.clone()))
        .collect();
    let mut worst = Ok(());
    for taken in host.accept(events).await {
        match taken {
            Ok(()) => {}
            Err(Refused::Never(error)) => {
                info!(failure = ?error.failure, "a text was refused for its user");
                worst = worst.and(Err(NotTaken::Never));
            }
            Err(error) => {
                debug!(%error, "a text waits for the store");
                worst = Err(NotTaken::Later);
            }
        }
    }
    worst?;
    optout::reply(texts, host, &letter).await;
    Ok(())
}

fn event(user: &BareJid, letter: &Letter, files: &[File], warning: Option<isthmus_bridge::Text>) -> Inbound {
    let mut message = Message::chat(letter.text.clone());
    message.files = files.to_vec();
    message.warning = warning;
    // The one spelling has no capitals.
    if matches!(letter.from, Number::Name(_)) {
        message.nick = Some(letter.spelled.chars().filter(|c| !c.is_control()).take(64).collect());
    }
    let mut event =
        Inbound::new(user.clone(), Address::Contact(letter.from.contact()), Event::Message(Box::new(message)));
    event.at = letter.at;
    event.id = letter.id.as_deref().map(ForeignMessageId::from);
    event.once = Some(OnceKey::from(letter.once.as_str()));
    event
}

/// The sole owner, the configured user, who wrote last, the configured owner or room.
async fn whose(texts: &Texts, host: &Host, own: &ContactId, peer: &ContactId) -> Result<Vec<BareJid>, StoreError> {
    if let Some(owner) = host.owner(own).await? {
        return Ok(vec![owner]);
    }
    let configured = texts.config.numbers.iter().find(|n| n.number == *own);
    if let Some(user) = configured.and_then(|n| n.user.as_ref()) {
        // Theirs from the first text on; but what was somebody else's stays so, whatever the configuration says.
        return match host.claim(user, own).await {
            Ok(()) => Ok(vec![user.clone()]),
            Err(Taken::Store(error)) => Err(error),
            Err(_) => Ok(Vec::new()),
        };
    }
    if let Some(user) = state::last_writer(host.as_ref(), own, peer).await? {
        return Ok(vec![user]);
    }
    let routed = host.route(own, peer).await?;
    if !routed.is_empty() {
        return Ok(routed);
    }
    Ok(configured.and_then(|n| n.room.clone().or_else(|| n.owner.clone())).into_iter().collect())
}
