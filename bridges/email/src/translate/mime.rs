//! The tree of a mail's parts (RFC 2045, 2046), read within bounds: nesting, number of parts, length of headers. mail-parser reads the headers;
//! the tree is walked here, because its own walk has no bounds (a mail of 100,000 nested `message/rfc822` overflows the stack when it is dropped).

use std::borrow::Cow;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use mail_parser::{ContentType, HeaderName, HeaderValue, MessageParser, MimeHeaders};

/// Multiparts within multiparts.
const MAX_DEPTH: usize = 20;
/// Parts of one mail; what is beyond is not looked at.
const MAX_PARTS: usize = 250;
/// Octets of the header of a mail or a part; what is beyond is not read.
const MAX_HEADER: usize = 128 << 10;

static PARSER: LazyLock<MessageParser> = LazyLock::new(MessageParser::default);
static BASE64: LazyLock<GeneralPurpose> = LazyLock::new(|| {
    let config = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&base64::alphabet::STANDARD, config)
});

/// A mail or one of its parts: headers, read, and the body as it stands.
pub(crate) struct Part<'m> {
    headers: Option<mail_parser::Message<'m>>,
    /// The octets after the empty line.
    pub body: &'m [u8],
    cut: bool,
}

/// The leaves of the tree, and whether all of it was seen.
#[derive(Default)]
pub(crate) struct Leaves<'m> {
    /// Text for people, in order.
    pub texts: Vec<Leaf<'m>>,
    /// Everything else.
    pub files: Vec<Leaf<'m>>,
    /// A bound was met.
    pub cut: bool,
}

/// A part without parts.
pub(crate) struct Leaf<'m> {
    /// Headers and body.
    pub part: Part<'m>,
    /// `text/html` of a part that is text for people.
    pub html: bool,
}

impl<'m> Part<'m> {
    /// Splits headers and body.
    pub(crate) fn read(raw: &'m [u8]) -> Self {
        let (header, body) = split(raw);
        let cut = header.len() > MAX_HEADER;
        let header = &header[..header.len().min(MAX_HEADER)];
        Self { headers: PARSER.parse_headers(header).filter(|m| !m.parts.is_empty()), body, cut }
    }

    /// There is more header than is read.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut
    }

    /// The headers, if there are any.
    pub(crate) fn headers(&self) -> Option<&mail_parser::Message<'m>> {
        self.headers.as_ref()
    }

    /// The value of a header as text: decoded, unfolded, without control characters.
    pub(crate) fn text(&self, name: &'static str) -> Option<String> {
        let message = self.headers.as_ref()?;
        let value = match message.header(HeaderName::parse(name)?)? {
            HeaderValue::Text(text) => text.to_string(),
            HeaderValue::TextList(list) => list.join(" "),
            _ => message.header_raw(HeaderName::parse(name)?)?.to_owned(),
        };
        Some(one_line(&value)).filter(|v| !v.is_empty())
    }

    /// The ids of a header such as References, in order, without angle brackets.
    pub(crate) fn ids(&self, name: &'static str) -> Vec<String> {
        let clean = |id: &str| {
            Some(id.trim().trim_matches(['<', '>']).to_owned())
                .filter(|i| !i.is_empty() && i.len() <= 500 && !i.chars().any(|c| c.is_control() || c == ' '))
        };
        let Some(value) = HeaderName::parse(name).and_then(|n| self.headers.as_ref()?.header(n)) else {
            return Vec::new();
        };
        match value {
            HeaderValue::Text(id) => clean(id).into_iter().collect(),
            HeaderValue::TextList(ids) => ids.iter().filter_map(|i| clean(i)).collect(),
            _ => Vec::new(),
        }
    }

    /// Raw values of every header of this name, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let Some(message) = &self.headers else { return Vec::new() };
        message.headers_raw().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v).collect()
    }

    /// How many headers have this name.
    pub(crate) fn count(&self, name: &HeaderName<'_>) -> usize {
        self.headers.as_ref().map_or(0, |m| m.headers().iter().filter(|h| h.name == *name).count())
    }

    fn content_type(&self) -> Option<&ContentType<'_>> {
        self.headers.as_ref()?.parts.first()?.content_type()
    }

    /// The media type in lower case; `text/plain` where none is named (RFC 2045 section 5.2).
    pub(crate) fn media_type(&self) -> String {
        let Some(ct) = self.content_type() else { return "text/plain".to_owned() };
        let token = |s: &str| {
            s.chars()
                .filter(|c| c.is_ascii_alphanumeric() || "!#$&-^_.+".contains(*c))
                .take(80)
                .collect::<String>()
                .to_ascii_lowercase()
        };
        let (main, sub) = (token(ct.ctype()), token(ct.subtype().unwrap_or("")));
        match (main.as_str(), sub.as_str()) {
            ("text", "") => "text/plain".to_owned(),
            (_, "") | ("", _) => "application/octet-stream".to_owned(),
            _ => format!("{main}/{sub}"),
        }
    }

    /// A parameter of the content type.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.content_type()?.attribute(name)
    }

    /// A safe file name: no folder, no control characters.
    pub(crate) fn file_name(&self) -> Option<String> {
        let part = self.headers.as_ref()?.parts.first()?;
        let named =
            part.content_disposition().and_then(|d| d.attribute("filename")).or_else(|| self.parameter("name"))?;
        safe_file_name(named)
    }

    /// Marked as something to keep apart from the text.
    pub(crate) fn is_attachment(&self) -> bool {
        self.headers.as_ref().and_then(|m| m.parts.first()?.content_disposition()).is_some_and(|d| d.is_attachment())
    }

    /// The body with its transfer encoding undone. Broken encodings give what could be read of them.
    pub(crate) fn decoded(&self) -> Cow<'m, [u8]> {
        let encoding = self.headers.as_ref().and_then(|m| match m.header(HeaderName::ContentTransferEncoding) {
            Some(HeaderValue::Text(t)) => Some(t.trim().to_ascii_lowercase()),
            _ => None,
        });
        match encoding.as_deref() {
            Some("base64") => from_base64(self.body),
            Some("quoted-printable") => Cow::Owned(from_quoted_printable(self.body)),
            _ => Cow::Borrowed(self.body),
        }
    }
}

/// Finds the leaves of a mail.
pub(crate) fn leaves<'m>(mail: Part<'m>) -> Leaves<'m> {
    let mut out = Leaves::default();
    let mut parts = 0;
    walk(mail, 0, false, &mut parts, &mut out);
    out
}

fn walk<'m>(part: Part<'m>, depth: usize, related: bool, parts: &mut usize, out: &mut Leaves<'m>) {
    *parts += 1;
    if *parts > MAX_PARTS {
        out.cut = true;
        return;
    }
    let media_type = part.media_type();
    let boundary = part.parameter("boundary").filter(|b| !b.is_empty() && b.len() <= 200).map(str::to_owned);
    if let (Some(kind), Some(boundary)) = (media_type.strip_prefix("multipart/"), &boundary) {
        if depth >= MAX_DEPTH {
            out.cut = true;
            return;
        }
        let children = children(part.body, boundary.as_bytes());
        if !children.is_empty() {
            return walk_multipart(kind, children, depth, related, parts, out);
        }
    }
    leaf(part, &media_type, related, out);
}

fn walk_multipart<'m>(
    kind: &str,
    children: Vec<&'m [u8]>,
    depth: usize,
    related: bool,
    parts: &mut usize,
    out: &mut Leaves<'m>,
) {
    match kind {
        "alternative" => alternatives(children, depth, parts, out),
        // The second part of signed mail is the signature (RFC 1847); S/MIME and PGP ones are of no use to a reader here.
        "signed" => {
            if let Some(first) = children.first() {
                walk(Part::read(first), depth + 1, related, parts, out);
            }
        }
        "digest" => {
            for child in children {
                *parts += 1;
                let part = Part::read(child);
                if *parts > MAX_PARTS {
                    out.cut = true;
                } else {
                    out.files.push(Leaf { part, html: false });
                }
            }
        }
        _ => {
            for (i, child) in children.into_iter().enumerate() {
                walk(Part::read(child), depth + 1, related || kind == "related" && i > 0, parts, out);
                if out.cut {
                    break;
                }
            }
        }
    }
}

/// The plainest of the alternatives that says something; files of all of them.
fn alternatives<'m>(children: Vec<&'m [u8]>, depth: usize, parts: &mut usize, out: &mut Leaves<'m>) {
    let mut best: Option<Vec<Leaf<'m>>> = None;
    for child in children {
        let mut found = Leaves::default();
        walk(Part::read(child), depth + 1, false, parts, &mut found);
        out.cut |= found.cut;
        out.files.extend(found.files);
        let says = |leaves: &[Leaf<'_>]| leaves.iter().any(|l| l.part.body.iter().any(|b| !b.is_ascii_whitespace()));
        let plain = |leaves: &[Leaf<'_>]| leaves.iter().all(|l| !l.html);
        if says(&found.texts) && best.as_ref().is_none_or(|b| !plain(b) && plain(&found.texts)) {
            best = Some(found.texts);
        }
        if out.cut {
            break;
        }
    }
    out.texts.extend(best.unwrap_or_default());
}

fn leaf<'m>(part: Part<'m>, media_type: &str, related: bool, out: &mut Leaves<'m>) {
    let named = part.file_name().is_some();
    // A multipart that could not be taken apart is shown as it stands: better than nothing.
    let plain = matches!(media_type, "text/plain" | "text/enriched") || media_type.starts_with("multipart/");
    let html = matches!(media_type, "text/html" | "application/xhtml+xml");
    if (plain || html) && !part.is_attachment() && !named && !related {
        out.texts.push(Leaf { part, html });
    } else {
        out.files.push(Leaf { part, html: false });
    }
}

/// The header block and the body. A block without an empty line is all header.
fn split(raw: &[u8]) -> (&[u8], &[u8]) {
    if raw.starts_with(b"\r\n") || raw.starts_with(b"\n") {
        return (&[], &raw[if raw[0] == b'\r' { 2 } else { 1 }..]);
    }
    let mut from = 0;
    while let Some(at) = raw[from..].iter().position(|b| *b == b'\n') {
        let next = from + at + 1;
        match &raw[next..] {
            [b'\n', ..] => return (&raw[..next], &raw[next + 1..]),
            [b'\r', b'\n', ..] => return (&raw[..next], &raw[next + 2..]),
            _ => from = next,
        }
    }
    (raw, &[])
}

/// The parts between the delimiter lines of a multipart (RFC 2046 section 5.1.1). A missing last delimiter is forgiven.
pub(crate) fn children<'m>(body: &'m [u8], boundary: &[u8]) -> Vec<&'m [u8]> {
    let mut out = Vec::new();
    let mut start: Option<usize> = None;
    let mut at = 0;
    while at <= body.len() && out.len() <= MAX_PARTS {
        let end = body[at..].iter().position(|b| *b == b'\n').map_or(body.len(), |n| at + n + 1);
        if let Some(rest) = body[at..end].strip_prefix(b"--").and_then(|l| l.strip_prefix(boundary)) {
            let last = rest.starts_with(b"--");
            let rest = if last { &rest[2..] } else { rest };
            if rest.iter().all(u8::is_ascii_whitespace) {
                if let Some(from) = start {
                    out.push(trim_line_end(&body[from..at]));
                }
                start = (!last).then_some(end);
                if last {
                    return out;
                }
            }
        }
        if end == body.len() {
            break;
        }
        at = end;
    }
    if let Some(from) = start.filter(|f| *f < body.len()) {
        out.push(&body[from..]);
    }
    out
}

fn trim_line_end(part: &[u8]) -> &[u8] {
    let part = part.strip_suffix(b"\n").unwrap_or(part);
    part.strip_suffix(b"\r").unwrap_or(part)
}

fn from_base64(body: &[u8]) -> Cow<'_, [u8]> {
    let clean: Vec<u8> =
        body.iter().copied().filter(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=')).collect();
    // Some mailers put several encoded texts one after the other: padding ends each of them.
    let mut out = Vec::with_capacity(clean.len() / 4 * 3);
    for piece in clean.split(|b| *b == b'=').filter(|p| !p.is_empty()) {
        // One character alone holds no octet.
        let whole = if piece.len() % 4 == 1 { &piece[..piece.len() - 1] } else { piece };
        if let Ok(octets) = BASE64.decode(whole) {
            out.extend_from_slice(&octets);
        }
    }
    Cow::Owned(out)
}

fn from_quoted_printable(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    for line in body.split_inclusive(|b| *b == b'\n') {
        let end = line.len() - line.iter().rev().take_while(|b| b.is_ascii_whitespace()).count();
        let (mut text, mut soft) = (&line[..end], false);
        if let Some(joined) = text.strip_suffix(b"=") {
            (text, soft) = (joined, true);
        }
        let mut i = 0;
        while i < text.len() {
            let octet = (text[i] == b'=')
                .then(|| text.get(i + 1..i + 3))
                .flatten()
                .and_then(|h| u8::from_str_radix(std::str::from_utf8(h).ok()?, 16).ok());
            match octet {
                Some(octet) => {
                    out.push(octet);
                    i += 3;
                }
                None => {
                    out.push(text[i]);
                    i += 1;
                }
            }
        }
        if !soft && line.ends_with(b"\n") {
            out.push(b'\n');
        }
    }
    out
}

/// One line of text: folding undone, control characters gone.
pub(crate) fn one_line(value: &str) -> String {
    let spaced: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A file name without folder, control characters, or what makes it hidden or a device; `None` if nothing is left.
pub(crate) fn safe_file_name(name: &str) -> Option<String> {
    let last = name.rsplit(['/', '\\']).next().unwrap_or(name);
    // Bidirectional overrides make `exe.jpg` of `gpj.exe`.
    let clean: String = last.chars().filter(|c| !c.is_control() && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | ':' | '"' | '<' | '>' | '|' | '*' | '?')).collect();
    let clean = clean.trim().trim_start_matches('.');
    // A long name loses its middle, not its extension.
    let (stem, extension) = match clean.rfind('.') {
        Some(dot) if clean.len() - dot <= 12 => clean.split_at(dot),
        _ => (clean, ""),
    };
    let name = format!("{}{extension}", super::inbound::truncated(stem, 100));
    Some(name).filter(|c| !c.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn file_names_are_made_safe() {
        let cases = [
            ("a.txt", Some("a.txt")),
            ("../../etc/passwd", Some("passwd")),
            ("C:\\x\\y.doc", Some("y.doc")),
            (".bashrc", Some("bashrc")),
            ("a\r\nb.txt", Some("ab.txt")),
            ("ph\u{202e}gpj.exe", Some("phgpj.exe")),
            ("..", None),
            ("", None),
        ];
        for (name, safe) in cases {
            assert_eq!(safe_file_name(name).as_deref(), safe, "{name:?}");
        }
        let long = safe_file_name(&format!("{}.tar.gz", "é".repeat(300))).unwrap();
        assert!(long.len() <= 120 && long.ends_with(".gz"), "{long}");
    }

    #[test]
    fn encodings_are_undone() {
        assert_eq!(&*from_base64(b"aGkg\r\ndGhl cmU="), b"hi there");
        assert_eq!(&*from_base64(b"aGk=aGk="), b"hihi");
        assert_eq!(&*from_base64(b"aGk"), b"hi");
        assert_eq!(&*from_base64(b"!!!"), b"");
        assert_eq!(from_quoted_printable(b"a=3D=\r\nb=zz  \r\n=C3=A9="), "a=b=zz\né".as_bytes());
    }

    #[test]
    fn nesting_and_parts_are_bounded() {
        let mut deep = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n".to_vec();
        for _ in 0..10_000 {
            deep.extend_from_slice(b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n");
        }
        leaves(Part::read(&deep));
        let mut nested = Vec::new();
        for i in 0..60 {
            nested.extend_from_slice(
                format!("Content-Type: multipart/mixed; boundary=b{i}\r\n\r\n--b{i}\r\n").as_bytes(),
            );
        }
        assert!(leaves(Part::read(&nested)).cut);
        let mut wide = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n".to_vec();
        wide.extend_from_slice(&b"--b\r\n\r\nx\r\n".repeat(100_000));
        let found = leaves(Part::read(&wide));
        assert!(found.cut);
        assert!(found.texts.len() <= MAX_PARTS);
        let forwarded = b"Content-Type: message/rfc822\r\n\r\n".repeat(200_000);
        assert_eq!(leaves(Part::read(&forwarded)).files.len(), 1);
    }

    proptest! {
        #[test]
        fn any_octets_are_read(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
            leaves(Part::read(&raw));
            from_base64(&raw);
            from_quoted_printable(&raw);
        }
    }
}
