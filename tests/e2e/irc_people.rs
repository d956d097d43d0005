//! IRC: people on the roster, the user's own presence, and what they say by another program behind a bouncer.

use isthmus_testkit::inspircd::Inspircd;
use isthmus_testkit::irc::Person;
use isthmus_testkit::isthmus::Setup;
use isthmus_testkit::server::{Flavour, Options, XmppServer};
use isthmus_testkit::wait::until;
use isthmus_testkit::xml::Element;
use isthmus_testkit::znc::Znc;

use crate::irc::{DOMAIN, Irc, codes, is_group, join, room, say};
use crate::people::presence;
use crate::register::{configure, submit};
use crate::rooms::heard;
use crate::world::World;

crate::on_both!(
    a_nick_on_the_roster_comes_and_goes,
    who_is_away_on_xmpp_is_away_on_irc,
    behind_a_bouncer_missed_words_come_and_own_ones_are_ones_own,
    administrators_end_connections_of_users_with_their_words,
    who_asks_by_ctcp_learns_nothing_of_the_person,
    what_is_said_in_private_while_no_client_is_there_is_stored_for_the_next,
);

/// On InspIRCd, which has MONITOR, and on ngircd, which has not.
async fn a_nick_on_the_roster_comes_and_goes(flavour: Flavour) {
    let server = Inspircd::start().await.unwrap();
    let irc = Irc::start(flavour).await;
    let port = server.plain().number();
    let mut romeo = irc.world.client("romeo").await;
    // The network is an address that a user may set.
    let values = [("tls_ports", server.tls().to_string())];
    let network = format!("net@{DOMAIN}");
    let (juliet, nurse) = (format!("juliet%net@{DOMAIN}"), format!("nurse%net@{DOMAIN}"));
    for with_monitor in [false, true] {
        if with_monitor {
            let values: Vec<(&str, &str)> = values.iter().map(|(k, v)| (*k, v.as_str())).collect();
            configure(&mut romeo, &network, &values).await.unwrap();
        }
        let enter = async |nick: &str| {
            if with_monitor { Person::enter(port, nick).await.unwrap() } else { irc.person(nick).await }
        };
        let mut hers = enter("Juliet").await;
        hers.join("#verona").await.unwrap();
        join(&mut romeo, &room("verona"), "romeo").await;
        romeo.send(format!("<presence type='subscribe' to='{juliet}'/>")).await.unwrap();
        romeo.find("she is there", presence(&juliet, None)).await.unwrap();
        hers.send("QUIT :bye").await.unwrap();
        romeo.find("she has gone", presence(&juliet, Some("unavailable"))).await.unwrap();
        if with_monitor {
            // Somebody who is in none of the user's rooms.
            romeo.send(format!("<presence type='subscribe' to='{nurse}'/>")).await.unwrap();
            romeo.find("she allows it", presence(&nurse, Some("subscribed"))).await.unwrap();
            let mut came = enter("nurse").await;
            romeo.find("the nurse comes", presence(&nurse, None)).await.unwrap();
            came.send("QUIT").await.unwrap();
            romeo.find("the nurse goes", presence(&nurse, Some("unavailable"))).await.unwrap();
        }
        romeo.send(format!("<presence to='{}/romeo' type='unavailable'/>", room("verona"))).await.unwrap();
        irc.world.gateway.logged("left-network").await.unwrap();
        romeo.drain();
    }
}

async fn who_is_away_on_xmpp_is_away_on_irc(flavour: Flavour) {
    let irc = Irc::start(flavour).await;
    let mut juliet = irc.person("juliet").await;
    juliet.join("#verona").await.unwrap();
    let mut romeo = irc.world.client("romeo").await;
    let here = format!("{}/romeo", room("verona"));
    join(&mut romeo, &room("verona"), "romeo").await;
    let away = async |juliet: &mut Person| {
        juliet.say("romeo", "are you there").await.unwrap();
        juliet.heard().await.unwrap().into_iter().find(|l| l.contains(" 301 "))
    };
    assert_eq!(away(&mut juliet).await, None);
    romeo.send(format!("<presence to='{here}'><show>xa</show><status>in Mantua</status></presence>")).await.unwrap();
    let mut told = None;
    for _ in 0..100 {
        told = away(&mut juliet).await;
        if told.is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(told.as_ref().is_some_and(|l| l.ends_with("in Mantua")), "{told:?}");
    romeo.send(format!("<presence to='{here}'/>")).await.unwrap();
    for _ in 0..100 {
        told = away(&mut juliet).await;
        if told.is_none() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("he is back, and the network still says {told:?}");
}

async fn behind_a_bouncer_missed_words_come_and_own_ones_are_ones_own(flavour: Flavour) {
    let server = Inspircd::start().await.unwrap();
    let port = server.plain().number();
    let mut juliet = Person::enter(port, "juliet").await.unwrap();
    juliet.join("#verona").await.unwrap();
    let bouncer = Znc::start(port, "#verona").await.unwrap();
    juliet.line(":romeo!").await.unwrap();
    juliet.say("romeo", "while you were away").await.unwrap();
    juliet.say("#verona", "in the room, too").await.unwrap();
    juliet.heard().await.unwrap();

    let keys = format!(
        "allow_private_networks = true\n[networks.net]\naddress = \"127.0.0.1\"\ntls_ports = []\nports = [{}]\n",
        bouncer.port()
    );
    let options = Options {
        components: vec![DOMAIN.to_owned()],
        users: vec!["romeo@localhost".to_owned()],
        ..Options::default()
    };
    let xmpp = XmppServer::start(flavour, options).await.unwrap();
    let setup = Setup::new(env!("CARGO_BIN_EXE_isthmus"), xmpp.component());
    let gateway = setup.bridge("irc", "irc", DOMAIN, &keys).start().await.unwrap();
    let world = World { gateway, server: xmpp };
    let mut romeo = world.client("romeo").await;
    let mut watch = isthmus_testkit::slix::SlixClient::online(&world.server, "romeo@localhost/phone").await.unwrap();
    for client in [&mut romeo, &mut watch] {
        client.send("<iq type='set' id='carbons'><enable xmlns='urn:xmpp:carbons:2'/></iq>").await.unwrap();
        client.answer("carbons").await.unwrap();
    }
    configure(&mut romeo, &format!("net@{DOMAIN}"), &[("pass", Znc::PASS)]).await.unwrap();
    let (place, hers) = (room("verona"), format!("juliet%net@{DOMAIN}"));
    romeo
        .send(format!("<presence to='{place}/romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>"))
        .await
        .unwrap();
    let from_her = |s: &Element| s.attr("from").is_some_and(|f| f.starts_with(&hers));
    romeo.find("the room's missed words", |s| is_group(s) && s.body() == Some("in the room, too")).await.unwrap();
    romeo.find("her missed words", |s| from_her(s) && s.body() == Some("while you were away")).await.unwrap();

    // By another program of the user's.
    let mut other = Person::with(bouncer.port(), "romeo", &[&format!("PASS {}", Znc::PASS)]).await.unwrap();
    other.say("juliet", "from my telephone").await.unwrap();
    juliet.line("from my telephone").await.unwrap();
    for client in [&mut romeo, &mut watch] {
        let own = client.find("own words", |s| s.to_string().contains("from my telephone")).await.unwrap();
        let inner = own.child("sent").and_then(|sent| sent.child("forwarded")).and_then(|f| f.child("message"));
        assert_eq!(inner.and_then(|m| m.attr("to")), Some(&*hers), "as a copy of what one said oneself: {own}");
    }
    other.say("#verona", "to all of you").await.unwrap();
    let own = romeo.find("own words in the room", |s| is_group(s) && s.body() == Some("to all of you")).await.unwrap();
    assert_eq!(own.attr("from"), Some(&*format!("{place}/romeo")));
    // Who leaves with their last client leaves the bouncer there.
    romeo.send(format!("<presence to='{place}/romeo' type='unavailable'/>")).await.unwrap();
    world.gateway.logged("left-network").await.unwrap();
}

/// biboumi's command `disconnect-user`.
async fn administrators_end_connections_of_users_with_their_words(flavour: Flavour) {
    let irc = Irc::start(flavour).await;
    let mut juliet = irc.person("juliet").await;
    juliet.join("#verona").await.unwrap();
    let (mut romeo, mut admin) = (irc.world.client("romeo").await, irc.world.client("alice").await);
    for (client, nick) in [(&mut romeo, "romeo"), (&mut admin, "alice")] {
        join(client, &room("verona"), nick).await;
        juliet.line(" JOIN ").await.unwrap();
    }
    let command = |more: &str, inside: &str| {
        let of = "xmlns='http://jabber.org/protocol/commands' node='disconnect-user'";
        format!("<command {of} {more}>{inside}</command>")
    };
    let start = command("action='execute'", "");
    let refused = romeo.ask(DOMAIN, "set", &start).await.unwrap();
    assert_eq!(refused.error().as_deref(), Some("cancel/forbidden"), "{refused}");
    let offer = admin.ask(DOMAIN, "set", &start).await.unwrap();
    let offered = offer.child("command").unwrap();
    let form = offered.child("x").unwrap();
    let users: Vec<&str> =
        form.walk().filter(|e| e.name == "option").filter_map(|e| e.child("value")).map(|v| &*v.text).collect();
    assert_eq!(users, ["alice@localhost", "romeo@localhost"], "{offer}");
    let session = offered.attr("sessionid").unwrap();
    let filled = submit(form, &[("jids", "romeo@localhost"), ("quit-message", "out of Verona")]).unwrap();
    let end = command(&format!("action='complete' sessionid='{session}'"), &filled);
    // Not by taking over the administrator's dialogue, either.
    let refused = romeo.ask(DOMAIN, "set", &end).await.unwrap();
    assert_eq!(refused.attr("type"), Some("error"), "{refused}");
    let done = admin.ask(DOMAIN, "set", &end).await.unwrap();
    assert_eq!(done.child("command").and_then(|c| c.attr("status")), Some("completed"), "{done}");
    let quit = juliet.line(":romeo!").await.unwrap();
    assert!(quit.contains(" QUIT ") && quit.contains("out of Verona"), "{quit}");
    let own = |s: &Element| s.attr("type") == Some("unavailable") && codes(s).contains(&"110");
    romeo.find("his end in the room", own).await.unwrap();
    // The other is still there.
    say(&mut admin, &room("verona"), "m1", "he has gone").await;
    juliet.line("PRIVMSG #verona :he has gone").await.unwrap();
}

/// What somebody's program answers for them: what it is, and the time, but not who they are.
async fn who_asks_by_ctcp_learns_nothing_of_the_person(flavour: Flavour) {
    let irc = Irc::start(flavour).await;
    let mut juliet = irc.person("juliet").await;
    juliet.join("#verona").await.unwrap();
    let mut benvolio = irc.world.client("benvolio").await;
    let own = join(&mut benvolio, &room("verona"), "montague").await;
    assert_eq!(own.attr("from"), Some(&*format!("{}/montague", room("verona"))));
    for question in ["FINGER", "USERINFO", "SOURCE"] {
        juliet.say("montague", &format!("\u{1}{question}\u{1}")).await.unwrap();
    }
    let mut answers: Vec<String> = Vec::new();
    for question in ["VERSION", "TIME", "CLIENTINFO", "PING 42"] {
        // One that comes too soon after another is not answered.
        until(question, std::time::Duration::from_secs(60), async || {
            juliet.say("montague", &format!("\u{1}{question}\u{1}")).await?;
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            let heard = juliet.heard().await?;
            let words =
                heard.iter().filter_map(|line| Some(line.split_once(" NOTICE juliet :")?.1.trim_matches('\u{1}')));
            answers.extend(words.map(str::to_owned));
            let name = question.split(' ').next().unwrap_or_default();
            anyhow::ensure!(answers.iter().any(|answer| answer.starts_with(name)), "{answers:?}");
            Ok(())
        })
        .await
        .unwrap();
    }
    let of = |question: &str| answers.iter().find_map(|answer| answer.strip_prefix(&format!("{question} ")));
    assert!(of("VERSION").is_some_and(|version| version.starts_with("Isthmus ")), "{answers:?}");
    // By no clock of theirs that would say where they are.
    assert!(of("TIME").is_some_and(|time| time.ends_with(" UTC")), "{answers:?}");
    assert_eq!((of("PING"), of("FINGER"), of("USERINFO")), (Some("42"), None, None), "{answers:?}");
    for answer in &answers {
        for personal in ["benvolio", "localhost", "desk"] {
            assert!(!answer.to_lowercase().contains(personal), "{answers:?}");
        }
    }
}

/// By a connection for private messages, whose user is in no room.
async fn what_is_said_in_private_while_no_client_is_there_is_stored_for_the_next(flavour: Flavour) {
    let irc = Irc::start(flavour).await;
    let mut juliet = irc.person("juliet").await;
    let (mut romeo, mut alice) = (irc.world.client("romeo").await, irc.world.client("alice").await);
    let hers = format!("juliet%net@{DOMAIN}");
    romeo.message(&hers, "psst").await.unwrap();
    juliet.line("PRIVMSG juliet :psst").await.unwrap();
    romeo.disconnect().await.unwrap();
    until("the server to know that he has gone", std::time::Duration::from_secs(60), async || {
        let answer = alice.ping("romeo@localhost/desk").await?;
        anyhow::ensure!(answer.attr("type") == Some("error"), "{answer}");
        Ok(())
    })
    .await
    .unwrap();
    juliet.say("romeo", "while you were away").await.unwrap();
    juliet.send("NOTICE romeo :mark my words").await.unwrap();
    heard(&mut juliet).await;
    // The server has what the gateway has sent it before this answer.
    assert_eq!(alice.ping(DOMAIN).await.unwrap().attr("type"), Some("result"));
    romeo.drain();
    romeo.reconnect().await.unwrap();
    romeo.available().await.unwrap();
    for words in ["while you were away", "[notice] mark my words"] {
        let kept = romeo.body(words).await.unwrap();
        assert_eq!(kept.attr("from").and_then(|from| from.split('/').next()), Some(&*hers), "{kept}");
        assert!(kept.has("delay", "urn:xmpp:delay"), "it was stored: {kept}");
    }
}
