//! mIRC's codes → looks beside the words: for clients that are told by XEP-0394 or XEP-0071, not by signs in the text.

use isthmus_bridge::{Looks, Span, Style};

use super::encoding::clean;
use super::formatting::{BOLD, Colours, ITALIC, Letter, MONO, STRIKE, UNDERLINE, letters};

/// The words without their codes, and how they look; `None` where they look like nothing in particular.
pub(crate) fn from_irc(text: &str, html: bool) -> (String, Option<Box<Looks>>) {
    if !text.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return (clean(text).into_owned(), None);
    }
    let (mut words, mut looks, mut at) = (String::with_capacity(text.len()), Looks::new(Vec::new(), html), 0);
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            words.push('\n');
            at += 1;
        }
        let letters = letters(line);
        spans(&letters, at, &mut looks.spans);
        at += letters.len();
        words.extend(letters.iter().map(|l| l.char));
    }
    let plain = looks.spans.is_empty();
    (words, (!plain).then(|| Box::new(looks)))
}

/// Where each style begins and ends; `at` characters stand before them.
fn spans(letters: &[Letter], at: usize, spans: &mut Vec<Span>) {
    let flags = [
        (BOLD, Style::Strong),
        (ITALIC, Style::Emphasis),
        (UNDERLINE, Style::Underlined),
        (STRIKE, Style::Deleted),
        (MONO, Style::Code),
    ];
    for (flag, style) in flags {
        runs(
            letters,
            |l| l.style & flag,
            |from, to, on| {
                if on != 0 {
                    spans.push(Span::new(at + from, at + to, style));
                }
            },
        );
    }
    runs(
        letters,
        |l| l.colours,
        |from, to, Colours { text, behind }| {
            if text.is_some() || behind.is_some() {
                spans.push(Span::new(at + from, at + to, Style::Coloured { text, behind }));
            }
        },
    );
}

/// Tells each run of equal values.
fn runs<T: PartialEq + Copy>(letters: &[Letter], of: impl Fn(&Letter) -> T, mut tell: impl FnMut(usize, usize, T)) {
    let mut from = 0;
    for run in letters.chunk_by(|a, b| of(a) == of(b)) {
        if let Some(first) = run.first() {
            tell(from, from + run.len(), of(first));
        }
        from += run.len();
    }
}

/// mIRC's colours 0 to 98, as red, green and blue; 99 is the reader's own.
pub(super) const PALETTE: [u32; 99] = [
    0xff_ffff, 0x00_0000, 0x00_007f, 0x00_9300, 0xff_0000, 0x7f_0000, 0x9c_009c, 0xfc_7f00, 0xff_ff00, 0x00_fc00,
    0x00_9393, 0x00_ffff, 0x00_00fc, 0xff_00ff, 0x7f_7f7f, 0xd2_d2d2, 0x47_0000, 0x47_2100, 0x47_4700, 0x32_4700,
    0x00_4700, 0x00_472c, 0x00_4747, 0x00_2747, 0x00_0047, 0x2e_0047, 0x47_0047, 0x47_002a, 0x74_0000, 0x74_3a00,
    0x74_7400, 0x51_7400, 0x00_7400, 0x00_7449, 0x00_7474, 0x00_4074, 0x00_0074, 0x4b_0074, 0x74_0074, 0x74_0045,
    0xb5_0000, 0xb5_6300, 0xb5_b500, 0x7d_b500, 0x00_b500, 0x00_b571, 0x00_b5b5, 0x00_63b5, 0x00_00b5, 0x75_00b5,
    0xb5_00b5, 0xb5_006b, 0xff_0000, 0xff_8c00, 0xff_ff00, 0xb2_ff00, 0x00_ff00, 0x00_ffa0, 0x00_ffff, 0x00_8cff,
    0x00_00ff, 0xa5_00ff, 0xff_00ff, 0xff_0098, 0xff_5959, 0xff_b459, 0xff_ff71, 0xcf_ff60, 0x6f_ff6f, 0x65_ffc9,
    0x6d_ffff, 0x59_b4ff, 0x59_59ff, 0xc4_59ff, 0xff_66ff, 0xff_59bc, 0xff_9c9c, 0xff_d39c, 0xff_ff9c, 0xe2_ff9c,
    0x9c_ff9c, 0x9c_ffdb, 0x9c_ffff, 0x9c_d3ff, 0x9c_9cff, 0xdc_9cff, 0xff_9cff, 0xff_94d3, 0x00_0000, 0x13_1313,
    0x28_2828, 0x36_3636, 0x4d_4d4d, 0x65_6565, 0x81_8181, 0x9f_9f9f, 0xbc_bcbc, 0xe2_e2e2, 0xff_ffff,
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn coloured(text: Option<u32>, behind: Option<u32>) -> Style {
        Style::Coloured { text, behind }
    }

    #[test]
    fn codes_become_spans_beside_the_words() {
        let cases = [
            ("plain", "plain", vec![]),
            ("a \u{2}bold\u{2} b", "a bold b", vec![(2, 6, Style::Strong)]),
            ("in\u{2}side\u{2}", "inside", vec![(2, 6, Style::Strong)]),
            ("\u{1f}ü\u{1d}ß\u{f}x", "üßx", vec![(1, 2, Style::Emphasis), (0, 2, Style::Underlined)]),
            ("\u{1e}a\u{1e}\u{11}b", "ab", vec![(0, 1, Style::Deleted), (1, 2, Style::Code)]),
            ("\u{2}a\nb \u{2}c", "a\nb c", vec![(0, 1, Style::Strong), (4, 5, Style::Strong)]),
            (
                "\u{3}4,12red\u{3}3green\u{3}99x\u{3}",
                "redgreenx",
                vec![
                    (0, 3, coloured(Some(0xff_0000), Some(0x00_00fc))),
                    (3, 8, coloured(Some(0x00_9300), Some(0x00_00fc))),
                    (8, 9, coloured(None, Some(0x00_00fc))),
                ],
            ),
            ("\u{4}0a0B0chex\u{4}", "hex", vec![(0, 3, coloured(Some(0x0a_0b0c), None))]),
        ];
        for (irc, words, spans) in cases {
            let (shown, looks) = from_irc(irc, false);
            let found: Vec<_> = looks.iter().flat_map(|l| &l.spans).map(|s| (s.start, s.end, s.style)).collect();
            assert_eq!((shown.as_str(), found), (words, spans), "{irc:?}");
        }
    }

    proptest! {
        #[test]
        fn spans_lie_within_the_words(text in "[\\x00-\\x1f a-z0-9,\u{fc}]{0,60}") {
            let (words, looks) = from_irc(&text, true);
            let plain = super::super::formatting::from_irc(&text, false);
            prop_assert_eq!(&*words, &*plain);
            let count = words.chars().count();
            for span in looks.iter().flat_map(|l| &l.spans) {
                prop_assert!(span.start < span.end && span.end <= count, "{:?} in {:?}", span, words);
            }
        }
    }
}
