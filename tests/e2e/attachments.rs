//! Attachments through the server's upload service, both ways.

use isthmus_testkit::server::Flavour;

use super::flows::step;
use super::irc::{DOMAIN, Irc, join, room, say};
use super::register;
use crate::world::MailWorld;

const CAROL: &str = "carol\\40outside.test@email.localhost";

crate::on_both!(
    a_picture_travels_both_ways,
    without_an_upload_service_the_gateway_serves_files_itself,
    a_link_that_nobody_vouches_for_stays_a_link,
    a_text_behind_a_link_counts_for_who_wrote_it,
    a_text_is_behind_a_link_of_the_gateway_where_nobody_takes_it,
);

async fn a_picture_travels_both_ways(flavour: Flavour) {
    let mail = MailWorld::start(flavour).await;
    let mut alice = mail.registered("alice").await;
    let picture: Vec<u8> = (0..3000u32).map(|n| (n * 7 % 251) as u8).collect();
    let size = picture.len();
    let ask = format!(
        "<request xmlns='urn:xmpp:http:upload:0' filename='tea pot.png' size='{size}' content-type='image/png'/>"
    );
    let slot = alice.ask(&mail.world.server.upload_domain(), "get", &ask).await.unwrap();
    let slot = slot.get("slot", "urn:xmpp:http:upload:0").unwrap_or_else(|| panic!("no slot: {slot}"));
    let url = |name: &str| slot.child(name).and_then(|part| part.attr("url")).expect("a URL").to_owned();
    let http = http();
    let mut put = http.put(url("put")).header("Content-Type", "image/png").body(picture.clone());
    for header in slot.walk().filter(|element| element.name == "header") {
        put = put.header(header.attr("name").unwrap_or_default(), header.text.as_str());
    }
    assert!(put.send().await.unwrap().status().is_success());
    let link = url("get");
    alice
        .send(format!(
            "<message type='chat' to='{CAROL}' id='f1'><body>{link}</body><x xmlns='jabber:x:oob'><url>{link}</url></x></message>"
        ))
        .await
        .unwrap();
    let sent = mail.dovecot.mail("carol@outside.test", "the picture", |m| m.contains("multipart/")).await.unwrap();
    assert!(sent.contains("image/png"), "{sent}");

    let text = pot(&picture);
    assert_eq!(mail.send("carol@outside.test", &["alice@gw.test"], &text).await, [250]);
    alice.find("the text", |s| s.body().is_some_and(|body| body.contains("my own"))).await.unwrap();
    let got = alice.find("the picture", |s| s.has("x", "jabber:x:oob")).await.unwrap();
    let link = got.get("x", "jabber:x:oob").and_then(|x| x.child("url")).expect("a URL").text.clone();
    assert!(
        link.starts_with(&format!("http://{}/", mail.world.server.http())),
        "not the server's upload service: {link}"
    );
    let bytes = http.get(&link).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(bytes, picture, "what comes is not what was sent");
}

/// A mail with this picture.
fn pot(picture: &[u8]) -> String {
    let body = encode(picture);
    format!(
        "From: carol@outside.test\r\nTo: alice@gw.test\r\nSubject: pot\r\nMessage-ID: <pot@outside.test>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nmy own\r\n--b\r\n\
         Content-Type: image/png; name=pot.png\r\nContent-Disposition: attachment; filename=pot.png\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n{body}\r\n--b--\r\n"
    )
}

async fn without_an_upload_service_the_gateway_serves_files_itself(flavour: Flavour) {
    let mail = MailWorld::without_upload(flavour).await;
    let mut alice = mail.registered("alice").await;
    let picture: Vec<u8> = (0..3000u32).map(|n| (n * 7 % 251) as u8).collect();
    assert_eq!(mail.send("carol@outside.test", &["alice@gw.test"], &pot(&picture)).await, [250]);
    let got = alice.find("the picture", |s| s.has("x", "jabber:x:oob")).await.unwrap();
    let link = got.get("x", "jabber:x:oob").and_then(|x| x.child("url")).expect("a URL").text.clone();
    assert!(!link.contains("alice") && !link.contains("localhost") && !link.contains('@'), "it names nobody: {link}");
    let answer = http().get(&link).send().await.unwrap();
    assert!(answer.status().is_success(), "{link}: {}", answer.status());
    assert_eq!(answer.bytes().await.unwrap(), picture, "what comes is not what was sent");
    // Whoever guesses gets nothing.
    let (head, name) = link.rsplit_once('/').unwrap();
    let token = head.rsplit('/').next().unwrap();
    let first = if token.starts_with('A') { "B" } else { "A" };
    let guessed = format!("{}{first}{}/{name}", &head[..head.len() - token.len()], &token[1..]);
    assert_eq!(http().get(&guessed).send().await.unwrap().status().as_u16(), 404, "{guessed}");
}

async fn a_link_that_nobody_vouches_for_stays_a_link(flavour: Flavour) {
    let mail = MailWorld::start(flavour).await;
    let mut alice = mail.registered("alice").await;
    for (n, link) in ["https://elsewhere.test/tea.png", "http://localhost/tea.png"].iter().enumerate() {
        let file = format!("<body>{link}</body><x xmlns='jabber:x:oob'><url>{link}</url></x>");
        alice.send(format!("<message type='chat' to='{CAROL}' id='l{n}'>{file}</message>")).await.unwrap();
        let sent = mail.dovecot.mail("carol@outside.test", "the link", |m| m.contains(link)).await.unwrap();
        assert!(!sent.contains("image/png"), "{sent}");
    }
}

fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

fn encode(bytes: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    text.as_bytes().chunks(76).map(|line| String::from_utf8_lossy(line).into_owned()).collect::<Vec<_>>().join("\r\n")
}

async fn a_text_behind_a_link_counts_for_who_wrote_it(flavour: Flavour) {
    let irc = Irc::with_top(flavour, "[access]\nstorage = \"10 KiB\"\n").await;
    let mut juliet = irc.person("juliet").await;
    juliet.join("#verona").await.unwrap();
    let mut romeo = irc.world.client("romeo").await;
    join(&mut romeo, &room("verona"), "romeo").await;
    register::configure(&mut romeo, &format!("net@{DOMAIN}"), &[("long_texts", "paste")]).await.unwrap();
    let long = |first: &str| format!("{first}\n{}", vec!["so it goes on and on and on ".repeat(8); 30].join("\n"));
    say(&mut romeo, &room("verona"), "m1", &long("a first tale")).await;
    let link = juliet.line("a first tale … http").await.unwrap();
    let link = link.split(" … ").nth(1).unwrap().trim().to_owned();
    let service = irc.world.server.http();
    assert!(link.starts_with(&format!("http://{service}/")), "not the server's upload service: {link}");
    assert_eq!(http().get(&link).send().await.unwrap().text().await.unwrap(), long("a first tale"));
    let usage = step(&mut romeo, DOMAIN, "usage", None, "").await.to_string();
    assert!(usage.contains("of 10 KiB"), "{usage}");
    // There is no room for another one, and so many lines are not said.
    say(&mut romeo, &room("verona"), "m2", &long("a second tale")).await;
    let refused = romeo.find("the refusal", |s| s.attr("id") == Some("m2")).await.unwrap();
    assert_eq!(refused.error().as_deref(), Some("modify/policy-violation"), "{refused}");
    say(&mut romeo, &room("verona"), "m3", "in short: no").await;
    let line = juliet.line("PRIVMSG #verona").await.unwrap();
    assert!(line.ends_with("in short: no"), "{line}");
}

async fn a_text_is_behind_a_link_of_the_gateway_where_nobody_takes_it(flavour: Flavour) {
    let irc = Irc::without_upload(flavour).await;
    let mut juliet = irc.person("juliet").await;
    juliet.join("#verona").await.unwrap();
    let mut romeo = irc.world.client("romeo").await;
    join(&mut romeo, &room("verona"), "romeo").await;
    register::configure(&mut romeo, &format!("net@{DOMAIN}"), &[("long_texts", "paste")]).await.unwrap();
    let long = vec!["so it goes"; 30].join("\n");
    say(&mut romeo, &room("verona"), "m1", &long).await;
    let line = juliet.line("so it goes … http").await.unwrap();
    let link = line.split(" … ").nth(1).unwrap().trim();
    assert_eq!(http().get(link).send().await.unwrap().text().await.unwrap(), long);
}
