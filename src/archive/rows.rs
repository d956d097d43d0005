//! The log in the store.

use std::ops::Range;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use isthmus_bridge::{BareJid, RoomId, StoreError};

use super::query::{Found, Question};
use super::waiting::{Batch, Change, Column};
use super::{Line, apart};
use crate::args;
use crate::hash::Map;
use crate::storage::{Arg, Row, Store, Tx, millis};

/// What a user may see of a room: what lies within one of their stays.
macro_rules! visible {
    ($what:literal, $rest:literal) => {
        concat!(
            "SELECT ",
            $what,
            " FROM archive a WHERE a.room = (SELECT no FROM archive_rooms WHERE bridge = $1 AND room = $2) ",
            "AND EXISTS (SELECT 1 FROM archive_stays s WHERE s.bridge = $1 ",
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

/// Columns of a line: room, time, texts.
const WIDTH: usize = 2 + Column::ALL.len();
/// Lines that one statement writes: it costs several times as much as a row in it.
const TOGETHER: [usize; 3] = [64, 8, 1];

/// The statements for so many lines, with the texts of all of them as one value and the place of each in it (see [`placed`]): SQLite takes a
/// value of its own for each text several times as dear. It looks a numbered parameter up in a list of all of them, so that only the last one is.
static INSERT: LazyLock<[String; 3]> = LazyLock::new(|| {
    TOGETHER.map(|lines| {
        let texts = lines * WIDTH + 1;
        let text = |column: &str| format!("CAST(substr(?{texts}, {column} >> 32, {column} & 4294967295) AS TEXT)");
        let cut = Column::ALL.map(|column| text(column.name()));
        format!(
            "WITH v (room, at, {names}) AS (VALUES {rows}) INSERT INTO archive (room, at, {names}) \
             SELECT room, at, {cut} FROM v WHERE true ON CONFLICT (room, id) DO NOTHING",
            names = names(),
            rows = rows(lines, |_| "?".to_owned()),
            cut = cut.join(", "),
        )
    })
});
/// The same for PostgreSQL, each text a value.
static INSERT_NUMBERED: LazyLock<[String; 3]> = LazyLock::new(|| {
    TOGETHER.map(|lines| {
        let (names, rows) = (names(), rows(lines, |n| format!("${n}")));
        format!("INSERT INTO archive (room, at, {names}) VALUES {rows} ON CONFLICT (room, id) DO NOTHING")
    })
});

/// The columns of texts, in the order of a line's values.
fn names() -> String {
    Column::ALL.map(Column::name).join(", ")
}

fn rows(lines: usize, place: impl Fn(usize) -> String) -> String {
    let row = |line: usize| (1..=WIDTH).map(|column| place(line * WIDTH + column)).collect::<Vec<_>>().join(", ");
    (0..lines).map(|line| format!("({})", row(line))).collect::<Vec<_>>().join(", ")
}

/// Where a text is within the value: its first octet, counted from 1, in the upper half, and its length.
fn placed(place: &Range<usize>, from: usize) -> i64 {
    let half = |n: usize| i64::from(u32::try_from(n).unwrap_or_default());
    (half(place.start - from + 1) << 32) | half(place.len())
}

/// The numbers of rooms in the store.
pub(super) type Numbers = Map<RoomId, i64>;

/// Gives each of these rooms its number.
pub(super) async fn number(store: &Store, bridge: &str, rooms: Vec<RoomId>) -> Result<Numbers, StoreError> {
    store
        .write_behind((bridge.to_owned(), rooms), |tx, (bridge, rooms)| {
            Box::pin(async move {
                let mut numbers = Numbers::default();
                for room in rooms {
                    numbers.insert(room.clone(), number_of(tx, bridge, room).await?);
                }
                Ok(numbers)
            })
        })
        .await
}

async fn number_of(tx: &mut Tx, bridge: &str, room: &RoomId) -> Result<i64, StoreError> {
    let sql = "INSERT INTO archive_rooms (bridge, room) VALUES ($1, $2) ON CONFLICT (bridge, room) DO NOTHING";
    tx.execute(sql, args![bridge, room.as_str()]).await?;
    let sql = "SELECT no FROM archive_rooms WHERE bridge = $1 AND room = $2";
    let row = tx.fetch_one(sql, args![bridge, room.as_str()]).await?;
    row.ok_or_else(|| StoreError::Fault("a room has no number".into()))?.int(0)
}

/// Writes changes in their order, all or none. Each room of a line has a number.
pub(super) async fn write(store: &Store, bridge: &str, batch: Arc<Batch>, numbers: Numbers) -> Result<(), StoreError> {
    store
        .write_behind((bridge.to_owned(), batch, numbers), |tx, (bridge, batch, numbers)| {
            Box::pin(async move {
                let mut rest = &batch.changes[..];
                while !rest.is_empty() {
                    let lines = rest.iter().take_while(|change| is_line(change)).count();
                    let Some(size) = TOGETHER.iter().position(|size| *size <= lines) else {
                        one(tx, bridge, batch, &rest[0], numbers).await?;
                        rest = &rest[1..];
                        continue;
                    };
                    let (now, later) = rest.split_at(TOGETHER[size]);
                    insert(tx, batch, now, size, numbers).await?;
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

/// Writes lines of a batch, as many as this statement takes.
async fn insert(
    tx: &mut Tx,
    batch: &Batch,
    lines: &[Change],
    size: usize,
    numbers: &Numbers,
) -> Result<(), StoreError> {
    let lines = || {
        lines.iter().filter_map(|change| match change {
            Change::Line { room, line, .. } => Some((numbers.get(room).copied().unwrap_or_default(), line)),
            _ => None,
        })
    };
    let mut all: Vec<Arg> = Vec::with_capacity(TOGETHER[size] * WIDTH + 1);
    if tx.is_postgres() {
        for (room, line) in lines() {
            all.extend(args![room, line.at]);
            all.extend(line.places().map(|place| place.map(|place| batch.text(place)).into()));
        }
        return tx.execute(&INSERT_NUMBERED[size], all).await.map(drop);
    }
    // Nothing else stands between lines that follow each other.
    let from = lines().next().map_or(0, |(_, line)| line.span().start);
    let to = lines().next_back().map_or(from, |(_, line)| line.span().end);
    for (room, line) in lines() {
        all.extend(args![room, line.at]);
        all.extend(line.places().map(|place| place.map(|place| placed(&place, from)).into()));
    }
    all.push(batch.text(from..to).as_bytes().to_vec().into());
    tx.execute(&INSERT[size], all).await.map(drop)
}

async fn one(tx: &mut Tx, bridge: &str, batch: &Batch, change: &Change, numbers: &Numbers) -> Result<(), StoreError> {
    match change {
        Change::Line { room, line, late } => {
            if *late && let Some(foreign) = batch.column(line, Column::Foreign) {
                let sql = "SELECT 1 FROM archive WHERE room = $1 AND foreign_id = $2 LIMIT 1";
                let room = numbers.get(room).copied().unwrap_or_default();
                if tx.fetch_one(sql, args![room, foreign]).await?.is_some() {
                    return Ok(());
                }
            }
            insert(tx, batch, std::slice::from_ref(change), TOGETHER.len() - 1, numbers).await?;
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
            let sql = "UPDATE archive SET body = '', payload = NULL, gone = $4 \
                       WHERE room = (SELECT no FROM archive_rooms WHERE bridge = $1 AND room = $2) AND id = $3";
            tx.execute(sql, args![bridge, room.as_str(), id, millis(*at)]).await?;
        }
        Change::Seen { room, user, id } => {
            let within = "SELECT 1 FROM archive_stays WHERE bridge = $1 AND room = $2 AND person = $3 AND since <= $4 \
                          AND (until IS NULL OR until >= $4) LIMIT 1";
            if tx.fetch_one(within, args![bridge, room.as_str(), user.as_str(), id]).await?.is_some() {
                return Ok(());
            }
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
            let sql = "SELECT 1 FROM archive WHERE room = (SELECT no FROM archive_rooms WHERE bridge = $1 AND room = $2) AND id = $3";
            fresh += u64::from(store.read(sql, args![bridge, room.as_str(), &line.id]).await?.is_empty());
        }
        return Ok(fresh);
    }
    store
        .write((bridge.to_owned(), room.clone(), lines), |tx, (bridge, room, lines)| {
            Box::pin(async move {
                let mut fresh = 0;
                let no = number_of(tx, bridge, room).await?;
                for line in lines {
                    let sql = "INSERT INTO archive (room, id, at, nick, body) VALUES ($1, $2, $3, $4, $5) \
                               ON CONFLICT (room, id) DO NOTHING";
                    let values = args![no, &line.id, millis(line.at), &line.nick, &line.body];
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

/// The logs in which a user may have seen something of a room: the room's, and theirs where there is one.
async fn logs_of(tx: &mut Tx, bridge: &str, room: &RoomId, user: &BareJid) -> Result<Vec<RoomId>, StoreError> {
    let own = apart::own_log(room, user);
    let sql = "SELECT 1 FROM archive_rooms WHERE bridge = $1 AND room = $2";
    let has = tx.fetch_one(sql, args![bridge, own.as_str()]).await?.is_some();
    Ok(std::iter::once(room.clone()).chain(has.then_some(own)).collect())
}

/// The line of an id that a user may see.
async fn one_of(
    tx: &mut Tx,
    bridge: &str,
    logs: &[RoomId],
    user: &BareJid,
    id: &str,
) -> Result<Option<Row>, StoreError> {
    for log in logs {
        if let Some(row) = tx.fetch_one(ONE, args![bridge, log.as_str(), user.as_str(), id]).await? {
            return Ok(Some(row));
        }
    }
    Ok(None)
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
    let logs = logs_of(&mut tx, bridge, room, user).await?;
    if !question.ids.is_empty() {
        let mut lines = Vec::new();
        for id in &question.ids {
            match one_of(&mut tx, bridge, &logs, user, id).await? {
                Some(row) => lines.push(line(&row)?),
                None => return Ok(Found { unknown: true, ..Found::default() }),
            }
        }
        return Ok(Found { count: lines.len(), complete: true, lines, unknown: false });
    }
    for id in [&question.after, &question.before].into_iter().flatten().filter(|id| !super::query::is_id(id)) {
        if one_of(&mut tx, bridge, &logs, user, id).await?.is_none() {
            return Ok(Found { unknown: true, ..Found::default() });
        }
    }
    let range = |log: &RoomId, count: bool| {
        let mut values = args![bridge, log.as_str(), user.as_str()];
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
    let (mut count, mut lines) = (0, Vec::new());
    for log in &logs {
        if !question.uncounted {
            count += tx.fetch_one(COUNT, range(log, true)).await?.map(|row| row.int(0)).transpose()?.unwrap_or(0);
        }
        let rows = tx.fetch(if question.backwards { BACKWARDS } else { COLUMNS }, range(log, false)).await?;
        lines.extend(rows.iter().map(line).collect::<Result<Vec<_>, _>>()?);
    }
    // Each log gave one more than the page holds: where all of them together are no more, there is none behind it.
    let complete = lines.len() <= question.max;
    // Ids are ordered by time, in whichever log they stand.
    lines.sort_by(|a, b| a.id.cmp(&b.id));
    let over = lines.len().saturating_sub(question.max);
    if question.backwards {
        lines.drain(..over);
    } else {
        lines.truncate(question.max);
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
    let mut all = Vec::new();
    for log in logs_of(&mut tx, bridge, room, user).await? {
        for end in [FIRST, LAST] {
            if let Some(row) = tx.fetch_one(end, args![bridge, log.as_str(), user.as_str()]).await? {
                all.push(line(&row)?);
            }
        }
    }
    all.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(all.first().cloned().zip(all.pop()))
}

/// Rooms that have lines, by number.
pub(super) async fn rooms(store: &Store, bridge: &str) -> Result<Vec<i64>, StoreError> {
    let rows = store.read("SELECT no FROM archive_rooms WHERE bridge = $1", args![bridge]).await?;
    rows.iter().map(|row| row.int(0)).collect()
}

/// Drops lines before `oldest`, those that these rooms have too many of, and stays that show nothing any more. A room at a time, so that what is
/// accepted for delivery does not wait behind all of it.
pub(super) async fn sweep(
    store: &Store,
    bridge: &str,
    oldest: &str,
    per_room: i64,
    grown: &[i64],
) -> Result<(), StoreError> {
    for room in rooms(store, bridge).await? {
        drop_before(store, room, oldest).await?;
    }
    if per_room > 0 {
        for room in grown {
            let sql = "SELECT id FROM archive WHERE room = $1 ORDER BY id DESC LIMIT 1 OFFSET $2";
            let rows = store.read(sql, args![*room, per_room - 1]).await?;
            if let Some(row) = rows.first() {
                drop_before(store, *room, &row.text(0)?).await?;
            }
        }
    }
    store
        .write(bridge.to_owned(), |tx, bridge| {
            Box::pin(async move {
                let sql = "DELETE FROM archive_stays WHERE bridge = $1 AND until IS NOT NULL AND NOT EXISTS (SELECT 1 FROM archive a \
                           WHERE a.room = (SELECT no FROM archive_rooms r WHERE r.bridge = $1 AND r.room = archive_stays.room) \
                           AND a.id <= archive_stays.until)";
                tx.execute(sql, args![&*bridge]).await.map(drop)
            })
        })
        .await
}

async fn drop_before(store: &Store, room: i64, id: &str) -> Result<(), StoreError> {
    let old = store.read("SELECT 1 FROM archive WHERE room = $1 AND id < $2 LIMIT 1", args![room, id]).await?;
    if old.is_empty() {
        return Ok(()); // most of the time: then the writer is left alone
    }
    store
        .write((room, id.to_owned()), |tx, (room, id)| {
            Box::pin(async move {
                tx.execute("DELETE FROM archive WHERE room = $1 AND id < $2", args![*room, &*id]).await.map(drop)
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
