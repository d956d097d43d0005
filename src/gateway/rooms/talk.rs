//! Messages of rooms, both ways: groupchat with its reflection, private messages, invitations.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use isthmus_bridge::{
    Address, Event, Full, Inbound, Intent, Message, MessageKind, MessageRef, Origin as Age, RoomId, SessionOf, Text,
};

use super::enter::held;
use super::history::Words;
use super::{Reach, Rooms, look, origin};
use crate::archive::apart::log;
use crate::archive::names::{Name, Place};
use crate::gateway::live::Aim;
use crate::gateway::receive::Heard;
use crate::gateway::references::Found;
use crate::rooms::occupancy::{Phase, Stay, lock};
use crate::rooms::show::{self, Line};
use crate::rooms::{aside, fresh_stanza_id};
use crate::router::{self, Party};
use crate::translate::degrade;
use crate::translate::inbound::body_of;
use crate::translate::{looks, outbound};
use crate::xmpp::errors::StanzaError;
use crate::xmpp::link::Fragment;
use crate::xmpp::ns;

/// XEP-0249.
const CONFERENCE: &str = "jabber:x:conference";
/// What is older than this carries its time (XEP-0203).
const FRESH: Duration = Duration::from_secs(30);

impl Rooms<'_> {
    /// A message to a room or an occupant. Does not wait.
    pub(in crate::gateway) fn message(&self, heard: &Heard, found: &Found) {
        if heard.stanza.type_() == Some("error") {
            return self.bounced(heard);
        }
        let result = match &heard.at {
            Address::Room(room) if heard.stanza.type_() == Some("groupchat") => self.group(heard, room, found),
            Address::Room(room) => self.to_room(heard, room),
            // To everybody is said in the room, not to one of them (XEP-0045 section 7.4).
            Address::Occupant { .. } if heard.stanza.type_() == Some("groupchat") => Err(StanzaError::bad_request()),
            Address::Occupant { room, .. } => self.to_occupant(heard, room, found),
            _ => Ok(()),
        };
        if let Err(error) = result {
            self.core.answer_error(self.served, &heard.stanza, &error);
        }
    }

    /// Words for everybody.
    fn group(&self, heard: &Heard, room: &RoomId, found: &Found) -> Result<(), StanzaError> {
        let of = self.session(heard);
        let outside = || StanzaError::not_acceptable().with(Text::key("error.room-not-inside"));
        let stays = self.served.occupancy.of(&of).ok_or_else(outside)?;
        let mut stays = lock(&stays);
        let (stay, at) = stays.with(room, heard.from.full()).ok_or_else(outside)?;
        stay.inside[at].heard(self.core.instant());
        match stay.phase {
            Phase::Inside => {}
            Phase::Held(_) => return Err(held()),
            _ => return Err(outside()),
        }
        if let Some(subject) = heard.stanza.child("subject", ns::CLIENT)
            && heard.stanza.child("body", ns::CLIENT).is_none()
        {
            let intent = Intent::SetSubject { subject: subject.text().into_owned() };
            return self.wish(&of, heard.at.clone(), intent, origin(heard, of.clone(), Aim::Say)).map(drop);
        }
        match outbound::message(&heard.stanza, self.served.profile()) {
            outbound::Heard::Said(said) => {
                self.core.admit(self.served, heard)?;
                let (message, before) = self.core.carried(self.served, heard, &of, said, found);
                self.core.withdraw_first(self.served, heard, &of, before);
                let kept = kept(heard, &stay.jid);
                let intent = Intent::Send(message);
                let origin = origin(heard, of.clone(), Aim::Say);
                let id = origin.id.clone();
                let key = self.wish(&of, heard.at.clone(), intent, origin)?;
                stay.sends(key, id, kept);
                Ok(())
            }
            outbound::Heard::Typing(on) => {
                self.wish_quietly(&of, heard.at.clone(), Intent::Typing { on }, Aim::Nothing);
                Ok(())
            }
            outbound::Heard::Refused(error) => Err(error),
            // These name a message, and have gone another way.
            outbound::Heard::Mark(_)
            | outbound::Heard::React(..)
            | outbound::Heard::Retract(..)
            | outbound::Heard::Returned(_)
            | outbound::Heard::Nothing => Ok(()),
        }
    }

    /// A message to the room itself that is none for everybody: invitations, requests.
    fn to_room(&self, heard: &Heard, room: &RoomId) -> Result<(), StanzaError> {
        if let Some(done) = self.voice(heard, room) {
            return done;
        }
        let Some(x) = heard.stanza.child("x", ns::MUC_USER).and_then(|x| x.element().ok()) else {
            return if heard.stanza.body().is_some() { Err(StanzaError::bad_request()) } else { Ok(()) };
        };
        let of = self.session(heard);
        for decline in x.children().filter(|c| c.is("decline", ns::MUC_USER)) {
            self.decline(heard, room, decline)?;
        }
        for invite in x.children().filter(|c| c.is("invite", ns::MUC_USER)) {
            let inside =
                self.served.occupancy.of(&of).is_some_and(|s| lock(&s).with(room, heard.from.full()).is_some());
            if !inside {
                return Err(StanzaError::not_acceptable().with(Text::key("error.room-not-inside")));
            }
            self.core.admit(self.served, heard)?;
            let reason = invite.get_child("reason", ns::MUC_USER).map(minidom::Element::text).filter(|r| !r.is_empty());
            self.invite(heard, &of, room, invite.attr("to").unwrap_or_default(), reason)?;
        }
        Ok(())
    }

    /// A direct invitation (XEP-0249) to somebody of the far network; false: the message is none.
    pub(in crate::gateway) fn directly_invited(&self, heard: &Heard) -> bool {
        if !matches!(heard.at, Address::Contact(_) | Address::Occupant { .. }) {
            return false;
        }
        let Some(x) = heard.stanza.child("x", CONFERENCE) else { return false };
        let room = x.attr("jid").and_then(|jid| Party::parse(&jid));
        let room = room.filter(|party| party.domain() == &*self.served.instance.domain);
        let room = room.and_then(|party| router::address(self.served.instance.bridge.addressing(), &party).ok());
        // A room elsewhere means nothing to the network: the words around the invitation do.
        let of = self.session(heard);
        let Some(Address::Room(room)) = room.filter(|room| self.is_on(&of, room)) else { return false };
        let reason = x.attr("reason").map(Cow::into_owned).filter(|r| !r.is_empty());
        let who = heard.at.clone();
        let intent = Intent::Invite { room: room.clone(), who, reason };
        let asked = self
            .core
            .admit(self.served, heard)
            .and_then(|()| self.wish(&of, Address::Room(room), intent, origin(heard, of.clone(), Aim::Say)).map(drop));
        if let Err(error) = asked {
            self.core.answer_error(self.served, &heard.stanza, &error);
        }
        true
    }

    /// Somebody of the far network is invited there; a JID gets the invitation from us.
    pub(in crate::gateway) fn invite(
        &self,
        heard: &Heard,
        of: &SessionOf,
        room: &RoomId,
        who: &str,
        reason: Option<String>,
    ) -> Result<(), StanzaError> {
        let domain = &*self.served.instance.domain;
        let address = if !who.is_empty() && !who.contains(['@', '/', '.']) && who != domain {
            // A nick alone: what may stand in one need not be a domain.
            Address::Occupant { room: room.clone(), nick: who.to_owned() }
        } else {
            let party = Party::parse(who).ok_or_else(StanzaError::jid_malformed)?;
            if party.domain() == domain {
                let at = router::address(self.served.instance.bridge.addressing(), &party);
                at.map_err(|bad| StanzaError::from(&bad))?
            } else {
                let jid = self.served.jid(&Address::Room(room.clone())).ok_or_else(StanzaError::jid_malformed)?;
                let from = heard.from.bare();
                self.tell_one(of, |w| {
                    show::invitation(w, &jid, party.bare().as_str(), from.as_str(), reason.as_deref(), None)
                });
                return Ok(());
            }
        };
        if !matches!(address, Address::Contact(_) | Address::Occupant { .. }) || !self.is_on(of, &address) {
            return Err(StanzaError::item_not_found());
        }
        let intent = Intent::Invite { room: room.clone(), who: self.meant(of, address), reason };
        self.wish(of, Address::Room(room.clone()), intent, origin(heard, of.clone(), Aim::Say)).map(drop)
    }

    /// A private message. From outside it is accepted while the session is there: it needs no room to find its way.
    fn to_occupant(&self, heard: &Heard, room: &RoomId, found: &Found) -> Result<(), StanzaError> {
        let of = self.session(heard);
        let stays = self.served.occupancy.of(&of);
        let mut stays = stays.as_ref().map(|s| lock(s));
        let stay = stays.as_mut().and_then(|s| s.with(room, heard.from.full()));
        match stay {
            Some((stay, at)) => {
                stay.inside[at].heard(self.core.instant());
                if matches!(stay.phase, Phase::Held(_)) {
                    return Err(held());
                }
            }
            None if self.served.sessions().runs(&of) => {}
            None => return Err(StanzaError::not_acceptable().with(Text::key("error.room-not-inside"))),
        }
        drop(stays);
        match outbound::message(&heard.stanza, self.served.profile()) {
            outbound::Heard::Said(said) => {
                self.core.admit(self.served, heard)?;
                let (mut message, before) = self.core.carried(self.served, heard, &of, said, found);
                self.core.withdraw_first(self.served, heard, &of, before);
                message.kind = MessageKind::Chat;
                let mut origin = origin(heard, of.clone(), Aim::Say);
                origin.said = Some((heard.at.clone(), message.body.as_str().into()));
                self.wish(&of, heard.at.clone(), Intent::Send(message), origin).map(drop)
            }
            outbound::Heard::Typing(on) => {
                self.wish_quietly(&of, heard.at.clone(), Intent::Typing { on }, Aim::Nothing);
                Ok(())
            }
            outbound::Heard::Refused(error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Something said in a room, by an occupant or by the room itself. False: it is private, and nobody is inside to hear it there.
    pub(super) fn said(
        &self,
        of: &SessionOf,
        room: &RoomId,
        nick: Option<&str>,
        event: &Inbound,
    ) -> Result<bool, Full> {
        let private = nick.is_some()
            && match &event.event {
                Event::Message(message) => message.kind != MessageKind::Group,
                Event::Notice { .. } => true,
                _ => false,
            };
        // What nobody can be told now, and who was inside is not told again, goes the way of what nobody is inside to hear.
        if private && event.origin != Age::Backlog && self.served.is_down() {
            return Ok(false);
        }
        let stays = self.served.occupancy.of(of);
        let mut stays = stays.as_ref().map(|s| lock(s));
        let stay = stays.as_mut().and_then(|s| s.get(room)).filter(|stay| stay.is_known());
        let Some(stay) = stay.filter(|_| event.origin != Age::Backlog) else {
            // Nobody hears it now: it is for the archive alone.
            if let (Event::Message(message), Some(nick)) = (&event.event, nick)
                && message.kind == MessageKind::Group
            {
                let body = self.body(of, message);
                let occupant = self.occupant_id_of(of, room, nick);
                let payload = self.beside(of, room, event, message, &body).map(|(_, kept)| kept);
                let words = Words { body: &body, payload: payload.as_ref(), id: None };
                self.keep_line(of, room, nick, &occupant, event, (message, &words));
            }
            return Ok(!(private && event.origin != Age::Backlog));
        };
        let told = match &event.event {
            Event::Message(message) if nick.is_some() && message.kind != MessageKind::Group => {
                self.privately(of, stay, nick.unwrap_or_default(), event, message)
            }
            Event::Message(message) => self.aloud(of, stay, nick, event, message),
            Event::Notice { text, .. } => {
                let words = self.core.words(self.served, text, &self.core.languages.of(&of.user));
                match nick {
                    // Words beside a private conversation (XEP-0045 section 7.5), none that the occupant said to all.
                    Some(nick) => self.privately(of, stay, nick, event, &Message::chat(words)),
                    None => self.aloud(of, stay, None, event, &Message::group(words)),
                }
            }
            Event::Typing { on, private } if nick.is_some_and(|nick| !stay.is_own(nick)) => {
                let from = format!("{}/{}", stay.jid, crate::rooms::nick::spell(nick.unwrap_or_default()));
                self.tell(of, stay, Reach::Presence, |w, to| show::typing(w, &from, to, *on, *private))
            }
            _ => Ok(()),
        };
        told.map(|()| true)
    }

    /// To everybody. The first part of a reflection has the id that its client gave; all else gets one of ours.
    fn aloud(
        &self,
        of: &SessionOf,
        stay: &mut Stay,
        nick: Option<&str>,
        event: &Inbound,
        message: &Message,
    ) -> Result<(), Full> {
        let now = self.core.now();
        let body = self.body(of, message);
        if body.is_empty() {
            return Ok(());
        }
        let occupant = nick.map(|nick| {
            let nick = crate::rooms::nick::spell(nick);
            let mut jid = String::with_capacity(stay.jid.len() + 1 + nick.len());
            jid.push_str(&stay.jid);
            jid.push('/');
            jid.push_str(&nick);
            jid
        });
        let occupant_id = nick.map(|nick| self.occupant_id_of(of, &stay.room, nick));
        let (payload, for_archive) = self.beside(of, &stay.room, event, message, &body).unzip();
        // A line that has an id by the network is one line for all who hear it, whether it is kept for them or not.
        let place = Place::Room(log(&stay.room, &of.user, event.apart).into_owned());
        let known = event.id.as_ref().and_then(|id| self.served.archive().named_lately(&place, id));
        let kept_id = stay.take_stamp().or_else(|| {
            let (nick, occupant) = (nick?, occupant_id.as_ref()?);
            let id = known.as_ref().map(|name| name.id.as_str());
            let words = Words { body: &body, payload: for_archive.as_ref(), id };
            self.keep_line(of, &stay.room, nick, occupant, event, (message, &words))
        });
        let stanza_id = kept_id.or_else(|| known.as_ref().map(|name| name.id.clone()));
        let stanza_id = stanza_id.unwrap_or_else(|| fresh_stanza_id(now));
        let reflection = event.echo_of.as_ref().filter(|(_, part)| *part == 0).map(|(key, _)| key);
        let client = reflection.and_then(|key| stay.reflects(key));
        let (id, kept) = client.map_or((None, None), |(id, kept)| (id.cloned(), kept.cloned()));
        let jid = stay.jid.clone();
        let line = Line {
            from: occupant.as_deref().unwrap_or(&jid),
            id: id.as_deref().unwrap_or(&stanza_id),
            stanza_id: &stanza_id,
            body: &body,
            thread: message.thread.as_deref(),
            payload: payload.as_ref(),
            occupant_id: occupant_id.as_deref(),
            kept: kept.as_ref(),
            at: now.duration_since(event.at).is_ok_and(|age| age > FRESH).then_some(event.at),
        };
        let told = self.tell(of, stay, Reach::Message, |w, to| show::line(w, &jid, to, &line));
        if let Err(full) = told {
            stay.stamp(stanza_id);
            return Err(full);
        }
        if let Some(key) = reflection {
            stay.reflected(key);
        }
        // A line without an id by the network is only looked for by a correction that wants to know its words.
        let named = match event.id {
            Some(_) => event.echo_of.is_some() || known.is_none(),
            None => event.echo_of.is_some() && self.substitutes(of, &stay.room),
        };
        if named {
            let head = stay.head(event.echo_of.as_ref(), &stanza_id);
            let name = Name {
                id: stanza_id,
                head,
                foreign: event.id.clone(),
                writer: event.echo_of.as_ref().map(|_| of.user.clone()),
                client: id.as_deref().map(str::to_owned),
                nick: nick.map(str::to_owned),
                words: event.echo_of.as_ref().map(|_| message.body.as_str().into()),
                at: Some(event.at),
            };
            self.served.archive().name(&place, name);
        }
        Ok(())
    }

    /// What stands beside the words: as their hearers see it, and as it is kept.
    fn beside(
        &self,
        of: &SessionOf,
        room: &RoomId,
        event: &Inbound,
        message: &Message,
        body: &str,
    ) -> Option<(Fragment, Fragment)> {
        let refers = self.refers(of, room, event, message);
        match (refers, looks::beside(message, body)) {
            (Some((now, kept)), Some(looks)) => Some((now.and(&looks), kept.and(&looks))),
            (None, Some(looks)) => Some((looks.clone(), looks)),
            (refers, None) => refers,
        }
    }

    /// Whether corrections of this user are told as what changes in the words that were said.
    fn substitutes(&self, of: &SessionOf, room: &RoomId) -> bool {
        degrade::substitutes(&self.served.persons().in_room(of, room))
    }

    /// What a message refers to, as its hearers see it and as it is kept: those who wrote what is corrected know it by another id.
    fn refers(
        &self,
        of: &SessionOf,
        room: &RoomId,
        event: &Inbound,
        message: &Message,
    ) -> Option<(Fragment, Fragment)> {
        let meant = message.replaces.as_ref().or(message.reply_to.as_ref())?;
        let MessageRef::Foreign { id, .. } = meant else { return None };
        let place = Place::Room(log(room, &of.user, event.apart).into_owned());
        let name = self.served.archive().named_lately(&place, id)?;
        if message.replaces.is_some() {
            let own = name.client.as_deref().filter(|_| name.writer.as_ref() == Some(&of.user));
            return Some((aside::replace(own.unwrap_or(&name.id)), aside::replace(&name.id)));
        }
        let jid = self.served.jid(&Address::Room(room.clone()))?;
        let author = name.nick.as_deref().map_or_else(|| jid.clone(), |nick| self.occupant_jid(&jid, nick));
        let reply = aside::reply(&author, &name.id);
        Some((reply.clone(), reply))
    }

    /// To each resource in the room alone.
    fn privately(
        &self,
        of: &SessionOf,
        stay: &mut Stay,
        nick: &str,
        event: &Inbound,
        message: &Message,
    ) -> Result<(), Full> {
        let now = self.core.now();
        let body = self.body(of, message);
        if body.is_empty() {
            return Ok(());
        }
        let (jid, id) = (stay.jid.clone(), fresh_stanza_id(now));
        let from = format!("{jid}/{}", crate::rooms::nick::spell(nick));
        let at = now.duration_since(event.at).is_ok_and(|age| age > FRESH).then_some((event.at, &*jid));
        let looks = looks::beside(message, &body);
        let place = Place::Talk(of.user.clone(), event.from.clone());
        let answers = match &message.reply_to {
            Some(MessageRef::Foreign { id, .. }) => self.served.archive().named_lately(&place, id),
            _ => None,
        };
        let reply = answers.map(|name| {
            let own = || format!("{jid}/{}", crate::rooms::nick::spell(&stay.nick));
            aside::reply(&if name.writer.is_some() { own() } else { from.clone() }, &name.id)
        });
        self.tell(of, stay, Reach::Message, |w, to| {
            show::private(w, (&from, to), &id, (&body, [looks.as_ref(), reply.as_ref()]), at);
        })?;
        if event.id.is_some() {
            // What is said so is reacted to, answered and marked by this id.
            let foreign = event.id.clone();
            let name = Name { id: id.clone(), head: id, foreign, at: Some(event.at), ..Name::default() };
            self.served.archive().name(&place, name);
        }
        Ok(())
    }

    /// The words as they are shown to this user.
    fn body<'a>(&self, of: &SessionOf, message: &'a Message) -> Cow<'a, str> {
        if message.warning.is_none() && !message.action {
            return Cow::Borrowed(&message.body);
        }
        let lang = self.core.languages.of(&of.user);
        Cow::Owned(body_of(message, &|text| self.core.words(self.served, text, &lang)))
    }

    pub(super) fn occupant_id_of(&self, of: &SessionOf, room: &RoomId, nick: &str) -> Arc<str> {
        let view = self.served.known_room(of, room);
        match view.and_then(|view| look(&view).named(nick).map(|m| m.person.clone())) {
            Some(person) => self.served.speakers.id(room, person, |who| self.served.occupant_id(room, who)),
            None => self.served.occupant_id(room, nick).into(),
        }
    }

    /// The full JIDs to which a contact's words go: those in a room of its network. None: the bare JID.
    pub(in crate::gateway) fn present_on(&self, of: &SessionOf) -> Vec<Box<str>> {
        self.served.occupancy.of(of).map(|stays| lock(&stays).resources()).unwrap_or_default()
    }
}

/// Of the sender's stanza the reflection keeps the ids that others gave; one in the room's name is forged (XEP-0359 section 3.1).
pub(super) fn kept(heard: &Heard, room: &str) -> Option<Fragment> {
    let ids: Vec<(String, Option<String>, String)> = heard
        .stanza
        .children()
        .filter(|c| c.ns() == ns::SID && matches!(c.name(), "origin-id" | "stanza-id"))
        .filter_map(|c| {
            let by = c.attr("by").map(Cow::into_owned);
            Some((c.name().to_owned(), by, c.attr("id")?.into_owned()))
        })
        .filter(|(name, by, _)| name == "origin-id" || by.as_deref().is_some_and(|by| !by.eq_ignore_ascii_case(room)))
        .take(8)
        .collect();
    if ids.is_empty() {
        return None;
    }
    Some(Fragment::build(|w| {
        for (name, by, id) in &ids {
            w.open(if name == "origin-id" { "origin-id" } else { "stanza-id" }, Some(ns::SID));
            if let Some(by) = by {
                w.attr("by", by);
            }
            w.attr("id", id).close();
        }
    }))
}
