//! Pure: the stamp of a late message (XEP-0203).

use std::time::{Duration, UNIX_EPOCH};

use super::Rendered;

/// Adds when the stanza was received, unless it is no message or says so already.
pub(crate) fn stamped(stanza: &Rendered, received: i64) -> Vec<u8> {
    let xml = &stanza.xml;
    let plain = || xml.clone();
    if !xml.starts_with(b"<message") || memchr::memmem::find(xml, b"urn:xmpp:delay").is_some() || xml.ends_with(b"/>") {
        return plain();
    }
    let Some(end) = memchr::memmem::rfind(xml, b"</") else { return plain() };
    let domain = domain_of(&stanza.from);
    let stamp = utc(received);
    let mut stamped = Vec::with_capacity(xml.len() + 96);
    stamped.extend_from_slice(&xml[..end]);
    stamped.extend_from_slice(format!("<delay xmlns='urn:xmpp:delay' from='{domain}' stamp='{stamp}'/>").as_bytes());
    stamped.extend_from_slice(&xml[end..]);
    stamped
}

/// The domain of a JID: behind the `@`, before the `/`. A domain holds nothing that XML would need escaped.
pub(crate) fn domain_of(jid: &str) -> &str {
    let bare = bare_of(jid);
    bare.split_once('@').map_or(bare, |(_, domain)| domain)
}

/// A JID without its resource.
pub(crate) fn bare_of(jid: &str) -> &str {
    jid.split_once('/').map_or(jid, |(bare, _)| bare)
}

/// XEP-0082 in UTC, with milliseconds.
fn utc(millis: i64) -> String {
    let since = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
    let days = i64::try_from(since.as_secs() / 86_400).unwrap_or(0);
    let (year, month, day) = civil(days);
    let rest = since.as_secs() % 86_400;
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    debug_assert!(UNIX_EPOCH.checked_add(since).is_some());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

/// Days since 1970-01-01 to a date of the Gregorian calendar, counted from 0000-03-01 so that the leap day is a year's last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(xml: &str) -> Rendered {
        let from = "alice\\40example.net@mail.example.org/x".into();
        Rendered { from, to: "juliet@example.org".into(), id: "i".into(), xml: xml.as_bytes().to_vec() }
    }

    #[test]
    fn a_message_is_stamped_once() {
        let once = stamped(&rendered("<message><body>a&lt;/b</body></message>"), 1_709_210_096_789);
        let text = String::from_utf8(once.clone()).unwrap();
        assert_eq!(
            text,
            "<message><body>a&lt;/b</body><delay xmlns='urn:xmpp:delay' from='mail.example.org' stamp='2024-02-29T12:34:56.789Z'/></message>"
        );
        assert_eq!(stamped(&Rendered { xml: once.clone(), ..rendered("") }, 0), once);
    }

    #[test]
    fn what_is_no_message_stays_as_it_is() {
        for xml in ["<presence><show>away</show></presence>", "<message to='x'/>", ""] {
            assert_eq!(stamped(&rendered(xml), 0), xml.as_bytes());
        }
    }

    #[test]
    fn dates() {
        assert_eq!(utc(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(utc(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(utc(4_102_444_799_999), "2099-12-31T23:59:59.999Z");
    }
}
