//! A provider file as TOML: its tables for reading key by key, and the line that a key stands on, for faults.

use isthmus_bridge::ConfigError;
use isthmus_bridge::section::Table;
use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A file that was read.
#[derive(Debug)]
pub(super) struct Document<'t> {
    file: &'t str,
    text: &'t str,
}

impl<'t> Document<'t> {
    /// Of this name in messages, with this text.
    pub(super) fn new(file: &'t str, text: &'t str) -> Self {
        Self { file, text }
    }

    /// Its top table.
    pub(super) fn table(&self) -> Result<Table, Vec<ConfigError>> {
        let wrong = |line: Option<usize>, what: String| {
            let mut error = ConfigError::new("", what);
            (error.file, error.line) = (Some(self.file.to_owned()), line);
            vec![error]
        };
        let table = toml::from_str::<toml::Table>(self.text).map_err(|e| {
            let line = e.span().map(|span| line_at(self.text, span.start));
            wrong(line, e.message().to_owned())
        })?;
        match serde_json::to_value(table) {
            Ok(Value::Object(map)) => Ok(Table::new("", map)),
            _ => Err(wrong(None, "expected a table".to_owned())),
        }
    }

    /// The faults with file and line.
    pub(super) fn located(&self, faults: Vec<ConfigError>) -> Vec<ConfigError> {
        let root = DeTable::parse(self.text).ok();
        let locate = |mut fault: ConfigError| {
            fault.file = Some(self.file.to_owned());
            fault.line = root.as_ref().and_then(|root| self.line(root.get_ref(), &fault.key));
            fault
        };
        faults.into_iter().map(locate).collect()
    }

    /// The line of the last step of a dotted key that is there.
    fn line(&self, root: &DeTable<'_>, key: &str) -> Option<usize> {
        let mut rest = key;
        let (mut table, mut value): (Option<&DeTable<'_>>, Option<&Spanned<DeValue<'_>>>) = (Some(root), None);
        let mut line = None;
        while !rest.is_empty() {
            if let Some(bracket) = rest.strip_prefix('[') {
                let Some((number, after)) = bracket.split_once(']') else { break };
                let Some(DeValue::Array(items)) = value.map(Spanned::get_ref) else { break };
                let Some(item) = number.parse::<usize>().ok().and_then(|n| items.get(n)) else { break };
                (value, rest) = (Some(item), after);
                line = Some(line_at(self.text, item.span().start));
            } else {
                // A key may hold dots itself: the longest that fits is meant.
                let fits = |name: &str| {
                    rest.strip_prefix(name).is_some_and(|r| r.is_empty() || r.starts_with('.') || r.starts_with('['))
                };
                let entries = table.into_iter().flat_map(DeTable::iter).filter(|(k, _)| fits(k.get_ref()));
                let Some((name, found)) = entries.max_by_key(|(k, _)| k.get_ref().len()) else { break };
                line = Some(line_at(self.text, name.span().start));
                (value, rest) = (Some(found), &rest[name.get_ref().len()..]);
            }
            table = match value.map(Spanned::get_ref) {
                Some(DeValue::Table(inner)) => Some(inner),
                _ => None,
            };
            rest = rest.strip_prefix('.').unwrap_or(rest);
        }
        line
    }
}

fn line_at(text: &str, position: usize) -> usize {
    text.as_bytes().iter().take(position).filter(|b| **b == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_line() {
        let text = "name = \"x\"\n\n[send]\nurl = \"y\"\n[[webhook]]\npath = \"a\"\n[[webhook]]\npath = 3\n[webhook.message]\nfrom = \"field:a\"\n";
        let document = Document::new("p.toml", text);
        let lines = |key: &str| document.located(vec![ConfigError::new(key, "wrong")])[0].line;
        assert_eq!(lines("name"), Some(1));
        assert_eq!(lines("send.url"), Some(4));
        assert_eq!(lines("webhook[1].path"), Some(8));
        assert_eq!(lines("webhook[1].message.from"), Some(10));
        assert_eq!(lines("send.method"), Some(3), "a key that is missing has the line of its table");
        assert_eq!(lines("nothing"), None);
    }

    #[test]
    fn a_syntax_error_has_its_line() {
        let faults = Document::new("p.toml", "a = 1\nb = \n").table().expect_err("broken");
        assert_eq!((faults[0].file.as_deref(), faults[0].line), (Some("p.toml"), Some(2)));
    }
}
