//! The verbs that a kind of bridge brings along: `isthmus <kind> <verb> …`.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};
use isthmus_bridge::{Kind, Verb};

use super::Exit;
use super::output::Output;

/// Adds a command for every kind that has verbs.
pub(super) fn with_verbs(command: Command, kinds: &[Box<dyn Kind>]) -> Command {
    kinds.iter().filter(|kind| !kind.verbs().is_empty()).fold(command, |command, kind| {
        let about = format!("What bridges of kind {} bring along", kind.name());
        let name: &'static str = kind.name().to_owned().leak(); // as clap wants it; once in a process
        let own = Command::new(name).about(about).subcommand_required(true);
        command.subcommand(own.arg_required_else_help(true).subcommands(kind.verbs().iter().map(command_of)))
    })
}

fn command_of(verb: &Verb) -> Command {
    let words = Arg::new("words").value_name("ARGUMENT").action(ArgAction::Append).num_args(0..);
    Command::new(verb.name).about(verb.about).arg(words.trailing_var_arg(true).allow_hyphen_values(true))
}

/// Does what such a verb says, if the command line names one.
pub(super) fn run(matches: &ArgMatches, kinds: &[Box<dyn Kind>]) -> Option<Exit> {
    let (name, own) = matches.subcommand()?;
    let kind = kinds.iter().find(|kind| kind.name() == name && !kind.verbs().is_empty())?;
    let (name, rest) = own.subcommand()?;
    let verb = kind.verbs().iter().find(|verb| verb.name == name)?;
    let mut words: Vec<String> = rest.get_many::<String>("words").unwrap_or_default().cloned().collect();
    // What stands before the verb is meant for it, too.
    if let Ok(Some(folder)) = matches.try_get_one::<PathBuf>("config")
        && !words.iter().any(|word| word == "--config")
    {
        words.extend(["--config".to_owned(), folder.display().to_string()]);
    }
    let mut out = Output::new(matches.get_flag("json"));
    Some(match (verb.run)(&words) {
        Ok(text) => {
            out.line(text.trim_end());
            Exit::Good
        }
        Err(sentence) => out.failed(sentence, Exit::Fault),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use isthmus_bridge::{Bridge, ConfigError, Section};

    use super::*;

    struct Sample;

    impl Kind for Sample {
        fn name(&self) -> &'static str {
            "sample"
        }

        fn build(&self, _config: Section<'_>) -> Result<Arc<dyn Bridge>, Vec<ConfigError>> {
            Err(Vec::new())
        }

        fn verbs(&self) -> &[Verb] {
            const VERBS: &[Verb] = &[Verb::new("turn", "turns its words around", turn)];
            VERBS
        }
    }

    fn turn(words: &[String]) -> Result<String, String> {
        let turned: Vec<&str> = words.iter().rev().map(String::as_str).collect();
        if turned.is_empty() { Err("nothing to turn".into()) } else { Ok(turned.join(" ")) }
    }

    fn exit_of(line: &[&str]) -> Option<Exit> {
        let kinds: Vec<Box<dyn Kind>> = vec![Box::new(Sample)];
        let json = Arg::new("json").long("json").action(ArgAction::SetTrue).global(true);
        let command = with_verbs(Command::new("isthmus").arg(json).subcommand(Command::new("run")), &kinds);
        run(&command.try_get_matches_from(line).expect("a good line"), &kinds)
    }

    #[test]
    fn a_verb_of_a_kind_gets_its_words_and_its_end_is_the_exit_code() {
        assert_eq!(exit_of(&["isthmus", "sample", "turn", "--a", "b"]), Some(Exit::Good));
        assert_eq!(exit_of(&["isthmus", "sample", "turn"]), Some(Exit::Fault));
        assert_eq!(exit_of(&["isthmus", "run"]), None);
    }
}
