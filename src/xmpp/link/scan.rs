//! Finds the stream's top-level elements, at any split of reads.
//!
//! Sans-I/O: [`Framer::space`] takes bytes, [`Framer::next`] gives frames. A stanza that is there whole is found and read in one pass; one that
//! comes in pieces, or with which something is wrong, is gone through step by step, each byte once, until its end is found. What is too large or too deep is skipped to
//! its end without being kept, but for its start tag, from which the answer is made.

use std::sync::Arc;

use bytes::{Buf, BytesMut};
use memchr::{memchr, memchr3, memmem};

use super::answer::Refusal;
use super::check;
use super::config::Limits;
use super::error::StreamFault;
use super::escape;
use super::outline::{self, COMPONENT, STREAMS, Scope};
use super::stanza::{Kind, Stanza, TopLevel};
use super::token::{self, Flaw, Token, Tokens};

/// Bytes that the stream's own start tag may have, and white space and declarations before it.
const MAX_HEADER: usize = 16 << 10;
/// The start tag of a skipped stanza is read for its header up to this size.
const MAX_START_TAG: usize = 64 << 10;
/// The read buffer's usual size.
const BUFFER: usize = 64 << 10;
const TOO_LARGE: &str = "larger than the limit";

/// A stanza that was refused; the stream went on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BadStanza {
    /// What it claims to be; absent when not even its name could be read.
    pub kind: Option<Kind>,
    /// Its sender, as far as it could be read.
    pub from: Option<String>,
    /// Its addressee.
    pub to: Option<String>,
    /// Its id.
    pub id: Option<String>,
    /// Its type.
    pub type_: Option<String>,
    /// What was wrong, in words for a log.
    pub why: &'static str,
    /// What it is answered with where an answer is allowed.
    pub refusal: Refusal,
}

impl BadStanza {
    /// From a stanza that is well-formed.
    pub(super) fn of(stanza: &Stanza, why: &'static str, refusal: Refusal) -> Self {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Self {
            kind: Some(stanza.kind()),
            from: owned(stanza.from()),
            to: owned(stanza.to()),
            id: owned(stanza.id()),
            type_: owned(stanza.type_()),
            why,
            refusal,
        }
    }

    /// From no more than the start tag.
    fn from_start_tag(bytes: &[u8], why: &'static str, refusal: Refusal) -> Self {
        let start_tag = String::from_utf8_lossy(bytes);
        let (name, header, tail) = outline::header_of(&start_tag);
        let text = format!("{start_tag}{tail}");
        let owned = |span: outline::Span| span.of(&text).map(str::to_owned);
        Self {
            kind: name.of(&text).and_then(Kind::from_name),
            from: owned(header.from),
            to: owned(header.to),
            id: owned(header.id),
            type_: owned(header.type_),
            why,
            refusal,
        }
    }
}

/// What the server said when it opened the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StreamHeader {
    pub(super) id: String,
}

/// What the reader found.
#[derive(Debug)]
pub(super) enum Frame {
    Header(StreamHeader),
    Top(TopLevel),
    Bad(BadStanza),
    /// `</stream:stream>`
    End,
}

/// Where in the markup the scan stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Between tags.
    Text,
    /// At a `<`, not knowing what it begins.
    Markup,
    /// In a start tag; in a quoted value if there is a quote.
    StartTag(Option<u8>),
    EndTag,
    CData,
    /// In `<?xml … ?>` before the stream.
    Declaration,
}

/// How far one step came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The piece of markup is not all there yet.
    Wait,
    /// On to the next piece.
    On,
    /// A start tag has ended; [`Framer::depth`] counts its element unless it is empty.
    Opened,
    /// An end tag has ended.
    Closed,
}

/// The state of one stream's reader.
#[derive(Debug)]
pub(super) struct Framer {
    /// Begins with the current top-level element, or with what is left of it while it is skipped.
    buffer: BytesMut,
    /// Everything before has been looked at.
    pos: usize,
    at: At,
    /// Open elements; the stream itself is one.
    depth: usize,
    /// The last byte of the start tag that was looked at: a `/` makes it an empty element.
    last: u8,
    declared: bool,
    /// The stream's own start tag has been read.
    opened: bool,
    skipping: Option<Skipped>,
    /// The last read took all the space that there was.
    filled: bool,
    scope: Arc<Scope>,
    limits: Limits,
}

/// A stanza that is being skipped: why, and the beginning of it.
#[derive(Debug)]
struct Skipped {
    start: Box<[u8]>,
    why: &'static str,
}

impl Framer {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            buffer: BytesMut::with_capacity(BUFFER),
            pos: 0,
            at: At::Text,
            depth: 0,
            last: 0,
            declared: false,
            opened: false,
            skipping: None,
            filled: false,
            scope: Arc::new(Scope::plain()),
            limits,
        }
    }

    /// Where bytes from the server are to be appended.
    pub(super) fn space(&mut self) -> &mut BytesMut {
        if self.buffer.is_empty() && !self.filled && self.buffer.capacity() > BUFFER {
            self.buffer = BytesMut::with_capacity(BUFFER); // after a large stanza, or many
        }
        self.buffer.reserve(if self.filled { 4 * BUFFER } else { BUFFER / 4 });
        &mut self.buffer
    }

    /// Bytes were appended. Where they took all the space, there are more: what is read at one time is also written at one time, to each of the
    /// far networks.
    pub(super) fn appended(&mut self) {
        self.filled = self.buffer.len() == self.buffer.capacity();
    }

    /// The next frame; none until there are more bytes. After a fault the stream is over.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, StreamFault> {
        if let Some(frame) = self.whole() {
            return Ok(Some(frame));
        }
        loop {
            let step = self.step()?;
            let frame = match (step, self.depth) {
                (Step::Wait, _) => {
                    if !self.opened && self.buffer.len() > MAX_HEADER {
                        return Err(StreamFault::malformed("the stream's start tag is too long"));
                    }
                    self.bound();
                    return Ok(None);
                }
                (Step::Opened, _) if !self.opened => self.stream_tag().map(Some)?,
                (Step::Closed, 0) => Some(Frame::End),
                (Step::Opened | Step::Closed, 1) => self.top_level().map(Some)?,
                (Step::On | Step::Opened | Step::Closed, _) => {
                    self.bound();
                    None
                }
            };
            if frame.is_some() {
                return Ok(frame);
            }
        }
    }

    /// The next stanza, if it lies in the buffer whole and nothing is wrong with it, as nearly all do: found and read in one pass. What is wrong
    /// with others is found out in steps.
    fn whole(&mut self) -> Option<Frame> {
        if self.depth != 1 || self.pos != 0 || self.at != At::Text || self.skipping.is_some() {
            return None;
        }
        let space = self.buffer.iter().take_while(|b| b.is_ascii_whitespace()).count();
        self.buffer.advance(space);
        let most = self.buffer.len().min(self.limits.max_in);
        let read = TopLevel::read(&self.buffer[..most], &self.scope, &self.limits);
        let Ok(Some((TopLevel::Stanza(stanza), size))) = read else { return None };
        if check::flaw(&stanza).is_some() {
            return None;
        }
        self.buffer.advance(size);
        Some(Frame::Top(TopLevel::Stanza(stanza)))
    }

    /// Goes on to the end of the piece of markup at `pos`.
    fn step(&mut self) -> Result<Step, StreamFault> {
        match self.at {
            At::Text => self.in_text(),
            At::Markup => self.in_markup(),
            At::StartTag(quote) => Ok(self.in_start_tag(quote)),
            At::EndTag => self.in_end_tag(),
            At::CData => Ok(self.in_cdata()),
            At::Declaration => Ok(self.in_declaration()),
        }
    }

    fn in_text(&mut self) -> Result<Step, StreamFault> {
        let rest = &self.buffer[self.pos..];
        let found = memchr(b'<', rest);
        let length = found.unwrap_or(rest.len());
        if self.depth > 1 {
            self.pos += length;
        } else {
            if !rest[..length].iter().all(u8::is_ascii_whitespace) {
                return Err(StreamFault::malformed("text outside stanzas"));
            }
            // White space between stanzas is keepalive and belongs to nobody.
            self.buffer.advance(self.pos + length);
            self.pos = 0;
        }
        if found.is_none() {
            return Ok(Step::Wait);
        }
        self.at = At::Markup;
        Ok(Step::On)
    }

    fn in_markup(&mut self) -> Result<Step, StreamFault> {
        let rest = &self.buffer[self.pos..];
        match rest.get(1) {
            None => Ok(Step::Wait),
            Some(b'/') => {
                self.pos += 2;
                self.at = At::EndTag;
                Ok(Step::On)
            }
            Some(b'!') => match begins(rest, b"<![CDATA[") {
                Some(true) if self.depth < 2 => Err(StreamFault::malformed("text outside stanzas")),
                Some(true) => {
                    self.pos += b"<![CDATA[".len();
                    self.at = At::CData;
                    Ok(Step::On)
                }
                Some(false) => Err(StreamFault::restricted("a comment or a document type declaration")),
                None => Ok(Step::Wait),
            },
            Some(b'?') => match begins(rest, b"<?xml ") {
                Some(true) if !self.declared && !self.opened => {
                    self.declared = true;
                    self.at = At::Declaration;
                    Ok(Step::On)
                }
                None if !self.opened => Ok(Step::Wait),
                _ => Err(StreamFault::restricted("a processing instruction")),
            },
            Some(b) if !(b.is_ascii_alphabetic() || *b == b'_' || *b >= 0x80) => {
                Err(StreamFault::malformed("a name that is none"))
            }
            Some(_) => {
                self.pos += 1;
                self.last = b'<';
                self.at = At::StartTag(None);
                Ok(Step::On)
            }
        }
    }

    fn in_start_tag(&mut self, mut quote: Option<u8>) -> Step {
        let bytes = &self.buffer[..];
        let from = self.pos;
        let mut at = from;
        loop {
            let found = match quote {
                Some(quote) => memchr(quote, &bytes[at..]),
                None => memchr3(b'>', b'\'', b'"', &bytes[at..]),
            };
            let Some(found) = found else {
                self.last = if bytes.len() > from { bytes[bytes.len() - 1] } else { self.last };
                self.pos = bytes.len();
                self.at = At::StartTag(quote);
                return Step::Wait;
            };
            at += found;
            match (bytes[at], quote) {
                (b'>', None) => break,
                (open, None) => quote = Some(open),
                (_, Some(_)) => quote = None,
            }
            at += 1;
        }
        let before = if at > from { bytes[at - 1] } else { self.last };
        self.depth += usize::from(before != b'/');
        self.pos = at + 1;
        self.at = At::Text;
        Step::Opened
    }

    fn in_end_tag(&mut self) -> Result<Step, StreamFault> {
        let Some(found) = memchr(b'>', &self.buffer[self.pos..]) else {
            self.pos = self.buffer.len();
            return Ok(Step::Wait);
        };
        self.pos += found + 1;
        self.at = At::Text;
        self.depth = self.depth.checked_sub(1).ok_or(StreamFault::malformed("an end tag before the stream"))?;
        Ok(Step::Closed)
    }

    fn in_cdata(&mut self) -> Step {
        match memmem::find(&self.buffer[self.pos..], b"]]>") {
            Some(found) => {
                self.pos += found + 3;
                self.at = At::Text;
                Step::On
            }
            None => {
                // The last two bytes may be the beginning of the end.
                self.pos = self.pos.max(self.buffer.len().saturating_sub(2));
                Step::Wait
            }
        }
    }

    fn in_declaration(&mut self) -> Step {
        match memmem::find(&self.buffer, b"?>") {
            Some(found) => {
                self.buffer.advance(found + 2);
                self.pos = 0;
                self.at = At::Text;
                Step::On
            }
            None => Step::Wait,
        }
    }

    /// Keeps the current element within its bounds.
    fn bound(&mut self) {
        if self.opened && self.skipping.is_none() {
            if self.pos > self.limits.max_in {
                self.skip(TOO_LARGE);
            } else if self.depth > self.limits.depth + 1 {
                self.skip("elements within one another too deeply");
            }
        }
        if self.skipping.is_some() {
            self.buffer.advance(self.pos);
            self.pos = 0;
        }
    }

    fn skip(&mut self, why: &'static str) {
        let kept = self.pos.min(MAX_START_TAG);
        self.skipping = Some(Skipped { start: self.buffer[..kept].into(), why });
    }

    /// The stream's own start tag stands at the beginning of the buffer.
    fn stream_tag(&mut self) -> Result<Frame, StreamFault> {
        self.opened = true;
        let bytes = self.buffer.split_to(self.pos);
        self.pos = 0;
        if self.depth == 0 {
            return Err(StreamFault::malformed("the stream ends with its start tag"));
        }
        let text =
            std::str::from_utf8(&bytes).map_err(|_| StreamFault::malformed("the stream's start tag is not UTF-8"))?;
        if escape::forbidden(&bytes) {
            return Err(StreamFault::malformed("a character that XML forbids"));
        }
        let (scope, id) = header(text).map_err(|_| StreamFault::malformed("the stream's start tag is malformed"))?;
        let (prefix, name) = token::split(tag_name(text));
        let namespace = prefix.map_or(Some(&*scope.default), |prefix| scope.prefix(prefix));
        match namespace {
            Some(STREAMS) if name == "stream" && &*scope.default == COMPONENT => {}
            None => return Err(StreamFault { condition: "bad-namespace-prefix", what: "an undeclared prefix" }),
            _ => return Err(StreamFault { condition: "invalid-namespace", what: "this is no component stream" }),
        }
        self.scope = Arc::new(scope);
        Ok(Frame::Header(StreamHeader { id }))
    }

    /// A top-level element has ended at `pos`.
    fn top_level(&mut self) -> Result<Frame, StreamFault> {
        if self.skipping.is_none() && self.pos > self.limits.max_in {
            self.skip(TOO_LARGE);
        }
        let frame = match self.skipping.take() {
            Some(Skipped { start, why }) => {
                Frame::Bad(BadStanza::from_start_tag(&start, why, Refusal::PolicyViolation))
            }
            None => self.read()?,
        };
        self.buffer.advance(self.pos);
        self.pos = 0;
        Ok(frame)
    }

    fn read(&self) -> Result<Frame, StreamFault> {
        let bytes = &self.buffer[..self.pos];
        // What is not even text is refused alone, whatever its tags look like.
        let flaw = match std::str::from_utf8(bytes) {
            Err(_) => Some("not UTF-8"),
            Ok(_) => escape::forbidden(bytes).then_some("a character that XML forbids"),
        };
        if let Some(why) = flaw {
            return Ok(Frame::Bad(BadStanza::from_start_tag(bytes, why, Refusal::BadRequest)));
        }
        match TopLevel::read(bytes, &self.scope, &self.limits) {
            Ok(None) => Err(StreamFault::malformed("the element does not end")),
            Ok(Some((_, size))) if size < bytes.len() => Err(StreamFault::malformed("something follows the element")),
            Ok(Some((TopLevel::Stanza(stanza), _))) => Ok(match check::flaw(&stanza) {
                None => Frame::Top(TopLevel::Stanza(stanza)),
                Some(why) => Frame::Bad(BadStanza::of(&stanza, why, Refusal::BadRequest)),
            }),
            Ok(Some((other, _))) => Ok(Frame::Top(other)),
            Err(Flaw::Content(why)) => Ok(Frame::Bad(BadStanza::from_start_tag(bytes, why, Refusal::BadRequest))),
            Err(Flaw::Bound(why)) => Ok(Frame::Bad(BadStanza::from_start_tag(bytes, why, Refusal::PolicyViolation))),
            Err(Flaw::Structure(why)) => Err(StreamFault::malformed(why)),
        }
    }
}

/// Whether `rest` begins with `expected`; none: so far it does, but it is too short.
fn begins(rest: &[u8], expected: &[u8]) -> Option<bool> {
    let known = rest.len().min(expected.len());
    if rest[..known] != expected[..known] {
        Some(false)
    } else if known == expected.len() {
        Some(true)
    } else {
        None
    }
}

/// What the stream's start tag declares, and its id.
fn header(text: &str) -> Result<(Scope, String), Flaw> {
    let mut scope = Scope { default: "".into(), prefixes: Vec::new() };
    let mut id = String::new();
    let mut tokens = Tokens::new(text, 0);
    let Some(Token::Open(tag)) = tokens.next()? else { return Err(Flaw::Structure("no start tag")) };
    let mut attributes = tag.attributes();
    while let Some(attribute) = attributes.next()? {
        let value = token::value(attribute.raw)?;
        match token::split(attribute.name) {
            (None, "xmlns") => scope.default = value.into(),
            (Some("xmlns"), prefix) => scope.prefixes.push((prefix.into(), value.into())),
            (None, "id") => id = value.into_owned(),
            _ => {}
        }
    }
    Ok((scope, id))
}

fn tag_name(text: &str) -> &str {
    match Tokens::new(text, 0).next() {
        Ok(Some(Token::Open(tag))) => tag.name,
        _ => "",
    }
}
