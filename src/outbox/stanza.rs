//! From a message of the network to the stanza that it was or became: what an answer, a mark or a reaction from there refers to.

use isthmus_bridge::{MessageRef, StoreError};

use super::Outbox;
use crate::args;

/// The stanza of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StanzaOf {
    /// Its id.
    pub id: String,
    /// Sent by the user, not to them.
    pub outbound: bool,
}

impl Outbox {
    /// The stanza that a message was or became; `None` where it had no id or is not known (any more).
    ///
    /// # Errors
    /// The store is away.
    pub async fn stanza_of(&self, bridge: &str, of: &MessageRef) -> Result<Option<StanzaOf>, StoreError> {
        let rows = match of {
            MessageRef::Key(key) => {
                let sql = "SELECT stanza_id, key FROM messages WHERE bridge = $1 AND key = $2";
                self.core.store.read(sql, args![bridge, key.as_str()]).await?
            }
            MessageRef::Foreign { network, id } => {
                let sql = "SELECT m.stanza_id, m.key FROM foreign_ids f JOIN messages m ON m.seq = f.message \
                           WHERE f.bridge = $1 AND f.network = $2 AND f.id = $3 ORDER BY m.seq DESC LIMIT 1";
                self.core.store.read(sql, args![bridge, network.as_str(), id.as_str()]).await?
            }
            _ => Vec::new(),
        };
        let Some(row) = rows.first() else { return Ok(None) };
        let outbound = row.opt_text(1)?.is_some();
        Ok(row.opt_text(0)?.map(|id| StanzaOf { id, outbound }))
    }
}
