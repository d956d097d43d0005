//! Where the configuration comes from: `isthmus.toml`, `bridges/*.toml`, the environment, layered by figment in this order.

use std::path::{Path, PathBuf};

use figment::value::{Dict, Map, Tag, Value};
use figment::{Error, Figment, Metadata, Profile, Provider};
use isthmus_bridge::ConfigError;

use super::places::{Document, Places};

/// What our environment variables begin with.
pub(super) const PREFIX: &str = "ISTHMUS_";

/// Variables of the command line, which are no keys.
const NOT_KEYS: [&str; 2] = ["ISTHMUS_CONFIG", "ISTHMUS_LOG"];

/// The merged tree.
pub(super) type Tree = serde_json::Map<String, serde_json::Value>;

/// Reads everything. `Err` only where there is nothing to go on with; other faults come beside what could be read.
pub(super) fn gather(
    path: &Path,
    environment: Vec<(String, String)>,
) -> Result<(Tree, Places, Vec<ConfigError>), Vec<ConfigError>> {
    let folder = folder_of(path).map_err(|e| vec![e])?;
    let mut errors = Vec::new();
    let mut figment = Figment::new();
    let mut documents = Vec::new();
    for (file, nest) in files_of(&folder, &mut errors) {
        let Some((layer, document)) = read_file(&folder, &file, nest, &mut errors) else { continue };
        if let [_, name] = document.nest.as_slice()
            && layer_holds(&figment, name)
        {
            let what = format!("stands beside the table [bridges.{name}] of isthmus.toml: expected only one of them");
            errors.push(in_file(&document.file, None, what));
        }
        figment = figment.merge(layer);
        documents.push(document);
    }
    for (name, value) in environment {
        match from_environment(&figment, &name, &value) {
            Ok(Some(layer)) => figment = figment.merge(layer),
            Ok(None) => {}
            Err(what) => errors.push(in_file(&name, None, what)),
        }
    }
    let root = data(&figment);
    let tree = match serde_json::to_value(&root) {
        Ok(serde_json::Value::Object(tree)) => tree,
        Ok(_) => Tree::new(),
        Err(e) => return Err(vec![ConfigError::new("", format!("cannot be read: {e}"))]),
    };
    Ok((tree, Places::new(folder, figment, root, documents), errors))
}

/// `--config` names the folder, or the file `isthmus.toml` in it.
fn folder_of(path: &Path) -> Result<PathBuf, ConfigError> {
    let shown = path.display().to_string();
    match std::fs::metadata(path) {
        Ok(m) if m.is_dir() => absolute(path),
        Ok(_) if path.file_name().is_some_and(|n| n == "isthmus.toml") => {
            let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
            absolute(parent.unwrap_or(Path::new(".")))
        }
        Ok(_) => Err(in_file(&shown, None, "expected a folder with isthmus.toml in it, or a file of that name".into())),
        Err(e) => Err(in_file(&shown, None, format!("expected the configuration folder, but: {e}"))),
    }
}

/// What is relative to the folder must not depend on where the program happens to stand.
fn absolute(path: &Path) -> Result<PathBuf, ConfigError> {
    let shown = path.display().to_string();
    std::path::absolute(path).map_err(|e| in_file(&shown, None, format!("expected the configuration folder, but: {e}")))
}

/// `isthmus.toml` and `bridges/*.toml`, each with the place of its table in the tree.
fn files_of(folder: &Path, errors: &mut Vec<ConfigError>) -> Vec<(PathBuf, Vec<String>)> {
    let mut files = vec![(folder.join("isthmus.toml"), Vec::new())];
    let bridges = folder.join("bridges");
    let entries = match std::fs::read_dir(&bridges) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return files,
        Err(e) => {
            errors.push(in_file("bridges", None, format!("expected a readable folder, but: {e}")));
            return files;
        }
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
    paths.sort();
    for path in paths {
        // An editor's back-up (`.#email.toml`, `email.toml~`) is no bridge.
        let Some(name) = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".toml")) else {
            continue;
        };
        if !name.starts_with('.') && !name.is_empty() {
            let nest = vec!["bridges".to_owned(), name.to_owned()];
            files.push((path, nest));
        }
    }
    files
}

fn read_file(
    folder: &Path,
    path: &Path,
    nest: Vec<String>,
    errors: &mut Vec<ConfigError>,
) -> Option<(Layer, Document)> {
    let file = path.strip_prefix(folder).unwrap_or(path).display().to_string();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) => {
            errors.push(in_file(&file, None, format!("expected a readable file, but: {e}")));
            return None;
        }
    };
    let table = match toml::from_str::<toml::Table>(&text) {
        Ok(table) => table,
        Err(e) => {
            let line = e.span().map(|s| line_at(&text, s.start));
            errors.push(in_file(&file, line, format!("is not TOML: {}", e.message().trim().replace('\n', ", "))));
            return None;
        }
    };
    let dict = match Value::serialize(&table) {
        Ok(Value::Dict(_, dict)) => dict,
        Ok(_) => Dict::new(),
        Err(e) => {
            errors.push(in_file(&file, None, format!("cannot be read: {e}")));
            return None;
        }
    };
    let layer = Layer { name: file.clone(), dict: nested(&nest, Value::Dict(Tag::Default, dict)) };
    Some((layer, Document { file, text, nest }))
}

/// `ISTHMUS_SERVER__PORT=5347` → `server.port`. Each part names the key that is written like it in upper case with `_` for what is no letter or
/// digit; where there is none, itself in lower case.
fn from_environment(figment: &Figment, name: &str, value: &str) -> Result<Option<Layer>, String> {
    let Some(rest) = name.strip_prefix(PREFIX).filter(|_| !NOT_KEYS.contains(&name)) else { return Ok(None) };
    // COMPAT(kubernetes): a service called "isthmus" puts these into every container beside it.
    if rest.starts_with("SERVICE_") || rest == "PORT" || rest.starts_with("PORT_") {
        return Ok(None);
    }
    let parts: Vec<&str> = rest.split("__").collect();
    if parts.iter().any(|p| p.is_empty()) {
        return Err("expected ISTHMUS_<TABLE>__<KEY>, as in ISTHMUS_SERVER__PORT".to_owned());
    }
    let mut at = Some(data(figment));
    let mut path: Vec<String> = Vec::new();
    for (depth, part) in parts.iter().enumerate() {
        let keys: Vec<String> = at.iter().flat_map(Dict::keys).filter(|k| shouted(k) == *part).cloned().collect();
        let key = match keys.as_slice() {
            [] if depth == 1 && path == ["bridges"] => {
                let names: Vec<String> = at.iter().flat_map(Dict::keys).map(|k| shouted(k)).collect();
                let there = if names.is_empty() { "none is configured".into() } else { names.join(", ") };
                return Err(format!("names a bridge that is not configured: expected one of {there}"));
            }
            [] => part.to_lowercase(),
            [one] => one.clone(),
            several => return Err(format!("could mean each of {}: rename one of them", several.join(", "))),
        };
        at = at.and_then(|d| match d.get(&key) {
            Some(Value::Dict(_, inner)) => Some(inner.clone()),
            _ => None,
        });
        path.push(key);
    }
    let last = path.last().map_or("", String::as_str);
    let value = value_of(last, value);
    Ok(Some(Layer { name: name.to_owned(), dict: nested(&path, value) }))
}

/// Lists and yes/no are read as such; all else stays text, for a secret such as `007` must not become a number. Numbers are read from text later.
fn value_of(key: &str, text: &str) -> Value {
    let secret = ["secret", "password", "token", "key"].iter().any(|s| key.ends_with(s));
    match text.trim() {
        "true" if !secret => Value::from(true),
        "false" if !secret => Value::from(false),
        list if !secret && list.starts_with('[') && list.ends_with(']') => {
            list.parse().unwrap_or_else(|_| Value::from(text))
        }
        _ => Value::from(text),
    }
}

/// `libera.chat` → `LIBERA_CHAT`.
fn shouted(key: &str) -> String {
    key.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

fn nested(path: &[String], value: Value) -> Dict {
    let mut value = value;
    for key in path.iter().skip(1).rev() {
        value = Value::Dict(Tag::Default, Dict::from([(key.clone(), value)]));
    }
    match (path.first(), value) {
        (Some(key), value) => Dict::from([(key.clone(), value)]),
        (None, Value::Dict(_, dict)) => dict,
        (None, _) => Dict::new(),
    }
}

fn layer_holds(figment: &Figment, bridge: &str) -> bool {
    matches!(data(figment).get("bridges"), Some(Value::Dict(_, bridges)) if bridges.contains_key(bridge))
}

/// The tree as merged so far. Our layers cannot fail: they hold what is read already.
fn data(figment: &Figment) -> Dict {
    figment.data().ok().and_then(|mut profiles| profiles.remove(&Profile::Default)).unwrap_or_default()
}

fn in_file(file: &str, line: Option<usize>, what: String) -> ConfigError {
    let mut error = ConfigError::new("", what);
    error.file = Some(file.to_owned());
    error.line = line;
    error
}

/// The line, from 1, of a byte position.
pub(super) fn line_at(text: &str, position: usize) -> usize {
    text.bytes().take(position).filter(|b| *b == b'\n').count() + 1
}

/// One file or variable; figment marks each of its values with it.
struct Layer {
    name: String,
    dict: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}
