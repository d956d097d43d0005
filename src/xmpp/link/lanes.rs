//! What waits to be written: one buffer that goes to the socket next, and behind it one queue per lane, served in
//! turn by deficit round robin, so that a burst of one session does not delay the others.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;

use crate::hash::Map;

/// Whose turn it is when the output is congested: one number per session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lane(pub u64);

impl Lane {
    /// The gateway itself: what it asks.
    pub const GATEWAY: Self = Self(0);
    /// Batches with a write barrier.
    pub(super) const BATCHES: Self = Self(u64::MAX);
    /// The link's own pings and answers.
    pub(super) const LINK: Self = Self(u64::MAX - 1);
    /// Set in the lanes of persons, and in no other that is below the link's own.
    const PERSON: u64 = 1 << 61;

    /// What the gateway answers somebody: each account has a lane, so that nobody waits for what another one has asked for.
    #[must_use]
    pub fn of_person(jid: &str) -> Self {
        let bare = jid.split('/').next().unwrap_or(jid);
        Self(crate::hash::one(bare) >> 8 | Self::PERSON)
    }

    fn is_person(self) -> bool {
        self.0 >> 61 == 1
    }
}

/// Up to this many bytes are written to the buffer for the socket, whosever they are.
const NEXT: usize = 128 << 10;
/// Bytes that a lane may send each time its turn comes.
const QUANTUM: usize = 8 << 10;
/// From [`NEXT`] up to this many bytes each lane may write one quantum more to the buffer: its turn would come as soon in its queue, which costs a
/// copy more. What is beyond waits in the lanes.
const FAIR: usize = 768 << 10;
/// Bytes that may wait in the lanes of all persons together.
const PERSONS: usize = 16 << 20;

/// The output of one stream.
#[derive(Debug, Default)]
pub(super) struct Output {
    next: Vec<u8>,
    /// What lanes have written of `next` beyond [`NEXT`].
    shares: Map<Lane, usize>,
    lanes: Map<Lane, Waiting>,
    turns: VecDeque<Lane>,
    /// Bytes in the lanes of persons.
    persons: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: VecDeque<u8>,
    stanzas: VecDeque<usize>,
    deficit: usize,
}

impl Output {
    /// Where a stanza is to be appended; [`Output::written`] must follow.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.next
    }

    /// Whether the stanza that begins at `start` may stay where it was appended: yes while the lane has nothing
    /// waiting and the socket's buffer is short, or the lane has not had its share of it; else it moves to the lane.
    pub(super) fn written(&mut self, lane: Lane, start: usize) {
        let size = self.next.len() - start;
        if size == 0 {
            return;
        }
        if self.lanes.is_empty() || !self.lanes.contains_key(&lane) {
            if start < NEXT {
                return;
            }
            let share = self.shares.entry(lane).or_default();
            if start + size <= FAIR && *share + size <= QUANTUM {
                *share += size;
                return;
            }
        }
        let waiting = match self.lanes.entry(lane) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                self.turns.push_back(lane);
                entry.insert(Waiting::default())
            }
        };
        if lane.is_person() {
            self.persons += size;
        }
        waiting.bytes.extend(&self.next[start..]);
        waiting.stanzas.push_back(size);
        self.next.truncate(start);
    }

    /// Bytes of this lane that wait behind the buffer for the socket.
    pub(super) fn waiting(&self, lane: Lane) -> usize {
        self.lanes.get(&lane).map_or(0, |waiting| waiting.bytes.len())
    }

    /// Whether a lane that may hold this much of its own takes no more.
    pub(super) fn is_full(&self, lane: Lane, most: usize) -> bool {
        self.waiting(lane) >= most || lane.is_person() && self.persons >= PERSONS
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.next.is_empty() && self.turns.is_empty()
    }

    /// Whether something waits in lanes.
    pub(super) fn is_congested(&self) -> bool {
        !self.turns.is_empty()
    }

    /// Takes what goes to the socket now, leaving `spare` (emptied) in its place, and lets the lanes refill it.
    pub(super) fn take(&mut self, spare: &mut Vec<u8>) {
        spare.clear();
        std::mem::swap(&mut self.next, spare);
        self.shares.clear();
        self.refill();
    }

    /// Gives memory back that a burst has needed and that nothing waits in.
    pub(super) fn give_back(&mut self) {
        if self.next.is_empty() && self.turns.is_empty() {
            self.clear();
        }
    }

    /// Throws everything away: the stream is over.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn refill(&mut self) {
        while self.next.len() < NEXT {
            let Some(lane) = self.turns.pop_front() else { return };
            let Some(waiting) = self.lanes.get_mut(&lane) else { continue };
            waiting.deficit += QUANTUM;
            while let Some(size) = waiting.stanzas.front().copied() {
                if size > waiting.deficit {
                    break;
                }
                waiting.deficit -= size;
                if lane.is_person() {
                    self.persons -= size;
                }
                waiting.stanzas.pop_front();
                let (front, back) = waiting.bytes.as_slices();
                let cut = size.min(front.len());
                self.next.extend_from_slice(&front[..cut]);
                self.next.extend_from_slice(&back[..size - cut]);
                waiting.bytes.drain(..size);
            }
            if waiting.stanzas.is_empty() {
                self.lanes.remove(&lane);
            } else {
                self.turns.push_back(lane);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(output: &mut Output, lane: u64, what: &[u8]) {
        let start = output.buffer().len();
        output.buffer().extend_from_slice(what);
        output.written(Lane(lane), start);
    }

    #[test]
    fn a_burst_of_one_lane_delays_another_by_one_buffer_at_most() {
        let mut output = Output::default();
        for _ in 0..10_000 {
            write(&mut output, 1, &[b'a'; 100]);
        }
        write(&mut output, 2, b"late");
        let mut sent = Vec::new();
        output.take(&mut sent);
        let before = sent.iter().position(|byte| *byte == b'l');
        assert!(before.expect("the late stanza is not in the first buffer") <= NEXT + QUANTUM + 100);
        assert!(sent.len() <= NEXT + 2 * QUANTUM, "took {} bytes at once", sent.len());
        assert!(output.waiting(Lane(1)) > 500_000, "the burst should still be waiting");
    }

    #[test]
    fn persons_have_a_lane_each_and_a_bound_together() {
        let mut output = Output::default();
        let lane = |n: usize| Lane::of_person(&format!("user{n}@example.org/desk"));
        assert_eq!(lane(1), Lane::of_person("user1@example.org"));
        let big = vec![b'a'; 200 << 10];
        let mut full = 0;
        for n in 0..100 {
            if output.is_full(lane(n), 256 << 10) {
                full += 1;
                continue;
            }
            let start = output.buffer().len();
            output.buffer().extend_from_slice(&big);
            output.written(lane(n), start);
        }
        assert!((10..30).contains(&full), "{full} of 100 found no place");
        assert!(!output.is_full(Lane(1), 256 << 10) && !output.is_full(Lane::LINK, 256 << 10), "others have theirs");
        let mut sent = Vec::new();
        while !output.is_empty() {
            output.take(&mut sent);
        }
        assert!(!output.is_full(lane(99), 256 << 10), "and then there is room again");
    }

    #[test]
    fn each_of_many_lanes_has_its_share_of_the_buffer_and_no_more() {
        let mut output = Output::default();
        write(&mut output, 1, &[b'a'; NEXT]);
        for _ in 0..10 {
            for lane in 1..=10 {
                write(&mut output, lane, &[b'a'; QUANTUM / 4]);
            }
        }
        assert!(
            (1..=10).all(|lane| output.waiting(Lane(lane)) == 6 * QUANTUM / 4),
            "four of ten stanzas fit into a share"
        );
        let mut sent = Vec::new();
        output.take(&mut sent);
        assert_eq!(sent.len(), NEXT + 10 * QUANTUM);
        for lane in 11..200 {
            write(&mut output, lane, &[b'a'; QUANTUM]);
        }
        assert!(
            output.buffer().len() <= FAIR && output.waiting(Lane(199)) == QUANTUM,
            "all shares together are bounded"
        );
    }

    #[test]
    fn a_lane_keeps_its_order_and_loses_nothing() {
        let mut output = Output::default();
        let mut expected = Vec::new();
        for number in 0..30_000_u32 {
            let text = format!("{number};");
            write(&mut output, 7, text.as_bytes());
            expected.extend_from_slice(text.as_bytes());
        }
        let (mut all, mut sent) = (Vec::new(), Vec::new());
        while !output.is_empty() {
            output.take(&mut sent);
            all.extend_from_slice(&sent);
        }
        assert_eq!(all, expected);
        assert_eq!(output.waiting(Lane(7)), 0);
    }

    #[test]
    fn what_a_burst_needed_is_given_back_when_nothing_waits() {
        let mut output = Output::default();
        write(&mut output, 1, &[b'a'; FAIR]);
        write(&mut output, 2, b"behind");
        output.give_back();
        let mut sent = Vec::new();
        output.take(&mut sent);
        assert_eq!(sent.len(), FAIR, "what waits stays");
        output.give_back();
        output.take(&mut sent);
        assert_eq!(sent, b"behind", "what waits in a lane, too");
        output.give_back();
        let kept = (output.next.capacity(), output.lanes.capacity(), output.turns.capacity(), output.shares.capacity());
        assert_eq!(kept, (0, 0, 0, 0));
    }

    #[test]
    fn a_stanza_larger_than_the_quantum_gets_its_turn() {
        let mut output = Output::default();
        for lane in 1..4 {
            write(&mut output, lane, &[b'0' + lane as u8; 5 * QUANTUM]);
            write(&mut output, lane, &[b'0' + lane as u8; 5 * QUANTUM]);
        }
        let (mut total, mut sent) = (0, Vec::new());
        while !output.is_empty() {
            output.take(&mut sent);
            total += sent.len();
        }
        assert_eq!(total, 30 * QUANTUM);
    }
}
