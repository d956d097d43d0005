//! What happens to messages of live bridges after they were said: marks, reactions, withdrawals. They name a message by the network's id, which
//! only the store may know: so they wait in a queue of their own, in order, and delay nothing that is said. And private messages that come while
//! the XMPP server is away.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use isthmus_bridge::{Address, Event, Inbound, MessageRef, Origin, SessionOf, Text};
use tracing::{debug, warn};

use super::core::{Core, Served};
use super::references::reference;
use crate::archive::apart::log;
use crate::archive::names::{Name, Place};
use crate::rooms::occupancy::lock;
use crate::storage::fresh_id;
use crate::translate::inbound::{Scene, stanzas};
use crate::xmpp::link::{NotSent, Rendered};

/// Events that wait, at most, beyond which reactions and marks are lost; words are kept up to many times as many.
const WAITING: usize = 4_096;
/// The same for words.
const WORDS: usize = 100_000;

/// The queue of one bridge.
#[derive(Default)]
pub(super) struct Asides(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    events: VecDeque<(SessionOf, Inbound)>,
    running: bool,
}

/// Whether an event is one of these.
pub(super) fn is_aside(event: &Event) -> bool {
    matches!(event, Event::Marked { .. } | Event::Reacted { .. } | Event::Retracted { .. })
}

impl Asides {
    /// Queues an event; a task works the queue off while there is something in it.
    pub(super) fn push(&self, core: &Arc<Core>, served: &Arc<Served>, of: SessionOf, event: Inbound) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let most = if matches!(event.event, Event::Message(_)) { WORDS } else { WAITING };
        if waiting.events.len() >= most {
            warn!(bridge = %served.instance.name, "too much at once that the store has to know of: something is dropped");
            return;
        }
        waiting.events.push_back((of, event));
        if !std::mem::replace(&mut waiting.running, true) {
            let (core, served) = (core.clone(), served.clone());
            core.tasks.clone().spawn(async move { work(&core, &served).await });
        }
    }

    fn next(&self) -> Option<(SessionOf, Inbound)> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = waiting.events.pop_front();
        waiting.running = next.is_some();
        next
    }
}

async fn work(core: &Arc<Core>, served: &Arc<Served>) {
    while let Some((of, event)) = served.asides.next() {
        core.aside(served, &of, event).await;
    }
}

impl Core {
    async fn aside(self: &Arc<Self>, served: &Arc<Served>, of: &SessionOf, event: Inbound) {
        if matches!(event.event, Event::Message(_)) {
            return self.keep_for_user(served, &event).await;
        }
        let Some(MessageRef::Foreign { id, .. }) = reference(&event) else { return };
        let (room, nick) = match &event.from {
            Address::Room(room) if served.profile().rooms => (Some(room.clone()), None),
            Address::Occupant { room, nick } if served.profile().rooms => (Some(room.clone()), Some(nick.clone())),
            _ => (None, None),
        };
        if let Some(room) = room {
            let log = log(&room, &of.user, event.apart).into_owned();
            match served.archive().by_foreign(&Place::Room(log), id).await {
                Ok(Some(name)) => {
                    return self.rooms(served).aside(of, &room, nick.as_deref(), &event, &name).await;
                }
                Ok(None) => {} // perhaps of what was said in private
                Err(e) => {
                    return warn!(bridge = %served.instance.name, error = %e, "a reference could not be looked up");
                }
            }
        }
        let place = Place::Talk(event.to.clone(), event.from.clone());
        match served.archive().by_foreign(&place, id).await {
            Ok(Some(name)) => self.aside_of_talk(served, of, &place, event, &name).await,
            Ok(None) => debug!(bridge = %served.instance.name, "something happened to a message that is not known"),
            Err(e) => warn!(bridge = %served.instance.name, error = %e, "a reference could not be looked up"),
        }
    }

    /// A message for the user alone that came while there was no stream to the XMPP server: it goes when there is one, to whatever devices they have then.
    async fn keep_for_user(self: &Arc<Self>, served: &Arc<Served>, event: &Inbound) {
        let Some(from) = served.jid(&event.from) else { return };
        let (id, lang) = (fresh_id(), self.languages.of(&event.to));
        let place = Place::Talk(event.to.clone(), event.from.clone());
        let referenced = match reference(event) {
            Some(MessageRef::Foreign { id, .. }) => served.archive().by_foreign(&place, id).await.ok().flatten(),
            _ => None,
        };
        let referenced =
            referenced.as_ref().map(|name| (&*name.id, if name.writer.is_some() { event.to.as_str() } else { &from }));
        let all = {
            let scene = Scene {
                from: &from,
                to: event.to.as_str(),
                domain: &served.instance.domain,
                id: &id,
                words: &|text: &Text| self.words(served, text, &lang),
                jid: &|address: &Address| served.jid(address),
                referenced,
                now: self.now(),
                direct: false,
            };
            stanzas(&scene, event, &[])
        };
        for stanza in all {
            if let Err(e) = self.inbox.append(&served.instance.name, &event.to, stanza).await {
                return warn!(bridge = %served.instance.name, error = %e, "a message that came while the XMPP server was away could not be kept");
            }
        }
        if let (Event::Message(message), Origin::Live, Address::Contact(_)) = (&event.event, event.origin, &event.from)
        {
            served.persons().talked(&event.to, &event.from, false, &message.body, Some(&id));
        }
        if let Some(foreign) = event.id.clone() {
            let name = Name { id: id.clone(), head: id, foreign: Some(foreign), at: Some(event.at), ..Name::default() };
            served.archive().name(&place, name);
        }
    }

    async fn aside_of_talk(
        self: &Arc<Self>,
        served: &Arc<Served>,
        of: &SessionOf,
        place: &Place,
        mut event: Inbound,
        name: &Name,
    ) {
        let Some(from) = served.jid(&event.from) else { return };
        if let Event::Reacted { add, remove, .. } = &mut event.event {
            let step = (std::mem::take(add), std::mem::take(remove));
            match served.archive().react_by(place, &name.id, &from, step.0, step.1).await {
                // XEP-0444 tells the whole set.
                Ok(all) => *add = all,
                Err(e) => return warn!(bridge = %served.instance.name, error = %e, "a reaction could not be kept"),
            }
        }
        if event.origin == Origin::Backlog {
            return;
        }
        let mut hearers = match &event.from {
            _ if !served.profile().rooms => Vec::new(),
            Address::Occupant { room, .. } => {
                let inside = served.occupancy.of(of).map(|stays| lock(&stays).resources_in(room)).unwrap_or_default();
                if inside.is_empty() {
                    return; // what was said in a room means nothing outside
                }
                inside
            }
            _ => self.rooms(served).present_on(of),
        };
        let direct = !hearers.is_empty();
        if !direct {
            hearers.push(event.to.as_str().into());
        }
        let author = if name.writer.is_some() { event.to.to_string() } else { from.clone() };
        let (id, lang) = (fresh_id(), self.languages.of(&event.to));
        let all: Vec<_> = {
            let words = |text: &Text| self.words(served, text, &lang);
            let jid = |address: &Address| served.jid(address);
            let scene = |to| Scene {
                from: &from,
                to,
                domain: &served.instance.domain,
                id: &id,
                words: &words,
                jid: &jid,
                referenced: Some((&name.id, &author)),
                now: self.now(),
                direct,
            };
            hearers.iter().flat_map(|to| stanzas(&scene(to), &event, &[])).collect()
        };
        for stanza in all {
            let Ok(stanza) = Rendered::parse(&stanza.xml) else { continue };
            loop {
                match served.link().send_rendered(served.lane(of), &stanza) {
                    Ok(()) => break served.counters.sent(),
                    Err(NotSent::Full) => tokio::select! {
                        () = served.link().room(served.lane(of)) => tokio::task::yield_now().await,
                        () = self.stop.cancelled() => return,
                    },
                    Err(e) => break served.counters.lost(&e, &served.instance.name),
                }
            }
        }
    }
}
