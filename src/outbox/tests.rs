//! The outbox's promises, on both engines.

use std::sync::atomic::Ordering;
use std::time::Duration;

use isthmus_bridge::{
    Address, BareJid, DeliveryError, Failure, Late, Leg, Message, MessageRef, Recipient, Retry, StoreError,
};

use super::Withdrawn;
use crate::storage::testing::{BRIDGE, Place, World, event, on_both_engines, seen};

on_both_engines!(
    what_was_sent_is_known_by_all_its_names,
    order_holds_in_a_lane_and_lanes_do_not_wait_for_each_other,
    a_temporary_failure_is_tried_again_later,
    after_a_crash_claimed_is_tried_again,
    after_a_crash_started_is_told_as_uncertain_once,
    after_a_crash_started_is_tried_again_where_the_network_knows_keys,
    three_unknown_ends_quarantine,
    a_queued_event_can_be_changed_and_cancelled_until_it_starts,
    legs_end_one_by_one,
    messages_are_joined_and_stay_joined,
    late_outcomes_rise_and_may_come_early,
    a_session_that_does_not_answer_in_time_leaves_it_uncertain,
    a_session_that_is_full_is_asked_again,
    the_sender_hears_that_it_is_still_tried,
    the_queue_can_be_looked_at_and_hurried,
    a_user_with_many_lanes_leaves_room_for_others,
);

fn away() -> DeliveryError {
    DeliveryError::temporary(Failure::Unreachable, "the relay is away")
}

async fn what_was_sent_is_known_by_all_its_names(place: Place) {
    let world = World::new(&place).await;
    let mut one = event("k1", "alice@example.net", "hello");
    if let isthmus_bridge::Intent::Send(message) = &mut one.intent {
        message.thread = Some("t1".into());
    }
    world.send_event(one).await;
    let delivery = world.next().await;
    assert_eq!(seen(&delivery), ("k1".into(), "hello".into()));
    let queued = world.outbox.find(BRIDGE, &MessageRef::Key("k1".into())).await.unwrap().unwrap();
    assert_eq!(queued.thread.as_deref(), Some("t1"), "known while it is queued");
    delivery.ticket.starting().await.unwrap();
    delivery.ticket.sent(Some("<m1@x>".into()));
    world.queue_of(0).await;
    let at = Address::Contact("alice@example.net".into());
    let by_key = world.outbox.find(BRIDGE, &MessageRef::Key("k1".into())).await.unwrap().unwrap();
    let by_id = world.outbox.find(BRIDGE, &MessageRef::foreign(BRIDGE.into(), "<m1@x>".into())).await.unwrap().unwrap();
    let user = "juliet@example.org".into();
    let latest = world.outbox.latest(BRIDGE, &user, &at, Some("t1")).await.unwrap().unwrap();
    let by_stanza = world.outbox.by_stanza(BRIDGE, &user, "s-k1").await.unwrap().unwrap();
    assert!(by_key == by_id && by_id == latest && latest == by_stanza);
    assert_eq!((by_key.address, by_key.ids), (at.clone(), vec!["<m1@x>".into()]));
    assert_eq!(world.outbox.latest(BRIDGE, &user, &at, Some("t2")).await.unwrap(), None);
    world.quiet().await;
    world.crash().await;
}

async fn order_holds_in_a_lane_and_lanes_do_not_wait_for_each_other(place: Place) {
    let world = World::new(&place).await;
    world.send("a1", "alice@example.net", "1").await;
    world.send("a2", "alice@example.net", "2").await;
    let a1 = world.next().await;
    world.quiet().await;
    world.send("b1", "bob@example.net", "1").await;
    let b1 = world.next().await;
    assert_eq!(b1.event.key.as_str(), "b1");
    b1.ticket.sent(None);
    assert_eq!(a1.event.key.as_str(), "a1");
    a1.ticket.failed(away());
    world.tried("a1", 1).await;
    world.quiet().await; // a2 waits behind a1, which waits for its time
    world.clock.advance(Duration::from_secs(20));
    let a1 = world.next().await;
    assert_eq!(a1.event.key.as_str(), "a1");
    a1.ticket.sent(None);
    let a2 = world.next().await;
    assert_eq!(a2.event.key.as_str(), "a2");
    a2.ticket.sent(None);
    world.queue_of(0).await;
    world.crash().await;
}

async fn a_temporary_failure_is_tried_again_later(place: Place) {
    let world = World::new(&place).await;
    world.send("k", "alice@example.net", "x").await;
    let first = world.next().await;
    assert_eq!(first.event.attempt, 0);
    first.ticket.starting().await.unwrap();
    first.ticket.failed(away().with_retry(Retry::After(Duration::from_secs(100))));
    world.tried("k", 1).await;
    world.clock.advance(Duration::from_secs(99));
    world.quiet().await;
    world.clock.advance(Duration::from_secs(2));
    let second = world.next().await;
    assert_eq!((second.event.key.as_str(), second.event.attempt), ("k", 1));
    second.ticket.failed(DeliveryError::new(Failure::NoSuchRecipient, "nobody"));
    assert_eq!(world.told(1).await, ["Failed k"]);
    world.queue_of(0).await;
    world.crash().await;
}

async fn after_a_crash_claimed_is_tried_again(place: Place) {
    let world = World::new(&place).await;
    world.send("k", "alice@example.net", "x").await;
    let held = world.next().await;
    let world = world.again(&place).await;
    drop(held);
    let again = world.next().await;
    assert_eq!((again.event.key.as_str(), again.event.attempt), ("k", 1));
    again.ticket.starting().await.unwrap();
    again.ticket.sent(None);
    world.queue_of(0).await;
    world.crash().await;
}

async fn after_a_crash_started_is_told_as_uncertain_once(place: Place) {
    let world = World::new(&place).await;
    world.send("k1", "alice@example.net", "x").await;
    let held = world.next().await;
    held.ticket.starting().await.unwrap();
    world.send("k2", "alice@example.net", "y").await;
    let world = world.again(&place).await;
    drop(held);
    assert_eq!(world.told(1).await, ["MaybeSent k1"]);
    let next = world.next().await;
    assert_eq!(next.event.key.as_str(), "k2", "what stood behind it goes on");
    next.ticket.sent(None);
    world.queue_of(0).await;
    let world = world.again(&place).await;
    world.quiet().await;
    assert_eq!(world.told(1).await.len(), 1, "exactly one notice");
    world.crash().await;
}

async fn after_a_crash_started_is_tried_again_where_the_network_knows_keys(place: Place) {
    let world = World::new(&place).await;
    world.carry.profile.lock().unwrap().idempotent = true;
    world.send("k", "alice@example.net", "x").await;
    let held = world.next().await;
    held.ticket.starting().await.unwrap();
    let world = world.again(&place).await;
    drop(held); // not before the crash: a dropped ticket is an answer
    world.tried("k", 1).await;
    world.clock.advance(Duration::from_secs(20));
    let again = world.next().await;
    assert_eq!((again.event.key.as_str(), again.event.attempt), ("k", 1));
    let user = "juliet@example.org".into();
    assert_eq!(
        world.outbox.cancel(BRIDGE, &user, &alice(), "s-k").await.unwrap(),
        Withdrawn::TooLate,
        "it may have gone already"
    );
    again.ticket.sent(None);
    world.queue_of(0).await;
    world.crash().await;
}

fn alice() -> Address {
    Address::Contact("alice@example.net".into())
}

async fn three_unknown_ends_quarantine(place: Place) {
    let world = World::new(&place).await;
    world.send("k", "alice@example.net", "x").await;
    for tries in 1..3 {
        drop(world.next().await); // the bridge broke before anything was sent
        world.tried("k", tries).await;
        world.clock.advance(Duration::from_secs(120));
    }
    drop(world.next().await);
    assert_eq!(world.told(1).await, ["Quarantined k"]);
    world.queue_of(0).await;
    world.quiet().await;
    world.crash().await;
}

async fn a_queued_event_can_be_changed_and_cancelled_until_it_starts(place: Place) {
    let world = World::new(&place).await;
    let user = "juliet@example.org".into();
    world.send("k1", "alice@example.net", "teh").await;
    let held = world.next().await;
    world.send("k2", "alice@example.net", "two").await;
    world.send("k3", "alice@example.net", "three").await;
    assert_eq!(
        world.outbox.replace(BRIDGE, &user, &alice(), "s-k1", Message::chat("the")).await.unwrap(),
        Withdrawn::Queued
    );
    assert_eq!(world.outbox.cancel(BRIDGE, &user, &alice(), "s-k2").await.unwrap(), Withdrawn::Queued);
    assert_eq!(world.outbox.cancel(BRIDGE, &user, &alice(), "s-k9").await.unwrap(), Withdrawn::Unknown);
    let other = "romeo@example.org".into();
    assert_eq!(
        world.outbox.cancel(BRIDGE, &other, &alice(), "s-k3").await.unwrap(),
        Withdrawn::Unknown,
        "somebody else's"
    );
    let elsewhere = Address::Contact("bob@example.net".into());
    let done = world.outbox.cancel(BRIDGE, &user, &elsewhere, "s-k3").await.unwrap();
    assert_eq!(done, Withdrawn::Unknown, "it went to somebody else");
    assert!(matches!(held.ticket.starting().await, Err(StoreError::Unavailable(_))), "its words have changed");
    drop(held);
    let changed = world.next().await;
    assert_eq!(seen(&changed), ("k1".into(), "the".into()));
    changed.ticket.starting().await.unwrap();
    assert_eq!(world.outbox.cancel(BRIDGE, &user, &alice(), "s-k1").await.unwrap(), Withdrawn::TooLate);
    assert_eq!(
        world.outbox.replace(BRIDGE, &user, &alice(), "s-k1", Message::chat("x")).await.unwrap(),
        Withdrawn::TooLate
    );
    changed.ticket.sent(None);
    let third = world.next().await;
    assert_eq!(third.event.key.as_str(), "k3");
    assert_eq!(
        world.outbox.cancel(BRIDGE, &user, &alice(), "s-k1").await.unwrap(),
        Withdrawn::TooLate,
        "sent long ago"
    );
    assert_eq!(world.outbox.cancel_by_key(&"k3".into(), None, true).await.unwrap(), Withdrawn::Queued);
    drop(third);
    assert_eq!(world.told(1).await, ["Cancelled k3"]);
    world.queue_of(0).await;
    world.quiet().await;
    world.crash().await;
}

async fn legs_end_one_by_one(place: Place) {
    let world = World::new(&place).await;
    let mut many = event("k", "alice@example.net", "x");
    for other in ["bob@example.net", "carol@example.net"] {
        many.to.push(Recipient::to(Address::Contact(other.into())));
    }
    world.send_event(many).await;
    let first = world.next().await;
    first.ticket.starting().await.unwrap();
    first.ticket.done(vec![
        Leg::sent(Some("alice@example.net".into()), vec!["<a@x>".into()]),
        Leg::failed(Some("bob@example.net".into()), away()),
        Leg::failed(Some("carol@example.net".into()), DeliveryError::new(Failure::NoSuchRecipient, "nobody")),
    ]);
    assert_eq!(world.told(1).await, ["Failed k carol@example.net"]);
    world.tried("k", 1).await;
    world.clock.advance(Duration::from_secs(20));
    let second = world.next().await;
    assert_eq!(second.event.to, [Recipient::to(Address::Contact("bob@example.net".into()))]);
    second.ticket.sent(Some("<b@x>".into()));
    world.queue_of(0).await;
    let of = MessageRef::foreign(BRIDGE.into(), "<a@x>".into());
    world.outbox.late(BRIDGE, of, None, Late::Delivered).await.unwrap();
    let of = MessageRef::Key("k".into());
    world.outbox.late(BRIDGE, of, Some("bob@example.net".into()), Late::Delivered).await.unwrap();
    let told = world.told(3).await;
    assert_eq!(told[1..], ["Delivered k alice@example.net", "Delivered k bob@example.net"]);
    world.crash().await;
}

async fn messages_are_joined_and_stay_joined(place: Place) {
    let world = World::new(&place).await;
    world.carry.window.store(30, Ordering::SeqCst);
    for (key, body) in [("k1", "one"), ("k2", "two"), ("k3", "three")] {
        world.send(key, "alice@example.net", body).await;
    }
    world.quiet().await;
    world.clock.advance(Duration::from_secs(31));
    let joined = world.next().await;
    assert_eq!(seen(&joined), ("k1".into(), "one\ntwo\nthree".into()));
    assert_eq!(joined.event.joined, ["k2".into(), "k3".into()]);
    joined.ticket.starting().await.unwrap();
    world.send("k4", "alice@example.net", "four").await;
    joined.ticket.failed(away());
    world.tried("k1", 1).await;
    let world = world.again(&place).await;
    let again = world.next().await;
    assert_eq!(seen(&again), ("k1".into(), "one\ntwo\nthree".into()), "the same again, without what came later");
    again.ticket.sent(Some("<j@x>".into()));
    let last = world.next().await;
    assert_eq!(seen(&last), ("k4".into(), "four".into()));
    last.ticket.sent(None);
    world.queue_of(0).await;
    let second = world.outbox.find(BRIDGE, &MessageRef::Key("k2".into())).await.unwrap().unwrap();
    assert_eq!(second.ids, ["<j@x>".into()], "each of the joined has the ids of the whole");
    let of = MessageRef::foreign(BRIDGE.into(), "<j@x>".into());
    world.outbox.late(BRIDGE, of, None, Late::Delivered).await.unwrap();
    assert_eq!(world.told(3).await, ["Delivered k1", "Delivered k2", "Delivered k3"]);
    world.crash().await;
}

async fn late_outcomes_rise_and_may_come_early(place: Place) {
    let world = World::new(&place).await;
    let of = || MessageRef::foreign(BRIDGE.into(), "id-1".into());
    world.send("k", "alice@example.net", "x").await;
    let delivery = world.next().await;
    world.outbox.late(BRIDGE, of(), None, Late::Delayed("slow".into())).await.unwrap(); // before the answer that names the id
    delivery.ticket.sent(Some("id-1".into()));
    assert_eq!(world.told(1).await, ["Delayed k"]);
    world.queue_of(0).await;
    let failed = || Late::Failed(DeliveryError::new(Failure::Rejected, "bounced"));
    for what in [Late::Delayed("slow".into()), failed(), failed(), Late::Delivered, failed(), Late::Delivered] {
        world.outbox.late(BRIDGE, of(), None, what).await.unwrap();
    }
    world.outbox.late(BRIDGE, MessageRef::Key("k".into()), None, Late::Displayed).await.unwrap();
    let told = world.told(4).await;
    assert_eq!(told, ["Delayed k", "Failed k", "Delivered k", "Displayed k"]);
    world.outbox.late(BRIDGE, MessageRef::foreign(BRIDGE.into(), "never".into()), None, Late::Delivered).await.unwrap();
    world.clock.advance(Duration::from_secs(25 * 3600));
    world.outbox.sweep(Duration::from_secs(24 * 3600)).await.unwrap();
    assert_eq!(world.outbox.find(BRIDGE, &of()).await.unwrap(), None, "swept");
    let left = world.store.read("SELECT COUNT(*) FROM early", vec![]).await.unwrap();
    assert_eq!(left[0].int(0).unwrap(), 0);
    world.crash().await;
}

async fn a_session_that_does_not_answer_in_time_leaves_it_uncertain(place: Place) {
    let world = World::new(&place).await;
    world.send("k", "alice@example.net", "x").await;
    let held = world.next().await;
    held.ticket.starting().await.unwrap();
    world.clock.advance(Duration::from_secs(601));
    assert_eq!(world.told(1).await, ["MaybeSent k"]);
    held.ticket.sent(None); // too late: ignored
    world.queue_of(0).await;
    world.crash().await;
}

async fn a_session_that_is_full_is_asked_again(place: Place) {
    let world = World::new(&place).await;
    world.carry.refuse.store(true, Ordering::SeqCst);
    world.send("k", "alice@example.net", "x").await;
    world.quiet().await;
    world.carry.refuse.store(false, Ordering::SeqCst);
    world.clock.advance(Duration::from_secs(2));
    world.next().await.ticket.sent(None);
    world.queue_of(0).await;
    world.carry.refuse.store(true, Ordering::SeqCst);
    world.send("never", "alice@example.net", "x").await;
    world.quiet().await;
    world.clock.advance(Duration::from_secs(2 * 24 * 3600));
    assert_eq!(world.told(1).await, ["Failed never"], "not for ever");
    world.crash().await;
}

async fn the_sender_hears_that_it_is_still_tried(place: Place) {
    let world = World::new(&place).await;
    world.send("k", "alice@example.net", "x").await;
    for tries in 1..4 {
        world.next().await.ticket.failed(away());
        world.tried("k", tries).await;
        world.clock.advance(Duration::from_secs(3600));
    }
    assert_eq!(world.told(1).await, ["StillTrying k"]);
    world.next().await.ticket.sent(None);
    world.queue_of(0).await;
    assert_eq!(world.told(1).await.len(), 1, "said once");
    world.crash().await;
}

async fn the_queue_can_be_looked_at_and_hurried(place: Place) {
    let world = World::new(&place).await;
    world.send("k", "alice@example.net", "x").await;
    world.next().await.ticket.failed(away());
    let waits = async {
        loop {
            let items = world.outbox.list(Some(BRIDGE), Some(&"juliet@example.org".into()), 10).await.unwrap();
            if items.first().is_some_and(|item| item.reason.is_some()) {
                return items;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let items = crate::storage::testing::within("a reason", waits).await;
    assert_eq!((items[0].state, items[0].tries), ("queued", 1));
    assert!(items[0].reason.as_ref().unwrap().to_string().contains("the relay is away"));
    assert!(serde_json::to_string(&items).unwrap().contains("\"state\":\"queued\""));
    assert_eq!(world.outbox.waiting().await.unwrap(), [(BRIDGE.to_owned(), 1)]);
    let retry = |key: &'static str, user: Option<BareJid>| {
        let outbox = &world.outbox;
        async move { outbox.retry_now(&key.into(), user.as_ref()).await.unwrap() }
    };
    assert_eq!(retry("k", Some("romeo@example.org".into())).await, Withdrawn::Unknown);
    assert_eq!(retry("k", None).await, Withdrawn::Queued);
    let held = world.next().await;
    assert_eq!(retry("k", None).await, Withdrawn::TooLate, "it is being tried");
    held.ticket.failed(away());
    world.tried("k", 2).await;
    // What stands before an event in its lane goes first, and is not waited for.
    world.send("k2", "alice@example.net", "y").await;
    assert_eq!(retry("k2", None).await, Withdrawn::Queued);
    for key in ["k", "k2"] {
        let held = world.next().await;
        assert_eq!(held.event.key.as_str(), key);
        held.ticket.sent(None);
    }
    world.queue_of(0).await;
    world.crash().await;
}

async fn a_user_with_many_lanes_leaves_room_for_others(place: Place) {
    let world = World::new(&place).await;
    for n in 0..300 {
        world.send(&format!("k{n}"), &format!("c{n}@example.net"), "x").await;
    }
    let mut other = event("other", "alice@example.net", "x");
    other.user = "romeo@example.org".into();
    world.send_event(other).await;
    let mut held = Vec::new();
    let other = loop {
        let delivery = world.next().await;
        if delivery.event.key.as_str() == "other" {
            break delivery;
        }
        held.push(delivery);
        assert!(held.len() <= 16, "a session that hangs takes no more than its share");
    };
    other.ticket.sent(None);
    world.crash().await;
}
