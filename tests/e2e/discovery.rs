//! What an XMPP client asks a gateway and its contacts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use isthmus_testkit::server::Flavour;
use isthmus_testkit::xml::Element;

use crate::inside::{Inside, LOOP};
use crate::people::presence;
use crate::world::World;

const INFO: &str = "<query xmlns='http://jabber.org/protocol/disco#info'/>";
const ITEMS: &str = "<query xmlns='http://jabber.org/protocol/disco#items'/>";

crate::on_both!(
    disco_says_what_the_gateway_is,
    ping_version_time_and_last_activity_are_answered,
    the_gateways_own_picture_is_in_presence_and_vcards,
    networks_own_rooms_and_commands_are_listed_and_capabilities_told,
    a_typed_address_becomes_a_jid,
    what_nobody_serves_gets_the_exact_error,
    odd_stanzas_do_not_disturb_the_gateway,
);

fn features(info: &Element) -> Vec<&str> {
    let query = info.child("query").expect("a query");
    query.children.iter().filter(|child| child.name == "feature").filter_map(|child| child.attr("var")).collect()
}

async fn disco_says_what_the_gateway_is(flavour: Flavour) {
    let contact = "[contact]\nabuse = [\"mailto:abuse@example.org\"]";
    let world = World::with(flavour, |setup| setup.top(contact).echo()).await;
    let mut alice = world.client("alice").await;
    let info = alice.ask("echo.localhost", "get", INFO).await.unwrap();
    // Whom to write to (XEP-0157).
    let text = info.to_string();
    assert!(text.contains("abuse-addresses") && text.contains("mailto:abuse@example.org"), "{info}");
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

async fn networks_own_rooms_and_commands_are_listed_and_capabilities_told(flavour: Flavour) {
    let mut world = Inside::start(flavour, "").await;
    let mut alice = world.client("alice", "desk").await;
    let room = format!("#garden%loop@{LOOP}");
    let join = format!("<presence to='{room}/al'><x xmlns='http://jabber.org/protocol/muc'/></presence>");
    alice.send(join).await.unwrap();
    let own = alice.find("her own presence", presence(&room, None)).await.unwrap();
    assert!(own.child("c").is_none(), "an occupant has no capabilities of the gateway's: {own}");
    let jids = |items: &Element| items.walk().filter_map(|i| i.attr("jid").map(str::to_owned)).collect::<Vec<_>>();
    let items = alice.ask(LOOP, "get", ITEMS).await.unwrap();
    let network = format!("loop@{LOOP}");
    assert!(jids(&items).contains(&network) && jids(&items).contains(&room), "{items}");
    let commands = "<query xmlns='http://jabber.org/protocol/disco#items' node='http://jabber.org/protocol/commands'/>";
    let commands = alice.ask(LOOP, "get", commands).await.unwrap().to_string();
    assert!(["configure", "contacts", "export"].iter().all(|node| commands.contains(node)), "{commands}");
    assert!(!commands.contains("rotate-key"), "that is for administrators: {commands}");
    // XEP-0115: what the presence of gateway and contacts names is what disco says.
    let ann = format!("ann%loop@{LOOP}");
    for to in [LOOP, ann.as_str()] {
        alice.send(format!("<presence type='subscribe' to='{to}'/>")).await.unwrap();
        let shown = alice.find("a presence", presence(to, None)).await.unwrap();
        let caps = shown.child("c").unwrap_or_else(|| panic!("{shown}"));
        let node = format!("{}#{}", caps.attr("node").unwrap(), caps.attr("ver").unwrap());
        let query = format!("<query xmlns='http://jabber.org/protocol/disco#info' node='{node}'/>");
        let info = alice.ask(to, "get", &query).await.unwrap();
        assert!(info.attr("type") == Some("result") && !features(&info).is_empty(), "{info}");
    }
    world.stop().await;
}

async fn the_gateways_own_picture_is_in_presence_and_vcards(flavour: Flavour) {
    const PIXEL: &str =
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("face.png");
    std::fs::write(&picture, STANDARD.decode(PIXEL).unwrap()).unwrap();
    let mut world = Inside::start(flavour, &format!("avatar = \"{}\"\n", picture.display())).await;
    let mut alice = world.client("alice", "desk").await;
    alice.send(format!("<presence type='subscribe' to='{LOOP}'/>")).await.unwrap();
    let hash = |s: &Element| s.child("x").and_then(|x| x.child("photo")).map(|photo| photo.text.clone());
    let shown = |s: &Element| presence(LOOP, None)(s) && hash(s).is_some_and(|hash| !hash.is_empty());
    let shown = hash(&alice.find("a presence with a picture", shown).await.unwrap()).unwrap();
    let card = alice.ask(LOOP, "get", "<vCard xmlns='vcard-temp'/>").await.unwrap();
    let data = card.walk().find(|e| e.name == "BINVAL").map(|e| e.text.clone());
    assert_eq!(data.as_deref(), Some(PIXEL), "{card}");
    let card = alice.ask(LOOP, "get", "<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'/>").await.unwrap();
    assert!(card.to_string().contains(&format!("data:image/png;base64,{PIXEL}")), "{card}");
    for (node, what) in [("metadata", shown.as_str()), ("data", PIXEL)] {
        let items = format!(
            "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:avatar:{node}'/></pubsub>"
        );
        let items = alice.ask(LOOP, "get", &items).await.unwrap();
        assert!(items.to_string().contains(what), "{node}: {items}");
    }
    world.stop().await;
}

async fn ping_version_time_and_last_activity_are_answered(flavour: Flavour) {
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
    // Of a gateway it is the time since its start (XEP-0012, section 4).
    for to in ["echo.localhost", "carol@echo.localhost"] {
        let last = alice.ask(to, "get", "<query xmlns='jabber:iq:last'/>").await.unwrap();
        let seconds = last.child("query").and_then(|query| query.attr("seconds")).map(str::parse::<u64>);
        assert!(matches!(seconds, Some(Ok(0..=3600))), "{last}");
        let info = alice.ask(to, "get", INFO).await.unwrap();
        for feature in ["jabber:iq:last", "urn:xmpp:time", "vcard-temp"] {
            assert!(features(&info).contains(&feature), "{feature} is missing in {info}");
        }
    }
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
