//! Rooms as a client on a real XMPP server meets them, with a real network behind.

use isthmus_testkit::irc::Person;
use isthmus_testkit::server::Flavour;
use isthmus_testkit::slix::SlixClient;
use isthmus_testkit::wait::until;
use isthmus_testkit::xml::Element;

use super::irc::{DOMAIN, Irc, codes, is_group, join, room, say};

const MAM: &str = "urn:xmpp:mam:2";

crate::on_both!(
    two_users_of_one_server_talk_through_the_network,
    what_was_said_is_found_again,
    what_was_delivered_is_kept_though_the_gateway_is_killed_a_second_later,
    a_client_that_dies_is_taken_out_and_the_stop_is_told,
    questions_invitations_and_private_messages,
    a_broken_link_is_mended_behind_the_users_back,
    a_persistent_room_outlives_its_clients_and_the_gateway,
);

/// A presence of this occupant, of this type.
fn presence<'a>(from: &'a str, kind: Option<&'a str>) -> impl Fn(&Element) -> bool + 'a {
    move |s| s.name == "presence" && s.attr("from") == Some(from) && s.attr("type") == kind
}

async fn two_users_of_one_server_talk_through_the_network(flavour: Flavour) {
    let irc = Irc::start(flavour).await;
    let room = room("verona");
    let (mut romeo, mut benvolio) = (irc.world.client("romeo").await, irc.world.client("benvolio").await);
    join(&mut romeo, &room, "romeo").await;
    join(&mut benvolio, &room, "benvolio").await;
    romeo.find("his entry", presence(&format!("{room}/benvolio"), None)).await.unwrap();
    say(&mut benvolio, &room, "m1", "good morrow").await;
    for client in [&mut romeo, &mut benvolio] {
        let heard = client.find("the words", |s| is_group(s) && s.body() == Some("good morrow")).await.unwrap();
        assert_eq!(heard.attr("id") == Some("m1"), client.bare() == "benvolio@localhost", "{heard}");
    }
    romeo.send(format!("<presence to='{room}/montague'/>")).await.unwrap();
    let new = romeo.find("his new nick", presence(&format!("{room}/montague"), None)).await.unwrap();
    assert_eq!(codes(&new), ["110"]);
    benvolio.find("his new nick", presence(&format!("{room}/montague"), None)).await.unwrap();
    romeo.send(format!("<presence to='{room}/benvolio' id='n1'/>")).await.unwrap();
    let error = romeo.find("the refusal", |s| s.attr("id") == Some("n1") && s.error().is_some()).await.unwrap();
    assert_eq!(error.error().as_deref(), Some("cancel/conflict"));
    romeo.send(format!("<presence to='{room}/montague' type='unavailable'/>")).await.unwrap();
    let own = romeo.find("his end", presence(&format!("{room}/montague"), Some("unavailable"))).await.unwrap();
    assert_eq!(codes(&own), ["110"]);
    benvolio.find("his end", presence(&format!("{room}/montague"), Some("unavailable"))).await.unwrap();
    // From outside nothing is said.
    say(&mut romeo, &room, "m2", "still here?").await;
    let error = romeo.find("the refusal", |s| s.attr("id") == Some("m2")).await.unwrap();
    assert_eq!(error.error().as_deref(), Some("modify/not-acceptable"));
}

async fn what_was_said_is_found_again(flavour: Flavour) {
    let irc = Irc::start(flavour).await;
    let room = room("verona");
    let mut juliet = irc.person("juliet").await;
    juliet.join("#verona").await.unwrap();
    let mut romeo = irc.world.client("romeo").await;
    join(&mut romeo, &room, "romeo").await;
    for n in 0..3 {
        say(&mut romeo, &room, &format!("m{n}"), &format!("line {n}")).await;
        romeo.find("the reflection", |s| is_group(s) && s.body() == Some(&format!("line {n}"))).await.unwrap();
    }
    juliet.say("#verona", "my answer").await.unwrap();
    let heard = romeo.find("her answer", |s| is_group(s) && s.body() == Some("my answer")).await.unwrap();
    let id = heard.child("stanza-id").and_then(|s| s.attr("id")).unwrap().to_owned();

    let mut phone = SlixClient::online(&irc.world.server, "romeo@localhost/phone").await.unwrap();
    let x = "<x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='2'/></x>";
    phone.send(format!("<presence to='{room}/romeo'>{x}</presence>")).await.unwrap();
    for body in ["line 2", "my answer"] {
        let line = phone.find("history", |s| is_group(s) && s.body().is_some()).await.unwrap();
        assert_eq!((line.body(), line.child("delay").is_some()), (Some(body), true));
    }
    let question = format!(
        "<query xmlns='{MAM}' queryid='q'><set xmlns='http://jabber.org/protocol/rsm'><max>2</max><before/></set></query>"
    );
    let end = phone.ask(&room, "set", &question).await.unwrap();
    let fin = end.get("fin", MAM).expect("an end");
    assert_eq!(fin.child("set").and_then(|s| s.child("last")).map(|l| l.text.as_str()), Some(id.as_str()));
    for body in ["line 2", "my answer"] {
        let found = phone.find("a result", |s| s.has("result", MAM)).await.unwrap();
        assert!(found.walk().any(|e| e.name == "body" && e.text == body), "{found}");
    }
}

async fn what_was_delivered_is_kept_though_the_gateway_is_killed_a_second_later(flavour: Flavour) {
    let mut irc = Irc::start(flavour).await;
    let room = room("verona");
    let mut romeo = irc.world.client("romeo").await;
    join(&mut romeo, &room, "romeo").await;
    say(&mut romeo, &room, "m1", "for the ages").await;
    let heard = romeo.find("the reflection", |s| is_group(s) && s.body() == Some("for the ages")).await.unwrap();
    let id = heard.child("stanza-id").and_then(|s| s.attr("id")).unwrap().to_owned();
    // The bound is a second. A machine that is busy with other tests may be slower: then the row is waited for.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let database = irc.world.gateway.folder().join("data/isthmus.db");
    let rows = async || {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&database).read_only(true);
        let mut reader = <sqlx::SqliteConnection as sqlx::Connection>::connect_with(&options).await?;
        let count = "SELECT COUNT(*) FROM archive WHERE body = 'for the ages'";
        let count: i64 = sqlx::query_scalar(count).fetch_one(&mut reader).await?;
        anyhow::ensure!(count == 1, "{count} rows");
        Ok(())
    };
    until("the row", std::time::Duration::from_secs(60), rows).await.unwrap();
    irc.world.gateway.kill();
    irc.world.gateway.launch().await.unwrap();
    join(&mut romeo, &room, "romeo").await;
    let of_it = format!("<x xmlns='jabber:x:data' type='submit'><field var='ids'><value>{id}</value></field></x>");
    let question = format!("<query xmlns='{MAM}' queryid='q'>{of_it}</query>");
    let end = romeo.ask(&room, "set", &question).await.unwrap();
    assert_eq!(end.error(), None, "{end}");
    let found = romeo.find("the line", |s| s.has("result", MAM)).await.unwrap();
    assert!(found.walk().any(|e| e.name == "body" && e.text == "for the ages"), "{found}");
}

async fn a_client_that_dies_is_taken_out_and_the_stop_is_told(flavour: Flavour) {
    let mut irc = Irc::start(flavour).await;
    let room = room("verona");
    let (mut romeo, mut benvolio) = (irc.world.client("romeo").await, irc.world.client("benvolio").await);
    join(&mut romeo, &room, "romeo").await;
    join(&mut benvolio, &room, "benvolio").await;
    benvolio.disconnect().await.unwrap();
    romeo.find("his end", presence(&format!("{room}/benvolio"), Some("unavailable"))).await.unwrap();
    irc.world.gateway.stop().await.unwrap();
    let own = romeo.find("the stop", presence(&format!("{room}/romeo"), Some("unavailable"))).await.unwrap();
    assert_eq!(codes(&own), ["110", "332"]);
}

async fn questions_invitations_and_private_messages(flavour: Flavour) {
    let irc = Irc::start(flavour).await;
    let room = room("verona");
    let mut juliet = irc.person("juliet").await;
    juliet.join("#verona").await.unwrap();
    let mut romeo = irc.world.client("romeo").await;
    let ping = romeo.ping(&format!("{room}/romeo")).await.unwrap();
    assert_eq!(ping.error().as_deref(), Some("cancel/not-acceptable"));
    join(&mut romeo, &room, "romeo").await;
    assert_eq!(romeo.ping(&format!("{room}/romeo")).await.unwrap().attr("type"), Some("result"));
    let info = romeo.ask(&room, "get", "<query xmlns='http://jabber.org/protocol/disco#info'/>").await.unwrap();
    let has = |feature: &str| info.walk().any(|e| e.attr("var") == Some(feature));
    for feature in ["http://jabber.org/protocol/muc", MAM, "muc_nonanonymous", "muc_open"] {
        assert!(has(feature), "{feature}: {info}");
    }
    assert!(!has("muc_membersonly"), "clients would take it for a private group: {info}");
    assert!(has("http://jabber.org/protocol/muc#self-ping-optimization"), "{info}");

    romeo.message(&format!("{room}/juliet"), "psst").await.unwrap();
    assert!(juliet.line("PRIVMSG juliet :psst").await.is_ok());
    juliet.say("romeo", "yes?").await.unwrap();
    let heard = romeo.body("yes?").await.unwrap();
    assert_eq!(heard.attr("from"), Some(&*format!("{room}/juliet")), "the answer comes where it was begun: {heard}");
    // Prosody takes `<private/>` out once it has obeyed it; the hint of the same meaning stays.
    assert!(heard.has("no-copy", "urn:xmpp:hints"), "{heard}");

    juliet.join("#mantua").await.unwrap();
    juliet.send("INVITE romeo #mantua").await.unwrap();
    let invited = romeo.find("an invitation", |s| s.walk().any(|e| e.name == "invite")).await.unwrap();
    assert_eq!(
        invited.attr("from").map(|f| f.split('/').next().unwrap_or_default()),
        Some(&*format!("#mantua%net@{DOMAIN}"))
    );
    romeo
        .send(format!(
            "<message to='{room}'><x xmlns='http://jabber.org/protocol/muc#user'><invite to='carol@localhost'/></x></message>"
        ))
        .await
        .unwrap();
    let mut rosaline = irc.person("rosaline").await;
    romeo
        .send(format!(
            "<message to='{room}'><x xmlns='http://jabber.org/protocol/muc#user'><invite to='rosaline%net@{DOMAIN}'/></x></message>"
        ))
        .await
        .unwrap();
    assert!(rosaline.line(" INVITE ").await.unwrap().contains("#verona"));
}

async fn a_broken_link_is_mended_behind_the_users_back(flavour: Flavour) {
    let mut irc = Irc::start(flavour).await;
    let room = room("verona");
    let mut romeo = irc.world.client("romeo").await;
    join(&mut romeo, &room, "romeo").await;
    irc.server.kill();
    // Until the break is noticed a message may be lost with it; then it is refused for now.
    let mut refused = None;
    for n in 0..100 {
        say(&mut romeo, &room, &format!("b{n}"), "anybody?").await;
        let answer = romeo.find("an answer", |s| s.attr("id") == Some(&format!("b{n}"))).await.unwrap();
        refused = answer.error();
        if refused.is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(refused.as_deref(), Some("wait/recipient-unavailable"));
    assert_eq!(romeo.ping(&format!("{room}/romeo")).await.unwrap().attr("type"), Some("result"));
    irc.server.launch().await.unwrap();
    let mut said = false;
    for n in 0..300 {
        say(&mut romeo, &room, &format!("a{n}"), "back").await;
        let answer = romeo.find("an answer", |s| s.attr("id") == Some(&format!("a{n}"))).await.unwrap();
        said = answer.error().is_none();
        if said {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    assert!(said, "the link is back");
    let gone = |s: &Element| s.name == "presence" && s.attr("type") == Some("unavailable");
    assert!(!romeo.drain().iter().any(gone), "the break was not shown");
}

async fn a_persistent_room_outlives_its_clients_and_the_gateway(flavour: Flavour) {
    let mut irc = Irc::start(flavour).await;
    let room = room("verona");
    let mut juliet = irc.person("juliet").await;
    juliet.join("#verona").await.unwrap();
    let mut romeo = irc.world.client("romeo").await;
    join(&mut romeo, &room, "romeo").await;
    juliet.line(" JOIN ").await.unwrap();
    let form = "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>\
                <field var='persistent'><value>true</value></field></x></query>";
    assert_eq!(romeo.ask(&room, "set", form).await.unwrap().attr("type"), Some("result"));
    romeo.send(format!("<presence to='{room}/romeo' type='unavailable'/>")).await.unwrap();
    romeo.find("his end", presence(&format!("{room}/romeo"), Some("unavailable"))).await.unwrap();
    juliet.say("#verona", "while he sleeps").await.unwrap();
    heard(&mut juliet).await;
    irc.world.gateway.stop().await.unwrap();
    assert!(juliet.line(" QUIT ").await.unwrap().starts_with(":romeo!"), "he was there all the time");
    irc.world.gateway.launch().await.unwrap();
    assert!(juliet.line(" JOIN ").await.unwrap().starts_with(":romeo!"), "and is again");
    juliet.say("#verona", "and again").await.unwrap();
    heard(&mut juliet).await;
    // What was said meanwhile is what he finds, without having been asked again to enter.
    romeo
        .send(format!("<presence to='{room}/romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>"))
        .await
        .unwrap();
    for body in ["while he sleeps", "and again"] {
        let line = romeo.find("history", |s| is_group(s) && s.body().is_some()).await.unwrap();
        assert_eq!(line.body(), Some(body), "{line}");
    }
}

/// The gateway has read what she said before: it answers what she asks afterwards.
pub(crate) async fn heard(person: &mut Person) {
    person.send_bytes(b"PRIVMSG romeo :\x01PING 42\x01").await.unwrap();
    person.line("PING 42").await.unwrap();
}
