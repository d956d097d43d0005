//! A real Postfix: takes mail on loopback, hands the gateway's domain over by LMTP, other domains to Dovecot.

use std::process::Command;

use anyhow::{Result, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;

use crate::certificate::Certificate;
use crate::dovecot::Dovecot;
use crate::ports::Port;
use crate::process::{Folder, Guarded, Process, program, run, show_tail};
use crate::wait::{START, until};

/// What Postfix is to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// The gateway's mail domain and the port of its LMTP listener.
    pub gateway: Option<(String, u16)>,
    /// Domains that Dovecot holds.
    pub outside: Vec<String>,
    /// Ask the gateway for recipients before taking a mail (`reject_unverified_recipient`).
    pub verify_recipients: bool,
    /// After how many seconds the sender is told of a delay.
    pub delay_warning: u32,
    /// After how many seconds a mail that cannot be delivered is bounced.
    pub lifetime: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            gateway: None,
            outside: vec!["outside.test".to_owned()],
            verify_recipients: false,
            delay_warning: 2,
            lifetime: 8,
        }
    }
}

/// A running Postfix. Mail to `dead.test` waits for a server that does not answer (delay notice, then bounce); any domain that it does not
/// know is refused at RCPT with 5.1.2.
#[derive(Debug)]
pub struct Postfix {
    process: Option<Process>,
    smtp: Port,
    submission: Port,
    /// For clients that are to trust its TLS.
    pub certificate: Certificate,
    folder: Folder,
    _stop: Guarded,
}

impl Postfix {
    /// Starts it in front of Dovecot; returns when both ports greet.
    pub async fn start(options: &Options, dovecot: &Dovecot) -> Result<Self> {
        let postfix = program("postfix", "postfix", &[])?;
        let (smtp, submission) = (Port::take()?, Port::take()?);
        let folder = Folder::new("postfix")?;
        for name in ["etc", "queue", "data"] {
            std::fs::create_dir(folder.join(name))?;
        }
        run(Command::new("chown").arg("postfix").arg(folder.join("data"))).await?;
        let certificate = Certificate::make(&folder).await?;
        folder.write("etc/main.cf", main_cf(options, &folder, dovecot, &certificate))?;
        folder.write("etc/master.cf", master_cf(&smtp, &submission))?;
        let stop = Guarded::new(&format!("'{}' -c '{}' stop", postfix.display(), folder.join("etc").display()))?;
        let mut server = Self { process: None, smtp, submission, certificate, folder, _stop: stop };
        server.launch().await?;
        Ok(server)
    }

    /// Starts it again on the same queue after [`stop`](Self::stop).
    pub async fn launch(&mut self) -> Result<()> {
        let mut command = Command::new(program("postfix", "postfix", &[])?);
        command.arg("-c").arg(self.folder.join("etc")).arg("start-fg");
        let mut process = Process::spawn("postfix", &mut command, &self.folder.join("stdout"))?;
        let ports = [self.smtp.address(), self.submission.address()];
        until("Postfix ready", START, || {
            let alive = process.check();
            async move {
                alive?;
                for port in ports {
                    let mut line = String::new();
                    BufReader::new(TcpStream::connect(port).await?).read_line(&mut line).await?;
                    if !line.starts_with("220") {
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

    /// Port that takes mail from anywhere on loopback.
    pub fn smtp(&self) -> &Port {
        &self.smtp
    }

    /// Port that wants STARTTLS and AUTH (a user of Dovecot) first.
    pub fn submission(&self) -> &Port {
        &self.submission
    }

    /// Stops it in order. Killing its first process would leave `master`, which makes a session of its own.
    pub fn stop(&mut self) {
        if let Some(process) = self.process.take() {
            if let Ok(postfix) = program("postfix", "postfix", &[]) {
                let _ = Command::new(postfix).arg("-c").arg(self.folder.join("etc")).arg("stop").output();
            }
            drop(process);
        }
    }

    /// Tries everything in the queue now.
    pub async fn flush(&self) -> Result<()> {
        run(Command::new(program("postqueue", "postfix", &[])?).arg("-c").arg(self.folder.join("etc")).arg("-f"))
            .await
            .map(drop)
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.folder.join("maillog")).unwrap_or_default()).into_owned()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        self.stop();
        show_tail("postfix", &self.folder.join("maillog"), 25);
    }
}

fn main_cf(options: &Options, folder: &Folder, dovecot: &Dovecot, certificate: &Certificate) -> String {
    let path = folder.path().display();
    let held = dovecot.lmtp().number();
    let mut transports: Vec<String> =
        options.outside.iter().map(|domain| format!("{domain}=lmtp:inet:127.0.0.1:{held}")).collect();
    transports.push("dead.test=smtp:[127.0.0.1]:1".to_owned());
    let mut domains = options.outside.clone();
    domains.push("dead.test".to_owned());
    if let Some((domain, port)) = &options.gateway {
        transports.push(format!("{domain}=lmtp:inet:127.0.0.1:{port}"));
        domains.push(domain.clone());
    }
    let verify = if options.verify_recipients { "reject_unverified_recipient" } else { "" };
    let (delay, lifetime) = (options.delay_warning, options.lifetime);
    format!(
        "compatibility_level = 3.6
queue_directory = {path}/queue
data_directory = {path}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {path}/maillog
maillog_file_prefixes = {path}, /tmp, /var
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.test
mydomain = test
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
mynetworks = 127.0.0.0/8
relay_domains = {domains}
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_recipient_restrictions = {verify}
unverified_recipient_reject_code = 550
unverified_recipient_reject_reason = undeliverable
address_verify_map =
address_verify_poll_count = 10
address_verify_poll_delay = 1s
transport_maps = inline:{{ {transports} }}
default_transport = error:5.1.2 no such domain in this test
smtp_dns_support_level = disabled
smtp_host_lookup = native
lmtp_host_lookup = native
notify_classes = resource, software
delay_warning_time = {delay}s
queue_run_delay = 1s
minimal_backoff_time = 1s
maximal_backoff_time = 2s
maximal_queue_lifetime = {lifetime}s
bounce_queue_lifetime = {lifetime}s
smtputf8_enable = yes
message_size_limit = 20971520
recipient_delimiter =
smtp_destination_concurrency_limit = 20
lmtp_connection_cache_on_demand = yes
smtpd_peername_lookup = no
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_sasl_type = dovecot
smtpd_sasl_path = {auth}
",
        domains = domains.join(", "),
        transports = transports.join(", "),
        certificate = certificate.certificate.display(),
        key = certificate.key.display(),
        auth = dovecot.auth_socket().display(),
    )
}

fn master_cf(smtp: &Port, submission: &Port) -> String {
    format!(
        "127.0.0.1:{smtp} inet n - n - - smtpd
127.0.0.1:{submission} inet n - n - - smtpd
  -o smtpd_tls_security_level=encrypt
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_tls_auth_only=yes
  -o smtpd_recipient_restrictions=
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"
    )
}
