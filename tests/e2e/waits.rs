//! Messages that wait in the queue, and files, at real servers, with the contract's own network: what its sender may still change, whose they are,
//! and which links are followed.

use std::time::Duration;

use isthmus_testkit::httpd::{Act, Httpd};
use isthmus_testkit::ports::Port;
use isthmus_testkit::server::Flavour;
use isthmus_testkit::slix::SlixClient;
use isthmus_testkit::wait::until;
use isthmus_testkit::xml::Element;

use super::inside::{HELD, Inside};

const CORRECT: &str = "urn:xmpp:message-correct:0";
const REPLY: &str = "urn:xmpp:reply:0";
const RETRACT: &str = "urn:xmpp:message-retract:1";

crate::on_both!(
    what_still_waits_is_corrected_and_withdrawn_and_keeps_what_it_answers,
    nobody_changes_what_somebody_else_has_said,
    a_failure_that_comes_late_finds_who_is_offline,
    own_addresses_of_files_end_with_their_time,
    links_are_followed_as_far_as_every_hop_is_allowed,
    what_is_given_back_for_a_while_comes_again,
);

/// Somebody who is not to be reached at the first try.
fn later() -> String {
    format!("later%loop@{HELD}")
}

async fn chat(client: &mut SlixClient, to: &str, id: &str, children: &str) {
    client.send(format!("<message to='{to}' type='chat' id='{id}'>{children}</message>")).await.unwrap();
}

/// All that was sent is accepted.
async fn accepted(client: &mut SlixClient) {
    assert_eq!(client.ping(HELD).await.unwrap().attr("type"), Some("result"));
}

/// So many messages of the user have been tried, and wait for the next try.
async fn waiting(client: &mut SlixClient, count: usize) {
    until("the messages to wait", Duration::from_secs(30), async || {
        let queue = "<command xmlns='http://jabber.org/protocol/commands' node='queue' action='execute'/>";
        let told = client.ask(HELD, "set", queue).await?;
        let tried = told.to_string().matches("is busy").count();
        anyhow::ensure!(tried == count, "{tried} of {count}: {told}");
        Ok(())
    })
    .await
    .unwrap();
}

async fn what_still_waits_is_corrected_and_withdrawn_and_keeps_what_it_answers(flavour: Flavour) {
    let world = Inside::both(flavour).await;
    let mut romeo = world.online("romeo").await;
    let later = later();
    chat(&mut romeo, &later, "a0", "<body>the question</body>").await;
    waiting(&mut romeo, 1).await;
    world.clock.advance(Duration::from_secs(60));
    let question = romeo.body("the question").await.unwrap();
    let asked = question.attr("id").unwrap().to_owned();

    let answers = format!("<reply xmlns='{REPLY}' to='{later}' id='{asked}'/>");
    chat(&mut romeo, &later, "m1", &format!("<body>at five</body>{answers}")).await;
    waiting(&mut romeo, 1).await;
    chat(&mut romeo, &later, "m2", "<body>with sugar</body>").await;
    chat(&mut romeo, &later, "m3", "<body>without milk</body>").await;
    chat(&mut romeo, &later, "c1", &format!("<body>at six</body>{answers}<replace xmlns='{CORRECT}' id='m1'/>")).await;
    chat(&mut romeo, &later, "w1", &format!("<retract xmlns='{RETRACT}' id='m2'/>")).await;
    accepted(&mut romeo).await;
    // A correction is corrected, by the id of the first (XEP-0308 section 3).
    chat(&mut romeo, &later, "c2", &format!("<body>at seven</body>{answers}<replace xmlns='{CORRECT}' id='m1'/>"))
        .await;
    accepted(&mut romeo).await;
    for _ in 0..3 {
        world.clock.advance(Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let heard = romeo.body("at seven").await.unwrap();
    let reply = heard.get("reply", REPLY).unwrap_or_else(|| panic!("it answers: {heard}"));
    assert_eq!(reply.attr("id"), Some(&*asked), "what it answers stays: {heard}");
    assert!(!heard.has("replace", CORRECT), "what was never sent is not corrected: {heard}");
    world.clock.advance(Duration::from_secs(60));
    romeo.body("without milk").await.unwrap();
    let all = romeo.drain();
    for gone in ["at five", "at six", "with sugar"] {
        assert!(!all.iter().any(|s| s.body() == Some(gone)), "{gone}: {all:?}");
    }
    world.finish().await;
}

async fn nobody_changes_what_somebody_else_has_said(flavour: Flavour) {
    let world = Inside::both(flavour).await;
    let (mut romeo, mut juliet) = (world.online("romeo").await, world.online("juliet").await);
    let (later, alice) = (later(), format!("alice%loop@{HELD}"));
    chat(&mut romeo, &later, "m1", "<body>my own words</body>").await;
    waiting(&mut romeo, 1).await;
    // She knows the id of his message: it is no message of hers.
    chat(&mut juliet, &later, "c1", &format!("<body>put in his mouth</body><replace xmlns='{CORRECT}' id='m1'/>"))
        .await;
    chat(&mut juliet, &later, "w1", &format!("<retract xmlns='{RETRACT}' id='m1'/>")).await;
    accepted(&mut juliet).await;
    juliet.find("a note", |s| s.body().is_some_and(|b| b.contains("could not be withdrawn"))).await.unwrap();
    // Nor is it one of his that went to somebody else: his words to her are others.
    chat(&mut romeo, &alice, "c2", &format!("<body>to another</body><replace xmlns='{CORRECT}' id='m1'/>")).await;
    chat(&mut romeo, &alice, "w2", &format!("<retract xmlns='{RETRACT}' id='m1'/>")).await;
    romeo.find("a note", |s| s.body().is_some_and(|b| b.contains("could not be withdrawn"))).await.unwrap();
    let heard = romeo.find("her answer", |s| s.body().is_some_and(|b| b.ends_with("to another"))).await.unwrap();
    assert!(!heard.has("replace", CORRECT), "{heard}");
    let hers = heard.attr("id").unwrap().to_owned();
    world.clock.advance(Duration::from_secs(60));
    romeo.body("my own words").await.unwrap();
    // What a contact has said is the contact's: who has heard it neither withdraws nor corrects it.
    chat(&mut romeo, &alice, "w3", &format!("<retract xmlns='{RETRACT}' id='{hers}'/>")).await;
    let refused = romeo.find("an error", |s| s.attr("id") == Some("w3")).await.unwrap();
    assert_eq!(refused.error().as_deref(), Some("auth/forbidden"));
    chat(&mut romeo, &alice, "c3", &format!("<body>corrected</body><replace xmlns='{CORRECT}' id='{hers}'/>")).await;
    let heard = romeo.find("the words", |s| s.body().is_some_and(|b| b.ends_with("corrected"))).await.unwrap();
    assert!(!heard.has("replace", CORRECT), "{heard}");
    assert!(!romeo.drain().iter().any(|s| s.has("retract", RETRACT)), "nothing was withdrawn");
    world.finish().await;
}

async fn a_failure_that_comes_late_finds_who_is_offline(flavour: Flavour) {
    let world = Inside::both(flavour).await;
    let busy = format!("busy%loop@{HELD}");
    let mut romeo = world.online("romeo").await;
    let words = format!("<message to='{busy}' type='chat' id='m1' xml:lang='fr'><body>hear me</body></message>");
    romeo.send(words).await.unwrap();
    waiting(&mut romeo, 1).await;
    romeo.disconnect().await.unwrap();
    // Given up after two days of tries; he hears once before that it is still being tried.
    let mut carol = world.online("carol").await;
    for _ in 0..60 {
        world.clock.advance(Duration::from_secs(3600));
        accepted(&mut carol).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let queue = "<command xmlns='http://jabber.org/protocol/commands' node='queue-all' action='execute'/>";
    until("nothing to wait", Duration::from_secs(60), async || {
        world.clock.advance(Duration::from_secs(3600));
        let told = carol.ask(HELD, "set", queue).await?;
        anyhow::ensure!(told.to_string().contains("Nothing is waiting"), "{told}");
        Ok(())
    })
    .await
    .unwrap();
    // The server has it, too.
    accepted(&mut carol).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    romeo.reconnect().await.unwrap();
    romeo.available().await.unwrap();
    // By now an error stanza would have been thrown away by the server: it is a message of the contact's.
    let about = |s: &Element| s.name == "message" && s.get("reply", REPLY).is_some_and(|r| r.attr("id") == Some("m1"));
    // Where the clock went on in the middle of a try nobody knows how that ended.
    const END: [&str; 2] = ["n'a pas pu être remis", "n'a peut-être pas été envoyé"];
    let mut told = Vec::new();
    while !told.iter().any(|words: &String| END.iter().any(|end| words.contains(end))) {
        let note = romeo.find("word of the failure", about).await;
        let note = note.unwrap_or_else(|e| panic!("after {told:?}: {e}"));
        assert_eq!(note.attr("from").and_then(|f| f.split('/').next()), Some(&*busy), "{note}");
        assert_eq!(note.attr("type"), Some("chat"), "{note}");
        assert_eq!(note.attr("xml:lang"), Some("fr"), "in the language in which he spoke, and marked so: {note}");
        told.push(note.body().unwrap_or_default().to_owned());
        assert!(told.len() < 5, "{told:?}");
    }
    world.finish().await;
}

/// The errors are a client's here: neither server gives such ones for its own users.
async fn what_is_given_back_for_a_while_comes_again(flavour: Flavour) {
    let world = Inside::both(flavour).await;
    let alice = format!("alice%loop@{HELD}");
    let mut romeo = world.online("romeo").await;
    chat(&mut romeo, &alice, "m1", "<body>hello</body>").await;
    let id = romeo.body("hello").await.unwrap().attr("id").unwrap().to_owned();
    let back = |kind: &str, condition: &str| {
        let named = format!("<{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>");
        format!("<message to='{alice}' type='error' id='{id}'><error type='{kind}'>{named}</error></message>")
    };
    let comes_again = async |romeo: &mut SlixClient| {
        let it = |s: &Element| s.attr("id") == Some(&*id) && s.body() == Some("hello");
        romeo.find_within(Duration::from_secs(1), it).await.unwrap()
    };
    for (kind, condition) in [("wait", "resource-constraint"), ("cancel", "remote-server-timeout")] {
        romeo.send(back(kind, condition)).await.unwrap();
        accepted(&mut romeo).await;
        assert_eq!(comes_again(&mut romeo).await, None, "not at once");
        let mut again = None;
        for _ in 0..120 {
            world.clock.advance(Duration::from_secs(61));
            again = comes_again(&mut romeo).await;
            if again.is_some() {
                break;
            }
        }
        let again = again.unwrap_or_else(|| panic!("{condition}: it does not come again"));
        assert!(again.has("delay", "urn:xmpp:delay"), "{again}");
        // The server has taken it by now.
        accepted(&mut romeo).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    romeo.send(back("cancel", "gone")).await.unwrap();
    accepted(&mut romeo).await;
    world.clock.advance(Duration::from_secs(3600));
    assert_eq!(comes_again(&mut romeo).await, None, "what is for good is not sent again");
    world.finish().await;
}

async fn own_addresses_of_files_end_with_their_time(flavour: Flavour) {
    let port = Port::take().unwrap();
    let at = port.address();
    let tables = format!("[http]\nlisten = \"{at}\"\npublic_url = \"http://{at}\"\n[files]\nkeep_for = \"2d\"\n");
    let world = Inside::both_with(flavour, |options| options.upload = false, &tables).await;
    let mut romeo = world.online("romeo").await;
    chat(&mut romeo, &format!("file%loop@{HELD}"), "m1", "<body>show me</body>").await;
    let shown = romeo.find("a file", |s| s.has("x", "jabber:x:oob")).await.unwrap();
    let link = shown.get("x", "jabber:x:oob").and_then(|x| x.child("url")).expect("a URL").text.clone();
    assert!(link.starts_with(&format!("http://{at}/files/")) && !link.contains("romeo"), "{link}");
    let status = async || http().get(&link).send().await.unwrap().status().as_u16();
    assert_eq!(status().await, 200, "{link}");
    world.clock.advance(Duration::from_secs(2 * 86_400 - 600));
    assert_eq!(status().await, 200, "ten minutes are left: {link}");
    world.clock.advance(Duration::from_secs(660));
    assert_eq!(status().await, 404, "its time is over: {link}");
    world.finish().await;
}

async fn links_are_followed_as_far_as_every_hop_is_allowed(flavour: Flavour) {
    let inner = Httpd::answering(|_| Act::text(200, "a secret of the inner network")).await.unwrap();
    let port = inner.url().rsplit(':').next().unwrap().trim_end_matches('/').to_owned();
    let hops = [
        ("/by-name", format!("http://localhost:{port}/")),
        ("/by-address", "https://127.0.0.2/".to_owned()),
        ("/link-local", "https://169.254.169.254/latest/meta-data".to_owned()),
        ("/private", "https://[fd00::1]/".to_owned()),
        ("/file", "file:///etc/passwd".to_owned()),
    ];
    let table = hops.clone();
    let server = Httpd::answering(move |heard| match heard.target.as_str() {
        "/fine" => Act::text(200, "words"),
        "/near" => Act::With(302, ("location", "/fine".to_owned()), String::new()),
        "/round" => Act::With(302, ("location", "/round".to_owned()), String::new()),
        "/large" => Act::text(200, "x".repeat(10_001)),
        "/slow" => Act::Hang,
        path => {
            let to = table.iter().find(|(from, _)| *from == path).map(|(_, to)| to.clone()).unwrap_or_default();
            Act::With(302, ("location", to), String::new())
        }
    })
    .await
    .unwrap();
    let tables = "[http]\nlisten = \"off\"\n[files]\nfetch_from = [\"127.0.0.1\"]\n";
    let world = Inside::both_with(flavour, |_| {}, tables).await;
    let mut romeo = world.online("romeo").await;
    let base = server.url().trim_end_matches('/').to_owned();
    let ask = async |romeo: &mut SlixClient, link: &str| {
        let file = format!("<body>{link}</body><x xmlns='jabber:x:oob'><url>{link}</url></x>");
        chat(romeo, &format!("fetch%loop@{HELD}"), "f", &file).await;
        let what = format!("{link}: ");
        let told = romeo.find("what became of it", |s| s.body().is_some_and(|b| b.starts_with(&what))).await.unwrap();
        told.body().unwrap_or_default()[what.len()..].to_owned()
    };
    for path in ["/fine", "/near"] {
        assert_eq!(ask(&mut romeo, &format!("{base}{path}")).await, "5 bytes of text/plain", "{path}");
    }
    for (path, _) in &hops {
        let told = ask(&mut romeo, &format!("{base}{path}")).await;
        assert!(matches!(&*told, "Forbidden" | "Rejected"), "{path}: {told}");
    }
    assert_eq!(ask(&mut romeo, &format!("{base}/round")).await, "Rejected");
    assert_eq!(ask(&mut romeo, &format!("{base}/large")).await, "TooLong { limit: 10000 }");
    assert_eq!(ask(&mut romeo, &format!("{base}/slow")).await, "TimedOut");
    // Of hosts that nobody vouches for nothing is asked at all.
    for link in ["https://elsewhere.test/x.png", "http://localhost/x.png", "https://localhost/x.png"] {
        let told = ask(&mut romeo, link).await;
        assert_eq!(told, "Forbidden", "{link}");
    }
    assert!(inner.heard().is_empty(), "the inner network was asked");
    world.finish().await;
}

fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}
