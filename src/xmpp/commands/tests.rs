//! XEP-0050 by table and by flow; the core's own commands; on the sample bridge and a store of its own.

use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use isthmus_bridge::suite::FakeHost;
use isthmus_bridge::{DeliveryKey, StoreError, Values};
use minidom::Element;
use tempfile::TempDir;

use super::*;
use crate::router::Party;
use crate::settings::Scheme;
use crate::storage::people::Served;
use crate::storage::{Open, Seal, Store};
use crate::xmpp::errors::StanzaError;
use crate::xmpp::ns;

/// An office without a gateway behind it: one event waits, and what it was told is kept.
#[derive(Default)]
pub(crate) struct FakeOffice {
    pub(crate) told: Mutex<Vec<String>>,
}

impl FakeOffice {
    fn tell(&self, what: String) {
        self.told.lock().expect("no panic").push(what);
    }
}

#[async_trait]
impl Office for FakeOffice {
    fn is_admin(&self, user: &BareJid) -> bool {
        user.as_str() == "admin@example.org"
    }

    async fn waiting(&self, _bridge: &str, user: Option<&BareJid>) -> Result<Vec<Waiting>, StoreError> {
        let one = Waiting {
            key: DeliveryKey::new("k1"),
            user: "juliet@example.org".into(),
            to: "romeo@example.net".into(),
            since: SystemTime::UNIX_EPOCH,
            tries: 2,
            reason: Some("greylisted".into()),
            next: None,
        };
        Ok(Some(one).filter(|w| user.is_none_or(|u| *u == w.user)).into_iter().collect())
    }

    async fn cancel(&self, _bridge: &str, user: Option<&BareJid>, key: &DeliveryKey) -> Result<bool, StoreError> {
        self.tell(format!("cancel {key} of {user:?}"));
        Ok(true)
    }

    async fn retry(&self, _bridge: &str, _user: Option<&BareJid>, key: &DeliveryKey) -> Result<bool, StoreError> {
        self.tell(format!("retry {key}"));
        Ok(false)
    }

    async fn usage(&self, _bridge: &str, _user: &BareJid) -> Result<Vec<(Text, Text)>, StoreError> {
        Ok(vec![("Messages today".into(), "3 of 100".into())])
    }

    async fn forget(&self, _bridge: &str, user: &BareJid) -> Result<(), StoreError> {
        self.tell(format!("forget {user}"));
        Ok(())
    }

    async fn links(&self, _bridge: &str, _lang: &Lang) -> Vec<Link> {
        vec![Link { of: "server".into(), state: "up".into() }]
    }

    async fn announce(&self, _bridge: &str, to: &[BareJid], words: &str) -> Result<usize, StoreError> {
        self.tell(format!("announce {words}"));
        Ok(to.len())
    }

    fn log_level(&self) -> String {
        "info".into()
    }

    fn set_log_level(&self, filter: &str) -> Result<(), String> {
        if filter == "loud" { Err("loud is not a level".into()) } else { Ok(()) }
    }

    fn version(&self) -> String {
        "Isthmus 0.1.0".into()
    }

    async fn reload(&self) -> Result<String, String> {
        Err("bridges/x.toml: no such file".into())
    }
}

/// The sample bridge with everything that commands need.
pub(crate) struct Set {
    pub(crate) desk: Desk,
    pub(crate) bridge: BridgeRef,
    pub(crate) office: Arc<FakeOffice>,
    pub(crate) persons: Arc<Persons>,
    adhoc: Adhoc,
    _folder: TempDir,
}

impl Set {
    pub(crate) async fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let store = Store::open(Open::new("sqlite://isthmus.db", folder.path())).await.expect("the store opens");
        let bridge = sample::sample();
        let seal = Arc::new(Seal::parse(&"ab".repeat(32)).expect("a key"));
        let served = Served { name: "sample".into(), bridge: bridge.clone(), scheme: Scheme::new(bridge.settings()) };
        let people = People::open(store, seal, vec![served]).await.expect("it loads");
        let office = Arc::new(FakeOffice::default());
        let persons = people.of("sample").expect("served").clone();
        let texts = Texts::new([("sample", bridge.texts())]);
        let desk = Desk { people, texts, office: office.clone() };
        let instance = Instance { name: "sample".into(), domain: "sample.example".into(), bridge };
        let bridge = BridgeRef { instance, host: FakeHost::new("sample").host() };
        Self { adhoc: Adhoc::new(desk.clone()), desk, bridge, office, persons, _folder: folder }
    }

    /// Sends a `<command/>` with these attributes and fields; the answer, or the conditions of the error.
    async fn send(
        &self,
        from: &str,
        attrs: &str,
        fields: Option<&[(&str, &str)]>,
    ) -> Result<(Element, Vec<Effect>), String> {
        let fields = fields.map(|fields| {
            let fields = fields.iter().map(|(var, value)| format!("<field var='{var}'><value>{value}</value></field>"));
            format!("<x xmlns='jabber:x:data' type='submit'>{}</x>", fields.collect::<String>())
        });
        let xml = format!("<command xmlns='{}' {attrs}>{}</command>", ns::COMMANDS, fields.unwrap_or_default());
        let payload: Element = xml.parse().expect("well-formed");
        let from = Party::parse(from).expect("a JID");
        let answer = self.adhoc.handle_iq(&self.bridge, &from, &Address::Gateway, &payload, &Lang::new("en")).await;
        answer.map_err(|e: StanzaError| {
            format!("{}/{} {}", e.kind.as_str(), e.condition, e.specific.map_or("", |(c, _)| c))
        })
    }

    /// The same where it works: the answer and its session.
    async fn good(&self, from: &str, attrs: &str, fields: Option<&[(&str, &str)]>) -> (String, String) {
        let (answer, _) = self.send(from, attrs, fields).await.expect("it works");
        let id = answer.attr("sessionid").expect("a session id").to_owned();
        (String::from(&answer).replace('"', "'"), id)
    }
}

pub(crate) const JULIET: &str = "juliet@example.org/balcony";
const ADMIN: &str = "admin@example.org/desk";

fn all(xml: &str, parts: &[&str]) {
    for part in parts {
        assert!(xml.contains(part), "{part} in {xml}");
    }
}

#[tokio::test]
async fn a_command_of_three_forms_goes_on_and_back_and_ends() {
    let set = Set::new().await;
    let (xml, id) = set.good(JULIET, "node='wizard' action='execute'", None).await;
    all(&xml, &["status='executing'", "<actions execute='next'><next/></actions>", "list-single", "xml:lang='en'"]);
    let on = |rest: &str| format!("node='wizard' sessionid='{id}'{rest}");
    let (xml, same) = set.good(JULIET, &on(" action='next'"), Some(&[("size", "l")])).await;
    assert_eq!(same, id);
    all(&xml, &["<actions execute='next'><prev/><next/></actions>", "xdata-validate", "min='1'"]);
    let (xml, _) = set.good(JULIET, &on(" action='prev'"), None).await;
    all(&xml, &["<value>l</value>", "<actions execute='next'><next/></actions>"]);
    set.good(JULIET, &on(""), Some(&[("size", "s")])).await;
    // A wrong answer: the same form again, with the reason.
    let (xml, _) = set.good(JULIET, &on(""), Some(&[("number", "12")])).await;
    all(
        &xml,
        &["status='executing'", "type='error'>number: Please give a whole number from 1 to 9.", "<value>12</value>"],
    );
    let (xml, _) = set.good(JULIET, &on(""), Some(&[("number", "3")])).await;
    all(&xml, &["<actions execute='complete'><prev/><complete/></actions>", "type='boolean'"]);
    // biboumi's last pages are left by `next`, and so are ours.
    let (xml, _) = set.good(JULIET, &on(" action='next'"), Some(&[("sure", "1")])).await;
    all(&xml, &["status='completed'", "<note type='info'>3 × s, sure: true</note>"]);
    let error = set.send(JULIET, &on(" action='next'"), Some(&[])).await.expect_err("it has ended");
    assert_eq!(error, "cancel/not-allowed session-expired");
}

#[tokio::test]
async fn every_error_of_xep_0050_has_its_conditions() {
    let set = Set::new().await;
    let (_, id) = set.good(JULIET, "node='wizard'", None).await;
    let session = format!("node='wizard' sessionid='{id}'");
    let table: &[(&str, &str, &str)] = &[
        (JULIET, "action='execute'", "modify/bad-request "),
        (JULIET, "node='nothing'", "cancel/item-not-found "),
        (JULIET, "node='wizard' action='dance'", "modify/bad-request malformed-action"),
        (JULIET, "node='wizard' action='next'", "modify/bad-request bad-action"),
        (JULIET, "node='wizard' action='cancel'", "modify/bad-request bad-action"),
        (JULIET, "node='wizard' sessionid=''", "modify/bad-request bad-sessionid"),
        (JULIET, "node='wizard' sessionid='invented'", "modify/bad-request bad-sessionid"),
        (JULIET, &format!("node='fails' sessionid='{id}'"), "modify/bad-request bad-sessionid"),
        ("romeo@example.org/x", &session, "modify/bad-request bad-sessionid"),
        ("juliet@example.org/other", &session, "modify/bad-request bad-sessionid"),
        (JULIET, &format!("{session} action='prev'"), "modify/bad-request bad-action"),
        (JULIET, &format!("{session} action='complete'"), "modify/bad-request bad-action"),
        (JULIET, &format!("{session} action='next'"), "modify/bad-request bad-payload"),
        (JULIET, "node='secret'", "cancel/forbidden "),
        (JULIET, "node='users'", "cancel/forbidden "),
        (JULIET, "node='table'", "cancel/forbidden "),
    ];
    for (from, attrs, expected) in table {
        let error = set.send(from, attrs, None).await.map(|(e, _)| String::from(&e));
        assert_eq!(error.expect_err(attrs), *expected, "{attrs}");
    }
    let bad: Element =
        format!("<command xmlns='{}' {session}><x xmlns='jabber:x:data' type='result'/></command>", ns::COMMANDS)
            .parse()
            .expect("xml");
    let from = Party::parse(JULIET).expect("a JID");
    let error = set
        .adhoc
        .handle_iq(&set.bridge, &from, &Address::Gateway, &bad, &Lang::default())
        .await
        .expect_err("not a submission");
    assert_eq!(error.specific, Some(("bad-payload", ns::COMMANDS)));
    // None of that has harmed the session.
    let (xml, _) = set.good(JULIET, &format!("{session} action='cancel'"), None).await;
    all(&xml, &["status='canceled'"]);
    assert_eq!(set.send(JULIET, &session, None).await.expect_err("cancelled"), "cancel/not-allowed session-expired");
}

#[tokio::test]
async fn rights_that_end_between_two_forms_end_the_session() {
    let set = Set::new().await;
    let juliet = BareJid::from("juliet@example.org");
    set.persons.register(&juliet, &Values::new()).await.expect("registered");
    let (_, id) = set.good(JULIET, "node='contacts'", None).await;
    set.persons.forget(&juliet).await.expect("forgotten");
    let session = format!("node='contacts' sessionid='{id}'");
    let error = set.send(JULIET, &session, Some(&[("do", "list")])).await.expect_err("not registered any more");
    assert_eq!(error, "cancel/forbidden ");
    let error = set.send(JULIET, &session, Some(&[("do", "list")])).await.expect_err("it has ended");
    assert_eq!(error, "cancel/not-allowed session-expired");
}

#[tokio::test]
async fn a_session_ends_after_ten_minutes_and_the_oldest_of_too_many_ends() {
    let set = Set::new().await;
    let (_, id) = set.good(JULIET, "node='wizard'", None).await;
    tokio::time::pause();
    tokio::time::advance(adhoc::IDLE + Duration::from_secs(1)).await;
    let late = set.send(JULIET, &format!("node='wizard' sessionid='{id}'"), Some(&[("size", "l")])).await;
    assert_eq!(late.expect_err("too late"), "cancel/not-allowed session-expired");
    let mut ids = Vec::new();
    for _ in 0..9 {
        ids.push(set.good(JULIET, "node='wizard'", None).await.1);
        tokio::time::advance(Duration::from_millis(10)).await;
    }
    let first = set.send(JULIET, &format!("node='wizard' sessionid='{}'", ids[0]), Some(&[("size", "l")])).await;
    assert_eq!(first.expect_err("pushed out"), "cancel/not-allowed session-expired");
    set.good(JULIET, &format!("node='wizard' sessionid='{}'", ids[8]), Some(&[("size", "l")])).await;
}

#[tokio::test]
async fn a_bridge_that_panics_or_fails_ends_its_run_with_an_error_note() {
    let set = Set::new().await;
    let (xml, _) = set.good(JULIET, "node='boom'", None).await;
    all(&xml, &["status='completed'", "<note type='error'>The bridge failed at this."]);
    let (xml, _) = set.good(JULIET, "node='fails'", None).await;
    all(&xml, &["status='completed'", "<note type='error'>That name is taken.</note>"]);
}

#[tokio::test]
async fn a_table_that_no_stanza_could_hold_is_shown_as_far_as_it_fits() {
    let set = Set::new().await;
    let juliet = "juliet@example.org".into();
    set.persons.register(&juliet, &Values::new()).await.expect("registered");
    let ann = Address::Contact("ann@example.net".into());
    for n in 0..400 {
        set.persons.talked(&juliet, &ann, true, &format!("line {n} {}", "&<".repeat(400)), None);
    }
    let (_, id) = set.good(JULIET, "node='history'", None).await;
    let fields = [("address", "ann@example.net"), ("count", "400")];
    let (xml, _) = set.good(JULIET, &format!("node='history' sessionid='{id}'"), Some(&fields)).await;
    assert!((64 << 10..256 << 10).contains(&xml.len()), "{} bytes", xml.len());
    assert!(xml.contains("line 399 ") && !xml.contains("line 0 "), "of a conversation the last lines are shown");
    all(&xml, &["<note type='warn'>These are ", " of 400 lines: "]);
}

#[tokio::test]
async fn results_come_as_a_table() {
    let set = Set::new().await;
    set.persons.register(&"juliet@example.org".into(), &Values::new()).await.expect("registered");
    let (xml, _) = set.good(JULIET, "node='table'", None).await;
    all(&xml, &["status='completed'", "<reported>", "var='a'", "<item>", "<value>2</value>"]);
}

#[tokio::test]
async fn disco_lists_what_each_may_run() {
    let set = Set::new().await;
    let nodes = |from: &str, at: &Address| {
        let items = set.adhoc.disco_items(
            &set.bridge,
            &Party::parse(from).expect("a JID"),
            at,
            "sample.example",
            &Lang::default(),
        );
        items.children().map(|i| i.attr("node").unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(nodes(JULIET, &Address::Gateway), ["register", "wizard", "boom", "fails"]);
    set.persons.register(&"juliet@example.org".into(), &Values::new()).await.expect("registered");
    let registered = nodes(JULIET, &Address::Gateway);
    for node in ["table", "unregister", "configure", "contacts", "queue", "usage", "export", "delete"] {
        assert!(registered.iter().any(|n| n == node), "{node} in {registered:?}");
    }
    assert!(!registered.iter().any(|n| n == "users" || n == "secret"), "{registered:?}");
    assert_eq!(nodes(JULIET, &Address::Contact("a@b".into())), ["wave", "configure", "history"]);
    assert!(nodes(JULIET, &Address::Room("#r".into())).is_empty(), "nothing can be set on rooms");
    assert!(nodes(ADMIN, &Address::Gateway).iter().any(|n| n == "users"));

    let info = |from: &str, node: &str| {
        let from = Party::parse(from).expect("a JID");
        let info = set.adhoc.disco_info(&set.bridge, &from, &Address::Gateway, node, &Lang::new("fr"));
        info.map(|e| e.map(|e| String::from(&e).replace('"', "'"))).map_err(|e| e.condition)
    };
    all(
        &info(JULIET, "register").expect("hers").expect("a node"),
        &["type='command-node'", "name='S&#39;inscrire'", "jabber:x:data"],
    );
    all(&info(JULIET, ns::COMMANDS).expect("hers").expect("a node"), &["type='command-list'"]);
    assert_eq!(info(JULIET, "users"), Err("forbidden"));
    assert_eq!(info(JULIET, "nothing"), Ok(None));
}

#[tokio::test]
async fn settings_are_shown_and_changed_by_a_form() {
    let set = Set::new().await;
    let juliet: BareJid = "juliet@example.org".into();
    set.persons.register(&juliet, &Values::new()).await.expect("registered");
    set.persons.set(&juliet, &Address::Gateway, vec![("token".into(), Some("s3cret".into()))]).await.expect("set");
    let (xml, id) = set.good(JULIET, "node='configure'", None).await;
    all(&xml, &["<value>30</value>", "text-private", "Join within seconds"]);
    assert!(!xml.contains("s3cret") && !xml.contains("Limit"), "{xml}");
    let attrs = format!("node='configure' sessionid='{id}' action='complete'");
    let (answer, effects) =
        set.send(JULIET, &attrs, Some(&[("join", "60"), ("signature", ""), ("token", "")])).await.expect("saved");
    assert_eq!(answer.attr("status"), Some("completed"));
    assert_eq!(effects, [Effect::SettingsChanged(juliet.clone(), Address::Gateway)]);
    let now = set.persons.resolved(&juliet, &Address::Gateway);
    assert_eq!((now.str("join"), now.str("token")), ("60", "s3cret"), "an empty secret stays");
    // A number that is none falls back to the default, as biboumi has it, and that is said; all else is kept.
    let (_, id) = set.good(JULIET, "node='configure'", None).await;
    let attrs = format!("node='configure' sessionid='{id}' action='complete'");
    let (xml, _) = set.good(JULIET, &attrs, Some(&[("join", "soon"), ("signature", "J")])).await;
    all(
        &xml,
        &["status='completed'", "type='warn'>join: not a whole number from 0 to 300; the default is used instead: 30."],
    );
    let now = set.persons.resolved(&juliet, &Address::Gateway);
    assert_eq!((now.str("join"), now.str("signature")), ("30", "J"));
    // What would hold anyway is not kept as her own; "-" removes a secret.
    let (_, id) = set.good(JULIET, "node='configure'", None).await;
    let attrs = format!("node='configure' sessionid='{id}'");
    set.good(JULIET, &attrs, Some(&[("join", "30"), ("signature", ""), ("token", "-")])).await;
    assert!(set.persons.chosen(&juliet, &Address::Gateway).is_empty());
}

#[tokio::test]
async fn contacts_are_added_blocked_and_listed() {
    let set = Set::new().await;
    let juliet: BareJid = "juliet@example.org".into();
    set.persons.register(&juliet, &Values::new()).await.expect("registered");
    let run = async |what: &str, fields: &[(&str, &str)]| {
        let (_, id) = set.good(JULIET, "node='contacts'", None).await;
        let attrs = format!("node='contacts' sessionid='{id}'");
        let (first, _) = set.good(JULIET, &attrs, Some(&[("do", what)])).await;
        if fields.is_empty() {
            (first, Vec::new())
        } else {
            set.send(JULIET, &attrs, Some(fields)).await.map(|(e, f)| (String::from(&e), f)).expect("works")
        }
    };
    let at = Address::Contact("romeo@example.net".into());
    let (_, effects) = run("add", &[("address", "romeo@example.net"), ("name", "Romeo")]).await;
    assert_eq!(effects, [Effect::ContactAdded(juliet.clone(), at.clone(), Some("Romeo".into()))]);
    let (xml, _) = run("add", &[("address", "nobody")]).await;
    all(&xml, &["no such contact", "executing"]);
    run("block", &[("address", "romeo@example.net")]).await;
    assert!(set.persons.blocked(&juliet, &at));
    let (xml, _) = run("list", &[]).await;
    all(&xml, &["<value>Romeo</value>", "⛔"]);
    let (xml, effects) = run("rename", &[("address", "romeo@example.net")]).await;
    all(&xml, &["<value>Romeo</value>", "executing"]);
    assert_eq!(effects, [], "nothing is changed before name and groups are given");
    run("unblock", &[("address", "romeo@example.net")]).await;
    let (_, effects) = run("remove", &[("address", "romeo@example.net")]).await;
    assert_eq!(effects, [Effect::ContactRemoved(juliet, at)]);
}

#[tokio::test]
async fn the_queue_is_shown_and_emptied() {
    let set = Set::new().await;
    set.persons.register(&"juliet@example.org".into(), &Values::new()).await.expect("registered");
    let (xml, id) = set.good(JULIET, "node='queue'", None).await;
    all(&xml, &["To romeo@example.net, since 1970-01-01T00:00:00", "greylisted", "list-multi"]);
    let attrs = format!("node='queue' sessionid='{id}'");
    let (xml, _) = set.good(JULIET, &attrs, Some(&[("events", "k1"), ("do", "cancel")])).await;
    all(&xml, &["Cancelled: 1."]);
    assert_eq!(*set.office.told.lock().expect("no panic"), ["cancel k1 of Some(\"juliet@example.org\")"]);
    let (_, id) = set.good(JULIET, "node='queue'", None).await;
    let (xml, _) =
        set.good(JULIET, &format!("node='queue' sessionid='{id}'"), Some(&[("events", "k1"), ("do", "retry")])).await;
    all(&xml, &["<note type='error'>Already under way or gone: 1."]);
}

#[tokio::test]
async fn leaving_removes_everything_and_is_asked_first() {
    let set = Set::new().await;
    let juliet: BareJid = "juliet@example.org".into();
    for node in ["unregister", "delete"] {
        set.persons.register(&juliet, &Values::new().with("username", "j")).await.expect("registered");
        let (xml, _) = set.good(JULIET, "node='export'", None).await;
        all(&xml, &["<value>username</value>"]);
        let (_, id) = set.good(JULIET, &format!("node='{node}'"), None).await;
        let attrs = format!("node='{node}' sessionid='{id}'");
        let (_, effects) = set.send(JULIET, &attrs, Some(&[("sure", "0")])).await.expect("kept");
        assert!(effects.is_empty() && set.persons.registered(&juliet));
        let (_, id) = set.good(JULIET, &format!("node='{node}'"), None).await;
        let attrs = format!("node='{node}' sessionid='{id}'");
        let (_, effects) = set.send(JULIET, &attrs, Some(&[("sure", "1")])).await.expect("gone");
        assert_eq!(effects, [Effect::Unregistered(juliet.clone(), Vec::new())]);
        assert!(!set.persons.registered(&juliet));
    }
}

#[tokio::test]
async fn administrators_add_remove_and_act_for_users_and_it_is_written_down() {
    let set = Set::new().await;
    let romeo: BareJid = "romeo@example.org".into();
    let run = async |what: &str, fields: &[(&str, &str)]| {
        let (_, id) = set.good(ADMIN, "node='users'", None).await;
        let attrs = format!("node='users' sessionid='{id}'");
        set.good(ADMIN, &attrs, Some(&[("do", what)])).await;
        let (answer, effects) = set.send(ADMIN, &attrs, Some(fields)).await.expect("it works");
        (String::from(&answer), effects, attrs)
    };
    let (_, effects, _) = run("add", &[("user", "romeo@example.org")]).await;
    assert_eq!(effects, [Effect::Registered(romeo.clone())]);
    let (xml, ..) = run("add", &[("user", "example.org")]).await;
    all(&xml, &["Please give a bare JID"]);
    let (xml, _, attrs) = run("act", &[("user", "romeo@example.org"), ("command", "configure")]).await;
    all(&xml, &["Join within seconds"]);
    set.good(ADMIN, &format!("{attrs} action='complete'"), Some(&[("join", "7")])).await;
    assert_eq!(set.persons.resolved(&romeo, &Address::Gateway).str("join"), "7");
    run("remove", &[("user", "romeo@example.org")]).await;
    assert!(!set.persons.registered(&romeo));
    let acts: Vec<_> =
        set.desk.people.audited(9).await.expect("readable").into_iter().map(|a| (a.actor, a.act, a.about)).collect();
    let line = |act: &str| ("admin@example.org".to_owned(), act.to_owned(), Some("romeo@example.org".to_owned()));
    assert_eq!(
        acts,
        [
            line("users remove"),
            line("acted for: configure"),
            line("configure join"),
            line("act for: configure"),
            line("users add")
        ]
    );
    let (xml, _) = set.good(ADMIN, "node='audit'", None).await;
    all(&xml, &["sample users remove"]);
}

#[tokio::test]
async fn administrators_see_and_operate_the_gateway() {
    let set = Set::new().await;
    for (node, part) in [
        ("status", "<value>up</value>"),
        ("version", "Isthmus 0.1.0"),
        ("reload", "no such file"),
        ("queue-all", "juliet@example.org → romeo@example.net"),
    ] {
        let (xml, _) = set.good(ADMIN, &format!("node='{node}'"), None).await;
        all(&xml, &[part]);
    }
    let (xml, id) = set.good(ADMIN, "node='log-level'", None).await;
    all(&xml, &["<value>info</value>"]);
    let (xml, _) = set.good(ADMIN, &format!("node='log-level' sessionid='{id}'"), Some(&[("filter", "loud")])).await;
    all(&xml, &["loud is not a level", "executing"]);
    let (xml, _) = set.good(ADMIN, &format!("node='log-level' sessionid='{id}'"), Some(&[("filter", "debug")])).await;
    all(&xml, &["The log filter is now “debug”."]);
    let (_, id) = set.good(ADMIN, "node='announce'", None).await;
    set.good(ADMIN, &format!("node='announce' sessionid='{id}'"), Some(&[("words", "Back at noon")])).await;
    assert_eq!(*set.office.told.lock().expect("no panic"), ["announce Back at noon"]);
}
