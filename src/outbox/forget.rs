//! A user goes: what waits is cancelled, and the message map forgets them.

use isthmus_bridge::{BareJid, StoreError};

use super::Outbox;
use crate::args;

/// In this order: what refers to a message goes before it. Events that a bridge has in hand stay until it answers.
const STEPS: [&str; 5] = [
    "DELETE FROM outbox WHERE bridge = $1 AND person = $2 AND state = 0",
    "DELETE FROM foreign_ids WHERE message IN (SELECT seq FROM messages WHERE bridge = $1 AND person = $2)",
    "DELETE FROM legs WHERE head IN (SELECT head FROM messages WHERE bridge = $1 AND person = $2)",
    "DELETE FROM messages WHERE bridge = $1 AND person = $2",
    "DELETE FROM once WHERE bridge = $1 AND person = $2",
];

impl Outbox {
    /// Removes what the queue and the message map hold of a user on a bridge. What the inbox still has for them is delivered.
    ///
    /// # Errors
    /// The store is away; nothing was removed.
    pub async fn forget(&self, bridge: &str, user: &BareJid) -> Result<(), StoreError> {
        let who = (bridge.to_owned(), user.to_string());
        self.core
            .store
            .write(who, |tx, (bridge, user)| {
                Box::pin(async move {
                    for step in STEPS {
                        tx.execute(step, args![bridge, user]).await?;
                    }
                    Ok(())
                })
            })
            .await
    }
}
