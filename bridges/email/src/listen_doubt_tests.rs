//! Mail that is not what it says, or that the user has not accepted: what it must not change.

use isthmus_bridge::suite::Told;
use isthmus_bridge::{
    Action, Address, BareJid, Bridge, Call, ContactId, Event, Gateway, Host, Late, MessageRef, Refused,
};
use serde_json::json;

use super::Dialect;
use super::tests::{JULIET, World};
use crate::EmailBridge;
use crate::state::{self, Begun};

const ROMEO: &str = "romeo@montague.lit";

fn juliet() -> BareJid {
    BareJid::new(JULIET)
}

async fn spelling(world: &World, user: &str, contact: &str) -> String {
    let contact = ContactId::new(contact);
    let seen = state::spelling(world.host.as_ref(), &BareJid::new(user), &contact).await.unwrap();
    seen.unwrap().to_string()
}

#[tokio::test(start_paused = true)]
async fn a_spelling_is_the_case_of_letters_and_each_users_own() {
    let world = World::new().await;
    for from in ["straße@provider.test", "ａlice@bank.example"] {
        world.lmtp(from, &["juliet@gw.test"], &format!("From: {from}\n\nhi")).await;
    }
    assert_eq!(spelling(&world, JULIET, "strasse@provider.test").await, "strasse@provider.test");
    assert_eq!(spelling(&world, JULIET, "alice@bank.example").await, "alice@bank.example");
    let warnings: Vec<_> = world.messages().into_iter().map(|(_, m)| m.warning.unwrap().to_string()).collect();
    assert!(warnings.iter().all(|w| w.contains("sender-folded")), "{warnings:?}");

    world.lmtp("Bob@x.test", &["juliet@gw.test"], "From: Bob@x.test\n\nhi").await;
    assert_eq!(spelling(&world, JULIET, "bob@x.test").await, "Bob@x.test");
    assert_eq!(spelling(&world, ROMEO, "bob@x.test").await, "bob@x.test", "of a mail to somebody else");
    let forged = "Authentication-Results: mx.test; dmarc=fail (p=none)\nFrom: BOB@x.test\n\nhi";
    world.lmtp("bob@x.test", &["juliet@gw.test"], forged).await;
    assert_eq!(spelling(&world, JULIET, "bob@x.test").await, "Bob@x.test", "a forged mail says nothing");
    world.lmtp("bob@x.test", &["juliet@gw.test"], "From: bob@x.test\n\nhi again").await;
    assert_eq!(spelling(&world, JULIET, "bob@x.test").await, "bob@x.test");
}

#[tokio::test(start_paused = true)]
async fn a_mail_without_one_author_domain_is_refused_by_smtp_and_marked_by_lmtp() {
    let long = format!("X-Long: {}\n", "x".repeat(900)).repeat(150);
    for header in [
        "From: alice@bank.example, eve@evil.test".to_owned(),
        "From: eve@evil.test\nFrom: alice@bank.example".to_owned(),
        "Subject: no author".to_owned(),
        format!("{long}From: alice@bank.example"),
    ] {
        let world = World::new().await;
        let mail = format!("{header}\n\nhi");
        let answer = world.deliver(Dialect::Smtp, "eve@evil.test", &["juliet@gw.test"], &mail).await;
        assert!(answer[0].starts_with("550 5.7.1"), "{answer:?}");
        assert!(world.messages().is_empty());
        assert_eq!(world.lmtp("eve@evil.test", &["juliet@gw.test"], &mail).await, ["250 2.0.0 taken"]);
        let warning = world.only_message().1.warning.expect("a warning").to_string();
        assert!(warning.contains("sender-not-verified"), "{warning}");
    }
}

async fn accept(world: &World, contact: &str) {
    let mut call = Call::start("accept", juliet(), Address::Contact(ContactId::new(contact)));
    call.values.set("contact", contact);
    call.action = Action::Complete;
    let host: Host = world.host.host();
    EmailBridge(world.mail.clone()).step(call, &host).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_held_mail_changes_no_conversation_until_it_is_accepted() {
    let world = World::new().await;
    world.host.set_default("strangers", "hold");
    let alice = ContactId::new("alice@x.test");
    let mail = "From: Alice@x.test\nTo: juliet@gw.test, eve@evil.test\nSubject: Plans\nMessage-ID: <1@x>\n\nhi";
    world.lmtp("alice@x.test", &["juliet@gw.test"], mail).await;
    let host = world.host.as_ref();
    assert_eq!(state::latest_thread(host, &juliet(), &alice).await.unwrap(), None);
    assert_eq!(state::thread_of(host, &juliet(), "1@x").await.unwrap(), None);
    assert_eq!(spelling(&world, JULIET, "alice@x.test").await, "alice@x.test");
    accept(&world, "alice@x.test").await;
    assert_eq!(world.only_message().1.subject.as_deref(), Some("Plans"));
    let thread = state::latest_thread(host, &juliet(), &alice).await.unwrap().expect("a thread");
    let chain = state::chain(host, &juliet(), &thread).await.unwrap().unwrap();
    assert_eq!((chain.references.as_slice(), chain.subject.as_str()), (&["1@x".to_owned()][..], "Plans"));
    assert_eq!(spelling(&world, JULIET, "alice@x.test").await, "Alice@x.test");
}

#[tokio::test(start_paused = true)]
async fn a_forged_mail_adds_nobody_to_a_conversation() {
    let world = World::new().await;
    let mail = |id: u8, results: &str, to: &str| {
        format!("{results}From: alice@x.test\nTo: juliet@gw.test, {to}\nMessage-ID: <{id}@x>\nReferences: <0@x>\n\nhi")
    };
    world.lmtp("alice@x.test", &["juliet@gw.test"], &mail(1, "", "bob@x.test")).await;
    let forged = mail(2, "Authentication-Results: mx.test; dmarc=fail (p=none)\n", "eve@evil.test");
    world.lmtp("alice@x.test", &["juliet@gw.test"], &forged).await;
    let thread = world.messages()[1].1.thread.clone().unwrap();
    let chain = state::chain(world.host.as_ref(), &juliet(), &thread).await.unwrap().unwrap();
    assert_eq!(chain.others.iter().map(ToString::to_string).collect::<Vec<_>>(), ["bob@x.test"]);
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_told_of_although_something_else_is_held_already() {
    let world = World::new().await;
    world.host.set_default("strangers", "hold");
    let notices = || world.host.accepts().iter().filter(|e| matches!(e.event, Event::Notice { .. })).count();
    let forged = "Authentication-Results: mx.test; dmarc=fail (p=reject)\nFrom: alice@x.test\n\nforged";
    world.lmtp("alice@x.test", &["juliet@gw.test"], forged).await;
    assert_eq!(notices(), 0);
    world.host.refuse(|e| matches!(e.event, Event::Notice { .. }).then(|| Refused::Later("away".to_owned())));
    let mail = "From: alice@x.test\n\nhi";
    let answer = world.lmtp("alice@x.test", &["juliet@gw.test"], mail).await;
    assert!(answer[0].starts_with("451"), "{answer:?}");
    world.host.refuse(|_| None);
    assert_eq!(world.lmtp("alice@x.test", &["juliet@gw.test"], mail).await, ["250 2.0.0 taken"]);
    assert_eq!(notices(), 1, "neither the forged mail nor the first try of this one was told");
}

#[tokio::test(start_paused = true)]
async fn too_many_forgeries_are_dropped_and_do_not_come_back_to_whom_they_name() {
    let world = World::with(json!({"limits": {"contact_per_hour": 1}})).await;
    for n in 0..52 {
        let forged = format!("Authentication-Results: mx.test; dmarc=fail (p=reject)\nFrom: alice@x.test\n\nmail {n}");
        assert_eq!(world.lmtp("alice@x.test", &["juliet@gw.test"], &forged).await, ["250 2.0.0 taken"], "{n}");
    }
    assert_eq!(state::held(world.host.as_ref(), &juliet(), None).await.unwrap().len(), 50);
    for (n, results) in ["p=quarantine", "p=quarantine", "p=none"].into_iter().enumerate() {
        let forged = format!("Authentication-Results: mx.test; dmarc=fail ({results})\nFrom: bob@x.test\n\nmail {n}");
        let answer = world.lmtp("bob@x.test", &["juliet@gw.test"], &forged).await;
        assert_eq!(answer[0].starts_with("250"), n < 2, "{results}: {answer:?}");
    }
    assert_eq!(world.messages().len(), 1);
}

fn bounce_of(to: &str, action: &str) -> String {
    format!(
        "From: MAILER-DAEMON@mx.test\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\n\nsorry\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.test\n\nFinal-Recipient: rfc822; {to}\nAction: {action}\nStatus: 5.1.1\n--b--"
    )
}

#[tokio::test(start_paused = true)]
async fn a_bounce_is_about_whom_its_address_was_made_for() {
    let world = World::new().await;
    let key = world.sent("alice@x.test").await;
    let (alice, bob) = (ContactId::new("alice@x.test"), ContactId::new("bob@x.test"));
    let begun = Begun {
        legs: vec![alice.clone(), bob.clone()],
        added: vec![crate::address::Mailbox::parse("Carol@x.test").unwrap()],
        ..Begun::default()
    };
    let host = world.host.as_ref();
    host.store(vec![state::begin(host.now(), &juliet(), key.as_str(), &begun)]).await.unwrap();
    let address = |of: &str| crate::envelope::sender(host, &key, &ContactId::new(of), "gw.test");
    // Bob's was forwarded: the report names somebody whom nobody here has written to.
    world.lmtp("", &[&address("bob@x.test")], &bounce_of("bobby@elsewhere.test", "failed")).await;
    let told = world.host.told();
    assert!(matches!(&told[..], [Told { leg: Some(leg), what: Late::Failed(_), .. }] if *leg == bob), "{told:?}");
    // Neither one who was added by "reply to all" nor one whom nobody remembers is a recipient of the message.
    for who in ["carol@x.test", "dave@x.test"] {
        world.lmtp("", &[&address(who)], &bounce_of(who, "failed")).await;
        let notices = world.host.accepts();
        let last = notices.last().expect("a notice");
        assert!(matches!(last.event, Event::Notice { .. }) && last.from == Address::Contact(ContactId::new(who)));
    }
    assert_eq!(world.host.told().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn at_a_users_own_address_a_bounce_is_a_mail_and_a_read_notice_is_believed_from_whom_was_written_to() {
    let world = World::new().await;
    let key = world.sent("bob@x.test").await;
    let returned = format!("--b\nContent-Type: text/rfc822-headers\n\nMessage-ID: <{key}@gw.test>\n--b--");
    let bounce = bounce_of("bob@x.test", "failed").replace("--b--", &returned);
    world.lmtp("", &["juliet@gw.test"], &bounce).await;
    assert!(world.host.told().is_empty(), "anybody who has the mail can write this");
    assert!(world.only_message().1.body.contains("sorry"), "it is not lost");
    let read = |by: &str| {
        format!(
            "From: {by}\nContent-Type: multipart/report; report-type=disposition-notification; boundary=b\n\n--b\n\nread\n--b\nContent-Type: message/disposition-notification\n\nFinal-Recipient: rfc822; bob@x.test\nOriginal-Message-ID: <{key}@gw.test>\nDisposition: manual-action/MDN-sent-manually; displayed\n--b--"
        )
    };
    world.lmtp("eve@evil.test", &["juliet@gw.test"], &read("eve@evil.test")).await;
    assert!(world.host.told().is_empty());
    world.lmtp("bob@x.test", &["juliet@gw.test"], &read("Bob@x.test")).await;
    assert!(
        matches!(&world.host.told()[..], [Told { of: MessageRef::Key(of), what: Late::Displayed, .. }] if *of == key)
    );
}

#[tokio::test(start_paused = true)]
async fn administrators_hear_of_reports() {
    let world = World::new().await;
    world.host.add_admin(&BareJid::new("admin@example.org"));
    world.lmtp("", &["abuse@gw.test"], &bounce_of("bob@x.test", "failed")).await;
    let (event, message) = world.only_message();
    assert_eq!((event.to.as_str(), message.body.contains("sorry")), ("admin@example.org", true));
}

#[tokio::test(start_paused = true)]
async fn files_are_not_kept_for_whom_there_is_no_room_or_who_has_them() {
    let world = World::new().await;
    let mail = "From: a@x.test\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nsee\n--b\nContent-Type: application/pdf\nContent-Disposition: attachment; filename=x.pdf\n\nPDF!\n--b--";
    world.host.refuse(|_| Some(Refused::Full("enough".to_owned())));
    for dialect in [Dialect::Lmtp, Dialect::Smtp] {
        let answer = world.deliver(dialect, "a@x.test", &["juliet@gw.test"], mail).await;
        assert!(answer[0].starts_with("452 4.2.2"), "{answer:?}");
    }
    world.host.refuse(|_| None);
    for _ in 0..2 {
        assert_eq!(world.lmtp("a@x.test", &["juliet@gw.test"], mail).await, ["250 2.0.0 taken"]);
    }
    assert_eq!(world.messages().len(), 1);
    let next = world.host.keep(bytes::Bytes::from_static(b"x"), isthmus_bridge::Media::default()).await.unwrap();
    assert_eq!(next.as_str(), "blob1", "kept once, when there was room");
}

#[tokio::test(start_paused = true)]
async fn a_text_that_is_too_long_to_be_read_says_so() {
    let world = World::new().await;
    let mail = format!("From: a@x.test\n\n{}", "word word word word\n".repeat(60_000));
    assert_eq!(world.lmtp("a@x.test", &["juliet@gw.test"], &mail).await, ["250 2.0.0 taken"]);
    let notices: Vec<String> = world.host.accepts().iter().map(|e| format!("{:?}", e.event)).collect();
    assert!(notices.iter().any(|n| n.contains("parts-left-out")), "{}", notices.len());
    let kept = state::kept_mails(world.host.as_ref(), &juliet()).await.unwrap();
    assert!(kept[0].1.cut);
    let call = Call::start("full", juliet(), Address::Gateway);
    let host: Host = world.host.host();
    let step = EmailBridge(world.mail.clone()).step(call, &host).await.unwrap();
    assert!(format!("{step:?}").contains("full.cut"), "it does not say that there is more");
}

#[tokio::test]
async fn mail_for_a_postmaster_that_nobody_takes_is_put_off() {
    use isthmus_testkit::smtp::{Act, FakeSmtp, Stage};
    let relay = FakeSmtp::start(Default::default()).await.unwrap();
    relay.script(|s| if matches!(s, Stage::To(_)) { Act::say("550 5.1.1 no") } else { Act::Take });
    let smtp = json!({"host": "127.0.0.1", "port": relay.address().port()});
    let world = World::with(json!({"smtp": smtp, "postmaster": ["root@outside.test"]})).await;
    let answer = world.lmtp("a@x.test", &["abuse@gw.test"], "From: a@x.test\n\nhi").await;
    assert!(answer[0].starts_with("451"), "{answer:?}");
    world.host.add_admin(&BareJid::new("admin@example.org"));
    assert_eq!(world.lmtp("a@x.test", &["abuse@gw.test"], "From: a@x.test\n\nhi").await, ["250 2.0.0 taken"]);
    assert_eq!(world.messages().len(), 1, "an administrator has it");
}

#[test]
fn an_address_of_ipv6_stands_for_its_subscriber() {
    let of = |ip: &str| super::subscriber(ip.parse().unwrap()).to_string();
    assert_eq!(of("192.0.2.7"), "192.0.2.7");
    assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
}
