//! Questions to rooms: discovery, lists, self-pings, forms, invitations.

use isthmus_testkit::xml::Element;

use super::house::{House, JULIET, LOOP};
use super::rooms::{ROMEO, USER, presence, verona};

const INFO: &str = "<query xmlns='http://jabber.org/protocol/disco#info'/>";
const ITEMS: &str = "<query xmlns='http://jabber.org/protocol/disco#items'/>";
const PING: &str = "<ping xmlns='urn:xmpp:ping'/>";

fn features(answer: &Element) -> Vec<&str> {
    let query = answer.child("query").unwrap_or_else(|| panic!("no query in {answer}"));
    query.children.iter().filter(|c| c.name == "feature").filter_map(|c| c.attr("var")).collect()
}

fn items(answer: &Element) -> Vec<&str> {
    let query = answer.child("query").unwrap_or_else(|| panic!("no query in {answer}"));
    query.children.iter().filter(|c| c.name == "item").filter_map(|c| c.attr("jid")).collect()
}

/// A field of the form in an answer.
fn field<'a>(answer: &'a Element, var: &str) -> Option<&'a str> {
    let form = answer.child("query")?.get("x", "jabber:x:data")?;
    let field = form.children.iter().find(|f| f.attr("var") == Some(var))?;
    field.child("value").map(|v| v.text.as_str())
}

#[tokio::test]
async fn a_room_says_what_it_is_before_and_while_one_is_inside() {
    let (mut house, room) = (House::rooms("").await, verona());
    let answer = house.ask(ROMEO, &room, "get", INFO).await;
    let identity = answer.child("query").and_then(|q| q.child("identity")).expect("an identity");
    assert_eq!((identity.attr("category"), identity.attr("name")), (Some("conference"), Some("#verona%loop")));
    let found = features(&answer);
    for feature in [
        "http://jabber.org/protocol/muc",
        "muc_nonanonymous",
        "muc_open",
        "http://jabber.org/protocol/muc#self-ping-optimization",
    ] {
        assert!(found.contains(&feature), "{feature} is missing in {found:?}");
    }
    assert!(!found.contains(&"muc_membersonly"));
    assert_eq!(field(&answer, "muc#roominfo_occupants"), None);
    assert!(items(&house.ask(ROMEO, &room, "get", ITEMS).await).is_empty());

    house.join(ROMEO, &room, "romeo").await;
    let answer = house.ask(ROMEO, &room, "get", INFO).await;
    assert_eq!(field(&answer, "muc#roominfo_occupants"), Some("1"));
    assert_eq!(items(&house.ask(ROMEO, &room, "get", ITEMS).await), [format!("{room}/romeo")]);
    let answer = house.ask(JULIET, &room, "get", INFO).await;
    assert_eq!(field(&answer, "muc#roominfo_occupants"), None, "how many are inside is told to who is inside");

    let node = "<query xmlns='http://jabber.org/protocol/disco#info' node='x-roomuser-item'/>";
    for (who, nick) in [(ROMEO, "romeo"), (JULIET, "juliet")] {
        let answer = house.ask(who, &room, "get", node).await;
        let identity = answer.child("query").and_then(|q| q.child("identity")).expect("an identity");
        assert_eq!(identity.attr("name"), Some(nick));
    }
    // One's nick on the network, for each of one's devices and of whichever room.
    house.join("tybalt@example.org/desk", &room, "montague").await;
    for (device, room) in [("desk", room.clone()), ("street", room.clone()), ("street", format!("#other%loop@{LOOP}"))]
    {
        let answer = house.ask(&format!("tybalt@example.org/{device}"), &room, "get", node).await;
        let identity = answer.child("query").and_then(|q| q.child("identity")).expect("an identity");
        assert_eq!(identity.attr("name"), Some("montague"), "{device}, {room}");
    }
    let gateway = house.ask(ROMEO, LOOP, "get", INFO).await;
    assert!(features(&gateway).contains(&"http://jabber.org/protocol/muc"));
    let places = house.ask(ROMEO, LOOP, "get", ITEMS).await;
    assert_eq!(items(&places), [room.as_str(), &format!("loop@{LOOP}")]);
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn who_asks_after_very_many_at_once_is_answered_if_with_less() {
    let (mut house, room) = (House::rooms("").await, verona());
    house.join(ROMEO, &room, "romeo").await;
    // The network answers nothing from here on.
    house.send(&format!(
        "<message from='{ROMEO}' to='hang%loop@{LOOP}' type='chat' id='h'><body>hello</body></message>"
    ));
    for n in 0..400 {
        house.send(&format!("<iq type='get' id='d{n}' from='{ROMEO}' to='{room}/romeo'>{INFO}</iq>"));
    }
    for n in 0..400 {
        let id = format!("d{n}");
        let info = house.next("an answer", |s| s.attr("id") == Some(&*id)).await;
        assert!(info.attr("type") == Some("result") && features(&info).contains(&"urn:xmpp:reply:0"), "{info}");
        assert_eq!(field(&info, "host"), None, "{info}");
    }
    // An orderly stop would wait for what hangs.
}

#[tokio::test]
async fn a_self_ping_is_answered_at_once_and_others_are_asked() {
    let (mut house, room) = (House::rooms("").await, verona());
    let error = house.ask(ROMEO, &format!("{room}/romeo"), "get", PING).await;
    assert_eq!(error.error().as_deref(), Some("cancel/not-acceptable"));
    house.join(ROMEO, &room, "romeo").await;
    house.join(JULIET, &room, "juliet").await;
    for nick in ["romeo", "juliet"] {
        let answer = house.ask(ROMEO, &format!("{room}/{nick}"), "get", PING).await;
        assert_eq!(answer.attr("type"), Some("result"), "{nick}");
    }
    let answer = house.ask("romeo@example.org/other", &format!("{room}/romeo"), "get", PING).await;
    assert_eq!(answer.error().as_deref(), Some("cancel/not-acceptable"), "another resource is not inside");
    let version = house.ask(ROMEO, &format!("{room}/juliet"), "get", "<query xmlns='jabber:iq:version'/>").await;
    assert_eq!(version.child("query").and_then(|q| q.child("name")).map(|n| n.text.as_str()), Some("loopback 1"));
    let card = house.ask(ROMEO, &format!("{room}/juliet"), "get", "<vCard xmlns='vcard-temp'/>").await;
    let card = card.child("vCard").expect("a card");
    assert_eq!(card.child("NICKNAME").map(|n| n.text.as_str()), Some("juliet"));
    assert!(card.child("DESC").is_some_and(|d| d.text.contains("juliet@loop.invalid")), "{card}");
    let card =
        house.ask(ROMEO, &format!("{room}/juliet"), "get", "<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'/>").await;
    assert!(card.child("vcard").and_then(|c| c.child("fn")).is_some(), "{card}");
    // The same in service discovery (XEP-0128), for who is inside.
    let info = house.ask(ROMEO, &format!("{room}/juliet"), "get", INFO).await;
    assert_eq!(field(&info, "FORM_TYPE"), Some("urn:isthmus:about:0"), "{info}");
    assert_eq!((field(&info, "host"), field(&info, "idle")), (Some("juliet@loop.invalid"), Some("42")));
    assert!(features(&info).contains(&"urn:xmpp:reply:0"), "{info}");
    let info = house.ask("romeo@example.org/other", &format!("{room}/juliet"), "get", INFO).await;
    assert!(field(&info, "host").is_none() && features(&info).contains(&"urn:xmpp:reply:0"), "{info}");
    let unknown = house.ask(ROMEO, &format!("{room}/juliet"), "get", "<query xmlns='urn:example:none'/>").await;
    assert_eq!(unknown.error().as_deref(), Some("cancel/service-unavailable"));
    let command = "<command xmlns='http://jabber.org/protocol/commands' node='who'/>";
    let none = house.ask(ROMEO, &format!("{room}/juliet"), "set", command).await;
    assert_eq!(none.error().as_deref(), Some("cancel/feature-not-implemented"));
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn a_networks_rooms_are_paged() {
    let mut house = House::rooms("listed = 250\n").await;
    let network = format!("loop@{LOOP}");
    let page = |inner: &str| {
        format!(
            "<query xmlns='http://jabber.org/protocol/disco#items'><set xmlns='http://jabber.org/protocol/rsm'>{inner}</set></query>"
        )
    };
    let all = house.ask(ROMEO, &network, "get", ITEMS).await;
    assert_eq!(items(&all).len(), 100, "without pages at most a hundred");
    let first = house.ask(ROMEO, &network, "get", &page("<max>10</max>")).await;
    let jids = items(&first);
    assert_eq!((jids.len(), jids[0]), (10, &*format!("#room000000%{network}")));
    let set = first.child("query").and_then(|q| q.child("set")).expect("a set");
    assert_eq!(set.child("count").map(|c| c.text.as_str()), Some("250"));
    assert_eq!(set.child("first").and_then(|f| f.attr("index")), Some("0"));
    let last = set.child("last").map(|l| l.text.clone()).expect("a last");
    let second = house.ask(ROMEO, &network, "get", &page(&format!("<max>10</max><after>{last}</after>"))).await;
    assert_eq!(items(&second)[0], format!("#room000010%{network}"));
    let end = house.ask(ROMEO, &network, "get", &page("<max>10</max><before/>")).await;
    assert_eq!(items(&end)[9], format!("#room000249%{network}"));
    let unknown = house.ask(ROMEO, &network, "get", &page("<max>10</max><after>nothing</after>")).await;
    assert_eq!(unknown.error().as_deref(), Some("cancel/item-not-found"));
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn lists_of_roles_come_from_who_is_inside_and_outsiders_get_none() {
    let (mut house, room) = (House::rooms("").await, verona());
    house.join(ROMEO, &room, "romeo").await;
    house.join(JULIET, &room, "juliet").await;
    let list = |item: &str| format!("<query xmlns='http://jabber.org/protocol/muc#admin'><item {item}/></query>");
    let owners = house.ask(JULIET, &room, "get", &list("affiliation='owner'")).await;
    let owner = owners.child("query").and_then(|q| q.child("item")).expect("an owner");
    assert_eq!(
        (owner.attr("nick"), owner.attr("role"), owner.attr("jid")),
        (Some("romeo"), Some("moderator"), Some(&*format!("romeo%loop@{LOOP}")))
    );
    let outside = house.ask("tybalt@example.org/street", &room, "get", &list("role='moderator'")).await;
    assert_eq!(outside.error().as_deref(), Some("auth/forbidden"));
    let nonsense = house.ask(JULIET, &room, "get", &list("role='king'")).await;
    assert_eq!(nonsense.error().as_deref(), Some("modify/bad-request"));
    let set = |item: &str| format!("<query xmlns='http://jabber.org/protocol/muc#admin'>{item}</query>");
    let unknown = house.ask(ROMEO, &room, "set", &set("<item nick='nobody' role='none'/>")).await;
    assert_eq!(unknown.error().as_deref(), Some("cancel/item-not-found"));
    let refused = house.ask(JULIET, &room, "set", &set("<item nick='romeo' role='none'/>")).await;
    assert_eq!(refused.error().as_deref(), Some("auth/forbidden"), "she is no moderator");
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn the_rooms_form_holds_its_configuration_and_the_users_settings() {
    let (mut house, room) = (House::rooms("").await, verona());
    let owner = |inner: &str| format!("<query xmlns='http://jabber.org/protocol/muc#owner'>{inner}</query>");
    let form = house.ask(ROMEO, &room, "get", &owner("")).await;
    assert_eq!(field(&form, "FORM_TYPE"), Some("http://jabber.org/protocol/muc#roomconfig"));
    assert_eq!(field(&form, "encoding"), Some("utf-8"), "a setting of the user's, from outside too: {form}");
    house.join(ROMEO, &room, "romeo").await;
    let submit =
        owner("<x xmlns='jabber:x:data' type='submit'><field var='encoding'><value>latin-1</value></field></x>");
    assert_eq!(house.ask(ROMEO, &room, "set", &submit).await.attr("type"), Some("result"));
    assert_eq!(field(&house.ask(ROMEO, &room, "get", &owner("")).await, "encoding"), Some("latin-1"));
    let wrong =
        owner("<x xmlns='jabber:x:data' type='submit'><field var='encoding'><value>klingon</value></field></x>");
    assert_eq!(house.ask(ROMEO, &room, "set", &wrong).await.error().as_deref(), Some("modify/not-acceptable"));
    // A number that is none falls back to the default, and the room says so; the rest of the form is kept.
    let number = |value: &str| {
        owner(&format!(
            "<x xmlns='jabber:x:data' type='submit'><field var='max_history_length'><value>{value}</value></field>\
             <field var='encoding'><value>utf-8</value></field></x>"
        ))
    };
    assert_eq!(house.ask(ROMEO, &room, "set", &number("7")).await.attr("type"), Some("result"));
    assert_eq!(field(&house.ask(ROMEO, &room, "get", &owner("")).await, "max_history_length"), Some("7"));
    house.send(&format!("<iq from='{ROMEO}' to='{room}' type='set' id='bad'>{}</iq>", number("a lot")));
    let about = |s: &Element| s.body().is_some_and(|b| b.starts_with("max_history_length"));
    let told = house.next("words of the room", about).await;
    assert_eq!(told.attr("from"), Some(room.as_str()));
    let words = "max_history_length: not a whole number from 0 to 1000; the default is used instead: 20.";
    assert_eq!((told.attr("to"), told.attr("type"), told.body()), (Some(ROMEO), Some("groupchat"), Some(words)));
    assert!(told.has("stanza-id", "urn:xmpp:sid:0"), "{told}");
    let done = house.next("the result", |s| s.attr("id") == Some("bad")).await;
    assert_eq!(done.attr("type"), Some("result"), "{done}");
    let form = house.ask(ROMEO, &room, "get", &owner("")).await;
    assert_eq!((field(&form, "max_history_length"), field(&form, "encoding")), (Some("20"), Some("utf-8")));
    let cancel = owner("<x xmlns='jabber:x:data' type='cancel'/>");
    assert_eq!(house.ask(ROMEO, &room, "set", &cancel).await.attr("type"), Some("result"));
    let destroy = house.ask(ROMEO, &room, "set", &owner("<destroy/>")).await;
    assert_eq!(destroy.error().as_deref(), Some("cancel/not-allowed"));
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn invitations_go_to_the_network_or_to_a_jid() {
    let (mut house, room) = (House::rooms("").await, verona());
    house.join(ROMEO, &room, "romeo").await;
    let invite = |who: &str, to: &str| {
        format!(
            "<message from='{who}' to='{room}' id='i1'><x xmlns='{USER}'><invite to='{to}'><reason>come</reason></invite></x></message>"
        )
    };
    house.send(&invite(ROMEO, "benvolio@elsewhere.example"));
    let told = house.next("an invitation", |s| s.attr("to") == Some("benvolio@elsewhere.example")).await;
    let inner = told.get("x", USER).and_then(|x| x.child("invite")).expect("an invitation");
    assert_eq!((told.attr("from"), inner.attr("from")), (Some(room.as_str()), Some("romeo@example.org")));
    assert_eq!(inner.child("reason").map(|r| r.text.as_str()), Some("come"));
    // One of the network is invited there; Loopback has the invitation come back from whom it went to.
    house.send(&invite(ROMEO, &format!("juliet%loop@{LOOP}")));
    let back = house.next("an invitation", |s| s.attr("to") == Some("romeo@example.org") && s.has("x", USER)).await;
    let inner = back.get("x", USER).and_then(|x| x.child("invite")).expect("an invitation");
    assert_eq!((back.attr("from"), inner.attr("from")), (Some(room.as_str()), Some(&*format!("juliet%loop@{LOOP}"))));
    // Directly, to the person (XEP-0249).
    house.send(&format!("<message from='{ROMEO}' to='nurse%loop@{LOOP}' id='i2'><x xmlns='jabber:x:conference' jid='{room}' reason='tea'/></message>"));
    let back = house.next("an invitation", |s| s.attr("to") == Some("romeo@example.org") && s.has("x", USER)).await;
    let inner = back.get("x", USER).and_then(|x| x.child("invite")).expect("an invitation");
    assert_eq!(inner.attr("from"), Some(&*format!("nurse%loop@{LOOP}")));
    // A nick alone, which need not look like a domain.
    for nick in ["ann|away", "[ann]", "ann-"] {
        house.send(&invite(ROMEO, nick));
        let back = house.next("an invitation", |s| s.attr("to") == Some("romeo@example.org") && s.has("x", USER)).await;
        let inner = back.get("x", USER).and_then(|x| x.child("invite")).expect("an invitation");
        assert_eq!(inner.attr("from"), Some(&*format!("{room}/{nick}")));
    }
    // From outside nobody is invited.
    house.send(&invite(JULIET, "benvolio@elsewhere.example"));
    let error = house.next("an error", |s| s.attr("type") == Some("error")).await;
    assert_eq!(error.error().as_deref(), Some("modify/not-acceptable"));
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn who_is_only_on_the_way_in_is_not_inside() {
    let (mut house, room) = (House::rooms("").await, verona());
    // The network answers nothing from here on.
    house.send(&format!(
        "<message from='{ROMEO}' to='hang%loop@{LOOP}' type='chat' id='h'><body>hello</body></message>"
    ));
    house.send(&format!(
        "<presence from='{ROMEO}' to='{room}/romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
    ));
    let answer = house.ask(ROMEO, &format!("{room}/romeo"), "get", PING).await;
    assert_eq!(answer.error().as_deref(), Some("cancel/not-acceptable"), "XEP-0410");
    // An orderly stop would wait for what hangs.
}

#[tokio::test]
async fn a_declined_invitation_is_told_to_who_invited() {
    let (mut house, room) = (House::rooms("").await, verona());
    house.join(ROMEO, &room, "romeo").await;
    let decline = |to: &str| {
        format!(
            "<message from='{JULIET}' to='{room}' id='d1'><x xmlns='http://jabber.org/protocol/muc#user'><decline to='{to}'><reason>too late</reason></decline></x></message>"
        )
    };
    house.send(&decline(ROMEO));
    let told = house.next("her answer", |s| s.walk().any(|e| e.name == "decline")).await;
    let decline_of = told.get("x", USER).and_then(|x| x.child("decline")).expect("a declined invitation");
    assert_eq!((told.attr("from"), told.attr("to")), (Some(room.as_str()), Some("romeo@example.org")));
    assert_eq!(decline_of.attr("from"), Some("juliet@example.org"));
    assert_eq!(decline_of.child("reason").map(|r| r.text.as_str()), Some("too late"));
    // On the network it is said in words; Loopback's people repeat what they are told.
    house.send(&decline(&format!("nurse%loop@{LOOP}")));
    let said = house.next("her words", |s| s.body().is_some_and(|b| b.contains("too late"))).await;
    assert_eq!(said.attr("from"), Some(&*format!("nurse%loop@{LOOP}")));
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn a_request_for_voice_goes_to_the_moderators_and_their_answer_to_the_network() {
    let (mut house, room) = (House::rooms("").await, verona());
    house.join(ROMEO, &room, "romeo").await;
    house.join(JULIET, &room, "juliet").await;
    let form = |from: &str, more: &str| {
        format!(
            "<message from='{from}' to='{room}' id='v1'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'>             <value>http://jabber.org/protocol/muc#request</value></field><field var='muc#role'><value>participant</value></field>{more}</x></message>"
        )
    };
    house.send(&form(JULIET, ""));
    let asked = house.next("the form", |s| s.attr("to") == Some(ROMEO) && s.has("x", "jabber:x:data")).await;
    let value = |var: &str| {
        let field = asked.walk().find(|e| e.attr("var") == Some(var)).unwrap_or_else(|| panic!("no {var} in {asked}"));
        field.child("value").map(|v| v.text.clone()).unwrap_or_default()
    };
    assert_eq!((value("muc#roomnick"), value("muc#jid")), ("juliet".to_owned(), JULIET.to_owned()));
    house.send(&form(
        ROMEO,
        "<field var='muc#roomnick'><value>juliet</value></field><field var='muc#request_allow'><value>true</value></field>",
    ));
    house.next("her new role", |s| presence(&format!("{room}/juliet"), JULIET)(s) && s.attr("type").is_none()).await;
    // He is the only moderator: whom should he ask?
    house.send(&form(ROMEO, ""));
    let error = house.next("an error", |s| s.attr("to") == Some(ROMEO) && s.attr("type") == Some("error")).await;
    assert_eq!(error.error().as_deref(), Some("cancel/item-not-found"));
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn rooms_are_searched_for_by_a_part_of_their_names() {
    let (mut house, network) = (House::rooms("listed = 5000").await, format!("loop@{LOOP}"));
    let form = house.ask(JULIET, &network, "get", "<query xmlns='jabber:iq:search'/>").await;
    assert!(form.walk().any(|e| e.attr("var") == Some("name")), "{form}");
    let wish = "<query xmlns='jabber:iq:search'><x xmlns='jabber:x:data' type='submit'>\
                <field var='FORM_TYPE'><value>jabber:iq:search</value></field><field var='name'><value>room00123</value></field></x></query>";
    let found = house.ask(JULIET, &network, "set", wish).await;
    let rooms: Vec<_> = found.walk().filter(|e| e.name == "item").filter_map(|i| i.child("field")).collect();
    assert_eq!(rooms.len(), 10, "{found}");
    assert!(found.to_string().contains(&format!("#room001235%loop@{LOOP}")), "{found}");
    let nothing = house.ask(JULIET, &network, "set", "<query xmlns='jabber:iq:search'/>").await;
    assert_eq!(nothing.error().as_deref(), Some("modify/bad-request"));
    house.finish().await.expect("an orderly stop");
}
