//! How people were before we came.

use isthmus_bridge::room::{Member, Rank};
use isthmus_bridge::suite::Session;
use isthmus_bridge::{Event, Intent, RoomChange, RoomId};

use super::ircd::{Client, Stage};
use super::{Net, group};

fn member(net: &Net, session: &Session, nick: &str) -> Member {
    let view = net.host.host().room(session.of(), &RoomId::from("#c%net"));
    let view = view.lock().expect("nobody panicked");
    view.named(nick).unwrap_or_else(|| panic!("{nick} is inside")).clone()
}

/// Everything before has been read by the session.
async fn sync(client: &mut Client) {
    client.send("PING :sync").await;
    client.expect("PONG :sync").await;
}

#[tokio::test]
async fn who_was_away_before_we_came_is_shown_so() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let session = net.session();
    session.send(net.address("#c%net"), super::join("romeo"));
    let mut client = stage.accept().await;
    client.register("away-notify", "PREFIX=(ov)@+ WHOX BOT=B").await;
    client.admit("#c", "romeo @juliet Mercutio tybalt").await;
    assert_eq!(client.expect("WHO").await, "WHO #c %tcuhnfa,417");
    net.host.take_emits();
    for line in [
        "354 romeo 417 #c u host.test romeo H 0",
        "354 romeo 417 #c j capulet juliet G@ jules",
        "354 romeo 417 #c m verona Mercutio H*B 0",
        "354 romeo 417 #c t capulet tybalt H tib",
        "354 romeo 417 #c x nowhere stranger G 0",
        "354 romeo 417 #c",
        "315 romeo #c :End of /WHO list.",
    ] {
        client.send(&format!(":irc.test {line}")).await;
    }
    client.send(":tybalt!t@capulet PRIVMSG #c :sync").await;
    net.host.emitted("words", |e| matches!(e.event, Event::Message(_))).await;
    let changed: Vec<_> = net.host.take_emits().into_iter().filter(|e| !matches!(e.event, Event::Message(_))).collect();
    let expected = ["juliet", "Mercutio"].map(|nick| net.occupant("#c%net", nick));
    assert_eq!(changed.iter().map(|e| e.from.clone()).collect::<Vec<_>>(), expected, "{changed:?}");
    assert!(changed.iter().all(|e| e.event == Event::Room(RoomChange::Changed { by: None })), "{changed:?}");
    let view = net.host.host().room(session.of(), &RoomId::from("#c%net"));
    let known = |nick: &str| {
        let view = view.lock().expect("nobody panicked");
        let member = view.named(nick).unwrap_or_else(|| panic!("{nick} is inside")).clone();
        (
            member.rank,
            member.person.host.as_deref().map(str::to_owned),
            member.person.account.as_deref().map(str::to_owned),
        )
    };
    let (rank, host, account) = known("juliet");
    assert!(rank.has(Rank::AWAY) && rank.has(Rank::MODERATOR) && !rank.has(Rank::OPERATOR) && !rank.has(Rank::BOT));
    assert_eq!((host.as_deref(), account.as_deref()), (Some("j@capulet"), Some("jules")));
    let (rank, ..) = known("Mercutio");
    assert!(!rank.has(Rank::AWAY) && rank.has(Rank::OPERATOR) && rank.has(Rank::BOT));
    assert_eq!(known("tybalt").2.as_deref(), Some("tib"), "known, and no news");
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn rooms_are_asked_about_one_after_the_other_and_what_is_typed_is_shown() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let session = net.session();
    for room in ["#a%net", "#b%net"] {
        session.send(net.address(room), super::join("romeo"));
    }
    let mut client = stage.accept().await;
    client.register("away-notify", "PREFIX=(ov)@+").await;
    client.expect("JOIN #a,#b").await;
    for room in ["#a", "#b"] {
        client.send(&format!(":romeo!u@host.test JOIN {room}")).await;
        client.send(&format!(":irc.test 353 romeo = {room} :romeo juliet")).await;
        client.send(&format!(":irc.test 366 romeo {room} :End")).await;
    }
    client.expect("WHO #a").await;
    session.send(net.address("net"), Intent::Raw { line: "WHO #a".to_owned() });
    client.expect("WHO #a").await;
    assert!(!client.seen.iter().any(|line| line.starts_with("WHO #b")), "{:?}", client.seen);
    let answer = "352 romeo #a j capulet irc.test juliet G :0 Juliet";
    for line in [answer, "315 romeo #a :End", answer, "315 romeo #a :End"] {
        client.send(&format!(":irc.test {line}")).await;
    }
    net.told("the answer", |t| t.to_string().ends_with("#a j capulet irc.test juliet G 0 Juliet")).await;
    net.told("its end", |t| t.to_string().ends_with("#a End")).await;
    client.expect("WHO #b").await;
    // It has no time for that; nobody has asked for it.
    client.send(":irc.test 263 romeo WHO :Try again later").await;
    client.send(":irc.test 315 romeo #b :End").await;
    net.host.take_emits();
    session.send(net.address("#b%net"), group("sync"));
    client.expect("PRIVMSG #b").await;
    client.send(":juliet!j@capulet PRIVMSG #b :sync").await;
    net.host.emitted("words", |e| matches!(e.event, Event::Message(_))).await;
    assert!(!net.host.take_emits().iter().any(|e| matches!(e.event, Event::Notice { .. })), "nobody has asked");
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn who_is_there_is_not_asked_where_it_would_not_be_told_later() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    session.send(net.address("#c%net"), group("sync"));
    client.expect("PRIVMSG").await;
    assert!(!client.seen.iter().any(|line| line.starts_with("WHO")), "{:?}", client.seen);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn the_next_bearer_of_a_nick_is_somebody_else() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "extended-join", "romeo").await;
    let view = net.host.host().room(session.of(), &RoomId::from("#c%net"));
    let identity = |nick: &str| {
        let view = view.lock().expect("nobody panicked");
        view.named(nick).map(|m| m.person.identity().into_owned())
    };
    let entered = |e: &isthmus_bridge::Inbound| e.event == Event::Room(RoomChange::Entered);
    client.send(":ann!a@home JOIN #c ann :Ann").await;
    net.host.emitted("ann", entered).await;
    let first = identity("ann").expect("inside");
    client.send(":ann!a@home PART #c").await;
    // She quits where nobody of ours sees it, and somebody else takes the nick.
    client.send(":ann!m@evil JOIN #c * :Ann").await;
    net.host.emitted("mallory", entered).await;
    let second = identity("ann").expect("inside");
    assert_ne!(first, second);
    assert!(second.contains("m@evil"), "{second}");
    session.stop().await.expect("stops");
}

/// Only what has changed since is shown after a break; what WHO tells comes much later.
#[tokio::test]
async fn who_was_away_or_a_bot_before_a_break_is_so_after_it_until_who_says_otherwise() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "away-notify", "romeo @juliet tybalt rosaline mercutio").await;
    client.send(":juliet!j@capulet AWAY :at the balcony").await;
    client.send(":rosaline!r@capulet AWAY :elsewhere").await;
    for line in ["t capulet irc.test tybalt H* :0 Tybalt", "r capulet irc.test rosaline G :0 Rosaline"] {
        client.send(&format!(":irc.test 352 romeo #c {line}")).await;
    }
    sync(&mut client).await;
    assert!(member(&net, &session, "tybalt").rank.has(Rank::OPERATOR));
    client.reset();
    net.host.emitted("the break", |e| matches!(e.event, Event::Room(RoomChange::Lost { .. }))).await;
    let mut client = stage.accept().await;
    client.register("away-notify userhost-in-names", "PREFIX=(ov)@+").await;
    // Of another host it is somebody else.
    client.admit("#c", "romeo!u@host.test juliet!j@capulet +tybalt!t@capulet rosaline!x@montague mercutio").await;
    client.expect("WHO #c").await;
    let rank = |nick: &str| member(&net, &session, nick).rank;
    assert_eq!(rank("juliet"), Rank::AWAY);
    assert_eq!(member(&net, &session, "juliet").person.away.as_deref(), Some("at the balcony"));
    assert_eq!(rank("tybalt"), Rank::VOICE | Rank::OPERATOR);
    assert_eq!((rank("rosaline"), rank("mercutio")), (Rank::NONE, Rank::NONE));
    net.host.take_emits();
    for line in ["352 romeo #c t capulet irc.test tybalt H* :0 T", "352 romeo #c j capulet irc.test juliet H :0 J"] {
        client.send(&format!(":irc.test {line}")).await;
    }
    client.send(":irc.test 315 romeo #c :End").await;
    sync(&mut client).await;
    let back: Vec<_> = net.host.take_emits().into_iter().map(|e| e.from).collect();
    assert_eq!(back, [net.occupant("#c%net", "juliet")], "she alone is not what she was");
    assert_eq!(rank("juliet"), Rank::NONE);
    assert_eq!(member(&net, &session, "juliet").person.away, None);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn where_nobody_would_say_who_is_back_nobody_is_away_after_a_break() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    client.send(":irc.test 352 romeo #c j capulet irc.test juliet G :0 Juliet").await;
    sync(&mut client).await;
    assert!(member(&net, &session, "juliet").rank.has(Rank::AWAY));
    client.reset();
    let mut client = stage.welcome("PREFIX=(ov)@+").await;
    client.admit("#c", "romeo juliet").await;
    client.expect("MODE #c").await;
    assert_eq!(member(&net, &session, "juliet").rank, Rank::NONE);
    session.stop().await.expect("stops");
}
