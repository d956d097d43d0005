//! Registering without a form of the bridge's, leaving, usage, export.

use isthmus_bridge::{Call, Field, FieldKind, Form, Note, Step, StoreError, Table, Text};

use super::own::{Answer, UNREGISTER, done};
use super::{BridgeRef, Desk, Effect};
use crate::storage::people::{Export, Pages};

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
    let say = |text: &Text| desk.say(bridge, text, &call.lang);
    table.rows = lines.iter().map(|(what, used)| vec![say(what), say(used)]).collect();
    Ok(Step::Done { notes: Vec::new(), table: Some(table) }.into())
}

/// Rows of an export that are shown, and bytes of them; the rest stands in the files.
const ROWS: usize = 200;
const BYTES: usize = 64 << 10;
/// A file of an export is about so large, at most.
const PART: u64 = 4 << 20;

/// Everything that is kept of the user: as files to fetch, and the first of it as a table. A page at a time, so that memory holds one part at most.
pub(super) async fn export(desk: &Desk, bridge: &BridgeRef, call: &Call) -> Result<Answer, StoreError> {
    let Some(persons) = desk.persons(bridge) else { return Ok(done(Text::key("export.none"), Vec::new())) };
    desk.office.forget_exports(&call.user).await?;
    let (mut pages, mut parts) = (Pages::default(), Parts::new(desk, bridge, call));
    let (mut rows, mut bytes, mut more) = (Vec::new(), 0, false);
    while let Some(page) = persons.export(&call.user, &mut pages).await? {
        for line in page {
            parts.put(&line).await?;
            let size = line.key.len() + line.value.len();
            if rows.len() < ROWS && bytes + size <= BYTES {
                bytes += size;
                rows.push(vec![line.kind.to_owned(), line.key, line.value]);
            } else {
                more = true;
            }
        }
        if more && parts.refused {
            break;
        }
    }
    if rows.is_empty() && !more {
        return Ok(done(Text::key("export.none"), Vec::new()));
    }
    parts.close().await;
    let mut notes = vec![Note::Info(Text::key("export.done"))];
    notes.extend(parts.urls.iter().map(|url| Note::Info(Text::key("export.file").with("url", url))));
    if more && parts.refused {
        notes = vec![Note::Warn(Text::key("export.cut").with("count", rows.len()))];
    }
    let columns =
        [("kind", Text::key("field.kind")), ("key", Text::key("field.key")), ("value", Text::key("field.value"))];
    let mut table = Table::new(columns.into_iter().map(|(key, label)| (key.to_owned(), label)).collect());
    table.rows = rows;
    Ok(Step::Done { notes, table: Some(table) }.into())
}

/// An export on its way into files.
struct Parts<'a> {
    desk: &'a Desk,
    bridge: &'a BridgeRef,
    call: &'a Call,
    limit: u64,
    body: Vec<u8>,
    urls: Vec<String>,
    /// There is nowhere to put files.
    refused: bool,
}

impl<'a> Parts<'a> {
    fn new(desk: &'a Desk, bridge: &'a BridgeRef, call: &'a Call) -> Self {
        let limit = desk.office.largest_file().min(PART);
        Self { desk, bridge, call, limit, body: Vec::new(), urls: Vec::new(), refused: false }
    }

    async fn put(&mut self, line: &Export) -> Result<(), StoreError> {
        if self.refused {
            return Ok(());
        }
        let fault = |e: serde_json::Error| StoreError::Fault(e.to_string());
        let line = serde_json::json!({"kind": line.kind, "key": line.key, "value": line.value});
        let line = serde_json::to_vec(&line).map_err(fault)?;
        if !self.body.is_empty() && (self.body.len() + line.len() + 8) as u64 > self.limit {
            self.close().await;
        }
        if self.body.is_empty() {
            let part = self.urls.len() + 1;
            let head = serde_json::json!({"user": self.call.user.as_str(), "bridge": self.bridge.name(), "part": part});
            self.body = serde_json::to_vec(&head).map_err(fault)?;
            self.body.pop();
            self.body.extend_from_slice(b",\"kept\":[\n");
        } else {
            self.body.extend_from_slice(b",\n");
        }
        self.body.extend_from_slice(&line);
        Ok(())
    }

    /// The part that is open goes out.
    async fn close(&mut self) {
        if self.body.is_empty() || self.refused {
            return;
        }
        self.body.extend_from_slice(b"\n]}\n");
        let part = match self.urls.len() {
            0 => String::new(),
            before => format!("-{}", before + 1),
        };
        let user = self.call.user.as_str().replace('@', "-at-");
        let name = format!("{}-{user}{part}.json", self.bridge.name());
        match self.desk.office.hand_out(&self.call.user, &name, std::mem::take(&mut self.body)).await {
            Some(url) => self.urls.push(url),
            None => self.refused = true,
        }
    }
}
