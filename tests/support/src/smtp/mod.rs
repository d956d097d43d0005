//! SMTP and LMTP: a scripted server that records mail, and a client that sends mail or raw lines.

mod client;
mod server;

pub use client::{Reply, SmtpClient, send};
pub use server::{Act, FakeSmtp, Features, Mail, Stage};

use tokio::io::{AsyncRead, AsyncWrite};

/// Plain or encrypted.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
