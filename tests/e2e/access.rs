//! Who may use the gateway.

use isthmus_testkit::server::Flavour;
use isthmus_testkit::slix::SlixClient;
use isthmus_testkit::xml::Element;

use crate::flows::run;
use crate::inside::{Inside, LOOP};
use crate::people::{contact, presence, talk};
use crate::world::World;

crate::on_both!(
    strangers_are_kept_out,
    rules_come_before_defaults,
    who_may_not_any_more_is_taken_out_and_told_once,
    a_reload_takes_out_whom_it_blocks,
    who_may_only_receive_is_sent_to_and_sends_nothing,
);

async fn refused(client: &mut SlixClient, to: &str) -> Option<String> {
    let id = client.message(to, "may I").await.unwrap();
    let answer = client
        .find("an answer", |s| s.name == "message" && (s.attr("id") == Some(&id) || s.body() == Some("may I")))
        .await;
    answer.unwrap().error()
}

async fn strangers_are_kept_out(flavour: Flavour) {
    let world = World::echo(flavour).await;
    let mut eve = SlixClient::online(&world.server, "eve@foreign.test/x").await.unwrap();
    assert_eq!(refused(&mut eve, "carol@echo.localhost").await.as_deref(), Some("auth/forbidden"));
    let mut alice = world.client("alice").await;
    assert_eq!(refused(&mut alice, "carol@echo.localhost").await, None);
}

async fn rules_come_before_defaults(flavour: Flavour) {
    let access = "[access]\nforeign = \"user\"\nrules = [{ match = \"bob@localhost\", tier = \"blocked\" }]";
    let world = World::with(flavour, |setup| setup.top(access).echo()).await;
    let mut eve = SlixClient::online(&world.server, "eve@foreign.test/x").await.unwrap();
    assert_eq!(refused(&mut eve, "carol@echo.localhost").await, None);
    let mut bob = world.client("bob").await;
    assert_eq!(refused(&mut bob, "carol@echo.localhost").await.as_deref(), Some("auth/forbidden"));
}

const BLOCKED: &str = "you may not any more";

/// Goes into the room and sees the contact.
async fn settle(client: &mut SlixClient, nick: &str, room: &str, ann: &str) {
    let join = format!("<presence to='{room}/{nick}'><x xmlns='http://jabber.org/protocol/muc'/></presence>");
    client.send(format!("{join}<presence type='subscribe' to='{ann}'/>")).await.unwrap();
    client.find("their own presence in the room", is_own(room, None)).await.unwrap();
    client.find("the contact's presence", presence(ann, None)).await.unwrap();
}

fn is_own<'a>(room: &'a str, kind: Option<&'a str>) -> impl Fn(&Element) -> bool + 'a {
    move |s| presence(room, kind)(s) && s.to_string().contains("code='110'")
}

/// They are told by a message, in the room, and by the contact's presence; and nothing runs for them.
async fn taken_out(client: &mut SlixClient, admin: &mut SlixClient, room: &str, ann: &str) {
    // In any order.
    let mut left = vec!["a message", "the room", "the contact"];
    while !left.is_empty() {
        let found = client
            .find("what ends", |s| {
                s.body().is_some_and(|b| b.contains(BLOCKED))
                    || is_own(room, Some("unavailable"))(s)
                    || presence(ann, Some("unavailable"))(s)
            })
            .await
            .unwrap_or_else(|e| panic!("{left:?} is missing: {e}"));
        let what = match found.name.as_str() {
            "message" => "a message",
            _ if found.attr("from").is_some_and(|from| from.starts_with(room)) => {
                let text = found.to_string();
                assert!(text.contains("333") && text.contains(BLOCKED), "{found}");
                "the room"
            }
            _ => "the contact",
        };
        let at = left.iter().position(|one| *one == what).unwrap_or_else(|| panic!("twice: {found}"));
        left.remove(at);
    }
    for _ in 0..300 {
        if !run(admin, LOOP, "status", &[]).await.to_string().contains("alice@localhost") {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the session goes on");
}

async fn who_may_not_any_more_is_taken_out_and_told_once(flavour: Flavour) {
    let mut world = Inside::start(flavour, "").await;
    let (mut alice, mut carol) = (world.client("alice", "desk").await, world.client("carol", "desk").await);
    let (room, ann) = (format!("#garden%loop@{LOOP}"), contact("ann"));
    settle(&mut alice, "al", &room, &ann).await;
    assert!(run(&mut carol, LOOP, "status", &[]).await.to_string().contains("alice@localhost"));
    talk(&mut carol, &["access", "add", "alice@localhost", "1"]).await;
    taken_out(&mut alice, &mut carol, &room, &ann).await;
    assert_eq!(refused(&mut alice, &ann).await.as_deref(), Some("auth/forbidden"));
    // Another rule that changes nothing for them tells them nothing.
    talk(&mut carol, &["access", "add", "mallory@localhost", "1"]).await;
    let again = |s: &Element| s.body().is_some_and(|b| b.contains(BLOCKED));
    assert!(alice.find_within(std::time::Duration::from_secs(1), again).await.unwrap().is_none(), "told twice");
    // The rule is taken away: they see their contacts again, and may come in.
    talk(&mut carol, &["access", "remove", "alice@localhost"]).await;
    alice.find("the contact is there again", presence(&ann, None)).await.unwrap();
    settle(&mut alice, "al", &room, &ann).await;
    world.stop().await;
}

async fn a_reload_takes_out_whom_it_blocks(flavour: Flavour) {
    let mut world = Inside::start(flavour, "").await;
    let (mut alice, mut carol) = (world.client("alice", "desk").await, world.client("carol", "desk").await);
    let mut bob = world.client("bob", "desk").await;
    let (room, ann) = (format!("#garden%loop@{LOOP}"), contact("ann"));
    settle(&mut alice, "al", &room, &ann).await;
    settle(&mut bob, "bo", &room, &ann).await;
    world.reload_with("\n[access]\nrules = [{ match = \"al*@localhost\", tier = \"blocked\" }]\n");
    taken_out(&mut alice, &mut carol, &room, &ann).await;
    assert_eq!(refused(&mut alice, &ann).await.as_deref(), Some("auth/forbidden"));
    // Nobody else is disturbed.
    bob.send(format!("<message type='groupchat' to='{room}' id='g'><body>still here</body></message>")).await.unwrap();
    bob.body("still here").await.unwrap();
    world.stop().await;
}

async fn who_may_only_receive_is_sent_to_and_sends_nothing(flavour: Flavour) {
    let access = "[access]\nrules = [{ match = \"alice@localhost\", tier = \"receive\" }]\n";
    let mut world = Inside::both_with(flavour, |_| {}, access).await;
    let mut alice = world.client("alice", "desk").await;
    let ann = contact("ann");
    alice.send(format!("<presence type='subscribe' to='{ann}'/>")).await.unwrap();
    alice.find("the contact's presence", presence(&ann, None)).await.unwrap();
    assert_eq!(refused(&mut alice, &ann).await.as_deref(), Some("auth/forbidden"));
    let room = format!("#garden%loop@{LOOP}");
    let join = format!("<presence to='{room}/al'><x xmlns='http://jabber.org/protocol/muc'/></presence>");
    alice.send(join).await.unwrap();
    let error = alice.find("a refusal", presence(&room, Some("error"))).await.unwrap();
    assert_eq!(error.error().as_deref(), Some("auth/forbidden"), "{error}");
    world.stop().await;
}
