//! What comes from outside: webhooks with texts and reports.

pub(crate) mod incoming;
pub(crate) mod media;
pub(crate) mod optout;
pub(crate) mod parts;
pub(crate) mod reports;
pub(crate) mod webhook;
