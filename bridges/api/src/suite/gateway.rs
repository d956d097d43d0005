//! What bridges call: [`Gateway`] and [`TicketSink`] of the host in memory.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use url::Url;

use super::host::{FakeHost, State, Told};
use crate::address::{Address, BareJid, ContactId, RoomId};
use crate::error::{DeliveryError, Failure, Full, Refused, StoreError, Taken};
use crate::host::{Change, Fetch, Gateway, Known, Late, LinkState, MessageRef, SessionOf};
use crate::inbound::{Event, Inbound};
use crate::message::{BlobId, DeliveryKey, FileSource, Media, OnceKey};
use crate::room::RoomView;
use crate::settings::Resolved;
use crate::ticket::{Outcome, TicketSink};

#[async_trait]
impl Gateway for FakeHost {
    fn name(&self) -> &str {
        &self.name
    }

    fn domain(&self) -> &str {
        &self.domain
    }

    fn public_url(&self) -> Option<&Url> {
        self.public_url.as_ref()
    }

    fn emit(&self, event: Inbound) -> Result<(), Full> {
        let network = self.network_of(&event.from);
        self.change(|s| {
            match &mut s.room_for {
                Some(0) => return Err(Full),
                Some(left) => *left -= 1,
                None => {}
            }
            s.learn(network, &event);
            s.emits.push(event);
            Ok(())
        })
    }

    async fn ready(&self) {
        // A bridge may wait here for as long as a test likes: no bound.
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.state().room_for != Some(0) {
                return;
            }
            changed.await;
        }
    }

    async fn accept(&self, batch: Vec<Inbound>) -> Vec<Result<(), Refused>> {
        tokio::task::yield_now().await; // a commit takes its time
        batch.into_iter().map(|event| self.accept_one(event)).collect()
    }

    async fn expects(&self, user: &BareJid, once: &OnceKey, _bytes: u64) -> Result<bool, Refused> {
        let mut event = Inbound::new(user.clone(), Address::Gateway, Event::Message(Box::default()));
        event.once = Some(once.clone());
        let state = self.state();
        if state.once.contains(once) {
            return Ok(false);
        }
        state.refusal.as_ref().and_then(|refusal| refusal(&event)).map_or(Ok(true), Err)
    }

    async fn outcome(&self, of: MessageRef, leg: Option<ContactId>, what: Late) -> Result<(), Refused> {
        self.durable(|s| s.told.push(Told { of, leg, what })).map_err(|e| Refused::Later(e.to_string()))
    }

    async fn find(&self, of: &MessageRef) -> Result<Option<Known>, StoreError> {
        self.durable(|s| {
            let fits = |on: &crate::NetworkId, known: &Known| match of {
                MessageRef::Key(key) => known.key.as_ref() == Some(key),
                MessageRef::Foreign { network, id } => on == network && known.ids.contains(id),
            };
            let found: Vec<_> = s.known.iter().rev().filter(|(on, k)| fits(on, k)).map(|(_, known)| known).collect();
            found.iter().find(|k| k.key.is_some()).or(found.first()).map(|known| (*known).clone())
        })
    }

    async fn latest(&self, user: &BareJid, at: &Address, thread: Option<&str>) -> Result<Option<Known>, StoreError> {
        self.durable(|s| {
            let fits =
                |k: &Known| k.user == *user && k.address == *at && (thread.is_none() || k.thread.as_deref() == thread);
            s.known.iter().rev().map(|(_, known)| known).find(|known| fits(known)).cloned()
        })
    }

    async fn route(&self, own: &ContactId, peer: &ContactId) -> Result<Vec<BareJid>, StoreError> {
        self.durable(|s| {
            let owners: Vec<_> =
                s.identities.iter().filter(|(o, _, now)| o == own && *now).map(|(_, u, _)| u).collect();
            let user = match owners.as_slice() {
                [sole] => Some((*sole).clone()),
                _ => s.writers.get(&(own.clone(), peer.clone())).or_else(|| s.configured.get(own)).cloned(),
            };
            user.into_iter().collect()
        })
    }

    async fn claim(&self, user: &BareJid, own: &ContactId) -> Result<(), Taken> {
        self.durable(|s| match s.identities.iter_mut().find(|(o, ..)| o == own) {
            Some((_, owner, _)) if owner != user => Err(Taken::ByOther),
            Some((.., now)) => {
                *now = true;
                Ok(())
            }
            None => {
                s.identities.push((own.clone(), user.clone(), true));
                Ok(())
            }
        })?
    }

    async fn release(&self, user: &BareJid, own: &ContactId) -> Result<(), StoreError> {
        self.durable(|s| {
            for (o, u, now) in &mut s.identities {
                *now &= !(o == own && u == user);
            }
        })
    }

    async fn owner(&self, own: &ContactId) -> Result<Option<BareJid>, StoreError> {
        self.durable(|s| s.identities.iter().find(|(o, _, now)| o == own && *now).map(|(_, u, _)| u.clone()))
    }

    async fn identities(&self, user: &BareJid) -> Result<Vec<ContactId>, StoreError> {
        self.durable(|s| {
            s.identities.iter().filter(|(_, u, now)| u == user && *now).map(|(own, ..)| own.clone()).collect()
        })
    }

    async fn report(&self, of: &SessionOf, link: LinkState) {
        self.change(|s| s.reports.push((of.clone(), link)));
    }

    fn room(&self, of: &SessionOf, room: &RoomId) -> Arc<Mutex<RoomView>> {
        self.state().rooms.entry((of.clone(), room.clone())).or_default().clone()
    }

    fn resolved(&self, user: &BareJid, at: &Address) -> Arc<Resolved> {
        let declared = self.bridge.as_ref().map_or(&[][..], |b| b.settings());
        let levels = self.levels(at);
        let state = self.state();
        let in_force = |key: &str| -> Option<String> {
            let set = |at: &Address| state.values.get(&(user.clone(), at.clone()))?.get(key);
            state.locks.get(key).or_else(|| levels.iter().find_map(set)).or_else(|| state.defaults.get(key)).cloned()
        };
        let values: BTreeMap<_, _> =
            declared.iter().map(|s| (s.key, in_force(s.key).unwrap_or_else(|| s.default.to_owned()))).collect();
        Arc::new(Resolved::new(values))
    }

    async fn set(
        &self,
        user: &BareJid,
        at: &Address,
        changes: Vec<(String, Option<String>)>,
    ) -> Result<(), StoreError> {
        let declared = self.bridge.as_ref().map_or(&[][..], |b| b.settings());
        for (key, _) in &changes {
            if self.bridge.is_some() && !declared.iter().any(|s| s.key == key) {
                return Err(StoreError::Fault(format!("no setting is called {key}")));
            }
        }
        self.durable(|s| {
            let values = s.values.entry((user.clone(), at.clone())).or_default();
            for (key, value) in changes {
                match value {
                    Some(value) => values.insert(key, value),
                    None => values.remove(&key),
                };
            }
        })
    }

    fn registered(&self, user: &BareJid) -> bool {
        self.state().registered.contains(user)
    }

    async fn enrol(&self, user: &BareJid) -> Result<(), StoreError> {
        self.durable(|s| {
            s.registered.insert(user.clone());
        })
    }

    fn may_receive(&self, user: &BareJid) -> bool {
        !self.state().barred.contains(user)
    }

    fn blocked(&self, user: &BareJid, who: &Address) -> bool {
        self.state().blocked.contains(&(user.clone(), who.clone()))
    }

    async fn block(&self, user: &BareJid, who: &Address, on: bool) -> Result<(), StoreError> {
        let entry = (user.clone(), who.clone());
        self.durable(|s| {
            if on {
                s.blocked.insert(entry)
            } else {
                s.blocked.remove(&entry)
            };
        })
    }

    async fn contacts(&self, user: &BareJid) -> Result<Vec<(ContactId, Option<String>)>, StoreError> {
        self.durable(|s| s.contacts.get(user).cloned().unwrap_or_default())
    }

    fn admins(&self) -> Vec<BareJid> {
        self.state().admins.clone()
    }

    fn persistent(&self, of: &SessionOf) -> bool {
        self.state().persistent.contains(of)
    }

    async fn keep(&self, body: Bytes, mut media: Media) -> Result<BlobId, Refused> {
        media.size = Some(body.len() as u64);
        self.durable(|s| {
            s.blobs.push((body, media));
            BlobId::new(format!("blob{}", s.blobs.len() - 1))
        })
        .map_err(|e| Refused::Later(e.to_string()))
    }

    async fn blob(&self, id: &BlobId) -> Result<Option<(Bytes, Media)>, StoreError> {
        self.durable(|s| s.blob(id).cloned())
    }

    async fn fetch(&self, url: &Url, limit: Fetch) -> Result<BlobId, DeliveryError> {
        let found = self.state().web.get(url).cloned();
        let Some((body, media)) = found else {
            return Err(DeliveryError::temporary(Failure::Unreachable, format!("nothing answers at {url}")));
        };
        if body.len() as u64 > limit.max_bytes {
            return Err(DeliveryError::new(Failure::TooLong { limit: limit.max_bytes }, "the file is too large"));
        }
        self.keep(body, media).await.map_err(|e| DeliveryError::temporary(Failure::Unreachable, e.to_string()))
    }

    async fn link(&self, id: &BlobId) -> Result<Option<Url>, StoreError> {
        let there = self.durable(|s| s.blob(id).is_some())?;
        Ok(self.public_url.as_ref().filter(|_| there).and_then(|base| base.join(&format!("files/{id}")).ok()))
    }

    fn seal(&self, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        // Not encryption: enough that a test sees whether a secret was kept unsealed.
        Ok(SEAL.iter().copied().chain(plain.iter().map(|b| b ^ 0x5a)).collect())
    }

    fn unseal(&self, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        let body = sealed.strip_prefix(SEAL).ok_or_else(|| StoreError::Fault("that was never sealed".to_owned()))?;
        Ok(body.iter().map(|b| b ^ 0x5a).collect())
    }

    fn mac(&self, purpose: &str, data: &[u8]) -> [u8; 32] {
        let mut mac = [0; 32];
        for (i, chunk) in mac.chunks_mut(8).enumerate() {
            let mut hasher = DefaultHasher::new(); // fixed keys: the same in every run
            (i, &self.name, purpose, data).hash(&mut hasher);
            chunk.copy_from_slice(&hasher.finish().to_be_bytes());
        }
        mac
    }

    async fn load(&self, space: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let now = self.time();
        self.durable(|s| {
            let found = s.kept.get(&(space.to_owned(), key.to_owned()));
            found.filter(|c| alive(c, now)).and_then(|c| c.value.clone())
        })
    }

    async fn list(&self, space: &str, user: Option<&BareJid>) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let now = self.time();
        self.durable(|s| {
            let fits =
                |c: &Change| c.space == space && alive(c, now) && user.is_none_or(|u| c.user.as_ref() == Some(u));
            let found = s.kept.values().filter(|c| fits(c));
            found.filter_map(|c| Some((c.key.clone(), c.value.clone()?))).collect()
        })
    }

    async fn store(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        self.durable(|s| {
            for change in changes {
                let key = (change.space.clone(), change.key.clone());
                match change.value {
                    Some(_) => s.kept.insert(key, change),
                    None => s.kept.remove(&key),
                };
            }
        })
    }

    fn now(&self) -> SystemTime {
        self.time()
    }
}

const SEAL: &[u8] = b"sealed:";

#[async_trait]
impl TicketSink for FakeHost {
    async fn starting(&self, key: &DeliveryKey, attempt: u32) -> Result<(), StoreError> {
        tokio::task::yield_now().await; // a commit takes its time
        self.durable(|s| {
            if s.lost_leases.contains(key) {
                return Err(StoreError::Unavailable("the lease was lost".to_owned()));
            }
            s.started.push((key.clone(), attempt));
            Ok(())
        })?
    }

    fn settle(&self, key: DeliveryKey, attempt: u32, outcome: Outcome) {
        self.change(|s| {
            if let Outcome::Legs(legs) = &outcome {
                let ids = legs.iter().flat_map(|leg| leg.ids.iter().cloned());
                if let Some((_, known)) = s.known.iter_mut().find(|(_, k)| k.key.as_ref() == Some(&key)) {
                    known.ids.extend(ids);
                }
            }
            s.settled.push((key, attempt, outcome));
        });
    }
}

impl FakeHost {
    fn durable<T>(&self, change: impl FnOnce(&mut State) -> T) -> Result<T, StoreError> {
        if self.state().store_away {
            return Err(StoreError::Unavailable("the test has taken the store away".to_owned()));
        }
        Ok(self.change(change))
    }

    fn accept_one(&self, event: Inbound) -> Result<(), Refused> {
        let network = self.network_of(&event.from);
        let never = |text: &str| Err(Refused::Never(DeliveryError::new(Failure::Rejected, text)));
        self.durable(|s| {
            if let Some(refused) = s.refusal.as_ref().and_then(|r| r(&event)) {
                return Err(refused);
            }
            if s.barred.contains(&event.to) || s.blocked.contains(&(event.to.clone(), event.from.clone())) {
                return never("the user does not receive from there");
            }
            if let Some(once) = &event.once
                && !s.once.insert(once.clone())
            {
                return Ok(());
            }
            if let Event::Message(message) = &event.event {
                let unknown = |f: &crate::File| matches!(&f.source, FileSource::Blob(id) if s.blob(id).is_none());
                if message.files.iter().any(unknown) {
                    return never("a file was named that was never kept");
                }
            }
            s.learn(network, &event);
            s.accepts.push(event);
            Ok(())
        })
        .unwrap_or_else(|e| Err(Refused::Later(e.to_string())))
    }

    /// Where a value at this address is looked for, the nearest first.
    fn levels(&self, at: &Address) -> Vec<Address> {
        let mut levels = match at {
            Address::Gateway => Vec::new(),
            Address::Occupant { room, .. } => vec![Address::Room(room.clone())],
            other => vec![other.clone()],
        };
        if !matches!(at, Address::Gateway | Address::Network(_)) {
            levels.push(Address::Network(self.network_of(at)));
        }
        levels.push(Address::Gateway);
        levels
    }
}

impl State {
    fn blob(&self, id: &BlobId) -> Option<&(Bytes, Media)> {
        self.blobs.get(id.as_str().strip_prefix("blob")?.parse::<usize>().ok()?)
    }

    /// The message map learns an inbound message.
    fn learn(&mut self, network: crate::NetworkId, event: &Inbound) {
        let Event::Message(message) = &event.event else { return };
        let mut known = Known::new(event.to.clone(), event.from.clone());
        known.thread = message.thread.clone();
        known.ids.extend(event.id.clone());
        self.known.push((network, known));
    }
}

fn alive(change: &Change, now: SystemTime) -> bool {
    change.expires.is_none_or(|at| at > now)
}
