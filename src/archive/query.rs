//! XEP-0313: what is asked, and the answer.

use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use minidom::Element;

use super::Line;
use crate::rooms::nick;
use crate::rooms::page::{MOST, RSM};
use crate::rooms::show::OCCUPANT_ID;
use crate::translate::stamp::stamp;
use crate::xmpp::xml::Xml;
use crate::xmpp::{forms, ns};

/// XEP-0313.
pub const MAM: &str = "urn:xmpp:mam:2";
/// Its further fields, flipped pages and metadata.
pub const EXTENDED: &str = "urn:xmpp:mam:2#extended";

/// Which lines are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Question {
    /// Not before this time.
    pub start: Option<SystemTime>,
    /// Not after it.
    pub end: Option<SystemTime>,
    /// Only of this nick.
    pub with: Option<String>,
    /// Behind the line of this id.
    pub after: Option<String>,
    /// Before the line of this id.
    pub before: Option<String>,
    /// Exactly these.
    pub ids: Vec<String>,
    /// The last ones of them, not the first.
    pub backwards: bool,
    /// So many, at most.
    pub max: usize,
    /// The page is wanted in reverse.
    pub flipped: bool,
    /// How many there are is not wanted: counting costs more than finding.
    pub uncounted: bool,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// Oldest first.
    pub lines: Vec<Line>,
    /// There are no more in this direction.
    pub complete: bool,
    /// All of them, without pages.
    pub count: usize,
    /// An id names nothing that the user may see (`item-not-found`).
    pub unknown: bool,
}

/// A question that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

/// Reads a `<query/>`. `room` is the JID that nicks in `with` are resources of.
pub fn question(query: &Element, room: &str) -> Result<Question, Unreadable> {
    let mut asked = Question { max: MOST, flipped: query.get_child("flip-page", MAM).is_some(), ..Question::default() };
    if let Some(x) = query.get_child("x", ns::DATA) {
        let form = forms::from_xml(x).map_err(|_| Unreadable)?;
        let time = |key: &str| form.get(key).map(|t| parse_time(t).ok_or(Unreadable)).transpose();
        (asked.start, asked.end) = (time("start")?, time("end")?);
        asked.after = form.get("after-id").map(str::to_owned);
        asked.before = form.get("before-id").map(str::to_owned);
        asked.ids = form.all("ids").iter().take(MOST).cloned().collect();
        // Whom else than an occupant a line could be with nobody knows: such a question finds nothing.
        asked.with = form
            .get("with")
            .map(|jid| jid.strip_prefix(room).and_then(|r| r.strip_prefix('/')).unwrap_or("\u{1}").to_owned());
    }
    if let Some(set) = query.get_child("set", RSM) {
        let text = |name| set.get_child(name, RSM).map(|c| c.text().trim().to_owned());
        if let Some(max) = text("max") {
            asked.max = max.parse::<usize>().map_err(|_| Unreadable)?.min(MOST);
        }
        if let Some(after) = text("after").filter(|a| !a.is_empty()) {
            // Both bounds hold; ids are ordered, so the later one is the narrower.
            asked.after = asked.after.max(Some(after));
        }
        if let Some(before) = text("before") {
            asked.backwards = true;
            if !before.is_empty() {
                asked.before = Some(asked.before.filter(|known| *known < before).unwrap_or(before));
            }
        }
    }
    Ok(asked)
}

/// Whether a text has the form of our ids. One that the log does not have is read as its time: it was lost in a crash, or is past its time.
pub fn is_id(text: &str) -> bool {
    text.len() == 26
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b.is_ascii_lowercase() && !matches!(b, b'i' | b'l' | b'o' | b'u')))
}

/// XEP-0082, as far as clients write it: a date, a time, fractions perhaps, `Z` or an offset.
pub fn parse_time(text: &str) -> Option<SystemTime> {
    let (date, rest) = text.trim().split_once('T')?;
    let mut parts = date.split('-');
    let year = within(parts.next()?, 0..=9999)?;
    let (month, day) = (within(parts.next()?, 1..=12)?, within(parts.next()?, 1..=31)?);
    let (time, offset) = match rest.strip_suffix('Z') {
        Some(time) => (time, 0),
        None => {
            let at = rest.rfind(['+', '-'])?;
            let (hours, minutes) = rest[at + 1..].split_once(':')?;
            let (hours, minutes) = (within(hours, 0..=14)?, within(minutes, 0..=59)?);
            let seconds = hours * 3600 + minutes * 60;
            (&rest[..at], if rest[at..].starts_with('-') { -seconds } else { seconds })
        }
    };
    let mut parts = time.split(':');
    let (hour, minute) = (within(parts.next()?, 0..=24)?, within(parts.next()?, 0..=59)?);
    let seconds: f64 = parts.next()?.parse().ok().filter(|seconds| (0.0..61.0).contains(seconds))?;
    // Days since 1970 (Hinnant's algorithm for the proleptic Gregorian calendar).
    let shifted = year - i64::from(month <= 2);
    let era = shifted.div_euclid(400);
    let of_era = shifted - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let whole = days * 86_400 + hour * 3600 + minute * 60 - offset;
    let millis = whole.checked_mul(1000)? + (seconds * 1000.0) as i64;
    Some(UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).ok()?))
}

/// A number of a time; what is out of bounds would overflow what is reckoned with it.
fn within(text: &str, bounds: RangeInclusive<i64>) -> Option<i64> {
    text.parse().ok().filter(|number| bounds.contains(number))
}

/// One result: a message from the room that holds the line as it was.
pub fn result(room: &str, to: &str, query: Option<&str>, line: &Line) -> String {
    let mut xml = Xml::stanza("message");
    xml.attr("from", room).attr("to", to);
    xml.open("result", MAM).attr_opt("queryid", query).attr("id", &line.id);
    xml.open("forwarded", ns::FORWARD);
    xml.open("delay", ns::DELAY).attr("stamp", &stamp(line.at)).close();
    let from = line.nick.as_deref().map(|n| format!("{room}/{}", nick::spell(n)));
    xml.open("message", ns::CLIENT).attr("from", from.as_deref().unwrap_or(room));
    xml.attr("type", "groupchat").attr("id", &line.id);
    if !line.body.is_empty() {
        xml.leaf("body", "", &line.body);
    }
    if let Some(payload) = &line.payload {
        xml.finished(payload);
    }
    if let Some(at) = line.gone {
        xml.open("retracted", ns::RETRACT).attr("id", &line.id).attr("stamp", &stamp(at)).close();
    }
    if let Some(thread) = &line.thread {
        xml.leaf("thread", "", thread);
    }
    xml.open("stanza-id", ns::SID).attr("by", room).attr("id", &line.id).close();
    if let Some(occupant) = &line.occupant {
        xml.open("occupant-id", OCCUPANT_ID).attr("id", occupant).close();
    }
    xml.finish()
}

/// The end of an answer.
pub fn fin(xml: &mut Xml, found: &Found) {
    xml.open("fin", MAM);
    if found.complete {
        xml.attr("complete", "true");
    }
    xml.open("set", RSM);
    if let (Some(first), Some(last)) = (found.lines.first(), found.lines.last()) {
        xml.leaf("first", "", &first.id).leaf("last", "", &last.id);
    }
    xml.leaf("count", "", &found.count.to_string()).close().close();
}

/// The fields that a question may have (XEP-0313 section 4.1.5).
pub fn form(xml: &mut Xml) {
    xml.open("query", MAM).open("x", ns::DATA).attr("type", "form");
    xml.open("field", "").attr("type", "hidden").attr("var", "FORM_TYPE").leaf("value", "", MAM).close();
    for (var, kind) in [
        ("with", "jid-single"),
        ("start", "text-single"),
        ("end", "text-single"),
        ("before-id", "text-single"),
        ("after-id", "text-single"),
    ] {
        xml.open("field", "").attr("type", kind).attr("var", var).close();
    }
    xml.open("field", "").attr("type", "list-multi").attr("var", "ids");
    xml.open("validate", "http://jabber.org/protocol/xdata-validate")
        .attr("datatype", "xs:string")
        .empty("open", "")
        .close();
    xml.close().close().close();
}

/// The first and the last line (XEP-0313 section 5).
pub fn metadata(xml: &mut Xml, ends: Option<&(Line, Line)>) {
    xml.open("metadata", MAM);
    if let Some((first, last)) = ends {
        for (name, line) in [("start", first), ("end", last)] {
            xml.open(name, "").attr("id", &line.id).attr("timestamp", &stamp(line.at)).close();
        }
    }
    xml.close();
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: &str = "#verona@gw.example";

    fn read(inner: &str) -> Result<Question, Unreadable> {
        question(&format!("<query xmlns='{MAM}'>{inner}</query>").parse().expect("XML"), ROOM)
    }

    fn form_of(fields: &str) -> String {
        format!(
            "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{MAM}</value></field>{fields}</x>"
        )
    }

    #[test]
    fn questions_are_read() {
        assert_eq!(read(""), Ok(Question { max: MOST, ..Question::default() }));
        let asked = read(&format!(
            "{}<set xmlns='{RSM}'><max>10</max><before/></set><flip-page/>",
            form_of(&format!("<field var='with'><value>{ROOM}/romeo</value></field><field var='start'><value>2026-01-01T00:00:00Z</value></field>"))
        ))
        .expect("readable");
        assert_eq!((asked.with.as_deref(), asked.max, asked.backwards, asked.flipped), (Some("romeo"), 10, true, true));
        assert_eq!(asked.start.map(stamp).as_deref(), Some("2026-01-01T00:00:00Z"));
        let asked = read(&form_of("<field var='ids'><value>a</value><value>b</value></field>")).expect("readable");
        assert_eq!(asked.ids, ["a", "b"]);
        assert_eq!(read(&form_of("<field var='start'><value>yesterday</value></field>")), Err(Unreadable));
        assert_eq!(read(&format!("<set xmlns='{RSM}'><max>many</max></set>")), Err(Unreadable));
    }

    #[test]
    fn times_are_read_as_clients_write_them() {
        for (written, stamped) in [
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
            ("2000-02-29T12:30:59.5Z", "2000-02-29T12:30:59Z"),
            ("2026-01-01T01:00:00+01:00", "2026-01-01T00:00:00Z"),
            ("2025-12-31T22:30:00-01:30", "2026-01-01T00:00:00Z"),
        ] {
            assert_eq!(parse_time(written).map(stamp).as_deref(), Some(stamped), "{written}");
        }
        for nonsense in ["", "2026", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00", "T:Z", "2026-01-01Tx:y:zZ"] {
            assert_eq!(parse_time(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_time_out_of_all_bounds_is_none() {
        for part in ["9223372036854775807", "-9223372036854775808", "10000", "-1", "61"] {
            for time in [
                format!("{part}-01-01T00:00:00Z"),
                format!("2024-{part}-01T00:00:00Z"),
                format!("2024-01-{part}T00:00:00Z"),
                format!("2024-01-01T{part}:00:00Z"),
                format!("2024-01-01T00:{part}:00Z"),
                format!("2024-01-01T00:00:{part}Z"),
                format!("2024-01-01T00:00:00+{part}:00"),
                format!("2024-01-01T00:00:00-{part}:00"),
                format!("2024-01-01T00:00:00+00:{part}"),
            ] {
                assert_eq!(parse_time(&time), None, "{time}");
            }
        }
        assert_eq!(parse_time("9999-12-31T23:59:59Z").map(stamp).as_deref(), Some("9999-12-31T23:59:59Z"));
    }

    #[test]
    fn a_result_holds_the_line_as_it_was() {
        let line = Line {
            id: "i1".to_owned(),
            at: UNIX_EPOCH,
            nick: Some("romeo".to_owned()),
            occupant: Some("o1".to_owned()),
            body: "a < b".to_owned(),
            thread: None,
            payload: None,
            gone: None,
        };
        assert_eq!(
            result(ROOM, "juliet@example.org/b", Some("q"), &line),
            format!(
                "<message from='{ROOM}' to='juliet@example.org/b'><result xmlns='{MAM}' queryid='q' id='i1'>\
                 <forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='1970-01-01T00:00:00Z'/>\
                 <message xmlns='jabber:client' from='{ROOM}/romeo' type='groupchat' id='i1'><body>a &lt; b</body>\
                 <stanza-id xmlns='urn:xmpp:sid:0' by='{ROOM}' id='i1'/><occupant-id xmlns='{OCCUPANT_ID}' id='o1'/></message>\
                 </forwarded></result></message>"
            )
        );
    }
}
