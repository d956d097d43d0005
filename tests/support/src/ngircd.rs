//! A real ngircd: the plainest of IRC servers, in clear and by TLS.

use std::process::Command;

use anyhow::Result;

use crate::certificate::Certificate;
use crate::irc::Person;
use crate::ports::Port;
use crate::process::{Folder, Process, program};
use crate::wait::{START, until};

/// A running ngircd. Whoever says `OPER oper oper` runs it.
#[derive(Debug)]
pub struct Ngircd {
    process: Process,
    plain: Port,
    tls: Port,
    /// What its TLS port shows.
    pub certificate: Certificate,
    folder: Folder,
}

impl Ngircd {
    /// Starts it; returns when it welcomes somebody.
    pub async fn start() -> Result<Self> {
        Self::asking(false).await
    }

    /// The same; where `ident` is set, clients' machines are asked for names (RFC 1413), at their port 113.
    pub async fn asking(ident: bool) -> Result<Self> {
        let (plain, tls) = (Port::take()?, Port::take()?);
        let folder = Folder::new("ngircd")?;
        let certificate = Certificate::make(&folder).await?;
        let mut text = configuration(&plain, &tls, &certificate);
        if ident {
            // The same helper does both, and only where names are looked up.
            text = text.replace("DNS = no", "DNS = yes").replace("Ident = no", "Ident = yes");
        }
        folder.write("ngircd.conf", text)?;
        // It gives up root for this user, who then reads the key.
        folder.give_to("nobody").await?;
        let process = launch(&folder, &plain).await?;
        Ok(Self { process, plain, tls, certificate, folder })
    }

    /// Starts it again on the same ports after [`kill`](Self::kill).
    pub async fn launch(&mut self) -> Result<()> {
        self.process = launch(&self.folder, &self.plain).await?;
        Ok(())
    }

    /// Its port in clear.
    pub fn plain(&self) -> &Port {
        &self.plain
    }

    /// Its port by TLS.
    pub fn tls(&self) -> &Port {
        &self.tls
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}

async fn launch(folder: &Folder, plain: &Port) -> Result<Process> {
    let mut command = Command::new(program("ngircd", "ngircd", &[])?);
    command.arg("-n").arg("-f").arg(folder.join("ngircd.conf"));
    let mut process = Process::spawn("ngircd", &mut command, &folder.join("log"))?;
    let port = plain.number();
    until("ngircd ready", START, || {
        let alive = process.check();
        async move {
            alive?;
            Person::enter(port, "ready").await.map(drop)
        }
    })
    .await?;
    Ok(process)
}

fn configuration(plain: &Port, tls: &Port, certificate: &Certificate) -> String {
    format!(
        "[Global]
Name = ng.irc.test
Info = test
Listen = 127.0.0.1
Ports = {plain}
AdminEMail = admin@irc.test
ServerUID = nobody
ServerGID = nogroup
MotdPhrase = hello
[Limits]
MaxConnections = 0
MaxConnectionsIP = 0
MaxJoins = 50
MaxNickLength = 30
MaxPenaltyTime = 0
PingTimeout = 120
[Options]
DNS = no
Ident = no
PAM = no
NoticeBeforeRegistration = no
SyslogFacility = local1
[Operator]
Name = oper
Password = oper
[SSL]
CertFile = {certificate}
KeyFile = {key}
Ports = {tls}
",
        certificate = certificate.certificate.display(),
        key = certificate.key.display(),
    )
}
