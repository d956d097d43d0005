//! Forms of the contract ↔ data forms (XEP-0004, XEP-0122), and the check of what was filled in.

use isthmus_bridge::{Field, FieldKind, Form, Table, Text, Values};
use minidom::Element;
use minidom::rxml::{Namespace, NcName};
use xmpp_parsers::data_forms::{DataForm, DataFormType, Field as XField, FieldType, Option_};
use xmpp_parsers::data_forms_validate::{Datatype, Method, Validate};
use xmpp_parsers::ns;

use crate::settings;

/// Longest single line that a form takes, in bytes.
const LINE: usize = 4 * 1024;
/// Longest text of several lines, in bytes.
const LINES: usize = 64 * 1024;

/// Turns texts into words; every function here takes the reader's.
pub type Say<'a> = &'a dyn Fn(&Text) -> String;

/// A form to fill in, with `FORM_TYPE` (XEP-0068) where one is given. What was wrong with a field stands in its `<desc/>`.
pub fn to_xml(form: &Form, form_type: Option<&str>, say: Say<'_>) -> Element {
    let mut fields = Vec::with_capacity(form.fields.len() + 1);
    if let Some(form_type) = form_type {
        fields.push(XField::new("FORM_TYPE", FieldType::Hidden).with_value(form_type));
    }
    fields.extend(form.fields.iter().map(|f| field_to_xml(f, say)));
    let (title, instructions) = (form.title.as_ref().map(say), form.instructions.as_ref().map(say));
    let mut x: Element = DataForm { type_: DataFormType::Form, title, instructions, fields }.into();
    // The default type is not written by the library. Some clients (profanity 0.13) take a field of a form without one for none of theirs.
    for field in x.children_mut().filter(|c| c.is("field", ns::DATA_FORMS) && c.attr("type").is_none()) {
        set(field, "type", "text-single");
    }
    x
}

fn field_to_xml(field: &Field, say: Say<'_>) -> XField {
    let mut x = XField::new(&field.key, field_type(&field.kind));
    x.label = Some(say(&field.label));
    x.required = field.required;
    x.desc = field.error.as_ref().map(say);
    x.values = match field.kind {
        FieldKind::Secret => Vec::new(),
        // One <value/> a line (XEP-0004, 3.3 "text-multi").
        FieldKind::Lines => field.value.iter().flat_map(|v| v.lines()).map(str::to_owned).collect(),
        // A fixed field says its words in <value/>; clients leave its label out.
        FieldKind::Fixed if field.value.is_empty() => vec![say(&field.label)],
        FieldKind::Bool => field.value.iter().map(|v| settings_bool(v).unwrap_or("false").to_owned()).collect(),
        _ => field.value.clone(),
    };
    match &field.kind {
        FieldKind::Number { min, max } => x.validate = Some(range(*min, *max)),
        FieldKind::Choice(choices) | FieldKind::Choices(choices) => {
            x.options = choices
                .iter()
                .map(|(value, label)| Option_ { label: Some(say(label)), value: value.clone() })
                .collect();
        }
        _ => {}
    }
    x
}

fn field_type(kind: &FieldKind) -> FieldType {
    match kind {
        FieldKind::Lines => FieldType::TextMulti,
        FieldKind::Secret => FieldType::TextPrivate,
        FieldKind::Bool => FieldType::Boolean,
        FieldKind::Choice(_) => FieldType::ListSingle,
        FieldKind::Choices(_) => FieldType::ListMulti,
        FieldKind::Fixed => FieldType::Fixed,
        FieldKind::Hidden => FieldType::Hidden,
        _ => FieldType::TextSingle,
    }
}

fn range(min: i64, max: i64) -> Validate {
    let method = Method::Range { min: Some(min.to_string()), max: Some(max.to_string()) };
    Validate { datatype: Some(Datatype::Integer), method: Some(method), list_range: None }
}

/// A table of results: `<reported/>` and `<item/>`s (XEP-0004, 3.4).
pub fn table_to_xml(table: &Table, title: Option<&str>, say: Say<'_>) -> Element {
    let build = |name: &str| Element::builder(name, ns::DATA_FORMS);
    let mut reported = build("reported").build();
    for (key, label) in &table.columns {
        let mut field = build("field").build();
        set(&mut field, "var", key.as_str());
        set(&mut field, "label", say(label));
        reported.append_child(field);
    }
    let mut x = build("x").build();
    set(&mut x, "type", "result");
    if let Some(title) = title {
        x.append_child(build("title").append(title).build());
    }
    x.append_child(reported);
    for row in &table.rows {
        let mut item = build("item").build();
        for ((key, _), value) in table.columns.iter().zip(row) {
            let value = build("value").append(printable(value)).build();
            let mut field = build("field").append(value).build();
            set(&mut field, "var", key.as_str());
            item.append_child(field);
        }
        x.append_child(item);
    }
    x
}

/// Sets an attribute without a namespace; `name` is one of ours.
pub(crate) fn set(element: &mut Element, name: &'static str, value: impl Into<String>) {
    let name = NcName::try_from(name).expect("a literal without colon or blank");
    element.attrs_mut().insert(Namespace::NONE, name, value.into());
}

/// A submitted `<x/>` that cannot be read (XEP-0050: `bad-payload`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a submitted data form")]
pub struct BadForm;

/// What a person filled in; `cancel` is read as `submit` (XEP-0050, 3.6.1). Types and labels that the client repeats mean nothing.
pub fn from_xml(x: &Element) -> Result<Values, BadForm> {
    if !x.is("x", ns::DATA_FORMS) || !matches!(x.attr("type"), Some("submit" | "cancel")) {
        return Err(BadForm);
    }
    let mut values = Values::new();
    for field in x.children().filter(|c| c.is("field", ns::DATA_FORMS)) {
        let var = field.attr("var").ok_or(BadForm)?;
        let all = field.children().filter(|c| c.is("value", ns::DATA_FORMS)).map(Element::text).collect();
        values.set_all(var, all);
    }
    Ok(values)
}

/// Checks what was filled in against the fields, and brings it into its one spelling: `true`/`false`, numbers without blanks, lines joined.
///
/// A field that is absent keeps what stood in it, but for the choices of a list of several, where nothing chosen is absent too. A secret that is
/// absent or empty is left out of the values: unchanged. Hidden fields come from the form, never from the client.
/// `Err` is the same form with what was given and what was wrong.
pub fn check(form: &Form, given: &Values) -> Result<Values, Form> {
    let mut values = Values::new();
    let mut again = form.clone();
    let mut wrong = false;
    for field in &mut again.fields {
        field.error = None;
        match check_field(field, given) {
            Ok(Some(value)) => {
                if field.kind != FieldKind::Secret {
                    field.value.clone_from(&value);
                }
                values.set_all(field.key.clone(), value);
            }
            Ok(None) => {}
            Err(reason) => {
                wrong = true;
                field.error = Some(reason);
                if field.kind != FieldKind::Secret {
                    field.value = given.all(&field.key).iter().map(|v| printable(v)).collect();
                }
            }
        }
    }
    if wrong { Err(again) } else { Ok(values) }
}

/// What [`check`] refused, where nothing but numbers is wrong: they stay as they were given, for whoever has a number to put in their place.
pub fn but_numbers(refused: &Form, given: &Values) -> Result<Values, Form> {
    let wrong: Vec<&Field> = refused.fields.iter().filter(|f| f.error.is_some()).collect();
    if wrong.iter().any(|f| !matches!(f.kind, FieldKind::Number { .. })) {
        return Err(refused.clone());
    }
    let mut others = given.clone();
    let mut form = refused.clone();
    for field in &wrong {
        others.remove(&field.key);
    }
    for field in form.fields.iter_mut().filter(|f| f.error.is_some()) {
        field.value.clear();
    }
    let mut values = check(&form, &others)?;
    for field in wrong {
        values.set_all(field.key.clone(), given.all(&field.key).to_vec());
    }
    Ok(values)
}

fn check_field(field: &Field, given: &Values) -> Result<Option<Vec<String>>, Text> {
    let absent = !given.iter().any(|(key, _)| key == field.key);
    let answer: Vec<String> = match &field.kind {
        FieldKind::Fixed => return Ok(None),
        FieldKind::Hidden => return Ok(Some(field.value.clone())),
        FieldKind::Choices(_) if absent && given.is_empty() => field.value.clone(),
        FieldKind::Choices(_) | FieldKind::Secret => given.all(&field.key).to_vec(),
        FieldKind::Lines if !absent => vec![given.all(&field.key).join("\n")],
        // COMPAT(biboumi): a field of one line here can be one of several there (ports); scripts send them so.
        FieldKind::Line if !absent => vec![given.all(&field.key).join(" ")],
        _ if absent => field.value.clone(),
        _ => given.all(&field.key).to_vec(),
    };
    let answer: Vec<String> = match field.kind {
        FieldKind::Choices(_) => answer,
        _ => answer.into_iter().take(1).filter(|v| !v.trim().is_empty()).collect(),
    };
    if answer.is_empty() {
        return match field.kind {
            _ if field.required => Err(Text::key("form.required")),
            FieldKind::Secret => Ok(None),
            FieldKind::Bool => Ok(Some(vec!["false".to_owned()])),
            FieldKind::Choices(_) => Ok(Some(Vec::new())),
            // A number or choice that was left out has no value; an emptied line is an empty one.
            FieldKind::Number { .. } | FieldKind::Choice(_) => Ok(None),
            _ => Ok(Some(vec![String::new()])),
        };
    }
    let checked = |given: &String| settings::keeps(field.rule, &field.key, value(&field.kind, given)?);
    answer.iter().map(checked).collect::<Result<_, _>>().map(Some)
}

fn value(kind: &FieldKind, value: &str) -> Result<String, Text> {
    if printable(value) != value {
        return Err(Text::key("form.not-text"));
    }
    let limit = if matches!(kind, FieldKind::Lines) { LINES } else { LINE };
    if value.len() > limit {
        return Err(Text::key("form.too-long").with("limit", limit));
    }
    match kind {
        FieldKind::Bool => settings_bool(value).map(str::to_owned).ok_or_else(|| Text::key("form.not-bool")),
        FieldKind::Number { min, max } => settings::number(value, *min, *max),
        FieldKind::Line | FieldKind::Secret if value.contains(['\n', '\r']) => Err(Text::key("form.not-line")),
        FieldKind::Line => Ok(value.trim().to_owned()),
        FieldKind::Choice(choices) | FieldKind::Choices(choices) => {
            if choices.iter().any(|(v, _)| v == value) {
                Ok(value.to_owned())
            } else {
                Err(Text::key("form.not-choice"))
            }
        }
        _ => Ok(value.to_owned()),
    }
}

fn settings_bool(value: &str) -> Option<&'static str> {
    match value.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some("true"),
        "0" | "false" | "no" | "off" => Some("false"),
        _ => None,
    }
}

/// Without what XML 1.0 cannot carry, and without other control characters than tab and line ends.
pub(crate) fn printable(words: &str) -> String {
    words
        .chars()
        .filter(|c| matches!(c, '\t' | '\n' | '\r') || !(c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}')))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &Text) -> String {
        text.to_string()
    }

    fn field(key: &str, kind: FieldKind) -> Field {
        Field::new(key, kind).with_label(Text::plain(key))
    }

    fn choices() -> Vec<(String, Text)> {
        vec![("a".into(), "A".into()), ("b".into(), "B".into())]
    }

    #[test]
    fn a_form_is_written_with_types_validation_and_no_secret() {
        let mut secret = field("password", FieldKind::Secret);
        secret.value = vec!["hidden".into()];
        let fields = vec![
            field("alias", FieldKind::Line).required().with_value("juliet").with_error("taken".into()),
            secret,
            field("delay", FieldKind::Number { min: 0, max: 60 }).with_value("30"),
            field("sort", FieldKind::Choice(choices())).with_value("b"),
            field("note", FieldKind::Lines).with_value("one\ntwo"),
            field("html", FieldKind::Bool).with_value("yes"),
        ];
        let form = Form::new("Title".into(), fields).with_instructions("Do it".into());
        let xml = String::from(&to_xml(&form, Some("jabber:iq:register"), &plain));
        for part in [
            "type='form'",
            "<title>Title</title>",
            "<instructions>Do it</instructions>",
            "FORM_TYPE",
            "<required/>",
            "<desc>taken</desc>",
            "<value>juliet</value>",
            "type='text-single'",
            "text-private",
            "xs:integer",
            "min='0'",
            "max='60'",
            "list-single",
            "<value>one</value><value>two</value>",
            "<value>true</value>",
        ] {
            assert!(xml.replace('"', "'").contains(part), "{part} in {xml}");
        }
        assert!(!xml.contains("hidden</"), "{xml}");
    }

    #[test]
    fn what_was_filled_in_is_read_whatever_its_types() {
        let x: Element =
            "<x xmlns='jabber:x:data' type='submit'><field var='a'><value>1</value><value>2</value></field>\
             <field var='b' type='nonsense'/></x>"
                .parse()
                .expect("xml");
        let values = from_xml(&x).expect("a submission");
        assert_eq!(values.all("a"), ["1", "2"]);
        assert_eq!(values.all("b"), [""; 0]);
        for bad in [
            "<x xmlns='jabber:x:data' type='form'/>",
            "<x xmlns='jabber:x:data' type='submit'><field/></x>",
            "<x xmlns='y'/>",
        ] {
            assert_eq!(from_xml(&bad.parse().expect("xml")), Err(BadForm), "{bad}");
        }
    }

    #[test]
    fn answers_are_checked_by_kind() {
        let number = FieldKind::Number { min: 1, max: 5 };
        let table: &[(FieldKind, &str, Result<&str, &str>)] = &[
            (FieldKind::Bool, "1", Ok("true")),
            (FieldKind::Bool, "off", Ok("false")),
            (FieldKind::Bool, "maybe", Err("form.not-bool")),
            (number.clone(), " 3 ", Ok("3")),
            (number.clone(), "6", Err("form.not-number min=1, max=5")),
            (number, "x", Err("form.not-number min=1, max=5")),
            (FieldKind::Line, " x ", Ok("x")),
            (FieldKind::Line, "a\nb", Err("form.not-line")),
            (FieldKind::Line, "a\r\nBcc: b", Err("form.not-line")),
            (FieldKind::Line, "a\u{1}b", Err("form.not-text")),
            (FieldKind::Lines, "a\nb", Ok("a\nb")),
            (FieldKind::Choice(choices()), "b", Ok("b")),
            (FieldKind::Choice(choices()), "c", Err("form.not-choice")),
            (FieldKind::Secret, "s3cret", Ok("s3cret")),
        ];
        for (kind, given, expected) in table {
            let form = Form::new("t".into(), vec![field("f", kind.clone())]);
            let got = check(&form, &Values::new().with("f", *given));
            let got = got
                .map(|v| v.get("f").unwrap_or_default().to_owned())
                .map_err(|f| f.fields[0].error.clone().map(|e| e.to_string()).unwrap_or_default());
            assert_eq!(got, expected.map(str::to_owned).map_err(str::to_owned), "{kind:?} {given:?}");
        }
    }

    #[test]
    fn what_is_absent_keeps_its_value_and_what_is_required_is_asked_for() {
        let mut hidden = field("h", FieldKind::Hidden);
        hidden.value = vec!["ours".into()];
        let form = Form::new(
            "t".into(),
            vec![
                field("kept", FieldKind::Line).with_value("old"),
                field("many", FieldKind::Choices(choices())).with_value("a"),
                field("s", FieldKind::Secret),
                hidden,
            ],
        );
        let values = check(&form, &Values::new().with("h", "theirs")).expect("good");
        assert_eq!((values.get("kept"), values.get("h"), values.get("s")), (Some("old"), Some("ours"), None));
        assert!(values.all("many").is_empty(), "nothing was chosen");
        let mut several = Values::new();
        several.set_all("kept", vec!["6697".into(), "6670".into()]);
        assert_eq!(
            check(&form, &several).expect("good").get("kept"),
            Some("6697 6670"),
            "as biboumi's forms have them"
        );
        let form = Form::new("t".into(), vec![field("r", FieldKind::Line).required(), field("ok", FieldKind::Line)]);
        let again = check(&form, &Values::new().with("r", "  ").with("ok", "kept")).expect_err("required");
        assert_eq!(again.fields[0].error, Some(Text::key("form.required")));
        assert_eq!(again.fields[1].value, ["kept"]);
    }

    #[test]
    fn a_table_becomes_reported_fields_and_items() {
        let mut table = Table::new(vec![("who".into(), "Who".into()), ("n".into(), "How many".into())]);
        table.rows.push(vec!["ann <a&b>".into(), "2\u{0}".into()]);
        let x = table_to_xml(&table, Some("T"), &plain);
        let back: Element = String::from(&x).parse().expect("well-formed");
        let item = back.get_child("item", ns::DATA_FORMS).expect("item");
        let texts: Vec<String> = item.children().map(|f| f.children().map(Element::text).collect()).collect();
        assert_eq!(texts, ["ann <a&b>", "2"]);
        assert_eq!(back.get_child("reported", ns::DATA_FORMS).map(|r| r.children().count()), Some(2));
    }
}
