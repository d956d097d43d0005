use super::*;

fn mail(raw: &str) -> Mail {
    read(raw.replace('\n', "\r\n").as_bytes())
}

#[test]
fn a_plain_mail_is_read() {
    let m = mail(
        "From: \"Alice =?utf-8?q?=C3=84?=\" <Alice@Example.NET>\nTo: j@gw.test, k@gw.test\nCc: l@x.test\nSubject: =?utf-8?b?R3LDvMOfZQ==?=\n  from\n here\nDate: Sun, 22 Nov 2026 02:02:01 +0000\nMessage-ID: <1@x>\nIn-Reply-To: <0@x>\nReferences: <a@x> <0@x>\n\nHello\n\n-- \nAlice\n",
    );
    assert_eq!(m.from.as_ref().unwrap().mailbox.to_string(), "Alice@example.net");
    assert_eq!(m.from.as_ref().unwrap().name.as_deref(), Some("Alice Ä"));
    assert_eq!(m.to.len(), 2);
    assert_eq!(m.cc[0].mailbox.to_string(), "l@x.test");
    assert_eq!(m.subject.as_deref(), Some("Grüße from here"));
    assert_eq!(
        (m.id.as_deref(), &m.in_reply_to[..], &m.references[..]),
        (Some("1@x"), &["0@x".to_owned()][..], &["a@x".to_owned(), "0@x".to_owned()][..])
    );
    assert_eq!(m.text, "Hello");
    assert!(m.whole.contains("Alice"));
    assert_eq!(m.date, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_312_921)));
}

#[test]
fn no_from_no_header_no_body() {
    for raw in ["", "\n", "\n\n", "x", "Subject: x", "From:\n\nx", "From: nobody\n\nx", ": \n\nx", "From: <>\n\nhi"] {
        let m = mail(raw);
        assert_eq!(m.from, None, "{raw:?}");
    }
    assert_eq!(mail("\nbody").text, "body");
}

#[test]
fn header_injection_ends_in_one_line() {
    let m = mail("From: =?utf-8?q?a=0D=0ABcc:_x@y?= <a@x.test>\nSubject: =?utf-8?q?s=0D=0AX:_y=00?=\n\nx");
    assert_eq!(m.from.as_ref().unwrap().name.as_deref(), Some("a Bcc: x@y"));
    assert_eq!(m.subject.as_deref(), Some("s X: y"));
    let m = mail("From: \"a\\\r\nX: y\"@x.test\n\nx");
    assert!(m.from.is_none_or(|f| !f.mailbox.to_string().contains(['\r', '\n'])));
}

#[test]
fn the_plainest_alternative_is_shown_and_files_of_all_are_kept() {
    let m = mail(
        "From: a@x.test\nContent-Type: multipart/mixed; boundary=m\n\n--m\nContent-Type: multipart/alternative; boundary=a\n\n--a\nContent-Type: text/plain\n\nplain\n--a\nContent-Type: multipart/related; boundary=r\n\n--r\nContent-Type: text/html\n\n<p>rich\n--r\nContent-Type: image/png; name=p.png\nContent-Transfer-Encoding: base64\n\n\
         AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n--r--\n--a--\n--m\nContent-Type: application/pdf; name=\"../x.pdf\"\nContent-Disposition: attachment\n\nPDF\n--m\nContent-Type: text/plain\n\nfooter\n--m--\n",
    );
    assert_eq!(m.text, "plain\n\nfooter");
    let names: Vec<_> = m.files.iter().map(|f| (f.name.as_deref().unwrap_or(""), f.media_type.as_str())).collect();
    assert_eq!(names, [("p.png", "image/png"), ("x.pdf", "application/pdf")]);
}

#[test]
fn html_alone_becomes_text_and_an_empty_alternative_is_passed_over() {
    assert_eq!(
        mail("Content-Type: text/html\n\n<p>Hi <a href='https://x.test/y'>there</a>").text,
        "Hi there <https://x.test/y>"
    );
    let m = mail(
        "Content-Type: multipart/alternative; boundary=a\n\n--a\n\n  \n--a\nContent-Type: text/html\n\n<b>rich</b>\n--a--",
    );
    assert_eq!(m.text, "rich");
}

#[test]
fn broken_mime_is_shown_as_it_stands() {
    let cases = [
        ("Content-Type: multipart/mixed; boundary=b\n\nno delimiter at all", "no delimiter at all"),
        ("Content-Type: multipart/mixed\n\n--b\n\nno boundary\n--b--", "--b\n\nno boundary\n--b--"),
        ("Content-Type: multipart/mixed; boundary=b\n\n--b\n\nno end", "no end"),
        ("Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: ;;;\n\nodd type\n--b--", "odd type"),
        ("Content-Type: text/plain; charset=\"\n\nodd quote", "odd quote"),
        ("Content-Transfer-Encoding: base64\n\n!!! not base64 =", ""),
        ("Content-Transfer-Encoding: quoted-printable\n\n=ZZ=4", "=ZZ=4"),
        ("Content-Transfer-Encoding: x-uuencode\n\nbegin 644 x", "begin 644 x"),
    ];
    for (raw, text) in cases {
        let got = mail(raw);
        let shown = if got.whole.is_empty() {
            got.files.first().map(|f| String::from_utf8_lossy(&f.octets).into_owned()).unwrap_or_default()
        } else {
            got.whole.clone()
        };
        if raw.contains("base64") {
            continue; // what is read of it is noise; that it is read is the point
        }
        assert_eq!(shown, text, "{raw:?}");
    }
}

#[test]
fn an_unknown_charset_loses_nothing() {
    let m = read(b"Content-Type: text/plain; charset=x-martian\r\n\r\ngr\xfc\xdfe");
    assert_eq!(m.text, "grüße");
    let m = read("Content-Type: text/plain; charset=us-ascii\r\n\r\ngrüße".as_bytes());
    assert_eq!(m.text, "grüße");
}

#[test]
fn flowed_text_is_joined() {
    assert_eq!(
        mail("Content-Type: text/plain; format=flowed; delsp=yes\n\nsoft \nbreak\nhard").text,
        "softbreak\nhard"
    );
}

#[test]
fn automatic_mail_is_known() {
    for (header, any) in [
        ("Auto-Submitted: auto-replied", true),
        ("Auto-Submitted: no", false),
        ("auto-submitted: auto-generated; x=y", true),
        ("Precedence: bulk", true),
        ("Precedence: first-class", false),
        ("Precedence: list", true),
        ("List-Id: <l.x>", false),
        ("X: y", false),
    ] {
        assert_eq!(mail(&format!("{header}\n\nx")).automatic.any(), any, "{header}");
    }
}

#[test]
fn one_click_unsubscription_needs_both_headers() {
    let both =
        "List-Unsubscribe: <mailto:u@x>, <https://x.test/u?1>\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\n\nx";
    assert_eq!(mail(both).unsubscribe.as_deref(), Some("https://x.test/u?1"));
    let only = mail("List-Unsubscribe: <https://x.test/u?1>, <mailto:u%2Bx@x.test?subject=off%0D%0ABcc:%20z>\n\nx");
    assert_eq!(only.unsubscribe, None);
    let (to, subject) = only.unsubscribe_mail.unwrap();
    assert_eq!((to.to_string().as_str(), subject.as_str()), ("u+x@x.test", "off Bcc: z"));
}

#[test]
fn a_second_try_has_the_same_digest_and_another_mail_has_not() {
    let one = mail("Received: a\nFrom: a@x\nMessage-ID: <1@x>\n\nhi");
    assert_eq!(
        one.digest,
        mail("Received: b\nReceived: a\nReturn-Path: <z>\nFrom: a@x\nMessage-ID: <1@x>\n\nhi").digest
    );
    assert_ne!(one.digest, mail("Received: a\nFrom: a@x\nMessage-ID: <1@x>\n\nho").digest);
}

#[test]
fn a_long_text_is_bounded_at_a_whole_character() {
    let m = read(format!("From: a@x\r\n\r\n{}", "é".repeat(3 << 20)).as_bytes());
    assert!(m.whole.len() <= MAX_TEXT && m.whole.len() > MAX_TEXT - 10);
    assert!(m.whole.chars().all(|c| c == 'é'), "still read as UTF-8");
}
