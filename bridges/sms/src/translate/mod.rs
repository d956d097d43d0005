//! Pure: letters, segments, numbers. No clock, no socket, no store.

pub(crate) mod country;
pub(crate) mod fold;
pub(crate) mod letters;
pub(crate) mod number;
