//! Settings: declared by a bridge, stored and resolved by the core (room > network > user > administrator's defaults > built in).

use std::collections::BTreeMap;
use std::fmt;

use crate::text::Text;

/// Where a setting can be set by a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Scope {
    /// For all of the bridge.
    Gateway,
    /// For one network.
    Network,
    /// For one room.
    Room,
    /// For one contact.
    Contact,
}

/// What a setting holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingKind {
    /// Yes or no.
    Bool,
    /// A whole number in this range.
    Number {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// One line of text.
    Line,
    /// Several lines.
    Lines,
    /// One of these: value and label.
    Choice(&'static [(&'static str, &'static str)]),
    /// Sealed at rest, never shown again, never in logs or exports.
    Secret,
}

/// What values must be beside what their kind says. The text `expected.<key>` tells a person who fills in a form.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Rule {
    /// Completes "expected …" for administrators, as their configuration is told of.
    pub expected: &'static str,
    /// Whether a value, which is not empty, is one.
    pub holds: fn(&str) -> bool,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.expected == other.expected
    }
}

impl Eq for Rule {}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rule").field(&self.expected).finish()
    }
}

/// A setting, declared.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting {
    /// Its key: field name in forms, key in `[defaults]`.
    pub key: &'static str,
    /// The key that it had in earlier versions: a configuration or a database that has it is read as if it had [`key`](Self::key).
    pub formerly: Option<&'static str>,
    /// What it holds.
    pub kind: SettingKind,
    /// Where a user can set it.
    pub scopes: &'static [Scope],
    /// Its value where nobody set it; `""` for none.
    pub default: &'static str,
    /// Only administrators set it.
    pub admin_only: bool,
    /// Words for people: what it does.
    pub label: Text,
    /// What else its values must be, where they are not empty.
    pub rule: Option<Rule>,
}

impl Setting {
    /// A setting that users may set in these places.
    pub fn new(key: &'static str, kind: SettingKind, scopes: &'static [Scope], default: &'static str) -> Self {
        let label = Text::key(format!("setting.{key}"));
        Self { key, formerly: None, kind, scopes, default, admin_only: false, label, rule: None }
    }

    /// The same, which had this key before. Not for secrets: what is stored of them is bound to their key.
    #[must_use]
    pub fn formerly(mut self, key: &'static str) -> Self {
        self.formerly = Some(key);
        self
    }

    /// The same, for values that are `expected` (`"a SHA-256"`); what `holds` for is one. Needs the text `expected.<key>`.
    #[must_use]
    pub fn expecting(mut self, expected: &'static str, holds: fn(&str) -> bool) -> Self {
        self.rule = Some(Rule { expected, holds });
        self
    }

    /// The same, for administrators only.
    #[must_use]
    pub fn admin_only(mut self) -> Self {
        self.admin_only = true;
        self
    }
}

/// Values by key, as a form holds them: a field may have several.
#[derive(Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Values(BTreeMap<String, Vec<String>>);

impl Values {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// The first value of a field.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|v| v.first()).map(String::as_str)
    }

    /// All values of a field.
    pub fn all(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// `true`, `1` (XEP-0004), `yes`, `on`; `None` where the field is absent or holds something else.
    pub fn bool(&self, key: &str) -> Option<bool> {
        as_bool(self.get(key)?)
    }

    /// Sets the single value of a field.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.insert(key.into(), vec![value.into()]);
    }

    /// Sets all values of a field.
    pub fn set_all(&mut self, key: impl Into<String>, values: Vec<String>) {
        self.0.insert(key.into(), values);
    }

    /// With this value.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.set(key, value);
        self
    }

    /// Removes a field.
    pub fn remove(&mut self, key: &str) -> Option<Vec<String>> {
        self.0.remove(key)
    }

    /// Fields in order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_slice()))
    }

    /// No field.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What is in force at an address, for a user. Cheap to read, shared.
#[derive(Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Resolved {
    values: Vec<InForce>,
}

/// One value, read once: it is asked for with every message.
#[derive(Clone, PartialEq, Eq)]
struct InForce {
    key: &'static str,
    text: String,
    number: i64,
    yes: bool,
}

impl Resolved {
    /// The values in force, by the keys of the declared settings. The core has checked them against their kind.
    pub fn new(values: BTreeMap<&'static str, String>) -> Self {
        let read = |(key, text): (&'static str, String)| InForce {
            key,
            number: text.trim().parse().unwrap_or(0),
            yes: as_bool(&text).unwrap_or(false),
            text,
        };
        Self { values: values.into_iter().map(read).collect() }
    }

    fn find(&self, key: &str) -> Option<&InForce> {
        let at = self.values.binary_search_by(|value| value.key.cmp(key)).ok()?;
        self.values.get(at)
    }

    /// A value as text; `""` where there is none.
    pub fn str(&self, key: &str) -> &str {
        self.find(key).map_or("", |value| value.text.as_str())
    }

    /// A value as text, `None` where there is none.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.find(key).map(|value| value.text.as_str()).filter(|v| !v.is_empty())
    }

    /// A yes or no; `false` where there is none.
    pub fn bool(&self, key: &str) -> bool {
        self.find(key).is_some_and(|value| value.yes)
    }

    /// A number; 0 where there is none.
    pub fn number(&self, key: &str) -> i64 {
        self.find(key).map_or(0, |value| value.number)
    }
}

/// Keys only: a value may be a password.
impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Keys only: a value may be a password.
impl fmt::Debug for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.iter().map(|value| value.key)).finish()
    }
}

fn as_bool(value: &str) -> Option<bool> {
    let value = value.trim();
    let is = |words: &[&str]| words.iter().any(|word| value.eq_ignore_ascii_case(word));
    if is(&["true", "1", "yes", "on"]) {
        Some(true)
    } else if is(&["false", "0", "no", "off"]) {
        Some(false)
    } else {
        None
    }
}
