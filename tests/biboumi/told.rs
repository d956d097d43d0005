//! What rooms and people say of themselves to who asks, on a real ngircd: where biboumi answers nothing, the comparison takes any content.

use anyhow::{Context, Result};

use crate::ours::{NGIRCD, plays};
use crate::stage::{DESK, NET, OTHER, Stage};

const INFO: &str = "<query xmlns='http://jabber.org/protocol/disco#info'/>";

fn admin(item: &str) -> String {
    format!("<query xmlns='http://jabber.org/protocol/muc#admin'>{item}</query>")
}

/// Who has this affiliation by the room's own list: nick and JID, sorted.
async fn list(s: &mut Stage, affiliation: &str) -> Result<Vec<(String, String)>> {
    let room = s.room("verona");
    let answer = s.ask(DESK, &room, "get", &admin(&format!("<item affiliation='{affiliation}'/>"))).await?;
    assert_eq!(answer.attr("type"), Some("result"), "{answer}");
    let items = answer.walk().filter(|e| e.name == "item");
    let of = |item: &isthmus_testkit::xml::Element, name: &str| item.attr(name).unwrap_or_default().to_owned();
    let mut all: Vec<_> = items
        .map(|item| {
            assert_eq!(item.attr("affiliation"), Some(affiliation), "{answer}");
            (of(item, "nick"), of(item, "jid"))
        })
        .collect();
    all.sort();
    Ok(all)
}

#[tokio::test]
async fn lists_of_affiliations_hold_the_ranks_that_people_have() {
    plays(NGIRCD, async |s| {
        let room = s.room("verona");
        s.join(DESK, "verona", "romeo").await?;
        for nick in ["juliet", "nurse", "paris", "Mercutio"] {
            let person = s.person(nick).await?;
            s.does(person, "JOIN #verona").await?;
        }
        for item in [
            "<item nick='juliet' affiliation='admin'/>",
            "<item nick='nurse' affiliation='member'/>",
            "<item nick='Mercutio' role='moderator'/>",
        ] {
            let answer = s.ask(DESK, &room, "set", &admin(item)).await?;
            assert_eq!(answer.attr("type"), Some("result"), "{item}: {answer}");
        }
        let who = |nick: &str| (nick.to_owned(), format!("{}%net@irc.localhost", nick.to_lowercase()));
        assert_eq!(list(s, "admin").await?, [who("juliet"), who("romeo")]);
        assert_eq!(list(s, "member").await?, [who("Mercutio"), who("nurse")]);
        assert_eq!(list(s, "owner").await?, []);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_room_tells_its_subject_to_who_is_inside() {
    plays(NGIRCD, async |s| {
        s.join(DESK, "verona", "romeo").await?;
        let juliet = s.person("juliet").await?;
        s.does(juliet, "JOIN #verona").await?;
        let room = s.room("verona");
        s.ask(DESK, &room, "set", &admin("<item nick='juliet' affiliation='admin'/>")).await?;
        s.does(juliet, "TOPIC #verona :Two houses").await?;
        let changed = |m: &isthmus_testkit::xml::Element| m.child("subject").is_some_and(|e| e.text == "Two houses");
        s.expect(DESK, "the subject", changed).await?;
        for (who, subject) in [(DESK, Some("Two houses")), (OTHER, None)] {
            let info = s.ask(who, &room, "get", INFO).await?;
            let field = info.walk().find(|e| e.attr("var") == Some("muc#roominfo_subject"));
            let value = field.and_then(|field| field.child("value")).map(|value| value.text.as_str());
            assert_eq!(value, subject, "{info}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_person_has_a_card_of_what_whois_says() {
    plays(NGIRCD, async |s| {
        s.join(DESK, "verona", "romeo").await?;
        let juliet = s.person("juliet").await?;
        s.does(juliet, "JOIN #verona").await?;
        let occupant = format!("{}/juliet", s.room("verona"));
        let card = "<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'/>";
        let answer = s.ask(DESK, &occupant, "get", card).await?;
        let text = |name: &str| {
            let field = answer.walk().find(|e| e.name == name)?;
            field.walk().find(|e| e.name == "text").map(|e| e.text.clone())
        };
        // The testkit's people are called as their nicks are.
        assert_eq!((text("nickname").as_deref(), text("fn").as_deref()), (Some("juliet"), Some("juliet")), "{answer}");
        assert!(text("note").is_some_and(|note| note.contains("127.0.0.1")), "{answer}");
        let temp = s.ask(DESK, &occupant, "get", "<vCard xmlns='vcard-temp'/>").await?;
        let card = temp.child("vCard").with_context(|| format!("no card: {temp}"))?;
        let of = |name: &str| card.child(name).map(|e| e.text.clone());
        assert_eq!((of("FN").as_deref(), of("NICKNAME").as_deref()), (Some("juliet"), Some("juliet")), "{temp}");
        Ok(())
    })
    .await;
}

/// One page after the other is of one list, as it was when the first was asked for.
#[tokio::test]
async fn pages_of_a_list_are_of_one_list() {
    plays(NGIRCD, async |s| {
        s.join(DESK, "verona", "romeo").await?;
        let nurse = s.person("nurse").await?;
        for room in ["a", "b", "c", "d"] {
            s.does(nurse, &format!("JOIN #{room}")).await?;
        }
        let page = |inside: &str| {
            format!(
                "<query xmlns='http://jabber.org/protocol/disco#items'><set xmlns='http://jabber.org/protocol/rsm'>\
                 <max>2</max>{inside}</set></query>"
            )
        };
        let (mut after, mut seen, mut counts) = (String::new(), Vec::new(), Vec::new());
        for _ in 0..3 {
            let answer = s.ask(DESK, NET, "get", &page(&after)).await?;
            let of = |name: &str| answer.walk().find(|e| e.name == name).map(|e| e.text.clone());
            seen.extend(answer.walk().filter(|e| e.name == "item").filter_map(|e| e.attr("jid")).map(str::to_owned));
            counts.push(of("count"));
            after = format!("<after>{}</after>", of("last").with_context(|| format!("no page: {answer}"))?);
            s.does(nurse, &format!("JOIN #new{}", counts.len())).await?;
        }
        assert!(
            counts[0].is_some() && counts.iter().all(|count| *count == counts[0]),
            "none of the new ones: {counts:?}"
        );
        let expected = ["a", "b", "c", "d", "verona"].map(|name| s.room(name));
        assert!(expected.iter().all(|room| seen.contains(room)), "{seen:?}");
        assert!(!seen.iter().any(|room| room.contains("#new")), "{seen:?}");
        Ok(())
    })
    .await;
}
