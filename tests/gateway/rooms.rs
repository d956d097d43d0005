//! Rooms (XEP-0045) as users meet them, with the contract's own network behind.

use isthmus_testkit::xml::Element;

use super::house::{House, JULIET, LOOP};

pub(crate) const ROMEO: &str = "romeo@example.org/orchard";
pub(crate) const USER: &str = "http://jabber.org/protocol/muc#user";

/// The room that most tests meet in.
pub(crate) fn verona() -> String {
    format!("#verona%loop@{LOOP}")
}

/// A presence from this occupant to this resource.
pub(crate) fn presence<'a>(from: &'a str, to: &'a str) -> impl Fn(&Element) -> bool + 'a {
    move |s| s.name == "presence" && s.attr("from") == Some(from) && s.attr("to") == Some(to)
}

/// A groupchat message to this resource.
pub(crate) fn group(to: &str) -> impl Fn(&Element) -> bool + '_ {
    move |s| s.name == "message" && s.attr("type") == Some("groupchat") && s.attr("to") == Some(to)
}

/// Status codes of a presence.
pub(crate) fn codes(stanza: &Element) -> Vec<&str> {
    let x = stanza.get("x", USER);
    x.iter().flat_map(|x| &x.children).filter(|c| c.name == "status").filter_map(|c| c.attr("code")).collect()
}

/// The item of a presence.
pub(crate) fn item(stanza: &Element) -> &Element {
    stanza.get("x", USER).and_then(|x| x.child("item")).unwrap_or_else(|| panic!("no item in {stanza}"))
}

impl House {
    /// Asks to enter.
    pub(crate) fn knock(&self, who: &str, room: &str, nick: &str) {
        self.send(&format!(
            "<presence from='{who}' to='{room}/{nick}' id='join'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
        ));
    }

    /// Enters, and waits for own presence and subject; gives the presence.
    pub(crate) async fn join(&mut self, who: &str, room: &str, nick: &str) -> Element {
        self.knock(who, room, nick);
        let own = self
            .next("own presence", |s| s.name == "presence" && s.attr("to") == Some(who) && codes(s).contains(&"110"))
            .await;
        self.next("the subject", |s| group(who)(s) && s.child("subject").is_some()).await;
        own
    }

    /// Says something in a room.
    pub(crate) fn say(&self, who: &str, room: &str, id: &str, body: &str) {
        self.send(&format!(
            "<message from='{who}' to='{room}' type='groupchat' id='{id}'><body>{body}</body></message>"
        ));
    }
}

#[tokio::test]
async fn who_enters_sees_the_others_then_themselves_then_the_subject() {
    let (mut house, room) = (House::rooms("").await, verona());
    let own = house.join(ROMEO, &room, "romeo").await;
    assert_eq!(own.attr("from"), Some(&*format!("{room}/romeo")));
    assert_eq!(codes(&own), ["100", "110"]);
    assert_eq!((item(&own).attr("affiliation"), item(&own).attr("role")), (Some("owner"), Some("moderator")));
    assert_eq!(item(&own).attr("jid"), Some(ROMEO));
    assert!(own.has("occupant-id", "urn:xmpp:occupant-id:0"));

    house.knock(JULIET, &room, "juliet");
    let seen = |s: &Element| s.attr("to") == Some(JULIET);
    let first = house.next("the first stanza", seen).await;
    assert_eq!((first.name.as_str(), first.attr("from")), ("presence", Some(&*format!("{room}/romeo"))));
    assert_eq!(item(&first).attr("jid"), Some(&*format!("romeo%loop@{LOOP}/romeo@example.org")));
    assert!(codes(&first).is_empty());
    let second = house.next("the second stanza", seen).await;
    assert_eq!((second.attr("from"), codes(&second)), (Some(&*format!("{room}/juliet")), vec!["100", "110"]));
    let third = house.next("the third stanza", seen).await;
    assert!(third.child("subject").is_some_and(|s| s.text.is_empty()) && third.body().is_none(), "{third}");
    assert_eq!(third.attr("from"), Some(room.as_str()));

    let entered = house.next("her entry", presence(&format!("{room}/juliet"), ROMEO)).await;
    assert!(codes(&entered).is_empty());
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn what_is_said_comes_back_under_the_id_of_its_client_and_reaches_everybody() {
    let (mut house, room) = (House::rooms("").await, verona());
    house.join(ROMEO, &room, "romeo").await;
    house.join(JULIET, &room, "juliet").await;
    house.send(&format!(
        "<message from='{ROMEO}' to='{room}' type='groupchat' id='m1'><body>but soft\nwhat light</body>\
         <origin-id xmlns='urn:xmpp:sid:0' id='o1'/><stanza-id xmlns='urn:xmpp:sid:0' by='{room}' id='forged'/>\
         <stanza-id xmlns='urn:xmpp:sid:0' by='other.example' id='foreign'/></message>"
    ));
    let first = house.next("the reflection", group(ROMEO)).await;
    assert_eq!(
        (first.attr("id"), first.body(), first.attr("from")),
        (Some("m1"), Some("but soft"), Some(&*format!("{room}/romeo")))
    );
    let ids: Vec<_> =
        first.children.iter().filter(|c| c.name == "stanza-id").map(|c| (c.attr("by"), c.attr("id"))).collect();
    assert_eq!(ids[0], (Some("other.example"), Some("foreign")));
    assert!(ids.len() == 2 && ids[1].0 == Some(&room) && ids[1].1 != Some("forged"), "{ids:?}");
    assert!(first.child("origin-id").is_some());
    let second = house.next("its second line", group(ROMEO)).await;
    assert_eq!(second.body(), Some("what light"));
    assert!(second.attr("id").is_some_and(|id| id != "m1"));
    for line in ["but soft", "what light"] {
        let heard = house.next("what she hears", group(JULIET)).await;
        assert_eq!(heard.body(), Some(line));
        assert!(heard.attr("id").is_some_and(|id| id != "m1") && heard.child("stanza-id").is_some());
        assert!(heard.child("occupant-id").is_some() && heard.child("delay").is_none());
    }
    house.say(ROMEO, &room, "m2", "/me sighs");
    assert_eq!(house.next("an action", group(JULIET)).await.body(), Some("/me sighs"));
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn who_leaves_is_told_and_so_are_the_others() {
    let (mut house, room) = (House::rooms("").await, verona());
    house.join(ROMEO, &room, "romeo").await;
    house.join(JULIET, &room, "juliet").await;
    house.send(&format!(
        "<presence from='{ROMEO}' to='{room}/romeo' type='unavailable'><status>good night</status></presence>"
    ));
    let own = house
        .next("his own departure", |s| presence(&format!("{room}/romeo"), ROMEO)(s) && s.attr("type").is_some())
        .await;
    assert_eq!((own.attr("type"), codes(&own)), (Some("unavailable"), vec!["110"]));
    let seen = house
        .next("what she sees", |s| presence(&format!("{room}/romeo"), JULIET)(s) && s.attr("type").is_some())
        .await;
    assert_eq!(seen.child("status").map(|s| s.text.as_str()), Some("good night"));
    assert_eq!(item(&seen).attr("role"), Some("none"));

    // A second time is silent, and what he says now is refused.
    house.send(&format!("<presence from='{ROMEO}' to='{room}/romeo' type='unavailable'/>"));
    house.say(ROMEO, &room, "m1", "still here?");
    let error = house
        .next("an answer", |s| s.name == "message" && s.attr("to") == Some(ROMEO) && s.child("subject").is_none())
        .await;
    assert_eq!((error.error().as_deref(), error.attr("id")), (Some("modify/not-acceptable"), Some("m1")));
    house.finish().await.expect("an orderly stop");
}
