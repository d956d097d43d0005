//! Pure translation: stanza → `Intent`, `Event` → stanzas. No `async`, no clock, no store: time and words are arguments.

pub mod degrade;
pub mod inbound;
pub mod looks;
pub mod markup;
pub mod news;
pub mod outbound;
pub mod stamp;
