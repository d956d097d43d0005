//! Numbers that are several people's, or nobody's any more: who is written to, who gets the answer, who may see what.

mod common;

use common::{HERS, JULIET, PHONE, ROMEO, SHARED, World, contact, kannel, query, taking, text};
use http::StatusCode;
use isthmus_bridge::suite::{FakeHost, Session, build};
use isthmus_bridge::{Address, Failure, Host, Outcome, Recipient, RecipientKind, Sent, Step, Text, Values};
use isthmus_sms::Sms;
use isthmus_testkit::httpd::{Act, Httpd};
use serde_json::json;

/// A second number that all share.
const OTHER: &str = "+15550003333";

fn key_of(text: &Text) -> String {
    text.to_string().split(' ').next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_number_of_the_gateway_is_nobodys_to_claim() {
    let server = taking().await;
    let shared = json!({"numbers": [{"number": SHARED, "shared": true}, {"number": OTHER, "shared": true, "owner": "desk@example.org"}]});
    let world = World::kannel(&server, shared).await;
    world.romeo.set(&Address::Gateway, "number", Some(OTHER)).await;
    let error = world.romeo.say(contact(SHARED), "answer me").await.expect_err("a number that all share");
    assert_eq!((error.failure, key_of(&error.text).as_str()), (Failure::Forbidden, "own-number"));
    let values = Values::new().with("number", OTHER);
    let step = world.romeo.command("register", Address::Gateway, vec![values]).await.expect("a form");
    let Step::Ask { form, .. } = step else { panic!("{step:?}") };
    assert_eq!(form.fields[0].error, Some(Text::key("register.taken").with("number", OTHER)));
    assert!(server.heard().is_empty(), "neither text nor code went out");
}

#[tokio::test]
async fn an_answer_goes_to_the_last_who_was_not_refused() {
    let server = Httpd::answering(|heard| match heard.field("text").as_deref() {
        Some("refused") => Act::text(403, "no"),
        _ => Act::text(202, "0: Accepted for delivery"),
    });
    let server = server.await.expect("a provider");
    let world = World::kannel(&server, json!({"limits": {"texts_per_day": 1}})).await;
    world.juliet.set(&Address::Gateway, "number", Some(SHARED)).await;
    world.romeo.say(contact(PHONE), "it is me").await.expect("taken");
    world.say(PHONE, "refused").await.expect_err("refused by the provider");
    assert_eq!(world.text_in(SHARED, "1", "hello").await, StatusCode::OK);
    // One that the limits keep back.
    world.say("+15551113333", "elsewhere").await.expect("taken");
    world.say(PHONE, "one too many").await.expect_err("over the limit");
    assert_eq!(world.text_in(SHARED, "2", "hello again").await, StatusCode::OK);
    assert_eq!(world.bodies(), [(ROMEO.to_owned(), "hello".to_owned()), (ROMEO.to_owned(), "hello again".to_owned())]);
}

#[tokio::test]
async fn a_number_that_was_somebody_elses_brings_nothing_to_its_new_user() {
    let server = taking().await;
    let bridge = build(&Sms, kannel(&server.url(), json!({}))).expect("sound");
    let fake = FakeHost::of(&bridge);
    fake.own(&ROMEO.into(), &HERS.into());
    let host: Host = fake.host();
    host.release(&ROMEO.into(), &HERS.into()).await.expect("released");
    // The configuration says now that it is Juliet's.
    let world = World::at(bridge, fake).await;
    assert_eq!(world.text_in(HERS, "1", "dear Romeo").await, StatusCode::NOT_FOUND);
    assert!(world.bodies().is_empty());
}

#[tokio::test]
async fn a_number_of_the_configuration_is_its_users_from_the_first_text_on() {
    let server = taking().await;
    let bridge = build(&Sms, kannel(&server.url(), json!({}))).expect("sound");
    let fake = FakeHost::of(&bridge);
    fake.register(&JULIET.into());
    let host: Host = fake.host();
    let query = query(&[("from", PHONE), ("to", HERS), ("text", "early"), ("id", "1")]);
    let request = http::Request::get(format!("/hooks/sms/kannel/in/s3cret?{query}")).body(bytes::Bytes::new());
    assert_eq!(bridge.webhook(request.expect("a request"), &host).await.status(), StatusCode::OK);
    assert_eq!(host.owner(&HERS.into()).await, Ok(Some(JULIET.into())));
}

#[tokio::test]
async fn the_register_of_a_shared_number_shows_ones_own_contacts() {
    let server = taking().await;
    let world = World::kannel(&server, json!({})).await;
    world.fake.add_admin(&"admin@example.org".into());
    world.romeo.say(contact(PHONE), "hello").await.expect("taken");
    assert_eq!(world.text_in(SHARED, "1", "STOP").await, StatusCode::OK);
    let shown = async |of: &Session| {
        let step = of.command("opt-outs", Address::Gateway, vec![]).await.expect("shown");
        format!("{step:?}").contains(PHONE)
    };
    assert!(shown(&world.romeo).await, "who wrote to them is told");
    assert!(!shown(&world.juliet).await, "whom others write to is theirs");
    let admin = Session::start(&world.bridge, &world.fake, "admin@example.org", &contact(PHONE));
    assert!(shown(&admin).await, "administrators see all");
    world.fake.add_contact(&JULIET.into(), PHONE.into(), None);
    assert!(shown(&world.juliet).await, "a contact of one's own");
}

#[tokio::test]
async fn codes_are_texts_like_any_other() {
    let server = taking().await;
    let world = World::kannel(&server, json!({"limits": {"texts_per_day": 1}})).await;
    assert_eq!(world.text_in(SHARED, "1", "STOP").await, StatusCode::OK);
    let ask = async |number: &str| {
        world.romeo.command("register", Address::Gateway, vec![Values::new().with("number", number)]).await
    };
    let error = ask(PHONE).await.expect_err("they want no texts");
    assert_eq!((error.failure, key_of(&error.text).as_str()), (Failure::Forbidden, "opted-out"));
    assert!(matches!(ask("+15559990000").await, Ok(Step::Ask { .. })));
    let error = ask("+15559990001").await.expect_err("one text a day");
    assert_eq!((error.failure, key_of(&error.text).as_str()), (Failure::OverQuota, "over.day"));
    assert_eq!(server.heard().len(), 1);
}

#[tokio::test]
async fn a_blind_copy_is_a_text_of_its_own() {
    let server = Httpd::answering(|_| Act::json(200, "{\"data\":{\"id\":\"g1\"}}")).await.expect("a provider");
    let keys = json!({"country": "US", "provider": "providers/telnyx.toml",
        "credentials": {"api_key": "k", "public_key": "AAAA", "api": server.url()},
        "numbers": [{"number": HERS, "user": JULIET}]});
    let world = World::of(keys).await;
    let (second, hidden) = ("+15551113333", "+15551114444");
    let mut event = world.fake.outbound(&JULIET.into(), contact(PHONE), text("hello all"));
    event.to = [(PHONE, RecipientKind::To), (hidden, RecipientKind::Bcc), (second, RecipientKind::Cc)]
        .map(|(number, kind)| Recipient::new(contact(number), kind))
        .into();
    let key = world.juliet.send_event(event);
    let Outcome::Legs(legs) = world.fake.outcome_of(&key).await else { panic!("dropped") };
    assert!(legs.len() == 3 && legs.iter().all(|leg| leg.result.is_ok()), "{legs:?}");
    let sent: Vec<serde_json::Value> = server
        .heard()
        .iter()
        .map(|heard| serde_json::from_slice::<serde_json::Value>(&heard.body).expect("JSON")["to"].clone())
        .collect();
    assert_eq!(sent, [json!([PHONE, second]), json!(hidden)]);
}

#[tokio::test(start_paused = true)]
async fn who_cannot_be_served_in_time_is_not_sent_to_yet() {
    let server = Httpd::answering(|_| Act::Hang).await.expect("a provider");
    let world = World::kannel(&server, json!({"limits": {"recipients": 40}})).await;
    let numbers: Vec<String> = (0..40).map(|n| format!("+155511100{n:02}")).collect();
    let mut event = world.fake.outbound(&JULIET.into(), contact(PHONE), text("hello all"));
    event.to = numbers.iter().map(|n| Recipient::to(contact(n))).collect();
    let begun = tokio::time::Instant::now();
    let key = world.juliet.send_event(event);
    let legs = loop {
        if let Some((.., Outcome::Legs(legs))) = world.fake.settled().into_iter().find(|(of, ..)| *of == key) {
            break legs;
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    };
    assert!(begun.elapsed() < world.bridge.profile().answer_within, "{:?}", begun.elapsed());
    assert_eq!(legs.len(), 40);
    let last = legs[39].result.as_ref().expect_err("not sent");
    assert_eq!((last.sent, key_of(&last.text).as_str()), (Sent::No, "not-yet"));
    assert!(last.retry != isthmus_bridge::Retry::Never, "the rest is tried again");
}
