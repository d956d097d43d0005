//! Verbs that only a running instance can do.

use std::io::Read;

use super::output::Output;
use super::{Exit, Place, SendArgs};
use crate::admin::control::{AskError, Client, Request, SendAnswer, SendRequest, Status};
use crate::config::Config;

pub(super) async fn status(place: &Place, out: &mut Output) -> Exit {
    match ask::<Status>(place, Request::Status, out).await {
        Ok(status) => out.status(&status),
        Err(exit) => exit,
    }
}

pub(super) async fn reload(place: &Place, out: &mut Output) -> Exit {
    match ask::<()>(place, Request::Reload, out).await {
        Ok(()) => out.done("the configuration was read again"),
        Err(exit) => exit,
    }
}

pub(super) async fn stop(place: &Place, out: &mut Output) -> Exit {
    match ask::<()>(place, Request::Stop, out).await {
        Ok(()) => out.done("isthmus stops"),
        Err(exit) => exit,
    }
}

pub(super) async fn level(place: &Place, level: String, out: &mut Output) -> Exit {
    if let Err(sentence) = crate::config::check_level(&level) {
        return out.failed(sentence, Exit::Usage);
    }
    match ask::<()>(place, Request::Level { level }, out).await {
        Ok(()) => out.done("the log level is changed until the next start"),
        Err(exit) => exit,
    }
}

pub(super) async fn send(place: &Place, args: SendArgs, out: &mut Output) -> Exit {
    let text = if args.text == "-" {
        let mut text = String::new();
        match std::io::stdin().read_to_string(&mut text) {
            Ok(_) => text.trim_end().to_owned(),
            Err(e) => return out.failed(format!("the text cannot be read from standard input: {e}"), Exit::Usage),
        }
    } else {
        args.text
    };
    if text.trim().is_empty() {
        return out.failed("the text is empty: there is nothing to send", Exit::Usage);
    }
    let config = match place.load_or_say(out) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    if let Err(exit) = known_bridge(&config, &args.bridge, out) {
        return exit;
    }
    let request = SendRequest { bridge: args.bridge, user: args.user, to: args.to, subject: args.subject, text };
    match ask_of::<SendAnswer>(&config, Request::Send(request), out).await {
        Ok(answer) => out.sent(&answer),
        Err(exit) => exit,
    }
}

/// A bridge's name on the command line must be one of the configuration.
pub(super) fn known_bridge(config: &Config, name: &str, out: &mut Output) -> Result<(), Exit> {
    if config.bridge(name).is_some() {
        return Ok(());
    }
    let names: Vec<&str> = config.bridges.iter().map(|b| b.name.as_str()).collect();
    Err(out.failed(format!("no bridge is called {name:?}: expected one of {}", names.join(", ")), Exit::Usage))
}

async fn ask<T: serde::de::DeserializeOwned>(place: &Place, request: Request, out: &mut Output) -> Result<T, Exit> {
    let config = place.load_or_say(out)?;
    ask_of(&config, request, out).await
}

pub(super) async fn ask_of<T: serde::de::DeserializeOwned>(
    config: &Config,
    request: Request,
    out: &mut Output,
) -> Result<T, Exit> {
    let socket = config.control_socket();
    let answer = async {
        match Client::connect(&socket).await? {
            Some(mut client) => client.ask(&request).await.map(Some),
            None => Ok::<_, AskError>(None),
        }
    };
    match answer.await {
        Ok(Some(value)) => Ok(value),
        Ok(None) => {
            let sentence = format!(
                "isthmus is not running ({} does not answer): start it with isthmus run, or systemctl start isthmus",
                socket.display()
            );
            Err(out.failed(sentence, Exit::Instance))
        }
        Err(error) => Err(out.not_answered(&error)),
    }
}
