//! Who is inside, as what; modes and subjects.

use isthmus_bridge::inbound::Departure;
use std::sync::Arc;

use isthmus_bridge::room::{Person, Rank, RoomView, Subject};
use isthmus_bridge::{Address, Event, RoomChange, Text};

use super::answers::What;
use super::history::fits;
use super::rooms::{Room, Stage};
use super::{Session, view};
use crate::address::contact_id;
use crate::proto::isupport::ModeKind;
use crate::proto::line::Line;
use crate::proto::{modes, time};

/// Words about a room that wait for the end of the join.
const MAX_NOTES: usize = 20;
/// Bans that are remembered.
const BANS: usize = 16;

/// A ban of which the kick may still come. Everything is folded.
#[derive(Debug)]
pub(super) struct Ban {
    room: Box<str>,
    by: Box<str>,
    mask: Box<str>,
}

impl Room {
    /// Words about it, until it is entered.
    pub(super) fn note(&mut self, words: Text) {
        if self.notes.len() < MAX_NOTES {
            self.notes.push(words);
        }
    }
}

impl Session {
    pub(super) fn on_part(&mut self, line: &Line<'_>) {
        let (name, nick) = (line.param(0), line.source.nick());
        let status = self.words(line.param(1));
        let change = RoomChange::Left { status, how: Departure::Parted, by: None };
        if self.is_own(nick) {
            return self.out(name, change);
        }
        self.gone(name, nick, change);
    }

    pub(super) fn on_kick(&mut self, line: &Line<'_>) {
        let (name, nick) = (line.param(0), line.param(1).to_owned());
        let by = line.source.nick().to_owned();
        let status = self.words(line.param(2)).filter(|s| *s != by);
        let folded = self.fold(name);
        let how = if self.is_banned_by(&folded, &by, &nick) { Departure::Banned } else { Departure::Kicked };
        let change = RoomChange::Left { status, how, by: Some(by.clone()) };
        if self.is_own(&by) {
            let who = self.fold(&nick);
            self.settle(|what| matches!(what, What::Kick { room, nick } if *room == folded && *nick == who));
        }
        if self.is_own(&nick) { self.out(name, change) } else { self.gone(name, &nick, change) }
    }

    /// Whether this operator has banned somebody from a room; then it is no mere kick that they leave by.
    fn is_banned_by(&self, room: &str, by: &str, nick: &str) -> bool {
        let Some(rare) = self.rare.as_ref().filter(|rare| !rare.bans.is_empty()) else { return false };
        let person = self.people.get(nick);
        // What is not known of somebody is fitted by no mask that asks for it.
        let host = person.as_ref().and_then(|person| person.host.as_deref()).unwrap_or("@");
        let (who, by) = (self.fold(&format!("{nick}!{host}")), self.fold(by));
        rare.bans.iter().any(|ban| *ban.room == *room && ban.by == by && fits(&ban.mask, &who))
    }

    /// A ban is set or lifted; the latest are remembered, for the kicks that follow them.
    fn note_ban(&mut self, room: &str, by: &str, mask: &str, on: bool) {
        if !on && self.rare.is_none() {
            return;
        }
        let (by, mask) = (self.fold(by), self.fold(mask));
        let bans = &mut self.rare().bans;
        bans.retain(|ban| *ban.room != *room || ban.mask != mask);
        if on {
            if bans.len() >= BANS {
                bans.remove(0);
            }
            bans.push(Ban { room: room.into(), by, mask });
        }
    }

    /// Somebody left one room.
    fn gone(&mut self, name: &str, nick: &str, change: RoomChange) {
        let Some(room) = self.room(name) else { return };
        if view(&room.view).leave(&self.people, nick).is_some() {
            let from = room.occupant(nick);
            self.people.release(nick);
            self.emit(from, Event::Room(change));
        }
    }

    /// The person of this nick, as this session has seen them.
    pub(super) fn seen_as(&self, nick: &str) -> Option<Arc<Person>> {
        let person = |room: &Room| view(&room.view).get(&self.people, nick).map(|m| m.person.clone());
        self.rooms.values().find_map(|room| person(room))
    }

    pub(super) fn on_quit(&mut self, line: &Line<'_>) {
        let nick = line.source.nick();
        if self.is_own(nick) {
            return; // the stream's end says it
        }
        let seen = self.seen_as(nick);
        let change = RoomChange::Left { status: self.words(line.param(0)), how: Departure::Quit, by: None };
        for from in self.rooms_of(nick, |view, people| view.leave(people, nick).is_some()) {
            if let (true, Address::Occupant { room, .. }) = (self.folds, &from) {
                self.rare().touched.push(room.clone());
            }
            self.emit(from, Event::Room(change.clone()));
        }
        if let Some(seen) = seen {
            self.people.forget_seen(&seen);
        }
        self.types_no_more(nick);
        self.watched_quits(nick);
        let folded = self.fold(nick);
        self.is_back(&folded);
        self.regain(nick);
    }

    /// Changes every view and gives the occupant's address in those where something changed.
    pub(super) fn rooms_of(
        &self,
        nick: &str,
        mut change: impl FnMut(&mut RoomView, &isthmus_bridge::room::People) -> bool,
    ) -> Vec<Address> {
        let all = self.rooms.values();
        all.filter(|room| change(&mut view(&room.view), &self.people)).map(|room| room.occupant(nick)).collect()
    }

    pub(super) fn on_nick(&mut self, line: &Line<'_>) {
        let (old, new) = (line.source.nick(), line.param(0));
        // COMPAT(InspIRCd 3): the labelled answer to our own NICK already comes from the new nick.
        let renamed = self.label != 0 && self.waits_for_nick(self.label);
        let before = if renamed { self.own_nick().to_owned() } else { old.to_owned() };
        let (old, own) = (before.as_str(), renamed || self.is_own(old));
        let seen = self.seen_as(old);
        let person = seen.map_or_else(|| self.people.intern(new), |seen| self.people.rename_seen(&seen, new));
        if own && let Some(link) = &mut self.link {
            new.clone_into(&mut link.nick);
        }
        let renamed = self.rooms_of(old, |view, people| view.rename(people, old, person.clone()).is_some());
        for from in renamed {
            self.emit(from, Event::Room(RoomChange::Renamed { nick: new.to_owned() }));
        }
        if own {
            self.has_typed_nick(new);
            self.settle(|what| matches!(what, What::Nick));
        } else {
            self.types_no_more(old);
            let (old_key, new_key) = (self.fold(old), self.fold(new));
            if let Some((known, _)) = self.talks.iter_mut().find(|(known, _)| *known == old_key) {
                *known = new_key;
            }
            self.regain(old);
        }
    }

    // What is known of persons.

    pub(super) fn on_away(&mut self, line: &Line<'_>) {
        let nick = line.source.nick();
        let away = !line.param(0).is_empty();
        if !away {
            let folded = self.fold(nick);
            self.is_back(&folded);
        }
        // `*` says nothing but that they are not there (`draft/pre-away`).
        let words = self.words(line.param(0)).filter(|words| words != "*");
        let person = self.people.away(nick, words.as_deref());
        let changed = self.rooms_of(nick, |view, people| {
            let before = view.get(people, nick).map(|m| (m.rank, m.person.away.clone()));
            view.update(person.clone());
            let after = view.mark(people, nick, Rank::AWAY, away);
            before.is_some_and(|(rank, words)| Some(rank) != after || words != person.away)
        });
        self.changed(changed);
        self.on_watched_away(nick, line.param(0));
    }

    /// ACCOUNT, CHGHOST: the person is another value from now on.
    pub(super) fn on_person(&mut self, line: &Line<'_>) {
        let nick = line.source.nick();
        let person = if line.command.eq_ignore_ascii_case("CHGHOST") {
            let host = format!("{}@{}", line.param(0), line.param(1));
            if self.is_own(nick)
                && let Some(link) = &mut self.link
            {
                link.host = Some(host.as_str().into());
            }
            self.people.learn(nick, Some(&host), None)
        } else {
            let account = line.param(0);
            self.people.learn(nick, line.source.host(), Some(if account == "*" { "" } else { account }))
        };
        let changed = self.rooms_of(nick, |view, _| view.update(person.clone()));
        self.changed(changed);
    }

    /// WHOIS says whether somebody runs the network, our own user modes say it of the user.
    pub(super) fn is_operator(&mut self, nick: &str, is: bool) {
        let changed = self.rooms_of(nick, |view, people| {
            let news = view.get(people, nick).is_some_and(|m| m.rank.has(Rank::OPERATOR) != is);
            news && view.mark(people, nick, Rank::OPERATOR, is).is_some()
        });
        self.changed(changed);
    }

    /// The user's own modes are others now.
    fn on_own_modes(&mut self, modes: &str) {
        let mut on = true;
        let (mut operator, mut registered) = (None, false);
        for letter in modes.chars() {
            match letter {
                '+' => on = true,
                '-' => on = false,
                'o' => operator = Some(on),
                'r' => registered = on,
                _ => {}
            }
        }
        if registered {
            self.settled(); // the services know who we are
        }
        if let Some(is) = operator {
            let own = self.own_nick().to_owned();
            self.is_operator(&own, is);
        }
    }

    pub(super) fn changed(&mut self, all: Vec<Address>) {
        for from in all {
            self.emit(from, Event::Room(RoomChange::Changed { by: None }));
        }
    }

    // Modes and subjects.

    pub(super) fn on_mode(&mut self, line: &Line<'_>) {
        let Some(link) = &self.link else { return };
        let by = line.source.nick();
        let words = line.words(1);
        let shown = Text::key("mode").with("target", line.param(0)).with("modes", &words).with("by", by);
        let Some(room) = self.room(line.param(0)) else {
            if self.is_own(line.param(0)) {
                self.on_own_modes(line.param(1));
            }
            return self.notice(shown);
        };
        let (room_address, mut ranked, mut set, mut bans) = (room.address(), Vec::new(), false, Vec::new());
        let mut key = None;
        for change in modes::changes(&link.server, line.params().get(1..).unwrap_or_default()) {
            let mut view = view(&room.view);
            match (change.kind, change.param) {
                (ModeKind::Rank, Some(nick)) => {
                    let rank = link.server.rank(u8::try_from(change.mode).unwrap_or(b'v'));
                    if view.mark(&self.people, nick, rank, change.on).is_some() {
                        let spelled = view.get(&self.people, nick).map_or(nick, |m| m.nick()).to_owned();
                        ranked.push(room.occupant(&spelled));
                    }
                }
                (ModeKind::List, Some(mask)) if change.mode == 'b' => bans.push((change.on, mask)),
                (ModeKind::Rank | ModeKind::List, _) => {}
                _ => {
                    if change.mode == 'k' {
                        key = Some(change.param.filter(|_| change.on).map(str::to_owned));
                    }
                    view.modes = modes::apply(&view.modes, &change, &link.server);
                    set = true;
                }
            }
        }
        let folded = self.fold(line.param(0));
        let own = self.is_own(by);
        if let Some(key) = key {
            self.learn_key(&folded, key.as_deref());
        }
        for (on, mask) in bans {
            self.note_ban(&folded, by, mask, on);
        }
        for from in ranked {
            self.emit(from, Event::Room(RoomChange::Changed { by: Some(by.to_owned()) }));
        }
        if set {
            self.emit(room_address.clone(), Event::Room(RoomChange::Settings));
        }
        match self.rooms.get_mut(&folded) {
            // Ranks that come back with many people after a netsplit are seen, and not told one by one.
            _ if self.folds => {}
            // A new channel gets its modes before its list of names.
            Some(room) if room.stage != Stage::Inside => room.note(shown),
            _ => self.notice_from(room_address, shown),
        }
        if own {
            self.settle(|what| matches!(what, What::Mode { room } if *room == folded));
        }
    }

    /// What a room is entered with the next time. Servers show `*` to who may not know it.
    fn learn_key(&mut self, folded: &str, key: Option<&str>) {
        let Some(room) = self.rooms.get_mut(folded).filter(|_| key != Some("*")) else { return };
        if room.key.as_deref() != key {
            room.key = key.map(Into::into);
            self.save_rooms();
        }
    }

    /// 324: a channel's modes.
    pub(super) fn on_modes_are(&mut self, line: &Line<'_>) {
        let modes = line.words(2);
        let folded = self.fold(line.param(1));
        if let Some(room) = self.rooms.get_mut(&folded) {
            room.modes_shown = room.asked_modes == 0;
            room.asked_modes = room.asked_modes.saturating_sub(1);
        }
        if self.rooms.get(&folded).is_none_or(|room| room.modes_shown) {
            self.show(line); // asked for by hand
        }
        let link = self.link.as_ref();
        let key = link
            .and_then(|link| modes::get(&modes, 'k', &link.server))
            .filter(|key| !key.is_empty())
            .map(str::to_owned);
        if key.is_some() {
            self.learn_key(&folded, key.as_deref());
        }
        if let Some(room) = self.rooms.get(&folded) {
            let before = std::mem::replace(&mut view(&room.view).modes, modes.clone());
            let from = room.address();
            let moderated = modes.split(' ').next().is_some_and(|letters| letters.contains('m'));
            if before.is_empty() && moderated {
                // What is learned after the join is no change of the room; only who may not speak was shown as somebody who may.
                self.emit(from, Event::Room(RoomChange::Roles));
            } else if !before.is_empty() && before != modes {
                self.emit(from, Event::Room(RoomChange::Settings));
            }
        }
        self.answer_modes(&folded, &modes);
    }

    pub(super) fn on_topic(&mut self, line: &Line<'_>) {
        let by = line.source.nick().to_owned();
        let at = self.host.now();
        self.subject(
            line.param(0),
            Subject::new(self.formatted(line.param(0), line.param(1)), Some(by.clone()), Some(at)),
            true,
        );
        if self.is_own(&by) {
            let folded = self.fold(line.param(0));
            self.settle(|what| matches!(what, What::Topic { room } if *room == folded));
        }
    }

    /// 331, 332: the subject as it is.
    pub(super) fn on_topic_is(&mut self, line: &Line<'_>) {
        match self.room(line.param(1)) {
            Some(room) if room.stage == Stage::Inside => self.show(line), // asked for by hand
            Some(_) => {}
            None => return self.show_asked(line, 1),
        }
        let words = if line.command == "331" { String::new() } else { self.formatted(line.param(1), line.param(2)) };
        self.subject(line.param(1), Subject::new(words, None, None), false);
    }

    /// 333: who set it when.
    pub(super) fn on_topic_by(&mut self, line: &Line<'_>) {
        let Some(room) = self.room(line.param(1)) else { return self.show_asked(line, 1) };
        let mut view = view(&room.view);
        let by = line.param(2).split('!').next().unwrap_or_default();
        view.subject.by = Some(by.to_owned()).filter(|b| !b.is_empty());
        view.subject.at = time::epoch(line.param(3));
    }

    fn subject(&mut self, name: &str, subject: Subject, news: bool) {
        let Some(room) = self.room(name) else { return };
        view(&room.view).subject = subject.clone();
        let from = room.address();
        if news {
            let Subject { words, by, at, .. } = subject;
            self.emit(from, Event::Room(RoomChange::Subject { subject: words, by, at }));
        }
    }

    pub(super) fn on_invite(&mut self, line: &Line<'_>) {
        let nick = line.source.nick();
        let Some(id) = self.shared.addressing.room_id(line.param(1), &self.of.network) else {
            // To what is no room here.
            if !self.is_ignored(line) {
                self.server_says(nick, &format!("INVITE {}", line.words(0)));
            }
            return;
        };
        if !self.is_own(line.param(0)) {
            // invite-notify: one member has invited somebody else.
            let Some(room) = self.room(line.param(1)) else { return };
            let text = Text::key("invited").with("nick", line.param(0)).with("by", nick);
            let from = room.address();
            return self.notice_from(from, text);
        }
        if self.is_ignored(line) {
            return;
        }
        let from = contact_id(nick, &self.of.network).map_or_else(|| self.network_address(), Address::Contact);
        self.emit(from, Event::Invited { room: id, reason: None, password: None });
    }
}
