//! What waits for the disk, a commit's worth at a time.
//!
//! The texts of lines lie one behind the other in one piece of memory per commit. Were each of them a piece of its own, all that a busy gateway
//! needs for a moment would be made in between, in memory that the database's thread has touched last.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use isthmus_bridge::{BareJid, RoomId};

use super::{Said, names};
use crate::storage::millis;

/// Changes of one commit, at most: what is accepted for delivery shall not wait behind more.
pub(super) const STEP: usize = 1024;
/// Octets of their texts after which a commit takes no more.
const TEXTS: usize = 1 << 20;
/// Changes that wait for a store that is away, at most; beyond, the oldest lines go.
const WAITING: usize = 50_000;

/// A change that waits to be written.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// `late`: fetched, so that it may be there already.
    Line {
        room: RoomId,
        line: Columns,
        late: bool,
    },
    Enter {
        room: RoomId,
        user: BareJid,
        since: String,
    },
    Leave {
        room: RoomId,
        user: BareJid,
        until: String,
    },
    /// Seen later than said: history that a session has fetched, or what another session heard before this one was inside.
    Seen {
        room: RoomId,
        user: BareJid,
        id: String,
    },
    /// What a message is called.
    Name {
        place: names::Place,
        name: Arc<names::Name>,
    },
    /// The words of a line are withdrawn.
    Gone {
        room: RoomId,
        id: String,
        at: std::time::SystemTime,
    },
}

/// The columns of a line that are texts, in the order of their octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Id,
    Nick,
    Occupant,
    Body,
    Thread,
    Foreign,
    Payload,
}

impl Column {
    pub(super) const ALL: [Self; 7] =
        [Self::Id, Self::Nick, Self::Occupant, Self::Body, Self::Thread, Self::Foreign, Self::Payload];

    /// Its name in the store.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Nick => "nick",
            Self::Occupant => "occupant",
            Self::Body => "body",
            Self::Thread => "thread",
            Self::Foreign => "foreign_id",
            Self::Payload => "payload",
        }
    }
}

/// No text, which is not an empty one.
const NONE: u32 = u32::MAX;

/// A line of a batch: where its texts are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Columns {
    /// When it was said, in milliseconds.
    pub(super) at: i64,
    /// Where the first of them begins; each begins where the one before ends.
    start: u32,
    lengths: [u32; Column::ALL.len()],
}

impl Columns {
    /// Where each text is; `None`: the line has none.
    pub(super) fn places(&self) -> impl Iterator<Item = Option<Range<usize>>> {
        let mut end = self.start as usize;
        self.lengths.into_iter().map(move |length| {
            let from = end;
            end += if length == NONE { 0 } else { length as usize };
            (length != NONE).then_some(from..end)
        })
    }

    /// Where all of them are.
    pub(super) fn span(&self) -> Range<usize> {
        let length: usize = self.lengths.iter().filter(|length| **length != NONE).map(|length| *length as usize).sum();
        let start = self.start as usize;
        start..start + length
    }
}

/// Changes of one commit.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    /// Since when the first of them waits.
    pub(super) since: Instant,
    pub(super) changes: Vec<Change>,
    texts: String,
}

impl Batch {
    fn new() -> Self {
        Self { since: Instant::now(), changes: Vec::new(), texts: String::new() }
    }

    fn add(&mut self, change: Change) {
        if self.changes.is_empty() {
            self.since = Instant::now();
        }
        self.changes.push(change);
    }

    fn line(&mut self, said: &Said<'_>, id: &str, late: bool) {
        let start = octets(self.texts.len());
        let lengths = Column::ALL.map(|column| {
            let text = match column {
                Column::Id => Some(id),
                Column::Nick => said.nick,
                Column::Occupant => said.occupant.map(|id| &**id),
                Column::Body => Some(said.body),
                Column::Thread => said.thread,
                Column::Foreign => said.foreign,
                Column::Payload => said.payload,
            };
            let Some(text) = text else { return NONE };
            let before = self.texts.len();
            put(&mut self.texts, text);
            octets(self.texts.len() - before)
        });
        self.add(Change::Line { room: said.room.clone(), line: Columns { at: millis(said.at), start, lengths }, late });
    }

    fn is_full(&self) -> bool {
        self.changes.len() >= STEP || self.texts.len() >= TEXTS
    }

    /// Texts of its lines.
    pub(super) fn text(&self, range: Range<usize>) -> &str {
        self.texts.get(range).unwrap_or_default()
    }

    /// One text of a line.
    pub(super) fn column(&self, line: &Columns, column: Column) -> Option<&str> {
        line.places().nth(column as usize).flatten().map(|range| self.text(range))
    }

    fn lines(&self) -> usize {
        self.changes.iter().filter(|change| matches!(change, Change::Line { .. })).count()
    }

    /// Empties it; its memory stays.
    fn clear(&mut self) {
        self.changes.clear();
        self.texts.clear();
    }
}

/// As the database takes it: PostgreSQL has no NUL.
fn put(texts: &mut String, text: &str) {
    let mut parts = text.split('\0');
    texts.push_str(parts.next().unwrap_or_default());
    for part in parts {
        texts.push('\u{FFFD}');
        texts.push_str(part);
    }
}

/// A stanza is far shorter than this can hold, and a batch ends at its bound.
fn octets(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(NONE - 1)
}

/// All that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Complete ones, the oldest first.
    batches: VecDeque<Arc<Batch>>,
    /// What comes now.
    open: Batch,
    /// The memory of one that is written, for the next.
    spare: Option<Batch>,
    /// Changes in all of `batches`.
    closed: usize,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { batches: VecDeque::new(), open: Batch::new(), spare: None, closed: 0 }
    }
}

impl Waiting {
    /// Says whether a commit's worth is complete by it.
    pub(super) fn add(&mut self, change: Change) -> bool {
        self.open.add(change);
        self.grown()
    }

    /// A line, under this id. Says whether a commit's worth is complete by it.
    pub(super) fn line(&mut self, said: &Said<'_>, id: &str, late: bool) -> bool {
        self.open.line(said, id, late);
        self.grown()
    }

    fn grown(&mut self) -> bool {
        if !self.open.is_full() {
            return false;
        }
        self.close();
        while self.closed > WAITING && self.give_up() {}
        true
    }

    fn close(&mut self) {
        if !self.open.changes.is_empty() {
            let next = self.spare.take().unwrap_or_else(Batch::new);
            let batch = std::mem::replace(&mut self.open, next);
            self.closed += batch.changes.len();
            self.batches.push_back(Arc::new(batch));
        }
    }

    /// Gives up the oldest lines. Stays decide who sees what: they are never given up. False: there are no lines.
    fn give_up(&mut self) -> bool {
        let Some(oldest) = self.batches.iter_mut().find(|batch| batch.lines() > 0) else { return false };
        self.closed -= oldest.lines();
        Arc::make_mut(oldest).changes.retain(|change| !matches!(change, Change::Line { .. }));
        true
    }

    /// Closes what came until now; gives how many batches wait.
    pub(super) fn gather(&mut self) -> usize {
        self.close();
        self.batches.len()
    }

    /// The oldest batch.
    pub(super) fn first(&self) -> Option<Arc<Batch>> {
        self.batches.front().cloned()
    }

    /// The oldest batch is written.
    pub(super) fn written(&mut self, batch: Arc<Batch>) {
        if let Some(first) = self.batches.pop_front() {
            self.closed -= first.changes.len();
        }
        let quiet = self.batches.is_empty() && self.open.changes.is_empty();
        if quiet {
            // A gateway that is idle holds nothing for the next burst.
            *self = Self::default();
        } else if let Some(mut spare) = Arc::into_inner(batch) {
            spare.clear();
            self.spare = Some(spare);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn said<'a>(room: &'a RoomId, body: &'a str) -> Said<'a> {
        Said {
            room,
            nick: Some("juliet"),
            occupant: None,
            body,
            thread: None,
            payload: Some("<a/>"),
            id: None,
            foreign: Some(""),
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(7),
        }
    }

    fn line_of(change: &Change) -> Columns {
        match change {
            Change::Line { line, .. } => *line,
            other => panic!("a line was expected: {other:?}"),
        }
    }

    #[test]
    fn what_is_put_down_is_found_again() {
        let room = RoomId::from("#verona%net");
        let mut waiting = Waiting::default();
        for body in ["wherefore\0art", "", "thou — Romeo"] {
            waiting.line(&said(&room, body), &format!("id of {body}"), false);
        }
        assert_eq!(waiting.gather(), 1);
        let batch = waiting.first().expect("one waits");
        for (change, body) in batch.changes.iter().zip(["wherefore\u{FFFD}art", "", "thou — Romeo"]) {
            let line = line_of(change);
            let all: Vec<_> = Column::ALL.iter().map(|column| batch.column(&line, *column)).collect();
            let id = format!("id of {body}");
            assert_eq!(all, [Some(&*id), Some("juliet"), None, Some(body), None, Some(""), Some("<a/>")]);
            assert_eq!(batch.text(line.span()), format!("{id}juliet{body}<a/>"));
            assert_eq!(line.at, 7);
        }
    }

    #[test]
    fn a_batch_ends_at_its_bounds_and_its_memory_serves_again() {
        let room = RoomId::from("#verona%net");
        let mut waiting = Waiting::default();
        for n in 0..STEP - 1 {
            assert!(!waiting.line(&said(&room, "x"), "id", false), "{n}");
        }
        assert!(waiting.line(&said(&room, "x"), "id", false), "a commit's worth");
        waiting.line(&said(&room, &"x".repeat(TEXTS)), "id", false);
        assert_eq!(waiting.gather(), 2, "what is long fills one alone");
        waiting.line(&said(&room, "x"), "id", false);
        let first = waiting.first().expect("one waits");
        assert_eq!(first.changes.len(), STEP);
        waiting.written(first);
        assert!(waiting.spare.as_ref().is_some_and(|spare| spare.changes.capacity() >= STEP), "for the next");
        for _ in 0..2 {
            assert!(waiting.gather() > 0);
            let first = waiting.first().expect("one waits");
            waiting.written(first);
        }
        assert_eq!((waiting.gather(), waiting.closed), (0, 0));
        assert!(waiting.spare.is_none() && waiting.open.changes.capacity() == 0, "idle it holds nothing");
    }

    #[test]
    fn the_oldest_lines_go_first_and_stays_never() {
        let room = RoomId::from("#verona%net");
        let mut waiting = Waiting::default();
        let user = BareJid::from("romeo@example.org");
        for n in 0..WAITING + 2 * STEP {
            let body = n.to_string();
            waiting.line(&said(&room, &body), "id", false);
            if n % 100 == 0 {
                waiting.add(Change::Enter { room: room.clone(), user: user.clone(), since: body });
            }
        }
        waiting.gather();
        assert!(waiting.closed <= WAITING + STEP, "{}", waiting.closed);
        let (mut lines, mut stays) = (Vec::new(), 0);
        while let Some(batch) = waiting.first() {
            for change in &batch.changes {
                match change {
                    Change::Line { line, .. } => lines.extend(batch.column(line, Column::Body).map(str::to_owned)),
                    _ => stays += 1,
                }
            }
            waiting.written(batch);
        }
        assert_eq!(stays, (WAITING + 2 * STEP).div_ceil(100));
        let last = WAITING + 2 * STEP - 1;
        let kept: Vec<_> = (last + 1 - lines.len()..=last).map(|n| n.to_string()).collect();
        assert_eq!(lines, kept, "the newest are kept, in their order");
    }
}
