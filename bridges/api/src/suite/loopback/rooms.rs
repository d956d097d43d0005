//! Rooms of Loopback: one state for all sessions. Every change is made under one short lock, in every view that it concerns; the events that it
//! makes are emitted afterwards.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::address::name_of;
use super::session::unsupported;
use super::{Loopback, emit};
use crate::address::{Address, NetworkId, RoomId};
use crate::error::{DeliveryError, Failure};
use crate::host::{Host, MessageRef, SessionOf};
use crate::inbound::{Departure, Event, Inbound, RoomChange};
use crate::message::{DeliveryKey, ForeignMessageId, Message, MessageKind};
use crate::outbound::{Intent, Outbound};
use crate::query::{Part, Reply};
use crate::room::{People, Rank, RoomView, Subject};
use crate::settings::Values;
use crate::text::Text;

/// All rooms of all networks.
#[derive(Default)]
pub(super) struct Rooms(Mutex<BTreeMap<RoomId, Room>>);

#[derive(Default)]
struct Room {
    subject: Subject,
    bans: Vec<(String, Option<String>)>,
    config: Values,
    inside: Vec<Occupant>,
    /// Who said what, by the id of the line.
    authors: HashMap<ForeignMessageId, String>,
}

struct Occupant {
    of: SessionOf,
    nick: String,
    rank: Rank,
    host: Host,
}

/// What is emitted after the lock is gone, and where.
type Events = Vec<(Host, Inbound)>;
type Ids = Vec<ForeignMessageId>;

/// Who acts, and where.
struct Act<'a> {
    people: &'a People,
    id: &'a RoomId,
    of: &'a SessionOf,
    host: &'a Host,
    key: DeliveryKey,
}

impl Rooms {
    /// Does to a room what a user wants; gives the ids of what was said.
    pub(super) async fn on_intent(
        &self,
        net: &Loopback,
        of: &SessionOf,
        host: &Host,
        to: Address,
        event: Outbound,
    ) -> Result<Ids, DeliveryError> {
        let (id, to_nick) = match to {
            Address::Room(id) => (id, None),
            Address::Occupant { room, nick } => (room, Some(nick)),
            _ => return Err(unsupported()),
        };
        let Some(people) = net.people.get(&of.network) else { return Err(unsupported()) };
        let act = Act { people, id: &id, of, host, key: event.key };
        let mut events = Vec::new();
        let ids = {
            let mut rooms = self.lock();
            let room = rooms.entry(id.clone()).or_default();
            match (event.intent, to_nick) {
                (Intent::Join { nick, password }, _) => room.join(&act, nick, password, &mut events),
                (intent, to) => room.on_intent(&act, intent, to, &mut events),
            }
        };
        for (host, event) in events {
            emit(&host, event).await;
        }
        ids
    }

    /// The session ends: out of every room.
    pub(super) async fn leave_all(&self, net: &Loopback, of: &SessionOf) {
        let mut events = Vec::new();
        let Some(people) = net.people.get(&of.network) else { return };
        for (id, room) in self.lock().iter_mut() {
            let Some(nick) = room.nick_of(of) else { continue };
            let left = RoomChange::Left { status: None, how: Departure::Quit, by: None };
            room.remove(people, id, &nick, left, None, &mut events);
        }
        for (host, event) in events {
            emit(&host, event).await;
        }
    }

    /// The session's link breaks: it is out of every room, which it calls its own still.
    pub(super) async fn lose_all(&self, net: &Loopback, of: &SessionOf, coming_back: bool) -> Vec<(RoomId, String)> {
        let mut events = Vec::new();
        let mut lost = Vec::new();
        let Some(people) = net.people.get(&of.network) else { return lost };
        for (id, room) in self.lock().iter_mut() {
            let Some(nick) = room.nick_of(of) else { continue };
            let Some(at) = room.inside.iter().position(|o| o.of == *of) else { continue };
            let own = room.inside.remove(at);
            let reason = Text::plain("the wire was cut");
            own.change(id, |view| view.left(Some(reason.clone())));
            let change = Event::Room(RoomChange::Lost { reason, coming_back });
            events.push((own.host.clone(), own.event(Address::Room(id.clone()), change)));
            let left = RoomChange::Left { status: None, how: Departure::Quit, by: None };
            room.remove(people, id, &nick, left, None, &mut events);
            lost.push((id.clone(), nick));
        }
        for (host, event) in events {
            emit(&host, event).await;
        }
        lost
    }

    /// The session's rooms are moderated (`moderate`) or not (`unmoderate`); or this session learns only now that they are (`known`).
    pub(super) async fn moderate(&self, net: &Loopback, of: &SessionOf, how: &str) {
        let mut events = Vec::new();
        if !net.people.contains_key(&of.network) {
            return;
        }
        for (id, room) in self.lock().iter_mut() {
            if room.nick_of(of).is_none() {
                continue;
            }
            let (modes, change) = match how {
                "moderate" => ("+m", RoomChange::Settings),
                "known" => ("+m", RoomChange::Roles),
                _ => ("+n", RoomChange::Settings),
            };
            for occupant in room.inside.iter().filter(|o| how != "known" || o.of == *of) {
                occupant.change(id, |view| modes.clone_into(&mut view.modes));
                events.push((
                    occupant.host.clone(),
                    occupant.event(Address::Room(id.clone()), Event::Room(change.clone())),
                ));
            }
        }
        for (host, event) in events {
            emit(&host, event).await;
        }
    }

    /// The user is away, or back, in every room of theirs.
    pub(super) async fn away(&self, net: &Loopback, of: &SessionOf, away: bool) {
        let mut events = Vec::new();
        let Some(people) = net.people.get(&of.network) else { return };
        for (id, room) in self.lock().iter_mut() {
            let Some(nick) = room.nick_of(of) else { continue };
            room.rank(people, id, &nick, Rank::AWAY, away, None, &mut events);
        }
        for (host, event) in events {
            emit(&host, event).await;
        }
    }

    /// In each of the user's rooms: their nick, and something that was said there.
    pub(super) fn said_to(&self, of: &SessionOf) -> Vec<(RoomId, String, ForeignMessageId)> {
        let rooms = self.lock();
        let all = rooms
            .iter()
            .filter_map(|(id, room)| Some((id.clone(), room.nick_of(of)?, room.authors.keys().next()?.clone())));
        all.collect()
    }

    /// The directory.
    pub(super) fn list(&self, net: &Loopback, network: &NetworkId, filter: Option<&str>, mut reply: Reply) {
        let fits = |name: &str| filter.is_none_or(|f| name.contains(f));
        let ours = |id: &RoomId| id.as_str().ends_with(&format!("%{network}"));
        let occupied: Vec<_> = {
            let rooms = self.lock();
            let some = rooms.iter().filter(|(id, _)| ours(id) && fits(id.as_str()));
            some.map(|(id, room)| (id.clone(), room.inside.len() + crowd(id), room.subject.words.clone())).collect()
        };
        for (room, inside, subject) in occupied {
            let subject = Some(subject).filter(|s| !s.is_empty());
            reply.part(Part::Room { room, occupants: Some(inside as u64), subject });
        }
        for i in 0..net.listed {
            if !reply.wanted() {
                break;
            }
            let room = RoomId::new(format!("#room{i:06}%{network}"));
            if fits(room.as_str()) {
                reply.part(Part::Room { room, occupants: Some(i % 100), subject: None });
            }
        }
        reply.done();
    }

    /// The list of bans; the other lists are empty here.
    pub(super) fn affiliates(&self, room: &RoomId, list: &str, mut reply: Reply) {
        let bans = self.lock().get(room).map(|r| r.bans.clone()).unwrap_or_default();
        for (who, note) in bans.into_iter().filter(|_| list == "outcast") {
            reply.part(Part::Affiliate { who, nick: None, note });
        }
        reply.done();
    }

    /// The room's settings.
    pub(super) fn config(&self, room: &RoomId, mut reply: Reply) {
        let config = self.lock().get(room).map(|r| r.config.clone()).unwrap_or_default();
        reply.part(Part::Facts(config));
        reply.done();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RoomId, Room>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    fn on_intent(
        &mut self,
        act: &Act<'_>,
        intent: Intent,
        to: Option<String>,
        events: &mut Events,
    ) -> Result<Ids, DeliveryError> {
        let Some(nick) = self.nick_of(act.of) else {
            return Err(DeliveryError::new(Failure::NotJoined, Text::key("not-inside")));
        };
        match intent {
            Intent::Send(message) => return self.say(act, &nick, to, *message, events),
            Intent::Typing { on } => {
                self.tell(act.id, &nick, &Event::Typing { on, private: false }, Some(act.of), events)
            }
            Intent::React { of, add, remove } => {
                self.tell_echo(act, &nick, &Event::Reacted { of, add, remove }, events);
            }
            Intent::Retract { of, reason } => return self.retract(act, &nick, of, reason, events),
            Intent::Mark { of: Some(of), .. } => {
                self.tell(act.id, &nick, &Event::Marked { of }, Some(act.of), events);
            }
            Intent::Mark { .. } | Intent::Presence { .. } => {}
            Intent::Invite { room, who, reason } => {
                let invited = Event::Invited { room, reason, password: None };
                events.push((act.host.clone(), Inbound::new(act.of.user.clone(), who, invited)));
            }
            // A network may keep its user inside while no client of theirs is.
            Intent::Leave { .. } if name_of(act.id.as_str()) == "#home" => {}
            Intent::Leave { status } => {
                let left = RoomChange::Left { status, how: Departure::Parted, by: None };
                self.remove(act.people, act.id, &nick, left, None, events);
            }
            Intent::Rename { nick: new } => return self.rename(act, &nick, &new, events),
            Intent::SetSubject { subject } => self.set_subject(act, nick, subject, events),
            Intent::SetRoomConfig { values } => {
                self.config = values;
                self.tell_room(act.id, &Event::Room(RoomChange::Settings), events);
            }
            Intent::SetRole { who, affiliation: Some(affiliation), reason, .. } if affiliation == "outcast" => {
                return self.throw_out(act, &nick, &who, reason, Departure::Banned, events);
            }
            Intent::SetRole { who, role, affiliation, .. } => {
                let moderator =
                    role.as_deref() == Some("moderator") || matches!(affiliation.as_deref(), Some("owner" | "admin"));
                return self.set_role(act, &nick, &who, moderator, events);
            }
            Intent::Remove { who, reason } => {
                return self.throw_out(act, &nick, &who, reason, Departure::Kicked, events);
            }
            Intent::Ban { mask, on, reason } => return self.ban(act, mask, on, reason),
            _ => return Err(unsupported()),
        }
        Ok(Ids::new())
    }

    fn join(
        &mut self,
        act: &Act<'_>,
        nick: String,
        password: Option<String>,
        events: &mut Events,
    ) -> Result<Ids, DeliveryError> {
        if self.bans.iter().any(|(mask, _)| mask == act.of.user.as_str() || *mask == nick) {
            return Err(DeliveryError::new(Failure::Forbidden, Text::key("banned")));
        }
        if self.nick_of(act.of).is_some() {
            return Ok(Ids::new());
        }
        let name = name_of(act.id.as_str());
        if name == "#locked" && password.as_deref() != Some("open") {
            return Err(DeliveryError::new(Failure::PasswordRequired, Text::key("unsupported")));
        }
        if name == "#moved" {
            let error = DeliveryError::new(Failure::Rejected, Text::key("unsupported"));
            let redirect = Some(RoomId::new(act.id.as_str().replace("#moved", "#verona")));
            let refused = Inbound::new(
                act.of.user.clone(),
                Address::Room(act.id.clone()),
                Event::Room(RoomChange::Refused { error, redirect }),
            );
            events.push((act.host.clone(), refused));
            return Ok(Ids::new());
        }
        let nick = if nick == "odd" { "o\u{FFFD}d".to_owned() } else { nick };
        if self.find(act.people, &nick).is_some() {
            return Err(DeliveryError::new(Failure::Conflict, Text::key("nick-taken").with("nick", nick)));
        }
        let rank = if self.inside.is_empty() { Rank::OWNER | Rank::MODERATOR } else { Rank::NONE };
        let person = act.people.learn(&nick, Some(act.of.user.as_str()), None);
        for occupant in &self.inside {
            occupant.change(act.id, |view| view.enter(person.clone(), rank));
        }
        let occupant = Occupant { of: act.of.clone(), nick: nick.clone(), rank, host: act.host.clone() };
        occupant.change(act.id, |view| {
            view.entering(nick.as_str());
            view.subject = self.subject.clone();
            view.arrive(person, rank);
            for other in &self.inside {
                view.arrive(act.people.intern(&other.nick), other.rank);
            }
            for i in 0..crowd(act.id) {
                view.arrive(act.people.intern(&format!("bot{i}")), Rank::NONE);
            }
            view.entered();
        });
        self.tell(act.id, &nick, &Event::Room(RoomChange::Entered), None, events);
        events.push((act.host.clone(), occupant.event(Address::Room(act.id.clone()), Event::Room(RoomChange::Joined))));
        self.inside.push(occupant);
        Ok(Ids::new())
    }

    /// One message is as many lines, each with an id of its own; the speaker gets their own copy back as echo, part by part.
    fn say(
        &mut self,
        act: &Act<'_>,
        nick: &str,
        to: Option<String>,
        message: Message,
        events: &mut Events,
    ) -> Result<Ids, DeliveryError> {
        let from = Address::Occupant { room: act.id.clone(), nick: nick.to_owned() };
        let mut ids = Ids::new();
        for (part, line) in (0u16..).zip(message.body.lines()) {
            let id = ForeignMessageId::new(format!("{}-{part}", act.key));
            ids.push(id.clone());
            let kind = if to.is_some() { MessageKind::Chat } else { MessageKind::Group };
            let mut said = Message { kind, body: line.to_owned(), action: message.action, ..Message::default() };
            if part == 0 {
                said.reply_to.clone_from(&message.reply_to);
                said.replaces.clone_from(&message.replaces);
                said.thread.clone_from(&message.thread);
            }
            if to.is_none() {
                self.authors.insert(id.clone(), nick.to_owned());
            }
            for occupant in self.inside.iter().filter(|o| to.as_ref().is_none_or(|t| *t == o.nick)) {
                let mut event = occupant.event(from.clone(), Event::Message(Box::new(said.clone())));
                event.id = Some(id.clone());
                event.echo_of = (occupant.of == *act.of && to.is_none()).then(|| (act.key.clone(), part));
                events.push((occupant.host.clone(), event));
            }
        }
        match to {
            Some(to) if self.find(act.people, &to).is_none() => {
                let text = Text::key("no-such-contact").with("name", to);
                Err(DeliveryError::new(Failure::NoSuchRecipient, text))
            }
            // As networks tell that somebody is away: words beside a conversation, from whom it is with.
            Some(to) if message.body == "away?" => {
                let at = Address::Occupant { room: act.id.clone(), nick: to };
                let away = Event::Notice { text: Text::plain("away"), about: None, actions: Vec::new() };
                events.push((act.host.clone(), Inbound::new(act.of.user.clone(), at, away)));
                Ok(ids)
            }
            _ => Ok(ids),
        }
    }

    /// An author withdraws their own words, a moderator anybody's.
    fn retract(
        &mut self,
        act: &Act<'_>,
        nick: &str,
        of: MessageRef,
        reason: Option<String>,
        events: &mut Events,
    ) -> Result<Ids, DeliveryError> {
        let author = match &of {
            MessageRef::Foreign { id, .. } => self.authors.get(id),
            MessageRef::Key(_) => None,
        };
        if author.is_some_and(|author| author == nick) {
            self.tell_echo(act, nick, &Event::Retracted { of, by: None, reason }, events);
            return Ok(Ids::new());
        }
        self.only_moderators(nick)?;
        let by = Some(Address::Occupant { room: act.id.clone(), nick: nick.to_owned() });
        self.tell_room(act.id, &Event::Retracted { of, by, reason }, events);
        Ok(Ids::new())
    }

    fn rename(&mut self, act: &Act<'_>, old: &str, new: &str, events: &mut Events) -> Result<Ids, DeliveryError> {
        if act.people.fold(old) != act.people.fold(new) && self.find(act.people, new).is_some() {
            return Err(DeliveryError::new(Failure::Conflict, Text::key("nick-taken").with("nick", new)));
        }
        let person = act.people.rename(old, new);
        for occupant in &mut self.inside {
            occupant.change(act.id, |view| view.rename(act.people, old, person.clone()));
            if occupant.nick == old {
                occupant.nick = new.to_owned();
            }
        }
        self.tell(act.id, old, &Event::Room(RoomChange::Renamed { nick: new.to_owned() }), None, events);
        Ok(Ids::new())
    }

    fn set_subject(&mut self, act: &Act<'_>, nick: String, subject: String, events: &mut Events) {
        self.subject = Subject::new(subject.as_str(), Some(nick.clone()), Some(act.host.now()));
        for occupant in &self.inside {
            occupant.change(act.id, |view| view.subject = self.subject.clone());
        }
        let change = RoomChange::Subject { subject, by: Some(nick), at: self.subject.at };
        self.tell_room(act.id, &Event::Room(change), events);
    }

    fn set_role(
        &mut self,
        act: &Act<'_>,
        by: &str,
        who: &Address,
        moderator: bool,
        events: &mut Events,
    ) -> Result<Ids, DeliveryError> {
        let Address::Occupant { nick, .. } = who else { return Err(unsupported()) };
        self.only_moderators(by)?;
        self.rank(act.people, act.id, nick, Rank::MODERATOR, moderator, Some(by), events);
        Ok(Ids::new())
    }

    fn throw_out(
        &mut self,
        act: &Act<'_>,
        by: &str,
        who: &Address,
        reason: Option<String>,
        how: Departure,
        events: &mut Events,
    ) -> Result<Ids, DeliveryError> {
        let Address::Occupant { nick, .. } = who else { return Err(unsupported()) };
        self.only_moderators(by)?;
        if how == Departure::Banned {
            self.bans.push((nick.clone(), reason.clone()));
        }
        let lost = Text::plain(reason.clone().unwrap_or_default());
        let left = RoomChange::Left { status: reason, how, by: Some(by.to_owned()) };
        self.remove(act.people, act.id, nick, left, Some(lost), events);
        Ok(Ids::new())
    }

    fn ban(&mut self, act: &Act<'_>, mask: String, on: bool, reason: Option<String>) -> Result<Ids, DeliveryError> {
        self.only_moderators(&self.nick_of(act.of).unwrap_or_default())?;
        self.bans.retain(|(known, _)| *known != mask);
        if on {
            self.bans.push((mask, reason));
        }
        Ok(Ids::new())
    }

    fn only_moderators(&self, nick: &str) -> Result<(), DeliveryError> {
        let may = self.inside.iter().any(|o| o.nick == nick && o.rank.has(Rank::MODERATOR));
        may.then_some(()).ok_or_else(|| DeliveryError::new(Failure::Forbidden, Text::key("unsupported")))
    }

    #[allow(clippy::too_many_arguments)] // one private function, and each of them is another thing
    fn rank(
        &mut self,
        people: &People,
        id: &RoomId,
        nick: &str,
        flags: Rank,
        on: bool,
        by: Option<&str>,
        events: &mut Events,
    ) {
        for occupant in &mut self.inside {
            occupant.change(id, |view| view.mark(people, nick, flags, on));
            if occupant.nick == nick {
                occupant.rank = occupant.rank.set(flags, on);
            }
        }
        self.tell(id, nick, &Event::Room(RoomChange::Changed { by: by.map(str::to_owned) }), None, events);
    }

    /// Takes somebody out and tells everybody, them too.
    fn remove(
        &mut self,
        people: &People,
        id: &RoomId,
        nick: &str,
        how: RoomChange,
        lost: Option<Text>,
        events: &mut Events,
    ) {
        self.tell(id, nick, &Event::Room(how), None, events);
        for occupant in &self.inside {
            occupant.change(id, |view| {
                if occupant.nick == nick {
                    view.left(lost.clone());
                } else {
                    view.leave(people, nick);
                }
            });
        }
        self.inside.retain(|o| o.nick != nick);
    }

    /// An event of this nick for everybody inside, but for one session perhaps.
    fn tell(&self, id: &RoomId, nick: &str, event: &Event, but: Option<&SessionOf>, events: &mut Events) {
        let from = Address::Occupant { room: id.clone(), nick: nick.to_owned() };
        let all = self.inside.iter().filter(|o| Some(&o.of) != but);
        events.extend(all.map(|o| (o.host.clone(), o.event(from.clone(), event.clone()))));
    }

    /// The same, as echo for who did it.
    fn tell_echo(&self, act: &Act<'_>, nick: &str, event: &Event, events: &mut Events) {
        let from = Address::Occupant { room: act.id.clone(), nick: nick.to_owned() };
        for occupant in &self.inside {
            let mut event = occupant.event(from.clone(), event.clone());
            event.echo_of = (occupant.of == *act.of).then(|| (act.key.clone(), 0));
            events.push((occupant.host.clone(), event));
        }
    }

    fn tell_room(&self, id: &RoomId, event: &Event, events: &mut Events) {
        events.extend(self.inside.iter().map(|o| (o.host.clone(), o.event(Address::Room(id.clone()), event.clone()))));
    }

    fn nick_of(&self, of: &SessionOf) -> Option<String> {
        self.inside.iter().find(|o| o.of == *of).map(|o| o.nick.clone())
    }

    fn find(&self, people: &People, nick: &str) -> Option<&Occupant> {
        self.inside.iter().find(|o| people.fold(&o.nick) == people.fold(nick))
    }
}

impl Occupant {
    fn change<T>(&self, room: &RoomId, change: impl FnOnce(&mut RoomView) -> T) {
        let view = self.host.room(&self.of, room);
        let mut view = view.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut view);
    }

    fn event(&self, from: Address, event: Event) -> Inbound {
        let mut event = Inbound::new(self.of.user.clone(), from, event);
        event.at = self.host.now();
        event
    }
}

/// `#crowd<n>`: how many are inside before anybody enters.
fn crowd(id: &RoomId) -> usize {
    name_of(id.as_str()).strip_prefix("#crowd").and_then(|n| n.parse().ok()).unwrap_or(0)
}
