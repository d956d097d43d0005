//! A real PostgreSQL in a temporary folder, durable (`fsync=on`), reached by TCP on loopback.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::ports::Port;
use crate::process::{Folder, Process, program, run};
use crate::wait::{START, until};

const PACKAGE: &str = "postgresql";

/// A running server. Everybody on loopback is let in as user `isthmus`.
#[derive(Debug)]
pub struct Postgres {
    process: Option<Process>,
    bin: PathBuf,
    port: Port,
    folder: Folder,
}

impl Postgres {
    /// Makes a cluster, starts it, and returns when it takes connections.
    pub async fn start() -> Result<Self> {
        let bin = binaries()?;
        let folder = Folder::new("postgres")?;
        std::fs::create_dir(folder.join("data"))?;
        folder.give_to("postgres").await?;
        let mut initdb = as_postgres(&bin.join("initdb"))?;
        initdb.arg("-D").arg(folder.join("data")).args(["-A", "trust", "-U", "isthmus", "-E", "UTF8"]);
        run(initdb.args(["--locale=C", "--no-sync", "--no-instructions"])).await?;
        let mut server = Self { process: None, bin, port: Port::take()?, folder };
        server.launch().await?;
        Ok(server)
    }

    /// URL of its database `postgres`.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// Makes an empty database and yields its URL. `name`: letters, digits, `_`.
    pub async fn database(&self, name: &str) -> Result<String> {
        self.sql(&format!("CREATE DATABASE {name}")).await?;
        Ok(self.url_of(name))
    }

    /// Runs one statement in the database `postgres` and yields the rows, unaligned.
    pub async fn sql(&self, statement: &str) -> Result<String> {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "isthmus", "-At", "-v", "ON_ERROR_STOP=1"]);
        run(psql.args(["-c", statement, "postgres"])).await
    }

    /// Stops it in order (connections are cut, nothing is lost).
    pub async fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::INT)?; // "fast" shutdown
            process.wait(Duration::from_secs(60)).await?;
        }
        Ok(())
    }

    /// SIGKILL, as if the machine had lost the process.
    pub fn kill(&mut self) {
        self.process = None;
        // What a killed postmaster leaves; without it the next start takes a possible new holder of the pid for itself.
        let _ = std::fs::remove_file(self.folder.join("data/postmaster.pid"));
    }

    /// Starts it again on the same data and port, after [`stop`](Self::stop) or [`kill`](Self::kill).
    pub async fn launch(&mut self) -> Result<()> {
        let mut command = as_postgres(&self.bin.join("postgres"))?;
        command.arg("-D").arg(self.folder.join("data")).arg("-k").arg(self.folder.path());
        command.args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=on"]);
        command.args(["-c", "shared_buffers=32MB", "-c", "max_connections=60"]);
        let log = self.folder.join("postgres.log");
        std::fs::OpenOptions::new().create(true).append(true).open(&log)?;
        let mut process = Process::spawn("postgres", &mut command, &log)?;
        let ready = self.bin.join("pg_isready");
        let port = self.port.to_string();
        until("PostgreSQL ready", START, async || {
            if let Err(ended) = process.check() {
                // The children of a killed one hold its memory for a moment, and no other starts before they have let go.
                ensure!(ended.to_string().contains("shared memory block"), ended);
                process = Process::spawn("postgres", &mut command, &log)?;
            }
            let mut probe = Command::new(&ready);
            probe.args(["-q", "-h", "127.0.0.1", "-p", &port]);
            run(&mut probe).await.map(drop)
        })
        .await?;
        self.process = Some(process);
        Ok(())
    }

    fn url_of(&self, database: &str) -> String {
        format!("postgres://isthmus@127.0.0.1:{}/{database}", self.port)
    }
}

/// The newest installed version's programs; Debian keeps them out of PATH.
fn binaries() -> Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).max();
    let newest = newest.with_context(|| format!("PostgreSQL is not installed: apt-get install {PACKAGE}"))?;
    let bin = PathBuf::from(format!("/usr/lib/postgresql/{newest}/bin"));
    program("initdb", PACKAGE, &[&bin.to_string_lossy()])?;
    Ok(bin)
}

/// PostgreSQL refuses to run as root.
fn as_postgres(program_path: &std::path::Path) -> Result<Command> {
    if !rustix::process::geteuid().is_root() {
        return Ok(Command::new(program_path));
    }
    let mut command = Command::new(program("setpriv", "util-linux", &[])?);
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program_path).current_dir("/");
    Ok(command)
}
