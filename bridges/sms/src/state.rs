//! What the bridge keeps: opt-outs, last writers, usage, codes, parts of texts, reports. Small values in the core's store.

use std::time::{Duration, SystemTime};

use isthmus_bridge::{BareJid, BlobId, Change, ContactId, Gateway, StoreError};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

/// A recipient wants no texts from one of our numbers. Key: our number, theirs. It outlives the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OptOut {
    /// Seconds since the epoch.
    pub at: u64,
    /// The word that was sent.
    pub word: String,
}

/// Whether they opted out.
pub(crate) async fn opted_out(host: &dyn Gateway, own: &ContactId, peer: &ContactId) -> Result<bool, StoreError> {
    Ok(load::<OptOut>(host, "opt-out", &two(own, peer)).await?.is_some())
}

/// They opt out.
pub(crate) fn opt_out(now: SystemTime, own: &ContactId, peer: &ContactId, word: &str) -> Change {
    put("opt-out", &two(own, peer), &OptOut { at: seconds(now), word: word.to_owned() })
}

/// They opt in again.
pub(crate) fn opt_in(own: &ContactId, peer: &ContactId) -> Change {
    Change::remove("opt-out", two(own, peer))
}

/// Whether a text with a keyword was heeded already, and then whether its user is told what it means. Key: what makes a copy of it.
pub(crate) async fn heeded(host: &dyn Gateway, once: &str) -> Result<Option<bool>, StoreError> {
    load(host, "heeded", once).await
}

/// It was; remembered as long as the core knows copies.
pub(crate) fn heed(now: SystemTime, once: &str, told: bool) -> Change {
    put("heeded", once, &told).until(now + DAY * 14)
}

/// Everybody who opted out: our number, theirs, since when.
pub(crate) async fn opt_outs(host: &dyn Gateway) -> Result<Vec<(String, String, OptOut)>, StoreError> {
    let all = host.list("opt-out", None).await?;
    Ok(all
        .into_iter()
        .filter_map(|(key, bytes)| {
            let (own, peer) = key.split_once(' ')?;
            Some((own.to_owned(), peer.to_owned(), serde_json::from_slice(&bytes).ok()?))
        })
        .collect())
}

/// Who wrote last to a contact from a shared number.
pub(crate) async fn last_writer(
    host: &dyn Gateway,
    own: &ContactId,
    peer: &ContactId,
) -> Result<Option<BareJid>, StoreError> {
    Ok(load::<String>(host, "writer", &two(own, peer)).await?.map(|user| BareJid::from(user.as_str())))
}

/// This user did.
pub(crate) fn wrote(user: &BareJid, own: &ContactId, peer: &ContactId) -> Change {
    put("writer", &two(own, peer), user.as_str()).of(user.clone())
}

/// Nobody has, that anything is known of.
pub(crate) fn nobody_wrote(own: &ContactId, peer: &ContactId) -> Change {
    Change::remove("writer", two(own, peer))
}

/// Whether a short code has written to us: only then it may be answered.
pub(crate) async fn short_seen(host: &dyn Gateway, code: &ContactId) -> Result<bool, StoreError> {
    Ok(host.load("short", code.as_str()).await?.is_some())
}

/// It has.
pub(crate) fn see_short(code: &ContactId) -> Change {
    put("short", code.as_str(), &true)
}

/// A code that was texted to a number, waiting to be typed. Key: the user. Kept sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Code {
    /// The number it went to.
    pub number: String,
    /// The code.
    pub code: String,
    /// Wrong answers so far.
    pub wrong: u32,
}

/// The code that waits for this user.
pub(crate) async fn code(host: &dyn Gateway, user: &BareJid) -> Result<Option<Code>, StoreError> {
    let Some(sealed) = host.load("code", user.as_str()).await? else { return Ok(None) };
    Ok(serde_json::from_slice(&host.unseal(&sealed)?).ok())
}

/// Keeps it for ten minutes.
pub(crate) fn keep_code(host: &dyn Gateway, user: &BareJid, code: &Code) -> Result<Change, StoreError> {
    let plain = serde_json::to_vec(code).unwrap_or_default();
    let until = host.now() + Duration::from_secs(600);
    Ok(Change::put("code", user.as_str(), host.seal(&plain)?).of(user.clone()).until(until))
}

/// It was good, or is not any more.
pub(crate) fn drop_code(user: &BareJid) -> Change {
    Change::remove("code", user.as_str())
}

/// Codes that were texted today: to a number, and for a user. Neither is to be pestered.
pub(crate) async fn codes_today(host: &dyn Gateway, whose: &str) -> Result<u32, StoreError> {
    Ok(load(host, "codes", &format!("{whose} {}", seconds(host.now()) / DAY.as_secs())).await?.unwrap_or(0))
}

/// One more.
pub(crate) fn count_code(now: SystemTime, whose: &str, count: u32) -> Change {
    put("codes", &format!("{whose} {}", seconds(now) / DAY.as_secs()), &count).until(now + DAY * 2)
}

/// A part of a longer text. Never goes by itself: an accepted part is delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptPart {
    /// The provider that brought it.
    pub provider: String,
    /// Our number.
    pub own: String,
    /// The sender, in the one spelling.
    pub from: String,
    /// The sender as the provider wrote it.
    pub spelled: String,
    /// How many parts there are.
    pub count: u32,
    /// Which one this is.
    pub number: u32,
    /// Its words.
    pub text: String,
    /// What makes a copy of it.
    pub once: String,
    /// The provider's id.
    pub id: Option<String>,
    /// When it came, seconds since the epoch.
    pub came: u64,
    /// When it was sent.
    pub at: u64,
}

/// All parts that wait, by key: set and number.
pub(crate) async fn parts(host: &dyn Gateway) -> Result<Vec<(String, KeptPart)>, StoreError> {
    let all = host.list("part", None).await?;
    Ok(all.into_iter().filter_map(|(key, bytes)| Some((key, serde_json::from_slice(&bytes).ok()?))).collect())
}

/// Keeps one.
pub(crate) fn keep_part(set: &str, part: &KeptPart) -> Change {
    put("part", &format!("{set} {:03}", part.number), part)
}

/// The changes that take delivered parts away, and remember that their copies are no news.
pub(crate) fn parts_done(now: SystemTime, parts: &[(String, KeptPart)]) -> Vec<Change> {
    let gone = parts.iter().map(|(key, _)| Change::remove("part", key.as_str()));
    let seen = parts.iter().map(|(_, part)| put("part-done", &part.once, &true).until(now + DAY * 3));
    gone.chain(seen).collect()
}

/// Whether this part was delivered before.
pub(crate) async fn part_done(host: &dyn Gateway, once: &str) -> Result<bool, StoreError> {
    Ok(host.load("part-done", once).await?.is_some())
}

/// What was told of a text: 1 failed, 2 delivered. Key: its id.
pub(crate) async fn told(host: &dyn Gateway, id: &str) -> Result<u8, StoreError> {
    Ok(load(host, "told", id).await?.unwrap_or(0))
}

/// Remembers it for as long as reports come.
pub(crate) fn tell(now: SystemTime, id: &str, what: u8) -> Change {
    put("told", id, &what).until(now + DAY * 7)
}

/// Whether this is the id of a message to several.
pub(crate) async fn is_group(host: &dyn Gateway, id: &str) -> Result<bool, StoreError> {
    Ok(host.load("group", id).await?.is_some())
}

/// It is.
pub(crate) fn group(now: SystemTime, id: &str) -> Change {
    put("group", id, &true).until(now + DAY * 7)
}

/// The kept file of a picture that a message links to. Key: the message's, and what its link hashes to.
pub(crate) async fn picture(host: &dyn Gateway, key: &str) -> Result<Option<BlobId>, StoreError> {
    Ok(load::<String>(host, "picture", key).await?.map(|id| BlobId::from(id.as_str())))
}

/// It is this one.
pub(crate) fn keep_picture(until: SystemTime, user: &BareJid, key: &str, id: &BlobId) -> Change {
    put("picture", key, id.as_str()).of(user.clone()).until(until)
}

/// The provider that a text was given to, where a second try has to go to the same one. Key: the text's own key.
pub(crate) async fn pinned(host: &dyn Gateway, key: &str) -> Result<Option<String>, StoreError> {
    load(host, "pin", key).await
}

/// It goes to this one.
pub(crate) fn pin(now: SystemTime, key: &str, provider: &str) -> Change {
    put("pin", key, provider).until(now + DAY * 15)
}

/// Two parts of a key. Numbers and names of senders are trimmed and the first of both is a number: the first space is between them.
fn two(own: &ContactId, peer: &ContactId) -> String {
    format!("{own} {peer}")
}

/// Seconds since the epoch.
pub(crate) fn seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

pub(crate) fn put<T: Serialize + ?Sized>(space: &str, key: &str, value: &T) -> Change {
    // Serialising plain structs of strings and numbers to memory cannot fail.
    Change::put(space, key, serde_json::to_vec(value).unwrap_or_default())
}

/// What cannot be read any more (an older version's) counts as absent.
pub(crate) async fn load<T: DeserializeOwned>(
    host: &dyn Gateway,
    space: &str,
    key: &str,
) -> Result<Option<T>, StoreError> {
    Ok(host.load(space, key).await?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// A text that a user's server gave back for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lost {
    /// Whose.
    pub user: String,
    /// Who wrote.
    #[serde(default)]
    pub peer: String,
    /// What they wrote, sealed, in lower-case hexadecimal.
    #[serde(default)]
    pub words: String,
    /// Why.
    pub why: String,
    /// Seconds since the epoch.
    pub at: u64,
}

/// Keeps it for a month, as long as its user stays.
pub(crate) fn lost(now: SystemTime, user: &BareJid, id: &str, entry: &Lost) -> Change {
    put("lost", &format!("{user} {id}"), entry).of(user.clone()).until(now + DAY * 30)
}

/// All of them, or one user's.
pub(crate) async fn all_lost(host: &dyn Gateway, user: Option<&BareJid>) -> Result<Vec<Lost>, StoreError> {
    let all = host.list("lost", user).await?;
    Ok(all.into_iter().filter_map(|(_, bytes)| serde_json::from_slice(&bytes).ok()).collect())
}
