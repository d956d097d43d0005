//! What both engines have in common: a connection, arguments, rows, and the meaning of an error.

use std::sync::Arc;

use isthmus_bridge::StoreError;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Database, Decode, PgPool, Postgres, Row as _, Sqlite, SqlitePool, Type};

/// An argument of a statement. Made by `From`, mostly through [`args!`](crate::args).
#[derive(Debug, Clone)]
pub enum Arg {
    /// A 64-bit number, a boolean (0/1), a time in milliseconds; or NULL.
    Int(Option<i64>),
    /// Text or NULL. A NUL character, which PostgreSQL cannot hold, becomes U+FFFD.
    Text(Option<String>),
    /// The same, shared: the statement holds no copy. Without NUL.
    Shared(Option<Arc<str>>),
    /// Bytes or NULL.
    Blob(Option<Vec<u8>>),
}

macro_rules! arg {
    ($($from:ty => $make:expr),* $(,)?) => { $(
        impl From<$from> for Arg {
            fn from(value: $from) -> Self {
                let make: fn($from) -> Self = $make;
                make(value)
            }
        }
    )* };
}
arg! {
    i64 => |v| Self::Int(Some(v)),
    &i64 => |v| Self::Int(Some(*v)),
    i32 => |v| Self::Int(Some(v.into())),
    u32 => |v| Self::Int(Some(v.into())),
    bool => |v| Self::Int(Some(v.into())),
    Option<i64> => Self::Int,
    &str => |v| Self::Text(Some(clean(v))),
    &String => |v| Self::Text(Some(clean(v))),
    String => |v| Self::Text(Some(clean(&v))),
    Option<&str> => |v| Self::Text(v.map(clean)),
    Option<String> => |v| Self::Text(v.as_deref().map(clean)),
    &Option<String> => |v| Self::Text(v.as_deref().map(clean)),
    &Arc<str> => |v| Self::Shared(Some(v.clone())),
    &Option<Arc<str>> => |v| Self::Shared(v.clone()),
    &[u8] => |v| Self::Blob(Some(v.to_vec())),
    Vec<u8> => |v| Self::Blob(Some(v)),
    &Vec<u8> => |v| Self::Blob(Some(v.clone())),
    Option<Vec<u8>> => Self::Blob,
}

fn clean(text: &str) -> String {
    if text.contains('\0') { text.replace('\0', "\u{FFFD}") } else { text.to_owned() }
}

/// The pools of readers, and where the writer gets its connection.
pub(super) enum Pools {
    Sqlite { readers: SqlitePool, writer: SqlitePool },
    Postgres { readers: PgPool, writer: PgPool },
}

impl Pools {
    pub(super) async fn reader(&self) -> Result<Tx, StoreError> {
        let conn = match self {
            Self::Sqlite { readers, .. } => Conn::Sqlite(readers.acquire().await.map_err(store_error)?),
            Self::Postgres { readers, .. } => Conn::Postgres(readers.acquire().await.map_err(store_error)?),
        };
        Ok(Tx { conn, now: 0 })
    }

    pub(super) async fn writer(&self) -> Result<Tx, StoreError> {
        let conn = match self {
            Self::Sqlite { writer, .. } => Conn::Sqlite(writer.acquire().await.map_err(store_error)?),
            Self::Postgres { writer, .. } => Conn::Postgres(writer.acquire().await.map_err(store_error)?),
        };
        Ok(Tx { conn, now: 0 })
    }

    pub(super) fn shared(&self) -> Self {
        match self {
            Self::Sqlite { readers, writer } => Self::Sqlite { readers: readers.clone(), writer: writer.clone() },
            Self::Postgres { readers, writer } => Self::Postgres { readers: readers.clone(), writer: writer.clone() },
        }
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite { readers, writer } => {
                readers.close().await;
                writer.close().await; // last: the last connection to go folds the WAL back into the file
            }
            Self::Postgres { readers, writer } => {
                readers.close().await;
                writer.close().await;
            }
        }
    }
}

enum Conn {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
}

/// A connection on which statements run: inside the writer's transaction, or a reader.
pub struct Tx {
    conn: Conn,
    now: i64,
}

impl std::fmt::Debug for Tx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tx").field("now", &self.now).finish_non_exhaustive()
    }
}

impl Tx {
    /// The database's clock at the start of this commit, in milliseconds since the epoch.
    pub fn now(&self) -> i64 {
        self.now
    }

    pub(super) fn set_now(&mut self, now: i64) {
        self.now = now;
    }

    /// Runs a statement; gives the number of rows that it changed.
    ///
    /// # Errors
    /// Every error of the engine, sorted into [`StoreError`].
    pub async fn execute(&mut self, sql: &'static str, args: Vec<Arg>) -> Result<u64, StoreError> {
        let done = match &mut self.conn {
            Conn::Sqlite(conn) => {
                let conn: &mut SqliteConnection = conn;
                bind::<Sqlite, _>(sqlx::query(sql), args).execute(conn).await.map(|done| done.rows_affected())
            }
            Conn::Postgres(conn) => {
                let conn: &mut PgConnection = conn;
                bind::<Postgres, _>(sqlx::query(sql), args).execute(conn).await.map(|done| done.rows_affected())
            }
        };
        done.map_err(store_error)
    }

    /// Runs a query, or a statement with `RETURNING`.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn fetch(&mut self, sql: &'static str, args: Vec<Arg>) -> Result<Vec<Row>, StoreError> {
        let rows = match &mut self.conn {
            Conn::Sqlite(conn) => {
                let conn: &mut SqliteConnection = conn;
                let rows = bind::<Sqlite, _>(sqlx::query(sql), args).fetch_all(conn).await;
                rows.map(|rows| rows.into_iter().map(Row::Sqlite).collect())
            }
            Conn::Postgres(conn) => {
                let conn: &mut PgConnection = conn;
                let rows = bind::<Postgres, _>(sqlx::query(sql), args).fetch_all(conn).await;
                rows.map(|rows| rows.into_iter().map(Row::Postgres).collect())
            }
        };
        rows.map_err(store_error)
    }

    /// The first row, if there is one.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn fetch_one(&mut self, sql: &'static str, args: Vec<Arg>) -> Result<Option<Row>, StoreError> {
        Ok(self.fetch(sql, args).await?.into_iter().next())
    }

    /// Several statements without arguments, as a migration has them.
    pub(super) async fn script(&mut self, sql: String) -> Result<(), StoreError> {
        let sql = sqlx::AssertSqlSafe(sql);
        let done = match &mut self.conn {
            Conn::Sqlite(conn) => sqlx::raw_sql(sql).execute(&mut **conn).await.map(|_| ()),
            Conn::Postgres(conn) => sqlx::raw_sql(sql).execute(&mut **conn).await.map(|_| ()),
        };
        done.map_err(store_error)
    }

    /// The connection is not to be used again.
    pub(super) fn discard(mut self) {
        match &mut self.conn {
            Conn::Sqlite(conn) => conn.close_on_drop(),
            Conn::Postgres(conn) => conn.close_on_drop(),
        }
    }

    /// For the few statements that the engines need in other words.
    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self.conn, Conn::Postgres(_))
    }
}

type Query<'q, DB> = sqlx::query::Query<'q, DB, <DB as Database>::Arguments>;

fn bind<'q, DB, A>(query: Query<'q, DB>, args: A) -> Query<'q, DB>
where
    DB: Database,
    A: IntoIterator<Item = Arg>,
    Option<i64>: sqlx::Encode<'q, DB> + Type<DB>,
    Option<String>: sqlx::Encode<'q, DB> + Type<DB>,
    Option<Arc<str>>: sqlx::Encode<'q, DB> + Type<DB>,
    Option<Vec<u8>>: sqlx::Encode<'q, DB> + Type<DB>,
{
    args.into_iter().fold(query, |query, arg| match arg {
        Arg::Int(value) => query.bind(value),
        Arg::Text(value) => query.bind(value),
        Arg::Shared(value) => query.bind(value),
        Arg::Blob(value) => query.bind(value),
    })
}

/// One row of a result; columns by position.
pub enum Row {
    #[doc(hidden)]
    Sqlite(SqliteRow),
    #[doc(hidden)]
    Postgres(PgRow),
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Row") // what stands in it is not for logs
    }
}

impl Row {
    fn get<'r, T>(&'r self, column: usize) -> Result<T, StoreError>
    where
        T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>,
    {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
        .map_err(store_error)
    }

    /// A number. # Errors: no such column, or it holds something else.
    pub fn int(&self, column: usize) -> Result<i64, StoreError> {
        self.get(column)
    }

    /// A number or NULL. # Errors: no such column, or it holds something else.
    pub fn opt_int(&self, column: usize) -> Result<Option<i64>, StoreError> {
        self.get(column)
    }

    /// A number as yes or no. # Errors: no such column, or it holds something else.
    pub fn flag(&self, column: usize) -> Result<bool, StoreError> {
        Ok(self.int(column)? != 0)
    }

    /// Text. # Errors: no such column, or it holds something else.
    pub fn text(&self, column: usize) -> Result<String, StoreError> {
        self.get(column)
    }

    /// Text or NULL. # Errors: no such column, or it holds something else.
    pub fn opt_text(&self, column: usize) -> Result<Option<String>, StoreError> {
        self.get(column)
    }

    /// Bytes. # Errors: no such column, or it holds something else.
    pub fn bytes(&self, column: usize) -> Result<Vec<u8>, StoreError> {
        self.get(column)
    }

    /// Bytes or NULL. # Errors: no such column, or it holds something else.
    pub fn opt_bytes(&self, column: usize) -> Result<Option<Vec<u8>>, StoreError> {
        self.get(column)
    }
}

/// Sorts an engine's error: does it pass by itself (or by the operator's hand), or is it ours?
pub(super) fn store_error(error: sqlx::Error) -> StoreError {
    let passes = match &error {
        sqlx::Error::Database(database) => {
            let code = database.code().unwrap_or_default();
            match code.parse::<u32>() {
                // SQLite primary result codes: BUSY, LOCKED, NOMEM, READONLY, IOERR, FULL, CANTOPEN, PROTOCOL.
                Ok(code) if code < 100_000 && !is_sqlstate(&code.to_string()) => {
                    matches!(code & 0xff, 5 | 6 | 7 | 8 | 10 | 13 | 14 | 15)
                }
                _ => sqlstate_passes(&code),
            }
        }
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut => true,
        sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed | sqlx::Error::Protocol(_) => true,
        _ => false,
    };
    if passes { StoreError::Unavailable(error.to_string()) } else { StoreError::Fault(error.to_string()) }
}

/// An SQLSTATE has five characters; SQLite's extended codes have at most four digits.
fn is_sqlstate(code: &str) -> bool {
    code.len() == 5
}

/// PostgreSQL's classes (appendix A): connection, no resources, operator intervention, serialisation and deadlock, read-only standby, lock not to be had.
fn sqlstate_passes(code: &str) -> bool {
    ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class))
        || matches!(code, "40001" | "40P01" | "25006" | "55P03" | "25P03")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlstates_that_pass() {
        for code in ["57P01", "53300", "08006", "40001", "25006"] {
            assert!(sqlstate_passes(code), "{code}");
        }
        for code in ["23505", "42P01", "22021"] {
            assert!(!sqlstate_passes(code), "{code}");
        }
    }
}
