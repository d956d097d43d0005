//! Words for people: the core's translation files and those of the bridges, looked up as late as possible, in the reader's language.
//!
//! A file holds one line a text: `key = words with {placeholders}`. `#` begins a comment line, `\n` is a line break. A language falls back to
//! its base and then to English (`fr-CA` → `fr` → `en`); in each of them the bridge's own file is asked before the core's.

use std::collections::HashMap;
use std::sync::Arc;

use isthmus_bridge::{Lang, Text};

/// The core's own files, one per language.
const CORE: &[(&str, &str)] = &[("en", include_str!("texts/en.txt")), ("fr", include_str!("texts/fr.txt"))];

/// The language that every file set has.
const LAST_RESORT: &str = "en";

type Lines = HashMap<String, String>;

/// A set of files: lines by language.
#[derive(Debug, Clone, Default)]
struct Book {
    languages: HashMap<String, Lines>,
}

impl Book {
    fn add(&mut self, lang: &str, file: &str) {
        self.languages.entry(lang.to_ascii_lowercase()).or_default().extend(parse(file));
    }

    fn line(&self, lang: &str, key: &str) -> Option<&str> {
        self.languages.get(lang)?.get(key).map(String::as_str)
    }
}

/// All translation files of this process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Texts {
    books: Arc<Books>,
}

#[derive(Debug, Clone, Default)]
struct Books {
    core: Book,
    bridges: HashMap<String, Book>,
}

impl Default for Texts {
    fn default() -> Self {
        Self::new([])
    }
}

impl Texts {
    /// The core's files and those of these bridges: name and [`Bridge::texts`](isthmus_bridge::Bridge::texts).
    pub fn new<'a>(bridges: impl IntoIterator<Item = (&'a str, &'a [(Lang, &'a str)])>) -> Self {
        let mut books = Books::default();
        for (lang, file) in CORE {
            books.core.add(lang, file);
        }
        for (name, files) in bridges {
            let book = books.bridges.entry(name.to_owned()).or_default();
            for (lang, file) in files {
                book.add(lang.as_str(), file);
            }
        }
        Self { books: Arc::new(books) }
    }

    /// The words of a text for a reader of `lang`; `bridge` is the bridge that it comes from (`""`: the core's own).
    /// A key that no file has gives the key itself.
    pub fn render(&self, bridge: &str, text: &Text, lang: &Lang) -> String {
        match text {
            Text::Plain(words) => words.clone(),
            Text::Key { name, args } => match self.find(bridge, name, lang) {
                Some(line) => fill(line, args),
                None => name.to_string(),
            },
            // A kind of text that a newer contract has: what it shows of itself.
            other => other.to_string(),
        }
    }

    /// The words of a key of the core's.
    pub fn core(&self, key: &'static str, lang: &Lang) -> String {
        self.render("", &Text::key(key), lang)
    }

    /// The language that a reader of `lang` gets words in; where a file lacks a line it is English.
    pub fn spoken(&self, bridge: &str, lang: &Lang) -> String {
        let has = |lang: &str| {
            let own = self.books.bridges.get(bridge).is_some_and(|book| book.languages.contains_key(lang));
            own || self.books.core.languages.contains_key(lang)
        };
        chain(lang).find(|lang| has(lang)).unwrap_or_else(|| LAST_RESORT.to_owned())
    }

    /// Whether some file has words for the key in exactly this language.
    pub fn has(&self, bridge: &str, key: &str, lang: &str) -> bool {
        let own = self.books.bridges.get(bridge).and_then(|b| b.line(lang, key));
        own.or_else(|| self.books.core.line(lang, key)).is_some()
    }

    /// The words that mean the same by chat (`word.cancel = cancel, annuler`), in the reader's language and in English, in lower case.
    pub fn words(&self, key: &str, lang: &Lang) -> Vec<String> {
        let mut all = Vec::new();
        for lang in chain(lang) {
            let line = self.books.core.line(&lang, key).unwrap_or_default();
            all.extend(line.split(',').map(|w| w.trim().to_lowercase()).filter(|w| !w.is_empty()));
        }
        all
    }

    fn find(&self, bridge: &str, key: &str, lang: &Lang) -> Option<&str> {
        let own = self.books.bridges.get(bridge);
        chain(lang).find_map(|lang| own.and_then(|b| b.line(&lang, key)).or_else(|| self.books.core.line(&lang, key)))
    }
}

/// `fr-CA` → `fr-ca`, `fr`, `en` (RFC 4647, 3.4 "lookup").
fn chain(lang: &Lang) -> impl Iterator<Item = String> {
    let mut next = Some(lang.as_str().to_ascii_lowercase());
    let mut english = false;
    std::iter::from_fn(move || match next.take() {
        Some(tag) => {
            english |= tag == LAST_RESORT;
            next = tag.rsplit_once('-').map(|(base, _)| base.to_owned());
            Some(tag)
        }
        None if !english => {
            english = true;
            Some(LAST_RESORT.to_owned())
        }
        None => None,
    })
}

fn parse(file: &str) -> impl Iterator<Item = (String, String)> {
    file.lines().filter_map(|line| {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        let (key, words) = line.split_once('=')?;
        Some((key.trim().to_owned(), words.trim().replace("\\n", "\n")))
    })
}

/// Fills placeholders in one pass: what stands in a value is never read as a placeholder.
fn fill(line: &str, args: &[(String, String)]) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        rest = &rest[open..];
        let Some(close) = rest.find('}') else { break };
        match args.iter().find(|(k, _)| *k == rest[1..close]) {
            Some((_, value)) => out.push_str(value),
            None => out.push_str(&rest[..=close]),
        }
        rest = &rest[close + 1..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn keys(file: &str) -> BTreeSet<String> {
        parse(file).map(|(k, _)| k).collect()
    }

    fn placeholders(words: &str) -> BTreeSet<&str> {
        words.split('{').skip(1).filter_map(|p| p.split_once('}').map(|(name, _)| name)).collect()
    }

    #[test]
    fn every_language_has_every_key_with_the_same_placeholders() {
        let english: HashMap<_, _> = parse(CORE[0].1).collect();
        for (lang, file) in &CORE[1..] {
            assert_eq!(keys(file), keys(CORE[0].1), "keys of {lang}");
            for (key, words) in parse(file) {
                assert_eq!(placeholders(&words), placeholders(&english[&key]), "{lang}: {key}");
            }
        }
    }

    /// Every literal `Text::key("…")` and `core("…")` of the core's own source has its line.
    #[test]
    fn no_key_that_the_source_names_is_missing() {
        let known = keys(CORE[0].1);
        let mut missing = BTreeSet::new();
        let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
        let mut seen = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("the source is there") {
                let path = entry.expect("readable").path();
                // What stands in tests may be a bridge's key.
                if ["tests", "tests.rs", "sample.rs"].iter().any(|t| path.ends_with(t)) {
                    continue;
                }
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|e| e == "rs") {
                    let source = std::fs::read_to_string(&path).expect("readable");
                    // What stands in a file's tests may be a bridge's key.
                    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
                    for start in ["Text::key(\"", ".core(\"", "self.say(\"", "means(\""] {
                        for part in source.split(start).skip(1) {
                            let key = part.split('"').next().unwrap_or_default();
                            seen += 1;
                            if !known.contains(key) {
                                missing.insert(format!("{key} ({})", path.display()));
                            }
                        }
                    }
                }
            }
        }
        assert!(seen > 100, "the search itself still finds keys: {seen}");
        assert!(missing.is_empty(), "missing: {missing:#?}");
    }

    #[test]
    fn a_language_falls_back_to_its_base_and_to_english() {
        let files = [
            (Lang::new("en"), "a = one\nb = two\nc = three"),
            (Lang::new("fr"), "a = un\nb = deux"),
            (Lang::new("fr-CA"), "a = ein"),
        ];
        let texts = Texts::new([("x", files.as_slice())]);
        let say = |key: &'static str, lang: &str| texts.render("x", &Text::key(key), &Lang::new(lang));
        assert_eq!([say("a", "fr-CA"), say("b", "FR-ca"), say("c", "fr-CA")], ["ein", "deux", "three"]);
        assert_eq!([say("a", "de"), say("a", ""), say("nothing", "fr")], ["one", "one", "nothing"]);
        let spoken = |lang: &str| texts.spoken("x", &Lang::new(lang));
        assert_eq!(["FR-ca", "fr-BE", "de", ""].map(spoken), ["fr-ca", "fr", "en", "en"]);
    }

    #[test]
    fn a_bridge_speaks_before_the_core_and_the_core_fills_in() {
        let files = [(Lang::new("en"), "word.cancel = stop")];
        let texts = Texts::new([("x", files.as_slice())]);
        assert_eq!(texts.render("x", &Text::key("word.cancel"), &Lang::default()), "stop");
        assert_ne!(texts.render("y", &Text::key("word.cancel"), &Lang::default()), "stop");
    }

    #[test]
    fn a_value_is_never_read_as_a_placeholder() {
        let args = [("a".to_owned(), "{b}".to_owned()), ("b".to_owned(), "secret".to_owned())];
        assert_eq!(fill("<{a}> {c} {", &args), "<{b}> {c} {");
    }
}
