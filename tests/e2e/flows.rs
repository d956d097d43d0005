//! XEP-0100's flows step by step, and the commands of users and administrators, by form and by chat.

use std::time::Duration;

use isthmus_testkit::isthmus::Setup;
use isthmus_testkit::ports::Port;
use isthmus_testkit::server::{Flavour, Options};
use isthmus_testkit::slix::SlixClient;
use isthmus_testkit::xml::Element;

use crate::inside::{HELD, Inside, LOOP};
use crate::people::{contact, presence, talk};
use crate::register::{register, submit};
use crate::world::World;

crate::on_both!(
    the_flows_of_a_gateway_from_registering_to_removing,
    a_command_of_several_steps_by_form_and_by_chat,
    commands_answer_in_the_users_language,
    a_conversation_is_shown_exported_and_deleted,
    people_are_searched_for_in_the_directory,
    over_a_quota_the_error_says_when_it_passes,
    when_a_users_storage_is_full_the_error_says_when_it_passes,
    sessions_have_a_limit_for_each_and_for_all,
    what_is_done_at_the_command_line_is_in_the_audit_log,
    access_rules_are_given_and_taken_by_command,
    what_administrators_do_is_in_the_audit_log_and_keys_rotate,
);

const COMMANDS: &str = "http://jabber.org/protocol/commands";

/// One step of a command; without a session it begins.
pub(crate) async fn step(client: &mut SlixClient, to: &str, node: &str, session: Option<&str>, form: &str) -> Element {
    let session = session.map(|id| format!(" sessionid='{id}'")).unwrap_or_default();
    let payload = format!("<command xmlns='{COMMANDS}' node='{node}'{session}>{form}</command>");
    let answer = client.ask(to, "set", &payload).await.unwrap();
    answer.child("command").cloned().unwrap_or_else(|| panic!("{node}: {answer}"))
}

/// Runs a command to its end, with these fields in each of its forms where they are.
pub(crate) async fn run(client: &mut SlixClient, to: &str, node: &str, fields: &[(&str, &str)]) -> Element {
    let mut command = step(client, to, node, None, "").await;
    for _ in 0..9 {
        if command.attr("status") != Some("executing") {
            return command;
        }
        let form = command.child("x").unwrap_or_else(|| panic!("no form: {command}")).clone();
        let has = |name: &str| form.children.iter().any(|field| field.attr("var") == Some(name));
        let own: Vec<(&str, &str)> = fields.iter().copied().filter(|(name, _)| has(name)).collect();
        let session = command.attr("sessionid").unwrap_or_default().to_owned();
        command = step(client, to, node, Some(&session), &submit(&form, &own).unwrap()).await;
    }
    panic!("{node} does not end: {command}");
}

async fn the_flows_of_a_gateway_from_registering_to_removing(flavour: Flavour) {
    let (gateway, lmtp) = ("email.localhost", Port::take().unwrap());
    let keys = format!(
        "mail_domain = \"gw.test\"\n[smtp]\nhost = \"127.0.0.1\"\nport = 1\n[listen]\nlmtp = \"{}\"\n",
        lmtp.address()
    );
    let mut world = World::with(flavour, |setup| setup.bridge("email", "email", gateway, &keys)).await;
    let mut alice = world.client("alice").await;
    alice.send("<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>").await.unwrap();
    alice.answer("roster").await.unwrap();
    // 4.1.1: who is not registered finds out what the gateway is and asks for its form.
    let info = alice.ask(gateway, "get", "<query xmlns='http://jabber.org/protocol/disco#info'/>").await.unwrap();
    assert!(info.to_string().contains("jabber:iq:register") && info.to_string().contains("gateway"), "{info}");
    let offer = alice.ask(gateway, "get", "<query xmlns='jabber:iq:register'/>").await.unwrap();
    let query = offer.child("query").unwrap_or_else(|| panic!("{offer}"));
    assert!(query.child("registered").is_none() && query.child("instructions").is_some(), "{offer}");
    let form = submit(query.child("x").unwrap(), &[("alias", "alice")]).unwrap();
    let done = alice.ask(gateway, "set", &format!("<query xmlns='jabber:iq:register'>{form}</query>")).await.unwrap();
    assert_eq!(done.attr("type"), Some("result"), "{done}");
    // Steps 9 to 14: the gateway asks for the user's presence and is allowed; the user asks for the gateway's.
    alice.find("the gateway asks", presence(gateway, Some("subscribe"))).await.unwrap();
    alice.send(format!("<presence type='subscribed' to='{gateway}'/>")).await.unwrap();
    alice.send(format!("<presence type='subscribe' to='{gateway}'/>")).await.unwrap();
    alice.find("the gateway allows", presence(gateway, Some("subscribed"))).await.unwrap();
    alice.find("the gateway is there", presence(gateway, None)).await.unwrap();
    // 4.2.1: the form of who is registered says so and is filled in.
    let again = alice.ask(gateway, "get", "<query xmlns='jabber:iq:register'/>").await.unwrap();
    assert!(again.child("query").is_some_and(|query| query.child("registered").is_some()), "{again}");
    // 4.6 and 6.3: a contact, by the address that people of the network write.
    let prompt = alice.ask(gateway, "get", "<query xmlns='jabber:iq:gateway'/>").await.unwrap();
    assert!(prompt.child("query").is_some_and(|query| query.child("prompt").is_some()), "{prompt}");
    let typed = "<query xmlns='jabber:iq:gateway'><prompt>carol@outside.test</prompt></query>";
    let jid = alice.ask(gateway, "set", typed).await.unwrap();
    let carol = jid.child("query").and_then(|query| query.child("jid")).map(|jid| jid.text.clone()).unwrap();
    assert_eq!(carol, "carol\\40outside.test@email.localhost");
    alice.send(format!("<presence type='subscribe' to='{carol}'/>")).await.unwrap();
    alice.find("the contact allows", presence(&carol, Some("subscribed"))).await.unwrap();
    alice.find("the contact is there", presence(&carol, None)).await.unwrap();
    // 4.4 and 4.5: logging out and in.
    alice.disconnect().await.unwrap();
    alice.drain();
    alice.reconnect().await.unwrap();
    alice.available().await.unwrap();
    alice.find("the gateway is there again", presence(gateway, None)).await.unwrap();
    alice.find("the contact is there again", presence(&carol, None)).await.unwrap();
    // 4.7: a contact is given up, and another one added for the end.
    alice.send(format!("<presence type='unsubscribe' to='{carol}'/>")).await.unwrap();
    let gone = |s: &Element| presence(&carol, Some("unsubscribed"))(s) || presence(&carol, Some("unavailable"))(s);
    alice.find("the contact is gone", gone).await.unwrap();
    alice.drain();
    alice.send(format!("<presence type='subscribe' to='{carol}'/>")).await.unwrap();
    alice.find("the contact is there once more", presence(&carol, None)).await.unwrap();
    // 4.3.1: result first, then the contacts and the gateway say good-bye.
    let id = alice.begin_ask(gateway, "set", "<query xmlns='jabber:iq:register'><remove/></query>").await.unwrap();
    let first = alice.find("an answer or a good-bye", |s| {
        s.attr("id") == Some(&id)
            || presence(gateway, Some("unsubscribe"))(s)
            || presence(&carol, Some("unavailable"))(s)
    });
    let first = first.await.unwrap();
    assert_eq!((first.name.as_str(), first.attr("type")), ("iq", Some("result")), "{first}");
    for from in [carol.as_str(), gateway] {
        let bye = |s: &Element| {
            ["unsubscribe", "unsubscribed", "unavailable"].iter().any(|kind| presence(from, Some(kind))(s))
        };
        alice.find("a good-bye", bye).await.unwrap();
    }
    let after = alice.ask(gateway, "get", "<query xmlns='jabber:iq:register'/>").await.unwrap();
    assert!(after.child("query").is_some_and(|query| query.child("registered").is_none()), "{after}");
    let id = alice.message(&carol, "may I").await.unwrap();
    let refused = alice.find("a refusal", |s| s.name == "message" && s.attr("id") == Some(&id)).await.unwrap();
    assert_eq!(refused.error().as_deref(), Some("auth/registration-required"));
    // What was hers is nobody else's, not even after a restart; she may take it back.
    world.gateway.stop().await.unwrap();
    world.gateway.launch().await.unwrap();
    let mut bob = world.client("bob").await;
    let offer = bob.ask(gateway, "get", "<query xmlns='jabber:iq:register'/>").await.unwrap();
    let form = submit(offer.child("query").and_then(|query| query.child("x")).unwrap(), &[("alias", "alice")]).unwrap();
    let taken = bob.ask(gateway, "set", &format!("<query xmlns='jabber:iq:register'>{form}</query>")).await.unwrap();
    assert_eq!(taken.error().as_deref(), Some("modify/not-acceptable"), "{taken}");
    register(&mut alice, gateway, "alice").await.unwrap();
    world.gateway.stop().await.unwrap();
}

async fn a_command_of_several_steps_by_form_and_by_chat(flavour: Flavour) {
    let mut world = Inside::start(flavour, "").await;
    let mut alice = world.client("alice", "desk").await;
    // By form: on, back to what was filled in, and on to the end.
    let first = step(&mut alice, LOOP, "survey", None, "").await;
    let session = first.attr("sessionid").unwrap().to_owned();
    let filled = |var: &str, value: &str| {
        format!("<x xmlns='jabber:x:data' type='submit'><field var='{var}'><value>{value}</value></field></x>")
    };
    let second = step(&mut alice, LOOP, "survey", Some(&session), &filled("colour", "red")).await;
    assert!(second.child("actions").is_some_and(|actions| actions.child("prev").is_some()), "{second}");
    let back = format!("<command xmlns='{COMMANDS}' node='survey' sessionid='{session}' action='prev'/>");
    let back = alice.ask(LOOP, "set", &back).await.unwrap();
    assert!(back.to_string().contains("<value>red</value>") || back.to_string().contains("red"), "{back}");
    step(&mut alice, LOOP, "survey", Some(&session), &filled("colour", "red")).await;
    let size = second.child("x").unwrap().clone();
    let done = step(&mut alice, LOOP, "survey", Some(&session), &submit(&size, &[("size", "42")]).unwrap()).await;
    assert_eq!(done.attr("status"), Some("completed"), "{done}");
    assert!(done.to_string().contains("red in 42"), "{done}");
    // By chat: a question belongs to one device, can be gone back from, and be cancelled.
    let mut phone = world.client("alice", "phone").await;
    let asked = talk(&mut alice, &["survey"]).await;
    assert!(asked.contains("colour"), "{asked}");
    assert!(talk(&mut phone, &["help"]).await.contains("survey"), "the question is the other device's");
    let nothing = talk(&mut phone, &["cancel"]).await;
    assert!(!nothing.is_empty());
    let cancelled = talk(&mut alice, &["cancel"]).await;
    assert!(cancelled.to_lowercase().contains("cancel"), "{cancelled}");
    let unknown = talk(&mut alice, &["nonsense"]).await;
    assert!(unknown.contains("nonsense"), "{unknown}");
    world.stop().await;
}

async fn commands_answer_in_the_users_language(flavour: Flavour) {
    let mut world = Inside::start(flavour, "").await;
    let mut alice = world.client("alice", "desk").await;
    let command = format!("<command xmlns='{COMMANDS}' node='configure'/>");
    let ask = format!("<iq type='set' to='{LOOP}' id='fr' xml:lang='fr'>{command}</iq>");
    alice.send(ask).await.unwrap();
    let form = alice.answer("fr").await.unwrap();
    assert_eq!(form.attr("xml:lang"), Some("fr"), "{form}");
    let form = form.to_string();
    assert!(
        form.contains("Pseudonyme") && form.contains("Latin 1 (Europe de"),
        "labels of settings and choices: {form}"
    );
    // Each request in its own language, whatever was spoken before: English too is said to be it where it was asked for.
    alice.send(format!("<iq type='set' to='{LOOP}' id='en' xml:lang='en'>{command}</iq>")).await.unwrap();
    let form = alice.answer("en").await.unwrap();
    assert_eq!(form.attr("xml:lang"), Some("en"), "{form}");
    assert!(form.to_string().contains("Latin 1 (Western Europe)"), "{form}");
    for lang in ["fr", "en"] {
        let failing = format!(
            "<message type='chat' to='{}' id='late-{lang}' xml:lang='{lang}'><body>x</body></message>",
            contact("refuse")
        );
        alice.send(failing).await.unwrap();
        let id = format!("late-{lang}");
        let error = alice
            .find("an error of the network's", |s| s.name == "message" && s.attr("id") == Some(&id))
            .await
            .unwrap();
        let text = error.child("error").and_then(|e| e.child("text")).unwrap_or_else(|| panic!("{error}"));
        assert!(error.attr("xml:lang") == Some(lang) || text.attr("xml:lang") == Some(lang), "{error}");
    }
    let none = format!("<command xmlns='{COMMANDS}' node='audit'/>");
    alice.send(format!("<iq type='set' to='{LOOP}' id='non' xml:lang='fr-CA'>{none}</iq>")).await.unwrap();
    let refused = alice.answer("non").await.unwrap();
    assert_eq!((refused.attr("xml:lang"), refused.error().as_deref()), (Some("fr"), Some("cancel/forbidden")));
    let english = step(&mut alice, LOOP, "configure", None, "").await.to_string();
    assert!(english.contains("Latin 1 (Western Europe)"), "{english}");
    let help = format!("<message to='{LOOP}' type='chat' id='aide' xml:lang='fr'><body>aide</body></message>");
    alice.send(help).await.unwrap();
    alice
        .find("help in French", |s| s.body().is_some_and(|b| b.contains("Ma conversation avec un contact")))
        .await
        .unwrap();
    world.stop().await;
}

async fn a_conversation_is_shown_exported_and_deleted(flavour: Flavour) {
    let mut world = Inside::start(flavour, "").await;
    let mut alice = world.client("alice", "desk").await;
    alice.message(&contact("ann"), "how are you").await.unwrap();
    alice.body("how are you").await.unwrap();
    let shown = run(&mut alice, LOOP, "history", &[("address", "ann%loop"), ("count", "5")]).await.to_string();
    assert!(shown.matches("how are you").count() == 2 && shown.contains("<value>you</value>"), "{shown}");
    let by_chat = talk(&mut alice, &["history ann%loop", "5"]).await;
    assert!(by_chat.contains("how are you"), "{by_chat}");
    let on_contact = run(&mut alice, &contact("ann"), "history", &[]).await.to_string();
    assert!(on_contact.contains("how are you"), "{on_contact}");
    let export = run(&mut alice, LOOP, "export", &[]).await.to_string();
    assert!(export.contains("how are you") && export.contains("http"), "lines and a file: {export}");
    let usage = run(&mut alice, LOOP, "usage", &[]).await;
    assert_eq!(usage.attr("status"), Some("completed"), "{usage}");
    let deleted = run(&mut alice, LOOP, "delete", &[("sure", "1")]).await;
    assert_eq!(deleted.attr("status"), Some("completed"), "{deleted}");
    let after = talk(&mut alice, &["history ann%loop", "5"]).await;
    assert!(after.contains("Nothing is kept"), "{after}");
    world.stop().await;
}

async fn people_are_searched_for_in_the_directory(flavour: Flavour) {
    let mut world = Inside::start(flavour, "").await;
    let mut alice = world.client("alice", "desk").await;
    let form = alice.ask(LOOP, "get", "<query xmlns='jabber:iq:search'/>").await.unwrap();
    assert!(
        form.child("query").is_some_and(|query| query.child("nick").is_some() && query.child("x").is_some()),
        "{form}"
    );
    let plain = "<query xmlns='jabber:iq:search'><nick>zoe</nick></query>";
    let found = alice.ask(LOOP, "set", plain).await.unwrap();
    let items: Vec<_> = found.child("query").unwrap().children.iter().filter_map(|item| item.attr("jid")).collect();
    assert_eq!(items, [contact("zoe"), contact("zoe-twin")], "{found}");
    let filled = "<query xmlns='jabber:iq:search'><x xmlns='jabber:x:data' type='submit'><field var='nick'><value>zoe</value></field></x></query>";
    let found = alice.ask(LOOP, "set", filled).await.unwrap();
    assert!(found.to_string().contains(&contact("zoe-twin")), "{found}");
    world.stop().await;
}

async fn over_a_quota_the_error_says_when_it_passes(flavour: Flavour) {
    let access = "[access]\nmessages_per_minute = 2\n";
    let mut world = Inside::with(flavour, "", access, |_| {}).await;
    let mut alice = world.client("alice", "desk").await;
    for number in 0..2 {
        alice.message(&contact("ann"), &format!("number {number}")).await.unwrap();
        alice.body(&format!("number {number}")).await.unwrap();
    }
    let id = alice.message(&contact("ann"), "one too many").await.unwrap();
    let refused = alice.find("a refusal", |s| s.name == "message" && s.attr("id") == Some(&id)).await.unwrap();
    assert_eq!(refused.error().as_deref(), Some("wait/policy-violation"), "{refused}");
    let seconds =
        |s: &str| s.split(|c: char| !c.is_ascii_digit()).any(|n| n.parse().is_ok_and(|n: u64| (3..=60).contains(&n)));
    assert!(seconds(&refused.to_string()), "the time is named: {refused}");
    world.stop().await;
}

async fn when_a_users_storage_is_full_the_error_says_when_it_passes(flavour: Flavour) {
    let lmtp = Port::take().unwrap();
    // Nothing answers at that port: all mail waits.
    let keys = format!(
        "mail_domain = \"gw.test\"\n[smtp]\nhost = \"127.0.0.1\"\nport = 1\n[listen]\nlmtp = \"{}\"\n",
        lmtp.address()
    );
    let access = "[access]\nstorage = \"16 KiB\"\n";
    let setup = |setup: Setup| setup.top(access).bridge("email", "email", "email.localhost", &keys);
    let mut world = World::with(flavour, setup).await;
    let mut alice = world.client("alice").await;
    register(&mut alice, "email.localhost", "alice").await.unwrap();
    let carol = "carol\\40outside.test@email.localhost";
    let long = "Tell me more. ".repeat(800);
    let first = alice.message(carol, &long).await.unwrap();
    let ping = |s: &Element| s.attr("id") == Some(&first) && s.name == "message";
    assert!(alice.find_within(Duration::from_secs(1), ping).await.unwrap().is_none(), "the first is taken");
    let id = alice.message(carol, &long).await.unwrap();
    let refused = alice.find("a refusal", |s| s.name == "message" && s.attr("id") == Some(&id)).await.unwrap();
    assert_eq!(refused.error().as_deref(), Some("wait/resource-constraint"), "{refused}");
    assert!(refused.to_string().contains("of 16 KiB at most") && refused.to_string().contains("at 20"), "{refused}");
    let usage = run(&mut alice, "email.localhost", "usage", &[]).await.to_string();
    assert!(usage.contains("of 16 KiB"), "{usage}");
    // What is cancelled makes room.
    let queue = step(&mut alice, "email.localhost", "queue", None, "").await;
    let session = queue.attr("sessionid").unwrap().to_owned();
    let form = queue.child("x").unwrap().clone();
    let events = form.children.iter().find(|field| field.attr("var") == Some("events")).unwrap();
    let event = events.children.iter().find(|c| c.name == "option").and_then(|o| o.child("value")).unwrap();
    let filled = submit(&form, &[("events", &event.text), ("do", "cancel")]).unwrap();
    let done = step(&mut alice, "email.localhost", "queue", Some(&session), &filled).await.to_string();
    assert!(done.contains("Cancelled: 1"), "{done}");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let id = alice.message(carol, &long).await.unwrap();
    let again = |s: &Element| s.attr("id") == Some(&id) && s.name == "message";
    assert!(alice.find_within(Duration::from_secs(1), again).await.unwrap().is_none(), "there is room again");
    world.gateway.stop().await.unwrap();
}

async fn sessions_have_a_limit_for_each_and_for_all(flavour: Flavour) {
    let limits = "[limits]\nsessions_per_user = 1\ntotal_sessions = 2\n";
    let more = |options: &mut Options| options.components.push(HELD.to_owned());
    let mut world = Inside::with(flavour, "", limits, more).await;
    let (mut alice, mut bob) = (world.client("alice", "desk").await, world.client("bob", "desk").await);
    for (client, to, words) in
        [(&mut alice, format!("ann%loop@{HELD}"), "from alice"), (&mut bob, contact("ann"), "from bob")]
    {
        client.message(&to, words).await.unwrap();
        client.body(words).await.unwrap();
    }
    let mut carol = world.client("carol", "desk").await;
    for (client, words) in [(&mut alice, "You have 1 connections"), (&mut carol, "This gateway has 2 connections")] {
        let id = client.message(&contact("ann"), "one too many").await.unwrap();
        let refused = client.find("a refusal", |s| s.name == "message" && s.attr("id") == Some(&id)).await.unwrap();
        assert_eq!(refused.error().as_deref(), Some("wait/resource-constraint"), "{refused}");
        assert!(refused.to_string().contains(words), "{refused}");
    }
    let usage = run(&mut alice, LOOP, "usage", &[]).await.to_string();
    assert!(usage.contains("1 of 1"), "{usage}");
    world.stop().await;
}

async fn what_is_done_at_the_command_line_is_in_the_audit_log(flavour: Flavour) {
    let lmtp = Port::take().unwrap();
    let keys = format!(
        "mail_domain = \"gw.test\"\n[smtp]\nhost = \"127.0.0.1\"\nport = 1\n[listen]\nlmtp = \"{}\"\n",
        lmtp.address()
    );
    let setup = |setup: Setup| setup.bridge("email", "email", "email.localhost", &keys);
    let mut world = World::with(flavour, setup).await;
    let verbs: [&[&str]; 5] = [
        &["users", "add", "--bridge", "email", "alice@localhost", "alias=alice"],
        &["send", "--bridge", "email", "--user", "alice@localhost", "carol@outside.test", "Hello"],
        &["db", "rotate-key"],
        &["log-level", "info"],
        &["users", "remove", "--bridge", "email", "alice@localhost"],
    ];
    for verb in verbs {
        let done = world.gateway.cli(verb).await.unwrap();
        assert!(done.status.success(), "{verb:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
    let mut bob = world.client("bob").await;
    register(&mut bob, "email.localhost", "bob").await.unwrap();
    let theirs = "carol\\40outside.test@email.localhost";
    bob.send(format!("<presence type='subscribe' to='{theirs}'/>")).await.unwrap();
    bob.find("the contact allows", presence(theirs, Some("subscribed"))).await.unwrap();
    let contacts = ["contacts", "--bridge", "email", "--user", "bob@localhost"];
    let running = world.gateway.cli(&contacts).await.unwrap().stdout;
    assert!(String::from_utf8_lossy(&running).contains("carol@outside.test"), "{running:?}");
    // A command run for a user: what it would ask is said, what is wrong too, and what it did is as if they had done it.
    let act = async |words: &[&str]| {
        let all = [&["users", "act", "--bridge", "email", "bob@localhost"], words].concat();
        let done = world.gateway.cli(&all).await.unwrap();
        (done.status.success(), String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned())
    };
    for (words, said) in [
        (&["nonsense"] as &[&str], "expected one of"),
        (&["audit"], "expected one of"),
        (&["contacts", "do=add"], "address=… is needed"),
        (&["contacts", "do=add", "address=nobody"], "address:"),
        (&["configure", "colour=red"], "no field \"colour\""),
    ] {
        let (good, out) = act(words).await;
        assert!(!good && out.contains(said), "{words:?}: {out}");
    }
    let added = act(&["contacts", "do=add", "address=dora@outside.test", "name=Dora", "groups=Friends, Work"]).await;
    assert!(added.0 && added.1.contains("dora@outside.test is among your contacts"), "{added:?}");
    let dora = "dora\\40outside.test@email.localhost";
    let asked = |s: &Element| s.to_string().contains(dora) && matches!(s.name.as_str(), "presence" | "iq");
    bob.find("she is asked about, or in the roster", asked).await.unwrap();
    let listed = act(&["contacts", "do=list"]).await.1;
    assert!(listed.contains("Dora") && listed.contains("Friends, Work"), "{listed}");
    assert!(act(&["usage"]).await.1.contains("500"));
    let running = world.gateway.cli(&contacts).await.unwrap().stdout;
    world.gateway.stop().await.unwrap();
    assert_eq!(world.gateway.cli(&contacts).await.unwrap().stdout, running, "the same where none runs");
    let done = world.gateway.cli(&["db", "rotate-key"]).await.unwrap();
    assert!(done.status.success(), "where none runs: {}", String::from_utf8_lossy(&done.stderr));
    world.gateway.launch().await.unwrap();
    let mut alice = world.client("alice").await;
    let audit = run(&mut alice, "email.localhost", "audit", &[]).await.to_string();
    for act in [
        "email users add",
        "email send as",
        "log-level info",
        "email users remove",
        "act for: contacts",
        "alice@localhost",
    ] {
        assert!(audit.contains(act), "{act} in {audit}");
    }
    assert_eq!(audit.matches("rotate-key").count(), 2, "{audit}");
    assert!(audit.matches("command line").count() >= 6 && !audit.contains("Hello"), "{audit}");
    world.gateway.stop().await.unwrap();
}

async fn access_rules_are_given_and_taken_by_command(flavour: Flavour) {
    let access = "[access]\nrules = [{ match = \"dave@localhost\", tier = \"blocked\" }]\n";
    let mut world = Inside::with(flavour, "", access, |_| {}).await;
    let (mut alice, mut carol) = (world.client("alice", "desk").await, world.client("carol", "desk").await);
    let add = [("do", "add"), ("match", "al?ce@localhost"), ("tier", "blocked")];
    assert_eq!(run(&mut carol, LOOP, "access", &add).await.attr("status"), Some("completed"));
    world.stop().await;
    world.launch().await;
    let id = alice.message(&contact("ann"), "may I").await.unwrap();
    let refused = alice.find("a refusal", |s| s.name == "message" && s.attr("id") == Some(&id)).await.unwrap();
    assert_eq!(refused.error().as_deref(), Some("auth/forbidden"), "it holds after a restart: {refused}");
    let all = run(&mut carol, LOOP, "access", &[("do", "list")]).await.to_string();
    let (first, second) = (all.find("al?ce@localhost"), all.find("dave@localhost"));
    assert!(first.is_some() && first < second && all.contains("added here"), "{all}");
    assert!(talk(&mut carol, &["access", "try", "alice@localhost"]).await.contains("blocked"));
    run(&mut carol, LOOP, "access", &[("do", "remove"), ("match", "al?ce@localhost")]).await;
    alice.message(&contact("ann"), "thank you").await.unwrap();
    alice.body("thank you").await.unwrap();
    let audit = run(&mut carol, LOOP, "audit", &[]).await.to_string();
    assert!(audit.contains("access add blocked") && audit.contains("access remove"), "{audit}");
    world.stop().await;
}

async fn what_administrators_do_is_in_the_audit_log_and_keys_rotate(flavour: Flavour) {
    let mut world = Inside::start(flavour, "").await;
    let mut alice = world.client("alice", "desk").await;
    let network = format!("loop@{LOOP}");
    run(&mut alice, &network, "configure", &[("password", "xyzzy")]).await;
    let refused = alice.ask(LOOP, "set", &format!("<command xmlns='{COMMANDS}' node='audit'/>")).await.unwrap();
    assert_eq!(refused.error().as_deref(), Some("cancel/forbidden"), "{refused}");
    let mut carol = world.client("carol", "desk").await;
    let fields = [("do", "act"), ("user", "alice@localhost"), ("command", "configure"), ("nick", "al")];
    run(&mut carol, LOOP, "users", &fields).await;
    let rotated = run(&mut carol, LOOP, "rotate-key", &[("sure", "1")]).await.to_string();
    assert!(rotated.contains("again: 1"), "the one secret was sealed again: {rotated}");
    world.stop().await;
    world.launch().await;
    let audit = run(&mut carol, LOOP, "audit", &[]).await.to_string();
    for act in [
        "act for: configure",
        "configure nick",
        "acted for: configure",
        "rotate-key",
        "carol@localhost",
        "alice@localhost",
    ] {
        assert!(audit.contains(act), "{act} in {audit}");
    }
    assert!(!audit.contains("xyzzy"));
    world.stop().await;
}
