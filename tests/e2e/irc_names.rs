//! IRC: names that no JID can hold, at real XMPP servers, which send stanzas with such addresses back. The IRC server is scripted: no real one lets
//! anybody have such a name.

use isthmus_testkit::ircd::Ircd;
use isthmus_testkit::isthmus::Setup;
use isthmus_testkit::server::{Flavour, Options, XmppServer};
use isthmus_testkit::xml::Element;

use crate::irc::{DOMAIN, codes, is_group, join, room};
use crate::world::World;

crate::on_both!(names_that_no_jid_can_hold_are_seen_and_talked_to);

/// `_` for what a resource cannot hold, and a hash.
const ODD: &str = "a_b_050878";

async fn names_that_no_jid_can_hold_are_seen_and_talked_to(flavour: Flavour) {
    let names: [&[u8]; 3] = [b"@Juliet", b"na\xefve", "a\u{FFFD}b +Zoë".as_bytes()];
    let mut ircd = Ircd::start("", &names).await.unwrap();
    let keys = format!("allow_private_networks = true\n{}", ircd.network());
    let options = Options {
        components: vec![DOMAIN.to_owned()],
        users: vec!["romeo@localhost".to_owned()],
        ..Options::default()
    };
    let server = XmppServer::start(flavour, options).await.unwrap();
    let setup = Setup::new(env!("CARGO_BIN_EXE_isthmus"), server.component());
    let gateway = setup.bridge("irc", "irc", DOMAIN, &keys).start().await.unwrap();
    let world = World { gateway, server };
    let mut romeo = world.client("romeo").await;
    let room = room("odd");
    join(&mut romeo, &room, "romeo").await;
    let inside: Vec<Element> = romeo.drain();
    let item = |stanza: &Element| stanza.walk().find(|e| e.name == "item").cloned().unwrap();
    for nick in ["Juliet", "naïve", ODD, "Zoë"] {
        let is = |s: &&Element| s.name == "presence" && s.attr("from") == Some(&*format!("{room}/{nick}"));
        assert!(inside.iter().any(|s| is(&s)), "{nick} is seen: {inside:#?}");
    }
    // Names of users and hosts, too; who has none that can be written is shown without.
    for (source, nick, jid) in [
        ("mab!~q@faerie.test", "mab", format!("mab%net@{DOMAIN}/~q@faerie.test")),
        ("puck!ro\u{FFFD}in@faerie.test", "puck", format!("puck%net@{DOMAIN}")),
        ("moth!m@fa\u{202E}erie.test", "moth", format!("moth%net@{DOMAIN}")),
        ("a\u{FFFD}c!~c@faerie.test", "a_c_", format!("%net@{DOMAIN}/Any@a_c_")),
    ] {
        ircd.say("romeo", format!(":{source} JOIN #odd").as_bytes()).unwrap();
        let from = format!("{room}/{nick}");
        let is = |s: &Element| s.name == "presence" && s.attr("from").is_some_and(|f| f.starts_with(&from));
        let came = romeo.find(nick, is).await.unwrap();
        let shown = item(&came).attr("jid").unwrap_or_default().to_owned();
        assert!(shown.starts_with(&jid) && (nick.ends_with('_') || shown == jid), "{came}");
        assert!(!codes(&came).contains(&"110"), "{came}");
    }
    // What they say is heard, and what is said to them arrives.
    let odd = "a\u{FFFD}b";
    ircd.say("romeo", format!(":{odd}!u@h PRIVMSG #odd :aloud").as_bytes()).unwrap();
    let aloud = romeo.find("their words", |s| is_group(s) && s.body() == Some("aloud")).await.unwrap();
    assert_eq!(aloud.attr("from"), Some(&*format!("{room}/{ODD}")));
    romeo.message(&format!("{room}/{ODD}"), "psst").await.unwrap();
    assert_eq!(ircd.line("PRIVMSG").await.unwrap().line, format!("PRIVMSG {odd} :psst"));
    // Begun in the room, it stays there.
    ircd.say("romeo", format!(":{odd}!u@h PRIVMSG romeo :yes?").as_bytes()).unwrap();
    let answer = romeo.find("their answer", |s| s.body() == Some("yes?")).await.unwrap();
    assert_eq!(answer.attr("from"), Some(&*format!("{room}/{ODD}")));
    // Out of the blue, from where they are outside of the room.
    ircd.say("romeo", ":x\u{FFFD}y!u@h PRIVMSG romeo :hello".as_bytes()).unwrap();
    let heard = romeo.find("a stranger", |s| s.body() == Some("hello")).await.unwrap();
    let stranger = heard.attr("from").unwrap().to_owned();
    assert!(stranger.starts_with(&format!("%net@{DOMAIN}/Any@x_y_")), "{heard}");
    romeo.message(&stranger, "who are you?").await.unwrap();
    assert_eq!(ircd.line("PRIVMSG").await.unwrap().line, "PRIVMSG x\u{FFFD}y :who are you?");
}
