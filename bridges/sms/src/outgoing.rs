//! Sends a message as texts: number, recipients, words, pictures, limits; one outcome for each recipient.

use std::time::Duration;

use isthmus_bridge::{
    Address, BareJid, ContactId, DeliveryError, Failure, Fetch, FileSource, ForeignMessageId, Host, Leg, Message,
    Outbound, RecipientKind, Resolved, Sent, StoreError, Text, Ticket,
};
use ring::digest;
use tokio::time::Instant;
use tracing::info;
use url::Url;

use crate::address;
use crate::carry::{self, Sending};
use crate::limits::Usage;
use crate::session::store_away;
use crate::translate::fold::fold;
use crate::translate::letters::segments;
use crate::translate::number::Number;
use crate::{Texts, settings, state};

/// Time for each picture that is fetched.
const FETCH: Duration = Duration::from_secs(60);
/// Time for all of them together; the rest stay links.
pub(crate) const PICTURES: Duration = Duration::from_secs(120);
/// Recipients of one message are begun with in this time. The rest are tried again by the core: they are not to wait until the delivery as a whole is
/// over its time, and uncertain for all of them.
pub(crate) const BEGIN: Duration = Duration::from_secs(180);
/// Bytes of a picture that goes as MMS: what carriers take.
const PICTURE: u64 = 5 << 20;

/// Sends it and answers the ticket.
pub(crate) async fn send(texts: &Texts, host: &Host, event: &Outbound, message: &Message, ticket: Ticket) {
    let ready = match prepare(texts, host, event, message).await {
        Ok(ready) => ready,
        Err(error) => return ticket.failed(error),
    };
    if ready.sendings.is_empty() {
        return ticket.done(ready.refused);
    }
    let price = |s: &Sending| cost(texts, s);
    let total = ready.sendings.iter().map(price).fold(Usage::default(), plus);
    if let Err(error) = texts.meter.take(host.as_ref(), &texts.config.limits, &event.user, total).await {
        return ticket.failed(error);
    }
    // An error: somebody else has the event now, or the store is away. Nothing may leave, nothing may be said.
    if ticket.starting().await.is_err() {
        texts.meter.give_back(host.as_ref(), &event.user, total).await;
        return drop(ticket);
    }
    let before = match remember_writer(texts, host, event, &ready.sendings).await {
        Ok(before) => before,
        Err(error) => {
            texts.meter.give_back(host.as_ref(), &event.user, total).await;
            return ticket.failed(store_away(error));
        }
    };
    let several = event.to.len() > 1;
    let mut legs = ready.refused;
    let until = Instant::now() + BEGIN;
    for sending in &ready.sendings {
        let result = match Instant::now() < until {
            true => carry::carry(texts, host, &event.user, sending, event.attempt).await,
            false => Err(DeliveryError::temporary(Failure::Unreachable, Text::key("not-yet"))),
        };
        if let (Ok(taken), true) = (&result, sending.to.len() > 1) {
            // Lost, reports of a group message are about the whole of it; nothing worse.
            let _ = host.store(taken.ids.iter().map(|id| state::group(host.now(), id)).collect()).await;
        }
        if result.as_ref().is_err_and(|e| e.sent == Sent::No) {
            texts.meter.give_back(host.as_ref(), &event.user, price(sending)).await;
            forget_writer(host, &event.user, sending, &before).await;
        }
        for number in &sending.to {
            let to = several.then(|| number.contact());
            legs.push(match &result {
                Ok(taken) => Leg::sent(to, taken.ids.iter().map(|id| ForeignMessageId::from(id.as_str())).collect()),
                Err(error) => Leg::failed(to, error.clone()),
            });
        }
    }
    ticket.done(legs);
}

/// Reactions, where the user wants to pay for them; those that are taken back change nothing on a phone.
pub(crate) async fn react(texts: &Texts, host: &Host, event: &Outbound, add: &[String], ticket: Ticket) {
    let at = event.to.first().map_or(Address::Gateway, |to| to.address.clone());
    if add.is_empty() || !host.resolved(&event.user, &at).bool(settings::REACTIONS) {
        return ticket.sent(None);
    }
    send(texts, host, event, &Message::chat(add.join(" ")), ticket).await;
}

/// Texts that are ready to go, and recipients whom none goes to.
struct Ready {
    sendings: Vec<Sending>,
    refused: Vec<Leg>,
}

async fn prepare(texts: &Texts, host: &Host, event: &Outbound, message: &Message) -> Result<Ready, DeliveryError> {
    let only = match event.to.as_slice() {
        [one] => one.address.clone(),
        _ => Address::Gateway,
    };
    let wishes = host.resolved(&event.user, &only);
    let own = own_number(texts, host, event, &wishes).await?;
    let (open, hidden, refused) = recipients(texts, host, event, &own).await?;
    let numbers: Vec<Number> = open.iter().chain(&hidden).cloned().collect();
    if numbers.is_empty() {
        if refused.is_empty() {
            return Err(no_number());
        }
        return Ok(Ready { sendings: Vec::new(), refused });
    }
    let together = open.len() > 1 && wishes.str(settings::GROUP) != settings::SINGLY;
    let (media, links) = pictures(texts, host, event, message, &own, &wishes).await;
    let body = body(message, &event.user, &links, !media.is_empty());
    let body = if wishes.bool(settings::FOLD) { fold(&body) } else { body };
    let count = segments(&body);
    let limit = texts.config.limits.segments;
    if count > limit && media.is_empty() {
        let text = Text::key("too-many-segments").with("segments", count).with("limit", limit);
        return Err(DeliveryError::new(Failure::TooLong { limit: u64::from(limit) }, text));
    }
    if body.is_empty() && media.is_empty() {
        return Err(DeliveryError::new(Failure::Rejected, Text::key("nothing-to-send")));
    }
    let sending =
        |key: String, to: Vec<Number>| Sending { key, own: own.clone(), to, text: body.clone(), media: media.clone() };
    let singly = |numbers: &[Number]| numbers.iter().map(|n| sending(key(event, n), vec![n.clone()])).collect();
    let group = sending(event.key.to_string(), open.clone());
    let mut sendings =
        if together && !carry::candidates(texts, &group).is_empty() { vec![group] } else { singly(&open) };
    // In a group message everybody sees everybody.
    sendings.extend::<Vec<Sending>>(singly(&hidden));
    Ok(Ready { sendings, refused })
}

/// Stable over every try, whichever recipients are left in it.
fn key(event: &Outbound, number: &Number) -> String {
    let hash = digest::digest(&digest::SHA256, number.as_str().as_bytes());
    format!("{}x{}", event.key, hex::encode(&hash.as_ref()[..4]))
}

/// The number that it comes from: the one that the user chose, their own, a shared one.
async fn own_number(
    texts: &Texts,
    host: &Host,
    event: &Outbound,
    wishes: &Resolved,
) -> Result<ContactId, DeliveryError> {
    let own = host.identities(&event.user).await.map_err(store_away)?;
    let shared: Vec<ContactId> = texts.config.numbers.iter().filter(|n| n.shared).map(|n| n.number.clone()).collect();
    let wished = wishes.get(settings::NUMBER).and_then(|typed| texts.config.plan.typed(typed)).map(|n| n.contact());
    let may = |number: &ContactId| own.contains(number) || shared.contains(number);
    for number in event.own.iter().chain(&wished) {
        if may(number) {
            return Ok(number.clone());
        }
    }
    // A room answers from the number that it was given.
    let rooms = texts.config.numbers.iter().find(|n| n.room.as_ref() == Some(&event.user)).map(|n| n.number.clone());
    let first = own.into_iter().next().or(rooms).or_else(|| shared.into_iter().next());
    first.ok_or_else(|| DeliveryError::new(Failure::NotRegistered, Text::key("register-first")))
}

/// Numbers that others may see, numbers that they may not, and recipients whom nothing goes to.
async fn recipients(
    texts: &Texts,
    host: &Host,
    event: &Outbound,
    own: &ContactId,
) -> Result<(Vec<Number>, Vec<Number>, Vec<Leg>), DeliveryError> {
    let (mut open, mut hidden, mut refused): (Vec<Number>, Vec<Number>, Vec<Leg>) =
        (Vec::new(), Vec::new(), Vec::new());
    for recipient in &event.to {
        let Some(contact) = address::contact(&recipient.address) else {
            refused.push(Leg::failed(None, no_number()));
            continue;
        };
        let number = Number::of(contact);
        if open.contains(&number) || hidden.contains(&number) {
            continue;
        }
        match closed(texts, host, own, &number).await.map_err(store_away)? {
            Some(error) => refused.push(Leg::failed((event.to.len() > 1).then(|| contact.clone()), error)),
            None if recipient.kind == RecipientKind::Bcc => hidden.push(number),
            None => open.push(number),
        }
    }
    Ok((open, hidden, refused))
}

/// Why nothing goes to this number.
async fn closed(
    texts: &Texts,
    host: &Host,
    own: &ContactId,
    number: &Number,
) -> Result<Option<DeliveryError>, StoreError> {
    let forbidden = |name: &'static str| DeliveryError::new(Failure::Forbidden, Text::key(name).with("number", number));
    let contact = number.contact();
    Ok(match number {
        Number::Name(_) => {
            Some(DeliveryError::new(Failure::Unsupported, Text::key("receive-only").with("name", number)))
        }
        Number::Short(code)
            if !texts.config.short_codes.contains(code) && !state::short_seen(host.as_ref(), &contact).await? =>
        {
            Some(forbidden("short-code-closed"))
        }
        _ if !texts.config.limits.is_open(number) => Some(forbidden("prefix-closed")),
        // Its answers go to who wrote last *from* it: to write to it is to take part in other people's conversations.
        _ if texts.config.numbers.iter().any(|n| n.shared && n.number == contact) => Some(forbidden("own-number")),
        _ if state::opted_out(host.as_ref(), own, &contact).await? => Some(forbidden("opted-out")),
        _ => None,
    })
}

/// Pictures that go as MMS, and links of files that do not.
async fn pictures(
    texts: &Texts,
    host: &Host,
    event: &Outbound,
    message: &Message,
    own: &ContactId,
    wishes: &Resolved,
) -> (Vec<String>, Vec<String>) {
    let (mut media, mut links) = (Vec::new(), Vec::new());
    let number = event.to.iter().find_map(|to| address::contact(&to.address)).map(Number::of);
    let probe = Sending {
        key: String::new(),
        own: own.clone(),
        to: number.into_iter().collect(),
        text: String::new(),
        media: vec![String::new()],
    };
    let mms = wishes.bool(settings::MMS) && !carry::candidates(texts, &probe).is_empty();
    let until = Instant::now() + PICTURES;
    for file in &message.files {
        let picture = match &file.source {
            _ if !mms => None,
            FileSource::Blob(id) => host.link(id).await.ok().flatten(),
            FileSource::Url(_) if Instant::now() >= until => None,
            FileSource::Url(url) => picture_at(texts, host, event, url, until).await,
            _ => None,
        };
        match picture {
            Some(url) => media.push(url.to_string()),
            None => links.extend(link(host, file).await),
        }
    }
    (media, links)
}

/// The kept file of a link. One that an earlier try of the same message has fetched is not fetched, and counted for its user, again.
async fn picture_at(texts: &Texts, host: &Host, event: &Outbound, url: &Url, until: Instant) -> Option<Url> {
    let key = format!("{} {}", event.key, hex::encode(digest::digest(&digest::SHA256, url.as_str().as_bytes())));
    if let Ok(Some(known)) = state::picture(host.as_ref(), &key).await
        && let Ok(Some(link)) = host.link(&known).await
    {
        return Some(link);
    }
    match host.fetch(url, within(until, &event.user)).await {
        Ok(id) => {
            // Lost, it is fetched once more; nothing worse.
            let kept = state::keep_picture(host.now() + texts.config.max_age, &event.user, &key, &id);
            let _ = host.store(vec![kept]).await;
            host.link(&id).await.ok().flatten()
        }
        Err(error) => {
            info!(key = %event.key, failure = ?error.failure, "a picture is left as a link");
            None
        }
    }
}

fn within(until: Instant, user: &BareJid) -> Fetch {
    Fetch::new(user.clone(), PICTURE, FETCH.min(until.saturating_duration_since(Instant::now())))
}

async fn link(host: &Host, file: &isthmus_bridge::File) -> Option<String> {
    let url = match &file.source {
        FileSource::Url(url) => Some(url.to_string()),
        FileSource::Blob(id) => host.link(id).await.ok().flatten().map(|url| url.to_string()),
        _ => None,
    };
    url.or_else(|| file.media.name.clone())
}

/// The words: subject, text, links that do not stand in it already.
fn body(message: &Message, user: &BareJid, links: &[String], pictured: bool) -> String {
    let said = message.body.trim_end();
    let is_link = |f: &isthmus_bridge::File| matches!(&f.source, FileSource::Url(url) if url.as_str() == said.trim());
    // A text that is nothing but the link of a picture that travels by itself.
    let said = if pictured && message.files.iter().any(is_link) { "" } else { said };
    let said = match (message.action, &message.nick) {
        (true, nick) => {
            format!("* {} {said}", nick.as_deref().unwrap_or(user.as_str().split('@').next().unwrap_or_default()))
        }
        (false, _) => said.to_owned(),
    };
    let subject = message.subject.clone().filter(|s| !s.trim().is_empty());
    let more = links.iter().filter(|link| !said.contains(link.as_str())).cloned();
    subject.into_iter().chain(Some(said.clone())).chain(more).filter(|t| !t.is_empty()).collect::<Vec<_>>().join("\n")
}

/// Of a shared number: the answer goes to who wrote last. Before the first request, since the answer may be quicker than the provider's. Gives who
/// it went to until now.
async fn remember_writer(
    texts: &Texts,
    host: &Host,
    event: &Outbound,
    sendings: &[Sending],
) -> Result<Vec<(ContactId, Option<BareJid>)>, StoreError> {
    let (mut before, mut changes) = (Vec::new(), Vec::new());
    for sending in sendings.iter().filter(|s| texts.config.numbers.iter().any(|n| n.number == s.own && n.shared)) {
        for peer in sending.to.iter().map(Number::contact) {
            let last = state::last_writer(host.as_ref(), &sending.own, &peer).await?;
            if last.as_ref() != Some(&event.user) {
                changes.push(state::wrote(&event.user, &sending.own, &peer));
                before.push((peer, last));
            }
        }
    }
    if !changes.is_empty() {
        host.store(changes).await?;
    }
    Ok(before)
}

/// Nothing was sent: the answer goes to who wrote before, unless somebody else has written meanwhile.
async fn forget_writer(host: &Host, user: &BareJid, sending: &Sending, before: &[(ContactId, Option<BareJid>)]) {
    let mut changes = Vec::new();
    for (peer, last) in before.iter().filter(|(peer, _)| sending.to.iter().any(|n| n.contact() == *peer)) {
        match state::last_writer(host.as_ref(), &sending.own, peer).await {
            Ok(now) if now.as_ref() == Some(user) => changes.push(match last {
                Some(last) => state::wrote(last, &sending.own, peer),
                None => state::nobody_wrote(&sending.own, peer),
            }),
            _ => {}
        }
    }
    // Lost, an answer goes to who was refused; they know whom they wrote to.
    if !changes.is_empty() && host.store(changes).await.is_err() {
        info!("who wrote last could not be restored");
    }
}

/// What it takes of the limits.
pub(crate) fn cost(texts: &Texts, sending: &Sending) -> Usage {
    let provider = carry::candidates(texts, sending).first().copied();
    let price = |n: &Number| provider.map_or(0, |p| p.price(n.as_str())).saturating_mul(sending.segments());
    Usage { texts: sending.to.len() as u64, cost: sending.to.iter().map(price).sum() }
}

fn plus(a: Usage, b: Usage) -> Usage {
    Usage { texts: a.texts + b.texts, cost: a.cost.saturating_add(b.cost) }
}

fn no_number() -> DeliveryError {
    DeliveryError::new(Failure::NoSuchRecipient, Text::key("no-number"))
}
