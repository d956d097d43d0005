//! Who is typing (`+typing` ↔ XEP-0085). IRC says it again and again and lets it lapse, XMPP says it once and says when it is over: what is missing on
//! either side is said here.

use std::time::Duration;

use isthmus_bridge::{Address, Event};
use tokio::time::Instant;

use super::{Session, view};
use crate::address::split;
use crate::proto::line::Line;
use crate::proto::write;

/// Between two lines that say something of the user's typing to somebody.
const AGAIN: Duration = Duration::from_secs(3);
/// Somebody who is not said to be typing any more for this time has stopped.
const LAPSE: Duration = Duration::from_secs(6);
/// A user who is typing for longer, and of whom nothing else is heard, has gone away over it.
const LONGEST: Duration = Duration::from_secs(60);
/// People, and places, of which that is remembered.
const MOST: usize = 50;

/// Somebody who is typing.
#[derive(Debug)]
pub(crate) struct Typist {
    from: Address,
    private: bool,
    until: Instant,
}

/// What the user does somewhere.
#[derive(Debug)]
pub(crate) struct Typing {
    /// As it is written in lines.
    target: Box<str>,
    /// They are typing.
    on: bool,
    /// Those there think so.
    told: bool,
    /// When something of it may be told again.
    next: Instant,
    until: Instant,
}

impl Session {
    // From the network.

    /// `+typing`: `active`, again and again; `paused`, `done` at its end.
    pub(super) fn on_typing(&mut self, line: &Line<'_>, target: &str, in_room: bool) {
        let Some(state) = line.tag("+typing") else { return };
        let nick = line.source.nick();
        if self.is_own(nick) {
            return;
        }
        let from = if in_room {
            let Some(room) = self.room(target) else { return };
            room.occupant(nick)
        } else {
            self.talk_address(nick)
        };
        self.has_said(&from);
        let on = state == "active";
        if let Some(link) = self.link.as_mut().filter(|_| on) {
            let typists = &mut link.again.get_or_insert_default().typists;
            let mut all = typists.take();
            let oldest = (all.len() >= MOST).then(|| all.remove(0));
            all.push(Typist { from: from.clone(), private: !in_room, until: Instant::now() + LAPSE });
            all.into_iter().for_each(|typist| typists.push(typist));
            self.nobody_types(oldest.into_iter().collect());
        }
        self.emit(from, Event::Typing { on, private: !in_room });
    }

    /// Whoever says something is not typing it any more.
    pub(super) fn has_said(&mut self, who: &Address) {
        if let Some(again) = self.link.as_mut().and_then(|l| l.again.as_mut()) {
            again.typists.retain(|typist| typist.from != *who);
        }
    }

    /// Nothing more is heard of those who were typing.
    pub(super) fn nobody_types(&mut self, typists: Vec<Typist>) {
        for Typist { from, private, .. } in typists {
            // Who has gone is seen to have gone.
            let here = match &from {
                Address::Occupant { room, nick } if !private => {
                    self.room(split(room.as_str()).0).is_some_and(|r| view(&r.view).get(&self.people, nick).is_some())
                }
                _ => true,
            };
            if here {
                self.emit(from, Event::Typing { on: false, private });
            }
        }
    }

    // From the user.

    /// The user is typing, or has stopped.
    pub(super) fn typing(&mut self, target: &str, on: bool) {
        let now = Instant::now();
        let Some(link) = self.link.as_mut().filter(|l| l.takes_tag("typing")) else { return };
        let known = link.again.iter_mut().flat_map(|again| again.typing.iter_mut()).find(|t| *t.target == *target);
        match known {
            Some(typing) => (typing.on, typing.until) = (on, now + LONGEST),
            // What was never begun has no end.
            None if !on => return,
            None => {
                let all = &mut link.again.get_or_insert_default().typing;
                if all.len() < MOST {
                    all.push(Typing { target: target.into(), on, told: false, next: now, until: now + LONGEST });
                }
            }
        }
        self.look_after_typing(now);
    }

    /// The user has said something there: nobody has to be told that they stopped.
    pub(super) fn has_spoken(&mut self, target: &str) {
        let all = self.link.iter_mut().filter_map(|l| l.again.as_mut()).flat_map(|again| again.typing.iter_mut());
        for typing in all.filter(|t| *t.target == *target) {
            (typing.on, typing.told) = (false, false);
        }
    }

    /// There is nobody there any more, or they are not to be told; whether they were told that the user is typing.
    pub(super) fn types_no_more(&mut self, target: &str) -> bool {
        let folded = self.fold(target);
        let people = self.people.clone();
        let Some(again) = self.link.as_mut().and_then(|l| l.again.as_mut()) else { return false };
        let mut told = false;
        again.typing.retain(|typing| {
            let there = people.folded(&typing.target) != *folded;
            told |= !there && typing.told;
            there
        });
        told
    }

    /// When something of it is due.
    pub(super) fn next_typing(&self) -> Option<Instant> {
        let again = self.link.as_ref()?.again.as_ref()?;
        again.typists.iter().map(|t| t.until).chain(again.typing.iter().map(|t| t.next)).min()
    }

    /// Says what is due.
    pub(super) fn look_after_typing(&mut self, now: Instant) {
        if self.next_typing().is_none_or(|at| at > now) {
            return;
        }
        let Some(link) = &mut self.link else { return };
        // It is worth no token that words could use.
        let busy = !link.queue.is_empty();
        let Some(again) = &mut link.again else { return };
        let mut lines = Vec::new();
        again.typing.retain_mut(|typing| {
            if typing.next > now {
                return true;
            }
            let on = typing.on && typing.until > now;
            if !on && (busy || typing.on || !typing.told) {
                return false; // they will see by themselves that it is over
            }
            if !busy {
                lines.push(write::tags(&[("+typing", if on { "active" } else { "done" })], &typing.target));
                typing.told = on;
            }
            typing.next = now + AGAIN;
            true
        });
        let mut lapsed = Vec::new();
        for typist in again.typists.take() {
            if typist.until <= now { lapsed.push(typist) } else { again.typists.push(typist) }
        }
        lines.into_iter().for_each(|line| link.later(line));
        self.nobody_types(lapsed);
    }
}
