//! What becomes of corrections, answers, reactions and withdrawals on networks that have none of them: plain IRC, mail, texts.

use std::time::Duration;

use anyhow::ensure;
use isthmus_testkit::server::Flavour;
use isthmus_testkit::slix::SlixClient;
use isthmus_testkit::wait::until;
use isthmus_testkit::xml::Element;

use super::flows::step;
use super::irc::{Irc, is_group, join, room, say};
use super::sms::{CONTACT, PHONE, SmsWorld};
use super::world::MailWorld;

const CAROL: &str = "carol\\40outside.test@email.localhost";
const CORRECT: &str = "urn:xmpp:message-correct:0";
const REACTIONS: &str = "urn:xmpp:reactions:0";
const REPLY: &str = "urn:xmpp:reply:0";
const RETRACT: &str = "urn:xmpp:message-retract:1";
const SID: &str = "urn:xmpp:sid:0";

crate::on_both!(plain_irc, mail_that_is_gone, mail_that_still_waits, texts);

async fn send(client: &mut SlixClient, to: &str, kind: &str, id: &str, children: &str) {
    client.send(format!("<message to='{to}' type='{kind}' id='{id}'>{children}</message>")).await.unwrap();
}

/// The user is told that nothing was withdrawn.
async fn not_withdrawn(client: &mut SlixClient) {
    let note = |s: &Element| s.body().is_some_and(|b| b.contains("could not be withdrawn"));
    client.find("a note", note).await.unwrap();
}

async fn plain_irc(flavour: Flavour) {
    let irc = Irc::start(flavour).await;
    let room = room("verona");
    let mut juliet = irc.person("juliet").await;
    juliet.join("#verona").await.unwrap();
    let mut romeo = irc.world.client("romeo").await;
    join(&mut romeo, &room, "romeo").await;
    let set = async |romeo: &mut SlixClient, var: &str, value: &str| {
        let field = format!("<field var='{var}'><value>{value}</value></field>");
        let form = format!(
            "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>{field}</x></query>"
        );
        assert_eq!(romeo.ask(&room, "set", &form).await.unwrap().attr("type"), Some("result"), "{var}");
    };
    say(&mut romeo, &room, "m1", "we meet at five today").await;
    juliet.line("PRIVMSG #verona :we meet at five today").await.unwrap();
    let own = romeo.find("the reflection", |s| is_group(s) && s.attr("id") == Some("m1")).await.unwrap();
    let id = own.get("stanza-id", SID).and_then(|s| s.attr("id")).unwrap().to_owned();
    let corrected = format!("<body>we meet at six today</body><replace xmlns='{CORRECT}' id='m1'/>");
    send(&mut romeo, &room, "groupchat", "c1", &corrected).await;
    juliet.line("PRIVMSG #verona :* we meet at six today").await.unwrap();
    set(&mut romeo, "corrections", "substitute").await;
    say(&mut romeo, &room, "m2", "bring the red cloak to the ball").await;
    romeo.find("the reflection", |s| is_group(s) && s.attr("id") == Some("m2")).await.unwrap();
    let corrected = format!("<body>bring the blue cloak to the ball</body><replace xmlns='{CORRECT}' id='m2'/>");
    send(&mut romeo, &room, "groupchat", "c2", &corrected).await;
    juliet.line("PRIVMSG #verona :s/red/blue/").await.unwrap();

    juliet.say("#verona", "what light is that?").await.unwrap();
    let hers = romeo.find("her words", |s| is_group(s) && s.body() == Some("what light is that?")).await.unwrap();
    let her_id = hers.get("stanza-id", SID).and_then(|s| s.attr("id")).unwrap().to_owned();
    let answer = format!("<body>the east</body><reply xmlns='{REPLY}' to='{room}/juliet' id='{her_id}'/>");
    send(&mut romeo, &room, "groupchat", "a1", &answer).await;
    juliet.line("PRIVMSG #verona :> what light is that?").await.unwrap();
    juliet.line("PRIVMSG #verona :the east").await.unwrap();
    for (how, told) in [("name", "juliet: the east, by name"), ("plain", "the east, by plain")] {
        set(&mut romeo, "replies", how).await;
        let answer =
            format!("<body>the east, by {how}</body><reply xmlns='{REPLY}' to='{room}/juliet' id='{her_id}'/>");
        send(&mut romeo, &room, "groupchat", &format!("a-{how}"), &answer).await;
        let line = juliet.line("PRIVMSG #verona :").await.unwrap();
        assert!(line.ends_with(&format!("PRIVMSG #verona :{told}")), "{line}");
    }

    let reaction = format!("<reactions xmlns='{REACTIONS}' id='{her_id}'><reaction>❤</reaction></reactions>");
    send(&mut romeo, &room, "groupchat", "r1", &reaction).await;
    say(&mut romeo, &room, "m3", "nothing was said of it").await;
    let next = juliet.line("PRIVMSG #verona").await.unwrap();
    assert!(next.ends_with("nothing was said of it"), "a reaction is no words unless he wants that: {next}");
    set(&mut romeo, "reactions", "true").await;
    let reaction = format!("<reactions xmlns='{REACTIONS}' id='{her_id}'><reaction>🌹</reaction></reactions>");
    send(&mut romeo, &room, "groupchat", "r2", &reaction).await;
    let told = juliet.line("\u{1}ACTION reacts with").await.unwrap();
    assert!(told.contains("🌹") && told.contains("what light is that?"), "{told}");

    send(&mut romeo, &room, "groupchat", "w1", &format!("<retract xmlns='{RETRACT}' id='{id}'/>")).await;
    not_withdrawn(&mut romeo).await;
}

async fn mail_that_is_gone(flavour: Flavour) {
    let mail = MailWorld::start(flavour).await;
    let mut alice = mail.registered("alice").await;
    send(&mut alice, CAROL, "chat", "m1", "<body>tea at five</body>").await;
    mail.dovecot.mail("carol@outside.test", "the mail", |m| m.contains("tea at five")).await.unwrap();
    let corrected = format!("<body>tea at six</body><replace xmlns='{CORRECT}' id='m1'/>");
    send(&mut alice, CAROL, "chat", "c1", &corrected).await;
    mail.dovecot.mail("carol@outside.test", "the correction", |m| m.contains("Correction: tea at six")).await.unwrap();

    let text = "From: Carol <carol@outside.test>\r\nTo: alice@gw.test\r\nSubject: Tea\r\nMessage-ID: <one@outside.test>\r\n\r\nwith milk?\r\n";
    let another = "From: Carol <carol@outside.test>\r\nTo: alice@gw.test\r\nSubject: Cake\r\nMessage-ID: <two@outside.test>\r\n\r\nwith cream?\r\n";
    for text in [text, another] {
        assert_eq!(mail.send("carol@outside.test", &["alice@gw.test"], text).await, [250]);
    }
    let first = alice.find("her question", |s| s.body().is_some_and(|b| b.contains("with milk?"))).await.unwrap();
    alice.find("another", |s| s.body().is_some_and(|b| b.contains("with cream?"))).await.unwrap();
    let id = first.attr("id").unwrap();
    let reaction = format!("<reactions xmlns='{REACTIONS}' id='{id}'><reaction>👍</reaction></reactions>");
    send(&mut alice, CAROL, "chat", "r1", &reaction).await;
    let answer = format!("<body>without</body><reply xmlns='{REPLY}' to='{CAROL}' id='{id}'/>");
    send(&mut alice, CAROL, "chat", "a1", &answer).await;
    let sent = mail.dovecot.mail("carol@outside.test", "the answer", |m| m.contains("without")).await.unwrap();
    assert!(sent.contains("In-Reply-To: <one@outside.test>"), "the answer to the first of two: {sent}");
    send(&mut alice, CAROL, "chat", "w1", &format!("<retract xmlns='{RETRACT}' id='m1'/>")).await;
    not_withdrawn(&mut alice).await;
    let all = mail.dovecot.mails("carol@outside.test").unwrap();
    assert_eq!(all.len(), 3, "a reaction is no mail: {all:?}");
}

async fn mail_that_still_waits(flavour: Flavour) {
    let mut mail = MailWorld::start(flavour).await;
    let mut alice = mail.registered("alice").await;
    mail.postfix.stop();
    for (id, words) in [("m1", "tea at five"), ("m2", "rash words")] {
        send(&mut alice, CAROL, "chat", id, &format!("<body>{words}</body>")).await;
    }
    until("the end of the first try", Duration::from_secs(60), async || {
        let shown = step(&mut alice, "email.localhost", "queue", None, "").await.to_string();
        ensure!(shown.contains("cannot be reached"), "{shown}");
        Ok(())
    })
    .await
    .unwrap();
    let corrected = format!("<body>tea at six</body><replace xmlns='{CORRECT}' id='m1'/>");
    send(&mut alice, CAROL, "chat", "c1", &corrected).await;
    send(&mut alice, CAROL, "chat", "w1", &format!("<retract xmlns='{RETRACT}' id='m2'/>")).await;
    assert_eq!(alice.ping("email.localhost").await.unwrap().attr("type"), Some("result"));
    mail.postfix.launch().await.unwrap();
    let sent = mail.dovecot.mail("carol@outside.test", "the mail", |m| m.contains("tea at")).await.unwrap();
    assert!(sent.contains("tea at six") && !sent.contains("Correction"), "{sent}");
    send(&mut alice, CAROL, "chat", "m3", "<body>the last</body>").await;
    mail.dovecot.mail("carol@outside.test", "the last", |m| m.contains("the last")).await.unwrap();
    let all = mail.dovecot.mails("carol@outside.test").unwrap();
    assert!(all.len() == 2 && !all.iter().any(|m| m.contains("rash words")), "{all:?}");
}

async fn texts(flavour: Flavour) {
    let mut sms = SmsWorld::start(flavour).await;
    let mut alice = sms.client("alice").await;
    let received = async |sms: &SmsWorld, text: &str| {
        sms.kannel.phones().received(text, |a| a.text == text).await.unwrap();
    };
    send(&mut alice, CONTACT, "chat", "m1", "<body>tea at five</body>").await;
    received(&sms, "tea at five").await;
    let corrected = format!("<body>tea at six</body><replace xmlns='{CORRECT}' id='m1'/>");
    send(&mut alice, CONTACT, "chat", "c1", &corrected).await;
    received(&sms, "* tea at six").await;
    sms.kannel.phones().send(PHONE, super::sms::ALICES, "with milk?").await.unwrap();
    let id = alice.body("with milk?").await.unwrap().attr("id").unwrap().to_owned();
    let reaction = format!("<reactions xmlns='{REACTIONS}' id='{id}'><reaction>👍</reaction></reactions>");
    send(&mut alice, CONTACT, "chat", "r1", &reaction).await;
    let fallback = "<fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='0' end='13'/></fallback>";
    let answer =
        format!("<body>&gt; with milk?\nwithout</body><reply xmlns='{REPLY}' to='{CONTACT}' id='{id}'/>{fallback}");
    send(&mut alice, CONTACT, "chat", "a1", &answer).await;
    // The fake phone network shows the first line of a text.
    received(&sms, "> with milk?").await;
    send(&mut alice, CONTACT, "chat", "w1", &format!("<retract xmlns='{RETRACT}' id='m1'/>")).await;
    not_withdrawn(&mut alice).await;
    assert_eq!(sms.kannel.phones().arrived().len(), 3, "a reaction is no text, unless she wants that");
    // A client that quotes nothing itself: what is answered is remembered, whoever said it.
    sms.kannel.phones().send(PHONE, super::sms::ALICES, "and honey?").await.unwrap();
    let id = alice.body("and honey?").await.unwrap().attr("id").unwrap().to_owned();
    for (id, quoted) in [(id.as_str(), "> and honey?"), ("m1", "> tea at five")] {
        let answer = format!("<body>yes</body><reply xmlns='{REPLY}' to='{CONTACT}' id='{id}'/>");
        send(&mut alice, CONTACT, "chat", &format!("a-{id}"), &answer).await;
        received(&sms, quoted).await;
    }

    sms.kannel.stop_smsbox();
    for (id, words) in [("m2", "bring sugar"), ("m3", "rash words")] {
        send(&mut alice, CONTACT, "chat", id, &format!("<body>{words}</body>")).await;
    }
    // What is being tried cannot be changed any more.
    until("the end of the first try", Duration::from_secs(60), async || {
        let shown = step(&mut alice, "sms.localhost", "queue", None, "").await.to_string();
        ensure!(shown.contains("cannot be reached"), "{shown}");
        Ok(())
    })
    .await
    .unwrap();
    let corrected = format!("<body>bring honey</body><replace xmlns='{CORRECT}' id='m2'/>");
    send(&mut alice, CONTACT, "chat", "c2", &corrected).await;
    send(&mut alice, CONTACT, "chat", "w2", &format!("<retract xmlns='{RETRACT}' id='m3'/>")).await;
    assert_eq!(alice.ping("sms.localhost").await.unwrap().attr("type"), Some("result"));
    sms.kannel.start_smsbox().await.unwrap();
    received(&sms, "bring honey").await;
    assert!(!sms.kannel.phones().arrived().iter().any(|a| a.text.contains("sugar") || a.text.contains("rash")));
}
