//! After a new key: what is sealed in the database is sealed again under it, so that the old one may go.
//!
//! It works on rows, whatever bridges are configured and whether or not they run: users' secrets, and what bridges have sealed in their own state,
//! either a whole value or, in lower-case hexadecimal digits, a part of a text. That it is sealed shows by its opening: nothing else does.

use std::collections::BTreeSet;

use isthmus_bridge::{BareJid, StoreError};

use super::{People, purpose};
use crate::args;
use crate::storage::seal::{shortest, state_purpose};
use crate::storage::{Seal, Store};

/// Rows read at a time.
const PAGE: i64 = 200;

/// What became of the secrets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resealed {
    /// Secrets that were sealed again.
    pub done: u64,
    /// Secrets that could not be opened; they stay as they are.
    pub damaged: u64,
    /// Whose settings were touched: bridge and user.
    changed: BTreeSet<(String, String)>,
}

impl People {
    /// What the store has sealed again is read again by who holds it in memory.
    ///
    /// # Errors
    /// The store failed.
    pub async fn resealed(&self, what: &Resealed) -> Result<(), StoreError> {
        for (bridge, user) in &what.changed {
            if let Some(persons) = self.of(bridge) {
                persons.mirror.refresh(&self.store, bridge, &BareJid::new(user.as_str())).await?;
            }
        }
        Ok(())
    }
}

/// Seals under the newest key what is sealed under an older one.
///
/// # Errors
/// The store failed: what was done so far stands, and the next call goes on.
pub async fn reseal(store: &Store, seal: &Seal) -> Result<Resealed, StoreError> {
    let mut all = Resealed::default();
    choices(store, seal, &mut all).await?;
    states(store, seal, &mut all).await?;
    Ok(all)
}

async fn choices(store: &Store, seal: &Seal, all: &mut Resealed) -> Result<(), StoreError> {
    let sql = "SELECT bridge, person, address, key, sealed FROM choices WHERE sealed IS NOT NULL AND (bridge, person, address, key) > ($1, $2, $3, $4) \
               ORDER BY bridge, person, address, key LIMIT $5";
    let mut from = [const { String::new() }; 4];
    loop {
        let [a, b, c, d] = &from;
        let rows = store.read(sql, args![a, b, c, d, PAGE]).await?;
        for row in &rows {
            let (bridge, user, at, name, old) = (row.text(0)?, row.text(1)?, row.text(2)?, row.text(3)?, row.bytes(4)?);
            from = [bridge.clone(), user.clone(), at.clone(), name.clone()];
            if !seal.needs_reseal(&old) {
                continue;
            }
            let purpose = purpose(&bridge, &BareJid::new(user.as_str()), &name);
            let Ok(plain) = seal.unseal(&purpose, &old) else {
                tracing::error!(bridge, user, setting = name, "a stored secret cannot be opened");
                all.damaged += 1;
                continue;
            };
            let new = seal.seal(&purpose, &plain)?;
            all.changed.insert((bridge.clone(), user.clone()));
            let data = (bridge, user, at, name, old, new);
            all.done += store
                .write(data, |tx, (bridge, user, at, name, old, new)| {
                    Box::pin(async move {
                        // Only what is still as it was read: the user may have set another one meanwhile.
                        let sql = "UPDATE choices SET sealed = $6 WHERE bridge = $1 AND person = $2 AND address = $3 AND key = $4 AND sealed = $5";
                        tx.execute(sql, args![bridge, user, at, name, old.clone(), new.clone()]).await
                    })
                })
                .await?;
        }
        if (rows.len() as i64) < PAGE {
            return Ok(());
        }
    }
}

async fn states(store: &Store, seal: &Seal, all: &mut Resealed) -> Result<(), StoreError> {
    let sql = "SELECT bridge, space, key, value FROM state WHERE (bridge, space, key) > ($1, $2, $3) ORDER BY bridge, space, key LIMIT $4";
    let mut from = [const { String::new() }; 3];
    loop {
        let [a, b, c] = &from;
        let rows = store.read(sql, args![a, b, c, PAGE]).await?;
        for row in &rows {
            let (bridge, space, key, old) = (row.text(0)?, row.text(1)?, row.text(2)?, row.bytes(3)?);
            from = [bridge.clone(), space.clone(), key.clone()];
            let (new, done, damaged) = value(seal, &state_purpose(&bridge), &old)?;
            if damaged > 0 {
                tracing::error!(bridge, space, "something that the bridge has sealed cannot be opened");
                all.damaged += damaged;
            }
            if done == 0 {
                continue;
            }
            let data = (bridge, space, key, old, new);
            let changed = store
                .write(data, |tx, (bridge, space, key, old, new)| {
                    Box::pin(async move {
                        let sql =
                            "UPDATE state SET value = $5 WHERE bridge = $1 AND space = $2 AND key = $3 AND value = $4";
                        tx.execute(sql, args![bridge, space, key, old.clone(), new.clone()]).await
                    })
                })
                .await?;
            // What the bridge has written meanwhile is sealed under the new key already.
            all.done += changed * done;
        }
        if (rows.len() as i64) < PAGE {
            return Ok(());
        }
    }
}

/// A value of a bridge's state, with what is sealed in it sealed again; how much that was, and how much could not be opened.
fn value(seal: &Seal, purpose: &str, old: &[u8]) -> Result<(Vec<u8>, u64, u64), StoreError> {
    if seal.is_old(old) {
        return Ok(match seal.unseal(purpose, old) {
            Ok(plain) => (seal.seal(purpose, &plain)?, 1, 0),
            Err(_) => (Vec::new(), 0, 1),
        });
    }
    let (mut new, mut done, mut damaged) = (old.to_vec(), 0, 0);
    let mut at = 0;
    while at < old.len() {
        let run = old[at..].iter().take_while(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')).count();
        if run >= 2 * shortest() && run % 2 == 0 {
            let sealed = hex::decode(&old[at..at + run]).unwrap_or_default();
            if seal.is_old(&sealed) {
                match seal.unseal(purpose, &sealed) {
                    Ok(plain) => {
                        // The same length: only key, nonce and cipher text are others.
                        new[at..at + run].copy_from_slice(hex::encode(seal.seal(purpose, &plain)?).as_bytes());
                        done += 1;
                    }
                    Err(_) => damaged += 1,
                }
            }
        }
        at += run.max(1);
    }
    Ok((new, done, damaged))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_in_a_value_is_found_whole_or_as_digits_and_nothing_else_changes() {
        let folder = tempfile::tempdir().expect("a folder");
        let seal = Seal::open(&folder.path().join("secret.key")).expect("a key");
        let purpose = state_purpose("chat");
        let digits = |plain: &[u8]| hex::encode(seal.seal(&purpose, plain).expect("sealed"));
        let whole = seal.seal(&purpose, b"a certificate").expect("sealed");
        let text = format!(r##"[{{"room":"#a","key":"{}"}},{{"room":"#b","key":"{}"}}]"##, digits(b"one"), digits(b""));
        let other = hex::encode(seal.seal("elsewhere", b"x").expect("sealed"));
        seal.renew().expect("a new key");

        let (new, done, damaged) = value(&seal, &purpose, &whole).expect("sealed again");
        assert_eq!((done, damaged, seal.is_old(&new)), (1, 0, false));
        assert_eq!(seal.unseal(&purpose, &new).expect("it opens"), b"a certificate");

        let (new, done, damaged) = value(&seal, &purpose, text.as_bytes()).expect("sealed again");
        assert_eq!((new.len(), done, damaged), (text.len(), 2, 0));
        let new: serde_json::Value = serde_json::from_slice(&new).expect("still JSON");
        for (n, plain) in [(0, &b"one"[..]), (1, b"")] {
            let sealed = hex::decode(new[n]["key"].as_str().expect("digits")).expect("digits");
            assert!(!seal.is_old(&sealed));
            assert_eq!(seal.unseal(&purpose, &sealed).expect("it opens"), plain);
        }

        assert_eq!(value(&seal, &purpose, other.as_bytes()).expect("left"), (other.clone().into_bytes(), 0, 1));
        for plain in ["", "deadbeef", &"0".repeat(200)] {
            assert_eq!(value(&seal, &purpose, plain.as_bytes()).expect("left"), (plain.as_bytes().to_vec(), 0, 0));
        }
    }
}
