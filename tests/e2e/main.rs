//! Against real servers: Prosody and ejabberd of Debian, with counterparts that we did not write.
#![allow(missing_docs)]

mod files;
mod link;
