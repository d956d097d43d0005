//! `isthmus init`: writes a commented configuration with fresh secrets, and prints what the XMPP server needs.

use std::fs::OpenOptions;
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command};
use serde_json::json;

use super::Exit;
use super::output::Output;
use super::servers::{self, Component};
use crate::registry::templates::{self, Template};

#[derive(Debug, clap::Args)]
pub(super) struct InitArgs {
    /// Where to write [default: --config, else /etc/isthmus]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The domain of your XMPP users
    #[arg(long)]
    domain: Option<String>,
    /// An administrator's JID
    #[arg(long)]
    admin: Option<String>,
    /// Where the XMPP server listens for components
    #[arg(long, default_value = "127.0.0.1")]
    server_host: String,
    /// Its component port
    #[arg(long, default_value_t = 5347)]
    port: u16,
    /// Where the program keeps its data
    #[arg(long, default_value = "/var/lib/isthmus")]
    data_dir: String,
    /// Ask nothing: take what is not given by its default
    #[arg(long, short)]
    yes: bool,
    /// Overwrite files that are there
    #[arg(long)]
    force: bool,
}

/// Adds `--<kind>-domain` for each kind of bridge to `init`.
pub(super) fn with_domains(command: Command) -> Command {
    let flag = |t: &Template| {
        let help = format!("Set up a bridge of kind {} on this domain", t.kind);
        Arg::new(t.flag).long(t.flag).value_name("DOMAIN").help(help)
    };
    command.mut_subcommand("init", |init| init.args(templates::BRIDGES.iter().map(flag)))
}

/// The bridges whose domain was given.
pub(super) fn domains(matches: &ArgMatches) -> Vec<(&'static Template, String)> {
    let Some(("init", init)) = matches.subcommand() else { return Vec::new() };
    templates::BRIDGES.iter().filter_map(|t| Some((t, init.get_one::<String>(t.flag)?.clone()))).collect()
}

/// What is to be written.
struct Answers {
    dir: PathBuf,
    domain: String,
    admin: Option<String>,
    server_host: String,
    port: u16,
    data_dir: String,
    bridges: Vec<(&'static Template, String)>,
}

pub(super) fn init(args: InitArgs, bridges: Vec<(&'static Template, String)>, out: &mut Output) -> Exit {
    let force = args.force;
    let answers = match answers(args, bridges, out) {
        Ok(answers) => answers,
        Err(sentence) => return out.failed(sentence, Exit::Usage),
    };
    let (files, components) = match compose(&answers) {
        Ok(made) => made,
        Err(sentence) => return out.failed(sentence, Exit::Fault),
    };
    let there: Vec<String> =
        files.iter().map(|(p, _)| p).filter(|p| p.exists()).map(|p| p.display().to_string()).collect();
    if !there.is_empty() && !force {
        let sentence = format!("{} is there already: give another --dir, or --force to overwrite", there.join(", "));
        return out.failed(sentence, Exit::Fault);
    }
    for (path, text) in &files {
        if let Err(e) = write_file(path, text) {
            return out.failed(format!("{} cannot be written: {e}", path.display()), Exit::Fault);
        }
    }
    say(&answers, &files, &components, out)
}

fn answers(args: InitArgs, bridges: Vec<(&'static Template, String)>, out: &mut Output) -> Result<Answers, String> {
    let mut ask = Questions { ask: !args.yes && !out.is_json() && io::stdin().is_terminal() };
    let domain =
        match args.domain {
            Some(domain) => domain,
            None if ask.ask => ask.question("The domain of your XMPP users", "example.org")?,
            None => return Err(
                "expected --domain, the domain of your XMPP users (nobody can be asked: no terminal, --yes or --json)"
                    .into(),
            ),
        };
    let domain = checked(&domain)?;
    let admin = match args.admin {
        Some(admin) => Some(admin),
        None => Some(ask.question("An administrator's JID", &format!("admin@{domain}"))?),
    };
    let server_host = ask.question_if("127.0.0.1", args.server_host, "Where the XMPP server listens for components")?;
    let mut chosen = bridges;
    if chosen.is_empty() {
        for template in templates::BRIDGES.iter().take(if ask.ask { usize::MAX } else { 1 }) {
            let domain = ask.question(
                &format!("Domain of the {} bridge, - for none", template.kind),
                &format!("{}.{domain}", template.kind),
            )?;
            if domain != "-" {
                chosen.push((template, domain));
            }
        }
    }
    for (_, domain) in &mut chosen {
        *domain = checked(domain)?;
    }
    Ok(Answers {
        dir: args.dir.unwrap_or_else(|| PathBuf::from("/etc/isthmus")),
        domain,
        admin,
        server_host,
        port: args.port,
        data_dir: args.data_dir,
        bridges: chosen,
    })
}

/// A domain as it can stand in every file: what is wrong with it otherwise is said by the configuration's own reader.
fn checked(domain: &str) -> Result<String, String> {
    crate::config::jid_domain(domain.trim())
        .ok_or_else(|| format!("{domain:?} is no domain: expected one such as \"example.org\""))
}

struct Questions {
    ask: bool,
}

impl Questions {
    fn question(&mut self, words: &str, default: &str) -> Result<String, String> {
        if !self.ask {
            return Ok(default.to_owned());
        }
        let mut err = io::stderr().lock();
        let mut line = String::new();
        write!(err, "{words} [{default}]: ").and_then(|()| err.flush()).map_err(|e| e.to_string())?;
        match io::stdin().lock().read_line(&mut line) {
            Ok(0) => Err("the answers ended before the questions".to_owned()),
            Ok(_) if line.trim().is_empty() => Ok(default.to_owned()),
            Ok(_) => Ok(line.trim().to_owned()),
            Err(e) => Err(e.to_string()),
        }
    }

    /// Asks only where the flag was left at its default.
    fn question_if(&mut self, default: &str, given: String, words: &str) -> Result<String, String> {
        if given == default { self.question(words, default) } else { Ok(given) }
    }
}

/// A file to be written, and its text.
type File = (PathBuf, String);

/// The files and what the server needs to know.
fn compose(answers: &Answers) -> Result<(Vec<File>, Vec<Component>), String> {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let admins = answers.admin.iter().map(|a| quoted(a)).collect::<Vec<_>>().join(", ");
    let core = set(templates::CORE, "", "admins", &format!("[{admins}]"))?;
    let core = set(&core, "", "data_dir", &quoted(&answers.data_dir))?;
    let core = set(&core, "server", "host", &quoted(&answers.server_host))?;
    let core = set(&core, "server", "port", &answers.port.to_string())?;
    let core = set(&core, "server", "domains", &format!("[{}]", quoted(&answers.domain)))?;
    let mut files = vec![(answers.dir.join("isthmus.toml"), core)];
    let mut components = Vec::new();
    for (template, domain) in &answers.bridges {
        let component = Component { domain: domain.clone(), secret: fresh_secret()? };
        let text = set(template.text, "", "domain", &quoted(domain))?;
        let text = set(&text, "", "secret", &quoted(&component.secret))?;
        files.push((answers.dir.join("bridges").join(format!("{}.toml", template.kind)), text));
        components.push(component);
    }
    Ok((files, components))
}

/// The text with another value of a key that stands in it, outside of comments.
pub(super) fn set(text: &str, table: &str, key: &str, value: &str) -> Result<String, String> {
    let mut here = String::new();
    let mut found = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.trim().strip_prefix('[').and_then(|l| l.split(']').next()) {
            name.clone_into(&mut here);
        }
        let names = line.split_once('=').is_some_and(|(k, _)| k.trim() == key);
        if names && here == table && !found {
            let comment = line.split_once(" # ").map(|(_, c)| format!(" # {c}")).unwrap_or_default();
            lines.push(format!("{key} = {value}{comment}"));
            found = true;
        } else {
            lines.push(line.to_owned());
        }
    }
    if found { Ok(lines.join("\n") + "\n") } else { Err(format!("the template has no key {key} in [{table}]")) }
}

/// 128 bits, in letters and digits that need no quoting anywhere.
fn fresh_secret() -> Result<String, String> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|e| format!("the system gives no random numbers: {e}"))?;
    Ok(hex::encode(bytes))
}

/// Readable by owner and group only: there are secrets in it.
pub(super) fn write_file(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // Written beside and moved into place: a half-written file is never read.
    let fresh = path.with_extension("toml.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)
}

fn say(answers: &Answers, files: &[File], components: &[Component], out: &mut Output) -> Exit {
    let upload = format!("upload.{}", answers.domain);
    let prosody = servers::prosody(components, &answers.domain, &upload, answers.port);
    let ejabberd = servers::ejabberd(components, &upload, answers.port);
    let paths: Vec<String> = files.iter().map(|(p, _)| p.display().to_string()).collect();
    if out.is_json() {
        return out.json(&json!({"files": paths, "prosody": prosody, "ejabberd": ejabberd}));
    }
    for path in &paths {
        out.line(format!("written: {path}"));
    }
    out.line(format!("(readable by owner and group: chown -R root:isthmus {})", answers.dir.display()));
    out.line("\nThe XMPP server needs this. For Prosody:\n");
    out.line(prosody);
    out.line("For ejabberd:\n");
    out.line(ejabberd);
    out.line(format!("Then: isthmus check --config {}", answers.dir.display()));
    Exit::Good
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_set_in_its_own_table_and_never_in_a_comment() {
        let text = "# port = 1\nport = 2 # top\n[server]\n#port = 3\nport = 4\n";
        let top = set(text, "", "port", "9").expect("there");
        assert_eq!(top, "# port = 1\nport = 9 # top\n[server]\n#port = 3\nport = 4\n");
        let server = set(text, "server", "port", "9").expect("there");
        assert_eq!(server, "# port = 1\nport = 2 # top\n[server]\n#port = 3\nport = 9\n");
        assert!(set(text, "http", "port", "9").is_err());
    }

    #[test]
    fn secrets_are_fresh_and_long() {
        let (one, two) = (fresh_secret().expect("random"), fresh_secret().expect("random"));
        assert_ne!(one, two);
        assert_eq!(one.len(), 32);
    }
}
