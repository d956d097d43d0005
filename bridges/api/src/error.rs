//! What can go wrong, said once for all bridges. `src/xmpp/errors.rs` of the core maps [`Failure`] to stanza errors.

use std::time::{Duration, SystemTime};

use crate::text::Text;

/// Why something could not be delivered, in terms that have a stanza error.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Failure {
    /// Nobody has that address.
    NoSuchRecipient,
    /// The sender is not in that room.
    NotJoined,
    /// The sender has to register first.
    NotRegistered,
    /// The far network refused the sender's credentials.
    BadCredentials,
    /// A room or network wants a password.
    PasswordRequired,
    /// Not allowed.
    Forbidden,
    /// Refused by the far side for good, with its words in [`DeliveryError::text`].
    Rejected,
    /// Too long by the network's measure.
    TooLong {
        /// The limit, in the unit that the text names.
        limit: u64,
    },
    /// The network has no such thing.
    Unsupported,
    /// The name or nick is taken.
    Conflict,
    /// Full (a room, a mailbox).
    Full,
    /// Over a quota of the sender's.
    OverQuota,
    /// Too fast; will pass.
    Throttled {
        /// When to try again.
        retry_after: Duration,
    },
    /// The far side cannot be reached now.
    Unreachable,
    /// There is no connection to the network, and nothing makes one for this.
    NotConnected,
    /// No answer in time.
    TimedOut,
    /// Not known what happened.
    Unknown,
}

/// Whether the far side may have got it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Sent {
    /// Certainly not: it is safe to try again.
    No,
    /// Perhaps: never tried again unless the network takes an idempotency key.
    Maybe,
}

/// Whether and when the core tries again (only when [`Sent::No`], or the network is idempotent).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Retry {
    /// For good.
    Never,
    /// By the bridge's [`Profile`](crate::Profile) (back-off, and for how long).
    ByPolicy,
    /// Not before this time has passed.
    After(Duration),
}

/// A delivery that failed: why, in words, how certain, and whether to try again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[error("{failure:?}: {text}")]
#[non_exhaustive]
pub struct DeliveryError {
    /// Why.
    pub failure: Failure,
    /// One sentence for the sender.
    pub text: Text,
    /// The network's own code (`5.1.1`, `482`), for people and logs.
    pub code: Option<String>,
    /// Whether the far side may have got it.
    pub sent: Sent,
    /// Whether to try again.
    pub retry: Retry,
}

impl DeliveryError {
    /// For good, and nothing was sent.
    pub fn new(failure: Failure, text: impl Into<Text>) -> Self {
        Self { failure, text: text.into(), code: None, sent: Sent::No, retry: Retry::Never }
    }

    /// Nothing was sent; the core may try again by the bridge's policy.
    pub fn temporary(failure: Failure, text: impl Into<Text>) -> Self {
        Self { retry: Retry::ByPolicy, ..Self::new(failure, text) }
    }

    /// It may have been sent; nobody tries again unless the network is idempotent.
    pub fn uncertain(text: impl Into<Text>) -> Self {
        Self { sent: Sent::Maybe, ..Self::new(Failure::Unknown, text) }
    }

    /// Adds the network's own code.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// Sets when to try again.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }
}

/// A session's or a service's end that was not asked for; the supervisor logs it and starts it again with back-off.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BridgeError {
    /// The operator can mend it (a port that is taken, say).
    #[error("{0}")]
    Operator(String),
    /// Something below failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// `emit` while the session's share of the link is full: stop reading the network until [`Gateway::ready`](crate::Gateway::ready).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the link is full; wait for ready()")]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Full;

/// Why the core did not take a held event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Refused {
    /// The upstream should try again (4xx, 503): the store is unavailable or full.
    #[error("later: {0}")]
    Later(String),
    /// The same, because the user has used up their storage: it passes when some of what is kept goes.
    #[error("no room: {0}")]
    Full(String),
    /// The upstream should give up (5xx): no such user, blocked, over size.
    #[error("{text}", text = .0)]
    Never(DeliveryError),
}

/// The own identity belongs to somebody else, or once did.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Taken {
    /// Somebody else has it or had it; identities are never re-assigned.
    #[error("that name belongs to somebody else")]
    ByOther,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The store could not answer. What it would have held is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum StoreError {
    /// Try again: locked, restarting, disk full.
    #[error("storage is unavailable: {0}")]
    Unavailable(String),
    /// A fault of the program or the database.
    #[error("storage failed: {0}")]
    Fault(String),
}

/// When something was over a limit, the time at which it passes; for texts.
pub type Until = SystemTime;
