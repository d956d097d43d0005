//! One pass over a top-level element: is it well-formed, what is its header, what are its children called.

use std::borrow::Cow;
use std::collections::HashSet;

use smallvec::SmallVec;

use super::config::Limits;
use super::escape;
use super::token::{self, Attribute, Flaw, Tag, Token, Tokens};

/// The stream's default namespace (XEP-0114).
pub(super) const COMPONENT: &str = "jabber:component:accept";
/// Of `stream:error` and the stream's own tag.
pub(super) const STREAMS: &str = "http://etherx.jabber.org/streams";
const XML: &str = "http://www.w3.org/XML/1998/namespace";
/// Prefixes in scope at one time; looking one up is a walk through them.
const MAX_PREFIXES: usize = 256;
/// From this many attributes of one element on, doubles are looked for with a set.
const MANY: usize = 12;

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
            (Ok(start), Ok(end)) => Self { start, end },
            _ => Self::NONE, // only with a size limit over 4 GiB
        }
    }

    pub(super) fn of(self, text: &str) -> Option<&str> {
        text.get(self.start as usize..self.end as usize)
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
    const EMPTY: Self = Self { from: Span::NONE, to: Span::NONE, id: Span::NONE, type_: Span::NONE, lang: Span::NONE };
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

/// Looks through one top-level element.
pub(super) fn outline(text: &str, scope: &Scope, limits: &Limits) -> Result<Outline, Flaw> {
    if escape::forbidden(text.as_bytes()) {
        return Err(Flaw::Content("a character that XML forbids"));
    }
    let mut walk = Walk::new(text, scope, limits);
    let mut tokens = Tokens::new(text, 0);
    while let Some(token) = tokens.next()? {
        match token {
            Token::Open(tag) => walk.on_open(tag)?,
            Token::Close(name, start, end) => walk.on_close(name, start, end)?,
            Token::Text(raw) => walk.on_text(raw)?,
            Token::CData(_) => walk.inside()?,
        }
    }
    walk.finish()
}

/// Reads what can be read of a start tag whose element we refuse: for the answer. Never fails.
pub(super) fn header_of(start_tag: &str) -> (Span, Header, String) {
    let mut tail = Tail { base: start_tag.len(), text: String::new() };
    let mut header = Header::EMPTY;
    let (name, mut attributes) = token::beginning(start_tag);
    while let Ok(Some(attribute)) = attributes.next() {
        // What cannot be decoded stays absent: without it there is no answer, which is the right thing then.
        let _ = note(&mut header, attribute, &mut tail);
    }
    let local = token::split(name).1;
    (Span::new(1 + name.len() - local.len(), 1 + name.len()), header, tail.text)
}

struct Tail {
    base: usize,
    text: String,
}

impl Tail {
    fn append(&mut self, text: &str) -> Span {
        let start = self.base + self.text.len();
        self.text.push_str(text);
        Span::new(start, start + text.len())
    }

    /// Where this attribute's decoded value stands.
    fn value(&mut self, attribute: Attribute<'_>) -> Result<Span, Flaw> {
        Ok(match token::value(attribute.raw)? {
            Cow::Borrowed(_) => Span::new(attribute.at, attribute.at + attribute.raw.len()),
            Cow::Owned(value) => self.append(&value),
        })
    }
}

fn note(header: &mut Header, attribute: Attribute<'_>, tail: &mut Tail) -> Result<(), Flaw> {
    let slot = match attribute.name {
        "from" => &mut header.from,
        "to" => &mut header.to,
        "id" => &mut header.id,
        "type" => &mut header.type_,
        "xml:lang" => &mut header.lang,
        _ => return token::check_references(attribute.raw),
    };
    *slot = tail.value(attribute)?;
    Ok(())
}

struct Walk<'a> {
    scope: &'a Scope,
    limits: &'a Limits,
    open: SmallVec<[&'a str; 16]>,
    /// Prefix, its namespace as written, and the depth of the element that declares it.
    prefixes: SmallVec<[(&'a str, Attribute<'a>, usize); 4]>,
    /// The default namespace that the stanza's own tag declares.
    default: Option<Span>,
    done: bool,
    out: Outline,
    tail: Tail,
}

impl<'a> Walk<'a> {
    fn new(text: &'a str, scope: &'a Scope, limits: &'a Limits) -> Self {
        let out = Outline {
            name: Span::NONE,
            namespace: Span::NONE,
            header: Header::EMPTY,
            children: SmallVec::new(),
            tail: String::new(),
        };
        Self {
            scope,
            limits,
            open: SmallVec::new(),
            prefixes: SmallVec::new(),
            default: None,
            done: false,
            out,
            tail: Tail { base: text.len(), text: String::new() },
        }
    }

    fn on_open(&mut self, tag: Tag<'a>) -> Result<(), Flaw> {
        if self.done {
            return Err(Flaw::Structure("something follows the element"));
        }
        let depth = self.open.len() + 1;
        if depth > self.limits.depth {
            return Err(Flaw::Bound("elements within one another too deeply"));
        }
        let default = self.on_attributes(tag, depth)?;
        let (prefix, local) = token::split(tag.name);
        let name_end = tag.start + 1 + tag.name.len();
        let name = Span::new(name_end - local.len(), name_end);
        match depth {
            1 => {
                self.default = default;
                self.out.name = name;
                let undeclared = |_| Flaw::Structure("an undeclared prefix at the stream's level");
                self.out.namespace = self.namespace(prefix, default).map_err(undeclared)?;
            }
            2 => {
                let namespace = self.namespace(prefix, default)?;
                let content = Span::new(tag.end, tag.end);
                self.out.children.push(ChildSpan { name, namespace, whole: Span::new(tag.start, tag.end), content });
            }
            _ => self.check_prefix(prefix)?,
        }
        if tag.empty {
            self.left(depth);
        } else {
            self.open.push(tag.name);
        }
        Ok(())
    }

    /// Notes declarations and header attributes; returns the default namespace if this tag declares one.
    fn on_attributes(&mut self, tag: Tag<'a>, depth: usize) -> Result<Option<Span>, Flaw> {
        let mut default = None;
        let mut names: SmallVec<[&str; MANY]> = SmallVec::new();
        let mut many = HashSet::new();
        let mut prefixed = false;
        let mut attributes = tag.attributes();
        while let Some(attribute) = attributes.next()? {
            if names.len() < MANY {
                if names.contains(&attribute.name) {
                    return Err(Flaw::Content("an attribute stands twice"));
                }
                names.push(attribute.name);
            } else if names.contains(&attribute.name) || !many.insert(attribute.name) {
                return Err(Flaw::Content("an attribute stands twice"));
            }
            if attribute.name == "xmlns" {
                // Deeper default namespaces are of interest only to who builds the tree.
                default = if depth <= 2 { Some(self.tail.value(attribute)?) } else { None };
                token::check_references(attribute.raw)?;
            } else if let Some(prefix) = attribute.name.strip_prefix("xmlns:") {
                self.declare(prefix, attribute, depth)?;
            } else if depth == 1 {
                prefixed |= attribute.name.contains(':');
                note(&mut self.out.header, attribute, &mut self.tail)?;
            } else {
                prefixed |= attribute.name.contains(':');
                token::check_references(attribute.raw)?;
            }
        }
        if prefixed {
            for name in names.iter().chain(many.iter()) {
                self.check_prefix(token::split(name).0.filter(|prefix| *prefix != "xmlns"))?;
            }
        }
        Ok(default)
    }

    fn declare(&mut self, prefix: &'a str, attribute: Attribute<'a>, depth: usize) -> Result<(), Flaw> {
        if attribute.raw.is_empty() || prefix == "xmlns" || prefix == "xml" {
            return Err(Flaw::Content("a namespace declaration that is not allowed"));
        }
        if self.prefixes.len() >= MAX_PREFIXES {
            return Err(Flaw::Bound("too many namespace prefixes"));
        }
        token::check_references(attribute.raw)?;
        self.prefixes.push((prefix, attribute, depth));
        Ok(())
    }

    fn check_prefix(&self, prefix: Option<&str>) -> Result<(), Flaw> {
        let Some(prefix) = prefix else { return Ok(()) };
        if self.prefixes.iter().any(|(name, ..)| *name == prefix) || self.scope.prefix(prefix).is_some() {
            return Ok(());
        }
        Err(Flaw::Content("an undeclared prefix"))
    }

    /// Where the namespace of an element at depth 1 or 2 stands.
    fn namespace(&mut self, prefix: Option<&str>, default: Option<Span>) -> Result<Span, Flaw> {
        match prefix {
            None => match default.or(self.default) {
                Some(declared) => Ok(declared),
                None if &*self.scope.default == COMPONENT => Ok(Span::NONE),
                None => Ok(self.tail.append(&self.scope.default)),
            },
            Some(prefix) => {
                if let Some((_, attribute, _)) = self.prefixes.iter().rev().find(|(name, ..)| *name == prefix) {
                    return self.tail.value(*attribute);
                }
                let namespace = self.scope.prefix(prefix).ok_or(Flaw::Content("an undeclared prefix"))?;
                Ok(self.tail.append(namespace))
            }
        }
    }

    fn on_close(&mut self, name: &str, start: usize, end: usize) -> Result<(), Flaw> {
        let depth = self.open.len();
        match self.open.pop() {
            Some(open) if open == name => {}
            _ => return Err(Flaw::Structure("an end tag does not match")),
        }
        if depth == 2
            && let Some(child) = self.out.children.last_mut()
        {
            child.content = Span::new(child.content.start(), start);
            child.whole = Span::new(child.whole.start(), end);
        }
        self.left(depth);
        Ok(())
    }

    fn on_text(&mut self, raw: &str) -> Result<(), Flaw> {
        self.inside()?;
        token::check_references(raw)
    }

    fn inside(&self) -> Result<(), Flaw> {
        if self.open.is_empty() { Err(Flaw::Structure("text outside an element")) } else { Ok(()) }
    }

    /// An element of this depth has ended.
    fn left(&mut self, depth: usize) {
        while self.prefixes.last().is_some_and(|(_, _, at)| *at >= depth) {
            self.prefixes.pop();
        }
        self.done = depth == 1;
    }

    fn finish(mut self) -> Result<Outline, Flaw> {
        if !self.done {
            return Err(Flaw::Structure("the element does not end"));
        }
        self.out.tail = self.tail.text;
        Ok(self.out)
    }
}
