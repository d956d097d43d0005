//! What is known of a top-level element without its tree: its header, and what its children are called, as places in its text.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::token;

/// The stream's default namespace (XEP-0114).
pub(super) const COMPONENT: &str = "jabber:component:accept";
/// Of `stream:error` and the stream's own tag.
pub(super) const STREAMS: &str = "http://etherx.jabber.org/streams";
const XML: &str = "http://www.w3.org/XML/1998/namespace";
/// Of a [`Span`] of what was appended, until it is known to what.
const APPENDED: u32 = 1 << 31;

/// What the stream's start tag declares for everything in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) default: Box<str>,
    pub(super) prefixes: Vec<(Box<str>, Box<str>)>,
}

impl Scope {
    /// The scope of a stream that declares no prefix: also that of what we render.
    pub(super) fn plain() -> Self {
        Self { default: COMPONENT.into(), prefixes: Vec::new() }
    }

    pub(super) fn prefix(&self, prefix: &str) -> Option<&str> {
        match prefix {
            "xml" => Some(XML),
            _ => self.prefixes.iter().find(|(name, _)| &**name == prefix).map(|(_, namespace)| &**namespace),
        }
    }
}

/// A piece of the text, or of what was appended to it because it had to be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub(super) const NONE: Self = Self { start: u32::MAX, end: u32::MAX };

    pub(super) fn new(start: usize, end: usize) -> Self {
        match (u32::try_from(start), u32::try_from(end)) {
            (Ok(start), Ok(end)) if end < APPENDED => Self { start, end },
            _ => Self::NONE, // only with a size limit over 2 GiB
        }
    }

    /// Where it is, once it is known where what was appended begins.
    fn settle(&mut self, base: usize) {
        if self.start >= APPENDED && *self != Self::NONE {
            let place = |at: u32| base + (at - APPENDED) as usize;
            *self = Self::new(place(self.start), place(self.end));
        }
    }

    pub(super) fn of(self, text: &str) -> Option<&str> {
        text.get(self.start as usize..self.end as usize)
    }

    /// Bytes of it.
    pub(super) fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    pub(super) fn start(self) -> usize {
        self.start as usize
    }

    pub(super) fn end(self) -> usize {
        self.end as usize
    }
}

/// A child of the stanza, as places in its text.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChildSpan {
    /// The local name.
    pub(super) name: Span,
    /// [`Span::NONE`] for the stream's own namespace, which we call `jabber:client`.
    pub(super) namespace: Span,
    /// The whole element.
    pub(super) whole: Span,
    /// What is between its tags.
    pub(super) content: Span,
}

/// The header attributes that the gateway looks at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) from: Span,
    pub(super) to: Span,
    pub(super) id: Span,
    pub(super) type_: Span,
    pub(super) lang: Span,
}

impl Header {
    pub(super) const EMPTY: Self =
        Self { from: Span::NONE, to: Span::NONE, id: Span::NONE, type_: Span::NONE, lang: Span::NONE };

    /// The place of an attribute of this name, if it is one of these.
    pub(super) fn slot(&mut self, name: &[u8]) -> Option<&mut Span> {
        Some(match name {
            b"from" => &mut self.from,
            b"to" => &mut self.to,
            b"id" => &mut self.id,
            b"type" => &mut self.type_,
            b"xml:lang" => &mut self.lang,
            _ => return None,
        })
    }

    fn settle(&mut self, base: usize) {
        for span in [&mut self.from, &mut self.to, &mut self.id, &mut self.type_, &mut self.lang] {
            span.settle(base);
        }
    }
}

/// What one pass found.
#[derive(Debug)]
pub(super) struct Outline {
    pub(super) name: Span,
    /// [`Span::NONE`] for the stream's own namespace.
    pub(super) namespace: Span,
    pub(super) header: Header,
    pub(super) children: SmallVec<[ChildSpan; 4]>,
    /// To be appended to the text: spans point into it.
    pub(super) tail: String,
}

impl Outline {
    pub(super) fn new() -> Self {
        Self {
            name: Span::NONE,
            namespace: Span::NONE,
            header: Header::EMPTY,
            children: SmallVec::new(),
            tail: String::new(),
        }
    }

    /// The element has this many bytes: the tail follows them.
    pub(super) fn settle(&mut self, size: usize) {
        if !self.tail.is_empty() {
            self.namespace.settle(size);
            self.header.settle(size);
            self.children.iter_mut().for_each(|child| child.namespace.settle(size));
        }
    }

    /// Appends what had to be decoded.
    pub(super) fn append(&mut self, text: &str) -> Span {
        append(&mut self.tail, text)
    }
}

fn append(tail: &mut String, text: &str) -> Span {
    let start = tail.len();
    tail.push_str(text);
    match (u32::try_from(start), u32::try_from(tail.len())) {
        (Ok(start), Ok(end)) if end < APPENDED => Span { start: APPENDED + start, end: APPENDED + end },
        _ => Span::NONE,
    }
}

/// Reads what can be read of a start tag whose element we refuse: for the answer. Never fails.
pub(super) fn header_of(start_tag: &str) -> (Span, Header, String) {
    let (mut header, mut tail) = (Header::EMPTY, String::new());
    let (name, mut attributes) = token::beginning(start_tag);
    while let Ok(Some(attribute)) = attributes.next() {
        // What cannot be decoded stays absent: without it there is no answer, which is the right thing then.
        if let (Some(slot), Ok(value)) = (header.slot(attribute.name.as_bytes()), token::value(attribute.raw)) {
            *slot = match value {
                Cow::Borrowed(_) => Span::new(attribute.at, attribute.at + attribute.raw.len()),
                Cow::Owned(value) => append(&mut tail, &value),
            };
        }
    }
    header.settle(start_tag.len());
    let local = token::split(name).1;
    (Span::new(1 + name.len() - local.len(), 1 + name.len()), header, tail)
}
