//! What a user said elsewhere, and the privileged message that comes back (XEP-0356).

use std::time::Duration;

use isthmus_testkit::xml::Element;

use super::house::{House, JULIET, LOOP};

const ADVERT: &str = "<message from='example.org' to='loop.example.org'><privilege xmlns='urn:xmpp:privilege:2'>\
    <perm access='message' type='outgoing'/></privilege></message>";

/// The message within a privileged one.
fn inner(stanza: &Element) -> Option<&Element> {
    stanza.child("privilege")?.child("forwarded")?.child("message")
}

#[tokio::test]
async fn a_message_made_known_in_a_users_name_is_not_sent_again_when_it_comes_back_even_after_a_restart() {
    let mut house = House::rooms("").await;
    house.send(ADVERT);
    let contact = format!("elsewhere%loop@{LOOP}");
    house.send(&format!("<message from='{JULIET}' to='{contact}' type='chat' id='m1'><body>hi</body></message>"));
    let told = house.next("a privileged message", |s| inner(s).is_some()).await;
    let message = inner(&told).expect("a message").clone();
    assert_eq!((told.attr("to"), message.attr("from")), (Some("example.org"), Some("juliet@example.org")));
    assert_eq!((message.attr("to"), message.body()), (Some(contact.as_str()), Some("elsewhere: hi")));
    let id = message.attr("id").expect("an id").to_owned();
    let back = format!(
        "<message from='juliet@example.org' to='{contact}' type='chat' id='{id}'><body>elsewhere: hi</body></message>"
    );
    // The same words from a device, or under another id, are the user's own.
    let own = back.replace(&format!("id='{id}'"), "id='another'").replace("elsewhere: hi", "again");
    for _ in 0..2 {
        house.send(&back);
        house.send(&own);
        let next = house.next("the other message", |s| inner(s).is_some()).await;
        assert_eq!(inner(&next).and_then(Element::body), Some("elsewhere: again"), "what came back was sent again");
        house = house.again().await;
        house.send(ADVERT);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn a_word_on_privileges_from_somebody_elses_server_counts_for_nothing() {
    let mut house = House::rooms("").await;
    house.send(&ADVERT.replace("from='example.org'", "from='evil.example'"));
    let contact = format!("elsewhere%loop@{LOOP}");
    house.send(&format!("<message from='{JULIET}' to='{contact}' type='chat' id='m1'><body>hi</body></message>"));
    let said =
        house.next("words that say whose they are", |s| s.body().is_some_and(|b| b.ends_with("elsewhere: hi"))).await;
    assert_eq!(said.attr("to"), Some("juliet@example.org"), "{said}");
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn who_leaves_one_of_their_rooms_is_still_there() {
    let mut house = House::rooms("").await;
    house.send(&ADVERT.replace("privilege:2", "privilege:1"));
    let rooms = ["#verona", "#mantua"].map(|name| format!("{name}%loop@{LOOP}"));
    for room in &rooms {
        house.join(JULIET, room, "juliet").await;
    }
    let contact = format!("elsewhere%loop@{LOOP}");
    let said = format!("<message from='{JULIET}' to='{contact}' type='chat' id='m1'><body>hi</body></message>");
    // Out of one room, then of all, but for the gateway itself she is there.
    for before in [
        format!("<presence from='{JULIET}' to='{}/juliet' type='unavailable'/>", rooms[0]),
        format!(
            "<presence from='{JULIET}' to='{LOOP}'/><presence from='{JULIET}' to='{}/juliet' type='unavailable'/>",
            rooms[1]
        ),
    ] {
        house.send(&before);
        house.next("her end", |s| s.attr("type") == Some("unavailable") && s.attr("to") == Some(JULIET)).await;
        house.send(&said);
        let copy = house.next("a copy for her device", |s| s.child("privilege").is_some()).await;
        assert!(copy.to_string().contains(JULIET) && copy.to_string().contains("elsewhere: hi"), "{copy}");
    }
    house.send(&format!("<presence from='{JULIET}' to='{LOOP}' type='unavailable'/>{said}"));
    house.send(&format!(
        "<message from='{JULIET}' to='bob%loop@{LOOP}' type='chat' id='m2'><body>sync</body></message>"
    ));
    let next = house.next("an answer", |s| s.child("privilege").is_some() || s.body() == Some("sync")).await;
    assert_eq!(next.body(), Some("sync"), "there is no device for a copy: {next}");
    house.finish().await.expect("an orderly stop");
}
