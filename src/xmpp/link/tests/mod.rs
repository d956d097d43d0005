//! Tests of the link as a whole; the small parts have theirs beside them.

mod life;
mod mutation;
mod reading;
mod server;
mod trees;
mod ways;
mod writing;

use super::config::Limits;
use super::error::StreamFault;
use super::scan::{BadStanza, Frame, Framer};
use super::stanza::{Stanza, TopLevel};

/// What Prosody begins its stream with.
const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' \
     xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' id='s1' from='gw.localhost'>";

/// What came out of the reader.
#[derive(Debug, Default)]
struct Got {
    stanzas: Vec<Stanza>,
    bad: Vec<BadStanza>,
    errors: Vec<(String, Option<String>)>,
    ended: bool,
    fault: Option<StreamFault>,
}

/// Feeds the bytes in pieces of the sizes that `piece` names, in turn.
fn read_in(bytes: &[u8], limits: Limits, pieces: &[usize]) -> Got {
    let mut framer = Framer::new(limits);
    let mut got = Got::default();
    let (mut at, mut sizes) = (0, pieces.iter().cycle());
    while at < bytes.len() {
        let size = sizes.next().copied().unwrap_or(1).clamp(1, bytes.len() - at);
        framer.space().extend_from_slice(&bytes[at..at + size]);
        at += size;
        loop {
            match framer.next() {
                Ok(Some(Frame::Top(TopLevel::Stanza(stanza)))) => got.stanzas.push(stanza),
                Ok(Some(Frame::Top(TopLevel::StreamError(condition, text)))) => got.errors.push((condition, text)),
                Ok(Some(Frame::Bad(bad))) => got.bad.push(bad),
                Ok(Some(Frame::End)) => got.ended = true,
                Ok(Some(Frame::Header(_) | Frame::Top(_))) => {}
                Ok(None) => break,
                Err(fault) => {
                    got.fault = Some(fault);
                    return got;
                }
            }
        }
    }
    got
}

/// A whole stream around these stanzas, at once.
fn read(stanzas: &str) -> Got {
    read_in(format!("{HEADER}{stanzas}").as_bytes(), Limits::default(), &[usize::MAX])
}

/// The one good stanza of a stream.
fn one(stanza: &str) -> Stanza {
    let mut got = read(stanza);
    assert!(got.bad.is_empty() && got.fault.is_none(), "{stanza} was refused: {got:?}");
    assert_eq!(got.stanzas.len(), 1, "{stanza}");
    got.stanzas.remove(0)
}
