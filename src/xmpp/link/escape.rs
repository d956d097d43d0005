//! XML escaping, into a byte buffer.

/// What U+FFFD looks like: it stands for characters that XML 1.0 forbids (section 2.2).
const REPLACEMENT: &[u8] = "\u{FFFD}".as_bytes();
/// Bytes looked at together; the comparison loop below then compiles to vector instructions.
const BLOCK: usize = 16;

/// Appends `text` as character data. What XML forbids becomes U+FFFD; a carriage return is written as a reference, for
/// a reader would turn it into a line feed.
pub(super) fn text(out: &mut Vec<u8>, text: &str) {
    escape::<false>(out, text.as_bytes());
}

/// Appends `value` as an attribute's value between single quotes, without the quotes. White space is kept by writing
/// it as references.
pub(super) fn attribute(out: &mut Vec<u8>, value: &str) {
    escape::<true>(out, value.as_bytes());
}

/// Whether XML 1.0 forbids something in this text.
pub(super) fn forbidden(bytes: &[u8]) -> bool {
    let control = |b: &u8| *b < 0x20 && !matches!(b, b'\t' | b'\n' | b'\r');
    // All at once whether there is anything to be looked at more closely.
    bytes.iter().fold(0, |found, &b| found | u8::from(b < 0x20) | u8::from(b == 0xEF)) != 0
        && (bytes.iter().any(control) || memchr::memchr_iter(0xEF, bytes).any(|at| is_noncharacter(&bytes[at..])))
}

/// U+FFFE or U+FFFF, the only two above the controls that a `str` can hold and XML cannot.
fn is_noncharacter(rest: &[u8]) -> bool {
    matches!(rest, [0xEF, 0xBF, 0xBE | 0xBF, ..])
}

fn escape<const ATTRIBUTE: bool>(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut clean = 0;
    let mut at = 0;
    while let Some(found) = careful::<ATTRIBUTE>(&bytes[at..]) {
        let index = at + found;
        let (instead, length): (&[u8], usize) = match bytes[index] {
            b'&' => (b"&amp;", 1),
            b'<' => (b"&lt;", 1),
            b'>' => (b"&gt;", 1),
            b'\'' if ATTRIBUTE => (b"&apos;", 1),
            b'"' if ATTRIBUTE => (b"&quot;", 1),
            b'\r' => (b"&#13;", 1),
            b'\n' if ATTRIBUTE => (b"&#10;", 1),
            b'\t' if ATTRIBUTE => (b"&#9;", 1),
            0xEF if is_noncharacter(&bytes[index..]) => (REPLACEMENT, 3),
            0..0x20 if !matches!(bytes[index], b'\n' | b'\t') => (REPLACEMENT, 1),
            _ => {
                at = index + 1;
                continue;
            }
        };
        out.extend_from_slice(&bytes[clean..index]);
        out.extend_from_slice(instead);
        clean = index + length;
        at = clean;
    }
    out.extend_from_slice(&bytes[clean..]);
}

/// The first byte that may have to be written otherwise.
fn careful<const ATTRIBUTE: bool>(bytes: &[u8]) -> Option<usize> {
    let table = const { &table(ATTRIBUTE) };
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    let clean = blocks.iter().take_while(|block| !needs_care::<ATTRIBUTE>(block)).count();
    if clean == blocks.len() {
        // What is left is less than a block: it is looked at together with the end of the block before.
        let last = bytes.last_chunk::<BLOCK>();
        if rest.is_empty() || last.is_some_and(|block| !needs_care::<ATTRIBUTE>(block)) {
            return None;
        }
    }
    let at = clean * BLOCK;
    bytes[at..].iter().position(|b| table[usize::from(*b)]).map(|found| at + found)
}

/// Which bytes are looked at more closely.
const fn table(attribute: bool) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        let quotes = attribute && (b == b'\'' || b == b'"');
        table[byte] = b < 0x20 || b == b'&' || b == b'<' || b == b'>' || b == 0xEF || quotes;
        byte += 1;
    }
    table
}

/// May say yes for a block that needs nothing, never no for one that does. In numbers and not in truths, so that it becomes vector instructions.
fn needs_care<const ATTRIBUTE: bool>(block: &[u8; BLOCK]) -> bool {
    let care = |found: u8, &b: &u8| {
        let quotes = if ATTRIBUTE { u8::from(b == b'\'') | u8::from(b == b'"') } else { 0 };
        // `<` and `>` differ in one bit.
        found | u8::from(b < 0x20) | u8::from(b == b'&') | u8::from(b & 0xFD == b'<') | u8::from(b == 0xEF) | quotes
    };
    block.iter().fold(0, care) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(how: fn(&mut Vec<u8>, &str), what: &str) -> String {
        let mut out = b"|".to_vec();
        how(&mut out, what);
        String::from_utf8(out).expect("escaping keeps UTF-8")[1..].to_owned()
    }

    #[test]
    fn markup_and_forbidden_characters_never_get_through() {
        for (plain, in_text, in_attribute) in [
            ("", "", ""),
            ("plain text", "plain text", "plain text"),
            ("a<b>&'\"c", "a&lt;b&gt;&amp;'\"c", "a&lt;b&gt;&amp;&apos;&quot;c"),
            ("tab\tline\nreturn\r", "tab\tline\nreturn&#13;", "tab&#9;line&#10;return&#13;"),
            (
                "nul\0 bell\x07 esc\x1b[0m",
                "nul\u{FFFD} bell\u{FFFD} esc\u{FFFD}[0m",
                "nul\u{FFFD} bell\u{FFFD} esc\u{FFFD}[0m",
            ),
            (
                "\u{FFFE}\u{FFFF}\u{FFFD}\u{FEFF}",
                "\u{FFFD}\u{FFFD}\u{FFFD}\u{FEFF}",
                "\u{FFFD}\u{FFFD}\u{FFFD}\u{FEFF}",
            ),
            ("]]>", "]]&gt;", "]]&gt;"),
            ("дід 🐈 ﷐", "дід 🐈 ﷐", "дід 🐈 ﷐"),
        ] {
            assert_eq!(escaped(text, plain), in_text, "as text: {plain:?}");
            assert_eq!(escaped(attribute, plain), in_attribute, "as attribute: {plain:?}");
        }
    }

    #[test]
    fn the_place_of_a_special_character_in_its_block_does_not_matter() {
        for before in 0..40 {
            for special in ["&", "<", "\u{FFFF}", "\r", "\u{1}"] {
                let plain = format!("{}{special}{}", "x".repeat(before), "y".repeat(40));
                let short = escaped(text, special);
                assert_eq!(escaped(text, &plain), format!("{}{short}{}", "x".repeat(before), "y".repeat(40)));
            }
        }
    }

    #[test]
    fn forbidden_characters_are_found() {
        for (text, bad) in
            [("ok\t\r\n ü\u{FFFD}", false), ("\u{1}", true), ("x\u{FFFE}", true), ("\u{FFFF}", true), ("", false)]
        {
            assert_eq!(forbidden(text.as_bytes()), bad, "{text:?}");
        }
    }
}
