//! From a message to the relay, against scripted servers: what is sent, and every point at which it can fail.

mod common;

use std::time::Duration;

use common::{JULIET, Juliet, contact, relay};
use isthmus_bridge::{
    Address, BareJid, ContactId, DeliveryError, Event, Failure, File, FileSource, Host, Intent, Leg, Media, Message,
    MessageRef, NetworkId, OnceKey, Outbound, Outcome, Recipient, RecipientKind, Retry, Sent, Text, Values,
};
use isthmus_testkit::certificate::Certificate;
use isthmus_testkit::process::Folder;
use isthmus_testkit::smtp::{Act, FakeSmtp, Features, Stage};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

async fn server() -> FakeSmtp {
    FakeSmtp::start(Features::default()).await.expect("a relay")
}

async fn juliet(server: &FakeSmtp) -> Juliet {
    Juliet::at(relay(server.address(), json!({})), json!({})).await
}

/// Says these replies, one for each line that comes, and then listens in silence.
async fn reciting(replies: &'static [&'static str]) -> std::net::SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                for reply in replies {
                    if stream.write_all(reply.as_bytes()).await.is_err() {
                        return;
                    }
                    let mut line = Vec::new();
                    let _ = stream.read_until(b'\n', &mut line).await;
                }
                let mut rest = Vec::new();
                let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn a_message_becomes_a_mail() {
    let server = server().await;
    let juliet = juliet(&server).await;
    let legs = juliet.say("alice@outside.test", "Good *morning*").await.expect("sent");
    let mail = &server.wait_for(1).await.expect("a mail")[0];
    let key = legs[0].ids[0].as_str().split('@').next().expect("a key").to_owned();
    assert_eq!(mail.header("Message-ID").as_deref(), Some(format!("<{key}@gw.test>").as_str()));
    assert_eq!(mail.header("From").as_deref(), Some("juliet@gw.test"));
    assert_eq!(mail.header("To").as_deref(), Some("alice@outside.test"));
    assert_eq!(mail.header("Subject").as_deref(), Some("Message from juliet"));
    assert_eq!(mail.header("Auto-Submitted").as_deref(), Some("no"));
    assert_eq!(mail.header("Jabber-ID").as_deref(), Some(JULIET));
    assert!(mail.data.contains("<strong>morning</strong>"), "{}", mail.data);
    assert!(mail.from.starts_with(&format!("bounce+{key}.")) && mail.from.ends_with("@gw.test"), "{}", mail.from);
    assert!(mail.from.split('@').next().is_some_and(|local| local.len() <= 64), "{}", mail.from);
    assert!(mail.from_parameters.contains("RET=HDRS") && mail.from_parameters.contains(&format!("ENVID={key}")));
    assert_eq!(mail.to[0].1, "NOTIFY=FAILURE,DELAY ORCPT=rfc822;alice@outside.test");
}

#[tokio::test]
async fn a_conversation_is_a_chain_of_references() {
    let server = server().await;
    let juliet = juliet(&server).await;
    juliet.say("alice@outside.test", "Subject: Plans\n\nfor today").await.expect("sent");
    juliet.say("alice@outside.test", "and tomorrow").await.expect("sent");
    juliet.say("bob@outside.test", "another matter").await.expect("sent");
    let mut other = Message::chat("something else");
    other.subject = Some("Dinner".into());
    juliet.send("alice@outside.test", other).await;
    juliet.say("alice@outside.test", "at eight").await.expect("sent");
    let mails = server.wait_for(5).await.expect("mails");
    let header = |n: usize, name: &str| mails[n].header(name);
    assert_eq!(header(0, "Subject").as_deref(), Some("Plans"));
    assert!(!mails[0].data.contains("Subject: Plans\r\n\r\nSubject"), "the line that set the subject is gone");
    assert_eq!(header(1, "Subject").as_deref(), Some("Re: Plans"));
    assert_eq!(header(1, "In-Reply-To"), header(0, "Message-ID"));
    assert_eq!(header(2, "References"), None, "nothing of Alice's goes to Bob");
    assert_eq!((header(3, "Subject").as_deref(), header(3, "References")), (Some("Dinner"), None));
    assert_eq!(header(4, "Subject").as_deref(), Some("Re: Dinner"));
    assert_eq!(header(4, "References"), header(3, "Message-ID"));
}

#[tokio::test]
async fn an_answer_refers_to_the_very_mail() {
    let server = server().await;
    let juliet = juliet(&server).await;
    let first = juliet.say("alice@outside.test", "one").await.expect("sent")[0].ids[0].clone();
    juliet.say("alice@outside.test", "two").await.expect("sent");
    let mut answer = Message::chat("to the first");
    answer.reply_to = Some(MessageRef::foreign(NetworkId::from("email"), first.clone()));
    juliet.send("alice@outside.test", answer).await;
    let mails = server.wait_for(3).await.expect("mails");
    assert_eq!(mails[2].header("In-Reply-To"), Some(format!("<{first}>")));
}

#[tokio::test]
async fn each_recipient_has_an_envelope_and_an_outcome() {
    let server = server().await;
    server.script(|stage| match stage {
        Stage::To("nobody@outside.test") => Act::say("550 5.1.1 no such user"),
        Stage::To("later@outside.test") => Act::say("450 4.2.1 later"),
        _ => Act::Take,
    });
    let juliet = juliet(&server).await;
    let mut event = juliet.host.outbound(
        &BareJid::from(JULIET),
        contact("alice@outside.test"),
        Intent::Send(Box::new(Message::chat("to all"))),
    );
    for (who, kind) in [
        ("nobody@outside.test", RecipientKind::To),
        ("later@outside.test", RecipientKind::Cc),
        ("bob@outside.test", RecipientKind::Bcc),
    ] {
        event.to.push(Recipient::new(contact(who), kind));
    }
    let key = juliet.session.send_event(event);
    let Outcome::Legs(legs) = juliet.host.outcome_of(&key).await else { panic!("dropped") };
    let of = |who: &str| legs.iter().find(|l| l.to == Some(ContactId::from(who))).expect("a leg").result.clone();
    assert_eq!((of("alice@outside.test"), of("bob@outside.test")), (Ok(()), Ok(())));
    assert_eq!(of("nobody@outside.test").unwrap_err().failure, Failure::NoSuchRecipient);
    assert_eq!(of("later@outside.test").unwrap_err().retry, Retry::ByPolicy);
    let mails = server.mails();
    assert_eq!(mails.len(), 2);
    for mail in &mails {
        assert_eq!(mail.to.len(), 1, "one envelope a recipient");
        assert_eq!(mail.header("To").as_deref(), Some("alice@outside.test, nobody@outside.test"));
        assert_eq!(mail.header("Cc").as_deref(), Some("later@outside.test"));
        assert!(!mail.data.contains("bob@outside.test"), "a blind copy shows in the mail");
    }
    assert_ne!(mails[0].from, mails[1].from, "each leg has a bounce address of its own");
}

#[tokio::test]
async fn refusals_at_each_stage() {
    let server = server().await;
    let juliet = juliet(&server).await;
    type At = fn(Stage<'_>) -> bool;
    let stages: [(&str, At); 4] = [
        ("MAIL", |s| matches!(s, Stage::From(_))),
        ("RCPT", |s| matches!(s, Stage::To(_))),
        ("DATA", |s| matches!(s, Stage::Data)),
        ("the final dot", |s| matches!(s, Stage::Body(..))),
    ];
    for (name, at) in stages {
        server.script(move |s| if at(s) { Act::say("554 5.7.1 not wanted") } else { Act::Take });
        let error = juliet.say("alice@outside.test", "x").await.expect_err(name);
        assert_eq!((error.failure, error.retry, error.sent), (Failure::Rejected, Retry::Never, Sent::No), "{name}");
        assert_eq!(error.code.as_deref(), Some("5.7.1"), "{name}");
        assert!(error.text.to_string().contains("not wanted"), "{name}: {}", error.text);
        server.script(move |s| if at(s) { Act::say("451 4.3.0 try later") } else { Act::Take });
        let error = juliet.say("alice@outside.test", "x").await.expect_err(name);
        assert_eq!((error.retry, error.sent), (Retry::ByPolicy, Sent::No), "{name}");
    }
    server.script(|_| Act::Take);
    juliet.say("alice@outside.test", "after all that").await.expect("the way is free again");
}

#[tokio::test]
async fn a_cut_is_certain_before_the_final_dot_and_uncertain_after_it() {
    let server = server().await;
    let juliet = juliet(&server).await;
    for stage in ["greeting", "hello", "mail", "rcpt", "data"] {
        server.script(move |s| match (stage, s) {
            ("greeting", Stage::Connect)
            | ("hello", Stage::Hello)
            | ("mail", Stage::From(_))
            | ("rcpt", Stage::To(_))
            | ("data", Stage::Data) => Act::Cut,
            _ => Act::Take,
        });
        let error = juliet.say("alice@outside.test", "x").await.expect_err(stage);
        assert_eq!((error.sent, error.retry), (Sent::No, Retry::ByPolicy), "{stage}: {error}");
    }
    server.script(|s| if matches!(s, Stage::Body(..)) { Act::TakeAndCut } else { Act::Take });
    let error = juliet.say("alice@outside.test", "x").await.expect_err("cut");
    assert_eq!((error.sent, error.retry), (Sent::Maybe, Retry::Never));
}

#[tokio::test]
async fn silence_after_the_final_dot_is_uncertain() {
    let server = server().await;
    server.script(|s| if matches!(s, Stage::Body(..)) { Act::Hang } else { Act::Take });
    let smtp = relay(server.address(), json!({"final_timeout_seconds": 1}));
    let juliet = Juliet::at(smtp, json!({})).await;
    assert_eq!(juliet.say("alice@outside.test", "x").await.expect_err("silence").sent, Sent::Maybe);
}

#[tokio::test]
async fn silence_before_it_is_tried_again() {
    let server = server().await;
    server.script(|s| if matches!(s, Stage::To(_)) { Act::Hang } else { Act::Take });
    let juliet = Juliet::at(relay(server.address(), json!({"timeout_seconds": 1})), json!({})).await;
    let error = juliet.say("alice@outside.test", "x").await.expect_err("silence");
    assert_eq!((error.failure, error.sent, error.retry), (Failure::TimedOut, Sent::No, Retry::ByPolicy));
}

#[tokio::test]
async fn a_relay_that_is_away_is_tried_again_and_an_idle_connection_may_be_gone() {
    let mut server = server().await;
    let juliet = juliet(&server).await;
    juliet.say("alice@outside.test", "one").await.expect("sent");
    server.go_down();
    let error = juliet.say("alice@outside.test", "two").await.expect_err("away");
    assert_eq!((error.failure, error.retry), (Failure::Unreachable, Retry::ByPolicy));
    server.come_up().await.expect("up");
    juliet.say("alice@outside.test", "three").await.expect("sent");
    server.go_down();
    server.come_up().await.expect("up");
    juliet.say("alice@outside.test", "over a new connection").await.expect("sent");
}

#[tokio::test]
async fn connections_are_kept_and_shared() {
    let server = server().await;
    let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let seen = count.clone();
    server.script(move |s| {
        if matches!(s, Stage::Connect) {
            seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        Act::Take
    });
    let juliet = juliet(&server).await;
    for n in 0..20 {
        juliet.say("alice@outside.test", &n.to_string()).await.expect("sent");
    }
    assert_eq!(count.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test]
async fn starttls_and_login() {
    let folder = Folder::new("relay").expect("a folder");
    let certificate = Certificate::make(&folder).await.expect("a certificate");
    let features = || Features { tls: Some(certificate.server().expect("TLS")), auth: true, ..Features::default() };
    let server = FakeSmtp::start(features()).await.expect("a relay");
    server.script(|s| match s {
        Stage::Auth("gateway", "secret") => Act::Take,
        Stage::Auth(..) => Act::say("535 5.7.8 no"),
        _ => Act::Take,
    });
    let with = |password: &str| json!({"security": "starttls", "ca_file": certificate.certificate, "username": "gateway", "password": password});
    let good = Juliet::at(relay(server.address(), with("secret")), json!({})).await;
    good.say("alice@outside.test", "x").await.expect("sent");
    let mail = &server.mails()[0];
    assert!(mail.tls);
    assert_eq!(mail.user.as_deref(), Some("gateway"));

    let bad = Juliet::at(relay(server.address(), with("wrong")), json!({})).await;
    let error = bad.say("alice@outside.test", "x").await.expect_err("a wrong password");
    assert_eq!((error.retry, error.sent, error.code.as_deref()), (Retry::ByPolicy, Sent::No, Some("5.7.8")));
    assert!(!format!("{error:?}").contains("wrong"), "the password shows in the error");
    let fault = bad.bridge.probe().await.remove(0);
    assert!(fault.what.contains("login"), "{fault:?}");

    // Without its root nobody trusts the relay, unless the administrator said so.
    let untrusted = json!({"security": "starttls", "username": "gateway", "password": "secret"});
    let careful = Juliet::at(relay(server.address(), untrusted.clone()), json!({})).await;
    careful.say("alice@outside.test", "x").await.expect_err("an unknown certificate");
    let mut any = untrusted;
    any["verify"] = json!(false);
    let careless = Juliet::at(relay(server.address(), any), json!({})).await;
    careless.say("alice@outside.test", "x").await.expect("sent");
    assert_eq!(server.mails().len(), 2);
}

#[tokio::test]
async fn starttls_that_was_taken_out_sends_nothing_in_the_clear() {
    let server = server().await;
    let smtp = relay(server.address(), json!({"security": "starttls", "username": "u", "password": "p"}));
    let juliet = Juliet::at(smtp, json!({})).await;
    let error = juliet.say("alice@outside.test", "x").await.expect_err("no STARTTLS");
    assert_eq!((error.retry, error.sent), (Retry::ByPolicy, Sent::No));
    assert!(server.mails().is_empty());
    let fault = juliet.bridge.probe().await.remove(0);
    assert!(fault.what.contains("STARTTLS"), "{fault:?}");
}

#[tokio::test]
async fn what_comes_between_starttls_and_the_handshake_is_refused() {
    let address =
        reciting(&["220 mx\r\n", "250-mx\r\n250 STARTTLS\r\n", "220 go\r\n250 mx\r\n235 you are in\r\n"]).await;
    let juliet = Juliet::at(relay(address, json!({"security": "starttls", "verify": false})), json!({})).await;
    let fault = juliet.bridge.probe().await.remove(0);
    assert!(fault.what.contains("between"), "{fault:?}");
}

#[tokio::test]
async fn a_relay_that_answers_ahead_is_not_believed() {
    for replies in [
        &["220 mx\r\n", "250 mx\r\n", "250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n"][..],
        &["220 mx\r\n", "250 mx\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n250 taken\r\n"],
        &["220 mx\r\n", "250 mx\r\n", "HTTP/1.1 400 Bad Request\r\n"],
        &["\u{0}\u{1}\u{2}\r\n"],
    ] {
        let address = reciting(replies).await;
        let juliet = Juliet::at(relay(address, json!({"timeout_seconds": 2})), json!({})).await;
        let error = juliet.say("alice@outside.test", "x").await.expect_err("garbage");
        assert_eq!((error.sent, error.retry), (Sent::No, Retry::ByPolicy), "{replies:?}");
    }
}

#[tokio::test]
async fn a_relay_without_smtputf8_is_not_asked_for_what_it_cannot() {
    let plain =
        FakeSmtp::start(Features { keywords: vec!["SIZE 1000".into()], ..Features::default() }).await.expect("a relay");
    let juliet = juliet(&plain).await;
    let error = juliet.say("用户@outside.test", "x").await.expect_err("no SMTPUTF8");
    assert_eq!((error.failure, error.retry), (Failure::Unsupported, Retry::Never));
    juliet.say("alice@outside.test", "日本語 needs no 8BITMIME").await.expect("sent");
    let error = juliet.say("alice@outside.test", &"long ".repeat(1000)).await.expect_err("too big");
    assert_eq!(error.failure, Failure::TooLong { limit: 1000 });
    assert!(plain.mails()[0].from_parameters.starts_with("SIZE="), "{:?}", plain.mails()[0]);

    let able = server().await;
    let juliet = self::juliet(&able).await;
    juliet.say("用户@outside.test", "x").await.expect("sent");
    let mail = &able.mails()[0];
    assert!(mail.from_parameters.contains("SMTPUTF8") && mail.from_parameters.contains("BODY=8BITMIME"), "{mail:?}");
    assert_eq!(mail.to[0].0, "用户@outside.test");
}

#[tokio::test]
async fn lmtp_to_a_local_server() {
    let server = FakeSmtp::start(Features { lmtp: true, ..Features::default() }).await.expect("a server");
    server.script(|s| match s {
        Stage::Body(_, "full@outside.test") => Act::say("452 4.2.2 mailbox full"),
        _ => Act::Take,
    });
    let juliet = Juliet::at(relay(server.address(), json!({"protocol": "lmtp"})), json!({})).await;
    juliet.say("alice@outside.test", "x").await.expect("sent");
    let error = juliet.say("full@outside.test", "x").await.expect_err("full");
    assert_eq!((error.failure, error.retry), (Failure::Full, Retry::ByPolicy));
}

#[tokio::test]
async fn header_injection_is_impossible() {
    let server = server().await;
    let juliet = juliet(&server).await;
    let mut message =
        Message::chat("Subject: x\rBcc: eve@evil.test\n\nbody\r\n.\r\nMAIL FROM:<eve@evil.test>\r\n.\r\n");
    message.nick = Some("Juliet\r\nBcc: eve@evil.test".into());
    message.thread = Some("t\r\nBcc: eve@evil.test".into());
    juliet.send("alice@outside.test", message).await;
    let mut message = Message::chat("body");
    message.subject = Some("hello\r\nBcc: eve@evil.test\r\n\r\nnot a body".into());
    juliet.send("alice@outside.test", message).await;
    for mail in server.wait_for(2).await.expect("mails") {
        assert_eq!(mail.to.len(), 1);
        let (header, _) = mail.data.split_once("\r\n\r\n").expect("a header");
        assert!(
            !header.split("\r\n").any(|l| l.starts_with("Bcc") || l.contains("not a body") && l.starts_with("not")),
            "{header}"
        );
    }
    assert_eq!(server.mails().len(), 2, "a dot in the text ended the mail");
    for evil in ["a\r\nRCPT TO:<eve@evil.test>@outside.test", "a>@outside.test", "@outside.test", "no-at"] {
        let error = juliet.say(evil, "x").await.expect_err(evil);
        assert_eq!(error.failure, Failure::NoSuchRecipient, "{evil}");
    }
}

#[tokio::test]
async fn files_are_attached_or_left_as_links() {
    let server = server().await;
    let smtp = relay(server.address(), json!({}));
    let juliet = Juliet::at(smtp, json!({"limits": {"max_attached": 1000}})).await;
    let small: url::Url = "https://upload.example.org/a/small.png".parse().expect("a URL");
    let gone: url::Url = "https://upload.example.org/b/gone.png".parse().expect("a URL");
    juliet.host.serve(&small, vec![1_u8, 2, 255], Media::new(None, "image/png", Some(3)));
    let file = |url: &url::Url, name: &str| {
        File::new(FileSource::Url(url.clone()), Media::new(Some(name.into()), "image/png", None))
    };
    let mut message = Message::chat(small.as_str());
    message.files = vec![file(&small, "small.png"), file(&gone, "gone.png")];
    juliet.send("alice@outside.test", message).await;
    let data = server.wait_for(1).await.expect("a mail")[0].data.clone();
    assert!(data.contains("filename=\"small.png\"") && data.contains("AQL/"), "{data}");
    assert!(!data.contains(small.as_str()), "the link of an attached file is no text");
    assert!(data.contains(gone.as_str()), "{data}");
    assert!(!data.contains("gone.png\""), "{data}");
}

#[tokio::test]
async fn daily_limits_hold_and_failures_do_not_count() {
    let server = server().await;
    let smtp = relay(server.address(), json!({}));
    let juliet = Juliet::at(smtp, json!({"limits": {"messages_per_day": 2}})).await;
    server.script(|s| if matches!(s, Stage::To(_)) { Act::say("550 5.1.1 no") } else { Act::Take });
    for _ in 0..5 {
        assert_eq!(juliet.say("x@outside.test", "x").await.expect_err("no").failure, Failure::NoSuchRecipient);
    }
    server.script(|_| Act::Take);
    juliet.say("alice@outside.test", "1").await.expect("sent");
    juliet.say("alice@outside.test", "2").await.expect("sent");
    let error = juliet.say("alice@outside.test", "3").await.expect_err("over the limit");
    assert_eq!(error.failure, Failure::OverQuota);
    assert_eq!(server.mails().len(), 2);
}

#[tokio::test]
async fn nobody_sends_without_an_address_of_their_own() {
    let server = server().await;
    let smtp = relay(server.address(), json!({}));
    let juliet = Juliet::at(smtp.clone(), json!({"fixed_form": true})).await;
    let at = contact("alice@outside.test");
    let stranger = isthmus_bridge::suite::Session::start(&juliet.bridge, &juliet.host, "eve@elsewhere.test", &at);
    assert_eq!(stranger.say(at.clone(), "x").await.expect_err("no alias").failure, Failure::NotRegistered);
    let local = isthmus_bridge::suite::Session::start(&juliet.bridge, &juliet.host, "nurse@example.org", &at);
    local.say(at, "x").await.expect("the fixed form");
    assert_eq!(server.mails()[0].header("From").as_deref(), Some("nurse=example.org@gw.test"));
}

#[tokio::test]
async fn reply_to_all_writes_to_all_and_tells_who_was_not_reached() {
    let server = server().await;
    server.script(|s| if matches!(s, Stage::To("carol@outside.test")) { Act::say("550 5.1.1 no") } else { Act::Take });
    let juliet = juliet(&server).await;
    let mut event = juliet.host.outbound(
        &BareJid::from(JULIET),
        contact("alice@outside.test"),
        Intent::Send(Box::new(Message::chat("all"))),
    );
    event.to.push(Recipient::to(contact("bob@outside.test")));
    event.to.push(Recipient::to(contact("carol@outside.test")));
    let key = juliet.session.send_event(event);
    juliet.host.outcome_of(&key).await;
    juliet.session.set(&Address::Gateway, "reply_all", Some("true")).await;
    let legs = juliet.say("alice@outside.test", "again").await.expect("sent");
    assert_eq!(legs.len(), 1);
    let mails = server.wait_for(4).await.expect("mails");
    assert_eq!(mails[3].header("Cc").as_deref(), Some("bob@outside.test, carol@outside.test"));
    let notice = juliet.host.accepted("a notice about Carol", |e| e.from == contact("carol@outside.test")).await;
    assert!(matches!(notice.event, Event::Notice { .. }));
}

/// One try of an event, and what it ended in.
async fn attempt(juliet: &Juliet, event: &Outbound, attempt: u32, to: &[Recipient]) -> Vec<Leg> {
    let mut event = event.clone();
    (event.attempt, event.to) = (attempt, to.to_vec());
    let key = juliet.session.send_event(event);
    loop {
        let done = juliet.host.settled().into_iter().find(|(of, n, _)| *of == key && *n == attempt);
        match done {
            Some((_, _, Outcome::Legs(legs))) => return legs,
            Some(_) => panic!("dropped"),
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

#[tokio::test]
async fn a_later_try_of_a_reply_to_all_is_for_those_who_have_not_got_it() {
    let server = server().await;
    let juliet = juliet(&server).await;
    let send = Intent::Send(Box::new(Message::chat("Subject: Plans\n\nall")));
    let mut event = juliet.host.outbound(&BareJid::from(JULIET), contact("alice@outside.test"), send);
    let (alice, bob) = (Recipient::to(contact("alice@outside.test")), Recipient::to(contact("bob@outside.test")));
    let carol = Recipient::to(contact("carol@outside.test"));
    attempt(&juliet, &event, 0, &[alice.clone(), bob, carol]).await;
    juliet.session.set(&Address::Gateway, "reply_all", Some("true")).await;

    server.script(|s| match s {
        Stage::To("alice@outside.test" | "carol@outside.test") => Act::say("450 4.2.1 later"),
        _ => Act::Take,
    });
    event = juliet.host.outbound(
        &BareJid::from(JULIET),
        contact("alice@outside.test"),
        Intent::Send(Box::new(Message::chat("again"))),
    );
    let legs = attempt(&juliet, &event, 0, std::slice::from_ref(&alice)).await;
    assert_eq!(legs[0].result.as_ref().expect_err("later").retry, Retry::ByPolicy);
    assert_eq!(server.mails().len(), 4, "Bob has it");
    server.script(|_| Act::Take);
    let legs = attempt(&juliet, &event, 1, std::slice::from_ref(&alice)).await;
    assert!(legs.len() == 1 && legs[0].result.is_ok());
    let mails = server.mails();
    let to: Vec<&str> = mails[4..].iter().map(|mail| mail.to[0].0.as_str()).collect();
    assert_eq!(to, ["alice@outside.test", "carol@outside.test"], "and nobody gets it twice");
    for name in ["To", "Cc", "Subject", "References", "Message-ID"] {
        assert!(mails[4..].iter().all(|mail| mail.header(name) == mails[3].header(name)), "{name} is another one");
    }
    assert!(juliet.host.accepts().is_empty(), "who got it in the end is not told of");
}

#[tokio::test]
async fn a_later_try_for_one_of_several_stays_in_its_conversation() {
    let server = server().await;
    server.script(|s| if matches!(s, Stage::To("bob@outside.test")) { Act::say("450 4.2.1 later") } else { Act::Take });
    let juliet = juliet(&server).await;
    let event = juliet.host.outbound(
        &BareJid::from(JULIET),
        contact("alice@outside.test"),
        Intent::Send(Box::new(Message::chat("to both"))),
    );
    let bob = Recipient::new(contact("bob@outside.test"), RecipientKind::Cc);
    attempt(&juliet, &event, 0, &[Recipient::to(contact("alice@outside.test")), bob.clone()]).await;
    server.script(|_| Act::Take);
    juliet.say("bob@outside.test", "Subject: Secret\n\nonly for you").await.expect("sent");
    attempt(&juliet, &event, 1, &[bob]).await;
    let mails = server.mails();
    assert_eq!(mails.len(), 3);
    for name in ["To", "Cc", "Subject", "References", "In-Reply-To"] {
        assert_eq!(mails[2].header(name), mails[0].header(name), "{name}");
    }
}

#[tokio::test]
async fn a_file_is_fetched_once_for_all_tries() {
    let server = server().await;
    server.script(|s| if matches!(s, Stage::To(_)) { Act::say("450 4.2.1 later") } else { Act::Take });
    let juliet = juliet(&server).await;
    let url = url::Url::parse("https://upload.example.org/a.png").expect("a URL");
    juliet.host.serve(&url, "PNG!", Media::new(Some("a.png".into()), "image/png", Some(4)));
    let mut message = Message::chat("look");
    message.files.push(File::new(FileSource::Url(url), Media::default()));
    let at = contact("alice@outside.test");
    let event = juliet.host.outbound(&BareJid::from(JULIET), at.clone(), Intent::Send(Box::new(message)));
    attempt(&juliet, &event, 0, &[Recipient::to(at.clone())]).await;
    server.script(|_| Act::Take);
    attempt(&juliet, &event, 1, &[Recipient::to(at)]).await;
    assert!(server.mails()[0].data.contains("a.png"));
    let given: Host = juliet.host.host();
    let next = given.keep("x".into(), Media::default()).await.expect("kept");
    assert_eq!(next.as_str(), "blob1", "each try kept a copy");
}

#[tokio::test]
async fn who_waits_for_a_relay_that_is_away_hears_it_with_the_first() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let met = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = met.clone();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            held.push(stream); // never a greeting
        }
    });
    let juliet = Juliet::at(relay(address, json!({"connections": 1, "timeout_seconds": 2})), json!({})).await;
    let says = ["a", "b", "c", "d"].map(|who| {
        let juliet = &juliet;
        async move { juliet.say(&format!("{who}@outside.test"), "hi").await.expect_err("away") }
    });
    for error in futures(says).await {
        assert_eq!(error.retry, Retry::ByPolicy);
    }
    assert_eq!(met.load(std::sync::atomic::Ordering::SeqCst), 1, "each waited its own time for the same silence");
}

async fn futures<T>(all: [impl Future<Output = T>; 4]) -> [T; 4] {
    let [a, b, c, d] = all;
    tokio::join!(a, b, c, d).into()
}

#[tokio::test]
async fn typing_and_receipts_are_never_mailed_and_a_sent_mail_is_not_withdrawn() {
    let server = server().await;
    let juliet = juliet(&server).await;
    let of = MessageRef::foreign(NetworkId::from("email"), "m1@outside.test".into());
    for intent in [Intent::Typing { on: true }, Intent::Mark { of: Some(of.clone()), at: None }] {
        let legs = juliet.session.deliver(contact("alice@outside.test"), intent).await;
        assert!(legs.iter().all(|l| l.result.is_ok()));
    }
    let legs = juliet.session.deliver(contact("alice@outside.test"), Intent::Retract { of, reason: None }).await;
    assert_eq!(legs[0].result.as_ref().expect_err("no such thing").failure, Failure::Unsupported);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(server.mails().is_empty());
}

#[tokio::test]
async fn what_the_xmpp_side_gives_back_without_a_return_path_ends_there() {
    let server = server().await;
    let juliet = juliet(&server).await;
    let intent = Intent::Undelivered {
        of: None,
        once: Some(OnceKey::from("unknown")),
        said: None,
        error: DeliveryError::new(Failure::NoSuchRecipient, Text::plain("gone")),
    };
    let legs = juliet.session.deliver(contact("alice@outside.test"), intent).await;
    assert!(legs[0].result.is_ok() && server.mails().is_empty());
}

#[tokio::test]
async fn registration_claims_an_alias() {
    let server = server().await;
    let juliet = juliet(&server).await;
    let nurse = BareJid::from("nurse@example.org");
    let host: Host = juliet.host.host();
    let register = |alias: &'static str| {
        let call = isthmus_bridge::Call::start("register", nurse.clone(), Address::Gateway);
        let (bridge, host) = (juliet.bridge.clone(), host.clone());
        async move {
            let mut call = call;
            call.values = Values::new().with("alias", alias);
            call.action = isthmus_bridge::Action::Complete;
            bridge.step(call, &host).await.expect("a step")
        }
    };
    for refused in ["hostmaster", "a b", "juliet"] {
        let isthmus_bridge::Step::Ask { form, .. } = register(refused).await else { panic!("{refused} was taken") };
        assert!(form.fields[0].error.is_some(), "{refused}");
    }
    assert!(matches!(register("nurse").await, isthmus_bridge::Step::Done { .. }));
    assert_eq!(host.owner(&ContactId::from("nurse@gw.test")).await, Ok(Some(nurse.clone())));
    assert!(matches!(register("nanny").await, isthmus_bridge::Step::Done { .. }));
    assert_eq!(host.identities(&nurse).await, Ok(vec![ContactId::from("nanny@gw.test")]));
    assert_eq!(host.owner(&ContactId::from("nurse@gw.test")).await, Ok(None));
}
