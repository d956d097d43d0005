//! Logs of one user alone: what a server of their own choice says to them is kept under a name of the room that is theirs, and nobody else's lines are.
//!
//! Such a log is a room like any other (stays, retention, ids): only its name says whose it is. A user's questions are answered from both.

use std::borrow::Cow;

use isthmus_bridge::{BareJid, RoomId};

/// What the names of such logs begin with, and what ends the user in them. No JID holds it, so no room of a bridge has such a name.
const MARK: char = '\n';

/// Under which name it is kept what a user hears in a room: the room's own, or one that is theirs.
pub fn log<'a>(room: &'a RoomId, user: &BareJid, apart: bool) -> Cow<'a, RoomId> {
    if apart { Cow::Owned(own_log(room, user)) } else { Cow::Borrowed(room) }
}

/// The name of a room's log that is one user's.
pub fn own_log(room: &RoomId, user: &BareJid) -> RoomId {
    format!("{MARK}{user}{MARK}{room}").into()
}

/// Whose a log is, and of which room; `None`: everybody's.
pub fn whose(log: &RoomId) -> Option<(&str, &str)> {
    log.as_str().strip_prefix(MARK)?.split_once(MARK)
}

/// The room that a log is of.
pub fn room(log: &RoomId) -> RoomId {
    whose(log).map_or_else(|| log.clone(), |(_, room)| room.into())
}

/// A text of the store with the room's own name in the place of its log's.
pub fn shown(text: &str) -> Cow<'_, str> {
    match text.split_once(MARK).and_then(|(before, rest)| Some((before, rest.split_once(MARK)?.1))) {
        Some((before, room)) => Cow::Owned(format!("{before}{room}")),
        None => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_says_whose_it_is_and_of_which_room() {
        let (verona, juliet) = (RoomId::from("#verona%net"), BareJid::from("juliet@example.org"));
        assert_eq!(*log(&verona, &juliet, false), verona);
        assert_eq!((whose(&verona), room(&verona)), (None, verona.clone()));
        let own = log(&verona, &juliet, true).into_owned();
        assert_ne!(own, verona);
        assert_eq!((whose(&own), room(&own)), (Some(("juliet@example.org", "#verona%net")), verona.clone()));
        assert_ne!(own, own_log(&verona, &"juliet@example.com".into()));
        assert_eq!(shown(own.as_str()), "#verona%net");
        assert_eq!(shown(&format!("room {own}")), "room #verona%net");
        assert_eq!(shown("room #verona%net"), "room #verona%net");
    }
}
