//! The only part that opens a connection: sends requests, fetches media.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION};
use isthmus_bridge::{DeliveryError, Failure, Sent, Text};
use reqwest::{Client, redirect};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::OnceCell;
use url::Url;

use super::request::Ready;
use super::spec::MediaSource;

/// Time for the connection; giving up here is certain.
const CONNECT: Duration = Duration::from_secs(15);
/// Bytes of an answer, at most.
const ANSWER: usize = 256 * 1024;
/// Hops of a media URL, at most.
const HOPS: usize = 5;

/// Sends requests. Roots are loaded at the first one.
#[derive(Debug)]
pub(crate) struct Http {
    client: OnceCell<Client>,
    timeout: Duration,
}

/// What a provider answered.
#[derive(Debug)]
pub(crate) struct Answered {
    /// Status.
    pub status: http::StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, cut at 256 KiB.
    pub body: Bytes,
}

impl Http {
    /// An answer that takes longer than this makes an uncertain delivery.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { client: OnceCell::new(), timeout }
    }

    async fn client(&self) -> Result<&Client, DeliveryError> {
        self.client.get_or_try_init(|| async { build() }).await.map_err(|error| {
            tracing::error!(%error, "no request can be sent");
            DeliveryError::temporary(Failure::Unreachable, Text::key("provider-away").with("provider", "-"))
        })
    }

    /// Sends it. The error says whether it may have arrived.
    pub(crate) async fn send(&self, provider: &str, ready: Ready) -> Result<Answered, DeliveryError> {
        let client = self.client().await?;
        let request = client.request(ready.method, ready.url).headers(ready.headers).body(ready.body);
        let answering = async {
            let mut response = request.send().await?;
            let (status, headers) = (response.status(), response.headers().clone());
            let mut body = BytesMut::new();
            while let Some(chunk) = response.chunk().await? {
                let room = ANSWER - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if body.len() == ANSWER {
                    break;
                }
            }
            Ok::<_, reqwest::Error>(Answered { status, headers, body: body.freeze() })
        };
        match tokio::time::timeout(self.timeout, answering).await {
            Ok(Ok(answered)) => Ok(answered),
            Ok(Err(error)) => Err(failed(provider, &error)),
            Err(_) => {
                let text = Text::key("provider-silent").with("provider", provider);
                let mut error = DeliveryError::uncertain(text);
                error.failure = Failure::TimedOut;
                Err(error)
            }
        }
    }

    /// Fetches a file from one of the hosts that `source` names, over at most five redirects, each checked.
    pub(crate) async fn fetch(
        &self,
        source: &MediaSource,
        url: &Url,
        login: Option<&http::HeaderValue>,
        max: usize,
    ) -> Result<(Bytes, String), String> {
        let client = self.client().await.map_err(|e| e.to_string())?;
        let mut url = url.clone();
        let fetching = async {
            for _ in 0..HOPS {
                let host = url.host_str().unwrap_or_default().to_owned();
                if !matches!(url.scheme(), "https" | "http") || !source.allows(&host) {
                    return Err("a host that the provider file does not list".to_owned());
                }
                let mut request = client.get(url.clone());
                if let Some(login) = login.filter(|_| source.knows(&host)) {
                    request = request.header(AUTHORIZATION, login.clone());
                }
                let mut response = request.send().await.map_err(|e| without_url(&e))?;
                if response.status().is_redirection() {
                    let to = response.headers().get(LOCATION).and_then(|v| v.to_str().ok());
                    url = to.and_then(|to| url.join(to).ok()).ok_or("a redirect to nowhere")?;
                    continue;
                }
                if !response.status().is_success() {
                    return Err(format!("status {}", response.status().as_u16()));
                }
                let media_type = response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
                let media_type = media_type.unwrap_or("application/octet-stream").to_owned();
                let mut body = BytesMut::new();
                while let Some(chunk) = response.chunk().await.map_err(|e| without_url(&e))? {
                    if body.len() + chunk.len() > max {
                        return Err("too large".to_owned());
                    }
                    body.extend_from_slice(&chunk);
                }
                return Ok((body.freeze(), media_type));
            }
            Err("too many redirects".to_owned())
        };
        tokio::time::timeout(self.timeout, fetching).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
    }
}

/// Only what failed before a connection stood is certain.
fn failed(provider: &str, error: &reqwest::Error) -> DeliveryError {
    let certain = error.is_connect() || error.is_builder();
    let text = Text::key(if certain { "provider-away" } else { "provider-silent" }).with("provider", provider);
    tracing::info!(provider, certain, error = without_url(error), "a provider was not reached");
    let mut failed = DeliveryError::temporary(Failure::Unreachable, text);
    if !certain {
        failed = DeliveryError::uncertain(failed.text);
        debug_assert_eq!(failed.sent, Sent::Maybe);
    }
    failed
}

/// The innermost cause: the outer ones name the URL, which may hold secrets.
fn without_url(error: &reqwest::Error) -> String {
    let Some(mut cause) = std::error::Error::source(error) else { return "the request failed".to_owned() };
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// Connections are not kept: one that the provider closes while a text is being written to it would make an uncertain delivery of it. Nothing is
/// tried again by the client itself, and no redirect of a paid request is followed.
fn build() -> Result<Client, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .connect_timeout(CONNECT)
        .pool_max_idle_per_host(0)
        .http1_only()
        .user_agent(concat!("isthmus/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|e| e.to_string())
}
