//! XMPP → network: what a `<message/>` means, by the table of what the bridge carries.

use isthmus_bridge::{File, FileSource, Media, Message, MessageKind, Mode, Profile, RecipientKind, Text};
use url::Url;

use super::markup;
use crate::inbox::Returned;
use crate::xmpp::errors::{ErrorType, StanzaError};
use crate::xmpp::link::{Child, Stanza};
use crate::xmpp::ns;

/// Recipients of one message, at most (XEP-0033).
pub const MAX_ADDRESSES: usize = 50;

/// What a message stanza means.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// Words, or files, for somebody.
    Said(Said),
    /// Typing, or no longer (XEP-0085).
    Typing(bool),
    /// Read up to the message of this id (XEP-0333).
    Mark(String),
    /// The whole set of reactions to the message of this id (XEP-0444).
    React(String, Vec<String>),
    /// The message of this id is withdrawn (XEP-0424).
    Retract(String, Option<String>),
    /// One of our own came back.
    Returned(Returned),
    /// Nothing that concerns the network: copies, hints, states that the bridge does not carry.
    Nothing,
    /// It cannot be served.
    Refused(StanzaError),
}

/// A message, and the ids in it that only the message map can resolve.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Said {
    /// The message, without references.
    pub message: Box<Message>,
    /// The stanza id of the message that it answers (XEP-0461).
    pub answers: Option<String>,
    /// The stanza id of the message that it corrects (XEP-0308).
    pub corrects: Option<String>,
    /// A receipt is asked for (XEP-0184).
    pub wants_receipt: bool,
    /// A `displayed` marker is welcome (XEP-0333).
    pub wants_marker: bool,
    /// Further recipients, as JIDs (XEP-0033).
    pub addresses: Vec<(RecipientKind, String)>,
}

/// Whether a stanza names another message: an answer, a correction, a reaction, a withdrawal, a mark.
pub fn refers(stanza: &Stanza) -> bool {
    stanza.children().any(|child| {
        matches!(
            (child.name(), child.ns()),
            ("reply", ns::REPLY)
                | ("replace", ns::CORRECT)
                | ("reactions", ns::REACTIONS)
                | ("retract", ns::RETRACT)
                | ("displayed", ns::MARKERS)
                | ("apply-to", FASTEN)
        )
    })
}

/// XEP-0422, which XEP-0424 was built upon before its version 0.4.
pub const FASTEN: &str = "urn:xmpp:fasten:0";
/// XEP-0424 as clients of that time send it.
pub const RETRACT_0: &str = "urn:xmpp:message-retract:0";

/// What a message means to a bridge of this profile.
pub fn message(stanza: &Stanza, profile: &Profile) -> Heard {
    if stanza.type_() == Some("error") {
        return if stanza.id().is_some() { Heard::Returned(error_of(stanza)) } else { Heard::Nothing };
    }
    // A copy of something is never sent a second time (XEP-0280, XEP-0297).
    if stanza.child_in(ns::CARBONS).is_some_and(|c| matches!(c.name(), "sent" | "received"))
        || stanza.child("forwarded", ns::FORWARD).is_some()
    {
        return Heard::Nothing;
    }
    if stanza.type_() == Some("groupchat") && !profile.rooms {
        return Heard::Refused(StanzaError::service_unavailable().with(Text::key("error.no-rooms")));
    }
    in_room(stanza, profile)
}

/// The same for what was said in a room of somebody else's, in which the gateway takes part.
pub fn in_room(stanza: &Stanza, profile: &Profile) -> Heard {
    if let Some(retract) = stanza.child("retract", ns::RETRACT)
        && let Some(id) = retract.attr("id")
    {
        return Heard::Retract(id.into_owned(), nested(&retract, "reason"));
    }
    // COMPAT(clients before XEP-0424 0.4): the withdrawal is wrapped.
    if let Some(fastened) = stanza.child("apply-to", FASTEN)
        && let Some(id) = fastened.attr("id")
        && fastened.element().is_ok_and(|e| e.get_child("retract", RETRACT_0).is_some())
    {
        return Heard::Retract(id.into_owned(), None);
    }
    if let Some(reactions) = stanza.child("reactions", ns::REACTIONS) {
        return react(&reactions);
    }
    if let Some(name) = unreadable(stanza) {
        return Heard::Refused(StanzaError::not_acceptable().with(Text::key("error.encrypted").with("method", name)));
    }
    said(stanza, profile).unwrap_or_else(|| silent(stanza, profile))
}

fn react(reactions: &Child<'_>) -> Heard {
    let Some(id) = reactions.attr("id") else { return Heard::Nothing };
    let Ok(element) = reactions.element() else { return Heard::Nothing };
    let mut all: Vec<String> = Vec::new();
    for reaction in element.children().filter(|c| c.name() == "reaction").map(|c| c.text().trim().to_owned()) {
        // A reaction is an emoji (XEP-0444 section 4.1): what is longer is none.
        if !reaction.is_empty() && reaction.len() <= 64 && !all.contains(&reaction) && all.len() < 32 {
            all.push(reaction);
        }
    }
    Heard::React(id.into_owned(), all)
}

/// A message without words: a marker or a chat state.
fn silent(stanza: &Stanza, profile: &Profile) -> Heard {
    if let Some(id) = stanza.child("displayed", ns::MARKERS).and_then(|m| m.attr("id")) {
        return if profile.markers { Heard::Mark(id.into_owned()) } else { Heard::Nothing };
    }
    match stanza.child_in(ns::CHATSTATES) {
        Some(state) if profile.typing => Heard::Typing(state.name() == "composing"),
        _ => Heard::Nothing,
    }
}

/// The name of an encryption that nobody but the two ends can read. The body beside it is only a fallback (XEP-0380 section 3).
fn unreadable(stanza: &Stanza) -> Option<String> {
    if let Some(eme) = stanza.child("encryption", ns::EME) {
        let name = eme.attr("name").or_else(|| eme.attr("namespace"));
        return Some(name.map_or_else(|| "encryption".to_owned(), |n| n.chars().take(64).collect()));
    }
    stanza.children().find_map(|child| match child.ns() {
        space if ns::OMEMO.contains(&space) && child.name() == "encrypted" => Some("OMEMO".to_owned()),
        ns::LEGACY_PGP if child.name() == "x" => Some("OpenPGP (XEP-0027)".to_owned()),
        ns::OX => Some("OpenPGP (XEP-0373)".to_owned()),
        _ => None,
    })
}

/// Bytes of a thread's name (RFC 6121 section 5.2.5), at most: it is kept with the message.
const LONGEST_THREAD: usize = 1_024;

fn said(stanza: &Stanza, profile: &Profile) -> Option<Heard> {
    let mut body = stanza.body().map(|b| match memchr::memchr(b'\r', b.as_bytes()).is_some() {
        true => b.replace("\r\n", "\n").replace('\r', "\n"),
        false => b.into_owned(),
    });
    let subject = stanza.child("subject", ns::CLIENT).map(|s| s.text().into_owned()).filter(|s| !s.trim().is_empty());
    if body.as_ref().is_none_or(|b| b.trim().is_empty()) && subject.is_none() && !has_file(stanza) {
        return None;
    }
    let mut message = Box::<Message>::default();
    message.subject = subject;
    message.kind = match stanza.type_() {
        Some("chat") => MessageKind::Chat,
        Some("groupchat") => MessageKind::Group,
        _ => MessageKind::Normal,
    };
    if let (Some(text), Some(markup)) =
        (body.as_ref().filter(|text| text.len() <= profile.max_text), stanza.child("markup", markup::MARKUP))
        && let Ok(markup) = markup.element()
        && stanza.child("reply", ns::REPLY).is_none()
    {
        // An answer's ranges are those of the whole body, of which only a part is meant: its markup is left out.
        body = Some(markup::styled(text, &markup));
    }
    let thread = stanza.child("thread", ns::CLIENT).map(|thread| thread.text().trim().to_owned());
    message.thread = thread.filter(|thread| !thread.is_empty() && thread.len() <= LONGEST_THREAD);
    let answers = stanza.child("reply", ns::REPLY).and_then(|r| r.attr("id").map(std::borrow::Cow::into_owned));
    if let (Some(text), Some(_)) = (&body, &answers) {
        let (quoted, rest) = without_fallback(stanza, text);
        message.quoted = quoted;
        body = Some(rest);
    }
    let mut text = body.unwrap_or_default();
    if profile.files {
        message.files = files(stanza);
        // The body of a shared file is only its address again.
        if message.files.iter().any(|f| matches!(&f.source, FileSource::Url(u) if u.as_str() == text.trim())) {
            text.clear();
        }
    }
    if profile.mode == Mode::Live
        && let Some(rest) = text.strip_prefix("/me ")
    {
        message.action = true;
        text = rest.to_owned();
    }
    if text.len() > profile.max_text {
        let limit = Text::key("error.too-long").with("limit", profile.max_text).with("size", text.len());
        return Some(Heard::Refused(StanzaError::new(ErrorType::Modify, "policy-violation").with(limit)));
    }
    message.body = text;
    let addresses = match addresses(stanza) {
        Ok(addresses) => addresses,
        Err(error) => return Some(Heard::Refused(error)),
    };
    Some(Heard::Said(Said {
        message,
        answers,
        corrects: stanza.child("replace", ns::CORRECT).and_then(|r| r.attr("id").map(std::borrow::Cow::into_owned)),
        wants_receipt: stanza.child("request", ns::RECEIPTS).is_some(),
        wants_marker: stanza.child("markable", ns::MARKERS).is_some(),
        addresses,
    }))
}

fn has_file(stanza: &Stanza) -> bool {
    stanza.child("x", ns::OOB).is_some() || stanza.child("file-sharing", ns::SFS).is_some()
}

/// Files by XEP-0447, with XEP-0066 for the clients that know only that; one file named both ways counts once.
fn files(stanza: &Stanza) -> Vec<File> {
    let mut files: Vec<File> = Vec::new();
    for child in stanza.children() {
        let found = match (child.name(), child.ns()) {
            ("file-sharing", ns::SFS) => child.element().ok().and_then(|e| shared(&e)),
            ("x", ns::OOB) => nested(&child, "url").and_then(|u| Url::parse(u.trim()).ok()).map(|url| {
                let name =
                    url.path_segments().and_then(|mut s| s.next_back()).filter(|s| !s.is_empty()).map(percent_decoded);
                let mut media = Media::new(name, "application/octet-stream", None);
                media.description = nested(&child, "desc");
                File::new(FileSource::Url(url), media)
            }),
            _ => None,
        };
        if let Some(file) = found
            && !files.iter().any(|f| f.source == file.source)
        {
            files.push(file);
        }
    }
    files
}

/// A `<file-sharing/>` with an address that can be fetched.
fn shared(element: &minidom::Element) -> Option<File> {
    let sources = element.get_child("sources", ns::SFS)?;
    let url = sources.children().find_map(|s| Url::parse(s.attr("target")?).ok())?;
    let about = element.get_child("file", ns::FILE_METADATA)?;
    let text =
        |name| about.get_child(name, ns::FILE_METADATA).map(|c| c.text().trim().to_owned()).filter(|t| !t.is_empty());
    let mut media =
        Media::new(text("name"), text("media-type").unwrap_or_else(|| "application/octet-stream".to_owned()), None);
    media.size = text("size").and_then(|s| s.parse().ok());
    media.description = text("desc");
    Some(File::new(FileSource::Url(url), media))
}

/// The last segment of a path as a person wrote it.
fn percent_decoded(segment: &str) -> String {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail.get(..2).and_then(|d| std::str::from_utf8(d).ok()).and_then(|d| u8::from_str_radix(d, 16).ok());
        match code.filter(|_| first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn nested(child: &Child<'_>, name: &str) -> Option<String> {
    let element = child.element().ok()?;
    element.children().find(|c| c.name() == name).map(minidom::Element::text).filter(|t| !t.trim().is_empty())
}

/// Takes the quoted part out of an answer: XEP-0461 section 4, XEP-0428 with ranges in characters. Gives the quoted words and the rest.
fn without_fallback(stanza: &Stanza, body: &str) -> (Option<String>, String) {
    let range = stanza
        .children()
        .find(|c| c.is("fallback", ns::FALLBACK) && c.attr("for").as_deref() == Some(ns::REPLY))
        .and_then(|c| c.element().ok())
        .and_then(|e| {
            let body = e.get_child("body", ns::FALLBACK)?;
            Some((body.attr("start")?.parse::<usize>().ok()?, body.attr("end")?.parse::<usize>().ok()?))
        });
    let Some((start, end)) = range.filter(|(start, end)| start < end) else { return (None, body.to_owned()) };
    let quoted: String = body.chars().skip(start).take(end - start).collect();
    let rest: String = body.chars().take(start).chain(body.chars().skip(end)).collect();
    if quoted.is_empty() {
        return (None, body.to_owned());
    }
    let quoted = quoted
        .lines()
        .map(|l| l.strip_prefix("> ").or_else(|| l.strip_prefix('>')).unwrap_or(l))
        .collect::<Vec<_>>()
        .join("\n");
    (Some(quoted), rest)
}

/// XEP-0033. Those that are already delivered are for reading, not for sending.
fn addresses(stanza: &Stanza) -> Result<Vec<(RecipientKind, String)>, StanzaError> {
    let Some(element) = stanza.child("addresses", ns::ADDRESS) else { return Ok(Vec::new()) };
    let element = element.element().map_err(|_| StanzaError::bad_request())?;
    let mut all = Vec::new();
    for address in element.children().filter(|a| a.name() == "address" && a.attr("delivered") != Some("true")) {
        let kind = match address.attr("type") {
            Some("to") => RecipientKind::To,
            Some("cc") => RecipientKind::Cc,
            Some("bcc") => RecipientKind::Bcc,
            // replyto, replyroom, noreply and ofrom name nobody to send to.
            _ => continue,
        };
        let Some(jid) = address.attr("jid") else {
            return Err(StanzaError::not_acceptable().with(Text::key("error.address-without-jid")));
        };
        all.push((kind, jid.to_owned()));
    }
    if all.len() > MAX_ADDRESSES {
        return Err(
            StanzaError::not_acceptable().with(Text::key("error.too-many-addresses").with("limit", MAX_ADDRESSES))
        );
    }
    Ok(all)
}

/// What an error stanza of any kind says.
pub fn error_of(stanza: &Stanza) -> Returned {
    let mut returned = Returned {
        id: stanza.id().unwrap_or_default().to_owned(),
        from: stanza.from().unwrap_or_default().to_owned(),
        condition: "undefined-condition".to_owned(),
        kind: "cancel".to_owned(),
        text: None,
    };
    let Some(error) = stanza.child("error", ns::CLIENT) else { return returned };
    if let Some(kind) = error.attr("type") {
        returned.kind = kind.into_owned();
    }
    if let Ok(element) = error.element() {
        for child in element.children().filter(|c| c.ns() == ns::STANZAS) {
            match child.name() {
                "text" => returned.text = Some(child.text()),
                name => returned.condition = name.to_owned(),
            }
        }
    }
    returned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(children: &str, change: impl FnOnce(&mut Profile)) -> Heard {
        let mut profile = Profile::held("test", "Test");
        change(&mut profile);
        let text =
            format!("<message from='juliet@capulet.lit/b' to='a@gw.example' type='chat' id='m1'>{children}</message>");
        message(&Stanza::of(&text), &profile)
    }

    fn words(children: &str, change: impl FnOnce(&mut Profile)) -> Said {
        match hear(children, change) {
            Heard::Said(said) => said,
            other => panic!("expected words, found {other:?}"),
        }
    }

    #[test]
    fn text_subject_thread_and_wishes() {
        let said = words(
            "<subject>Tea</subject><body>At 5?\r\nYes</body><thread>t1</thread><request xmlns='urn:xmpp:receipts'/>\
             <markable xmlns='urn:xmpp:chat-markers:0'/>",
            |_| {},
        );
        assert_eq!(said.message.body, "At 5?\nYes");
        assert_eq!(said.message.subject.as_deref(), Some("Tea"));
        assert_eq!(said.message.thread.as_deref(), Some("t1"));
        assert!(said.wants_receipt && said.wants_marker);
    }

    #[test]
    fn an_answer_loses_its_fallback_and_keeps_the_quoted_words() {
        let said = words(
            "<body>&gt; Whèn?\n&gt; Today?\nAt 5</body><reply xmlns='urn:xmpp:reply:0' to='a@gw.example' id='q1'/>\
             <fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='0' end='17'/></fallback>",
            |_| {},
        );
        assert_eq!(said.answers.as_deref(), Some("q1"));
        assert_eq!(said.message.body, "At 5");
        assert_eq!(said.message.quoted.as_deref(), Some("Whèn?\nToday?"));
    }

    #[test]
    fn a_file_is_taken_once_and_its_address_is_no_text() {
        let both = "<body>https://up.example/x/a%20b.png</body>\
             <x xmlns='jabber:x:oob'><url>https://up.example/x/a%20b.png</url></x>\
             <file-sharing xmlns='urn:xmpp:sfs:0'><file xmlns='urn:xmpp:file:metadata:0'><name>a b.png</name><size>7</size></file>\
             <sources><url-data xmlns='http://jabber.org/protocol/url-data' target='https://up.example/x/a%20b.png'/></sources></file-sharing>";
        let said = words(both, |p| p.files = true);
        assert_eq!(said.message.body, "");
        assert_eq!(said.message.files.len(), 1);
        assert_eq!(said.message.files[0].media.name.as_deref(), Some("a b.png"));
        let said = words(both, |_| {});
        assert_eq!(said.message.body, "https://up.example/x/a%20b.png", "a network without files gets the link");
    }

    #[test]
    fn what_is_encrypted_is_refused_with_the_name_of_the_method() {
        for (child, name) in [
            ("<encryption xmlns='urn:xmpp:eme:0' namespace='urn:xmpp:omemo:2' name='OMEMO'/>", "OMEMO"),
            ("<encrypted xmlns='eu.siacs.conversations.axolotl'/>", "OMEMO"),
            ("<x xmlns='jabber:x:encrypted'>abc</x>", "OpenPGP (XEP-0027)"),
        ] {
            let Heard::Refused(error) = hear(&format!("<body>I sent you an OMEMO message</body>{child}"), |_| {})
            else {
                panic!("{child} was not refused")
            };
            assert_eq!(error.condition, "not-acceptable");
            assert!(error.text.is_some_and(|t| t.to_string().contains(name)), "{child}");
        }
    }

    #[test]
    fn copies_states_and_markers_send_nothing() {
        for child in [
            "<sent xmlns='urn:xmpp:carbons:2'/><body>x</body>",
            "<received xmlns='urn:xmpp:carbons:2'/>",
            "<forwarded xmlns='urn:xmpp:forward:0'/><body>x</body>",
            "<active xmlns='http://jabber.org/protocol/chatstates'/>",
            "<displayed xmlns='urn:xmpp:chat-markers:0' id='m0'/>",
            "<body>  </body>",
        ] {
            assert_eq!(hear(child, |_| {}), Heard::Nothing, "{child}");
        }
    }

    #[test]
    fn too_long_is_refused_with_the_limit() {
        let Heard::Refused(error) = hear(&format!("<body>{}</body>", "x".repeat(11)), |p| p.max_text = 10) else {
            panic!("not refused")
        };
        assert_eq!(error.condition, "policy-violation");
        assert!(error.text.is_some_and(|t| t.to_string().contains("limit=10")));
    }

    #[test]
    fn addresses_that_were_served_already_are_not_served_again() {
        let said = words(
            "<body>x</body><addresses xmlns='http://jabber.org/protocol/address'><address type='to' jid='b@gw.example'/>\
             <address type='cc' jid='c@gw.example' delivered='true'/><address type='replyto' jid='d@gw.example'/></addresses>",
            |_| {},
        );
        assert_eq!(said.addresses, [(RecipientKind::To, "b@gw.example".to_owned())]);
    }
}
