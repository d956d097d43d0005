//! A real biboumi: the gateway that Isthmus takes the place of.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::process::{Folder, Process, program, tail};
use crate::server::secret;

/// A biboumi with a folder of its own; running or not. It is ready when the XMPP server says that it is attached.
#[derive(Debug)]
pub struct Biboumi {
    process: Option<Process>,
    folder: Folder,
}

impl Biboumi {
    /// Starts one for this domain at this component port. `lines` are further options; one without `db_name` keeps a SQLite file in its
    /// folder ([`database`](Self::database)).
    pub fn start(domain: &str, component: SocketAddr, lines: &str) -> Result<Self> {
        let folder = Folder::new("biboumi")?;
        let (host, port, secret) = (component.ip(), component.port(), secret(domain));
        let mut text = format!(
            "hostname={domain}\npassword={secret}\nxmpp_server_ip={host}\nport={port}\nadmin=alice@localhost\n\
             log_level=1\nidentd_port=0\n{lines}"
        );
        if !lines.contains("db_name=") {
            text += &format!("db_name={}\n", folder.join("biboumi.sqlite").display());
        }
        folder.write("biboumi.cfg", text)?;
        let mut biboumi = Self { process: None, folder };
        biboumi.launch()?;
        Ok(biboumi)
    }

    /// Starts it (again).
    pub fn launch(&mut self) -> Result<()> {
        let mut command = Command::new(program("biboumi", "biboumi", &[])?);
        command.arg(self.configuration());
        self.process = Some(Process::spawn("biboumi", &mut command, &self.folder.join("log"))?);
        Ok(())
    }

    /// SIGTERM; waits for the end.
    pub async fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.stop(Duration::from_secs(30)).await?;
        }
        Ok(())
    }

    /// Its configuration file.
    pub fn configuration(&self) -> PathBuf {
        self.folder.join("biboumi.cfg")
    }

    /// Its SQLite file.
    pub fn database(&self) -> PathBuf {
        self.folder.join("biboumi.sqlite")
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        tail(&self.folder.join("log"), usize::MAX)
    }
}
