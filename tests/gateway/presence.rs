//! Subscriptions, probes, presence at the start and at the stop.

use super::house::{ECHO, House, JULIET, LOOP, write};

const PING: &str = "<ping xmlns='urn:xmpp:ping'/>";

fn is(kind: &'static str) -> impl Fn(&isthmus_testkit::xml::Element) -> bool {
    move |s| s.name == "presence" && s.attr("type") == Some(kind)
}

#[tokio::test]
async fn a_contact_accepts_shows_itself_answers_probes_and_leaves_with_the_gateway() {
    let mut house = House::echo("").await;
    let bob = format!("bob@{ECHO}");
    house.send(&format!("<presence from='juliet@example.org' to='{bob}' type='subscribe'/>"));
    let answer = house.next("subscribed", is("subscribed")).await;
    assert_eq!((answer.attr("from"), answer.attr("to")), (Some(bob.as_str()), Some("juliet@example.org")));
    let shown = house.next("presence", |s| s.name == "presence" && s.attr("type").is_none()).await;
    assert!(shown.get("c", "http://jabber.org/protocol/caps").is_some(), "capabilities in {shown:?}");

    house.send(&format!("<presence from='{JULIET}' to='{bob}' type='probe'/>"));
    let shown = house.next("presence", |s| s.name == "presence" && s.attr("type").is_none()).await;
    assert_eq!(shown.attr("to"), Some(JULIET));

    house.send(&format!("<presence from='{JULIET}' to='nobody@{ECHO}' type='probe'/>"));
    house.next("unsubscribed", is("unsubscribed")).await;

    house.stop.cancel();
    let gone = house.next("unavailable", is("unavailable")).await;
    assert_eq!(gone.attr("from"), Some(bob.as_str()));
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn the_capabilities_in_presence_are_those_of_disco() {
    let mut house = House::echo("").await;
    house.send(&format!("<presence from='juliet@example.org' to='{ECHO}' type='subscribe'/>"));
    let shown = house.next("presence", |s| s.name == "presence" && s.attr("type").is_none()).await;
    let caps = shown.get("c", "http://jabber.org/protocol/caps").expect("capabilities");
    let node = format!("{}#{}", caps.attr("node").expect("a node"), caps.attr("ver").expect("a ver"));
    let answer = house
        .ask(JULIET, ECHO, "get", &format!("<query xmlns='http://jabber.org/protocol/disco#info' node='{node}'/>"))
        .await;
    let query = answer.child("query").expect("an answer with a query");
    assert_eq!(query.attr("node"), Some(node.as_str()));
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn contacts_and_networks_have_capabilities_of_their_own() {
    let mut house = House::rooms("").await;
    let mut hashes = Vec::new();
    for at in [format!("bob%loop@{LOOP}"), format!("loop@{LOOP}"), LOOP.to_owned()] {
        house.send(&format!("<presence from='juliet@example.org' to='{at}' type='subscribe'/>"));
        house.next("subscribed", is("subscribed")).await;
        house.send(&format!("<message from='{JULIET}' to='{at}' type='chat' id='m1'><body>hello</body></message>"));
        let there = |s: &isthmus_testkit::xml::Element| s.name == "presence" && s.attr("type").is_none();
        let shown = house.next("presence", |s| there(s) && s.attr("from") == Some(&at)).await;
        let caps = shown.get("c", "http://jabber.org/protocol/caps").expect("capabilities");
        let node = format!("{}#{}", caps.attr("node").expect("a node"), caps.attr("ver").expect("a ver"));
        let answer = house
            .ask(JULIET, &at, "get", &format!("<query xmlns='http://jabber.org/protocol/disco#info' node='{node}'/>"))
            .await;
        assert_eq!(answer.attr("type"), Some("result"), "{at}: {answer:?}");
        hashes.push(node);
    }
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), 3, "{hashes:?}");
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn of_who_may_nothing_no_subscription_is_kept() {
    const MALLORY: &str = "mallory@elsewhere.example";
    let mut house = House::echo("").await;
    for kind in ["subscribed", "unsubscribed", "unsubscribe"] {
        house.send(&format!("<presence from='{MALLORY}' to='bob@{ECHO}' type='{kind}'/>"));
    }
    house.next("unsubscribed", is("unsubscribed")).await;
    // Later they may: what they said before counts for nothing, so bob does not ask how they are.
    let file = house.folder.path().join("isthmus.toml");
    let before = std::fs::read_to_string(&file).expect("there");
    write(&file, &format!("{before}[access]\nforeign = \"user\"\n"));
    house.send(&format!("<presence from='juliet@example.org' to='bob@{ECHO}' type='subscribed'/>"));
    assert_eq!(house.ask(JULIET, ECHO, "get", PING).await.attr("type"), Some("result"));
    let mut house = house.again().await;
    let asked = house.next("a probe", is("probe")).await;
    assert_eq!(asked.attr("to"), Some("juliet@example.org"), "who may subscribe is asked");
    house.send(&format!("<iq from='{JULIET}' to='{ECHO}' type='get' id='p9'>{PING}</iq>"));
    let next = house.next("a probe or the answer", |s| is("probe")(s) || s.attr("id") == Some("p9")).await;
    assert_eq!(next.name, "iq", "{next:?}");
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn unsubscribing_ends_it() {
    let mut house = House::echo("").await;
    house.send(&format!("<presence from='juliet@example.org' to='bob@{ECHO}' type='subscribe'/>"));
    house.next("subscribed", is("subscribed")).await;
    house.send(&format!("<presence from='juliet@example.org' to='bob@{ECHO}' type='unsubscribe'/>"));
    house.next("unsubscribed", is("unsubscribed")).await;
    house.send(&format!("<presence from='{JULIET}' to='bob@{ECHO}' type='probe'/>"));
    house.next("unsubscribed", is("unsubscribed")).await;
    house.finish().await.expect("an orderly stop");
}
