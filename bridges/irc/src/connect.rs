//! One attempt at one port: resolve, look whether the address may be connected to, TCP, TLS.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use isthmus_bridge::{DeliveryError, Failure, Text};
use rustls::CertificateError;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

use crate::certificate::Certificate;
use crate::listen::{Idents, Known};
use crate::network::Network;
use crate::tls::{self, Check};

/// For each of: resolving, connecting to one address, the TLS handshake.
const PATIENCE: Duration = Duration::from_secs(10);
/// Addresses of one host that are tried.
const ADDRESSES: usize = 4;

/// A stream to a server, whatever is below.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Where to.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// By TLS, checked so.
    pub(crate) tls: Option<Check>,
    /// Shown to the server.
    pub(crate) certificate: Option<Arc<Certificate>>,
    pub(crate) allow_private: bool,
    pub(crate) bind: Option<IpAddr>,
    /// Where who asks by the ident protocol finds the connection, and under which name.
    pub(crate) ident: Option<(Arc<Idents>, String)>,
}

/// A connection.
pub(crate) struct Connected {
    pub(crate) wire: Box<dyn Io>,
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
    /// Who asks by the ident protocol is answered while this lives.
    pub(crate) known: Option<Box<Known>>,
}

/// Why there is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoConnection {
    #[error("no such host")]
    UnknownHost,
    #[error("its address {0} is not a public one")]
    Private(IpAddr),
    #[error("{0}")]
    Io(String),
    #[error("TLS: {0}")]
    Tls(String),
    /// It may be somebody in between.
    #[error("its certificate cannot be trusted: {0}")]
    Certificate(String),
    #[error("no answer in time")]
    TimedOut,
}

impl NoConnection {
    /// For who wanted something of the network.
    pub(crate) fn error(&self, host: &str) -> DeliveryError {
        let text = self.text(host);
        match self {
            Self::UnknownHost => DeliveryError::new(Failure::NoSuchRecipient, text),
            Self::Private(_) => DeliveryError::new(Failure::Forbidden, text),
            Self::TimedOut => DeliveryError::temporary(Failure::TimedOut, text),
            _ => DeliveryError::temporary(Failure::Unreachable, text),
        }
    }

    /// In one sentence.
    pub(crate) fn text(&self, host: &str) -> Text {
        match self {
            Self::UnknownHost => Text::key("unknown-host").with("host", host),
            Self::Private(address) => Text::key("private-address").with("host", host).with("address", address),
            Self::TimedOut => Text::key("connect-timed-out").with("host", host),
            Self::Io(why) => Text::key("connect-failed").with("host", host).with("why", why),
            Self::Tls(why) => Text::key("tls-failed").with("host", host).with("why", why),
            Self::Certificate(why) => Text::key("certificate-refused").with("host", host).with("why", why),
        }
    }
}

/// One attempt. The whole of it is bounded.
pub(crate) async fn dial(target: Target, network: Arc<Network>) -> Result<Connected, NoConnection> {
    let addresses = resolve(&target, &network).await?;
    let mut last = NoConnection::Io("none of its addresses is of the kind that is connected from".to_owned());
    let usable = |to: &IpAddr| target.bind.is_none_or(|own| own.is_ipv4() == to.is_ipv4());
    for address in addresses.into_iter().filter(usable).take(ADDRESSES) {
        if !target.allow_private && !is_public(address) {
            last = NoConnection::Private(address);
            continue;
        }
        match timeout(PATIENCE, tcp(SocketAddr::new(address, target.port), target.bind)).await {
            Ok(Ok(stream)) => return secure(&target, stream).await,
            Ok(Err(e)) => last = NoConnection::Io(describe(&e)),
            Err(_) => last = NoConnection::TimedOut,
        }
    }
    Err(last)
}

async fn resolve(target: &Target, network: &Network) -> Result<Vec<IpAddr>, NoConnection> {
    if let Ok(address) = target.host.trim_matches(['[', ']']).parse() {
        return Ok(vec![address]);
    }
    let now = Instant::now();
    if let Some(known) = network.known(&target.host, now) {
        return Ok(known);
    }
    let found = timeout(PATIENCE, tokio::net::lookup_host((target.host.as_str(), target.port))).await;
    let all: Vec<IpAddr> = match found {
        Ok(Ok(found)) => found.map(|a| a.ip()).collect(),
        Ok(Err(_)) => return Err(NoConnection::UnknownHost),
        Err(_) => return Err(NoConnection::TimedOut),
    };
    if all.is_empty() {
        return Err(NoConnection::UnknownHost);
    }
    network.learn(&target.host, all.clone(), now);
    Ok(all)
}

async fn tcp(to: SocketAddr, bind: Option<IpAddr>) -> std::io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A second way to notice a peer that is gone, beside our own PING.
    socket.set_keepalive(true)?;
    if let Some(own) = bind {
        socket.bind(SocketAddr::new(own, 0))?;
    }
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn secure(target: &Target, stream: TcpStream) -> Result<Connected, NoConnection> {
    let ends = stream.local_addr().and_then(|local| Ok((local, stream.peer_addr()?)));
    let (local, peer) = ends.map_err(|e| NoConnection::Io(describe(&e)))?;
    // Servers ask as soon as they have accepted, before TLS.
    let known = target.ident.as_ref().map(|(idents, name)| Box::new(idents.learn(local, peer, name.clone())));
    let Some(check) = &target.tls else { return Ok(Connected { wire: Box::new(stream), local, peer, known }) };
    // In a box: a handshake takes several times as much room as all the rest of an attempt, and many need none.
    let wire = Box::pin(encrypted(target, check, stream)).await?;
    Ok(Connected { wire, local, peer, known })
}

async fn encrypted(target: &Target, check: &Check, stream: TcpStream) -> Result<Box<dyn Io>, NoConnection> {
    let config = tls::client(check, target.certificate.as_deref()).await.map_err(NoConnection::Tls)?;
    let name = ServerName::try_from(target.host.trim_matches(['[', ']']).to_owned())
        .map_err(|_| NoConnection::Tls("the host's name cannot stand in a certificate".to_owned()))?;
    let connector = tokio_rustls::TlsConnector::from(config);
    match timeout(PATIENCE, connector.connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(e)) => Err(match refused(&e) {
            Some(why) => NoConnection::Certificate(why),
            None => NoConnection::Tls(describe(&e)),
        }),
        Err(_) => Err(NoConnection::TimedOut),
    }
}

/// Why our check did not take the certificate, if it was that.
fn refused(error: &std::io::Error) -> Option<String> {
    let Some(rustls::Error::InvalidCertificate(fault)) = error.get_ref()?.downcast_ref() else { return None };
    Some(match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "it is not valid yet".to_owned(),
        CertificateError::UnknownIssuer => "nobody whom this machine trusts has signed it".to_owned(),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is for another host".to_owned()
        }
        // Its name, without what a person cannot read.
        other => format!("{other:?}").split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned(),
    })
}

/// Without `(os error 111)`, which tells a person nothing.
fn describe(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// Whether anybody may connect to it: not loopback, private, link-local, shared (RFC 6598), multicast, reserved, or one of these inside IPv6.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let benchmark = a == 198 && (b == 18 || b == 19);
            let protocol = v4.octets()[..3] == [192, 0, 0];
            !(v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_documentation()
                || shared
                || benchmark
                || protocol
                || a == 0
                || a >= 224)
        }
        IpAddr::V6(v6) => {
            let head = v6.segments();
            if let Some(inner) = v6.to_ipv4_mapped() {
                return is_public(inner.into());
            }
            // NAT64 (RFC 6052) and 6to4 (RFC 3056) lead to the IPv4 address inside.
            if head[..6] == [0x64, 0xff9b, 0, 0, 0, 0] || head[0] == 0x2002 {
                let at = if head[0] == 0x2002 { 1 } else { 6 };
                let bits = u32::from(head[at]) << 16 | u32::from(head[at + 1]);
                return is_public(std::net::Ipv4Addr::from(bits).into());
            }
            // A translator of one's own (RFC 8215) and SIIT (RFC 7915) lead into one's own network; Teredo (RFC 4380) to whomever.
            let translated =
                head[..3] == [0x64, 0xff9b, 1] || head[..6] == [0, 0, 0, 0, 0xffff, 0] || head[..2] == [0x2001, 0];
            let local = head[0] & 0xfe00 == 0xfc00 || head[0] & 0xffc0 == 0xfe80 || head[0] & 0xffc0 == 0xfec0;
            let documentation = head[0] == 0x2001 && head[1] == 0xdb8;
            !(v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || local
                || translated
                || documentation
                || head[..6] == [0; 6])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_connected_to() {
        let private = "127.0.0.1 10.1.2.3 192.168.0.1 172.16.0.1 169.254.1.1 100.64.0.1 0.0.0.0 224.0.0.1 255.255.255.255 198.18.0.1 \
            ::1 :: fe80::1 fd00::1 ff02::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 64:ff9b::7f00:1 2002:7f00:1:: ::127.0.0.1 \
            64:ff9b:1::1 64:ff9b:1:ffff::101:101 ::ffff:0:127.0.0.1 ::ffff:0:1.1.1.1 2001:0:7f00:1::1 2001::1 fec0::1 2001:db8::1";
        for text in private.split_whitespace() {
            assert!(!is_public(text.parse().expect("an address")), "{text}");
        }
        for text in [
            "1.1.1.1",
            "192.169.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "64:ff9b::101:101",
            "::ffff:1.1.1.1",
            "2001:1::1",
            "2001:4860:4860::8888",
        ] {
            assert!(is_public(text.parse().expect("an address")), "{text}");
        }
    }

    #[tokio::test]
    async fn a_loopback_address_is_refused_and_a_closed_port_says_so() {
        let network = Arc::new(Network::default());
        let target = |allow_private| Target {
            host: "127.0.0.1".to_owned(),
            port: 1,
            tls: None,
            certificate: None,
            allow_private,
            bind: None,
            ident: None,
        };
        let refused = dial(target(false), network.clone()).await.err();
        assert!(matches!(refused, Some(NoConnection::Private(_))), "{refused:?}");
        let refused = dial(target(true), network).await.err();
        assert!(matches!(&refused, Some(NoConnection::Io(why)) if why == "Connection refused"), "{refused:?}");
    }

    #[tokio::test]
    async fn what_a_name_server_says_is_looked_at_before_it_is_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let cases = ["127.0.0.1", "10.0.0.1", "::ffff:127.0.0.1", "10.0.0.1 127.0.0.1 192.168.0.1"];
        for (number, answer) in cases.into_iter().enumerate() {
            let all: Vec<IpAddr> = answer.split(' ').map(|a| a.parse().expect("an address")).collect();
            let target = Target {
                host: format!("irc{number}.example.net"),
                port,
                tls: None,
                certificate: None,
                allow_private: false,
                bind: None,
                ident: None,
            };
            let network = Arc::new(Network::default());
            network.learn(&target.host, all.clone(), Instant::now());
            let refused = dial(target, network).await.err();
            assert_eq!(refused, all.last().copied().map(NoConnection::Private), "{answer}");
        }
        let connected = tokio::time::timeout(Duration::ZERO, listener.accept()).await;
        assert!(connected.is_err(), "nobody has connected");
    }

    #[tokio::test]
    async fn addresses_that_cannot_be_reached_from_ours_count_for_nothing() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let six: IpAddr = "2001:db8::1".parse().expect("an address");
        let own: IpAddr = "127.0.0.1".parse().expect("an address");
        let target = Target {
            host: "irc.example.net".to_owned(),
            port: listener.local_addr().expect("bound").port(),
            tls: None,
            certificate: None,
            allow_private: true,
            bind: Some(own),
            ident: None,
        };
        let network = Arc::new(Network::default());
        network.learn(&target.host, vec![six, six, six, six, own], Instant::now());
        assert!(dial(target.clone(), network).await.is_ok(), "the fifth can be reached");
        let network = Arc::new(Network::default());
        network.learn(&target.host, vec![six], Instant::now());
        let refused = dial(target, network).await.err();
        assert!(
            matches!(&refused, Some(NoConnection::Io(why)) if why.contains("none of its addresses")),
            "{refused:?}"
        );
    }
}
