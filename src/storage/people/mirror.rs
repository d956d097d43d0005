//! The copy in memory of what is asked for every message.
//!
//! After a change the person is read again as a whole. A read that began later wins over one that began earlier, so the copy never goes back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use isthmus_bridge::{BareJid, NetworkId, Resolved, StoreError, Values};

use super::contacts::Contact;
use crate::args;
use crate::hash::Map;
use crate::storage::{Row, Store};

/// Resolved settings kept per person; more addresses than that are resolved anew.
const CACHED: usize = 64;

/// A chosen value as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Plain(String),
    Sealed(Vec<u8>),
}

/// What is kept of one person.
#[derive(Debug, Default)]
pub(super) struct Person {
    pub(super) registered: Option<Values>,
    /// By address, by setting.
    pub(super) chosen: BTreeMap<String, BTreeMap<String, Value>>,
    pub(super) blocks: BTreeSet<String>,
    pub(super) contacts: BTreeMap<String, Contact>,
    cache: Map<String, Arc<Resolved>>,
}

impl Person {
    fn is_empty(&self) -> bool {
        self.registered.is_none() && self.chosen.is_empty() && self.blocks.is_empty() && self.contacts.is_empty()
    }
}

#[derive(Default)]
struct Inner {
    persons: Map<BareJid, Person>,
    /// What holds for whoever chose nothing, by network.
    nobody: Map<NetworkId, Arc<Resolved>>,
    /// Reads under way, by person: the number of the last one begun, the last one taken, and how many are open.
    reads: Map<BareJid, (u64, u64, u32)>,
}

/// The persons of one bridge, in memory.
#[derive(Default)]
pub(super) struct Mirror {
    inner: Mutex<Inner>,
}

impl Mirror {
    pub(super) async fn load(store: &Store, bridge: &str) -> Result<Self, StoreError> {
        let mut persons: Map<BareJid, Person> = Map::default();
        for (part, sql) in PARTS {
            for row in store.read(sql[0], args![bridge]).await? {
                part(persons.entry(row.text(0)?.into()).or_default(), &row)?;
            }
        }
        Ok(Self { inner: Mutex::new(Inner { persons, ..Inner::default() }) })
    }

    pub(super) async fn refresh(&self, store: &Store, bridge: &str, user: &BareJid) -> Result<(), StoreError> {
        let ticket = self.begin(user);
        let read = read(store, bridge, user).await;
        self.end(user, ticket, read)
    }

    fn begin(&self, user: &BareJid) -> u64 {
        let mut inner = self.lock();
        let read = inner.reads.entry(user.clone()).or_default();
        read.0 += 1;
        read.2 += 1;
        read.0
    }

    fn end(&self, user: &BareJid, ticket: u64, read: Result<Person, StoreError>) -> Result<(), StoreError> {
        let mut inner = self.lock();
        let Some(state) = inner.reads.get_mut(user) else { return read.map(|_| ()) };
        state.2 -= 1;
        let newer = ticket > state.1;
        if newer && read.is_ok() {
            state.1 = ticket;
        }
        if state.2 == 0 {
            inner.reads.remove(user);
        }
        let person = read?;
        if newer && person.is_empty() {
            inner.persons.remove(user);
        } else if newer {
            inner.persons.insert(user.clone(), person);
        }
        Ok(())
    }

    pub(super) fn with<T>(&self, user: &BareJid, ask: impl FnOnce(&Person) -> T) -> Option<T> {
        self.lock().persons.get(user).map(ask)
    }

    pub(super) fn users(&self, which: impl Fn(&Person) -> bool) -> Vec<BareJid> {
        let mut users: Vec<_> = self.lock().persons.iter().filter(|(_, p)| which(p)).map(|(u, _)| u.clone()).collect();
        users.sort();
        users
    }

    /// What is in force for those who have chosen nothing, where this user has not, from the cache.
    pub(super) fn common(&self, user: &BareJid, network: &NetworkId) -> Option<Arc<Resolved>> {
        let inner = self.lock();
        let chose = inner.persons.get(user).is_some_and(|person| !person.chosen.is_empty());
        if chose { None } else { inner.nobody.get(network).cloned() }
    }

    /// From the cache, or made by `make` (which runs under the lock and does no I/O).
    pub(super) fn resolved(
        &self,
        user: &BareJid,
        network: &NetworkId,
        narrowest: &str,
        make: impl FnOnce(Option<&Person>) -> Resolved,
    ) -> Arc<Resolved> {
        let mut inner = self.lock();
        let Some(person) = inner.persons.get_mut(user).filter(|p| !p.chosen.is_empty()) else {
            if let Some(found) = inner.nobody.get(network) {
                return found.clone();
            }
            let made = Arc::new(make(None));
            // Network names come from JIDs, which anybody can make up.
            if inner.nobody.len() < 4 * CACHED {
                inner.nobody.insert(network.clone(), made.clone());
            }
            return made;
        };
        // The network belongs to the key: that of the gateway's own address need not be the only one.
        let name = format!("{network}\n{narrowest}");
        if let Some(found) = person.cache.get(&name) {
            return found.clone();
        }
        let made = Arc::new(make(Some(person)));
        if person.cache.len() < CACHED {
            person.cache.insert(name, made.clone());
        }
        made
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read(store: &Store, bridge: &str, user: &BareJid) -> Result<Person, StoreError> {
    let mut person = Person::default();
    for (part, sql) in PARTS {
        for row in store.read(sql[1], args![bridge, user.as_str()]).await? {
            part(&mut person, &row)?;
        }
    }
    Ok(person)
}

type Part = fn(&mut Person, &Row) -> Result<(), StoreError>;

/// How each table is read, for all persons and for one; the person is the first column.
const PARTS: [(Part, [&str; 2]); 4] = [
    (
        |person, row| {
            person.registered = Some(super::fields(&row.text(1)?));
            Ok(())
        },
        [
            "SELECT person, fields FROM registrations WHERE bridge = $1",
            "SELECT person, fields FROM registrations WHERE bridge = $1 AND person = $2",
        ],
    ),
    (
        |person, row| {
            let value = match row.opt_bytes(4)? {
                Some(sealed) => Value::Sealed(sealed),
                None => Value::Plain(row.opt_text(3)?.unwrap_or_default()),
            };
            person.chosen.entry(row.text(1)?).or_default().insert(row.text(2)?, value);
            Ok(())
        },
        [
            "SELECT person, address, key, value, sealed FROM choices WHERE bridge = $1",
            "SELECT person, address, key, value, sealed FROM choices WHERE bridge = $1 AND person = $2",
        ],
    ),
    (
        |person, row| {
            person.blocks.insert(row.text(1)?);
            Ok(())
        },
        [
            "SELECT person, address FROM blocks WHERE bridge = $1",
            "SELECT person, address FROM blocks WHERE bridge = $1 AND person = $2",
        ],
    ),
    (
        |person, row| {
            person.contacts.insert(row.text(1)?, Contact::read(row)?);
            Ok(())
        },
        [
            "SELECT person, address, name, sees, seen, grouped, listed, rostered, photo FROM contacts WHERE bridge = $1",
            "SELECT person, address, name, sees, seen, grouped, listed, rostered, photo FROM contacts WHERE bridge = $1 AND person = $2",
        ],
    ),
];
