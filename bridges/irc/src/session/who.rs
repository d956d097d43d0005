//! Who of a room was away, logged in, a bot or an operator before we came: WHO tells it, one room at a time. What happens later is told by itself
//! (`away-notify`, `account-notify`), so only servers that do that are asked.

use std::sync::Arc;
use std::time::Duration;

use isthmus_bridge::room::{Member, People, Rank, RoomView};
use tokio::time::Instant;

use super::few::Few;
use super::{Session, view};
use crate::proto::caps::Caps;
use crate::proto::line::Line;
use crate::proto::write;

/// Rooms of more people are not asked about: the answer is as long as they are many.
const MAX_PEOPLE: usize = 1_000;
/// By this an answer is known to be one of ours (WHOX: up to three digits).
const TOKEN: &str = "417";
/// The question as WHOX has it. The fields come in this order, whatever the order of the letters.
const FIELDS: &str = "%tcuhnfa,417";
/// A question that was not answered for this time never will be. It may have waited for its turn for long.
const LOST: Duration = Duration::from_secs(300);

/// A room that is asked about. The first is, the others wait.
#[derive(Debug)]
pub(crate) struct Asked {
    room: Box<str>,
    /// As often it was asked for by hand meanwhile: those answers are shown, too.
    typed: u8,
    /// When; not yet.
    at: Option<Instant>,
}

/// What WHO tells of somebody.
const MARKS: [Rank; 3] = [Rank::AWAY, Rank::OPERATOR, Rank::BOT];

/// Whether a room is asked about, where the server tells (or does not) what happens later.
pub(super) fn is_asked(notified: bool, view: &RoomView) -> bool {
    notified && view.members().len() <= MAX_PEOPLE
}

/// Those of whom WHO has told something, or what came later. Of ourselves the user knows.
pub(super) fn marked(view: &RoomView) -> Few<Member> {
    let others = view.members().iter().filter(|m| m.nick() != view.nick());
    others.filter(|m| MARKS.iter().any(|mark| m.rank.has(*mark))).cloned().collect()
}

/// After a break people are taken for what they were, until the answer to WHO says otherwise: nobody comes back and goes again because we did.
pub(super) fn mark_as_before(view: &mut RoomView, people: &People, before: Vec<Member>) {
    for Member { person, rank } in before {
        // Of another host, or of none any more, it is somebody else.
        let other = |now: &Member| person.host.is_some() && now.person.host != person.host;
        if view.get(people, &person.nick).is_none_or(other) {
            continue;
        }
        for mark in MARKS.into_iter().filter(|mark| rank.has(*mark)) {
            view.mark(people, &person.nick, mark, true);
        }
    }
}

impl Session {
    /// A room has been entered.
    pub(super) fn ask_who(&mut self, name: &str) {
        let folded = self.fold(name);
        let notified = self.has_cap(Caps::AWAY_NOTIFY);
        if !self.room(name).is_some_and(|room| is_asked(notified, &view(&room.view))) {
            return;
        }
        let now = Instant::now();
        let Some(link) = &mut self.link else { return };
        link.whos.retain(|asked| asked.at.map_or(asked.room != folded, |at| at + LOST > now));
        link.whos.push(Asked { room: folded, typed: 0, at: None });
        if link.whos.first().is_some_and(|first| first.at.is_none()) {
            self.ask_next();
        }
    }

    /// The server asks whether we are there: what it has not answered it never will.
    pub(super) fn ask_who_again(&mut self) {
        let now = Instant::now();
        let Some(link) = self.link.as_mut().filter(|link| !link.whos.is_empty()) else { return };
        link.whos.retain(|asked| asked.at.is_none_or(|at| at + LOST > now));
        if link.whos.first().is_some_and(|first| first.at.is_none()) {
            self.ask_next();
        }
    }

    fn ask_next(&mut self) {
        let Some(link) = &mut self.link else { return };
        let Some(next) = link.whos.first_mut() else { return };
        next.at = Some(Instant::now());
        let Some(room) = self.rooms.get(&next.room).filter(|room| room.is_inside()) else {
            return self.who_is_over();
        };
        let words: &[&str] = if link.server.whox { &[&room.name, FIELDS] } else { &[&room.name] };
        link.sometime(write::line("WHO", words));
    }

    fn who_is_over(&mut self) {
        if let Some(link) = &mut self.link {
            let mut first = true;
            link.whos.retain(|_| !std::mem::take(&mut first));
        }
        self.ask_next();
    }

    /// WHO is typed by hand.
    pub(super) fn types_who(&mut self, mask: &str) {
        let folded = self.fold(mask);
        if let Some(asked) = self.link.as_mut().and_then(|l| l.whos.first_mut()).filter(|asked| asked.room == folded) {
            asked.typed = asked.typed.saturating_add(1);
        }
    }

    /// `352 <client> <channel> <user> <host> <server> <nick> <flags> :<hops> <real name>` (RFC 2812 section 5.1).
    pub(super) fn on_who(&mut self, line: &Line<'_>) {
        if line.params().len() >= 7 {
            let host = format!("{}@{}", line.param(2), line.param(3));
            self.learn_who((line.param(1), line.param(5)), &host, line.param(6), None);
        }
        if !self.asks_about(line.param(1)) {
            self.show(line);
        }
    }

    /// `354 <client> 417 <channel> <user> <host> <nick> <flags> <account>` (WHOX), where the question was ours.
    pub(super) fn on_whox(&mut self, line: &Line<'_>) {
        if line.param(1) != TOKEN {
            return self.show(line);
        }
        if line.params().len() >= 8 {
            let host = format!("{}@{}", line.param(3), line.param(4));
            let account = Some(line.param(7)).map(|account| if account == "0" { "" } else { account });
            self.learn_who((line.param(2), line.param(5)), &host, line.param(6), account);
        }
    }

    /// 315: those were all.
    pub(super) fn on_who_end(&mut self, line: &Line<'_>) {
        let folded = self.fold(line.param(1));
        match self.link.as_mut().and_then(|l| l.whos.first_mut()).filter(|asked| asked.room == folded) {
            Some(asked) if asked.typed > 0 => {
                asked.typed -= 1;
                self.show(line);
            }
            Some(_) => self.who_is_over(),
            None => self.show(line),
        }
    }

    /// Whether it was a question of ours for which the server has no time now. An end comes all the same.
    pub(super) fn is_who_refused(&self) -> bool {
        self.link.as_ref().and_then(|l| l.whos.first()).is_some_and(|asked| asked.typed == 0)
    }

    /// Whether lines about it answer a question of ours, and none that was typed.
    fn asks_about(&self, name: &str) -> bool {
        let folded = self.fold(name);
        let first = self.link.as_ref().and_then(|l| l.whos.first());
        first.is_some_and(|asked| asked.room == folded && asked.typed == 0)
    }

    /// `flags`: `H` (here) or `G` (gone), then `*` for operators and the server's letter for bots, among others.
    fn learn_who(&mut self, (room, nick): (&str, &str), host: &str, flags: &str, account: Option<&str>) {
        let Some(link) = &self.link else { return };
        let bot = flags.bytes().skip(1).any(|flag| link.server.bot == Some(flag));
        let (gone, operator) = (flags.starts_with('G'), flags.contains('*'));
        let Some(before) = self.people.get(nick).filter(|_| !self.is_own(nick)) else {
            return; // what we are the user says; who is in no room of ours is of no interest
        };
        let mut person = self.people.learn(nick, Some(host), account);
        if !gone && person.away.is_some() {
            person = self.people.away(nick, None); // what they said of it is over with it
        }
        let learn = |view: &mut RoomView, people: &People| {
            let Some(before) = view.get(people, nick).map(|m| m.rank) else { return false };
            view.update(person.clone());
            let mut now = before.set(Rank::AWAY, gone).set(Rank::OPERATOR, operator);
            if bot {
                now = now.set(Rank::BOT, true);
            }
            if now == before {
                return false;
            }
            for mark in MARKS {
                view.mark(people, nick, mark, now.has(mark));
            }
            true
        };
        // Most rows are of who is known already, and tell nothing new: only what does is looked for in all rooms.
        let here = self.room(room).map(|room| learn(&mut view(&room.view), &self.people));
        let changed = match here {
            Some(false) if Arc::ptr_eq(&before, &person) => return,
            Some(news) => {
                let mut changed = self.rooms_of(nick, learn);
                changed.extend(self.room(room).filter(|_| news).map(|room| room.occupant(nick)));
                changed
            }
            None => self.rooms_of(nick, learn),
        };
        self.changed(changed);
    }
}
