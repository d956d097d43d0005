//! Who is there: contacts by MONITOR and ISON, a nick that becomes free, names by the ident protocol, servers that part, a bouncer in between.

#[path = "support/mod.rs"]
mod support;

use anyhow::Result;
use isthmus_bridge::inbound::Departure;
use isthmus_bridge::room::Rank;
use isthmus_bridge::suite::Session;
use isthmus_bridge::{Address, Event, Inbound, Intent, Message, RoomChange, RoomId};
use isthmus_testkit::hybrid::Hybrid;
use isthmus_testkit::inspircd::{self, Inspircd};
use isthmus_testkit::irc::Person;
use isthmus_testkit::ngircd::Ngircd;
use isthmus_testkit::znc::Znc;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::support::{Net, done, group, join};

fn presence(of: &Address, is: bool) -> impl Fn(&Inbound) -> bool {
    move |e| e.from == *of && matches!(e.event, Event::Presence { available, .. } if available == is)
}

fn away(of: &Address) -> impl Fn(&Inbound) -> bool {
    move |e| e.from == *of && matches!(e.event, Event::Presence { available: true, away: true, .. })
}

/// A contact who is not there, comes, changes nick and goes; one who is put on the roster later.
async fn contacts(port: u16) -> Result<()> {
    let net = Net::at(port, false);
    let room = net.address("#verona%net");
    let (juliet, nurse) = (net.address("juliet%net"), net.address("nurse%net"));
    let Address::Contact(id) = juliet.clone() else { panic!("a contact") };
    net.host.add_contact(&"romeo@example.org".into(), id, None);
    let session = Session::start(&net.bridge, &net.host, "romeo@example.org", &room);
    assert_eq!(done(&session, room, join("romeo")).await, Ok(()));
    let mut hers = Person::enter(port, "Juliet").await?;
    net.host.emitted("Juliet is there", presence(&juliet, true)).await;
    hers.send("NICK Capulet").await?;
    net.host.emitted("nobody has the nick", presence(&juliet, false)).await;
    hers.send("NICK juliet").await?;
    net.host.emitted("she has it again", presence(&juliet, true)).await;
    hers.send("QUIT :bye").await?;
    net.host.emitted("Juliet has gone", presence(&juliet, false)).await;
    // On the roster in the middle of it.
    let mut hers = Person::enter(port, "nurse").await?;
    hers.send("AWAY :asleep").await?;
    hers.line(" 306 ").await?;
    session.send(nurse.clone(), Intent::Subscribe { status: None });
    net.host.emitted("the nurse is there", presence(&nurse, true)).await;
    net.host.emitted("and asleep", away(&nurse)).await;
    session.stop().await?;
    Ok(())
}

#[tokio::test]
async fn contacts_come_and_go_by_monitor_on_inspircd() -> Result<()> {
    let server = Inspircd::start().await?;
    contacts(server.plain().number()).await
}

#[tokio::test]
async fn contacts_come_and_go_by_monitor_on_hybrid() -> Result<()> {
    let server = Hybrid::start().await?;
    contacts(server.plain().number()).await
}

/// Its only question is ISON, which it is asked whenever it asks whether we are there.
#[tokio::test]
async fn contacts_who_are_there_are_found_on_ngircd() -> Result<()> {
    let server = Ngircd::start().await?;
    let port = server.plain().number();
    let net = Net::at(port, false);
    let (room, juliet) = (net.address("#verona%net"), net.address("juliet%net"));
    let Address::Contact(id) = juliet.clone() else { panic!("a contact") };
    net.host.add_contact(&"romeo@example.org".into(), id, None);
    let mut hers = Person::enter(port, "Juliet").await?;
    hers.join("#verona").await?;
    hers.send("AWAY :at the balcony").await?;
    hers.line(" 306 ").await?;
    let session = Session::start(&net.bridge, &net.host, "romeo@example.org", &room);
    assert_eq!(done(&session, room, join("romeo")).await, Ok(()));
    net.host.emitted("Juliet is there", presence(&juliet, true)).await;
    net.host.emitted("and away", away(&juliet)).await;
    hers.send("QUIT :bye").await?;
    net.host.emitted("Juliet has gone", presence(&juliet, false)).await;
    session.stop().await?;
    Ok(())
}

/// Somebody has the nick: another one does until it is free. `seen`: they are in the same room, and take another; else nobody sees them go.
async fn regained(port: u16, seen: bool) -> Result<()> {
    let mut thief = Person::enter(port, "romeo").await?;
    if seen {
        thief.join("#verona").await?;
    }
    let net = Net::at(port, false);
    net.host.set_default("fallback_nicks", "montague");
    let (room, id) = (net.address("#verona%net"), RoomId::from("#verona%net"));
    let session = Session::start(&net.bridge, &net.host, "romeo@example.org", &room);
    assert_eq!(done(&session, room, join("romeo")).await, Ok(()));
    net.host.emitted("the room", |e| e.event == Event::Room(RoomChange::Joined)).await;
    let view = net.host.host().room(session.of(), &id);
    assert_eq!(view.lock().expect("nobody panicked").nick(), "montague");
    thief.send(if seen { "NICK tybalt" } else { "QUIT :thy drugs are quick" }).await?;
    let own = Event::Room(RoomChange::Renamed { nick: "romeo".to_owned() });
    net.host.emitted("the wished nick", |e| e.event == own).await;
    assert_eq!(view.lock().expect("nobody panicked").nick(), "romeo");
    session.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_nick_is_regained_by_monitor_on_inspircd() -> Result<()> {
    let server = Inspircd::start().await?;
    regained(server.plain().number(), false).await
}

#[tokio::test]
async fn a_nick_is_regained_by_monitor_on_hybrid() -> Result<()> {
    let server = Hybrid::start().await?;
    regained(server.plain().number(), false).await
}

/// It has no MONITOR.
#[tokio::test]
async fn a_nick_is_regained_when_its_holder_is_seen_to_take_another_on_ngircd() -> Result<()> {
    let server = Ngircd::start().await?;
    regained(server.plain().number(), true).await
}

/// The server asks our machine whose the connection is, and shows what it was told. Tests have addresses of their own on loopback, since
/// the port is always 113.
async fn asked_for_a_name(port: u16, tls: bool) -> Result<()> {
    let Some(own) = isthmus_testkit::ports::own_address(113)? else { return Ok(()) };
    let keys = json!({"allow_private_networks": true, "identd": format!("{own}:113"), "bind": own.to_string()});
    let net = Net::with(port, tls, keys);
    net.host.set_default("username", "montague");
    let stop = CancellationToken::new();
    let serving = {
        let (bridge, host, stop) = (net.bridge.clone(), net.host.host(), stop.clone());
        tokio::spawn(async move { bridge.serve(host, stop).await })
    };
    let room = net.address("#verona%net");
    let mut names = Vec::new();
    for user in ["romeo", "paris"] {
        let session = Session::start(&net.bridge, &net.host, &format!("{user}@example.org"), &room);
        assert_eq!(done(&session, room.clone(), join(user)).await, Ok(()));
        session.send(net.address("net"), Intent::Raw { line: format!("USERHOST {user}") });
        let told = |e: &Inbound| matches!(&e.event, Event::Notice { text, .. } if text.to_string().contains(&format!("{user}=+")) && e.to.as_str().starts_with(user));
        let told = net.host.emitted("who they are", told).await;
        let Event::Notice { text, .. } = told.event else { panic!("a notice") };
        let text = text.to_string();
        let name = text.split(&format!("{user}=+")).nth(1).and_then(|t| t.split('@').next()).unwrap_or_default();
        assert!(name.len() == 8 && name.bytes().all(|b| b.is_ascii_hexdigit()), "eight digits, no ~, no name: {text}");
        names.push(name.to_owned());
        session.stop().await?;
    }
    assert_ne!(names[0], names[1], "each has their own");
    stop.cancel();
    serving.await??;
    Ok(())
}

#[tokio::test]
async fn ngircd_asks_for_a_name_and_gets_one_for_each_user() -> Result<()> {
    let server = Ngircd::asking(true).await?;
    asked_for_a_name(server.plain().number(), false).await
}

#[tokio::test]
async fn inspircd_asks_for_a_name_and_gets_one_for_each_user() -> Result<()> {
    let server = Inspircd::with(inspircd::Options { asks_ident: true, ..inspircd::Options::default() }).await?;
    asked_for_a_name(server.tls().number(), true).await
}

#[tokio::test]
async fn hybrid_asks_for_a_name_and_gets_one_for_each_user() -> Result<()> {
    let server = Hybrid::asking(true).await?;
    asked_for_a_name(server.plain().number(), false).await
}

/// Two servers, one network; then two, then one again.
#[tokio::test]
async fn a_real_netsplit_takes_people_out_and_brings_them_back() -> Result<()> {
    let here = Inspircd::start().await?;
    let there = here.beside().await?;
    let (port, far) = (here.plain().number(), there.plain().number());
    let mut oper = Person::enter(far, "oper").await?;
    oper.send("OPER oper oper").await?;
    oper.line(" 381 ").await?;
    let mut nurse = Person::enter(port, "nurse").await?;
    nurse.join("#verona").await?;
    let met = async |oper: &mut Person, nurse: &mut Person| -> Result<()> {
        oper.send("CONNECT insp.irc.test").await?;
        for _ in 0..200 {
            nurse.send("WHOIS oper").await?;
            if nurse.first(&[" 311 ", " 401 "]).await?.contains(" 311 ") {
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        anyhow::bail!("the servers do not meet")
    };
    met(&mut oper, &mut nurse).await?;
    let mut far_ones = Vec::new();
    for n in 0..5 {
        let mut person = Person::enter(far, &format!("capulet{n}")).await?;
        person.join("#verona").await?;
        far_ones.push(person);
    }
    let net = Net::at(port, false);
    let (room, id) = (net.address("#verona%net"), RoomId::from("#verona%net"));
    let session = Session::start(&net.bridge, &net.host, "romeo@example.org", &room);
    assert_eq!(done(&session, room.clone(), join("romeo")).await, Ok(()));
    net.host.emitted("the room", |e| e.event == Event::Room(RoomChange::Joined)).await;
    let view = net.host.host().room(session.of(), &id);
    let inside = || {
        let mut nicks: Vec<_> =
            view.lock().expect("nobody panicked").members().iter().map(|m| m.nick().to_owned()).collect();
        nicks.sort();
        nicks
    };
    let all: Vec<String> =
        ["capulet0", "capulet1", "capulet2", "capulet3", "capulet4", "nurse", "romeo"].map(str::to_owned).into();
    nurse.send("MODE #verona +v capulet3").await?;
    net.host.emitted("a rank", |e| matches!(e.event, Event::Room(RoomChange::Changed { .. }))).await;
    assert_eq!(inside(), all);
    net.host.take_emits();

    oper.send("SQUIT insp.irc.test :plague").await?;
    for n in 0..5 {
        let whom = net.occupant(&format!("capulet{n}"));
        let gone = |e: &Inbound| {
            e.from == whom && matches!(e.event, Event::Room(RoomChange::Left { how: Departure::Quit, .. }))
        };
        net.host.emitted("somebody is gone", gone).await;
    }
    assert_eq!(inside(), ["nurse", "romeo"]);
    // What is said on one side is heard there, and on the other nothing of it.
    session.send(room.clone(), group("I defy you, stars"));
    nurse.line("defy you").await?;

    met(&mut oper, &mut nurse).await?;
    for n in 0..5 {
        let whom = net.occupant(&format!("capulet{n}"));
        net.host.emitted("they are back", |e| e.from == whom && e.event == Event::Room(RoomChange::Entered)).await;
    }
    assert_eq!(inside(), all);
    let voiced = || {
        let view = view.lock().expect("nobody panicked");
        view.members().iter().any(|m| m.nick() == "capulet3" && m.rank.has(Rank::VOICE))
    };
    far_ones[3].say("#verona", "a plague on both").await?;
    net.heard("words from there").await;
    assert!(voiced(), "who had a voice has it again");
    session.send(room, group("and I on thee"));
    assert!(!far_ones[0].heard().await?.iter().any(|l| l.contains("defy you")));
    session.stop().await?;
    far_ones[0].line(" QUIT ").await?;
    Ok(())
}

/// A session at a bouncer that stays in the room for the user.
async fn at_bouncer(bouncer: &Znc) -> (Net, Session) {
    let net = Net::at(bouncer.port(), false);
    net.host.set_default("pass", Znc::PASS);
    let room = net.address("#verona%net");
    let session = Session::start(&net.bridge, &net.host, "romeo@example.org", &room);
    assert_eq!(done(&session, room, join("romeo")).await, Ok(()));
    net.host.emitted("the room", |e| e.event == Event::Room(RoomChange::Joined)).await;
    (net, session)
}

#[tokio::test]
async fn behind_a_bouncer_own_words_are_ones_own_and_the_missed_ones_have_their_time() -> Result<()> {
    let server = Inspircd::start().await?;
    let port = server.plain().number();
    let mut juliet = Person::enter(port, "Juliet").await?;
    juliet.join("#verona").await?;
    let bouncer = Znc::start(port, "#verona").await?;
    juliet.line(":romeo!").await?; // the bouncer enters
    // By another program of the user's, before we come: what was said is missed by us.
    let mut phone = Person::with(bouncer.port(), "romeo", &[&format!("PASS {}", Znc::PASS)]).await?;
    phone.say("Juliet", "from my telephone").await?;
    juliet.line("from my telephone").await?;
    phone.send("QUIT").await?;
    drop(phone);
    juliet.say("romeo", "while you were away").await?;
    juliet.say("#verona", "in the room, too").await?;
    juliet.heard().await?;
    let before = std::time::SystemTime::now();
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;

    let (net, session) = at_bouncer(&bouncer).await;
    let is = |words: &'static str| move |e: &Inbound| matches!(&e.event, Event::Message(m) if m.body == words);
    let missed = net.host.emitted("the missed words", is("while you were away")).await;
    assert_eq!(missed.from, net.address("juliet%net"));
    assert!(missed.at <= before, "with their time: {:?}", missed.at);
    let said = net.host.emitted("those in the room", is("in the room, too")).await;
    assert_eq!(said.from, net.occupant("Juliet"));
    assert!(said.at <= before, "with their time: {:?}", said.at);

    // Now beside us.
    let mut phone = Person::with(bouncer.port(), "romeo", &[&format!("PASS {}", Znc::PASS)]).await?;
    phone.say("Juliet", "from the other one").await?;
    juliet.line("from the other one").await?;
    let sent = net.host.emitted("words of one's own", |e| matches!(e.event, Event::Sent(_))).await;
    assert!(matches!(&sent.event, Event::Sent(m) if m.body == "from the other one"), "{sent:?}");
    assert_eq!(sent.from, net.address("juliet%net"));
    phone.say("#verona", "to all from there").await?;
    let said = net.host.emitted("own words in the room", is("to all from there")).await;
    assert_eq!((said.from, said.echo_of), (net.occupant("romeo"), None));
    // What we say ourselves is said once.
    session.send(net.address("juliet%net"), Intent::Send(Box::new(Message::chat("from here"))));
    juliet.line("from here").await?;
    session.send(net.address("#verona%net"), group("to all from here"));
    juliet.line("to all from here").await?;
    juliet.say("romeo", "sync").await?;
    net.host.emitted("a sign", is("sync")).await;

    // None of the user's words is ever somebody else's.
    for event in net.host.emits() {
        let Event::Message(message) = &event.event else { continue };
        let own = ["from my telephone", "from the other one", "from here"].contains(&message.body.as_str());
        assert!(!own, "{event:?}");
    }
    // A room that the bouncer enters for another program is offered, and is there when one comes.
    juliet.join("#tomb").await?;
    phone.send("JOIN #tomb").await?;
    let invited = net.host.emitted("an invitation", |e| matches!(e.event, Event::Invited { .. })).await;
    assert!(matches!(&invited.event, Event::Invited { room, .. } if *room == RoomId::from("#tomb%net")));
    assert_eq!(done(&session, net.address("#tomb%net"), join("romeo")).await, Ok(()));
    session.stop().await?;
    // The bouncer stays, and so does the user.
    juliet.send("NAMES #verona").await?;
    assert!(juliet.line(" 353 ").await?.contains("romeo"));
    Ok(())
}
