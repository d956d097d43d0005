//! Commands by chat, for clients without forms: a word begins one, each field is a question, and "cancel" and "back" mean that.
//!
//! Only messages to the gateway's own address come here: text to a network is a raw line, and text to a room is public.

mod question;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use isthmus_bridge::{Address, Command, FieldKind, Form, Lang, Note, Table, Text, Values};
use tokio::time::Instant;

use super::commands::{BridgeRef, Caller, Desk, Dialogue, Effect, Said, Turn};
use super::forms;
use crate::router::Party;

/// An open question ends after this time.
pub const IDLE: Duration = Duration::from_secs(600);
/// Open questions of everybody; when there are more, the oldest ends.
const TOTAL: usize = 10_000;
/// Longest answer in one message, in bytes.
const PART: usize = 8 * 1024;

/// The answers to a message, in order, and what to do after they have been sent.
pub type Answers = (Vec<String>, Vec<Effect>);

/// The chat of all bridges.
pub struct Chat {
    desk: Desk,
    talks: Mutex<HashMap<(Arc<str>, String), Slot>>,
}

/// A full JID's open question; absent while a step is under way.
struct Slot {
    talk: Option<Talk>,
    expires: Instant,
}

struct Talk {
    dialogue: Dialogue,
    form: Form,
    /// Which fields are asked, in order, and which of them now.
    order: Vec<usize>,
    now: usize,
    answers: Values,
}

impl Chat {
    /// On the same desk as the commands.
    pub fn new(desk: Desk) -> Self {
        Self { desk, talks: Mutex::default() }
    }

    /// Answers a text to the gateway's bare address. `strict` (the gateway is also the network): commands begin with `!`, and what is neither one
    /// nor an answer to an open question gives `None`.
    pub async fn on_message(
        &self,
        bridge: &BridgeRef,
        from: &Party,
        text: &str,
        lang: &Lang,
        strict: bool,
    ) -> Option<Answers> {
        let key = (bridge.instance.name.clone(), from.full().to_owned());
        let text = text.trim();
        let (word, marked) = match text.strip_prefix('!') {
            Some(rest) => (rest.trim_start(), true),
            None => (text, false),
        };
        match self.take(&key) {
            Open::Talk(talk) => Some(self.on_answer(key, bridge, *talk, text, lang).await),
            Open::Busy => Some((vec![self.say("chat.busy", lang)], Vec::new())),
            Open::None if strict && !marked => None,
            Open::None => Some(self.on_command(key, bridge, from, word, lang).await),
        }
    }

    async fn on_command(
        &self,
        key: (Arc<str>, String),
        bridge: &BridgeRef,
        from: &Party,
        text: &str,
        lang: &Lang,
    ) -> Answers {
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let (word, rest) = (word.to_lowercase(), rest.trim());
        let means = |key| self.desk.texts.words(key, lang).contains(&word);
        if word.is_empty() || means("word.help") {
            return (self.help(bridge, from, lang), Vec::new());
        }
        if means("word.cancel") {
            return (vec![self.say("chat.nothing", lang)], Vec::new());
        }
        let mut caller = Caller::new(from.bare(), Address::Gateway, lang.clone());
        let mut first = Some(rest).filter(|r| !r.is_empty());
        let named = match first {
            // "configure libera.chat", "configure #rust%libera.chat"
            Some(typed) if word == "configure" => Some((typed, None)),
            // "whois libera.chat juliet": what is done at a network is told which.
            typed if self.desk.elsewhere(bridge, &caller).iter().any(|c| c.node == word) => {
                let Some(typed) = typed else {
                    let text = Text::key("chat.which-address").with("word", word);
                    return (vec![self.desk.say(bridge, &text, lang)], Vec::new());
                };
                let (address, rest) = typed.split_once(char::is_whitespace).unwrap_or((typed, ""));
                Some((address, Some(rest.trim()).filter(|r| !r.is_empty())))
            }
            _ => None,
        };
        if let Some((typed, rest)) = named {
            let addressing = bridge.instance.bridge.addressing();
            let meant = match self.desk.persons(bridge).map(|p| p.resolved(&caller.user, &Address::Gateway)) {
                Some(settings) => addressing.prompt_for(typed, &settings),
                None => addressing.prompt(typed),
            };
            match meant {
                Ok(at) => (caller.at, first) = (at, rest),
                Err(_) => {
                    let text = Text::key("chat.bad-address").with("address", typed);
                    return (vec![self.desk.say(bridge, &text, lang)], Vec::new());
                }
            }
        }
        let Some(command) = self.desk.offered(bridge, &caller).into_iter().find(|c| c.node == word) else {
            return (vec![self.refusal(bridge, &word, lang)], Vec::new());
        };
        let (dialogue, turn) = Dialogue::start(&self.desk, bridge, command, caller).await;
        let talk = Talk { dialogue, form: Form::default(), order: Vec::new(), now: 0, answers: Values::new() };
        let (talk, mut answers) = self.turn(bridge, talk, turn, lang);
        match (talk, first) {
            // What stands after the word is the answer to the first question.
            (Some(talk), Some(first)) => {
                let (more, effects) = self.on_answer(key, bridge, talk, first, lang).await;
                answers.1.extend(effects);
                (more, answers.1)
            }
            (talk, _) => {
                self.put(key, talk);
                answers
            }
        }
    }

    /// Why a word begins nothing: there is none, or it is not for this person.
    fn refusal(&self, bridge: &BridgeRef, word: &str, lang: &Lang) -> String {
        let text = match self.desk.audience(bridge, word) {
            Some(isthmus_bridge::Audience::Registered) => Text::key("command.register-first"),
            Some(isthmus_bridge::Audience::Admin) => Text::key("command.forbidden"),
            _ => Text::key("chat.unknown").with("word", word.chars().take(40).collect::<String>()),
        };
        self.desk.say(bridge, &text, lang)
    }

    fn help(&self, bridge: &BridgeRef, from: &Party, lang: &Lang) -> Vec<String> {
        let caller = Caller::new(from.bare(), Address::Gateway, lang.clone());
        let line = |c: Command| format!("{} – {}", c.node, self.desk.say(bridge, &c.name, lang));
        let mut lines = vec![self.say("chat.help", lang)];
        lines.extend(self.desk.offered(bridge, &caller).into_iter().map(line));
        let elsewhere = self.desk.elsewhere(bridge, &caller).into_iter();
        let address = self.say("chat.address", lang);
        lines.extend(elsewhere.map(|c| format!("{} {address} – {}", c.node, self.desk.say(bridge, &c.name, lang))));
        lines.push(self.say("chat.help-end", lang));
        parts(lines)
    }

    async fn on_answer(
        &self,
        key: (Arc<str>, String),
        bridge: &BridgeRef,
        mut talk: Talk,
        text: &str,
        lang: &Lang,
    ) -> Answers {
        if !talk.dialogue.is_allowed(&self.desk) {
            self.put(key, None);
            return (vec![self.refusal(bridge, talk.dialogue.node(), lang)], Vec::new());
        }
        let word = text.to_lowercase();
        let means = |key| self.desk.texts.words(key, lang).contains(&word);
        if means("word.cancel") {
            self.put(key, None);
            return (vec![self.say("chat.cancelled", lang)], Vec::new());
        }
        if means("word.back") {
            let answers = self.back(bridge, &mut talk, lang);
            self.put(key, Some(talk));
            return (answers, Vec::new());
        }
        let read = match talk.order.get(talk.now) {
            Some(&index) => {
                let field = &talk.form.fields[index];
                question::read(&self.desk.texts, field, talk.answers.all(&field.key), text, lang, |t| {
                    self.desk.say(bridge, t, lang)
                })
                .map(|given| (field.key.clone(), given))
                .map(Some)
            }
            // A form without a question waits for "ok".
            None if means("word.keep") || means("word.yes") => Ok(None),
            None => Err(Text::key("chat.go-on")),
        };
        match read {
            Err(reason) => {
                let lines = [self.desk.say(bridge, &reason, lang), self.question(bridge, &talk, lang)];
                self.put(key, Some(talk));
                return (vec![lines.join("\n")], Vec::new());
            }
            Ok(Some((field, Some(given)))) => talk.answers.set_all(field, given),
            Ok(Some((field, None))) => drop(talk.answers.remove(&field)),
            Ok(None) => {}
        }
        talk.now += 1;
        if talk.now < talk.order.len() {
            let question = self.question(bridge, &talk, lang);
            self.put(key, Some(talk));
            return (vec![question], Vec::new());
        }
        let turn = talk.dialogue.answer(&self.desk, &talk.answers).await;
        let (talk, answers) = self.turn(bridge, talk, turn, lang);
        self.put(key, talk);
        answers
    }

    fn back(&self, bridge: &BridgeRef, talk: &mut Talk, lang: &Lang) -> Vec<String> {
        if talk.now > 0 {
            talk.now -= 1;
            return vec![self.question(bridge, talk, lang)];
        }
        match talk.dialogue.back() {
            Some(Said::Ask { form, .. }) => {
                enter(talk, form);
                vec![self.question(bridge, talk, lang)]
            }
            _ => vec![[self.say("chat.no-back", lang), self.question(bridge, talk, lang)].join("\n")],
        }
    }

    /// What is said after a step, and the talk where it goes on.
    fn turn(&self, bridge: &BridgeRef, mut talk: Talk, turn: Turn, lang: &Lang) -> (Option<Talk>, Answers) {
        let say = |text: &Text| self.desk.say(bridge, text, lang);
        match turn.said {
            Said::Ask { form, .. } => {
                let again = form.fields.iter().any(|f| f.error.is_some());
                let mut lines = Vec::new();
                if !again {
                    lines.extend(form.title.as_ref().map(say));
                    lines.extend(form.instructions.as_ref().map(say));
                    lines.extend(form.fields.iter().filter(|f| f.kind == FieldKind::Fixed).map(|f| {
                        match f.value.is_empty() {
                            true => say(&f.label),
                            false => f.value.join("\n"),
                        }
                    }));
                }
                enter(&mut talk, form);
                lines.push(self.question(bridge, &talk, lang));
                (Some(talk), (parts(lines), turn.effects))
            }
            Said::Done { notes, table, .. } => {
                let mut lines = Vec::new();
                for note in &notes {
                    match note {
                        Note::Info(text) => lines.push(say(text)),
                        Note::Warn(text) | Note::Error(text) => lines.push(format!("⚠ {}", say(text))),
                        _ => {}
                    }
                }
                lines.extend(table.iter().flat_map(|t| rows(t, &say)));
                (None, (parts(lines), turn.effects))
            }
        }
    }

    fn question(&self, bridge: &BridgeRef, talk: &Talk, lang: &Lang) -> String {
        match talk.order.get(talk.now) {
            Some(&index) => {
                question::ask(&talk.form.fields[index], talk.answers.all(&talk.form.fields[index].key), |t| {
                    self.desk.say(bridge, t, lang)
                })
            }
            None => self.say("chat.go-on", lang),
        }
    }

    fn say(&self, key: &'static str, lang: &Lang) -> String {
        self.desk.texts.core(key, lang)
    }

    fn take(&self, key: &(Arc<str>, String)) -> Open {
        let mut talks = self.lock();
        let now = Instant::now();
        match talks.get_mut(key) {
            Some(slot) if slot.expires > now => slot.talk.take().map_or(Open::Busy, |talk| Open::Talk(Box::new(talk))),
            Some(_) => {
                talks.remove(key);
                Open::None
            }
            None => Open::None,
        }
    }

    fn put(&self, key: (Arc<str>, String), talk: Option<Talk>) {
        let mut talks = self.lock();
        let Some(talk) = talk else {
            talks.remove(&key);
            return;
        };
        let now = Instant::now();
        if talks.len() >= TOTAL {
            talks.retain(|_, slot| slot.expires > now);
        }
        if talks.len() >= TOTAL
            && let Some(oldest) = talks.iter().min_by_key(|(_, slot)| slot.expires).map(|(key, _)| key.clone())
        {
            talks.remove(&oldest);
        }
        talks.insert(key, Slot { talk: Some(talk), expires: now + IDLE });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Arc<str>, String), Slot>> {
        self.talks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Open {
    None,
    Busy,
    Talk(Box<Talk>),
}

/// Takes up a form: asks all that can be asked, or only what was wrong. Answers to fields of the same name stand, secrets among them.
fn enter(talk: &mut Talk, form: Form) {
    let again = form.fields.iter().any(|f| f.error.is_some());
    let asked = |kind: &FieldKind| !matches!(kind, FieldKind::Fixed | FieldKind::Hidden);
    talk.order = (0..form.fields.len())
        .filter(|i| asked(&form.fields[*i].kind) && (!again || form.fields[*i].error.is_some()))
        .collect();
    talk.now = 0;
    let before = if again { std::mem::take(&mut talk.answers) } else { Values::new() };
    talk.answers = Values::new();
    for field in &form.fields {
        let said = before.all(&field.key);
        if !said.is_empty() && field.error.is_none() {
            talk.answers.set_all(field.key.clone(), said.to_vec());
        } else if !field.value.is_empty() {
            talk.answers.set_all(field.key.clone(), field.value.clone());
        }
    }
    talk.form = form;
}

/// A table as lines: `Title: value; Title: value`, or the values alone where there is one column.
fn rows(table: &Table, say: forms::Say<'_>) -> Vec<String> {
    let titles: Vec<String> = table.columns.iter().map(|(_, title)| say(title)).collect();
    let cell = |(title, value): (&String, &String)| {
        (!value.is_empty()).then(|| if titles.len() == 1 { value.clone() } else { format!("{title}: {value}") })
    };
    table
        .rows
        .iter()
        .map(|row| format!("• {}", titles.iter().zip(row).filter_map(cell).collect::<Vec<_>>().join("; ")))
        .collect()
}

/// Lines in as few messages as their bound allows; none where there are no lines.
fn parts(lines: Vec<String>) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for line in lines {
        match parts.last_mut() {
            Some(part) if part.len() + line.len() < PART => {
                part.push('\n');
                part.push_str(&line);
            }
            _ => parts.push(line),
        }
    }
    parts
}

#[cfg(test)]
mod tests;
