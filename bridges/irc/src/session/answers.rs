//! What waits for the server's answer, and the numerics that answer it. What answers nothing is shown to the user as it is.

use std::time::Duration;

use isthmus_bridge::query::Part;
use isthmus_bridge::{DeliveryError, DeliveryKey, Failure, ForeignMessageId, Reply, Text, Ticket, Values};
use tokio::time::Instant;

use super::Session;
use super::bans::Banning;
use super::link::{self, Phase};
use crate::address::split;
use crate::proto::line::Line;
use crate::translate::formatting;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// A list of all rooms may take longer.
pub(super) const LIST_PATIENCE: Duration = Duration::from_secs(60);
/// The end of a list that was refused comes within this time, or not at all.
const REFUSED: Duration = Duration::from_secs(5);

/// Something that waits.
pub(super) struct Pending {
    pub(super) what: What,
    /// The label of the line that asked; 0: none.
    label: u32,
    ticket: Option<Ticket>,
    pub(super) until: Instant,
}

/// For what. Names are folded.
pub(super) enum What {
    Part {
        room: Box<str>,
    },
    Nick,
    Topic {
        room: Box<str>,
    },
    Mode {
        room: Box<str>,
    },
    Kick {
        room: Box<str>,
        nick: Box<str>,
    },
    Invite {
        room: Box<str>,
        nick: Box<str>,
    },
    /// Where somebody is who is to be banned.
    Userhost {
        nick: Box<str>,
        ban: Box<Banning>,
    },
    /// A withdrawal, of this message in this room or with this nick.
    Redact {
        target: Box<str>,
        id: ForeignMessageId,
    },
    /// A reaction, which some servers do not confirm.
    React {
        target: Box<str>,
    },
    Whois {
        nick: Box<str>,
        facts: Box<Values>,
        reply: Reply,
        only: Option<&'static str>,
    },
    List {
        filter: Option<Box<str>>,
        reply: Reply,
    },
    Bans {
        room: Box<str>,
        reply: Reply,
    },
    Modes {
        room: Box<str>,
        reply: Reply,
    },
    Ctcp {
        nick: Box<str>,
        command: &'static str,
        asked: Instant,
        reply: Reply,
    },
}

impl What {
    /// The room or nick that an error about this names.
    fn names(&self, name: &str) -> bool {
        match self {
            Self::Part { room }
            | Self::Topic { room }
            | Self::Redact { target: room, .. }
            | Self::React { target: room }
            | Self::Mode { room }
            | Self::Bans { room, .. }
            | Self::Modes { room, .. } => **room == *name,
            Self::Kick { room, nick } | Self::Invite { room, nick } => **room == *name || **nick == *name,
            Self::Whois { nick, .. } | Self::Ctcp { nick, .. } | Self::Userhost { nick, .. } => **nick == *name,
            Self::Nick | Self::List { .. } => false,
        }
    }

    /// What was sent for it.
    fn command(&self) -> &'static str {
        match self {
            Self::List { .. } => "LIST",
            Self::Whois { .. } => "WHOIS",
            Self::Mode { .. } | Self::Bans { .. } | Self::Modes { .. } => "MODE",
            Self::Ctcp { .. } => "PRIVMSG",
            Self::Nick => "NICK",
            Self::Topic { .. } => "TOPIC",
            Self::Kick { .. } => "KICK",
            Self::Userhost { .. } => "USERHOST",
            Self::Invite { .. } => "INVITE",
            Self::Redact { .. } => "REDACT",
            Self::React { .. } => "TAGMSG",
            Self::Part { .. } => "PART",
        }
    }

    fn reply(self) -> Option<Reply> {
        match self {
            Self::Whois { reply, .. }
            | Self::List { reply, .. }
            | Self::Bans { reply, .. }
            | Self::Modes { reply, .. }
            | Self::Ctcp { reply, .. } => Some(reply),
            _ => None,
        }
    }
}

impl Pending {
    fn fail(self, error: &DeliveryError) {
        if let Some(ticket) = self.ticket {
            ticket.failed(error.clone());
        }
        if let Some(reply) = self.what.reply() {
            reply.failed(error.clone());
        }
    }
}

impl Session {
    /// Sends a line whose answer a ticket waits for.
    pub(super) fn send_for(&mut self, line: Vec<u8>, what: What, ticket: Ticket) {
        let label = self.link.as_mut().map_or(0, |l| l.label());
        self.send(link::label(label, line));
        self.pending.push(Pending { what, label, ticket: Some(ticket), until: self.drained() + PATIENCE });
    }

    /// When the server has all that it is to answer: before that no patience is lost.
    pub(super) fn drained(&self) -> Instant {
        let now = Instant::now();
        self.link.as_ref().map_or(now, |link| link.drained(now))
    }

    /// A question waits for this.
    pub(super) fn expect_answer(&mut self, what: What, patience: Option<Duration>) {
        let until = self.drained() + patience.unwrap_or(PATIENCE);
        self.pending.push(Pending { what, label: 0, ticket: None, until });
    }

    /// The first that waits for this has its answer.
    pub(super) fn settle(&mut self, is: impl Fn(&What) -> bool) -> bool {
        let Some(at) = self.pending.iter().position(|p| is(&p.what)) else { return false };
        if let Some(ticket) = self.pending.remove(at).ticket {
            ticket.sent(None);
        }
        true
    }

    /// Of whom it is asked first where they are.
    pub(super) fn asks_for_host(&self) -> Option<&str> {
        self.pending.iter().find_map(|p| match &p.what {
            What::Userhost { nick, .. } => Some(&**nick),
            _ => None,
        })
    }

    /// The same, and when.
    pub(super) fn asked_for_host(&self) -> Option<(&str, Instant)> {
        self.pending.iter().find_map(|p| match &p.what {
            What::Userhost { nick, .. } => Some((&**nick, p.until.checked_sub(PATIENCE)?)),
            _ => None,
        })
    }

    /// What waits for that answer.
    pub(super) fn take_banning(&mut self) -> Option<(Box<Banning>, Ticket)> {
        let at = self.pending.iter().position(|p| matches!(p.what, What::Userhost { .. }))?;
        match self.pending.remove(at) {
            Pending { what: What::Userhost { ban, .. }, ticket: Some(ticket), .. } => Some((ban, ticket)),
            _ => None,
        }
    }

    pub(super) fn waits_for_part(&self, folded: &str) -> bool {
        self.pending.iter().any(|p| matches!(&p.what, What::Part { room } if **room == *folded))
    }

    /// Whether the line with this label asked for another nick.
    pub(super) fn waits_for_nick(&self, label: u32) -> bool {
        self.pending.iter().any(|p| p.label == label && matches!(p.what, What::Nick))
    }

    /// The server has withdrawn a message as the user wished; gives the wish's name.
    pub(super) fn redacted(&mut self, folded: &str, of: &str) -> Option<DeliveryKey> {
        let is =
            |p: &Pending| matches!(&p.what, What::Redact { target, id } if **target == *folded && id.as_str() == of);
        let at = self.pending.iter().position(is)?;
        let ticket = self.pending.remove(at).ticket?;
        let key = ticket.key().clone();
        ticket.sent(None);
        Some(key)
    }

    /// The server has answered the line with this label, and it was no refusal: what names its own answer goes on waiting for that.
    pub(super) fn answered(&mut self, label: u32) {
        if label == 0 {
            return;
        }
        if let Some(at) = self.pending.iter().position(|p| p.label == label)
            && let Some(ticket) = self.pending.remove(at).ticket
        {
            return ticket.sent(None);
        }
        self.words_answered(label);
    }

    /// The line with this label is refused.
    fn refuse_label(&mut self, error: &DeliveryError) -> bool {
        let label = self.label;
        if label == 0 {
            return false;
        }
        self.refuse_labelled(error, label) || self.refuse_said(error, |said| said.label == label)
    }

    fn refuse_labelled(&mut self, error: &DeliveryError, label: u32) -> bool {
        let Some(at) = self.pending.iter().position(|p| p.label == label) else { return false };
        let refused = self.pending.remove(at);
        if matches!(refused.what, What::Nick) {
            self.keep_nick();
        }
        refused.fail(error);
        true
    }

    /// The old nick stays, also when the other one is free later.
    fn keep_nick(&mut self) {
        self.wish = self.own_nick().to_owned();
    }

    /// The first of these fails.
    fn refuse(&mut self, error: &DeliveryError, is: impl Fn(&What) -> bool) -> bool {
        let Some(at) = self.pending.iter().position(|p| is(&p.what)) else { return false };
        self.pending.remove(at).fail(error);
        true
    }

    pub(super) fn fail_pending(&mut self, error: &DeliveryError) {
        self.pending.drain(..).for_each(|p| p.fail(error));
    }

    pub(super) fn look_after_pending(&mut self, now: Instant) {
        if !self.pending.iter().any(|p| p.until <= now) {
            return;
        }
        let error = DeliveryError::new(Failure::TimedOut, Text::key("no-answer"));
        let (late, still): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.pending).into_iter().partition(|p| p.until <= now);
        self.pending = still;
        for pending in late {
            match pending {
                // Not every server says that it has taken one of these; all say when they have not.
                Pending { what: What::Redact { .. } | What::React { .. }, ticket: Some(ticket), .. } => {
                    ticket.sent(None)
                }
                pending => {
                    if matches!(pending.what, What::Nick) {
                        self.keep_nick();
                    }
                    pending.fail(&error);
                }
            }
        }
    }

    // Numerics.

    /// Every numeric that has no handler of its own.
    pub(super) fn on_numeric(&mut self, line: &Line<'_>, number: u16) {
        match number {
            311..=313 | 317..=320 | 330 | 335 | 338 | 307 | 276 | 378 | 379 | 671 | 310 | 344 => {
                self.on_whois(line, number)
            }
            303 if self.on_are_on(line) => {}
            314 | 369 | 406 => self.show(line),
            321..=323 => self.on_list(line, number),
            341 => self.on_inviting(line),
            367 | 368 => self.on_bans(line, number),
            372 | 375 => self.on_motd(line),
            4 => {} // for programs
            396 => {
                self.on_own_host(line);
                self.show(line);
            }
            // The answers to our own questions are no news; those to what was typed by hand are.
            305 | 306 => {
                if self.rare.as_mut().is_some_and(|r| std::mem::take(&mut r.typed_away)) {
                    self.show(line);
                }
            }
            329 => {
                if self.room(line.param(1)).is_none_or(|room| room.modes_shown) {
                    self.show_asked(line, 1);
                }
            }
            // Numbers that the words repeat.
            265 | 266 if line.last().contains(|c: char| c.is_ascii_digit()) => {
                let words = line.last().to_owned();
                self.server_says(line.source.0, &words);
            }
            263 => self.on_try_again(line),
            315 => self.on_who_end(line),
            352 => self.on_who(line),
            354 => self.on_whox(line),
            302 => {
                if !self.on_whether_away(line) && !self.on_userhost(line) {
                    self.show(line);
                }
            }
            730 | 731 => {
                self.show_typed(line, "MONITOR");
                self.on_monitor(line, number == 730);
            }
            734 => self.on_monitor_full(line),
            // Of the others in these hundreds most are answers: lists of quiets (728), knocks (710), help.
            400..=599 | 691 | 696..=698 | 707 | 712..=716 | 723 | 742..=744 | 764..=769 | 926 | 936 => {
                self.on_error_numeric(line, number);
            }
            972 | 974 => self.on_command_refused(line, number),
            _ => self.show(line),
        }
    }

    /// An answer about a room in which nobody is waiting for it: shown, unless the room is being entered or left.
    pub(super) fn show_asked(&mut self, line: &Line<'_>, name: usize) {
        let folded = self.fold(line.param(name));
        let unwanted = self.unasked.iter().any(|(unasked, _)| *unasked == folded);
        let ended = line.command == "366" && self.rooms.get(&folded).is_some();
        if !unwanted && !ended && self.is_up() {
            self.show(line);
        }
    }

    /// `server: words`, without our own nick.
    pub(super) fn show(&mut self, line: &Line<'_>) {
        let words = line.words(usize::from(line.params().len() > 1));
        self.server_says(line.source.0, &words);
    }

    fn on_motd(&mut self, line: &Line<'_>) {
        if let Some(link) = &mut self.link
            && link.motd.as_ref().is_none_or(|m| m.len() < 32 * 1024)
        {
            let motd = link.motd.get_or_insert_default();
            motd.push_str(line.last());
            motd.push('\n');
        }
    }

    fn on_own_host(&mut self, line: &Line<'_>) {
        let Some(link) = &mut self.link else { return };
        let user = link.host.as_deref().and_then(|h| h.split('@').next()).unwrap_or("").to_owned();
        if line.param(1).contains('@') {
            link.host = Some(line.param(1).into());
        } else if !user.is_empty() {
            link.host = Some(format!("{user}@{}", line.param(1)).into());
        }
    }

    /// 4xx and 5xx: it is about something that was asked, or it is shown.
    fn on_error_numeric(&mut self, line: &Line<'_>, number: u16) {
        let registering = self.link.as_ref().is_some_and(|l| l.phase == Phase::Registering);
        match number {
            432 | 433 | 436 | 437 if registering => return self.on_nick_refused(line),
            463..=466 if registering => {
                if let Some(link) = &mut self.link {
                    link.error = Some(line.last().into());
                }
                return;
            }
            422 => return self.on_ready_to_go(),
            461 if line.param(1).eq_ignore_ascii_case("ISON") => self.typed_ison_refused(),
            461 if line.param(1).eq_ignore_ascii_case("USERHOST") => self.typed_userhost_refused(),
            421 if line.param(1).eq_ignore_ascii_case("USERHOST") && self.userhost_refused() => return,
            451 => return, // a line before the registration was over
            470 => return self.on_forward(line),
            // InspIRCd: that mask is, or is not, on the list already: it is as it was wanted.
            697 | 698 if self.settle(|what| matches!(what, What::Mode { .. })) => return,
            403 | 442 if self.part_refused(line.param(1)) => return,
            _ => {}
        }
        if matches!(number, 431..=433 | 435..=438 | 447 | 484) {
            self.forget_typed_nick();
        }
        let error = refusal(number, line.last(), line.command);
        let (first, second) = (line.param(1), line.param(2));
        if self.refuse_label(&error) {
            return;
        }
        let typed = matches!(number, 401 | 403 | 404 | 442) && self.types_no_more(first);
        if matches!(number, 431..=433 | 435..=438 | 447 | 484) && self.refuse(&error, |w| matches!(w, What::Nick)) {
            return self.keep_nick();
        }
        if self.join_refused(first, &error, None) {
            return;
        }
        // Words that are on their way have no other end; a question to the same nick, whose line is older or gets a 401 of its own, can wait for that.
        if number == 401 && self.refuse_words(first, &error) {
            return;
        }
        let (one, two) = (self.fold(first), self.fold(second));
        // 441 and 443 name the nick before the room.
        if !first.is_empty()
            && self
                .refuse(&error, |w| w.names(&one) || (!two.is_empty() && w.names(&two) && matches!(number, 441 | 443)))
        {
            return;
        }
        // 482 refuses a change of the room (a typed MODE, perhaps), and no words.
        if matches!(
            number,
            403 | 404 | 407 | 408 | 412..=415 | 439 | 477 | 486 | 487 | 489 | 492 | 494 | 531 | 707 | 716 | 936
        ) && self.refuse_words(first, &error)
        {
            return;
        }
        if number == 416 && self.refuse(&error, |w| matches!(w, What::List { .. })) {
            return;
        }
        match self.room(first).map(super::rooms::Room::address) {
            _ if typed => {} // who is typing is told nothing of it
            Some(room) => self.notice_from(room, Text::plain(formatting::from_irc(line.last(), false).into_owned())),
            None => self.show_error(line),
        }
    }

    /// `263 <client> <command> :words` (RFC 2812 section 5.2): what waits for the answer to that command has it.
    fn on_try_again(&mut self, line: &Line<'_>) {
        let error = refusal(263, line.last(), line.command);
        // COMPAT(ircd-hybrid 6, 7): the command is not named; it is one of the two that cost much.
        let named = if line.params().len() > 2 { line.param(1) } else { "" };
        let command = named.to_ascii_uppercase();
        let is = |what: &What| {
            what.command() == command && !matches!(what, What::Part { .. })
                || command.is_empty() && matches!(what, What::List { .. } | What::Whois { .. })
        };
        if self.refuse_label(&error) || (command == "PRIVMSG" && self.refuse_said(&error, |_| true)) {
            return;
        }
        if (command == "WHO" && self.is_who_refused()) || (command == "USERHOST" && self.userhost_refused()) {
            return;
        }
        let Some(at) = self.pending.iter().position(|p| is(&p.what)) else { return self.show_error(line) };
        let refused = self.pending.remove(at);
        match refused.what {
            What::List { .. } => self.rare().list_refused = Some(Instant::now()),
            What::Nick => self.keep_nick(),
            _ => {}
        }
        refused.fail(&error);
    }

    /// UnrealIRCd: `972 <client> <command> :words` (ERR_CANNOTDOCOMMAND), `974 <client> <mode> :words` (ERR_CANNOTCHANGECHANMODE). The room is not
    /// named; what was sent first has its answer first.
    fn on_command_refused(&mut self, line: &Line<'_>, number: u16) {
        let command = if number == 974 { "MODE".to_owned() } else { line.param(1).to_ascii_uppercase() };
        let error = refusal(number, line.last(), line.command);
        if self.refuse_label(&error) || self.refuse(&error, |what| what.command() == command) {
            return;
        }
        self.show_error(line);
    }

    /// `server: what it is about: words`.
    pub(super) fn show_error(&mut self, line: &Line<'_>) {
        let about = line.params().get(1..line.params().len().saturating_sub(1)).unwrap_or_default().join(" ");
        if about.is_empty() {
            self.show(line)
        } else {
            self.server_says(line.source.0, &format!("{about}: {}", line.last()))
        }
    }

    /// `FAIL JOIN CHANNEL_IS_FULL #c :words` and its sisters (IRCv3 standard replies).
    pub(super) fn on_standard_reply(&mut self, line: &Line<'_>) {
        let words = format!("{}: {}", line.param(0), line.last());
        if line.command.eq_ignore_ascii_case("FAIL") && self.on_fail(line) {
            return;
        }
        self.server_says(line.source.0, &words);
    }

    /// Whether somebody waited for it, and knows now.
    fn on_fail(&mut self, line: &Line<'_>) -> bool {
        let (command, code) = (line.param(0), line.param(1));
        let words = Text::plain(formatting::from_irc(line.last(), false).into_owned());
        let error = DeliveryError::new(standard_failure(code), words).with_code(code);
        if self.refuse_label(&error) {
            return true;
        }
        let context = line.params().get(2..line.params().len().saturating_sub(1)).unwrap_or_default();
        match command {
            "JOIN" if code == "CHANNEL_RENAMED" => {
                let redirect =
                    self.shared.addressing.room_id(context.get(1).copied().unwrap_or_default(), &self.of.network);
                return self.join_refused(context.first().copied().unwrap_or_default(), &error, redirect);
            }
            "CHATHISTORY" => {
                context.iter().for_each(|name| self.no_history(name));
                if context.first() == Some(&"TARGETS") {
                    self.no_targets();
                }
                return true;
            }
            // The one message that was sent as a batch and that nothing was heard of.
            "BATCH" => return self.refuse_said(&error, |said| said.batch),
            "MARKREAD" => return true,
            _ => {}
        }
        context.iter().any(|name| {
            let folded = self.fold(name);
            self.join_refused(name, &error, None)
                || self.refuse(&error, |w| w.names(&folded))
                || self.refuse_words(name, &error)
        })
    }

    fn on_inviting(&mut self, line: &Line<'_>) {
        let (who, name) = (self.fold(line.param(1)), self.fold(line.param(2)));
        let is = |what: &What| matches!(what, What::Invite { room, nick } if *room == name && *nick == who);
        if self.pending.iter().any(|p| is(&p.what)) {
            self.settle(is);
            return;
        }
        self.show(line);
    }

    // Answers to questions.

    /// What is known so far of somebody whom a question is about.
    pub(super) fn asked_about(&mut self, who: &str) -> Option<&mut Values> {
        self.pending.iter_mut().find_map(|p| match &mut p.what {
            What::Whois { nick, facts, .. } if **nick == *who => Some(&mut **facts),
            _ => None,
        })
    }

    fn on_whois(&mut self, line: &Line<'_>, number: u16) {
        let who = self.fold(line.param(1));
        let Some(facts) = self.asked_about(&who) else {
            if number != 318 {
                self.show(line);
            }
            return;
        };
        let clean = |text: &str| formatting::from_irc(text, false).into_owned();
        match number {
            311 => {
                facts.set("nick", clean(line.param(1)));
                facts.set("user", clean(line.param(2)));
                facts.set("host", clean(line.param(3)));
                facts.set("realname", clean(line.last()));
            }
            312 => facts.set("server", clean(&line.words(2))),
            313 => facts.set("operator", clean(line.last())),
            317 => {
                facts.set("idle", clean(line.param(2)));
                if line.params().len() > 4 {
                    facts.set("signon", clean(line.param(3)));
                }
            }
            319 => {
                let before = facts.get("rooms").unwrap_or_default().to_owned();
                facts.set("rooms", format!("{before} {}", clean(line.last())).trim().to_owned());
            }
            330 => facts.set("account", clean(line.param(2))),
            671 => facts.set("secure", "true"),
            318 => self.end_whois(&who),
            _ => {}
        }
    }

    fn end_whois(&mut self, who: &str) {
        let at = self.pending.iter().position(|p| matches!(&p.what, What::Whois { nick, .. } if **nick == *who));
        let Some(at) = at else { return };
        let What::Whois { facts, mut reply, only, .. } = self.pending.remove(at).what else { return };
        if let Some(person) = self.people.get(who) {
            self.is_operator(&person.nick, facts.get("operator").is_some());
        }
        if facts.get("away").is_none() {
            self.is_back(who);
        }
        if facts.get("nick").is_none() {
            let text = Text::key("nobody").with("nick", who);
            return reply.failed(DeliveryError::new(Failure::NoSuchRecipient, text));
        }
        match only {
            None => reply.part(Part::Facts(*facts)),
            Some(key) => reply.part(Part::Words(Text::plain(facts.get(key).unwrap_or_default()))),
        }
        reply.done();
    }

    fn on_list(&mut self, line: &Line<'_>, number: u16) {
        // COMPAT(charybdis): what was refused (263) has an end all the same, which is not that of the next list.
        let refused = self.rare.as_mut().and_then(|rare| rare.list_refused.take());
        if number == 323 && refused.is_some_and(|at| at.elapsed() < REFUSED) {
            return;
        }
        let at = self.pending.iter().position(|p| matches!(p.what, What::List { .. }));
        let Some(at) = at else {
            if number != 321 {
                self.show(line);
            }
            return;
        };
        if number == 323 {
            if let What::List { reply, .. } = self.pending.remove(at).what {
                reply.done();
            }
            return;
        }
        let Some(room) = self.shared.addressing.room_id(line.param(1), &self.of.network).filter(|_| number == 322)
        else {
            return;
        };
        let subject = formatting::from_irc(line.last(), false).into_owned();
        self.pending[at].until = Instant::now() + LIST_PATIENCE;
        let What::List { filter, reply } = &mut self.pending[at].what else { return };
        let called = split(room.as_str()).0;
        let fits = filter.as_deref().is_none_or(|f| called.contains(f) || subject.to_lowercase().contains(f));
        if fits && reply.wanted() {
            reply.part(Part::Room {
                room,
                occupants: line.param(2).parse().ok(),
                subject: Some(subject).filter(|s| !s.is_empty()),
            });
        }
    }

    fn on_bans(&mut self, line: &Line<'_>, number: u16) {
        let folded = self.fold(line.param(1));
        let at = self.pending.iter().position(|p| matches!(&p.what, What::Bans { room, .. } if *room == folded));
        let Some(at) = at else { return self.show(line) };
        if number == 368 {
            if let What::Bans { reply, .. } = self.pending.remove(at).what {
                reply.done();
            }
            return;
        }
        if let What::Bans { reply, .. } = &mut self.pending[at].what {
            let by = line.param(3).split('!').next().unwrap_or_default();
            let note = Some(formatting::from_irc(by, false).into_owned()).filter(|n| !n.is_empty());
            reply.part(Part::Affiliate {
                who: formatting::from_irc(line.param(2), false).into_owned(),
                nick: None,
                note,
            });
        }
    }

    /// 324 for a question; those for ourselves only bring the view up to date.
    pub(super) fn answer_modes(&mut self, folded: &str, modes: &str) {
        let at = self.pending.iter().position(|p| matches!(&p.what, What::Modes { room, .. } if **room == *folded));
        let Some(at) = at else { return };
        let What::Modes { mut reply, .. } = self.pending.remove(at).what else { return };
        reply.part(Part::Facts(self.room_config(modes)));
        reply.done();
    }

    pub(super) fn on_ctcp_answer(&mut self, nick: &str, command: &str, words: &str) {
        let folded = self.fold(nick);
        let at = self.pending.iter().position(
            |p| matches!(&p.what, What::Ctcp { nick, command: asked, .. } if *nick == folded && asked.eq_ignore_ascii_case(command)),
        );
        let words = formatting::from_irc(words, false).into_owned();
        let Some(at) = at else {
            let from = self.talk_address(nick);
            let command = formatting::from_irc(command, false);
            return self.notice_from(from, Text::key("ctcp-answer").with("command", command).with("words", words));
        };
        let What::Ctcp { command, asked, mut reply, .. } = self.pending.remove(at).what else { return };
        reply.part(if command == "PING" { Part::RoundTrip(asked.elapsed()) } else { Part::Words(Text::plain(words)) });
        reply.done();
    }
}

/// What a code of standard replies means.
fn standard_failure(code: &str) -> Failure {
    match code {
        "INVALID_TARGET" | "UNKNOWN_MSGID" | "NO_SUCH_NICK" => Failure::NoSuchRecipient,
        "REDACT_FORBIDDEN" | "REDACT_WINDOW_EXPIRED" | "PRIVS_NEEDED" => Failure::Forbidden,
        "ACCOUNT_REQUIRED" | "NEED_REGISTRATION" => Failure::NotRegistered,
        "CHANNEL_IS_FULL" => Failure::Full,
        "MULTILINE_MAX_BYTES" | "MULTILINE_MAX_LINES" => Failure::TooLong { limit: 0 },
        "RATE_LIMITED" => Failure::Throttled { retry_after: Duration::from_secs(60) },
        "UNKNOWN_COMMAND" | "DISABLED" => Failure::Unsupported,
        _ => Failure::Rejected,
    }
}

/// What a refusal means, in the terms of the contract; the words are the server's.
fn refusal(number: u16, words: &str, code: &str) -> DeliveryError {
    let failure = match number {
        401..=403 | 406 | 441 | 476 | 479 => Failure::NoSuchRecipient,
        405 => Failure::OverQuota,
        404 | 473 | 474 | 465 | 481..=485 | 491 | 716 | 926 | 972 | 974 => Failure::Forbidden,
        432 | 412..=415 => Failure::Rejected,
        433 | 436 | 443 => Failure::Conflict,
        437 | 438 => Failure::Throttled { retry_after: Duration::from_secs(30) },
        442 => Failure::NotJoined,
        471 | 478 => Failure::Full,
        475 => Failure::PasswordRequired,
        477 | 489 | 520 => Failure::NotRegistered,
        421 | 472 => Failure::Unsupported,
        263 | 439 | 480 | 707 => Failure::Throttled { retry_after: Duration::from_secs(60) },
        _ => Failure::Rejected,
    };
    let words = formatting::from_irc(words, false).into_owned();
    let text = if words.is_empty() { Text::key("refused") } else { Text::plain(words) };
    DeliveryError::new(failure, text).with_code(code)
}
