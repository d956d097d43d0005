//! Rooms by the book (XEP-0045) and their archive (XEP-0313), on real servers, with the network that has everything.

use isthmus_testkit::server::Flavour;
use isthmus_testkit::slix::SlixClient;
use isthmus_testkit::xml::Element;

use super::inside::{Inside, LOOP};
use super::irc::{codes, is_group, join, say};

const MAM: &str = "urn:xmpp:mam:2";
const RSM: &str = "http://jabber.org/protocol/rsm";
const ADMIN: &str = "http://jabber.org/protocol/muc#admin";
const USER: &str = "http://jabber.org/protocol/muc#user";

crate::on_both!(
    roles_bans_and_lists_are_asked_for_and_changed,
    requests_invitations_and_searches_find_their_people,
    the_archive_is_read_in_both_directions_and_keeps_who_said_what,
);

fn room() -> String {
    format!("#verona%loop@{LOOP}")
}

async fn both(world: &Inside) -> (SlixClient, SlixClient, String) {
    let (mut romeo, mut juliet) = (world.online("romeo").await, world.online("juliet").await);
    join(&mut romeo, &room(), "romeo").await;
    join(&mut juliet, &room(), "juliet").await;
    (romeo, juliet, room())
}

fn gone<'a>(from: &'a str) -> impl Fn(&Element) -> bool + 'a {
    move |s| s.name == "presence" && s.attr("from") == Some(from) && s.attr("type") == Some("unavailable")
}

async fn admin(client: &mut SlixClient, room: &str, kind: &str, item: &str) -> Element {
    client.ask(room, kind, &format!("<query xmlns='{ADMIN}'>{item}</query>")).await.unwrap()
}

async fn roles_bans_and_lists_are_asked_for_and_changed(flavour: Flavour) {
    let world = Inside::both(flavour).await;
    let (mut romeo, mut juliet, room) = both(&world).await;
    let moderators = admin(&mut juliet, &room, "get", "<item role='moderator'/>").await;
    let items: Vec<_> = moderators.walk().filter(|e| e.name == "item").filter_map(|i| i.attr("nick")).collect();
    assert_eq!(items, ["romeo"], "{moderators}");
    let refused = admin(&mut juliet, &room, "set", "<item nick='romeo' role='none'/>").await;
    assert_eq!(refused.error().as_deref(), Some("auth/forbidden"));
    admin(&mut romeo, &room, "set", "<item nick='juliet' role='moderator'/>").await;
    let she = format!("{room}/juliet");
    let risen = |s: &Element| {
        s.attr("from") == Some(&*she) && s.walk().any(|e| e.name == "item" && e.attr("role") == Some("moderator"))
    };
    juliet.find("her new role", risen).await.unwrap();
    admin(&mut romeo, &room, "set", "<item nick='juliet' role='none'><reason>late</reason></item>").await;
    assert_eq!(codes(&juliet.find("her end", gone(&she)).await.unwrap()), ["307", "110"]);
    join(&mut juliet, &room, "juliet").await;
    admin(&mut romeo, &room, "set", "<item nick='juliet' affiliation='outcast'/>").await;
    assert_eq!(codes(&juliet.find("her end", gone(&she)).await.unwrap()), ["301", "110"]);
    let bans = admin(&mut romeo, &room, "get", "<item affiliation='outcast'/>").await;
    assert!(bans.walk().any(|e| e.name == "item" && e.attr("jid") == Some("juliet")), "{bans}");
    admin(&mut romeo, &room, "set", "<item jid='juliet' affiliation='none'/>").await;
    join(&mut juliet, &room, "juliet").await;
    let destroy = "<query xmlns='http://jabber.org/protocol/muc#owner'><destroy/></query>";
    let refused = romeo.ask(&room, "set", destroy).await.unwrap();
    assert_eq!(refused.error().as_deref(), Some("cancel/not-allowed"));
    world.finish().await;
}

async fn requests_invitations_and_searches_find_their_people(flavour: Flavour) {
    let world = Inside::both(flavour).await;
    // Who believes to be inside, and is not, learns it.
    let mut ghost = world.online("romeo").await;
    ghost.send(format!("<presence to='{}/romeo'/>", room())).await.unwrap();
    let told = ghost.find("he is not inside", gone(&format!("{}/romeo", room()))).await.unwrap();
    assert_eq!(codes(&told), ["110", "307", "333"]);
    ghost.disconnect().await.unwrap();
    let (mut romeo, mut juliet, room) = both(&world).await;
    let items =
        format!("<query xmlns='http://jabber.org/protocol/disco#items'><set xmlns='{RSM}'><max>1</max></set></query>");
    let listed = romeo.ask(&format!("loop@{LOOP}"), "get", &items).await.unwrap();
    assert!(listed.walk().any(|e| e.name == "item" && e.attr("jid") == Some(&*room)), "{listed}");
    assert!(listed.walk().any(|e| e.name == "last"), "by pages (XEP-0059): {listed}");
    let form = |more: &str| {
        format!(
            "<message to='{room}' id='v1'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'>\
             <value>http://jabber.org/protocol/muc#request</value></field><field var='muc#role'><value>participant</value></field>{more}</x></message>"
        )
    };
    juliet.send(form("")).await.unwrap();
    let asked =
        romeo.find("a request for voice", |s| s.name == "message" && s.has("x", "jabber:x:data")).await.unwrap();
    assert!(asked.to_string().contains("juliet"), "{asked}");
    let allow = "<field var='muc#roomnick'><value>juliet</value></field><field var='muc#request_allow'><value>true</value></field>";
    romeo.send(form(allow)).await.unwrap();
    let she = format!("{room}/juliet");
    juliet.find("her new role", |s| s.name == "presence" && s.attr("from") == Some(&*she)).await.unwrap();

    romeo
        .send(format!("<message to='{room}'><x xmlns='{USER}'><invite to='juliet@localhost'><reason>come</reason></invite></x></message>"))
        .await
        .unwrap();
    let invited = juliet.find("an invitation", |s| s.walk().any(|e| e.name == "invite")).await.unwrap();
    let by = invited.walk().find(|e| e.name == "invite").and_then(|i| i.attr("from")).unwrap().to_owned();
    juliet
        .send(format!(
            "<message to='{room}'><x xmlns='{USER}'><decline to='{by}'><reason>no</reason></decline></x></message>"
        ))
        .await
        .unwrap();
    let declined = romeo.find("her answer", |s| s.walk().any(|e| e.name == "decline")).await.unwrap();
    assert_eq!(declined.attr("from"), Some(&*room));

    let search = "<query xmlns='jabber:iq:search'><x xmlns='jabber:x:data' type='submit'>\
                  <field var='name'><value>veron</value></field></x></query>";
    let found = romeo.ask(&format!("loop@{LOOP}"), "set", search).await.unwrap();
    assert!(found.walk().any(|e| e.text == room), "{found}");
    world.finish().await;
}

async fn the_archive_is_read_in_both_directions_and_keeps_who_said_what(flavour: Flavour) {
    let world = Inside::both(flavour).await;
    let (mut romeo, mut juliet, room) = both(&world).await;
    let (mut ids, mut occupants) = (Vec::new(), Vec::new());
    for n in 0..5 {
        if n == 3 {
            juliet.send(format!("<presence to='{room}/capulet'/>")).await.unwrap();
            juliet.find("her new nick", |s| s.attr("from") == Some(&*format!("{room}/capulet"))).await.unwrap();
        }
        say(&mut juliet, &room, &format!("m{n}"), &format!("line {n}")).await;
        let heard = romeo.find("a line", |s| is_group(s) && s.body().is_some()).await.unwrap();
        let id = |name: &str| heard.child(name).and_then(|s| s.attr("id")).unwrap().to_owned();
        ids.push(id("stanza-id"));
        occupants.push(id("occupant-id"));
    }
    occupants.dedup();
    assert_eq!(occupants.len(), 1, "an occupant's id outlives a nick (XEP-0421)");
    let page = async |client: &mut SlixClient, inner: &str| {
        let end = client.ask(&room, "set", &format!("<query xmlns='{MAM}' queryid='q'>{inner}</query>")).await.unwrap();
        let mut bodies = Vec::new();
        for stanza in client.drain() {
            let Some(result) = stanza.get("result", MAM) else { continue };
            let said = result.child("forwarded").and_then(|f| f.get("message", "jabber:client")).expect("a message");
            assert_eq!(said.child("occupant-id").and_then(|o| o.attr("id")), Some(&*occupants[0]), "{said}");
            bodies.push(said.body().unwrap_or_default().to_owned());
        }
        (bodies, end)
    };
    let set = |inner: &str| format!("<set xmlns='{RSM}'>{inner}</set>");
    let (bodies, end) = page(&mut romeo, &set("<max>2</max>")).await;
    assert_eq!(bodies, ["line 0", "line 1"]);
    assert_eq!(end.get("fin", MAM).and_then(|f| f.attr("complete")), None);
    let (bodies, end) = page(&mut romeo, &set(&format!("<max>10</max><after>{}</after>", ids[1]))).await;
    assert_eq!(bodies, ["line 2", "line 3", "line 4"]);
    assert_eq!(end.get("fin", MAM).and_then(|f| f.attr("complete")), Some("true"));
    assert_eq!(page(&mut romeo, &set("<max>2</max><before/>")).await.0, ["line 3", "line 4"]);
    assert_eq!(
        page(&mut romeo, &set(&format!("<max>2</max><before>{}</before>", ids[3]))).await.0,
        ["line 1", "line 2"]
    );
    let ids_of =
        format!("<x xmlns='jabber:x:data' type='submit'><field var='ids'><value>{}</value></field></x>", ids[2]);
    assert_eq!(page(&mut romeo, &ids_of).await.0, ["line 2"]);
    let nobody = "<x xmlns='jabber:x:data' type='submit'><field var='ids'><value>nothing</value></field></x>";
    assert_eq!(page(&mut romeo, nobody).await.1.error().as_deref(), Some("cancel/item-not-found"));
    let by = |var: &str, value: &str| {
        format!(
            "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>{MAM}</value></field>\
             <field var='{var}'><value>{value}</value></field></x>"
        )
    };
    for (var, value, lines) in [
        ("with", format!("{room}/capulet"), &["line 3", "line 4"][..]),
        ("after-id", ids[1].clone(), &["line 2", "line 3", "line 4"]),
        ("before-id", ids[1].clone(), &["line 0"]),
        ("start", "2100-01-01T00:00:00Z".to_owned(), &[]),
        ("end", "2000-01-01T00:00:00Z".to_owned(), &[]),
    ] {
        assert_eq!(page(&mut romeo, &by(var, &value)).await.0, lines, "{var} {value}");
    }
    let flipped = format!("{}<flip-page/>", set("<max>2</max><before/>"));
    assert_eq!(page(&mut romeo, &flipped).await.0, ["line 4", "line 3"]);
    let ends = romeo.ask(&room, "get", &format!("<metadata xmlns='{MAM}'/>")).await.unwrap();
    let at = |name: &str| ends.walk().find(|e| e.name == name).and_then(|e| e.attr("id")).map(str::to_owned);
    assert_eq!((at("start"), at("end")), (Some(ids[0].clone()), Some(ids[4].clone())), "{ends}");
    // Where nothing is kept for a user no archive is announced to them.
    let off = "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>\
               <field var='record_history'><value>false</value></field></x></query>";
    assert_eq!(romeo.ask(&room, "set", off).await.unwrap().attr("type"), Some("result"));
    for (client, kept) in [(&mut romeo, false), (&mut juliet, true)] {
        let info = client.ask(&room, "get", "<query xmlns='http://jabber.org/protocol/disco#info'/>").await.unwrap();
        let has = |feature: &str| info.walk().any(|e| e.attr("var") == Some(feature));
        assert_eq!((has(MAM), has("urn:xmpp:mam:2#extended")), (kept, kept), "{info}");
        let nick = "<query xmlns='http://jabber.org/protocol/disco#info' node='x-roomuser-item'/>";
        let own = client.ask(&room, "get", nick).await.unwrap();
        let name = own.walk().find(|e| e.name == "identity").and_then(|i| i.attr("name"));
        assert_eq!(name, Some(if kept { "capulet" } else { "romeo" }), "{own}");
    }
    world.finish().await;
}
