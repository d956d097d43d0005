//! The table of held events: accept, claim, start. All of it runs inside the writer.
//!
//! On PostgreSQL a lane's row is locked before its events are read or written, by everybody: so nobody misses an event that another
//! process is just committing, and no lane is removed under an event.

use std::collections::HashMap;
use std::time::Duration;

use isthmus_bridge::{DeliveryKey, Intent, NetworkId, Outbound, StoreError};
use isthmus_bridge::{Leg, Recipient};
use sha2::{Digest, Sha256};

use super::json::{from_json, to_json};
use super::{Core, Sender, join, settle};
use crate::args;
use crate::storage::{Row, Tx};

/// How long a lane belongs to whoever leased it.
pub(crate) const LEASE: i64 = 60_000;
/// Lanes of one user that are worked at once: a session that hangs must not take all of a bridge's places.
const PER_PERSON: usize = 16;

pub(crate) const QUEUED: i64 = 0;
pub(crate) const CLAIMED: i64 = 1;
pub(crate) const STARTED: i64 = 2;
/// Cannot be read by this program; kept for the operator.
const BROKEN: i64 = 9;

/// An event on its way into the table, put into words before the writer sees it.
pub(crate) struct New {
    pub(super) bridge: String,
    pub(super) person: String,
    pub(super) lane: String,
    pub(super) key: String,
    pub(super) stanza_id: Option<String>,
    pub(super) sender: Option<String>,
    pub(super) event: String,
    pub(super) window: i64,
}

impl New {
    pub(crate) fn of(
        bridge: &str,
        sender: Option<&Sender>,
        event: &Outbound,
        window: Duration,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            bridge: bridge.to_owned(),
            person: event.user.to_string(),
            lane: lane_of(bridge, event)?,
            key: event.key.to_string(),
            stanza_id: sender.and_then(|sender| sender.stanza_id.clone()),
            sender: sender.map(to_json).transpose()?,
            event: to_json(event)?,
            window: i64::try_from(window.as_millis()).unwrap_or(0),
        })
    }
}

/// A user and a set of recipients. Reports about undelivered inbound events have a lane of their own: mail that cannot be sent must not hold them back.
fn lane_of(bridge: &str, event: &Outbound) -> Result<String, StoreError> {
    let mut to: Vec<String> = event.to.iter().map(|to| to_json(&to.address)).collect::<Result<_, _>>()?;
    to.sort_unstable();
    to.dedup();
    let report = matches!(event.intent, Intent::Undelivered { .. });
    let name = to_json(&(bridge, event.user.as_str(), to, report))?;
    Ok(hex::encode(&Sha256::digest(name.as_bytes())[..16]))
}

/// Makes the lane of an event, or locks it where it is there.
pub(crate) async fn open_lane(tx: &mut Tx, new: &New) -> Result<(), StoreError> {
    let due = tx.now() + new.window;
    let sql = "INSERT INTO lanes (lane, bridge, person, due, owner, touched) VALUES ($1, $2, $3, $4, NULL, 0) \
               ON CONFLICT (lane) DO UPDATE SET touched = lanes.touched + 1";
    tx.execute(sql, args![&new.lane, &new.bridge, &new.person, due]).await?;
    Ok(())
}

/// Puts an event into its lane. An event with the same key is not put twice.
pub(crate) async fn accept(tx: &mut Tx, new: &New) -> Result<(), StoreError> {
    open_lane(tx, new).await?;
    insert(tx, new).await
}

/// The event itself; its lane is open.
pub(crate) async fn insert(tx: &mut Tx, new: &New) -> Result<(), StoreError> {
    let now = tx.now();
    let sql = "INSERT INTO outbox (key, bridge, person, lane, stanza_id, state, attempt, tries, ends, fixed, noticed, accepted, due, sender, event) \
               VALUES ($1, $2, $3, $4, $5, 0, 0, 0, 0, 0, 0, $6, $7, $8, $9) ON CONFLICT (key) DO NOTHING";
    let (due, sender) = (now + new.window, &new.sender);
    let values = args![&new.key, &new.bridge, &new.person, &new.lane, &new.stanza_id, now, due, sender, &new.event];
    tx.execute(sql, values).await?;
    Ok(())
}

/// One event as it stands in the table.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) key: String,
    pub(crate) bridge: String,
    pub(crate) stanza_id: Option<String>,
    pub(crate) state: i64,
    pub(crate) attempt: i64,
    pub(crate) tries: i64,
    pub(crate) ends: i64,
    pub(crate) head: Option<String>,
    pub(crate) noticed: bool,
    pub(crate) accepted: i64,
    pub(crate) due: i64,
    pub(crate) sender: Option<Sender>,
    pub(crate) event: Outbound,
    pub(crate) legs: Vec<Leg>,
    pub(crate) lane: String,
}

macro_rules! stored {
    ($rest:literal) => {
        concat!(
            "SELECT key, bridge, stanza_id, state, attempt, tries, ends, head, noticed, accepted, due, sender, event, legs, lane FROM outbox ",
            $rest
        )
    };
}
pub(crate) use stored;

impl Stored {
    fn of(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            key: row.text(0)?,
            bridge: row.text(1)?,
            stanza_id: row.opt_text(2)?,
            state: row.int(3)?,
            attempt: row.int(4)?,
            tries: row.int(5)?,
            ends: row.int(6)?,
            head: row.opt_text(7)?,
            noticed: row.flag(8)?,
            accepted: row.int(9)?,
            due: row.int(10)?,
            sender: row.opt_text(11)?.map(|text| from_json(&text)).transpose()?,
            event: from_json(&row.text(12)?)?,
            legs: row.opt_text(13)?.map(|text| from_json(&text)).transpose()?.unwrap_or_default(),
            lane: row.text(14)?,
        })
    }

    /// The attempt that a ticket carries.
    pub(crate) fn ticket(&self) -> u32 {
        u32::try_from(self.attempt).unwrap_or(u32::MAX)
    }
}

/// Events by a query made with [`stored!`]. One that this program cannot read is set aside, so that it does not stop its lane.
pub(crate) async fn load(
    tx: &mut Tx,
    sql: &'static str,
    args: Vec<crate::storage::Arg>,
) -> Result<Vec<Stored>, StoreError> {
    let mut all = Vec::new();
    for row in tx.fetch(sql, args).await? {
        match Stored::of(&row) {
            Ok(stored) => all.push(stored),
            Err(error) => {
                let key = row.text(0)?;
                tracing::error!(key, %error, "a held event cannot be read and was set aside");
                tx.execute("UPDATE outbox SET state = $1 WHERE key = $2", args![BROKEN, key]).await?;
            }
        }
    }
    Ok(all)
}

/// What a bridge is given: one event, perhaps of several joined.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) lane: String,
    pub(crate) key: DeliveryKey,
    pub(crate) attempt: u32,
    pub(crate) event: Outbound,
    pub(crate) network: NetworkId,
}

/// What a claim found.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    pub(crate) work: Vec<Claimed>,
    /// When the next lane is due, if one is.
    pub(crate) next: Option<i64>,
    /// Notices went into the inbox.
    pub(crate) told: bool,
}

/// Who claims, for what, and how much.
pub(crate) struct Wish {
    pub(crate) bridge: String,
    pub(crate) owner: String,
    pub(crate) want: usize,
    /// Lanes in hand by user.
    pub(crate) busy: HashMap<String, usize>,
}

/// Leases due lanes and takes the first event of each.
pub(crate) async fn claim(tx: &mut Tx, core: &Core, wish: &Wish) -> Result<Claims, StoreError> {
    let now = tx.now();
    let mut claims = Claims::default();
    let mut busy = wish.busy.clone();
    let sql = if tx.is_postgres() {
        "SELECT lane, person FROM lanes WHERE bridge = $1 AND due <= $2 AND (owner IS NULL OR owner <> $3) \
         ORDER BY due LIMIT $4 FOR UPDATE SKIP LOCKED"
    } else {
        "SELECT lane, person FROM lanes WHERE bridge = $1 AND due <= $2 AND (owner IS NULL OR owner <> $3) ORDER BY due LIMIT $4"
    };
    let limit = wish.want as i64;
    for row in tx.fetch(sql, args![&wish.bridge, now, &wish.owner, limit]).await? {
        let (lane, person) = (row.text(0)?, row.text(1)?);
        let in_hand = busy.entry(person).or_default();
        if *in_hand >= PER_PERSON {
            // To the back, so that it does not hide other users' lanes.
            tx.execute("UPDATE lanes SET due = $1, owner = NULL WHERE lane = $2", args![now + 1000, lane]).await?;
            continue;
        }
        tx.execute("UPDATE lanes SET owner = $1 WHERE lane = $2", args![&wish.owner, &lane]).await?;
        // One lane that cannot be read must not stop the others.
        tx.execute("SAVEPOINT lane", args![]).await?;
        match next_of(tx, core, &lane, &wish.owner, &mut claims.told).await {
            Ok(work) => {
                *in_hand += usize::from(work.is_some());
                claims.work.extend(work);
            }
            Err(StoreError::Fault(why)) => {
                tracing::error!(lane, why, "a lane of the outbox cannot be worked; it is tried again in a minute");
                tx.execute("ROLLBACK TO SAVEPOINT lane", args![]).await?;
                put_off(tx, &lane, now + LEASE).await?;
            }
            Err(error) => return Err(error),
        }
        tx.execute("RELEASE SAVEPOINT lane", args![]).await?;
    }
    let sql = "SELECT MIN(due) FROM lanes WHERE bridge = $1 AND (owner IS NULL OR owner <> $2)";
    let row = tx.fetch_one(sql, args![&wish.bridge, &wish.owner]).await?;
    claims.next = row.map(|row| row.opt_int(0)).transpose()?.flatten();
    Ok(claims)
}

/// Gives a lane back until then.
pub(crate) async fn put_off(tx: &mut Tx, lane: &str, due: i64) -> Result<(), StoreError> {
    tx.execute("UPDATE lanes SET owner = NULL, due = $1 WHERE lane = $2", args![due, lane]).await?;
    Ok(())
}

/// The next event of a lane that `owner` has leased. Where there is none now, the lane is given back until it is due, or removed.
pub(crate) async fn next_of(
    tx: &mut Tx,
    core: &Core,
    lane: &str,
    owner: &str,
    told: &mut bool,
) -> Result<Option<Claimed>, StoreError> {
    let now = tx.now();
    let renew = "UPDATE lanes SET due = $1 WHERE lane = $2 AND owner = $3";
    if tx.execute(renew, args![now + LEASE, lane, owner]).await? == 0 {
        return Ok(None); // another process has it now
    }
    loop {
        let sql = stored!("WHERE lane = $1 AND state < 9 ORDER BY seq LIMIT 1");
        let Some(first) = load(tx, sql, args![lane]).await?.pop() else {
            let broken = "SELECT key FROM outbox WHERE lane = $1 LIMIT 1";
            if tx.fetch_one(broken, args![lane]).await?.is_none() {
                tx.execute("DELETE FROM lanes WHERE lane = $1", args![lane]).await?;
            } else {
                put_off(tx, lane, i64::MAX / 2).await?; // only what was set aside is left
            }
            return Ok(None);
        };
        if first.state == STARTED {
            // Whoever had it is gone, and may have sent it.
            settle::abandoned(tx, core, &first, told).await?;
            continue;
        }
        if first.state == CLAIMED {
            requeue(tx, &first, now).await?; // whoever had it is gone, and has not begun to send
            continue;
        }
        if first.due > now {
            put_off(tx, lane, first.due).await?;
            return Ok(None);
        }
        return take(tx, core, first).await.map(Some);
    }
}

/// Claims the first event of a lane, with those that are joined to it.
async fn take(tx: &mut Tx, core: &Core, first: Stored) -> Result<Claimed, StoreError> {
    let members = members_of(tx, core, first).await?;
    let first = members.first().ok_or_else(|| StoreError::Fault("an empty claim".into()))?;
    for stored in &members {
        let sql = "UPDATE outbox SET state = $1, head = $2 WHERE key = $3";
        tx.execute(sql, args![CLAIMED, &first.key, &stored.key]).await?;
    }
    let mut event = join::joined(members.iter().map(|stored| stored.event.clone()).collect())
        .ok_or_else(|| StoreError::Fault("an empty claim".into()))?;
    event.attempt = first.ticket();
    event.to = open_legs(first, &event);
    let network = match event.to.first() {
        Some(to) => core.carry.network(&first.bridge, &to.address),
        None => return Err(StoreError::Fault("an event without open legs".into())),
    };
    Ok(Claimed { lane: first.lane.clone(), key: event.key.clone(), attempt: first.ticket(), event, network })
}

/// What was joined with an event when it was claimed first; before that, what is to be joined with it now.
async fn members_of(tx: &mut Tx, core: &Core, first: Stored) -> Result<Vec<Stored>, StoreError> {
    if let Some(head) = &first.head {
        return load(tx, stored!("WHERE head = $1 ORDER BY seq"), args![head]).await;
    }
    let to = first.event.to.first();
    let window = to.map_or(Duration::ZERO, |to| core.carry.join_window(&first.bridge, &first.event.user, &to.address));
    if window.is_zero() || !join::joinable(&first.event) {
        return Ok(vec![first]);
    }
    let most = core.carry.profile(&first.bridge).map_or(0, |profile| profile.max_text);
    let sql = stored!("WHERE lane = $1 AND state < 9 ORDER BY seq LIMIT 50");
    let mut queued = load(tx, sql, args![&first.lane]).await?;
    let fresh = queued.iter().take_while(|stored| stored.head.is_none() && stored.state == QUEUED);
    let fresh: Vec<(i64, &Outbound)> = fresh.map(|stored| (stored.accepted, &stored.event)).collect();
    let count = join::together(&fresh, i64::try_from(window.as_millis()).unwrap_or(0), most);
    queued.truncate(count);
    Ok(queued)
}

/// The recipients that have no outcome yet.
pub(crate) fn open_legs(first: &Stored, event: &Outbound) -> Vec<Recipient> {
    let done = |to: &&Recipient| !first.legs.iter().any(|leg| leg.to == settle::leg_of(event, &to.address));
    event.to.iter().filter(done).cloned().collect()
}

/// Back into the queue, unsent, under the next attempt number: an answer to the old one is ignored from now on.
pub(crate) async fn requeue(tx: &mut Tx, first: &Stored, due: i64) -> Result<(), StoreError> {
    let sql = "UPDATE outbox SET state = 0, attempt = attempt + 1, due = $1 WHERE head = $2 AND state IN (1, 2)";
    tx.execute(sql, args![due, first.head.as_ref().unwrap_or(&first.key)]).await?;
    Ok(())
}

/// Commits that the first byte is about to leave. `false`: the event was withdrawn, or another process has it.
pub(crate) async fn start(tx: &mut Tx, key: &str, attempt: u32) -> Result<bool, StoreError> {
    let sql = "SELECT state FROM outbox WHERE key = $1 AND attempt = $2 AND state IN (1, 2)";
    if tx.fetch_one(sql, args![key, attempt]).await?.is_none() {
        return Ok(false);
    }
    tx.execute("UPDATE outbox SET state = 2 WHERE head = $1 AND state = 1", args![key]).await?;
    Ok(true)
}
