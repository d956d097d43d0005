//! What refers to messages of rooms: answers, corrections, reactions, withdrawals, marks; carried, degraded or answered.

use std::time::{Duration, Instant};

use isthmus_testkit::xml::Element;

use super::house::{House, JULIET, LOOP};
use super::rooms::{ROMEO, group, verona};

const REACTIONS: &str = "urn:xmpp:reactions:0";
const RETRACT: &str = "urn:xmpp:message-retract:1";

impl House {
    /// Both of them in the room, he as its moderator.
    async fn pair() -> (Self, String) {
        let (mut house, room) = (Self::rooms("").await, verona());
        house.join(ROMEO, &room, "romeo").await;
        house.join(JULIET, &room, "juliet").await;
        (house, room)
    }

    /// Sends a groupchat message with these children.
    fn group(&self, who: &str, room: &str, id: &str, children: &str) {
        self.send(&format!("<message from='{who}' to='{room}' type='groupchat' id='{id}'>{children}</message>"));
    }

    /// Says something; gives the room's id of it, as both have heard it.
    async fn said(&mut self, who: &str, room: &str, id: &str, body: &str) -> String {
        self.say(who, room, id, body);
        let mut ids = Vec::new();
        for to in [ROMEO, JULIET] {
            let heard = self.next("the words", |s| group(to)(s) && s.body() == Some(body)).await;
            ids.push(stanza_id(&heard));
        }
        assert_eq!(ids[0], ids[1], "a line has one id by the room");
        ids.remove(0)
    }

    /// A line to the network itself.
    async fn line(&mut self, who: &str, line: &str) {
        self.send(&format!("<message from='{who}' to='loop@{LOOP}' type='chat'><body>{line}</body></message>"));
        // Answered in order: what follows finds it done.
        self.ask(who, &format!("{}/nobody", verona()), "get", "<ping xmlns='urn:xmpp:ping'/>").await;
    }
}

fn stanza_id(stanza: &Element) -> String {
    stanza
        .child("stanza-id")
        .and_then(|s| s.attr("id"))
        .unwrap_or_else(|| panic!("no stanza-id in {stanza}"))
        .to_owned()
}

fn has<'a>(to: &'a str, name: &'a str, ns: &'a str) -> impl Fn(&Element) -> bool + 'a {
    move |s| group(to)(s) && s.has(name, ns)
}

fn reactions(stanza: &Element) -> (Option<&str>, Vec<&str>) {
    let all = stanza.get("reactions", REACTIONS).unwrap_or_else(|| panic!("no reactions in {stanza}"));
    (all.attr("id"), all.children.iter().map(|r| r.text.as_str()).collect())
}

#[tokio::test]
async fn reactions_are_sets_to_users_and_steps_to_the_network() {
    let (mut house, room) = House::pair().await;
    let id = house.said(ROMEO, &room, "m1", "good morrow").await;
    for (n, set) in [vec!["👍", "🌹"], vec!["🌹", "💔"], vec![]].into_iter().enumerate() {
        let inner: String = set.iter().map(|r| format!("<reaction>{r}</reaction>")).collect();
        house.group(
            JULIET,
            &room,
            &format!("r{n}"),
            &format!("<reactions xmlns='{REACTIONS}' id='{id}'>{inner}</reactions>"),
        );
        for to in [ROMEO, JULIET] {
            let told = house.next("the reactions", has(to, "reactions", REACTIONS)).await;
            assert_eq!(reactions(&told), (Some(id.as_str()), set.clone()), "{told}");
            assert_eq!(told.attr("from"), Some(&*format!("{room}/juliet")));
            assert_eq!(
                told.attr("id") == Some(&*format!("r{n}")),
                to == JULIET,
                "her own comes back under her id: {told}"
            );
        }
    }
    // What nobody said cannot be reacted to.
    house.group(
        JULIET,
        &room,
        "r9",
        &format!("<reactions xmlns='{REACTIONS}' id='nothing'><reaction>👍</reaction></reactions>"),
    );
    let error = house.next("an error", |s| s.attr("id") == Some("r9")).await;
    assert_eq!(error.error().as_deref(), Some("cancel/item-not-found"));
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn a_withdrawal_takes_all_parts_and_leaves_a_tombstone_in_the_archive() {
    let (mut house, room) = House::pair().await;
    // One message of two lines is two messages of the network.
    house.say(ROMEO, &room, "m1", "first\nsecond");
    let mut ids = Vec::new();
    for body in ["first", "second"] {
        ids.push(stanza_id(&house.next("a part", |s| group(JULIET)(s) && s.body() == Some(body)).await));
    }
    let retract = |id: &str| format!("<retract xmlns='{RETRACT}' id='{id}'/><body>/me withdrew it</body>");
    // Hers they are not.
    house.group(JULIET, &room, "w0", &retract(&ids[0]));
    let error = house.next("an error", |s| s.attr("id") == Some("w0")).await;
    assert_eq!(error.error().as_deref(), Some("auth/forbidden"));
    house.group(ROMEO, &room, "w1", &retract(&ids[0]));
    for id in &ids {
        let told = house.next("the withdrawal", has(JULIET, "retract", RETRACT)).await;
        assert_eq!(told.get("retract", RETRACT).and_then(|r| r.attr("id")), Some(id.as_str()));
        assert!(told.has("fallback", "urn:xmpp:fallback:0") && told.body().is_some(), "{told}");
    }
    let mam = "urn:xmpp:mam:2";
    house.ask(JULIET, &room, "set", &format!("<query xmlns='{mam}'/>")).await;
    let mut found = Vec::new();
    for seen in house.server.drain() {
        let isthmus_testkit::fake::Seen::Stanza { element, .. } = seen else { continue };
        found.extend(element.get("result", mam).cloned());
    }
    let gone = |r: &Element, id: &str| r.attr("id") == Some(id) && r.walk().any(|e| e.name == "retracted");
    assert!(ids.iter().all(|id| found.iter().any(|r| gone(r, id))), "{found:?}");
    assert!(!found.iter().any(|r| r.walk().any(|e| e.text == "first")), "the words are gone: {found:?}");
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn a_moderator_withdraws_what_another_said() {
    let (mut house, room) = House::pair().await;
    let info = house.ask(ROMEO, &room, "get", "<query xmlns='http://jabber.org/protocol/disco#info'/>").await;
    assert!(info.to_string().contains("urn:xmpp:message-moderate:1"), "{info}");
    let (hers, his) = (house.said(JULIET, &room, "m1", "oh").await, house.said(ROMEO, &room, "m2", "ah").await);
    let wish = |id: &str| {
        format!(
            "<moderate xmlns='urn:xmpp:message-moderate:1' id='{id}'><retract xmlns='{RETRACT}'/><reason>noise</reason></moderate>"
        )
    };
    let refused = house.ask(JULIET, &room, "set", &wish(&his)).await;
    assert_eq!(refused.error().as_deref(), Some("auth/forbidden"));
    assert_eq!(house.ask(ROMEO, &room, "set", &wish(&hers)).await.attr("type"), Some("result"));
    for to in [ROMEO, JULIET] {
        let told = house.next("the moderation", has(to, "retract", RETRACT)).await;
        assert_eq!(told.attr("from"), Some(room.as_str()), "{told}");
        let retract = told.get("retract", RETRACT).expect("a withdrawal");
        let by = retract.child("moderated").and_then(|m| m.attr("by"));
        assert_eq!((retract.attr("id"), by), (Some(hers.as_str()), Some(&*format!("{room}/romeo"))));
        assert_eq!(retract.child("reason").map(|r| r.text.as_str()), Some("noise"));
    }
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn answers_and_corrections_name_the_message_that_each_hearer_knows() {
    let (mut house, room) = House::pair().await;
    let id = house.said(ROMEO, &room, "m1", "at five?").await;
    let reply = format!(
        "<body>&gt; at five?\nyes</body><reply xmlns='urn:xmpp:reply:0' to='{room}/romeo' id='{id}'/>\
         <fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='0' end='11'/></fallback>"
    );
    house.group(JULIET, &room, "m2", &reply);
    for to in [ROMEO, JULIET] {
        let told = house.next("the answer", has(to, "reply", "urn:xmpp:reply:0")).await;
        let reply = told.get("reply", "urn:xmpp:reply:0").expect("an answer");
        assert_eq!((reply.attr("id"), reply.attr("to")), (Some(id.as_str()), Some(&*format!("{room}/romeo"))));
        assert_eq!(told.body(), Some("yes"));
    }
    let correct = "urn:xmpp:message-correct:0";
    house.group(ROMEO, &room, "m3", &format!("<body>at six?</body><replace xmlns='{correct}' id='m1'/>"));
    for (to, known) in [(ROMEO, "m1"), (JULIET, id.as_str())] {
        let told = house.next("the correction", has(to, "replace", correct)).await;
        assert_eq!(told.get("replace", correct).and_then(|r| r.attr("id")), Some(known), "{told}");
        assert_eq!(told.body(), Some("at six?"));
    }
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn marks_and_typing_pass_and_nobody_answers_them() {
    let (mut house, room) = House::pair().await;
    let id = house.said(ROMEO, &room, "m1", "read me").await;
    house.group(JULIET, &room, "d1", &format!("<displayed xmlns='urn:xmpp:chat-markers:0' id='{id}'/>"));
    let told = house.next("her mark", has(ROMEO, "displayed", "urn:xmpp:chat-markers:0")).await;
    let mark = told.get("displayed", "urn:xmpp:chat-markers:0").and_then(|d| d.attr("id"));
    assert_eq!((mark, told.attr("from")), (Some(id.as_str()), Some(&*format!("{room}/juliet"))));
    house.group(JULIET, &room, "t1", "<composing xmlns='http://jabber.org/protocol/chatstates'/>");
    house.next("she types", has(ROMEO, "composing", "http://jabber.org/protocol/chatstates")).await;
    house.finish().await.expect("an orderly stop");
}

/// XEP-0490, as far as the user's server lets the gateway publish for them (XEP-0356).
#[tokio::test]
async fn what_another_program_of_the_user_has_read_is_read_on_all_their_devices() {
    let (mut house, room) = House::pair().await;
    let id = house.said(ROMEO, &room, "m1", "read me elsewhere").await;
    let marked = has(JULIET, "displayed", "urn:xmpp:chat-markers:0");
    let is_privileged = |s: &Element| s.name == "iq" && s.child("privileged_iq").is_some();
    house.line(JULIET, "read").await;
    let told = house.next("her own mark", |s| marked(s) || is_privileged(s)).await;
    assert_eq!(told.attr("from"), Some(&*format!("{room}/juliet")), "nothing is published without a grant");
    house.send(
        "<message from='example.org' to='loop.example.org'><privilege xmlns='urn:xmpp:privilege:2'><perm access='iq'>\
         <namespace ns='http://jabber.org/protocol/pubsub' type='set'/></perm></privilege></message>",
    );
    // The grant counts from some moment on.
    let end = Instant::now() + Duration::from_secs(30);
    let iq = loop {
        house.line(JULIET, "read").await;
        let told = house.next("what is published", |s| marked(s) || is_privileged(s)).await;
        if is_privileged(&told) {
            break told;
        }
        assert!(Instant::now() < end, "the grant is not used");
    };
    assert_eq!(iq.attr("to"), Some("juliet@example.org"));
    let item = iq.walk().find(|e| e.name == "item").expect("an item");
    assert_eq!(item.attr("id"), Some(&*room));
    let read = item.walk().find(|e| e.name == "stanza-id").expect("a stanza-id");
    assert_eq!((read.attr("id"), read.attr("by")), (Some(&*id), Some(&*room)));
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn what_a_connection_does_not_carry_is_degraded_once() {
    let (mut house, room) = House::pair().await;
    house.line(ROMEO, "plain").await;
    let id = house.said(JULIET, &room, "m1", "shall we meet at five today?").await;
    // An answer without the words that it answers gets them from the archive.
    house.group(ROMEO, &room, "a1", &format!("<body>yes</body><reply xmlns='urn:xmpp:reply:0' id='{id}'/>"));
    for line in ["> shall we meet at five today?", "yes"] {
        house.next("the answer", |s| group(JULIET)(s) && s.body() == Some(line)).await;
    }
    house.said(ROMEO, &room, "c1", "bring the letter tomorrow morning").await;
    let correct = |body: &str| format!("<body>{body}</body><replace xmlns='urn:xmpp:message-correct:0' id='c1'/>");
    house.group(ROMEO, &room, "c2", &correct("bring the letter this morning"));
    house.next("the words anew", |s| group(JULIET)(s) && s.body() == Some("* bring the letter this morning")).await;
    let form = "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>\
                <field var='corrections'><value>substitute</value></field><field var='reactions'><value>true</value></field></x></query>";
    assert_eq!(house.ask(ROMEO, &room, "set", form).await.attr("type"), Some("result"));
    house.group(ROMEO, &room, "c3", &correct("bring the letter this morning"));
    house.next("what differs", |s| group(JULIET)(s) && s.body() == Some("s/tomorrow/this/")).await;
    // What is corrected is what was said, with the name of who was answered.
    let form = form.replace("</x>", "<field var='replies'><value>name</value></field></x>");
    assert_eq!(house.ask(ROMEO, &room, "set", &form).await.attr("type"), Some("result"));
    let answer = format!("<reply xmlns='urn:xmpp:reply:0' id='{id}'/>");
    house.group(ROMEO, &room, "n1", &format!("<body>fvie o'clock is fine with me</body>{answer}"));
    house.next("by name", |s| group(JULIET)(s) && s.body() == Some("juliet: fvie o'clock is fine with me")).await;
    let correct = "<replace xmlns='urn:xmpp:message-correct:0' id='n1'/>";
    house.group(ROMEO, &room, "n2", &format!("<body>five o'clock is fine with me</body>{correct}{answer}"));
    house.next("what differs", |s| group(JULIET)(s) && s.body() == Some("s/fvie/five/")).await;
    // Reactions in words, because he wants it so.
    house.group(
        ROMEO,
        &room,
        "r1",
        &format!("<reactions xmlns='{REACTIONS}' id='{id}'><reaction>👍</reaction></reactions>"),
    );
    let told = house.next("a reaction in words", |s| group(JULIET)(s) && s.body().is_some()).await;
    assert_eq!(told.body(), Some("/me reacts with 👍 to “shall we meet at five today?”"));
    // A withdrawal is impossible: he learns it.
    house.group(ROMEO, &room, "w1", &format!("<retract xmlns='{RETRACT}' id='c1'/>"));
    let note = house.next("a note", |s| s.attr("to") == Some(ROMEO) && s.attr("type") == Some("chat")).await;
    assert!(note.body().is_some_and(|b| b.contains("could not be withdrawn")), "{note}");
    house.finish().await.expect("an orderly stop");
}

/// Where the network knows no corrections, but withdrawals.
#[tokio::test]
async fn what_is_corrected_is_withdrawn_and_said_anew_where_the_user_wants_that() {
    let (mut house, room) = House::pair().await;
    house.line(ROMEO, "uncorrected").await;
    let form = "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>\
                <field var='corrections'><value>redact</value></field></x></query>";
    assert_eq!(house.ask(ROMEO, &room, "set", form).await.attr("type"), Some("result"));
    let correct = "urn:xmpp:message-correct:0";
    let first = house.said(ROMEO, &room, "c1", "we meet at five").await;
    let mut id = first.clone();
    // A message that is corrected again is named by its first id (XEP-0308 section 4).
    for (own, words) in [("c2", "we meet at six"), ("c3", "we meet at seven")] {
        house.group(ROMEO, &room, own, &format!("<body>{words}</body><replace xmlns='{correct}' id='c1'/>"));
        let mut anew = String::new();
        for to in [ROMEO, JULIET] {
            let told = house.next("the withdrawal", has(to, "retract", RETRACT)).await;
            assert_eq!(told.get("retract", RETRACT).and_then(|r| r.attr("id")), Some(&*id), "{words}: {told}");
            assert_eq!(told.attr("from"), Some(&*format!("{room}/romeo")), "{told}");
            let heard = house.next("the words anew", |s| group(to)(s) && s.body() == Some(words)).await;
            assert_eq!((heard.attr("id") == Some(own), heard.has("replace", correct)), (to == ROMEO, false), "{heard}");
            anew = stanza_id(&heard);
        }
        id = anew;
    }
    // And so it is when it is withdrawn: what there is of it goes.
    house.group(ROMEO, &room, "w1", &format!("<retract xmlns='{RETRACT}' id='{first}'/><body>/me withdrew it</body>"));
    let told = house.next("the withdrawal", has(JULIET, "retract", RETRACT)).await;
    assert_eq!(told.get("retract", RETRACT).and_then(|r| r.attr("id")), Some(&*id), "{told}");
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn what_is_corrected_between_two_is_withdrawn_and_said_anew_where_the_user_wants_that() {
    let mut house = House::rooms("").await;
    let alice = format!("alice%loop@{LOOP}");
    let chat = |id: &str, children: &str| {
        format!("<message from='{JULIET}' to='{alice}' type='chat' id='{id}'>{children}</message>")
    };
    // Loopback's people do to what was said to them what is done to theirs.
    house.send(&chat("m1", "<body>at five</body>"));
    house.next("an answer", |s| s.body() == Some("at five")).await;
    house.line(JULIET, "uncorrected").await;
    house.command(JULIET, &alice, "configure", ("corrections", "redact")).await;
    for (id, words, before) in [("m2", "at six", "m1"), ("m3", "at seven", "m2")] {
        let correct = "<replace xmlns='urn:xmpp:message-correct:0' id='m1'/>";
        house.send(&chat(id, &format!("<body>{words}</body>{correct}")));
        let told = house.next("the withdrawal", |s| s.has("retract", RETRACT)).await;
        assert_eq!(told.get("retract", RETRACT).and_then(|r| r.attr("id")), Some(before), "{words}: {told}");
        house.next("the words anew", |s| s.body() == Some(words) && s.attr("from") == Some(&*alice)).await;
    }
    house.send(&chat("w1", &format!("<retract xmlns='{RETRACT}' id='m1'/>")));
    let told = house.next("the withdrawal", |s| s.has("retract", RETRACT)).await;
    assert_eq!(told.get("retract", RETRACT).and_then(|r| r.attr("id")), Some("m3"), "{told}");
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn what_is_said_between_two_is_referred_to_by_both_sides() {
    let mut house = House::rooms("").await;
    let alice = format!("alice%loop@{LOOP}");
    let chat = |id: &str, children: &str| {
        format!("<message from='{JULIET}' to='{alice}' type='chat' id='{id}'>{children}</message>")
    };
    house.send(&chat("m1", "<body>hello</body>"));
    let answer = house.next("an answer", |s| s.body() == Some("hello") && s.attr("from") == Some(&*alice)).await;
    let theirs = answer.attr("id").expect("an id").to_owned();
    // Loopback's people do to what was said to them what is done to theirs.
    house.send(&chat(
        "r1",
        &format!("<reactions xmlns='{REACTIONS}' id='{theirs}'><reaction>👍</reaction></reactions>"),
    ));
    let told = house.next("her reaction", |s| s.has("reactions", REACTIONS)).await;
    assert_eq!(reactions(&told), (Some(theirs.as_str()), vec!["👍"]));
    house.send(&chat("m2", &format!("<body>indeed</body><reply xmlns='urn:xmpp:reply:0' id='{theirs}'/>")));
    let told = house.next("her answer", |s| s.body() == Some("indeed")).await;
    assert_eq!(told.get("reply", "urn:xmpp:reply:0").and_then(|r| r.attr("id")), Some(theirs.as_str()), "{told}");
    house.send(&chat("d1", &format!("<displayed xmlns='urn:xmpp:chat-markers:0' id='{theirs}'/>")));
    house.next("her mark", |s| s.has("displayed", "urn:xmpp:chat-markers:0")).await;
    house.send(&chat("w1", &format!("<retract xmlns='{RETRACT}' id='m1'/>")));
    let told = house.next("her withdrawal", |s| s.has("retract", RETRACT)).await;
    assert_eq!(told.get("retract", RETRACT).and_then(|r| r.attr("id")), Some("m1"), "{told}");
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn what_is_said_in_private_to_a_nick_that_no_jid_can_spell_is_referred_to_by_both_sides() {
    let (mut house, room) = (House::rooms("").await, verona());
    house.join(JULIET, &room, "juliet").await;
    let own = house.join(ROMEO, &room, "odd").await;
    let odd = own.attr("from").expect("his address").to_owned();
    assert!(odd.starts_with(&format!("{room}/o_d_")), "{own}");
    let hers = format!("{room}/juliet");
    let private = |to: &'static str, from: &str| {
        let from = from.to_owned();
        move |s: &Element| {
            s.name == "message" && s.attr("to") == Some(to) && s.attr("from") == Some(&*from) && !group(to)(s)
        }
    };
    let chat = |from: &str, to: &str, id: &str, children: &str| {
        format!("<message from='{from}' to='{to}' type='chat' id='{id}'>{children}</message>")
    };
    house.send(&chat(JULIET, &odd, "p1", "<body>psst</body>"));
    let is_hers = private(ROMEO, &hers);
    let heard = house.next("her words", |s| is_hers(s) && s.body() == Some("psst")).await;
    let id = heard.attr("id").expect("an id").to_owned();
    let react = |id: &str| format!("<reactions xmlns='{REACTIONS}' id='{id}'><reaction>👍</reaction></reactions>");
    house.send(&chat(ROMEO, &hers, "r1", &react(&id)));
    let is_his = private(JULIET, &odd);
    let told = house.next("his reaction", |s| is_his(s) && s.has("reactions", REACTIONS)).await;
    assert_eq!(reactions(&told), (Some("p1"), vec!["👍"]), "{told}");
    house.send(&chat(ROMEO, &hers, "p2", "<body>yes?</body>"));
    let heard = house.next("his words", |s| is_his(s) && s.body() == Some("yes?")).await;
    let id = heard.attr("id").expect("an id").to_owned();
    house.send(&chat(JULIET, &odd, "r2", &react(&id)));
    let told = house.next("her reaction", |s| is_hers(s) && s.has("reactions", REACTIONS)).await;
    assert_eq!(reactions(&told), (Some("p2"), vec!["👍"]), "{told}");
    house.finish().await.expect("an orderly stop");
}
