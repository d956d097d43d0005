//! Numbers: what a person types, what a network says, and the one spelling that both become.

use std::fmt;

use isthmus_bridge::ContactId;

use super::country::Country;

/// Digits of a short code, where the configuration does not name it: national numbers begin above.
const SHORT: std::ops::RangeInclusive<usize> = 3..=6;
/// Digits of an international number (E.164; the shortest that exist have seven).
const LONG: std::ops::RangeInclusive<usize> = 7..=15;
/// Letters of an alphanumeric sender, at most. Networks have 11; some let more through.
const NAME: usize = 32;

/// Who can be on the other side of a text, in one spelling each.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Number {
    /// `+15551234567`.
    Full(String),
    /// `12345`.
    Short(String),
    /// `bank`: receives nothing.
    Name(String),
}

impl Number {
    /// Reads the one spelling back.
    pub(crate) fn of(contact: &ContactId) -> Self {
        let id = contact.as_str();
        match id.as_bytes().first() {
            Some(b'+') => Self::Full(id.to_owned()),
            _ if id.bytes().all(|b| b.is_ascii_digit()) => Self::Short(id.to_owned()),
            _ => Self::Name(id.to_owned()),
        }
    }

    /// The one spelling.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Full(s) | Self::Short(s) | Self::Name(s) => s,
        }
    }

    /// As a contact.
    pub(crate) fn contact(&self) -> ContactId {
        ContactId::new(self.as_str())
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A number as logs show it: never whole.
#[derive(Clone, Copy)]
pub(crate) struct Shortened<'a>(pub &'a str);

impl fmt::Display for Shortened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters: Vec<char> = self.0.chars().filter(|c| !c.is_control()).collect();
        match letters.len() {
            0..=6 => f.write_str("…"),
            n => {
                write!(f, "{}…{}", letters[..3].iter().collect::<String>(), letters[n - 2..].iter().collect::<String>())
            }
        }
    }
}

impl fmt::Debug for Shortened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How numbers are completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Whose national numbers are meant.
    pub country: Option<Country>,
    /// Short codes that have more digits than usual.
    pub short_codes: Vec<String>,
}

impl Plan {
    /// What a person typed, or a local part. `None`: nothing that a text could go to or come from.
    pub(crate) fn typed(&self, text: &str) -> Option<Number> {
        let mut text = text.trim();
        while let Some(rest) = text.strip_prefix("tel:").or_else(|| text.strip_prefix("sms:")) {
            text = rest.trim();
        }
        let spoken = |c: char| c.is_ascii_digit() || matches!(c, '+' | ' ' | '-' | '.' | '(' | ')' | '/' | '\u{a0}');
        if !text.chars().all(spoken) {
            return name(text).map(Number::Name);
        }
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        if let Some(rest) = text.strip_prefix('+') {
            return if rest.contains('+') { None } else { full(&digits) };
        }
        if text.contains('+') {
            return None;
        }
        if SHORT.contains(&digits.len()) || self.short_codes.contains(&digits) {
            return Some(Number::Short(digits));
        }
        self.national(&digits)
    }

    /// A number as a network writes it. `international`: it writes them without the plus.
    pub(crate) fn heard(&self, text: &str, international: bool) -> Option<Number> {
        let text = text.trim();
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if digits && international && LONG.contains(&text.len()) && !self.short_codes.iter().any(|s| s == text) {
            return full(text.strip_prefix("00").unwrap_or(text));
        }
        self.typed(text)
    }

    fn national(&self, digits: &str) -> Option<Number> {
        let country = self.country?;
        if let Some(rest) = digits.strip_prefix(country.exit).or_else(|| digits.strip_prefix("00")) {
            return full(rest);
        }
        let national = match country.trunk {
            "" => digits,
            trunk => digits.strip_prefix(trunk).unwrap_or(digits),
        };
        // COMPAT(North America): every national number has ten digits, so a wrong one is seen at once.
        if country.code == "1" && national.len() != 10 {
            return None;
        }
        full(&format!("{}{national}", country.code))
    }
}

fn full(digits: &str) -> Option<Number> {
    (LONG.contains(&digits.len()) && !digits.starts_with('0')).then(|| Number::Full(format!("+{digits}")))
}

/// An alphanumeric sender: at least one letter, in lower case, as a server's nodeprep leaves it.
fn name(text: &str) -> Option<String> {
    if text.chars().count() > NAME || !text.chars().any(char::is_alphabetic) {
        return None;
    }
    let lower: String = text.chars().flat_map(char::to_lowercase).collect();
    // After XEP-0106 escaping only letters outside ASCII can be changed by the server; what it would change is replaced.
    let plain: String = lower
        .chars()
        .map(|c| match c {
            ' '..='~' => c,
            c if c.is_alphanumeric() && stable(c) => c,
            _ => '_',
        })
        .collect();
    let plain = plain.trim();
    let read_otherwise = plain.starts_with('+') || plain.starts_with("tel:") || plain.starts_with("sms:");
    (!read_otherwise && stable_text(plain) && plain.chars().any(char::is_alphabetic)).then(|| plain.to_owned())
}

fn stable(letter: char) -> bool {
    stable_text(letter.encode_utf8(&mut [0; 4]))
}

/// Nodeprep leaves it as it is, but for the characters that XEP-0106 escapes.
fn stable_text(text: &str) -> bool {
    let rest: String =
        text.chars().filter(|c| !matches!(c, ' ' | '"' | '&' | '\'' | '/' | ':' | '<' | '>' | '@')).collect();
    stringprep::nodeprep(&rest).is_ok_and(|prepared| prepared == rest)
}

#[cfg(test)]
mod tests {
    use super::super::country::country;
    use super::*;
    use proptest::prelude::*;

    fn plan(name: &str) -> Plan {
        Plan { country: country(name), short_codes: vec!["12345678".to_owned()] }
    }

    #[test]
    fn typed_numbers_by_table() {
        for (place, typed, meant) in [
            ("US", "+1 (555) 123-4567", Some("+15551234567")),
            ("US", "555-123-4567", Some("+15551234567")),
            ("US", "1 555 123 4567", Some("+15551234567")),
            ("US", "011 44 20 7946 0000", Some("+442079460000")),
            ("US", "5551234", None), // no area code
            ("DE", "030 1234567", Some("+49301234567")),
            ("DE", "0049 30 1234567", Some("+49301234567")),
            ("DE", "+49 30 1234567", Some("+49301234567")),
            ("IT", "06 1234567", Some("+39061234567")),
            ("HU", "06 1 234 5678", Some("+3612345678")),
            ("RU", "8 495 123 45 67", Some("+74951234567")),
            ("US", "12345", Some("12345")),
            ("US", "12345678", Some("12345678")),
            ("US", "12", None),
            ("", "5551234567", None), // no country is configured
            ("US", "+0123456789", None),
            ("US", "+12345678901234567", None),
            ("US", "1+5551234567", None),
            ("US", "Bank", Some("bank")),
            ("US", "My Bank & Co", Some("my bank & co")),
            ("US", "tel:+15551234567", Some("+15551234567")),
            ("US", "---", None),
            ("US", "", None),
        ] {
            assert_eq!(plan(place).typed(typed).as_ref().map(Number::as_str), meant, "{typed:?} in {place:?}");
        }
    }

    #[test]
    fn heard_numbers_by_table() {
        for (heard, international, meant) in [
            ("15551234567", true, Some("+15551234567")),
            ("+15551234567", true, Some("+15551234567")),
            ("5551234567", false, Some("+15551234567")),
            ("447700900000", true, Some("+447700900000")),
            ("12345", true, Some("12345")),
            ("12345678", true, Some("12345678")),
            ("AMAZON", true, Some("amazon")),
            ("", true, None),
        ] {
            assert_eq!(plan("US").heard(heard, international).as_ref().map(Number::as_str), meant, "{heard:?}");
        }
    }

    #[test]
    fn logs_never_show_a_whole_number() {
        assert_eq!(Shortened("+15551234567").to_string(), "+15…67");
        assert_eq!(Shortened("12345").to_string(), "…");
        assert_eq!(Shortened("").to_string(), "…");
    }

    proptest! {
        #[test]
        fn one_spelling_is_its_own(text in "\\PC{0,24}") {
            let plan = plan("US");
            if let Some(number) = plan.typed(&text) {
                prop_assert_eq!(plan.typed(number.as_str()), Some(number.clone()));
                prop_assert_eq!(Number::of(&number.contact()), number);
            }
        }
    }
}
