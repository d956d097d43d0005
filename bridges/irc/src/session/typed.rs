//! What the user types by hand changes what the session expects.

use super::Session;
use crate::proto::line::Line;

impl Session {
    /// A line typed by hand goes out.
    pub(super) fn typed(&mut self, line: &str) {
        let Some(line) = Line::parse(line) else { return };
        match line.command.to_ascii_uppercase().as_str() {
            "AWAY" => self.rare().typed_away = true,
            "NICK" => self.rare().typed_nick = Some(line.param(0).into()),
            "ISON" => self.types_ison(),
            _ => {}
        }
    }

    /// Our own nick is another one now: the one that the user wants, if they have asked for it by hand.
    pub(super) fn has_typed_nick(&mut self, new: &str) {
        let folded = self.fold(new);
        let Some(typed) = self.rare.as_ref().and_then(|rare| rare.typed_nick.as_deref()) else { return };
        // Servers cut what is too long for them.
        if !new.is_empty() && self.people.fold(typed).starts_with(&*folded) {
            new.clone_into(&mut self.wish);
            self.rare().typed_nick = None;
        }
    }

    /// The server refuses a nick.
    pub(super) fn forget_typed_nick(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.typed_nick = None;
        }
    }
}
