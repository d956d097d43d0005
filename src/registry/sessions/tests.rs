//! The supervisor against Loopback, whose contacts misbehave on demand. Virtual time.

use std::sync::Arc;
use std::time::Duration;

use isthmus_bridge::suite::{FakeHost, LoopbackKind, build};
use isthmus_bridge::{
    Address, Bridge, Delivery, DeliveryKey, Event, Intent, Message, Outbound, Outcome, SessionOf, Ticket, Work,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Sessions, backoff};
use crate::registry::Instance;

struct House {
    bridge: Arc<dyn Bridge>,
    host: Arc<FakeHost>,
    sessions: Sessions,
    tasks: TaskTracker,
    stop: CancellationToken,
    sent: u32,
}

impl House {
    fn new() -> Self {
        let bridge = build(&LoopbackKind, json!({})).expect("Loopback builds");
        let host = FakeHost::of(&bridge);
        let instance = Instance { name: "loopback".into(), domain: "loopback.example".into(), bridge: bridge.clone() };
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let sessions = Sessions::new(instance, host.host(), tasks.clone(), stop.clone());
        Self { bridge, host, sessions, tasks, stop, sent: 0 }
    }

    fn of(&self, user: &str, at: &Address) -> SessionOf {
        SessionOf::new(user.into(), self.bridge.addressing().network(at))
    }

    /// Sends and gives the event's key; `None`: the supervisor gave it back.
    fn send(&mut self, user: &str, contact: &str) -> Option<DeliveryKey> {
        self.sent += 1;
        let key = DeliveryKey::new(format!("key{}", self.sent));
        let at = self.bridge.addressing().prompt(contact).expect("a contact");
        let event = Outbound::new(key.clone(), user.into(), at.clone(), Intent::Send(Box::new(Message::chat("hello"))));
        let ticket = Ticket::new(key.clone(), 0, self.host.clone());
        self.sessions.push(&self.of(user, &at), Work::Deliver(Box::new(Delivery::new(event, ticket)))).ok()?;
        Some(key)
    }

    async fn arrives(&mut self, user: &str, contact: &str) {
        let key = self.send(user, contact).expect("the session takes work");
        let outcome = self.host.outcome_of(&key).await;
        let Outcome::Legs(legs) = outcome else { panic!("{user} → {contact}: {outcome:?}") };
        assert!(legs.iter().all(|leg| leg.result.is_ok()), "{user} → {contact}: {legs:?}");
    }
}

#[test]
fn backs_off_up_to_a_minute() {
    let waits: Vec<u64> = (1..9).map(|n| backoff(n).as_secs()).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_panics_answers_disturbs_nobody_and_is_started_again() {
    let mut house = House::new();
    let key = house.send("juliet@example.org", "panic").expect("taken");
    assert_eq!(house.host.outcome_of(&key).await, Outcome::Dropped, "the ticket is answered");
    house.arrives("romeo@example.org", "bob").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    house.arrives("juliet@example.org", "bob").await;
}

#[tokio::test(start_paused = true)]
async fn work_behind_a_panic_goes_to_the_next_session() {
    let mut house = House::new();
    house.send("juliet@example.org", "panic").expect("taken");
    let behind = house.send("juliet@example.org", "bob").expect("taken");
    let outcome = house.host.outcome_of(&behind).await;
    assert!(matches!(&outcome, Outcome::Legs(legs) if legs[0].result.is_ok()), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn while_it_backs_off_work_is_given_back() {
    let mut house = House::new();
    for _ in 0..3 {
        let Some(key) = house.send("juliet@example.org", "panic") else { panic!("taken after the wait") };
        house.host.outcome_of(&key).await;
        tokio::task::yield_now().await;
        while house.send("juliet@example.org", "bob").is_none() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
    let key = house.send("juliet@example.org", "panic").expect("taken");
    house.host.outcome_of(&key).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(house.send("juliet@example.org", "bob").is_none(), "a session that keeps failing waits");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_hangs_disturbs_nobody_and_is_replaced_when_it_is_ended() {
    let mut house = House::new();
    house.send("juliet@example.org", "hang").expect("taken");
    house.arrives("romeo@example.org", "bob").await;
    let at = house.bridge.addressing().prompt("bob").expect("a contact");
    house.sessions.end(&house.of("juliet@example.org", &at));
    tokio::time::sleep(super::GRACE + Duration::from_secs(1)).await;
    house.arrives("juliet@example.org", "bob").await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_floods_disturbs_nobody() {
    let mut house = House::new();
    house.send("juliet@example.org", "flood").expect("taken");
    house.arrives("romeo@example.org", "bob").await;
    house
        .host
        .emitted("the flood", |e| matches!(&e.event, Event::Message(_)) && e.to.as_str().starts_with("juliet"))
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_gives_work_back() {
    let mut house = House::new();
    house.send("juliet@example.org", "hang").expect("taken");
    tokio::task::yield_now().await;
    let taken = (0..5_000).take_while(|_| house.send("juliet@example.org", "bob").is_some()).count();
    assert!((1_000..5_000).contains(&taken), "{taken} were taken");
    house.arrives("romeo@example.org", "bob").await;
}

#[tokio::test(start_paused = true)]
async fn all_sessions_end_at_the_stop_even_one_that_hangs() {
    let mut house = House::new();
    house.send("juliet@example.org", "hang").expect("taken");
    house.arrives("romeo@example.org", "bob").await;
    house.stop.cancel();
    house.tasks.close();
    tokio::time::timeout(super::GRACE + Duration::from_secs(5), house.tasks.wait()).await.expect("all tasks end");
    assert!(house.send("romeo@example.org", "bob").is_none(), "nothing is taken after the stop");
}
