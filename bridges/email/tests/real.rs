//! Over a real Postfix (submission with STARTTLS and AUTH) into a real Dovecot; signatures checked by dkimpy.

mod common;

use std::path::PathBuf;
use std::process::Command;

use common::{Juliet, relay};
use isthmus_bridge::{Failure, Message, Retry};
use isthmus_testkit::dovecot::Dovecot;
use isthmus_testkit::postfix::{Options, Postfix};
use isthmus_testkit::process::{Folder, program, run};
use serde_json::json;

/// Verifies every signature of the mail on stdin with the keys in the arguments (`name=record`); prints how many held.
const VERIFY: &str = r"
import sys, dkim
records = dict(a.split('=', 1) for a in sys.argv[1:])
mail = sys.stdin.buffer.read()
def find(name, timeout=5):
    return records[name.decode().rstrip('.')].encode()
verifier = dkim.DKIM(mail)
count = sum(1 for name, _ in verifier.headers if name.lower() == b'dkim-signature')
def holds(i):
    try:
        return dkim.DKIM(mail).verify(idx=i, dnsfunc=find)
    except dkim.DKIMException:
        return False
print(count, sum(1 for i in range(count) if holds(i)))
";

async fn python() -> PathBuf {
    isthmus_testkit::process::python("dkim, nacl").await.expect("Python with dkimpy and PyNaCl")
}

/// A key in `folder`, and its DNS record.
async fn key(folder: &Folder, name: &str, kind: &[&str], label: &str, skip: usize) -> String {
    let file = folder.join(name);
    let openssl = program("openssl", "openssl", &[]).expect("openssl");
    run(Command::new(&openssl).arg("genpkey").args(kind).arg("-out").arg(&file)).await.expect("a key");
    let der = folder.join(format!("{name}.der"));
    let mut public = Command::new(&openssl);
    public.args(["pkey", "-pubout", "-outform", "DER"]).arg("-in").arg(&file).arg("-out").arg(&der);
    run(&mut public).await.expect("its public half");
    let raw = folder.join(format!("{name}.raw"));
    std::fs::write(&raw, &std::fs::read(&der).expect("the public half")[skip..]).expect("written");
    let mut base64 = run(Command::new("base64").arg("-w0").arg(&raw)).await.expect("base64");
    base64.retain(|c| !c.is_whitespace());
    format!("v=DKIM1; k={label}; p={base64}")
}

#[tokio::test]
async fn mail_passes_submission_and_arrives_signed_and_whole() {
    let dovecot = Dovecot::start(&["carol@outside.test", "gateway@outside.test"]).await.expect("Dovecot");
    let postfix = Postfix::start(&Options::default(), &dovecot).await.expect("Postfix");
    let folder = Folder::new("dkim").expect("a folder");
    let rsa = key(&folder, "rsa.pem", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], "rsa", 0).await;
    // RFC 8463: the record holds the 32 bytes of the key, without the 12 of its DER wrapping.
    let ed25519 = key(&folder, "ed.pem", &["-algorithm", "ED25519"], "ed25519", 12).await;
    let smtp = json!({
        "host": "localhost", "port": postfix.submission().number(), "security": "starttls",
        "ca_file": postfix.certificate.certificate, "username": "gateway@outside.test", "password": "pw-gateway",
    });
    let dkim = json!([
        {"selector": "r", "key_file": folder.join("rsa.pem")},
        {"selector": "e", "key_file": folder.join("ed.pem")},
    ]);
    let juliet = Juliet::at(smtp.clone(), json!({"dkim": dkim})).await;
    let findings = juliet.bridge.probe().await;
    assert_eq!(findings[0].severity, isthmus_bridge::Severity::Good, "{findings:?}");

    let mut message = Message::chat(format!(
        "Où est le *café* ?\n> quoted\n\nFrom here {}\n.\n..\n-- \nJ",
        "a long line ".repeat(40)
    ));
    message.subject =
        Some("Caf\u{e9} \u{1f600}, and a subject that is long enough to be folded more than once on its way".into());
    message.nick = Some("Juliet Capulet".into());
    juliet.send("carol@outside.test", message).await.remove(0).result.expect("sent");
    let mail = dovecot.mail("carol@outside.test", "Juliet's", |m| m.contains("Juliet Capulet")).await.expect("a mail");
    assert!(mail.contains("Return-Path: <bounce+"), "{mail}");

    // What Postfix and Dovecot added stands above; the signatures are over what follows.
    let script = folder.write("verify.py", VERIFY).expect("a script");
    let sent = folder.write("mail.eml", mail.replace("\r\n", "\n").replace('\n', "\r\n")).expect("a file");
    let check = |file: PathBuf| {
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$0\" \"$1\" \"$3\" \"$4\" < \"$2\""]);
        let records = [format!("r._domainkey.gw.test={rsa}"), format!("e._domainkey.gw.test={ed25519}")];
        let script = script.clone();
        async move {
            command.arg(python().await).arg(script).arg(file).args(records);
            run(&mut command).await.expect("the verifier runs").trim().to_owned()
        }
    };
    assert_eq!(check(sent).await, "2 2", "both signatures hold");
    let forged = mail.replace("quoted", "forged").replace("\r\n", "\n").replace('\n', "\r\n");
    let forged = folder.write("forged.eml", forged).expect("a file");
    assert_eq!(check(forged).await, "2 0", "a changed text breaks both");

    // A second From on the way breaks them too.
    let twice =
        mail.replacen("Message-ID:", "From: eve@evil.test\nMessage-ID:", 1).replace("\r\n", "\n").replace('\n', "\r\n");
    let twice = folder.write("twice.eml", twice).expect("a file");
    assert_eq!(check(twice).await, "2 0", "a second From breaks both");
}

#[tokio::test]
async fn postfix_refuses_in_its_own_words() {
    let dovecot = Dovecot::start(&["carol@outside.test"]).await.expect("Dovecot");
    let postfix = Postfix::start(&Options::default(), &dovecot).await.expect("Postfix");
    let juliet = Juliet::at(relay(postfix.smtp().address(), json!({})), json!({})).await;
    let error = juliet.say("x@unknown.test", "x").await.expect_err("no such domain");
    assert_eq!(
        (error.failure, error.retry, error.code.as_deref()),
        (Failure::NoSuchRecipient, Retry::Never, Some("5.1.2"))
    );
    assert!(error.text.to_string().contains("no such domain in this test"), "{}", error.text);

    let wrong = json!({"security": "starttls", "ca_file": postfix.certificate.certificate, "host": "localhost", "username": "carol@outside.test", "password": "no"});
    let stranger = Juliet::at(relay(postfix.submission().address(), wrong), json!({})).await;
    let error = stranger.say("carol@outside.test", "x").await.expect_err("a wrong password");
    assert_eq!((error.retry, error.code.as_deref()), (Retry::ByPolicy, Some("5.7.8")));

    let international = juliet.say("cárol@outside.test", "EAI").await;
    // Dovecot 2.3 has no SMTPUTF8, so the mail bounces later; Postfix itself takes it.
    international.expect("taken");
}

#[tokio::test]
async fn lmtp_straight_into_dovecot() {
    let dovecot = Dovecot::start(&["carol@outside.test"]).await.expect("Dovecot");
    let smtp = relay(dovecot.lmtp().address(), json!({"protocol": "lmtp"}));
    let juliet = Juliet::at(smtp, json!({})).await;
    juliet.say("Carol@outside.test", "hello").await.expect("sent");
    dovecot.mail("carol@outside.test", "Juliet's", |m| m.contains("hello")).await.expect("a mail");
    let error = juliet.say("nobody@outside.test", "x").await.expect_err("no such user");
    assert_eq!(error.failure, Failure::NoSuchRecipient);
}
