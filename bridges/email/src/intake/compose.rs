//! A mail and a user → events, and what is remembered of it.

use std::time::{Duration, SystemTime};

use isthmus_bridge::{
    Address, BareJid, ContactId, Event, File, ForeignMessageId, Inbound, Message, MessageRef, OnceKey, RecipientKind,
    Resolved, StoreError, Text, Values,
};
use sha2::{Digest, Sha256};
use tracing::{info, warn};

use super::{Fate, Intake, Letter, Plan};
use crate::address::Mailbox;
use crate::auth::{Policy, Standing};
use crate::proto::Reply;
use crate::state::{self, Chain, HeldMail, HeldPlace, KeptMail, ReturnPath};
use crate::translate::inbound::truncated;
use crate::translate::quotes;
use crate::{commands, settings};

/// A date further away from now than this is not believed.
const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Mails of one stranger that wait for the user's word.
const MAX_HELD: usize = 50;
/// References that are looked up to find the conversation.
const MAX_LOOKUPS: usize = 20;
/// The whole text that is kept for the command, in octets.
const MAX_KEPT: usize = 256 << 10;
/// Others in To and Cc that are passed on.
const MAX_OTHERS: usize = 50;
/// The header that a DSN gives back.
const MAX_RETURNED_HEADER: usize = 16 << 10;

/// Whether a mail goes to the user at once or waits for their word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    /// With or without a notice to the user.
    Held {
        notice: bool,
    },
}

/// What is found out about a mail's place in a conversation.
struct Place {
    thread: String,
    chain: Chain,
    /// The mail that it answers.
    answers: Option<String>,
    /// The subject has not been shown in this conversation.
    news: bool,
}

impl Intake {
    /// Whether this user takes mail from this sender.
    pub(super) async fn admit(&self, letter: &Letter, user: &BareJid) -> Result<(ContactId, Gate), Fate> {
        let from = self.seen_from(letter, user);
        let at = Address::Contact(from.clone());
        let hides_behind = [Some(&letter.from.mailbox), letter.mail.list_post.as_ref()].into_iter().flatten();
        if self.host.blocked(user, &at)
            || hides_behind.into_iter().any(|m| self.host.blocked(user, &Address::Contact(m.contact())))
        {
            return Err(Fate::Stopped(Reply::new(550, "5.7.1", "this person does not take mail from you")));
        }
        if letter.quarantined {
            info!(from = %letter.from.mailbox, verdict = %letter.verdict.words, "mail that failed DMARC was quarantined");
            return Ok((from, Gate::Held { notice: false }));
        }
        if !self.pace.allows(user, &from) {
            if letter.is_disowned() {
                // Put off, it would come back to a sender who may never have sent it.
                return Err(Fate::Stopped(Reply::new(550, "5.7.1", "too many mails that their domain disowns")));
            }
            info!(%from, "too many mails of one sender within the hour; they are put off");
            return Err(Fate::Refused(Reply::new(452, "4.2.2", "too many mails within the hour, try again later")));
        }
        let settings = self.host.resolved(user, &at);
        let wish = settings.str(settings::STRANGERS);
        if wish != settings::HOLD && wish != settings::REFUSE {
            return Ok((from, Gate::Open));
        }
        match self.knows(user, &from).await {
            Ok(true) => Ok((from, Gate::Open)),
            Ok(false) if wish == settings::HOLD => Ok((from, Gate::Held { notice: true })),
            Ok(false) => {
                Err(Fate::Stopped(Reply::new(550, "5.7.1", "this person takes no mail from people they do not know")))
            }
            Err(fault) => Err(away(&fault)),
        }
    }

    /// Whom the user sees it from: the author, or for mail of a list the list's address, as they wish.
    fn seen_from(&self, letter: &Letter, user: &BareJid) -> ContactId {
        if let Some(list) = letter.mail.list_post.as_ref().filter(|list| is_of_list(letter, list)) {
            let contact = list.contact();
            let settings = self.host.resolved(user, &Address::Contact(contact.clone()));
            if settings.str(settings::LISTS) == settings::LIST {
                return contact;
            }
        }
        letter.from.mailbox.contact()
    }

    /// Who was written to, added or accepted is no stranger.
    async fn knows(&self, user: &BareJid, contact: &ContactId) -> Result<bool, StoreError> {
        Ok(state::accepted(self.host.as_ref(), user, contact).await?
            || self.host.latest(user, &Address::Contact(contact.clone()), None).await?.is_some()
            || self.host.contacts(user).await?.iter().any(|(c, _)| c == contact))
    }

    /// What the user gets, and what is remembered.
    pub(super) async fn plan(
        &self,
        letter: &Letter,
        user: &BareJid,
        to: &Mailbox,
        files: &[File],
        from: ContactId,
        gate: Gate,
    ) -> Result<Plan, Fate> {
        let at = Address::Contact(from.clone());
        let place = self.place(letter, user).await.map_err(|fault| away(&fault))?;
        let settings = self.host.resolved(user, &at);
        let once = once(letter, user);
        let id = short(&once);
        let (message, left) = self.message(letter, to, files, &place, &settings);
        let mut event = Inbound::new(user.clone(), at.clone(), Event::Message(Box::new(message)));
        event.at = self.date(letter);
        event.id = letter.mail.id.as_deref().map(ForeignMessageId::new);
        event.once = Some(once.clone());
        let mut plan = Plan { events: vec![event], ..Plan::default() };
        if left > 0 {
            let text = Text::key("mail-cut").with("characters", left);
            let show = (commands::FULL.to_owned(), Text::key("command.full"), Values::new().with(commands::MAIL, id));
            plan.events.push(self.note(letter, user, &at, text, vec![show], format!("{once}-rest")));
        }
        if letter.mail.cut {
            let text = Text::key("parts-left-out");
            plan.events.push(self.note(letter, user, &at, text, Vec::new(), format!("{once}-parts")));
        }
        let place = self.remember(letter, user, to, &once, &from, place, &mut plan);
        match gate {
            Gate::Open => {
                let (thread, chain) = (&place.thread, &place.chain);
                let now = self.host.now();
                plan.after.extend(state::record(now, user, thread, chain, &place.name, std::slice::from_ref(&from)));
                if !letter.is_doubtful() {
                    plan.after.extend(state::spelled(now, user, &place.spelling));
                }
            }
            Gate::Held { notice } => self.hold(letter, user, &once, &from, notice, place, &mut plan).await?,
        }
        Ok(plan)
    }

    /// The conversation of a mail: that of what it answers, else one made from its first reference, so that later mails find it again.
    async fn place(&self, letter: &Letter, user: &BareJid) -> Result<Place, StoreError> {
        let mail = &letter.mail;
        let host = self.host.as_ref();
        let mut thread = None;
        let mut answers = None;
        let older = mail.in_reply_to.iter().chain(mail.references.iter().rev()).take(MAX_LOOKUPS);
        for (n, reference) in older.enumerate() {
            if let Some(found) = state::thread_of(host, user, reference).await? {
                thread = Some(found);
                answers = (n == 0).then(|| reference.clone());
                break;
            }
        }
        let thread = thread.unwrap_or_else(|| {
            let root = mail.references.first().or(mail.in_reply_to.first()).or(mail.id.as_ref());
            let root = root.cloned().unwrap_or_else(|| hex::encode(mail.digest));
            hex::encode(&self.host.mac("email thread", format!("{user}\n{root}").as_bytes())[..12])
        });
        let known = state::chain(host, user, &thread).await?;
        let subject = quotes::base_subject(mail.subject.as_deref().unwrap_or(""));
        let news = known.as_ref().is_none_or(|c| quotes::base_subject(&c.subject) != subject);
        let mut chain = known.unwrap_or_default();
        if chain.references.is_empty() {
            chain.follow(&mail.references);
        }
        chain.subject = subject.to_owned();
        Ok(Place { thread, chain, answers, news })
    }

    /// The message, and how many characters of its text were left out.
    fn message(
        &self,
        letter: &Letter,
        to: &Mailbox,
        files: &[File],
        place: &Place,
        settings: &Resolved,
    ) -> (Message, usize) {
        let mail = &letter.mail;
        let text = if settings.bool(settings::CUT_QUOTES) { &mail.text } else { &mail.whole };
        let (text, left) = shortened(text, usize::try_from(settings.number(settings::MAX_TEXT)).unwrap_or(0));
        let mut body = String::new();
        let subject = mail.subject.clone().filter(|_| place.news);
        if to.local().contains('+') {
            body.push_str(&format!("To: {to}\n"));
        }
        if let Some(subject) = subject.as_deref().filter(|_| settings.bool(settings::SUBJECT_IN_BODY)) {
            body.push_str(&format!("Subject: {subject}\n"));
        }
        if !body.is_empty() && !text.is_empty() {
            body.push('\n');
        }
        body.push_str(text);
        let mut message = Message::chat(body.trim_end());
        message.subject = subject;
        message.thread = Some(place.thread.clone());
        message.files = files.to_vec();
        message.nick = letter.from.name.clone();
        message.warning = warning(letter);
        let network = self.bridge.addressing.only_network();
        message.reply_to =
            place.answers.as_deref().map(|id| MessageRef::foreign(network.clone(), ForeignMessageId::new(id)));
        let others: Vec<_> = others(letter, to).collect();
        if others.len() > 1 || others.iter().any(|(_, m, _)| **m != letter.from.mailbox) {
            message.addresses = others
                .into_iter()
                .map(|(kind, mailbox, name)| (kind, Address::Contact(mailbox.contact()), name))
                .collect();
        }
        (message, left)
    }

    /// When it was sent, if that can be.
    fn date(&self, letter: &Letter) -> SystemTime {
        let now = self.host.now();
        let oldest = now.checked_sub(MAX_AGE).unwrap_or(SystemTime::UNIX_EPOCH);
        letter.mail.date.filter(|at| (oldest..=now).contains(at)).unwrap_or(now)
    }

    /// A note of the gateway on a mail, with what the user can do about it.
    fn note(
        &self,
        letter: &Letter,
        user: &BareJid,
        at: &Address,
        text: Text,
        actions: Vec<(String, Text, Values)>,
        once: String,
    ) -> Inbound {
        let network = self.bridge.addressing.only_network();
        let about = letter.mail.id.as_deref().map(|id| MessageRef::foreign(network.clone(), ForeignMessageId::new(id)));
        let mut note = Inbound::new(user.clone(), at.clone(), Event::Notice { text, about, actions });
        note.at = self.host.now();
        note.once = Some(OnceKey::new(once));
        note
    }

    #[allow(clippy::too_many_arguments)] // what is remembered comes from everywhere
    fn remember(
        &self,
        letter: &Letter,
        user: &BareJid,
        to: &Mailbox,
        once: &OnceKey,
        from: &ContactId,
        mut place: Place,
        plan: &mut Plan,
    ) -> HeldPlace {
        let id = short(once);
        let now = self.host.now();
        let mail = &letter.mail;
        let kept = KeptMail {
            from: from.clone(),
            at: now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs(),
            subject: mail.subject.clone().unwrap_or_default(),
            text: truncated(&mail.whole, MAX_KEPT).to_owned(),
            cut: mail.whole.len() > MAX_KEPT,
            verdict: letter.verdict.words.clone(),
            unsubscribe_url: mail.unsubscribe.clone(),
            unsubscribe_mail: mail.unsubscribe_mail.clone(),
        };
        plan.before.push(state::keep_mail(now, user, id, &kept));
        // A report is an automatic message too: never in answer to one (RFC 3834 section 2).
        if let Some(sender) = letter.sender.as_ref().filter(|_| !mail.automatic.any()) {
            let path = ReturnPath {
                sender: sender.clone(),
                recipient: to.clone(),
                orcpt: None,
                envid: None,
                no_report: false,
                headers: returned_header(&letter.raw),
            };
            plan.before.push(state::keep_return(now, once.as_str(), &path));
        }
        if !letter.is_doubtful() {
            // What is written "to all" must not go where somebody wants it who only says that they take part.
            let others = others(letter, to).filter(|(_, m, _)| **m != letter.from.mailbox).map(|(_, m, _)| m.clone());
            place.chain.others = others.collect();
        }
        // A mail without a Message-ID cannot be referred to; its conversation goes on all the same.
        let name = mail.id.clone().unwrap_or_else(|| format!("{id}@none.invalid"));
        if mail.id.is_some() {
            place.chain.push(&name);
        }
        HeldPlace { thread: place.thread, chain: place.chain, name, spelling: letter.from.mailbox.clone() }
    }

    /// Puts the events aside until the user says so.
    #[allow(clippy::too_many_arguments)] // what is held comes from everywhere
    async fn hold(
        &self,
        letter: &Letter,
        user: &BareJid,
        once: &OnceKey,
        from: &ContactId,
        notice: bool,
        place: HeldPlace,
        plan: &mut Plan,
    ) -> Result<(), Fate> {
        let mut waiting = state::held(self.host.as_ref(), user, Some(from)).await.map_err(|fault| away(&fault))?;
        // This one, if it comes a second time because its notice could not be taken.
        let own = state::held_key(user, from, short(once));
        waiting.retain(|(_, taken_away)| taken_away.key != own);
        if waiting.len() >= MAX_HELD {
            if letter.is_disowned() {
                return Err(Fate::Stopped(Reply::new(550, "5.7.1", "too many mails that their domain disowns")));
            }
            return Err(Fate::Refused(Reply::new(452, "4.2.2", "too many mails wait for this person's word")));
        }
        let events = std::mem::take(&mut plan.events);
        let held = HeldMail { from: from.clone(), events, place: Some(place), noticed: notice };
        plan.before.push(state::hold(self.host.now(), user, short(once), &held));
        if notice && !waiting.iter().any(|(mail, _)| mail.noticed) {
            let name = letter.from.name.clone().unwrap_or_else(|| from.to_string());
            let subject = letter.mail.subject.clone().unwrap_or_default();
            let text = Text::key("stranger").with("name", name).with("address", from).with("subject", subject);
            let action = |node: &str| {
                let values = Values::new().with(commands::CONTACT, from.as_str());
                (node.to_owned(), Text::key(format!("command.{node}")), values)
            };
            let actions = vec![action(commands::ACCEPT), action(commands::BLOCK)];
            let at = Address::Contact(from.clone());
            plan.events.push(self.note(letter, user, &at, text, actions, format!("{once}-stranger")));
        }
        Ok(())
    }
}

/// The name of a kept mail.
fn short(once: &OnceKey) -> &str {
    &once.as_str()[..24]
}

fn away(fault: &StoreError) -> Fate {
    warn!(error = %fault, "mail could not be prepared; its sender will try again");
    Fate::Refused(Reply::new(451, "4.3.0", "storage is away, try again later"))
}

/// What makes a second copy for this user.
pub(super) fn once(letter: &Letter, user: &BareJid) -> OnceKey {
    let mut hash = Sha256::new();
    let sender = letter.sender.as_ref().map(ToString::to_string).unwrap_or_default();
    for part in [user.as_str(), &sender, letter.mail.id.as_deref().unwrap_or("")] {
        hash.update(part.as_bytes());
        hash.update(b"\0");
    }
    hash.update(letter.mail.digest);
    OnceKey::new(hex::encode(hash.finalize()))
}

/// Whether a mail that names this address as its list's is from there: the list signs what it sends. Anybody can write the header.
fn is_of_list(letter: &Letter, list: &Mailbox) -> bool {
    let domain = list.domain();
    let signs = |by: &String| domain == by || domain.strip_suffix(by.as_str()).is_some_and(|sub| sub.ends_with('.'));
    letter.mail.list_id.is_some() && letter.verdict.signed.iter().any(signs)
}

fn warning(letter: &Letter) -> Option<Text> {
    let from = &letter.from.mailbox;
    match letter.verdict.standing {
        Standing::Failed(Policy::None | Policy::Quarantine) | Standing::Unfinished => {
            Some(Text::key("sender-not-verified").with("address", from))
        }
        Standing::Failed(Policy::Reject) => Some(Text::key("sender-forged").with("address", from)),
        _ if letter.spam => Some(Text::key("looks-like-spam")),
        _ if !from.is_contact() => {
            Some(Text::key("sender-folded").with("address", from).with("contact", from.contact().as_str()))
        }
        _ => None,
    }
}

/// The first characters of a text, up to a good place to stop; and how many are left.
fn shortened(text: &str, max: usize) -> (&str, usize) {
    let Some((end, _)) = text.char_indices().nth(max.max(1)) else { return (text, 0) };
    let head = &text[..end];
    let at = head.rfind(['\n', ' ']).filter(|at| *at > end / 2).unwrap_or(end);
    (text[..at].trim_end(), text[at..].chars().count())
}

/// Everybody in To and Cc but the user, in order.
fn others<'l>(
    letter: &'l Letter,
    to: &'l Mailbox,
) -> impl Iterator<Item = (RecipientKind, &'l Mailbox, Option<String>)> {
    let own = to.contact();
    let mail = &letter.mail;
    let listed = mail.to.iter().map(|p| (RecipientKind::To, p)).chain(mail.cc.iter().map(|p| (RecipientKind::Cc, p)));
    listed
        .filter(move |(_, p)| p.mailbox.contact() != own)
        .map(|(kind, p)| (kind, &p.mailbox, p.name.clone()))
        .take(MAX_OTHERS)
}

/// The header section, cut at a line's end.
pub(super) fn returned_header(raw: &[u8]) -> Vec<u8> {
    let end = raw.windows(4).position(|w| w == b"\r\n\r\n").map_or(raw.len(), |at| at + 2);
    let mut header = &raw[..end.min(MAX_RETURNED_HEADER)];
    if header.len() < end {
        let at = header.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        header = &header[..at];
    }
    header.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_words() {
        assert_eq!(shortened("short", 10), ("short", 0));
        assert_eq!(shortened("one two three", 9), ("one two", 6));
        assert_eq!(shortened("ééééé", 3), ("ééé", 2));
    }

    #[test]
    fn the_header_that_goes_back_is_whole_lines() {
        assert_eq!(returned_header(b"A: b\r\n\r\nbody"), b"A: b\r\n");
        let long = b"A: b\r\n".repeat(5000);
        let header = returned_header(&long);
        assert!(header.len() <= MAX_RETURNED_HEADER && header.ends_with(b"b\r\n"));
    }
}
