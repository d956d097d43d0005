//! A bridge's small durable state, and the audit log.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use isthmus_bridge::{BareJid, Change, StoreError};

use super::{People, Persons};
use crate::args;
use crate::storage::Store;

/// Entries of the audit log that are kept.
const AUDIT: i64 = 100_000;

/// One line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// When, in milliseconds since the epoch.
    pub at: i64,
    /// Who did it.
    pub actor: String,
    /// On which bridge; `""`: on the gateway as a whole.
    pub bridge: String,
    /// What.
    pub act: String,
    /// To whom, where it was done to somebody.
    pub about: Option<String>,
    /// More; never a secret, never a message.
    pub detail: Option<String>,
}

impl People {
    /// Writes a line of the audit log (its time is the store's). Old ones beyond 100,000 go.
    ///
    /// # Errors
    /// The store failed; nothing changed.
    pub async fn audit(&self, line: Audit) -> Result<(), StoreError> {
        audit(&self.store, line).await
    }

    /// The newest lines of the audit log, newest first.
    ///
    /// # Errors
    /// The store failed.
    pub async fn audited(&self, limit: u32) -> Result<Vec<Audit>, StoreError> {
        let sql = "SELECT at, actor, bridge, act, about, detail FROM audit ORDER BY seq DESC LIMIT $1";
        let rows = self.store.read(sql, args![limit]).await?;
        let line = |row: &crate::storage::Row| {
            Ok(Audit {
                at: row.int(0)?,
                actor: row.text(1)?,
                bridge: row.text(2)?,
                act: row.text(3)?,
                about: row.opt_text(4)?,
                detail: row.opt_text(5)?,
            })
        };
        rows.iter().map(line).collect()
    }
}

/// As [`People::audit`], for who has nothing but the store.
///
/// # Errors
/// The store failed; nothing changed.
pub async fn audit(store: &Store, line: Audit) -> Result<(), StoreError> {
    store
        .write(line, |tx, line| {
            Box::pin(async move {
                let now = tx.now();
                let sql = "INSERT INTO audit (at, actor, bridge, act, about, detail) VALUES ($1, $2, $3, $4, $5, $6)";
                tx.execute(sql, args![now, &line.actor, &line.bridge, &line.act, &line.about, &line.detail]).await?;
                tx.execute("DELETE FROM audit WHERE seq <= (SELECT MAX(seq) FROM audit) - $1", args![AUDIT]).await?;
                Ok(())
            })
        })
        .await
}

/// Which names a bridge's small state has, so that asking for one that is not there (every session asks, few find something) costs no query.
/// Where other processes write to the database nobody can know. What was there once counts as there: it is looked up.
pub(super) struct Kept(Option<Mutex<HashSet<u64>>>);

impl Kept {
    pub(super) async fn load(store: &Store, bridge: &str) -> Result<Self, StoreError> {
        if store.is_shared() {
            return Ok(Self(None));
        }
        let rows = store.read("SELECT space, key FROM state WHERE bridge = $1", args![bridge]).await?;
        let names: Result<HashSet<u64>, StoreError> =
            rows.iter().map(|row| Ok(name(&row.text(0)?, &row.text(1)?))).collect();
        Ok(Self(Some(Mutex::new(names?))))
    }

    /// False: it is not there.
    fn may_have(&self, space: &str, key: &str) -> bool {
        let Some(names) = &self.0 else { return true };
        names.lock().unwrap_or_else(PoisonError::into_inner).contains(&name(space, key))
    }

    /// Before they are written.
    fn note(&self, changes: &[Change]) {
        let Some(names) = &self.0 else { return };
        let mut names = names.lock().unwrap_or_else(PoisonError::into_inner);
        names.extend(changes.iter().filter(|c| c.value.is_some()).map(|c| name(&c.space, &c.key)));
    }
}

fn name(space: &str, key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (space, key).hash(&mut hasher);
    hasher.finish()
}

impl Persons {
    /// Reads one value of the bridge's small state.
    ///
    /// # Errors
    /// The store failed.
    pub async fn load(&self, space: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        if !self.kept.may_have(space, key) {
            return Ok(None);
        }
        let now = self.store.clock().now();
        let sql = "SELECT value FROM state WHERE bridge = $1 AND space = $2 AND key = $3 AND (expires IS NULL OR expires > $4)";
        let rows = self.store.read(sql, args![&*self.name, space, key, now]).await?;
        rows.first().map(|row| row.bytes(0)).transpose()
    }

    /// Everything in a space, of one user or of all, in order of keys.
    ///
    /// # Errors
    /// The store failed.
    pub async fn list(&self, space: &str, user: Option<&BareJid>) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let now = self.store.clock().now();
        let rows = match user {
            Some(user) => {
                let sql = "SELECT key, value FROM state WHERE bridge = $1 AND space = $2 AND (expires IS NULL OR expires > $3) AND person = $4 ORDER BY key";
                self.store.read(sql, args![&*self.name, space, now, user.as_str()]).await?
            }
            None => {
                let sql = "SELECT key, value FROM state WHERE bridge = $1 AND space = $2 AND (expires IS NULL OR expires > $3) ORDER BY key";
                self.store.read(sql, args![&*self.name, space, now]).await?
            }
        };
        rows.iter().map(|row| Ok((row.text(0)?, row.bytes(1)?))).collect()
    }

    /// Changes the bridge's small state, all or nothing; committed when it returns.
    ///
    /// # Errors
    /// The store failed; nothing changed.
    pub async fn store(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.kept.note(&changes);
        self.store
            .write((self.name.to_string(), changes), |tx, (bridge, changes)| {
                Box::pin(async move {
                    for change in changes {
                        let Change { space, key, user, value, expires, .. } = change;
                        let Some(value) = value else {
                            let sql = "DELETE FROM state WHERE bridge = $1 AND space = $2 AND key = $3";
                            tx.execute(sql, args![bridge, space, key]).await?;
                            continue;
                        };
                        let sql = "INSERT INTO state (bridge, space, key, person, value, expires) VALUES ($1, $2, $3, $4, $5, $6) \
                                   ON CONFLICT (bridge, space, key) DO UPDATE SET person = excluded.person, value = excluded.value, expires = excluded.expires";
                        let (person, expires) = (user.as_ref().map(BareJid::as_str), expires.map(millis));
                        tx.execute(sql, args![bridge, space, key, person, value, expires]).await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// Removes what has expired; returns how many rows. To be called now and then; [`load`](Self::load) and [`list`](Self::list) leave expired rows out anyhow.
    ///
    /// # Errors
    /// The store failed; nothing changed.
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        self.sweep_own().await?;
        self.sweep_pictures().await?;
        self.sweep_talks().await?;
        let data = (self.name.to_string(), self.store.clock().now());
        self.store
            .write(data, |tx, (bridge, now)| {
                Box::pin(async move {
                    let sql = "DELETE FROM state WHERE bridge = $1 AND expires <= $2";
                    tx.execute(sql, args![bridge, *now]).await
                })
            })
            .await
    }
}

fn millis(at: SystemTime) -> i64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}
