//! Texts out to a phone and in from it, through a real Kannel; and a gateway that is killed while texts go both ways.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use isthmus_testkit::httpd::{Act, Httpd};
use isthmus_testkit::isthmus::{Isthmus, Setup};
use isthmus_testkit::kannel::{Kannel, USER};
use isthmus_testkit::server::{Flavour, Options, XmppServer};
use isthmus_testkit::slix::SlixClient;
use isthmus_testkit::wait::until;
use isthmus_testkit::xml::Element;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const PHONE: &str = "+15551112222";
pub(crate) const CONTACT: &str = "+15551112222@sms.localhost";
pub(crate) const ALICES: &str = "+15550001111";
const SHARED: &str = "+15550002222";

crate::on_both!(
    a_text_reaches_the_phone_and_is_receipted,
    a_text_from_the_phone_reaches_its_user,
    who_is_not_registered_is_told_so,
    texts_wait_while_the_provider_is_away,
    a_room_shares_a_number,
);

pub(crate) struct SmsWorld {
    server: XmppServer,
    pub(crate) gateway: Isthmus,
    pub(crate) kannel: Kannel,
}

impl SmsWorld {
    pub(crate) async fn start(flavour: Flavour) -> Self {
        let server = server(flavour).await;
        // Kannel has to know where the gateway listens, and the gateway where Kannel does: the gateway's folder is written first.
        let mut gateway = Setup::new(env!("CARGO_BIN_EXE_isthmus"), server.component())
            .bridge("sms", "sms", "sms.localhost", "provider = \"providers/kannel.toml\"\n")
            .write()
            .unwrap();
        let hook = format!("http://{}/hooks/sms/kannel/in/s3cret", gateway.http());
        let kannel = Kannel::start(&format!("{hook}?from=%p&to=%P&text=%b&charset=%C&id=%I&at=%T")).await.unwrap();
        gateway.write("bridges/sms.toml", &bridge("kannel", &kannel.sendsms(), USER)).unwrap();
        gateway.launch().await.unwrap();
        Self { server, gateway, kannel }
    }

    pub(crate) async fn client(&self, user: &str) -> SlixClient {
        SlixClient::online(&self.server, &format!("{user}@localhost/desk")).await.unwrap()
    }
}

async fn server(flavour: Flavour) -> XmppServer {
    let mut options = Options::default();
    options.components.push("sms.localhost".to_owned());
    options.components.dedup();
    XmppServer::start(flavour, options).await.unwrap()
}

/// The bridge with a number of Alice's and one that all share.
fn bridge(provider: &str, url: &str, (user, password): (&str, &str)) -> String {
    let secret = isthmus_testkit::server::secret("sms.localhost");
    format!(
        "kind = \"sms\"\ndomain = \"sms.localhost\"\nsecret = \"{secret}\"\ncountry = \"US\"\nprovider = \"providers/{provider}.toml\"\n\
         [credentials]\nusername = \"{user}\"\npassword = \"{password}\"\nwebhook_secret = \"s3cret\"\nurl = \"{url}\"\n\
         [[numbers]]\nnumber = \"{ALICES}\"\nuser = \"alice@localhost\"\n[[numbers]]\nnumber = \"{SHARED}\"\nshared = true\nowner = \"alice@localhost\"\n\
         [limits]\ntexts_per_day = 100000\ntexts_per_month = 100000\ncontact_per_hour = 100000\n"
    )
}

fn is_receipt(stanza: &Element, id: &str) -> bool {
    stanza.get("received", "urn:xmpp:receipts").and_then(|r| r.attr("id")) == Some(id)
}

async fn a_text_reaches_the_phone_and_is_receipted(flavour: Flavour) {
    let sms = SmsWorld::start(flavour).await;
    // Her number is hers by the configuration: there is nothing to register.
    let mut alice = sms.client("alice").await;
    for (id, text, ucs2) in [("t1", "hello phone", false), ("t2", "привет \u{1F600}", true)] {
        let stanza = format!(
            "<message type='chat' to='{CONTACT}' id='{id}'><body>{text}</body><request xmlns='urn:xmpp:receipts'/></message>"
        );
        alice.send(&stanza).await.unwrap();
        let got = sms.kannel.phones().received("the text", |a| a.text == text).await.unwrap();
        assert_eq!((got.from.as_str(), got.to.as_str(), got.ucs2), (ALICES, PHONE, ucs2));
        let receipt = alice.find("a receipt", |s| is_receipt(s, id)).await.unwrap();
        assert!(receipt.attr("from").is_some_and(|from| from.starts_with(PHONE)), "{receipt}");
    }
    // A national number is completed by the sender's own country, in addresses (XEP-0033), too.
    let country = ["users", "act", "--bridge", "sms", "alice@localhost", "configure", "country=DE"];
    let done = sms.gateway.cli(&country).await.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let many = "<message type='chat' to='sms.localhost' id='t3'><body>hallo</body>\
                <addresses xmlns='http://jabber.org/protocol/address'><address type='to' jid='0301234567@sms.localhost'/></addresses></message>";
    alice.send(many).await.unwrap();
    let got = sms.kannel.phones().received("the text", |a| a.text == "hallo").await.unwrap();
    assert_eq!(got.to, "+49301234567");
    // A name cannot be written to, and says so at once.
    let id = alice.message("bank@sms.localhost", "hello").await.unwrap();
    let error = alice.find("an error", |s| s.attr("id") == Some(&id)).await.unwrap();
    assert!(error.error().is_some(), "{error}");
    assert_eq!(sms.kannel.phones().arrived().len(), 3);
}

async fn a_text_from_the_phone_reaches_its_user(flavour: Flavour) {
    let sms = SmsWorld::start(flavour).await;
    let (mut alice, mut bob) = (sms.client("alice").await, sms.client("bob").await);
    let phones = sms.kannel.phones();
    for text in ["hello alice", "как дела? \u{1F600} & <b>"] {
        phones.send(PHONE, ALICES, text).await.unwrap();
        let got = alice.body(text).await.unwrap();
        assert!(got.attr("from").is_some_and(|from| from.starts_with(CONTACT)), "{got}");
    }
    // A number that all share: strangers to its owner, answers to who wrote.
    phones.send(PHONE, SHARED, "anybody?").await.unwrap();
    alice.body("anybody?").await.unwrap();
    register_shared(&mut bob).await;
    bob.message(CONTACT, "bob here").await.unwrap();
    phones.received("the answer", |a| a.from == SHARED && a.text == "bob here").await.unwrap();
    phones.send(PHONE, SHARED, "hello bob").await.unwrap();
    bob.body("hello bob").await.unwrap();
    // The administrator gives him a number of his own, without a code.
    let given = ["users", "add", "--bridge", "sms", "bob@localhost", "number=+15550003333"];
    let done = sms.gateway.cli(&given).await.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    phones.send(PHONE, "+15550003333", "your own number").await.unwrap();
    bob.body("your own number").await.unwrap();
}

/// Registers (XEP-0077) without a number: texts come from the shared one.
async fn register_shared(client: &mut SlixClient) {
    let offer = client.ask("sms.localhost", "get", "<query xmlns='jabber:iq:register'/>").await.unwrap();
    let form = offer.child("query").and_then(|q| q.child("x")).unwrap_or_else(|| panic!("no form: {offer}"));
    let filled = crate::register::submit(form, &[("number", "")]).unwrap();
    let done = client.ask("sms.localhost", "set", &format!("<query xmlns='jabber:iq:register'>{filled}</query>")).await;
    let done = done.unwrap();
    assert_eq!(done.attr("type"), Some("result"), "{done}");
}

async fn who_is_not_registered_is_told_so(flavour: Flavour) {
    let sms = SmsWorld::start(flavour).await;
    let mut bob = sms.client("bob").await;
    let id = bob.message(CONTACT, "hello").await.unwrap();
    let answer = bob.find("an error", |s| s.attr("id") == Some(&id)).await.unwrap();
    assert_eq!(answer.error().as_deref(), Some("auth/registration-required"), "{answer}");
    // What a person types for a contact is completed by the country.
    let prompt = "<query xmlns='jabber:iq:gateway'><prompt>(555) 111-2222</prompt></query>";
    let answer = bob.ask("sms.localhost", "set", prompt).await.unwrap();
    assert!(answer.to_string().contains(CONTACT), "{answer}");
    let forged = sms.gateway.get("/hooks/sms/kannel/in/forged?from=1&to=2&text=x").await.unwrap();
    assert!(forged.starts_with("HTTP/1.1 403"), "{forged}");
    assert!(!sms.gateway.log().contains(PHONE), "no whole number stands in the log");
}

async fn texts_wait_while_the_provider_is_away(flavour: Flavour) {
    let mut sms = SmsWorld::start(flavour).await;
    let mut alice = sms.client("alice").await;
    sms.kannel.stop_smsbox();
    let text = format!("<message type='chat' to='{CONTACT}' id='q1'><body>be patient</body></message>");
    alice.send(text + "<iq type='get' to='sms.localhost' id='p'><ping xmlns='urn:xmpp:ping'/></iq>").await.unwrap();
    assert_eq!(alice.answer("p").await.unwrap().attr("type"), Some("result"));
    // A kill in the middle of the try would make it uncertain, and then it is rightly not tried again.
    sms.gateway.logged("a text was not taken").await.unwrap();
    sms.gateway.stop().await.unwrap();
    sms.kannel.start_smsbox().await.unwrap();
    sms.gateway.launch().await.unwrap();
    sms.kannel.phones().received("the text", |a| a.text == "be patient").await.unwrap();
}

const DESK: &str = "desk@conference.localhost";

/// A room as it is made by a person: persistent, else it goes with its last occupant.
async fn make_room(client: &mut SlixClient, nick: &str) {
    enter(client, nick).await;
    let form = "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>\
                <field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>\
                <field var='muc#roomconfig_persistentroom'><value>1</value></field></x></query>";
    let done = client.ask(DESK, "set", form).await.unwrap();
    assert_eq!(done.attr("type"), Some("result"), "{done}");
}

async fn enter(client: &mut SlixClient, nick: &str) {
    let join = format!("<presence to='{DESK}/{nick}'><x xmlns='http://jabber.org/protocol/muc'/></presence>");
    client.send(join).await.unwrap();
    client.find("the subject", |s| s.name == "message" && s.child("subject").is_some()).await.unwrap();
}

async fn say(client: &mut SlixClient, words: &str) {
    client.send(format!("<message type='groupchat' to='{DESK}' id='s1'>{words}</message>")).await.unwrap();
}

async fn a_room_shares_a_number(flavour: Flavour) {
    let options = Options { components: vec!["sms.localhost".to_owned()], rooms: true, ..Options::default() };
    let server = XmppServer::start(flavour, options).await.unwrap();
    let mut alice = SlixClient::online(&server, "alice@localhost/desk").await.unwrap();
    make_room(&mut alice, "alice").await;
    let mut gateway = Setup::new(env!("CARGO_BIN_EXE_isthmus"), server.component())
        .bridge("sms", "sms", "sms.localhost", "provider = \"providers/kannel.toml\"\n")
        .write()
        .unwrap();
    let hook = format!("http://{}/hooks/sms/kannel/in/s3cret", gateway.http());
    let kannel = Kannel::start(&format!("{hook}?from=%p&to=%P&text=%b&charset=%C&id=%I&at=%T")).await.unwrap();
    let config =
        bridge("kannel", &kannel.sendsms(), USER).replace("owner = \"alice@localhost\"", &format!("room = \"{DESK}\""));
    gateway.write("bridges/sms.toml", &config).unwrap();
    gateway.launch().await.unwrap();
    gateway.logged("the gateway is in the room").await.unwrap();
    let mut bob = SlixClient::online(&server, "bob@localhost/desk").await.unwrap();
    enter(&mut bob, "bob").await;
    let phones = kannel.phones();
    phones.send(PHONE, SHARED, "anybody?").await.unwrap();
    let asked = bob.body(&format!("{PHONE}: anybody?")).await.unwrap();
    assert_eq!(asked.attr("from"), Some("desk@conference.localhost/sms"), "{asked}");
    alice.body(&format!("{PHONE}: anybody?")).await.unwrap();
    // Bob is no user of the gateway; in the room he answers for it. Talk among people goes nowhere.
    say(&mut bob, "<body>alice: yours?</body>").await;
    say(&mut bob, &format!("<body>{PHONE}: we are open</body>")).await;
    phones.received("the answer", |a| a.from == SHARED && a.text == "we are open").await.unwrap();
    // A reply finds its way by the id that the room gave (XEP-0461), which is not ours.
    let id = asked.get("stanza-id", "urn:xmpp:sid:0").and_then(|s| s.attr("id"));
    let id = id.unwrap_or_else(|| panic!("no id: {asked}")).to_owned();
    assert_ne!(asked.attr("id"), Some(id.as_str()), "{asked}");
    say(&mut alice, &format!("<body>until six</body><reply xmlns='urn:xmpp:reply:0' to='{DESK}/sms' id='{id}'/>"))
        .await;
    phones.received("the reply", |a| a.from == SHARED && a.text == "until six").await.unwrap();
    // The whole address reaches a number that has not written yet; what cannot be sent is said in the room.
    say(&mut bob, "<body>+15557778888@sms.localhost: hello new one</body>").await;
    phones.received("a new one", |a| a.to == "+15557778888" && a.text == "hello new one").await.unwrap();
    say(&mut bob, "<body>+19005551212@sms.localhost: premium</body>").await;
    let refused = alice.find("the refusal", |s| s.body().is_some_and(|b| b.starts_with("bob: +19005551212: "))).await;
    assert_eq!(refused.unwrap().attr("type"), Some("groupchat"));
    // Taken out of the room, it comes back, and what came meanwhile waits.
    let kick = "<query xmlns='http://jabber.org/protocol/muc#admin'><item nick='sms' role='none'/></query>";
    assert_eq!(alice.ask(DESK, "set", kick).await.unwrap().attr("type"), Some("result"));
    phones.send(PHONE, SHARED, "still there?").await.unwrap();
    bob.body(&format!("{PHONE}: still there?")).await.unwrap();
    let texts: Vec<String> = phones.arrived().into_iter().map(|a| a.text).collect();
    assert_eq!(texts, ["we are open", "until six", "hello new one"]);
}

/// SIGKILL while texts go both ways. Promised: a text whose ping was answered is sent once, or its sender hears that it may not have been; a text from
/// outside that was answered with 200 reaches its user once. The provider takes no key twice, so nothing may be given to it twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_no_text_and_send_none_twice() {
    const KILLS: usize = 10;
    let server = server(Flavour::Prosody).await;
    let provider = Httpd::answering(|_| Act::text(202, "0: Accepted for delivery")).await.unwrap();
    let setup = Setup::new(env!("CARGO_BIN_EXE_isthmus"), server.component()).bridge(
        "sms",
        "sms",
        "sms.localhost",
        "provider = \"providers/kannel.toml\"\n",
    );
    let mut gateway = setup.write().unwrap();
    let access = "[access]\nmessages_per_minute = 100000\nmessages_per_day = 100000\ntotal_messages_per_minute = 100000\ntotal_messages_per_day = 100000\n";
    gateway.write("bridges/sms.toml", &(bridge("kannel", &provider.url(), USER) + access)).unwrap();
    gateway.launch().await.unwrap();
    let mut alice = SlixClient::online(&server, "alice@localhost/desk").await.unwrap();
    let mut dice = StdRng::seed_from_u64(0x5317);
    let (mut promised_out, mut promised_in) = (BTreeMap::new(), BTreeSet::new());
    let mut number = 0;
    for _ in 0..KILLS {
        for _ in 0..dice.random_range(4..12) {
            number += 1;
            let (token, ping) = (format!("out-{number}."), format!("p{number}"));
            let stanza = format!(
                "<message type='chat' to='{CONTACT}' id='m{number}'><body>{token}</body></message><iq type='get' to='sms.localhost' id='{ping}'><ping xmlns='urn:xmpp:ping'/></iq>"
            );
            alice.send(&stanza).await.unwrap();
            promised_out.insert(ping, (token, format!("m{number}")));
            let token = format!("in-{number}.");
            if hook(&gateway, &token).await == Some(200) {
                promised_in.insert(token);
            }
        }
        tokio::time::sleep(Duration::from_millis(dice.random_range(0..120))).await;
        gateway.kill();
        // The provider comes again with what was not answered, and once with what was.
        gateway.launch().await.unwrap();
        for token in promised_in.iter().rev().take(2).cloned().collect::<Vec<_>>() {
            assert_eq!(hook(&gateway, &token).await, Some(200));
        }
    }
    let mut seen: Vec<Element> = Vec::new();
    let settled = until("every promise", Duration::from_secs(120), async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        seen.extend(alice.drain());
        let open = open(&seen, &provider, &promised_out, &promised_in);
        anyhow::ensure!(open.is_empty(), "{open:?}");
        Ok(())
    });
    settled.await.unwrap();
    // A late copy would break a promise, too.
    tokio::time::sleep(Duration::from_secs(2)).await;
    seen.extend(alice.drain());
    let mut given: BTreeMap<String, usize> = BTreeMap::new();
    provider.heard().iter().filter_map(|h| h.field("text")).for_each(|text| *given.entry(text).or_default() += 1);
    let twice: Vec<_> = given.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "given to the provider twice: {twice:?}");
    for token in &promised_in {
        let ids: BTreeSet<_> = seen.iter().filter(|s| s.body() == Some(token.as_str())).map(|s| s.attr("id")).collect();
        assert_eq!(ids.len(), 1, "{token} came under {ids:?}");
    }
    assert!(promised_in.len() > KILLS && given.len() > KILLS, "hardly any traffic");
}

/// What is promised and not kept yet.
fn open(
    seen: &[Element],
    provider: &Httpd,
    out: &BTreeMap<String, (String, String)>,
    incoming: &BTreeSet<String>,
) -> Vec<String> {
    let given: BTreeSet<String> = provider.heard().iter().filter_map(|h| h.field("text")).collect();
    let answered = |ping: &str| {
        seen.iter().any(|s| s.name == "iq" && s.attr("id") == Some(ping) && s.attr("type") == Some("result"))
    };
    let told = |id: &str| {
        seen.iter().any(|s| {
            s.attr("type") == Some("error") && s.attr("id") == Some(id)
                || s.get("reply", "urn:xmpp:reply:0").and_then(|r| r.attr("id")) == Some(id)
        })
    };
    let lost = out.iter().filter(|(ping, (token, id))| answered(ping) && !given.contains(token) && !told(id));
    let missing = incoming.iter().filter(|token| !seen.iter().any(|s| s.body() == Some(token.as_str())));
    lost.map(|(_, (token, _))| token.clone()).chain(missing.cloned()).collect()
}

/// A provider's call with a text for Alice; `None` where there was no answer.
async fn hook(gateway: &Isthmus, token: &str) -> Option<u16> {
    let asked = async {
        let mut stream = TcpStream::connect(gateway.http()).await.ok()?;
        let query = format!("from=%2B15551112222&to=%2B15550001111&id={token}&text={token}");
        let request =
            format!("GET /hooks/sms/kannel/in/s3cret?{query} HTTP/1.1\r\nhost: gw\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        answer.split_whitespace().nth(1)?.parse().ok()
    };
    tokio::time::timeout(Duration::from_secs(20), asked).await.ok()?
}
