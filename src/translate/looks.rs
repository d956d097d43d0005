//! How parts of a body look, said beside it: message markup (XEP-0394), and XHTML-IM (XEP-0071) for clients that still read that.

use isthmus_bridge::{Message, Span, Style};

use super::markup::MARKUP;
use crate::xmpp::link::{Fragment, StanzaWriter};

/// XEP-0071.
const XHTML_IM: &str = "http://jabber.org/protocol/xhtml-im";
const XHTML: &str = "http://www.w3.org/1999/xhtml";
/// Parts of one message that look somehow, at most; the rest is plain.
const MOST: usize = 200;

/// What stands beside the `body` as it is shown: the message's own behind what was put in front of it.
pub fn beside(message: &Message, body: &str) -> Option<Fragment> {
    let looks = message.looks.as_deref()?;
    let count = body.chars().count();
    let before = count.saturating_sub(message.body.chars().count());
    let within = |span: &Span| {
        let (start, end) = (span.start.saturating_add(before), span.end.saturating_add(before).min(count));
        (start < end).then(|| Span::new(start, end, span.style))
    };
    let spans: Vec<Span> = looks.spans.iter().filter_map(within).take(MOST).collect();
    let said: Vec<(&Span, &'static str)> = spans.iter().filter_map(|s| Some((s, markup(s.style)?))).collect();
    if spans.is_empty() || (said.is_empty() && !looks.html) {
        return None;
    }
    Some(Fragment::build(|w| {
        if !said.is_empty() {
            w.open("markup", Some(MARKUP));
            for (span, name) in said {
                w.open("span", None).attr("start", &span.start.to_string()).attr("end", &span.end.to_string());
                w.open(name, None).close().close();
            }
            w.close();
        }
        if looks.html {
            html(w, body, &spans);
        }
    }))
}

/// The element of XEP-0394; colours and lines below have none.
fn markup(style: Style) -> Option<&'static str> {
    match style {
        Style::Strong => Some("strong"),
        Style::Emphasis => Some("emphasis"),
        Style::Deleted => Some("deleted"),
        Style::Code => Some("code"),
        _ => None,
    }
}

fn html(w: &mut StanzaWriter<'_>, body: &str, spans: &[Span]) {
    w.open("html", Some(XHTML_IM)).open("body", Some(XHTML));
    // Where something begins or ends to look somehow, a piece ends.
    let mut edges: Vec<usize> = spans.iter().flat_map(|s| [s.start, s.end]).collect();
    edges.sort_unstable();
    edges.dedup();
    let (mut edges, mut at, mut rest) = (edges.into_iter().peekable(), 0, body);
    while !rest.is_empty() {
        while edges.next_if(|edge| *edge <= at).is_some() {}
        let long = edges.peek().map_or(usize::MAX, |edge| edge - at);
        let cut = rest.char_indices().nth(long).map_or(rest.len(), |(cut, _)| cut);
        let (piece, behind) = rest.split_at(cut);
        let css = css(spans.iter().filter(|s| s.start <= at && at < s.end).map(|s| s.style));
        if !css.is_empty() {
            w.open("span", None).attr("style", &css);
        }
        for (number, line) in piece.split('\n').enumerate() {
            if number > 0 {
                w.open("br", None).close();
            }
            w.text(line);
        }
        if !css.is_empty() {
            w.close();
        }
        (at, rest) = (at.saturating_add(long), behind);
    }
    w.close().close();
}

/// The properties that XEP-0071 (section 7.5) recommends.
fn css(styles: impl Iterator<Item = Style>) -> String {
    let mut all: Vec<String> = Vec::new();
    let mut lines: Vec<&str> = Vec::new();
    for style in styles {
        match style {
            Style::Strong => all.push("font-weight: bold".to_owned()),
            Style::Emphasis => all.push("font-style: italic".to_owned()),
            Style::Code => all.push("font-family: monospace".to_owned()),
            Style::Underlined => lines.push("underline"),
            Style::Deleted => lines.push("line-through"),
            Style::Coloured { text, behind } => {
                all.extend(text.map(|colour| format!("color: #{:06x}", colour & 0xff_ffff)));
                all.extend(behind.map(|colour| format!("background-color: #{:06x}", colour & 0xff_ffff)));
            }
            _ => {}
        }
    }
    if !lines.is_empty() {
        all.push(format!("text-decoration: {}", lines.join(" ")));
    }
    all.join("; ")
}

#[cfg(test)]
mod tests {
    use isthmus_bridge::Looks;

    use super::*;

    fn shown(body: &str, before: &str, spans: &[Span], html: bool) -> Option<String> {
        let mut message = Message::group(body);
        message.looks = Some(Box::new(Looks::new(spans.to_vec(), html)));
        Some(beside(&message, &format!("{before}{body}"))?.text().into_owned())
    }

    #[test]
    fn looks_stand_beside_the_words() {
        let strong = Span::new(2, 4, Style::Strong);
        assert_eq!(
            shown("ä bü", "/me ", &[strong], false).as_deref(),
            Some("<markup xmlns='urn:xmpp:markup:0'><span start='6' end='8'><strong/></span></markup>")
        );
        let red = Span::new(0, 3, Style::Coloured { text: Some(0xff_0000), behind: None });
        assert_eq!(shown("red", "", &[red], false), None, "markup has no colours");
        assert_eq!(shown("red", "", &[Span::new(3, 9, Style::Code), Span::new(2, 2, Style::Code)], true), None);
    }

    #[test]
    fn html_says_all_of_it() {
        let spans = [
            Span::new(0, 4, Style::Strong),
            Span::new(2, 7, Style::Coloured { text: Some(0xff_0000), behind: Some(0x00_000a) }),
            Span::new(6, 90, Style::Underlined),
            Span::new(6, 7, Style::Deleted),
        ];
        assert_eq!(
            shown("a<b>\nc d", "", &spans, true).as_deref(),
            Some(
                "<markup xmlns='urn:xmpp:markup:0'><span start='0' end='4'><strong/></span>\
                 <span start='6' end='7'><deleted/></span></markup>\
                 <html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'>\
                 <span style='font-weight: bold'>a&lt;</span>\
                 <span style='font-weight: bold; color: #ff0000; background-color: #00000a'>b&gt;</span>\
                 <span style='color: #ff0000; background-color: #00000a'><br/>c</span>\
                 <span style='color: #ff0000; background-color: #00000a; text-decoration: underline line-through'> </span>\
                 <span style='text-decoration: underline'>d</span></body></html>"
            )
        );
    }
}
