//! One field as a question, and its answer: pure.

use isthmus_bridge::{Field, FieldKind, Form, Lang, Text, Values};

use crate::texts::Texts;
use crate::xmpp::forms;

/// The question. `now`: what is filled in already, offered to be kept; of a secret nothing is ever shown.
pub(super) fn ask(field: &Field, now: &[String], say: impl Fn(&Text) -> String) -> String {
    let mut lines = Vec::new();
    if let Some(error) = &field.error {
        lines.push(say(error));
    }
    let mut question = say(&field.label);
    if let Some(hint) = hint(field) {
        question = format!("{question} {}", say(&hint));
    }
    lines.push(question);
    if let FieldKind::Choice(choices) | FieldKind::Choices(choices) = &field.kind {
        lines.extend(choices.iter().enumerate().map(|(i, (_, label))| format!("{}. {}", i + 1, say(label))));
    }
    if field.kind == FieldKind::Secret {
        if !field.required {
            lines.push(say(&Text::key("chat.secret")));
        }
    } else if now.iter().any(|v| !v.is_empty()) {
        let shown: Vec<String> = now.iter().map(|value| label(field, value, &say)).collect();
        lines.push(say(&Text::key("chat.keep").with("value", shown.join(", "))));
    } else if !field.required && !matches!(field.kind, FieldKind::Bool | FieldKind::Choices(_)) {
        lines.push(say(&Text::key("chat.optional")));
    }
    lines.join("\n")
}

fn hint(field: &Field) -> Option<Text> {
    match &field.kind {
        FieldKind::Bool => Some(Text::key("chat.bool")),
        FieldKind::Number { min, max } => Some(Text::key("chat.number").with("min", min).with("max", max)),
        FieldKind::Choices(_) => Some(Text::key("chat.choices")),
        _ => None,
    }
}

fn label(field: &Field, value: &str, say: &impl Fn(&Text) -> String) -> String {
    match &field.kind {
        FieldKind::Choice(choices) | FieldKind::Choices(choices) => {
            choices.iter().find(|(v, _)| v == value).map_or_else(|| value.to_owned(), |(_, label)| say(label))
        }
        FieldKind::Bool => say(&Text::key(if value == "true" { "chat.yes" } else { "chat.no" })),
        _ => value.to_owned(),
    }
}

/// The answer, checked (`now`: what "ok" keeps): values, `None` where the field is left out, or why it is none.
pub(super) fn read(
    texts: &Texts,
    field: &Field,
    now: &[String],
    text: &str,
    lang: &Lang,
    say: impl Fn(&Text) -> String,
) -> Result<Option<Vec<String>>, Text> {
    let word = text.trim().to_lowercase();
    let means = |key| texts.words(key, lang).contains(&word);
    let has_value = field.kind != FieldKind::Secret && now.iter().any(|v| !v.is_empty());
    let given: Vec<String> = match &field.kind {
        _ if has_value && means("word.keep") => now.to_vec(),
        FieldKind::Secret if !field.required && text.trim() == "-" => return Ok(None),
        FieldKind::Secret => vec![text.to_owned()],
        _ if !field.required && means("word.none") => Vec::new(),
        FieldKind::Bool if means("word.yes") => vec!["true".to_owned()],
        FieldKind::Bool if means("word.no") => vec!["false".to_owned()],
        FieldKind::Choice(choices) => vec![choose(choices, text, &say).ok_or_else(|| Text::key("form.not-choice"))?],
        FieldKind::Choices(choices) => {
            let all = text.split([',', ';']).map(str::trim).filter(|t| !t.is_empty());
            all.map(|t| choose(choices, t, &say)).collect::<Option<_>>().ok_or_else(|| Text::key("form.not-choice"))?
        }
        _ => vec![text.to_owned()],
    };
    let mut values = Values::new();
    values.set_all(field.key.clone(), given.clone());
    let one = Form::new(field.label.clone(), vec![field.clone()]);
    match forms::check(&one, &values) {
        Ok(checked) if checked.iter().next().is_some() => Ok(Some(checked.all(&field.key).to_vec())),
        // An emptied field is said to be empty, so that its value is not kept.
        Ok(_) => Ok(Some(Vec::new())),
        Err(form) => Err(form.fields.into_iter().find_map(|f| f.error).unwrap_or_else(|| Text::key("form.not-text"))),
    }
}

/// By number from 1, value or label.
fn choose(choices: &[(String, Text)], text: &str, say: &impl Fn(&Text) -> String) -> Option<String> {
    let text = text.trim();
    let by_value = choices.iter().find(|(value, _)| value == text);
    let by_number = || text.parse::<usize>().ok().and_then(|n| choices.get(n.checked_sub(1)?));
    let by_label = || {
        choices
            .iter()
            .find(|(value, label)| value.eq_ignore_ascii_case(text) || say(label).to_lowercase() == text.to_lowercase())
    };
    by_value.or_else(by_number).or_else(by_label).map(|(value, _)| value.clone())
}
