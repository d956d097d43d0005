//! What the far network lets somebody do, as role and affiliation of XEP-0045.

use isthmus_bridge::room::Rank;

/// Affiliation and role of an occupant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// `owner`, `admin`, `member`, `none`, `outcast`.
    pub affiliation: &'static str,
    /// `moderator`, `participant`, `visitor`, `none`.
    pub role: &'static str,
}

impl Item {
    /// Somebody who is not inside.
    pub const OUTSIDE: Self = Self { affiliation: "none", role: "none" };
    /// Somebody who is banned.
    pub const BANNED: Self = Self { affiliation: "outcast", role: "none" };
}

/// The item of an occupant of this rank. Where only the voiced may speak the others are visitors.
pub fn item(rank: Rank, moderated: bool) -> Item {
    let (affiliation, role) = match rank.highest() {
        Rank::OWNER | Rank::ADMIN => ("owner", "moderator"),
        Rank::MODERATOR => ("admin", "moderator"),
        Rank::HALF => ("member", "moderator"),
        Rank::VOICE => ("member", "participant"),
        _ if moderated => ("none", "visitor"),
        _ => ("none", "participant"),
    };
    Item { affiliation, role }
}

/// What a room's modes mean for its features. Letters as chat networks have them since RFC 1459; a network without modes leaves them empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Modes {
    /// `m`: only the voiced speak.
    pub moderated: bool,
    /// `k`: a password is needed.
    pub password: bool,
    /// `s` or `p`: not listed.
    pub hidden: bool,
}

/// Reads modes as the network writes them: `+nt`, `+kl secret 10`.
pub fn modes(written: &str) -> Modes {
    let letters = written.split_whitespace().next().unwrap_or_default();
    let has = |letter| letters.strip_prefix('+').unwrap_or(letters).contains(letter);
    Modes { moderated: has('m'), password: has('k'), hidden: has('s') || has('p') }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_shown_as_the_table_of_the_specification_says() {
        for (rank, moderated, affiliation, role) in [
            (Rank::OWNER | Rank::MODERATOR, false, "owner", "moderator"),
            (Rank::ADMIN, true, "owner", "moderator"),
            (Rank::MODERATOR | Rank::VOICE, false, "admin", "moderator"),
            (Rank::HALF, false, "member", "moderator"),
            (Rank::VOICE | Rank::AWAY, true, "member", "participant"),
            (Rank::AWAY, false, "none", "participant"),
            (Rank::NONE, true, "none", "visitor"),
        ] {
            assert_eq!(item(rank, moderated), Item { affiliation, role }, "{rank:?} {moderated}");
        }
    }

    #[test]
    fn modes_are_read_without_their_arguments() {
        assert_eq!(modes("+ntk mmss"), Modes { password: true, ..Modes::default() });
        assert_eq!(modes("+ms"), Modes { moderated: true, hidden: true, ..Modes::default() });
        assert_eq!(modes(""), Modes::default());
    }
}
