//! What users and their contacts said to each other, for the user alone. Written behind: a row is on disk within a second or so, and none of them holds
//! up a message.

use std::sync::{Mutex, MutexGuard, PoisonError};

use isthmus_bridge::{Address, BareJid, StoreError};

use super::{Persons, key};
use crate::args;

/// Lines are kept for 30 days: milliseconds.
const KEPT: i64 = 30 * 24 * 3_600_000;
/// Lines that may wait for the disk; more are not kept.
const WAITING: usize = 10_000;
/// Lines written in one step, so that no commit waits for long.
const STEP: usize = 200;
/// The longest line kept, in bytes.
const LONGEST: usize = 16 * 1024;

/// One line of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Talk {
    /// When, in milliseconds since the epoch.
    pub at: i64,
    /// Whether the user said it.
    pub own: bool,
    /// What.
    pub body: String,
}

/// A line that is not on disk yet.
#[derive(Debug, Clone)]
struct Line {
    user: String,
    at_key: String,
    talk: Talk,
    /// The id of its stanza: by it an answer names it (XEP-0461).
    stanza: Option<String>,
}

/// Lines that wait.
#[derive(Debug, Default)]
pub(super) struct Talks(Mutex<Vec<Line>>);

impl Talks {
    fn lock(&self) -> MutexGuard<'_, Vec<Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Persons {
    /// Keeps a line, unless the user has switched that off (`record_history`, where the bridge has that setting). Does not wait. `stanza` is
    /// the id of the stanza that it was said with.
    pub fn talked(&self, user: &BareJid, at: &Address, own: bool, body: &str, stanza: Option<&str>) {
        if !matches!(at, Address::Contact(_)) || body.trim().is_empty() || !self.records(user, at) {
            return;
        }
        let mut waiting = self.talks.lock();
        if waiting.len() >= WAITING {
            return;
        }
        let mut end = body.len().min(LONGEST);
        while !body.is_char_boundary(end) {
            end -= 1;
        }
        let talk = Talk { at: self.store.clock().now(), own, body: body[..end].to_owned() };
        waiting.push(Line { user: user.to_string(), at_key: key(at), talk, stanza: stanza.map(str::to_owned) });
    }

    fn records(&self, user: &BareJid, at: &Address) -> bool {
        self.scheme.setting("record_history").is_none() || self.resolved(user, at).bool("record_history")
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// The store failed; what was not written waits on.
    pub async fn flush_talks(&self) -> Result<(), StoreError> {
        loop {
            let step: Vec<Line> = self.talks.lock().iter().take(STEP).cloned().collect();
            if step.is_empty() {
                return Ok(());
            }
            let written = step.len();
            let data = (self.name.to_string(), step);
            self.store
                .write_behind(data, |tx, (bridge, step)| {
                    Box::pin(async move {
                        for line in step {
                            let sql = "INSERT INTO talks (bridge, person, address, at, own, body, stanza) VALUES ($1, $2, $3, $4, $5, $6, $7)";
                            let own = i64::from(line.talk.own);
                            let values = args![bridge, &line.user, &line.at_key, line.talk.at, own, &line.talk.body, &line.stanza];
                            tx.execute(sql, values).await?;
                        }
                        Ok(())
                    })
                })
                .await?;
            let mut waiting = self.talks.lock();
            let written = written.min(waiting.len());
            waiting.drain(..written);
        }
    }

    /// The last lines of a user's conversation with a contact, the oldest of them first.
    ///
    /// # Errors
    /// The store failed.
    pub async fn talk(&self, user: &BareJid, at: &Address, limit: u32) -> Result<Vec<Talk>, StoreError> {
        self.flush_talks().await?;
        let sql = "SELECT at, own, body FROM talks WHERE bridge = $1 AND person = $2 AND address = $3 ORDER BY seq DESC LIMIT $4";
        let rows = self.store.read(sql, args![&*self.name, user.as_str(), key(at), limit]).await?;
        let line = |row: &crate::storage::Row| Ok(Talk { at: row.int(0)?, own: row.int(1)? != 0, body: row.text(2)? });
        let mut all = rows.iter().map(line).collect::<Result<Vec<_>, StoreError>>()?;
        all.reverse();
        Ok(all)
    }

    /// What was said in a user's conversation with a contact by the stanza of this id, where that is remembered.
    ///
    /// # Errors
    /// The store failed.
    pub async fn said_by(&self, user: &BareJid, at: &Address, stanza: &str) -> Result<Option<String>, StoreError> {
        let at_key = key(at);
        let is_it = |line: &&Line| {
            line.user == user.as_str() && line.at_key == at_key && line.stanza.as_deref() == Some(stanza)
        };
        if let Some(line) = self.talks.lock().iter().rev().find(is_it) {
            return Ok(Some(line.talk.body.clone()));
        }
        let sql = "SELECT body FROM talks WHERE bridge = $1 AND person = $2 AND address = $3 AND stanza = $4 ORDER BY seq DESC LIMIT 1";
        let rows = self.store.read(sql, args![&*self.name, user.as_str(), at_key, stanza]).await?;
        rows.first().map(|row| row.text(0)).transpose()
    }

    /// A user goes: what waits of theirs is not written any more.
    pub(super) fn hush(&self, user: &BareJid) {
        self.talks.lock().retain(|line| line.user != user.as_str());
    }

    /// Removes what is past its time.
    ///
    /// # Errors
    /// The store failed; nothing changed.
    pub(super) async fn sweep_talks(&self) -> Result<(), StoreError> {
        let data = (self.name.to_string(), self.store.clock().now() - KEPT);
        self.store
            .write(data, |tx, (bridge, before)| {
                Box::pin(async move {
                    tx.execute("DELETE FROM talks WHERE bridge = $1 AND at < $2", args![bridge, *before]).await
                })
            })
            .await?;
        Ok(())
    }
}
