//! The reader: what it refuses, what it survives, what it makes of a header.

use super::super::answer::Refusal;
use super::super::config::Limits;
use super::super::stanza::{JABBER_CLIENT, Kind};
use super::{HEADER, one, read, read_in};

const GOOD: &str = "<message from='a@b/c' to='x@gw.localhost' id='good'><body>fine</body></message>";

#[test]
fn a_header_is_read_decoded_whatever_its_quotes_and_references() {
    let stanza = one("<message\n\tto = \"x\\26y@gw.localhost\" from='o&apos;hara@b/r&amp;d &#x1F408;' id='a&quot;b' \
         xml:lang='de' type='groupchat' other='&lt;'><body xml:lang='en'>1 &lt; 2</body><x xmlns='urn:a'/></message>");
    assert_eq!(stanza.kind(), Kind::Message);
    assert_eq!(stanza.from(), Some("o'hara@b/r&d 🐈"));
    assert_eq!(stanza.to(), Some("x\\26y@gw.localhost"));
    assert_eq!(stanza.id(), Some("a\"b"));
    assert_eq!(stanza.type_(), Some("groupchat"));
    assert_eq!(stanza.lang(), Some("de"));
    assert_eq!(stanza.body().as_deref(), Some("1 < 2"));
    let names: Vec<_> = stanza.children().map(|child| (child.name(), child.ns())).collect();
    assert_eq!(names, [("body", JABBER_CLIENT), ("x", "urn:a")]);
    assert_eq!(stanza.child("body", JABBER_CLIENT).and_then(|body| body.attr("xml:lang")).as_deref(), Some("en"));
}

#[test]
fn namespaces_of_children_are_found_however_they_are_declared() {
    for (stanza, name, namespace) in [
        ("<message from='a@b' to='c@d'><a:x xmlns:a='urn:1'/></message>", "x", "urn:1"),
        ("<message xmlns:a='urn:2' from='a@b' to='c@d'><a:x/></message>", "x", "urn:2"),
        ("<message from='a@b' to='c@d'><db:x/></message>", "x", "jabber:server:dialback"),
        ("<message from='a@b' to='c@d'><x xmlns='urn:&amp;3'/></message>", "x", "urn:&3"),
        ("<message xmlns='jabber:component:accept' from='a@b' to='c@d'><x/></message>", "x", JABBER_CLIENT),
        ("<message xmlns='jabber:client' from='a@b' to='c@d'><x/></message>", "x", JABBER_CLIENT),
        ("<m:message xmlns:m='jabber:component:accept' from='a@b' to='c@d'><m:x/></m:message>", "x", JABBER_CLIENT),
        ("<message from='a@b' to='c@d'><x xmlns=''/></message>", "x", ""),
    ] {
        let stanza = one(stanza);
        let children: Vec<_> = stanza.children().map(|child| (child.name(), child.ns())).collect();
        assert_eq!(children, [(name, namespace)], "{}", stanza.as_str());
    }
}

#[test]
fn nested_stanzas_keep_their_namespace_and_the_outer_ones_lose_the_stream_s() {
    let stanza = one("<message from='a@b' to='c@d'><body>outer</body><forwarded xmlns='urn:xmpp:forward:0'>\
         <message xmlns='jabber:client'><body>inner</body></message><message xmlns='jabber:component:accept'/></forwarded></message>");
    let tree = stanza.element().expect("a tree");
    assert!(tree.is("message", JABBER_CLIENT));
    assert!(tree.get_child("body", JABBER_CLIENT).is_some());
    let forwarded = stanza.child("forwarded", "urn:xmpp:forward:0").expect("the child").element().expect("a tree");
    let inner: Vec<_> = forwarded.children().map(minidom::Element::ns).collect();
    assert_eq!(inner, [JABBER_CLIENT, "jabber:component:accept"]);
    assert_eq!(tree.get_child("forwarded", "urn:xmpp:forward:0"), Some(&forwarded));
}

#[test]
fn a_child_is_parsed_into_a_payload_type_and_says_why_not() {
    let stanza = one(
        "<iq from='a@b' to='c@d' id='1' type='get'><query xmlns='http://jabber.org/protocol/disco#info' node='n'/></iq>",
    );
    let child = stanza.children().next().expect("a child");
    let query: xmpp_parsers::disco::DiscoInfoQuery = child.parse().expect("a query");
    assert_eq!(query.node.as_deref(), Some("n"));
    let wrong = child.parse::<xmpp_parsers::ping::Ping>().expect_err("a query is no ping");
    assert!(!wrong.to_string().is_empty());
}

#[test]
fn every_bad_stanza_is_refused_alone_and_the_next_one_arrives() {
    let attribute = format!("<presence from='a@b/c' to='x@gw.localhost' type='{}'/>", "x".repeat(9 << 10));
    let large = format!(
        "<message from='a@b/c' to='x@gw.localhost' id='1'><body>{}</body></message>",
        "<![CDATA[]]>y".repeat((1 << 20) / 13 + 1)
    );
    let nested = format!(
        "<iq from='a@b/c' to='x@gw.localhost' id='1' type='get'>{}{}</iq>",
        "<a xmlns='u'>".repeat(5000),
        "</a>".repeat(5000)
    );
    let prefixes: String = (0..300).map(|number| format!(" xmlns:p{number}='u'")).collect();
    let prefixes = format!("<message from='a@b/c' to='x@gw.localhost'><x xmlns='u'{prefixes}/></message>");
    let start_tag = format!("<message from='a@b/c' to='x@gw.localhost' id='1' x='{}'/>", "/>".repeat(1 << 20));
    let (bad, policy) = (Refusal::BadRequest, Refusal::PolicyViolation);
    for (stanza, refusal) in [
        ("<presence from='a@b/c' to='x@gw.localhost' type='bogus'/>", bad),
        ("<iq from='a@b/c' to='x@gw.localhost' id='1' type='bogus'><x xmlns='u'/></iq>", bad),
        ("<iq from='a@b/c' to='x@gw.localhost' id='1' type='get'/>", bad),
        ("<iq from='a@b/c' to='x@gw.localhost' id='1' type='set'><a/><b/></iq>", bad),
        ("<iq from='a@b/c' to='x@gw.localhost' id='1'><a/></iq>", bad),
        ("<iq from='a@b/c' to='x@gw.localhost' type='get'><a/></iq>", bad),
        ("<presence from='a@b/c' to='x@gw.localhost'><show>bored</show></presence>", bad),
        ("<message to='x@gw.localhost'><body>nobody</body></message>", bad),
        ("<message from='a@b/c'><body>nowhere</body></message>", bad),
        ("<message from='a@b/c' to='x@gw.localhost'><a:b/></message>", bad),
        ("<message from='a@b/c' to='x@gw.localhost'><b a:c='1'/></message>", bad),
        ("<message from='a@b/c' to='x@gw.localhost'><b c='1' c='2'/></message>", bad),
        ("<message from='a@b/c' to='x@gw.localhost'><body>&nbsp;</body></message>", bad),
        ("<message from='a@b/c' to='x@gw.localhost'><body>&#1;</body></message>", bad),
        ("<message from='a@b/c' to='x@gw.localhost'><body>\u{1}</body></message>", bad),
        ("<message from='a@b/c' to='x@gw.localhost'><b c=d/></message>", bad),
        (attribute.as_str(), bad),
        (large.as_str(), policy),
        (nested.as_str(), policy),
        (prefixes.as_str(), policy),
        (start_tag.as_str(), policy),
    ] {
        let stream = format!("{HEADER}{GOOD}{stanza}\n{GOOD}</stream:stream>");
        for pieces in [&[usize::MAX][..], &[1000, 1, 7], &[64 << 10]] {
            let got = read_in(stream.as_bytes(), Limits::default(), pieces);
            let shown = &stanza[..stanza.len().min(90)];
            assert_eq!(got.fault, None, "{shown}");
            assert_eq!(got.stanzas.len(), 2, "{shown}: the good ones around it");
            assert_eq!(got.bad.len(), 1, "{shown}");
            assert_eq!(got.bad[0].refusal, refusal, "{shown}: {}", got.bad[0].why);
            if stanza.contains("from=") && stanza.contains("to=") {
                assert_eq!(got.bad[0].from.as_deref(), Some("a@b/c"), "{shown}");
                assert_eq!(got.bad[0].to.as_deref(), Some("x@gw.localhost"), "{shown}");
            }
            assert!(got.ended, "{shown}: the end of the stream");
        }
    }
}

#[test]
fn large_but_allowed_stanzas_arrive_whole() {
    let attribute =
        format!("<message from='a@b/c' to='x@gw.localhost'><x xmlns='u' a='{}'/></message>", "&gt;".repeat(9 << 10));
    let stanza = one(&attribute);
    let value = stanza.children().next().and_then(|child| child.attr("a").map(|value| value.len()));
    assert_eq!(value, Some(9 << 10));
    assert!(stanza.element().is_ok(), "the tree has no token limit");
    let body = "z".repeat((1 << 20) - 200);
    let stanza = one(&format!("<message from='a@b/c' to='x@gw.localhost'><body>{body}</body></message>"));
    assert_eq!(stanza.body().map(|body| body.len()), Some(body.len()));
    let deep = format!("<message from='a@b/c' to='c@d'>{}{}</message>", "<a>".repeat(99), "</a>".repeat(99));
    one(&deep);
}

#[test]
fn an_unknown_type_of_a_message_means_normal() {
    // RFC 6121 section 5.2.2
    assert_eq!(one("<message from='a@b' to='c@d' type='bogus'/>").type_(), Some("bogus"));
}

#[test]
fn forbidden_constructs_end_the_stream() {
    for (markup, condition) in [
        ("<!-- a comment -->", "restricted-xml"),
        ("<message from='a@b' to='c@d'><!-- a comment --></message>", "restricted-xml"),
        ("<?php echo 1 ?>", "restricted-xml"),
        ("<?xml version='1.0'?>", "restricted-xml"),
        ("<message from='a@b' to='c@d'><?xml version='1.0'?></message>", "restricted-xml"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]>", "restricted-xml"),
        ("<![CDATA[text]]>", "not-well-formed"),
        ("some text", "not-well-formed"),
        ("<message from='a@b' to='c@d'><a></b></message>", "not-well-formed"),
        ("<nobody:message from='a@b' to='c@d'/>", "not-well-formed"),
        ("<1/>", "not-well-formed"),
        ("<>", "not-well-formed"),
    ] {
        for pieces in [&[usize::MAX][..], &[1]] {
            let stream = format!("{HEADER}{GOOD}{markup}{GOOD}<message");
            let got = read_in(stream.as_bytes(), Limits::default(), pieces);
            assert_eq!(got.fault.map(|fault| fault.condition), Some(condition), "{markup} in {pieces:?}");
            assert_eq!(got.stanzas.len(), 1, "{markup}: what went before");
        }
    }
}

#[test]
fn only_a_component_stream_is_one() {
    for (header, condition) in [
        (
            "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='1'>",
            "invalid-namespace",
        ),
        ("<stream:stream xmlns='jabber:component:accept' id='1'>", "bad-namespace-prefix"),
        ("<stream xmlns='jabber:component:accept' id='1'>", "invalid-namespace"),
        ("HTTP/1.1 400 Bad Request\r\n", "not-well-formed"),
        ("</stream:stream>", "not-well-formed"),
        ("<!DOCTYPE html>", "restricted-xml"),
        (
            "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams'/>",
            "not-well-formed",
        ),
    ] {
        let got = read_in(header.as_bytes(), Limits::default(), &[usize::MAX]);
        assert_eq!(got.fault.map(|fault| fault.condition), Some(condition), "{header}");
    }
    let endless = format!("<stream:stream a='{}", "x".repeat(20 << 10));
    assert!(read_in(endless.as_bytes(), Limits::default(), &[1000]).fault.is_some());
}

#[test]
fn cdata_and_stream_errors_are_understood_at_any_split() {
    let stream = format!(
        "{HEADER} \n<message from='a@b' to='c@d'><body>a<![CDATA[<b>]]]]><![CDATA[>]]>&amp;c</body></message > \
         <stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
         <text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>two of you</text></stream:error></stream:stream>"
    );
    for size in 1..stream.len() {
        let got = read_in(stream.as_bytes(), Limits::default(), &[size]);
        assert_eq!(got.fault, None, "in pieces of {size}");
        assert_eq!(got.stanzas.len(), 1, "in pieces of {size}");
        assert_eq!(got.stanzas[0].body().as_deref(), Some("a<b>]]>&c"), "in pieces of {size}");
        assert_eq!(got.errors, [("conflict".to_owned(), Some("two of you".to_owned()))], "in pieces of {size}");
        assert!(got.ended, "in pieces of {size}");
    }
}

#[test]
fn invalid_utf8_costs_its_stanza_only() {
    let mut stream = format!("{HEADER}<message from='a@b/c' to='c@d'><body>").into_bytes();
    stream.extend_from_slice(&[0xFF, 0xC0, 0xAF]);
    stream.extend_from_slice(format!("</body></message>{GOOD}").as_bytes());
    let got = read_in(&stream, Limits::default(), &[usize::MAX]);
    assert_eq!((got.bad.len(), got.stanzas.len(), got.fault), (1, 1, None));
    assert_eq!(got.bad[0].from.as_deref(), Some("a@b/c"));
}

#[test]
fn a_debug_output_holds_no_body() {
    let stanza = one("<message from='a@b' to='c@d'><body>very private</body></message>");
    assert!(!format!("{stanza:?}").contains("private"));
    assert!(read("").stanzas.is_empty());
}
