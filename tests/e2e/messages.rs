//! All that a message can be, on a real server: in rooms and between two, live and held, with a network that carries everything.

use isthmus_testkit::server::Flavour;
use isthmus_testkit::slix::SlixClient;
use isthmus_testkit::xml::Element;

use super::inside::{HELD, Inside, LOOP};
use super::irc::{is_group, join, say};

const REACTIONS: &str = "urn:xmpp:reactions:0";
const RETRACT: &str = "urn:xmpp:message-retract:1";
const REPLY: &str = "urn:xmpp:reply:0";
const CORRECT: &str = "urn:xmpp:message-correct:0";
const MARKERS: &str = "urn:xmpp:chat-markers:0";
const STATES: &str = "http://jabber.org/protocol/chatstates";

crate::on_both!(
    rooms_carry_answers_reactions_corrections_withdrawals_and_marks,
    two_talk_with_answers_reactions_corrections_withdrawals_and_marks,
    a_held_network_gives_receipts_and_marks,
    what_is_encrypted_is_refused_and_copies_send_nothing,
);

async fn group(client: &mut SlixClient, room: &str, id: &str, children: &str) {
    client.send(format!("<message to='{room}' type='groupchat' id='{id}'>{children}</message>")).await.unwrap();
}

async fn chat(client: &mut SlixClient, to: &str, id: &str, children: &str) {
    client.send(format!("<message to='{to}' type='chat' id='{id}'>{children}</message>")).await.unwrap();
}

/// A room's message with this child.
async fn told(client: &mut SlixClient, name: &'static str, ns: &'static str) -> Element {
    client.find(name, move |s| is_group(s) && s.has(name, ns)).await.unwrap()
}

fn of<'a>(stanza: &'a Element, name: &str, ns: &str) -> Option<&'a str> {
    stanza.get(name, ns).and_then(|e| e.attr("id"))
}

async fn rooms_carry_answers_reactions_corrections_withdrawals_and_marks(flavour: Flavour) {
    let world = Inside::both(flavour).await;
    let room = format!("#verona%loop@{LOOP}");
    let (mut romeo, mut juliet) = (world.online("romeo").await, world.online("juliet").await);
    join(&mut romeo, &room, "romeo").await;
    join(&mut juliet, &room, "juliet").await;
    group(&mut romeo, &room, "m1", "<body>*at* `five`?</body><thread>t1</thread>").await;
    let mut ids = Vec::new();
    for client in [&mut romeo, &mut juliet] {
        let heard = client.find("the words", |s| is_group(s) && s.body() == Some("*at* `five`?")).await.unwrap();
        assert_eq!(heard.child("thread").map(|t| t.text.as_str()), Some("t1"), "XEP-0201: {heard}");
        assert!(heard.has("occupant-id", "urn:xmpp:occupant-id:0"), "XEP-0421: {heard}");
        ids.push(of(&heard, "stanza-id", "urn:xmpp:sid:0").expect("XEP-0359").to_owned());
    }
    assert_eq!(ids[0], ids[1]);
    let id = ids.remove(0);

    let body = format!("<body>yes</body><reply xmlns='{REPLY}' to='{room}/romeo' id='{id}'/>");
    group(&mut juliet, &room, "a1", &body).await;
    assert_eq!(of(&told(&mut romeo, "reply", REPLY).await, "reply", REPLY), Some(&*id));
    for (n, set) in ["<reaction>👍</reaction><reaction>🌹</reaction>", "<reaction>🌹</reaction>"].iter().enumerate()
    {
        let reactions = format!("<reactions xmlns='{REACTIONS}' id='{id}'>{set}</reactions>");
        group(&mut juliet, &room, &format!("r{n}"), &reactions).await;
        let heard = told(&mut romeo, "reactions", REACTIONS).await;
        assert_eq!(of(&heard, "reactions", REACTIONS), Some(&*id));
        assert_eq!(heard.get("reactions", REACTIONS).map(|r| r.children.len()), Some(2 - n), "{heard}");
    }
    group(&mut romeo, &room, "m2", &format!("<body>at six?</body><replace xmlns='{CORRECT}' id='m1'/>")).await;
    assert_eq!(of(&told(&mut juliet, "replace", CORRECT).await, "replace", CORRECT), Some(&*id));
    assert_eq!(of(&told(&mut romeo, "replace", CORRECT).await, "replace", CORRECT), Some("m1"));
    let marked = "<body>an important word</body><markup xmlns='urn:xmpp:markup:0'><span start='3' end='12'><strong/></span></markup>";
    group(&mut romeo, &room, "k1", marked).await;
    juliet.find("styling", |s| is_group(s) && s.body() == Some("an *important* word")).await.unwrap();
    group(&mut juliet, &room, "d1", &format!("<displayed xmlns='{MARKERS}' id='{id}'/>")).await;
    assert_eq!(of(&told(&mut romeo, "displayed", MARKERS).await, "displayed", MARKERS), Some(&*id));
    group(&mut juliet, &room, "t1", &format!("<composing xmlns='{STATES}'/>")).await;
    told(&mut romeo, "composing", STATES).await;

    group(&mut romeo, &room, "w1", &format!("<retract xmlns='{RETRACT}' id='{id}'/>")).await;
    assert_eq!(of(&told(&mut juliet, "retract", RETRACT).await, "retract", RETRACT), Some(&*id));
    say(&mut juliet, &room, "m3", "noise").await;
    let heard = romeo.find("the noise", |s| is_group(s) && s.body() == Some("noise")).await.unwrap();
    let noise = of(&heard, "stanza-id", "urn:xmpp:sid:0").unwrap().to_owned();
    romeo.find("his own withdrawal", |s| of(s, "retract", RETRACT) == Some(&id)).await.ok();
    let wish =
        format!("<moderate xmlns='urn:xmpp:message-moderate:1' id='{noise}'><retract xmlns='{RETRACT}'/></moderate>");
    assert_eq!(romeo.ask(&room, "set", &wish).await.unwrap().attr("type"), Some("result"));
    let heard = juliet.find("the moderation", |s| of(s, "retract", RETRACT) == Some(&noise)).await.unwrap();
    assert!(heard.walk().any(|e| e.name == "moderated"), "{heard}");
    // The same as clients did it before XEP-0425 0.3 and XEP-0424 0.4.
    for n in ["old noise", "more"] {
        say(&mut juliet, &room, n, n).await;
    }
    let mut ids = Vec::new();
    for n in ["old noise", "more"] {
        let heard = romeo.find("the noise", |s| is_group(s) && s.body() == Some(n)).await.unwrap();
        ids.push(of(&heard, "stanza-id", "urn:xmpp:sid:0").unwrap().to_owned());
    }
    let retract = "<retract xmlns='urn:xmpp:message-retract:0'/>";
    let old = |id: &str, inner: &str| format!("<apply-to xmlns='urn:xmpp:fasten:0' id='{id}'>{inner}</apply-to>");
    let wish = format!("<moderate xmlns='urn:xmpp:message-moderate:0'>{retract}<reason>loud</reason></moderate>");
    assert_eq!(romeo.ask(&room, "set", &old(&ids[0], &wish)).await.unwrap().attr("type"), Some("result"));
    let heard = juliet.find("the moderation", |s| of(s, "retract", RETRACT) == Some(&ids[0])).await.unwrap();
    let wrapped = heard.get("apply-to", "urn:xmpp:fasten:0").unwrap_or_else(|| panic!("as of old too: {heard}"));
    let moderated = wrapped.get("moderated", "urn:xmpp:message-moderate:0").expect("moderated");
    assert_eq!(moderated.child("reason").map(|r| r.text.as_str()), Some("loud"));
    group(&mut juliet, &room, "w0", &old(&ids[1], retract)).await;
    romeo.find("her withdrawal", |s| of(s, "retract", RETRACT) == Some(&ids[1])).await.unwrap();
    world.finish().await;
}

async fn two_talk_with_answers_reactions_corrections_withdrawals_and_marks(flavour: Flavour) {
    let world = Inside::both(flavour).await;
    let alice = format!("alice%loop@{LOOP}");
    let mut romeo = world.online("romeo").await;
    chat(&mut romeo, &alice, "m1", "<subject>Tea</subject><body>hello</body><thread>t1</thread>").await;
    let heard = romeo.body("hello").await.unwrap();
    assert_eq!(heard.child("thread").map(|t| t.text.as_str()), Some("t1"));
    assert_eq!(heard.child("subject").map(|t| t.text.as_str()), Some("Tea"));
    let id = heard.attr("id").unwrap().to_owned();
    // Loopback's people answer in kind.
    chat(&mut romeo, &alice, "m2", &format!("<body>indeed</body><reply xmlns='{REPLY}' to='{alice}' id='{id}'/>"))
        .await;
    assert_eq!(of(&romeo.body("indeed").await.unwrap(), "reply", REPLY), Some(&*id));
    let reactions = format!("<reactions xmlns='{REACTIONS}' id='{id}'><reaction>👍</reaction></reactions>");
    chat(&mut romeo, &alice, "r1", &reactions).await;
    let heard = romeo.find("a reaction", |s| s.has("reactions", REACTIONS)).await.unwrap();
    assert_eq!(of(&heard, "reactions", REACTIONS), Some(&*id));
    chat(&mut romeo, &alice, "c1", &format!("<body>hallo</body><replace xmlns='{CORRECT}' id='m1'/>")).await;
    assert_eq!(of(&romeo.body("hallo").await.unwrap(), "replace", CORRECT), Some("m1"));
    chat(&mut romeo, &alice, "d1", &format!("<displayed xmlns='{MARKERS}' id='{id}'/>")).await;
    romeo.find("a mark", |s| s.has("displayed", MARKERS)).await.unwrap();
    chat(&mut romeo, &alice, "s1", &format!("<composing xmlns='{STATES}'/>")).await;
    romeo.find("typing", |s| s.has("composing", STATES)).await.unwrap();
    chat(&mut romeo, &alice, "w1", &format!("<retract xmlns='{RETRACT}' id='m1'/>")).await;
    let heard = romeo.find("a withdrawal", |s| s.has("retract", RETRACT)).await.unwrap();
    assert_eq!(of(&heard, "retract", RETRACT), Some("m1"));
    world.finish().await;
}

async fn a_held_network_gives_receipts_and_marks(flavour: Flavour) {
    let world = Inside::both(flavour).await;
    let alice = format!("alice%loop@{HELD}");
    let mut romeo = world.online("romeo").await;
    chat(&mut romeo, &alice, "m1", "<body>hello</body><request xmlns='urn:xmpp:receipts'/>").await;
    let receipt = romeo.find("a receipt", |s| s.has("received", "urn:xmpp:receipts")).await.unwrap();
    assert_eq!((of(&receipt, "received", "urn:xmpp:receipts"), receipt.attr("from")), (Some("m1"), Some(&*alice)));
    let heard = romeo.body("hello").await.unwrap();
    let id = heard.attr("id").unwrap().to_owned();
    chat(&mut romeo, &alice, "d1", &format!("<displayed xmlns='{MARKERS}' id='{id}'/>")).await;
    romeo.find("a mark", |s| s.has("displayed", MARKERS)).await.unwrap();
    let reactions = format!("<reactions xmlns='{REACTIONS}' id='{id}'><reaction>👍</reaction></reactions>");
    chat(&mut romeo, &alice, "r1", &reactions).await;
    let heard = romeo.find("a reaction", |s| s.has("reactions", REACTIONS)).await.unwrap();
    assert_eq!(of(&heard, "reactions", REACTIONS), Some(&*id));
    chat(&mut romeo, &alice, "w1", &format!("<retract xmlns='{RETRACT}' id='m1'/>")).await;
    let heard = romeo.find("a withdrawal", |s| s.has("retract", RETRACT)).await.unwrap();
    assert_eq!(of(&heard, "retract", RETRACT), Some("m1"));
    // A failure known at once is an error to the resource that sent.
    chat(&mut romeo, &format!("refuse%loop@{HELD}"), "f1", "<body>hello</body>").await;
    let error = romeo.find("an error", |s| s.attr("id") == Some("f1")).await.unwrap();
    assert_eq!(error.error().as_deref(), Some("cancel/item-not-found"));
    assert_eq!(error.attr("to"), Some("romeo@localhost/desk"));
    world.finish().await;
}

async fn what_is_encrypted_is_refused_and_copies_send_nothing(flavour: Flavour) {
    let world = Inside::both(flavour).await;
    let mut romeo = world.online("romeo").await;
    for domain in [LOOP, HELD] {
        let alice = format!("alice%loop@{domain}");
        let omemo = "<body>I sent you an OMEMO message</body><encryption xmlns='urn:xmpp:eme:0' namespace='urn:xmpp:omemo:2' name='OMEMO'/>";
        chat(&mut romeo, &alice, "e1", omemo).await;
        let error = romeo.find("the refusal", |s| s.attr("id") == Some("e1")).await.unwrap();
        assert!(error.error().is_some_and(|e| e.ends_with("/not-acceptable")), "{error}");
        assert!(error.to_string().contains("OMEMO"), "{error}");
        let forwarded = "<body>copy</body><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><body>copy</body></message></forwarded>";
        chat(&mut romeo, &alice, "c1", forwarded).await;
        chat(&mut romeo, &alice, "c2", "<body>the last</body>").await;
        romeo.body("the last").await.unwrap();
        assert!(!romeo.drain().iter().any(|s| s.body() == Some("copy")), "a copy was sent");
    }
    world.finish().await;
}
