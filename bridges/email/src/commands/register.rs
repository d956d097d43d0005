//! `register`: an alias at the mail domain.

use isthmus_bridge::{
    Action, Call, ContactId, DeliveryError, Failure, Field, FieldKind, Form, Gateway, Step, Taken, Text,
};

use crate::alias::{self, BadAlias};
use crate::session::store_away;
use crate::{Mail, settings};

/// Field: the alias.
const ALIAS: &str = "alias";
/// Field: the name in `From`.
const NAME: &str = settings::NAME;

/// Asks for the alias and claims it. Registered users change theirs; the old one stays reserved for them.
pub(super) async fn step(mail: &Mail, call: &Call, host: &dyn Gateway) -> Result<Step, DeliveryError> {
    let own = host.identities(&call.user).await.map_err(store_away)?;
    let now = own.first().and_then(|own| own.as_str().split_once('@')).map(|(alias, _)| alias.to_owned());
    let typed = call.values.get(ALIAS).map(str::trim).filter(|a| !a.is_empty());
    let Some(typed) = typed else {
        if call.action == Action::Start || call.values.get(ALIAS).is_some() {
            let local = call.user.as_str().split('@').next().unwrap_or_default();
            return Ok(ask(mail, call, now.or_else(|| alias::proposal(local)), None));
        }
        return Ok(ask(mail, call, now, Some(Text::key("register.form"))));
    };
    let alias = match alias::read(typed) {
        Ok(alias) => alias,
        Err(BadAlias::Form) => return Ok(ask(mail, call, Some(typed.to_owned()), Some(Text::key("register.form")))),
        Err(BadAlias::Reserved) => {
            return Ok(ask(mail, call, Some(typed.to_owned()), Some(Text::key("register.reserved"))));
        }
    };
    let address = ContactId::new(format!("{alias}@{}", mail.config.mail_domain));
    match host.claim(&call.user, &address).await {
        Ok(()) => {}
        Err(Taken::ByOther) => return Ok(ask(mail, call, Some(alias), Some(Text::key("register.taken")))),
        Err(Taken::Store(error)) => return Err(store_away(error)),
        Err(_) => return Err(DeliveryError::new(Failure::Conflict, Text::key("register.taken"))),
    }
    for old in own.iter().filter(|old| **old != address) {
        host.release(&call.user, old).await.map_err(store_away)?;
    }
    if let Some(name) = call.values.get(NAME) {
        let name = Some(name.trim().to_owned()).filter(|n| !n.is_empty());
        let changes = vec![(NAME.to_owned(), name)];
        host.set(&call.user, &isthmus_bridge::Address::Gateway, changes).await.map_err(store_away)?;
    }
    Ok(Step::done(Text::key("register.done").with("address", &address)))
}

fn ask(mail: &Mail, call: &Call, alias: Option<String>, wrong: Option<Text>) -> Step {
    let mut field = Field::new(ALIAS, FieldKind::Line).required();
    field.value = alias.into_iter().collect();
    field.error = wrong;
    let mut name = Field::new(NAME, FieldKind::Line);
    name.value = call.values.get(NAME).map(str::to_owned).into_iter().collect();
    let form = Form::new(Text::key("register.title"), vec![field, name])
        .with_instructions(Text::key("register.instructions").with("domain", &mail.config.mail_domain));
    Step::Ask { form, state: serde_json::Value::Null, last: true }
}
