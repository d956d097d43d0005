//! What the core does for a bridge.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use url::Url;

use crate::address::{Address, BareJid, ContactId, NetworkId, RoomId};
use crate::bridge::Abilities;
use crate::error::{DeliveryError, Full, Refused, StoreError, Taken};
use crate::inbound::Inbound;
use crate::message::{BlobId, DeliveryKey, ForeignMessageId, Media, OnceKey};
use crate::room::RoomView;
use crate::settings::Resolved;
use crate::text::Text;

/// One user's presence on one network.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SessionOf {
    /// Whose.
    pub user: BareJid,
    /// Where.
    pub network: NetworkId,
}

impl SessionOf {
    /// This user's session on this network.
    pub fn new(user: BareJid, network: NetworkId) -> Self {
        Self { user, network }
    }
}

/// A message by one of its names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum MessageRef {
    /// An outbound one, by the core's name.
    Key(DeliveryKey),
    /// By the network's id: one that was inbound, or one that a [`Leg`](crate::Leg) named.
    Foreign {
        /// On which network.
        network: NetworkId,
        /// Its id there.
        id: ForeignMessageId,
    },
}

impl MessageRef {
    /// By the network's id.
    pub fn foreign(network: NetworkId, id: ForeignMessageId) -> Self {
        Self::Foreign { network, id }
    }
}

/// What the message map knows of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Known {
    /// Whose.
    pub user: BareJid,
    /// With whom.
    pub address: Address,
    /// Conversation.
    pub thread: Option<String>,
    /// The event's key, if it was outbound.
    pub key: Option<DeliveryKey>,
    /// The network's ids of it.
    pub ids: Vec<ForeignMessageId>,
}

impl Known {
    /// What is known of a message of this user with that address.
    pub fn new(user: BareJid, address: Address) -> Self {
        Self { user, address, thread: None, key: None, ids: Vec::new() }
    }
}

/// What became of an outbound event after it was handed over. States only rise: a later, lower one is dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Late {
    /// Still on its way, and slow; one note to the sender.
    Delayed(Text),
    /// It did not arrive.
    Failed(DeliveryError),
    /// It arrived (a receipt, XEP-0184).
    Delivered,
    /// It was read (XEP-0333).
    Displayed,
}

/// The state of a session's connection, shown as presence of the network and to administrators.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum LinkState {
    /// Being made.
    Connecting,
    /// In order.
    Up,
    /// Broken.
    Down {
        /// Why.
        reason: Text,
        /// When it is tried again; `None`: not by itself.
        retry_at: Option<SystemTime>,
    },
    /// The user has to do something first.
    NeedsLogin {
        /// What.
        reason: Text,
    },
}

/// Bounds for following a link.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Fetch {
    /// Bytes, at most.
    pub max_bytes: u64,
    /// Time, at most.
    pub timeout: Duration,
    /// Who gave the link: a user's link must be of their own domain, a known upload host, or configured.
    pub on_behalf_of: BareJid,
}

impl Fetch {
    /// At most this many bytes in this time, for a link that this user sent.
    pub fn new(on_behalf_of: BareJid, max_bytes: u64, timeout: Duration) -> Self {
        Self { max_bytes, timeout, on_behalf_of }
    }
}

/// A change of a bridge's small durable state.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Change {
    /// A part of the state (`thread`, `held-mail`): keys are unique in it.
    pub space: String,
    /// Under which key.
    pub key: String,
    /// The user it belongs to: goes when their data are deleted.
    pub user: Option<BareJid>,
    /// What; `None` removes it.
    pub value: Option<Vec<u8>>,
    /// When it goes by itself.
    pub expires: Option<SystemTime>,
}

impl Change {
    /// Puts a value.
    pub fn put(space: impl Into<String>, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self { space: space.into(), key: key.into(), user: None, value: Some(value.into()), expires: None }
    }

    /// Removes a value.
    pub fn remove(space: impl Into<String>, key: impl Into<String>) -> Self {
        Self { space: space.into(), key: key.into(), user: None, value: None, expires: None }
    }

    /// Belongs to this user.
    #[must_use]
    pub fn of(mut self, user: BareJid) -> Self {
        self.user = Some(user);
        self
    }

    /// Goes by itself after this time.
    #[must_use]
    pub fn until(mut self, at: SystemTime) -> Self {
        self.expires = Some(at);
        self
    }
}

/// What the core does for one bridge. A bridge holds it as [`Host`].
#[async_trait]
pub trait Gateway: Send + Sync {
    /// The bridge's name in the configuration.
    fn name(&self) -> &str;

    /// The domain of the bridge's JIDs.
    fn domain(&self) -> &str;

    /// Where the gateway's HTTP listener is reachable from outside, if it is.
    fn public_url(&self) -> Option<&Url>;

    /// Live bridges: hands an event on, at once. Never waits; on [`Full`] the session stops reading its network until [`ready`](Self::ready).
    fn emit(&self, event: Inbound) -> Result<(), Full>;

    /// [`emit`](Self::emit) for who wants to keep the event in case there is no room.
    fn offer(&self, event: &Inbound) -> Result<(), Full> {
        self.emit(event.clone())
    }

    /// Returns when [`emit`](Self::emit) has room again.
    async fn ready(&self);

    /// Held bridges: commits events, one result each, in order. Only after `Ok` may the bridge say `250` or `200` upstream.
    /// A second copy (same [`OnceKey`](crate::OnceKey)) is `Ok` and not delivered again.
    async fn accept(&self, batch: Vec<Inbound>) -> Vec<Result<(), Refused>>;

    /// Held bridges: whether [`accept`](Self::accept) would want an event of this name with so many bytes of files; asked before they are
    /// [kept](Self::keep), so that no files are kept of what is refused. `false`: it is known already. Nothing is promised.
    async fn expects(&self, user: &BareJid, once: &OnceKey, bytes: u64) -> Result<bool, Refused> {
        let _ = (user, once, bytes);
        Ok(true)
    }

    /// Tells what became of an event after it was handed over; `leg` names the recipient where there were several. Committed when it returns.
    /// An outcome for a message that is not known yet waits 24 h for it.
    async fn outcome(&self, of: MessageRef, leg: Option<ContactId>, what: Late) -> Result<(), Refused>;

    /// What the message map knows. In a room several users know one message under one id: then the entry of who sent it comes first.
    async fn find(&self, of: &MessageRef) -> Result<Option<Known>, StoreError>;

    /// The last message exchanged between a user and an address, in either direction (of that thread, where one is given).
    async fn latest(&self, user: &BareJid, at: &Address, thread: Option<&str>) -> Result<Option<Known>, StoreError>;

    /// Which users an event for an own identity goes to: its sole owner, else who last wrote to `peer` as `own`
    /// ([`Outbound::own`](crate::Outbound::own)), else its configured owners. Empty: nobody.
    async fn route(&self, own: &ContactId, peer: &ContactId) -> Result<Vec<BareJid>, StoreError>;

    /// Gives an own identity to a user, for ever: it is never given to another one, not even after [`release`](Self::release).
    async fn claim(&self, user: &BareJid, own: &ContactId) -> Result<(), Taken>;

    /// The user gives it up. They alone may claim it again.
    async fn release(&self, user: &BareJid, own: &ContactId) -> Result<(), StoreError>;

    /// Who has an own identity now.
    async fn owner(&self, own: &ContactId) -> Result<Option<BareJid>, StoreError>;

    /// A user's own identities, the first claimed first.
    async fn identities(&self, user: &BareJid) -> Result<Vec<ContactId>, StoreError>;

    /// The state of a session's connection.
    async fn report(&self, of: &SessionOf, link: LinkState);

    /// What the connection of a session can carry, where that is less than the profile says; said when it is up, and when it changes. Until then,
    /// and after the session has ended, the profile counts. The core degrades by it what users send.
    fn able(&self, _of: &SessionOf, _now: Abilities) {}

    /// A room as this session sees it: the session writes, the core reads. Never hold the lock over an `.await`, nor while calling
    /// [`emit`](Self::emit): the core takes it there.
    fn room(&self, of: &SessionOf, room: &RoomId) -> Arc<Mutex<RoomView>>;

    /// The user's clients that are inside a room, as full JIDs; for a person to read.
    fn clients(&self, _of: &SessionOf, _room: &RoomId) -> Vec<String> {
        Vec::new()
    }

    /// Settings in force at an address. From memory.
    fn resolved(&self, user: &BareJid, at: &Address) -> Arc<Resolved>;

    /// Changes a user's settings at an address, as if by a form; `None` goes back to the default.
    async fn set(&self, user: &BareJid, at: &Address, changes: Vec<(String, Option<String>)>)
    -> Result<(), StoreError>;

    /// Whether the user is registered with this bridge. From memory.
    fn registered(&self, user: &BareJid) -> bool;

    /// Registers a user who did not ask for it, because the administrator gave them an own identity. Does nothing for who is registered.
    async fn enrol(&self, user: &BareJid) -> Result<(), StoreError>;

    /// Whether the access rules let the user receive from this bridge. From memory.
    fn may_receive(&self, user: &BareJid) -> bool;

    /// Whether the access rules let the user send by this bridge: whoever may only receive runs commands, too. From memory.
    fn may_send(&self, user: &BareJid) -> bool {
        self.may_receive(user)
    }

    /// Whether the user has blocked this address. From memory.
    fn blocked(&self, user: &BareJid, who: &Address) -> bool;

    /// Blocks or unblocks.
    async fn block(&self, user: &BareJid, who: &Address, on: bool) -> Result<(), StoreError>;

    /// The contacts a user has (subscribed, added or written to), with their names.
    async fn contacts(&self, user: &BareJid) -> Result<Vec<(ContactId, Option<String>)>, StoreError>;

    /// The administrators.
    fn admins(&self) -> Vec<BareJid>;

    /// Whether the user wants this session kept up.
    fn persistent(&self, of: &SessionOf) -> bool;

    /// Keeps a file; it is on disk when this returns, so that [`accept`](Self::accept) may name it.
    async fn keep(&self, body: Bytes, media: Media) -> Result<BlobId, Refused>;

    /// The same for a file that no event will name, such as a text behind a link: it counts for this user's storage, and is refused where that is
    /// full.
    async fn keep_for(&self, user: &BareJid, body: Bytes, media: Media) -> Result<BlobId, Refused> {
        let _ = user;
        self.keep(body, media).await
    }

    /// Reads a kept file.
    async fn blob(&self, id: &BlobId) -> Result<Option<(Bytes, Media)>, StoreError>;

    /// Follows a link that a user gave, within the guards of the core (host, address, size, time), and keeps what it finds.
    async fn fetch(&self, url: &Url, limit: Fetch) -> Result<BlobId, DeliveryError>;

    /// An unguessable, expiring address under which the core itself serves a kept file; `None` where it has no public URL.
    async fn link(&self, id: &BlobId) -> Result<Option<Url>, StoreError>;

    /// An address under which anybody reads a kept file of this user's: at the upload service of the XMPP server where it takes the file within some
    /// seconds, else as [`link`](Self::link) gives it.
    async fn publish(&self, user: &BareJid, id: &BlobId) -> Result<Option<Url>, StoreError> {
        let _ = user;
        self.link(id).await
    }

    /// Encrypts a secret for the bridge's own durable state (AEAD, bound to this bridge). So that it outlives the administrator's next key, it is
    /// [stored](Self::store) either as the whole value, or within a text as lower-case hexadecimal digits: there the core finds it and seals it again.
    fn seal(&self, plain: &[u8]) -> Result<Vec<u8>, StoreError>;

    /// Decrypts it.
    fn unseal(&self, sealed: &[u8]) -> Result<Vec<u8>, StoreError>;

    /// A keyed hash (HMAC-SHA-256) of the gateway's own, the same for ever: for addresses and ids that nobody else can make.
    fn mac(&self, purpose: &str, data: &[u8]) -> [u8; 32];

    /// Reads the bridge's small durable state.
    async fn load(&self, space: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Everything in a space, of one user or of all, in order of keys.
    async fn list(&self, space: &str, user: Option<&BareJid>) -> Result<Vec<(String, Vec<u8>)>, StoreError>;

    /// Changes it, all or nothing; committed when it returns.
    async fn store(&self, changes: Vec<Change>) -> Result<(), StoreError>;

    /// The gateway's clock (virtual in tests).
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// The core, as one bridge sees it.
pub type Host = Arc<dyn Gateway>;
