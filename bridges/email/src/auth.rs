//! Who a mail is really from: SPF (RFC 7208), DKIM (RFC 6376), DMARC (RFC 7489, RFC 9989), ARC (RFC 8617), and what the server before us found out.
//!
//! Behind LMTP the connecting address is our own mail server, so SPF cannot be checked here: its `Authentication-Results` count, and DKIM and ARC
//! are checked by us. On the SMTP listener everything is.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use mail_auth::dmarc::Policy as Published;
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{
    ArcOutput, AuthenticatedMessage, DkimOutput, DkimResult, DmarcOutput, DmarcResult, MessageAuthenticator, SpfOutput,
    SpfResult,
};
use tracing::{error, warn};

use crate::address::{Mailbox, normal_domain};
use crate::auth_results::{self, Results};
use crate::config::SenderAuth;
use crate::translate::mime::{self, Part};

/// The look-ups of one method. Each has its own time, so that signatures of domains that never answer keep nobody from asking what the domain of
/// From wants.
const PATIENCE: Duration = Duration::from_secs(20);
/// Signatures of one mail that are checked; there is no use in more.
const MAX_SIGNATURES: usize = 20;

/// Where a mail came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Our own mail server.
    Mta,
    /// Anybody.
    Direct {
        /// Who connected.
        ip: IpAddr,
        /// What they call themselves.
        helo: String,
    },
}

/// What the owner of a domain asks receivers to do with mail that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Policy {
    /// Nothing.
    None,
    /// Set it apart.
    Quarantine,
    /// Refuse it.
    Reject,
}

/// What is known of the author.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The domain of From vouches for the mail.
    Verified,
    /// Nothing speaks for it or against it.
    Unknown,
    /// The domain of From says which mails are its own, and this is none of them.
    Failed(Policy),
    /// It could not be found out now, and might be next time.
    Unfinished,
}

impl Standing {
    /// Of a mail that does not say who its one author is: nobody vouches for it.
    pub(crate) fn without_author(self) -> Self {
        match self {
            Self::Failed(policy) => Self::Failed(policy),
            _ => Self::Failed(Policy::None),
        }
    }
}

/// The result of all checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// What follows from it.
    pub standing: Standing,
    /// For people who know: `spf=pass dkim=pass (example.net) arc=none dmarc=pass (p=reject)`.
    pub words: String,
    /// Domains whose signatures hold, lower case.
    pub signed: Vec<String>,
}

/// Checks mails.
pub(crate) struct Checker {
    dns: Option<Arc<MessageAuthenticator>>,
    servers: Vec<String>,
    sealers: Vec<String>,
    host: String,
}

impl Checker {
    /// With these settings; `host` is our own name, for SPF macros.
    pub(crate) fn new(config: &SenderAuth, host: &str) -> Result<Self, String> {
        let lower = |list: &[String]| list.iter().map(|s| s.trim_end_matches('.').to_ascii_lowercase()).collect();
        let dns = if config.check { Some(Arc::new(resolver(config)?)) } else { None };
        Ok(Self {
            dns,
            servers: lower(&config.authserv_ids),
            sealers: lower(&config.trusted_sealers),
            host: host.to_owned(),
        })
    }

    /// Checks a mail that is shown as being from `author`. Never fails: what cannot be found out is unknown.
    pub(crate) async fn check(&self, raw: Bytes, peer: &Peer, return_path: &str, author: &Mailbox) -> Verdict {
        let upstream = match peer {
            Peer::Mta => self.upstream(&raw),
            Peer::Direct { .. } => Vec::new(),
        };
        let own = match &self.dns {
            Some(dns) => {
                let asked = Asked {
                    raw,
                    peer: peer.clone(),
                    return_path: return_path.to_owned(),
                    host: self.host.clone(),
                    upstream: upstream.clone(),
                    author: author.domain().to_owned(),
                };
                Some(look_up(dns.clone(), asked).await)
            }
            None => None,
        };
        conclude(&upstream, own.as_ref(), &self.sealers)
    }

    /// What servers that we trust have said. They write at the top of the header, in one go; what stands below the next `Received` was there before, and
    /// came with the mail.
    fn upstream(&self, raw: &[u8]) -> Vec<Results> {
        if self.servers.is_empty() {
            return Vec::new();
        }
        let part = Part::read(raw);
        let mut found = Vec::new();
        for (name, value) in part.headers().into_iter().flat_map(|message| message.headers_raw()) {
            if name.eq_ignore_ascii_case("Received") && !found.is_empty() {
                break;
            }
            if name.eq_ignore_ascii_case("Authentication-Results") {
                found.extend(auth_results::parse(value).filter(|r| self.servers.contains(&r.server)));
            }
        }
        found
    }
}

/// What our own checks found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Own {
    spf: Option<&'static str>,
    dkim: Vec<(String, &'static str)>,
    arc: Option<&'static str>,
    /// Who sealed last and what they had found for DMARC.
    sealed: Option<(String, String)>,
    dmarc: Option<&'static str>,
    policy: Option<Policy>,
    /// Whether SPF was known: without it a failure of DMARC is not certain.
    whole: bool,
    /// A method did not come to its end that might have spoken for the mail.
    unfinished: bool,
}

fn resolver(config: &SenderAuth) -> Result<MessageAuthenticator, String> {
    let mut options = ResolverOpts::default();
    options.timeout = Duration::from_secs(4);
    options.attempts = 2;
    let made = if config.resolvers.is_empty() {
        MessageAuthenticator::new_system_conf()
    } else {
        let servers = config.resolvers.iter().map(|at| {
            let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
            connections.iter_mut().for_each(|c| c.port = at.port());
            NameServerConfig::new(at.ip(), true, connections)
        });
        MessageAuthenticator::new(ResolverConfig::from_parts(None, Vec::new(), servers.collect()), options)
    };
    made.map_err(|e| format!("no DNS resolver for checking senders: {e}"))
}

/// What the checks need.
struct Asked {
    raw: Bytes,
    peer: Peer,
    return_path: String,
    host: String,
    upstream: Vec<Results>,
    /// The domain that users see the mail from.
    author: String,
}

/// Checks off the threads that serve connections: each signature hashes the whole body.
async fn look_up(dns: Arc<MessageAuthenticator>, asked: Asked) -> Own {
    let runtime = tokio::runtime::Handle::current();
    let work = tokio::task::spawn_blocking(move || runtime.block_on(own(&dns, &asked)));
    work.await.unwrap_or_else(|fault| {
        error!(error = %fault, "the checks of a mail's sender failed; they count as not done");
        Own { unfinished: true, ..Own::default() }
    })
}

/// The mail without the signatures that are more than are checked: each could hash the whole body its own way.
fn bounded(raw: &Bytes) -> Cow<'_, [u8]> {
    if Part::read(raw).all("DKIM-Signature").len() <= MAX_SIGNATURES {
        return Cow::Borrowed(raw);
    }
    let (mut out, mut seen, mut skipping) = (Vec::with_capacity(raw.len()), 0, false);
    let header = header_len(raw);
    for line in raw[..header].split_inclusive(|b| *b == b'\n') {
        if !line.starts_with(b" ") && !line.starts_with(b"\t") {
            let name = line.split(|b| *b == b':').next().unwrap_or_default().trim_ascii_end();
            let signature = name.eq_ignore_ascii_case(b"DKIM-Signature");
            seen += usize::from(signature);
            skipping = signature && seen > MAX_SIGNATURES;
        }
        if !skipping {
            out.extend_from_slice(line);
        }
    }
    out.extend_from_slice(&raw[header..]);
    Cow::Owned(out)
}

/// Gives a method its time; `None`: it took longer.
async fn in_time<T>(method: &'static str, work: impl Future<Output = T>) -> Option<T> {
    let done = tokio::time::timeout(PATIENCE, work).await.ok();
    if done.is_none() {
        warn!(method, "a check of a mail's sender took too long; it counts as not done");
    }
    done
}

async fn own(dns: &MessageAuthenticator, asked: &Asked) -> Own {
    let mut found = Own::default();
    let raw = bounded(&asked.raw);
    // Where the library sees another author than users do, what it finds is about somebody else.
    let message = AuthenticatedMessage::parse(&raw).filter(|m| is_author(&m.from, &asked.author));
    let Some(message) = message else {
        return Own { dmarc: Some("fail"), policy: Some(Policy::None), ..found };
    };
    let (spf, domain) = spf(dns, asked, &mut found).await;
    let dkim = in_time("dkim", dns.verify_dkim(&message)).await;
    found.unfinished |= dkim.is_none();
    let dkim = dkim.unwrap_or_default();
    found.dkim = dkim.iter().map(dkim_words).collect();
    match in_time("dmarc", dns.verify_dmarc(DmarcParameters::new(&message, &dkim, &domain, &spf))).await {
        Some(dmarc) => {
            found.dmarc = Some(dmarc_word(&dmarc));
            found.policy = dmarc.dmarc_record().map(|_| policy(dmarc.policy()));
        }
        None => found.unfinished = true,
    }
    if let Some(arc) = in_time("arc", dns.verify_arc(&message)).await {
        found.arc = Some(result_word(arc.result()));
        found.sealed = sealed(&arc);
    }
    found
}

fn is_author(from: &[String], author: &str) -> bool {
    let same = |address: &String| {
        address.rsplit_once('@').and_then(|(_, domain)| normal_domain(domain)).is_some_and(|domain| domain == author)
    };
    !from.is_empty() && from.iter().all(same)
}

async fn spf(dns: &MessageAuthenticator, asked: &Asked, found: &mut Own) -> (SpfOutput, String) {
    let Asked { peer, return_path, host, upstream, .. } = asked;
    let Peer::Direct { ip, helo } = peer else {
        let method = auth_results::first(upstream, "spf");
        found.whole = method.is_some();
        return upstream_spf(method, return_path);
    };
    // A null return path is checked by the name in EHLO (RFC 7208 section 2.4).
    let parameters = if return_path.is_empty() {
        SpfParameters::verify_ehlo(*ip, helo, host)
    } else {
        SpfParameters::verify_mail_from(*ip, helo, host, return_path)
    };
    let domain = return_path.rsplit_once('@').map_or(helo.as_str(), |(_, d)| d).to_owned();
    let Some(spf) = in_time("spf", dns.verify_spf(parameters)).await else {
        found.unfinished = true;
        return (SpfOutput::new(domain.clone()).with_result(SpfResult::TempError), domain);
    };
    found.spf = Some(spf_word(spf.result()));
    found.whole = spf.result() != SpfResult::TempError;
    (spf, domain)
}

/// SPF as the server before us found it, in the terms of the library.
fn upstream_spf(method: Option<&auth_results::Method>, return_path: &str) -> (SpfOutput, String) {
    let named =
        method.and_then(|m| m.property("smtp.mailfrom").or_else(|| m.property("smtp.helo"))).unwrap_or(return_path);
    let domain = named.rsplit_once('@').map_or(named, |(_, d)| d).to_owned();
    let result = match method.map(|m| m.result.as_str()) {
        Some("pass") => SpfResult::Pass,
        Some("fail" | "hardfail") => SpfResult::Fail,
        _ => SpfResult::None,
    };
    (SpfOutput::new(domain.clone()).with_result(result), domain)
}

fn conclude(upstream: &[Results], own: Option<&Own>, sealers: &[String]) -> Verdict {
    let mut words = String::new();
    let theirs = auth_results::first(upstream, "dmarc");
    for name in ["spf", "dkim", "dmarc"] {
        if let Some(method) = auth_results::first(upstream, name) {
            let _ = write!(words, "{name}={} ({}) ", mime::one_line(&method.result), upstream_of(upstream, name));
        }
    }
    if let Some(own) = own {
        describe(own, &mut words);
    }
    let words = words.trim_end().to_owned();
    let sealed = own.and_then(|o| o.sealed.as_ref()).is_some_and(|(by, dmarc)| sealers.contains(by) && dmarc == "pass");
    let arc = own.and_then(|o| o.arc) == Some("pass");
    let standing = match (theirs.map(|m| m.result.as_str()), own.and_then(|o| o.dmarc)) {
        (Some("pass"), _) | (_, Some("pass")) => Standing::Verified,
        // A list or forwarder that we trust says that it was in order when it came to them.
        _ if arc && sealed => Standing::Verified,
        (Some("fail"), _) => {
            Standing::Failed(theirs.and_then(published).or(own.and_then(|o| o.policy)).unwrap_or(Policy::None))
        }
        // What was not looked at might have spoken for it.
        (_, Some("fail") | None) if own.is_some_and(|o| o.unfinished) => Standing::Unfinished,
        (_, Some("fail")) => match own {
            Some(o) if o.whole => Standing::Failed(o.policy.unwrap_or(Policy::None)),
            // SPF might have passed where the mail came in; nobody told us.
            _ => Standing::Failed(Policy::None),
        },
        _ => Standing::Unknown,
    };
    let theirs = upstream.iter().flat_map(|r| &r.methods).filter(|m| m.name == "dkim" && m.result == "pass");
    let theirs = theirs.filter_map(|m| m.property("header.d").map(str::to_ascii_lowercase));
    let ours = own.into_iter().flat_map(|o| &o.dkim).filter(|(_, result)| *result == "pass");
    let signed = theirs.chain(ours.map(|(domain, _)| domain.to_ascii_lowercase())).collect();
    Verdict { standing, words, signed }
}

fn upstream_of<'r>(upstream: &'r [Results], name: &str) -> &'r str {
    upstream.iter().find(|r| r.methods.iter().any(|m| m.name == name)).map_or("", |r| r.server.as_str())
}

fn describe(own: &Own, words: &mut String) {
    if let Some(spf) = own.spf {
        let _ = write!(words, "spf={spf} ");
    }
    for (domain, result) in &own.dkim {
        let _ = write!(words, "dkim={result} ({domain}) ");
    }
    if own.dkim.is_empty() {
        words.push_str("dkim=none ");
    }
    if let Some(arc) = own.arc {
        let _ = write!(words, "arc={arc} ");
    }
    if let Some(dmarc) = own.dmarc {
        let _ = write!(words, "dmarc={dmarc} ");
    }
    if let Some(policy) = own.policy {
        let _ = write!(words, "(p={}) ", policy_word(policy));
    }
}

/// The policy that OpenDMARC, Rspamd and others write beside a failure.
fn published(method: &auth_results::Method) -> Option<Policy> {
    let property = ["policy.published-domain-policy", "policy.dmarc", "policy"].iter().find_map(|p| method.property(p));
    let comment = || {
        let at = method
            .comments
            .find("p=")
            .filter(|at| *at == 0 || !method.comments.as_bytes()[at - 1].is_ascii_alphanumeric())?;
        method.comments.get(at + 2..)
    };
    let text = property.map(str::to_ascii_lowercase).or_else(|| comment().map(str::to_owned))?;
    match text.chars().take_while(char::is_ascii_alphabetic).collect::<String>().as_str() {
        "reject" => Some(Policy::Reject),
        "quarantine" => Some(Policy::Quarantine),
        "none" => Some(Policy::None),
        _ => None,
    }
}

fn sealed(arc: &ArcOutput<'_>) -> Option<(String, String)> {
    let last = arc.sets().last()?;
    let results = auth_results::parse(std::str::from_utf8(last.results.value).ok()?)?;
    let dmarc = results.methods.iter().find(|m| m.name == "dmarc").map(|m| m.result.clone()).unwrap_or_default();
    Some((last.seal.header.d.to_ascii_lowercase(), dmarc))
}

fn dkim_words(output: &DkimOutput<'_>) -> (String, &'static str) {
    let domain = output.signature().map(|s| mime::one_line(&s.d)).unwrap_or_default();
    (domain, result_word(output.result()))
}

fn result_word(result: &DkimResult) -> &'static str {
    match result {
        DkimResult::Pass => "pass",
        DkimResult::Neutral(_) => "neutral",
        DkimResult::Fail(_) => "fail",
        DkimResult::PermError(_) => "permerror",
        DkimResult::TempError(_) => "temperror",
        DkimResult::None => "none",
    }
}

fn spf_word(result: SpfResult) -> &'static str {
    match result {
        SpfResult::Pass => "pass",
        SpfResult::Fail => "fail",
        SpfResult::SoftFail => "softfail",
        SpfResult::Neutral => "neutral",
        SpfResult::TempError => "temperror",
        SpfResult::PermError => "permerror",
        SpfResult::None => "none",
    }
}

fn dmarc_word(output: &DmarcOutput) -> &'static str {
    match output.result() {
        DmarcResult::Pass => "pass",
        DmarcResult::Fail(_) => "fail",
        DmarcResult::TempError(_) => "temperror",
        DmarcResult::PermError(_) => "permerror",
        DmarcResult::None => "none",
    }
}

fn policy(published: Published) -> Policy {
    match published {
        Published::Reject => Policy::Reject,
        Published::Quarantine => Policy::Quarantine,
        Published::None | Published::Unspecified => Policy::None,
    }
}

fn policy_word(policy: Policy) -> &'static str {
    match policy {
        Policy::None => "none",
        Policy::Quarantine => "quarantine",
        Policy::Reject => "reject",
    }
}

fn header_len(raw: &[u8]) -> usize {
    raw.windows(3).position(|w| w == b"\n\r\n" || w.starts_with(b"\n\n")).unwrap_or(raw.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(values: &[&str]) -> Vec<Results> {
        values.iter().filter_map(|v| auth_results::parse(v)).collect()
    }

    #[test]
    fn what_follows_from_the_results() {
        let none = Own::default;
        let dmarc = |word, policy, whole| Own { dmarc: Some(word), policy, whole, ..Own::default() };
        let unfinished = |word| Own { unfinished: true, ..dmarc(word, Some(Policy::Reject), true) };
        let arc = || Own {
            arc: Some("pass"),
            sealed: Some(("list.test".into(), "pass".into())),
            ..dmarc("fail", Some(Policy::Reject), true)
        };
        let cases = [
            (vec!["mx; dmarc=pass"], Some(none()), Standing::Verified),
            (vec!["mx; dmarc=fail (p=reject dis=none)"], None, Standing::Failed(Policy::Reject)),
            (vec!["mx; dmarc=fail policy.dmarc=quarantine"], None, Standing::Failed(Policy::Quarantine)),
            (vec!["mx; dmarc=fail (sp=reject)"], None, Standing::Failed(Policy::None)),
            (
                vec!["mx; dmarc=fail"],
                Some(dmarc("fail", Some(Policy::Reject), false)),
                Standing::Failed(Policy::Reject),
            ),
            // The first word counts: what is below may be forged.
            (vec!["mx; dmarc=fail (p=reject)", "mx; dmarc=pass"], None, Standing::Failed(Policy::Reject)),
            (vec![], Some(dmarc("pass", None, true)), Standing::Verified),
            (vec![], Some(dmarc("fail", Some(Policy::Reject), true)), Standing::Failed(Policy::Reject)),
            (vec![], Some(dmarc("fail", Some(Policy::Reject), false)), Standing::Failed(Policy::None)),
            (vec![], Some(dmarc("none", None, true)), Standing::Unknown),
            (vec![], Some(dmarc("temperror", None, true)), Standing::Unknown),
            (vec![], Some(arc()), Standing::Verified),
            (vec![], None, Standing::Unknown),
            (vec![], Some(unfinished("fail")), Standing::Unfinished),
            (vec![], Some(unfinished("none")), Standing::Unknown),
            (vec![], Some(unfinished("pass")), Standing::Verified),
            (vec![], Some(Own { unfinished: true, ..none() }), Standing::Unfinished),
            (vec!["mx; dmarc=pass"], Some(unfinished("fail")), Standing::Verified),
        ];
        for (headers, own, standing) in cases {
            let verdict = conclude(&upstream(&headers), own.as_ref(), &["list.test".to_owned()]);
            assert_eq!(verdict.standing, standing, "{headers:?} {own:?}");
        }
        assert_eq!(
            conclude(&[], Some(&arc()), &[]).standing,
            Standing::Failed(Policy::Reject),
            "a sealer that nobody trusts"
        );
    }

    #[tokio::test]
    async fn only_the_servers_that_we_trust_count() {
        let config = SenderAuth {
            authserv_ids: vec!["MX.test".into()],
            check: false,
            resolvers: vec![],
            trusted_sealers: vec![],
        };
        let checker = Checker::new(&config, "gw.test").unwrap();
        let author = Mailbox::parse("a@x.test").unwrap();
        let bytes = |raw: &'static [u8]| Bytes::from_static(raw);
        let forged = b"Authentication-Results: evil.test; dmarc=pass\r\nFrom: a@x.test\r\n\r\nhi";
        assert_eq!(checker.check(bytes(forged), &Peer::Mta, "", &author).await.standing, Standing::Unknown);
        let true_one = b"Authentication-Results: mx.test; dmarc=pass\r\nFrom: a@x.test\r\n\r\nhi";
        assert_eq!(checker.check(bytes(true_one), &Peer::Mta, "", &author).await.standing, Standing::Verified);
        for top in ["", "Received: from y by mx.test\r\n"] {
            let below = "Received: from z by y\r\nAuthentication-Results: mx.test; dmarc=pass\r\n";
            let ours = "Authentication-Results: mx.test; spf=pass\r\n";
            let mail = Bytes::from(format!("{top}{ours}{below}From: a@x.test\r\n\r\nhi"));
            let standing = checker.check(mail, &Peer::Mta, "", &author).await.standing;
            assert_eq!(standing, Standing::Unknown, "what was there before the mail came to our server");
        }
        let direct = Peer::Direct { ip: IpAddr::from([127, 0, 0, 1]), helo: "x".into() };
        assert_eq!(
            checker.check(bytes(true_one), &direct, "", &author).await.standing,
            Standing::Unknown,
            "a stranger wrote that header"
        );
    }

    /// A resolver that never answers.
    async fn silent() -> (tokio::net::UdpSocket, Checker) {
        let socket = tokio::net::UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
        let config = SenderAuth {
            authserv_ids: vec![],
            check: true,
            resolvers: vec![socket.local_addr().unwrap()],
            trusted_sealers: vec![],
        };
        (socket, Checker::new(&config, "gw.test").unwrap())
    }

    #[tokio::test]
    async fn a_mail_with_two_authors_is_not_checked_for_one_of_them() {
        let (_socket, checker) = silent().await;
        let author = Mailbox::parse("a@x.test").unwrap();
        for header in ["From: a@x.test, b@y.test", "From: b@y.test", "From: a@x.test\r\nFrom: b@y.test", "To: x@y.test"]
        {
            let raw = Bytes::from(format!("{header}\r\n\r\nhi"));
            let verdict = checker.check(raw, &Peer::Mta, "", &author).await;
            assert_eq!(verdict.standing, Standing::Failed(Policy::None), "{header}");
        }
    }

    #[test]
    fn more_signatures_than_are_checked_do_not_keep_the_first_from_it() {
        let signature = "DKIM-Signature: v=1;\r\n d=x.test\r\n";
        let few = Bytes::from(format!("{}From: a@x.test\r\n\r\nbody\r\n", signature.repeat(MAX_SIGNATURES)));
        assert_eq!(bounded(&few).as_ref(), few.as_ref());
        let many = Bytes::from(format!("{}From: a@x.test\r\n\r\nbody\r\n", signature.repeat(MAX_SIGNATURES + 5)));
        assert_eq!(bounded(&many).as_ref(), few.as_ref(), "the others are left out, and nothing else is");
    }
}
