//! Writing stanzas straight into the output buffer, well-formed by construction.

use smallvec::SmallVec;

use super::error::Guard;
use super::escape;
use super::render::{self, Fragment, Rendered};
use super::stanza::{JABBER_CLIENT, Kind};

/// Writes one stanza, or several, at the end of the link's output buffer.
///
/// A stanza begins with [`message`](Self::message), [`presence`](Self::presence) or [`iq`](Self::iq) and ends with the
/// next one or with the closure; elements still open are closed then. Names and namespaces are our own constants;
/// values are escaped. The first violated guard is remembered, what follows is ignored, and all that the closure
/// wrote is taken back.
#[derive(Debug)]
pub struct StanzaWriter<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    stanza: usize,
    open: SmallVec<[&'static str; 8]>,
    /// Elements that only the end of the stanza closes: the stanza itself; none in a fragment.
    floor: usize,
    /// The start tag at the end of the buffer still lacks its `>`.
    in_tag: bool,
    domain: &'a str,
    max: usize,
    fault: Option<Guard>,
    /// What was written may stay.
    whole: bool,
}

impl Drop for StanzaWriter<'_> {
    /// Nothing half-written stays in the buffer, not even when the closure panics.
    fn drop(&mut self) {
        if !self.whole {
            self.out.truncate(self.start);
        }
    }
}

impl<'a> StanzaWriter<'a> {
    /// Writes at the end of a buffer. `domain` is where `from` must be; `max` bounds each stanza's bytes.
    pub fn new(out: &'a mut Vec<u8>, domain: &'a str, max: usize) -> Self {
        let start = out.len();
        Self {
            out,
            start,
            stanza: start,
            open: SmallVec::new(),
            floor: 1,
            in_tag: false,
            domain,
            max,
            fault: None,
            whole: false,
        }
    }

    /// For children without a stanza around them.
    pub(super) fn fragments(out: &'a mut Vec<u8>) -> Self {
        let mut writer = Self::new(out, "", usize::MAX);
        writer.floor = 0;
        writer
    }

    /// Begins a message. `type_` and `id` are left out when absent.
    pub fn message(&mut self, from: &str, to: &str, type_: Option<&'static str>, id: Option<&str>) -> &mut Self {
        self.begin(Kind::Message, from, to, type_, id)
    }

    /// Begins a presence.
    pub fn presence(&mut self, from: &str, to: &str, type_: Option<&'static str>, id: Option<&str>) -> &mut Self {
        self.begin(Kind::Presence, from, to, type_, id)
    }

    /// Begins an iq.
    pub fn iq(&mut self, from: &str, to: &str, type_: &'static str, id: &str) -> &mut Self {
        self.begin(Kind::Iq, from, to, Some(type_), Some(id))
    }

    /// Opens a child. Without a namespace it has its parent's.
    pub fn open(&mut self, name: &'static str, namespace: Option<&'static str>) -> &mut Self {
        debug_assert!(render::is_name(name), "{name:?} is no element name");
        self.content();
        self.out.push(b'<');
        self.out.extend_from_slice(name.as_bytes());
        self.open.push(name);
        self.in_tag = true;
        if let Some(namespace) = namespace { self.constant("xmlns", namespace) } else { self }
    }

    /// An attribute of the start tag just begun.
    pub fn attr(&mut self, name: &'static str, value: &str) -> &mut Self {
        debug_assert!(self.in_tag, "attribute {name} outside a start tag");
        if self.in_tag {
            self.out.reserve(name.len() + value.len() + 4);
            self.out.push(b' ');
            self.out.extend_from_slice(name.as_bytes());
            self.out.extend_from_slice(b"='");
            escape::attribute(self.out, value);
            self.out.push(b'\'');
        }
        self
    }

    /// An attribute whose value is a constant of ours, in which nothing is to be escaped.
    fn constant(&mut self, name: &'static str, value: &'static str) -> &mut Self {
        debug_assert!(!value.contains(['&', '<', '>', '\'', '"']) && !value.contains(char::is_control), "{value:?}");
        self.out.reserve(name.len() + value.len() + 4);
        self.out.push(b' ');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"='");
        self.out.extend_from_slice(value.as_bytes());
        self.out.push(b'\'');
        self
    }

    /// Character data. Characters that XML forbids become U+FFFD.
    pub fn text(&mut self, text: &str) -> &mut Self {
        if !text.is_empty() {
            self.content();
            escape::text(self.out, text);
        }
        self
    }

    /// Closes the element opened last; never the stanza itself.
    pub fn close(&mut self) -> &mut Self {
        debug_assert!(self.open.len() > self.floor, "close without open");
        if self.open.len() > self.floor {
            self.close_one();
        }
        self
    }

    /// A child that holds text only.
    pub fn leaf(&mut self, name: &'static str, namespace: Option<&'static str>, text: &str) -> &mut Self {
        self.open(name, namespace).text(text).close()
    }

    /// Elements rendered before, as children.
    pub fn fragment(&mut self, fragment: &Fragment) -> &mut Self {
        if !fragment.as_bytes().is_empty() {
            self.content();
            self.out.extend_from_slice(fragment.as_bytes());
        }
        self
    }

    /// A child from a tree. Directly in the stanza, elements in `jabber:client` become the stream's.
    pub fn element(&mut self, element: &minidom::Element) -> &mut Self {
        self.content();
        let parent = if self.open.len() == self.floor { JABBER_CLIENT } else { "" };
        render::element(self.out, element, parent);
        self
    }

    /// A whole stanza rendered before.
    pub fn rendered(&mut self, stanza: &Rendered) -> &mut Self {
        self.finish_stanza();
        self.stanza = self.out.len();
        self.out.extend_from_slice(stanza.as_bytes());
        self.check_size();
        self.check_addresses(stanza.from(), stanza.to());
        self
    }

    /// Bytes written since the closure began.
    #[must_use]
    pub fn written(&self) -> usize {
        self.out.len() - self.start
    }

    /// Ends the last stanza.
    ///
    /// # Errors
    /// The first guard that was violated; then all that was written is taken back.
    pub fn finish(mut self) -> Result<(), Guard> {
        self.finish_stanza();
        self.whole = self.fault.is_none();
        self.fault.take().map_or(Ok(()), Err)
    }

    fn begin(&mut self, kind: Kind, from: &str, to: &str, type_: Option<&'static str>, id: Option<&str>) -> &mut Self {
        self.finish_stanza();
        self.check_addresses(from, to);
        self.stanza = self.out.len();
        self.open.push(kind.name());
        self.out.push(b'<');
        self.out.extend_from_slice(kind.name().as_bytes());
        self.in_tag = true;
        self.attr("from", from).attr("to", to);
        if let Some(id) = id {
            self.attr("id", id);
        }
        if let Some(type_) = type_ {
            self.constant("type", type_);
        }
        self
    }

    fn check_addresses(&mut self, from: &str, to: &str) {
        if self.fault.is_none() {
            self.fault = addresses(from, to, self.domain).err();
        }
    }

    fn check_size(&mut self) {
        if self.fault.is_none() {
            self.fault = size(self.out.len() - self.stanza, self.max).err();
        }
    }

    fn finish_stanza(&mut self) {
        if self.open.is_empty() {
            return;
        }
        while !self.open.is_empty() {
            self.close_one();
        }
        self.check_size();
    }

    fn close_one(&mut self) {
        let Some(name) = self.open.pop() else { return };
        if self.in_tag {
            self.out.extend_from_slice(b"/>");
            self.in_tag = false;
        } else {
            self.out.extend_from_slice(b"</");
            self.out.extend_from_slice(name.as_bytes());
            self.out.push(b'>');
        }
    }

    /// What follows is content of the element opened last.
    fn content(&mut self) {
        if self.open.len() < self.floor && self.fault.is_none() {
            self.fault = Some(Guard::NotAStanza("content outside a stanza"));
        }
        if self.in_tag {
            self.out.push(b'>');
            self.in_tag = false;
        }
    }
}

/// The guards on addresses: what would make the server close the stream is never written.
pub(super) fn addresses(from: &str, to: &str, domain: &str) -> Result<(), Guard> {
    if to.is_empty() {
        return Err(Guard::NoTo);
    }
    if from.is_empty() {
        return Err(Guard::NoFrom);
    }
    let host = fit(from).ok_or(Guard::BadAddress { attribute: "from" })?;
    fit(to).ok_or(Guard::BadAddress { attribute: "to" })?;
    if host.eq_ignore_ascii_case(domain) { Ok(()) } else { Err(Guard::ForeignFrom { domain: domain.to_owned() }) }
}

/// The guard on size: the server closes the stream on a stanza larger than it takes.
pub(super) fn size(size: usize, limit: usize) -> Result<(), Guard> {
    if size > limit { Err(Guard::TooLarge { size, limit }) } else { Ok(()) }
}

/// The host of a text that may be a JID; `None` where it can be none whatever its parts are: a control character or U+FFFD anywhere (RFC 7622
/// section 3), or a part that is empty or over 1,023 bytes. One pass: it is asked twice for every stanza.
fn fit(jid: &str) -> Option<&str> {
    let bytes = jid.as_bytes();
    let (mut at, mut slash) = (None, None);
    // In what is a local part if an `@` follows: what that may not have (RFC 7622 section 3.3.1), and a space, which a host may not have either.
    let (mut odd, mut space) = (false, false);
    let sort = |byte: &u8| const { &sorts() }[usize::from(*byte)];
    let mut next = 0;
    while let Some(found) = bytes[next..].iter().position(|byte| sort(byte) != Sort::Plain) {
        let i = next + found;
        next = i + 1;
        match sort(&bytes[i]) {
            Sort::Never => return None,
            Sort::Lead if matches!(bytes[i..], [0xEF, 0xBF, 0xBD..=0xBF, ..]) => return None,
            Sort::Slash if slash.is_none() => slash = Some(i),
            // In a resource all else may stand.
            _ if slash.is_some() => {}
            Sort::At if at.is_some() => return None,
            Sort::At => at = Some(i),
            Sort::Space if at.is_some() => return None,
            Sort::Space => space = true,
            Sort::Odd => odd |= at.is_none(),
            Sort::Plain | Sort::Lead | Sort::Slash => {}
        }
    }
    let bare = slash.unwrap_or(bytes.len());
    let host = jid.get(at.map_or(0, |at| at + 1)..bare)?;
    let good = |length: usize| (1..=1023).contains(&length);
    let fits = good(host.len())
        && slash.is_none_or(|slash| good(bytes.len() - slash - 1))
        && !space
        && at.is_none_or(|at| good(at) && !odd);
    fits.then_some(host)
}

/// What a byte means in a JID.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Plain,
    /// Nowhere.
    Never,
    /// The first of U+FFFD and its like, perhaps.
    Lead,
    Slash,
    At,
    Space,
    /// Not in a local part.
    Odd,
}

const fn sorts() -> [Sort; 256] {
    let mut sorts = [Sort::Plain; 256];
    let mut byte = 0;
    while byte < 256 {
        sorts[byte] = match byte as u8 {
            0..0x20 | 0x7F => Sort::Never,
            0xEF => Sort::Lead,
            b'/' => Sort::Slash,
            b'@' => Sort::At,
            b' ' => Sort::Space,
            b'"' | b'&' | b'\'' | b':' | b'<' | b'>' => Sort::Odd,
            _ => Sort::Plain,
        };
        byte += 1;
    }
    sorts
}

/// A text before and behind the first such byte, which is ASCII.
pub(super) fn halves(byte: u8, text: &str) -> Option<(&str, &str)> {
    let at = memchr::memchr(byte, text.as_bytes())?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same, part by part.
    fn by_parts(jid: &str) -> Option<&str> {
        let wrong = |c: char| matches!(c, '\0'..'\u{20}' | '\u{7F}' | '\u{FFFD}'..='\u{FFFF}');
        let (bare, resource) = jid.split_once('/').map_or((jid, None), |(bare, resource)| (bare, Some(resource)));
        let (local, host) = bare.split_once('@').map_or((None, bare), |(local, host)| (Some(local), host));
        let good = |part: &str| (1..=1023).contains(&part.len());
        let fits = !jid.contains(wrong)
            && good(host)
            && !host.contains(['@', ' '])
            && local.is_none_or(|local| good(local) && !local.contains(['"', '&', '\'', ':', '<', '>', ' ']))
            && resource.is_none_or(good);
        fits.then_some(host)
    }

    proptest! {
        #[test]
        fn one_pass_over_a_jid_finds_what_its_parts_say(jid in "[ab.@/ :&\"'<>\u{0}\u{7F}é\u{F000}\u{FFFC}-\u{FFFF}]{0,12}") {
            prop_assert_eq!(fit(&jid), by_parts(&jid));
        }

        #[test]
        fn the_length_of_each_part_counts(local in 0_usize..1030, host in 1020_usize..1030, resource in 1020_usize..1030) {
            let jid = format!("{}@{}/{}", "l".repeat(local), "h".repeat(host), "r".repeat(resource));
            prop_assert_eq!(fit(&jid), by_parts(&jid));
        }
    }
}
