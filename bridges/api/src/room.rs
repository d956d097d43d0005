//! Rooms as sessions see them: persons interned once per network, a membership of at most 16 bytes.
//!
//! [`People`] holds the persons of one network once, for all sessions on it. A [`RoomView`] is one session's view of one room: a list of
//! (person, rank), sorted by nick. Both are pure: no clock, no socket, no store. The session changes them as the network speaks, then emits; the
//! core reads them for late resources, disco and self-pings.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::text::Text;

/// How a network compares nicks: the form in which two spellings of one nick are equal.
pub type Fold = fn(&str) -> String;

/// What is its own form under most folds, and needs no copy to be compared.
const PLAIN: &str = "abcdefghijklmnopqrstuvwxyz0123456789#%-._";

/// Whether a text is made of [`PLAIN`] characters.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'#' | b'%' | b'-' | b'.' | b'_'))
}

/// ASCII letters without case; the rest as it is.
pub fn ascii_fold(nick: &str) -> String {
    nick.to_ascii_lowercase()
}

/// What the network has told of somebody. Changing one makes a new [`Person`]: views that hold the old one still say what they saw.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Person {
    /// The nick, as the network spells it.
    pub nick: Box<str>,
    /// `user@host`, where it is known.
    pub host: Option<Box<str>>,
    /// Account (the name under which somebody has logged in), where it is known.
    pub account: Option<Box<str>>,
    /// What they say of being away ([`Rank::AWAY`] says that they are), where the network tells it.
    pub away: Option<Box<str>>,
    key: Box<str>,
    /// [`identity`](Self::identity) as it was at first sight, where it would be another now.
    first: Option<Box<str>>,
}

impl Person {
    /// The nick in the network's form for comparing.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Who this is, as known at first sight: the account, else nick and `user@host`. Renames and what is learned later do not change it; so it
    /// is what an occupant's id (XEP-0421) is made of.
    pub fn identity(&self) -> Cow<'_, str> {
        match &self.first {
            Some(first) => Cow::Borrowed(first),
            None => Cow::Owned(self.identity_now()),
        }
    }

    fn identity_now(&self) -> String {
        match (&self.account, &self.host) {
            (Some(account), _) => format!("account {account}"),
            (None, Some(host)) => format!("{} {host}", self.key),
            (None, None) => self.key.to_string(),
        }
    }

    /// This person as changed, with the identity of before.
    fn after(mut self, before: Option<&Person>) -> Self {
        if let Some(before) = before {
            let identity = before.identity().into_owned();
            self.first = (identity != self.identity_now()).then(|| identity.into());
        }
        self
    }
}

/// The persons of one network, each kept once however many sessions and rooms see them. Shared by the sessions of a network; forgets whom nobody holds.
pub struct People {
    fold: Fold,
    /// [`PLAIN`] characters are their own form.
    keeps_plain: bool,
    known: Mutex<Known>,
}

struct Known {
    by_key: HashMap<Box<str>, Arc<Person>>,
    /// Entries after which those that nobody holds are dropped: twice what was held at the last sweep, so that sweeping costs O(1) an entry.
    sweep_at: usize,
}

/// Below this many entries nothing is swept.
const SWEEP_FLOOR: usize = 256;

impl Default for People {
    fn default() -> Self {
        Self::new(ascii_fold)
    }
}

impl fmt::Debug for People {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("People").field("known", &self.len()).finish_non_exhaustive()
    }
}

impl People {
    /// Nobody yet; nicks compare as `fold` says.
    pub fn new(fold: Fold) -> Self {
        Self {
            fold,
            keeps_plain: fold(PLAIN) == PLAIN,
            known: Mutex::new(Known { by_key: HashMap::new(), sweep_at: SWEEP_FLOOR }),
        }
    }

    /// The person of this nick, as known so far; made where there was none. A spelling that differs in case replaces the old one.
    pub fn intern(&self, nick: &str) -> Arc<Person> {
        self.learn(nick, None, None)
    }

    /// The person of this nick, with what the network has just told of them; `None` leaves as known what is known.
    /// An account of `Some("")` takes it away (a logout).
    pub fn learn(&self, nick: &str, host: Option<&str>, account: Option<&str>) -> Arc<Person> {
        let key = self.folded(nick);
        let mut known = self.lock();
        let old = known.by_key.get(&*key);
        if let Some(old) = old.filter(|old| agrees(old, nick, host, account)) {
            return old.clone();
        }
        let person = Person {
            nick: nick.into(),
            host: host.map(Into::into).or_else(|| old.and_then(|o| o.host.clone())),
            account: match account {
                Some(account) => Some(account).filter(|a| !a.is_empty()).map(Into::into),
                None => old.and_then(|o| o.account.clone()),
            },
            away: old.and_then(|o| o.away.clone()),
            key: (&*key).into(),
            first: None,
        };
        let person = Arc::new(person.after(old.map(|old| &**old)));
        known.by_key.insert((&*key).into(), person.clone());
        known.sweep();
        person
    }

    /// The person of this nick, with what they now say of being away; `None`: nothing, or they are back.
    pub fn away(&self, nick: &str, words: Option<&str>) -> Arc<Person> {
        let person = self.intern(nick);
        if person.away.as_deref() == words {
            return person;
        }
        let changed = Arc::new(Person { away: words.map(Into::into), ..Person::clone(&person) });
        self.lock().by_key.insert(changed.key.clone(), changed.clone());
        changed
    }

    /// The person now has another nick; what was known of them goes with them, and the old name is free again.
    /// Every session of the network sees the change: the first one moves the person, the others find them moved.
    pub fn rename(&self, old: &str, new: &str) -> Arc<Person> {
        let before = self.lock().by_key.remove((self.fold)(old).as_str());
        let Some(before) = before else { return self.intern(new) };
        let key = (self.fold)(new);
        let person = Person {
            nick: new.into(),
            host: before.host.clone(),
            account: before.account.clone(),
            away: before.away.clone(),
            key: key.as_str().into(),
            first: None,
        };
        let person = Arc::new(person.after(Some(&before)));
        // What was known of a former bearer of the new nick is not theirs.
        self.lock().by_key.insert(key.into(), person.clone());
        person
    }

    /// As [`rename`](Self::rename), of the very person whom a session has seen under the old nick: where another session has read on, that name may be
    /// somebody else's by now, and stays theirs.
    pub fn rename_seen(&self, seen: &Arc<Person>, new: &str) -> Arc<Person> {
        let key = (self.fold)(new);
        let (old, there) = {
            let known = self.lock();
            (known.by_key.get(seen.key()).cloned(), known.by_key.get(key.as_str()).cloned())
        };
        let same = |other: &&Arc<Person>| other.identity() == seen.identity();
        if old.as_ref().is_some_and(|old| Arc::ptr_eq(old, seen)) {
            return self.rename(&seen.nick, new);
        }
        if let Some(moved) = there.as_ref().filter(same) {
            return moved.clone();
        }
        if old.as_ref().filter(same).is_some() {
            return self.rename(&seen.nick, new);
        }
        let person = Person { nick: new.into(), key: key.as_str().into(), first: None, ..Person::clone(seen) };
        let person = Arc::new(person.after(Some(seen)));
        if there.is_none() {
            self.lock().by_key.insert(key.into(), person.clone());
        }
        person
    }

    /// Somebody left the network: the nick may be another person's next.
    pub fn forget(&self, nick: &str) {
        self.lock().by_key.remove(&*self.folded(nick));
    }

    /// As [`forget`](Self::forget), of the very person whom a session has seen leave.
    pub fn forget_seen(&self, seen: &Arc<Person>) {
        let mut known = self.lock();
        if known.by_key.get(seen.key()).is_some_and(|person| Arc::ptr_eq(person, seen)) {
            known.by_key.remove(seen.key());
        }
    }

    /// Somebody is out of sight of one session: where nobody else holds them, whoever comes under this nick next is somebody new.
    pub fn release(&self, nick: &str) {
        let key = self.folded(nick);
        let mut known = self.lock();
        if known.by_key.get(&*key).is_some_and(|person| Arc::strong_count(person) == 1) {
            known.by_key.remove(&*key);
        }
    }

    /// The person of this nick, if known.
    pub fn get(&self, nick: &str) -> Option<Arc<Person>> {
        self.lock().by_key.get(&*self.folded(nick)).cloned()
    }

    /// How many are known, including some that nobody holds any more.
    pub fn len(&self) -> usize {
        self.lock().by_key.len()
    }

    /// Nobody is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The form in which nicks are compared.
    pub fn fold(&self, nick: &str) -> String {
        (self.fold)(nick)
    }

    /// The same, without a copy where the text is its own form.
    pub fn folded<'a>(&self, nick: &'a str) -> Cow<'a, str> {
        if self.keeps_plain && is_plain(nick) { Cow::Borrowed(nick) } else { Cow::Owned((self.fold)(nick)) }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Every change is a single insert or remove: a panic elsewhere leaves the map whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn sweep(&mut self) {
        if self.by_key.len() < self.sweep_at {
            return;
        }
        self.by_key.retain(|_, person| Arc::strong_count(person) > 1);
        self.sweep_at = (self.by_key.len() * 2).max(SWEEP_FLOOR);
        self.by_key.shrink_to(self.sweep_at);
    }
}

fn agrees(known: &Person, nick: &str, host: Option<&str>, account: Option<&str>) -> bool {
    *known.nick == *nick
        && host.is_none_or(|h| known.host.as_deref() == Some(h))
        && account.is_none_or(|a| known.account.as_deref().unwrap_or_default() == a)
}

/// What somebody may do in a room, and whether they are away: a set of flags. Several ranks may be held at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Rank(u16);

impl Rank {
    /// No rank.
    pub const NONE: Self = Self(0);
    /// May speak where not everybody may.
    pub const VOICE: Self = Self(1);
    /// Some of what a moderator may.
    pub const HALF: Self = Self(1 << 1);
    /// Moderator.
    pub const MODERATOR: Self = Self(1 << 2);
    /// Administrator.
    pub const ADMIN: Self = Self(1 << 3);
    /// Owner.
    pub const OWNER: Self = Self(1 << 4);
    /// Away, which is no rank but travels with it.
    pub const AWAY: Self = Self(1 << 8);
    /// A program, which is no rank either; shown as a hat (XEP-0317).
    pub const BOT: Self = Self(1 << 9);

    /// Somebody who runs the network, which is no rank either: it gives nothing in the room; shown as a hat (XEP-0317).
    pub const OPERATOR: Self = Self(1 << 10);

    /// The hats of somebody with these flags.
    pub fn hats(self) -> impl Iterator<Item = &'static Hat> {
        HATS.iter().filter(move |hat| self.has(hat.flag))
    }

    /// Whether all of these are set.
    pub fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// With these set or cleared.
    #[must_use]
    pub fn set(self, flags: Self, on: bool) -> Self {
        if on { Self(self.0 | flags.0) } else { Self(self.0 & !flags.0) }
    }

    /// The highest single rank: being away and hats are none.
    #[must_use]
    pub fn highest(self) -> Self {
        [Self::OWNER, Self::ADMIN, Self::MODERATOR, Self::HALF, Self::VOICE]
            .into_iter()
            .find(|rank| self.has(*rank))
            .unwrap_or(Self::NONE)
    }
}

impl std::ops::BitOr for Rank {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What somebody is in the eyes of the network, beside their rank in a room (XEP-0317).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hat {
    /// By which a bridge says it: [`RoomView::mark`].
    pub flag: Rank,
    /// Its address, by which programs know it; never another.
    pub uri: &'static str,
    /// Its name, in English.
    pub title: &'static str,
}

/// All hats there are.
pub const HATS: &[Hat] = &[
    Hat { flag: Rank::BOT, uri: "urn:isthmus:hats:bot", title: "Bot" },
    Hat { flag: Rank::OPERATOR, uri: "urn:isthmus:hats:operator", title: "Network operator" },
];

/// One person in one room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub person: Arc<Person>,
    /// As what.
    pub rank: Rank,
}

// A room of 10,000 seen by 1,000 sessions is ten million of these.
const _: () = assert!(size_of::<Member>() <= 16);

impl Member {
    /// The nick.
    pub fn nick(&self) -> &str {
        &self.person.nick
    }
}

/// Where a session stands towards a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Standing {
    /// Outside.
    #[default]
    Outside,
    /// A join is under way.
    Entering,
    /// Inside.
    Inside,
}

/// A room's subject.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Subject {
    /// The words; empty for none.
    pub words: String,
    /// Nick of who set it.
    pub by: Option<String>,
    /// When.
    pub at: Option<SystemTime>,
}

impl Subject {
    /// A subject and who set it when, as far as is known.
    pub fn new(words: impl Into<String>, by: Option<String>, at: Option<SystemTime>) -> Self {
        Self { words: words.into(), by, at }
    }
}

/// A room as one session sees it.
///
/// Laws: members are sorted by [`Person::key`] and no key stands twice; while inside, [`nick`](Self::nick) is one of them.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct RoomView {
    /// Where the session stands.
    pub standing: Standing,
    /// Subject.
    pub subject: Subject,
    /// The room's modes as the network writes them (`+nt`), for the form of its settings.
    pub modes: String,
    /// Why the user is outside, if not by their own wish.
    pub lost: Option<Text>,
    /// What is said inside counts for this user alone ([`Inbound::apart`](crate::Inbound::apart)). The session says so when the user enters.
    pub apart: bool,
    nick: String,
    members: Vec<Member>,
    /// Members of a listing that is under way (a large room's comes in many pieces); sorted once, at its end.
    arriving: Vec<Member>,
    /// Who was inside when the user was put outside against their wish.
    before: Vec<Member>,
}

impl RoomView {
    /// The user's own nick; what was asked for while entering.
    pub fn nick(&self) -> &str {
        &self.nick
    }

    /// Who is inside, in order of [`Person::key`].
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// A join was asked for under this nick.
    pub fn entering(&mut self, nick: impl Into<String>) {
        *self = Self { standing: Standing::Entering, nick: nick.into(), ..Self::default() };
    }

    /// One more name of the listing. Cheap: nothing is sorted before [`entered`](Self::entered).
    pub fn arrive(&mut self, person: Arc<Person>, rank: Rank) {
        self.arriving.push(Member { person, rank });
    }

    /// The listing is complete: one sort for all of it. Who was seen to come while it ran stays; of two ranks the listing's is newer.
    pub fn entered(&mut self) {
        let mut all = std::mem::take(&mut self.arriving);
        all.append(&mut self.members);
        all.sort_by(|a, b| a.person.key().cmp(b.person.key())); // stable: the listing's entry stays before the older one
        all.dedup_by(|later, kept| later.person.key() == kept.person.key());
        all.shrink_to_fit();
        self.members = all;
        self.standing = Standing::Inside;
        self.lost = None;
    }

    /// The user is outside now. Nothing of the room is kept but the reason, if it was not their wish; and then its subject and, until the core has
    /// taken it, who was inside: after a rejoin its users see only what has changed since.
    pub fn left(&mut self, lost: Option<Text>) {
        let (mut before, mut subject) = (Vec::new(), Subject::default());
        if lost.is_some() {
            (before, subject) = (std::mem::take(&mut self.members), std::mem::take(&mut self.subject));
        }
        *self = Self { lost, before, subject, ..Self::default() };
    }

    /// For the core: who was inside when the user was put outside, in order of [`Person::key`]. Given once.
    pub fn take_before(&mut self) -> Vec<Member> {
        std::mem::take(&mut self.before)
    }

    /// The member of exactly this spelling: for who does not know how the network compares nicks. O(log n) for nicks in ASCII.
    pub fn named(&self, nick: &str) -> Option<&Member> {
        let folded = if is_plain(nick) { Cow::Borrowed(nick) } else { Cow::Owned(ascii_fold(nick)) };
        let likely = self.find(&folded).ok().map(|i| &self.members[i]).filter(|m| m.nick() == nick);
        likely.or_else(|| self.members.iter().find(|m| m.nick() == nick))
    }

    /// The members behind this key in order, all of them where none is given: a large room is read in pieces.
    pub fn members_after(&self, key: Option<&str>) -> &[Member] {
        let from = key.map_or(0, |key| self.members.partition_point(|m| m.person.key() <= key));
        &self.members[from..]
    }

    /// The member of this nick; O(log n). `people` must be those of the room's network.
    pub fn get(&self, people: &People, nick: &str) -> Option<&Member> {
        self.find(&people.folded(nick)).ok().map(|i| &self.members[i])
    }

    /// Whether that is the user's own nick.
    pub fn is_own(&self, people: &People, nick: &str) -> bool {
        people.folded(nick) == people.folded(&self.nick)
    }

    /// Somebody came in; `false` if they were inside already (their rank and what is known of them are brought up to date).
    pub fn enter(&mut self, person: Arc<Person>, rank: Rank) -> bool {
        match self.find(person.key()) {
            Ok(i) => {
                self.members[i] = Member { person, rank };
                false
            }
            Err(i) => {
                self.members.insert(i, Member { person, rank });
                true
            }
        }
    }

    /// Somebody went, by part, quit, kick or ban; gives what they were.
    pub fn leave(&mut self, people: &People, nick: &str) -> Option<Member> {
        let key = people.folded(nick);
        self.arriving.retain(|m| m.person.key() != &*key);
        self.find(&key).ok().map(|i| self.members.remove(i))
    }

    /// Somebody has another nick, the user perhaps; the rank stays. Gives the rank, `None` if they were not inside.
    pub fn rename(&mut self, people: &People, old: &str, person: Arc<Person>) -> Option<Rank> {
        let own = self.is_own(people, old);
        let member = self.leave(people, old)?;
        if own {
            self.nick = person.nick.to_string();
        }
        self.enter(person, member.rank);
        Some(member.rank)
    }

    /// Sets or clears flags of somebody's rank; gives the rank after, `None` if they are not inside.
    pub fn mark(&mut self, people: &People, nick: &str, flags: Rank, on: bool) -> Option<Rank> {
        let i = self.find(&people.folded(nick)).ok()?;
        let rank = &mut self.members[i].rank;
        *rank = rank.set(flags, on);
        Some(*rank)
    }

    /// Replaces what is known of a member (host, account, spelling); `false` if they are not inside.
    pub fn update(&mut self, person: Arc<Person>) -> bool {
        let Ok(i) = self.find(person.key()) else { return false };
        self.members[i].person = person;
        true
    }

    fn find(&self, key: &str) -> Result<usize, usize> {
        self.members.binary_search_by(|m| -> Ordering { m.person.key().cmp(key) })
    }
}

#[cfg(test)]
#[path = "room_tests.rs"]
mod tests;
