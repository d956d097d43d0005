//! Commands, under biboumi's names where it has them. `configure` is the core's: it shows the declared settings.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use isthmus_bridge::query::{Part, ReplySink};
use isthmus_bridge::{
    Action, Address, Ask, Audience, BareJid, Call, Command, ContactId, DeliveryError, Failure, Field, FieldKind, Form,
    Host, NetworkId, Note, Place, Query, Reply, SessionOf, Step, Table, Text, Values,
};
use tokio::sync::oneshot;

use crate::Shared;
use crate::address::contact_id;
use crate::certificate::Certificate;
use crate::proto::time;
use crate::session::{Desk, Order, Status};
use crate::settings;

/// Leaves a network, with words.
const DISCONNECT: &str = "disconnect-from-irc-server";
/// The same for any user.
const DISCONNECT_USER: &str = "disconnect-user";
/// Leaves a network and comes back.
const RECONNECT: &str = "reconnect";
/// Two that biboumi has for trying out a client.
const PING: &str = "ping";
const HELLO: &str = "hello";
/// How a connection stands.
const INFO: &str = "get-irc-connection-info";

/// What a network knows of a nick.
const WHOIS: &str = "whois";
/// The rooms of a network.
const LIST: &str = "list";
/// Everybody's connections.
const CONNECTIONS: &str = "connections";
/// [`RECONNECT`] for any user.
const RECONNECT_USER: &str = "reconnect-user";
/// [`WHOIS`] over any user's connection.
const WHOIS_USER: &str = "whois-user";
/// [`LIST`] over any user's connection.
const LIST_USER: &str = "list-user";

/// The user's own certificate for a network: makes it, shows its fingerprint, takes it away.
const CERTIFICATE: &str = "client-certificate";

/// How long a session may take to say how it stands.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a server may take to answer a question.
const ANSWER: Duration = Duration::from_secs(65);
/// Rows of one table.
const MAX_ROWS: usize = 500;

/// With a fixed network biboumi has two forms on the gateway: one for the user, one for the network. `configure` is both.
const GLOBAL: &str = "global-configure";
const SERVER: &str = "server-configure";

/// All of them.
pub(crate) fn all(fixed: bool) -> Vec<Command> {
    use Place::{Gateway, Network};
    const BOTH: &[Place] = &[Gateway, Network];
    const ONE: &[Place] = &[Gateway];
    let network: &[Place] = if fixed { ONE } else { &[Network] };
    let mut all = vec![
        Command::new(DISCONNECT, if fixed { ONE } else { BOTH }, Audience::Anyone),
        Command::new(RECONNECT, network, Audience::Anyone),
        Command::new(INFO, network, Audience::Anyone),
        Command::new(CERTIFICATE, network, Audience::Anyone),
        Command::new(WHOIS, network, Audience::Anyone),
        Command::new(LIST, network, Audience::Anyone),
        Command::new(DISCONNECT_USER, ONE, Audience::Admin),
        Command::new(CONNECTIONS, ONE, Audience::Admin),
        Command::new(RECONNECT_USER, ONE, Audience::Admin),
        Command::new(WHOIS_USER, ONE, Audience::Admin),
        Command::new(LIST_USER, ONE, Audience::Admin),
        Command::new(PING, ONE, Audience::Anyone),
        Command::new(HELLO, ONE, Audience::Anyone),
    ];
    if fixed {
        all.push(Command::new(GLOBAL, ONE, Audience::Registered).of_settings(settings::OF_USER));
        all.push(Command::new(SERVER, ONE, Audience::Registered).of_settings(settings::OF_SERVER));
    }
    all
}

/// One step of one of them.
pub(crate) async fn step(shared: &Shared, call: Call, host: &Host) -> Result<Step, DeliveryError> {
    match call.node.as_str() {
        DISCONNECT => Ok(disconnect(shared, &call, host)),
        RECONNECT => Ok(reconnect(shared, &call)),
        INFO => Ok(info(shared, &call, host).await),
        WHOIS => whois(shared, &call).await,
        LIST => list(shared, &call).await,
        CONNECTIONS => Ok(connections(shared, &call, host).await),
        RECONNECT_USER => Ok(reconnect_user(shared, &call, host)),
        WHOIS_USER => whois_user(shared, &call, host).await,
        LIST_USER => list_user(shared, &call, host).await,
        CERTIFICATE => certificate(shared, &call, host).await,
        DISCONNECT_USER => Ok(disconnect_user(shared, &call, host)),
        PING => Ok(Step::done(Text::key("pong"))),
        HELLO => Ok(hello(&call)),
        _ => Err(DeliveryError::new(Failure::Unsupported, Text::key("no-such-command").with("command", &call.node))),
    }
}

/// The network that a command was called on, if it was one.
fn network_at(shared: &Shared, at: &Address) -> Option<NetworkId> {
    match at {
        Address::Network(network) => Some(network.clone()),
        _ => shared.addressing.fixed().cloned(),
    }
}

/// The networks on which a user has a running session.
fn networks_of(shared: &Shared, user: &BareJid) -> Vec<NetworkId> {
    let mut all: Vec<NetworkId> =
        shared.networks.desks().into_iter().filter(|(of, _)| of.user == *user).map(|(of, _)| of.network).collect();
    all.sort();
    all
}

fn farewell() -> Field {
    Field::new("quit-message", FieldKind::Line).with_value("Disconnected by request")
}

fn is_filled(call: &Call) -> bool {
    matches!(call.action, Action::Next | Action::Complete) && !call.values.is_empty()
}

fn words(values: &Values) -> String {
    values.get("quit-message").unwrap_or_default().replace(['\r', '\n', '\0'], " ").chars().take(300).collect()
}

/// An administrator says first whose connections, as with biboumi; unless they act for somebody already.
fn disconnect(shared: &Shared, call: &Call, host: &Host) -> Step {
    let ended = |choice| {
        let fields = vec![Field::new("jid", choice).required()];
        let form = Form::new(Text::key("form.disconnect"), fields);
        Step::Ask { form, state: serde_json::Value::Null, last: false }
    };
    let anybodys = call.at == Address::Gateway && call.by == call.user && is_admin(call, host);
    let named = call.state.as_str().or_else(|| call.values.get("jid").filter(|_| is_filled(call)));
    let user = match named.filter(|_| anybodys) {
        Some(jid) => BareJid::from(jid.trim()),
        None if anybodys => return users(shared).map_or_else(|| Step::done(Text::key("no-connection")), ended),
        None => call.user.clone(),
    };
    let here = network_at(shared, &call.at);
    if !is_filled(call) || call.values.get("jid").is_some_and(|_| anybodys) {
        let mut fields = vec![farewell()];
        if here.is_none() {
            let running = networks_of(shared, &user);
            if running.is_empty() {
                return Step::done(Text::key("no-connection"));
            }
            let choices = running.iter().map(|n| (n.to_string(), Text::plain(n.as_str()))).collect();
            fields.insert(0, Field::new("irc-servers", FieldKind::Choices(choices)).required());
        }
        let form = Form::new(Text::key("form.disconnect"), fields);
        let state = if anybodys { user.as_str().into() } else { serde_json::Value::Null };
        return Step::Ask { form, state, last: true };
    }
    let chosen: Vec<NetworkId> = match here {
        Some(network) => vec![network],
        None => call.values.all("irc-servers").iter().map(|n| NetworkId::new(n.as_str())).collect(),
    };
    let mut done = 0;
    for network in chosen {
        if let Some(desk) = shared.networks.desk(&SessionOf::new(user.clone(), network)) {
            desk.order(Order::Disconnect(words(&call.values)));
            done += 1;
        }
    }
    if done == 0 {
        Step::done(Text::key("no-connection"))
    } else {
        Step::done(Text::key("disconnecting").with("count", done))
    }
}

fn hello(call: &Call) -> Step {
    match call.values.get("name").filter(|_| is_filled(call)) {
        Some(name) => Step::done(Text::key("hello").with("name", name)),
        None => {
            let fields = vec![Field::new("name", FieldKind::Line).required()];
            let form = Form::new(Text::key("form.hello"), fields);
            Step::Ask { form, state: serde_json::Value::Null, last: true }
        }
    }
}

fn reconnect(shared: &Shared, call: &Call) -> Step {
    let of = network_at(shared, &call.at).map(|network| SessionOf::new(call.user.clone(), network));
    match of.and_then(|of| shared.networks.desk(&of)) {
        Some(desk) => {
            desk.order(Order::Reconnect);
            Step::done(Text::key("reconnecting"))
        }
        None => Step::done(Text::key("no-connection")),
    }
}

/// How a session stands; `None` where it has no connection, or does not say.
async fn status(desk: &Desk) -> Option<Status> {
    let (back, status) = oneshot::channel();
    desk.order(Order::Tell(back));
    tokio::time::timeout(PATIENCE, status).await.ok()?.ok().filter(|s| s.link.is_some())
}

async fn info(shared: &Shared, call: &Call, host: &Host) -> Step {
    let none = || Step::done(Text::key("no-connection"));
    let Some(of) = network_at(shared, &call.at).map(|network| SessionOf::new(call.user.clone(), network)) else {
        return none();
    };
    let Some(desk) = shared.networks.desk(&of) else { return none() };
    let Some(Status { host: server, link: Some((port, tls, since)), nick, rooms }) = status(&desk).await else {
        return none();
    };
    let security = if tls { "TLS" } else { "-" };
    let text = Text::key("connection-info")
        .with("host", server)
        .with("port", port)
        .with("security", security)
        .with("since", time::utc(since))
        .with("minutes", SystemTime::now().duration_since(since).map_or(0, |d| d.as_secs() / 60))
        .with("nick", nick)
        .with("count", rooms.len());
    let columns = [("room", "column.room"), ("clients", "column.clients")];
    let mut table = Table::new(columns.map(|(key, title)| (key.to_owned(), Text::key(title))).to_vec());
    table.rows = rooms.iter().map(|room| vec![room.to_string(), clients(host, &of, room)]).collect();
    Step::Done { notes: vec![Note::Info(text)], table: (!rooms.is_empty()).then_some(table) }
}

/// Which of the user's clients are in a room: their resources.
fn clients(host: &Host, of: &SessionOf, room: &isthmus_bridge::RoomId) -> String {
    let all = host.clients(of, room);
    all.iter().map(|jid| jid.split_once('/').map_or("", |(_, resource)| resource)).collect::<Vec<_>>().join(", ")
}

// Questions for the server.

/// Collects an answer.
struct Collector(Vec<Part>, Option<oneshot::Sender<Result<Vec<Part>, DeliveryError>>>);

impl ReplySink for Collector {
    fn part(&mut self, part: Part) {
        self.0.push(part);
    }

    fn end(&mut self, result: Result<(), DeliveryError>) {
        if let Some(back) = self.1.take() {
            // Whoever asked may have given up.
            let _ = back.send(result.map(|()| std::mem::take(&mut self.0)));
        }
    }

    fn wanted(&self) -> bool {
        self.0.len() < MAX_ROWS
    }
}

async fn ask(desk: &Desk, query: Query) -> Result<Vec<Part>, DeliveryError> {
    let (back, answer) = oneshot::channel();
    let reply = Reply::new(Box::new(Collector(Vec::new(), Some(back))));
    desk.order(Order::Ask(Box::new(Ask::new(query, reply))));
    let late = || DeliveryError::new(Failure::TimedOut, Text::key("no-answer"));
    tokio::time::timeout(ANSWER, answer).await.map_err(|_| late())?.map_err(|_| late())?
}

async fn whois(shared: &Shared, call: &Call) -> Result<Step, DeliveryError> {
    let of = network_at(shared, &call.at).map(|network| SessionOf::new(call.user.clone(), network));
    let Some((of, desk)) = of.and_then(|of| Some((of.clone(), shared.networks.desk(&of)?))) else {
        return Ok(Step::done(Text::key("no-connection")));
    };
    match call.values.get("nick").filter(|_| is_filled(call)) {
        Some(nick) => whois_on(&desk, nick, &of.network).await,
        None => Ok(asks(WHOIS, vec![Field::new("nick", FieldKind::Line).required()])),
    }
}

/// What a fact says to people.
fn fact(key: &str, all: &[String]) -> String {
    let words = all.join(" ");
    match (key, words.parse::<u32>()) {
        ("signon", Ok(seconds)) => time::utc(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into())),
        ("secure", _) => "✓".to_owned(),
        _ => words,
    }
}

/// What the server says of a nick, as a table.
async fn whois_on(desk: &Desk, nick: &str, network: &NetworkId) -> Result<Step, DeliveryError> {
    let Some(contact) = contact_id(nick.trim(), network) else {
        return Err(DeliveryError::new(Failure::NoSuchRecipient, Text::key("nobody").with("nick", nick)));
    };
    let parts = ask(desk, Query::About(Address::Contact(ContactId::new(contact.as_str())))).await?;
    let columns = [("what", "column.what"), ("value", "column.value")];
    let mut table = Table::new(columns.map(|(key, title)| (key.to_owned(), Text::key(title))).to_vec()).keyed("what");
    for part in parts {
        if let Part::Facts(facts) = part {
            table.rows.extend(facts.iter().map(|(key, all)| vec![format!("whois.{key}"), fact(key, all)]));
        }
    }
    Ok(Step::Done { notes: Vec::new(), table: Some(table) })
}

async fn list(shared: &Shared, call: &Call) -> Result<Step, DeliveryError> {
    let of = network_at(shared, &call.at).map(|network| SessionOf::new(call.user.clone(), network));
    let Some(desk) = of.and_then(|of| shared.networks.desk(&of)) else {
        return Ok(Step::done(Text::key("no-connection")));
    };
    if !matches!(call.action, Action::Next | Action::Complete) {
        return Ok(asks(LIST, vec![Field::new("filter", FieldKind::Line)]));
    }
    list_on(&desk, &call.values).await
}

/// The rooms that the server lists, as a table.
async fn list_on(desk: &Desk, values: &Values) -> Result<Step, DeliveryError> {
    let filter = values.get("filter").map(|f| f.trim().to_owned()).filter(|f| !f.is_empty());
    let parts = ask(desk, Query::Rooms { filter }).await?;
    let columns = [("room", "column.room"), ("people", "column.people"), ("subject", "column.subject")];
    let mut table = Table::new(columns.map(|(key, title)| (key.to_owned(), Text::key(title))).to_vec());
    table.rows = parts
        .into_iter()
        .filter_map(|part| match part {
            Part::Room { room, occupants, subject } => {
                let count = occupants.map_or_else(String::new, |n| n.to_string());
                Some(vec![room.to_string(), count, subject.unwrap_or_default()])
            }
            _ => None,
        })
        .collect();
    let note = Text::key("rooms-found").with("count", table.rows.len());
    Ok(Step::Done { notes: vec![Note::Info(note)], table: (!table.rows.is_empty()).then_some(table) })
}

fn asks(node: &str, fields: Vec<Field>) -> Step {
    let form = Form::new(Text::key(format!("command.{node}")), fields);
    Step::Ask { form, state: serde_json::Value::Null, last: true }
}

async fn certificate(shared: &Shared, call: &Call, host: &Host) -> Result<Step, DeliveryError> {
    let store_away = |_| DeliveryError::temporary(Failure::Unreachable, Text::key("store-away"));
    let Some(network) = network_at(shared, &call.at) else { return Ok(Step::done(Text::key("no-connection"))) };
    let known = Certificate::load(host, &call.user, &network).await.map_err(store_away)?;
    let tell = |own: Option<Arc<Certificate>>| {
        if let Some(desk) = shared.networks.desk(&SessionOf::new(call.user.clone(), network.clone())) {
            desk.order(Order::Certificate(own));
        }
    };
    match call.values.get("what").filter(|_| is_filled(call)) {
        Some("make") => {
            let Some(made) = Certificate::make().map(Arc::new) else {
                return Err(DeliveryError::temporary(Failure::Unreachable, Text::key("store-away")));
            };
            made.keep(host, &call.user, &network).await.map_err(store_away)?;
            let text = Text::key("certificate").with("fingerprint", made.fingerprint());
            tell(Some(made));
            Ok(Step::done(text))
        }
        Some("remove") => {
            Certificate::remove(host, &call.user, &network).await.map_err(store_away)?;
            tell(None);
            Ok(Step::done(Text::key("certificate-removed")))
        }
        _ => {
            let choices = ["make", "remove"].map(|what| (what.to_owned(), Text::key(format!("certificate-{what}"))));
            let field = Field::new("what", FieldKind::Choice(choices.to_vec())).required().with_value("make");
            let now = match known {
                Some(known) => Text::key("certificate").with("fingerprint", known.fingerprint()),
                None => Text::key("no-certificate"),
            };
            let form = Form::new(Text::key("command.client-certificate"), vec![field]).with_instructions(now);
            Ok(Step::Ask { form, state: serde_json::Value::Null, last: true })
        }
    }
}

// For administrators.

fn is_admin(call: &Call, host: &Host) -> bool {
    host.admins().contains(&call.by)
}

fn admins_only() -> Step {
    Step::Done { notes: vec![Note::Error(Text::key("admins-only"))], table: None }
}

/// Everybody's connections, each with its rooms.
async fn connections(shared: &Shared, call: &Call, host: &Host) -> Step {
    if !is_admin(call, host) {
        return admins_only();
    }
    let columns = ["user", "network", "host", "port", "security", "since", "nick", "rooms"];
    let mut table = Table::new(columns.map(|key| (key.to_owned(), Text::key(format!("column.{key}")))).to_vec());
    let mut all = shared.networks.desks();
    all.sort_by(|(a, _), (b, _)| (&a.user, &a.network).cmp(&(&b.user, &b.network)));
    let count = all.len();
    for (of, desk) in all.into_iter().take(MAX_ROWS) {
        let Some(Status { host: server, link: Some((port, tls, since)), nick, rooms }) = status(&desk).await else {
            continue;
        };
        let inside = rooms.iter().map(|room| match clients(host, &of, room) {
            none if none.is_empty() => room.to_string(),
            some => format!("{room} ({some})"),
        });
        table.rows.push(vec![
            of.user.to_string(),
            of.network.to_string(),
            server,
            port.to_string(),
            if tls { "TLS" } else { "-" }.to_owned(),
            time::utc(since),
            nick,
            inside.collect::<Vec<_>>().join(", "),
        ]);
    }
    let text = Text::key("connections-are").with("count", table.rows.len()).with("sessions", count);
    Step::Done { notes: vec![Note::Info(text)], table: (!table.rows.is_empty()).then_some(table) }
}

/// The running sessions, to choose from: `user network`; where they are too many, one is typed so.
fn sessions(shared: &Shared) -> FieldKind {
    let mut all: Vec<String> =
        shared.networks.desks().into_iter().map(|(of, _)| format!("{} {}", of.user, of.network)).collect();
    if all.len() > MAX_ROWS {
        return FieldKind::Line;
    }
    all.sort();
    FieldKind::Choice(all.into_iter().map(|one| (one.clone(), Text::plain(one))).collect())
}

/// Users who have connections, to choose from; where they are too many, one is typed.
fn users(shared: &Shared) -> Option<FieldKind> {
    let mut all: Vec<BareJid> = shared.networks.desks().into_iter().map(|(of, _)| of.user).collect();
    all.sort();
    all.dedup();
    match all.len() {
        0 => None,
        1..=MAX_ROWS => {
            Some(FieldKind::Choice(all.into_iter().map(|u| (u.to_string(), Text::plain(u.as_str()))).collect()))
        }
        _ => Some(FieldKind::Line),
    }
}

fn chosen(shared: &Shared, call: &Call) -> Option<(SessionOf, Arc<Desk>)> {
    let (user, network) = call.values.get("session").filter(|_| is_filled(call))?.trim().split_once(' ')?;
    let of = SessionOf::new(user.into(), network.into());
    let desk = shared.networks.desk(&of)?;
    Some((of, desk))
}

fn reconnect_user(shared: &Shared, call: &Call, host: &Host) -> Step {
    if !is_admin(call, host) {
        return admins_only();
    }
    match chosen(shared, call) {
        Some((_, desk)) => {
            desk.order(Order::Reconnect);
            Step::done(Text::key("reconnecting"))
        }
        None if is_filled(call) => Step::done(Text::key("no-connection")),
        None => asks(RECONNECT_USER, vec![Field::new("session", sessions(shared)).required()]),
    }
}

async fn whois_user(shared: &Shared, call: &Call, host: &Host) -> Result<Step, DeliveryError> {
    if !is_admin(call, host) {
        return Ok(admins_only());
    }
    match (chosen(shared, call), call.values.get("nick")) {
        (Some((of, desk)), Some(nick)) => whois_on(&desk, nick, &of.network).await,
        _ if is_filled(call) => Ok(Step::done(Text::key("no-connection"))),
        _ => {
            let session = Field::new("session", sessions(shared)).required();
            Ok(asks(WHOIS_USER, vec![session, Field::new("nick", FieldKind::Line).required()]))
        }
    }
}

async fn list_user(shared: &Shared, call: &Call, host: &Host) -> Result<Step, DeliveryError> {
    if !is_admin(call, host) {
        return Ok(admins_only());
    }
    match chosen(shared, call) {
        Some((_, desk)) => list_on(&desk, &call.values).await,
        None if is_filled(call) => Ok(Step::done(Text::key("no-connection"))),
        None => {
            let session = Field::new("session", sessions(shared)).required();
            Ok(asks(LIST_USER, vec![session, Field::new("filter", FieldKind::Line)]))
        }
    }
}

fn disconnect_user(shared: &Shared, call: &Call, host: &Host) -> Step {
    if !is_admin(call, host) {
        return admins_only();
    }
    let running = shared.networks.desks();
    if !is_filled(call) {
        let mut users: Vec<&BareJid> = running.iter().map(|(of, _)| &of.user).collect();
        users.sort();
        users.dedup();
        if users.is_empty() {
            return Step::done(Text::key("no-connection"));
        }
        let choices = users.into_iter().map(|u| (u.to_string(), Text::plain(u.as_str()))).collect();
        let fields = vec![Field::new("jids", FieldKind::Choices(choices)).required(), farewell()];
        let form = Form::new(Text::key("form.disconnect"), fields);
        return Step::Ask { form, state: serde_json::Value::Null, last: true };
    }
    let mut done = 0;
    for (of, desk) in running {
        if call.values.all("jids").iter().any(|jid| jid == of.user.as_str()) {
            desk.order(Order::Disconnect(words(&call.values)));
            done += 1;
        }
    }
    Step::done(Text::key("disconnecting").with("count", done))
}
