//! Registration (XEP-0077), mapped on the command of node `register`: a data form, the predefined fields for clients without forms, `<remove/>`.

use isthmus_bridge::{Address, Field, FieldKind, Form, Lang, Note, Registration, StoreError, Text, Values};
use minidom::Element;

use super::commands::{BridgeRef, Caller, Desk, Dialogue, Effect, Said, remove};
use super::errors::StanzaError;
use super::{forms, ns};
use crate::router::Party;

/// The predefined fields of XEP-0077's schema.
const FIELDS: [&str; 17] = [
    "username", "nick", "password", "name", "first", "last", "email", "address", "city", "state", "zip", "phone",
    "url", "date", "misc", "text", "key",
];

/// The registration service of all bridges.
#[derive(Clone)]
pub struct Register {
    desk: Desk,
}

/// What answers an iq: the result's payload (none is an empty result), and what to do after it has been sent.
pub type Answered = (Option<Element>, Vec<Effect>);

impl Register {
    /// On the same desk as the commands.
    pub fn new(desk: Desk) -> Self {
        Self { desk }
    }

    /// Answers `jabber:iq:register` on the gateway's own address. `set`: the iq's type; `query`: its payload.
    ///
    /// # Errors
    /// Those of XEP-0077, section 3: `service-unavailable` where nothing is registered, `not-acceptable` for missing or wrong fields, `conflict`,
    /// `bad-request` and `registration-required` for `<remove/>`.
    pub async fn handle(
        &self,
        bridge: &BridgeRef,
        from: &Party,
        set: bool,
        query: &Element,
        lang: &Lang,
    ) -> Result<Answered, StanzaError> {
        self.handle_for(bridge, Caller::new(from.bare(), Address::Gateway, lang.clone()), set, query).await
    }

    /// The same for whoever it is done for, by whoever does it.
    ///
    /// # Errors
    /// As [`handle`](Self::handle).
    pub async fn handle_for(
        &self,
        bridge: &BridgeRef,
        caller: Caller,
        set: bool,
        query: &Element,
    ) -> Result<Answered, StanzaError> {
        if bridge.instance.bridge.profile().registration == Registration::None {
            return Err(StanzaError::service_unavailable());
        }
        if !set {
            return self.fields(bridge, caller).await;
        }
        if query.has_child("remove", ns::REGISTER) {
            return self.remove(bridge, &caller, query).await;
        }
        self.submit(bridge, caller, query).await
    }

    async fn fields(&self, bridge: &BridgeRef, caller: Caller) -> Result<Answered, StanzaError> {
        let known = self.desk.registration(bridge, &caller.user);
        let lang = caller.lang.clone();
        let say = |text: &Text| self.desk.say(bridge, text, &lang);
        let mut query = Element::bare("query", ns::REGISTER);
        if known.is_some() {
            query.append_child(Element::bare("registered", ns::REGISTER));
        }
        let form = match self.form(bridge, caller).await? {
            Shape::Form(_, form) => fill(form, known.as_ref()),
            // Nothing to fill in: an empty <query/> in a set registers.
            Shape::Nothing => Form::default(),
            Shape::Steps => {
                query.append_child(leaf("instructions", &say(&Text::key("register.by-command"))));
                return Ok((Some(query), Vec::new()));
            }
        };
        let words = match &form.instructions {
            Some(words) => words.clone(),
            None if known.is_some() => Text::key("register.registered"),
            None => Text::key("register.form"),
        };
        query.append_child(leaf("instructions", &say(&words)));
        let predefined = predefined(&form);
        // Required fields that XEP-0077 has no name for: form and instructions only (section 4, third row of its table).
        let all = form.fields.iter().filter(|f| f.required).all(|f| predefined.iter().any(|(_, key)| *key == f.key));
        for (name, key) in predefined.iter().filter(|_| all) {
            let value =
                form.fields.iter().find(|f| f.key == *key && f.kind != FieldKind::Secret).and_then(|f| f.value.first());
            query.append_child(leaf(name, value.map_or("", String::as_str)));
        }
        if !form.fields.is_empty() {
            query.append_child(forms::to_xml(&form, Some(ns::REGISTER), &say));
        }
        Ok((Some(query), Vec::new()))
    }

    async fn submit(&self, bridge: &BridgeRef, caller: Caller, query: &Element) -> Result<Answered, StanzaError> {
        let lang = caller.lang.clone();
        let user = caller.user.clone();
        let (mut dialogue, form) = match self.form(bridge, caller.clone()).await? {
            Shape::Form(dialogue, form) => (dialogue, form),
            Shape::Steps => return Err(StanzaError::not_acceptable().with(Text::key("register.by-command"))),
            // Done without a question: now it counts.
            Shape::Nothing => return self.settle(bridge, Dialogue::start_of(&self.desk, bridge, caller).await, &lang),
        };
        let given = match query.get_child("x", ns::DATA) {
            Some(x) if x.attr("type") == Some("cancel") => return Ok((None, Vec::new())),
            Some(x) => forms::from_xml(x).map_err(|_| StanzaError::bad_request())?,
            None => legacy(query, &form),
        };
        let given = keep(given, &form, self.desk.registration(bridge, &user).as_ref());
        let turn = dialogue.answer(&self.desk, &given).await;
        self.settle(bridge, Some((*dialogue, turn)), &lang)
    }

    fn settle(
        &self,
        bridge: &BridgeRef,
        run: Option<(Dialogue, super::commands::Turn)>,
        lang: &Lang,
    ) -> Result<Answered, StanzaError> {
        let Some((_, turn)) = run else { return Err(StanzaError::service_unavailable()) };
        match turn.said {
            Said::Ask { form, .. } => {
                let say = |text: &Text| self.desk.say(bridge, text, lang);
                let wrong =
                    form.fields.iter().filter_map(|f| Some(format!("{}: {}", say(&f.label), say(f.error.as_ref()?))));
                let wrong: Vec<String> = wrong.collect();
                let text =
                    if wrong.is_empty() { Text::key("register.by-command") } else { Text::plain(wrong.join("\n")) };
                Err(StanzaError::not_acceptable().with(text))
            }
            Said::Done { failure: Some(error), .. } => Err(StanzaError::from(&error)),
            Said::Done { notes, .. } => {
                match notes.into_iter().find_map(|n| if let Note::Error(text) = n { Some(text) } else { None }) {
                    Some(text) => Err(StanzaError::not_acceptable().with(text)),
                    None => Ok((None, turn.effects)),
                }
            }
        }
    }

    /// The form that registration begins with. A run that ends without a question is thrown away: a `get` registers nobody.
    async fn form(&self, bridge: &BridgeRef, caller: Caller) -> Result<Shape, StanzaError> {
        if !self.desk.declares_register(bridge) {
            return Ok(Shape::Nothing);
        }
        let Some((dialogue, turn)) = Dialogue::look_at(&self.desk, bridge, caller).await else {
            return Err(StanzaError::service_unavailable());
        };
        match turn.said {
            Said::Ask { form, last: true, .. } => Ok(Shape::Form(Box::new(dialogue), form)),
            Said::Ask { .. } => Ok(Shape::Steps),
            Said::Done { failure: Some(error), .. } => Err(StanzaError::from(&error)),
            Said::Done { .. } => Ok(Shape::Nothing),
        }
    }

    async fn remove(&self, bridge: &BridgeRef, caller: &Caller, query: &Element) -> Result<Answered, StanzaError> {
        if query.children().count() != 1 {
            return Err(StanzaError::bad_request());
        }
        if self.desk.registration(bridge, &caller.user).is_none() {
            return Err(StanzaError::registration_required().with(Text::key("register.not")));
        }
        let effects = remove(&self.desk, bridge, &caller.user).await.map_err(|e: StoreError| StanzaError::from(&e))?;
        Ok((None, effects))
    }
}

/// How a bridge registers people.
enum Shape {
    Form(Box<Dialogue>, Form),
    /// More than one form: XEP-0077 cannot show that.
    Steps,
    Nothing,
}

/// Predefined names for a form's fields: their own where they have one, else `username` for the first line and `password` for the first secret.
fn predefined(form: &Form) -> Vec<(&'static str, String)> {
    let mut found: Vec<(&'static str, String)> = Vec::new();
    for field in &form.fields {
        if let Some(name) = FIELDS.iter().find(|n| **n == field.key) {
            found.push((name, field.key.clone()));
        }
    }
    let stand_in = |name: &'static str, kind: &FieldKind, found: &mut Vec<(&'static str, String)>| {
        let free = |f: &&Field| f.kind == *kind && found.iter().all(|(_, key)| *key != f.key);
        if found.iter().all(|(n, _)| *n != name)
            && let Some(field) = form.fields.iter().find(free)
        {
            found.push((name, field.key.clone()));
        }
    };
    stand_in("username", &FieldKind::Line, &mut found);
    stand_in("password", &FieldKind::Secret, &mut found);
    // The schema is a sequence: its order is the one that strict clients expect.
    found.sort_by_key(|(name, _)| FIELDS.iter().position(|n| n == name));
    found
}

/// What was filled in without a data form.
fn legacy(query: &Element, form: &Form) -> Values {
    let mut values = Values::new();
    for (name, key) in predefined(form) {
        if let Some(child) = query.get_child(name, ns::REGISTER) {
            values.set(key, child.text());
        }
    }
    values
}

/// What is on file, in the fields that the bridge left empty.
fn fill(mut form: Form, known: Option<&Values>) -> Form {
    for field in form.fields.iter_mut().filter(|f| f.value.is_empty() && f.kind != FieldKind::Secret) {
        field.value = known.map(|k| k.all(&field.key).to_vec()).unwrap_or_default();
    }
    form
}

/// Fields that were left out of a change keep what is on file.
fn keep(mut given: Values, form: &Form, known: Option<&Values>) -> Values {
    let Some(known) = known else { return given };
    for field in form.fields.iter().filter(|f| f.kind != FieldKind::Secret && f.value.is_empty()) {
        if given.iter().all(|(key, _)| key != field.key) && !known.all(&field.key).is_empty() {
            given.set_all(field.key.clone(), known.all(&field.key).to_vec());
        }
    }
    given
}

fn leaf(name: &str, words: &str) -> Element {
    let mut element = Element::bare(name, ns::REGISTER);
    if !words.is_empty() {
        element.append_text_node(forms::printable(words));
    }
    element
}

#[cfg(test)]
mod tests;
