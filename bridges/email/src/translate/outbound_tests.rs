use super::*;
use mail_parser::{MessageParser, MimeHeaders};
use proptest::prelude::*;
use std::time::Duration;

fn draft() -> Draft {
    Draft {
        name: Some("Juliet".into()),
        from: Mailbox::parse("juliet@email.example.org").unwrap(),
        to: vec![Mailbox::parse("Alice@example.net").unwrap()],
        cc: Vec::new(),
        date: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        message_id: "k1@email.example.org".into(),
        references: Vec::new(),
        subject: "Hello".into(),
        text: "Good morning".into(),
        html: true,
        files: Vec::new(),
        jabber_id: Some("juliet@capulet.lit".into()),
        ask_read: false,
    }
}

fn text_of(draft: &Draft) -> String {
    String::from_utf8(write(draft).expect("a mail").bytes).expect("UTF-8")
}

fn header(mail: &str) -> &str {
    mail.split_once("\r\n\r\n").expect("a header").0
}

#[test]
fn a_plain_mail() {
    let mail = text_of(&draft());
    for line in [
        "From: Juliet <juliet@email.example.org>",
        "To: Alice@example.net",
        "Subject: Hello",
        "Date: Tue, 14 Nov 2023 22:13:20 +0000",
        "Message-ID: <k1@email.example.org>",
        "Auto-Submitted: no",
        "Jabber-ID: juliet@capulet.lit",
        "Content-Type: text/plain; charset=utf-8; format=flowed",
        "MIME-Version: 1.0",
    ] {
        assert!(header(&mail).lines().any(|l| l == line), "{line} in\n{mail}");
    }
    assert!(mail.ends_with("\r\n\r\nGood morning\r\n"), "{mail}");
}

#[test]
fn references_and_copies() {
    let mail = text_of(&Draft {
        cc: vec![Mailbox::parse("bob@example.net").unwrap()],
        references: vec!["a@x".into(), "bad id@x".into(), "b@x>\r\nBcc: <e@x".into(), "c@x".into()],
        ask_read: true,
        ..draft()
    });
    for line in [
        "Cc: bob@example.net",
        "In-Reply-To: <c@x>",
        "References: <a@x> <c@x>",
        "Disposition-Notification-To: juliet@email.example.org",
    ] {
        assert!(header(&mail).lines().any(|l| l == line), "{line} in\n{mail}");
    }
}

#[test]
fn blind_copies_alone_show_nobody() {
    let mail = text_of(&Draft { to: Vec::new(), ..draft() });
    assert!(header(&mail).lines().any(|l| l == "To: undisclosed-recipients:;"), "{mail}");
}

#[test]
fn letters_of_all_scripts_arrive() {
    let said = "Où est le café ? 日本語 😀\n\nfin";
    let mail =
        write(&Draft { subject: "Café 日本".into(), name: Some("Zoë".into()), text: said.into(), ..draft() }).unwrap();
    assert!(mail.bytes.is_ascii() && !mail.utf8);
    let read = MessageParser::default().parse(&mail.bytes).unwrap();
    assert_eq!(read.subject(), Some("Café 日本"));
    assert_eq!(read.from().and_then(|f| f.first()).and_then(|f| f.name()), Some("Zoë"));
    assert_eq!(read.body_text(0).unwrap().trim_end().replace("\r\n", "\n"), said);
}

#[test]
fn international_addresses_need_smtputf8() {
    let mail = write(&Draft { to: vec![Mailbox::parse("用户@例子.example").unwrap()], ..draft() }).unwrap();
    assert!(mail.utf8);
    assert!(String::from_utf8(mail.bytes).unwrap().contains("To: 用户@xn--fsqu00a.example\r\n"));
}

#[test]
fn odd_local_parts_are_written_as_they_are() {
    for odd in ["\"john \\\"d\\\" doe\"@example.net", "ca\u{301}rol@example.net", "a!#$%&'*+-/=?^_`{|}~b@example.net"] {
        let to = Mailbox::parse(odd).unwrap();
        let mail = text_of(&Draft { to: vec![to.clone(), to.clone()], ..draft() });
        assert!(header(&mail).contains(&format!("To: {to},\r\n {to}")), "{mail}");
    }
}

#[test]
fn styling_becomes_an_alternative_and_files_attachments() {
    let picture =
        Attached { name: Some("../été\r\n.png".into()), media_type: "image/png".into(), body: vec![0, 1, 255] };
    let rest = Attached { name: None, media_type: "message/rfc822".into(), body: b"Subject: x\r\n\r\ny".to_vec() };
    let mail = write(&Draft { text: "*hi* <b>".into(), files: vec![picture, rest], ..draft() }).unwrap();
    let read = MessageParser::default().parse(&mail.bytes).unwrap();
    assert_eq!(read.body_text(0).unwrap().trim_end(), "*hi* <b>");
    assert!(read.body_html(0).unwrap().contains("<strong>hi</strong> &lt;b&gt;"));
    let files: Vec<_> = read
        .attachments()
        .map(|a| (a.attachment_name().unwrap_or_default().to_owned(), a.contents().to_vec()))
        .collect();
    assert_eq!(
        files,
        [("_été.png".to_owned(), vec![0, 1, 255]), ("file-2".to_owned(), b"Subject: x\r\n\r\ny".to_vec())]
    );
}

#[test]
fn subjects() {
    assert_eq!(reply_subject("Hello"), "Re: Hello");
    assert_eq!(reply_subject("RE: re:  Hello"), "Re: Hello");
    assert_eq!(reply_subject("Re: "), "");
    assert_eq!(subject_line("subject: Plans \n\nbody\nmore"), Some(("Plans", "body\nmore")));
    assert_eq!(subject_line("Subject:\nbody"), None);
    assert_eq!(subject_line("The subject: x"), None);
}

proptest! {
    #[test]
    fn nothing_that_is_said_makes_a_header(
        evil in "(\\PC|[\r\n\0\u{85}\u{2028}]|\r\nBcc: x@y\r\n|\r\n\r\n){0,12}",
        jid in "(\\PC|[\r\n]){0,20}",
    ) {
        let mail = write(&Draft {
            subject: evil.clone(),
            name: Some(evil.clone()),
            jabber_id: Some(jid),
            files: vec![Attached { name: Some(evil.clone()), media_type: evil.clone(), body: Vec::new() }],
            references: vec![evil.clone(), format!("{evil}@x")],
            text: evil,
            ..draft()
        }).expect("a mail");
        prop_assert!(!mail.bytes.contains(&0));
        let mail = String::from_utf8(mail.bytes).expect("UTF-8");
        prop_assert!(!mail.replace("\r\n", "").contains(['\r', '\n']), "bare line end");
        let known = ["From", "To", "Date", "Message-ID", "Subject", "Auto-Submitted", "Jabber-ID", "MIME-Version", "Content-Type", "In-Reply-To", "References"];
        for line in header(&mail).split("\r\n").filter(|l| !l.starts_with([' ', '\t'])) {
            let field = line.split(':').next().unwrap_or_default();
            prop_assert!(known.contains(&field), "{:?} in {}", line, mail);
        }
    }
}
