//! `cargo run --release -p isthmus-bench-store [FOLDER] [SECONDS]`: outbox events accepted durably per second (SQLite, WAL,
//! synchronous=FULL, one process), beside the bare fsync rate of the same folder in the same run. Exits with 1 below 10,000 a second.
#![allow(clippy::print_stdout)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use isthmus::inbox::Rendered;
use isthmus::outbox::{Carry, Outbox, Sender, Tell, Telling};
use isthmus::storage::{Open, Store, fresh_id};
use isthmus_bridge::{Address, BareJid, Delivery, Intent, Message, NetworkId, Outbound, Profile, SessionOf};

/// Senders that wait for their commit at the same time.
const SENDERS: usize = 512;
const WANTED: f64 = 10_000.0;

struct Nobody;

impl Carry for Nobody {
    fn carry(&self, _: &str, _: SessionOf, delivery: Box<Delivery>) -> Result<(), Box<Delivery>> {
        Err(delivery)
    }
    fn profile(&self, _: &str) -> Option<Profile> {
        Some(Profile::held("smtp", "Mail"))
    }
    fn network(&self, bridge: &str, _: &Address) -> NetworkId {
        bridge.into()
    }
    fn join_window(&self, _: &str, _: &BareJid, _: &Address) -> Duration {
        Duration::ZERO
    }
    fn is_online(&self, _: &str) -> bool {
        false
    }
}

impl Tell for Nobody {
    fn tell(&self, _: &Telling<'_>) -> Vec<Rendered> {
        Vec::new()
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let mut args = std::env::args().skip(1);
    let parent = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds = args.next().map_or(Ok(5), |text| text.parse())?;
    let folder = tempfile::tempdir_in(&parent)?;
    let bare = fsyncs(folder.path(), Duration::from_secs(2))?;
    println!("bare fsync of 4 KiB appended: {bare:.0}/s");
    let (rate, one) = accepted(folder.path(), Duration::from_secs(seconds)).await?;
    println!("one sender at a time: {one:.0} events/s accepted durably, {:.2} of the bare fsync rate", one / bare);
    println!("{SENDERS} senders: {rate:.0} events/s accepted durably, {:.1} times the bare fsync rate", rate / bare);
    let bare = fsyncs(folder.path(), Duration::from_secs(2))?;
    println!("bare fsync again: {bare:.0}/s");
    Ok(if rate >= WANTED { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Appends of a page, each on disk before the next.
fn fsyncs(folder: &Path, time: Duration) -> anyhow::Result<f64> {
    let mut file = std::fs::File::create(folder.join("bare"))?;
    let begin = Instant::now();
    let mut count = 0;
    while begin.elapsed() < time {
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        count += 1;
    }
    Ok(f64::from(count) / begin.elapsed().as_secs_f64())
}

async fn accepted(folder: &Path, time: Duration) -> anyhow::Result<(f64, f64)> {
    let store = Store::open(Open::new("sqlite://bench.db", folder)).await?;
    let outbox = Outbox::new(store.clone(), Arc::new(Nobody), Arc::new(Nobody));
    let begin = Instant::now();
    let mut one = 0_u32;
    while begin.elapsed() < Duration::from_secs(2) {
        accept(&outbox, 0, u64::from(one)).await?;
        one += 1;
    }
    let one = f64::from(one) / begin.elapsed().as_secs_f64();
    let count = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    let senders = (0..SENDERS).map(|sender| {
        let (outbox, count) = (outbox.clone(), count.clone());
        tokio::spawn(async move {
            let mut n = 0;
            while begin.elapsed() < time {
                accept(&outbox, sender, n).await?;
                n += 1;
                count.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await??;
    }
    let rate = count.load(Ordering::Relaxed) as f64 / begin.elapsed().as_secs_f64();
    let rows = outbox.waiting().await?.first().map_or(0, |(_, rows)| *rows);
    anyhow::ensure!(rows >= i64::try_from(count.load(Ordering::Relaxed))?, "every accepted event is in the table");
    store.close().await;
    Ok((rate, one))
}

/// A chat message of 120 bytes from one of the users to one of their contacts.
async fn accept(outbox: &Outbox, sender: usize, n: u64) -> anyhow::Result<()> {
    let user = format!("user{sender}@example.org");
    let to = Address::Contact(format!("contact{}@example.net", n % 8).into());
    let message = Message::chat("Wherefore art thou? ".repeat(6));
    let event = Outbound::new(fresh_id().into(), user.as_str().into(), to, Intent::Send(Box::new(message)));
    let mut from = Sender::new("mail", format!("{user}/phone"), "contact\\40example.net@mail.example.org");
    from.stanza_id = Some(format!("s{n}"));
    outbox.accept(from, event).await?;
    Ok(())
}
