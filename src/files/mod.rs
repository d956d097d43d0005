//! Files: kept on disk, served under links that nobody can guess, uploaded to the XMPP server (XEP-0363), fetched for users.
//!
//! | file | what |
//! |---|---|
//! | [`shelf`] | keeps files below `data_dir/blobs`, on disk before it returns; sweeps old ones |
//! | [`links`] | unguessable, expiring addresses of kept files |
//! | [`fetch`], [`guard`] | follows a user's link, but never into our own network |
//! | [`upload`] | asks an upload service for a slot and fills it |
//! | [`name`] | file names that are harmless in a header, a URL and a client |

pub mod fetch;
pub mod guard;
pub mod links;
pub mod name;
pub mod shelf;
pub mod upload;

pub use fetch::Fetcher;
pub use links::Links;
pub use shelf::Shelf;
pub use upload::{IqError, IqSender, NotUploaded, Uploader};

#[cfg(test)]
mod tests;
