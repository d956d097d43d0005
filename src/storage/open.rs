//! Opening: which engine, who else has it, is the schema ours.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use isthmus_bridge::StoreError;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::engine::Pools;
use super::writer::Writer;
use super::{Clock, Inner, Store, fresh_id, migrations};

/// How to open a [`Store`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Open {
    /// `sqlite://file` (a relative file lies in `data_dir`) or `postgres://user:password@host/database`.
    pub url: String,
    /// Where the embedded database lies.
    pub data_dir: PathBuf,
    /// The clock; tests give their own.
    pub clock: Clock,
}

impl Open {
    /// By URL, with the system's clock.
    pub fn new(url: impl Into<String>, data_dir: impl Into<PathBuf>) -> Self {
        Self { url: url.into(), data_dir: data_dir.into(), clock: Clock::system() }
    }

    /// With this clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }
}

/// Why the store did not open; one sentence each, for the operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The URL is neither of the two.
    #[error("database url: expected sqlite://FILE or postgres://USER:PASSWORD@HOST/DATABASE ({0})")]
    Url(String),
    /// A second process on the same file.
    #[error("another isthmus is using {0}; stop it first, or ask it over its control socket")]
    InUse(PathBuf),
    /// The file cannot be opened or made.
    #[error(
        "cannot open the database {0}: {1}; check that the folder exists and belongs to the user that isthmus runs as"
    )]
    File(PathBuf, String),
    /// A newer program has changed the schema.
    #[error(
        "the database was written by a newer isthmus (its schema is {found}, this program knows {known}); use the newer program or a backup"
    )]
    Newer {
        /// The schema that was found.
        found: i64,
        /// The newest that this program knows.
        known: i64,
    },
    /// The server cannot be reached, or refuses us.
    #[error("cannot use the database server: {0}")]
    Server(String),
    /// A fault further down.
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(super) async fn open(how: Open) -> Result<Store, OpenError> {
    let (pools, lock) = if how.url.starts_with("sqlite:") {
        open_sqlite(&how).await?
    } else if how.url.starts_with("postgres:") || how.url.starts_with("postgresql:") {
        (open_postgres(&how).await?, None)
    } else {
        return Err(OpenError::Url("unknown scheme".into())); // the URL itself may hold a password
    };
    let mut tx = pools.writer().await?;
    migrations::run(&mut tx).await?;
    drop(tx);
    let instance = fresh_id();
    let writer = Writer::start(pools.shared(), how.clock.clone(), instance.clone()).await?;
    Ok(Store {
        inner: Arc::new(Inner {
            pools,
            writer,
            clock: how.clock,
            instance,
            bells: Default::default(),
            lock: lock.into(),
        }),
    })
}

async fn open_sqlite(how: &Open) -> Result<(Pools, Option<File>), OpenError> {
    let name = how.url.trim_start_matches("sqlite:").trim_start_matches("//");
    if name.is_empty() || name.starts_with(':') || name.contains('?') {
        return Err(OpenError::Url("a file name is needed, without parameters".into()));
    }
    let path = how.data_dir.join(name);
    let lock = lock_beside(&path)?;
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5))
        .foreign_keys(true)
        .pragma("wal_autocheckpoint", "4000") // pages: a checkpoint syncs twice, in the way of a commit
        .pragma("cache_size", "-2000") // KiB for each connection; the system keeps the rest of the file
        .statement_cache_capacity(200);
    let file_error = |error: sqlx::Error| OpenError::File(path.clone(), error.to_string());
    let pool = |max| SqlitePoolOptions::new().max_connections(max).acquire_timeout(Duration::from_secs(5));
    let writer = pool(1).connect_with(options.clone()).await.map_err(file_error)?;
    let readers = pool(2).connect_lazy_with(options.pragma("query_only", "1"));
    Ok((Pools::Sqlite { readers, writer }, Some(lock)))
}

/// SQLite's own exclusive mode would lock our readers out too, so the lock lies in a file beside the database. The kernel drops it when the process ends.
fn lock_beside(path: &Path) -> Result<File, OpenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = File::options().create(true).truncate(false).write(true).open(PathBuf::from(name));
    let file = file.map_err(|error| OpenError::File(path.to_owned(), error.to_string()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(OpenError::File(path.to_owned(), error.to_string())),
    }
}

async fn open_postgres(how: &Open) -> Result<Pools, OpenError> {
    let options = PgConnectOptions::from_str(&how.url).map_err(|error| OpenError::Url(error.to_string()))?;
    let options = options.application_name("isthmus").options([("lock_timeout", "10s"), ("statement_timeout", "60s")]);
    let pool = |max| PgPoolOptions::new().max_connections(max).acquire_timeout(Duration::from_secs(5));
    let server_error = |error: sqlx::Error| OpenError::Server(error.to_string());
    let writer = pool(1).connect_with(options.clone()).await.map_err(server_error)?;
    Ok(Pools::Postgres { readers: pool(4).connect_lazy_with(options), writer })
}
