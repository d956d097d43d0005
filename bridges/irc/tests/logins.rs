//! Logins on a real network: InspIRCd with Atheme's services; SCRAM, which these do not have, on a server with somebody else's SCRAM.

#[path = "support/mod.rs"]
mod support;

use anyhow::Result;
use isthmus_bridge::suite::Session;
use isthmus_bridge::{Event, Failure, Inbound, Intent, LinkState, Note, Step, Text, Values};
use isthmus_testkit::atheme::Atheme;
use isthmus_testkit::inspircd::Inspircd;
use isthmus_testkit::irc::Person;
use isthmus_testkit::scram::{ScramIrcd, Way};

use self::support::{Net, done, join};

/// Waits until WHOIS says that they have logged in.
async fn logged_in(net: &Net, session: &Session, nick: &str, account: &str) {
    let (parts, end) = session.ask(isthmus_bridge::Query::About(net.address(&format!("{nick}%net")))).await;
    let known = |p: &isthmus_bridge::query::Part| matches!(p, isthmus_bridge::query::Part::Facts(f) if f.get("account") == Some(account));
    assert!(end.is_ok() && parts.iter().any(known), "{parts:?} {end:?}");
}

#[tokio::test]
async fn a_password_logs_in_by_sasl_and_a_wrong_one_stops_before_the_rooms() -> Result<()> {
    let server = Inspircd::start().await?;
    let services = Atheme::start(&server).await?;
    services.register("capulet", "sesame", None).await?;
    let port = server.plain().number();
    let net = Net::at(port, false);
    let room = net.address("#verona%net");
    let session = Session::start(&net.bridge, &net.host, "romeo@example.org", &room);
    session.set(&net.address("net"), "sasl_account", Some("capulet")).await;
    session.set(&net.address("net"), "sasl_password", Some("wrong")).await;
    assert_eq!(done(&session, room.clone(), join("romeo")).await, Err(Failure::BadCredentials));
    net.host.reported("the login", |l| matches!(l, LinkState::NeedsLogin { .. })).await;
    session.set(&net.address("net"), "sasl_password", Some("sesame")).await;
    assert_eq!(done(&session, room, join("romeo")).await, Ok(()));
    logged_in(&net, &session, "romeo", "capulet").await;
    session.stop().await?;
    Ok(())
}

#[tokio::test]
async fn an_own_certificate_logs_in_by_sasl_external() -> Result<()> {
    let server = Inspircd::start().await?;
    let services = Atheme::start(&server).await?;
    let net = Net::at(server.tls().number(), true);
    let room = net.address("#verona%net");
    let session = Session::start(&net.bridge, &net.host, "romeo@example.org", &room);
    let step =
        session.command("client-certificate", net.address("net"), vec![Values::new().with("what", "make")]).await;
    let Ok(Step::Done { notes, .. }) = step else { panic!("{step:?}") };
    let Note::Info(Text::Key { args, .. }) = &notes[0] else { panic!("{notes:?}") };
    services.register("montague", "sesame", Some(&args[0].1)).await?;
    session.set(&net.address("net"), "sasl_mechanism", Some("EXTERNAL")).await;
    session.set(&net.address("net"), "sasl_account", Some("montague")).await;
    assert_eq!(done(&session, room, join("romeo")).await, Ok(()));
    logged_in(&net, &session, "romeo", "montague").await;
    session.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_line_for_nickserv_logs_in_before_a_room_for_the_registered() -> Result<()> {
    let server = Inspircd::start().await?;
    let services = Atheme::start(&server).await?;
    services.register("capulet", "sesame", None).await?;
    let mut owner = Person::enter(server.plain().number(), "Juliet").await?;
    owner.join("#balcony").await?;
    owner.send("MODE #balcony +R").await?;
    owner.line(" MODE #balcony ").await?;
    let net = Net::at(server.plain().number(), false);
    let room = net.address("#balcony%net");
    let session = Session::start(&net.bridge, &net.host, "romeo@example.org", &room);
    assert_eq!(done(&session, room.clone(), join("romeo")).await, Err(Failure::NotRegistered));
    session.set(&net.address("net"), "after_connect_commands", Some("PRIVMSG NickServ :IDENTIFY capulet sesame")).await;
    // A new connection says it, and rooms wait for the answer.
    session.send(net.address("net"), Intent::Raw { line: "QUIT".to_owned() });
    net.host.reported("the end", |l| matches!(l, LinkState::Down { .. })).await;
    assert_eq!(done(&session, room, join("romeo")).await, Ok(()));
    let told = |e: &Inbound| matches!(&e.event, Event::Message(m) if m.body.contains("You are now identified"));
    net.host.emitted("NickServ's answer", told).await;
    session.stop().await?;
    Ok(())
}

/// A session with this password on a server that knows `sesame`; what became of the join, and what the server says of the login.
async fn by_scram(way: Way, password: &str) -> Result<(Result<(), Failure>, String)> {
    let mut server = ScramIrcd::start("capulet", "sesame", way).await?;
    let net = Net::at(server.port(), false);
    let room = net.address("#verona%net");
    let session = Session::start(&net.bridge, &net.host, "romeo@example.org", &room);
    session.set(&net.address("net"), "sasl_account", Some("capulet")).await;
    session.set(&net.address("net"), "sasl_password", Some(password)).await;
    let joined = done(&session, room, join("romeo")).await;
    let said = server.says().await?;
    session.stop().await?;
    Ok((joined, said))
}

/// The server offers the variant with channel binding too: we choose the one without it, and say so (`n,,`).
#[tokio::test]
async fn scram_logs_in_where_both_sides_know_the_password() -> Result<()> {
    assert_eq!(by_scram(Way::Honest, "sesame").await?, (Ok(()), "in romeo".to_owned()));
    let (joined, said) = by_scram(Way::Honest, "wrong").await?;
    assert_eq!(joined, Err(Failure::BadCredentials));
    assert!(said.starts_with("out romeo"), "{said}");
    Ok(())
}

/// Whoever cannot prove that they know the password is not the server, whatever they say.
#[tokio::test]
async fn a_server_that_does_not_prove_itself_gets_no_session() -> Result<()> {
    assert_eq!(by_scram(Way::Liar, "sesame").await?.0, Err(Failure::BadCredentials));
    assert_eq!(by_scram(Way::Mute, "sesame").await?.0, Err(Failure::BadCredentials));
    Ok(())
}
