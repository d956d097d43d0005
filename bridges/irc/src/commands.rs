//! Commands, under biboumi's names where it has them. `configure` is the core's: it shows the declared settings.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use isthmus_bridge::{
    Action, Address, Audience, BareJid, Call, Command, DeliveryError, Failure, Field, FieldKind, Form, Host, NetworkId,
    Note, Place, SessionOf, Step, Table, Text, Values,
};
use tokio::sync::oneshot;

use crate::Shared;
use crate::certificate::Certificate;
use crate::proto::time;
use crate::session::{Order, Status};

/// Leaves a network, with words.
const DISCONNECT: &str = "disconnect-from-irc-server";
/// The same for any user.
const DISCONNECT_USER: &str = "disconnect-user";
/// Leaves a network and comes back.
const RECONNECT: &str = "reconnect";
/// How a connection stands.
const INFO: &str = "get-irc-connection-info";

/// The user's own certificate for a network: makes it, shows its fingerprint, takes it away.
const CERTIFICATE: &str = "client-certificate";

/// How long a session may take to say how it stands.
const PATIENCE: Duration = Duration::from_secs(5);

/// All of them.
pub(crate) fn all(fixed: bool) -> Vec<Command> {
    use Place::{Gateway, Network};
    const BOTH: &[Place] = &[Gateway, Network];
    const ONE: &[Place] = &[Gateway];
    let network: &[Place] = if fixed { ONE } else { &[Network] };
    vec![
        Command::new(DISCONNECT, if fixed { ONE } else { BOTH }, Audience::Anyone),
        Command::new(RECONNECT, network, Audience::Anyone),
        Command::new(INFO, network, Audience::Anyone),
        Command::new(CERTIFICATE, network, Audience::Anyone),
        Command::new(DISCONNECT_USER, ONE, Audience::Admin),
    ]
}

/// One step of one of them.
pub(crate) async fn step(shared: &Shared, call: Call, host: &Host) -> Result<Step, DeliveryError> {
    match call.node.as_str() {
        DISCONNECT => Ok(disconnect(shared, &call)),
        RECONNECT => Ok(reconnect(shared, &call)),
        INFO => Ok(info(shared, &call).await),
        CERTIFICATE => certificate(shared, &call, host).await,
        DISCONNECT_USER => Ok(disconnect_user(shared, &call, host)),
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

fn disconnect(shared: &Shared, call: &Call) -> Step {
    let here = network_at(shared, &call.at);
    if !is_filled(call) {
        let mut fields = vec![farewell()];
        if here.is_none() {
            let running = networks_of(shared, &call.user);
            if running.is_empty() {
                return Step::done(Text::key("no-connection"));
            }
            let choices = running.iter().map(|n| (n.to_string(), Text::plain(n.as_str()))).collect();
            fields.insert(0, Field::new("irc-servers", FieldKind::Choices(choices)).required());
        }
        let form = Form::new(Text::key("form.disconnect"), fields);
        return Step::Ask { form, state: serde_json::Value::Null, last: true };
    }
    let chosen: Vec<NetworkId> = match here {
        Some(network) => vec![network],
        None => call.values.all("irc-servers").iter().map(|n| NetworkId::new(n.as_str())).collect(),
    };
    let mut done = 0;
    for network in chosen {
        if let Some(desk) = shared.networks.desk(&SessionOf::new(call.user.clone(), network)) {
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

async fn info(shared: &Shared, call: &Call) -> Step {
    let of = network_at(shared, &call.at).map(|network| SessionOf::new(call.user.clone(), network));
    let Some(desk) = of.and_then(|of| shared.networks.desk(&of)) else { return Step::done(Text::key("no-connection")) };
    let (back, status) = oneshot::channel();
    desk.order(Order::Tell(back));
    match tokio::time::timeout(PATIENCE, status).await {
        Ok(Ok(Status { host, link: Some((port, tls, since)), nick, rooms })) => {
            let security = if tls { "TLS" } else { "-" };
            let text = Text::key("connection-info")
                .with("host", host)
                .with("port", port)
                .with("security", security)
                .with("since", time::utc(since))
                .with("minutes", SystemTime::now().duration_since(since).map_or(0, |d| d.as_secs() / 60))
                .with("nick", nick)
                .with("count", rooms.len());
            let mut table = Table::new(vec![("room".to_owned(), Text::key("column.room"))]);
            table.rows = rooms.iter().map(|room| vec![room.to_string()]).collect();
            Step::Done { notes: vec![Note::Info(text)], table: (!rooms.is_empty()).then_some(table) }
        }
        _ => Step::done(Text::key("no-connection")),
    }
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

fn disconnect_user(shared: &Shared, call: &Call, host: &Host) -> Step {
    if !host.admins().contains(&call.by) {
        return Step::Done { notes: vec![Note::Error(Text::key("admins-only"))], table: None };
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
