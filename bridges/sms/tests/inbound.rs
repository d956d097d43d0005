//! Webhooks: whose a text is, copies, forgeries, parts, reports, opt-outs, media.

mod common;

use common::{HERS, JULIET, PHONE, ROMEO, SHARED, World, body_of, contact, query, taking};
use http::StatusCode;
use isthmus_bridge::suite::{FakeHost, Session, build};
use isthmus_bridge::{Address, DeliveryError, Event, Failure, FileSource, Host, Intent, Late, Message, Refused, Text};
use isthmus_sms::Sms;
use isthmus_testkit::httpd::{Act, Httpd};
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// A provider whose texts name pictures, and whose own host asks for a login.
const WITH_MEDIA: &str = "name=\"P\"\n[credentials]\nsecret=\"\"\n[send]\nurl=\"http://127.0.0.1:1/\"\nuser=\"u\"\npassword=\"p\"\n[send.fields]\nto=\"{to}\"\n[auth]\nscheme=\"path-secret\"\nsecret=\"{secret}\"\n[[webhook]]\npath=\"in\"\nformat=\"json\"\n[webhook.message]\nfrom=\"/from\"\nto=\"/to\"\ntext=\"/text\"\nmedia=\"/media/*\"\n[media]\nlogin_hosts=[\"127.0.0.1\"]\n";

#[tokio::test]
async fn a_text_goes_to_whose_number_it_is() {
    let server = taking().await;
    let world = World::kannel(&server, json!({})).await;
    assert_eq!(world.text_in(HERS, "1", "hello juliet").await, StatusCode::OK);
    assert_eq!(world.text_in(SHARED, "2", "anybody?").await, StatusCode::OK);
    world.romeo.say(contact(PHONE), "it is me").await.expect("taken");
    assert_eq!(world.text_in(SHARED, "3", "hello romeo").await, StatusCode::OK);
    assert_eq!(world.text_in("+15559998888", "4", "lost").await, StatusCode::NOT_FOUND, "nobody's number");
    let expected = [(JULIET, "hello juliet"), ("desk@example.org", "anybody?"), (ROMEO, "hello romeo")];
    assert_eq!(world.bodies(), expected.map(|(u, b)| (u.to_owned(), b.to_owned())));
    let first = &world.fake.accepts()[0];
    assert_eq!((first.from.clone(), first.id.as_ref().map(|i| i.as_str())), (contact(PHONE), Some("kannel:1")));
}

#[tokio::test]
async fn a_copy_is_taken_once_and_a_re_used_id_is_another_text() {
    let world = World::kannel(&taking().await, json!({})).await;
    for body in ["hello", "hello", "another"] {
        assert_eq!(world.text_in(HERS, "1", body).await, StatusCode::OK);
    }
    assert_eq!(world.bodies().len(), 2);
}

#[tokio::test]
async fn the_provider_is_answered_after_the_commit_only() {
    let world = World::kannel(&taking().await, json!({})).await;
    world.fake.refuse(|e| body_of(e).is_some_and(|b| b == "full").then(|| Refused::Later("disk full".to_owned())));
    assert_eq!(world.text_in(HERS, "1", "full").await, StatusCode::SERVICE_UNAVAILABLE);
    world.fake.store_away(true);
    assert_eq!(world.text_in(HERS, "2", "hello").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(world.report("k1", "1").await, StatusCode::SERVICE_UNAVAILABLE);
    world.fake.store_away(false);
    assert_eq!(world.text_in(HERS, "2", "hello").await, StatusCode::OK);
    world.fake.bar(&JULIET.into());
    assert_eq!(world.text_in(HERS, "3", "hello").await, StatusCode::NOT_FOUND);
    assert_eq!(world.bodies().len(), 1);
}

#[tokio::test]
async fn forged_unreadable_and_oversize_calls_are_refused() {
    let world = World::kannel(&taking().await, json!({})).await;
    let good = query(&[("from", PHONE), ("to", HERS), ("text", "x")]);
    for (method, target, body, status) in [
        ("GET", format!("kannel/in/wrong?{good}"), String::new(), 403),
        ("GET", format!("kannel/in?{good}"), String::new(), 403),
        ("GET", format!("kannel/in/s3cret/more?{good}"), String::new(), 403),
        ("POST", format!("kannel/in/s3cret?{good}"), String::new(), 405),
        ("GET", format!("kannel/nothing/s3cret?{good}"), String::new(), 404),
        ("GET", format!("other/in/s3cret?{good}"), String::new(), 404),
        ("GET", "kannel/in/s3cret".to_owned(), String::new(), 400),
        ("GET", "kannel/in/s3cret?from=x&to=%00&text=y".to_owned(), String::new(), 400),
        ("GET", format!("kannel/in/s3cret?{good}"), "x".repeat((1 << 20) + 1), 413),
        ("GET", format!("kannel/in/s3cret?{good}"), String::new(), 200),
    ] {
        assert_eq!(world.call(method, &target, &[], &body).await.status().as_u16(), status, "{method} {target}");
    }
    assert_eq!(world.bodies().len(), 1);
}

#[tokio::test]
async fn names_short_codes_and_charsets() {
    let server = taking().await;
    let world = World::kannel(&server, json!({})).await;
    let call = async |from: &str, text: &str, charset: &str| {
        let target = format!(
            "kannel/in/s3cret?{}&text={text}&charset={charset}",
            query(&[("from", from), ("to", HERS), ("id", from)])
        );
        world.call("GET", &target, &[], "").await.status()
    };
    assert_eq!(call("MyBank", "code%201", "UTF-8").await, StatusCode::OK);
    assert_eq!(call("15551112222", "%04%16%00%21", "UTF-16BE").await, StatusCode::OK);
    assert_eq!(call("12345", "gr%fc%df%80", "WINDOWS-1252").await, StatusCode::OK);
    assert_eq!(call("54321", "plain", "GSM").await, StatusCode::OK);
    assert_eq!(call("54321", "%00%ff%80", "binary").await, StatusCode::OK);
    let accepts = world.fake.accepts();
    let Event::Message(message) = &accepts[0].event else { panic!("{accepts:?}") };
    assert_eq!((accepts[0].from.clone(), message.nick.as_deref()), (contact("mybank"), Some("MyBank")));
    assert_eq!((accepts[1].from.clone(), body_of(&accepts[1])), (contact(PHONE), Some("\u{416}!".to_owned())));
    assert_eq!(body_of(&accepts[2]).as_deref(), Some("grüß€"));
    // A charset that has no such name: words stay words, and what is none is a file.
    assert_eq!(body_of(&accepts[3]).as_deref(), Some("plain"));
    let Event::Message(message) = &accepts[4].event else { panic!("{accepts:?}") };
    assert_eq!((message.body.as_str(), message.files[0].media.size), ("", Some(3)));
    world.say("12345", "answer").await.expect("a short code that has written may be answered");
}

#[tokio::test]
async fn stop_is_kept_and_start_lifts_it() {
    let server = taking().await;
    let world =
        World::kannel(&server, json!({"keywords": {"help_reply": "This is a gateway.", "stop_reply": "Bye."}})).await;
    assert_eq!(world.text_in(HERS, "1", " Stop. ").await, StatusCode::OK);
    let first = &world.fake.accepts()[0];
    let Event::Message(message) = &first.event else { panic!("{first:?}") };
    assert_eq!(message.warning, Some(Text::key("told.stop").with("number", PHONE)));
    assert_eq!(server.heard().len(), 1, "the answer to the keyword");
    let error = world.say(PHONE, "hello?").await.expect_err("opted out");
    assert_eq!((error.failure, error.text), (Failure::Forbidden, Text::key("opted-out").with("number", PHONE)));
    world.romeo.say(contact(PHONE), "hello").await.expect("the register is per number");
    let step = world.juliet.command("opt-outs", isthmus_bridge::Address::Gateway, vec![]).await.expect("shown");
    assert!(format!("{step:?}").contains(PHONE), "{step:?}");
    assert_eq!(world.text_in(HERS, "2", "please stop by").await, StatusCode::OK);
    assert_eq!(world.text_in(HERS, "3", "START").await, StatusCode::OK);
    world.say(PHONE, "welcome back").await.expect("in again");
    let before = server.heard().len();
    assert_eq!(world.text_in(HERS, "4", "HELP").await, StatusCode::OK);
    assert_eq!(world.text_in(HERS, "4", "HELP").await, StatusCode::OK);
    assert_eq!(server.heard().len(), before + 1, "a copy is not answered again");
}

#[tokio::test]
async fn a_late_copy_of_a_keyword_changes_nothing() {
    let server = taking().await;
    let world = World::kannel(&server, json!({})).await;
    for (id, word) in [("1", "STOP"), ("2", "START"), ("1", "STOP")] {
        assert_eq!(world.text_in(HERS, id, word).await, StatusCode::OK);
    }
    world.say(PHONE, "welcome back").await.expect("the copy of the STOP before is none");
    for (id, word) in [("3", "STOP"), ("2", "START")] {
        assert_eq!(world.text_in(HERS, id, word).await, StatusCode::OK);
    }
    world.say(PHONE, "hello?").await.expect_err("the copy of the START before is none");
    // A copy of what was not taken the first time still says what it means.
    world.fake.refuse(|e| body_of(e).is_some_and(|b| b == "Start").then(|| Refused::Later("disk full".to_owned())));
    assert_eq!(world.text_in(HERS, "4", "Start").await, StatusCode::SERVICE_UNAVAILABLE);
    world.fake.refuse(|_| None);
    assert_eq!(world.text_in(HERS, "4", "Start").await, StatusCode::OK);
    let accepts = world.fake.accepts();
    let Some(Event::Message(message)) = accepts.last().map(|e| &e.event) else { panic!("{accepts:?}") };
    assert_eq!(message.warning, Some(Text::key("told.start").with("number", PHONE)));
}

#[tokio::test]
async fn reports_come_early_twice_and_in_any_order() {
    let server = taking().await;
    let world = World::kannel(&server, json!({})).await;
    let sent = async |body: &str| {
        let legs = world.say(PHONE, body).await.expect("taken");
        let (key, ..) = world.fake.settled().pop().expect("settled");
        (key, legs[0].ids[0].as_str().strip_prefix("kannel:").expect("ours").to_owned())
    };
    let (key, id) = sent("one").await;
    for status in ["8", "1", "1", "2"] {
        assert_eq!(world.report(&id, status).await, StatusCode::OK);
    }
    assert_eq!(world.fake.state_of(&key), Some(Late::Delivered), "delivered is final");
    assert_eq!(world.fake.told().iter().filter(|t| matches!(t.what, Late::Failed(_))).count(), 0);
    let (key, id) = sent("two").await;
    assert_eq!(world.report(&id, "16").await, StatusCode::OK);
    let Some(Late::Failed(error)) = world.fake.state_of(&key) else { panic!("not failed") };
    assert_eq!(error.text.to_string(), "provider-said provider=Kannel, code=-, words=NACK/");
    let known = isthmus_bridge::Known::new(JULIET.into(), contact(PHONE));
    let mut known = known;
    known.ids.push(format!("kannel:{id}").as_str().into());
    world.fake.remember("sms".into(), known);
    assert_eq!(world.report(&id, "1").await, StatusCode::OK);
    assert_eq!(world.report(&id, "1").await, StatusCode::OK);
    assert_eq!(world.fake.state_of(&key), Some(Late::Delivered));
    let notes = world.fake.accepts().iter().filter(|e| matches!(e.event, Event::Notice { .. })).count();
    assert_eq!(notes, 1, "one note says that it has arrived after all");
    // One of a text that nobody knows waits in the core.
    assert_eq!(world.report("nobody", "1").await, StatusCode::OK);
    let told = world.fake.told();
    assert!(format!("{:?}", told.last()).contains("kannel:nobody"), "{told:?}");
}

fn parts_file(folder: &std::path::Path) -> String {
    let path = folder.join("parted.toml");
    let file = "name=\"Parted\"\n[credentials]\nsecret=\"\"\nurl=\"http://127.0.0.1:1/\"\n[send]\nurl=\"{url}\"\n[send.fields]\nto=\"{to}\"\n[auth]\nscheme=\"path-secret\"\nsecret=\"{secret}\"\n[[webhook]]\npath=\"in\"\n[webhook.message]\nfrom=\"field:from\"\nto=\"field:to\"\ntext=\"field:text\"\nid=\"field:id\"\npart_of=\"field:ref\"\npart=\"field:part\"\nparts=\"field:parts\"\n";
    std::fs::write(&path, file).expect("written");
    path.display().to_string()
}

#[tokio::test]
async fn parts_are_put_together_and_survive_a_crash() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = json!({"country": "US", "provider": parts_file(folder.path()), "credentials": {"secret": "s"}, "parts_wait_seconds": 1,
        "numbers": [{"number": HERS, "user": JULIET}]});
    let world = World::of(keys.clone()).await;
    let part = async |world: &World, of: &str, part: &str, count: &str, text: &str| {
        let id = format!("{of}-{part}");
        let body = query(&[
            ("from", PHONE),
            ("to", HERS),
            ("ref", of),
            ("part", part),
            ("parts", count),
            ("text", text),
            ("id", &id),
        ]);
        world.call("POST", "parted/in/s", &[], &body).await.status()
    };
    assert_eq!(part(&world, "7", "2", "3", "two ").await, StatusCode::OK);
    assert_eq!(part(&world, "7", "3", "3", "three").await, StatusCode::OK);
    assert_eq!(part(&world, "7", "2", "3", "two ").await, StatusCode::OK, "a copy of a part");
    assert!(world.bodies().is_empty(), "it is not whole yet");
    // Another process on the same store: nothing that was accepted is lost.
    let bridge = build(&Sms, keys).expect("sound");
    let world = World::at(bridge, world.fake.clone()).await;
    assert_eq!(part(&world, "7", "1", "3", "one ").await, StatusCode::OK);
    assert_eq!(world.bodies(), [(JULIET.to_owned(), "one two three".to_owned())]);
    assert_eq!(part(&world, "7", "1", "3", "one ").await, StatusCode::OK, "a copy after the end");
    // What does not come in time is marked.
    assert_eq!(part(&world, "8", "2", "2", "half").await, StatusCode::OK);
    for (number, count) in [("0", "2"), ("3", "2"), ("x", "2"), ("1", "999")] {
        assert_eq!(part(&world, "9", number, count, "bad").await, StatusCode::BAD_REQUEST, "{number} of {count}");
    }
    let stop = CancellationToken::new();
    let (serving, host, token): (_, Host, _) = (world.bridge.clone(), world.fake.host(), stop.clone());
    let task = tokio::spawn(async move { serving.serve(host, token).await });
    world.fake.accepted("the half", |e| body_of(e).as_deref() == Some("[…]half")).await;
    stop.cancel();
    assert!(task.await.expect("no panic").is_ok());
    assert_eq!(world.bodies().len(), 2);
    assert!(world.host.list("part", None).await.expect("there").is_empty());
}

#[tokio::test]
async fn media_are_fetched_from_the_providers_hosts_only() {
    let media = Httpd::answering(|heard| match heard.target.as_str() {
        "/big" => Act::Answer(200, "image/png", "x".repeat(5000)),
        "/away" => Act::With(302, ("location", "http://elsewhere.invalid/x".to_owned()), String::new()),
        "/moved" => Act::With(302, ("location", "/cat".to_owned()), String::new()),
        "/cat" => Act::Answer(200, "image/jpeg; x=y", "meow".to_owned()),
        _ => Act::text(404, "no"),
    });
    let media = media.await.expect("a host of media");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pictures.toml");
    std::fs::write(&path, WITH_MEDIA).expect("written");
    let keys = json!({"country": "US", "provider": path.display().to_string(), "credentials": {"secret": "s"}, "media_max": 100,
        "numbers": [{"number": HERS, "user": JULIET}]});
    let world = World::of(keys).await;
    let urls = ["/cat", "/moved", "/big", "/away", "/none"].map(|p| format!("{}{p}", media.url()));
    let all: Vec<String> =
        urls.into_iter().chain(["http://elsewhere.invalid/x".to_owned(), "file:///etc/passwd".to_owned()]).collect();
    let body = json!({"from": PHONE, "to": HERS, "media": all}).to_string();
    assert_eq!(world.call("POST", "pictures/in/s", &[], &body).await.status(), StatusCode::OK);
    let accepts = world.fake.accepts();
    let Event::Message(message) = &accepts[0].event else { panic!("{accepts:?}") };
    let kept: Vec<bool> = message.files.iter().map(|f| matches!(f.source, FileSource::Blob(_))).collect();
    assert_eq!(kept, [true, true, false, false, false, false, false]);
    assert_eq!(
        (message.files[0].media.media_type.as_str(), message.files[0].media.name.as_deref()),
        ("image/jpeg", Some("media-1.jpg"))
    );
    assert!(media.heard().iter().all(|h| h.header("authorization").is_some_and(|a| a.starts_with("Basic "))));
}

#[tokio::test]
async fn a_silent_host_of_media_does_not_keep_the_text_waiting() {
    let media = Httpd::answering(|heard| match heard.target.as_str() {
        "/cat" => Act::Answer(200, "image/jpeg", "meow".to_owned()),
        _ => Act::Hang,
    });
    let media = media.await.expect("a host of media");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("slow.toml");
    std::fs::write(&path, WITH_MEDIA).expect("written");
    let keys = json!({"country": "US", "provider": path.display().to_string(), "credentials": {"secret": "s"}, "timeout_seconds": 1,
        "numbers": [{"number": HERS, "user": JULIET}]});
    let world = World::of(keys).await;
    let urls: Vec<String> = ["/cat", "/1", "/2", "/3", "/4", "/5"].map(|p| format!("{}{p}", media.url())).into();
    let body = json!({"from": PHONE, "to": HERS, "text": "look", "media": urls}).to_string();
    assert_eq!(world.call("POST", "slow/in/s", &[], &body).await.status(), StatusCode::OK);
    let accepts = world.fake.accepts();
    let Event::Message(message) = &accepts[0].event else { panic!("{accepts:?}") };
    let kept: Vec<bool> = message.files.iter().map(|f| matches!(f.source, FileSource::Blob(_))).collect();
    assert_eq!((message.body.as_str(), kept), ("look", vec![true, false, false, false, false, false]));
    assert!(media.heard().len() <= 3, "one that is silent is enough: {}", media.heard().len());
}

#[tokio::test]
async fn what_a_users_server_gave_back_is_kept_for_them() {
    let server = taking().await;
    let world = World::kannel(&server, json!({})).await;
    let intent = Intent::Undelivered {
        of: Some("kannel:1".into()),
        once: None,
        said: Some(Box::new(Message::chat("the code is 4711"))),
        error: DeliveryError::new(Failure::NoSuchRecipient, Text::plain("no such user")),
    };
    world.romeo.deliver(contact(PHONE), intent).await;
    let shown = async |of: &Session, node: &str| {
        format!("{:?}", of.command(node, Address::Gateway, vec![]).await.expect("shown"))
    };
    let his = shown(&world.romeo, "returned").await;
    assert!(his.contains(PHONE) && his.contains("the code is 4711") && his.contains("no such user"), "{his}");
    let hers = shown(&world.juliet, "returned").await;
    assert!(!hers.contains(PHONE), "{hers}");
    let admins = shown(&world.juliet, "lost").await;
    assert!(admins.contains(ROMEO) && admins.contains(PHONE) && !admins.contains("4711"), "{admins}");
    let kept = world.host.list("lost", Some(&ROMEO.into())).await.expect("there");
    assert!(kept.len() == 1 && !String::from_utf8_lossy(&kept[0].1).contains("4711"), "sealed, and his");
    let mut call = isthmus_bridge::Call::start("returned", ROMEO.into(), Address::Gateway);
    call.by = "admin@example.org".into();
    assert!(world.bridge.step(call, &world.host).await.is_err(), "nobody reads them for him");
}

#[tokio::test]
async fn numbers_of_the_configuration_become_their_users() {
    let server = taking().await;
    let bridge = build(&Sms, common::kannel(&server.url(), json!({}))).expect("sound");
    let fake = FakeHost::of(&bridge);
    let (stop, host): (CancellationToken, Host) = (CancellationToken::new(), fake.host());
    let serving = tokio::spawn({
        let (bridge, host, stop) = (bridge.clone(), host.clone(), stop.clone());
        async move { bridge.serve(host, stop).await }
    });
    let own = HERS.into();
    for _ in 0..200 {
        if host.owner(&own).await == Ok(Some(JULIET.into())) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(host.owner(&own).await, Ok(Some(JULIET.into())));
    stop.cancel();
    assert!(serving.await.expect("no panic").is_ok());
}
