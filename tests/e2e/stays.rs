//! Stays in rooms that something comes between, on real servers: links that break, clients that are gone, servers that come back; and what is
//! shown to who comes in.

use std::time::Duration;

use isthmus_testkit::server::Flavour;
use isthmus_testkit::slix::SlixClient;
use isthmus_testkit::wait::until;
use isthmus_testkit::xml::Element;

use super::inside::{Inside, LOOP};
use super::irc::{codes, is_group, join, say};

const ADMIN: &str = "http://jabber.org/protocol/muc#admin";
const USER: &str = "http://jabber.org/protocol/muc#user";
const STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";

crate::on_both!(
    a_broken_link_is_not_seen_and_afterwards_only_what_changed_is_told,
    a_held_room_ends_when_it_is_refused_or_ten_minutes_are_over,
    who_is_silent_is_asked_and_two_silences_mean_gone,
    who_did_not_come_back_with_the_server_is_taken_out,
    errors_of_full_addresses_take_out_who_is_not_there,
    invitations_from_one_to_another_go_to_the_network,
    who_comes_in_sees_as_much_as_they_ask_for,
    who_may_not_speak_any_more_is_shown_as_a_visitor,
    a_room_of_ten_thousand_is_told_whole_and_delays_nobody,
);

fn room() -> String {
    format!("#verona%loop@{LOOP}")
}

async fn both(world: &Inside) -> (SlixClient, SlixClient, String) {
    let (mut romeo, mut juliet) = (world.online("romeo").await, world.online("juliet").await);
    join(&mut romeo, &room(), "romeo").await;
    join(&mut juliet, &room(), "juliet").await;
    romeo.find("her entry", presence(&format!("{}/juliet", room()), None)).await.unwrap();
    (romeo, juliet, room())
}

/// A presence of this occupant, of this type.
fn presence<'a>(from: &'a str, kind: Option<&'a str>) -> impl Fn(&Element) -> bool + 'a {
    move |s| s.name == "presence" && s.attr("from") == Some(from) && s.attr("type") == kind
}

/// Has the network do something to the link of this user's session.
async fn wire(client: &mut SlixClient, line: &str) {
    client.message(&format!("loop@{LOOP}"), line).await.unwrap();
}

fn words_of_status(stanza: &Element) -> &str {
    stanza.child("status").map_or("", |status| &status.text)
}

async fn a_broken_link_is_not_seen_and_afterwards_only_what_changed_is_told(flavour: Flavour) {
    let world = Inside::both(flavour).await;
    let (mut romeo, mut juliet, room) = both(&world).await;
    let (he, she) = (format!("{room}/romeo"), format!("{room}/juliet"));
    wire(&mut romeo, "break").await;
    juliet.find("she sees him go", presence(&he, Some("unavailable"))).await.unwrap();
    // For him nothing has happened: his self-ping is answered, only his words have to wait.
    assert_eq!(romeo.ping(&he).await.unwrap().attr("type"), Some("result"));
    say(&mut romeo, &room, "m1", "hello?").await;
    let error = romeo.find("an error", |s| s.attr("id") == Some("m1")).await.unwrap();
    assert_eq!(error.error().as_deref(), Some("wait/recipient-unavailable"));
    let shown: Vec<_> = romeo.drain().into_iter().filter(|s| s.name == "presence").collect();
    assert!(shown.is_empty(), "the break was shown: {shown:?}");
    // Meanwhile she leaves, the subject changes, somebody else comes.
    juliet.send(format!("<message to='{room}' type='groupchat'><subject>A feud</subject></message>")).await.unwrap();
    let subject = |s: &Element| is_group(s) && s.child("subject").is_some_and(|s| s.text == "A feud");
    juliet.find("the new subject", subject).await.unwrap();
    juliet.send(format!("<presence to='{she}' type='unavailable'/>")).await.unwrap();
    juliet.find("her end", presence(&she, Some("unavailable"))).await.unwrap();
    let mut mercutio = world.online("alice").await;
    join(&mut mercutio, &room, "mercutio").await;

    wire(&mut romeo, "mend").await;
    romeo.find("the new subject", subject).await.unwrap();
    say(&mut romeo, &room, "m2", "back").await;
    romeo.find("his words", |s| is_group(s) && s.attr("id") == Some("m2")).await.unwrap();
    let told: Vec<_> = romeo
        .drain()
        .into_iter()
        .filter(|s| s.name == "presence" && s.attr("from").is_some_and(|f| f.starts_with(&room)))
        .collect();
    let of = |nick: &str| {
        told.iter()
            .filter(|s| s.attr("from") == Some(&*format!("{room}/{nick}")))
            .map(|s| s.attr("type"))
            .collect::<Vec<_>>()
    };
    assert_eq!((of("juliet"), of("mercutio")), (vec![Some("unavailable")], vec![None]), "{told:?}");
    assert!(of("romeo").iter().all(Option::is_none), "he was never out: {told:?}");
    assert!(told.len() <= 3, "only what changed: {told:?}");
    world.finish().await;
}

async fn a_held_room_ends_when_it_is_refused_or_ten_minutes_are_over(flavour: Flavour) {
    let world = Inside::both(flavour).await;
    let (mut romeo, mut juliet, room) = both(&world).await;
    let (he, she) = (format!("{room}/romeo"), format!("{room}/juliet"));
    wire(&mut juliet, "break").await;
    romeo.find("he sees her go", presence(&she, Some("unavailable"))).await.unwrap();
    let ban = format!("<query xmlns='{ADMIN}'><item jid='juliet' affiliation='outcast'/></query>");
    assert_eq!(romeo.ask(&room, "set", &ban).await.unwrap().attr("type"), Some("result"));
    wire(&mut juliet, "mend").await;
    let own = juliet.find("her end", presence(&she, Some("unavailable"))).await.unwrap();
    assert_eq!(codes(&own), ["110", "333"], "{own}");
    assert!(words_of_status(&own).contains("banned"), "with the reason: {own}");

    wire(&mut romeo, "break").await;
    until("his room to be held", Duration::from_secs(30), async || {
        say(&mut romeo, &room, "h", "held?").await;
        let error = romeo.find("an answer", |s| s.attr("id") == Some("h")).await?;
        anyhow::ensure!(error.error().as_deref() == Some("wait/recipient-unavailable"), "{error}");
        Ok(())
    })
    .await
    .unwrap();
    world.clock.advance(Duration::from_secs(500));
    assert_eq!(romeo.ping(&he).await.unwrap().attr("type"), Some("result"), "held for ten minutes");
    world.clock.advance(Duration::from_secs(105));
    let own = romeo.find("his end", presence(&he, Some("unavailable"))).await.unwrap();
    assert_eq!(codes(&own), ["110", "333"], "{own}");
    assert!(!words_of_status(&own).is_empty(), "with the reason: {own}");
    let ping = romeo.ping(&he).await.unwrap();
    assert_eq!(ping.error().as_deref(), Some("cancel/not-acceptable"), "he is told that he is not inside");
    world.finish().await;
}

async fn who_is_silent_is_asked_and_two_silences_mean_gone(flavour: Flavour) {
    let world = Inside::both(flavour).await;
    let (mut romeo, mut juliet, room) = both(&world).await;
    let she = format!("{room}/juliet");
    let asked = |s: &Element| s.name == "iq" && s.attr("type") == Some("get") && s.has("ping", "urn:xmpp:ping");
    // She knows no pings: the error says that somebody is there.
    juliet.know_no_pings().await.unwrap();
    world.clock.advance(Duration::from_secs(15 * 60 + 1));
    let ping = juliet.find("a ping", asked).await.unwrap();
    assert_eq!(ping.attr("from"), Some(&*room));
    juliet.ping(LOOP).await.unwrap();
    say(&mut romeo, &room, "m1", "still there?").await;
    juliet.find("what he says", |s| is_group(s) && s.body() == Some("still there?")).await.unwrap();

    juliet.fall_silent().await.unwrap();
    romeo.drain();
    world.clock.advance(Duration::from_secs(15 * 60 + 1));
    juliet.find("a ping", asked).await.unwrap();
    // He is asked as well: his answer is there before the time for it is over.
    romeo.find("a ping", asked).await.unwrap();
    romeo.ping(LOOP).await.unwrap();
    world.clock.advance(Duration::from_secs(31));
    juliet.find("a second one", asked).await.unwrap();
    let gone = |s: &Element| presence(&she, Some("unavailable"))(s);
    assert!(!romeo.drain().iter().any(gone), "one silence says nothing");
    world.clock.advance(Duration::from_secs(31));
    romeo.find("he sees her go", gone).await.unwrap();
    let own = juliet.find("her end", gone).await.unwrap();
    assert_eq!(codes(&own), ["110", "333"], "{own}");
    assert_eq!(romeo.ping(&format!("{room}/romeo")).await.unwrap().attr("type"), Some("result"), "he has answered");
    world.finish().await;
}

async fn who_did_not_come_back_with_the_server_is_taken_out(flavour: Flavour) {
    let mut world = Inside::both(flavour).await;
    let (mut romeo, mut juliet, room) = both(&world).await;
    match flavour {
        Flavour::Prosody => world.server.kill(),
        Flavour::Ejabberd => world.server.stop().await.unwrap(),
    }
    world.server.launch().await.unwrap();
    for client in [&mut romeo, &mut juliet] {
        while client.find_within(Duration::from_secs(30), |_| false).await.is_ok() {}
    }
    romeo.reconnect().await.unwrap();
    romeo.available().await.unwrap();
    // Nobody has told the gateway that she is gone: it asks after having attached again, and the server says so. Whether he is asked before he is
    // back depends on who is quicker; then he is outside as well, and joins again.
    let x = "<x xmlns='http://jabber.org/protocol/muc'/>";
    until("the room without her", Duration::from_secs(60), async || {
        romeo.send(format!("<presence to='{room}/romeo' id='again'>{x}</presence>")).await?;
        romeo.find_within(Duration::from_secs(5), |s| is_group(s) && s.child("subject").is_some()).await?;
        let items = romeo.ask(&room, "get", "<query xmlns='http://jabber.org/protocol/disco#items'/>").await?;
        anyhow::ensure!(items.attr("type") == Some("result"), "{items}");
        let text = items.to_string();
        anyhow::ensure!(text.contains("/romeo") && !text.contains("/juliet"), "{items}");
        Ok(())
    })
    .await
    .unwrap();
    world.finish().await;
}

async fn errors_of_full_addresses_take_out_who_is_not_there(flavour: Flavour) {
    let world = Inside::both(flavour).await;
    let (mut romeo, mut juliet, room) = both(&world).await;
    let she = format!("{room}/juliet");
    let error = |condition: &str| {
        let named = if condition.is_empty() { String::new() } else { format!("<{condition} xmlns='{STANZAS}'/>") };
        format!("<message to='{room}/romeo' type='error' id='x'><error type='cancel'>{named}</error></message>")
    };
    for condition in ["not-acceptable", "feature-not-implemented", "forbidden", "policy-violation"] {
        juliet.send(error(condition)).await.unwrap();
        assert_eq!(juliet.ping(&she).await.unwrap().attr("type"), Some("result"), "{condition} evicts nobody");
    }
    for condition in [
        "gone",
        "internal-server-error",
        "item-not-found",
        "jid-malformed",
        "recipient-unavailable",
        "redirect",
        "remote-server-not-found",
        "remote-server-timeout",
        "service-unavailable",
        "",
    ] {
        juliet.send(error(condition)).await.unwrap();
        let gone = romeo.find("he sees her go", presence(&she, Some("unavailable"))).await;
        assert!(gone.is_ok(), "{condition:?} takes her out");
        let own = juliet.find("her end", presence(&she, Some("unavailable"))).await.unwrap();
        assert_eq!(codes(&own), ["110", "333"], "{condition:?}: {own}");
        join(&mut juliet, &room, "juliet").await;
        romeo.find("her entry", presence(&she, None)).await.unwrap();
    }
    world.finish().await;
}

async fn invitations_from_one_to_another_go_to_the_network(flavour: Flavour) {
    let world = Inside::both(flavour).await;
    let (mut romeo, _juliet, room) = both(&world).await;
    let nurse = format!("nurse%loop@{LOOP}");
    // XEP-0249; Loopback has the invitation come back from whom it went to.
    romeo
        .send(format!(
            "<message to='{nurse}' id='i1'><x xmlns='jabber:x:conference' jid='{room}' reason='tea'/></message>"
        ))
        .await
        .unwrap();
    let back = romeo.find("an invitation", |s| s.walk().any(|e| e.name == "invite")).await.unwrap();
    let invite = back.get("x", USER).and_then(|x| x.child("invite")).expect("an invitation by XEP-0045");
    assert_eq!((back.attr("from"), invite.attr("from")), (Some(&*room), Some(&*nurse)), "{back}");
    assert_eq!(invite.child("reason").map(|r| r.text.as_str()), Some("tea"));
    // To a room that he is not in the network lets him invite nobody, and he learns it.
    let elsewhere = format!("#mantua%loop@{LOOP}");
    romeo
        .send(format!("<message to='{nurse}' id='i2'><x xmlns='jabber:x:conference' jid='{elsewhere}'/></message>"))
        .await
        .unwrap();
    let error = romeo.find("an error", |s| s.attr("id") == Some("i2")).await.unwrap();
    assert!(error.error().is_some(), "{error}");
    world.finish().await;
}

async fn who_comes_in_sees_as_much_as_they_ask_for(flavour: Flavour) {
    let world = Inside::both(flavour).await;
    let (mut romeo, _juliet, room) = both(&world).await;
    for n in 0..4 {
        if n == 2 {
            // Two lines are an hour old by now.
            world.clock.advance(Duration::from_secs(3600));
        }
        say(&mut romeo, &room, &format!("m{n}"), &format!("line {n}")).await;
        romeo.find("the reflection", |s| is_group(s) && s.body() == Some(&format!("line {n}"))).await.unwrap();
    }
    let mut phone = SlixClient::online(&world.server, "romeo@localhost/phone").await.unwrap();
    let mut asked = async |wish: &str| {
        let x = format!("<x xmlns='http://jabber.org/protocol/muc'>{wish}</x>");
        phone.send(format!("<presence to='{room}/romeo'>{x}</presence>")).await.unwrap();
        let mut lines = Vec::new();
        loop {
            let next = phone.find("history, then the subject", is_group).await.unwrap();
            if next.child("subject").is_some() {
                return lines;
            }
            assert!(next.child("delay").is_some() && next.child("stanza-id").is_some(), "{next}");
            let at = next.child("delay").and_then(|d| d.attr("stamp")).unwrap_or_default().to_owned();
            lines.push((next.body().unwrap_or_default().to_owned(), at));
        }
    };
    let words = |lines: &[(String, String)]| lines.iter().map(|(body, _)| body.clone()).collect::<Vec<_>>();
    let all = asked("").await;
    assert_eq!(words(&all), ["line 0", "line 1", "line 2", "line 3"]);
    assert_eq!(words(&asked("<history maxstanzas='1'/>").await), ["line 3"]);
    assert!(asked("<history maxstanzas='0'/>").await.is_empty());
    assert!(asked("<history maxchars='0'/>").await.is_empty());
    // Characters are those of complete stanzas, of which none is cut: each of these is longer than 300 and shorter than 600.
    for (chars, lines) in [(20, 0), (600, 1), (1_200, 2), (100_000, 4)] {
        let shown = words(&asked(&format!("<history maxchars='{chars}'/>")).await);
        assert_eq!(shown, words(&all)[4 - lines..], "{chars} characters");
    }
    assert_eq!(words(&asked("<history seconds='1800'/>").await), ["line 2", "line 3"]);
    assert_eq!(words(&asked(&format!("<history since='{}'/>", all[2].1)).await), ["line 2", "line 3"]);
    assert!(asked("<history since='2100-01-01T00:00:00Z'/>").await.is_empty());
    // Of several limits the narrowest counts (XEP-0045 section 7.2.14).
    let both = format!("<history since='{}' seconds='1800' maxstanzas='3'/>", all[0].1);
    assert_eq!(words(&asked(&both).await), ["line 2", "line 3"]);
    world.finish().await;
}

async fn who_may_not_speak_any_more_is_shown_as_a_visitor(flavour: Flavour) {
    let world = Inside::both(flavour).await;
    let (mut romeo, mut juliet, room) = both(&world).await;
    let (he, she) = (format!("{room}/romeo"), format!("{room}/juliet"));
    let role =
        |s: &Element| s.get("x", USER).and_then(|x| x.child("item")).and_then(|i| i.attr("role")).map(str::to_owned);
    let shown = async |client: &mut SlixClient, who: &str, as_what: &str| {
        let what = format!("{who} as {as_what}");
        client.find(&what, |s| presence(who, None)(s) && role(s).as_deref() == Some(as_what)).await.unwrap()
    };
    // She learns only after the join that the room is moderated: that is no change of the room.
    juliet.drain();
    wire(&mut juliet, "known").await;
    assert_eq!(codes(&shown(&mut juliet, &she, "visitor").await), ["110"]);
    for (line, as_what) in [("unmoderate", "participant"), ("moderate", "visitor")] {
        wire(&mut romeo, line).await;
        if line == "moderate" {
            shown(&mut romeo, &she, as_what).await;
        }
        assert_eq!(codes(&shown(&mut juliet, &she, as_what).await), ["110"], "{line}");
        juliet.find("another configuration", |s| is_group(s) && codes(s) == ["104"]).await.unwrap();
    }
    // He has a rank, and is what he was.
    say(&mut romeo, &room, "m1", "silence").await;
    juliet.find("what he says", |s| is_group(s) && s.body() == Some("silence")).await.unwrap();
    assert!(!juliet.drain().iter().any(presence(&he, None)), "his role is no other");
    world.finish().await;
}

async fn a_room_of_ten_thousand_is_told_whole_and_delays_nobody(flavour: Flavour) {
    let world = Inside::both(flavour).await;
    let crowd = format!("#crowd10000%loop@{LOOP}");
    let (mut romeo, mut juliet) = (world.online("romeo").await, world.online("juliet").await);
    let x = "<x xmlns='http://jabber.org/protocol/muc'/>";
    romeo.send(format!("<presence to='{crowd}/romeo'>{x}</presence>")).await.unwrap();
    romeo.find("the first of them", |s| s.name == "presence" && s.attr("from") != Some(LOOP)).await.unwrap();
    // Somebody else comes into a small room and talks while his list is being told.
    join(&mut juliet, &room(), "juliet").await;
    say(&mut juliet, &room(), "m1", "so few").await;
    juliet.find("her words", |s| is_group(s) && s.body() == Some("so few")).await.unwrap();
    let subject = |s: &Element| is_group(s) && s.child("subject").is_some();
    assert!(romeo.find_within(Duration::from_secs(180), subject).await.unwrap().is_some(), "the subject ends the list");
    let told = romeo.drain();
    let of_it = |s: &&Element| s.name == "presence" && s.attr("from").is_some_and(|f| f.starts_with(&crowd));
    assert_eq!(told.iter().filter(of_it).count(), 10_000, "the first was taken out before, his own counts");
    let last = told.iter().rfind(of_it).expect("presences");
    assert!(codes(last).contains(&"110"), "his own is the last: {last}");
    world.finish().await;
}
