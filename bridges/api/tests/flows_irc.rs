//! What an IRC bridge will say to the core and hear from it, played with Loopback: the contract carries it.

use std::sync::Arc;

use isthmus_bridge::query::{Part, ProbeKind, ReplySink};
use isthmus_bridge::room::Standing;
use isthmus_bridge::suite::{FakeHost, LoopbackKind, Session, build};
use isthmus_bridge::{
    Address, Ask, Bridge, DeliveryError, Event, Failure, Intent, LinkState, Message, MessageKind, Query, Reply,
    RoomChange, RoomId, Step, Text, Values, Work,
};
use serde_json::json;

struct Net {
    bridge: Arc<dyn Bridge>,
    host: Arc<FakeHost>,
}

impl Net {
    fn new() -> Self {
        let bridge = build(&LoopbackKind, json!({"networks": ["libera", "oftc"], "listed": 5_000})).expect("good keys");
        let host = FakeHost::of(&bridge);
        Self { bridge, host }
    }

    fn at(&self, local: &str) -> Address {
        self.bridge.addressing().parse(Some(local), None).expect("a good local part")
    }

    fn session(&self, user: &str, at: &Address) -> Session {
        Session::start(&self.bridge, &self.host, user, at)
    }

    async fn join(&self, session: &Session, room: &str, nick: &str) {
        let legs = session.deliver(self.at(room), join(nick)).await;
        assert_eq!(legs[0].result, Ok(()), "{nick} enters {room}");
    }
}

fn join(nick: &str) -> Intent {
    Intent::Join { nick: nick.to_owned(), password: None }
}

fn group(body: &str) -> Intent {
    Intent::Send(Box::new(Message::group(body)))
}

fn is(change: RoomChange) -> impl Fn(&isthmus_bridge::Inbound) -> bool {
    move |event| event.event == Event::Room(change.clone())
}

#[tokio::test(start_paused = true)]
async fn a_room_of_ten_thousand_is_one_event_and_one_view() {
    let net = Net::new();
    let room = net.at("#crowd10000%libera");
    let session = net.session("romeo@example.org", &room);
    net.host.reported("the connection", |l| *l == LinkState::Up).await;
    net.join(&session, "#crowd10000%libera", "romeo").await;
    let joined = net.host.emitted("the end of the join", is(RoomChange::Joined)).await;
    assert_eq!(joined.from, room);
    assert!(net.host.emits().is_empty(), "ten thousand occupants are no events: they are in the view");

    let view = net.host.host().room(session.of(), &RoomId::from("#crowd10000%libera"));
    {
        let view = view.lock().expect("nobody panicked");
        assert_eq!((view.standing, view.members().len(), view.nick()), (Standing::Inside, 10_001, "romeo"));
    }
    // The core can stop reading the link meanwhile: what follows waits and is not lost.
    net.host.room_for(Some(0));
    let key = session.send(room.clone(), Intent::Leave { status: None });
    tokio::task::yield_now().await;
    net.host.room_for(None);
    net.host.outcome_of(&key).await;
    net.host.emitted("the end of the visit", |e| matches!(e.event, Event::Room(RoomChange::Left { .. }))).await;
    let view = view.lock().expect("nobody panicked");
    assert_eq!((view.standing, view.members().len()), (Standing::Outside, 0));
}

#[tokio::test(start_paused = true)]
async fn others_see_who_enters_is_renamed_and_goes() {
    let net = Net::new();
    let room = net.at("#verona%libera");
    let (romeo, juliet) = (net.session("romeo@example.org", &room), net.session("juliet@example.org", &room));
    net.join(&romeo, "#verona%libera", "romeo").await;
    net.join(&juliet, "#verona%libera", "juliet").await;
    let entered = net.host.emitted("juliet's entry", is(RoomChange::Entered)).await;
    assert_eq!(entered.to.as_str(), "romeo@example.org");

    romeo.deliver(room.clone(), Intent::Rename { nick: "montague".to_owned() }).await;
    let renamed = is(RoomChange::Renamed { nick: "montague".to_owned() });
    for _ in 0..2 {
        let event = net.host.emitted("the new nick, for both", &renamed).await;
        assert!(matches!(event.from, Address::Occupant { nick, .. } if nick == "romeo"));
    }
    let taken = juliet.deliver(room.clone(), Intent::Rename { nick: "Montague".to_owned() }).await;
    assert!(matches!(&taken[0].result, Err(e) if e.failure == Failure::Conflict), "{taken:?}");

    let of = romeo.of().clone();
    romeo.stop().await.expect("stops");
    let quit = net.host.emitted("his parting", |e| {
        e.to.as_str() == "juliet@example.org" && matches!(e.event, Event::Room(RoomChange::Left { .. }))
    });
    quit.await;
    let view = net.host.host().room(&of, &RoomId::from("#verona%libera"));
    assert_eq!(view.lock().expect("nobody panicked").standing, Standing::Outside);
}

#[tokio::test(start_paused = true)]
async fn one_message_is_as_many_lines_each_with_an_id_and_an_echo() {
    let net = Net::new();
    let room = net.at("#verona%libera");
    let (romeo, juliet) = (net.session("romeo@example.org", &room), net.session("juliet@example.org", &room));
    net.join(&romeo, "#verona%libera", "romeo").await;
    net.join(&juliet, "#verona%libera", "juliet").await;
    net.host.take_emits();

    let key = romeo.send(room.clone(), group("but soft\nwhat light\nbreaks"));
    let isthmus_bridge::Outcome::Legs(legs) = net.host.outcome_of(&key).await else { panic!("dropped") };
    assert_eq!((legs.len(), legs[0].ids.len(), &legs[0].result), (1, 3, &Ok(())), "one leg, an id a line");

    let said = net.host.take_emits();
    let (own, hers): (Vec<_>, Vec<_>) = said.into_iter().partition(|e| e.to.as_str() == "romeo@example.org");
    for (part, line) in ["but soft", "what light", "breaks"].into_iter().enumerate() {
        for copy in [&own[part], &hers[part]] {
            assert!(matches!(&copy.event, Event::Message(m) if m.body == line && m.kind == MessageKind::Group));
            assert_eq!(copy.id.as_ref(), Some(&legs[0].ids[part]), "all copies of a line have its id");
        }
        assert_eq!(own[part].echo_of, Some((key.clone(), part as u16)), "the core restores the client's id on part 0");
        assert_eq!(hers[part].echo_of, None);
    }
    // A reaction or a correction names the message by any of its ids.
    let of = isthmus_bridge::MessageRef::foreign("libera".into(), legs[0].ids[1].clone());
    let known = net.host.host().find(&of).await.expect("the store is there").expect("known");
    assert_eq!(known.key, Some(key));
}

#[tokio::test(start_paused = true)]
async fn who_is_outside_or_banned_is_told() {
    let net = Net::new();
    let room = net.at("#verona%libera");
    let (romeo, tybalt) = (net.session("romeo@example.org", &room), net.session("tybalt@example.org", &room));
    let failure = |legs: Vec<isthmus_bridge::Leg>| legs[0].result.clone().map_err(|e| e.failure);
    assert_eq!(failure(romeo.deliver(room.clone(), group("anybody?")).await), Err(Failure::NotJoined));

    net.join(&romeo, "#verona%libera", "romeo").await;
    let ban = |on| Intent::Ban { mask: "tybalt@example.org".to_owned(), on, reason: Some("duels".to_owned()) };
    assert_eq!(failure(romeo.deliver(room.clone(), ban(true)).await), Ok(()));
    let list = || Query::Affiliates { room: RoomId::from("#verona%libera"), list: "outcast".to_owned() };
    let (parts, end) = romeo.ask(list()).await;
    let Part::Affiliate { who, note, .. } = &parts[0] else { panic!("{parts:?}") };
    assert_eq!((who.as_str(), note.as_deref(), end), ("tybalt@example.org", Some("duels"), Ok(())));

    assert_eq!(failure(tybalt.deliver(room.clone(), join("tybalt")).await), Err(Failure::Forbidden));
    romeo.deliver(room.clone(), ban(false)).await;
    assert_eq!(romeo.ask(list()).await.0, []);
    net.join(&tybalt, "#verona%libera", "tybalt").await;
    assert_eq!(failure(tybalt.deliver(room, ban(true)).await), Err(Failure::Forbidden), "he is no moderator");
}

/// LIST of a large network: the session streams; who asked takes a page and lets the rest go.
#[tokio::test(start_paused = true)]
async fn a_listing_is_streamed_and_ends_when_nobody_wants_more() {
    struct Page {
        parts: Vec<Part>,
        ended: std::sync::mpsc::Sender<(usize, Result<(), DeliveryError>)>,
    }
    impl ReplySink for Page {
        fn part(&mut self, part: Part) {
            self.parts.push(part);
        }
        fn end(&mut self, result: Result<(), DeliveryError>) {
            assert!(self.ended.send((self.parts.len(), result)).is_ok());
        }
        fn wanted(&self) -> bool {
            self.parts.len() < 50
        }
    }
    let net = Net::new();
    let session = net.session("romeo@example.org", &net.at("libera"));
    let (all, end) = session.ask(Query::Rooms { filter: None }).await;
    assert_eq!((all.len(), end), (5_000, Ok(())));
    let (some, _) = session.ask(Query::Rooms { filter: Some("room00001".to_owned()) }).await;
    assert_eq!(some.len(), 10);

    let (ended, page) = std::sync::mpsc::channel();
    let reply = Reply::new(Box::new(Page { parts: Vec::new(), ended }));
    let ask = Work::Ask(Box::new(Ask::new(Query::Rooms { filter: None }, reply)));
    assert!(session.inbox().push(ask).is_ok());
    session.stop().await.expect("stops");
    assert_eq!(page.recv(), Ok((50, Ok(()))));
    assert!(page.recv().is_err(), "ended once");
}

#[tokio::test(start_paused = true)]
async fn whois_comes_in_pieces_or_says_that_nobody_is_there() {
    let net = Net::new();
    let session = net.session("romeo@example.org", &net.at("libera"));
    let (parts, end) = session.ask(Query::About(net.at("alice%libera"))).await;
    let facts = |key: &str| {
        parts.iter().find_map(|p| match p {
            Part::Facts(values) => values.get(key),
            _ => None,
        })
    };
    assert_eq!((facts("host"), facts("idle"), end), (Some("alice@loop.invalid"), Some("42"), Ok(())));
    let (none, end) = session.ask(Query::About(net.at("refuse%libera"))).await;
    assert_eq!((none.len(), end.expect_err("nobody").failure), (0, Failure::NoSuchRecipient));
    let probe = Query::Probe { of: net.at("alice%libera"), what: ProbeKind::Ping };
    assert!(matches!(session.ask(probe).await.0[..], [Part::RoundTrip(_)]));
}

#[tokio::test(start_paused = true)]
async fn settings_hold_at_three_levels_and_the_session_hears_of_changes() {
    let net = Net::new();
    let (gateway, network, room) = (Address::Gateway, net.at("libera"), net.at("#verona%libera"));
    let session = net.session("romeo@example.org", &room);
    let heard = async |at: &Address| {
        let event = net.host.emitted("the settings", |e| e.from == *at).await;
        match event.event {
            Event::Notice { text: Text::Key { args, .. }, .. } => args[0].1.clone(),
            other => panic!("{other:?}"),
        }
    };
    net.host.set_default("nick", "guest");
    session.set(&gateway, "encoding", Some("latin-1")).await;
    assert_eq!(heard(&gateway).await, "guest", "the administrator's default");
    session.set(&gateway, "nick", Some("romeo")).await;
    assert_eq!(heard(&gateway).await, "romeo");
    session.set(&network, "nick", Some("montague")).await;
    assert_eq!(heard(&network).await, "montague");
    session.set(&room, "nick", Some("lover")).await;
    assert_eq!(heard(&room).await, "lover");

    let host = net.host.host();
    let nick = |at: &Address| host.resolved(&session.of().user, at).str("nick").to_owned();
    let occupant = Address::Occupant { room: RoomId::from("#verona%libera"), nick: "x".to_owned() };
    assert_eq!(nick(&occupant), "lover", "an occupant's address has its room's");
    assert_eq!(nick(&net.at("#other%libera")), "montague");
    assert_eq!(nick(&net.at("#verona%oftc")), "romeo");
    assert_eq!(host.resolved(&"juliet@example.org".into(), &room).str("nick"), "guest");

    session.set(&room, "nick", None).await;
    assert_eq!(heard(&room).await, "montague", "back to the network's");
    net.host.lock("nick", "nobody");
    assert_eq!(nick(&room), "nobody", "the administrator has fixed it");
}

#[tokio::test(start_paused = true)]
async fn a_command_in_a_room_gives_a_table() {
    let net = Net::new();
    let room = net.at("#crowd3%libera");
    let session = net.session("romeo@example.org", &room);
    net.join(&session, "#crowd3%libera", "romeo").await;
    let step = session.command("who", room, Vec::new()).await.expect("it works");
    let Step::Done { table: Some(table), .. } = step else { panic!("{step:?}") };
    assert_eq!(table.rows, [["bot0"], ["bot1"], ["bot2"], ["romeo"]]);
}

#[tokio::test(start_paused = true)]
async fn a_form_of_two_pages_can_go_back() {
    let net = Net::new();
    let session = net.session("romeo@example.org", &Address::Gateway);
    let answers = vec![Values::new().with("colour", "red"), Values::new().with("size", "42")];
    let step = session.command("survey", Address::Gateway, answers).await.expect("it works");
    let told = Text::key("survey-done").with("colour", "red").with("size", 42);
    assert_eq!(step, Step::done(told));

    let host = net.host.host();
    let mut call = isthmus_bridge::Call::start("survey", "romeo@example.org".into(), Address::Gateway);
    call.state = json!({"page": "size", "colour": "blue"});
    call.action = isthmus_bridge::Action::Prev;
    let Ok(Step::Ask { form, last: false, .. }) = net.bridge.step(call, &host).await else { panic!("no form") };
    assert_eq!(form.fields[0].value, ["blue"], "what was chosen stands in the form again");
}
