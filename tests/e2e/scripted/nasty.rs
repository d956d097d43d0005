//! Bytes that no decent server sends.

use super::{ALICE, ECHO, PING, attached, chat};

#[tokio::test]
async fn single_bad_stanzas_leave_the_stream_standing() {
    let (mut server, _gateway) = attached("live").await;
    let to = format!("from='{ALICE}' to='carol@{ECHO}'");
    let deep = "<a>".repeat(5000) + &"</a>".repeat(5000);
    for bad in [
        format!("<presence {to} type='bogus'/>"),
        format!("<iq {to} type='get' id='e'/>"),
        format!("<iq {to} type='get'><q xmlns='u'/></iq>"),
        format!("<message from='{ALICE}' to='@@{ECHO}'><body>x</body></message>"),
        format!("<message from='@/' to='{ECHO}'><body>x</body></message>"),
        format!("<presence {to}><show>purple</show></presence>"),
        format!("<message {to}><x xmlns='u' y='{}'/></message>", "y".repeat(9 << 10)),
        format!("<message {to}><body>{}</body></message>", "z".repeat(1 << 20)),
        format!("<message {to}>{deep}</message>"),
        format!("<message {to}><p:x/></message>"),
        format!("<message {to} type='error'/>"),
        "<unheard xmlns='u'/>".to_owned(),
        "  \n ".to_owned(),
    ] {
        server.send(ECHO, bad).unwrap();
    }
    server.send(ECHO, chat("after", "still there")).unwrap();
    server.stanza("the echo", |s| s.body() == Some("still there")).await.unwrap();
    let seen = format!("{:?}", server.drain());
    assert!(!seen.contains("Detached"), "the stream ended: {seen}");
}

#[tokio::test]
async fn what_xmpp_forbids_ends_the_stream_and_it_is_attached_again() {
    let (mut server, _gateway) = attached("live").await;
    // Few, because each time it waits longer before it attaches.
    for forbidden in ["<!DOCTYPE x>", "</presence>", "<?php x?>"] {
        server.send(ECHO, forbidden).unwrap();
        server.attached(ECHO).await.unwrap();
        let pong = server.ask(ALICE, ECHO, "get", PING).await.unwrap();
        assert_eq!(pong.attr("type"), Some("result"), "after {forbidden:?}");
    }
}
