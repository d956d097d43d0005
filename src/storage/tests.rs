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
