//! Sends a message as mail: sender, recipients, conversation, files, limits, one envelope per recipient.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use isthmus_bridge::{
    Address, BareJid, ContactId, DeliveryError, Event, Failure, Fetch, FileSource, ForeignMessageId, Inbound, Leg,
    Message, MessageRef, OnceKey, Outbound, RecipientKind, Resolved, Retry, Sent, Text, Ticket,
};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::address::Mailbox;
use crate::session::{User, store_away};
use crate::smtp::{Envelope, Start};
use crate::state::Begun;
use crate::talk::{self, Talk};
use crate::translate::outbound::{self as translate, Attached, Draft, bare_subject};
use crate::{envelope, settings, state};

/// Time for each file that is fetched.
const FETCH: Duration = Duration::from_secs(60);

/// Time for the recipients of one mail, within [`crate::ANSWER_WITHIN`] even if the last one that is begun in it takes as long as it may. Who is not
/// reached in it is tried again.
const ENOUGH: Duration = Duration::from_secs(5 * 60);

/// Somebody who gets an envelope.
#[derive(Debug, Clone)]
struct To {
    contact: ContactId,
    mailbox: Mailbox,
    kind: RecipientKind,
    /// Not named by the event, but one of those that "reply to all" adds.
    added: bool,
}

/// Sends it and answers the ticket.
pub(crate) async fn send(user: &User, event: &Outbound, message: &Message, ticket: Ticket) {
    match prepare(user, event, message).await {
        Ok(mail) => hand_over(user, event, mail, ticket).await,
        Err(error) => ticket.failed(error),
    }
}

/// A mail that is ready to go.
struct Ready {
    bytes: Vec<u8>,
    utf8: bool,
    to: Vec<To>,
    /// What the event named and no mail can go to.
    refused: Vec<Leg>,
    message_id: String,
    talk: Talk,
    /// What a later try needs to know; `None` for a mail to a single person.
    begun: Option<Begun>,
}

async fn prepare(user: &User, event: &Outbound, message: &Message) -> Result<Ready, DeliveryError> {
    let host = user.host.as_ref();
    let from = sender(user, event).await?;
    let (mut to, refused) = recipients(user, event).await?;
    if to.is_empty() {
        return Err(no_address());
    }
    let Course { only, wishes, mut talk, named: (named_to, named_cc), begun } =
        course(user, event, message, &mut to, &from).await?;
    let (files, links) = files(user, event, message).await;
    let alone = talk.text.trim();
    let body = if message.files.iter().any(|f| matches!(&f.source, FileSource::Url(u) if u.as_str() == alone)) {
        "" // the text is nothing but the link of the file
    } else {
        talk.text.as_str()
    };
    let nick = display_name(&wishes, message);
    let text = match (message.action, &nick) {
        (true, name) => format!("* {} {body}", name.as_deref().unwrap_or(from.local())),
        (false, _) => body.to_owned(),
    };
    let message_id = format!("{}@{}", event.key, user.mail.config.mail_domain);
    let draft = Draft {
        subject: talk.subject.clone().unwrap_or_else(|| first_subject(&wishes, nick.as_deref(), &from)),
        name: nick,
        to: named_to,
        cc: named_cc,
        date: moment(event, host.now()),
        message_id: message_id.clone(),
        references: talk.chain.references.clone(),
        text: [text].into_iter().chain(links).filter(|t| !t.is_empty()).collect::<Vec<_>>().join("\n\n"),
        html: wishes.bool(settings::HTML),
        files,
        jabber_id: wishes.bool(settings::JABBER_ID).then(|| event.user.to_string()),
        ask_read: wishes.bool(settings::ASK_READ),
        from,
    };
    if talk.chain.subject.is_empty() || talk.subject.is_some() {
        bare_subject(&draft.subject).clone_into(&mut talk.chain.subject);
    }
    if talk.chain.others.is_empty() && only.is_none() {
        talk.chain.others = draft.to.iter().chain(&draft.cc).cloned().collect();
    }
    let written = translate::write(&draft).map_err(|error| {
        warn!(key = %event.key, %error, "a message cannot be written as mail");
        DeliveryError::new(Failure::Rejected, Text::key("not-writable"))
    })?;
    let bytes = user.mail.signed(written.bytes);
    let limit = user.mail.config.limits.max_size;
    if bytes.len() as u64 > limit {
        let text = Text::key("too-big").with("limit", limit / 1024);
        return Err(DeliveryError::new(Failure::TooLong { limit }, text));
    }
    Ok(Ready { bytes, utf8: written.utf8, to, refused, message_id, talk, begun })
}

/// What is decided once for all tries of a mail.
struct Course {
    only: Option<ContactId>,
    wishes: Arc<Resolved>,
    talk: Talk,
    named: (Vec<Mailbox>, Vec<Mailbox>),
    begun: Option<Begun>,
}

/// Conversation, subject and who gets it besides. A later try may be for some of the recipients only, but the mail is the same: what the first one
/// has decided holds, and of those whom it added only who was put off is tried again.
async fn course(
    user: &User,
    event: &Outbound,
    message: &Message,
    to: &mut Vec<To>,
    from: &Mailbox,
) -> Result<Course, DeliveryError> {
    let host = user.host.as_ref();
    let wishes_of =
        |only: &Option<ContactId>| host.resolved(&event.user, &only.clone().map_or(Address::Gateway, Address::Contact));
    if event.attempt > 0
        && let Some(begun) = state::begun(host, event.key.as_str()).await.map_err(store_away)?
    {
        add(to, &begun.left);
        return Ok(Course {
            wishes: wishes_of(&begun.only),
            only: begun.only.clone(),
            talk: Talk::again(message, &begun),
            named: (begun.to.clone(), begun.cc.clone()),
            begun: Some(begun),
        });
    }
    let only = match to.as_slice() {
        [one] => Some(one.contact.clone()),
        _ => None,
    };
    let legs = to.iter().map(|t| t.contact.clone()).collect();
    let wishes = wishes_of(&only);
    let talk = talk::place(host, event, message, only.as_ref()).await.map_err(store_away)?;
    if only.is_some() && wishes.bool(settings::REPLY_ALL) {
        let others: Vec<Mailbox> =
            talk.chain.others.iter().filter(|m| m.contact() != from.contact()).cloned().collect();
        add(to, &others);
    }
    let of = |kind: RecipientKind| to.iter().filter(|t| t.kind == kind).map(|t| t.mailbox.clone()).collect::<Vec<_>>();
    let named = (of(RecipientKind::To), of(RecipientKind::Cc));
    let mut begun = None;
    if to.len() > 1 {
        let added: Vec<Mailbox> = to.iter().filter(|t| t.added).map(|t| t.mailbox.clone()).collect();
        let made = Begun {
            to: named.0.clone(),
            cc: named.1.clone(),
            only: only.clone(),
            legs,
            left: added.clone(),
            added,
            thread: talk.thread.clone(),
            chain: talk.chain.clone(),
            subject: talk.subject.clone(),
        };
        let change = state::begin(host.now(), &event.user, event.key.as_str(), &made);
        host.store(vec![change]).await.map_err(store_away)?;
        begun = Some(made);
    }
    Ok(Course { only, wishes, talk, named, begun })
}

/// Adds who is not among them yet, as copies that are no leg of the event.
fn add(to: &mut Vec<To>, others: &[Mailbox]) {
    for mailbox in others {
        let contact = mailbox.contact();
        if !to.iter().any(|t| t.contact == contact) {
            to.push(To { contact, mailbox: mailbox.clone(), kind: RecipientKind::Cc, added: true });
        }
    }
}

async fn hand_over(user: &User, event: &Outbound, mail: Ready, ticket: Ticket) {
    let host = user.host.as_ref();
    let (count, size) = (mail.to.len() as u64, mail.bytes.len() as u64);
    if let Err(error) = user.meter.take(host, count, size).await {
        return ticket.failed(error);
    }
    let several = event.to.len() > 1;
    let mut legs = mail.refused.clone();
    let (mut gone, mut unreached) = (Vec::new(), Vec::new());
    let mut start = Start::of(&ticket);
    let began = Instant::now();
    for to in &mail.to {
        let envelope = Envelope {
            sender: Some(envelope::sender(host, &event.key, &to.contact, &user.mail.config.mail_domain)),
            to: to.mailbox.clone(),
            id: Some(event.key.to_string()),
            utf8: mail.utf8,
        };
        let result = if began.elapsed() < ENOUGH {
            user.mail.relay.send(&envelope, &mail.bytes, &mut start).await.map(drop)
        } else {
            Err(DeliveryError::temporary(Failure::TimedOut, Text::key("relay-slow")))
        };
        if start.is_lost() {
            // Somebody else has the event now, or the store is away: nothing was sent, nothing may be said.
            user.meter.give_back(host, count, size).await;
            return drop(ticket);
        }
        match &result {
            Ok(()) => gone.push(to.contact.clone()),
            Err(error) => {
                info!(key = %event.key, failure = ?error.failure, code = error.code, "the relay did not take a mail")
            }
        }
        if to.added {
            unreached.extend(result.err().map(|error| (to, error)));
            continue;
        }
        let who = several.then(|| to.contact.clone());
        legs.push(match result {
            Ok(()) => Leg::sent(who, vec![ForeignMessageId::new(mail.message_id.as_str())]),
            Err(error) => Leg::failed(who, error),
        });
    }
    left_out(user, event, &mail, &legs, unreached).await;
    if gone.is_empty() {
        user.meter.give_back(host, count, size).await;
    } else {
        remember(user, event, mail, &gone).await;
    }
    ticket.done(legs);
}

/// Who was added and put off is tried again with the rest of the mail; who will not get it any more is told to the user.
async fn left_out(user: &User, event: &Outbound, mail: &Ready, legs: &[Leg], unreached: Vec<(&To, DeliveryError)>) {
    let Some(begun) = &mail.begun else { return };
    let passes = |error: &DeliveryError| error.retry != Retry::Never && error.sent == Sent::No;
    let host = user.host.as_ref();
    let end = moment(event, host.now()) + crate::RETRY_FOR;
    let again = host.now() < end && legs.iter().any(|leg| leg.result.as_ref().is_err_and(passes));
    let (later, lost): (Vec<_>, Vec<_>) = unreached.into_iter().partition(|(_, error)| again && passes(error));
    for (to, error) in lost {
        tell_of_other(user, event, to, &error).await;
    }
    let left: Vec<Mailbox> = later.into_iter().map(|(to, _)| to.mailbox.clone()).collect();
    if again && left != begun.left {
        let begun = Begun { left, ..begun.clone() };
        if let Err(error) = host.store(vec![state::begin(host.now(), &event.user, event.key.as_str(), &begun)]).await {
            warn!(key = %event.key, %error, "who is to be tried again could not be stored");
        }
    }
}

/// The conversation goes on from this mail, and whom one writes to is no stranger. Lost, only the threading of the next mail suffers.
async fn remember(user: &User, event: &Outbound, mail: Ready, gone: &[ContactId]) {
    let Talk { thread, mut chain, .. } = mail.talk;
    if event.attempt > 0
        && mail.begun.is_some()
        && let Ok(Some(now)) = state::chain(user.host.as_ref(), &event.user, &thread).await
    {
        chain = now; // it may have gone on since the first try
    }
    chain.push(&mail.message_id);
    let mut changes = state::record(user.host.now(), &event.user, &thread, &chain, &mail.message_id, gone);
    changes.extend(gone.iter().map(|contact| state::accept(&event.user, contact)));
    if let Err(error) = user.host.store(changes).await {
        warn!(key = %event.key, %error, "a conversation could not be stored");
    }
}

/// The user's own address: the one they chose, else their first, else the fixed form where it is allowed.
async fn sender(user: &User, event: &Outbound) -> Result<Mailbox, DeliveryError> {
    let config = &user.mail.config;
    let own = match &event.own {
        Some(own) => Some(own.clone()),
        None => user.host.identities(&event.user).await.map_err(store_away)?.into_iter().next(),
    };
    let own = own.and_then(|own| Mailbox::parse(own.as_str()).ok());
    let fixed = || {
        let (local, domain) = event.user.as_str().split_once('@')?;
        let allowed = config.fixed_form && config.local_domains.iter().any(|d| d == domain);
        Mailbox::new(&format!("{local}={domain}"), &config.mail_domain).ok().filter(|_| allowed)
    };
    own.or_else(fixed).ok_or_else(|| DeliveryError::new(Failure::NotRegistered, Text::key("register-first")))
}

/// Everybody whom the event names, each once, in the spelling last seen.
async fn recipients(user: &User, event: &Outbound) -> Result<(Vec<To>, Vec<Leg>), DeliveryError> {
    let (mut to, mut refused): (Vec<To>, Vec<Leg>) = (Vec::new(), Vec::new());
    for recipient in &event.to {
        let Address::Contact(contact) = &recipient.address else {
            refused.push(Leg::failed(None, no_address()));
            continue;
        };
        if to.iter().any(|t| t.contact == *contact) {
            continue;
        }
        match state::spelling(user.host.as_ref(), &event.user, contact).await.map_err(store_away)? {
            Some(mailbox) => to.push(To { contact: contact.clone(), mailbox, kind: recipient.kind, added: false }),
            None => refused.push(Leg::failed(Some(contact.clone()), no_address())),
        }
    }
    Ok((to, refused))
}

fn no_address() -> DeliveryError {
    DeliveryError::new(Failure::NoSuchRecipient, Text::key("no-address"))
}

/// Files within the limit are attached; of the others the link stays, or the name.
async fn files(user: &User, event: &Outbound, message: &Message) -> (Vec<Attached>, Vec<String>) {
    let (mut attached, mut links) = (Vec::new(), Vec::new());
    let mut room = user.mail.config.limits.max_attached;
    for (n, file) in message.files.iter().enumerate() {
        match fetch(user, event, n, &file.source, room).await {
            Some((body, media)) => {
                room -= body.len() as u64;
                // A bare link (XEP-0066) says nothing of the type; who serves the file does.
                let said = file.media.media_type.as_str();
                let unsaid = said.is_empty() || said == "application/octet-stream";
                let media_type = if unsaid { media.media_type } else { said.to_owned() };
                attached.push(Attached { name: file.media.name.clone().or(media.name), media_type, body });
            }
            None => links.extend(link(user, file).await.filter(|link| !message.body.contains(link.as_str()))),
        }
    }
    (attached, links)
}

/// A file's octets. What a link gave at an earlier try is not fetched, and kept, again.
async fn fetch(
    user: &User,
    event: &Outbound,
    n: usize,
    source: &FileSource,
    room: u64,
) -> Option<(Vec<u8>, isthmus_bridge::Media)> {
    let (host, key) = (user.host.as_ref(), event.key.as_str());
    if event.attempt > 0
        && matches!(source, FileSource::Url(_))
        && let Ok(Some(id)) = state::fetched(host, key, n).await
        && let Ok(Some((body, media))) = host.blob(&id).await
    {
        return (body.len() as u64 <= room).then(|| (body.to_vec(), media));
    }
    let id = match source {
        FileSource::Url(url) => {
            let limit = Fetch::new(event.user.clone(), room, FETCH);
            match user.host.fetch(url, limit).await {
                Ok(id) => {
                    // Lost, it is fetched once more.
                    let _ = host.store(vec![state::fetch(host.now(), &event.user, key, n, &id)]).await;
                    id
                }
                Err(error) => {
                    info!(key = %event.key, failure = ?error.failure, "a file is left as a link");
                    return None;
                }
            }
        }
        FileSource::Blob(id) => id.clone(),
        _ => return None,
    };
    let (body, media) = user.host.blob(&id).await.ok()??;
    (body.len() as u64 <= room).then(|| (body.to_vec(), media))
}

async fn link(user: &User, file: &isthmus_bridge::File) -> Option<String> {
    let url = match &file.source {
        FileSource::Url(url) => Some(url.to_string()),
        FileSource::Blob(id) => user.host.link(id).await.ok().flatten().map(|url| url.to_string()),
        _ => None,
    };
    url.or_else(|| file.media.name.clone())
}

fn display_name(wishes: &Resolved, message: &Message) -> Option<String> {
    wishes.get(settings::NAME).map(str::to_owned).or_else(|| message.nick.clone()).filter(|n| !n.trim().is_empty())
}

fn first_subject(wishes: &Resolved, nick: Option<&str>, from: &Mailbox) -> String {
    wishes.str(settings::SUBJECT).replace("{nick}", nick.unwrap_or(from.local()))
}

/// When the user wrote it.
fn moment(event: &Outbound, now: SystemTime) -> SystemTime {
    match event.at {
        0 => now,
        at => SystemTime::UNIX_EPOCH + Duration::from_millis(at),
    }
}

/// One of those whom "reply to all" added did not get it. They are no leg of the event, so the user gets a notice.
async fn tell_of_other(user: &User, event: &Outbound, to: &To, error: &DeliveryError) {
    let of = MessageRef::Key(event.key.clone());
    let notice = not_reached(user.host.now(), &event.user, &of, &to.contact, error);
    let _ = user.host.accept(vec![notice]).await; // a notice that the store cannot take is not worth the mail of the others
}

/// The notice that somebody who is no recipient of the message itself did not get it.
pub(crate) fn not_reached(
    now: SystemTime,
    user: &BareJid,
    of: &MessageRef,
    contact: &ContactId,
    error: &DeliveryError,
) -> Inbound {
    let text =
        Text::key("other-not-reached").with("address", contact).with("why", error.code.as_deref().unwrap_or("-"));
    let notice = Event::Notice { text, about: None, actions: Vec::new() };
    let mut inbound = Inbound::new(user.clone(), Address::Contact(contact.clone()), notice);
    inbound.at = now;
    let key = match of {
        MessageRef::Key(key) => key.as_str(),
        _ => "",
    };
    inbound.once = Some(OnceKey::new(format!("other {key} {contact}")));
    inbound
}
