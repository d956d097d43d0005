//! The last ten minutes of a room. Several sessions hear one line, each its own copy; by the network's id of it, or by each session's place in
//! this ring, the copies are found to be one.

use std::collections::hash_map::{DefaultHasher, Entry};
use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::time::{Duration, Instant};

use isthmus_bridge::BareJid;

/// How long a copy may come after the first.
const LATE: Duration = Duration::from_secs(600);
/// Lines that are remembered, at most.
const LINES: usize = 5_000;

/// A room's recent lines, and how far each session has heard them.
#[derive(Debug, Default)]
pub struct Ring {
    lines: VecDeque<Recent>,
    /// The number of the first line in `lines`.
    first: u64,
    /// The number of the line that each session hears next.
    next: HashMap<BareJid, u64>,
}

#[derive(Debug)]
struct Recent {
    id: String,
    /// Of nick and words.
    print: u64,
    foreign: Option<Box<str>>,
    at: Instant,
}

/// Whether a line is new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Another session has heard it already, under this id.
    Before(String),
    /// It is new, and has this id.
    First(String),
}

impl Ring {
    /// A session begins to hear; what was said before is not for it. False: it does already.
    pub fn enter(&mut self, user: &BareJid) -> bool {
        let end = self.end();
        match self.next.entry(user.clone()) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(end);
                true
            }
        }
    }

    /// A session hears no more. False: it did not.
    pub fn leave(&mut self, user: &BareJid) -> bool {
        self.next.remove(user).is_some()
    }

    /// Whether a session hears.
    pub fn has(&self, user: &BareJid) -> bool {
        self.next.contains_key(user)
    }

    /// The sessions that hear, by user.
    pub fn users(&self) -> impl Iterator<Item = &BareJid> {
        self.next.keys()
    }

    /// Nobody hears.
    pub fn is_idle(&self) -> bool {
        self.next.is_empty()
    }

    /// A session hears a line: words, and what it is beside them. `fresh` makes the id of a new one.
    pub fn hears(
        &mut self,
        user: &BareJid,
        foreign: Option<&str>,
        nick: Option<&str>,
        words: (&str, &str),
        now: Instant,
        fresh: impl FnOnce() -> String,
    ) -> Heard {
        self.forget(now);
        let print = print(nick, words);
        let from = self.next.get(user).copied().unwrap_or_default().max(self.first);
        let behind = usize::try_from(from - self.first).unwrap_or(usize::MAX);
        let same = |entry: &Recent| match (foreign, &entry.foreign) {
            (Some(id), Some(known)) => id == &**known,
            _ => entry.print == print,
        };
        // By the network's id anywhere; else the next one of the same words.
        let found = match foreign {
            Some(_) => self.lines.iter().position(same),
            None => self.lines.iter().skip(behind).position(same).map(|at| at + behind),
        };
        if let Some(at) = found {
            let heard = self.first + at as u64 + 1;
            let next = self.next.entry(user.clone()).or_default();
            *next = (*next).max(heard);
            return Heard::Before(self.lines[at].id.clone());
        }
        let id = fresh();
        // With one session there is nobody to hear it again.
        if self.next.len() > 1 || foreign.is_some() {
            self.lines.push_back(Recent { id: id.clone(), print, foreign: foreign.map(Into::into), at: now });
        }
        let end = self.end();
        self.next.insert(user.clone(), end);
        Heard::First(id)
    }

    fn end(&self) -> u64 {
        self.first + self.lines.len() as u64
    }

    fn forget(&mut self, now: Instant) {
        while self.lines.len() > LINES || self.lines.front().is_some_and(|l| now.duration_since(l.at) > LATE) {
            self.lines.pop_front();
            self.first += 1;
        }
    }
}

fn print(nick: Option<&str>, words: (&str, &str)) -> u64 {
    let mut hasher = DefaultHasher::new();
    (nick, words).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(ring: &mut Ring, user: &str, foreign: Option<&str>, body: &str, fresh: &str) -> (bool, String) {
        match ring.hears(&user.into(), foreign, Some("romeo"), (body, ""), Instant::now(), || fresh.to_owned()) {
            Heard::First(id) => (true, id),
            Heard::Before(id) => (false, id),
        }
    }

    #[test]
    fn copies_of_a_line_are_one_and_the_same_words_said_twice_are_two() {
        let mut ring = Ring::default();
        for user in ["a", "b", "c"] {
            assert!(ring.enter(&user.into()));
        }
        assert_eq!(hear(&mut ring, "a", None, "yes", "1"), (true, "1".to_owned()));
        assert_eq!(hear(&mut ring, "a", None, "yes", "2"), (true, "2".to_owned()), "said twice");
        assert_eq!(hear(&mut ring, "b", None, "yes", "3"), (false, "1".to_owned()));
        assert_eq!(hear(&mut ring, "b", None, "yes", "3"), (false, "2".to_owned()));
        assert_eq!(hear(&mut ring, "b", None, "yes", "3"), (true, "3".to_owned()), "a third time");
        for id in ["1", "2", "3"] {
            assert_eq!(hear(&mut ring, "c", None, "yes", "4"), (false, id.to_owned()));
        }
        // Who comes in later does not hear what was said before.
        ring.enter(&"d".into());
        assert_eq!(hear(&mut ring, "d", None, "yes", "5"), (true, "5".to_owned()));
        assert!(ring.leave(&"d".into()) && !ring.leave(&"d".into()));
    }

    #[test]
    fn the_networks_id_decides_where_there_is_one() {
        let mut ring = Ring::default();
        ring.enter(&"a".into());
        ring.enter(&"b".into());
        assert_eq!(hear(&mut ring, "a", Some("x"), "yes", "1"), (true, "1".to_owned()));
        assert_eq!(hear(&mut ring, "b", Some("y"), "yes", "2"), (true, "2".to_owned()));
        assert_eq!(hear(&mut ring, "b", Some("x"), "other words", "3"), (false, "1".to_owned()));
    }
}
