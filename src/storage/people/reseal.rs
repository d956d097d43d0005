//! After a new key: users' secrets are sealed again under it, so that the old one may go.

use isthmus_bridge::StoreError;

use super::Persons;
use crate::args;

impl Persons {
    /// Seals under the newest key what is sealed under an older one; gives how many secrets that were. What a bridge keeps sealed in its own state
    /// is not known here: the old key has to stay for it.
    ///
    /// # Errors
    /// The store failed, or a secret cannot be opened: what was done so far stands.
    pub async fn reseal(&self) -> Result<u64, StoreError> {
        let sql = "SELECT person, address, key, sealed FROM choices WHERE bridge = $1 AND sealed IS NOT NULL";
        let mut done = 0;
        for row in self.store.read(sql, args![&*self.name]).await? {
            let (user, at, name, old) = (row.text(0)?, row.text(1)?, row.text(2)?, row.bytes(3)?);
            if !self.seal.needs_reseal(&old) {
                continue;
            }
            let person = user.as_str().into();
            let purpose = self.purpose(&person, &name);
            let new = self.seal.seal(&purpose, &self.seal.unseal(&purpose, &old)?)?;
            let data = (self.name.to_string(), user, at, name, old, new);
            let changed = self
                .store
                .write(data, |tx, (bridge, user, at, name, old, new)| {
                    Box::pin(async move {
                        // Only what is still as it was read: the user may have set another one meanwhile.
                        let sql = "UPDATE choices SET sealed = $6 WHERE bridge = $1 AND person = $2 AND address = $3 AND key = $4 AND sealed = $5";
                        tx.execute(sql, args![bridge, user, at, name, old.clone(), new.clone()]).await
                    })
                })
                .await?;
            done += changed;
            self.mirror.refresh(&self.store, &self.name, &person).await?;
        }
        Ok(done)
    }
}
