//! The log in the store.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use isthmus_bridge::{BareJid, RoomId, StoreError};

use super::query::{Found, Question};
use super::{Change, Line};
use crate::args;
use crate::storage::{Arg, Row, Store, Tx, millis};

/// What a user may see of a room: what lies within one of their stays.
macro_rules! visible {
    ($what:literal, $rest:literal) => {
        concat!(
            "SELECT ",
            $what,
            " FROM archive a WHERE a.bridge = $1 AND a.room = $2 AND EXISTS (SELECT 1 FROM archive_stays s WHERE s.bridge = $1 ",
            "AND s.person = $3 AND s.room = $2 AND s.since <= a.id AND (s.until IS NULL OR s.until >= a.id)) ",
            $rest
        )
    };
}

const COLUMNS: &str = visible!(
    "a.id, a.at, a.nick, a.occupant, a.body, a.thread, a.payload, a.gone",
    "AND a.id > $4 AND a.id < $5 AND a.at >= $6 AND a.at <= $7 AND ($8 IS NULL OR a.nick = $8) ORDER BY a.id LIMIT $9"
);
const BACKWARDS: &str = visible!(
    "a.id, a.at, a.nick, a.occupant, a.body, a.thread, a.payload, a.gone",
    "AND a.id > $4 AND a.id < $5 AND a.at >= $6 AND a.at <= $7 AND ($8 IS NULL OR a.nick = $8) ORDER BY a.id DESC LIMIT $9"
);
const COUNT: &str =
    visible!("COUNT(*)", "AND a.id > $4 AND a.id < $5 AND a.at >= $6 AND a.at <= $7 AND ($8 IS NULL OR a.nick = $8)");
const ONE: &str = visible!("a.id, a.at, a.nick, a.occupant, a.body, a.thread, a.payload, a.gone", "AND a.id = $4");
const FIRST: &str =
    visible!("a.id, a.at, a.nick, a.occupant, a.body, a.thread, a.payload, a.gone", "ORDER BY a.id LIMIT 1");
const LAST: &str =
    visible!("a.id, a.at, a.nick, a.occupant, a.body, a.thread, a.payload, a.gone", "ORDER BY a.id DESC LIMIT 1");

/// Behind every id, in whatever order the database has its letters.
const END: &str = "zzzzzzzzzzzzzzzzzzzzzzzzzzz";

/// Columns of a line.
const WIDTH: usize = 10;
/// Lines that one statement writes: it costs several times as much as a row in it.
const TOGETHER: [usize; 3] = [64, 8, 1];

/// The statements for so many lines.
static INSERT: LazyLock<[String; 3]> = LazyLock::new(|| TOGETHER.map(insert));

fn insert(lines: usize) -> String {
    let mut sql =
        "INSERT INTO archive (bridge, room, id, at, nick, occupant, body, thread, foreign_id, payload) VALUES "
            .to_owned();
    for line in 0..lines {
        let places: Vec<String> = (1..=WIDTH).map(|column| format!("${}", line * WIDTH + column)).collect();
        sql.push_str(if line == 0 { "(" } else { ", (" });
        sql.push_str(&places.join(", "));
        sql.push(')');
    }
    sql.push_str(" ON CONFLICT (bridge, room, id) DO NOTHING");
    sql
}

/// Writes changes in their order, all or none.
pub(super) async fn write(store: &Store, bridge: &str, changes: Vec<Arc<Change>>) -> Result<(), StoreError> {
    store
        .write((bridge.to_owned(), changes), |tx, (bridge, changes)| {
            Box::pin(async move {
                let mut rest = &changes[..];
                while !rest.is_empty() {
                    let lines = rest.iter().take_while(|change| is_line(change)).count();
                    let Some(size) = TOGETHER.iter().position(|size| *size <= lines) else {
                        one(tx, bridge, &rest[0]).await?;
                        rest = &rest[1..];
                        continue;
                    };
                    let (now, later) = rest.split_at(TOGETHER[size]);
                    let values = now.iter().flat_map(|change| values(bridge, change)).collect();
                    tx.execute(&INSERT[size], values).await?;
                    rest = later;
                }
                Ok(())
            })
        })
        .await
}

/// A line that is new for certain.
fn is_line(change: &Change) -> bool {
    matches!(change, Change::Line { late: false, .. })
}

/// The columns of a line.
fn values(bridge: &str, change: &Change) -> Vec<Arg> {
    let Change::Line { room, line, foreign, .. } = change else { return Vec::new() };
    args![
        bridge,
        room.as_str(),
        &line.id,
        millis(line.at),
        &line.nick,
        &line.occupant,
        &line.body,
        &line.thread,
        foreign,
        &line.payload
    ]
}

async fn one(tx: &mut Tx, bridge: &str, change: &Change) -> Result<(), StoreError> {
    match change {
        Change::Line { room, foreign, late, .. } => {
            if *late && let Some(foreign) = foreign {
                let sql = "SELECT 1 FROM archive WHERE bridge = $1 AND room = $2 AND foreign_id = $3 LIMIT 1";
                if tx.fetch_one(sql, args![bridge, room.as_str(), foreign.as_str()]).await?.is_some() {
                    return Ok(());
                }
            }
            tx.execute(&INSERT[TOGETHER.len() - 1], values(bridge, change)).await?;
        }
        Change::Enter { room, user, since } => {
            let sql = "INSERT INTO archive_stays (bridge, room, person, since) VALUES ($1, $2, $3, $4)";
            tx.execute(sql, args![bridge, room.as_str(), user.as_str(), since]).await?;
        }
        Change::Leave { room, user, until } => {
            let sql =
                "UPDATE archive_stays SET until = $4 WHERE bridge = $1 AND room = $2 AND person = $3 AND until IS NULL";
            tx.execute(sql, args![bridge, room.as_str(), user.as_str(), until]).await?;
        }
        Change::Name { place, name } => super::names::write(tx, bridge, place, name).await?,
        Change::Gone { room, id, at } => {
            let sql =
                "UPDATE archive SET body = '', payload = NULL, gone = $4 WHERE bridge = $1 AND room = $2 AND id = $3";
            tx.execute(sql, args![bridge, room.as_str(), id, millis(*at)]).await?;
        }
        Change::Seen { room, user, id } => {
            let sql = "INSERT INTO archive_stays (bridge, room, person, since, until) VALUES ($1, $2, $3, $4, $4)";
            tx.execute(sql, args![bridge, room.as_str(), user.as_str(), id]).await?;
        }
    }
    Ok(())
}

/// Writes lines of another program's archive that are not there yet; gives how many.
pub(super) async fn take_over(
    store: &Store,
    bridge: &str,
    room: &RoomId,
    lines: Vec<Line>,
    write: bool,
) -> Result<u64, StoreError> {
    if !write {
        let mut fresh = 0;
        for line in &lines {
            let sql = "SELECT 1 FROM archive WHERE bridge = $1 AND room = $2 AND id = $3";
            fresh += u64::from(store.read(sql, args![bridge, room.as_str(), &line.id]).await?.is_empty());
        }
        return Ok(fresh);
    }
    store
        .write((bridge.to_owned(), room.clone(), lines), |tx, (bridge, room, lines)| {
            Box::pin(async move {
                let mut fresh = 0;
                for line in lines {
                    let sql = "INSERT INTO archive (bridge, room, id, at, nick, body) VALUES ($1, $2, $3, $4, $5, $6) \
                               ON CONFLICT (bridge, room, id) DO NOTHING";
                    let values = args![&*bridge, room.as_str(), &line.id, millis(line.at), &line.nick, &line.body];
                    fresh += tx.execute(sql, values).await?;
                }
                Ok(fresh)
            })
        })
        .await
}

/// Writes who saw which part of such lines.
pub(super) async fn saw(
    store: &Store,
    bridge: &str,
    room: &RoomId,
    stays: Vec<(BareJid, String, String)>,
) -> Result<(), StoreError> {
    store
        .write((bridge.to_owned(), room.clone(), stays), |tx, (bridge, room, stays)| {
            Box::pin(async move {
                for (user, since, until) in stays {
                    let values = || args![&*bridge, room.as_str(), user.as_str(), since, until];
                    let sql = "SELECT 1 FROM archive_stays WHERE bridge = $1 AND room = $2 AND person = $3 AND since <= $4 AND until >= $5";
                    if tx.fetch_one(sql, values()).await?.is_none() {
                        let sql = "INSERT INTO archive_stays (bridge, room, person, since, until) VALUES ($1, $2, $3, $4, $5)";
                        tx.execute(sql, values()).await?;
                    }
                }
                Ok(())
            })
        })
        .await
}

/// Ends the stays that are open: the process that had opened them is gone.
pub(super) async fn close_all(store: &Store, bridge: &str, until: String) -> Result<(), StoreError> {
    store
        .write((bridge.to_owned(), until), |tx, (bridge, until)| {
            Box::pin(async move {
                let sql = "UPDATE archive_stays SET until = $2 WHERE bridge = $1 AND until IS NULL AND since < $2";
                tx.execute(sql, args![&*bridge, &*until]).await.map(drop)
            })
        })
        .await
}

/// One page of what a user may see.
pub(super) async fn find(
    store: &Store,
    bridge: &str,
    room: &RoomId,
    user: &BareJid,
    question: &Question,
) -> Result<Found, StoreError> {
    let mut tx = store.reader().await?;
    let base = || args![bridge, room.as_str(), user.as_str()];
    if !question.ids.is_empty() {
        let mut lines = Vec::new();
        for id in &question.ids {
            let mut values = base();
            values.push(id.as_str().into());
            match tx.fetch_one(ONE, values).await? {
                Some(row) => lines.push(line(&row)?),
                None => return Ok(Found { unknown: true, ..Found::default() }),
            }
        }
        return Ok(Found { count: lines.len(), complete: true, lines, unknown: false });
    }
    for id in [&question.after, &question.before].into_iter().flatten().filter(|id| !super::query::is_id(id)) {
        let mut values = base();
        values.push(id.as_str().into());
        if tx.fetch_one(ONE, values).await?.is_none() {
            return Ok(Found { unknown: true, ..Found::default() });
        }
    }
    let range = |count: bool| {
        let mut values = base();
        values.push(question.after.as_deref().unwrap_or_default().into());
        values.push(question.before.as_deref().unwrap_or(END).into());
        values.push(question.start.map_or(i64::MIN, millis).into());
        values.push(question.end.map_or(i64::MAX, millis).into());
        values.push(question.with.as_deref().into());
        if !count {
            values.push((i64::try_from(question.max).unwrap_or(i64::MAX - 1) + 1).into());
        }
        values
    };
    let count = tx.fetch_one(COUNT, range(true)).await?.map(|row| row.int(0)).transpose()?.unwrap_or(0);
    let rows = tx.fetch(if question.backwards { BACKWARDS } else { COLUMNS }, range(false)).await?;
    let complete = rows.len() <= question.max;
    let mut lines = rows.iter().take(question.max).map(line).collect::<Result<Vec<_>, _>>()?;
    if question.backwards {
        lines.reverse();
    }
    Ok(Found { lines, complete, count: usize::try_from(count).unwrap_or(0), unknown: false })
}

/// The first and the last line that a user may see.
pub(super) async fn ends(
    store: &Store,
    bridge: &str,
    room: &RoomId,
    user: &BareJid,
) -> Result<Option<(Line, Line)>, StoreError> {
    let mut tx = store.reader().await?;
    let values = || args![bridge, room.as_str(), user.as_str()];
    let first = tx.fetch_one(FIRST, values()).await?;
    let last = tx.fetch_one(LAST, values()).await?;
    match (first, last) {
        (Some(first), Some(last)) => Ok(Some((line(&first)?, line(&last)?))),
        _ => Ok(None),
    }
}

/// Drops old lines, those of full rooms, and stays that show nothing any more.
pub(super) async fn sweep(store: &Store, bridge: &str, oldest: i64, per_room: i64) -> Result<(), StoreError> {
    let full = if per_room == 0 {
        Vec::new()
    } else {
        store
            .read(
                "SELECT room FROM archive WHERE bridge = $1 GROUP BY room HAVING COUNT(*) > $2",
                args![bridge, per_room],
            )
            .await?
    };
    let full = full.iter().map(|row| row.text(0)).collect::<Result<Vec<_>, _>>()?;
    store
        .write((bridge.to_owned(), oldest, per_room, full), |tx, (bridge, oldest, per_room, full)| {
            Box::pin(async move {
                tx.execute("DELETE FROM archive WHERE bridge = $1 AND at < $2", args![&*bridge, *oldest]).await?;
                for room in full {
                    let sql = "DELETE FROM archive WHERE bridge = $1 AND room = $2 AND id < (SELECT id FROM archive \
                               WHERE bridge = $1 AND room = $2 ORDER BY id DESC LIMIT 1 OFFSET $3)";
                    tx.execute(sql, args![&*bridge, room, *per_room - 1]).await?;
                }
                let sql = "DELETE FROM archive_stays WHERE bridge = $1 AND until IS NOT NULL AND NOT EXISTS (SELECT 1 FROM archive a \
                           WHERE a.bridge = $1 AND a.room = archive_stays.room AND a.id <= archive_stays.until)";
                tx.execute(sql, args![&*bridge]).await.map(drop)
            })
        })
        .await
}

fn line(row: &Row) -> Result<Line, StoreError> {
    Ok(Line {
        id: row.text(0)?,
        at: SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(row.int(1)?).unwrap_or_default()),
        nick: row.opt_text(2)?,
        occupant: row.opt_text(3)?,
        body: row.text(4)?,
        thread: row.opt_text(5)?,
        payload: row.opt_text(6)?,
        gone: row
            .opt_int(7)?
            .map(|ms| SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or_default())),
    })
}
