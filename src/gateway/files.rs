//! Files.

use std::sync::Arc;

use bytes::Bytes;
use isthmus_bridge::{BareJid, BlobId, DeliveryError, Failure, Fetch, Media, Refused, StoreError};
use url::Url;

use super::core::{Core, Served};
use crate::admin::control::FindingRow;
use crate::admin::outside::GatewayEnd;
use crate::config::Config;
use crate::inbox::Later;
use crate::storage::Store;

pub(super) struct FileDesk;

impl FileDesk {
    pub(super) fn new(_config: &Config, _store: &Store) -> Result<Self, GatewayEnd> {
        Ok(Self)
    }
}

impl Core {
    pub(super) async fn publish(
        &self,
        _s: &Arc<Served>,
        _u: &BareJid,
        _id: &BlobId,
        _m: &Media,
    ) -> Result<Option<String>, Later> {
        Ok(None)
    }
    pub(super) async fn keep(&self, _body: Bytes, _media: Media) -> Result<BlobId, Refused> {
        Ok(BlobId::from("x"))
    }
    pub(super) async fn blob(&self, _id: &BlobId) -> Result<Option<(Bytes, Media)>, StoreError> {
        Ok(None)
    }
    pub(super) async fn fetch(&self, _url: &Url, _limit: Fetch) -> Result<BlobId, DeliveryError> {
        Err(DeliveryError::new(Failure::Unsupported, "no"))
    }
    pub(super) async fn public_link(&self, _id: &BlobId) -> Result<Option<Url>, StoreError> {
        Ok(None)
    }
    pub(super) async fn sweep_files(&self) {}
    pub(super) async fn check_upload(&self, _served: &Arc<Served>) -> Vec<FindingRow> {
        Vec::new()
    }
    pub(super) async fn serve_http(self: &Arc<Self>, _config: &Config) -> Result<(), GatewayEnd> {
        Ok(())
    }
}
