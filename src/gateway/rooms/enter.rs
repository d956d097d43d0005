//! Who comes, goes, is renamed or away (XEP-0045 section 7).

use isthmus_bridge::room::{RoomView, Standing};
use isthmus_bridge::{Address, DeliveryError, Intent, Registration, RoomId, SessionOf, Text};

use super::{Rooms, look, origin};
use crate::access::Tier;
use crate::gateway::live::Aim;
use crate::gateway::messages::lang;
use crate::gateway::receive::Heard;
use crate::rooms::nick;
use crate::rooms::occupancy::{Arrival, Knock, Phase, Place, Stay, Stays, lock};
use crate::rooms::show::{self, Gone};
use crate::translate::outbound;
use crate::xmpp::errors::{ErrorType, StanzaError};
use crate::xmpp::ns;

impl Rooms<'_> {
    /// A presence to a room or an occupant; false: it is none that concerns the room.
    pub(in crate::gateway) fn presence(&self, heard: &Heard) -> bool {
        let (room, nick) = match &heard.at {
            Address::Room(room) => (room, None),
            Address::Occupant { room, nick } => (room, Some(nick.as_str())),
            _ => return false,
        };
        match heard.stanza.type_() {
            None if heard.from.is_full() => self.available(heard, room, nick),
            Some("unavailable") => self.unavailable(heard, room),
            Some("error") => self.bounced(heard),
            None => {}
            _ => return false,
        }
        true
    }

    fn available(&self, heard: &Heard, room: &RoomId, nick: Option<&str>) {
        let of = self.session(heard);
        if let Some(x) = heard.stanza.child("x", ns::MUC) {
            let password = x.element().ok().and_then(|x| Some(x.get_child("password", ns::MUC)?.text()));
            return match self.join(heard, &of, room, nick, password.filter(|p| !p.is_empty())) {
                Ok(()) => self.note_away(heard, &of, room),
                Err(error) => self.core.answer_error(self.served, &heard.stanza, &error),
            };
        }
        match self.rename(heard, &of, room, nick) {
            Ok(true) => self.note_away(heard, &of, room),
            // Their client missed that it is outside: it learns so, and may join again (XEP-0045 section 15.6.2).
            Ok(false) => self.tell_one(&of, |w| show::never_inside(w, heard.to.full(), heard.from.full())),
            Err(error) => self.core.answer_error(self.served, &heard.stanza, &error),
        }
    }

    /// A resource wants to be inside. What the view already has is shown at once, also to one that we think inside: it may have forgotten.
    fn join(
        &self,
        heard: &Heard,
        of: &SessionOf,
        room: &RoomId,
        nick: Option<&str>,
        password: Option<String>,
    ) -> Result<(), StanzaError> {
        let nick = nick.ok_or_else(|| StanzaError::jid_malformed().with(Text::key("error.room-nick-needed")))?;
        self.may_enter(heard)?;
        let jid = self.served.jid(&Address::Room(room.clone())).ok_or_else(StanzaError::jid_malformed)?;
        let (full, now) = (heard.from.shared(), self.core.instant());
        let stays = self.served.occupancy.open(of);
        let mut stays = lock(&stays);
        let view = self.served.known_room(of, room);
        let history = self.wanted(heard, of, room);
        let arriving = || {
            Place::Arriving(Box::new(Arrival { nick: nick.to_owned(), history: history.clone(), ..Arrival::default() }))
        };
        let waiting = || {
            Place::Waiting(Box::new(Knock {
                nick: nick.to_owned(),
                to: heard.to.full().to_owned(),
                id: heard.stanza.id().map(str::to_owned),
                lang: lang(&heard.stanza),
                history: history.clone(),
            }))
        };
        if stays.get(room).is_none() {
            // The session is asked even where it stayed inside without anybody: it learns that somebody is there, and answers at once.
            if stays.list.is_empty() {
                stays.list.reserve_exact(1); // most users are in one room
            }
            stays.list.push(Stay::new(room.clone(), &jid, nick, Phase::Leaving));
        }
        let Some(stay) = stays.get(room) else { return Ok(()) };
        match stay.phase {
            Phase::Inside | Phase::Held(_) => {
                stay.admit(&full, arriving(), now);
                self.list_from(of, stay, view.as_deref());
            }
            Phase::Entering => {
                stay.admit(&full, waiting(), now);
            }
            Phase::Leaving => {
                let asked = self.ask_in(heard, of, room, nick, password);
                if let Err(error) = asked {
                    stays.end(room);
                    return Err(error);
                }
                stay.phase = Phase::Entering;
                stay.nick = nick.into();
                stay.admit(&full, waiting(), now);
            }
        }
        Ok(())
    }

    /// Asks the session to enter.
    fn ask_in(
        &self,
        heard: &Heard,
        of: &SessionOf,
        room: &RoomId,
        nick: &str,
        password: Option<String>,
    ) -> Result<(), StanzaError> {
        if let Some(error) = self.core.too_many_sessions(&of.user, self.served, of) {
            return Err(error);
        }
        let intent = Intent::Join { nick: nick.to_owned(), password };
        let origin = origin(heard, of.clone(), Aim::Join(room.clone()));
        self.wish(of, Address::Room(room.clone()), intent, origin).map(drop)
    }

    fn may_enter(&self, heard: &Heard) -> Result<(), StanzaError> {
        if self.core.may(self.served, &heard.from) < Tier::User {
            return Err(StanzaError::forbidden().with(Text::key("error.not-allowed-here")));
        }
        if self.served.profile().registration == Registration::Required
            && !self.served.host().registered(&heard.from.bare())
        {
            let gateway = &self.served.instance.domain;
            return Err(
                StanzaError::registration_required().with(Text::key("error.not-registered").with("gateway", gateway))
            );
        }
        Ok(())
    }

    /// The list of occupants from the view; without one from what the stay itself holds.
    pub(super) fn list_from(&self, of: &SessionOf, stay: &mut Stay, view: Option<&std::sync::Mutex<RoomView>>) {
        match view {
            Some(view) => self.list(of, stay, &look(view)),
            None => self.list(of, stay, &RoomView::default()),
        }
    }

    /// What became of a join that the session was asked for. Inside is told by the view, so that an early answer shows nothing too early.
    pub(in crate::gateway) fn join_settled(&self, of: &SessionOf, room: &RoomId, result: Result<(), &DeliveryError>) {
        let Some(stays) = self.served.occupancy.of(of) else { return };
        let mut stays = lock(&stays);
        let Some(stay) = stays.get(room).filter(|stay| matches!(stay.phase, Phase::Entering)) else { return };
        match result {
            Ok(()) => {
                let view = self.served.room(of, room);
                let view = look(&view);
                if view.standing == Standing::Inside {
                    self.let_in(of, stay, &view);
                }
            }
            Err(error) => {
                let knocks = stay.turn_away();
                stays.end(room);
                drop(stays);
                self.refuse(knocks, &StanzaError::from(error));
            }
        }
    }

    /// The occupant is inside: its resources are told who else is.
    pub(super) fn let_in(&self, of: &SessionOf, stay: &mut Stay, view: &RoomView) {
        stay.phase = Phase::Inside;
        stay.nick = view.nick().into();
        stay.wanted = None;
        if stay.let_in() {
            self.list(of, stay, view);
        }
    }

    /// The session has left, or says that it was not inside: nobody waits for that any more.
    pub(in crate::gateway) fn leave_settled(&self, of: &SessionOf, room: &RoomId) {
        let Some(stays) = self.served.occupancy.of(of) else { return };
        let mut stays = lock(&stays);
        if stays.get(room).is_some_and(|stay| matches!(stay.phase, Phase::Leaving)) {
            stays.end(room);
        }
    }

    /// Leaving a room that one is not in is harmless, and silent.
    fn unavailable(&self, heard: &Heard, room: &RoomId) {
        let of = self.session(heard);
        let Some(stays) = self.served.occupancy.of(&of) else { return };
        let mut stays = lock(&stays);
        let status = heard.stanza.child("status", ns::CLIENT).map(|s| s.text().into_owned()).filter(|s| !s.is_empty());
        let gone = Gone { own: true, words: status.as_deref(), ..Gone::default() };
        self.depart(&mut stays, &of, room, heard.from.full(), &gone, status.clone());
        self.tell_away(&mut stays, &of);
    }

    /// Takes one resource out of one room; the last one takes the occupant with it.
    pub(super) fn depart(
        &self,
        stays: &mut Stays,
        of: &SessionOf,
        room: &RoomId,
        full: &str,
        gone: &Gone<'_>,
        status: Option<String>,
    ) {
        let Some((stay, at)) = stays.with(room, full) else { return };
        stay.inside.remove(at);
        self.staged(of, room, &stay.jid, "", |stage| {
            self.tell_one(of, |w| show::absent(w, stage, full, &stay.nick, gone));
        });
        if !stay.inside.is_empty() {
            return;
        }
        stay.phase = Phase::Leaving;
        let leave = Intent::Leave { status };
        if !self.wish_quietly(of, Address::Room(room.clone()), leave, Aim::Leave(room.clone())) {
            stays.end(room);
        }
    }

    /// Presence without `<x/>`: from inside it is a wish for another nick, or only news of oneself. False: from outside.
    fn rename(&self, heard: &Heard, of: &SessionOf, room: &RoomId, asked: Option<&str>) -> Result<bool, StanzaError> {
        let Some(stays) = self.served.occupancy.of(of) else { return Ok(false) };
        let mut stays = lock(&stays);
        let Some((stay, at)) = stays.with(room, heard.from.full()) else { return Ok(false) };
        stay.inside[at].heard(self.core.instant());
        let Some(asked) = asked.filter(|asked| *nick::spell(&stay.nick) != **asked) else { return Ok(true) };
        match stay.phase {
            Phase::Held(_) => return Err(held()),
            Phase::Inside => {}
            _ => return Ok(true),
        }
        let origin = origin(heard, of.clone(), Aim::Rename);
        self.wish(of, Address::Room(room.clone()), Intent::Rename { nick: asked.to_owned() }, origin)?;
        stay.wanted = Some(asked.into());
        Ok(true)
    }

    /// Keeps whether the resource is away; when all of them are, the network is told.
    fn note_away(&self, heard: &Heard, of: &SessionOf, room: &RoomId) {
        let Some(stays) = self.served.occupancy.of(of) else { return };
        let mut stays = lock(&stays);
        if stays.with(room, heard.from.full()).is_none() {
            return;
        }
        let show = heard.stanza.child("show", ns::CLIENT).map(|s| s.text().trim().to_owned());
        let away = matches!(show.as_deref(), Some("away" | "xa" | "dnd"));
        let status = heard.stanza.child("status", ns::CLIENT).map(|s| s.text().into_owned()).filter(|s| !s.is_empty());
        stays.says(&heard.from.shared(), away, status.as_deref());
        self.tell_away(&mut stays, of);
    }

    /// Tells the network what is news of the user's being away.
    pub(super) fn tell_away(&self, stays: &mut Stays, of: &SessionOf) {
        let Some((away, status)) = stays.away_news() else { return };
        let presence = Intent::Presence { available: true, away, status };
        self.wish_quietly(of, Address::Network(of.network.clone()), presence, Aim::Nothing);
    }

    /// An error from a resource that cannot be reached takes it out of all its rooms; one from a bare JID evicts nobody.
    pub(in crate::gateway) fn bounced(&self, heard: &Heard) {
        if heard.from.is_full() && evicts(heard) {
            self.evict(heard.from.full(), &heard.from.bare());
        }
    }

    /// Takes a resource that is gone out of all its rooms.
    pub(super) fn evict(&self, full: &str, user: &isthmus_bridge::BareJid) {
        for (of, stays) in self.served.occupancy.of_user(user) {
            let mut stays = lock(&stays);
            let rooms: Vec<RoomId> =
                stays.list.iter().filter(|stay| stay.position(full).is_some()).map(|stay| stay.room.clone()).collect();
            for room in rooms {
                let gone = Gone { own: true, service: Some("333"), ..Gone::default() };
                self.depart(&mut stays, &of, &room, full, &gone, None);
            }
            self.tell_away(&mut stays, &of);
        }
    }
}

/// While the link to the network is broken.
pub(super) fn held() -> StanzaError {
    StanzaError::new(ErrorType::Wait, "recipient-unavailable").with(Text::key("error.room-held"))
}

/// Whether an error says that the resource is not there (any more).
fn evicts(heard: &Heard) -> bool {
    let error = heard.stanza.child("error", ns::CLIENT).and_then(|e| e.element().ok());
    let named = error.iter().flat_map(|e| e.children()).any(|c| c.ns() == ns::STANZAS && c.name() != "text");
    !named || is_gone(&outbound::error_of(&heard.stanza).condition)
}

/// Conditions under which nobody is there (XEP-0045 section 18.1.2 as servers apply it).
pub(super) fn is_gone(condition: &str) -> bool {
    matches!(
        condition,
        "gone"
            | "internal-server-error"
            | "item-not-found"
            | "jid-malformed"
            | "recipient-unavailable"
            | "redirect"
            | "remote-server-not-found"
            | "remote-server-timeout"
            | "service-unavailable"
    )
}
