//! A user's contacts, both directions of subscription (RFC 6121), and blocks.

use isthmus_bridge::{Address, BareJid, ContactId, StoreError};

use super::{Persons, address, key};
use crate::args;
use crate::storage::Row;

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
}

impl Contact {
    /// Person, address, name, sees, seen.
    pub(super) fn read(row: &Row) -> Result<Self, StoreError> {
        let (sees, seen) = (Subscription::read(row.int(3)?), Subscription::read(row.int(4)?));
        Ok(Self { name: row.opt_text(2)?, sees, seen })
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

    /// Gives a contact a name, and adds it where it is not known; `None` takes the name away.
    ///
    /// # Errors
    /// The store failed; nothing changed.
    pub async fn rename(&self, user: &BareJid, at: &Address, name: Option<&str>) -> Result<(), StoreError> {
        let name = name.map(str::to_owned);
        self.change_contact(user, at, move |contact| contact.name.clone_from(&name)).await
    }

    /// Records both directions of a subscription; `None` leaves one as it is.
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
        let now = self.contact(user, at);
        if now.is_some_and(|c| sees.is_none_or(|s| s == c.sees) && seen.is_none_or(|s| s == c.seen)) {
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
                Box::pin(async move {
                    let sql = "DELETE FROM contacts WHERE bridge = $1 AND person = $2 AND address = $3";
                    tx.execute(sql, args![bridge, user, at]).await
                })
            })
            .await?;
        self.mirror.refresh(&self.store, &self.name, user).await
    }

    async fn change_contact<F>(&self, user: &BareJid, at: &Address, change: F) -> Result<(), StoreError>
    where
        F: Fn(&mut Contact) + Send + Sync + 'static,
    {
        let data = (self.name.to_string(), user.to_string(), key(at), change);
        self.store
            .write(data, |tx, (bridge, user, at, change)| {
                Box::pin(async move {
                    let now = tx.now();
                    let sql = "SELECT person, address, name, sees, seen FROM contacts WHERE bridge = $1 AND person = $2 AND address = $3";
                    let row = tx.fetch_one(sql, args![bridge, user, at]).await?;
                    let mut contact = row.as_ref().map(Contact::read).transpose()?.unwrap_or_default();
                    change(&mut contact);
                    let sql = "INSERT INTO contacts (bridge, person, address, name, sees, seen, at) VALUES ($1, $2, $3, $4, $5, $6, $7) \
                               ON CONFLICT (bridge, person, address) DO UPDATE SET name = excluded.name, sees = excluded.sees, seen = excluded.seen";
                    let (sees, seen) = (contact.sees as i64, contact.seen as i64);
                    tx.execute(sql, args![bridge, user, at, &contact.name, sees, seen, now]).await
                })
            })
            .await?;
        self.mirror.refresh(&self.store, &self.name, user).await
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
