//! The program under test: its configuration, start, signals, and restart on the same data.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::ports::Port;
use crate::process::{Folder, Process, tail};
use crate::server::secret;
use crate::wait::{START, until};

/// The program with a configuration folder of its own; running or not.
#[derive(Debug)]
pub struct Isthmus {
    /// First, so that it is dropped, and shows the end of its log, before the folder goes.
    process: Option<Process>,
    binary: PathBuf,
    folder: Folder,
    http: Port,
    bridges: usize,
    /// Length of the log when it was started.
    begun: usize,
}

/// What its configuration is to say.
#[derive(Debug)]
pub struct Setup {
    binary: PathBuf,
    component: SocketAddr,
    top: String,
    bridges: Vec<(String, String)>,
}

impl Setup {
    /// For this binary (`env!("CARGO_BIN_EXE_isthmus")`) and this component port. Users of `localhost` are local.
    pub fn new(binary: impl Into<PathBuf>, component: SocketAddr) -> Self {
        let top = "admins = [\"alice@localhost\"]\n".to_owned();
        Self { binary: binary.into(), component, top, bridges: Vec::new() }
    }

    /// A bridge `bridges/<name>.toml` with the secret that the test servers have; `keys` are its further lines.
    #[must_use]
    pub fn bridge(mut self, name: &str, kind: &str, domain: &str, keys: &str) -> Self {
        let secret = secret(domain);
        let text = format!("kind = \"{kind}\"\ndomain = \"{domain}\"\nsecret = \"{secret}\"\n{keys}");
        self.bridges.push((name.to_owned(), text));
        self
    }

    /// The echo bridge at `echo.localhost`.
    #[must_use]
    pub fn echo(self) -> Self {
        self.bridge("echo", "echo", "echo.localhost", "")
    }

    /// With this administrator instead of `alice@localhost`.
    #[must_use]
    pub fn admin(mut self, jid: &str) -> Self {
        self.top = self.top.replace("alice@localhost", jid);
        self
    }

    /// Further lines or tables of `isthmus.toml`. Top-level keys must come before the first table.
    #[must_use]
    pub fn top(mut self, lines: &str) -> Self {
        self.top += lines;
        self.top.push('\n');
        self
    }

    /// Writes the folder.
    pub fn write(self) -> Result<Isthmus> {
        let folder = Folder::new("gateway")?;
        let http = Port::take()?;
        let (host, port) = (self.component.ip(), self.component.port());
        let text = format!(
            "data_dir = \"data\"\n{}\n[server]\nhost = \"{host}\"\nport = {port}\ndomains = [\"localhost\"]\n[http]\nlisten = \"127.0.0.1:{http}\"\npublic_url = \"http://127.0.0.1:{http}\"\n",
            self.top
        );
        folder.write("isthmus.toml", text)?;
        std::fs::create_dir_all(folder.join("data"))?;
        for (name, text) in &self.bridges {
            folder.write(format!("bridges/{name}.toml"), text)?;
        }
        Ok(Isthmus { binary: self.binary, folder, http, process: None, bridges: self.bridges.len(), begun: 0 })
    }

    /// Writes the folder, starts the program, waits until it is ready.
    pub async fn start(self) -> Result<Isthmus> {
        let mut gateway = self.write()?;
        gateway.launch().await?;
        Ok(gateway)
    }
}

impl Isthmus {
    /// Starts it (again) on its data and waits until `/ready` says that every bridge is attached.
    pub async fn launch(&mut self) -> Result<()> {
        self.spawn()?;
        self.ready().await
    }

    /// Starts it and returns at once.
    pub fn spawn(&mut self) -> Result<()> {
        let mut command = self.command(&["run"]);
        self.begun = std::fs::metadata(self.log_file()).map_or(0, |meta| meta.len() as usize);
        self.process = Some(Process::spawn("isthmus", &mut command, &self.log_file())?);
        Ok(())
    }

    /// Waits until every bridge is attached: `/ready` answers 200, or, where nothing serves HTTP, the log says so for each of
    /// them since the start. An error if the program ends.
    pub async fn ready(&mut self) -> Result<()> {
        let address = self.http.address();
        let (log, begun, bridges) = (self.log_file(), self.begun, self.bridges);
        let process = self.process.as_mut().context("it is not running")?;
        until("the gateway ready", START, || {
            let alive = process.check();
            let log = log.clone();
            async move {
                alive?;
                let Ok(answer) = get(address, "/ready").await else {
                    let logged = String::from_utf8_lossy(&std::fs::read(log)?[begun..]).into_owned();
                    let attached = logged.matches("attached to the XMPP server").count();
                    ensure!(attached >= bridges, "{attached} of {bridges} bridges are attached");
                    return Ok(());
                };
                ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                Ok(())
            }
        })
        .await
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// SIGTERM; waits for the orderly end.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        let mut process = self.process.take().context("it is not running")?;
        process.stop(Duration::from_secs(60)).await
    }

    /// SIGINT, as from a terminal; waits for the orderly end.
    pub async fn interrupt(&mut self) -> Result<ExitStatus> {
        let mut process = self.process.take().context("it is not running")?;
        process.signal(Signal::INT)?;
        process.wait(Duration::from_secs(60)).await
    }

    /// SIGHUP: reload.
    pub fn reload(&self) -> Result<()> {
        self.process.as_ref().context("it is not running")?.signal(Signal::HUP)
    }

    /// Waits for it to end by itself; yields the status.
    pub async fn ended(&mut self, within: Duration) -> Result<ExitStatus> {
        let mut process = self.process.take().context("it is not running")?;
        process.wait(within).await
    }

    /// An error if it does not run any more.
    pub fn check(&mut self) -> Result<()> {
        self.process.as_mut().context("it is not running")?.check()
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Runs the program with other arguments (`check`, `queue`, …) on the same configuration, to its end.
    pub async fn cli(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = tokio::process::Command::from(self.command(arguments));
        let output = command.kill_on_drop(true).stdin(std::process::Stdio::null()).output();
        tokio::time::timeout(Duration::from_secs(120), output).await.context("it does not end")?.context("starting it")
    }

    /// `GET` on its HTTP listener: status line, headers and body as they came.
    pub async fn get(&self, path: &str) -> Result<String> {
        get(self.http.address(), path).await
    }

    /// Where it serves HTTP.
    pub fn http(&self) -> SocketAddr {
        self.http.address()
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        tail(&self.log_file(), usize::MAX)
    }

    /// Waits until it has logged this text.
    pub async fn logged(&self, text: &str) -> Result<()> {
        until(&format!("{text:?} in the log"), START, || async {
            if self.log().contains(text) { Ok(()) } else { bail!("the end is\n{}", tail(&self.log_file(), 20)) }
        })
        .await
    }

    /// The configuration folder; `data` in it is the data folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file in the configuration folder.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        self.folder.write(name, text).map(drop)
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("isthmus.log")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).arg("--config").arg(self.folder.path()).current_dir(self.folder.path());
        command.env("RUST_BACKTRACE", "1");
        command
    }
}

async fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await.context("no answer")??;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
