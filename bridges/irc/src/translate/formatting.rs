//! mIRC's codes (bold, italic, …, colours) ↔ message styling (XEP-0393). Where styling cannot say it, the words stay and the looks go.

use std::borrow::Cow;

use super::encoding::{clean, is_xml};
use super::looks::PALETTE;

pub(super) const BOLD: u8 = 1;
pub(super) const ITALIC: u8 = 1 << 1;
pub(super) const STRIKE: u8 = 1 << 2;
pub(super) const MONO: u8 = 1 << 3;
/// Styling has no mark for it: only looks beside the words say it.
pub(super) const UNDERLINE: u8 = 1 << 4;
const STYLED: u8 = BOLD | ITALIC | STRIKE | MONO;

const MARKS: [char; 4] = ['*', '_', '~', '`'];
const STYLES: [(u8, char); 4] = [(BOLD, '*'), (ITALIC, '_'), (STRIKE, '~'), (MONO, '`')];

/// Whether there is a mark in it that may style a part of it ([`to_irc`]).
pub(crate) fn has_marks(text: &str) -> bool {
    let mark = |b: u8| u8::from(b == b'*') | u8::from(b == b'_') | u8::from(b == b'~') | u8::from(b == b'`');
    text.bytes().fold(0, |found, b| found | mark(b)) != 0
}

/// Whether there is nothing in it that [`from_irc`] would change.
pub(crate) fn is_plain(text: &str) -> bool {
    text.bytes().fold(0, |found, b| found | u8::from(b < 0x20) | u8::from(b >= 0x7f)) == 0
}

/// Text from IRC, with styling or without, and without what XML cannot hold.
pub(crate) fn from_irc(text: &str, styling: bool) -> Cow<'_, str> {
    if text.bytes().fold(0, |found, b| found | u8::from(b < 0x20) | u8::from(b == 0x7f)) == 0 {
        return clean(text);
    }
    if text.contains('\n') {
        // Styles end with their line, here as there (XEP-0393 section 5.2).
        let all: Vec<Cow<'_, str>> = text.split('\n').map(|line| from_irc(line, styling)).collect();
        return Cow::Owned(all.join("\n"));
    }
    let letters = letters(text);
    if !styling || letters.iter().all(|l| l.style & STYLED == 0) {
        return Cow::Owned(letters.into_iter().map(|l| l.char).collect());
    }
    Cow::Owned(styled(&letters))
}

/// A character and how it looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Letter {
    pub(super) char: char,
    pub(super) style: u8,
    pub(super) colours: Colours,
}

/// Red, green and blue of a letter and of what is behind it; `None`: the reader's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Colours {
    pub(super) text: Option<u32>,
    pub(super) behind: Option<u32>,
}

/// Characters with their styles; codes are gone.
pub(super) fn letters(text: &str) -> Vec<Letter> {
    let mut letters = Vec::with_capacity(text.len());
    let (mut style, mut colours) = (0, Colours::default());
    let mut chars = text.chars().peekable();
    let named = |digits: &str| digits.parse::<usize>().ok().and_then(|n| PALETTE.get(n).copied());
    let in_hex = |digits: &str| u32::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 6);
    while let Some(c) = chars.next() {
        match c {
            '\u{2}' => style ^= BOLD,
            '\u{1d}' => style ^= ITALIC,
            '\u{1f}' => style ^= UNDERLINE,
            '\u{1e}' => style ^= STRIKE,
            '\u{11}' => style ^= MONO,
            '\u{f}' => (style, colours) = (0, Colours::default()),
            '\u{3}' => colour(&mut chars, 2, |c| c.is_ascii_digit(), named, &mut colours),
            '\u{4}' => colour(&mut chars, 6, |c| c.is_ascii_hexdigit(), in_hex, &mut colours),
            c if is_xml(c) && c != '\r' => letters.push(Letter { char: c, style, colours }),
            _ => {}
        }
    }
    letters
}

/// `4`, `04,12`: foreground and background; nothing ends both.
fn colour(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    width: usize,
    digit: impl Fn(char) -> bool,
    read: impl Fn(&str) -> Option<u32>,
    colours: &mut Colours,
) {
    let digits = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
        let mut found = String::new();
        while found.len() < width
            && let Some(c) = chars.next_if(|c| digit(*c))
        {
            found.push(c);
        }
        found
    };
    let text = digits(chars);
    if text.is_empty() {
        *colours = Colours::default();
        return;
    }
    colours.text = read(&text);
    let mut ahead = chars.clone();
    if ahead.next() == Some(',') {
        let behind = digits(&mut ahead);
        if !behind.is_empty() {
            colours.behind = read(&behind);
            *chars = ahead;
        }
    }
}

struct Span {
    from: usize,
    to: usize,
    style: u8,
    mark: char,
}

fn styled(letters: &[Letter]) -> String {
    let mut spans: Vec<Span> = Vec::new();
    for (style, mark) in STYLES {
        let mut i = 0;
        while i < letters.len() {
            if letters[i].style & style == 0 {
                i += 1;
                continue;
            }
            let mut end = i;
            while end < letters.len() && letters[end].style & style != 0 {
                end += 1;
            }
            spans.extend(span(letters, i, end, style, mark));
            i = end;
        }
    }
    spans.sort_by_key(|s| (s.from, std::cmp::Reverse(s.to)));
    let spans = nested(spans);
    let mut out = String::with_capacity(letters.len() + 8);
    let (mut next, mut open): (usize, Vec<&Span>) = (0, Vec::new());
    for i in 0..=letters.len() {
        while let Some(span) = open.pop_if(|s| s.to == i) {
            out.push(span.mark);
        }
        while let Some(span) = spans.get(next).filter(|s| s.from == i) {
            out.push(span.mark);
            open.push(span);
            next += 1;
        }
        if let Some(letter) = letters.get(i) {
            out.push(letter.char);
        }
    }
    out
}

/// The span as XEP-0393 (section 5.2) lets it be written: it begins after a space, has no space at its ends, and its mark is not among its words.
fn span(letters: &[Letter], mut from: usize, mut to: usize, style: u8, mark: char) -> Option<Span> {
    while from < to && letters[from].char.is_whitespace() {
        from += 1;
    }
    while from < to && letters[to - 1].char.is_whitespace() {
        to -= 1;
    }
    let begins = from == 0 || letters[from - 1].char.is_whitespace();
    let good = from < to && begins && !letters[from..to].iter().any(|l| l.char == mark);
    good.then_some(Span { from, to, style, mark })
}

/// Without the spans that cross another one, and without those inside preformatted text.
fn nested(spans: Vec<Span>) -> Vec<Span> {
    let mut kept: Vec<Span> = Vec::new();
    // Ends and styles of those that are open where the next begins, the innermost last.
    let mut open: Vec<(usize, u8)> = Vec::new();
    for span in spans {
        while open.pop_if(|(to, _)| *to <= span.from).is_some() {}
        if open.last().is_some_and(|(to, style)| *to < span.to || *style == MONO) {
            continue;
        }
        open.push((span.to, span.style));
        kept.push(span);
    }
    kept
}

/// Message styling → mIRC's codes; for one line.
pub(crate) fn to_irc(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut before = None;
    let mut rest = line;
    let last = MARKS.map(|mark| last_closing(line, mark));
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        let code = match c {
            '*' => '\u{2}',
            '_' => '\u{1d}',
            '~' => '\u{1e}',
            '`' => '\u{11}',
            _ => '\0',
        };
        let opens = code != '\0' && before.is_none_or(|b: char| b.is_whitespace() || "*_~".contains(b));
        // Behind the last mark that can close one nothing is looked for: else each of many open ones would look through the whole line.
        let at = line.len() - after.len();
        let opens =
            opens && MARKS.iter().zip(last).any(|(mark, last)| *mark == c && last.is_some_and(|last| last > at));
        if opens && let Some(end) = closing(after, c) {
            out.push(code);
            let inner = &after[..end];
            if c == '`' {
                out.push_str(inner)
            } else {
                out.push_str(&to_irc(inner))
            }
            out.push(code);
            rest = &after[end + c.len_utf8()..];
            before = Some('x');
            continue;
        }
        out.push(c);
        before = Some(c);
        rest = after;
    }
    out
}

/// Where the span closes: before the first such mark that does not follow a space.
/// The last place of a mark that follows something.
fn last_closing(text: &str, mark: char) -> Option<usize> {
    text.rmatch_indices(mark).map(|(at, _)| at).find(|at| *at > 0 && !text[..*at].ends_with(char::is_whitespace))
}

fn closing(text: &str, mark: char) -> Option<usize> {
    if text.starts_with(|c: char| c.is_whitespace() || c == mark) {
        return None;
    }
    text.char_indices()
        .find(|(at, c)| *c == mark && *at > 0 && !text[..*at].ends_with(char::is_whitespace))
        .map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn codes_become_styling() {
        let cases = [
            ("plain", "plain"),
            ("\u{2}bold\u{2} and \u{1d}italic\u{1d}", "*bold* and _italic_"),
            ("\u{2}bold to the end", "*bold to the end*"),
            ("\u{1e}gone\u{f} \u{11}code\u{11}", "~gone~ `code`"),
            ("\u{3}4,12red\u{3} \u{3}05x \u{3},y", "red x ,y"),
            ("\u{4}ff0000,00ff00hex\u{f} \u{1f}under\u{1f} \u{16}rev\u{16}", "hex under rev"),
            ("\u{2} spaced \u{2}", " *spaced* "),
            ("in\u{2}side\u{2}", "inside"),
            ("\u{2}a*b\u{2}", "a*b"),
            ("\u{2}both \u{1d}of\u{1d}\u{2}", "*both _of_*"),
            ("\u{2}one \u{1d}two\u{2} three\u{1d}", "*one two* three"),
            ("\u{11}raw \u{2}x\u{2}\u{11}", "`raw x`"),
            ("\u{7}bell\u{0}", "bell"),
        ];
        for (irc, expected) in cases {
            assert_eq!(from_irc(irc, true), expected, "{irc:?}");
        }
        assert_eq!(from_irc("\u{2}bold\u{2}", false), "bold");
    }

    #[test]
    fn styling_becomes_codes() {
        let cases = [
            ("*bold* and _italic_", "\u{2}bold\u{2} and \u{1d}italic\u{1d}"),
            ("~gone~ `co*d*e`", "\u{1e}gone\u{1e} \u{11}co*d*e\u{11}"),
            ("*_both_*", "\u{2}\u{1d}both\u{1d}\u{2}"),
            ("2*3*4 snake_case_name", "2*3*4 snake_case_name"),
            ("* item", "* item"),
            ("*open", "*open"),
            ("**", "**"),
        ];
        for (text, expected) in cases {
            assert_eq!(to_irc(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn the_words_stay(text in "[\\x00-\\x1f a-z0-9,*_]{0,40}|\\PC{0,30}") {
            let plain = from_irc(&text, false);
            let marks = |c: &char| !"*_~`".contains(*c);
            let styled: String = from_irc(&text, true).chars().filter(marks).collect();
            prop_assert_eq!(styled, plain.chars().filter(marks).collect::<String>());
            prop_assert!(plain.chars().all(is_xml));
            let _ = to_irc(&text);
        }
    }
}
