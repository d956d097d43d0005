//! `isthmus users`, `isthmus contacts` and `isthmus queue`: through the running instance, else out of the database.

use super::output::Output;
use super::remote::{ask_of, known_bridge};
use super::{Exit, Place, QueueVerb, UsersVerb};
use crate::admin::control::{ActRequest, Acted, Client, ContactRow, QueueRow, Records, Request, UserRow};
use crate::admin::records::Stored;
use crate::config::Config;

pub(super) async fn users(place: &Place, verb: UsersVerb, out: &mut Output) -> Exit {
    match do_users(place, verb, out).await {
        Ok(exit) | Err(exit) => exit,
    }
}

async fn do_users(place: &Place, verb: UsersVerb, out: &mut Output) -> Result<Exit, Exit> {
    let config = place.load_or_say(out)?;
    match verb {
        UsersVerb::List { bridge } => {
            if let Some(bridge) = &bridge {
                known_bridge(&config, bridge, out)?;
            }
            let users = match stored(&config, out).await? {
                Some(stored) => stored.users(bridge.as_deref()).await.map_err(|e| out.failed(e, Exit::Storage))?,
                None => ask_of::<Vec<UserRow>>(&config, Request::Users { bridge }, out).await?,
            };
            Ok(out.users(&users))
        }
        UsersVerb::Add { bridge, user, values } => {
            known_bridge(&config, &bridge, out)?;
            let values = values.into_iter().collect();
            ask_of::<()>(&config, Request::UserAdd { bridge, user, values }, out).await?;
            Ok(out.done("the user is registered"))
        }
        UsersVerb::Act { bridge, at, user, command, values } => {
            known_bridge(&config, &bridge, out)?;
            let request = ActRequest { bridge, user, command, at, values };
            let acted = ask_of::<Acted>(&config, Request::UserAct(request), out).await?;
            Ok(out.acted(&acted))
        }
        UsersVerb::Remove { bridge, user } => {
            known_bridge(&config, &bridge, out)?;
            ask_of::<()>(&config, Request::UserRemove { bridge, user }, out).await?;
            Ok(out.done("the user and what was kept of them are removed"))
        }
    }
}

pub(super) async fn contacts(place: &Place, bridge: Option<String>, user: Option<String>, out: &mut Output) -> Exit {
    match do_contacts(place, bridge, user, out).await {
        Ok(exit) | Err(exit) => exit,
    }
}

async fn do_contacts(
    place: &Place,
    bridge: Option<String>,
    user: Option<String>,
    out: &mut Output,
) -> Result<Exit, Exit> {
    let config = place.load_or_say(out)?;
    if let Some(bridge) = &bridge {
        known_bridge(&config, bridge, out)?;
    }
    let contacts = match stored(&config, out).await? {
        Some(stored) => {
            stored.contacts(bridge.as_deref(), user.as_deref()).await.map_err(|e| out.failed(e, Exit::Storage))?
        }
        None => ask_of::<Vec<ContactRow>>(&config, Request::Contacts { bridge, user }, out).await?,
    };
    Ok(out.contacts(&contacts))
}

pub(super) async fn queue(place: &Place, verb: QueueVerb, out: &mut Output) -> Exit {
    match do_queue(place, verb, out).await {
        Ok(exit) | Err(exit) => exit,
    }
}

async fn do_queue(place: &Place, verb: QueueVerb, out: &mut Output) -> Result<Exit, Exit> {
    let config = place.load_or_say(out)?;
    match verb {
        QueueVerb::List { bridge } => {
            if let Some(bridge) = &bridge {
                known_bridge(&config, bridge, out)?;
            }
            let queue = match stored(&config, out).await? {
                Some(stored) => stored.queue(bridge.as_deref()).await.map_err(|e| out.failed(e, Exit::Storage))?,
                None => ask_of::<Vec<QueueRow>>(&config, Request::Queue { bridge }, out).await?,
            };
            Ok(out.queue(&queue))
        }
        QueueVerb::Retry { id } => {
            ask_of::<()>(&config, Request::QueueRetry { id }, out).await?;
            Ok(out.done("it is tried again now"))
        }
        QueueVerb::Cancel { id } => {
            ask_of::<()>(&config, Request::QueueCancel { id }, out).await?;
            Ok(out.done("it is cancelled, and its sender is told"))
        }
    }
}

/// The database, where no instance runs that could be asked.
async fn stored(config: &Config, out: &mut Output) -> Result<Option<Stored>, Exit> {
    match Client::connect(&config.control_socket()).await {
        Ok(Some(_)) => Ok(None),
        Ok(None) => Stored::open(config).await.map(Some).map_err(|e| out.failed(e.to_string(), Exit::Storage)),
        Err(error) => Err(out.not_answered(&error)),
    }
}
