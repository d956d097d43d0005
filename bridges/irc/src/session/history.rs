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
const MAX_TALKS: usize = 20;
/// A question that the server cannot answer is asked so often.
const TRIES: u8 = 3;
/// Clocks of one network differ by so much; what comes twice is known by its id.
const FUZZ: Duration = Duration::from_secs(2);
/// A break is noticed so late at most: without any message before it, this is where the gap begins.
const UNNOTICED: Duration = Duration::from_secs(150);

/// A part of a room's history that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap {
    /// From when on.
    after: SystemTime,
    /// Pages that were asked for since the last break, and answers that were none.
    pages: u8,
    failures: u8,
    /// A question for it is not answered.
    asked: bool,
    /// The last message before the newest of several breaks: what is missing from there on is asked for in any case.
    latest: Option<SystemTime>,
}

impl Gap {
    /// What is missing from a break on that is noticed now; the last message was heard then.
    pub(super) fn new(heard: Option<SystemTime>, now: SystemTime) -> Self {
        let after = heard.or_else(|| now.checked_sub(UNNOTICED)).unwrap_or(now);
        Self { after: after.checked_sub(FUZZ).unwrap_or(after), pages: 0, failures: 0, asked: false, latest: None }
    }

    /// Whether what the server plays now may be what is missing: not where it could not say that again and again.
    pub(super) fn may_close(&self) -> bool {
        self.failures < TRIES
    }
}

/// What is missing of private conversations.
#[derive(Debug, Default)]
pub(super) struct Missed {
    /// Since when; until it is known with whom there was talk.
    since: Option<SystemTime>,
    /// So often the server could not say that.
    failures: u8,
    /// With whom.
    talks: Vec<Talk>,
}

/// What is missing of one of them.
#[derive(Debug)]
struct Talk {
    folded: Box<str>,
    name: Box<str>,
    /// From when on.
    after: SystemTime,
    /// From when on it was asked for; nothing: it is to be asked for.
    asked: Option<SystemTime>,
    /// Pages that were asked for, and answers that were none.
    pages: u8,
    failures: u8,
}

impl Session {
    /// The room is there again.
    pub(super) fn fill_gap(&mut self, name: &str) {
        if self.fetches_history() {
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
        gap.asked = true;
        let after = format!("timestamp={}", time::iso(gap.after));
        let line = write::line("CHATHISTORY", &["AFTER", &room.name, &after, &page]);
        if let Some(link) = &mut self.link {
            link.sometime(line);
        }
    }

    /// An answer is complete: a full one is followed by another question.
    pub(super) fn history_ends(&mut self, folded: &str, lines: u32) {
        let page = self.page();
        let Some(room) = self.rooms.get_mut(folded) else { return self.talk_ends(folded, lines >= page) };
        let Some(gap) = &mut room.gap else { return };
        if lines >= page && gap.pages >= MAX_PAGES {
            // Too much since the first break; then at least what the last one took.
            match gap.latest.take().and_then(|at| at.checked_sub(FUZZ)).filter(|at| *at > gap.after) {
                Some(latest) => (gap.after, gap.pages) = (latest, 0),
                None => room.gap = None,
            }
        } else if lines < page {
            room.gap = None;
        }
        if room.gap.is_none() {
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
        let missed = &mut self.rare().missed;
        missed.since.get_or_insert(since);
        missed.talks.iter_mut().for_each(|talk| talk.asked = None);
    }

    /// Connected again: with whom has there been talk meanwhile?
    pub(super) fn ask_for_talks(&mut self) {
        let Some(rare) = self.rare.as_ref().filter(|r| r.missed.since.is_some()) else { return };
        // What is not complete since an earlier break is missing still.
        let since = rare.missed.talks.iter().map(|talk| talk.after).chain(rare.missed.since).min();
        let Some(since) = since.filter(|_| self.fetches_history()) else {
            return self.rare().missed = Missed::default();
        };
        let (from, to) =
            (format!("timestamp={}", time::iso(since)), format!("timestamp={}", time::iso(self.host.now())));
        let most = self.page().min(MAX_TALKS as u32).to_string();
        if let Some(link) = &mut self.link {
            link.sometime(write::line("CHATHISTORY", &["TARGETS", &from, &to, &most]));
        }
    }

    fn fetches_history(&self) -> bool {
        self.has_cap(Caps::HISTORY) && self.has_cap(Caps::BATCH) && self.has_cap(Caps::SERVER_TIME)
    }

    /// `CHATHISTORY TARGETS <name> <time>`: with them. What they said is heard now, with its time: nobody else keeps it for the user.
    pub(super) fn on_target(&mut self, line: &Line<'_>) {
        let name = line.param(1);
        let folded = self.fold(name);
        let Some(link) = &self.link else { return };
        if line.param(0) != "TARGETS" || name.is_empty() || link.server.is_channel(name) {
            return;
        }
        let Some(missed) = self.rare.as_mut().map(|r| &mut r.missed) else { return };
        let Some(since) = missed.since else { return };
        let known = missed.talks.len();
        match missed.talks.iter_mut().find(|talk| talk.folded == folded) {
            Some(talk) if talk.asked.is_some() => return,
            Some(talk) => (talk.pages, talk.failures) = (0, 0),
            None if known >= MAX_TALKS => return,
            None => {
                let (name, folded) = (name.into(), folded.clone());
                missed.talks.push(Talk { folded, name, after: since, asked: None, pages: 0, failures: 0 });
            }
        }
        self.ask_talk(&folded);
    }

    fn ask_talk(&mut self, folded: &str) {
        let page = self.page().to_string();
        let (Some(link), Some(rare)) = (&mut self.link, &mut self.rare) else { return };
        let Some(talk) = rare.missed.talks.iter_mut().find(|talk| *talk.folded == *folded) else { return };
        talk.asked = Some(talk.after);
        talk.pages += 1;
        let after = format!("timestamp={}", time::iso(talk.after));
        link.sometime(write::line("CHATHISTORY", &["AFTER", &talk.name, &after, &page]));
    }

    /// Whether an answer is one about this conversation.
    pub(super) fn fetches_talk(&self, folded: &str) -> bool {
        let talks = self.rare.iter().flat_map(|r| &r.missed.talks);
        talks.into_iter().any(|talk| *talk.folded == *folded && talk.asked.is_some())
    }

    /// Up to then it is there, whatever came of the line.
    pub(super) fn talk_goes_on(&mut self, folded: &str, at: SystemTime) {
        let talks = self.rare.iter_mut().flat_map(|r| &mut r.missed.talks);
        if let Some(talk) = talks.into_iter().find(|talk| *talk.folded == *folded) {
            talk.after = talk.after.max(at);
        }
    }

    /// An answer about a conversation is complete: a full one that led anywhere is followed by another question.
    fn talk_ends(&mut self, folded: &str, full: bool) {
        let Some(rare) = &mut self.rare else { return };
        let talks = &mut rare.missed.talks;
        let more = |talk: &Talk| full && talk.pages < MAX_PAGES && talk.asked.is_some_and(|from| from < talk.after);
        talks.retain(|talk| *talk.folded != *folded || more(talk));
        self.ask_talk(folded);
    }

    /// What the server could not tell is asked for again, when it asks whether we are there.
    pub(super) fn ask_history_again(&mut self) {
        if !self.is_up() {
            return;
        }
        let failed = |gap: &Gap| !gap.asked && gap.failures > 0 && gap.may_close();
        let rooms = self.rooms.values().filter(|room| room.is_inside() && room.gap.as_ref().is_some_and(failed));
        let rooms: Vec<_> = rooms.map(|room| room.name.clone()).collect();
        rooms.iter().for_each(|name| self.ask_history(name));
        let Some(missed) = self.rare.as_ref().map(|r| &r.missed) else { return };
        if missed.since.is_some() && missed.failures > 0 {
            return self.ask_for_talks();
        }
        let again = missed.talks.iter().filter(|talk| talk.asked.is_none() && talk.failures > 0);
        let again: Vec<Box<str>> = again.map(|talk| talk.folded.clone()).collect();
        again.iter().for_each(|folded| self.ask_talk(folded));
    }

    /// All of them are known.
    pub(super) fn targets_end(&mut self) {
        if let Some(rare) = &mut self.rare {
            (rare.missed.since, rare.missed.failures) = (None, 0);
        }
    }

    /// The server cannot say with whom there was talk.
    pub(super) fn no_targets(&mut self) {
        let Some(rare) = &mut self.rare else { return };
        rare.missed.failures += 1;
        if rare.missed.failures >= TRIES {
            self.targets_end();
        }
    }

    /// When somebody last said something in private.
    pub(super) fn remember_private(&mut self, at: SystemTime) {
        if self.has_cap(Caps::HISTORY) {
            let heard = &mut self.rare().private_heard;
            *heard = (*heard).max(Some(at));
        }
    }

    /// The server cannot give it now. Of a room it is asked for again a few times, and after the next break.
    pub(super) fn no_history(&mut self, name: &str) {
        let names = self.rare.as_ref().is_some_and(|rare| rare.names_messages);
        if let Some(room) = self.room_mut(name)
            && let Some(gap) = room.gap.as_mut().filter(|gap| gap.asked)
        {
            (gap.asked, gap.failures) = (false, gap.failures + 1);
            if !names {
                // What is heard meanwhile would not be known again.
                room.gap = None;
            }
        }
        let folded = self.fold(name);
        if let Some(rare) = &mut self.rare {
            for talk in rare.missed.talks.iter_mut().filter(|talk| talk.folded == folded) {
                (talk.asked, talk.failures) = (None, talk.failures + 1);
            }
            rare.missed.talks.retain(|talk| talk.failures < TRIES);
        }
    }

    /// When something was last said in a room, and what the network calls it.
    pub(super) fn remember_time(&mut self, name: &str, said: &Inbound) {
        self.remember_name(name, said);
        let backlog = self.backlog;
        if !self.has_cap(Caps::HISTORY) {
            return;
        }
        if said.id.is_some() && !self.rare.as_ref().is_some_and(|rare| rare.names_messages) {
            self.rare().names_messages = true;
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
        match &mut self.gap {
            // Still missing since an earlier break.
            Some(gap) => (gap.pages, gap.failures, gap.asked, gap.latest) = (0, 0, false, self.heard),
            none => *none = Some(Gap::new(self.heard, now)),
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
