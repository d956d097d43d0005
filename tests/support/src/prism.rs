//! Prism (npm @stoplight/prism-cli): answers as an OpenAPI document says, and refuses requests that it does not allow.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tokio::net::TcpStream;

use crate::ports::Port;
use crate::process::{Folder, Process, program};
use crate::wait::{START, until};

/// A running `prism mock`.
#[derive(Debug)]
pub struct Prism {
    /// First, so that it ends before its folder goes.
    _process: Process,
    port: Port,
    _folder: Folder,
}

impl Prism {
    /// Serves this document.
    pub async fn start(document: &Path) -> Result<Self> {
        let node = program("node", "nodejs", &[])?;
        let made = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../../target/prism/node_modules/@stoplight/prism-cli/dist/index.js");
        let script =
            made.canonicalize().context("prism is not installed: run tests/run once, it puts it into target/prism")?;
        let (folder, port) = (Folder::new("prism")?, Port::take()?);
        let mut command = Command::new(node);
        command.arg(script).args(["mock", "--host", "127.0.0.1", "--port", &port.to_string()]).arg(document);
        let mut process = Process::spawn("prism", &mut command, &folder.join("log"))?;
        let address = port.address();
        until("prism ready", START, || {
            let alive = process.check();
            async move {
                alive?;
                Ok(TcpStream::connect(address).await.map(drop)?)
            }
        })
        .await?;
        Ok(Self { _process: process, port, _folder: folder })
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.port.address())
    }
}
