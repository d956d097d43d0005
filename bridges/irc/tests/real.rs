//! The bridge on real servers: ngircd (plain IRC), ircd-hybrid and InspIRCd (most of IRCv3), in clear and by TLS, with a plain client as the other person.

#[path = "support/mod.rs"]
mod support;

use anyhow::Result;
use isthmus_bridge::inbound::Departure;
use isthmus_bridge::query::Part;
use isthmus_bridge::room::Rank;
use isthmus_bridge::suite::Session;
use isthmus_bridge::{Address, Event, Failure, Inbound, Intent, LinkState, Message, Query, RoomChange, RoomId, Text};
use isthmus_testkit::hybrid::Hybrid;
use isthmus_testkit::inspircd::Inspircd;
use isthmus_testkit::irc::Person;
use isthmus_testkit::ngircd::Ngircd;
use isthmus_testkit::ports::Port;
use serde_json::json;

use self::support::{Net, done, group, join};

/// Everything that two people do in a room.
async fn two_in_a_room(net: &Net, port: u16) -> Result<()> {
    let mut juliet = Person::enter(port, "Juliet").await?;
    juliet.join("#verona").await?;
    let (room, id) = (net.address("#verona%net"), RoomId::from("#verona%net"));
    let session = Session::start(&net.bridge, &net.host, "romeo@example.org", &room);
    assert_eq!(done(&session, room.clone(), join("romeo")).await, Ok(()));
    net.host.emitted("the end of the join", |e| e.event == Event::Room(RoomChange::Joined)).await;
    juliet.line(" JOIN ").await?;
    let view = net.host.host().room(session.of(), &id);
    let rank = |nick: &str| {
        let view = view.lock().expect("nobody panicked");
        view.members().iter().find(|m| m.nick() == nick).map(|m| m.rank)
    };
    assert!(rank("Juliet").is_some_and(|r| r.has(Rank::MODERATOR)), "she was first");
    assert_eq!(rank("romeo"), Some(Rank::NONE));

    // Words, both ways.
    let key = session.send(room.clone(), group("But, soft!\nWhat light?"));
    for (part, words) in ["But, soft!", "What light?"].into_iter().enumerate() {
        let line = juliet.line("PRIVMSG").await?;
        assert!(line.starts_with(":romeo!") && line.ends_with(words), "{line}");
        let (event, body) = net.heard("the reflection").await;
        assert_eq!(
            (event.from, body.as_str(), event.echo_of),
            (net.occupant("romeo"), words, Some((key.clone(), part as u16)))
        );
    }
    juliet.say("#verona", "\u{2}O\u{2} Romeo").await?;
    let (event, body) = net.heard("her words").await;
    assert_eq!((event.from, body.as_str()), (net.occupant("Juliet"), "*O* Romeo"));
    juliet.say("#verona", "\u{1}ACTION sighs\u{1}").await?;
    assert_eq!(net.heard("her sigh").await.1, "sighs");
    juliet.send_bytes(b"PRIVMSG #verona :na\xefve").await?;
    assert_eq!(net.heard("bytes that are not UTF-8").await.1, "naïve");

    // Private ones; a conversation that begins in the room stays there.
    let whisper = |to: Address, words: &str| session.send(to, Intent::Send(Box::new(Message::chat(words))));
    whisper(net.address("juliet%net"), "psst");
    assert!(juliet.line("PRIVMSG").await?.to_lowercase().contains("privmsg juliet :psst"));
    juliet.say("romeo", "yes?").await?;
    let (event, body) = net.heard("her whisper").await;
    assert_eq!((event.from, body.as_str()), (net.address("juliet%net"), "yes?"));
    whisper(net.occupant("Juliet"), "here");
    juliet.line(":here").await?;
    juliet.say("romeo", "there").await?;
    assert_eq!(net.heard("her answer").await.0.from, net.occupant("Juliet"));
    let nobody = done(&session, net.address("nobody%net"), Intent::Send(Box::new(Message::chat("hello?")))).await;
    assert_eq!(nobody, Err(Failure::NoSuchRecipient));

    // Ranks, subjects, nicks.
    assert_eq!(
        done(&session, room.clone(), Intent::Remove { who: net.occupant("Juliet"), reason: None }).await,
        Err(Failure::Forbidden)
    );
    juliet.send("MODE #verona +o romeo").await?;
    net.host.emitted("a rank", |e| matches!(e.event, Event::Room(RoomChange::Changed { .. }))).await;
    assert!(rank("romeo").is_some_and(|r| r.has(Rank::MODERATOR)));
    assert_eq!(done(&session, room.clone(), Intent::SetSubject { subject: "The balcony".to_owned() }).await, Ok(()));
    assert!(juliet.line(" TOPIC ").await?.ends_with("The balcony"));
    // A line on IRC ends where a line ends.
    let lines = Intent::SetSubject { subject: "A street\nof Verona\r\nat noon\rand later".to_owned() };
    assert_eq!(done(&session, room.clone(), lines).await, Ok(()));
    assert!(juliet.line(" TOPIC ").await?.ends_with(" #verona :A street of Verona at noon and later"));
    juliet.send("TOPIC #verona").await?;
    assert!(juliet.line(" 332 ").await?.ends_with(" #verona :A street of Verona at noon and later"));
    let role = Intent::SetRole {
        who: net.occupant("Juliet"),
        role: None,
        affiliation: Some("member".to_owned()),
        reason: None,
    };
    assert_eq!(done(&session, room.clone(), role).await, Ok(()));
    assert!(rank("Juliet").is_some_and(|r| r.has(Rank::VOICE) && !r.has(Rank::MODERATOR)));
    assert_eq!(done(&session, room.clone(), Intent::Rename { nick: "montague".to_owned() }).await, Ok(()));
    juliet.line(" NICK ").await?;
    assert_eq!(
        done(&session, room.clone(), Intent::Rename { nick: "juliet".to_owned() }).await,
        Err(Failure::Conflict)
    );

    // Questions.
    let (parts, end) = session.ask(Query::About(net.address("juliet%net"))).await;
    assert!(end.is_ok() && matches!(&parts[0], Part::Facts(f) if f.get("nick") == Some("Juliet")), "{parts:?} {end:?}");
    let (parts, end) = session.ask(Query::Rooms { filter: None }).await;
    assert!(
        end.is_ok() && parts.iter().any(|p| matches!(p, Part::Room { room, .. } if *room == id)),
        "{parts:?} {end:?}"
    );
    let ban = |on| Intent::Ban { mask: "*!*@bad.test".to_owned(), on, reason: None };
    assert_eq!(done(&session, room.clone(), ban(true)).await, Ok(()));
    let bans = || Query::Affiliates { room: id.clone(), list: "outcast".to_owned() };
    let (parts, _) = session.ask(bans()).await;
    assert!(matches!(&parts[..], [Part::Affiliate { who, .. }] if who == "*!*@bad.test"), "{parts:?}");
    assert_eq!(done(&session, room.clone(), ban(false)).await, Ok(()));
    assert!(session.ask(bans()).await.0.is_empty());

    // Refused: a room with a key, without it and with it.
    juliet.join("#closed").await?;
    juliet.send("MODE #closed +k sesame").await?;
    juliet.line(" MODE #closed ").await?;
    let closed = net.address("#closed%net");
    assert_eq!(done(&session, closed.clone(), join("romeo")).await, Err(Failure::PasswordRequired));
    let with_key = Intent::Join { nick: "romeo".to_owned(), password: Some("sesame".to_owned()) };
    assert_eq!(done(&session, closed.clone(), with_key).await, Ok(()));
    assert_eq!(done(&session, closed, Intent::Leave { status: None }).await, Ok(()));

    // Raw lines, and the end.
    session.send(net.address("net"), Intent::Raw { line: "VERSION".to_owned() });
    net.host
        .emitted(
            "an answer",
            |e| matches!(&e.event, Event::Notice { text, .. } if text.to_string().contains(".irc.test: ")),
        )
        .await;
    assert_eq!(
        done(&session, room.clone(), Intent::Remove { who: net.occupant("Juliet"), reason: Some("night".to_owned()) })
            .await,
        Ok(())
    );
    net.host
        .emitted("her end", |e| matches!(e.event, Event::Room(RoomChange::Left { how: Departure::Kicked, .. })))
        .await;
    juliet.join("#verona").await?;
    session.stop().await?;
    assert!(juliet.line(" QUIT ").await?.contains("montague"));
    Ok(())
}

#[tokio::test]
async fn two_people_meet_on_ngircd() -> Result<()> {
    let server = Ngircd::start().await?;
    let port = server.plain().number();
    two_in_a_room(&Net::at(port, false), port).await
}

#[tokio::test]
async fn two_people_meet_on_ngircd_by_tls() -> Result<()> {
    let server = Ngircd::start().await?;
    two_in_a_room(&Net::at(server.tls().number(), true), server.plain().number()).await
}

#[tokio::test]
async fn two_people_meet_on_inspircd() -> Result<()> {
    let server = Inspircd::start().await?;
    let port = server.plain().number();
    two_in_a_room(&Net::at(port, false), port).await
}

#[tokio::test]
async fn two_people_meet_on_inspircd_by_tls() -> Result<()> {
    let server = Inspircd::start().await?;
    two_in_a_room(&Net::at(server.tls().number(), true), server.plain().number()).await
}

#[tokio::test]
async fn two_people_meet_on_hybrid() -> Result<()> {
    let server = Hybrid::start().await?;
    let port = server.plain().number();
    two_in_a_room(&Net::at(port, false), port).await
}

#[tokio::test]
async fn two_people_meet_on_hybrid_by_tls() -> Result<()> {
    let server = Hybrid::start().await?;
    two_in_a_room(&Net::at(server.tls().number(), true), server.plain().number()).await
}

#[tokio::test]
async fn a_certificate_that_nobody_signed_is_refused_unless_it_is_pinned() -> Result<()> {
    let server = Ngircd::start().await?;
    let net = Net::at(server.tls().number(), true);
    net.host.set_default("verify_cert", "true");
    let room = net.address("#verona%net");
    let session = Session::start(&net.bridge, &net.host, "romeo@example.org", &room);
    assert_eq!(done(&session, room.clone(), join("romeo")).await, Err(Failure::Unreachable));
    let der = std::process::Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
        .arg(&server.certificate.certificate)
        .output()?;
    let told = String::from_utf8(der.stdout)?;
    let fingerprint = told.trim().split('=').next_back().unwrap_or_default();
    session.set(&net.address("net"), "fingerprint", Some(&"00".repeat(32))).await;
    assert_eq!(done(&session, room.clone(), join("romeo")).await, Err(Failure::Unreachable), "another certificate");
    session.set(&net.address("net"), "fingerprint", Some(fingerprint)).await;
    assert_eq!(done(&session, room, join("romeo")).await, Ok(()));
    session.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_network_that_once_spoke_tls_is_never_spoken_to_in_clear() -> Result<()> {
    let server = Ngircd::start().await?;
    let closed = Port::take()?;
    // Where TLS was never seen, the plain port is a last resort …
    let (new, known) = (Net::at(closed.number(), true), Net::at(server.tls().number(), true));
    let join_at = async |net: &Net| {
        let room = net.address("#verona%net");
        let session = Session::start(&net.bridge, &net.host, "romeo@example.org", &room);
        let joined = done(&session, room, join("romeo")).await;
        session.stop().await.map(|_| joined)
    };
    new.host.set_default("ports", &server.plain().number().to_string());
    assert_eq!(join_at(&new).await?, Ok(()));
    // … and where it was, none.
    assert_eq!(join_at(&known).await?, Ok(()));
    known.host.set_default("tls_ports", &closed.number().to_string());
    known.host.set_default("ports", &server.plain().number().to_string());
    assert_eq!(join_at(&known).await?, Err(Failure::Unreachable));
    // Nor where no encrypted port is left at all, unless somebody chose those in clear and no others; after a restart as before it.
    let restarted = Net {
        bridge: isthmus_bridge::suite::build(&isthmus_irc::Irc, json!({"allow_private_networks": true}))
            .expect("good keys"),
        host: known.host.clone(),
    };
    for net in [&known, &restarted] {
        net.host.set_default("tls_ports", "");
        net.host.set_default("ports", "6667 (no secrets)");
        net.host.take_emits();
        assert_eq!(join_at(net).await?, Err(Failure::Unreachable));
        let said = |e: &Inbound| matches!(&e.event, Event::Notice { text, .. } if matches!(text, Text::Key { name, .. } if name == "connecting-plain"));
        assert!(!net.host.emits().iter().any(said));
        net.host.set_default("ports", &server.plain().number().to_string());
        assert_eq!(join_at(net).await?, Ok(()));
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_was_killed_is_found_again() -> Result<()> {
    let mut server = Ngircd::start().await?;
    let net = Net::at(server.plain().number(), false);
    let room = net.address("#verona%net");
    let session = Session::start(&net.bridge, &net.host, "romeo@example.org", &room);
    assert_eq!(done(&session, room.clone(), join("romeo")).await, Ok(()));
    net.host.emitted("the room", |e| e.event == Event::Room(RoomChange::Joined)).await;
    server.kill();
    net.host.emitted("the loss", |e| matches!(e.event, Event::Room(RoomChange::Lost { coming_back: true, .. }))).await;
    server.launch().await?;
    net.host.emitted("the room again", |e| e.event == Event::Room(RoomChange::Joined)).await;
    let ups = net.host.reports().into_iter().filter(|(_, link)| *link == LinkState::Up).count();
    assert_eq!(ups, 2);
    session.stop().await?;
    Ok(())
}

#[tokio::test]
async fn an_own_certificate_is_shown_to_the_server() -> Result<()> {
    let server = Inspircd::start().await?;
    let net = Net::at(server.tls().number(), true);
    let room = net.address("#verona%net");
    let session = Session::start(&net.bridge, &net.host, "romeo@example.org", &room);
    let values = isthmus_bridge::Values::new().with("what", "make");
    let step = session.command("client-certificate", net.address("net"), vec![values]).await;
    let Ok(isthmus_bridge::Step::Done { notes, .. }) = step else { panic!("{step:?}") };
    let isthmus_bridge::Note::Info(isthmus_bridge::Text::Key { args, .. }) = &notes[0] else { panic!("{notes:?}") };
    let fingerprint = args[0].1.clone();
    assert_eq!(done(&session, room, join("romeo")).await, Ok(()));
    session.send(net.address("net"), Intent::Raw { line: "WHOIS romeo".to_owned() });
    let seen = |e: &Inbound| matches!(&e.event, Event::Notice { text, .. } if text.to_string().contains(&fingerprint));
    net.host.emitted("the fingerprint", seen).await;
    session.stop().await?;
    Ok(())
}

/// Leaving and coming back, faster than the server answers; and answers to what is typed by hand.
async fn out_and_in(port: u16) -> Result<()> {
    let net = Net::at(port, false);
    let mut juliet = Person::enter(port, "Juliet").await?;
    juliet.join("#verona").await?;
    let (room, id) = (net.address("#verona%net"), RoomId::from("#verona%net"));
    let session = Session::start(&net.bridge, &net.host, "romeo@example.org", &room);
    assert_eq!(done(&session, room.clone(), join("romeo")).await, Ok(()));
    let view = net.host.host().room(session.of(), &id);
    for pause in [0, 1, 2, 0, 3, 5, 1, 20] {
        let left = session.send(room.clone(), Intent::Leave { status: None });
        // Before the PART is out, while it is answered, and after that.
        tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
        assert_eq!(done(&session, room.clone(), join("romeo")).await, Ok(()), "after {pause} ms");
        let isthmus_bridge::Outcome::Legs(legs) = net.host.outcome_of(&left).await else { panic!("dropped") };
        assert_eq!(legs[0].result, Ok(()));
        let words = format!("here I am after {pause}");
        assert_eq!(done(&session, room.clone(), group(&words)).await, Ok(()));
        juliet.line(&words).await?;
        assert_eq!(view.lock().expect("nobody panicked").standing, isthmus_bridge::room::Standing::Inside);
    }
    net.host.take_emits();
    let asked =
        [("MODE #verona", "#verona"), ("TOPIC #verona", "#verona"), ("AWAY :gone", "away"), ("MODE romeo", "+")];
    for (typed, part) in asked {
        session.send(net.address("net"), Intent::Raw { line: typed.to_owned() });
        let is = |e: &Inbound| matches!(&e.event, Event::Notice { text, .. } if text.to_string().contains(part));
        net.host.emitted(typed, is).await;
        net.host.take_emits();
    }
    session.stop().await?;
    Ok(())
}

#[tokio::test]
async fn who_leaves_and_comes_back_at_once_is_inside_on_ngircd() -> Result<()> {
    let server = Ngircd::start().await?;
    out_and_in(server.plain().number()).await
}

#[tokio::test]
async fn who_leaves_and_comes_back_at_once_is_inside_on_inspircd() -> Result<()> {
    let server = Inspircd::start().await?;
    out_and_in(server.plain().number()).await
}
