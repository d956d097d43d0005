//! Rooms as sessions see them: persons interned once per network, a membership of at most 16 bytes.

use crate::text::Text;

/// The persons of one network.
#[derive(Debug, Default)]
pub struct People;

/// A room as one session sees it.
#[derive(Debug, Default)]
pub struct RoomView {
    /// Why the user is outside.
    pub lost: Option<Text>,
}
