//! One line from a server, borrowed from the buffer that it was read into (RFC 1459 section 2.3.1, IRCv3 message tags).

use std::borrow::Cow;

/// Parameters of one line, at most; the last takes what is left (RFC 2812 section 2.3).
const MAX_PARAMS: usize = 15;

/// A line, taken apart. Absent parts are empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    whole: &'a str,
    tags: &'a str,
    /// Who sent it: `nick!user@host` or a server's name.
    pub(crate) source: Source<'a>,
    /// A word or three digits, as it was sent.
    pub(crate) command: &'a str,
    params: [&'a str; MAX_PARAMS],
    count: u8,
}

/// `nick!user@host`, or a server's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Source<'a>(pub(crate) &'a str);

impl<'a> Source<'a> {
    /// The nick, or the server's name.
    pub(crate) fn nick(self) -> &'a str {
        self.0.split(['!', '@']).next().unwrap_or_default()
    }

    /// `user@host`, where both are told.
    pub(crate) fn host(self) -> Option<&'a str> {
        self.0.split_once('!').map(|(_, host)| host).filter(|h| h.contains('@'))
    }

    /// A server speaks, not a person (or nobody is named, which means the server).
    pub(crate) fn is_server(self) -> bool {
        self.0.is_empty() || (!self.0.contains('!') && self.0.contains('.'))
    }
}

impl<'a> Line<'a> {
    /// Takes a line apart, without its end; `None` where there is no command.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let mut rest = text.trim_start_matches(' ');
        let mut tags = "";
        if let Some(tagged) = rest.strip_prefix('@') {
            (tags, rest) = tagged.split_once(' ')?;
            rest = rest.trim_start_matches(' ');
        }
        let mut source = Source::default();
        if let Some(sourced) = rest.strip_prefix(':') {
            let (name, after) = sourced.split_once(' ')?;
            source = Source(name);
            rest = after.trim_start_matches(' ');
        }
        let (command, mut rest) = rest.split_once(' ').unwrap_or((rest, ""));
        if command.is_empty() || !command.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return None;
        }
        let mut params = [""; MAX_PARAMS];
        let mut count = 0;
        while count < MAX_PARAMS {
            rest = rest.trim_start_matches(' ');
            if rest.is_empty() {
                break;
            }
            if let Some(last) = rest.strip_prefix(':') {
                params[count] = last;
                count += 1;
                break;
            }
            if count == MAX_PARAMS - 1 {
                params[count] = rest;
                count += 1;
                break;
            }
            let (param, after) = rest.split_once(' ').unwrap_or((rest, ""));
            params[count] = param;
            count += 1;
            rest = after;
        }
        Some(Self { whole: text, tags, source, command, params, count: count as u8 })
    }

    /// This line's tags and source with another command: what several lines together say.
    pub(crate) fn saying(&self, command: &'a str, target: &'a str, text: &'a str) -> Self {
        let mut params = [""; MAX_PARAMS];
        (params[0], params[1]) = (target, text);
        Self { whole: self.whole, tags: self.tags, source: self.source, command, params, count: 2 }
    }

    /// The line as it was read.
    pub(crate) fn whole(&self) -> &'a str {
        self.whole
    }

    /// Whether it has any tag.
    pub(crate) fn is_tagged(&self) -> bool {
        !self.tags.is_empty()
    }

    /// All parameters.
    pub(crate) fn params(&self) -> &[&'a str] {
        &self.params[..usize::from(self.count)]
    }

    /// A parameter; empty where there is none.
    pub(crate) fn param(&self, index: usize) -> &'a str {
        self.params.get(index).copied().unwrap_or_default()
    }

    /// The last parameter; empty where there is none.
    pub(crate) fn last(&self) -> &'a str {
        self.params().last().copied().unwrap_or_default()
    }

    /// Everything from this parameter on, as words for a person.
    pub(crate) fn words(&self, from: usize) -> String {
        self.params().get(from..).unwrap_or_default().join(" ")
    }

    /// The value of a tag; empty where the tag has none.
    pub(crate) fn tag(&self, name: &str) -> Option<Cow<'a, str>> {
        self.tags.split(';').find_map(|tag| {
            let (key, value) = tag.split_once('=').unwrap_or((tag, ""));
            (key == name && !key.is_empty()).then(|| unescape(value))
        })
    }
}

/// The escapes of tag values (IRCv3 message tags, "Escaping values").
fn unescape(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return Cow::Borrowed(value);
    }
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some(':') => out.push(';'),
            Some('s') => out.push(' '),
            Some('r') => out.push('\r'),
            Some('n') => out.push('\n'),
            Some(other) => out.push(other),
            None => {}
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_are_taken_apart() {
        type Case<'a> = (&'a str, &'a str, &'a str, &'a [&'a str]);
        let cases: &[Case<'_>] = &[
            ("PING :x y", "", "PING", &["x y"]),
            (":irc.test 001 me :Hello there", "irc.test", "001", &["me", "Hello there"]),
            ("@a=b;time=now :n!u@h PRIVMSG #c :", "n!u@h", "PRIVMSG", &["#c", ""]),
            (":n!u@h  JOIN   #c", "n!u@h", "JOIN", &["#c"]),
            ("MODE #c +o a ", "", "MODE", &["#c", "+o", "a"]),
            (
                "A 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 :17",
                "",
                "A",
                &["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15 16 :17"],
            ),
        ];
        for (text, source, command, params) in cases {
            let line = Line::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((line.source.0, line.command, line.params()), (*source, *command, *params), "{text}");
        }
        for none in ["", " ", ":only.a.source", "@only=tags", ":s ", "@a :s", "PRIV/MSG x"] {
            assert_eq!(Line::parse(none), None, "{none:?}");
        }
    }

    #[test]
    fn tags_are_unescaped() {
        let line = Line::parse(r"@msgid=a\:b\s\\c;empty;+typing=active X").expect("a line");
        assert_eq!(line.tag("msgid").as_deref(), Some(r"a;b \c"));
        assert_eq!(line.tag("empty").as_deref(), Some(""));
        assert_eq!(line.tag("+typing").as_deref(), Some("active"));
        assert_eq!(line.tag("other"), None);
    }

    #[test]
    fn sources_are_persons_or_servers() {
        assert_eq!((Source("n!u@h").nick(), Source("n!u@h").host()), ("n", Some("u@h")));
        assert_eq!((Source("irc.test").nick(), Source("irc.test").host()), ("irc.test", None));
        assert!(Source("irc.test").is_server() && Source("").is_server());
        assert!(!Source("n!u@h.x").is_server() && !Source("nick").is_server());
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[@:]?[ -~]{0,80}|\\PC{0,60}") {
            if let Some(line) = Line::parse(&text) {
                let _ = (line.tag("time"), line.last(), line.words(1), line.source.host());
            }
        }
    }
}
