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
/// How long a line that a session has jumped over may still come: of two that cross, each has its own first.
const CROSSING: Duration = Duration::from_secs(60);
/// Lines that sessions have jumped over, at most: by one step, and in one room.
const JUMP: u64 = 64;
const JUMPED: usize = 256;

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
    /// By the hash of the user: numbers of lines that their session has not heard yet, though later ones; of each user the oldest first.
    jumped: Vec<(u64, u64)>,
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
    /// The same, and perhaps before this session was inside.
    Behind(String),
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
        if let Some(said) = self.said.as_mut().filter(|said| !said.jumped.is_empty()) {
            let who = hash::one(user);
            said.jumped.retain(|(one, _)| *one != who);
        }
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
        self.said.get_or_insert_default().hears((user, next), foreign, (alone, hash::one((nick, words))), now, fresh)
    }

    fn end(&self) -> u64 {
        self.said.as_ref().map_or(0, |said| said.end())
    }
}

impl Said {
    /// A session hears a line, `alone` or not, with this print; `next` is the number that it hears next.
    fn hears(
        &mut self,
        (user, next): (&BareJid, &mut u64),
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
            None => self
                .crossed(user, print, now)
                .or_else(|| self.lines.iter().skip(behind).position(|line| line.print == print).map(|at| at + behind)),
        };
        // What the network names is found wherever it is; of the rest it is remembered what this one leaves out.
        let jumps = !alone && foreign.is_none();
        if let Some(at) = found {
            let number = self.first + at as u64;
            if jumps {
                self.jump(user, from, number);
            }
            *next = (*next).max(number + 1);
            let id = self.lines[at].id.clone();
            // What was jumped over was said since it came in.
            return if number < from && foreign.is_some() && !alone { Heard::Behind(id) } else { Heard::Before(id) };
        }
        let id = fresh();
        if jumps {
            self.jump(user, from, self.end());
        }
        if !alone || foreign.is_some() {
            if let Some(foreign) = foreign {
                self.named.insert(foreign, self.end());
            }
            self.lines.push_back(Recent { id: id.clone(), print, foreign, at: now });
        }
        *next = self.end();
        Heard::First(id)
    }

    /// A session has heard what comes behind these lines, and not them.
    fn jump(&mut self, user: &BareJid, from: u64, to: u64) {
        if from >= to {
            return;
        }
        let who = hash::one(user);
        self.jumped.extend((from.max(to.saturating_sub(JUMP))..to).map(|number| (who, number)));
        let over = self.jumped.len().saturating_sub(JUMPED);
        self.jumped.drain(..over);
    }

    /// Where the line of this print is that the session had jumped over.
    fn crossed(&mut self, user: &BareJid, print: u64, now: Instant) -> Option<usize> {
        if self.jumped.is_empty() {
            return None;
        }
        let (first, lines) = (self.first, &self.lines);
        let place = |number: u64| number.checked_sub(first).and_then(|at| usize::try_from(at).ok());
        let line = |number: u64| place(number).and_then(|at| lines.get(at));
        self.jumped.retain(|(_, n)| line(*n).is_some_and(|line| now.duration_since(line.at) < CROSSING));
        let who = hash::one(user);
        let is = |(one, n): &(u64, u64)| *one == who && line(*n).is_some_and(|line| line.print == print);
        let found = self.jumped.iter().position(is).map(|at| self.jumped.remove(at));
        if self.jumped.is_empty() {
            self.jumped = Vec::new(); // quiet again, it costs nothing
        }
        found.and_then(|(_, number)| place(number))
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
            Heard::Before(id) | Heard::Behind(id) => (false, id),
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
    fn lines_that_cross_are_one_for_each_of_their_hearers() {
        let mut ring = Ring::default();
        for user in ["a", "b", "c"] {
            ring.enter(&user.into());
        }
        // a says x while b says y: each hears their own at once.
        assert_eq!(hear(&mut ring, "a", None, "x", "1"), (true, "1".to_owned()));
        assert_eq!(hear(&mut ring, "b", None, "y", "2"), (true, "2".to_owned()));
        assert_eq!(hear(&mut ring, "a", None, "y", "-"), (false, "2".to_owned()));
        assert_eq!(hear(&mut ring, "b", None, "x", "-"), (false, "1".to_owned()));
        // A third, on another server, may hear both in the other order.
        assert_eq!(hear(&mut ring, "c", None, "y", "-"), (false, "2".to_owned()));
        assert_eq!(hear(&mut ring, "c", None, "x", "-"), (false, "1".to_owned()));
        // What each has heard once is not found again, and quiet sessions cost nothing.
        assert_eq!(ring.said.as_ref().map(|said| said.jumped.capacity()), Some(0));
        assert_eq!(hear(&mut ring, "b", None, "x", "3"), (true, "3".to_owned()), "said again");
        for user in ["a", "c"] {
            assert_eq!(hear(&mut ring, user, None, "x", "-"), (false, "3".to_owned()));
        }
        // What a session never hears is forgotten with it, and remembered for no more than a bounded number.
        for n in 0..2_000 {
            hear(&mut ring, "a", None, &format!("never {n}"), "-");
            hear(&mut ring, "b", None, &format!("other {n}"), "-");
        }
        let jumped = |ring: &Ring| ring.said.as_ref().map_or(0, |said| said.jumped.len());
        assert!((1..=JUMPED).contains(&jumped(&ring)));
        ring.leave(&"a".into());
        ring.leave(&"b".into());
        assert_eq!(jumped(&ring), 0);
    }

    #[test]
    fn a_line_that_never_comes_is_not_waited_for_long() {
        let (mut ring, began) = (Ring::default(), Instant::now());
        for user in ["a", "b"] {
            ring.enter(&user.into());
        }
        let mut hear = |user: &str, body, fresh: &str, after: u64| {
            let now = began + Duration::from_secs(after);
            match ring.hears(&user.into(), None, Some("nurse"), (body, ""), now, || fresh.to_owned()) {
                Heard::First(id) => (true, id),
                Heard::Before(id) | Heard::Behind(id) => (false, id),
            }
        };
        assert_eq!(hear("a", "yes", "1", 0), (true, "1".to_owned()));
        assert_eq!(hear("b", "come", "2", 1), (true, "2".to_owned()));
        assert_eq!(hear("b", "yes", "3", 90), (true, "3".to_owned()), "another one");
        assert_eq!(hear("a", "yes", "-", 90), (false, "3".to_owned()));
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
