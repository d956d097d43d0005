//! The bridge's small durable state (in the core's store): conversations, spellings, mails kept for a later look, strangers, usage.
//!
//! Each space has one type, one key format and one life time; both directions read and write through here only.

use std::time::{Duration, SystemTime};

use isthmus_bridge::{BareJid, Change, ContactId, Gateway, Inbound, StoreError};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::address::Mailbox;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// A conversation is forgotten after this time without a mail.
const CHAIN_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// The whole text of a mail is kept for this long.
const MAIL_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Longer than the 48 h in which the core may give an inbound mail back.
const RETURN_LIFE: Duration = Duration::from_secs(4 * 24 * 3600);
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
        if self.references.len() > MAX_REFERENCES {
            self.references.remove(1); // the first one holds the conversation together
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

/// The spelling of a contact that was last seen on a mail; the folded one where none was.
pub(crate) async fn spelling(host: &dyn Gateway, contact: &ContactId) -> Result<Option<Mailbox>, StoreError> {
    match load(host, "spelling", contact.as_str()).await? {
        Some(seen) => Ok(Some(seen)),
        None => Ok(Mailbox::parse(contact.as_str()).ok()),
    }
}

/// Remembers a spelling; `None` where it is the folded one anyway.
pub(crate) fn spelled(mailbox: &Mailbox) -> Option<Change> {
    let contact = mailbox.contact();
    (contact.as_str() != mailbox.to_string()).then(|| put("spelling", contact.as_str(), mailbox))
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
    /// The whole text, nothing cut.
    pub text: String,
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
}

/// Holds a stranger's mail.
pub(crate) fn hold(now: SystemTime, user: &BareJid, id: &str, mail: &HeldMail) -> Change {
    put("held", &two(user, &format!("{} {id}", mail.from)), mail).of(user.clone()).until(now + MAIL_LIFE)
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

/// Everybody whom an outbound mail names, for later tries of which only some recipients are left. Key: the delivery key.
pub(crate) async fn named(host: &dyn Gateway, key: &str) -> Result<Option<(Vec<Mailbox>, Vec<Mailbox>)>, StoreError> {
    load(host, "named", key).await
}

/// Remembers To and Cc of an outbound mail while it is tried.
pub(crate) fn name(now: SystemTime, key: &str, to: &[Mailbox], cc: &[Mailbox]) -> Change {
    put("named", key, &(to, cc)).until(now + RETURN_LIFE)
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
