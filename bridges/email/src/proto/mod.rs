//! LMTP (RFC 2033) and SMTP (RFC 5321) as a receiver, without any I/O: bytes go in, answers and questions come out, and time is somebody else's.

mod body;
mod reply;
mod server;

pub(crate) use reply::Reply;
pub(crate) use server::{Dialect, Envelope, Limits, Rcpt, Server, Turn};
