//! Words for people. A text is a key with arguments wherever a person reads it, and becomes words in their language as late as possible.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, LazyLock};

super::address::id!(
    /// A language tag (BCP 47) as in `xml:lang`: `en`, `fr-CA`.
    Lang
);

impl Lang {
    /// Nobody has said which: words are in English, and are not marked as such.
    pub fn unsaid() -> Self {
        static UNSAID: LazyLock<Lang> = LazyLock::new(|| Lang::new(""));
        UNSAID.clone()
    }

    /// Whether somebody has said which language; English may be said too.
    pub fn is_said(&self) -> bool {
        !self.as_str().is_empty()
    }
}

impl Default for Lang {
    fn default() -> Self {
        static ENGLISH: LazyLock<Lang> = LazyLock::new(|| Lang::new("en"));
        ENGLISH.clone()
    }
}

/// Words for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Text {
    /// Ready words, mostly the far network's own: a server's answer, a person's status.
    Plain(String),
    /// A line of the bridge's (or the core's) translation files, with the values of its `{placeholders}`.
    Key {
        /// The key in the translation file.
        name: Cow<'static, str>,
        /// Values by placeholder name.
        args: Vec<(String, String)>,
    },
}

impl Text {
    /// A key without arguments.
    pub fn key(name: impl Into<Cow<'static, str>>) -> Self {
        Self::Key { name: name.into(), args: Vec::new() }
    }

    /// Ready words.
    pub fn plain(words: impl Into<String>) -> Self {
        Self::Plain(words.into())
    }

    /// Adds the value of a placeholder; on ready words it changes nothing.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        if let Self::Key { args, .. } = &mut self {
            args.push((name.to_owned(), value.to_string()));
        }
        self
    }
}

impl From<&str> for Text {
    fn from(words: &str) -> Self {
        Self::plain(words)
    }
}

impl From<String> for Text {
    fn from(words: String) -> Self {
        Self::Plain(words)
    }
}

/// For logs: the ready words, or the key with its arguments. People see what the core's catalogue makes of it.
impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(words) => f.write_str(words),
            Self::Key { name, args } => {
                f.write_str(name)?;
                for (i, (k, v)) in args.iter().enumerate() {
                    write!(f, "{}{k}={v}", if i == 0 { " " } else { ", " })?;
                }
                Ok(())
            }
        }
    }
}
