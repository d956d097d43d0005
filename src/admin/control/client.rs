//! The command line's side of the control socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::{MAX_LINE, Reply, Request};

/// The longest wait for an answer; `check` makes the gateway look at every network.
const PATIENCE: Duration = Duration::from_secs(120);

/// Answers may be long (every user, every queued event).
const MAX_ANSWER: usize = 256 * MAX_LINE;

/// A running instance.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The instance refused, in its own words.
    #[error("{0}")]
    Refused(String),
    /// Its socket cannot be opened.
    #[error("{path}: {source}: run this command as the user that isthmus runs as")]
    Socket {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the running instance closed the connection: {0}")]
    Broken(#[from] io::Error),
    /// No answer in time.
    #[error("the running instance did not answer within {} seconds", PATIENCE.as_secs())]
    TimedOut,
    /// Another version, most likely.
    #[error("the answer of the running instance is not understood ({0}): is it of the same version as this command?")]
    Foreign(#[from] serde_json::Error),
}

impl Client {
    /// Connects to the instance that listens there; `None` where none runs.
    pub async fn connect(socket: &Path) -> Result<Option<Self>, AskError> {
        match UnixStream::connect(socket).await {
            Ok(stream) => Ok(Some(Self { stream: BufReader::new(stream) })),
            // What an instance that was killed leaves behind refuses.
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(None),
            Err(source) => Err(AskError::Socket { path: socket.to_owned(), source }),
        }
    }

    /// Asks, and reads the answer as what the verb is known to give.
    pub async fn ask<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T, AskError> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        let answer = tokio::time::timeout(PATIENCE, async {
            self.stream.get_mut().write_all(&line).await?;
            let mut answer = Vec::new();
            (&mut self.stream).take(MAX_ANSWER as u64).read_until(b'\n', &mut answer).await?;
            Ok::<_, io::Error>(answer)
        })
        .await
        .map_err(|_| AskError::TimedOut)??;
        if answer.is_empty() {
            return Err(AskError::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        match serde_json::from_slice(&answer)? {
            Reply::Ok(value) => Ok(serde_json::from_value(value)?),
            Reply::Error(sentence) => Err(AskError::Refused(sentence)),
        }
    }
}
