//! RFC 5322 → message.
