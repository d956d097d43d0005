//! Message → RFC 5322.
