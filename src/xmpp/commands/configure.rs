//! The settings of an address as a form.

use isthmus_bridge::{
    Action, Address, Call, Field, FieldKind, Form, Note, Setting, SettingKind, Step, StoreError, Text, Values,
};

use super::own::{Answer, done};
use super::{BridgeRef, Caller, Desk, Effect};
use crate::settings;
use crate::storage::people::Persons;

/// What empties a secret; an empty answer leaves it as it is.
const CLEAR: &str = "-";

/// Whether anything can be set at the caller's address.
pub(super) fn has_settings(desk: &Desk, bridge: &BridgeRef, caller: &Caller) -> bool {
    let admin = desk.office.is_admin(&caller.by);
    desk.persons(bridge).is_some_and(|p| p.scheme().at(settings::scope(&caller.at), admin).next().is_some())
}

/// Whether the node is that of a form of settings: the core's, or one that the bridge has declared.
pub(super) fn is_form(bridge: &BridgeRef, node: &str) -> bool {
    let declared = bridge.instance.bridge.commands().iter().find(|c| c.node == node);
    declared.map_or(node == super::own::CONFIGURE, |c| c.settings.is_some())
}

/// Shows what is in force, or records what was changed.
pub(super) async fn step(desk: &Desk, bridge: &BridgeRef, call: &Call) -> Result<Answer, StoreError> {
    let Some(persons) = desk.persons(bridge) else { return Ok(done(Text::key("configure.none"), Vec::new())) };
    // A bridge may show some of its settings under a name of their own.
    let some = bridge.instance.bridge.commands().iter().find(|c| c.node == call.node).and_then(|c| c.settings);
    let offered: Vec<&Setting> = persons
        .scheme()
        .at(settings::scope(&call.at), desk.office.is_admin(&call.by))
        .filter(|s| some.is_none_or(|keys| keys.contains(&s.key)))
        .collect();
    if offered.is_empty() {
        return Ok(done(Text::key("configure.none"), Vec::new()));
    }
    if call.action == Action::Start {
        let form = Form::new(
            Text::key(format!("command.{}", call.node)),
            offered.iter().map(|s| spoken(desk, bridge, field(persons, call, s))).collect(),
        );
        let words =
            if call.at == Address::Gateway { Text::key("configure.gateway") } else { Text::key("configure.address") };
        return Ok(Step::Ask { form: form.with_instructions(words), state: serde_json::Value::Null, last: true }.into());
    }
    let (call, mut notes) = with_sound_numbers(persons, call, &offered);
    let call = &call;
    let changes = changes(persons, call, &offered);
    if changes.is_empty() {
        notes.insert(0, Note::Info(Text::key("configure.same")));
        return Ok(Step::Done { notes, table: None }.into());
    }
    let keys: Vec<String> = changes.iter().map(|(key, _)| key.clone()).collect();
    persons.set(&call.user, &call.at, changes).await?;
    super::admin::audit_for_other(desk, bridge, call, &format!("configure {}", keys.join(" "))).await?;
    let effect = Effect::SettingsChanged(call.user.clone(), call.at.clone());
    notes.insert(0, Note::Info(Text::key("configure.done")));
    Ok(Answer::Step(Step::Done { notes, table: None }, vec![effect]))
}

/// A number that is none, or is out of bounds, falls back to what would be in force without it, and the person is told.
pub(crate) fn with_sound_numbers(persons: &Persons, call: &Call, offered: &[&Setting]) -> (Call, Vec<Note>) {
    let (mut call, mut notes) = (call.clone(), Vec::new());
    for setting in offered {
        let (SettingKind::Number { min, max }, Some(given)) = (&setting.kind, call.values.get(setting.key)) else {
            continue;
        };
        if settings::number(given, *min, *max).is_ok() {
            continue;
        }
        let instead = wider(persons, &call).str(setting.key).to_owned();
        let text = Text::key("configure.bad-number").with("field", setting.key).with("min", min).with("max", max);
        notes.push(Note::Warn(text.with("value", &instead)));
        call.values.set(setting.key, instead);
    }
    (call, notes)
}

/// The labels of choices in the reader's language, where the bridge's texts have them: `choice.<setting>.<value>`.
fn spoken(desk: &Desk, bridge: &BridgeRef, mut field: Field) -> Field {
    if let FieldKind::Choice(choices) = &mut field.kind {
        for (value, label) in choices {
            let key = format!("choice.{}.{value}", field.key);
            if desk.texts.has(bridge.name(), &key, "en") {
                *label = Text::key(key);
            }
        }
    }
    field
}

/// A setting as a field, with what is in force in it.
pub(crate) fn field(persons: &Persons, call: &Call, setting: &Setting) -> Field {
    let kind = match &setting.kind {
        SettingKind::Bool => FieldKind::Bool,
        SettingKind::Number { min, max } => FieldKind::Number { min: *min, max: *max },
        SettingKind::Lines => FieldKind::Lines,
        SettingKind::Choice(choices) => {
            let choices = choices.iter().map(|(value, label)| ((*value).to_owned(), Text::plain(*label))).collect();
            FieldKind::Choice(choices)
        }
        SettingKind::Secret => FieldKind::Secret,
        _ => FieldKind::Line,
    };
    let mut field = Field::new(setting.key, kind).with_label(setting.label.clone());
    field.rule = setting.rule;
    let resolved = persons.resolved(&call.user, &call.at);
    match resolved.get(setting.key) {
        Some(value) if setting.kind != SettingKind::Secret => field.with_value(value),
        _ => field,
    }
}

/// What differs from what is in force. A value that would hold anyway without the user's own goes back to the default.
pub(crate) fn changes(persons: &Persons, call: &Call, offered: &[&Setting]) -> Vec<(String, Option<String>)> {
    let resolved = persons.resolved(&call.user, &call.at);
    let own = persons.chosen(&call.user, &call.at);
    let wider = wider(persons, call);
    let mut changes = Vec::new();
    for setting in offered {
        let key = setting.key;
        let Some(answer) = answer(&call.values, key) else { continue };
        if setting.kind == SettingKind::Secret {
            changes.push((key.to_owned(), Some(answer).filter(|a| a != CLEAR)));
        } else if answer == wider.str(key) {
            if own.contains_key(key) {
                changes.push((key.to_owned(), None));
            }
        } else if answer != resolved.str(key) {
            changes.push((key.to_owned(), Some(answer)));
        }
    }
    changes
}

fn answer(values: &Values, key: &str) -> Option<String> {
    values.get(key).map(str::to_owned)
}

/// What would be in force without the user's choices at exactly this address.
fn wider(persons: &Persons, call: &Call) -> isthmus_bridge::Resolved {
    persons.without(&call.user, &call.at)
}
