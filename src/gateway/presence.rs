//! Subscriptions and presence of the gateway and its contacts (RFC 6121 sections 3 and 4, XEP-0100 section 4).

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use isthmus_bridge::{
    Address, BareJid, Contacts, DeliveryKey, Intent, Lang, Outbound, Registration, RoomId, SessionOf, Text, Ticket,
    Work,
};
use smallvec::SmallVec;
use tracing::warn;

use super::core::{Core, Served};
use super::messages::lang;
use super::receive::Heard;
use crate::access::Tier;
use crate::hash::Map;
use crate::inbox::Rendered;
use crate::rooms::occupancy::{Stays, lock};
use crate::router::{self, Party};
use crate::storage::fresh_id;
use crate::storage::people::Subscription;
use crate::xmpp::errors::StanzaError;
use crate::xmpp::link::Lane;
use crate::xmpp::xml::Xml;
use crate::xmpp::{disco, ns, pep};

/// Full JIDs known to be available, over all bridges, with what is known of them. A resource that vanished without a word stays until its server
/// says so; that only makes a late failure an error stanza instead of a message.
#[derive(Debug, Default)]
pub(super) struct Online(Mutex<Map<BareJid, SmallVec<[Device; 1]>>>);

/// A resource that is available. Most users have one: it stands in the table itself.
#[derive(Debug)]
struct Device {
    /// Its full JID.
    full: Arc<str>,
    /// Its capabilities, as its presence names them (XEP-0115).
    caps: Option<Box<str>>,
    /// What is known of it beyond its being there.
    more: Option<Box<More>>,
    /// It has shown itself at another address than a room's: leaving a room is not all of its presence.
    outside: bool,
}

/// What is known of some resources.
#[derive(Debug, Default)]
struct More {
    /// Its features, once it was asked.
    features: Option<Arc<HashSet<String>>>,
    /// What it has been told once.
    told: HashSet<String>,
}

/// Things that one device is told once, at most.
const TOLD: usize = 1_000;
/// Devices of one user that are known, at most. Servers let a user have some tens, but a user can be a server, too.
const DEVICES: usize = 100;
/// Bytes of a verification string (XEP-0115), at most: it is a hash.
const LONGEST_CAPS: usize = 256;
/// Users of whom any are known, at most.
const USERS: usize = 200_000;

impl Online {
    fn lock(&self) -> MutexGuard<'_, Map<BareJid, SmallVec<[Device; 1]>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A presence; `caps` is the verification string in it.
    pub(super) fn set(&self, from: &Party, available: bool, caps: Option<&str>) {
        let (user, full) = (from.bare(), from.full());
        let caps = caps.filter(|caps| caps.len() <= LONGEST_CAPS);
        let mut online = self.lock();
        if !available {
            if let Some(devices) = online.get_mut(&user) {
                devices.retain(|device| *device.full != *full);
                if devices.is_empty() {
                    online.remove(&user);
                }
            }
            return;
        }
        if online.len() >= USERS && !online.contains_key(&user) {
            return;
        }
        let devices = online.entry(user).or_default();
        let at = match devices.iter().position(|device| *device.full == *full) {
            Some(at) => at,
            None if devices.len() >= DEVICES => return,
            None => {
                devices.push(Device { full: from.shared(), caps: None, more: None, outside: false });
                devices.len() - 1
            }
        };
        let device = &mut devices[at];
        if caps.is_some() && device.caps.as_deref() != caps {
            device.caps = caps.map(Into::into);
            if let Some(more) = &mut device.more {
                more.features = None;
            }
        }
    }

    pub(super) fn is(&self, full: &str) -> bool {
        self.device(full, |_| ()).is_some()
    }

    /// The user's resources, in order.
    pub(super) fn of(&self, user: &BareJid) -> Vec<String> {
        let online = self.lock();
        let mut all: Vec<String> = online.get(user).into_iter().flatten().map(|d| d.full.to_string()).collect();
        all.sort();
        all
    }

    fn is_outside(&self, full: &str) {
        self.device(full, |device| device.outside = true);
    }

    pub(super) fn features(&self, full: &str) -> Option<Arc<HashSet<String>>> {
        self.device(full, |device| device.more.as_ref().and_then(|more| more.features.clone())).flatten()
    }

    pub(super) fn knows(&self, full: &str, features: Arc<HashSet<String>>) {
        self.device(full, |device| device.more.get_or_insert_default().features = Some(features));
    }

    /// Whether the resource has not been told this before; from now on it has.
    pub(super) fn first_of(&self, full: &str, what: &str) -> bool {
        let tell = |device: &mut Device| {
            let told = &mut device.more.get_or_insert_default().told;
            told.len() < TOLD && told.insert(what.to_owned())
        };
        self.device(full, tell).unwrap_or(false)
    }

    fn device<T>(&self, full: &str, with: impl FnOnce(&mut Device) -> T) -> Option<T> {
        let user = BareJid::new(full.split('/').next().unwrap_or(full));
        self.lock().get_mut(&user)?.iter_mut().find(|device| *device.full == *full).map(with)
    }
}

/// The language that each user last wrote in, for what is said to them unasked. Bounded: when it is full it begins anew.
#[derive(Debug, Default)]
pub(super) struct Languages(Mutex<HashMap<BareJid, Lang>>);

/// Users whose language is remembered.
const LANGUAGES: usize = 100_000;

impl Languages {
    pub(super) fn heard(&self, user: &BareJid, lang: &str) {
        let mut languages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if languages.get(user).is_some_and(|known| known.as_str() == lang) {
            return;
        }
        if languages.len() >= LANGUAGES {
            languages.clear();
        }
        languages.insert(user.clone(), Lang::from(lang));
    }

    pub(super) fn of(&self, user: &BareJid) -> Lang {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(user).cloned().unwrap_or_default()
    }
}

fn is_in_room(at: &Address) -> bool {
    matches!(at, Address::Room(_) | Address::Occupant { .. })
}

impl Core {
    /// One presence stanza, as far as nothing has to be waited for; false: [`presence`](Self::presence) does the rest.
    pub(super) fn presence_at_once(self: &Arc<Self>, served: &Arc<Served>, heard: &Heard) -> bool {
        match heard.stanza.type_() {
            None if heard.from.is_full() && self.may(served, &heard.from) >= Tier::Receive => {
                let caps = heard.stanza.child("c", ns::CAPS).and_then(|c| c.attr("ver"));
                self.online.set(&heard.from, true, caps.as_deref());
                if !is_in_room(&heard.at) {
                    self.online.is_outside(heard.from.full());
                }
                self.greet(served, heard);
            }
            Some("unavailable") if self.stays_online(served, heard) => {}
            Some("unavailable" | "error") => self.online.set(&heard.from, false, None),
            _ => {}
        }
        self.guest_presence(served, heard) || served.profile().rooms && self.rooms(served).presence(heard)
    }

    /// Whether a resource that leaves a room is there all the same: in another one, or for who is no room.
    fn stays_online(&self, served: &Served, heard: &Heard) -> bool {
        let (Address::Room(room) | Address::Occupant { room, .. }) = &heard.at else { return false };
        let full = heard.from.full();
        if self.online.device(full, |device| device.outside).unwrap_or(false) {
            return true;
        }
        let of = SessionOf::new(heard.from.bare(), served.network(&heard.at));
        let is_in = |stays: &Mutex<Stays>, room: Option<&RoomId>| lock(stays).is_elsewhere(room, full);
        if served.occupancy.of(&of).is_some_and(|stays| is_in(&stays, Some(room))) {
            return true;
        }
        let others = served.occupancy.of_user(&of.user);
        others.iter().any(|(other, stays)| other.network != of.network && is_in(stays, None))
    }

    /// What is left of a presence stanza: subscriptions, probes.
    pub(super) async fn presence(self: &Arc<Self>, served: &Arc<Served>, heard: &Heard) {
        let user = heard.from.bare();
        let done = match heard.stanza.type_() {
            Some("subscribe") => self.subscribe(served, heard, &user).await,
            Some("unsubscribe") => self.unsubscribe(served, heard, &user).await,
            // Anybody can send one: of whom it does not concern nothing is kept.
            Some("subscribed") if self.refusal(served, heard, &user).is_some() => Ok(()),
            Some("subscribed") => served.persons().subscribe(&user, &heard.at, None, Some(Subscription::Yes)).await,
            Some("unsubscribed") => served.persons().subscribe(&user, &heard.at, None, Some(Subscription::None)).await,
            Some("probe") => {
                self.probed(served, heard, &user);
                Ok(())
            }
            _ if heard.stanza.child("x", ns::MUC).is_some() && !served.profile().rooms => {
                let error = StanzaError::service_unavailable().with(Text::key("error.no-rooms"));
                self.answer_error(served, &heard.stanza, &error);
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(e) = done {
            warn!(bridge = %served.instance.name, error = %e, "a subscription could not be stored");
            self.answer_error(served, &heard.stanza, &StanzaError::from(&e));
        }
    }

    /// Why this user has no subscriptions here.
    fn refusal(&self, served: &Served, heard: &Heard, user: &BareJid) -> Option<StanzaError> {
        if self.may(served, &heard.from) < Tier::Receive {
            Some(StanzaError::forbidden().with(Text::key("error.not-allowed-here")))
        } else if served.profile().registration == Registration::Required && !served.host().registered(user) {
            let text = Text::key("error.not-registered").with("gateway", &served.instance.domain);
            Some(StanzaError::registration_required().with(text))
        } else {
            None
        }
    }

    async fn subscribe(
        &self,
        served: &Arc<Served>,
        heard: &Heard,
        user: &BareJid,
    ) -> Result<(), isthmus_bridge::StoreError> {
        if let Some(error) = self.refusal(served, heard, user) {
            self.answer_error(served, &heard.stanza, &error);
            return Ok(());
        }
        let rule = match &heard.at {
            Address::Contact(_) => served.profile().contacts.clone(),
            Address::Gateway | Address::Network(_) => Contacts::AcceptAll,
            _ => Contacts::Refuse(Text::key("error.no-presence")),
        };
        match rule {
            rule @ (Contacts::AcceptAll | Contacts::Watched) => {
                served.persons().subscribe(user, &heard.at, Some(Subscription::Yes), None).await?;
                self.send(served, &simple(&own(served, heard), user.as_str(), "subscribed", None));
                // Of whom nothing is known there is nothing to say (RFC 6121 section 3.1.6).
                if rule == Contacts::AcceptAll || served.shown(user, &heard.at).is_some() {
                    self.show(served, &heard.at, user.as_str());
                }
                if rule == Contacts::Watched {
                    self.watch(served, &heard.at, user, Intent::Subscribe { status: None });
                }
            }
            Contacts::Ask => {
                served.persons().subscribe(user, &heard.at, Some(Subscription::Asked), None).await?;
                self.ask_far_side(served, heard, user);
            }
            Contacts::Refuse(why) => {
                let words = self.words(served, &why, &lang(&heard.stanza));
                self.send(served, &simple(&own(served, heard), user.as_str(), "unsubscribed", Some(&words)));
            }
            _ => {}
        }
        Ok(())
    }

    /// A session that runs watches a contact from now on, or does no more; one that does not run will find it among the contacts.
    fn watch(&self, served: &Arc<Served>, at: &Address, user: &BareJid, intent: Intent) {
        let of = SessionOf::new(user.clone(), served.instance.bridge.addressing().network(at));
        let key = DeliveryKey::new(fresh_id());
        let event = Outbound::new(key.clone(), user.clone(), at.clone(), intent);
        let ticket = Ticket::new(key, 0, served.live().clone());
        served.sessions().tell(&of, Work::Deliver(Box::new(isthmus_bridge::Delivery::new(event, ticket))));
    }

    /// The far side decides; its answer comes as an event.
    fn ask_far_side(&self, served: &Arc<Served>, heard: &Heard, user: &BareJid) {
        let of = SessionOf::new(user.clone(), served.instance.bridge.addressing().network(&heard.at));
        let key = DeliveryKey::new(fresh_id());
        let status = heard.stanza.child("status", ns::CLIENT).map(|s| s.text().into_owned());
        let event = Outbound::new(key.clone(), user.clone(), heard.at.clone(), Intent::Subscribe { status });
        let ticket = Ticket::new(key, 0, served.live().clone());
        if served.sessions().push(&of, Work::Deliver(Box::new(isthmus_bridge::Delivery::new(event, ticket)))).is_err() {
            self.answer_error(served, &heard.stanza, &StanzaError::resource_constraint().with(Text::key("error.busy")));
        }
    }

    async fn unsubscribe(
        &self,
        served: &Arc<Served>,
        heard: &Heard,
        user: &BareJid,
    ) -> Result<(), isthmus_bridge::StoreError> {
        served.persons().subscribe(user, &heard.at, Some(Subscription::None), None).await?;
        let from = own(served, heard);
        self.send(served, &simple(&from, user.as_str(), "unavailable", None));
        self.send(served, &simple(&from, user.as_str(), "unsubscribed", None));
        if is_watched(served, &heard.at) {
            self.watch(served, &heard.at, user, Intent::Unsubscribe);
        }
        Ok(())
    }

    /// RFC 6121 section 4.3.2: the presence for who may see it, else the news that they may not.
    fn probed(&self, served: &Arc<Served>, heard: &Heard, user: &BareJid) {
        let sees = served.persons().contact(user, &heard.at).is_some_and(|c| c.sees == Subscription::Yes);
        if sees && self.may(served, &heard.from) >= Tier::Receive {
            self.show(served, &heard.at, heard.from.full());
        } else {
            self.send(served, &simple(&own(served, heard), user.as_str(), "unsubscribed", None));
        }
    }

    /// Sends the presence of an address.
    pub(super) fn show(&self, served: &Served, at: &Address, to: &str) {
        if let Some(shown) = self.presence_of(served, at, to) {
            self.send(served, &shown);
        }
    }

    /// The presence of an address.
    fn presence_of(&self, served: &Served, at: &Address, to: &str) -> Option<Rendered> {
        let from = served.jid(at)?;
        let user = Party::parse(to).map(|p| p.bare());
        let lang = user.as_ref().map(|u| self.languages.of(u)).unwrap_or_default();
        let words = |text: &Text| self.words(served, text, &lang);
        let known = user.as_ref().and_then(|u| served.shown(u, at));
        let (available, away, status) = match known {
            Some(shown) => (shown.available, shown.away, shown.status),
            None if matches!(at, Address::Network(_)) => {
                let network = served.instance.bridge.addressing().network(at);
                let of = user.as_ref().map(|u| SessionOf::new(u.clone(), network));
                let (up, how) = of.map(|of| served.connected(&of, &words)).unwrap_or_default();
                (up, false, how)
            }
            None if is_watched(served, at) => (false, false, None),
            None => {
                (true, false, served.profile().contact_status.clone().filter(|_| matches!(at, Address::Contact(_))))
            }
        };
        let mut xml = Xml::stanza("presence");
        xml.attr("from", &from).attr("to", to);
        if !available {
            xml.attr("type", "unavailable");
        } else if away {
            xml.leaf("show", "", "away");
        }
        if let Some(status) = status {
            xml.leaf("status", "", &words(&status));
        }
        if available {
            disco::write_caps(&mut xml, served.caps(at));
            if matches!(at, Address::Contact(_) | Address::Gateway) {
                pep::update(&mut xml, self.photo_of(served, user.as_ref(), at).as_deref());
            }
        }
        Some(Rendered { from, to: to.to_owned(), id: String::new(), xml: xml.finish().into_bytes() })
    }

    /// On every attach: the presence of the gateway and of all contacts to those who may see it; and a look at who is online.
    pub(super) async fn on_attached(self: &Arc<Self>, served: &Arc<Served>) {
        for user in served.persons().everybody() {
            if served.access().tier(&user) < Tier::Receive {
                continue;
            }
            // In the lane of the user's other presences, so that news of the same address come after it.
            let lane = Lane::of_person(user.as_str());
            for (at, contact) in served.persons().subscriptions(&user) {
                if contact.sees == Subscription::Yes
                    && let Some(shown) = self.presence_of(served, &at, user.as_str())
                {
                    self.send_patiently(served, lane, &shown.xml).await;
                }
                if contact.seen == Subscription::Yes
                    && let Some(from) = served.jid(&at)
                {
                    let probe = simple(&from, user.as_str(), "probe", None);
                    self.send_patiently(served, lane, &probe.xml).await;
                }
            }
        }
        // What the server grants is known by now, or waited for.
        self.fill_rosters(served, None).await;
    }

    /// The orderly stop: whoever saw us online sees us leave.
    pub(super) async fn say_goodbye(&self, served: &Served) {
        for user in served.persons().everybody() {
            let lane = Lane::of_person(user.as_str());
            for (at, contact) in served.persons().subscriptions(&user) {
                if contact.sees == Subscription::Yes
                    && let Some(from) = served.jid(&at)
                {
                    let gone = simple(&from, user.as_str(), "unavailable", None);
                    self.send_patiently(served, lane, &gone.xml).await;
                }
            }
        }
    }
}

/// The address that a stanza was sent to, as we write it: without a resource that only the sender's client made up.
fn own(served: &Served, heard: &Heard) -> String {
    router::jid(served.instance.bridge.addressing(), &served.instance.domain, &heard.at)
        .unwrap_or_else(|| heard.to.bare().to_string())
}

/// A presence without content.
pub(super) fn simple(from: &str, to: &str, kind: &str, status: Option<&str>) -> Rendered {
    let mut xml = Xml::stanza("presence");
    xml.attr("from", from).attr("to", to).attr("type", kind);
    if let Some(status) = status {
        xml.leaf("status", "", status);
    }
    Rendered { from: from.to_owned(), to: to.to_owned(), id: String::new(), xml: xml.finish().into_bytes() }
}

/// Whether the network tells when this one comes and goes.
fn is_watched(served: &Served, at: &Address) -> bool {
    matches!(at, Address::Contact(_)) && served.profile().contacts == Contacts::Watched
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_user_not_every_device_is_kept() {
        let online = Online::default();
        let device = |n: usize| Party::parse(&format!("juliet@example.org/{n}")).expect("a JID");
        for n in 0..=DEVICES {
            online.set(&device(n), true, None);
        }
        let user = BareJid::new("juliet@example.org");
        assert_eq!(online.of(&user).len(), DEVICES);
        online.set(&device(0), false, None);
        online.set(&device(DEVICES), true, None);
        assert!(online.is("juliet@example.org/100") && !online.is("juliet@example.org/0"), "room for another one");
    }
}
