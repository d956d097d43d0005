//! Octets → text, whatever the mail says about them.

use encoding_rs::{Encoding, ISO_2022_JP, UTF_8, WINDOWS_1252};
use mail_parser::decoders::charsets::map::charset_decoder;

/// Reads octets in the charset that the mail names, or in a better guess where that cannot be true.
///
/// Law: never fails, and loses nothing that a later reader could need: a charset that nobody knows is read as UTF-8 if it is that, else as Windows-1252,
/// in which every octet is a character.
pub(crate) fn decode(bytes: &[u8], label: Option<&str>) -> String {
    let label = label.map(|l| l.trim().trim_matches(['"', '\'']));
    if let Some((encoding, bom)) = Encoding::for_bom(bytes) {
        return encoding.decode_without_bom_handling(&bytes[bom..]).0.into_owned();
    }
    // Text in UTF-8 that has any non-ASCII character is UTF-8 with near certainty, and many mailers name something else. A charset that writes
    // with ASCII octets only (ISO-2022, UTF-7, HZ) is told apart by its being ASCII.
    if !bytes.is_ascii()
        && let Ok(text) = std::str::from_utf8(bytes)
    {
        return text.to_owned();
    }
    match label.and_then(|l| Encoding::for_label(l.as_bytes())) {
        Some(encoding) if encoding != UTF_8 && encoding != WINDOWS_1252 => {
            let (text, wrong) = encoding.decode_without_bom_handling(bytes);
            if wrong { guess(bytes) } else { text.into_owned() }
        }
        Some(_) => guess(bytes),
        // UTF-7 (RFC 2152) and others that the web has forgotten.
        None => match label.filter(|l| l.len() < 40).and_then(|l| charset_decoder(l.as_bytes())) {
            Some(read) => read(bytes),
            None => guess(bytes),
        },
    }
}

fn guess(bytes: &[u8]) -> String {
    if bytes.windows(2).any(|w| w == b"\x1b$" || w == b"\x1b(") {
        let (text, wrong) = ISO_2022_JP.decode_without_bom_handling(bytes);
        if !wrong {
            return text.into_owned();
        }
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => WINDOWS_1252.decode_without_bom_handling(bytes).0.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn charsets_that_are_true_false_and_unknown() {
        let cases: [(&[u8], Option<&str>, &str); 12] = [
            ("grüße".as_bytes(), Some("utf-8"), "grüße"),
            (b"gr\xfc\xdfe", Some("iso-8859-1"), "grüße"),
            (b"gr\xfc\xdfe", Some("utf-8"), "grüße"),
            (b"gr\xfc\xdfe", None, "grüße"),
            (b"gr\xfc\xdfe", Some("x-klingon"), "grüße"),
            ("grüße".as_bytes(), Some("iso-8859-1"), "grüße"),
            ("grüße".as_bytes(), Some("us-ascii"), "grüße"),
            (b"\xd0\xd2\xc9\xd7\xc5\xd4", Some("koi8-r"), "привет"),
            (b"\x1b$B$3$s\x1b(B", Some("iso-2022-jp"), "こん"),
            (b"\x1b$B$3$s\x1b(B", Some("us-ascii"), "こん"),
            (b"\xff\xfeh\0i\0", Some("utf-8"), "hi"),
            (b"Hi Mom -+Jjo--!", Some("utf-7"), "Hi Mom -☺-!"),
        ];
        for (bytes, label, text) in cases {
            assert_eq!(decode(bytes, label), text, "{label:?}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_under_any_label(bytes in proptest::collection::vec(any::<u8>(), 0..64), label in "(utf-7|utf-16|utf-16le|big5|gb18030|hz-gb-2312|iso-2022-kr|shift_jis|x|)") {
            decode(&bytes, Some(&label));
        }
    }
}
