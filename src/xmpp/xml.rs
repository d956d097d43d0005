//! A small writer of well-formed XML: whatever is put in comes out escaped, and what XML 1.0 forbids is left out.

use minidom::Element;

use super::ns;

/// An element being written. Elements are closed in the order of [`close`](Self::close), the rest by [`finish`](Self::finish).
#[derive(Debug, Default)]
pub struct Xml {
    out: String,
    open: Vec<&'static str>,
    /// The start tag of the innermost element still lacks its `>`.
    tag: bool,
}

impl Xml {
    /// A stanza: without a namespace of its own, which is the stream's.
    pub fn stanza(name: &'static str) -> Self {
        let mut xml = Self { out: String::with_capacity(256), open: Vec::with_capacity(4), tag: true };
        xml.out.push('<');
        xml.out.push_str(name);
        xml.open.push(name);
        xml
    }

    /// An attribute of the element just opened.
    pub fn attr(&mut self, name: &'static str, value: &str) -> &mut Self {
        debug_assert!(self.tag, "attribute {name} after content");
        self.out.push(' ');
        self.out.push_str(name);
        self.out.push_str("='");
        escape_into(&mut self.out, value, true);
        self.out.push('\'');
        self
    }

    /// An attribute, if there is a value.
    pub fn attr_opt(&mut self, name: &'static str, value: Option<&str>) -> &mut Self {
        if let Some(value) = value {
            self.attr(name, value);
        }
        self
    }

    /// Opens a child in this namespace; `""` is that of its parent.
    pub fn open(&mut self, name: &'static str, ns: &str) -> &mut Self {
        self.end_tag();
        self.out.push('<');
        self.out.push_str(name);
        self.open.push(name);
        self.tag = true;
        if !ns.is_empty() {
            self.attr("xmlns", ns);
        }
        self
    }

    /// Text in the innermost open element.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.end_tag();
        escape_into(&mut self.out, text, false);
        self
    }

    /// Closes the innermost open element.
    pub fn close(&mut self) -> &mut Self {
        if let Some(name) = self.open.pop() {
            if self.tag {
                self.out.push_str("/>");
                self.tag = false;
            } else {
                self.out.push_str("</");
                self.out.push_str(name);
                self.out.push('>');
            }
        }
        self
    }

    /// A child without content.
    pub fn empty(&mut self, name: &'static str, ns: &str) -> &mut Self {
        self.open(name, ns).close()
    }

    /// A child that holds only text.
    pub fn leaf(&mut self, name: &'static str, ns: &str, text: &str) -> &mut Self {
        self.open(name, ns).text(text).close()
    }

    /// A finished element, with its own namespace. One of `jabber:client` takes the stream's.
    pub fn element(&mut self, element: &Element) -> &mut Self {
        self.end_tag();
        let text = String::from(element);
        if element.is(element.name(), ns::CLIENT) {
            self.out.push_str(&text.replacen(" xmlns='jabber:client'", "", 1));
        } else {
            self.out.push_str(&text);
        }
        self
    }

    /// An element that is text already, as [`finish`](Self::finish) gave it.
    pub fn finished(&mut self, element: &str) -> &mut Self {
        self.end_tag();
        self.out.push_str(element);
        self
    }

    /// Closes what is open and gives the text.
    pub fn finish(mut self) -> String {
        while !self.open.is_empty() {
            self.close();
        }
        self.out
    }

    fn end_tag(&mut self) {
        if std::mem::take(&mut self.tag) {
            self.out.push('>');
        }
    }
}

/// Whether XML 1.0 (section 2.2) allows a character.
pub fn is_xml_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

fn escape_into(out: &mut String, text: &str, attribute: bool) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' if attribute => out.push_str("&apos;"),
            // A literal line end in an attribute would be read as a space (XML 1.0 section 3.3.3), and CR as LF anywhere (2.11).
            '\n' if attribute => out.push_str("&#10;"),
            '\t' if attribute => out.push_str("&#9;"),
            '\r' => out.push_str("&#13;"),
            c if is_xml_char(c) => out.push(c),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_leaves_out_what_is_forbidden() {
        let mut xml = Xml::stanza("message");
        xml.attr("to", "o'neill&co@x").leaf("body", "", "1 < 2\u{0}\u{FFFE}]]>");
        assert_eq!(xml.finish(), "<message to='o&apos;neill&amp;co@x'><body>1 &lt; 2]]&gt;</body></message>");
    }

    #[test]
    fn closes_what_is_open() {
        let mut xml = Xml::stanza("iq");
        xml.attr("type", "result").open("query", ns::VERSION).open("name", "");
        assert_eq!(xml.finish(), "<iq type='result'><query xmlns='jabber:iq:version'><name/></query></iq>");
    }
}
