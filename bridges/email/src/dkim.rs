//! DKIM signatures on outbound mail (RFC 6376; Ed25519: RFC 8463).

use std::fmt;
use std::path::Path;

use mail_auth::common::crypto::{Ed25519Key, RsaKey, Sha256};
use mail_auth::common::headers::HeaderWriter;
use mail_auth::dkim::{DkimSigner, Done};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};

/// Header fields that a signature covers. `From` twice (RFC 6376, 8.15): a second one added on the way breaks it.
const HEADERS: [&str; 16] = [
    "From",
    "From",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Reply-To",
    "Auto-Submitted",
    "Jabber-ID",
    "Disposition-Notification-To",
];

enum Key {
    Rsa(Box<DkimSigner<RsaKey<Sha256>, Done>>),
    Ed25519(Box<DkimSigner<Ed25519Key, Done>>),
}

/// One key that signs.
pub(crate) struct Signer {
    key: Key,
    name: String,
}

impl Signer {
    /// Reads a private key (PEM, PKCS#8 or PKCS#1). An error names the configuration key that it belongs to.
    pub(crate) fn read(domain: &str, selector: &str, file: &Path) -> Result<Self, (&'static str, String)> {
        let is_label = |l: &str| !l.is_empty() && l.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if !selector.split('.').all(is_label) {
            return Err(("selector", "expected letters, digits, hyphens and dots".to_owned()));
        }
        let fault = |what: String| {
            (
                "key_file",
                format!(
                    "expected a private key (PEM, RSA of 2048 bits or more, or Ed25519), but {}: {what}",
                    file.display()
                ),
            )
        };
        let pem = std::fs::read(file).map_err(|e| fault(e.to_string()))?;
        let der = PrivateKeyDer::from_pem_slice(&pem).map_err(|e| fault(e.to_string()))?;
        let key = match ed25519(&der) {
            Some(key) => {
                Key::Ed25519(Box::new(DkimSigner::from_key(key).domain(domain).selector(selector).headers(HEADERS)))
            }
            None => Key::Rsa(Box::new(
                DkimSigner::from_key(RsaKey::<Sha256>::from_key_der(der).map_err(|e| fault(e.to_string()))?)
                    .domain(domain)
                    .selector(selector)
                    .headers(HEADERS),
            )),
        };
        Ok(Self { key, name: format!("{selector}._domainkey.{domain}") })
    }

    /// The `DKIM-Signature` field of a mail, with its line end; goes before the mail.
    pub(crate) fn sign(&self, mail: &[u8]) -> Result<String, mail_auth::Error> {
        match &self.key {
            Key::Rsa(signer) => signer.sign(mail).map(|s| s.to_header()),
            Key::Ed25519(signer) => signer.sign(mail).map(|s| s.to_header()),
        }
    }
}

/// The name of the DNS record; nothing of the key.
impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signer").field(&self.name).finish()
    }
}

fn ed25519(der: &PrivateKeyDer<'_>) -> Option<Ed25519Key> {
    let PrivateKeyDer::Pkcs8(der) = der else { return None };
    let der: &PrivatePkcs8KeyDer<'_> = der;
    Ed25519Key::from_pkcs8_maybe_unchecked_der(der.secret_pkcs8_der()).ok()
}
