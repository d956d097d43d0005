//! Follows the links that users send: the only place that does.
//!
//! A stranger chooses the address, so three guards stand in the way. The *host* must be the sender's domain or below it,
//! one that an upload service has named, or one that the operator has listed. The *scheme* is https (http for listed
//! hosts). The *address* is checked at the moment of connecting, by the resolver that the connection itself uses: there
//! is no second look-up that could give another answer. A redirect passes the second and the third guard again.

use std::collections::HashSet;
use std::error::Error;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use isthmus_bridge::{DeliveryError, Failure, Fetch, Media, Text};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Response, StatusCode, redirect};
use rustls::ClientConfig;
use url::{Host, Url};

use super::guard::is_public;
use super::name;

/// Redirects that are followed.
const REDIRECTS: usize = 5;
/// Upload hosts that are remembered.
const HOSTS: usize = 1000;
const CONNECT: Duration = Duration::from_secs(10);

/// How names are looked up; another one in tests.
pub type Lookup = Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> + Send + Sync>;

/// Fetches files for users. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Fetcher {
    client: Client,
    hosts: Arc<Hosts>,
    max: u64,
}

/// Hosts that somebody vouches for.
#[derive(Debug)]
struct Hosts {
    /// `[files] fetch_from`: http and private addresses too.
    listed: HashSet<String>,
    /// Seen in upload slots: https and public addresses only.
    slots: Mutex<HashSet<String>>,
}

impl Fetcher {
    /// `listed` are the operator's hosts; `max` bounds every file, in bytes.
    ///
    /// # Errors
    /// The TLS configuration cannot be used.
    pub fn new(listed: &[String], max: u64, tls: &ClientConfig) -> Result<Self, String> {
        Self::with_lookup(listed, max, tls, Arc::new(|name| Box::pin(system(name))))
    }

    /// As [`Fetcher::new`], with another way to look up names.
    ///
    /// # Errors
    /// The TLS configuration cannot be used.
    pub fn with_lookup(listed: &[String], max: u64, tls: &ClientConfig, lookup: Lookup) -> Result<Self, String> {
        let listed = listed.iter().map(|host| host.to_ascii_lowercase()).collect();
        let hosts = Arc::new(Hosts { listed, slots: Mutex::default() });
        let client = Client::builder()
            .tls_backend_preconfigured(tls.clone())
            .dns_resolver(Arc::new(Guarded { hosts: Arc::clone(&hosts), lookup }))
            .redirect(redirect::Policy::none())
            .no_proxy() // a proxy would look up names by itself
            .referer(false)
            .connect_timeout(CONNECT)
            .pool_max_idle_per_host(1)
            .user_agent(concat!("isthmus/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { client, hosts, max })
    }

    /// An upload service has named this host in a slot: users' links to it are followed.
    pub fn trust(&self, url: &Url) {
        let Some(host) = url.host_str() else { return };
        let mut slots = self.hosts.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() < HOSTS {
            slots.insert(host.to_ascii_lowercase());
        }
    }

    /// Whether a link of this sender would be followed at all.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, url: &Url, limit: &Fetch) -> Result<(), DeliveryError> {
        let host = host_of(url)?;
        let sender = ascii_domain(limit.on_behalf_of.as_str());
        let below = sender.is_some_and(|sender| {
            host.strip_suffix(sender.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        });
        if !(below || self.hosts.is_listed(&host) || self.hosts.is_slot(&host)) {
            return Err(error(Failure::Forbidden, "fetch.not-allowed", &host));
        }
        self.check_hop(url)
    }

    /// Follows a link. The whole takes no longer than `limit` says.
    ///
    /// # Errors
    /// A guard, the size, the time, or the far side; in words for the sender.
    pub async fn fetch(&self, url: &Url, limit: &Fetch) -> Result<(Bytes, Media), DeliveryError> {
        self.check(url, limit)?;
        let max = self.max.min(limit.max_bytes);
        match tokio::time::timeout(limit.timeout, self.follow(url.clone(), max)).await {
            Ok(result) => result,
            Err(_) => Err(temporary(Failure::TimedOut, "fetch.timed-out", &host_of(url)?)),
        }
    }

    async fn follow(&self, mut url: Url, max: u64) -> Result<(Bytes, Media), DeliveryError> {
        for _ in 0..=REDIRECTS {
            self.check_hop(&url)?;
            let host = host_of(&url)?;
            let response = self.client.get(url.clone()).send().await.map_err(|error| failed(&error, &host))?;
            let status = response.status();
            if status.is_redirection()
                && let Some(next) = location(&response, &url)
            {
                url = next;
                continue;
            }
            if !status.is_success() {
                return Err(refused(status, &host));
            }
            return take(response, &url, &host, max).await;
        }
        Err(error(Failure::Rejected, "fetch.too-many-redirects", &host_of(&url)?))
    }

    /// What every address on the way must be.
    fn check_hop(&self, url: &Url) -> Result<(), DeliveryError> {
        let host = host_of(url)?;
        let listed = self.hosts.is_listed(&host);
        let scheme = url.scheme();
        if !(scheme == "https" || scheme == "http" && listed) {
            return Err(error(Failure::Forbidden, "fetch.not-https", &host));
        }
        // Names are judged by what they resolve to, when it is known; an address is judged here.
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            _ => None,
        };
        if literal.is_some_and(|address| !listed && !is_public(address)) {
            return Err(error(Failure::Forbidden, "fetch.not-allowed", &host));
        }
        Ok(())
    }
}

impl Hosts {
    fn is_listed(&self, host: &str) -> bool {
        self.listed.contains(host)
    }

    fn is_slot(&self, host: &str) -> bool {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).contains(host)
    }
}

/// The resolver of the connections: it gives out no address that may not be connected to.
struct Guarded {
    hosts: Arc<Hosts>,
    lookup: Lookup,
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().trim_end_matches('.').to_ascii_lowercase();
        let listed = self.hosts.is_listed(&name);
        let found = (self.lookup)(name);
        Box::pin(async move {
            let found = found.await?;
            let allowed: Vec<_> = found
                .into_iter()
                .filter(|address| listed || is_public(*address))
                .map(|ip| SocketAddr::new(ip, 0))
                .collect();
            if allowed.is_empty() {
                return Err(Box::new(NotPublic) as Box<dyn Error + Send + Sync>);
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the name leads into a network that links may not lead into")]
struct NotPublic;

async fn system(name: String) -> io::Result<Vec<IpAddr>> {
    Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
}

async fn take(mut response: Response, url: &Url, host: &str, max: u64) -> Result<(Bytes, Media), DeliveryError> {
    let too_large = || {
        let text = Text::key("fetch.too-large").with("host", host).with("limit", max);
        DeliveryError::new(Failure::TooLong { limit: max }, text)
    };
    if response.content_length().is_some_and(|length| length > max) {
        return Err(too_large());
    }
    let media_type = response.headers().get(reqwest::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.filter(|value| value.len() < 200).unwrap_or("application/octet-stream").to_owned();
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failed(&error, host))? {
        if (body.len() + chunk.len()) as u64 > max {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    let last = url.path_segments().and_then(|mut path| path.next_back()).unwrap_or_default();
    let last = percent_decoded(last);
    let media = Media::new(Some(name::harmless(Some(&last), &media_type)), media_type, Some(body.len() as u64));
    Ok((body.freeze(), media))
}

/// The host in the form in which hosts are listed: lower case, punycode, without a dot at the end.
fn host_of(url: &Url) -> Result<String, DeliveryError> {
    let host = url.host_str().unwrap_or_default().trim_end_matches('.').trim_matches(['[', ']']).to_ascii_lowercase();
    if host.is_empty() { Err(error(Failure::Forbidden, "fetch.not-https", url.scheme())) } else { Ok(host) }
}

/// A JID's domain in the form in which hosts appear in addresses.
fn ascii_domain(bare_jid: &str) -> Option<String> {
    let domain = bare_jid.rsplit_once('@').map_or(bare_jid, |(_, domain)| domain);
    match Host::parse(domain).ok()? {
        Host::Domain(domain) => Some(domain),
        // Somebody at an address may not send us to that address.
        Host::Ipv4(_) | Host::Ipv6(_) => None,
    }
}

fn location(response: &Response, base: &Url) -> Option<Url> {
    let location = response.headers().get(reqwest::header::LOCATION)?.to_str().ok()?;
    base.join(location).ok()
}

fn percent_decoded(text: &str) -> String {
    // A query's rules, but for the plus sign, which stands for itself in a path.
    let pair = text.replace('+', "%2B");
    url::form_urlencoded::parse(pair.replace(['&', '='], "_").as_bytes()).map(|(name, _)| name.into_owned()).collect()
}

fn refused(status: StatusCode, host: &str) -> DeliveryError {
    let text = Text::key("fetch.refused").with("host", host).with("status", status.as_u16());
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        DeliveryError::temporary(Failure::Unreachable, text)
    } else {
        DeliveryError::new(Failure::Rejected, text)
    }
}

fn failed(why: &reqwest::Error, host: &str) -> DeliveryError {
    let mut source = why.source();
    while let Some(cause) = source {
        if cause.is::<NotPublic>() {
            return error(Failure::Forbidden, "fetch.not-allowed", host);
        }
        source = cause.source();
    }
    if why.is_timeout() {
        return temporary(Failure::TimedOut, "fetch.timed-out", host);
    }
    temporary(Failure::Unreachable, "fetch.unreachable", host)
}

fn error(failure: Failure, key: &'static str, host: &str) -> DeliveryError {
    DeliveryError::new(failure, Text::key(key).with("host", host))
}

fn temporary(failure: Failure, key: &'static str, host: &str) -> DeliveryError {
    DeliveryError::temporary(failure, Text::key(key).with("host", host))
}
