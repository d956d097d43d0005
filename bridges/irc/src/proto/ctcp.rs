//! CTCP: a command between \x01 in a message or its answer in a notice.

/// `\x01ACTION waves\x01` → `ACTION`, `waves`. The closing byte may be missing.
pub(crate) fn parse(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('\u{1}')?;
    let inner = inner.strip_suffix('\u{1}').unwrap_or(inner);
    let (command, rest) = inner.split_once(' ').unwrap_or((inner, ""));
    (!command.is_empty()).then_some((command, rest))
}

/// A command or an answer to one.
pub(crate) fn make(command: &str, rest: &str) -> String {
    let rest = rest.replace('\u{1}', "");
    if rest.is_empty() { format!("\u{1}{command}\u{1}") } else { format!("\u{1}{command} {rest}\u{1}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found() {
        assert_eq!(parse("\u{1}ACTION waves a flag\u{1}"), Some(("ACTION", "waves a flag")));
        assert_eq!(parse("\u{1}VERSION\u{1}"), Some(("VERSION", "")));
        assert_eq!(parse("\u{1}ACTION unclosed"), Some(("ACTION", "unclosed")));
        assert_eq!((parse("hello"), parse("\u{1}\u{1}")), (None, None));
        assert_eq!(make("PING", "1\u{1}2"), "\u{1}PING 12\u{1}");
    }
}
