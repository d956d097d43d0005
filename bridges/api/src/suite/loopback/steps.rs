//! Commands of Loopback: registration by a code, a table, a form of two pages that can go back.

use std::time::Duration;

use super::Loopback;
use super::session::unsupported;
use crate::address::{Address, ContactId};
use crate::command::{Action, Call, Field, FieldKind, Form, Step, Table};
use crate::error::{DeliveryError, Failure, StoreError, Taken};
use crate::host::{Change, Host, SessionOf};
use crate::settings::Values;
use crate::text::Text;

/// How long a code holds.
const CODE_HOLDS: Duration = Duration::from_secs(600);

pub(super) async fn step(net: &Loopback, call: Call, host: &Host) -> Result<Step, DeliveryError> {
    match call.node.as_str() {
        "register" => register(call, host).await,
        "who" => who(net, &call, host),
        "survey" => Ok(survey(&call)),
        "ponder" => std::future::pending().await,
        _ => Err(unsupported()),
    }
}

/// The code that was "texted" to a number, while it holds: what its owner would read on the phone.
pub async fn texted_code(host: &Host, number: &str) -> Option<String> {
    let sealed = host.load("code", number).await.ok()??;
    String::from_utf8(host.unseal(&sealed).ok()?).ok()
}

async fn register(call: Call, host: &Host) -> Result<Step, DeliveryError> {
    let Some(number) = call.state.get("number").and_then(|n| n.as_str()) else {
        return ask_number(&call, host).await;
    };
    if call.action == Action::Prev {
        return Ok(number_form(None));
    }
    let given = call.values.get("code").unwrap_or_default().trim();
    if texted_code(host, number).await.as_deref() != Some(given) {
        return Ok(code_form(number, Some(Text::key("code-wrong"))));
    }
    match host.claim(&call.user, &ContactId::from(number)).await {
        Ok(()) => {
            host.store(vec![Change::remove("code", number)]).await.map_err(store_away)?;
            Ok(Step::done(Text::key("registered").with("number", number)))
        }
        Err(Taken::Store(e)) => Err(store_away(e)),
        Err(Taken::ByOther) => {
            Err(DeliveryError::new(Failure::Conflict, Text::key("number-taken").with("number", number)))
        }
    }
}

async fn ask_number(call: &Call, host: &Host) -> Result<Step, DeliveryError> {
    let Some(number) = call.values.get("number").map(str::trim) else { return Ok(number_form(None)) };
    if !number.strip_prefix('+').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())) {
        return Ok(number_form(Some(Text::key("number-wrong"))));
    }
    let mac = host.mac("code", format!("{number} {:?}", host.now()).as_bytes());
    let code = u32::from_be_bytes([0, mac[0], mac[1], mac[2]]) % 1_000_000;
    let sealed = host.seal(format!("{code:06}").as_bytes()).map_err(store_away)?;
    let change = Change::put("code", number, sealed).of(call.user.clone()).until(host.now() + CODE_HOLDS);
    host.store(vec![change]).await.map_err(store_away)?;
    Ok(code_form(number, None))
}

fn number_form(error: Option<Text>) -> Step {
    let field = Field::new("number", FieldKind::Line).required();
    let field = match error {
        Some(error) => field.with_error(error),
        None => field,
    };
    let form = Form::new(Text::key("register-title"), vec![field]);
    Step::Ask { form, state: serde_json::Value::Null, last: false }
}

fn code_form(number: &str, error: Option<Text>) -> Step {
    let mut field = Field::new("code", FieldKind::Line).required();
    field.error = error;
    let form = Form::new(Text::key("register-title"), vec![field])
        .with_instructions(Text::key("code-sent").with("number", number));
    Step::Ask { form, state: serde_json::json!({ "number": number }), last: true }
}

fn who(net: &Loopback, call: &Call, host: &Host) -> Result<Step, DeliveryError> {
    let Address::Room(room) = &call.at else { return Err(unsupported()) };
    let of = SessionOf::new(call.user.clone(), crate::Addressing::network(&net.names, &call.at));
    let view = host.room(&of, room);
    let view = view.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut table = Table::new(vec![("nick".to_owned(), Text::key("column-nick"))]);
    table.rows = view.members().iter().map(|m| vec![m.nick().to_owned()]).collect();
    Ok(Step::Done { notes: Vec::new(), table: Some(table) })
}

/// Two pages: the first answer travels in the state.
fn survey(call: &Call) -> Step {
    let page = |key: &str, value: Option<&str>, state: serde_json::Value, last| {
        let choices = match key {
            "colour" => FieldKind::Choice(vec![("red".into(), "red".into()), ("blue".into(), "blue".into())]),
            _ => FieldKind::Number { min: 1, max: 60 },
        };
        let mut field = Field::new(key, choices).required();
        field.value.extend(value.map(str::to_owned));
        Step::Ask { form: Form::new(Text::key("survey-title"), vec![field]), state, last }
    };
    let at = |name: &str| call.state.get(name).and_then(|v| v.as_str());
    let answer = |values: &Values, key: &str| values.get(key).unwrap_or_default().to_owned();
    match (at("page"), call.action) {
        (None, _) => page("colour", None, serde_json::json!({ "page": "colour" }), false),
        (Some("size"), Action::Prev) => page("colour", at("colour"), serde_json::json!({ "page": "colour" }), false),
        (Some("colour"), _) => {
            let state = serde_json::json!({ "page": "size", "colour": answer(&call.values, "colour") });
            page("size", None, state, true)
        }
        (Some(_), _) => {
            let colour = at("colour").unwrap_or_default();
            Step::done(Text::key("survey-done").with("colour", colour).with("size", answer(&call.values, "size")))
        }
    }
}

fn store_away(error: StoreError) -> DeliveryError {
    DeliveryError::temporary(Failure::Unreachable, error.to_string())
}
