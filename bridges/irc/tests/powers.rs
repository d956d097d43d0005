//! What servers and their operators do to people and rooms, and people to each other: ranks, forwards, forced joins, kills, modes; what is known of
//! persons; what was said before one came; words that are long, loud, in other encodings, to who is away.

#[path = "support/mod.rs"]
mod support;

use anyhow::Result;
use isthmus_bridge::inbound::Departure;
use isthmus_bridge::query::Part;
use isthmus_bridge::room::Rank;
use isthmus_bridge::suite::Session;
use isthmus_bridge::{
    Address, BareJid, Call, Event, Failure, Inbound, Intent, LinkState, Message, Query, RoomChange, RoomId, Step, Text,
    Values,
};
use isthmus_testkit::atheme::Atheme;
use isthmus_testkit::hybrid::Hybrid;
use isthmus_testkit::inspircd::{Inspircd, Options};
use isthmus_testkit::irc::Person;
use isthmus_testkit::ngircd::Ngircd;

use self::support::{Net, done, group, join};

/// Romeo in a room where Juliet was first, on a server at this port.
async fn inside(port: u16) -> Result<(Net, Session, Person)> {
    let mut juliet = Person::enter(port, "Juliet").await?;
    juliet.join("#verona").await?;
    let net = Net::at(port, false);
    let room = net.address("#verona%net");
    let session = Session::start(&net.bridge, &net.host, "romeo@example.org", &room);
    assert_eq!(done(&session, room, join("romeo")).await, Ok(()));
    net.host.emitted("the room", |e| e.event == Event::Room(RoomChange::Joined)).await;
    Ok((net, session, juliet))
}

/// InspIRCd with these modules beside the usual, and lines for them.
async fn with_modules(modules: &[&str], lines: &str) -> Result<Inspircd> {
    let modules: String = modules.iter().map(|name| format!("<module name=\"{name}\">\n")).collect();
    Inspircd::with(Options { lines: modules + lines, ..Options::default() }).await
}

async fn opers(person: &mut Person) -> Result<()> {
    person.send("OPER oper oper").await?;
    person.line(" 381 ").await.map(drop)
}

fn is_key(text: &Text, key: &str) -> bool {
    matches!(text, Text::Key { name, .. } if name == key)
}

fn told(key: &'static str) -> impl Fn(&Inbound) -> bool {
    move |e| matches!(&e.event, Event::Notice { text, .. } if is_key(text, key))
}

fn changed(e: &Inbound) -> bool {
    matches!(e.event, Event::Room(RoomChange::Changed { .. }))
}

/// What a member of the room is at the moment.
fn member(net: &Net, session: &Session, nick: &str) -> Option<(Rank, Option<String>, Option<String>)> {
    let view = net.host.host().room(session.of(), &RoomId::from("#verona%net"));
    let view = view.lock().expect("nobody panicked");
    let own = |text: &Option<Box<str>>| text.as_ref().map(ToString::to_string);
    view.members()
        .iter()
        .find(|m| m.nick().eq_ignore_ascii_case(nick))
        .map(|m| (m.rank, own(&m.person.host.clone()), own(&m.person.account.clone())))
}

#[tokio::test]
async fn owners_admins_half_operators_and_the_banned_are_made_on_inspircd() -> Result<()> {
    let prefixes = r#"<customprefix name="founder" letter="q" prefix="~" rank="50000" ranktoset="50000">
<customprefix name="admin" letter="a" prefix="&amp;" rank="40000" ranktoset="50000">
<customprefix name="halfop" letter="h" prefix="%" rank="20000" ranktoset="30000">
"#;
    let server = with_modules(&["customprefix", "samode"], prefixes).await?;
    let (net, session, mut juliet) = inside(server.plain().number()).await?;
    let room = net.address("#verona%net");
    opers(&mut juliet).await?;
    juliet.send("SAMODE #verona +q romeo").await?;
    juliet.line(" MODE #verona +q").await?;
    juliet.send("MODE #verona -o Juliet").await?;
    juliet.line(" MODE #verona -o").await?;
    let set = async |role: Option<&str>, affiliation: Option<&str>| {
        let own = |text: Option<&str>| text.map(str::to_owned);
        let (role, affiliation) = (own(role), own(affiliation));
        done(&session, room.clone(), Intent::SetRole { who: net.occupant("Juliet"), role, affiliation, reason: None })
            .await
    };
    let cases = [
        (None, Some("owner"), "+q", Rank::OWNER),
        (None, Some("admin"), "-q+o", Rank::MODERATOR),
        (None, Some("member"), "-o+v", Rank::VOICE),
        (None, Some("none"), "-v", Rank::NONE),
        (Some("moderator"), None, "+h", Rank::HALF),
        (None, Some("none"), "-h", Rank::NONE),
    ];
    for (role, affiliation, modes, rank) in cases {
        assert_eq!(set(role, affiliation).await, Ok(()), "{role:?} {affiliation:?}");
        let line = juliet.line(":romeo!").await?;
        assert!(line.contains(&format!(" MODE #verona {modes} ")), "{role:?} {affiliation:?}: {line}");
        let (is, ..) = member(&net, &session, "Juliet").expect("inside");
        assert!(is.has(rank) && (rank != Rank::NONE || is == Rank::NONE), "{role:?} {affiliation:?}: {is:?}");
    }
    assert_eq!(set(None, Some("outcast")).await, Ok(()));
    let lines = [juliet.line(":romeo!").await?, juliet.line(":romeo!").await?];
    assert!(lines[0].contains("MODE #verona +b ") && lines[0].contains("*!*@127.0.0.1"), "{lines:?}");
    assert!(lines[1].contains(" KICK #verona Juliet"), "{lines:?}");
    let left = |e: &Inbound| matches!(e.event, Event::Room(RoomChange::Left { how: Departure::Banned, .. }));
    assert_eq!(net.host.emitted("her ban", left).await.from, net.occupant("Juliet"));
    let (banned, _) = session.ask(Query::Affiliates { room: "#verona%net".into(), list: "outcast".to_owned() }).await;
    assert!(format!("{banned:?}").contains("*!*@127.0.0.1"), "{banned:?}");
    // An address of a contact will do, too: she is not in the room any more.
    let lifted = Intent::Ban { mask: "*!*@127.0.0.1".to_owned(), on: false, reason: None };
    assert_eq!(done(&session, room.clone(), lifted).await, Ok(()));
    juliet.join("#verona").await?;
    let nobody = Intent::SetRole {
        who: net.occupant("nobody"),
        role: None,
        affiliation: Some("admin".to_owned()),
        reason: None,
    };
    assert_eq!(done(&session, room, nobody).await, Err(Failure::NoSuchRecipient));
    session.stop().await?;
    Ok(())
}

/// What Juliet, who has no rank, is made by Romeo: as who sees it.
async fn made_by_romeo(session: &Session, net: &Net, juliet: &mut Person, wish: (&str, &str)) -> Result<String> {
    let (role, affiliation) = match wish {
        ("role", role) => (Some(role.to_owned()), None),
        (_, affiliation) => (None, Some(affiliation.to_owned())),
    };
    let wanted = Intent::SetRole { who: net.occupant("Juliet"), role, affiliation, reason: None };
    assert_eq!(done(session, net.address("#verona%net"), wanted).await, Ok(()), "{wish:?}");
    let line = juliet.line(":romeo!").await?;
    // The last word may have its colon or not.
    let modes = line.split_once(" MODE #verona ").map(|(_, modes)| modes.replace(':', ""));
    Ok(modes.unwrap_or_default())
}

#[tokio::test]
async fn where_ranks_are_missing_the_next_one_is_given_on_inspircd() -> Result<()> {
    let admin = r#"<customprefix name="admin" letter="a" prefix="&amp;" rank="40000" ranktoset="40000">
"#;
    for (modules, lines, own, owner) in
        [(&["samode"][..], "", "+o", "+o Juliet"), (&["samode", "customprefix"], admin, "+a", "+a Juliet")]
    {
        let server = with_modules(modules, lines).await?;
        let (net, session, mut juliet) = inside(server.plain().number()).await?;
        opers(&mut juliet).await?;
        juliet.send(&format!("SAMODE #verona {own} romeo")).await?;
        juliet.line(&format!(" MODE #verona {own} ")).await?;
        juliet.send("MODE #verona -o Juliet").await?;
        juliet.line(" MODE #verona -o").await?;
        let mut made = async |wish| made_by_romeo(&session, &net, &mut juliet, wish).await;
        assert_eq!(made(("affiliation", "owner")).await?, owner);
        assert_eq!(made(("affiliation", "none")).await?, owner.replace('+', "-"));
        assert_eq!(made(("role", "moderator")).await?, "+o Juliet");
        session.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn bans_of_other_kinds_than_a_mask_are_made_and_lifted_on_inspircd() -> Result<()> {
    let server = with_modules(&["channelban"], "").await?;
    let (net, session, mut juliet) = inside(server.plain().number()).await?;
    let room = net.address("#verona%net");
    juliet.send("MODE #verona +o romeo").await?;
    net.host.emitted("a rank", changed).await;
    for mask in ["R:capulet", "j:#tomb"] {
        for on in [true, false] {
            let ban = Intent::Ban { mask: mask.to_owned(), on, reason: None };
            assert_eq!(done(&session, room.clone(), ban).await, Ok(()), "{mask} {on}");
            let line = juliet.line(&format!(" MODE #verona {} ", if on { "+b" } else { "-b" })).await?;
            assert!(line.starts_with(":romeo!") && line.ends_with(mask), "{line}");
            let listed = Query::Affiliates { room: "#verona%net".into(), list: "outcast".to_owned() };
            let (banned, _) = session.ask(listed).await;
            assert_eq!(format!("{banned:?}").contains(mask), on, "{banned:?}");
        }
    }
    session.stop().await?;
    Ok(())
}

#[tokio::test]
async fn somebody_whose_host_is_not_known_is_banned_where_they_are_on_ngircd() -> Result<()> {
    let server = Ngircd::start().await?;
    let (net, session, mut juliet) = inside(server.plain().number()).await?;
    juliet.send("MODE #verona +o romeo").await?;
    net.host.emitted("a rank", changed).await;
    assert_eq!(member(&net, &session, "Juliet").and_then(|m| m.1), None, "nobody has told it");
    let out = Intent::SetRole {
        who: net.occupant("Juliet"),
        role: None,
        affiliation: Some("outcast".to_owned()),
        reason: Some("wherefore".to_owned()),
    };
    assert_eq!(done(&session, net.address("#verona%net"), out).await, Ok(()));
    let lines = [juliet.line(" MODE #verona +b ").await?, juliet.line(":romeo!").await?];
    let mask = lines[0].split_once(" MODE #verona +b ").map(|(_, mask)| mask.trim_start_matches(':').to_owned());
    let host = mask.as_deref().and_then(|mask| mask.strip_prefix("*!*@"));
    assert!(host.is_some_and(|host| !host.is_empty() && !host.contains('*')), "{lines:?}");
    assert!(lines[1].contains(" KICK #verona Juliet :wherefore"), "{lines:?}");
    // That is where she is.
    juliet.send("JOIN #verona").await?;
    juliet.line(" 474 ").await?;
    session.stop().await?;
    Ok(())
}

#[tokio::test]
async fn inspircd_forwards_to_another_room_and_forces_into_one() -> Result<()> {
    let server = with_modules(&["redirect", "sajoin"], "").await?;
    let (net, session, mut juliet) = inside(server.plain().number()).await?;
    juliet.join("#tomb").await?;
    juliet.join("#balcony").await?;
    juliet.send("MODE #balcony +lL 1 #tomb").await?;
    juliet.line(" MODE #balcony ").await?;
    let forwarded = done(&session, net.address("#balcony%net"), join("romeo")).await;
    assert!(forwarded.is_err(), "{forwarded:?}");
    let refused = net.host.emitted("the refusal", |e| matches!(e.event, Event::Room(RoomChange::Refused { .. }))).await;
    let Event::Room(RoomChange::Refused { redirect, .. }) = refused.event else { panic!("a refusal") };
    assert_eq!(redirect, Some(RoomId::from("#tomb%net")));
    assert!(juliet.line(":romeo!").await?.contains(" JOIN "));
    assert!(juliet.line(":romeo!").await?.contains(" PART "), "where nobody wanted to be");
    // Where an operator puts them, they are asked to come; and are there when they do.
    opers(&mut juliet).await?;
    juliet.send("SAJOIN romeo #tomb").await?;
    let invited = net.host.emitted("an invitation", |e| matches!(e.event, Event::Invited { .. })).await;
    assert!(matches!(&invited.event, Event::Invited { room, .. } if *room == RoomId::from("#tomb%net")));
    assert_eq!(done(&session, net.address("#tomb%net"), join("romeo")).await, Ok(()));
    let view = net.host.host().room(session.of(), &"#tomb%net".into());
    assert!(view.lock().expect("nobody panicked").members().iter().any(|m| m.nick() == "Juliet"));
    session.stop().await?;
    Ok(())
}

/// One's own end brings one back, with the keys; somebody else's is seen.
#[tokio::test]
async fn who_is_killed_comes_back_with_their_keys() -> Result<()> {
    let server = Hybrid::start().await?;
    let port = server.plain().number();
    let mut juliet = Person::enter(port, "Juliet").await?;
    opers(&mut juliet).await?;
    juliet.join("#verona").await?;
    juliet.send("MODE #verona +k sesame").await?;
    juliet.line(" MODE #verona ").await?;
    let mut tybalt = Person::enter(port, "tybalt").await?;
    tybalt.send("JOIN #verona sesame").await?;
    tybalt.line(" 366 ").await?;
    let net = Net::at(port, false);
    let room = net.address("#verona%net");
    let session = Session::start(&net.bridge, &net.host, "romeo@example.org", &room);
    let with_key = Intent::Join { nick: "romeo".to_owned(), password: Some("sesame".to_owned()) };
    assert_eq!(done(&session, room.clone(), with_key).await, Ok(()));
    net.host.emitted("the room", |e| e.event == Event::Room(RoomChange::Joined)).await;
    juliet.send("KILL tybalt :a scratch").await?;
    let gone = |e: &Inbound| {
        e.from == net.occupant("tybalt")
            && matches!(&e.event, Event::Room(RoomChange::Left { how: Departure::Quit, status: Some(words), .. }) if words.contains("a scratch"))
    };
    net.host.emitted("his end", gone).await;
    juliet.send("KILL romeo :thus with a kiss").await?;
    let lost = |e: &Inbound| matches!(&e.event, Event::Room(RoomChange::Lost { reason, coming_back: true }) if reason.to_string().contains("thus with a kiss"));
    net.host.emitted("the reason", lost).await;
    net.host.emitted("the room again", |e| e.event == Event::Room(RoomChange::Joined)).await;
    let ups = net.host.reports().into_iter().filter(|(_, link)| *link == LinkState::Up).count();
    assert_eq!(ups, 2);
    session.stop().await?;
    Ok(())
}

#[tokio::test]
async fn who_comes_back_to_a_room_that_has_been_closed_is_told_so_in_the_servers_words() -> Result<()> {
    let server = Hybrid::start().await?;
    let port = server.plain().number();
    let (net, session, mut juliet) = inside(port).await?;
    opers(&mut juliet).await?;
    juliet.send("MODE #verona +i").await?;
    juliet.line(" MODE #verona ").await?;
    juliet.send("KILL romeo :thus with a kiss").await?;
    let lost = |e: &Inbound| matches!(&e.event, Event::Room(RoomChange::Lost { coming_back: true, .. }));
    net.host.emitted("the end", lost).await;
    let refused = |e: &Inbound| matches!(&e.event, Event::Room(RoomChange::Refused { .. }));
    let event = net.host.emitted("the refusal", refused).await;
    assert_eq!(event.from, net.address("#verona%net"));
    let Event::Room(RoomChange::Refused { error, redirect }) = &event.event else { panic!("{event:?}") };
    assert_eq!((&error.failure, redirect), (&Failure::Forbidden, &None), "{error}");
    assert!(error.text.to_string().contains("Cannot join channel (+i)"), "{error}");
    // Nobody else needs the connection.
    juliet.send("MODE #verona -i").await?;
    juliet.line(" MODE #verona ").await?;
    assert_eq!(done(&session, net.address("#verona%net"), join("romeo")).await, Ok(()));
    session.stop().await?;
    Ok(())
}

#[tokio::test]
async fn the_form_of_a_room_sets_its_modes() -> Result<()> {
    for real in ["ngircd", "inspircd"] {
        let (ngircd, inspircd);
        let port = if real == "ngircd" {
            ngircd = Ngircd::start().await?;
            ngircd.plain().number()
        } else {
            inspircd = Inspircd::start().await?;
            inspircd.plain().number()
        };
        let (net, session, mut juliet) = inside(port).await?;
        juliet.send("MODE #verona +o romeo").await?;
        net.host.emitted("a rank", changed).await;
        let set =
            async |values: Values| done(&session, net.address("#verona%net"), Intent::SetRoomConfig { values }).await;
        let on = Values::new()
            .with("muc#roomconfig_passwordprotectedroom", "true")
            .with("muc#roomconfig_roomsecret", "sesame")
            .with("muc#roomconfig_maxusers", "7")
            .with("muc#roomconfig_moderatedroom", "true")
            .with("muc#roomconfig_publicroom", "false")
            .with("muc#roomconfig_changesubject", "false")
            .with("invite_only", "true");
        assert_eq!(set(on).await, Ok(()), "{real}");
        juliet.heard().await?;
        juliet.send("MODE #verona").await?;
        let modes = juliet.line(" 324 ").await?;
        let letters = modes.split(' ').find(|w| w.starts_with('+')).unwrap_or_default().to_owned();
        assert!("iklmst".chars().all(|mode| letters.contains(mode)), "{real}: {modes}");
        assert!(modes.contains("sesame") && modes.contains('7'), "{real}: {modes}");
        let off = Values::new()
            .with("muc#roomconfig_passwordprotectedroom", "false")
            .with("muc#roomconfig_maxusers", "")
            .with("muc#roomconfig_moderatedroom", "false")
            .with("muc#roomconfig_publicroom", "true")
            .with("muc#roomconfig_changesubject", "true")
            .with("invite_only", "false");
        assert_eq!(set(off).await, Ok(()), "{real}");
        juliet.heard().await?;
        juliet.send("MODE #verona").await?;
        let modes = juliet.line(" 324 ").await?;
        let letters = modes.split(' ').find(|w| w.starts_with('+')).unwrap_or_default().to_owned();
        assert!(!"iklmst".chars().any(|mode| letters.contains(mode)), "{real}: {modes}");
        session.stop().await?;
    }
    Ok(())
}

/// What somebody else has set, one mode at a time.
async fn what_is_set_shows(real: &str, port: u16) -> Result<()> {
    let (_net, session, mut juliet) = inside(port).await?;
    let form = async |field: &str| {
        let (parts, end) = session.ask(Query::RoomConfig("#verona%net".into())).await;
        let [Part::Facts(facts)] = &parts[..] else { panic!("{real}: {parts:?} {end:?}") };
        facts.get(field).map(str::to_owned)
    };
    // What the server's usual is, is not what is looked for.
    juliet.send("MODE #verona -t").await?;
    for (mode, field, off, on) in [
        ("i", "invite_only", "false", "true"),
        ("k sesame", "muc#roomconfig_passwordprotectedroom", "false", "true"),
        ("l 7", "muc#roomconfig_maxusers", "", "7"),
        ("m", "muc#roomconfig_moderatedroom", "false", "true"),
        ("t", "muc#roomconfig_changesubject", "true", "false"),
        ("s", "muc#roomconfig_publicroom", "true", "false"),
    ] {
        let letter = mode.split(' ').next().unwrap_or_default();
        let taken = if letter == "k" { mode } else { letter };
        for (line, value) in [(format!("+{mode}"), on), (format!("-{taken}"), off)] {
            juliet.send(&format!("MODE #verona {line}")).await?;
            juliet.heard().await?;
            assert_eq!(form(field).await.as_deref().unwrap_or_default(), value, "{real}: {line}");
        }
    }
    session.stop().await?;
    Ok(())
}

#[tokio::test]
async fn what_somebody_else_sets_shows_in_the_form_of_a_room() -> Result<()> {
    what_is_set_shows("ngircd", Ngircd::start().await?.plain().number()).await?;
    what_is_set_shows("inspircd", Inspircd::start().await?.plain().number()).await?;
    what_is_set_shows("hybrid", Hybrid::start().await?.plain().number()).await
}

/// What an operator of the network says to all who want to hear it.
async fn called_out(real: &str, port: u16) -> Result<()> {
    let (net, session, mut juliet) = inside(port).await?;
    opers(&mut juliet).await?;
    let network = net.address("net");
    let says = |words: &'static str| {
        let network = network.clone();
        move |e: &Inbound| {
            let said = matches!(&e.event, Event::Notice { text, .. } if text.to_string().contains(words));
            said && e.from == network
        }
    };
    let wants = async |mode: &'static str| {
        session.send(network.clone(), Intent::Raw { line: format!("MODE romeo {mode}") });
        let is = move |e: &Inbound| {
            told("mode")(e) && matches!(&e.event, Event::Notice { text, .. } if text.to_string().contains(mode))
        };
        net.host.emitted(mode, is).await;
    };
    wants("+w").await;
    juliet.send("WALLOPS :the Prince is coming").await?;
    let said = net.host.emitted("the call", says("the Prince is coming")).await;
    let Event::Notice { text, .. } = said.event else { panic!("a notice") };
    assert_eq!(text.to_string(), "Juliet: WALLOPS the Prince is coming", "{real}");
    // Who does not want to hear them hears none.
    net.host.take_emits();
    wants("-w").await;
    juliet.send("WALLOPS :the Prince is gone").await?;
    juliet.say("romeo", "sync").await?;
    net.heard("a sign").await;
    assert!(!net.host.emits().iter().any(says("is gone")), "{real}");
    session.stop().await?;
    Ok(())
}

#[tokio::test]
async fn what_an_operator_calls_out_to_all_is_heard_from_the_network() -> Result<()> {
    called_out("ngircd", Ngircd::start().await?.plain().number()).await?;
    called_out("inspircd", Inspircd::start().await?.plain().number()).await
}

/// What IRCv3 tells of persons, by a server that has it: host, real name, away, account, program, operator; who was invited.
#[tokio::test]
async fn what_changes_about_persons_is_seen_on_inspircd() -> Result<()> {
    let server = with_modules(&["sethost", "ircv3_chghost"], "").await?;
    let services = Atheme::start(&server).await?;
    services.register("capulet", "sesame", None).await?;
    let (net, session, mut juliet) = inside(server.plain().number()).await?;
    let hers = net.occupant("Juliet");
    assert_eq!(
        member(&net, &session, "Juliet").and_then(|m| m.1).as_deref(),
        Some("Juliet@127.0.0.1"),
        "userhost-in-names"
    );
    let mark = async |what: &str| net.host.emitted(what, |e| e.from == hers && changed(e)).await;
    juliet.send("AWAY :asleep").await?;
    mark("away").await;
    assert!(member(&net, &session, "Juliet").is_some_and(|m| m.0.has(Rank::AWAY)));
    juliet.send("AWAY").await?;
    mark("back").await;
    assert!(member(&net, &session, "Juliet").is_some_and(|m| !m.0.has(Rank::AWAY)));
    juliet.say("NickServ", "IDENTIFY capulet sesame").await?;
    mark("the account").await;
    assert_eq!(member(&net, &session, "Juliet").and_then(|m| m.2).as_deref(), Some("capulet"), "account-notify");
    opers(&mut juliet).await?;
    juliet.send("SETHOST balcony.test").await?;
    mark("another host").await;
    assert_eq!(member(&net, &session, "Juliet").and_then(|m| m.1).as_deref(), Some("Juliet@balcony.test"), "chghost");
    let (parts, end) = session.ask(Query::About(hers.clone())).await;
    assert!(end.is_ok(), "{parts:?}");
    assert!(member(&net, &session, "Juliet").is_some_and(|m| m.0.has(Rank::OPERATOR)), "WHOIS says that she runs it");
    juliet.send("MODE Juliet +B").await?;
    juliet.say("#verona", "beep").await?;
    net.heard("her beep").await;
    assert!(member(&net, &session, "Juliet").is_some_and(|m| m.0.has(Rank::BOT)), "bot mode");
    // Invitations to others by those who may: told to the other operators (invite-notify).
    let mut nurse = Person::enter(server.plain().number(), "nurse").await?;
    juliet.send("MODE #verona +o romeo").await?;
    net.host.emitted("a rank", |e| e.from == net.occupant("romeo") && changed(e)).await;
    juliet.send("INVITE nurse #verona").await?;
    nurse.line(" INVITE ").await?;
    net.host.emitted("the invitation", told("invited")).await;
    nurse.join("#verona").await?;
    // Who logs in first and enters then (extended-join).
    nurse.send("PART #verona").await?;
    nurse.say("NickServ", "IDENTIFY capulet sesame").await?;
    nurse.line("identified").await?;
    nurse.join("#verona").await?;
    let entered = |e: &Inbound| e.from == net.occupant("nurse") && e.event == Event::Room(RoomChange::Entered);
    net.host.emitted("her first entry", entered).await;
    net.host.emitted("her second entry", entered).await;
    assert_eq!(member(&net, &session, "nurse").and_then(|m| m.2).as_deref(), Some("capulet"));
    // Our own real name.
    session.set(&net.address("net"), "realname", Some("Romeo Montague")).await;
    let mut seen = String::new();
    for _ in 0..100 {
        juliet.send("WHOIS romeo").await?;
        seen = juliet.line(" 311 ").await?;
        if seen.ends_with("Romeo Montague") {
            break;
        }
    }
    assert!(seen.ends_with("Romeo Montague"), "setname: {seen}");
    session.stop().await?;
    Ok(())
}

/// Away, an operator, logged in and a program before Romeo comes: by WHO.
async fn was_so_before(port: u16, modes: &str, services: Option<&Atheme>) -> Result<()> {
    let mut juliet = Person::enter(port, "Juliet").await?;
    if let Some(services) = services {
        services.register("capulet", "sesame", None).await?;
        juliet.say("NickServ", "IDENTIFY capulet sesame").await?;
        juliet.line("identified").await?;
    }
    opers(&mut juliet).await?;
    juliet.send(&format!("MODE Juliet {modes}")).await?;
    juliet.send("AWAY :asleep").await?;
    juliet.line(" 306 ").await?;
    juliet.join("#verona").await?;
    let net = Net::at(port, false);
    let room = net.address("#verona%net");
    let session = Session::start(&net.bridge, &net.host, "romeo@example.org", &room);
    assert_eq!(done(&session, room, join("romeo")).await, Ok(()));
    net.host.emitted("what she is", |e| e.from == net.occupant("Juliet") && changed(e)).await;
    let (rank, _, account) = member(&net, &session, "Juliet").expect("inside");
    assert!(rank.has(Rank::AWAY) && rank.has(Rank::OPERATOR), "{rank:?}");
    assert_eq!(rank.has(Rank::BOT), modes.contains('B'), "{rank:?}");
    assert_eq!(account.as_deref(), services.map(|_| "capulet"));
    session.stop().await?;
    let asked: Vec<_> = net.host.take_emits().into_iter().filter(|e| e.from == net.address("net")).collect();
    let told = |e: &Inbound| matches!(&e.event, Event::Notice { text, .. } if text.to_string().contains("#verona"));
    assert!(!asked.iter().any(told), "nobody has asked for it: {asked:?}");
    Ok(())
}

#[tokio::test]
async fn how_people_were_before_one_came_is_asked_on_inspircd() -> Result<()> {
    let server = Inspircd::start().await?;
    let services = Atheme::start(&server).await?;
    was_so_before(server.plain().number(), "+B", Some(&services)).await
}

#[tokio::test]
async fn how_people_were_before_one_came_is_asked_on_hybrid() -> Result<()> {
    was_so_before(Hybrid::start().await?.plain().number(), "+w", None).await
}

#[tokio::test]
async fn what_inspircd_plays_of_a_room_on_entering_is_heard_with_its_time() -> Result<()> {
    let server = with_modules(&["chanhistory"], "").await?;
    let port = server.plain().number();
    let mut juliet = Person::enter(port, "Juliet").await?;
    juliet.join("#verona").await?;
    juliet.send("MODE #verona +H 10:600").await?;
    juliet.line(" MODE #verona +H").await?;
    juliet.say("#verona", "ay me").await?;
    juliet.heard().await?;
    let before = std::time::SystemTime::now();
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let net = Net::at(port, false);
    let room = net.address("#verona%net");
    let session = Session::start(&net.bridge, &net.host, "romeo@example.org", &room);
    assert_eq!(done(&session, room, join("romeo")).await, Ok(()));
    let (heard, words) = net.heard("what she said before").await;
    assert_eq!((heard.from, words.as_str()), (net.occupant("Juliet"), "ay me"));
    assert!(heard.at <= before, "{:?}", heard.at);
    session.stop().await?;
    Ok(())
}

/// Words as they arrive at somebody on each of the servers.
async fn words(port: u16) -> Result<()> {
    let (net, session, mut juliet) = inside(port).await?;
    let (room, network) = (net.address("#verona%net"), net.address("net"));
    // Long ones, whole and in order, whatever the server puts before them.
    let long: String = (0..200).map(|n| format!("wörter{n} ")).collect();
    assert_eq!(done(&session, room.clone(), group(long.trim())).await, Ok(()));
    let mut heard = String::new();
    while !heard.ends_with("wörter199") {
        let line = juliet.line("PRIVMSG #verona :").await?;
        let piece = line.split_once("PRIVMSG #verona :").map(|(_, piece)| piece.trim()).unwrap_or_default();
        heard = if heard.is_empty() { piece.to_owned() } else { format!("{heard} {piece}") };
        assert!(long.starts_with(&heard), "{heard}");
    }
    // Bold as bold, and in the encoding that the user wants.
    session.set(&net.address("#verona%net"), "send_formatting", Some("true")).await;
    session.send(room.clone(), group("what *light*"));
    juliet.line("what \u{2}light\u{2}").await?;
    session.set(&net.address("#verona%net"), "encoding_out", Some("iso-8859-1")).await;
    session.send(room, group("naïve"));
    juliet.line("PRIVMSG #verona :na\u{fffd}ve").await?;
    // Who is away says so once.
    juliet.send("AWAY :asleep").await?;
    juliet.heard().await?;
    net.host.take_emits();
    for n in 0..3 {
        let hush = Intent::Send(Box::new(Message::chat(format!("hush {n}"))));
        assert_eq!(done(&session, net.address("juliet%net"), hush).await, Ok(()));
        juliet.line(&format!(":hush {n}")).await?;
    }
    juliet.say("romeo", "sync").await?;
    net.heard("a sign").await;
    assert_eq!(net.host.emits().iter().filter(|e| told("away")(e)).count(), 1);
    // And the user is away on the network when they are.
    let presence =
        |away: bool| Intent::Presence { available: true, away, status: away.then(|| "in Mantua".to_owned()) };
    session.send(network.clone(), presence(true));
    session.send(network.clone(), Intent::Raw { line: "PRIVMSG Juliet :gone".to_owned() });
    juliet.line(":gone").await?;
    juliet.say("romeo", "are you there").await?;
    assert!(juliet.line(" 301 ").await?.ends_with("in Mantua"));
    session.send(network.clone(), presence(false));
    session.send(network, Intent::Raw { line: "PRIVMSG Juliet :back".to_owned() });
    juliet.line(":back").await?;
    juliet.say("romeo", "are you there now").await?;
    assert!(!juliet.heard().await?.iter().any(|l| l.contains(" 301 ")));
    session.stop().await?;
    Ok(())
}

#[tokio::test]
async fn words_arrive_whole_and_as_wished_on_ngircd() -> Result<()> {
    let server = Ngircd::start().await?;
    words(server.plain().number()).await
}

#[tokio::test]
async fn words_arrive_whole_and_as_wished_on_inspircd() -> Result<()> {
    let server = Inspircd::start().await?;
    words(server.plain().number()).await
}

#[tokio::test]
async fn words_arrive_whole_and_as_wished_on_hybrid() -> Result<()> {
    let server = Hybrid::start().await?;
    words(server.plain().number()).await
}

/// The commands of users and administrators, on each of the servers.
async fn commands(port: u16) -> Result<()> {
    let (net, session, mut juliet) = inside(port).await?;
    let (network, gateway) = (net.address("net"), Address::Gateway);
    juliet.send("TOPIC #verona :Two houses").await?;
    juliet.join("#mantua").await?;
    let form =
        |keys: &[(&str, &str)]| vec![keys.iter().fold(Values::new(), |all, (key, value)| all.with(*key, *value))];
    let rows = |step: Result<Step, isthmus_bridge::DeliveryError>| match step {
        Ok(Step::Done { table: Some(table), .. }) => table.rows,
        other => panic!("a table, not {other:?}"),
    };
    let about = rows(session.command("whois", network.clone(), form(&[("nick", "juliet")])).await);
    assert!(about.iter().any(|row| row[0] == "whois.nick" && row[1] == "Juliet"), "{about:?}");
    let listed = rows(session.command("list", network.clone(), form(&[("filter", "houses")])).await);
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert!(listed[0][0] == "#verona%net" && listed[0][1] == "2" && listed[0][2].contains("Two houses"), "{listed:?}");
    // The same by an administrator, for somebody.
    let admin = BareJid::from("admin@example.org");
    net.host.add_admin(&admin);
    let run = async |node: &str, keys: &[(&str, &str)]| {
        let call = Call::start(node, admin.clone(), gateway.clone());
        let forms = if keys.is_empty() { Vec::new() } else { form(keys) };
        isthmus_bridge::suite::run_command(&*net.bridge, &net.host.host(), call, forms).await
    };
    let all = rows(run("connections", &[]).await);
    assert!(
        all.len() == 1 && all[0][0] == "romeo@example.org" && all[0].contains(&"#verona%net".to_owned()),
        "{all:?}"
    );
    let who = "romeo@example.org net";
    let about = rows(run("whois-user", &[("session", who), ("nick", "juliet")]).await);
    assert!(about.iter().any(|row| row[0] == "whois.nick" && row[1] == "Juliet"), "{about:?}");
    let listed = rows(run("list-user", &[("session", who), ("filter", "houses")]).await);
    assert!(listed.len() == 1 && listed[0][0] == "#verona%net" && listed[0][1] == "2", "{listed:?}");
    juliet.heard().await?;
    run("reconnect-user", &[("session", who)]).await?;
    assert!(juliet.line(":romeo!").await?.contains(" QUIT "));
    assert!(juliet.line(":romeo!").await?.contains(" JOIN "), "and back");
    net.host.emitted("the room again", |e| e.event == Event::Room(RoomChange::Joined)).await;
    session.command("reconnect", network.clone(), Vec::new()).await?;
    assert!(juliet.line(":romeo!").await?.contains(" QUIT "));
    assert!(juliet.line(":romeo!").await?.contains(" JOIN "), "and back");
    net.host.emitted("the room again", |e| e.event == Event::Room(RoomChange::Joined)).await;
    session.command("disconnect-from-irc-server", network, form(&[("quit-message", "good night")])).await?;
    let words = juliet.line(":romeo!").await?;
    assert!(words.contains(" QUIT ") && words.contains("good night"), "{words}");
    session.stop().await?;
    Ok(())
}

#[tokio::test]
async fn users_and_administrators_command_connections_on_ngircd() -> Result<()> {
    let server = Ngircd::start().await?;
    commands(server.plain().number()).await
}

#[tokio::test]
async fn users_and_administrators_command_connections_on_inspircd() -> Result<()> {
    let server = Inspircd::start().await?;
    commands(server.plain().number()).await
}
