//! How long what was said in rooms is kept, and how soon it is on disk, on real servers.

use std::sync::Arc;
use std::time::Duration;

use isthmus_testkit::isthmus::{Isthmus, Setup};
use isthmus_testkit::server::{Flavour, Options, XmppServer};
use isthmus_testkit::slix::SlixClient;
use isthmus_testkit::wait::until;
use isthmus_testkit::xml::Element;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::inside::{HELD, Inside, LOOP};
use super::irc::{DOMAIN, is_group, join, say};
use super::irc_flood::{Pace, serve};

const MAM: &str = "urn:xmpp:mam:2";
const RETRACT: &str = "urn:xmpp:message-retract:1";
const RSM: &str = "http://jabber.org/protocol/rsm";
/// What a busy machine may take, and is no fault.
const PATIENCE: Duration = Duration::from_secs(120);

crate::on_both!(
    old_lines_and_too_many_go_and_the_archive_begins_later,
    what_messages_are_called_is_forgotten_with_its_time,
    each_finds_what_was_said_while_they_were_inside,
    rows_of_a_flood_are_on_disk_after_a_second_or_it_is_told_and_delay_nobodys_message,
);

/// What the archive of a room holds for this client, and the id of its first line by `<metadata/>`.
async fn archive(client: &mut SlixClient, room: &str) -> (Vec<String>, Option<String>) {
    let question = format!("<query xmlns='{MAM}' queryid='q'><set xmlns='{RSM}'><max>100</max></set></query>");
    client.drain();
    let end = client.ask(room, "set", &question).await.unwrap();
    assert_eq!(end.error(), None, "{end}");
    let body = |s: &Element| s.get("result", MAM)?.walk().find(|e| e.name == "body").map(|b| b.text.clone());
    let bodies = client.drain().iter().filter_map(body).collect();
    let ends = client.ask(room, "get", &format!("<metadata xmlns='{MAM}'/>")).await.unwrap();
    let start = ends.walk().find(|e| e.name == "start").and_then(|e| e.attr("id")).map(str::to_owned);
    (bodies, start)
}

/// Says a line, and gives the id that the room gave it.
async fn said(client: &mut SlixClient, room: &str, body: &str) -> String {
    say(client, room, &body.replace(' ', "-"), body).await;
    let heard = client.find("the line", |s| is_group(s) && s.body() == Some(body)).await.unwrap();
    heard.child("stanza-id").and_then(|s| s.attr("id")).unwrap().to_owned()
}

async fn old_lines_and_too_many_go_and_the_archive_begins_later(flavour: Flavour) {
    let world = Inside::both_with(flavour, |_| {}, "[archive]\nkeep_for = \"2d\"\nkeep_lines = 3\n").await;
    let mut romeo = world.online("romeo").await;
    let rooms = ["#verona", "#mantua"].map(|name| format!("{name}%loop@{LOOP}"));
    let mut ids = Vec::new();
    for room in &rooms {
        join(&mut romeo, room, "romeo").await;
    }
    for n in 0..5 {
        ids.push(said(&mut romeo, &rooms[0], &format!("line {n}")).await);
    }
    let elsewhere = said(&mut romeo, &rooms[1], "elsewhere").await;
    let (bodies, start) = archive(&mut romeo, &rooms[0]).await;
    assert_eq!((bodies.len(), start.as_ref()), (5, Some(&ids[0])), "{bodies:?}");
    // By count: in each room the last three, when it is next looked after.
    let becomes = async |romeo: &mut SlixClient, room: &str, bodies: &[&str], start: &str| {
        let begun = std::time::Instant::now();
        loop {
            let now = archive(romeo, room).await;
            if now.0 == bodies && now.1.as_deref() == Some(start) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{now:?} is there, and not {bodies:?} from {start}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    world.clock.advance(Duration::from_secs(6 * 60));
    becomes(&mut romeo, &rooms[0], &["line 2", "line 3", "line 4"], &ids[2]).await;
    assert_eq!(archive(&mut romeo, &rooms[1]).await, (vec!["elsewhere".to_owned()], Some(elsewhere)));
    let gone = format!(
        "<query xmlns='{MAM}'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>{MAM}</value></field>\
         <field var='ids'><value>{}</value></field></x></query>",
        ids[0]
    );
    let refused = romeo.ask(&rooms[0], "set", &gone).await.unwrap();
    assert_eq!(refused.error().as_deref(), Some("cancel/item-not-found"), "{refused}");
    // By age: a day later there is a new line, another day and a bit later only that is young enough.
    world.clock.advance(Duration::from_secs(24 * 3600));
    let new = said(&mut romeo, &rooms[0], "the next day").await;
    world.clock.advance(Duration::from_secs(24 * 3600));
    becomes(&mut romeo, &rooms[0], &["the next day"], &new).await;
    let (bodies, start) = archive(&mut romeo, &rooms[1]).await;
    assert!(bodies.is_empty() && start.is_none(), "{bodies:?} {start:?}");
    world.finish().await;
}

async fn each_finds_what_was_said_while_they_were_inside(flavour: Flavour) {
    let world = Inside::both(flavour).await;
    let (mut romeo, mut juliet) = (world.online("romeo").await, world.online("juliet").await);
    let room = format!("#verona%loop@{LOOP}");
    join(&mut romeo, &room, "romeo").await;
    said(&mut romeo, &room, "before she came").await;
    join(&mut juliet, &room, "juliet").await;
    let first = said(&mut romeo, &room, "to her").await;
    juliet.find("the line", |s| is_group(s) && s.body() == Some("to her")).await.unwrap();
    juliet.send(format!("<presence to='{room}/juliet' type='unavailable'/>")).await.unwrap();
    let gone = |s: &Element| s.name == "presence" && s.attr("type") == Some("unavailable");
    romeo.find("her end", gone).await.unwrap();
    said(&mut romeo, &room, "behind her back").await;
    join(&mut juliet, &room, "juliet").await;
    said(&mut romeo, &room, "to her again").await;
    juliet.find("the line", |s| is_group(s) && s.body() == Some("to her again")).await.unwrap();
    let (his, _) = archive(&mut romeo, &room).await;
    assert_eq!(his, ["before she came", "to her", "behind her back", "to her again"]);
    assert_eq!(archive(&mut juliet, &room).await, (vec!["to her".to_owned(), "to her again".to_owned()], Some(first)));
    // Who was never inside finds nothing.
    let mut carol = world.online("carol").await;
    assert_eq!(archive(&mut carol, &room).await, (Vec::new(), None));
    world.finish().await;
}

async fn what_messages_are_called_is_forgotten_with_its_time(flavour: Flavour) {
    let world = Inside::both_with(flavour, |_| {}, "[archive]\nremember_for = \"2d\"\n").await;
    let mut romeo = world.online("romeo").await;
    let alice = format!("alice%loop@{HELD}");
    let retract = |id: &str| {
        let retract = format!("<retract xmlns='{RETRACT}' id='{id}'/>");
        format!("<message to='{alice}' type='chat' id='w-{id}'>{retract}</message>")
    };
    for id in ["m1", "m2"] {
        let words = format!("<message to='{alice}' type='chat' id='{id}'><body>words {id}</body></message>");
        romeo.send(words).await.unwrap();
        romeo.body(&format!("words {id}")).await.unwrap();
    }
    world.clock.advance(Duration::from_secs(24 * 3600));
    romeo.send(retract("m1")).await.unwrap();
    romeo
        .find("the withdrawal", |s| s.get("retract", RETRACT).is_some_and(|r| r.attr("id") == Some("m1")))
        .await
        .unwrap();
    // A day and a bit later nobody knows any more what the network called the other one.
    world.clock.advance(Duration::from_secs(24 * 3600 + 600));
    let begun = std::time::Instant::now();
    loop {
        romeo.send(retract("m2")).await.unwrap();
        let note = |s: &Element| s.body().is_some_and(|b| b.contains("could not be withdrawn"));
        let known = |s: &Element| s.get("retract", RETRACT).is_some_and(|r| r.attr("id") == Some("m2"));
        let told = romeo.find("what became of it", |s| note(s) || known(s)).await.unwrap();
        if note(&told) {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "it is still known: {told}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    world.finish().await;
}

/// Lines of the flood: as many as a client that we did not write reads in a few seconds.
const LINES: usize = 3_000;

#[allow(clippy::print_stdout, reason = "the figure")]
async fn rows_of_a_flood_are_on_disk_after_a_second_or_it_is_told_and_delay_nobodys_message(flavour: Flavour) {
    let (mut gateway, server, begin) = flooded(flavour).await;
    let mut romeo = SlixClient::online(&server, "romeo@localhost/desk").await.unwrap();
    let mut benvolio = SlixClient::online(&server, "benvolio@localhost/desk").await.unwrap();
    let room = format!("#flood%net@{DOMAIN}");
    join(&mut romeo, &room, "romeo").await;
    begin.notify_one();
    romeo.find("the first line", |s| is_group(s) && s.body() == Some("line 0")).await.unwrap();
    // Somebody else talks with a held contact, whose every message is committed before it is carried.
    let talk = tokio::spawn(async move {
        let mut slowest = Duration::ZERO;
        for n in 0..10 {
            let asked = std::time::Instant::now();
            benvolio.message("carol@echo.localhost", &format!("question {n}")).await.unwrap();
            assert_eq!(benvolio.ping("echo.localhost").await.unwrap().attr("type"), Some("result"));
            slowest = slowest.max(asked.elapsed());
        }
        slowest
    });
    let last = format!("line {}", LINES - 1);
    let is_last = |s: &Element| is_group(s) && s.body() == Some(&last);
    assert!(romeo.find_within(PATIENCE, is_last).await.unwrap().is_some(), "the last line is told");
    let slowest = talk.await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;

    // Every line was delivered more than a second ago. On a machine that is too slow for that, the gateway has to know and to say so.
    let database = gateway.folder().join("data/isthmus.db");
    let late = rows(&database).await < LINES;
    if late {
        let all = async || {
            anyhow::ensure!(rows(&database).await == LINES, "rows are missing");
            Ok(())
        };
        until("the rows", PATIENCE, all).await.unwrap();
    }
    let figures = gateway.get("/metrics").await.unwrap();
    let figure = |name: &str| -> f64 {
        let name = format!("isthmus_archive_commit_delay_{name}{{bridge=\"irc\"}} ");
        let line = figures.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or_else(|| panic!("{figures}"));
        line.trim().parse().unwrap()
    };
    let (longest, commits) = (figure("longest_seconds"), figure("seconds_count"));
    println!(
        "{LINES} lines in {commits} commits, the oldest of one waited {:.0} ms at most, {:.0} ms on average; a held message was accepted within {} ms",
        longest * 1e3,
        figure("seconds_sum") / commits * 1e3,
        slowest.as_millis()
    );
    assert!(commits > 1.0 && longest > 0.0, "{figures}");
    if late || longest > 1.0 {
        assert!(longest > 1.0, "rows were late, and the longest measured is {longest} s");
        gateway.logged("reached the disk late").await.unwrap();
    }
    assert!(longest < 30.0, "{longest} s is no slow machine any more");

    gateway.kill();
    assert_eq!(rows(&database).await, LINES, "a kill takes nothing back");
    gateway.launch().await.unwrap();
    join(&mut romeo, &room, "romeo").await;
    let one = format!("<query xmlns='{MAM}' queryid='q'><set xmlns='{RSM}'><max>1</max><before/></set></query>");
    let end = romeo.ask(&room, "set", &one).await.unwrap();
    let count = end.walk().find(|e| e.name == "count").map(|c| c.text.clone());
    assert_eq!(count, Some(LINES.to_string()), "each of them is found: {end}");
    let found = romeo.find("the line", |s| s.has("result", MAM)).await.unwrap();
    assert!(found.walk().any(|e| e.name == "body" && e.text == last), "{found}");
}

/// A gateway with a network that floods when it is told to, and a held contact.
async fn flooded(flavour: Flavour) -> (Isthmus, XmppServer, Arc<Notify>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let begin = Arc::new(Notify::new());
    tokio::spawn(serve(listener, begin.clone(), Pace { lines: LINES, a_second: 1_000 }));
    let users = vec!["romeo@localhost".to_owned(), "benvolio@localhost".to_owned()];
    let components = vec![DOMAIN.to_owned(), "echo.localhost".to_owned()];
    let server = XmppServer::start(flavour, Options { components, users, ..Options::default() }).await.unwrap();
    let keys = format!(
        "allow_private_networks = true\n[networks.net]\naddress = \"127.0.0.1\"\ntls_ports = []\nports = [{port}]\n"
    );
    let setup = Setup::new(env!("CARGO_BIN_EXE_isthmus"), server.component()).bridge("irc", "irc", DOMAIN, &keys);
    let gateway = setup.bridge("echo", "echo", "echo.localhost", "mode = \"held\"\n").start().await.unwrap();
    (gateway, server, begin)
}

/// Lines of the flood that are on disk, each counted once.
async fn rows(database: &std::path::Path) -> usize {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database).read_only(true);
    let mut reader = <sqlx::SqliteConnection as sqlx::Connection>::connect_with(&options).await.unwrap();
    let count = "SELECT COUNT(DISTINCT body) FROM archive WHERE body LIKE 'line %'";
    let count: i64 = sqlx::query_scalar(count).fetch_one(&mut reader).await.unwrap();
    usize::try_from(count).unwrap()
}
