//! IRC: a client at a real XMPP server, somebody else on a real ngircd or InspIRCd.

use isthmus_testkit::inspircd::Inspircd;
use isthmus_testkit::irc::Person;
use isthmus_testkit::isthmus::Setup;
use isthmus_testkit::ngircd::Ngircd;
use isthmus_testkit::server::{Flavour, Options, XmppServer};
use isthmus_testkit::slix::SlixClient;
use isthmus_testkit::xml::Element;

use super::world::World;

pub(crate) const DOMAIN: &str = "irc.localhost";
const USER: &str = "http://jabber.org/protocol/muc#user";

crate::on_both!(
    people_meet_in_a_room,
    people_meet_on_another_server_that_echoes,
    reactions_answers_and_reflections_are_of_the_message_they_name,
    two_resources_share_a_nick_and_leave_one_by_one,
    private_messages_raw_lines_and_refusals,
    roles_and_subjects_change_on_both_sides,
    persistent_rooms_outlive_clients_and_restarts,
    the_gateway_can_be_one_network,
    bold_and_colours_are_shown_as_the_user_wants,
    a_room_is_configured_by_chat_question_by_question,
);

pub(crate) struct Irc {
    pub(crate) world: World,
    pub(crate) server: Ngircd,
}

impl Irc {
    pub(crate) async fn start(flavour: Flavour) -> Self {
        Self::with(flavour, "").await
    }

    /// With these lines before the tables of the bridge's file.
    pub(crate) async fn with(flavour: Flavour, lines: &str) -> Self {
        let server = Ngircd::start().await.unwrap();
        Self { world: world(flavour, server.tls().number(), lines, "").await, server }
    }

    /// At an XMPP server without an upload service.
    pub(crate) async fn without_upload(flavour: Flavour) -> Self {
        let server = Ngircd::start().await.unwrap();
        let options = Options { upload: false, ..Options::default() };
        Self { world: world_at(flavour, options, server.tls().number(), "", "").await, server }
    }

    /// With these lines in `isthmus.toml`.
    pub(crate) async fn with_top(flavour: Flavour, top: &str) -> Self {
        let server = Ngircd::start().await.unwrap();
        Self { world: world(flavour, server.tls().number(), "", top).await, server }
    }

    pub(crate) async fn person(&self, nick: &str) -> Person {
        Person::enter(self.server.plain().number(), nick).await.unwrap()
    }
}

/// A gateway with one network, by TLS at this port, and these lines before the tables of the bridge's file; those in the main one.
async fn world(flavour: Flavour, tls: u16, lines: &str, top: &str) -> World {
    world_at(flavour, Options::default(), tls, lines, top).await
}

/// The same at such an XMPP server.
async fn world_at(flavour: Flavour, options: Options, tls: u16, lines: &str, top: &str) -> World {
    let keys = format!(
        "allow_private_networks = true\n{lines}[networks.net]\naddress = \"127.0.0.1\"\ntls_ports = [{tls}]\nports = []\n\
         verify_cert = false\nthrottle = {{ burst = 1000, per_second = 1000.0 }}\n"
    );
    let users = ["alice", "benvolio", "romeo"].map(|user| format!("{user}@localhost")).to_vec();
    let options = Options { components: vec![DOMAIN.to_owned()], users, ..options };
    let xmpp = XmppServer::start(flavour, options).await.unwrap();
    let setup = Setup::new(env!("CARGO_BIN_EXE_isthmus"), xmpp.component());
    let gateway = setup.top(top).bridge("irc", "irc", DOMAIN, &keys).start().await.unwrap();
    World { gateway, server: xmpp }
}

pub(crate) fn room(name: &str) -> String {
    format!("#{name}%net@{DOMAIN}")
}

pub(crate) fn codes(stanza: &Element) -> Vec<&str> {
    let x = stanza.get("x", USER);
    x.iter().flat_map(|x| &x.children).filter(|c| c.name == "status").filter_map(|c| c.attr("code")).collect()
}

pub(crate) fn is_group(stanza: &Element) -> bool {
    stanza.name == "message" && stanza.attr("type") == Some("groupchat")
}

/// Enters, and waits for own presence and the subject; gives the presence.
pub(crate) async fn join(client: &mut SlixClient, room: &str, nick: &str) -> Element {
    let x = "<x xmlns='http://jabber.org/protocol/muc'/>";
    client.send(format!("<presence to='{room}/{nick}' id='join'>{x}</presence>")).await.unwrap();
    let own = client.find("own presence", |s| s.name == "presence" && codes(s).contains(&"110")).await.unwrap();
    client.find("the subject", |s| is_group(s) && s.child("subject").is_some()).await.unwrap();
    own
}

pub(crate) async fn say(client: &mut SlixClient, room: &str, id: &str, body: &str) {
    client
        .send(format!("<message to='{room}' type='groupchat' id='{id}'><body>{body}</body></message>"))
        .await
        .unwrap();
}

async fn people_meet_in_a_room(flavour: Flavour) {
    let irc = Irc::start(flavour).await;
    meet(&irc.world, irc.person("Juliet").await).await;
}

/// InspIRCd has echo-message, server-time and more capabilities of IRCv3, of which ngircd has none.
async fn people_meet_on_another_server_that_echoes(flavour: Flavour) {
    let server = Inspircd::start().await.unwrap();
    let world = world(flavour, server.tls().number(), "", "").await;
    meet(&world, Person::enter(server.plain().number(), "Juliet").await.unwrap()).await;
}

/// What IRCv3's tags carry, from a client to an IRC server and back.
async fn reactions_answers_and_reflections_are_of_the_message_they_name(flavour: Flavour) {
    let server = Inspircd::start().await.unwrap();
    let world = world(flavour, server.tls().number(), "", "").await;
    let mut juliet = Person::enter(server.plain().number(), "Juliet").await.unwrap();
    juliet.send("CAP REQ :message-tags echo-message").await.unwrap();
    juliet.line(" ACK ").await.unwrap();
    juliet.join("#verona").await.unwrap();
    let mut romeo = world.client("romeo").await;
    let room = room("verona");
    join(&mut romeo, &room, "romeo").await;
    juliet.say("#verona", "good night").await.unwrap();
    let told = juliet.line("good night").await.unwrap();
    let msgid = told.split(['@', ';', ' ']).find_map(|tag| tag.strip_prefix("msgid=")).unwrap().to_owned();
    let hers = romeo.find("her words", |s| is_group(s) && s.body() == Some("good night")).await.unwrap();
    let id = hers.get("stanza-id", "urn:xmpp:sid:0").and_then(|sid| sid.attr("id")).unwrap().to_owned();
    // His reaction reaches her server as a tag, and comes back to his clients.
    let react = format!(
        "<message to='{room}' type='groupchat' id='r1'><reactions xmlns='urn:xmpp:reactions:0' id='{id}'>\
         <reaction>❤</reaction></reactions></message>"
    );
    romeo.send(react).await.unwrap();
    let line = juliet.line("+draft/react=❤").await.unwrap();
    assert!(line.contains(&format!("+reply={msgid}")), "{line}");
    // Hers reaches him at the message that it is of.
    juliet.send(&format!("@+reply={msgid};+draft/react=👋 TAGMSG #verona")).await.unwrap();
    let from_her = |s: &Element| s.attr("from") == Some(&*format!("{room}/Juliet"));
    let reaction =
        romeo.find("her reaction", |s| from_her(s) && s.has("reactions", "urn:xmpp:reactions:0")).await.unwrap();
    let reactions = reaction.get("reactions", "urn:xmpp:reactions:0").unwrap();
    assert_eq!((reactions.attr("id"), reactions.children[0].text.as_str()), (Some(&*id), "👋"));
    // An answer, both ways.
    let answer = format!(
        "<message to='{room}' type='groupchat' id='a1'><body>parting is such sweet sorrow</body>\
         <reply xmlns='urn:xmpp:reply:0' id='{id}' to='{room}/Juliet'/></message>"
    );
    romeo.send(answer).await.unwrap();
    let line = juliet.line("sweet sorrow").await.unwrap();
    assert!(line.contains(&format!("+reply={msgid}")), "{line}");
    let back = line.split(['@', ';', ' ']).find_map(|tag| tag.strip_prefix("msgid=")).unwrap().to_owned();
    let own = romeo.find("his reflection", |s| is_group(s) && s.attr("id") == Some("a1")).await.unwrap();
    let own_id = own.get("stanza-id", "urn:xmpp:sid:0").and_then(|sid| sid.attr("id")).unwrap().to_owned();
    juliet.send(&format!("@+reply={back} PRIVMSG #verona :till it be morrow")).await.unwrap();
    let answer = romeo.find("her answer", |s| s.body().is_some_and(|b| b.contains("till it be morrow"))).await.unwrap();
    assert_eq!(answer.get("reply", "urn:xmpp:reply:0").and_then(|r| r.attr("id")), Some(&*own_id), "{answer}");
}

async fn meet(world: &World, mut juliet: Person) {
    juliet.join("#verona").await.unwrap();
    let mut romeo = world.client("romeo").await;
    let room = room("verona");
    let own = join(&mut romeo, &room, "romeo").await;
    assert_eq!(own.attr("from"), Some(&*format!("{room}/romeo")));
    romeo.find("the connection in words", |s| s.body().is_some_and(|b| b.contains("encrypted"))).await.unwrap();

    say(&mut romeo, &room, "m1", "But, soft! &lt;3").await;
    assert!(juliet.line("PRIVMSG").await.unwrap().ends_with("But, soft! <3"));
    let back = romeo.find("the reflection", |s| is_group(s) && s.body() == Some("But, soft! <3")).await.unwrap();
    assert_eq!((back.attr("id"), back.attr("from")), (Some("m1"), Some(&*format!("{room}/romeo"))));
    assert!(back.has("stanza-id", "urn:xmpp:sid:0"));

    juliet.say("#verona", "\u{2}O\u{2} Romeo \u{7}").await.unwrap();
    let heard = romeo.find("her words", |s| is_group(s) && s.body() == Some("*O* Romeo ")).await.unwrap();
    assert_eq!(heard.attr("from"), Some(&*format!("{room}/Juliet")));
    juliet.send_bytes(b"PRIVMSG #verona :\x01ACTION na\xefve\xff\x01").await.unwrap();
    romeo.find("her action", |s| is_group(s) && s.body() == Some("/me naïveÿ")).await.unwrap();
    say(&mut romeo, &room, "m2", "/me sighs").await;
    assert!(juliet.line("ACTION sighs").await.is_ok());

    juliet.send("NICK Capulet").await.unwrap();
    romeo
        .find("the new nick", |s| codes(s).contains(&"303") && s.attr("from") == Some(&*format!("{room}/Juliet")))
        .await
        .unwrap();
    juliet.send("QUIT :bye").await.unwrap();
    let gone =
        |s: &Element| s.attr("type") == Some("unavailable") && s.attr("from") == Some(&*format!("{room}/Capulet"));
    romeo.find("her end", gone).await.unwrap();
}

async fn two_resources_share_a_nick_and_leave_one_by_one(flavour: Flavour) {
    let irc = Irc::start(flavour).await;
    let mut juliet = irc.person("juliet").await;
    juliet.join("#verona").await.unwrap();
    let mut desk = irc.world.client("romeo").await;
    let room = room("verona");
    join(&mut desk, &room, "romeo").await;
    juliet.line(" JOIN ").await.unwrap();
    let mut phone = SlixClient::online(&irc.world.server, "romeo@localhost/phone").await.unwrap();
    join(&mut phone, &room, "romeo").await;
    say(&mut phone, &room, "m1", "from the phone").await;
    for client in [&mut desk, &mut phone] {
        let seen = client.find("the words", |s| is_group(s) && s.body() == Some("from the phone")).await.unwrap();
        assert_eq!(seen.attr("id"), Some("m1"));
    }
    desk.send(format!("<presence to='{room}/romeo' type='unavailable'/>")).await.unwrap();
    desk.find("own end", |s| s.attr("type") == Some("unavailable") && codes(s).contains(&"110")).await.unwrap();
    say(&mut phone, &room, "m2", "still here").await;
    assert!(juliet.line("still here").await.is_ok());
    phone
        .send(format!("<presence to='{room}/romeo' type='unavailable'><status>so long</status></presence>"))
        .await
        .unwrap();
    assert!(juliet.line(" PART ").await.unwrap().ends_with("so long"));
    // Nothing needs the connection any more.
    irc.world.gateway.logged("left-network").await.unwrap();
}

async fn private_messages_raw_lines_and_refusals(flavour: Flavour) {
    let irc = Irc::start(flavour).await;
    let mut juliet = irc.person("juliet").await;
    let mut romeo = irc.world.client("romeo").await;
    // A message opens the connection by itself.
    let hers = format!("juliet%net@{DOMAIN}");
    romeo.message(&hers, "psst").await.unwrap();
    assert!(juliet.line("PRIVMSG juliet :psst").await.unwrap().starts_with(":romeo!"));
    juliet.say("romeo", "yes?").await.unwrap();
    let heard = romeo.body("yes?").await.unwrap();
    assert_eq!(heard.attr("from").map(|f| f.split('/').next().unwrap_or_default()), Some(&*hers));
    let id = romeo.message(&format!("nobody%net@{DOMAIN}"), "hello?").await.unwrap();
    let failed =
        romeo.find("the failure", |s| s.attr("type") == Some("error") && s.attr("id") == Some(&id)).await.unwrap();
    assert_eq!(failed.error().as_deref(), Some("cancel/item-not-found"));
    // Who asks in a language is answered in it, also when the answer comes late.
    let french =
        format!("<message to='nobody%net@{DOMAIN}' type='chat' id='f1' xml:lang='fr'><body>allo?</body></message>");
    romeo.send(french).await.unwrap();
    let failed = romeo.find("the failure", |s| s.attr("type") == Some("error") && s.attr("id") == Some("f1")).await;
    let failed = failed.unwrap();
    assert_eq!(failed.attr("xml:lang"), Some("fr"), "{failed}");
    romeo.message(&format!("net@{DOMAIN}"), "WHOIS juliet").await.unwrap();
    romeo
        .find("an answer to the raw line", |s| {
            s.body().is_some_and(|b| b.contains("juliet") && b.contains("ng.irc.test: "))
        })
        .await
        .unwrap();

    juliet.join("#closed").await.unwrap();
    juliet.send("MODE #closed +k sesame").await.unwrap();
    juliet.line(" MODE #closed ").await.unwrap();
    let closed = room("closed");
    romeo
        .send(format!(
            "<presence to='{closed}/romeo' id='j1' xml:lang='fr'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
        ))
        .await
        .unwrap();
    let refused = romeo.find("the refusal", |s| s.name == "presence" && s.attr("id") == Some("j1")).await.unwrap();
    assert_eq!((refused.error().as_deref(), refused.attr("xml:lang")), (Some("auth/not-authorized"), Some("fr")));
    let x = "<x xmlns='http://jabber.org/protocol/muc'><password>sesame</password></x>";
    romeo.send(format!("<presence to='{closed}/romeo' id='j2'>{x}</presence>")).await.unwrap();
    romeo.find("own presence", |s| codes(s).contains(&"110")).await.unwrap();

    let info = "<command xmlns='http://jabber.org/protocol/commands' node='get-irc-connection-info' action='execute'/>";
    let answer = romeo.ask(&format!("net@{DOMAIN}"), "set", info).await.unwrap();
    assert!(answer.walk().any(|e| e.text.contains("#closed%net")), "{answer}");
}

async fn roles_and_subjects_change_on_both_sides(flavour: Flavour) {
    let irc = Irc::start(flavour).await;
    let mut romeo = irc.world.client("romeo").await;
    let room = room("verona");
    join(&mut romeo, &room, "romeo").await;
    let mut juliet = irc.person("juliet").await;
    juliet.join("#verona").await.unwrap();
    let hers = format!("{room}/juliet");
    romeo.find("her entry", |s| s.name == "presence" && s.attr("from") == Some(&hers)).await.unwrap();
    let admin = |item: &str| format!("<query xmlns='http://jabber.org/protocol/muc#admin'>{item}</query>");
    let answer = romeo.ask(&room, "set", &admin("<item nick='juliet' affiliation='admin'/>")).await.unwrap();
    assert_eq!(answer.attr("type"), Some("result"), "{answer}");
    assert!(juliet.line(" MODE ").await.unwrap().ends_with("+o juliet"));
    let is_admin =
        |s: &Element| s.attr("from") == Some(&hers) && s.walk().any(|e| e.attr("affiliation") == Some("admin"));
    romeo.find("her affiliation", is_admin).await.unwrap();
    romeo
        .send(format!("<message to='{room}' type='groupchat' id='s'><subject>The balcony</subject></message>"))
        .await
        .unwrap();
    assert!(juliet.line(" TOPIC ").await.unwrap().ends_with("The balcony"));
    romeo.find("the subject", |s| s.child("subject").is_some_and(|e| e.text == "The balcony")).await.unwrap();
    let answer =
        romeo.ask(&room, "set", &admin("<item nick='juliet' role='none'><reason>night</reason></item>")).await.unwrap();
    assert_eq!(answer.attr("type"), Some("result"), "{answer}");
    assert!(juliet.line(" KICK ").await.unwrap().ends_with("night"));
    let kicked = |s: &Element| s.attr("from") == Some(&hers) && codes(s).contains(&"307");
    romeo.find("her end", kicked).await.unwrap();
    let answer = romeo
        .ask(&format!("net@{DOMAIN}"), "get", "<query xmlns='http://jabber.org/protocol/disco#items'/>")
        .await
        .unwrap();
    assert!(answer.walk().any(|e| e.attr("jid") == Some(&*room)), "{answer}");
}

async fn persistent_rooms_outlive_clients_and_restarts(flavour: Flavour) {
    let mut irc = Irc::with(flavour, "persistent_by_default = true\n").await;
    let mut juliet = irc.person("juliet").await;
    juliet.join("#verona").await.unwrap();
    let mut romeo = irc.world.client("romeo").await;
    let room = room("verona");
    join(&mut romeo, &room, "romeo").await;
    juliet.line(" JOIN ").await.unwrap();
    romeo.send(format!("<presence to='{room}/romeo' type='unavailable'/>")).await.unwrap();
    romeo.find("own end", |s| s.attr("type") == Some("unavailable") && codes(s).contains(&"110")).await.unwrap();
    irc.world.gateway.stop().await.unwrap();
    let parting = juliet.line(":romeo!").await.unwrap();
    assert!(parting.contains(" QUIT "), "he did not leave the room: {parting}");
    irc.world.gateway.launch().await.unwrap();
    assert!(juliet.line(":romeo!").await.unwrap().contains(" JOIN "), "and is back by himself");
    // His client finds the room as it is.
    join(&mut romeo, &room, "romeo").await;
    juliet.say("#verona", "welcome back").await.unwrap();
    romeo.find("her words", |s| is_group(s) && s.body() == Some("welcome back")).await.unwrap();
}

async fn the_gateway_can_be_one_network(flavour: Flavour) {
    let irc = Irc::with(flavour, "fixed_network = \"net\"\n").await;
    let mut juliet = irc.person("juliet").await;
    juliet.join("#verona").await.unwrap();
    let mut romeo = irc.world.client("romeo").await;
    let room = format!("#verona@{DOMAIN}");
    join(&mut romeo, &room, "romeo").await;
    romeo
        .find("words from the gateway itself", |s| s.attr("from") == Some(DOMAIN) && s.body().is_some())
        .await
        .unwrap();
    say(&mut romeo, &room, "m1", "one network").await;
    juliet.line(":one network").await.unwrap();
    romeo.message(&format!("juliet@{DOMAIN}"), "psst").await.unwrap();
    juliet.line("PRIVMSG juliet :psst").await.unwrap();
    // A line without a mark is one for the server, a line with one is a command.
    romeo.message(DOMAIN, "WHOIS juliet").await.unwrap();
    romeo.find("the answer", |s| s.body().is_some_and(|b| b.starts_with("ng.irc.test: juliet"))).await.unwrap();
    romeo.message(DOMAIN, "!get-irc-connection-info").await.unwrap();
    romeo.find("how it stands", |s| s.body().is_some_and(|b| b.contains("127.0.0.1"))).await.unwrap();
    // Its forms, by the names that biboumi has for them.
    let command = |node: &str, more: &str, inside: &str| {
        format!("<command xmlns='http://jabber.org/protocol/commands' node='{node}' {more}>{inside}</command>")
    };
    let has = |form: &Element, field: &str| form.walk().any(|e| e.name == "field" && e.attr("var") == Some(field));
    let global = romeo.ask(DOMAIN, "set", &command("global-configure", "action='execute'", "")).await.unwrap();
    assert!(has(&global, "persistent") && !has(&global, "realname"), "{global}");
    let server = romeo.ask(DOMAIN, "set", &command("server-configure", "action='execute'", "")).await.unwrap();
    assert!(has(&server, "realname") && has(&server, "tls_ports") && !has(&server, "persistent"), "{server}");
    let session = server.walk().find_map(|e| e.attr("sessionid")).unwrap().to_owned();
    let fields = "<x xmlns='jabber:x:data' type='submit'><field var='realname'><value>Montague</value></field></x>";
    let end = command("server-configure", &format!("action='complete' sessionid='{session}'"), fields);
    assert_eq!(romeo.ask(DOMAIN, "set", &end).await.unwrap().attr("type"), Some("result"));
    let both = romeo.ask(DOMAIN, "set", &command("configure", "action='execute'", "")).await.unwrap();
    assert!(has(&both, "persistent") && both.walk().any(|e| e.text == "Montague"), "{both}");
}

/// In the text, beside it, or both: what is set for the network, and by the user for a room.
async fn bold_and_colours_are_shown_as_the_user_wants(flavour: Flavour) {
    let irc = Irc::with(flavour, "[defaults]\nformatting = \"xhtml\"\n").await;
    let mut juliet = irc.person("juliet").await;
    juliet.join("#verona").await.unwrap();
    let mut romeo = irc.world.client("romeo").await;
    let room = room("verona");
    join(&mut romeo, &room, "romeo").await;
    juliet.say("#verona", "\u{2}O\u{2} \u{3}4Romeo").await.unwrap();
    let heard = romeo.find("her words", |s| is_group(s) && s.body() == Some("O Romeo")).await.unwrap();
    let of = |name: &str| heard.walk().find(|e| e.name == name).map(ToString::to_string);
    assert!(of("markup").is_some_and(|m| m.contains("strong")), "{heard}");
    let html = of("html").unwrap();
    assert!(html.contains("font-weight: bold") && html.contains("color: #ff0000"), "{html}");
    // The archive has them too.
    let query = "<query xmlns='urn:xmpp:mam:2'/>";
    romeo.ask(&room, "set", query).await.unwrap();
    let kept = romeo.find("the archived line", |s| s.has("result", "urn:xmpp:mam:2")).await.unwrap();
    assert!(kept.walk().any(|e| e.name == "markup"), "{kept}");

    let command = |more: &str, inside: &str| {
        format!("<command xmlns='http://jabber.org/protocol/commands' node='configure' {more}>{inside}</command>")
    };
    let form = romeo.ask(&room, "set", &command("action='execute'", "")).await.unwrap();
    let session = form.walk().find_map(|e| e.attr("sessionid")).unwrap().to_owned();
    let fields = "<x xmlns='jabber:x:data' type='submit'><field var='formatting'><value>styling</value></field></x>";
    romeo.ask(&room, "set", &command(&format!("action='complete' sessionid='{session}'"), fields)).await.unwrap();
    juliet.say("#verona", "\u{2}wherefore\u{2} art thou").await.unwrap();
    let heard = romeo.find("styled", |s| is_group(s) && s.body() == Some("*wherefore* art thou")).await.unwrap();
    assert!(!heard.walk().any(|e| e.name == "markup" || e.name == "html"), "{heard}");
    // Private ones as it is set for the network.
    juliet.say("romeo", "\u{1d}Montague\u{1d}").await.unwrap();
    let heard = romeo.find("her whisper", |s| s.body() == Some("Montague")).await.unwrap();
    assert!(heard.walk().any(|e| e.name == "emphasis"), "{heard}");
}

/// Says something to the gateway; gives its answer.
async fn answer(client: &mut SlixClient, line: &str) -> String {
    client.message(DOMAIN, line).await.unwrap();
    let said = client.find("an answer", |s| s.attr("from") == Some(DOMAIN) && s.body().is_some()).await.unwrap();
    said.body().unwrap_or_default().to_owned()
}

/// For clients without forms.
async fn a_room_is_configured_by_chat_question_by_question(flavour: Flavour) {
    const SHOWN: &str = "How bold, italic and the like are shown";
    let irc = Irc::start(flavour).await;
    let mut juliet = irc.person("juliet").await;
    juliet.join("#verona").await.unwrap();
    let mut romeo = irc.world.client("romeo").await;
    let room = room("verona");
    join(&mut romeo, &room, "romeo").await;
    romeo.drain();
    // To the question, one back, on again, a wrong answer, a right one, and to the end.
    let mut before = String::new();
    let mut asked = answer(&mut romeo, "configure #verona%net").await;
    for _ in 0..20 {
        if asked.contains(SHOWN) {
            break;
        }
        before = asked;
        asked = answer(&mut romeo, if before.contains("“ok”") { "ok" } else { "-" }).await;
    }
    assert!(asked.contains(SHOWN) && asked.contains("4. Plain text"), "{asked}");
    let back = answer(&mut romeo, "back").await;
    assert!(!back.contains(SHOWN) && before.contains(&back), "it goes back to {before:?}, not to {back:?}");
    assert_eq!(answer(&mut romeo, "ok").await, asked);
    let wrong = answer(&mut romeo, "9").await;
    assert!(wrong.ends_with(&asked) && wrong != asked, "the question is put again, with a reason: {wrong}");
    let mut said = answer(&mut romeo, "4").await;
    for _ in 0..20 {
        if said.contains("Saved.") {
            break;
        }
        said = answer(&mut romeo, if said.contains("“ok”") { "ok" } else { "-" }).await;
    }
    assert!(said.contains("Saved."), "{said}");
    juliet.say("#verona", "\u{2}O\u{2} Romeo").await.unwrap();
    romeo.find("plain words", |s| is_group(s) && s.body() == Some("O Romeo")).await.unwrap();
    // What is cancelled changes nothing, and ends the questions.
    let mut asked = answer(&mut romeo, "configure #verona%net").await;
    for _ in 0..20 {
        if asked.contains(SHOWN) {
            break;
        }
        asked = answer(&mut romeo, if asked.contains("“ok”") { "ok" } else { "-" }).await;
    }
    answer(&mut romeo, "1").await;
    assert_eq!(answer(&mut romeo, "cancel").await, "Cancelled.");
    juliet.say("#verona", "\u{2}wherefore\u{2}").await.unwrap();
    romeo.find("plain words still", |s| is_group(s) && s.body() == Some("wherefore")).await.unwrap();
    assert!(answer(&mut romeo, "ok").await.contains("ok"), "no question is open");
}
