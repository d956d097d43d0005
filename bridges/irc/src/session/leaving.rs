//! Rooms: the ways out, and rooms that nobody wants.
//!
//! A server answers in the order in which it was asked: until it has answered a PART, whatever it says of the room is of the stay that ends. So a
//! user may leave and come back at once, and what was said of the first stay does not end the second.

use std::time::Duration;

use isthmus_bridge::inbound::Departure;
use isthmus_bridge::{DeliveryError, Event, Failure, LinkState, RoomChange, RoomId, Text, Ticket};
use tokio::time::Instant;

use super::answers::What;
use super::rooms::{Room, Stage};
use super::{Session, view};
use crate::address::split;
use crate::proto::write;
use crate::settings;

/// A room that a server put us in is left after this time if nobody enters it.
pub(super) const UNASKED: Duration = Duration::from_secs(5 * 60);
/// A server answers a PART within this time.
const ANSWER: Duration = Duration::from_secs(60);
/// Of so many PARTs at once the answers are waited for.
const MAX_PARTING: usize = 500;

/// Why we are in a room that nobody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unwanted {
    /// A server put us in; it is left then.
    Invited(Instant),
    /// PART is on its way; its answer is not waited for any longer than this.
    Parting(Instant),
}

impl Unwanted {
    pub(super) fn until(self) -> Instant {
        match self {
            Self::Invited(until) | Self::Parting(until) => until,
        }
    }
}

impl Session {
    pub(super) fn part(&mut self, id: &RoomId, status: Option<&str>, ticket: Ticket) {
        let folded = self.fold(split(id.as_str()).0);
        let waits = self.waits_for_part(&folded);
        let name = self.rooms.get(&folded).map(|room| room.name.clone()).unwrap_or_default();
        let line = match status {
            Some(words) if !words.is_empty() => self.worded(&["PART", &name], words, 0),
            _ => write::line("PART", &[&name]),
        };
        self.types_no_more(&name);
        let Some(room) = self.rooms.get_mut(&folded) else { return ticket.sent(None) };
        if room.settings.bool(settings::PERSISTENT) && (room.is_inside() || room.coming_back) {
            room.unattended = true;
            self.talks.retain(|(_, room)| room != id);
            ticket.sent(None); // the user's clients are out, the nick stays
            return self.note_attendance(status);
        }
        match room.stage {
            Stage::Inside | Stage::Listing => {
                if room.leaving > 0 && waits {
                    return ticket.sent(None);
                }
                room.leaving = room.leaving.saturating_add(1);
                self.send_for(line, What::Part { room: folded }, ticket);
            }
            stage => {
                if matches!(stage, Stage::Asked(_)) {
                    self.send(write::line("PART", &[&name]));
                    self.parts(&folded);
                }
                if let Some(mut room) = self.rooms.remove(&folded) {
                    view(&room.view).left(None);
                    room.tickets.take().into_iter().for_each(|t| t.sent(None));
                }
                ticket.sent(None);
                self.save_rooms();
                self.is_out();
            }
        }
    }

    /// Who comes back to a room that is being left stays, where the server has heard nothing of it yet; else that stay ends, and another begins.
    pub(super) fn stay_or_come_back(&mut self, folded: &str) {
        let Some(room) = self.rooms.get(folded).filter(|r| r.leaving > 0 && r.is_inside()) else { return };
        let (name, mut leaving) = (room.name.clone(), room.leaving);
        while leaving > 0 && self.take_back(&name) {
            leaving -= 1;
            self.settle(|what| matches!(what, What::Part { room } if **room == *folded));
        }
        let Some(room) = self.rooms.get_mut(folded) else { return };
        room.leaving = leaving;
        if leaving > 0
            && let Some(mut room) = self.rooms.remove(folded)
        {
            room.tickets.take().into_iter().for_each(|t| t.sent(None));
            view(&room.view).left(None);
            self.talks.retain(|(_, id)| *id != room.id);
            (0..leaving).for_each(|_| self.parts(folded));
        }
    }

    /// Takes a PART that was not written yet out of the queue.
    fn take_back(&mut self, name: &str) -> bool {
        let Some(link) = &mut self.link else { return false };
        let at = link.queue.iter().position(|q| is_part(&q.line, name));
        at.and_then(|at| link.queue.remove(at)).is_some()
    }

    /// PART is on its way for a stay that nobody waits for.
    pub(super) fn parts(&mut self, folded: &str) {
        if self.unasked.len() < MAX_PARTING {
            self.unasked.push((folded.into(), Unwanted::Parting(Instant::now() + ANSWER)));
        }
    }

    /// What the server says of this room is of a stay that ends.
    pub(super) fn is_parting(&self, folded: &str) -> bool {
        self.unasked.iter().any(|(name, why)| matches!(why, Unwanted::Parting(_)) && **name == *folded)
    }

    /// Whether the server has put us in already; then it is wanted from now on.
    pub(super) fn was_put_in(&mut self, folded: &str) -> bool {
        let is = |(name, why): &(Box<str>, Unwanted)| matches!(why, Unwanted::Invited(_)) && **name == *folded;
        let was = self.unasked.iter().any(is);
        self.unasked.retain(|one| !is(one));
        was
    }

    /// One PART of this room is answered.
    fn part_answered(&mut self, folded: &str) {
        let mut first = true;
        self.unasked.retain(|(name, why)| {
            let is = first && matches!(why, Unwanted::Parting(_)) && **name == *folded;
            first &= !is;
            !is
        });
        self.settle(|what| matches!(what, What::Part { room } if **room == *folded));
    }

    /// 442, 403: whether that answers a PART; then we are out, too.
    pub(super) fn part_refused(&mut self, name: &str) -> bool {
        let folded = self.fold(name);
        if self.is_parting(&folded) {
            self.part_answered(&folded);
            return true;
        }
        let leaves = self.rooms.get(&folded).is_some_and(|room| room.leaving > 0 && room.is_inside());
        if leaves {
            self.out(name, RoomChange::Left { status: None, how: Departure::Parted, by: None });
        }
        leaves
    }

    /// The user is out, by whatever way.
    pub(super) fn out(&mut self, name: &str, change: RoomChange) {
        let folded = self.fold(name);
        let parted = matches!(change, RoomChange::Left { how: Departure::Parted, .. });
        if self.is_parting(&folded) {
            // Thrown out before the PART was heard: that has its own answer.
            if parted {
                self.part_answered(&folded);
            }
            return;
        }
        self.unasked.retain(|(unasked, _)| *unasked != folded);
        self.types_no_more(name);
        let own = self.own_nick().to_owned();
        let Some(mut room) = self.rooms.remove(&folded) else { return };
        // Out before the list of names was complete: that is no entry.
        let why = match &change {
            RoomChange::Left { status: Some(status), .. } => Text::plain(status.as_str()),
            _ => Text::key("not-joined"),
        };
        let error = DeliveryError::new(Failure::Forbidden, why);
        room.tickets.take().into_iter().for_each(|ticket| ticket.failed(error.clone()));
        view(&room.view).left(None);
        self.talks.retain(|(_, id)| *id != room.id);
        self.settle(|what| matches!(what, What::Part { room } if *room == folded));
        (u8::from(parted)..room.leaving).for_each(|_| self.parts(&folded));
        self.emit(room.occupant(&own), Event::Room(change));
        self.save_rooms();
        self.is_out();
    }

    /// The connection is gone, and with it the stays that were to end.
    pub(super) fn forget_partings(&mut self) {
        self.unasked = super::Few::default();
        let own = self.own_nick().to_owned();
        let left: Vec<Box<str>> =
            self.rooms.values().filter(|r| r.leaving > 0).map(|r| self.people.fold(&r.name).into()).collect();
        for folded in left {
            let Some(mut room) = self.rooms.remove(&folded) else { continue };
            room.tickets.take().into_iter().for_each(|t| t.sent(None));
            view(&room.view).left(None);
            self.settle(|what| matches!(what, What::Part { room } if *room == folded));
            let change = RoomChange::Left { status: None, how: Departure::Quit, by: None };
            self.emit(room.occupant(&own), Event::Room(change));
            self.save_rooms();
        }
    }

    /// A room is left; the last one takes the connection with it.
    pub(super) fn is_out(&mut self) {
        self.unneeded = self.rooms.is_empty();
        // Nothing is left to come back to.
        if self.unneeded && self.retry_at.is_some() && self.waiting.is_empty() {
            self.retry_at = None;
            self.reports.push(LinkState::Down { reason: Text::key("left-network"), retry_at: None });
        }
    }

    /// The last room was left, and nobody wants the connection kept: it ends as soon as nothing is on its way.
    pub(super) fn close_if_unneeded(&mut self) {
        if !self.unneeded || !self.is_up() {
            return;
        }
        let needed = !self.rooms.is_empty() || !self.waiting.is_empty() || !self.pending.is_empty();
        let parting = self.unasked.iter().any(|(_, why)| matches!(why, Unwanted::Parting(_)));
        let talking = self.link.as_ref().is_some_and(|l| l.said.iter().any(|said| !said.asked) || !l.queue.is_empty());
        if !needed && !parting && !talking && !self.host.persistent(&self.of) {
            self.close("No room left");
        }
    }

    /// Rooms whose JOIN was never answered, and rooms that nobody wanted.
    pub(super) fn look_after_rooms(&mut self, now: Instant) {
        let is_late = |room: &Room| {
            let unwanted = matches!(room.stage, Stage::Later(_)) && !room.settings.bool(settings::PERSISTENT);
            unwanted || room.deadline().is_some_and(|d| d <= now)
        };
        let late: Vec<(Box<str>, Stage)> =
            self.rooms.values().filter(|r| is_late(r)).map(|r| (self.people.fold(&r.name).into(), r.stage)).collect();
        for (folded, stage) in late {
            if let Stage::Later(_) = stage {
                self.ask_again_for(&folded);
                continue;
            }
            let error = DeliveryError::new(Failure::TimedOut, Text::key("no-answer"));
            self.give_up_join(&folded, &error, None);
        }
        if self.unasked.iter().all(|(_, why)| why.until() > now) {
            return;
        }
        let (due, still): (Vec<_>, Vec<_>) = self.unasked.take().into_iter().partition(|(_, why)| why.until() <= now);
        still.into_iter().for_each(|one| self.unasked.push(one));
        for (name, why) in due {
            let queued = self.link.as_ref().is_some_and(|l| l.queue.iter().any(|q| is_part(&q.line, &name)));
            match why {
                Unwanted::Invited(_) => {
                    self.send(write::line("PART", &[&name]));
                    self.parts(&name);
                }
                // Before it is written nobody can answer it.
                Unwanted::Parting(_) if queued => self.parts(&name),
                Unwanted::Parting(_) => {}
            }
        }
    }
}

/// Whether the line is a PART of this room.
fn is_part(line: &[u8], name: &str) -> bool {
    let tags = if line.starts_with(b"@") { line.iter().position(|b| *b == b' ').map_or(0, |at| at + 1) } else { 0 };
    let rest = line[tags..].strip_prefix(b"PART ").unwrap_or_default();
    rest.get(..name.len()).is_some_and(|room| room.eq_ignore_ascii_case(name.as_bytes()))
        && matches!(rest.get(name.len()), Some(b' ' | b'\r'))
}
