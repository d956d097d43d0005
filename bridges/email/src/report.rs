//! Reads DSNs (RFC 3464) and MDNs (RFC 8098).
