//! Questions of the core to a session, and their answers: any number of parts, then the end.

use std::fmt;
use std::time::Duration;

use crate::address::{Address, RoomId};
use crate::error::{DeliveryError, Failure};
use crate::settings::Values;
use crate::text::Text;

/// What the core asks.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Query {
    /// The network's rooms; answered by [`Part::Room`]s.
    Rooms {
        /// Only those whose name or topic holds this.
        filter: Option<String>,
    },
    /// What is known of somebody or of a room; answered by [`Part::Facts`].
    About(Address),
    /// Asks the far side something; answered by [`Part::Words`] or [`Part::RoundTrip`].
    Probe {
        /// Whom.
        of: Address,
        /// What.
        what: ProbeKind,
    },
    /// A room's list of owners, admins, members or bans; answered by [`Part::Affiliate`]s.
    Affiliates {
        /// Which room.
        room: RoomId,
        /// `owner`, `admin`, `member`, `outcast`.
        list: String,
    },
    /// A room's settings as a form; answered by [`Part::Facts`] under the form's field names.
    RoomConfig(RoomId),
    /// The directory; answered by [`Part::Facts`], one a person.
    Search(Values),
}

/// What can be asked of a person through the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum ProbeKind {
    /// Round trip (XEP-0199).
    Ping,
    /// Client and version (XEP-0092).
    Version,
    /// Their time (XEP-0202).
    Time,
    /// Idle since (XEP-0012).
    Last,
}

/// One piece of an answer.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Part {
    /// A room of a listing.
    Room {
        /// Which.
        room: RoomId,
        /// How many are inside.
        occupants: Option<u64>,
        /// Its subject.
        subject: Option<String>,
    },
    /// Named values, with words for people.
    Facts(Values),
    /// Words.
    Words(Text),
    /// How long the far side took.
    RoundTrip(Duration),
    /// An entry of a list.
    Affiliate {
        /// Address or the network's mask.
        who: String,
        /// Nick if inside.
        nick: Option<String>,
        /// Since when, by whom, why: words.
        note: Option<String>,
    },
}

/// Where an answer goes.
pub trait ReplySink: Send + 'static {
    /// A part.
    fn part(&mut self, part: Part);
    /// The end; called once.
    fn end(&mut self, result: Result<(), DeliveryError>);
    /// Whether anybody still wants parts: who asked may be gone, or have enough.
    fn wanted(&self) -> bool {
        true
    }
}

/// The way back of a question: parts, then [`done`](Self::done) or [`failed`](Self::failed).
pub struct Reply {
    sink: Option<Box<dyn ReplySink>>,
}

impl Reply {
    /// A reply into this sink.
    pub fn new(sink: Box<dyn ReplySink>) -> Self {
        Self { sink: Some(sink) }
    }

    /// One more part.
    pub fn part(&mut self, part: Part) {
        if let Some(sink) = &mut self.sink {
            sink.part(part);
        }
    }

    /// Whether more parts are of use. Where it says no, a long listing may end early with [`done`](Self::done).
    pub fn wanted(&self) -> bool {
        self.sink.as_ref().is_some_and(|sink| sink.wanted())
    }

    /// That was all.
    pub fn done(mut self) {
        self.end(Ok(()));
    }

    /// It could not be answered (any further).
    pub fn failed(mut self, error: DeliveryError) {
        self.end(Err(error));
    }

    fn end(&mut self, result: Result<(), DeliveryError>) {
        if let Some(mut sink) = self.sink.take() {
            sink.end(result);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.end(Err(DeliveryError::new(Failure::Unknown, Text::key("no-answer"))));
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}
