//! Registering without a form of the bridge's, leaving, usage, export.

use isthmus_bridge::{Call, Field, FieldKind, Form, Note, Step, StoreError, Table, Text};

use super::own::{Answer, UNREGISTER, done};
use super::{BridgeRef, Desk, Effect};

/// A bridge that requires registration and asks nothing: done at once; the dialogue records it.
pub(super) fn register() -> Answer {
    Step::done(Text::key("register.done")).into()
}

/// Unregistering, and deleting all data: the same, asked with other words.
pub(super) async fn leave(desk: &Desk, bridge: &BridgeRef, call: &Call) -> Result<Answer, StoreError> {
    match call.values.bool("sure") {
        Some(true) => {
            let effects = forget(desk, bridge, call).await?;
            Ok(done(Text::key("leave.done"), effects))
        }
        Some(false) if call.action != isthmus_bridge::Action::Start => Ok(done(Text::key("leave.kept"), Vec::new())),
        _ => {
            let (title, words) = if call.node == UNREGISTER {
                (Text::key("command.unregister"), Text::key("leave.unregister"))
            } else {
                (Text::key("command.delete"), Text::key("leave.delete"))
            };
            let form = Form::new(title, vec![Field::new("sure", FieldKind::Bool).required().with_value("false")]);
            Ok(Step::Ask { form: form.with_instructions(words), state: serde_json::Value::Null, last: true }.into())
        }
    }
}

/// Removes everything of the user's but tombstones and the audit log. The bridge is told first, while its state is still there to be read; if it
/// fails, what the core holds goes all the same.
pub(super) async fn forget(desk: &Desk, bridge: &BridgeRef, call: &Call) -> Result<Vec<Effect>, StoreError> {
    remove(desk, bridge, &call.user).await
}

/// As [`forget`], by the user's name; `register` uses it for `<remove/>`.
pub(in crate::xmpp) async fn remove(
    desk: &Desk,
    bridge: &BridgeRef,
    user: &isthmus_bridge::BareJid,
) -> Result<Vec<Effect>, StoreError> {
    if let Err(error) = bridge.instance.bridge.forget(user, &bridge.host).await {
        tracing::warn!(bridge = bridge.name(), %user, %error, "the bridge did not forget a user");
    }
    desk.office.forget(bridge.name(), user).await?;
    let Some(persons) = desk.persons(bridge) else { return Ok(Vec::new()) };
    let addresses = persons.forget(user).await?;
    Ok(vec![Effect::Unregistered(user.clone(), addresses)])
}

/// What was used of which limits.
pub(super) async fn usage(desk: &Desk, bridge: &BridgeRef, call: &Call) -> Result<Answer, StoreError> {
    let lines = desk.office.usage(bridge.name(), &call.user).await?;
    if lines.is_empty() {
        return Ok(done(Text::key("usage.none"), Vec::new()));
    }
    let mut table =
        Table::new(vec![("what".into(), Text::key("field.what")), ("used".into(), Text::key("field.used"))]);
    table.rows = lines.into_iter().map(|(what, used)| vec![desk.say(bridge, &what, &call.lang), used]).collect();
    Ok(Step::Done { notes: Vec::new(), table: Some(table) }.into())
}

/// Rows of an export that are shown; the rest stands in the file.
const ROWS: usize = 200;

/// Everything that is kept of the user: as a file to fetch, and as a table.
pub(super) async fn export(desk: &Desk, bridge: &BridgeRef, call: &Call) -> Result<Answer, StoreError> {
    let Some(persons) = desk.persons(bridge) else { return Ok(done(Text::key("export.none"), Vec::new())) };
    let lines = persons.export(&call.user).await?;
    if lines.is_empty() {
        return Ok(done(Text::key("export.none"), Vec::new()));
    }
    let all: Vec<_> =
        lines.iter().map(|l| serde_json::json!({"kind": l.kind, "key": l.key, "value": l.value})).collect();
    let whole = serde_json::json!({"user": call.user.as_str(), "bridge": bridge.name(), "kept": all});
    let body = serde_json::to_vec_pretty(&whole).map_err(|e| StoreError::Fault(e.to_string()))?;
    let name = format!("{}-{}.json", bridge.name(), call.user.as_str().replace('@', "-at-"));
    let mut notes = vec![Note::Info(Text::key("export.done"))];
    let url = desk.office.hand_out(&call.user, &name, body).await;
    let shown = if let Some(url) = url {
        notes.push(Note::Info(Text::key("export.file").with("url", url)));
        ROWS
    } else {
        usize::MAX
    };
    let columns =
        [("kind", Text::key("field.kind")), ("key", Text::key("field.key")), ("value", Text::key("field.value"))];
    let mut table = Table::new(columns.into_iter().map(|(key, label)| (key.to_owned(), label)).collect());
    let rows = lines.into_iter().take(shown);
    table.rows = rows.map(|line| vec![line.kind.to_owned(), line.key, line.value]).collect();
    Ok(Step::Done { notes, table: Some(table) }.into())
}
