//! What clocks say in the words of programs.

use std::time::SystemTime;

use crate::archive::query::parse_time;

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// A time and its zone (`+01:00`), where both are told: as in mail (RFC 5322 section 3.3, WeeChat's way) or as in XEP-0082. Others do not say in
/// which zone they are.
pub(super) fn read(words: &str) -> Option<(SystemTime, String)> {
    let words = words.trim();
    let (stamp, zone) = mail(words).or_else(|| standard(words))?;
    parse_time(&format!("{stamp}{zone}")).map(|time| (time, zone))
}

/// `[Sun,] 22 Nov 2026 15:04[:05] +0100`
fn mail(words: &str) -> Option<(String, String)> {
    let words = words.split_once(',').map_or(words, |(_, rest)| rest);
    let mut words = words.split_whitespace();
    let day: u8 = words.next()?.parse().ok()?;
    let month = words.next()?.to_ascii_lowercase();
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let year: u16 = words.next()?.parse().ok()?;
    let time = words.next()?;
    let time = if time.matches(':').count() == 1 { format!("{time}:00") } else { time.to_owned() };
    let zone = words.next()?;
    let (sign, digits) = zone.split_at_checked(1)?;
    let whole = matches!(sign, "+" | "-") && digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit());
    whole.then(|| (format!("{year:04}-{month:02}-{day:02}T{time}"), format!("{sign}{}:{}", &digits[..2], &digits[2..])))
}

/// `2026-11-22T15:04:05+01:00`, or with a blank and `Z`.
fn standard(words: &str) -> Option<(String, String)> {
    let words = words.replacen(' ', "T", 1);
    if let Some(stamp) = words.strip_suffix('Z') {
        return Some((stamp.to_owned(), "+00:00".to_owned()));
    }
    let (stamp, zone) = words.split_at_checked(words.len().checked_sub("+00:00".len())?)?;
    zone.starts_with(['+', '-']).then(|| (stamp.to_owned(), zone.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_time_with_its_zone_is_one_and_others_are_words() {
        let noon = |zone: &str| Some((UNIX_EPOCH + Duration::from_secs(1_795_356_245), zone.to_owned()));
        for (words, time) in [
            ("Sun, 22 Nov 2026 15:04:05 +0100", noon("+01:00")),
            ("22 Nov 2026 08:34:05 -0530", noon("-05:30")),
            ("2026-11-22T14:04:05Z", noon("+00:00")),
            (" 2026-11-22 15:04:05+01:00", noon("+01:00")),
            // HexChat, irssi, mIRC: no zone.
            ("Sun Nov 22 15:04:05 2026", None),
            ("Sun, 22 Nov 2026 15:04:05 CET", None),
            ("99 Nov 2026 15:04:05 +0100", None),
            ("Sun, 22 Nov 2026 99:04:05 +0100", None),
            ("noon", None),
            ("é+00:00", None),
            ("22 Nov 2026 15:04:05 +é00", None),
            ("", None),
        ] {
            assert_eq!(read(words), time, "{words}");
        }
    }
}
