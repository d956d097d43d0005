//! What the core does for a bridge: [`Gateway`], each call handed to the part that does it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use isthmus_bridge::room::RoomView;
use isthmus_bridge::{
    Abilities, Address, BareJid, BlobId, Change, ContactId, DeliveryError, Event, Failure, Fetch, Full, Gateway,
    Inbound, Known, Late, LinkState, Media, MessageRef, OnceKey, Origin, Refused, Resolved, RoomId, SessionOf,
    StoreError, Taken, Text,
};
use tracing::{debug, info};
use url::Url;

use super::asides::is_aside;
use super::core::{Core, Served, Shown};
use super::references::reference;
use crate::access::Tier;
use crate::archive::names::{Name, Place};
use crate::storage::fresh_id;
use crate::storage::people::Subscription;
use crate::storage::seal::state_purpose;
use crate::translate::inbound::{Scene, stanzas};
use crate::xmpp::link::{Lane, NotSent, Rendered};

/// One bridge's host.
pub(super) struct BridgeHost {
    core: Weak<Core>,
    /// The bridge and its host hold each other for as long as the process lives (or until a reload has replaced the bridge: then what is
    /// left of it is a few tables).
    served: Arc<Served>,
    /// The lane that was full last.
    full: AtomicU64,
}

impl BridgeHost {
    pub(super) fn new(core: Weak<Core>, served: Arc<Served>) -> Self {
        Self { core, served, full: AtomicU64::new(Lane::GATEWAY.0) }
    }

    fn core(&self) -> Result<Arc<Core>, StoreError> {
        self.core.upgrade().ok_or_else(|| StoreError::Unavailable("the gateway stops".to_owned()))
    }

    fn name_str(&self) -> &str {
        &self.served.instance.name
    }

    /// A session has to wait for its lane.
    fn is_full(&self, of: &SessionOf) {
        self.full.store(self.served.lane(of).0, Ordering::Relaxed);
    }

    /// Presence and answers to subscriptions change what the core keeps; the rest is only said.
    fn note_presence(&self, core: &Arc<Core>, event: &Inbound) -> bool {
        match &event.event {
            Event::Presence { available, away, status, nick } => {
                if let Some(nick) = nick.as_deref().filter(|n| !n.trim().is_empty()) {
                    self.nicknamed(core, event, nick);
                }
                let shown = Shown { available: *available, away: *away, status: status.clone() };
                let sees =
                    self.served.persons().contact(&event.to, &event.from).is_some_and(|c| c.sees == Subscription::Yes);
                if self.served.show(&event.to, &event.from, shown) && sees {
                    core.show(&self.served, &event.from, event.to.as_str());
                }
                true
            }
            Event::SubscribeAnswered { accepted, .. } => {
                let (core, served, user, at) =
                    (core.clone(), self.served.clone(), event.to.clone(), event.from.clone());
                let state = if *accepted { Subscription::Yes } else { Subscription::None };
                core.tasks.clone().spawn(async move {
                    if let Err(e) = served.persons().subscribe(&user, &at, Some(state), None).await {
                        tracing::warn!(bridge = %served.instance.name, error = %e, "a subscription could not be stored");
                    }
                    if state == Subscription::Yes {
                        core.show(&served, &at, user.as_str());
                    }
                });
                false
            }
            _ => false,
        }
    }
}

impl BridgeHost {
    /// The name that a contact gives itself, where the user has given it none.
    fn nicknamed(&self, core: &Arc<Core>, event: &Inbound, nick: &str) {
        if self.served.persons().contact(&event.to, &event.from).is_none_or(|c| c.name.is_some()) {
            return;
        }
        let (served, user, at, nick) = (self.served.clone(), event.to.clone(), event.from.clone(), nick.to_owned());
        core.tasks.spawn(async move {
            if let Err(e) = served.persons().nicknamed(&user, &at, &nick).await {
                tracing::warn!(bridge = %served.instance.name, error = %e, "a contact's name could not be stored");
            }
        });
    }

    /// What a live session tells of persons and of its user: done behind its back. Gives the event back where it is something else.
    fn about_people<'e>(&self, core: &Arc<Core>, event: &'e Inbound) -> Result<Option<&'e Inbound>, Full> {
        match &event.event {
            Event::Sent(message) => {
                self.served.persons().talked(&event.to, &event.from, true, &message.body, None);
                core.tell_own(&self.served, event.clone()).map(|()| None)
            }
            Event::ContactList(list) => {
                let (core, served, user, list) = (core.clone(), self.served.clone(), event.to.clone(), list.clone());
                core.tasks.clone().spawn(async move {
                    if let Err(e) = core.take_list(&served, &user, list).await {
                        tracing::warn!(bridge = %served.instance.name, error = %e, "a contact list could not be stored");
                    }
                });
                Ok(None)
            }
            Event::Photo(blob) => {
                core.pictured(&self.served, event.to.clone(), event.from.clone(), blob.clone());
                Ok(None)
            }
            Event::Message(_) if event.origin == Origin::Live && matches!(event.from, Address::Contact(_)) => {
                match self.served.pace.take(&event.to, &event.from, std::time::Instant::now()) {
                    Ok(()) => Ok(Some(event)),
                    Err(over) => {
                        tracing::warn!(bridge = %self.served.instance.name, user = %event.to, limit = over.limit, "a contact writes too fast; a message was dropped");
                        Ok(None)
                    }
                }
            }
            _ => Ok(Some(event)),
        }
    }

    /// What is committed without the inbox, or refused before it.
    async fn at_once(&self, core: &Arc<Core>, event: &Inbound) -> Option<Result<(), Refused>> {
        match &event.event {
            Event::ContactList(list) => {
                Some(core.take_list(&self.served, &event.to, list.clone()).await.map_err(later))
            }
            Event::Photo(blob) => {
                core.pictured(&self.served, event.to.clone(), event.from.clone(), blob.clone());
                Some(Ok(()))
            }
            Event::Message(_) if event.origin == Origin::Live => {
                let over = self.served.pace.take(&event.to, &event.from, std::time::Instant::now()).err()?;
                let seconds = over.passes_in.as_secs() + 1;
                Some(Err(Refused::Later(format!(
                    "more than {} messages of one contact in an hour; again in {seconds} s",
                    over.limit
                ))))
            }
            _ => None,
        }
    }
}

#[async_trait]
impl Gateway for BridgeHost {
    fn name(&self) -> &str {
        self.name_str()
    }

    fn domain(&self) -> &str {
        &self.served.instance.domain
    }

    fn public_url(&self) -> Option<&Url> {
        self.served.public_url.as_ref()
    }

    fn emit(&self, event: Inbound) -> Result<(), Full> {
        self.offer(&event)
    }

    fn offer(&self, event: &Inbound) -> Result<(), Full> {
        let Some(core) = self.core.upgrade() else { return Ok(()) };
        if self.note_presence(&core, event) {
            return Ok(());
        }
        let event = match self.about_people(&core, event)? {
            Some(event) => event,
            None => return Ok(()),
        };
        let of = SessionOf::new(event.to.clone(), self.served.network(&event.from));
        if is_aside(&event.event) {
            self.served.asides.push(&core, &self.served, of, event.clone());
            return Ok(());
        }
        let rooms = core.rooms(&self.served);
        let mut hearers = Vec::new();
        if self.served.profile().rooms {
            if rooms.happened(&of, event).inspect_err(|_| self.is_full(&of))? || rooms.invited_by_contact(&of, event) {
                return Ok(());
            }
            // Who is in a room of the network hears what the network and its people say; nobody else has to.
            if matches!(event.event, Event::Message(_) | Event::Notice { .. } | Event::Typing { .. }) {
                hearers = rooms.present_on(&of);
            }
        }
        let Some(from) = self.served.jid(&event.from) else {
            debug!(bridge = %self.name_str(), "an event from an address that no JID can spell was dropped");
            return Ok(());
        };
        let (id, lang) = (fresh_id(), core.languages.of(&event.to));
        let direct = !hearers.is_empty();
        if !direct {
            hearers.push(event.to.as_str().into());
        }
        let words = |text: &Text| core.words(&self.served, text, &lang);
        let jid = |address: &Address| self.served.jid(address);
        let place = Place::Talk(event.to.clone(), event.from.clone());
        let referenced = match reference(event) {
            Some(MessageRef::Foreign { id, .. }) => self.served.archive().named_lately(&place, id),
            _ => None,
        };
        let referenced =
            referenced.as_ref().map(|name| (&*name.id, if name.writer.is_some() { event.to.as_str() } else { &from }));
        let scene = |to| Scene {
            from: &from,
            to,
            domain: &self.served.instance.domain,
            id: &id,
            words: &words,
            jid: &jid,
            referenced,
            now: core.now(),
            direct,
        };
        let all: Vec<_> = hearers.iter().flat_map(|to| stanzas(&scene(to), event, &[])).collect();
        let mut rendered = Vec::with_capacity(all.len());
        for stanza in &all {
            match Rendered::parse(&stanza.xml) {
                Ok(stanza) => rendered.push(stanza),
                Err(guard) => self.served.counters.lost(&guard.into(), self.name_str()),
            }
        }
        // All or none: an event that is told again must not reach some twice.
        let result = self.served.link().write(self.served.lane(&of), |w| {
            for stanza in &rendered {
                w.rendered(stanza);
                self.served.counters.sent();
            }
        });
        if matches!((&event.event, &result), (Event::Message(_), Err(NotSent::Detached))) {
            // Said to the user alone, and the server is not there to take it: it waits in the store.
            self.served.asides.push(&core, &self.served, of, event.clone());
            return Ok(());
        }
        if let (Event::Message(message), Origin::Live, Address::Contact(_)) = (&event.event, event.origin, &event.from)
            && !matches!(result, Err(NotSent::Full))
        {
            self.served.persons().talked(&event.to, &event.from, false, &message.body, Some(&id));
        }
        match result {
            Ok(()) => {
                if let (Event::Message(_), Some(foreign)) = (&event.event, event.id.clone()) {
                    let name = Name {
                        id: id.clone(),
                        head: id,
                        foreign: Some(foreign),
                        at: Some(event.at),
                        ..Name::default()
                    };
                    self.served.archive().name(&place, name);
                }
            }
            Err(NotSent::Full) => {
                self.is_full(&of);
                return Err(Full);
            }
            // Without a stream what is no message is lost, as it would be with any client that is away.
            Err(e) => self.served.counters.lost(&e, self.name_str()),
        }
        Ok(())
    }

    async fn ready(&self) {
        // Which session asks is not known: each waits for the lane that was full last. One that waits for another's asks once more.
        self.served.link().room(Lane(self.full.load(Ordering::Relaxed))).await;
        tokio::task::yield_now().await;
    }

    async fn accept(&self, batch: Vec<Inbound>) -> Vec<Result<(), Refused>> {
        let Some(core) = self.core.upgrade() else {
            return batch.iter().map(|_| Err(Refused::Later("the gateway stops".to_owned()))).collect();
        };
        let mut results: Vec<Option<Result<(), Refused>>> = Vec::with_capacity(batch.len());
        let mut rest = Vec::with_capacity(batch.len());
        for event in batch {
            let mut done = self.at_once(&core, &event).await;
            if done.is_none() {
                done = core.admits(&self.served, &event).await.err().map(Err);
            }
            if done.is_none() {
                rest.push(event);
            }
            results.push(done);
        }
        for event in &rest {
            // Before they are accepted: a file that nobody has would stay where its user goes.
            core.own_files(&self.served, event).await;
        }
        let mut others = core.inbox.accept(self.name_str(), rest).await.into_iter();
        let gone = || Err(Refused::Later("the store gave no answer".to_owned()));
        results.into_iter().map(|done| done.or_else(|| others.next()).unwrap_or_else(gone)).collect()
    }

    async fn expects(&self, user: &BareJid, once: &OnceKey, bytes: u64) -> Result<bool, Refused> {
        let core = self.core().map_err(later)?;
        if core.inbox.knows(self.name_str(), user, once).await.map_err(later)? {
            return Ok(false);
        }
        core.expects(&self.served, user, bytes).await.map(|()| true)
    }

    async fn outcome(&self, of: MessageRef, leg: Option<ContactId>, what: Late) -> Result<(), Refused> {
        let core = self.core().map_err(later)?;
        core.outbox.late(self.name_str(), of, leg, what).await.map_err(later)
    }

    async fn find(&self, of: &MessageRef) -> Result<Option<Known>, StoreError> {
        self.core()?.outbox.find(self.name_str(), of).await
    }

    async fn latest(&self, user: &BareJid, at: &Address, thread: Option<&str>) -> Result<Option<Known>, StoreError> {
        self.core()?.outbox.latest(self.name_str(), user, at, thread).await
    }

    async fn route(&self, own: &ContactId, peer: &ContactId) -> Result<Vec<BareJid>, StoreError> {
        self.served.persons().route(own, peer, None).await
    }

    async fn claim(&self, user: &BareJid, own: &ContactId) -> Result<(), Taken> {
        self.served.persons().claim(user, own).await
    }

    async fn release(&self, user: &BareJid, own: &ContactId) -> Result<(), StoreError> {
        self.served.persons().release(user, own).await
    }

    async fn owner(&self, own: &ContactId) -> Result<Option<BareJid>, StoreError> {
        self.served.persons().owner(own).await
    }

    async fn identities(&self, user: &BareJid) -> Result<Vec<ContactId>, StoreError> {
        self.served.persons().identities(user).await
    }

    async fn report(&self, of: &SessionOf, link: LinkState) {
        info!(bridge = %self.name_str(), user = %of.user, network = %of.network, state = ?link, "session");
        let changed = self.served.stands(of, &link);
        // Who has the network among their contacts sees by it whether they are connected.
        let at = Address::Network(of.network.clone());
        let sees = || self.served.persons().contact(&of.user, &at).is_some_and(|c| c.sees == Subscription::Yes);
        if changed
            && sees()
            && let Ok(core) = self.core()
        {
            core.show(&self.served, &at, of.user.as_str());
        }
    }

    fn able(&self, of: &SessionOf, now: Abilities) {
        self.served.is_able(of, now);
    }

    fn room(&self, of: &SessionOf, room: &RoomId) -> Arc<Mutex<RoomView>> {
        self.served.room(of, room)
    }

    fn clients(&self, of: &SessionOf, room: &RoomId) -> Vec<String> {
        let Some(stays) = self.served.occupancy.of(of) else { return Vec::new() };
        let mut stays = crate::rooms::occupancy::lock(&stays);
        stays
            .get(room)
            .map(|stay| stay.inside.iter().map(|client| client.jid.to_string()).collect())
            .unwrap_or_default()
    }

    fn resolved(&self, user: &BareJid, at: &Address) -> Arc<Resolved> {
        self.served.persons().resolved(user, at)
    }

    async fn set(
        &self,
        user: &BareJid,
        at: &Address,
        changes: Vec<(String, Option<String>)>,
    ) -> Result<(), StoreError> {
        self.served.persons().set(user, at, changes).await
    }

    fn registered(&self, user: &BareJid) -> bool {
        self.served.guest(user).is_some() || self.served.persons().registered(user)
    }

    async fn enrol(&self, user: &BareJid) -> Result<(), StoreError> {
        if !self.served.persons().registered(user) {
            self.served.persons().register(user, &isthmus_bridge::Values::new()).await?;
        }
        Ok(())
    }

    fn may_receive(&self, user: &BareJid) -> bool {
        self.served.tier(user) >= Tier::Receive
    }

    fn may_send(&self, user: &BareJid) -> bool {
        self.served.tier(user) >= Tier::User
    }

    fn blocked(&self, user: &BareJid, who: &Address) -> bool {
        self.served.persons().blocked(user, who) || self.served.privileges.blocked(user, who)
    }

    async fn block(&self, user: &BareJid, who: &Address, on: bool) -> Result<(), StoreError> {
        self.served.persons().block(user, who, on).await
    }

    async fn contacts(&self, user: &BareJid) -> Result<Vec<(ContactId, Option<String>)>, StoreError> {
        Ok(self.served.persons().contacts(user))
    }

    fn admins(&self) -> Vec<BareJid> {
        self.served.access().admins.to_vec()
    }

    fn persistent(&self, of: &SessionOf) -> bool {
        self.served.persons().persistent(of)
    }

    async fn keep(&self, body: Bytes, media: Media) -> Result<BlobId, Refused> {
        self.core().map_err(later)?.keep(body, media).await
    }

    async fn keep_for(&self, user: &BareJid, body: Bytes, media: Media) -> Result<BlobId, Refused> {
        self.core().map_err(later)?.keep_for(&self.served, user, body, media).await
    }

    async fn blob(&self, id: &BlobId) -> Result<Option<(Bytes, Media)>, StoreError> {
        self.core()?.blob(id).await
    }

    async fn fetch(&self, url: &Url, limit: Fetch) -> Result<BlobId, DeliveryError> {
        let core =
            self.core().map_err(|_| DeliveryError::temporary(Failure::Unreachable, Text::key("error.storage")))?;
        core.fetch(&self.served, url, limit).await
    }

    async fn link(&self, id: &BlobId) -> Result<Option<Url>, StoreError> {
        self.core()?.public_link(id).await
    }

    async fn publish(&self, user: &BareJid, id: &BlobId) -> Result<Option<Url>, StoreError> {
        self.core()?.publish_soon(&self.served, user, id).await
    }

    fn seal(&self, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.core()?.seal.seal(&state_purpose(self.name_str()), plain).map_err(|e| StoreError::Fault(e.to_string()))
    }

    fn unseal(&self, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.core()?.seal.unseal(&state_purpose(self.name_str()), sealed).map_err(|e| StoreError::Fault(e.to_string()))
    }

    fn mac(&self, purpose: &str, data: &[u8]) -> [u8; 32] {
        self.served.seal.mac(&self.purpose(purpose), data)
    }

    async fn load(&self, space: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.served.persons().load(space, key).await
    }

    async fn list(&self, space: &str, user: Option<&BareJid>) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.served.persons().list(space, user).await
    }

    async fn store(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        self.served.persons().store(changes).await
    }

    fn now(&self) -> SystemTime {
        self.core.upgrade().map_or_else(SystemTime::now, |core| core.now())
    }
}

impl BridgeHost {
    /// What is sealed for one bridge opens for no other.
    fn purpose(&self, purpose: &str) -> String {
        format!("bridge/{}/{purpose}", self.name_str())
    }
}

fn later(e: StoreError) -> Refused {
    Refused::Later(e.to_string())
}
