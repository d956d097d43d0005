//! Presences and messages of a room (XEP-0045 sections 7 and 8), written straight into the link's output.

use std::time::SystemTime;

use isthmus_bridge::inbound::Departure;
use isthmus_bridge::room::{Hat, Member, Person, Rank, Subject};

use super::nick;
use super::rank::{self, Item};
use crate::translate::stamp::stamp;
use crate::xmpp::link::StanzaWriter;
use crate::xmpp::ns;

/// What all stanzas of one room have in common.
pub struct Stage<'a> {
    /// The room's JID.
    pub jid: &'a str,
    /// Whether only the voiced may speak.
    pub moderated: bool,
    /// The JID that an occupant of this nick has outside of the room, if any.
    pub person: &'a dyn Fn(&str) -> Option<String>,
    /// An occupant's id (XEP-0421), from who they are.
    pub occupant_id: &'a dyn Fn(&str) -> String,
    /// A hat's name in the language of who sees it.
    pub hat: &'a dyn Fn(&Hat) -> String,
}

impl Stage<'_> {
    /// An occupant's JID.
    pub fn occupant(&self, nick: &str) -> String {
        let resource = nick::spell(nick);
        let mut jid = String::with_capacity(self.jid.len() + 1 + resource.len());
        jid.push_str(self.jid);
        jid.push('/');
        jid.push_str(&resource);
        jid
    }

    /// The real JID of a person: where they are found outside, with what is known of their host as resource.
    fn real_jid(&self, person: &Person) -> Option<String> {
        let mut jid = (self.person)(&person.nick)?;
        // One that has a resource already needs it to be found.
        if let Some(host) = person.host.as_deref().filter(|host| nick::is_resource(host) && !jid.contains('/')) {
            jid.push('/');
            jid.push_str(host);
        }
        Some(jid)
    }
}

/// Whose presence it is, as the one who sees it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Somebody else's.
    Other,
    /// Their own; also at the end of a listing (status 100), or with a nick that they did not ask for (210).
    Own {
        /// The room tells that it is not anonymous.
        entering: bool,
        /// The nick is not the one asked for.
        renamed: bool,
    },
}

impl Whose {
    /// Their own, in the course of a visit.
    pub const OWN: Self = Self::Own { entering: false, renamed: false };
}

/// Somebody is inside.
pub fn present(w: &mut StanzaWriter<'_>, stage: &Stage<'_>, to: &str, member: &Member, whose: Whose, by: Option<&str>) {
    w.presence(&stage.occupant(member.nick()), to, None, None);
    if member.rank.has(Rank::AWAY) {
        w.leaf("show", None, "away");
        if let Some(words) = member.person.away.as_deref() {
            w.leaf("status", None, words);
        }
    }
    let real = if whose == Whose::Other { stage.real_jid(&member.person) } else { Some(to.to_owned()) };
    w.open("x", Some(ns::MUC_USER));
    let item = rank::item(member.rank, stage.moderated);
    write_item(
        w,
        item,
        &Details { jid: real.as_deref(), by, account: member.person.account.as_deref(), ..Details::default() },
    );
    if let Whose::Own { entering, renamed } = whose {
        codes(w, [(entering, "100"), (true, "110"), (renamed, "210")]);
    }
    w.close();
    write_occupant_id(w, &(stage.occupant_id)(&member.person.identity()));
    let mut hats = member.rank.hats().peekable();
    if hats.peek().is_some() {
        w.open("hats", Some(HATS));
        for hat in hats {
            w.open("hat", None).attr("title", &(stage.hat)(hat)).attr("uri", hat.uri).close();
        }
        w.close();
    }
}

/// XEP-0317.
pub const HATS: &str = "urn:xmpp:hats:0";
/// XEP-0421.
pub const OCCUPANT_ID: &str = "urn:xmpp:occupant-id:0";
/// Our own: in an occupant's item, the account under which they have logged in on the far network; none for who has not.
pub const ACCOUNT: &str = "urn:isthmus:account:0";

/// How somebody is not inside any more.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gone<'a> {
    /// Thrown out, and how.
    pub how: Option<Departure>,
    /// By whom.
    pub by: Option<&'a str>,
    /// Parting words, or why.
    pub words: Option<&'a str>,
    /// Their new nick: they are inside under that.
    pub renamed: Option<(&'a str, Item)>,
    /// It is who sees it (110).
    pub own: bool,
    /// The room is at this address from now on.
    pub moved: Option<&'a str>,
    /// Because of the gateway: 332 for its stop, 333 for what it cannot help.
    pub service: Option<&'static str>,
}

/// Somebody is not inside any more, at least not under this nick.
pub fn absent(w: &mut StanzaWriter<'_>, stage: &Stage<'_>, to: &str, nick: &str, gone: &Gone<'_>) {
    w.presence(&stage.occupant(nick), to, Some("unavailable"), None);
    let out = matches!(gone.how, Some(Departure::Kicked | Departure::Banned)) || gone.moved.is_some();
    if let Some(words) = gone.words.filter(|w| !w.is_empty() && !out) {
        w.leaf("status", None, words);
    }
    w.open("x", Some(ns::MUC_USER));
    let item = match (gone.renamed, gone.how) {
        (Some((_, item)), _) => item,
        (None, Some(Departure::Banned)) => Item::BANNED,
        _ => Item::OUTSIDE,
    };
    let new_nick = gone.renamed.map(|(nick, _)| nick::spell(nick));
    let reason = gone.words.filter(|w| !w.is_empty() && out && gone.moved.is_none());
    write_item(w, item, &Details { nick: new_nick.as_deref(), by: gone.by, reason, ..Details::default() });
    if let Some(jid) = gone.moved {
        // XEP-0045 section 10.9: a room that is no more, and where one meets instead.
        w.open("destroy", None).attr("jid", jid);
        if let Some(words) = gone.words.filter(|w| !w.is_empty()) {
            w.leaf("reason", None, words);
        }
        w.close();
    }
    codes(
        w,
        [
            (gone.how == Some(Departure::Banned), "301"),
            (gone.renamed.is_some(), "303"),
            (gone.how == Some(Departure::Kicked), "307"),
            (gone.own, "110"),
        ],
    );
    codes(w, gone.service.map(|code| (true, code)));
    w.close();
}

/// Somebody who believes to be inside is not: as if the service had removed them for a technical reason (XEP-0045 section 15.6.2, XEP-0410).
pub fn never_inside(w: &mut StanzaWriter<'_>, from: &str, to: &str) {
    w.presence(from, to, Some("unavailable"), None).open("x", Some(ns::MUC_USER));
    write_item(w, Item::OUTSIDE, &Details::default());
    codes(w, [(true, "110"), (true, "307"), (true, "333")]);
    w.close();
}

/// A room's subject: an empty one is told too, it ends the join (XEP-0045 section 7.2.15).
pub fn subject(w: &mut StanzaWriter<'_>, stage: &Stage<'_>, to: &str, subject: &Subject, id: Option<&str>) {
    let by = subject.by.as_deref().filter(|by| !by.is_empty() && !subject.words.is_empty());
    let from = by.map(|by| stage.occupant(by));
    w.message(from.as_deref().unwrap_or(stage.jid), to, Some("groupchat"), id);
    w.leaf("subject", None, &subject.words);
    if let Some(at) = subject.at.filter(|_| !subject.words.is_empty()) {
        delay(w, stage.jid, at);
    }
}

/// Something said in a room.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// Who says it: an occupant's JID or the room's own.
    pub from: &'a str,
    /// The stanza's id.
    pub id: &'a str,
    /// The room's id of it (XEP-0359).
    pub stanza_id: &'a str,
    /// The words.
    pub body: &'a str,
    /// Conversation.
    pub thread: Option<&'a str>,
    /// What it is beside its words.
    pub payload: Option<&'a crate::xmpp::link::Fragment>,
    /// The speaker's id (XEP-0421).
    pub occupant_id: Option<&'a str>,
    /// What is kept of the sender's own stanza: ids given by others.
    pub kept: Option<&'a crate::xmpp::link::Fragment>,
    /// When it was said, where that is a while ago.
    pub at: Option<SystemTime>,
}

/// A message to everybody in the room.
pub fn line(w: &mut StanzaWriter<'_>, room: &str, to: &str, line: &Line<'_>) {
    w.message(line.from, to, Some("groupchat"), Some(line.id));
    if !line.body.is_empty() {
        w.leaf("body", None, line.body);
    }
    if let Some(thread) = line.thread {
        w.leaf("thread", None, thread);
    }
    for more in [line.payload, line.kept].into_iter().flatten() {
        w.fragment(more);
    }
    w.open("stanza-id", Some(ns::SID)).attr("by", room).attr("id", line.stanza_id).close();
    if let Some(id) = line.occupant_id {
        write_occupant_id(w, id);
    }
    if let Some(at) = line.at {
        delay(w, room, at);
    }
}

/// A mark: neither words nor anything that is kept.
pub fn mark(w: &mut StanzaWriter<'_>, to: &str, line: &Line<'_>) {
    w.message(line.from, to, Some("groupchat"), Some(line.id));
    if let Some(payload) = line.payload {
        w.fragment(payload);
    }
}

/// A private message between occupants: it belongs to this resource alone, because only in its room it has a meaning (XEP-0045 section 7.5).
pub fn private(
    w: &mut StanzaWriter<'_>,
    (from, to): (&str, &str),
    id: &str,
    (body, beside): (&str, [Option<&crate::xmpp::link::Fragment>; 2]),
    at: Option<(SystemTime, &str)>,
) {
    w.message(from, to, Some("chat"), Some(id)).leaf("body", None, body);
    for more in beside.into_iter().flatten() {
        w.fragment(more);
    }
    w.open("x", Some(ns::MUC_USER)).close();
    if let Some((at, room)) = at {
        delay(w, room, at);
    }
    not_copied(w);
}

/// Neither the server nor another client shall show it again (XEP-0280 section 6, XEP-0334).
pub fn not_copied(w: &mut StanzaWriter<'_>) {
    w.open("private", Some(ns::CARBONS)).close().open("no-copy", Some(ns::HINTS)).close();
}

/// Typing in a room, or no longer; or (`private`) to this user alone.
pub fn typing(w: &mut StanzaWriter<'_>, from: &str, to: &str, on: bool, private: bool) {
    w.message(from, to, Some(if private { "chat" } else { "groupchat" }), None);
    w.open(if on { "composing" } else { "paused" }, Some(ns::CHATSTATES)).close();
    if private {
        w.open("x", Some(ns::MUC_USER)).close();
        not_copied(w);
    }
}

/// The room's configuration is another (XEP-0045 section 10.2.1).
pub fn configured(w: &mut StanzaWriter<'_>, room: &str, to: &str) {
    w.message(room, to, Some("groupchat"), None).open("x", Some(ns::MUC_USER));
    codes(w, [(true, "104")]);
    w.close();
}

/// A mediated invitation (XEP-0045 section 7.8.2).
pub fn invitation(
    w: &mut StanzaWriter<'_>,
    room: &str,
    to: &str,
    from: &str,
    reason: Option<&str>,
    password: Option<&str>,
) {
    w.message(room, to, None, None).open("x", Some(ns::MUC_USER));
    w.open("invite", None).attr("from", from);
    if let Some(reason) = reason {
        w.leaf("reason", None, reason);
    }
    w.close();
    if let Some(password) = password {
        w.leaf("password", None, password);
    }
    w.close();
}

/// An invitation was declined (XEP-0045 section 7.8.2).
pub fn declined(w: &mut StanzaWriter<'_>, room: &str, to: &str, from: &str, reason: Option<&str>) {
    w.message(room, to, None, None).open("x", Some(ns::MUC_USER)).open("decline", None).attr("from", from);
    if let Some(reason) = reason {
        w.leaf("reason", None, reason);
    }
    w.close().close();
}

/// Somebody asks a moderator for voice (XEP-0045 section 8.6).
pub fn voice(w: &mut StanzaWriter<'_>, room: &str, to: &str, title: &str, (jid, nick): (&str, &str)) {
    w.message(room, to, None, None).open("x", Some(ns::DATA)).attr("type", "form").leaf("title", None, title);
    for (var, kind, value) in [
        ("FORM_TYPE", "hidden", "http://jabber.org/protocol/muc#request"),
        ("muc#role", "hidden", "participant"),
        ("muc#jid", "jid-single", jid),
        ("muc#roomnick", "text-single", nick),
        ("muc#request_allow", "boolean", "false"),
    ] {
        w.open("field", None).attr("var", var).attr("type", kind).leaf("value", None, value).close();
    }
    w.close();
}

/// What an item tells beside role and affiliation.
#[derive(Debug, Clone, Copy, Default)]
struct Details<'a> {
    jid: Option<&'a str>,
    nick: Option<&'a str>,
    by: Option<&'a str>,
    reason: Option<&'a str>,
    account: Option<&'a str>,
}

fn write_item(w: &mut StanzaWriter<'_>, item: Item, details: &Details<'_>) {
    w.open("item", None).attr("affiliation", item.affiliation).attr("role", item.role);
    if let Some(jid) = details.jid {
        w.attr("jid", jid);
    }
    if let Some(nick) = details.nick {
        w.attr("nick", nick);
    }
    if let Some(by) = details.by {
        w.open("actor", None).attr("nick", by).close();
    }
    if let Some(reason) = details.reason {
        w.leaf("reason", None, reason);
    }
    if let Some(account) = details.account {
        // Last, after all that the schema has (XEP-0045 section 18.2).
        w.open("account", Some(ACCOUNT)).attr("name", account).close();
    }
    w.close();
}

fn codes(w: &mut StanzaWriter<'_>, codes: impl IntoIterator<Item = (bool, &'static str)>) {
    for (_, code) in codes.into_iter().filter(|(set, _)| *set) {
        w.open("status", None).attr("code", code).close();
    }
}

fn write_occupant_id(w: &mut StanzaWriter<'_>, id: &str) {
    w.open("occupant-id", Some(OCCUPANT_ID)).attr("id", id).close();
}

fn delay(w: &mut StanzaWriter<'_>, from: &str, at: SystemTime) {
    w.open("delay", Some(ns::DELAY)).attr("from", from).attr("stamp", &stamp(at)).close();
}

#[cfg(test)]
#[path = "show_tests.rs"]
mod tests;
