//! Templates of a provider file: words with `{placeholders}` that the bridge fills, escaped for where they go.

use std::collections::BTreeMap;
use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

/// What fills a placeholder.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Filling {
    /// Words.
    Text(String),
    /// A whole number.
    Number(u64),
    /// Yes or no: chooses in `{unicode?yes:no}`.
    Flag(bool),
    /// Several words: repeated in a form, a list in JSON.
    List(Vec<String>),
}

/// Not what it says: a text or a secret may be in it.
impl fmt::Debug for Filling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Filling")
    }
}

/// What the placeholders of one request stand for. A name that is absent leaves its whole field out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fillings {
    values: BTreeMap<&'static str, Filling>,
    credentials: BTreeMap<String, SecretString>,
}

/// Names that the bridge fills, beyond the credentials.
pub(crate) const NAMES: &[&str] = &[
    "to",
    "from",
    "text",
    "gsm_text",
    "ucs2_text",
    "ucs2_hex",
    "unicode",
    "segments",
    "key",
    "report_url",
    "media",
    "media_first",
    "to_list",
];

impl Fillings {
    /// With these credentials.
    pub(crate) fn new(credentials: BTreeMap<String, SecretString>) -> Self {
        Self { values: BTreeMap::new(), credentials }
    }

    /// Sets one of [`NAMES`].
    pub(crate) fn set(&mut self, name: &'static str, value: Filling) {
        debug_assert!(NAMES.contains(&name), "{name} is not declared");
        self.values.insert(name, value);
    }

    /// Sets words.
    pub(crate) fn text(&mut self, name: &'static str, value: impl Into<String>) {
        self.set(name, Filling::Text(value.into()));
    }

    fn get(&self, name: &str) -> Option<Filling> {
        match self.values.get(name) {
            Some(value) => Some(value.clone()),
            None => self.credentials.get(name).map(|secret| Filling::Text(secret.expose_secret().to_owned())),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Words(String),
    Place(String),
    Choice { name: String, yes: String, no: String },
}

/// Words with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Piece>);

impl Template {
    /// Reads `{name}`, `{name?yes:no}`; `{{` and `}}` are braces. Names must be among `known`.
    pub(crate) fn read(text: &str, known: &dyn Fn(&str) -> bool) -> Result<Self, String> {
        let (mut pieces, mut words, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            words.push_str(&rest[..at]);
            let (brace, after) = rest[at..].split_at(1);
            if let Some(after) = after.strip_prefix(brace) {
                words.push_str(brace);
                rest = after;
                continue;
            }
            let inner = after.split_once('}').filter(|_| brace == "{");
            let Some((inner, after)) = inner else {
                return Err(format!("has a lone {brace}: expected {{name}}, or {brace}{brace} for the brace itself"));
            };
            if !words.is_empty() {
                pieces.push(Piece::Words(std::mem::take(&mut words)));
            }
            pieces.push(piece(inner, known)?);
            rest = after;
        }
        words.push_str(rest);
        if !words.is_empty() {
            pieces.push(Piece::Words(words));
        }
        Ok(Self(pieces))
    }

    /// Filled; `None` where a name that it holds is absent. `escape` goes over what is filled in, not over the words around it.
    pub(crate) fn fill(&self, with: &Fillings, escape: &dyn Fn(&str) -> String) -> Option<String> {
        let mut filled = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Words(words) => filled.push_str(words),
                Piece::Choice { name, yes, no } => match with.get(name)? {
                    Filling::Flag(true) => filled.push_str(yes),
                    _ => filled.push_str(no),
                },
                Piece::Place(name) => match with.get(name)? {
                    Filling::Text(text) => filled.push_str(&escape(&text)),
                    Filling::Number(number) => filled.push_str(&number.to_string()),
                    Filling::Flag(flag) => filled.push_str(if flag { "true" } else { "false" }),
                    Filling::List(all) => filled.push_str(&escape(&all.join(","))),
                },
            }
        }
        Some(filled)
    }

    /// Filled without escaping.
    pub(crate) fn plain(&self, with: &Fillings) -> Option<String> {
        self.fill(with, &str::to_owned)
    }

    /// As a JSON value: a placeholder that stands alone keeps its type.
    pub(crate) fn json(&self, with: &Fillings) -> Option<Value> {
        if let [Piece::Place(name)] = self.0.as_slice() {
            return Some(match with.get(name)? {
                Filling::Text(text) => Value::from(text),
                Filling::Number(number) => Value::from(number),
                Filling::Flag(flag) => Value::from(flag),
                Filling::List(all) => Value::from(all),
            });
        }
        self.plain(with).map(Value::from)
    }

    /// As form or query values: a list that stands alone becomes several.
    pub(crate) fn several(&self, with: &Fillings) -> Vec<String> {
        if let [Piece::Place(name)] = self.0.as_slice()
            && let Some(Filling::List(all)) = with.get(name)
        {
            return all;
        }
        self.plain(with).into_iter().collect()
    }

    /// As a URL: the base at its very beginning stands as it is, everything else is one path or query part.
    pub(crate) fn url(&self, with: &Fillings) -> Option<String> {
        let (first, rest) = match self.0.split_first() {
            Some((Piece::Place(base), rest)) => (Self(vec![Piece::Place(base.clone())]).plain(with)?, rest),
            _ => (String::new(), self.0.as_slice()),
        };
        let base = first.trim_end_matches('/').to_owned();
        Some(base + &Self(rest.to_vec()).fill(with, &percent)?)
    }
}

fn piece(inner: &str, known: &dyn Fn(&str) -> bool) -> Result<Piece, String> {
    let (name, choice) = match inner.split_once('?') {
        Some((name, choice)) => (name, Some(choice)),
        None => (inner, None),
    };
    if !known(name) {
        return Err(format!(
            "names an unknown field {{{name}}}: expected one of {}, or a name under [credentials]",
            NAMES.join(", ")
        ));
    }
    match choice.map(|choice| choice.split_once(':')) {
        None => Ok(Piece::Place(name.to_owned())),
        Some(Some((yes, no))) => Ok(Piece::Choice { name: name.to_owned(), yes: yes.to_owned(), no: no.to_owned() }),
        Some(None) => Err(format!("{{{inner}}}: expected {{{name}?yes:no}}")),
    }
}

/// Everything but unreserved characters (RFC 3986, 2.3) as `%XX`.
pub(crate) fn percent(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn known(name: &str) -> bool {
        NAMES.contains(&name) || name == "base"
    }

    fn fillings() -> Fillings {
        let mut with = Fillings::new([("base".to_owned(), SecretString::from("http://a/b/".to_owned()))].into());
        with.text("to", "+1 5/5");
        with.set("unicode", Filling::Flag(true));
        with.set("segments", Filling::Number(2));
        with.set("media", Filling::List(vec!["x".to_owned(), "y".to_owned()]));
        with
    }

    fn read(text: &str) -> Template {
        Template::read(text, &known).expect("a template")
    }

    #[test]
    fn fills_and_escapes() {
        let with = fillings();
        assert_eq!(read("{base}/x/{to}?a=b").url(&with).as_deref(), Some("http://a/b/x/%2B1%205%2F5?a=b"));
        assert_eq!(read("{{{to}}}").plain(&with).as_deref(), Some("{+1 5/5}"));
        assert_eq!(read("{unicode?2:0}").plain(&with).as_deref(), Some("2"));
        assert_eq!(read("{segments}").json(&with), Some(Value::from(2)));
        assert_eq!(read("{media}").several(&with), ["x", "y"]);
        assert_eq!(read("{media}").json(&with), Some(Value::from(vec!["x", "y"])));
        assert_eq!(read("a{from}").plain(&with), None, "an absent name leaves the field out");
    }

    #[test]
    fn faults_name_the_field() {
        for (text, words) in
            [("{sender}", "unknown field {sender}"), ("{to", "lone {"), ("to}", "lone }"), ("{unicode?x}", "yes:no")]
        {
            let error = Template::read(text, &known).expect_err(text);
            assert!(error.contains(words), "{error}");
        }
    }

    proptest! {
        #[test]
        fn nothing_filled_in_leaves_its_place(text in "\\PC{0,40}") {
            let mut with = fillings();
            with.text("to", text.clone());
            let url = read("http://h/{to}/end").url(&with).expect("filled");
            let parsed = url::Url::parse(&url).expect("a URL");
            prop_assert_eq!(parsed.host_str(), Some("h"));
            if text != "." && text != ".." {
                prop_assert_eq!(parsed.path_segments().expect("segments").count(), 2);
            }
            prop_assert!(parsed.query().is_none() && parsed.fragment().is_none());
        }
    }
}
