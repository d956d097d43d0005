//! What both directions carry: messages, files, and the names of messages.

use std::{fmt, sync::Arc};

use url::Url;

use crate::host::MessageRef;
use crate::outbound::RecipientKind;
use crate::text::Text;

super::address::id!(
    /// The far network's name for a message (a Message-ID, a msgid, a provider's id). Not unique by itself: some networks use one twice.
    ForeignMessageId
);
super::address::id!(
    /// The core's name for one outbound event: unguessable, unique, stable over every try. URL- and local-part-safe (`[a-z0-9]+`).
    DeliveryKey
);
super::address::id!(
    /// What makes an inbound event the same as another one; made by the bridge from content, never from a foreign id alone.
    OnceKey
);
super::address::id!(
    /// A file kept by the core (see [`Gateway::keep`](crate::Gateway::keep)).
    BlobId
);

/// How a message is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum MessageKind {
    /// One-to-one conversation.
    #[default]
    Chat,
    /// A single message outside a conversation (`type='normal'`).
    Normal,
    /// To or from a room.
    Group,
    /// Information that nobody should answer (an IRC NOTICE, a server's text).
    Notice,
}

/// A message, in the terms that all networks share.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Message {
    /// How it is meant.
    pub kind: MessageKind,
    /// Plain text, lines separated by `\n`; may be empty when there are files.
    pub body: String,
    /// Subject, where there is one.
    pub subject: Option<String>,
    /// Conversation (XEP-0201).
    pub thread: Option<String>,
    /// Attached files, in order.
    pub files: Vec<File>,
    /// The message that this one answers (XEP-0461).
    pub reply_to: Option<MessageRef>,
    /// The words of the message that this one answers, for networks that can only quote.
    pub quoted: Option<String>,
    /// The message that this one replaces (XEP-0308).
    pub replaces: Option<MessageRef>,
    /// An action in the third person (`/me`, CTCP ACTION); the body is without the `/me `.
    pub action: bool,
    /// Other recipients, as the network shows them (mail To and Cc): kind, address for people, display name.
    pub addresses: Vec<(RecipientKind, crate::Address, Option<String>)>,
    /// The sender's display name (XEP-0172), where the network tells one.
    pub nick: Option<String>,
    /// A line the person should see before the text (a sender that could not be verified, say).
    pub warning: Option<Text>,
    /// How parts of the body look, where that is said beside the words and not by signs in them.
    pub looks: Option<Box<Looks>>,
}

impl Message {
    /// A chat message with this text.
    pub fn chat(body: impl Into<String>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// A room message with this text.
    pub fn group(body: impl Into<String>) -> Self {
        Self { kind: MessageKind::Group, body: body.into(), ..Self::default() }
    }

    /// Puts words before the body; what looks somehow goes on doing so.
    pub fn put_before(&mut self, words: &str) {
        self.body.insert_str(0, words);
        let by = words.chars().count();
        for span in self.looks.iter_mut().flat_map(|looks| &mut looks.spans) {
            (span.start, span.end) = (span.start.saturating_add(by), span.end.saturating_add(by));
        }
    }
}

/// How the parts of a body look. The core says it beside the words (XEP-0394), which are then without signs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Looks {
    /// Which parts; they may overlap. What lies outside of the body is left out.
    pub spans: Vec<Span>,
    /// Also as XHTML-IM (XEP-0071), for clients that still read it; it alone can say colours and underlining.
    pub html: bool,
}

impl Looks {
    /// These parts look somehow; said as markup, and perhaps as XHTML-IM too.
    pub fn new(spans: Vec<Span>, html: bool) -> Self {
        Self { spans, html }
    }
}

/// A part of a body that looks somehow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Span {
    /// Its first character, counted from 0 in Unicode scalar values.
    pub start: usize,
    /// The first one behind it.
    pub end: usize,
    /// How it looks.
    pub style: Style,
}

impl Span {
    /// The characters from `start` to before `end`.
    pub fn new(start: usize, end: usize, style: Style) -> Self {
        Self { start, end, style }
    }
}

/// How a part of a body looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Style {
    /// Bold.
    Strong,
    /// Italic.
    Emphasis,
    /// Underlined.
    Underlined,
    /// Struck through.
    Deleted,
    /// In letters of equal width.
    Code,
    /// In colours: red, green and blue in the low 24 bits; `None` is the reader's own.
    Coloured {
        /// Of the letters.
        text: Option<u32>,
        /// Of what is behind them.
        behind: Option<u32>,
    },
}

/// Where a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum FileSource {
    /// A link that the sender gave; followed only through [`Gateway::fetch`](crate::Gateway::fetch).
    Url(Url),
    /// Kept by the core.
    Blob(BlobId),
    /// Not to be had: only its name and size are known.
    Missing,
}

/// A file with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct File {
    /// Where it is.
    pub source: FileSource,
    /// Its name, type and size.
    pub media: Media,
}

impl File {
    /// A file and what is known of it.
    pub fn new(source: FileSource, media: Media) -> Self {
        Self { source, media }
    }
}

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Media {
    /// File name without any folder; whoever sets it has removed separators and control characters.
    pub name: Option<String>,
    /// Media type (RFC 2046), `application/octet-stream` if nothing is known.
    pub media_type: String,
    /// Size in bytes.
    pub size: Option<u64>,
    /// Words about it.
    pub description: Option<String>,
}

impl Media {
    /// A file of this name and type.
    pub fn new(name: Option<String>, media_type: impl Into<String>, size: Option<u64>) -> Self {
        Self { name, media_type: media_type.into(), size, description: None }
    }
}
