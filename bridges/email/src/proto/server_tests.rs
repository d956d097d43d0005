use bytes::BytesMut;
use proptest::prelude::*;

use super::*;

/// Plays a whole dialogue: all recipients are taken but those that begin with `no`; mails are collected and answered with 250.
struct Play {
    server: Server<String>,
    mails: Vec<(Envelope<String>, Vec<u8>)>,
    closed: bool,
    handshakes: usize,
}

impl Play {
    fn new(dialect: Dialect, limits: Limits, tls: bool) -> Self {
        let server = Server::new(dialect, limits, "gw.test", tls);
        Self { server, mails: Vec::new(), closed: false, handshakes: 0 }
    }

    fn feed(&mut self, wire: &[u8]) -> String {
        let mut input = BytesMut::from(wire);
        loop {
            match self.server.turn(&mut input) {
                Turn::Read => break,
                Turn::Rcpt(to) if to.starts_with("no") => {
                    self.server.recipient(Rcpt::Refused(Reply::new(550, "5.1.1", "no such person")));
                }
                Turn::Rcpt(to) => self.server.recipient(Rcpt::Taken(to)),
                Turn::Mail(envelope, mail) => {
                    let n = if self.server.dialect == Dialect::Lmtp { envelope.recipients.len() } else { 1 };
                    self.server.settled(&vec![Reply::new(250, "2.0.0", "taken"); n]);
                    self.mails.push((envelope, mail));
                }
                Turn::StartTls => {
                    self.handshakes += 1;
                    self.server.secured();
                }
                Turn::Close => {
                    self.closed = true;
                    break;
                }
            }
        }
        String::from_utf8(self.server.output()).unwrap()
    }
}

fn codes(answers: &str) -> Vec<u16> {
    answers.lines().filter(|l| l.as_bytes().get(3) == Some(&b' ')).map(|l| l[..3].parse().unwrap()).collect()
}

fn smtp() -> Play {
    let mut play = Play::new(Dialect::Smtp, Limits::default(), false);
    play.feed(b"EHLO client.test\r\n");
    play
}

fn lmtp() -> Play {
    let mut play = Play::new(Dialect::Lmtp, Limits::default(), false);
    play.feed(b"LHLO client.test\r\n");
    play
}

#[test]
fn a_mail_comes_in_by_smtp_pipelined_in_one_go() {
    let mut play = Play::new(Dialect::Smtp, Limits::default(), false);
    let answers = play.feed(
        b"EHLO c.test\r\nMAIL FROM:<a@x.test> SIZE=10 BODY=8BITMIME SMTPUTF8\r\nRCPT TO:<j@gw.test>\r\nDATA\r\nhi\r\n.\r\nQUIT\r\n",
    );
    assert_eq!(codes(&answers), [220, 250, 250, 250, 354, 250, 221], "{answers}");
    let (envelope, mail) = &play.mails[0];
    assert_eq!((envelope.helo.as_str(), envelope.from.as_str()), ("c.test", "a@x.test"));
    assert_eq!(envelope.recipients, ["j@gw.test"]);
    assert_eq!(mail, b"hi\r\n");
    assert!(play.closed);
}

#[test]
fn lmtp_answers_once_for_each_recipient_that_was_taken() {
    let mut play = lmtp();
    let answers =
        play.feed(b"MAIL FROM:<>\r\nRCPT TO:<a@gw>\r\nRCPT TO:<nobody@gw>\r\nRCPT TO:<b@gw>\r\nDATA\r\nhi\r\n.\r\n");
    assert_eq!(codes(&answers), [250, 250, 550, 250, 354, 250, 250], "{answers}");
    assert_eq!(play.mails[0].0.from, "");
}

#[test]
fn each_dialect_refuses_the_hello_of_the_other() {
    assert_eq!(codes(&Play::new(Dialect::Lmtp, Limits::default(), false).feed(b"EHLO x\r\n")), [220, 500]);
    assert_eq!(codes(&Play::new(Dialect::Smtp, Limits::default(), false).feed(b"LHLO x\r\n")), [220, 500]);
}

#[test]
fn commands_out_of_order_are_refused() {
    let mut play = Play::new(Dialect::Smtp, Limits::default(), false);
    let answers = play
        .feed(b"MAIL FROM:<a@x>\r\nEHLO c\r\nRCPT TO:<j@gw>\r\nDATA\r\nMAIL FROM:<a@x>\r\nMAIL FROM:<b@x>\r\nDATA\r\n");
    assert_eq!(codes(&answers), [220, 503, 250, 503, 503, 250, 503, 503], "{answers}");
}

#[test]
fn what_is_pipelined_behind_starttls_is_thrown_away() {
    let mut play = Play::new(Dialect::Smtp, Limits::default(), true);
    let answers = play.feed(b"EHLO c\r\nSTARTTLS\r\nMAIL FROM:<evil@x>\r\nRCPT TO:<j@gw>\r\n");
    assert_eq!(codes(&answers), [220, 250, 220], "{answers}");
    assert_eq!(play.handshakes, 1);
    let answers = play.feed(b"MAIL FROM:<a@x>\r\nEHLO c\r\n");
    assert!(answers.starts_with("503"), "the client has to say hello again: {answers}");
    assert!(!answers.contains("STARTTLS"), "{answers}");
    assert_eq!(codes(&play.feed(b"STARTTLS\r\n")), [502]);
}

#[test]
fn a_declared_size_over_the_limit_is_refused_at_mail() {
    let mut play = Play::new(Dialect::Smtp, Limits { message: 1000, ..Limits::default() }, false);
    let answers = play.feed(b"EHLO c\r\nMAIL FROM:<a@x> SIZE=1001\r\nMAIL FROM:<a@x> SIZE=1000\r\n");
    assert_eq!(codes(&answers), [220, 250, 552, 250], "{answers}");
    assert!(answers.contains("552 5.3.4"), "{answers}");
}

#[test]
fn fifty_mebibytes_over_the_limit_are_read_without_keeping_them() {
    let limits = Limits { message: 1 << 20, ..Limits::default() };
    let mut play = Play::new(Dialect::Lmtp, limits, false);
    play.feed(b"LHLO c\r\nMAIL FROM:<a@x>\r\nRCPT TO:<a@gw>\r\nRCPT TO:<b@gw>\r\nDATA\r\n");
    let piece = [b"x".repeat(998), b"\r\n".to_vec()].concat().repeat(66);
    for _ in 0..(51 << 20) / piece.len() + 1 {
        assert_eq!(play.feed(&piece), "");
        if let State::Data(body) = &play.server.state {
            assert!(format!("{body:?}").len() < 8 << 20);
        }
    }
    let answers = play.feed(b".\r\nNOOP\r\n");
    assert_eq!(codes(&answers), [552, 552, 250], "{answers}");
    assert!(play.mails.is_empty());
}

#[test]
fn ten_thousand_recipients_get_an_answer_each() {
    let mut play = smtp();
    let mut wire = b"MAIL FROM:<a@x>\r\n".to_vec();
    for i in 0..10_000 {
        wire.extend_from_slice(format!("RCPT TO:<u{i}@gw.test>\r\n").as_bytes());
    }
    wire.extend_from_slice(b"DATA\r\nhi\r\n.\r\n");
    let answers = codes(&play.feed(&wire));
    assert_eq!(answers.iter().filter(|c| **c == 452).count(), 9000);
    assert_eq!(answers[answers.len() - 2..], [354, 250]);
    assert_eq!(play.mails[0].0.recipients.len(), 1000);
}

#[test]
fn a_search_for_addresses_ends_the_smtp_connection_but_not_lmtp() {
    let wire = "RCPT TO:<nobody@gw>\r\n".repeat(150);
    let mut play = smtp();
    play.feed(b"MAIL FROM:<a@x>\r\n");
    assert!(play.feed(wire.as_bytes()).ends_with("421 4.7.0 too many refused recipients\r\n"));
    assert!(play.closed);
    let mut play = lmtp();
    play.feed(b"MAIL FROM:<a@x>\r\n");
    assert_eq!(codes(&play.feed(wire.as_bytes())), vec![550; 150]);
}

#[test]
fn too_many_errors_end_the_connection() {
    let mut play = smtp();
    let answers = play.feed("NONSENSE\r\n".repeat(50).as_bytes());
    assert_eq!(codes(&answers).len(), 20);
    assert!(answers.ends_with("421 4.7.0 too many errors\r\n"), "{answers}");
    assert!(play.closed);
}

#[test]
fn a_line_that_is_too_long_is_skipped_and_not_kept() {
    let mut play = smtp();
    let long = vec![b'a'; 100_000];
    assert_eq!(codes(&play.feed(&long[..5000])), [500]);
    assert_eq!(play.feed(&long), "");
    assert_eq!(codes(&play.feed(b"aaa\r\nNOOP\r\n")), [250]);
}

#[test]
fn addresses_with_control_characters_or_without_sense_are_refused() {
    let mut play = smtp();
    play.feed(b"MAIL FROM:<a@x>\r\n");
    let answers = play.feed(
        b"RCPT TO:<j\0@gw>\r\nRCPT TO:<j@gw\rX: y>\r\nRCPT TO:<>\r\nRCPT TO:<@>\r\nRCPT TO:j@gw\r\nRCPT TO:<j@gw\r\n",
    );
    assert_eq!(codes(&answers), [500, 500, 501, 501, 501, 501], "{answers}");
    assert_eq!(codes(&play.feed(b"RCPT TO:<Postmaster>\r\n")), [250]);
    assert_eq!(play.server.recipients, ["postmaster"]);
}

#[test]
fn chunks_make_one_mail() {
    let mut play = smtp();
    let answers = play.feed(b"MAIL FROM:<a@x>\r\nRCPT TO:<j@gw>\r\nBDAT 6\r\nhi\r\n.\rBDAT 3 LAST\r\n\nx\nNOOP\r\n");
    assert_eq!(codes(&answers), [250, 250, 250, 250, 250], "{answers}");
    assert_eq!(play.mails[0].1, b"hi\r\n.\r\nx\n");
}

#[test]
fn a_chunk_without_recipients_is_read_and_refused() {
    let mut play = smtp();
    let answers = play.feed(b"MAIL FROM:<a@x>\r\nRCPT TO:<nobody@gw>\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n");
    assert_eq!(codes(&answers), [250, 550, 503, 250], "{answers}");
    assert!(!play.closed, "the chunk is no command");
}

#[test]
fn nonsense_between_chunks_loses_no_chunk() {
    let mut play = smtp();
    let answers =
        play.feed(b"MAIL FROM:<a@x>\r\nRCPT TO:<j@gw>\r\nBDAT 2\r\nhiNONSENSE\r\nDATA\r\nLHLO c\r\nBDAT 1 LAST\r\n!");
    assert_eq!(codes(&answers), [250, 250, 250, 500, 503, 500, 503], "a wrong hello ends the transaction: {answers}");
    let answers = play.feed(b"MAIL FROM:<a@x>\r\nRCPT TO:<j@gw>\r\nBDAT 2\r\nhiNONSENSE\r\nDATA\r\nBDAT 1 LAST\r\n!");
    assert_eq!(codes(&answers), [250, 250, 250, 500, 503, 250], "{answers}");
    assert_eq!(play.mails[0].1, b"hi!");
}

#[test]
fn chunks_over_the_limit_are_refused_at_the_end() {
    let mut play = Play::new(Dialect::Smtp, Limits { message: 4, ..Limits::default() }, false);
    let answers = play.feed(b"EHLO c\r\nMAIL FROM:<a@x>\r\nRCPT TO:<j@gw>\r\nBDAT 3\r\nabcBDAT 3 LAST\r\ndefNOOP\r\n");
    assert_eq!(codes(&answers), [220, 250, 250, 250, 250, 552, 250], "{answers}");
}

#[test]
fn words_of_an_answer_never_make_a_second_line() {
    let reply = Reply::new(550, "5.1.1", format!("x\r\n250 OK{}", "y".repeat(9000)));
    let line = reply.to_string();
    assert!(!line.contains(['\r', '\n']));
    assert!(line.len() <= 510, "{}", line.len());
}

proptest! {
    #[test]
    fn any_octets_in_any_split_do_no_harm(wire in proptest::collection::vec(any::<u8>(), 0..300), cut in 0usize..300) {
        let mut play = smtp();
        let cut = cut.min(wire.len());
        play.feed(&wire[..cut]);
        play.feed(&wire[cut..]);
    }

    #[test]
    fn a_split_changes_nothing(cut in 0usize..150) {
        let wire = b"EHLO c\r\nMAIL FROM:<a@x>\r\nRCPT TO:<j@gw>\r\nRCPT TO:<no@gw>\r\nDATA\r\n..a\r\n.\r\nMAIL FROM:<b@x>\r\nRCPT TO:<k@gw>\r\nBDAT 3 LAST\r\nabcQUIT\r\n";
        let mut whole = Play::new(Dialect::Smtp, Limits::default(), false);
        let expected = whole.feed(wire);
        let mut parts = Play::new(Dialect::Smtp, Limits::default(), false);
        let cut = cut.min(wire.len());
        // What is not consumed stays with the reader, as in a real connection.
        let mut got = String::new();
        let mut pending = Vec::new();
        for piece in [&wire[..cut], &wire[cut..]] {
            pending.extend_from_slice(piece);
            let mut input = BytesMut::from(&pending[..]);
            loop {
                match parts.server.turn(&mut input) {
                    Turn::Read | Turn::Close => break,
                    Turn::Rcpt(to) if to.starts_with("no") => parts.server.recipient(Rcpt::Refused(Reply::new(550, "5.1.1", "no such person"))),
                    Turn::Rcpt(to) => parts.server.recipient(Rcpt::Taken(to)),
                    Turn::Mail(e, m) => { parts.server.settled(&[Reply::new(250, "2.0.0", "taken")]); parts.mails.push((e, m)); }
                    Turn::StartTls => parts.server.secured(),
                }
            }
            pending = input.to_vec();
            got.push_str(&String::from_utf8(parts.server.output()).unwrap());
        }
        prop_assert_eq!(got, expected);
        prop_assert_eq!(parts.mails, whole.mails);
    }
}
