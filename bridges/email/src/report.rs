//! Reads reports: delivery status notifications (RFC 3464) and disposition notifications (RFC 8098). Pure.

use std::borrow::Cow;

use isthmus_bridge::{DeliveryError, Failure, Late, Text};

use crate::address::Mailbox;
use crate::translate::inbound::{Mail, truncated};
use crate::translate::mime::{self, Part, children};

/// What a report says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Report {
    /// What became of a mail on its way.
    Delivery(Dsn),
    /// That it was opened, or thrown away unread.
    Disposition(Mdn),
}

/// A delivery status notification.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Dsn {
    /// ENVID of the mail, as we gave it (RFC 3461).
    pub envelope_id: Option<String>,
    /// Message-ID of the returned mail.
    pub message_id: Option<String>,
    /// What became of it for each recipient.
    pub recipients: Vec<Fate>,
}

/// What became of a mail for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fate {
    /// As we addressed it, where the report says so.
    pub original: Option<Mailbox>,
    /// Whom it came to be for.
    pub last: Option<Mailbox>,
    /// What became of it; `None` for what is no news (relayed, expanded).
    pub what: Option<Late>,
}

/// A disposition notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mdn {
    /// Message-ID of the mail.
    pub message_id: Option<String>,
    /// Who has it.
    pub by: Option<Mailbox>,
    /// It was displayed.
    pub displayed: bool,
}

/// Parts of a report that are looked at.
const MAX_PARTS: usize = 20;
/// Recipients of one report.
const MAX_RECIPIENTS: usize = 1000;

/// Reads a report; `None` if the mail is none.
pub(crate) fn read(raw: &[u8]) -> Option<Report> {
    let part = Part::read(raw);
    if part.media_type() != "multipart/report" {
        return None;
    }
    let boundary = part.parameter("boundary")?;
    let parts: Vec<Part<'_>> =
        children(part.body, boundary.as_bytes()).into_iter().take(MAX_PARTS).map(Part::read).collect();
    let of_type = |types: &[&str]| parts.iter().find(|p| types.contains(&p.media_type().as_str()));
    let returned = of_type(&["message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers"]);
    let message_id = returned.and_then(|p| {
        // A header alone may lack the end of its last line.
        let header = [&p.decoded(), &b"\r\n\r\n"[..]].concat();
        Part::read(&header).ids("Message-ID").into_iter().next()
    });
    if let Some(status) = of_type(&["message/delivery-status", "message/global-delivery-status"]) {
        return Some(Report::Delivery(delivery(&status.decoded(), message_id)));
    }
    let status = of_type(&["message/disposition-notification", "message/global-disposition-notification"])?;
    Some(Report::Disposition(disposition(&status.decoded(), message_id)))
}

/// What a mail means that came back to a bounce address without being a report by RFC 3464; `None` for what is no bounce. An answer by a vacation
/// program goes to the return path too (RFC 3834): what says that it is an answer is one, whatever its subject (which quotes ours), and so is what
/// has a sender on its envelope, for a bounce has none (RFC 5321, 4.5.5).
pub(crate) fn plain_bounce(mail: &Mail, from: &Mailbox, null_sender: bool) -> Option<Late> {
    let local = from.local().to_lowercase();
    let subject = mail.subject.as_deref().unwrap_or("").to_lowercase();
    let daemon = ["mailer-daemon", "postmaster", "mail-daemon", "mdaemon"].contains(&local.as_str());
    let worded = ["undeliver", "failure", "returned", "delivery", "unzustellbar", "rejected"]
        .iter()
        .any(|w| subject.contains(w));
    let words = mime::one_line(truncated(&mail.text, 400));
    (daemon || worded && null_sender && !mail.automatic.auto_replied)
        .then(|| Late::Failed(DeliveryError::new(Failure::Rejected, Text::key("bounced").with("words", words))))
}

fn delivery(status: &[u8], message_id: Option<String>) -> Dsn {
    let text = String::from_utf8_lossy(status);
    let mut blocks = blocks(&text).into_iter();
    let whole = blocks.next().unwrap_or_default();
    let mut dsn =
        Dsn { envelope_id: value(&whole, "original-envelope-id").map(from_xtext), message_id, recipients: Vec::new() };
    // Some programs leave out the empty line before the first recipient.
    let first = value(&whole, "final-recipient").is_some().then_some(whole);
    dsn.recipients.extend(first.into_iter().chain(blocks).take(MAX_RECIPIENTS).filter_map(|b| fate(&b)));
    dsn
}

fn fate(block: &Fields) -> Option<Fate> {
    let action = value(block, "action")?.to_ascii_lowercase();
    let status =
        value(block, "status").map(|s| s.split([' ', '(']).next().unwrap_or("").to_owned()).filter(|s| is_status(s));
    let diagnostic = value(block, "diagnostic-code").map(untyped).unwrap_or_default();
    let words = mime::one_line(truncated(diagnostic, 400));
    let what = match action.split(' ').next().unwrap_or("") {
        "failed" => Some(Late::Failed(failure(status.as_deref(), &words))),
        "delayed" => Some(Late::Delayed(delayed(&words, value(block, "will-retry-until")))),
        "delivered" => Some(Late::Delivered),
        _ => None,
    };
    let address = |name| Mailbox::parse(untyped(value(block, name)?).trim_matches(['<', '>'])).ok();
    Some(Fate { original: address("original-recipient"), last: address("final-recipient"), what })
}

fn failure(status: Option<&str>, words: &str) -> DeliveryError {
    let class = |at: usize| status.and_then(|s| s.split('.').nth(at)).unwrap_or("");
    let failure = match (class(0), class(1), class(2)) {
        // 4.x.x in a final report: tried until its time was up.
        ("4", _, _) | (_, "4", "7") => Failure::TimedOut,
        (_, "1", _) => Failure::NoSuchRecipient,
        (_, "2", "2") => Failure::Full,
        (_, "4", _) => Failure::Unreachable,
        _ => Failure::Rejected,
    };
    let text = if words.is_empty() { Text::key("bounced-silently") } else { Text::key("bounced").with("words", words) };
    let error = DeliveryError::new(failure, text);
    match status {
        Some(status) => error.with_code(status),
        None => error,
    }
}

fn delayed(words: &str, until: Option<&str>) -> Text {
    let words = mime::one_line(words);
    match until.map(mime::one_line).filter(|u| !u.is_empty()) {
        Some(until) => Text::key("delayed-until").with("until", until).with("words", words),
        None => Text::key("delayed").with("words", words),
    }
}

fn disposition(status: &[u8], returned: Option<String>) -> Mdn {
    let text = String::from_utf8_lossy(status);
    let block = blocks(&text).into_iter().next().unwrap_or_default();
    let id = value(&block, "original-message-id").map(|i| i.trim().trim_matches(['<', '>']).to_owned());
    let address = |name| Mailbox::parse(untyped(value(&block, name)?).trim_matches(['<', '>'])).ok();
    // `manual-action/MDN-sent-manually; displayed`, with modifiers after a slash.
    let disposition = value(&block, "disposition").and_then(|d| d.split(';').nth(1)).unwrap_or("");
    let displayed = disposition.split(['/', ',']).next().unwrap_or("").trim().eq_ignore_ascii_case("displayed");
    Mdn {
        message_id: id.filter(|i| !i.is_empty()).or(returned),
        by: address("original-recipient").or_else(|| address("final-recipient")),
        displayed,
    }
}

type Fields = Vec<(String, String)>;

/// Blocks of fields between empty lines, folding undone.
fn blocks(text: &str) -> Vec<Fields> {
    let mut out: Vec<Fields> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        if line.trim().is_empty() {
            open = false;
            continue;
        }
        if !open {
            out.push(Fields::new());
            open = true;
        }
        let Some(block) = out.last_mut() else { break };
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = block.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            block.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    out
}

fn value<'f>(block: &'f Fields, name: &str) -> Option<&'f str> {
    block.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
}

/// `rfc822; a@b` → `a@b`; a value without a type stays.
fn untyped(value: &str) -> &str {
    value.split_once(';').map_or(value, |(_, v)| v).trim()
}

fn is_status(status: &str) -> bool {
    let numbers: Vec<_> = status.split('.').collect();
    numbers.len() == 3 && numbers.iter().all(|n| !n.is_empty() && n.len() <= 3 && n.bytes().all(|b| b.is_ascii_digit()))
}

/// Undoes xtext (RFC 3461 section 4).
fn from_xtext(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.trim();
    while let Some((head, tail)) = rest.split_once('+') {
        out.push_str(head);
        let octet = tail.get(..2).and_then(|h| u8::from_str_radix(h, 16).ok()).filter(u8::is_ascii);
        let (c, after): (Cow<'_, str>, &str) = match octet {
            Some(octet) => (char::from(octet).to_string().into(), &tail[2..]),
            None => ("+".into(), tail),
        };
        out.push_str(&c);
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::translate::inbound;
    use proptest::prelude::*;

    fn sample(name: &str) -> Vec<u8> {
        std::fs::read(format!("{}/tests/samples/{name}.eml", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    fn dsn(name: &str) -> Dsn {
        match read(&sample(name)) {
            Some(Report::Delivery(dsn)) => dsn,
            other => panic!("{name}: {other:?}"),
        }
    }

    #[test]
    fn reports_of_real_servers_are_read() {
        for (name, id, to, kind, status) in [
            ("exim-bounce", "20261122022243.002406@vm", "unknown@gw.test", "Rejected", Some("5.0.0")),
            (
                "to-carol-1-failed-5.1.1",
                "1795312921883842923@outside.test",
                "unknown@gw.test",
                "NoSuchRecipient",
                Some("5.1.1"),
            ),
            (
                "to-carol-2-failed-5.7.1",
                "1795312921898028892@outside.test",
                "rej-data@gw.test",
                "Rejected",
                Some("5.7.1"),
            ),
            ("to-carol-4-failed-4.3.0", "1795312921892370919@outside.test", "temp@gw.test", "TimedOut", Some("4.3.0")),
            ("to-gw-failed-4.4.1", "1795312921873484796@gw.test", "x@dead.test", "TimedOut", Some("4.4.1")),
            (
                "to-gw-failed-5.1.1",
                "1795312921861158131@gw.test",
                "nobody@outside.test",
                "NoSuchRecipient",
                Some("5.1.1"),
            ),
        ] {
            let dsn = dsn(name);
            assert_eq!(dsn.message_id.as_deref(), Some(id), "{name}");
            assert_eq!(dsn.recipients.len(), 1, "{name}");
            assert_eq!(dsn.recipients[0].last.as_ref().unwrap().to_string(), to, "{name}");
            let Some(Late::Failed(error)) = &dsn.recipients[0].what else { panic!("{name}: {dsn:?}") };
            assert_eq!(format!("{:?}", error.failure), kind, "{name}");
            assert_eq!(error.code.as_deref(), status, "{name}");
        }
    }

    #[test]
    fn delays_and_relays_are_no_failures() {
        for name in ["to-carol-3-delayed-4.3.0", "to-gw-delayed-4.4.1"] {
            assert!(
                matches!(&dsn(name).recipients[0].what, Some(Late::Delayed(t)) if t.to_string().contains("2026")),
                "{name}"
            );
        }
        let relayed = dsn("to-gw-relayed-2.0.0");
        assert_eq!(relayed.envelope_id.as_deref(), Some("QQ314159"));
        assert_eq!(relayed.recipients[0].what, None, "handed to a server that knows no reports: not a receipt");
    }

    #[test]
    fn the_words_of_the_far_server_are_shown_in_one_line() {
        let Some(Late::Failed(error)) = dsn("to-gw-failed-5.1.1").recipients[0].what.clone() else { panic!() };
        assert!(
            error.text.to_string().contains("550 5.1.1 <nobody@outside.test> User doesn't exist: nobody@outside.test"),
            "{}",
            error.text
        );
    }

    fn mdn(disposition: &str) -> Option<Report> {
        read(format!(
            "From: a@x.test\r\nContent-Type: multipart/report; report-type=disposition-notification; boundary=b\r\n\r\n--b\r\n\r\nread\r\n--b\r\nContent-Type: message/disposition-notification\r\n\r\nFinal-Recipient: rfc822; a@x.test\r\nOriginal-Message-ID: <1@gw.test>\r\nDisposition: {disposition}\r\n--b--\r\n"
        ).as_bytes())
    }

    #[test]
    fn dispositions_are_read() {
        for (disposition, displayed) in [
            ("manual-action/MDN-sent-manually; displayed", true),
            ("automatic-action/MDN-sent-automatically;displayed/error", true),
            ("automatic-action/MDN-sent-automatically; deleted", false),
            ("displayed", false),
        ] {
            let Some(Report::Disposition(mdn)) = mdn(disposition) else { panic!("{disposition}") };
            assert_eq!(mdn.displayed, displayed, "{disposition}");
            assert_eq!(mdn.message_id.as_deref(), Some("1@gw.test"));
            assert_eq!(mdn.by.unwrap().to_string(), "a@x.test");
        }
    }

    #[test]
    fn answers_of_vacation_programs_are_no_bounces() {
        let bounce = |from: &str, header: &str, null_sender| {
            let mail = inbound::read(format!("From: {from}\r\n{header}\r\n\r\nwords\r\n").as_bytes());
            plain_bounce(&mail, &Mailbox::parse(from).unwrap(), null_sender).is_some()
        };
        for (from, header, null_sender, wanted) in [
            ("alice@x.test", "Subject: Out of office", true, false),
            ("alice@x.test", "Subject: Re: delivery on Friday\r\nAuto-Submitted: auto-replied (vacation)", true, false),
            ("alice@x.test", "Subject: Re: delivery on Friday", false, false),
            ("MAILER-DAEMON@x.test", "Subject: hello", true, true),
            ("MAILER-DAEMON@x.test", "Subject: hello\r\nAuto-Submitted: auto-replied", true, true),
            ("qmail@x.test", "Subject: failure notice", true, true),
        ] {
            assert_eq!(bounce(from, header, null_sender), wanted, "{from} {header} {null_sender}");
        }
        assert_eq!(from_xtext("a+2Bb+zz+"), "a+b+zz+");
    }

    proptest! {
        #[test]
        fn a_damaged_report_does_no_harm(at in 0usize..3000, with in any::<u8>(), cut in 0usize..4000) {
            let mut raw = sample("to-gw-failed-5.1.1");
            let at = at.min(raw.len() - 1);
            raw[at] = with;
            raw.truncate(cut);
            read(&raw);
        }
    }
}
