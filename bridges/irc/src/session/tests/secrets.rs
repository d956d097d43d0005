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
