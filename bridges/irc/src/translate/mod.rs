//! Text between XMPP and IRC; pure.

pub(crate) mod encoding;
pub(crate) mod formatting;
pub(crate) mod looks;
pub(crate) mod split;
