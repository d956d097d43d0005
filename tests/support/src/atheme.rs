//! Real services for an IRC network: Atheme (NickServ, logins by SASL, certificates), linked to an InspIRCd.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::inspircd::Inspircd;
use crate::irc::Person;
use crate::process::{Folder, Process, program};
use crate::wait::{START, until};

/// Running services.
#[derive(Debug)]
pub struct Atheme {
    _process: Process,
    _folder: Folder,
    clients: u16,
}

impl Atheme {
    /// Starts them and links them to this server; returns when NickServ answers there.
    pub async fn start(server: &Inspircd) -> Result<Self> {
        let folder = Folder::new("atheme")?;
        let configuration = folder.write("atheme.conf", configuration(server.services().number()))?;
        std::fs::create_dir(folder.join("var"))?;
        folder.give_to("nobody").await?;
        let services = program("atheme-services", "atheme-services", &[])?;
        // They refuse to run as root.
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new(program("setpriv", "util-linux", &[])?);
            command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(services);
            command
        } else {
            Command::new(services)
        };
        command.arg("-n").arg("-c").arg(configuration).arg("-D").arg(folder.join("var"));
        command.arg("-l").arg(folder.join("var/log")).arg("-p").arg(folder.join("var/pid"));
        let mut process = Process::spawn("atheme", &mut command, &folder.join("stdout"))?;
        let clients = server.plain().number();
        until("Atheme ready", START, || {
            let alive = process.check();
            async move {
                alive?;
                let mut person = Person::enter(clients, "ready").await?;
                person.send("WHOIS NickServ").await?;
                // 311 where NickServ is there, before the 318 that ends any answer.
                let answer = person.first(&[" 311 ", " 318 "]).await?;
                ensure!(answer.contains(" 311 "), "NickServ is not there");
                Ok(())
            }
        })
        .await?;
        Ok(Self { _process: process, _folder: folder, clients })
    }

    /// Makes an account; whoever shows a certificate of this fingerprint (SHA-256, hexadecimal) may log in too.
    pub async fn register(&self, account: &str, password: &str, fingerprint: Option<&str>) -> Result<()> {
        let mut person = Person::enter(self.clients, account).await?;
        person.say("NickServ", &format!("REGISTER {password} {account}@irc.test")).await?;
        person.line(" is now registered").await?;
        if let Some(fingerprint) = fingerprint {
            person.say("NickServ", &format!("CERT ADD {fingerprint}")).await?;
            person.line("Added fingerprint").await?;
        }
        person.send("QUIT").await
    }
}

fn configuration(port: u16) -> String {
    let modules: String = [
        "protocol/inspircd",
        "backend/opensex",
        "crypto/pbkdf2v2",
        "nickserv/main",
        "nickserv/register",
        "nickserv/identify",
        "nickserv/cert",
        "saslserv/main",
        "saslserv/plain",
        "saslserv/external",
    ]
    .iter()
    .map(|name| format!("loadmodule \"modules/{name}\";\n"))
    .collect();
    format!(
        r#"{modules}
uplink "insp.irc.test" {{ host = "127.0.0.1"; port = {port}; send_password = "link"; receive_password = "link"; }};
serverinfo {{ name = "services.irc.test"; desc = "services"; numeric = "00A"; netname = "TestNet"; adminname = "admin";
  adminemail = "admin@irc.test"; registeremail = "admin@irc.test"; auth = none; recontime = 1; maxlogins = 50; maxusers = 0;
  mta = "/bin/true"; loglevel = {{ error; info; }}; casemapping = rfc1459; }};
nickserv {{ nick = "NickServ"; user = "ns"; host = "services.irc.test"; real = "NickServ"; }};
saslserv {{ nick = "SaslServ"; user = "ss"; host = "services.irc.test"; real = "SaslServ"; hide_server_names; }};
general {{ }};
"#
    )
}
