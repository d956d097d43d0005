//! The client side of TLS towards the relay.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};

use super::reply::Fault;
use crate::config::Relay;

/// Roots are read at the first use, off the async threads.
pub(super) async fn client(config: &Relay) -> Result<Arc<ClientConfig>, Fault> {
    let (verify, ca_file) = (config.verify, config.ca_file.clone());
    let read = move || {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| Fault::Operator(e.to_string()))?;
        let config = if verify {
            builder.with_root_certificates(roots(ca_file.as_deref())?).with_no_client_auth()
        } else {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Unchecked(provider))).with_no_client_auth()
        };
        Ok(Arc::new(config))
    };
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|e| Err(Fault::Operator(e.to_string())))
}

fn roots(ca_file: Option<&std::path::Path>) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(file) => {
            let unreadable =
                |e: &dyn std::fmt::Display| Fault::Operator(format!("smtp.ca_file {}: {e}", file.display()));
            for certificate in CertificateDer::pem_file_iter(file).map_err(|e| unreadable(&e))? {
                roots.add(certificate.map_err(|e| unreadable(&e))?).map_err(|e| unreadable(&e))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(Fault::Operator("there is no root certificate to check the relay's with".into()));
    }
    Ok(roots)
}

/// `smtp.verify = false`: any certificate will do.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
