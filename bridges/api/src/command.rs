//! Commands: declared once by a bridge; the core shows each as an ad-hoc command (XEP-0050), by chat, and where it fits by `jabber:iq:register`.

use crate::address::{Address, BareJid};
use crate::settings::{Rule, Values};
use crate::text::{Lang, Text};

/// Who may run a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Audience {
    /// Whoever may use the bridge, registered or not.
    Anyone,
    /// Registered users.
    Registered,
    /// Administrators.
    Admin,
}

/// On what kind of address a command is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Place {
    /// On the gateway's own address.
    Gateway,
    /// On a network's.
    Network,
    /// On a room's.
    Room,
    /// On a contact's.
    Contact,
}

/// A command, declared.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Command {
    /// Its node (XEP-0050), and its word by chat.
    pub node: &'static str,
    /// Where.
    pub places: &'static [Place],
    /// For whom.
    pub audience: Audience,
    /// Its name for people.
    pub name: Text,
    /// It is a form of these settings, which the core shows and keeps as it does with `configure`; the bridge is not asked.
    pub settings: Option<&'static [&'static str]>,
}

impl Command {
    /// A command of this node; its name is the text `command.<node>`.
    pub fn new(node: &'static str, places: &'static [Place], audience: Audience) -> Self {
        Self { node, places, audience, name: Text::key(format!("command.{node}")), settings: None }
    }

    /// A form of these settings, as far as they can be set at the address where it is called.
    #[must_use]
    pub fn of_settings(mut self, keys: &'static [&'static str]) -> Self {
        self.settings = Some(keys);
        self
    }
}

/// What the person did with the last form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Action {
    /// Began, with or without values.
    #[default]
    Start,
    /// On to the next form.
    Next,
    /// Back to the form before.
    Prev,
    /// That is all.
    Complete,
}

/// One step of a command.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Call {
    /// Which command.
    pub node: String,
    /// For whom it is done.
    pub user: BareJid,
    /// Who does it: the user, or an administrator for them.
    pub by: BareJid,
    /// On which address.
    pub at: Address,
    /// The language to answer in (the core translates [`Text::Key`]).
    pub lang: Lang,
    /// What the person did.
    pub action: Action,
    /// What the bridge gave with the last form; `Null` at the start.
    pub state: serde_json::Value,
    /// The form, filled in. The core has checked it against the fields' kinds.
    pub values: Values,
}

impl Call {
    /// The start of a command.
    pub fn start(node: impl Into<String>, user: BareJid, at: Address) -> Self {
        Self {
            node: node.into(),
            by: user.clone(),
            user,
            at,
            lang: Lang::default(),
            action: Action::Start,
            state: serde_json::Value::Null,
            values: Values::new(),
        }
    }
}

/// What comes next.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Step {
    /// Show this form. To ask again, give the same form with [`Field::error`] set.
    Ask {
        /// The form.
        form: Form,
        /// Given back in the next [`Call`].
        state: serde_json::Value,
        /// Whether it is the last one.
        last: bool,
    },
    /// Finished.
    Done {
        /// Words for the person.
        notes: Vec<Note>,
        /// A table of results.
        table: Option<Table>,
    },
}

impl Step {
    /// Finished, with one sentence.
    pub fn done(text: impl Into<Text>) -> Self {
        Self::Done { notes: vec![Note::Info(text.into())], table: None }
    }
}

/// A sentence with the result of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Note {
    /// For information.
    Info(Text),
    /// A warning.
    Warn(Text),
    /// What did not work.
    Error(Text),
}

/// Rows under titled columns.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Table {
    /// Columns: field name and title.
    pub columns: Vec<(String, Text)>,
    /// Rows, each as long as `columns`.
    pub rows: Vec<Vec<String>>,
    /// The columns (by field name) whose cells are keys of texts ([`Text::key`], without arguments): the reader sees the words.
    #[cfg_attr(feature = "serde", serde(default))]
    pub keyed: Vec<String>,
}

impl Table {
    /// A table of these columns, still empty.
    pub fn new(columns: Vec<(String, Text)>) -> Self {
        Self { columns, rows: Vec::new(), keyed: Vec::new() }
    }

    /// With cells of this column that are keys of texts.
    #[must_use]
    pub fn keyed(mut self, column: &str) -> Self {
        self.keyed.push(column.to_owned());
        self
    }

    /// The cells that are keys of texts.
    pub fn keys_mut(&mut self) -> impl Iterator<Item = &mut String> {
        let keyed: Vec<bool> = self.columns.iter().map(|(name, _)| self.keyed.contains(name)).collect();
        let cells = self.rows.iter_mut().flat_map(move |row| {
            let keyed = keyed.clone();
            row.iter_mut().enumerate().filter(move |(at, _)| keyed.get(*at) == Some(&true)).map(|(_, cell)| cell)
        });
        cells.filter(|cell| !cell.is_empty())
    }
}

/// A form (XEP-0004), asked field by field where there is only chat.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Form {
    /// Its title.
    pub title: Option<Text>,
    /// What to do.
    pub instructions: Option<Text>,
    /// Its fields, in order.
    pub fields: Vec<Field>,
}

impl Form {
    /// A form of these fields.
    pub fn new(title: Text, fields: Vec<Field>) -> Self {
        Self { title: Some(title), instructions: None, fields }
    }

    /// With instructions.
    #[must_use]
    pub fn with_instructions(mut self, text: Text) -> Self {
        self.instructions = Some(text);
        self
    }
}

/// What a field takes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum FieldKind {
    /// One line.
    Line,
    /// Several lines.
    Lines,
    /// A secret: never shown again.
    Secret,
    /// Yes or no.
    Bool,
    /// A whole number in this range (XEP-0122).
    Number {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// One of these: value and label.
    Choice(Vec<(String, Text)>),
    /// Any of these: value and label.
    Choices(Vec<(String, Text)>),
    /// Words only, nothing to fill in.
    Fixed,
    /// Carried along, not shown.
    Hidden,
}

/// A field of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Field {
    /// Its key in [`Values`].
    pub key: String,
    /// Its label.
    pub label: Text,
    /// What it takes.
    pub kind: FieldKind,
    /// Must be filled in.
    pub required: bool,
    /// What stands in it; never set for a [`FieldKind::Secret`].
    pub value: Vec<String>,
    /// What was wrong with the last answer.
    pub error: Option<Text>,
    /// What else an answer must be, where it is not empty.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub rule: Option<Rule>,
}

impl Field {
    /// A field whose label is the text `field.<key>`.
    pub fn new(key: impl Into<String>, kind: FieldKind) -> Self {
        let key = key.into();
        let label = Text::key(format!("field.{key}"));
        Self { label, key, kind, required: false, value: Vec::new(), error: None, rule: None }
    }

    /// Must be filled in.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// With this value in it.
    #[must_use]
    pub fn with_value(mut self, value: impl Into<String>) -> Self {
        self.value = vec![value.into()];
        self
    }

    /// With this label.
    #[must_use]
    pub fn with_label(mut self, label: Text) -> Self {
        self.label = label;
        self
    }

    /// With what was wrong.
    #[must_use]
    pub fn with_error(mut self, error: Text) -> Self {
        self.error = Some(error);
        self
    }
}
