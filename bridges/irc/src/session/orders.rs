//! What the user wants, by address and intent.

use isthmus_bridge::room::{Member, Rank};
use isthmus_bridge::{Address, Delivery, DeliveryError, Failure, Intent, RoomId, Text, Ticket, Values};

use super::acts::Act;
use super::answers::What;
use super::life::valid_nick;
use super::rooms::{Room, Stage};
use super::speak::To;
use super::{Phase, Session, unsupported, view};
use crate::address::{contact_id, split};
use crate::proto::caps::Caps;
use crate::proto::{modes, write};
use crate::settings;

/// Private conversations that are remembered as begun in a room.
const MAX_TALKS: usize = 500;
/// Said to the network of a user of whom no client is there.
const NOBODY: &str = "No client is connected";

impl Session {
    pub(super) fn on_delivery(&mut self, delivery: Box<Delivery>) {
        match delivery.event.to.first().map(|r| r.address.clone()) {
            Some(Address::Room(room)) => self.for_room(&room, delivery),
            Some(Address::Occupant { room, nick }) => self.for_occupant(&room, &nick, delivery),
            Some(Address::Contact(contact)) => self.for_contact(split(contact.as_str()).0, delivery),
            _ => self.for_network(delivery),
        }
    }

    fn for_network(&mut self, delivery: Box<Delivery>) {
        let Delivery { event, ticket, .. } = *delivery;
        match event.intent {
            Intent::Raw { line } => self.raw(&line, ticket),
            Intent::Send(message) => self.raw(&message.body, ticket),
            Intent::Presence { available, away, status } => self.presence(available, away, status, ticket),
            Intent::Rename { nick } => self.rename(&nick, ticket),
            intent => self.other(&intent, ticket),
        }
    }

    fn for_contact(&mut self, nick: &str, delivery: Box<Delivery>) {
        if matches!(delivery.event.intent, Intent::Send(_)) {
            let folded = self.fold(nick);
            self.talks.retain(|(known, _)| *known != folded);
            return self.say_to_nick(nick, delivery);
        }
        if let Some(act) = Act::of(&delivery.event.intent) {
            return self.act(To { name: nick.to_owned(), room: None }, act, delivery);
        }
        let Delivery { event, ticket, .. } = *delivery;
        match event.intent {
            Intent::Typing { on } => {
                self.typing(nick, on);
                ticket.sent(None);
            }
            Intent::Invite { room, .. } => self.invite(&room, nick, ticket),
            Intent::Subscribe { .. } | Intent::Unsubscribe => {
                self.watch_one(nick, matches!(event.intent, Intent::Subscribe { .. }));
                ticket.sent(None);
            }
            intent => self.other(&intent, ticket),
        }
    }

    fn for_occupant(&mut self, room: &RoomId, nick: &str, delivery: Box<Delivery>) {
        if matches!(delivery.event.intent, Intent::Send(_)) {
            let folded = self.fold(nick);
            if self.room(split(room.as_str()).0).is_some() {
                self.talks.retain(|(known, _)| *known != folded);
                if self.talks.len() >= MAX_TALKS {
                    let oldest = self.talks[0].0.clone();
                    self.talks.retain(|(known, _)| *known != oldest);
                }
                self.talks.push((folded, room.clone()));
            }
            return if self.is_up() {
                self.say_to_nick(nick, delivery)
            } else {
                delivery.ticket.failed(not_connected())
            };
        }
        if let Some(act) = Act::of(&delivery.event.intent) {
            return self.act(To { name: nick.to_owned(), room: None }, act, delivery);
        }
        let Delivery { event, ticket, .. } = *delivery;
        match event.intent {
            Intent::Typing { on } => {
                self.typing(nick, on);
                ticket.sent(None);
            }
            intent @ (Intent::SetRole { .. }
            | Intent::Remove { .. }
            | Intent::Join { .. }
            | Intent::Leave { .. }
            | Intent::Rename { .. }) => {
                self.in_room(room, intent, ticket);
            }
            intent => self.other(&intent, ticket),
        }
    }

    fn for_room(&mut self, room: &RoomId, delivery: Box<Delivery>) {
        if matches!(&delivery.event.intent, Intent::Send(_)) {
            return self.say_in_room(room, delivery);
        }
        if let Some(act) = Act::of(&delivery.event.intent) {
            return match self.inside(room).map(|(inside, _)| inside.name.to_string()) {
                Ok(name) => self.act(To { name, room: Some(room.clone()) }, act, delivery),
                Err(error) => delivery.ticket.failed(error),
            };
        }
        let Delivery { event, ticket, .. } = *delivery;
        self.in_room(room, event.intent, ticket);
    }

    /// What IRC has no word for: taken where nobody is wronged by it, refused where somebody should know.
    fn other(&mut self, intent: &Intent, ticket: Ticket) {
        match intent {
            // What nobody misses; and subscriptions and blocks, which are the core's own affair.
            Intent::Typing { .. }
            | Intent::Presence { .. }
            | Intent::Subscribe { .. }
            | Intent::Unsubscribe
            | Intent::Block
            | Intent::Unblock
            | Intent::Leave { .. }
            | Intent::Undelivered { .. } => ticket.sent(None),
            _ => ticket.failed(unsupported()),
        }
    }

    fn say_in_room(&mut self, id: &RoomId, delivery: Box<Delivery>) {
        let name = split(id.as_str()).0;
        let Some(room) = self.room(name) else { return delivery.ticket.failed(not_joined()) };
        if room.coming_back && !matches!(room.stage, Stage::Later(_)) {
            let text = Text::key("room-held");
            return delivery.ticket.failed(DeliveryError::temporary(Failure::Unreachable, text));
        }
        if !room.is_inside() {
            return delivery.ticket.failed(not_joined());
        }
        let to = To { name: room.name.to_string(), room: Some(id.clone()) };
        self.say(to, delivery);
    }

    fn in_room(&mut self, id: &RoomId, intent: Intent, ticket: Ticket) {
        match intent {
            Intent::Join { nick, password } => self.join(id, &valid_nick(&nick), password.as_deref(), ticket),
            Intent::Leave { status } => self.part(id, status.as_deref(), ticket),
            Intent::Rename { nick } => self.rename(&nick, ticket),
            Intent::SetSubject { subject } => self.set_topic(id, &subject, ticket),
            Intent::Typing { on } => {
                if let Ok(name) = self.inside(id).map(|(room, _)| room.name.clone()) {
                    self.typing(&name, on);
                }
                ticket.sent(None);
            }
            Intent::SetRole { who, role, affiliation, reason } => {
                let (role, affiliation, reason) = (role.as_deref(), affiliation.as_deref(), reason.as_deref());
                match (role, affiliation) {
                    (_, Some("outcast")) => self.ban(id, &nick_of(&who), true, reason, ticket),
                    (Some("none"), _) => self.kick(id, &nick_of(&who), reason, ticket),
                    _ => self.set_role(id, &nick_of(&who), role, affiliation, ticket),
                }
            }
            Intent::Remove { who, reason } => self.kick(id, &nick_of(&who), reason.as_deref(), ticket),
            Intent::Ban { mask, on, reason } => self.ban(id, &mask, on, reason.as_deref(), ticket),
            Intent::Invite { room, who, .. } => self.invite(&room, &nick_of(&who), ticket),
            Intent::SetRoomConfig { values } => self.configure(id, &values, ticket),
            other => self.other(&other, ticket),
        }
    }

    /// A line typed by hand; it needs a connection that is there.
    fn raw(&mut self, typed: &str, ticket: Ticket) {
        if self.link.as_ref().is_none_or(|l| l.phase == Phase::Registering) {
            return ticket.failed(DeliveryError::new(Failure::NotConnected, Text::key("not-connected")));
        }
        match write::raw(typed) {
            Some(line) => {
                self.typed(typed);
                self.send(line);
                ticket.sent(None);
            }
            None => ticket.failed(DeliveryError::new(Failure::Rejected, Text::key("not-one-line"))),
        }
    }

    /// All of the user's resources are away, or none is there.
    fn presence(&mut self, available: bool, away: bool, status: Option<String>, ticket: Ticket) {
        let away =
            (away || !available).then(|| status.filter(|s| !s.trim().is_empty()).unwrap_or_else(|| "Away".to_owned()));
        self.set_away(away.as_deref());
        ticket.sent(None);
    }

    /// Tells the network that the user is away, or back; once for each change.
    pub(super) fn set_away(&mut self, words: Option<&str>) {
        let before = self.shown_away().map(str::to_owned);
        self.away = words.map(|words| words.replace(['\r', '\n'], " ").into());
        self.away_changed(before.as_deref());
    }

    /// What the network is to know of the user's being away.
    pub(super) fn shown_away(&self) -> Option<&str> {
        self.away.as_deref().filter(|_| self.settings.bool(settings::AWAY))
    }

    /// What it is to know may be something else than before.
    pub(super) fn away_changed(&mut self, before: Option<&str>) {
        let now = self.shown_away();
        if now != before && self.is_up() {
            let line = now.map_or_else(|| write::line("AWAY", &[]), |words| self.away_line(words));
            self.send(line);
        }
    }

    pub(super) fn away_line(&self, words: &str) -> Vec<u8> {
        self.worded(&["AWAY"], words, self.link.as_ref().map_or(0, |l| l.server.away_len))
    }

    /// Where the user stays in rooms without any client, the network is told that nobody is there.
    pub(super) fn note_attendance(&mut self, words: Option<&str>) {
        let nobody = !self.rooms.is_empty() && self.rooms.values().all(|r| r.unattended);
        if nobody && !self.absent {
            self.set_away(Some(words.filter(|w| !w.trim().is_empty()).unwrap_or(NOBODY)));
        } else if !nobody && self.absent {
            self.set_away(None);
        }
        self.absent = nobody;
    }

    /// The same where they stay connected without any room, and nothing is heard of a client.
    pub(super) fn nobody_is_here(&mut self) {
        if !std::mem::replace(&mut self.absent, true) {
            self.set_away(Some(NOBODY));
        }
    }

    /// A client wants something. In rooms it is by who is inside that one knows whether anybody is there.
    pub(super) fn somebody_is_here(&mut self) {
        if self.rooms.is_empty() && std::mem::take(&mut self.absent) {
            self.set_away(None);
        }
    }

    fn rename(&mut self, nick: &str, ticket: Ticket) {
        let valid = valid_nick(nick);
        if valid != nick {
            let text = Text::key("nick-refused").with("nick", nick.replace(['\r', '\n'], " "));
            return ticket.failed(DeliveryError::new(Failure::Rejected, text));
        }
        nick.clone_into(&mut self.wish);
        match &self.link {
            Some(link) if link.nick == nick => return ticket.sent(None),
            Some(_) if self.is_up() => {}
            _ => return ticket.sent(None), // it is what the next connection asks for
        }
        self.send_for(write::line("NICK", &[nick]), What::Nick, ticket);
    }

    // Rooms.

    pub(super) fn inside(&self, id: &RoomId) -> Result<(&Room, Box<str>), DeliveryError> {
        let folded = self.fold(split(id.as_str()).0);
        let room = self.rooms.get(&folded).filter(|r| r.is_inside()).ok_or_else(not_joined)?;
        Ok((room, folded))
    }

    fn set_topic(&mut self, id: &RoomId, subject: &str, ticket: Ticket) {
        let (name, folded) = match self.inside(id) {
            Ok((room, folded)) => (room.name.clone(), folded),
            Err(error) => return ticket.failed(error),
        };
        let most = self.link.as_ref().map_or(0, |l| l.server.topic_len);
        let line = self.worded(&["TOPIC", &name], subject, most);
        self.send_for(line, What::Topic { room: folded }, ticket);
    }

    fn kick(&mut self, id: &RoomId, nick: &str, reason: Option<&str>, ticket: Ticket) {
        let found = self.inside(id).map(|(room, folded)| {
            (room.name.clone(), folded, view(&room.view).get(&self.people, nick).map(|m| m.nick().to_owned()))
        });
        match found {
            Ok((name, folded, Some(nick))) => {
                let line = self.kick_line(&name, &nick, reason);
                let nick = self.fold(&nick);
                self.send_for(line, What::Kick { room: folded, nick }, ticket);
            }
            Ok(_) => ticket.failed(nobody(nick)),
            Err(error) => ticket.failed(error),
        }
    }

    pub(super) fn kick_line(&self, name: &str, nick: &str, reason: Option<&str>) -> Vec<u8> {
        let most = self.link.as_ref().map_or(0, |l| l.server.kick_len);
        self.worded(&["KICK", name, nick], reason.unwrap_or_default(), most)
    }

    fn set_role(&mut self, id: &RoomId, nick: &str, role: Option<&str>, affiliation: Option<&str>, ticket: Ticket) {
        let found = self.inside(id).map(|(room, folded)| {
            let view = view(&room.view);
            let member: Option<Member> = view.get(&self.people, nick).cloned();
            let moderated = self.link.as_ref().is_some_and(|l| modes::get(&view.modes, 'm', &l.server).is_some());
            (room.name.clone(), folded, member, moderated)
        });
        let (name, folded, member, moderated) = match found {
            Ok((name, folded, Some(member), moderated)) => (name, folded, member, moderated),
            Ok(_) => return ticket.failed(nobody(nick)),
            Err(error) => return ticket.failed(error),
        };
        let Some(change) = self.rank_change(&member, role, affiliation, moderated) else {
            return ticket.failed(unsupported());
        };
        if change.is_empty() {
            return ticket.sent(None); // they are what they should be
        }
        let count = change.chars().filter(char::is_ascii_alphabetic).count();
        let mut params = vec![&*name, change.as_str()];
        params.extend(std::iter::repeat_n(member.nick(), count));
        self.send_for(write::line("MODE", &params), What::Mode { room: folded }, ticket);
    }

    /// The letters that make somebody what they should be; higher ranks go. `None`: there is no such thing here.
    fn rank_change(
        &self,
        member: &Member,
        role: Option<&str>,
        affiliation: Option<&str>,
        moderated: bool,
    ) -> Option<String> {
        let server = &self.link.as_ref()?.server;
        let first = |letters: &[char]| letters.iter().copied().find(|l| server.has_rank(*l));
        let wanted: Option<char> = match (affiliation, role) {
            (Some("owner"), _) => Some(first(&['q', 'a', 'o'])?),
            (Some("admin"), _) => Some(first(&['o'])?),
            (Some("member"), _) => Some(first(&['v'])?),
            (Some("none"), _) => None,
            (None, Some("moderator")) => Some(first(&['h', 'o'])?),
            (None, Some("participant")) if moderated => Some(first(&['v'])?),
            (None, Some("participant" | "visitor")) => None,
            _ => return None,
        };
        let has = |letter: char| {
            member.rank.has(server.rank(u8::try_from(letter).unwrap_or(b'v'))) && rank_exists(member.rank)
        };
        if role == Some("moderator")
            && affiliation.is_none()
            && ['q', 'a', 'o', 'h'].into_iter().any(|l| server.has_rank(l) && has(l))
        {
            return Some(String::new());
        }
        let ranks: Vec<char> = server.ranks().collect();
        // A voice is not more than a participant has, also where nobody needs one.
        let kept = wanted.or_else(|| (role == Some("participant") && affiliation.is_none()).then_some('v'));
        let reach = kept.and_then(|k| ranks.iter().position(|r| *r == k)).unwrap_or(ranks.len());
        // Without `multi-prefix` a server names the highest rank alone: there may be others below it.
        let hides = !self.has_cap(Caps::MULTI_PREFIX);
        let highest = ranks.iter().position(|l| has(*l)).filter(|_| hides).unwrap_or(ranks.len());
        // Letters of a server's own (an IRC operator's) are not ours to take.
        let off = ranks[..reach].iter().enumerate();
        let off = off.filter(|(at, l)| "qaohv".contains(**l) && (has(**l) || *at > highest));
        let off: String = off.map(|(_, l)| *l).collect();
        let on = wanted.filter(|w| !has(*w));
        let mut change = if off.is_empty() { String::new() } else { format!("-{off}") };
        if let Some(on) = on {
            change.push('+');
            change.push(on);
        }
        Some(change)
    }

    fn invite(&mut self, id: &RoomId, nick: &str, ticket: Ticket) {
        if contact_id(nick, &self.of.network).is_none() {
            return ticket.failed(nobody(nick));
        }
        match self.inside(id).map(|(room, folded)| (room.name.clone(), folded)) {
            Ok((name, folded)) => {
                let what = What::Invite { room: folded, nick: self.fold(nick) };
                self.send_for(write::line("INVITE", &[nick, &name]), what, ticket);
            }
            Err(error) => ticket.failed(error),
        }
    }

    /// The form of a room's settings, as far as modes say it.
    fn configure(&mut self, id: &RoomId, values: &Values, ticket: Ticket) {
        let found = self.inside(id).map(|(room, folded)| (room.name.clone(), folded, view(&room.view).modes.clone()));
        let (name, folded, now) = match found {
            Ok(found) => found,
            Err(error) => return ticket.failed(error),
        };
        let Some(link) = &self.link else { return ticket.failed(not_connected()) };
        let has = |mode: char| modes::get(&now, mode, &link.server);
        let (mut on, mut off, mut params) = (String::new(), String::new(), Vec::new());
        for (field, mode, inverted) in FLAGS {
            let now = hidden_or(mode).filter(|m| has(*m).is_some());
            match values.bool(field).map(|wanted| wanted != inverted) {
                Some(true) if now.clone().next().is_none() => on.push(mode),
                Some(false) => off.extend(now),
                _ => {}
            }
        }
        let secret = values.get("muc#roomconfig_roomsecret");
        // RFC 2812 section 2.3.1, `key`; a comma would end it where rooms are entered.
        if secret.is_some_and(|key| key.starts_with(':') || key.contains(|c: char| " ,".contains(c) || c.is_control()))
        {
            return ticket.failed(DeliveryError::new(Failure::Rejected, Text::key("no-such-password")));
        }
        let protected = values.bool("muc#roomconfig_passwordprotectedroom");
        let mut off_params = Vec::new();
        match (secret.filter(|s| !s.is_empty()), has('k')) {
            (Some(key), old) if protected != Some(false) && old != Some(key) => {
                if let Some(old) = old {
                    // COMPAT(InspIRCd): a new one beside an old one is refused without a word.
                    off.push('k');
                    off_params.push(if old.is_empty() { "*".to_owned() } else { old.to_owned() });
                }
                on.push('k');
                params.push(key.to_owned());
            }
            (_, Some(old)) if protected == Some(false) => {
                off.push('k');
                off_params.push(if old.is_empty() { "*".to_owned() } else { old.to_owned() });
            }
            _ => {}
        }
        match values.get("muc#roomconfig_maxusers").map(|l| l.parse::<u32>().ok().filter(|l| *l > 0)) {
            Some(Some(limit)) if has('l') != Some(limit.to_string().as_str()) => {
                on.push('l');
                params.push(limit.to_string());
            }
            Some(None) if has('l').is_some() => off.push('l'),
            _ => {}
        }
        if on.is_empty() && off.is_empty() {
            return ticket.sent(None);
        }
        let mut letters = if off.is_empty() { String::new() } else { format!("-{off}") };
        if !on.is_empty() {
            letters.push('+');
            letters.push_str(&on);
        }
        let all: Vec<&str> = [&*name, letters.as_str()]
            .into_iter()
            .chain(off_params.iter().chain(&params).map(String::as_str))
            .collect();
        self.send_for(write::line("MODE", &all), What::Mode { room: folded }, ticket);
    }

    /// A room's modes as the fields of its form.
    pub(super) fn room_config(&self, now: &str) -> Values {
        let mut values = Values::new();
        let Some(link) = &self.link else { return values };
        let has = |mode: char| modes::get(now, mode, &link.server);
        for (field, mode, inverted) in FLAGS {
            let now = hidden_or(mode).any(|m| has(m).is_some());
            values.set(field, if now == inverted { "false" } else { "true" });
        }
        values.set("muc#roomconfig_passwordprotectedroom", if has('k').is_some() { "true" } else { "false" });
        values.set("muc#roomconfig_roomsecret", has('k').filter(|k| *k != "*").unwrap_or_default());
        values.set("muc#roomconfig_maxusers", has('l').unwrap_or_default());
        values
    }
}

/// Fields that are one mode each, and whether the field says the opposite.
const FLAGS: [(&str, char, bool); 4] = [
    ("muc#roomconfig_moderatedroom", 'm', false),
    ("muc#roomconfig_publicroom", 's', true),
    ("muc#roomconfig_changesubject", 't', true),
    ("invite_only", 'i', false),
];

/// The modes that say the same as this one to those outside: a room that is private (`p`) is hidden like a secret one (`s`).
fn hidden_or(mode: char) -> impl Iterator<Item = char> + Clone {
    std::iter::once(mode).chain((mode == 's').then_some('p'))
}

fn rank_exists(rank: Rank) -> bool {
    rank.highest() != Rank::NONE
}

/// Whom an address means.
fn nick_of(who: &Address) -> String {
    match who {
        Address::Occupant { nick, .. } => nick.clone(),
        Address::Contact(contact) => split(contact.as_str()).0.to_owned(),
        _ => String::new(),
    }
}

fn not_joined() -> DeliveryError {
    DeliveryError::new(Failure::NotJoined, Text::key("not-joined"))
}

fn not_connected() -> DeliveryError {
    DeliveryError::temporary(Failure::Unreachable, Text::key("not-connected"))
}

fn nobody(nick: &str) -> DeliveryError {
    DeliveryError::new(Failure::NoSuchRecipient, Text::key("nobody").with("nick", nick))
}
