//! Answers of live bridges: what is on its way, and the stanza error when it does not arrive. No disk, no task per message.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use isthmus_bridge::{
    Address, Delivery, DeliveryError, DeliveryKey, Failure, Lang, Leg, Outbound, Outcome, RoomId, SessionOf,
    StoreError, Text, Ticket, TicketSink, Work,
};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::warn;

use super::core::{Core, Served};
use crate::admin::control::SendAnswer;
use crate::archive::names::{Name, Place};
use crate::xmpp::errors::StanzaError;

/// Who sent a live event, for its error.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    /// The full JID that sent.
    pub(super) from: Arc<str>,
    /// To whom, as written.
    pub(super) to: Arc<str>,
    /// The stanza's id.
    pub(super) id: Option<Arc<str>>,
    /// The element: `message`, `presence`.
    pub(super) element: &'static str,
    /// The sender's language.
    pub(super) lang: Lang,
    /// The session that carries it.
    pub(super) of: SessionOf,
    /// What it is for.
    pub(super) aim: Aim,
    /// Words for somebody, and to whom: so that they can be referred to.
    pub(super) said: Option<(Address, Box<str>)>,
}

/// Reactions that are on their way: if they do not arrive, those of before count.
#[derive(Debug, Clone)]
pub(super) struct Reacting {
    pub(super) place: Place,
    pub(super) id: String,
    pub(super) who: String,
    pub(super) before: Vec<String>,
}

/// What a live event is for: what its outcome means beyond an error.
#[derive(Debug, Clone)]
pub(super) enum Aim {
    /// A message: only a failure is told.
    Say,
    /// To be inside a room.
    Join(RoomId),
    /// To be outside of it.
    Leave(RoomId),
    /// Another nick in a room.
    Rename,
    /// Another set of reactions.
    React(Box<Reacting>),
    /// A message is to be withdrawn: if it is not, its sender is told.
    Withdraw,
    /// Nobody waits for it.
    Nothing,
}

/// Live events that are not answered yet.
pub(super) struct Live {
    core: Weak<Core>,
    served: Weak<Served>,
    waiting: Mutex<Waiting>,
}

/// Places, each used again once it is free: as a map of keys they would lie far apart in memory.
#[derive(Default)]
struct Waiting {
    places: Vec<Option<Expected>>,
    free: Vec<u32>,
}

struct Expected {
    key: DeliveryKey,
    origin: Origin,
    deadline: Instant,
}

impl Waiting {
    fn put(&mut self, expected: Expected) -> u32 {
        if let Some(place) = self.free.pop() {
            self.places[place as usize] = Some(expected);
            return place;
        }
        let place = u32::try_from(self.places.len()).unwrap_or(NOWHERE);
        self.places.push(Some(expected));
        place
    }

    /// What waits at a place, if `is` so.
    fn take(&mut self, place: u32, is: impl FnOnce(&Expected) -> bool) -> Option<Expected> {
        let found = self.places.get_mut(place as usize)?.take_if(|expected| is(expected))?;
        self.free.push(place);
        if self.free.len() == self.places.len() {
            *self = Self::default(); // nothing waits: nothing is kept
        }
        Some(found)
    }
}

/// The place of an event whose outcome nobody waits for.
pub(super) const NOWHERE: u32 = u32::MAX;

impl Live {
    pub(super) fn new(core: Weak<Core>, served: Weak<Served>) -> Self {
        Self { core, served, waiting: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An event is on its way; without an answer until `deadline` it has failed. Gives the number of its ticket's try.
    pub(super) fn expect(&self, key: DeliveryKey, origin: Origin, deadline: Instant) -> u32 {
        self.lock().put(Expected { key, origin, deadline })
    }

    /// It is not, after all.
    pub(super) fn forget(&self, place: u32, key: &DeliveryKey) -> Option<Origin> {
        self.lock().take(place, |expected| expected.key == *key).map(|expected| expected.origin)
    }

    /// Fails what has waited too long; its session no longer answers and is ended. Called every second.
    pub(super) fn expire(&self, now: Instant) {
        let late: Vec<Origin> = {
            let mut waiting = self.lock();
            let places = 0..u32::try_from(waiting.places.len()).unwrap_or(NOWHERE);
            places
                .filter_map(|place| waiting.take(place, |expected| expected.deadline <= now))
                .map(|e| e.origin)
                .collect()
        };
        for origin in late {
            if let Some(served) = self.served.upgrade() {
                served.sessions().end(&origin.of);
            }
            self.fail(&origin, &DeliveryError::new(Failure::TimedOut, Text::key("error.no-answer")));
        }
    }

    /// What somebody was told has names from now on: the stanza's, and those of the network.
    fn name(&self, origin: &Origin, at: &Address, words: &str, legs: &[Leg]) {
        let (Some(served), Some(client)) = (self.served.upgrade(), origin.id.as_deref()) else { return };
        let place = Place::Talk(origin.of.user.clone(), at.clone());
        let mut ids =
            legs.iter().filter(|leg| leg.result.is_ok()).flat_map(|leg| &leg.ids).cloned().map(Some).peekable();
        let none = ids.peek().is_none().then_some(None);
        for foreign in ids.chain(none) {
            let name = Name {
                id: client.to_owned(),
                head: client.to_owned(),
                foreign,
                writer: Some(origin.of.user.clone()),
                client: Some(client.to_owned()),
                words: Some(words.into()),
                ..Name::default()
            };
            served.archive().name(&place, name);
        }
    }

    fn fail(&self, origin: &Origin, error: &DeliveryError) {
        self.settled(origin, Err(error));
    }

    fn settled(&self, origin: &Origin, result: Result<(), &DeliveryError>) {
        let (Some(core), Some(served)) = (self.core.upgrade(), self.served.upgrade()) else { return };
        match (&origin.aim, result) {
            (Aim::Join(room), result) => core.rooms(&served).join_settled(&origin.of, room, result),
            (Aim::Leave(room), _) => core.rooms(&served).leave_settled(&origin.of, room),
            (Aim::Nothing, _) | (Aim::Say | Aim::Rename | Aim::React(_) | Aim::Withdraw, Ok(())) => {}
            (Aim::Say | Aim::Rename, Err(error)) => core.error_to(&served, origin, &StanzaError::from(error)),
            (Aim::React(reacting), Err(error)) => {
                core.error_to(&served, origin, &StanzaError::from(error));
                let (Reacting { place, id, who, before }, served) = ((**reacting).clone(), served.clone());
                core.tasks.spawn(async move {
                    if let Err(e) = served.archive().react(&place, &id, &who, before).await {
                        warn!(error = %e, "a reaction that did not arrive could not be taken back");
                    }
                });
            }
            (Aim::Withdraw, Err(_)) => {
                let words = core.words(&served, &Text::key("note.not-withdrawn"), &origin.lang);
                core.note(&served, &origin.to, &origin.from, &words);
            }
        }
    }
}

/// How long a live event may take, whatever the profile says.
pub(super) const LONGEST: Duration = Duration::from_secs(120);

#[async_trait]
impl TicketSink for Live {
    async fn starting(&self, _key: &DeliveryKey, _attempt: u32) -> Result<(), StoreError> {
        Ok(()) // live events are not stored, so there is nothing to commit
    }

    fn commits(&self) -> bool {
        false
    }

    fn settle(&self, key: DeliveryKey, place: u32, outcome: Outcome) {
        let Some(origin) = self.forget(place, &key) else { return };
        if let (Outcome::Legs(legs), Some((at, words))) = (&outcome, &origin.said) {
            self.name(&origin, at, words, legs);
        }
        let error = match outcome {
            Outcome::Legs(legs) => legs.into_iter().find_map(|leg| leg.result.err()),
            _ => Some(DeliveryError::uncertain(Text::key("error.dropped"))),
        };
        self.settled(&origin, error.as_ref().map_or(Ok(()), Err));
    }
}

/// Tells one waiter what became of an event (`isthmus send`).
struct Once(Mutex<Option<oneshot::Sender<Outcome>>>);

#[async_trait]
impl TicketSink for Once {
    async fn starting(&self, _key: &DeliveryKey, _attempt: u32) -> Result<(), StoreError> {
        Ok(())
    }

    fn commits(&self) -> bool {
        false
    }

    fn settle(&self, _key: DeliveryKey, _attempt: u32, outcome: Outcome) {
        if let Some(back) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            drop(back.send(outcome)); // nobody waits any more: then nobody wants to know
        }
    }
}

impl Core {
    /// Has a live session do something, and waits until it is done.
    pub(super) async fn carried_out(
        &self,
        served: &Served,
        of: &SessionOf,
        event: Outbound,
    ) -> Result<(), DeliveryError> {
        let (back, outcome) = oneshot::channel();
        let ticket = Ticket::new(event.key.clone(), 0, Arc::new(Once(Mutex::new(Some(back)))));
        if served.sessions().push(of, Work::Deliver(Box::new(Delivery::new(event, ticket)))).is_err() {
            return Err(DeliveryError::new(Failure::Full, Text::key("error.busy")));
        }
        match tokio::time::timeout(served.profile().answer_within.min(LONGEST), outcome).await {
            Ok(Ok(Outcome::Legs(legs))) => legs.into_iter().find_map(|leg| leg.result.err()).map_or(Ok(()), Err),
            Ok(_) => Err(DeliveryError::uncertain(Text::key("error.dropped"))),
            Err(_) => Err(DeliveryError::new(Failure::TimedOut, Text::key("error.no-answer"))),
        }
    }

    /// Sends one event through a live bridge and waits for what becomes of it.
    pub(super) async fn send_live(&self, served: &Served, event: Outbound) -> Result<SendAnswer, String> {
        let Some(to) = event.to.first() else { return Err("nobody to send to".to_owned()) };
        let of = SessionOf::new(event.user.clone(), served.network(&to.address));
        let (back, outcome) = oneshot::channel();
        let ticket = Ticket::new(event.key.clone(), 0, Arc::new(Once(Mutex::new(Some(back)))));
        let id = Some(event.key.to_string());
        if served.sessions().push(&of, Work::Deliver(Box::new(Delivery::new(event, ticket)))).is_err() {
            return Err("the session is too busy to take it".to_owned());
        }
        match tokio::time::timeout(LONGEST, outcome).await {
            Ok(Ok(Outcome::Legs(legs))) => match legs.into_iter().find_map(|leg| leg.result.err()) {
                None => Ok(SendAnswer { id, state: "sent".to_owned() }),
                Some(error) => Err(self.words(served, &error.text, &Lang::default())),
            },
            Ok(_) => Err("it is not known whether it was sent".to_owned()),
            Err(_) => Err("the network did not answer in time".to_owned()),
        }
    }
}
