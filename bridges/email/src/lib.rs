//! bridges/email
