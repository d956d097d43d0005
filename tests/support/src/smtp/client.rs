//! The sending side.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;

use super::Stream;

const WITHIN: Duration = Duration::from_secs(60);

/// A server's reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Three digits.
    pub code: u16,
    /// The lines after the code, joined by line ends.
    pub text: String,
}

impl Reply {
    /// Whether it is of the 200s.
    pub fn is_ok(&self) -> bool {
        self.code / 100 == 2
    }
}

/// A connection to an SMTP or LMTP server.
pub struct SmtpClient {
    stream: BufStream<Box<dyn Stream>>,
}

impl std::fmt::Debug for SmtpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SmtpClient")
    }
}

impl SmtpClient {
    /// Connects and reads the greeting; says nothing yet.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream: Box<dyn Stream> = Box::new(TcpStream::connect(address).await?);
        let mut client = Self { stream: BufStream::new(stream) };
        let greeting = client.reply().await?;
        if greeting.code != 220 {
            bail!("greeted with {greeting:?}");
        }
        Ok(client)
    }

    /// Connects and says EHLO (or LHLO).
    pub async fn hello(address: SocketAddr, lmtp: bool) -> Result<Self> {
        let mut client = Self::connect(address).await?;
        client.expect(if lmtp { "LHLO client.test" } else { "EHLO client.test" }, 250).await?;
        Ok(client)
    }

    /// Sends a line and reads the reply.
    pub async fn command(&mut self, line: &str) -> Result<Reply> {
        self.write(format!("{line}\r\n").as_bytes()).await?;
        self.reply().await
    }

    /// The same, but any other code is an error.
    pub async fn expect(&mut self, line: &str, code: u16) -> Result<Reply> {
        let reply = self.command(line).await?;
        if reply.code != code {
            bail!("{line}: {reply:?}");
        }
        Ok(reply)
    }

    /// Writes bytes as they are.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    /// Reads one reply. An end of the connection is an error.
    pub async fn reply(&mut self) -> Result<Reply> {
        let mut text = String::new();
        loop {
            let mut line = String::new();
            let read = tokio::time::timeout(WITHIN, self.stream.read_line(&mut line)).await.context("no reply")??;
            if read == 0 {
                bail!("the server closed the connection");
            }
            let line = line.trim_end();
            let code =
                line.get(..3).and_then(|code| code.parse().ok()).with_context(|| format!("not a reply: {line}"))?;
            if !text.is_empty() {
                text.push('\n');
            }
            text += line.get(4..).unwrap_or_default();
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(Reply { code, text });
            }
        }
    }

    /// STARTTLS with the name `localhost`, then EHLO again.
    pub async fn starttls(mut self, config: Arc<rustls::ClientConfig>) -> Result<Self> {
        self.expect("STARTTLS", 220).await?;
        let name = ServerName::try_from("localhost")?;
        let connector = tokio_rustls::TlsConnector::from(config);
        let stream: Box<dyn Stream> = Box::new(connector.connect(name, self.stream.into_inner()).await?);
        let mut client = Self { stream: BufStream::new(stream) };
        client.expect("EHLO client.test", 250).await?;
        Ok(client)
    }

    /// MAIL, each RCPT, DATA; `data` gets its dots doubled and its line ends made CRLF. Under SMTP one reply, under LMTP one for every
    /// recipient that was taken; a refusal before that is the only reply (of MAIL or DATA) or stands at its recipient's place.
    pub async fn mail(&mut self, from: &str, to: &[&str], data: &str, lmtp: bool) -> Result<Vec<Reply>> {
        let started = self.command(&format!("MAIL FROM:<{from}>")).await?;
        if !started.is_ok() {
            return Ok(vec![started]);
        }
        let mut replies = Vec::new();
        for recipient in to {
            replies.push(self.command(&format!("RCPT TO:<{recipient}>")).await?);
        }
        if !replies.iter().any(Reply::is_ok) {
            self.command("RSET").await?;
            return Ok(replies);
        }
        let go = self.command("DATA").await?;
        if go.code != 354 {
            return Ok(vec![go]);
        }
        let mut text = String::with_capacity(data.len() + 64);
        for line in data.lines() {
            if line.starts_with('.') {
                text.push('.');
            }
            text += line;
            text += "\r\n";
        }
        self.write((text + ".\r\n").as_bytes()).await?;
        if !lmtp {
            return Ok(vec![self.reply().await?]);
        }
        for reply in replies.iter_mut().filter(|reply| reply.is_ok()) {
            *reply = self.reply().await?;
        }
        Ok(replies)
    }
}

/// Sends one mail over a connection of its own, by LMTP or SMTP.
pub async fn send(address: SocketAddr, lmtp: bool, from: &str, to: &[&str], data: &str) -> Result<Vec<Reply>> {
    let mut client = SmtpClient::hello(address, lmtp).await?;
    let replies = client.mail(from, to, data, lmtp).await?;
    client.command("QUIT").await?;
    Ok(replies)
}
