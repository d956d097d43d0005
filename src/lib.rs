//! Isthmus: an XEP-0114 component that carries messages between XMPP and other networks.
//!
//! ```text
//! XMPP server ─XEP-0114─ link ─ router ─ access ─ translate::outbound ─┬─ live: session inbox (bounded)
//!                          ▲                                           └─ held: outbox (committed) ─ lane worker ─ session
//!                          │                                                                  │ Ticket → legs' outcomes
//!                          ├── emit ◄────────────────────────── live session (never waits) ◄───┤
//!                          └── inbox (committed, barrier) ◄───── Host::accept(batch) ◄──────── held bridge
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`gateway`] | wires the parts, owns every task, orderly stop |
//! | [`xmpp`] | the only code that sees stanzas; [`xmpp::link`] is the connection to the server |
//! | [`translate`] | pure: stanza → `Intent`, `Event` → stanzas |
//! | [`rooms`] | the MUC service, its pure part: stanzas of rooms, which resources are inside |
//! | [`archive`] | what was said in rooms (XEP-0313) |
//! | [`router`] | domain and local part → bridge and address |
//! | [`registry`] | bridges built from configuration; supervisor of sessions |
//! | [`outbox`], [`inbox`] | durable queues |
//! | [`storage`] | one `Store` over SQLite or PostgreSQL; one writer that merges waiting work into one commit |
//! | [`settings`], [`access`] | what is in force for a user, and what a user may do |
//! | [`texts`] | words for people, by language |
//! | [`files`], [`http`] | keep, upload, fetch files; health, figures, webhooks, kept files over HTTP |
//! | [`config`] | files and environment; the only place that reads them |
//! | [`admin`] | control socket and the commands of the command line |

pub mod access;
pub mod admin;
pub mod archive;
pub mod config;
pub mod files;
pub mod gateway;
pub mod hash;
pub mod http;
pub mod inbox;
pub mod outbox;
pub mod registry;
pub mod rooms;
pub mod router;
pub mod settings;
pub mod storage;
pub mod texts;
pub mod translate;
pub mod xmpp;

/// The program's version, as `isthmus version` and XEP-0092 give it.
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}
