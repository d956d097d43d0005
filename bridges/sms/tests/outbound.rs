//! From a message to the provider, against scripted ones: what is asked, and every point at which it can fail.

mod common;

use common::{HERS, JULIET, PHONE, ROMEO, SHARED, World, contact, kannel, taking, text};
use isthmus_bridge::{
    Address, Failure, File, FileSource, Intent, Media, Message, MessageRef, NetworkId, Outcome, Retry, Sent, Step,
    Text, Values,
};
use isthmus_testkit::httpd::{Act, Httpd};
use serde_json::json;
use url::Url;

fn key_of(text: &Text) -> String {
    text.to_string().split(' ').next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_message_becomes_a_text() {
    let server = taking().await;
    let world = World::kannel(&server, json!({})).await;
    let legs = world.say(PHONE, "“Hello” there").await.expect("taken");
    let asked = &server.heard()[0];
    assert_eq!(asked.method, "GET");
    for (field, value) in [
        ("username", "gw"),
        ("password", "pw"),
        ("from", HERS),
        ("to", PHONE),
        ("text", "\"Hello\" there"),
        ("coding", "0"),
    ] {
        assert_eq!(asked.field(field).as_deref(), Some(value), "{field}");
    }
    let report = asked.field("dlr-url").expect("a report is asked for");
    let id = legs[0].ids[0].as_str().strip_prefix("kannel:").expect("the provider's name before its id");
    assert_eq!(report, format!("https://gateway.example/hooks/sms/kannel/report/s3cret?id={id}&status=%d&words=%A"));
    world.say(PHONE, "Привет “мир”").await.expect("taken");
    let asked = &server.heard()[1];
    assert_eq!((asked.field("text").as_deref(), asked.field("coding").as_deref()), (Some("Привет “мир”"), Some("2")));
}

#[tokio::test]
async fn nothing_leaves_without_the_lease() {
    let server = taking().await;
    let world = World::kannel(&server, json!({})).await;
    let event = world.fake.outbound(&JULIET.into(), contact(PHONE), text("hello"));
    world.fake.lose_lease(&event.key);
    let key = world.juliet.send_event(event);
    assert!(matches!(world.fake.outcome_of(&key).await, Outcome::Dropped));
    assert!(server.heard().is_empty());
}

#[tokio::test]
async fn what_is_certain_is_tried_again_and_what_is_not_is_not() {
    for (status, body, failure, sent, retry) in [
        (403, "Authorization failed", Failure::Rejected, Sent::No, Retry::Never),
        (503, "Temporal failure, try again later.", Failure::Unreachable, Sent::No, Retry::ByPolicy),
        (500, "oops", Failure::Unknown, Sent::Maybe, Retry::Never),
        (302, "elsewhere", Failure::Unknown, Sent::Maybe, Retry::Never),
    ] {
        let server = Httpd::answering(move |_| Act::text(status, body)).await.expect("a provider");
        let world = World::kannel(&server, json!({})).await;
        let error = world.say(PHONE, "hello").await.expect_err("refused");
        assert_eq!((error.failure, error.sent, error.retry), (failure, sent, retry), "{status}");
        assert_eq!(server.heard().len(), 1, "{status}: asked once");
    }
}

#[tokio::test]
async fn silence_and_a_broken_connection_are_uncertain_and_a_closed_port_is_not() {
    let hanging = Httpd::answering(|_| Act::Hang).await.expect("a provider");
    let world = World::kannel(&hanging, json!({"timeout_seconds": 1})).await;
    let error = world.say(PHONE, "hello").await.expect_err("silent");
    assert_eq!((error.failure, error.sent), (Failure::TimedOut, Sent::Maybe));
    let closing = Httpd::answering(|_| Act::Close).await.expect("a provider");
    let error = World::kannel(&closing, json!({})).await.say(PHONE, "hello").await.expect_err("closed");
    assert_eq!((error.sent, key_of(&error.text).as_str()), (Sent::Maybe, "provider-silent"));
    assert_eq!((hanging.heard().len(), closing.heard().len()), (1, 1), "neither was asked again");
    let world = World::of(kannel("http://127.0.0.1:1/send", json!({}))).await;
    let error = world.say(PHONE, "hello").await.expect_err("nobody there");
    assert_eq!((error.failure, error.sent, error.retry), (Failure::Unreachable, Sent::No, Retry::ByPolicy));
}

#[tokio::test]
async fn another_provider_only_where_the_first_certainly_did_not_take_it() {
    let second = taking().await;
    for (status, other) in [(503, true), (403, true), (500, false)] {
        let first = Httpd::answering(move |_| Act::text(status, "no")).await.expect("a provider");
        let before = second.heard().len();
        let mut keys = kannel(
            "",
            json!({"providers": [
            {"file": "providers/kannel.toml", "name": "first", "credentials": {"url": first.url()}},
            {"file": "providers/kannel.toml", "name": "second", "credentials": {"url": second.url()}}]}),
        );
        keys.as_object_mut().expect("a table").remove("provider");
        let world = World::of(keys).await;
        let result = world.say(PHONE, "hello").await;
        assert_eq!(result.is_ok(), other, "{status}: {result:?}");
        assert_eq!(second.heard().len() - before, usize::from(other), "{status}");
        if let Ok(legs) = result {
            assert!(legs[0].ids[0].as_str().starts_with("second:"));
        }
    }
}

#[tokio::test]
async fn no_other_provider_for_what_the_number_or_the_words_were_refused_for() {
    let second = taking().await;
    let folder = tempfile::tempdir().expect("a folder");
    for (reason, other) in
        [("opted-out", false), ("filtered", false), ("too-long", false), ("no-such-number", false), ("no-credit", true)]
    {
        let first = Httpd::answering(|_| Act::json(400, "{\"code\":7}")).await.expect("a provider");
        let path = folder.path().join(format!("{reason}.toml"));
        let file = format!(
            "name=\"First\"\n[credentials]\nurl=\"\"\n[send]\nurl=\"{{url}}/send\"\nformat=\"json\"\n[send.fields]\nto=\"{{to}}\"\ntext=\"{{text}}\"\n[answer]\nid=\"/id\"\ncode=\"/code\"\n[codes]\n\"7\"=\"{reason}\"\n"
        );
        std::fs::write(&path, file).expect("written");
        let mut keys = kannel(
            "",
            json!({"providers": [
            {"file": path.display().to_string(), "name": "first", "credentials": {"url": first.url()}},
            {"file": "providers/kannel.toml", "name": "second", "credentials": {"url": second.url()}}]}),
        );
        keys.as_object_mut().expect("a table").remove("provider");
        let before = second.heard().len();
        let result = World::of(keys).await.say(PHONE, "hello").await;
        assert_eq!(
            (result.is_ok(), second.heard().len() - before),
            (other, usize::from(other)),
            "{reason}: {result:?}"
        );
        assert_eq!(first.heard().len(), 1, "{reason}");
    }
}

#[tokio::test]
async fn providers_by_prefix_and_by_price() {
    let (near, far, cheap) = (taking().await, taking().await, taking().await);
    let mut keys = kannel(
        "",
        json!({"choose": "price", "providers": [
        {"file": "providers/kannel.toml", "name": "far", "credentials": {"url": far.url()}, "prices": {"+": 0.5, "+4": 0.5}},
        {"file": "providers/kannel.toml", "name": "cheap", "credentials": {"url": cheap.url()}, "prices": {"+4": 0.1}},
        {"file": "providers/kannel.toml", "name": "near", "credentials": {"url": near.url()}, "prefixes": ["+1"]}]}),
    );
    keys.as_object_mut().expect("a table").remove("provider");
    // A lone plus is no prefix.
    assert!(isthmus_bridge::suite::build(&isthmus_sms::Sms, keys.clone()).is_err());
    keys["providers"][0]["prices"] = json!({"+4": 0.5});
    let world = World::of(keys).await;
    world.say(PHONE, "near").await.expect("taken");
    world.say("+447700900000", "far").await.expect("taken");
    assert_eq!((near.heard().len(), cheap.heard().len(), far.heard().len()), (1, 1, 0));
}

#[tokio::test]
async fn a_number_that_one_provider_has_is_used_there_only() {
    let (cheap, own) = (taking().await, taking().await);
    let mut keys = kannel(
        "",
        json!({"choose": "price", "providers": [
        {"file": "providers/kannel.toml", "name": "cheap", "credentials": {"url": cheap.url()}, "prices": {"+1": 0.1}},
        {"file": "providers/kannel.toml", "name": "own", "credentials": {"url": own.url()}, "prices": {"+1": 0.5}}],
        "numbers": [{"number": HERS, "user": JULIET, "provider": "own"}, {"number": SHARED, "shared": true}]}),
    );
    keys.as_object_mut().expect("a table").remove("provider");
    let world = World::of(keys).await;
    world.say(PHONE, "from my own").await.expect("taken");
    assert_eq!((cheap.heard().len(), own.heard().len()), (0, 1));
    world.romeo.say(contact(PHONE), "from the shared one").await.expect("taken");
    assert_eq!((cheap.heard().len(), own.heard().len()), (1, 1));
}

#[tokio::test]
async fn reactions_are_texts_only_where_the_user_wants_them() {
    let server = taking().await;
    let world = World::kannel(&server, json!({})).await;
    let of = MessageRef::foreign(NetworkId::from("sms"), "kannel:1".into());
    let react = |add: &[&str], remove: &[&str]| Intent::React {
        of: of.clone(),
        add: add.iter().map(ToString::to_string).collect(),
        remove: remove.iter().map(ToString::to_string).collect(),
    };
    world.juliet.deliver(contact(PHONE), react(&["👍"], &[])).await;
    assert!(server.heard().is_empty());
    world.juliet.set(&Address::Gateway, "reactions", Some("true")).await;
    world.juliet.deliver(contact(PHONE), react(&["👍", "🎉"], &[])).await;
    world.juliet.deliver(contact(PHONE), react(&[], &["👍"])).await;
    let heard = server.heard();
    assert_eq!((heard.len(), heard[0].field("text").as_deref()), (1, Some("👍 🎉")));
}

#[tokio::test]
async fn an_idempotency_key_makes_a_second_try_safe() {
    use std::sync::atomic::{AtomicU32, Ordering};
    let count = AtomicU32::new(0);
    let server = Httpd::answering(move |_| {
        if count.fetch_add(1, Ordering::SeqCst) == 0 { Act::Close } else { Act::json(200, "{\"id\":\"m1\"}") }
    });
    let server = server.await.expect("a provider");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keyed.toml");
    let file = "name=\"Keyed\"\n[credentials]\nurl=\"\"\n[send]\nurl=\"{url}/send\"\nformat=\"json\"\n[send.headers]\nIdempotency-Key=\"{key}\"\n[send.fields]\nto=\"{to}\"\ntext=\"{text}\"\n[answer]\nid=\"/id\"\nidempotent=true\n";
    std::fs::write(&path, file).expect("written");
    let keys = json!({"country": "US", "provider": path.display().to_string(), "credentials": {"url": server.url()}, "numbers": [{"number": HERS, "user": JULIET}]});
    let world = World::of(keys).await;
    assert!(world.bridge.profile().idempotent);
    let legs = world.say(PHONE, "hello").await.expect("taken at the second try");
    assert_eq!(legs[0].ids[0].as_str(), "keyed:m1");
    let heard = server.heard();
    assert_eq!(heard.len(), 2);
    assert!(heard[0].header("idempotency-key").is_some());
    assert_eq!(heard[0].header("idempotency-key"), heard[1].header("idempotency-key"));
}

#[tokio::test]
async fn too_many_segments_say_how_many() {
    let server = taking().await;
    let world = World::kannel(&server, json!({"limits": {"segments": 2}})).await;
    world.say(PHONE, &"a".repeat(306)).await.expect("two segments");
    let error = world.say(PHONE, &"a".repeat(307)).await.expect_err("three");
    assert_eq!(error.failure, Failure::TooLong { limit: 2 });
    assert_eq!(error.text.to_string(), "too-many-segments segments=3, limit=2");
    assert_eq!(server.heard().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_written_to_says_why() {
    let server = taking().await;
    let world = World::kannel(&server, json!({"short_codes": ["54321"]})).await;
    for (to, reason, failure) in [
        ("bank", "receive-only", Failure::Unsupported),
        ("12345", "short-code-closed", Failure::Forbidden),
        ("+19005551234", "prefix-closed", Failure::Forbidden),
    ] {
        let error = world.say(to, "hello").await.expect_err(to);
        assert_eq!((key_of(&error.text).as_str(), error.failure), (reason, failure), "{to}");
    }
    world.say("54321", "hello").await.expect("a configured short code");
    let nobody = isthmus_bridge::suite::Session::start(&world.bridge, &world.fake, ROMEO, &contact(PHONE));
    nobody.say(contact(PHONE), "hello").await.expect("by the shared number");
    assert_eq!(server.heard().last().and_then(|h| h.field("from")).as_deref(), Some(SHARED));
}

#[tokio::test]
async fn limits_are_kept_and_shown() {
    let server = taking().await;
    let limits = json!({"limits": {"texts_per_day": 3, "cost_per_month": 0.05}, "prices": {"+1": 0.01}});
    let world = World::kannel(&server, limits).await;
    world.say(PHONE, "one").await.expect("taken");
    world.say(PHONE, &"x".repeat(161)).await.expect("two segments");
    let step = world.juliet.command("usage", Address::Gateway, vec![]).await.expect("shown");
    let Step::Done { notes, .. } = step else { panic!("{step:?}") };
    let said: Vec<String> = notes.iter().map(|n| format!("{n:?}")).collect();
    assert!(said[0].contains("\"usage.day\"") && said[0].contains("(\"used\", \"2\"), (\"limit\", \"3\")"), "{said:?}");
    assert!(said[2].contains("\"0.03\""), "{said:?}");
    let error = world.say(PHONE, &"x".repeat(400)).await.expect_err("over the budget");
    assert_eq!((key_of(&error.text).as_str(), error.failure), ("over.cost", Failure::OverQuota));
    world.say(PHONE, "three").await.expect("taken");
    let error = world.say(PHONE, "four").await.expect_err("over the day");
    assert!(error.text.to_string().starts_with("over.day used=3, limit=3"), "{}", error.text);
    world.romeo.say(contact(PHONE), "mine").await.expect("each has limits of their own");
    // The next process knows what this one has used.
    let again = World::at(world.bridge.clone(), world.fake.clone()).await;
    assert!(again.say(PHONE, "five").await.is_err());
}

#[tokio::test]
async fn what_was_not_sent_does_not_count() {
    let server = Httpd::answering(|_| Act::text(503, "later")).await.expect("a provider");
    let world = World::kannel(&server, json!({"limits": {"texts_per_day": 1}})).await;
    for _ in 0..3 {
        let error = world.say(PHONE, "hello").await.expect_err("later");
        assert_eq!(error.failure, Failure::Unreachable, "{}", error.text);
    }
}

#[tokio::test]
async fn several_recipients_get_a_text_each() {
    let server = Httpd::answering(|heard| match heard.field("to").as_deref() {
        Some("+15551113333") => Act::text(400, "No such number"),
        _ => Act::text(202, "0: Accepted for delivery"),
    });
    let server = server.await.expect("a provider");
    let world = World::kannel(&server, json!({})).await;
    let legs = world.to_several(&[PHONE, "+15551113333", "bank"], "hello").await;
    let of = |number: &str| legs.iter().find(|l| l.to.as_ref().is_some_and(|t| t.as_str() == number)).expect(number);
    assert!(of(PHONE).result.is_ok());
    assert_eq!(of("+15551113333").result.as_ref().map_err(|e| e.failure.clone()), Err(Failure::Rejected));
    assert_eq!(of("bank").result.as_ref().map_err(|e| e.failure.clone()), Err(Failure::Unsupported));
    assert_eq!(server.heard().len(), 2);
}

fn telnyx(url: &str) -> serde_json::Value {
    json!({"country": "US", "provider": "providers/telnyx.toml", "credentials": {"api_key": "k", "public_key": "AAAA", "api": url},
        "numbers": [{"number": HERS, "user": JULIET}]})
}

#[tokio::test]
async fn a_group_message_goes_out_as_one_where_the_provider_has_it() {
    let server = Httpd::answering(|_| Act::json(200, "{\"data\":{\"id\":\"g1\"}}")).await.expect("a provider");
    let world = World::of(telnyx(&server.url())).await;
    let legs = world.to_several(&[PHONE, "+15551113333"], "hello all").await;
    assert_eq!(legs.len(), 2);
    assert!(legs.iter().all(|l| l.result.is_ok() && l.ids[0].as_str() == "telnyx:g1"), "{legs:?}");
    let heard = server.heard();
    assert_eq!((heard.len(), heard[0].target.as_str()), (1, "/v2/messages/group_mms"));
    let body: serde_json::Value = serde_json::from_slice(&heard[0].body).expect("JSON");
    assert_eq!(body["to"], json!([PHONE, "+15551113333"]));
    world.juliet.set(&Address::Gateway, "group", Some("singly")).await;
    world.to_several(&[PHONE, "+15551113333"], "hello each").await;
    assert_eq!(server.heard().len(), 3);
}

#[tokio::test]
async fn a_picture_goes_as_mms_where_the_provider_has_it_and_else_as_a_link() {
    let server = Httpd::answering(|_| Act::json(200, "{\"data\":{\"id\":\"m1\"}}")).await.expect("a provider");
    let world = World::of(telnyx(&server.url())).await;
    let url = Url::parse("https://upload.example.org/cat.jpg").expect("a URL");
    world.fake.serve(&url, vec![1_u8, 2, 3], Media::new(None, "image/jpeg", None));
    let picture = |url: &Url, body: &str| {
        let mut message = Message::chat(body);
        message.files.push(File::new(FileSource::Url(url.clone()), Media::new(None, "image/jpeg", None)));
        message
    };
    world.send(picture(&url, url.as_str())).await;
    let body: serde_json::Value = serde_json::from_slice(&server.heard()[0].body).expect("JSON");
    let media = body["media_urls"][0].as_str().expect("media");
    assert!(media.starts_with("https://gateway.example/files/"), "{media}");
    assert!(body.get("text").is_none(), "the link is not sent twice: {body}");
    // What the gateway may not follow stays a link.
    let elsewhere = Url::parse("https://elsewhere.example/cat.jpg").expect("a URL");
    world.send(picture(&elsewhere, "look")).await;
    let body: serde_json::Value = serde_json::from_slice(&server.heard()[1].body).expect("JSON");
    assert_eq!(body["text"], "look\nhttps://elsewhere.example/cat.jpg");
    let plain = taking().await;
    let world = World::kannel(&plain, json!({})).await;
    world.fake.serve(&url, vec![1_u8, 2, 3], Media::new(None, "image/jpeg", None));
    world.send(picture(&url, url.as_str())).await;
    assert_eq!(plain.heard()[0].field("text").as_deref(), Some(url.as_str()));
}

#[tokio::test]
async fn a_picture_is_fetched_once_however_often_its_text_is_tried() {
    let server = Httpd::answering(|_| Act::text(503, "later")).await.expect("a provider");
    let world = World::of(telnyx(&server.url())).await;
    let url = Url::parse("https://upload.example.org/cat.jpg").expect("a URL");
    world.fake.serve(&url, vec![1_u8, 2, 3], Media::new(None, "image/jpeg", None));
    let mut message = Message::chat(url.as_str());
    message.files.push(File::new(FileSource::Url(url.clone()), Media::new(None, "image/jpeg", None)));
    let mut event = world.fake.outbound(&JULIET.into(), contact(PHONE), Intent::Send(Box::new(message)));
    let mut asked = Vec::new();
    for attempt in 0..2 {
        event.attempt = attempt;
        let tries = world.fake.settled().len();
        let key = world.juliet.send_event(event.clone());
        while world.fake.settled().len() == tries {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert!(matches!(world.fake.outcome_of(&key).await, Outcome::Legs(legs) if legs[0].result.is_err()));
        let body: serde_json::Value = serde_json::from_slice(&server.heard()[asked.len()].body).expect("JSON");
        asked.push(body["media_urls"][0].as_str().expect("media").to_owned());
    }
    assert_eq!(asked[0], asked[1], "the same kept file");
}

#[tokio::test]
async fn a_number_is_claimed_with_the_code_that_was_texted_to_it() {
    let server = taking().await;
    let world = World::kannel(&server, json!({"numbers": []})).await;
    let number = |n: &str| Values::new().with("number", n);
    let step = world.romeo.command("register", Address::Gateway, vec![number("five")]).await.expect("a form");
    let Step::Ask { form, .. } = step else { panic!("{step:?}") };
    assert_eq!(form.fields[0].error, Some(Text::key("register.number-wrong")));
    let step = world.romeo.command("register", Address::Gateway, vec![number("(555) 999-0000")]).await.expect("a form");
    let Step::Ask { state, last: true, .. } = step else { panic!("{step:?}") };
    let texted = server.heard()[0].clone();
    assert_eq!(texted.field("to").as_deref(), Some("+15559990000"));
    let words = texted.field("text").expect("a text");
    let code = words.rsplit(' ').next().expect("a code").to_owned();
    assert!(code.len() == 6 && !state.to_string().contains(&code), "{state}");
    let kept = world.host.load("code", ROMEO).await.expect("there").expect("kept");
    assert!(!String::from_utf8_lossy(&kept).contains(&code), "the code is kept sealed");
    let answer = async |given: &str| {
        let mut call = isthmus_bridge::Call::start("register", ROMEO.into(), Address::Gateway);
        (call.state, call.values) = (state.clone(), Values::new().with("code", given));
        call.action = isthmus_bridge::Action::Complete;
        world.bridge.step(call, &world.host).await
    };
    let wrong = answer("000000x").await.expect("a form");
    assert!(matches!(&wrong, Step::Ask { form, .. } if form.fields[0].error == Some(Text::key("register.code-wrong"))));
    assert_eq!(
        answer(&code).await.expect("registered"),
        Step::done(Text::key("register.done").with("number", "+15559990000"))
    );
    assert_eq!(world.host.owner(&"+15559990000".into()).await, Ok(Some(ROMEO.into())));
    assert!(matches!(answer(&code).await.expect("a form"), Step::Ask { .. }), "a code is good once");
    // Guessing comes to an end.
    let step = world.juliet.command("register", Address::Gateway, vec![number("+15559990000")]).await;
    assert!(step.is_ok());
    for _ in 0..7 {
        let step = world.juliet.command("register", Address::Gateway, vec![number("+15559990000")]).await;
        if let Err(error) = step {
            assert_eq!((error.failure, key_of(&error.text).as_str()), (Failure::OverQuota, "register.too-many"));
            return;
        }
    }
    panic!("a number can be pestered with codes");
}

#[tokio::test]
async fn registration_where_a_number_is_assigned_or_shared() {
    let server = taking().await;
    let world = World::kannel(&server, json!({})).await;
    let done = |number: &str, key: &'static str| Step::done(Text::key(key).with("number", number));
    let step = world.juliet.command("register", Address::Gateway, vec![]).await.expect("done");
    assert_eq!(step, done(HERS, "register.done"));
    let step = world.romeo.command("register", Address::Gateway, vec![Values::new()]).await.expect("done");
    assert_eq!(step, done(SHARED, "register.shared"));
    assert!(server.heard().is_empty(), "no code was texted");
}

#[tokio::test]
async fn an_administrator_gives_a_number_without_a_code() {
    let server = taking().await;
    let world = World::kannel(&server, json!({"numbers": []})).await;
    world.fake.add_admin(&"admin@example.org".into());
    let give = async |number: &str, by: &str| {
        let mut call = isthmus_bridge::Call::start("register", ROMEO.into(), Address::Gateway);
        (call.by, call.values) = (by.into(), Values::new().with("number", number));
        call.action = isthmus_bridge::Action::Complete;
        world.bridge.step(call, &world.host).await
    };
    let step = give("(555) 999-0000", "admin@example.org").await.expect("given");
    assert_eq!(step, Step::done(Text::key("register.done").with("number", "+15559990000")));
    assert_eq!(world.host.owner(&"+15559990000".into()).await, Ok(Some(ROMEO.into())));
    assert!(server.heard().is_empty(), "no code was texted");
    let step = give("+15559990001", JULIET).await.expect("a form");
    assert!(matches!(step, Step::Ask { .. }) && server.heard().len() == 1, "anybody else has to read the code");
    let error = give(HERS, "admin@example.org").await.expect_err("never re-assigned");
    assert_eq!(error.failure, Failure::Conflict);
    for (node, by) in [("unassign", "admin@example.org"), ("assign", "admin@example.org")] {
        let mut call = isthmus_bridge::Call::start(node, by.into(), Address::Gateway);
        call.values = Values::new().with("number", "+15559990000").with("user", ROMEO);
        assert!(matches!(world.bridge.step(call, &world.host).await, Ok(Step::Done { .. })), "{node}");
    }
}
