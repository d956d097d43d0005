//! Commands: registration, the whole text of a mail, verdicts, strangers, lists, usage.

mod mails;
mod register;
mod strangers;

use isthmus_bridge::{
    Address, Audience, Call, Command, ContactId, DeliveryError, Failure, Field, FieldKind, Form, Gateway, Host, Place,
    Step, Text, command::Table,
};

use crate::session::store_away;
use crate::{Mail, meter, state};

/// Registration (XEP-0077): chooses the alias.
pub(crate) const REGISTER: &str = "register";
/// The whole text of a mail; value [`MAIL`].
pub(crate) const FULL: &str = "full";
/// What the checks of its sender said; value [`MAIL`].
pub(crate) const VERDICT: &str = "verdict";
/// Releases what a stranger sent, and lets them write; value [`CONTACT`].
pub(crate) const ACCEPT: &str = "accept";
/// Nothing more from them; value [`CONTACT`].
pub(crate) const BLOCK: &str = "block";
/// Leaves a list (RFC 8058, or by mail); value [`MAIL`].
pub(crate) const UNSUBSCRIBE: &str = "unsubscribe";
/// What was used of the daily limits.
pub(crate) const USAGE: &str = "usage";

/// Value: the id of a kept mail (see [`crate::state::keep_mail`]).
pub(crate) const MAIL: &str = "mail";
/// Value: a contact's address.
pub(crate) const CONTACT: &str = "contact";

/// All of them.
pub(crate) fn all() -> Vec<Command> {
    use Place::{Contact, Gateway};
    const BOTH: &[Place] = &[Gateway, Contact];
    vec![
        Command::new(REGISTER, &[Gateway], Audience::Anyone),
        Command::new(FULL, BOTH, Audience::Registered),
        Command::new(VERDICT, BOTH, Audience::Registered),
        Command::new(ACCEPT, BOTH, Audience::Registered),
        Command::new(BLOCK, BOTH, Audience::Registered),
        Command::new(UNSUBSCRIBE, BOTH, Audience::Registered),
        Command::new(USAGE, &[Gateway], Audience::Registered),
    ]
}

/// One step of one of them.
pub(crate) async fn step(mail: &Mail, call: Call, host: &Host) -> Result<Step, DeliveryError> {
    match call.node.as_str() {
        REGISTER => register::step(mail, &call, host.as_ref()).await,
        FULL => mails::full(&call, host.as_ref()).await,
        VERDICT => mails::verdict(&call, host.as_ref()).await,
        UNSUBSCRIBE => mails::unsubscribe(mail, &call, host.as_ref()).await,
        ACCEPT => strangers::accept(&call, host.as_ref()).await,
        BLOCK => strangers::block(&call, host.as_ref()).await,
        USAGE => usage(mail, &call, host.as_ref()).await,
        _ => Err(DeliveryError::new(Failure::Unsupported, Text::key("no-such-command").with("command", &call.node))),
    }
}

async fn usage(mail: &Mail, call: &Call, host: &dyn Gateway) -> Result<Step, DeliveryError> {
    let used = state::usage(host, &call.user).await.map_err(store_away)?;
    let limits = &mail.config.limits;
    let column = |name: &str| (name.to_owned(), Text::key(format!("usage.{name}")));
    let mut table = Table::new(vec![column("what"), column("used"), column("limit")]).keyed("what");
    for (what, used, limit) in [
        ("usage.mails", used.messages, limits.messages_per_day),
        ("usage.recipients", used.recipients, limits.recipients_per_day),
        ("usage.kib", used.bytes / 1024, limits.bytes_per_day / 1024),
    ] {
        table.rows.push(vec![what.to_owned(), used.to_string(), limit.to_string()]);
    }
    let (hours, minutes) = meter::until_midnight(host.now());
    let text = Text::key("usage.today").with("hours", hours).with("minutes", minutes);
    Ok(Step::Done { notes: vec![isthmus_bridge::Note::Info(text)], table: Some(table) })
}

/// The contact that a command is about: the one it was called on, or the one in the form.
fn contact_of(mail: &Call) -> Option<ContactId> {
    match (&mail.at, mail.values.get(CONTACT)) {
        (_, Some(typed)) => crate::address::Mailbox::parse(typed.trim()).ok().map(|m| m.contact()),
        (Address::Contact(contact), None) => Some(contact.clone()),
        _ => None,
    }
}

/// A form that asks to choose one of these.
fn choose(title: &'static str, key: &str, choices: Vec<(String, Text)>) -> Step {
    let field = Field::new(key, FieldKind::Choice(choices)).required();
    Step::Ask { form: Form::new(Text::key(title), vec![field]), state: serde_json::Value::Null, last: true }
}
