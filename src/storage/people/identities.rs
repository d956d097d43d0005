//! Own identities: given once and for ever. One that was given up leaves a keyed hash of itself and of who had it, so that the same user may
//! take it back and nobody else can, and so that a stolen database names neither.

use std::sync::Arc;

use isthmus_bridge::{BareJid, ContactId, StoreError, Taken};

use super::Persons;
use crate::args;
use crate::storage::{Seal, Tx};

/// The tables that hold rows of a person; tombstones and the audit log are not among them.
const FORGET: [&str; 13] = [
    "DELETE FROM registrations WHERE bridge = $1 AND person = $2",
    "DELETE FROM choices WHERE bridge = $1 AND person = $2",
    "DELETE FROM last_writers WHERE bridge = $1 AND person = $2",
    "DELETE FROM contacts WHERE bridge = $1 AND person = $2",
    "DELETE FROM blocks WHERE bridge = $1 AND person = $2",
    "DELETE FROM state WHERE bridge = $1 AND person = $2",
    "DELETE FROM talks WHERE bridge = $1 AND person = $2",
    "DELETE FROM own_messages WHERE bridge = $1 AND person = $2",
    "DELETE FROM archive_stays WHERE bridge = $1 AND person = $2",
    "DELETE FROM names WHERE bridge = $1 AND person = $2",
    "DELETE FROM reactions WHERE bridge = $1 AND person = $2",
    // The logs of rooms that are theirs alone (`archive::apart`). Their numbers are not given away again: a line that is being written just now must
    // not come into another room.
    "DELETE FROM archive WHERE room IN (SELECT no FROM archive_rooms WHERE bridge = $1 AND substr(room, 1, length($2) + 2) = '\n' || $2 || '\n')",
    "UPDATE archive_rooms SET room = '\n\n' || no WHERE bridge = $1 AND substr(room, 1, length($2) + 2) = '\n' || $2 || '\n'",
];

/// One person's work in the writer.
struct Work {
    seal: Arc<Seal>,
    bridge: String,
    user: String,
    own: String,
}

impl Work {
    fn person_mac(&self) -> String {
        hex::encode(self.seal.mac("tombstone person", self.user.as_bytes()))
    }

    fn own_mac(&self, own: &str) -> String {
        hex::encode(self.seal.mac("tombstone identity", format!("{}\n{own}", self.bridge).as_bytes()))
    }

    async fn bury(&self, tx: &mut Tx, own: &str) -> Result<(), StoreError> {
        let gone = "DELETE FROM identities WHERE bridge = $1 AND own = $2 AND person = $3";
        if tx.execute(gone, args![&self.bridge, own, &self.user]).await? == 0 {
            return Ok(());
        }
        let now = tx.now();
        let sql = "INSERT INTO tombstones (bridge, own, person, at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
        tx.execute(sql, args![&self.bridge, self.own_mac(own), self.person_mac(), now]).await?;
        Ok(())
    }

    /// `true`: it is the user's now.
    async fn claim(&self, tx: &mut Tx) -> Result<bool, StoreError> {
        let stone = "SELECT person FROM tombstones WHERE bridge = $1 AND own = $2";
        let stone = tx.fetch_one(stone, args![&self.bridge, self.own_mac(&self.own)]).await?;
        if let Some(row) = stone
            && row.text(0)? != self.person_mac()
        {
            return Ok(false);
        }
        let now = tx.now();
        let sql = "INSERT INTO identities (bridge, own, person, at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
        tx.execute(sql, args![&self.bridge, &self.own, &self.user, now]).await?;
        let sql = "SELECT person FROM identities WHERE bridge = $1 AND own = $2";
        let row = tx.fetch_one(sql, args![&self.bridge, &self.own]).await?;
        let theirs = row.map(|row| row.text(0)).transpose()?.is_some_and(|person| person == self.user);
        if theirs {
            let sql = "DELETE FROM tombstones WHERE bridge = $1 AND own = $2";
            tx.execute(sql, args![&self.bridge, self.own_mac(&self.own)]).await?;
        }
        Ok(theirs)
    }
}

impl Persons {
    fn work(&self, user: &BareJid, own: &str) -> Work {
        Work { seal: self.seal.clone(), bridge: self.name.to_string(), user: user.to_string(), own: own.to_owned() }
    }

    /// Gives an own identity to a user, for ever. Claiming what one has is no error.
    ///
    /// # Errors
    /// [`Taken::ByOther`]: somebody else has it or had it.
    pub async fn claim(&self, user: &BareJid, own: &ContactId) -> Result<(), Taken> {
        let claim = self.store.write(self.work(user, own.as_str()), |tx, work| Box::pin(work.claim(tx)));
        if claim.await? { Ok(()) } else { Err(Taken::ByOther) }
    }

    /// The user gives it up. They alone may claim it again. Nothing happens where it is not theirs.
    ///
    /// # Errors
    /// The store failed; nothing changed.
    pub async fn release(&self, user: &BareJid, own: &ContactId) -> Result<(), StoreError> {
        self.store.write(self.work(user, own.as_str()), |tx, work| Box::pin(work.bury(tx, &work.own))).await
    }

    /// Removes the user's rows; own identities become tombstones.
    pub(super) async fn bury_all(&self, user: &BareJid) -> Result<(), StoreError> {
        self.store
            .write(self.work(user, ""), |tx, work| {
                Box::pin(async move {
                    let sql = "SELECT own FROM identities WHERE bridge = $1 AND person = $2";
                    for row in tx.fetch(sql, args![&work.bridge, &work.user]).await? {
                        work.bury(tx, &row.text(0)?).await?;
                    }
                    for sql in FORGET {
                        tx.execute(sql, args![&work.bridge, &work.user]).await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// Who has an own identity now.
    ///
    /// # Errors
    /// The store failed.
    pub async fn owner(&self, own: &ContactId) -> Result<Option<BareJid>, StoreError> {
        let sql = "SELECT person FROM identities WHERE bridge = $1 AND own = $2";
        let rows = self.store.read(sql, args![&*self.name, own.as_str()]).await?;
        rows.first().map(|row| row.text(0).map(BareJid::new)).transpose()
    }

    /// A user's own identities, the first claimed first.
    ///
    /// # Errors
    /// The store failed.
    pub async fn identities(&self, user: &BareJid) -> Result<Vec<ContactId>, StoreError> {
        let sql = "SELECT own FROM identities WHERE bridge = $1 AND person = $2 ORDER BY seq";
        let rows = self.store.read(sql, args![&*self.name, user.as_str()]).await?;
        rows.iter().map(|row| row.text(0).map(ContactId::new)).collect()
    }

    /// Records who wrote last as `own` to `peer`; of use for identities that several users share.
    ///
    /// # Errors
    /// The store failed; nothing changed.
    pub async fn wrote(&self, user: &BareJid, own: &ContactId, peer: &ContactId) -> Result<(), StoreError> {
        let data = (self.name.to_string(), own.to_string(), peer.to_string(), user.to_string());
        self.store
            .write(data, |tx, (bridge, own, peer, user)| {
                Box::pin(async move {
                    let now = tx.now();
                    let sql = "INSERT INTO last_writers (bridge, own, peer, person, at) VALUES ($1, $2, $3, $4, $5) \
                               ON CONFLICT (bridge, own, peer) DO UPDATE SET person = excluded.person, at = excluded.at";
                    tx.execute(sql, args![bridge, own, peer, user, now]).await.map(|_| ())
                })
            })
            .await
    }

    /// To whom an event for an own identity goes: its sole owner, else who last wrote to `peer`, else `configured` (the owner that the
    /// configuration names). Empty: nobody.
    ///
    /// # Errors
    /// The store failed.
    pub async fn route(
        &self,
        own: &ContactId,
        peer: &ContactId,
        configured: Option<&BareJid>,
    ) -> Result<Vec<BareJid>, StoreError> {
        if let Some(owner) = self.owner(own).await? {
            return Ok(vec![owner]);
        }
        let sql = "SELECT person FROM last_writers WHERE bridge = $1 AND own = $2 AND peer = $3";
        let rows = self.store.read(sql, args![&*self.name, own.as_str(), peer.as_str()]).await?;
        match rows.first() {
            Some(row) => Ok(vec![row.text(0)?.into()]),
            None => Ok(configured.cloned().into_iter().collect()),
        }
    }
}
