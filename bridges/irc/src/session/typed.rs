//! What the user types by hand changes what the session expects.

use std::time::Duration;

use tokio::time::Instant;

use super::Session;
use crate::proto::line::Line;

/// What comes within this time answers what was typed.
const ANSWER: Duration = Duration::from_secs(20);
/// Commands whose answers are for the session itself, unless they were typed.
const ASKED_BY_BOTH: [&str; 4] = ["CAP", "PING", "MONITOR", "AUTHENTICATE"];

impl Session {
    /// A line typed by hand goes out.
    pub(super) fn typed(&mut self, line: &str) {
        let Some(line) = Line::parse(line) else { return };
        let command = line.command.to_ascii_uppercase();
        if let Some(command) = ASKED_BY_BOTH.into_iter().find(|both| *both == command) {
            let typed = &mut self.rare().typed;
            typed.retain(|(known, _)| *known != command);
            typed.push((command, Instant::now()));
        }
        match command.as_str() {
            "AWAY" => self.rare().typed_away = true,
            "NICK" => self.rare().typed_nick = Some(line.param(0).into()),
            "ISON" => self.types_ison(),
            "USERHOST" => self.types_userhost(),
            "WHO" => self.types_who(line.param(0)),
            _ => {}
        }
    }

    /// Shows a line that answers this command, where it was typed a moment ago.
    pub(super) fn show_typed(&mut self, line: &Line<'_>, command: &str) {
        let typed = self.rare.as_ref().map_or(&[][..], |rare| &rare.typed);
        if typed.iter().any(|(known, at)| *known == command && at.elapsed() < ANSWER) {
            self.show(line);
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
