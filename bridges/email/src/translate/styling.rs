//! XEP-0393 message styling as HTML. Everything that was said is escaped; nothing but the tags written here is markup.

/// The text as an HTML document, or `None` where no styling is in it.
pub(crate) fn html(text: &str) -> Option<String> {
    if text.len() > MAX_TEXT {
        return None;
    }
    let mut writer = Writer::default();
    writer.blocks(&text.split('\n').collect::<Vec<_>>(), 0);
    writer.styled.then(|| {
        format!("<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"></head><body>\n{}</body></html>\n", writer.out)
    })
}

/// Longer texts, in octets, are no letters that somebody has styled; they go as plain text only.
const MAX_TEXT: usize = 32 << 10;
/// Quotes in quotes, at most; deeper ones stay text.
const MAX_DEPTH: usize = 16;

#[derive(Default)]
struct Writer {
    out: String,
    styled: bool,
}

impl Writer {
    fn blocks(&mut self, lines: &[&str], depth: usize) {
        let mut rest = lines;
        while let Some((line, after)) = rest.split_first() {
            rest = match *line {
                fence if fence.starts_with("```") => self.preformatted(after),
                quote if quote.starts_with('>') && depth < MAX_DEPTH => self.quote(rest, depth),
                plain => {
                    self.spans(plain);
                    self.out.push_str("<br>\n");
                    after
                }
            };
        }
    }

    /// Up to the closing fence, or to the end of the block (6.1.2).
    fn preformatted<'l, 't>(&mut self, lines: &'l [&'t str]) -> &'l [&'t str] {
        self.styled = true;
        let end = lines.iter().position(|l| l.trim_end() == "```").unwrap_or(lines.len());
        self.out.push_str("<pre>");
        for line in &lines[..end] {
            escape(&mut self.out, line);
            self.out.push('\n');
        }
        self.out.push_str("</pre>\n");
        lines.get(end + 1..).unwrap_or_default()
    }

    fn quote<'l, 't>(&mut self, lines: &'l [&'t str], depth: usize) -> &'l [&'t str] {
        self.styled = true;
        let end = lines.iter().position(|l| !l.starts_with('>')).unwrap_or(lines.len());
        let inner: Vec<&str> = lines[..end].iter().map(|l| l[1..].strip_prefix(' ').unwrap_or(&l[1..])).collect();
        self.out.push_str("<blockquote>\n");
        self.blocks(&inner, depth + 1);
        self.out.push_str("</blockquote>\n");
        &lines[end..]
    }

    fn spans(&mut self, line: &str) {
        let mut rest = line;
        let mut before = None;
        // Where one mark finds nothing that closes it, a later one of its kind does not either.
        let mut open = Vec::new();
        while let Some(c) = rest.chars().next() {
            let found = if open.contains(&c) { None } else { span(rest, before) };
            if let Some(Found::Open) = found {
                open.push(c);
            }
            if let Some(Found::Span(tag, inner, after)) = found {
                self.styled = true;
                self.out.push_str(&format!("<{tag}>"));
                if tag == "code" {
                    escape(&mut self.out, inner)
                } else {
                    self.spans(inner)
                }
                self.out.push_str(&format!("</{tag}>"));
                before = rest[..rest.len() - after.len()].chars().next_back();
                rest = after;
                continue;
            }
            let (one, after) = rest.split_at(c.len_utf8());
            escape(&mut self.out, one);
            before = Some(c);
            rest = after;
        }
    }
}

/// What a mark begins.
enum Found<'t> {
    /// A span: tag, content, what follows.
    Span(&'static str, &'t str, &'t str),
    /// Nothing closes it.
    Open,
}

/// A span at the start of `text` (6.2). `before` is the character before it.
fn span(text: &str, before: Option<char>) -> Option<Found<'_>> {
    let mark = text.chars().next()?;
    let tag = match mark {
        '*' => "strong",
        '_' => "em",
        '~' => "s",
        '`' => "code",
        _ => return None,
    };
    let opens = before.is_none_or(|b| b.is_whitespace() || "*_~`".contains(b));
    let body = &text[1..];
    if !opens || body.starts_with(|c: char| c.is_whitespace() || c == mark) {
        return None;
    }
    let closes = |(i, _): &(usize, &str)| *i > 0 && !body[..*i].ends_with(char::is_whitespace);
    Some(match body.match_indices(mark).find(closes) {
        Some((end, _)) => Found::Span(tag, &body[..end], &body[end + 1..]),
        None => Found::Open,
    })
}

fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && c != '\t' => {}
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn body(text: &str) -> Option<String> {
        let page = html(text)?;
        let (_, rest) = page.split_once("<body>\n").expect("a body");
        Some(rest.strip_suffix("</body></html>\n").expect("an end").to_owned())
    }

    #[test]
    fn the_table_of_styles() {
        for (text, wanted) in [
            ("*strong* and _emph_", "<strong>strong</strong> and <em>emph</em><br>\n"),
            ("~gone~ `a*b*c`", "<s>gone</s> <code>a*b*c</code><br>\n"),
            ("*_both_*", "<strong><em>both</em></strong><br>\n"),
            ("```\n<b> *not*\n```\nafter", "<pre>&lt;b&gt; *not*\n</pre>\nafter<br>\n"),
            (
                "> one\n> > two\nme",
                "<blockquote>\none<br>\n<blockquote>\ntwo<br>\n</blockquote>\n</blockquote>\nme<br>\n",
            ),
            ("*<script>*", "<strong>&lt;script&gt;</strong><br>\n"),
            ("*a *b c* *d", "<strong>a *b c</strong> *d<br>\n"),
            ("_a *b* _c ~d *e*", "_a <strong>b</strong> _c ~d <strong>e</strong><br>\n"),
        ] {
            assert_eq!(body(text).as_deref(), Some(wanted), "{text}");
        }
    }

    #[test]
    fn no_style_no_html() {
        for text in ["plain", "2 * 3 * 4", "snake_case_name", "* list", "**", "a*b*", "1 < 2", ""] {
            assert_eq!(html(text), None, "{text}");
        }
    }

    #[test]
    fn a_long_text_goes_without() {
        assert!(html(&"*a ".repeat(10_000)).is_none(), "nothing closes them");
        let styled = "*a* ".repeat(8_000);
        assert!(html(&styled).is_some() && html(&styled.repeat(2)).is_none());
    }

    proptest! {
        #[test]
        fn what_was_said_never_becomes_markup(text in "[<>&\"'a*_`~\n ]{0,80}") {
            if let Some(page) = body(&text) {
                let mut rest = page.as_str();
                while let Some(open) = rest.find('<') {
                    let end = rest[open..].find('>').expect("a tag ends");
                    let tag = rest[open + 1..open + end].trim_start_matches('/');
                    prop_assert!(["strong", "em", "s", "code", "pre", "blockquote", "br"].contains(&tag), "{}", tag);
                    rest = &rest[open + end + 1..];
                }
            }
        }
    }
}
