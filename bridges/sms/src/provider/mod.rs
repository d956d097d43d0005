//! Providers: declared in a file, not programmed.
//!
//! | module | what |
//! |---|---|
//! | [`spec`] | what a file declares |
//! | [`read`] | the file, read; faults with line and key |
//! | [`template`], [`select`] | words with placeholders; places in an answer or a webhook |
//! | [`request`] | a declaration and fillings → an HTTP request |
//! | [`answer`] | an HTTP answer → what became of a text |
//! | [`hook`] | a webhook → messages and reports |
//! | [`auth`] | whether a webhook is the provider's |
//! | [`client`] | the only part that opens a connection |

pub(crate) mod answer;
pub(crate) mod auth;
pub(crate) mod client;
mod document;
pub(crate) mod hook;
pub(crate) mod read;
pub(crate) mod request;
pub(crate) mod select;
pub(crate) mod spec;
pub(crate) mod template;
