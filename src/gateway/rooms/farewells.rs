//! Who was put out of a room while there was no stream to the XMPP server, and is told when it is back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use isthmus_bridge::inbound::Departure;
use isthmus_bridge::{RoomId, SessionOf};

use super::Rooms;
use crate::rooms::occupancy::Stay;
use crate::rooms::show::{self, Gone};

/// Farewells that wait, at most. Who gets none finds out by a self-ping (XEP-0410).
const WAITING: usize = 20_000;

/// The end of a stay that could not be told.
#[derive(Debug)]
struct Farewell {
    of: SessionOf,
    room: RoomId,
    jid: Arc<str>,
    nick: Box<str>,
    /// Full JIDs.
    to: Vec<Arc<str>>,
    how: Option<Departure>,
    by: Option<String>,
    words: Option<String>,
    moved: Option<String>,
    service: Option<&'static str>,
}

/// Those of one bridge.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Farewells(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// The stream is broken.
    down: bool,
    all: Vec<Farewell>,
}

impl Farewells {
    /// From now on they wait.
    pub(super) fn begin(&self) {
        self.lock().down = true;
    }

    /// From now on they are said at once; gives those that wait.
    fn end(&self) -> Vec<Farewell> {
        let mut waiting = self.lock();
        waiting.down = false;
        std::mem::take(&mut waiting.all)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rooms<'_> {
    /// Keeps the end of a user's own stay while nobody can be told of it; false: it is to be told now.
    pub(super) fn keeps_farewell(&self, of: &SessionOf, stay: &Stay, gone: &Gone<'_>) -> bool {
        if !self.served.is_down() {
            return false;
        }
        let mut waiting = self.served.farewells.lock();
        if waiting.down && waiting.all.len() < WAITING {
            waiting.all.push(Farewell {
                of: of.clone(),
                room: stay.room.clone(),
                jid: stay.jid.clone(),
                nick: stay.nick.clone(),
                to: stay.inside.iter().map(|resource| resource.jid.clone()).collect(),
                how: gone.how,
                by: gone.by.map(str::to_owned),
                words: gone.words.map(str::to_owned),
                moved: gone.moved.map(str::to_owned),
                service: gone.service,
            });
        }
        waiting.down
    }

    /// The stream is back.
    pub(super) fn say_farewells(&self) {
        for farewell in self.served.farewells.end() {
            let Farewell { of, room, jid, nick, to, how, by, words, moved, service } = &farewell;
            let (by, words, moved) = (by.as_deref(), words.as_deref(), moved.as_deref());
            let gone = Gone { how: *how, by, words, moved, service: *service, own: true, ..Gone::default() };
            for full in to {
                let say = |stage: &show::Stage<'_>| self.tell_one(of, |w| show::absent(w, stage, full, nick, &gone));
                self.staged(of, room, jid, "", say);
            }
        }
    }
}
