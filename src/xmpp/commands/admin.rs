//! The administrators' commands. What they change is written to the audit log.

use isthmus_bridge::{
    Action, BareJid, Call, Field, FieldKind, Form, Note, Place, Step, StoreError, Table, Text, Values,
};
use serde_json::json;

use super::own::{Answer, done};
use super::{BridgeRef, Desk, Effect, account};
use crate::admin::control::Rotated;
use crate::router::Party;
use crate::storage::people::Audit;
use crate::translate::stamp::stamp;

/// Lines of the audit log that are shown.
const AUDIT: u32 = 50;

/// `users`: list, add, remove, act for.
pub(super) async fn users(desk: &Desk, bridge: &BridgeRef, call: &Call) -> Result<Answer, StoreError> {
    let what = call.state["do"].as_str().or_else(|| call.values.get("do")).map(str::to_owned);
    match what.as_deref() {
        None => Ok(users_menu()),
        Some("list") => Ok(users_list(desk, bridge)),
        Some(what) if call.values.get("user").is_none() => Ok(users_ask(desk, bridge, what, None)),
        Some(what) => {
            let typed = call.values.get("user").unwrap_or_default();
            match Party::parse(typed).filter(|p| !p.is_full() && p.local().is_some()) {
                Some(party) => users_act(desk, bridge, call, what, party.bare()).await,
                None => Ok(users_ask(desk, bridge, what, Some(typed))),
            }
        }
    }
}

fn users_menu() -> Answer {
    let choices = [
        ("list", Text::key("users.list")),
        ("add", Text::key("users.add")),
        ("remove", Text::key("users.remove")),
        ("act", Text::key("users.act")),
    ];
    let choices = choices.into_iter().map(|(value, label)| (value.to_owned(), label)).collect();
    let field =
        Field::new("do", FieldKind::Choice(choices)).with_label(Text::key("field.do")).required().with_value("list");
    Step::Ask { form: Form::new(Text::key("command.users"), vec![field]), state: json!(null), last: false }.into()
}

fn users_list(desk: &Desk, bridge: &BridgeRef) -> Answer {
    let users = desk.persons(bridge).map(|p| p.users()).unwrap_or_default();
    if users.is_empty() {
        return done(Text::key("users.none"), Vec::new());
    }
    let mut table = Table::new(vec![("user".into(), Text::key("field.user"))]);
    table.rows = users.into_iter().map(|u| vec![u.to_string()]).collect();
    Step::Done { notes: Vec::new(), table: Some(table) }.into()
}

fn users_ask(desk: &Desk, bridge: &BridgeRef, what: &str, wrong: Option<&str>) -> Answer {
    let mut user = Field::new("user", FieldKind::Line).with_label(Text::key("field.user")).required();
    if let Some(typed) = wrong {
        user = user.with_value(typed).with_error(Text::key("users.not-jid"));
    }
    let mut fields = vec![user];
    if what == "act" {
        // Whether that user is registered shows only when it is done.
        let all = desk.all(bridge).into_iter();
        let here = all.filter(|c| c.audience != isthmus_bridge::Audience::Admin && c.places.contains(&Place::Gateway));
        let commands = here.map(|c| (c.node.to_owned(), c.name)).collect();
        fields
            .push(Field::new("command", FieldKind::Choice(commands)).with_label(Text::key("field.command")).required());
    }
    Step::Ask { form: Form::new(Text::key("command.users"), fields), state: json!({"do": what}), last: what != "act" }
        .into()
}

async fn users_act(
    desk: &Desk,
    bridge: &BridgeRef,
    call: &Call,
    what: &str,
    user: BareJid,
) -> Result<Answer, StoreError> {
    let Some(persons) = desk.persons(bridge) else { return Ok(done(Text::key("users.none"), Vec::new())) };
    let about = user.to_string();
    match what {
        "add" => {
            let fresh = persons.register(&user, &persons.registration(&user).unwrap_or_else(Values::new)).await?;
            audit_act(desk, bridge, call, "users add", Some(&about)).await?;
            let effects = if fresh { vec![Effect::Registered(user)] } else { Vec::new() };
            Ok(done(Text::key("users.added").with("user", about), effects))
        }
        "remove" => {
            let effects = account::remove(desk, bridge, &user).await?;
            audit_act(desk, bridge, call, "users remove", Some(&about)).await?;
            Ok(done(Text::key("users.removed").with("user", about), effects))
        }
        _ => {
            let node = call.values.get("command").unwrap_or_default().to_owned();
            audit_act(desk, bridge, call, &format!("act for: {node}"), Some(&about)).await?;
            Ok(Answer::Become { node, user })
        }
    }
}

/// `status`: the states of links.
pub(super) async fn status(desk: &Desk, bridge: &BridgeRef, call: &Call) -> Result<Answer, StoreError> {
    let links = desk.office.links(bridge.name(), &call.lang).await;
    let users = desk.persons(bridge).map(|p| p.users().len()).unwrap_or_default();
    let notes = vec![Note::Info(Text::key("status.users").with("count", users))];
    let mut table = Table::new(vec![("of".into(), Text::key("field.of")), ("state".into(), Text::key("field.state"))]);
    table.rows = links.into_iter().map(|l| vec![l.of, desk.say(bridge, &l.state, &call.lang)]).collect();
    let table = Some(table).filter(|t| !t.rows.is_empty());
    Ok(Step::Done { notes, table }.into())
}

/// `announce`: a message to all registered users.
pub(super) async fn announce(desk: &Desk, bridge: &BridgeRef, call: &Call) -> Result<Answer, StoreError> {
    let Some(words) = call.values.get("words").filter(|w| !w.trim().is_empty()) else {
        let field = Field::new("words", FieldKind::Lines).with_label(Text::key("field.words")).required();
        let form = Form::new(Text::key("command.announce"), vec![field]);
        return Ok(Step::Ask { form, state: json!(null), last: true }.into());
    };
    let users = desk.persons(bridge).map(|p| p.users()).unwrap_or_default();
    let count = desk.office.announce(bridge.name(), &users, words).await?;
    audit_act(desk, bridge, call, "announce", None).await?;
    Ok(done(Text::key("announce.done").with("count", count), Vec::new()))
}

/// `log-level`: shows and sets the log's filter.
pub(super) async fn log_level(desk: &Desk, bridge: &BridgeRef, call: &Call) -> Result<Answer, StoreError> {
    let mut field = Field::new("filter", FieldKind::Line).with_label(Text::key("field.filter")).required();
    let given = call.values.get("filter").filter(|_| call.action != Action::Start);
    let ask = |field| Step::Ask {
        form: Form::new(Text::key("command.log-level"), vec![field]),
        state: json!(null),
        last: true,
    };
    let Some(given) = given else { return Ok(ask(field.with_value(desk.office.log_level())).into()) };
    if let Err(reason) = desk.office.set_log_level(given) {
        field = field.with_value(given).with_error(Text::plain(reason));
        return Ok(ask(field).into());
    }
    audit_act(desk, bridge, call, &format!("log-level {given}"), None).await?;
    Ok(done(Text::key("log-level.done").with("filter", given), Vec::new()))
}

/// `audit`: the newest lines of the log.
pub(super) async fn audit(desk: &Desk) -> Result<Answer, StoreError> {
    let lines = desk.people.audited(AUDIT).await?;
    if lines.is_empty() {
        return Ok(done(Text::key("audit.none"), Vec::new()));
    }
    let columns = [
        ("at", Text::key("field.at")),
        ("by", Text::key("field.by")),
        ("act", Text::key("field.act")),
        ("about", Text::key("field.about")),
    ];
    let mut table = Table::new(columns.into_iter().map(|(key, label)| (key.to_owned(), label)).collect());
    let time =
        |at: i64| stamp(std::time::UNIX_EPOCH + std::time::Duration::from_millis(u64::try_from(at).unwrap_or(0)));
    let row = |line: Audit| {
        vec![time(line.at), line.actor, format!("{} {}", line.bridge, line.act), line.about.unwrap_or_default()]
    };
    table.rows = lines.into_iter().map(row).collect();
    Ok(Step::Done { notes: Vec::new(), table: Some(table) }.into())
}

/// `reload`: reads the configuration again.
pub(super) async fn reload(desk: &Desk, bridge: &BridgeRef, call: &Call) -> Result<Answer, StoreError> {
    audit_act(desk, bridge, call, "reload", None).await?;
    let note = match desk.office.reload().await {
        Ok(words) => Note::Info(Text::key("reload.done").with("what", words)),
        Err(reason) => Note::Error(Text::key("reload.failed").with("reason", reason)),
    };
    Ok(Step::Done { notes: vec![note], table: None }.into())
}

/// `rotate-key`: a new key for secrets at rest; asked first, because the old one has to be kept with older backups.
pub(super) async fn rotate_key(desk: &Desk, bridge: &BridgeRef, call: &Call) -> Result<Answer, StoreError> {
    if call.values.bool("sure") != Some(true) {
        if call.action != Action::Start {
            return Ok(done(Text::key("rotate.kept"), Vec::new()));
        }
        let fields = vec![Field::new("sure", FieldKind::Bool).required().with_value("false")];
        let form = Form::new(Text::key("command.rotate-key"), fields).with_instructions(Text::key("rotate.words"));
        return Ok(Step::Ask { form, state: json!(null), last: true }.into());
    }
    let notes = match desk.office.rotate_key().await {
        Ok(Rotated { id, sealed, damaged }) => {
            audit_act(desk, bridge, call, &format!("rotate-key {id}"), None).await?;
            let done = Note::Info(Text::key("rotate.done").with("id", id).with("count", sealed));
            let left = (damaged > 0).then(|| Note::Warn(Text::key("rotate.damaged").with("count", damaged)));
            std::iter::once(done).chain(left).collect()
        }
        Err(reason) => vec![Note::Error(Text::key("rotate.failed").with("reason", reason))],
    };
    Ok(Step::Done { notes, table: None }.into())
}

/// Who is at the command line: an administrator of this machine; which one is not known.
pub(crate) const COMMAND_LINE: &str = "command line";

tokio::task_local! {
    /// Whom the audit log names instead of the caller's JID.
    static ACTOR: &'static str;
}

/// Runs what somebody at the command line wants done; the audit log says so.
pub(crate) async fn at_the_command_line<T>(work: impl Future<Output = T>) -> T {
    ACTOR.scope(COMMAND_LINE, work).await
}

/// Writes what an administrator did.
pub(super) async fn audit_act(
    desk: &Desk,
    bridge: &BridgeRef,
    call: &Call,
    act: &str,
    about: Option<&str>,
) -> Result<(), StoreError> {
    let line = Audit {
        at: 0,
        actor: ACTOR.try_with(|actor| (*actor).to_owned()).unwrap_or_else(|_| call.by.to_string()),
        bridge: bridge.name().to_owned(),
        act: act.to_owned(),
        about: about.map(str::to_owned),
        detail: None,
    };
    desk.people.audit(line).await
}

/// Writes what an administrator did as somebody else; nothing where a user acts for themselves.
pub(super) async fn audit_for_other(desk: &Desk, bridge: &BridgeRef, call: &Call, act: &str) -> Result<(), StoreError> {
    if call.by == call.user {
        return Ok(());
    }
    audit_act(desk, bridge, call, act, Some(call.user.as_str())).await
}
