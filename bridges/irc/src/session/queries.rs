//! Questions of the core.

use isthmus_bridge::query::{Part, ProbeKind};
use isthmus_bridge::room::Rank;
use isthmus_bridge::{Address, Ask, DeliveryError, Failure, Query, Reply, RoomId, Text, Values};
use tokio::time::Instant;

use super::answers::{LIST_PATIENCE, What};
use super::chat::ctcp_answer;
use super::{Session, WAIT, Waiting, unsupported, view};
use crate::address::{contact_id, split};
use crate::proto::{ctcp, time, write};

impl Session {
    /// The list of rooms is worth a connection of its own; everything else is about one that is there.
    pub(super) fn on_question(&mut self, ask: Box<Ask>) {
        if !self.is_up() {
            if matches!(ask.query, Query::Rooms { .. }) {
                self.waiting.push((Waiting::Question(ask), Instant::now() + WAIT));
                return self.connect();
            }
            let error = DeliveryError::temporary(Failure::Unreachable, Text::key("not-connected"));
            return ask.reply.failed(error);
        }
        let Ask { query, reply, .. } = *ask;
        match query {
            Query::Rooms { filter } => self.list(filter, reply),
            Query::About(Address::Room(room)) => self.about_room(&room, reply),
            Query::About(who) => self.whois(&who, None, reply),
            Query::Probe { of, what } => self.probe(&of, what, reply),
            Query::Affiliates { room, list } => self.affiliates(&room, &list, reply),
            Query::RoomConfig(room) => self.config(&room, reply),
            _ => reply.failed(unsupported()),
        }
    }

    fn list(&mut self, filter: Option<String>, reply: Reply) {
        let filter = filter.map(|f| f.to_lowercase().into_boxed_str());
        // Several questions are several lists, answered in their order.
        self.expect_answer(What::List { filter, reply }, Some(LIST_PATIENCE));
        self.send(write::line("LIST", &[]));
    }

    fn about_room(&mut self, id: &RoomId, mut reply: Reply) {
        let Some(room) = self.room(split(id.as_str()).0) else {
            return reply.failed(DeliveryError::new(Failure::NotJoined, Text::key("not-joined")));
        };
        let facts = {
            let view = view(&room.view);
            Values::new()
                .with("name", &*room.name)
                .with("subject", view.subject.words.clone())
                .with("modes", view.modes.clone())
                .with("occupants", view.members().len().to_string())
        };
        reply.part(Part::Facts(facts));
        reply.done();
    }

    /// The nick that an address means, if anybody can have it.
    fn nick_in(&self, who: &Address) -> Option<String> {
        let nick = match who {
            Address::Occupant { nick, .. } => nick.as_str(),
            Address::Contact(contact) => split(contact.as_str()).0,
            _ => return None,
        };
        contact_id(nick, &self.of.network).map(|_| nick.to_owned())
    }

    fn whois(&mut self, who: &Address, only: Option<&'static str>, reply: Reply) {
        let Some(nick) = self.nick_in(who) else { return reply.failed(unsupported()) };
        // Twice, so that the nick's own server is asked, which alone knows how long they have been idle.
        self.send(write::line("WHOIS", &[&nick, &nick]));
        let nick = self.fold(&nick);
        self.expect_answer(What::Whois { nick, facts: Box::default(), reply, only }, None);
    }

    fn probe(&mut self, of: &Address, what: ProbeKind, mut reply: Reply) {
        let Some(nick) = self.nick_in(of) else { return reply.failed(unsupported()) };
        let command = match what {
            ProbeKind::Last => return self.whois(of, Some("idle"), reply),
            ProbeKind::Ping => "PING",
            ProbeKind::Version => "VERSION",
            ProbeKind::Time => "TIME",
            _ => return reply.failed(unsupported()),
        };
        // Our own nick answers by ourselves: CTCP to oneself is odd, and the connection is looked after anyway.
        if self.is_own(&nick) {
            reply.part(match ctcp_answer(command, "", self.host.now()) {
                Some(words) if command != "PING" => Part::Words(Text::plain(words)),
                _ => Part::RoundTrip(std::time::Duration::ZERO),
            });
            return reply.done();
        }
        let words = if command == "PING" { time::utc(self.host.now()).replace(' ', "-") } else { String::new() };
        self.send(write::text("PRIVMSG", &[&nick], ctcp::make(command, &words).as_bytes()));
        let nick = self.fold(&nick);
        self.expect_answer(What::Ctcp { nick, command, asked: Instant::now(), reply }, None);
    }

    fn affiliates(&mut self, id: &RoomId, list: &str, mut reply: Reply) {
        let folded = self.fold(split(id.as_str()).0);
        let Some(room) = self.rooms.get(&folded).filter(|r| r.is_inside()) else {
            return reply.failed(DeliveryError::new(Failure::NotJoined, Text::key("not-joined")));
        };
        let name = room.name.clone();
        let wanted = |rank: Rank| match list {
            "owner" => matches!(rank.highest(), Rank::OWNER | Rank::ADMIN),
            "admin" => rank.highest() == Rank::MODERATOR,
            "member" => matches!(rank.highest(), Rank::HALF | Rank::VOICE),
            _ => false,
        };
        match list {
            "outcast" => {
                self.send(write::line("MODE", &[&name, "b"]));
                self.expect_answer(What::Bans { room: folded, reply }, None);
            }
            "owner" | "admin" | "member" => {
                let all: Vec<(String, String)> = view(&room.view)
                    .members()
                    .iter()
                    .filter(|m| wanted(m.rank))
                    .map(|m| {
                        let id = contact_id(m.nick(), &self.of.network).map_or_else(String::new, |c| c.to_string());
                        (id, m.nick().to_owned())
                    })
                    .collect();
                for (who, nick) in all {
                    reply.part(Part::Affiliate { who, nick: Some(nick), note: None });
                }
                reply.done();
            }
            _ => reply.failed(unsupported()),
        }
    }

    fn config(&mut self, id: &RoomId, reply: Reply) {
        let folded = self.fold(split(id.as_str()).0);
        let Some(room) = self.rooms.get_mut(&folded).filter(|r| r.is_inside()) else {
            return reply.failed(DeliveryError::new(Failure::NotJoined, Text::key("not-joined")));
        };
        room.asked_modes = room.asked_modes.saturating_add(1);
        let name = room.name.clone();
        self.send(write::line("MODE", &[&name]));
        self.expect_answer(What::Modes { room: folded, reply }, None);
    }
}
