//! A webhook → messages and reports. Pure.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

use super::select::{self, Seen, Select, listed, pairs};
use super::spec::{Format, MessageFields, OnceField, ReportFields, Webhook};
use super::template::Fillings;
use crate::translate::letters::from_ucs2_hex;

/// Events of one call, at most.
const MOST: usize = 1_000;
/// Parts of one text, at most (TS 23.040: one octet).
const PARTS: u32 = 255;

/// What a provider tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// Somebody sent a text.
    Message(Box<Heard>),
    /// What became of one of ours.
    Report(Reported),
}

/// A text from outside.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Heard {
    /// Sender, as the provider writes it.
    pub from: String,
    /// Our number, as the provider writes it.
    pub to: String,
    /// Words.
    pub text: String,
    /// What came instead of words: a message of eight bits that is no text.
    pub data: Option<Bytes>,
    /// The provider's id.
    pub id: Option<String>,
    /// When it was sent, where the provider says so.
    pub at: Option<SystemTime>,
    /// URLs of media.
    pub media: Vec<String>,
    /// Which part of which longer text it is.
    pub part: Option<Part>,
    /// What makes a copy, beside sender and number.
    pub once: Vec<String>,
}

/// A part of a longer text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// What the parts have in common.
    pub of: String,
    /// Which one, from 1.
    pub number: u32,
    /// How many there are.
    pub count: u32,
}

/// What became of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reported {
    /// The provider's id of it.
    pub id: String,
    /// Whose phone.
    pub to: Option<String>,
    /// What.
    pub state: State,
    /// The provider's code.
    pub code: Option<String>,
    /// The provider's words.
    pub words: Option<String>,
}

/// How far a text has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// On the phone.
    Delivered,
    /// It will not arrive.
    Failed,
    /// Read.
    Displayed,
    /// On its way: nobody is told.
    Pending,
}

/// Why a call that is the provider's cannot be read.
pub(crate) type Fault = &'static str;

/// A call, as it came.
#[derive(Clone, Copy)]
struct Raw<'a> {
    query: &'a str,
    body: &'a Bytes,
    with: &'a Fillings,
}

/// Reads a call.
pub(crate) fn read(
    hook: &Webhook,
    with: &Fillings,
    headers: &HeaderMap,
    query: &str,
    body: &Bytes,
) -> Result<Vec<Told>, Fault> {
    let raw = Raw { query, body, with };
    let fields = match hook.format {
        Format::Query => pairs(query.as_bytes()),
        Format::Form => {
            std::str::from_utf8(body).map_err(|_| "the form is not UTF-8")?;
            let mut fields = pairs(body);
            fields.extend(pairs(query.as_bytes()));
            fields
        }
        Format::Json => pairs(query.as_bytes()),
    };
    if hook.format != Format::Json {
        let seen = Seen { headers, body, json: None, fields: &fields };
        return one(hook, &seen, raw).map(|told| told.into_iter().collect());
    }
    let json: Value = serde_json::from_slice(body).map_err(|_| "the body is no JSON")?;
    let items = match &hook.each {
        Some(each) => each.values(&json),
        None => vec![&json],
    };
    if items.len() > MOST {
        return Err("it has too many events");
    }
    if items.is_empty() {
        return Err("it has no events");
    }
    let mut all = Vec::new();
    for item in items {
        all.extend(one(hook, &Seen { headers, body, json: Some(item), fields: &fields }, raw)?);
    }
    Ok(all)
}

/// One event; `None`: one that does not concern us.
fn one(hook: &Webhook, seen: &Seen<'_>, raw: Raw<'_>) -> Result<Option<Told>, Fault> {
    let holds = |when: &Option<select::When>| when.as_ref().is_none_or(|w| w.holds(seen));
    if let Some(fields) = hook.message.as_ref().filter(|m| holds(&m.when)) {
        return message(fields, seen, raw).map(|m| Some(Told::Message(Box::new(m))));
    }
    if let Some(fields) = hook.report.as_ref().filter(|r| holds(&r.when)) {
        return report(fields, seen).map(|r| Some(Told::Report(r)));
    }
    Ok(None)
}

fn message(fields: &MessageFields, seen: &Seen<'_>, raw: Raw<'_>) -> Result<Heard, Fault> {
    let from = fields.from.one(seen).ok_or("it has no sender")?;
    let known = || fields.to_is.as_ref().and_then(|template| template.plain(raw.with));
    let to = fields.to.as_ref().and_then(|place| place.one(seen)).or_else(known).ok_or("it has no number of ours")?;
    let media = fields.media.as_ref().map(|place| place.all(seen)).unwrap_or_default();
    let mut data = None;
    let text = match &fields.text_hex {
        Some((place, when)) if when.holds(seen) => {
            place.one(seen).map(|hexed| from_ucs2_hex(&hexed).ok_or("its text is no UTF-16 in hex")).transpose()?
        }
        _ => match encoded(fields, seen, raw)? {
            Some(Words::Text(text)) => Some(text),
            Some(Words::Data(bytes)) => {
                data = Some(bytes);
                Some(String::new())
            }
            None => fields.text.as_ref().and_then(|place| place.all(seen).into_iter().next()),
        },
    };
    let text = match text {
        Some(text) => text.replace("\r\n", "\n").replace('\r', "\n").replace('\0', ""),
        None if media.is_empty() => return Err("it has neither text nor media"),
        None => String::new(),
    };
    let stamp = fields.at.as_ref().and_then(|place| place.one(seen));
    let id = fields.id.as_ref().and_then(|place| place.one(seen));
    let mut once = Vec::new();
    for field in &fields.once {
        match field {
            OnceField::Id => once.push(id.clone().unwrap_or_default()),
            OnceField::Text => once.push(data.as_ref().map_or_else(|| text.clone(), hex::encode)),
            OnceField::At => once.push(stamp.clone().unwrap_or_default()),
            OnceField::Media => once.push(media.join(" ")),
        }
    }
    let part = part(fields, seen)?;
    Ok(Heard { from, to, text, data, id, at: stamp.as_deref().and_then(moment), media, part, once })
}

/// What a charset makes of bytes.
enum Words {
    Text(String),
    Data(Bytes),
}

/// Words in a charset that the call names.
fn encoded(fields: &MessageFields, seen: &Seen<'_>, raw: Raw<'_>) -> Result<Option<Words>, Fault> {
    let (Some(Select::Field(name)), Some(place)) = (&fields.text, &fields.charset) else { return Ok(None) };
    let Some(label) = place.one(seen) else { return Ok(None) };
    let Some(bytes) = select::raw(raw.query.as_bytes(), name).or_else(|| select::raw(raw.body, name)) else {
        return Ok(None);
    };
    // COMPAT(smsbox): it says UTF-16BE and means the UCS-2 of the phone.
    if let Some(encoding) = encoding_rs::Encoding::for_label(label.trim().as_bytes()) {
        return Ok(Some(Words::Text(encoding.decode_without_bom_handling(&bytes).0.into_owned())));
    }
    // COMPAT(smsbox): `binary` is a message of eight bits, `GSM` one that was not recoded. Many a phone sends plain text as eight bits.
    let is_text = |text: &str| !text.chars().any(|c| c.is_control() && !c.is_whitespace());
    Ok(Some(match String::from_utf8(bytes) {
        Ok(text) if is_text(&text) => Words::Text(text),
        Ok(other) => Words::Data(Bytes::from(other)),
        Err(other) => Words::Data(Bytes::from(other.into_bytes())),
    }))
}

fn part(fields: &MessageFields, seen: &Seen<'_>) -> Result<Option<Part>, Fault> {
    let Some([of, number, count]) = &fields.parts else { return Ok(None) };
    let (Some(of), Some(number), Some(count)) = (of.one(seen), number.one(seen), count.one(seen)) else {
        return Ok(None);
    };
    let (Ok(number), Ok(count)) = (number.trim().parse::<u32>(), count.trim().parse::<u32>()) else {
        return Err("its parts are not counted");
    };
    if count <= 1 {
        return Ok(None);
    }
    if number == 0 || number > count || count > PARTS {
        return Err("its parts are miscounted");
    }
    Ok(Some(Part { of, number, count }))
}

fn report(fields: &ReportFields, seen: &Seen<'_>) -> Result<Reported, Fault> {
    let id = fields.id.one(seen).ok_or("it has no id")?;
    let status = fields.status.one(seen).ok_or("it has no state")?;
    let state = if listed(&fields.displayed, &status) {
        State::Displayed
    } else if listed(&fields.delivered, &status) {
        State::Delivered
    } else if listed(&fields.failed, &status) {
        State::Failed
    } else {
        State::Pending
    };
    let read = |place: &Option<Select>| place.as_ref().and_then(|p| p.one(seen));
    Ok(Reported { id, to: read(&fields.to), state, code: read(&fields.code), words: read(&fields.words) })
}

/// RFC 3339 in UTC or with an offset, or seconds (or milliseconds) since the epoch.
fn moment(text: &str) -> Option<SystemTime> {
    let text = text.trim();
    if let Ok(number) = text.parse::<u64>() {
        let millis = if number > 100_000_000_000 { number } else { number.checked_mul(1000)? };
        return SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis));
    }
    let (date, clock) = text.split_once(['T', ' '])?;
    let mut date = date.split('-').map(|n| n.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let split = clock.find(['Z', '+', '-']).unwrap_or(clock.len());
    let mut parts = clock[..split].split(':').map(|n| n.split('.').next().and_then(|n| n.parse::<i64>().ok()));
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next().flatten().unwrap_or(0));
    let zone = clock[split..].trim_start_matches('Z');
    let offset = match (zone.get(..1), zone.get(1..)) {
        (Some(sign), Some(rest)) => {
            let digits: String = rest.chars().filter(char::is_ascii_digit).collect();
            let minutes =
                digits.get(..2)?.parse::<i64>().ok()? * 60 + digits.get(2..4).map_or(Some(0), |m| m.parse().ok())?;
            if sign == "-" { -minutes } else { minutes }
        }
        _ => 0,
    };
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    if !(0..=23).contains(&hour) || !(0..=59).contains(&minute) || !(0..=60).contains(&second) {
        return None;
    }
    let total = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset * 60;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(total).ok()?))
}

/// Days since the epoch (Howard Hinnant's civil calendar).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_by_table() {
        for (text, seconds) in [
            ("0", Some(0)),
            ("1700000000", Some(1_700_000_000)),
            ("1700000000123", Some(1_700_000_000)),
            ("2023-11-14T22:13:20Z", Some(1_700_000_000)),
            ("2023-11-14T23:13:20.123+01:00", Some(1_700_000_000)),
            ("2023-11-14T22:13:20.123-0000", Some(1_700_000_000)),
            ("2023-11-14 22:13:20", Some(1_700_000_000)),
            ("soon", None),
            ("2023-99-14T22:13:20Z", None),
            ("2023-11-14T22", None),
            ("2023-11-14T9223372036854775807:00:00Z", None),
            ("2023-11-14T00:9223372036854775807:00Z", None),
            ("2023-11-14T00:00:9223372036854775807Z", None),
            ("9223372036854775807-11-14T00:00:00Z", None),
        ] {
            let found = moment(text).and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok()).map(|d| d.as_secs());
            assert_eq!(found, seconds, "{text}");
        }
    }
}
