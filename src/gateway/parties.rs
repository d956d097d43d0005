//! Addresses of messages that were read a moment ago: whoever talks does so more than once, and to the same room.

use std::sync::{Mutex, PoisonError};

use isthmus_bridge::{Address, BadAddress};

use crate::hash::Map;
use crate::router::Party;
use crate::xmpp::link::{Kind, Stanza};

/// Senders, and as many addressees; beyond them all are forgotten.
const MOST: usize = 1_000;

/// What is remembered. Keys are as the server wrote them.
#[derive(Debug, Default)]
pub(super) struct Parties(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    from: Map<Box<str>, Party>,
    /// Rooms only: what else an address means may depend on who asks, and when.
    to: Map<Box<str>, (Party, Address)>,
}

impl Parties {
    /// Sender, addressee and what the latter means, by `parse` where it was not remembered; `None` where one of them is no JID.
    pub(super) fn of(
        &self,
        stanza: &Stanza,
        parse: impl FnOnce(&Party, &Party) -> Result<Address, BadAddress>,
    ) -> Option<(Party, Party, Result<Address, BadAddress>)> {
        let (from, to) = (stanza.from()?, stanza.to()?);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let talks = stanza.kind() == Kind::Message;
        let sender = match known.from.get(from) {
            Some(party) => party.clone(),
            None => {
                let party = Party::parse(from)?;
                if talks {
                    keep(&mut known.from, from, party.clone());
                }
                party
            }
        };
        if let Some((party, at)) = known.to.get(to) {
            return Some((sender, party.clone(), Ok(at.clone())));
        }
        let party = Party::parse(to)?;
        let at = parse(&sender, &party);
        if let Ok(Address::Room(room)) = &at
            && talks
        {
            keep(&mut known.to, to, (party.clone(), Address::Room(room.clone())));
        }
        Some((sender, party, at))
    }
}

fn keep<T>(known: &mut Map<Box<str>, T>, name: &str, value: T) {
    if known.len() >= MOST {
        known.clear();
    }
    known.insert(name.into(), value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use isthmus_bridge::{ContactId, RoomId};
    use std::cell::Cell;

    #[test]
    fn a_second_look_finds_what_the_first_found_and_what_is_remembered_is_bounded() {
        let (parties, parsed) = (Parties::default(), Cell::new(0));
        let look = |number: usize, kind: &str| {
            let text = format!("<message from='U{number}@example.org/r' to='{kind}{number}@gw.example'/>");
            let parse = |from: &Party, to: &Party| {
                parsed.set(parsed.get() + 1);
                let local = to.local().unwrap_or_default();
                Ok(match kind {
                    "room" => Address::Room(RoomId::from(local)),
                    _ => Address::Contact(ContactId::from(format!("{local} for {}", from.bare()))),
                })
            };
            let (from, to, at) = parties.of(&Stanza::of(&text), parse).expect("JIDs");
            (from.bare().to_string(), to.full().to_owned(), at)
        };
        for number in (0..3 * MOST).chain(0..10) {
            let (user, before) = (format!("u{number}@example.org"), parsed.get());
            for _ in 0..2 {
                let room = Ok(Address::Room(RoomId::from(format!("room{number}"))));
                assert_eq!(look(number, "room"), (user.clone(), format!("room{number}@gw.example"), room));
                let contact = Ok(Address::Contact(ContactId::from(format!("nick{number} for {user}"))));
                assert_eq!(look(number, "nick"), (user.clone(), format!("nick{number}@gw.example"), contact));
            }
            assert_eq!(parsed.get() - before, 3, "a room is parsed once, a contact each time");
            let known = parties.0.lock().expect("no panic");
            assert!(known.from.len() <= MOST && known.to.len() <= MOST);
        }
        let nowhere = Stanza::of("<message from='a@b' to='@'/>");
        assert!(parties.of(&nowhere, |_, _| Ok(Address::Gateway)).is_none());
    }
}
