//! Leaving a list by one click: an HTTPS POST (RFC 8058). The address comes from a stranger, so nothing but a public host is asked, no
//! redirect is followed, and the answer is not shown.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

const PATIENCE: Duration = Duration::from_secs(20);
const FORM: &str = "List-Unsubscribe=One-Click";

/// Why it did not work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoClick {
    /// Not an https address of a public host.
    #[error("not an https address of a public host")]
    Address,
    /// It answered with this status.
    #[error("the list answered with status {0}")]
    Status(u16),
    /// Network or TLS.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// Asks the list to forget the user.
pub(crate) async fn one_click(url: &str) -> Result<(), NoClick> {
    let url = Url::parse(url).ok().filter(|u| u.scheme() == "https").ok_or(NoClick::Address)?;
    let click = async {
        let host = url.host_str().ok_or(NoClick::Address)?;
        let all: Vec<SocketAddr> =
            tokio::net::lookup_host((host.trim_matches(['[', ']']), url.port().unwrap_or(443))).await?.collect();
        let public = all.into_iter().find(|a| is_public(a.ip())).ok_or(NoClick::Address)?;
        post(&url, host, public).await
    };
    tokio::time::timeout(PATIENCE, click)
        .await
        .unwrap_or_else(|_| Err(NoClick::Io(std::io::ErrorKind::TimedOut.into())))
}

async fn post(url: &Url, host: &str, to: SocketAddr) -> Result<(), NoClick> {
    let mut roots = rustls::RootCertStore::empty();
    let native = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    roots.add_parsable_certificates(native.map_err(std::io::Error::other)?.certs);
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|_| NoClick::Address)?;
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(to).await?).await?;
    stream.write_all(request(url, host).as_bytes()).await?;
    let mut head = [0_u8; 16];
    stream.read_exact(&mut head).await?;
    let status = std::str::from_utf8(&head).ok().and_then(|h| h.get(9..12)?.parse().ok()).unwrap_or(0);
    if (200..300).contains(&status) { Ok(()) } else { Err(NoClick::Status(status)) }
}

/// The URL parser has percent-encoded whatever could end a line.
fn request(url: &Url, host: &str) -> String {
    let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{FORM}",
        FORM.len()
    )
}

fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_broadcast()
                || ip.is_multicast()
                || ip.is_documentation()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 198 && (b == 18 || b == 19))
                || (a == 192 && b == 0))
        }
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(mapped) => is_public(IpAddr::V4(mapped)),
            // 2000::/3 is what is given out; 6to4 and Teredo hold IPv4 addresses.
            None => ip.segments()[0] & 0xe000 == 0x2000 && !is_tunnel(ip),
        },
    }
}

fn is_tunnel(ip: Ipv6Addr) -> bool {
    let [a, b, ..] = ip.segments();
    a == 0x2002 || (a == 0x2001 && b == 0) || (a == 0x2001 && b == 0xdb8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_hosts_are_asked() {
        for ip in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "::1",
            "fe80::1",
            "fc00::1",
            "::ffff:127.0.0.1",
            "2002:7f00:1::",
        ] {
            assert!(!is_public(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["93.184.216.34", "2606:2800:220:1::1"] {
            assert!(is_public(ip.parse().unwrap()), "{ip}");
        }
    }

    #[tokio::test]
    async fn an_address_on_this_machine_is_refused() {
        for url in [
            "https://127.0.0.1/x",
            "https://[::1]:1/",
            "http://example.net/",
            "file:///etc/passwd",
            "https://localhost/",
        ] {
            assert!(matches!(one_click(url).await, Err(NoClick::Address)), "{url}");
        }
    }

    #[test]
    fn the_request_is_that_of_rfc_8058() {
        let url = Url::parse("https://list.example.net/u?id=a%0d%0ab c#f\r\n").unwrap();
        let request = request(&url, "list.example.net");
        assert!(request.starts_with("POST /u?id=a%0d%0ab%20c HTTP/1.1\r\nHost: list.example.net\r\n"), "{request}");
        assert!(request.ends_with("\r\n\r\nList-Unsubscribe=One-Click"), "{request}");
    }
}
