use super::*;
use isthmus_bridge::room::People;

const ROOM: &str = "#verona%net@gw.example";
const TO: &str = "juliet@example.org/balcony";

fn render(f: impl FnOnce(&mut StanzaWriter<'_>, &Stage<'_>)) -> String {
    let stage = Stage {
        jid: ROOM,
        moderated: false,
        person: &|nick| Some(format!("{}%net@gw.example", nick.to_ascii_lowercase())),
        occupant_id: &|who| format!("id of {who}"),
        hat: &|hat| hat.title.to_owned(),
    };
    let mut out = Vec::new();
    let mut writer = StanzaWriter::new(&mut out, "gw.example", 1 << 16);
    f(&mut writer, &stage);
    writer.finish().expect("it may be sent");
    String::from_utf8(out).expect("UTF-8")
}

fn member(rank: Rank) -> Member {
    Member { person: People::default().learn("Romeo", Some("~r@host"), None), rank }
}

const OCCUPANT: &str = "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='id of romeo ~r@host'/>";

#[test]
fn presences_say_who_somebody_is_and_what_they_may() {
    assert_eq!(
        render(|w, s| present(
            w,
            s,
            TO,
            &member(Rank::MODERATOR | Rank::AWAY | Rank::BOT),
            Whose::Other,
            Some("tybalt")
        )),
        format!(
            "<presence from='{ROOM}/Romeo' to='{TO}'><show>away</show><x xmlns='http://jabber.org/protocol/muc#user'>\
             <item affiliation='admin' role='moderator' jid='romeo%net@gw.example/~r@host'><actor nick='tybalt'/></item></x>{OCCUPANT}\
             <hats xmlns='urn:xmpp:hats:0'><hat title='Bot' uri='urn:isthmus:hats:bot'/></hats></presence>"
        )
    );
    let people = People::default();
    people.learn("Romeo", Some("~r@host"), None);
    let away = Member { person: people.away("romeo", Some("in <Mantua>")), rank: Rank::AWAY };
    let shown = render(|w, s| present(w, s, TO, &away, Whose::Other, None));
    assert!(shown.contains("<show>away</show><status>in &lt;Mantua&gt;</status><x "), "{shown}");
    let logged_in = Member { person: people.learn("romeo", None, Some("mont<ague")), rank: Rank::NONE };
    let shown = render(|w, s| present(w, s, TO, &logged_in, Whose::Other, Some("tybalt")));
    let account = "<actor nick='tybalt'/><account xmlns='urn:isthmus:account:0' name='mont&lt;ague'/></item>";
    assert!(shown.contains(account), "{shown}");
    let logged_out = Member { person: people.learn("romeo", None, Some("")), rank: Rank::NONE };
    let shown = render(|w, s| present(w, s, TO, &logged_out, Whose::Other, None));
    assert!(!shown.contains("<account"), "{shown}");
    let own = Whose::Own { entering: true, renamed: true };
    assert_eq!(
        render(|w, s| present(w, s, TO, &member(Rank::NONE), own, None)),
        format!(
            "<presence from='{ROOM}/Romeo' to='{TO}'><x xmlns='http://jabber.org/protocol/muc#user'>\
             <item affiliation='none' role='participant' jid='{TO}'/>\
             <status code='100'/><status code='110'/><status code='210'/></x>{OCCUPANT}</presence>"
        )
    );
}

#[test]
fn departures_have_their_codes() {
    let x = |inner: &str| format!("<x xmlns='http://jabber.org/protocol/muc#user'>{inner}</x>");
    let outside = "<item affiliation='none' role='none'/>";
    let words = Some("bye <all>");
    let cases: [(Gone<'_>, String); 7] = [
        (
            Gone { own: true, moved: Some("#new@gw"), words: Some("a better name"), ..Gone::default() },
            x(&format!("{outside}<destroy jid='#new@gw'><reason>a better name</reason></destroy><status code='110'/>")),
        ),
        (
            Gone { how: Some(Departure::Parted), words, ..Gone::default() },
            format!("<status>bye &lt;all&gt;</status>{}", x(outside)),
        ),
        (
            Gone { how: Some(Departure::Kicked), words, by: Some("nurse"), own: true, ..Gone::default() },
            x("<item affiliation='none' role='none'><actor nick='nurse'/><reason>bye &lt;all&gt;</reason></item>\
               <status code='307'/><status code='110'/>"),
        ),
        (
            Gone { how: Some(Departure::Banned), ..Gone::default() },
            x("<item affiliation='outcast' role='none'/><status code='301'/>"),
        ),
        (
            Gone { renamed: Some(("Montague", rank::item(Rank::VOICE, false))), own: true, ..Gone::default() },
            x(
                "<item affiliation='member' role='participant' nick='Montague'/><status code='303'/><status code='110'/>",
            ),
        ),
        (
            Gone { own: true, service: Some("332"), ..Gone::default() },
            x(&format!("{outside}<status code='110'/><status code='332'/>")),
        ),
        (
            Gone { own: true, service: Some("333"), words: Some("no link"), ..Gone::default() },
            format!("<status>no link</status>{}", x(&format!("{outside}<status code='110'/><status code='333'/>"))),
        ),
    ];
    for (gone, inner) in cases {
        assert_eq!(
            render(|w, s| absent(w, s, TO, "Romeo", &gone)),
            format!("<presence from='{ROOM}/Romeo' to='{TO}' type='unavailable'>{inner}</presence>")
        );
    }
    assert_eq!(
        render(|w, _| never_inside(w, &format!("{ROOM}/x"), TO)),
        format!(
            "<presence from='{ROOM}/x' to='{TO}' type='unavailable'>{}</presence>",
            x(&format!("{outside}<status code='110'/><status code='307'/><status code='333'/>"))
        )
    );
}

#[test]
fn a_subject_comes_from_who_set_it_and_an_empty_one_from_the_room() {
    let at = SystemTime::UNIX_EPOCH;
    let set = Subject::new("Feud & love", Some("Romeo".to_owned()), Some(at));
    assert_eq!(
        render(|w, s| subject(w, s, TO, &set, None)),
        format!(
            "<message from='{ROOM}/Romeo' to='{TO}' type='groupchat'><subject>Feud &amp; love</subject>\
             <delay xmlns='urn:xmpp:delay' from='{ROOM}' stamp='1970-01-01T00:00:00Z'/></message>"
        )
    );
    assert_eq!(
        render(|w, s| subject(w, s, TO, &Subject::default(), None)),
        format!("<message from='{ROOM}' to='{TO}' type='groupchat'><subject/></message>")
    );
}

#[test]
fn a_line_has_the_ids_of_room_and_occupant() {
    let said = Line {
        payload: None,
        from: &format!("{ROOM}/Romeo"),
        id: "m1",
        stanza_id: "s1",
        body: "O & <she>",
        thread: None,
        occupant_id: Some("o1"),
        kept: None,
        at: None,
    };
    assert_eq!(
        render(|w, s| line(w, s.jid, TO, &said)),
        format!(
            "<message from='{ROOM}/Romeo' to='{TO}' id='m1' type='groupchat'><body>O &amp; &lt;she&gt;</body>\
             <stanza-id xmlns='urn:xmpp:sid:0' by='{ROOM}' id='s1'/>\
             <occupant-id xmlns='urn:xmpp:occupant-id:0' id='o1'/></message>"
        )
    );
    assert_eq!(
        render(|w, s| private(w, (&s.occupant("Romeo"), TO), "p1", ("psst", [None, None]), None)),
        format!(
            "<message from='{ROOM}/Romeo' to='{TO}' id='p1' type='chat'><body>psst</body>\
             <x xmlns='http://jabber.org/protocol/muc#user'/><private xmlns='urn:xmpp:carbons:2'/><no-copy xmlns='urn:xmpp:hints'/></message>"
        )
    );
}

#[test]
fn who_types_to_one_person_is_not_seen_typing_to_the_room() {
    let composing = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
    let shown = |private| render(|w, s| typing(w, &s.occupant("Romeo"), TO, true, private));
    assert_eq!(shown(false), format!("<message from='{ROOM}/Romeo' to='{TO}' type='groupchat'>{composing}</message>"));
    let beside = "<x xmlns='http://jabber.org/protocol/muc#user'/><private xmlns='urn:xmpp:carbons:2'/><no-copy xmlns='urn:xmpp:hints'/>";
    assert_eq!(
        shown(true),
        format!("<message from='{ROOM}/Romeo' to='{TO}' type='chat'>{composing}{beside}</message>")
    );
}

#[test]
fn an_invitation_names_who_invites() {
    assert_eq!(
        render(|w, s| invitation(w, s.jid, "juliet@example.org", "romeo%net@gw.example", Some("come"), Some("pw"))),
        format!(
            "<message from='{ROOM}' to='juliet@example.org'><x xmlns='http://jabber.org/protocol/muc#user'>\
             <invite from='romeo%net@gw.example'><reason>come</reason></invite><password>pw</password></x></message>"
        )
    );
}
