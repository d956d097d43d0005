//! Pictures of contacts, kept by the SHA-1 of their bytes, once however many contacts have the same.

use isthmus_bridge::{Address, BareJid, StoreError};

use super::Persons;
use super::contacts::Contact;
use crate::args;

/// A picture that nobody has goes after an hour: it may have been put there for a contact who gets it next.
const UNUSED: i64 = 3_600_000;

/// A picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// The SHA-1 of the bytes, in lower-case hexadecimal.
    pub hash: String,
    /// `image/png`.
    pub media_type: String,
    /// The bytes.
    pub body: Vec<u8>,
}

impl Persons {
    /// Gives a contact of a user a picture, or none. Gives whether that is a change.
    ///
    /// # Errors
    /// The store failed; nothing changed.
    pub async fn set_photo(&self, user: &BareJid, at: &Address, picture: Option<Picture>) -> Result<bool, StoreError> {
        let hash = picture.as_ref().map(|p| p.hash.clone());
        if self.contact(user, at).map(|c| c.photo).unwrap_or_default() == hash {
            return Ok(false);
        }
        if let Some(picture) = picture {
            self.store
                .write(picture, |tx, picture| {
                    Box::pin(async move {
                        let now = tx.now();
                        let sql = "INSERT INTO pictures (hash, media_type, body, at) VALUES ($1, $2, $3, $4) ON CONFLICT (hash) DO UPDATE SET at = excluded.at";
                        tx.execute(sql, args![&picture.hash, &picture.media_type, picture.body.clone(), now]).await
                    })
                })
                .await?;
        }
        self.change_contact(user, at, move |contact: &mut Contact| contact.photo.clone_from(&hash)).await?;
        Ok(true)
    }

    /// A picture by its hash.
    ///
    /// # Errors
    /// The store failed.
    pub async fn picture(&self, hash: &str) -> Result<Option<Picture>, StoreError> {
        let rows = self.store.read("SELECT hash, media_type, body FROM pictures WHERE hash = $1", args![hash]).await?;
        let picture = |row: &crate::storage::Row| {
            Ok(Picture { hash: row.text(0)?, media_type: row.text(1)?, body: row.bytes(2)? })
        };
        rows.first().map(picture).transpose()
    }

    /// Removes pictures that no contact of anybody has.
    ///
    /// # Errors
    /// The store failed; nothing changed.
    pub(super) async fn sweep_pictures(&self) -> Result<(), StoreError> {
        let before = self.store.clock().now() - UNUSED;
        self.store
            .write(before, |tx, before| {
                Box::pin(async move {
                    let sql = "DELETE FROM pictures WHERE at < $1 AND hash NOT IN (SELECT photo FROM contacts WHERE photo IS NOT NULL)";
                    tx.execute(sql, args![*before]).await
                })
            })
            .await?;
        Ok(())
    }
}
