//! IRC: rooms and people whose names do not stand in an address as they are, from a client through a real XMPP server to a real ngircd and back.

use isthmus_testkit::server::Flavour;
use isthmus_testkit::xml::Element;

use crate::irc::{DOMAIN, Irc, codes, is_group, join, say};

crate::on_both!(
    rooms_with_odd_names_have_addresses,
    what_rooms_begin_with_can_be_set,
    people_with_odd_nicks_are_written_to,
);

/// Into a room of this name under this address, a word in each direction, and out.
async fn visit(irc: &Irc, name: &str, local: &str) {
    let mut juliet = irc.person("juliet").await;
    juliet.join(name).await.unwrap();
    let mut romeo = irc.world.client("romeo").await;
    let room = format!("{local}%net@{DOMAIN}");
    let own = join(&mut romeo, &room, "romeo").await;
    assert_eq!(own.attr("from"), Some(&*format!("{room}/romeo")));
    say(&mut romeo, &room, "m1", "But, soft!").await;
    let line = juliet.line(":But, soft!").await.unwrap();
    assert!(line.starts_with(":romeo!") && line.contains(&format!(" PRIVMSG {name} :")), "{line}");
    let back = romeo.find("the reflection", |s| is_group(s) && s.attr("id") == Some("m1")).await.unwrap();
    assert_eq!(back.attr("from"), Some(&*format!("{room}/romeo")));
    juliet.say(name, "O Romeo").await.unwrap();
    let heard = romeo.find("her words", |s| is_group(s) && s.body() == Some("O Romeo")).await.unwrap();
    assert_eq!(heard.attr("from"), Some(&*format!("{room}/juliet")));
    romeo.send(format!("<presence to='{room}/romeo' type='unavailable'/>")).await.unwrap();
    let out = |s: &Element| s.attr("type") == Some("unavailable") && codes(s).contains(&"110");
    let out = romeo.find("own end", out).await.unwrap();
    assert_eq!(out.attr("from"), Some(&*format!("{room}/romeo")));
    let line = juliet.line(":romeo!").await.unwrap();
    assert!(line.contains(&format!(" PART {name}")) || line.contains(" QUIT "), "{line}");
    juliet.send("QUIT").await.unwrap();
}

async fn rooms_with_odd_names_have_addresses(flavour: Flavour) {
    let irc = Irc::start(flavour).await;
    let rooms = [
        ("#b@yfoot", r"#b\40yfoot"),
        ("&local", r"\26local"),
        (r#"#it's<a>/"b"&c"#, r"#it\27s\3ca\3e\2f\22b\22\26c"),
        ("#50%off", "#50%off"),
        (r"##c\d{e}", r"##c\d{e}"),
    ];
    let mut nurse = irc.person("nurse").await;
    for (name, _) in rooms {
        nurse.join(name).await.unwrap();
    }
    for (name, local) in rooms {
        visit(&irc, name, local).await;
    }
    // On the list each stands under its address.
    let mut romeo = irc.world.client("romeo").await;
    let items = "<query xmlns='http://jabber.org/protocol/disco#items'/>";
    let list = romeo.ask(&format!("net@{DOMAIN}"), "get", items).await.unwrap();
    for (_, local) in rooms {
        let room = format!("{local}%net@{DOMAIN}");
        assert!(list.walk().any(|e| e.attr("jid") == Some(&*room)), "{room}: {list}");
    }
    // Some clients escape twice (XEP-0106 section 5.2): one room all the same, under its one address.
    nurse.heard().await.unwrap();
    let own = join(&mut romeo, &format!(r"#b\5c40yfoot%net@{DOMAIN}"), "romeo").await;
    assert_eq!(own.attr("from"), Some(&*format!(r"#b\40yfoot%net@{DOMAIN}/romeo")));
    assert!(nurse.line(" JOIN ").await.unwrap().contains("#b@yfoot"));
}

async fn what_rooms_begin_with_can_be_set(flavour: Flavour) {
    let irc = Irc::with(flavour, "room_prefixes = \"#+\"\n").await;
    visit(&irc, "+open", "+open").await;
    visit(&irc, "#verona", "#verona").await;
    // What is no room here is nobody either: no nick begins so.
    let mut romeo = irc.world.client("romeo").await;
    let x = "<x xmlns='http://jabber.org/protocol/muc'/>";
    romeo.send(format!(r"<presence to='\26local%net@{DOMAIN}/romeo' id='j1'>{x}</presence>")).await.unwrap();
    let refused = romeo.find("the refusal", |s| s.name == "presence" && s.attr("id") == Some("j1")).await.unwrap();
    assert_eq!(refused.error().as_deref(), Some("modify/jid-malformed"), "{refused}");
}

async fn people_with_odd_nicks_are_written_to(flavour: Flavour) {
    let irc = Irc::start(flavour).await;
    let mut romeo = irc.world.client("romeo").await;
    for (nick, local) in [
        ("[Nick]", "[nick]"),
        ("nick|X", "nick|x"),
        (r"back\slash", r"back\slash"),
        (r"ro\20meo", r"ro\5c20meo"),
        ("{`^_-}", "{`^_-}"),
    ] {
        let mut person = irc.person(nick).await;
        let (any, own) = (format!("%net@{DOMAIN}/Any@{nick}"), format!("{local}%net@{DOMAIN}"));
        romeo.message(&any, "by any name").await.unwrap();
        let line = person.line(":by any name").await.unwrap();
        let to = format!(" PRIVMSG {nick} :").to_lowercase();
        assert!(line.starts_with(":romeo!") && line.to_lowercase().contains(&to), "{line}");
        // The answer comes from where the nick can stand, and goes there as well.
        person.say("romeo", &format!("{nick} speaks")).await.unwrap();
        let heard = romeo.body(&format!("{nick} speaks")).await.unwrap();
        assert_eq!(heard.attr("from").and_then(|f| f.split('/').next()), Some(&*own), "{heard}");
        romeo.message(&own, "by the other").await.unwrap();
        person.line(":by the other").await.unwrap();
    }
    let id = romeo.message(&format!("%net@{DOMAIN}/Any@Nobody"), "hello?").await.unwrap();
    let failed = romeo.find("the failure", |s| s.attr("type") == Some("error") && s.attr("id") == Some(&id)).await;
    assert_eq!(failed.unwrap().error().as_deref(), Some("cancel/item-not-found"));
}
