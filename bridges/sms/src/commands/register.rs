//! `register`: a number of the user's own, confirmed with a code that is texted to it, or a number that users share.

use isthmus_bridge::{
    Action, BareJid, Call, ContactId, DeliveryError, Failure, Field, FieldKind, Form, Host, Sent, Step, Taken, Text,
};
use rand::Rng;
use serde_json::json;

use crate::carry::{self, Sending};
use crate::outgoing::cost;
use crate::session::store_away;
use crate::state::{self, Code};
use crate::translate::number::Number;
use crate::{Texts, limits};

/// Field: the number to claim.
const NUMBER: &str = "number";
/// Field: the code that was texted to it.
const CODE: &str = "code";
/// Wrong codes, after which a new one has to be asked for.
const WRONG: u32 = 5;
/// Codes a day, to one number and for one user.
const CODES: u32 = 5;

/// One step.
pub(super) async fn step(texts: &Texts, call: &Call, host: &Host) -> Result<Step, DeliveryError> {
    if call.state.get("code").is_some() && call.action != Action::Prev {
        return confirm(texts, call, host).await;
    }
    let own = host.identities(&call.user).await.map_err(store_away)?;
    let assigned = |n: &&crate::config::OwnNumber| n.user.as_ref() == Some(&call.user);
    if let Some(number) = texts.config.numbers.iter().find(assigned) {
        // The administrator has said so; saying yes is enough.
        if !own.contains(&number.number) {
            claim(host, &call.user, &number.number).await?;
        }
        return Ok(Step::done(Text::key("register.done").with("number", &number.number)));
    }
    let shared = texts.config.numbers.iter().find(|n| n.shared);
    // An administrator who acts for a user gives the number; no code has to be read from a phone.
    let by_admin = call.by != call.user && host.admins().contains(&call.by);
    let typed = call.values.get(NUMBER).map(str::trim).filter(|t| !t.is_empty());
    match (typed, shared) {
        (Some(typed), _) if by_admin => give(texts, call, host, typed).await,
        (None, None) if by_admin => Ok(ask_number(None, true, None)),
        _ if !texts.config.claim && shared.is_none() && own.is_empty() => {
            Err(DeliveryError::new(Failure::Forbidden, Text::key("register.ask-admin")))
        }
        // Nothing to fill in.
        (None, _) if !own.is_empty() && call.action != Action::Start => {
            Ok(Step::done(Text::key("register.done").with("number", &own[0])))
        }
        (None, Some(shared)) if call.action != Action::Start || !texts.config.claim => {
            Ok(Step::done(Text::key("register.shared").with("number", &shared.number)))
        }
        (None, _) => {
            let wrong = (call.action != Action::Start).then(|| Text::key("register.number-wrong"));
            Ok(ask_number(own.first().map(ToString::to_string), shared.is_some(), wrong))
        }
        (Some(typed), _) if own.iter().any(|o| texts.config.plan.typed(typed).is_some_and(|n| n.contact() == *o)) => {
            Ok(Step::done(Text::key("register.done").with("number", typed)))
        }
        (Some(_), _) if !texts.config.claim => {
            Err(DeliveryError::new(Failure::Forbidden, Text::key("register.ask-admin")))
        }
        (Some(typed), _) => send_code(texts, call, host, typed, shared.is_some()).await,
    }
}

/// What an administrator says counts.
async fn give(texts: &Texts, call: &Call, host: &Host, typed: &str) -> Result<Step, DeliveryError> {
    let number = texts.config.plan.typed(typed).map(|n| n.contact());
    let free = |n: &ContactId| !texts.config.numbers.iter().any(|own| own.shared && own.number == *n);
    match number.filter(free) {
        Some(number) => {
            claim(host, &call.user, &number).await?;
            Ok(Step::done(Text::key("register.done").with("number", number)))
        }
        None => Ok(ask_number(Some(typed.chars().take(40).collect()), true, Some(Text::key("register.number-wrong")))),
    }
}

fn ask_number(value: Option<String>, shared: bool, wrong: Option<Text>) -> Step {
    let mut field = Field::new(NUMBER, FieldKind::Line);
    field.required = !shared;
    field.value = value.into_iter().collect();
    field.error = wrong;
    let words = if shared { "register.instructions-shared" } else { "register.instructions" };
    let form = Form::new(Text::key("register.title"), vec![field]).with_instructions(Text::key(words));
    Step::Ask { form, state: json!(null), last: shared }
}

/// Texts a code to the number, which counts as a text of the user's. Neither a number nor a user is sent many.
async fn send_code(texts: &Texts, call: &Call, host: &Host, typed: &str, shared: bool) -> Result<Step, DeliveryError> {
    if !host.may_send(&call.by) {
        return Err(DeliveryError::new(Failure::Forbidden, Text::key("register.ask-admin")));
    }
    let refused = |why: Text| Ok(ask_number(Some(typed.chars().take(40).collect()), shared, Some(why)));
    let again = |name: &'static str| refused(Text::key(name));
    let Some(number @ Number::Full(_)) = texts.config.plan.typed(typed) else { return again("register.number-wrong") };
    if !texts.config.limits.is_open(&number) {
        return again("register.number-closed");
    }
    let contact = number.contact();
    if is_the_gateways(texts, &contact) {
        return refused(Text::key("register.taken").with("number", contact));
    }
    // Taken numbers are found out only by who can read the code: no list of them can be made by asking.
    let counts = [number.to_string(), format!("for {}", call.user)];
    let mut changes = Vec::new();
    for whose in &counts {
        let count = state::codes_today(host.as_ref(), whose).await.map_err(store_away)?;
        if count >= CODES {
            let left = limits::until_midnight(host.now());
            let text = Text::key("register.too-many").with("hours", left.as_secs() / 3600 + 1);
            return Err(DeliveryError::new(Failure::OverQuota, text));
        }
        changes.push(state::count_code(host.now(), whose, count + 1));
    }
    let code = format!("{:06}", rand::rng().random_range(0..1_000_000));
    let own = texts.config.numbers.iter().find(|n| n.shared).or(texts.config.numbers.first());
    let own = own.map_or_else(|| number.contact(), |n| n.number.clone());
    if state::opted_out(host.as_ref(), &own, &contact).await.map_err(store_away)? {
        let text = Text::key("opted-out").with("number", number);
        return Err(DeliveryError::new(Failure::Forbidden, text));
    }
    let key = hex::encode(&host.mac("code", format!("{} {code}", call.user).as_bytes())[..12]);
    let sending = Sending {
        key,
        own,
        to: vec![number.clone()],
        text: format!("{}: {code}", texts.config.title),
        media: Vec::new(),
    };
    let price = cost(texts, &sending);
    texts.meter.take(host.as_ref(), &texts.config.limits, &call.user, price).await?;
    let kept = Code { number: number.to_string(), code, wrong: 0 };
    changes.push(state::keep_code(host.as_ref(), &call.user, &kept).map_err(store_away)?);
    host.store(changes).await.map_err(store_away)?;
    if let Err(error) = carry::carry(texts, host, &call.user, &sending, 0).await {
        if error.sent == Sent::No {
            texts.meter.give_back(host.as_ref(), &call.user, price).await;
        }
        return Err(error);
    }
    Ok(ask_code(number.as_str(), None))
}

fn ask_code(number: &str, wrong: Option<Text>) -> Step {
    let mut field = Field::new(CODE, FieldKind::Line).required();
    field.error = wrong;
    let form = Form::new(Text::key("register.title"), vec![field])
        .with_instructions(Text::key("register.code-sent").with("number", number));
    Step::Ask { form, state: json!({"code": number}), last: true }
}

async fn confirm(texts: &Texts, call: &Call, host: &Host) -> Result<Step, DeliveryError> {
    let shown = call.state["code"].as_str().and_then(|n| texts.config.plan.typed(n)).map(|n| n.to_string());
    let Some(mut kept) = state::code(host.as_ref(), &call.user).await.map_err(store_away)? else {
        return Ok(ask_code(&shown.unwrap_or_default(), Some(Text::key("register.code-old"))));
    };
    if kept.wrong >= WRONG {
        return Ok(ask_code(&kept.number, Some(Text::key("register.code-old"))));
    }
    let typed: String =
        call.values.get(CODE).unwrap_or_default().chars().filter(char::is_ascii_digit).take(12).collect();
    if typed != kept.code {
        kept.wrong += 1;
        let change = state::keep_code(host.as_ref(), &call.user, &kept).map_err(store_away)?;
        host.store(vec![change]).await.map_err(store_away)?;
        return Ok(ask_code(&kept.number, Some(Text::key("register.code-wrong"))));
    }
    let number = ContactId::from(kept.number.as_str());
    host.store(vec![state::drop_code(&call.user)]).await.map_err(store_away)?;
    if is_the_gateways(texts, &number) {
        return Err(taken(&number));
    }
    claim(host, &call.user, &number).await?;
    Ok(Step::done(Text::key("register.done").with("number", number)))
}

/// Whether the configuration says whose it is. A code proves nothing there: it comes in by the gateway itself, where answers to a shared number go
/// to whoever wrote last.
fn is_the_gateways(texts: &Texts, number: &ContactId) -> bool {
    texts.config.numbers.iter().any(|own| own.number == *number)
}

/// Numbers are never re-assigned.
pub(super) async fn claim(host: &Host, user: &BareJid, number: &ContactId) -> Result<(), DeliveryError> {
    host.claim(user, number).await.map_err(|error| match error {
        Taken::Store(error) => store_away(error),
        _ => taken(number),
    })
}

fn taken(number: &ContactId) -> DeliveryError {
    DeliveryError::new(Failure::Conflict, Text::key("register.taken").with("number", number))
}
