//! The only code that sees stanzas; one XEP family a file.

pub mod chat;
pub mod commands;
pub mod disco;
pub mod errors;
pub mod escape;
pub mod forms;
pub mod link;
pub mod ns;
pub mod pep;
pub mod privilege;
pub mod register;
pub mod reply;
pub mod xml;

/// The resource of the gateway's own JID in rooms of an XMPP server.
pub const GUEST: &str = "guest";
