//! `bookmark`: a room among the user's bookmarks (XEP-0402), where their server lets the gateway put it there.

use isthmus_bridge::{Action, Call, Field, FieldKind, Form, Note, Step, StoreError, Text};
use serde_json::json;

use super::own::{Answer, done};
use super::{BridgeRef, Desk};

/// Asks whether to join at login, and under which nick.
pub(super) async fn step(desk: &Desk, bridge: &BridgeRef, call: &Call) -> Result<Answer, StoreError> {
    if !desk.office.may_bookmark(&call.user) {
        let notes = vec![Note::Error(Text::key("bookmark.not-granted"))];
        return Ok(Step::Done { notes, table: None }.into());
    }
    if call.action == Action::Start {
        let known = desk.persons(bridge).map(|p| p.resolved(&call.user, &call.at).str("nick").to_owned());
        let fields = vec![
            Field::new("autojoin", FieldKind::Bool).required().with_value("true"),
            Field::new("nick", FieldKind::Line).with_value(known.unwrap_or_default()),
        ];
        let form = Form::new(Text::key("command.bookmark"), fields);
        return Ok(Step::Ask { form, state: json!(null), last: true }.into());
    }
    let nick = call.values.get("nick").filter(|n| !n.trim().is_empty());
    let autojoin = call.values.bool("autojoin").unwrap_or(true);
    match desk.office.bookmark(&call.user, &call.at, autojoin, nick).await {
        Ok(()) => Ok(done(Text::key("bookmark.done"), Vec::new())),
        Err(reason) => {
            let notes = vec![Note::Error(Text::key("bookmark.failed").with("reason", reason))];
            Ok(Step::Done { notes, table: None }.into())
        }
    }
}
