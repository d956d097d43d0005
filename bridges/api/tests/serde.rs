//! Every data type of the contract survives the way to another process and back.

use std::fmt::Debug;
use std::time::{Duration, SystemTime};

use isthmus_bridge::host::MessageRef;
use isthmus_bridge::inbound::Departure;
use isthmus_bridge::query::{Part, ProbeKind};
use isthmus_bridge::room::{Rank, Standing, Subject};
use isthmus_bridge::*;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

#[track_caller]
fn survive<T: Serialize + DeserializeOwned + PartialEq + Debug>(values: impl IntoIterator<Item = T>) {
    let mut count = 0;
    for value in values {
        let written = serde_json::to_string(&value).expect("can be written");
        let read: T = serde_json::from_str(&written).unwrap_or_else(|e| panic!("{value:?} as {written}: {e}"));
        assert_eq!(read, value, "{written}");
        count += 1;
    }
    assert!(count > 0, "nothing was tried");
}

fn then() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(1_900_000_000, 123_456_789)
}

fn url() -> url::Url {
    "https://example.org/a?b=c".parse().expect("a URL")
}

fn some(words: &str) -> Option<String> {
    Some(words.to_owned())
}

fn text() -> Text {
    Text::key("busy").with("name", "alice").with("n", 3)
}

fn values() -> Values {
    let mut values = Values::new().with("one", "1");
    values.set_all("many", vec!["a".to_owned(), "b".to_owned()]);
    values
}

fn room() -> RoomId {
    "#verona".into()
}

fn addresses() -> Vec<Address> {
    vec![
        Address::Gateway,
        Address::Network("net".into()),
        Address::Contact("alice".into()),
        Address::Room(room()),
        Address::Occupant { room: room(), nick: "Romeo M.".to_owned() },
    ]
}

fn of() -> MessageRef {
    MessageRef::foreign("net".into(), "<id@host>".into())
}

fn failures() -> Vec<Failure> {
    use Failure::*;
    vec![
        NoSuchRecipient,
        NotJoined,
        NotRegistered,
        BadCredentials,
        PasswordRequired,
        Forbidden,
        Rejected,
        TooLong { limit: 512 },
        Unsupported,
        Conflict,
        Full,
        OverQuota,
        Throttled { retry_after: Duration::from_millis(1_500) },
        Unreachable,
        TimedOut,
        Unknown,
    ]
}

fn error() -> DeliveryError {
    DeliveryError::temporary(Failure::Unreachable, text())
        .with_code("4.4.1")
        .with_retry(Retry::After(Duration::from_secs(60)))
}

fn full_message() -> Message {
    let mut message = Message::group("text\nof two lines \u{1f44d} \0");
    message.subject = some("s");
    message.thread = some("t");
    let mut media = Media::new(some("a.png"), "image/png", Some(7));
    media.description = some("a picture");
    message.files = vec![
        File::new(FileSource::Url(url()), media),
        File::new(FileSource::Blob("blob1".into()), Media::default()),
        File::new(FileSource::Missing, Media::default()),
    ];
    message.reply_to = Some(of());
    message.quoted = some("q");
    message.replaces = Some(MessageRef::Key("key".into()));
    message.action = true;
    message.addresses = vec![(RecipientKind::Cc, Address::Contact("bob".into()), some("Bob"))];
    message.nick = some("n");
    message.warning = Some(text());
    message
}

#[test]
fn names_and_addresses() {
    survive([BareJid::from("juliet@capulet.lit")]);
    survive(addresses());
    survive([Parts::gateway(), Parts::local("a"), Parts::occupant("a", "b")]);
    survive([BadAddress::Malformed("m".to_owned()), BadAddress::Unknown("u".to_owned())]);
    survive([of(), MessageRef::Key("key".into())]);
    survive([SessionOf::new("juliet@capulet.lit".into(), "net".into())]);
    survive([Lang::default(), Lang::from("fr-CA")]);
    survive([Text::plain("ready"), text()]);
    survive([values(), Values::new()]);
}

#[test]
fn messages() {
    survive([Message::default(), full_message()]);
    survive([MessageKind::Chat, MessageKind::Normal, MessageKind::Group, MessageKind::Notice]);
}

#[test]
fn outbound_events() {
    let who = || Address::Contact("alice".into());
    let intents = vec![
        Intent::Send(Box::new(full_message())),
        Intent::Mark { of: Some(of()), at: Some(std::time::SystemTime::UNIX_EPOCH) },
        Intent::Typing { on: true },
        Intent::React { of: of(), add: vec!["👍".to_owned()], remove: vec![] },
        Intent::Retract { of: of(), reason: some("r") },
        Intent::Presence { available: true, away: false, status: None },
        Intent::Join { nick: "n".to_owned(), password: some("p") },
        Intent::Leave { status: some("bye") },
        Intent::Rename { nick: "n".to_owned() },
        Intent::SetSubject { subject: String::new() },
        Intent::SetRole { who: who(), role: some("moderator"), affiliation: None, reason: None },
        Intent::Remove { who: who(), reason: None },
        Intent::Ban { mask: "*!*@*".to_owned(), on: true, reason: some("r") },
        Intent::Invite { room: room(), who: who(), reason: None },
        Intent::SetRoomConfig { values: values() },
        Intent::Subscribe { status: None },
        Intent::Unsubscribe,
        Intent::Block,
        Intent::Unblock,
        Intent::Raw { line: "PING".to_owned() },
        Intent::Undelivered {
            of: Some("id".into()),
            once: Some("once".into()),
            said: Some(Box::new(Message::chat("x"))),
            error: error(),
        },
    ];
    survive(intents.into_iter().map(|intent| {
        let mut event = Outbound::new("key".into(), "juliet@capulet.lit".into(), who(), intent);
        event.joined = vec!["key".into(), "other".into()];
        event.own = Some("+15550100".into());
        event.to.push(Recipient::new(Address::Gateway, RecipientKind::Bcc));
        (event.at, event.attempt, event.lang) = (1_900_000_000_123, 2, "fr".into());
        event
    }));
    survive([Leg::sent(None, vec!["1".into()]), Leg::failed(Some("alice".into()), error())]);
    survive([Outcome::Dropped, Outcome::Legs(vec![Leg::sent(Some("a".into()), vec![])])]);
}

#[test]
fn inbound_events() {
    let actions = vec![("register".to_owned(), text(), values())];
    let mut events = vec![
        Event::Message(Box::new(full_message())),
        Event::Sent(Box::new(full_message())),
        Event::ContactList(vec![Listed::new("alice".into())]),
        Event::Photo(Some("blob".into())),
        Event::Marked { of: of() },
        Event::Typing { on: false, private: true },
        Event::Reacted { of: of(), add: vec![], remove: vec!["👎".to_owned()] },
        Event::Retracted { of: of(), by: Some(Address::Gateway), reason: some("r") },
        Event::Presence { available: true, away: true, status: Some(text()), nick: some("n") },
        Event::Invited { room: room(), reason: some("r"), password: some("p") },
        Event::SubscribeAsked { status: some("s") },
        Event::SubscribeAnswered { accepted: true, reason: Some(text()) },
        Event::Notice { text: text(), about: Some(of()), actions },
    ];
    let mut changes = vec![
        RoomChange::Joined,
        RoomChange::Refused { error: error(), redirect: Some(room()) },
        RoomChange::Entered,
        RoomChange::Renamed { nick: "n".to_owned() },
        RoomChange::Changed { by: some("op") },
        RoomChange::Subject { subject: "s".to_owned(), by: some("op"), at: Some(then()) },
        RoomChange::Settings,
        RoomChange::Lost { reason: text(), coming_back: true },
        RoomChange::Moved { to: room(), reason: some("a better name") },
    ];
    for how in [Departure::Parted, Departure::Quit, Departure::Kicked, Departure::Banned] {
        changes.push(RoomChange::Left { status: some("bye"), how, by: some("op") });
    }
    events.extend(changes.into_iter().map(Event::Room));
    survive(events.into_iter().map(|event| {
        let mut inbound = Inbound::new("juliet@capulet.lit".into(), Address::Contact("alice".into()), event);
        (inbound.at, inbound.origin) = (then(), Origin::Backlog);
        (inbound.id, inbound.once) = (Some("id".into()), Some("once".into()));
        inbound.echo_of = Some(("key".into(), 3));
        inbound.apart = true;
        inbound
    }));
    // What is everybody's is written as it was before there was anything else: what was kept then is read.
    let common = Inbound::new(
        "juliet@capulet.lit".into(),
        Address::Contact("alice".into()),
        Event::Typing { on: true, private: false },
    );
    assert!(!serde_json::to_string(&common).expect("it can be written").contains("apart"));
    survive([common]);
}

#[test]
fn outcomes_and_errors() {
    survive(failures().into_iter().map(|failure| DeliveryError::new(failure, text())));
    survive([error(), DeliveryError::uncertain("u"), DeliveryError::new(Failure::Rejected, "for good")]);
    survive([Retry::Never, Retry::ByPolicy, Retry::After(Duration::from_nanos(1))]);
    survive([Late::Delayed(text()), Late::Failed(error()), Late::Delivered, Late::Displayed]);
    survive([Refused::Later("l".to_owned()), Refused::Full("f".to_owned()), Refused::Never(error())]);
    survive([StoreError::Unavailable("u".to_owned()), StoreError::Fault("f".to_owned())]);
    survive([Taken::ByOther, Taken::Store(StoreError::Fault("f".to_owned()))]);
    survive([Full]);
    survive([
        LinkState::Connecting,
        LinkState::Up,
        LinkState::Down { reason: text(), retry_at: Some(then()) },
        LinkState::NeedsLogin { reason: text() },
    ]);
    let mut known = Known::new("juliet@capulet.lit".into(), Address::Room(room()));
    (known.thread, known.key, known.ids) = (some("t"), Some("key".into()), vec!["1".into()]);
    survive([known]);
    survive([Fetch::new("juliet@capulet.lit".into(), 1 << 40, Duration::from_secs(30))]);
    survive([
        Change::put("space", "key", [0, 255]).of("juliet@capulet.lit".into()).until(then()),
        Change::remove("s", "k"),
    ]);
}

#[test]
fn questions_and_answers() {
    survive([
        Query::Rooms { filter: some("f") },
        Query::About(Address::Contact("alice".into())),
        Query::Affiliates { room: room(), list: "outcast".to_owned() },
        Query::RoomConfig(room()),
        Query::Search(values()),
    ]);
    let kinds = [ProbeKind::Ping, ProbeKind::Version, ProbeKind::Time, ProbeKind::Last];
    survive(kinds.map(|what| Query::Probe { of: Address::Gateway, what }));
    survive([
        Part::Room { room: room(), occupants: Some(u64::MAX), subject: some("s") },
        Part::Facts(values()),
        Part::Words(text()),
        Part::RoundTrip(Duration::from_micros(3)),
        Part::Affiliate { who: "*!*@*".to_owned(), nick: some("n"), note: some("why") },
    ]);
}

#[test]
fn commands_and_forms() {
    let label = || ("a".to_owned(), text());
    let kinds = [
        FieldKind::Line,
        FieldKind::Lines,
        FieldKind::Secret,
        FieldKind::Bool,
        FieldKind::Number { min: i64::MIN, max: i64::MAX },
        FieldKind::Choice(vec![label()]),
        FieldKind::Choices(vec![label()]),
        FieldKind::Fixed,
        FieldKind::Hidden,
    ];
    let fields = kinds.map(|kind| Field::new("key", kind).required().with_value("v").with_error(text())).to_vec();
    let form = Form::new(text(), fields).with_instructions(text());
    let mut table = Table::new(vec![label()]);
    table.rows.push(vec!["cell".to_owned()]);
    let notes = vec![Note::Info(text()), Note::Warn(text()), Note::Error(text())];
    survive([
        Step::Ask { form, state: json!({"page": [1, null, "x"]}), last: true },
        Step::Done { notes, table: Some(table) },
        Step::done("done"),
    ]);
    survive([Action::Start, Action::Next, Action::Prev, Action::Complete].map(|action| {
        let mut call = Call::start("node", "juliet@capulet.lit".into(), Address::Gateway);
        (call.action, call.values, call.state) = (action, values(), json!({"n": 1}));
        call
    }));
    survive([Audience::Anyone, Audience::Registered, Audience::Admin].map(|a| (a, Place::Room)));
}

#[test]
fn declarations_and_rooms() {
    survive([Mode::Live, Mode::Held]);
    survive([Registration::None, Registration::Required]);
    survive([Contacts::AcceptAll, Contacts::Watched, Contacts::Ask, Contacts::Refuse(text())]);
    survive([Finding::good("g"), Finding::warning("w", "do"), Finding::fault("f", "do")]);
    survive([Scope::Gateway, Scope::Network, Scope::Room, Scope::Contact]);
    survive([Rank::NONE, Rank::OWNER | Rank::AWAY]);
    survive([Standing::Outside, Standing::Entering, Standing::Inside]);
    survive([Subject::new("s", some("by"), Some(then()))]);
}

proptest! {
    #[test]
    fn whatever_a_person_writes(body in any::<String>(), nick in any::<String>(), key in any::<String>()) {
        survive([Message::chat(body.as_str())]);
        survive([Address::Occupant { room: RoomId::from(body.as_str()), nick: nick.clone() }]);
        survive([Text::key(key.clone()).with(&nick, &body), Text::plain(body.as_str())]);
        survive([Values::new().with(key, body)]);
    }
}
