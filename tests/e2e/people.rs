//! Contact lists in rosters, what users said elsewhere, pictures: the same for every bridge.

use std::time::Duration;

use isthmus::xmpp::link::Rendered;
use isthmus_testkit::isthmus::{Isthmus, Setup};
use isthmus_testkit::server::{Flavour, Options, XmppServer, secret};
use isthmus_testkit::slix::SlixClient;
use isthmus_testkit::xml::Element;

use crate::inside::{Inside, LOOP};
use crate::link::Link;

crate::on_both!(
    a_networks_contact_list_stands_in_the_roster_with_names_and_groups,
    what_a_user_said_elsewhere_is_shown_on_their_devices_and_never_sent_again,
    what_was_made_known_and_comes_back_after_a_restart_is_swallowed,
    without_privileges_contacts_ask_and_own_words_are_marked,
    a_client_that_knows_roster_item_exchange_is_asked_to_add_contacts,
    a_contacts_picture_is_in_presence_vcards_and_events,
    a_contact_added_by_command_stands_in_the_roster,
    a_contact_that_is_renamed_or_moved_to_another_group_is_so_in_the_roster,
    check_names_what_is_granted_and_the_line_that_is_missing,
    grants_are_learnt_anew_after_a_lost_link,
    a_room_is_bookmarked_where_the_server_grants_it,
    whom_a_user_blocks_at_their_server_is_blocked_here_where_it_may_be_read,
);

pub(crate) fn contact(name: &str) -> String {
    format!("{name}%loop@{LOOP}")
}

/// A push of the roster about this JID with this subscription.
fn pushed(jid: &str, subscription: &str) -> impl Fn(&Element) -> bool {
    move |s| {
        let item = s.child("query").and_then(|query| query.child("item"));
        s.name == "iq"
            && s.attr("type") == Some("set")
            && item.is_some_and(|item| item.attr("jid") == Some(jid) && item.attr("subscription") == Some(subscription))
    }
}

pub(crate) fn presence(from: &str, kind: Option<&str>) -> impl Fn(&Element) -> bool {
    move |s| {
        s.name == "presence"
            && s.attr("type") == kind
            && s.attr("from").is_some_and(|f| f.split('/').next() == Some(from))
    }
}

/// Whether it is a carbon of something that the user sent.
fn sent(stanza: &Element, body: &str) -> bool {
    let message = stanza.child("sent").and_then(|sent| sent.child("forwarded")).and_then(|f| f.child("message"));
    message.is_some_and(|message| message.body() == Some(body))
}

/// Takes up what a contact list brings: a push of the roster, or, on ejabberd of Debian, which grants rosters and fails at writing them, a request.
async fn taken_up(client: &mut SlixClient, flavour: Flavour, jid: &str, name: &str) {
    match flavour {
        Flavour::Prosody => {
            let push = client.find("a push", pushed(jid, "both")).await.unwrap();
            let item = push.child("query").and_then(|query| query.child("item")).unwrap();
            assert_eq!(item.attr("name"), Some(name), "{push}");
        }
        Flavour::Ejabberd => {
            let asked = client.find("a request", presence(jid, Some("subscribe"))).await.unwrap();
            assert_eq!(asked.child("nick").map(|nick| nick.text.as_str()), Some(name), "{asked}");
            let answer = format!("<presence type='subscribed' to='{jid}'/><presence type='subscribe' to='{jid}'/>");
            client.send(answer).await.unwrap();
        }
    }
    client.find("they are there", presence(jid, None)).await.unwrap();
}

async fn a_networks_contact_list_stands_in_the_roster_with_names_and_groups(flavour: Flavour) {
    let mut world = Inside::start(flavour, "").await;
    let mut alice = world.client("alice", "desk").await;
    let (ann, ben) = (contact("ann"), contact("ben"));
    alice.message(&contact("roster"), "ann=Ann Smith/Friends,Work; ben=Ben").await.unwrap();
    taken_up(&mut alice, flavour, &ann, "Ann Smith").await;
    taken_up(&mut alice, flavour, &ben, "Ben").await;
    let roster = alice.ask("alice@localhost", "get", "<query xmlns='jabber:iq:roster'/>").await.unwrap();
    assert!(roster.to_string().contains(&ann), "{roster}");
    if flavour == Flavour::Prosody {
        let text = roster.to_string();
        assert!(["Friends", "Work"].iter().all(|group| text.contains(group)), "{roster}");
    }
    // A contact is shown to the next session too, also after a restart.
    world.stop().await;
    world.launch().await;
    alice.disconnect().await.unwrap();
    alice.drain();
    alice.reconnect().await.unwrap();
    alice.send("<iq type='get' id='again'><query xmlns='jabber:iq:roster'/></iq>").await.unwrap();
    alice.answer("again").await.unwrap();
    alice.available().await.unwrap();
    alice.find("ann is there for the next session", presence(&ann, None)).await.unwrap();
    // Who is in the list no more goes.
    alice.message(&contact("roster"), "ann=Ann Smith/Friends,Work").await.unwrap();
    let gone = |s: &Element| match flavour {
        Flavour::Prosody => pushed(&ben, "remove")(s),
        Flavour::Ejabberd => {
            presence(&ben, Some("unsubscribed"))(s) || pushed(&ben, "none")(s) || pushed(&ben, "from")(s)
        }
    };
    alice.find("ben is gone", gone).await.unwrap();
    world.stop().await;
}

async fn what_a_user_said_elsewhere_is_shown_on_their_devices_and_never_sent_again(flavour: Flavour) {
    let mut world = Inside::start(flavour, "").await;
    let mut desk = world.client("alice", "desk").await;
    let mut phone = world.client("alice", "phone").await;
    for number in 0..3 {
        desk.message(&contact("elsewhere"), &format!("number {number}")).await.unwrap();
    }
    for number in 0..3 {
        let body = format!("elsewhere: number {number}");
        let on_phone = phone.find("a copy on the phone", |s| sent(s, &body)).await.unwrap();
        assert_eq!(on_phone.attr("from"), Some("alice@localhost"), "{on_phone}");
        desk.find("a copy on the desk", |s| sent(s, &body)).await.unwrap();
    }
    // Had it been sent again, the contact would have said that it was said elsewhere.
    let again = |s: &Element| s.to_string().contains("elsewhere: elsewhere:");
    assert!(phone.find_within(Duration::from_secs(2), again).await.unwrap().is_none());
    world.stop().await;
}

async fn what_was_made_known_and_comes_back_after_a_restart_is_swallowed(flavour: Flavour) {
    const OTHER: &str = "other.localhost";
    let more = |options: &mut Options| options.components.push(OTHER.to_owned());
    let mut world = Inside::with(flavour, "", "", more).await;
    let mut desk = world.client("alice", "desk").await;
    let elsewhere = contact("elsewhere");
    desk.message(&elsewhere, "first").await.unwrap();
    let copy = desk.find("a copy", |s| sent(s, "elsewhere: first")).await.unwrap();
    let inner = copy.child("sent").and_then(|sent| sent.child("forwarded")).and_then(|f| f.child("message")).unwrap();
    let id = inner.attr("id").unwrap().to_owned();
    world.stop().await;
    world.launch().await;
    if flavour == Flavour::Ejabberd {
        // Nothing was said in her name to the contact there, only copied to her devices: nothing comes back.
        let again = |s: &Element| s.to_string().contains("elsewhere: elsewhere:");
        assert!(desk.find_within(Duration::from_secs(2), again).await.unwrap().is_none());
        return world.stop().await;
    }
    // The server sends it once more: another component that may speak for its users has it do that.
    let mut other = Link::start(&world.server, OTHER, &secret(OTHER));
    let epoch = other.attached().await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await; // the grant follows the attach
    for (id, body) in [(id.as_str(), "elsewhere: first"), ("another", "second")] {
        let message = format!(
            "<message from='{OTHER}' to='localhost' id='p-{id}'><privilege xmlns='urn:xmpp:privilege:2'><forwarded xmlns='urn:xmpp:forward:0'>\
             <message xmlns='jabber:client' from='alice@localhost' to='{elsewhere}' type='chat' id='{id}'><body>{body}</body></message>\
             </forwarded></privilege></message>"
        );
        let message = Rendered::parse(message.as_bytes()).unwrap();
        other.handle.batch(epoch, &[message]).await.unwrap();
    }
    let next = |s: &Element| sent(s, "elsewhere: second") || sent(s, "elsewhere: elsewhere: first");
    let next = desk.find("what was said in her name", next).await.unwrap();
    assert!(sent(&next, "elsewhere: second"), "what came back was taken for her own: {next}");
    world.stop().await;
}

async fn without_privileges_contacts_ask_and_own_words_are_marked(flavour: Flavour) {
    let mut world = Inside::with(flavour, "", "", |options| options.privileged = false).await;
    let mut alice = world.client("alice", "desk").await;
    let ann = contact("ann");
    alice.message(&contact("roster"), "ann=Ann Smith").await.unwrap();
    let asked = alice.find("ann asks", presence(&ann, Some("subscribe"))).await.unwrap();
    assert_eq!(asked.child("nick").map(|nick| nick.text.as_str()), Some("Ann Smith"), "{asked}");
    let answer = format!("<presence type='subscribed' to='{ann}'/><presence type='subscribe' to='{ann}'/>");
    alice.send(answer).await.unwrap();
    alice.find("ann is there", presence(&ann, None)).await.unwrap();
    alice.message(&contact("elsewhere"), "hello").await.unwrap();
    let marked = alice.body("(you, from elsewhere) elsewhere: hello").await.unwrap();
    assert!(marked.attr("from").is_some_and(|from| from.starts_with(&contact("elsewhere"))), "{marked}");
    world.stop().await;
}

async fn a_client_that_knows_roster_item_exchange_is_asked_to_add_contacts(flavour: Flavour) {
    let mut world = Inside::with(flavour, "", "roster = \"exchange\"", |_| {}).await;
    let mut alice = world.client("alice", "desk").await;
    alice.feature("http://jabber.org/protocol/rosterx").await.unwrap();
    // Its presence must be known: it is, once it has been sent to somebody here.
    alice.send(format!("<presence to='{LOOP}'/>")).await.unwrap();
    alice.ping(LOOP).await.unwrap();
    alice.message(&contact("roster"), "ann=Ann/Friends; ben").await.unwrap();
    let asked = alice.find("an exchange", |s| s.name == "message" && s.child("x").is_some()).await.unwrap();
    let items: Vec<_> = asked.child("x").unwrap().children.iter().map(|i| (i.attr("action"), i.attr("jid"))).collect();
    let (ann, ben) = (contact("ann"), contact("ben"));
    assert_eq!(items, [(Some("add"), Some(&*ann)), (Some("add"), Some(&*ben))], "{asked}");
    world.stop().await;
}

async fn subscribe(client: &mut SlixClient, to: &str) {
    client.send(format!("<presence type='subscribe' to='{to}'/>")).await.unwrap();
    client.find("a first presence", presence(to, None)).await.unwrap();
}

async fn a_contacts_picture_is_in_presence_vcards_and_events(flavour: Flavour) {
    let mut world = Inside::start(flavour, "").await;
    let mut alice = world.client("alice", "desk").await;
    alice.feature("urn:xmpp:avatar:metadata+notify").await.unwrap();
    let face = contact("face");
    subscribe(&mut alice, &face).await;
    alice.message(&face, "show").await.unwrap();
    let hash_of =
        |s: &Element| s.child("x").and_then(|x| x.child("photo")).map(|photo| photo.text.clone()).unwrap_or_default();
    let with = |s: &Element| presence(&face, None)(s) && !hash_of(s).is_empty();
    let shown = alice.find("a presence with a picture", with).await.unwrap();
    let hash = hash_of(&shown);
    let is_event = |s: &Element| s.name == "message" && s.child("event").is_some() && s.to_string().contains(&hash);
    alice.find("an event", is_event).await.unwrap();
    let vcard = alice.ask(&face, "get", "<vCard xmlns='vcard-temp'/>").await.unwrap();
    let photo = vcard.child("vCard").and_then(|card| card.child("PHOTO")).unwrap_or_else(|| panic!("{vcard}"));
    assert_eq!(photo.child("TYPE").map(|t| t.text.as_str()), Some("image/png"));
    let items =
        |node: &str| format!("<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='{node}'/></pubsub>");
    let metadata = alice.ask(&face, "get", &items("urn:xmpp:avatar:metadata")).await.unwrap();
    assert!(metadata.to_string().contains(&hash), "{metadata}");
    let data = alice.ask(&face, "get", &items("urn:xmpp:avatar:data")).await.unwrap();
    assert!(data.to_string().contains("iVBORw0KGgo"), "{data}");
    let card = alice.ask(&face, "get", "<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'/>").await.unwrap();
    assert!(card.to_string().contains("data:image/png;base64,iVBORw0KGgo"), "{card}");
    // What disco says under the node of the capabilities is what they were made from.
    let caps = shown.child("c").unwrap();
    let node = format!("{}#{}", caps.attr("node").unwrap(), caps.attr("ver").unwrap());
    let query = format!("<query xmlns='http://jabber.org/protocol/disco#info' node='{node}'/>");
    let info = alice.ask(&face, "get", &query).await.unwrap();
    let pep =
        |i: &Element| i.name == "identity" && (i.attr("category"), i.attr("type")) == (Some("pubsub"), Some("pep"));
    assert!(info.child("query").is_some_and(|query| query.children.iter().any(pep)), "{info}");
    alice.message(&face, "none").await.unwrap();
    let without = |s: &Element| presence(&face, None)(s) && s.child("x").is_some() && hash_of(s).is_empty();
    alice.find("a presence without a picture", without).await.unwrap();
    world.stop().await;
}

/// Talks to the gateway by chat; gives its last answer.
pub(crate) async fn talk(client: &mut SlixClient, lines: &[&str]) -> String {
    let mut answer = String::new();
    for line in lines {
        client.message(LOOP, line).await.unwrap();
        let is = |s: &Element| s.name == "message" && s.attr("from").is_some_and(|f| f.split('/').next() == Some(LOOP));
        let said = client.find("an answer", is).await.unwrap();
        answer = said.body().unwrap_or_default().to_owned();
    }
    answer
}

async fn a_contact_added_by_command_stands_in_the_roster(flavour: Flavour) {
    let mut world = Inside::start(flavour, "").await;
    let mut alice = world.client("alice", "desk").await;
    let kept = talk(&mut alice, &["contacts add", "dora%loop", "Dora", "Friends, Work"]).await;
    assert!(kept.contains("dora"), "{kept}");
    let dora = contact("dora");
    taken_up(&mut alice, flavour, &dora, "Dora").await;
    let roster = alice.ask("alice@localhost", "get", "<query xmlns='jabber:iq:roster'/>").await.unwrap().to_string();
    if flavour == Flavour::Prosody {
        assert!(
            ["Friends", "Work"].iter().all(|group| roster.contains(&format!("<group>{group}</group>"))),
            "{roster}"
        );
    }
    let listed = talk(&mut alice, &["contacts list"]).await;
    assert!(listed.contains("Dora") && listed.contains("Friends, Work"), "{listed}");
    talk(&mut alice, &["contacts remove", "dora%loop"]).await;
    let gone = |s: &Element| pushed(&dora, "remove")(s) || presence(&dora, Some("unavailable"))(s);
    alice.find("dora is gone", gone).await.unwrap();
    world.stop().await;
}

/// A contact of this name, in this group, as a roster's push or a suggestion to the client (XEP-0144) says it.
fn called(jid: &str, name: &str, group: &str, item: Option<&Element>) -> bool {
    item.is_some_and(|item| {
        let grouped = item.children.iter().any(|c| c.name == "group" && c.text == group);
        (item.attr("jid"), item.attr("name")) == (Some(jid), Some(name)) && grouped
    })
}

/// Where the server lets us write into rosters it stands there; elsewhere the client is asked to change it.
async fn a_contact_that_is_renamed_or_moved_to_another_group_is_so_in_the_roster(flavour: Flavour) {
    let mut world = Inside::start(flavour, "").await;
    let mut alice = world.client("alice", "desk").await;
    let ann = contact("ann");
    if flavour == Flavour::Ejabberd {
        alice.feature("http://jabber.org/protocol/rosterx").await.unwrap();
        alice.send(format!("<presence to='{LOOP}'/>")).await.unwrap();
        alice.ping(LOOP).await.unwrap();
    }
    let shown = |name: &'static str, group: &'static str, action: &'static str| {
        let ann = ann.clone();
        move |s: &Element| match flavour {
            Flavour::Prosody => {
                s.name == "iq" && called(&ann, name, group, s.child("query").and_then(|query| query.child("item")))
            }
            Flavour::Ejabberd => {
                let item = s.get("x", "http://jabber.org/protocol/rosterx").and_then(|x| x.child("item"));
                called(&ann, name, group, item) && item.is_some_and(|item| item.attr("action") == Some(action))
            }
        }
    };
    alice.message(&contact("roster"), "ann=Ann Smith/Friends").await.unwrap();
    alice.find("a contact", shown("Ann Smith", "Friends", "add")).await.unwrap();
    if flavour == Flavour::Ejabberd {
        alice.send(format!("<presence type='subscribe' to='{ann}'/>")).await.unwrap();
    }
    alice.find("she is there", presence(&ann, None)).await.unwrap();
    alice.message(&contact("roster"), "ann=Ann Jones/Work").await.unwrap();
    alice.find("another name and group", shown("Ann Jones", "Work", "modify")).await.unwrap();
    let asked = talk(&mut alice, &["contacts rename", "ann%loop"]).await;
    assert!(asked.contains("Ann Jones"), "what it is called now: {asked}");
    talk(&mut alice, &["Annie", "ok"]).await;
    alice.find("the user's own name", shown("Annie", "Work", "modify")).await.unwrap();
    // By form, with other groups.
    let fields = [("do", "rename"), ("address", "ann%loop"), ("groups", "Family")];
    crate::flows::run(&mut alice, LOOP, "contacts", &fields).await;
    alice.find("the user's own group", shown("Annie", "Family", "modify")).await.unwrap();
    world.stop().await;
}

/// Asks `check` until it says this.
pub(crate) async fn check_says(gateway: &Isthmus, text: &str) -> String {
    let mut said = String::new();
    for _ in 0..120 {
        let output = gateway.cli(&["check"]).await.unwrap();
        said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        if said.contains(text) {
            return said;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    panic!("check never said {text:?}, but: {said}");
}

async fn grants_are_learnt_anew_after_a_lost_link(flavour: Flavour) {
    const GRANTED: &str = "localhost grants roster: both, message: outgoing, presence: roster";
    let options = Options { components: vec!["echo.localhost".to_owned()], ..Options::default() };
    let mut server = XmppServer::start(flavour, options).await.unwrap();
    let gateway = Setup::new(env!("CARGO_BIN_EXE_isthmus"), server.component()).echo().start().await.unwrap();
    check_says(&gateway, GRANTED).await;
    // What was granted before counts no more, and the lines that are missing now are named.
    server.kill();
    server.grant(false).unwrap();
    server.launch().await.unwrap();
    let said = check_says(&gateway, "grants no privileges").await;
    assert!(said.contains("privileged_entities = {") && said.contains("mod_privilege with roster: both"), "{said}");
    server.kill();
    server.grant(true).unwrap();
    server.launch().await.unwrap();
    let said = check_says(&gateway, GRANTED).await;
    assert!(!said.contains("grants no privileges"), "{said}");
}

/// What `check` says. The server tells of its grants a moment after the attach.
async fn checked(gateway: &Isthmus, granted: bool) -> String {
    let mut said = String::new();
    for _ in 0..20 {
        let output = gateway.cli(&["check"]).await.unwrap();
        said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        if said.contains("localhost grants ") == granted {
            break;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    said
}

async fn check_names_what_is_granted_and_the_line_that_is_missing(flavour: Flavour) {
    let options =
        |privileged| Options { components: vec!["echo.localhost".to_owned()], privileged, ..Options::default() };
    for privileged in [true, false] {
        let server = XmppServer::start(flavour, options(privileged)).await.unwrap();
        let setup = Setup::new(env!("CARGO_BIN_EXE_isthmus"), server.component()).echo();
        let mut gateway = setup.start().await.unwrap();
        // Of the running gateway first, then by attaching.
        for running in [true, false] {
            if !running {
                gateway.stop().await.unwrap();
            }
            let said = checked(&gateway, privileged).await;
            if !privileged {
                assert!(said.contains("grants no privileges") && said.contains("privileged_entities = {"), "{said}");
                assert!(said.contains("mod_privilege with roster: both"), "{said}");
                continue;
            }
            assert!(said.contains("localhost grants roster: both, message: outgoing, presence: roster"), "{said}");
            match flavour {
                Flavour::Prosody => assert!(said.contains("iq urn:xmpp:blocking: get"), "{said}"),
                Flavour::Ejabberd => assert!(said.contains("block lists of users are not available"), "{said}"),
            }
        }
    }
}

async fn a_room_is_bookmarked_where_the_server_grants_it(flavour: Flavour) {
    let mut world = Inside::start(flavour, "").await;
    let mut alice = world.client("alice", "desk").await;
    let room = format!("#garden%loop@{LOOP}");
    let command = "http://jabber.org/protocol/commands";
    let asked = alice.ask(&room, "set", &format!("<command xmlns='{command}' node='bookmark'/>")).await.unwrap();
    if flavour == Flavour::Ejabberd {
        assert!(asked.to_string().contains("does not let the gateway"), "{asked}");
        return world.stop().await;
    }
    let session =
        asked.child("command").and_then(|c| c.attr("sessionid")).unwrap_or_else(|| panic!("{asked}")).to_owned();
    let form =
        crate::register::submit(asked.child("command").and_then(|c| c.child("x")).unwrap(), &[("nick", "al")]).unwrap();
    let payload = format!("<command xmlns='{command}' node='bookmark' sessionid='{session}'>{form}</command>");
    let done = alice.ask(&room, "set", &payload).await.unwrap();
    assert!(done.to_string().contains("among your bookmarks"), "{done}");
    let own = "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:bookmarks:1'/></pubsub>";
    let items = alice.ask("alice@localhost", "get", own).await.unwrap().to_string();
    assert!(items.contains(&room) && items.contains("autojoin='true'") && items.contains("al"), "{items}");
    world.stop().await;
}

async fn whom_a_user_blocks_at_their_server_is_blocked_here_where_it_may_be_read(flavour: Flavour) {
    let mut world = Inside::start(flavour, "").await;
    let mut alice = world.client("alice", "desk").await;
    let ann = contact("ann");
    talk(&mut alice, &["contacts add", "ann%loop", "Ann", "-"]).await;
    let block = format!("<block xmlns='urn:xmpp:blocking'><item jid='{ann}'/></block>");
    alice.send(format!("<iq type='set' id='block'>{block}</iq>")).await.unwrap();
    alice.answer("block").await.unwrap();
    world.stop().await;
    world.launch().await;
    match flavour {
        Flavour::Prosody => {
            for _ in 0..300 {
                if talk(&mut alice, &["contacts list"]).await.contains('⛔') {
                    return world.stop().await;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            panic!("the block list was not read");
        }
        // ejabberd of Debian grants no iqs: its users block by our own command.
        Flavour::Ejabberd => assert!(!talk(&mut alice, &["contacts list"]).await.contains('⛔')),
    }
    world.stop().await;
}
