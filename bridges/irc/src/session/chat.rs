//! Words from the network.

use std::time::{Duration, SystemTime};

use isthmus_bridge::room::Rank;
use isthmus_bridge::{
    Address, Event, ForeignMessageId, Inbound, Message, MessageKind, MessageRef, Origin, RoomChange, Text,
};
use tokio::time::Instant;

use super::leaving::Unwanted;
use super::speak::{GRACE, shown_beside};
use super::{Session, view};
use crate::address::{contact_id, split};
use crate::proto::caps::Caps;
use crate::proto::line::Line;
use crate::proto::{ctcp, time, write};
use crate::translate::formatting;

/// Between two answers to CTCP.
const CTCP: Duration = Duration::from_millis(500);
/// Nicks whose away words are remembered.
const AWAYS: usize = 200;

impl Session {
    // From the network.

    /// PRIVMSG and NOTICE.
    pub(super) fn on_words(&mut self, line: &Line<'_>) {
        let notice = line.command.eq_ignore_ascii_case("NOTICE");
        let (nick, text) = (line.source.nick(), line.param(1));
        let Some(link) = &self.link else { return };
        if link.phase == super::Phase::Registering {
            return self.server_says(line.source.0, text);
        }
        let target = link.server.without_status(line.param(0));
        let in_room = link.server.is_channel(target);
        if line.source.is_server() {
            return if in_room {
                self.server_says_in(target, line.source.0, text)
            } else {
                self.server_says(line.source.0, text)
            };
        }
        let own = self.is_own(nick);
        let echoes = link.cap.active.has(Caps::ECHO) && !self.backlog;
        if own && echoes && !self.is_history(line) && self.on_echo(line, target, text) {
            return;
        }
        if !own && self.is_ignored(line) {
            return;
        }
        if line.is_tagged() && !self.backlog && self.on_reaction(line, target, in_room) {
            return;
        }
        match ctcp::parse(text) {
            Some(("ACTION", words)) => self.hear(line, target, in_room, words, Kind::Action),
            // What was asked long ago, as history tells, is not answered now.
            Some(_) if own || line.tag("batch").is_some() => {}
            Some((command, words)) if notice => self.on_ctcp_answer(nick, command, words),
            Some((command, words)) => self.on_ctcp(nick, command, words, in_room),
            None if notice => self.hear(line, target, in_room, text, Kind::Notice),
            None => self.hear(line, target, in_room, text, Kind::Words),
        }
    }

    /// Tags without words: a reaction, or somebody is typing (`+typing`).
    pub(super) fn on_tags(&mut self, line: &Line<'_>) {
        let Some(link) = &self.link else { return };
        if line.source.is_server() || self.backlog || self.is_ignored(line) {
            return;
        }
        let target = link.server.without_status(line.param(0));
        let in_room = link.server.is_channel(target);
        if self.on_reaction(line, target, in_room) {
            return;
        }
        self.on_typing(line, target, in_room);
    }

    fn hear(&mut self, line: &Line<'_>, target: &str, in_room: bool, text: &str, kind: Kind) {
        let nick = line.source.nick();
        // Our own words to somebody that we did not send: another program behind the same bouncer, or a line typed by hand, which the server echoes.
        let elsewhere = !in_room && self.is_own(nick) && !self.is_own(target);
        if elsewhere && line.tag("batch").is_some() {
            return; // of what a server plays again nobody can tell what we said ourselves
        }
        let from = if in_room {
            let Some(room) = self.room(target) else { return self.overhears(target, nick, text, kind) };
            room.occupant(nick)
        } else {
            self.talk_address(if elsewhere { target } else { nick })
        };
        if !self.backlog {
            self.has_said(&from);
        }
        if in_room && line.is_tagged() {
            self.on_person_tags(line, target);
        }
        let settings = self.room(target).filter(|_| in_room).map_or(&self.settings, |r| &r.settings);
        let (words, looks) = shown_beside(settings, text);
        let mut message = if in_room { Message::group(words) } else { Message::chat(words) };
        message.looks = looks;
        message.action = kind == Kind::Action;
        if kind == Kind::Notice {
            // Clients show who speaks and no hints: how it was meant must stand in the words.
            message.put_before("[notice] ");
            if !in_room && !elsewhere {
                message.kind = MessageKind::Notice;
                self.settled_by(nick);
            }
        }
        message.reply_to = reply_tag(line).map(|id| MessageRef::foreign(self.of.network.clone(), id));
        let event = if elsewhere { Event::Sent(Box::new(message)) } else { Event::Message(Box::new(message)) };
        let mut inbound = Inbound::new(self.of.user.clone(), from, event);
        inbound.at = self.time_of(line);
        inbound.id = msgid(line);
        if self.backlog {
            inbound.origin = Origin::Backlog;
        }
        if in_room {
            self.remember_time(target, &inbound);
        } else {
            self.remember_private(inbound.at);
        }
        self.used = Instant::now();
        self.push(inbound);
    }

    /// Words in a room that a server has put us in and that nobody has entered yet. A bouncer is in many that the user does not look at.
    fn overhears(&mut self, room: &str, nick: &str, text: &str, kind: Kind) {
        let folded = self.fold(room);
        let put_in = |(name, why): &(Box<str>, Unwanted)| matches!(why, Unwanted::Invited(_)) && *name == folded;
        if self.backlog || self.is_bouncer() || self.is_own(nick) || !self.unasked.iter().any(put_in) {
            return;
        }
        let how = match kind {
            Kind::Words => "",
            Kind::Notice => "[notice] ",
            Kind::Action => "/me ",
        };
        self.server_says(nick, &format!("{room}: {how}{text}"));
    }

    /// What a message's tags tell of who sent it.
    fn on_person_tags(&mut self, line: &Line<'_>, room: &str) {
        let nick = line.source.nick();
        if line.tag("bot").is_some() || line.tag("inspircd.org/bot").is_some() {
            self.is_bot(room, nick);
        }
        if !self.has_cap(Caps::ACCOUNT_TAG) {
            return;
        }
        let Some(account) = line.tag("account") else { return };
        // What this session has shown counts: another one may have learned it already.
        let known = self.room(room).is_none_or(|room| {
            let view = view(&room.view);
            view.get(&self.people, nick).is_none_or(|m| m.person.account.as_deref() == Some(&*account))
        });
        if !known {
            let person = self.people.learn(nick, line.source.host(), Some(&account));
            let changed = self.rooms_of(nick, |view, _| view.update(person.clone()));
            self.changed(changed);
        }
    }

    /// Somebody says of themselves that they are a program (IRCv3 bot mode); told once.
    pub(super) fn is_bot(&mut self, room: &str, nick: &str) {
        let Some(room) = self.room(room) else { return };
        let news = {
            let mut view = view(&room.view);
            let known = view.get(&self.people, nick).is_none_or(|m| m.rank.has(Rank::BOT));
            !known && view.mark(&self.people, nick, Rank::BOT, true).is_some()
        };
        if news {
            let from = room.occupant(nick);
            self.emit(from, Event::Room(RoomChange::Changed { by: None }));
        }
    }

    /// The network's services have answered the on-connect commands; what they say before they can have heard them is no answer.
    fn settled_by(&mut self, nick: &str) {
        if !self.link.as_ref().is_some_and(|l| l.commanded) {
            return;
        }
        if nick.eq_ignore_ascii_case("NickServ")
            || nick.eq_ignore_ascii_case("Q")
            || nick.eq_ignore_ascii_case("AuthServ")
        {
            self.settled();
        }
    }

    /// Whence a private message is shown: from the room in which the conversation began, while both are in it, else from the nick's own address.
    pub(super) fn talk_address(&self, nick: &str) -> Address {
        let folded = self.people.folded(nick);
        let talk = self.talks.iter().find(|(known, _)| **known == *folded);
        let room = talk.and_then(|(_, id)| self.room(split(id.as_str()).0)).filter(|room| !room.unattended);
        if let Some(room) = room
            && let Some(member) = view(&room.view).get(&self.people, nick)
        {
            return room.occupant(member.nick());
        }
        contact_id(nick, &self.of.network).map_or_else(|| self.network_address(), Address::Contact)
    }

    /// CTCP asks: answered politely, with nothing personal, and not more often than a flood allows.
    fn on_ctcp(&mut self, nick: &str, command: &str, words: &str, in_room: bool) {
        let Some(answer) = ctcp_answer(command, words, self.host.now()) else {
            let text = Text::key("ctcp").with("nick", nick).with("command", formatting::from_irc(command, false));
            let from = self.talk_address(nick);
            return if in_room { self.notice(text) } else { self.notice_from(from, text) };
        };
        let name = command.to_ascii_uppercase();
        let Some(link) = &mut self.link else { return };
        // Not more than one in a moment, and none while anything waits: a flood of questions is not to become a flood of answers, nor a queue of
        // them before the user's words.
        let now = Instant::now();
        if link.queue.is_empty() && link.again.as_ref().and_then(|a| a.ctcp).is_none_or(|at| at <= now) {
            link.again.get_or_insert_default().ctcp = Some(now + CTCP);
            link.sometime(write::text("NOTICE", &[nick], ctcp::make(&name, &answer).as_bytes()));
        }
    }

    /// 301: shown once for each change of what somebody says of being away.
    pub(super) fn on_away_words(&mut self, line: &Line<'_>) {
        let nick = line.param(1).to_owned();
        let folded = self.fold(&nick);
        if let Some(facts) = self.asked_about(&folded) {
            facts.set("away", formatting::from_irc(line.param(2), false));
            return;
        }
        let words = self.shown(&self.settings, line.param(2));
        let aways = &mut self.rare().aways;
        match aways.iter_mut().find(|away| away.nick == folded) {
            Some(away) => {
                away.spoken = None;
                if *away.words == *words {
                    return;
                }
                away.words = words.as_str().into();
            }
            None => {
                if aways.len() >= AWAYS {
                    aways.remove(0);
                }
                aways.push(Away { nick: folded, words: words.as_str().into(), spoken: None });
            }
        }
        let from = self.talk_address(&nick);
        self.notice_from(from, Text::key("away").with("nick", &nick).with("words", words));
    }

    /// They are back, or gone for good: whatever they say of being away is news again.
    pub(super) fn is_back(&mut self, folded: &str) {
        if let Some(rare) = self.rare.as_mut().filter(|rare| !rare.aways.is_empty()) {
            rare.aways.retain(|away| *away.nick != *folded);
        }
    }

    /// Words to somebody are written. Who was spoken to a while ago, and no 301 came, is back since.
    pub(super) fn speaks_to_away(&mut self, folded: &str, now: Instant) {
        let Some(rare) = self.rare.as_mut().filter(|rare| !rare.aways.is_empty()) else { return };
        let Some(away) = rare.aways.iter_mut().find(|away| *away.nick == *folded) else { return };
        if away.spoken.is_some_and(|at| at + GRACE <= now) {
            self.is_back(folded);
        } else {
            away.spoken.get_or_insert(now);
        }
    }

    /// A server's words to the user: `server: words`.
    pub(super) fn server_says(&mut self, source: &str, words: &str) {
        if !self.is_up() && self.is_quiet() {
            return; // the same welcome again, while a broken connection is tried
        }
        let words = self.shown(&self.settings, words);
        let text = if source.is_empty() { words } else { format!("{source}: {words}") };
        if !text.trim().is_empty() {
            self.notice(Text::plain(text));
        }
    }

    /// A server's words to a room: from there, where the user is in it.
    fn server_says_in(&mut self, name: &str, source: &str, words: &str) {
        let Some(room) = self.room(name) else { return self.server_says(source, &format!("{name}: {words}")) };
        let words = self.shown(&room.settings, words);
        let text = Text::plain(if source.is_empty() { words } else { format!("{source}: {words}") });
        let (inside, from) = (room.is_inside(), room.address());
        if inside {
            return self.notice_from(from, text);
        }
        if let Some(room) = self.room_mut(name) {
            room.note(text);
        }
    }

    /// The server's own words without its name: the welcome, the message of the day.
    pub(super) fn server_text(&mut self, words: &str) {
        self.server_says("", words);
    }
}

/// What somebody says of being away, as it was told.
#[derive(Debug)]
pub(super) struct Away {
    nick: Box<str>,
    words: Box<str>,
    /// Since when words are on their way to them that no 301 has come for.
    spoken: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Words,
    Notice,
    Action,
}

/// What is answered to a question by CTCP, with nothing personal; `None`: nothing is.
pub(super) fn ctcp_answer(command: &str, words: &str, now: SystemTime) -> Option<String> {
    Some(match command.to_ascii_uppercase().as_str() {
        "VERSION" => concat!("Isthmus ", env!("CARGO_PKG_VERSION")).to_owned(),
        "PING" => words.chars().take(64).collect(),
        "TIME" => time::utc(now),
        "CLIENTINFO" => "ACTION CLIENTINFO PING TIME VERSION".to_owned(),
        _ => return None,
    })
}

/// The message that this one answers.
pub(super) fn reply_tag(line: &Line<'_>) -> Option<ForeignMessageId> {
    let id = line.tag("+reply").or_else(|| line.tag("+draft/reply"))?;
    (!id.is_empty()).then(|| ForeignMessageId::new(id.into_owned()))
}

pub(super) fn msgid(line: &Line<'_>) -> Option<ForeignMessageId> {
    line.tag("msgid").filter(|id| !id.is_empty()).map(|id| ForeignMessageId::new(id.into_owned()))
}
