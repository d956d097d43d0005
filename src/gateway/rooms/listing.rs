//! The rooms of a network, page by page (XEP-0030, XEP-0059). The network's own list is asked for once and kept for a while: a large one comes
//! slowly, and its first page is shown before its last has come.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use isthmus_bridge::query::{Part, ReplySink};
use isthmus_bridge::{Address, DeliveryError, Query, SessionOf, Text};
use tokio::sync::Notify;

use super::Rooms;
use crate::access::Tier;
use crate::gateway::iq::{Answer, with};
use crate::gateway::receive::Heard;
use crate::rooms::page::{self, At, Page, Wanted};
use crate::xmpp::errors::StanzaError;
use crate::xmpp::link::Child;
use crate::xmpp::ns;

/// How long a list is good for.
const FRESH: Duration = Duration::from_secs(120);
/// How long a page may take to come.
const PATIENCE: Duration = Duration::from_secs(60);
/// Rooms of one list, at most.
const MOST: usize = 200_000;
/// Octets of their addresses and names together, at most.
const OCTETS: usize = 16 << 20;

/// The lists of a bridge's users.
#[derive(Default)]
pub(in crate::gateway) struct Listings(Mutex<HashMap<SessionOf, Arc<Listing>>>);

struct Listing {
    began: Instant,
    known: Mutex<Known>,
    grown: Notify,
}

#[derive(Default)]
struct Known {
    rooms: Vec<Listed>,
    octets: usize,
    end: Option<Result<(), DeliveryError>>,
}

struct Listed {
    jid: Box<str>,
    name: Box<str>,
}

impl Listings {
    /// Drops what is too old to be shown. A list that somebody reads now stays until they have.
    pub(in crate::gateway) fn expire(&self) {
        let mut all = self.lock();
        all.retain(|_, listing| Arc::strong_count(listing) > 1 || listing.began.elapsed() < FRESH);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionOf, Arc<Listing>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listing {
    /// Whether this page is taken from here: the first one begins anew where this is not fresh, and every one where the network had refused.
    fn serves(&self, first: bool) -> bool {
        let failed = matches!(self.known().end, Some(Err(_)));
        !failed && (!first || self.began.elapsed() < FRESH)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an address is called, as JID and in words.
type Naming = dyn Fn(&Address) -> Option<(String, String)> + Send;

/// Takes rooms as the network names them.
struct Growing {
    listing: Arc<Listing>,
    jid: Box<Naming>,
}

impl ReplySink for Growing {
    fn part(&mut self, part: Part) {
        let Part::Room { room, occupants, .. } = part else { return };
        let Some((jid, name)) = (self.jid)(&Address::Room(room)) else { return };
        let name = occupants.map_or(name.clone(), |n| format!("{name} ({n})"));
        let mut known = self.listing.known();
        known.octets += jid.len() + name.len();
        known.rooms.push(Listed { jid: jid.into(), name: name.into() });
        drop(known);
        self.listing.grown.notify_waiters();
    }

    fn end(&mut self, result: Result<(), DeliveryError>) {
        self.listing.known().end = Some(result);
        self.listing.grown.notify_waiters();
    }

    fn wanted(&self) -> bool {
        let known = self.listing.known();
        known.rooms.len() < MOST && known.octets < OCTETS
    }
}

impl Rooms<'_> {
    /// One page of a network's rooms.
    pub(super) async fn listing(&self, heard: &Heard, payload: &Child<'_>) -> Answer {
        if self.core.may(self.served, &heard.from) < Tier::User {
            return Err(StanzaError::forbidden().with(Text::key("error.not-allowed-here")));
        }
        let of = self.session(heard);
        let question = super::ask::element(payload)?;
        let wanted = page::wanted(&question);
        let by_pages = wanted.is_some();
        let wanted = wanted.unwrap_or_default();
        let listing = self.begun(&of, &wanted)?;
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let mut grown = std::pin::pin!(listing.grown.notified());
            grown.as_mut().enable();
            if let Some(answer) = found(&listing, &wanted, by_pages) {
                return answer;
            }
            if tokio::time::timeout_at(end, grown).await.is_err() {
                return Err(StanzaError::new(crate::xmpp::errors::ErrorType::Wait, "remote-server-timeout")
                    .with(Text::key("error.no-answer")));
            }
        }
    }

    /// The list that is kept, or a new one: a first page begins anew where the old one is not fresh.
    fn begun(&self, of: &SessionOf, wanted: &Wanted) -> Result<Arc<Listing>, StanzaError> {
        let mut all = self.served.listings.lock();
        let first = wanted.at == At::Index(0);
        if let Some(kept) = all.get(of).filter(|l| l.serves(first)) {
            return Ok(kept.clone());
        }
        if let Some(error) = self.core.too_many_sessions(&of.user, self.served, of) {
            return Err(error);
        }
        let listing = Arc::new(Listing { began: Instant::now(), known: Mutex::default(), grown: Notify::new() });
        let served = self.served.clone();
        let jid = move |at: &Address| Some((served.jid(at)?, served.spoken(at)?));
        let sink = Growing { listing: listing.clone(), jid: Box::new(jid) };
        self.put(of, Query::Rooms { filter: None }, Box::new(sink))?;
        all.insert(of.clone(), listing.clone());
        Ok(listing)
    }
}

/// The page, if it has come.
fn found(listing: &Listing, wanted: &Wanted, by_pages: bool) -> Option<Answer> {
    let known = listing.known();
    let complete = known.end.is_some();
    let range = match page::page(&known.rooms, |r| &r.jid, complete, wanted) {
        Page::Later => return None,
        Page::Unknown => return Some(Err(StanzaError::item_not_found())),
        Page::Entries(range) => range,
    };
    // What came before it broke off is shown; behind that there is no end, but what went wrong.
    if let Some(Err(error)) = &known.end
        && range.is_empty()
    {
        return Some(Err(StanzaError::from(error)));
    }
    let from = range.start;
    let items: Vec<(String, String)> =
        known.rooms[range].iter().map(|r| (r.jid.to_string(), r.name.to_string())).collect();
    let count = matches!(known.end, Some(Ok(()))).then_some(known.rooms.len());
    Some(with(move |xml| {
        xml.open("query", ns::DISCO_ITEMS);
        for (jid, name) in &items {
            xml.open("item", "").attr("jid", jid).attr("name", name).close();
        }
        if by_pages {
            let first = items.first().map(|(jid, _)| (from, jid.as_str()));
            page::write(xml, first, items.last().map(|(jid, _)| jid.as_str()), count);
        }
        xml.close();
    }))
}

#[cfg(test)]
mod tests {
    use isthmus_bridge::Failure;

    use super::*;
    use crate::xmpp::xml::Xml;

    fn listing(rooms: &[&str], end: Option<Result<(), DeliveryError>>) -> Listing {
        let rooms = rooms.iter().map(|r| Listed { jid: (*r).into(), name: (*r).into() }).collect();
        Listing { began: Instant::now(), known: Mutex::new(Known { rooms, end, octets: 0 }), grown: Notify::new() }
    }

    fn refused() -> Option<Result<(), DeliveryError>> {
        Some(Err(DeliveryError::new(Failure::Unreachable, Text::key("busy"))))
    }

    fn shown(listing: &Listing, at: At) -> Option<Result<String, StanzaError>> {
        let answer = found(listing, &Wanted { max: 2, at }, true)?;
        Some(answer.map(|write| {
            let mut xml = Xml::stanza("iq");
            write(&mut xml);
            xml.finish()
        }))
    }

    #[test]
    fn a_list_that_the_network_refused_serves_nobody_again() {
        assert!(listing(&["a"], Some(Ok(()))).serves(true) && listing(&[], None).serves(true));
        for first in [true, false] {
            assert!(!listing(&[], refused()).serves(first) && !listing(&["a"], refused()).serves(first));
        }
    }

    #[test]
    fn a_list_that_broke_off_has_no_count_and_no_end() {
        let count = |rooms: &[&str], end| shown(&listing(rooms, end), At::Index(0)).expect("a page").expect("rooms");
        assert!(count(&["a", "b", "c"], Some(Ok(()))).contains("<count>3"));
        let broken = count(&["a", "b", "c"], refused());
        assert!(broken.contains("jid='a'") && !broken.contains("count"), "{broken}");
        assert!(shown(&listing(&["a"], refused()), At::After("a".to_owned())).expect("an answer").is_err());
        assert!(shown(&listing(&[], refused()), At::Index(0)).expect("an answer").is_err());
        assert!(
            shown(&listing(&["a", "b"], None), At::Index(0)).is_some()
                && shown(&listing(&["a"], None), At::Index(0)).is_none()
        );
    }
}
