//! TLS towards servers: roots of the system, any certificate where the user says so, or one that is pinned.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};

use crate::certificate::Certificate;

/// How a server shows that it is the one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Check {
    /// A certificate for its name from an authority that the system trusts.
    Roots,
    /// Not at all.
    Nothing,
    /// The certificate with this SHA-256.
    Pinned([u8; 32]),
}

impl Check {
    /// From the settings; a fingerprint that is none (it was set before they were looked at) fits no certificate.
    pub(crate) fn of(verify: bool, fingerprint: &str) -> Self {
        match fingerprint.trim().is_empty() {
            false => Self::Pinned(sha256(fingerprint).unwrap_or_default()),
            true if verify => Self::Roots,
            true => Self::Nothing,
        }
    }
}

/// A fingerprint as people write it: in hexadecimal, with or without colons and blanks, alone or as `openssl x509 -fingerprint` prints it.
pub(crate) fn sha256(fingerprint: &str) -> Option<[u8; 32]> {
    let (_, digits) = fingerprint.rsplit_once('=').unwrap_or(("", fingerprint));
    let digits: String = digits.chars().filter(|c| !c.is_whitespace() && *c != ':').collect();
    hex::decode(digits).ok()?.try_into().ok()
}

/// The client's side. Roots are read at the first use, off the async threads. Who shows no certificate of their own shares the rest too.
pub(crate) async fn client(check: &Check, own: Option<&Certificate>) -> Result<Arc<ClientConfig>, String> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    static COMMON: [OnceLock<Arc<ClientConfig>>; 2] = [const { OnceLock::new() }; 2];
    let common = match (check, own) {
        (Check::Roots, None) => Some(&COMMON[0]),
        (Check::Nothing, None) => Some(&COMMON[1]),
        _ => None,
    };
    if let Some(known) = common.and_then(OnceLock::get) {
        return Ok(known.clone());
    }
    let roots = match (check, ROOTS.get()) {
        (Check::Roots, None) => {
            let read = tokio::task::spawn_blocking(roots).await.map_err(|e| e.to_string())??;
            Some(ROOTS.get_or_init(|| read).clone())
        }
        (Check::Roots, known) => known.cloned(),
        _ => None,
    };
    let made = with(check, roots, own)?;
    Ok(common.map_or(made.clone(), |common| common.get_or_init(|| made).clone()))
}

fn roots() -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err("this machine has no root certificates".to_owned());
    }
    Ok(Arc::new(roots))
}

fn with(
    check: &Check,
    roots: Option<Arc<RootCertStore>>,
    own: Option<&Certificate>,
) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let builder = match roots {
        Some(roots) => builder.with_root_certificates(roots),
        None => {
            let check = Arc::new(OwnCheck { provider, check: check.clone() });
            builder.dangerous().with_custom_certificate_verifier(check)
        }
    };
    let config = match own.map(Certificate::parts) {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|e| e.to_string())?,
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

/// A pinned certificate, or any.
#[derive(Debug)]
struct OwnCheck {
    provider: Arc<CryptoProvider>,
    check: Check,
}

impl ServerCertVerifier for OwnCheck {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.check {
            Check::Pinned(pinned) if <[u8; 32]>::from(Sha256::digest(end_entity)) != *pinned => {
                let found = hex::encode(Sha256::digest(end_entity));
                Err(rustls::Error::General(format!("the certificate is not the pinned one: its SHA-256 is {found}")))
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_that_cannot_be_read_fits_nothing() {
        assert_eq!(Check::of(true, ""), Check::Roots);
        assert_eq!(Check::of(false, " "), Check::Nothing);
        assert_eq!(Check::of(false, "nonsense"), Check::Pinned([0; 32]));
        let (colons, digits) = (["aB"; 32].join(":"), "AB ".repeat(32));
        for good in [&*colons, &digits, &format!("sha256 Fingerprint={colons}")] {
            assert_eq!(Check::of(true, good), Check::Pinned([0xab; 32]), "{good}");
        }
        for bad in
            ["", "ab", &"ab".repeat(20), &"ab".repeat(33), &format!("{colons}x"), &format!("sha1={}", "ab".repeat(20))]
        {
            assert_eq!(sha256(bad), None, "{bad}");
        }
    }
}
