//! One user's mail: carries what the core hands over, and sends back what the XMPP side gives back.

use std::sync::Arc;

use isthmus_bridge::{BridgeError, DeliveryError, Failure, Host, Inbox, SessionOf, Text, Work};

use crate::Mail;

/// Until the core stops the session.
pub(crate) async fn run(_mail: Arc<Mail>, _of: SessionOf, mut inbox: Inbox, _host: Host) -> Result<(), BridgeError> {
    while let Some(work) = inbox.recv().await {
        match work {
            Work::Deliver(delivery) => {
                delivery.ticket.failed(DeliveryError::temporary(Failure::Unreachable, Text::key("relay-away")))
            }
            _ => {}
        }
    }
    Ok(())
}
