//! What differs between two lists of members: what is sent after a rejoin.

use std::cmp::Ordering;

use isthmus_bridge::room::{Member, Rank};

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Was inside and is not any more.
    Gone(Member),
    /// Is inside and was not, or as somebody else: another rank, another spelling.
    Here(Member),
}

/// The first differences, at most `limit`, of two lists sorted by key; and how far in each of them they reach.
pub fn changes(before: &[Member], now: &[Member], limit: usize) -> (Vec<Change>, usize, usize) {
    let (mut b, mut n) = (0, 0);
    let mut found = Vec::new();
    while found.len() < limit {
        let order = match (before.get(b), now.get(n)) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.person.key().cmp(new.person.key()),
        };
        match order {
            Ordering::Less => found.push(Change::Gone(before[b].clone())),
            Ordering::Greater => found.push(Change::Here(now[n].clone())),
            Ordering::Equal => {
                let (old, new) = (&before[b], &now[n]);
                if old.nick() != new.nick() {
                    found.push(Change::Gone(old.clone()));
                    found.push(Change::Here(new.clone()));
                } else if !looks_alike(old, new) {
                    found.push(Change::Here(new.clone()));
                }
            }
        }
        b += usize::from(order != Ordering::Greater);
        n += usize::from(order != Ordering::Less);
    }
    (found, b, n)
}

/// Whether the presences of both say the same.
fn looks_alike(old: &Member, new: &Member) -> bool {
    // What somebody has said of being away is not shown any more once they are back.
    let words = |m: &Member| m.person.away.clone().filter(|_| m.rank.has(Rank::AWAY));
    old.rank == new.rank
        && old.person.account == new.person.account
        && old.person.host == new.person.host
        && words(old) == words(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use isthmus_bridge::room::People;

    #[test]
    fn only_differences_are_found_and_they_can_be_taken_in_pieces() {
        let people = People::default();
        let list = |all: &[(&str, Rank)]| -> Vec<Member> {
            all.iter().map(|(nick, rank)| Member { person: people.intern(nick), rank: *rank }).collect()
        };
        let before = list(&[("a", Rank::NONE), ("b", Rank::NONE), ("c", Rank::NONE), ("e", Rank::NONE)]);
        let now = list(&[("a", Rank::NONE), ("c", Rank::VOICE), ("d", Rank::NONE), ("e", Rank::NONE)]);
        let (all, b, n) = changes(&before, &now, 100);
        let names: Vec<_> = all
            .iter()
            .map(|c| match c {
                Change::Gone(m) => format!("-{}", m.nick()),
                Change::Here(m) => format!("+{}", m.nick()),
            })
            .collect();
        assert_eq!((names.join(" ").as_str(), b, n), ("-b +c +d", 4, 4));

        let (first, b, n) = changes(&before, &now, 1);
        assert_eq!((first.len(), b, n), (1, 2, 1));
        // What was told is known: the rest follows.
        let told: Vec<_> = now[..n].iter().chain(&before[b..]).cloned().collect();
        assert_eq!(changes(&told, &now, 100).0, all[1..]);
    }

    #[test]
    fn whose_presence_would_say_the_same_has_not_changed() {
        let known = |host: Option<&str>, words: Option<&str>, rank: Rank| {
            let people = People::default();
            people.learn("a", host, None);
            vec![Member { person: people.away("a", words), rank }]
        };
        let before = known(Some("a@host"), Some("asleep"), Rank::AWAY);
        let differs = |now: &[Member]| !changes(&before, now, 100).0.is_empty();
        assert!(!differs(&known(Some("a@host"), Some("asleep"), Rank::AWAY)));
        assert!(differs(&known(Some("a@other"), Some("asleep"), Rank::AWAY)), "another host");
        assert!(differs(&known(Some("a@host"), Some("at work"), Rank::AWAY)), "other words");
        assert!(differs(&known(Some("a@host"), Some("asleep"), Rank::NONE)), "back");
        let back = known(Some("a@host"), Some("asleep"), Rank::NONE);
        assert!(changes(&back, &known(Some("a@host"), None, Rank::NONE), 100).0.is_empty(), "no words are shown");
    }
}
