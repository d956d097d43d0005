//! A network among a user's contacts.

use isthmus_testkit::ircd::Ircd;
use isthmus_testkit::xml::Element;

use super::house::{House, IRC, JULIET};
use super::rooms::codes;

/// What a presence says: type, show, status.
type Said = (Option<String>, Option<String>, Option<String>);

fn said(stanza: &Element) -> Said {
    let words = |name: &str| stanza.child(name).map(|child| child.text.clone());
    (stanza.attr("type").map(str::to_owned), words("show"), words("status"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_networks_presence_says_how_the_connection_stands_and_why() {
    let mut ircd = Ircd::start("", &[]).await.expect("a server");
    let keys = format!("allow_private_networks = true\n{}", ircd.network());
    let mut house = House::of(("irc", "irc"), IRC, &keys, "").await;
    let (user, network, room) = ("juliet@example.org", format!("net@{IRC}"), format!("#verona%net@{IRC}"));
    let of_network =
        |s: &Element| s.name == "presence" && s.attr("from") == Some(&*network) && s.attr("to") == Some(user);
    house.send(&format!("<presence from='{user}' to='{network}' type='subscribe'/>"));
    house.next("subscribed", |s| of_network(s) && s.attr("type") == Some("subscribed")).await;
    let gone = |status: Option<&str>| (Some("unavailable".to_owned()), None, status.map(str::to_owned));
    let there: Said = (None, None, None);
    let states = async |house: &mut House, count: usize| {
        let mut all = Vec::new();
        while all.len() < count {
            all.push(said(&house.next("a state", of_network).await));
        }
        all
    };
    assert_eq!(states(&mut house, 1).await, [gone(None)], "nobody has wanted a connection");
    house.knock(JULIET, &room, "juliet");
    house.next("own presence", |s| codes(s).contains(&"110")).await;
    ircd.line("JOIN").await.expect("at the server");
    assert_eq!(states(&mut house, 2).await, [gone(Some("connecting")), there.clone()]);
    // It breaks, with a reason, and comes back by itself.
    ircd.say("juliet", b"ERROR :Closing Link: juliet (the server goes down)").expect("connected");
    ircd.close("juliet").expect("connected");
    let broken = gone(Some("not connected: Closing Link: juliet (the server goes down)"));
    assert_eq!(states(&mut house, 3).await, [broken, gone(Some("connecting")), there]);
    ircd.line("JOIN").await.expect("back in the room");
    // A probe says the same as the last of them.
    house.send(&format!("<presence from='{JULIET}' to='{network}' type='probe'/>"));
    let probed = house
        .next("an answer", |s| {
            s.name == "presence" && s.attr("to") == Some(JULIET) && s.attr("from") == Some(&*network)
        })
        .await;
    assert_eq!(said(&probed), (None, None, None));
    house.send(&format!("<presence from='{JULIET}' to='{room}/juliet' type='unavailable'/>"));
    ircd.line("QUIT").await.expect("nothing needs the connection");
    assert_eq!(states(&mut house, 1).await, [gone(Some("not connected: Left the network."))]);
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn a_fingerprint_that_is_none_is_refused_by_the_form() {
    let ircd = Ircd::start("", &[]).await.expect("a server");
    let mut house = House::of(("irc", "irc"), IRC, &ircd.network(), "").await;
    let network = format!("net@{IRC}");
    let command = |more: &str, inside: &str| {
        format!("<command xmlns='http://jabber.org/protocol/commands' node='configure' {more}>{inside}</command>")
    };
    let form = house.ask(JULIET, &network, "set", &command("action='execute'", "")).await;
    let session = form.walk().find_map(|e| e.attr("sessionid")).expect("a session").to_owned();
    let filled = |value: &str| {
        let field = format!("<field var='fingerprint'><value>{value}</value></field>");
        let x = format!("<x xmlns='jabber:x:data' type='submit'>{field}</x>");
        command(&format!("action='complete' sessionid='{session}'"), &x)
    };
    let status = |answer: &Element| answer.child("command").and_then(|c| c.attr("status")).map(str::to_owned);
    let sha1 = ["ab"; 20].join(":");
    let again = house.ask(JULIET, &network, "set", &filled(&sha1)).await;
    assert_eq!(status(&again).as_deref(), Some("executing"), "{again}");
    let words = again.walk().map(|e| e.text.as_str()).collect::<Vec<_>>().join("\n");
    assert!(words.contains("not the SHA-256 of a certificate"), "{words}");
    assert!(words.contains(&sha1), "what was given is there still: {words}");
    let good = format!("sha256 Fingerprint={}", ["AB"; 32].join(":"));
    let done = house.ask(JULIET, &network, "set", &filled(&good)).await;
    assert_eq!(status(&done).as_deref(), Some("completed"), "{done}");
    house.finish().await.expect("an orderly stop");
}
