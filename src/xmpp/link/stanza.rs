//! One stanza from the server: its bytes, its header read, its children found; their content is parsed on demand.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use minidom::Element;
use smallvec::SmallVec;

use super::config::Limits;
use super::error::Guard;
use super::escape;
use super::outline::{COMPONENT, ChildSpan, Header, Outline, STREAMS, Scope};
use super::token::{self, Flaw, Token, Tokens};
use super::{tree, walk};

/// What the stream's namespace is called from here on: `jabber:component:accept` is a peculiarity of the link.
pub const JABBER_CLIENT: &str = "jabber:client";

/// The three kinds of stanza.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `<message/>`
    Message,
    /// `<presence/>`
    Presence,
    /// `<iq/>`
    Iq,
}

impl Kind {
    /// The element's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Presence => "presence",
            Self::Iq => "iq",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name {
            "message" => Some(Self::Message),
            "presence" => Some(Self::Presence),
            "iq" => Some(Self::Iq),
            _ => None,
        }
    }
}

/// One top-level stanza, well-formed, with every namespace prefix in it declared. `jabber:component:accept` appears as
/// `jabber:client`; what is nested in a foreign element (a forwarded stanza, say) is untouched.
pub struct Stanza {
    /// As it came, and behind it what had to be decoded.
    text: String,
    size: usize,
    kind: Kind,
    header: Header,
    children: SmallVec<[ChildSpan; 4]>,
    scope: Arc<Scope>,
}

/// Bytes of a tag of RFC 5646 that everybody has to take (section 4.4.1). What is longer names no language.
const LONGEST_TAG: usize = 35;

impl Stanza {
    /// Message, presence or iq.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The sender as the server wrote it; not checked to be a JID.
    #[must_use]
    pub fn from(&self) -> Option<&str> {
        self.header.from.of(&self.text)
    }

    /// The addressee as the server wrote it; not checked to be a JID.
    #[must_use]
    pub fn to(&self) -> Option<&str> {
        self.header.to.of(&self.text)
    }

    /// The id; the link lets no iq through without one.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.header.id.of(&self.text)
    }

    /// The type as written. The link lets only the types of RFC 6121 through for presence and of RFC 6120 for iq; of a
    /// message an unknown type means `normal` (RFC 6121 section 5.2.2).
    #[must_use]
    pub fn type_(&self) -> Option<&str> {
        self.header.type_.of(&self.text)
    }

    /// The stanza's own `xml:lang`, where it can be one. The stream's is the server's and says nothing about the sender.
    #[must_use]
    pub fn lang(&self) -> Option<&str> {
        self.header.lang.of(&self.text).filter(|tag| tag.len() <= LONGEST_TAG)
    }

    /// The child elements, in order.
    pub fn children(&self) -> impl ExactSizeIterator<Item = Child<'_>> {
        self.children.iter().map(|span| self.at(span))
    }

    fn at(&self, span: &ChildSpan) -> Child<'_> {
        Child { stanza: self, span: *span }
    }

    /// The first child of this name and namespace.
    #[must_use]
    pub fn child(&self, name: &str, namespace: &str) -> Option<Child<'_>> {
        // Nearly all differ in the length of the name already.
        let span =
            self.children.iter().find(|span| span.name.len() == name.len() && self.at(span).is(name, namespace))?;
        Some(self.at(span))
    }

    /// The first child in this namespace, whatever its name.
    #[must_use]
    pub fn child_in(&self, namespace: &str) -> Option<Child<'_>> {
        self.children().find(|child| child.ns() == namespace)
    }

    /// The text of the first `<body/>`. Several languages are rare; who cares walks through the children.
    #[must_use]
    pub fn body(&self) -> Option<Cow<'_, str>> {
        self.child("body", JABBER_CLIENT).map(|body| body.text())
    }

    /// The whole stanza as a tree in `jabber:client`.
    ///
    /// # Errors
    /// Only where a name beyond ASCII is none in XML.
    pub fn element(&self) -> Result<Element, NotParsed> {
        tree::build(self.as_str(), None, &self.scope).map_err(|_| NotParsed::Xml)
    }

    /// Bytes on the wire.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// The stanza as it came. Its namespaces are those of the stream it came on.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text[..self.size]
    }

    /// For tests of what reads stanzas.
    #[cfg(test)]
    pub(crate) fn of(text: &str) -> Self {
        Self::from_rendered(text.as_bytes(), &Limits::default()).expect("a stanza")
    }

    /// Reads back what [`super::Rendered`] wrote.
    pub(super) fn from_rendered(xml: &[u8], limits: &Limits) -> Result<Self, Guard> {
        match TopLevel::read(xml, &Arc::new(Scope::plain()), limits) {
            Ok(Some((_, size))) if size < xml.len() => Err(Guard::NotAStanza("something follows the element")),
            Ok(Some((TopLevel::Stanza(stanza), _))) => Ok(stanza),
            Ok(Some(_)) => Err(Guard::NotAStanza("the root is no message, presence or iq")),
            Ok(None) => Err(Guard::NotAStanza("the element does not end")),
            Err(Flaw::Structure(what) | Flaw::Content(what) | Flaw::Bound(what)) => Err(Guard::NotAStanza(what)),
        }
    }
}

impl fmt::Debug for Stanza {
    /// Without any content: it may reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stanza")
            .field("kind", &self.kind)
            .field("from", &self.from())
            .field("to", &self.to())
            .field("type", &self.type_())
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// A child element of a stanza.
#[derive(Clone, Copy)]
pub struct Child<'a> {
    stanza: &'a Stanza,
    span: ChildSpan,
}

impl<'a> Child<'a> {
    /// The local name.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.span.name.of(&self.stanza.text).unwrap_or_default()
    }

    /// The namespace; [`JABBER_CLIENT`] for what has the stream's.
    #[must_use]
    pub fn ns(&self) -> &'a str {
        known(self.span.namespace.of(&self.stanza.text))
    }

    /// Whether it has this name and namespace.
    #[must_use]
    pub fn is(&self, name: &str, namespace: &str) -> bool {
        self.name() == name && self.ns() == namespace
    }

    /// The text directly in it, decoded.
    #[must_use]
    pub fn text(&self) -> Cow<'a, str> {
        let raw = self.span.content.of(&self.stanza.text).unwrap_or_default();
        // One run of text without markup is the usual case and costs no copy. The pass over the stanza has checked
        // all references, so nothing is lost in the fallbacks below.
        if memchr::memchr(b'<', raw.as_bytes()).is_none() {
            return token::text(raw).unwrap_or_default();
        }
        let mut out = String::new();
        let mut depth = 0_usize;
        let mut tokens = Tokens::new(raw, 0);
        while let Ok(Some(token)) = tokens.next() {
            match token {
                Token::Open(tag) => depth += usize::from(!tag.empty),
                Token::Close => depth = depth.saturating_sub(1),
                Token::Text(raw) if depth == 0 => out.push_str(&token::text(raw).unwrap_or_default()),
                Token::CData(raw) if depth == 0 => out.push_str(&token::cdata(raw)),
                Token::Text(_) | Token::CData(_) => {}
            }
        }
        Cow::Owned(out)
    }

    /// The value of an attribute without a prefix (or `xml:lang`), decoded.
    #[must_use]
    pub fn attr(&self, name: &str) -> Option<Cow<'a, str>> {
        let mut tokens = Tokens::new(self.stanza.as_str(), self.span.whole.start());
        let Ok(Some(Token::Open(tag))) = tokens.next() else { return None };
        let mut attributes = tag.attributes();
        while let Ok(Some(attribute)) = attributes.next() {
            if attribute.name == name {
                return token::value(attribute.raw).ok();
            }
        }
        None
    }

    /// Whether nothing is in it, not even text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.span.content.start() == self.span.content.end()
    }

    /// As a tree.
    ///
    /// # Errors
    /// Only where a name beyond ASCII is none in XML.
    pub fn element(&self) -> Result<Element, NotParsed> {
        let (stanza, span) = (self.stanza, self.span);
        let range = (span.whole.start(), span.whole.end());
        tree::build(stanza.as_str(), Some(range), &stanza.scope).map_err(|_| NotParsed::Xml)
    }

    /// As one of the payload types of xmpp-parsers.
    ///
    /// # Errors
    /// It is not what the type demands; the text says why and holds nothing secret but may quote the sender.
    pub fn parse<T>(&self) -> Result<T, NotParsed>
    where
        T: TryFrom<Element>,
        T::Error: fmt::Display,
    {
        T::try_from(self.element()?).map_err(|error| NotParsed::Payload(error.to_string()))
    }
}

impl fmt::Debug for Child<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}}}{}", self.ns(), self.name())
    }
}

/// Why a payload could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotParsed {
    /// A name that XML does not allow.
    #[error("a name that XML does not allow")]
    Xml,
    /// Well-formed, but not what the type demands.
    #[error("{0}")]
    Payload(String),
}

/// What stands at the top level of a stream.
#[derive(Debug)]
pub(super) enum TopLevel {
    Stanza(Stanza),
    /// `<handshake/>`
    Handshake,
    /// `<stream:error/>`: the condition and the server's words.
    StreamError(String, Option<String>),
    /// Anything else, by name.
    Other(String),
}

impl TopLevel {
    /// Reads the element at the beginning of these bytes; gives also where it ends. None: the bytes end before it does.
    pub(super) fn read(bytes: &[u8], scope: &Arc<Scope>, limits: &Limits) -> Result<Option<(Self, usize)>, Flaw> {
        let Some((outline, size)) = walk::outline(bytes, scope, limits)? else { return Ok(None) };
        let bytes = &bytes[..size];
        let xml = std::str::from_utf8(bytes).map_err(|_| Flaw::Content("not UTF-8"))?;
        if escape::forbidden(bytes) {
            return Err(Flaw::Content("a character that XML forbids"));
        }
        Ok(Some((Self::of(xml, outline, scope), size)))
    }

    fn of(xml: &str, outline: Outline, scope: &Arc<Scope>) -> Self {
        let Outline { name, namespace, header, children, tail } = outline;
        let mut text = String::with_capacity(xml.len() + tail.len());
        text.push_str(xml);
        text.push_str(&tail);
        let local = name.of(&text).unwrap_or_default();
        let namespace = known(namespace.of(&text));
        match (namespace, Kind::from_name(local)) {
            (JABBER_CLIENT, Some(kind)) => {
                let scope = Arc::clone(scope);
                Self::Stanza(Stanza { size: xml.len(), text, kind, header, children, scope })
            }
            (JABBER_CLIENT, None) if local == "handshake" => Self::Handshake,
            (STREAMS, None) if local == "error" => {
                let stanza =
                    Stanza { size: xml.len(), text, kind: Kind::Iq, header, children, scope: Arc::clone(scope) };
                let condition = stanza.children().find(|child| child.name() != "text");
                let condition = condition.map_or("undefined-condition", |child| child.name()).to_owned();
                let said = stanza.children().find(|child| child.name() == "text");
                Self::StreamError(condition, said.map(|text| text.text().into_owned()))
            }
            _ => Self::Other(local.to_owned()),
        }
    }
}

/// The namespace under the name by which the rest of the gateway knows it.
fn known(namespace: Option<&str>) -> &str {
    match namespace {
        None | Some(COMPONENT) => JABBER_CLIENT,
        Some(other) => other,
    }
}
