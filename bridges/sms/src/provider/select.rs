//! Where in an answer or a webhook something stands.

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

/// A message that was read once and is looked at from many sides.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its body.
    pub body: &'a Bytes,
    /// The body as JSON, where it is.
    pub json: Option<&'a Value>,
    /// Fields of the form or the query.
    pub fields: &'a [(String, String)],
}

/// A place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Select {
    /// `/a/0/b`: a JSON pointer (RFC 6901); a part `*` is every item of a list.
    Pointer(Vec<String>),
    /// `field:Name` of a form or a query; `field:Name*` is every field that begins so.
    Field(String),
    /// `header:Name`.
    Header(String),
    /// `between:before|after` in the body as text; an empty `after` is the end of the line.
    Between(String, String),
    /// `key`: the message's own key, for interfaces that give no id.
    Key,
    /// `… or …`: the first of several places where something stands.
    Any(Vec<Select>),
}

impl Select {
    /// Reads one.
    pub(crate) fn read(text: &str) -> Option<Self> {
        if text.contains(" or ") {
            return text.split(" or ").map(|one| Self::read(one.trim())).collect::<Option<Vec<_>>>().map(Self::Any);
        }
        if text == "key" {
            return Some(Self::Key);
        }
        if text.is_empty() {
            return Some(Self::Pointer(Vec::new()));
        }
        if let Some(pointer) = text.strip_prefix('/') {
            let part = |p: &str| p.replace("~1", "/").replace("~0", "~");
            return Some(Self::Pointer(pointer.split('/').map(part).collect()));
        }
        let (kind, rest) = text.split_once(':')?;
        if rest.is_empty() {
            return None;
        }
        match kind {
            "field" => Some(Self::Field(rest.to_owned())),
            "header" => Some(Self::Header(rest.to_owned())),
            "between" => rest.split_once('|').map(|(a, b)| Self::Between(a.to_owned(), b.to_owned())),
            _ => None,
        }
    }

    /// What a fault says is expected.
    pub(crate) const EXPECTED: &str = "a place: \"/json/pointer\", \"field:Name\", \"header:Name\", \"between:before|after\", \"key\", or several of them with \" or \" between";

    /// Everything that stands there, as words.
    pub(crate) fn all(&self, seen: &Seen<'_>) -> Vec<String> {
        match self {
            Self::Pointer(parts) => {
                seen.json.map(|json| pointed(json, parts)).unwrap_or_default().into_iter().filter_map(words).collect()
            }
            Self::Field(name) => match name.strip_suffix('*') {
                Some(prefix) => begun(seen.fields, prefix),
                None => seen.fields.iter().filter(|(k, _)| k == name).map(|(_, v)| v.clone()).collect(),
            },
            Self::Header(name) => {
                seen.headers.get_all(name).iter().filter_map(|v| v.to_str().ok().map(str::to_owned)).collect()
            }
            Self::Between(before, after) => {
                between(&String::from_utf8_lossy(seen.body), before, after).into_iter().collect()
            }
            Self::Key => Vec::new(),
            Self::Any(places) => {
                places.iter().map(|p| p.all(seen)).find(|found| found.iter().any(|f| !f.is_empty())).unwrap_or_default()
            }
        }
    }

    /// The first thing that stands there and is not empty.
    pub(crate) fn one(&self, seen: &Seen<'_>) -> Option<String> {
        self.all(seen).into_iter().find(|found| !found.is_empty())
    }

    /// The JSON values that stand there.
    pub(crate) fn values<'j>(&self, json: &'j Value) -> Vec<&'j Value> {
        match self {
            Self::Pointer(parts) => pointed(json, parts),
            _ => Vec::new(),
        }
    }
}

/// Fields that begin so, in order of the number after.
fn begun(fields: &[(String, String)], prefix: &str) -> Vec<String> {
    let mut found: Vec<(u32, &String)> =
        fields.iter().filter_map(|(k, v)| Some((k.strip_prefix(prefix)?.parse().ok()?, v))).collect();
    found.sort_by_key(|(n, _)| *n);
    found.into_iter().map(|(_, v)| v.clone()).collect()
}

fn pointed<'j>(json: &'j Value, parts: &[String]) -> Vec<&'j Value> {
    let Some((first, rest)) = parts.split_first() else { return vec![json] };
    match json {
        Value::Array(items) if first == "*" => items.iter().flat_map(|item| pointed(item, rest)).collect(),
        Value::Array(items) => {
            first.parse::<usize>().ok().and_then(|n| items.get(n)).map(|item| pointed(item, rest)).unwrap_or_default()
        }
        Value::Object(map) => map.get(first).map(|item| pointed(item, rest)).unwrap_or_default(),
        _ => Vec::new(),
    }
}

fn words(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn between(text: &str, before: &str, after: &str) -> Option<String> {
    let (_, rest) = text.split_once(before)?;
    let end = if after.is_empty() { rest.find(['\r', '\n']).unwrap_or(rest.len()) } else { rest.find(after)? };
    Some(rest[..end].trim().to_owned())
}

/// A condition: what stands at a place is one of these words (a `*` at the end is any rest).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct When {
    /// Where.
    pub at: Select,
    /// One of these.
    pub is: Vec<String>,
}

impl When {
    /// Whether it holds.
    pub(crate) fn holds(&self, seen: &Seen<'_>) -> bool {
        self.at.all(seen).iter().any(|found| listed(&self.is, found))
    }
}

/// Whether a word is in a list; a `*` at the end of an entry is any rest. Case counts for nothing.
pub(crate) fn listed(list: &[String], word: &str) -> bool {
    let word = word.trim().to_ascii_lowercase();
    list.iter().any(|entry| {
        let entry = entry.to_ascii_lowercase();
        match entry.strip_suffix('*') {
            Some(prefix) => word.starts_with(prefix),
            None => word == entry,
        }
    })
}

/// The bytes of a field of a query or a form, for words in a charset of their own.
pub(crate) fn raw(encoded: &[u8], name: &str) -> Option<Vec<u8>> {
    encoded.split(|b| *b == b'&').find_map(|pair| {
        let at = pair.iter().position(|b| *b == b'=').unwrap_or(pair.len());
        (unescaped(&pair[..at]) == name.as_bytes()).then(|| unescaped(pair.get(at + 1..).unwrap_or_default()))
    })
}

fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => match after.get(..2).and_then(|two| hex::decode(two).ok()) {
                Some(one) => {
                    bytes.extend(one);
                    rest = &after[2..];
                }
                None => bytes.push(b'%'),
            },
            other => bytes.push(*other),
        }
    }
    bytes
}

/// The pairs of a query or a form; a name may come several times.
pub(crate) fn pairs(encoded: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(encoded).into_owned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn places_by_table() {
        let body = Bytes::from_static(b"Success \"id-1\"\nError");
        let json = json!({"a": [{"b": 1, "l": ["x", "y"]}, {"b": "two"}], "s/t": true});
        let fields = [
            ("Media1".to_owned(), "one".to_owned()),
            ("Media0".to_owned(), "zero".to_owned()),
            ("N".to_owned(), "5".to_owned()),
        ];
        let mut headers = HeaderMap::new();
        headers.insert("x-id", http::HeaderValue::from_static("h"));
        let seen = Seen { headers: &headers, body: &body, json: Some(&json), fields: &fields };
        for (place, found) in [
            ("/a/0/b", &["1"][..]),
            ("/a/*/b", &["1", "two"]),
            ("/a/*/l/*", &["x", "y"]),
            ("/s~1t", &["true"]),
            ("/nothing", &[]),
            ("field:N", &["5"]),
            ("field:Media*", &["zero", "one"]),
            ("header:X-Id", &["h"]),
            ("between:Success \"|\"", &["id-1"]),
            ("between:Success|", &["\"id-1\""]),
        ] {
            assert_eq!(Select::read(place).expect(place).all(&seen), found, "{place}");
        }
        assert_eq!(Select::read("nonsense"), None);
        assert_eq!(Select::read("field:"), None);
    }

    #[test]
    fn a_field_in_a_charset_of_its_own() {
        assert_eq!(raw(b"a=1&text=%04%16+x%2&b", "text"), Some(b"\x04\x16 x%2".to_vec()));
        assert_eq!(raw(b"a=1&b", "b"), Some(Vec::new()));
        assert_eq!(raw(b"a=1", "text"), None);
    }

    #[test]
    fn lists_with_a_star() {
        let list = ["4*".to_owned(), "Done".to_owned()];
        assert!(listed(&list, "429") && listed(&list, "done") && !listed(&list, "500"));
    }
}
