//! What comes from the server, in order per sender.
//!
//! The link hands a stanza over from its read loop. A message to a live bridge goes straight to its session. Everything else goes to the
//! sender's worker, which exists while there is something for it: it commits held messages without waiting for each, and answers nothing
//! before all that it read earlier from that sender is committed. So an answered ping means that the messages before it are on disk.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use isthmus_bridge::{Address, BareJid, Mode, SessionOf};
use tracing::{debug, info, warn};

use super::core::{Core, Served};
use super::parties::Parties;
use super::references::Found;
use crate::hash::Map;
use crate::rooms::nick;
use crate::router::{self, Party};
use crate::translate::outbound;
use crate::xmpp::errors::StanzaError;
use crate::xmpp::link::{BadStanza, Kind, LinkError, LinkState, Permit, Receive, Refusal, Stanza};

/// Commits of one sender that may be under way at a time.
const UNDER_WAY: usize = 128;

/// A stanza whose addresses have been read.
pub(super) struct Heard {
    pub(super) stanza: Stanza,
    pub(super) from: Party,
    pub(super) to: Party,
    pub(super) at: Address,
    /// Held until what the stanza asks for is committed: the link stops reading at 256 of them.
    pub(super) permit: Option<Permit>,
}

/// The receiving end of one bridge's link.
pub(super) struct Receiver {
    pub(super) core: Arc<Core>,
    pub(super) served: Arc<Served>,
    pub(super) queues: Arc<Queues>,
    pub(super) parties: Parties,
}

/// Stanzas waiting behind their sender's worker; an entry exists while the worker runs.
#[derive(Default)]
pub(super) struct Queues(Mutex<Map<BareJid, VecDeque<Heard>>>);

/// A commit that a stanza asks for.
pub(super) struct Asked {
    /// Asks for it when first polled, ends when it is on disk (or the sender has an error).
    pub(super) commit: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// It refers to earlier messages of the same sender, which must be on disk before.
    pub(super) alone: bool,
}

/// When as many stanzas of a sender wait, none of them waits for a command before it: all hold permits of the link.
const CROWD: usize = 8;
/// Bytes of a stanza's id, at most: ids are kept, with a message for weeks.
const LONGEST_ID: usize = 1_024;

impl Queues {
    fn lock(&self) -> MutexGuard<'_, Map<BareJid, VecDeque<Heard>>> {
        // Nothing that runs under this lock can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Receiver {
    /// Words for somebody or a room of a live network, which need nothing looked up.
    fn is_live(&self, heard: &Heard) -> bool {
        self.served.profile().mode == Mode::Live && heard.at != Address::Gateway && !outbound::refers(&heard.stanza)
    }

    /// A message to somebody in a room is for the nick that their JID stands for. (A presence says which nick one wants.)
    fn mean(&self, heard: &mut Heard) {
        let Address::Occupant { room, nick: asked } = &heard.at else { return };
        if heard.stanza.kind() != Kind::Message || !nick::may_be_spelled(asked) {
            return;
        }
        let of = SessionOf::new(heard.from.bare(), self.served.network(&heard.at));
        let Some(view) = self.served.known_room(&of, room) else { return };
        let nick = nick::meant(&view.lock().unwrap_or_else(PoisonError::into_inner), asked).to_owned();
        heard.at = Address::Occupant { room: room.clone(), nick };
    }
}

impl Receive for Receiver {
    fn on_stanza(&self, stanza: Stanza, permit: Permit) {
        self.served.counters.stanzas_in();
        let heard = self.parties.of(&stanza, |from, to| {
            let settings = || self.served.persons().resolved(&from.bare(), &Address::Gateway);
            router::address_for(self.served.instance.bridge.addressing(), to, &settings)
        });
        let Some((from, to, at)) = heard else {
            self.served.refuse(&stanza, Refusal::JidMalformed);
            return;
        };
        if stanza.id().is_some_and(|id| id.len() > LONGEST_ID) {
            self.served.refuse(&stanza, Refusal::PolicyViolation);
            return;
        }
        let sender = from.bare();
        let at = match at {
            Ok(at) => at,
            Err(bad) => {
                self.core.answer_error(&self.served, &stanza, &StanzaError::from(&bad));
                return;
            }
        };
        if let Some(lang) = stanza.lang() {
            self.core.languages.heard(&sender, lang);
        }
        let mut heard = Heard { stanza, from, to, at, permit: Some(permit) };
        self.mean(&mut heard);
        if self.core.comes_back(&self.served, &heard) {
            return;
        }
        if let Some(waiting) = self.queues.lock().get_mut(&sender) {
            waiting.push_back(heard);
            return;
        }
        // What needs no waiting needs no task. Nobody else adds to the queues, so nothing of this sender's comes in between.
        let begun = heard.stanza.kind() == Kind::Presence;
        match heard.stanza.kind() {
            Kind::Message if self.is_live(&heard) => {
                self.core.live_message(&self.served, &heard, &Found::default());
                return;
            }
            Kind::Presence if self.core.presence_at_once(&self.served, &heard) => return,
            _ => {}
        }
        self.queues.lock().insert(sender.clone(), VecDeque::from([heard]));
        let (core, served, queues) = (self.core.clone(), self.served.clone(), self.queues.clone());
        self.core.tasks.spawn(worker(core, served, queues, sender, begun));
    }

    fn on_malformed(&self, stanza: BadStanza) {
        self.served.counters.refused();
        debug!(bridge = %self.served.instance.name, stanza = ?stanza, "refused a malformed stanza");
    }

    fn on_state(&self, state: &LinkState) {
        self.core.ports.link_state(&self.served.instance.name, state);
        match state {
            LinkState::Attached { epoch } => {
                info!(bridge = %self.served.instance.name, domain = %self.served.instance.domain, epoch, "attached to the XMPP server");
                let (core, served) = (self.core.clone(), self.served.clone());
                served.privileges.attached();
                let down = self.served.down_since().take();
                self.served.down.store(false, Ordering::Relaxed);
                if let Some(down) = down {
                    // A resource that entered since then, this attach's first stanza perhaps, is there.
                    self.core.rooms(&self.served).stream_is_back(down);
                }
                self.core.tasks.spawn(async move { core.on_attached(&served).await });
            }
            LinkState::Down { reason, retry_at: Some(_) } => {
                let first = {
                    let mut since = self.served.down_since();
                    let first = since.is_none();
                    since.get_or_insert_with(|| self.core.instant());
                    first
                };
                self.served.down.store(true, Ordering::Relaxed);
                if first {
                    self.core.rooms(&self.served).stream_broke(unseen(reason));
                }
                self.served.privileges.detached();
                warn!(bridge = %self.served.instance.name, domain = %self.served.instance.domain, %reason, "not attached; trying again");
            }
            _ => {}
        }
    }
}

/// What was written in this time before a stream broke may not have arrived.
fn unseen(reason: &LinkError) -> Duration {
    match reason {
        // What went out after the last sign of life went nowhere.
        LinkError::Silent { seconds } => Duration::from_secs(seconds + 5),
        _ => Duration::from_secs(10),
    }
}

/// Works through one sender's stanzas, and ends when there are none. What each kind of stanza needs stands in a box of its own: in the task
/// it would take as much as the greediest of them, 20 KiB, for each.
/// `begun`: of the first, a presence, the part is done that needs no waiting.
async fn worker(core: Arc<Core>, served: Arc<Served>, queues: Arc<Queues>, sender: BareJid, mut begun: bool) {
    let mut commits: FuturesOrdered<Pin<Box<dyn Future<Output = ()> + Send>>> = FuturesOrdered::new();
    loop {
        let next = queues.lock().get_mut(&sender).and_then(|queue| Some((queue.pop_front()?, queue.len())));
        let Some((heard, behind)) = next else {
            while commits.next().await.is_some() {}
            let mut queues = queues.lock();
            if queues.get(&sender).is_none_or(VecDeque::is_empty) {
                queues.remove(&sender);
                return;
            }
            continue;
        };
        if heard.stanza.kind() == Kind::Message && heard.at != Address::Gateway && served.profile().mode == Mode::Held {
            let Some(Asked { commit, alone }) = core.held_message(&served, heard) else { continue };
            if alone {
                while commits.next().await.is_some() {}
                commit.await;
                continue;
            }
            commits.push_back(commit);
            // Polled at once, so that commits are asked for in the order of the stanzas.
            let _ = futures_util::poll!(commits.next());
            while commits.len() >= UNDER_WAY && commits.next().await.is_some() {}
            continue;
        }
        while commits.next().await.is_some() {}
        match heard.stanza.kind() {
            Kind::Message if heard.at == Address::Gateway => {
                if let Some(mut heard) = Box::pin(core.guest_message(&served, heard)).await {
                    let crowded = behind >= CROWD;
                    Box::pin(core.gateway_message(&served, &mut heard, crowded)).await;
                }
            }
            Kind::Message if outbound::refers(&heard.stanza) => Box::pin(core.referring(&served, &heard)).await,
            Kind::Message => core.live_message(&served, &heard, &Found::default()),
            Kind::Presence => {
                if std::mem::take(&mut begun) || !core.presence_at_once(&served, &heard) {
                    Box::pin(core.presence(&served, &heard)).await;
                }
            }
            Kind::Iq => Box::pin(core.iq(&served, heard)).await,
        }
    }
}
