//! Both halves together: what goes out comes back, over a scripted relay and over a real Postfix.

mod common;

use std::time::Duration;

use common::{JULIET, Juliet, contact, relay};
use isthmus_bridge::suite::Session;
use isthmus_bridge::{
    Action, Address, BareJid, Call, DeliveryError, Event, Failure, Host, Inbound, Intent, Late, Message, Step, Text,
};
use isthmus_testkit::dovecot::Dovecot;
use isthmus_testkit::ports::Port;
use isthmus_testkit::postfix::{Options, Postfix};
use isthmus_testkit::smtp::{FakeSmtp, Features, SmtpClient, send};
use isthmus_testkit::wait::until;
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

struct Gateway {
    juliet: Juliet,
    lmtp: Port,
    _stop: DropGuard,
}

impl Gateway {
    async fn over(smtp: Value) -> Self {
        let lmtp = Port::take().expect("a port");
        Self::on(lmtp, smtp).await
    }

    async fn on(lmtp: Port, smtp: Value) -> Self {
        let more = json!({"listen": {"lmtp": lmtp.address().to_string()}, "auth": {"check": false}});
        let juliet = Juliet::at(smtp, more).await;
        let stop = CancellationToken::new();
        let (bridge, host, token) = (juliet.bridge.clone(), juliet.host.host(), stop.clone());
        tokio::spawn(async move { bridge.serve(host, token).await });
        until("the listener", Duration::from_secs(30), || async {
            SmtpClient::hello(lmtp.address(), true).await.map(drop)
        })
        .await
        .expect("listening");
        Self { juliet, lmtp, _stop: stop.drop_guard() }
    }

    async fn mail(&self, from: &str, to: &str, mail: &str) -> u16 {
        let replies = send(self.lmtp.address(), true, from, &[to], mail).await.expect("a reply");
        replies[0].code
    }

    async fn message(&self, what: &str, body: &str) -> (Inbound, Message) {
        let is = |e: &Inbound| matches!(&e.event, Event::Message(m) if m.body.contains(body));
        let inbound = self.juliet.host.accepted(what, is).await;
        let Event::Message(message) = inbound.event.clone() else { panic!("a message") };
        (inbound, *message)
    }
}

fn mail(id: &str, subject: &str, more: &str, text: &str) -> String {
    format!(
        "From: Alice <Alice.B@outside.test>\r\nTo: juliet@gw.test\r\nSubject: {subject}\r\nMessage-ID: <{id}@outside.test>\r\n\
         Date: Sun, 17 Mar 2030 17:00:00 +0000\r\n{more}\r\n{text}\r\n"
    )
}

#[tokio::test]
async fn an_answer_goes_to_the_spelling_and_into_the_conversation_of_the_mail() {
    let server = FakeSmtp::start(Features::default()).await.expect("a relay");
    let gateway = Gateway::over(relay(server.address(), json!({}))).await;
    assert_eq!(
        gateway.mail("alice.b@outside.test", "juliet@gw.test", &mail("m1", "Plans", "", "shall we?")).await,
        250
    );
    let (inbound, message) = gateway.message("Alice's mail", "shall we?").await;
    assert_eq!(inbound.from, contact("alice.b@outside.test"));
    let mut answer = Message::chat("we shall");
    answer.thread = message.thread.clone();
    gateway.juliet.send("alice.b@outside.test", answer).await.remove(0).result.expect("sent");
    let sent = &server.mails()[0];
    assert_eq!(sent.to[0].0, "Alice.B@outside.test");
    assert_eq!(sent.header("Subject").as_deref(), Some("Re: Plans"));
    assert_eq!(sent.header("In-Reply-To").as_deref(), Some("<m1@outside.test>"));

    let id = sent.header("Message-ID").expect("an id");
    let more = format!("In-Reply-To: {id}\r\nReferences: <m1@outside.test> {id}\r\n");
    gateway.mail("alice.b@outside.test", "juliet@gw.test", &mail("m2", "Re: Plans", &more, "good")).await;
    let (_, second) = gateway.message("her answer", "good").await;
    assert_eq!(second.thread, message.thread, "one conversation, one thread");
}

#[tokio::test]
async fn what_the_xmpp_side_gives_back_becomes_a_report_unless_it_was_automatic() {
    let server = FakeSmtp::start(Features::default()).await.expect("a relay");
    let gateway = Gateway::over(relay(server.address(), json!({}))).await;
    let undelivered = |inbound: &Inbound| Intent::Undelivered {
        of: inbound.id.clone(),
        once: inbound.once.clone(),
        said: None,
        error: DeliveryError::new(Failure::NoSuchRecipient, Text::plain("account gone")),
    };
    let automatic = mail("m1", "away", "Auto-Submitted: auto-replied\r\n", "automatic");
    gateway.mail("alice.b@outside.test", "juliet@gw.test", &automatic).await;
    let (first, _) = gateway.message("the automatic mail", "automatic").await;
    gateway.mail("alice.b@outside.test", "juliet@gw.test", &mail("m2", "hello", "", "by hand")).await;
    let (second, _) = gateway.message("the mail", "by hand").await;
    for inbound in [&first, &second] {
        let legs = gateway.juliet.session.deliver(inbound.from.clone(), undelivered(inbound)).await;
        assert!(legs[0].result.is_ok());
    }
    let reports = server.mails();
    assert_eq!(reports.len(), 1, "nobody answers automatic mail");
    let report = &reports[0];
    assert_eq!((report.from.as_str(), report.to[0].0.as_str()), ("", "alice.b@outside.test"));
    assert_eq!(report.to[0].1.split(' ').next(), Some("NOTIFY=NEVER"));
    assert_eq!(report.header("Auto-Submitted").as_deref(), Some("auto-generated"));
    assert_eq!(report.header("In-Reply-To").as_deref(), Some("<m2@outside.test>"));
    for line in ["Final-Recipient: rfc822; juliet@gw.test", "Action: failed", "Status: 5.1.1", "Subject: hello"] {
        assert!(report.data.contains(&format!("\r\n{line}\r\n")), "{line} in {}", report.data);
    }
}

#[tokio::test]
async fn a_stranger_is_held_and_released_by_command_or_by_writing_to_them() {
    let server = FakeSmtp::start(Features::default()).await.expect("a relay");
    let gateway = Gateway::over(relay(server.address(), json!({}))).await;
    gateway.juliet.session.set(&Address::Gateway, "strangers", Some("hold")).await;
    assert_eq!(gateway.mail("alice.b@outside.test", "juliet@gw.test", &mail("m1", "hi", "", "who are you")).await, 250);
    let notice = gateway.juliet.host.accepted("a notice", |e| matches!(e.event, Event::Notice { .. })).await;
    let Event::Notice { actions, .. } = notice.event else { panic!("a notice") };
    let (node, _, values) = actions.into_iter().find(|a| a.0 == "accept").expect("a button");
    assert!(!gateway.juliet.host.accepts().iter().any(|e| matches!(e.event, Event::Message(_))));
    let mut call = Call::start(node, BareJid::from(JULIET), Address::Gateway);
    call.values = values;
    call.action = Action::Complete;
    let host: Host = gateway.juliet.host.host();
    assert!(matches!(gateway.juliet.bridge.step(call, &host).await, Ok(Step::Done { .. })));
    gateway.message("the mail that was held", "who are you").await;
    gateway.mail("alice.b@outside.test", "juliet@gw.test", &mail("m2", "hi", "", "thank you")).await;
    gateway.message("her next mail", "thank you").await;

    gateway.juliet.say("bob@outside.test", "write to me").await.expect("sent");
    let bobs = mail("b1", "hi", "", "as you wished").replace("Alice <Alice.B@", "Bob <bob@");
    gateway.mail("bob@outside.test", "juliet@gw.test", &bobs).await;
    gateway.message("Bob's mail", "as you wished").await;
}

#[tokio::test]
async fn the_whole_text_and_the_verdict_are_one_command_away() {
    let server = FakeSmtp::start(Features::default()).await.expect("a relay");
    let gateway = Gateway::over(relay(server.address(), json!({}))).await;
    let text = "short answer\r\n\r\nOn Monday, Juliet wrote:\r\n> the whole history";
    gateway.mail("alice.b@outside.test", "juliet@gw.test", &mail("m1", "hi", "", text)).await;
    let (_, message) = gateway.message("the mail", "short answer").await;
    assert!(!message.body.contains("whole history"), "{}", message.body);
    for (node, wanted) in [("full", "the whole history"), ("verdict", "")] {
        let step = gateway.juliet.session.command(node, contact("alice.b@outside.test"), vec![]).await;
        let Ok(Step::Done { notes, .. }) = step else { panic!("{node}: {step:?}") };
        assert!(format!("{notes:?}").contains(wanted), "{node}: {notes:?}");
    }
}

/// Delays and bounces as Postfix makes them; mail both ways; recipients verified before a mail is taken.
#[tokio::test]
async fn both_ways_over_a_real_postfix() {
    let dovecot = Dovecot::start(&["carol@outside.test"]).await.expect("Dovecot");
    let lmtp = Port::take().expect("a port");
    let options =
        Options { gateway: Some(("gw.test".to_owned(), lmtp.number())), verify_recipients: true, ..Options::default() };
    let postfix = Postfix::start(&options, &dovecot).await.expect("Postfix");
    // Postfix asks the gateway for recipients that it sees for the first time, and waits for the answer before it answers us.
    let gateway = Gateway::on(lmtp, relay(postfix.smtp().address(), json!({"timeout_seconds": 60}))).await;
    let juliet = &gateway.juliet;

    juliet.say("carol@outside.test", "hello Carol").await.expect("sent");
    let got = dovecot.mail("carol@outside.test", "Juliet's", |m| m.contains("hello Carol")).await.expect("a mail");
    let id = got.lines().find_map(|l| l.strip_prefix("Message-ID: ")).expect("an id").trim().to_owned();
    let answer = format!(
        "From: carol@outside.test\r\nTo: juliet@gw.test\r\nSubject: Re: x\r\nIn-Reply-To: {id}\r\nMessage-ID: <c1@outside.test>\r\n\r\nhello Juliet\r\n"
    );
    let replies = send(postfix.smtp().address(), false, "carol@outside.test", &["juliet@gw.test"], &answer).await;
    assert!(replies.expect("replies")[0].is_ok());
    let (inbound, _) = gateway.message("Carol's answer", "hello Juliet").await;
    assert_eq!(inbound.from, contact("carol@outside.test"));

    let refused = send(postfix.smtp().address(), false, "carol@outside.test", &["nobody@gw.test"], &answer).await;
    let refused = &refused.expect("replies")[0];
    assert_eq!(refused.code, 550, "{refused:?}");

    // One that Postfix takes and cannot deliver: a note, then the failure of that very message.
    let unverified = Options { gateway: options.gateway.clone(), ..Options::default() };
    drop(postfix);
    let Gateway { lmtp, juliet, _stop: stop } = gateway;
    drop((juliet, stop));
    let postfix = Postfix::start(&unverified, &dovecot).await.expect("Postfix again");
    let gateway = Gateway::on(lmtp, relay(postfix.smtp().address(), json!({}))).await;
    let session: &Session = &gateway.juliet.session;
    let key = session.send(contact("x@dead.test"), Intent::Send(Box::new(Message::chat("into the void"))));
    gateway.juliet.host.told_of("the delay", |t| matches!(t.what, Late::Delayed(_))).await;
    let told = gateway.juliet.host.told_of("the failure", |t| matches!(t.what, Late::Failed(_))).await;
    let Late::Failed(error) = &told.what else { panic!("a failure") };
    assert!(error.code.as_deref().is_some_and(|c| c.starts_with("4.4") || c.starts_with("5.")), "{error:?}");
    assert!(matches!(gateway.juliet.host.state_of(&key), Some(Late::Failed(_))), "the failure names the message");
    assert!(postfix.log().contains("status=expired"), "Postfix gave up by itself");
}
