//! TLS to the component port.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// A verifying client configuration: the system's certificates, or those in `ca_file` (PEM) instead of them.
///
/// # Errors
/// The file cannot be read or holds no certificate; the system has none. The text is for the operator.
pub fn tls_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let shown = path.display();
            let certificates = CertificateDer::pem_file_iter(path).map_err(|error| format!("{shown}: {error}"))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| format!("{shown}: {error}"))?;
                roots.add(certificate).map_err(|error| format!("{shown}: {error}"))?;
            }
            if roots.is_empty() {
                return Err(format!("{shown} holds no certificate"));
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err("the system has no root certificates; name a CA file".to_owned());
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
