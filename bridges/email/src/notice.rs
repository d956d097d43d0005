//! Mails of the gateway's own: delivery status notifications (RFC 3464). All ASCII, so that every relay takes them.

use std::fmt::Write as _;
use std::time::SystemTime;

use isthmus_bridge::{DeliveryError, Failure, Text};
use lettre::message::header::{Date, Headers};

use crate::envelope;
use crate::state::ReturnPath;

/// Whose notice it is, and which.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp<'a> {
    /// The mail domain.
    pub domain: &'a str,
    /// Makes the Message-ID; of `[a-z0-9]`.
    pub id: &'a str,
    /// `Date`.
    pub at: SystemTime,
}

/// Whether a mail may be answered by a machine: not if a machine wrote it (RFC 3834), if it went to many, or if it is our own.
pub(crate) fn may_answer(path: &ReturnPath, mail_domain: &str) -> bool {
    let text = String::from_utf8_lossy(&path.headers);
    let field = |wanted: &str| {
        text.lines().take_while(|l| !l.is_empty()).find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim().to_ascii_lowercase())
        })
    };
    let automatic = field("auto-submitted").is_some_and(|v| v.split([';', ' ']).next() != Some("no"));
    let many = field("precedence").is_some_and(|v| ["bulk", "junk", "list"].contains(&v.as_str()));
    let own = path.sender.domain() == mail_domain
        && (envelope::looks_like_one(&path.sender) || path.sender.local().eq_ignore_ascii_case("mailer-daemon"));
    !path.no_report && !automatic && !many && !own
}

/// The report that a mail was not delivered. Goes out with the null sender.
pub(crate) fn undelivered(path: &ReturnPath, error: &DeliveryError, stamp: &Stamp<'_>) -> Vec<u8> {
    let Stamp { domain, id, at } = stamp;
    let boundary = format!("=_report_{id}");
    let (status, words) = status(&error.failure);
    let recipient = ascii(&path.recipient.to_string());
    let details = match &error.text {
        Text::Plain(words) => format!("\r\nThe answer of the other side was:\r\n\r\n    {}\r\n", ascii(words)),
        _ => String::new(),
    };
    let mut mail = String::new();
    let mut line = |text: &str| {
        mail.push_str(text);
        mail.push_str("\r\n");
    };
    line(&format!("From: Mail Delivery System <mailer-daemon@{domain}>"));
    line(&format!("To: <{}>", ascii(&path.sender.to_string())));
    line("Subject: Undelivered mail returned to sender");
    line(&format!("Date: {}", date(*at)));
    line(&format!("Message-ID: <report.{id}@{domain}>"));
    if let Some(original) = original_id(&path.headers) {
        line(&format!("In-Reply-To: <{original}>"));
        line(&format!("References: <{original}>"));
    }
    line("Auto-Submitted: auto-generated");
    line("MIME-Version: 1.0");
    line(&format!("Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=\"{boundary}\""));
    line("");
    line(&format!("--{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n"));
    line(&format!("Your mail to <{recipient}> could not be delivered.\r\n{words}\r\n{details}"));
    line(&format!("--{boundary}\r\nContent-Type: message/delivery-status\r\n"));
    line(&format!("Reporting-MTA: dns; {domain}"));
    if let Some(envid) = &path.envid {
        line(&format!("Original-Envelope-Id: {}", ascii(envid)));
    }
    line("");
    if let Some(orcpt) = &path.orcpt {
        line(&format!("Original-Recipient: {}", ascii(orcpt)));
    }
    line(&format!("Final-Recipient: rfc822; {recipient}\r\nAction: failed\r\nStatus: {status}"));
    if let Some(code) = &error.code {
        line(&format!("Diagnostic-Code: x-xmpp; {}", ascii(code)));
    }
    line(&format!("\r\n--{boundary}\r\nContent-Type: text/rfc822-headers\r\n"));
    line(&returned(&path.headers, &boundary));
    line(&format!("--{boundary}--"));
    mail.into_bytes()
}

fn date(at: SystemTime) -> String {
    let mut headers = Headers::new();
    headers.set(Date::new(at));
    headers.get_raw("Date").unwrap_or_default().to_owned()
}

/// RFC 3463 status and a sentence.
fn status(failure: &Failure) -> (&'static str, &'static str) {
    match failure {
        Failure::NoSuchRecipient => ("5.1.1", "There is nobody with that address any more."),
        Failure::Full | Failure::OverQuota => ("5.2.2", "The recipient's mailbox is full."),
        Failure::TooLong { .. } => ("5.3.4", "It is too big."),
        Failure::Forbidden | Failure::Rejected | Failure::NotRegistered => {
            ("5.7.1", "The recipient's server refused it.")
        }
        Failure::Unreachable | Failure::TimedOut => {
            ("5.4.7", "The recipient's server could not be reached for a long time.")
        }
        Failure::Unsupported => ("5.6.1", "The recipient's server cannot take this kind of message."),
        _ => ("5.0.0", "The recipient's server did not take it."),
    }
}

/// The header section as it came, in ASCII, cut to whole lines; nothing in it can end the part.
fn returned(headers: &[u8], boundary: &str) -> String {
    let text = String::from_utf8_lossy(headers);
    let mut out = String::with_capacity(text.len());
    for line in text.lines().take_while(|l| !l.is_empty()) {
        if !line.contains(boundary) {
            let _ = write!(out, "{}\r\n", ascii(line));
        }
    }
    out
}

fn original_id(headers: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(headers);
    let value = text.lines().find_map(|l| {
        let (name, value) = l.split_once(':')?;
        name.eq_ignore_ascii_case("message-id").then(|| value.trim().to_owned())
    })?;
    let id = value.strip_prefix('<')?.strip_suffix('>')?;
    crate::translate::outbound::is_message_id(id).then(|| id.to_owned())
}

/// One line of printable ASCII.
fn ascii(text: &str) -> String {
    text.chars().map(|c| if (' '..='~').contains(&c) || c == '\t' { c } else { '?' }).take(998).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Mailbox;
    use mail_parser::MessageParser;

    #[test]
    fn machines_are_not_answered() {
        for (sender, header, may) in [
            ("alice@example.net", "Subject: x", true),
            ("alice@example.net", "auto-submitted: NO (a person)", true),
            ("alice@example.net", "Auto-Submitted: auto-replied; x=y", false),
            ("alice@example.net", "Precedence: Bulk", false),
            ("alice@example.net", "\r\nAuto-Submitted: auto-replied", true),
            ("bounce+k.ab@email.example.org", "Subject: x", false),
            ("juliet@email.example.org", "Subject: x", true),
        ] {
            let path = ReturnPath {
                sender: Mailbox::parse(sender).unwrap(),
                recipient: Mailbox::parse("juliet@email.example.org").unwrap(),
                orcpt: None,
                envid: None,
                no_report: false,
                headers: header.as_bytes().to_vec(),
            };
            assert_eq!(may_answer(&path, "email.example.org"), may, "{sender} {header}");
        }
    }

    #[test]
    fn a_report_that_parsers_read_and_nothing_breaks_out_of() {
        let path = ReturnPath {
            sender: Mailbox::parse("alice@example.net").unwrap(),
            recipient: Mailbox::parse("juliet@email.example.org").unwrap(),
            orcpt: Some("rfc822;juliet@email.example.org\r\nEvil: 1".into()),
            envid: Some("q1".into()),
            no_report: false,
            headers: b"Message-ID: <m1@example.net>\r\nSubject: caf\xc3\xa9\r\n--=_report_k1--\r\nX: y\r\n\r\nbody"
                .to_vec(),
        };
        let error =
            DeliveryError::new(Failure::NoSuchRecipient, Text::plain("gone\r\n.\r\nRCPT")).with_code("item-not-found");
        let mail =
            undelivered(&path, &error, &Stamp { domain: "email.example.org", id: "k1", at: SystemTime::UNIX_EPOCH });
        assert!(mail.is_ascii());
        let text = String::from_utf8(mail.clone()).unwrap();
        for line in [
            "To: <alice@example.net>",
            "Date: Thu, 01 Jan 1970 00:00:00 +0000",
            "In-Reply-To: <m1@example.net>",
            "Auto-Submitted: auto-generated",
            "Original-Envelope-Id: q1",
            "Original-Recipient: rfc822;juliet@email.example.org??Evil: 1",
            "Final-Recipient: rfc822; juliet@email.example.org",
            "Action: failed",
            "Status: 5.1.1",
            "Diagnostic-Code: x-xmpp; item-not-found",
            "    gone??.??RCPT",
            "Subject: caf?",
            "X: y",
        ] {
            assert!(text.split("\r\n").any(|l| l == line), "{line} in\n{text}");
        }
        assert!(!text.replace("\r\n", "").contains(['\r', '\n']));
        let read = MessageParser::default().parse(&mail).unwrap();
        assert_eq!(read.parts.len(), 4, "{text}");
    }
}
