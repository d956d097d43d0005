//! The MUC service (XEP-0045), its pure part: stanzas from a [`RoomView`](isthmus_bridge::room::RoomView), and which resources are inside.
//!
//! | file | what |
//! |---|---|
//! | `nick` | nicks that no resource can spell |
//! | `rank` | what the far network lets somebody do → role and affiliation |
//! | `show` | presences and messages of a room, written straight into the link's output |
//! | `occupancy` | which full JIDs of a user are inside which room |
//! | `changes` | what differs between two lists of members |
//! | `admin` | lists of roles and affiliations, and wishes to change them |
//! | `info` | what disco says of a room |
//! | `form` | a room's configuration as a data form |
//! | `page` | one page of a long list (XEP-0059) |
//!
//! The way between these, the sessions and the link stands in `gateway/rooms`.

pub mod admin;
pub mod changes;
pub mod form;
pub mod info;
pub mod nick;
pub mod occupancy;
pub mod page;
pub mod rank;
pub mod show;

use std::time::{SystemTime, UNIX_EPOCH};

/// An id by the room (XEP-0359): ordered by time, and nobody can guess it. 48 bits of milliseconds, 80 random bits, in base 32.
pub fn fresh_stanza_id(now: SystemTime) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let millis = now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis()) & ((1 << 48) - 1);
    let all = millis << 80 | rand::random::<u128>() >> 48;
    (0..26).rev().map(|i| char::from(ALPHABET[(all >> (5 * i) & 31) as usize])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn ids_are_ordered_by_time_and_never_twice_the_same() {
        let at = |ms| fresh_stanza_id(UNIX_EPOCH + Duration::from_millis(ms));
        assert_eq!(at(1).len(), 26);
        assert!(at(1_700_000_000_000) < at(1_700_000_000_001));
        assert!(at(1_700_000_000_001) < at(1_900_000_000_000));
        assert_ne!(at(5), at(5));
    }
}
