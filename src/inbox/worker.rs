//! One task per bridge: prepares user by user, sends in windows, each with its barrier.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use isthmus_bridge::{Inbound, StoreError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::rows::{self, Fate, Outgoing};
use super::{Core, Later, Rendered, WireLost, bounce};
use crate::args;
use crate::storage::{Queue, fresh_id};

/// Users whose events are prepared at once.
const PREPARING: usize = 16;
const POLL: i64 = 30_000;
const LEASE: i64 = 60_000;
const RENEW: i64 = 20_000;
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// Ends of [`Prepare::prepare`](super::Prepare::prepare) by panic before a row is set aside.
const PANICS: i64 = 3;

enum Done {
    /// What had been taken just before the stream ended waits for the next one.
    Doubted,
    Found(Result<Vec<String>, StoreError>),
    Prepared(String),
    /// A window: how many rows it had, and whether its stream ended.
    Sent {
        rows: usize,
        lost: Option<u64>,
    },
    NextDue(Option<i64>),
    /// Whether the lease is held now, and whether it was asked for at all (the link was attached).
    Leased {
        held: bool,
        asked: bool,
    },
}

struct Worker {
    core: Arc<Core>,
    bridge: String,
    owner: String,
    jobs: FuturesUnordered<BoxFuture<'static, Done>>,
    preparing: HashSet<String>,
    finding: bool,
    look: bool,
    sending: bool,
    send: bool,
    /// The stream that was there last, and whether its last moments are being looked at: until then nothing is sent on the next one.
    stream: Option<u64>,
    /// When it was there first.
    since: i64,
    doubting: bool,
    dead: Option<u64>,
    look_at: i64,
    /// On a database of several processes only one works a bridge's inbox at a time.
    leased: bool,
    lease_at: i64,
    /// One question for the lease at a time: two could both find it new, and the later one would reopen what the first has begun to send.
    leasing: bool,
}

pub(crate) async fn run(core: Arc<Core>, bridge: &str, stop: CancellationToken) {
    let bell = core.store.bell(Queue::Inbox, bridge);
    let clock = core.store.clock().clone();
    let mut attached = core.wire.attached(bridge);
    let mut worker = Worker::new(core, bridge);
    worker.begin().await;
    loop {
        let epoch = *attached.borrow_and_update();
        worker.on_stream(epoch);
        worker.work();
        let next_time = worker.next_time();
        tokio::select! {
            () = stop.cancelled() => break,
            () = bell.notified() => worker.wake(),
            Some(done) = worker.jobs.next(), if !worker.jobs.is_empty() => worker.on_done(done),
            () = changed(&mut attached) => {}
            () = clock.sleep_until(next_time) => worker.on_time(),
        }
    }
    let finish = async { while worker.jobs.next().await.is_some() {} };
    if tokio::time::timeout(STOP_WITHIN, finish).await.is_err() {
        tracing::warn!(bridge, "the last batch was not acknowledged at the stop; it is sent again at the next start");
    }
    worker.release().await;
}

/// Waits for another state of the link; for ever when the link has gone.
async fn changed(attached: &mut watch::Receiver<Option<u64>>) {
    if attached.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

impl Worker {
    fn new(core: Arc<Core>, bridge: &str) -> Self {
        let now = core.store.clock().now();
        let shared = core.store.is_shared();
        Self {
            core,
            bridge: bridge.to_owned(),
            owner: fresh_id(),
            jobs: FuturesUnordered::new(),
            preparing: HashSet::new(),
            finding: false,
            look: true,
            sending: false,
            send: true,
            stream: None,
            since: now,
            doubting: false,
            dead: None,
            look_at: now + POLL,
            leased: !shared,
            lease_at: if shared { now } else { i64::MAX },
            leasing: false,
        }
    }

    async fn begin(&mut self) {
        if self.leased {
            reopen(&self.core, &self.bridge).await;
        }
    }

    fn wake(&mut self) {
        self.look = true;
        self.send = true;
    }

    /// Looks at the link. Another stream: what waits may be sent on it, and this process wants the inbox's lease. None: what was sent last is in doubt.
    fn on_stream(&mut self, stream: Option<u64>) {
        if self.stream == stream {
            return;
        }
        let ended = self.stream.is_some();
        self.stream = stream;
        self.since = self.core.store.clock().now();
        self.wake();
        if !self.leased {
            self.lease_at = self.since;
        } else if ended && !self.doubting {
            self.doubting = true;
            let (core, bridge) = (self.core.clone(), self.bridge.clone());
            self.jobs.push(Box::pin(async move {
                doubt(&core, &bridge).await;
                Done::Doubted
            }));
        }
    }

    fn next_time(&self) -> i64 {
        if self.leasing { self.look_at } else { self.look_at.min(self.lease_at) }
    }

    fn on_time(&mut self) {
        let now = self.core.store.clock().now();
        if now >= self.look_at {
            self.look_at = now + POLL;
            self.wake();
        }
        if now >= self.lease_at && !self.leasing {
            self.lease_at = now + RENEW;
            self.lease();
        }
    }

    /// Starts what can be done now.
    fn work(&mut self) {
        if !self.leased {
            return;
        }
        if self.look && !self.finding && self.preparing.len() < PREPARING {
            self.look = false;
            self.finding = true;
            let (core, bridge) = (self.core.clone(), self.bridge.clone());
            self.jobs.push(Box::pin(async move { Done::Found(find(&core, &bridge).await) }));
        }
        let Some(epoch) = self.stream.filter(|stream| self.dead != Some(*stream)) else { return };
        if self.send && !self.sending && !self.doubting {
            self.send = false;
            self.sending = true;
            let (core, bridge, since) = (self.core.clone(), self.bridge.clone(), self.since);
            self.jobs.push(Box::pin(async move { send(&core, &bridge, epoch, since).await }));
        }
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Doubted => {
                self.doubting = false;
                self.send = true;
            }
            Done::Found(found) => self.on_found(found),
            Done::Prepared(person) => {
                self.preparing.remove(&person);
                self.wake(); // another row of the user may have come while the last one was prepared
                self.ask_next_due();
            }
            Done::Sent { rows, lost } => {
                self.sending = false;
                self.dead = lost.or(self.dead);
                if rows > 0 {
                    self.send = true;
                } else {
                    self.ask_next_due();
                }
            }
            Done::NextDue(due) => self.look_at = due.map_or(self.look_at, |due| self.look_at.min(due)),
            Done::Leased { held, asked } => self.on_leased(held, asked),
        }
    }

    fn on_leased(&mut self, held: bool, asked: bool) {
        self.leasing = false;
        if held && !self.leased {
            self.wake();
        }
        self.leased = held;
        if !asked && self.is_attached() {
            self.lease_at = self.core.store.clock().now(); // attached while the answer was on its way
        }
    }

    fn is_attached(&self) -> bool {
        self.core.wire.attached(&self.bridge).borrow().is_some()
    }

    fn on_found(&mut self, found: Result<Vec<String>, StoreError>) {
        self.finding = false;
        match found {
            Ok(persons) => {
                for person in persons {
                    if self.preparing.len() >= PREPARING || !self.preparing.insert(person.clone()) {
                        continue;
                    }
                    let (core, bridge) = (self.core.clone(), self.bridge.clone());
                    self.jobs.push(Box::pin(async move {
                        prepare_all(&core, &bridge, &person).await;
                        Done::Prepared(person)
                    }));
                }
            }
            Err(error) => {
                tracing::warn!(bridge = self.bridge, %error, "cannot read the inbox");
                self.look_at = self.core.store.clock().now() + 1000;
            }
        }
    }

    fn ask_next_due(&self) {
        let (core, bridge) = (self.core.clone(), self.bridge.clone());
        self.jobs.push(Box::pin(async move {
            let now = core.store.clock().now();
            Done::NextDue(rows::next_due(&core.store, &bridge).await.unwrap_or(Some(now + 1000)))
        }));
    }

    /// Takes or keeps the lease of this bridge's inbox. Only a process that is attached wants it.
    fn lease(&mut self) {
        self.leasing = true;
        let (core, bridge, owner) = (self.core.clone(), self.bridge.clone(), self.owner.clone());
        let (held, attached) = (self.leased, self.is_attached());
        self.jobs.push(Box::pin(async move {
            if !attached {
                return Done::Leased { held: false, asked: false };
            }
            let name = format!("inbox:{bridge}");
            let ours = core.store.write((name, owner), |tx, (name, owner)| {
                Box::pin(async move {
                    let now = tx.now();
                    let sql = "INSERT INTO lanes (lane, bridge, person, due, owner, touched) VALUES ($1, '', '', $2, $3, 0) \
                               ON CONFLICT (lane) DO UPDATE SET owner = excluded.owner, due = excluded.due \
                               WHERE lanes.owner IS NULL OR lanes.owner = excluded.owner OR lanes.due < $4";
                    Ok(tx.execute(sql, args![name, now + LEASE, owner, now]).await? == 1)
                })
            });
            let ours = ours.await.unwrap_or(false);
            if ours && !held {
                reopen(&core, &bridge).await;
            }
            Done::Leased { held: ours, asked: true }
        }));
    }

    async fn release(&mut self) {
        if !self.core.store.is_shared() {
            return;
        }
        let done = self.core.store.write(self.owner.clone(), |tx, owner| {
            Box::pin(async move {
                tx.execute("UPDATE lanes SET owner = NULL WHERE bridge = '' AND owner = $1", args![owner]).await
            })
        });
        if let Err(error) = done.await {
            tracing::debug!(%error, "the lease runs out by itself");
        }
    }
}

/// Waits for the database if it must: nothing may be sent before it is known what was sent already.
async fn reopen(core: &Core, bridge: &str) {
    loop {
        match core.store.write(bridge.to_owned(), |tx, bridge| Box::pin(rows::reopen_sent(tx, bridge))).await {
            Ok(_) => return,
            Err(error) => tracing::warn!(bridge, %error, "cannot read the inbox yet"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// A server that is going down answers the barrier, and yet what it took in its last moments may reach nobody (seen on ejabberd, stopped in order:
/// the barrier came back 10 ms before the stream ended). So that much is sent again, under the same ids.
async fn doubt(core: &Core, bridge: &str) {
    loop {
        match core.store.write(bridge.to_owned(), |tx, bridge| Box::pin(rows::reopen_taken(tx, bridge))).await {
            Ok(0) => return,
            Ok(rows) => {
                return tracing::info!(
                    bridge,
                    rows,
                    "the stream ended just after these were taken; they are sent again"
                );
            }
            Err(error) => tracing::warn!(bridge, %error, "cannot look at what was sent last yet"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Users who have something to be prepared now.
async fn find(core: &Core, bridge: &str) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT DISTINCT person FROM inbox WHERE bridge = $1 AND state = 0 AND due <= $2 LIMIT 64";
    let rows = core.store.read(sql, args![bridge, core.store.clock().now()]).await?;
    rows.iter().map(|row| row.text(0)).collect()
}

/// Prepares a user's events one after the other, until none is left or one has to wait.
async fn prepare_all(core: &Core, bridge: &str, person: &str) {
    loop {
        let received = match rows::received(&core.store, bridge, person).await {
            Ok(received) if received.is_empty() => return,
            Ok(received) => received,
            Err(error) => {
                tracing::warn!(bridge, %error, "cannot read the inbox");
                return tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        for row in received {
            let waits = if row.due > core.store.clock().now() {
                Some((row.due, "waits for an earlier one".to_owned()))
            } else {
                prepare_one(core, bridge, &row).await
            };
            if let Some((due, why)) = waits {
                let data = (bridge.to_owned(), person.to_owned(), why);
                let done = core.store.write(data, move |tx, (bridge, person, why)| {
                    Box::pin(rows::postpone(tx, bridge, person, due, why))
                });
                if done.await.is_err() {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                return;
            }
        }
    }
}

/// Prepares one row and commits its stanzas; gives until when it, and all behind it, must wait.
async fn prepare_one(core: &Core, bridge: &str, row: &rows::Received) -> Option<(i64, String)> {
    let in_a_while = |seconds: i64| core.store.clock().now() + seconds * 1000;
    let stanzas = match &row.event {
        Ok(event) => call(core, bridge, &row.id, event).await,
        Err(error) => Err(Trouble::Hopeless(error.to_string())),
    };
    let data = (bridge.to_owned(), row.id.clone());
    let done = match stanzas {
        Ok(stanzas) => {
            let data = (data, stanzas);
            core.store
                .write(data, |tx, ((bridge, id), stanzas)| Box::pin(rows::prepared(tx, bridge, id, stanzas)))
                .await
        }
        Err(Trouble::Later(later)) => {
            tracing::info!(bridge, why = later.why, "an inbound event waits");
            let pause = i64::try_from(later.after.as_secs()).unwrap_or(60).clamp(1, 3600);
            return Some((in_a_while(pause), later.why));
        }
        Err(Trouble::Panic) if row.ends + 1 < PANICS => {
            let sql = "UPDATE inbox SET ends = ends + 1 WHERE id = $1";
            let done = core
                .store
                .write(data, move |tx, (_, id)| Box::pin(async move { tx.execute(sql, args![id]).await }))
                .await;
            if let Err(error) = done {
                tracing::warn!(bridge, %error, "cannot count a panic");
            }
            return Some((in_a_while(30), "preparing it broke off".into()));
        }
        Err(trouble) => {
            let why = trouble.to_string();
            tracing::error!(bridge, row = row.id, why, "an inbound event cannot be prepared and was set aside");
            let data = (data, why);
            let done = core
                .store
                .write(data, |tx, ((bridge, id), why)| Box::pin(bounce::quarantine(tx, bridge, id, why)))
                .await;
            core.store.bell(Queue::Outbox, bridge).notify_one();
            done
        }
    };
    if done.is_ok() {
        core.store.bell(Queue::Inbox, bridge).notify_one();
    }
    done.err().map(|error| (in_a_while(1), error.to_string()))
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Later(Later),
    #[error("preparing it broke off again and again")]
    Panic,
    #[error("{0}")]
    Hopeless(String),
}

async fn call(core: &Core, bridge: &str, row: &str, event: &Inbound) -> Result<Vec<Rendered>, Trouble> {
    match AssertUnwindSafe(core.prepare.prepare(bridge, row, event)).catch_unwind().await {
        Ok(Ok(stanzas)) => Ok(stanzas),
        Ok(Err(later)) => Err(Trouble::Later(later)),
        Err(_) => Err(Trouble::Panic),
    }
}

/// Sends one window and waits for its barrier. The stream is there `since` then.
async fn send(core: &Core, bridge: &str, epoch: u64, since: i64) -> Done {
    let (rows, stanzas) = match rows::window(&core.store, bridge, since).await {
        Ok((rows, _)) if rows.is_empty() => return Done::Sent { rows: 0, lost: None },
        Ok(window) => window,
        Err(error) => {
            tracing::warn!(bridge, %error, "cannot read the inbox");
            tokio::time::sleep(Duration::from_secs(1)).await;
            return Done::Sent { rows: 1, lost: None };
        }
    };
    if let Err(error) = mark_once(core, &rows, Fate::Sending).await {
        tracing::warn!(bridge, %error, "cannot mark a batch as sent; it waits");
        tokio::time::sleep(Duration::from_secs(1)).await;
        return Done::Sent { rows: rows.len(), lost: None };
    }
    let sent = core.wire.send(bridge, epoch, &stanzas).await;
    let fate = match sent {
        Ok(()) => Fate::Taken,
        Err(WireLost::NotWritten) => Fate::NotWritten,
        Err(WireLost::Ended) => Fate::Ended,
    };
    match rows.as_slice() {
        [alone] if fate == Fate::Ended && alone.ends >= rows::SUSPECT => set_aside(core, bridge, alone).await,
        _ => mark_surely(core, &rows, fate).await,
    }
    Done::Sent { rows: rows.len(), lost: sent.is_err().then_some(epoch) }
}

async fn mark_once(core: &Core, rows: &[Outgoing], fate: Fate) -> Result<(), StoreError> {
    let rows = rows.to_vec();
    core.store.write(rows, move |tx, rows| Box::pin(rows::mark(tx, rows, fate))).await
}

/// Nothing else is sent before it is written down what became of the last batch.
async fn mark_surely(core: &Core, rows: &[Outgoing], fate: Fate) {
    while let Err(error) = mark_once(core, rows, fate).await {
        tracing::error!(%error, "what became of a batch could not be recorded yet");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// It ended the stream a third time, and alone: it is what the server cannot bear.
async fn set_aside(core: &Core, bridge: &str, row: &Outgoing) {
    tracing::error!(bridge, row = row.id, "a stanza ends the stream again and again; it was set aside");
    let data = (bridge.to_owned(), row.id.clone());
    let why = "the server ended the stream on it three times";
    while let Err(error) =
        core.store.write(data.clone(), move |tx, (bridge, id)| Box::pin(bounce::quarantine(tx, bridge, id, why))).await
    {
        tracing::error!(bridge, %error, "a row could not be set aside yet");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    core.store.bell(Queue::Outbox, bridge).notify_one();
}
