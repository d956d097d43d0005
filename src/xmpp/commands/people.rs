//! `contacts`: list, add, rename, remove, block, unblock.

use isthmus_bridge::{Address, Call, Field, FieldKind, Form, Note, Step, StoreError, Table, Text};
use serde_json::json;

use super::own::{Answer, done};
use super::{BridgeRef, Desk, Effect};
use crate::storage::people::Persons;

/// First what to do, then with whom.
pub(super) async fn step(desk: &Desk, bridge: &BridgeRef, call: &Call) -> Result<Answer, StoreError> {
    let Some(persons) = desk.persons(bridge) else { return Ok(done(Text::key("contacts.none"), Vec::new())) };
    let what = call.state["do"].as_str().or_else(|| call.values.get("do")).map(str::to_owned);
    match what.as_deref() {
        None => Ok(menu()),
        Some("list") => Ok(list(desk, persons, call)),
        Some(what) if call.values.get("address").is_none() => Ok(ask(what, None)),
        Some(what) => {
            let typed = call.values.get("address").unwrap_or_default();
            let settings = persons.resolved(&call.user, &Address::Gateway);
            match bridge.instance.bridge.addressing().prompt_for(typed, &settings) {
                Ok(at @ (Address::Contact(_) | Address::Room(_))) => act(persons, call, what, at).await,
                Ok(_) => Ok(ask(what, Some((typed, Text::key("contacts.not-contact"))))),
                Err(bad) => Ok(ask(what, Some((typed, Text::plain(bad.to_string()))))),
            }
        }
    }
}

fn menu() -> Answer {
    let choices = [
        ("list", Text::key("contacts.list")),
        ("add", Text::key("contacts.add")),
        ("rename", Text::key("contacts.rename")),
        ("remove", Text::key("contacts.remove")),
        ("block", Text::key("contacts.block")),
        ("unblock", Text::key("contacts.unblock")),
    ];
    let choices = choices.into_iter().map(|(value, label)| (value.to_owned(), label)).collect();
    let field =
        Field::new("do", FieldKind::Choice(choices)).with_label(Text::key("field.do")).required().with_value("list");
    Step::Ask { form: Form::new(Text::key("command.contacts"), vec![field]), state: json!(null), last: false }.into()
}

fn ask(what: &str, wrong: Option<(&str, Text)>) -> Answer {
    let mut address = Field::new("address", FieldKind::Line).with_label(Text::key("field.address")).required();
    if let Some((typed, reason)) = wrong {
        address = address.with_value(typed).with_error(reason);
    }
    let mut fields = vec![address];
    if matches!(what, "add" | "rename") {
        fields.push(Field::new("name", FieldKind::Line).with_label(Text::key("field.name")));
    }
    Step::Ask { form: Form::new(Text::key("command.contacts"), fields), state: json!({"do": what}), last: true }.into()
}

fn list(desk: &Desk, persons: &Persons, call: &Call) -> Answer {
    let mut rows = Vec::new();
    let blocked = |at: &Address| {
        let on = persons.blocked(&call.user, at) || desk.office.blocks(&call.user, at);
        if on { "⛔".to_owned() } else { String::new() }
    };
    for (id, name) in persons.contacts(&call.user) {
        let state = blocked(&Address::Contact(id.clone()));
        rows.push(vec![id.to_string(), name.unwrap_or_default(), state]);
    }
    for at in persons.blocks(&call.user) {
        match &at {
            Address::Contact(id) if rows.iter().all(|r| r[0] != id.as_str()) => {
                rows.push(vec![id.to_string(), String::new(), blocked(&at)]);
            }
            Address::Room(id) => rows.push(vec![id.to_string(), String::new(), blocked(&at)]),
            _ => {}
        }
    }
    if rows.is_empty() {
        return done(Text::key("contacts.none"), Vec::new());
    }
    let columns = [
        ("address", Text::key("field.address")),
        ("name", Text::key("field.name")),
        ("blocked", Text::key("field.blocked")),
    ];
    let mut table = Table::new(columns.into_iter().map(|(key, label)| (key.to_owned(), label)).collect());
    table.rows = rows;
    Step::Done { notes: Vec::new(), table: Some(table) }.into()
}

async fn act(persons: &Persons, call: &Call, what: &str, at: Address) -> Result<Answer, StoreError> {
    let user = &call.user;
    let name = call.values.get("name").filter(|n| !n.is_empty());
    let (text, effect) = match what {
        "add" | "rename" => {
            persons.rename(user, &at, name).await?;
            (Text::key("contacts.saved"), Effect::ContactAdded(user.clone(), at, name.map(str::to_owned)))
        }
        "remove" if persons.contact(user, &at).is_none() => {
            let notes = vec![Note::Error(Text::key("contacts.unknown"))];
            return Ok(Step::Done { notes, table: None }.into());
        }
        "remove" => {
            persons.remove_contact(user, &at).await?;
            (Text::key("contacts.removed"), Effect::ContactRemoved(user.clone(), at))
        }
        "block" | "unblock" => {
            let on = what == "block";
            persons.block(user, &at, on).await?;
            let text = if on { Text::key("contacts.blocked") } else { Text::key("contacts.unblocked") };
            (text, Effect::Blocked(user.clone(), at, on))
        }
        _ => return Ok(menu()),
    };
    let typed = call.values.get("address").unwrap_or_default();
    Ok(done(text.with("address", typed), vec![effect]))
}
