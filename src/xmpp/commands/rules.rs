//! `access`: the rules that say who may do what on this bridge: shown, tried out, given and taken away.

use isthmus_bridge::{Call, Field, FieldKind, Form, Note, Step, StoreError, Table, Text};
use serde_json::json;

use super::admin::audit_act;
use super::own::{Answer, done};
use super::{BridgeRef, Desk};
use crate::access::{Pattern, Tier};
use crate::router::Party;

/// First what to do, then with whom.
pub(super) async fn step(desk: &Desk, bridge: &BridgeRef, call: &Call) -> Result<Answer, StoreError> {
    let what = call.state["do"].as_str().or_else(|| call.values.get("do")).map(str::to_owned);
    match (what.as_deref(), call.values.get("match")) {
        (None, _) => Ok(menu()),
        (Some("list"), _) => list(desk).await,
        (Some(what), None) => Ok(ask(what, None)),
        (Some("try"), Some(typed)) => Ok(match Party::parse(typed) {
            Some(party) => {
                let tier = Text::key(key(desk.office.tier(&party.bare())));
                let tier = desk.say(bridge, &tier, &call.lang);
                done(Text::key("access.is").with("user", party.bare()).with("tier", tier), Vec::new())
            }
            None => ask("try", Some((typed, Text::key("users.not-jid")))),
        }),
        (Some(what), Some(typed)) => match Pattern::new(typed) {
            Ok(pattern) => act(desk, bridge, call, what, &pattern).await,
            Err(why) => Ok(ask(what, Some((typed, Text::key("access.no-pattern").with("reason", why))))),
        },
    }
}

fn menu() -> Answer {
    let choices = ["list", "try", "add", "remove"];
    let choices = choices.map(|what| (what.to_owned(), Text::key(format!("access.{what}")))).to_vec();
    let field =
        Field::new("do", FieldKind::Choice(choices)).with_label(Text::key("field.do")).required().with_value("list");
    Step::Ask { form: Form::new(Text::key("command.access"), vec![field]), state: json!(null), last: false }.into()
}

fn ask(what: &str, wrong: Option<(&str, Text)>) -> Answer {
    let label = if what == "try" { "field.user" } else { "field.match" };
    let mut field = Field::new("match", FieldKind::Line).with_label(Text::key(label)).required();
    if let Some((typed, reason)) = wrong {
        field = field.with_value(typed).with_error(reason);
    }
    let mut fields = vec![field];
    if what == "add" {
        let tiers = Tier::NAMES.map(|name| (name.to_owned(), Text::key(format!("tier.{name}")))).to_vec();
        fields.push(Field::new("tier", FieldKind::Choice(tiers)).with_label(Text::key("field.tier")).required());
    }
    Step::Ask { form: Form::new(Text::key("command.access"), fields), state: json!({"do": what}), last: true }.into()
}

async fn list(desk: &Desk) -> Result<Answer, StoreError> {
    let columns = [("match", "field.match"), ("tier", "field.tier"), ("from", "field.from")];
    let columns = columns.into_iter().map(|(key, label)| (key.to_owned(), Text::key(label))).collect();
    let mut table = Table::new(columns).keyed("tier").keyed("from");
    let line = |(pattern, tier, own): (String, Tier, bool)| {
        vec![pattern, key(tier), if own { "access.by-command" } else { "access.by-file" }.to_owned()]
    };
    table.rows = desk.office.rules().await?.into_iter().map(line).collect();
    Ok(Step::Done { notes: vec![Note::Info(Text::key("access.words"))], table: Some(table) }.into())
}

async fn act(
    desk: &Desk,
    bridge: &BridgeRef,
    call: &Call,
    what: &str,
    pattern: &Pattern,
) -> Result<Answer, StoreError> {
    let tier = (what == "add").then(|| call.values.get("tier").and_then(Tier::by_name).unwrap_or(Tier::Blocked));
    if !desk.office.set_rule(pattern, tier).await? {
        return Ok(done(Text::key("access.unknown").with("match", pattern), Vec::new()));
    }
    let act = match tier {
        Some(tier) => format!("access add {}", tier.name()),
        None => "access remove".to_owned(),
    };
    audit_act(desk, bridge, call, &act, Some(&pattern.to_string())).await?;
    Ok(done(Text::key("access.done").with("match", pattern), Vec::new()))
}

/// The text of a tier's name.
fn key(tier: Tier) -> String {
    format!("tier.{}", tier.name())
}
