//! Subscriptions, presence, and messages to a contact and back.

use isthmus_testkit::server::Flavour;

use crate::world::World;

crate::on_both!(
    a_subscription_is_accepted_and_presence_shown,
    a_message_to_a_contact_comes_back,
    an_escaped_address_comes_back_the_same,
    a_held_contact_answers_across_a_kill,
);

async fn a_subscription_is_accepted_and_presence_shown(flavour: Flavour) {
    let mut world = World::echo(flavour).await;
    let mut alice = world.client("alice").await;
    let contact = "carol@echo.localhost";
    alice.send(format!("<presence type='subscribe' to='{contact}'/>")).await.unwrap();
    let from = |s: &isthmus_testkit::xml::Element, kind: Option<&str>| {
        s.name == "presence" && s.attr("from").is_some_and(|f| f.starts_with(contact)) && s.attr("type") == kind
    };
    alice.find("subscribed", |s| from(s, Some("subscribed"))).await.unwrap();
    alice.find("available", |s| from(s, None)).await.unwrap();
    // The next session learns it by the server's probe.
    alice.disconnect().await.unwrap();
    alice.drain();
    alice.reconnect().await.unwrap();
    alice.available().await.unwrap();
    alice.find("available again", |s| from(s, None)).await.unwrap();
    // An orderly stop is seen, and so is the next start.
    world.gateway.stop().await.unwrap();
    alice.find("unavailable at the stop", |s| from(s, Some("unavailable"))).await.unwrap();
    world.gateway.launch().await.unwrap();
    alice.find("available after the start", |s| from(s, None)).await.unwrap();
    alice.send(format!("<presence type='unsubscribe' to='{contact}'/>")).await.unwrap();
    alice
        .find("unsubscribed or unavailable", |s| from(s, Some("unsubscribed")) || from(s, Some("unavailable")))
        .await
        .unwrap();
}

async fn a_message_to_a_contact_comes_back(flavour: Flavour) {
    let world = World::echo(flavour).await;
    let mut alice = world.client("alice").await;
    let text = "<message type='chat' to='carol@echo.localhost' id='m1'><body>hello &amp; \u{1f600}\n2</body><thread>t1</thread></message>";
    alice.send(text).await.unwrap();
    let back = alice.body("hello & \u{1f600}\n2").await.unwrap();
    assert_eq!(back.attr("from").map(|from| from.split('/').next().unwrap_or_default()), Some("carol@echo.localhost"));
    assert_eq!(back.attr("type"), Some("chat"), "{back}");
    assert_eq!(back.child("thread").map(|thread| thread.text.as_str()), Some("t1"), "{back}");
    for number in 0..50 {
        alice.message("carol@echo.localhost", &format!("number {number}")).await.unwrap();
    }
    let mut order = Vec::new();
    while order.len() < 50 {
        let next = alice.find("an echo", |s| s.body().is_some_and(|body| body.starts_with("number"))).await.unwrap();
        order.push(next.body().unwrap_or_default().to_owned());
    }
    let expected: Vec<String> = (0..50).map(|number| format!("number {number}")).collect();
    assert_eq!(order, expected, "the order is lost");
}

async fn an_escaped_address_comes_back_the_same(flavour: Flavour) {
    let world = World::echo(flavour).await;
    let mut alice = world.client("alice").await;
    let contact = "d\\27artagnan\\20\\26\\20co\\40home@echo.localhost";
    alice.message(contact, "who are you").await.unwrap();
    let back = alice.body("who are you").await.unwrap();
    assert_eq!(back.attr("from").map(|from| from.split('/').next().unwrap_or_default()), Some(contact), "{back}");
}

async fn a_held_contact_answers_across_a_kill(flavour: Flavour) {
    let held =
        |setup: isthmus_testkit::isthmus::Setup| setup.bridge("echo", "echo", "echo.localhost", "mode = \"held\"\n");
    let mut world = World::with(flavour, held).await;
    let mut alice = world.client("alice").await;
    let mut text = String::new();
    for number in 0..20 {
        text += &format!(
            "<message type='chat' to='carol@echo.localhost' id='h{number}'><body>held {number}</body></message>"
        );
    }
    alice.send(text + "<iq type='get' to='echo.localhost' id='p'><ping xmlns='urn:xmpp:ping'/></iq>").await.unwrap();
    assert_eq!(alice.answer("p").await.unwrap().attr("type"), Some("result"));
    // The ping was answered, so all twenty are committed.
    world.gateway.kill();
    world.gateway.launch().await.unwrap();
    for number in 0..20 {
        alice.body(&format!("held {number}")).await.unwrap();
    }
}
