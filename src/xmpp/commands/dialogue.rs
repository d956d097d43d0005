//! One run of one command, whichever way it is shown: forms go out, answers come in and are checked, and one can go back.
//!
//! Going back is done here, from the forms that were kept with their answers; a bridge never sees it.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use isthmus_bridge::{
    Action, Call, Command, DeliveryError, Failure, FieldKind, Form, Note, Registration, Step, StoreError, Table, Text,
    Values,
};

use super::{BridgeRef, Caller, Desk, Effect, configure, own};
use crate::xmpp::forms;

/// A bridge that has not answered a step by then is taken for hung.
const STEP: Duration = Duration::from_secs(30);
/// Forms that one run shows, at most; a bridge that goes on asking for ever is stopped.
const FORMS: usize = 50;

/// What the person is shown next.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// A form. A field's `error` says what was wrong with its last answer.
    Ask {
        /// The form.
        form: Form,
        /// Whether one can go back.
        back: bool,
        /// Whether it is the last one.
        last: bool,
    },
    /// The end.
    Done {
        /// Words; never empty where there is no table.
        notes: Vec<Note>,
        /// Results.
        table: Option<Table>,
        /// Why it failed, where a failure has a name; the words stand in the notes.
        failure: Option<DeliveryError>,
    },
}

/// What the person is shown next, and what changed for others.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// What is shown.
    pub said: Said,
    /// What changed.
    pub effects: Vec<Effect>,
}

struct Shown {
    form: Form,
    state: serde_json::Value,
    last: bool,
}

/// One run of one command.
pub struct Dialogue {
    bridge: BridgeRef,
    command: Command,
    caller: Caller,
    shown: Vec<Shown>,
    given: Values,
    /// Only its first form is wanted: an end before the first answer records nothing.
    looks: bool,
}

impl Dialogue {
    /// Begins. The caller has been found to belong to the command's audience.
    pub async fn start(desk: &Desk, bridge: &BridgeRef, command: Command, caller: Caller) -> (Self, Turn) {
        Self::begun(desk, bridge, command, caller, false).await
    }

    /// Begins registration; `None` where there is none.
    pub(in crate::xmpp) async fn start_of(desk: &Desk, bridge: &BridgeRef, caller: Caller) -> Option<(Self, Turn)> {
        Some(Self::begun(desk, bridge, desk.find(bridge, own::REGISTER)?, caller, false).await)
    }

    /// The same, to see what it asks: one that ends without a question has registered nobody.
    pub(in crate::xmpp) async fn look_at(desk: &Desk, bridge: &BridgeRef, caller: Caller) -> Option<(Self, Turn)> {
        Some(Self::begun(desk, bridge, desk.find(bridge, own::REGISTER)?, caller, true).await)
    }

    async fn begun(desk: &Desk, bridge: &BridgeRef, command: Command, caller: Caller, looks: bool) -> (Self, Turn) {
        let (shown, given) = (Vec::new(), Values::new());
        let mut dialogue = Self { bridge: bridge.clone(), command, caller, shown, given, looks };
        let turn = dialogue.step(desk, Action::Start, serde_json::Value::Null, Values::new()).await;
        dialogue.looks = false;
        (dialogue, turn)
    }

    /// The command's node as it was begun.
    pub fn node(&self) -> &str {
        self.command.node
    }

    /// Its name for people.
    pub fn name(&self) -> &Text {
        &self.command.name
    }

    /// Whoever runs it.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The command that it runs now.
    pub(super) fn command(&self) -> &Command {
        &self.command
    }

    /// Whether its caller still may run it: rights end between two forms, too.
    pub(in crate::xmpp) fn is_allowed(&self, desk: &Desk) -> bool {
        // Who acts for somebody else does so as an administrator, with the other's commands.
        match self.caller.by == self.caller.user {
            true => desk.may(&self.bridge, &self.caller, &self.command),
            false => desk.office.is_admin(&self.caller.by),
        }
    }

    /// The form that waits for an answer; `None` after the end.
    pub fn form(&self) -> Option<&Form> {
        self.shown.last().map(|s| &s.form)
    }

    /// Whether the form that waits is the last one.
    pub fn last(&self) -> bool {
        self.shown.last().is_some_and(|s| s.last)
    }

    /// Whether one can go back.
    pub fn has_back(&self) -> bool {
        self.shown.len() > 1
    }

    /// Goes back to the form before, with what was filled in; `None` at the first.
    pub fn back(&mut self) -> Option<Said> {
        if !self.has_back() {
            return None;
        }
        self.shown.pop();
        self.ask()
    }

    /// Takes the answer to the form that waits. Wrong answers give the same form again, with the reasons.
    pub async fn answer(&mut self, desk: &Desk, given: &Values) -> Turn {
        let back = self.has_back();
        let Some(shown) = self.shown.last_mut() else { return Turn { said: finished(), effects: Vec::new() } };
        let settings = configure::is_form(&self.bridge, self.command.node);
        let checked = forms::check(&shown.form, given);
        let values = match checked.or_else(|form| if settings { forms::but_numbers(&form, given) } else { Err(form) }) {
            Ok(values) => values,
            Err(form) => return Turn { said: Said::Ask { form, back, last: shown.last }, effects: Vec::new() },
        };
        remember(&mut shown.form, &values, &mut self.given);
        let action = if shown.last { Action::Complete } else { Action::Next };
        let state = shown.state.clone();
        self.step(desk, action, state, values).await
    }

    async fn step(&mut self, desk: &Desk, action: Action, state: serde_json::Value, values: Values) -> Turn {
        let mut call = Call::start(self.command.node, self.caller.user.clone(), self.caller.at.clone());
        call.by = self.caller.by.clone();
        call.lang = self.caller.lang.clone();
        (call.action, call.state, call.values) = (action, state, values);
        let mut effects = Vec::new();
        let step = match self.run(desk, call).await {
            Ok(own::Answer::Step(step, of_it)) => {
                effects = of_it;
                Ok(step)
            }
            Ok(own::Answer::Become { node, user }) => return self.become_other(desk, &node, user).await,
            Err(error) => Err(error),
        };
        match step {
            Ok(Step::Ask { form, state, last }) => self.show(form, state, last).map_or_else(
                || Turn {
                    said: failed(DeliveryError::new(Failure::Unknown, Text::key("command.endless"))),
                    effects: Vec::new(),
                },
                |said| Turn { said, effects },
            ),
            Ok(Step::Done { notes, table }) => self.end(desk, notes, table, effects).await,
            Err(error) => {
                self.shown.clear();
                Turn { said: failed(error), effects }
            }
            // A kind of step that a newer contract has.
            Ok(_) => Turn { said: finished(), effects },
        }
    }

    /// Asks whoever has the command. A bridge that hangs or panics ends this run and nothing else.
    async fn run(&self, desk: &Desk, call: Call) -> Result<own::Answer, DeliveryError> {
        let bridge = &self.bridge.instance.bridge;
        if bridge.commands().iter().all(|c| c.node != call.node) || configure::is_form(&self.bridge, &call.node) {
            return own::step(desk, &self.bridge, &call).await;
        }
        let node = call.node.clone();
        let step = AssertUnwindSafe(bridge.step(call, &self.bridge.host)).catch_unwind();
        match tokio::time::timeout(STEP, step).await {
            Ok(Ok(step)) => step.map(|step| own::Answer::Step(step, Vec::new())),
            Ok(Err(_)) => {
                tracing::error!(bridge = self.bridge.name(), command = node, "a command of the bridge panicked");
                Err(DeliveryError::new(Failure::Unknown, Text::key("command.fault")))
            }
            Err(_) => {
                tracing::error!(bridge = self.bridge.name(), command = node, "a command of the bridge gave no answer");
                Err(DeliveryError::new(Failure::TimedOut, Text::key("command.timeout")))
            }
        }
    }

    /// An administrator goes on as another user, with another command.
    async fn become_other(&mut self, desk: &Desk, node: &str, user: isthmus_bridge::BareJid) -> Turn {
        let Some(command) = desk.find(&self.bridge, node) else {
            return Turn {
                said: failed(DeliveryError::new(Failure::Unsupported, Text::key("command.unknown"))),
                effects: Vec::new(),
            };
        };
        self.command = command;
        self.caller.user = user;
        self.shown.clear();
        self.given = Values::new();
        Box::pin(self.step(desk, Action::Start, serde_json::Value::Null, Values::new())).await
    }

    /// Whether the bridge has declared the command itself.
    fn is_bridges(&self) -> bool {
        self.bridge.instance.bridge.commands().iter().any(|c| c.node == self.command.node)
    }

    /// The core's own limits, beside those that a bridge tells of.
    async fn limits(&self, desk: &Desk) -> Result<Vec<Note>, StoreError> {
        let say = |text: &Text| desk.say(&self.bridge, text, &self.caller.lang);
        let lines = desk.office.usage(self.bridge.name(), &self.caller.user).await?;
        let line = |(what, used): &(Text, Text)| Text::key("used.line").with("what", say(what)).with("used", say(used));
        Ok(lines.iter().map(|both| Note::Info(line(both))).collect())
    }

    fn show(&mut self, form: Form, state: serde_json::Value, last: bool) -> Option<Said> {
        let again = form.fields.iter().any(|f| f.error.is_some());
        let next = Shown { form, state, last };
        if again {
            self.shown.pop();
        }
        if self.shown.len() >= FORMS {
            self.shown.clear();
            return None;
        }
        self.shown.push(next);
        self.ask()
    }

    fn ask(&self) -> Option<Said> {
        let shown = self.shown.last()?;
        Some(Said::Ask { form: shown.form.clone(), back: self.has_back(), last: shown.last })
    }

    /// The end: registration is recorded here, once for all bridges.
    async fn end(
        &mut self,
        desk: &Desk,
        mut notes: Vec<Note>,
        mut table: Option<Table>,
        mut effects: Vec<Effect>,
    ) -> Turn {
        self.shown.clear();
        if let Some(table) = &mut table {
            for cell in table.keys_mut() {
                *cell = desk.say(&self.bridge, &Text::key(std::mem::take(cell)), &self.caller.lang);
            }
        }
        if self.command.node == own::USAGE && self.is_bridges() {
            match self.limits(desk).await {
                Ok(lines) => notes.extend(lines),
                Err(error) => return Turn { said: failed(own::storage(&error)), effects },
            }
        }
        if self.looks {
            return Turn { said: Said::Done { notes, table, failure: None }, effects };
        }
        // An administrator who acted for somebody: that it is over, and whether it was done, is in the log too.
        if self.caller.by != self.caller.user {
            let act = format!("acted for: {}", self.command.node);
            if let Err(error) = own::audit(desk, &self.bridge, &self.caller, &act).await {
                return Turn { said: failed(own::storage(&error)), effects };
            }
        }
        let bad = notes.iter().any(|n| matches!(n, Note::Error(_)));
        let registers = self.command.node == own::REGISTER
            && self.bridge.instance.bridge.profile().registration != Registration::None;
        if registers
            && !bad
            && let Some(persons) = desk.persons(&self.bridge)
        {
            match persons.register(&self.caller.user, &self.given).await {
                Ok(true) => effects.push(Effect::Registered(self.caller.user.clone())),
                Ok(false) => {}
                Err(error) => return Turn { said: failed(own::storage(&error)), effects },
            }
        }
        let mut said = Said::Done { notes, table, failure: None };
        if let Said::Done { notes, table: None, .. } = &mut said
            && notes.is_empty()
        {
            notes.push(Note::Info(Text::key("command.done")));
        }
        Turn { said, effects }
    }
}

/// Keeps the answers in the form, for going back, and for the record of a registration. Secrets are kept in neither.
fn remember(form: &mut Form, values: &Values, given: &mut Values) {
    for field in &mut form.fields {
        field.error = None;
        if matches!(field.kind, FieldKind::Secret | FieldKind::Fixed) {
            continue;
        }
        let all = values.all(&field.key);
        field.value = all.to_vec();
        if field.kind != FieldKind::Hidden {
            given.set_all(field.key.clone(), all.to_vec());
        }
    }
}

fn failed(error: DeliveryError) -> Said {
    Said::Done { notes: vec![Note::Error(error.text.clone())], table: None, failure: Some(error) }
}

fn finished() -> Said {
    Said::Done { notes: vec![Note::Info(Text::key("command.done"))], table: None, failure: None }
}
