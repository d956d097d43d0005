//! Attaching, staying attached, losing the stream, coming back.

use std::time::Duration;

use super::super::error::{BatchLost, LinkEnd, LinkError, LinkState, NotSent};
use super::super::lanes::Lane;
use super::super::render::Rendered;
use super::server::{Link, Server};

fn reason(state: LinkState) -> LinkError {
    match state {
        LinkState::Down { reason, .. } => reason,
        other => panic!("{other:?} is not down"),
    }
}

fn error(condition: &str) -> String {
    format!("<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>")
}

fn messages(count: usize) -> Vec<Rendered> {
    (0..count)
        .map(|number| format!("<message from='x@gw.localhost' to='a@b' id='{number}'><body>{number}</body></message>"))
        .map(|xml| Rendered::parse(xml.as_bytes()).expect("a stanza"))
        .collect()
}

#[tokio::test]
async fn a_wrong_secret_or_an_unknown_host_ends_the_first_attempt_and_says_where_to_look() {
    for (condition, names) in [("not-authorized", "component_secret"), ("host-unknown", "Component \"gw.localhost\"")] {
        let server = Server::bind().await;
        let link = Link::start(server.config());
        let mut peer = server.connection().await;
        peer.greeted().await;
        peer.say(&error(condition)).await;
        let LinkEnd::Fatal(reason) = link.end().await else { panic!("{condition} must be fatal at first") };
        assert!(reason.needs_operator(), "{reason:?}");
        assert!(reason.to_string().contains(names), "{reason}");
        assert!(reason.to_string().contains("127.0.0.1:"), "{reason}");
    }
}

#[tokio::test]
async fn an_unknown_host_told_before_the_handshake_is_understood() {
    let server = Server::bind().await;
    let link = Link::start(server.config());
    let mut peer = server.connection().await;
    peer.until("to='gw.localhost'>").await;
    peer.say(&format!("{}{}", super::HEADER, error("host-unknown"))).await;
    drop(peer);
    assert!(matches!(link.end().await, LinkEnd::Fatal(LinkError::HostUnknown { .. })));
}

#[tokio::test]
async fn the_same_errors_are_retried_once_the_link_has_been_attached() {
    let server = Server::bind().await;
    let mut link = Link::start(server.config());
    let peer = server.attached().await;
    assert_eq!(link.attached().await, 1);
    drop(peer);
    for condition in ["not-authorized", "host-unknown"] {
        let mut peer = server.connection().await;
        peer.greeted().await;
        peer.say(&error(condition)).await;
    }
    let _peer = server.attached().await;
    assert_eq!(link.attached().await, 2);
    link.stop.cancel();
    assert_eq!(link.end().await, LinkEnd::Stopped);
}

#[tokio::test]
async fn a_conflict_and_a_server_that_is_away_are_retried_and_named() {
    let server = Server::bind().await;
    let mut link = Link::start(server.config());
    drop(server.connection().await);
    assert!(matches!(reason(link.down().await), LinkError::Closed | LinkError::Broken { .. }));
    let mut peer = server.connection().await;
    peer.greeted().await;
    peer.say(&error("conflict")).await;
    let conflict = reason(link.down().await);
    assert_eq!(conflict.to_string(), "another component is attached as gw.localhost");
    let mut peer = server.connection().await;
    peer.say("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    assert!(matches!(reason(link.down().await), LinkError::Forbidden { .. }));
    let mut peer = server.attached().await;
    link.attached().await;
    peer.say(&error("system-shutdown")).await;
    let shutdown = LinkError::Stream { condition: "system-shutdown".into(), text: None };
    assert_eq!(reason(link.down().await), shutdown);

    let gone = Server::bind().await;
    let config = gone.config();
    drop(gone);
    let mut link = Link::start(config);
    assert!(matches!(reason(link.down().await), LinkError::Unreachable { .. }));
    link.stop.cancel();
    assert_eq!(link.end().await, LinkEnd::Stopped);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let server = Server::bind().await;
    let mut config = server.config();
    config.keepalive.attach = Duration::from_millis(50);
    let mut link = Link::start(config);
    let _peer = server.connection().await;
    assert_eq!(reason(link.down().await), LinkError::TimedOut { doing: "opening the stream" });
}

#[tokio::test]
async fn a_bad_stanza_is_answered_where_allowed_and_the_stream_goes_on() {
    let server = Server::bind().await;
    let mut link = Link::start(server.config());
    let mut peer = server.attached().await;
    peer.route_ping().await;
    peer.say("<iq from='a@b/c' to='x@gw.localhost/r' id='1' type='get'/>").await;
    let answer = peer.until("</iq>").await;
    assert_eq!(
        answer,
        "<iq from='x@gw.localhost/r' to='a@b/c' id='1' type='error'><error type='modify'>\
         <bad-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
    );
    assert_eq!(link.malformed().await.why, "a request that does not hold exactly one child");
    // No answer: to an error, to a result, to nobody, to what is no address.
    peer.say("<message type='error' from='a@b' to='x@gw.localhost'><a:b/></message>").await;
    peer.say("<iq type='result' id='1' from='a@b' to='x@gw.localhost'><a/><b/></iq>").await;
    peer.say("<presence type='bogus' to='x@gw.localhost'/><presence type='bogus' from='@' to='x@gw.localhost'/>").await;
    // From the gateway where the addressee is nothing that we may say.
    peer.say(&format!("<message from='a@b' to='elsewhere' id='2'><body>{}</body></message>", "x".repeat(1 << 20)))
        .await;
    let answer = peer.until("</message>").await;
    assert!(answer.starts_with("<message from='gw.localhost' to='a@b' id='2' type='error'>"), "{answer}");
    assert!(answer.contains("<policy-violation "), "{answer}");
    peer.say("<message from='a@b' to='x@gw.localhost' id='good'/>").await;
    assert_eq!(link.stanza().await.0.id(), Some("good"));
    assert_eq!(link.handle.state().borrow().epoch(), Some(1), "still the first stream");
}

#[tokio::test]
async fn an_address_that_is_no_jid_can_be_answered() {
    let server = Server::bind().await;
    let mut link = Link::start(server.config());
    let mut peer = server.attached().await;
    peer.route_ping().await;
    peer.say("<message from='a@b' to='x@@gw.localhost' id='1'/>").await;
    let (stanza, _permit) = link.stanza().await;
    link.handle.refuse(&stanza, super::super::Refusal::JidMalformed).expect("written");
    let answer = peer.until("</message>").await;
    assert!(answer.starts_with("<message from='gw.localhost' to='a@b' id='1' type='error'>"), "{answer}");
    assert!(answer.contains("<jid-malformed "), "{answer}");
}

#[tokio::test]
async fn a_forbidden_construct_ends_the_stream_and_the_link_comes_back() {
    let server = Server::bind().await;
    let mut link = Link::start(server.config());
    let mut peer = server.attached().await;
    peer.say("<!-- hello -->").await;
    let last = peer.rest().await;
    assert!(last.contains("<restricted-xml "), "{last}");
    assert!(last.ends_with("</stream:error></stream:stream>"), "{last}");
    assert!(matches!(reason(link.down().await), LinkError::Forbidden { .. }));
    let _peer = server.attached().await;
    assert_eq!(link.attached().await, 2);
}

#[tokio::test]
async fn a_batch_is_confirmed_when_its_ping_comes_back_in_any_form() {
    let server = Server::bind().await;
    let mut link = Link::start(server.config());
    let mut peer = server.attached().await;
    let epoch = link.attached().await;
    peer.route_ping().await; // the trial that finds the address
    for how in ["type='get'", "type='result'", "type='error'"] {
        let handle = link.handle.clone();
        let batch = tokio::spawn(async move { handle.batch(epoch, &messages(100)).await });
        let (before, ping) = peer.ping().await;
        assert_eq!(before.matches("<body>").count(), 100, "all of the batch goes before the ping");
        assert!(!batch.is_finished(), "confirmed before the ping came back");
        peer.say(&ping.replace("type='get'", how)).await;
        assert_eq!(super::server::soon("the batch", batch).await.expect("no panic"), Ok(()), "{how}");
    }
    assert!(!link.has_event(), "the barrier's pings are nobody else's");
}

#[tokio::test]
async fn the_barrier_s_address_is_found_by_trial() {
    let server = Server::bind().await;
    let mut config = server.config();
    // The answer to the second trial has twice that long before there is a third.
    config.keepalive.trial = Duration::from_millis(500);
    let mut link = Link::start(config);
    let mut peer = server.attached().await;
    let epoch = link.attached().await;
    let handle = link.handle.clone();
    let batch = tokio::spawn(async move { handle.batch(epoch, &messages(1)).await });
    let (_, first) = peer.ping().await;
    let (before, second) = peer.ping().await;
    assert_eq!(before, "", "no batch before an address is known");
    assert_ne!(first.split(" to=").next(), second.split(" to=").next(), "another local part is tried");
    peer.say(&second).await;
    let (before, ping) = peer.ping().await;
    assert_eq!(before.matches("<body>").count(), 1);
    assert_eq!(ping.split(" to=").next(), second.split(" to=").next(), "the one that came back serves");
    peer.say(&ping).await;
    assert_eq!(super::server::soon("the batch", batch).await.expect("no panic"), Ok(()));
}

#[tokio::test]
async fn a_batch_learns_how_the_stream_ended_and_an_old_one_is_not_written() {
    let server = Server::bind().await;
    let mut link = Link::start(server.config());
    let mut peer = server.attached().await;
    let epoch = link.attached().await;
    peer.route_ping().await;
    let handle = link.handle.clone();
    let batch = tokio::spawn(async move { handle.batch(epoch, &messages(3)).await });
    peer.ping().await;
    peer.say(&error("policy-violation")).await;
    let policy = LinkError::Stream { condition: "policy-violation".into(), text: None };
    let lost = super::server::soon("the batch", batch).await.expect("no panic");
    assert_eq!(lost, Err(BatchLost::StreamEnded { epoch, reason: policy.clone() }));
    let mut peer = server.attached().await;
    assert_eq!(link.attached().await, 2);
    peer.route_ping().await;
    let old = link.handle.batch(epoch, &messages(3)).await;
    assert_eq!(old, Err(BatchLost::StreamEnded { epoch, reason: policy }));
    let foreign = Rendered::parse(b"<message from='x@elsewhere' to='a@b'/>").expect("a stanza");
    let batch = [messages(1), vec![foreign]].concat();
    let refused = link.handle.batch(2, &batch).await;
    assert!(matches!(refused, Err(BatchLost::Refused { index: 1, .. })), "{refused:?}");
}

#[tokio::test]
async fn a_silent_server_is_pinged_and_then_given_up() {
    let server = Server::bind().await;
    let mut config = server.config();
    // Patience is the time that this test may be kept waiting on a busy machine.
    config.keepalive.idle = Duration::from_millis(50);
    config.keepalive.patience = Duration::from_secs(2);
    let mut link = Link::start(config);
    let mut peer = server.attached().await;
    link.attached().await;
    peer.route_ping().await;
    let (_, ping) = peer.ping().await;
    peer.say(&ping).await; // alive
    peer.ping().await; // and now silent
    let silent = reason(link.down().await);
    assert!(matches!(silent, LinkError::Silent { seconds } if seconds >= 2), "{silent:?}");
    let _peer = server.attached().await;
    assert_eq!(link.attached().await, 2);
}

#[tokio::test]
async fn reading_pauses_at_the_limit_of_uncommitted_stanzas() {
    let server = Server::bind().await;
    let mut config = server.config();
    config.limits.uncommitted = 8;
    let mut link = Link::start(config);
    let mut peer = server.attached().await;
    link.attached().await;
    for number in 0..20 {
        peer.say(&format!("<message from='a@b' to='x@gw.localhost' id='{number}'/>")).await;
    }
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(link.stanza().await);
    }
    // The writer goes on: our own traffic goes through while the reader waits.
    for _ in 0..3 {
        link.handle
            .write(Lane(1), |w| {
                w.message("gw.localhost", "a@b", None, None).leaf("body", None, "still here");
            })
            .expect("written");
        peer.until("still here").await;
        assert!(!link.has_event(), "a ninth stanza came with eight uncommitted");
    }
    held.clear();
    for _ in 8..20 {
        held.push(link.stanza().await);
        held.clear();
    }
}

#[tokio::test]
async fn a_receiver_that_panics_loses_that_stanza_only() {
    let server = Server::bind().await;
    let mut link = Link::start(server.config());
    link.panic_on("bad");
    let mut peer = server.attached().await;
    peer.say("<message from='a@b' to='x@gw.localhost' id='bad'/>").await;
    peer.say("<message from='a@b' to='x@gw.localhost' id='good'/>").await;
    assert_eq!(link.stanza().await.0.id(), Some("good"));
}

#[tokio::test]
async fn an_orderly_stop_writes_what_waits_and_closes_the_stream() {
    let server = Server::bind().await;
    let mut link = Link::start(server.config());
    let mut peer = server.attached().await;
    link.attached().await;
    for number in 0..5000 {
        let text = format!("number {number}");
        let sent = link.handle.write(Lane(number), |w| {
            w.message("gw.localhost", "a@b", None, None).leaf("body", None, &text);
        });
        assert_eq!(sent, Ok(()));
    }
    link.stop.cancel();
    let all = peer.rest().await;
    assert_eq!(all.matches("<body>").count(), 5000);
    assert!(all.ends_with("</stream:stream>"));
    let handle = link.handle.clone();
    assert_eq!(link.end().await, LinkEnd::Stopped);
    let sent = handle.write(Lane(1), |w| {
        w.presence("gw.localhost", "a@b", None, None);
    });
    assert_eq!(sent, Err(NotSent::Detached));
}

#[tokio::test]
async fn a_full_lane_has_room_again_when_the_server_reads() {
    let server = Server::bind().await;
    let mut link = Link::start(server.config());
    let mut peer = server.attached().await;
    link.attached().await;
    let body = "x".repeat(50_000);
    let write = |handle: &super::super::LinkHandle| {
        handle.write(Lane(1), |w| {
            w.message("gw.localhost", "a@b", None, None).leaf("body", None, &body);
        })
    };
    let mut sent = 0;
    while write(&link.handle) != Err(NotSent::Full) {
        sent += 1;
        assert!(sent < 10_000, "the lane never fills");
        tokio::task::yield_now().await;
    }
    let handle = link.handle.clone();
    let room = tokio::spawn(async move { handle.room(Lane(1)).await });
    let mut read = 0;
    while read < sent {
        peer.until("</body>").await;
        read += 1;
    }
    super::server::soon("room", room).await.expect("no panic");
    assert_eq!(write(&link.handle), Ok(()));
    peer.until("</body>").await;
}
