//! Ids of messages that we made known in a user's name (XEP-0356): the server gives them back as if the user had sent them to us, also to the next
//! process after a restart. They are on disk before the message is on its way.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use isthmus_bridge::{BareJid, StoreError};

use super::Persons;
use crate::args;
use crate::storage::Store;

/// A message comes back at once, or when a server that was away has it again: milliseconds.
const KEPT: i64 = 7 * 24 * 3_600_000;

/// The ids in memory, with the time of each.
#[derive(Debug, Default)]
pub(super) struct Own(Mutex<HashMap<(BareJid, String), i64>>);

impl Own {
    pub(super) async fn load(store: &Store, bridge: &str) -> Result<Self, StoreError> {
        let rows = store.read("SELECT person, id, at FROM own_messages WHERE bridge = $1", args![bridge]).await?;
        let all = rows.iter().map(|row| Ok(((row.text(0)?.into(), row.text(1)?), row.int(2)?)));
        Ok(Self(Mutex::new(all.collect::<Result<_, StoreError>>()?)))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(BareJid, String), i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Persons {
    /// From now on a message of this user with one of these ids is one of ours that comes back. On disk when this returns.
    ///
    /// # Errors
    /// The store failed: the message must not be sent.
    pub async fn will_return(&self, user: &BareJid, ids: &[String]) -> Result<(), StoreError> {
        let now = self.store.clock().now();
        {
            // Before the disk: a message that is sent right after the commit may be back before this task runs again.
            let mut own = self.own.lock();
            own.extend(ids.iter().map(|id| ((user.clone(), id.clone()), now)));
        }
        let data = (self.name.to_string(), user.to_string(), ids.to_vec());
        self.store
            .write(data, |tx, (bridge, user, ids)| {
                Box::pin(async move {
                    let now = tx.now();
                    for id in ids {
                        let sql = "INSERT INTO own_messages (bridge, person, id, at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
                        tx.execute(sql, args![bridge, user, id, now]).await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// Whether a message of this user with this id is one that we made known in their name. From memory.
    pub fn returns(&self, user: &BareJid, id: &str) -> bool {
        let own = self.own.lock();
        !own.is_empty() && own.contains_key(&(user.clone(), id.to_owned()))
    }

    /// Forgets what cannot come back any more.
    ///
    /// # Errors
    /// The store failed; nothing changed.
    pub(super) async fn sweep_own(&self) -> Result<(), StoreError> {
        let before = self.store.clock().now() - KEPT;
        let data = (self.name.to_string(), before);
        self.store
            .write(data, |tx, (bridge, before)| {
                Box::pin(async move {
                    tx.execute("DELETE FROM own_messages WHERE bridge = $1 AND at < $2", args![bridge, *before]).await
                })
            })
            .await?;
        self.own.lock().retain(|_, at| *at >= before);
        Ok(())
    }
}
