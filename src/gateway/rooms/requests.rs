//! Requests that go through a room: declined invitations (XEP-0045 section 7.8.2) and voice (sections 7.13 and 8.6).

use std::sync::Arc;

use isthmus_bridge::{Address, Intent, Message, RoomId, SessionOf, Text, Values};
use minidom::Element;

use super::{Rooms, look, origin};
use crate::gateway::live::Aim;
use crate::gateway::messages::lang;
use crate::gateway::receive::Heard;
use crate::rooms::occupancy::{Place, lock};
use crate::rooms::rank;
use crate::rooms::show;
use crate::router::{self, Party};
use crate::xmpp::errors::{ErrorType, StanzaError};
use crate::xmpp::{forms, ns};

/// The form of a request for voice.
const REQUEST: &str = "http://jabber.org/protocol/muc#request";

impl Rooms<'_> {
    /// An invitation was declined. On the far network that is said in words; a user of ours is told by the room, if they are in it.
    pub(super) fn decline(&self, heard: &Heard, room: &RoomId, decline: &Element) -> Result<(), StanzaError> {
        let inviter = decline.attr("to").and_then(Party::parse).ok_or_else(StanzaError::jid_malformed)?;
        let reason = decline.get_child("reason", ns::MUC_USER).map(Element::text).filter(|r| !r.is_empty());
        self.core.admit(self.served, heard)?;
        let jid = self.served.jid(&Address::Room(room.clone())).ok_or_else(StanzaError::jid_malformed)?;
        if inviter.domain() != &*self.served.instance.domain {
            let of = SessionOf::new(inviter.bare(), self.served.network(&heard.at));
            let inside = self.served.occupancy.of(&of).is_some_and(|stays| lock(&stays).get(room).is_some());
            if inside {
                let (to, from) = (inviter.bare(), heard.from.bare());
                self.tell_one(&of, |w| show::declined(w, &jid, to.as_str(), from.as_str(), reason.as_deref()));
            }
            return Ok(());
        }
        let who = router::address(self.served.instance.bridge.addressing(), &inviter);
        let who = who.map_err(|bad| StanzaError::from(&bad))?;
        let of = self.session(heard);
        if !matches!(who, Address::Contact(_) | Address::Occupant { .. }) || !self.is_on(&of, &who) {
            return Err(StanzaError::item_not_found());
        }
        let name = self.served.spoken(&Address::Room(room.clone())).unwrap_or(jid);
        let text = match &reason {
            Some(reason) => Text::key("say.declines-because").with("reason", reason),
            None => Text::key("say.declines"),
        };
        let words = self.core.words(self.served, &text.with("room", name), &lang(&heard.stanza));
        let intent = Intent::Send(Box::new(Message::chat(words)));
        self.wish(&of, who, intent, origin(heard, of.clone(), Aim::Say)).map(drop)
    }

    /// A form in a message to a room; false: it is not about voice.
    pub(super) fn voice(&self, heard: &Heard, room: &RoomId) -> Option<Result<(), StanzaError>> {
        let form = heard.stanza.child("x", ns::DATA)?.element().ok()?;
        let form = forms::from_xml(&form).ok().filter(|form| form.get("FORM_TYPE") == Some(REQUEST))?;
        Some(match form.bool("muc#request_allow") {
            Some(allowed) => self.grant(heard, room, &form, allowed),
            None => self.request(heard, room, &form),
        })
    }

    /// Somebody without voice asks for it: the moderators who can be asked are those among our users.
    fn request(&self, heard: &Heard, room: &RoomId, form: &Values) -> Result<(), StanzaError> {
        let of = self.session(heard);
        let outside = || StanzaError::not_acceptable().with(Text::key("error.room-not-inside"));
        let nick = self.insider(heard, &of, room).ok_or_else(outside)?;
        self.core.admit(self.served, heard)?;
        if form.get("muc#role").is_some_and(|role| role != "participant") {
            return Err(StanzaError::bad_request());
        }
        let jid = self.served.jid(&Address::Room(room.clone())).ok_or_else(StanzaError::jid_malformed)?;
        let mut asked = false;
        for (moderator, resources) in self.moderators(&of, room) {
            let lang = self.core.languages.of(&moderator.user);
            let title = self.core.words(self.served, &Text::key("room.voice-request").with("nick", &nick), &lang);
            for to in resources {
                asked = true;
                self.tell_one(&moderator, |w| show::voice(w, &jid, &to, &title, (heard.from.full(), &nick)));
            }
        }
        let nobody = || StanzaError::new(ErrorType::Cancel, "item-not-found").with(Text::key("error.no-moderator"));
        asked.then_some(()).ok_or_else(nobody)
    }

    /// A moderator's answer.
    fn grant(&self, heard: &Heard, room: &RoomId, form: &Values, allowed: bool) -> Result<(), StanzaError> {
        let of = self.session(heard);
        let outside = || StanzaError::not_acceptable().with(Text::key("error.room-not-inside"));
        self.insider(heard, &of, room).ok_or_else(outside)?;
        let nick = form.get("muc#roomnick").filter(|nick| !nick.is_empty()).ok_or_else(StanzaError::bad_request)?;
        if !allowed {
            return Ok(());
        }
        self.core.admit(self.served, heard)?;
        let who = Address::Occupant { room: room.clone(), nick: nick.to_owned() };
        let intent = Intent::SetRole { who, role: Some("participant".to_owned()), affiliation: None, reason: None };
        self.wish(&of, Address::Room(room.clone()), intent, origin(heard, of.clone(), Aim::Say)).map(drop)
    }

    /// Our users who moderate a room, with their resources in it.
    fn moderators(&self, asking: &SessionOf, room: &RoomId) -> Vec<(SessionOf, Vec<Arc<str>>)> {
        let mut all = Vec::new();
        for (of, stays) in self.served.occupancy.all() {
            if of.network != asking.network || of == *asking {
                continue;
            }
            let mut stays = lock(&stays);
            let Some(stay) = stays.get(room) else { continue };
            let Some(view) = self.served.known_room(&of, room) else { continue };
            let view = look(&view);
            let moderated = rank::modes(&view.modes).moderated;
            let role = view.named(&stay.nick).map(|member| rank::item(member.rank, moderated).role);
            if role == Some("moderator") {
                let inside = stay.inside.iter().filter(|r| matches!(r.place, Place::Inside)).map(|r| r.jid.clone());
                all.push((of, inside.collect()));
            }
        }
        all
    }
}
