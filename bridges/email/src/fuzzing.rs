//! What the fuzz targets (`tests/fuzz`) and the generated mails (`tests/generated.rs`) call: everything that reads octets from outside, with its laws asserted.

use bytes::BytesMut;
use mail_auth::AuthenticatedMessage;

use crate::proto::{Dialect, Limits, Rcpt, Reply, Server, Turn};
use crate::translate::inbound;
use crate::translate::mime::Part;
use crate::{auth_results, report};

/// Reads a mail in every way in which an inbound mail is read. Panics where a law of the reader does not hold.
pub fn mail(raw: &[u8]) {
    let mail = inbound::read(raw);
    let clean = |text: &str| !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t'));
    assert!(clean(&mail.whole) && clean(&mail.text), "control characters in the text");
    assert!(mail.whole.len() <= 1 << 20, "the text is over its bound");
    assert!(mail.text.trim().is_empty() == mail.whole.trim().is_empty(), "all of the text was cut");
    let line = |text: &str| !text.chars().any(char::is_control);
    assert!(mail.subject.as_deref().is_none_or(line), "control characters in the subject");
    for person in mail.from.iter().chain(&mail.to).chain(&mail.cc) {
        assert!(person.name.as_deref().is_none_or(line), "control characters in a name");
        assert!(!person.mailbox.to_string().contains(['\r', '\n', '\0']), "control characters in an address");
    }
    for file in &mail.files {
        let safe = |name: &str| line(name) && !name.contains(['/', '\\']) && !name.starts_with('.');
        assert!(file.name.as_deref().is_none_or(safe), "an unsafe file name");
        assert!(line(&file.media_type) && file.media_type.contains('/'), "an odd media type");
    }
    for id in mail.id.iter().chain(&mail.references).chain(&mail.in_reply_to) {
        assert!(line(id) && !id.contains(' '), "an odd Message-ID");
    }
    report::read(raw);
    for value in Part::read(raw).all("Authentication-Results") {
        auth_results::parse(value);
    }
    AuthenticatedMessage::parse(raw);
}

/// Speaks these octets to the listener in both dialects.
pub fn dialogue(octets: &[u8]) {
    for dialect in [Dialect::Smtp, Dialect::Lmtp] {
        let mut server: Server<String> =
            Server::new(dialect, Limits { message: 2000, ..Limits::default() }, "gw.test", true);
        let mut input = BytesMut::from(octets);
        loop {
            match server.turn(&mut input) {
                Turn::Read | Turn::Close => break,
                Turn::Rcpt(to) if to.len() % 3 == 0 => server.recipient(Rcpt::Refused(Reply::new(550, "5.1.1", to))),
                Turn::Rcpt(to) => server.recipient(Rcpt::Taken(to)),
                Turn::Mail(envelope, mail) => {
                    assert!(mail.len() <= 2000, "a mail over its bound");
                    server.settled(&vec![Reply::new(250, "2.0.0", "taken"); envelope.recipients.len()]);
                }
                Turn::StartTls => {
                    assert!(input.is_empty(), "what was pipelined behind STARTTLS is still there");
                    server.secured();
                }
            }
        }
        let out = server.output();
        let lines = out.strip_suffix(b"\r\n").unwrap_or(&out).split(|b| *b == b'\n');
        assert!(lines.into_iter().all(|l| l.len() <= 511 && l.iter().take(3).all(u8::is_ascii_digit)), "an odd answer");
    }
}
