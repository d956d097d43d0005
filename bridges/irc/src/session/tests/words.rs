//! Words in both directions.

use isthmus_bridge::{ForeignMessageId, LinkState, MessageKind, Span, Style};

use super::*;

#[tokio::test]
async fn lines_come_back_from_the_servers_echo_with_their_ids() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "echo-message server-time message-tags", "romeo juliet").await;
    let key = session.send(net.address("#c%net"), group("but soft\nwhat light"));
    for (part, words) in ["but soft", "what light"].into_iter().enumerate() {
        assert_eq!(client.expect("PRIVMSG").await, format!("PRIVMSG #c :{words}"));
        client
            .send(&format!("@msgid=id{part};time=2026-01-02T03:04:05.678Z :romeo!u@host.test PRIVMSG #c :{words}"))
            .await;
        let event = net.host.emitted("the echo", |e| matches!(e.event, Event::Message(_))).await;
        assert_eq!((body(&event), event.echo_of.clone()), (words, Some((key.clone(), part as u16))));
        assert_eq!(event.id, Some(ForeignMessageId::new(format!("id{part}"))));
        assert_eq!(event.from, net.occupant("#c%net", "romeo"));
    }
    let isthmus_bridge::Outcome::Legs(legs) = net.host.outcome_of(&key).await else { panic!("dropped") };
    assert_eq!(legs[0].ids, [ForeignMessageId::from("id0"), ForeignMessageId::from("id1")]);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn without_an_echo_we_reflect_and_a_complaint_fails_the_message() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    let good = session.send(
        net.address("#c%net"),
        Intent::Send(Box::new({
            let mut message = Message::group("waves");
            message.action = true;
            message
        })),
    );
    assert_eq!(client.expect("PRIVMSG").await, "PRIVMSG #c :\u{1}ACTION waves\u{1}");
    let event = net.host.emitted("the reflection", |e| matches!(e.event, Event::Message(_))).await;
    assert!(matches!(&event.event, Event::Message(m) if m.action && m.body == "waves" && m.kind == MessageKind::Group));
    assert_eq!(event.echo_of, Some((good.clone(), 0)));
    assert_eq!(failure(&net.host, &good).await, None);
    let bad = session.send(net.address("#c%net"), group("in vain"));
    client.expect("PRIVMSG #c :in vain").await;
    client.send(":irc.test 404 romeo #c :Cannot send to channel").await;
    assert_eq!(failure(&net.host, &bad).await, Some(Failure::Forbidden));
    let nobody = session.send(net.address("nobody%net"), chat("hello?"));
    client.expect("PRIVMSG nobody :hello?").await;
    client.send(":irc.test 401 romeo nobody :No such nick/channel").await;
    assert_eq!(failure(&net.host, &nobody).await, Some(Failure::NoSuchRecipient));
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn words_that_the_server_drops_are_not_told_as_sent() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    let later = Failure::Throttled { retry_after: std::time::Duration::from_secs(60) };
    let cases = [
        ("707", "juliet", later.clone()),
        ("439", "juliet", later),
        ("407", "juliet", Failure::Rejected),
        ("936", "#c", Failure::Rejected),
    ];
    for (code, to, expected) in cases {
        let (at, said) = if to == "#c" { ("#c%net", group("a word")) } else { ("juliet%net", chat("a word")) };
        let key = session.send(net.address(at), said);
        client.expect(&format!("PRIVMSG {to} :a word")).await;
        client.send(&format!(":irc.test {code} romeo {to} :message dropped")).await;
        assert_eq!(failure(&net.host, &key).await, Some(expected), "{code}");
    }
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn words_of_others_are_heard_and_styled() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo Juliet").await;
    client.send(":Juliet!j@k PRIVMSG #C :\x02wherefore\x02 \x0304art\x0f thou").await;
    let event = net.host.emitted("words", |e| matches!(e.event, Event::Message(_))).await;
    assert_eq!((body(&event), &event.from), ("*wherefore* art thou", &net.occupant("#c%net", "Juliet")));
    client.send(":Juliet!j@k PRIVMSG #c :\u{1}ACTION sighs\u{1}").await;
    let event = net.host.emitted("an action", |e| matches!(e.event, Event::Message(_))).await;
    assert!(matches!(&event.event, Event::Message(m) if m.action && m.body == "sighs"));
    client.send(":Juliet!j@k NOTICE #c :notice").await;
    let event = net.host.emitted("a notice", |e| matches!(e.event, Event::Message(_))).await;
    assert_eq!(body(&event), "[notice] notice");
    client.send(":Juliet!j@k PRIVMSG romeo :psst").await;
    let event = net.host.emitted("a private message", |e| matches!(e.event, Event::Message(_))).await;
    assert_eq!((body(&event), &event.from), ("psst", &net.address("juliet%net")));
    client.send(":Juliet!j@k NOTICE romeo :listen").await;
    let event = net.host.emitted("a private notice", |e| matches!(e.event, Event::Message(_))).await;
    assert_eq!((body(&event), &event.from), ("[notice] listen", &net.address("juliet%net")));
    assert!(matches!(&event.event, Event::Message(m) if m.kind == isthmus_bridge::MessageKind::Notice));
    // A conversation that began in the room stays in it.
    session.send(net.occupant("#c%net", "Juliet"), chat("here"));
    client.expect("PRIVMSG Juliet :here").await;
    client.send(":Juliet!j@k PRIVMSG romeo :there").await;
    let event = net.host.emitted("an answer", |e| matches!(e.event, Event::Message(_))).await;
    assert_eq!(event.from, net.occupant("#c%net", "Juliet"));
    client.send(":Juliet!j@k PRIVMSG romeo :\u{1}VERSION\u{1}").await;
    let answer = client.expect("NOTICE Juliet").await;
    assert!(answer.starts_with("NOTICE Juliet :\u{1}VERSION Isthmus"), "{answer}");
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn what_the_user_says_by_another_program_is_shown_as_said_by_them() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "echo-message znc.in/self-message", "romeo juliet").await;
    client.send(":romeo!u@host.test PRIVMSG Juliet :from my telephone").await;
    let sent = net.host.emitted("words of one's own", |e| matches!(e.event, Event::Sent(_))).await;
    let Event::Sent(message) = &sent.event else { panic!("{sent:?}") };
    assert_eq!((message.body.as_str(), &sent.from), ("from my telephone", &net.address("juliet%net")));
    client.send(":romeo!u@host.test PRIVMSG Juliet :\u{1}ACTION waves\u{1}").await;
    let sent = net.host.emitted("an act of one's own", |e| matches!(e.event, Event::Sent(_))).await;
    assert!(matches!(&sent.event, Event::Sent(m) if m.action && m.body == "waves"), "{sent:?}");
    // What we said ourselves is no news, and what one says to oneself is heard.
    session.send(net.address("juliet%net"), chat("from here"));
    client.expect("PRIVMSG juliet :from here").await;
    client.send(":romeo!u@host.test PRIVMSG juliet :from here").await;
    client.send(":romeo!u@host.test PRIVMSG romeo :a note").await;
    let note = net.host.emitted("a note", |e| matches!(e.event, Event::Message(_))).await;
    assert_eq!((body(&note), &note.from), ("a note", &net.address("romeo%net")));
    assert!(!net.host.emits().iter().any(|e| matches!(e.event, Event::Sent(_))));
    // In a room they are one's own like any other.
    client.send(":romeo!u@host.test PRIVMSG #c :from my telephone").await;
    let said = net.host.emitted("words in the room", |e| matches!(e.event, Event::Message(_))).await;
    assert_eq!((&said.from, said.echo_of), (&net.occupant("#c%net", "romeo"), None));
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn looks_stand_beside_the_words_where_the_user_wants_that() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    net.host.set_default("formatting", "markup");
    let (session, mut client) = net.inside(&stage, "", "romeo Juliet").await;
    client.send(":Juliet!j@k NOTICE #c :O \x02Romeo\x02").await;
    let event = net.host.emitted("words", |e| matches!(e.event, Event::Message(_))).await;
    let looks = |event: &Inbound| match &event.event {
        Event::Message(message) => message.looks.clone().expect("it looks somehow"),
        other => panic!("a message, not {other:?}"),
    };
    assert_eq!(body(&event), "[notice] O Romeo");
    assert_eq!(looks(&event).spans, [Span::new(11, 16, Style::Strong)], "of the words as they stand now");
    // One's own words are shown as others see them.
    for (key, value) in [("send_formatting", "true"), ("formatting", "xhtml")] {
        session.set(&net.address("#c%net"), key, Some(value)).await;
    }
    session.send(net.address("#c%net"), group("_so_ *light*"));
    assert_eq!(client.expect("PRIVMSG").await, "PRIVMSG #c :\x1dso\x1d \x02light\x02");
    let event = net.host.emitted("the reflection", |e| matches!(e.event, Event::Message(_))).await;
    assert_eq!((body(&event), looks(&event).html), ("so light", true));
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_message_opens_the_connection_and_raw_lines_need_one() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let session = net.session();
    let raw = session.send(net.address("net"), Intent::Raw { line: "VERSION".to_owned() });
    assert_eq!(failure(&net.host, &raw).await, Some(Failure::NotConnected));
    session.send(net.address("juliet%net"), chat("hello"));
    let mut client = stage.welcome("").await;
    client.expect("PRIVMSG juliet :hello").await;
    session.send(net.address("net"), Intent::Raw { line: "VERSION".to_owned() });
    client.expect("VERSION").await;
    client.send(":irc.test 351 romeo ircd-1 irc.test :words").await;
    net.told("the answer", |t| *t == Text::plain("irc.test: ircd-1 irc.test words")).await;
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn what_is_asked_by_hand_is_answered_to_the_user_and_what_we_ask_is_not() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo").await;
    // The session has asked for the modes itself.
    let ours = [
        "324 romeo #c +nt",
        "329 romeo #c 1700000000",
        "305 romeo :You are no longer marked as being away",
        "PONG irc.test :isthmus",
        "CAP romeo NEW :setname",
        "730 romeo :juliet!j@k",
    ];
    for line in ours {
        client.send(&format!(":irc.test {line}")).await;
    }
    client.send(":juliet!j@k PRIVMSG romeo :sync").await;
    net.host.emitted("words", |e| matches!(e.event, Event::Message(_))).await;
    assert!(!net.host.take_emits().iter().any(|e| matches!(e.event, Event::Notice { .. })), "nobody has asked");
    session.send(net.address("#c%net"), group("/mode"));
    assert_eq!(client.expect("MODE").await, "MODE #c");
    client.send(":irc.test 324 romeo #c +ntk").await;
    net.told("the modes", |t| *t == Text::plain("irc.test: #c +ntk")).await;
    let cases = [
        ("MODE #c", "329 romeo #c 1700000000", "#c 1700000000"),
        ("TOPIC #c", "331 romeo #c :No topic is set", "#c No topic is set"),
        ("TOPIC #c", "332 romeo #c :The balcony", "#c The balcony"),
        ("TOPIC #far", "332 romeo #far :Mantua", "#far Mantua"),
        ("MODE #far", "324 romeo #far +n", "#far +n"),
        ("NAMES #far", "353 romeo = #far :juliet", "= #far juliet"),
        ("NAMES #far", "366 romeo #far :End of NAMES", "#far End of NAMES"),
        ("MODE romeo", "221 romeo +i", "+i"),
        ("away :gone", "306 romeo :You have been marked as being away", "You have been marked as being away"),
        ("INVITE juliet #c", "341 romeo juliet #c", "juliet #c"),
        ("CAP LS", "CAP romeo LS :invite-notify", "LS invite-notify"),
        ("PING now", "PONG irc.test :now", "now"),
        ("MONITOR S", "730 romeo :juliet!j@k", "juliet!j@k"),
        ("AUTHENTICATE *", "907 romeo :You have already authenticated", "You have already authenticated"),
        ("MOTD", "372 romeo :- be kind", "- be kind"),
    ];
    for (typed, answer, shown) in cases {
        session.send(net.address("net"), Intent::Raw { line: typed.to_owned() });
        client.expect(typed).await;
        client.send(&format!(":irc.test {answer}")).await;
        if typed == "MOTD" {
            client.send(":irc.test 376 romeo :End of MOTD").await;
        }
        let is = |t: &Text| t.to_string().trim_start_matches("irc.test: ") == shown;
        net.told(typed, is).await;
    }
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn long_texts_are_cut_and_too_many_lines_are_refused() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo").await;
    session.send(net.address("#c%net"), group(&"wörter ".repeat(120)));
    for _ in 0..2 {
        let line = client.expect("PRIVMSG").await;
        let as_seen = format!(":romeo!u@host.test {line}\r\n");
        assert!(as_seen.len() <= 512 && !line.contains('\u{fffd}'), "{} bytes", as_seen.len());
    }
    let key = session.send(net.address("#c%net"), group("1\n2\n3\n4\n5\n6"));
    assert_eq!(failure(&net.host, &key).await, Some(Failure::TooLong { limit: 5 }));
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn the_throttle_holds_lines_back_but_never_pong() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    net.host.set_default("throttle", "3 0.01");
    let (session, mut client) = net.inside(&stage, "", "romeo").await; // JOIN and MODE have taken two
    for i in 0..3 {
        session.send(net.address("#c%net"), group(&format!("line {i}")));
    }
    client.expect("PRIVMSG #c :line 0").await;
    client.send("PING :token").await;
    client.expect("PONG :token").await;
    assert!(!client.seen.iter().any(|l| l.contains("line 1")), "{:?}", client.seen);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn mode_as_a_word_is_a_command_and_anything_else_is_said() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo").await;
    session.send(net.address("#c%net"), group("/mode +t"));
    client.expect("MODE #c +t").await;
    session.send(net.address("#c%net"), group("/modest proposal"));
    client.expect("PRIVMSG #c :/modest proposal").await;
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn each_line_of_a_text_may_be_an_action_or_a_mode() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    let mut waves = Message::group("waves\nhello\n/mode +o juliet\n/me bows");
    waves.action = true; // as the core takes `/me waves`
    let key = session.send(net.address("#c%net"), Intent::Send(Box::new(waves)));
    for line in [
        "PRIVMSG #c :\u{1}ACTION waves\u{1}",
        "PRIVMSG #c :hello",
        "MODE #c +o juliet",
        "PRIVMSG #c :\u{1}ACTION bows\u{1}",
    ] {
        assert_eq!(client.expect("").await, line);
    }
    assert_eq!(failure(&net.host, &key).await, None);
    let said = net.host.take_emits().into_iter().filter_map(|e| match e {
        Inbound { event: Event::Message(message), echo_of: Some((of, part)), .. } if of == key => {
            Some((message.body, message.action, part))
        }
        _ => None,
    });
    let expected = [("waves", true, 0), ("hello", false, 1), ("bows", true, 2)];
    assert_eq!(said.collect::<Vec<_>>(), expected.map(|(words, action, part)| (words.to_owned(), action, part)));
    // What is refused is the mode, and not the words behind it.
    let key = session.send(net.address("#c%net"), group("/mode +o nurse\nthanks"));
    client.expect("PRIVMSG #c :thanks").await;
    client.send(":irc.test 482 romeo #c :You're not channel operator").await;
    net.told("why", |t| t.to_string().contains("not channel operator")).await;
    assert_eq!(failure(&net.host, &key).await, None);
    // In private a mode is nothing, and an action is one.
    session.send(net.address("juliet%net"), chat("psst\n/me winks\n/mode +o juliet"));
    for line in ["psst", "\u{1}ACTION winks\u{1}", "/mode +o juliet"] {
        assert_eq!(client.expect("PRIVMSG").await, format!("PRIVMSG juliet :{line}"));
    }
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn typing_crosses_where_the_server_has_tags() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "message-tags", "romeo juliet").await;
    session.send(net.address("#c%net"), Intent::Typing { on: true });
    assert_eq!(client.expect("@").await, "@+typing=active TAGMSG #c");
    client.send("@+typing=active :juliet!j@k TAGMSG #c").await;
    let event = net.host.emitted("her typing", |e| e.event == Event::Typing { on: true, private: false }).await;
    assert_eq!(event.from, net.occupant("#c%net", "juliet"));
    client.send(":irc.test 005 romeo STATUSMSG=@+ :are supported").await;
    client.send("@+typing=active :juliet!j@k TAGMSG @#c").await;
    let event = net.host.emitted("her typing to some", |e| e.event == Event::Typing { on: true, private: false }).await;
    assert_eq!(event.from, net.occupant("#c%net", "juliet"));
    client.send("@+typing=done :juliet!j@k TAGMSG romeo").await;
    let event = net.host.emitted("her pause", |e| e.event == Event::Typing { on: false, private: true }).await;
    assert_eq!(event.from, net.address("juliet%net"));
    // In a conversation that began in the room she types there, and to him alone.
    session.send(net.occupant("#c%net", "juliet"), chat("here"));
    client.expect("PRIVMSG juliet :here").await;
    client.send("@+typing=active :juliet!j@k TAGMSG romeo").await;
    let event = net.host.emitted("her typing", |e| e.event == Event::Typing { on: true, private: true }).await;
    assert_eq!(event.from, net.occupant("#c%net", "juliet"));
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_program_that_says_so_is_shown_as_one() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "message-tags", "romeo juliet").await;
    for _ in 0..2 {
        client.send("@bot :juliet!j@k PRIVMSG #c :beep").await;
        net.host.emitted("its words", |e| matches!(e.event, Event::Message(_))).await;
    }
    let changes =
        net.host.take_emits().into_iter().filter(|e| matches!(e.event, Event::Room(RoomChange::Changed { .. })));
    assert_eq!(changes.count(), 1, "told once");
    let view = net.host.host().room(session.of(), &isthmus_bridge::RoomId::from("#c%net"));
    let bot = isthmus_bridge::room::Rank::BOT;
    assert!(view.lock().expect("nobody panicked").members().iter().any(|m| m.nick() == "juliet" && m.rank.has(bot)));
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn away_is_told_and_taken_back() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo").await;
    session.send(
        net.address("net"),
        Intent::Presence { available: true, away: true, status: Some("in\r\nMantua".to_owned()) },
    );
    assert_eq!(client.expect("AWAY").await, "AWAY :in  Mantua");
    session.send(net.address("net"), Intent::Presence { available: true, away: false, status: None });
    assert_eq!(client.expect("AWAY").await, "AWAY");
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn who_comes_back_after_all_rooms_were_left_is_not_away_any_more() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo").await;
    session.send(net.address("net"), Intent::Presence { available: true, away: true, status: None });
    client.expect("AWAY :Away").await;
    session.send(net.address("#c%net"), Intent::Leave { status: None });
    client.expect("PART #c").await;
    client.send(":romeo!u@host.test PART #c").await;
    client.ended().await;
    session.send(net.address("#c%net"), join("romeo"));
    let mut client = stage.welcome("").await;
    client.expect("JOIN #c").await;
    assert!(!client.seen.iter().any(|l| l.starts_with("AWAY")), "{:?}", client.seen);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn the_last_words_of_the_last_client_say_why_nobody_is_there() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    net.host.set_default("persistent", "true");
    let (session, mut client) = net.inside(&stage, "", "romeo").await;
    let room = net.address("#c%net");
    for (status, told) in [(Some("gone home"), "AWAY :gone home"), (None, "AWAY :No client is connected")] {
        session.send(room.clone(), Intent::Leave { status: status.map(str::to_owned) });
        assert_eq!(client.expect("AWAY").await, told);
        session.send(room.clone(), join("romeo"));
        assert_eq!(client.expect("AWAY").await, "AWAY", "somebody is there again");
    }
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn while_the_core_has_no_room_ping_is_answered_and_nothing_is_lost() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    net.host.room_for(Some(1));
    for i in 0..50 {
        client.send(&format!(":juliet!j@k PRIVMSG #c :line {i}")).await;
        if i == 25 {
            client.send("PING :still there").await;
        }
    }
    client.expect("PONG :still there").await;
    net.host.room_for(None);
    for i in 0..50 {
        let event = net.host.emitted("a line", |e| matches!(e.event, Event::Message(_))).await;
        assert_eq!(body(&event), format!("line {i}"), "in order");
    }
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn what_was_said_before_the_end_is_heard_however_late_the_core_has_room() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    net.host.room_for(Some(1));
    for i in 0..50 {
        client.send(&format!(":juliet!j@k PRIVMSG #c :line {i}")).await;
    }
    client.send("ERROR :Closing Link: romeo (K-Lined)").await;
    drop(client);
    let ban = |l: &LinkState| matches!(l, LinkState::Down { reason, .. } if reason.to_string().contains("K-Lined"));
    net.host.reported("the end, with its reason", ban).await;
    net.host.room_for(None);
    for i in 0..50 {
        let event = net.host.emitted("a line", |e| matches!(e.event, Event::Message(_))).await;
        assert_eq!(body(&event), format!("line {i}"), "in order");
    }
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_message_of_which_some_lines_are_out_may_have_been_read() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    // JOIN and MODE have taken two tokens.
    net.host.set_default("throttle", "3 0.001");
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    let begun = session.send(net.address("#c%net"), group("1\n2\n3"));
    let queued = session.send(net.address("#c%net"), group("4\n5"));
    client.expect("PRIVMSG #c :1").await;
    client.reset();
    let [begun, queued] = [error(&net.host, &begun).await, error(&net.host, &queued).await];
    let sent = |error: Option<DeliveryError>| error.expect("they failed").sent;
    assert_eq!((sent(begun), sent(queued)), (isthmus_bridge::Sent::Maybe, isthmus_bridge::Sent::No));
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn words_of_being_away_are_shown_once_for_each_change() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    for words in ["asleep", "asleep", "at church"] {
        client.send(&format!(":irc.test 301 romeo juliet :{words}")).await;
    }
    client.send(":juliet!j@k PRIVMSG romeo :sync").await;
    net.host.emitted("words", |e| matches!(e.event, Event::Message(_))).await;
    let told = net.host.take_emits();
    let told: Vec<&Text> = told
        .iter()
        .filter_map(|e| match &e.event {
            Event::Notice { text, .. } if key_is("away")(text) => Some(text),
            _ => None,
        })
        .collect();
    let away = |words: &str| Text::key("away").with("nick", "juliet").with("words", words);
    assert_eq!(told, [&away("asleep"), &away("at church")]);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn questions_by_ctcp_are_answered_politely_and_not_in_floods() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    client.send(":juliet!j@k PRIVMSG romeo :\u{1}PING 12345\u{1}").await;
    assert_eq!(client.expect("NOTICE").await, "NOTICE juliet :\u{1}PING 12345\u{1}");
    client.raw(":juliet!j@k PRIVMSG romeo :\u{1}TIME\u{1}\r\n".repeat(20).as_bytes()).await;
    client.send("PING :sync").await;
    client.expect("PONG").await;
    let answers = client.seen.iter().filter(|l| l.contains("TIME")).count();
    assert!(answers < 20, "{answers} answers to 20 questions in a moment");
    client.send(":juliet!j@k PRIVMSG romeo :\u{1}FINGER\u{1}").await;
    net.told("what has no answer", key_is("ctcp")).await;
    assert!(!client.seen.iter().any(|l| l.contains("example.org")), "nothing personal: {:?}", client.seen);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn while_the_core_has_no_room_ping_is_answered_however_it_is_spelled() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    net.host.room_for(Some(1));
    for i in 0..5 {
        client.send(&format!(":juliet!j@k PRIVMSG #c :line {i}")).await;
    }
    let time = "@time=2030-03-17T17:46:50.000Z";
    for (ping, pong) in [
        ("PING plain".to_owned(), "PONG plain"),
        (format!("{time} PING :with tags"), "PONG :with tags"),
        (":irc.test PING :with a source".to_owned(), "PONG :with a source"),
        (format!("{time} :irc.test PING both"), "PONG both"),
        ("ping :small".to_owned(), "PONG :small"),
    ] {
        client.send(&ping).await;
        assert_eq!(client.expect("PONG").await, pong);
    }
    // Others only begin so, or only speak of it.
    client.send("@time=x :PING!p@k PRIVMSG #c :PING line").await;
    client.send("PING :sync").await;
    assert_eq!(client.expect("PONG").await, "PONG :sync");
    net.host.room_for(None);
    for i in 0..5 {
        let event = net.host.emitted("a line", |e| matches!(e.event, Event::Message(_))).await;
        assert_eq!(body(&event), format!("line {i}"), "in order");
    }
    let event = net.host.emitted("a line", |e| matches!(e.event, Event::Message(_))).await;
    assert_eq!(body(&event), "PING line");
    session.stop().await.expect("stops");
}
