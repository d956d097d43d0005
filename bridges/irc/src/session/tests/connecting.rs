//! Ports, registration, logins, nicks, loss and return.

use std::time::Duration;

use isthmus_bridge::LinkState;
use tokio::time::timeout;

use super::*;

#[tokio::test]
async fn a_refused_port_is_told_and_the_join_fails() {
    // Ports at which nobody listens, and nobody else can.
    let sockets = [0; 2].map(|_| {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        socket
    });
    let [first, second] = sockets.each_ref().map(|s| s.local_addr().expect("bound").port().to_string());
    let net = Net::at(1);
    net.host.set_default("ports", &format!("{first}, {second}"));
    let session = net.session();
    let key = session.send(net.address("#c%net"), join("romeo"));
    assert_eq!(failure(&net.host, &key).await, Some(Failure::Unreachable));
    net.host.reported("the end", |l| matches!(l, LinkState::Down { retry_at: None, .. })).await;
    // Each attempt, and what became of it.
    let told: Vec<Text> = net
        .host
        .emits()
        .into_iter()
        .filter_map(|e| match e.event {
            Event::Notice { text, .. } => Some(text),
            _ => None,
        })
        .collect();
    let attempt = |port: &str| Text::key("connecting-plain").with("host", "127.0.0.1").with("port", port);
    let refusal = Text::key("connect-failed").with("host", "127.0.0.1").with("why", "Connection refused");
    assert_eq!(told, [attempt(&first), refusal.clone(), attempt(&second), refusal]);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_private_address_is_refused_unless_it_is_allowed() {
    // By a name, too: what it resolves to counts.
    for address in ["127.0.0.1", "localhost"] {
        let stage = Stage::open().await;
        let net = Net::with(stage.port, json!({}));
        net.host.set_default("address", address);
        let session = net.session();
        let key = session.send(net.address("#c%net"), join("romeo"));
        let error = error(&net.host, &key).await.expect("refused");
        assert_eq!(error.failure, Failure::Forbidden, "{address}: {error}");
        let Text::Key { name, args, .. } = &error.text else { panic!("{error}") };
        let found = args.iter().find(|(key, _)| key == "address").map(|(_, value)| value.as_str());
        assert!(name == "private-address" && found.is_some_and(|f| f == "127.0.0.1" || f == "::1"), "{args:?}");
        let connected = tokio::time::timeout(Duration::ZERO, stage.accept()).await;
        assert!(connected.is_err(), "nobody has connected");
        session.stop().await.expect("stops");
        let net = Net::at(stage.port);
        net.host.set_default("address", address);
        let session = net.session();
        session.send(net.address("#c%net"), join("romeo"));
        stage.accept().await.expect("CAP LS").await;
        session.stop().await.expect("stops");
    }
}

#[tokio::test]
async fn an_unknown_host_is_no_such_recipient() {
    let net = Net::at(1);
    net.host.set_default("address", "no-such-host.invalid");
    let session = net.session();
    let key = session.send(net.address("#c%net"), join("romeo"));
    assert_eq!(failure(&net.host, &key).await, Some(Failure::NoSuchRecipient));
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_nick_in_use_fails_the_join_and_closes() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let session = net.session();
    let key = session.send(net.address("#c%net"), join("romeo"));
    let mut client = stage.accept().await;
    client.expect("USER ").await;
    client.send(":irc.test 433 * romeo :Nickname is already in use.").await;
    assert_eq!(failure(&net.host, &key).await, Some(Failure::Conflict));
    client.expect("QUIT").await;
    client.ended().await;
    // Whoever tries again under another nick gets that one.
    session.send(net.address("#c%net"), join("juliet"));
    let mut client = stage.accept().await;
    assert_eq!(client.expect("NICK ").await, "NICK juliet");
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_fallback_nick_is_taken_and_the_wished_one_regained() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    net.host.set_default("fallback_nicks", "montague");
    let session = net.session();
    let key = session.send(net.address("#c%net"), join("romeo"));
    let mut client = stage.accept().await;
    client.expect("USER ").await;
    client.send(":irc.test 433 * romeo :Nickname is already in use.").await;
    client.expect("NICK montague").await;
    client.nick = "montague".to_owned();
    for line in ["CAP * LS :", "001 montague :Welcome", "005 montague MONITOR=100 :are supported", "376 montague :End"]
    {
        client.send(&format!(":irc.test {line}")).await;
    }
    client.expect("MONITOR + romeo").await;
    client.admit("#c", "@montague romeo").await;
    assert_eq!(failure(&net.host, &key).await, None);
    let view = net.host.host().room(session.of(), &"#c%net".into());
    assert_eq!(view.lock().expect("nobody panicked").nick(), "montague");
    client.send(":romeo!x@y QUIT :bye").await;
    client.expect("NICK romeo").await;
    client.send(":montague!u@host.test NICK romeo").await;
    net.host.emitted("the nick", |e| e.event == Event::Room(RoomChange::Renamed { nick: "romeo".to_owned() })).await;
    session.stop().await.expect("stops");
}

/// Its own connection of before is there still, on a server that takes nine letters.
#[tokio::test]
async fn a_nick_as_long_as_nicks_may_be_comes_back_beside_its_ghost() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let session = net.session();
    session.send(net.address("#c%net"), join("benvolio1"));
    let mut client = stage.welcome("PREFIX=(ov)@+ NICKLEN=9").await;
    client.admit("#c", "benvolio1").await;
    client.expect("MODE #c").await;
    // All that it may try is taken: it stays away for a while, and does not give its rooms up.
    for free in [None, Some("benvolio_")] {
        client.reset();
        client = stage.accept().await;
        let mut tried = Vec::new();
        loop {
            let Some(line) = client.line().await else { break };
            let Some(nick) = line.strip_prefix("NICK ") else {
                if line.starts_with("QUIT") || line.starts_with("CAP END") { break } else { continue }
            };
            tried.push(nick.to_owned());
            let answer = match nick {
                nick if nick.len() > 9 => format!("432 * {nick} :Nickname too long"),
                nick if Some(nick) == free => {
                    client.nick = nick.to_owned();
                    client.send(":irc.test CAP * LS :").await;
                    continue;
                }
                nick => format!("433 * {nick} :Nickname is already in use"),
            };
            client.send(&format!(":irc.test {answer}")).await;
        }
        assert!(tried.iter().any(|nick| nick == "benvolio_"), "{tried:?}");
        if free.is_some() {
            for line in ["001 benvolio_ :Welcome", "376 benvolio_ :End"] {
                client.send(&format!(":irc.test {line}")).await;
            }
            client.expect("JOIN #c").await;
        }
    }
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_login_comes_before_the_rooms_and_its_failure_stops_them() {
    for (answer, expected) in
        [("903 romeo :SASL authentication successful", None), ("904 romeo :Invalid", Some(Failure::BadCredentials))]
    {
        let stage = Stage::open().await;
        let net = Net::at(stage.port);
        net.host.set_default("sasl_account", "jilles");
        net.host.set_default("sasl_password", "sesame");
        let session = net.session();
        let key = session.send(net.address("#c%net"), join("romeo"));
        let mut client = stage.accept().await;
        client.expect("USER ").await;
        client.nick = "romeo".to_owned();
        client.send(":irc.test CAP * LS :sasl=PLAIN multi-prefix").await;
        client.expect("CAP REQ :multi-prefix sasl").await;
        client.send(":irc.test CAP * ACK :multi-prefix sasl").await;
        client.expect("AUTHENTICATE PLAIN").await;
        client.send("AUTHENTICATE +").await;
        client.expect("AUTHENTICATE amlsbGVzAGppbGxlcwBzZXNhbWU=").await;
        client.send(&format!(":irc.test {answer}")).await;
        if expected.is_none() {
            client.expect("CAP END").await;
            client.send(":irc.test 001 romeo :Welcome").await;
            client.send(":irc.test 422 romeo :no MOTD").await;
            client.admit("#c", "romeo").await;
        } else {
            net.host.reported("the login", |l| matches!(l, LinkState::NeedsLogin { .. })).await;
            client.ended().await;
            assert!(!client.seen.iter().any(|l| l.starts_with("JOIN")), "{:?}", client.seen);
        }
        assert_eq!(failure(&net.host, &key).await, expected);
        session.stop().await.expect("stops");
    }
}

#[tokio::test]
async fn a_server_that_knows_no_logins_is_not_entered_without_one() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    net.host.set_default("sasl_account", "jilles");
    net.host.set_default("sasl_password", "sesame");
    let session = net.session();
    let key = session.send(net.address("#c%net"), join("romeo"));
    let mut client = stage.accept().await;
    client.expect("USER ").await;
    // It ignores CAP.
    client.send(":irc.test 001 romeo :Welcome").await;
    client.send(":irc.test 422 romeo :no MOTD").await;
    assert_eq!(failure(&net.host, &key).await, Some(Failure::BadCredentials));
    client.ended().await;
    assert!(!client.seen.iter().any(|l| l.starts_with("JOIN")), "{:?}", client.seen);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn rooms_wait_for_services_that_are_away_after_a_break() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    net.host.set_default("sasl_account", "jilles");
    net.host.set_default("sasl_password", "sesame");
    let login = async || {
        let mut client = stage.accept().await;
        client.expect("USER ").await;
        client.nick = "romeo".to_owned();
        client.send(":irc.test CAP * LS :sasl=PLAIN").await;
        client.expect("CAP REQ").await;
        client.send(":irc.test CAP * ACK :sasl").await;
        client.expect("AUTHENTICATE PLAIN").await;
        client.send("AUTHENTICATE +").await;
        client.expect("AUTHENTICATE ").await;
        client.send(":irc.test 903 romeo :SASL authentication successful").await;
        client.expect("CAP END").await;
        client.send(":irc.test 001 romeo :Welcome").await;
        client.send(":irc.test 422 romeo :no MOTD").await;
        client.admit("#c", "romeo").await;
        net.host.emitted("the room", |e| e.event == Event::Room(RoomChange::Joined)).await;
        client
    };
    let session = net.session();
    session.send(net.address("#c%net"), join("romeo"));
    login().await.reset();
    let mut client = stage.accept().await;
    client.expect("USER ").await;
    client.send(":irc.test CAP * LS :multi-prefix").await;
    client.expect("CAP REQ").await;
    client.send(":irc.test CAP * ACK :multi-prefix").await;
    client.ended().await;
    assert!(!client.seen.iter().any(|l| l.starts_with("JOIN")), "{:?}", client.seen);
    login().await;
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_broken_connection_comes_back_with_its_rooms_and_is_told_once() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, client) = net.inside(&stage, "", "romeo @juliet").await;
    client.reset();
    net.host.emitted("the loss", |e| matches!(e.event, Event::Room(RoomChange::Lost { coming_back: true, .. }))).await;
    let key = session.send(net.address("#c%net"), group("anybody?"));
    assert_eq!(failure(&net.host, &key).await, Some(Failure::Unreachable), "the room is held");
    // The first attempt is thrown out, the second one holds.
    drop(stage.accept().await);
    let mut client = stage.welcome("").await;
    client.admit("#c", "romeo @juliet mercutio").await;
    net.host.emitted("the return", |e| e.event == Event::Room(RoomChange::Joined)).await;
    let lost = net
        .host
        .emits()
        .into_iter()
        .filter(|e| matches!(&e.event, Event::Notice { text, .. } if key_is("link-lost")(text) || key_is("refused-by-server")(text)));
    assert_eq!(lost.count(), 1, "one message, not one for each attempt");
    let view = net.host.host().room(session.of(), &"#c%net".into());
    assert_eq!(view.lock().expect("nobody panicked").members().len(), 3);
    session.stop().await.expect("stops");
    client.expect("QUIT").await;
}

#[tokio::test]
async fn a_ban_from_the_network_waits_long_before_the_next_try() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo").await;
    client.send("ERROR :Closing Link: romeo[host] (K-Lined)").await;
    drop(client);
    let state = net.host.reported("the end", |l| matches!(l, LinkState::Down { .. })).await;
    let LinkState::Down { reason, retry_at: Some(at) } = state else { panic!("{state:?}") };
    assert!(reason.to_string().contains("K-Lined"), "{reason}");
    assert!(at.duration_since(net.host.time()).expect("later") > std::time::Duration::from_secs(500));
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn services_are_spoken_to_before_the_rooms_are_entered() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    net.host.set_default("after_connect_commands", "PRIVMSG NickServ :IDENTIFY pw\nMODE romeo +x");
    let session = net.session();
    session.send(net.address("#c%net"), join("romeo"));
    let mut client = stage.welcome("").await;
    client.expect("PRIVMSG NickServ :IDENTIFY pw").await;
    client.expect("MODE romeo +x").await;
    client.send(":NickServ!s@services NOTICE romeo :You are now identified.").await;
    client.admit("#c", "romeo").await;
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_greeting_of_the_services_is_no_answer_to_what_they_were_told() {
    let answers =
        ["900 romeo romeo!u@h romeo :You are now logged in", "MODE romeo :+r", "NOTICE romeo :You are now identified."];
    for answer in answers {
        let stage = Stage::open().await;
        let net = Net::at(stage.port);
        net.host.set_default("after_connect_commands", "PRIVMSG NickServ :IDENTIFY pw");
        let session = net.session();
        session.send(net.address("#c%net"), join("romeo"));
        let mut client = stage.welcome("").await;
        client.send(":NickServ!s@services NOTICE romeo :This nickname is registered.").await;
        client.send("PING :sync").await;
        client.expect("PONG :sync").await;
        assert!(!client.seen.iter().any(|l| l.starts_with("JOIN")), "{:?}", client.seen);
        if !client.seen.iter().any(|l| l.starts_with("PING")) {
            client.expect("PING isthmus-commands").await;
        }
        assert!(client.seen.iter().any(|l| l == "PRIVMSG NickServ :IDENTIFY pw"), "{:?}", client.seen);
        let from = if answer.starts_with("900") { "irc.test" } else { "NickServ!s@services" };
        if answer.starts_with("NOTICE") {
            client.send(":irc.test PONG irc.test :isthmus-commands").await;
        }
        client.send(&format!(":{from} {answer}")).await;
        client.admit("#c", "romeo").await;
        session.stop().await.expect("stops");
    }
}

#[tokio::test]
async fn persistent_rooms_are_entered_again_by_the_next_session() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    net.host.set_default("persistent", "true");
    let (session, mut client) = net.inside(&stage, "", "romeo").await;
    let left = session.deliver(net.address("#c%net"), Intent::Leave { status: None }).await;
    assert_eq!(left[0].result, Ok(()), "clients may leave; the nick stays");
    client.expect("AWAY :No client").await;
    session.stop().await.expect("stops");
    client.expect("QUIT").await;
    assert!(!client.seen.iter().any(|l| l.starts_with("PART")), "{:?}", client.seen);
    let kept = net.bridge.kept(&net.host.host()).await.expect("the store is there");
    assert_eq!(kept, [isthmus_bridge::SessionOf::new(USER.into(), "net".into())]);
    let again = net.session();
    let mut client = stage.welcome("").await;
    client.expect("AWAY :No client").await;
    client.admit("#c", "romeo").await;
    net.host.emitted("the return", |e| e.event == Event::Room(RoomChange::Joined)).await;
    again.send(net.address("#c%net"), join("romeo"));
    assert_eq!(client.expect("AWAY").await, "AWAY", "somebody is there again");
    again.stop().await.expect("stops");
}

#[tokio::test]
async fn the_last_room_closes_the_connection() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo").await;
    let key = session.send(net.address("#c%net"), Intent::Leave { status: Some("so long".to_owned()) });
    assert_eq!(client.expect("PART").await, "PART #c :so long");
    client.send(":romeo!u@host.test PART #c :so long").await;
    assert_eq!(failure(&net.host, &key).await, None);
    client.expect("QUIT").await;
    client.ended().await;
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_strict_server_is_spoken_to_by_tls_only() {
    let (stage, secure) = (Stage::open().await, Stage::open().await);
    let net = Net::at(stage.port);
    let session = net.session();
    let key = session.send(net.address("#c%net"), join("romeo"));
    let mut client = stage.accept().await;
    client.expect("CAP LS 302").await;
    client.send(&format!(":irc.test CAP * LS :sts=port={},duration=100 multi-prefix", secure.port)).await;
    client.expect("QUIT").await;
    let mut hello = secure.accept().await;
    hello.raw(b"no TLS here\r\n").await;
    drop(hello);
    let error = error(&net.host, &key).await.expect("refused");
    assert!(key_is("tls-failed")(&error.text), "{error}");
    session.stop().await.expect("stops");
    // Words in clear, whoever put them there, bind nobody for longer than this attempt.
    let kept = net.host.host().list("spoke-tls", None).await.expect("the store is there");
    assert!(kept.is_empty(), "{kept:?}");
    let session = net.session();
    session.send(net.address("#c%net"), join("romeo"));
    let mut client = stage.welcome("").await;
    client.admit("#c", "romeo").await;
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn webirc_comes_first_and_says_the_same_each_time() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    net.host.set_default("webirc_password", "hush");
    let mut told = Vec::new();
    for _ in 0..2 {
        let session = net.session();
        session.send(net.address("#c%net"), join("romeo"));
        let mut client = stage.accept().await;
        told.push(client.line().await.expect("a line"));
        session.stop().await.expect("stops");
    }
    assert!(
        told[0].starts_with("WEBIRC hush isthmus ") && told[0].contains(".example.org fd69:7368:6d75:7300:"),
        "{told:?}"
    );
    assert_eq!(told[0], told[1]);
}

#[tokio::test]
async fn a_certificate_is_kept_until_it_is_taken_away() {
    let net = Net::at(1);
    let session = net.session();
    let what = |what: &str| vec![isthmus_bridge::Values::new().with("what", what)];
    let run = async |values| match session.command("client-certificate", net.address("net"), values).await {
        Ok(isthmus_bridge::Step::Done { notes, .. }) => notes,
        Ok(isthmus_bridge::Step::Ask { form, .. }) => {
            vec![isthmus_bridge::Note::Info(form.instructions.expect("how things stand"))]
        }
        other => panic!("{other:?}"),
    };
    let none = run(Vec::new()).await;
    let made = run(what("make")).await;
    assert_eq!(run(Vec::new()).await, made, "the same fingerprint");
    assert_ne!(made, none);
    run(what("remove")).await;
    assert_eq!(run(Vec::new()).await, none);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_question_of_the_connection_before_is_not_answered_by_the_next() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "@romeo").await;
    let key = session.send(net.address("#c%net"), Intent::SetSubject { subject: "The balcony".to_owned() });
    client.expect("TOPIC #c").await;
    session.command("reconnect", net.address("net"), Vec::new()).await.expect("it works");
    assert_eq!(failure(&net.host, &key).await, Some(Failure::Unreachable));
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn what_a_server_of_ones_own_says_counts_for_nobody_else() {
    let (stage, own) = (Stage::open().await, Stage::open().await);
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "extended-join", "romeo juliet").await;
    client.send(":juliet!j@capulet.test JOIN #c capulet :Juliet").await;
    let other = Session::start(&net.bridge, &net.host, "tybalt@example.org", &net.address("net"));
    other.set(&net.address("net"), "ports", Some(&own.port.to_string())).await;
    other.send(net.address("#c%net"), join("tybalt"));
    let mut evil = own.accept().await;
    evil.register("extended-join", "PREFIX=(ov)@+").await;
    evil.admit("#c", "tybalt").await;
    let joined = |e: &Inbound| e.event == Event::Room(RoomChange::Joined) && e.to.as_str() == "tybalt@example.org";
    net.host.emitted("the other's join", joined).await;
    evil.send(":juliet!evil@evil.test JOIN #c admin :Juliet").await;
    let entered = |e: &Inbound| e.event == Event::Room(RoomChange::Entered) && e.to.as_str() == "tybalt@example.org";
    net.host.emitted("her double", entered).await;
    let person = |of: &isthmus_bridge::SessionOf| {
        let view = net.host.host().room(of, &"#c%net".into());
        let view = view.lock().expect("nobody panicked");
        let juliet = view.named("juliet").expect("inside");
        (juliet.person.host.as_deref().map(str::to_owned), juliet.person.account.as_deref().map(str::to_owned))
    };
    let of = |host: &str, account: &str| (Some(host.to_owned()), Some(account.to_owned()));
    // Somebody who learns of her anew learns of the same person.
    client.send(":juliet!j@capulet.test PART #c").await;
    client.send(":juliet!j@capulet.test JOIN #c capulet :Juliet").await;
    client.send("PING :sync").await;
    client.expect("PONG :sync").await;
    evil.send(":juliet!evil@evil.test CHGHOST more evil.test").await;
    evil.send("PING :sync").await;
    evil.expect("PONG :sync").await;
    assert_eq!(person(session.of()), of("j@capulet.test", "capulet"));
    assert_eq!(person(other.of()), of("more@evil.test", "admin"));
    // Who enters now asks the network's own people.
    session.send(net.address("#d%net"), join("romeo"));
    client.admit("#d", "romeo juliet").await;
    client.expect("MODE #d").await;
    let view = net.host.host().room(session.of(), &"#d%net".into());
    let host = view.lock().expect("nobody panicked").named("juliet").and_then(|m| m.person.host.clone());
    assert_eq!(host.as_deref(), Some("j@capulet.test"));
    other.stop().await.expect("stops");
    session.stop().await.expect("stops");
}

/// A server that somebody has chosen for themself says that it is spoken to by TLS alone: that is no reason to speak so to the network's.
#[tokio::test]
async fn a_policy_of_a_server_of_ones_own_locks_nobody_else_out() {
    let (stage, own, secure, closed) =
        (Stage::open().await, Stage::open().await, Stage::open().await, Stage::open().await);
    let net = Net::at(stage.port);
    net.host.set_default("tls_ports", &closed.port.to_string());
    drop(closed);
    let tybalt = Session::start(&net.bridge, &net.host, "tybalt@example.org", &net.address("net"));
    tybalt.set(&net.address("net"), "tls_ports", Some("")).await;
    tybalt.set(&net.address("net"), "ports", Some(&own.port.to_string())).await;
    let key = tybalt.send(net.address("#c%net"), join("tybalt"));
    let mut evil = own.accept().await;
    evil.expect("CAP LS 302").await;
    evil.send(&format!(":irc.test CAP * LS :sts=port={},duration=100", secure.port)).await;
    evil.expect("QUIT").await;
    drop(secure.accept().await);
    assert_eq!(failure(&net.host, &key).await, Some(Failure::Unreachable));
    // Somebody else still comes to the network's server, in clear as before.
    let session = net.session();
    let joined = session.send(net.address("#c%net"), join("romeo"));
    let mut client = stage.welcome("").await;
    client.admit("#c", "romeo").await;
    assert_eq!(failure(&net.host, &joined).await, None);
    session.stop().await.expect("stops");
    tybalt.stop().await.expect("stops");
    // It never spoke TLS: what it has said in clear is kept of nobody.
    let kept = net.host.host().list("spoke-tls", None).await.expect("the store is there");
    assert!(kept.is_empty(), "{kept:?}");
    // Back on the network's server, it is as ever for him, too.
    let tybalt = Session::start(&net.bridge, &net.host, "tybalt@example.org", &net.address("net"));
    tybalt.set(&net.address("net"), "tls_ports", None).await;
    tybalt.set(&net.address("net"), "ports", None).await;
    let joined = tybalt.send(net.address("#c%net"), join("tybalt"));
    let mut client = stage.welcome("").await;
    client.admit("#c", "tybalt").await;
    assert_eq!(failure(&net.host, &joined).await, None);
    tybalt.stop().await.expect("stops");
}

#[tokio::test]
async fn a_server_has_time_to_hear_a_farewell_until_the_user_is_back() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo").await;
    let values = isthmus_bridge::Values::new().with("quit-message", "good night");
    session.command("disconnect-from-irc-server", net.address("net"), vec![values]).await.expect("it works");
    net.host.reported("the end", |l| matches!(l, LinkState::Down { .. })).await;
    assert_eq!(client.expect("QUIT").await, "QUIT :good night");
    // It is about to read it, and would forget it if we were gone.
    let gone = timeout(Duration::from_millis(300), client.line()).await;
    assert!(gone.is_err(), "{gone:?}");
    // Who comes back needs their nick.
    session.send(net.address("#c%net"), join("romeo"));
    client.ended().await;
    let mut client = stage.welcome("").await;
    client.admit("#c", "romeo").await;
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn commands_disconnect_and_say_how_things_stand() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo").await;
    let step = session.command("get-irc-connection-info", net.address("net"), Vec::new()).await.expect("it works");
    let isthmus_bridge::Step::Done { table: Some(table), .. } = step else { panic!("{step:?}") };
    assert_eq!(table.rows, [["#c%net", ""]]);
    let values = isthmus_bridge::Values::new().with("quit-message", "bye\r\nJOIN #x");
    session.command("disconnect-from-irc-server", net.address("net"), vec![values]).await.expect("it works");
    assert_eq!(client.expect("QUIT").await, "QUIT :bye  JOIN #x");
    net.host.emitted("the end", |e| matches!(e.event, Event::Room(RoomChange::Lost { coming_back: false, .. }))).await;
    session.stop().await.expect("stops");
}

/// While somebody else has the nick, the login is still the user's own.
#[tokio::test]
async fn the_account_is_the_nick_that_the_user_wants_not_the_one_that_is_free() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    net.host.set_default("sasl_password", "sesame");
    net.host.set_default("fallback_nicks", "romeo_");
    let session = net.session();
    session.send(net.address("#c%net"), join("romeo"));
    let mut client = stage.accept().await;
    client.expect("USER ").await;
    client.send(":irc.test 433 * romeo :Nickname is already in use.").await;
    client.expect("NICK romeo_").await;
    client.send(":irc.test CAP * LS :sasl=PLAIN").await;
    client.expect("CAP REQ :sasl").await;
    client.send(":irc.test CAP * ACK :sasl").await;
    client.expect("AUTHENTICATE PLAIN").await;
    client.send("AUTHENTICATE +").await;
    assert_eq!(client.expect("AUTHENTICATE ").await, "AUTHENTICATE cm9tZW8Acm9tZW8Ac2VzYW1l");
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn however_many_lines_are_to_be_sent_on_connecting_all_of_them_are() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let lines: Vec<String> = (0..45).map(|n| format!("PRIVMSG NickServ :HELP {n}")).collect();
    net.host.set_default("after_connect_commands", &lines.join("\n"));
    let session = net.session();
    session.send(net.address("#c%net"), join("romeo"));
    let mut client = stage.welcome("").await;
    for line in &lines {
        assert_eq!(&client.expect("PRIVMSG").await, line);
    }
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn where_nobody_says_otherwise_two_tls_ports_are_tried_and_then_the_plain_one() {
    let own = isthmus_testkit::ports::own_address(6667).expect("an address").expect("its port is free");
    let stages = [Stage::at(own, 6697).await, Stage::at(own, 6670).await, Stage::at(own, 6667).await];
    let net = Net::by_name(json!({"allow_private_networks": true}));
    net.host.set_default("address", &own.to_string());
    let session = net.session();
    session.send(net.address("#c%net"), join("romeo"));
    for stage in &stages[..2] {
        drop(stage.accept().await); // who does not speak TLS
    }
    let mut client = stages[2].accept().await;
    client.expect("CAP LS 302").await;
    let tried = |e: Inbound| match e.event {
        Event::Notice { text: Text::Key { name, args }, .. } if name.starts_with("connecting-") => {
            let port = args.into_iter().find(|(key, _)| key == "port").map(|(_, port)| port);
            Some((name.to_string(), port.unwrap_or_default()))
        }
        _ => None,
    };
    let tried: Vec<(String, String)> = net.host.emits().into_iter().filter_map(tried).collect();
    let expected = [("connecting-tls", "6697"), ("connecting-tls", "6670"), ("connecting-plain", "6667")];
    assert_eq!(tried, expected.map(|(name, port)| (name.to_owned(), port.to_owned())));
    session.stop().await.expect("stops");
}

/// Linux tells of it: of a connection on which nothing is on its way, timer 2 is the one of keepalive (`proc_net_tcp`).
#[tokio::test]
async fn the_system_looks_whether_the_other_end_is_there_too() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, _client) = net.inside(&stage, "", "romeo").await;
    let peer = format!("0100007F:{:04X}", stage.port);
    let timer = || {
        let all = std::fs::read_to_string("/proc/net/tcp").expect("a table of connections");
        let mut rows = all.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
        let row = rows.find(|row| row.get(2) == Some(&peer.as_str())).expect("our connection");
        row[5].to_owned()
    };
    let kept = timeout(Duration::from_secs(20), async {
        // Until all is acknowledged, the timer is another one.
        while !timer().starts_with("02:") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(kept.await.is_ok(), "{}", timer());
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_network_without_an_address_is_the_host_of_its_name() {
    let stage = Stage::open().await;
    let net = Net::by_name(json!({"allow_private_networks": true}));
    net.host.set_default("tls_ports", "");
    net.host.set_default("ports", &stage.port.to_string());
    let session = Session::start(&net.bridge, &net.host, USER, &net.address("localhost"));
    let key = session.send(net.address("#c%localhost"), join("romeo"));
    let mut client = stage.welcome("PREFIX=(ov)@+").await;
    client.admit("#c", "romeo").await;
    assert_eq!(failure(&net.host, &key).await, None);
    let from = net.address("#c%localhost");
    net.host.emitted("the room", |e| e.from == from && e.event == Event::Room(RoomChange::Joined)).await;
    session.stop().await.expect("stops");
}
