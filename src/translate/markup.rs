//! XEP-0394 → XEP-0393: markup that stands beside a text becomes styling in it, which is what networks can be told, and people can read.

use minidom::Element;

/// XEP-0394.
pub const MARKUP: &str = "urn:xmpp:markup:0";
/// Pieces of markup in one message, at most.
const MOST: usize = 200;

/// Something to be put into a text.
struct Put {
    /// Before this character.
    at: usize,
    /// Ends come before beginnings; of several ends that of the innermost, of several beginnings that of the outermost.
    rank: (u8, usize, i64),
    what: &'static str,
}

/// The text with its markup as styling. Ranges are in characters; what lies outside of the text or makes no sense is left out.
pub fn styled(body: &str, markup: &Element) -> String {
    let chars: Vec<char> = body.chars().collect();
    let mut puts = Vec::new();
    for piece in markup.children().filter(|piece| piece.ns() == MARKUP).take(MOST) {
        let place = |name| piece.attr(name).and_then(|n| n.parse::<usize>().ok());
        let (Some(start), Some(end)) = (place("start"), place("end")) else { continue };
        if start >= end || end > chars.len() {
            continue;
        }
        match piece.name() {
            "span" => span(&mut puts, &chars, piece, start, end),
            "bcode" => around(&mut puts, (start, end), ("```\n", "\n```")),
            "bquote" => {
                // Quotes in quotes grow with both: as many marks as the text has characters are enough for any that people write.
                let left = chars.len().saturating_sub(puts.len());
                let lines = || (start..end).filter(|at| *at == start || chars[at - 1] == '\n');
                if lines().count() <= left {
                    puts.extend(lines().map(|at| Put { at, rank: (1, 0, 0), what: "> " }));
                }
            }
            _ => {}
        }
    }
    puts.sort_by_key(|put| (put.at, put.rank));
    let mut styled = String::with_capacity(body.len() + 2 * puts.len());
    let mut puts = puts.into_iter().peekable();
    for at in 0..=chars.len() {
        while let Some(put) = puts.next_if(|put| put.at == at) {
            styled.push_str(put.what);
        }
        styled.extend(chars.get(at));
    }
    styled
}

/// Styling of a span may not begin or end with a blank, nor cross a line (XEP-0393 section 5.2): there it would be none.
fn span(puts: &mut Vec<Put>, chars: &[char], piece: &Element, mut start: usize, mut end: usize) {
    while start < end && chars[start].is_whitespace() {
        start += 1;
    }
    while start < end && chars[end - 1].is_whitespace() {
        end -= 1;
    }
    if start == end || chars[start..end].contains(&'\n') {
        return;
    }
    for kind in piece.children() {
        let mark = match kind.name() {
            "emphasis" => "_",
            "strong" => "*",
            "deleted" => "~",
            "code" => "`",
            _ => continue,
        };
        around(puts, (start, end), (mark, mark));
    }
}

fn around(puts: &mut Vec<Put>, (start, end): (usize, usize), (before, behind): (&'static str, &'static str)) {
    // Of two that cover the same the later is the inner one.
    let depth = i64::try_from(puts.len()).unwrap_or(0);
    puts.push(Put { at: start, rank: (1, usize::MAX - end, depth), what: before });
    puts.push(Put { at: end, rank: (0, usize::MAX - start, -depth), what: behind });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_becomes_styling() {
        for (body, pieces, text) in [
            ("an important word", "<span start='3' end='12'><strong/></span>", "an *important* word"),
            ("é mph", "<span start='0' end='2'><emphasis/></span>", "_é_ mph"),
            (
                "both of them",
                "<span start='0' end='4'><code/></span><span start='5' end='7'><deleted/></span>",
                "`both` ~of~ them",
            ),
            ("x = 1", "<bcode start='0' end='5'/>", "```\nx = 1\n```"),
            ("said\nshe\nyes", "<bquote start='0' end='8'/>", "> said\n> she\nyes"),
            ("short", "<span start='0' end='99'><strong/></span>", "short"),
            ("two\nlines", "<span start='0' end='9'><strong/></span>", "two\nlines"),
            (
                "nested words",
                "<span start='0' end='12'><emphasis/></span><span start='0' end='6'><strong/></span>",
                "_*nested* words_",
            ),
        ] {
            let markup = format!("<markup xmlns='{MARKUP}'>{pieces}</markup>").parse().expect("XML");
            assert_eq!(styled(body, &markup), text, "{pieces}");
        }
    }

    #[test]
    fn quotes_in_quotes_do_not_grow_without_bound() {
        let body = format!("x{}", "\n".repeat(10_000));
        let pieces = "<bquote start='0' end='10001'/>".repeat(MOST);
        let markup = format!("<markup xmlns='{MARKUP}'>{pieces}</markup>").parse().expect("XML");
        let text = styled(&body, &markup);
        assert!(text.starts_with("> x\n> \n") && text.len() <= 3 * body.len(), "{} bytes", text.len());
    }
}
