//! Why a link is not attached, why something was not written, and how a link ends.

use std::fmt;
use std::io;
use std::time::SystemTime;

/// Why a stream could not be opened, or ended. Cheap to clone: it travels in [`LinkState`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The server refused our secret (XEP-0114 section 3, `not-authorized`). ejabberd with a list of `hosts` says the
    /// same when the domain is not among them (seen on 23.01).
    #[error(
        "{server} refuses the secret of {domain}, or does not know the host: the secret must be the same as the server's \
         (Prosody: component_secret below Component \"{domain}\"; ejabberd, which says the same of a host that is not \
         listed: listen, ejabberd_service, hosts, {domain}, password)"
    )]
    NotAuthorized {
        /// The domain that we tried to attach as.
        domain: String,
        /// Host and port, or the socket's path.
        server: String,
    },
    /// The server has no component of this name (RFC 6120 section 4.9.3.6).
    #[error(
        "{server} does not know the host {domain}: it needs a component of that name \
         (Prosody: Component \"{domain}\"; ejabberd: listen, ejabberd_service, hosts, {domain})"
    )]
    HostUnknown {
        /// The domain that we tried to attach as.
        domain: String,
        /// Host and port, or the socket's path.
        server: String,
    },
    /// Somebody else holds the domain, or took it from us (RFC 6120 section 4.9.3.3).
    #[error("another component is attached as {domain}")]
    Conflict {
        /// The domain in question.
        domain: String,
    },
    /// No connection: refused, no route, no such host, no such socket.
    #[error("{server} cannot be reached: {reason}")]
    Unreachable {
        /// Host and port, or the socket's path.
        server: String,
        /// The system's words.
        reason: String,
    },
    /// The TLS handshake failed.
    #[error("no TLS with {server}: {reason}")]
    Tls {
        /// Host and port.
        server: String,
        /// What rustls said.
        reason: String,
    },
    /// The server took the connection and then said nothing for too long while we were attaching.
    #[error("the server did not answer in time while {doing}")]
    TimedOut {
        /// What we were waiting for.
        doing: &'static str,
    },
    /// The server ended the stream with another stream error.
    #[error("the server ended the stream: {condition}{}", said(.text))]
    Stream {
        /// The condition's element name (RFC 6120 section 4.9.3).
        condition: String,
        /// The server's own words.
        text: Option<String>,
    },
    /// The server closed the stream or the connection without an error.
    #[error("the server closed the stream")]
    Closed,
    /// The connection broke.
    #[error("the connection broke: {reason}")]
    Broken {
        /// The system's words.
        reason: String,
    },
    /// The server sent what XMPP forbids; we ended the stream.
    #[error("the server sent what XMPP forbids: {what}")]
    Forbidden {
        /// The construct.
        what: &'static str,
    },
    /// The server was silent although we sent keepalive pings.
    #[error("the server has been silent for {seconds} s in spite of pings")]
    Silent {
        /// Whole seconds since the last byte.
        seconds: u64,
    },
    /// The gateway stops.
    #[error("the gateway stops")]
    Stopped,
}

impl LinkError {
    /// Whether trying again cannot help before somebody changes a configuration. Such an error at the first attempt
    /// ends the link; after it has been attached once it is retried like any other (a server that is reconfigured
    /// refuses for a moment).
    #[must_use]
    pub fn needs_operator(&self) -> bool {
        matches!(self, Self::NotAuthorized { .. } | Self::HostUnknown { .. })
    }

    pub(super) fn broken(error: &io::Error) -> Self {
        Self::Broken { reason: error.to_string() }
    }
}

fn said(text: &Option<String>) -> String {
    text.as_ref().map(|text| format!(" ({})", text.escape_debug())).unwrap_or_default()
}

/// How the link stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    /// Connecting or shaking hands.
    Connecting,
    /// Attached. Each stream has a higher epoch than those before it.
    Attached {
        /// Number of the stream, from 1.
        epoch: u64,
    },
    /// Not attached.
    Down {
        /// Why.
        reason: LinkError,
        /// When the next attempt starts; absent when there will be none.
        retry_at: Option<SystemTime>,
    },
}

impl LinkState {
    /// The stream's number while attached.
    #[must_use]
    pub fn epoch(&self) -> Option<u64> {
        match self {
            Self::Attached { epoch } => Some(*epoch),
            _ => None,
        }
    }
}

/// How the link's task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum LinkEnd {
    /// It was told to stop, and closed its stream in order.
    Stopped,
    /// The first attempt failed in a way that only the operator can mend: the gateway exits non-zero.
    Fatal(LinkError),
}

/// Why a stanza was not written. Nothing of it reached the buffer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotSent {
    /// There is no stream.
    #[error("the link is not attached")]
    Detached,
    /// This lane's share of the output buffer is full; [`LinkHandle::room`](super::LinkHandle::room) tells when it is not.
    #[error("the lane's output buffer is full")]
    Full,
    /// The stanza would make the server close the stream, or is no XML.
    #[error("refused to write: {0}")]
    Guard(#[from] Guard),
}

/// What is wrong with a stanza that we were about to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Guard {
    /// No `to`: the server would close the stream (seen on Prosody).
    #[error("the stanza has no to")]
    NoTo,
    /// No `from`.
    #[error("the stanza has no from")]
    NoFrom,
    /// `from` is not in the link's own domain: the server would close the stream (XEP-0114 section 3).
    #[error("from is outside {domain}")]
    ForeignFrom {
        /// The link's domain.
        domain: String,
    },
    /// An address holds a character that no JID may hold (control characters, U+FFFD, noncharacters, spaces).
    #[error("{attribute} is not an address")]
    BadAddress {
        /// `from` or `to`.
        attribute: &'static str,
    },
    /// Larger than the server takes.
    #[error("the stanza has {size} bytes, more than {limit}")]
    TooLarge {
        /// Bytes of the stanza as written.
        size: usize,
        /// The limit in force.
        limit: usize,
    },
    /// Not a message, presence or iq, or not well-formed.
    #[error("not a stanza: {0}")]
    NotAStanza(&'static str),
}

/// A batch whose arrival at the server is not known: the stream ended before its barrier came back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchLost {
    /// The stream of that epoch ended, for this reason. Send again on a new stream.
    #[error("stream {epoch} ended before the server had confirmed the batch: {reason}")]
    StreamEnded {
        /// The stream's number.
        epoch: u64,
        /// Why it ended.
        reason: LinkError,
    },
    /// Nothing was written: a stanza may not be sent. Its place in the batch, and why.
    #[error("stanza {index} of the batch cannot be sent: {why}")]
    Refused {
        /// Index into the batch.
        index: usize,
        /// What is wrong with it.
        why: Guard,
    },
}

/// Which construct ended our trust in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StreamFault {
    /// The condition that we send (RFC 6120 section 4.9.3).
    pub(super) condition: &'static str,
    /// For the log.
    pub(super) what: &'static str,
}

impl StreamFault {
    pub(super) const fn restricted(what: &'static str) -> Self {
        Self { condition: "restricted-xml", what }
    }

    pub(super) const fn malformed(what: &'static str) -> Self {
        Self { condition: "not-well-formed", what }
    }
}

impl fmt::Display for StreamFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.condition)
    }
}
