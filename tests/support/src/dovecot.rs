//! A real Dovecot: LMTP in, IMAP out, a SASL socket for Postfix. What arrived is read from its maildirs.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::ports::Port;
use crate::process::{Folder, Process, program};
use crate::wait::{START, until};

/// A running Dovecot. Users are `name@domain`, each with the password `pw-name`.
#[derive(Debug)]
pub struct Dovecot {
    process: Option<Process>,
    lmtp: Port,
    imap: Port,
    folder: Folder,
}

impl Dovecot {
    /// Starts it for these mail addresses; returns when IMAP and LMTP greet.
    pub async fn start(users: &[&str]) -> Result<Self> {
        let (lmtp, imap) = (Port::take()?, Port::take()?);
        let folder = Folder::new("dovecot")?;
        let accounts: String = users
            .iter()
            .map(|user| format!("{user}:{{PLAIN}}pw-{}::::::\n", user.split('@').next().unwrap_or_default()))
            .collect();
        folder.write("passwd", accounts)?;
        std::fs::create_dir(folder.join("run"))?;
        std::fs::create_dir(folder.join("mail"))?;
        crate::process::run(Command::new("chown").arg("mail:mail").arg(folder.join("mail"))).await?;
        folder.write("dovecot.conf", configuration(&folder, &lmtp, &imap))?;
        let mut server = Self { process: None, lmtp, imap, folder };
        server.launch().await?;
        Ok(server)
    }

    /// Starts it again on the same data after [`kill`](Self::kill).
    pub async fn launch(&mut self) -> Result<()> {
        let mut command = Command::new(program("dovecot", "dovecot-lmtpd dovecot-imapd", &[])?);
        command.arg("-F").arg("-c").arg(self.folder.join("dovecot.conf"));
        let mut process = Process::spawn("dovecot", &mut command, &self.folder.join("log"))?;
        let ports = [self.lmtp.address(), self.imap.address()];
        until("Dovecot ready", START, || {
            let alive = process.check();
            async move {
                alive?;
                for port in ports {
                    let mut line = String::new();
                    BufReader::new(TcpStream::connect(port).await?).read_line(&mut line).await?;
                    if !line.starts_with("220") && !line.starts_with("* OK") {
                        bail!("{port} greets with {line:?}");
                    }
                }
                Ok(())
            }
        })
        .await?;
        self.process = Some(process);
        Ok(())
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Port of its LMTP listener.
    pub fn lmtp(&self) -> &Port {
        &self.lmtp
    }

    /// Port of its IMAP listener (plain text).
    pub fn imap(&self) -> &Port {
        &self.imap
    }

    /// The socket at which Postfix asks for SASL.
    pub fn auth_socket(&self) -> PathBuf {
        self.folder.join("run/auth-postfix")
    }

    /// All mails in the user's inbox, as they were delivered, in no order.
    pub fn mails(&self, user: &str) -> Result<Vec<String>> {
        let inbox = self.folder.join("mail").join(user.to_lowercase());
        let mut mails = Vec::new();
        for part in ["new", "cur"] {
            let Ok(entries) = std::fs::read_dir(inbox.join(part)) else { continue };
            for entry in entries {
                mails.push(String::from_utf8_lossy(&std::fs::read(entry?.path())?).into_owned());
            }
        }
        Ok(mails)
    }

    /// Waits for a mail in the user's inbox that fulfils `is`; so long that a third try counts, too.
    pub async fn mail(&self, user: &str, what: &str, is: impl Fn(&str) -> bool) -> Result<String> {
        until(&format!("mail to {user}: {what}"), Duration::from_secs(120), || async {
            let mails = self.mails(user)?;
            let subjects: Vec<&str> =
                mails.iter().filter_map(|m| m.lines().find(|line| line.starts_with("Subject:"))).collect();
            let missing = format!("{} mails: {subjects:?}", mails.len());
            mails.into_iter().find(|mail| is(mail)).context(missing)
        })
        .await
    }

    /// What IMAP says of the inbox: the number of messages, after a login as a mail program does it.
    pub async fn count_by_imap(&self, user: &str) -> Result<usize> {
        let (reader, mut writer) = TcpStream::connect(self.imap.address()).await?.into_split();
        let mut lines = BufReader::new(reader).lines();
        let name = user.split('@').next().unwrap_or_default();
        writer.write_all(format!("a LOGIN {user} pw-{name}\r\nb SELECT INBOX\r\nc LOGOUT\r\n").as_bytes()).await?;
        let mut count = None;
        while let Some(line) = lines.next_line().await? {
            if let Some(number) = line.strip_prefix("* ").and_then(|rest| rest.strip_suffix(" EXISTS")) {
                count = number.parse().ok();
            }
            if line.starts_with("a NO") || line.starts_with("a BAD") {
                bail!("IMAP login of {user}: {line}");
            }
        }
        count.context("IMAP did not say how many mails there are")
    }
}

fn configuration(folder: &Folder, lmtp: &Port, imap: &Port) -> String {
    let path = folder.path().display();
    format!(
        "base_dir = {path}/run
state_dir = {path}/run
log_path = {path}/log
protocols = imap lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
default_internal_user = dovecot
default_login_user = dovenull
mail_location = maildir:{path}/mail/%Lu
mail_uid = mail
mail_gid = mail
first_valid_uid = 1
lmtp_save_to_detail_mailbox = no
auth_username_format = %Lu
postmaster_address = postmaster@outside.test
passdb {{
  driver = passwd-file
  args = {path}/passwd
}}
userdb {{
  driver = passwd-file
  args = {path}/passwd
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    address = 127.0.0.1
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp}
  }}
}}
service auth {{
  unix_listener auth-postfix {{
    mode = 0666
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
"
    )
}
