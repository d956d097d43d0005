//! From text to a minidom tree, without the fixed token limit of minidom's own reader (8 KiB per attribute).

use std::borrow::Cow;

use minidom::Element;
use minidom::rxml::{Namespace, NcName};

use super::outline::{COMPONENT, Scope};
use super::stanza::JABBER_CLIENT;
use super::token::{self, Flaw, Tag, Token, Tokens};

const NO_NAME: Flaw = Flaw::Content("a name that XML does not allow");

/// The element that `xml` holds, or the child of it that stands at `range`. The text has been looked through before.
pub(super) fn build(xml: &str, range: Option<(usize, usize)>, scope: &Scope) -> Result<Element, Flaw> {
    let mut builder = Builder { scope, frames: Vec::new(), root: None };
    let mut tokens = Tokens::new(xml, 0);
    if let Some((start, end)) = range {
        // The child's scope is the stream's and the stanza's own tag's.
        if let Some(Token::Open(tag)) = tokens.next()? {
            builder.on_open(tag)?;
        }
        builder.run(Tokens::new(&xml[..end], start))?;
        let mut parent = builder.frames.pop().ok_or(Flaw::Structure("an end tag does not match"))?.element;
        let child = parent.take_nodes().into_iter().find_map(minidom::Node::into_element);
        return child.ok_or(Flaw::Structure("the element does not end"));
    }
    builder.run(tokens)?;
    builder.root.ok_or(Flaw::Structure("the element does not end"))
}

struct Frame<'a> {
    element: Element,
    default: Cow<'a, str>,
    prefixes: Vec<(&'a str, Cow<'a, str>)>,
    /// Whether this element and all around it are in the stream's own namespace.
    streams: bool,
}

struct Builder<'a> {
    scope: &'a Scope,
    frames: Vec<Frame<'a>>,
    root: Option<Element>,
}

impl<'a> Builder<'a> {
    fn run(&mut self, mut tokens: Tokens<'a>) -> Result<(), Flaw> {
        while let Some(token) = tokens.next()? {
            match token {
                Token::Open(tag) => {
                    self.on_open(tag)?;
                    if tag.empty {
                        self.on_close();
                    }
                }
                Token::Close => self.on_close(),
                Token::Text(raw) => self.on_text(&token::text(raw)?),
                Token::CData(raw) => self.on_text(&token::cdata(raw)),
            }
        }
        Ok(())
    }

    fn on_open(&mut self, tag: Tag<'a>) -> Result<(), Flaw> {
        let mut default = None;
        let mut prefixes = Vec::new();
        let mut plain = Vec::new();
        let mut attributes = tag.attributes();
        while let Some(attribute) = attributes.next()? {
            let value = token::value(attribute.raw)?;
            match token::split(attribute.name) {
                (None, "xmlns") => default = Some(value),
                (Some("xmlns"), prefix) => prefixes.push((prefix, value)),
                (prefix, local) => plain.push((prefix, local, value)),
            }
        }
        let parent = self.frames.last();
        // The stream's namespace becomes ours where it is inherited from the stream, and where it is declared on the
        // stanza or on what is in the stanza's own namespace; declared elsewhere it is somebody's payload.
        let outer = parent.is_none_or(|parent| parent.streams);
        let ours = |namespace: Cow<'a, str>| {
            if outer && namespace == COMPONENT { Cow::Borrowed(JABBER_CLIENT) } else { namespace }
        };
        let default = match (default, parent) {
            (Some(declared), _) => ours(declared),
            (None, Some(parent)) => parent.default.clone(),
            (None, None) => ours(Cow::Borrowed(&*self.scope.default)),
        };
        let (prefix, local) = token::split(tag.name);
        let namespace = match prefix {
            None => default.clone(),
            Some(prefix) => ours(self.lookup(&prefixes, prefix)?),
        };
        let streams = outer && namespace == JABBER_CLIENT;
        let mut element = Element::bare(local, &*namespace);
        for (prefix, local, value) in plain {
            let namespace = match prefix {
                None => Namespace::NONE,
                Some("xml") => Namespace::xml().clone(),
                Some(prefix) => Namespace::from(self.lookup(&prefixes, prefix)?.into_owned()),
            };
            let name = NcName::try_from(local).map_err(|_| NO_NAME)?;
            element.set_attr(namespace, name, value.into_owned());
        }
        NcName::try_from(local).map_err(|_| NO_NAME)?;
        self.frames.push(Frame { element, default, prefixes, streams });
        Ok(())
    }

    fn lookup(&self, own: &[(&'a str, Cow<'a, str>)], prefix: &str) -> Result<Cow<'a, str>, Flaw> {
        let frames = self.frames.iter().rev().map(|frame| frame.prefixes.as_slice());
        for declared in std::iter::once(own).chain(frames) {
            if let Some((_, namespace)) = declared.iter().find(|(name, _)| *name == prefix) {
                return Ok(namespace.clone());
            }
        }
        self.scope.prefix(prefix).map(Cow::Borrowed).ok_or(Flaw::Content("an undeclared prefix"))
    }

    fn on_close(&mut self) {
        let Some(frame) = self.frames.pop() else { return };
        match self.frames.last_mut() {
            Some(parent) => {
                parent.element.append_child(frame.element);
            }
            None => self.root = Some(frame.element),
        }
    }

    fn on_text(&mut self, text: &str) {
        if let Some(frame) = self.frames.last_mut()
            && !text.is_empty()
        {
            frame.element.append_text(text);
        }
    }
}
