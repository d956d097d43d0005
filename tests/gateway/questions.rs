//! Discovery, ping, version and the other questions.

use std::time::Duration;

use super::house::{ECHO, House, JULIET, LOOP};

/// Sooner than a command that hangs is given up.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn the_gateway_says_what_it_is_and_what_it_serves() {
    let mut house = House::echo("").await;
    let answer = house.ask(JULIET, ECHO, "get", "<query xmlns='http://jabber.org/protocol/disco#info'/>").await;
    let query = answer.get("query", "http://jabber.org/protocol/disco#info").expect("a query");
    let identity = query.child("identity").expect("an identity");
    assert_eq!((identity.attr("category"), identity.attr("type")), (Some("gateway"), Some("echo")));
    let features: Vec<_> =
        query.children.iter().filter(|c| c.name == "feature").filter_map(|c| c.attr("var")).collect();
    for feature in ["urn:xmpp:ping", "jabber:iq:version", "jabber:iq:gateway", "http://jabber.org/protocol/commands"] {
        assert!(features.contains(&feature), "{feature} is missing in {features:?}");
    }
    assert!(!features.contains(&"jabber:iq:register"), "nothing to register with");
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn every_feature_that_is_announced_is_served() {
    let mut house = House::echo("").await;
    for (payload, answer) in [
        ("<ping xmlns='urn:xmpp:ping'/>", None),
        ("<query xmlns='jabber:iq:version'/>", Some("query")),
        ("<time xmlns='urn:xmpp:time'/>", Some("time")),
        ("<query xmlns='jabber:iq:last'/>", Some("query")),
        ("<vCard xmlns='vcard-temp'/>", Some("vCard")),
        ("<query xmlns='jabber:iq:gateway'/>", Some("query")),
        ("<query xmlns='http://jabber.org/protocol/disco#items'/>", Some("query")),
    ] {
        let got = house.ask(JULIET, ECHO, "get", payload).await;
        assert_eq!(got.attr("type"), Some("result"), "{payload}: {got:?}");
        assert_eq!(got.children.first().map(|c| c.name.as_str()), answer, "{payload}");
    }
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn a_typed_address_becomes_a_jid() {
    let mut house = House::echo("").await;
    let payload = "<query xmlns='jabber:iq:gateway'><prompt>d'artagnan@louvre</prompt></query>";
    let answer = house.ask(JULIET, ECHO, "set", payload).await;
    let jid = answer.child("query").and_then(|q| q.child("jid")).map(|j| j.text.clone());
    assert_eq!(jid.as_deref(), Some(r"d\27artagnan\40louvre@echo.example.org"));
    let answer = house.ask(JULIET, ECHO, "set", "<query xmlns='jabber:iq:gateway'><prompt> </prompt></query>").await;
    assert_eq!(answer.error().as_deref(), Some("modify/bad-request"));
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn what_is_not_served_gets_the_error_that_says_so() {
    let mut house = House::echo("").await;
    for (kind, payload, error) in [
        ("get", "<query xmlns='jabber:iq:unheard-of'/>", "cancel/service-unavailable"),
        ("set", "<query xmlns='http://jabber.org/protocol/disco#info'/>", "cancel/not-allowed"),
        ("get", "<query xmlns='http://jabber.org/protocol/disco#info' node='nowhere'/>", "cancel/item-not-found"),
        ("get", "<query xmlns='jabber:iq:register'/>", "cancel/service-unavailable"),
    ] {
        let answer = house.ask(JULIET, ECHO, kind, payload).await;
        assert_eq!(answer.error().as_deref(), Some(error), "{payload}");
    }
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn access_goes_by_domain_and_rule() {
    let rules = "[access]\nrules = [{ match = \"mallory@example.org\", tier = \"blocked\" }, { match = \"friends.example\", tier = \"user\" }]\n";
    let mut house = House::with("", rules).await;
    for (from, error) in [
        ("juliet@example.org/b", None),
        ("mallory@example.org/b", Some("auth/forbidden")),
        ("romeo@elsewhere.example/b", Some("auth/forbidden")),
        ("romeo@friends.example/b", None),
        ("romeo@sub.friends.example/b", Some("auth/forbidden")),
    ] {
        let answer = house.ask(from, ECHO, "get", "<ping xmlns='urn:xmpp:ping'/>").await;
        assert_eq!(answer.error().as_deref(), error, "{from}");
    }
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn whose_commands_hang_keeps_nobody_else_waiting() {
    let mut house = House::rooms("ponders = true\n").await;
    // More than the link has permits for, in each of the ways.
    for n in 0..300 {
        house
            .send(&format!("<message from='{JULIET}' to='{LOOP}' type='chat' id='c{n}'><body>ponder</body></message>"));
    }
    let ping = "<ping xmlns='urn:xmpp:ping'/>";
    let romeo = "romeo@example.org/orchard";
    let answer = tokio::time::timeout(SOON, house.ask(romeo, LOOP, "get", ping)).await;
    assert_eq!(answer.expect("behind another's chat").attr("type"), Some("result"));
    let benvolio = "benvolio@example.org/square";
    for n in 0..300 {
        house.send(&format!(
            "<iq from='{benvolio}' to='{LOOP}' type='set' id='a{n}'>\
             <command xmlns='http://jabber.org/protocol/commands' node='ponder'/></iq>"
        ));
    }
    let answer = tokio::time::timeout(SOON, house.ask(romeo, LOOP, "get", ping)).await;
    assert_eq!(answer.expect("behind another's commands").attr("type"), Some("result"));
    for (id, who) in [("c299", JULIET), ("a299", benvolio)] {
        let is = |e: &isthmus_testkit::xml::Element| e.attr("id") == Some(id) && e.attr("to") == Some(who);
        let refused =
            tokio::time::timeout(SOON, house.next("a refusal", is)).await.expect("what is too much is refused");
        assert_eq!(refused.error().as_deref(), Some("wait/resource-constraint"), "{who}");
    }
    // Their own next question is answered, too.
    let answer = tokio::time::timeout(SOON, house.ask(JULIET, LOOP, "get", ping)).await;
    assert_eq!(answer.expect("behind one's own").attr("type"), Some("result"));
    // An orderly stop would wait for what hangs.
}
