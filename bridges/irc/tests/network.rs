//! What real servers do to connections: strict transport security, WEBIRC, bans at the door, labels.

#[path = "support/mod.rs"]
mod support;

use anyhow::Result;
use isthmus_bridge::suite::{FakeHost, Session, build};
use isthmus_bridge::{
    Address, Event, Failure, Inbound, Intent, LinkState, Message, MessageRef, Note, Query, RoomChange, Step, Text,
};
use isthmus_irc::Irc;
use isthmus_testkit::hybrid::Hybrid;
use isthmus_testkit::inspircd::Inspircd;
use isthmus_testkit::irc::Person;
use isthmus_testkit::ngircd::Ngircd;

use self::support::{Net, done, group, join};

/// Port and encryption of the user's connection, by the command.
async fn link(net: &Net, session: &Session) -> (String, String) {
    let step = session.command("get-irc-connection-info", net.address("net"), Vec::new()).await;
    let Ok(Step::Done { notes, .. }) = step else { panic!("{step:?}") };
    let Note::Info(Text::Key { args, .. }) = &notes[0] else { panic!("{notes:?}") };
    let arg = |name: &str| args.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()).unwrap_or_default();
    (arg("port"), arg("security"))
}

#[tokio::test]
async fn a_strict_server_moves_us_to_tls_and_is_remembered() -> Result<()> {
    let server = Inspircd::strict().await?;
    let net = Net::at(server.plain().number(), false);
    net.host.set_default("address", "localhost");
    let room = net.address("#verona%net");
    let session = Session::start(&net.bridge, &net.host, "romeo@example.org", &room);
    assert_eq!(done(&session, room.clone(), join("romeo")).await, Ok(()));
    assert_eq!(link(&net, &session).await, (server.tls().to_string(), "TLS".to_owned()));
    session.stop().await?;
    // Another user: at once, and without a word in clear.
    let other = Session::start(&net.bridge, &net.host, "juliet@example.org", &room);
    assert_eq!(done(&other, room, join("juliet")).await, Ok(()));
    assert_eq!(link(&net, &other).await, (server.tls().to_string(), "TLS".to_owned()));
    let upgraded =
        |e: &Inbound| matches!(&e.event, Event::Notice { text: Text::Key { name, .. }, .. } if name == "sts");
    let all = net.host.emits();
    let users: Vec<&str> = all.iter().filter(|e| upgraded(e)).map(|e| e.to.as_str()).collect();
    assert_eq!(users, ["romeo@example.org"]);
    let plain = |e: &Inbound| {
        matches!(&e.event, Event::Notice { text: Text::Key { name, .. }, .. } if name == "connecting-plain")
            && e.to.as_str() == "juliet@example.org"
    };
    assert!(!all.iter().any(plain));
    other.stop().await?;
    Ok(())
}

/// Whoever stands in between shows a certificate of their own, and waits for us in clear.
#[tokio::test]
async fn behind_a_certificate_that_is_refused_nothing_goes_on_in_clear_unless_that_was_chosen() -> Result<()> {
    let server = Ngircd::start().await?;
    for chosen in [false, true] {
        let bridge = build(&Irc, serde_json::json!({"allow_private_networks": true})).expect("good keys");
        let host = FakeHost::of(&bridge);
        let net = Net { bridge, host };
        net.host.set_default("address", "127.0.0.1");
        net.host.set_default("tls_ports", &server.tls().to_string());
        if chosen {
            net.host.set_default("ports", &server.plain().to_string());
        }
        let room = net.address("#verona%net");
        let session = Session::start(&net.bridge, &net.host, "romeo@example.org", &room);
        let outcome = done(&session, room.clone(), join("romeo")).await;
        let events = net.host.emits();
        let told = |key: &str| {
            let is =
                |e: &Inbound| matches!(&e.event, Event::Notice { text: Text::Key { name, .. }, .. } if name == key);
            events.iter().any(is)
        };
        let refused = events.iter().find_map(|e| match &e.event {
            Event::Notice { text: Text::Key { name, args }, .. } if name == "certificate-refused" => Some(args),
            _ => None,
        });
        let why = refused.and_then(|args| args.iter().find(|(key, _)| key == "why")).map(|(_, why)| why.as_str());
        assert!(why.is_some_and(|why| !why.is_empty() && !why.contains(['{', ':'])), "{events:?}");
        assert_eq!(told("connecting-plain"), chosen, "{events:?}");
        assert_eq!(outcome, if chosen { Ok(()) } else { Err(Failure::Unreachable) });
        session.stop().await?;
    }
    Ok(())
}

/// The same host, as it happens: what somebody's own choice of ports has led to says nothing of the network's.
#[tokio::test]
async fn a_policy_of_a_server_of_ones_own_is_kept_for_its_user_alone() -> Result<()> {
    let (usual, strict) = (Inspircd::start().await?, Inspircd::strict().await?);
    let net = Net::at(usual.plain().number(), false);
    net.host.set_default("address", "localhost");
    let room = net.address("#verona%net");
    let start = |who: &str| Session::start(&net.bridge, &net.host, &format!("{who}@example.org"), &room);
    let tybalt = start("tybalt");
    tybalt.set(&net.address("net"), "ports", Some(&strict.plain().to_string())).await;
    assert_eq!(done(&tybalt, room.clone(), join("tybalt")).await, Ok(()));
    let by_tls = (strict.tls().to_string(), "TLS".to_owned());
    assert_eq!(link(&net, &tybalt).await, by_tls);
    // Another user, on the network's server.
    let romeo = start("romeo");
    assert_eq!(done(&romeo, room.clone(), join("romeo")).await, Ok(()));
    assert_eq!(link(&net, &romeo).await, (usual.plain().to_string(), "-".to_owned()));
    romeo.stop().await?;
    // What was learnt is his, and of that server: his next session goes there by TLS at once.
    tybalt.stop().await?;
    let kept = async |user: Option<&str>| {
        let user = user.map(Into::into);
        let all = net.host.host().list("sts", user.as_ref()).await;
        all.map(|all| all.into_iter().map(|(key, _)| key).collect::<Vec<_>>())
    };
    let his = format!("net tybalt@example.org localhost [({}, false)]", strict.plain());
    assert_eq!(kept(Some("tybalt@example.org")).await?, std::slice::from_ref(&his));
    assert_eq!(kept(None).await?, [his]);
    net.host.take_emits();
    let tybalt = start("tybalt");
    assert_eq!(done(&tybalt, room, join("tybalt")).await, Ok(()));
    assert_eq!(link(&net, &tybalt).await, by_tls);
    let plain = |e: &Inbound| matches!(&e.event, Event::Notice { text: Text::Key { name, .. }, .. } if name == "connecting-plain");
    assert!(!net.host.emits().iter().any(plain), "not a word in clear");
    tybalt.stop().await?;
    Ok(())
}

#[tokio::test]
async fn webirc_gives_each_user_an_address_of_their_own() -> Result<()> {
    let server = Inspircd::start().await?;
    let port = server.plain().number();
    let mut juliet = Person::enter(port, "Juliet").await?;
    juliet.join("#verona").await?;
    // What the server takes for where somebody comes from; it looks no names up here, so that the address counts.
    let mut seen = async |net: &Net, user: &str| -> Result<String> {
        let room = net.address("#verona%net");
        let session = Session::start(&net.bridge, &net.host, &format!("{user}@example.org"), &room);
        assert_eq!(done(&session, room, join(user)).await, Ok(()));
        juliet.send(&format!("WHOIS {user}")).await?;
        let line = juliet.line(" 311 ").await?;
        session.stop().await?;
        juliet.line(" QUIT ").await?;
        Ok(line.split(' ').nth(5).unwrap_or_default().to_owned())
    };
    let net = Net::at(port, false);
    net.host.set_default("webirc_password", "webirc");
    let (romeo, tybalt) = (seen(&net, "romeo").await?, seen(&net, "tybalt").await?);
    assert!(
        romeo.starts_with("fd69:7368:6d75:7300:") && tybalt.starts_with("fd69:7368:6d75:7300:"),
        "{romeo} {tybalt}"
    );
    assert_ne!(romeo, tybalt);
    assert_eq!(seen(&net, "romeo").await?, romeo, "the same again");
    // Below the administrator's prefix.
    let keys = serde_json::json!({"allow_private_networks": true, "webirc_prefix": "2001:db8:1:2::"});
    let net = Net::with(port, false, keys);
    net.host.set_default("webirc_password", "webirc");
    assert_eq!(seen(&net, "romeo").await?, romeo.replace("fd69:7368:6d75:7300:", "2001:db8:1:2:"));
    Ok(())
}

#[tokio::test]
async fn a_ban_at_the_door_fails_the_join_with_the_servers_words() -> Result<()> {
    let server = Hybrid::start().await?;
    let port = server.plain().number();
    let mut oper = Person::enter(port, "oper").await?;
    oper.send("OPER oper oper").await?;
    oper.line(" 381 ").await?;
    let net = Net::at(port, false);
    let room = net.address("#verona%net");
    // Who is inside is thrown out, and will be back much later.
    let session = Session::start(&net.bridge, &net.host, "paris@example.org", &room);
    assert_eq!(done(&session, room.clone(), join("paris")).await, Ok(()));
    oper.send("KLINE 60 paris@127.0.0.1 :wrong tomb").await?;
    net.host.emitted("the loss", |e| matches!(e.event, Event::Room(RoomChange::Lost { coming_back: true, .. }))).await;
    let state = net.host.reported("the end", |l| matches!(l, LinkState::Down { .. })).await;
    let LinkState::Down { reason, retry_at: Some(at) } = state else { panic!("{state:?}") };
    assert!(reason.to_string().contains("wrong tomb"), "{reason}");
    assert!(at.duration_since(net.host.time())? > std::time::Duration::from_secs(400));
    session.stop().await?;
    // And who knocks is told why the door stays closed.
    oper.send("KLINE 60 *@127.0.0.1 :no gateways").await?;
    oper.line("ERROR").await?; // it holds for who set it, too
    let session = Session::start(&net.bridge, &net.host, "tybalt@example.org", &room);
    let legs = session.deliver(room, join("tybalt")).await;
    let error = legs[0].result.clone().expect_err("banned");
    assert_eq!(error.failure, Failure::Unreachable, "{error}");
    assert!(error.text.to_string().contains("banned"), "{error}");
    session.stop().await?;
    Ok(())
}

#[tokio::test]
async fn messages_at_once_each_get_their_own_answer() -> Result<()> {
    let server = Inspircd::start().await?;
    let port = server.plain().number();
    let mut juliet = Person::enter(port, "Juliet").await?;
    juliet.join("#verona").await?;
    let net = Net::at(port, false);
    let room = net.address("#verona%net");
    let session = Session::start(&net.bridge, &net.host, "romeo@example.org", &room);
    assert_eq!(done(&session, room.clone(), join("romeo")).await, Ok(()));
    juliet.send("MODE #verona +m").await?;
    net.host.emitted("the mode", |e| e.event == Event::Room(RoomChange::Settings)).await;
    let private = |to: Address| session.send(to, Intent::Send(Box::new(Message::chat("the same words"))));
    let keys = [
        (private(net.address("nobody%net")), false),
        (private(net.address("juliet%net")), true),
        (session.send(room.clone(), group("the same words")), false),
        (private(net.address("juliet%net")), true),
    ];
    for (key, expected) in keys {
        let isthmus_bridge::Outcome::Legs(legs) = net.host.outcome_of(&key).await else { panic!("dropped") };
        assert_eq!(legs[0].result.is_ok(), expected, "{:?}", legs[0].result);
    }
    let (parts, end) = session.ask(Query::About(net.address("juliet%net"))).await;
    assert!(end.is_ok() && !parts.is_empty());
    session.stop().await?;
    Ok(())
}

/// A line typed by hand, which the server echoes: what was said so is said by the user, as from another program of theirs.
#[tokio::test]
async fn what_the_user_said_by_hand_is_shown_as_said_by_them() -> Result<()> {
    let server = Inspircd::start().await?;
    let port = server.plain().number();
    let mut juliet = Person::enter(port, "Juliet").await?;
    let net = Net::at(port, false);
    let room = net.address("#verona%net");
    let session = Session::start(&net.bridge, &net.host, "romeo@example.org", &room);
    assert_eq!(done(&session, room, join("romeo")).await, Ok(()));
    session.send(net.address("net"), Intent::Raw { line: "PRIVMSG Juliet :by hand".to_owned() });
    juliet.line("PRIVMSG Juliet :by hand").await?;
    let sent = net.host.emitted("his own words", |e| matches!(e.event, Event::Sent(_))).await;
    assert!(matches!(&sent.event, Event::Sent(m) if m.body == "by hand"), "{sent:?}");
    assert_eq!(sent.from, net.address("juliet%net"));
    session.stop().await?;
    Ok(())
}

#[tokio::test]
async fn reactions_answers_and_typing_cross_a_real_server() -> Result<()> {
    let server = Inspircd::start().await?;
    let port = server.plain().number();
    let mut juliet = Person::enter(port, "Juliet").await?;
    juliet.send("CAP REQ :message-tags echo-message").await?;
    juliet.line(" ACK ").await?;
    juliet.join("#verona").await?;
    let net = Net::at(port, false);
    let room = net.address("#verona%net");
    let session = Session::start(&net.bridge, &net.host, "romeo@example.org", &room);
    assert_eq!(done(&session, room.clone(), join("romeo")).await, Ok(()));
    net.host.emitted("the room", |e| e.event == Event::Room(RoomChange::Joined)).await;
    juliet.say("#verona", "good night").await?;
    let (event, _) = net.heard("her words").await;
    let id = event.id.clone().expect("a msgid");
    let of = MessageRef::foreign("net".into(), id.clone());
    let mut answer = Message::group("parting is such sweet sorrow");
    answer.reply_to = Some(of.clone());
    assert_eq!(done(&session, room.clone(), Intent::Send(Box::new(answer))).await, Ok(()));
    let line = juliet.line("sweet sorrow").await?;
    assert!(line.contains(&format!("+reply={id}")), "{line}");
    let react = Intent::React { of: of.clone(), add: vec!["❤".to_owned()], remove: Vec::new() };
    assert_eq!(done(&session, room.clone(), react).await, Ok(()));
    let line = juliet.line("+draft/react=❤").await?;
    assert!(line.contains(&format!("+reply={id}")), "{line}");
    assert_eq!(done(&session, room.clone(), Intent::Typing { on: true }).await, Ok(()));
    juliet.line("+typing=active").await?;
    juliet.send(&format!("@+reply={id};+draft/react=👋 TAGMSG #verona")).await?;
    let hers = |e: &Inbound| e.from == net.occupant("Juliet") && matches!(e.event, Event::Reacted { .. });
    let event = net.host.emitted("her reaction", hers).await;
    assert_eq!(event.event, Event::Reacted { of, add: vec!["👋".to_owned()], remove: Vec::new() });
    session.stop().await?;
    Ok(())
}
