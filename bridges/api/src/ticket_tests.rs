use std::sync::Mutex;

use super::*;
use crate::error::Failure;

#[derive(Default)]
struct Sink {
    settled: Mutex<Vec<(DeliveryKey, u32, Outcome)>>,
    lease_lost: bool,
}

#[async_trait]
impl TicketSink for Sink {
    async fn starting(&self, _key: &DeliveryKey, _attempt: u32) -> Result<(), StoreError> {
        if self.lease_lost { Err(StoreError::Unavailable("the lease was lost".to_owned())) } else { Ok(()) }
    }

    fn settle(&self, key: DeliveryKey, attempt: u32, outcome: Outcome) {
        self.settled.lock().expect("nobody panics").push((key, attempt, outcome));
    }
}

#[test]
fn each_way_of_answering_settles_once() {
    type Case = (&'static str, fn(Ticket), Outcome);
    let error = || DeliveryError::new(Failure::Rejected, "no");
    let cases: [Case; 5] = [
        ("sent", |t| t.sent(Some("id".into())), Outcome::Legs(vec![Leg::sent(None, vec!["id".into()])])),
        ("sent without an id", |t| t.sent(None), Outcome::Legs(vec![Leg::sent(None, vec![])])),
        (
            "failed",
            |t| t.failed(DeliveryError::new(Failure::Rejected, "no")),
            Outcome::Legs(vec![Leg::failed(None, error())]),
        ),
        (
            "done",
            |t| t.done(vec![Leg::sent(Some("a".into()), vec!["1".into(), "2".into()])]),
            Outcome::Legs(vec![Leg::sent(Some("a".into()), vec!["1".into(), "2".into()])]),
        ),
        ("dropped", drop, Outcome::Dropped),
    ];
    for (name, answer, expected) in cases {
        let sink = Arc::new(Sink::default());
        answer(Ticket::new("key".into(), 7, sink.clone()));
        let settled = std::mem::take(&mut *sink.settled.lock().expect("nobody panics"));
        assert_eq!(settled, [("key".into(), 7, expected)], "{name}");
    }
}

#[test]
fn a_panic_drops_the_ticket() {
    let sink = Arc::new(Sink::default());
    let ticket = Ticket::new("key".into(), 0, sink.clone());
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _held = ticket;
        panic!("as a bridge might");
    }));
    assert!(panicked.is_err());
    assert_eq!(sink.settled.lock().expect("nobody panicked here").len(), 1);
}

#[tokio::test]
async fn a_lost_lease_is_told_before_anything_is_sent() {
    let kept = Arc::new(Sink::default());
    assert_eq!(Ticket::new("key".into(), 0, kept).starting().await, Ok(()));
    let lost = Arc::new(Sink { lease_lost: true, ..Sink::default() });
    assert!(Ticket::new("key".into(), 0, lost).starting().await.is_err());
}

#[test]
fn a_ticket_is_small() {
    assert!(size_of::<Ticket>() <= 40, "{}", size_of::<Ticket>());
}
