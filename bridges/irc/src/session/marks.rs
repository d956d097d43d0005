//! How far the user has read (`draft/read-marker`), both ways. A marker never goes back, here as there.

use std::collections::VecDeque;
use std::time::SystemTime;

use isthmus_bridge::{Event, ForeignMessageId, Inbound, MessageRef};

use super::{Session, view};
use crate::proto::caps::Caps;
use crate::proto::line::Line;
use crate::proto::{time, write};

/// Messages of one room whose names are remembered: a marker of another program is of one of these, or is not told.
const LATELY: usize = 64;
/// Conversations whose markers are remembered.
const TALKS: usize = 200;

/// What is known of one room.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// When the last messages that are not read were said, and what the network calls them; the oldest first.
    lately: VecDeque<(SystemTime, ForeignMessageId)>,
    /// Up to then all is read.
    read: Option<SystemTime>,
}

impl Session {
    /// The user has shown what was said up to then.
    pub(super) fn mark(&mut self, target: &str, at: SystemTime) {
        if !self.has_cap(Caps::READ_MARKER) || !self.goes_on(target, at) {
            return;
        }
        let line = write::line("MARKREAD", &[target, &format!("timestamp={}", time::iso(at))]);
        if let Some(link) = &mut self.link {
            link.sometime(line);
        }
    }

    /// Whether a marker is later than the one that is known; then it is the one that is known.
    fn goes_on(&mut self, target: &str, at: SystemTime) -> bool {
        let folded = self.fold(target);
        let known = if let Some(room) = self.rooms.get_mut(&folded) {
            &mut room.marks.get_or_insert_default().read
        } else {
            let talks = &mut self.rare().read;
            let place = talks.iter().position(|(known, _)| *known == folded).unwrap_or_else(|| {
                if talks.len() >= TALKS {
                    talks.remove(0);
                }
                talks.push((folded, None));
                talks.len() - 1
            });
            match talks.get_mut(place) {
                Some((_, known)) => known,
                None => return false,
            }
        };
        let later = known.is_none_or(|known| known < at);
        if later {
            *known = Some(at);
        }
        later
    }

    /// Something with a name was said in a room.
    pub(super) fn remember_name(&mut self, room: &str, said: &Inbound) {
        let Some(id) = said.id.clone().filter(|_| self.has_cap(Caps::READ_MARKER) && !self.backlog) else { return };
        let Some(room) = self.room_mut(room) else { return };
        let lately = &mut room.marks.get_or_insert_default().lately;
        if lately.len() >= LATELY {
            lately.pop_front();
        }
        // Times of a server do not go back, but for what it plays again: that is read up to with what came before it.
        let at = lately.back().map_or(said.at, |(before, _)| said.at.max(*before));
        lately.push_back((at, id));
    }

    /// `MARKREAD <target> timestamp=…`: another program of the user's has shown everything up to then. In a room it is told with the last message
    /// that it means; of what was said between two nothing in XMPP says that its reader is oneself, but XEP-0490, which needs an id of the user's server.
    pub(super) fn on_read_marker(&mut self, line: &Line<'_>) {
        let Some(at) = line.param(1).strip_prefix("timestamp=").and_then(time::server_time) else { return };
        let target = line.param(0);
        if !self.goes_on(target, at) {
            return;
        }
        let Some(room) = self.room_mut(target) else { return };
        let Some(marks) = room.marks.as_deref_mut() else { return };
        let mut last = None;
        while let Some((_, id)) = marks.lately.pop_front_if(|(said, _)| *said <= at) {
            last = Some(id);
        }
        let Some(id) = last else { return };
        let own = view(&room.view).nick().to_owned();
        let from = room.occupant(&own);
        let of = MessageRef::foreign(self.of.network.clone(), id);
        self.emit(from, Event::Marked { of });
    }
}
