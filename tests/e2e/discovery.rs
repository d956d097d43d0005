//! What an XMPP client asks a gateway and its contacts.

use isthmus_testkit::server::Flavour;
use isthmus_testkit::xml::Element;

use crate::world::World;

const INFO: &str = "<query xmlns='http://jabber.org/protocol/disco#info'/>";
const ITEMS: &str = "<query xmlns='http://jabber.org/protocol/disco#items'/>";

crate::on_both!(
    disco_says_what_the_gateway_is,
    ping_version_and_time_are_answered,
    a_typed_address_becomes_a_jid,
    what_nobody_serves_gets_the_exact_error,
    odd_stanzas_do_not_disturb_the_gateway,
);

fn features(info: &Element) -> Vec<&str> {
    let query = info.child("query").expect("a query");
    query.children.iter().filter(|child| child.name == "feature").filter_map(|child| child.attr("var")).collect()
}

async fn disco_says_what_the_gateway_is(flavour: Flavour) {
    let world = World::echo(flavour).await;
    let mut alice = world.client("alice").await;
    let info = alice.ask("echo.localhost", "get", INFO).await.unwrap();
    assert_eq!(info.attr("type"), Some("result"), "{info}");
    let identity = info.child("query").and_then(|query| query.child("identity")).expect("an identity");
    assert_eq!((identity.attr("category"), identity.attr("type")), (Some("gateway"), Some("echo")), "{info}");
    for feature in ["http://jabber.org/protocol/disco#info", "urn:xmpp:ping", "jabber:iq:version"] {
        assert!(features(&info).contains(&feature), "{feature} is missing in {info}");
    }
    let contact = alice.ask("carol@echo.localhost", "get", INFO).await.unwrap();
    assert!(features(&contact).contains(&"urn:xmpp:ping"), "{contact}");
    let items = alice.ask("echo.localhost", "get", ITEMS).await.unwrap();
    assert_eq!(items.attr("type"), Some("result"), "{items}");
    // The server shows the gateway to its users.
    let served = alice.ask("localhost", "get", ITEMS).await.unwrap();
    assert!(served.walk().any(|item| item.attr("jid") == Some("echo.localhost")), "{served}");
}

async fn ping_version_and_time_are_answered(flavour: Flavour) {
    let world = World::echo(flavour).await;
    let mut alice = world.client("alice").await;
    for to in ["echo.localhost", "carol@echo.localhost"] {
        let pong = alice.ping(to).await.unwrap();
        assert_eq!((pong.attr("type"), pong.attr("from")), (Some("result"), Some(to)), "{pong}");
    }
    let version = alice.ask("echo.localhost", "get", "<query xmlns='jabber:iq:version'/>").await.unwrap();
    let query = version.child("query").expect("a query");
    assert!(query.child("name").is_some_and(|name| name.text.contains("sthmus")), "{version}");
    assert!(query.child("version").is_some_and(|version| !version.text.is_empty()), "{version}");
    let time = alice.ask("echo.localhost", "get", "<time xmlns='urn:xmpp:time'/>").await.unwrap();
    assert!(time.walk().any(|e| e.name == "utc" && e.text.ends_with('Z')), "{time}");
}

async fn a_typed_address_becomes_a_jid(flavour: Flavour) {
    let world = World::echo(flavour).await;
    let mut alice = world.client("alice").await;
    let offer = alice.ask("echo.localhost", "get", "<query xmlns='jabber:iq:gateway'/>").await.unwrap();
    assert!(offer.child("query").and_then(|query| query.child("prompt")).is_some(), "{offer}");
    let typed = "<query xmlns='jabber:iq:gateway'><prompt>call me@home</prompt></query>";
    let answer = alice.ask("echo.localhost", "set", typed).await.unwrap();
    let jid = answer.child("query").and_then(|query| query.child("jid")).map(|jid| jid.text.as_str());
    assert_eq!(jid, Some("call\\20me\\40home@echo.localhost"), "{answer}");
}

async fn what_nobody_serves_gets_the_exact_error(flavour: Flavour) {
    let world = World::echo(flavour).await;
    let mut alice = world.client("alice").await;
    for to in ["echo.localhost", "carol@echo.localhost"] {
        let answer = alice.ask(to, "get", "<query xmlns='urn:example:nothing'/>").await.unwrap();
        assert_eq!(answer.error().as_deref(), Some("cancel/service-unavailable"), "{to}: {answer}");
    }
    let node = "<query xmlns='http://jabber.org/protocol/disco#info' node='no-such-node'/>";
    let answer = alice.ask("echo.localhost", "get", node).await.unwrap();
    assert_eq!(answer.error().as_deref(), Some("cancel/item-not-found"), "{answer}");
}

async fn odd_stanzas_do_not_disturb_the_gateway(flavour: Flavour) {
    let world = World::echo(flavour).await;
    let mut alice = world.client("alice").await;
    let mut bob = world.client("bob").await;
    let to = "carol@echo.localhost";
    let deep = "<a>".repeat(400) + &"</a>".repeat(400);
    let wide = "y".repeat(9 * 1024);
    for odd in [
        format!("<message to='{to}' type='bogus'><body>x</body></message>"),
        format!("<presence to='{to}'><show>on the moon</show></presence>"),
        format!("<message to='{to}' type='chat'><x xmlns='urn:x' y='{wide}'/></message>"),
        format!("<message to='{to}' type='chat'><x xmlns='urn:x'>{deep}</x></message>"),
        format!("<message to='{to}' type='chat'><body>{}</body></message>", "z".repeat(150 * 1024)),
        format!("<message to='{to}' type='error'><body>x</body></message>"),
        format!("<iq to='{to}' type='result' id='nobody-asked'/>"),
    ] {
        alice.send(&odd).await.unwrap();
    }
    let pong = bob.ping("echo.localhost").await.unwrap();
    assert_eq!(pong.attr("type"), Some("result"), "{pong}");
    // The server may end the client's own stream for some of these; the gateway stays attached.
    let log = world.gateway.log();
    assert!(!log.contains("panicked"), "a panic in the log");
    assert_eq!(log.matches("attached to the XMPP server").count(), 1, "it lost its stream:\n{log}");
}
