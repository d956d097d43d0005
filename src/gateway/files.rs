//! Files of events: uploaded to the XMPP server, else served by the gateway itself, else named only.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use isthmus_bridge::{BareJid, BlobId, DeliveryError, Failure, Fetch, Media, Refused, StoreError, Text};
use minidom::Element;
use tracing::{debug, info, warn};
use url::Url;

use super::answers::Unanswered;
use super::core::{Core, Served};
use crate::admin::control::FindingRow;
use crate::admin::outside::GatewayEnd;
use crate::config::{self, Config};
use crate::files::{Fetcher, IqError, IqSender, Links, NotUploaded, Shelf, Uploader, name};
use crate::inbox::Later;
use crate::storage::Seal;
use crate::xmpp::link::tls_config;

/// How long an upload service may think about a slot.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long somebody waits for an upload before they get a link of ours.
const SOON: Duration = Duration::from_secs(10);

/// And how long nobody waits after that.
const SLOW: Duration = Duration::from_secs(300);

/// All that deals with files.
pub(super) struct FileDesk {
    shelf: Shelf,
    fetcher: Fetcher,
    uploader: Uploader,
    /// `None` where the gateway has no public URL.
    pub(super) links: Option<Links>,
    limits: config::Files,
    /// The upload service took too long for who waited: until then nobody waits for it.
    slow_until: Mutex<Option<Instant>>,
}

impl FileDesk {
    pub(super) fn new(config: &Config, seal: &Seal) -> Result<Self, GatewayEnd> {
        let tls = tls_config(None).map_err(GatewayEnd::Failed)?;
        let folder = config.data_dir.join("blobs");
        let shelf = Shelf::open(&folder).map_err(|e| GatewayEnd::Failed(format!("{}: {e}", folder.display())))?;
        let files = &config.files;
        let served = config.http.public_url.clone().filter(|_| config.http.listen.is_some());
        Ok(Self {
            shelf,
            fetcher: Fetcher::new(&files.fetch_from, files.max_size, &tls).map_err(GatewayEnd::Failed)?,
            uploader: Uploader::new(files.upload.clone(), &config.domains, &tls).map_err(GatewayEnd::Failed)?,
            links: served.map(|url| Links::new(&seal.mac("files", b"links"), url, files.keep_for)),
            limits: files.clone(),
            slow_until: Mutex::default(),
        })
    }

    /// How long a file is kept.
    pub(super) fn keep_for(&self) -> Duration {
        self.limits.keep_for
    }

    /// The largest file that is kept, in bytes.
    pub(super) fn largest(&self) -> u64 {
        self.limits.max_size
    }

    /// Removes a file before its time.
    pub(super) async fn remove(&self, id: &BlobId) {
        if let Err(e) = self.shelf.remove(id).await {
            warn!(error = %e, "a file could not be removed; it goes when its time is over");
        }
    }

    /// A kept file, for who holds a link to it.
    pub(super) async fn open(&self, token: &str, now: std::time::SystemTime) -> Option<(Bytes, Media)> {
        let id = self.links.as_ref()?.open(token, now)?;
        self.shelf.read(&id).await.inspect_err(|e| warn!(error = %e, "a kept file cannot be read")).ok().flatten()
    }
}

/// Asks the server on behalf of the gateway.
struct Asker<'a> {
    core: &'a Core,
    served: &'a Served,
}

#[async_trait]
impl IqSender for Asker<'_> {
    async fn iq(&self, to: &str, payload: Element) -> Result<Element, IqError> {
        let from = &self.served.instance.domain;
        match self.core.ask(self.served, from, to, "get", &payload, PATIENCE).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(IqError::Empty),
            Err(Unanswered::Error { condition, text }) => Err(IqError::Refused { condition, text }),
            Err(Unanswered::Silence) => Err(IqError::TimedOut),
            Err(Unanswered::NotSent) => Err(IqError::Detached),
        }
    }
}

impl Core {
    /// The address under which a user gets a kept file: on their server, else on ours; `None` where there is neither.
    pub(super) async fn publish(
        &self,
        served: &Arc<Served>,
        user: &BareJid,
        id: &BlobId,
        media: &Media,
    ) -> Result<Option<String>, Later> {
        let later = |why: String| Later { after: Duration::from_secs(10), why };
        let Some((body, _)) = self.files.shelf.read(id).await.map_err(|e| later(e.to_string()))? else {
            warn!(bridge = %served.instance.name, %user, "a kept file is gone");
            return Ok(None);
        };
        match self.files.uploader.upload(&Asker { core: self, served }, body, media).await {
            Ok(url) => {
                self.files.fetcher.trust(&url);
                return Ok(Some(url.to_string()));
            }
            Err(NotUploaded::NoSlot { why: IqError::Detached, .. }) => return Err(later("not attached".to_owned())),
            // While the link is away nobody can say whether there is a service.
            Err(NotUploaded::NoService) if served.link().state().borrow().epoch().is_none() => {
                return Err(later("not attached".to_owned()));
            }
            Err(NotUploaded::NoService) => debug!(bridge = %served.instance.name, "no upload service"),
            Err(e) => warn!(bridge = %served.instance.name, error = %e, "a file was not uploaded"),
        }
        Ok(self.link_of(id, media).map(String::from))
    }

    /// The same for who waits for it.
    pub(super) async fn publish_soon(
        &self,
        served: &Arc<Served>,
        user: &BareJid,
        id: &BlobId,
    ) -> Result<Option<Url>, StoreError> {
        let media = self.files.shelf.media(id).await.map_err(|e| StoreError::Unavailable(e.to_string()))?;
        let Some(media) = media else { return Ok(None) };
        let slow = || self.files.slow_until.lock().unwrap_or_else(PoisonError::into_inner);
        if slow().is_some_and(|until| Instant::now() < until) {
            return Ok(self.link_of(id, &media));
        }
        let published = tokio::time::timeout(SOON, self.publish(served, user, id, &media)).await;
        if published.is_err() {
            warn!(bridge = %served.instance.name, "the upload service takes too long for a text; for some minutes texts are behind links of the gateway");
            *slow() = Instant::now().checked_add(SLOW);
        }
        let url = published.ok().and_then(Result::ok).flatten().and_then(|url| url.parse().ok());
        Ok(url.or_else(|| self.link_of(id, &media)))
    }

    fn link_of(&self, id: &BlobId, media: &Media) -> Option<Url> {
        let links = self.files.links.as_ref()?;
        Some(links.make(id, &name::harmless(media.name.as_deref(), &media.media_type), self.now()))
    }

    pub(super) async fn keep(&self, body: Bytes, media: Media) -> Result<BlobId, Refused> {
        let size = body.len() as u64;
        if size > self.files.limits.max_size {
            let text = Text::key("file.too-large").with("limit", self.files.limits.max_size);
            return Err(Refused::Never(DeliveryError::new(
                Failure::TooLong { limit: self.files.limits.max_size },
                text,
            )));
        }
        self.files.shelf.keep(body, media).await.map_err(|e| Refused::Later(e.to_string()))
    }

    /// The same for a file that no event names: it counts for this user.
    pub(super) async fn keep_for(
        &self,
        served: &Served,
        user: &BareJid,
        body: Bytes,
        media: Media,
    ) -> Result<BlobId, Refused> {
        let size = body.len();
        if let Err(error) = self.has_room(served, user, size).await {
            let text = error.text.unwrap_or_else(|| Text::key("error.storage"));
            return Err(Refused::Never(DeliveryError::new(Failure::OverQuota, text)));
        }
        let id = self.keep(body, media).await?;
        self.owns(served, user, &id, size as u64, false).await;
        Ok(id)
    }

    pub(super) async fn blob(&self, id: &BlobId) -> Result<Option<(Bytes, Media)>, StoreError> {
        self.files.shelf.read(id).await.map_err(|e| StoreError::Unavailable(e.to_string()))
    }

    pub(super) async fn fetch(&self, served: &Served, url: &Url, limit: Fetch) -> Result<BlobId, DeliveryError> {
        let (body, media) = self.files.fetcher.fetch(url, &limit).await?;
        let size = body.len();
        if let Err(error) = self.has_room(served, &limit.on_behalf_of, size).await {
            let text = error.text.unwrap_or_else(|| Text::key("error.storage"));
            return Err(DeliveryError::new(Failure::OverQuota, text));
        }
        let kept = self.files.shelf.keep(body, media).await;
        let id = kept.map_err(|_| DeliveryError::temporary(Failure::Unreachable, Text::key("error.storage")))?;
        self.owns(served, &limit.on_behalf_of, &id, size as u64, false).await;
        Ok(id)
    }

    pub(super) async fn public_link(&self, id: &BlobId) -> Result<Option<Url>, StoreError> {
        let media = self.files.shelf.media(id).await.map_err(|e| StoreError::Unavailable(e.to_string()))?;
        Ok(media.and_then(|media| self.link_of(id, &media)))
    }

    pub(super) async fn sweep_files(&self) {
        match self.files.shelf.sweep(self.now(), self.files.limits.keep_for).await {
            Ok(0) => {}
            Ok(removed) => info!(removed, "old files removed"),
            Err(e) => warn!(error = %e, "old files could not be removed; trying again later"),
        }
    }

    /// Whether the upload service gives slots: what `isthmus check` says of files.
    pub(super) async fn check_upload(&self, served: &Arc<Served>) -> Vec<FindingRow> {
        let name = Some(&*served.instance.name);
        let own = self.files.links.is_some();
        match self.files.uploader.probe(&Asker { core: self, served }).await {
            Ok(url) => vec![FindingRow::good(
                name,
                format!("the upload service gives slots at {}", url.host_str().unwrap_or("?")),
            )],
            Err(e) if own => vec![FindingRow::warning(
                name,
                format!("files are served by the gateway itself: {e}"),
                remedy(&served.instance.domain),
            )],
            Err(e) => vec![FindingRow::fault(
                name,
                format!("files cannot be passed on: {e}"),
                remedy(&served.instance.domain),
            )],
        }
    }
}

fn remedy(domain: &str) -> String {
    format!(
        "let {domain} upload (Prosody: http_file_share_access = {{ \"{domain}\" }}; ejabberd: mod_http_upload, access: a rule that allows the \
         server {domain}), name the service in [files] upload, or set http.public_url"
    )
}
