//! Prosody and ejabberd behind one face: users, components, upload service, restart on the same data.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::ports::Port;
use crate::process::{Folder, Process, show_tail};
use crate::wait::{START, until};
use crate::{ejabberd, prosody};

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// Prosody of Debian.
    Prosody,
    /// ejabberd of Debian.
    Ejabberd,
}

/// What a second connection of one component meets on Prosody (`component_conflict_resolve`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Conflict {
    /// The newcomer gets the stream error `conflict`.
    #[default]
    KickNew,
    /// The newcomer stays, the older one is thrown out.
    KickOld,
}

/// What the server is to serve. Change what differs from [`Options::default`].
#[derive(Debug, Clone)]
pub struct Options {
    /// Domains with users. The first is the one that the upload service and the room service belong to.
    pub hosts: Vec<String>,
    /// Bare JIDs; the password is `pw-` and the local part.
    pub users: Vec<String>,
    /// Component domains; the secret is `secret-` and the domain.
    pub components: Vec<String>,
    /// For a second connection of one component.
    pub conflict: Conflict,
    /// Whether the components get XEP-0356 privileges on the first host.
    pub privileged: bool,
    /// Whether there is an upload service (XEP-0363), at `upload.` and the first host.
    pub upload: bool,
    /// Whether the upload service serves components too: by default neither server's does.
    pub upload_for_components: bool,
    /// Whether there is a service of rooms (XEP-0045) of the server's own, with archives and so with ids (XEP-0359), at `conference.` and the first host.
    pub rooms: bool,
    /// Whether messages to users who are offline are kept (Prosody; ejabberd always does).
    pub offline: bool,
    /// Whether users have an archive (XEP-0313; ejabberd. Prosody always has one).
    pub archive: bool,
}

impl Default for Options {
    fn default() -> Self {
        let strings = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
        Self {
            hosts: strings(&["localhost", "foreign.test"]),
            users: strings(&["alice@localhost", "bob@localhost", "carol@localhost", "eve@foreign.test"]),
            components: strings(&["echo.localhost", "email.localhost"]),
            conflict: Conflict::default(),
            privileged: true,
            upload: true,
            upload_for_components: true,
            rooms: false,
            offline: true,
            archive: true,
        }
    }
}

/// The secret of a component domain.
pub fn secret(domain: &str) -> String {
    format!("secret-{domain}")
}

/// The password of a user.
pub fn password(jid: &str) -> String {
    format!("pw-{}", jid.split('@').next().unwrap_or_default())
}

/// Where the server listens.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) c2s: Port,
    pub(crate) component: Port,
    pub(crate) http: Port,
}

/// A running XMPP server.
#[derive(Debug)]
pub struct XmppServer {
    flavour: Flavour,
    options: Options,
    process: Option<Process>,
    ports: Listeners,
    folder: Folder,
}

impl XmppServer {
    /// Configures and starts it; returns when clients, components and the upload service are served and the users exist.
    pub async fn start(flavour: Flavour, options: Options) -> Result<Self> {
        let ports = Listeners { c2s: Port::take()?, component: Port::take()?, http: Port::take()? };
        let name = match flavour {
            Flavour::Prosody => "prosody",
            Flavour::Ejabberd => "ejabberd",
        };
        let folder = Folder::new(name)?;
        match flavour {
            Flavour::Prosody => prosody::configure(&folder, &ports, &options)?,
            Flavour::Ejabberd => ejabberd::configure(&folder, &ports, &options)?,
        }
        let mut server = Self { flavour, options, process: None, ports, folder };
        server.launch().await?;
        let users = server.options.users.clone();
        for jid in &users {
            server.add_user(jid).await?;
        }
        Ok(server)
    }

    /// Prosody with the default options.
    pub async fn prosody() -> Result<Self> {
        Self::start(Flavour::Prosody, Options::default()).await
    }

    /// ejabberd with the default options.
    pub async fn ejabberd() -> Result<Self> {
        Self::start(Flavour::Ejabberd, Options::default()).await
    }

    /// Which server it is.
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// Where clients connect (plain text; SASL PLAIN and SCRAM).
    pub fn c2s(&self) -> SocketAddr {
        self.ports.c2s.address()
    }

    /// Where components connect.
    pub fn component(&self) -> SocketAddr {
        self.ports.component.address()
    }

    /// Where HTTP is served (upload, and ejabberd's API).
    pub fn http(&self) -> SocketAddr {
        self.ports.http.address()
    }

    /// The domain of the upload service.
    pub fn upload_domain(&self) -> String {
        format!("upload.{}", self.options.hosts[0])
    }

    /// Its log file.
    pub fn log(&self) -> std::path::PathBuf {
        self.folder.join("server.log")
    }

    /// Makes an account; the password is [`password`]`(jid)`.
    pub async fn add_user(&self, jid: &str) -> Result<()> {
        match self.flavour {
            Flavour::Prosody => prosody::add_user(&self.folder, jid),
            Flavour::Ejabberd => ejabberd::add_user(self.http(), jid).await,
        }
    }

    /// Removes an account that nobody is logged into.
    pub async fn remove_user(&self, jid: &str) -> Result<()> {
        match self.flavour {
            Flavour::Prosody => prosody::remove_user(&self.folder, jid),
            Flavour::Ejabberd => ejabberd::remove_user(self.http(), jid).await,
        }
    }

    /// Grants the components privileges (XEP-0356), or takes them away, from the next [`launch`](Self::launch) on.
    pub fn grant(&mut self, privileged: bool) -> Result<()> {
        self.options.privileged = privileged;
        match self.flavour {
            Flavour::Prosody => prosody::configure(&self.folder, &self.ports, &self.options),
            Flavour::Ejabberd => ejabberd::configure(&self.folder, &self.ports, &self.options),
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Stops in order (SIGTERM) and waits for the end.
    pub async fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.stop(Duration::from_secs(60)).await?;
        }
        Ok(())
    }

    /// SIGSTOP: connections stay, nothing answers. [`thaw`](Self::thaw) ends it.
    pub fn freeze(&self) -> Result<()> {
        self.process.as_ref().map_or(Ok(()), |process| process.signal(Signal::STOP))
    }

    /// SIGCONT.
    pub fn thaw(&self) -> Result<()> {
        self.process.as_ref().map_or(Ok(()), |process| process.signal(Signal::CONT))
    }

    /// Starts it (again) on the same data and ports; returns when it is ready.
    pub async fn launch(&mut self) -> Result<()> {
        let mut process = match self.flavour {
            Flavour::Prosody => prosody::spawn(&self.folder)?,
            Flavour::Ejabberd => ejabberd::spawn(&self.folder)?,
        };
        let (c2s, component, http) = (self.c2s(), self.component(), self.http());
        let (options, flavour) = (&self.options, self.flavour);
        until("XMPP server ready", START, || {
            let alive = process.check();
            async move {
                alive?;
                for host in &options.hosts {
                    answers(c2s, "jabber:client", host, "</stream:features>").await?;
                }
                for domain in &options.components {
                    answers(component, "jabber:component:accept", domain, "id=").await?;
                }
                // Without an upload service Prosody has nothing to serve there.
                if flavour == Flavour::Ejabberd || options.upload {
                    TcpStream::connect(http).await?;
                }
                Ok(())
            }
        })
        .await?;
        self.process = Some(process);
        Ok(())
    }

    /// The folder of its configuration and data.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for XmppServer {
    fn drop(&mut self) {
        self.kill();
        show_tail("XMPP server", &self.log(), 15);
    }
}

/// Opens a stream and waits until the answer holds `proof`.
async fn answers(address: SocketAddr, namespace: &str, to: &str, proof: &str) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let header = format!(
        "<?xml version='1.0'?><stream:stream xmlns='{namespace}' xmlns:stream='http://etherx.jabber.org/streams' to='{to}' version='1.0'>"
    );
    stream.write_all(header.as_bytes()).await?;
    let mut seen = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut buffer)).await??;
        seen.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&seen);
        if text.contains("stream:error") || read == 0 {
            bail!("{address} answers for {to}: {text}");
        }
        if text.contains(proof) {
            stream.write_all(b"</stream:stream>").await?;
            return Ok(());
        }
    }
}
