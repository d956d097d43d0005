//! A text → lines that fit: one for each line of the text, long ones cut between words, at worst between characters.

use smallvec::{SmallVec, smallvec};

/// The lines of `text`, each of at most `max` bytes of UTF-8. Empty ones are left out: IRC cannot say nothing.
pub(crate) fn lines(text: &str, max: usize) -> SmallVec<[&str; 2]> {
    let max = max.max(8); // room for any character
    let one = text.bytes().fold(0, |found, b| found | u8::from(b == b'\n') | u8::from(b == b'\r')) == 0;
    if one && text.len() <= max {
        let line = text.trim_end();
        return if line.trim_start().is_empty() { SmallVec::new() } else { smallvec![line] };
    }
    let mut all = SmallVec::new();
    for line in text.split(['\n', '\r']) {
        let mut rest = line.trim_end();
        while rest.len() > max {
            let end = cut(rest, max);
            all.push(rest[..end].trim_end());
            rest = rest[end..].trim_start_matches(' ');
        }
        if !rest.trim().is_empty() {
            all.push(rest);
        }
    }
    all.retain(|line: &mut &str| !line.is_empty());
    all
}

/// One line → pieces of at most `max` bytes that make it up again when they are joined: cut behind spaces, at worst between characters.
pub(crate) fn pieces(line: &str, max: usize) -> Vec<&str> {
    let max = max.max(8);
    let (mut all, mut rest) = (Vec::new(), line);
    while rest.len() > max {
        let end = cut(rest, max);
        let (piece, after) = rest.split_at(end);
        all.push(piece);
        rest = after;
    }
    all.push(rest);
    all
}

/// Where to cut: after the last space in the later half, else before the character that does not fit.
fn cut(text: &str, max: usize) -> usize {
    let mut end = max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    if text[end..].starts_with(' ') {
        return end;
    }
    match text[..end].rfind(' ') {
        Some(space) if space >= max / 2 => space + 1,
        _ => end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn long_lines_are_cut_between_words() {
        assert_eq!(lines("one two three four", 10).as_slice(), ["one two", "three four"]);
        assert_eq!(lines("a\n\nb\r\nc\rd\n  \n", 10).as_slice(), ["a", "b", "c", "d"]);
        assert_eq!(lines("abcdefghijklmnop", 10).as_slice(), ["abcdefghij", "klmnop"]);
        assert_eq!(lines("éééééééé", 9).as_slice(), ["éééé", "éééé"]);
        assert!(lines("", 10).is_empty() && lines(" \n ", 10).is_empty());
    }

    #[test]
    fn pieces_keep_their_spaces() {
        assert_eq!(pieces("one two three four", 10), ["one two ", "three four"]);
        assert_eq!(pieces("", 10), [""]);
    }

    proptest! {
        #[test]
        fn pieces_make_up_the_line_again(line in "[a-zé🦀 ]{0,200}", max in 8usize..60) {
            let all = pieces(&line, max);
            prop_assert!(all.iter().all(|p| p.len() <= max));
            prop_assert_eq!(all.concat(), line);
        }

        #[test]
        fn every_line_fits_and_nothing_but_space_is_lost(text in "[a-zé🦀 \\n\\r]{0,200}|\\PC{0,100}", max in 8usize..60) {
            let all = lines(&text, max);
            prop_assert!(all.iter().all(|l| l.len() <= max && !l.is_empty()));
            let squeezed = |t: &str| t.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(squeezed(&all.concat()), squeezed(&text));
        }
    }
}
