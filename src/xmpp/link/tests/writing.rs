//! The writer: well-formed by construction, and never what makes a server close the stream.

use minidom::Element;

use super::super::config::{Endpoint, LinkConfig};
use super::super::error::{Guard, NotSent};
use super::super::handle::LinkHandle;
use super::super::lanes::Lane;
use super::super::render::{Fragment, Rendered};
use super::super::stanza::JABBER_CLIENT;
use super::super::write::StanzaWriter;
use super::one;

fn handle() -> LinkHandle {
    let endpoint = Endpoint::Tcp { host: "127.0.0.1".into(), port: 1 };
    let handle = LinkHandle::new(&LinkConfig::new("gw.localhost", endpoint, "x".into()));
    handle.shared().attached(1);
    handle
}

/// What waits for the socket.
fn written(handle: &LinkHandle) -> String {
    let mut out = Vec::new();
    let mut buffer = Vec::new();
    while handle.shared().take(&mut buffer) {
        out.extend_from_slice(&buffer);
    }
    String::from_utf8(out).expect("we write UTF-8")
}

#[test]
fn stanzas_are_written_escaped_and_closed() {
    let handle = handle();
    let line = Fragment::build(|w| {
        w.leaf("body", None, "1 < 2 \u{0}").open("x", Some("urn:x")).attr("a", "'\n").open("y", None).text("&");
    });
    handle
        .write(Lane(1), |w| {
            w.message("#rust%net@gw.localhost/o'hara", "a@b/c", Some("groupchat"), Some("1")).fragment(&line);
            w.presence("n@gw.localhost", "a@b/c", None, None).leaf("show", None, "away").open("status", None);
        })
        .expect("written");
    assert_eq!(
        written(&handle),
        "<message from='#rust%net@gw.localhost/o&apos;hara' to='a@b/c' id='1' type='groupchat'>\
         <body>1 &lt; 2 \u{FFFD}</body><x xmlns='urn:x' a='&apos;&#10;'><y>&amp;</y></x></message>\
         <presence from='n@gw.localhost' to='a@b/c'><show>away</show><status/></presence>"
    );
}

#[test]
fn a_tree_is_written_in_the_stream_s_namespace_and_what_is_nested_keeps_its_own() {
    let handle = handle();
    let text = "<message xmlns='jabber:client' from='gw.localhost' to='a@b'><body xml:lang='de'>x</body>\
         <forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' p:q='r' xmlns:p='urn:p'><body/></message></forwarded></message>";
    let tree: Element = text.parse().expect("a tree");
    handle.send_element(Lane::GATEWAY, &tree).expect("written");
    let written = written(&handle);
    assert!(written.starts_with("<message from='gw.localhost' to='a@b'><body xml:lang='de'>"), "{written}");
    assert!(written.contains("<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'"), "{written}");
    assert_eq!(one(&written).element().expect("a tree"), tree);
}

#[test]
fn what_the_server_would_close_the_stream_for_is_never_written() {
    let handle = handle();
    let foreign = || Guard::ForeignFrom { domain: "gw.localhost".into() };
    let bad = |attribute| Guard::BadAddress { attribute };
    for (from, to, guard) in [
        ("x@gw.localhost", "", Guard::NoTo),
        ("", "a@b", Guard::NoFrom),
        ("x@elsewhere", "a@b", foreign()),
        ("gw.localhost@elsewhere", "a@b", foreign()),
        ("elsewhere/gw.localhost", "a@b", foreign()),
        ("elsewhere/x@gw.localhost", "a@b", foreign()),
        ("x@sub.gw.localhost", "a@b", foreign()),
        ("x\u{FFFD}@gw.localhost", "a@b", bad("from")),
        ("x@gw.localhost/\u{7}", "a@b", bad("from")),
        ("@gw.localhost", "a@b", bad("from")),
        ("x@gw.localhost/", "a@b", bad("from")),
        ("a b@gw.localhost", "a@b", bad("from")),
        ("x@y@gw.localhost", "a@b", bad("from")),
        ("x@gw.localhost", "a@b/\u{FFFE}", bad("to")),
        ("x@gw.localhost", "a@", bad("to")),
        ("x@gw.localhost", " ", bad("to")),
    ] {
        let sent = handle.write(Lane(1), |w| {
            w.message("good@gw.localhost", "a@b", None, None).leaf("body", None, "before");
            w.message(from, to, None, None).leaf("body", None, "wrong");
        });
        assert_eq!(sent, Err(NotSent::Guard(guard.clone())), "from {from:?} to {to:?}");
        let escaped: Result<Element, _> = format!("<message xmlns='jabber:client' from='{from}' to='{to}'/>").parse();
        if let Ok(tree) = escaped {
            assert_eq!(handle.send_element(Lane(1), &tree), Err(NotSent::Guard(guard)), "from {from:?} to {to:?}");
        }
    }
    assert_eq!(written(&handle), "", "nothing may be half-written");
}

#[test]
fn a_stanza_over_the_limit_is_taken_back() {
    let handle = handle();
    let long = "ü".repeat(200 << 10);
    let sent = handle.write(Lane(1), |w| {
        w.message("gw.localhost", "a@b", None, None).leaf("body", None, &long);
    });
    assert!(
        matches!(sent, Err(NotSent::Guard(Guard::TooLarge { limit: 262_144, size })) if size > 400 << 10),
        "{sent:?}"
    );
    assert_eq!(written(&handle), "");
}

#[test]
fn what_is_no_stanza_is_refused() {
    let handle = handle();
    for xml in [
        "",
        "text",
        "<message from='gw.localhost' to='a@b'>",
        "<message from='gw.localhost' to='a@b'/><message/>",
        "<message from='gw.localhost' to='a@b'></iq>",
        "<message from='gw.localhost' to='a@b'><a:b/></message>",
        "<handshake/>",
        "<stream:stream>",
        "<message xmlns='urn:other' from='gw.localhost' to='a@b'/>",
        "<message to='a@b'/>",
        "<message from='gw.localhost'/>",
        "</stream:stream>",
    ] {
        let sent = handle.send_raw(Lane(1), xml.as_bytes());
        assert!(matches!(sent, Err(NotSent::Guard(_))), "{xml}: {sent:?}");
    }
    assert_eq!(written(&handle), "");
    handle.send_raw(Lane(1), b"<message from='x@gw.localhost' to='a@b'><body/></message>").expect("a stanza");
    assert_eq!(written(&handle), "<message from='x@gw.localhost' to='a@b'><body/></message>");
}

#[test]
fn a_panic_in_a_closure_leaves_the_buffer_whole() {
    let handle = handle();
    let panicking = handle.clone();
    let panicked = std::thread::spawn(move || {
        let _ = panicking.write(Lane(1), |w: &mut StanzaWriter<'_>| {
            w.message("gw.localhost", "a@b", None, None);
            panic!("on purpose");
        });
    });
    assert!(panicked.join().is_err());
    handle
        .write(Lane(1), |w| {
            w.presence("gw.localhost", "a@b", None, None);
        })
        .expect("the link goes on");
    assert_eq!(written(&handle), "<presence from='gw.localhost' to='a@b'/>");
}

#[test]
fn a_lane_that_is_full_says_so_and_others_go_on() {
    let handle = handle();
    let body = "x".repeat(10_000);
    let mut sent = 0;
    let full = loop {
        let one = handle.write(Lane(1), |w| {
            w.message("gw.localhost", "a@b", None, None).leaf("body", None, &body);
        });
        match one {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < 1000, "the lane never fills");
    };
    assert_eq!(full, NotSent::Full);
    assert!(sent > 20, "full after {sent}");
    handle
        .write(Lane(2), |w| {
            w.presence("gw.localhost", "a@b", None, None);
        })
        .expect("another lane has room");
    let all = written(&handle);
    assert_eq!(all.matches("<body>").count(), sent);
    assert_eq!(all.matches("<presence").count(), 1);
}

#[test]
fn without_a_stream_nothing_is_written() {
    let handle = handle();
    handle.shared().detached(&super::super::error::LinkError::Closed);
    let sent = handle.write(Lane(1), |w| {
        w.presence("gw.localhost", "a@b", None, None);
    });
    assert_eq!(sent, Err(NotSent::Detached));
    let rendered = Rendered::from_element(
        &format!("<presence xmlns='{JABBER_CLIENT}' from='gw.localhost' to='a@b'/>").parse().expect("a tree"),
    );
    assert_eq!(handle.send_rendered(Lane(1), &rendered.expect("a stanza")), Err(NotSent::Detached));
}
