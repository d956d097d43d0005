//! The two alphabets of texts (3GPP TS 23.038) and how many segments a text takes (TS 23.040, 9.2.3.24.1).

use std::fmt;

/// GSM 7-bit default alphabet, in order of code; 0x1B is the escape.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\u{1b}ÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// Its extension: each takes two septets.
const EXTENDED: &str = "\u{c}^{}\\[~]|€";

/// How a text travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alphabet {
    /// 7 bits a letter: 160 in one segment, 153 in each of several.
    Gsm7,
    /// 16 bits a code unit: 70 in one segment, 67 in each of several.
    Ucs2,
}

impl fmt::Display for Alphabet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gsm7 => "GSM-7",
            Self::Ucs2 => "UCS-2",
        })
    }
}

/// Septets that a letter takes; `None` where the alphabet lacks it.
pub(crate) fn septets(letter: char) -> Option<usize> {
    if letter != '\u{1b}' && BASIC.contains(letter) {
        Some(1)
    } else if EXTENDED.contains(letter) {
        Some(2)
    } else {
        None
    }
}

/// The smallest alphabet that holds a text.
pub(crate) fn alphabet(text: &str) -> Alphabet {
    if text.chars().all(|c| septets(c).is_some()) { Alphabet::Gsm7 } else { Alphabet::Ucs2 }
}

/// How many segments a text takes; an empty one takes one.
pub(crate) fn segments(text: &str) -> u32 {
    let (single, several, width): (usize, usize, fn(char) -> usize) = match alphabet(text) {
        Alphabet::Gsm7 => (160, 153, |c| septets(c).unwrap_or(1)),
        Alphabet::Ucs2 => (70, 67, char::len_utf16),
    };
    let total: usize = text.chars().map(width).sum();
    if total <= single {
        return 1;
    }
    // Neither an escape with its letter nor a surrogate pair is torn apart.
    let (mut count, mut room) = (1_u32, several);
    for letter in text.chars() {
        let wide = width(letter);
        if wide > room {
            count += 1;
            room = several;
        }
        room -= wide;
    }
    count
}

/// UTF-16, big-endian, in hex: how some interfaces take what is not GSM-7.
pub(crate) fn ucs2_hex(text: &str) -> String {
    text.encode_utf16().map(|unit| format!("{unit:04x}")).collect()
}

/// The text of UTF-16 bytes in hex; `None` where they are none.
pub(crate) fn from_ucs2_hex(hexed: &str) -> Option<String> {
    let bytes = hex::decode(hexed.trim()).ok()?;
    if bytes.len() % 2 != 0 {
        return None;
    }
    let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    Some(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_alphabet_has_its_128_places() {
        assert_eq!(BASIC.chars().count(), 128);
        assert_eq!(EXTENDED.chars().count(), 10);
    }

    #[test]
    fn segments_by_table() {
        for (text, alphabet_, count) in [
            (String::new(), Alphabet::Gsm7, 1),
            ("a".repeat(160), Alphabet::Gsm7, 1),
            ("a".repeat(161), Alphabet::Gsm7, 2),
            ("a".repeat(306), Alphabet::Gsm7, 2),
            ("a".repeat(307), Alphabet::Gsm7, 3),
            ("€".repeat(80), Alphabet::Gsm7, 1),
            ("€".repeat(81), Alphabet::Gsm7, 2),
            // 152 letters, then an escape that would be torn: it goes into the second segment as a whole.
            (format!("{}€{}", "a".repeat(152), "a".repeat(152)), Alphabet::Gsm7, 3),
            ("ж".repeat(70), Alphabet::Ucs2, 1),
            ("ж".repeat(71), Alphabet::Ucs2, 2),
            ("😀".repeat(35), Alphabet::Ucs2, 1),
            ("😀".repeat(36), Alphabet::Ucs2, 2),
            ("😀".repeat(67), Alphabet::Ucs2, 3),
        ] {
            assert_eq!((alphabet(&text), segments(&text)), (alphabet_, count), "{} letters", text.chars().count());
        }
    }

    proptest! {
        #[test]
        fn ucs2_comes_back(text in "\\PC{0,80}") {
            prop_assert_eq!(from_ucs2_hex(&ucs2_hex(&text)), Some(text));
        }

        #[test]
        fn a_longer_text_never_takes_less(text in "[a-z€ж]{0,200}", more in "[a-z€ж]{0,20}") {
            prop_assert!(segments(&(text.clone() + &more)) >= segments(&text));
        }
    }
}
