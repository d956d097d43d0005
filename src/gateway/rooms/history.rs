//! The archive of rooms as users meet it: XEP-0313, and the last lines for who comes in (XEP-0045 section 7.2.13).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use isthmus_bridge::room::Standing;
use isthmus_bridge::{Address, Inbound, Message, RoomId, SessionOf, Text};
use minidom::Element;
use tracing::warn;

use super::list::past;
use super::{Rooms, look};
use crate::access::Tier;
use crate::archive::apart::{self, log, own_log};
use crate::archive::query;
use crate::archive::{Line, Said};
use crate::gateway::iq::{Answer, with};
use crate::gateway::receive::Heard;
use crate::rooms::occupancy::{History, Place, Stay, lock};
use crate::rooms::show;
use crate::xmpp::errors::StanzaError;
use crate::xmpp::link::{Fragment, Lane, StanzaWriter};
use crate::xmpp::ns;

/// Settings that the core reads where a bridge declares them: whether what a user hears in a room is kept, and how many lines somebody who
/// comes in is shown.
const RECORD: &str = "record_history";
const ON_JOIN: &str = "max_history_length";
/// Lines for who comes in, whatever setting and client say.
const MOST: usize = 500;

/// What is kept of a line.
pub(super) struct Words<'a> {
    /// As they are shown.
    pub(super) body: &'a str,
    /// What the line is beside them.
    pub(super) payload: Option<&'a Fragment>,
    /// The id that it has already.
    pub(super) id: Option<&'a str>,
}

impl Rooms<'_> {
    /// Whether what this user hears in a room is kept.
    pub(super) fn records(&self, of: &SessionOf, room: &RoomId) -> bool {
        self.served.persons().in_room(of, room).bool(RECORD)
    }

    /// After a change of settings: begins or ends to keep what a session hears in the rooms that it is in.
    pub(in crate::gateway) fn record(&self, of: &SessionOf) {
        for room in self.served.rooms_of(of) {
            self.record_in(of, &room);
        }
    }

    /// Begins or ends to keep what a session hears in a room, as its view says.
    pub(super) fn record_in(&self, of: &SessionOf, room: &RoomId) {
        let (inside, apart) = self.served.known_room(of, room).map_or((false, false), |view| {
            let view = look(&view);
            (view.standing == Standing::Inside, view.apart)
        });
        let (keeps, archive) = (inside && self.records(of, room), self.served.archive());
        for (log, is_it) in [(room, !apart), (&own_log(room, &of.user), apart)] {
            if keeps && is_it {
                archive.enter(log, &of.user);
            } else {
                archive.leave(log, &of.user);
            }
        }
    }

    /// Sessions that ended without a word are in no room any more.
    pub(in crate::gateway) fn end_records(&self) {
        for (log, user) in self.served.archive().kept() {
            let of = SessionOf::new(user, self.served.network(&Address::Room(apart::room(&log))));
            if !self.served.sessions().runs(&of) {
                self.served.archive().leave(&log, &of.user);
            }
        }
    }

    /// Keeps a line; gives the room's id of it.
    pub(super) fn keep_line(
        &self,
        of: &SessionOf,
        room: &RoomId,
        nick: &str,
        occupant: &Arc<str>,
        event: &Inbound,
        (message, words): (&Message, &Words<'_>),
    ) -> Option<String> {
        let payload = words.payload.map(Fragment::text);
        let said = Said {
            room: &log(room, &of.user, event.apart),
            nick: Some(nick),
            occupant: Some(occupant),
            body: words.body,
            thread: message.thread.as_deref(),
            payload: payload.as_deref(),
            id: words.id,
            foreign: event.id.as_ref().map(|id| id.as_str()),
            at: event.at,
        };
        if event.origin == isthmus_bridge::Origin::Backlog {
            self.served.archive().fetched(&of.user, &said);
            return None;
        }
        self.served.archive().hears(&of.user, &said)
    }

    /// What a client wants to see of what was said before.
    pub(super) fn wanted(&self, heard: &Heard, of: &SessionOf, room: &RoomId) -> History {
        let x = heard.stanza.child("x", ns::MUC).and_then(|x| x.element().ok());
        let history = x.as_ref().and_then(|x| x.get_child("history", ns::MUC));
        let number = |name: &str| history.and_then(|h| h.attr(name)?.trim().parse::<u64>().ok());
        if !self.records(of, room) || number("maxchars") == Some(0) {
            return History::None;
        }
        let set = self.served.persons().resolved(&of.user, &heard.at).number(ON_JOIN);
        let set = usize::try_from(set).unwrap_or(0).min(MOST);
        let most = number("maxstanzas").map_or(set, |n| usize::try_from(n).unwrap_or(MOST).min(set));
        // Of several limits the narrowest counts (XEP-0045 section 7.2.14).
        let since = history.and_then(|h| query::parse_time(h.attr("since")?));
        let since = since.max(number("seconds").and_then(|n| self.core.now().checked_sub(Duration::from_secs(n))));
        let chars = number("maxchars").map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        if most == 0 { History::None } else { History::Wanted { most, since, chars } }
    }

    /// What was said since then, as much as anybody is shown at once.
    pub(super) fn missed_since(&self, of: &SessionOf, room: &RoomId, since: SystemTime) -> History {
        let wanted = History::Wanted { most: MOST, since: Some(since), chars: None };
        if self.records(of, room) { wanted } else { History::None }
    }

    /// Fetches what a resource wants to see; then its list of occupants can be written.
    pub(super) async fn fetch_history(&self, of: &SessionOf, room: &RoomId, full: &str, before: &str) {
        let Some((most, since, chars)) = self.history_of(of, room, full, None) else { return };
        let mut lines = match self.served.archive().last(room, &of.user, most, since, before).await {
            Ok(lines) => lines,
            Err(e) => {
                warn!(bridge = %self.served.instance.name, error = %e, "the history of a room could not be read");
                Vec::new()
            }
        };
        if let Some(chars) = chars {
            let many = lines.iter().rev().scan(chars, |left, line| {
                *left = left.checked_sub(self.characters(room, full, line))?;
                Some(())
            });
            let first = lines.len() - many.count();
            lines.drain(..first);
        }
        self.history_of(of, room, full, Some(lines));
    }

    /// Characters of the whole stanza that a line is told with (XEP-0045 section 7.2.14).
    fn characters(&self, room: &RoomId, full: &str, line: &Line) -> usize {
        let Some(jid) = self.served.jid(&Address::Room(room.clone())).filter(|_| line.gone.is_none()) else { return 0 };
        let from = line.nick.as_deref().map(|nick| format!("{jid}/{}", crate::rooms::nick::spell(nick)));
        let payload = line.payload.as_deref().map(Fragment::read);
        let mut stanza = Vec::new();
        let mut writer = StanzaWriter::new(&mut stanza, &self.served.instance.domain, usize::MAX);
        show::line(&mut writer, &jid, full, &past(line, from.as_deref().unwrap_or(&jid), payload.as_ref()));
        // What cannot be written is not told either.
        if writer.finish().is_err() {
            return 0;
        }
        String::from_utf8_lossy(&stanza).chars().count()
    }

    /// What a resource wants, or, with lines: what it gets.
    fn history_of(
        &self,
        of: &SessionOf,
        room: &RoomId,
        full: &str,
        lines: Option<Vec<Line>>,
    ) -> Option<(usize, Option<SystemTime>, Option<usize>)> {
        let stays = self.served.occupancy.of(of)?;
        let mut stays = lock(&stays);
        let (stay, at) = stays.with(room, full)?;
        let Place::Arriving(arrival) = &mut stay.inside[at].place else { return None };
        let wanted = match &arrival.history {
            History::Wanted { most, since, chars } => Some((*most, *since, *chars)),
            _ => None,
        };
        if let Some(lines) = lines {
            arrival.history = History::Ready(lines);
        }
        wanted
    }

    /// A question for the archive of a room.
    pub(super) async fn archived(&self, heard: &Heard, room: &RoomId, payload: &Element, get: bool) -> Answer {
        if self.core.may(self.served, &heard.from) < Tier::Receive {
            return Err(StanzaError::forbidden().with(Text::key("error.not-allowed-here")));
        }
        let user = heard.from.bare();
        let archive = self.served.archive();
        let away = |e: isthmus_bridge::StoreError| StanzaError::from(&e);
        match (payload.name(), get) {
            ("metadata", true) => {
                let ends = archive.ends(room, &user).await.map_err(away)?;
                with(move |xml| query::metadata(xml, ends.as_ref()))
            }
            ("query", true) => with(query::form),
            ("query", false) => {
                let jid = self.served.jid(&Address::Room(room.clone())).ok_or_else(StanzaError::item_not_found)?;
                let question = query::question(payload, &jid).map_err(|_| StanzaError::bad_request())?;
                let found = archive.find(room, &user, &question).await.map_err(away)?;
                if found.unknown {
                    return Err(StanzaError::item_not_found());
                }
                let node = payload.attr("queryid");
                // In the asker's lane, as the answer behind them.
                let lane = Lane::of_person(heard.from.full());
                let mut order: Vec<&Line> = found.lines.iter().collect();
                if question.flipped {
                    order.reverse();
                }
                for line in order {
                    let xml = query::result(&jid, heard.from.full(), node, line);
                    self.core.send_patiently(self.served, lane, xml.as_bytes()).await;
                }
                with(move |xml| query::fin(xml, &found))
            }
            _ => Err(StanzaError::service_unavailable()),
        }
    }
}

/// Whether a resource still waits for what was said before.
pub(super) fn waits_for_history(stay: &Stay, at: usize) -> bool {
    matches!(&stay.inside[at].place, Place::Arriving(a) if matches!(a.history, History::Wanted { .. }))
}
