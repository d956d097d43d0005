//! A real name server (unbound) with zones of our own and no way out.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Result, bail};
use tokio::net::UdpSocket;

use crate::ports::Port;
use crate::process::{Folder, Process, program};
use crate::wait::{START, until};

/// A running name server, UDP and TCP.
#[derive(Debug)]
pub struct Unbound {
    _process: Process,
    port: Port,
    _folder: Folder,
}

impl Unbound {
    /// Serves these records (`name TYPE value`, as in a zone file; text values in quotes); any other name does not exist.
    pub async fn start(records: &[&str]) -> Result<Self> {
        let port = Port::take()?;
        let folder = Folder::new("unbound")?;
        let path = folder.path().display();
        let mut text = format!(
            "server:
  interface: 127.0.0.1@{port}
  do-daemonize: no
  username: \"\"
  chroot: \"\"
  directory: \"{path}\"
  pidfile: \"{path}/pid\"
  logfile: \"{path}/log\"
  use-syslog: no
  module-config: \"iterator\"
  do-not-query-localhost: no
  access-control: 127.0.0.0/8 allow
  local-zone: \".\" static
  local-data: 'ready.test. A 127.0.0.1'
"
        );
        for record in records {
            text += &format!("  local-data: '{record}'\n");
        }
        text += "remote-control:\n  control-enable: no\n";
        let file = folder.write("unbound.conf", text)?;
        let mut command = Command::new(program("unbound", "unbound", &[])?);
        command.arg("-d").arg("-c").arg(file);
        let mut process = Process::spawn("unbound", &mut command, &folder.join("log"))?;
        let address = port.address();
        until("unbound ready", START, || {
            let alive = process.check();
            async move {
                alive?;
                asks_for_ready(address).await
            }
        })
        .await?;
        Ok(Self { _process: process, port, _folder: folder })
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }
}

/// Asks for `ready.test A` as a resolver does.
async fn asks_for_ready(server: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    socket.connect(server).await?;
    let query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05ready\x04test\x00\x00\x01\x00\x01";
    socket.send(query).await?;
    let mut answer = [0; 512];
    let read = tokio::time::timeout(std::time::Duration::from_secs(1), socket.recv(&mut answer)).await??;
    if read < 12 || answer[3] & 0x0f != 0 || answer[7] == 0 {
        bail!("no answer for ready.test: {:?}", &answer[..read]);
    }
    Ok(())
}
