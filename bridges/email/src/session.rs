//! One user's mail: carries what the core hands over, and sends back what the XMPP side gives back.

use std::sync::Arc;

use isthmus_bridge::{
    BridgeError, Delivery, DeliveryError, Failure, Host, Inbox, Intent, Outbound, SessionOf, StoreError, Text, Work,
};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::meter::Meter;
use crate::smtp::{Envelope, Start};
use crate::{Mail, notice, outgoing, state};

/// Deliveries of one user at once. The core keeps the order within a lane; this bounds what one user takes of the relay.
const AT_ONCE: usize = 4;

/// What the deliveries of one user share.
pub(crate) struct User {
    /// The bridge.
    pub mail: Arc<Mail>,
    /// The core.
    pub host: Host,
    /// What is used of the daily limits.
    pub meter: Meter,
}

/// Until the core stops the session; deliveries in hand are finished first.
pub(crate) async fn run(mail: Arc<Mail>, of: SessionOf, mut inbox: Inbox, host: Host) -> Result<(), BridgeError> {
    let user = Arc::new(User { meter: Meter::new(of.user, mail.config.limits.clone()), mail, host });
    let mut running = JoinSet::new();
    while let Some(work) = inbox.recv().await {
        match work {
            Work::Deliver(delivery) => {
                while running.len() >= AT_ONCE {
                    finished(running.join_next().await);
                }
                let user = user.clone();
                running.spawn(async move { deliver(&user, *delivery).await });
            }
            Work::Ask(ask) => ask.reply.failed(unsupported()),
            // Settings are read for every mail.
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
        warn!(%panic, "a delivery by mail ended early");
    }
}

async fn deliver(user: &User, delivery: Delivery) {
    let Delivery { event, ticket, .. } = delivery;
    match &event.intent {
        Intent::Send(message) => outgoing::send(user, &event, message, ticket).await,
        Intent::Undelivered { once: Some(once), error, .. } => {
            let mut start = Start::of(&ticket);
            match give_back(user, &event, once.as_str(), error, &mut start).await {
                Ok(()) => ticket.sent(None),
                Err(_) if start.is_lost() => drop(ticket),
                Err(error) => ticket.failed(error),
            }
        }
        // Mail has no such thing, and nobody has to be told: typing states and receipts are never mailed, and the core keeps the rest.
        Intent::Undelivered { .. }
        | Intent::Mark { .. }
        | Intent::Typing { .. }
        | Intent::Presence { .. }
        | Intent::Subscribe { .. }
        | Intent::Unsubscribe
        | Intent::Block
        | Intent::Unblock => ticket.sent(None),
        _ => ticket.failed(unsupported()),
    }
}

/// A mail that the XMPP side would not take goes back to its envelope sender as a DSN.
async fn give_back(
    user: &User,
    event: &Outbound,
    once: &str,
    error: &DeliveryError,
    start: &mut Start<'_>,
) -> Result<(), DeliveryError> {
    let path = state::return_path(user.host.as_ref(), once).await.map_err(store_away)?;
    let domain = &user.mail.config.mail_domain;
    let Some(path) = path.filter(|p| notice::may_answer(p, domain)) else {
        info!(key = %event.key, "an undelivered mail goes back to nobody: its sender takes no reports");
        return Ok(());
    };
    let report =
        notice::undelivered(&path, error, &notice::Stamp { domain, id: event.key.as_str(), at: user.host.now() });
    let signed = user.mail.signed(report);
    let envelope = Envelope { sender: None, utf8: false, to: path.sender, id: None };
    user.mail.relay.send(&envelope, &signed, start).await.map(drop)
}

fn unsupported() -> DeliveryError {
    DeliveryError::new(Failure::Unsupported, Text::key("mail-has-no-such-thing"))
}

/// The store could not be asked; nothing was sent.
pub(crate) fn store_away(_: StoreError) -> DeliveryError {
    DeliveryError::temporary(Failure::Unreachable, Text::key("store-away"))
}
