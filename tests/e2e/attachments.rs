//! Attachments through the server's upload service, both ways.

use isthmus_testkit::server::Flavour;

use crate::world::MailWorld;

const CAROL: &str = "carol\\40outside.test@email.localhost";

crate::on_both!(a_picture_travels_both_ways);

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

    let body = encode(&picture);
    let text = format!(
        "From: carol@outside.test\r\nTo: alice@gw.test\r\nSubject: pot\r\nMessage-ID: <pot@outside.test>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nmy own\r\n--b\r\n\
         Content-Type: image/png; name=pot.png\r\nContent-Disposition: attachment; filename=pot.png\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n{body}\r\n--b--\r\n"
    );
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

fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

fn encode(bytes: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    text.as_bytes().chunks(76).map(|line| String::from_utf8_lossy(line).into_owned()).collect::<Vec<_>>().join("\r\n")
}
