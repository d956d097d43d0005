//! `contacts`: list, add, edit (name and groups), remove, block, unblock.

use isthmus_bridge::{Address, Call, Field, FieldKind, Form, Note, Step, StoreError, Table, Text};
use serde_json::json;

use super::own::{Answer, done};
use super::{BridgeRef, Desk, Effect};
use crate::storage::people::{Contact, Persons};

/// Groups of one contact, and the bytes of a group's name, at most (RFC 6121 section 2.1.2.1 leaves both to us).
const GROUPS: usize = 20;
const GROUP: usize = 1023;

/// First what to do, then with whom.
pub(super) async fn step(desk: &Desk, bridge: &BridgeRef, call: &Call) -> Result<Answer, StoreError> {
    let Some(persons) = desk.persons(bridge) else { return Ok(done(Text::key("contacts.none"), Vec::new())) };
    let what = call.state["do"].as_str().or_else(|| call.values.get("do")).map(str::to_owned);
    match what.as_deref() {
        None => Ok(menu()),
        Some("list") => Ok(list(desk, persons, call)),
        Some(what) => {
            let Some(typed) = call.state["address"].as_str().or_else(|| call.values.get("address")) else {
                return Ok(ask(what, None));
            };
            let settings = persons.resolved(&call.user, &Address::Gateway);
            match bridge.instance.bridge.addressing().prompt_for(typed, &settings) {
                Ok(at @ (Address::Contact(_) | Address::Room(_))) => act(persons, call, what, typed, at).await,
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
    if what == "add" {
        fields.extend(edited(None));
    }
    let form = Form::new(Text::key("command.contacts"), fields);
    Step::Ask { form, state: json!({"do": what}), last: what != "rename" }.into()
}

/// Name and groups, with what they are now.
fn edited(now: Option<&Contact>) -> [Field; 2] {
    let field = |key: &'static str, label: &'static str, value: String| {
        let field = Field::new(key, FieldKind::Line).with_label(Text::key(label));
        if value.is_empty() { field } else { field.with_value(value) }
    };
    let name = now.and_then(|contact| contact.name.clone()).unwrap_or_default();
    let groups = now.map(|contact| contact.groups.join(", ")).unwrap_or_default();
    [field("name", "field.name", name), field("groups", "field.groups", groups)]
}

/// What is kept of the contact, to be changed.
fn edit(persons: &Persons, call: &Call, typed: &str, at: &Address) -> Answer {
    let now = persons.contact(&call.user, at);
    let form = Form::new(Text::key("command.contacts"), edited(now.as_ref()).into());
    let form = form.with_instructions(Text::key("contacts.edit").with("address", typed));
    Step::Ask { form, state: json!({"do": "rename", "address": typed}), last: true }.into()
}

/// Groups as people write them, with commas; each once, none too long for a roster.
fn groups(typed: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for group in typed.split(',').map(str::trim).filter(|group| !group.is_empty() && group.len() <= GROUP) {
        if all.len() < GROUPS && all.iter().all(|known| known != group) {
            all.push(group.to_owned());
        }
    }
    all
}

fn list(desk: &Desk, persons: &Persons, call: &Call) -> Answer {
    let mut rows = Vec::new();
    let blocked = |at: &Address| {
        let on = persons.blocked(&call.user, at) || desk.office.blocks(&call.user, at);
        if on { "⛔".to_owned() } else { String::new() }
    };
    for (id, name) in persons.contacts(&call.user) {
        let state = blocked(&Address::Contact(id.clone()));
        let contact = persons.contact(&call.user, &Address::Contact(id.clone()));
        let groups = contact.map(|contact| contact.groups.join(", ")).unwrap_or_default();
        rows.push(vec![id.to_string(), name.unwrap_or_default(), groups, state]);
    }
    for at in persons.blocks(&call.user) {
        match &at {
            Address::Contact(id) if rows.iter().all(|r| r[0] != id.as_str()) => {
                rows.push(vec![id.to_string(), String::new(), String::new(), blocked(&at)]);
            }
            Address::Room(id) => rows.push(vec![id.to_string(), String::new(), String::new(), blocked(&at)]),
            _ => {}
        }
    }
    if rows.is_empty() {
        return done(Text::key("contacts.none"), Vec::new());
    }
    let columns = [
        ("address", Text::key("field.address")),
        ("name", Text::key("field.name")),
        ("groups", Text::key("field.groups")),
        ("blocked", Text::key("field.blocked")),
    ];
    let mut table = Table::new(columns.into_iter().map(|(key, label)| (key.to_owned(), label)).collect());
    table.rows = rows;
    Step::Done { notes: Vec::new(), table: Some(table) }.into()
}

async fn act(persons: &Persons, call: &Call, what: &str, typed: &str, at: Address) -> Result<Answer, StoreError> {
    let user = &call.user;
    let name = call.values.get("name").filter(|n| !n.is_empty());
    let (text, effect) = match what {
        // "Edit", under the name that scripts know.
        "rename" if call.state["address"].is_null() => return Ok(edit(persons, call, typed, &at)),
        "add" | "rename" => {
            persons.name(user, &at, name, call.values.get("groups").map(groups)).await?;
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
    Ok(done(text.with("address", typed), vec![effect]))
}
