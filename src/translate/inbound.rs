//! Network → XMPP: one [`Inbound`] event becomes stanzas.

use std::time::{Duration, SystemTime};

use isthmus_bridge::{Address, Event, Inbound, Media, Message, MessageKind, RecipientKind, Text, Values};

use super::looks;
use super::stamp::stamp;
use crate::inbox::Rendered;
use crate::xmpp::{ns, xml::Xml};

/// What translation needs to know beside the event.
pub struct Scene<'a> {
    /// The JID that speaks.
    pub from: &'a str,
    /// The JID that hears.
    pub to: &'a str,
    /// The gateway's domain.
    pub domain: &'a str,
    /// The id of the first stanza; further ones get `-1`, `-2` behind it.
    pub id: &'a str,
    /// Words in the hearer's language.
    pub words: &'a dyn Fn(&Text) -> String,
    /// The JID of an address of this bridge.
    pub jid: &'a dyn Fn(&isthmus_bridge::Address) -> Option<String>,
    /// The stanza id of the message that a reference in the event means, with its author's JID.
    pub referenced: Option<(&'a str, &'a str)>,
    /// Now.
    pub now: SystemTime,
    /// The hearer is one resource among several that get the same: neither server nor client shall pass it on.
    pub direct: bool,
}

/// A file as the hearer will get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedFile {
    /// Its address; `None` where there is nothing to fetch.
    pub url: Option<String>,
    /// Its name, type and size.
    pub media: Media,
}

/// Older events carry a XEP-0203 delay.
const FRESH: Duration = Duration::from_secs(120);

/// The stanzas of an event. Events of rooms and presence are not made here.
pub fn stanzas(scene: &Scene<'_>, inbound: &Inbound, files: &[SharedFile]) -> Vec<Rendered> {
    match &inbound.event {
        Event::Message(message) => self::message(scene, inbound, message, files),
        Event::Notice { text, actions, .. } => vec![notice(scene, inbound, text, actions)],
        Event::Typing { on, .. } => vec![typing(scene, *on)],
        Event::Marked { .. } => marked(scene, inbound),
        Event::Reacted { add, .. } => reacted(scene, inbound, add),
        Event::Retracted { reason, .. } => retracted(scene, inbound, reason.as_deref()),
        Event::SubscribeAsked { status } => vec![presence(scene, "subscribe", status.as_deref())],
        Event::SubscribeAnswered { accepted, reason } => {
            let reason = reason.as_ref().map(|r| (scene.words)(r));
            vec![presence(scene, if *accepted { "subscribed" } else { "unsubscribed" }, reason.as_deref())]
        }
        _ => Vec::new(),
    }
}

fn message(scene: &Scene<'_>, inbound: &Inbound, message: &Message, files: &[SharedFile]) -> Vec<Rendered> {
    let mut out = Vec::with_capacity(1 + files.len());
    let body = text_of(scene, message, files);
    if !body.is_empty() || message.subject.is_some() {
        let mut xml = open(scene, scene.id, message.kind);
        if let Some(subject) = &message.subject {
            xml.leaf("subject", "", subject);
        }
        if !body.is_empty() {
            xml.leaf("body", "", &body);
        }
        // Files that are named behind the words are no part of them.
        if let Some(looks) = looks::beside(message, &body_of(message, scene.words)) {
            xml.finished(&looks.text());
        }
        extras(&mut xml, scene, inbound, message);
        out.push(close(scene, scene.id, xml));
    }
    for file in files.iter().filter(|f| f.url.is_some()) {
        let id = if out.is_empty() { scene.id.to_owned() } else { format!("{}-{}", scene.id, out.len()) };
        let mut xml = open(scene, &id, message.kind);
        share(&mut xml, file);
        extras(&mut xml, scene, inbound, message);
        out.push(close(scene, &id, xml));
    }
    out
}

/// The text of a message without files that could be had: warning, `/me`, words.
pub fn body_of(message: &Message, words: &dyn Fn(&Text) -> String) -> String {
    let mut body = String::with_capacity(message.body.len() + 8);
    if let Some(warning) = &message.warning {
        body.push_str(&words(warning));
        body.push_str("\n\n");
    }
    if message.action {
        body.push_str("/me ");
    }
    body.push_str(&message.body);
    body
}

/// The text with what belongs in front of and behind it.
fn text_of(scene: &Scene<'_>, message: &Message, files: &[SharedFile]) -> String {
    let mut body = body_of(message, scene.words);
    // Files that cannot be had are named, and nothing is pretended.
    for file in files.iter().filter(|f| f.url.is_none()) {
        let unnamed = Text::key("file.unnamed");
        let name = file.media.name.clone().unwrap_or_else(|| (scene.words)(&unnamed));
        let line = Text::key("file.missing")
            .with("name", name)
            .with("type", &file.media.media_type)
            .with("size", size_of(file.media.size));
        if !body.is_empty() {
            body.push('\n');
        }
        body.push_str(&(scene.words)(&line));
    }
    body
}

/// Bytes for people.
pub fn size_of(bytes: Option<u64>) -> String {
    match bytes {
        None => "?".to_owned(),
        Some(b) if b < 1024 => format!("{b} B"),
        Some(b) if b < 1024 * 1024 => format!("{} KiB", b.div_ceil(1024)),
        Some(b) => format!("{}.{} MiB", b / 1_048_576, b % 1_048_576 * 10 / 1_048_576),
    }
}

/// What every message of an event carries.
fn extras(xml: &mut Xml, scene: &Scene<'_>, inbound: &Inbound, message: &Message) {
    if let Some(thread) = &message.thread {
        xml.leaf("thread", "", thread);
    }
    if let Some(nick) = &message.nick {
        xml.leaf("nick", ns::NICK, nick);
    }
    if let Some((id, author)) = scene.referenced {
        if message.replaces.is_some() {
            xml.open("replace", ns::CORRECT).attr("id", id).close();
        } else if message.reply_to.is_some() {
            xml.open("reply", ns::REPLY).attr("to", author).attr("id", id).close();
        }
    }
    if !message.addresses.is_empty() {
        addresses(xml, scene, message);
    }
    if scene.now.duration_since(inbound.at).is_ok_and(|age| age > FRESH) {
        xml.open("delay", ns::DELAY).attr("from", scene.domain).attr("stamp", &stamp(inbound.at)).close();
    }
    if scene.direct {
        xml.empty("private", ns::CARBONS).empty("no-copy", ns::HINTS);
    } else if message.kind == MessageKind::Notice {
        xml.empty("no-copy", ns::HINTS);
    } else {
        xml.empty("store", ns::HINTS);
    }
}

/// XEP-0033: who else got it.
fn addresses(xml: &mut Xml, scene: &Scene<'_>, message: &Message) {
    xml.open("addresses", ns::ADDRESS);
    for (kind, address, name) in &message.addresses {
        let Some(jid) = (scene.jid)(address) else { continue };
        let kind = match kind {
            RecipientKind::Cc => "cc",
            RecipientKind::Bcc => "bcc",
            _ => "to",
        };
        xml.open("address", "")
            .attr("type", kind)
            .attr("jid", &jid)
            .attr("delivered", "true")
            .attr_opt("desc", name.as_deref())
            .close();
    }
    xml.close();
}

/// A file: its address as body, XEP-0066 for the many clients that know it, XEP-0447 for the rest.
fn share(xml: &mut Xml, file: &SharedFile) {
    let url = file.url.as_deref().unwrap_or_default();
    xml.leaf("body", "", url);
    xml.open("x", ns::OOB).leaf("url", "", url).close();
    let disposition = if file.media.media_type.starts_with("image/") { "inline" } else { "attachment" };
    xml.open("file-sharing", ns::SFS).attr("disposition", disposition);
    xml.open("file", ns::FILE_METADATA).leaf("media-type", "", &file.media.media_type);
    if let Some(name) = &file.media.name {
        xml.leaf("name", "", name);
    }
    if let Some(size) = file.media.size {
        xml.leaf("size", "", &size.to_string());
    }
    if let Some(description) = &file.media.description {
        xml.leaf("desc", "", description);
    }
    xml.close();
    xml.open("sources", "").open("url-data", ns::URL_DATA).attr("target", url).close().close().close();
    xml.open("fallback", ns::FALLBACK).attr("for", ns::SFS).empty("body", "").close();
}

/// Words of the bridge, with what can be done about them: XEP-0439 quick responses, which are also the words to type.
fn notice(scene: &Scene<'_>, inbound: &Inbound, text: &Text, actions: &[(String, Text, Values)]) -> Rendered {
    let mut body = (scene.words)(text);
    for (node, label, values) in actions {
        body.push_str(&format!("\n{}: {}", (scene.words)(label), typed(node, values)));
    }
    let mut xml = open(scene, scene.id, MessageKind::Chat);
    xml.leaf("body", "", &body);
    for (node, label, values) in actions {
        xml.open("response", "urn:xmpp:tmp:quick-response")
            .attr("value", &typed(node, values))
            .attr("label", &(scene.words)(label))
            .close();
    }
    // How a network's connection comes about is of the moment.
    if scene.direct || matches!(inbound.from, Address::Network(_)) {
        xml.empty("private", ns::CARBONS).empty("no-copy", ns::HINTS);
    } else {
        xml.empty("store", ns::HINTS);
    }
    close(scene, scene.id, xml)
}

/// Whether what happens to a message is kept and passed on, as the message was.
fn passed_on(xml: &mut Xml, scene: &Scene<'_>, inbound: &Inbound) {
    if matches!(inbound.from, Address::Occupant { .. }) {
        xml.empty("x", ns::MUC_USER);
    }
    if scene.direct {
        xml.empty("private", ns::CARBONS).empty("no-copy", ns::HINTS);
    } else {
        xml.empty("store", ns::HINTS);
    }
}

/// A command as it is typed: its node, then its values.
pub fn typed(node: &str, values: &Values) -> String {
    let mut line = node.to_owned();
    for (_, all) in values.iter() {
        for value in all {
            line.push(' ');
            line.push_str(value);
        }
    }
    line
}

fn typing(scene: &Scene<'_>, on: bool) -> Rendered {
    let mut xml = open(scene, "", MessageKind::Chat);
    xml.empty(if on { "composing" } else { "paused" }, ns::CHATSTATES).empty("no-store", ns::HINTS);
    if scene.direct {
        xml.empty("private", ns::CARBONS);
    }
    close(scene, "", xml)
}

fn marked(scene: &Scene<'_>, inbound: &Inbound) -> Vec<Rendered> {
    let Some((id, _)) = scene.referenced else { return Vec::new() };
    let mut xml = open(scene, scene.id, MessageKind::Chat);
    xml.open("displayed", ns::MARKERS).attr("id", id).close();
    passed_on(&mut xml, scene, inbound);
    vec![close(scene, scene.id, xml)]
}

fn reacted(scene: &Scene<'_>, inbound: &Inbound, all: &[String]) -> Vec<Rendered> {
    let Some((id, _)) = scene.referenced else { return Vec::new() };
    let mut xml = open(scene, scene.id, MessageKind::Chat);
    xml.open("reactions", ns::REACTIONS).attr("id", id);
    for reaction in all {
        xml.leaf("reaction", "", reaction);
    }
    xml.close();
    passed_on(&mut xml, scene, inbound);
    vec![close(scene, scene.id, xml)]
}

fn retracted(scene: &Scene<'_>, inbound: &Inbound, reason: Option<&str>) -> Vec<Rendered> {
    let Some((id, _)) = scene.referenced else { return Vec::new() };
    let mut xml = open(scene, scene.id, MessageKind::Chat);
    xml.open("retract", ns::RETRACT).attr("id", id);
    if let Some(reason) = reason {
        xml.leaf("reason", "", reason);
    }
    xml.close();
    passed_on(&mut xml, scene, inbound);
    vec![close(scene, scene.id, xml)]
}

/// A presence of this type.
pub fn presence(scene: &Scene<'_>, kind: &str, status: Option<&str>) -> Rendered {
    let mut xml = Xml::stanza("presence");
    xml.attr("from", scene.from).attr("to", scene.to).attr("type", kind);
    if let Some(status) = status {
        xml.leaf("status", "", status);
    }
    close(scene, "", xml)
}

fn open(scene: &Scene<'_>, id: &str, kind: MessageKind) -> Xml {
    let kind = match kind {
        MessageKind::Group => "groupchat",
        MessageKind::Normal => "normal",
        _ => "chat",
    };
    let mut xml = Xml::stanza("message");
    xml.attr("from", scene.from).attr("to", scene.to).attr("type", kind);
    if !id.is_empty() {
        xml.attr("id", id);
    }
    xml
}

fn close(scene: &Scene<'_>, id: &str, xml: Xml) -> Rendered {
    Rendered { from: scene.from.to_owned(), to: scene.to.to_owned(), id: id.to_owned(), xml: xml.finish().into_bytes() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isthmus_bridge::{BareJid, ContactId};

    fn render(event: Event, files: &[SharedFile]) -> Vec<String> {
        let scene = Scene {
            from: r"alice\40example.net@gw.example",
            to: "juliet@capulet.lit",
            domain: "gw.example",
            id: "r1",
            words: &ToString::to_string,
            jid: &|_| Some("bob@gw.example".to_owned()),
            referenced: Some(("m0", "juliet@capulet.lit")),
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(60),
            direct: false,
        };
        let mut inbound = Inbound::new(
            BareJid::from("juliet@capulet.lit"),
            Address::Contact(ContactId::from("alice@example.net")),
            event,
        );
        inbound.at = SystemTime::UNIX_EPOCH;
        stanzas(&scene, &inbound, files).into_iter().map(|o| String::from_utf8(o.xml).expect("UTF-8")).collect()
    }

    const HEAD: &str = r"<message from='alice\40example.net@gw.example' to='juliet@capulet.lit' type='chat' id=";

    #[test]
    fn a_message_with_all_its_parts() {
        let mut message = Message::chat("Hello <you>");
        message.subject = Some("Tea".to_owned());
        message.thread = Some("t1".to_owned());
        message.nick = Some("Alice".to_owned());
        message.warning = Some(Text::plain("Careful."));
        message.addresses = vec![(RecipientKind::Cc, Address::Gateway, Some("Bob".to_owned()))];
        assert_eq!(
            render(Event::Message(Box::new(message)), &[]),
            [format!(
                "{HEAD}'r1'><subject>Tea</subject><body>Careful.\n\nHello &lt;you&gt;</body><thread>t1</thread>\
                 <nick xmlns='http://jabber.org/protocol/nick'>Alice</nick>\
                 <addresses xmlns='http://jabber.org/protocol/address'>\
                 <address type='cc' jid='bob@gw.example' delivered='true' desc='Bob'/></addresses>\
                 <store xmlns='urn:xmpp:hints'/></message>"
            )]
        );
    }

    #[test]
    fn a_file_is_a_message_of_its_own_and_a_missing_one_is_named() {
        let there = SharedFile {
            url: Some("https://up.example/a.png".to_owned()),
            media: Media::new(Some("a.png".to_owned()), "image/png", Some(7)),
        };
        let missing = SharedFile {
            url: None,
            media: Media::new(Some("b.bin".to_owned()), "application/octet-stream", Some(3_000_000)),
        };
        let out = render(Event::Message(Box::new(Message::chat("See"))), &[there, missing]);
        assert_eq!(out.len(), 2);
        assert!(out[0].contains("file.missing name=b.bin, type=application/octet-stream, size=2.8 MiB"), "{}", out[0]);
        assert!(
            out[1].starts_with(&format!("{HEAD}'r1-1'><body>https://up.example/a.png</body><x xmlns='jabber:x:oob'>")),
            "{}",
            out[1]
        );
        assert!(out[1].contains("<size>7</size>"), "{}", out[1]);
    }

    #[test]
    fn a_notice_says_what_can_be_typed() {
        let actions =
            vec![("accept".to_owned(), Text::plain("Accept"), Values::new().with("who", "alice@example.net"))];
        let out = render(Event::Notice { text: Text::plain("A stranger wrote."), about: None, actions }, &[]);
        assert!(out[0].contains("<body>A stranger wrote.\nAccept: accept alice@example.net</body>"), "{}", out[0]);
        assert!(out[0].contains("value='accept alice@example.net' label='Accept'"), "{}", out[0]);
    }
}
