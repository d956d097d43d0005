//! What was said in rooms: history for who comes in, and the archive (XEP-0313).

use isthmus_testkit::xml::Element;

use super::house::{House, JULIET, LOOP};
use super::rooms::{ROMEO, codes, group, verona};

const CHAMBER: &str = "juliet@example.org/chamber";
const MAM: &str = "urn:xmpp:mam:2";

impl House {
    /// The bodies of a page, and the end of the answer.
    pub(crate) async fn page(&mut self, who: &str, room: &str, inner: &str) -> (Vec<String>, Element) {
        let question = format!("<query xmlns='{MAM}' queryid='q1'>{inner}</query>");
        let end = self.ask(who, room, "set", &question).await;
        let mut bodies = Vec::new();
        for seen in self.server.drain() {
            let isthmus_testkit::fake::Seen::Stanza { element, .. } = seen else { continue };
            let Some(result) = element.get("result", MAM) else { continue };
            assert_eq!((element.attr("to"), result.attr("queryid")), (Some(who), Some("q1")));
            let inner = result.child("forwarded").and_then(|f| f.get("message", "jabber:client")).expect("a message");
            bodies.push(inner.body().unwrap_or_default().to_owned());
        }
        (bodies, end)
    }

    /// The bodies that are shown to who comes in.
    pub(crate) async fn history(&mut self, who: &str, room: &str, wish: &str) -> Vec<String> {
        self.send(&format!(
            "<presence from='{who}' to='{room}/juliet'><x xmlns='http://jabber.org/protocol/muc'>{wish}</x></presence>"
        ));
        self.shown_until_subject(who).await
    }

    /// She sets how many lines are shown to who comes in, by the room's form (muc#owner).
    async fn sets_by_form(&mut self, room: &str, lines: &str) {
        let x = format!(
            "<x xmlns='jabber:x:data' type='submit'><field var='max_history_length'><value>{lines}</value></field></x>"
        );
        let form = format!("<query xmlns='http://jabber.org/protocol/muc#owner'>{x}</query>");
        let done = self.ask(JULIET, room, "set", &form).await;
        assert_eq!(done.attr("type"), Some("result"), "{done}");
    }

    /// The old lines that are shown to somebody who comes in, between their own presence and the subject.
    pub(crate) async fn shown_until_subject(&mut self, who: &str) -> Vec<String> {
        self.next("own presence", |s| s.name == "presence" && s.attr("to") == Some(who) && codes(s).contains(&"110"))
            .await;
        let mut lines = Vec::new();
        loop {
            let next = self.next("history", |s| group(who)(s)).await;
            if next.child("subject").is_some() {
                return lines;
            }
            assert!(next.child("delay").is_some() && next.child("stanza-id").is_some(), "{next}");
            lines.push(next.body().unwrap_or_default().to_owned());
        }
    }
}

#[tokio::test]
async fn who_comes_in_sees_the_last_lines_of_their_own_stays() {
    let (mut house, room) = (House::rooms("").await, verona());
    house.join(ROMEO, &room, "romeo").await;
    house.say(ROMEO, &room, "m0", "before she came");
    house.next("his line", |s| group(ROMEO)(s) && s.body().is_some()).await;
    house.join(JULIET, &room, "juliet").await;
    for n in 1..=3 {
        house.say(ROMEO, &room, &format!("m{n}"), &format!("line {n}"));
        house.next("his line", |s| group(JULIET)(s) && s.body().is_some()).await;
    }
    assert_eq!(house.history(CHAMBER, &room, "").await, ["line 1", "line 2", "line 3"]);
    assert_eq!(house.history(CHAMBER, &room, "<history maxstanzas='1'/>").await, ["line 3"]);
    assert!(house.history(CHAMBER, &room, "<history maxchars='0'/>").await.is_empty());
    assert!(house.history(CHAMBER, &room, "<history since='2100-01-01T00:00:00Z'/>").await.is_empty());
    house.finish().await.expect("an orderly stop");
}

/// As many as are set for the room, else for the network, else for all of the gateway.
#[tokio::test]
async fn who_comes_in_sees_as_many_lines_as_the_user_has_set() {
    let mut house = House::rooms("").await;
    let [verona, mantua] = ["verona", "mantua"].map(|name| format!("#{name}%loop@{LOOP}"));
    for room in [&verona, &mantua] {
        house.join(JULIET, room, "juliet").await;
        for n in 1..=5 {
            house.say(JULIET, room, &format!("m{n}"), &format!("line {n}"));
            house.next("her line", |s| group(JULIET)(s) && s.body().is_some()).await;
        }
    }
    let network = format!("loop@{LOOP}");
    let last = |n: usize| (6 - n..=5).map(|n| format!("line {n}")).collect::<Vec<_>>();
    // Each time by a client that was never there: it has heard nothing else.
    let mut clients = (0..).map(|n| format!("juliet@example.org/{n}"));
    for (at, lines, expected) in [
        (&*verona, "2", [2, 5]),
        (&verona, "0", [0, 5]),
        (LOOP, "4", [0, 4]),
        (&network, "3", [0, 3]),
        (&verona, "1", [1, 3]),
    ] {
        if at == verona {
            house.sets_by_form(at, lines).await;
        } else {
            house.command(JULIET, at, "configure", ("max_history_length", lines)).await;
        }
        for (room, n) in [&verona, &mantua].into_iter().zip(expected) {
            let client = clients.next().expect("one more");
            assert_eq!(house.history(&client, room, "").await, last(n), "{lines} at {at}: {room}");
        }
    }
    // A client may want fewer, and gets no more.
    for (wish, n) in [("<history maxstanzas='2'/>", 2), ("<history maxstanzas='9'/>", 3)] {
        let client = clients.next().expect("one more");
        assert_eq!(house.history(&client, &mantua, wish).await, last(n), "{wish}");
    }
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn the_archive_is_announced_paged_and_shows_each_their_own() {
    let (mut house, room) = (House::rooms("").await, verona());
    house.join(ROMEO, &room, "romeo").await;
    let info = house.ask(ROMEO, &room, "get", "<query xmlns='http://jabber.org/protocol/disco#info'/>").await;
    let query = info.child("query").expect("a query");
    assert!(query.children.iter().any(|c| c.attr("var") == Some("urn:xmpp:mam:2#extended")));
    let mut ids = Vec::new();
    for n in 0..5 {
        house.say(ROMEO, &room, &format!("m{n}"), &format!("line {n}"));
        let back = house.next("his line", |s| group(ROMEO)(s) && s.body().is_some()).await;
        ids.push(back.child("stanza-id").and_then(|s| s.attr("id")).expect("an id").to_owned());
        if n == 1 {
            house.join(JULIET, &room, "juliet").await;
        }
    }
    let (bodies, end) =
        house.page(ROMEO, &room, "<set xmlns='http://jabber.org/protocol/rsm'><max>2</max></set>").await;
    assert_eq!(bodies, ["line 0", "line 1"]);
    let fin = end.get("fin", MAM).expect("an end");
    let set = fin.child("set").expect("a set");
    assert_eq!((fin.attr("complete"), set.child("last").map(|l| l.text.as_str())), (None, Some(ids[1].as_str())));
    assert_eq!(set.child("count").map(|c| c.text.as_str()), Some("5"));
    let after = format!("<set xmlns='http://jabber.org/protocol/rsm'><max>10</max><after>{}</after></set>", ids[1]);
    let (bodies, end) = house.page(ROMEO, &room, &after).await;
    assert_eq!(bodies, ["line 2", "line 3", "line 4"]);
    assert_eq!(end.get("fin", MAM).and_then(|f| f.attr("complete")), Some("true"));
    let flipped = "<set xmlns='http://jabber.org/protocol/rsm'><max>2</max><before/></set><flip-page/>";
    assert_eq!(house.page(ROMEO, &room, flipped).await.0, ["line 4", "line 3"]);
    assert_eq!(
        house.page(JULIET, &room, "").await.0,
        ["line 2", "line 3", "line 4"],
        "she saw what was said while she was there"
    );
    assert!(house.page("tybalt@example.org/street", &room, "").await.0.is_empty());
    let ids_of =
        |id: &str| format!("<x xmlns='jabber:x:data' type='submit'><field var='ids'><value>{id}</value></field></x>");
    assert_eq!(house.page(ROMEO, &room, &ids_of(&ids[3])).await.0, ["line 3"]);
    assert_eq!(house.page(ROMEO, &room, &ids_of("nothing")).await.1.error().as_deref(), Some("cancel/item-not-found"));
    let ends = house.ask(ROMEO, &room, "get", &format!("<metadata xmlns='{MAM}'/>")).await;
    let ends = ends.child("metadata").expect("metadata");
    assert_eq!(ends.child("end").and_then(|e| e.attr("id")), Some(ids[4].as_str()));
    let form = house.ask(ROMEO, &room, "get", &format!("<query xmlns='{MAM}'/>")).await;
    assert!(form.child("query").is_some_and(|q| q.has("x", "jabber:x:data")));
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn who_wants_nothing_kept_has_nothing_kept() {
    let (mut house, room) = (House::rooms("").await, verona());
    house.join(ROMEO, &room, "romeo").await;
    let off = "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>\
               <field var='record_history'><value>false</value></field></x></query>";
    assert_eq!(house.ask(ROMEO, &room, "set", off).await.attr("type"), Some("result"));
    house.say(ROMEO, &room, "m1", "in confidence");
    house.next("his line", |s| group(ROMEO)(s) && s.body().is_some()).await;
    assert!(house.page(ROMEO, &room, "").await.0.is_empty());
    let info = house.ask(ROMEO, &room, "get", "<query xmlns='http://jabber.org/protocol/disco#info'/>").await;
    assert!(!info.to_string().contains(MAM), "{info}");
    house.finish().await.expect("an orderly stop");
}
