//! Secrets: to whom they are told, and that they never go in clear unless somebody chose that.

use super::*;

/// What the administrator has set for the network's server.
const THEIRS: [(&str, &str); 5] = [
    ("webirc_password", "hush"),
    ("pass", "open"),
    ("sasl_account", "gateway"),
    ("sasl_password", "sesame"),
    ("after_connect_commands", "PRIVMSG NickServ :IDENTIFY hunter2"),
];

#[tokio::test]
async fn the_administrators_secrets_go_to_no_server_of_a_users_choice() {
    let (stage, own) = (Stage::open().await, Stage::open().await);
    let net = Net::at(stage.port);
    for (key, value) in THEIRS {
        net.host.set_default(key, value);
    }
    let tybalt = Session::start(&net.bridge, &net.host, "tybalt@example.org", &net.address("net"));
    tybalt.set(&net.address("net"), "ports", Some(&own.port.to_string())).await;
    // What is his own he may tell whom he likes.
    tybalt.set(&net.address("net"), "pass", Some("mine")).await;
    tybalt.send(net.address("#c%net"), join("tybalt"));
    let mut evil = own.accept().await;
    let mut heard = vec![evil.line().await.expect("a line")];
    while !heard.last().is_some_and(|line| line.starts_with("USER ")) {
        heard.push(evil.line().await.expect("a line"));
    }
    evil.send(":irc.test CAP * LS :sasl=PLAIN multi-prefix").await;
    heard.push(evil.expect("CAP REQ ").await);
    evil.send(":irc.test CAP * ACK :multi-prefix").await;
    heard.push(evil.expect("CAP END").await);
    for line in ["001 tybalt :Welcome", "376 tybalt :End"] {
        evil.send(&format!(":irc.test {line}")).await;
    }
    heard.push(evil.expect("JOIN ").await);
    heard.append(&mut evil.seen);
    for secret in ["hush", "open", "sesame", "hunter2", "sasl", "AUTHENTICATE"] {
        assert!(heard.iter().all(|line| !line.contains(secret)), "{secret}: {heard:?}");
    }
    assert!(heard.iter().any(|line| line == "PASS mine"), "{heard:?}");
    tybalt.stop().await.expect("stops");
    // The network's own hears all of it.
    let session = net.session();
    session.send(net.address("#c%net"), join("romeo"));
    let mut client = stage.accept().await;
    client.expect("WEBIRC hush ").await;
    client.expect("PASS open").await;
    client.send(":irc.test CAP * LS :sasl=PLAIN").await;
    client.expect("CAP REQ :sasl").await;
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn no_secret_of_any_kind_goes_over_a_plain_port_that_nobody_chose() {
    let secrets = [
        ("webirc_password", "hush"),
        ("pass", "open"),
        ("sasl_password", "sesame"),
        ("after_connect_commands", "PRIVMSG NickServ :IDENTIFY hunter2"),
        ("after_connect_commands", "MODE romeo +i\nPRIVMSG Q@services.test :ID hunter2"),
        ("after_connect_commands", "/NS GHOST romeo hunter2"),
        // Who pins a certificate wants to talk to whom it belongs.
        (
            "fingerprint",
            "00:01:02:03:04:05:06:07:08:09:0a:0b:0c:0d:0e:0f:00:01:02:03:04:05:06:07:08:09:0a:0b:0c:0d:0e:0f",
        ),
    ];
    for (key, value) in secrets {
        let stage = Stage::open().await;
        let net = Net::at(stage.port);
        net.host.set_default("ports", crate::settings::IMPLICIT_PORTS);
        net.host.set_default(key, value);
        let session = net.session();
        let sent = session.send(net.address("#c%net"), join("romeo"));
        let error = error(&net.host, &sent).await.unwrap_or_else(|| panic!("{value} went out"));
        assert_eq!(error.failure, Failure::Unreachable, "{value}: {error}");
        assert!(key_is("no-safe-port")(&error.text), "{value}: {error}");
        session.stop().await.expect("stops");
    }
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    net.host.set_default("after_connect_commands", "MODE romeo +i\nAWAY :lunch");
    let session = net.session();
    session.send(net.address("#c%net"), join("romeo"));
    let mut client = stage.welcome("").await;
    client.expect("MODE romeo +i").await;
    session.stop().await.expect("stops");
}

/// What becomes a secret while a connection comes about is one as much as what was set before.
#[tokio::test]
async fn a_secret_that_is_set_while_one_connects_goes_over_no_plain_port_that_nobody_chose() {
    let own = isthmus_testkit::ports::own_address(6667).expect("an address").expect("its port is free");
    let (clear, secure) = (Stage::at(own, 6667).await, Stage::at(own, 0).await);
    let secrets = [("after_connect_commands", "PRIVMSG NickServ :IDENTIFY hunter2"), ("sasl_password", "hunter2")];
    for ((key, value), registering) in secrets.into_iter().zip([true, true]).chain([(secrets[0], false)]) {
        let net = Net::at(clear.port);
        net.host.set_default("address", &own.to_string());
        net.host.set_default("ports", crate::settings::IMPLICIT_PORTS);
        if !registering {
            net.host.set_default("tls_ports", &secure.port.to_string());
        }
        let session = net.session();
        let sent = session.send(net.address("#c%net"), join("romeo"));
        let mut client = if registering { clear.accept().await } else { secure.accept().await };
        if registering {
            client.expect("USER ").await;
        }
        session.set(&net.address("net"), key, Some(value)).await;
        // Whoever answers this has heard of that.
        let raw = session.deliver(net.address("net"), Intent::Raw { line: "VERSION".to_owned() }).await;
        assert_eq!(raw[0].result.clone().map_err(|e| e.failure), Err(Failure::NotConnected));
        if registering {
            client
                .raw(b":irc.test CAP * LS :sasl=PLAIN\r\n:irc.test 001 romeo :Welcome\r\n:irc.test 422 romeo :\r\n")
                .await;
            client.ended().await;
            assert!(!client.seen.iter().any(|l| l.contains("hunter2") || l.contains("AUTH")), "{:?}", client.seen);
        } else {
            drop(client);
        }
        let error = error(&net.host, &sent).await.expect("refused");
        assert_eq!(error.failure, Failure::Unreachable, "{key}: {error}");
        assert_eq!(key_is("no-safe-port")(&error.text), registering, "{key}: {error}");
        let connected = tokio::time::timeout(std::time::Duration::ZERO, clear.accept()).await;
        assert!(connected.is_err(), "nobody has connected in clear");
        session.stop().await.expect("stops");
    }
}
