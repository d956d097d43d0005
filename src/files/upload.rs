//! XEP-0363: asks an upload service for a slot and fills it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use isthmus_bridge::Media;
use minidom::Element;
use minidom::rxml::NcName;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, redirect};
use rustls::ClientConfig;
use url::Url;

use super::name;
use crate::xmpp::ns;

/// XEP-0363.
const UPLOAD: &str = "urn:xmpp:http:upload:0";
/// A service that says nothing for this long, in any step, is none.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a service that was found is used before it is looked for again, and how long none is.
const FOUND: Duration = Duration::from_secs(3600);
const NOT_FOUND: Duration = Duration::from_secs(300);
/// Items of a server that are asked what they are.
const ITEMS: usize = 50;
/// The headers that a slot may hand us (XEP-0363 section 5).
const HEADERS: [&str; 3] = ["authorization", "cookie", "expires"];

/// Asks a question over the link.
#[async_trait]
pub trait IqSender: Send + Sync {
    /// Sends an iq of type `get` with this payload, from the gateway or from one of its contacts, and waits for the answer's payload.
    async fn iq(&self, to: &str, payload: Element) -> Result<Element, IqError>;
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IqError {
    /// A stanza error: its condition's name, and words.
    #[error("{condition}{}", .text.as_ref().map(|text| format!(": {}", text.escape_debug())).unwrap_or_default())]
    Refused {
        /// The condition's element name (RFC 6120 section 8.3.3).
        condition: String,
        /// The other side's words.
        text: Option<String>,
    },
    /// An answer without a payload.
    #[error("an empty answer")]
    Empty,
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// There is no stream, or it ended.
    #[error("the link is not attached")]
    Detached,
}

/// Why a file was not uploaded: for the operator. The gateway serves it itself then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotUploaded {
    /// No service is configured, and none is found.
    #[error("no upload service is found")]
    NoService,
    /// The service takes no file of this size.
    #[error("{service} takes files of at most {limit} bytes")]
    TooLarge {
        /// The service.
        service: String,
        /// Its limit, in bytes.
        limit: u64,
    },
    /// The service gave no slot.
    #[error("{service} gives no upload slot: {why}")]
    NoSlot {
        /// The service.
        service: String,
        /// Its reason.
        why: IqError,
    },
    /// The service's answer is no slot.
    #[error("{service} answers the request for an upload slot with something else: {what}")]
    BadSlot {
        /// The service.
        service: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The upload itself failed.
    #[error("{host} did not take the file: {why}")]
    Put {
        /// The host of the slot.
        host: String,
        /// A status or what went wrong.
        why: String,
    },
    /// It took too long.
    #[error("the upload service was silent for 30 s")]
    TimedOut,
}

/// A place to put a file, and where others get it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Slot {
    put: Url,
    get: Url,
    headers: HeaderMap,
}

/// A service, and the largest file that it says to take.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Service {
    jid: String,
    max: Option<u64>,
}

/// Uploads files.
#[derive(Debug)]
pub struct Uploader {
    configured: Option<String>,
    domains: Vec<String>,
    client: Client,
    found: Mutex<Option<(Instant, Option<Service>)>>,
}

impl Uploader {
    /// `configured` is `[files] upload`; without it the service is looked for at `domains`.
    ///
    /// # Errors
    /// The TLS configuration cannot be used.
    pub fn new(configured: Option<String>, domains: &[String], tls: &ClientConfig) -> Result<Self, String> {
        // The slot comes from the operator's own server, so its address is not guarded; a redirect of a PUT is none
        // that the service asked for.
        let client = Client::builder()
            .tls_backend_preconfigured(tls.clone())
            .redirect(redirect::Policy::none())
            .connect_timeout(PATIENCE)
            .user_agent(concat!("isthmus/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { configured, domains: domains.to_vec(), client, found: Mutex::new(None) })
    }

    /// Uploads a file and returns its address, within 30 s for each step that is silent.
    ///
    /// # Errors
    /// For the operator's log; serve the file yourself then.
    pub async fn upload(&self, link: &dyn IqSender, body: Bytes, media: &Media) -> Result<Url, NotUploaded> {
        let slot = tokio::time::timeout(PATIENCE, self.slot(link, body.len() as u64, media));
        let slot = slot.await.map_err(|_| NotUploaded::TimedOut)??;
        self.put(&slot, body, media).await?;
        Ok(slot.get)
    }

    /// Whether the service gives slots: what `check` asks. Nothing is uploaded.
    ///
    /// # Errors
    /// As [`Uploader::upload`].
    pub async fn probe(&self, link: &dyn IqSender) -> Result<Url, NotUploaded> {
        let media = Media::new(Some("check.txt".to_owned()), "text/plain", Some(1));
        let slot = tokio::time::timeout(PATIENCE, self.slot(link, 1, &media));
        Ok(slot.await.map_err(|_| NotUploaded::TimedOut)??.get)
    }

    async fn slot(&self, link: &dyn IqSender, size: u64, media: &Media) -> Result<Slot, NotUploaded> {
        let service = self.service(link).await.ok_or(NotUploaded::NoService)?;
        if let Some(limit) = service.max.filter(|limit| size > *limit) {
            return Err(NotUploaded::TooLarge { service: service.jid, limit });
        }
        let request = request(size, media);
        match link.iq(&service.jid, request).await {
            Ok(answer) => read_slot(&answer).map_err(|what| NotUploaded::BadSlot { service: service.jid, what }),
            Err(why) => Err(NotUploaded::NoSlot { service: service.jid, why }),
        }
    }

    async fn put(&self, slot: &Slot, body: Bytes, media: &Media) -> Result<(), NotUploaded> {
        let failed = |why: String| NotUploaded::Put { host: slot.put.host_str().unwrap_or_default().to_owned(), why };
        // A large file on a slow line takes its time; what is bounded is silence.
        let allowance = PATIENCE + Duration::from_secs(body.len() as u64 / 50_000);
        let request = self
            .client
            .put(slot.put.clone())
            .headers(slot.headers.clone())
            .header(reqwest::header::CONTENT_TYPE, content_type(media))
            .timeout(allowance)
            .body(body);
        match request.send().await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(failed(format!("HTTP status {}", response.status().as_u16()))),
            Err(error) if error.is_timeout() => Err(NotUploaded::TimedOut),
            // Without the address: it is a secret while the slot is empty.
            Err(error) => Err(failed(error.without_url().to_string())),
        }
    }

    async fn service(&self, link: &dyn IqSender) -> Option<Service> {
        if let Some(jid) = &self.configured {
            return Some(Service { jid: jid.clone(), max: None });
        }
        if let Some((at, known)) = &*self.found.lock().unwrap_or_else(PoisonError::into_inner) {
            let fresh = if known.is_some() { FOUND } else { NOT_FOUND };
            if at.elapsed() < fresh {
                return known.clone();
            }
        }
        let mut detached = false;
        let found = self.find(link, &mut detached).await;
        // That nobody could be asked is no answer to remember.
        if !detached || found.is_some() {
            *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), found.clone()));
        }
        found
    }

    async fn find(&self, link: &dyn IqSender, detached: &mut bool) -> Option<Service> {
        for domain in &self.domains {
            let items = match link.iq(domain, Element::bare("query", ns::DISCO_ITEMS)).await {
                Ok(items) => items,
                Err(error) => {
                    *detached |= error == IqError::Detached;
                    continue;
                }
            };
            let jids = items.children().filter_map(|item| item.attr("jid")).take(ITEMS);
            for jid in jids {
                let Ok(info) = link.iq(jid, Element::bare("query", ns::DISCO_INFO)).await else { continue };
                if info.children().any(|child| child.name() == "feature" && child.attr("var") == Some(UPLOAD)) {
                    return Some(Service { jid: jid.to_owned(), max: max_file_size(&info) });
                }
            }
        }
        None
    }
}

/// A file's type as a header; what is none becomes a heap of bytes.
fn content_type(media: &Media) -> HeaderValue {
    HeaderValue::from_str(&media.media_type).unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

fn request(size: u64, media: &Media) -> Element {
    let mut request = Element::bare("request", UPLOAD);
    let name = name::harmless(media.name.as_deref(), &media.media_type);
    let content_type = content_type(media);
    let values = [
        ("filename", name),
        ("size", size.to_string()),
        ("content-type", content_type.to_str().unwrap_or_default().to_owned()),
    ];
    for (key, value) in values {
        let key = NcName::try_from(key).expect("our own constants are names");
        request.set_attr(minidom::rxml::Namespace::NONE, key, value);
    }
    request
}

/// XEP-0363 section 4.
fn read_slot(answer: &Element) -> Result<Slot, &'static str> {
    if !answer.is("slot", UPLOAD) {
        return Err("no slot");
    }
    let url = |name: &str| {
        let url = answer.get_child(name, UPLOAD).and_then(|child| child.attr("url"))?;
        Url::parse(url).ok().filter(|url| matches!(url.scheme(), "https" | "http") && url.has_host())
    };
    let put = url("put").ok_or("no address to put the file")?;
    let get = url("get").ok_or("no address to get the file")?;
    let mut headers = HeaderMap::new();
    for header in answer.get_child("put", UPLOAD).into_iter().flat_map(Element::children) {
        let name = header.attr("name").unwrap_or_default().to_ascii_lowercase();
        if header.name() != "header" || !HEADERS.contains(&name.as_str()) {
            continue; // section 5: others are not ours to send
        }
        let value: String = header.text().chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
        let mut value = HeaderValue::from_str(&value).map_err(|_| "a header that is none")?;
        value.set_sensitive(true);
        headers.append(HeaderName::try_from(name).map_err(|_| "a header that is none")?, value);
    }
    Ok(Slot { put, get, headers })
}

/// The form in disco#info that says how large a file may be (XEP-0363 section 3).
fn max_file_size(info: &Element) -> Option<u64> {
    let fields = info.children().filter(|child| child.is("x", ns::DATA)).flat_map(Element::children);
    let field = fields.into_iter().find(|field| field.attr("var") == Some("max-file-size"))?;
    field.get_child("value", ns::DATA)?.text().trim().parse().ok()
}
