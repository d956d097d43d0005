use super::query::Question;
use super::*;
use crate::storage::Clock;
use crate::storage::testing::{Place, START, on_both_engines};

const ROOM: &str = "#verona";

async fn open(place: &Place) -> (Archive, Clock) {
    let clock = Clock::manual(START);
    let store = Store::open(place.open(clock.clone())).await.expect("the store opens");
    (Archive::new(store, "rooms"), clock)
}

static OCCUPANT: std::sync::LazyLock<Arc<str>> = std::sync::LazyLock::new(|| "o".into());

fn said<'a>(room: &'a RoomId, nick: &'a str, body: &'a str, at: SystemTime) -> Said<'a> {
    Said {
        room,
        nick: Some(nick),
        occupant: Some(&OCCUPANT),
        body,
        thread: None,
        payload: None,
        id: None,
        foreign: None,
        at,
    }
}

async fn seen(archive: &Archive, user: &str, question: Question) -> Vec<String> {
    let question = Question { max: if question.max == 0 { 100 } else { question.max }, ..question };
    let found = archive.find(&ROOM.into(), &user.into(), &question).await.expect("the store answers");
    found.lines.into_iter().map(|l| l.body).collect()
}

on_both_engines!(
    a_user_sees_what_was_said_while_they_were_inside,
    pages_go_both_ways,
    a_crash_ends_stays_and_old_lines_go,
    a_full_room_loses_its_oldest_lines,
    rows_are_written_without_being_asked_for_and_it_is_measured_how_long_they_waited,
    a_commit_that_somebody_waits_for_goes_before_rows_that_came_earlier,
    what_is_withdrawn_leaves_its_place,
    lines_of_the_former_schema_are_taken_along,
    what_a_server_of_ones_own_says_is_kept_for_its_user_alone,
    who_hears_a_line_finds_it_though_another_session_was_quicker,
    what_waits_for_a_user_who_goes_is_written_and_nothing_more_is_kept
);

/// One session hears a line before another one knows that it is inside, and the other hears it then: networks tell each in their own time.
async fn who_hears_a_line_finds_it_though_another_session_was_quicker(place: Place) {
    let (archive, clock) = open(&place).await;
    let (room, romeo, juliet) =
        (RoomId::from(ROOM), BareJid::from("romeo@x.example"), BareJid::from("juliet@x.example"));
    let hears = |user: &BareJid, body: &str| {
        clock.advance(Duration::from_secs(1));
        archive.hears(user, &Said { foreign: Some(body), ..said(&room, "nurse", body, archive.now()) }).expect("kept")
    };
    archive.enter(&room, &romeo);
    hears(&romeo, "before she came");
    let quick = hears(&romeo, "quick");
    clock.advance(Duration::from_secs(1));
    archive.enter(&room, &juliet);
    assert_eq!(hears(&juliet, "quick"), quick);
    hears(&juliet, "after");
    hears(&romeo, "after");
    for (user, body) in [(&romeo, "one"), (&romeo, "two"), (&juliet, "two"), (&juliet, "one")] {
        hears(user, body);
    }
    assert_eq!(seen(&archive, "juliet@x.example", Question::default()).await, ["quick", "after", "one", "two"]);
    let all = ["before she came", "quick", "after", "one", "two"];
    assert_eq!(seen(&archive, "romeo@x.example", Question::default()).await, all);
    // What lies within a stay needs no other: hers is open, and there is that of the quick line.
    let sql = "SELECT COUNT(*) FROM archive_stays WHERE person = 'juliet@x.example'";
    assert_eq!(archive.inner.store.read(sql, vec![]).await.expect("the store answers")[0].int(0), Ok(2));
}

async fn what_waits_for_a_user_who_goes_is_written_and_nothing_more_is_kept(place: Place) {
    let (archive, _) = open(&place).await;
    let (room, romeo, juliet) =
        (RoomId::from(ROOM), BareJid::from("romeo@x.example"), BareJid::from("juliet@x.example"));
    let hers = apart::own_log(&room, &juliet);
    archive.enter(&room, &romeo);
    archive.enter(&hers, &juliet);
    archive.hears(&juliet, &said(&hers, "nurse", "waits", archive.now()));
    assert_eq!(archive.kept().len(), 2);
    archive.forget(&juliet).await.expect("written");
    assert_eq!(rows_of(&archive.inner.store).await, 1, "it is there to be removed");
    assert_eq!(archive.hears(&juliet, &said(&hers, "nurse", "too late", archive.now())), None);
    assert_eq!(archive.kept(), [(room, romeo)]);
}

async fn what_a_server_of_ones_own_says_is_kept_for_its_user_alone(place: Place) {
    let (archive, clock) = open(&place).await;
    let (room, romeo, juliet) =
        (RoomId::from(ROOM), BareJid::from("romeo@x.example"), BareJid::from("juliet@x.example"));
    let hers = apart::own_log(&room, &juliet);
    let hears = |log: &RoomId, user: &BareJid, body: &str| {
        clock.advance(Duration::from_secs(1));
        let line = Said { foreign: Some(body), ..said(log, "nurse", body, archive.now()) };
        let id = archive.hears(user, &line).unwrap_or_else(|| panic!("{body} is not kept"));
        clock.advance(Duration::from_secs(1));
        id
    };
    let moves = |from: Option<&RoomId>, to: &RoomId| {
        clock.advance(Duration::from_secs(1));
        from.into_iter().for_each(|from| archive.leave(from, &juliet));
        archive.enter(to, &juliet);
        clock.advance(Duration::from_secs(1));
    };
    archive.enter(&room, &romeo);
    // On her own server, on the network, and on her own again.
    moves(None, &hers);
    assert_ne!(hears(&room, &romeo, "same words"), hears(&hers, &juliet, "same words"));
    assert_eq!(archive.hears(&juliet, &said(&room, "nurse", "not for her now", archive.now())), None);
    moves(Some(&hers), &room);
    let both = hears(&room, &romeo, "to both");
    assert_eq!(hears(&room, &juliet, "to both"), both, "one line");
    moves(Some(&room), &hers);
    hears(&room, &romeo, "to him");
    let last = hears(&hers, &juliet, "to her");
    archive.fetched(&juliet, &Said { foreign: Some("missed"), ..said(&hers, "nurse", "missed", archive.now()) });
    let ask = async |user: &str, question| seen(&archive, user, question).await;
    assert_eq!(ask("romeo@x.example", Question::default()).await, ["same words", "to both", "to him"]);
    let all = ["same words", "to both", "to her", "missed"];
    assert_eq!(ask("juliet@x.example", Question::default()).await, all, "of both logs, by time");
    assert!(ask("tybalt@x.example", Question::default()).await.is_empty());
    // Pages and ids go through both logs.
    assert_eq!(ask("juliet@x.example", Question { max: 2, ..Question::default() }).await, all[..2]);
    let after = Some(both.clone());
    assert_eq!(ask("juliet@x.example", Question { max: 1, after, ..Question::default() }).await, all[2..3]);
    assert_eq!(ask("juliet@x.example", Question { max: 3, backwards: true, ..Question::default() }).await, all[1..]);
    let ids = vec![last.clone(), both];
    assert_eq!(ask("juliet@x.example", Question { ids, ..Question::default() }).await, ["to her", "to both"]);
    let of_hers = Question { ids: vec![last], max: 1, ..Question::default() };
    assert!(archive.find(&room, &romeo, &of_hers).await.expect("the store answers").unknown);
    let page = Question { max: 3, ..Question::default() };
    let page = archive.find(&room, &juliet, &page).await.expect("the store answers");
    assert_eq!((page.complete, page.count, page.lines.len()), (false, 4, 3));
    let whole = Question { max: 4, ..Question::default() };
    assert!(archive.find(&room, &juliet, &whole).await.expect("the store answers").complete);
    let ends = archive.ends(&room, &juliet).await.expect("the store answers").expect("lines");
    assert_eq!((ends.0.body.as_str(), ends.1.body.as_str()), (all[0], all[3]));
    // Names are apart, too; and each log has its own bound.
    let name = names::Name { id: "x1".into(), head: "x1".into(), foreign: Some("f1".into()), ..names::Name::default() };
    archive.name(&names::Place::Room(hers.clone()), name);
    assert!(archive.named_lately(&names::Place::Room(room.clone()), &"f1".into()).is_none());
    let after = Archive::new(archive.inner.store.clone(), "rooms");
    archive.flush().await.expect("written");
    after.recall().await.expect("the store answers");
    assert!(after.named_lately(&names::Place::Room(hers), &"f1".into()).is_some(), "after a restart, too");
    archive.sweep(&Retention { keep_lines: 2, ..Retention::default() }).await.expect("swept");
    assert_eq!(ask("romeo@x.example", Question::default()).await, ["to both", "to him"]);
    assert_eq!(ask("juliet@x.example", Question::default()).await, all[1..]);
}

async fn a_user_sees_what_was_said_while_they_were_inside(place: Place) {
    let (archive, clock) = open(&place).await;
    let room = RoomId::from(ROOM);
    let (romeo, juliet) = (BareJid::from("romeo@example.org"), BareJid::from("juliet@example.org"));
    let say = |who: &[&BareJid], body: &str| {
        clock.advance(Duration::from_secs(1));
        let ids: Vec<_> = who.iter().map(|u| archive.hears(u, &said(&room, "romeo", body, archive.now()))).collect();
        assert!(ids.windows(2).all(|w| w[0] == w[1]), "one line has one id for all: {ids:?}");
        clock.advance(Duration::from_secs(1));
    };
    assert_eq!(archive.hears(&romeo, &said(&room, "romeo", "nobody keeps it", archive.now())), None);
    archive.enter(&room, &romeo);
    say(&[&romeo], "alone");
    archive.enter(&room, &juliet);
    say(&[&romeo, &juliet], "both");
    archive.leave(&room, &juliet);
    say(&[&romeo], "alone again");
    archive.enter(&room, &juliet);
    say(&[&juliet, &romeo], "both again");
    assert_eq!(
        seen(&archive, "romeo@example.org", Question::default()).await,
        ["alone", "both", "alone again", "both again"]
    );
    assert_eq!(seen(&archive, "juliet@example.org", Question::default()).await, ["both", "both again"]);
    assert!(seen(&archive, "tybalt@example.org", Question::default()).await.is_empty());
    let ends = archive.ends(&room, &juliet).await.expect("the store answers").expect("two lines");
    assert_eq!((ends.0.body.as_str(), ends.1.body.as_str()), ("both", "both again"));

    // What a session fetched later stands at its time, once.
    archive.leave(&room, &juliet);
    let missed = archive.now();
    clock.advance(Duration::from_secs(60));
    archive.enter(&room, &juliet);
    for _ in 0..2 {
        let line = Said { foreign: Some("f1"), ..said(&room, "nurse", "missed", missed) };
        archive.fetched(&juliet, &line);
    }
    say(&[&juliet], "back");
    let all = seen(&archive, "juliet@example.org", Question::default()).await;
    assert_eq!(all, ["both", "both again", "missed", "back"]);
}

async fn pages_go_both_ways(place: Place) {
    let (archive, clock) = open(&place).await;
    let (room, romeo) = (RoomId::from(ROOM), BareJid::from("romeo@example.org"));
    archive.enter(&room, &romeo);
    let mut ids = Vec::new();
    for n in 0..10 {
        clock.advance(Duration::from_secs(1));
        let nick = if n % 2 == 0 { "romeo" } else { "nurse" };
        ids.extend(archive.hears(&romeo, &said(&room, nick, &n.to_string(), archive.now())));
    }
    let ask = |question| seen(&archive, "romeo@example.org", question);
    let after = Some(ids[3].clone());
    assert_eq!(ask(Question { max: 2, ..Question::default() }).await, ["0", "1"]);
    assert_eq!(ask(Question { max: 2, after: after.clone(), ..Question::default() }).await, ["4", "5"]);
    assert_eq!(ask(Question { max: 2, backwards: true, ..Question::default() }).await, ["8", "9"]);
    assert_eq!(
        ask(Question { max: 2, backwards: true, before: after.clone(), ..Question::default() }).await,
        ["1", "2"]
    );
    assert_eq!(
        ask(Question { with: Some("nurse".to_owned()), ..Question::default() }).await,
        ["1", "3", "5", "7", "9"]
    );
    assert_eq!(ask(Question { ids: vec![ids[7].clone(), ids[1].clone()], ..Question::default() }).await, ["7", "1"]);
    let start = Some(SystemTime::UNIX_EPOCH + Duration::from_millis(START as u64 + 9_000));
    assert_eq!(ask(Question { start, ..Question::default() }).await, ["8", "9"]);
    let find = async |question| archive.find(&room, &romeo, &question).await.expect("the store answers");
    let page = find(Question { max: 3, ..Question::default() }).await;
    assert_eq!((page.complete, page.count, page.unknown), (false, 10, false));
    assert!(find(Question { max: 10, ..Question::default() }).await.complete);
    assert!(find(Question { max: 3, after: Some("nonsense".to_owned()), ..Question::default() }).await.unknown);
    assert!(find(Question { max: 3, ids: vec!["nonsense".to_owned()], ..Question::default() }).await.unknown);
    let last = archive.last(&room, &romeo, 3, None, &ids[8]).await.expect("the store answers");
    assert_eq!(last.iter().map(|l| l.body.as_str()).collect::<Vec<_>>(), ["5", "6", "7"]);
}

async fn a_crash_ends_stays_and_old_lines_go(place: Place) {
    let (archive, clock) = open(&place).await;
    let (room, romeo) = (RoomId::from(ROOM), BareJid::from("romeo@example.org"));
    archive.enter(&room, &romeo);
    clock.advance(Duration::from_secs(1));
    archive.hears(&romeo, &said(&room, "romeo", "before", archive.now()));
    archive.flush().await.expect("written");
    clock.advance(Duration::from_secs(1));

    // Another process: its own users are inside, he is not.
    let after = Archive::new(archive.inner.store.clone(), "rooms");
    let stop = CancellationToken::new();
    stop.cancel();
    after.clone().run(stop).await;
    clock.advance(Duration::from_secs(1));
    let juliet = BareJid::from("juliet@example.org");
    after.enter(&room, &juliet);
    clock.advance(Duration::from_secs(1));
    after.hears(&juliet, &said(&room, "juliet", "after", after.now()));
    assert_eq!(seen(&after, "romeo@example.org", Question::default()).await, ["before"]);
    assert_eq!(seen(&after, "juliet@example.org", Question::default()).await, ["after"]);

    let keep = Retention::default();
    clock.advance(keep.keep_for - Duration::from_secs(2));
    after.sweep(&keep).await.expect("swept");
    assert!(seen(&after, "romeo@example.org", Question::default()).await.is_empty());
    assert_eq!(seen(&after, "juliet@example.org", Question::default()).await, ["after"]);
}

async fn a_full_room_loses_its_oldest_lines(place: Place) {
    let (archive, clock) = open(&place).await;
    let (room, romeo) = (RoomId::from(ROOM), BareJid::from("romeo@example.org"));
    archive.enter(&room, &romeo);
    for n in 0..10 {
        clock.advance(Duration::from_secs(1));
        archive.hears(&romeo, &said(&room, "romeo", &n.to_string(), archive.now()));
    }
    archive.flush().await.expect("written");
    let keep = Retention { keep_lines: 0, ..Retention::default() };
    archive.sweep(&keep).await.expect("swept");
    assert_eq!(seen(&archive, "romeo@example.org", Question::default()).await.len(), 10, "0 is no bound");
    archive.sweep(&Retention { keep_lines: 3, ..keep }).await.expect("swept");
    assert_eq!(seen(&archive, "romeo@example.org", Question::default()).await, ["7", "8", "9"]);
    let young = Retention { keep_for: Duration::from_millis(1_500), ..keep };
    archive.sweep(&young).await.expect("swept");
    assert_eq!(seen(&archive, "romeo@example.org", Question::default()).await, ["8", "9"]);
}

/// What is gathered waits for less than a second, all on its own, and how long it took is measured.
async fn rows_are_written_without_being_asked_for_and_it_is_measured_how_long_they_waited(place: Place) {
    const _: () = assert!(GATHER.as_millis() < 1_000);
    let store = Store::open(place.open(Clock::system())).await.expect("the store opens");
    let archive = Archive::new(store.clone(), "rooms");
    let (room, romeo) = (RoomId::from(ROOM), BareJid::from("romeo@example.org"));
    let stop = CancellationToken::new();
    let running = tokio::spawn(archive.clone().run(stop.clone()));
    let begun = Instant::now();
    archive.enter(&room, &romeo);
    archive.hears(&romeo, &said(&room, "romeo", "kept", archive.now()));
    while rows_of(&store).await == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.cancel();
    running.await.expect("it ends");
    let delay = archive.delay();
    assert!(delay.count() > 0 && delay.longest > Duration::ZERO, "{delay:?}");
    assert!(delay.longest <= begun.elapsed(), "{delay:?}");
}

async fn rows_of(store: &Store) -> i64 {
    let rows = store.read("SELECT COUNT(*) FROM archive", vec![]).await.expect("the store answers");
    rows[0].int(0).expect("a number")
}

/// The order of commits is looked at, not the time: the writer is held, rows come to it before a message does, and the message goes first.
async fn a_commit_that_somebody_waits_for_goes_before_rows_that_came_earlier(place: Place) {
    let store = Store::open(place.open(Clock::system())).await.expect("the store opens");
    let archive = Archive::new(store.clone(), "rooms");
    let (room, romeo) = (RoomId::from(ROOM), BareJid::from("romeo@example.org"));
    archive.enter(&room, &romeo);
    archive.hears(&romeo, &said(&room, "romeo", "first", archive.now()));
    archive.flush().await.expect("written"); // the room has its number now: what follows is one write
    for n in 0..3 * STEP {
        archive.hears(&romeo, &said(&room, "romeo", &n.to_string(), archive.now()));
    }
    let (busy, go) = (Arc::new(Notify::new()), Arc::new(tokio::sync::Semaphore::new(0)));
    let held = tokio::spawn({
        let (store, data) = (store.clone(), (busy.clone(), go.clone()));
        async move {
            store
                .write(data, |_, (busy, go)| {
                    Box::pin(async move {
                        busy.notify_one();
                        drop(go.acquire().await);
                        Ok(())
                    })
                })
                .await
        }
    });
    busy.notified().await;
    let flush = tokio::spawn({
        let archive = archive.clone();
        async move { archive.flush().await }
    });
    while store.queued() == 0 {
        tokio::task::yield_now().await;
    }
    let waits = tokio::spawn({
        let store = store.clone();
        async move {
            store
                .write((), |tx, ()| {
                    Box::pin(async move {
                        let row = tx.fetch_one("SELECT COUNT(*) FROM archive", vec![]).await?;
                        row.expect("a count").int(0)
                    })
                })
                .await
        }
    });
    while store.queued() < 2 {
        tokio::task::yield_now().await;
    }
    go.add_permits(1);
    held.await.expect("no panic").expect("committed");
    let there = waits.await.expect("no panic").expect("committed");
    assert_eq!(there, 1, "the message waited for rows that came before it");
    flush.await.expect("no panic").expect("written");
    assert_eq!(rows_of(&store).await, 1 + 3 * STEP as i64, "the rows follow");
}

async fn what_is_withdrawn_leaves_its_place(place: Place) {
    let (archive, clock) = open(&place).await;
    let (room, romeo) = (RoomId::from(ROOM), BareJid::from("romeo@example.org"));
    archive.enter(&room, &romeo);
    clock.advance(Duration::from_secs(1));
    let id = archive.hears(&romeo, &said(&room, "romeo", "rash words", archive.now())).expect("kept");
    archive.withdraw(&room, &id);
    let question = Question { max: 10, ..Question::default() };
    let found = archive.find(&room, &romeo, &question).await.expect("the store answers").lines;
    assert_eq!((found.len(), found[0].body.as_str(), found[0].gone.is_some()), (1, "", true));
}

/// A database as it was before step 10: the rows are of the table of then.
async fn lines_of_the_former_schema_are_taken_along(place: Place) {
    let clock = Clock::manual(START);
    let store = Store::open(place.open(clock.clone())).await.expect("the store opens");
    let former = [
        "DROP TABLE archive",
        "DROP TABLE archive_rooms",
        "CREATE TABLE archive (bridge TEXT NOT NULL, room TEXT NOT NULL, id TEXT NOT NULL, at BIGINT NOT NULL, nick TEXT, occupant TEXT, \
         body TEXT NOT NULL, thread TEXT, foreign_id TEXT, payload TEXT, gone BIGINT, PRIMARY KEY (bridge, room, id))",
        "CREATE INDEX archive_at ON archive (at)",
        "CREATE INDEX archive_foreign ON archive (bridge, room, foreign_id)",
        "INSERT INTO archive (bridge, room, id, at, nick, body, foreign_id, payload) VALUES ('rooms', '#verona', '00000000000000000000000001', 5, 'ann', 'first', NULL, NULL), \
         ('rooms', '#verona', '00000000000000000000000002', 6, 'bob', 'second', 'f2', '<x/>'), ('rooms', '#mantua', '00000000000000000000000001', 5, 'ann', 'elsewhere', NULL, NULL), \
         ('others', '#verona', '00000000000000000000000001', 5, 'ann', 'of another bridge', NULL, NULL)",
        "INSERT INTO archive_stays (bridge, room, person, since, until) VALUES ('rooms', '#verona', 'romeo@example.org', '00000000000000000000000001', NULL)",
        "DELETE FROM schema_steps WHERE step = 10",
    ];
    for sql in former {
        store.write(sql, |tx, sql| Box::pin(async move { tx.execute(sql, vec![]).await })).await.expect(sql);
    }
    store.close().await;
    let store = Store::open(place.open(clock)).await.expect("the schema is brought up to date");
    let archive = Archive::new(store, "rooms");
    assert_eq!(seen(&archive, "romeo@example.org", Question::default()).await, ["first", "second"]);
    // And it goes on where it was: new lines, and what is known by the network's id is not kept twice.
    let (room, romeo) = (RoomId::from(ROOM), BareJid::from("romeo@example.org"));
    archive.enter(&room, &romeo);
    archive.fetched(&romeo, &Said { foreign: Some("f2"), ..said(&room, "bob", "second", archive.now()) });
    archive.hears(&romeo, &said(&room, "ann", "third", archive.now()));
    assert_eq!(seen(&archive, "romeo@example.org", Question::default()).await, ["first", "second", "third"]);
}
