//! The one writer: takes all work that waits and makes one commit of it.
//!
//! What nobody waits for (the archive of rooms) gets a commit of its own, when nobody else waits: else every message that is accepted for
//! delivery would wait for the rows of a busy room. It yields for a while only, because its rows have a bound too.
//!
//! A commit whose end is not known (the connection broke under `COMMIT`) is looked up in the table `writers`, in which every commit
//! leaves its number; so an operation is neither lost nor done twice, and whoever submitted it gets the truth.

use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use isthmus_bridge::StoreError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Clock;
use super::engine::{Pools, Tx};

/// Operations that may wait for the writer before [`Writer::submit`] itself has to.
const WAITING: usize = 4096;
/// Operations of one commit, at most.
const BATCH: usize = 1024;
/// How long an operation waits for a database that is away before it fails (nothing was changed then).
const PATIENCE: Duration = Duration::from_secs(5);
/// How long work that nobody waits for yields to other work.
const YIELDS: Duration = Duration::from_millis(300);

/// Which work goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The next commit.
    Next,
    /// When nothing of the other kind waits, or its time is over.
    Behind,
}

pub(super) struct Writer {
    jobs: Mutex<Option<mpsc::Sender<Box<dyn Job>>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) async fn start(pools: Pools, clock: Clock, instance: String) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel(WAITING);
        let mut run = Run { pools, clock, instance, tx: None, batch: 0 };
        run.enter().await?;
        let task = tokio::spawn(run.run(queue));
        Ok(Self { jobs: Mutex::new(Some(jobs)), task: Mutex::new(Some(task)) })
    }

    pub(super) async fn submit<D, T, F>(&self, data: D, op: F, turn: Turn) -> Result<T, StoreError>
    where
        D: Send + Sync + 'static,
        T: Send + 'static,
        F: for<'t> Fn(&'t mut Tx, &'t D) -> BoxFuture<'t, Result<T, StoreError>> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job = Closure { data, op, result: None, answer, since: Instant::now(), turn };
        let jobs = self.jobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let gone = || StoreError::Unavailable("the store is closed".into());
        jobs.ok_or_else(gone)?.send(Box::new(job)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        let jobs = self.jobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        jobs.as_ref().map_or(0, |jobs| jobs.max_capacity() - jobs.capacity())
    }

    pub(super) async fn stop(&self) {
        drop(self.jobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take());
        let task = self.task.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(task) = task {
            let _ = task.await; // a panic of the writer has been answered as "closed" to everybody who waited
        }
    }
}

#[async_trait]
trait Job: Send {
    /// Runs in the open transaction; may be called again after a rollback.
    async fn run(&mut self, tx: &mut Tx) -> Result<(), StoreError>;
    /// Tells the submitter: its own result, or why there is none.
    fn finish(self: Box<Self>, verdict: Result<(), StoreError>);
    fn since(&self) -> Instant;
    fn turn(&self) -> Turn;
}

struct Closure<D, T, F> {
    data: D,
    op: F,
    result: Option<T>,
    answer: oneshot::Sender<Result<T, StoreError>>,
    since: Instant,
    turn: Turn,
}

#[async_trait]
impl<D, T, F> Job for Closure<D, T, F>
where
    D: Send + Sync + 'static,
    T: Send + 'static,
    F: for<'t> Fn(&'t mut Tx, &'t D) -> BoxFuture<'t, Result<T, StoreError>> + Send + 'static,
{
    async fn run(&mut self, tx: &mut Tx) -> Result<(), StoreError> {
        self.result = None;
        let op = (self.op)(tx, &self.data);
        match AssertUnwindSafe(op).catch_unwind().await {
            Ok(done) => self.result = Some(done?),
            Err(_) => return Err(StoreError::Fault("a storage operation panicked".into())),
        }
        Ok(())
    }

    fn finish(self: Box<Self>, verdict: Result<(), StoreError>) {
        let answer = match (verdict, self.result) {
            (Ok(()), Some(result)) => Ok(result),
            (Ok(()), None) => Err(StoreError::Fault("a storage operation gave no result".into())),
            (Err(error), _) => Err(error),
        };
        let _ = self.answer.send(answer); // whoever asked may have gone; the work is done all the same
    }

    fn since(&self) -> Instant {
        self.since
    }

    fn turn(&self) -> Turn {
        self.turn
    }
}

/// How a try to commit a batch ended.
enum End {
    /// On disk; the results of those that failed by themselves.
    Committed(Vec<Option<StoreError>>),
    /// Nothing was changed.
    Nothing(StoreError),
    /// The connection broke under the commit.
    Uncertain(StoreError, Vec<Option<StoreError>>),
}

struct Run {
    pools: Pools,
    clock: Clock,
    instance: String,
    tx: Option<Tx>,
    batch: i64,
}

impl Run {
    /// Makes this run's line in `writers`, and sweeps those of long ago.
    async fn enter(&mut self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let tx = self.connect().await?;
        let old = now - 7 * 24 * 3_600_000;
        tx.execute("DELETE FROM writers WHERE at < $1", crate::args![old]).await?;
        Ok(())
    }

    async fn connect(&mut self) -> Result<&mut Tx, StoreError> {
        if self.tx.is_none() {
            self.tx = Some(self.pools.writer().await?);
        }
        self.tx.as_mut().ok_or_else(|| StoreError::Unavailable("no connection".into()))
    }

    async fn run(mut self, mut queue: mpsc::Receiver<Box<dyn Job>>) {
        let (mut jobs, mut behind) = (Vec::new(), Vec::new());
        loop {
            if behind.is_empty() {
                if queue.recv_many(&mut jobs, BATCH).await == 0 {
                    return;
                }
            } else {
                // What came meanwhile goes first. A queue that is closed has nothing more, and the rest is done.
                while jobs.len() < BATCH
                    && let Ok(job) = queue.try_recv()
                {
                    jobs.push(job);
                }
            }
            behind.extend(jobs.extract_if(.., |job: &mut Box<dyn Job>| job.turn() == Turn::Behind));
            let over = behind.first().is_some_and(|job| job.since().elapsed() >= YIELDS);
            let now = jobs.is_empty() || over;
            self.settle(std::mem::take(&mut jobs)).await;
            if now {
                self.settle(std::mem::take(&mut behind)).await;
            }
        }
    }

    /// Commits a batch, or tells each of its jobs why not.
    async fn settle(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        let mut pause = Duration::from_millis(20);
        while !jobs.is_empty() {
            self.batch += 1;
            match self.commit(&mut jobs).await {
                Ok(errors) => {
                    let mut errors = errors.into_iter();
                    for job in jobs.drain(..) {
                        job.finish(errors.next().flatten().map_or(Ok(()), Err));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, jobs = jobs.len(), "the database did not take a commit");
                    jobs = give_up(jobs, &error);
                    if !jobs.is_empty() {
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(Duration::from_secs(1));
                    }
                }
            }
        }
    }

    /// One commit of all jobs; gives the errors of those that failed by themselves. On `Err` nothing was changed.
    async fn commit(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<Vec<Option<StoreError>>, StoreError> {
        let mut end = self.attempt(jobs, false).await;
        if let End::Nothing(StoreError::Fault(_)) = end {
            end = self.attempt(jobs, true).await; // one job failed by itself: once more, each in a savepoint of its own
        }
        match end {
            End::Committed(errors) => Ok(errors),
            End::Nothing(error) => Err(error),
            End::Uncertain(error, errors) => self.find_out(error).await.map(|()| errors),
        }
    }

    async fn attempt(&mut self, jobs: &mut [Box<dyn Job>], guarded: bool) -> End {
        let (batch, instance, clock) = (self.batch, self.instance.clone(), self.clock.clone());
        let tx = match self.connect().await {
            Ok(tx) => tx,
            Err(error) => return End::Nothing(error),
        };
        let done = fill(tx, jobs, guarded, &clock, (&instance, batch)).await;
        let end = match done {
            Ok(errors) => match tx.execute("COMMIT", vec![]).await {
                Ok(_) => return End::Committed(errors),
                Err(error) => End::Uncertain(error, errors),
            },
            Err(error) => End::Nothing(error),
        };
        let kept = matches!(end, End::Nothing(_)) && tx.execute("ROLLBACK", vec![]).await.is_ok();
        if !kept && let Some(tx) = self.tx.take() {
            tx.discard(); // closing it rolls back
        }
        end
    }

    /// Looks whether the last commit is there. Asks until it gets an answer: a guess would lose work or do it twice.
    async fn find_out(&mut self, error: StoreError) -> Result<(), StoreError> {
        tracing::warn!(%error, "a commit broke off; looking whether it is there");
        let sql = "SELECT batch FROM writers WHERE instance = $1";
        loop {
            let instance = self.instance.clone();
            let found = match self.connect().await {
                Ok(tx) => tx.fetch_one(sql, crate::args![instance]).await,
                Err(error) => Err(error),
            };
            match found.and_then(|row| row.map(|row| row.int(0)).transpose()) {
                Ok(batch) if batch == Some(self.batch) => return Ok(()),
                Ok(_) => return Err(error),
                Err(_) => {
                    if let Some(tx) = self.tx.take() {
                        tx.discard();
                    }
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }
}

/// Jobs whose patience is over are told; the others stay. A full disk, a fault, or a file that cannot be written does not pass in seconds.
fn give_up(jobs: Vec<Box<dyn Job>>, error: &StoreError) -> Vec<Box<dyn Job>> {
    let passes = match error {
        StoreError::Unavailable(why) => {
            !["full", "readonly", "read-only", "disk I/O"].iter().any(|word| why.contains(word))
        }
        _ => false,
    };
    let (keep, gone): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| passes && job.since().elapsed() < PATIENCE);
    for job in gone {
        job.finish(Err(error.clone()));
    }
    keep
}

/// Begins the transaction and runs every job in it. With savepoints, a job that fails leaves its error and no trace.
async fn fill(
    tx: &mut Tx,
    jobs: &mut [Box<dyn Job>],
    guarded: bool,
    clock: &Clock,
    (instance, batch): (&str, i64),
) -> Result<Vec<Option<StoreError>>, StoreError> {
    tx.execute(if tx.is_postgres() { "BEGIN" } else { "BEGIN IMMEDIATE" }, vec![]).await?;
    let now = database_now(tx, clock).await?;
    tx.set_now(now);
    let mut errors = Vec::with_capacity(jobs.len());
    for job in jobs {
        if !guarded {
            job.run(tx).await?;
            errors.push(None);
            continue;
        }
        tx.execute("SAVEPOINT job", vec![]).await?;
        match job.run(tx).await {
            Ok(()) => errors.push(None),
            Err(error @ StoreError::Fault(_)) => {
                tx.execute("ROLLBACK TO SAVEPOINT job", vec![]).await?;
                errors.push(Some(error));
            }
            Err(error) => return Err(error),
        }
        tx.execute("RELEASE SAVEPOINT job", vec![]).await?;
    }
    let mark = "INSERT INTO writers (instance, batch, at) VALUES ($1, $2, $3) \
                ON CONFLICT (instance) DO UPDATE SET batch = excluded.batch, at = excluded.at";
    tx.execute(mark, crate::args![instance, batch, now]).await?;
    Ok(errors)
}

/// Leases go by one clock. The embedded database has this machine's; a server has its own.
async fn database_now(tx: &mut Tx, clock: &Clock) -> Result<i64, StoreError> {
    if !tx.is_postgres() || !clock.is_system() {
        return Ok(clock.now());
    }
    let sql = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)";
    let row = tx.fetch_one(sql, vec![]).await?.ok_or_else(|| StoreError::Fault("no time".into()))?;
    row.int(0)
}
