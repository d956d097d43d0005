//! A changed configuration, taken without a restart of the program.

use std::time::Duration;

use super::house::{ECHO, House, JULIET, write};

const PING: &str = "<ping xmlns='urn:xmpp:ping'/>";

#[tokio::test]
async fn rules_count_at_once_and_a_changed_bridge_starts_anew() {
    let mut house = House::echo("").await;
    let file = house.folder.path().join("bridges/echo.toml");
    let before = std::fs::read_to_string(&file).expect("the bridge's file");

    write(&file, &format!("{before}[access]\nrules = [{{ match = \"juliet@example.org\", tier = \"blocked\" }}]\n"));
    house.reload.notify_one();
    let mut answer = house.ask(JULIET, ECHO, "get", PING).await;
    for _ in 0..100 {
        if answer.error().is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        answer = house.ask(JULIET, ECHO, "get", PING).await;
    }
    assert_eq!(answer.error().as_deref(), Some("auth/forbidden"), "the link stayed, the rule counts");

    write(&file, &format!("{before}prefix = \"echo: \"\n"));
    house.reload.notify_one();
    house.server.attached(ECHO).await.expect("the bridge attaches anew");
    house.send(&format!("<message from='{JULIET}' to='bob@{ECHO}' type='chat' id='r1'><body>hello</body></message>"));
    let back = house.next("the echo", |s| s.name == "message").await;
    assert_eq!(back.body(), Some("echo: hello"));
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn a_faulty_configuration_changes_nothing() {
    let mut house = House::echo("").await;
    write(&house.folder.path().join("bridges/echo.toml"), "kind = \"echo\"\n");
    house.reload.notify_one();
    let answer = house.ask(JULIET, ECHO, "get", PING).await;
    assert_eq!(answer.attr("type"), Some("result"));
    house.finish().await.expect("an orderly stop");
}
