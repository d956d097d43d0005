//! Lists out of the database while no instance runs. What changes something is left to the running gateway, which tells the people concerned.

use async_trait::async_trait;
use isthmus_bridge::StoreError;

use super::control::{ContactRow, QueueRow, Records, UserRow};
use crate::args;
use crate::config::Config;
use crate::storage::people::shown;
use crate::storage::{Look, Open, OpenError, Row};
use secrecy::ExposeSecret;

/// The database of an instance that does not run. `None`: nothing has been stored yet.
#[derive(Debug)]
pub struct Stored {
    look: Option<Look>,
}

/// How a configuration's database is opened.
pub fn how(config: &Config) -> Open {
    Open::new(config.database.url().expose_secret(), &config.data_dir)
}

impl Stored {
    /// Opens it for reading.
    ///
    /// # Errors
    /// In words for the operator.
    pub async fn open(config: &Config) -> Result<Self, OpenError> {
        Ok(Self { look: Look::open(&how(config)).await? })
    }
}

const START: &str = "this needs the running gateway: start it with isthmus run, or systemctl start isthmus";

#[async_trait]
impl Records for Stored {
    async fn users(&self, bridge: Option<&str>) -> Result<Vec<UserRow>, String> {
        let Some(look) = &self.look else { return Ok(Vec::new()) };
        let sql = "SELECT r.bridge, r.person, r.at, MIN(i.own) FROM registrations r \
                   LEFT JOIN identities i ON i.bridge = r.bridge AND i.person = r.person \
                   WHERE $1 = '' OR r.bridge = $1 GROUP BY r.bridge, r.person, r.at ORDER BY r.bridge, r.person";
        let rows = look.rows(sql, args![bridge.unwrap_or_default()]).await.map_err(words)?;
        rows.iter()
            .map(|row| {
                Ok(UserRow {
                    bridge: row.text(0)?,
                    user: row.text(1)?,
                    since: Some(row.int(2)?),
                    own: row.opt_text(3)?,
                })
            })
            .collect::<Result<_, StoreError>>()
            .map_err(words)
    }

    async fn user_remove(&self, _: &str, _: &str) -> Result<(), String> {
        Err(START.to_owned())
    }

    async fn contacts(&self, bridge: Option<&str>, user: Option<&str>) -> Result<Vec<ContactRow>, String> {
        let Some(look) = &self.look else { return Ok(Vec::new()) };
        let rows = look.rows(CONTACTS, args![bridge.unwrap_or_default(), user.unwrap_or_default()]).await;
        rows.map_err(words)?.iter().map(contact).collect::<Result<_, _>>().map_err(words)
    }

    async fn queue(&self, bridge: Option<&str>) -> Result<Vec<QueueRow>, String> {
        let Some(look) = &self.look else { return Ok(Vec::new()) };
        let sql = "SELECT key, bridge, person, sender, state, tries, accepted, due, reason FROM outbox \
                   WHERE $1 = '' OR bridge = $1 ORDER BY seq";
        let rows = look.rows(sql, args![bridge.unwrap_or_default()]).await.map_err(words)?;
        rows.iter()
            .map(|row| {
                let sender: Option<serde_json::Value> = row.opt_text(3)?.and_then(|s| serde_json::from_str(&s).ok());
                let to = sender.as_ref().and_then(|s| s.get("to")?.as_str()).map(str::to_owned);
                Ok(QueueRow {
                    id: row.text(0)?,
                    bridge: row.text(1)?,
                    user: row.text(2)?,
                    to: to.into_iter().collect(),
                    state: state(row.int(4)?).to_owned(),
                    attempts: u32::try_from(row.int(5)?).unwrap_or(u32::MAX),
                    at: row.int(6)?,
                    next: Some(row.int(7)?),
                    reason: row.opt_text(8)?,
                })
            })
            .collect::<Result<_, StoreError>>()
            .map_err(words)
    }

    async fn queue_retry(&self, _: &str) -> Result<(), String> {
        Err(START.to_owned())
    }

    async fn queue_cancel(&self, _: &str) -> Result<(), String> {
        Err(START.to_owned())
    }
}

/// Contacts of one bridge and user, or (`''`) of all.
pub(crate) const CONTACTS: &str = "SELECT bridge, person, address, name, sees, seen FROM contacts \
     WHERE ($1 = '' OR bridge = $1) AND ($2 = '' OR person = $2) ORDER BY bridge, person, address";

/// A row of [`CONTACTS`].
pub(crate) fn contact(row: &Row) -> Result<ContactRow, StoreError> {
    Ok(ContactRow {
        bridge: row.text(0)?,
        user: row.text(1)?,
        address: shown(&row.text(2)?),
        name: row.opt_text(3)?,
        sees: row.int(4)? == SUBSCRIBED,
        seen: row.int(5)? == SUBSCRIBED,
    })
}

/// A subscription that stands (0: none, 1: asked).
const SUBSCRIBED: i64 = 2;

fn state(number: i64) -> &'static str {
    match number {
        0 => "queued",
        1 => "claimed",
        2 => "started",
        _ => "quarantined",
    }
}

fn words(error: StoreError) -> String {
    error.to_string()
}
