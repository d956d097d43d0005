//! Accepting many events at once: those that wait for the writer go into the table by a few statements of many rows.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use isthmus_bridge::StoreError;
use tokio::sync::oneshot;

use super::rows::{self, New};
use crate::args;
use crate::storage::{Arg, Store, Tx};

/// Rows of one statement, the largest first; what is left goes row by row.
const ROWS: [usize; 2] = [64, 8];
/// Events of one operation, at most.
const MOST: usize = 512;

const LANE_HEAD: &str = "INSERT INTO lanes (lane, bridge, person, due, owner, touched) VALUES ";
const LANE_TAIL: &str = " ON CONFLICT (lane) DO UPDATE SET touched = lanes.touched + 1";
const EVENT_HEAD: &str = "INSERT INTO outbox (key, bridge, person, lane, stanza_id, state, attempt, tries, ends, fixed, noticed, \
                          accepted, due, sender, event) VALUES ";
const EVENT_TAIL: &str = " ON CONFLICT (key) DO NOTHING";

static LANES: LazyLock<[String; 2]> =
    LazyLock::new(|| ROWS.map(|rows| many(rows, LANE_HEAD, "(?, ?, ?, ?, NULL, 0)", LANE_TAIL)));
static EVENTS: LazyLock<[String; 2]> = LazyLock::new(|| {
    ROWS.map(|rows| many(rows, EVENT_HEAD, "(?, ?, ?, ?, ?, 0, 0, 0, 0, 0, 0, ?, ?, ?, ?)", EVENT_TAIL))
});

/// A statement of so many rows, its `?` numbered.
fn many(rows: usize, head: &str, row: &str, tail: &str) -> String {
    let mut number = 0;
    let rows: Vec<String> = (0..rows)
        .map(|_| {
            let mut parts = row.split('?');
            let first = parts.next().unwrap_or_default().to_owned();
            parts.fold(first, |row, part| {
                number += 1;
                format!("{row}${number}{part}")
            })
        })
        .collect();
    format!("{head}{}{tail}", rows.join(", "))
}

type Waiting = (Arc<New>, oneshot::Sender<Result<(), StoreError>>);

/// Events that wait for the writer's next turn.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<List>,
}

#[derive(Default)]
struct List {
    events: Vec<Waiting>,
    /// An operation is on its way that will take what waits.
    under_way: bool,
}

impl Queue {
    /// Returns when the event is on disk.
    pub(crate) async fn accept(self: &Arc<Self>, store: &Store, new: New) -> Result<(), StoreError> {
        let (done, answer) = oneshot::channel();
        let first = {
            let mut list = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            list.events.push((Arc::new(new), done));
            !std::mem::replace(&mut list.under_way, true)
        };
        if first {
            // A task of its own: whoever waits may go away, the others must not wait for ever.
            tokio::spawn(commit(self.clone(), store.clone()));
        }
        answer.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the store is closed".into())))
    }

    fn take(&self) -> Vec<Waiting> {
        let mut list = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = list.events.len().min(MOST);
        let taken: Vec<Waiting> = list.events.drain(..count).collect();
        list.under_way = false;
        taken
    }

    /// What was more than one operation takes needs another one.
    fn go_on(self: &Arc<Self>, store: &Store) {
        let more = {
            let mut list = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            !list.events.is_empty() && !std::mem::replace(&mut list.under_way, true)
        };
        if more {
            tokio::spawn(commit(self.clone(), store.clone()));
        }
    }
}

/// What one operation has taken: when the writer gets to it, so that all that came until then is in it; the same at a second run.
struct Group {
    queue: Arc<Queue>,
    store: Store,
    taken: Mutex<Option<Vec<Waiting>>>,
}

impl Group {
    fn events(&self) -> Vec<Arc<New>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let events = taken.get_or_insert_with(|| {
            let events = self.queue.take();
            self.queue.go_on(&self.store);
            events
        });
        events.iter().map(|(new, _)| new.clone()).collect()
    }

    fn waiting_rows(&self) -> Vec<Waiting> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.unwrap_or_else(|| self.queue.take())
    }
}

async fn commit(queue: Arc<Queue>, store: Store) {
    let group = Arc::new(Group { queue, store: store.clone(), taken: Mutex::new(None) });
    let op = store.write(group.clone(), |tx, group| {
        let events = group.events();
        Box::pin(async move { put(tx, &events).await })
    });
    let done = op.await;
    let waiting = group.waiting_rows();
    group.queue.go_on(&store);
    for (new, answer) in waiting {
        let done = match &done {
            // One of them cannot be written: each by itself.
            Err(StoreError::Fault(_)) => store.write(new, |tx, new| Box::pin(rows::accept(tx, new))).await,
            done => done.clone(),
        };
        let _ = answer.send(done); // whoever asked may have gone
    }
}

async fn put(tx: &mut Tx, events: &[Arc<New>]) -> Result<(), StoreError> {
    let now = tx.now();
    // PostgreSQL does not let one statement touch a row twice.
    let mut lanes: Vec<&New> = events.iter().map(AsRef::as_ref).collect();
    lanes.sort_by(|a, b| a.lane.cmp(&b.lane));
    lanes.dedup_by(|a, b| a.lane == b.lane);
    let mut lanes = lanes.as_slice();
    for (rows, sql) in ROWS.into_iter().zip(LANES.iter()) {
        while let Some((chunk, rest)) = lanes.split_at_checked(rows) {
            tx.execute(sql, chunk.iter().flat_map(|new| new.lane_values(now)).collect()).await?;
            lanes = rest;
        }
    }
    for new in lanes {
        rows::open_lane(tx, new).await?;
    }
    let mut events = events;
    for (rows, sql) in ROWS.into_iter().zip(EVENTS.iter()) {
        while let Some((chunk, rest)) = events.split_at_checked(rows) {
            tx.execute(sql, chunk.iter().flat_map(|new| new.event_values(now)).collect()).await?;
            events = rest;
        }
    }
    for new in events {
        rows::insert(tx, new).await?;
    }
    Ok(())
}

impl New {
    fn lane_values(&self, now: i64) -> Vec<Arg> {
        args![&self.lane, &self.bridge, &self.person, now + self.window]
    }

    fn event_values(&self, now: i64) -> Vec<Arg> {
        let (due, sender) = (now + self.window, &self.sender);
        args![&self.key, &self.bridge, &self.person, &self.lane, &self.stanza_id, now, due, sender, &self.event]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_of_many_rows_number_their_arguments() {
        let sql = many(3, "INSERT INTO t VALUES ", "(?, 0, ?)", " END");
        assert_eq!(sql, "INSERT INTO t VALUES ($1, 0, $2), ($3, 0, $4), ($5, 0, $6) END");
    }
}
