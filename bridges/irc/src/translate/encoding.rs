//! Bytes ↔ text. IRC has no one encoding: what is not UTF-8 is read as the user says, and nothing is ever lost for it.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

/// What a user calls an encoding; windows-1252 where nobody knows the name.
pub(crate) fn named(label: &str) -> &'static Encoding {
    // Asked for every line, and nearly always this.
    if label == "utf-8" { UTF_8 } else { Encoding::for_label(label.trim().as_bytes()).unwrap_or(WINDOWS_1252) }
}

/// UTF-8 if it is, else as `fallback` reads it. NUL has no place in any text.
pub(crate) fn decode(bytes: &[u8], fallback: impl FnOnce() -> &'static Encoding) -> Cow<'_, str> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => {
            let encoding = fallback();
            // "UTF-8" as a fallback would be the answer that has just failed.
            let encoding = if encoding == UTF_8 { WINDOWS_1252 } else { encoding };
            encoding.decode_without_bom_handling(bytes).0
        }
    };
    if text.contains('\0') { Cow::Owned(text.replace('\0', "")) } else { text }
}

/// Text in this encoding; what it lacks is `?`.
pub(crate) fn encode<'a>(text: &'a str, encoding: &'static Encoding) -> Cow<'a, [u8]> {
    let (bytes, _, lost) = encoding.encode(text);
    if !lost {
        return bytes;
    }
    let mut one = [0; 4];
    let safe: String = text.chars().map(|c| if encoding.encode(c.encode_utf8(&mut one)).2 { '?' } else { c }).collect();
    Cow::Owned(encoding.encode(&safe).0.into_owned())
}

/// What others read of a text whose octets in this encoding these are; `None`: the text, for UTF-8 loses nothing.
pub(crate) fn lossy(bytes: &[u8], encoding: &'static Encoding) -> Option<String> {
    (encoding != UTF_8).then(|| encoding.decode_without_bom_handling(bytes).0.into_owned())
}

/// Octets of UTF-8 that are no more than so many in this encoding. Where a letter takes several, it can take twice what it takes in UTF-8
/// (GB18030), and a change between alphabets three octets more (ISO-2022-JP).
pub(crate) fn room(octets: usize, encoding: &'static Encoding) -> usize {
    if encoding == UTF_8 || encoding.is_single_byte() { octets } else { (octets / 3).max(32) }
}

/// Whether XML 1.0 can hold it (section 2.2).
pub(crate) fn is_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// Without what XML cannot hold.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    // All that ASCII has of it, first and at once.
    let plain = text.bytes().fold(true, |plain, b| plain & (0x20..0x7f).contains(&b));
    if plain || text.chars().all(is_xml) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.chars().filter(|c| is_xml(*c)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_utf_8_is_read_as_the_user_says() {
        let read = |bytes: &[u8], label: &str| decode(bytes, || named(label)).into_owned();
        assert_eq!(read("naïve".as_bytes(), "koi8-r"), "naïve");
        assert_eq!(read(b"na\xefve \x80", "windows-1252"), "naïve €");
        assert_eq!(read(b"\xf0\xd2\xc9\xd7\xc5\xd4", "koi8-r"), "Привет");
        assert_eq!(read(b"na\xefve", "utf-8"), "naïve");
        assert_eq!(read(b"na\xefve", "no such thing"), "naïve");
        assert_eq!(read(b"a\0b", ""), "ab");
        assert_eq!(clean("a\u{1}b\u{fffe}c\u{1f600}\n"), "abc\u{1f600}\n");
    }

    #[test]
    fn what_an_encoding_lacks_is_a_question_mark() {
        assert_eq!(&*encode("naïve 🦀!", named("iso-8859-1")), b"na\xefve ?!");
        assert_eq!(&*encode("naïve", named("utf-8")), "naïve".as_bytes());
    }

    #[test]
    fn what_fits_in_utf_8_fits_in_every_encoding() {
        for label in [
            "utf-8",
            "koi8-r",
            "windows-1252",
            "iso-2022-jp",
            "gb18030",
            "gbk",
            "big5",
            "euc-kr",
            "shift_jis",
            "euc-jp",
        ] {
            let encoding = named(label);
            for text in ["é", "aあ", "あa漢b", "Ж", "🦀", "한국어", "ﾊ", "plain"] {
                let (text, most) = (text.repeat(200), 400);
                let room = room(most, encoding);
                let end = (0..=room).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
                let bytes = encode(&text[..end], encoding);
                assert!(bytes.len() <= most, "{label} {text:.3}: {} octets", bytes.len());
                let read = lossy(&bytes, encoding).unwrap_or_else(|| text[..end].to_owned());
                assert_eq!(read.chars().count(), text[..end].chars().count(), "{label} {text:.3}: {read}");
            }
        }
    }
}
