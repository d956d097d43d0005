//! Questions to rooms and occupants: discovery, self-pings (XEP-0410), what the far side knows of somebody.

use isthmus_bridge::query::{Part, ProbeKind, ReplySink};
use isthmus_bridge::room::Standing;
use isthmus_bridge::{
    Address, Ask, DeliveryError, Failure, Intent, Outbound, Query, Reply, RoomId, SessionOf, Text, Values, Work,
};
use minidom::Element;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

use super::search::SEARCH;
use super::{Rooms, clock, look};
use crate::archive::query::MAM;
use crate::gateway::iq::{Answer, with};
use crate::gateway::live::LONGEST;
use crate::gateway::messages::lang;
use crate::gateway::receive::Heard;
use crate::rooms::aside::MODERATE;
use crate::rooms::info::{self, Known, OWN_NICK};
use crate::rooms::occupancy::{Place, lock};
use crate::rooms::{admin, nick, rank};
use crate::storage::fresh_id;
use crate::translate::outbound::FASTEN;
use crate::xmpp::errors::{ErrorType, StanzaError};
use crate::xmpp::link::Child;
use crate::xmpp::xml::Xml;
use crate::xmpp::{disco, ns, reply};

impl Rooms<'_> {
    /// Whether a question is one that rooms answer; the rest is answered as everywhere.
    pub(in crate::gateway) fn answers(&self, heard: &Heard, payload: &Child<'_>) -> bool {
        let node = payload.attr("node");
        match (&heard.at, payload.name(), payload.ns()) {
            (Address::Occupant { .. }, _, ns::COMMANDS) => false,
            // Under a node stands what was hashed, or is asked of commands. A client that asks after everybody in a room at once hears what they serve
            // and no more: else its user's own words would wait behind the questions to the network.
            (Address::Occupant { .. }, _, ns::DISCO_INFO) => {
                node.is_none() && self.core.pending.of(&heard.from.bare()) < ABOUT_AT_ONCE
            }
            (Address::Occupant { .. }, _, ns::DISCO_ITEMS) => false,
            (Address::Occupant { .. }, ..) => true,
            (Address::Room(_), "query", ns::DISCO_INFO) => node.is_none_or(|node| node == OWN_NICK),
            (Address::Room(_), "query", ns::DISCO_ITEMS) => node.is_none(),
            (Address::Room(_), "query", admin::ADMIN | admin::OWNER) => true,
            (Address::Room(_), "query" | "metadata", MAM) => true,
            (Address::Room(_), "moderate", MODERATE) | (Address::Room(_), "apply-to", FASTEN) => true,
            (Address::Network(_), "query", ns::DISCO_ITEMS) => node.is_none(),
            (Address::Gateway, "query", ns::DISCO_ITEMS) => node.is_none(),
            (Address::Network(_), "query", SEARCH) => true,
            (Address::Gateway, "query", SEARCH) => !self.served.profile().networks,
            _ => false,
        }
    }

    /// The answer; may take as long as the network takes.
    pub(in crate::gateway) async fn answer(&self, heard: &Heard) -> Answer {
        let payload = heard.stanza.children().find(|c| c.ns() != ns::CLIENT).ok_or_else(StanzaError::bad_request)?;
        let get = heard.stanza.type_() == Some("get");
        let room = match &heard.at {
            Address::Occupant { room, nick } if get && payload.ns() == ns::DISCO_INFO => {
                return self.occupant_info(heard, room, nick).await;
            }
            Address::Occupant { room, nick } => return self.of_occupant(heard, &payload, room, nick, get).await,
            Address::Room(room) => room,
            _ if payload.ns() == SEARCH => return self.search(heard, &payload, get).await,
            _ if !get => return Err(StanzaError::not_allowed()),
            Address::Network(_) => return self.listing(heard, &payload).await,
            _ if !self.served.profile().networks => return self.listing(heard, &payload).await,
            _ => return self.places(heard),
        };
        match (payload.ns(), get) {
            (ns::DISCO_INFO, true) if payload.attr("node").is_some() => self.own_nick(heard, room),
            (ns::DISCO_INFO, true) => self.room_info(heard, room),
            (ns::DISCO_ITEMS, true) => self.room_items(heard, room),
            (admin::ADMIN, true) => self.lists(heard, room, &element(&payload)?).await,
            (admin::ADMIN, false) => self.changes(heard, room, &element(&payload)?).await,
            (MODERATE | FASTEN, false) => self.moderate(heard, room, &element(&payload)?).await,
            (MAM, get) => self.archived(heard, room, &element(&payload)?, get).await,
            (admin::OWNER, true) => self.configuration(heard, room).await,
            (admin::OWNER, false) => self.configure(heard, room, &element(&payload)?).await,
            _ => Err(StanzaError::not_allowed()),
        }
    }

    /// Whether the asking resource is inside; then it has shown that it is there.
    pub(super) fn insider(&self, heard: &Heard, of: &SessionOf, room: &RoomId) -> Option<Box<str>> {
        let stays = self.served.occupancy.of(of)?;
        let mut stays = lock(&stays);
        let (stay, at) = stays.with(room, heard.from.full())?;
        stay.inside[at].heard(self.core.instant());
        // Who has only asked to come in is not inside (XEP-0410 section 3).
        (!matches!(stay.inside[at].place, Place::Waiting(_))).then(|| stay.nick.clone())
    }

    /// What the view says of a room, before and while somebody is inside.
    fn known(&self, heard: &Heard, room: &RoomId) -> Known {
        let of = self.session(heard);
        let name = self.served.spoken(&heard.at).unwrap_or_else(|| room.to_string());
        let mut known = Known { name, recorded: self.records(&of, room), ..Known::default() };
        let inside = self.insider(heard, &of, room).is_some();
        if let Some(view) = self.served.known_room(&of, room) {
            let view = look(&view);
            if view.standing == Standing::Inside {
                known.modes = rank::modes(&view.modes);
                known.subject = Some(view.subject.words.clone());
                known.occupants = inside.then(|| view.members().len());
            }
        }
        known
    }

    fn room_info(&self, heard: &Heard, room: &RoomId) -> Answer {
        let mut profile = self.served.profile().clone();
        // Moderation (XEP-0425) is announced where this user's connection can withdraw.
        profile.retractions = self.served.abilities(&self.session(heard)).retractions;
        let info = info::info(&profile, &self.known(heard, room));
        with(move |xml| disco::write_info(xml, None, &info))
    }

    /// The nick that they have, or would have.
    fn own_nick(&self, heard: &Heard, room: &RoomId) -> Answer {
        let of = self.session(heard);
        let configured = self.served.persons().resolved(&of.user, &heard.at).get("nick").map(str::to_owned);
        // One has one nick on a network, whichever device asks, and of whichever room.
        let nick = self.insider(heard, &of, room).map(String::from).or_else(|| self.nick_on(&of)).or(configured);
        let nick = nick.or_else(|| heard.from.local().map(str::to_owned)).unwrap_or_default();
        with(move |xml| {
            xml.open("query", ns::DISCO_INFO).attr("node", OWN_NICK);
            xml.open("identity", "").attr("category", "conference").attr("type", "text").attr("name", &nick).close();
            xml.close();
        })
    }

    /// The nick of a session that is inside any room.
    fn nick_on(&self, of: &SessionOf) -> Option<String> {
        let views = self.served.rooms_of(of).into_iter().filter_map(|room| self.served.known_room(of, &room));
        let mut nicks = views.filter_map(|view| {
            let view = look(&view);
            (view.standing == Standing::Inside).then(|| view.nick().to_owned())
        });
        nicks.next()
    }

    /// Who is inside is told to who is inside.
    fn room_items(&self, heard: &Heard, room: &RoomId) -> Answer {
        let of = self.session(heard);
        let mut items = Vec::new();
        if self.insider(heard, &of, room).is_some()
            && let (Some(view), Some(jid)) = (self.served.known_room(&of, room), self.served.jid(&heard.at))
        {
            let view = look(&view);
            items.extend(
                view.members().iter().map(|m| (format!("{jid}/{}", nick::spell(m.nick())), m.nick().to_owned())),
            );
        }
        with(move |xml| write_items(xml, &items))
    }

    /// On the gateway: the user's networks, and the rooms that they are in.
    fn places(&self, heard: &Heard) -> Answer {
        let user = heard.from.bare();
        let mut items = Vec::new();
        for of in self.served.sessions().of(&user) {
            if let Some(jid) = self.served.jid(&Address::Network(of.network.clone())) {
                items.push((jid, of.network.to_string()));
            }
        }
        for (_, stays) in self.served.occupancy.of_user(&user) {
            items.extend(lock(&stays).list.iter().map(|stay| {
                let name = self.served.spoken(&Address::Room(stay.room.clone())).unwrap_or_default();
                (stay.jid.to_string(), name)
            }));
        }
        items.sort();
        items.dedup();
        with(move |xml| write_items(xml, &items))
    }

    /// What an occupant serves, and beside it what the far side knows of them (XEP-0128), where it says so soon.
    async fn occupant_info(&self, heard: &Heard, room: &RoomId, asked: &str) -> Answer {
        let of = self.session(heard);
        let nick = match self.served.known_room(&of, room) {
            Some(view) => nick::meant(&look(&view), asked).to_owned(),
            None => asked.to_owned(),
        };
        let mut info = self.served.info(&heard.at, &nick, &self.core.contact);
        if self.insider(heard, &of, room).is_some() {
            let about = self.about(&of, Address::Occupant { room: room.clone(), nick });
            if let Ok(Ok(facts)) = tokio::time::timeout(ABOUT_SOON, about).await
                && !facts.is_empty()
            {
                let fields = facts.iter().map(|(key, values)| (key.to_owned().into(), values.to_vec()));
                info.forms.push((disco::ABOUT, fields.collect()));
            }
        }
        with(move |xml| disco::write_info(xml, None, &info))
    }

    /// Somebody inside: the self-ping is answered at once, all else is asked of the far side.
    async fn of_occupant(&self, heard: &Heard, payload: &Child<'_>, room: &RoomId, asked: &str, get: bool) -> Answer {
        let of = self.session(heard);
        let Some(own) = self.insider(heard, &of, room) else {
            return Err(StanzaError::new(ErrorType::Cancel, "not-acceptable").with(Text::key("error.room-not-inside")));
        };
        if !get {
            return Err(StanzaError::service_unavailable());
        }
        let nick = match self.served.known_room(&of, room) {
            Some(view) => nick::meant(&look(&view), asked).to_owned(),
            None => asked.to_owned(),
        };
        let is_own = own.eq_ignore_ascii_case(&nick);
        let at = Address::Occupant { room: room.clone(), nick: nick.clone() };
        match (payload.name(), payload.ns()) {
            ("ping", ns::PING) if is_own => with(|_| {}),
            ("ping", ns::PING) => self.probe(&of, at, ProbeKind::Ping).await.and_then(|_| with(|_| {})),
            ("query", ns::VERSION) => {
                let words = self.probe(&of, at, ProbeKind::Version).await?;
                with(move |xml| {
                    xml.open("query", ns::VERSION).leaf("name", "", &words).leaf("version", "", "").close();
                })
            }
            // A time in the words of some program may be none by XEP-0202: then the words are all there is.
            ("time", ns::TIME) => {
                let words = self.probe(&of, at, ProbeKind::Time).await?;
                if let Some((time, zone)) = clock::read(&words) {
                    return with(move |xml| reply::time(xml, time, &zone));
                }
                Err(StanzaError::new(ErrorType::Cancel, "feature-not-implemented").with(Text::plain(words)))
            }
            ("query", ns::LAST) => {
                let facts = self.about(&of, at).await?;
                let seconds = facts.get("idle").and_then(|s| s.trim().parse().ok());
                let seconds = seconds.ok_or_else(StanzaError::service_unavailable)?;
                with(move |xml| reply::last(xml, seconds))
            }
            ("vCard", ns::VCARD) => {
                let facts = self.about(&of, at).await?;
                with(move |xml| {
                    xml.open("vCard", ns::VCARD).leaf("FN", "", facts.get("realname").unwrap_or(&nick));
                    xml.leaf("NICKNAME", "", &nick).leaf("DESC", "", &described(&facts)).close();
                })
            }
            ("vcard", ns::VCARD4) => {
                let facts = self.about(&of, at).await?;
                with(move |xml| {
                    xml.open("vcard", ns::VCARD4);
                    let name = facts.get("realname").unwrap_or(&nick);
                    for (field, value) in [("fn", name), ("nickname", &nick), ("note", &described(&facts))] {
                        xml.open(field, "").leaf("text", "", value).close();
                    }
                    xml.close();
                })
            }
            _ => Err(StanzaError::service_unavailable()),
        }
    }

    /// Asks the far side something; gives its words, if it says any.
    async fn probe(&self, of: &SessionOf, at: Address, what: ProbeKind) -> Result<String, StanzaError> {
        let parts = self.question(of, Query::Probe { of: at, what }).await?;
        let words = parts.into_iter().find_map(|part| match part {
            Part::Words(words) => Some(self.core.words(self.served, &words, &self.core.languages.of(&of.user))),
            _ => None,
        });
        Ok(words.unwrap_or_default())
    }

    async fn about(&self, of: &SessionOf, at: Address) -> Result<Values, StanzaError> {
        Ok(facts(self.question(of, Query::About(at)).await?))
    }

    /// Asks a session that runs, and waits for the whole answer.
    pub(super) async fn question(&self, of: &SessionOf, query: Query) -> Result<Vec<Part>, StanzaError> {
        if !self.served.sessions().runs(of) {
            return Err(StanzaError::new(ErrorType::Wait, "recipient-unavailable"));
        }
        self.question_anew(of, query).await
    }

    /// The same of a session that is started for it, if need be.
    pub(in crate::gateway) async fn question_anew(
        &self,
        of: &SessionOf,
        query: Query,
    ) -> Result<Vec<Part>, StanzaError> {
        if let Some(error) = self.core.too_many_sessions(&of.user, self.served, of) {
            return Err(error);
        }
        let (back, answer) = oneshot::channel();
        let sink = Collected { parts: Vec::new(), back: Mutex::new(Some(back)) };
        self.put(of, query, Box::new(sink))?;
        match tokio::time::timeout(LONGEST, answer).await {
            Ok(Ok((parts, Ok(())))) => Ok(parts),
            Ok(Ok((_, Err(error)))) => Err(StanzaError::from(&error)),
            _ => {
                let silent = DeliveryError::new(Failure::TimedOut, Text::key("error.no-answer"));
                Err(StanzaError::from(&silent))
            }
        }
    }

    /// Puts a question into a session's inbox, starting the session if need be.
    pub(super) fn put(&self, of: &SessionOf, query: Query, sink: Box<dyn ReplySink>) -> Result<(), StanzaError> {
        let work = Work::Ask(Box::new(Ask::new(query, Reply::new(sink))));
        self.served
            .sessions()
            .push(of, work)
            .map_err(|_| StanzaError::resource_constraint().with(Text::key("error.busy")))
    }

    /// Has a session do something, and waits until it is done.
    pub(super) async fn done(
        &self,
        heard: &Heard,
        of: &SessionOf,
        room: &RoomId,
        intent: Intent,
    ) -> Result<(), StanzaError> {
        let key = isthmus_bridge::DeliveryKey::new(fresh_id());
        let mut event = Outbound::new(key, of.user.clone(), Address::Room(room.clone()), intent);
        event.lang = lang(&heard.stanza);
        event.at = self.core.now_millis();
        self.core.carried_out(self.served, of, event).await.map_err(|error| StanzaError::from(&error))
    }
}

/// How many questions of a user may be under way when the far side is asked for what is only said beside the answer.
const ABOUT_AT_ONCE: usize = 3;
/// How long the answer waits for it.
const ABOUT_SOON: Duration = Duration::from_secs(5);

/// All parts, and how it ended.
type Whole = (Vec<Part>, Result<(), DeliveryError>);

/// An answer as it comes in.
struct Collected {
    parts: Vec<Part>,
    back: Mutex<Option<oneshot::Sender<Whole>>>,
}

/// Parts of one answer, at most: a list of bans may be long, but not without end.
const PARTS: usize = 10_000;

impl ReplySink for Collected {
    fn part(&mut self, part: Part) {
        if self.parts.len() < PARTS {
            self.parts.push(part);
        }
    }

    fn end(&mut self, result: Result<(), DeliveryError>) {
        if let Some(back) = self.back.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Whoever asked has given up: then nobody wants to know.
            drop(back.send((std::mem::take(&mut self.parts), result)));
        }
    }

    fn wanted(&self) -> bool {
        self.parts.len() < PARTS
    }
}

pub(super) fn facts(parts: Vec<Part>) -> Values {
    let mut all = Values::new();
    for part in parts {
        if let Part::Facts(values) = part {
            for (key, values) in values.iter() {
                all.set_all(key, values.to_vec());
            }
        }
    }
    all
}

/// What the network says of somebody, a line each.
fn described(facts: &Values) -> String {
    facts.iter().map(|(key, values)| format!("{key}: {}", values.join(", "))).collect::<Vec<_>>().join("\n")
}

pub(super) fn write_items(xml: &mut Xml, items: &[(String, String)]) {
    xml.open("query", ns::DISCO_ITEMS);
    for (jid, name) in items {
        xml.open("item", "").attr("jid", jid).attr("name", name).close();
    }
    xml.close();
}

pub(super) fn element(payload: &Child<'_>) -> Result<Element, StanzaError> {
    payload.element().map_err(|_| StanzaError::bad_request())
}
