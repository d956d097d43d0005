//! Connections of the HTTP listener: bounded in number and in the time that a request's head may take, with TLS where there is a certificate.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

/// Connections at a time; further ones are closed at once.
const MOST: usize = 1024;
/// For a TLS handshake, and for the head of a request: who sends it byte by byte holds a connection no longer.
const HEAD_WITHIN: Duration = Duration::from_secs(20);
/// For requests under way when the gateway stops.
const FINISH_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks whether the certificate was renewed.
const LOOK: Duration = Duration::from_secs(60);

/// A certificate and its key, read again when the files change: renewal needs no restart.
#[derive(Debug)]
pub struct Certificate {
    chain: PathBuf,
    key: PathBuf,
    of: Option<SystemTime>,
    looked: Instant,
    config: Arc<rustls::ServerConfig>,
}

impl Certificate {
    /// Reads a chain (the server's own certificate first) and its key, both PEM.
    ///
    /// # Errors
    /// Why they cannot be used, in words for the operator.
    pub fn open(chain: &Path, key: &Path) -> Result<Self, String> {
        let config = read(chain, key)?;
        let of = modified(chain, key);
        Ok(Self { chain: chain.to_owned(), key: key.to_owned(), of, looked: Instant::now(), config })
    }

    /// The one in force now.
    fn fresh(&mut self) -> TlsAcceptor {
        if self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            self.renew();
        }
        TlsAcceptor::from(self.config.clone())
    }

    #[cfg(test)]
    pub(super) fn config_in_force(&self) -> Arc<rustls::ServerConfig> {
        self.config.clone()
    }

    pub(super) fn renew(&mut self) {
        let of = modified(&self.chain, &self.key);
        if of == self.of {
            return;
        }
        match read(&self.chain, &self.key) {
            Ok(config) => {
                info!(certificate = %self.chain.display(), "the certificate was renewed");
                (self.config, self.of) = (config, of);
            }
            // Half-way through a renewal the two do not fit; the old one goes on.
            Err(error) => warn!(%error, "http.certificate: the new certificate is not used yet"),
        }
    }
}

fn modified(chain: &Path, key: &Path) -> Option<SystemTime> {
    let of = |path: &Path| std::fs::metadata(path).and_then(|m| m.modified()).ok();
    of(chain).max(of(key))
}

fn read(chain: &Path, key: &Path) -> Result<Arc<rustls::ServerConfig>, String> {
    let unreadable = |path: &Path, e: &dyn std::fmt::Display| format!("{} cannot be read: {e}", path.display());
    let certs: Vec<_> = CertificateDer::pem_file_iter(chain)
        .and_then(|certs| certs.collect::<Result<_, _>>())
        .map_err(|e| unreadable(chain, &e))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|e| unreadable(key, &e))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|b| b.with_no_client_auth().with_single_cert(certs, key))
        .map_err(|e| format!("{} does not fit its key: {e}", chain.display()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Serves until `stop`; requests under way are finished.
pub(super) async fn run(
    listener: TcpListener,
    mut certificate: Option<Certificate>,
    router: Router,
    stop: CancellationToken,
) {
    let (room, tasks) = (Arc::new(Semaphore::new(MOST)), TaskTracker::new());
    loop {
        let (stream, peer) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Too many open files, say: it passes.
                    warn!(%error, "an HTTP connection was not accepted");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            },
        };
        let Ok(permit) = room.clone().try_acquire_owned() else {
            debug!(%peer, "too many HTTP connections");
            continue;
        };
        // A bridge may want to know who calls: some providers prove themselves by their address.
        let router = router.clone().layer(Extension(ConnectInfo(peer)));
        let tls = certificate.as_mut().map(Certificate::fresh);
        let stop = stop.clone();
        tasks.spawn(async move {
            let _permit = permit;
            let Some(tls) = tls else { return connection(stream, router, peer, stop).await };
            match tokio::time::timeout(HEAD_WITHIN, tls.accept(stream)).await {
                Ok(Ok(stream)) => connection(stream, router, peer, stop).await,
                Ok(Err(error)) => debug!(%peer, %error, "no TLS"),
                Err(_) => debug!(%peer, "no TLS in time"),
            }
        });
    }
    tasks.close();
    tasks.wait().await;
}

async fn connection<S>(stream: S, router: Router, peer: SocketAddr, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
    let mut served = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    let done = tokio::select! {
        done = served.as_mut() => Some(done),
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            tokio::time::timeout(FINISH_WITHIN, served.as_mut()).await.ok()
        }
    };
    if let Some(Err(error)) = done {
        debug!(%peer, %error, "an HTTP connection ended");
    }
}
