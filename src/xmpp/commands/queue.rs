//! `queue`: what waits and why; cancel, or try now.

use isthmus_bridge::{Action, BareJid, Call, DeliveryKey, Field, FieldKind, Form, Note, Step, StoreError, Text};

use super::office::Waiting;
use super::own::{Answer, done};
use super::{BridgeRef, Desk};
use crate::translate::stamp::stamp;

/// `of`: whose queue; `None`: everybody's.
pub(super) async fn step(
    desk: &Desk,
    bridge: &BridgeRef,
    call: &Call,
    of: Option<&BareJid>,
) -> Result<Answer, StoreError> {
    if call.action != Action::Start {
        return act(desk, bridge, call, of).await;
    }
    let waiting = desk.office.waiting(bridge.name(), of).await?;
    if waiting.is_empty() {
        return Ok(done(Text::key("queue.empty"), Vec::new()));
    }
    let choices = waiting.iter().map(|w| (w.key.to_string(), label(desk, bridge, call, w, of.is_none()))).collect();
    let acts = [
        ("leave", Text::key("queue.leave")),
        ("retry", Text::key("queue.retry")),
        ("cancel", Text::key("queue.cancel")),
    ];
    let acts = acts.into_iter().map(|(value, label)| (value.to_owned(), label)).collect();
    let fields = vec![
        Field::new("events", FieldKind::Choices(choices)).with_label(Text::key("field.events")),
        Field::new("do", FieldKind::Choice(acts)).with_label(Text::key("field.do")).required().with_value("leave"),
    ];
    let form = Form::new(Text::key("command.queue"), fields).with_instructions(Text::key("queue.words"));
    Ok(Step::Ask { form, state: serde_json::Value::Null, last: true }.into())
}

fn label(desk: &Desk, bridge: &BridgeRef, call: &Call, waiting: &Waiting, whose: bool) -> Text {
    let to = if whose { format!("{} → {}", waiting.user, waiting.to) } else { waiting.to.clone() };
    let since = stamp(waiting.since);
    match &waiting.reason {
        Some(reason) => Text::key("queue.tried")
            .with("to", to)
            .with("since", since)
            .with("tries", waiting.tries)
            .with("reason", desk.say(bridge, reason, &call.lang))
            .with("next", waiting.next.map(stamp).unwrap_or_else(|| "–".to_owned())),
        None => Text::key("queue.waits").with("to", to).with("since", since),
    }
}

async fn act(desk: &Desk, bridge: &BridgeRef, call: &Call, of: Option<&BareJid>) -> Result<Answer, StoreError> {
    let what = call.values.get("do").unwrap_or("leave");
    let (mut good, mut late) = (0u32, 0u32);
    for key in call.values.all("events") {
        let key = DeliveryKey::new(key.as_str());
        let done = match what {
            "cancel" => desk.office.cancel(bridge.name(), of, &key).await?,
            "retry" => desk.office.retry(bridge.name(), of, &key).await?,
            _ => continue,
        };
        *(if done { &mut good } else { &mut late }) += 1;
    }
    if of.is_none() && what != "leave" {
        super::admin::audit_act(desk, bridge, call, &format!("queue {what}"), Some(&format!("{good}"))).await?;
    }
    let mut notes = Vec::new();
    match what {
        "cancel" if good > 0 => notes.push(Note::Info(Text::key("queue.cancelled").with("count", good))),
        "retry" if good > 0 => notes.push(Note::Info(Text::key("queue.retried").with("count", good))),
        _ if late == 0 => notes.push(Note::Info(Text::key("queue.left"))),
        _ => {}
    }
    if late > 0 {
        notes.push(Note::Error(Text::key("queue.late").with("count", late)));
    }
    Ok(Step::Done { notes, table: None }.into())
}
