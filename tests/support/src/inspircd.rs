//! A real InspIRCd: an IRC server with most of what IRCv3 adds, in clear and by TLS.

use std::process::Command;

use anyhow::Result;

use crate::certificate::Certificate;
use crate::irc::Person;
use crate::ports::Port;
use crate::process::{Folder, Process, program};
use crate::wait::{START, until};

/// A running InspIRCd.
#[derive(Debug)]
pub struct Inspircd {
    _process: Process,
    plain: Port,
    tls: Port,
    services: Port,
    /// What its TLS port shows.
    pub certificate: Certificate,
    _folder: Folder,
}

impl Inspircd {
    /// Starts it; returns when it welcomes somebody (an open port is not yet readiness).
    pub async fn start() -> Result<Self> {
        Self::with(false).await
    }

    /// The same; whoever connects in clear is sent to the TLS port (IRCv3 `sts`).
    pub async fn strict() -> Result<Self> {
        Self::with(true).await
    }

    async fn with(strict: bool) -> Result<Self> {
        let (plain, tls, services) = (Port::take()?, Port::take()?, Port::take()?);
        let folder = Folder::new("inspircd")?;
        let certificate = Certificate::make(&folder).await?;
        for name in ["log", "data"] {
            std::fs::create_dir(folder.join(name))?;
        }
        let mut text = configuration(&folder, [&plain, &tls, &services], &certificate);
        if strict {
            text.push_str(&format!(
                "<module name=\"ircv3_sts\">\n<sts host=\"*\" duration=\"1h\" port=\"{tls}\" preload=\"no\">\n"
            ));
        }
        folder.write("inspircd.conf", text)?;
        let mut command = Command::new(program("inspircd", "inspircd", &[])?);
        command.arg(format!("--config={}", folder.join("inspircd.conf").display())).args(["--nofork", "--nopid"]);
        if rustix::process::geteuid().is_root() {
            command.arg("--runasroot");
        }
        let mut process = Process::spawn("inspircd", &mut command, &folder.join("stdout"))?;
        let port = plain.number();
        until("InspIRCd ready", START, || {
            let alive = process.check();
            async move {
                alive?;
                Person::enter(port, "ready").await.map(drop)
            }
        })
        .await?;
        Ok(Self { _process: process, plain, tls, services, certificate, _folder: folder })
    }

    /// Its port in clear.
    pub fn plain(&self) -> &Port {
        &self.plain
    }

    /// Its port by TLS.
    pub fn tls(&self) -> &Port {
        &self.tls
    }

    /// Where services link (see [`crate::atheme`]).
    pub fn services(&self) -> &Port {
        &self.services
    }
}

fn configuration(folder: &Folder, [plain, tls, services]: [&Port; 3], certificate: &Certificate) -> String {
    let modules: String = [
        "cap",
        "ircv3",
        "ircv3_servertime",
        "ircv3_echomessage",
        "ircv3_batch",
        "ircv3_msgid",
        "ircv3_ctctags",
        "ircv3_labeledresponse",
        "ircv3_accounttag",
        "ircv3_capnotify",
        "ircv3_invitenotify",
        "chghost",
        "services_account",
        "cban",
        "cgiirc",
        "monitor",
        "sasl",
        "setname",
        "sha256",
        "spanningtree",
        "svshold",
        "namesx",
        "uhnames",
        "botmode",
        "ssl_gnutls",
        "sslinfo",
    ]
    .iter()
    .map(|name| format!("<module name=\"{name}\">"))
    .collect();
    format!(
        r#"<config format="xml">
<path configdir="{path}" datadir="{path}/data" logdir="{path}/log" runtimedir="{path}" moduledir="/usr/lib/inspircd/modules">
<server name="insp.irc.test" description="test" network="TestNet" id="1AA">
<admin name="admin" nick="admin" email="admin@irc.test">
{modules}
<sslprofile name="Clients" provider="gnutls" certfile="{certificate}" keyfile="{key}" hash="sha256">
<bind address="127.0.0.1" port="{plain}" type="clients">
<bind address="127.0.0.1" port="{tls}" type="clients" sslprofile="Clients">
<bind address="127.0.0.1" port="{services}" type="servers">
<sasl target="services.irc.test">
<uline server="services.irc.test" silent="yes">
<link name="services.irc.test" ipaddr="127.0.0.1" port="{services}" allowmask="127.0.0.0/8" sendpass="link" recvpass="link">
<cgihost type="webirc" mask="127.0.0.1" password="webirc">
<connect name="main" allow="*" timeout="20" pingfreq="120" hardsendq="4M" softsendq="8192" recvq="8K" threshold="1000" commandrate="1000000"
  fakelag="no" localmax="1000" globalmax="1000" useident="no" resolvehostnames="no" maxchans="100">
<performance nouserdns="yes"><security hideserver="">
<limits maxnick="30">
<log method="file" type="*" level="default" target="{path}/log/ircd.log">
"#,
        path = folder.path().display(),
        certificate = certificate.certificate.display(),
        key = certificate.key.display(),
    )
}
