//! The contract between the Isthmus core and its bridges.
//!
//! A **bridge** serves one kind of network (mail, chat, texts). It never sees a stanza, a database or another bridge; all that it and the core
//! may say to each other stands in this crate:
//!
//! | module | what |
//! |---|---|
//! | [`bridge`] | [`Kind`], [`Bridge`], [`Profile`]: what a bridge is and declares |
//! | [`host`] | [`Gateway`], handed out as [`Host`]: what the core does for a bridge |
//! | [`address`] | JIDs, networks, contacts, rooms, and [`Addressing`], the law between them and local parts |
//! | [`outbound`] | XMPP → network: [`Outbound`], [`Intent`], [`Delivery`] |
//! | [`ticket`] | the answer that every delivery must get: [`Ticket`], [`Leg`] |
//! | [`inbound`] | network → XMPP: [`Inbound`], [`Event`] |
//! | [`message`] | what both directions carry: [`Message`], [`File`] |
//! | [`error`] | [`DeliveryError`], [`Failure`] and the errors of the host |
//! | [`query`] | [`Query`], [`Reply`]: questions of the core to a session |
//! | [`inbox`] | the bounded queue a session reads its [`Work`] from |
//! | [`settings`] | declared settings and their resolved values |
//! | [`command`] | commands and forms, declared once, shown three ways by the core |
//! | [`room`] | [`People`](room::People) and [`RoomView`](room::RoomView) |
//! | [`import`] | taking over what another program has kept |
//! | [`section`] | a bridge's part of the configuration, read with named errors |
//! | [`text`] | words for people, in their language |
//! | `suite` (feature) | a host in memory, the contract as tests, and a network that exercises every capability |
//!
//! # A bridge
//!
//! The smallest one: every local part is a contact, and whatever it is told it swallows. `bridges/echo` is the smallest that answers.
//!
//! ```
//! use std::sync::Arc;
//! use isthmus_bridge::*;
//!
//! struct Void(Profile);
//!
//! impl Addressing for Void {
//!     fn parse(&self, local: Option<&str>, _resource: Option<&str>) -> Result<Address, BadAddress> {
//!         match local {
//!             Some("") => Err(BadAddress::Malformed("a name is expected".to_owned())),
//!             local => Ok(local.map_or(Address::Gateway, |name| Address::Contact(name.into()))),
//!         }
//!     }
//!     fn format(&self, address: &Address) -> Parts {
//!         let Address::Contact(name) = address else { return Parts::gateway() };
//!         Parts::local(name.as_str())
//!     }
//!     fn network(&self, _address: &Address) -> NetworkId {
//!         "void".into()
//!     }
//! }
//!
//! #[async_trait::async_trait]
//! impl Bridge for Void {
//!     fn profile(&self) -> &Profile {
//!         &self.0
//!     }
//!     fn addressing(&self) -> &dyn Addressing {
//!         self
//!     }
//!     async fn session(&self, _of: SessionOf, mut inbox: Inbox, _host: Host) -> Result<(), BridgeError> {
//!         while let Some(work) = inbox.recv().await {
//!             if let Work::Deliver(delivery) = work {
//!                 let Ok(()) = delivery.ticket.starting().await else { continue };
//!                 delivery.ticket.sent(None);
//!             }
//!         }
//!         Ok(())
//!     }
//! }
//!
//! struct VoidKind;
//!
//! impl Kind for VoidKind {
//!     fn name(&self) -> &str {
//!         "void"
//!     }
//!     fn build(&self, config: Section<'_>) -> Result<Arc<dyn Bridge>, Vec<ConfigError>> {
//!         let faults = config.table.finish();
//!         if faults.is_empty() { Ok(Arc::new(Void(Profile::live("void", "The void")))) } else { Err(faults) }
//!     }
//! }
//!
//! # #[cfg(feature = "suite")]
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(async {
//! use isthmus_bridge::suite::{FakeHost, Session, build};
//!
//! let bridge = build(&VoidKind, serde_json::json!({})).expect("no keys, no faults");
//! let host = FakeHost::of(&bridge);
//! let session = Session::start(&bridge, &host, "romeo@example.org", &Address::Gateway);
//! session.say(Address::Contact("anybody".into()), "hello?").await.expect("swallowed");
//! session.stop().await.expect("stops");
//! # });
//! ```
//!
//! All data types are owned, `#[non_exhaustive]` and (feature `serde`) serialisable: the same contract will be spoken with bridges in other processes.
//! What a bridge declares once ([`Profile`], [`Setting`], [`Command`]) is borrowed from the program and stays in it.

pub mod address;
pub mod bridge;
pub mod command;
pub mod error;
pub mod host;
pub mod import;
pub mod inbound;
pub mod inbox;
pub mod message;
pub mod outbound;
pub mod query;
pub mod room;
pub mod section;
pub mod settings;
#[cfg(feature = "suite")]
pub mod suite;
pub mod text;
pub mod ticket;

pub use address::{Address, Addressing, BadAddress, BareJid, ContactId, NetworkId, Parts, RoomId};
pub use bridge::{Abilities, Bridge, Contacts, Finding, Kind, Mode, Profile, Registration, Severity, Verb};
pub use command::{Action, Audience, Call, Command, Field, FieldKind, Form, Note, Place, Step, Table};
pub use error::{BridgeError, DeliveryError, Failure, Full, Refused, Retry, Sent, StoreError, Taken};
pub use host::{Change, Fetch, Gateway, Host, Known, Late, LinkState, MessageRef, SessionOf};
pub use import::{Converted, Import, ImportReader, Imported, SourceTable};
pub use inbound::{Event, Inbound, Listed, Origin, RoomChange};
pub use inbox::{Ask, Inbox, InboxSender, Work};
pub use message::{
    BlobId, DeliveryKey, File, FileSource, ForeignMessageId, Looks, Media, Message, MessageKind, OnceKey, Span, Style,
};
pub use outbound::{Delivery, Intent, Outbound, Recipient, RecipientKind};
pub use query::{Query, Reply};
pub use section::{ConfigError, Section};
pub use settings::{Resolved, Rule, Scope, Setting, SettingKind, Values};
pub use text::{Lang, Text};
pub use ticket::{Leg, Outcome, Ticket, TicketSink};
