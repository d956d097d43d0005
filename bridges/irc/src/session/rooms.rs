//! Rooms: joins in any stage, who is inside, modes, subjects. Views are changed first, events follow.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use isthmus_bridge::room::{Member, Person, Rank, RoomView};
use isthmus_bridge::{
    Address, Change, DeliveryError, Event, Failure, Host, Resolved, RoomChange, RoomId, SessionOf, StoreError, Text,
    Ticket,
};
use tokio::time::Instant;

use super::few::Few;
use super::history::Gap;
use super::leaving::{UNASKED, Unwanted};
use super::life::plain;
use super::marks::Marks;
use super::{Session, view, who};
use crate::address::split;
use crate::proto::caps::Caps;
use crate::proto::line::Line;
use crate::proto::{time, write};
use crate::settings;
use crate::translate::formatting;

/// A server answers a JOIN within this time.
const ANSWER: Duration = Duration::from_secs(60);
/// A kept room into which there is no way back for now is asked for again after this time.
const AGAIN: Duration = Duration::from_secs(600);
/// A bouncer is in rooms for all of the user's programs: none of them is left because one does not look at it.
const BOUNCED: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// So many at once; a server that does it more often is not believed.
const MAX_UNASKED: usize = 50;
/// Rooms of a bouncer that the user was told of.
const KNOWN_INVITED: usize = 1_000;
/// Names of one listing, at most.
const MAX_NAMES: u32 = 500_000;
/// Bytes of one JOIN line for several rooms.
const JOIN_LINE: usize = 400;
/// The store's space of rooms that are entered again after a restart.
pub(crate) const SPACE: &str = "rooms";

/// How far a join has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// To be asked for when the connection is up.
    Wanted,
    /// JOIN was sent.
    Asked(Instant),
    /// We are in, and the list of members comes.
    Listing,
    /// All of it is there.
    Inside,
    /// The way back was refused for now: it is asked for again then, and nobody is inside until then.
    Later(Instant),
}

/// A room that the user is in or wants to be in.
pub(super) struct Room {
    pub(super) id: RoomId,
    /// As the server spells it.
    pub(super) name: Box<str>,
    pub(super) view: Arc<Mutex<RoomView>>,
    pub(super) stage: Stage,
    pub(super) key: Option<Box<str>>,
    /// Whose answer is the end of the join.
    pub(super) tickets: Few<Ticket>,
    pub(super) settings: Arc<Resolved>,
    /// No client of the user is inside: the room is persistent.
    pub(super) unattended: bool,
    /// PARTs that the server has not answered yet.
    pub(super) leaving: u8,
    /// Questions of our own for its modes that the server has not answered yet.
    pub(super) asked_modes: u8,
    /// The last answer of that kind was for the user.
    pub(super) modes_shown: bool,
    /// What was told of the room before the user was inside: shown once they are.
    pub(super) notes: Few<Text>,
    /// Names that the listing has brought so far.
    pub(super) listed: u32,
    /// The user was inside, and the connection broke.
    pub(super) coming_back: bool,
    /// And the user has been told that there is no way back for now.
    pub(super) told: bool,
    /// Who was away, a bot or an operator when it broke.
    pub(super) marked: Few<Member>,
    /// When something was last said, as far as anybody wants to know.
    pub(super) heard: Option<SystemTime>,
    /// How far the user has read, where the server keeps that.
    pub(super) marks: Option<Box<Marks>>,
    /// What was said while the connection was broken is missing.
    pub(super) gap: Option<Gap>,
}

impl Room {
    pub(super) fn is_inside(&self) -> bool {
        matches!(self.stage, Stage::Inside | Stage::Listing)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Asked(until) | Stage::Later(until) => Some(until),
            _ => None,
        }
    }

    pub(super) fn address(&self) -> Address {
        Address::Room(self.id.clone())
    }

    pub(super) fn occupant(&self, nick: &str) -> Address {
        Address::Occupant { room: self.id.clone(), nick: nick.to_owned() }
    }
}

/// The sessions whose rooms are kept.
pub(crate) async fn kept(host: &Host) -> Result<Vec<SessionOf>, StoreError> {
    let all = host.list(SPACE, None).await?;
    let parts = all.iter().filter_map(|(key, _)| key.rsplit_once(' '));
    Ok(parts.map(|(user, network)| SessionOf::new(user.into(), network.into())).collect())
}

impl Session {
    /// The room of this name, where the user is in it or on the way. Until the server has answered an earlier PART, what it says is of the old stay.
    pub(super) fn room(&self, name: &str) -> Option<&Room> {
        let folded = self.people.folded(name);
        self.rooms.get(&folded).filter(|_| !self.is_parting(&folded)).map(|room| &**room)
    }

    pub(super) fn room_mut(&mut self, name: &str) -> Option<&mut Room> {
        let folded = self.people.folded(name);
        if self.is_parting(&folded) {
            return None;
        }
        self.rooms.get_mut(&folded).map(|room| &mut **room)
    }

    pub(super) fn fold(&self, name: &str) -> Box<str> {
        (&*self.people.folded(name)).into()
    }

    pub(super) fn own_nick(&self) -> &str {
        self.link.as_ref().map_or(&self.wish, |l| &l.nick)
    }

    pub(super) fn is_own(&self, nick: &str) -> bool {
        self.people.folded(nick) == self.people.folded(self.own_nick())
    }

    fn new_room(&self, id: &RoomId, key: Option<&str>, ticket: Option<Ticket>) -> Room {
        let settings = self.host.resolved(&self.of.user, &Address::Room(id.clone()));
        let room = self.host.room(&self.of, id);
        Room {
            id: id.clone(),
            name: split(id.as_str()).0.into(),
            view: room,
            stage: Stage::Wanted,
            key: key.or(settings.get(settings::KEY)).map(Into::into),
            tickets: ticket.into(),
            settings,
            unattended: false,
            leaving: 0,
            asked_modes: 0,
            modes_shown: false,
            notes: Few::default(),
            listed: 0,
            coming_back: false,
            told: false,
            marked: Few::default(),
            heard: None,
            marks: None,
            gap: None,
        }
    }

    // Entering.

    pub(super) fn join(&mut self, id: &RoomId, nick: &str, password: Option<&str>, ticket: Ticket) {
        let name = split(id.as_str()).0.to_owned();
        let folded = self.fold(&name);
        // The first nick wins for the whole network; without a connection, or the wish for one, this is the first.
        let unused = self.link.is_none() && self.rooms.is_empty() && self.waiting.is_empty();
        if self.wish.is_empty() || unused {
            nick.clone_into(&mut self.wish);
        }
        if let Some(other) = self.rooms.get(&folded).filter(|room| room.id != *id).map(|room| room.id.clone()) {
            return ticket.failed(self.is_elsewhere(id, other));
        }
        self.stay_or_come_back(&folded);
        if let Some(room) = self.rooms.get_mut(&folded) {
            if let Some(password) = password {
                room.key = Some(password.into());
            }
            room.unattended = false;
            if room.stage == Stage::Inside {
                ticket.sent(None);
                return self.note_attendance(None);
            }
            room.tickets.push(ticket);
            if let Stage::Later(_) = room.stage {
                room.stage = Stage::Wanted;
            }
            if self.link.is_none() {
                self.connect();
            } else if self.is_up() {
                self.enter_rooms();
            }
            return;
        }
        if self.rooms.len() + self.shared.networks.rooms_beside(&self.of) >= self.shared.config.rooms_per_user {
            let text = Text::key("too-many-rooms").with("limit", self.shared.config.rooms_per_user);
            return ticket.failed(DeliveryError::new(Failure::OverQuota, text));
        }
        let mut room = self.new_room(id, password, Some(ticket));
        let own = self.link.as_ref().map_or(nick, |l| &l.nick);
        view(&room.view).entering(own);
        if self.was_put_in(&folded) {
            // What is missing is the list.
            room.stage = Stage::Listing;
            self.send(write::line("TOPIC", &[&name]));
            self.send(write::line("NAMES", &[&name]));
        }
        self.rooms.insert(folded, Box::new(room));
        self.note_attendance(None);
        if self.is_up() {
            self.enter_rooms();
        } else {
            self.connect();
        }
    }

    /// One channel, and an address for each way to write it (RFC 2812 section 2.2): the user is sent to the one where they are.
    fn is_elsewhere(&mut self, id: &RoomId, other: RoomId) -> DeliveryError {
        let text = Text::key("forwarded").with("room", split(other.as_str()).0);
        let error = DeliveryError::new(Failure::Rejected, text);
        let refused = RoomChange::Refused { error: error.clone(), redirect: Some(other) };
        self.emit(Address::Room(id.clone()), Event::Room(refused));
        error
    }

    /// Asks for every room that is wanted, several in one line.
    pub(super) fn enter_rooms(&mut self) {
        let until = self.drained() + ANSWER;
        let mut wanted: Vec<(&str, &str)> = Vec::new();
        for room in self.rooms.values_mut().filter(|r| r.stage == Stage::Wanted) {
            room.stage = Stage::Asked(until);
            wanted.push((&room.name, room.key.as_deref().unwrap_or_default()));
        }
        // Keys go with the first names.
        wanted.sort_by_key(|(_, key)| key.is_empty());
        // One that is none, for it would be taken for several, harms no other room.
        let (odd, wanted): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|(_, key)| key.contains([',', ' ']));
        let odd: Vec<_> = odd.into_iter().map(|(name, key)| (name.to_owned(), key.to_owned())).collect();
        let mut lines: Vec<(String, String)> = Vec::new();
        for (name, key) in wanted {
            match lines.last_mut().filter(|(n, k)| n.len() + k.len() + name.len() + key.len() < JOIN_LINE) {
                Some((names, keys)) => {
                    *names = format!("{names},{name}");
                    if !key.is_empty() {
                        *keys = format!("{keys},{key}");
                    }
                }
                None => lines.push((name.to_owned(), key.to_owned())),
            }
        }
        for (names, keys) in lines.into_iter().chain(odd) {
            let params: &[&str] = if keys.is_empty() { &[&names] } else { &[&names, &keys] };
            self.send(write::line("JOIN", params));
        }
    }

    pub(super) fn on_join(&mut self, line: &Line<'_>) {
        let (name, nick) = (line.param(0), line.source.nick());
        let extended = self.has_cap(Caps::EXTENDED_JOIN).then(|| line.param(1)).filter(|a| !a.is_empty());
        let account = extended.map(|a| if a == "*" { "" } else { a });
        // Who comes from elsewhere, and is in no room of ours, is not whoever had this nick before.
        let known = self.people.get(nick);
        let another = |p: &Person| matches!((p.host.as_deref(), line.source.host()), (Some(a), Some(b)) if a != b);
        if known.is_some_and(|known| another(&known)) && self.seen_as(nick).is_none() {
            self.people.forget(nick);
        }
        let person = self.people.learn(nick, line.source.host(), account);
        // The user's other rooms show who it is, too.
        if account.is_some() && self.rooms.len() > 1 && !self.folds {
            let changed = self.rooms_of(nick, |view, people| {
                let known = view.get(people, nick).is_none_or(|m| m.person.account == person.account);
                !known && view.update(person.clone())
            });
            self.changed(changed);
        }
        if self.is_own(nick) {
            if let Some(link) = &mut self.link {
                link.host = line.source.host().map(Into::into);
            }
            return self.on_own_join(name);
        }
        let Some(room) = self.room(name) else { return };
        let (from, id) = (room.occupant(nick), room.id.clone());
        let is_new = view(&room.view).enter(person, Rank::NONE);
        if is_new {
            self.emit(from, Event::Room(RoomChange::Entered));
        }
        if self.folds {
            self.rare().touched.push(id);
        }
        if line.is_tagged() && line.tag("bot").is_some() {
            self.is_bot(name, nick);
        }
    }

    fn on_own_join(&mut self, name: &str) {
        let own = self.own_nick().to_owned();
        let folded = self.fold(name);
        if self.is_parting(&folded) {
            return; // no invitation: it is being left
        }
        if let Some(room) = self.room_mut(name) {
            room.stage = Stage::Listing;
            room.listed = 0;
            room.name = name.into();
            let mut view = view(&room.view);
            view.entering(own);
            return;
        }
        let Some(id) =
            self.shared.addressing.room_id(name, &self.of.network).filter(|_| self.unasked.len() < MAX_UNASKED)
        else {
            // Nobody could be told where they are.
            if !self.is_bouncer() {
                self.send(write::line("PART", &[name]));
                self.parts(&folded);
            }
            return;
        };
        let bounced = self.is_bouncer();
        let wait = if bounced { BOUNCED } else { UNASKED };
        // A bouncer tells of all its rooms at each connection.
        let told = bounced && self.rare().invited.contains(&folded);
        if bounced && !told && self.rare().invited.len() < KNOWN_INVITED {
            self.rare().invited.push(folded.clone());
        }
        self.unasked.push((folded, Unwanted::Invited(Instant::now() + wait)));
        if told {
            return;
        }
        let from = self.network_address();
        self.emit(from, Event::Invited { room: id, reason: None, password: None });
    }

    /// 353: some of the names.
    pub(super) fn on_names(&mut self, line: &Line<'_>) {
        let Some(link) = &self.link else { return };
        let folded = self.people.folded(line.param(2));
        if self.is_parting(&folded) {
            return;
        }
        let Some(room) = self.rooms.get_mut(&folded) else {
            return self.show_asked(line, 2);
        };
        if room.stage != Stage::Listing {
            return self.server_text(&line.words(2));
        }
        let mut view = view(&room.view);
        for name in line.param(3).split(' ').filter(|n| !n.is_empty()) {
            if room.listed >= MAX_NAMES {
                return;
            }
            room.listed += 1;
            let (rank, name) = link.server.rank_of(name);
            let (nick, host) = name.split_once('!').map_or((name, None), |(nick, host)| (nick, Some(host)));
            view.arrive(self.people.learn(nick, host, None), rank);
        }
    }

    /// 366: those were all.
    pub(super) fn on_names_end(&mut self, line: &Line<'_>) {
        let own = self.own_nick().to_owned();
        let (people, apart, asks) = (self.people.clone(), self.is_apart(), self.has_cap(Caps::AWAY_NOTIFY));
        let Some(room) = self.room_mut(line.param(1)).filter(|r| r.stage == Stage::Listing) else {
            return self.show_asked(line, 1);
        };
        room.stage = Stage::Inside;
        room.asked_modes = 1;
        (room.coming_back, room.told) = (false, false);
        {
            let mut view = view(&room.view);
            view.apart = apart;
            view.entered();
            if view.get(&people, &own).is_none() {
                view.enter(people.intern(&own), Rank::NONE);
            }
            let marked = room.marked.take();
            if who::is_asked(asks, &view) {
                who::mark_as_before(&mut view, &people, marked);
            }
        }
        let (from, name, notes) = (room.address(), room.name.clone(), room.notes.take());
        room.tickets.take().into_iter().for_each(|t| t.sent(None));
        self.emit(from.clone(), Event::Room(RoomChange::Joined));
        for note in notes {
            self.notice_from(from.clone(), note);
        }
        if let Some(link) = &mut self.link {
            link.sometime(write::line("MODE", &[&name]));
        }
        self.ask_who(&name);
        self.fill_gap(&name);
        self.save_rooms();
    }

    /// A join was refused: its tickets say why; where nobody waits any more, the room does.
    pub(super) fn join_refused(&mut self, name: &str, error: &DeliveryError, redirect: Option<RoomId>) -> bool {
        let folded = self.fold(name);
        // While an earlier PART is under way, what is refused is a JOIN before it.
        !self.is_parting(&folded) && self.give_up_join(&folded, error, redirect)
    }

    pub(super) fn give_up_join(&mut self, folded: &str, error: &DeliveryError, redirect: Option<RoomId>) -> bool {
        let Some(room) = self.rooms.get_mut(folded).filter(|room| matches!(room.stage, Stage::Asked(_))) else {
            return false;
        };
        let (address, name, tickets) = (room.address(), room.name.clone(), room.tickets.take());
        let kept = room.coming_back && room.settings.bool(settings::PERSISTENT);
        let again = kept && redirect.is_none() && is_passing(error);
        let shown = tickets.is_empty() || room.coming_back || redirect.is_some();
        // No client of theirs sees that.
        let unseen = kept && room.unattended && !(again && room.told);
        view(&room.view).left(Some(error.text.clone()));
        if again {
            (room.stage, room.unattended, room.told) = (Stage::Later(Instant::now() + AGAIN), true, true);
        } else {
            self.rooms.remove(folded);
        }
        if shown {
            self.emit(address, Event::Room(RoomChange::Refused { error: error.clone(), redirect }));
        }
        tickets.into_iter().for_each(|ticket| ticket.failed(error.clone()));
        if unseen {
            let key = if again { "room-refused-for-now" } else { "room-refused" };
            self.notice(Text::key(key).with("room", name).with("why", plain(&error.text)));
        }
        self.save_rooms();
        if again {
            self.note_attendance(None)
        } else {
            self.is_out()
        }
        true
    }

    /// Asks for a room again into which there was no way back.
    pub(super) fn ask_again_for(&mut self, folded: &str) {
        let Some(room) = self.rooms.get_mut(folded) else { return };
        if room.settings.bool(settings::PERSISTENT) {
            room.stage = Stage::Wanted;
            if self.is_up() {
                self.enter_rooms();
            }
        } else {
            // The user does not want it kept any more.
            self.rooms.remove(folded);
            self.save_rooms();
            self.is_out();
        }
    }

    /// 470: the server sends us to another room. The user is told where; the other room is left, for it was not asked for.
    pub(super) fn on_forward(&mut self, line: &Line<'_>) {
        let (from, to) = (line.param(1).to_owned(), line.param(2).to_owned());
        let text = Text::key("forwarded").with("room", &to);
        let error = DeliveryError::new(Failure::Rejected, text).with_code("470");
        let redirect = self.shared.addressing.room_id(&to, &self.of.network);
        self.join_refused(&from, &error, redirect);
        let folded = self.fold(&to);
        if self.rooms.get(&folded).is_none() {
            self.send(write::line("PART", &[&to]));
            self.parts(&folded);
        }
    }

    /// `RENAME <old> <new> <reason>` (`draft/channel-rename`). The room is another address from now on, in which the user is already: their
    /// clients are told where, and find it open.
    pub(super) fn on_rename(&mut self, line: &Line<'_>) {
        let (old, new) = (line.param(0), line.param(1));
        let (Some(id), Some(was)) = (self.shared.addressing.room_id(new, &self.of.network), self.room(old)) else {
            return;
        };
        if id == was.id {
            // Only another spelling.
            let folded = self.fold(old);
            if let Some(mut room) = self.rooms.remove(&folded) {
                room.name = new.into();
                self.rooms.insert(self.fold(new), room);
            }
            return;
        }
        let folded = self.fold(old);
        let Some(mut room) = self.rooms.remove(&folded) else { return };
        room.tickets.take().into_iter().for_each(|t| t.sent(None));
        view(&room.view).left(None);
        self.talks.retain(|(_, id)| *id != room.id);
        let reason = self.words(line.param(2));
        self.emit(room.address(), Event::Room(RoomChange::Moved { to: id.clone(), reason }));
        let folded = self.fold(new);
        let there = self.host.resolved(&self.of.user, &Address::Room(id.clone()));
        let others = settings::OF_ROOM.iter().filter(|key| there.str(key) != room.settings.str(key));
        let set: settings::Choices =
            others.map(|key| ((*key).to_owned(), room.settings.get(key).map(str::to_owned))).collect();
        if !set.is_empty() {
            self.rare().moved.push((id.clone(), set));
        }
        if room.settings.bool(settings::PERSISTENT) {
            let own = self.own_nick().to_owned();
            let mut moved = self.new_room(&id, room.key.as_deref(), None);
            moved.settings = room.settings.clone();
            view(&moved.view).entering(own);
            (moved.stage, moved.unattended, moved.heard) = (Stage::Listing, true, room.heard);
            self.rooms.insert(folded, Box::new(moved));
            self.send(write::line("TOPIC", &[new]));
            self.send(write::line("NAMES", &[new]));
        } else if self.unasked.len() < MAX_UNASKED {
            self.unasked.push((folded, Unwanted::Invited(Instant::now() + UNASKED)));
        }
        self.save_rooms();
    }

    /// What the user has set for a room that has moved counts where it is now.
    pub(super) async fn move_settings(&mut self) {
        for (id, own) in self.rare.as_mut().map(|r| std::mem::take(&mut r.moved)).unwrap_or_default() {
            let at = Address::Room(id);
            if let Err(error) = self.host.set(&self.of.user, &at, own).await {
                tracing::warn!(user = %self.of.user, network = %self.of.network, %error, "the settings of a room that has moved could not be stored");
                continue;
            }
            let settings = self.host.resolved(&self.of.user, &at);
            if let Some(room) = self.rooms.values_mut().find(|room| room.address() == at) {
                room.settings = settings;
            }
        }
    }

    /// All joins that somebody waits for fail; a room that is to come back stays wanted.
    pub(super) fn refuse_joins(&mut self, error: &DeliveryError) {
        for room in self.rooms.values_mut() {
            for ticket in room.tickets.take() {
                ticket.failed(error.clone());
            }
            if room.coming_back {
                room.stage = Stage::Wanted;
            }
        }
        self.rooms.retain(|_, room| {
            let keep = room.is_inside() || room.coming_back;
            if !keep {
                view(&room.view).left(None);
            }
            keep
        });
    }

    /// The connection is gone: rooms wait for the next one, or are lost for good.
    pub(super) fn lose_rooms(&mut self, reason: &Text, coming_back: bool) {
        let mut lost = Vec::new();
        let now = self.host.now();
        if let Some(rare) = &mut self.rare {
            rare.bans.clear(); // who lifts one meanwhile is not seen
        }
        for room in self.rooms.values_mut() {
            let news = room.is_inside() || !coming_back;
            if room.is_inside() {
                room.breaks(now);
            }
            if room.stage == Stage::Inside && coming_back {
                room.marked = who::marked(&view(&room.view));
            }
            room.stage = Stage::Wanted;
            room.coming_back = true;
            if news {
                view(&room.view).left(Some(reason.clone()));
                lost.push(room.address());
            }
        }
        for from in lost {
            self.emit(from, Event::Room(RoomChange::Lost { reason: reason.clone(), coming_back }));
        }
        if !coming_back {
            self.rooms.clear();
        }
    }

    /// The server compares names in another way than was thought.
    pub(super) fn refold_rooms(&mut self) {
        let people = self.people.clone();
        for (_, mut room) in self.rooms.drain() {
            let folded = people.fold(&room.name);
            let Some(other) = self.rooms.get(&folded).map(|first| first.id.clone()) else {
                self.rooms.insert(folded.into(), room);
                continue;
            };
            view(&room.view).left(None);
            let error = self.is_elsewhere(&room.id, other);
            room.tickets.take().into_iter().for_each(|ticket| ticket.failed(error.clone()));
        }
    }

    // Helpers.

    pub(super) fn is_bouncer(&self) -> bool {
        self.link.as_ref().is_some_and(|l| l.cap.is_bouncer())
    }

    pub(super) fn has_cap(&self, cap: Caps) -> bool {
        self.link.as_ref().is_some_and(|l| l.cap.active.has(cap))
    }

    /// Words that came with something; `None` where there are none.
    pub(super) fn words(&self, text: &str) -> Option<String> {
        let words = formatting::from_irc(text, self.settings.str(settings::FORMATTING) == settings::STYLING);
        Some(words.into_owned()).filter(|w| !w.is_empty())
    }

    pub(super) fn formatted(&self, room: &str, text: &str) -> String {
        let settings = self.room(room).map_or(&self.settings, |r| &r.settings);
        formatting::from_irc(text, settings.str(settings::FORMATTING) == settings::STYLING).into_owned()
    }

    // What outlives the process.

    fn store_key(&self) -> String {
        format!("{} {}", self.of.user, self.of.network)
    }

    /// Keeps the persistent rooms, so that they are entered again after a restart.
    pub(super) fn save_rooms(&mut self) {
        let (now, alone) = (self.host.now(), self.alone_since());
        let kept: Vec<serde_json::Value> = self
            .rooms
            .values()
            .filter(|r| r.settings.bool(settings::PERSISTENT) && (r.is_inside() || r.coming_back))
            .map(|r| {
                let sealed = r.key.as_deref().and_then(|key| self.host.seal(key.as_bytes()).ok()).map(hex::encode);
                // What is said while nobody is connected is missing from then on.
                let heard = r.heard.unwrap_or(now);
                let heard = heard.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
                let mut kept =
                    serde_json::json!({"room": r.id.as_str(), "nick": &self.wish, "key": sealed, "heard": heard});
                if let Some(alone) = alone {
                    kept["alone"] = alone.into();
                }
                kept
            })
            .collect();
        // A connection without rooms is one, too.
        let none = kept.is_empty() && !(self.stays && self.host.persistent(&self.of));
        if none && !self.saved {
            return;
        }
        self.saved = !none;
        let key = self.store_key();
        let change = if none {
            Change::remove(SPACE, key)
        } else {
            Change::put(SPACE, key, serde_json::Value::Array(kept).to_string()).of(self.of.user.clone())
        };
        self.changes.retain(|c| c.space != SPACE);
        self.changes.push(change);
    }

    /// Wants the rooms that were kept.
    pub(super) async fn restore_rooms(&mut self) {
        let Ok(Some(kept)) = self.host.load(SPACE, &self.store_key()).await else { return };
        self.saved = true;
        let Ok(serde_json::Value::Array(all)) = serde_json::from_slice(&kept) else { return };
        let kept_alone = all.is_empty();
        self.was_alone(all.iter().find_map(|one| one["alone"].as_u64()));
        for one in all {
            let Some(id) = one["room"].as_str().map(RoomId::new) else { continue };
            let key = one["key"].as_str().and_then(|k| self.host.unseal(&hex::decode(k).ok()?).ok());
            let key = key.and_then(|k| String::from_utf8(k).ok());
            let mut room = self.new_room(&id, key.as_deref(), None);
            if !room.settings.bool(settings::PERSISTENT) {
                continue;
            }
            room.coming_back = true;
            room.unattended = true;
            let heard = one["heard"]
                .as_u64()
                .filter(|s| *s > 0)
                .and_then(|s| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(s)));
            if heard.is_some() {
                room.gap = Some(Gap::new(heard, self.host.now()));
            }
            let nick = one["nick"].as_str().unwrap_or_default();
            if self.wish.is_empty() {
                nick.clone_into(&mut self.wish);
            }
            view(&room.view).entering(nick);
            let folded = self.fold(split(id.as_str()).0);
            self.rooms.insert(folded, Box::new(room));
        }
        self.stays = kept_alone && self.host.persistent(&self.of);
        if !self.rooms.is_empty() || self.stays {
            self.nobody_is_here();
            self.connect();
        }
    }

    /// When something was said: the server's time where it tells one.
    pub(super) fn time_of(&self, line: &Line<'_>) -> SystemTime {
        line.tag("time").and_then(|t| time::server_time(&t)).unwrap_or_else(|| self.host.now())
    }
}

/// Whether the way into a room that a server refuses may be open later.
fn is_passing(error: &DeliveryError) -> bool {
    match error.failure {
        Failure::TimedOut | Failure::Throttled { .. } | Failure::Full | Failure::OverQuota | Failure::NotRegistered => {
            true
        }
        // ERR_INVITEONLYCHAN; who is banned (474) or has the wrong key (475) is not let in for waiting.
        _ => error.code.as_deref() == Some("473"),
    }
}
