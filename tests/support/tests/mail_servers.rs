//! The launchers of the real mail servers do what they say.
#![allow(clippy::unwrap_used, reason = "a test")]

use isthmus_testkit::dovecot::Dovecot;
use isthmus_testkit::postfix::{Options, Postfix};
use isthmus_testkit::smtp::{FakeSmtp, Features, SmtpClient, send};
use isthmus_testkit::unbound::Unbound;

const TEXT: &str = "From: a@gw.test\r\nSubject: one\r\n\r\nhello\r\n";

#[tokio::test]
async fn mail_runs_through_postfix_to_dovecot_to_the_gateway_and_back_as_a_bounce() {
    let dovecot = Dovecot::start(&["carol@outside.test"]).await.unwrap();
    let gateway = FakeSmtp::start(Features { lmtp: true, ..Features::default() }).await.unwrap();
    let options = Options { gateway: Some(("gw.test".to_owned(), gateway.address().port())), ..Options::default() };
    let mut postfix = Postfix::start(&options, &dovecot).await.unwrap();
    let smtp = postfix.smtp().address();
    send(smtp, false, "a@gw.test", &["carol@outside.test"], TEXT).await.unwrap();
    dovecot.mail("carol@outside.test", "the text", |mail| mail.contains("hello")).await.unwrap();
    assert_eq!(dovecot.count_by_imap("carol@outside.test").await.unwrap(), 1);
    send(smtp, false, "carol@outside.test", &["user@gw.test"], TEXT).await.unwrap();
    assert_eq!(gateway.wait_for(1).await.unwrap()[0].to[0].0, "user@gw.test");
    postfix.stop();
    postfix.launch().await.unwrap();
    send(smtp, false, "user@gw.test", &["x@dead.test"], TEXT).await.unwrap();
    let mails = gateway.wait_for(2).await.unwrap();
    assert_eq!(mails[1].from, "", "a notice has a null sender: {mails:?}");
    let refused = send(smtp, false, "a@gw.test", &["x@nowhere.test"], TEXT).await.unwrap();
    assert_eq!(refused[0].code, 550, "{refused:?}");
}

#[tokio::test]
async fn postfix_takes_a_submission_after_starttls_and_auth_only() {
    let dovecot = Dovecot::start(&["carol@outside.test"]).await.unwrap();
    let postfix = Postfix::start(&Options::default(), &dovecot).await.unwrap();
    let client = SmtpClient::hello(postfix.submission().address(), false).await.unwrap();
    let mut client = client.starttls(postfix.certificate.client().unwrap()).await.unwrap();
    let replies = client.mail("carol@outside.test", &["carol@outside.test"], TEXT, false).await.unwrap();
    assert_eq!(replies[0].code, 554, "{replies:?}");
    // \0carol@outside.test\0pw-carol
    client.expect("AUTH PLAIN AGNhcm9sQG91dHNpZGUudGVzdABwdy1jYXJvbA==", 235).await.unwrap();
    let replies = client.mail("carol@outside.test", &["carol@outside.test"], TEXT, false).await.unwrap();
    assert!(replies[0].is_ok(), "{replies:?}");
    dovecot.mail("carol@outside.test", "the text", |mail| mail.contains("hello")).await.unwrap();
}

#[tokio::test]
async fn postfix_asks_the_gateway_for_recipients() {
    use isthmus_testkit::smtp::{Act, Stage};
    let dovecot = Dovecot::start(&[]).await.unwrap();
    let gateway = FakeSmtp::start(Features { lmtp: true, ..Features::default() }).await.unwrap();
    gateway.script(|stage| match stage {
        Stage::To("unknown@gw.test") => Act::say("550 5.1.1 no such user"),
        _ => Act::Take,
    });
    let gateway_port = Some(("gw.test".to_owned(), gateway.address().port()));
    let options = Options { gateway: gateway_port, verify_recipients: true, ..Options::default() };
    let postfix = Postfix::start(&options, &dovecot).await.unwrap();
    let to = ["unknown@gw.test", "known@gw.test"];
    let smtp = postfix.smtp().address();
    let first = send(smtp, false, "c@outside.test", &to[..1], TEXT).await.unwrap();
    assert_eq!(first[0].code, 550, "{first:?}");
    let second = send(smtp, false, "c@outside.test", &to[1..], TEXT).await.unwrap();
    assert!(second[0].is_ok(), "{second:?}");
}

#[tokio::test]
async fn unbound_serves_the_records() {
    let server = Unbound::start(&["_dmarc.x.test. TXT \"v=DMARC1; p=reject\""]).await.unwrap();
    assert_ne!(server.address().port(), 0);
}
