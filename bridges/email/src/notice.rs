//! Mails of the gateway's own: delivery status notifications (RFC 3464).
