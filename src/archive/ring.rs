//! The last ten minutes of a room. Several sessions hear one line, each its own copy; by the network's id of it, or by each session's place in
//! this ring, the copies are found to be one.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use isthmus_bridge::BareJid;
use smallvec::SmallVec;

use crate::hash::{self, Map};

/// How long a copy may come after the first.
const LATE: Duration = Duration::from_secs(600);
/// Lines that are remembered, at most.
const LINES: usize = 5_000;

/// A room's recent lines, and how far each session has heard them.
#[derive(Debug, Default)]
pub struct Ring {
    /// Nothing where one session hears, and the network has no ids: most rooms are so.
    said: Option<Box<Said>>,
    /// The number of the line that each session hears next, in order of users: most rooms have one, and a table would cost five times as much.
    next: SmallVec<[(BareJid, u64); 1]>,
}

/// The recent lines.
#[derive(Debug, Default)]
struct Said {
    lines: VecDeque<Recent>,
    /// The number of the first line in `lines`.
    first: u64,
    /// Numbers of lines by the hash of the network's id.
    named: Map<u64, u64>,
}

#[derive(Debug)]
struct Recent {
    id: String,
    /// Of nick and words.
    print: u64,
    /// Of the network's id.
    foreign: Option<u64>,
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
        match self.place(user) {
            Ok(_) => false,
            Err(at) => {
                self.next.insert(at, (user.clone(), end));
                true
            }
        }
    }

    /// A session hears no more. False: it did not.
    pub fn leave(&mut self, user: &BareJid) -> bool {
        self.place(user).map(|at| self.next.remove(at)).is_ok()
    }

    /// Whether a session hears.
    pub fn has(&self, user: &BareJid) -> bool {
        self.place(user).is_ok()
    }

    fn place(&self, user: &BareJid) -> Result<usize, usize> {
        self.next.binary_search_by(|(one, _)| one.cmp(user))
    }

    /// The sessions that hear, by user.
    pub fn users(&self) -> impl Iterator<Item = &BareJid> {
        self.next.iter().map(|(user, _)| user)
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
        let Ok(place) = self.place(user) else { return Heard::First(fresh()) };
        // With one session there is nobody to hear it again.
        if self.said.is_none() && self.next.len() == 1 && foreign.is_none() {
            return Heard::First(fresh());
        }
        let alone = self.next.len() == 1;
        let next = &mut self.next[place].1;
        self.said.get_or_insert_default().hears(next, foreign, (alone, hash::one((nick, words))), now, fresh)
    }

    fn end(&self) -> u64 {
        self.said.as_ref().map_or(0, |said| said.end())
    }
}

impl Said {
    /// A session hears a line, `alone` or not, with this print; `next` is the number that it hears next.
    fn hears(
        &mut self,
        next: &mut u64,
        foreign: Option<&str>,
        (alone, print): (bool, u64),
        now: Instant,
        fresh: impl FnOnce() -> String,
    ) -> Heard {
        self.forget(now);
        let foreign = foreign.map(hash::one);
        let from = (*next).max(self.first);
        let behind = usize::try_from(from - self.first).unwrap_or(usize::MAX);
        // By the network's id anywhere; else the next one of the same words.
        let found = match foreign {
            Some(id) => match self.named.get(&id) {
                Some(number) => number.checked_sub(self.first).and_then(|at| usize::try_from(at).ok()),
                // Another session's connection may not tell ids.
                None if self.named.len() < self.lines.len() => {
                    self.lines.iter().position(|line| line.foreign.is_none() && line.print == print)
                }
                None => None,
            },
            None => self.lines.iter().skip(behind).position(|line| line.print == print).map(|at| at + behind),
        };
        if let Some(at) = found {
            let heard = self.first + at as u64 + 1;
            *next = (*next).max(heard);
            return Heard::Before(self.lines[at].id.clone());
        }
        let id = fresh();
        if !alone || foreign.is_some() {
            if let Some(foreign) = foreign {
                self.named.insert(foreign, self.end());
            }
            self.lines.push_back(Recent { id: id.clone(), print, foreign, at: now });
        }
        *next = self.end();
        Heard::First(id)
    }

    fn end(&self) -> u64 {
        self.first + self.lines.len() as u64
    }

    fn forget(&mut self, now: Instant) {
        while self.lines.len() > LINES || self.lines.front().is_some_and(|l| now.duration_since(l.at) > LATE) {
            if let Some(foreign) = self.lines.pop_front().and_then(|line| line.foreign) {
                self.named.remove(&foreign);
            }
            self.first += 1;
        }
    }
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
        // One of the two connections tells no ids: then the words decide.
        assert_eq!(hear(&mut ring, "a", None, "no", "4"), (true, "4".to_owned()));
        assert_eq!(hear(&mut ring, "b", Some("z"), "no", "5"), (false, "4".to_owned()));
    }

    #[test]
    fn ids_of_lines_that_are_forgotten_are_forgotten_with_them() {
        let mut ring = Ring::default();
        ring.enter(&"a".into());
        ring.enter(&"b".into());
        for number in 0..LINES + 100 {
            let id = format!("f{number}");
            assert!(hear(&mut ring, "a", Some(&id), "words", &format!("{number}")).0);
        }
        let said = ring.said.as_ref().expect("lines");
        assert!(said.named.len() <= LINES + 1 && said.named.len() == said.lines.len());
        assert_eq!(hear(&mut ring, "b", Some("f5000"), "words", "x"), (false, "5000".to_owned()));
        assert!(hear(&mut ring, "b", Some("f1"), "words", "y").0, "long ago");
    }
}
