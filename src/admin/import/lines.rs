//! What was said in a room, as several users heard it → one log, and which part of it each user saw.
//!
//! Ids are made from the time and the other program's names of the lines, so that a second reading gives the same ones.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use isthmus_bridge::{BareJid, RoomId};
use sha2::{Digest, Sha256};

use crate::rooms::stanza_id;

/// Copies of one line reach users within this time.
const CLOSE: Duration = Duration::from_secs(3);

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    /// Its id; in the order of the log.
    pub(super) id: String,
    /// When.
    pub(super) at: SystemTime,
    /// By whom.
    pub(super) nick: String,
    /// What.
    pub(super) body: String,
}

/// One room: lines come in the order in which they were heard.
#[derive(Debug)]
pub(super) struct Room {
    /// Which.
    pub(super) room: RoomId,
    /// The last seconds: lines of which another user's copy may still come, and who has heard them.
    recent: Vec<(Said, Vec<BareJid>)>,
    /// The time of the last id, and how many there were in its second.
    last: (u64, u64),
    /// The stay of each user that may still grow: its first and last line, and where the last one stands in the log.
    open: BTreeMap<BareJid, (String, String, u64)>,
    count: u64,
}

/// What is ready to be kept.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) lines: Vec<Said>,
    /// Of whom, from which line to which.
    pub(super) stays: Vec<(BareJid, String, String)>,
}

impl Room {
    pub(super) fn new(room: RoomId) -> Self {
        Self { room, recent: Vec::new(), last: (0, 0), open: BTreeMap::new(), count: 0 }
    }

    /// One user's copy of a line.
    pub(super) fn hears(
        &mut self,
        user: BareJid,
        at: SystemTime,
        nick: String,
        body: String,
        name: &str,
        ready: &mut Ready,
    ) {
        self.settle(at, ready);
        let same =
            self.recent.iter_mut().find(|(said, by)| said.nick == nick && said.body == body && !by.contains(&user));
        if let Some((_, by)) = same {
            by.push(user);
            return;
        }
        let id = self.id(at, name);
        self.recent.push((Said { id, at, nick, body }, vec![user]));
    }

    /// Nothing more comes of this room.
    pub(super) fn end(&mut self, ready: &mut Ready) {
        let all = std::mem::take(&mut self.recent);
        all.into_iter().for_each(|(said, by)| self.keep(said, by, ready));
        let open = std::mem::take(&mut self.open);
        ready.stays.extend(open.into_iter().map(|(user, (from, to, _))| (user, from, to)));
    }

    /// Lines of which no copy can come any more.
    fn settle(&mut self, now: SystemTime, ready: &mut Ready) {
        while self.recent.first().is_some_and(|(said, _)| now > said.at + CLOSE) {
            let (said, by) = self.recent.remove(0);
            self.keep(said, by, ready);
        }
    }

    /// A user's stay ends before a line that they did not hear.
    fn keep(&mut self, said: Said, by: Vec<BareJid>, ready: &mut Ready) {
        self.count += 1;
        for user in by {
            match self.open.get_mut(&user) {
                Some((_, to, at)) if *at + 1 == self.count => {
                    said.id.clone_into(to);
                    *at = self.count;
                }
                _ => {
                    let fresh = (said.id.clone(), said.id.clone(), self.count);
                    if let Some((from, to, _)) = self.open.insert(user.clone(), fresh) {
                        ready.stays.push((user, from, to));
                    }
                }
            }
        }
        ready.lines.push(said);
    }

    /// Behind the one before. Times have seconds only: the lines of one second get its milliseconds in turn. A clock that was set back does not
    /// take the log's order with it.
    fn id(&mut self, at: SystemTime, name: &str) -> String {
        let second = at.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()).max(self.last.0);
        let n = if second == self.last.0 { self.last.1 + 1 } else { 0 };
        self.last = (second, n);
        let digest = Sha256::digest(format!("{}\n{name}", self.room));
        let mut tail = [0; 16];
        tail[6..].copy_from_slice(&digest[..10]);
        // More than a thousand in a second share its last millisecond, in their order: the top of the tail counts them.
        let over = n.saturating_sub(999).min(0xffff);
        if n >= 999 {
            tail[6..8].copy_from_slice(&u16::try_from(over).unwrap_or(u16::MAX).to_be_bytes());
        }
        stanza_id(u128::from(second * 1000 + n.min(999)) << 80 | u128::from_be_bytes(tail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_700_000_000 + second)
    }

    /// Who heard what when: user, second, words.
    fn read(heard: &[(&str, u64, &str)]) -> Ready {
        let mut room = Room::new(RoomId::new("#a%net"));
        let mut ready = Ready::default();
        for (n, (user, second, words)) in heard.iter().enumerate() {
            let name = format!("u{n}");
            room.hears(BareJid::from(*user), at(*second), "ann".to_owned(), (*words).to_owned(), &name, &mut ready);
        }
        room.end(&mut ready);
        ready
    }

    #[test]
    fn copies_are_one_line_and_stays_hold_only_what_was_heard() {
        let heard = [("r", 0, "a"), ("b", 1, "a"), ("r", 1, "only r"), ("r", 9, "c"), ("b", 9, "c"), ("b", 9, "c")];
        let ready = read(&heard);
        let words: Vec<&str> = ready.lines.iter().map(|l| l.body.as_str()).collect();
        assert_eq!(words, ["a", "only r", "c", "c"]);
        let id = |n: usize| ready.lines[n].id.clone();
        assert!((0..3).all(|n| id(n) < id(n + 1)), "ids are in the order of the log: {ready:?}");
        let mut stays = ready.stays.clone();
        stays.sort();
        let (r, b) = (BareJid::from("r"), BareJid::from("b"));
        let mut expected = vec![(r, id(0), id(2)), (b.clone(), id(0), id(0)), (b, id(2), id(3))];
        expected.sort();
        assert_eq!(stays, expected);
        assert_eq!(ready, read(&heard), "a second reading gives the same");
    }

    #[test]
    fn a_flood_within_a_second_and_a_clock_set_back_keep_their_order() {
        let mut heard: Vec<(&str, u64, String)> = (0..1500).map(|n| ("r", 5, format!("line {n}"))).collect();
        heard.push(("r", 2, "before".to_owned()));
        let heard: Vec<_> = heard.iter().map(|(u, s, w)| (*u, *s, w.as_str())).collect();
        let ready = read(&heard);
        assert!(ready.lines.windows(2).all(|w| w[0].id < w[1].id));
        assert_eq!(ready.stays.len(), 1);
    }
}
