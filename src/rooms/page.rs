//! One page of a long list (XEP-0059).

use std::ops::Range;

use minidom::Element;

use crate::xmpp::xml::Xml;

/// XEP-0059.
pub const RSM: &str = "http://jabber.org/protocol/rsm";
/// Entries of one page, at most.
pub const MOST: usize = 100;

/// Which page is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Entries, at most; 0 asks for the count alone.
    pub max: usize,
    /// From where.
    pub at: At,
}

/// Where a page begins or ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// From this place on, counted from 0.
    Index(usize),
    /// Behind the entry of this id.
    After(String),
    /// Before the entry of this id; `None`: the last page.
    Before(Option<String>),
}

/// What a list so far has for a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// These entries.
    Entries(Range<usize>),
    /// The list has to grow first.
    Later,
    /// No entry has that id (XEP-0059 section 2.2: `item-not-found`).
    Unknown,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { max: MOST, at: At::Index(0) }
    }
}

/// Reads the `<set/>` of a question; `None`: there is none.
pub fn wanted(question: &Element) -> Option<Wanted> {
    let set = question.get_child("set", RSM)?;
    let text = |name| set.get_child(name, RSM).map(|c| c.text().trim().to_owned());
    let max = text("max").and_then(|m| m.parse().ok()).unwrap_or(MOST).min(MOST);
    let at = match (text("after"), text("before"), text("index")) {
        (Some(after), ..) if !after.is_empty() => At::After(after),
        (_, Some(before), _) => At::Before(Some(before).filter(|b| !b.is_empty())),
        (.., Some(index)) => At::Index(index.parse().unwrap_or(0)),
        _ => At::Index(0),
    };
    Some(Wanted { max, at })
}

/// The page of a list; `complete`: nothing more comes.
pub fn page<T>(list: &[T], id: impl Fn(&T) -> &str, complete: bool, wanted: &Wanted) -> Page {
    let place = |id_wanted: &str| list.iter().position(|entry| id(entry) == id_wanted);
    let (from, to) = match &wanted.at {
        At::Index(from) => (*from, from.saturating_add(wanted.max)),
        At::After(after) => match place(after) {
            Some(at) => (at + 1, at + 1 + wanted.max),
            None if complete => return Page::Unknown,
            None => return Page::Later,
        },
        At::Before(Some(before)) => match place(before) {
            Some(at) => return Page::Entries(at.saturating_sub(wanted.max)..at),
            None if complete => return Page::Unknown,
            None => return Page::Later,
        },
        At::Before(None) if !complete => return Page::Later,
        At::Before(None) => (list.len().saturating_sub(wanted.max), list.len()),
    };
    if !complete && (to > list.len() || wanted.max == 0) {
        return Page::Later;
    }
    let to = to.min(list.len());
    Page::Entries(from.min(to)..to)
}

/// Writes the `<set/>` of an answer. The count is only told where it is known.
pub fn write(xml: &mut Xml, first: Option<(usize, &str)>, last: Option<&str>, count: Option<usize>) {
    xml.open("set", RSM);
    if let (Some((index, first)), Some(last)) = (first, last) {
        xml.open("first", "").attr("index", &index.to_string()).text(first).close();
        xml.leaf("last", "", last);
    }
    if let Some(count) = count {
        xml.leaf("count", "", &count.to_string());
    }
    xml.close();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(inner: &str) -> Wanted {
        let text = format!("<query xmlns='q'><set xmlns='{RSM}'>{inner}</set></query>");
        wanted(&text.parse().expect("XML")).expect("a set")
    }

    #[test]
    fn pages_of_a_list_that_may_still_grow() {
        let list: Vec<String> = (0..10).map(|n| format!("r{n}")).collect();
        let of = |inner: &str, complete| page(&list, |e| e, complete, &ask(inner));
        for (inner, complete, expected) in [
            ("<max>3</max>", false, Page::Entries(0..3)),
            ("<max>3</max><after>r7</after>", true, Page::Entries(8..10)),
            ("<max>3</max><after>r7</after>", false, Page::Later),
            ("<max>3</max><after>r9</after>", true, Page::Entries(10..10)),
            ("<max>3</max><before/>", true, Page::Entries(7..10)),
            ("<max>3</max><before/>", false, Page::Later),
            ("<max>3</max><before>r1</before>", false, Page::Entries(0..1)),
            ("<max>3</max><index>4</index>", false, Page::Entries(4..7)),
            ("<max>3</max><index>99</index>", true, Page::Entries(10..10)),
            ("<max>0</max>", false, Page::Later),
            ("<max>0</max>", true, Page::Entries(0..0)),
            ("<after>nobody</after>", true, Page::Unknown),
            ("<after>nobody</after>", false, Page::Later),
            ("<max>100000</max>", true, Page::Entries(0..10)),
        ] {
            assert_eq!(of(inner, complete), expected, "{inner} {complete}");
        }
        assert_eq!(wanted(&"<query xmlns='q'/>".parse().expect("XML")), None);
    }
}
