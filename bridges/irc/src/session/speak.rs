//! The user's own words. They come back to them from the server's echo, or from us when they were written.

use std::time::Duration;

use isthmus_bridge::{
    Address, Delivery, DeliveryError, Event, Failure, ForeignMessageId, Inbound, Leg, Looks, Message, Resolved, RoomId,
    Text, Ticket,
};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::chat::msgid;
use super::link::{self, Queued, Said};
use super::{Phase, Session, WAIT, Waiting, view};
use crate::address::split;
use crate::proto::caps::Caps;
use crate::proto::line::Line;
use crate::proto::{ctcp, write};
use crate::settings;
use crate::translate::{encoding, formatting, looks, split as lines};

/// Without an echo nobody has complained about a message for this time: then the server is asked whether it has come so far.
pub(super) const GRACE: Duration = Duration::from_secs(2);
/// With one, it comes within this time, or something has swallowed the message.
const ECHO: Duration = Duration::from_secs(30);
/// How a question whether words have come begins; its number follows.
const COME: &str = "said-";
/// Words without an echo that may yet be refused; of more than these the oldest count as taken.
const MAX_SAID: usize = 32;
/// What a server puts before our words where it has not said it yet: `!user@host`.
const UNKNOWN_HOST: usize = 1 + 10 + 1 + 63;

/// A line holds as many bytes of words as this, however long the names around them.
pub(super) const LEAST_LINE: usize = 64;

/// How an action begins where the core has not said that it is one: not in the first line.
const ME: &str = "/me ";

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
        self.unneeded = false;
        if !self.is_up() {
            self.waiting.push((Waiting::Words(delivery), Instant::now() + WAIT));
            return self.connect();
        }
        let to = To { name: nick.to_owned(), room: None };
        self.say(to, delivery);
    }

    /// Sends a message: as one where the server can and the user wants it, else line by line.
    pub(super) fn say(&mut self, to: To, delivery: Box<Delivery>) {
        let Delivery { event, ticket, .. } = *delivery;
        let isthmus_bridge::Intent::Send(message) = event.intent else {
            return ticket.failed(super::unsupported());
        };
        let settings =
            to.room.as_ref().and_then(|_| self.room(&to.name)).map_or(&self.settings, |r| &r.settings).clone();
        let (space, encoding) = self.space(&to.name, &settings, &message);
        let all = parts(&message, to.room.is_some(), space);
        if all.is_empty() {
            return ticket.failed(DeliveryError::new(Failure::Rejected, Text::key("nothing-to-say")));
        }
        let mut words = Words {
            folded: self.fold(&to.name),
            to,
            encoding,
            styled: formatting::has_marks(&message.body) && settings.bool(settings::SEND_FORMATTING),
            reply: message.reply_to.as_ref().and(self.about().first()).cloned(),
            key: event.key,
        };
        if all.len() > 1 && self.says_in_one(&message) {
            self.has_spoken(&words.to.name);
            return self.say_in_one(words, &message.body, space, ticket);
        }
        // One line is never too many: the setting need not be asked.
        let most = match all.len() {
            1 => 1,
            _ => usize::try_from(self.settings.number(settings::MAX_LINES)).unwrap_or(5).max(1),
        };
        if all.len() > most {
            let text = Text::key("too-many-lines").with("lines", all.len()).with("limit", most);
            return ticket.failed(DeliveryError::new(Failure::TooLong { limit: most as u64 }, text));
        }
        self.has_spoken(&words.to.name);
        let Some(link) = &mut self.link else {
            return ticket.failed(DeliveryError::temporary(Failure::Unreachable, Text::key("not-connected")));
        };
        let Some(last) = all.iter().rposition(|part| part.what != Is::Mode) else {
            all.iter().for_each(|part| link.later(part.mode(&words.to.name)));
            return ticket.sent(None);
        };
        let (mut ticket, mut number) = (Some(ticket), 0);
        for (at, part) in all.into_iter().enumerate() {
            if part.what == Is::Mode {
                link.later(part.mode(&words.to.name));
                continue;
            }
            let label = link.label();
            let action = part.what == Is::Action;
            let (sent, line) = words.line(part.text, action);
            let line = link::label(label, if number == 0 { words.replying(link, line) } else { line });
            let ticket = if at == last { ticket.take() } else { None };
            // The last line takes what the others share.
            let folded = if at == last { std::mem::take(&mut words.folded) } else { words.folded.clone() };
            let mut said = words.said((folded, sent), number, label, ticket, link.began);
            said.action = action;
            link.enqueue(Queued { line, said: Some(Box::new(said)), quiet: false, more: 0 });
            number = number.saturating_add(1);
        }
    }

    /// Whether a text of several lines goes out as one message (`draft/multiline`).
    pub(super) fn says_in_one(&self, message: &Message) -> bool {
        let Some(link) = &self.link else { return false };
        let (bytes, lines) = link.cap.multiline;
        let fits = |most: u32, n: usize| most == 0 || n <= most as usize;
        // Each line of the text may be cut into several.
        let made = message.body.lines().count() + message.body.len() / 200;
        !has_actions(message)
            && !message.body.lines().any(|line| mode_words(line).is_some())
            && self.settings.str(settings::LONG_TEXTS) != settings::LINES
            && link.cap.active.has(Caps::MULTILINE)
            && link.cap.active.has(Caps::BATCH)
            && fits(bytes, message.body.len())
            && fits(lines, made)
    }

    /// One message of many lines. The batch leaves in one piece: a server takes nothing else while it is open.
    fn say_in_one(&mut self, words: Words, body: &str, space: usize, ticket: Ticket) {
        let Some(link) = &mut self.link else { return };
        let label = link.label();
        let reference = format!("m{}", link.labels.max(label));
        let opening = write::line("BATCH", &[&format!("+{reference}"), "draft/multiline", &words.to.name]);
        let mut all = link::label(label, words.replying(link, opening));
        let (mut whole, mut more) = (String::new(), 1);
        for (number, line) in body.trim_end().split('\n').enumerate() {
            for (piece, text) in lines::pieces(line.trim_end_matches('\r'), space).into_iter().enumerate() {
                let (sent, line) = words.line(text, false);
                let batch = ("batch", reference.as_str());
                let concat = [batch, ("draft/multiline-concat", "")];
                all.extend(write::tagged(if piece > 0 { &concat } else { &concat[..1] }, line));
                if number > 0 && piece == 0 {
                    whole.push('\n');
                }
                whole.push_str(&sent);
                more += 1;
            }
        }
        all.extend(write::line("BATCH", &[&format!("-{reference}")]));
        let mut said = words.said((words.folded.clone(), whole), 0, label, Some(ticket), link.began);
        said.batch = true;
        link.enqueue(Queued { line: all, said: Some(Box::new(said)), quiet: false, more });
    }

    /// How the user's words are written there.
    fn encoding_out(&self, settings: &Resolved) -> &'static encoding_rs::Encoding {
        let utf8_only = self.link.as_ref().is_some_and(|l| l.server.utf8_only);
        if utf8_only { encoding_rs::UTF_8 } else { encoding::named(settings.str(settings::ENCODING_OUT)) }
    }

    /// Bytes of a message's words that fit into a line to somebody, and how they are written there.
    fn space(&self, to: &str, settings: &Resolved, message: &Message) -> (usize, &'static encoding_rs::Encoding) {
        // Plain text is the same in all of them.
        let plain = formatting::is_plain(&message.body);
        let encoding = if plain { encoding_rs::UTF_8 } else { self.encoding_out(settings) };
        (encoding::room(self.room_for(to, has_actions(message)), encoding), encoding)
    }

    /// Lines that a message makes, where they are sent one by one.
    pub(super) fn lines_of(&self, to: &Address, message: &Message) -> usize {
        let (name, settings) = match to {
            Address::Room(id) => {
                let name = split(id.as_str()).0;
                (name, self.room(name).map_or(&self.settings, |room| &room.settings))
            }
            Address::Occupant { nick, .. } => (nick.as_str(), &self.settings),
            Address::Contact(id) => (split(id.as_str()).0, &self.settings),
            _ => return 1,
        };
        parts(message, matches!(to, Address::Room(_)), self.space(name, settings, message).0).len()
    }

    /// Bytes of words that fit into a line to this target, with the prefix that the server puts before it.
    fn room_for(&self, target: &str, action: bool) -> usize {
        let frame = if action { "\u{1}ACTION \u{1}".len() } else { 0 };
        self.room_behind(&["PRIVMSG", target]).saturating_sub(frame).max(LEAST_LINE)
    }

    /// Bytes of words that fit behind these.
    fn room_behind(&self, head: &[&str]) -> usize {
        let Some(link) = &self.link else { return 256 };
        let prefix = 1 + link.nick.len() + link.host.as_deref().map_or(UNKNOWN_HOST, |h| h.len() + 1) + 1;
        let head: usize = head.iter().map(|word| word.len() + 1).sum();
        write::MAX.saturating_sub(prefix + head + ":".len() + "\r\n".len())
    }

    /// A line that ends in words of the user's (a subject, a reason, a status): cut so that others get it whole, at what the server takes of such
    /// words (`most`; 0: it does not say), in the encoding of the room that the second word may name.
    pub(super) fn worded(&self, head: &[&str], words: &str, most: u16) -> Vec<u8> {
        let (command, params) = head.split_first().map_or(("", head), |(command, params)| (*command, params));
        let settings = params.first().and_then(|name| self.room(name)).map_or(&self.settings, |room| &room.settings);
        let encoding = self.encoding_out(settings);
        let space = self.room_behind(head).min(if most == 0 { usize::MAX } else { usize::from(most) });
        let space = if words.is_ascii() { space } else { encoding::room(space, encoding) };
        let words = words.replace("\r\n", " ").replace(['\r', '\n'], " ");
        let fitting = lines::pieces(&words, space).first().copied().unwrap_or_default();
        write::text(command, params, &encoding::encode(fitting, encoding))
    }

    /// Writes the lines whose turn it is.
    pub(super) fn turn(&mut self, now: Instant) {
        let Some(link) = &mut self.link else { return };
        if link.queue.is_empty() || link.phase == Phase::Registering {
            return;
        }
        let echoes = link.cap.active.has(Caps::ECHO);
        let mut wrote = Vec::with_capacity(link.queue.len());
        link.turn(now, |said| wrote.push(said));
        for mut said in wrote {
            if said.room.is_none() {
                self.speaks_to_away(&said.target, now);
            }
            said.until = now + if echoes { ECHO } else { GRACE };
            if !echoes {
                // Only an echo is compared with them.
                let text = std::mem::take(&mut said.text).into_string();
                if said.room.is_some() {
                    self.reflect(&said, None, text);
                }
            }
            let Some(link) = &mut self.link else { continue };
            link.said.push_back(said);
            if !echoes && link.said.len() > MAX_SAID {
                taken(link.said.pop_front());
            }
        }
    }

    /// Shows the user's own words in the room, as they were sent.
    fn reflect(&mut self, said: &Said, line: Option<&Line<'_>>, text: String) {
        let Some(room) = said.room.as_ref().and_then(|id| self.room(split(id.as_str()).0)) else { return };
        let from = room.occupant(view(&room.view).nick());
        let (words, looks) = match ctcp::parse(&text).filter(|_| said.action) {
            Some((_, words)) => shown_beside(&room.settings, words),
            None if formatting::is_plain(&text) => (text, None),
            None => shown_beside(&room.settings, &text),
        };
        let mut message = Message::group(words);
        (message.action, message.looks) = (said.action, looks);
        let mut inbound = Inbound::new(self.of.user.clone(), from, Event::Message(Box::new(message)));
        inbound.at = line.map_or_else(|| self.host.now(), |line| self.time_of(line));
        inbound.id = line.and_then(msgid);
        inbound.echo_of = Some((said.key.clone(), said.part));
        self.push(inbound);
    }

    pub(super) fn shown(&self, settings: &Resolved, text: &str) -> String {
        formatting::from_irc(text, settings.str(settings::FORMATTING) == settings::STYLING).into_owned()
    }

    /// Words whose time has come: nobody has complained, or the echo is missing.
    pub(super) fn look_after_words(&mut self, now: Instant) {
        let echoes = self.has_cap(Caps::ECHO);
        while let Some(link) = &mut self.link
            && let Some(first) = link.said.front().filter(|s| s.until <= now)
        {
            if !echoes && !first.asked && first.label == 0 {
                self.ask_after_words(now);
                continue;
            }
            let said = link.said.pop_front();
            if !echoes {
                taken(said);
            } else if let Some(ticket) = said.and_then(|said| said.ticket) {
                ticket.failed(DeliveryError::uncertain(Text::key("no-echo")));
            }
        }
    }

    /// A complaint may be late. Servers answer in order: what was said before a PING, and nobody has complained about, counts as taken at its PONG.
    fn ask_after_words(&mut self, now: Instant) {
        let Some(link) = &mut self.link else { return };
        // Words that wait have the line for themselves; the question comes behind them.
        let busy = link.queue.iter().any(|queued| !queued.quiet);
        for said in link.said.iter_mut().filter(|said| said.label == 0) {
            (said.asked, said.until) = (!busy, now + if busy { GRACE } else { ECHO });
        }
        if !busy {
            link.labels = link.labels.wrapping_add(1);
            let question = format!("{COME}{}", link.labels);
            link.later(write::text("PING", &[], question.as_bytes()));
        }
    }

    /// `PONG server :said-<n>`; `false`: it answers something else.
    pub(super) fn on_come(&mut self, line: &Line<'_>) -> bool {
        let Some(number) = line.last().strip_prefix(COME).and_then(|n| n.parse::<u32>().ok()) else { return false };
        if let Some(link) = self.link.as_mut().filter(|link| link.labels == number) {
            take_asked(link);
        }
        true
    }

    /// The server's copy of our own words. `false` where we never said them (a line typed by hand, or another client's).
    pub(super) fn on_echo(&mut self, line: &Line<'_>, target: &str, text: &str) -> bool {
        let folded = self.fold(target);
        let label = self.label;
        let Some(link) = &self.link else { return false };
        let at = if label != 0 {
            link.said.iter().position(|s| s.label == label)
        } else {
            // Some servers change words; what is nothing like ours is something else, of which we wait for no echo.
            let same = link.said.iter().position(|s| s.target == folded && *s.text == *text);
            same.or_else(|| {
                link.said.iter().position(|s| s.target == folded && s.label == 0 && alike(&self.read_back(s), text))
            })
        };
        let Some(link) = &mut self.link else { return false };
        let Some(mut said) = at.and_then(|at| link.said.remove(at)) else { return false };
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
        self.reflect(&said, Some(line), text.to_owned());
        if let Some(ticket) = said.ticket.take() {
            ticket.done(vec![Leg::sent(None, std::mem::take(&mut said.ids))]);
        }
        true
    }

    /// The words as they are read where they come back: what their encoding lacks is lost, and others may be read by another one.
    fn read_back(&self, said: &Said) -> String {
        let room = said.room.as_ref().and_then(|id| self.room(split(id.as_str()).0));
        let settings = room.map_or(&self.settings, |room| &room.settings);
        let bytes = encoding::encode(&said.text, self.encoding_out(settings));
        encoding::decode(&bytes, || encoding::named(settings.str(settings::ENCODING_IN))).into_owned()
    }

    /// The server has taken the words with this label, and says no more of them.
    pub(super) fn words_answered(&mut self, label: u32) {
        let echoes = self.has_cap(Caps::ECHO);
        let Some(link) = &mut self.link else { return };
        let Some(at) = link.said.iter().position(|s| s.label == label && !echoes) else { return };
        if let Some(said) = link.said.remove(at)
            && let Some(ticket) = said.ticket
        {
            ticket.done(vec![Leg::sent(None, said.ids)]);
        }
    }

    /// The server complains about what was said to this target: the first message that may be meant fails.
    pub(super) fn refuse_words(&mut self, target: &str, error: &DeliveryError) -> bool {
        let folded = self.fold(target);
        self.refuse_said(error, |said| said.target == folded)
    }

    /// The first of the words on their way that this is about fail.
    pub(super) fn refuse_said(&mut self, error: &DeliveryError, is: impl Fn(&Said) -> bool) -> bool {
        let Some(link) = &mut self.link else { return false };
        let Some(at) = link.said.iter().position(|s| is(s)) else { return false };
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
}

/// The words of a message as the user wants them, and what is said of their looks beside them.
pub(super) fn shown_beside(settings: &Resolved, text: &str) -> (String, Option<Box<Looks>>) {
    match settings.str(settings::FORMATTING) {
        way @ (settings::MARKUP | settings::XHTML) => looks::from_irc(text, way == settings::XHTML),
        way => (formatting::from_irc(text, way == settings::STYLING).into_owned(), None),
    }
}

/// Whether a server may have made `heard` of `sent`: colours taken out, a word masked, the end cut off. Half of it is still the same.
fn alike(sent: &str, heard: &str) -> bool {
    let parts = |text| ctcp::parse(text).map_or(("", text), |(command, words)| (command, words));
    let ((sent_as, sent), (heard_as, heard)) = (parts(sent), parts(heard));
    let letters = |text| formatting::from_irc(text, false).chars().collect::<Vec<char>>();
    let (sent, heard) = (letters(sent), letters(heard));
    let same = |(one, other): &(&char, &char)| one == other;
    let before = sent.iter().zip(&heard).take_while(same).count();
    let behind = sent[before..].iter().rev().zip(heard[before..].iter().rev()).take_while(same).count();
    sent_as == heard_as && 2 * (before + behind) >= sent.len().max(heard.len())
}

/// What a line of a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    Words,
    /// `/me …`
    Action,
    /// `/mode …`, in a room.
    Mode,
}

/// A line of a message, or as much of it as fits.
#[derive(Debug, PartialEq, Eq)]
struct Part<'a> {
    what: Is,
    text: &'a str,
}

impl Part<'_> {
    fn mode(&self, room: &str) -> Vec<u8> {
        let params: Vec<&str> = std::iter::once(room).chain(self.text.split_whitespace()).collect();
        write::line("MODE", &params)
    }
}

/// What a message is, line by line: each may be an action or a mode, as with biboumi.
fn parts<'a>(message: &'a Message, in_room: bool, space: usize) -> SmallVec<[Part<'a>; 2]> {
    let mut all = SmallVec::new();
    for (number, line) in message.body.split(['\n', '\r']).enumerate() {
        let (what, text) = match (line.strip_prefix(ME), mode_words(line).filter(|_| in_room)) {
            _ if number == 0 && message.action => (Is::Action, line),
            (Some(text), _) => (Is::Action, text),
            (None, Some(words)) => {
                all.push(Part { what: Is::Mode, text: words });
                continue;
            }
            (None, None) => (Is::Words, line),
        };
        all.extend(lines::lines(text, space).into_iter().map(|text| Part { what, text }));
    }
    all
}

/// Whether a line of it is an action.
fn has_actions(message: &Message) -> bool {
    message.action || message.body.starts_with(ME) || message.body.contains("\n/me ")
}

/// What follows `/mode` as a whole word; anything else that begins with a slash is words.
fn mode_words(line: &str) -> Option<&str> {
    line.strip_prefix("/mode").filter(|rest| rest.is_empty() || rest.starts_with(' '))
}

/// Nobody has complained about what was asked after.
pub(super) fn take_asked(link: &mut link::Link) {
    while link.said.front().is_some_and(|said| said.asked) {
        taken(link.said.pop_front());
    }
}

/// Nobody has complained about these words.
fn taken(said: Option<Box<Said>>) {
    if let Some(Said { ticket: Some(ticket), ids, .. }) = said.map(|said| *said) {
        ticket.done(vec![Leg::sent(None, ids)]);
    }
}

/// A message on its way to its lines.
struct Words {
    to: To,
    folded: Box<str>,
    encoding: &'static encoding_rs::Encoding,
    styled: bool,
    reply: Option<ForeignMessageId>,
    key: isthmus_bridge::DeliveryKey,
}

impl Words {
    /// One line of it: the words as they are sent, and the line.
    fn line(&self, text: &str, action: bool) -> (String, Vec<u8>) {
        let words = if self.styled { formatting::to_irc(text) } else { text.to_owned() };
        let sent = if action { ctcp::make("ACTION", &words) } else { words };
        let bytes = encoding::encode(&sent, self.encoding);
        let line = write::text("PRIVMSG", &[&self.to.name], &bytes);
        let read = encoding::lossy(&bytes, self.encoding);
        (read.unwrap_or(sent), line)
    }

    /// The line with the name of the message that it answers. Servers and clients know the tag by either name.
    fn replying(&self, link: &link::Link, line: Vec<u8>) -> Vec<u8> {
        match &self.reply {
            Some(id) if link.cap.active.has(Caps::TAGS) => {
                let all = [("+reply", id.as_str()), ("+draft/reply", id.as_str())];
                let taken: Vec<(&str, &str)> = all.into_iter().filter(|(tag, _)| link.takes_tag(&tag[1..])).collect();
                write::tagged(&taken, line)
            }
            _ => line,
        }
    }

    /// `until` is set when it is written.
    fn said(
        &self,
        (target, sent): (Box<str>, String),
        part: u16,
        label: u32,
        ticket: Option<Ticket>,
        until: Instant,
    ) -> Said {
        Said {
            target,
            room: self.to.room.clone(),
            text: sent.into(),
            action: false,
            key: self.key.clone(),
            part,
            label,
            batch: false,
            ticket,
            ids: Vec::new(),
            until,
            asked: false,
        }
    }
}
