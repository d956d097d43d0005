//! `history`: the user's own conversation with a contact.

use std::time::{Duration, UNIX_EPOCH};

use isthmus_bridge::{Action, Address, Call, Field, FieldKind, Form, Step, StoreError, Table, Text};
use serde_json::json;

use super::own::{Answer, done};
use super::{BridgeRef, Desk};
use crate::translate::stamp::stamp;

/// Lines shown, at most and where nothing is said.
const MOST: i64 = 500;
const USUAL: &str = "20";

/// First with whom, then the lines. On a contact's own address that is the contact.
pub(super) async fn step(desk: &Desk, bridge: &BridgeRef, call: &Call) -> Result<Answer, StoreError> {
    let Some(persons) = desk.persons(bridge) else { return Ok(done(Text::key("history.none"), Vec::new())) };
    let here = matches!(call.at, Address::Contact(_)).then(|| call.at.clone());
    if call.action == Action::Start && call.values.is_empty() {
        return Ok(ask(here.is_none(), None));
    }
    let typed = call.values.get("address").unwrap_or_default();
    let at = match here {
        Some(at) => at,
        None => {
            let settings = persons.resolved(&call.user, &Address::Gateway);
            match bridge.instance.bridge.addressing().prompt_for(typed, &settings) {
                Ok(at @ Address::Contact(_)) => at,
                Ok(_) => return Ok(ask(true, Some((typed, Text::key("contacts.not-contact"))))),
                Err(bad) => return Ok(ask(true, Some((typed, Text::plain(bad.to_string()))))),
            }
        }
    };
    let count = call.values.get("count").and_then(|n| n.trim().parse().ok()).unwrap_or(20);
    let lines = persons.talk(&call.user, &at, count).await?;
    if lines.is_empty() {
        return Ok(done(Text::key("history.none"), Vec::new()));
    }
    let columns = [("at", Text::key("field.at")), ("by", Text::key("field.by")), ("words", Text::key("field.words"))];
    let mut table = Table::new(columns.into_iter().map(|(key, label)| (key.to_owned(), label)).collect());
    let them = bridge.instance.bridge.addressing().format(&at).local.unwrap_or_default();
    let you = desk.say(bridge, &Text::key("history.you"), &call.lang);
    let time = |at: i64| stamp(UNIX_EPOCH + Duration::from_millis(u64::try_from(at).unwrap_or_default()));
    let row = |line: crate::storage::people::Talk| {
        vec![time(line.at), if line.own { you.clone() } else { them.clone() }, line.body]
    };
    table.rows = lines.into_iter().map(row).collect();
    Ok(Step::Done { notes: Vec::new(), table: Some(table) }.into())
}

fn ask(whom: bool, wrong: Option<(&str, Text)>) -> Answer {
    let mut fields = Vec::new();
    if whom {
        let mut address = Field::new("address", FieldKind::Line).with_label(Text::key("field.address")).required();
        if let Some((typed, reason)) = wrong {
            address = address.with_value(typed).with_error(reason);
        }
        fields.push(address);
    }
    let count = FieldKind::Number { min: 1, max: MOST };
    fields.push(Field::new("count", count).with_label(Text::key("field.count")).with_value(USUAL));
    Step::Ask { form: Form::new(Text::key("command.history"), fields), state: json!(null), last: true }.into()
}
