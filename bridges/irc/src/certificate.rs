//! A user's own certificate for a network, made here: services know its fingerprint and take it as login (SASL EXTERNAL).
//!
//! Nobody checks who signed it, so it signs itself: X.509 version 3 (RFC 5280) over a P-256 key, written by hand in DER, for it is one shape.

use std::sync::Arc;

use isthmus_bridge::{BareJid, Change, Host, NetworkId, StoreError};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};

/// The store's space.
const SPACE: &str = "certificates";

/// A certificate and its key.
pub(crate) struct Certificate {
    der: Vec<u8>,
    key: Vec<u8>,
}

/// The fingerprint alone: the key is a secret.
impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Certificate").field(&self.fingerprint()).finish()
    }
}

impl Certificate {
    /// A new one.
    pub(crate) fn make() -> Option<Self> {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).ok()?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.as_ref(), &random).ok()?;
        let to_be_signed = to_be_signed(pair.public_key().as_ref(), rand::random());
        let signature = pair.sign(&random, &to_be_signed).ok()?;
        let der = sequence(&[&to_be_signed, &sequence(&[ECDSA_WITH_SHA256]), &bits(signature.as_ref())]);
        Some(Self { der, key: key.as_ref().to_vec() })
    }

    /// What services know it by: SHA-256 of the whole.
    pub(crate) fn fingerprint(&self) -> String {
        hex::encode(Sha256::digest(&self.der))
    }

    /// For TLS.
    pub(crate) fn parts(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = PrivatePkcs8KeyDer::from(self.key.clone());
        (vec![CertificateDer::from(self.der.clone())], PrivateKeyDer::Pkcs8(key))
    }

    /// The user's, if they have one for this network.
    pub(crate) async fn load(
        host: &Host,
        user: &BareJid,
        network: &NetworkId,
    ) -> Result<Option<Arc<Self>>, StoreError> {
        let Some(sealed) = host.load(SPACE, &key_of(user, network)).await? else { return Ok(None) };
        let plain = host.unseal(&sealed)?;
        let length = plain.first_chunk::<2>().map_or(0, |l| usize::from(u16::from_be_bytes(*l)));
        let parts = plain.get(2..).and_then(|rest| rest.split_at_checked(length));
        Ok(parts.map(|(der, key)| Arc::new(Self { der: der.to_vec(), key: key.to_vec() })))
    }

    /// Keeps it, sealed.
    pub(crate) async fn keep(&self, host: &Host, user: &BareJid, network: &NetworkId) -> Result<(), StoreError> {
        let length = u16::try_from(self.der.len()).unwrap_or(0);
        let plain = [&length.to_be_bytes()[..], &self.der, &self.key].concat();
        let change = Change::put(SPACE, key_of(user, network), host.seal(&plain)?).of(user.clone());
        host.store(vec![change]).await
    }

    /// Takes it away.
    pub(crate) async fn remove(host: &Host, user: &BareJid, network: &NetworkId) -> Result<(), StoreError> {
        host.store(vec![Change::remove(SPACE, key_of(user, network)).of(user.clone())]).await
    }
}

fn key_of(user: &BareJid, network: &NetworkId) -> String {
    format!("{user} {network}")
}

/// 1.2.840.10045.4.3.2 (RFC 5758).
const ECDSA_WITH_SHA256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
/// 1.2.840.10045.2.1 and 1.2.840.10045.3.1.7 (RFC 5480).
const EC_PUBLIC_KEY: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// 2.5.4.3, the common name.
const COMMON_NAME: &[u8] = &[0x06, 0x03, 0x55, 0x04, 0x03];

fn to_be_signed(public_key: &[u8], serial: u64) -> Vec<u8> {
    let version = tagged(0xa0, &tagged(0x02, &[2]));
    // Positive, and not zero.
    let serial = tagged(0x02, &((serial >> 1) | 1 << 62).to_be_bytes());
    let name = sequence(&[&tagged(0x31, &sequence(&[COMMON_NAME, &tagged(0x0c, b"isthmus")]))]);
    // From a fixed day until the end of all days (RFC 5280 section 4.1.2.5): when it was made concerns nobody.
    let validity = sequence(&[&tagged(0x17, b"200101000000Z"), &tagged(0x18, b"99991231235959Z")]);
    let key = sequence(&[&sequence(&[EC_PUBLIC_KEY, P256]), &bits(public_key)]);
    sequence(&[&version, &serial, &sequence(&[ECDSA_WITH_SHA256]), &name, &validity, &name, &key])
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tagged(0x30, &parts.concat())
}

fn bits(content: &[u8]) -> Vec<u8> {
    tagged(0x03, &[&[0], content].concat())
}

fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len().to_be_bytes();
    match content.len() {
        0..=127 => out.push(length[7]),
        128..=255 => out.extend_from_slice(&[0x81, length[7]]),
        _ => out.extend_from_slice(&[0x82, length[6], length[7]]),
    }
    out.extend_from_slice(content);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OpenSSL reads it, and its signature is its own.
    #[test]
    fn others_can_read_it() {
        let made = Certificate::make().expect("random numbers");
        let file = std::env::temp_dir().join(format!("isthmus-irc-{}.der", made.fingerprint()));
        std::fs::write(&file, &made.der).expect("written");
        let ran = std::process::Command::new("openssl")
            .args(["x509", "-inform", "der", "-noout", "-fingerprint", "-sha256", "-text", "-in"])
            .arg(&file)
            .output()
            .expect("openssl is installed");
        std::fs::remove_file(&file).expect("there");
        let text = String::from_utf8_lossy(&ran.stdout).into_owned();
        let told = text.lines().find_map(|l| l.split("ingerprint=").nth(1)).unwrap_or_default().replace(':', "");
        assert_eq!(told.to_lowercase(), made.fingerprint(), "{text}");
        assert!(text.contains("Not After : Dec 31 23:59:59 9999 GMT") && text.contains("ecdsa-with-SHA256"), "{text}");
        let (chain, key) = made.parts();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_client_auth_cert(chain, key);
        assert!(config.is_ok(), "rustls takes it: {config:?}");
    }
}
