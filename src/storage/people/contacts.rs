//! A user's contacts, both directions of subscription (RFC 6121), and blocks.

use isthmus_bridge::{Address, BareJid, ContactId, Listed, StoreError};

use super::{Persons, address, key};
use crate::args;
use crate::storage::{Row, Tx};

/// One direction of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Subscription {
    /// None.
    #[default]
    None,
    /// Asked for, not answered (RFC 6121, 3.1: "pending").
    Asked,
    /// In force.
    Yes,
}

impl Subscription {
    fn read(n: i64) -> Self {
        match n {
            1 => Self::Asked,
            2 => Self::Yes,
            _ => Self::None,
        }
    }
}

/// What is kept of a contact.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contact {
    /// The user's name for it, else the one that it gave itself.
    pub name: Option<String>,
    /// Whether the user sees the contact's presence.
    pub sees: Subscription,
    /// Whether the contact sees the user's.
    pub seen: Subscription,
    /// Groups that the user or the network's contact list puts it into.
    pub groups: Vec<String>,
    /// Whether the network's contact list has it.
    pub listed: bool,
    /// Whether the user's roster has it as it stands here.
    pub rostered: bool,
    /// The SHA-1 of its picture, in lower-case hexadecimal.
    pub photo: Option<String>,
}

impl Contact {
    /// Person, address, name, sees, seen, grouped, listed, rostered, photo.
    pub(super) fn read(row: &Row) -> Result<Self, StoreError> {
        let groups = row.opt_text(5)?.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default();
        Ok(Self {
            name: row.opt_text(2)?,
            sees: Subscription::read(row.int(3)?),
            seen: Subscription::read(row.int(4)?),
            groups,
            listed: row.int(6)? != 0,
            rostered: row.int(7)? != 0,
            photo: row.opt_text(8)?,
        })
    }

    /// Groups as they are stored.
    fn grouped(&self) -> Option<String> {
        (!self.groups.is_empty()).then(|| serde_json::Value::from(self.groups.clone()).to_string())
    }
}

impl Persons {
    /// The contacts a user has (subscribed, added or written to), with their names, in order. From memory.
    pub fn contacts(&self, user: &BareJid) -> Vec<(ContactId, Option<String>)> {
        let all = self.subscriptions(user).into_iter();
        let named = all.filter_map(|(at, contact)| match at {
            Address::Contact(id) => Some((id, contact.name)),
            _ => None,
        });
        named.collect()
    }

    /// What is kept of one address of a user's. From memory.
    pub fn contact(&self, user: &BareJid, at: &Address) -> Option<Contact> {
        self.mirror.with(user, |p| p.contacts.get(&key(at)).cloned()).flatten()
    }

    /// All addresses that a user has something with: contacts, and the gateway itself where there is a subscription. From memory.
    pub fn subscriptions(&self, user: &BareJid) -> Vec<(Address, Contact)> {
        let all = self.mirror.with(user, |p| p.contacts.clone()).unwrap_or_default();
        all.into_iter().filter_map(|(key, contact)| Some((address(&key)?, contact))).collect()
    }

    /// The users who see the presence of this address. From memory, over all users: for the gateway's start and stop, not for every message.
    pub fn watchers(&self, at: &Address) -> Vec<BareJid> {
        let key = key(at);
        self.mirror.users(|p| p.contacts.get(&key).is_some_and(|c| c.sees == Subscription::Yes))
    }

    /// Records a contact that the user wrote to or that wrote to them. Nothing happens where it is known; then no statement runs either.
    ///
    /// # Errors
    /// The store failed; nothing changed.
    pub async fn met(&self, user: &BareJid, at: &Address) -> Result<(), StoreError> {
        if self.contact(user, at).is_some() {
            return Ok(());
        }
        self.change_contact(user, at, |_| {}).await
    }

    /// Gives a contact a name and groups, and adds it where it is not known; no name takes the name away, no groups leave them as they are.
    ///
    /// # Errors
    /// The store failed; nothing changed.
    pub async fn name(
        &self,
        user: &BareJid,
        at: &Address,
        name: Option<&str>,
        groups: Option<Vec<String>>,
    ) -> Result<(), StoreError> {
        let name = name.map(str::to_owned);
        let change = move |contact: &mut Contact| {
            contact.name.clone_from(&name);
            if let Some(groups) = &groups {
                contact.groups.clone_from(groups);
            }
        };
        self.change_contact(user, at, change).await
    }

    /// Records both directions of a subscription; `None` leaves one as it is. That there is none with somebody who is not known is no news.
    ///
    /// # Errors
    /// The store failed; nothing changed.
    pub async fn subscribe(
        &self,
        user: &BareJid,
        at: &Address,
        sees: Option<Subscription>,
        seen: Option<Subscription>,
    ) -> Result<(), StoreError> {
        let now = self.contact(user, at).unwrap_or_default();
        if sees.is_none_or(|s| s == now.sees) && seen.is_none_or(|s| s == now.seen) {
            return Ok(());
        }
        let change = move |contact: &mut Contact| {
            contact.sees = sees.unwrap_or(contact.sees);
            contact.seen = seen.unwrap_or(contact.seen);
        };
        self.change_contact(user, at, change).await
    }

    /// Removes a contact; its subscriptions go with it.
    ///
    /// # Errors
    /// The store failed; nothing changed.
    pub async fn remove_contact(&self, user: &BareJid, at: &Address) -> Result<(), StoreError> {
        let data = (self.name.to_string(), user.to_string(), key(at));
        self.store
            .write(data, |tx, (bridge, user, at)| {
                Box::pin(async move { tx.execute(REMOVE, args![bridge, user, at]).await })
            })
            .await?;
        self.mirror.refresh(&self.store, &self.name, user).await
    }

    pub(super) async fn change_contact<F>(&self, user: &BareJid, at: &Address, change: F) -> Result<(), StoreError>
    where
        F: Fn(&mut Contact) + Send + Sync + 'static,
    {
        let data = (self.name.to_string(), user.to_string(), key(at), change);
        self.store
            .write(data, |tx, (bridge, user, at, change)| Box::pin(change_in(tx, bridge, user, at, change)))
            .await?;
        self.mirror.refresh(&self.store, &self.name, user).await
    }

    /// Takes the network's contact list of a user, whole: names and groups are the list's, what is new or changed waits for the roster, what
    /// stood in a list and stands in it no more is removed. Gives the removed ones.
    ///
    /// # Errors
    /// The store failed; nothing changed.
    pub async fn take_list(&self, user: &BareJid, list: Vec<Listed>) -> Result<Vec<Address>, StoreError> {
        let keys: Vec<(String, Listed)> =
            list.into_iter().map(|one| (key(&Address::Contact(one.contact.clone())), one)).collect();
        let here = |at: &str| keys.iter().any(|(key, _)| key == at);
        let before = self.mirror.with(user, |p| p.contacts.clone()).unwrap_or_default();
        let gone: Vec<String> =
            before.into_iter().filter(|(at, contact)| contact.listed && !here(at)).map(|(at, _)| at).collect();
        let removed = gone.iter().filter_map(|at| address(at)).collect();
        let data = (self.name.to_string(), user.to_string(), keys, gone);
        self.store
            .write(data, |tx, (bridge, user, keys, gone)| {
                Box::pin(async move {
                    for (at, listed) in keys {
                        change_in(tx, bridge, user, at, &|contact: &mut Contact| contact.list(listed)).await?;
                    }
                    for at in gone {
                        tx.execute(REMOVE, args![bridge, user, at]).await?;
                    }
                    Ok(())
                })
            })
            .await?;
        self.mirror.refresh(&self.store, &self.name, user).await?;
        Ok(removed)
    }

    /// The user's roster has the contact as it stands here now; `subscribed`: with a subscription both ways.
    ///
    /// # Errors
    /// The store failed; nothing changed.
    pub async fn rostered(&self, user: &BareJid, at: &Address, subscribed: bool) -> Result<(), StoreError> {
        let change = move |contact: &mut Contact| {
            contact.rostered = true;
            if subscribed {
                (contact.sees, contact.seen) = (Subscription::Yes, Subscription::Yes);
            }
        };
        self.change_contact(user, at, change).await
    }

    /// The name that a contact gave itself, where the user has given it none. Gives whether that is new.
    ///
    /// # Errors
    /// The store failed; nothing changed.
    pub async fn nicknamed(&self, user: &BareJid, at: &Address, nick: &str) -> Result<bool, StoreError> {
        if self.contact(user, at).is_none_or(|c| c.name.is_some()) {
            return Ok(false);
        }
        let nick = nick.to_owned();
        let change = move |contact: &mut Contact| {
            contact.name.get_or_insert_with(|| nick.clone());
        };
        self.change_contact(user, at, change).await?;
        Ok(true)
    }

    /// Whether the user has blocked this address; a blocked room blocks its occupants. From memory.
    pub fn blocked(&self, user: &BareJid, who: &Address) -> bool {
        let room = match who {
            Address::Occupant { room, .. } => Some(key(&Address::Room(room.clone()))),
            _ => None,
        };
        let own = key(who);
        self.mirror
            .with(user, |p| p.blocks.contains(&own) || room.is_some_and(|r| p.blocks.contains(&r)))
            .unwrap_or(false)
    }

    /// The addresses that a user has blocked, in order. From memory.
    pub fn blocks(&self, user: &BareJid) -> Vec<Address> {
        self.mirror.with(user, |p| p.blocks.iter().filter_map(|k| address(k)).collect()).unwrap_or_default()
    }

    /// Blocks or unblocks.
    ///
    /// # Errors
    /// The store failed; nothing changed.
    pub async fn block(&self, user: &BareJid, who: &Address, on: bool) -> Result<(), StoreError> {
        let data = (self.name.to_string(), user.to_string(), key(who), on);
        self.store
            .write(data, |tx, (bridge, user, who, on)| {
                Box::pin(async move {
                    let now = tx.now();
                    if *on {
                        let sql = "INSERT INTO blocks (bridge, person, address, at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
                        return tx.execute(sql, args![bridge, user, who, now]).await;
                    }
                    tx.execute("DELETE FROM blocks WHERE bridge = $1 AND person = $2 AND address = $3", args![bridge, user, who]).await
                })
            })
            .await?;
        self.mirror.refresh(&self.store, &self.name, user).await
    }
}

const REMOVE: &str = "DELETE FROM contacts WHERE bridge = $1 AND person = $2 AND address = $3";

impl Contact {
    /// As the network's list has it.
    fn list(&mut self, listed: &Listed) {
        if !self.listed || self.name != listed.name || self.groups != listed.groups {
            self.rostered = false;
        }
        self.listed = true;
        self.name.clone_from(&listed.name);
        self.groups.clone_from(&listed.groups);
    }
}

async fn change_in<F>(tx: &mut Tx, bridge: &str, user: &str, at: &str, change: &F) -> Result<(), StoreError>
where
    F: Fn(&mut Contact) + Send + Sync,
{
    let now = tx.now();
    let sql = "SELECT person, address, name, sees, seen, grouped, listed, rostered, photo FROM contacts \
               WHERE bridge = $1 AND person = $2 AND address = $3";
    let row = tx.fetch_one(sql, args![bridge, user, at]).await?;
    let mut contact = row.as_ref().map(Contact::read).transpose()?.unwrap_or_default();
    change(&mut contact);
    let sql = "INSERT INTO contacts (bridge, person, address, name, sees, seen, at, grouped, listed, rostered, photo) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (bridge, person, address) DO UPDATE SET \
               name = excluded.name, sees = excluded.sees, seen = excluded.seen, grouped = excluded.grouped, listed = excluded.listed, \
               rostered = excluded.rostered, photo = excluded.photo";
    let (sees, seen) = (contact.sees as i64, contact.seen as i64);
    let (listed, rostered) = (i64::from(contact.listed), i64::from(contact.rostered));
    let grouped = contact.grouped();
    let values = args![bridge, user, at, &contact.name, sees, seen, now, grouped, listed, rostered, &contact.photo];
    tx.execute(sql, values).await?;
    Ok(())
}
