//! Elements as tests look at them, and a framer for XMPP streams. Deliberately not the reader under test.

use std::fmt;

use anyhow::{Context, Result, bail};
use quick_xml::escape::escape;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;
use quick_xml::{NsReader, XmlVersion};

/// An element with its namespace resolved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Element {
    /// Local name.
    pub name: String,
    /// Namespace.
    pub ns: String,
    /// Attributes by their names as written (`xml:lang` with its prefix), without declarations of namespaces.
    pub attrs: Vec<(String, String)>,
    /// Child elements.
    pub children: Vec<Element>,
    /// All text directly inside, joined.
    pub text: String,
}

impl Element {
    /// Reads one element that stands alone; undeclared default namespace means none.
    pub fn parse(text: &str) -> Result<Self> {
        Self::parse_in(text, "")
    }

    /// Reads one element inside a stream of this default namespace.
    pub fn parse_in(text: &str, namespace: &str) -> Result<Self> {
        let wrapped =
            format!("<s xmlns='{}' xmlns:stream='http://etherx.jabber.org/streams'>{text}</s>", escape(namespace));
        let mut reader = NsReader::from_str(&wrapped);
        let mut open: Vec<Element> = Vec::new();
        loop {
            match reader.read_event().with_context(|| format!("not XML: {text}"))? {
                Event::Start(start) => open.push(begin(&reader, &start)?),
                Event::Empty(start) => {
                    let element = begin(&reader, &start)?;
                    open.last_mut().context("no parent")?.children.push(element);
                }
                Event::End(_) => {
                    let element = open.pop().context("an end without a start")?;
                    match open.last_mut() {
                        Some(parent) => parent.children.push(element),
                        None => {
                            let mut children = element.children.into_iter();
                            let first = children.next().with_context(|| format!("no element in {text}"))?;
                            return Ok(first);
                        }
                    }
                }
                Event::Text(part) => {
                    open.last_mut().context("text outside")?.text += &part.xml10_content();
                }
                Event::CData(part) => open.last_mut().context("text outside")?.text += &part.xml10_content(),
                Event::GeneralRef(part) => {
                    let into = &mut open.last_mut().context("text outside")?.text;
                    match part.resolve_char_ref()? {
                        Some(character) => into.push(character),
                        None => *into += &quick_xml::escape::unescape(&format!("&{};", part.into_inner()))?,
                    }
                }
                Event::Eof => bail!("cut off: {text}"),
                _ => {}
            }
        }
    }

    /// The attribute's value.
    pub fn attr(&self, name: &str) -> Option<&str> {
        self.attrs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The first child of this name, whatever its namespace.
    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The first child of this name and namespace.
    pub fn get(&self, name: &str, namespace: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name && child.ns == namespace)
    }

    /// Whether it has a child of this name and namespace.
    pub fn has(&self, name: &str, namespace: &str) -> bool {
        self.get(name, namespace).is_some()
    }

    /// The text of the `<body/>`.
    pub fn body(&self) -> Option<&str> {
        self.child("body").map(|body| body.text.as_str())
    }

    /// `type/condition` of the `<error/>` child, as the specifications name errors: `cancel/item-not-found`.
    pub fn error(&self) -> Option<String> {
        let error = self.child("error")?;
        let condition =
            error.children.iter().find(|c| c.ns == "urn:ietf:params:xml:ns:xmpp-stanzas" && c.name != "text")?;
        Some(format!("{}/{}", error.attr("type").unwrap_or("?"), condition.name))
    }

    /// Every element in it, itself first, depth first.
    pub fn walk(&self) -> impl Iterator<Item = &Element> {
        let mut stack = vec![self];
        std::iter::from_fn(move || {
            let next = stack.pop()?;
            stack.extend(next.children.iter().rev());
            Some(next)
        })
    }
}

/// Writes it back, every namespace declared where it changes.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn write(element: &Element, around: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "<{}", element.name)?;
            if element.ns != around {
                write!(f, " xmlns='{}'", escape(element.ns.as_str()))?;
            }
            for (name, value) in &element.attrs {
                write!(f, " {name}='{}'", escape(value.as_str()))?;
            }
            if element.children.is_empty() && element.text.is_empty() {
                return f.write_str("/>");
            }
            write!(f, ">{}", escape(element.text.as_str()))?;
            for child in &element.children {
                write(child, &element.ns, f)?;
            }
            write!(f, "</{}>", element.name)
        }
        write(self, "", f)
    }
}

fn begin(reader: &NsReader<&[u8]>, start: &BytesStart<'_>) -> Result<Element> {
    let (namespace, local) = reader.resolver().resolve_element(start.name());
    let ns = match namespace {
        ResolveResult::Bound(namespace) => namespace.as_ref().to_owned(),
        ResolveResult::Unbound => String::new(),
        ResolveResult::Unknown(prefix) => bail!("undeclared prefix {prefix:?}"),
    };
    let mut element = Element { name: local.as_ref().to_owned(), ns, ..Element::default() };
    for attribute in start.attributes() {
        let attribute = attribute.context("an attribute")?;
        let name = attribute.key.as_ref().to_owned();
        if name != "xmlns" && !name.starts_with("xmlns:") {
            element.attrs.push((name, attribute.normalized_value(XmlVersion::Implicit1_0)?.into_owned()));
        }
    }
    Ok(element)
}

/// What a stream brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// The opening tag of the stream.
    Open(Element),
    /// A child of the stream, and its bytes as text.
    Stanza(Element, String),
    /// `</stream:stream>`.
    Close,
}

/// Cuts an XMPP stream into frames.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    scanned: usize,
    depth: usize,
    start: usize,
    namespace: String,
}

impl Framer {
    /// Takes bytes and yields the frames that they complete.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Frame>> {
        self.buffer.extend_from_slice(bytes);
        let mut frames = Vec::new();
        while let Some((from, to)) = self.next_tag() {
            let tag = &self.buffer[from..to];
            if tag.starts_with(b"<?") {
                self.start = to;
                continue;
            }
            if tag.starts_with(b"</") {
                self.depth = self.depth.checked_sub(1).context("an end without a start")?;
            } else if !tag.ends_with(b"/>") {
                self.depth += 1;
                if self.depth == 1 {
                    frames.push(self.open(from, to)?);
                    self.start = to;
                    continue;
                }
            }
            match self.depth {
                0 => frames.push(Frame::Close),
                1 => {
                    let raw = std::str::from_utf8(&self.buffer[self.start..to])?.trim_start().to_owned();
                    frames.push(Frame::Stanza(Element::parse_in(&raw, &self.namespace)?, raw));
                    self.start = to;
                }
                _ => {}
            }
        }
        self.buffer.drain(..self.start);
        self.scanned -= self.start;
        self.start = 0;
        Ok(frames)
    }

    fn open(&mut self, from: usize, to: usize) -> Result<Frame> {
        let text = std::str::from_utf8(&self.buffer[from..to])?;
        let element = Element::parse(&format!("{}/>", text.trim_end_matches('>')))?;
        let default = quick_xml::Reader::from_str(text).read_event()?;
        if let Event::Start(start) = default
            && let Some(attribute) = start.try_get_attribute("xmlns")?
        {
            self.namespace = attribute.normalized_value(XmlVersion::Implicit1_0)?.into_owned();
        }
        Ok(Frame::Open(element))
    }

    /// Start and end of the next whole tag (`>` inside quotes does not end one); advances.
    fn next_tag(&mut self) -> Option<(usize, usize)> {
        let from = self.scanned + self.buffer[self.scanned..].iter().position(|byte| *byte == b'<')?;
        let mut quote = None;
        for (offset, byte) in self.buffer[from..].iter().enumerate() {
            match (quote, byte) {
                (None, b'>') => {
                    self.scanned = from + offset + 1;
                    return Some((from, self.scanned));
                }
                (None, b'"' | b'\'') => quote = Some(*byte),
                (Some(open), byte) if open == *byte => quote = None,
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' \
        xmlns:stream='http://etherx.jabber.org/streams' to='a.b'><handshake>ab</handshake> \
        <message from='a>b'><body>x &amp; &#228;</body><x xmlns='u'/></message><presence/></stream:stream>";

    fn check(frames: &[Frame]) {
        let [
            Frame::Open(open),
            Frame::Stanza(handshake, _),
            Frame::Stanza(message, raw),
            Frame::Stanza(presence, _),
            Frame::Close,
        ] = frames
        else {
            panic!("{frames:?}")
        };
        assert_eq!(open.attr("to"), Some("a.b"));
        assert_eq!(handshake.text, "ab");
        assert_eq!(message.body(), Some("x & ä"));
        assert_eq!(message.ns, "jabber:component:accept");
        assert_eq!(message.attr("from"), Some("a>b"));
        assert!(message.has("x", "u"), "{raw}");
        assert_eq!(presence.name, "presence");
        assert_eq!(Element::parse(&message.to_string()).unwrap(), *message);
    }

    #[test]
    fn a_stream_is_framed_at_any_split_of_reads() {
        for size in [1, 2, 7, 1000] {
            let mut framer = Framer::default();
            let frames: Vec<Frame> =
                STREAM.as_bytes().chunks(size).flat_map(|chunk| framer.push(chunk).unwrap()).collect();
            check(&frames);
        }
    }
}
