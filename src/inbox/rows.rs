//! The tables of inbound events and their stanzas. All of it runs inside the writer, but for the reading of batches.

use isthmus_bridge::{Event, Inbound, StoreError};

use super::{InboxItem, Rendered, delay, late};
use crate::args;
use crate::outbox::json::{from_json, to_json};
use crate::storage::{Arg, Store, Tx, fresh_id, millis};

pub(crate) const RECEIVED: i64 = 0;
pub(crate) const PREPARED: i64 = 1;
pub(crate) const SENT: i64 = 2;
pub(crate) const TAKEN: i64 = 3;
pub(crate) const QUARANTINED: i64 = 4;

/// A taken row waits for a bounce that long.
pub(crate) const KEPT: i64 = 48 * 3_600_000;
/// So long before the end of a stream the server's word is in doubt: milliseconds.
const DOUBTED: i64 = 5_000;
/// Copies are recognised for that long.
const REMEMBERED: i64 = 14 * 24 * 3_600_000;
/// One window: so many stanzas, or so many bytes.
const WINDOW: usize = 512;
const WINDOW_BYTES: i64 = 1024 * 1024;
/// After a stream has ended so often under a row, the row goes alone.
pub(crate) const SUSPECT: i64 = 2;

/// An event on its way into the table, put into words before the writer sees it.
pub(crate) struct Incoming {
    id: String,
    bridge: String,
    person: String,
    once: Option<String>,
    event: String,
    /// For the message map: address, thread, network, the network's id.
    message: Option<(String, Option<String>, String, Option<String>)>,
    at: i64,
}

impl Incoming {
    pub(crate) fn of(bridge: &str, network: &str, event: &Inbound) -> Result<Self, StoreError> {
        let message = match &event.event {
            Event::Message(message) => {
                let id = event.id.as_ref().map(ToString::to_string);
                Some((to_json(&event.from)?, message.thread.clone(), network.to_owned(), id))
            }
            _ => None,
        };
        Ok(Self {
            id: fresh_id(),
            bridge: bridge.to_owned(),
            person: event.to.to_string(),
            once: event.once.as_ref().map(ToString::to_string),
            event: to_json(event)?,
            message,
            at: millis(event.at),
        })
    }
}

/// The name of an inbound row in the message map.
fn head_of(id: &str) -> String {
    format!("in:{id}")
}

pub(crate) async fn accept(tx: &mut Tx, incoming: &Incoming) -> Result<(), StoreError> {
    let now = tx.now();
    let (bridge, person) = (&incoming.bridge, &incoming.person);
    if let Some(once) = &incoming.once {
        let sql = "INSERT INTO once (bridge, person, once, at) VALUES ($1, $2, $3, $4) ON CONFLICT (bridge, person, once) DO NOTHING";
        if tx.execute(sql, args![bridge, person, once, now]).await? == 0 {
            return Ok(());
        }
    }
    let sql = "INSERT INTO inbox (id, bridge, person, notice, state, due, tries, ends, sends, event, received, changed) \
               VALUES ($1, $2, $3, 0, 0, $4, 0, 0, 0, $5, $4, $4)";
    tx.execute(sql, args![&incoming.id, bridge, person, now, &incoming.event]).await?;
    let Some((address, thread, network, id)) = &incoming.message else { return Ok(()) };
    let sql = "INSERT INTO messages (bridge, person, address, thread, head, accepted, at) VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING seq";
    let values = args![bridge, person, address, thread, head_of(&incoming.id), incoming.at, now];
    let row = tx.fetch_one(sql, values).await?.ok_or_else(|| StoreError::Fault("no row came back".into()))?;
    if let Some(id) = id {
        let sql = "INSERT INTO foreign_ids (bridge, network, id, message, leg, n) VALUES ($1, $2, $3, $4, NULL, 0)";
        tx.execute(sql, args![bridge, network, id, row.int(0)?]).await?;
    }
    Ok(())
}

/// A notice of the core's own: it is rendered already.
pub(crate) async fn append_in(tx: &mut Tx, bridge: &str, person: &str, stanza: &Rendered) -> Result<(), StoreError> {
    let (id, now) = (fresh_id(), tx.now());
    let sql = "INSERT INTO inbox (id, bridge, person, notice, state, due, tries, ends, sends, received, changed) \
               VALUES ($1, $2, $3, 1, 1, $4, 0, 0, 0, $4, $4)";
    tx.execute(sql, args![&id, bridge, person, now]).await?;
    put_stanza(tx, bridge, &id, 0, stanza).await
}

async fn put_stanza(tx: &mut Tx, bridge: &str, row: &str, n: i64, stanza: &Rendered) -> Result<(), StoreError> {
    let sql = "INSERT INTO stanzas (message, n, bridge, id, sender, recipient, xml, open) VALUES ($1, $2, $3, $4, $5, $6, $7, 1)";
    tx.execute(sql, args![row, n, bridge, &stanza.id, &stanza.from, &stanza.to, &stanza.xml]).await?;
    Ok(())
}

/// The stanzas of a received row; it is ready to be sent. A row that became nothing is done.
pub(crate) async fn prepared(tx: &mut Tx, bridge: &str, id: &str, stanzas: &[Rendered]) -> Result<(), StoreError> {
    let Some(first) = stanzas.first() else {
        tx.execute("DELETE FROM inbox WHERE id = $1 AND state = 0", args![id]).await?;
        return Ok(());
    };
    let now = tx.now();
    let sql = "UPDATE inbox SET state = 1, due = $1, changed = $1, tries = 0, ends = 0, reason = NULL WHERE id = $2 AND state = 0";
    if tx.execute(sql, args![now, id]).await? == 0 {
        return Ok(()); // another process was quicker; the stanzas are the same
    }
    for (n, stanza) in (0_i64..).zip(stanzas) {
        put_stanza(tx, bridge, id, n, stanza).await?;
    }
    let sql = "UPDATE messages SET stanza_id = $1 WHERE head = $2";
    tx.execute(sql, args![&first.id, head_of(id)]).await?;
    Ok(())
}

/// A row to be prepared.
pub(crate) struct Received {
    pub(crate) id: String,
    pub(crate) event: Result<Inbound, StoreError>,
    pub(crate) due: i64,
    pub(crate) ends: i64,
}

/// The oldest rows of a user that are to be prepared, in order.
pub(crate) async fn received(store: &Store, bridge: &str, person: &str) -> Result<Vec<Received>, StoreError> {
    let sql =
        "SELECT id, event, due, ends FROM inbox WHERE bridge = $1 AND person = $2 AND state = 0 ORDER BY seq LIMIT 16";
    let rows = store.read(sql, args![bridge, person]).await?;
    rows.iter()
        .map(|row| {
            let event = from_json(&row.opt_text(1)?.unwrap_or_default());
            Ok(Received { id: row.text(0)?, event, due: row.int(2)?, ends: row.int(3)? })
        })
        .collect()
}

/// All of a user's rows that are still to be prepared wait until `due`, so that their order holds.
pub(crate) async fn postpone(tx: &mut Tx, bridge: &str, person: &str, due: i64, why: &str) -> Result<(), StoreError> {
    let sql = "UPDATE inbox SET due = $1, reason = $2 WHERE bridge = $3 AND person = $4 AND state = 0 AND due < $1";
    tx.execute(sql, args![due, why, bridge, person]).await?;
    Ok(())
}

/// What waits for a user is due now, be it to be prepared or to be sent again.
pub(crate) async fn hurry(tx: &mut Tx, bridge: &str, person: &str) -> Result<(), StoreError> {
    let sql = "UPDATE inbox SET due = $1 WHERE bridge = $2 AND person = $3 AND state IN (0, 1) AND due > $1";
    let now = tx.now();
    tx.execute(sql, args![now, bridge, person]).await?;
    Ok(())
}

/// A row of a batch.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) id: String,
    pub(crate) ends: i64,
}

/// The next window: its rows and their stanzas, oldest first. A row under which streams have ended goes alone.
/// An error that is older than the stream, which is there `since` then, goes to the account instead.
pub(crate) async fn window(
    store: &Store,
    bridge: &str,
    since: i64,
) -> Result<(Vec<Outgoing>, Vec<Rendered>), StoreError> {
    let mut tx = store.reader().await?;
    let now = tx.now();
    let sql = "SELECT i.id, i.ends, i.sends, i.received, CAST(COUNT(*) AS BIGINT), CAST(SUM(length(s.xml)) AS BIGINT) \
               FROM inbox i JOIN stanzas s ON s.message = i.id \
               WHERE i.bridge = $1 AND i.state = 1 AND i.due <= $2 AND s.open = 1 \
               GROUP BY i.seq, i.id, i.ends, i.sends, i.received ORDER BY i.seq LIMIT 512";
    let (mut rows, mut stanzas) = (Vec::new(), Vec::new());
    let mut bytes = 0;
    for row in tx.fetch(sql, args![bridge, now]).await? {
        let (id, ends, sends, received) = (row.text(0)?, row.int(1)?, row.int(2)?, row.int(3)?);
        bytes += row.int(5)?;
        let count = usize::try_from(row.int(4)?).unwrap_or(WINDOW);
        let full = bytes > WINDOW_BYTES || stanzas.len() + count > WINDOW;
        if !rows.is_empty() && (full || ends >= SUSPECT) {
            break;
        }
        let sql = "SELECT id, sender, recipient, xml FROM stanzas WHERE message = $1 AND open = 1 ORDER BY n";
        for row in tx.fetch(sql, args![&id]).await? {
            let mut stanza = Rendered { id: row.text(0)?, from: row.text(1)?, to: row.text(2)?, xml: row.bytes(3)? };
            if received < since {
                stanza = late::as_message(&stanza).unwrap_or(stanza);
            }
            if sends > 0 || now - received > 60_000 {
                stanza.xml = delay::stamped(&stanza, received);
            }
            stanzas.push(stanza);
        }
        rows.push(Outgoing { id, ends });
        if ends >= SUSPECT {
            break;
        }
    }
    Ok((rows, stanzas))
}

/// What happens to the rows of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is about to be written.
    Sending,
    /// The barrier came back.
    Taken,
    /// Nothing was written.
    NotWritten,
    /// The stream ended before the barrier.
    Ended,
}

/// Changes the state of exactly these rows. One that has been given back meanwhile is left as it is.
pub(crate) async fn mark(tx: &mut Tx, rows: &[Outgoing], fate: Fate) -> Result<(), StoreError> {
    const LIST: usize = 16;
    let now = tx.now();
    let sql = match fate {
        Fate::Sending => {
            "UPDATE inbox SET state = 2, sends = sends + 1, changed = $1 WHERE state = 1 AND id IN \
             ($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
        }
        Fate::Taken => {
            "UPDATE inbox SET state = 3, changed = $1, reason = NULL WHERE state = 2 AND id IN \
             ($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
        }
        Fate::NotWritten => {
            "UPDATE inbox SET state = 1, sends = sends - 1, changed = $1 WHERE state = 2 AND id IN \
             ($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
        }
        Fate::Ended => {
            "UPDATE inbox SET state = 1, ends = ends + 1, changed = $1 WHERE state = 2 AND id IN \
             ($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
        }
    };
    for chunk in rows.chunks(LIST) {
        let mut values = args![now];
        values.extend(chunk.iter().map(|row| Arg::from(&row.id)));
        values.resize(LIST + 1, Arg::from("")); // no row has an empty id
        tx.execute(sql, values).await?;
    }
    Ok(())
}

/// Rows that an earlier process had sent and that were not acknowledged are sent again.
pub(crate) async fn reopen_sent(tx: &mut Tx, bridge: &str) -> Result<u64, StoreError> {
    tx.execute("UPDATE inbox SET state = 1 WHERE bridge = $1 AND state = 2", args![bridge]).await
}

/// Rows that the server took within [`DOUBTED`] of now, when its stream has just ended, are sent again.
pub(crate) async fn reopen_taken(tx: &mut Tx, bridge: &str) -> Result<u64, StoreError> {
    let since = tx.now() - DOUBTED;
    let sql = "UPDATE inbox SET state = 1 WHERE bridge = $1 AND state = 3 AND changed >= $2";
    tx.execute(sql, args![bridge, since]).await
}

/// When something is due that is not due now.
pub(crate) async fn next_due(store: &Store, bridge: &str) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT MIN(due) FROM inbox WHERE bridge = $1 AND state IN (0, 1) AND due > $2";
    let rows = store.read(sql, args![bridge, store.clock().now()]).await?;
    rows.first().map_or(Ok(None), |row| row.opt_int(0))
}

pub(crate) async fn list(store: &Store, bridge: &str, person: &str, limit: u32) -> Result<Vec<InboxItem>, StoreError> {
    let sql = "SELECT id, bridge, person, state, received, due, reason FROM inbox \
               WHERE (bridge = $1 OR $1 = '') AND (person = $2 OR $2 = '') AND state <> 3 ORDER BY seq LIMIT $3";
    let rows = store.read(sql, args![bridge, person, limit]).await?;
    rows.iter()
        .map(|row| {
            Ok(InboxItem {
                id: row.text(0)?,
                bridge: row.text(1)?,
                user: row.text(2)?,
                state: match row.int(3)? {
                    RECEIVED => "received",
                    PREPARED => "prepared",
                    SENT => "sent",
                    TAKEN => "taken",
                    _ => "quarantined",
                },
                received: row.int(4)?,
                due: row.int(5)?,
                reason: row.opt_text(6)?,
            })
        })
        .collect()
}

/// See [`Inbox::sweep`](super::Inbox::sweep).
pub(crate) async fn sweep(store: &Store) -> Result<(), StoreError> {
    loop {
        let removed = store.write((), |tx, ()| {
            Box::pin(async move {
                let now = tx.now();
                let mut removed = 0;
                for (state, before) in [(TAKEN, now - KEPT), (QUARANTINED, now - REMEMBERED)] {
                    let sql = "SELECT id FROM inbox WHERE state = $1 AND changed < $2 ORDER BY changed LIMIT 500";
                    for row in tx.fetch(sql, args![state, before]).await? {
                        remove(tx, &row.text(0)?).await?;
                        removed += 1;
                    }
                }
                let sql = "DELETE FROM once WHERE at < $1";
                tx.execute(sql, args![now - REMEMBERED]).await?;
                Ok(removed)
            })
        });
        if removed.await? < 500 {
            return Ok(());
        }
    }
}

/// A row is done.
pub(crate) async fn remove(tx: &mut Tx, id: &str) -> Result<(), StoreError> {
    tx.execute("DELETE FROM stanzas WHERE message = $1", args![id]).await?;
    tx.execute("DELETE FROM inbox WHERE id = $1", args![id]).await?;
    Ok(())
}
