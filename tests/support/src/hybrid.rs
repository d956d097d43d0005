//! A real ircd-hybrid, in clear and by TLS.

use std::process::Command;

use anyhow::Result;

use crate::certificate::Certificate;
use crate::irc::Person;
use crate::ports::Port;
use crate::process::{Folder, Process, program};
use crate::wait::{START, until};

/// A running ircd-hybrid.
#[derive(Debug)]
pub struct Hybrid {
    _process: Process,
    plain: Port,
    tls: Port,
    /// What its TLS port shows.
    pub certificate: Certificate,
    _folder: Folder,
}

impl Hybrid {
    /// Starts it; returns when it welcomes somebody. Whoever says `OPER oper oper` runs it.
    pub async fn start() -> Result<Self> {
        Self::asking(false).await
    }

    /// The same; where `ident` is set, clients' machines are asked for names (RFC 1413), at their port 113.
    pub async fn asking(ident: bool) -> Result<Self> {
        let (plain, tls) = (Port::take()?, Port::take()?);
        let folder = Folder::new("hybrid")?;
        let certificate = Certificate::make(&folder).await?;
        let mut text = configuration(&plain, &tls, &certificate);
        if ident {
            text = text.replace("disable_auth = yes", "disable_auth = no").replace(", no_tilde", "");
        }
        let configuration = folder.write("ircd.conf", text)?;
        std::fs::create_dir(folder.join("var"))?;
        folder.give_to("nobody").await?;
        let ircd = program("ircd-hybrid", "ircd-hybrid (beside ngircd: see tests/run)", &[])?;
        // It refuses to run as root.
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new(program("setpriv", "util-linux", &[])?);
            command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(ircd);
            command
        } else {
            Command::new(ircd)
        };
        command.arg("-foreground").arg("-configfile").arg(configuration);
        for (option, file) in [
            ("-logfile", "log"),
            ("-pidfile", "pid"),
            ("-klinefile", "klines"),
            ("-dlinefile", "dlines"),
            ("-xlinefile", "xlines"),
            ("-resvfile", "resvs"),
        ] {
            command.arg(option).arg(folder.join("var").join(file));
        }
        let mut process = Process::spawn("ircd-hybrid", &mut command, &folder.join("stdout"))?;
        let port = plain.number();
        until("ircd-hybrid ready", START, || {
            let alive = process.check();
            async move {
                alive?;
                Person::enter(port, "ready").await.map(drop)
            }
        })
        .await?;
        Ok(Self { _process: process, plain, tls, certificate, _folder: folder })
    }

    /// Its port in clear.
    pub fn plain(&self) -> &Port {
        &self.plain
    }

    /// Its port by TLS.
    pub fn tls(&self) -> &Port {
        &self.tls
    }
}

fn configuration(plain: &Port, tls: &Port, certificate: &Certificate) -> String {
    format!(
        r#"serverinfo {{ name = "hyb.irc.test"; sid = "0HY"; description = "test"; network_name = "TestNet"; network_description = "TestNet";
  hub = no; default_max_clients = 512; max_nick_length = 30; max_topic_length = 300;
  tls_certificate_file = "{certificate}"; rsa_private_key_file = "{key}"; }};
admin {{ name = "admin"; description = "admin"; email = "admin@irc.test"; }};
class {{ name = "users"; ping_time = 2 minutes; number_per_ip_local = 1000; number_per_ip_global = 1000; max_number = 1000;
  sendq = 4 megabytes; recvq = 8000 bytes; }};
listen {{ host = "127.0.0.1"; port = {plain}; flags = tls; port = {tls}; }};
auth {{ user = "*@*"; class = "users"; flags = exceed_limit, can_flood, no_tilde; }};
operator {{ name = "oper"; user = "*@*"; password = "oper"; encrypted = no; class = "users"; umodes = locops;
  flags = kline, unkline, kill; }};
general {{ throttle_count = 1000; throttle_time = 1 second; disable_auth = yes; pace_wait = 0 seconds;
  pace_wait_simple = 0 seconds; anti_nick_flood = no; default_floodcount = 1000; }};
channel {{ max_channels = 50; default_join_flood_count = 0; }};
log {{ use_logging = no; }};
"#,
        certificate = certificate.certificate.display(),
        key = certificate.key.display(),
    )
}
