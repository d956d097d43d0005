//! What was said while the connection was broken (`draft/chathistory`): asked for after the rejoin, for the archive alone; and who is not heard.

use std::time::{Duration, SystemTime};

use isthmus_bridge::Inbound;

use super::Session;
use super::rooms::Room;
use crate::proto::caps::Caps;
use crate::proto::line::Line;
use crate::proto::{time, write};
use crate::settings;

/// Lines that are asked for at a time, where the server sets no smaller bound.
const PAGE: u32 = 100;
/// Pages that one break is worth.
const MAX_PAGES: u8 = 20;
/// People with whom there was talk during a break, at most.
const MAX_TALKS: u32 = 20;
/// Clocks of one network differ by so much; what comes twice is known by its id.
const FUZZ: Duration = Duration::from_secs(2);
/// A break is noticed so late at most: without any message before it, this is where the gap begins.
const UNNOTICED: Duration = Duration::from_secs(150);

/// A part of a room's history that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap {
    /// From when on.
    after: SystemTime,
    /// Pages that were asked for.
    pages: u8,
}

impl Gap {
    /// What is missing from a break on that is noticed now; the last message was heard then.
    pub(super) fn new(heard: Option<SystemTime>, now: SystemTime) -> Self {
        let after = heard.or_else(|| now.checked_sub(UNNOTICED)).unwrap_or(now);
        Self { after: after.checked_sub(FUZZ).unwrap_or(after), pages: 0 }
    }
}

impl Session {
    /// The room is there again.
    pub(super) fn fill_gap(&mut self, name: &str) {
        if self.has_cap(Caps::HISTORY) && self.has_cap(Caps::BATCH) && self.has_cap(Caps::SERVER_TIME) {
            self.ask_history(name);
        } else if let Some(room) = self.room_mut(name) {
            room.gap = None;
        }
    }

    /// Lines of one answer, at most.
    fn page(&self) -> u32 {
        let most = self.link.as_ref().map_or(0, |l| u32::from(l.server.history));
        if most == 0 { PAGE } else { most.min(PAGE) }
    }

    fn ask_history(&mut self, name: &str) {
        let page = self.page().to_string();
        let Some(room) = self.room_mut(name) else { return };
        let Some(gap) = &mut room.gap else { return };
        gap.pages += 1;
        let after = format!("timestamp={}", time::iso(gap.after));
        let line = write::line("CHATHISTORY", &["AFTER", &room.name, &after, &page]);
        if let Some(link) = &mut self.link {
            link.sometime(line);
        }
    }

    /// An answer is complete: a full one is followed by another question.
    pub(super) fn history_ends(&mut self, folded: &str, lines: u32) {
        let page = self.page();
        let Some(room) = self.rooms.get_mut(folded) else { return };
        let Some(gap) = room.gap else { return };
        if lines < page || gap.pages >= MAX_PAGES {
            room.gap = None;
            return;
        }
        let name = room.name.clone();
        self.ask_history(&name);
    }

    /// The connection broke: from then on private messages are missed, too.
    pub(super) fn misses_private(&mut self) {
        let now = self.host.now();
        let heard = self.rare.as_ref().and_then(|r| r.private_heard);
        let since = heard.or_else(|| now.checked_sub(UNNOTICED)).unwrap_or(now);
        self.rare().missed_since.get_or_insert(since);
    }

    /// Connected again: with whom has there been talk meanwhile?
    pub(super) fn ask_for_talks(&mut self) {
        let Some(since) = self.rare.as_ref().and_then(|r| r.missed_since) else { return };
        if !(self.has_cap(Caps::HISTORY) && self.has_cap(Caps::BATCH) && self.has_cap(Caps::SERVER_TIME)) {
            self.rare().missed_since = None;
            return;
        }
        let (from, to) =
            (format!("timestamp={}", time::iso(since)), format!("timestamp={}", time::iso(self.host.now())));
        if let Some(link) = &mut self.link {
            link.sometime(write::line("CHATHISTORY", &["TARGETS", &from, &to, &MAX_TALKS.to_string()]));
        }
    }

    /// `CHATHISTORY TARGETS <name> <time>`: with them. What they said is heard now, with its time: nobody else keeps it for the user.
    pub(super) fn on_target(&mut self, line: &Line<'_>) {
        let name = line.param(1);
        let Some(since) = self.rare.as_ref().and_then(|r| r.missed_since) else { return };
        let Some(link) = &mut self.link else { return };
        if line.param(0) != "TARGETS" || name.is_empty() || link.server.is_channel(name) {
            return;
        }
        let after = format!("timestamp={}", time::iso(since));
        link.sometime(write::line("CHATHISTORY", &["AFTER", name, &after, &PAGE.to_string()]));
    }

    /// All of them are known.
    pub(super) fn targets_end(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.missed_since = None;
        }
    }

    /// When somebody last said something in private.
    pub(super) fn remember_private(&mut self, at: SystemTime) {
        if self.has_cap(Caps::HISTORY) {
            let heard = &mut self.rare().private_heard;
            *heard = (*heard).max(Some(at));
        }
    }

    /// The server cannot give it.
    pub(super) fn no_history(&mut self, name: &str) {
        if let Some(room) = self.room_mut(name) {
            room.gap = None;
        }
    }

    /// When something was last said in a room, and what the network calls it.
    pub(super) fn remember_time(&mut self, name: &str, said: &Inbound) {
        self.remember_name(name, said);
        let backlog = self.backlog;
        if !self.has_cap(Caps::HISTORY) {
            return;
        }
        let Some(room) = self.room_mut(name) else { return };
        if let Some(gap) = room.gap.as_mut().filter(|gap| backlog && gap.after < said.at) {
            gap.after = said.at;
        }
        room.heard = room.heard.max(Some(said.at));
    }

    /// Whether the user does not want to hear who sent this.
    pub(super) fn is_ignored(&self, line: &Line<'_>) -> bool {
        match self.settings.get(settings::IGNORE) {
            None => false,
            Some(list) => {
                let source = self.people.fold(line.source.0);
                list.split(['\n', ' ', ',']).filter(|m| !m.is_empty()).any(|mask| {
                    let mask = self.people.fold(mask);
                    if mask.contains(['!', '@', '*', '?']) {
                        fits(&mask, &source)
                    } else {
                        *mask == *self.people.fold(line.source.nick())
                    }
                })
            }
        }
    }
}

impl Room {
    /// The connection broke while the user was inside.
    pub(super) fn breaks(&mut self, now: SystemTime) {
        if self.gap.is_none() {
            self.gap = Some(Gap::new(self.heard, now));
        }
    }
}

/// Whether a mask with `*` and `?` fits all of `text`; a mask without `!` fits any nick (`*@host`).
pub(super) fn fits(mask: &str, text: &str) -> bool {
    let whole;
    let mask = if mask.contains('!') {
        mask
    } else if mask.contains('@') {
        whole = format!("*!{mask}");
        &whole
    } else {
        whole = format!("{mask}!*");
        &whole
    };
    let (mask, text): (Vec<char>, Vec<char>) = (mask.chars().collect(), text.chars().collect());
    // The usual walk with one point to return to: linear but for the number of stars.
    let (mut m, mut t, mut back) = (0, 0, None);
    while t < text.len() {
        match mask.get(m) {
            Some('*') => {
                back = Some((m, t));
                m += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => (m, t) = (m + 1, t + 1),
            _ => match back {
                Some((star, from)) => {
                    back = Some((star, from + 1));
                    (m, t) = (star + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    mask[m..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_fit_as_on_servers() {
        let cases = [
            ("tybalt!*@*", "tybalt!t@verona.test", true),
            ("*@verona.test", "tybalt!t@verona.test", true),
            ("*!*@*.test", "tybalt!t@verona.test", true),
            ("ty?alt", "tybalt!t@verona.test", true),
            ("tyb*", "tybalt!t@verona.test", true),
            ("*!*@*.example", "tybalt!t@verona.test", false),
            ("tybal?!*", "tybal!t@verona.test", false),
            ("*", "anybody!a@b", true),
            ("*****************a", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb!b@b", false),
        ];
        for (mask, source, expected) in cases {
            assert_eq!(fits(mask, source), expected, "{mask} {source}");
        }
    }
}
