//! What users wish of rooms and of those inside, and what the others' wishes come to.

use isthmus_bridge::inbound::Departure;
use isthmus_bridge::query::Part;
use isthmus_bridge::{Query, RoomId, Values};

use super::*;

fn role(who: &Address, role: Option<&str>, affiliation: Option<&str>, reason: Option<&str>) -> Intent {
    let own = |word: Option<&str>| word.map(str::to_owned);
    Intent::SetRole { who: who.clone(), role: own(role), affiliation: own(affiliation), reason: own(reason) }
}

fn how(event: &Inbound) -> Departure {
    match &event.event {
        Event::Room(RoomChange::Left { how, .. }) => *how,
        other => panic!("a departure, not {other:?}"),
    }
}

const LEFT: fn(&Inbound) -> bool = |e| matches!(e.event, Event::Room(RoomChange::Left { .. }));

#[tokio::test]
async fn the_reason_of_a_ban_or_a_kick_is_told_to_the_network() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "@romeo juliet nurse").await;
    let (room, juliet) = (net.address("#c%net"), net.occupant("#c%net", "juliet"));
    session.send(room.clone(), role(&juliet, None, Some("outcast"), Some("why")));
    client.expect("USERHOST juliet").await;
    client.send(":irc.test 302 romeo :juliet=+j@capulet.test").await;
    client.expect("MODE #c +b *!*@capulet.test").await;
    assert_eq!(client.expect("KICK").await, "KICK #c juliet :why");
    // Clients that repeat what an outcast is ask for no less than a ban.
    session.send(room.clone(), role(&juliet, Some("none"), Some("outcast"), Some("again")));
    client.expect("USERHOST juliet").await;
    client.send(":irc.test 302 romeo :juliet=+j@capulet.test").await;
    client.expect("MODE #c +b *!*@capulet.test").await;
    assert_eq!(client.expect("KICK").await, "KICK #c juliet :again");
    session.send(room, role(&net.occupant("#c%net", "nurse"), Some("none"), Some("none"), Some("tea")));
    assert_eq!(client.expect("KICK").await, "KICK #c nurse :tea");
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_kick_behind_a_ban_that_fits_is_a_ban_and_any_other_is_a_kick() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "@romeo @tybalt juliet nurse peter").await;
    let room = net.address("#c%net");
    session.send(room.clone(), role(&net.occupant("#c%net", "juliet"), None, Some("outcast"), None));
    client.expect("USERHOST juliet").await;
    client.send(":irc.test 302 romeo :juliet=+j@capulet.test").await;
    client.expect("KICK #c juliet").await;
    client.send(":romeo!u@host.test MODE #c +b *!*@capulet.test").await;
    client.send(":romeo!u@host.test KICK #c juliet :romeo").await;
    let event = net.host.emitted("her ban", LEFT).await;
    assert_eq!((&event.from, how(&event)), (&net.occupant("#c%net", "juliet"), Departure::Banned));

    // What another operator does, who has banned nobody whom this mask fits; a ban that is lifted; the user's own end.
    let steps: [(&[&str], &str, Departure); 5] = [
        (&["tybalt!t@v MODE #c +b *!*@elsewhere"], "tybalt!t@v KICK #c nurse :out", Departure::Kicked),
        (&["nurse!n@capulet JOIN #c"], "tybalt!t@v KICK #c nurse :out", Departure::Kicked),
        (
            &["nurse!n@capulet JOIN #c", "tybalt!t@v MODE #c +b *!*@CAPULET"],
            "tybalt!t@v KICK #c nurse :out",
            Departure::Banned,
        ),
        (
            &["tybalt!t@v MODE #c +b peter!*@*", "tybalt!t@v MODE #c -b peter!*@*"],
            "tybalt!t@v KICK #c peter :out",
            Departure::Kicked,
        ),
        (&["tybalt!t@v MODE #c +b *!*@host.test"], "tybalt!t@v KICK #c romeo :out", Departure::Banned),
    ];
    for (before, kick, expected) in steps {
        for line in before {
            client.send(&format!(":{line}")).await;
        }
        client.send(&format!(":{kick}")).await;
        assert_eq!(how(&net.host.emitted("a departure", LEFT).await), expected, "{before:?} {kick}");
    }
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_participant_keeps_their_voice_where_nobody_needs_one() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "@romeo +juliet @+nurse").await;
    let room = net.address("#c%net");
    let done = session.send(room.clone(), role(&net.occupant("#c%net", "juliet"), Some("participant"), None, None));
    assert_eq!(failure(&net.host, &done).await, None, "she is one");
    session.send(room, role(&net.occupant("#c%net", "nurse"), Some("participant"), None, None));
    assert_eq!(client.expect("MODE").await, "MODE #c -o nurse");
    assert!(!client.seen.iter().any(|line| line.contains("juliet")), "{:?}", client.seen);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_private_room_is_hidden_like_a_secret_one_and_becomes_public_by_either() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "@romeo").await;
    for (modes, public, off) in
        [("+np", Some("false"), "-p"), ("+ns", Some("false"), "-s"), ("+nsp", Some("false"), "-sp")]
    {
        let answer = async {
            client.expect("MODE #c").await;
            client.send(&format!(":irc.test 324 romeo #c {modes}")).await;
        };
        let ((), (parts, end)) = tokio::join!(answer, session.ask(Query::RoomConfig(RoomId::from("#c%net"))));
        assert_eq!(end, Ok(()));
        let [Part::Facts(facts)] = &parts[..] else { panic!("{parts:?}") };
        assert_eq!(facts.get("muc#roomconfig_publicroom"), public, "{modes}");
        let values = Values::new().with("muc#roomconfig_publicroom", "true");
        session.send(net.address("#c%net"), Intent::SetRoomConfig { values });
        assert_eq!(client.expect("MODE").await, format!("MODE #c {off}"), "{modes}");
    }
    client.send(":romeo!u@host.test MODE #c -sp").await;
    net.told("the mode", key_is("mode")).await;
    let values = Values::new().with("muc#roomconfig_publicroom", "false");
    session.send(net.address("#c%net"), Intent::SetRoomConfig { values });
    assert_eq!(client.expect("MODE").await, "MODE #c +s");
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_list_of_rooms_is_filtered_by_what_the_rooms_are_called_and_not_the_network() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo").await;
    let list = async {
        client.expect("LIST").await;
        for line in ["322 romeo #big 10 :words", "322 romeo #planet 2 :", "322 romeo #c 3 :a Net", "323 romeo :End"] {
            client.send(&format!(":irc.test {line}")).await;
        }
    };
    let ((), (parts, end)) = tokio::join!(list, session.ask(Query::Rooms { filter: Some("net".to_owned()) }));
    assert_eq!(end, Ok(()));
    let found: Vec<_> = parts
        .iter()
        .map(|part| match part {
            Part::Room { room, .. } => room.as_str(),
            other => panic!("a room, not {other:?}"),
        })
        .collect();
    assert_eq!(found, ["#planet%net", "#c%net"]);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_conversation_leaves_the_room_with_the_last_client_of_a_user_who_stays_in_it() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    net.host.set_default("persistent", "true");
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    session.send(net.occupant("#c%net", "juliet"), chat("here"));
    client.expect("PRIVMSG juliet :here").await;
    let left = session.send(net.address("#c%net"), Intent::Leave { status: None });
    assert_eq!(failure(&net.host, &left).await, None);
    client.send(":juliet!j@k PRIVMSG romeo :hi").await;
    let event = net.host.emitted("her answer", |e| matches!(e.event, Event::Message(_))).await;
    assert_eq!((body(&event), &event.from), ("hi", &net.address("juliet%net")));
    // It began in a stay that is over.
    session.send(net.address("#c%net"), join("romeo"));
    client.send(":juliet!j@k PRIVMSG romeo :back?").await;
    let event = net.host.emitted("her question", |e| matches!(e.event, Event::Message(_))).await;
    assert_eq!(event.from, net.address("juliet%net"));
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn away_words_of_somebody_who_is_asked_about_stand_in_the_answer() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    let answer = async {
        client.expect("WHOIS juliet").await;
        for line in ["311 romeo Juliet j k * :J", "301 romeo Juliet :asleep", "318 romeo Juliet :End"] {
            client.send(&format!(":irc.test {line}")).await;
        }
    };
    let ((), (parts, end)) = tokio::join!(answer, session.ask(Query::About(net.occupant("#c%net", "juliet"))));
    assert_eq!(end, Ok(()));
    let [Part::Facts(facts)] = &parts[..] else { panic!("{parts:?}") };
    assert_eq!(facts.get("away"), Some("asleep"));
    assert!(!net.host.emits().iter().any(|e| matches!(e.event, Event::Notice { .. })), "told to nobody else");
    // Whoever speaks to her learns it.
    client.send(":irc.test 301 romeo Juliet :asleep").await;
    net.told("her words", key_is("away")).await;
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn answers_that_look_like_errors_are_shown_whole_and_refusals_of_all_servers_are_known() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    let key = session.send(net.address("#c%net"), Intent::SetSubject { subject: "x".to_owned() });
    client.expect("TOPIC").await;
    for (line, shown) in [
        ("728 romeo #c q *!*@mantua juliet!j@k 1700000000", "#c q *!*@mantua juliet!j@k 1700000000"),
        ("729 romeo #c q :End of Channel Quiet List", "#c q End of Channel Quiet List"),
        ("710 romeo #c paris!p@verona :has asked for an invite.", "#c paris!p@verona has asked for an invite."),
    ] {
        client.send(&format!(":irc.test {line}")).await;
        net.told(line, |t| t.to_string().ends_with(shown)).await;
    }
    client.send(":romeo!u@host.test TOPIC #c :x").await;
    assert_eq!(failure(&net.host, &key).await, None, "none of these was its answer");
    let juliet = net.occupant("#c%net", "juliet");
    let key = session.send(net.address("#c%net"), role(&juliet, Some("none"), None, None));
    client.expect("KICK").await;
    client.send(":irc.test 972 romeo KICK :Cannot kick: channel is +Q").await;
    assert_eq!(failure(&net.host, &key).await, Some(Failure::Forbidden));
    let key = session.send(net.address("#no%net"), join("romeo"));
    client.expect("JOIN #no").await;
    client.send(":irc.test 926 romeo #no :Channel #no is forbidden: no").await;
    assert_eq!(failure(&net.host, &key).await, Some(Failure::Forbidden));
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn whether_the_network_hears_that_one_is_away_counts_at_once() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo").await;
    let network = net.address("net");
    let away = |away: bool| Intent::Presence { available: true, away, status: away.then(|| "lunch".to_owned()) };
    session.send(network.clone(), away(true));
    assert_eq!(client.expect("AWAY").await, "AWAY :lunch");
    for (wanted, line) in [("false", "AWAY"), ("true", "AWAY :lunch"), ("false", "AWAY")] {
        session.set(&network, "away", Some(wanted)).await;
        assert_eq!(client.expect("AWAY").await, line, "{wanted}");
    }
    // Who is back meanwhile is not away when it may be told again.
    session.send(network.clone(), away(false));
    session.set(&network, "away", Some("true")).await;
    session.set(&network, "realname", Some("Romeo")).await;
    session.send(network, Intent::Raw { line: "TIME".to_owned() });
    client.expect("TIME").await;
    assert!(!client.seen.iter().any(|l| l.starts_with("AWAY")), "{:?}", client.seen);
    session.stop().await.expect("stops");
}

/// As with biboumi: they choose the user first, then the networks.
#[tokio::test]
async fn an_administrator_ends_one_connection_of_somebody() {
    const NODE: &str = "disconnect-from-irc-server";
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let mut ends = Vec::new();
    for network in ["net", "other"] {
        let session = Session::start(&net.bridge, &net.host, USER, &net.address(network));
        session.send(net.address(&format!("#c%{network}")), join("romeo"));
        let mut client = stage.welcome("").await;
        client.admit("#c", "romeo").await;
        ends.push((session, client));
    }
    let admin = isthmus_bridge::BareJid::from("admin@example.org");
    net.host.add_admin(&admin);
    let values =
        |all: &[(&str, &str)]| all.iter().fold(Values::new(), |values, (key, value)| values.with(*key, *value));
    let run = async |by: &isthmus_bridge::BareJid, forms| {
        let call = isthmus_bridge::Call::start(NODE, by.clone(), Address::Gateway);
        isthmus_bridge::suite::run_command(&*net.bridge, &net.host.host(), call, forms).await.expect("it works")
    };
    let asked = |step: isthmus_bridge::Step| match step {
        isthmus_bridge::Step::Ask { form, .. } => form.fields.iter().map(|f| f.key.clone()).collect::<Vec<_>>(),
        step => panic!("a form, not {step:?}"),
    };
    assert_eq!(asked(run(&USER.into(), Vec::new()).await), ["irc-servers", "quit-message"], "for oneself");
    assert_eq!(asked(run(&admin, Vec::new()).await), ["jid"]);
    let whose = values(&[("jid", USER)]);
    assert_eq!(asked(run(&admin, vec![whose.clone()]).await), ["irc-servers", "quit-message"]);
    let nobody = run(&admin, vec![values(&[("jid", "nobody@example.org")])]).await;
    assert!(matches!(nobody, isthmus_bridge::Step::Done { .. }), "{nobody:?}");
    // Somebody else's name in a form that was not asked for is nothing.
    let forged = values(&[("jid", USER), ("irc-servers", "net")]);
    let mut call = isthmus_bridge::Call::start(NODE, "mallory@example.org".into(), Address::Gateway);
    (call.action, call.values) = (isthmus_bridge::Action::Complete, forged);
    drop(net.bridge.step(call, &net.host.host()).await);
    run(&admin, vec![whose, values(&[("irc-servers", "other"), ("quit-message", "out of here")])]).await;
    let (session, mut client) = ends.pop().expect("two");
    assert_eq!(client.expect("QUIT").await, "QUIT :out of here");
    session.stop().await.expect("stops");
    let (session, mut client) = ends.pop().expect("two");
    client.send("PING :sync").await;
    client.expect("PONG :sync").await;
    assert!(!client.seen.iter().any(|l| l.starts_with("QUIT")), "{:?}", client.seen);
    session.stop().await.expect("stops");
}
