//! Commands: registration, the whole text of a mail, verdicts, strangers, lists, usage.

use isthmus_bridge::{Audience, Call, Command, DeliveryError, Failure, Host, Place, Step, Text};

use crate::Mail;

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
/// Leaves a list (RFC 8058); value [`MAIL`].
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
pub(crate) async fn step(_mail: &Mail, call: Call, _host: &Host) -> Result<Step, DeliveryError> {
    Err(DeliveryError::new(Failure::Unsupported, Text::key("no-such-command").with("command", call.node)))
}
