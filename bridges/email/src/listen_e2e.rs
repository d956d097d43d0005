//! Against real servers and programs: Postfix, Dovecot, swaks, a name server, signatures by dkimpy.

use std::process::Command;

use isthmus_bridge::{Address, BareJid, ContactId, Event, Failure, Late, MessageRef, Refused};
use isthmus_testkit::certificate::Certificate;
use isthmus_testkit::dovecot::Dovecot;
use isthmus_testkit::ports::Port;
use isthmus_testkit::postfix::{Options, Postfix};
use isthmus_testkit::process::{Folder, program, python, run};
use isthmus_testkit::smtp::{SmtpClient, send};
use isthmus_testkit::unbound::Unbound;
use serde_json::json;

use super::tests::{JULIET, World};
use super::*;

/// A gateway that listens, and stops with the test.
struct Listening {
    world: World,
    _stop: tokio_util::sync::DropGuard,
}

async fn listening(more: serde_json::Value, ports: &[&Port]) -> Listening {
    let world = World::with(more).await;
    let stop = CancellationToken::new();
    tokio::spawn(serve(world.mail.clone(), world.host.host(), stop.clone()));
    for port in ports {
        isthmus_testkit::wait::until("the listener", Duration::from_secs(30), || async {
            SmtpClient::connect(port.address()).await.map(drop)
        })
        .await
        .unwrap();
    }
    Listening { world, _stop: stop.drop_guard() }
}

/// The gateway behind Postfix.
async fn behind_postfix(options: Options) -> (Listening, Postfix, Dovecot) {
    let port = Port::take().unwrap();
    let dovecot = Dovecot::start(&["carol@outside.test"]).await.unwrap();
    let options = Options { gateway: Some(("gw.test".to_owned(), port.number())), ..options };
    let postfix = Postfix::start(&options, &dovecot).await.unwrap();
    let gateway = listening(json!({"listen": {"lmtp": format!("127.0.0.1:{port}")}}), &[&port]).await;
    (gateway, postfix, dovecot)
}

const MAIL: &str = "From: Carol <carol@outside.test>\nTo: juliet@gw.test\nSubject: Hello\nMessage-ID: <1@outside.test>\n\nHow are you?\n";

#[tokio::test(flavor = "multi_thread")]
async fn postfix_hands_over_and_bounces_what_we_refuse() {
    let (gateway, postfix, dovecot) = behind_postfix(Options::default()).await;
    let to = ["juliet@gw.test", "romeo@gw.test", "nobody@gw.test"];
    let replies = send(postfix.smtp().address(), false, "carol@outside.test", &to, MAIL).await.unwrap();
    assert!(replies.iter().all(|r| r.is_ok()), "{replies:?}");
    let host = &gateway.world.host;
    for user in [JULIET, "romeo@montague.lit"] {
        let event = host.accepted("the mail", |i| i.to.as_str() == user).await;
        assert_eq!(event.from, Address::Contact(ContactId::new("carol@outside.test")));
        let Event::Message(message) = event.event else { panic!("{event:?}") };
        assert_eq!(message.body, "Subject: Hello\n\nHow are you?");
    }
    let bounce = dovecot.mail("carol@outside.test", "a bounce", |m| m.contains("Undelivered")).await.unwrap();
    assert!(bounce.contains("550 5.1.1 no such person here") && bounce.contains("nobody@gw.test"), "{bounce}");
    assert!(!bounce.contains("romeo@gw.test>:"), "{bounce}");
}

#[tokio::test(flavor = "multi_thread")]
async fn postfix_tries_again_what_could_not_be_committed_and_it_arrives_once() {
    let (gateway, postfix, dovecot) =
        behind_postfix(Options { lifetime: 60, delay_warning: 1, ..Options::default() }).await;
    let host = &gateway.world.host;
    let tries = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let count = tries.clone();
    host.refuse(move |event| {
        let first = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 2;
        (first && event.to.as_str() == JULIET).then(|| Refused::Later("away".to_owned()))
    });
    send(postfix.smtp().address(), false, "carol@outside.test", &["juliet@gw.test"], MAIL).await.unwrap();
    host.accepted("the mail at last", |i| i.to.as_str() == JULIET).await;
    assert!(tries.load(std::sync::atomic::Ordering::SeqCst) >= 3);
    assert_eq!(gateway.world.messages().len(), 1);
    drop(dovecot);
}

#[tokio::test(flavor = "multi_thread")]
async fn postfix_asks_us_for_recipients_before_it_takes_a_mail() {
    let (gateway, postfix, _dovecot) = behind_postfix(Options { verify_recipients: true, ..Options::default() }).await;
    let to = ["juliet@gw.test", "nobody@gw.test"];
    let replies = send(postfix.smtp().address(), false, "carol@outside.test", &to, MAIL).await.unwrap();
    assert!(replies.iter().any(|r| r.is_ok()), "{replies:?}");
    assert!(postfix.log().contains("nobody@gw.test") && postfix.log().contains("550 5.1.1"), "{}", postfix.log());
    gateway.world.host.accepted("the mail", |i| i.to.as_str() == JULIET).await;
    assert_eq!(gateway.world.messages().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn real_bounces_and_delays_become_outcomes() {
    let (gateway, postfix, _dovecot) = behind_postfix(Options::default()).await;
    let host = &gateway.world.host;
    for to in ["nobody@outside.test", "x@dead.test"] {
        let key = gateway.world.sent(to).await;
        let contact = ContactId::new(to);
        let bounce = crate::envelope::sender(host.as_ref(), &key, &contact, "gw.test");
        let mail = format!("From: juliet@gw.test\nTo: {to}\nSubject: x\nMessage-ID: <{key}@gw.test>\n\nhi\n");
        let replies = send(postfix.smtp().address(), false, &bounce, &[to], &mail).await.unwrap();
        assert!(replies.iter().all(|r| r.is_ok()), "{replies:?}");
        let of = MessageRef::Key(key);
        let failed = |t: &isthmus_bridge::suite::Told| t.of == of && matches!(t.what, Late::Failed(_));
        if to.ends_with("dead.test") {
            host.told_of("a delay notice", |t| t.of == of && matches!(t.what, Late::Delayed(_))).await;
        }
        let told = host.told_of("the failure", failed).await;
        assert_eq!(told.leg, Some(contact));
        let Late::Failed(error) = told.what else { panic!("{told:?}") };
        let expected = if to.ends_with("dead.test") { Failure::TimedOut } else { Failure::NoSuchRecipient };
        assert_eq!(error.failure, expected, "{error:?}");
    }
    assert!(host.accepts().is_empty(), "reports are no messages");
}

#[tokio::test(flavor = "multi_thread")]
async fn swaks_and_openssl_deliver_by_tcp_tls_and_a_unix_socket() {
    let folder = Folder::new("mailin").unwrap();
    let certificate = Certificate::make(&folder).await.unwrap();
    let port = Port::take().unwrap();
    let socket = folder.join("lmtp.sock");
    let listen = json!({"listen": {
        "smtp": format!("127.0.0.1:{port}"), "lmtp": format!("unix:{}", socket.display()),
        "tls_cert": certificate.certificate, "tls_key": certificate.key,
    }});
    let gateway = listening(listen, &[&port]).await;
    let swaks = program("swaks", "swaks", &[]).unwrap();
    let mut by_tcp = Command::new(&swaks);
    by_tcp.args(["--server", "127.0.0.1", "--port", &port.to_string(), "--from", "carol@outside.test"]);
    by_tcp.args(["--to", "juliet@gw.test", "--header", "Subject: by TCP", "--body", "hello"]);
    run(&mut by_tcp).await.unwrap();
    // The TLS of swaks is a package of its own; openssl speaks STARTTLS too.
    let script = folder.write("script", "EHLO c.test\nMAIL FROM:<carol@outside.test>\nRCPT TO:<juliet@gw.test>\nDATA\nFrom: carol@outside.test\nSubject: by TLS\n\nhello\n.\nQUIT\n").unwrap();
    let mut by_tls = Command::new(program("openssl", "openssl", &[]).unwrap());
    by_tls.args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-starttls", "smtp", "-crlf", "-quiet"]);
    let output = by_tls.stdin(std::fs::File::open(script).unwrap()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("250 2.0.0 taken") && said.contains("221 2.0.0"), "{said}");
    let mut by_socket = Command::new(&swaks);
    by_socket.args(["--socket"]).arg(&socket).args(["--protocol", "LMTP", "--from", "carol@outside.test"]);
    by_socket.args(["--to", "juliet@gw.test,romeo@gw.test", "--header", "Subject: by socket", "--body", "hello"]);
    run(&mut by_socket).await.unwrap();
    assert_eq!(gateway.world.messages().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_smuggled_behind_starttls_do_nothing() {
    let folder = Folder::new("mailin").unwrap();
    let certificate = Certificate::make(&folder).await.unwrap();
    let port = Port::take().unwrap();
    let listen = json!({"listen": {"smtp": format!("127.0.0.1:{port}"), "tls_cert": certificate.certificate, "tls_key": certificate.key}});
    let _gateway = listening(listen, &[&port]).await;
    let mut stream = TcpStream::connect(port.address()).await.unwrap();
    let mut seen = Vec::new();
    stream.write_all(b"EHLO x\r\n").await.unwrap();
    while !String::from_utf8_lossy(&seen).contains("250 STARTTLS") {
        assert!(stream.read_buf(&mut seen).await.unwrap() > 0);
    }
    stream.write_all(b"STARTTLS\r\nMAIL FROM:<evil@x.test>\r\nRCPT TO:<juliet@gw.test>\r\n").await.unwrap();
    seen.clear();
    while !String::from_utf8_lossy(&seen).ends_with("\r\n") {
        assert!(stream.read_buf(&mut seen).await.unwrap() > 0);
    }
    assert_eq!(String::from_utf8_lossy(&seen), "220 2.0.0 go ahead\r\n");
    let connector = tokio_rustls::TlsConnector::from(certificate.client().unwrap());
    let mut secured = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
    secured.write_all(b"RCPT TO:<juliet@gw.test>\r\nQUIT\r\n").await.unwrap();
    let mut said = String::new();
    let _ = secured.read_to_string(&mut said).await;
    assert!(said.starts_with("503"), "nothing of what was sent in the clear is left: {said}");
}

/// The record of a key made by openssl, and the mail signed with it by dkimpy.
async fn signed(folder: &Folder, mail: &str) -> (String, String) {
    let key = folder.join("dkim.pem");
    run(Command::new(program("openssl", "openssl", &[]).unwrap()).args(["genrsa", "-out"]).arg(&key).arg("2048"))
        .await
        .unwrap();
    let file = folder.write("mail", mail.replace('\n', "\r\n")).unwrap();
    let script = "import dkim,sys,subprocess,base64\n\
        key=open(sys.argv[1],'rb').read()\n\
        mail=open(sys.argv[2],'rb').read()\n\
        public=subprocess.run(['openssl','rsa','-in',sys.argv[1],'-pubout','-outform','DER'],capture_output=True,check=True).stdout\n\
        print('v=DKIM1; k=rsa; p='+base64.b64encode(public).decode())\n\
        print(dkim.sign(mail,b's1',b'signed.test',key,include_headers=[b'from',b'subject']).decode().replace('\\r\\n','').strip())\n";
    let output =
        run(Command::new(python("dkim").await.unwrap()).args(["-c", script]).arg(&key).arg(&file)).await.unwrap();
    let (record, signature) = output.trim_end().split_once('\n').unwrap();
    (record.to_owned(), signature.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn senders_are_checked_by_spf_dkim_and_dmarc() {
    let folder = Folder::new("mailin").unwrap();
    let plain = |domain: &str, id: u8| format!("From: a@{domain}\nSubject: hi\nMessage-ID: <{id}@x>\n\nhello\n");
    let (record, signature) = signed(&folder, &plain("signed.test", 1)).await;
    // A TXT string holds at most 255 octets.
    let (head, tail) = record.split_at(200);
    let key = format!("s1._domainkey.signed.test TXT \"{head}\" \"{tail}\"");
    let mut zone = vec![key];
    for (domain, policy) in
        [("here.test", "reject"), ("elsewhere.test", "reject"), ("signed.test", "reject"), ("soft.test", "quarantine")]
    {
        let spf = if domain == "here.test" { "ip4:127.0.0.1 -all" } else { "-all" };
        zone.push(format!("{domain} TXT \"v=spf1 {spf}\""));
        zone.push(format!("_dmarc.{domain} TXT \"v=DMARC1; p={policy}\""));
    }
    let zone: Vec<&str> = zone.iter().map(String::as_str).collect();
    let dns = Unbound::start(&zone).await.unwrap();
    let world = World::with(json!({"auth": {"check": true, "resolvers": [dns.address().to_string()]}})).await;
    let smtp = async |domain: &str, mail: &str| {
        world.deliver(Dialect::Smtp, &format!("a@{domain}"), &["juliet@gw.test"], mail).await.remove(0)
    };

    assert_eq!(smtp("here.test", &plain("here.test", 2)).await, "250 2.0.0 taken", "SPF passes");
    assert!(smtp("elsewhere.test", &plain("elsewhere.test", 3)).await.starts_with("550 5.7.1"), "disowned");
    let crowded = format!("{}{}", format!("{signature}\n").repeat(25), plain("elsewhere.test", 9));
    assert!(smtp("elsewhere.test", &crowded).await.starts_with("550 5.7.1"), "more signatures than are looked at");
    let genuine = format!("{signature}\n{}", plain("signed.test", 1));
    assert_eq!(smtp("signed.test", &genuine).await, "250 2.0.0 taken", "signed by dkimpy");
    assert!(
        smtp("signed.test", &genuine.replace("hello", "HELLO")).await.starts_with("550 5.7.1"),
        "changed on its way"
    );
    assert!(
        smtp("here.test", &plain("elsewhere.test", 4)).await.starts_with("550 5.7.1"),
        "SPF of another domain does not help"
    );
    assert_eq!(smtp("soft.test", &plain("soft.test", 5)).await, "250 2.0.0 taken");
    assert_eq!(smtp("nothing.test", &plain("nothing.test", 6)).await, "250 2.0.0 taken", "a domain that says nothing");
    let warnings: Vec<bool> = world.messages().iter().map(|(_, m)| m.warning.is_some()).collect();
    assert_eq!(warnings, [false, false, true, false]);
    let kept = crate::state::kept_mails(world.host.as_ref(), &BareJid::new(JULIET)).await.unwrap();
    let words: Vec<_> = kept.iter().map(|(_, k)| k.verdict.as_str()).collect();
    assert!(words.iter().any(|w| w.contains("dkim=pass (signed.test)") && w.contains("dmarc=pass")), "{words:?}");

    // Behind our own server the connection says nothing: the signature does.
    let (known, _) = world.messages().remove(0);
    drop(known);
    let moved = genuine.replace("<1@x>", "<7@x>");
    assert_eq!(world.lmtp("bounces@list.test", &["juliet@gw.test"], &moved).await, ["250 2.0.0 taken"]);
    let unsure = plain("elsewhere.test", 8);
    assert_eq!(world.lmtp("a@elsewhere.test", &["juliet@gw.test"], &unsure).await, ["250 2.0.0 taken"]);
    let warnings: Vec<bool> = world.messages()[4..].iter().map(|(_, m)| m.warning.is_some()).collect();
    assert_eq!(warnings, [false, true], "SPF may have passed where it came in: not quarantined, but marked");
}
