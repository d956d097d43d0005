//! One connection to the relay: framing, EHLO, STARTTLS, AUTH, one transaction at a time.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use rustls_pki_types::ServerName;
use secrecy::ExposeSecret;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::reply::{Fault, Reply, Stage};
use crate::config::{Relay as Config, Security};

/// One line of a reply, at most (RFC 5321 says 512; some say more).
const MAX_LINE: usize = 4096;
/// Lines of one reply, at most.
const MAX_LINES: usize = 128;
/// Bytes of content written between two looks at the clock.
const PIECE: usize = 64 * 1024;

/// A failure and how far things had come.
pub(super) type Failed = (Stage, Fault);

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// What the server said that it can do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Abilities {
    pub(super) starttls: bool,
    pub(super) dsn: bool,
    pub(super) utf8: bool,
    pub(super) eight_bit: bool,
    pub(super) size: Option<u64>,
    pub(super) auth: Vec<String>,
}

impl Abilities {
    fn read(reply: &Reply) -> Self {
        let mut all = Self::default();
        for line in reply.lines.iter().skip(1) {
            let line = line.to_ascii_uppercase();
            // COMPAT(old Exchange): `AUTH=LOGIN` beside `AUTH LOGIN`.
            let mut words = line.split([' ', '=']);
            match words.next().unwrap_or_default() {
                "STARTTLS" => all.starttls = true,
                "DSN" => all.dsn = true,
                "SMTPUTF8" => all.utf8 = true,
                "8BITMIME" => all.eight_bit = true,
                "SIZE" => all.size = words.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0),
                "AUTH" => all.auth.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        all
    }
}

/// A connection that is ready for MAIL.
pub(super) struct Connection {
    /// `None` only while STARTTLS replaces it.
    stream: Option<BufReader<Box<dyn Duplex>>>,
    timeout: Duration,
    encrypted: bool,
    pub(super) abilities: Abilities,
    /// Transactions so far.
    pub(super) served: u32,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("abilities", &self.abilities)
            .field("served", &self.served)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects, secures and logs in as configured.
    pub(super) async fn open(config: &Config, tls: Option<&Arc<rustls::ClientConfig>>) -> Result<Self, Failed> {
        let stream = in_time(config.timeout, connect(config)).await.map_err(|f| (Stage::Connect, f))?;
        let mut connection = Self {
            stream: Some(BufReader::new(stream)),
            timeout: config.timeout,
            encrypted: false,
            abilities: Abilities::default(),
            served: 0,
        };
        if config.security == Security::Tls {
            connection.secure(config, tls).await.map_err(|f| (Stage::Tls, f))?;
        }
        connection.greet(config).await.map_err(|f| (Stage::Connect, f))?;
        if config.security == Security::StartTls {
            connection.starttls(config, tls).await.map_err(|f| (Stage::Tls, f))?;
        }
        connection.log_in(config).await.map_err(|f| (Stage::Login, f))?;
        Ok(connection)
    }

    /// Nothing came unasked since the last answer.
    pub(super) fn is_quiet(&self) -> bool {
        self.stream.as_ref().is_some_and(|s| s.buffer().is_empty())
    }

    async fn greet(&mut self, config: &Config) -> Result<(), Fault> {
        let greeting = self.read(self.timeout).await?;
        if !greeting.is_good() {
            return Err(Fault::Said(greeting));
        }
        self.hello(config).await
    }

    async fn hello(&mut self, config: &Config) -> Result<(), Fault> {
        let verb = if config.lmtp { "LHLO" } else { "EHLO" };
        let reply = self.command(&format!("{verb} {}", config.hello)).await?;
        self.abilities = Abilities::read(&reply);
        Ok(())
    }

    async fn starttls(&mut self, config: &Config, tls: Option<&Arc<rustls::ClientConfig>>) -> Result<(), Fault> {
        if !self.abilities.starttls {
            return Err(Fault::Operator(
                "the relay does not offer STARTTLS, and the configuration wants it (or somebody on the way removed it)"
                    .into(),
            ));
        }
        self.command("STARTTLS").await?;
        // What stands in the buffer came before the handshake: it must not count as if it came after (CVE-2011-0411).
        if !self.is_quiet() {
            return Err(Fault::Operator("data came between the answer to STARTTLS and the handshake".into()));
        }
        self.secure(config, tls).await?;
        self.hello(config).await
    }

    async fn secure(&mut self, config: &Config, tls: Option<&Arc<rustls::ClientConfig>>) -> Result<(), Fault> {
        let tls = tls.ok_or_else(|| Fault::Operator("no TLS configuration".into()))?;
        let name = ServerName::try_from(config.host.trim_matches(['[', ']']).to_owned())
            .map_err(|_| Fault::Operator(format!("{:?} is no name that a certificate can have", config.host)))?;
        let plain = self.stream.take().ok_or_else(|| Fault::Garbled("no stream".into()))?.into_inner();
        let handshake = TlsConnector::from(tls.clone()).connect(name, plain);
        let stream =
            in_time(self.timeout, async { handshake.await.map_err(Fault::Io) }).await.map_err(|f| match f {
                Fault::Io(e) => Fault::Operator(format!("TLS with the relay failed: {e}")),
                other => other,
            })?;
        self.stream = Some(BufReader::new(Box::new(stream)));
        self.encrypted = true;
        Ok(())
    }

    async fn log_in(&mut self, config: &Config) -> Result<(), Fault> {
        let Some((user, password)) = &config.login else { return Ok(()) };
        // PLAIN is as good as the encryption around it; without any (loopback only) a challenge is better.
        let order: [&str; 3] =
            if self.encrypted { ["PLAIN", "LOGIN", "CRAM-MD5"] } else { ["CRAM-MD5", "PLAIN", "LOGIN"] };
        let Some(mechanism) = order.into_iter().find(|m| self.abilities.auth.iter().any(|a| a == m)) else {
            return Err(Fault::Operator(format!(
                "the relay offers none of AUTH PLAIN, LOGIN, CRAM-MD5 (it offers: {})",
                self.abilities.auth.join(" ")
            )));
        };
        let password = password.expose_secret();
        let credentials = Credentials::new(user.clone(), password.to_owned());
        let first = match mechanism {
            "PLAIN" => format!("AUTH PLAIN {}", STANDARD.encode(answer(Mechanism::Plain, &credentials, None)?)),
            other => format!("AUTH {other}"),
        };
        let mut reply = self.say(&first).await?;
        for _ in 0..4 {
            if reply.code != 334 {
                break;
            }
            let challenge = STANDARD.decode(reply.words().trim()).unwrap_or_default();
            let response = match mechanism {
                "CRAM-MD5" => cram(user, password, &challenge),
                _ => answer(Mechanism::Login, &credentials, Some(&String::from_utf8_lossy(&challenge)))?,
            };
            reply = self.say(&STANDARD.encode(response)).await?;
        }
        if reply.is_good() { Ok(()) } else { Err(Fault::Said(reply)) }
    }

    /// Sends a command and wants 2xx (3xx for DATA).
    pub(super) async fn command(&mut self, line: &str) -> Result<Reply, Fault> {
        let reply = self.say(line).await?;
        if reply.code < 400 { Ok(reply) } else { Err(Fault::Said(reply)) }
    }

    async fn say(&mut self, line: &str) -> Result<Reply, Fault> {
        if line.contains(['\r', '\n', '\0']) {
            return Err(Fault::Garbled("a command of several lines".into()));
        }
        if !self.is_quiet() {
            return Err(Fault::Garbled("the relay spoke unasked".into()));
        }
        self.write(format!("{line}\r\n").as_bytes()).await?;
        self.read(self.timeout).await
    }

    /// Everything up to, but without, the final dot. `mail` has CRLF line ends.
    pub(super) async fn content(&mut self, mail: &[u8]) -> Result<(), Fault> {
        if !self.is_quiet() {
            return Err(Fault::Garbled("the relay spoke unasked".into()));
        }
        let mut stuffed = Vec::with_capacity(mail.len() + mail.len() / 64 + 2);
        for line in mail.split_inclusive(|b| *b == b'\n') {
            if line.first() == Some(&b'.') {
                stuffed.push(b'.');
            }
            stuffed.extend_from_slice(line);
        }
        if !stuffed.ends_with(b"\r\n") {
            stuffed.extend_from_slice(b"\r\n");
        }
        for piece in stuffed.chunks(PIECE) {
            if let Err(fault) = self.write(piece).await {
                // A server that has had enough says why and closes; its words are better than ours.
                return match self.read(Duration::from_secs(1)).await {
                    Ok(reply) if !reply.is_good() => Err(Fault::Said(reply)),
                    _ => Err(fault),
                };
            }
        }
        Ok(())
    }

    /// The final dot. From here on the mail may have been taken.
    pub(super) async fn finish(&mut self, timeout: Duration) -> Result<Reply, Fault> {
        self.write(b".\r\n").await?;
        let reply = self.read(timeout).await?;
        match reply.code {
            200..=299 => Ok(reply),
            400..=599 => Err(Fault::Said(reply)),
            _ => Err(Fault::Garbled(reply.code.to_string())),
        }
    }

    /// Parts politely, without waiting for long.
    pub(super) async fn quit(mut self) {
        self.timeout = self.timeout.min(Duration::from_secs(2));
        let _ = self.say("QUIT").await; // whatever it answers, we go
        if let Some(mut stream) = self.stream.take() {
            let _ = in_time(self.timeout, async { stream.shutdown().await.map_err(Fault::Io) }).await;
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let stream = self.stream.as_mut().ok_or_else(|| Fault::Garbled("no stream".into()))?;
        in_time(self.timeout, async {
            stream.get_mut().write_all(bytes).await?;
            stream.get_mut().flush().await?;
            Ok(())
        })
        .await
    }

    async fn read(&mut self, timeout: Duration) -> Result<Reply, Fault> {
        let stream = self.stream.as_mut().ok_or_else(|| Fault::Garbled("no stream".into()))?;
        in_time(timeout, async {
            let mut reply = Reply::empty();
            loop {
                let line = read_line(stream).await?;
                match reply.push(&line) {
                    Some(true) => return Ok(reply),
                    Some(false) if reply.lines.len() < MAX_LINES => {}
                    _ => return Err(Fault::Garbled(line.chars().filter(|c| !c.is_control()).take(80).collect())),
                }
            }
        })
        .await
    }
}

async fn connect(config: &Config) -> Result<Box<dyn Duplex>, Fault> {
    if let Some(path) = config.host.strip_prefix("unix:") {
        return Ok(Box::new(UnixStream::connect(path).await?));
    }
    let stream = TcpStream::connect((config.host.trim_matches(['[', ']']), config.port)).await?;
    stream.set_nodelay(true)?;
    Ok(Box::new(stream))
}

async fn read_line(stream: &mut BufReader<Box<dyn Duplex>>) -> Result<String, Fault> {
    let mut line = Vec::new();
    loop {
        let buffer = stream.fill_buf().await?;
        if buffer.is_empty() {
            return Err(Fault::Io(std::io::ErrorKind::UnexpectedEof.into()));
        }
        let (taken, whole) = match buffer.iter().position(|b| *b == b'\n') {
            Some(end) => (end + 1, true),
            None => (buffer.len(), false),
        };
        line.extend_from_slice(&buffer[..taken]);
        stream.consume(taken);
        if line.len() > MAX_LINE {
            return Err(Fault::Garbled("a line without end".into()));
        }
        if whole {
            let text = String::from_utf8_lossy(&line);
            return Ok(text.trim_end_matches(['\r', '\n']).to_owned());
        }
    }
}

async fn in_time<T>(limit: Duration, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(Fault::TimedOut))
}

fn answer(mechanism: Mechanism, credentials: &Credentials, challenge: Option<&str>) -> Result<String, Fault> {
    mechanism
        .response(credentials, challenge)
        .map_err(|_| Fault::Operator("the relay asks something that is no part of its AUTH mechanism".into()))
}

/// RFC 2195.
fn cram(user: &str, password: &str, challenge: &[u8]) -> String {
    let mut mac = Hmac::<md5::Md5>::new_from_slice(password.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(challenge);
    format!("{user} {}", hex::encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cram_md5_as_in_the_rfc() {
        let challenge = b"<1896.697170952@postoffice.reston.mci.net>";
        assert_eq!(cram("tim", "tanstaaftanstaaf", challenge), "tim b913a602c7eda7a495b4e6e7334d3890");
    }

    #[test]
    fn abilities_of_a_server() {
        let lines = [
            "mx.test",
            "SIZE 20971520",
            "8BITMIME",
            "STARTTLS",
            "AUTH PLAIN LOGIN",
            "AUTH=CRAM-MD5",
            "DSN",
            "SMTPUTF8",
            "X",
        ];
        let reply = Reply { code: 250, lines: lines.map(str::to_owned).to_vec() };
        let all = Abilities::read(&reply);
        assert!(all.starttls && all.dsn && all.utf8 && all.eight_bit);
        assert_eq!(
            (all.size, all.auth),
            (Some(20_971_520), ["PLAIN", "LOGIN", "CRAM-MD5"].map(str::to_owned).to_vec())
        );
    }
}
