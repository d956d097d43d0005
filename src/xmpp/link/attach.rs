//! Connecting and shaking hands (XEP-0114 section 3).

use std::future::Future;

use secrecy::ExposeSecret;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::config::{Endpoint, LinkConfig};
use super::error::{LinkError, StreamFault};
use super::escape;
use super::outline::{COMPONENT, STREAMS};
use super::scan::{Frame, Framer};
use super::stanza::TopLevel;

/// A connection of whatever kind.
pub(super) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// A stream on which both sides have shaken hands.
pub(super) struct Attached {
    pub(super) connection: Box<dyn Connection>,
    pub(super) framer: Framer,
}

/// Opens a stream and proves that we know the secret.
pub(super) async fn attach(config: &LinkConfig) -> Result<Attached, LinkError> {
    let mut connection = in_time(config, "connecting", connect(config)).await?;
    let mut framer = Framer::new(config.limits);
    in_time(config, "opening the stream", async {
        say(&mut connection, &opening(&config.domain)).await?;
        let id = match frame(&mut connection, &mut framer).await? {
            Frame::Header(header) => header.id,
            _ => return Err(LinkError::Forbidden { what: "something before the stream" }),
        };
        say(&mut connection, &handshake(&id, config.secret.expose_secret())).await
    })
    .await
    .or_else(|error| prefer_stream_error(error, config))?;
    in_time(config, "shaking hands", accepted(config, &mut connection, &mut framer)).await?;
    Ok(Attached { connection, framer })
}

/// The next frame of a stream that nobody else reads.
pub(super) async fn frame<R: AsyncRead + Unpin + ?Sized>(
    connection: &mut R,
    framer: &mut Framer,
) -> Result<Frame, LinkError> {
    loop {
        if let Some(frame) = framer.next().map_err(forbidden)? {
            return Ok(frame);
        }
        match connection.read_buf(framer.space()).await {
            Ok(0) => return Err(LinkError::Closed),
            Ok(_) => {}
            Err(error) => return Err(LinkError::broken(&error)),
        }
    }
}

/// What a stream error means to us.
pub(super) fn stream_error(config: &LinkConfig, condition: String, text: Option<String>) -> LinkError {
    let (domain, server) = (config.domain.clone(), config.endpoint.to_string());
    match condition.as_str() {
        "not-authorized" => LinkError::NotAuthorized { domain, server },
        "host-unknown" => LinkError::HostUnknown { domain, server },
        "conflict" => LinkError::Conflict { domain },
        _ => LinkError::Stream { condition, text },
    }
}

pub(super) fn forbidden(fault: StreamFault) -> LinkError {
    LinkError::Forbidden { what: fault.what }
}

async fn connect(config: &LinkConfig) -> Result<Box<dyn Connection>, LinkError> {
    let server = config.endpoint.to_string();
    let unreachable =
        |error: std::io::Error| LinkError::Unreachable { server: server.clone(), reason: error.to_string() };
    let plain: Box<dyn Connection> = match &config.endpoint {
        Endpoint::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(unreachable)?;
            stream.set_nodelay(true).map_err(unreachable)?; // we gather what is to be written ourselves
            Box::new(stream)
        }
        Endpoint::Unix(path) => Box::new(UnixStream::connect(path).await.map_err(unreachable)?),
    };
    let Some(tls) = &config.tls else { return Ok(plain) };
    let connector = tokio_rustls::TlsConnector::from(tls.config.clone());
    match connector.connect(tls.name.clone(), plain).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(LinkError::Tls { server, reason: error.to_string() }),
    }
}

async fn accepted(
    config: &LinkConfig,
    connection: &mut Box<dyn Connection>,
    framer: &mut Framer,
) -> Result<(), LinkError> {
    loop {
        match frame(connection, framer).await? {
            Frame::Top(TopLevel::Handshake) => return Ok(()),
            Frame::Top(TopLevel::StreamError(condition, text)) => return Err(stream_error(config, condition, text)),
            Frame::End => return Err(LinkError::Closed),
            // Stream features and the like are not for components; a stanza before the handshake is nobody's.
            Frame::Header(_) | Frame::Top(_) | Frame::Bad(_) => {}
        }
    }
}

/// A server that hangs up on our header has usually said why before: its words are read by [`accepted`], which comes
/// next. So a broken pipe while writing is not yet the reason.
fn prefer_stream_error(error: LinkError, _config: &LinkConfig) -> Result<(), LinkError> {
    if matches!(error, LinkError::Broken { .. }) { Ok(()) } else { Err(error) }
}

async fn say(connection: &mut Box<dyn Connection>, what: &[u8]) -> Result<(), LinkError> {
    connection.write_all(what).await.map_err(|error| LinkError::broken(&error))?;
    connection.flush().await.map_err(|error| LinkError::broken(&error))
}

async fn in_time<T>(
    config: &LinkConfig,
    doing: &'static str,
    what: impl Future<Output = Result<T, LinkError>>,
) -> Result<T, LinkError> {
    match tokio::time::timeout(config.keepalive.attach, what).await {
        Ok(result) => result,
        Err(_) => Err(LinkError::TimedOut { doing }),
    }
}

fn opening(domain: &str) -> Vec<u8> {
    let mut out = format!("<?xml version='1.0'?><stream:stream xmlns='{COMPONENT}' xmlns:stream='{STREAMS}' to='");
    let mut bytes = std::mem::take(&mut out).into_bytes();
    escape::attribute(&mut bytes, domain);
    bytes.extend_from_slice(b"'>");
    bytes
}

/// Lower-case hexadecimal SHA-1 of the stream's id and the secret, as XEP-0114 section 3 has it.
fn handshake(id: &str, secret: &str) -> Vec<u8> {
    let mut hash = Sha1::new();
    hash.update(id.as_bytes());
    hash.update(secret.as_bytes());
    format!("<handshake>{}</handshake>", hex::encode(hash.finalize())).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handshake_is_that_of_the_xep_s_example() {
        // XEP-0114 example 2 has stream id 3BF96D32; the digest belongs to the secret "test".
        let expected = hex::encode(Sha1::digest(b"3BF96D32test"));
        assert_eq!(handshake("3BF96D32", "test"), format!("<handshake>{expected}</handshake>").into_bytes());
        assert_eq!(expected.len(), 40);
    }
}
