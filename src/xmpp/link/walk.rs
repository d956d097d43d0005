//! One pass over a top-level element: where does it end, is it well-formed, what is its header, what are its children called.
//!
//! It reads bytes: what divides them is ASCII. Whether they are UTF-8, and free of what XML forbids, others look at.

use std::collections::HashSet;

use memchr::{memchr, memchr2, memmem};
use smallvec::SmallVec;

use super::config::Limits;
use super::outline::{COMPONENT, ChildSpan, Outline, Scope, Span};
use super::token::{self, Flaw};

/// Prefixes in scope at one time; looking one up is a walk through them.
const MAX_PREFIXES: usize = 256;
/// From this many attributes of one element on, doubles are looked for with a set.
const MANY: usize = 12;
const WRONG_TAG: Flaw = Flaw::Content("a start tag is malformed");
const UNDECLARED: Flaw = Flaw::Content("an undeclared prefix");

/// Looks through the element at the beginning of these bytes; gives what it found and where the element ends. None: the bytes end before it does.
pub(super) fn outline(bytes: &[u8], scope: &Scope, limits: &Limits) -> Result<Option<(Outline, usize)>, Flaw> {
    let mut walk = Walk {
        bytes,
        at: 0,
        scope,
        limits,
        open: SmallVec::new(),
        prefixes: SmallVec::new(),
        default: None,
        out: Outline::new(),
    };
    match walk.run() {
        Ok(()) => {
            walk.out.settle(walk.at);
            Ok(Some((walk.out, walk.at)))
        }
        Err(Stop::Wait) => Ok(None),
        Err(Stop::Flaw(flaw)) => Err(flaw),
    }
}

/// Why the walk does not go on.
enum Stop {
    /// The bytes end.
    Wait,
    Flaw(Flaw),
}

impl From<Flaw> for Stop {
    fn from(flaw: Flaw) -> Self {
        Self::Flaw(flaw)
    }
}

/// An attribute's value as written.
#[derive(Clone, Copy)]
struct Raw<'a> {
    bytes: &'a [u8],
    at: usize,
    /// No reference is in it, and no white space that is normalised (XML 1.0 section 3.3.3).
    plain: bool,
}

/// A prefix that is declared.
struct Prefix<'a> {
    name: &'a [u8],
    namespace: Raw<'a>,
    /// The depth of the element that declares it.
    depth: usize,
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    scope: &'a Scope,
    limits: &'a Limits,
    /// The names of the elements that are open.
    open: SmallVec<[&'a [u8]; 8]>,
    prefixes: SmallVec<[Prefix<'a>; 2]>,
    /// The default namespace that the stanza's own tag declares.
    default: Option<Span>,
    out: Outline,
}

impl<'a> Walk<'a> {
    /// To the end of the element.
    fn run(&mut self) -> Result<(), Stop> {
        if self.bytes.first().is_some_and(|first| *first != b'<') {
            return Err(Flaw::Structure("text outside an element").into());
        }
        loop {
            match self.bytes.get(self.at + 1).ok_or(Stop::Wait)? {
                b'/' => self.on_close()?,
                b'!' => self.on_cdata()?,
                _ => self.on_open()?,
            }
            if self.open.is_empty() {
                return Ok(());
            }
            self.on_text()?;
        }
    }

    /// To the next `<`.
    fn on_text(&mut self) -> Result<(), Stop> {
        loop {
            let rest = &self.bytes[self.at..];
            let found = match rest.first() {
                Some(b'<') => return Ok(()),
                _ => memchr2(b'<', b'&', rest).ok_or(Stop::Wait)?,
            };
            self.at += found;
            if rest[found] == b'&' {
                self.at += token::reference(&rest[found..])?.1;
            }
        }
    }

    fn on_cdata(&mut self) -> Result<(), Stop> {
        let rest = self.bytes[self.at..].strip_prefix(b"<![CDATA[").ok_or(Flaw::Structure("a declaration"))?;
        if self.open.is_empty() {
            return Err(Flaw::Structure("text outside an element").into());
        }
        self.at += 9 + memmem::find(rest, b"]]>").ok_or(Stop::Wait)? + 3;
        Ok(())
    }

    fn on_open(&mut self) -> Result<(), Stop> {
        const NO_NAME: Flaw = Flaw::Structure("an element's name is no name");
        let depth = self.open.len() + 1;
        if depth > self.limits.depth {
            return Err(Flaw::Bound("elements within one another too deeply").into());
        }
        let start = self.at;
        let (end, colon) = qname(self.bytes, start + 1).ok_or(NO_NAME)?;
        match self.bytes.get(end).ok_or(Stop::Wait)? {
            b'>' | b'/' | b' ' | b'\n' | b'\t' | b'\r' => self.at = end,
            _ => return Err(NO_NAME.into()),
        }
        let (default, empty) = self.attributes(depth)?;
        let name = Span::new(colon.map_or(start + 1, |colon| colon + 1), end);
        let prefix = colon.map(|colon| &self.bytes[start + 1..colon]);
        match depth {
            1 => {
                self.default = default;
                self.out.name = name;
                let undeclared = |_| Flaw::Structure("an undeclared prefix at the stream's level");
                self.out.namespace = self.namespace(prefix, default).map_err(undeclared)?;
            }
            2 => {
                let namespace = self.namespace(prefix, default)?;
                let content = Span::new(self.at, self.at);
                self.out.children.push(ChildSpan { name, namespace, whole: Span::new(start, self.at), content });
            }
            _ => self.check_prefix(prefix)?,
        }
        if empty {
            self.left(depth);
        } else {
            self.open.push(&self.bytes[start + 1..end]);
        }
        Ok(())
    }

    /// To the end of the start tag: notes declarations and header attributes. Gives the default namespace if this tag declares one, and whether it
    /// is an empty element's.
    fn attributes(&mut self, depth: usize) -> Result<(Option<Span>, bool), Stop> {
        let bytes = self.bytes;
        let mut default = None;
        let mut names: SmallVec<[&[u8]; MANY]> = SmallVec::new();
        let mut many = HashSet::new();
        let mut prefixed = false;
        let empty = loop {
            let start = skip_space(bytes, self.at);
            match bytes.get(start).ok_or(Stop::Wait)? {
                b'>' => {
                    self.at = start + 1;
                    break false;
                }
                b'/' => match bytes.get(start + 1).ok_or(Stop::Wait)? {
                    b'>' => {
                        self.at = start + 2;
                        break true;
                    }
                    _ => return Err(WRONG_TAG.into()),
                },
                // No space before the attribute.
                _ if start == self.at => return Err(WRONG_TAG.into()),
                _ => {}
            }
            let (end, colon) = qname(bytes, start).ok_or(WRONG_TAG)?;
            let name = &bytes[start..end];
            let value = self.value(end)?;
            if names.len() < MANY {
                if names.contains(&name) {
                    return Err(Flaw::Content("an attribute stands twice").into());
                }
                names.push(name);
            } else if names.contains(&name) || !many.insert(name) {
                return Err(Flaw::Content("an attribute stands twice").into());
            }
            if name == b"xmlns" {
                // Deeper default namespaces are of interest only to who builds the tree.
                default = if depth <= 2 { Some(self.decoded(value)?) } else { None };
            } else if colon.is_some_and(|colon| bytes[start..colon] == *b"xmlns") {
                self.declare(&name[b"xmlns:".len()..], value, depth)?;
            } else {
                prefixed |= colon.is_some();
                if depth == 1 && self.out.header.slot(name).is_some() {
                    let span = self.decoded(value)?;
                    self.out.header.slot(name).into_iter().for_each(|slot| *slot = span);
                }
            }
        };
        if prefixed {
            for name in names.iter().chain(many.iter()) {
                let prefix = memchr(b':', name).map(|colon| &name[..colon]);
                self.check_prefix(prefix.filter(|prefix| prefix != b"xmlns"))?;
            }
        }
        Ok((default, empty))
    }

    /// From the end of an attribute's name behind its value.
    fn value(&mut self, name_end: usize) -> Result<Raw<'a>, Stop> {
        let bytes = self.bytes;
        let equals = skip_space(bytes, name_end);
        if *bytes.get(equals).ok_or(Stop::Wait)? != b'=' {
            return Err(WRONG_TAG.into());
        }
        let open = skip_space(bytes, equals + 1);
        let quote = *bytes.get(open).ok_or(Stop::Wait)?;
        if !matches!(quote, b'\'' | b'"') {
            return Err(WRONG_TAG.into());
        }
        let (mut at, mut plain) = (open + 1, true);
        // Values are short: a call costs more than the loop.
        loop {
            match *bytes.get(at).ok_or(Stop::Wait)? {
                b if SPECIAL[usize::from(b)] == 0 => at += 1,
                b'<' => return Err(WRONG_TAG.into()),
                b'&' => {
                    at += token::reference(&bytes[at..])?.1;
                    plain = false;
                }
                b if b == quote => break,
                b => {
                    plain &= b >= b' ';
                    at += 1;
                }
            }
        }
        self.at = at + 1;
        Ok(Raw { bytes: &bytes[open + 1..at], at: open + 1, plain })
    }

    /// Where this value stands, decoded.
    fn decoded(&mut self, raw: Raw<'_>) -> Result<Span, Flaw> {
        if raw.plain {
            return Ok(Span::new(raw.at, raw.at + raw.bytes.len()));
        }
        let text = std::str::from_utf8(raw.bytes).map_err(|_| Flaw::Content("not UTF-8"))?;
        let value = token::value(text)?;
        Ok(self.out.append(&value))
    }

    fn declare(&mut self, name: &'a [u8], namespace: Raw<'a>, depth: usize) -> Result<(), Flaw> {
        if namespace.bytes.is_empty() || name == b"xmlns" || name == b"xml" {
            return Err(Flaw::Content("a namespace declaration that is not allowed"));
        }
        if self.prefixes.len() >= MAX_PREFIXES {
            return Err(Flaw::Bound("too many namespace prefixes"));
        }
        self.prefixes.push(Prefix { name, namespace, depth });
        Ok(())
    }

    fn check_prefix(&self, prefix: Option<&[u8]>) -> Result<(), Flaw> {
        let Some(prefix) = prefix else { return Ok(()) };
        if self.prefixes.iter().any(|known| known.name == prefix) || self.of_stream(prefix).is_some() {
            return Ok(());
        }
        Err(UNDECLARED)
    }

    /// The namespace for which a prefix stands by the stream's own tag.
    fn of_stream(&self, prefix: &[u8]) -> Option<&'a str> {
        self.scope.prefix(std::str::from_utf8(prefix).ok()?)
    }

    /// Where the namespace of an element at depth 1 or 2 stands.
    fn namespace(&mut self, prefix: Option<&[u8]>, default: Option<Span>) -> Result<Span, Flaw> {
        match prefix {
            None => match default.or(self.default) {
                Some(declared) => Ok(declared),
                None if &*self.scope.default == COMPONENT => Ok(Span::NONE),
                None => Ok(self.out.append(&self.scope.default)),
            },
            Some(prefix) => {
                if let Some(known) = self.prefixes.iter().rev().find(|known| known.name == prefix) {
                    return self.decoded(known.namespace);
                }
                let namespace = self.of_stream(prefix).ok_or(UNDECLARED)?;
                Ok(self.out.append(namespace))
            }
        }
    }

    fn on_close(&mut self) -> Result<(), Stop> {
        const NO_MATCH: Flaw = Flaw::Structure("an end tag does not match");
        let start = self.at;
        let depth = self.open.len();
        let name = self.open.pop().ok_or(NO_MATCH)?;
        let rest = &self.bytes[start + 2..];
        let length = match rest.strip_prefix(name) {
            Some([b'>', ..]) => name.len(),
            _ => {
                let length = memchr(b'>', rest).ok_or(Stop::Wait)?;
                let space = |b: &u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n');
                if !rest[..length].strip_prefix(name).is_some_and(|rest| rest.iter().all(space)) {
                    return Err(NO_MATCH.into());
                }
                length
            }
        };
        self.at = start + 2 + length + 1;
        if depth == 2
            && let Some(child) = self.out.children.last_mut()
        {
            child.content = Span::new(child.content.start(), start);
            child.whole = Span::new(child.whole.start(), self.at);
        }
        self.left(depth);
        Ok(())
    }

    /// An element of this depth has ended.
    fn left(&mut self, depth: usize) {
        while self.prefixes.last().is_some_and(|prefix| prefix.depth >= depth) {
            self.prefixes.pop();
        }
    }
}

/// Bytes that mean something in an attribute's value: its end, perhaps, markup, and white space.
static SPECIAL: [u8; 256] = {
    let mut special = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        special[byte] = matches!(byte as u8, 0..0x20 | b'"' | b'\'' | b'<' | b'&') as u8;
        byte += 1;
    }
    special
};

fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n')) {
        at += 1;
    }
    at
}

/// What a byte is in a name. Beyond ASCII this is more lenient than XML.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// At its end.
    None,
    /// Anywhere.
    Any,
    /// Not at the beginning of the prefix or of the local part.
    Later,
    Colon,
}

const fn parts() -> [Part; 256] {
    let mut parts = [Part::None; 256];
    let mut byte = 0;
    while byte < 256 {
        parts[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => Part::Any,
            b'0'..=b'9' | b'-' | b'.' => Part::Later,
            b':' => Part::Colon,
            _ => Part::None,
        };
        byte += 1;
    }
    parts
}

/// The end of the qualified name that begins there, and its colon; none where there is none: at most one colon, with something on both sides.
fn qname(bytes: &[u8], start: usize) -> Option<(usize, Option<usize>)> {
    let parts = const { &parts() };
    let (mut at, mut begin, mut colon) = (start, start, None);
    while let Some(b) = bytes.get(at) {
        match parts[usize::from(*b)] {
            Part::Any => {}
            Part::Later if at > begin => {}
            Part::Colon if at > begin && colon.is_none() => {
                colon = Some(at);
                begin = at + 1;
            }
            Part::None => break,
            _ => return None,
        }
        at += 1;
    }
    (at > begin).then_some((at, colon))
}
