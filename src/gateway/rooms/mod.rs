//! The MUC service: between users' stanzas, the sessions that are in rooms for them, and the link.
//!
//! | file | what |
//! |---|---|
//! | `enter` | who comes, goes, is renamed or away |
//! | `list` | the list of occupants for who comes in, in pieces |
//! | `farewells` | who was put out while nobody could be told |
//! | `happen` | what sessions tell of rooms |
//! | `talk` | messages, both ways |
//! | `ask` | questions to rooms and occupants |
//! | `aside` | reactions, withdrawals, marks, both ways; moderation |
//! | `admin` | roles, affiliations, bans, configuration |
//! | `history` | the archive, and the last lines for who comes in |
//! | `listing` | the rooms of a network, page by page |
//! | `requests` | declined invitations, voice |
//! | `roles` | roles that change with the room |
//! | `search` | rooms by a part of their names |
//! | `speakers` | ids of those who spoke a moment ago |
//! | `watch` | what time does: held rooms, ghosts, sessions that ended; the stop |
//!
//! Locks are taken in this order and never across an `.await`: the rooms of a session, the view of a room, the link's output.

mod admin;
mod aside;
mod ask;
mod clock;
mod enter;
mod farewells;
mod happen;
mod history;
mod list;
mod listing;
mod requests;
mod roles;
mod search;
mod speakers;
mod talk;
mod watch;

pub(super) use farewells::Farewells;
pub(super) use listing::Listings;
pub(super) use speakers::Speakers;

use std::sync::{Arc, MutexGuard, PoisonError};

use isthmus_bridge::room::{Hat, Member, People, Rank, RoomView};
use isthmus_bridge::{
    Address, Delivery, DeliveryKey, Full, Intent, Lang, Outbound, RoomId, SessionOf, Text, Ticket, Work,
};

use super::core::{Core, Served};
use super::live::{Aim, LONGEST, Origin};
use super::messages::lang;
use super::receive::Heard;
use crate::rooms::occupancy::{Knock, Place, Stay};
use crate::rooms::rank;
use crate::rooms::show::Stage;
use crate::storage::fresh_key;
use crate::xmpp::errors::StanzaError;
use crate::xmpp::link::{NotSent, Rendered, StanzaWriter};
use crate::xmpp::{ns, xml::Xml};

/// The room service of one bridge.
pub(super) struct Rooms<'a> {
    core: &'a Arc<Core>,
    served: &'a Arc<Served>,
}

/// Whom a stanza of a room reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Everybody, also who is still being told who is inside: a presence is right at any time.
    Presence,
    /// Who is inside; who still comes gets it after the subject.
    Message,
}

impl Core {
    /// The room service of a bridge.
    pub(super) fn rooms<'a>(self: &'a Arc<Self>, served: &'a Arc<Served>) -> Rooms<'a> {
        Rooms { core: self, served }
    }
}

impl Rooms<'_> {
    /// The session that serves an address for the sender.
    fn session(&self, heard: &Heard) -> SessionOf {
        SessionOf::new(heard.from.bare(), self.served.network(&heard.at))
    }

    /// What all stanzas of a room have in common.
    fn staged<R>(&self, of: &SessionOf, room: &RoomId, jid: &str, modes: &str, f: impl FnOnce(&Stage<'_>) -> R) -> R {
        let served = self.served;
        let person = |nick: &str| {
            let contact = served.instance.bridge.addressing().person(room, nick)?;
            served.jid(&Address::Contact(contact))
        };
        let occupant_id = |who: &str| served.occupant_id(room, who);
        let moderated = rank::modes(modes).moderated;
        let hat = |hat: &Hat| {
            // `urn:isthmus:hats:bot` is called what the texts say under `hat.bot`.
            let key = format!("hat.{}", hat.uri.rsplit(':').next().unwrap_or_default());
            self.core.words(served, &Text::key(key), &self.core.languages.of(&of.user))
        };
        f(&Stage { jid, moderated, person: &person, occupant_id: &occupant_id, hat: &hat })
    }

    /// Writes one stanza for each resource of a stay, all or none.
    fn tell(
        &self,
        of: &SessionOf,
        stay: &mut Stay,
        reach: Reach,
        write: impl Fn(&mut StanzaWriter<'_>, &str),
    ) -> Result<(), Full> {
        let now = |place: &Place| match place {
            Place::Inside => true,
            Place::Arriving(_) => reach == Reach::Presence,
            Place::Waiting(_) => false,
        };
        if stay.inside.iter().any(|r| now(&r.place)) {
            self.written(self.served.link().write(self.served.lane(of), |w| {
                for resource in stay.inside.iter().filter(|r| now(&r.place)) {
                    self.served.counters.sent();
                    write(w, &resource.jid);
                }
            }))?;
        }
        if reach == Reach::Message {
            for resource in stay.inside.iter_mut().filter(|r| matches!(r.place, Place::Arriving(_))) {
                if let Some(rendered) = self.rendered(|w| write(w, &resource.jid)) {
                    resource.later(&rendered);
                }
            }
        }
        Ok(())
    }

    /// Writes to one resource; what cannot be written is lost.
    fn tell_one(&self, of: &SessionOf, write: impl FnOnce(&mut StanzaWriter<'_>)) {
        match self.served.link().write(self.served.lane(of), write) {
            Ok(()) => self.served.counters.sent(),
            Err(e) => self.served.counters.lost(&e, &self.served.instance.name),
        }
    }

    /// Only a full lane is worth another try: without a stream, what is live is lost.
    fn written(&self, result: Result<(), NotSent>) -> Result<(), Full> {
        match result {
            Ok(()) => Ok(()),
            Err(NotSent::Full) => Err(Full),
            Err(e) => {
                self.served.counters.lost(&e, &self.served.instance.name);
                Ok(())
            }
        }
    }

    /// A stanza for later.
    fn rendered(&self, write: impl FnOnce(&mut StanzaWriter<'_>)) -> Option<Rendered> {
        let mut out = Vec::with_capacity(512);
        let mut writer = StanzaWriter::new(&mut out, &self.served.instance.domain, self.core.limits.max_stanza);
        write(&mut writer);
        writer.finish().ok()?;
        Rendered::parse(&out).ok()
    }

    /// Hands a wish to the session of a room. `Err`: it is too busy; then nobody was told yet.
    pub(super) fn wish(
        &self,
        of: &SessionOf,
        to: Address,
        intent: Intent,
        origin: Origin,
    ) -> Result<DeliveryKey, StanzaError> {
        let key = fresh_key();
        let mut event = Outbound::new(key.clone(), of.user.clone(), to, intent);
        event.lang = origin.lang.clone();
        event.at = self.core.now_millis();
        // A join may have to wait for the connection; what else hangs is noticed by the bridge's own measure.
        let patience = match origin.aim {
            Aim::Join(_) => LONGEST,
            _ => self.served.profile().answer_within.min(LONGEST),
        };
        let place = self.served.live().expect(key.clone(), origin, tokio::time::Instant::now() + patience);
        let ticket = Ticket::new(key.clone(), place, self.served.live().clone());
        match self.served.sessions().push(of, Work::Deliver(Box::new(Delivery::new(event, ticket)))) {
            Ok(()) => Ok(key),
            Err(back) => {
                // Forgotten first: dropping the work answers its ticket, and the sender shall get one error.
                self.served.live().forget(place, &key);
                drop(back);
                Err(StanzaError::resource_constraint().with(Text::key("error.busy")))
            }
        }
    }

    /// The same for a wish that nobody waits for.
    pub(super) fn wish_quietly(&self, of: &SessionOf, to: Address, intent: Intent, aim: Aim) -> bool {
        let origin = Origin {
            from: of.user.as_str().into(),
            to: "".into(),
            id: None,
            element: "presence",
            lang: Lang::unsaid(),
            of: of.clone(),
            aim,
            said: None,
        };
        self.wish(of, to, intent, origin).is_ok()
    }

    /// Answers joins that failed, each at its own resource.
    fn refuse(&self, knocks: Vec<(Arc<str>, Knock)>, error: &StanzaError) {
        for (full, knock) in knocks {
            let lang = error.text.as_ref().and_then(|_| self.core.spoken_late(self.served, &knock.lang));
            let words = |text: &Text| self.core.words(self.served, text, &knock.lang);
            self.core.send_text(self.served, &join_error(&knock, &full, error, lang.as_deref(), words));
        }
    }
}

/// The error of a join; clients find out by the `<x/>` that it was one (XEP-0045 section 7.2).
fn join_error(
    knock: &Knock,
    full: &str,
    error: &StanzaError,
    lang: Option<&str>,
    words: impl FnOnce(&Text) -> String,
) -> String {
    let mut xml = Xml::stanza("presence");
    xml.attr("type", "error").attr("from", &knock.to).attr("to", full).attr_opt("id", knock.id.as_deref());
    xml.attr_opt("xml:lang", lang);
    xml.empty("x", ns::MUC);
    error.write_coded(&mut xml, words);
    xml.finish()
}

/// Who asked for something, for its answer.
pub(super) fn origin(heard: &Heard, of: SessionOf, aim: Aim) -> Origin {
    Origin {
        from: heard.from.shared(),
        to: heard.to.shared(),
        // An empty one is none: nothing could refer to it.
        id: heard.stanza.id().filter(|id| !id.is_empty()).map(Into::into),
        element: heard.stanza.kind().name(),
        lang: lang(&heard.stanza),
        of,
        aim,
        said: None,
    }
}

/// The lock of a room's view. A session that panicked under it leaves at worst an old view.
fn look(view: &std::sync::Mutex<RoomView>) -> MutexGuard<'_, RoomView> {
    view.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The member of this nick; somebody without rank where the view does not have them (any more).
fn member(view: &RoomView, nick: &str) -> Member {
    view.named(nick).cloned().unwrap_or_else(|| Member { person: People::default().intern(nick), rank: Rank::NONE })
}
