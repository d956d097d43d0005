use isthmus_bridge::suite::{FakeHost, section};
use isthmus_bridge::{
    Address, BareJid, Bridge, ContactId, DeliveryError, DeliveryKey, Event, Failure, FileSource, Gateway, Inbound,
    Intent, Late, Message, MessageRef, Refused,
};
use serde_json::json;
use tokio::io::DuplexStream;

use super::*;
use crate::EmailBridge;

pub(super) const JULIET: &str = "juliet@capulet.lit";

/// The gateway behind one connection.
pub(super) struct World {
    door: Arc<Door>,
    pub(super) mail: Arc<Mail>,
    pub(super) host: Arc<FakeHost>,
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with(json!({})).await
    }

    pub(super) async fn with(more: serde_json::Value) -> Self {
        let mut keys = json!({"mail_domain": "gw.test", "smtp": {"host": "127.0.0.1"}, "auth": {"check": false, "authserv_ids": ["mx.test"]}});
        for (key, value) in more.as_object().unwrap() {
            keys[key] = value.clone();
        }
        let config = crate::config::read(section("email", "email.example", keys)).unwrap();
        let mail = Arc::new(Mail::new(config));
        let bridge: Arc<dyn Bridge> = Arc::new(EmailBridge(mail.clone()));
        let host = FakeHost::of(&bridge);
        for (user, alias) in [(JULIET, "juliet"), ("romeo@montague.lit", "romeo")] {
            host.claim(&BareJid::new(user), &ContactId::new(format!("{alias}@gw.test"))).await.unwrap();
        }
        let intake = Intake::new(mail.clone(), host.host()).unwrap();
        Self { door: Arc::new(Door::new(&mail, intake, None)), mail, host }
    }

    fn connect(&self, dialect: Dialect) -> DuplexStream {
        let (client, server) = tokio::io::duplex(64 << 10);
        let peer = match dialect {
            Dialect::Lmtp => Peer::Mta,
            Dialect::Smtp => Peer::Direct { ip: IpAddr::from([127, 0, 0, 1]), helo: String::new() },
        };
        let connection = Connection::new(Box::new(server), dialect, peer, self.door.clone());
        tokio::spawn(connection.run(CancellationToken::new()));
        client
    }

    /// Sends everything at once and reads all answers.
    async fn say(&self, dialect: Dialect, script: &[u8]) -> Vec<String> {
        let (mut answers, mut commands) = tokio::io::split(self.connect(dialect));
        let script = script.to_vec();
        let write = tokio::spawn(async move {
            let _ = commands.write_all(&script).await;
            let _ = commands.write_all(b"QUIT\r\n").await;
            commands
        });
        let mut all = String::new();
        answers.read_to_string(&mut all).await.unwrap();
        drop(write.await);
        all.lines().map(str::to_owned).collect()
    }

    /// One mail by LMTP; the answers after the final dot.
    pub(super) async fn lmtp(&self, from: &str, to: &[&str], mail: &str) -> Vec<String> {
        self.deliver(Dialect::Lmtp, from, to, mail).await
    }

    pub(super) async fn deliver(&self, dialect: Dialect, from: &str, to: &[&str], mail: &str) -> Vec<String> {
        let hello = if dialect == Dialect::Lmtp { "LHLO" } else { "EHLO" };
        let mut script = format!("{hello} mx.test\r\nMAIL FROM:<{from}>\r\n");
        for to in to {
            script.push_str(&format!("RCPT TO:<{to}>\r\n"));
        }
        script.push_str("DATA\r\n");
        script.push_str(&mail.replace("\r\n", "\n").replace('\n', "\r\n").replace("\r\n.", "\r\n.."));
        script.push_str("\r\n.\r\n");
        let lines = self.say(dialect, script.as_bytes()).await;
        let at = lines.iter().position(|l| l.starts_with("354")).unwrap_or_else(|| panic!("no DATA: {lines:?}"));
        lines[at + 1..lines.len() - 1].to_vec()
    }

    pub(super) fn messages(&self) -> Vec<(Inbound, Message)> {
        let message = |i: Inbound| match &i.event {
            Event::Message(m) => Some((i.clone(), (**m).clone())),
            _ => None,
        };
        self.host.accepts().into_iter().filter_map(message).collect()
    }

    pub(super) fn only_message(&self) -> (Inbound, Message) {
        let mut all = self.messages();
        assert_eq!(all.len(), 1, "{all:#?}");
        all.remove(0)
    }

    /// A message that juliet has sent to this address.
    pub(super) async fn sent(&self, to: &str) -> DeliveryKey {
        let to = Address::Contact(ContactId::new(to));
        let event = self.host.outbound(&BareJid::new(JULIET), to, Intent::Send(Box::new(Message::chat("hi"))));
        let key = event.key.clone();
        let delivery = self.host.delivery(event);
        delivery.ticket.sent(Some(format!("{key}@gw.test").into()));
        key
    }
}

const MAIL: &str = "From: Alice <Alice@Example.net>\nTo: juliet@gw.test\nSubject: Dinner\nMessage-ID: <1@example.net>\n\nTonight?\n\n-- \nAlice";

#[tokio::test(start_paused = true)]
async fn a_mail_becomes_a_message() {
    let world = World::new().await;
    assert_eq!(world.lmtp("alice@example.net", &["juliet@gw.test"], MAIL).await, ["250 2.0.0 taken"]);
    let (event, message) = world.only_message();
    assert_eq!(event.to.as_str(), JULIET);
    assert_eq!(event.from, Address::Contact(ContactId::new("alice@example.net")));
    assert_eq!(event.id.unwrap().as_str(), "1@example.net");
    assert_eq!(message.body, "Subject: Dinner\n\nTonight?");
    assert_eq!((message.subject.as_deref(), message.nick.as_deref()), (Some("Dinner"), Some("Alice")));
    assert!(message.thread.is_some() && message.addresses.is_empty() && message.warning.is_none());
    let kept = crate::state::kept_mails(world.host.as_ref(), &BareJid::new(JULIET)).await.unwrap();
    assert!(kept[0].1.text.contains("-- \nAlice"), "the whole text is kept for the command");
}

#[tokio::test(start_paused = true)]
async fn a_conversation_is_one_thread_and_shows_its_subject_once() {
    let world = World::new().await;
    world.lmtp("alice@example.net", &["juliet@gw.test"], MAIL).await;
    let answer = "From: alice@example.net\nSubject: Re: Dinner\nMessage-ID: <2@example.net>\nIn-Reply-To: <1@example.net>\nReferences: <1@example.net>\n\nWell?";
    world.lmtp("alice@example.net", &["juliet@gw.test"], answer).await;
    let changed = "From: alice@example.net\nSubject: Lunch (was: Dinner)\nMessage-ID: <3@example.net>\nReferences: <1@example.net> <lost@x>\n\nOr lunch?";
    world.lmtp("alice@example.net", &["juliet@gw.test"], changed).await;
    let other = "From: alice@example.net\nSubject: Dinner\nMessage-ID: <4@example.net>\n\nSomething else";
    world.lmtp("alice@example.net", &["juliet@gw.test"], other).await;
    let all = world.messages();
    let threads: Vec<_> = all.iter().map(|(_, m)| m.thread.clone().unwrap()).collect();
    assert!(threads[0] == threads[1] && threads[1] == threads[2] && threads[2] != threads[3]);
    let subjects: Vec<_> = all.iter().map(|(_, m)| m.subject.as_deref()).collect();
    assert_eq!(subjects, [Some("Dinner"), None, Some("Lunch (was: Dinner)"), Some("Dinner")]);
    assert!(matches!(&all[1].1.reply_to, Some(MessageRef::Foreign { id, .. }) if id.as_str() == "1@example.net"));
}

#[tokio::test(start_paused = true)]
async fn a_second_try_is_not_delivered_again() {
    let world = World::new().await;
    for trace in ["Received: from a", "Received: from b\nReceived: from a"] {
        let mail = format!("{trace}\n{MAIL}");
        assert_eq!(world.lmtp("alice@example.net", &["juliet@gw.test", "Juliet+x@GW.test"], &mail).await.len(), 2);
    }
    assert_eq!(world.messages().len(), 1);
    world.lmtp("alice@example.net", &["juliet@gw.test"], &MAIL.replace("Tonight", "Tomorrow")).await;
    assert_eq!(world.messages().len(), 2, "the same Message-ID with other words is another mail");
}

#[tokio::test(start_paused = true)]
async fn recipients_are_aliases_tags_administrators_and_the_fixed_form() {
    let world = World::with(json!({"fixed_form": true})).await;
    world.host.add_admin(&BareJid::new("admin@example.org"));
    let script = b"LHLO x\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<juliet@gw.test>\r\nRCPT TO:<Juliet+shop@gw.test>\r\nRCPT TO:<nobody@gw.test>\r\nRCPT TO:<postmaster>\r\nRCPT TO:<abuse@gw.test>\r\nRCPT TO:<tybalt=example.org@gw.test>\r\nRCPT TO:<tybalt=elsewhere.test@gw.test>\r\nRCPT TO:<x@elsewhere.test>\r\nRCPT TO:<a..b@gw.test>\r\n";
    let codes: Vec<String> = world
        .say(Dialect::Lmtp, script)
        .await
        .iter()
        .filter(|l| l.as_bytes()[3] == b' ')
        .skip(2)
        .map(|l| l[..9].to_owned())
        .collect();
    assert_eq!(
        codes,
        [
            "250 2.1.0",
            "250 2.1.5",
            "250 2.1.5",
            "550 5.1.1",
            "250 2.1.5",
            "250 2.1.5",
            "250 2.1.5",
            "550 5.1.1",
            "550 5.7.1",
            "501 5.1.3",
            "221 2.0.0"
        ]
    );
    world.host.bar(&BareJid::new(JULIET));
    let answers = world.say(Dialect::Lmtp, b"LHLO x\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<juliet@gw.test>\r\n").await;
    assert!(answers.contains(&"550 5.1.1 no such person here".to_owned()), "{answers:?}");
}

#[tokio::test]
async fn mail_for_the_postmaster_is_passed_on_where_it_is_wanted_by_mail() {
    let relay = isthmus_testkit::smtp::FakeSmtp::start(Default::default()).await.unwrap();
    let keys =
        json!({"smtp": {"host": "127.0.0.1", "port": relay.address().port()}, "postmaster": ["root@outside.test"]});
    let world = World::with(keys).await;
    world.host.add_admin(&BareJid::new("admin@example.org"));
    assert_eq!(world.lmtp("a@x.test", &["abuse@gw.test"], MAIL).await, ["250 2.0.0 taken"]);
    let passed = relay.wait_for(1).await.unwrap().remove(0);
    assert_eq!((passed.from.as_str(), passed.to[0].0.as_str()), ("a@x.test", "root@outside.test"));
    assert_eq!(world.only_message().0.to.as_str(), "admin@example.org");
    drop(relay);
    assert!(world.lmtp("a@x.test", &["abuse@gw.test"], MAIL).await[0].starts_with("451"));
}

#[tokio::test(start_paused = true)]
async fn a_tag_is_shown() {
    let world = World::new().await;
    world.lmtp("a@x.test", &["juliet+shop@gw.test"], "From: a@x.test\n\nhi").await;
    assert_eq!(world.only_message().1.body, "To: juliet+shop@gw.test\n\nhi");
}

#[tokio::test(start_paused = true)]
async fn lmtp_answers_for_each_recipient_by_itself() {
    let world = World::new().await;
    world.host.refuse(|event| {
        (event.to.as_str() == JULIET).then(|| Refused::Never(DeliveryError::new(Failure::OverQuota, "full")))
    });
    let answers = world.lmtp("a@x.test", &["juliet@gw.test", "romeo@gw.test"], MAIL).await;
    assert_eq!(answers, ["552 5.2.2 the mailbox is over its quota", "250 2.0.0 taken"]);
}

#[tokio::test(start_paused = true)]
async fn smtp_asks_for_another_try_when_any_recipient_needs_one() {
    let world = World::new().await;
    world.host.refuse(|event| (event.to.as_str() == JULIET).then(|| Refused::Later("busy".into())));
    let answers = world.deliver(Dialect::Smtp, "a@x.test", &["juliet@gw.test", "romeo@gw.test"], MAIL).await;
    assert!(answers[0].starts_with("451 4.3.0"), "{answers:?}");
    world.host.refuse(|_| None);
    let answers = world.deliver(Dialect::Smtp, "a@x.test", &["juliet@gw.test", "romeo@gw.test"], MAIL).await;
    assert_eq!(answers, ["250 2.0.0 taken"]);
    assert_eq!(world.messages().len(), 2, "one each");
}

#[tokio::test]
async fn smtp_returns_to_the_sender_what_only_some_recipients_have() {
    let relay = isthmus_testkit::smtp::FakeSmtp::start(Default::default()).await.unwrap();
    let world = World::with(json!({"smtp": {"host": "127.0.0.1", "port": relay.address().port()}})).await;
    world.host.refuse(|event| {
        (event.to.as_str() == JULIET).then(|| Refused::Never(DeliveryError::new(Failure::OverQuota, "full")))
    });
    let both = ["juliet@gw.test", "romeo@gw.test"];
    assert_eq!(world.deliver(Dialect::Smtp, "alice@example.net", &both, MAIL).await, ["250 2.0.0 taken"]);
    let report = relay.wait_for(1).await.unwrap().remove(0);
    assert!(report.to.iter().any(|(to, _)| to.contains("alice@example.net")), "{report:?}");
    assert!(report.from.is_empty() && report.data.contains("juliet@gw.test"), "{report:?}");
    assert!(world.deliver(Dialect::Smtp, "alice@example.net", &both[..1], MAIL).await[0].starts_with("552 5.2.2"));
    // Without a relay nothing is lost either: the client keeps the mail.
    drop(relay);
    assert!(
        world.deliver(Dialect::Smtp, "alice@example.net", &both, &MAIL.replace("<1@", "<2@")).await[0]
            .starts_with("451")
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_taken_while_the_store_is_away() {
    let world = World::new().await;
    let mut client = world.connect(Dialect::Lmtp);
    client.write_all(b"LHLO x\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<juliet@gw.test>\r\nDATA\r\n").await.unwrap();
    read_until(&mut client, "354").await;
    world.host.store_away(true);
    client.write_all(b"From: a@x.test\r\n\r\nhi\r\n.\r\nRCPT TO:<x@gw.test>\r\n").await.unwrap();
    read_until(&mut client, "451 4.3.0").await;
    assert!(world.messages().is_empty());
}

async fn read_until(client: &mut DuplexStream, wanted: &str) -> String {
    let mut all = Vec::new();
    while !String::from_utf8_lossy(&all).contains(wanted) {
        let n = client.read_buf(&mut all).await.unwrap();
        assert!(n > 0, "the connection ended before {wanted}: {}", String::from_utf8_lossy(&all));
    }
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test(start_paused = true)]
async fn a_mail_without_from_is_shown_from_its_envelope_sender() {
    let world = World::new().await;
    assert_eq!(world.lmtp("alice@example.net", &["juliet@gw.test"], "Subject: x\n\nhi").await, ["250 2.0.0 taken"]);
    assert_eq!(world.only_message().0.from, Address::Contact(ContactId::new("alice@example.net")));
    // With neither there is nobody: dropped behind our own server, refused on the open listener.
    assert_eq!(world.lmtp("", &["juliet@gw.test"], "Subject: x\n\nhi").await, ["250 2.0.0 taken"]);
    assert!(
        world.deliver(Dialect::Smtp, "", &["juliet@gw.test"], "Subject: x\n\nhi").await[0].starts_with("554 5.6.0")
    );
    assert_eq!(world.messages().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn header_injection_reaches_no_field_and_no_answer() {
    let world = World::new().await;
    let mail = "From: =?utf-8?q?A=0D=0AX:_y?= <a@x.test>\nSubject: =?utf-8?q?s=0D=0ABcc:_z=00?=\nMessage-ID: <1@x\u{0}y>\n\nhi";
    world.lmtp("a@x.test", &["juliet@gw.test"], mail).await;
    let (_, message) = world.only_message();
    assert_eq!((message.nick.as_deref(), message.subject.as_deref()), (Some("A X: y"), Some("s Bcc: z")));
    assert_eq!(message.body, "Subject: s Bcc: z\n\nhi");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_charset_and_broken_mime_are_delivered() {
    let world = World::new().await;
    world
        .lmtp("a@x.test", &["juliet@gw.test"], "From: a@x.test\nContent-Type: text/plain; charset=x-martian\n\ngrüße")
        .await;
    world
        .lmtp(
            "a@x.test",
            &["juliet@gw.test"],
            "From: a@x.test\nContent-Type: multipart/mixed; boundary=nowhere\n\nall there is",
        )
        .await;
    let bodies: Vec<_> = world.messages().into_iter().map(|(_, m)| m.body).collect();
    assert_eq!(bodies, ["grüße", "all there is"]);
}

#[tokio::test(start_paused = true)]
async fn files_are_kept_before_they_are_named() {
    let world = World::new().await;
    let mail = "From: a@x.test\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nsee\n--b\nContent-Type: application/pdf\nContent-Disposition: attachment; filename=\"../../x.pdf\"\n\nPDF!\n--b--";
    world.lmtp("a@x.test", &["juliet@gw.test", "romeo@gw.test"], mail).await;
    let all = world.messages();
    assert_eq!(all.len(), 2);
    for (_, message) in all {
        let file = &message.files[0];
        assert_eq!(
            (file.media.name.as_deref(), file.media.media_type.as_str(), file.media.size),
            (Some("x.pdf"), "application/pdf", Some(4))
        );
        let FileSource::Blob(blob) = &file.source else { panic!("{file:?}") };
        assert_eq!(blob.as_str(), "blob0", "kept once for all");
    }
}

#[tokio::test(start_paused = true)]
async fn a_loop_is_broken() {
    let world = World::new().await;
    let mail = format!("{}{MAIL}", "Received: from here by there\n".repeat(60));
    assert_eq!(world.lmtp("a@x.test", &["juliet@gw.test"], &mail).await, ["250 2.0.0 taken"]);
    assert!(world.deliver(Dialect::Smtp, "a@x.test", &["juliet@gw.test"], &mail).await[0].starts_with("554 5.4.6"));
    assert!(world.messages().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_over_the_limit_is_refused_and_the_connection_goes_on() {
    let world = World::with(json!({"limits": {"max_size": 100_000}})).await;
    let big = format!("From: a@x.test\n\n{}", ("y".repeat(99) + "\n").repeat(2000));
    let answers = world.lmtp("a@x.test", &["juliet@gw.test", "romeo@gw.test"], &big).await;
    assert_eq!(answers.len(), 2);
    assert!(answers.iter().all(|a| a.starts_with("552 5.3.4")), "{answers:?}");
    assert_eq!(world.lmtp("a@x.test", &["juliet@gw.test"], MAIL).await, ["250 2.0.0 taken"]);
}

#[tokio::test(start_paused = true)]
async fn a_blocked_sender_is_dropped_by_lmtp_and_refused_by_smtp() {
    let world = World::new().await;
    let alice = Address::Contact(ContactId::new("alice@example.net"));
    world.host.block(&BareJid::new(JULIET), &alice, true).await.unwrap();
    assert_eq!(world.lmtp("alice@example.net", &["juliet@gw.test"], MAIL).await, ["250 2.0.0 taken"]);
    assert!(world.deliver(Dialect::Smtp, "a@x.test", &["juliet@gw.test"], MAIL).await[0].starts_with("550 5.7.1"));
    assert!(world.messages().is_empty());
}

#[tokio::test(start_paused = true)]
async fn strangers_are_held_with_a_notice_or_refused_if_the_user_wishes() {
    let world = World::new().await;
    world.host.set_default("strangers", "hold");
    for n in 1..=2 {
        world.lmtp("alice@example.net", &["juliet@gw.test"], &MAIL.replace("<1@", &format!("<{n}@"))).await;
    }
    let all = world.host.accepts();
    assert_eq!(all.len(), 1, "one notice for all that waits: {all:#?}");
    let Event::Notice { actions, .. } = &all[0].event else { panic!("{all:?}") };
    assert_eq!(actions.iter().map(|a| a.0.as_str()).collect::<Vec<_>>(), ["accept", "block"]);
    assert_eq!(actions[0].2.get("contact"), Some("alice@example.net"));
    let waiting = crate::state::held(world.host.as_ref(), &BareJid::new(JULIET), None).await.unwrap();
    assert_eq!(waiting.len(), 2);
    world.host.add_contact(&BareJid::new(JULIET), ContactId::new("bob@example.net"), None);
    world.lmtp("bob@example.net", &["juliet@gw.test"], "From: bob@example.net\n\nhi").await;
    assert_eq!(world.only_message().1.body, "hi");
    world.host.set_default("strangers", "refuse");
    assert_eq!(
        world.lmtp("eve@example.net", &["juliet@gw.test"], "From: eve@example.net\n\nhi").await,
        ["250 2.0.0 taken"]
    );
    assert!(
        world.deliver(Dialect::Smtp, "e@x.test", &["juliet@gw.test"], "From: eve@example.net\n\nhi").await[0]
            .starts_with("550 5.7.1")
    );
    assert_eq!(world.messages().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_dmarc_disowns_is_marked_quarantined_or_refused() {
    let world = World::new().await;
    let mail = |results: &str| format!("Authentication-Results: {results}\n{MAIL}");
    world.lmtp("a@x.test", &["juliet@gw.test"], &mail("mx.test; dmarc=fail (p=none)")).await;
    let (_, message) = world.only_message();
    assert!(message.warning.is_some_and(|w| w.to_string().contains("sender-not-verified")));
    let forged = mail("mx.test; dmarc=fail (p=reject)").replace("<1@", "<2@");
    assert_eq!(world.lmtp("a@x.test", &["juliet@gw.test"], &forged).await, ["250 2.0.0 taken"]);
    assert_eq!(world.messages().len(), 1);
    assert_eq!(
        crate::state::held(world.host.as_ref(), &BareJid::new(JULIET), None).await.unwrap().len(),
        1,
        "quarantined"
    );
}

#[tokio::test(start_paused = true)]
async fn spam_is_marked_dropped_or_refused_by_configuration() {
    let spam = format!("X-Spam-Flag: yes\n{MAIL}");
    let world = World::new().await;
    world.lmtp("a@x.test", &["juliet@gw.test"], &spam).await;
    assert!(world.only_message().1.warning.is_some());
    for (action, refused) in [("drop", false), ("refuse", true)] {
        let world = World::with(json!({"spam": {"action": action}})).await;
        assert_eq!(world.lmtp("a@x.test", &["juliet@gw.test"], &spam).await, ["250 2.0.0 taken"]);
        let answer = world.deliver(Dialect::Smtp, "a@x.test", &["juliet@gw.test"], &spam).await;
        assert_eq!(answer[0].starts_with("550"), refused, "{answer:?}");
        assert!(world.messages().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_mail_is_cut_with_the_rest_on_request() {
    let world = World::new().await;
    world.host.set_default("max_text", "300");
    world.lmtp("a@x.test", &["juliet@gw.test"], &format!("From: a@x.test\n\n{}", "word ".repeat(200))).await;
    let (_, message) = world.only_message();
    assert!(message.body.len() <= 300);
    let notice = world.host.accepts().into_iter().find_map(|i| match i.event {
        Event::Notice { actions, .. } => Some(actions),
        _ => None,
    });
    let (node, _, values) = notice.unwrap().remove(0);
    let kept = crate::state::kept_mails(world.host.as_ref(), &BareJid::new(JULIET)).await.unwrap();
    assert_eq!((node.as_str(), values.get("mail")), ("full", Some(kept[0].0.as_str())));
    assert_eq!(kept[0].1.text.len(), 999);
}

#[tokio::test(start_paused = true)]
async fn everybody_else_is_passed_on() {
    let world = World::new().await;
    let mail = "From: alice@example.net\nTo: juliet@gw.test, Bob <bob@example.net>\nCc: carol@example.net\n\nhi";
    world.lmtp("alice@example.net", &["juliet@gw.test"], mail).await;
    let (_, message) = world.only_message();
    let shown: Vec<_> =
        message.addresses.iter().map(|(k, a, n)| (format!("{k:?}"), format!("{a:?}"), n.clone())).collect();
    assert_eq!(shown.len(), 2, "{shown:?}");
    assert_eq!((shown[0].0.as_str(), shown[0].2.as_deref(), shown[1].0.as_str()), ("To", Some("Bob"), "Cc"));
    let chain = crate::state::chain(world.host.as_ref(), &BareJid::new(JULIET), message.thread.as_deref().unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(chain.others.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn mail_of_a_list_is_seen_from_the_list_if_the_user_wishes_and_the_list_has_signed_it() {
    let world = World::new().await;
    let mail = "From: alice@example.net\nList-Id: <l.example.net>\nList-Post: <mailto:list@lists.example.net>\n\nhi";
    let signed = |by: &str| format!("Authentication-Results: mx.test; dkim=pass header.d={by}\n{mail} from {by}");
    world.lmtp("l-bounces@example.net", &["juliet@gw.test"], &signed("example.net")).await;
    world.host.set_default("lists", "list");
    for by in ["example.net", "evil.test", "net.evil.test"] {
        world.lmtp("l-bounces@example.net", &["romeo@gw.test"], &signed(by)).await;
    }
    world.lmtp("l-bounces@example.net", &["romeo@gw.test"], mail).await;
    let from: Vec<_> = world.messages().into_iter().map(|(event, _)| event.from).collect();
    let wanted = ["alice@", "list@lists.", "alice@", "alice@", "alice@"].map(|at| format!("{at}example.net"));
    assert_eq!(from, wanted.map(|c| Address::Contact(ContactId::new(c))));
    // Blocked is who wrote as well as the list.
    world.host.block(&BareJid::new("romeo@montague.lit"), &from[0], true).await.unwrap();
    world.lmtp("l-bounces@example.net", &["romeo@gw.test"], &signed("example.net").replace("hi", "again")).await;
    assert_eq!(world.messages().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn one_sender_gets_through_so_often_an_hour() {
    let world = World::with(json!({"limits": {"contact_per_hour": 3}})).await;
    let mut answers = Vec::new();
    for n in 0..5 {
        answers.extend(world.lmtp("a@x.test", &["juliet@gw.test"], &format!("From: a@x.test\n\nmail {n}")).await);
    }
    assert_eq!(answers.iter().filter(|a| a.starts_with("250")).count(), 3);
    assert!(answers[4].starts_with("452 4.2.2"), "{answers:?}");
    assert_eq!(world.lmtp("b@x.test", &["juliet@gw.test"], "From: b@x.test\n\nhi").await, ["250 2.0.0 taken"]);
}

fn report(to: &str, id: &str, action: &str, status: &str) -> String {
    format!(
        "From: MAILER-DAEMON@mx.test\nAuto-Submitted: auto-replied\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\n\nsorry\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.test\n\nFinal-Recipient: rfc822; {to}\nAction: {action}\nStatus: {status}\nDiagnostic-Code: smtp; 550 no\n--b\nContent-Type: text/rfc822-headers\n\nMessage-ID: <{id}>\n--b--"
    )
}

#[tokio::test(start_paused = true)]
async fn a_bounce_becomes_the_failure_of_its_message() {
    let world = World::new().await;
    let key = world.sent("bob@x.test").await;
    let bounce = crate::envelope::sender(world.host.as_ref(), &key, &ContactId::new("bob@x.test"), "gw.test");
    for (action, status) in [("delayed", "4.4.1"), ("failed", "5.1.1"), ("relayed", "2.0.0"), ("delivered", "2.0.0")] {
        let mail = report("bob@x.test", "whatever@x", action, status);
        assert_eq!(
            world.lmtp("", &[&bounce.to_uppercase().replace("GW.TEST", "gw.test")], &mail).await,
            ["250 2.0.0 taken"]
        );
    }
    let told = world.host.told();
    assert_eq!(told.len(), 3);
    assert!(
        told.iter().all(|t| t.of == MessageRef::Key(key.clone()) && t.leg == Some(ContactId::new("bob@x.test"))),
        "{told:?}"
    );
    assert!(
        matches!((&told[0].what, &told[1].what, &told[2].what), (Late::Delayed(_), Late::Failed(e), Late::Delivered) if e.failure == Failure::NoSuchRecipient)
    );
    assert!(world.host.accepts().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_forged_bounce_is_ignored() {
    let world = World::new().await;
    let key = world.sent("bob@x.test").await;
    let genuine = crate::envelope::sender(world.host.as_ref(), &key, &ContactId::new("bob@x.test"), "gw.test");
    let last = genuine.find('@').unwrap() - 1;
    let mut forged = genuine.clone();
    forged.replace_range(last..=last, if genuine.as_bytes()[last] == b'0' { "1" } else { "0" });
    let mail = report("bob@x.test", "x@x", "failed", "5.1.1");
    assert_eq!(world.lmtp("", &[&forged], &mail).await, ["250 2.0.0 taken"], "our own server must not bounce it");
    let answers =
        world.say(Dialect::Smtp, format!("EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<{forged}>\r\n").as_bytes()).await;
    assert!(answers.iter().any(|a| a.starts_with("550 5.1.1")), "{answers:?}");
    // To the user's own address, about a mail that was never sent, or that somebody else sent.
    world.lmtp("", &["juliet@gw.test"], &report("bob@x.test", "never@gw.test", "failed", "5.1.1")).await;
    world.lmtp("", &["romeo@gw.test"], &report("bob@x.test", &format!("{key}@gw.test"), "failed", "5.1.1")).await;
    assert!(world.host.told().is_empty() && world.host.accepts().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_disposition_is_a_displayed_marker_and_a_vacation_answer_a_message() {
    let world = World::new().await;
    let key = world.sent("bob@x.test").await;
    let mdn = format!(
        "From: bob@x.test\nContent-Type: multipart/report; report-type=disposition-notification; boundary=b\n\n--b\n\nread\n--b\nContent-Type: message/disposition-notification\n\nFinal-Recipient: rfc822; bob@x.test\nOriginal-Message-ID: <{key}@gw.test>\nDisposition: manual-action/MDN-sent-manually; displayed\n--b--"
    );
    world.lmtp("bob@x.test", &["juliet@gw.test"], &mdn).await;
    assert!(matches!(world.host.told()[..], [isthmus_bridge::suite::Told { what: Late::Displayed, .. }]));
    let bounce = crate::envelope::sender(world.host.as_ref(), &key, &ContactId::new("bob@x.test"), "gw.test");
    world
        .lmtp(
            "",
            &[&bounce],
            "From: bob@x.test\nSubject: Out of office\nAuto-Submitted: auto-replied\n\nBack on Monday",
        )
        .await;
    assert!(world.only_message().1.body.contains("Back on Monday"));
    world.lmtp("", &[&bounce], "From: MAILER-DAEMON@x.test\nSubject: failure notice\n\nno mailbox here").await;
    assert!(matches!(world.host.told()[1].what, Late::Failed(_)));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_drips_is_cut_off_in_time() {
    let world = World::new().await;
    for (begin, drip, most) in [
        ("", "N", Duration::from_secs(300)),
        ("LHLO x\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<juliet@gw.test>\r\nDATA\r\n", "x\r\n", MAIL_TIME),
    ] {
        let started = Instant::now();
        let (mut answers, mut commands) = tokio::io::split(world.connect(Dialect::Lmtp));
        commands.write_all(begin.as_bytes()).await.unwrap();
        let writer = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(20)).await;
                if commands.write_all(drip.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
        let mut all = String::new();
        answers.read_to_string(&mut all).await.unwrap();
        assert!(all.ends_with("421 4.4.2 too slow\r\n"), "{all}");
        assert!(started.elapsed() <= most + Duration::from_secs(30), "{:?}", started.elapsed());
        writer.abort();
    }
    // A client that says nothing at all.
    let started = Instant::now();
    let mut all = String::new();
    world.connect(Dialect::Smtp).read_to_string(&mut all).await.unwrap();
    assert!(all.contains("421 4.4.2") && started.elapsed() <= Duration::from_secs(310));
}

#[tokio::test(start_paused = true)]
async fn unfinished_mails_have_a_budget_together() {
    let world = World::new().await;
    let all = world.door.budget.available_permits();
    let taken = world.door.budget.clone().try_acquire_many_owned(u32::try_from(all - 2).unwrap()).unwrap();
    let mut client = world.connect(Dialect::Lmtp);
    client.write_all(b"LHLO x\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<juliet@gw.test>\r\nDATA\r\n").await.unwrap();
    read_until(&mut client, "354").await;
    let (mut answers, mut commands) = tokio::io::split(client);
    tokio::spawn(async move { commands.write_all(&vec![b'x'; 1 << 20]).await });
    let mut text = String::new();
    answers.read_to_string(&mut text).await.unwrap();
    assert!(text.contains("421 4.3.1"), "{text}");
    drop(taken);
    assert_eq!(world.door.budget.available_permits(), all);
}
