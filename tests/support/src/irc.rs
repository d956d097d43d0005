//! The other person on an IRC server: a plain client, line by line.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// How long a line may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Somebody on a server at loopback, in clear.
#[derive(Debug)]
pub struct Person {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    nick: String,
    seen: Vec<String>,
}

impl Person {
    /// Connects and waits for the welcome (001) and the end of the message of the day.
    pub async fn enter(port: u16, nick: &str) -> Result<Self> {
        Self::with(port, nick, &[]).await
    }

    /// The same; says these lines first, such as a password.
    pub async fn with(port: u16, nick: &str, first: &[&str]) -> Result<Self> {
        let (reader, writer) = TcpStream::connect(("127.0.0.1", port)).await?.into_split();
        let mut person = Self { reader: BufReader::new(reader), writer, nick: nick.to_owned(), seen: Vec::new() };
        for line in first {
            person.send(line).await?;
        }
        person.send(&format!("NICK {nick}")).await?;
        // Not all that may stand in a nick may stand in the name of a user.
        let user: String = nick.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect();
        person.send(&format!("USER {user} 0 * :{nick}")).await?;
        person.line(" 001 ").await?;
        person.any(&[" 376 ", " 422 "]).await?;
        Ok(person)
    }

    /// Their nick.
    pub fn nick(&self) -> &str {
        &self.nick
    }

    /// Sends a line.
    pub async fn send(&mut self, line: &str) -> Result<()> {
        self.send_bytes(line.as_bytes()).await
    }

    /// Sends a line of bytes, whatever they are.
    pub async fn send_bytes(&mut self, line: &[u8]) -> Result<()> {
        self.writer.write_all(line).await?;
        Ok(self.writer.write_all(b"\r\n").await?)
    }

    /// Enters a room and waits until they are in.
    pub async fn join(&mut self, room: &str) -> Result<()> {
        self.send(&format!("JOIN {room}")).await?;
        self.line(" 366 ").await.map(drop)
    }

    /// Says something.
    pub async fn say(&mut self, to: &str, words: &str) -> Result<()> {
        self.send(&format!("PRIVMSG {to} :{words}")).await
    }

    /// The next line that holds this; PING is answered meanwhile.
    pub async fn line(&mut self, holds: &str) -> Result<String> {
        self.any(&[holds]).await
    }

    /// The next line that holds one of these; PING is answered meanwhile.
    pub async fn first(&mut self, holds: &[&str]) -> Result<String> {
        self.any(holds).await
    }

    /// Every line up to now that was not asked for before. The server has done all that this client told it when this returns.
    pub async fn heard(&mut self) -> Result<Vec<String>> {
        let token = format!("heard-{:08x}", rand::random::<u32>());
        self.send(&format!("PING :{token}")).await?;
        self.line(&token).await?;
        Ok(std::mem::take(&mut self.seen))
    }

    async fn any(&mut self, holds: &[&str]) -> Result<String> {
        loop {
            let line = match tokio::time::timeout(PATIENCE, self.next()).await {
                Ok(line) => line.with_context(|| format!("{} waits for {holds:?} after {:?}", self.nick, self.seen))?,
                Err(_) => bail!("{} has waited {PATIENCE:?} for {holds:?} after {:?}", self.nick, self.seen),
            };
            if let Some(token) = line.strip_prefix("PING ") {
                self.send(&format!("PONG {token}")).await?;
            }
            if holds.iter().any(|wanted| line.contains(wanted)) {
                return Ok(line);
            }
            self.seen.push(line);
        }
    }

    async fn next(&mut self) -> Result<String> {
        let mut line = Vec::new();
        if self.reader.read_until(b'\n', &mut line).await? == 0 {
            bail!("the server has closed the connection");
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }
}
