//! Secrets at rest: sealed with ChaCha20-Poly1305 (RFC 8439) under a key from a file or the environment.

use std::io::Write;
use std::path::{Path, PathBuf};

use arc_swap::ArcSwap;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, KeyInit, Nonce};
use hmac::{Hmac, Mac};
use secrecy::ExposeSecret;
use sha2::Sha256;

use crate::config::Config;

/// Format: version 1, key id (4 bytes), nonce (12 bytes), ciphertext with tag (16 bytes more than the plain text).
const VERSION: u8 = 1;
const HEAD: usize = 1 + 4 + 12;

/// The purpose of what a bridge seals for its own state: it opens for no other bridge.
pub(crate) fn state_purpose(bridge: &str) -> String {
    format!("bridge/{bridge}/state")
}

/// Bytes of the shortest thing that is sealed.
pub(crate) const fn shortest() -> usize {
    HEAD + 16
}

/// Why something could not be sealed or unsealed. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The key file is not to be had.
    #[error("secret key {0}")]
    File(String),
    /// Not what a key looks like.
    #[error(
        "secret key: expected 64 hexadecimal digits a line, the newest key first (the first line also makes the ids)"
    )]
    Malformed,
    /// Sealed under a key that is not in the file.
    #[error("sealed under another key; put the key that was used then back into the key file, below the new one")]
    UnknownKey,
    /// Cut, changed, or sealed for another purpose.
    #[error("a sealed secret is damaged or belongs somewhere else")]
    Damaged,
}

impl From<SealError> for isthmus_bridge::StoreError {
    fn from(error: SealError) -> Self {
        Self::Fault(error.to_string())
    }
}

/// The keys. Cheap to share in an `Arc`; `Debug` shows only ids.
pub struct Seal {
    mac: [u8; 32],
    /// Newest first; the newest seals.
    keys: ArcSwap<Keys>,
    /// The key file, where there is one.
    file: Option<PathBuf>,
}

/// Keys by their ids.
type Keys = Vec<([u8; 4], [u8; 32])>;

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seal").field("keys", &self.key_ids()).finish_non_exhaustive()
    }
}

impl Seal {
    /// The key that a configuration names: from the environment, from a file, or made at the first start.
    ///
    /// # Errors
    /// As [`open`](Self::open) and [`parse`](Self::parse).
    pub fn of(config: &Config) -> Result<Self, SealError> {
        match (&config.seal.key, &config.seal.key_file) {
            (Some(key), _) => Self::parse(key.expose_secret()),
            (None, Some(file)) => Self::open(file),
            (None, None) => Self::open(&config.data_dir.join("secret.key")),
        }
    }

    /// Reads the key file, or makes it (mode 0600, synced) where there is none.
    ///
    /// # Errors
    /// The file cannot be read or made, or is not a key file.
    pub fn open(path: &Path) -> Result<Self, SealError> {
        let mut seal = Self::read_or_make(path)?;
        seal.file = Some(path.to_owned());
        Ok(seal)
    }

    fn read_or_make(path: &Path) -> Result<Self, SealError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let text = format!("mac {}\nkey {}\n", hex::encode(random()?), hex::encode(random()?));
                // `create_new`: of two processes that start at once only one makes the keys, the other reads them.
                match write_private(path, &text, true) {
                    Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                        Self::parse(&std::fs::read_to_string(path).map_err(|error| file(path, &error))?)
                    }
                    done => done.map_err(|error| file(path, &error)).and_then(|()| Self::parse(&text)),
                }
            }
            Err(error) => Err(file(path, &error)),
        }
    }

    /// Reads keys from a text: the lines of a key file (`mac HEX`, `key HEX` with the newest first), or a single key of 64 hexadecimal
    /// digits, from which both are derived (for an environment variable).
    ///
    /// # Errors
    /// [`SealError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, SealError> {
        let (mut mac, mut keys) = (None, Vec::new());
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match line.split_once(' ') {
                Some(("mac", hex)) if mac.is_none() => mac = Some(key(hex)?),
                Some(("key", hex)) => keys.push(named(key(hex)?)),
                None if mac.is_none() && keys.is_empty() => {
                    let master = key(line)?;
                    mac = Some(hmac(&master, &[b"isthmus mac"]));
                    keys.push(named(hmac(&master, &[b"isthmus seal"])));
                }
                _ => return Err(SealError::Malformed),
            }
        }
        match mac {
            Some(mac) if !keys.is_empty() => Ok(Self { mac, keys: ArcSwap::from_pointee(keys), file: None }),
            _ => Err(SealError::Malformed),
        }
    }

    /// Puts a new key before the others in the key file (atomically) and gives the new set. What was sealed before still opens;
    /// [`needs_reseal`](Self::needs_reseal) says what to seal again, after which the old `key` lines may be removed. `mac` never changes.
    ///
    /// # Errors
    /// The file cannot be read or written, or is not a key file of `mac` and `key` lines.
    pub fn rotate(path: &Path) -> Result<Self, SealError> {
        let text = std::fs::read_to_string(path).map_err(|error| file(path, &error))?;
        let old = Self::parse(&text)?;
        let mut text = format!("mac {}\nkey {}\n", hex::encode(old.mac), hex::encode(random()?));
        for (_, key) in old.keys.load().iter() {
            text.push_str(&format!("key {}\n", hex::encode(key)));
        }
        let beside = path.with_extension("new");
        let _ = std::fs::remove_file(&beside); // left over from a rotation that was cut off
        write_private(&beside, &text, true).map_err(|error| file(&beside, &error))?;
        std::fs::rename(&beside, path).map_err(|error| file(path, &error))?;
        Self::parse(&text)
    }

    /// A new key, from now on, in the file and here ([`rotate`](Self::rotate)); gives its id.
    ///
    /// # Errors
    /// As [`rotate`](Self::rotate); and where the key came from the environment, which only the operator can change.
    pub fn renew(&self) -> Result<String, SealError> {
        let Some(path) = &self.file else {
            return Err(SealError::File(
                "stands in the environment: give another one there, and this one in front of it".to_owned(),
            ));
        };
        let new = Self::rotate(path)?;
        self.keys.store(new.keys.load_full());
        Ok(self.key_ids().first().cloned().unwrap_or_default())
    }

    /// Encrypts; the result opens only for the same `purpose` (a bridge's name and what it is, say).
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn seal(&self, purpose: &str, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let keys = self.keys.load();
        let (id, key) = keys.first().ok_or(SealError::UnknownKey)?;
        let mut nonce = [0; 12];
        getrandom::fill(&mut nonce).map_err(|error| SealError::File(error.to_string()))?;
        let mut sealed = Vec::with_capacity(HEAD + plain.len() + 16);
        sealed.push(VERSION);
        sealed.extend_from_slice(id);
        sealed.extend_from_slice(&nonce);
        let payload = Payload { msg: plain, aad: purpose.as_bytes() };
        let cipher = ChaCha20Poly1305::new(Key::from_slice(key));
        let text = cipher.encrypt(Nonce::from_slice(&nonce), payload).map_err(|_| SealError::Damaged)?;
        sealed.extend_from_slice(&text);
        Ok(sealed)
    }

    /// Decrypts what [`seal`](Self::seal) made for the same `purpose`.
    ///
    /// # Errors
    /// [`SealError::UnknownKey`], [`SealError::Damaged`].
    pub fn unseal(&self, purpose: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (head, text) = sealed.split_at_checked(HEAD).ok_or(SealError::Damaged)?;
        if head[0] != VERSION {
            return Err(SealError::Damaged);
        }
        let keys = self.keys.load();
        let (_, key) = keys.iter().find(|(id, _)| head[1..5] == *id).ok_or(SealError::UnknownKey)?;
        let payload = Payload { msg: text, aad: purpose.as_bytes() };
        let cipher = ChaCha20Poly1305::new(Key::from_slice(key));
        cipher.decrypt(Nonce::from_slice(&head[5..]), payload).map_err(|_| SealError::Damaged)
    }

    /// Whether it was sealed under a key that is not the newest.
    pub fn needs_reseal(&self, sealed: &[u8]) -> bool {
        self.keys.load().first().is_none_or(|(id, _)| sealed.get(1..5) != Some(id.as_slice()))
    }

    /// Whether it looks like something sealed under one of the keys, but not the newest.
    pub fn is_old(&self, sealed: &[u8]) -> bool {
        let Some((version, rest)) = sealed.split_first() else { return false };
        sealed.len() >= shortest()
            && *version == VERSION
            && self.keys.load().iter().skip(1).any(|(id, _)| rest.starts_with(id))
    }

    /// HMAC-SHA-256 under a key of the gateway's own that never changes; different purposes never collide.
    pub fn mac(&self, purpose: &str, data: &[u8]) -> [u8; 32] {
        hmac(&self.mac, &[&(purpose.len() as u64).to_be_bytes(), purpose.as_bytes(), data])
    }

    /// [`mac`](Self::mac) for one purpose, for who needs many of them.
    pub fn maker(&self, purpose: &str) -> MacMaker {
        let mut begun = keyed(&self.mac);
        begun.update(&(purpose.len() as u64).to_be_bytes());
        begun.update(purpose.as_bytes());
        MacMaker { begun }
    }

    /// The ids of the keys, newest first; they say nothing about the keys.
    pub fn key_ids(&self) -> Vec<String> {
        self.keys.load().iter().map(|(id, _)| hex::encode(id)).collect()
    }
}

fn named(key: [u8; 32]) -> ([u8; 4], [u8; 32]) {
    let digest = hmac(&key, &[b"isthmus key id"]);
    ([digest[0], digest[1], digest[2], digest[3]], key)
}

fn key(digits: &str) -> Result<[u8; 32], SealError> {
    let mut key = [0; 32];
    hex::decode_to_slice(digits.trim(), &mut key).map_err(|_| SealError::Malformed)?;
    Ok(key)
}

fn random() -> Result<[u8; 32], SealError> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| SealError::File(error.to_string()))?;
    Ok(key)
}

/// Makes [`Seal::mac`] of one purpose; key and purpose are worked in already.
#[derive(Clone)]
pub struct MacMaker {
    begun: Hmac<Sha256>,
}

impl MacMaker {
    /// Of the data that these parts are side by side.
    pub fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.begun.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

impl std::fmt::Debug for MacMaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MacMaker")
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length")
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = keyed(key);
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn file(path: &Path, error: &std::io::Error) -> SealError {
    SealError::File(format!("{}: {error}", path.display()))
}

/// Writes a file that only its owner reads, and syncs it and its folder: what is sealed must never outlive its key.
fn write_private(path: &Path, text: &str, new: bool) -> std::io::Result<()> {
    let mut options = std::fs::File::options();
    options.write(true).create_new(new);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_made_once_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.key");
        let sealed = Seal::open(&path).unwrap().seal("p", b"hunter2").unwrap();
        assert_eq!(Seal::open(&path).unwrap().unseal("p", &sealed).unwrap(), b"hunter2");
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn opens_only_for_its_purpose_and_undamaged() {
        let seal = Seal::parse(&"7".repeat(64)).unwrap();
        let sealed = seal.seal("mail password", b"x").unwrap();
        assert_eq!(seal.unseal("other", &sealed), Err(SealError::Damaged));
        let mut changed = sealed.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(seal.unseal("mail password", &changed), Err(SealError::Damaged));
        assert_eq!(seal.unseal("mail password", &sealed[..10]), Err(SealError::Damaged));
        let other = Seal::parse(&"8".repeat(64)).unwrap();
        assert_eq!(other.unseal("mail password", &sealed), Err(SealError::UnknownKey));
    }

    #[test]
    fn rotation_keeps_what_was_sealed_and_the_mac() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.key");
        let before = Seal::open(&path).unwrap();
        let sealed = before.seal("p", b"old").unwrap();
        let after = Seal::rotate(&path).unwrap();
        assert_eq!(after.unseal("p", &sealed).unwrap(), b"old");
        assert!(after.needs_reseal(&sealed) && !after.needs_reseal(&after.seal("p", b"new").unwrap()));
        assert_eq!(before.mac("a", b"b"), after.mac("a", b"b"));
        assert_ne!(after.mac("a", b"bc"), after.mac("ab", b"c"));
        assert_eq!(before.mac("a", b"bc"), before.maker("a").mac(&[b"b", b"c"]));
        assert_eq!(Seal::open(&path).unwrap().key_ids(), after.key_ids());
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in ["", "key", "key 12", "mac 12\nkey 34", &"g".repeat(64), &format!("mac {}", "1".repeat(64))] {
            assert!(Seal::parse(text).is_err(), "{text}");
        }
    }
}
