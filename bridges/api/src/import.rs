//! Taking over what another program has kept: users' settings, contacts, rooms, what was said.
//!
//! A kind says which tables of the other program it reads and what a row of them means here; the core opens the database, reads it, and keeps
//! what is taken. Both are pure: no database, no clock.

use std::time::SystemTime;

use crate::address::{Address, Addressing, BareJid, RoomId};
use crate::host::Change;

/// A program whose data a kind can take over (`isthmus import <program> …`).
pub trait Import: Send + Sync {
    /// The program's name, as it is typed.
    fn program(&self) -> &'static str;

    /// One line of help.
    fn about(&self) -> &'static str;

    /// The tables that are read, in the order in which they are read. A database that lacks one of them, or one of its columns, is not the
    /// program's, or one of another version: it is refused. Columns beyond these are told to the administrator, if anything stands in them.
    fn tables(&self) -> &'static [SourceTable];

    /// Reads rows for a bridge with these addresses.
    fn reader<'a>(&self, addressing: &'a dyn Addressing) -> Box<dyn ImportReader + 'a>;

    /// The program's configuration in our words. `Err`: what is wrong with it, for the administrator.
    fn configuration(&self, text: &str) -> Result<Converted, String>;
}

/// A table of the other program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceTable {
    /// Its name.
    pub name: &'static str,
    /// The columns that are read, in this order.
    pub columns: &'static [&'static str],
    /// Columns that need not be told of.
    pub ignored: &'static [&'static str],
    /// By which columns rows come.
    pub order: &'static [&'static str],
}

/// Says what rows mean here.
pub trait ImportReader: Send {
    /// One row of the table of this name; values are in the order of [`SourceTable::columns`], `None` is NULL. Whatever is taken is pushed,
    /// and whatever cannot be taken is pushed as [`Imported::Lost`]: nothing goes silently.
    fn row(&mut self, table: &str, row: &[Option<String>], take: &mut Vec<Imported>);

    /// All rows have been read.
    fn end(&mut self, _take: &mut Vec<Imported>) {}
}

/// Something that is taken over. Taking it a second time changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Imported {
    /// What a user chose. What they have chosen here already stays.
    Setting {
        /// Whose.
        user: BareJid,
        /// At which address.
        at: Address,
        /// One of the bridge's declared settings.
        key: &'static str,
        /// Its value.
        value: String,
    },
    /// A user sees the presence of an address.
    Contact {
        /// Whose.
        user: BareJid,
        /// Of which address.
        at: Address,
    },
    /// A line of a room, as one user heard it. Lines of a room come together, in the order in which they were heard.
    Line {
        /// Who heard it.
        user: BareJid,
        /// Where.
        room: RoomId,
        /// When, to the second.
        at: SystemTime,
        /// Who said it.
        nick: String,
        /// The words.
        body: String,
        /// The program's name of this row, the same at each reading.
        name: String,
    },
    /// A part of the bridge's small durable state, where there is none under this key.
    State(Change),
    /// What is not taken.
    Lost {
        /// What it is; never a password.
        what: String,
        /// Why.
        why: &'static str,
    },
}

/// The other program's configuration in our words.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Converted {
    /// The component's domain.
    pub domain: String,
    /// Its secret.
    pub secret: String,
    /// Where the XMPP server listens for components: host, port.
    pub server: (String, u16),
    /// Administrators' JIDs.
    pub admins: Vec<String>,
    /// Further lines of the bridge's file (TOML), with comments.
    pub lines: String,
    /// What has no counterpart, or wants the administrator's attention; a sentence each.
    pub notes: Vec<String>,
}

/// Without the secret.
impl std::fmt::Debug for Converted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Converted").field("domain", &self.domain).field("server", &self.server).finish_non_exhaustive()
    }
}
