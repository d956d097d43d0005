//! A small HTTP/1.1 server for tests: every request goes to a function, which says what is answered, and how badly.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::wait::until;

/// A request as it came.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    /// Its method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Heard {
    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A field of the query, or of the body as a form.
    pub fn field(&self, name: &str) -> Option<String> {
        let query = self.target.split_once('?').map(|(_, q)| q.to_owned()).unwrap_or_default();
        let body = self.text();
        let of = |all: &str| {
            all.split('&').find_map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                (unescape(key) == name.as_bytes()).then(|| String::from_utf8_lossy(&unescape(value)).into_owned())
            })
        };
        of(&query).or_else(|| of(&body))
    }
}

/// `%XX` and `+` undone.
pub fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'+' => bytes.push(b' '),
            b'%' if after.len() >= 2 => match hex::decode(&after[..2]) {
                Ok(one) => {
                    bytes.extend(one);
                    rest = &after[2..];
                }
                Err(_) => bytes.push(b'%'),
            },
            other => bytes.push(*other),
        }
    }
    bytes
}

/// What is answered.
#[derive(Debug, Clone)]
pub enum Act {
    /// Status, media type, body.
    Answer(u16, &'static str, String),
    /// Status with one more header.
    With(u16, (&'static str, String), String),
    /// The connection ends without an answer.
    Close,
    /// Nothing is ever said.
    Hang,
}

impl Act {
    /// JSON.
    pub fn json(status: u16, body: impl Into<String>) -> Self {
        Self::Answer(status, "application/json", body.into())
    }

    /// Plain text.
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self::Answer(status, "text/plain", body.into())
    }
}

/// What makes an answer of a request.
pub type Handler = Arc<dyn Fn(Heard) -> Pin<Box<dyn Future<Output = Act> + Send>> + Send + Sync>;

/// The server; it ends when it is dropped.
pub struct Httpd {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
    task: JoinHandle<()>,
}

impl Httpd {
    /// On a free port of loopback.
    pub async fn start(handler: Handler) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
        let log = heard.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (handler, log) = (handler.clone(), log.clone());
                tokio::spawn(async move {
                    // A client that goes away is its own affair.
                    let _ = serve(stream, &handler, &log).await;
                });
            }
        });
        Ok(Self { address, heard, task })
    }

    /// One whose answers do not depend on anything but the request.
    pub async fn answering(answer: impl Fn(&Heard) -> Act + Send + Sync + 'static) -> Result<Self> {
        let answer = Arc::new(answer);
        Self::start(Arc::new(move |heard| {
            let answer = answer.clone();
            Box::pin(async move { answer(&heard) })
        }))
        .await
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything that was asked so far.
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until that many requests have come.
    pub async fn wait_for(&self, count: usize) -> Result<Vec<Heard>> {
        until("requests", Duration::from_secs(30), || async {
            let heard = self.heard();
            anyhow::ensure!(heard.len() >= count, "{} of {count} requests", heard.len());
            Ok(heard)
        })
        .await
    }
}

impl Drop for Httpd {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl std::fmt::Debug for Httpd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Httpd").field("address", &self.address).finish_non_exhaustive()
    }
}

async fn serve(stream: TcpStream, handler: &Handler, log: &Mutex<Vec<Heard>>) -> Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut heard = Heard::default();
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let mut words = line.split_whitespace();
        heard.method = words.next().unwrap_or_default().to_owned();
        heard.target = words.next().unwrap_or_default().to_owned();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            heard.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = heard.header("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
        heard.body = vec![0; length];
        stream.read_exact(&mut heard.body).await.context("a body that breaks off")?;
        let last = heard.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
        log.lock().unwrap_or_else(PoisonError::into_inner).push(heard.clone());
        let (status, header, media_type, body) = match handler(heard).await {
            Act::Answer(status, media_type, body) => (status, None, media_type, body),
            Act::With(status, header, body) => (status, Some(header), "text/plain", body),
            Act::Close => return Ok(()),
            Act::Hang => std::future::pending().await,
        };
        let more = header.map(|(name, value)| format!("{name}: {value}\r\n")).unwrap_or_default();
        let head = format!(
            "HTTP/1.1 {status} Test\r\ncontent-type: {media_type}\r\n{more}content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        stream.flush().await?;
        if last {
            return Ok(());
        }
    }
}
