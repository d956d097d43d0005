//! How much of the disk each user takes: what waits either way, files, recorded conversations; and whose a file is.

use std::time::Duration;

use isthmus_bridge::{BareJid, BlobId, StoreError};

use super::Persons;
use crate::access::Held;
use crate::args;

/// What waits, and files: by person, bytes, the oldest event that waits to be sent, the oldest file. What the server has taken (state 3) is its own.
const HELD: &str = "SELECT person, CAST(SUM(bytes) AS BIGINT), MIN(sent), MIN(kept) FROM ( \
     SELECT person, octet_length(event) AS bytes, accepted AS sent, CAST(NULL AS BIGINT) AS kept FROM outbox WHERE bridge = $1 \
     UNION ALL SELECT person, COALESCE(octet_length(event), 0), CAST(NULL AS BIGINT), CAST(NULL AS BIGINT) FROM inbox WHERE bridge = $1 AND state <> 3 \
     UNION ALL SELECT person, size, CAST(NULL AS BIGINT), at FROM kept_files WHERE bridge = $1 AND export = 0) AS held GROUP BY person";

/// The user's lines beyond so many bytes, counted from the newest.
const TRIM: &str = "DELETE FROM talks WHERE seq IN (SELECT seq FROM (SELECT seq, SUM(octet_length(body)) OVER (ORDER BY seq DESC) AS run \
     FROM talks WHERE bridge = $1 AND person = $2) AS lines WHERE run > $3)";

impl Persons {
    /// What is kept for each user, but for recorded conversations, which make room by themselves ([`make_room`](Self::make_room)). An event that waits
    /// to be sent goes after `retry_for`, a file after `keep_for`.
    ///
    /// # Errors
    /// The store failed.
    pub async fn held(&self, retry_for: Duration, keep_for: Duration) -> Result<Vec<Held>, StoreError> {
        let after = |at: i64, time: Duration| at.saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
        let rows = self.store.read(HELD, args![&*self.name]).await?;
        let held = |row: &crate::storage::Row| {
            let sent = row.opt_int(2)?.map(|at| after(at, retry_for));
            let kept = row.opt_int(3)?.map(|at| after(at, keep_for));
            let ends = sent.into_iter().chain(kept).min();
            let bytes = u64::try_from(row.int(1)?).unwrap_or_default();
            Ok(Held { user: BareJid::new(row.text(0)?), bytes, ends })
        };
        rows.iter().map(held).collect()
    }

    /// Bytes of a user's recorded conversations.
    ///
    /// # Errors
    /// The store failed.
    pub async fn recorded(&self, user: &BareJid) -> Result<u64, StoreError> {
        let sql =
            "SELECT CAST(COALESCE(SUM(octet_length(body)), 0) AS BIGINT) FROM talks WHERE bridge = $1 AND person = $2";
        let rows = self.store.read(sql, args![&*self.name, user.as_str()]).await?;
        let bytes = rows.first().map(|row| row.int(0)).transpose()?.unwrap_or_default();
        Ok(u64::try_from(bytes).unwrap_or_default())
    }

    /// Recorded conversations make room: the oldest lines of whoever has more than `limit` bytes, with what else is kept for them, go.
    ///
    /// # Errors
    /// The store failed; what was done so far stands.
    pub async fn make_room(&self, limit: u64, held: &[Held]) -> Result<(), StoreError> {
        let sql = "SELECT person, CAST(SUM(octet_length(body)) AS BIGINT) FROM talks WHERE bridge = $1 GROUP BY person";
        for row in self.store.read(sql, args![&*self.name]).await? {
            let (person, recorded) = (row.text(0)?, u64::try_from(row.int(1)?).unwrap_or_default());
            let other = held.iter().find(|h| h.user.as_str() == person).map_or(0, |h| h.bytes);
            if recorded.saturating_add(other) <= limit {
                continue;
            }
            let room = i64::try_from(limit.saturating_sub(other)).unwrap_or(i64::MAX);
            let data = (self.name.to_string(), person, room);
            self.store
                .write(data, |tx, (bridge, person, room)| {
                    Box::pin(async move { tx.execute(TRIM, args![bridge, person, *room]).await })
                })
                .await?;
        }
        Ok(())
    }

    /// A file on disk is kept for this user; an export does not count, or nobody at their limit could have one. Saying it again changes nothing.
    ///
    /// # Errors
    /// The store failed; nothing changed.
    pub async fn owns_file(&self, user: &BareJid, file: &BlobId, size: u64, export: bool) -> Result<(), StoreError> {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        let now = self.store.clock().now();
        let data = (self.name.to_string(), user.to_string(), file.to_string(), [size, now, i64::from(export)]);
        self.store
            .write(data, |tx, (bridge, user, file, [size, now, export])| {
                Box::pin(async move {
                    let sql = "INSERT INTO kept_files (bridge, person, id, size, at, export) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
                    tx.execute(sql, args![bridge, user, file, *size, *now, *export]).await.map(drop)
                })
            })
            .await
    }

    /// The files of a user (of them the exports alone, where that is asked) are theirs no more; gives those that are nobody's now, for them to be removed.
    ///
    /// # Errors
    /// The store failed; nothing changed.
    pub async fn disown_files(&self, user: &BareJid, exports: bool) -> Result<Vec<BlobId>, StoreError> {
        let data = (self.name.to_string(), user.to_string(), i64::from(exports));
        self.store
            .write(data, |tx, (bridge, user, exports)| {
                Box::pin(async move {
                    let sql = "SELECT id FROM kept_files k WHERE bridge = $1 AND person = $2 AND export >= $3 AND NOT EXISTS \
                               (SELECT 1 FROM kept_files o WHERE o.id = k.id AND (o.bridge <> $1 OR o.person <> $2))";
                    let rows = tx.fetch(sql, args![bridge, user, *exports]).await?;
                    let files = rows.iter().map(|row| row.text(0).map(BlobId::from)).collect::<Result<Vec<_>, _>>()?;
                    let sql = "DELETE FROM kept_files WHERE bridge = $1 AND person = $2 AND export >= $3";
                    tx.execute(sql, args![bridge, user, *exports]).await?;
                    Ok(files)
                })
            })
            .await
    }

    /// Forgets files that were kept before `keep_for`: they are gone from the disk.
    ///
    /// # Errors
    /// The store failed; nothing changed.
    pub async fn sweep_files(&self, keep_for: Duration) -> Result<(), StoreError> {
        let keep = i64::try_from(keep_for.as_millis()).unwrap_or(i64::MAX);
        let data = (self.name.to_string(), self.store.clock().now().saturating_sub(keep));
        self.store
            .write(data, |tx, (bridge, before)| {
                Box::pin(async move {
                    tx.execute("DELETE FROM kept_files WHERE bridge = $1 AND at < $2", args![bridge, *before]).await
                })
            })
            .await
            .map(drop)
    }
}
