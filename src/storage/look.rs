//! A look at the database that changes nothing: for `isthmus check` and for lists while no instance runs.

use std::str::FromStr;
use std::time::Duration;

use isthmus_bridge::StoreError;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use super::engine::Pools;
use super::{Arg, Open, OpenError, Row, migrations};

/// An open database that is only read.
pub struct Look {
    pools: Pools,
}

impl std::fmt::Debug for Look {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Look").finish_non_exhaustive()
    }
}

impl Look {
    /// Connects; `None` where nothing has been stored yet (no file, no tables). Neither makes nor migrates anything.
    ///
    /// # Errors
    /// As [`Store::open`](super::Store::open).
    pub async fn open(how: &Open) -> Result<Option<Self>, OpenError> {
        let look = if let Some(rest) = how.url.strip_prefix("sqlite:") {
            let path = how.data_dir.join(rest.trim_start_matches("//"));
            if !path.exists() {
                return Ok(None);
            }
            let options = SqliteConnectOptions::new().filename(&path).read_only(true);
            let pool = SqlitePoolOptions::new().max_connections(1).acquire_timeout(Duration::from_secs(5));
            let pool = pool.connect_with(options.busy_timeout(Duration::from_secs(5))).await;
            let pool = pool.map_err(|error| OpenError::File(path, error.to_string()))?;
            Self { pools: Pools::Sqlite { readers: pool.clone(), writer: pool } }
        } else {
            let options = PgConnectOptions::from_str(&how.url).map_err(|error| OpenError::Url(error.to_string()))?;
            let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(Duration::from_secs(5));
            let pool = pool.connect_with(options.application_name("isthmus check")).await;
            let pool = pool.map_err(|error| OpenError::Server(error.to_string()))?;
            Self { pools: Pools::Postgres { readers: pool.clone(), writer: pool } }
        };
        let known = migrations::ALL.last().map_or(0, |(step, ..)| *step);
        match look.rows("SELECT MAX(step) FROM schema_steps", Vec::new()).await {
            Ok(rows) => match rows.first().map(|row| row.opt_int(0)).transpose()?.flatten() {
                Some(found) if found > known => Err(OpenError::Newer { found, known }),
                Some(_) => Ok(Some(look)),
                None => Ok(None),
            },
            // The table is not there yet: both engines name it.
            Err(StoreError::Fault(words)) if words.contains("schema_steps") => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Runs one query.
    ///
    /// # Errors
    /// The engine's.
    pub async fn rows(&self, sql: &'static str, args: Vec<Arg>) -> Result<Vec<Row>, StoreError> {
        self.pools.reader().await?.fetch(sql, args).await
    }

    /// Closes the connection.
    pub async fn close(self) {
        self.pools.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Store;

    #[tokio::test]
    async fn a_look_makes_nothing_and_sees_what_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let how = Open::new("sqlite://look.db", folder.path());
        assert!(Look::open(&how).await.expect("no fault").is_none(), "there is no file");
        assert!(!folder.path().join("look.db").exists(), "the look made a file");
        let store = Store::open(how.clone()).await.expect("made");
        let look = Look::open(&how).await.expect("no fault").expect("tables");
        assert_eq!(look.rows("SELECT key FROM outbox", Vec::new()).await.expect("read").len(), 0);
        look.close().await;
        drop(store);
    }

    #[tokio::test]
    async fn what_is_no_database_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("x.db"), "this is a text file and no database at all").expect("written");
        let error = Look::open(&Open::new("sqlite://x.db", folder.path())).await.expect_err("a fault").to_string();
        assert!(error.contains("not a database"), "{error}");
    }
}
