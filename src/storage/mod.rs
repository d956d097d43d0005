//! One [`Store`] over SQLite or PostgreSQL: two typed pools for reading, one writer that merges waiting work into one commit.
//!
//! # Adding a table and its functions
//!
//! 1. `migrations/NNNN_name.sql` with the next free number, and its line in [`migrations::ALL`]. One text serves both engines: write
//!    `INTEGER` (64 bits: numbers, booleans as 0/1, times as milliseconds since the epoch), `TEXT`, `BLOB`, and `INTEGER PRIMARY KEY`
//!    for a counter. On PostgreSQL the type words become `BIGINT`, `TEXT`, `BYTEA` and an identity column.
//! 2. A file with `impl Store` that has one function per question. SQL that runs on both engines needs no case: `$1` placeholders,
//!    `ON CONFLICT … DO UPDATE`, `RETURNING`; no `INSERT OR REPLACE`, no `SUM` without a cast, no boolean columns.
//!
//! ```ignore
//! impl Store {
//!     /// A write: the data go by value, because the writer runs an operation a second time when its first commit failed.
//!     pub async fn put_note(&self, user: &BareJid, words: &str) -> Result<bool, StoreError> {
//!         self.write((user.to_string(), words.to_owned()), |tx, (user, words)| Box::pin(async move {
//!             let now = tx.now();
//!             let changed = tx
//!                 .execute("INSERT INTO notes (person, words, at) VALUES ($1, $2, $3) ON CONFLICT (person) DO NOTHING",
//!                          args![user, words, now])
//!                 .await?;
//!             Ok(changed == 1)
//!         })).await
//!     }
//!
//!     /// A read: from one of the readers; it sees every write that has returned.
//!     pub async fn note(&self, user: &BareJid) -> Result<Option<String>, StoreError> {
//!         let rows = self.read("SELECT words FROM notes WHERE person = $1", args![user.as_str()]).await?;
//!         rows.first().map(|row| row.text(0)).transpose()
//!     }
//! }
//! ```
//!
//! Laws: what [`Store::write`] returned `Ok` for is on disk. An operation that returns an error has changed nothing, and has not failed
//! any other. Business answers ("taken", "too late") belong into the value, not into the error.

mod bells;
mod clock;
mod engine;
mod look;
pub mod migrations;
mod open;
pub mod people;
pub mod seal;
mod writer;

pub(crate) use bells::Queue;
pub use clock::Clock;
pub(crate) use clock::millis;
pub use engine::{Arg, Row, Tx};
pub use isthmus_bridge::{DeliveryKey, StoreError};
pub use look::Look;
pub use open::{Open, OpenError};
pub use seal::{MacMaker, Seal};

use std::sync::Arc;

use futures_util::future::BoxFuture;

use engine::Pools;
use writer::{Turn, Writer};

/// Makes the list of arguments of a statement: anything that [`Arg`] is made from.
#[macro_export]
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::storage::Arg::from($value)),*] };
}
pub use crate::args;

/// The gateway's durable state. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    pools: Pools,
    writer: Writer,
    clock: Clock,
    instance: String,
    bells: bells::Bells,
    /// Held for as long as the store is open: a second process on the same SQLite file is turned away.
    lock: std::sync::Mutex<Option<std::fs::File>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("engine", &self.engine()).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the database, brings its schema up to date and starts the writer.
    ///
    /// # Errors
    /// Says in one sentence what is wrong and what can be done: another process has the file, the schema is newer than this program, …
    pub async fn open(how: Open) -> Result<Self, OpenError> {
        open::open(how).await
    }

    /// Runs `op` in the writer's next commit and returns when that is on disk.
    ///
    /// `op` may run more than once (only one run is kept), so it takes `data` by reference and does nothing but SQL.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: nothing was changed, try again later (locked, disk full, restarting). [`StoreError::Fault`]: a fault of the operation.
    pub async fn write<D, T, F>(&self, data: D, op: F) -> Result<T, StoreError>
    where
        D: Send + Sync + 'static,
        T: Send + 'static,
        F: for<'t> Fn(&'t mut Tx, &'t D) -> BoxFuture<'t, Result<T, StoreError>> + Send + 'static,
    {
        self.inner.writer.submit(data, op, Turn::Next).await
    }

    /// As [`write`](Self::write), for what nobody waits for: it goes behind all that is waiting for a commit, for at most 300 ms.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn write_behind<D, T, F>(&self, data: D, op: F) -> Result<T, StoreError>
    where
        D: Send + Sync + 'static,
        T: Send + 'static,
        F: for<'t> Fn(&'t mut Tx, &'t D) -> BoxFuture<'t, Result<T, StoreError>> + Send + 'static,
    {
        self.inner.writer.submit(data, op, Turn::Behind).await
    }

    /// Operations that the writer has not taken up yet.
    #[cfg(test)]
    pub(crate) fn queued(&self) -> usize {
        self.inner.writer.queued()
    }

    /// Runs one query on a reader.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn read(&self, sql: &'static str, args: Vec<Arg>) -> Result<Vec<Row>, StoreError> {
        self.inner.pools.reader().await?.fetch(sql, args).await
    }

    /// A reader for several queries in a row. They do not form one transaction.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn reader(&self) -> Result<Tx, StoreError> {
        let mut tx = self.inner.pools.reader().await?;
        tx.set_now(self.inner.clock.now());
        Ok(tx)
    }

    /// The clock of this process, in milliseconds since the epoch (virtual in tests). Leases go by [`Tx::now`], the database's.
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// The bell of a bridge's queue.
    pub(crate) fn bell(&self, queue: Queue, bridge: &str) -> Arc<tokio::sync::Notify> {
        self.inner.bells.of(queue, bridge)
    }

    /// Whether other processes may use the same database.
    pub fn is_shared(&self) -> bool {
        matches!(self.inner.pools, Pools::Postgres { .. })
    }

    /// This run of the program, unguessable: the owner of its leases.
    pub fn instance(&self) -> &str {
        &self.inner.instance
    }

    /// `SQLite` or `PostgreSQL`.
    pub fn engine(&self) -> &'static str {
        if self.is_shared() { "PostgreSQL" } else { "SQLite" }
    }

    /// Commits what is queued and closes all connections. Later writes fail with [`StoreError::Unavailable`].
    pub async fn close(&self) {
        self.inner.writer.stop().await;
        self.inner.pools.close().await;
        drop(self.inner.lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take());
    }
}

/// A fresh unguessable name of `[a-z0-9]` (130 bits): keys, row ids, lease owners.
pub fn fresh_id() -> String {
    fresh(str::to_owned)
}

/// The same as the key of an event that is on its way.
pub fn fresh_key() -> DeliveryKey {
    fresh(|id| DeliveryKey::new(id))
}

fn fresh<T>(take: impl FnOnce(&str) -> T) -> T {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let (mut bits, last): (u128, u8) = rand::random();
    let mut id = [0; 26];
    for letter in &mut id[..25] {
        *letter = ALPHABET[(bits & 31) as usize];
        bits >>= 5;
    }
    // 125 bits are spent; the last letter has five of its own.
    id[25] = ALPHABET[usize::from(last & 31)];
    take(std::str::from_utf8(&id).unwrap_or_default())
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
