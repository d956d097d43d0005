//! The archive of rooms (XEP-0313): one log a room, intervals of visibility a user.
//!
//! What several users hear of one line is one row. Ids are given at once, ordered by time and unguessable; rows are on disk within a second,
//! by the store's writer, which has what is accepted for delivery go first. A crash loses at most that second: ids that clients know and the
//! log does not are read as their time.
//! Of every commit it is measured how long its oldest row had waited ([`Delay`]).
//!
//! | file | what |
//! |---|---|
//! | `ring` | the last ten minutes of a room: which line a session hears |
//! | `waiting` | what is not on disk yet |
//! | `rows` | the log in the store |
//! | `names` | what messages are called by users and by the network |
//! | `delay` | how long rows wait for the disk, measured |
//! | `query` | XEP-0313: what is asked, and the answer |
//! | `apart` | the logs of one user alone |

pub mod apart;
mod delay;
pub mod names;
pub mod query;
pub mod ring;
mod rows;
mod waiting;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use isthmus_bridge::{BareJid, RoomId, StoreError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use self::delay::Delay;
use self::ring::{Heard, Ring};
use self::waiting::{Change, STEP, Waiting};
use crate::hash::Map;
use crate::rooms::{Ids, fresh_stanza_id};
use crate::storage::{Store, millis};

/// How long rows wait to be written together.
const GATHER: Duration = Duration::from_millis(400);
/// Numbers of rooms in memory, at most.
const NUMBERED: usize = 10_000;

/// One line of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The room's id of it.
    pub id: String,
    /// When it was said.
    pub at: SystemTime,
    /// Who said it; `None`: the room itself.
    pub nick: Option<String>,
    /// Their id (XEP-0421).
    pub occupant: Option<String>,
    /// The words.
    pub body: String,
    /// Conversation.
    pub thread: Option<String>,
    /// What the line is beside its words (an answer, a reaction, a withdrawal): children of its stanza, as XML.
    pub payload: Option<String>,
    /// Its words were withdrawn, then.
    pub gone: Option<SystemTime>,
}

/// How long what was said in rooms is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Lines.
    pub keep_for: Duration,
    /// Lines of one room; 0: without bound.
    pub keep_lines: u32,
    /// What messages are called.
    pub remember_for: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        let days = |n: u64| Duration::from_secs(n * 24 * 3600);
        Self { keep_for: days(365), keep_lines: 100_000, remember_for: days(30) }
    }
}

/// What is heard of a line, by one session.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// In which room.
    pub room: &'a RoomId,
    /// Who said it.
    pub nick: Option<&'a str>,
    /// Their id.
    pub occupant: Option<&'a Arc<str>>,
    /// The words.
    pub body: &'a str,
    /// Conversation.
    pub thread: Option<&'a str>,
    /// What it is beside its words, as XML.
    pub payload: Option<&'a str>,
    /// The id that it is to have, where it has one already; else a new one.
    pub id: Option<&'a str>,
    /// The network's id of it.
    pub foreign: Option<&'a str>,
    /// When it was said.
    pub at: SystemTime,
}

/// The archive of one bridge. Cheap to clone.
#[derive(Clone)]
pub struct Archive {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    bridge: String,
    rooms: Mutex<Map<RoomId, Ring>>,
    /// What is not on disk yet.
    waiting: Mutex<Waiting>,
    delays: delay::Delays,
    wake: Notify,
    /// A commit's worth of rows waits.
    full: Notify,
    ids: Ids,
    recent: names::Recent,
    /// One flush at a time: rows reach the store in their order.
    flushing: tokio::sync::Mutex<()>,
    numbered: Mutex<Numbered>,
}

/// What the store calls rooms.
#[derive(Debug, Default)]
struct Numbered {
    numbers: rows::Numbers,
    /// Where something was written since the last sweep.
    grown: HashSet<i64>,
    /// The bound of the last one.
    swept: Option<u32>,
}

impl Numbered {
    /// Where something was written since the last time; `None`: anywhere, for this is the first, or the bound is another one.
    fn sweep(&mut self, most: u32) -> Option<HashSet<i64>> {
        let grown = std::mem::take(&mut self.grown);
        (self.swept.replace(most) == Some(most)).then_some(grown)
    }
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").field("bridge", &self.inner.bridge).finish_non_exhaustive()
    }
}

impl Archive {
    /// The archive of this bridge.
    pub fn new(store: Store, bridge: &str) -> Self {
        let inner = Inner {
            store,
            bridge: bridge.to_owned(),
            rooms: Mutex::default(),
            waiting: Mutex::default(),
            delays: delay::Delays::default(),
            wake: Notify::new(),
            full: Notify::new(),
            ids: Ids::default(),
            recent: names::Recent::default(),
            flushing: tokio::sync::Mutex::default(),
            numbered: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Writes what waits, again and again until `stop`; first ends the stays that a crash left open.
    pub async fn run(self, stop: CancellationToken) {
        if let Err(e) = rows::close_all(&self.inner.store, &self.inner.bridge, self.next_id()).await {
            warn!(bridge = %self.inner.bridge, error = %e, "stays that a crash left open could not be ended");
        }
        if let Err(e) = self.recall().await {
            warn!(bridge = %self.inner.bridge, error = %e, "what was said before cannot be answered as such");
        }
        loop {
            tokio::select! {
                () = self.inner.wake.notified() => {}
                () = stop.cancelled() => break,
            }
            tokio::select! {
                () = tokio::time::sleep(GATHER) => {}
                // A commit's worth of rows gains nothing by waiting, and what lies in memory for long costs more than its writing.
                () = self.inner.full.notified() => {}
            }
            if let Err(e) = self.flush().await {
                warn!(bridge = %self.inner.bridge, error = %e, "what was said in rooms is not on disk yet; trying again");
                tokio::time::sleep(Duration::from_secs(1)).await;
                self.inner.wake.notify_one();
            }
        }
        if let Err(e) = self.flush().await {
            warn!(bridge = %self.inner.bridge, error = %e, "the last of what was said in rooms was not kept");
        }
    }

    /// A user is inside a room and wants it kept; a second time changes nothing.
    pub fn enter(&self, room: &RoomId, user: &BareJid) {
        let since = self.next_id();
        if self.rooms().entry(room.clone()).or_default().enter(user) {
            self.later(Change::Enter { room: room.clone(), user: user.clone(), since });
        }
    }

    /// A user is not inside any more, or wants nothing more kept.
    pub fn leave(&self, room: &RoomId, user: &BareJid) {
        let until = self.next_id();
        let mut rooms = self.rooms();
        let Some(ring) = rooms.get_mut(room) else { return };
        let was = ring.leave(user);
        if ring.is_idle() {
            rooms.remove(room);
        }
        drop(rooms);
        if was {
            self.later(Change::Leave { room: room.clone(), user: user.clone(), until });
        }
    }

    /// Logs of rooms, and the users for whom they are being kept.
    pub fn kept(&self) -> Vec<(RoomId, BareJid)> {
        let rooms = self.rooms();
        rooms.iter().flat_map(|(room, ring)| ring.users().map(|user| (room.clone(), user.clone()))).collect()
    }

    /// A user's data go: nothing more is kept for them until they enter anew, and what waits is written, so that it can be found.
    ///
    /// # Errors
    /// The store is away.
    pub async fn forget(&self, user: &BareJid) -> Result<(), StoreError> {
        for (room, _) in self.kept().iter().filter(|(_, who)| who == user) {
            self.leave(room, user);
        }
        self.flush().await
    }

    /// Nobody is inside any more; all of it is written.
    ///
    /// # Errors
    /// The store is away: the last of it is lost.
    pub async fn end(&self) -> Result<(), StoreError> {
        for (room, user) in self.kept() {
            self.leave(&room, &user);
        }
        self.flush().await
    }

    /// A user's session has heard a line: gives the room's id of it, the same for everybody. `None`: nothing is kept for them.
    pub fn hears(&self, user: &BareJid, said: &Said<'_>) -> Option<String> {
        let mut rooms = self.rooms();
        let ring = rooms.get_mut(said.room).filter(|ring| ring.has(user))?;
        let words = (said.body, said.payload.unwrap_or_default());
        let fresh = || said.id.map_or_else(|| self.next_id(), str::to_owned);
        let id = match ring.hears(user, said.foreign, said.nick, words, Instant::now(), fresh) {
            Heard::Before(id) => return Some(id),
            Heard::Behind(id) => {
                drop(rooms);
                // Its stay may begin behind this line: it sees it all the same, for it was told.
                self.later(Change::Seen { room: said.room.clone(), user: user.clone(), id: id.clone() });
                return Some(id);
            }
            Heard::First(id) => id,
        };
        drop(rooms);
        self.line(said, &id, false);
        Some(id)
    }

    /// A session has fetched a line that was said while it was away. Its id is that of its time, so it stands where it belongs.
    pub fn fetched(&self, user: &BareJid, said: &Said<'_>) {
        if !self.rooms().get(said.room).is_some_and(|ring| ring.has(user)) {
            return;
        }
        let id = fresh_stanza_id(said.at);
        self.line(said, &id, true);
        self.later(Change::Seen { room: said.room.clone(), user: user.clone(), id });
    }

    /// The words of a line are withdrawn: what is left is that there was one.
    pub fn withdraw(&self, room: &RoomId, id: &str) {
        self.later(Change::Gone { room: room.clone(), id: id.to_owned(), at: self.now() });
    }

    /// Writes all that waits now.
    ///
    /// # Errors
    /// The store is away; what is not written waits on.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let _one = self.inner.flushing.lock().await;
        // What comes meanwhile is gathered again: else a steady flow would be written in small commits.
        let batches = self.waiting().gather();
        for _ in 0..batches {
            let Some(batch) = self.waiting().first() else { break };
            let numbers = self.numbers(&batch.changes).await?;
            rows::write(&self.inner.store, &self.inner.bridge, batch.clone(), numbers).await?;
            self.inner.delays.committed(&self.inner.bridge, batch.since.elapsed(), Instant::now());
            self.waiting().written(batch);
        }
        Ok(())
    }

    /// How long rows have waited for the disk, since the start.
    pub fn delay(&self) -> Delay {
        self.inner.delays.so_far()
    }

    /// The numbers of the rooms in which something was said.
    async fn numbers(&self, changes: &[Change]) -> Result<rows::Numbers, StoreError> {
        let mut found = rows::Numbers::default();
        let mut unknown = HashSet::new();
        {
            let mut numbered = self.numbered();
            for change in changes {
                let Change::Line { room, .. } = change else { continue };
                if found.contains_key(room) || unknown.contains(room) {
                    continue;
                }
                match numbered.numbers.get(room).copied() {
                    Some(number) => {
                        numbered.grown.insert(number);
                        found.insert(room.clone(), number);
                    }
                    None => drop(unknown.insert(room.clone())),
                }
            }
        }
        if !unknown.is_empty() {
            let fresh = rows::number(&self.inner.store, &self.inner.bridge, unknown.into_iter().collect()).await?;
            let mut numbered = self.numbered();
            if numbered.numbers.len() + fresh.len() > NUMBERED {
                numbered.numbers.clear();
            }
            numbered.grown.extend(fresh.values());
            // A log that is a user's may go with their data, and its number with it.
            let lasting = fresh.iter().filter(|(room, _)| apart::whose(room).is_none());
            numbered.numbers.extend(lasting.map(|(room, number)| (room.clone(), *number)));
            found.extend(fresh);
        }
        Ok(found)
    }

    /// Lines that a user may see, by a question: of the room, and of what they heard there from servers of their own choice.
    ///
    /// # Errors
    /// The store is away.
    pub async fn find(
        &self,
        room: &RoomId,
        user: &BareJid,
        question: &query::Question,
    ) -> Result<query::Found, StoreError> {
        self.flush().await?;
        rows::find(&self.inner.store, &self.inner.bridge, room, user, question).await
    }

    /// The last lines that a user may see, oldest first, and none after `before`.
    ///
    /// # Errors
    /// The store is away.
    pub async fn last(
        &self,
        room: &RoomId,
        user: &BareJid,
        most: usize,
        since: Option<SystemTime>,
        before: &str,
    ) -> Result<Vec<Line>, StoreError> {
        let question = query::Question {
            start: since,
            before: Some(before.to_owned()),
            backwards: true,
            max: most,
            uncounted: true,
            ..query::Question::default()
        };
        Ok(self.find(room, user, &question).await?.lines)
    }

    /// The first and the last line that a user may see.
    ///
    /// # Errors
    /// The store is away.
    pub async fn ends(&self, room: &RoomId, user: &BareJid) -> Result<Option<(Line, Line)>, StoreError> {
        self.flush().await?;
        rows::ends(&self.inner.store, &self.inner.bridge, room, user).await
    }

    /// Takes over lines that another program has kept, and which part of them each user saw: from which line to which. What is there already
    /// stays; gives how many lines were not. Without `write` nothing is written.
    ///
    /// # Errors
    /// The store is away; steps before are kept.
    pub async fn take_over(
        &self,
        room: &RoomId,
        lines: Vec<Line>,
        stays: Vec<(BareJid, String, String)>,
        write: bool,
    ) -> Result<u64, StoreError> {
        let mut fresh = 0;
        for step in lines.chunks(STEP) {
            fresh += rows::take_over(&self.inner.store, &self.inner.bridge, room, step.to_vec(), write).await?;
        }
        if write {
            self.numbered().swept = None; // there may be too much of it
            rows::saw(&self.inner.store, &self.inner.bridge, room, stays).await?;
        }
        Ok(fresh)
    }

    /// Drops what is past its time, and what a room has too much of.
    ///
    /// # Errors
    /// The store is away.
    pub async fn sweep(&self, keep: &Retention) -> Result<(), StoreError> {
        let before =
            |age: Duration| millis(self.now()).saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        let (store, bridge) = (&self.inner.store, &self.inner.bridge);
        // Only where something was said since the last time can there be too much; the first time nobody knows where that is.
        let grown = self.numbered().sweep(keep.keep_lines);
        let grown: Vec<i64> = match grown {
            Some(grown) => grown.into_iter().collect(),
            None => rows::rooms(store, bridge).await?,
        };
        let oldest = crate::rooms::stanza_id(u128::try_from(before(keep.keep_for)).unwrap_or_default() << 80);
        rows::sweep(store, bridge, &oldest, i64::from(keep.keep_lines), &grown).await?;
        names::sweep(store, bridge, before(keep.remember_for)).await
    }

    /// An id behind all that were given.
    pub fn next_id(&self) -> String {
        self.inner.ids.next(self.now())
    }

    /// The store's clock.
    pub fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
            + Duration::from_millis(u64::try_from(self.inner.store.clock().now()).unwrap_or_default())
    }

    fn later(&self, change: Change) {
        let full = self.waiting().add(change);
        self.waits(full);
    }

    /// A line waits to be written, under this id.
    fn line(&self, said: &Said<'_>, id: &str, late: bool) {
        let full = self.waiting().line(said, id, late);
        self.waits(full);
    }

    fn waits(&self, full: bool) {
        self.inner.wake.notify_one();
        if full {
            self.inner.full.notify_one();
        }
    }

    fn numbered(&self) -> MutexGuard<'_, Numbered> {
        // A cache, and what it was asked for: whatever is missing in it is looked up.
        self.inner.numbered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rooms(&self) -> MutexGuard<'_, Map<RoomId, Ring>> {
        self.inner.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.inner.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
