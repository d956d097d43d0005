//! Loopback keeps the contract, live and held; and what its switches do, which the tests of the core's supervisor rely on.

use isthmus_bridge::suite::loopback::LoopbackKind;
use isthmus_bridge::suite::{FakeHost, Session, build};
use isthmus_bridge::{Address, Event, Failure, Intent, Message, Outcome, Refused, Retry, Sent};
use serde_json::json;

mod live {
    isthmus_bridge::contract_suite!(
        Contract::of(super::LoopbackKind, serde_json::json!({"networks": ["loop", "pool"], "listed": 10}), "alice")
            .with_room("#lounge%pool")
    );
}

mod held {
    isthmus_bridge::contract_suite!(Contract::of(
        super::LoopbackKind,
        serde_json::json!({"mode": "held", "registration": true}),
        "alice"
    ));
}

fn start(keys: serde_json::Value) -> (Session, std::sync::Arc<FakeHost>, impl Fn(&str) -> Address) {
    let bridge = build(&LoopbackKind, keys).expect("good keys");
    let host = FakeHost::of(&bridge);
    let session = Session::start(&bridge, &host, "romeo@example.org", &Address::Gateway);
    (session, host, move |local: &str| bridge.addressing().parse(Some(local), None).expect("a good local part"))
}

fn hello() -> Intent {
    Intent::Send(Box::new(Message::chat("hello")))
}

#[tokio::test(start_paused = true)]
async fn contacts_answer_with_what_they_were_told() {
    for mode in ["live", "held"] {
        let (session, host, at) = start(json!({ "mode": mode }));
        session.say(at("alice"), "hello").await.expect("carried");
        let said = [host.emits(), host.accepts()].concat();
        assert!(matches!(&said[0].event, Event::Message(m) if m.body == "hello"), "{mode}: {said:?}");
        assert_eq!(said[0].from, at("alice"));
        session.stop().await.expect("stops");
    }
}

#[tokio::test(start_paused = true)]
async fn failures_have_their_certainty() {
    let cases = [
        ("refuse", Failure::NoSuchRecipient, Sent::No, Retry::Never),
        ("busy", Failure::Unreachable, Sent::No, Retry::ByPolicy),
        ("unsure", Failure::Unknown, Sent::Maybe, Retry::Never),
    ];
    let (session, _, at) = start(json!({}));
    for (name, failure, sent, retry) in cases {
        let error = session.say(at(name), "hello").await.expect_err(name);
        assert_eq!((error.failure, error.sent, error.retry), (failure, sent, retry), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn tickets_are_dropped_before_and_after_starting() {
    let (session, host, at) = start(json!({"mode": "held"}));
    for (name, starts) in [("drop-ticket", 0), ("lose-ticket", 1)] {
        let key = session.send(at(name), hello());
        assert_eq!(host.outcome_of(&key).await, Outcome::Dropped, "{name}");
        assert_eq!(host.started().iter().filter(|(k, _)| *k == key).count(), starts, "{name}");
    }
    session.say(at("alice"), "still here").await.expect("the session goes on");
}

#[tokio::test(start_paused = true)]
async fn slow_takes_ten_seconds() {
    let (session, host, at) = start(json!({}));
    let before = host.time();
    session.say(at("slow"), "hello").await.expect("carried");
    assert!(host.time().duration_since(before).expect("time goes on").as_secs() >= 10);
}

#[tokio::test(start_paused = true)]
async fn end_and_fail_carry_and_then_return() {
    let (session, _, at) = start(json!({}));
    session.say(at("end"), "hello").await.expect("carried");
    session.ended().await.expect("ended well");
    let (session, _, at) = start(json!({}));
    session.say(at("fail"), "hello").await.expect("carried");
    session.ended().await.expect_err("ended in an error");
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "the session of")]
async fn panic_panics() {
    let (session, host, at) = start(json!({}));
    let key = session.send(at("panic"), hello());
    assert_eq!(host.outcome_of(&key).await, Outcome::Dropped, "a panic drops the tickets in hand");
    let _ = session.ended().await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "did not end")]
async fn hang_never_returns() {
    let (session, _, at) = start(json!({}));
    session.send(at("hang"), hello());
    tokio::task::yield_now().await;
    let _ = session.stop().await;
}

#[tokio::test(start_paused = true)]
async fn flood_takes_no_heed_of_full() {
    let (session, host, at) = start(json!({}));
    host.room_for(Some(10));
    let key = session.send(at("flood"), hello());
    tokio::task::yield_now().await;
    assert_eq!(host.emitted("a message of the flood", |_| true).await.from, at("flood"));
    host.room_for(None);
    assert!(matches!(host.outcome_of(&key).await, Outcome::Legs(_)));
}

#[tokio::test(start_paused = true)]
async fn what_the_host_refuses_is_told_to_the_sender() {
    let (session, host, at) = start(json!({"mode": "held"}));
    host.refuse(|_| Some(Refused::Later("disk full".to_owned())));
    assert_eq!(session.say(at("alice"), "hello").await.expect_err("refused").retry, Retry::ByPolicy);
    host.store_away(true);
    let key = session.send(at("alice"), hello());
    assert_eq!(host.outcome_of(&key).await, Outcome::Dropped, "without `starting` nothing is sent");
}
