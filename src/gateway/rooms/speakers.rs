//! Ids of those who spoke a moment ago (XEP-0421): a line that a hundred users hear has one speaker, who may well say another.

use std::sync::{Arc, Mutex, PoisonError};

use isthmus_bridge::RoomId;
use isthmus_bridge::room::Person;

use crate::hash::Map;

/// So many are remembered; beyond, all are forgotten.
const MOST: usize = 1_000;

/// What is remembered. A person who changes is another [`Person`], so nothing here grows old.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Speakers(Mutex<Map<usize, Speaker>>);

#[derive(Debug, Clone)]
struct Speaker {
    room: RoomId,
    /// Nobody else gets their place in memory meanwhile.
    _person: Arc<Person>,
    id: Arc<str>,
}

impl Speakers {
    /// The id of a person in a room, made by `make` from who they are.
    pub(in crate::gateway) fn id(
        &self,
        room: &RoomId,
        person: Arc<Person>,
        make: impl FnOnce(&str) -> String,
    ) -> Arc<str> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Persons are kept once each: their place in memory tells them apart, and stays theirs while they are kept here.
        let place = Arc::as_ptr(&person).addr();
        if let Some(speaker) = known.get(&place).filter(|speaker| speaker.room == *room) {
            return speaker.id.clone();
        }
        let id: Arc<str> = make(&person.identity()).into();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(place, Speaker { room: room.clone(), _person: person, id: id.clone() });
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isthmus_bridge::room::People;

    #[test]
    fn an_id_is_made_once_for_the_same_person_in_the_same_room() {
        let (speakers, people) = (Speakers::default(), People::default());
        let mut made = 0;
        let mut ask = |room: &str, nick: &str| {
            let id = speakers.id(&room.into(), people.intern(nick), |who| {
                made += 1;
                format!("{who} in {room}")
            });
            (id.to_string(), made)
        };
        assert_eq!(ask("a", "romeo"), ("romeo in a".to_owned(), 1));
        assert_eq!(ask("a", "romeo"), ("romeo in a".to_owned(), 1));
        assert_eq!(ask("b", "romeo"), ("romeo in b".to_owned(), 2));
        assert_eq!(ask("a", "romeo"), ("romeo in a".to_owned(), 3));
        for number in 0..3 * MOST {
            let nick = format!("nick{number}");
            assert_eq!(ask("a", &nick).0, format!("{nick} in a"));
        }
    }

    #[test]
    fn somebody_who_takes_a_nick_has_an_id_of_their_own() {
        let (speakers, people) = (Speakers::default(), People::default());
        let id = |person| speakers.id(&"a".into(), person, str::to_owned);
        let before = id(people.learn("romeo", Some("r@montague"), None));
        people.forget("romeo");
        let after = id(people.learn("romeo", Some("p@capulet"), None));
        assert_ne!(before, after);
    }
}
