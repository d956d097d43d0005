//! Mail out through Postfix to Dovecot, mail in through Postfix, notices that come late.

use std::time::Duration;

use isthmus_testkit::server::Flavour;
use isthmus_testkit::xml::Element;

use crate::flows::step;
use crate::register::{configure, submit};
use crate::world::MailWorld;

const CAROL: &str = "carol\\40outside.test@email.localhost";

crate::on_both!(
    who_is_not_registered_is_told_so,
    a_conversation_runs_both_ways,
    postfix_learns_which_recipients_exist,
    a_bounce_that_comes_late_reaches_the_sender,
    mail_waits_in_the_queue_while_the_relay_is_away,
    mail_for_an_account_that_is_gone_comes_back_as_a_report,
    mail_for_whom_there_is_no_room_is_deferred_and_comes_once_there_is,
);

fn header<'a>(mail: &'a str, name: &str) -> Option<&'a str> {
    let head = mail.split("\r\n\r\n").next().unwrap_or(mail);
    let head = head.split("\n\n").next().unwrap_or(head);
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

async fn who_is_not_registered_is_told_so(flavour: Flavour) {
    let mail = MailWorld::start(flavour).await;
    let mut bob = mail.world.client("bob").await;
    let id = bob.message(CAROL, "hello").await.unwrap();
    let answer = bob.find("an error", |s| s.attr("id") == Some(&id)).await.unwrap();
    assert_eq!(answer.error().as_deref(), Some("auth/registration-required"), "{answer}");
    // An alias is no contact.
    let mut alice = mail.registered("alice").await;
    let id = alice.message("bob@email.localhost", "hello").await.unwrap();
    let answer = alice.find("an error", |s| s.attr("id") == Some(&id)).await.unwrap();
    assert_eq!(answer.error().as_deref(), Some("cancel/item-not-found"), "{answer}");
}

async fn a_conversation_runs_both_ways(flavour: Flavour) {
    let mut mail = MailWorld::start(flavour).await;
    let mut alice = mail.registered("alice").await;
    let text = format!(
        "<message type='chat' to='{CAROL}' id='c1'><subject>Tea\r\nBcc: evil@outside.test</subject><body>at five? \u{e4}</body><thread>tea</thread></message>"
    );
    alice.send(&text).await.unwrap();
    let sent = mail.dovecot.mail("carol@outside.test", "the question", |m| m.contains("at five?")).await.unwrap();
    assert!(header(&sent, "From").is_some_and(|from| from.contains("alice@gw.test")), "{sent}");
    assert!(header(&sent, "To").is_some_and(|to| to.contains("carol@outside.test")), "{sent}");
    assert!(header(&sent, "Bcc").is_none(), "a header was smuggled in:\n{sent}");
    assert_eq!(header(&sent, "Auto-Submitted"), Some("no"), "{sent}");
    let id = header(&sent, "Message-ID").expect("a Message-ID").to_owned();
    let answer = format!(
        "From: Carol <carol@outside.test>\r\nTo: alice@gw.test\r\nSubject: Re: Tea\r\nMessage-ID: <answer@outside.test>\r\n\
         In-Reply-To: {id}\r\nReferences: {id}\r\nDate: Sun, 22 Nov 2026 12:00:00 +0000\r\n\r\nwith pleasure\r\n"
    );
    assert_eq!(mail.send("carol@outside.test", &["alice@gw.test"], &answer).await, [250]);
    let got = alice.find("the answer", |s| s.body().is_some_and(|b| b.contains("with pleasure"))).await.unwrap();
    assert_eq!(got.attr("from").map(|from| from.split('/').next().unwrap_or_default()), Some(CAROL), "{got}");
    assert_eq!(got.attr("type"), Some("chat"), "{got}");
    assert_eq!(got.child("thread").map(|thread| thread.text.as_str()), Some("tea"), "{got}");
    // The same after a restart of the gateway.
    mail.world.gateway.stop().await.unwrap();
    mail.world.gateway.launch().await.unwrap();
    alice.message(CAROL, "see you").await.unwrap();
    let second = mail.dovecot.mail("carol@outside.test", "the third", |m| m.contains("see you")).await.unwrap();
    assert!(header(&second, "References").is_some_and(|all| all.contains("answer@outside.test")), "{second}");
}

async fn postfix_learns_which_recipients_exist(flavour: Flavour) {
    let mail = MailWorld::verifying(flavour, true).await;
    let _alice = mail.registered("alice").await;
    let text = "From: carol@outside.test\r\nTo: x@gw.test\r\nMessage-ID: <v@outside.test>\r\n\r\nx\r\n";
    assert_eq!(mail.send("carol@outside.test", &["nobody@gw.test"], text).await, [550]);
    assert_eq!(mail.send("carol@outside.test", &["alice@gw.test"], text).await, [250]);
}

async fn a_bounce_that_comes_late_reaches_the_sender(flavour: Flavour) {
    let mail = MailWorld::start(flavour).await;
    let mut alice = mail.registered("alice").await;
    let id = alice.message("x\\40dead.test@email.localhost", "into the void").await.unwrap();
    let about = |s: &Element| {
        s.name == "message"
            && s.attr("from").is_some_and(|from| from.starts_with("x\\40dead.test@"))
            && (s.attr("id") == Some(&id) && s.attr("type") == Some("error")
                || s.get("reply", "urn:xmpp:reply:0").and_then(|r| r.attr("id")) == Some(&id))
    };
    // Postfix gives up after 8 s; before that it tells of the delay.
    let told = alice.find("word of the bounce", |s| about(s)).await.unwrap();
    assert!(told.error().is_some() || told.body().is_some(), "{told}");
    if told.error().is_none() {
        let more = alice.find_within(Duration::from_secs(60), |s| about(s) && s.error().is_some()).await.unwrap();
        assert!(more.is_some(), "the failure itself was not told, only {told}");
    }
}

async fn mail_waits_in_the_queue_while_the_relay_is_away(flavour: Flavour) {
    let mut mail = MailWorld::start(flavour).await;
    let mut alice = mail.registered("alice").await;
    mail.postfix.stop();
    let text = format!("<message type='chat' to='{CAROL}' id='q1'><body>be patient</body></message>");
    alice.send(text + "<iq type='get' to='email.localhost' id='p'><ping xmlns='urn:xmpp:ping'/></iq>").await.unwrap();
    assert_eq!(alice.answer("p").await.unwrap().attr("type"), Some("result"));
    mail.world.gateway.kill();
    mail.postfix.launch().await.unwrap();
    mail.world.gateway.launch().await.unwrap();
    let sent = mail.dovecot.mail("carol@outside.test", "the text", |m| m.contains("be patient")).await.unwrap();
    assert!(header(&sent, "Date").is_some(), "{sent}");
}

/// The XMPP server takes it, and gives it back.
async fn mail_for_an_account_that_is_gone_comes_back_as_a_report(flavour: Flavour) {
    let mail = MailWorld::start(flavour).await;
    let mut alice = mail.registered("alice").await;
    alice.disconnect().await.unwrap();
    mail.world.server.remove_user("alice@localhost").await.unwrap();
    let text = "From: carol@outside.test\r\nTo: alice@gw.test\r\nSubject: Tea\r\nMessage-ID: <gone@outside.test>\r\n\r\nare you there?\r\n";
    assert_eq!(mail.send("carol@outside.test", &["alice@gw.test"], text).await, [250]);
    let report = mail.dovecot.mail("carol@outside.test", "a report", |m| m.contains("message/delivery-status")).await;
    let report = report.unwrap();
    assert!(report.contains("Action: failed") && report.contains("alice@gw.test"), "{report}");
    assert!(header(&report, "Auto-Submitted").is_some_and(|auto| auto.starts_with("auto-")), "{report}");
}

async fn mail_for_whom_there_is_no_room_is_deferred_and_comes_once_there_is(flavour: Flavour) {
    const GATEWAY: &str = "email.localhost";
    let mail = MailWorld::small(flavour, "16 KiB").await;
    let mut alice = mail.registered("alice").await;
    // What waits for more to go with it takes nearly all of her room.
    configure(&mut alice, GATEWAY, &[("join_seconds", "600")]).await.unwrap();
    alice.message(CAROL, &"Tell me more. ".repeat(1090)).await.unwrap();
    alice.ping(GATEWAY).await.unwrap();
    let text = format!(
        "From: carol@outside.test\r\nTo: alice@gw.test\r\nSubject: Tea\r\nMessage-ID: <room@outside.test>\r\n\r\nthere is room\r\n{}",
        "and more of it\r\n".repeat(60)
    );
    assert_eq!(mail.send("carol@outside.test", &["alice@gw.test"], &text).await, [250]);
    let mut log = String::new();
    for _ in 0..200 {
        log = mail.postfix.log();
        if log.contains("status=deferred") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let deferred = log.lines().find(|line| line.contains("status=deferred")).unwrap_or_else(|| panic!("{log}"));
    assert!(deferred.contains("to=<alice@gw.test>") && deferred.contains("said: 45"), "{deferred}");
    let words = |s: &Element| s.body().is_some_and(|body| body.contains("there is room"));
    assert!(alice.find_within(Duration::from_millis(500), words).await.unwrap().is_none());
    // She takes hers back.
    let queue = step(&mut alice, GATEWAY, "queue", None, "").await;
    let session = queue.attr("sessionid").unwrap().to_owned();
    let form = queue.child("x").unwrap().clone();
    let events = form.children.iter().find(|field| field.attr("var") == Some("events")).unwrap();
    let event = events.children.iter().find(|c| c.name == "option").and_then(|o| o.child("value")).unwrap();
    let filled = submit(&form, &[("events", &event.text), ("do", "cancel")]).unwrap();
    let done = step(&mut alice, GATEWAY, "queue", Some(&session), &filled).await.to_string();
    assert!(done.contains("Cancelled: 1"), "{done}");
    mail.postfix.flush().await.unwrap();
    alice.find("the mail", words).await.unwrap();
}
