//! A small IRC server whose SASL SCRAM-SHA-256 we did not write: Python's `scramp`.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::ChildStdout;

use crate::process::python;
use crate::process::{Folder, Process};
use crate::slix::WITHIN;

/// How the server behaves once the client has proved that it knows the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It proves the same.
    Honest,
    /// Its proof is wrong, and it says that all is well.
    Liar,
    /// It gives none, and says that all is well.
    Mute,
}

/// A running server that knows one account.
#[derive(Debug)]
pub struct ScramIrcd {
    port: u16,
    told: Lines<BufReader<ChildStdout>>,
    _process: Process,
    _folder: Folder,
}

impl ScramIrcd {
    /// Starts it.
    pub async fn start(account: &str, password: &str, way: Way) -> Result<Self> {
        let python = python("scramp").await?;
        let folder = Folder::new("scram")?;
        let log = folder.join("log");
        let way = match way {
            Way::Honest => "honest",
            Way::Liar => "liar",
            Way::Mute => "mute",
        };
        let mut command = Command::new(python);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("py/scram_ircd.py")).args([account, password, way]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(std::fs::File::create(&log)?);
        let mut process = Process::adopt("scram", &mut command, &log)?;
        let output = ChildStdout::from_std(process.child().stdout.take().context("no output")?)?;
        let mut server = Self { port: 0, told: BufReader::new(output).lines(), _process: process, _folder: folder };
        server.port = server.says().await?.parse().context("no port")?;
        Ok(server)
    }

    /// Where it is, in clear.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The next thing it says of a login: `in nick` or `out nick why`.
    pub async fn says(&mut self) -> Result<String> {
        let line = tokio::time::timeout(WITHIN, self.told.next_line()).await.context("the server says nothing")??;
        line.context("the server has ended: is scramp there? (pip install -r tests/requirements.txt)")
    }
}
