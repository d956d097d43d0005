//! A bridge for the tests of registration, commands and persons: contacts are `name@host`, everything else of its declarations is small.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use isthmus_bridge::{
    Action, Address, Addressing, Audience, BadAddress, Bridge, BridgeError, Call, Command, DeliveryError, Failure,
    Field, FieldKind, Form, Host, Inbox, Lang, NetworkId, Parts, Place, Profile, Registration, Resolved, Scope,
    SessionOf, Setting, SettingKind, Step, Table, Text,
};
use serde_json::json;

pub(crate) struct Sample {
    profile: Profile,
    commands: Vec<Command>,
    pub(crate) texts: [(Lang, &'static str); 2],
}

/// The bridge, with registration required.
pub(crate) fn sample() -> Arc<dyn Bridge> {
    let mut profile = Profile::held("sample", "Sample");
    profile.registration = Registration::Required;
    let here: &'static [Place] = &[Place::Gateway];
    let commands = vec![
        Command::new("register", here, Audience::Anyone),
        Command::new("wizard", here, Audience::Anyone),
        Command::new("table", here, Audience::Registered),
        Command::new("secret", here, Audience::Admin),
        Command::new("boom", here, Audience::Anyone),
        Command::new("fails", here, Audience::Anyone),
        Command::new("wave", &[Place::Contact], Audience::Anyone),
    ];
    let english = "command.register = Register\ncommand.wizard = Order a pizza\ncommand.table = Table\ncommand.secret = Secret\ncommand.boom = Boom\ncommand.wave = Wave\n\
                   command.fails = Fails\nsetting.signature = Signature\nsetting.join = Join within seconds\nsetting.token = Token\nsetting.sort = Order\n\
                   setting.max = Limit\nsetting.persistent = Stay connected\nfield.username = Name\nfield.password = Password\nregistered = You are {name}.\n\
                   sample.taken = That name is taken.";
    let french = "command.register = S'inscrire\nfield.username = Nom\nregistered = Vous êtes {name}.";
    Arc::new(Sample { profile, commands, texts: [(Lang::new("en"), english), (Lang::new("fr"), french)] })
}

impl Addressing for Sample {
    fn parse(&self, local: Option<&str>, _resource: Option<&str>) -> Result<Address, BadAddress> {
        match local {
            None => Ok(Address::Gateway),
            Some(local) if local.contains('@') => Ok(Address::Contact(local.into())),
            Some(local) if local.starts_with('#') => Ok(Address::Room(local.into())),
            Some(_) => Err(BadAddress::Unknown("no such contact".into())),
        }
    }

    fn format(&self, address: &Address) -> Parts {
        match address {
            Address::Contact(id) => Parts::local(id.as_str()),
            Address::Room(id) => Parts::local(id.as_str()),
            _ => Parts::gateway(),
        }
    }

    fn network(&self, _address: &Address) -> NetworkId {
        "sample".into()
    }

    /// A name alone is at the host that the user has written into their signature.
    fn prompt_for(&self, typed: &str, settings: &Resolved) -> Result<Address, BadAddress> {
        match settings.str("signature") {
            host if !host.is_empty() && !typed.contains('@') => self.prompt(&format!("{typed}@{host}")),
            _ => self.prompt(typed),
        }
    }
}

#[async_trait]
impl Bridge for Sample {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn addressing(&self) -> &dyn Addressing {
        self
    }

    async fn session(&self, _of: SessionOf, mut inbox: Inbox, _host: Host) -> Result<(), BridgeError> {
        while inbox.recv().await.is_some() {}
        Ok(())
    }

    fn settings(&self) -> &[Setting] {
        static ALL: LazyLock<Vec<Setting>> = LazyLock::new(|| {
            let number = SettingKind::Number { min: 0, max: 300 };
            vec![
                Setting::new("signature", SettingKind::Line, &[Scope::Gateway, Scope::Contact], ""),
                Setting::new("join", number.clone(), &[Scope::Gateway], "30"),
                Setting::new("token", SettingKind::Secret, &[Scope::Gateway], ""),
                Setting::new(
                    "sort",
                    SettingKind::Choice(&[("new", "Newest"), ("old", "Oldest")]),
                    &[Scope::Contact],
                    "new",
                ),
                Setting::new("max", number, &[Scope::Gateway], "9").admin_only(),
                Setting::new("persistent", SettingKind::Bool, &[Scope::Network], "false"),
            ]
        });
        &ALL
    }

    fn commands(&self) -> &[Command] {
        &self.commands
    }

    async fn step(&self, call: Call, _host: &Host) -> Result<Step, DeliveryError> {
        match call.node.as_str() {
            "register" => Ok(register(&call)),
            "wizard" => Ok(wizard(&call)),
            "table" => {
                let mut table = Table::new(vec![("a".into(), "A".into()), ("b".into(), "B".into())]);
                table.rows.push(vec!["1".into(), "2".into()]);
                Ok(Step::Done { notes: Vec::new(), table: Some(table) })
            }
            "wave" => Ok(match (&call.at, call.values.get("number").filter(|_| call.action != Action::Start)) {
                (Address::Contact(who), Some(times)) => Step::done(Text::plain(format!("{who} × {times}"))),
                (Address::Contact(_), None) => Step::Ask {
                    form: Form::new(
                        Text::plain("wave"),
                        vec![Field::new("number", FieldKind::Number { min: 1, max: 9 }).required()],
                    ),
                    state: json!(null),
                    last: true,
                },
                _ => Step::done(Text::plain("to whom?")),
            }),
            "boom" => panic!("this bridge has a fault"),
            "fails" => Err(DeliveryError::new(Failure::Conflict, Text::key("sample.taken"))),
            _ => Ok(Step::done("done")),
        }
    }

    fn texts(&self) -> &[(Lang, &str)] {
        &self.texts
    }
}

fn register(call: &Call) -> Step {
    let mut name = Field::new("username", FieldKind::Line).required().with_value("juliet");
    match call.values.get("username") {
        // Who was named by the administrator has nothing to fill in.
        None if call.user.as_str() == "named@example.org" => return Step::done("registered"),
        Some("taken") => name = name.with_value("taken").with_error(Text::key("sample.taken")),
        Some(given) if call.action != Action::Start => return Step::done(Text::key("registered").with("name", given)),
        _ => {}
    }
    let form = Form::new("Sample".into(), vec![name, Field::new("password", FieldKind::Secret)]);
    Step::Ask { form: form.with_instructions("Choose a name.".into()), state: json!(null), last: true }
}

/// Three forms; what was said before travels in the state.
fn wizard(call: &Call) -> Step {
    let ask = |key: &str, kind, state, last| Step::Ask {
        form: Form::new(Text::plain(key), vec![Field::new(key, kind).with_label(key.into()).required()]),
        state,
        last,
    };
    let size = || FieldKind::Choice(vec![("s".into(), "Small".into()), ("l".into(), "Large".into())]);
    match (call.state["at"].as_u64(), call.values.get("size"), call.values.get("number")) {
        (None, ..) => ask("size", size(), json!({"at": 1}), false),
        (Some(1), Some(size), _) => {
            ask("number", FieldKind::Number { min: 1, max: 9 }, json!({"at": 2, "size": size}), false)
        }
        (Some(2), _, Some(number)) => {
            ask("sure", FieldKind::Bool, json!({"at": 3, "size": call.state["size"], "number": number}), true)
        }
        _ => Step::done(format!(
            "{} × {}, sure: {}",
            call.state["number"].as_str().unwrap_or("?"),
            call.state["size"].as_str().unwrap_or("?"),
            call.values.bool("sure").unwrap_or(false)
        )),
    }
}
