//! By property: every stanza that minidom reads we read to the same tree, at any split of reads.

use std::collections::BTreeMap;

use minidom::Element;
use proptest::prelude::*;

use super::super::config::Limits;
use super::super::render::Rendered;
use super::super::stanza::JABBER_CLIENT;
use super::{HEADER, read_in};

/// An element as text, made of pieces that XML allows, in the many ways in which it can be written.
fn markup(depth: u32) -> BoxedStrategy<String> {
    let text = prop_oneof![
        "[a-zA-Z äß€🐈.,;:!?()'\"\\]\\n\\t-]{0,20}",
        "(&amp;|&lt;|&gt;|&apos;|&quot;|&#65;|&#x1F408;|&#13;){0,3}",
        "(<!\\[CDATA\\[[a-z <>&]{0,9}\\]\\]>)",
    ];
    let leaf = text.boxed();
    if depth == 0 {
        return leaf;
    }
    let content = prop::collection::vec(prop_oneof![leaf, markup(depth - 1)], 0..4).prop_map(|parts| parts.concat());
    let attributes = prop::collection::btree_map("[a-z]{1,3}", "([a-z ä>]|&amp;|&lt;|&#10;|&quot;|\n|\t){0,6}", 0..3);
    let namespace = prop_oneof![Just(None), "urn:[a-z]{1,2}".prop_map(Some), Just(Some("jabber:client".to_owned()))];
    (
        prop_oneof![Just(""), Just("p:"), Just("db:")],
        "[a-z][a-z0-9.-]{0,4}",
        namespace,
        attributes,
        content,
        any::<bool>(),
    )
        .prop_map(element_text)
        .boxed()
}

type Parts = (&'static str, String, Option<String>, BTreeMap<String, String>, String, bool);

fn element_text((prefix, name, namespace, attributes, content, double): Parts) -> String {
    let quote = if double { '"' } else { '\'' };
    let mut text = format!("<{prefix}{name}");
    if prefix == "p:" {
        text.push_str(" xmlns:p='urn:prefixed' p:own='1'");
    }
    if let Some(namespace) = namespace {
        text.push_str(&format!("\n xmlns={quote}{namespace}{quote}"));
    }
    for (name, value) in attributes.iter().filter(|(name, _)| !matches!(name.as_str(), "xml")) {
        text.push_str(&format!(" {name} = {quote}{value}{quote}"));
    }
    if content.is_empty() && double {
        text.push_str(" />");
    } else {
        text.push_str(&format!(">{content}</{prefix}{name}\t>"));
    }
    text
}

fn stanza() -> impl Strategy<Value = String> {
    (prop::collection::vec(markup(3), 0..4), "[a-z&&[^\"]]{1,4}").prop_map(|(children, id)| {
        format!(
            "<message from='a@b/c' to='d@gw.localhost' id='{id}' type='chat' xml:lang='en'>{}</message>",
            children.concat()
        )
    })
}

/// What minidom makes of it, in the scope of our test stream.
fn by_minidom(xml: &str) -> minidom::Result<Element> {
    let prefixes = BTreeMap::from([
        (None, JABBER_CLIENT.to_owned()),
        (Some("db".to_owned()), "jabber:server:dialback".to_owned()),
    ]);
    Element::from_reader_with_prefixes(xml.as_bytes(), prefixes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_stanza_that_minidom_reads_we_read_to_the_same_tree(
        xml in stanza(), pieces in prop::collection::vec(1_usize..80, 1..5),
    ) {
        let expected = by_minidom(&xml);
        prop_assert!(expected.is_ok(), "the generator made something that is no XML: {xml}: {expected:?}");
        let got = read_in(format!("{HEADER}{xml}{xml}").as_bytes(), Limits::default(), &pieces);
        prop_assert_eq!(got.fault, None);
        prop_assert_eq!(got.stanzas.len(), 2, "{}: {:?}", xml, got.bad);
        let expected = expected.expect("checked above");
        for stanza in &got.stanzas {
            prop_assert_eq!(&stanza.element().expect("a tree"), &expected);
            prop_assert_eq!(stanza.from(), expected.attr("from"));
            prop_assert_eq!(stanza.id(), expected.attr("id"));
            prop_assert_eq!(stanza.children().len(), expected.children().count());
            for (ours, theirs) in stanza.children().zip(expected.children()) {
                prop_assert!(theirs.is(ours.name(), ours.ns()), "{:?} for {:?}", ours, theirs);
                prop_assert_eq!(&ours.element().expect("a tree"), theirs);
                prop_assert_eq!(ours.text(), theirs.text());
            }
        }
    }

    #[test]
    fn what_we_write_from_a_tree_reads_back_to_the_same_tree(xml in stanza()) {
        let tree = by_minidom(&xml).expect("the generator makes XML");
        let rendered = Rendered::from_element(&tree).expect("a stanza");
        let again = Rendered::parse(rendered.as_bytes()).expect("we read what we write");
        prop_assert_eq!(&again, &rendered);
        let stream = [HEADER.as_bytes(), rendered.as_bytes()].concat();
        let got = read_in(&stream, Limits::default(), &[usize::MAX]);
        prop_assert_eq!(got.stanzas.len(), 1);
        prop_assert_eq!(got.stanzas[0].element().expect("a tree"), tree);
    }

    #[test]
    fn no_bytes_make_the_reader_panic_and_no_split_changes_what_it_finds(
        bytes in "(<|>|/|'|\"|=|&|;|a|b:| |!|\\?|\\[|\\]|-|message|<message from='a@b' to='c@d'>|</message>|<!\\[CDATA\\[|\\]\\]>){0,60}",
        pieces in prop::collection::vec(1_usize..9, 1..5),
    ) {
        let stream = format!("{HEADER}{bytes}");
        let whole = read_in(stream.as_bytes(), Limits::default(), &[usize::MAX]);
        let split = read_in(stream.as_bytes(), Limits::default(), &pieces);
        prop_assert_eq!(whole.fault, split.fault);
        prop_assert_eq!(whole.bad, split.bad);
        prop_assert_eq!(
            whole.stanzas.iter().map(|s| s.as_str()).collect::<Vec<_>>(),
            split.stanzas.iter().map(|s| s.as_str()).collect::<Vec<_>>()
        );
    }
}
