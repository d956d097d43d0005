//! One task per bridge: leases lanes, hands their events to sessions, waits for the answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use isthmus_bridge::{Delivery, DeliveryKey, Outcome, SessionOf, StoreError, Ticket, TicketSink};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::rows::{self, Claimed, Claims, LEASE, Wish};
use super::{Core, settle};
use crate::args;
use crate::storage::{Queue, fresh_id};

/// Lanes of one bridge that are worked at once.
const AT_ONCE: usize = 256;
const RENEW: i64 = 20_000;
/// How often a database that others use too is asked for due lanes.
const SHARED_POLL: i64 = 1000;
const POLL: i64 = 30_000;
const STOP_WITHIN: Duration = Duration::from_secs(10);

type Answer = (DeliveryKey, u32, Outcome);

/// Where tickets are answered.
struct Desk {
    core: Arc<Core>,
    answers: mpsc::UnboundedSender<Answer>,
}

#[async_trait]
impl TicketSink for Desk {
    async fn starting(&self, key: &DeliveryKey, attempt: u32) -> Result<(), StoreError> {
        let data = (key.to_string(), attempt);
        let ours = self.core.store.write(data, |tx, (key, attempt)| Box::pin(rows::start(tx, key, *attempt)));
        match ours.await? {
            true => Ok(()),
            false => Err(StoreError::Unavailable("the event was withdrawn, or its lease was lost".into())),
        }
    }

    fn settle(&self, key: DeliveryKey, attempt: u32, outcome: Outcome) {
        // When the worker has gone the process is ending; what was started is uncertain then, and is found by the next run.
        let _ = self.answers.send((key, attempt, outcome));
    }
}

/// An event in a session's hands.
struct Flight {
    attempt: u32,
    lane: String,
    person: String,
    deadline: i64,
    answered: bool,
}

enum Done {
    Claimed(Result<Claims, StoreError>),
    Settled { key: DeliveryKey, attempt: u32, next: Option<Box<Claimed>> },
    Renewed,
}

struct Worker {
    core: Arc<Core>,
    bridge: String,
    owner: String,
    desk: Arc<Desk>,
    flights: HashMap<DeliveryKey, Flight>,
    jobs: FuturesUnordered<BoxFuture<'static, Done>>,
    claiming: bool,
    look_at: i64,
    renew_at: i64,
    stopping: bool,
}

pub(crate) async fn run(core: Arc<Core>, bridge: &str, stop: CancellationToken) {
    let (answers, mut answered) = mpsc::unbounded_channel();
    let now = core.store.clock().now();
    let mut worker = Worker {
        desk: Arc::new(Desk { core: core.clone(), answers }),
        bridge: bridge.to_owned(),
        owner: fresh_id(),
        flights: HashMap::new(),
        jobs: FuturesUnordered::new(),
        claiming: false,
        look_at: now,
        renew_at: now + RENEW,
        stopping: false,
        core,
    };
    if !worker.core.store.is_shared() {
        worker.take_over().await;
    }
    let bell = worker.core.store.bell(Queue::Outbox, bridge);
    let clock = worker.core.store.clock().clone();
    while !stop.is_cancelled() {
        worker.work();
        let wake_at = worker.wake_at();
        tokio::select! {
            () = stop.cancelled() => break,
            () = bell.notified() => worker.look_at = 0,
            Some(answer) = answered.recv() => worker.on_answer(answer),
            Some(done) = worker.jobs.next(), if !worker.jobs.is_empty() => worker.on_done(done),
            () = clock.sleep_until(wake_at) => worker.on_time(),
        }
    }
    worker.stopping = true;
    // Sessions end at the same time and still answer for what they have in hand.
    let finish = async {
        while !worker.flights.is_empty() || !worker.jobs.is_empty() {
            tokio::select! {
                Some(answer) = answered.recv() => worker.on_answer(answer),
                Some(done) = worker.jobs.next(), if !worker.jobs.is_empty() => worker.on_done(done),
            }
        }
    };
    if tokio::time::timeout(STOP_WITHIN, finish).await.is_err() {
        tracing::warn!(bridge, "not every event was answered at the stop; those that were started count as uncertain");
    }
}

impl Worker {
    /// An embedded database has one process: what is leased was leased by one that has ended.
    async fn take_over(&mut self) {
        let sql = "UPDATE lanes SET owner = NULL, due = $1 WHERE bridge = $2 AND owner IS NOT NULL";
        loop {
            let done = self.core.store.write(self.bridge.clone(), move |tx, bridge| {
                Box::pin(async move {
                    let now = tx.now();
                    tx.execute(sql, args![now, bridge]).await
                })
            });
            match done.await {
                Ok(lanes) => return tracing::debug!(bridge = self.bridge, lanes, "taken over"),
                Err(error) => tracing::warn!(bridge = self.bridge, %error, "cannot read the outbox yet"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Starts what is to be done now: a claim, a renewal.
    fn work(&mut self) {
        let now = self.core.store.clock().now();
        if now >= self.renew_at {
            self.renew_at = now + RENEW;
            self.renew();
        }
        if now >= self.look_at && !self.claiming && self.flights.len() < AT_ONCE {
            self.claiming = true;
            let poll = if self.core.store.is_shared() { SHARED_POLL } else { POLL };
            self.look_at = now + poll;
            self.claim();
        }
    }

    fn wake_at(&self) -> i64 {
        let deadline = self.flights.values().filter(|flight| !flight.answered).map(|flight| flight.deadline).min();
        let look = if self.claiming || self.flights.len() >= AT_ONCE { i64::MAX } else { self.look_at };
        // A manual clock and the system's alike: at least once a poll, so that nothing is missed for ever.
        let most = self.core.store.clock().now() + POLL;
        deadline.unwrap_or(i64::MAX).min(look).min(self.renew_at).min(most)
    }

    fn claim(&self) {
        let mut busy = HashMap::<String, usize>::new();
        for flight in self.flights.values() {
            *busy.entry(flight.person.clone()).or_default() += 1;
        }
        let want = AT_ONCE - self.flights.len();
        let wish = Wish { bridge: self.bridge.clone(), owner: self.owner.clone(), want, busy };
        let core = self.core.clone();
        self.jobs.push(Box::pin(async move {
            let store = core.store.clone();
            Done::Claimed(store.write((core, wish), |tx, (core, wish)| Box::pin(rows::claim(tx, core, wish))).await)
        }));
    }

    fn renew(&self) {
        let (core, data) = (self.core.clone(), (self.bridge.clone(), self.owner.clone()));
        self.jobs.push(Box::pin(async move {
            let done = core.store.write(data, |tx, (bridge, owner)| {
                Box::pin(async move {
                    let until = tx.now() + LEASE;
                    tx.execute(
                        "UPDATE lanes SET due = $1 WHERE bridge = $2 AND owner = $3",
                        args![until, bridge, owner],
                    )
                    .await
                })
            });
            if let Err(error) = done.await {
                tracing::warn!(%error, "leases could not be renewed");
            }
            Done::Renewed
        }));
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Claimed(claims) => self.on_claims(claims),
            Done::Settled { key, attempt, next } => {
                if self.flights.get(&key).is_some_and(|flight| flight.attempt == attempt) {
                    self.flights.remove(&key);
                }
                if let Some(next) = next {
                    self.launch(*next);
                }
                // The lane may have been given back with something that is due soon.
                self.look_at = 0;
            }
            Done::Renewed => {}
        }
    }

    fn on_claims(&mut self, claims: Result<Claims, StoreError>) {
        self.claiming = false;
        let now = self.core.store.clock().now();
        match claims {
            Ok(claims) => {
                self.ring(claims.told);
                if let Some(next) = claims.next {
                    self.look_at = self.look_at.min(next.max(now));
                }
                for claimed in claims.work {
                    self.launch(claimed);
                }
            }
            Err(error) => {
                tracing::warn!(bridge = self.bridge, %error, "cannot claim from the outbox");
                self.look_at = now + 1000;
            }
        }
    }

    fn ring(&self, told: bool) {
        if told {
            self.core.store.bell(Queue::Inbox, &self.bridge).notify_one();
        }
    }

    /// Hands an event to its session.
    fn launch(&mut self, claimed: Claimed) {
        let Claimed { lane, key, attempt, event, network } = claimed;
        let profile = self.core.carry.profile(&self.bridge);
        let within = profile.map_or(Duration::from_secs(600), |profile| profile.answer_within);
        let deadline = self.core.store.clock().now() + i64::try_from(within.as_millis()).unwrap_or(LEASE);
        let person = event.user.to_string();
        let of = SessionOf::new(event.user.clone(), network);
        let flight = Flight { attempt, lane, person, deadline, answered: false };
        self.flights.insert(key.clone(), flight);
        let sink: Arc<dyn TicketSink> = self.desk.clone();
        let delivery = Box::new(Delivery::new(event, Ticket::new(key.clone(), attempt, sink)));
        let refused = if self.stopping { Err(delivery) } else { self.core.carry.carry(&self.bridge, of, delivery) };
        if let Err(delivery) = refused {
            self.finish(key, attempt, None);
            drop(delivery); // its ticket answers "dropped", which nobody waits for any more
        }
    }

    fn on_answer(&mut self, (key, attempt, outcome): Answer) {
        let waits = |flight: &Flight| flight.attempt == attempt && !flight.answered;
        if self.flights.get(&key).is_some_and(waits) {
            self.finish(key, attempt, Some(outcome));
        }
    }

    /// Deadlines that have passed count as unknown ends.
    fn on_time(&mut self) {
        let now = self.core.store.clock().now();
        let overdue = self.flights.iter().filter(|(_, flight)| !flight.answered && flight.deadline <= now);
        let late: Vec<(DeliveryKey, u32)> = overdue.map(|(key, flight)| (key.clone(), flight.attempt)).collect();
        for (key, attempt) in late {
            tracing::warn!(bridge = self.bridge, %key, "a delivery was not answered in time");
            self.finish(key, attempt, Some(Outcome::Dropped));
        }
    }

    /// Writes an outcome down (`None`: the session did not take the event) and takes what is next in the lane. A database that is away
    /// is waited for: an outcome that is forgotten would make a sent event uncertain.
    fn finish(&mut self, key: DeliveryKey, attempt: u32, outcome: Option<Outcome>) {
        let Some(flight) = self.flights.get_mut(&key) else { return };
        flight.answered = true;
        let job = Finish {
            core: self.core.clone(),
            key: key.to_string(),
            attempt,
            lane: flight.lane.clone(),
            owner: self.owner.clone(),
            outcome,
            stopping: self.stopping,
        };
        let bridge = self.bridge.clone();
        self.jobs.push(Box::pin(async move {
            let job = Arc::new(job);
            let mut faults = 0;
            loop {
                let store = job.core.store.clone();
                match store.write(job.clone(), |tx, job| Box::pin(job.run(tx))).await {
                    Ok((next, told)) => {
                        if told {
                            store.bell(Queue::Inbox, &bridge).notify_one();
                        }
                        return Done::Settled { key, attempt, next: next.map(Box::new) };
                    }
                    Err(error) => {
                        tracing::error!(bridge, %key, %error, "an outcome could not be recorded yet");
                        faults += i32::from(matches!(error, StoreError::Fault(_)));
                    }
                }
                if faults == 5 {
                    // What was started counts as uncertain when the lane is looked at again.
                    let lane = (job.lane.clone(), LEASE);
                    let done = store.write(lane, |tx, (lane, pause)| {
                        Box::pin(async move {
                            let due = tx.now() + *pause;
                            rows::put_off(tx, lane, due).await
                        })
                    });
                    if let Err(error) = done.await {
                        tracing::error!(bridge, %error, "a lane stays leased until the next start");
                    }
                    return Done::Settled { key, attempt, next: None };
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }));
    }
}

struct Finish {
    core: Arc<Core>,
    key: String,
    attempt: u32,
    lane: String,
    owner: String,
    outcome: Option<Outcome>,
    stopping: bool,
}

impl Finish {
    async fn run(&self, tx: &mut crate::storage::Tx) -> Result<(Option<Claimed>, bool), StoreError> {
        let mut told = false;
        match &self.outcome {
            Some(outcome) => settle::settle(tx, &self.core, (&self.key, self.attempt), outcome, &mut told).await?,
            None => settle::given_back(tx, &self.core, &self.key, self.attempt, &mut told).await?,
        }
        if self.stopping {
            let sql = "UPDATE lanes SET owner = NULL, due = $1 WHERE lane = $2 AND owner = $3";
            let now = tx.now();
            tx.execute(sql, args![now, &self.lane, &self.owner]).await?;
            return Ok((None, told));
        }
        let next = rows::next_of(tx, &self.core, &self.lane, &self.owner, &mut told).await?;
        Ok((next, told))
    }
}
