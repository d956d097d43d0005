//! From a dotted key to the file and line (or the variable) where it stands.

use std::path::PathBuf;

use figment::Figment;
use figment::value::{Dict, Value};
use isthmus_bridge::ConfigError;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::sources::line_at;

/// A file that was read.
pub(super) struct Document {
    /// Its path, relative to the configuration folder.
    pub(super) file: String,
    pub(super) text: String,
    /// Where its table hangs in the tree: nowhere, or `bridges`, name.
    pub(super) nest: Vec<String>,
}

/// Where everything stands.
pub(super) struct Places {
    pub(super) folder: PathBuf,
    figment: Figment,
    root: Dict,
    documents: Vec<Document>,
}

impl Places {
    pub(super) fn new(folder: PathBuf, figment: Figment, root: Dict, documents: Vec<Document>) -> Self {
        Self { folder, figment, root, documents }
    }

    /// The fault, with file and line. Its key is relative to the table `under`.
    pub(super) fn locate(&self, under: &[&str], mut error: ConfigError) -> ConfigError {
        if error.file.is_some() {
            return error;
        }
        let mut steps: Vec<Step> = under.iter().map(|k| Step::Key((*k).to_owned())).collect();
        let table = self.reach(&steps);
        let (more, whole) = table.map_or((Vec::new(), false), |t| follow(t, &error.key));
        steps.extend(more);
        if whole && let Some(variable) = self.variable(&steps) {
            error.file = Some(variable);
            error.key = if under.is_empty() { error.key } else { format!("{}.{}", under.join("."), error.key) };
            return error;
        }
        if let Some((document, line)) = self.in_documents(&steps) {
            error.line = line;
            if document.nest.is_empty() && !under.is_empty() {
                error.key = format!("{}.{}", under.join("."), error.key);
            }
            error.file = Some(document.file.clone());
        }
        error
    }

    fn reach(&self, steps: &[Step]) -> Option<Node<'_>> {
        let mut node = Node::Table(&self.root);
        for step in steps {
            node = node.child(step)?;
        }
        Some(node)
    }

    /// The variable that the value came from, if it was one.
    fn variable(&self, steps: &[Step]) -> Option<String> {
        let Some(Node::Value(value)) = self.reach(steps) else { return None };
        let name = &self.figment.get_metadata(value.tag())?.name;
        (!self.documents.iter().any(|d| d.file == *name)).then(|| name.to_string())
    }

    /// The file that holds most of the path, and the line of the last part of it.
    fn in_documents(&self, steps: &[Step]) -> Option<(&Document, Option<usize>)> {
        let mut best: Option<(usize, &Document, Option<usize>)> = None;
        for document in &self.documents {
            let nested = document.nest.len();
            let hangs = steps.len() >= nested
                && document.nest.iter().zip(steps).all(|(n, s)| matches!(s, Step::Key(k) if k == n));
            if !hangs {
                continue;
            }
            let (depth, line) = depth_and_line(&document.text, &steps[nested..]);
            if best.as_ref().is_none_or(|(b, _, _)| depth + nested > *b) {
                best = Some((depth + nested, document, line));
            }
        }
        best.map(|(_, document, line)| (document, line))
    }
}

impl std::fmt::Debug for Places {
    /// Not the texts: secrets stand in them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Places").field("folder", &self.folder).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Item(usize),
}

#[derive(Clone, Copy)]
enum Node<'a> {
    Table(&'a Dict),
    Value(&'a Value),
}

impl<'a> Node<'a> {
    fn dict(self) -> Option<&'a Dict> {
        match self {
            Self::Table(dict) | Self::Value(Value::Dict(_, dict)) => Some(dict),
            Self::Value(_) => None,
        }
    }

    fn child(self, step: &Step) -> Option<Self> {
        match (step, self) {
            (Step::Key(key), node) => node.dict()?.get(key).map(Self::Value),
            (Step::Item(i), Self::Value(Value::Array(_, items))) => items.get(*i).map(Self::Value),
            (Step::Item(_), _) => None,
        }
    }
}

/// The steps that a dotted key takes as far as the tree goes, and whether that was all of it. Keys may hold dots themselves (`"libera.chat"`):
/// the longest that fits is meant.
fn follow(start: Node<'_>, key: &str) -> (Vec<Step>, bool) {
    let (mut node, mut rest, mut steps) = (start, key, Vec::new());
    while !rest.is_empty() {
        let (step, after) = if let Some(bracket) = rest.strip_prefix('[') {
            let Some((number, after)) = bracket.split_once(']') else { return (steps, false) };
            let Ok(number) = number.parse() else { return (steps, false) };
            (Step::Item(number), after)
        } else {
            let Some(name) = node.dict().and_then(|d| d.keys().filter(|k| begins(rest, k)).max_by_key(|k| k.len()))
            else {
                return (steps, false);
            };
            (Step::Key(name.clone()), &rest[name.len()..])
        };
        let Some(child) = node.child(&step) else { return (steps, false) };
        node = child;
        steps.push(step);
        rest = after.strip_prefix('.').unwrap_or(after);
    }
    (steps, true)
}

fn begins(path: &str, key: &str) -> bool {
    path.strip_prefix(key).is_some_and(|r| r.is_empty() || r.starts_with('.') || r.starts_with('['))
}

/// How many steps a text goes along, and the line where the last of them stands.
fn depth_and_line(text: &str, steps: &[Step]) -> (usize, Option<usize>) {
    let Ok(root) = DeTable::parse(text) else { return (0, None) };
    let (mut depth, mut line) = (0, None);
    let mut here: Option<&DeValue<'_>> = None;
    for step in steps {
        let found: Option<(usize, &Spanned<DeValue<'_>>)> = match (step, here) {
            (Step::Key(key), None) => entry(root.get_ref(), key),
            (Step::Key(key), Some(DeValue::Table(table))) => entry(table, key),
            (Step::Item(i), Some(DeValue::Array(items))) => items.get(*i).map(|v| (v.span().start, v)),
            _ => None,
        };
        let Some((start, value)) = found else { break };
        depth += 1;
        line = Some(line_at(text, start));
        here = Some(value.get_ref());
    }
    (depth, line)
}

fn entry<'t, 'i>(table: &'t DeTable<'i>, key: &str) -> Option<(usize, &'t Spanned<DeValue<'i>>)> {
    table.iter().find(|(k, _)| k.get_ref() == key).map(|(k, v)| (k.span().start, v))
}
