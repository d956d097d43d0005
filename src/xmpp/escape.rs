//! XEP-0106: characters that a local part may not hold, as `\xx`.

use std::borrow::Cow;

/// The ten characters of XEP-0106 section 3.1 and their codes.
const CODES: [(char, &str); 10] = [
    (' ', "20"),
    ('"', "22"),
    ('&', "26"),
    ('\'', "27"),
    ('/', "2f"),
    (':', "3a"),
    ('<', "3c"),
    ('>', "3e"),
    ('@', "40"),
    ('\\', "5c"),
];

/// Escapes a local part. A backslash is escaped only where what follows would read as an escape (section 4.2), so that `c:\net` stays readable.
pub fn escape(local: &str) -> Cow<'_, str> {
    if !local.contains(|c| CODES.iter().any(|(special, _)| *special == c)) {
        return Cow::Borrowed(local);
    }
    let mut out = String::with_capacity(local.len() + 8);
    for (i, c) in local.char_indices() {
        match CODES.iter().find(|(special, _)| *special == c) {
            Some(('\\', code)) if decode(&local[i + 1..]).is_some() => {
                out.push('\\');
                out.push_str(code);
            }
            Some((special, code)) if *special != '\\' => {
                out.push('\\');
                out.push_str(code);
            }
            _ => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Undoes [`escape`]. What is not one of the ten escapes stays as it is.
pub fn unescape(local: &str) -> Cow<'_, str> {
    if !local.contains('\\') {
        return Cow::Borrowed(local);
    }
    let mut out = String::with_capacity(local.len());
    let mut rest = local;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(c) = decode(after) {
            out.push(c);
            rest = &after[2..];
        } else {
            out.push('\\');
            rest = after;
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The character of the two hexadecimal digits at the start, if it is one of the ten. Codes are lower case (section 3.1), but nodeprep makes them so anyway.
fn decode(after: &str) -> Option<char> {
    let code = after.get(..2)?;
    CODES.iter().find(|(_, c)| c.eq_ignore_ascii_case(code)).map(|(special, _)| *special)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_the_specification() {
        for (plain, escaped) in [
            ("space cadet", r"space\20cadet"),
            ("call me \"ishmael\"", r"call\20me\20\22ishmael\22"),
            ("at&t guy", r"at\26t\20guy"),
            ("d'artagnan", r"d\27artagnan"),
            ("/.fanboy", r"\2f.fanboy"),
            ("::foo::", r"\3a\3afoo\3a\3a"),
            ("<foo>", r"\3cfoo\3e"),
            ("user@host", r"user\40host"),
            (r"c:\net", r"c\3a\net"),
            (r"c:\\net", r"c\3a\\net"),
            (r"c:\cool stuff", r"c\3a\cool\20stuff"),
            (r"c:\5commas", r"c\3a\5c5commas"),
            ("alice@example.net", r"alice\40example.net"),
        ] {
            assert_eq!(escape(plain), escaped, "escape {plain:?}");
            assert_eq!(unescape(escaped), plain, "unescape {escaped:?}");
        }
    }

    #[test]
    fn what_is_no_escape_stays() {
        for same in [r"a\", r"a\4", r"a\zz", r"a\é", r"\"] {
            assert_eq!(unescape(same), same);
        }
    }

    proptest! {
        #[test]
        fn comes_back_as_it_was(local in "[ -~é]{0,24}") {
            let escaped = escape(&local);
            prop_assert_eq!(unescape(&escaped), local.as_str());
        }
    }
}
