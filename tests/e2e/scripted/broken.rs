//! What happens in rooms while the stream to the XMPP server is broken, and clients are still there afterwards.

use std::time::Duration;

use isthmus_testkit::fake::{Attach, FakeXmpp};
use isthmus_testkit::ircd::Ircd;
use isthmus_testkit::isthmus::Setup;
use isthmus_testkit::wait::until;
use isthmus_testkit::xml::Element;

use crate::irc::{DOMAIN, codes, room};

const ROMEO: &str = "romeo@localhost/desk";

fn gone_from(address: &str) -> impl Fn(&Element) -> bool {
    let address = address.to_owned();
    move |s| {
        let to_him = s.attr("to") == Some(ROMEO) && s.attr("from") == Some(&*address);
        s.name == "presence" && to_him && s.attr("type") == Some("unavailable")
    }
}

#[tokio::test]
async fn who_is_thrown_out_or_left_behind_meanwhile_is_told_afterwards() {
    let mut ircd = Ircd::start("", &[b"nurse", b"juliet"]).await.unwrap();
    let mut server = FakeXmpp::start(&[DOMAIN]).await.unwrap();
    let keys = format!("allow_private_networks = true\n{}", ircd.network());
    let setup = Setup::new(env!("CARGO_BIN_EXE_isthmus"), server.address());
    let gateway = setup.bridge("irc", "irc", DOMAIN, &keys).start().await.unwrap();
    server.attached(DOMAIN).await.unwrap();
    let (verona, mantua) = (room("verona"), room("mantua"));
    for room in [&verona, &mantua] {
        let x = "<x xmlns='http://jabber.org/protocol/muc'/>";
        server.send(DOMAIN, format!("<presence from='{ROMEO}' to='{room}/romeo'>{x}</presence>")).unwrap();
        let subject = |s: &Element| s.attr("from") == Some(&**room) && s.child("subject").is_some();
        server.stanza("the subject", subject).await.unwrap();
    }
    server.rules(|rules| rules.attach = Attach::Cut);
    server.cut(DOMAIN).unwrap();
    until("the gateway sees it", Duration::from_secs(30), async || {
        anyhow::ensure!(gateway.log().contains("not attached"), "it has not");
        Ok(())
    })
    .await
    .unwrap();
    for line in [":juliet!j@k KICK #verona romeo :out", ":nurse!n@v PART #mantua", "PING :done"] {
        ircd.say("romeo", line.as_bytes()).unwrap();
    }
    ircd.line("PONG :done").await.unwrap();
    server.rules(|rules| rules.attach = Attach::Check);
    server.attached(DOMAIN).await.unwrap();
    // Out of the one, he learns why …
    let out = server.stanza("his end", gone_from(&format!("{verona}/romeo"))).await.unwrap();
    assert!(codes(&out).contains(&"110") && codes(&out).contains(&"307"), "{out}");
    assert!(out.to_string().contains(">out<"), "{out}");
    // … and of the other, once he is known to be there, who has left it.
    let asked = |s: &Element| s.name == "iq" && s.attr("from") == Some(&*mantua) && s.attr("to") == Some(ROMEO);
    let ping = server.stanza("a ping", asked).await.unwrap();
    let id = ping.attr("id").unwrap();
    server.send(DOMAIN, format!("<iq type='result' from='{ROMEO}' to='{mantua}' id='{id}'/>")).unwrap();
    server.stanza("her end", gone_from(&format!("{mantua}/nurse"))).await.unwrap();
    let here = |s: &Element| s.name == "presence" && s.attr("from") == Some(&*format!("{mantua}/juliet"));
    server.stanza("who is there", here).await.unwrap();
    let own = |s: &Element| s.attr("from") == Some(&*format!("{mantua}/romeo")) && codes(s).contains(&"110");
    server.stanza("himself", own).await.unwrap();
}
