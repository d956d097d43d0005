//! A command run for a user from the command line: its forms are filled in beforehand, or it says what it would ask.

use isthmus_bridge::{Address, Audience, BareJid, Field, FieldKind, Form, Lang, Note, Table, Text, Values};

use super::core::{Core, Served};
use super::dialogue::reference;
use crate::admin::control::{ActRequest, Acted};
use crate::xmpp::commands::{Caller, Dialogue, Effect, Said, at_the_command_line};

/// More forms than that no command has.
const FORMS: usize = 50;

impl Core {
    /// Runs a command to its end.
    ///
    /// # Errors
    /// In words for the administrator; then nothing was done by the form that they are about.
    pub(super) async fn act_for(
        &self,
        served: &std::sync::Arc<Served>,
        user: BareJid,
        request: ActRequest,
    ) -> Result<(Acted, Vec<Effect>), String> {
        let at = match &request.at {
            None => Address::Gateway,
            Some(typed) => {
                let settings = served.persons().resolved(&user, &Address::Gateway);
                let addressing = served.instance.bridge.addressing();
                addressing.prompt_for(typed, &settings).map_err(|e| e.to_string())?
            }
        };
        // One person at the command line is as good as another; some commands let an administrator do more.
        let mut caller = Caller::new(user, at, Lang::default());
        if let Some(admin) = served.access().admins.first() {
            caller.by = admin.clone();
        }
        at_the_command_line(self.run_through(served, caller, request)).await
    }

    async fn run_through(
        &self,
        served: &std::sync::Arc<Served>,
        caller: Caller,
        request: ActRequest,
    ) -> Result<(Acted, Vec<Effect>), String> {
        let (desk, bridge) = (served.dialogues().desk(), reference(served));
        let all = desk.offered(&bridge, &caller).into_iter().filter(|c| c.audience != Audience::Admin);
        let mut offered: Vec<_> = all.collect();
        let Some(place) = offered.iter().position(|c| c.node == request.command) else {
            let known: Vec<&str> = offered.iter().map(|c| c.node).collect();
            let user = &caller.user;
            return Err(format!(
                "{user} has no command {:?} there: expected one of {}",
                request.command,
                known.join(", ")
            ));
        };
        let mut rest = request.values;
        let (mut dialogue, mut turn) = Dialogue::start(desk, &bridge, offered.swap_remove(place), caller).await;
        let mut effects = Vec::new();
        for _ in 0..FORMS {
            effects.append(&mut turn.effects);
            let (form, last) = match turn.said {
                Said::Ask { form, last, .. } => (form, last),
                Said::Done { notes, table, .. } => return Ok((self.said(served, &notes, table.as_ref())?, effects)),
            };
            let (given, left) = fill(&form, rest);
            rest = left;
            let say = |text: &Text| self.words(served, text, &Lang::default());
            if let Some(wrong) = form.fields.iter().find(|f| f.error.is_some()) {
                return Err(self.asks(&form, wrong, say));
            }
            if let Some(missing) = form.fields.iter().find(|f| needed(f, &given)) {
                return Err(self.asks(&form, missing, say));
            }
            if last && let Some((key, _)) = rest.first() {
                let known: Vec<&str> = form.fields.iter().filter(|f| asked(f)).map(|f| f.key.as_str()).collect();
                return Err(format!("the form has no field {key:?}: expected {}", known.join(", ")));
            }
            turn = dialogue.answer(desk, &given).await;
        }
        Err("the command does not end".to_owned())
    }

    /// A field that was left out, or filled in wrongly.
    fn asks(&self, form: &Form, field: &Field, say: impl Fn(&Text) -> String) -> String {
        let mut words = match &field.error {
            Some(error) => format!("{}: {}", field.key, say(error)),
            None => format!("{}=… is needed: {}", field.key, say(&field.label)),
        };
        if let FieldKind::Choice(choices) | FieldKind::Choices(choices) = &field.kind {
            let values: Vec<&str> = choices.iter().map(|(value, _)| value.as_str()).collect();
            words += &format!(" (one of {})", values.join(", "));
        }
        let others: Vec<&str> =
            form.fields.iter().filter(|f| asked(f) && f.key != field.key).map(|f| f.key.as_str()).collect();
        if !others.is_empty() {
            words += &format!("; the same form asks for {}", others.join(", "));
        }
        words
    }

    fn said(&self, served: &Served, notes: &[Note], table: Option<&Table>) -> Result<Acted, String> {
        let say = |text: &Text| self.words(served, text, &Lang::default());
        let mut acted = Acted { notes: Vec::new(), columns: Vec::new(), rows: Vec::new() };
        for note in notes {
            match note {
                Note::Error(text) => return Err(say(text)),
                Note::Info(text) | Note::Warn(text) => acted.notes.push(say(text)),
                _ => {}
            }
        }
        if let Some(table) = table {
            acted.columns = table.columns.iter().map(|(_, title)| say(title)).collect();
            acted.rows.clone_from(&table.rows);
        }
        Ok(acted)
    }
}

fn asked(field: &Field) -> bool {
    !matches!(field.kind, FieldKind::Fixed | FieldKind::Hidden)
}

fn needed(field: &Field, given: &Values) -> bool {
    asked(field) && field.required && field.value.iter().all(String::is_empty) && given.get(&field.key).is_none()
}

/// What is given for this form, and what is left for those behind it.
fn fill(form: &Form, given: Vec<(String, String)>) -> (Values, Vec<(String, String)>) {
    let mut filled = Values::new();
    // What is not given stays as it is proposed, as where somebody looks at the form and sends it.
    for field in form.fields.iter().filter(|f| f.kind != FieldKind::Secret && !f.value.is_empty()) {
        filled.set_all(field.key.clone(), field.value.clone());
    }
    let (here, left): (Vec<_>, Vec<_>) =
        given.into_iter().partition(|(key, _)| form.fields.iter().any(|f| asked(f) && f.key == *key));
    for field in &form.fields {
        let own: Vec<String> = here.iter().filter(|(key, _)| *key == field.key).map(|(_, v)| v.clone()).collect();
        if !own.is_empty() {
            filled.set_all(field.key.clone(), own);
        }
    }
    (filled, left)
}
