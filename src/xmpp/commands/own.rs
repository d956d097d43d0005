//! The commands that the core has for every bridge.

use isthmus_bridge::{
    Audience, BareJid, Call, Command, DeliveryError, Failure, Mode, Place, Profile, Registration, Step, StoreError,
    Text,
};

use super::{BridgeRef, Desk, Effect, account, admin, bookmark, configure, history, people, queue, rules};

pub(super) const REGISTER: &str = "register";
pub(super) const UNREGISTER: &str = "unregister";
pub(super) const CONFIGURE: &str = "configure";
pub(super) const HISTORY: &str = "history";
pub(super) const USAGE: &str = "usage";
pub(super) const BOOKMARK: &str = "bookmark";

/// What the core answers to a step.
pub(super) enum Answer {
    /// The step, and what it changed for others.
    Step(Step, Vec<Effect>),
    /// Go on with this command as this user.
    Become {
        /// Which command.
        node: String,
        /// As whom.
        user: BareJid,
    },
}

impl From<Step> for Answer {
    fn from(step: Step) -> Self {
        Self::Step(step, Vec::new())
    }
}

/// Finished, with one sentence and what it changed.
pub(super) fn done(text: Text, effects: Vec<Effect>) -> Answer {
    Answer::Step(Step::done(text), effects)
}

/// The core's commands for a bridge of this profile.
pub(super) fn commands(profile: &Profile) -> Vec<Command> {
    const HERE: &[Place] = &[Place::Gateway];
    const ANYWHERE: &[Place] = &[Place::Gateway, Place::Network, Place::Room, Place::Contact];
    use Audience::{Admin, Registered};
    let mut all = Vec::new();
    if profile.registration != Registration::None {
        all.push(Command::new(REGISTER, HERE, Audience::Anyone));
        all.push(Command::new(UNREGISTER, HERE, Registered));
    }
    all.push(Command::new(CONFIGURE, ANYWHERE, Registered));
    all.push(Command::new("contacts", HERE, Registered));
    if profile.mode == Mode::Held {
        all.push(Command::new("queue", HERE, Registered));
    }
    if profile.rooms {
        all.push(Command::new(BOOKMARK, &[Place::Room], Audience::Anyone));
    }
    all.push(Command::new(HISTORY, &[Place::Gateway, Place::Contact], Registered));
    all.push(Command::new(USAGE, HERE, Registered));
    all.push(Command::new("export", HERE, Registered));
    all.push(Command::new("delete", HERE, Registered));
    for node in
        ["users", "status", "queue-all", "announce", "access", "log-level", "audit", "version", "reload", "rotate-key"]
    {
        if node != "queue-all" || profile.mode == Mode::Held {
            all.push(Command::new(node, HERE, Admin));
        }
    }
    all
}

/// One step of one of them.
pub(super) async fn step(desk: &Desk, bridge: &BridgeRef, call: &Call) -> Result<Answer, DeliveryError> {
    let answer = match call.node.as_str() {
        node if configure::is_form(bridge, node) => configure::step(desk, bridge, call).await,
        REGISTER => Ok(account::register()),
        UNREGISTER | "delete" => account::leave(desk, bridge, call).await,
        "contacts" => people::step(desk, bridge, call).await,
        "queue" => queue::step(desk, bridge, call, Some(&call.user)).await,
        BOOKMARK => bookmark::step(desk, bridge, call).await,
        HISTORY => history::step(desk, bridge, call).await,
        USAGE => account::usage(desk, bridge, call).await,
        "export" => account::export(desk, bridge, call).await,
        "users" => admin::users(desk, bridge, call).await,
        "status" => admin::status(desk, bridge, call).await,
        "queue-all" => queue::step(desk, bridge, call, None).await,
        "announce" => admin::announce(desk, bridge, call).await,
        "access" => rules::step(desk, bridge, call).await,
        "log-level" => admin::log_level(desk, bridge, call).await,
        "audit" => admin::audit(desk).await,
        "version" => Ok(Step::done(Text::plain(desk.office.version())).into()),
        "reload" => admin::reload(desk, bridge, call).await,
        "rotate-key" => admin::rotate_key(desk, bridge, call).await,
        _ => return Err(DeliveryError::new(Failure::Unsupported, Text::key("command.unknown"))),
    };
    answer.map_err(|error| storage(&error))
}

/// Writes the end of what an administrator did for a user.
pub(super) async fn audit(
    desk: &Desk,
    bridge: &BridgeRef,
    caller: &super::Caller,
    act: &str,
) -> Result<(), StoreError> {
    let mut call = Call::start("", caller.user.clone(), caller.at.clone());
    call.by = caller.by.clone();
    admin::audit_for_other(desk, bridge, &call, act).await
}

/// The store failed, in words for people; its own words go to the log.
pub(super) fn storage(error: &StoreError) -> DeliveryError {
    tracing::warn!(%error, "a command could not reach the store");
    DeliveryError::temporary(Failure::Unreachable, Text::key("error.storage"))
}
