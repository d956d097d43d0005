//! The MUC service (XEP-0045), its pure part: stanzas from a [`RoomView`](isthmus_bridge::room::RoomView), and which resources are inside.
//!
//! | file | what |
//! |---|---|
//! | `nick` | nicks that no resource can spell |
//! | `rank` | what the far network lets somebody do → role and affiliation |
//! | `show` | presences and messages of a room, written straight into the link's output |
//! | `occupancy` | which full JIDs of a user are inside which room |
//! | `aside` | answers, corrections, reactions, withdrawals, marks |
//! | `changes` | what differs between two lists of members |
//! | `admin` | lists of roles and affiliations, and wishes to change them |
//! | `info` | what disco says of a room |
//! | `form` | a room's configuration as a data form |
//! | `page` | one page of a long list (XEP-0059) |
//!
//! The way between these, the sessions and the link stands in `gateway/rooms`.

pub mod admin;
pub mod aside;
pub mod changes;
pub mod form;
pub mod info;
pub mod nick;
pub mod occupancy;
pub mod page;
pub mod rank;
pub mod show;

use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// An id by the room (XEP-0359): ordered by time, and nobody can guess it. 48 bits of milliseconds, 80 random bits, in base 32.
pub fn fresh_stanza_id(now: SystemTime) -> String {
    spell_id(fresh_number(now))
}

/// Ids of which each is behind the one before, also within a millisecond, and when the clock is set back.
#[derive(Debug, Default)]
pub struct Ids(Mutex<u128>);

impl Ids {
    /// The next one.
    pub fn next(&self, now: SystemTime) -> String {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = fresh_number(now);
        // Within a millisecond a step of 64 random bits: as hard to guess, and never back.
        *last = if fresh >> 80 > *last >> 80 { fresh } else { *last + 1 + u128::from(rand::random::<u64>()) };
        spell_id(*last)
    }
}

fn fresh_number(now: SystemTime) -> u128 {
    let millis = now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis()) & ((1 << 48) - 1);
    millis << 80 | rand::random::<u128>() >> 48
}

/// The time in an id of ours.
pub fn time_of(id: &str) -> Option<SystemTime> {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    if id.len() != 26 {
        return None;
    }
    let mut all = 0_u128;
    for byte in id.bytes() {
        all = all << 5 | ALPHABET.iter().position(|b| *b == byte)? as u128;
    }
    UNIX_EPOCH.checked_add(std::time::Duration::from_millis(u64::try_from(all >> 80).ok()?))
}

/// The id of this number: 48 bits of milliseconds, then 80 that tell lines of one millisecond apart.
pub fn stanza_id(number: u128) -> String {
    spell_id(number)
}

fn spell_id(all: u128) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut id = [0; 26];
    let mut at = 0;
    // In pieces of 64 bits: shifting 128 for each letter costs several times as much.
    for (shift, letters) in [(120, 2), (60, 12), (0, 12)] {
        let piece = (all >> shift) as u64;
        for i in (0..letters).rev() {
            id[at] = ALPHABET[(piece >> (5 * i) & 31) as usize];
            at += 1;
        }
    }
    std::str::from_utf8(&id).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn ids_are_ordered_by_time_and_never_twice_the_same() {
        let at = |ms| fresh_stanza_id(UNIX_EPOCH + Duration::from_millis(ms));
        assert_eq!(at(1).len(), 26);
        assert_eq!(time_of(&at(1_700_000_000_001)), Some(UNIX_EPOCH + Duration::from_millis(1_700_000_000_001)));
        assert_eq!(time_of("anything"), None);
        assert!(at(1_700_000_000_000) < at(1_700_000_000_001));
        assert!(at(1_700_000_000_001) < at(1_900_000_000_000));
        assert_ne!(at(5), at(5));
        let ids = Ids::default();
        let all: Vec<_> = (0..100).map(|n| ids.next(UNIX_EPOCH + Duration::from_millis(1_000 - n / 10))).collect();
        assert!(all.windows(2).all(|w| w[0] < w[1]), "{all:?}");
    }
}
