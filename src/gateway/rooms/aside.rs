//! What happens in a room beside words: reactions, withdrawals, marks, both ways; and moderation (XEP-0425).

use isthmus_bridge::{Address, Event, Full, Inbound, Intent, MessageRef, Origin as Age, RoomId, SessionOf, Text};
use minidom::Element;
use tracing::{debug, warn};

use super::enter::held;
use super::talk::kept;
use super::{Reach, Rooms, look, origin};
use crate::archive::Said;
use crate::archive::apart::log;
use crate::archive::names::{Name, Place};
use crate::gateway::iq::{Answer, with};
use crate::gateway::live::Aim;
use crate::gateway::receive::Heard;
use crate::rooms::occupancy::{Phase, lock};
use crate::rooms::show::{self, Line};
use crate::rooms::{aside, fresh_stanza_id};
use crate::xmpp::errors::StanzaError;
use crate::xmpp::link::Fragment;
use crate::xmpp::privilege;

/// Something that is told to everybody.
struct Told {
    payload: Fragment,
    /// What is kept of it.
    kept: Option<Fragment>,
    /// For clients that do not know it.
    body: String,
    /// It has an id of the room.
    stamped: bool,
}

impl Rooms<'_> {
    /// The id of the occupant who sends a stanza; only who is inside is one.
    pub(in crate::gateway) fn own_occupant_id(
        &self,
        of: &SessionOf,
        heard: &Heard,
        room: &RoomId,
    ) -> Result<String, StanzaError> {
        let nick = self.insider(heard, of, room);
        let nick = nick.ok_or_else(|| StanzaError::not_acceptable().with(Text::key("error.room-not-inside")))?;
        Ok(self.occupant_id_of(of, room, &nick).to_string())
    }

    /// Hands a wish for everybody to the session; its reflection will have the stanza's id.
    pub(in crate::gateway) fn wish_inside(
        &self,
        heard: &Heard,
        of: &SessionOf,
        room: &RoomId,
        intent: Intent,
        aim: Aim,
    ) -> Result<(), StanzaError> {
        let outside = || StanzaError::not_acceptable().with(Text::key("error.room-not-inside"));
        let stays = self.served.occupancy.of(of).ok_or_else(outside)?;
        let mut stays = lock(&stays);
        let (stay, at) = stays.with(room, heard.from.full()).ok_or_else(outside)?;
        stay.inside[at].heard(self.core.instant());
        match stay.phase {
            Phase::Inside => {}
            Phase::Held(_) => return Err(held()),
            _ => return Err(outside()),
        }
        let kept = kept(heard, &stay.jid);
        let origin = origin(heard, of.clone(), aim);
        let id = origin.id.clone();
        let key = self.wish(of, heard.at.clone(), intent, origin)?;
        stay.sends(key, id, kept);
        Ok(())
    }

    /// A moderator withdraws somebody's words (XEP-0425): the network decides whether they may.
    pub(super) async fn moderate(&self, heard: &Heard, room: &RoomId, wish: &Element) -> Answer {
        let of = self.session(heard);
        self.own_occupant_id(&of, heard, room)?;
        if !self.served.abilities(&of).retractions {
            return Err(StanzaError::new(crate::xmpp::errors::ErrorType::Cancel, "feature-not-implemented"));
        }
        let (id, reason) = aside::moderation(wish).ok_or_else(StanzaError::bad_request)?;
        self.core.admit(self.served, heard)?;
        let parts = self.served.archive().by_id(&Place::Room(self.served.log_of(&of, room)), &id).await;
        let parts = parts.map_err(|e| StanzaError::from(&e))?;
        if parts.is_empty() {
            return Err(StanzaError::item_not_found());
        }
        for foreign in parts.into_iter().filter_map(|part| part.foreign) {
            let of_it = MessageRef::foreign(of.network.clone(), foreign);
            self.done(heard, &of, room, Intent::Retract { of: of_it, reason: reason.clone() }).await?;
        }
        with(|_| {})
    }

    /// Something happened to a message that was said in a room.
    pub(in crate::gateway) async fn aside(
        &self,
        of: &SessionOf,
        room: &RoomId,
        nick: Option<&str>,
        event: &Inbound,
        name: &Name,
    ) {
        let occupant = nick.map(|nick| self.occupant_id_of(of, room, nick));
        let Some(told) = self.told(of, room, occupant.as_deref(), event, name).await else { return };
        if event.origin == Age::Backlog {
            return;
        }
        if matches!(event.event, Event::Marked { .. }) && event.echo_of.is_none() {
            self.publish_read(of, room, nick, name);
        }
        let stanza_id = told.kept.as_ref().and_then(|kept| {
            let payload = kept.text();
            let said = Said {
                room: &log(room, &of.user, event.apart),
                nick,
                occupant: occupant.as_ref(),
                body: "",
                thread: None,
                payload: Some(&payload),
                id: None,
                foreign: event.id.as_ref().map(|id| id.as_str()),
                at: event.at,
            };
            self.served.archive().hears(&of.user, &said)
        });
        let stanza_id = stanza_id.unwrap_or_else(|| fresh_stanza_id(self.core.now()));
        while let Err(Full) = self.tell_aside(of, room, nick, event, &told, (&stanza_id, occupant.as_deref())) {
            tokio::select! {
                () = self.served.link().room(self.served.lane(of)) => tokio::task::yield_now().await,
                () = self.core.stop.cancelled() => return,
            }
        }
    }

    /// XEP-0490: what another program of the user's has shown is read for all their devices, where their server lets us say so (XEP-0356).
    fn publish_read(&self, of: &SessionOf, room: &RoomId, nick: Option<&str>, name: &Name) {
        let own = |nick: &str| self.served.known_room(of, room).is_some_and(|view| look(&view).nick() == nick);
        if !nick.is_some_and(own) || !self.served.may_publish(&of.user) {
            return;
        }
        let Some(jid) = self.served.jid(&Address::Room(room.clone())) else { return };
        let payload = privilege::displayed(&jid, &name.id);
        let (core, served, user) = (self.core.clone(), self.served.clone(), of.user.clone());
        self.core.tasks.spawn(async move {
            if let Err(error) = core.ask_as(&served, &user, "set", &payload).await {
                debug!(bridge = %served.instance.name, %error, "what a user has read could not be published");
            }
        });
    }

    /// What is told of an event.
    async fn told(
        &self,
        of: &SessionOf,
        room: &RoomId,
        occupant: Option<&str>,
        event: &Inbound,
        name: &Name,
    ) -> Option<Told> {
        let (archive, log) = (self.served.archive(), log(room, &of.user, event.apart));
        Some(match &event.event {
            Event::Marked { .. } => {
                Told { payload: aside::displayed(&name.id), kept: None, body: String::new(), stamped: false }
            }
            Event::Reacted { add, remove, .. } => {
                let place = Place::Room(log.into_owned());
                let all = archive.react_by(&place, &name.id, occupant?, add.clone(), remove.clone()).await;
                let all = all.inspect_err(|e| warn!(error = %e, "a reaction could not be kept")).ok()?;
                let payload = aside::reactions(&name.id, &all);
                Told { kept: Some(payload.clone()), payload, body: String::new(), stamped: true }
            }
            Event::Retracted { by, reason, .. } => {
                archive.withdraw(&log, &name.id);
                let by = by.as_ref().and_then(|by| self.served.jid(by));
                let write = |fallback| aside::retract(&name.id, by.as_deref(), reason.as_deref(), fallback);
                let text = Text::key(if by.is_some() { "room.moderated" } else { "room.withdrawn" });
                let body = self.core.words(self.served, &text, &self.core.languages.of(&of.user));
                Told { payload: write(true), kept: Some(write(false)), body, stamped: true }
            }
            _ => return None,
        })
    }

    fn tell_aside(
        &self,
        of: &SessionOf,
        room: &RoomId,
        nick: Option<&str>,
        event: &Inbound,
        told: &Told,
        (stanza_id, occupant_id): (&str, Option<&str>),
    ) -> Result<(), Full> {
        let Some(stays) = self.served.occupancy.of(of) else { return Ok(()) };
        let mut stays = lock(&stays);
        let Some(stay) = stays.get(room).filter(|stay| stay.is_known()) else { return Ok(()) };
        let reflection = event.echo_of.as_ref().map(|(key, _)| key);
        let client = reflection.and_then(|key| stay.reflects(key));
        let (id, kept) = client.map_or((None, None), |(id, kept)| (id.cloned(), kept.cloned()));
        let jid = stay.jid.clone();
        let from = nick.map(|nick| format!("{jid}/{}", crate::rooms::nick::spell(nick)));
        let line = Line {
            from: from.as_deref().unwrap_or(&jid),
            id: id.as_deref().unwrap_or(stanza_id),
            stanza_id,
            body: &told.body,
            thread: None,
            payload: Some(&told.payload),
            occupant_id,
            kept: kept.as_ref(),
            at: None,
        };
        self.tell(of, stay, Reach::Message, |w, to| match told.stamped {
            true => show::line(w, &jid, to, &line),
            false => show::mark(w, to, &line),
        })?;
        if let Some(key) = reflection {
            stay.reflected(key);
        }
        Ok(())
    }

    /// The address of an occupant, for who names one by nick.
    pub(super) fn occupant_jid(&self, room: &str, nick: &str) -> String {
        format!("{room}/{}", crate::rooms::nick::spell(nick))
    }
}
