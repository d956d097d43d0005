//! Clauses about what a bridge declares: addresses, profile, settings, commands, texts, faults of its section.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use super::Contract;
use super::texts::Lines;
use crate::address::{Address, Addressing, Parts};
use crate::bridge::{Contacts, Mode};
use crate::command::{Action, Call, FieldKind, Form, Note, Place, Step};
use crate::settings::{Setting, SettingKind, Values};
use crate::suite::build;
use crate::text::Text;

impl Contract {
    /// `parse(format(a)) == a` for whatever is parsed from local parts of every sort; nothing panics.
    pub async fn addresses_keep_their_law(self) {
        let bridge = self.bridge();
        let addressing = bridge.addressing();
        assert_eq!(addressing.parse(None, None), Ok(Address::Gateway), "the domain itself is the gateway");
        assert_eq!(addressing.format(&Address::Gateway), Parts::gateway(), "the gateway is the domain itself");
        for address in self.addresses(&bridge) {
            assert_eq!(keeps_law(addressing, &address), Ok(()));
        }
        let known = [Some(self.contact.clone()), self.room.clone()];
        let strategy = (locals(known.into_iter().flatten().collect()), proptest::option::of("\\PC{1,20}"));
        let mut runner = TestRunner::new(Config { cases: 2_000, failure_persistence: None, ..Config::default() });
        let result = runner.run(&strategy, |(local, resource)| {
            let parsed = [addressing.parse(Some(&local), resource.as_deref()), addressing.prompt(&local)];
            parsed.iter().flatten().try_for_each(|a| keeps_law(addressing, a)).map_err(TestCaseError::fail)
        });
        if let Err(e) = result {
            panic!("{e}");
        }
    }

    /// The profile does not contradict itself or the rest that is declared.
    pub async fn the_profile_is_sound(self) {
        let bridge = self.bridge();
        let profile = bridge.profile();
        let token = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        assert!(token(profile.gateway_type), "gateway_type is a word in lower case");
        assert!(token(profile.rooms_type), "rooms_type is a word in lower case");
        assert!(!profile.title.trim().is_empty(), "title is empty");
        assert!(profile.max_text > 0 && profile.max_recipients > 0, "nothing could be sent");
        assert!(!profile.answer_within.is_zero(), "no delivery could be answered in time");
        if profile.mode == Mode::Held {
            assert!(!profile.retry_for.is_zero(), "a held bridge that never tries again");
            assert!(profile.notice_after.is_none_or(|n| n < profile.retry_for), "the notice comes after the end");
        }
        if let Some(key) = profile.join_setting {
            let setting = bridge.settings().iter().find(|s| s.key == key);
            let number = setting.is_some_and(|s| matches!(s.kind, SettingKind::Number { min: 0.., .. }));
            assert!(number, "join_setting names {key}, which is no setting with a number from 0");
        }
        assert_eq!(profile.rooms, self.room.is_some(), "rooms in the profile and in Contract::with_room must agree");
    }

    /// Keys, scopes and defaults of the settings.
    pub async fn settings_are_sound(self) {
        let bridge = self.bridge();
        let mut seen = BTreeSet::new();
        for setting in bridge.settings() {
            let key = setting.key;
            assert!(is_key(key), "{key}: letters in lower case, digits, - and _ are expected");
            assert!(seen.insert(key), "{key} is declared twice");
            assert!(!setting.scopes.is_empty(), "{key} can be set nowhere");
            assert!(default_fits(setting), "{key}: the default {:?} does not fit {:?}", setting.default, setting.kind);
            if let Some(rule) = setting.rule {
                assert!(!rule.expected.trim().is_empty(), "{key}: nobody can tell what is expected");
                assert!(
                    setting.default.is_empty() || (rule.holds)(setting.default),
                    "{key}: the default is not expected"
                );
            }
        }
    }

    /// Names and places of the commands; the first step of each at each of its places is a form or an answer with sound texts.
    pub async fn commands_are_sound(self) {
        let bridge = self.bridge();
        let host = self.host(&bridge);
        let lines = Lines::of(&*bridge);
        let mut seen = BTreeSet::new();
        for command in bridge.commands() {
            assert!(is_key(command.node), "{}: a word in lower case is expected", command.node);
            assert!(seen.insert(command.node), "{} is declared twice", command.node);
            assert!(!command.places.is_empty(), "{} is offered nowhere", command.node);
            for at in self.addresses(&bridge).into_iter().filter(|at| command.places.iter().any(|p| is_at(*p, at))) {
                let call = Call::start(command.node, self.user.clone(), at);
                match bridge.step(call, &host.host()).await {
                    Ok(step) => step_is_sound(command.node, &step, &lines),
                    Err(error) => lines.expect(&error.text, &format!("the failure of {}", command.node)),
                }
            }
        }
    }

    /// States and values that no form gave: an answer, never a panic.
    pub async fn commands_survive_nonsense(self) {
        let bridge = self.bridge();
        let host = self.host(&bridge);
        let nodes = bridge.commands().iter().map(|c| c.node).chain(["no-such-command"]);
        for node in nodes {
            for at in self.addresses(&bridge) {
                for state in [json!(null), json!("x"), json!([1]), json!({"number": 1, "page": "x", "step": -1})] {
                    for action in [Action::Start, Action::Next, Action::Prev, Action::Complete] {
                        let mut call = Call::start(node, self.user.clone(), at.clone());
                        (call.state, call.action) = (state.clone(), action);
                        call.values =
                            Values::new().with("", "\0").with("number", "\r\n").with("code", "x".repeat(5_000));
                        // What it answers is its own affair.
                        let _ = bridge.step(call, &host.host()).await;
                    }
                }
            }
        }
    }

    /// Every language has every key with the same placeholders, and every declared text stands in them.
    pub async fn texts_are_complete(self) {
        let bridge = self.bridge();
        let lines = Lines::of(&*bridge);
        lines.agree();
        for setting in bridge.settings() {
            lines.expect(&setting.label, &format!("the setting {}", setting.key));
            if setting.rule.is_some() {
                let expected = Text::key(format!("expected.{}", setting.key));
                lines.expect(&expected, &format!("what is expected of {}", setting.key));
            }
        }
        for command in bridge.commands() {
            lines.expect(&command.name, &format!("the command {}", command.node));
        }
        if let Contacts::Refuse(text) = &bridge.profile().contacts {
            lines.expect(text, "the refusal of contacts");
        }
        if let Some(text) = &bridge.profile().contact_status {
            lines.expect(text, "the status of contacts");
        }
    }

    /// An unknown key is reported, and a value of a wrong type with the key that it stands under.
    pub async fn build_faults_name_their_keys(self) {
        assert!(build(&*self.kind, self.keys.clone()).is_ok(), "the section under test builds");
        let with = |key: &str, value: serde_json::Value| {
            let mut keys = self.keys.clone();
            keys[key] = value;
            keys
        };
        self.names_fault("zz_no_such_key", with("zz_no_such_key", json!(1)));
        for key in self.keys.as_object().into_iter().flat_map(|keys| keys.keys()) {
            // No key takes a list of lists.
            self.names_fault(key, with(key, json!([[["nonsense"]]])));
        }
    }

    fn names_fault(&self, key: &str, keys: serde_json::Value) {
        let Err(faults) = build(&*self.kind, keys) else { panic!("nonsense under {key} is not reported") };
        let named = faults
            .iter()
            .any(|f| f.key == key || f.key.starts_with(&format!("{key}.")) || f.key.starts_with(&format!("{key}[")));
        assert!(named, "nonsense under {key} is reported without naming it: {faults:?}");
        assert!(faults.iter().all(|f| !f.what.is_empty()), "a fault without words: {faults:?}");
    }
}

/// Local parts as servers let them through (lower case, no controls), and worse.
fn locals(known: Vec<String>) -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9._+=~-]{1,24}",
        "[+][0-9]{3,16}",
        "[a-z0-9.]{1,12}[%@+][a-z0-9.-]{1,20}",
        "[#&!+][a-z0-9#._-]{1,20}([%][a-z0-9.-]{1,12})?",
        "[a-z0-9\"'<>,;:@%# /\\\\&\\[\\]{}^|`=+.-]{0,40}",
        "\\PC{0,40}",
        // Close to what is known to be good.
        (proptest::sample::select(known), "[a-z0-9%@#+. -]{0,6}").prop_map(|(known, more)| format!("{known}{more}")),
    ]
}

fn keeps_law(addressing: &dyn Addressing, address: &Address) -> Result<(), String> {
    let parts = addressing.format(address);
    if parts.local.as_deref() == Some("") {
        return Err(format!("{address:?} is written with an empty local part"));
    }
    let again = addressing.parse(parts.local.as_deref(), parts.resource.as_deref());
    if again.as_ref() != Ok(address) {
        return Err(format!("parse(format(a)) != a: {address:?} is written as {parts:?}, which is read as {again:?}"));
    }
    if addressing.network(address).as_str().is_empty() {
        return Err(format!("{address:?} is on no network"));
    }
    Ok(())
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

fn default_fits(setting: &Setting) -> bool {
    let default = setting.default;
    match &setting.kind {
        SettingKind::Bool => matches!(default, "true" | "false"),
        SettingKind::Number { min, max } => {
            default.is_empty() || default.parse::<i64>().is_ok_and(|n| (*min..=*max).contains(&n))
        }
        SettingKind::Line => !default.contains('\n'),
        SettingKind::Lines => true,
        SettingKind::Choice(choices) => default.is_empty() || choices.iter().any(|(value, _)| *value == default),
        SettingKind::Secret => default.is_empty(),
    }
}

fn is_at(place: Place, at: &Address) -> bool {
    matches!(
        (place, at),
        (Place::Gateway, Address::Gateway)
            | (Place::Network, Address::Network(_))
            | (Place::Room, Address::Room(_))
            | (Place::Contact, Address::Contact(_))
    )
}

fn step_is_sound(node: &str, step: &Step, lines: &Lines) {
    match step {
        Step::Ask { form, .. } => form_is_sound(node, form, lines),
        Step::Done { notes, table } => {
            for Note::Info(text) | Note::Warn(text) | Note::Error(text) in notes {
                lines.expect(text, node);
            }
            if let Some(table) = table {
                table.columns.iter().for_each(|(_, title)| lines.expect(title, node));
                assert!(table.rows.iter().all(|row| row.len() == table.columns.len()), "{node}: ragged table");
                table.clone().keys_mut().for_each(|key| lines.expect(&crate::Text::key(key.clone()), node));
            }
        }
    }
}

fn form_is_sound(node: &str, form: &Form, lines: &Lines) {
    let mut seen = BTreeSet::new();
    for text in form.title.iter().chain(&form.instructions) {
        lines.expect(text, node);
    }
    for field in &form.fields {
        assert!(seen.insert(&field.key), "{node}: the field {} stands twice", field.key);
        assert!(field.kind != FieldKind::Secret || field.value.is_empty(), "{node}: {} shows a secret", field.key);
        for text in field.error.iter().chain(Some(&field.label).filter(|_| field.kind != FieldKind::Hidden)) {
            lines.expect(text, node);
        }
        if let FieldKind::Choice(choices) | FieldKind::Choices(choices) = &field.kind {
            choices.iter().for_each(|(_, label)| lines.expect(label, node));
        }
    }
}
