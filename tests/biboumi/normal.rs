//! Stanzas and lines with all that differs from run to run taken out (ids, times, ports), and words that are for people alone: labels, titles
//! and instructions of forms, names of commands, white space at the end of a text.

use isthmus_testkit::xml::Element;

/// The stanza in its one spelling. Ids that the script gave stay.
pub(crate) fn stanza(stanza: &Element) -> Element {
    let mut stanza = stanza.clone();
    for (name, value) in &mut stanza.attrs {
        if name == "id" && !is_of_script(value) {
            *value = "~".to_owned();
        }
    }
    stanza.ns = String::new();
    children(&mut stanza);
    if stanza.attr("type") == Some("unavailable") {
        left(&mut stanza);
    }
    stanza
}

/// A form without its words for people; a field is an element of its own name, with its type spelled out.
fn form(element: &mut Element) {
    if element.ns == "jabber:x:data" {
        let spoken = ["title", "instructions", "desc"];
        element.children.retain(|c| c.ns != "jabber:x:data" || !spoken.contains(&c.name.as_str()));
        element.attrs.retain(|(name, _)| name != "label");
        if element.name == "field" {
            element.name = format!("field.{}", element.attr("var").unwrap_or_default());
            element.attrs.retain(|(name, _)| name != "var");
            if element.attr("type").is_none() {
                element.attrs.push(("type".to_owned(), "text-single".to_owned()));
            }
        }
    }
    if element.name == "item" && element.attr("node").is_some() {
        element.attrs.retain(|(name, _)| name != "name");
    }
}

/// What somebody is after they left is another thing than what somebody is: it has names of its own.
fn left(element: &mut Element) {
    let renamed = element.children.iter().any(|c| matches!(c.attr("code"), Some("303" | "307" | "301")));
    for child in &mut element.children {
        if child.name == "item" && !renamed {
            for (name, _) in &mut child.attrs {
                if matches!(name.as_str(), "role" | "affiliation") {
                    *name = format!("last-{name}");
                }
            }
        }
        left(child);
    }
}

fn children(element: &mut Element) {
    form(element);
    element.attrs.sort();
    element.text = words(element.text.trim_end());
    let tables = ["jabber:x:data", "http://jabber.org/protocol/rsm", "urn:xmpp:mam:2"];
    for child in &mut element.children {
        for (name, value) in &mut child.attrs {
            let random = match name.as_str() {
                "stamp" | "sessionid" => true,
                "id" => {
                    matches!(child.name.as_str(), "stanza-id" | "occupant-id" | "result" | "message")
                        && !is_of_script(value)
                }
                _ => false,
            };
            if random {
                *value = "~".to_owned();
            }
        }
        if child.ns == "jabber:component:accept" || child.ns == "jabber:client" {
            child.ns = String::new();
        }
        if tables.contains(&child.ns.as_str()) && ["first", "last"].contains(&child.name.as_str()) {
            child.text = "~".to_owned();
        }
        children(child);
    }
    // The order of children says nothing, but for the items of a list, which are sorted all the same: no order is promised.
    element.children.sort_by_cached_key(ToString::to_string);
}

/// A line as somebody on the network sees it.
pub(crate) fn line(line: &str) -> String {
    words(line)
}

fn is_of_script(id: &str) -> bool {
    let mut chars = id.chars();
    matches!(chars.next(), Some('s' | 'q' | 'm')) && chars.as_str().parse::<u32>().is_ok()
}

/// Numbers of five digits and more are ports and times, and so are pairs of digits with a colon between them; who has just come has been idle
/// for a moment.
fn words(text: &str) -> String {
    let idle = text.contains("seconds idle");
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        out += &rest[..start];
        rest = &rest[start..];
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let is_time = end == 2
            && rest[2..].starts_with(':')
            && rest.len() >= 5
            && rest.as_bytes()[3..5].iter().all(u8::is_ascii_digit);
        if is_time {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != ':').unwrap_or(rest.len());
            out += "<time>";
            rest = &rest[end..];
        } else {
            out += if end >= 5 || idle { "<n>" } else { &rest[..end] };
            rest = &rest[end..];
        }
    }
    out + rest
}
