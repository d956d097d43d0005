//! HTML → readable text, in one pass without a tree: time and memory grow with the length of the input and nothing else, however deep it is nested.

/// HTML beyond this many octets is not read.
const MAX_HTML: usize = 2 << 20;

/// A tag is at most this long.
const MAX_TAG: usize = 8192;

/// Quotations deeper than this are shown at this depth.
const MAX_QUOTE: usize = 8;

/// Makes readable text. Links are kept as `words <address>`, pictures by their alternative text, quotations get `> ` in front.
pub(crate) fn html_to_text(html: &str) -> String {
    let mut end = html.len().min(MAX_HTML);
    while !html.is_char_boundary(end) {
        end -= 1;
    }
    let mut page = Page::default();
    let mut rest = &html[..end];
    // While more than this is left there is no `>` in sight, so that a flood of `<a` is not searched again and again.
    let mut barren = usize::MAX;
    while let Some(at) = rest.find('<') {
        page.text(&rest[..at]);
        rest = &rest[at..];
        let found = if rest.len() > barren { None } else { tag(rest) };
        if found.is_none() && rest.len() <= barren {
            barren = if rest.bytes().take(MAX_TAG).any(|b| b == b'>') {
                usize::MAX
            } else {
                rest.len().saturating_sub(MAX_TAG)
            };
        }
        match found {
            Some((tag, after)) => {
                rest = after;
                if let Some(raw) = raw_text_end(&tag, rest) {
                    rest = raw;
                } else {
                    page.tag(&tag);
                }
            }
            None => {
                page.text("<");
                rest = &rest[1..];
            }
        }
    }
    page.text(rest);
    page.finish()
}

struct Tag<'h> {
    name: String,
    closing: bool,
    attributes: &'h str,
}

/// Reads a tag (or comment, or declaration, with an empty name) at the `<`; gives it with what follows.
fn tag(html: &str) -> Option<(Tag<'_>, &str)> {
    let nothing = |after| Some((Tag { name: String::new(), closing: false, attributes: "" }, after));
    if let Some(comment) = html.strip_prefix("<!--") {
        // An unfinished comment hides the rest, as in browsers.
        return nothing(comment.find("-->").map_or("", |at| &comment[at + 3..]));
    }
    let inner = &html[1..];
    let closing = inner.starts_with('/');
    let name_from = usize::from(closing);
    let first = inner[name_from..].chars().next()?;
    if matches!(first, '!' | '?') {
        return nothing(inner.find('>').map_or("", |at| &inner[at + 1..]));
    }
    if !first.is_ascii_alphabetic() {
        return None;
    }
    let end = tag_end(inner)?;
    let name_to =
        inner[name_from..end].find(|c: char| c.is_ascii_whitespace() || c == '/').map_or(end, |n| name_from + n);
    // No element that means something has a longer name; what is made up may have letters of many octets.
    let name = inner[name_from..name_to].chars().take(32).collect::<String>().to_ascii_lowercase();
    Some((Tag { name, closing, attributes: &inner[name_to..end] }, &inner[end + 1..]))
}

/// The `>` that ends a tag, quoted values passed over.
fn tag_end(inner: &str) -> Option<usize> {
    let mut quote = None;
    for (i, b) in inner.bytes().enumerate().take(MAX_TAG) {
        match (quote, b) {
            (None, b'>') => return Some(i),
            (None, b'"' | b'\'') => quote = Some(b),
            (Some(q), b) if q == b => quote = None,
            _ => {}
        }
    }
    // A quote that never ends: the next `>` will do.
    inner.bytes().take(MAX_TAG).position(|b| b == b'>')
}

/// What follows the end of an element whose content is not text for people.
fn raw_text_end<'h>(tag: &Tag<'_>, rest: &'h str) -> Option<&'h str> {
    if tag.closing
        || tag.attributes.ends_with('/')
        || !matches!(
            tag.name.as_str(),
            "script" | "style" | "title" | "template" | "noscript" | "svg" | "math" | "select" | "iframe"
        )
    {
        return None;
    }
    let needle = format!("</{}", tag.name);
    let bytes = rest.as_bytes();
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|b| *b == b'<').map(|n| from + n) {
        if bytes[at..].get(..needle.len()).is_some_and(|s| s.eq_ignore_ascii_case(needle.as_bytes())) {
            let end = rest[at..].find('>').map_or(rest.len(), |n| at + n + 1);
            return Some(&rest[end..]);
        }
        from = at + 1;
    }
    Some("")
}

fn attribute(attributes: &str, wanted: &str) -> Option<String> {
    let mut rest = attributes;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if rest.is_empty() {
            return None;
        }
        let name_end = rest.find(|c: char| c == '=' || c.is_ascii_whitespace()).unwrap_or(rest.len());
        let name = &rest[..name_end];
        rest = rest[name_end..].trim_start();
        let mut value = "";
        if let Some(after) = rest.strip_prefix('=') {
            let after = after.trim_start();
            let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''));
            let (from, stop): (usize, usize) = match quote {
                Some(q) => (1, after[1..].find(q).map_or(after.len(), |n| n + 1)),
                None => (0, after.find(|c: char| c.is_ascii_whitespace()).unwrap_or(after.len())),
            };
            value = &after[from..stop];
            rest = after.get(stop + from..).unwrap_or("");
        } else if name_end == 0 {
            return None;
        }
        if name.eq_ignore_ascii_case(wanted) {
            return Some(unescape(value));
        }
    }
}

/// Undoes character references; what is none stays as it is.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        match rest.bytes().take(34).position(|b| b == b';') {
            Some(end) if end > 1 && rest.as_bytes()[1..end].iter().all(|b| b.is_ascii_alphanumeric() || *b == b'#') => {
                mail_parser::decoders::html::add_html_token(&mut out, &rest.as_bytes()[..=end], false);
                rest = &rest[end + 1..];
            }
            _ => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    // A character reference can name what no message may hold.
    out.retain(|c| !c.is_control() || matches!(c, '\n' | '\t'));
    out
}

/// The text so far, and how the next words join it.
#[derive(Default)]
struct Page {
    out: String,
    /// Line ends owed before the next word: 1 for a new line, 2 for a new paragraph.
    owed: usize,
    space: bool,
    quote: usize,
    pre: usize,
    /// Open lists: `None` for bullets, the next number otherwise. Bounded.
    lists: Vec<Option<usize>>,
    /// Within elements with `display:none` and the like: the name of the outermost and how deep it is nested in itself.
    hidden: Option<(String, usize)>,
    link: Option<(String, usize)>,
}

impl Page {
    fn text(&mut self, raw: &str) {
        if self.hidden.is_some() || raw.is_empty() {
            return;
        }
        let text = unescape(raw);
        if self.pre > 0 {
            for (i, line) in text.split('\n').enumerate() {
                if i > 0 {
                    self.owed = 0;
                    self.new_line();
                }
                if !line.is_empty() {
                    self.word(line.trim_end_matches('\r'));
                }
            }
            return;
        }
        let gap = |c: char| c.is_ascii_whitespace() || c == '\u{a0}';
        if text.starts_with(gap) {
            self.space = true;
        }
        let mut words = text.split(gap).filter(|w| !w.is_empty()).peekable();
        while let Some(word) = words.next() {
            // Padding that newsletters put into their preview text.
            if word
                .chars()
                .all(|c| matches!(c, '\u{200b}'..='\u{200f}' | '\u{feff}' | '\u{34f}' | '\u{ad}' | '\u{2007}'))
            {
                continue;
            }
            self.word(word);
            self.space = words.peek().is_some() || text.ends_with(gap);
        }
    }

    fn word(&mut self, word: &str) {
        self.settle();
        if self.space && !self.out.is_empty() && !self.out.ends_with(['\n', ' ']) {
            self.out.push(' ');
        }
        self.space = false;
        self.out.push_str(word);
    }

    /// Writes the line ends that are owed.
    fn settle(&mut self) {
        if self.owed == 0 {
            if self.out.is_empty() {
                self.mark();
            }
            return;
        }
        for _ in 0..std::mem::take(&mut self.owed) {
            self.new_line();
        }
    }

    fn new_line(&mut self) {
        if !self.out.is_empty() {
            let kept = self.out.trim_end_matches(' ').len();
            self.out.truncate(kept);
            self.out.push('\n');
        }
        self.mark();
    }

    fn mark(&mut self) {
        for _ in 0..self.quote.min(MAX_QUOTE) {
            self.out.push('>');
        }
        if self.quote > 0 {
            self.out.push(' ');
        }
        self.space = false;
    }

    fn owe(&mut self, lines: usize) {
        self.owed = if self.out.is_empty() { 0 } else { self.owed.max(lines) };
        self.space = false;
    }

    fn tag(&mut self, tag: &Tag<'_>) {
        if let Some((name, depth)) = &mut self.hidden {
            if *name == tag.name {
                *depth = if tag.closing { depth.saturating_sub(1) } else { *depth + 1 };
                if *depth == 0 {
                    self.hidden = None;
                }
            }
            return;
        }
        if !tag.closing && self.hides(tag) {
            return;
        }
        match tag.name.as_str() {
            "br" => {
                self.settle();
                self.owed = 1;
            }
            "p" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "table" | "dl" | "figure" => self.owe(2),
            "div" | "tr" | "section" | "article" | "header" | "footer" | "address" | "dt" | "dd" | "caption"
            | "form" | "center" => self.owe(1),
            "blockquote" => self.on_quote(tag.closing),
            "pre" => {
                self.owe(1);
                self.pre = if tag.closing { self.pre.saturating_sub(1) } else { self.pre + 1 };
            }
            "ul" | "ol" => self.on_list(tag),
            "li" if !tag.closing => self.on_item(),
            "td" | "th" => self.space = true,
            "hr" => {
                self.owe(1);
                self.word("-----");
                self.owe(1);
            }
            "a" => self.on_link(tag),
            "img" => self.on_picture(tag),
            _ => {}
        }
    }

    fn hides(&mut self, tag: &Tag<'_>) -> bool {
        if matches!(
            tag.name.as_str(),
            "br" | "img" | "hr" | "input" | "meta" | "link" | "td" | "th" | "tr" | "li" | "p" | "body" | "html"
        ) || tag.attributes.ends_with('/')
        {
            return false;
        }
        let style = attribute(tag.attributes, "style").unwrap_or_default().to_ascii_lowercase().replace(' ', "");
        let hidden =
            style.contains("display:none") || style.contains("visibility:hidden") || style.contains("mso-hide:all");
        if hidden || tag.name == "head" {
            self.hidden = Some((tag.name.clone(), 1));
        }
        hidden || tag.name == "head"
    }

    fn on_quote(&mut self, closing: bool) {
        self.owe(1);
        // Also when empty: the first line of a mail can be quoted.
        self.quote = if closing { self.quote.saturating_sub(1) } else { self.quote + 1 };
    }

    fn on_list(&mut self, tag: &Tag<'_>) {
        self.owe(1);
        if tag.closing {
            self.lists.pop();
        } else if self.lists.len() < 20 {
            self.lists.push((tag.name == "ol").then_some(1));
        }
    }

    fn on_item(&mut self) {
        self.owe(1);
        let indent = "  ".repeat(self.lists.len().saturating_sub(1).min(4));
        let mark = match self.lists.last_mut() {
            Some(Some(n)) => {
                *n += 1;
                format!("{indent}{}. ", *n - 1)
            }
            _ => format!("{indent}• "),
        };
        self.word(&mark);
    }

    fn on_link(&mut self, tag: &Tag<'_>) {
        if let Some((href, from)) = self.link.take() {
            let words = self.out.get(from..).unwrap_or("").trim().to_owned();
            let bare = |s: &str| {
                s.trim_start_matches("https://")
                    .trim_start_matches("http://")
                    .trim_start_matches("mailto:")
                    .trim_end_matches('/')
                    .to_lowercase()
            };
            if bare(&words) != bare(&href) {
                self.space = !words.is_empty();
                self.word(&format!("<{href}>"));
            }
        }
        if tag.closing {
            return;
        }
        let href = attribute(tag.attributes, "href")
            .map(|h| h.trim().replace([' ', '\n', '\t', '<', '>'], ""))
            .unwrap_or_default();
        let scheme = href.split(':').next().unwrap_or("").to_ascii_lowercase();
        if matches!(scheme.as_str(), "http" | "https" | "mailto" | "xmpp" | "tel" | "ftp") && href.len() <= 2000 {
            self.link = Some((href, self.out.len()));
        }
    }

    fn on_picture(&mut self, tag: &Tag<'_>) {
        let alt = attribute(tag.attributes, "alt").unwrap_or_default();
        let alt = alt.trim();
        if !alt.is_empty() && alt.len() <= 200 {
            self.word(&format!("[{}]", alt.replace('\n', " ")));
            self.space = true;
        }
    }

    fn finish(mut self) -> String {
        if self.link.is_some() {
            self.on_link(&Tag { name: "a".into(), closing: true, attributes: "" });
        }
        self.out.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pages_become_text() {
        let cases = [
            ("<p>Hello <b>you</b></p><p>and   me</p>", "Hello you\n\nand me"),
            ("a<br>b<br/><br />c", "a\nb\n\nc"),
            ("<div>a</div><div>b</div>", "a\nb"),
            ("see <a href=\"https://x.test/?a=1&amp;b=2\">this</a>.", "see this <https://x.test/?a=1&b=2>."),
            ("<a href='https://x.test/'>x.test</a>", "x.test"),
            ("<a href='javascript:alert(1)'>no</a>", "no"),
            ("<ul><li>a</li><li>b</li></ul><ol><li>c<li>d</ol>", "• a\n• b\n1. c\n2. d"),
            ("yes<blockquote>no<br>never</blockquote>", "yes\n> no\n> never"),
            ("<blockquote>no</blockquote>yes", "> no\nyes"),
            ("<head><title>t</title><style>p{}</style></head><body>x<script>if(a<b){}</script>y", "xy"),
            ("<pre>a  b\n  c</pre>d", "a  b\n  c\nd"),
            ("1 &lt; 2 &amp;&amp; 3 &#62; &#x32; &nosuch; &copy", "1 < 2 && 3 > 2 &nosuch; &copy"),
            ("<div style='display: none'>hidden<div>too</div></div>shown", "shown"),
            ("<img src=x alt='a cat'> <img src=y>", "[a cat]"),
            ("a < b and c<d", "a < b and c<d"),
            ("x<!-- <p>y</p> -->z<!doctype html>", "xz"),
            ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"),
            ("a&nbsp;b&#0;&#27;c", "a bc"),
            ("", ""),
            ("<", "<"),
            ("<a href", "<a href"),
            // A name longer than any element's, with a letter of two octets where it is cut.
            ("a<blockquotestrikeblockquotestrikébold>b", "ab"),
        ];
        for (html, text) in cases {
            assert_eq!(html_to_text(html), text, "{html:?}");
        }
    }

    #[test]
    fn depth_costs_nothing() {
        for unit in [
            "<div>",
            "<blockquote>",
            "<ul><li>",
            "<a href='http://x'>",
            "<a \"",
            "<b style='display:none'>",
            "<!--",
            "<pre>",
            "&",
        ] {
            let html = unit.repeat(200_000 / unit.len());
            let text = html_to_text(&html);
            assert!(text.len() <= html.len() * 4, "{unit}: {}", text.len());
        }
    }

    proptest! {
        #[test]
        fn any_input_does_no_harm(html in "(<|>|/|!|--|a|é|\"|'|=|&|;|#|href|style|pre|blockquote|script|li|ol| |\n){0,60}") {
            html_to_text(&html);
        }
    }
}
