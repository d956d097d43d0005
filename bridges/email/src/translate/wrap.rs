//! Writes `format=flowed` text (RFC 3676): lines that a reader may join again, quotes that stay quotes.

/// Columns of a line, the soft break included.
const WIDTH: usize = 72;

/// Chat text as flowed text with LF line ends, none at the end. Undone by any reader that knows the format; readable by those that do not.
pub(crate) fn flowed(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 16);
    for line in text.replace("\r\n", "\n").replace('\r', "\n").split('\n') {
        let (depth, words) = quoted(line);
        // A space at the end would make the line flow into the next one; only the separator of signatures has one.
        let words = if depth == 0 && words == "-- " { words } else { words.trim_end_matches(' ') };
        write_line(&mut out, depth, words);
    }
    let end = out.trim_end_matches('\n').len();
    out.truncate(end);
    out
}

/// Depth of a quote (XEP-0393: `> `, nested without or with spaces) and what is quoted.
fn quoted(line: &str) -> (usize, &str) {
    let (mut depth, mut rest) = (0, line);
    while let Some(inner) = rest.strip_prefix('>').or_else(|| if depth > 0 { rest.strip_prefix(" >") } else { None }) {
        depth += 1;
        rest = inner;
    }
    (depth, if depth > 0 { rest.strip_prefix(' ').unwrap_or(rest) } else { rest })
}

fn write_line(out: &mut String, depth: usize, words: &str) {
    let room = WIDTH.saturating_sub(depth + 2).max(20);
    let mut rest = words;
    loop {
        let (now, later) = split(rest, room);
        out.extend(std::iter::repeat_n('>', depth));
        // Space-stuffing (RFC 3676, 4.4): what begins with a space, a quote mark or `From ` gets a space that readers take away.
        if depth > 0 || now.starts_with(' ') || now.starts_with('>') || now.starts_with("From ") {
            out.push(' ');
        }
        out.push_str(now);
        out.push('\n');
        if later.is_empty() {
            return;
        }
        rest = later;
    }
}

/// Cuts after a space within the width; a word that is longer stands alone. The first part ends in its space: a soft break.
fn split(text: &str, room: usize) -> (&str, &str) {
    if text.chars().count() <= room {
        return (text, "");
    }
    let limit = text.char_indices().nth(room).map_or(text.len(), |(i, _)| i);
    let cut = |end: usize| {
        let end = end + text[end..].len() - text[end..].trim_start_matches(' ').len();
        text.split_at(end)
    };
    match text[..limit].rfind(' ').filter(|i| !text[..*i].trim().is_empty()) {
        Some(space) => cut(space),
        None => text[limit..].find(' ').map_or((text, ""), |space| cut(limit + space)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a reader makes of it (RFC 3676, 4.1–4.6).
    fn read(flowed: &str) -> Vec<(usize, String)> {
        let mut lines: Vec<(usize, String)> = Vec::new();
        let mut open = false;
        for line in flowed.strip_suffix('\n').unwrap_or(flowed).split('\n') {
            let depth = line.len() - line.trim_start_matches('>').len();
            let words = &line[depth..];
            let words = words.strip_prefix(' ').unwrap_or(words);
            match lines.last_mut().filter(|last| open && last.0 == depth) {
                Some(last) => last.1.push_str(words),
                None => lines.push((depth, words.to_owned())),
            }
            open = words.ends_with(' ') && words != "-- ";
        }
        lines
    }

    #[test]
    fn what_must_be_stuffed_is() {
        assert_eq!(
            flowed("From me\n indented\n> a quote\n>> deep\n> > deep\n-- \nme"),
            " From me\n  indented\n> a quote\n>> deep\n>> deep\n-- \nme"
        );
        assert_eq!(flowed("ends in spaces   \nnext"), "ends in spaces\nnext");
    }

    #[test]
    fn long_lines_flow_and_long_words_stay_whole() {
        let text = format!("{} https://example.net/{} end", "word ".repeat(30), "x".repeat(200));
        let out = flowed(&text);
        assert!(out.lines().all(|l| l.chars().count() <= 79 || l.contains("https://")), "{out}");
        assert_eq!(read(&out), [(0, text)]);
    }

    proptest! {
        #[test]
        fn a_reader_gets_the_lines_back(text in "([a-zA-Zé >.\\-]{0,160}\n){0,6}[a-zA-Zé >.\\-]{0,100}") {
            let wanted: Vec<(usize, String)> = text.trim_end_matches(['\n', ' ']).split('\n').map(|line| {
                let (depth, words) = quoted(line);
                let words = if depth == 0 && words == "-- " { words } else { words.trim_end_matches(' ') };
                (depth, words.to_owned())
            }).collect();
            let got = read(&flowed(text.trim_end_matches(['\n', ' '])));
            let got: Vec<_> = got.into_iter().map(|(d, w)| (d, if d == 0 && w == "-- " { w } else { w.trim_end_matches(' ').to_owned() })).collect();
            // Empty lines at the end are dropped.
            let end = wanted.iter().rposition(|l| *l != (0, String::new())).map_or(1, |i| i + 1);
            prop_assert_eq!(got, wanted[..end].to_vec());
        }
    }
}
