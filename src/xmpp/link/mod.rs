//! The link: XEP-0114 with its own reader and writer, one for each bridge domain.
//!
//! Why not tokio-xmpp's `Component`: it ends its stream on the first ill-typed stanza and on silence, and an attribute
//! over 8 KiB ends it too, so any remote user could detach the gateway (`docs/decisions/0001-own-link.md`).
//!
//! | file | what |
//! |---|---|
//! | [`scan`] | sans-I/O: finds top-level elements, at any split of reads |
//! | [`walk`], [`outline`] | one pass over an element: where does it end, is it well-formed? header, children's names |
//! | [`token`] | markup in a text, for what is read on demand; references |
//! | [`stanza`], [`tree`] | what the gateway sees of it; a minidom tree on demand |
//! | [`write`], [`escape`], [`render`] | stanzas into bytes, with guards |
//! | [`lanes`] | output in turn, so that no session delays the others |
//! | [`handle`], [`barrier`] | writing from anywhere; knowing what the server has taken |
//! | [`attach`], [`run`] | connecting, the stream's life, reconnecting |
//! | [`check`], [`answer`] | what is no stanza although it is XML; the few stanza errors that the link itself sends |
//!
//! The reader hands stanzas over from its own loop, without a task or a channel between; [`Receive`] must not block.

mod answer;
mod attach;
mod barrier;
mod check;
mod config;
mod error;
mod escape;
mod handle;
mod lanes;
mod outline;
mod permit;
pub mod raw;
mod render;
mod run;
mod scan;
mod stanza;
mod tls;
mod token;
mod tree;
mod walk;
mod write;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

pub use answer::Refusal;
pub use config::{Backoff, Endpoint, Keepalive, Limits, LinkConfig, Tls};
pub use error::{BatchLost, Guard, LinkEnd, LinkError, LinkState, NotSent};
pub use handle::LinkHandle;
pub use lanes::Lane;
pub use permit::Permit;
pub use render::{Fragment, Rendered};
pub use scan::BadStanza;
pub use stanza::{Child, JABBER_CLIENT, Kind, NotParsed, Stanza};
pub use tls::tls_config;
pub use write::StanzaWriter;

/// Who gets what comes from the server. Called from the link's read loop: nothing here may block or take long.
pub trait Receive: Send + Sync + 'static {
    /// A stanza that is well-formed, has `from` and `to`, and (presence, iq) a type that exists. It may still hold
    /// addresses that are no JIDs; [`LinkHandle::refuse`] answers those. Keep the permit until the stanza is committed.
    fn on_stanza(&self, stanza: Stanza, permit: Permit);

    /// A stanza that the link refused, and has answered where RFC 6120 section 8.3 allows it: for logs and counters.
    fn on_malformed(&self, stanza: BadStanza);

    /// The link's state changed. The same states come out of [`LinkHandle::state`].
    fn on_state(&self, state: &LinkState);
}

/// Makes a link. The future is its life: the gateway owns it as a task. It ends when `stop` is cancelled, or when the
/// first attempt shows that the configuration is wrong.
pub fn start(
    config: LinkConfig,
    receive: Arc<dyn Receive>,
    stop: CancellationToken,
) -> (LinkHandle, impl Future<Output = LinkEnd> + Send + 'static) {
    let handle = LinkHandle::new(&config);
    let life = run::run(config, handle.clone(), receive, stop);
    (handle, life)
}
