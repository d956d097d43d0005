//! A real InspIRCd: an IRC server with most of what IRCv3 adds, in clear and by TLS.

use std::process::Command;

use anyhow::Result;

use crate::certificate::Certificate;
use crate::irc::Person;
use crate::ports::Port;
use crate::process::{Folder, Process, program};
use crate::wait::{START, until};

/// What an InspIRCd is to do beside the usual.
#[derive(Debug, Default)]
pub struct Options {
    /// Whoever connects in clear is sent to the TLS port (IRCv3 `sts`).
    pub strict: bool,
    /// Clients' machines are asked for names (RFC 1413), at their port 113.
    pub asks_ident: bool,
    /// Lines at the end of its configuration.
    pub lines: String,
}

/// A running InspIRCd. Whoever says `OPER oper oper` runs it.
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
        Self::with(Options::default()).await
    }

    /// The same; whoever connects in clear is sent to the TLS port (IRCv3 `sts`).
    pub async fn strict() -> Result<Self> {
        Self::with(Options { strict: true, ..Options::default() }).await
    }

    /// The same with these options.
    pub async fn with(options: Options) -> Result<Self> {
        Self::named("insp", "1AA", options, None).await
    }

    /// A second server, `insp2.irc.test`; an operator on it who says `CONNECT insp.irc.test` makes both one network.
    pub async fn beside(&self) -> Result<Self> {
        Self::named("insp2", "2AA", Options::default(), Some(&self.services)).await
    }

    async fn named(name: &str, id: &str, options: Options, first: Option<&Port>) -> Result<Self> {
        let (plain, tls, services) = (Port::take()?, Port::take()?, Port::take()?);
        let folder = Folder::new("inspircd")?;
        let certificate = Certificate::make(&folder).await?;
        for name in ["log", "data"] {
            std::fs::create_dir(folder.join(name))?;
        }
        let mut text = configuration(&folder, [&plain, &tls, &services], &certificate);
        text = text.replace("insp.irc.test", &format!("{name}.irc.test")).replace("1AA", id);
        // Each knows the other; only the second one connects.
        let (other, port) = if name == "insp" { ("insp2", &services) } else { ("insp", first.unwrap_or(&services)) };
        text.push_str(&format!(
            "<link name=\"{other}.irc.test\" ipaddr=\"127.0.0.1\" port=\"{port}\" allowmask=\"127.0.0.0/8\" sendpass=\"link\" recvpass=\"link\">\n"
        ));
        if options.asks_ident {
            text =
                text.replace("useident=\"no\"", "useident=\"yes\"") + "<module name=\"ident\"><ident timeout=\"10\">\n";
        }
        text.push_str(&options.lines);
        if options.strict {
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
<class name="all" commands="*" usermodes="*" chanmodes="*" privs="*"><type name="root" classes="all">
<oper name="oper" password="oper" host="*@*" type="root">
<log method="file" type="*" level="default" target="{path}/log/ircd.log">
"#,
        path = folder.path().display(),
        certificate = certificate.certificate.display(),
        key = certificate.key.display(),
    )
}
