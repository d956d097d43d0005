//! What users have chosen in their settings, as the server sees it.

use super::*;

#[tokio::test]
async fn as_many_lines_are_sent_as_the_user_allows() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo").await;
    for (most, said, fits) in [("2", 3, false), ("2", 2, true), ("10", 7, true), ("10", 11, false), ("1", 2, false)] {
        session.set(&net.address("net"), "max_lines", Some(most)).await;
        let words: Vec<String> = (0..said).map(|n| format!("line {n} of {said}")).collect();
        let key = session.send(net.address("#c%net"), group(&words.join("\n")));
        if fits {
            for line in &words {
                assert_eq!(client.expect("PRIVMSG").await, format!("PRIVMSG #c :{line}"), "{most}");
            }
            continue;
        }
        let limit = most.parse().expect("a number");
        assert_eq!(failure(&net.host, &key).await, Some(Failure::TooLong { limit }), "{said} lines");
        // None of them, either.
        client.send("PING :sync").await;
        client.expect("PONG :sync").await;
        assert!(!client.seen.iter().any(|line| line.contains("PRIVMSG")), "{most}: {:?}", client.seen);
    }
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn who_wants_lines_gets_lines_where_the_server_could_take_one_message() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let caps = "batch message-tags draft/multiline=max-bytes=4096,max-lines=10";
    let (session, mut client) = net.inside(&stage, caps, "romeo juliet").await;
    assert!(client.granted.contains("draft/multiline"), "{}", client.granted);
    session.send(net.address("#c%net"), group("but soft\nwhat light"));
    client.holding("BATCH +").await;
    client.holding("BATCH -").await;
    session.set(&net.address("net"), "long_texts", Some("lines")).await;
    client.seen.clear();
    session.send(net.address("#c%net"), group("it is the east\nand Juliet is the sun"));
    for words in ["it is the east", "and Juliet is the sun"] {
        assert_eq!(client.holding("PRIVMSG").await, format!("PRIVMSG #c :{words}"));
    }
    client.send("PING :sync").await;
    client.expect("PONG :sync").await;
    assert!(!client.seen.iter().any(|line| line.contains("BATCH")), "{:?}", client.seen);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn who_does_not_want_to_be_away_is_not() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    net.host.set_default("away", "false");
    net.host.set_default("persistent", "true");
    let (session, mut client) = net.inside(&stage, "", "romeo").await;
    let presence = |away: bool| Intent::Presence { available: true, away, status: Some("in Mantua".to_owned()) };
    for away in [true, false] {
        let key = session.send(net.address("net"), presence(away));
        assert_eq!(failure(&net.host, &key).await, None);
    }
    // Nor where nobody is there.
    let left = session.send(net.address("#c%net"), Intent::Leave { status: Some("gone home".to_owned()) });
    assert_eq!(failure(&net.host, &left).await, None);
    client.send("PING :sync").await;
    client.expect("PONG :sync").await;
    assert!(!client.seen.iter().any(|line| line.starts_with("AWAY")), "{:?}", client.seen);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_room_is_entered_with_the_password_that_is_set_for_it() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let session = net.session();
    session.set(&net.address("#c%net"), "key", Some("sesame")).await;
    session.set(&net.address("#d%net"), "key", Some("sesame")).await;
    session.send(net.address("#c%net"), join("romeo"));
    let mut client = stage.welcome("").await;
    assert_eq!(client.expect("JOIN ").await, "JOIN #c sesame");
    // The one that a client sends is nearer.
    let given = Intent::Join { nick: "romeo".to_owned(), password: Some("balcony".to_owned()) };
    session.send(net.address("#d%net"), given);
    assert_eq!(client.expect("JOIN ").await, "JOIN #d balcony");
    // It is of that room alone.
    session.send(net.address("#e%net"), join("romeo"));
    assert_eq!(client.expect("JOIN ").await, "JOIN #e");
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_text_of_too_many_lines_becomes_a_link_where_the_user_wants_that() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    net.host.set_default("long_texts", "paste");
    let (session, mut client) = net.inside(&stage, "", "romeo").await;
    let text = format!("first line\n{}", ["more"; 10].join("\n"));
    let key = session.send(net.address("#c%net"), group(&text));
    let line = client.expect("PRIVMSG").await;
    let url = line.strip_prefix("PRIVMSG #c :first line … ").expect("the beginning and a link");
    let id = url.strip_prefix("https://gateway.example/files/").expect("our own address");
    let (kept, _) = net.host.host().blob(&id.into()).await.expect("the store is there").expect("kept");
    assert_eq!(kept, text.as_bytes());
    assert_eq!(failure(&net.host, &key).await, None);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_text_becomes_a_link_when_the_lines_that_this_room_takes_are_too_many() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    net.host.set_default("long_texts", "paste");
    let (room, session) = (format!("#{}", "c".repeat(180)), net.session());
    let address = net.address(&format!("{room}%net"));
    session.send(address.clone(), join("romeo"));
    let mut client = stage.accept().await;
    client.register("", "").await;
    client.admit(&room, "romeo").await;
    net.host.emitted("the end of the join", |e| e.event == Event::Room(RoomChange::Joined)).await;
    // Five lines of 300 bytes are as many as the user wants; a line to this room holds less.
    let key = session.send(address, group(&["wherefore "; 155].concat()));
    let line = client.expect("PRIVMSG").await;
    assert!(line.contains("… https://gateway.example/files/"), "{line}");
    assert_eq!(failure(&net.host, &key).await, None);
    session.stop().await.expect("stops");
}
