//! What happens to people in rooms: nicks, kicks, bans, failures, links that break, several resources, the stop.

use std::time::Duration;

use isthmus_testkit::xml::Element;

use super::house::{House, JULIET, LOOP};
use super::rooms::{ROMEO, codes, group, item, presence, verona};

/// Another client of hers.
const CHAMBER: &str = "juliet@example.org/chamber";

/// An unavailable presence from this occupant to this resource.
fn gone<'a>(from: &'a str, to: &'a str) -> impl Fn(&Element) -> bool + 'a {
    move |s| presence(from, to)(s) && s.attr("type") == Some("unavailable")
}

/// A presence that shows somebody inside.
fn here<'a>(from: &'a str, to: &'a str) -> impl Fn(&Element) -> bool + 'a {
    move |s| presence(from, to)(s) && s.attr("type").is_none()
}

impl House {
    /// Both of them in the room, she with one resource.
    async fn both(bridge: &str) -> (Self, String) {
        let (mut house, room) = (Self::rooms(bridge).await, verona());
        house.join(ROMEO, &room, "romeo").await;
        house.join(JULIET, &room, "juliet").await;
        house.next("her entry", here(&format!("{room}/juliet"), ROMEO)).await;
        (house, room)
    }

    /// A line to the network itself.
    fn raw(&self, who: &str, line: &str) {
        self.send(&format!(
            "<message from='{who}' to='loop@{LOOP}' type='chat' id='raw'><body>{line}</body></message>"
        ));
    }

    async fn set(&mut self, who: &str, room: &str, item: &str) -> Element {
        self.ask(who, room, "set", &format!("<query xmlns='http://jabber.org/protocol/muc#admin'>{item}</query>")).await
    }
}

#[tokio::test]
async fn a_second_resource_gets_everything_at_once_and_both_get_what_follows() {
    let (mut house, room) = House::both("").await;
    let own = house.join(CHAMBER, &room, "other").await;
    assert_eq!((own.attr("from"), codes(&own)), (Some(&*format!("{room}/juliet")), vec!["100", "110", "210"]));
    house.next("him, for the second", here(&format!("{room}/romeo"), CHAMBER)).await;
    house.say(ROMEO, &room, "m1", "both of you");
    for who in [JULIET, CHAMBER] {
        assert_eq!(
            house.next("the message", |s| group(who)(s) && s.body().is_some()).await.body(),
            Some("both of you")
        );
    }
    // The reflection reaches both of hers, under the one client's id.
    house.say(CHAMBER, &room, "m2", "here");
    for who in [JULIET, CHAMBER] {
        assert_eq!(
            house.next("the reflection", |s| group(who)(s) && s.body() == Some("here")).await.attr("id"),
            Some("m2")
        );
    }
    // One of them leaves: nobody else notices.
    house.send(&format!("<presence from='{JULIET}' to='{room}/juliet' type='unavailable'/>"));
    house.next("her own", gone(&format!("{room}/juliet"), JULIET)).await;
    house.say(CHAMBER, &room, "m3", "still me");
    house.next("what he hears", |s| group(ROMEO)(s) && s.body() == Some("still me")).await;
    // A resource that joins again gets everything again.
    house.join(CHAMBER, &room, "juliet").await;
    house.next("him, again", here(&format!("{room}/romeo"), CHAMBER)).await;
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn joins_that_fail_say_why() {
    let (mut house, room) = House::both("").await;
    let tybalt = "tybalt@example.org/street";
    let x = "<x xmlns='http://jabber.org/protocol/muc'/>";
    for (to, x, error, code) in [
        (format!("{room}/romeo"), x, "cancel/conflict", Some("409")),
        (format!("#locked%loop@{LOOP}/tybalt"), x, "auth/not-authorized", Some("401")),
        (room.clone(), x, "modify/jid-malformed", None),
        (format!("#moved%loop@{LOOP}/tybalt"), x, "modify/redirect", Some("302")),
    ] {
        house.send(&format!("<presence from='{tybalt}' to='{to}' id='j1'>{x}</presence>"));
        let answer = house.next("an error", |s| s.name == "presence" && s.attr("to") == Some(tybalt)).await;
        assert_eq!(
            (answer.error().as_deref(), answer.attr("id"), answer.attr("from")),
            (Some(error), Some("j1"), Some(&*to))
        );
        assert!(answer.has("x", "http://jabber.org/protocol/muc"), "{answer}");
        assert_eq!(answer.child("error").and_then(|e| e.attr("code")), code);
        if error == "modify/redirect" {
            let redirect = answer.child("error").and_then(|e| e.child("redirect")).expect("a redirect");
            assert_eq!(redirect.text, format!("xmpp:%23verona%25loop@{LOOP}?join"));
        }
    }
    house.send(&format!(
        "<presence from='{tybalt}' to='#locked%loop@{LOOP}/tybalt'><x xmlns='http://jabber.org/protocol/muc'><password>open</password></x></presence>"
    ));
    house.next("his presence", here(&format!("#locked%loop@{LOOP}/tybalt"), tybalt)).await;
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn a_new_nick_is_told_under_the_old_one_and_a_taken_one_is_refused() {
    let (mut house, room) = House::both("").await;
    house.send(&format!("<presence from='{ROMEO}' to='{room}/montague'/>"));
    let (old, new) = (format!("{room}/romeo"), format!("{room}/montague"));
    let own = house.next("his old nick's end", gone(&old, ROMEO)).await;
    assert_eq!((codes(&own), item(&own).attr("nick")), (vec!["303", "110"], Some("montague")));
    assert_eq!(codes(&house.next("his new nick", here(&new, ROMEO)).await), ["110"]);
    let seen = house.next("what she sees", gone(&old, JULIET)).await;
    assert_eq!((codes(&seen), item(&seen).attr("nick")), (vec!["303"], Some("montague")));
    house.next("and then", here(&new, JULIET)).await;

    house.send(&format!("<presence from='{ROMEO}' to='{room}/juliet' id='n2'/>"));
    let error = house.next("an error", |s| s.name == "presence" && s.attr("type") == Some("error")).await;
    assert_eq!((error.error().as_deref(), error.attr("id")), (Some("cancel/conflict"), Some("n2")));
    house.say(ROMEO, &room, "m1", "still montague");
    let said = house.next("what she hears", |s| group(JULIET)(s) && s.body().is_some()).await;
    assert_eq!(said.attr("from"), Some(&*new));
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn a_kick_and_a_ban_have_their_codes_and_end_the_visit() {
    let (mut house, room) = House::both("").await;
    let she = format!("{room}/juliet");
    let done = house.set(ROMEO, &room, "<item nick='juliet' role='none'><reason>late</reason></item>").await;
    assert_eq!(done.attr("type"), Some("result"));
    let own = house.next("her end", gone(&she, JULIET)).await;
    assert_eq!(codes(&own), ["307", "110"]);
    assert_eq!(item(&own).child("reason").map(|r| r.text.as_str()), Some("late"));
    assert_eq!(item(&own).child("actor").and_then(|a| a.attr("nick")), Some("romeo"));
    assert_eq!(codes(&house.next("what he sees", gone(&she, ROMEO)).await), ["307"]);
    house.say(JULIET, &room, "m1", "hello?");
    let error = house.next("an error", |s| s.name == "message" && s.attr("type") == Some("error")).await;
    assert_eq!(error.error().as_deref(), Some("modify/not-acceptable"));

    house.join(JULIET, &room, "juliet").await;
    house.set(ROMEO, &room, "<item nick='juliet' affiliation='outcast'/>").await;
    let own = house.next("her end", gone(&she, JULIET)).await;
    assert_eq!((codes(&own), item(&own).attr("affiliation")), (vec!["301", "110"], Some("outcast")));
    house.knock(JULIET, &room, "juliet");
    let error = house.next("an error", |s| s.name == "presence" && s.attr("type") == Some("error")).await;
    assert_eq!(error.error().as_deref(), Some("auth/forbidden"));

    let bans = house
        .ask(
            ROMEO,
            &room,
            "get",
            "<query xmlns='http://jabber.org/protocol/muc#admin'><item affiliation='outcast'/></query>",
        )
        .await;
    let ban = bans.child("query").and_then(|q| q.child("item")).expect("a ban");
    assert_eq!((ban.attr("affiliation"), ban.attr("jid")), (Some("outcast"), Some("juliet")));
    house.set(ROMEO, &room, "<item jid='juliet' affiliation='none'/>").await;
    house.join(JULIET, &room, "juliet").await;
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn a_new_rank_a_new_subject_and_new_settings_are_told() {
    let (mut house, room) = House::both("").await;
    house.set(ROMEO, &room, "<item nick='juliet' role='moderator'/>").await;
    let seen = house
        .next("her new rank", |s| {
            here(&format!("{room}/juliet"), ROMEO)(s) && item(s).attr("role") == Some("moderator")
        })
        .await;
    assert_eq!(item(&seen).attr("affiliation"), Some("admin"));
    let own = house
        .next("for herself", |s| {
            here(&format!("{room}/juliet"), JULIET)(s) && item(s).attr("role") == Some("moderator")
        })
        .await;
    assert_eq!(codes(&own), ["110"]);

    house.send(&format!(
        "<message from='{JULIET}' to='{room}' type='groupchat' id='t1'><subject>A feud</subject></message>"
    ));
    let told =
        house.next("the subject", |s| group(ROMEO)(s) && s.child("subject").is_some_and(|s| !s.text.is_empty())).await;
    assert_eq!((told.attr("from"), told.body()), (Some(&*format!("{room}/juliet")), None));
    // Who comes later gets it with its time.
    house.send(&format!(
        "<presence from='{CHAMBER}' to='{room}/juliet'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
    ));
    let told = house.next("the subject, later", |s| group(CHAMBER)(s) && s.child("subject").is_some()).await;
    assert!(told.child("delay").is_some() && told.attr("from") == Some(&*format!("{room}/juliet")), "{told}");
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn private_messages_stay_between_two_occupants() {
    let (mut house, room) = House::both("").await;
    house.join(CHAMBER, &room, "juliet").await;
    house.send(&format!("<message from='{ROMEO}' to='{room}/juliet' type='chat' id='p1'><body>psst</body></message>"));
    for who in [JULIET, CHAMBER] {
        let said =
            house.next("a private message", |s| s.attr("type") == Some("chat") && s.attr("to") == Some(who)).await;
        assert_eq!((said.attr("from"), said.body()), (Some(&*format!("{room}/romeo")), Some("psst")));
        assert!(
            said.has("x", super::rooms::USER)
                && said.has("private", "urn:xmpp:carbons:2")
                && said.has("no-copy", "urn:xmpp:hints")
        );
    }
    house.send(&format!("<message from='{ROMEO}' to='{room}/nobody' type='chat' id='p2'><body>psst</body></message>"));
    let error = house.next("an error", |s| s.attr("type") == Some("error")).await;
    assert_eq!((error.error().as_deref(), error.attr("id")), (Some("cancel/item-not-found"), Some("p2")));
    // To everybody is not said to one.
    house.send(&format!(
        "<message from='{ROMEO}' to='{room}/juliet' type='groupchat' id='p3'><body>all</body></message>"
    ));
    assert_eq!(
        house.next("an error", |s| s.attr("type") == Some("error")).await.error().as_deref(),
        Some("modify/bad-request")
    );
    // Who is in a room of the network hears its people at each full JID, and no server copies that.
    house.send(&format!(
        "<message from='{JULIET}' to='bob%loop@{LOOP}' type='chat' id='p4'><body>hello</body></message>"
    ));
    for who in [JULIET, CHAMBER] {
        let said = house
            .next("his answer", |s| s.attr("from") == Some(&*format!("bob%loop@{LOOP}")) && s.attr("to") == Some(who))
            .await;
        assert!(said.has("private", "urn:xmpp:carbons:2"), "{said}");
    }
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn words_beside_a_private_conversation_stay_between_its_two_and_out_of_the_rooms_archive() {
    let (mut house, room) = House::both("").await;
    house.send(&format!("<message from='{ROMEO}' to='{room}/juliet' type='chat' id='p1'><body>away?</body></message>"));
    let said = house.next("the notice", |s| s.body() == Some("away")).await;
    assert_eq!(
        (said.attr("type"), said.attr("from"), said.attr("to")),
        (Some("chat"), Some(&*format!("{room}/juliet")), Some(ROMEO))
    );
    assert!(said.has("x", super::rooms::USER) && said.has("private", "urn:xmpp:carbons:2"), "{said}");
    house.say(ROMEO, &room, "m1", "aloud");
    house.next("words for everybody", group(ROMEO)).await;
    let kept = house.ask(ROMEO, &room, "set", "<query xmlns='urn:xmpp:mam:2' queryid='q'/>").await;
    let fin = kept.get("fin", "urn:xmpp:mam:2").unwrap_or_else(|| panic!("no fin in {kept}"));
    let count = fin.child("set").and_then(|set| set.child("count")).map(|c| c.text.clone());
    assert_eq!(count.as_deref(), Some("1"), "{kept}");
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn private_words_from_a_room_in_which_no_client_is_any_more_are_kept_for_the_next() {
    let mut house = House::rooms("").await;
    let room = format!("#home%loop@{LOOP}");
    for (who, nick) in [(ROMEO, "romeo"), (JULIET, "juliet")] {
        house.join(who, &room, nick).await;
    }
    house.send(&format!("<presence from='{JULIET}' to='{room}/juliet' type='unavailable'/>"));
    house.next("her end", gone(&format!("{room}/juliet"), JULIET)).await;
    house.send(&format!("<message from='{ROMEO}' to='{room}/juliet' type='chat' id='p1'><body>psst</body></message>"));
    let said = house.next("his words", |s| s.body() == Some("psst")).await;
    assert_eq!(
        (said.attr("from"), said.attr("to"), said.attr("type")),
        (Some(&*format!("{room}/romeo")), Some("juliet@example.org"), Some("chat"))
    );
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn a_broken_link_is_not_seen_and_after_it_only_what_changed_is_told() {
    let (mut house, room) = House::both("").await;
    let mercutio = "mercutio@example.org/street";
    let set = |words: &str| {
        format!("<message from='{JULIET}' to='{room}' type='groupchat'><subject>{words}</subject></message>")
    };
    house.send(&set("Verona"));
    house.next("the subject", |s| s.attr("to") == Some(ROMEO) && s.child("subject").is_some()).await;
    house.raw(ROMEO, "break");
    house.next("she sees him go", gone(&format!("{room}/romeo"), JULIET)).await;
    // He sees nothing: his self-ping is positive, what he says has to wait.
    let pong = house.ask(ROMEO, &format!("{room}/romeo"), "get", "<ping xmlns='urn:xmpp:ping'/>").await;
    assert_eq!(pong.attr("type"), Some("result"));
    house.say(ROMEO, &room, "m1", "hello?");
    let error = house.next("an error", |s| s.attr("type") == Some("error")).await;
    assert_eq!(error.error().as_deref(), Some("wait/recipient-unavailable"));
    // Meanwhile she leaves, and somebody else comes.
    house.send(&format!("<presence from='{JULIET}' to='{room}/juliet' type='unavailable'/>"));
    house.next("she is out", gone(&format!("{room}/juliet"), JULIET)).await;
    house.join(mercutio, &room, "mercutio").await;
    house.server.drain();

    house.raw(ROMEO, "mend");
    let first = house.next("the differences", |s| s.attr("to") == Some(ROMEO)).await;
    assert_eq!((first.attr("from"), first.attr("type")), (Some(&*format!("{room}/juliet")), Some("unavailable")));
    let second = house.next("the differences", |s| s.attr("to") == Some(ROMEO)).await;
    assert_eq!((second.attr("from"), second.attr("type")), (Some(&*format!("{room}/mercutio")), None));
    let third = house.next("his own rank is another", |s| s.attr("to") == Some(ROMEO)).await;
    assert_eq!((third.attr("from"), codes(&third)), (Some(&*format!("{room}/romeo")), vec!["110"]));
    house.say(ROMEO, &room, "m2", "back");
    let fourth = house.next("his message", |s| s.attr("to") == Some(ROMEO)).await;
    assert_eq!((fourth.body(), fourth.attr("id")), (Some("back"), Some("m2")));
    house.finish().await.expect("an orderly stop");
}

/// Whatever it is that would have to be sent: it waits for the link, and the sender is told.
#[tokio::test]
async fn what_is_wished_of_a_room_whose_link_is_broken_has_to_wait() {
    let (mut house, room) = House::both("").await;
    house.say(JULIET, &room, "m1", "good morrow");
    let heard = house.next("her words", |s| group(ROMEO)(s) && s.body() == Some("good morrow")).await;
    let id = heard.child("stanza-id").and_then(|s| s.attr("id")).expect("an id").to_owned();
    house.raw(ROMEO, "break");
    house.next("she sees him go", gone(&format!("{room}/romeo"), JULIET)).await;
    house.server.drain();
    let reactions = format!("<reactions xmlns='urn:xmpp:reactions:0' id='{id}'><reaction>👍</reaction></reactions>");
    let message = |id: &str, to: &str, kind: &str, inside: &str| {
        format!("<message from='{ROMEO}' to='{to}' type='{kind}' id='{id}'>{inside}</message>")
    };
    let wishes = [
        message("w1", &room, "groupchat", "<body>hello?</body>"),
        message("w2", &format!("{room}/juliet"), "chat", "<body>psst</body>"),
        message("w3", &room, "groupchat", "<subject>A feud</subject>"),
        message("w4", &room, "groupchat", &reactions),
        format!("<presence from='{ROMEO}' to='{room}/montague' id='w5'/>"),
    ];
    for wish in wishes {
        house.send(&wish);
        let answer = house.next("an answer", |s| s.attr("to") == Some(ROMEO)).await;
        assert_eq!(answer.error().as_deref(), Some("wait/recipient-unavailable"), "{wish}: {answer}");
        assert!(wish.contains(&format!(" id='{}'", answer.attr("id").unwrap_or_default())), "{wish}: {answer}");
    }
    // And is not done later: she hears the words that he says when the link is there.
    house.raw(ROMEO, "mend");
    house.next("she sees him come", here(&format!("{room}/romeo"), JULIET)).await;
    house.next("his own rank is another", here(&format!("{room}/romeo"), ROMEO)).await;
    house.say(ROMEO, &room, "m2", "back");
    let heard = house.next("what she hears", |s| s.attr("to") == Some(JULIET)).await;
    assert_eq!((heard.body(), heard.attr("from")), (Some("back"), Some(&*format!("{room}/romeo"))), "{heard}");
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn a_subject_that_was_changed_while_the_link_was_broken_is_told_with_its_time() {
    let (mut house, room) = House::both("").await;
    for words in ["Verona", "Mantua", ""] {
        house.raw(ROMEO, "break");
        house.next("she sees him go", gone(&format!("{room}/romeo"), JULIET)).await;
        house.send(&format!(
            "<message from='{JULIET}' to='{room}' type='groupchat'><subject>{words}</subject></message>"
        ));
        house.next("she sees it", |s| s.attr("to") == Some(JULIET) && s.child("subject").is_some()).await;
        house.raw(ROMEO, "mend");
        let told = house.next("the subject", |s| s.attr("to") == Some(ROMEO) && s.child("subject").is_some()).await;
        assert_eq!(told.child("subject").map(|s| s.text.as_str()), Some(words));
        assert_eq!(told.child("delay").is_some(), !words.is_empty(), "{told}");
        house.next("he is back", |s| s.attr("to") == Some(JULIET) && s.name == "presence").await;
    }
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn a_rejoin_that_is_refused_and_a_link_that_is_lost_end_the_visit() {
    let (mut house, room) = House::both("").await;
    let (he, she) = (format!("{room}/romeo"), format!("{room}/juliet"));
    house.raw(JULIET, "break");
    house.next("he sees her go", gone(&she, ROMEO)).await;
    house.set(ROMEO, &room, "<item jid='juliet' affiliation='outcast'/>").await;
    house.raw(JULIET, "mend");
    let own = house.next("her end", gone(&she, JULIET)).await;
    assert_eq!(codes(&own), ["110", "333"]);
    assert!(own.child("status").is_some(), "with the reason: {own}");

    house.raw(ROMEO, "lose");
    let own = house.next("his end", gone(&he, ROMEO)).await;
    assert_eq!(codes(&own), ["110", "333"]);
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn who_is_gone_without_a_word_is_taken_out() {
    let (mut house, room) = House::both("").await;
    let she = format!("{room}/juliet");
    // An error of a bare JID, or one that says nothing of who is there, evicts nobody.
    house.send(&format!("<message from='juliet@example.org' to='{room}' type='error' id='x'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"));
    house.send(&format!("<message from='{JULIET}' to='{room}' type='error' id='x'><error type='cancel'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"));
    house.say(JULIET, &room, "m1", "here");
    house.next("she is", |s| group(ROMEO)(s) && s.body() == Some("here")).await;
    house.send(&format!("<message from='{JULIET}' to='{room}/romeo' type='error' id='x'><error type='wait'><recipient-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"));
    house.next("he sees her go", gone(&she, ROMEO)).await;

    // After the server came back everybody is asked: who answers stays.
    house.join(JULIET, &room, "juliet").await;
    house.server.cut(LOOP).expect("attached");
    house.server.attached(LOOP).await.expect("attached again");
    let ping = |to: &'static str| {
        move |s: &Element| {
            s.name == "iq"
                && s.attr("type") == Some("get")
                && s.attr("to") == Some(to)
                && s.attr("from") == Some(&*verona())
        }
    };
    let his = house.next("a ping for him", ping(ROMEO)).await;
    let hers = house.next("a ping for her", ping(JULIET)).await;
    house.send(&format!("<iq type='result' from='{ROMEO}' to='{room}' id='{}'/>", his.attr("id").expect("an id")));
    house.send(&format!("<iq type='error' from='{JULIET}' to='{room}' id='{}'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>", hers.attr("id").expect("an id")));
    house.next("he sees her go", gone(&she, ROMEO)).await;
    house.say(ROMEO, &room, "m2", "alone");
    house.next("he is still there", |s| group(ROMEO)(s) && s.body() == Some("alone")).await;
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn who_is_still_inside_after_the_stream_broke_gets_what_they_may_have_missed() {
    let (mut house, room) = House::both("").await;
    house.say(JULIET, &room, "m1", "did this arrive?");
    let said = house.next("her words", |s| group(ROMEO)(s) && s.body() == Some("did this arrive?")).await;
    house.server.cut(LOOP).expect("attached");
    house.server.attached(LOOP).await.expect("attached again");
    let asked = |s: &Element| s.name == "iq" && s.attr("type") == Some("get") && s.attr("to") == Some(ROMEO);
    let ping = house.next("a ping for him", |s| asked(s) && s.attr("from") == Some(&*room)).await;
    house.send(&format!("<iq type='result' from='{ROMEO}' to='{room}' id='{}'/>", ping.attr("id").expect("an id")));
    house.clock.advance(std::time::Duration::from_secs(1));
    let to_him = |s: &Element| s.attr("to") == Some(ROMEO) && s.name != "iq";
    let other = house.next("who is inside", to_him).await;
    assert_eq!((other.attr("from"), other.attr("type")), (Some(&*format!("{room}/juliet")), None));
    let own = house.next("himself", to_him).await;
    assert!(codes(&own).contains(&"110"), "{own}");
    let id = |s: &Element| s.child("stanza-id").and_then(|id| id.attr("id")).map(str::to_owned);
    let again = house.next("what was said", to_him).await;
    assert_eq!((again.body(), id(&again)), (Some("did this arrive?"), id(&said)), "clients know it by its id");
    assert!(again.child("delay").is_some(), "{again}");
    let end = house.next("the subject", to_him).await;
    assert!(end.child("subject").is_some(), "{end}");
    // Once: neither what was told at once after the stream came back, nor the rest again.
    house.clock.advance(std::time::Duration::from_secs(2));
    // From then on it is as ever.
    house.say(JULIET, &room, "m2", "and this?");
    let live = house.next("what she says now", |s| to_him(s) && s.name == "message").await;
    assert_eq!((live.body(), live.child("delay").is_some()), (Some("and this?"), false));
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn after_the_server_came_back_each_of_many_is_asked_once() {
    let (mut house, room) = (House::rooms("").await, verona());
    let devices: Vec<String> = (0..50).map(|n| format!("romeo@example.org/{n}")).collect();
    for device in &devices {
        house.join(device, &room, "romeo").await;
    }
    house.server.cut(LOOP).expect("attached");
    house.server.attached(LOOP).await.expect("attached again");
    let ping = |s: &Element| s.name == "iq" && s.attr("type") == Some("get") && s.has("ping", "urn:xmpp:ping");
    let mut asked = Vec::new();
    for _ in &devices {
        let ping = house.next("a ping", |s| ping(s) && s.attr("from") == Some(&*room)).await;
        let (to, id) = (ping.attr("to").expect("to somebody").to_owned(), ping.attr("id").expect("an id"));
        house.send(&format!("<iq type='result' from='{to}' to='{room}' id='{id}'/>"));
        asked.push(to);
    }
    asked.sort();
    let mut all = devices;
    all.sort();
    assert_eq!(asked, all);
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn who_is_not_inside_learns_it_and_who_is_inside_learns_of_the_stop() {
    let (mut house, room) = House::both("").await;
    let ghost = "ghost@example.org/attic";
    house.send(&format!("<presence from='{ghost}' to='{room}/ghost'/>"));
    let told = house.next("he is not inside", gone(&format!("{room}/ghost"), ghost)).await;
    assert_eq!(codes(&told), ["110", "307", "333"]);
    house.stop.cancel();
    for (who, nick) in [(ROMEO, "romeo"), (JULIET, "juliet")] {
        let told = house.next("the stop", gone(&format!("{room}/{nick}"), who)).await;
        assert_eq!(codes(&told), ["110", "332"]);
    }
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn a_room_of_ten_thousand_comes_in_pieces_and_delays_nobody() {
    let (mut house, crowd) = (House::rooms("").await, format!("#crowd10000%loop@{LOOP}"));
    house.knock(ROMEO, &crowd, "romeo");
    house.next("the first of them", |s| s.name == "presence" && s.attr("to") == Some(ROMEO)).await;
    house.say(ROMEO, &crowd, "m1", "so many");
    let other = house.ask(JULIET, LOOP, "get", "<ping xmlns='urn:xmpp:ping'/>").await;
    assert_eq!(other.attr("type"), Some("result"));
    let (mut seen, mut own) = (1, false);
    loop {
        let stanza = house.next("the rest", |s| s.attr("to") == Some(ROMEO)).await;
        match stanza.name.as_str() {
            "presence" if codes(&stanza).contains(&"110") => own = true,
            "presence" => {
                assert!(!own, "own presence is the last one");
                seen += 1;
            }
            _ if stanza.child("subject").is_some() => assert!(own, "the subject comes after own presence"),
            _ => {
                assert!(own, "nothing is said before");
                assert_eq!((stanza.body(), stanza.attr("id")), (Some("so many"), Some("m1")));
                break;
            }
        }
    }
    assert_eq!(seen, 10_000);
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn who_is_away_everywhere_is_away_on_the_network() {
    let (mut house, room) = House::both("").await;
    let away = format!("<presence from='{JULIET}' to='{room}/juliet'><show>away</show></presence>");
    house.send(&away);
    let seen =
        house.next("she is away", |s| here(&format!("{room}/juliet"), ROMEO)(s) && s.child("show").is_some()).await;
    assert_eq!(seen.child("show").map(|s| s.text.as_str()), Some("away"));
    house.send(&format!("<presence from='{JULIET}' to='{room}/juliet'/>"));
    house.next("she is back", |s| here(&format!("{room}/juliet"), ROMEO)(s) && s.child("show").is_none()).await;
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn a_room_is_held_for_ten_minutes_and_then_given_up_with_the_reason() {
    let (mut house, room) = House::both("").await;
    let he = format!("{room}/romeo");
    house.raw(ROMEO, "break");
    house.next("she sees him go", gone(&he, JULIET)).await;
    // The clock goes on by itself, too: the rest is what this test may take.
    house.clock.advance(Duration::from_secs(590));
    // The clock was read again since: he is still shown nothing.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let pong = house.ask(ROMEO, &he, "get", "<ping xmlns='urn:xmpp:ping'/>").await;
    assert_eq!(pong.attr("type"), Some("result"), "held for ten minutes");
    house.clock.advance(Duration::from_secs(11));
    let own = house.next("his end", gone(&he, ROMEO)).await;
    assert_eq!(codes(&own), ["110", "333"]);
    assert!(own.child("status").is_some_and(|s| !s.text.is_empty()), "with the reason: {own}");
    // The session need not try any more.
    house.raw(ROMEO, "mend");
    house.say(ROMEO, &room, "m1", "hello?");
    let error = house.next("an error", |s| s.attr("id") == Some("m1")).await;
    assert_eq!(error.error().as_deref(), Some("modify/not-acceptable"));
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn who_is_silent_for_a_quarter_of_an_hour_is_asked_and_who_is_gone_goes() {
    let (mut house, room) = House::both("").await;
    let ping = |to: &'static str| {
        move |s: &Element| s.name == "iq" && s.attr("type") == Some("get") && s.attr("to") == Some(to)
    };
    house.clock.advance(Duration::from_secs(14 * 60));
    house.say(ROMEO, &room, "m1", "still here");
    house.next("what he says", |s| group(JULIET)(s) && s.body().is_some()).await;
    house.clock.advance(Duration::from_secs(61));
    let hers = house.next("a ping for her", ping(JULIET)).await;
    assert_eq!((hers.attr("from"), hers.has("ping", "urn:xmpp:ping")), (Some(room.as_str()), true));
    // She answers that she knows no such thing: she is there. He has spoken: nobody asks him.
    house.send(&format!(
        "<iq type='error' from='{JULIET}' to='{room}' id='{}'><error type='cancel'><feature-not-implemented xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>",
        hers.attr("id").expect("an id")
    ));
    house.ask(JULIET, LOOP, "get", "<ping xmlns='urn:xmpp:ping'/>").await;
    house.clock.advance(Duration::from_secs(15 * 60));
    let his = house.next("a ping for him", ping(ROMEO)).await;
    house.send(&format!(
        "<iq type='error' from='{ROMEO}' to='{room}' id='{}'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>",
        his.attr("id").expect("an id")
    ));
    house.next("she sees him go", gone(&format!("{room}/romeo"), JULIET)).await;
    house.finish().await.expect("an orderly stop");
}
