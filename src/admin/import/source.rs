//! The other program's database, read only: SQLite file or PostgreSQL server, whatever its tables are.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use isthmus_bridge::SourceTable;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Row};

/// Rows of one step: what is taken of them is written together.
const STEP: usize = 2000;

/// An open one.
pub(super) enum Source {
    /// A file.
    Sqlite(Box<SqliteConnection>),
    /// A server.
    Postgres(Box<PgConnection>),
}

impl Source {
    /// Opens `postgres://…` or a file. `Err` is a sentence; it never holds the address, which may have a password in it.
    pub(super) async fn open(name: &str) -> Result<Self, String> {
        if name.starts_with("postgres://") || name.starts_with("postgresql://") {
            let options = PgConnectOptions::from_str(name).map_err(|e| format!("the database's address: {e}"))?;
            let connection = options.application_name("isthmus import").connect().await;
            return connection.map(|c| Self::Postgres(Box::new(c))).map_err(|e| format!("the database server: {e}"));
        }
        let path = Path::new(name);
        if !path.is_file() {
            return Err(format!("there is no file {name}"));
        }
        // Not "immutable": the program may have left a journal that has to be played back first.
        let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(Duration::from_secs(5));
        let connection = options.connect().await;
        connection.map(|c| Self::Sqlite(Box::new(c))).map_err(|e| format!("{name}: {e}"))
    }

    /// The columns of a table; none where there is no such table.
    pub(super) async fn columns(&mut self, table: &str) -> Result<Vec<String>, String> {
        let names = match self {
            Self::Sqlite(c) => {
                let rows = sqlx::query("SELECT name FROM pragma_table_info($1)").bind(table).fetch_all(&mut **c).await;
                rows.and_then(|rows| rows.iter().map(|row| row.try_get(0)).collect())
            }
            Self::Postgres(c) => {
                let sql = "SELECT column_name::text FROM information_schema.columns \
                           WHERE table_name = $1 AND table_schema = ANY (current_schemas(false)) ORDER BY ordinal_position";
                let rows = sqlx::query(sql).bind(table).fetch_all(&mut **c).await;
                rows.and_then(|rows| rows.iter().map(|row| row.try_get(0)).collect())
            }
        };
        names.map_err(|e| e.to_string())
    }

    /// How many rows have something in a column of which the kind knows nothing.
    pub(super) async fn filled(&mut self, table: &str, column: &str) -> Result<i64, String> {
        let sql = AssertSqlSafe(format!("SELECT COUNT(*) FROM {} WHERE {} IS NOT NULL", quoted(table), quoted(column)));
        let count = match self {
            Self::Sqlite(c) => sqlx::query(sql).fetch_one(&mut **c).await.and_then(|row| row.try_get(0)),
            Self::Postgres(c) => sqlx::query(sql).fetch_one(&mut **c).await.and_then(|row| row.try_get(0)),
        };
        count.map_err(|e| e.to_string())
    }

    /// Reads a table, every value as text, and gives it step by step. The rows of one step are given before the next one is read.
    pub(super) async fn rows(
        &mut self,
        table: &SourceTable,
        mut step: impl AsyncFnMut(Vec<Vec<Option<String>>>) -> Result<(), String>,
    ) -> Result<(), String> {
        let order: Vec<String> = table.order.iter().map(|c| quoted(c)).collect();
        let width = table.columns.len();
        // Bytes that are no UTF-8 are possible in SQLite's text; PostgreSQL allows none.
        let what: Vec<String> = match self {
            Self::Sqlite(_) => table.columns.iter().map(|c| format!("CAST({} AS BLOB)", quoted(c))).collect(),
            Self::Postgres(_) => table.columns.iter().map(|c| format!("CAST({} AS TEXT)", quoted(c))).collect(),
        };
        let sql = AssertSqlSafe(format!(
            "SELECT {} FROM {} ORDER BY {}",
            what.join(", "),
            quoted(table.name),
            order.join(", ")
        ));
        match self {
            Self::Sqlite(c) => {
                let rows = sqlx::query(sql).fetch(&mut **c).map_err(|e| e.to_string()).and_then(async |row| {
                    let value = |n| row.try_get::<Option<Vec<u8>>, _>(n).map_err(|e| e.to_string());
                    (0..width).map(|n| Ok(value(n)?.map(|v| String::from_utf8_lossy(&v).into_owned()))).collect()
                });
                let mut steps = std::pin::pin!(rows.try_chunks(STEP));
                while let Some(rows) = steps.next().await {
                    step(rows.map_err(|e| e.1)?).await?;
                }
            }
            Self::Postgres(c) => {
                let rows = sqlx::query(sql).fetch(&mut **c).map_err(|e| e.to_string()).and_then(async |row| {
                    (0..width).map(|n| row.try_get::<Option<String>, _>(n).map_err(|e| e.to_string())).collect()
                });
                let mut steps = std::pin::pin!(rows.try_chunks(STEP));
                while let Some(rows) = steps.next().await {
                    step(rows.map_err(|e| e.1)?).await?;
                }
            }
        }
        Ok(())
    }
}

/// A name of the kind's, as an identifier.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
