//! Self-signed certificates for loopback, made anew for each test.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::process::{Folder, program, run};

/// A certificate for `localhost`, `mx.test` and 127.0.0.1, and its key, as PEM files.
#[derive(Debug)]
pub struct Certificate {
    /// The certificate; a client that is to trust the server names it as a root.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl Certificate {
    /// Makes one in `folder`.
    pub async fn make(folder: &Folder) -> Result<Self> {
        let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
        let mut command = Command::new(program("openssl", "openssl", &[])?);
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        command.args(["-days", "30", "-subj", "/CN=localhost", "-addext", "basicConstraints=critical,CA:FALSE"]);
        command.args(["-addext", "subjectAltName=DNS:localhost,DNS:mx.test,IP:127.0.0.1"]);
        run(command.arg("-keyout").arg(&key).arg("-out").arg(&certificate)).await?;
        Ok(Self { certificate, key })
    }

    /// For a server of ours.
    pub fn server(&self) -> Result<Arc<ServerConfig>> {
        let chain = CertificateDer::pem_file_iter(&self.certificate)?.collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_file(&self.key)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = config.with_no_client_auth().with_single_cert(chain, key).context("the certificate")?;
        Ok(Arc::new(config))
    }

    /// For a client of ours that trusts this certificate only.
    pub fn client(&self) -> Result<Arc<rustls::ClientConfig>> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(&self.certificate)? {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
    }
}
