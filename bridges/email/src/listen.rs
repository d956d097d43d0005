//! Takes mail by LMTP (RFC 2033) and SMTP (RFC 5321).

use std::sync::Arc;

use isthmus_bridge::{BridgeError, Finding, Host};
use tokio_util::sync::CancellationToken;

use crate::Mail;

/// Listens until `stop`.
pub(crate) async fn serve(_mail: Arc<Mail>, _host: Host, stop: CancellationToken) -> Result<(), BridgeError> {
    stop.cancelled().await;
    Ok(())
}

/// Whether the configured addresses can be listened on.
pub(crate) async fn probe(_mail: &Mail) -> Vec<Finding> {
    Vec::new()
}
