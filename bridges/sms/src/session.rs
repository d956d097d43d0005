//! One user's texts: carries what the core hands over.

use std::sync::Arc;

use isthmus_bridge::{
    BridgeError, Delivery, DeliveryError, Failure, Host, Inbox, Intent, Message, Outbound, SessionOf, StoreError, Text,
    Work,
};
use tokio::task::JoinSet;
use tracing::warn;

use crate::{Texts, address, outgoing, state};

/// Deliveries of one user at once. The core keeps the order within a conversation; this bounds what one user takes of a provider.
const AT_ONCE: usize = 4;

/// Until the core stops the session; deliveries in hand are finished first.
pub(crate) async fn run(texts: Arc<Texts>, _of: SessionOf, mut inbox: Inbox, host: Host) -> Result<(), BridgeError> {
    let mut running = JoinSet::new();
    while let Some(work) = inbox.recv().await {
        match work {
            Work::Deliver(delivery) => {
                while running.len() >= AT_ONCE {
                    finished(running.join_next().await);
                }
                let (texts, host) = (texts.clone(), host.clone());
                running.spawn(async move { deliver(&texts, &host, *delivery).await });
            }
            Work::Ask(ask) => ask.reply.failed(unsupported()),
            // Settings are read for every text.
            _ => {}
        }
        while let Some(done) = running.try_join_next() {
            finished(Some(done));
        }
    }
    while let Some(done) = running.join_next().await {
        finished(Some(done));
    }
    Ok(())
}

/// A panic has dropped the ticket, which tells the core; it ends that delivery only.
fn finished(done: Option<Result<(), tokio::task::JoinError>>) {
    if let Some(Err(panic)) = done {
        warn!(%panic, "a delivery by text ended early");
    }
}

async fn deliver(texts: &Texts, host: &Host, delivery: Delivery) {
    let Delivery { event, ticket, .. } = delivery;
    match &event.intent {
        Intent::Send(message) => outgoing::send(texts, host, &event, message, ticket).await,
        Intent::Undelivered { of, said, error, .. } => {
            let id = of.as_ref().map_or(event.key.as_str(), |id| id.as_str());
            match give_up(host, &event, id, said.as_deref(), error).await {
                Ok(()) => ticket.sent(None),
                Err(error) => ticket.failed(store_away(error)),
            }
        }
        Intent::React { add, .. } => outgoing::react(texts, host, &event, add, ticket).await,
        // Texts have no such thing, and nobody has to be told.
        Intent::Mark { .. }
        | Intent::Typing { .. }
        | Intent::Presence { .. }
        | Intent::Subscribe { .. }
        | Intent::Unsubscribe
        | Intent::Block
        | Intent::Unblock => ticket.sent(None),
        _ => ticket.failed(unsupported()),
    }
}

/// A text that the user's server took and gave back for good. A phone cannot be told; the user can, when they are back, and the administrator.
async fn give_up(
    host: &Host,
    event: &Outbound,
    id: &str,
    said: Option<&Message>,
    error: &DeliveryError,
) -> Result<(), StoreError> {
    warn!(user = %event.user, failure = ?error.failure, "a text could not be delivered to its user");
    let words = said.map(|message| message.body.as_str()).unwrap_or_default();
    let entry = state::Lost {
        user: event.user.to_string(),
        peer: event
            .to
            .first()
            .and_then(|to| address::contact(&to.address))
            .map(ToString::to_string)
            .unwrap_or_default(),
        words: hex::encode(host.seal(words.as_bytes())?),
        why: match &error.text {
            Text::Plain(words) => words.clone(),
            // The condition says more than the name of our words for it.
            words => error.code.clone().unwrap_or_else(|| words.to_string()),
        },
        at: state::seconds(host.now()),
    };
    host.store(vec![state::lost(host.now(), &event.user, id, &entry)]).await
}

pub(crate) fn unsupported() -> DeliveryError {
    DeliveryError::new(Failure::Unsupported, Text::key("no-such-thing"))
}

/// The store could not be asked; nothing was sent.
pub(crate) fn store_away(_: StoreError) -> DeliveryError {
    DeliveryError::temporary(Failure::Unreachable, Text::key("store-away"))
}
