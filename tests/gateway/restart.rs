//! What comes back by itself when the gateway is started again.

use std::time::Duration;

use isthmus_testkit::ircd::Ircd;
use isthmus_testkit::xml::Element;

use super::house::{House, IRC};
use super::rooms::codes;

const USERS: u32 = 8;
/// A far network sees so much time between two connections that nobody asked for.
const APART: Duration = Duration::from_millis(250);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_brings_persistent_users_back_into_their_rooms_one_by_one() {
    let mut ircd = Ircd::start("", &[]).await.expect("a server");
    let keys = format!("allow_private_networks = true\npersistent_by_default = true\n{}", ircd.network());
    let mut house = House::of(("irc", "irc"), IRC, &keys, "").await;
    for user in 0..USERS {
        let (who, room) = (format!("user{user}@example.org/desk"), format!("#verona%net@{IRC}"));
        house.knock(&who, &room, &format!("user{user}"));
        let own = |s: &Element| s.attr("to") == Some(&*who) && codes(s).contains(&"110");
        house.next("own presence", own).await;
        ircd.line("JOIN #verona").await.expect("at the server");
    }
    let house = house.again().await;
    let mut back = Vec::new();
    for before in 0..USERS {
        let heard = ircd.line("JOIN #verona").await.unwrap_or_else(|e| panic!("only {back:?} came back: {e}"));
        let (at, nick) = (heard.connected, heard.nick);
        // Nobody may be earlier than their turn; how much later they are is the machine's affair.
        let least = APART * before;
        assert!(at - house.began >= least, "{nick}, behind {back:?}, {:?} after the start", at - house.began);
        back.push(nick);
    }
    back.sort();
    assert_eq!(back, (0..USERS).map(|user| format!("user{user}")).collect::<Vec<_>>());
    house.finish().await.expect("an orderly stop");
}
