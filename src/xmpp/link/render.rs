//! Stanzas and pieces of stanzas as bytes that may be written more than once.

use minidom::{Element, Node};

use super::config::Limits;
use super::error::Guard;
use super::escape;
use super::stanza::{JABBER_CLIENT, Stanza};
use super::write::StanzaWriter;

/// One stanza in the form in which it goes to the server: no declaration of the stream's namespace, children in it
/// without a prefix. Well-formed, with `from` and `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    xml: Box<[u8]>,
    from: Box<str>,
    to: Box<str>,
}

impl Rendered {
    /// Reads back what was rendered (and stored) before.
    ///
    /// # Errors
    /// Not exactly one well-formed stanza with `from` and `to`.
    pub fn parse(xml: &[u8]) -> Result<Self, Guard> {
        let stanza = Stanza::from_rendered(xml, &Limits::default())?;
        let from = stanza.from().ok_or(Guard::NoFrom)?.into();
        let to = stanza.to().ok_or(Guard::NoTo)?.into();
        Ok(Self { xml: xml.into(), from, to })
    }

    /// From a tree in `jabber:client`.
    ///
    /// # Errors
    /// No stanza, or without `from` or `to`.
    pub fn from_element(element: &Element) -> Result<Self, Guard> {
        let mut xml = Vec::with_capacity(512);
        let (from, to) = stanza_addresses(element)?;
        self::element(&mut xml, element, JABBER_CLIENT);
        Ok(Self { from: from.into(), to: to.into(), xml: xml.into() })
    }

    /// The bytes; [`Rendered::parse`] reads them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.xml
    }

    /// The sender.
    #[must_use]
    pub fn from(&self) -> &str {
        &self.from
    }

    /// The addressee.
    #[must_use]
    pub fn to(&self) -> &str {
        &self.to
    }
}

/// Children of a stanza, rendered once and written into many: what all sessions of a network see of one line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fragment {
    xml: Vec<u8>,
}

impl Fragment {
    /// Renders the children that `f` writes; it must not begin a stanza of its own.
    #[must_use]
    pub fn build(f: impl FnOnce(&mut StanzaWriter<'_>)) -> Self {
        let mut xml = Vec::with_capacity(256);
        let mut writer = StanzaWriter::fragments(&mut xml);
        f(&mut writer);
        // A stanza begun inside violates the guard on `from` (no domain is empty), so nothing of it remains.
        let _ = writer.finish();
        Self { xml }
    }

    /// These children, and behind them those.
    #[must_use]
    pub fn and(mut self, more: &Self) -> Self {
        self.xml.extend_from_slice(&more.xml);
        self
    }

    /// What was rendered (and stored) before.
    #[must_use]
    pub fn read(xml: &str) -> Self {
        Self { xml: xml.as_bytes().to_vec() }
    }

    /// The same as text, to be stored.
    #[must_use]
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        // Rendered from text, so nothing is replaced.
        String::from_utf8_lossy(&self.xml)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.xml
    }
}

/// Name of a stanza, and its two addresses.
pub(super) fn stanza_addresses(element: &Element) -> Result<(&str, &str), Guard> {
    if !matches!(element.name(), "message" | "presence" | "iq") || !element.has_ns(JABBER_CLIENT) {
        return Err(Guard::NotAStanza("the root is no message, presence or iq in jabber:client"));
    }
    let from = element.attr("from").ok_or(Guard::NoFrom)?;
    let to = element.attr("to").ok_or(Guard::NoTo)?;
    Ok((from, to))
}

/// Appends a tree whose parent has the default namespace `parent`. Below the stream that is [`JABBER_CLIENT`], which
/// is left undeclared there and so becomes the stream's own; below an element of another namespace it is declared.
pub(super) fn element(out: &mut Vec<u8>, element: &Element, parent: &str) {
    let namespace = element.ns();
    out.push(b'<');
    out.extend_from_slice(element.name().as_bytes());
    if namespace != parent {
        out.extend_from_slice(b" xmlns='");
        escape::attribute(out, &namespace);
        out.push(b'\'');
    }
    for (number, ((namespace, name), value)) in element.attrs().iter().enumerate() {
        attribute(out, number, namespace.as_str(), name.as_str(), value);
    }
    if element.nodes().next().is_none() {
        out.extend_from_slice(b"/>");
        return;
    }
    out.push(b'>');
    for node in element.nodes() {
        match node {
            Node::Element(child) => self::element(out, child, &namespace),
            Node::Text(text) => escape::text(out, text),
        }
    }
    out.extend_from_slice(b"</");
    out.extend_from_slice(element.name().as_bytes());
    out.push(b'>');
}

fn attribute(out: &mut Vec<u8>, number: usize, namespace: &str, name: &str, value: &str) {
    match namespace {
        "" => out.push(b' '),
        "http://www.w3.org/XML/1998/namespace" => out.extend_from_slice(b" xml:"),
        other => {
            let prefix = format!("a{number}");
            out.extend_from_slice(format!(" xmlns:{prefix}='").as_bytes());
            escape::attribute(out, other);
            out.extend_from_slice(format!("' {prefix}:").as_bytes());
        }
    }
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"='");
    escape::attribute(out, value);
    out.push(b'\'');
}

/// Whether this is an XML name that we would write ourselves.
pub(super) fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
}
