//! Bans. Somebody who is named is banned where they are: a ban of their nick would end with it.

use isthmus_bridge::{DeliveryError, Failure, RoomId, Text, Ticket};

use super::answers::What;
use super::{Session, view};
use crate::address::{contact_id, split};
use crate::proto::line::Line;
use crate::proto::write;

/// A ban, or the end of one, of somebody of whom it is asked where they are.
pub(super) struct Banning {
    room: RoomId,
    nick: String,
    on: bool,
    reason: Option<String>,
}

impl Session {
    /// By a mask, or by who is meant: a nick, or `nick%network` with whatever a client puts behind it.
    pub(super) fn ban(&mut self, id: &RoomId, mask: &str, on: bool, reason: Option<&str>, ticket: Ticket) {
        let named = split(mask.split('/').next().unwrap_or(mask)).0;
        let member = match self.inside(id).map(|(room, _)| view(&room.view).get(&self.people, named).cloned()) {
            Ok(member) => member,
            Err(error) => return ticket.failed(error),
        };
        // What is no nick and nobody's is a mask: of a host, or of a kind that the server knows (`R:account`, `$a:account`, `~a:account`).
        let nobodys = member.is_none() && (!is_nick(named) || (mask.contains('@') && !mask.contains('%')));
        let is_mask = mask.contains(['!', '*', '?']) || nobodys;
        if is_mask {
            return self.put_ban(id, mask, on, None, ticket);
        }
        let nick = member.as_ref().map_or(named, |m| m.nick());
        if let Some(host) = member.as_ref().and_then(|m| m.person.host.as_deref()) {
            return self.put_ban(id, &mask_of(nick, Some(host)), on, Some((nick, reason)), ticket);
        }
        if contact_id(nick, &self.of.network).is_none() {
            return self.put_ban(id, &mask_of(nick, None), on, None, ticket);
        }
        let ban = Banning { room: id.clone(), nick: nick.to_owned(), on, reason: reason.map(str::to_owned) };
        let what = What::Userhost { nick: self.fold(nick), ban: Box::new(ban) };
        self.send_for(write::line("USERHOST", &[nick]), what, ticket);
    }

    /// Sets or lifts it; who is named besides is thrown out.
    fn put_ban(&mut self, id: &RoomId, mask: &str, on: bool, who: Option<(&str, Option<&str>)>, ticket: Ticket) {
        let found = self.inside(id).map(|(room, folded)| {
            let inside = who.filter(|(nick, _)| on && view(&room.view).get(&self.people, nick).is_some());
            (room.name.clone(), folded, inside)
        });
        let (name, folded, inside) = match found {
            Ok(found) => found,
            Err(error) => return ticket.failed(error),
        };
        let line = write::line("MODE", &[&name, if on { "+b" } else { "-b" }, mask]);
        self.send_for(line, What::Mode { room: folded }, ticket);
        if let Some((nick, reason)) = inside {
            self.send(self.kick_line(&name, nick, reason));
        }
    }

    /// 302 (RFC 2812 section 4.8): `nick[*]=<+|->user@host`, and nothing of whom there is not. False: nobody here has asked.
    pub(super) fn on_userhost(&mut self, line: &Line<'_>) -> bool {
        let words = line.last().trim();
        let host = |nick: &str| {
            let all = words.split(' ').filter_map(|one| one.split_once('='));
            let mut same = all.filter(|(who, _)| *self.fold(who.trim_end_matches('*')) == *nick);
            same.find_map(|(_, at)| at.strip_prefix(['+', '-'])).map(str::to_owned)
        };
        let Some((nick, host)) = self.asks_for_host().map(|nick| (nick, host(nick))) else { return false };
        if host.is_none() && !words.is_empty() {
            return false; // of others: asked for by hand
        }
        let nick = nick.to_owned();
        let Some((ban, ticket)) = self.take_banning() else { return false };
        if host.is_some() {
            self.people.learn(&nick, host.as_deref(), None);
        }
        if host.is_none() && ban.on {
            let text = Text::key("nobody").with("nick", &ban.nick);
            ticket.failed(DeliveryError::new(Failure::NoSuchRecipient, text));
            return true;
        }
        let mask = mask_of(&ban.nick, host.as_deref());
        self.put_ban(&ban.room, &mask, ban.on, Some((&ban.nick, ban.reason.as_deref())), ticket);
        true
    }
}

/// Whether servers know such nicks (RFC 2812 section 2.3.1, and letters of any script and digits first, which some take).
fn is_nick(name: &str) -> bool {
    name.chars().all(|c| !c.is_ascii() || c.is_ascii_alphanumeric() || "[]\\`_^{|}-".contains(c))
}

/// Whoever comes from there; this nick from wherever, where that is not known.
fn mask_of(nick: &str, host: Option<&str>) -> String {
    match host.and_then(|host| host.split_once('@')) {
        Some((_, host)) => format!("*!*@{host}"),
        None => format!("{nick}!*@*"),
    }
}
