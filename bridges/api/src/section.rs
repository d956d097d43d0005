//! A bridge's part of the configuration. Every fault is collected, so that all are shown at once, each with its key and what is expected.

use std::fmt;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde_json::{Map, Value};

/// A fault of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub struct ConfigError {
    /// The file (or environment variable) it stands in.
    pub file: Option<String>,
    /// The line in the file, from 1.
    pub line: Option<usize>,
    /// The key, dotted: `smtp.port`.
    pub key: String,
    /// What is wrong and what is expected, in one sentence.
    pub what: String,
}

impl ConfigError {
    /// A fault of this key.
    pub fn new(key: impl Into<String>, what: impl Into<String>) -> Self {
        Self { file: None, line: None, key: key.into(), what: what.into() }
    }
}

/// `bridges/email.toml:7: smtp.port: expected a port number (1 to 65535), found "smtp"`
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
            if let Some(line) = self.line {
                write!(f, "{line}:")?;
            }
            f.write_str(" ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)
    }
}

/// A bridge's section: its table, without the keys that the core has read (`kind`, `domain`, `secret`, …).
#[derive(Debug)]
pub struct Section<'a> {
    /// The bridge's name.
    pub name: &'a str,
    /// The domain of its JIDs.
    pub domain: &'a str,
    /// The configuration folder: relative paths of files that the administrator wrote are relative to it.
    pub folder: &'a Path,
    /// The folder for what the program writes.
    pub data_dir: &'a Path,
    /// Domains whose users are local (`server.domains`).
    pub local_domains: &'a [String],
    /// The table.
    pub table: Table,
}

/// A table that is read key by key. Keys that nobody asked for are faults of their own.
#[derive(Default)]
pub struct Table {
    path: String,
    map: Map<String, Value>,
    known: Vec<String>,
    errors: Vec<ConfigError>,
}

impl fmt::Debug for Table {
    /// The keys alone: secrets stand among the values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&String> = self.map.keys().collect();
        f.debug_struct("Table").field("path", &self.path).field("keys", &keys).finish_non_exhaustive()
    }
}

/// Keys of a bridge's file that are the core's own; a bridge never sees them.
pub const CORE_KEYS: [&str; 7] = ["kind", "domain", "secret", "secret_file", "server", "access", "avatar"];

/// Tables of a bridge's file with values of its settings. The core reads them by the settings that the bridge declares; it never sees them either.
pub const CHOSEN_KEYS: [&str; 3] = ["defaults", "locks", "networks"];

impl Table {
    /// The table at this dotted path (`""` for the top).
    pub fn new(path: impl Into<String>, map: Map<String, Value>) -> Self {
        Self { path: path.into(), map, known: Vec::new(), errors: Vec::new() }
    }

    fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        self.known.push(key.to_owned());
        self.map.remove(key)
    }

    /// Records a fault of a key of this table.
    pub fn fault(&mut self, key: &str, what: impl Into<String>) {
        let key = self.key(key);
        self.errors.push(ConfigError::new(key, what));
    }

    fn wrong(&mut self, key: &str, expected: &str, found: &Value) {
        self.fault(key, format!("expected {expected}, found {}", describe(found)));
    }

    /// Whether the key is there and still unread.
    pub fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// A value that `read` makes of it; `expected` completes "expected …".
    pub fn read<T>(&mut self, key: &str, expected: &str, read: impl FnOnce(&Value) -> Option<T>) -> Option<T> {
        let value = self.take(key)?;
        let made = read(&value);
        if made.is_none() {
            self.wrong(key, expected, &value);
        }
        made
    }

    /// Text.
    pub fn string(&mut self, key: &str) -> Option<String> {
        self.read(key, "text in quotes", |v| v.as_str().map(str::to_owned))
    }

    /// Text that must be there; `expected` completes "expected …" (`a domain name such as "email.example.org"`).
    pub fn required(&mut self, key: &str, expected: &str) -> Option<String> {
        if !self.has(key) {
            self.known.push(key.to_owned());
            self.fault(key, format!("is missing: expected {expected}"));
            return None;
        }
        self.read(key, expected, |v| v.as_str().filter(|s| !s.trim().is_empty()).map(str::to_owned))
    }

    /// Yes or no.
    pub fn bool(&mut self, key: &str) -> Option<bool> {
        self.read(key, "true or false", Value::as_bool)
    }

    /// A whole number in this range.
    pub fn integer(&mut self, key: &str, min: i64, max: i64) -> Option<i64> {
        // An environment variable arrives as text where it is quoted.
        self.read(key, &format!("a whole number from {min} to {max}"), |v| {
            v.as_i64().or_else(|| v.as_str()?.trim().parse().ok()).filter(|n| (min..=max).contains(n))
        })
    }

    /// A port number.
    pub fn port(&mut self, key: &str) -> Option<u16> {
        self.read(key, "a port number (1 to 65535)", |v| {
            v.as_u64()
                .or_else(|| v.as_str()?.trim().parse().ok())
                .filter(|n| (1..=65535).contains(n))
                .and_then(|n| u16::try_from(n).ok())
        })
    }

    /// A list of texts.
    pub fn strings(&mut self, key: &str) -> Option<Vec<String>> {
        self.read(key, "a list of texts in quotes", |v| {
            v.as_array()?.iter().map(|i| i.as_str().map(str::to_owned)).collect()
        })
    }

    /// One of these words.
    pub fn choice(&mut self, key: &str, words: &[&'static str]) -> Option<&'static str> {
        let expected = format!("one of {}", words.join(", "));
        self.read(key, &expected, |v| words.iter().find(|w| Some(**w) == v.as_str()).copied())
    }

    /// A secret, from `key` or from the file that `<key>_file` names (relative to `folder`), without a trailing line end.
    pub fn secret(&mut self, key: &str, folder: &Path) -> Option<SecretString> {
        let file_key = format!("{key}_file");
        let inline = self.read(key, "text in quotes", |v| match v {
            Value::String(s) => Some(s.clone()),
            Value::Number(n) => Some(n.to_string()), // an environment variable of digits arrives as a number
            _ => None,
        });
        let Some(file) = self.string(&file_key) else { return inline.map(SecretString::from) };
        if inline.is_some() {
            self.fault(&file_key, format!("stands beside {key}: expected only one of them"));
            return None;
        }
        let path = folder.join(&file);
        match std::fs::read_to_string(&path) {
            Ok(text) => Some(SecretString::from(text.trim_end_matches(['\r', '\n']).to_owned())),
            Err(e) => {
                self.fault(&file_key, format!("expected a readable file, but {}: {e}", path.display()));
                None
            }
        }
    }

    /// A path, relative ones to `folder`.
    pub fn path(&mut self, key: &str, folder: &Path) -> Option<PathBuf> {
        self.string(key).map(|p| folder.join(p))
    }

    /// A table within this one. Give it back with [`close`](Self::close).
    pub fn table(&mut self, key: &str) -> Option<Table> {
        let path = self.key(key);
        self.read(key, "a table", |v| v.as_object().cloned()).map(|map| Table::new(path, map))
    }

    /// A list of tables (`[[numbers]]`).
    pub fn tables(&mut self, key: &str) -> Vec<Table> {
        let path = self.key(key);
        self.read(key, "a list of tables", |v| {
            v.as_array()?.iter().map(|i| i.as_object().cloned()).collect::<Option<Vec<_>>>()
        })
        .unwrap_or_default()
        .into_iter()
        .enumerate()
        .map(|(i, map)| Table::new(format!("{path}[{i}]"), map))
        .collect()
    }

    /// Names of the keys that are still unread: for tables whose keys are names (`[networks."libera.chat"]`).
    pub fn names(&self) -> Vec<String> {
        self.map.keys().cloned().collect()
    }

    /// Takes over the faults of an inner table, which is finished.
    pub fn close(&mut self, inner: Table) {
        self.errors.extend(inner.finish());
    }

    /// The faults of this table; keys that nobody read are among them.
    pub fn finish(mut self) -> Vec<ConfigError> {
        let unread: Vec<String> = self.map.keys().cloned().collect();
        for key in unread {
            let near = nearest(&key, &self.known).map(|k| format!("; did you mean {k}?")).unwrap_or_default();
            self.known.sort();
            self.known.dedup();
            let expected = if self.known.is_empty() {
                "nothing here".to_owned()
            } else {
                format!("one of {}", self.known.join(", "))
            };
            self.fault(&key, format!("unknown key: expected {expected}{near}"));
        }
        self.errors
    }
}

/// What was found, for an error: never a long value, for it may be a secret in the wrong place.
fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(b) => format!("{b}"),
        Value::Number(n) => format!("the number {n}"),
        Value::String(s) if s.chars().count() <= 24 => format!("{s:?}"),
        Value::String(_) => "a longer text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a table".to_owned(),
    }
}

/// The known key that differs by at most two edits.
fn nearest<'k>(key: &str, known: &'k [String]) -> Option<&'k str> {
    known
        .iter()
        .map(|k| (distance(key, k), k))
        .filter(|(d, _)| *d <= 2)
        .min_by_key(|(d, _)| *d)
        .map(|(_, k)| k.as_str())
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let cost = usize::from(ca != *cb);
            let next = (diagonal + cost).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = row[j + 1];
            row[j + 1] = next;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;
    use serde_json::json;

    fn table(value: Value) -> Table {
        let Value::Object(map) = value else { panic!("a table") };
        Table::new("smtp", map)
    }

    #[test]
    fn says_key_and_what_is_expected() {
        let mut t = table(json!({"port": "smtp", "hots": "127.0.0.1"}));
        assert_eq!(t.port("port"), None);
        assert_eq!(t.string("host"), None);
        let all: Vec<String> = t.finish().iter().map(ToString::to_string).collect();
        assert_eq!(
            all,
            [
                "smtp.port: expected a port number (1 to 65535), found \"smtp\"",
                "smtp.hots: unknown key: expected one of host, port; did you mean host?"
            ]
        );
    }

    #[test]
    fn a_secret_of_digits_from_the_environment() {
        let mut t = table(json!({"password": 123456}));
        assert_eq!(
            t.secret("password", Path::new("/")).map(|s| s.expose_secret().to_owned()),
            Some("123456".to_owned())
        );
        assert!(t.finish().is_empty());
    }

    #[test]
    fn a_long_value_is_not_repeated() {
        let mut t = table(json!({"port": "a secret that was put under the wrong key"}));
        t.port("port");
        assert!(t.finish()[0].to_string().contains("a longer text"));
    }
}
