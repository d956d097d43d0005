//! The protocol without I/O: bytes in, lines out, time passed in.

pub(crate) mod caps;
pub(crate) mod ctcp;
pub(crate) mod isupport;
pub(crate) mod line;
pub(crate) mod modes;
pub(crate) mod reader;
pub(crate) mod sasl;
pub(crate) mod throttle;
pub(crate) mod time;
pub(crate) mod write;
