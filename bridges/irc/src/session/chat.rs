//! Words in both directions. A user's own words come back to them from the server's echo, or from us when they were written.

use std::time::Duration;

use isthmus_bridge::room::Rank;
use isthmus_bridge::{
    Address, Delivery, DeliveryError, Event, Failure, ForeignMessageId, Inbound, Message, MessageKind, Resolved,
    RoomChange, RoomId, Text, Ticket,
};
use tokio::time::Instant;

use super::link::{Queued, Said};
use super::{Session, WAIT, Waiting, view};
use crate::address::{contact_id, split};
use crate::proto::caps::Caps;
use crate::proto::line::Line;
use crate::proto::{ctcp, time, write};
use crate::settings;
use crate::translate::{encoding, formatting, split as lines};

/// Without an echo a message counts as taken when nobody has complained for this time.
const GRACE: Duration = Duration::from_secs(2);
/// With one, it comes within this time, or something has swallowed the message.
const ECHO: Duration = Duration::from_secs(30);
/// What a server puts before our words where it has not said it yet: `!user@host`.
const UNKNOWN_HOST: usize = 1 + 10 + 1 + 63;
/// Between two lines that say that the user is typing.
const TYPING: Duration = Duration::from_secs(3);
/// Between two answers to CTCP.
const CTCP: Duration = Duration::from_millis(500);
/// Nicks whose away words are remembered.
const AWAYS: usize = 200;

/// To whom words go.
pub(super) struct To {
    /// As the server spells it.
    pub(super) name: String,
    /// The room, if it is one.
    pub(super) room: Option<RoomId>,
}

impl Session {
    // From the user.

    /// A message to somebody; without a connection it waits for one.
    pub(super) fn say_to_nick(&mut self, nick: &str, delivery: Box<Delivery>) {
        if !self.is_up() {
            self.waiting.push((Waiting::Words(delivery), Instant::now() + WAIT));
            return self.connect();
        }
        let to = To { name: nick.to_owned(), room: None };
        self.say(to, delivery);
    }

    /// Sends a message line by line.
    pub(super) fn say(&mut self, to: To, delivery: Box<Delivery>) {
        let Delivery { event, ticket, .. } = *delivery;
        let isthmus_bridge::Intent::Send(message) = event.intent else { return ticket.failed(super::unsupported()) };
        let settings =
            to.room.as_ref().and_then(|_| self.room(&to.name)).map_or(&self.settings, |r| &r.settings).clone();
        let most = usize::try_from(self.settings.number(settings::MAX_LINES)).unwrap_or(5).max(1);
        let all = lines::lines(&message.body, self.room_for(&to.name, message.action));
        if all.is_empty() {
            return ticket.failed(DeliveryError::new(Failure::Rejected, Text::key("nothing-to-say")));
        }
        if all.len() > most {
            let text = Text::key("too-many-lines").with("lines", all.len()).with("limit", most);
            return ticket.failed(DeliveryError::new(Failure::TooLong { limit: most as u64 }, text));
        }
        let folded = self.fold(&to.name);
        let encoding = encoding::named(settings.str(settings::ENCODING_OUT));
        let styled = settings.bool(settings::SEND_FORMATTING);
        let Some(link) = &mut self.link else {
            return ticket.failed(DeliveryError::temporary(Failure::Unreachable, Text::key("not-connected")));
        };
        let last = all.len() - 1;
        let mut ticket = Some(ticket);
        for (part, text) in all.into_iter().enumerate() {
            let words = if styled { formatting::to_irc(text) } else { text.to_owned() };
            let sent = if message.action { ctcp::make("ACTION", &words) } else { words };
            let line = write::text("PRIVMSG", &[&to.name], &encoding::encode(&sent, encoding));
            let said = Said {
                target: folded.clone(),
                room: to.room.clone(),
                text: sent.into(),
                action: message.action,
                key: event.key.clone(),
                part: u16::try_from(part).unwrap_or(u16::MAX),
                ticket: if part == last { ticket.take() } else { None },
                ids: Vec::new(),
                until: Instant::now(),
            };
            link.enqueue(Queued { line, said: Some(Box::new(said)), quiet: false });
        }
    }

    /// Bytes of words that fit into a line to this target, with the prefix that the server puts before it.
    fn room_for(&self, target: &str, action: bool) -> usize {
        let Some(link) = &self.link else { return 256 };
        let prefix = 1 + link.nick.len() + link.host.as_deref().map_or(UNKNOWN_HOST, |h| h.len() + 1) + 1;
        let command = "PRIVMSG ".len() + target.len() + " :".len() + "\r\n".len();
        let frame = if action { "\u{1}ACTION \u{1}".len() } else { 0 };
        write::MAX.saturating_sub(prefix + command + frame).max(64)
    }

    /// Writes the lines whose turn it is.
    pub(super) fn turn(&mut self, now: Instant) {
        let Some(link) = &mut self.link else { return };
        if link.queue.is_empty() || link.phase == super::Phase::Registering {
            return;
        }
        let echoes = link.cap.active.has(Caps::ECHO);
        let mut wrote = Vec::new();
        link.turn(now, |said| wrote.push(said));
        for mut said in wrote {
            said.until = now + if echoes { ECHO } else { GRACE };
            if !echoes && said.room.is_some() {
                self.reflect(&said, None, None);
            }
            if let Some(link) = &mut self.link {
                link.said.push_back(said);
            }
        }
    }

    /// Shows the user's own words in the room, as they were sent.
    fn reflect(&mut self, said: &Said, line: Option<&Line<'_>>, heard: Option<&str>) {
        let Some(room) = said.room.as_ref().and_then(|id| self.room(split(id.as_str()).0)) else { return };
        let own = view(&room.view).nick().to_owned();
        let from = room.occupant(&own);
        let text = heard.unwrap_or(&said.text);
        let text = ctcp::parse(text).filter(|_| said.action).map_or(text, |(_, words)| words);
        let mut message = Message::group(self.shown(&room.settings, text));
        message.action = said.action;
        let mut inbound = Inbound::new(self.of.user.clone(), from, Event::Message(Box::new(message)));
        inbound.at = line.map_or_else(|| self.host.now(), |line| self.time_of(line));
        inbound.id = line.and_then(msgid);
        inbound.echo_of = Some((said.key.clone(), said.part));
        self.push(inbound);
    }

    fn shown(&self, settings: &Resolved, text: &str) -> String {
        formatting::from_irc(text, settings.str(settings::FORMATTING) == settings::STYLING).into_owned()
    }

    /// Words whose time has come: nobody has complained, or the echo is missing.
    pub(super) fn look_after_words(&mut self, now: Instant) {
        let echoes = self.has_cap(Caps::ECHO);
        let mut settled = false;
        while let Some(link) = &mut self.link
            && link.said.front().is_some_and(|s| s.until <= now)
        {
            let Some(said) = link.said.pop_front() else { return };
            settled = true;
            if let Some(ticket) = said.ticket {
                if echoes {
                    ticket.failed(DeliveryError::uncertain(Text::key("no-echo")));
                } else {
                    ticket.done(vec![isthmus_bridge::Leg::sent(None, said.ids)]);
                }
            }
        }
        if settled {
            self.close_if_unused();
        }
    }

    /// The server's copy of our own words. `false` where we never said them (a line typed by hand, or another client's).
    fn on_echo(&mut self, line: &Line<'_>, target: &str, text: &str) -> bool {
        let folded = self.fold(target);
        let Some(link) = &mut self.link else { return false };
        let same = link.said.iter().position(|s| s.target == folded && *s.text == *text);
        // Some servers change words (colours are stripped): then the first that waits is meant.
        let Some(at) = same.or_else(|| link.said.iter().position(|s| s.target == folded)) else { return false };
        let Some(mut said) = link.said.remove(at) else { return false };
        said.ids.extend(msgid(line));
        if said.ticket.is_none()
            && let Some(next) = link.said.iter_mut().find(|s| s.key == said.key)
        {
            next.ids.append(&mut said.ids);
        } else if said.ticket.is_none()
            && let Some(next) = link.queue.iter_mut().filter_map(|q| q.said.as_mut()).find(|s| s.key == said.key)
        {
            next.ids.append(&mut said.ids);
        }
        self.reflect(&said, Some(line), Some(text));
        if let Some(ticket) = said.ticket.take() {
            ticket.done(vec![isthmus_bridge::Leg::sent(None, std::mem::take(&mut said.ids))]);
        }
        true
    }

    /// The server complains about what was said to this target: the first message that may be meant fails.
    pub(super) fn refuse_words(&mut self, target: &str, error: &DeliveryError) -> bool {
        let folded = self.fold(target);
        let Some(link) = &mut self.link else { return false };
        let Some(at) = link.said.iter().position(|s| s.target == folded) else { return false };
        let Some(said) = link.said.remove(at) else { return false };
        let ticket: Option<Ticket> = said.ticket.or_else(|| {
            let queued = link.queue.iter_mut().filter_map(|q| q.said.as_mut());
            let mut others = link.said.iter_mut().chain(queued).filter(|s| s.key == said.key);
            others.find_map(|s| s.ticket.take())
        });
        // A further line of a message that has failed already says nothing new.
        if let Some(ticket) = ticket {
            ticket.failed(error.clone());
        }
        true
    }

    // From the network.

    /// PRIVMSG and NOTICE.
    pub(super) fn on_words(&mut self, line: &Line<'_>) {
        let notice = line.command.eq_ignore_ascii_case("NOTICE");
        let (nick, text) = (line.source.nick(), line.param(1));
        let Some(link) = &self.link else { return };
        if line.source.is_server() || link.phase == super::Phase::Registering {
            return self.server_says(line.source.0, text);
        }
        let target = link.server.without_status(line.param(0));
        let in_room = link.server.is_channel(target);
        let own = self.is_own(nick);
        if own && link.cap.active.has(Caps::ECHO) && self.on_echo(line, target, text) {
            return;
        }
        match ctcp::parse(text) {
            Some(("ACTION", words)) => self.hear(line, target, in_room, words, Kind::Action),
            Some(_) if own => {}
            Some((command, words)) if notice => self.on_ctcp_answer(nick, command, words),
            Some((command, words)) => self.on_ctcp(nick, command, words, in_room),
            None if notice => self.hear(line, target, in_room, text, Kind::Notice),
            None => self.hear(line, target, in_room, text, Kind::Words),
        }
    }

    /// Tags without words: somebody is typing (draft `+typing`).
    pub(super) fn on_tags(&mut self, line: &Line<'_>) {
        let nick = line.source.nick();
        let Some(typing) = line.tag("+typing") else { return };
        let Some(link) = &self.link else { return };
        if self.is_own(nick) || line.source.is_server() {
            return;
        }
        let from = if link.server.is_channel(line.param(0)) {
            let Some(room) = self.room(line.param(0)) else { return };
            room.occupant(nick)
        } else {
            self.talk_address(nick)
        };
        self.emit(from, Event::Typing { on: typing == "active" });
    }

    /// The user is typing, or has stopped; at most one line in three seconds says so, as the draft asks.
    pub(super) fn typing(&mut self, target: &str, on: bool) {
        let now = Instant::now();
        let Some(link) = &mut self.link else { return };
        // It is worth no token that words could use.
        if !link.cap.active.has(Caps::TAGS) || !link.queue.is_empty() || (on && now < link.typed_at) {
            return;
        }
        link.typed_at = now + TYPING;
        link.later(write::tags(if on { "+typing=active" } else { "+typing=done" }, target));
    }

    fn hear(&mut self, line: &Line<'_>, target: &str, in_room: bool, text: &str, kind: Kind) {
        let nick = line.source.nick();
        let from = if in_room {
            let Some(room) = self.room(target) else { return };
            room.occupant(nick)
        } else if self.is_own(nick) {
            return; // our own words to somebody, from another place
        } else {
            self.talk_address(nick)
        };
        if in_room && (line.tag("bot").is_some() || line.tag("inspircd.org/bot").is_some()) {
            self.is_bot(target, nick);
        }
        let settings = self.room(target).filter(|_| in_room).map_or(&self.settings, |r| &r.settings);
        let words = self.shown(settings, text);
        let mut message = if in_room { Message::group(words) } else { Message::chat(words) };
        message.action = kind == Kind::Action;
        if kind == Kind::Notice {
            if in_room {
                // A room shows who speaks; how it was meant must stand in the words.
                message.body.insert_str(0, "[notice] ");
            } else {
                message.kind = MessageKind::Notice;
                self.settled_by(nick);
            }
        }
        let mut inbound = Inbound::new(self.of.user.clone(), from, Event::Message(Box::new(message)));
        inbound.at = self.time_of(line);
        inbound.id = msgid(line);
        self.used = Instant::now();
        self.push(inbound);
    }

    /// Somebody says of themselves that they are a program (IRCv3 bot mode); told once.
    fn is_bot(&mut self, room: &str, nick: &str) {
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

    /// The network's services have answered the on-connect commands.
    fn settled_by(&mut self, nick: &str) {
        if nick.eq_ignore_ascii_case("NickServ")
            || nick.eq_ignore_ascii_case("Q")
            || nick.eq_ignore_ascii_case("AuthServ")
        {
            self.settled();
        }
    }

    /// Whence a private message is shown: from the room in which the conversation began, while both are in it, else from the nick's own address.
    pub(super) fn talk_address(&self, nick: &str) -> Address {
        let folded = self.people.fold(nick);
        let talk = self.talks.iter().find(|(known, _)| **known == *folded);
        let room = talk.and_then(|(_, id)| self.room(split(id.as_str()).0));
        if let Some(room) = room
            && let Some(member) = view(&room.view).get(&self.people, nick)
        {
            return room.occupant(member.nick());
        }
        contact_id(nick, &self.of.network).map_or_else(|| self.network_address(), Address::Contact)
    }

    /// CTCP asks: answered politely, with nothing personal, and not more often than a flood allows.
    fn on_ctcp(&mut self, nick: &str, command: &str, words: &str, in_room: bool) {
        let now = self.host.now();
        let answer = match command.to_ascii_uppercase().as_str() {
            "VERSION" => concat!("Isthmus ", env!("CARGO_PKG_VERSION")).to_owned(),
            "PING" => words.chars().take(64).collect(),
            "TIME" => time::utc(now),
            "CLIENTINFO" => "ACTION CLIENTINFO PING TIME VERSION".to_owned(),
            _ => {
                let text = Text::key("ctcp").with("nick", nick).with("command", formatting::from_irc(command, false));
                let from = self.talk_address(nick);
                return if in_room { self.notice(text) } else { self.notice_from(from, text) };
            }
        };
        let name = command.to_ascii_uppercase();
        let Some(link) = &mut self.link else { return };
        // Not more than one in a moment: a flood of questions is not to become a flood of answers.
        let now = Instant::now();
        if link.ctcp_at <= now {
            link.ctcp_at = now + CTCP;
            link.later(write::text("NOTICE", &[nick], ctcp::make(&name, &answer).as_bytes()));
        }
    }

    /// 301: shown once for each change of what somebody says of being away.
    pub(super) fn on_away_words(&mut self, line: &Line<'_>) {
        let nick = line.param(1).to_owned();
        let words = self.shown(&self.settings, line.param(2));
        let folded = self.fold(&nick);
        match self.aways.iter_mut().find(|(known, _)| *known == folded) {
            Some((_, known)) if **known == *words => return,
            Some((_, known)) => *known = words.as_str().into(),
            None => {
                if self.aways.len() >= AWAYS {
                    self.aways.remove(0);
                }
                self.aways.push((folded, words.as_str().into()));
            }
        }
        let from = self.talk_address(&nick);
        self.notice_from(from, Text::key("away").with("nick", &nick).with("words", words));
    }

    /// A server's words to the user: `server: words`.
    pub(super) fn server_says(&mut self, source: &str, words: &str) {
        if self.failures > 0 && !self.is_up() {
            return; // the same welcome again, while a broken connection is tried
        }
        let words = self.shown(&self.settings, words);
        let text = if source.is_empty() { words } else { format!("{source}: {words}") };
        if !text.trim().is_empty() {
            self.notice(Text::plain(text));
        }
    }

    /// The server's own words without its name: the welcome, the message of the day.
    pub(super) fn server_text(&mut self, words: &str) {
        self.server_says("", words);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Words,
    Notice,
    Action,
}

fn msgid(line: &Line<'_>) -> Option<ForeignMessageId> {
    line.tag("msgid").filter(|id| !id.is_empty()).map(|id| ForeignMessageId::new(id.into_owned()))
}
