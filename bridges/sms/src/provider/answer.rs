//! An HTTP answer → what became of a text.

use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use isthmus_bridge::{DeliveryError, Failure, Retry, Sent, Text};
use serde_json::Value;

use super::select::{Seen, listed, pairs};
use super::spec::{Reason, Spec};

/// Words of a provider that a person is shown, at most.
const WORDS: usize = 200;

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Taken, under these ids.
    Taken(Vec<String>),
    /// Not taken, or nobody knows: [`DeliveryError::sent`] says which.
    Failed(DeliveryError),
}

/// Reads an answer. `key` is the message's own.
pub(crate) fn read(spec: &Spec, key: &str, status: StatusCode, headers: &HeaderMap, body: &Bytes) -> Verdict {
    let answer = &spec.answer;
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let fields = pairs(body);
    let seen = Seen { headers, body, json: json.as_ref(), fields: &fields };
    let number = status.as_u16().to_string();
    let code = answer.code.as_ref().and_then(|place| place.one(&seen));
    if listed(&answer.already, &number) {
        return Verdict::Taken(ids(spec, key, &seen));
    }
    if listed(&answer.taken, &number) {
        let garbled = json.is_none() && needs_json(spec);
        if !garbled && answer.taken_when.as_ref().is_none_or(|when| when.holds(&seen)) {
            return Verdict::Taken(ids(spec, key, &seen));
        }
        if garbled && code.is_none() {
            // A success that cannot be read: a broken proxy, half an answer. It may have been taken.
            return Verdict::Failed(DeliveryError::uncertain(
                Text::key("provider-garbled").with("provider", &spec.title),
            ));
        }
    }
    let words = answer.words.as_ref().and_then(|place| place.one(&seen));
    let again = listed(&answer.again, &number) || code.as_ref().is_some_and(|c| listed(&answer.again_codes, c));
    let refused = again || listed(&answer.refused, &number) || listed(&answer.taken, &number);
    let code = code.unwrap_or(number);
    if !refused {
        let text = Text::key("provider-broken").with("provider", &spec.title).with("code", &code);
        return Verdict::Failed(DeliveryError::uncertain(text).with_code(code));
    }
    let mut error = explained(spec, &code, words.as_deref());
    error.sent = Sent::No;
    if again {
        let pause =
            headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.trim().parse().ok()).map(Duration::from_secs);
        error.retry = pause.map_or(Retry::ByPolicy, |p| Retry::After(p.min(Duration::from_secs(3600))));
        if !matches!(error.failure, Failure::Throttled { .. }) {
            error.failure = Failure::Unreachable;
        }
    }
    Verdict::Failed(error)
}

/// Whether success, or the id under which it is reported on, stands in JSON.
fn needs_json(spec: &Spec) -> bool {
    let id = spec.answer.id.as_ref();
    let when = spec.answer.taken_when.as_ref().map(|when| &when.at);
    id.into_iter().chain(when).any(|place| matches!(place, super::select::Select::Pointer(_)))
}

fn ids(spec: &Spec, key: &str, seen: &Seen<'_>) -> Vec<String> {
    match &spec.answer.id {
        Some(super::select::Select::Key) => vec![key.to_owned()],
        Some(place) => place.all(seen).into_iter().filter(|id| !id.is_empty()).collect(),
        None => Vec::new(),
    }
}

/// A failure with the provider's code in words; for good.
pub(crate) fn explained(spec: &Spec, code: &str, words: Option<&str>) -> DeliveryError {
    let code: String = code.chars().filter(|c| !c.is_control()).take(40).collect();
    let said = |name: &'static str| Text::key(name).with("provider", &spec.title).with("code", &code);
    let error = match spec.codes.get(code.as_str()) {
        Some(reason) => {
            let (failure, name) = reason_words(*reason);
            DeliveryError::new(failure, said(name))
        }
        None => match words.map(clean).filter(|w| !w.is_empty()) {
            Some(words) => DeliveryError::new(Failure::Rejected, said("provider-said").with("words", words)),
            None => DeliveryError::new(Failure::Rejected, said("provider-refused")),
        },
    };
    error.with_code(code)
}

fn reason_words(reason: Reason) -> (Failure, &'static str) {
    match reason {
        Reason::NoSuchNumber => (Failure::NoSuchRecipient, "code.no-such-number"),
        Reason::Unreachable => (Failure::Unreachable, "code.unreachable"),
        Reason::OptedOut => (Failure::Forbidden, "code.opted-out"),
        Reason::Filtered => (Failure::Rejected, "code.filtered"),
        Reason::NotAllowed => (Failure::Forbidden, "code.not-allowed"),
        Reason::TooLong => (Failure::Rejected, "code.too-long"),
        Reason::NoCredit => (Failure::Rejected, "code.no-credit"),
        Reason::TooFast => (Failure::Throttled { retry_after: Duration::from_secs(30) }, "code.too-fast"),
        Reason::Expired => (Failure::TimedOut, "code.expired"),
        Reason::Broken => (Failure::Unreachable, "code.broken"),
    }
}

/// A provider's words as one line.
fn clean(words: &str) -> String {
    let line: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WORDS).collect();
    line.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::read::read as read_spec;
    use super::*;

    const SPEC: &str = "name=\"X\"\n[send]\nurl=\"https://api.test/\"\n[send.fields]\na=\"b\"\n[answer]\ntaken_when={at=\"/s\",is=[\"0\"]}\nid=\"/ids/*\"\ncode=\"/c\"\nwords=\"/w\"\nagain=[\"429\",\"503\"]\nagain_codes=[\"7\"]\n[codes]\n\"21\"=\"no-such-number\"\n";

    fn verdict(status: u16, body: &str) -> Verdict {
        let spec = read_spec("p", SPEC).expect("sound");
        let status = StatusCode::from_u16(status).expect("a status");
        read(&spec, "k", status, &HeaderMap::new(), &Bytes::from(body.to_owned()))
    }

    fn failed(status: u16, body: &str) -> (Failure, Sent, Retry) {
        match verdict(status, body) {
            Verdict::Failed(e) => (e.failure, e.sent, e.retry),
            Verdict::Taken(ids) => panic!("taken as {ids:?}"),
        }
    }

    #[test]
    fn answers_by_table() {
        use Failure::{NoSuchRecipient, Rejected, Unknown, Unreachable};
        assert_eq!(verdict(200, r#"{"s":0,"ids":["a","b"]}"#), Verdict::Taken(vec!["a".to_owned(), "b".to_owned()]));
        for (status, body, failure, sent, retry) in [
            (200, r#"{"s":1,"c":21}"#, NoSuchRecipient, Sent::No, Retry::Never),
            (200, r#"{"s":1,"c":7}"#, Unreachable, Sent::No, Retry::ByPolicy),
            (200, "<html>half", Unknown, Sent::Maybe, Retry::Never),
            (400, r#"{"c":99,"w":"no\r\nway"}"#, Rejected, Sent::No, Retry::Never),
            (401, "", Rejected, Sent::No, Retry::Never),
            (429, "", Unreachable, Sent::No, Retry::ByPolicy),
            (503, "", Unreachable, Sent::No, Retry::ByPolicy),
            (500, "oops", Unknown, Sent::Maybe, Retry::Never),
            (502, "", Unknown, Sent::Maybe, Retry::Never),
            (302, "", Unknown, Sent::Maybe, Retry::Never),
        ] {
            assert_eq!(failed(status, body), (failure, sent, retry), "{status} {body}");
        }
        // A success without the JSON that holds the id is none that anything could be reported on.
        let plain = SPEC.replace("taken_when={at=\"/s\",is=[\"0\"]}\n", "");
        let spec = read_spec("p", &plain).expect("sound");
        let answer = |body: &str| read(&spec, "k", StatusCode::OK, &HeaderMap::new(), &Bytes::from(body.to_owned()));
        assert_eq!(answer(r#"{"ids":["a"]}"#), Verdict::Taken(vec!["a".to_owned()]));
        assert!(matches!(answer("<html>Welcome</html>"), Verdict::Failed(e) if e.sent == Sent::Maybe));
        let Verdict::Failed(error) = verdict(400, r#"{"c":99,"w":"no\r\nway"}"#) else { panic!("taken") };
        assert_eq!(error.code.as_deref(), Some("99"));
        assert_eq!(error.text.to_string(), "provider-said provider=X, code=99, words=no  way");
    }
}
