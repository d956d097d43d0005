//! `isthmus db`: what is done to the database as a whole, by the running instance, or here where none runs.

use super::output::Output;
use super::remote::ask_of;
use super::{DbVerb, Exit, Place};
use crate::admin::control::{Claim, ClaimError, Client, Request, Rotated};
use crate::admin::records::how;
use crate::config::Config;
use crate::storage::people::{Audit, audit, reseal};
use crate::storage::{Seal, Store};

pub(super) async fn db(place: &Place, verb: DbVerb, out: &mut Output) -> Exit {
    let DbVerb::RotateKey = verb;
    match rotate_key(place, out).await {
        Ok(rotated) => out.rotated(&rotated),
        Err(exit) => exit,
    }
}

async fn rotate_key(place: &Place, out: &mut Output) -> Result<Rotated, Exit> {
    let config = place.load_or_say(out)?;
    match Client::connect(&config.control_socket()).await {
        Ok(Some(_)) => ask_of(&config, Request::RotateKey, out).await,
        Ok(None) => here(&config, out).await,
        Err(error) => Err(out.not_answered(&error)),
    }
}

/// While this goes on no instance can start: it would go on with the old key.
async fn here(config: &Config, out: &mut Output) -> Result<Rotated, Exit> {
    let claim = Claim::new(&config.data_dir).map_err(|e| {
        let exit = if matches!(e, ClaimError::Running(_)) { Exit::Instance } else { Exit::Fault };
        out.failed(e.to_string(), exit)
    })?;
    let mut failed = |e: String| out.failed(e, Exit::Storage);
    let store = Store::open(how(config)).await.map_err(|e| failed(e.to_string()))?;
    let seal = Seal::of(config).map_err(|e| failed(e.to_string()))?;
    let id = seal.renew().map_err(|e| failed(e.to_string()))?;
    let all = reseal(&store, &seal).await.map_err(|e| failed(e.to_string()))?;
    let line = Audit {
        at: 0,
        actor: "command line".to_owned(),
        bridge: String::new(),
        act: format!("rotate-key {id}"),
        about: None,
        detail: None,
    };
    audit(&store, line).await.map_err(|e| failed(e.to_string()))?;
    store.close().await;
    drop(claim);
    Ok(Rotated { id, sealed: all.done, damaged: all.damaged })
}
