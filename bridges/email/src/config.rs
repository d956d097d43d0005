//! The bridge's section of the configuration: `bridges/email.toml`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use isthmus_bridge::section::Table;
use isthmus_bridge::{ConfigError, Section};
use secrecy::SecretString;

use crate::address::{Mailbox, normal_domain};
use crate::dkim::Signer;

/// All of it, checked.
#[derive(Debug)]
pub(crate) struct Config {
    /// The bridge's name.
    pub name: String,
    /// The domain of its users' mail addresses.
    pub mail_domain: String,
    /// Name for people, in service discovery.
    pub title: String,
    /// Domains whose users are local.
    pub local_domains: Vec<String>,
    /// Whether `juliet=capulet.lit@mail_domain` reaches local users who did not register.
    pub fixed_form: bool,
    /// Who gets mail to `postmaster@` and `abuse@`: mail addresses outside. Administrators always get it by XMPP.
    pub postmaster: Vec<Mailbox>,
    /// The server that takes outbound mail.
    pub relay: Relay,
    /// Where inbound mail is taken.
    pub listen: Listen,
    /// One signature per key (RSA and Ed25519 side by side, RFC 8463).
    pub dkim: Vec<Signer>,
    /// How senders of inbound mail are checked.
    pub auth: SenderAuth,
    /// Bounds.
    pub limits: Limits,
    /// What the MTA's spam filter says.
    pub spam: Spam,
}

/// How a connection is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Security {
    /// Not at all: loopback, or a network that is secured by other means.
    None,
    /// STARTTLS, required: a server that does not offer it gets no mail and no password.
    StartTls,
    /// TLS from the first byte (RFC 8314).
    Tls,
}

/// The server that takes outbound mail.
#[derive(Debug, Clone)]
pub(crate) struct Relay {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Speaks LMTP (RFC 2033) instead of SMTP.
    pub lmtp: bool,
    /// How the connection is secured.
    pub security: Security,
    /// Extra roots (PEM); `None`: those of the system.
    pub ca_file: Option<PathBuf>,
    /// Whether the certificate is checked.
    pub verify: bool,
    /// User and password for AUTH.
    pub login: Option<(String, SecretString)>,
    /// The name said in EHLO.
    pub hello: String,
    /// Connections at once.
    pub connections: usize,
    /// Time for connecting and for each answer but the last.
    pub timeout: Duration,
    /// Time for the answer to the final dot (RFC 5321, 4.5.3.2.6, says 10 minutes): giving up earlier makes an uncertain delivery.
    pub final_timeout: Duration,
}

/// Where something listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bind {
    /// `host:port`.
    Tcp(String),
    /// `unix:/path`.
    Unix(PathBuf),
}

impl std::fmt::Display for Bind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(at) => f.write_str(at),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Where inbound mail is taken.
#[derive(Debug, Clone)]
pub(crate) struct Listen {
    /// From the MTA.
    pub lmtp: Option<Bind>,
    /// From anybody.
    pub smtp: Option<Bind>,
    /// Certificate chain and key (PEM) for STARTTLS.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The name said in the greeting.
    pub hello: String,
    /// Connections at once, over all.
    pub connections: usize,
    /// A client that says nothing for this time is cut off.
    pub idle: Duration,
}

/// How senders of inbound mail are checked.
#[derive(Debug, Clone)]
pub(crate) struct SenderAuth {
    /// Whose `Authentication-Results` count (RFC 8601).
    pub authserv_ids: Vec<String>,
    /// Whose ARC seals (RFC 8617) count: the domains of forwarders and lists.
    pub trusted_sealers: Vec<String>,
    /// Whether the bridge checks DKIM and ARC (and behind the SMTP listener SPF and DMARC) by DNS itself.
    pub check: bool,
    /// Resolvers (`host:port`); empty: those of the system.
    pub resolvers: Vec<std::net::SocketAddr>,
}

/// Bounds; per user where not said otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Bytes of one mail, in either direction.
    pub max_size: u64,
    /// Bytes of all files of an outbound mail that are attached; beyond, they are left as links.
    pub max_attached: u64,
    /// Recipients of one mail, either direction.
    pub recipients: usize,
    /// Outbound mails a day.
    pub messages_per_day: u64,
    /// Outbound envelopes a day.
    pub recipients_per_day: u64,
    /// Outbound bytes a day, over all envelopes.
    pub bytes_per_day: u64,
    /// Inbound messages of one contact an hour.
    pub contact_per_hour: u32,
}

/// What happens to spam.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpamAction {
    /// Delivered with a warning.
    Mark,
    /// Dropped with a log line.
    Drop,
    /// Refused (by the SMTP listener; dropped behind LMTP, where a refusal would make the MTA bounce to a forged sender).
    Refuse,
}

/// What the MTA's spam filter says.
#[derive(Debug, Clone)]
pub(crate) struct Spam {
    /// Header name and what its value begins with (both without regard to case): `X-Spam-Flag`, `YES`.
    pub headers: Vec<(String, String)>,
    /// What happens then.
    pub action: SpamAction,
}

/// Reads the section; every fault at once.
pub(crate) fn read(section: Section<'_>) -> Result<Config, Vec<ConfigError>> {
    let Section { name, domain, folder, local_domains, mut table, .. } = section;
    let mail_domain = read_domain(&mut table, "mail_domain").unwrap_or_else(|| domain.to_ascii_lowercase());
    let title = table.string("title").unwrap_or_else(|| "Email".to_owned());
    let fixed_form = table.bool("fixed_form").unwrap_or(false);
    let postmaster = read_mailboxes(&mut table, "postmaster");
    let relay = read_relay(&mut table, folder, &mail_domain);
    let listen = read_listen(&mut table, folder, &mail_domain);
    let dkim = read_dkim(&mut table, folder, &mail_domain);
    let auth = read_auth(&mut table);
    let limits = read_limits(&mut table);
    let spam = read_spam(&mut table);
    let errors = table.finish();
    let (Some(relay), true) = (relay, errors.is_empty()) else { return Err(errors) };
    Ok(Config {
        name: name.to_owned(),
        mail_domain,
        title,
        local_domains: local_domains.to_vec(),
        fixed_form,
        postmaster,
        relay,
        listen,
        dkim,
        auth,
        limits,
        spam,
    })
}

fn read_domain(table: &mut Table, key: &str) -> Option<String> {
    table.read(key, "a domain name such as \"email.example.org\"", |v| normal_domain(v.as_str()?))
}

fn read_mailboxes(table: &mut Table, key: &str) -> Vec<Mailbox> {
    table
        .read(key, "a list of mail addresses", |v| {
            v.as_array()?.iter().map(|i| Mailbox::parse(i.as_str()?).ok()).collect()
        })
        .unwrap_or_default()
}

fn read_relay(table: &mut Table, folder: &Path, mail_domain: &str) -> Option<Relay> {
    if !table.has("smtp") {
        table.fault(
            "smtp",
            "is missing: expected a table with the relay that takes outbound mail (host, port, security)",
        );
    }
    let mut smtp = table.table("smtp")?;
    let host = smtp.required("host", "the name or address of the relay, such as \"127.0.0.1\"");
    let protocol = smtp.choice("protocol", &["smtp", "lmtp"]).unwrap_or("smtp");
    let security = match smtp.choice("security", &["none", "starttls", "tls"]) {
        Some("starttls") => Security::StartTls,
        Some("tls") => Security::Tls,
        _ => Security::None,
    };
    let port = smtp.port("port").unwrap_or(match (protocol, security) {
        ("lmtp", _) => 24,
        (_, Security::None) => 25,
        (_, Security::StartTls) => 587,
        (_, Security::Tls) => 465,
    });
    let login = read_login(&mut smtp, folder);
    if let (Some(_), Security::None, Some(host)) = (&login, security, &host)
        && !is_loopback(host)
    {
        smtp.fault("security", "a password would leave this machine unencrypted: expected \"starttls\" or \"tls\"");
    }
    let relay = Relay {
        host: host.clone().unwrap_or_default(),
        port,
        lmtp: protocol == "lmtp",
        security,
        ca_file: smtp.path("ca_file", folder),
        verify: smtp.bool("verify").unwrap_or(true),
        login,
        hello: read_domain(&mut smtp, "hello").unwrap_or_else(|| mail_domain.to_owned()),
        connections: count(&mut smtp, "connections", 4, 100),
        timeout: seconds(&mut smtp, "timeout_seconds", 60),
        final_timeout: seconds(&mut smtp, "final_timeout_seconds", 600),
    };
    table.close(smtp);
    host.map(|_| relay)
}

fn read_login(smtp: &mut Table, folder: &Path) -> Option<(String, SecretString)> {
    let username = smtp.string("username");
    let password = smtp.secret("password", folder);
    match (username, password) {
        (Some(user), Some(password)) => Some((user, password)),
        (Some(_), None) => {
            smtp.fault("password", "is missing: expected the password of that username, or password_file");
            None
        }
        (None, Some(_)) => {
            smtp.fault("username", "is missing: expected the name that belongs to the password");
            None
        }
        (None, None) => None,
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn read_listen(table: &mut Table, folder: &Path, mail_domain: &str) -> Listen {
    let mut listen = table.table("listen").unwrap_or_default();
    let cert = listen.path("tls_cert", folder);
    let key = listen.path("tls_key", folder);
    if cert.is_some() != key.is_some() {
        listen.fault("tls_cert", "stands alone: expected tls_cert and tls_key, or neither");
    }
    let made = Listen {
        lmtp: read_bind(&mut listen, "lmtp"),
        smtp: read_bind(&mut listen, "smtp"),
        tls: cert.zip(key),
        hello: read_domain(&mut listen, "hello").unwrap_or_else(|| mail_domain.to_owned()),
        connections: count(&mut listen, "connections", 200, 10_000),
        idle: seconds(&mut listen, "idle_seconds", 300),
    };
    table.close(listen);
    made
}

fn read_bind(listen: &mut Table, key: &str) -> Option<Bind> {
    listen.read(key, "\"host:port\" or \"unix:/path\"", |v| {
        let text = v.as_str()?;
        if let Some(path) = text.strip_prefix("unix:") {
            return path.starts_with('/').then(|| Bind::Unix(PathBuf::from(path)));
        }
        let (host, port) = text.rsplit_once(':')?;
        (!host.is_empty() && port.parse::<u16>().is_ok()).then(|| Bind::Tcp(text.to_owned()))
    })
}

fn read_dkim(table: &mut Table, folder: &Path, mail_domain: &str) -> Vec<Signer> {
    let mut signers = Vec::new();
    for mut key in table.tables("dkim") {
        let selector = key.required("selector", "the selector of the key, such as \"isthmus2026\"");
        let domain = read_domain(&mut key, "domain").unwrap_or_else(|| mail_domain.to_owned());
        let file = key.required("key_file", "the file of the private key (PEM, RSA or Ed25519)");
        if let (Some(selector), Some(file)) = (selector, file) {
            match Signer::read(&domain, &selector, &folder.join(&file)) {
                Ok(signer) => signers.push(signer),
                Err((field, what)) => key.fault(field, what),
            }
        }
        table.close(key);
    }
    signers
}

fn read_auth(table: &mut Table) -> SenderAuth {
    let mut auth = table.table("auth").unwrap_or_default();
    let made = SenderAuth {
        authserv_ids: auth.strings("authserv_ids").unwrap_or_default(),
        trusted_sealers: auth.strings("trusted_sealers").unwrap_or_default(),
        check: auth.bool("check").unwrap_or(true),
        resolvers: auth
            .read("resolvers", "a list of \"address:port\"", |v| {
                v.as_array()?.iter().map(|i| i.as_str()?.parse().ok()).collect()
            })
            .unwrap_or_default(),
    };
    table.close(auth);
    made
}

fn read_limits(table: &mut Table) -> Limits {
    let mut limits = table.table("limits").unwrap_or_default();
    let mut number = |key: &str, default: u32, max: i64| {
        limits.integer(key, 1, max).and_then(|n| u64::try_from(n).ok()).unwrap_or(u64::from(default))
    };
    const MIB: u32 = 1024 * 1024;
    let made = Limits {
        max_size: number("max_size", 25 * MIB, 1 << 30),
        max_attached: number("max_attached", 10 * MIB, 1 << 30),
        recipients: usize::try_from(number("recipients", 50, 1000)).unwrap_or(50),
        messages_per_day: number("messages_per_day", 500, 1 << 40),
        recipients_per_day: number("recipients_per_day", 1000, 1 << 40),
        bytes_per_day: number("bytes_per_day", 500 * MIB, 1 << 50),
        contact_per_hour: u32::try_from(number("contact_per_hour", 200, i64::from(u32::MAX))).unwrap_or(u32::MAX),
    };
    table.close(limits);
    made
}

fn read_spam(table: &mut Table) -> Spam {
    let mut spam = table.table("spam").unwrap_or_default();
    let headers = spam
        .read("headers", "a list of \"Name: beginning of the value\"", |v| {
            v.as_array()?
                .iter()
                .map(|i| i.as_str()?.split_once(':').map(|(n, v)| (n.trim().to_owned(), v.trim().to_owned())))
                .collect()
        })
        .unwrap_or_else(|| vec![("X-Spam-Flag".to_owned(), "YES".to_owned()), ("X-Spam".to_owned(), "Yes".to_owned())]);
    let action = match spam.choice("action", &["mark", "drop", "refuse"]) {
        Some("drop") => SpamAction::Drop,
        Some("refuse") => SpamAction::Refuse,
        _ => SpamAction::Mark,
    };
    table.close(spam);
    Spam { headers, action }
}

fn count(table: &mut Table, key: &str, default: usize, max: i64) -> usize {
    table.integer(key, 1, max).and_then(|n| usize::try_from(n).ok()).unwrap_or(default)
}

fn seconds(table: &mut Table, key: &str, default: u64) -> Duration {
    Duration::from_secs(table.integer(key, 1, 3600).and_then(|n| u64::try_from(n).ok()).unwrap_or(default))
}
