//! Inspection, cancelling, changing and hurrying what is still queued.

use isthmus_bridge::{Address, BareJid, DeliveryKey, Intent, Message, Outbound, StoreError, Text};

use super::json::{from_json, to_json};
use super::rows::{self, CLAIMED, QUEUED, STARTED, Stored, stored};
use super::{Core, News, Outbox, QueueItem, Sender, Withdrawn, settle};
use crate::args;
use crate::storage::{Queue, Tx};

impl Outbox {
    /// What waits, oldest first: of one bridge and user, or of all. At most `limit`.
    ///
    /// # Errors
    /// The store is away.
    pub async fn list(
        &self,
        bridge: Option<&str>,
        user: Option<&BareJid>,
        limit: u32,
    ) -> Result<Vec<QueueItem>, StoreError> {
        let sql = "SELECT key, bridge, person, sender, stanza_id, state, accepted, due, tries, reason FROM outbox \
                   WHERE (bridge = $1 OR $1 = '') AND (person = $2 OR $2 = '') ORDER BY seq LIMIT $3";
        let rows = self.core.store.read(sql, args![bridge.unwrap_or(""), user.map_or("", BareJid::as_str), limit]);
        rows.await?.iter().map(item).collect()
    }

    /// How many events wait, by bridge.
    ///
    /// # Errors
    /// The store is away.
    pub async fn waiting(&self) -> Result<Vec<(String, i64)>, StoreError> {
        let rows = self.core.store.read("SELECT bridge, COUNT(*) FROM outbox GROUP BY bridge ORDER BY bridge", args![]);
        rows.await?.iter().map(|row| Ok((row.text(0)?, row.int(1)?))).collect()
    }

    /// Cancels the event that a stanza of this user became (a retraction, XEP-0424). Nobody is told: the user asked for it.
    ///
    /// # Errors
    /// Nothing was changed.
    pub async fn cancel(
        &self,
        bridge: &str,
        user: &BareJid,
        to: &Address,
        stanza_id: &str,
    ) -> Result<Withdrawn, StoreError> {
        let which = Which::Stanza(bridge.to_owned(), user.to_string(), to.clone(), stanza_id.to_owned());
        self.withdraw(which, None, false).await
    }

    /// Changes the words of a queued event to those of a correction (XEP-0308).
    ///
    /// # Errors
    /// Nothing was changed.
    pub async fn replace(
        &self,
        bridge: &str,
        user: &BareJid,
        to: &Address,
        stanza_id: &str,
        words: Message,
    ) -> Result<Withdrawn, StoreError> {
        let which = Which::Stanza(bridge.to_owned(), user.to_string(), to.clone(), stanza_id.to_owned());
        self.withdraw(which, Some(words), false).await
    }

    /// Cancels by key, for `queue` commands: of this user, or of anybody (`None`, the administrator). `tell`: the sender hears of it.
    ///
    /// # Errors
    /// Nothing was changed.
    pub async fn cancel_by_key(
        &self,
        key: &DeliveryKey,
        user: Option<&BareJid>,
        tell: bool,
    ) -> Result<Withdrawn, StoreError> {
        self.withdraw(Which::Key(key.to_string(), user.map(ToString::to_string)), None, tell).await
    }

    /// Tries an event at once, and what stands before it in its lane, since order holds. Of this user, or of anybody (`None`).
    /// [`TooLate`](Withdrawn::TooLate): it is being tried already, or cannot be read.
    ///
    /// # Errors
    /// Nothing was changed.
    pub async fn retry_now(&self, key: &DeliveryKey, user: Option<&BareJid>) -> Result<Withdrawn, StoreError> {
        let which = Which::Key(key.to_string(), user.map(ToString::to_string));
        let bridge = self.core.store.write(which, |tx, which| {
            Box::pin(async move {
                let Some(found) = which.find(tx).await? else { return Ok((Withdrawn::Unknown, None)) };
                if found.state != QUEUED {
                    return Ok((Withdrawn::TooLate, None));
                }
                let now = tx.now();
                let sql = "UPDATE outbox SET due = $1 WHERE state = 0 AND due > $1 AND lane = $2 AND \
                           (head = $3 OR seq <= (SELECT seq FROM outbox WHERE key = $4))";
                let head = found.head.as_ref().unwrap_or(&found.key);
                tx.execute(sql, args![now, &found.lane, head, &found.key]).await?;
                hurry(tx, &found.lane).await?;
                Ok((Withdrawn::Queued, Some(found.bridge)))
            })
        });
        let (done, bridge) = bridge.await?;
        if let Some(bridge) = &bridge {
            self.core.store.bell(Queue::Outbox, bridge).notify_one();
        }
        Ok(done)
    }

    async fn withdraw(&self, which: Which, words: Option<Message>, tell: bool) -> Result<Withdrawn, StoreError> {
        let data = (self.core.clone(), which, words, tell);
        let done = self
            .core
            .store
            .write(data, |tx, (core, which, words, tell)| Box::pin(withdraw(tx, core, which, words.as_ref(), *tell)));
        let (done, bridge) = done.await?;
        if let Some(bridge) = bridge {
            self.core.store.bell(Queue::Outbox, &bridge).notify_one();
            self.core.store.bell(Queue::Inbox, &bridge).notify_one();
        }
        Ok(done)
    }
}

/// How an event is named by whoever wants it changed.
enum Which {
    /// Bridge, user, to whom it went, stanza id: what is said to one says nothing of what was said to another.
    Stanza(String, String, Address, String),
    /// Key and, unless it is the administrator who asks, its user.
    Key(String, Option<String>),
}

impl Which {
    async fn find(&self, tx: &mut Tx) -> Result<Option<Stored>, StoreError> {
        let found = match self {
            Self::Stanza(bridge, user, to, id) => {
                let sql = stored!("WHERE bridge = $1 AND person = $2 AND stanza_id = $3 ORDER BY seq DESC LIMIT 1");
                let mut found = rows::load(tx, sql, args![bridge, user, id]).await?;
                found.retain(|stored| stored.event.to.first().is_some_and(|first| first.address == *to));
                found
            }
            Self::Key(key, user) => {
                let sql = stored!("WHERE key = $1 AND (person = $2 OR $2 = '')");
                rows::load(tx, sql, args![key, user.as_deref().unwrap_or("")]).await?
            }
        };
        Ok(found.into_iter().next())
    }

    /// Whether there was such an event once.
    async fn has_ended(&self, tx: &mut Tx) -> Result<bool, StoreError> {
        let found = match self {
            Self::Stanza(bridge, user, _, id) => {
                let sql = "SELECT key FROM messages WHERE bridge = $1 AND person = $2 AND stanza_id = $3 AND key IS NOT NULL LIMIT 1";
                tx.fetch_one(sql, args![bridge, user, id]).await?
            }
            Self::Key(key, user) => {
                let sql = "SELECT key FROM messages WHERE key = $1 AND (person = $2 OR $2 = '')";
                tx.fetch_one(sql, args![key, user.as_deref().unwrap_or("")]).await?
            }
        };
        Ok(found.is_some())
    }
}

/// Takes an event back, or changes its words, unless something of it may have left. A bridge that holds it already finds at
/// [`starting`](isthmus_bridge::Ticket::starting) that it must not send: the attempt number has moved on.
async fn withdraw(
    tx: &mut Tx,
    core: &Core,
    which: &Which,
    words: Option<&Message>,
    tell: bool,
) -> Result<(Withdrawn, Option<String>), StoreError> {
    let Some(found) = which.find(tx).await? else {
        let done = if which.has_ended(tx).await? { Withdrawn::TooLate } else { Withdrawn::Unknown };
        return Ok((done, None));
    };
    let head = found.head.clone().unwrap_or_else(|| found.key.clone());
    let sql = "SELECT key FROM outbox WHERE (key = $1 OR head = $2) AND (state = 2 OR fixed = 1) LIMIT 1";
    if tx.fetch_one(sql, args![&found.key, &head]).await?.is_some() {
        return Ok((Withdrawn::TooLate, None));
    }
    // What was joined with it and is not sent yet goes back to being messages of its own.
    let sql = "UPDATE outbox SET state = 0, head = NULL, attempt = attempt + 1 WHERE head = $1 AND state IN (0, 1)";
    tx.execute(sql, args![&head]).await?;
    match words {
        Some(words) => {
            let event = corrected(found.event, words);
            tx.execute("UPDATE outbox SET event = $1 WHERE key = $2", args![to_json(&event)?, &found.key]).await?;
        }
        None => {
            tx.execute("DELETE FROM outbox WHERE key = $1", args![&found.key]).await?;
            if tell {
                let about = (found.sender.as_ref(), &found.event, found.accepted);
                settle::tell(tx, core, about, &News::Cancelled, &mut false).await?;
            }
            hurry(tx, &found.lane).await?;
        }
    }
    Ok((Withdrawn::Queued, Some(found.bridge)))
}

/// The words change; whom it goes to, what it answers and in which conversation it stands do not.
fn corrected(mut event: Outbound, words: &Message) -> Outbound {
    if let Intent::Send(message) = &mut event.intent {
        message.body.clone_from(&words.body);
        message.files.clone_from(&words.files);
        message.action = words.action;
        if words.subject.is_some() {
            message.subject.clone_from(&words.subject);
        }
    }
    event
}

/// A lane that nobody works is looked at now.
async fn hurry(tx: &mut Tx, lane: &str) -> Result<(), StoreError> {
    let now = tx.now();
    tx.execute("UPDATE lanes SET due = $1 WHERE lane = $2 AND owner IS NULL", args![now, lane]).await?;
    Ok(())
}

fn item(row: &crate::storage::Row) -> Result<QueueItem, StoreError> {
    let sender: Option<Sender> = row.opt_text(3)?.map(|text| from_json(&text)).transpose()?;
    Ok(QueueItem {
        key: row.text(0)?,
        bridge: row.text(1)?,
        user: row.text(2)?,
        to: sender.map(|sender| sender.to).unwrap_or_default(),
        stanza_id: row.opt_text(4)?,
        state: match row.int(5)? {
            QUEUED => "queued",
            CLAIMED => "claimed",
            STARTED => "started",
            _ => "unreadable",
        },
        accepted: row.int(6)?,
        due: row.int(7)?,
        tries: row.int(8)?,
        // Rows of earlier versions hold plain words.
        reason: row.opt_text(9)?.map(|text| from_json(&text).unwrap_or(Text::Plain(text))),
    })
}
