//! Pictures, vCards and nicks of the gateway and its contacts, and the events that tell of them.

use std::sync::Arc;

use isthmus_bridge::{Address, BareJid, BlobId, StoreError};
use sha1::{Digest, Sha1};
use tracing::{debug, warn};

use super::core::{Core, Served};
use super::iq::{Answer, with};
use super::receive::Heard;
use crate::storage::fresh_id;
use crate::storage::people::{Picture, Subscription};
use crate::xmpp::errors::StanzaError;
use crate::xmpp::link::Child;
use crate::xmpp::ns;
use crate::xmpp::pep::{self, Face};

/// The largest picture kept, in bytes: in base64 it has to fit into a stanza.
const LARGEST: usize = 128 * 1024;
/// What a client says that wants to hear of pictures (XEP-0163 section 4).
const WANTED: &str = "urn:xmpp:avatar:metadata+notify";

/// A picture with its hash.
pub(super) fn picture(media_type: &str, body: Vec<u8>) -> Picture {
    Picture { hash: hex::encode(Sha1::digest(&body)), media_type: media_type.to_owned(), body }
}

impl Core {
    /// A contact shows another picture, or none.
    pub(super) fn pictured(self: &Arc<Self>, served: &Arc<Served>, user: BareJid, at: Address, blob: Option<BlobId>) {
        let (core, served) = (self.clone(), served.clone());
        self.tasks.spawn(async move {
            if let Err(e) = core.take_picture(&served, &user, &at, blob).await {
                warn!(bridge = %served.instance.name, error = %e, "a contact's picture could not be kept");
            }
        });
    }

    async fn take_picture(
        &self,
        served: &Arc<Served>,
        user: &BareJid,
        at: &Address,
        blob: Option<BlobId>,
    ) -> Result<(), StoreError> {
        let found = match &blob {
            Some(blob) => self.blob(blob).await?,
            None => None,
        };
        let taken = found.filter(|(body, media)| {
            let fits = body.len() <= LARGEST && media.media_type.starts_with("image/");
            if !fits {
                debug!(bridge = %served.instance.name, size = body.len(), "a picture that is too large or none is not shown");
            }
            fits
        });
        let picture = taken.map(|(body, media)| picture(&media.media_type, body.to_vec()));
        if !served.persons().set_photo(user, at, picture.clone()).await? {
            return Ok(());
        }
        if served.persons().contact(user, at).is_some_and(|c| c.sees == Subscription::Yes) {
            self.show(served, at, user.as_str());
            for device in self.online.of(user) {
                self.tell_picture(served, at, &device, picture.as_ref()).await;
            }
        }
        Ok(())
    }

    /// XEP-0084: a device that has come online, and wants to hear of pictures, hears of this one.
    pub(super) fn greet(self: &Arc<Self>, served: &Arc<Served>, heard: &Heard) {
        let (user, at) = (heard.from.bare(), heard.at.clone());
        let hash = match &at {
            Address::Gateway => served.face.as_ref().map(|p| p.hash.clone()),
            _ => served.persons().contact(&user, &at).filter(|c| c.sees == Subscription::Yes).and_then(|c| c.photo),
        };
        let Some(hash) = hash else { return };
        let (Some(jid), full) = (served.jid(&at), heard.from.full().to_owned()) else { return };
        if !self.online.first_of(&full, &format!("{jid} {hash}")) {
            return;
        }
        let (core, served) = (self.clone(), served.clone());
        self.tasks.spawn(async move {
            let picture = core.picture_of(&served, &user, &at).await;
            if let Some(picture) = picture {
                core.tell_picture(&served, &at, &full, Some(&picture)).await;
            }
        });
    }

    async fn tell_picture(&self, served: &Served, at: &Address, device: &str, picture: Option<&Picture>) {
        let Some(from) = served.jid(at) else { return };
        if self.features(served, device).await.contains(WANTED) {
            self.send_behind(served, &pep::event(&from, device, &fresh_id(), picture));
        }
    }

    async fn picture_of(&self, served: &Served, user: &BareJid, at: &Address) -> Option<Picture> {
        if *at == Address::Gateway {
            return served.face.clone();
        }
        let hash = served.persons().contact(user, at)?.photo?;
        let found = served.persons().picture(&hash).await;
        found.inspect_err(|e| warn!(error = %e, "a picture could not be read")).ok().flatten()
    }

    /// All that an address shows of itself to who asks.
    async fn face(&self, served: &Served, heard: &Heard) -> Face {
        Face {
            name: self.name_of(served, heard),
            address: served.spoken(&heard.at),
            about: served.profile().title.clone(),
            picture: self.picture_of(served, &heard.from.bare(), &heard.at).await,
        }
    }

    /// XEP-0054.
    pub(super) async fn vcard(&self, served: &Served, heard: &Heard) -> Answer {
        let face = self.face(served, heard).await;
        with(move |xml| pep::vcard(xml, &face))
    }

    /// XEP-0292.
    pub(super) async fn vcard4(&self, served: &Served, heard: &Heard) -> Answer {
        let face = self.face(served, heard).await;
        with(move |xml| pep::vcard4(xml, &face))
    }

    /// XEP-0060 on a contact or the gateway: items are read, and nothing else.
    pub(super) async fn pubsub(&self, served: &Served, heard: &Heard, payload: &Child<'_>) -> Answer {
        if !matches!(heard.at, Address::Gateway | Address::Contact(_)) {
            return Err(StanzaError::service_unavailable());
        }
        let element = payload.element().map_err(|_| StanzaError::bad_request())?;
        let Some(items) = element.get_child("items", ns::PUBSUB) else {
            return Err(StanzaError::new(crate::xmpp::errors::ErrorType::Cancel, "feature-not-implemented"));
        };
        let node = items
            .attr("node")
            .ok_or_else(|| StanzaError::bad_request().specific("nodeid-required", ns::PUBSUB_ERRORS))?;
        let wanted = items.children().find(|c| c.name() == "item").and_then(|item| item.attr("id"));
        let face = self.face(served, heard).await;
        let mut trial = crate::xmpp::xml::Xml::stanza("iq");
        if !pep::items(&mut trial, &face, node, wanted) {
            return Err(StanzaError::item_not_found());
        }
        let (node, wanted) = (node.to_owned(), wanted.map(str::to_owned));
        with(move |xml| {
            pep::items(xml, &face, &node, wanted.as_deref());
        })
    }

    /// disco#items of an address: the nodes of its pubsub service that have an item.
    pub(super) async fn nodes(&self, served: &Served, heard: &Heard) -> Vec<(String, &'static str)> {
        let Some(jid) = served.jid(&heard.at).filter(|_| matches!(heard.at, Address::Contact(_))) else {
            return Vec::new();
        };
        let face = self.face(served, heard).await;
        pep::nodes(&face).into_iter().map(|node| (jid.clone(), node)).collect()
    }

    /// The hash in the presence of an address (XEP-0153).
    pub(super) fn photo_of(&self, served: &Served, user: Option<&BareJid>, at: &Address) -> Option<String> {
        match at {
            Address::Gateway => served.face.as_ref().map(|p| p.hash.clone()),
            _ => served.persons().contact(user?, at)?.photo,
        }
    }
}
