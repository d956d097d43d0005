//! Markup in a text that is held whole: start tags, end tags, character data; attributes and references in them.

use std::borrow::Cow;

use memchr::{memchr, memchr2, memchr3, memmem};

/// What is wrong with a top-level element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Tags do not match: we cannot trust where the element ended, so the stream is over.
    Structure(&'static str),
    /// The frame stands, what is in it does not: the stanza alone is refused.
    Content(&'static str),
    /// Well-formed, but more than we take.
    Bound(&'static str),
}

/// One piece of markup.
#[derive(Debug, Clone, Copy)]
pub(super) enum Token<'a> {
    /// `<name …>` or `<name …/>`.
    Open(Tag<'a>),
    /// `</name>`.
    Close,
    /// Character data with references in it.
    Text(&'a str),
    /// The content of a CDATA section.
    CData(&'a str),
}

/// A start tag.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tag<'a> {
    /// The name as written, with its prefix.
    pub(super) name: &'a str,
    /// `<name/>`.
    pub(super) empty: bool,
    attributes: &'a str,
    attributes_at: usize,
}

impl<'a> Tag<'a> {
    pub(super) fn attributes(&self) -> Attributes<'a> {
        Attributes { text: self.attributes, base: self.attributes_at, at: 0 }
    }
}

/// Walks through a text.
#[derive(Debug, Clone)]
pub(super) struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a str, at: usize) -> Self {
        Self { text, at }
    }

    /// The next piece; none at the end of the text.
    pub(super) fn next(&mut self) -> Result<Option<Token<'a>>, Flaw> {
        let bytes = self.text.as_bytes();
        let Some(&first) = bytes.get(self.at) else { return Ok(None) };
        if first != b'<' {
            let end = memchr(b'<', &bytes[self.at..]).map_or(bytes.len(), |found| self.at + found);
            let text = &self.text[self.at..end];
            self.at = end;
            return Ok(Some(Token::Text(text)));
        }
        match bytes.get(self.at + 1) {
            Some(b'/') => self.close().map(Some),
            Some(b'!') => self.cdata().map(Some),
            Some(_) => self.open().map(Some),
            None => Err(Flaw::Structure("the text ends in markup")),
        }
    }

    fn close(&mut self) -> Result<Token<'a>, Flaw> {
        let length =
            memchr(b'>', &self.text.as_bytes()[self.at..]).ok_or(Flaw::Structure("an end tag does not end"))?;
        self.at += length + 1;
        Ok(Token::Close)
    }

    fn cdata(&mut self) -> Result<Token<'a>, Flaw> {
        let rest = self.text[self.at..].strip_prefix("<![CDATA[").ok_or(Flaw::Structure("a declaration"))?;
        let length = memmem::find(rest.as_bytes(), b"]]>").ok_or(Flaw::Structure("a CDATA section does not end"))?;
        self.at += 9 + length + 3;
        Ok(Token::CData(&rest[..length]))
    }

    fn open(&mut self) -> Result<Token<'a>, Flaw> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut at = start + 1;
        while bytes.get(at).is_some_and(|&b| !matches!(b, b' ' | b'>' | b'/' | b'\n' | b'\t' | b'\r')) {
            at += 1;
        }
        let name = &self.text[start + 1..at];
        if !is_qname(name) {
            return Err(Flaw::Structure("an element's name is no name"));
        }
        let attributes_at = at;
        let close = tag_end(bytes, at).ok_or(Flaw::Structure("a start tag does not end"))?;
        let empty = close > at && bytes[close - 1] == b'/';
        let attributes = &self.text[attributes_at..if empty { close - 1 } else { close }];
        self.at = close + 1;
        Ok(Token::Open(Tag { name, empty, attributes, attributes_at }))
    }
}

/// Name and attributes of a start tag of which perhaps only the beginning is there.
pub(super) fn beginning(text: &str) -> (&str, Attributes<'_>) {
    let bytes = text.as_bytes();
    let mut at = 1;
    while bytes.get(at).is_some_and(|&b| !matches!(b, b' ' | b'>' | b'/' | b'\n' | b'\t' | b'\r')) {
        at += 1;
    }
    let end = tag_end(bytes, at).unwrap_or(bytes.len());
    (text.get(1..at).unwrap_or_default(), Attributes { text: text.get(at..end).unwrap_or_default(), base: at, at: 0 })
}

/// Offset of the `>` that ends the start tag in whose attributes `at` lies.
fn tag_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr3(b'>', b'\'', b'"', bytes.get(at..)?)?;
        if bytes[at] == b'>' {
            return Some(at);
        }
        at += 2 + memchr(bytes[at], &bytes[at + 1..])?;
    }
}

/// One attribute as written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attribute<'a> {
    /// The name with its prefix.
    pub(super) name: &'a str,
    /// The value with references in it.
    pub(super) raw: &'a str,
    /// Offset of the value.
    pub(super) at: usize,
}

/// The attributes of one start tag.
#[derive(Debug, Clone)]
pub(super) struct Attributes<'a> {
    text: &'a str,
    base: usize,
    at: usize,
}

impl<'a> Attributes<'a> {
    pub(super) fn next(&mut self) -> Result<Option<Attribute<'a>>, Flaw> {
        const WRONG: Flaw = Flaw::Content("a start tag is malformed");
        let bytes = self.text.as_bytes();
        let start = skip_space(bytes, self.at);
        if start >= bytes.len() {
            return Ok(None);
        }
        if start == self.at {
            return Err(WRONG); // no space before the attribute
        }
        // Names are short: a call costs more than the loop.
        let mut equals = start;
        while !matches!(bytes.get(equals), Some(b'=')) {
            if matches!(bytes.get(equals), None | Some(b'\'' | b'"')) {
                return Err(WRONG);
            }
            equals += 1;
        }
        let name = self.text[start..equals].trim_end_matches(is_space);
        let open = skip_space(bytes, equals + 1);
        let quote = *bytes.get(open).filter(|b| matches!(b, b'\'' | b'"')).ok_or(WRONG)?;
        let close = open + 1 + memchr2(quote, b'<', &bytes[open + 1..]).ok_or(WRONG)?;
        self.at = close + 1;
        let raw = &self.text[open + 1..close];
        if bytes[close] != quote || !is_qname(name) {
            return Err(WRONG);
        }
        Ok(Some(Attribute { name, raw, at: self.base + open + 1 }))
    }
}

/// Prefix and local part.
pub(super) fn split(name: &str) -> (Option<&str>, &str) {
    match memchr(b':', name.as_bytes()) {
        Some(at) => (Some(&name[..at]), &name[at + 1..]),
        None => (None, name),
    }
}

/// Character data as text: references resolved, line ends normalised (XML 1.0 section 2.11).
pub(super) fn text(raw: &str) -> Result<Cow<'_, str>, Flaw> {
    if memchr2(b'&', b'\r', raw.as_bytes()).is_none() { Ok(Cow::Borrowed(raw)) } else { resolve(raw, false) }
}

/// An attribute's value as text: references resolved, white space normalised (XML 1.0 section 3.3.3).
pub(super) fn value(raw: &str) -> Result<Cow<'_, str>, Flaw> {
    // Every byte is looked at, many at a time: in numbers and not in truths it becomes vector instructions.
    let special = |found: u8, &b: &u8| {
        found | u8::from(b == b'&') | u8::from(b == b'\r') | u8::from(b == b'\n') | u8::from(b == b'\t')
    };
    if raw.as_bytes().iter().fold(0, special) != 0 { resolve(raw, true) } else { Ok(Cow::Borrowed(raw)) }
}

/// The content of a CDATA section as text.
pub(super) fn cdata(raw: &str) -> Cow<'_, str> {
    if memchr(b'\r', raw.as_bytes()).is_none() {
        Cow::Borrowed(raw)
    } else {
        Cow::Owned(raw.replace("\r\n", "\n").replace('\r', "\n"))
    }
}

fn resolve(raw: &str, attribute: bool) -> Result<Cow<'_, str>, Flaw> {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    let next = |rest: &str| match attribute {
        true => rest.bytes().position(|b| matches!(b, b'&' | b'\r' | b'\n' | b'\t')),
        false => memchr2(b'&', b'\r', rest.as_bytes()),
    };
    while let Some(at) = next(rest) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (character, length) = match rest.as_bytes()[0] {
            b'&' => reference(rest.as_bytes())?,
            _ if rest.starts_with("\r\n") => (if attribute { ' ' } else { '\n' }, 2),
            _ => (if attribute { ' ' } else { '\n' }, 1),
        };
        out.push(character);
        rest = &rest[length..];
    }
    out.push_str(rest);
    Ok(Cow::Owned(out))
}

/// The character that a text beginning with `&` stands for, and the length of the reference.
pub(super) fn reference(rest: &[u8]) -> Result<(char, usize), Flaw> {
    const WRONG: Flaw = Flaw::Content("a reference that XML does not predefine");
    match rest {
        [_, b'l', b't', b';', ..] => return Ok(('<', 4)),
        [_, b'g', b't', b';', ..] => return Ok(('>', 4)),
        [_, b'a', b'm', b'p', b';', ..] => return Ok(('&', 5)),
        [_, b'a', b'p', b'o', b's', b';', ..] => return Ok(('\'', 6)),
        [_, b'q', b'u', b'o', b't', b';', ..] => return Ok(('"', 6)),
        _ => {}
    }
    // The longest that means anything is `&#x0010FFFF;`; leading zeros beyond that are not worth reading on.
    let window = &rest[..rest.len().min(16)];
    let end = memchr(b';', window).ok_or(WRONG)?;
    let character = match &window[1..end] {
        [b'#', b'x', digits @ ..] => character(digits, 16).ok_or(WRONG)?,
        [b'#', digits @ ..] => character(digits, 10).ok_or(WRONG)?,
        _ => return Err(WRONG),
    };
    Ok((character, end + 1))
}

fn character(digits: &[u8], radix: u32) -> Option<char> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None; // from_str_radix would take a sign
    }
    let number = u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()?;
    let character = char::from_u32(number)?;
    let allowed = matches!(character, '\t' | '\n' | '\r' | ' '..='\u{FFFD}' | '\u{10000}'..);
    allowed.then_some(character)
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n')) {
        at += 1;
    }
    at
}

/// A qualified name: at most one colon, with something on both sides. Beyond ASCII this is more lenient than XML.
fn is_qname(name: &str) -> bool {
    let mut at_start = true;
    let mut colons = 0;
    for b in name.bytes() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => at_start = false,
            b'0'..=b'9' | b'-' | b'.' if !at_start => {}
            b':' if !at_start => {
                at_start = true;
                colons += 1;
            }
            _ => return false,
        }
    }
    !at_start && colons < 2
}
