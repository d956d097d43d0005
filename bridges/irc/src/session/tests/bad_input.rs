//! What no server should send and no user should be able to.

use isthmus_bridge::{RoomId, Values};

use super::*;

/// After whatever came before, words are still heard.
async fn still_hears(net: &Net, client: &mut Client) {
    client.send(":juliet!j@k PRIVMSG #c :still here").await;
    net.host.emitted("words afterwards", |e| matches!(&e.event, Event::Message(m) if m.body == "still here")).await;
}

#[tokio::test]
async fn a_line_of_a_mebibyte_is_skipped() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    client.raw(&vec![b'x'; 1 << 20]).await;
    client.raw(b"\r\n").await;
    still_hears(&net, &mut client).await;
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn nul_controls_and_bytes_that_are_not_utf_8_are_heard_as_well_as_can_be() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    let cases: [(&[u8], &str); 4] = [
        (b":juliet!j@k PRIVMSG #c :a\0b\x07c", "abc"),
        (b":juliet!j@k PRIVMSG #c :na\xefve", "naïve"),
        (b":juliet!j@k PRIVMSG #c :\xff\xfe\xc3(", "ÿþÃ("),
        (":juliet!j@k PRIVMSG #c :\u{fffe}x\u{ffff}".as_bytes(), "x"),
    ];
    for (bytes, expected) in cases {
        client.raw(bytes).await;
        client.raw(b"\n").await;
        let event = net.host.emitted("words", |e| matches!(e.event, Event::Message(_))).await;
        assert_eq!(body(&event), expected);
    }
    // The room's own encoding decides, where the user has set one.
    session.set(&net.address("#c%net"), "encoding_in", Some("koi8-r")).await;
    session.send(net.address("#c%net"), group("sync"));
    client.expect("PRIVMSG #c :sync").await;
    net.host.take_emits();
    client.raw(b":juliet!j@k PRIVMSG #c :\xf0\xd2\xc9\xd7\xc5\xd4\r\n").await;
    let event = net.host.emitted("words", |e| matches!(e.event, Event::Message(_))).await;
    assert_eq!(body(&event), "Привет");
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn nonsense_of_every_kind_is_survived() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "echo-message batch", "romeo juliet").await;
    let commands = [
        "JOIN",
        "PART",
        "QUIT",
        "NICK",
        "MODE",
        "KICK",
        "TOPIC",
        "AWAY",
        "ACCOUNT",
        "CHGHOST",
        "INVITE",
        "KILL",
        "CAP",
        "AUTHENTICATE",
        "WALLOPS",
        "FAIL",
        "PRIVMSG",
        "NOTICE",
        "BATCH",
        "TAGMSG",
        "NONSENSE",
        "PING",
        "PONG",
    ];
    for command in commands {
        for source in ["", ":juliet!j@k ", ":irc.test ", ":nobody ", ":! ", ":\u{fffd}!@ "] {
            for params in [
                "",
                "#c",
                "#c :",
                ":",
                "romeo",
                "#c +o",
                "#c +ooooo a b",
                "* * * * * * * * * * * * * * * * :x",
                "#nowhere x :y",
                "@time=x",
            ] {
                client.send(&format!("{source}{command} {params}")).await;
            }
        }
    }
    for number in 1..1_000 {
        // Not those that end the registration or the stay.
        if ![1, 5, 376, 422].contains(&number) {
            for params in ["", "romeo", "romeo #c", "romeo #c :x", "romeo juliet :x", "romeo = #c :@+ ! @ a!b@c"] {
                client.send(&format!(":irc.test {number:03} {params}")).await;
            }
        }
    }
    client.send("@time=x;;=;\\ :  ").await;
    client.send(":romeo!u@host.test NICK romeo").await;
    client.send(":romeo!u@host.test JOIN #c").await;
    client.send(":irc.test 353 romeo = #c :romeo juliet").await;
    client.send(":irc.test 366 romeo #c :End").await;
    net.host.emitted("the room again", |e| e.event == Event::Room(RoomChange::Joined)).await;
    still_hears(&net, &mut client).await;
    session.stop().await.expect("stops");
}

/// Every intent with line breaks wherever a user can put words: no line reaches the server that the user's words have made.
#[tokio::test]
async fn no_word_of_a_user_makes_a_line_of_its_own() {
    const EVIL: &str = "x\r\nEVIL :y\0z";
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "@romeo juliet").await;
    let (room, juliet, network) = (net.address("#c%net"), net.occupant("#c%net", "juliet"), net.address("net"));
    let evil = || Some(EVIL.to_owned());
    let odd = Address::Occupant { room: RoomId::from("#c%net"), nick: EVIL.to_owned() };
    let contact = Address::Contact(format!("{EVIL}%net").as_str().into());
    let intents = [
        (room.clone(), group(EVIL)),
        (juliet.clone(), chat(EVIL)),
        (odd.clone(), chat(EVIL)),
        (contact.clone(), chat(EVIL)),
        (room.clone(), group(&format!("/mode {EVIL}"))),
        (room.clone(), Intent::SetSubject { subject: EVIL.to_owned() }),
        (room.clone(), Intent::Rename { nick: EVIL.to_owned() }),
        (room.clone(), Intent::Remove { who: juliet.clone(), reason: evil() }),
        (room.clone(), Intent::Remove { who: odd.clone(), reason: evil() }),
        (room.clone(), Intent::Ban { mask: EVIL.to_owned(), on: true, reason: evil() }),
        (room.clone(), Intent::Ban { mask: format!("*!*@{EVIL}"), on: false, reason: None }),
        (room.clone(), Intent::Invite { room: RoomId::from("#c%net"), who: odd, reason: evil() }),
        (room.clone(), Intent::Invite { room: RoomId::from("#c%net"), who: contact, reason: evil() }),
        (room.clone(), Intent::SetRole { who: juliet, role: evil(), affiliation: evil(), reason: evil() }),
        (room.clone(), Intent::SetRoomConfig { values: Values::new().with("muc#roomconfig_roomsecret", EVIL) }),
        (network.clone(), Intent::Presence { available: true, away: true, status: evil() }),
        (network.clone(), Intent::Raw { line: EVIL.to_owned() }),
        (network, chat(EVIL)),
        (Address::Room(RoomId::from("#d\r\nEVIL%net")), Intent::Join { nick: EVIL.to_owned(), password: evil() }),
        (room.clone(), Intent::Leave { status: evil() }),
    ];
    for (to, intent) in intents {
        session.send(to, intent);
    }
    client.expect("PART #c").await;
    session.stop().await.expect("stops");
    client.expect("QUIT").await;
    for line in &client.seen {
        assert!(!line.starts_with("EVIL"), "{line}");
        assert!(!line.contains('\0'), "{line}");
    }
}

#[tokio::test]
async fn line_breaks_in_settings_stay_in_their_lines() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    for key in ["nick", "username", "realname", "pass", "after_connect_commands", "fallback_nicks"] {
        net.host.set_default(key, "x\r\nEVIL y");
    }
    let session = net.session();
    session.send(net.address("#c%net"), join("romeo"));
    let mut client = stage.accept().await;
    client.expect("USER ").await;
    assert!(client.seen.iter().all(|l| !l.starts_with("EVIL")), "{:?}", client.seen);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_reset_in_the_middle_of_a_line_is_a_loss_like_any_other() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    let key = session.send(net.address("juliet%net"), chat("are you there"));
    client.expect("PRIVMSG juliet").await;
    client.raw(b":juliet!j@k PRIVMSG #c :half a li").await;
    client.reset();
    net.host.emitted("the loss", |e| matches!(e.event, Event::Room(RoomChange::Lost { coming_back: true, .. }))).await;
    let error = error(&net.host, &key).await.expect("nobody knows");
    assert_eq!(error.sent, isthmus_bridge::Sent::Maybe);
    assert!(!net.host.emits().iter().any(|e| matches!(e.event, Event::Message(_))), "half a line is no line");
    session.stop().await.expect("stops");
}
