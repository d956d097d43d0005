//! A real bouncer: ZNC, which stays on an IRC server for somebody and plays to their clients what they missed.

use std::process::Command;

use anyhow::Result;
use tokio::net::TcpStream;

use crate::ports::Port;
use crate::process::{Folder, Process, program};
use crate::wait::{START, until};

/// A running ZNC with one user, `romeo`, on one network, `net`; clients give [`Znc::PASS`] as the server's password.
#[derive(Debug)]
pub struct Znc {
    _process: Process,
    port: Port,
    _folder: Folder,
}

impl Znc {
    /// Who logs in, where to, and with which password.
    pub const PASS: &str = "romeo/net:sesame";

    /// Starts it; it connects to the IRC server at this port of loopback, as `romeo`, and enters `room`. Returns when clients are taken.
    pub async fn start(server: u16, room: &str) -> Result<Self> {
        let port = Port::take()?;
        let folder = Folder::new("znc")?;
        std::fs::create_dir(folder.join("configs"))?;
        folder.write("configs/znc.conf", configuration(&port, server, room))?;
        folder.give_to("nobody").await?;
        let znc = program("znc", "znc", &[])?;
        // As root it would wait for half a minute first.
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new(program("setpriv", "util-linux", &[])?);
            command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(znc);
            command
        } else {
            Command::new(znc)
        };
        command.arg("--foreground").arg("--datadir").arg(folder.path());
        let mut process = Process::spawn("znc", &mut command, &folder.join("log"))?;
        let number = port.number();
        until("ZNC ready", START, || {
            let alive = process.check();
            async move {
                alive?;
                Ok(TcpStream::connect(("127.0.0.1", number)).await.map(drop)?)
            }
        })
        .await?;
        Ok(Self { _process: process, port, _folder: folder })
    }

    /// Where clients connect, in clear.
    pub fn port(&self) -> u16 {
        self.port.number()
    }
}

fn configuration(port: &Port, server: u16, room: &str) -> String {
    format!(
        "Version = 1.8.2
AnonIPLimit = 1000
ConnectDelay = 0
ServerThrottle = 0
<Listener l>
  AllowIRC = true
  AllowWeb = false
  Host = 127.0.0.1
  IPv4 = true
  IPv6 = false
  Port = {port}
  SSL = false
</Listener>
<User romeo>
  Nick = romeo
  AltNick = romeo_
  Ident = romeo
  RealName = romeo
  MultiClients = true
  ChanBufferSize = 50
  QueryBufferSize = 50
  AutoClearChanBuffer = true
  AutoClearQueryBuffer = true
  <Network net>
    Server = 127.0.0.1 {server}
    FloodBurst = 1000
    FloodRate = 1000.00
    JoinDelay = 0
    <Chan {room}>
    </Chan>
  </Network>
  <Pass password>
    Method = Plain
    Hash = sesame
  </Pass>
</User>
"
    )
}
