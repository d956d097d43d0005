//! Messages to contacts and back, and the errors of those that cannot be served.

use super::house::{ECHO, House, JULIET};

#[tokio::test]
async fn a_message_to_a_contact_comes_back_from_it() {
    let mut house = House::echo("").await;
    house.send(&format!(
        r"<message from='{JULIET}' to='alice\40example.net@{ECHO}/any' type='chat' id='m1'><body>Wherefore &lt;art&gt; thou?</body></message>"
    ));
    let back = house.next("the echo", |s| s.name == "message").await;
    assert_eq!(back.attr("from"), Some(r"alice\40example.net@echo.example.org"));
    assert_eq!(back.attr("to"), Some("juliet@example.org"));
    assert_eq!(back.body(), Some("Wherefore <art> thou?"));
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn a_held_message_comes_back_through_both_queues() {
    let mut house = House::echo("mode = \"held\"\n").await;
    for n in 0..20 {
        house.send(&format!(
            "<message from='{JULIET}' to='bob@{ECHO}' type='chat' id='h{n}'><body>number {n}</body></message>"
        ));
    }
    for n in 0..20 {
        let back = house.next("an echo", |s| s.name == "message").await;
        assert_eq!(back.body(), Some(format!("number {n}").as_str()), "order per sender holds");
        assert_eq!(back.attr("from"), Some("bob@echo.example.org"));
    }
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn an_answered_ping_means_that_what_was_sent_before_is_kept() {
    let mut house = House::echo("mode = \"held\"\n").await;
    house.server.rules(|r| r.route = false); // the barrier never comes back, so nothing leaves the inbox for good
    for n in 0..50 {
        house.send(&format!(
            "<message from='{JULIET}' to='bob@{ECHO}' type='chat' id='k{n}'><body>kept {n}</body></message>"
        ));
    }
    let answer = house.ask(JULIET, ECHO, "get", "<ping xmlns='urn:xmpp:ping'/>").await;
    assert_eq!(answer.attr("type"), Some("result"));
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn what_cannot_be_served_gets_the_right_error() {
    let mut house = House::echo("").await;
    for (stanza, error) in [
        ("to='room@echo.example.org' type='groupchat'><body>x</body>", "cancel/service-unavailable"),
        (
            "to='bob@echo.example.org' type='chat'><body>x</body><encryption xmlns='urn:xmpp:eme:0' namespace='urn:xmpp:omemo:2'/>",
            "modify/not-acceptable",
        ),
        ("to='a b@echo.example.org' type='chat'><body>x</body>", "modify/jid-malformed"),
    ] {
        house.send(&format!("<message from='{JULIET}' id='e1' {stanza}</message>"));
        let answer = house.next("an error", |s| s.attr("type") == Some("error")).await;
        assert_eq!(answer.error().as_deref(), Some(error), "{stanza}");
        assert_eq!(answer.attr("id"), Some("e1"));
    }
    // Ids are kept for long, and languages looked up: neither is as long as one likes.
    let (id, tag) = ("i".repeat(2_000), "a-".repeat(50_000));
    for (id, lang, error) in
        [(id.as_str(), "en", "modify/policy-violation"), ("e4", &*tag, "cancel/service-unavailable")]
    {
        house.send(&format!(
            "<message from='{JULIET}' id='{id}' xml:lang='{lang}' to='room@{ECHO}' type='groupchat'><body>x</body></message>"
        ));
        let answer = house.next("an error", |s| s.attr("type") == Some("error")).await;
        assert_eq!((answer.error().as_deref(), answer.attr("id")), (Some(error), Some(id)));
    }
    // Errors never get an answer, and everything still works.
    house.send(&format!(
        "<message from='{JULIET}' to='bob@{ECHO}' type='error' id='e2'><error type='cancel'/></message>"
    ));
    house.send(&format!(
        "<message from='{JULIET}' to='bob@{ECHO}' type='chat' id='e3'><body>still here</body></message>"
    ));
    let back = house.next("the echo", |s| s.name == "message").await;
    assert_eq!(back.body(), Some("still here"));
    house.finish().await.expect("an orderly stop");
}
