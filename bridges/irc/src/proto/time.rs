//! Times as servers write them.

use std::time::{Duration, SystemTime};

/// `2026-11-22T06:34:06.123Z` (IRCv3 server-time); `None` for anything else.
pub(crate) fn server_time(text: &str) -> Option<SystemTime> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut parts = date.split('-').map(|p| p.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut parts = clock.split(':').map(|p| p.parse::<u64>().ok());
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    let good = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !good || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = u64::try_from(days(year, month, day)).ok()?;
    let millis: u64 = format!("{:0<3}", fraction.get(..fraction.len().min(3))?).parse().ok()?;
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(millis))
}

/// The same, written.
pub(crate) fn iso(at: SystemTime) -> String {
    let millis = at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.subsec_millis());
    let text = utc(at);
    let (date, rest) = text.split_once(' ').unwrap_or((&text, ""));
    let clock = rest.split(' ').next().unwrap_or_default();
    format!("{date}T{clock}.{millis:03}Z")
}

/// Seconds since the epoch, as in 317 and 333.
pub(crate) fn epoch(text: &str) -> Option<SystemTime> {
    let seconds: u64 = text.parse().ok().filter(|s| *s < 1 << 40)?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Now, as CTCP TIME answers: in UTC, for where the user is concerns nobody.
pub(crate) fn utc(at: SystemTime) -> String {
    let seconds = at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days as i64);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", rest / 3_600, rest / 60 % 60, rest % 60)
}

/// Days since 1970-01-01 of a day in the Gregorian calendar (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_nonsense_is_none() {
        let at = |text: &str| {
            server_time(text).map(|t| t.duration_since(SystemTime::UNIX_EPOCH).expect("later").as_millis())
        };
        assert_eq!(at("1970-01-01T00:00:00.000Z"), Some(0));
        assert_eq!(at("2011-10-19T16:40:51.620Z"), Some(1_319_042_451_620));
        assert_eq!(at("2024-02-29T12:00:00Z"), Some(1_709_208_000_000));
        assert_eq!(at("2024-02-29T12:00:00.5Z"), Some(1_709_208_000_500));
        for bad in [
            "",
            "now",
            "2024-13-01T00:00:00Z",
            "2024-02-29 12:00:00",
            "0000-01-01T00:00:00Z",
            "2024-01-01T99:00:00Z",
            "2024-01-01T00:00:00.éZ",
        ] {
            assert_eq!(server_time(bad), None, "{bad}");
        }
        assert_eq!(epoch("999999999999999999"), None);
    }

    #[test]
    fn the_time_is_told_in_utc() {
        for text in ["2011-10-19T16:40:51Z", "2024-02-29T00:00:00Z", "1999-12-31T23:59:59Z"] {
            let at = server_time(text).expect("a time");
            assert_eq!(utc(at), text.replace('T', " ").replace('Z', " UTC"));
            assert_eq!(iso(at), text.replace('Z', ".000Z"));
        }
    }
}
