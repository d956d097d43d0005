//! Other ways to the server: TLS from the first byte, a Unix socket.

use std::sync::Arc;

use isthmus_testkit::certificate::Certificate;
use isthmus_testkit::process::Folder;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UnixListener};

use super::super::config::{Endpoint, Tls};
use super::super::error::{LinkEnd, LinkError, LinkState};
use super::super::{LinkConfig, tls_config};
use super::server::{Link, Server};

fn address(config: &LinkConfig) -> (String, u16) {
    match &config.endpoint {
        Endpoint::Tcp { host, port } => (host.clone(), *port),
        Endpoint::Unix(path) => panic!("{path:?} is no port"),
    }
}

/// A listener that speaks TLS and passes everything on. Returns its port.
async fn tls_front(certificate: &Certificate, to: (String, u16)) -> u16 {
    let acceptor = tokio_rustls::TlsAcceptor::from(certificate.server().expect("a server's configuration"));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { return };
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut behind = TcpStream::connect(to.clone()).await.expect("the server behind");
            tokio::spawn(async move { copy_bidirectional(&mut stream, &mut behind).await });
        }
    });
    port
}

#[tokio::test]
async fn tls_is_spoken_and_the_certificate_is_verified() {
    let folder = Folder::new("link-tls").expect("a folder");
    let certificate = Certificate::make(&folder).await.expect("a certificate");
    let server = Server::bind().await;
    let mut config = server.config();
    let port = tls_front(&certificate, address(&config)).await;
    config.endpoint = Endpoint::Tcp { host: "127.0.0.1".into(), port };
    let trusting = tls_config(Some(&certificate.certificate)).expect("a CA file");
    let named = |name: &'static str| name.try_into().expect("a server name");
    config.tls = Some(Tls { config: Arc::clone(&trusting), name: named("localhost") });
    let mut link = Link::start(config.clone());
    let mut peer = server.attached().await;
    assert_eq!(link.attached().await, 1);
    peer.route_ping().await;
    peer.say("<message from='a@b' to='x@gw.localhost' id='over tls'/>").await;
    assert_eq!(link.stanza().await.0.id(), Some("over tls"));
    link.stop.cancel();
    assert!(peer.rest().await.ends_with("</stream:stream>"));
    assert_eq!(link.end().await, LinkEnd::Stopped);

    let stranger = Arc::new(
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth(),
    );
    for tls in
        [Tls { config: trusting, name: named("elsewhere.test") }, Tls { config: stranger, name: named("localhost") }]
    {
        config.tls = Some(tls);
        let mut link = Link::start(config.clone());
        let LinkState::Down { reason: LinkError::Tls { reason, .. }, .. } = link.down().await else {
            panic!("a certificate that is not trusted was taken");
        };
        assert!(reason.contains("certificate"), "{reason}");
        link.stop.cancel();
        assert_eq!(link.end().await, LinkEnd::Stopped);
    }
}

#[tokio::test]
async fn a_unix_socket_is_as_good_as_a_port() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("component");
    let server = Server::bind().await;
    let mut config = server.config();
    let to = address(&config);
    let listener = UnixListener::bind(&path).expect("a socket");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut behind = TcpStream::connect(to.clone()).await.expect("the server behind");
            tokio::spawn(async move { copy_bidirectional(&mut stream, &mut behind).await });
        }
    });
    config.endpoint = Endpoint::Unix(path);
    let mut link = Link::start(config);
    let mut peer = server.attached().await;
    assert_eq!(link.attached().await, 1);
    peer.route_ping().await;
    link.stop.cancel();
    assert_eq!(link.end().await, LinkEnd::Stopped);
}
