//! What administrators do: give numbers to users and take them away, see what reached nobody.

use isthmus_bridge::{
    Action, BareJid, Call, ContactId, DeliveryError, Failure, Field, FieldKind, Form, Gateway, Note, Step, Taken, Text,
    command::Table,
};
use serde_json::Value;

use crate::session::store_away;
use crate::{Texts, limits, state};

/// Gives a number to a user, for ever.
pub(super) async fn assign(texts: &Texts, call: &Call, host: &dyn Gateway) -> Result<Step, DeliveryError> {
    let (number, user) = match asked(texts, call) {
        Ok(both) => both,
        Err(form) => return Ok(*form),
    };
    if texts.config.numbers.iter().any(|n| n.shared && n.number == number) {
        return Err(DeliveryError::new(Failure::Conflict, Text::key("assign.shared").with("number", number)));
    }
    match host.claim(&user, &number).await {
        Ok(()) => Ok(Step::done(Text::key("assign.done").with("number", number).with("user", user))),
        Err(Taken::Store(error)) => Err(store_away(error)),
        Err(_) => Err(DeliveryError::new(Failure::Conflict, Text::key("register.taken").with("number", number))),
    }
}

/// Takes it away.
pub(super) async fn unassign(texts: &Texts, call: &Call, host: &dyn Gateway) -> Result<Step, DeliveryError> {
    let (number, user) = match asked(texts, call) {
        Ok(both) => both,
        Err(form) => return Ok(*form),
    };
    if host.owner(&number).await.map_err(store_away)?.as_ref() != Some(&user) {
        let text = Text::key("unassign.not-theirs").with("number", number).with("user", user);
        return Err(DeliveryError::new(Failure::NoSuchRecipient, text));
    }
    host.release(&user, &number).await.map_err(store_away)?;
    Ok(Step::done(Text::key("unassign.done").with("number", number).with("user", user)))
}

fn asked(texts: &Texts, call: &Call) -> Result<(ContactId, BareJid), Box<Step>> {
    let number = call.values.get("number").map(str::trim).unwrap_or_default();
    let user = call.values.get("user").map(str::trim).unwrap_or_default().to_lowercase();
    let read = texts.config.plan.typed(number).map(|n| n.contact());
    let good_user =
        user.split_once('@').is_some_and(|(l, d)| !l.is_empty() && !d.is_empty()) && !user.contains(['/', ' ']);
    let first = call.action == Action::Start && number.is_empty() && user.is_empty();
    match read {
        Some(number) if good_user => Ok((number, BareJid::from(user.as_str()))),
        read => {
            let mut fields =
                [Field::new("number", FieldKind::Line).required(), Field::new("user", FieldKind::Line).required()];
            if !first && read.is_none() {
                fields[0].error = Some(Text::key("register.number-wrong"));
            }
            if !first && !good_user {
                fields[1].error = Some(Text::key("assign.user-wrong"));
            }
            let form = Form::new(Text::key("assign.title"), fields.into());
            Err(Box::new(Step::Ask { form, state: Value::Null, last: true }))
        }
    }
}

/// Texts that users' servers gave back for good. What they say is their users' alone.
pub(super) async fn lost(host: &dyn Gateway) -> Result<Step, DeliveryError> {
    let mut all = state::all_lost(host, None).await.map_err(store_away)?;
    all.sort_by_key(|entry| entry.at);
    let column = |name: &str| (name.to_owned(), Text::key(format!("lost.{name}")));
    let mut table = Table::new(vec![column("at"), column("user"), column("peer"), column("why")]);
    table.rows.extend(all.into_iter().map(|entry| vec![limits::moment(entry.at), entry.user, entry.peer, entry.why]));
    let note = if table.rows.is_empty() { "lost.none" } else { "lost.title" };
    Ok(Step::Done { notes: vec![Note::Info(Text::key(note))], table: Some(table) })
}
