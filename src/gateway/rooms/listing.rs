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
        self.listing.known().rooms.push(Listed { jid: jid.into(), name: name.into() });
        self.listing.grown.notify_waiters();
    }

    fn end(&mut self, result: Result<(), DeliveryError>) {
        self.listing.known().end = Some(result);
        self.listing.grown.notify_waiters();
    }

    fn wanted(&self) -> bool {
        self.listing.known().rooms.len() < MOST
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
        if let Some(kept) = all.get(of).filter(|l| l.began.elapsed() < FRESH || !first) {
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
    if let Some(Err(error)) = &known.end
        && known.rooms.is_empty()
    {
        return Some(Err(StanzaError::from(error)));
    }
    let range = match page::page(&known.rooms, |r| &r.jid, complete, wanted) {
        Page::Later => return None,
        Page::Unknown => return Some(Err(StanzaError::item_not_found())),
        Page::Entries(range) => range,
    };
    let from = range.start;
    let items: Vec<(String, String)> =
        known.rooms[range].iter().map(|r| (r.jid.to_string(), r.name.to_string())).collect();
    let count = complete.then_some(known.rooms.len());
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
