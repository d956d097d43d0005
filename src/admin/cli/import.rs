//! `isthmus import <program> <its database> [its configuration]`. Which programs there are is said by the kinds of bridges.

use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command};
use isthmus_bridge::{Converted, Import, Kind};
use serde_json::json;

use super::output::Output;
use super::{Exit, Place, block_on, init};
use crate::admin::control::Client;
use crate::admin::import::{Count, ImportError, Report, import};
use crate::config::{BridgeConfig, Config};
use crate::registry::templates;

const VERB: &str = "import";

/// Adds the verb, with a subcommand for each program.
pub(super) fn with_programs(command: Command, kinds: &[Box<dyn Kind>]) -> Command {
    let programs: Vec<Command> =
        kinds.iter().flat_map(|kind| kind.imports().iter().map(|import| command_of(kind.name(), *import))).collect();
    if programs.is_empty() {
        return command;
    }
    let about = "Take over what another program has kept";
    command.subcommand(
        Command::new(VERB).about(about).subcommand_required(true).arg_required_else_help(true).subcommands(programs),
    )
}

fn command_of(kind: &str, import: &dyn Import) -> Command {
    let bridge = format!("The bridge of kind {kind} that takes it, where there are several");
    Command::new(import.program())
        .about(import.about())
        .arg(Arg::new("database").required(true).help("Its SQLite file, or postgresql://user:password@host/database"))
        .arg(Arg::new("configuration").value_parser(clap::value_parser!(PathBuf)).help("Its configuration file"))
        .arg(Arg::new("bridge").long("bridge").value_name("NAME").help(bridge))
        .arg(
            Arg::new("write")
                .long("write")
                .action(ArgAction::SetTrue)
                .requires("configuration")
                .help("Write the configuration that corresponds to it, where there is none, instead of printing it"),
        )
        .arg(Arg::new("dry-run").long("dry-run").action(ArgAction::SetTrue).help("Say what would be taken over"))
}

/// Does it, if the command line says so.
pub(super) fn run(matches: &ArgMatches, kinds: &[Box<dyn Kind>]) -> Option<Exit> {
    let (VERB, own) = matches.subcommand()? else { return None };
    let (program, asked) = own.subcommand()?;
    let (kind, what) = kinds
        .iter()
        .flat_map(|kind| kind.imports().iter().map(move |import| (kind, *import)))
        .find(|(_, import)| import.program() == program)?;
    let mut out = Output::new(matches.get_flag("json"));
    let place = Place { config: matches.get_one::<PathBuf>("config").cloned() };
    Some(match block_on_result(asked, kind.name(), what, &place, &mut out) {
        Ok(exit) | Err(exit) => exit,
    })
}

fn block_on_result(
    asked: &ArgMatches,
    kind: &str,
    what: &dyn Import,
    place: &Place,
    out: &mut Output,
) -> Result<Exit, Exit> {
    let mut notes = Vec::new();
    let mut missing = false;
    if let Some(path) = asked.get_one::<PathBuf>("configuration") {
        let text =
            std::fs::read_to_string(path).map_err(|e| out.failed(format!("{}: {e}", path.display()), Exit::Fault))?;
        let to = what.configuration(&text).map_err(|e| out.failed(format!("{}: {e}", path.display()), Exit::Fault))?;
        let files = compose(&to, kind, what.program(), &place.folder()).map_err(|e| out.failed(e, Exit::Fault))?;
        for (path, text) in files {
            if path.exists() {
                notes.push(format!("{} is there already and stays as it is", path.display()));
            } else if asked.get_flag("write") {
                init::write_file(&path, &text)
                    .map_err(|e| out.failed(format!("{} cannot be written: {e}", path.display()), Exit::Fault))?;
                notes.push(format!("written: {} (readable by owner and group)", path.display()));
            } else {
                missing = true;
                if !out.is_json() {
                    out.line(format!("# {}\n{text}", path.display()));
                }
            }
        }
        notes.extend(to.notes);
        if missing {
            let hint =
                "nothing is taken over yet: with --write these files are written, and then users' data are taken";
            return Err(out.failed(format!("{hint}\n{}", notes.join("\n")).trim_end(), Exit::Config));
        }
    }
    let config = place.load_or_say(out)?;
    let bridge = bridge(&config, asked.get_one::<String>("bridge"), kind).map_err(|e| out.failed(e, Exit::Config))?;
    let from = asked.get_one::<String>("database").map(String::as_str).unwrap_or_default();
    let dry_run = asked.get_flag("dry-run");
    let mut result = Err(Exit::Fault);
    block_on(async {
        result = match Client::connect(&config.control_socket()).await {
            Ok(None) => match import(&config, bridge, what, from, dry_run).await {
                Ok(report) => Ok(report),
                Err(error @ ImportError::Source(_)) => Err(out.failed(error.to_string(), Exit::Fault)),
                Err(error) => Err(out.failed(error.to_string(), Exit::Storage)),
            },
            Ok(Some(_)) => Err(out.failed("the gateway runs: stop it first (isthmus stop)", Exit::Instance)),
            Err(error) => Err(out.not_answered(&error)),
        };
        Exit::Good
    });
    result.map(|report| say(&report, &notes, out))
}

/// The bridge of this name, or the only one of this kind.
fn bridge<'a>(config: &'a Config, name: Option<&String>, kind: &str) -> Result<&'a BridgeConfig, String> {
    let mut all = config.bridges.iter().filter(|b| b.kind == kind && name.is_none_or(|n| *n == b.name));
    match (all.next(), all.next(), name) {
        (Some(only), None, _) => Ok(only),
        (Some(_), Some(_), _) => Err(format!("there are several bridges of kind {kind}: name one with --bridge")),
        (None, _, Some(name)) => Err(format!("there is no bridge {name} of kind {kind}")),
        (None, _, None) => Err(format!(
            "there is no bridge of kind {kind} yet: give the other program's configuration and --write, or isthmus init"
        )),
    }
}

/// `isthmus.toml` and the bridge's file that correspond to the other program's configuration.
fn compose(to: &Converted, kind: &str, program: &str, folder: &Path) -> Result<Vec<(PathBuf, String)>, String> {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    // A component's domain is mostly below that of its users.
    let users = to.domain.split_once('.').map_or(to.domain.as_str(), |(_, above)| above);
    let admins: Vec<String> = to.admins.iter().map(|a| quoted(a)).collect();
    let core = init::set(templates::CORE, "", "admins", &format!("[{}]", admins.join(", ")))?;
    let core = init::set(&core, "server", "host", &quoted(&to.server.0))?;
    let core = init::set(&core, "server", "port", &to.server.1.to_string())?;
    let core = init::set(&core, "server", "domains", &format!("[{}]", quoted(users)))?;
    let (domain, secret) = (quoted(&to.domain), quoted(&to.secret));
    let bridge = format!(
        "# From {program}'s configuration, by isthmus import.\n\nkind = \"{kind}\"\ndomain = {domain}\nsecret = {secret}\n{}",
        to.lines
    );
    Ok(vec![(folder.join("isthmus.toml"), core), (folder.join("bridges").join(format!("{kind}.toml")), bridge)])
}

fn say(report: &Report, notes: &[String], out: &mut Output) -> Exit {
    if out.is_json() {
        return match serde_json::to_value(report) {
            Ok(mut value) => {
                value["notes"] = json!(notes);
                out.json(&value)
            }
            Err(error) => out.failed(error.to_string(), Exit::Fault),
        };
    }
    let would = if report.dry_run { "would be " } else { "" };
    out.line(format!("{would}taken over into the bridge {}:", report.bridge));
    for (what, Count { taken, present }) in [
        ("settings", report.settings),
        ("contacts", report.contacts),
        ("users whose rooms are entered again at the start", report.rooms),
        ("lines of archives", report.lines),
    ] {
        out.line(format!("  {taken} {what} ({present} there already)"));
    }
    for lost in &report.lost {
        let times = if lost.times > 1 { format!(" ({} times)", lost.times) } else { String::new() };
        out.line(format!("not taken over: {}{times}: {}", lost.what, lost.why));
    }
    if !report.foreign.is_empty() {
        let domains = report.foreign.join(", ");
        out.line(format!("note: users of {domains} are not of server.domains; [access] foreign says what they may"));
    }
    for note in notes {
        out.line(format!("note: {note}"));
    }
    Exit::Good
}
