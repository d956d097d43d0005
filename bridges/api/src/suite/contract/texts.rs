//! A bridge's translation files, read as the core reads them: `key = words with {placeholders}`, `#` begins a comment line.

use std::collections::{BTreeMap, BTreeSet};

use crate::bridge::Bridge;
use crate::text::Text;

type File = BTreeMap<String, BTreeSet<String>>;

/// Keys and their placeholders, by language.
pub(super) struct Lines {
    languages: BTreeMap<String, File>,
}

impl Lines {
    /// Reads them; a line that is none, or a key that stands twice, is a fault.
    pub(super) fn of(bridge: &dyn Bridge) -> Self {
        let read = |(lang, file): &(crate::Lang, &str)| (lang.to_string(), read(lang.as_str(), file));
        Self { languages: bridge.texts().iter().map(read).collect() }
    }

    /// The text can be shown in every language, with all placeholders filled.
    pub(super) fn expect(&self, text: &Text, what: &str) {
        let Text::Key { name, args } = text else { return };
        assert!(!self.languages.is_empty(), "{what} says {name}, but the bridge has no translation files");
        for (lang, file) in &self.languages {
            let Some(placeholders) = file.get(&**name) else { panic!("{what} says {name}, which {lang} lacks") };
            for placeholder in placeholders {
                let given = args.iter().any(|(key, _)| key == placeholder);
                assert!(given, "{what} says {name} without the value of {{{placeholder}}}, which {lang} shows");
            }
        }
    }

    /// Same keys and same placeholders in every language.
    pub(super) fn agree(&self) {
        let Some((first_lang, first)) = self.languages.first_key_value() else { return };
        assert!(self.languages.contains_key("en"), "English is the last resort and must be among the languages");
        for (lang, file) in &self.languages {
            for (key, placeholders) in file {
                let other = first.get(key);
                assert!(other.is_some(), "{key} stands in {lang} and not in {first_lang}");
                assert_eq!(Some(placeholders), other, "placeholders of {key}: {lang} and {first_lang} differ");
            }
            for key in first.keys() {
                assert!(file.contains_key(key), "{key} stands in {first_lang} and not in {lang}");
            }
        }
    }
}

fn read(lang: &str, file: &str) -> File {
    let mut lines = File::new();
    for (number, line) in (1..).zip(file.lines().map(str::trim)) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((key, words)) = line.split_once('=') else {
            panic!("{lang}, line {number}: no `key = words`: {line}")
        };
        assert!(!words.trim().is_empty(), "{lang}, line {number}: no words");
        let twice = lines.insert(key.trim().to_owned(), placeholders(words));
        assert!(twice.is_none(), "{lang}, line {number}: {} stands twice", key.trim());
    }
    lines
}

fn placeholders(words: &str) -> BTreeSet<String> {
    words.split('{').skip(1).filter_map(|p| p.split_once('}')).map(|(name, _)| name.to_owned()).collect()
}
