//! The store itself, the same tests on both engines.

use super::*;

async fn on_sqlite() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(Open::new("sqlite://isthmus.db", folder.path())).await.unwrap();
    (folder, store)
}

#[tokio::test]
async fn one_bad_operation_fails_alone() {
    let (_folder, store) = on_sqlite().await;
    let put = |key: &'static str, bad: bool| {
        store.write((key, bad), |tx, (key, bad)| {
            Box::pin(async move {
                let sql = "INSERT INTO once (bridge, person, once, at) VALUES ('b', 'p', $1, 1)";
                tx.execute(sql, args![*key]).await?;
                if *bad {
                    tx.execute(sql, args![*key]).await?; // breaks the primary key
                }
                Ok(())
            })
        })
    };
    let (one, two, three) = tokio::join!(put("1", false), put("2", true), put("3", false));
    assert!(one.is_ok() && three.is_ok());
    assert!(matches!(two, Err(StoreError::Fault(_))), "{two:?}");
    let rows = store.read("SELECT once FROM once ORDER BY once", args![]).await.unwrap();
    let found: Vec<String> = rows.iter().map(|row| row.text(0).unwrap()).collect();
    assert_eq!(found, ["1", "3"]);
}

#[tokio::test]
async fn a_second_process_is_turned_away() {
    let (folder, store) = on_sqlite().await;
    let second = Store::open(Open::new("sqlite://isthmus.db", folder.path())).await;
    assert!(second.unwrap_err().to_string().starts_with("another isthmus is using"));
    store.close().await;
    drop(store);
    Store::open(Open::new("sqlite://isthmus.db", folder.path())).await.unwrap();
}

#[tokio::test]
async fn a_newer_schema_is_named() {
    let (folder, store) = on_sqlite().await;
    store
        .write((), |tx, ()| {
            Box::pin(async move {
                tx.execute("INSERT INTO schema_steps (step, name, at) VALUES (9999, 'future', 1)", args![]).await
            })
        })
        .await
        .unwrap();
    store.close().await;
    drop(store);
    let error = Store::open(Open::new("sqlite://isthmus.db", folder.path())).await.unwrap_err();
    assert!(error.to_string().contains("newer isthmus"), "{error}");
}

/// Puts a number into a table with unique numbers.
async fn put(store: &Store, n: i64) -> Result<(), StoreError> {
    store
        .write(n, |tx, n| {
            Box::pin(async move {
                let sql = "INSERT INTO once (bridge, person, once, at) VALUES ('b', 'p', $1, $2)";
                tx.execute(sql, args![n.to_string(), *n]).await?;
                Ok(())
            })
        })
        .await
}

async fn numbers(store: &Store) -> std::collections::HashSet<i64> {
    let rows = store.read("SELECT at FROM once", args![]).await.unwrap();
    rows.iter().map(|row| row.int(0).unwrap()).collect()
}

#[tokio::test]
async fn a_full_disk_refuses_and_recovers() {
    let (_folder, store) = on_sqlite().await;
    put(&store, 1).await.unwrap();
    let pages = |sql: &'static str| {
        store.write((), move |tx, ()| Box::pin(async move { tx.fetch(sql, args![]).await.map(|_| ()) }))
    };
    pages("PRAGMA max_page_count = 1").await.unwrap(); // SQLite takes the size that it has: not a page more
    let big = "x".repeat(200_000);
    let full = store
        .write(big, |tx, big| {
            Box::pin(async move {
                tx.execute("INSERT INTO once (bridge, person, once, at) VALUES ('b', 'p', $1, 0)", args![big]).await
            })
        })
        .await;
    assert!(matches!(&full, Err(StoreError::Unavailable(why)) if why.contains("full")), "{full:?}");
    pages("PRAGMA max_page_count = 1073741823").await.unwrap();
    put(&store, 2).await.unwrap();
    assert_eq!(numbers(&store).await, [1, 2].into());
}

#[tokio::test]
async fn a_locked_database_is_waited_for_and_then_refused() {
    use sqlx::{ConnectOptions, Connection};
    let (folder, store) = on_sqlite().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path().join("isthmus.db"));
    let mut other = options.connect().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let (waits, ()) = tokio::join!(put(&store, 1), async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    });
    waits.expect("a short lock is waited for");
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    assert!(matches!(put(&store, 2).await, Err(StoreError::Unavailable(_))), "a long one is not");
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    put(&store, 3).await.expect("and it recovers");
    assert_eq!(numbers(&store).await, [1, 3].into());
    other.close().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_opened_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        ("sqlite://isthmus.db", folder.path().join("missing"), "cannot open the database"),
        ("sqlite://", folder.path().to_owned(), "expected sqlite://FILE"),
        ("mysql://u:secret@h/d", folder.path().to_owned(), "expected sqlite://FILE"),
        ("postgres://u:secret@127.0.0.1:1/d", folder.path().to_owned(), "cannot use the database server"),
    ];
    for (url, data_dir, words) in cases {
        let error = Store::open(Open::new(url, data_dir)).await.unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains("secret"), "{url}: {error}");
    }
}

/// Every answer is the truth, even where the connection broke under the commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_restarts_under_load() {
    use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
    let mut server =
        isthmus_testkit::postgres::Postgres::start().await.expect("PostgreSQL (apt install postgresql) starts");
    let store = Store::open(Open::new(server.url(), "/nonexistent")).await.unwrap();
    let (next, stop) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicBool::new(false)));
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let (store, next, stop) = (store.clone(), next.clone(), stop.clone());
            tokio::spawn(async move {
                let (mut good, mut bad) = (Vec::new(), Vec::new());
                while !stop.load(Ordering::SeqCst) {
                    let n = next.fetch_add(1, Ordering::SeqCst);
                    match put(&store, n).await {
                        Ok(()) => good.push(n),
                        Err(StoreError::Unavailable(_)) => bad.push(n),
                        Err(error) => panic!("{error}"),
                    }
                }
                (good, bad)
            })
        })
        .collect();
    for round in 0..3 {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        if round == 1 {
            server.kill();
        } else {
            server.stop().await.unwrap();
        }
        server.launch().await.unwrap();
    }
    let before = next.load(Ordering::SeqCst);
    let goes_on = async {
        while next.load(Ordering::SeqCst) < before + 50 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    testing::within("writes to go on after the last restart", goes_on).await;
    stop.store(true, Ordering::SeqCst);
    let mut expected = std::collections::HashSet::new();
    let mut refused = 0;
    for writer in writers {
        let (good, bad) = writer.await.unwrap();
        expected.extend(good);
        refused += bad.len();
    }
    assert_eq!(
        numbers(&store).await,
        expected,
        "what was answered with Ok is there, what was refused ({refused}) is not"
    );
}
