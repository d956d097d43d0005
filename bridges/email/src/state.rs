//! The bridge's small durable state (in the core's store): conversations, spellings, mails kept for a later look, strangers, usage.
//!
//! Each space has one type, one key format and one life time; both directions read and write through here only.

use std::time::{Duration, SystemTime};

use isthmus_bridge::{BareJid, BlobId, Change, ContactId, Gateway, Inbound, StoreError};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::address::Mailbox;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// A conversation is forgotten after this time without a mail.
const CHAIN_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// The whole text of a mail is kept for this long.
const MAIL_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Longer than mail is held for the user's word, and the 48 h after that in which the core may give it back.
const RETURN_LIFE: Duration = Duration::from_secs(33 * 24 * 3600);
/// Longer than mail is tried, and reports of it come.
const BEGUN_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Longer than mail is tried.
const FETCHED_LIFE: Duration = Duration::from_secs(3 * 24 * 3600);
/// References that a mail carries, at most (RFC 5322, 3.6.4, lets the middle be left out).
const MAX_REFERENCES: usize = 20;

/// A conversation (`<thread/>`) as mail knows it. Key: user and thread.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Chain {
    /// Message-IDs without angle brackets, oldest first; the last one is what the next mail answers.
    pub references: Vec<String>,
    /// Subject without `Re:`.
    pub subject: String,
    /// Everybody else in it, in wire spelling: for "reply to all".
    pub others: Vec<Mailbox>,
}

impl Chain {
    /// Takes a mail into the chain.
    pub(crate) fn push(&mut self, message_id: &str) {
        self.references.retain(|id| id != message_id);
        self.references.push(message_id.to_owned());
        self.bound();
    }

    /// Takes what a mail refers to for what went before.
    pub(crate) fn follow(&mut self, references: &[String]) {
        self.references = references.to_vec();
        self.bound();
    }

    /// The first one holds the conversation together, the last ones say where in it one is.
    fn bound(&mut self) {
        let over = self.references.len().saturating_sub(MAX_REFERENCES);
        if over > 0 {
            self.references.drain(1..=over);
        }
    }
}

/// The conversation of this thread.
pub(crate) async fn chain(host: &dyn Gateway, user: &BareJid, thread: &str) -> Result<Option<Chain>, StoreError> {
    load(host, "chain", &two(user, thread)).await
}

/// The thread of a mail of this user's, by its Message-ID (without angle brackets), in either direction.
pub(crate) async fn thread_of(
    host: &dyn Gateway,
    user: &BareJid,
    message_id: &str,
) -> Result<Option<String>, StoreError> {
    load(host, "mail-thread", &two(user, message_id)).await
}

/// The thread of the last mail between the user and a contact.
pub(crate) async fn latest_thread(
    host: &dyn Gateway,
    user: &BareJid,
    with: &ContactId,
) -> Result<Option<String>, StoreError> {
    load(host, "last-thread", &two(user, with.as_str())).await
}

/// The changes that take a mail into a conversation: what [`chain`], [`thread_of`] and [`latest_thread`] will say.
pub(crate) fn record(
    now: SystemTime,
    user: &BareJid,
    thread: &str,
    chain: &Chain,
    message_id: &str,
    with: &[ContactId],
) -> Vec<Change> {
    let until = now + CHAIN_LIFE;
    let own = |change: Change| change.of(user.clone()).until(until);
    let mut changes =
        vec![own(put("chain", &two(user, thread), chain)), own(put("mail-thread", &two(user, message_id), &thread))];
    changes.extend(with.iter().map(|c| own(put("last-thread", &two(user, c.as_str()), &thread))));
    changes
}

/// The spelling of a contact that was last seen on a mail to this user; the folded one where none was.
pub(crate) async fn spelling(
    host: &dyn Gateway,
    user: &BareJid,
    contact: &ContactId,
) -> Result<Option<Mailbox>, StoreError> {
    match load(host, "spelled", &two(user, contact.as_str())).await? {
        Some(seen) => Ok(Some(seen)),
        None => Ok(Mailbox::parse(contact.as_str()).ok()),
    }
}

/// Remembers a spelling that differs from the folded one in the case of letters only, and forgets it where the folded one is seen. Folding does
/// more than that (`straße@` is `strasse@`, letters of full width are plain ones): such an address is somebody else's, and what is written to the
/// contact must not go there.
pub(crate) fn spelled(now: SystemTime, user: &BareJid, mailbox: &Mailbox) -> Option<Change> {
    let contact = mailbox.contact();
    let key = two(user, contact.as_str());
    if contact.as_str() == mailbox.to_string() {
        return Some(Change::remove("spelled", key));
    }
    mailbox.is_contact().then(|| put("spelled", &key, mailbox).of(user.clone()).until(now + CHAIN_LIFE))
}

/// An inbound mail as it was, for the commands `full`, `verdict` and `unsubscribe`. Key: user and an id made from its `OnceKey`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptMail {
    /// From whom.
    pub from: ContactId,
    /// When it came, seconds since the epoch.
    pub at: u64,
    /// Its subject.
    pub subject: String,
    /// The whole text, or as much of it as is kept.
    pub text: String,
    /// There was more of it.
    #[serde(default)]
    pub cut: bool,
    /// What the checks said, in words for an expert: `spf=pass dkim=pass (example.net) dmarc=pass`.
    pub verdict: String,
    /// `List-Unsubscribe` for one click (RFC 8058): the https URL.
    pub unsubscribe_url: Option<String>,
    /// `List-Unsubscribe` by mail: the address and subject of a `mailto:`.
    pub unsubscribe_mail: Option<(Mailbox, String)>,
}

/// Keeps a mail for a later look.
pub(crate) fn keep_mail(now: SystemTime, user: &BareJid, id: &str, mail: &KeptMail) -> Change {
    put("mail", &two(user, id), mail).of(user.clone()).until(now + MAIL_LIFE)
}

/// A user's kept mails, newest first, by id.
pub(crate) async fn kept_mails(host: &dyn Gateway, user: &BareJid) -> Result<Vec<(String, KeptMail)>, StoreError> {
    let mut all: Vec<(String, KeptMail)> = list(host, "mail", user).await?;
    all.sort_by(|a, b| b.1.at.cmp(&a.1.at).then_with(|| a.0.cmp(&b.0)));
    Ok(all)
}

/// Whether the user has accepted this stranger (by command, or by writing to them).
pub(crate) async fn accepted(host: &dyn Gateway, user: &BareJid, who: &ContactId) -> Result<bool, StoreError> {
    Ok(load::<bool>(host, "accepted", &two(user, who.as_str())).await?.unwrap_or(false))
}

/// The user has accepted a stranger.
pub(crate) fn accept(user: &BareJid, who: &ContactId) -> Change {
    put("accepted", &two(user, who.as_str()), &true).of(user.clone())
}

/// Mail of a stranger that waits for the user's word: one entry per mail. Key: user, contact, id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct HeldMail {
    /// From whom.
    pub from: ContactId,
    /// The events that it would have been.
    pub events: Vec<Inbound>,
    /// The conversation that it goes into when the user has accepted it. Until then nothing that the user writes follows from it.
    #[serde(default)]
    pub place: Option<HeldPlace>,
    /// The user was told of it.
    #[serde(default = "yes")]
    pub noticed: bool,
}

/// A held mail's place in a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeldPlace {
    /// The thread.
    pub thread: String,
    /// The conversation, as it was with this mail.
    pub chain: Chain,
    /// The mail's own name.
    pub name: String,
    /// How its sender spells their address.
    pub spelling: Mailbox,
}

fn yes() -> bool {
    true
}

/// The changes that take a mail that was held into its conversation, which may have gone on since.
pub(crate) async fn release(host: &dyn Gateway, user: &BareJid, mail: &HeldMail) -> Result<Vec<Change>, StoreError> {
    let Some(place) = &mail.place else { return Ok(Vec::new()) };
    let chain = match chain(host, user, &place.thread).await? {
        Some(mut chain) => {
            chain.push(&place.name);
            chain
        }
        None => place.chain.clone(),
    };
    let mut changes = record(host.now(), user, &place.thread, &chain, &place.name, std::slice::from_ref(&mail.from));
    changes.extend(spelled(host.now(), user, &place.spelling));
    Ok(changes)
}

/// Holds a stranger's mail.
pub(crate) fn hold(now: SystemTime, user: &BareJid, id: &str, mail: &HeldMail) -> Change {
    put("held", &held_key(user, &mail.from, id), mail).of(user.clone()).until(now + MAIL_LIFE)
}

/// Under which key a mail is held.
pub(crate) fn held_key(user: &BareJid, from: &ContactId, id: &str) -> String {
    two(user, &format!("{from} {id}"))
}

/// What waits from this contact (from anybody, with `None`), oldest first; with the change that takes each away.
pub(crate) async fn held(
    host: &dyn Gateway,
    user: &BareJid,
    from: Option<&ContactId>,
) -> Result<Vec<(HeldMail, Change)>, StoreError> {
    let all: Vec<(String, HeldMail)> = list(host, "held", user).await?;
    let mut all: Vec<_> = all.into_iter().filter(|(_, mail)| from.is_none_or(|f| *f == mail.from)).collect();
    all.sort_by_key(|(_, mail)| mail.events.first().map(|e| e.at));
    Ok(all.into_iter().map(|(id, mail)| (mail, Change::remove("held", two(user, &id)))).collect())
}

/// Where an inbound mail goes back to when the XMPP side gives it back for good. Key: its `OnceKey`. Not kept for mail that nobody may
/// answer automatically (null return path).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReturnPath {
    /// The envelope sender.
    pub sender: Mailbox,
    /// The envelope recipient.
    pub recipient: Mailbox,
    /// ORCPT as given (RFC 3461).
    pub orcpt: Option<String>,
    /// ENVID as given, decoded.
    pub envid: Option<String>,
    /// NOTIFY=NEVER, or a list without FAILURE: no report is wanted.
    pub no_report: bool,
    /// The header section of the mail, at most 16 KiB, as it came.
    pub headers: Vec<u8>,
}

/// Remembers it.
pub(crate) fn keep_return(now: SystemTime, once: &str, path: &ReturnPath) -> Change {
    put("return", once, path).until(now + RETURN_LIFE)
}

/// Looks it up.
pub(crate) async fn return_path(host: &dyn Gateway, once: &str) -> Result<Option<ReturnPath>, StoreError> {
    load(host, "return", once).await
}

/// What the first try of a mail to several people has decided. A later try is for some of them only, but the mail is the same. Key: the delivery
/// key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Begun {
    /// To.
    pub to: Vec<Mailbox>,
    /// Cc.
    pub cc: Vec<Mailbox>,
    /// The contact, where the message was to one only.
    pub only: Option<ContactId>,
    /// Whom the message was to.
    pub legs: Vec<ContactId>,
    /// Whom "reply to all" has added.
    pub added: Vec<Mailbox>,
    /// Those of them who are to be tried yet.
    pub left: Vec<Mailbox>,
    /// The conversation.
    pub thread: String,
    /// What went before in it.
    pub chain: Chain,
    /// The subject, if it is not that of the settings.
    pub subject: Option<String>,
}

/// What was decided about this mail; `None` for one to a single person.
pub(crate) async fn begun(host: &dyn Gateway, key: &str) -> Result<Option<Begun>, StoreError> {
    load(host, "begun", key).await
}

/// Remembers it.
pub(crate) fn begin(now: SystemTime, user: &BareJid, key: &str, begun: &Begun) -> Change {
    put("begun", key, begun).of(user.clone()).until(now + BEGUN_LIFE)
}

/// The file that was fetched for an outbound mail at an earlier try: the n-th one of this delivery.
pub(crate) async fn fetched(host: &dyn Gateway, key: &str, n: usize) -> Result<Option<BlobId>, StoreError> {
    load(host, "fetched", &format!("{key} {n}")).await
}

/// Remembers it.
pub(crate) fn fetch(now: SystemTime, user: &BareJid, key: &str, n: usize, file: &BlobId) -> Change {
    put("fetched", &format!("{key} {n}"), file).of(user.clone()).until(now + FETCHED_LIFE)
}

/// What a user has sent on one day (UTC). Key: user and day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// Mails.
    pub messages: u64,
    /// Envelopes.
    pub recipients: u64,
    /// Bytes over all envelopes.
    pub bytes: u64,
}

impl Usage {
    /// Both.
    pub(crate) fn plus(&self, more: &Self) -> Self {
        Self {
            messages: self.messages.saturating_add(more.messages),
            recipients: self.recipients.saturating_add(more.recipients),
            bytes: self.bytes.saturating_add(more.bytes),
        }
    }

    /// The one without the other.
    pub(crate) fn minus(&self, less: &Self) -> Self {
        Self {
            messages: self.messages.saturating_sub(less.messages),
            recipients: self.recipients.saturating_sub(less.recipients),
            bytes: self.bytes.saturating_sub(less.bytes),
        }
    }
}

/// What the user has sent today.
pub(crate) async fn usage(host: &dyn Gateway, user: &BareJid) -> Result<Usage, StoreError> {
    Ok(load(host, "usage", &two(user, &day(host.now()).to_string())).await?.unwrap_or_default())
}

/// Sets it.
pub(crate) fn used(now: SystemTime, user: &BareJid, usage: &Usage) -> Change {
    put("usage", &two(user, &day(now).to_string()), usage).of(user.clone()).until(now + 2 * DAY)
}

/// Days since the epoch.
pub(crate) fn day(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() / DAY.as_secs()
}

/// A key of two parts. Neither a bare JID nor a Message-ID holds a space.
fn two(user: &BareJid, rest: &str) -> String {
    format!("{user} {rest}")
}

fn put<T: Serialize + ?Sized>(space: &str, key: &str, value: &T) -> Change {
    // Serialising plain structs of strings and numbers to memory cannot fail.
    Change::put(space, key, serde_json::to_vec(value).unwrap_or_default())
}

/// What cannot be read any more (an older version's) counts as absent.
async fn load<T: DeserializeOwned>(host: &dyn Gateway, space: &str, key: &str) -> Result<Option<T>, StoreError> {
    Ok(host.load(space, key).await?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

async fn list<T: DeserializeOwned>(
    host: &dyn Gateway,
    space: &str,
    user: &BareJid,
) -> Result<Vec<(String, T)>, StoreError> {
    let prefix = two(user, "");
    let all = host.list(space, Some(user)).await?;
    Ok(all
        .into_iter()
        .filter_map(|(key, bytes)| Some((key.strip_prefix(&prefix)?.to_owned(), serde_json::from_slice(&bytes).ok()?)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_the_first_and_the_last_ones() {
        let ids: Vec<String> = (0..100).map(|n| format!("{n}@x")).collect();
        let mut chain = Chain::default();
        chain.follow(&ids);
        assert_eq!(chain.references.len(), MAX_REFERENCES);
        assert_eq!((chain.references[0].as_str(), chain.references[1].as_str()), ("0@x", "81@x"));
        chain.push("new@x");
        assert_eq!((chain.references.len(), chain.references[1].as_str()), (MAX_REFERENCES, "82@x"));
        assert_eq!(chain.references.last().map(String::as_str), Some("new@x"));
        chain.follow(&ids[..3]);
        assert_eq!(chain.references, ids[..3]);
    }
}
