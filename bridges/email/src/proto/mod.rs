//! SMTP and LMTP, server side, without sockets.
