use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::*;
use crate::error::{DeliveryError, Failure, StoreError};
use crate::message::{DeliveryKey, Message};
use crate::outbound::Outbound;
use crate::query::{Part, ReplySink};
use crate::ticket::{Outcome, Ticket, TicketSink};

#[derive(Default)]
struct Dropped(AtomicUsize);

#[async_trait]
impl TicketSink for Dropped {
    async fn starting(&self, _key: &DeliveryKey, _attempt: u32) -> Result<(), StoreError> {
        Ok(())
    }

    fn settle(&self, _key: DeliveryKey, _attempt: u32, outcome: Outcome) {
        assert_eq!(outcome, Outcome::Dropped);
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

struct Ended(Arc<AtomicUsize>);

impl ReplySink for Ended {
    fn part(&mut self, _part: Part) {}

    fn end(&mut self, result: Result<(), DeliveryError>) {
        assert_eq!(result.map_err(|e| e.failure), Err(Failure::Unknown));
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn message(bytes: usize, sink: &Arc<Dropped>) -> Work {
    let intent = Intent::Send(Box::new(Message::chat("x".repeat(bytes))));
    let event = Outbound::new("key".into(), "romeo@example.org".into(), Address::Gateway, intent);
    Work::Deliver(Box::new(Delivery::new(event, Ticket::new("key".into(), 0, sink.clone()))))
}

fn changed() -> Work {
    Work::SettingsChanged(Address::Gateway)
}

fn fill(sender: &InboxSender, bytes: usize) -> usize {
    let sink = Arc::new(Dropped::default());
    (0..100_000).take_while(|_| sender.push(message(bytes, &sink)).is_ok()).count()
}

#[test]
fn at_least_a_thousand_items_fit_and_beyond_them_256_kib() {
    for (bytes, expected) in [(0, BYTES / 256), (1_000, 1_000), (10_000, 1_000)] {
        let (sender, mut inbox) = inbox(CancellationToken::new());
        assert_eq!(fill(&sender, bytes), expected, "messages of {bytes} bytes");
        assert!(inbox.try_recv().is_some());
        assert!(sender.push(changed()).is_ok() || expected < BYTES / 256, "there is room for one again");
    }
}

#[test]
fn what_does_not_fit_is_given_back() {
    let (sender, _inbox) = inbox(CancellationToken::new());
    fill(&sender, 1_000);
    let sink = Arc::new(Dropped::default());
    let back = sender.push(message(1_000, &sink)).expect_err("full");
    assert_eq!(sink.0.load(Ordering::Relaxed), 0, "the ticket is still to be answered, by whoever pushed");
    assert!(matches!(back, Work::Deliver(_)));
}

#[test]
fn an_empty_inbox_holds_no_memory() {
    let (sender, mut inbox) = inbox(CancellationToken::new());
    fill(&sender, 100);
    while inbox.try_recv().is_some() {}
    let queue = inbox.shared.lock();
    assert_eq!((queue.items.capacity(), queue.bytes), (0, 0));
}

#[test]
fn what_an_ended_session_leaves_goes_back_to_the_core_or_is_answered() {
    let (sender, inbox) = inbox(CancellationToken::new());
    let (sink, ended) = (Arc::new(Dropped::default()), Arc::new(AtomicUsize::new(0)));
    let answered = || (sink.0.load(Ordering::Relaxed), ended.load(Ordering::Relaxed));
    for _ in 0..3 {
        assert!(sender.push(message(1, &sink)).is_ok());
        let reply = Reply::new(Box::new(Ended(ended.clone())));
        assert!(sender.push(Work::Ask(Box::new(Ask::new(Query::Rooms { filter: None }, reply)))).is_ok());
    }
    assert_eq!((sender.len(), sender.is_closed()), (6, false));
    drop(inbox);
    assert!(sender.is_closed());
    assert!(sender.push(changed()).is_err(), "an ended session takes nothing");
    let left = sender.take_back();
    assert_eq!((left.len(), sender.len(), answered()), (6, 0, (0, 0)), "for the next session, in order");
    assert!(matches!(left.first(), Some(Work::Deliver(_))));
    drop(left);
    assert_eq!(answered(), (3, 3), "whatever is dropped is answered");
}

#[test]
fn a_queue_that_nobody_takes_back_is_answered() {
    let (sender, inbox) = inbox(CancellationToken::new());
    let sink = Arc::new(Dropped::default());
    assert!(sender.push(message(1, &sink)).is_ok());
    drop(inbox);
    drop(sender);
    assert_eq!(sink.0.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn stop_gives_what_is_queued_and_then_the_end() {
    let stop = CancellationToken::new();
    let (sender, mut inbox) = inbox(stop.clone());
    assert!(sender.push(changed()).is_ok() && sender.push(changed()).is_ok());
    stop.cancel();
    assert!(inbox.recv().await.is_some() && inbox.recv().await.is_some());
    assert!(inbox.recv().await.is_none() && inbox.recv().await.is_none());
    assert!(sender.push(changed()).is_ok(), "a last word that comes while the session takes its leave");
    assert!(inbox.recv().await.is_some() && inbox.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn stop_wakes_a_session_that_waits() {
    let stop = CancellationToken::new();
    let (_sender, mut inbox) = inbox(stop.clone());
    let waiting = tokio::spawn(async move { inbox.recv().await.is_none() });
    tokio::task::yield_now().await;
    stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(5), waiting).await;
    assert!(matches!(ended, Ok(Ok(true))));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_was_given_up_loses_nothing() {
    let (sender, mut inbox) = inbox(CancellationToken::new());
    for _ in 0..3 {
        // As in a `select!` whose other arm was first.
        assert!(tokio::time::timeout(Duration::from_millis(1), inbox.recv()).await.is_err());
        assert!(sender.push(changed()).is_ok());
        assert!(inbox.recv().await.is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_wake_up_is_lost_between_threads() {
    const EACH: usize = 20_000;
    let stop = CancellationToken::new();
    let (sender, mut inbox) = inbox(stop.clone());
    let pushing: Vec<_> = (0..4)
        .map(|_| {
            let sender = sender.clone();
            tokio::spawn(async move {
                for _ in 0..EACH {
                    while sender.push(changed()).is_err() {
                        tokio::task::yield_now().await;
                    }
                }
            })
        })
        .collect();
    let reading = tokio::spawn(async move {
        let mut seen = 0;
        while seen < 4 * EACH && inbox.recv().await.is_some() {
            seen += 1;
        }
        seen
    });
    for task in pushing {
        task.await.expect("pushes");
    }
    let seen = tokio::time::timeout(Duration::from_secs(120), reading).await.expect("the reader was woken");
    assert_eq!(seen.expect("reads"), 4 * EACH);
}

/// What a session costs while nothing waits, and an entry while it does.
#[test]
fn hot_types_are_small() {
    let sizes = [
        ("Work", size_of::<Work>(), 48),
        ("Inbox", size_of::<Inbox>(), 24),
        ("InboxSender", size_of::<InboxSender>(), 8),
        ("Shared", size_of::<Shared>(), 128),
        ("Address", size_of::<Address>(), 40),
        ("Intent", size_of::<Intent>(), 160),
        ("Delivery", size_of::<Delivery>(), 384),
        ("Event", size_of::<crate::Event>(), 208),
        ("Inbound", size_of::<crate::Inbound>(), 384),
        ("Message", size_of::<Message>(), 400),
        ("DeliveryError", size_of::<DeliveryError>(), 128),
    ];
    for (name, size, most) in sizes {
        println!("{name}: {size} bytes");
        assert!(size <= most, "{name} takes {size} bytes, more than {most}");
    }
}
