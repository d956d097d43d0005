//! Who was put out of a room while there was no stream to the XMPP server, and is told when it is back (XEP-0045 status 333).

use std::sync::{Arc, Mutex, PoisonError};

use isthmus_bridge::{RoomId, SessionOf};

use super::Rooms;
use crate::rooms::show::{self, Gone};

/// Farewells that wait, at most. Who gets none finds out by a self-ping (XEP-0410).
const WAITING: usize = 20_000;

/// The end of a stay that could not be told.
#[derive(Debug)]
pub(in crate::gateway) struct Farewell {
    pub(super) of: SessionOf,
    pub(super) room: RoomId,
    pub(super) jid: Arc<str>,
    pub(super) nick: Box<str>,
    /// Full JIDs.
    pub(super) to: Vec<Arc<str>>,
    pub(super) words: String,
}

/// Those of one bridge.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Farewells(Mutex<Vec<Farewell>>);

impl Farewells {
    pub(super) fn push(&self, farewell: Farewell) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < WAITING {
            waiting.push(farewell);
        }
    }

    pub(super) fn take(&self) -> Vec<Farewell> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Rooms<'_> {
    pub(super) fn say_farewell(&self, Farewell { of, room, jid, nick, to, words }: &Farewell) {
        let gone = Gone { own: true, service: Some("333"), words: Some(words), ..Gone::default() };
        for full in to {
            self.staged(of, room, jid, "", |stage| self.tell_one(of, |w| show::absent(w, stage, full, nick, &gone)));
        }
    }
}
