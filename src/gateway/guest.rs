//! Rooms of an XMPP server in which the gateway itself is an occupant (XEP-0045), because the administrator gave one an own identity of a bridge: a
//! shared number, say. What comes in for it is said in the room; who is inside answers with `contact: words` or an XEP-0461 reply.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use isthmus_bridge::{Address, BareJid, Event, Inbound, LinkState, MessageKind, NetworkId, SessionOf, Text};
use minidom::Element;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::answers::Unanswered;
use super::core::{Core, PRESENCE, Served};
use super::messages::lang;
use super::receive::Heard;
use crate::inbox::{Later, Wire};
use crate::router::{self, Party};
use crate::storage::fresh_id;
use crate::translate::outbound;
use crate::xmpp::link::Stanza;
use crate::xmpp::{GUEST, ns, xml::Xml};

/// For the room's answer to the presence that enters.
const ENTER_WITHIN: Duration = Duration::from_secs(30);
/// Between two attempts to enter, and their longest pause.
const AGAIN: Duration = Duration::from_secs(2);
const AGAIN_AT_MOST: Duration = Duration::from_secs(600);
/// Between two looks whether the room still knows us (XEP-0410).
const LOOK: Duration = Duration::from_secs(300);
/// Other nicks tried where the bridge's name is taken.
const NICKS: usize = 3;
/// Messages said in the room that an XEP-0461 reply finds.
const REMEMBERED: usize = 2000;

/// One such room.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) room: BareJid,
    standing: watch::Sender<Standing>,
    /// Ids that a reply may name (ours, and the room's XEP-0359 one), and who spoke there; the newest last.
    said: Mutex<VecDeque<(String, Address)>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    Outside,
    /// With the error's condition.
    Refused(String),
    /// Under this nick.
    Inside(String),
}

impl Guest {
    pub(super) fn new(room: BareJid) -> Arc<Self> {
        Arc::new(Self { room, standing: watch::Sender::new(Standing::Outside), said: Mutex::default() })
    }

    fn nick(&self) -> Option<String> {
        match &*self.standing.borrow() {
            Standing::Inside(nick) => Some(nick.clone()),
            _ => None,
        }
    }

    fn remember(&self, id: &str, who: Address) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() >= REMEMBERED {
            said.pop_front();
        }
        said.push_back((id.to_owned(), who));
    }

    fn who_said(&self, id: &str) -> Option<Address> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.iter().rev().find(|(known, _)| known == id).map(|(_, who)| who.clone())
    }

    /// How administrators see it among the sessions.
    fn report(&self, served: &Served, state: LinkState) {
        let of = SessionOf::new(self.room.clone(), NetworkId::from(&*served.instance.name));
        served.stands(&of, &state);
    }
}

/// Our full JID in rooms.
pub(super) fn jid(served: &Served) -> String {
    format!("{}/{GUEST}", served.instance.domain)
}

impl Core {
    /// Keeps the gateway in one room until `stop`.
    pub(super) async fn attend(self: Arc<Self>, served: Arc<Served>, guest: Arc<Guest>, stop: CancellationToken) {
        let mut attached = self.ports.attached(&served.instance.name);
        let mut standing = guest.standing.subscribe();
        let (mut pause, mut nicks) = (AGAIN, 0);
        loop {
            if attached.borrow_and_update().is_none() {
                guest.standing.send_replace(Standing::Outside);
                tokio::select! {
                    () = stop.cancelled() => return,
                    changed = attached.changed() => if changed.is_err() { return },
                }
                continue;
            }
            let nick = format!("{}{}", served.instance.name, "_".repeat(nicks));
            self.enter(&served, &guest, &nick);
            let answered = tokio::time::timeout(ENTER_WITHIN, standing.wait_for(|s| *s != Standing::Outside));
            let answered = match answered.await {
                Ok(Ok(standing)) => standing.clone(),
                _ => Standing::Refused("no answer".to_owned()),
            };
            match answered {
                Standing::Inside(nick) => {
                    info!(bridge = %served.instance.name, room = %guest.room, nick, "the gateway is in the room");
                    guest.report(&served, LinkState::Up);
                    pause = AGAIN;
                    if let Err(e) = self.inbox.hurry(&served.instance.name, &guest.room).await {
                        warn!(bridge = %served.instance.name, error = %e, "what waits for the room goes a little later");
                    }
                    tokio::select! {
                        () = stop.cancelled() => return self.leave(&served, &guest, &nick),
                        () = self.stay(&served, &guest, &nick) => {}
                        _ = attached.changed() => continue,
                    }
                    warn!(bridge = %served.instance.name, room = %guest.room, "the gateway was taken out of the room; it enters again");
                }
                Standing::Refused(why) if why == "conflict" && nicks < NICKS => {
                    nicks += 1;
                    continue;
                }
                Standing::Refused(why) => {
                    warn!(bridge = %served.instance.name, room = %guest.room, why, "the gateway cannot enter the room; what comes for it waits");
                    nicks = 0;
                    guest.report(&served, LinkState::Down { reason: Text::plain(why), retry_at: None });
                }
                Standing::Outside => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                _ = attached.changed() => {}
            }
            pause = (pause * 2).min(AGAIN_AT_MOST);
        }
    }

    fn enter(&self, served: &Served, guest: &Guest, nick: &str) {
        guest.standing.send_replace(Standing::Outside);
        let mut xml = Xml::stanza("presence");
        xml.attr("from", &jid(served)).attr("to", &format!("{}/{nick}", guest.room)).attr("id", &fresh_id());
        // What was said before concerns nobody: an answer in it was carried then, or not.
        xml.open("x", ns::MUC).open("history", "").attr("maxstanzas", "0").close().close();
        self.guest_says(served, &xml.finish());
    }

    fn leave(&self, served: &Served, guest: &Guest, nick: &str) {
        let mut xml = Xml::stanza("presence");
        xml.attr("from", &jid(served)).attr("to", &format!("{}/{nick}", guest.room)).attr("type", "unavailable");
        self.guest_says(served, &xml.finish());
    }

    fn guest_says(&self, served: &Served, xml: &str) {
        match served.link().send_raw(PRESENCE, xml.as_bytes()) {
            Ok(()) => served.counters.sent(),
            Err(e) => served.counters.lost(&e, &served.instance.name),
        }
    }

    /// Until we are inside no more: the room says so, or answers a self-ping so.
    async fn stay(&self, served: &Served, guest: &Guest, nick: &str) {
        let mut standing = guest.standing.subscribe();
        loop {
            let out = standing.wait_for(|s| !matches!(s, Standing::Inside(_)));
            if tokio::time::timeout(LOOK, out).await.is_ok() {
                return;
            }
            let ping = Element::builder("ping", "urn:xmpp:ping").build();
            let me = format!("{}/{nick}", guest.room);
            match self.ask(served, &jid(served), &me, "get", &ping, ENTER_WITHIN).await {
                // XEP-0410 section 3: these mean that the room answered for us, or that nobody knows.
                Err(Unanswered::Error { condition, .. })
                    if !matches!(
                        condition.as_str(),
                        "service-unavailable" | "feature-not-implemented" | "item-not-found" | "remote-server-timeout"
                    ) =>
                {
                    return;
                }
                _ => {}
            }
        }
    }

    /// Presence of a room that the gateway is a guest of; gives whether it was one.
    pub(super) fn guest_presence(&self, served: &Served, heard: &Heard) -> bool {
        let Some(guest) = served.guest(&heard.from.bare()) else { return false };
        // A server that grants us presence (XEP-0356) passes on what its users hear from the room, too; that is not about us.
        if heard.to.resource() != Some(GUEST) {
            return true;
        }
        let nick = heard.from.resource().unwrap_or_default();
        let own = has_status(&heard.stanza, "110") || guest.nick().is_some_and(|own| own == nick);
        match heard.stanza.type_() {
            Some("error") => {
                let why = outbound::error_of(&heard.stanza).condition;
                guest.standing.send_replace(Standing::Refused(why));
            }
            // XEP-0045 section 7.6: our own nick was changed for us; the new one follows.
            Some("unavailable") if guest.nick().is_some() && own && !has_status(&heard.stanza, "303") => {
                guest.standing.send_replace(Standing::Outside);
            }
            // The room did not exist. It would be ours, empty and gone with us: whoever runs the desk makes it.
            None if own && has_status(&heard.stanza, "201") => {
                self.leave(served, &guest, nick);
                let why = "it does not exist; create it, and make it persistent".to_owned();
                guest.standing.send_replace(Standing::Refused(why));
            }
            None if own && guest.nick().as_deref() != Some(nick) => {
                guest.standing.send_replace(Standing::Inside(nick.to_owned()));
            }
            _ => {}
        }
        true
    }

    /// A message of a room that the gateway is a guest of, or from one of its occupants. Given back if it is of no such room.
    pub(super) async fn guest_message(self: &Arc<Self>, served: &Arc<Served>, mut heard: Heard) -> Option<Heard> {
        let Some(guest) = served.guest(&heard.from.bare()) else { return Some(heard) };
        match heard.stanza.type_().filter(|_| heard.to.resource() == Some(GUEST)) {
            Some("groupchat") => {}
            Some("error") => {
                self.guest_returned(served, &guest, &heard).await;
                return None;
            }
            _ => return None, // an invitation, or a private message: there is nobody to read it
        }
        let nick = heard.from.resource().filter(|n| !n.is_empty())?.to_owned();
        if guest.nick().as_deref() == Some(nick.as_str()) {
            reflected(&guest, &heard.stanza);
            return None;
        }
        if heard.stanza.child("delay", ns::DELAY).is_some() {
            return None;
        }
        let outbound::Heard::Said(mut said) = outbound::in_room(&heard.stanza, served.profile()) else { return None };
        let to = match said.answers.take().and_then(|id| guest.who_said(&id)) {
            Some(to) => to,
            None => {
                let (to, words) = self.addressed(served, &guest, &said.message.body)?;
                said.message.body = words;
                to
            }
        };
        said.message.quoted = None;
        said.addresses.clear();
        heard.to = Party::parse(&served.jid(&to)?)?;
        heard.at = to;
        match self.admit(served, &heard) {
            Ok(()) => self.say(served, heard, said).await,
            Err(error) => self.answer_error(served, &heard.stanza, &error),
        }
        None
    }

    /// `contact: words` of a contact that the room knows, or `contact@gateway: words`; anything else is talk among people.
    fn addressed(&self, served: &Served, guest: &Guest, body: &str) -> Option<(Address, String)> {
        let (name, words) = split(body)?;
        let settings = || served.persons().resolved(&guest.room, &Address::Gateway);
        let to = if name.contains('@') {
            let to = Party::parse(name).filter(|to| to.domain() == &*served.instance.domain)?;
            router::address_for(served.instance.bridge.addressing(), &to, &settings).ok()?
        } else {
            let to = served.instance.bridge.addressing().prompt_for(name, &settings()).ok()?;
            served.persons().contact(&guest.room, &to)?;
            to
        };
        matches!(to, Address::Contact(_)).then(|| (to, words.to_owned()))
    }

    /// What we said comes back. That we are no occupant passes: we enter, and it is said again.
    async fn guest_returned(&self, served: &Arc<Served>, guest: &Guest, heard: &Heard) {
        let mut returned = outbound::error_of(&heard.stanza);
        if returned.condition == "not-acceptable" {
            guest.standing.send_replace(Standing::Outside);
            "wait".clone_into(&mut returned.kind);
        }
        if !returned.id.is_empty() {
            self.returned(served, returned).await;
        }
    }

    /// What an event becomes where it goes to such a room: words with the contact in front. `None`: nothing that a room is told.
    pub(super) fn for_guest(&self, served: &Served, row: &str, event: &Inbound) -> Result<Option<Inbound>, Later> {
        let Some(guest) = served.guest(&event.to) else { return Ok(Some(event.clone())) };
        let mut event = event.clone();
        let Event::Message(message) = &mut event.event else { return Ok(None) };
        if guest.nick().is_none() {
            let why = format!("the gateway is not in the room {}", guest.room);
            return Err(Later { after: AGAIN_AT_MOST, why }); // or when we are inside
        }
        let name = message.nick.take().or_else(|| served.spoken(&event.from)).unwrap_or_default();
        message.kind = MessageKind::Group;
        message.body.insert_str(0, &format!("{name}: "));
        guest.remember(row, event.from.clone());
        Ok(Some(event))
    }

    /// Tells an occupant why their message to a contact was not carried. An error stanza from an occupant would take the gateway out of the room
    /// (XEP-0045, "Ghost Users").
    pub(super) fn told_in_room(&self, served: &Served, stanza: &Stanza, text: &Text) -> bool {
        if stanza.type_() != Some("groupchat") {
            return false;
        }
        let Some(from) = stanza.from().and_then(Party::parse) else { return false };
        let Some(guest) = served.guest(&from.bare()) else { return false };
        let words = self.words(served, text, &lang(stanza));
        let mut xml = Xml::stanza("message");
        xml.attr("from", &jid(served))
            .attr("to", guest.room.as_str())
            .attr("type", "groupchat")
            .attr("id", &fresh_id());
        xml.leaf("body", "", &format!("{}: {words}", from.resource().unwrap_or_default()));
        self.guest_says(served, &xml.finish());
        true
    }
}

fn has_status(stanza: &Stanza, code: &str) -> bool {
    let x = stanza.child("x", ns::MUC_USER).and_then(|x| x.element().ok());
    x.is_some_and(|x| x.children().any(|c| c.name() == "status" && c.attr("code") == Some(code)))
}

/// Our own words, as the room shows them: its id for them is what a reply names (XEP-0461; of a room without such ids, our own).
fn reflected(guest: &Guest, stanza: &Stanza) {
    let Some(who) = stanza.id().and_then(|id| guest.who_said(id)) else { return };
    let id = stanza.child("stanza-id", ns::SID).filter(|s| s.attr("by").as_deref() == Some(guest.room.as_str()));
    if let Some(id) = id.and_then(|s| s.attr("id").map(std::borrow::Cow::into_owned)) {
        guest.remember(&id, who);
    }
}

/// Whom a line speaks to, by its first words, and the rest.
fn split(body: &str) -> Option<(&str, &str)> {
    let body = body.trim_start();
    let body = body.strip_prefix('@').unwrap_or(body);
    let end = body.find([':', ',', '\n']).filter(|end| (1..=256).contains(end) && !body[*end..].starts_with('\n'))?;
    let words = body[end + 1..].trim();
    (!words.is_empty()).then(|| (body[..end].trim(), words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_speaks_to_whom_it_names_first() {
        for (body, expected) in [
            ("+15551112222: we are open", Some(("+15551112222", "we are open"))),
            ("@+1 555 111-2222, yes\nuntil 6", Some(("+1 555 111-2222", "yes\nuntil 6"))),
            ("+15551112222@gw.example: hello: there", Some(("+15551112222@gw.example", "hello: there"))),
            ("no colon here", None),
            ("+15551112222:  ", None),
            (": nobody", None),
            ("first line\nsecond: line", None),
        ] {
            assert_eq!(split(body), expected, "{body}");
        }
    }

    #[test]
    fn a_reply_finds_the_newest_with_that_id_and_old_ones_go() {
        let guest = Guest::new(BareJid::from("desk@rooms.example"));
        let who = |n: usize| Address::Contact(format!("+{n}").as_str().into());
        for n in 0..=REMEMBERED {
            guest.remember(&n.to_string(), who(n));
        }
        assert_eq!(guest.who_said("0"), None);
        assert_eq!(guest.who_said("7"), Some(who(7)));
    }
}
