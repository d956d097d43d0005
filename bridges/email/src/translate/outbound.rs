//! Message → RFC 5322.

use std::time::SystemTime;

use lettre::address::Envelope;
use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Attachment, MultiPart, SinglePart};
use lettre::{Address, Message};

use super::{styling, wrap};
use crate::address::Mailbox;

/// Characters of a subject, a name and a file name that go into a header.
const MAX_LINE: usize = 400;
const MAX_NAME: usize = 100;

/// A mail, before it is written.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    /// The sender's name for people.
    pub name: Option<String>,
    /// The sender.
    pub from: Mailbox,
    /// Main recipients.
    pub to: Vec<Mailbox>,
    /// Copies that all see. Blind copies have no place in a draft.
    pub cc: Vec<Mailbox>,
    /// `Date`.
    pub date: SystemTime,
    /// `Message-ID`, without angle brackets.
    pub message_id: String,
    /// `References`, without angle brackets; the last one is `In-Reply-To`.
    pub references: Vec<String>,
    /// `Subject`.
    pub subject: String,
    /// Text.
    pub text: String,
    /// Styling also as HTML.
    pub html: bool,
    /// Attached files.
    pub files: Vec<Attached>,
    /// `Jabber-ID`.
    pub jabber_id: Option<String>,
    /// Ask for a notice when it is read (RFC 8098).
    pub ask_read: bool,
}

/// An attached file.
#[derive(Debug, Clone)]
pub(crate) struct Attached {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Its media type, as the other side said.
    pub media_type: String,
    /// Its content.
    pub body: Vec<u8>,
}

/// A mail, written.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    /// RFC 5322, CRLF line ends.
    pub bytes: Vec<u8>,
    /// Its header holds addresses that need SMTPUTF8.
    pub utf8: bool,
}

/// Writes a mail. Whatever stands in the draft, no value leaves its header field.
pub(crate) fn write(draft: &Draft) -> Result<Written, lettre::error::Error> {
    let from = address(&draft.from)?;
    let mut builder = Message::builder()
        .from(lettre::message::Mailbox::new(draft.name.as_deref().map(name).filter(|n| !n.is_empty()), from.clone()))
        .date(draft.date)
        .message_id(Some(format!("<{}>", draft.message_id)))
        .subject(one_line(&draft.subject, MAX_LINE))
        .header(Plain::<AutoSubmitted>::new("no"))
        // The recipients of the envelope are told to the relay one by one.
        .envelope(Envelope::new(None, vec![from.clone()])?);
    if draft.to.is_empty() && draft.cc.is_empty() {
        builder = builder.raw_header(ready("To", "undisclosed-recipients:;".to_owned()));
    }
    for (name, list) in [("To", &draft.to), ("Cc", &draft.cc)] {
        if !list.is_empty() {
            builder = builder.raw_header(ready(name, addresses(list)));
        }
    }
    let references: Vec<String> =
        draft.references.iter().filter(|id| is_message_id(id)).map(|id| format!("<{id}>")).collect();
    if let Some(last) = references.last() {
        builder = builder.in_reply_to(last.clone()).references(references.join(" "));
    }
    if let Some(jid) = &draft.jabber_id {
        builder = builder.header(Plain::<JabberId>::new(&one_line(jid, 3072)));
    }
    if draft.ask_read {
        builder = builder.header(Plain::<AskRead>::new(&draft.from.to_string()));
    }
    let message = body(builder, draft)?;
    let utf8 = [&draft.from].into_iter().chain(&draft.to).chain(&draft.cc).any(|m| !m.is_ascii());
    Ok(Written { bytes: message.formatted(), utf8 })
}

fn body(builder: lettre::message::MessageBuilder, draft: &Draft) -> Result<Message, lettre::error::Error> {
    let plain = SinglePart::builder()
        .header(media_type("text/plain; charset=utf-8; format=flowed"))
        .body(wrap::flowed(&printable(&draft.text)));
    let html = draft.html.then(|| styling::html(&draft.text)).flatten();
    let alternative = |plain, html: String| {
        MultiPart::alternative()
            .singlepart(plain)
            .singlepart(SinglePart::builder().header(media_type("text/html; charset=utf-8")).body(html))
    };
    if draft.files.is_empty() {
        return match html {
            Some(html) => builder.multipart(alternative(plain, html)),
            None => builder.singlepart(plain),
        };
    }
    let mixed = MultiPart::mixed();
    let mut mixed = match html {
        Some(html) => mixed.multipart(alternative(plain, html)),
        None => mixed.singlepart(plain),
    };
    for (n, file) in draft.files.iter().enumerate() {
        let given = file.name.as_deref().map(file_name).filter(|n| !n.is_empty());
        let name = given.unwrap_or_else(|| format!("file-{}", n + 1));
        mixed = mixed.singlepart(Attachment::new(name).body(file.body.clone(), attachment_type(&file.media_type)));
    }
    builder.multipart(mixed)
}

/// The subject of an answer.
pub(crate) fn reply_subject(subject: &str) -> String {
    let bare = bare_subject(subject);
    if bare.is_empty() { String::new() } else { format!("Re: {bare}") }
}

/// A subject without the `Re:` of any number of answers.
pub(crate) fn bare_subject(subject: &str) -> &str {
    let mut rest = subject.trim();
    while let Some(inner) = rest.get(..3).filter(|p| p.eq_ignore_ascii_case("re:")).map(|_| rest[3..].trim_start()) {
        rest = inner;
    }
    rest
}

/// A first line `Subject: …` and what is left of the text.
pub(crate) fn subject_line(text: &str) -> Option<(&str, &str)> {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let (word, subject) = first.split_once(':')?;
    let subject = subject.trim();
    (word.trim().eq_ignore_ascii_case("subject") && !subject.is_empty())
        .then(|| (subject, rest.trim_start_matches('\n')))
}

/// Whether it can stand in angle brackets in a header (RFC 5322, 3.6.4, without comments).
pub(crate) fn is_message_id(id: &str) -> bool {
    (3..=500).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_graphic() && b != b'<' && b != b'>')
        && id.contains('@')
}

/// One line: every control character and line end becomes a space.
fn one_line(text: &str, max: usize) -> String {
    let line: String = text.chars().map(|c| if is_break(c) { ' ' } else { c }).take(max).collect();
    line.trim().to_owned()
}

fn name(text: &str) -> String {
    one_line(text, MAX_NAME)
}

fn file_name(text: &str) -> String {
    let name: String = text
        .chars()
        .filter(|c| !is_break(*c))
        .map(|c| if "/\\:*?\"<>|".contains(c) { '_' } else { c })
        .take(MAX_NAME)
        .collect();
    name.trim_matches(['.', ' ']).to_owned()
}

fn is_break(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Text without what has no place in a mail: NUL and its kind (RFC 5322, 4).
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

/// A list of addresses, one a line. They need no encoding: a [`Mailbox`] holds nothing that could leave its field.
fn addresses(list: &[Mailbox]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(",\r\n ")
}

fn ready(name: &'static str, value: String) -> HeaderValue {
    HeaderValue::dangerous_new_pre_encoded(HeaderName::new_from_ascii_str(name), value.clone(), value)
}

fn address(mailbox: &Mailbox) -> Result<Address, lettre::error::Error> {
    Address::new(mailbox.local(), mailbox.domain()).map_err(|_| lettre::error::Error::MissingTo)
}

fn media_type(text: &'static str) -> ContentType {
    ContentType::parse(text).expect("a media type of ours")
}

/// What a user's client called it, unless it would change how the part has to be encoded.
fn attachment_type(text: &str) -> ContentType {
    let text = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let composite = text.starts_with("multipart/") || text.starts_with("message/");
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/+-._".contains(&b));
    Some(text)
        .filter(|_| plain && !composite)
        .and_then(|t| ContentType::parse(&t).ok())
        .unwrap_or_else(|| media_type("application/octet-stream"))
}

trait Named {
    const NAME: &'static str;
}

macro_rules! named {
    ($name:ident, $text:literal) => {
        #[derive(Clone)]
        struct $name;
        impl Named for $name {
            const NAME: &'static str = $text;
        }
    };
}
named!(AutoSubmitted, "Auto-Submitted");
named!(JabberId, "Jabber-ID");
named!(AskRead, "Disposition-Notification-To");

/// A field of one line of text; lettre encodes and folds it.
#[derive(Clone)]
struct Plain<N>(String, std::marker::PhantomData<N>);

impl<N: Named> Plain<N> {
    fn new(value: &str) -> Self {
        Self(value.to_owned(), std::marker::PhantomData)
    }
}

impl<N: Named + Clone> Header for Plain<N> {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str(N::NAME)
    }

    fn parse(s: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self::new(s))
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), self.0.clone())
    }
}

#[cfg(test)]
#[path = "outbound_tests.rs"]
mod tests;
