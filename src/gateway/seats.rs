//! What is known of each session from outside: how its connection stands, what it carries, and the rooms as it sees them. One table for all
//! three, for every session has them all.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use isthmus_bridge::room::{RoomView, Standing};
use isthmus_bridge::{Abilities, LinkState, RoomId, SessionOf};
use smallvec::SmallVec;

use crate::hash::Map;

/// A room as one session sees it.
pub(super) type Room = Arc<Mutex<RoomView>>;

/// The sessions of one bridge.
#[derive(Debug, Default)]
pub(super) struct Seats(Mutex<Map<SessionOf, Seat>>);

#[derive(Debug, Default)]
struct Seat {
    state: State,
    /// What the connection carries, where the session has said it.
    able: Option<Abilities>,
    rooms: SmallVec<[(RoomId, Room); 1]>,
}

/// How a connection stands.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// Nobody has said.
    #[default]
    Unknown,
    /// As nearly all of them do.
    Up,
    /// Otherwise.
    Other(Box<LinkState>),
}

impl From<&LinkState> for State {
    fn from(state: &LinkState) -> Self {
        if *state == LinkState::Up { Self::Up } else { Self::Other(Box::new(state.clone())) }
    }
}

impl Seat {
    fn is_empty(&self) -> bool {
        self.state == State::Unknown && self.able.is_none() && self.rooms.is_empty()
    }
}

impl Seats {
    fn lock(&self) -> MutexGuard<'_, Map<SessionOf, Seat>> {
        // Every change is one assignment: a panic leaves each seat whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a connection stands.
    pub(super) fn state(&self, of: &SessionOf) -> State {
        self.lock().get(of).map(|seat| seat.state.clone()).unwrap_or_default()
    }

    /// A connection stands so from now on; gives whether it stood otherwise before.
    pub(super) fn stands(&self, of: &SessionOf, state: &LinkState) -> bool {
        let state = State::from(state);
        let mut seats = self.lock();
        let seat = seats.entry(of.clone()).or_default();
        std::mem::replace(&mut seat.state, state.clone()) != state
    }

    /// The connections whose state is known.
    pub(super) fn states(&self) -> Vec<(SessionOf, State)> {
        let seats = self.lock();
        seats.iter().filter(|(_, s)| s.state != State::Unknown).map(|(of, s)| (of.clone(), s.state.clone())).collect()
    }

    /// Forgets how connections stand that do not count any more.
    pub(super) fn forget_states(&self, counts: impl Fn(&SessionOf, &State) -> bool) {
        self.lock().retain(|of, seat| {
            if seat.state != State::Unknown && !counts(of, &seat.state) {
                seat.state = State::Unknown;
            }
            !seat.is_empty()
        });
    }

    /// A session says what its connection carries.
    pub(super) fn is_able(&self, of: &SessionOf, now: Abilities) {
        self.lock().entry(of.clone()).or_default().able = Some(now);
    }

    /// What it said.
    pub(super) fn able(&self, of: &SessionOf) -> Option<Abilities> {
        self.lock().get(of)?.able
    }

    /// A room as a session sees it; made when first asked for.
    pub(super) fn room(&self, of: &SessionOf, room: &RoomId) -> Room {
        let mut seats = self.lock();
        let rooms = &mut seats.entry(of.clone()).or_default().rooms;
        if let Some((_, view)) = rooms.iter().find(|(id, _)| id == room) {
            return view.clone();
        }
        let view = Room::default();
        rooms.push((room.clone(), view.clone()));
        view
    }

    /// The same, if it was ever asked for.
    pub(super) fn known_room(&self, of: &SessionOf, room: &RoomId) -> Option<Room> {
        self.lock().get(of)?.rooms.iter().find(|(id, _)| id == room).map(|(_, view)| view.clone())
    }

    /// The rooms that a session has a view of.
    pub(super) fn rooms_of(&self, of: &SessionOf) -> Vec<RoomId> {
        self.lock().get(of).into_iter().flat_map(|seat| &seat.rooms).map(|(id, _)| id.clone()).collect()
    }

    /// A session has ended: what its views say is of no use any more.
    pub(super) fn outside(&self, of: &SessionOf) {
        let mut seats = self.lock();
        if let Some(seat) = seats.get_mut(of) {
            (seat.able, seat.rooms) = (None, SmallVec::new());
            if seat.is_empty() {
                seats.remove(of);
            }
        }
    }

    /// Drops the views of rooms that their sessions are outside of and do not hold.
    pub(super) fn forget_rooms(&self) {
        let outside = |view: &Room| {
            let view = view.lock().unwrap_or_else(PoisonError::into_inner);
            view.standing == Standing::Outside
        };
        self.lock().retain(|_, seat| {
            seat.rooms.retain(|(_, view)| Arc::strong_count(view) > 1 || !outside(view));
            !seat.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_is_kept_while_something_is_known_of_its_session() {
        let (seats, of) = (Seats::default(), SessionOf::new("juliet@capulet.example".into(), "net".into()));
        assert!(seats.stands(&of, &LinkState::Connecting) && seats.stands(&of, &LinkState::Up));
        assert!(!seats.stands(&of, &LinkState::Up), "it stands so already");
        let view = seats.room(&of, &"a".into());
        assert!(Arc::ptr_eq(&view, &seats.room(&of, &"a".into())) && seats.known_room(&of, &"b".into()).is_none());
        assert!(!Arc::ptr_eq(&view, &seats.room(&of, &"b".into())));
        assert_eq!(seats.rooms_of(&of).len(), 2);
        seats.forget_rooms();
        assert_eq!(seats.rooms_of(&of), ["a".into()], "the other one is held by nobody, and outside");
        seats.forget_states(|_, state| *state != State::Up);
        assert_eq!((seats.state(&of), seats.states().len()), (State::Unknown, 0));
        seats.outside(&of);
        assert!(seats.lock().is_empty());
    }
}
