//! What sessions tell of rooms. The session has changed the view before; what is told here is how the resources inside learn of it.

use isthmus_bridge::inbound::Departure;
use isthmus_bridge::room::{Member, RoomView, Standing, Subject};
use isthmus_bridge::{Address, DeliveryError, Event, Full, Inbound, Intent, RoomChange, RoomId, SessionOf, Text};
use tracing::debug;

use super::{Reach, Rooms, look, member};
use crate::gateway::live::Aim;
use crate::rooms::changes::{Change, changes};
use crate::rooms::occupancy::{HELD, Held, Phase, Stay, Stays, lock};
use crate::rooms::rank;
use crate::rooms::show::{self, Gone, Whose};
use crate::xmpp::errors::{ErrorType, StanzaError};

/// Differences that are written at a time.
const STEP: usize = 200;

/// A departure as the network tells it.
struct Leaving<'a> {
    how: Departure,
    by: Option<&'a str>,
    words: Option<&'a str>,
}

impl Rooms<'_> {
    /// An event from a room or an occupant; false: it is none of a room's.
    pub(in crate::gateway) fn happened(&self, of: &SessionOf, event: &Inbound) -> Result<bool, Full> {
        let (room, nick) = match &event.from {
            Address::Room(room) => (room, None),
            Address::Occupant { room, nick } => (room, Some(nick.as_str())),
            _ => return Ok(false),
        };
        match &event.event {
            Event::Room(change) => self.changed(of, room, nick, change).map(|()| true),
            Event::Message(_) | Event::Notice { .. } | Event::Typing { .. } => self.said(of, room, nick, event),
            Event::Invited { room, reason, password } => {
                self.invited(of, room, &event.from, reason.as_deref(), password.as_deref());
                Ok(true)
            }
            // Whoever marks, reacts or withdraws in a room names a message by an id that only an archive could resolve.
            Event::Marked { .. } | Event::Reacted { .. } | Event::Retracted { .. } => Ok(true),
            _ => Ok(false),
        }
    }

    fn changed(&self, of: &SessionOf, room: &RoomId, nick: Option<&str>, change: &RoomChange) -> Result<(), Full> {
        let came_or_went = match change {
            RoomChange::Joined | RoomChange::Lost { .. } | RoomChange::Refused { .. } | RoomChange::Moved { .. } => {
                true
            }
            RoomChange::Left { .. } => !self.is_inside(of, room),
            _ => false,
        };
        if came_or_went {
            self.record_in(of, room);
        }
        let Some(stays) = self.served.occupancy.of(of) else { return self.unseen(of, room) };
        let mut stays = lock(&stays);
        if stays.get(room).is_none() {
            return self.unseen(of, room);
        }
        let view = self.served.room(of, room);
        let mut view = look(&view);
        match (change, nick) {
            (RoomChange::Joined, _) => self.joined(of, &mut stays, room, &view),
            (RoomChange::Refused { error, redirect }, _) => {
                self.refused(of, &mut stays, room, error, redirect.as_ref());
                Ok(())
            }
            (RoomChange::Left { status, how, by }, Some(nick)) => {
                let leaving = Leaving { how: *how, by: by.as_deref(), words: status.as_deref() };
                self.left(of, &mut stays, room, &mut view, nick, &leaving)
            }
            (RoomChange::Lost { reason, coming_back }, _) => {
                self.lost(of, &mut stays, room, &mut view, reason, *coming_back)
            }
            (RoomChange::Moved { to, reason }, _) => {
                drop(view.take_before());
                self.moved(of, &mut stays, room, to, reason.as_deref());
                Ok(())
            }
            (change, nick) => match stays.get(room).filter(|stay| matches!(stay.phase, Phase::Inside)) {
                Some(stay) => self.inside(of, stay, &view, nick, change),
                None => Ok(()),
            },
        }
    }

    /// Nobody of the user is inside: what the view keeps for a rejoin is of no use.
    fn unseen(&self, of: &SessionOf, room: &RoomId) -> Result<(), Full> {
        if let Some(view) = self.served.known_room(of, room) {
            drop(look(&view).take_before());
        }
        Ok(())
    }

    fn is_inside(&self, of: &SessionOf, room: &RoomId) -> bool {
        self.served.known_room(of, room).is_some_and(|view| look(&view).standing == Standing::Inside)
    }

    /// What happens while the occupant is inside.
    fn inside(
        &self,
        of: &SessionOf,
        stay: &mut Stay,
        view: &RoomView,
        nick: Option<&str>,
        change: &RoomChange,
    ) -> Result<(), Full> {
        match (change, nick) {
            // Their own entry is told at the end of the list.
            (RoomChange::Entered, Some(nick)) if stay.is_own(nick) => Ok(()),
            (RoomChange::Entered, Some(nick)) => self.shows(of, stay, view, nick, None),
            (RoomChange::Changed { by }, Some(nick)) => self.shows(of, stay, view, nick, by.as_deref()),
            (RoomChange::Renamed { nick: new }, Some(old)) => self.renamed(of, stay, view, old, new),
            (RoomChange::Subject { subject, by, .. }, _) => {
                // A change that is told as it happens needs no stamp.
                let subject = Subject::new(subject.as_str(), by.clone(), None);
                self.subject(of, stay, &view.modes, &subject)
            }
            (RoomChange::Roles, _) => self.roles(of, stay, view),
            (RoomChange::Settings, _) => {
                self.roles(of, stay, view)?;
                let jid = stay.jid.clone();
                self.tell(of, stay, Reach::Message, |w, to| show::configured(w, &jid, to))
            }
            _ => {
                debug!(bridge = %self.served.instance.name, "a change of a room that does not concern it was dropped");
                Ok(())
            }
        }
    }

    fn joined(&self, of: &SessionOf, stays: &mut Stays, room: &RoomId, view: &RoomView) -> Result<(), Full> {
        let Some(stay) = stays.get(room) else { return Ok(()) };
        match stay.phase {
            Phase::Entering => {
                (stay.moderated, stay.reshown) = (rank::modes(&view.modes).moderated, None);
                self.let_in(of, stay, view);
                Ok(())
            }
            Phase::Held(_) => self.rejoined(of, stay, view),
            Phase::Inside | Phase::Leaving => Ok(()),
        }
    }

    /// The occupant is back: its resources learn what has changed since (gone, new, another rank, subject), in steps. A step that is
    /// written is known, so that what is left can be told after the link was full.
    fn rejoined(&self, of: &SessionOf, stay: &mut Stay, view: &RoomView) -> Result<(), Full> {
        if !stay.is_own(view.nick()) {
            let old = stay.nick.clone();
            self.renamed(of, stay, view, &old, view.nick())?;
            if let Phase::Held(held) = &mut stay.phase {
                held.members.retain(|m| !old.eq_ignore_ascii_case(m.nick()));
                let own = member(view, view.nick());
                let at = held.members.partition_point(|m| m.person.key() < own.person.key());
                held.members.insert(at, own);
            }
        }
        // What the modes are is often told only after the list of names.
        let modes = if view.modes.is_empty() && stay.moderated { "m" } else { view.modes.as_str() };
        loop {
            let Phase::Held(held) = &stay.phase else { return Ok(()) };
            let (found, before, now) = changes(&held.members, view.members(), STEP);
            if found.is_empty() {
                break;
            }
            let told: Vec<Member> = view.members()[..now].iter().chain(&held.members[before..]).cloned().collect();
            self.differences(of, stay, modes, &found)?;
            if let Phase::Held(held) = &mut stay.phase {
                held.members = told;
            }
        }
        // Some networks tell times in seconds, and who set it in another spelling: the words decide.
        if matches!(&stay.phase, Phase::Held(held) if held.subject.words != view.subject.words) {
            self.subject(of, stay, &view.modes, &view.subject)?;
        }
        stay.phase = Phase::Inside;
        if stay.let_in() {
            self.list(of, stay, view);
        }
        Ok(())
    }

    fn differences(&self, of: &SessionOf, stay: &mut Stay, modes: &str, found: &[Change]) -> Result<(), Full> {
        let (room, jid, own) = (stay.room.clone(), stay.jid.clone(), stay.nick.clone());
        self.staged(of, &room, &jid, modes, |stage| {
            self.tell(of, stay, Reach::Presence, |w, to| {
                for change in found {
                    match change {
                        Change::Gone(m) => show::absent(w, stage, to, m.nick(), &Gone::default()),
                        Change::Here(m) if own.eq_ignore_ascii_case(m.nick()) => {
                            show::present(w, stage, to, m, Whose::OWN, None);
                        }
                        Change::Here(m) => show::present(w, stage, to, m, Whose::Other, None),
                    }
                }
            })
        })
    }

    /// A join that the bridge repeated by itself, or that the network sends elsewhere.
    fn refused(
        &self,
        of: &SessionOf,
        stays: &mut Stays,
        room: &RoomId,
        error: &DeliveryError,
        redirect: Option<&RoomId>,
    ) {
        let Some(mut stay) = stays.end(room) else { return };
        let elsewhere = redirect.and_then(|room| self.served.jid(&Address::Room(room.clone())));
        let stanza_error = match elsewhere {
            // RFC 6120 section 8.3.3.15: the condition holds the new address; RFC 5122 has it escape.
            Some(jid) => StanzaError::new(ErrorType::Modify, "redirect").within(uri(&jid)).with(error.text.clone()),
            None => StanzaError::from(error),
        };
        self.refuse(stay.turn_away(), &stanza_error);
        self.put_out(of, &mut stay, &error.text);
    }

    /// The room is elsewhere now: its resources are told where, and are outside.
    fn moved(&self, of: &SessionOf, stays: &mut Stays, room: &RoomId, to: &RoomId, why: Option<&str>) {
        let Some(mut stay) = stays.end(room) else { return };
        let new = self.served.jid(&Address::Room(to.clone()));
        let gone = Gone { own: true, moved: new.as_deref(), words: why, ..Gone::default() };
        if self.keeps_farewell(of, &stay, &gone) {
            return;
        }
        let (jid, nick) = (stay.jid.clone(), stay.nick.clone());
        let told = self.staged(of, room, &jid, "", |stage| {
            self.tell(of, &mut stay, Reach::Presence, |w, to| show::absent(w, stage, to, &nick, &gone))
        });
        if told.is_err() {
            debug!(bridge = %self.served.instance.name, "a room's new address could not be told");
        }
    }

    /// The resources of a stay are outside now, for a technical reason (333).
    pub(super) fn put_out(&self, of: &SessionOf, stay: &mut Stay, why: &Text) {
        let words = self.core.words(self.served, why, &self.core.languages.of(&of.user));
        let gone = Gone { own: true, service: Some("333"), words: Some(&words), ..Gone::default() };
        let (room, jid, nick) = (stay.room.clone(), stay.jid.clone(), stay.nick.clone());
        if self.keeps_farewell(of, stay, &gone) {
            return;
        }
        // A lane that is full now has room for the few bytes of a farewell: else they find out by themselves (XEP-0410).
        let told = self.staged(of, &room, &jid, "", |stage| {
            self.tell(of, stay, Reach::Presence, |w, to| show::absent(w, stage, to, &nick, &gone))
        });
        if told.is_err() {
            debug!(bridge = %self.served.instance.name, "the end of a visit could not be told");
        }
    }

    fn left(
        &self,
        of: &SessionOf,
        stays: &mut Stays,
        room: &RoomId,
        view: &mut RoomView,
        nick: &str,
        leaving: &Leaving<'_>,
    ) -> Result<(), Full> {
        let Some(stay) = stays.get(room) else { return Ok(()) };
        let own = stay.is_own(nick);
        match stay.phase {
            Phase::Leaving if own => {
                stays.end(room);
                return Ok(());
            }
            Phase::Inside => {}
            _ => return Ok(()),
        }
        let gone = Gone { how: Some(leaving.how), by: leaving.by, words: leaving.words, own, ..Gone::default() };
        if !(own && self.keeps_farewell(of, stay, &gone)) {
            let jid = stay.jid.clone();
            self.staged(of, room, &jid, "", |stage| {
                self.tell(of, stay, Reach::Presence, |w, to| show::absent(w, stage, to, nick, &gone))
            })?;
        }
        if own {
            stays.end(room);
            drop(view.take_before());
        }
        Ok(())
    }

    /// The link to the network broke. For a while that is nothing that users have to see.
    fn lost(
        &self,
        of: &SessionOf,
        stays: &mut Stays,
        room: &RoomId,
        view: &mut RoomView,
        reason: &Text,
        coming_back: bool,
    ) -> Result<(), Full> {
        let before = view.take_before();
        let Some(stay) = stays.get(room) else { return Ok(()) };
        match stay.phase {
            Phase::Inside if coming_back => {
                let members = if before.is_empty() { view.members().to_vec() } else { before };
                let subject = view.subject.clone();
                stay.phase = Phase::Held(Box::new(Held { until: self.core.instant() + HELD, members, subject }));
            }
            // Tickets of joins and leaves are answered by the session.
            Phase::Held(_) | Phase::Entering if coming_back => {}
            Phase::Leaving => {}
            _ => {
                if let Some(mut stay) = stays.end(room) {
                    let error = StanzaError::new(ErrorType::Wait, "recipient-unavailable").with(reason.clone());
                    self.refuse(stay.turn_away(), &error);
                    self.put_out(of, &mut stay, reason);
                }
            }
        }
        Ok(())
    }

    /// Held for long enough: the session need not try any more.
    pub(super) fn give_up(&self, of: &SessionOf, stays: &mut Stays, room: &RoomId, why: &Text) {
        let Some(mut stay) = stays.end(room) else { return };
        self.put_out(of, &mut stay, why);
        self.wish_quietly(of, Address::Room(room.clone()), Intent::Leave { status: None }, Aim::Nothing);
    }

    fn shows(
        &self,
        of: &SessionOf,
        stay: &mut Stay,
        view: &RoomView,
        nick: &str,
        by: Option<&str>,
    ) -> Result<(), Full> {
        let member = member(view, nick);
        let whose = if stay.is_own(nick) { Whose::OWN } else { Whose::Other };
        let (room, jid) = (stay.room.clone(), stay.jid.clone());
        self.staged(of, &room, &jid, &view.modes, |stage| {
            self.tell(of, stay, Reach::Presence, |w, to| show::present(w, stage, to, &member, whose, by))
        })
    }

    /// 303 under the old nick, then presence under the new one (XEP-0045 section 7.6). 210: it is not what they asked for.
    fn renamed(&self, of: &SessionOf, stay: &mut Stay, view: &RoomView, old: &str, new: &str) -> Result<(), Full> {
        let own = stay.is_own(old);
        let member = member(view, new);
        let item = rank::item(member.rank, rank::modes(&view.modes).moderated);
        let gone = Gone { renamed: Some((new, item)), own, ..Gone::default() };
        let unasked = stay.wanted.as_deref() != Some(new);
        let whose = if own { Whose::Own { entering: false, renamed: unasked } } else { Whose::Other };
        let (room, jid) = (stay.room.clone(), stay.jid.clone());
        self.staged(of, &room, &jid, &view.modes, |stage| {
            self.tell(of, stay, Reach::Presence, |w, to| {
                show::absent(w, stage, to, old, &gone);
                show::present(w, stage, to, &member, whose, None);
            })
        })?;
        if own {
            stay.nick = new.into();
            stay.wanted = None;
        }
        Ok(())
    }

    fn subject(&self, of: &SessionOf, stay: &mut Stay, modes: &str, subject: &Subject) -> Result<(), Full> {
        let id = crate::storage::fresh_id();
        let (room, jid) = (stay.room.clone(), stay.jid.clone());
        self.staged(of, &room, &jid, modes, |stage| {
            self.tell(of, stay, Reach::Message, |w, to| show::subject(w, stage, to, subject, Some(&id)))
        })
    }

    /// An invitation goes to the bare JID: whoever is online sees it.
    fn invited(&self, of: &SessionOf, room: &RoomId, by: &Address, reason: Option<&str>, password: Option<&str>) {
        let (Some(room), Some(by)) = (self.served.jid(&Address::Room(room.clone())), self.served.jid(by)) else {
            return;
        };
        self.tell_one(of, |w| show::invitation(w, &room, of.user.as_str(), &by, reason, password));
    }

    /// An invitation by a contact or by the network itself.
    pub(in crate::gateway) fn invited_by_contact(&self, of: &SessionOf, event: &Inbound) -> bool {
        let Event::Invited { room, reason, password } = &event.event else { return false };
        self.invited(of, room, &event.from, reason.as_deref(), password.as_deref());
        true
    }
}

/// `xmpp:` URI of a room to join (RFC 5122, XEP-0147).
fn uri(jid: &str) -> String {
    let mut uri = String::from("xmpp:");
    for byte in jid.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'@' | b'!' | b'$' | b'*' => {
                uri.push(char::from(byte));
            }
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri.push_str("?join");
    uri
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_uri_escapes_what_it_must() {
        assert_eq!(super::uri("#rust%libera.chat@gw.example"), "xmpp:%23rust%25libera.chat@gw.example?join");
    }
}
