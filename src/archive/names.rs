//! The message map of live bridges: what a message is called by users' clients, and by the network.
//!
//! What users refer to (an answer, a reaction, a correction, a withdrawal, a mark) they name by a stanza's id, networks by ids of their own. One
//! message may be several lines there: its parts share a head. Names are written with the archive's rows; what was said lately is also in memory,
//! because a line that comes in is told at once and cannot wait for the store.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use isthmus_bridge::{Address, BareJid, ForeignMessageId, RoomId, StoreError};

use super::{Archive, Change};
use crate::args;
use crate::hash::{self, Map};
use crate::storage::{Row, Store, Tx};

/// Names in memory, at most.
const RECENT: usize = 4_096;
/// Own words that are remembered for a correction, in bytes.
const WORDS: usize = 2_000;
/// Parts of one message that are looked at, at most.
const PARTS: i64 = 64;
/// Messages that are said in place of earlier ones and have no names yet, at most.
const ANEW: usize = 256;
/// Reactions of one person to one message, at most.
const REACTIONS: usize = 32;

/// Where something was said.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// In a room, by whomever: the same for all users who are there. Or in a [log](super::apart) of it that is one user's.
    Room(RoomId),
    /// Between a user and an address.
    Talk(BareJid, Address),
}

impl Place {
    /// Its text in the store.
    fn key(&self) -> String {
        match self {
            Self::Room(room) => format!("room {room}"),
            Self::Talk(user, Address::Contact(contact)) => format!("talk {user} contact {contact}"),
            Self::Talk(user, Address::Occupant { room, nick }) => format!("talk {user} occupant {room} {nick}"),
            Self::Talk(user, other) => format!("talk {user} {other:?}"),
        }
    }

    fn person(&self) -> Option<&str> {
        match self {
            Self::Room(log) => super::apart::whose(log).map(|(user, _)| user),
            Self::Talk(user, _) => Some(user.as_str()),
        }
    }
}

/// One part of a message, and what it is called.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Name {
    /// What stanzas refer to it by: the room's id of it, or the message's own id.
    pub id: String,
    /// The id of the message's first part.
    pub head: String,
    /// The network's name for it.
    pub foreign: Option<ForeignMessageId>,
    /// The user of ours who said it.
    pub writer: Option<BareJid>,
    /// The id that their client gave it.
    pub client: Option<String>,
    /// Who said it in the room.
    pub nick: Option<String>,
    /// Its words, where it is a user's own and not long ago.
    pub words: Option<Box<str>>,
    /// When it was said; where nobody knows better, [`Archive::name`] sets when it was named.
    pub at: Option<SystemTime>,
}

/// Names of lately.
#[derive(Debug, Default)]
pub(super) struct Recent {
    inner: Mutex<Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    order: VecDeque<(u64, u64)>,
    names: Map<u64, Arc<Name>>,
    /// What is said in place of an earlier message, and the id that its client knows that one by.
    anew: VecDeque<(u64, String)>,
}

impl Recent {
    fn lock(&self) -> MutexGuard<'_, Shelf> {
        // Both sides are bounds of a cache: one that misses an entry is a cache still.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn foreign(place: &Place, id: &str) -> u64 {
        hash::one((0_u8, place, id))
    }

    fn client(place: &Place, writer: &BareJid, id: &str) -> u64 {
        hash::one((1_u8, place, writer, id))
    }

    fn put(&self, place: &Place, name: &Arc<Name>) {
        let foreign = name.foreign.as_ref().map(|id| Self::foreign(place, id.as_str()));
        let client = name.writer.as_ref().zip(name.client.as_deref()).map(|(who, id)| Self::client(place, who, id));
        let mut shelf = self.lock();
        for key in [foreign, client].into_iter().flatten() {
            shelf.names.insert(key, name.clone());
        }
        shelf.order.push_back((foreign.unwrap_or_default(), client.unwrap_or_default()));
        while shelf.order.len() > RECENT {
            if let Some((foreign, client)) = shelf.order.pop_front() {
                shelf.names.remove(&foreign);
                shelf.names.remove(&client);
            }
        }
    }

    fn get(&self, key: u64) -> Option<Arc<Name>> {
        self.lock().names.get(&key).cloned()
    }

    /// The id of the message in whose place this one is said; given once.
    fn first(&self, place: &Place, name: &Name) -> Option<String> {
        let mut shelf = self.lock();
        if shelf.anew.is_empty() {
            return None;
        }
        let key = Self::client(place, name.writer.as_ref()?, name.client.as_deref()?);
        let at = shelf.anew.iter().position(|(anew, _)| *anew == key)?;
        shelf.anew.remove(at).map(|(_, first)| first)
    }
}

impl Archive {
    /// A message has these names from now on. It is on disk with the next rows, where the network has a name for it.
    pub fn name(&self, place: &Place, mut name: Name) {
        name.words = name.words.filter(|words| name.writer.is_some() && words.len() <= WORDS);
        name.at = name.at.or_else(|| Some(self.now()));
        if let Some(first) = self.inner.recent.first(place, &name) {
            name.client = Some(first);
        }
        let name = Arc::new(name);
        self.inner.recent.put(place, &name);
        if name.foreign.is_some() {
            self.later(Change::Name { place: place.clone(), name });
        }
    }

    /// What a user is about to say under this id stands in place of an earlier message of theirs. However often that is corrected, clients name it by
    /// the id that it had first (XEP-0308 section 4): so it is found by that one.
    pub fn says_anew(&self, place: &Place, writer: &BareJid, id: &str, first: &str) {
        let mut shelf = self.inner.recent.lock();
        if shelf.anew.len() >= ANEW {
            shelf.anew.pop_front();
        }
        shelf.anew.push_back((Recent::client(place, writer, id), first.to_owned()));
    }

    /// After a restart: the last names of rooms, so that answers to what was said before are told as such.
    ///
    /// # Errors
    /// The store is away.
    pub(super) async fn recall(&self) -> Result<(), StoreError> {
        let sql = "SELECT id, head, foreign_id, person, own, client, nick, at, place FROM names WHERE bridge = $1 AND place LIKE 'room %' \
                   ORDER BY seq DESC LIMIT $2";
        let most = i64::try_from(RECENT).unwrap_or(i64::MAX);
        for row in self.inner.store.read(sql, args![&self.inner.bridge, most]).await?.iter().rev() {
            let place = row.text(8)?;
            let Some(room) = place.strip_prefix("room ") else { continue };
            self.inner.recent.put(&Place::Room(room.into()), &Arc::new(read(row)?));
        }
        Ok(())
    }

    /// A message by the network's name, if it was named lately.
    pub fn named_lately(&self, place: &Place, foreign: &ForeignMessageId) -> Option<Arc<Name>> {
        self.inner.recent.get(Recent::foreign(place, foreign.as_str()))
    }

    /// A message by the network's name.
    ///
    /// # Errors
    /// The store is away.
    pub async fn by_foreign(&self, place: &Place, foreign: &ForeignMessageId) -> Result<Option<Name>, StoreError> {
        if let Some(name) = self.named_lately(place, foreign) {
            return Ok(Some((*name).clone()));
        }
        self.flush().await?;
        let sql = "SELECT id, head, foreign_id, person, own, client, nick, at FROM names WHERE bridge = $1 AND place = $2 AND foreign_id = $3 \
                   ORDER BY seq DESC LIMIT 1";
        let rows = self.inner.store.read(sql, args![&self.inner.bridge, place.key(), foreign.as_str()]).await?;
        rows.first().map(read).transpose()
    }

    /// A message by the id that stanzas refer to it by: all parts of it where that is its head, in order.
    ///
    /// # Errors
    /// The store is away.
    pub async fn by_id(&self, place: &Place, id: &str) -> Result<Vec<Name>, StoreError> {
        self.flush().await?;
        let sql = "SELECT id, head, foreign_id, person, own, client, nick, at FROM names WHERE bridge = $1 AND place = $2 AND (id = $3 OR head = $3) \
                   ORDER BY seq LIMIT $4";
        let rows = self.inner.store.read(sql, args![&self.inner.bridge, place.key(), id, PARTS]).await?;
        rows.iter().map(read).collect()
    }

    /// A user's own message by the id that their client gave it: all parts of it, in order. What the network has no name for is found for a while.
    ///
    /// # Errors
    /// The store is away.
    pub async fn by_client(&self, place: &Place, writer: &BareJid, id: &str) -> Result<Vec<Name>, StoreError> {
        let recent = self.inner.recent.get(Recent::client(place, writer, id));
        self.flush().await?;
        let sql = "SELECT head FROM names WHERE bridge = $1 AND place = $2 AND client = $3 AND own = 1 AND person = $4 ORDER BY seq DESC LIMIT 1";
        let values = args![&self.inner.bridge, place.key(), id, writer.as_str()];
        let mut parts = match self.inner.store.read(sql, values).await?.first() {
            Some(row) => self.by_id(place, &row.text(0)?).await?,
            None => Vec::new(),
        };
        if let Some(recent) = recent {
            match parts.first_mut() {
                Some(first) => first.words.clone_from(&recent.words),
                None => parts.push((*recent).clone()),
            }
        }
        Ok(parts)
    }

    /// Somebody sets these reactions and no others; gives what they had set before.
    ///
    /// # Errors
    /// The store is away.
    pub async fn react(&self, place: &Place, id: &str, who: &str, all: Vec<String>) -> Result<Vec<String>, StoreError> {
        self.reactions(place, id, who, Step::Set(all)).await.map(|(before, _)| before)
    }

    /// Somebody adds reactions and takes some back; gives all that they have set now.
    ///
    /// # Errors
    /// The store is away.
    pub async fn react_by(
        &self,
        place: &Place,
        id: &str,
        who: &str,
        add: Vec<String>,
        remove: Vec<String>,
    ) -> Result<Vec<String>, StoreError> {
        self.reactions(place, id, who, Step::By { add, remove }).await.map(|(_, now)| now)
    }

    async fn reactions(
        &self,
        place: &Place,
        id: &str,
        who: &str,
        step: Step,
    ) -> Result<(Vec<String>, Vec<String>), StoreError> {
        let row = Reacting {
            bridge: self.inner.bridge.clone(),
            place: place.key(),
            id: id.to_owned(),
            who: who.to_owned(),
            person: place.person().map(str::to_owned),
        };
        self.inner.store.write((row, step), |tx, (row, step)| Box::pin(reacted(tx, row, step))).await
    }
}

struct Reacting {
    bridge: String,
    place: String,
    id: String,
    who: String,
    person: Option<String>,
}

enum Step {
    Set(Vec<String>),
    By { add: Vec<String>, remove: Vec<String> },
}

async fn reacted(tx: &mut Tx, row: &Reacting, step: &Step) -> Result<(Vec<String>, Vec<String>), StoreError> {
    let Reacting { bridge, place, id, who, person } = row;
    let sql = "SELECT said FROM reactions WHERE bridge = $1 AND place = $2 AND id = $3 AND who = $4";
    let known = tx.fetch_one(sql, args![bridge, place, id, who]).await?;
    let before: Vec<String> = match known {
        Some(row) => serde_json::from_str(&row.text(0)?).map_err(|e| StoreError::Fault(e.to_string()))?,
        None => Vec::new(),
    };
    let mut now = match step {
        Step::Set(all) => all.clone(),
        Step::By { add, remove } => {
            let mut now: Vec<String> = before.iter().filter(|r| !remove.contains(r)).cloned().collect();
            now.extend(add.iter().filter(|r| !before.contains(r)).cloned());
            now
        }
    };
    now.truncate(REACTIONS);
    if now.is_empty() {
        let sql = "DELETE FROM reactions WHERE bridge = $1 AND place = $2 AND id = $3 AND who = $4";
        tx.execute(sql, args![bridge, place, id, who]).await?;
    } else {
        let said = serde_json::to_string(&now).map_err(|e| StoreError::Fault(e.to_string()))?;
        let sql = "INSERT INTO reactions (bridge, place, id, who, person, said, at) VALUES ($1, $2, $3, $4, $5, $6, $7) \
                   ON CONFLICT (bridge, place, id, who) DO UPDATE SET said = excluded.said, at = excluded.at";
        tx.execute(sql, args![bridge, place, id, who, person, said, tx.now()]).await?;
    }
    Ok((before, now))
}

/// What stood between two sets: what is new, and what is gone.
pub fn difference(before: &[String], now: &[String]) -> (Vec<String>, Vec<String>) {
    let missing =
        |from: &[String], of: &[String]| -> Vec<String> { of.iter().filter(|r| !from.contains(r)).cloned().collect() };
    (missing(before, now), missing(now, before))
}

pub(super) async fn write(tx: &mut Tx, bridge: &str, place: &Place, name: &Name) -> Result<(), StoreError> {
    let Some(foreign) = &name.foreign else { return Ok(()) };
    // Several sessions hear one line: whoever wrote it knows most of it.
    let key = place.key();
    let person = name.writer.as_ref().map(BareJid::as_str).or(place.person());
    let sql = "UPDATE names SET person = COALESCE($5, person), own = CASE WHEN $6 = 1 THEN 1 ELSE own END, client = COALESCE($7, client), \
               head = CASE WHEN $6 = 1 THEN $8 ELSE head END WHERE bridge = $1 AND place = $2 AND foreign_id = $3 AND id = $4";
    let own = i64::from(name.writer.is_some());
    let values = args![bridge, &key, foreign.as_str(), &name.id, person, own, &name.client, &name.head];
    if tx.execute(sql, values).await? > 0 {
        return Ok(());
    }
    let sql = "INSERT INTO names (bridge, place, id, head, foreign_id, person, own, client, nick, at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    let values =
        args![bridge, &key, &name.id, &name.head, foreign.as_str(), person, own, &name.client, &name.nick, tx.now()];
    tx.execute(sql, values).await.map(drop)
}

/// Drops names and reactions that are past their time.
pub(super) async fn sweep(store: &Store, bridge: &str, oldest: i64) -> Result<(), StoreError> {
    store
        .write((bridge.to_owned(), oldest), |tx, (bridge, oldest)| {
            Box::pin(async move {
                tx.execute("DELETE FROM names WHERE bridge = $1 AND at < $2", args![&*bridge, *oldest]).await?;
                let sql = "DELETE FROM reactions WHERE bridge = $1 AND at < $2";
                tx.execute(sql, args![&*bridge, *oldest]).await.map(drop)
            })
        })
        .await
}

fn read(row: &Row) -> Result<Name, StoreError> {
    let own = row.int(4)? == 1;
    Ok(Name {
        id: row.text(0)?,
        head: row.text(1)?,
        foreign: Some(row.text(2)?.into()),
        writer: row.opt_text(3)?.filter(|_| own).map(BareJid::from),
        client: row.opt_text(5)?,
        nick: row.opt_text(6)?,
        words: None,
        at: UNIX_EPOCH.checked_add(Duration::from_millis(u64::try_from(row.int(7)?).unwrap_or_default())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Clock;
    use crate::storage::testing::{START, on_both_engines};

    on_both_engines!(names_are_found_from_both_sides_and_after_a_restart, reactions_are_sets_here_and_steps_there);

    async fn names_are_found_from_both_sides_and_after_a_restart(place: crate::storage::testing::Place) {
        let clock = Clock::manual(START);
        let store = Store::open(place.open(clock.clone())).await.expect("the store opens");
        let archive = Archive::new(store.clone(), "rooms");
        let (room, romeo) = (Place::Room("#verona".into()), BareJid::from("romeo@example.org"));
        for part in 0..2 {
            let name = Name {
                id: format!("s{part}"),
                head: "s0".to_owned(),
                foreign: Some(format!("f{part}").into()),
                writer: Some(romeo.clone()),
                client: (part == 0).then(|| "m1".to_owned()),
                words: Some("two lines".into()),
                ..Name::default()
            };
            archive.name(&room, name);
        }
        // Another session heard the same line: who wrote it is not forgotten by that.
        let heard = Name { id: "s1".into(), head: "s1".into(), foreign: Some("f1".into()), ..Name::default() };
        archive.name(&room, heard);
        archive.name(&room, Name { id: "s2".into(), head: "s2".into(), foreign: Some("f2".into()), ..Name::default() });
        archive.flush().await.expect("written");
        let after = Archive::new(store, "rooms");
        assert!(after.named_lately(&room, &"f2".into()).is_none());
        after.recall().await.expect("the store answers");
        assert!(after.named_lately(&room, &"f2".into()).is_some(), "what was said before a restart can be answered");
        for archive in [&archive, &after] {
            let all = archive.by_client(&room, &romeo, "m1").await.expect("the store answers");
            let foreign: Vec<_> = all.iter().filter_map(|n| n.foreign.as_ref().map(|f| f.as_str())).collect();
            assert_eq!(foreign, ["f0", "f1"], "all parts of it");
            assert_eq!(archive.by_id(&room, "s0").await.expect("the store answers").len(), 2);
            assert_eq!(archive.by_id(&room, "s2").await.expect("the store answers").len(), 1);
            let name = archive.by_foreign(&room, &"f2".into()).await.expect("the store answers").expect("known");
            assert_eq!((name.id.as_str(), name.writer), ("s2", None));
            assert!(archive.by_foreign(&Place::Room("#mantua".into()), &"f2".into()).await.expect("it").is_none());
        }
        let words = archive.by_client(&room, &romeo, "m1").await.expect("the store answers")[0].words.clone();
        assert_eq!(words.as_deref(), Some("two lines"));
        clock.advance(std::time::Duration::from_secs(100 * 24 * 3600));
        sweep(&after.inner.store, "rooms", START + 1).await.expect("swept");
        assert!(after.by_id(&room, "s0").await.expect("the store answers").is_empty());
    }

    async fn reactions_are_sets_here_and_steps_there(place: crate::storage::testing::Place) {
        let store = Store::open(place.open(Clock::manual(START))).await.expect("the store opens");
        let archive = Archive::new(store, "rooms");
        let room = Place::Room("#verona".into());
        let set = |all: &[&str]| all.iter().map(|r| (*r).to_owned()).collect::<Vec<_>>();
        let before = archive.react(&room, "s0", "romeo", set(&["👍", "🌹"])).await.expect("written");
        assert_eq!(difference(&before, &set(&["👍", "🌹"])), (set(&["👍", "🌹"]), set(&[])));
        let before = archive.react(&room, "s0", "romeo", set(&["🌹", "💔"])).await.expect("written");
        assert_eq!(difference(&before, &set(&["🌹", "💔"])), (set(&["💔"]), set(&["👍"])));
        for _ in 0..2 {
            let now = archive.react_by(&room, "s0", "nurse", set(&["👍"]), vec![]).await.expect("written");
            assert_eq!(now, ["👍"], "a step that is told twice counts once");
        }
        assert!(archive.react_by(&room, "s0", "nurse", vec![], set(&["👍"])).await.expect("written").is_empty());
    }
}
