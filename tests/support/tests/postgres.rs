//! The launcher of PostgreSQL does what it says.
#![allow(clippy::unwrap_used, reason = "a test")]

use isthmus_testkit::postgres::Postgres;

#[tokio::test]
async fn postgres_keeps_its_data_over_a_stop_and_a_kill() {
    let mut server = Postgres::start().await.unwrap();
    let url = server.database("one").await.unwrap();
    assert!(url.ends_with("/one"), "{url}");
    server.sql("CREATE TABLE t AS SELECT 7 AS n").await.unwrap();
    server.stop().await.unwrap();
    server.launch().await.unwrap();
    assert_eq!(server.sql("SELECT n FROM t").await.unwrap(), "7\n");
    server.kill();
    server.launch().await.unwrap();
    assert_eq!(server.sql("SELECT n FROM t").await.unwrap(), "7\n");
    assert_eq!(server.sql("SHOW fsync").await.unwrap(), "on\n");
}
