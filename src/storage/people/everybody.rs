//! All of a bridge's persons at once: for starts, stops and listings, not for messages.

use isthmus_bridge::{BareJid, StoreError};

use super::Persons;
use crate::args;

impl Persons {
    /// Whoever is registered, has contacts, settings or blocks, in order. From memory.
    pub fn everybody(&self) -> Vec<BareJid> {
        self.mirror.users(|_| true)
    }

    /// The registered users, and since when (milliseconds since the epoch).
    ///
    /// # Errors
    /// The store is away.
    pub async fn registered_since(&self) -> Result<Vec<(BareJid, i64)>, StoreError> {
        let sql = "SELECT person, at FROM registrations WHERE bridge = $1 ORDER BY person";
        let rows = self.store.read(sql, args![&*self.name]).await?;
        rows.iter().map(|row| Ok((row.text(0)?.into(), row.int(1)?))).collect()
    }
}
