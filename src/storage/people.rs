//! What is kept of persons: registrations, settings, own identities, contacts, blocks, a bridge's small state, the audit log.
//!
//! [`People`] belongs to the process, [`Persons`] to one bridge; the methods of the latter answer those of the same name of
//! [`Gateway`](isthmus_bridge::Gateway). What is asked for every message (registered, settings, blocks, subscriptions) is answered from a copy in
//! memory that is loaded at start and read again after each change; it grows with the users that have something stored, not with those who pass by.

mod contacts;
mod everybody;
mod export;
mod faces;
mod held;
mod identities;
mod mirror;
mod own;
mod reseal;
mod rules;
mod state;
mod talks;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use isthmus_bridge::{
    Address, BareJid, Bridge, NetworkId, Resolved, RoomId, SessionOf, SettingKind, StoreError, Values,
};

use super::{Seal, Store};
use crate::args;
use crate::settings::{self, Scheme};
use mirror::{Mirror, Value};
use own::Own;
use state::Kept;

pub use contacts::{Contact, Subscription};
pub use export::{Export, Pages};
pub use faces::Picture;
pub use reseal::{Resealed, reseal};
pub use state::{Audit, audit};
pub use talks::Talk;
use talks::Talks;

/// A bridge, as [`People::open`] needs it.
pub struct Served {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The bridge.
    pub bridge: Arc<dyn Bridge>,
    /// Its settings with what the administrator said of them.
    pub scheme: Scheme,
}

/// The persons of all bridges. Cheap to clone.
#[derive(Clone)]
pub struct People {
    store: Store,
    bridges: Arc<HashMap<Arc<str>, Arc<Persons>>>,
}

impl People {
    /// Loads what is asked often into memory.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn open(store: Store, seal: Arc<Seal>, served: Vec<Served>) -> Result<Self, StoreError> {
        let mut bridges = HashMap::new();
        for Served { name, bridge, scheme } in served {
            renamed(&store, &name, &scheme).await?;
            let mirror = Mirror::load(&store, &name).await?;
            let kept = Kept::load(&store, &name).await?;
            let own = Own::load(&store, &name).await?;
            let persons = Persons {
                store: store.clone(),
                seal: seal.clone(),
                name: name.clone(),
                bridge,
                scheme,
                mirror,
                kept,
                own,
                talks: Talks::default(),
            };
            bridges.insert(name, Arc::new(persons));
        }
        Ok(Self { store, bridges: Arc::new(bridges) })
    }

    /// The persons of one bridge; `None` where no such bridge is served.
    pub fn of(&self, bridge: &str) -> Option<&Arc<Persons>> {
        self.bridges.get(bridge)
    }
}

/// What people chose before a setting had its key of today stands under that key from now on.
async fn renamed(store: &Store, bridge: &Arc<str>, scheme: &Scheme) -> Result<(), StoreError> {
    for setting in scheme.settings() {
        let Some(formerly) = setting.formerly else { continue };
        let row = (bridge.to_string(), formerly, setting.key);
        store
            .write(row, |tx, (bridge, formerly, key)| {
                Box::pin(async move {
                    let sql = "UPDATE choices SET key = $3 WHERE bridge = $1 AND key = $2 AND NOT EXISTS (SELECT 1 FROM choices c \
                               WHERE c.bridge = $1 AND c.key = $3 AND c.person = choices.person AND c.address = choices.address)";
                    tx.execute(sql, args![bridge.clone(), *formerly, *key]).await?;
                    // What was chosen under the new key is the later choice.
                    tx.execute("DELETE FROM choices WHERE bridge = $1 AND key = $2", args![bridge, *formerly]).await
                })
            })
            .await?;
    }
    Ok(())
}

/// The persons of one bridge.
pub struct Persons {
    store: Store,
    seal: Arc<Seal>,
    name: Arc<str>,
    bridge: Arc<dyn Bridge>,
    scheme: Scheme,
    mirror: Mirror,
    own: Own,
    talks: Talks,
    kept: Kept,
}

impl Persons {
    /// The bridge's settings with what the administrator said of them.
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// Whether the user is registered. From memory.
    pub fn registered(&self, user: &BareJid) -> bool {
        self.mirror.with(user, |p| p.registered.is_some()).unwrap_or(false)
    }

    /// What the user filled in when registering, without secrets; `None` where they are not registered. From memory.
    pub fn registration(&self, user: &BareJid) -> Option<Values> {
        self.mirror.with(user, |p| p.registered.clone()).flatten()
    }

    /// All registered users, in order. From memory.
    pub fn users(&self) -> Vec<BareJid> {
        self.mirror.users(|p| p.registered.is_some())
    }

    /// Records the user as registered, with what they filled in (the caller leaves out secrets). Returns whether they were not before.
    ///
    /// # Errors
    /// The store failed; nothing changed.
    pub async fn register(&self, user: &BareJid, values: &Values) -> Result<bool, StoreError> {
        let fields = serde_json::to_string(values).map_err(|e| StoreError::Fault(e.to_string()))?;
        let row = (self.name.to_string(), user.to_string(), fields);
        let fresh = self
            .store
            .write(row, |tx, (bridge, user, fields)| {
                Box::pin(async move {
                    let now = tx.now();
                    let sql = "INSERT INTO registrations (bridge, person, fields, at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
                    if tx.execute(sql, args![bridge, user, fields, now]).await? == 1 {
                        return Ok(true);
                    }
                    let sql = "UPDATE registrations SET fields = $3 WHERE bridge = $1 AND person = $2";
                    tx.execute(sql, args![bridge, user, fields]).await?;
                    Ok(false)
                })
            })
            .await?;
        self.mirror.refresh(&self.store, &self.name, user).await?;
        Ok(fresh)
    }

    /// Removes everything of the user's but tombstones and the audit log; their own identities become tombstones that only they can lift.
    /// Returns the addresses whose subscriptions are to be ended (the gateway's own among them).
    ///
    /// # Errors
    /// The store failed; nothing changed.
    pub async fn forget(&self, user: &BareJid) -> Result<Vec<Address>, StoreError> {
        let contacts = self.subscriptions(user).into_iter().map(|(address, _)| address).collect();
        self.hush(user);
        self.bury_all(user).await?;
        self.mirror.refresh(&self.store, &self.name, user).await?;
        Ok(contacts)
    }

    /// Settings in force for a user at an address. From memory.
    pub fn resolved(&self, user: &BareJid, at: &Address) -> Arc<Resolved> {
        let network = self.bridge.addressing().network(at);
        if let Some(found) = self.mirror.common(user, &network) {
            return found;
        }
        let levels = settings::levels(at, &network);
        let keys: Vec<String> = levels.iter().map(key).collect();
        let narrowest = keys.last().cloned().unwrap_or_default();
        self.mirror.resolved(user, &network, &narrowest, |person| self.resolve(user, person, &network, &keys))
    }

    /// The same in a room of a session.
    pub fn in_room(&self, of: &SessionOf, room: &RoomId) -> Arc<Resolved> {
        let common = self.mirror.common(&of.user, &of.network);
        common.unwrap_or_else(|| self.resolved(&of.user, &Address::Room(room.clone())))
    }

    /// What would be in force at an address without the user's choices at exactly this address; not cached.
    pub fn without(&self, user: &BareJid, at: &Address) -> Resolved {
        let network = self.bridge.addressing().network(at);
        let mut levels = settings::levels(at, &network);
        levels.pop();
        let keys: Vec<String> = levels.iter().map(key).collect();
        let chosen = self.mirror.with(user, |person| self.resolve(user, Some(person), &network, &keys));
        chosen.unwrap_or_else(|| self.resolve(user, None, &network, &[]))
    }

    fn resolve(
        &self,
        user: &BareJid,
        person: Option<&mirror::Person>,
        network: &NetworkId,
        keys: &[String],
    ) -> Resolved {
        let mut layers = Vec::new();
        for chosen in person.into_iter().flat_map(|p| keys.iter().filter_map(|k| p.chosen.get(k))) {
            layers.push(
                chosen.iter().filter_map(|(key, value)| Some((key.clone(), self.open(user, key, value)?))).collect(),
            );
        }
        self.scheme.resolve(network, layers.iter())
    }

    fn open(&self, user: &BareJid, key: &str, value: &Value) -> Option<String> {
        match value {
            Value::Plain(words) => Some(words.clone()),
            Value::Sealed(sealed) => match self.seal.unseal(&self.purpose(user, key), sealed) {
                Ok(plain) => String::from_utf8(plain).ok(),
                Err(error) => {
                    tracing::error!(bridge = %self.name, %user, setting = key, %error, "a stored secret cannot be opened; its setting counts as unset");
                    None
                }
            },
        }
    }

    fn purpose(&self, user: &BareJid, key: &str) -> String {
        purpose(&self.name, user, key)
    }

    /// What the user chose at exactly this address; of secrets only that there is one (`""`). From memory.
    pub fn chosen(&self, user: &BareJid, at: &Address) -> settings::Chosen {
        let words = |value: &Value| match value {
            Value::Plain(words) => words.clone(),
            Value::Sealed(_) => String::new(),
        };
        let own = self.mirror.with(user, |p| p.chosen.get(&key(at)).cloned()).flatten().unwrap_or_default();
        own.iter().map(|(k, v)| (k.clone(), words(v))).collect()
    }

    /// Changes settings at an address, all or nothing; `None` goes back to the default. Secrets are sealed. Keys that are not declared, and values
    /// that are not of their kind, are a fault.
    ///
    /// # Errors
    /// The store failed or a value is wrong; nothing changed.
    pub async fn set(
        &self,
        user: &BareJid,
        at: &Address,
        changes: Vec<(String, Option<String>)>,
    ) -> Result<(), StoreError> {
        let at = settings::levels(at, &self.bridge.addressing().network(at)).pop().unwrap_or(Address::Gateway);
        let mut rows = Vec::with_capacity(changes.len());
        for (name, value) in changes {
            let setting = self.scheme.setting(&name).ok_or_else(|| StoreError::Fault(format!("no setting {name}")))?;
            let value = match value {
                None => None,
                Some(plain) if setting.kind == SettingKind::Secret => {
                    let sealed = self.seal.seal(&self.purpose(user, setting.key), plain.as_bytes());
                    Some((None, Some(sealed.map_err(|e| StoreError::Fault(e.to_string()))?)))
                }
                Some(plain) => {
                    let plain =
                        settings::check(setting, &plain).map_err(|e| StoreError::Fault(format!("{name}: {e}")))?;
                    Some((Some(plain), None))
                }
            };
            rows.push((setting.key.to_owned(), value));
        }
        let data = (self.name.to_string(), user.to_string(), key(&at), rows);
        self.store
            .write(data, |tx, (bridge, user, at, rows)| {
                Box::pin(async move {
                    for (name, value) in rows {
                        let sql = "DELETE FROM choices WHERE bridge = $1 AND person = $2 AND address = $3 AND key = $4";
                        tx.execute(sql, args![bridge, user, at, name]).await?;
                        if let Some((plain, sealed)) = value {
                            let sql = "INSERT INTO choices (bridge, person, address, key, value, sealed) VALUES ($1, $2, $3, $4, $5, $6)";
                            tx.execute(sql, args![bridge, user, at, name, plain, sealed.clone()]).await?;
                        }
                    }
                    Ok(())
                })
            })
            .await?;
        self.mirror.refresh(&self.store, &self.name, user).await
    }

    /// Whether the user wants this session kept up: the setting `persistent` of the network. From memory.
    pub fn persistent(&self, of: &SessionOf) -> bool {
        self.resolved(&of.user, &Address::Network(of.network.clone())).bool("persistent")
    }
}

/// What a user's secret setting is sealed for.
fn purpose(bridge: &str, user: &BareJid, key: &str) -> String {
    format!("setting\n{bridge}\n{user}\n{key}")
}

/// How an address is written in the store.
fn key(address: &Address) -> String {
    match address {
        Address::Gateway => "g".to_owned(),
        Address::Network(id) => format!("n{id}"),
        Address::Contact(id) => format!("c{id}"),
        Address::Room(id) => format!("r{id}"),
        Address::Occupant { room, nick } => format!("o{room}\n{nick}"),
        // A kind of address that a newer contract has; it keeps nothing of its own until it has its line here.
        _ => "?".to_owned(),
    }
}

fn time(at: i64) -> String {
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(u64::try_from(at).unwrap_or_default());
    crate::translate::stamp::stamp(at)
}

/// An address's key without the letter of its kind.
pub(crate) fn shown(key: &str) -> String {
    let id: String = key.chars().skip(1).collect();
    if id.is_empty() { "gateway".to_owned() } else { id.replace('\n', "/") }
}

/// Reads [`key`] back.
fn address(key: &str) -> Option<Address> {
    let mut chars = key.chars();
    let kind = chars.next()?;
    let id = chars.as_str();
    Some(match kind {
        'g' => Address::Gateway,
        'n' => Address::Network(id.into()),
        'c' => Address::Contact(id.into()),
        'r' => Address::Room(id.into()),
        'o' => {
            let (room, nick) = id.split_once('\n')?;
            Address::Occupant { room: RoomId::new(room), nick: nick.to_owned() }
        }
        _ => return None,
    })
}

/// What a registration holds, as JSON.
fn fields(json: &str) -> Values {
    // A row that a later version wrote differently reads as "registered, nothing known": better than not registered.
    serde_json::from_str::<BTreeMap<String, Vec<String>>>(json).map_or_else(
        |_| Values::new(),
        |map| {
            let mut values = Values::new();
            map.into_iter().for_each(|(key, all)| values.set_all(key, all));
            values
        },
    )
}
