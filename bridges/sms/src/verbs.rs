//! `isthmus sms check <provider>`: reads a provider file, says what the provider has to be told, and sends one text where asked.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use isthmus_bridge::section::{CHOSEN_KEYS, CORE_KEYS, Table};
use isthmus_bridge::{ConfigError, ContactId, Section, Verb};
use serde_json::{Map, Value};
use url::Url;

use crate::carry::{self, Sending};
use crate::config::{self, Config, Provider};
use crate::provider::client::Http;
use crate::provider::read;
use crate::translate::number::Number;

/// All of them.
pub(crate) const ALL: &[Verb] = &[Verb::new(
    "check",
    "<provider or file> [--config DIR] [--to NUMBER --text TEXT [--from NUMBER]]: look at a provider file; send one text",
    check,
)];

/// What was asked for.
#[derive(Debug, Default)]
struct Asked {
    what: String,
    folder: PathBuf,
    to: Option<String>,
    from: Option<String>,
    text: Option<String>,
}

fn check(words: &[String]) -> Result<String, String> {
    let asked = asked(words)?;
    let file = Path::new(&asked.what);
    let bridges = bridges(&asked.folder);
    let found = bridges.iter().find_map(|(_, config)| {
        let provider = config.as_ref().ok()?.providers.iter().find(|p| p.name == asked.what)?;
        Some((config.as_ref().ok()?, provider))
    });
    if let Some((config, provider)) = found {
        let mut said = format!("{}: in order ({})\n", provider.name, provider.spec.title);
        said += &addresses(&asked.folder, &config.name, provider);
        return match (&asked.to, &asked.text) {
            (Some(to), Some(text)) => send(config, provider, to, text, &asked).map(|line| said + &line),
            (None, None) => Ok(said.trim_end().to_owned()),
            _ => Err("expected --to NUMBER and --text TEXT together".to_owned()),
        };
    }
    let shipped = config::SHIPPED.iter().find(|(name, _)| *name == asked.what).map(|(_, text)| (*text).to_owned());
    let text = match (std::fs::read_to_string(file), shipped) {
        (Ok(text), _) => text,
        (Err(_), Some(text)) => text,
        (Err(error), None) => {
            // What is wrong with a bridge's configuration may be why its provider was not found.
            let faults: Vec<String> =
                bridges.into_iter().filter_map(|(_, c)| c.err()).flatten().map(|e| e.to_string()).collect();
            return Err(if faults.is_empty() { format!("{}: {error}", asked.what) } else { faults.join("\n") });
        }
    };
    let spec = read::read(&asked.what, &text).map_err(lines)?;
    if asked.to.is_some() {
        return Err(format!(
            "{} is no provider of a bridge in {}: a text needs its credentials",
            asked.what,
            asked.folder.display()
        ));
    }
    let needed: Vec<String> = spec
        .credentials
        .iter()
        .map(|(name, default)| default.as_ref().map_or_else(|| name.clone(), |d| format!("{name} (default {d})")))
        .collect();
    Ok(format!("{}: in order ({})\n[credentials]: {}", asked.what, spec.title, needed.join(", ")))
}

fn asked(words: &[String]) -> Result<Asked, String> {
    let mut asked = Asked { folder: PathBuf::from("/etc/isthmus"), ..Asked::default() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().cloned().ok_or_else(|| format!("{word} wants a value"));
        match word.as_str() {
            "--config" => asked.folder = PathBuf::from(value()?),
            "--to" => asked.to = Some(value()?),
            "--from" => asked.from = Some(value()?),
            "--text" => asked.text = Some(value()?),
            flag if flag.starts_with("--") => return Err(format!("unknown: {flag}; expected --to, --from, --text")),
            what if asked.what.is_empty() => asked.what = what.to_owned(),
            more => return Err(format!("expected one provider, found {more:?} too")),
        }
    }
    if asked.what.is_empty() {
        return Err("expected the name of a provider, or a file".to_owned());
    }
    if asked.folder.is_file() {
        asked.folder.pop();
    }
    Ok(asked)
}

/// The bridges of this kind in the folder, by name.
fn bridges(folder: &Path) -> Vec<(String, Result<Config, Vec<ConfigError>>)> {
    let mut all = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder.join("bridges")) else { return all };
    let mut files: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
    files.sort();
    for path in files.iter().filter(|p| p.extension().is_some_and(|e| e == "toml")) {
        let Some(mut map) = table(path) else { continue };
        if map.get("kind").and_then(Value::as_str) != Some("sms") {
            continue;
        }
        // What every bridge has is the core's.
        for key in CORE_KEYS.iter().chain(&CHOSEN_KEYS) {
            map.remove(*key);
        }
        let name = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        let section = Section {
            name: &name,
            domain: "",
            folder,
            data_dir: folder,
            local_domains: &[],
            table: Table::new("", map),
        };
        let read = config::read(section);
        all.push((name, read));
    }
    all
}

fn table(path: &Path) -> Option<Map<String, Value>> {
    let text = std::fs::read_to_string(path).ok()?;
    match serde_json::to_value(toml::from_str::<toml::Table>(&text).ok()?) {
        Ok(Value::Object(map)) => Some(map),
        _ => None,
    }
}

/// What the provider has to be told.
fn addresses(folder: &Path, bridge: &str, provider: &Provider) -> String {
    let core = table(&folder.join("isthmus.toml")).unwrap_or_default();
    let public = core.get("http").and_then(|http| http["public_url"].as_str()).and_then(|url| Url::parse(url).ok());
    let Some(public) = public else {
        return "http.public_url is not set: the provider cannot report, and its webhooks reach nobody\n".to_owned();
    };
    let mut said = String::new();
    for hook in &provider.spec.webhooks {
        let url = carry::webhook_url(&public, bridge, provider, &hook.path).unwrap_or_default();
        let what = match (&hook.message, &hook.report) {
            (Some(_), Some(_)) => "texts and reports",
            (Some(_), None) => "texts",
            _ => "reports",
        };
        let methods: Vec<&str> = hook.methods.iter().map(http::Method::as_str).collect();
        let _ = writeln!(said, "{what}: {} {url}", methods.join(" or "));
    }
    said
}

fn send(config: &Config, provider: &Provider, to: &str, text: &str, asked: &Asked) -> Result<String, String> {
    let plan = &config.plan;
    let Some(number @ (Number::Full(_) | Number::Short(_))) = plan.typed(to) else {
        return Err(format!("{to:?} is not a number"));
    };
    let own = match &asked.from {
        Some(from) => plan.typed(from).map(|n| n.contact()).ok_or_else(|| format!("{from:?} is not a number"))?,
        None => config
            .numbers
            .first()
            .map(|n| n.number.clone())
            .ok_or("there are no [[numbers]]: expected --from NUMBER")?,
    };
    let key = format!("check{:016x}", rand::random::<u64>());
    let sending =
        Sending { key, own: ContactId::from(own.as_str()), to: vec![number], text: text.to_owned(), media: Vec::new() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let http = Http::new(config.timeout);
    match runtime.block_on(carry::give(&http, provider, &sending, None)) {
        Ok(taken) => Ok(format!("taken: {}", taken.ids.join(", "))),
        Err(error) => Err(format!("{}: {}", provider.name, error)),
    }
}

fn lines(faults: Vec<ConfigError>) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(words: &[&str]) -> Result<String, String> {
        check(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn says_what_is_wrong_and_what_the_provider_has_to_be_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        std::fs::create_dir(path.join("bridges")).expect("made");
        let write = |name: &str, text: &str| std::fs::write(path.join(name), text).expect("written");
        write("isthmus.toml", "[http]\npublic_url = \"https://gw.example.org\"\n");
        write(
            "mine.toml",
            "name = \"Mine\"\n[send]\nurl = \"http://127.0.0.1:1/\"\n[send.fields]\nto = \"{nobody}\"\n",
        );
        let config = path.display().to_string();
        let mine = path.join("mine.toml").display().to_string();
        let wrong = run(&[&mine, "--config", &config]).expect_err("a fault");
        assert!(wrong.starts_with(&format!("{mine}:5: send.fields.to: names an unknown field {{nobody}}")), "{wrong}");
        assert!(run(&["http-get", "--config", &config]).expect("shipped").contains("webhook_secret"));
        write(
            "bridges/sms.toml",
            "kind = \"sms\"\ndomain = \"sms.example.org\"\nsecret = \"x\"\nprovider = \"providers/http-get.toml\"\n[credentials]\nurl = \"http://127.0.0.1:1/\"\nuser = \"u\"\npassword = \"p\"\nwebhook_secret = \"w\"\n[[numbers]]\nnumber = \"+15550001111\"\n[defaults]\nfold = false\n[locks]\nmms = false\n[networks.sms]\ncountry = \"US\"\n",
        );
        let said = run(&["http-get", "--config", &config]).expect("in order");
        assert!(said.contains("GET or POST https://gw.example.org/hooks/sms/http-get/in/w"), "{said}");
        let error = run(&["http-get", "--config", &config, "--to", "+15551112222", "--text", "hello"])
            .expect_err("nobody answers");
        assert!(error.contains("provider-away"), "{error}");
        assert!(run(&["nothing", "--config", &config]).is_err() && run(&[]).is_err());
    }
}
