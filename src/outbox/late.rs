//! What is told after the handing over, and the message map: which event, which ids, how far each leg has come.

use std::time::Duration;

use isthmus_bridge::{
    Address, BareJid, ContactId, DeliveryKey, Intent, Known, Late, Leg, MessageRef, Outbound, Sent, StoreError,
};

use super::json::{from_json, to_json};
use super::rows::Stored;
use super::{Core, News, Outbox, Sender, settle};
use crate::args;
use crate::storage::{Queue, Store, Tx};

/// How far a leg has come; it only rises. `Delivered` may follow `Failed` (a relay that was wrong), never the other way round.
const HANDED_OVER: i64 = 0;
const DELAYED: i64 = 1;
const FAILED: i64 = 2;
const DELIVERED: i64 = 3;
const DISPLAYED: i64 = 4;

/// How long an outcome waits for the message it is about.
const EARLY: i64 = 24 * 3_600_000;

impl Outbox {
    /// Records what became of an event after it was handed over, and tells its sender. Committed when it returns. One for a message that
    /// is not known yet waits 24 h for it.
    ///
    /// # Errors
    /// Nothing was recorded.
    pub async fn late(
        &self,
        bridge: &str,
        of: MessageRef,
        leg: Option<ContactId>,
        what: Late,
    ) -> Result<(), StoreError> {
        let core = self.core.clone();
        let told =
            self.core.store.write((core, bridge.to_owned(), of, leg, what), |tx, (core, bridge, of, leg, what)| {
                Box::pin(record(tx, core, bridge, of, leg.as_ref(), what))
            });
        if told.await? {
            self.core.store.bell(Queue::Inbox, bridge).notify_one();
        }
        Ok(())
    }

    /// What is known of a message. By key also while it is queued; by a foreign id that several users know, who sent it comes first.
    ///
    /// # Errors
    /// The store is away.
    pub async fn find(&self, bridge: &str, of: &MessageRef) -> Result<Option<Known>, StoreError> {
        let mut tx = self.core.store.reader().await?;
        let rows = match of {
            MessageRef::Key(key) => {
                let sql = "SELECT person, address, thread, key, head, seq FROM messages WHERE key = $1";
                tx.fetch(sql, args![key.as_str()]).await?
            }
            MessageRef::Foreign { network, id } => {
                let sql = "SELECT m.person, m.address, m.thread, m.key, m.head, m.seq FROM foreign_ids f JOIN messages m ON m.seq = f.message \
                           WHERE f.bridge = $1 AND f.network = $2 AND f.id = $3 ORDER BY m.key IS NULL, m.seq DESC LIMIT 1";
                tx.fetch(sql, args![bridge, network.as_str(), id.as_str()]).await?
            }
            _ => return Ok(None),
        };
        match (rows.first(), of) {
            (Some(row), _) => known(&mut tx, row).await.map(Some),
            (None, MessageRef::Key(key)) => queued(&mut tx, key).await,
            _ => Ok(None),
        }
    }

    /// The last message exchanged between a user and an address, in either direction; of that thread, where one is given.
    ///
    /// # Errors
    /// The store is away.
    pub async fn latest(
        &self,
        bridge: &str,
        user: &BareJid,
        at: &Address,
        thread: Option<&str>,
    ) -> Result<Option<Known>, StoreError> {
        let mut tx = self.core.store.reader().await?;
        let address = to_json(at)?;
        let row = match thread {
            Some(thread) => {
                let sql = "SELECT person, address, thread, key, head, seq FROM messages WHERE bridge = $1 AND person = $2 AND address = $3 \
                           AND thread = $4 ORDER BY at DESC, seq DESC LIMIT 1";
                tx.fetch_one(sql, args![bridge, user.as_str(), address, thread]).await?
            }
            None => {
                let sql = "SELECT person, address, thread, key, head, seq FROM messages WHERE bridge = $1 AND person = $2 AND address = $3 \
                           ORDER BY at DESC, seq DESC LIMIT 1";
                tx.fetch_one(sql, args![bridge, user.as_str(), address]).await?
            }
        };
        match row {
            Some(row) => known(&mut tx, &row).await.map(Some),
            None => Ok(None),
        }
    }

    /// The message that a stanza of this user, or to this user, was: what a reply (XEP-0461), a correction (0308), a retraction (0424) or
    /// a reaction (0444) refers to by stanza id.
    ///
    /// # Errors
    /// The store is away.
    pub async fn by_stanza(&self, bridge: &str, user: &BareJid, stanza_id: &str) -> Result<Option<Known>, StoreError> {
        let mut tx = self.core.store.reader().await?;
        let sql = "SELECT person, address, thread, key, head, seq FROM messages WHERE bridge = $1 AND person = $2 AND stanza_id = $3 \
                   ORDER BY seq DESC LIMIT 1";
        if let Some(row) = tx.fetch_one(sql, args![bridge, user.as_str(), stanza_id]).await? {
            return known(&mut tx, &row).await.map(Some);
        }
        let sql =
            "SELECT key FROM outbox WHERE bridge = $1 AND person = $2 AND stanza_id = $3 ORDER BY seq DESC LIMIT 1";
        match tx.fetch_one(sql, args![bridge, user.as_str(), stanza_id]).await? {
            Some(row) => queued(&mut tx, &DeliveryKey::new(row.text(0)?)).await,
            None => Ok(None),
        }
    }
}

/// A row of the message map, with the network's ids of it (a joined message has those of the event that it was joined into).
async fn known(tx: &mut Tx, row: &crate::storage::Row) -> Result<Known, StoreError> {
    let mut known = Known::new(row.text(0)?.into(), from_json(&row.text(1)?)?);
    known.thread = row.opt_text(2)?;
    known.key = row.opt_text(3)?.map(DeliveryKey::new);
    let mut message = row.int(5)?;
    if let (Some(head), Some(key)) = (row.opt_text(4)?, &known.key)
        && head != key.as_str()
        && let Some(head) = tx.fetch_one("SELECT seq FROM messages WHERE key = $1", args![head]).await?
    {
        message = head.int(0)?;
    }
    for row in tx.fetch("SELECT id FROM foreign_ids WHERE message = $1 ORDER BY n", args![message]).await? {
        known.ids.push(row.text(0)?.into());
    }
    Ok(known)
}

async fn queued(tx: &mut Tx, key: &DeliveryKey) -> Result<Option<Known>, StoreError> {
    let Some(row) = tx.fetch_one("SELECT event FROM outbox WHERE key = $1", args![key.as_str()]).await? else {
        return Ok(None);
    };
    let event: Outbound = from_json(&row.text(0)?)?;
    let Some(to) = event.to.first() else { return Ok(None) };
    let mut known = Known::new(event.user.clone(), to.address.clone());
    known.thread = thread_of(&event);
    known.key = Some(event.key);
    Ok(Some(known))
}

pub(crate) fn thread_of(event: &Outbound) -> Option<String> {
    match &event.intent {
        Intent::Send(message) => message.thread.clone(),
        _ => None,
    }
}

/// Writes an ended event into the message map: one line per joined message, the ids and legs under the first. Outcomes that came early
/// find it now.
pub(crate) async fn remember(
    tx: &mut Tx,
    core: &Core,
    members: &[Stored],
    legs: &[Leg],
    told: &mut bool,
) -> Result<(), StoreError> {
    let Some(first) = members.first() else { return Ok(()) };
    if matches!(first.event.intent, Intent::Mark { .. } | Intent::React { .. } | Intent::Retract { .. }) {
        return Ok(()); // what is done to a message is none that anybody could refer to
    }
    let now = tx.now();
    let mut message = 0;
    for member in members.iter().rev() {
        let event = shortened(&member.event);
        let Some(to) = event.to.first() else { continue };
        let sender = member.sender.as_ref().map(to_json).transpose()?;
        let sql = "INSERT INTO messages (bridge, person, address, thread, key, head, stanza_id, sender, event, accepted, at) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING seq";
        let values = args![
            &member.bridge,
            event.user.as_str(),
            to_json(&to.address)?,
            thread_of(&event),
            &member.key,
            &first.key,
            &member.stanza_id,
            sender,
            to_json(&event)?,
            member.accepted,
            now,
        ];
        let row = tx.fetch_one(sql, values).await?.ok_or_else(|| StoreError::Fault("no row came back".into()))?;
        message = row.int(0)?; // the last one written is the first of the event
    }
    let mut names = vec![(String::new(), first.key.clone())];
    for leg in legs {
        let name = leg.to.as_ref().map_or("", ContactId::as_str);
        let rank = match &leg.result {
            Err(error) if error.sent == Sent::No => FAILED,
            _ => HANDED_OVER,
        };
        let sql = "INSERT INTO legs (head, leg, rank, at) VALUES ($1, $2, $3, $4) ON CONFLICT (head, leg) DO NOTHING";
        tx.execute(sql, args![&first.key, name, rank, now]).await?;
        let network = network_of(core, first, leg);
        for (n, id) in (0_i64..).zip(&leg.ids) {
            let sql = "INSERT INTO foreign_ids (bridge, network, id, message, leg, n) VALUES ($1, $2, $3, $4, $5, $6)";
            tx.execute(sql, args![&first.bridge, &network, id.as_str(), message, name, n]).await?;
            names.push((network.clone(), id.to_string()));
        }
    }
    for member in &members[1..] {
        names.push((String::new(), member.key.clone()));
    }
    for (network, id) in names {
        find_early(tx, core, first, (&network, &id), told).await?;
    }
    Ok(())
}

fn network_of(core: &Core, first: &Stored, leg: &Leg) -> String {
    let event = &first.event;
    let to = event.to.iter().find(|to| settle::leg_of(event, &to.address) == leg.to).or(event.to.first());
    to.map_or(String::new(), |to| core.carry.network(&first.bridge, &to.address).to_string())
}

/// The event for later words about it: all but a few words of its text goes.
fn shortened(event: &Outbound) -> Outbound {
    let mut event = event.clone();
    if let Intent::Send(message) = &mut event.intent {
        message.body = message.body.chars().take(80).collect();
        message.quoted = None;
    }
    event
}

async fn find_early(
    tx: &mut Tx,
    core: &Core,
    first: &Stored,
    (network, id): (&str, &str),
    told: &mut bool,
) -> Result<(), StoreError> {
    let sql = "DELETE FROM early WHERE bridge = $1 AND network = $2 AND id = $3 RETURNING seq, leg, what";
    let mut found = Vec::new();
    for row in tx.fetch(sql, args![&first.bridge, network, id]).await? {
        found.push((row.int(0)?, row.opt_text(1)?, from_json::<Late>(&row.text(2)?)?));
    }
    found.sort_by_key(|(seq, ..)| *seq);
    for (_, leg, what) in found {
        apply(tx, core, &first.key, leg.as_deref(), &what, told).await?;
    }
    Ok(())
}

/// Gives whether somebody was told.
async fn record(
    tx: &mut Tx,
    core: &Core,
    bridge: &str,
    of: &MessageRef,
    leg: Option<&ContactId>,
    what: &Late,
) -> Result<bool, StoreError> {
    let (network, id) = match of {
        MessageRef::Key(key) => ("", key.as_str()),
        MessageRef::Foreign { network, id } => (network.as_str(), id.as_str()),
        _ => return Ok(false),
    };
    let row = if network.is_empty() {
        tx.fetch_one("SELECT head, '' FROM messages WHERE key = $1", args![id]).await?
    } else {
        let sql = "SELECT m.head, f.leg FROM foreign_ids f JOIN messages m ON m.seq = f.message \
                   WHERE f.bridge = $1 AND f.network = $2 AND f.id = $3 AND m.key IS NOT NULL ORDER BY m.seq DESC LIMIT 1";
        tx.fetch_one(sql, args![bridge, network, id]).await?
    };
    let mut told = false;
    if let Some(row) = row {
        let (head, own_leg) = (row.text(0)?, row.opt_text(1)?.filter(|leg| !leg.is_empty()));
        let leg = leg.map(|leg| leg.to_string()).or(own_leg);
        apply(tx, core, &head, leg.as_deref(), what, &mut told).await?;
    } else {
        let sql = "INSERT INTO early (bridge, network, id, leg, what, at) VALUES ($1, $2, $3, $4, $5, $6)";
        let leg = leg.map(|leg| leg.to_string());
        tx.execute(sql, args![bridge, network, id, leg, to_json(what)?, tx.now()]).await?;
    }
    Ok(told)
}

/// Raises the legs that an outcome is about and tells the senders of all messages of the event.
async fn apply(
    tx: &mut Tx,
    core: &Core,
    head: &str,
    leg: Option<&str>,
    what: &Late,
    told: &mut bool,
) -> Result<(), StoreError> {
    let mut legs = Vec::new();
    for row in tx.fetch("SELECT leg, rank FROM legs WHERE head = $1", args![head]).await? {
        legs.push((row.text(0)?, row.int(1)?));
    }
    let many = legs.len() > 1;
    let chosen: Vec<usize> = match leg {
        Some(name) if many => (0..legs.len()).filter(|i| legs[*i].0 == name).collect(),
        _ => (0..legs.len()).collect(),
    };
    let rank = match what {
        Late::Delayed(_) => DELAYED,
        Late::Failed(_) => FAILED,
        Late::Delivered => DELIVERED,
        Late::Displayed => DISPLAYED,
        _ => return Ok(()),
    };
    let mut news = Vec::new();
    for i in chosen {
        let before = legs[i].1;
        if before >= rank {
            continue;
        }
        legs[i].1 = rank;
        let sql = "UPDATE legs SET rank = $1, at = $2 WHERE head = $3 AND leg = $4";
        tx.execute(sql, args![rank, tx.now(), head, &legs[i].0]).await?;
        let all = |rank| legs.iter().all(|(_, has)| *has >= rank);
        let leg = many.then(|| ContactId::new(legs[i].0.as_str()));
        match what {
            Late::Delayed(reason) => news.push(News::Delayed { leg, reason: reason.clone() }),
            Late::Failed(error) => news.push(News::Failed { leg, error: error.clone() }),
            Late::Delivered => news.push(News::Delivered { leg, all: all(DELIVERED) }),
            _ => {
                if before < DELIVERED {
                    news.push(News::Delivered { leg: leg.clone(), all: all(DELIVERED) });
                }
                news.push(News::Displayed { leg, all: all(DISPLAYED) });
            }
        }
    }
    if news.is_empty() {
        return Ok(());
    }
    let sql =
        "SELECT sender, event, accepted FROM messages WHERE head = $1 AND key IS NOT NULL ORDER BY accepted, seq DESC";
    for row in tx.fetch(sql, args![head]).await? {
        let sender: Option<Sender> = row.opt_text(0)?.map(|text| from_json(&text)).transpose()?;
        let event: Outbound = from_json(&row.text(1)?)?;
        for news in &news {
            settle::tell(tx, core, (sender.as_ref(), &event, row.int(2)?), news, told).await?;
        }
    }
    Ok(())
}

/// See [`Outbox::sweep`]. A thousand rows at a time, so that no commit is held up.
pub(crate) async fn sweep(store: &Store, keep: Duration) -> Result<(), StoreError> {
    let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
    loop {
        let removed = store.write(keep, |tx, keep| {
            Box::pin(async move {
                let (old, early) = (tx.now().saturating_sub(*keep), tx.now() - EARLY);
                let gone = "SELECT seq FROM messages WHERE at < $1 ORDER BY at LIMIT 1000";
                let mut removed = 0;
                for row in tx.fetch(gone, args![old]).await? {
                    tx.execute("DELETE FROM foreign_ids WHERE message = $1", args![row.int(0)?]).await?;
                    removed += tx.execute("DELETE FROM messages WHERE seq = $1", args![row.int(0)?]).await?;
                }
                tx.execute("DELETE FROM legs WHERE at < $1", args![old]).await?;
                tx.execute("DELETE FROM early WHERE at < $1", args![early]).await?;
                Ok(removed)
            })
        });
        if removed.await? < 1000 {
            return Ok(());
        }
    }
}
