//! What people and administrators do with the gateway itself: questions by chat, subscriptions as the network wants them, blocks, what waits, operation.

use std::time::Duration;

use isthmus_testkit::isthmus::Setup;
use isthmus_testkit::ports::Port;
use isthmus_testkit::server::{Flavour, Options, XmppServer, secret};
use isthmus_testkit::slix::SlixClient;
use isthmus_testkit::xml::Element;

use crate::flows::{run, step};
use crate::inside::{Inside, LOOP};
use crate::link::Link;
use crate::people::{check_says, contact, presence, talk};
use crate::register::{register, submit};
use crate::world::World;

crate::on_both!(
    a_question_by_chat_is_asked_again_gone_back_from_and_its_secret_not_repeated,
    a_client_without_forms_registers_by_plain_fields,
    a_subscription_is_answered_by_the_networks_rule,
    whom_a_user_blocks_by_command_is_silent_until_unblocked,
    what_waits_is_shown_with_its_reason_and_tried_at_once,
    administrators_see_links_announce_and_operate,
    every_network_says_what_it_is,
    pictures_are_told_only_to_who_asks_for_them,
    secrets_are_sealed_on_disk,
    a_quota_of_all_users_together_is_told_with_its_time,
    messages_of_a_day_have_a_limit_and_its_time_is_told,
    storage_of_all_together_is_told_with_its_time,
    grants_that_end_with_another_connection_are_missed_at_the_next_use,
);

/// The mail gateway with nothing behind it: all mail waits.
async fn mail(flavour: Flavour) -> World {
    let lmtp = Port::take().unwrap();
    let keys = format!(
        "mail_domain = \"gw.test\"\n[smtp]\nhost = \"127.0.0.1\"\nport = 1\n[listen]\nlmtp = \"{}\"\n",
        lmtp.address()
    );
    World::with(flavour, |setup: Setup| {
        setup.admin("carol@localhost").bridge("email", "email", "email.localhost", &keys)
    })
    .await
}

async fn a_question_by_chat_is_asked_again_gone_back_from_and_its_secret_not_repeated(flavour: Flavour) {
    let mut world = Inside::start(flavour, "").await;
    let mut alice = world.client("alice", "desk").await;
    // An answer that is none: the reason, and the question again.
    let wrong = talk(&mut alice, &["contacts", "fly"]).await;
    assert!(wrong.contains("1. List") && wrong.lines().count() > 2, "{wrong}");
    let back = talk(&mut alice, &["add", "back"]).await;
    assert!(back.contains("1. List"), "back at the first question: {back}");
    talk(&mut alice, &["cancel"]).await;
    // Settings of a network, question by question; what is set is shown, a password never.
    let mut asked = talk(&mut alice, &["configure loop"]).await;
    let mut seen = 0;
    for _ in 0..20 {
        if asked.contains("Password") {
            seen += 1;
            asked = talk(&mut alice, &["xyzzy"]).await;
        } else if asked.contains("Nick") {
            asked = talk(&mut alice, &["al"]).await;
        } else if asked.contains('(') {
            asked = talk(&mut alice, &["ok"]).await;
        } else {
            break;
        }
    }
    assert_eq!(seen, 1, "{asked}");
    let again = talk(&mut alice, &["configure loop"]).await;
    let mut all = again.clone();
    for _ in 0..20 {
        if !all.contains("Password") {
            all += &talk(&mut alice, &["ok"]).await;
        }
    }
    assert!(all.contains("Now: al") && all.contains("Password") && !all.contains("xyzzy"), "{all}");
    talk(&mut alice, &["cancel"]).await;
    world.stop().await;
}

async fn a_client_without_forms_registers_by_plain_fields(flavour: Flavour) {
    let mut world = mail(flavour).await;
    let mut alice = world.client("alice").await;
    let offer = alice.ask("email.localhost", "get", "<query xmlns='jabber:iq:register'/>").await.unwrap();
    let query = offer.child("query").unwrap();
    assert!(query.child("username").is_some() && query.child("instructions").is_some(), "{offer}");
    let wrong = "<query xmlns='jabber:iq:register'><username>not an alias</username></query>";
    let wrong = alice.ask("email.localhost", "set", wrong).await.unwrap();
    assert_eq!(wrong.error().as_deref(), Some("modify/not-acceptable"), "{wrong}");
    let filled = "<query xmlns='jabber:iq:register'><username>alice</username></query>";
    let done = alice.ask("email.localhost", "set", filled).await.unwrap();
    assert_eq!(done.attr("type"), Some("result"), "{done}");
    alice.find("the gateway asks", presence("email.localhost", Some("subscribe"))).await.unwrap();
    let again = alice.ask("email.localhost", "get", "<query xmlns='jabber:iq:register'/>").await.unwrap();
    let query = again.child("query").unwrap();
    let name = query.child("username").map(|name| name.text.as_str());
    assert!(query.child("registered").is_some() && name == Some("alice"), "{again}");
    // By command the same, and by chat; then gone by chat.
    let done = step(&mut alice, "email.localhost", "unregister", None, "").await;
    let session = done.attr("sessionid").unwrap().to_owned();
    let sure = submit(done.child("x").unwrap(), &[("sure", "1")]).unwrap();
    let done = step(&mut alice, "email.localhost", "unregister", Some(&session), &sure).await;
    assert_eq!(done.attr("status"), Some("completed"), "{done}");
    let by_form = run(&mut alice, "email.localhost", "register", &[("alias", "alice")]).await;
    assert_eq!(by_form.attr("status"), Some("completed"), "{by_form}");
    world.gateway.stop().await.unwrap();
}

async fn a_subscription_is_answered_by_the_networks_rule(flavour: Flavour) {
    for rule in ["ask", "accept", "refuse"] {
        let mut world = Inside::start(flavour, &format!("contacts = \"{rule}\"\n")).await;
        let mut alice = world.client("alice", "desk").await;
        let (ann, shy) = (contact("ann"), contact("shy"));
        for who in [&ann, &shy] {
            alice.send(format!("<presence type='subscribe' to='{who}'/>")).await.unwrap();
        }
        let refused = match rule {
            "refuse" => vec![(&ann, "Presence is not told here."), (&shy, "Presence is not told here.")],
            "ask" => vec![(&shy, "Nobody sees my presence.")],
            _ => Vec::new(),
        };
        for (who, words) in &refused {
            let no = alice.find("a refusal", presence(who, Some("unsubscribed"))).await.unwrap();
            // Prosody hands the stanza to the client as it came; ejabberd makes a push of it.
            assert!(flavour == Flavour::Ejabberd || no.to_string().contains(words), "{no}");
        }
        for who in [&ann, &shy] {
            let again = format!("<presence type='probe' to='{who}'/>");
            if refused.iter().any(|(no, _)| *no == who) {
                let shown = alice.find_within(Duration::from_millis(500), presence(who, None)).await.unwrap();
                assert!(shown.is_none(), "{shown:?}, {again}");
            } else {
                alice.find("the contact's presence", presence(who, None)).await.unwrap();
            }
        }
        world.stop().await;
    }
}

async fn whom_a_user_blocks_by_command_is_silent_until_unblocked(flavour: Flavour) {
    let mut world = Inside::start(flavour, "").await;
    let (mut alice, mut bob) = (world.client("alice", "desk").await, world.client("bob", "desk").await);
    let ann = contact("ann");
    for client in [&mut alice, &mut bob] {
        client.send(format!("<presence type='subscribe' to='{ann}'/>")).await.unwrap();
        client.find("her presence", presence(&ann, None)).await.unwrap();
    }
    let said = talk(&mut alice, &["contacts block", "ann%loop"]).await;
    assert!(said.contains("is blocked"), "{said}");
    alice.find("she leaves", presence(&ann, Some("unavailable"))).await.unwrap();
    let id = alice.message(&ann, "hello").await.unwrap();
    let refused = alice.find("a refusal", |s| s.name == "message" && s.attr("id") == Some(&id)).await.unwrap();
    assert_eq!(refused.error().as_deref(), Some("modify/not-acceptable"), "{refused}");
    assert!(talk(&mut alice, &["contacts list"]).await.contains('⛔'));
    // It is her block alone, and holds after a restart.
    bob.message(&ann, "from bob").await.unwrap();
    bob.body("from bob").await.unwrap();
    world.stop().await;
    world.launch().await;
    let id = alice.message(&ann, "hello again").await.unwrap();
    let refused = alice.find("a refusal", |s| s.name == "message" && s.attr("id") == Some(&id)).await.unwrap();
    assert_eq!(refused.error().as_deref(), Some("modify/not-acceptable"), "{refused}");
    alice.drain();
    talk(&mut alice, &["contacts unblock", "ann%loop"]).await;
    alice.message(&ann, "there you are").await.unwrap();
    alice.body("there you are").await.unwrap();
    world.stop().await;
}

async fn what_waits_is_shown_with_its_reason_and_tried_at_once(flavour: Flavour) {
    let mut world = mail(flavour).await;
    let mut alice = world.client("alice").await;
    register(&mut alice, "email.localhost", "alice").await.unwrap();
    let words = [("join_seconds", "0")];
    crate::register::configure(&mut alice, "email.localhost", &words).await.unwrap();
    alice.message("dave\\40outside.test@email.localhost", "hello").await.unwrap();
    let choice = |form: &Element| {
        let field = form.children.iter().find(|field| field.attr("var") == Some("events"))?;
        let option = field.children.iter().find(|c| c.name == "option")?;
        Some((option.attr("label")?.to_owned(), option.child("value")?.text.clone()))
    };
    for (client, node) in [("alice", "queue"), ("carol", "queue-all")] {
        let mut client = world.client(client).await;
        let mut shown = step(&mut client, "email.localhost", node, None, "").await;
        for _ in 0..100 {
            // Until it was tried once.
            if shown.child("x").and_then(choice).is_some_and(|(label, _)| label.contains("cannot be reached")) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            shown = step(&mut client, "email.localhost", node, None, "").await;
        }
        let session = shown.attr("sessionid").unwrap().to_owned();
        let form = shown.child("x").unwrap_or_else(|| panic!("{node}: {shown}")).clone();
        let (label, event) = choice(&form).unwrap_or_else(|| panic!("{node}: {form}"));
        assert!(label.contains("dave@outside.test") && label.contains("cannot be reached"), "whom, and why: {label}");
        assert!(node == "queue" || label.contains("alice@localhost"), "whose: {label}");
        let filled = submit(&form, &[("events", &event), ("do", "retry")]).unwrap();
        let done = step(&mut client, "email.localhost", node, Some(&session), &filled).await.to_string();
        assert!(done.contains("completed") && !done.contains("error"), "{done}");
    }
    world.gateway.stop().await.unwrap();
}

async fn administrators_see_links_announce_and_operate(flavour: Flavour) {
    let mut world = mail(flavour).await;
    let gateway = "email.localhost";
    let (mut alice, mut carol) = (world.client("alice").await, world.client("carol").await);
    register(&mut alice, gateway, "alice").await.unwrap();
    for node in ["users", "status", "queue-all", "announce", "access", "log-level", "audit", "reload", "rotate-key"] {
        let no = format!("<command xmlns='http://jabber.org/protocol/commands' node='{node}'/>");
        let no = alice.ask(gateway, "set", &no).await.unwrap();
        assert_eq!(no.error().as_deref(), Some("cancel/forbidden"), "{node}: {no}");
        assert!(talk_to(&mut alice, gateway, node).await.contains("administrators"), "{node} by chat");
    }
    let status = run(&mut carol, gateway, "status", &[]).await.to_string();
    assert!(status.contains(gateway) && status.contains("attached"), "{status}");
    let users = run(&mut carol, gateway, "users", &[("do", "list")]).await.to_string();
    assert!(users.contains("alice@localhost"), "{users}");
    run(&mut carol, gateway, "announce", &[("words", "Closed tonight.")]).await;
    let told = alice.body("Closed tonight.").await.unwrap();
    assert_eq!(told.attr("from"), Some(gateway), "{told}");
    let version = talk_to(&mut carol, gateway, "version").await;
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    run(&mut carol, gateway, "log-level", &[("filter", "isthmus=debug")]).await;
    let bad = run_form(&mut carol, gateway, "log-level", &[("filter", "=[")]).await;
    assert_eq!(bad.attr("status"), Some("executing"), "asked again: {bad}");
    let reloaded = run(&mut carol, gateway, "reload", &[]).await.to_string();
    assert!(reloaded.contains("1 bridges") || reloaded.contains("completed"), "{reloaded}");
    // A user by command: added with what the form needs by acting for them, and removed.
    run(
        &mut carol,
        gateway,
        "users",
        &[("do", "act"), ("user", "bob@localhost"), ("command", "register"), ("alias", "bob")],
    )
    .await;
    let users = talk_to(&mut carol, gateway, "users list").await;
    assert!(users.contains("bob@localhost"), "{users}");
    run(&mut carol, gateway, "users", &[("do", "remove"), ("user", "alice@localhost")]).await;
    let after = alice.ask(gateway, "get", "<query xmlns='jabber:iq:register'/>").await.unwrap();
    assert!(after.child("query").is_some_and(|query| query.child("registered").is_none()), "{after}");
    let users = talk_to(&mut carol, gateway, "users list").await;
    assert!(!users.contains("alice@localhost"), "{users}");
    world.gateway.stop().await.unwrap();
}

/// Says something to a gateway; gives its answer.
async fn talk_to(client: &mut SlixClient, gateway: &str, words: &str) -> String {
    client.message(gateway, words).await.unwrap();
    let is = |s: &Element| s.name == "message" && s.body().is_some() && s.attr("from") == Some(gateway);
    client.find("an answer", is).await.unwrap().body().unwrap_or_default().to_owned()
}

/// The first form of a command, filled in so; what comes then.
async fn run_form(client: &mut SlixClient, to: &str, node: &str, fields: &[(&str, &str)]) -> Element {
    let first = step(client, to, node, None, "").await;
    let session = first.attr("sessionid").unwrap().to_owned();
    let filled = submit(first.child("x").unwrap(), fields).unwrap();
    step(client, to, node, Some(&session), &filled).await
}

/// A provider at which nothing answers.
const SMS: &str = "country = \"US\"\nprovider = \"providers/kannel.toml\"\n[credentials]\nusername = \"u\"\npassword = \"p\"\n\
                   webhook_secret = \"s3cret\"\nurl = \"http://127.0.0.1:1/\"\n[[numbers]]\nnumber = \"+15550001111\"\nuser = \"alice@localhost\"\n";

async fn every_network_says_what_it_is(flavour: Flavour) {
    let lmtp = Port::take().unwrap();
    let mail = format!(
        "mail_domain = \"gw.test\"\n[smtp]\nhost = \"127.0.0.1\"\nport = 1\n[listen]\nlmtp = \"{}\"\n",
        lmtp.address()
    );
    let options = Options {
        components: ["irc.localhost", "email.localhost", "sms.localhost"].map(str::to_owned).to_vec(),
        ..Options::default()
    };
    let setup = |setup: Setup| {
        setup.bridge("irc", "irc", "irc.localhost", "").bridge("sms", "sms", "sms.localhost", SMS).bridge(
            "email",
            "email",
            "email.localhost",
            &mail,
        )
    };
    let mut world = World::serving(flavour, options, setup).await;
    let mut alice = world.client("alice").await;
    let rows: [(&str, &[(&str, &str)]); 2] =
        [("irc.localhost", &[("gateway", "irc"), ("conference", "irc")]), ("email.localhost", &[("gateway", "smtp")])];
    for (gateway, identities) in rows {
        let info = alice.ask(gateway, "get", "<query xmlns='http://jabber.org/protocol/disco#info'/>").await.unwrap();
        let query = info.child("query").unwrap();
        let told: Vec<_> = query
            .children
            .iter()
            .filter(|c| c.name == "identity")
            .map(|i| (i.attr("category").unwrap_or_default(), i.attr("type").unwrap_or_default()))
            .collect();
        for identity in identities {
            assert!(told.contains(identity), "{gateway}: {info}");
        }
        assert!(identities.len() == 2 || told.iter().all(|(category, _)| *category != "conference"), "{info}");
        // Every feature that is a question by itself is answered.
        let questions = [
            ("jabber:iq:version", "<query xmlns='jabber:iq:version'/>"),
            ("jabber:iq:last", "<query xmlns='jabber:iq:last'/>"),
            ("jabber:iq:gateway", "<query xmlns='jabber:iq:gateway'/>"),
            ("jabber:iq:register", "<query xmlns='jabber:iq:register'/>"),
            ("jabber:iq:search", "<query xmlns='jabber:iq:search'/>"),
            ("urn:xmpp:time", "<time xmlns='urn:xmpp:time'/>"),
            ("urn:xmpp:ping", "<ping xmlns='urn:xmpp:ping'/>"),
            ("vcard-temp", "<vCard xmlns='vcard-temp'/>"),
            ("urn:ietf:params:xml:ns:vcard-4.0", "<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'/>"),
        ];
        for (feature, question) in questions {
            let announced = query.children.iter().any(|c| c.name == "feature" && c.attr("var") == Some(feature));
            let answer = alice.ask(gateway, "get", question).await.unwrap();
            let unserved = answer.error().is_some_and(|e| e.contains("service-unavailable"));
            assert_eq!(announced, !unserved, "{gateway}, {feature}: {answer}");
        }
    }
    world.gateway.stop().await.unwrap();
}

async fn pictures_are_told_only_to_who_asks_for_them(flavour: Flavour) {
    let mut world = Inside::start(flavour, "").await;
    let (mut desk, mut phone) = (world.client("alice", "desk").await, world.client("alice", "phone").await);
    desk.feature("urn:xmpp:avatar:metadata+notify").await.unwrap();
    let face = contact("face");
    desk.send(format!("<presence type='subscribe' to='{face}'/>")).await.unwrap();
    desk.find("its presence", presence(&face, None)).await.unwrap();
    desk.message(&face, "show").await.unwrap();
    let event = |s: &Element| s.name == "message" && s.child("event").is_some();
    desk.find("an event", event).await.unwrap();
    let with = |s: &Element| presence(&face, None)(s) && s.walk().any(|e| e.name == "photo" && !e.text.is_empty());
    phone.find("the presence with its hash", with).await.unwrap();
    assert!(phone.find_within(Duration::from_secs(1), event).await.unwrap().is_none(), "nobody asked for it");
    world.stop().await;
}

async fn secrets_are_sealed_on_disk(flavour: Flavour) {
    let mut world = Inside::start(flavour, "").await;
    let mut alice = world.client("alice", "desk").await;
    run(&mut alice, &format!("loop@{LOOP}"), "configure", &[("password", "xyzzy-plugh"), ("nick", "plain-to-see")])
        .await;
    let export = run(&mut alice, LOOP, "export", &[]).await.to_string();
    assert!(export.contains("plain-to-see") && !export.contains("xyzzy-plugh"), "{export}");
    world.stop().await;
    assert!(world.holds("plain-to-see"), "the search finds what is there");
    assert!(!world.holds("xyzzy-plugh"), "a password stands on disk");
}

async fn a_quota_of_all_users_together_is_told_with_its_time(flavour: Flavour) {
    let mut world = Inside::with(flavour, "", "[access]\ntotal_messages_per_minute = 3\n", |_| {}).await;
    let (mut alice, mut bob) = (world.client("alice", "desk").await, world.client("bob", "desk").await);
    for number in 0..3 {
        let client = if number == 1 { &mut bob } else { &mut alice };
        client.message(&contact("ann"), &format!("number {number}")).await.unwrap();
        client.body(&format!("number {number}")).await.unwrap();
    }
    let id = bob.message(&contact("ann"), "one too many").await.unwrap();
    let refused = bob.find("a refusal", |s| s.name == "message" && s.attr("id") == Some(&id)).await.unwrap();
    assert_eq!(refused.error().as_deref(), Some("wait/policy-violation"), "{refused}");
    assert!(refused.to_string().contains(" seconds"), "the time is named: {refused}");
    world.stop().await;
}

async fn messages_of_a_day_have_a_limit_and_its_time_is_told(flavour: Flavour) {
    let mut world = Inside::with(flavour, "", "[access]\nmessages_per_day = 2\n", |_| {}).await;
    let (mut alice, mut bob) = (world.client("alice", "desk").await, world.client("bob", "desk").await);
    for words in ["first", "second"] {
        alice.message(&contact("ann"), words).await.unwrap();
        alice.body(words).await.unwrap();
    }
    let id = alice.message(&contact("ann"), "one too many").await.unwrap();
    let refused = alice.find("a refusal", |s| s.name == "message" && s.attr("id") == Some(&id)).await.unwrap();
    assert_eq!(refused.error().as_deref(), Some("wait/policy-violation"), "{refused}");
    let text = refused.to_string();
    let seconds = text.split(" seconds").next().and_then(|t| t.rsplit(' ').next()).and_then(|n| n.parse::<u64>().ok());
    assert!(seconds.is_some_and(|n| n > 3_600 && n <= 24 * 3_600), "the time is named: {refused}");
    // It is alice's own.
    bob.message(&contact("ann"), "from bob").await.unwrap();
    bob.body("from bob").await.unwrap();
    world.stop().await;
}

async fn storage_of_all_together_is_told_with_its_time(flavour: Flavour) {
    let lmtp = Port::take().unwrap();
    // Nothing answers at that port: all mail waits.
    let keys = format!(
        "mail_domain = \"gw.test\"\n[smtp]\nhost = \"127.0.0.1\"\nport = 1\n[listen]\nlmtp = \"{}\"\n",
        lmtp.address()
    );
    let access = "[access]\ntotal_storage = \"16 KiB\"\n";
    let setup = |setup: Setup| setup.top(access).bridge("email", "email", "email.localhost", &keys);
    let mut world = World::with(flavour, setup).await;
    let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
    register(&mut alice, "email.localhost", "alice").await.unwrap();
    register(&mut bob, "email.localhost", "bob").await.unwrap();
    let nurse = "nurse\\40outside.test@email.localhost";
    let long = "Tell me more. ".repeat(800);
    let first = alice.message(nurse, &long).await.unwrap();
    let error = |s: &Element| s.attr("id") == Some(&first) && s.name == "message";
    assert!(alice.find_within(Duration::from_secs(1), error).await.unwrap().is_none(), "the first is taken");
    let id = bob.message(nurse, &long).await.unwrap();
    let refused = bob.find("a refusal", |s| s.name == "message" && s.attr("id") == Some(&id)).await.unwrap();
    assert_eq!(refused.error().as_deref(), Some("wait/resource-constraint"), "{refused}");
    assert!(refused.to_string().contains("at 20"), "the time is named: {refused}");
    world.gateway.stop().await.unwrap();
}

/// On ejabberd the end of any connection of a component takes the grants from all of them; nobody is told.
async fn grants_that_end_with_another_connection_are_missed_at_the_next_use(flavour: Flavour) {
    const ECHO: &str = "echo.localhost";
    let options = Options { components: vec![ECHO.to_owned()], ..Options::default() };
    let server = XmppServer::start(flavour, options).await.unwrap();
    let gateway = Setup::new(env!("CARGO_BIN_EXE_isthmus"), server.component()).echo().start().await.unwrap();
    check_says(&gateway, "localhost grants roster: both").await;
    let mut alice = SlixClient::online(&server, "alice@localhost/desk").await.unwrap();
    let roster = "<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>";
    alice.send(roster.to_owned()).await.unwrap();
    alice.answer("roster").await.unwrap();
    let mut other = Link::start(&server, ECHO, &secret(ECHO));
    match flavour {
        // A second connection is a conflict there, and takes nothing from the first.
        Flavour::Prosody => drop(other),
        Flavour::Ejabberd => {
            other.attached().await.unwrap();
            other.stopped().await.unwrap();
            // For a moment the server may still give stanzas to the connection that is gone.
            let mut there = false;
            for number in 0..20 {
                let ping = format!("<iq type='get' id='there{number}' to='{ECHO}'><ping xmlns='urn:xmpp:ping'/></iq>");
                alice.send(ping).await.unwrap();
                let answer = |s: &Element| s.attr("id") == Some(&format!("there{number}"));
                there = alice.find_within(Duration::from_secs(3), answer).await.unwrap().is_some();
                if there {
                    break;
                }
            }
            assert!(there, "the gateway is not reached any more");
        }
    }
    let add = "<command xmlns='http://jabber.org/protocol/commands' node='contacts'/>";
    assert_eq!(alice.ask(ECHO, "set", add).await.unwrap().attr("type"), Some("result"));
    run(&mut alice, ECHO, "contacts", &[("do", "add"), ("address", "zoe"), ("name", "Zoe")]).await;
    let zoe = format!("zoe@{ECHO}");
    match flavour {
        Flavour::Prosody => {
            let push = |s: &Element| s.name == "iq" && s.attr("type") == Some("set") && s.to_string().contains(&zoe);
            alice.find("a push", push).await.unwrap();
            check_says(&gateway, "localhost grants roster: both").await;
        }
        Flavour::Ejabberd => {
            alice.find("she asks", presence(&zoe, Some("subscribe"))).await.unwrap();
            check_says(&gateway, "grants no privileges").await;
        }
    }
}
