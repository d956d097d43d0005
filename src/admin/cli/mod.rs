//! The verbs of `isthmus …`, their output and exit codes (docs/command-line.md).

mod attach;
mod check;
mod db;
mod import;
mod init;
mod kinds;
mod log;
mod output;
mod records;
mod remote;
mod run;
mod servers;
mod upload;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use isthmus_bridge::{ConfigError, Kind};

use crate::config::{self, Config, LogFormat};
use output::Output;

/// How a verb ended: the exit code of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done; for `check`: nothing is wrong.
    Good = 0,
    /// A fault was found, or what was asked could not be done.
    Fault = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The configuration is wrong.
    Config = 3,
    /// The XMPP server refuses the secret or does not know the host.
    Attach = 4,
    /// `run`: another instance runs on this data folder. `send` and the like: none runs.
    Instance = 5,
    /// The database cannot be used.
    Storage = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// XMPP gateway: carries messages between XMPP and other networks.
#[derive(Debug, Parser)]
#[command(name = "isthmus", version, arg_required_else_help = true)]
struct Cli {
    /// The configuration folder, or isthmus.toml in it [default: $ISTHMUS_CONFIG, else /etc/isthmus]
    #[arg(long, short, global = true, value_name = "DIR")]
    config: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the gateway
    Run(RunArgs),
    /// Look at everything: configuration, server, database, networks; say what is wrong and how to mend it
    Check,
    /// Write a configuration, and print what the XMPP server needs
    Init(init::InitArgs),
    /// Registered users
    #[command(subcommand)]
    Users(UsersVerb),
    /// Contacts of users
    Contacts {
        /// On this bridge alone
        #[arg(long)]
        bridge: Option<String>,
        /// Of this user alone (a bare JID)
        #[arg(long)]
        user: Option<String>,
    },
    /// The durable queue
    #[command(subcommand)]
    Queue(QueueVerb),
    /// The database as a whole
    #[command(subcommand)]
    Db(DbVerb),
    /// Send one message through a bridge of the running gateway
    Send(SendArgs),
    /// Links, sessions and queues of the running gateway
    Status,
    /// Have the running gateway read its configuration again
    Reload,
    /// Stop the running gateway in order
    Stop,
    /// Change what the running gateway logs, until its next start
    LogLevel {
        /// As log.level in the configuration
        level: String,
    },
    /// Print the version
    Version,
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// How logs look [default: log.format, else human on a terminal and json otherwise]
    #[arg(long, value_enum)]
    log_format: Option<LogFormatArg>,
    /// What is logged [default: $ISTHMUS_LOG, else log.level]
    #[arg(long)]
    log_level: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormatArg {
    Auto,
    Human,
    Json,
}

impl From<LogFormatArg> for LogFormat {
    fn from(arg: LogFormatArg) -> Self {
        match arg {
            LogFormatArg::Auto => Self::Auto,
            LogFormatArg::Human => Self::Human,
            LogFormatArg::Json => Self::Json,
        }
    }
}

#[derive(Debug, Subcommand)]
enum UsersVerb {
    /// List them
    List {
        /// Of this bridge alone
        #[arg(long)]
        bridge: Option<String>,
    },
    /// Register a user (the gateway must run)
    Add {
        /// The bridge
        #[arg(long)]
        bridge: String,
        /// The user's JID
        user: String,
        /// Values of the bridge's registration form, as KEY=VALUE
        #[arg(value_name = "KEY=VALUE", value_parser = key_value)]
        values: Vec<(String, String)>,
    },
    /// Run a command of the bridge for a user (the gateway must run)
    Act {
        /// The bridge
        #[arg(long)]
        bridge: String,
        /// The network, room or contact that the command is about; without it, the gateway
        #[arg(long)]
        at: Option<String>,
        /// The user's JID
        user: String,
        /// The command: configure, contacts, queue, usage, …
        command: String,
        /// Fields of its forms, as KEY=VALUE; several values of one field: the key several times
        #[arg(value_name = "KEY=VALUE", value_parser = key_value)]
        values: Vec<(String, String)>,
    },
    /// Remove a user and all that is kept of them
    Remove {
        /// The bridge
        #[arg(long)]
        bridge: String,
        /// The user's JID
        user: String,
    },
}

#[derive(Debug, Subcommand)]
enum QueueVerb {
    /// List what waits, and why
    List {
        /// Of this bridge alone
        #[arg(long)]
        bridge: Option<String>,
    },
    /// Try an event again now
    Retry {
        /// Its id
        id: String,
    },
    /// Give an event up; its sender is told
    Cancel {
        /// Its id
        id: String,
    },
}

#[derive(Debug, Subcommand)]
enum DbVerb {
    /// A new key for secrets at rest; those that are stored are sealed again under it
    RotateKey,
}

#[derive(Debug, clap::Args)]
struct SendArgs {
    /// The bridge
    #[arg(long)]
    bridge: String,
    /// Whose message it is (a JID)
    #[arg(long)]
    user: String,
    /// Subject, where the network has such
    #[arg(long)]
    subject: Option<String>,
    /// The far side's address, as a person types it
    to: String,
    /// The text; - reads it from standard input
    text: String,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    let kinds = crate::registry::kinds();
    let command = import::with_programs(kinds::with_verbs(init::with_domains(Cli::command()), &kinds), &kinds);
    let parsed = command.try_get_matches().and_then(|matches| {
        match kinds::run(&matches, &kinds).or_else(|| import::run(&matches, &kinds)) {
            Some(exit) => Ok(exit),
            None => Cli::from_arg_matches(&matches).map(|cli| dispatch(cli, &matches)),
        }
    });
    match parsed {
        Ok(exit) => exit.into(),
        Err(error) => {
            // Help and version come this way too, with code 0. Nothing can be done about a closed standard output.
            let _ = error.print();
            if error.use_stderr() { Exit::Usage.into() } else { Exit::Good.into() }
        }
    }
}

fn dispatch(cli: Cli, matches: &ArgMatches) -> Exit {
    let mut out = Output::new(cli.json);
    let place = Place { config: cli.config };
    match cli.verb {
        Verb::Version => out.version(),
        Verb::Init(args) => init::init(args, init::domains(matches), &mut out),
        Verb::Run(args) => run::run(&place, args, &mut out),
        Verb::Check => block_on(check::check(&place, &mut out)),
        Verb::Users(verb) => block_on(records::users(&place, verb, &mut out)),
        Verb::Contacts { bridge, user } => block_on(records::contacts(&place, bridge, user, &mut out)),
        Verb::Queue(verb) => block_on(records::queue(&place, verb, &mut out)),
        Verb::Db(verb) => block_on(db::db(&place, verb, &mut out)),
        Verb::Send(args) => block_on(remote::send(&place, args, &mut out)),
        Verb::Status => block_on(remote::status(&place, &mut out)),
        Verb::Reload => block_on(remote::reload(&place, &mut out)),
        Verb::Stop => block_on(remote::stop(&place, &mut out)),
        Verb::LogLevel { level } => block_on(remote::level(&place, level, &mut out)),
    }
}

/// A verb that is over soon needs one thread only.
fn block_on(verb: impl Future<Output = Exit>) -> Exit {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(verb),
        Err(e) => Output::new(false).failed(format!("the program cannot start: {e}"), Exit::Fault),
    }
}

/// Where the configuration is, and what this program has to read it with.
#[derive(Debug, Clone)]
struct Place {
    config: Option<PathBuf>,
}

impl Place {
    /// `--config`, else `$ISTHMUS_CONFIG`, else `/etc/isthmus`.
    fn folder(&self) -> PathBuf {
        let variable = || config::environment().ok()?.into_iter().find(|(k, _)| k == "ISTHMUS_CONFIG").map(|(_, v)| v);
        self.config.clone().or_else(|| variable().map(PathBuf::from)).unwrap_or_else(|| PathBuf::from("/etc/isthmus"))
    }

    /// Reads it.
    fn load(&self) -> Result<Config, Vec<ConfigError>> {
        let kinds: Vec<Box<dyn Kind>> = crate::registry::kinds();
        let environment = config::environment().map_err(|e| vec![ConfigError::new("", e.to_string())])?;
        Config::load(&self.folder(), environment, &kinds)
    }

    /// Reads it, or says what is wrong with it.
    fn load_or_say(&self, out: &mut Output) -> Result<Config, Exit> {
        self.load().map_err(|faults| out.faults(&faults))
    }
}
