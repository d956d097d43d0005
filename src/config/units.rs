//! Sizes and times as people write them.

use std::time::Duration;

use serde_json::Value;

/// Bytes: `262144`, `"256 KiB"`, `"16 MiB"`, `"2 GiB"` (KB, MB, GB: powers of ten).
pub(super) fn bytes(value: &Value) -> Option<u64> {
    scaled(value, |unit| {
        Some(match unit {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            _ => return None,
        })
    })
}

/// What [`time`] takes, as faults say it.
pub(super) const TIME: &str = "a time such as \"30d\", of 1000 years at most";
/// What is reckoned with a time of this length stays within what clocks and databases hold.
const LONGEST: Duration = Duration::from_secs(1000 * 366 * 24 * 3600);

/// A time: `"30s"`, `"15 min"`, `"12h"`, `"7d"`, `"4w"`; a bare number is in seconds.
pub(super) fn time(value: &Value) -> Option<Duration> {
    scaled(value, |unit| {
        Some(match unit {
            "" | "s" | "sec" => 1,
            "m" | "min" => 60,
            "h" => 3600,
            "d" => 24 * 3600,
            "w" => 7 * 24 * 3600,
            _ => return None,
        })
    })
    .map(Duration::from_secs)
    .filter(|time| *time <= LONGEST)
}

fn scaled(value: &Value, unit: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    if let Some(number) = value.as_u64() {
        return Some(number);
    }
    let text = value.as_str()?.trim().to_ascii_lowercase();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    number.parse::<u64>().ok()?.checked_mul(unit(rest.trim())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sizes_and_times_as_people_write_them() {
        let sizes = [(json!(5), Some(5)), (json!("256 KiB"), Some(262_144)), (json!("2GB"), Some(2_000_000_000))];
        for (value, expected) in sizes {
            assert_eq!(bytes(&value), expected, "{value}");
        }
        for value in [json!("x"), json!("5 parsecs"), json!(-1), json!(1.5), json!(""), json!("99999999999 GiB")] {
            assert_eq!(bytes(&value), None, "{value}");
        }
        assert_eq!(time(&json!("15 min")), Some(Duration::from_secs(900)));
        assert_eq!(time(&json!("7d")), Some(Duration::from_secs(604_800)));
        assert_eq!(time(&json!("-7d")), None);
    }
}
