//! Commands: registration, numbers, usage, the opt-out register, assignment of numbers by administrators.

mod admin;
mod register;

use isthmus_bridge::{
    Audience, Call, Command, DeliveryError, Failure, Gateway, Host, Note, Place, Step, Text, command::Table,
};

use crate::session::store_away;
use crate::{Texts, limits, state};

/// Registration (XEP-0077): a number of the user's own, or the shared one.
pub(crate) const REGISTER: &str = "register";
/// What is used of the limits.
pub(crate) const USAGE: &str = "usage";
/// The user's numbers.
pub(crate) const NUMBERS: &str = "numbers";
/// Who wants no texts from them.
pub(crate) const OPT_OUTS: &str = "opt-outs";
/// Gives a number to a user.
pub(crate) const ASSIGN: &str = "assign";
/// Takes it away; nobody else gets it.
pub(crate) const UNASSIGN: &str = "unassign";
/// Texts that came in and reached nobody.
pub(crate) const LOST: &str = "lost";
/// The user's own of them, with their words.
pub(crate) const RETURNED: &str = "returned";

/// All of them.
pub(crate) fn all() -> Vec<Command> {
    const HERE: &[Place] = &[Place::Gateway];
    vec![
        Command::new(REGISTER, HERE, Audience::Anyone),
        Command::new(USAGE, HERE, Audience::Registered),
        Command::new(NUMBERS, HERE, Audience::Registered),
        Command::new(OPT_OUTS, HERE, Audience::Registered),
        Command::new(RETURNED, HERE, Audience::Registered),
        Command::new(ASSIGN, HERE, Audience::Admin),
        Command::new(UNASSIGN, HERE, Audience::Admin),
        Command::new(LOST, HERE, Audience::Admin),
    ]
}

/// One step of one of them.
pub(crate) async fn step(texts: &Texts, call: Call, host: &Host) -> Result<Step, DeliveryError> {
    match call.node.as_str() {
        REGISTER => register::step(texts, &call, host).await,
        USAGE => usage(texts, &call, host.as_ref()).await,
        NUMBERS => numbers(texts, &call, host.as_ref()).await,
        OPT_OUTS => opt_outs(texts, &call, host.as_ref()).await,
        RETURNED => returned(&call, host.as_ref()).await,
        ASSIGN => admin::assign(texts, &call, host.as_ref()).await,
        UNASSIGN => admin::unassign(texts, &call, host.as_ref()).await,
        LOST => admin::lost(host.as_ref()).await,
        _ => Err(DeliveryError::new(Failure::Unsupported, Text::key("no-such-command").with("command", &call.node))),
    }
}

/// "used 12 of 200"
async fn usage(texts: &Texts, call: &Call, host: &dyn Gateway) -> Result<Step, DeliveryError> {
    let (day, month) = texts.meter.used(host, &call.user).await.map_err(store_away)?;
    let limits = &texts.config.limits;
    let said = |name: &'static str, used: String, limit: String| {
        Note::Info(Text::key(name).with("used", used).with("limit", limit))
    };
    let mut notes = vec![
        said("usage.day", day.texts.to_string(), limits.per_day.to_string()),
        said("usage.month", month.texts.to_string(), limits.per_month.to_string()),
    ];
    if let Some(limit) = limits.cost {
        notes.push(said("usage.cost", limits::shown(month.cost), limits::shown(limit)));
    } else if month.cost > 0 {
        notes.push(Note::Info(Text::key("usage.spent").with("used", limits::shown(month.cost))));
    }
    Ok(Step::Done { notes, table: None })
}

async fn numbers(texts: &Texts, call: &Call, host: &dyn Gateway) -> Result<Step, DeliveryError> {
    let own = host.identities(&call.user).await.map_err(store_away)?;
    let column = |name: &str| (name.to_owned(), Text::key(format!("numbers.{name}")));
    let mut table = Table::new(vec![column("number"), column("kind")]).keyed("kind");
    table.rows.extend(own.iter().map(|number| vec![number.to_string(), "numbers.own".to_owned()]));
    let shared = texts.config.numbers.iter().filter(|n| n.shared);
    table.rows.extend(shared.map(|n| vec![n.number.to_string(), "numbers.shared".to_owned()]));
    let note = if table.rows.is_empty() { "numbers.none" } else { "numbers.title" };
    Ok(Step::Done { notes: vec![Note::Info(Text::key(note))], table: Some(table) })
}

/// A user sees the register of their own numbers, and of shared ones what concerns people whom they know or have written to; an administrator all of it.
async fn opt_outs(texts: &Texts, call: &Call, host: &dyn Gateway) -> Result<Step, DeliveryError> {
    let own = host.identities(&call.user).await.map_err(store_away)?;
    let known = host.contacts(&call.user).await.map_err(store_away)?;
    let admin = host.admins().contains(&call.by);
    let is_shared = |number: &str| texts.config.numbers.iter().any(|n| n.shared && n.number.as_str() == number);
    let column = |name: &str| (name.to_owned(), Text::key(format!("opt-outs.{name}")));
    let mut table = Table::new(vec![column("number"), column("from"), column("word")]);
    for (number, peer, entry) in state::opt_outs(host).await.map_err(store_away)? {
        let mut seen = admin || own.iter().any(|o| o.as_str() == number);
        if !seen && is_shared(&number) {
            seen = known.iter().any(|(contact, _)| contact.as_str() == peer)
                || state::last_writer(host, &number.as_str().into(), &peer.as_str().into())
                    .await
                    .map_err(store_away)?
                    .as_ref()
                    == Some(&call.user);
        }
        if seen {
            table.rows.push(vec![peer, number, entry.word]);
        }
    }
    let note = if table.rows.is_empty() { "opt-outs.none" } else { "opt-outs.title" };
    Ok(Step::Done { notes: vec![Note::Info(Text::key(note))], table: Some(table) })
}

/// Texts that the user's own server took and gave back for good. Only they read them, not who acts for them.
async fn returned(call: &Call, host: &dyn Gateway) -> Result<Step, DeliveryError> {
    if call.by != call.user {
        return Err(DeliveryError::new(Failure::Forbidden, Text::key("returned.not-yours")));
    }
    let mut all = state::all_lost(host, Some(&call.user)).await.map_err(store_away)?;
    all.sort_by_key(|entry| entry.at);
    let column = |name: &str| (name.to_owned(), Text::key(format!("lost.{name}")));
    let mut table = Table::new(vec![column("at"), column("peer"), column("words"), column("why")]);
    for entry in all {
        let words = match hex::decode(&entry.words) {
            Ok(sealed) if !sealed.is_empty() => host.unseal(&sealed).map_err(store_away)?,
            _ => Vec::new(),
        };
        let words = String::from_utf8_lossy(&words).into_owned();
        table.rows.push(vec![limits::moment(entry.at), entry.peer, words, entry.why]);
    }
    let note = if table.rows.is_empty() { "returned.none" } else { "returned.title" };
    Ok(Step::Done { notes: vec![Note::Info(Text::key(note))], table: Some(table) })
}
