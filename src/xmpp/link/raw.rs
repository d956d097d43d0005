//! The reader alone, sans I/O: for the benchmark, the fuzz target and whoever looks into a recorded stream.

use super::config::Limits;
use super::scan::{BadStanza, Frame, Framer};
use super::stanza::{Stanza, TopLevel};

/// Reads a component stream from pieces of bytes.
#[derive(Debug)]
pub struct Reader {
    framer: Framer,
}

/// What stands in a stream.
#[derive(Debug)]
#[non_exhaustive]
pub enum Read {
    /// A stanza that the gateway would get.
    Stanza(Stanza),
    /// A stanza that the link would refuse, going on.
    Bad(BadStanza),
    /// The stream's own elements: start tag, handshake, errors, features, end.
    Other,
}

impl Reader {
    /// A reader at the beginning of a stream.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { framer: Framer::new(limits) }
    }

    /// Appends bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.framer.space().extend_from_slice(bytes);
    }

    /// What comes next; none until there are more bytes.
    ///
    /// # Errors
    /// What XMPP forbids: the stream is over. Named in words.
    pub fn read(&mut self) -> Result<Option<Read>, String> {
        let frame = self.framer.next().map_err(|fault| fault.to_string())?;
        Ok(frame.map(|frame| match frame {
            Frame::Top(TopLevel::Stanza(stanza)) => Read::Stanza(stanza),
            Frame::Bad(bad) => Read::Bad(bad),
            Frame::Top(_) | Frame::Header(_) | Frame::End => Read::Other,
        }))
    }
}

/// Reads a stream to its end in pieces of the given size and asks every stanza for everything: what the fuzz target
/// and its smoke test run. Returns how many stanzas were good and bad.
pub fn exercise(stream: &[u8], piece: usize) -> (usize, usize) {
    let mut reader = Reader::new(Limits { max_in: 64 << 10, ..Limits::default() });
    let (mut good, mut bad) = (0, 0);
    for piece in stream.chunks(piece.max(1)) {
        reader.feed(piece);
        loop {
            match reader.read() {
                Ok(Some(Read::Stanza(stanza))) => {
                    good += 1;
                    ask(&stanza);
                }
                Ok(Some(Read::Bad(_))) => bad += 1,
                Ok(Some(Read::Other)) => {}
                Ok(None) => break,
                Err(_) => return (good, bad),
            }
        }
    }
    (good, bad)
}

/// Whatever can be asked of a stanza; what is written back must read as the same tree.
fn ask(stanza: &Stanza) {
    let tree = stanza.element();
    let mut children = tree.iter().flat_map(minidom::Element::children);
    for child in stanza.children() {
        let _ = (child.attr("a"), child.attr("xml:lang"), child.is_empty());
        if let Some(expected) = children.next() {
            assert!(expected.is(child.name(), child.ns()), "a child's name or namespace differs from the tree's");
            assert_eq!(child.text(), expected.text(), "a child's text differs from the tree's");
            assert_eq!(child.element().as_ref(), Ok(expected), "a child differs from the tree's");
        }
    }
    if let Ok(tree) = tree
        && let Ok(rendered) = super::Rendered::from_element(&tree)
    {
        let again = Stanza::from_rendered(rendered.as_bytes(), &Limits { depth: 1000, ..Limits::default() });
        let again = again.map(|again| again.element());
        assert_eq!(again, Ok(Ok(tree)), "what we write differs from what we read");
    }
}
