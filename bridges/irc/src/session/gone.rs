//! Whether contacts who are there are away: neither MONITOR nor ISON says it, so USERHOST is asked of those who have come, and again now and then where
//! the server would not tell it by itself.

use std::time::Duration;

use tokio::time::Instant;

use super::Session;
use crate::proto::caps::Caps;
use crate::proto::line::Line;
use crate::proto::write;

/// Nicks of one question (RFC 2812 section 4.8).
const AT_ONCE: usize = 5;
/// Nicks that are asked about in one go.
const MOST: usize = 100;
/// A question that was not answered for this time never will be. It may have waited for its turn for long.
const LOST: Duration = Duration::from_secs(300);

/// A USERHOST whose answer has not come; answers come in the order of the questions.
#[derive(Debug)]
pub(super) struct Userhost {
    /// Folded; nobody: it was typed by hand.
    nicks: Vec<Box<str>>,
    at: Instant,
}

impl Session {
    /// Asks whether these are away, unless it is asked already.
    pub(super) fn ask_whether_away(&mut self, nicks: &[Box<str>]) {
        let now = Instant::now();
        let folded: Vec<Box<str>> = nicks.iter().take(MOST).map(|nick| self.fold(nick)).collect();
        let (Some(link), Some(rare)) = (&mut self.link, &mut self.rare) else { return };
        while rare.userhosts.pop_front_if(|asked| asked.at + LOST <= now).is_some() {}
        let waits = |nick: &str| rare.userhosts.iter().any(|asked| asked.nicks.iter().any(|one| **one == *nick));
        let new: Vec<_> = nicks.iter().zip(folded).filter(|(_, folded)| !waits(folded)).collect();
        for some in new.chunks(AT_ONCE) {
            link.sometime(write::line("USERHOST", &some.iter().map(|(nick, _)| &***nick).collect::<Vec<_>>()));
            let nicks = some.iter().map(|(_, folded)| folded.clone()).collect();
            rare.userhosts.push_back(Userhost { nicks, at: now });
        }
    }

    /// Those of whom the server says that they have come, and not whether they go away later.
    pub(super) fn ask_of_watched(&mut self) {
        if self.has_cap(Caps::EXTENDED_MONITOR) && self.has_cap(Caps::AWAY_NOTIFY) {
            return;
        }
        let watched = self.watched();
        let Some(rare) = &self.rare else { return };
        let mut there: Vec<Box<str>> = rare.online.iter().filter(|nick| watched.contains(nick)).cloned().collect();
        // Of many, others each time.
        if there.len() > MOST {
            let from = rare.asked_from % there.len();
            there.rotate_left(from);
            self.rare().asked_from = from + MOST;
        }
        self.ask_whether_away(&there);
    }

    /// USERHOST is typed by hand: it goes out before those of ours that wait.
    pub(super) fn types_userhost(&mut self) {
        let waits = |q: &&super::link::Queued| q.quiet && q.line.starts_with(b"USERHOST ");
        let waiting = self.link.as_ref().map_or(0, |l| l.queue.iter().filter(waits).count());
        let asked = &mut self.rare().userhosts;
        asked.insert(asked.len().saturating_sub(waiting), Userhost { nicks: Vec::new(), at: Instant::now() });
    }

    /// 302 (`nick[*]=<+|->user@host`, `-` for who is away); `false`: somebody else has asked.
    pub(super) fn on_whether_away(&mut self, line: &Line<'_>) -> bool {
        let words = line.last().split(' ').filter_map(|one| one.split_once('='));
        let told: Vec<(&str, Box<str>, bool)> = words
            .map(|(nick, at)| (nick.trim_end_matches('*'), at.starts_with('-')))
            .map(|(nick, away)| (nick, self.fold(nick), away))
            .collect();
        let waits = |q: &&super::link::Queued| q.quiet && q.line.starts_with(b"USERHOST ");
        let waiting = self.link.as_ref().map_or(0, |l| l.queue.iter().filter(waits).count());
        let Some(rare) = &self.rare else { return false };
        let out = rare.userhosts.len().saturating_sub(waiting);
        // An answer of nobody says not whom it is about: what was asked first has it.
        let first = rare.userhosts.front().filter(|_| out > 0);
        let to_be_banned = match self.asked_for_host() {
            Some((_, at)) if told.is_empty() => first.is_none_or(|asked| asked.at > at),
            Some((nick, _)) => told.iter().all(|(_, folded, _)| **folded == *nick),
            None => false,
        };
        if to_be_banned {
            return false;
        }
        // What was asked before the one that this answers has no answer any more.
        let fits =
            |asked: &Userhost| asked.nicks.is_empty() || told.iter().all(|(_, folded, _)| asked.nicks.contains(folded));
        let Some(at) = rare.userhosts.iter().take(out).position(fits) else { return false };
        let typed = rare.userhosts[at].nicks.is_empty();
        self.rare().userhosts.drain(..=at);
        if !typed {
            told.iter().for_each(|(nick, folded, away)| self.is_gone(nick, folded, *away));
        }
        !typed
    }

    /// A contact is away, or is not; told once.
    fn is_gone(&mut self, nick: &str, folded: &str, away: bool) {
        let Some(rare) = self.rare.as_mut().filter(|rare| rare.online.iter().any(|one| **one == *folded)) else {
            return;
        };
        if away == rare.gone.iter().any(|one| **one == *folded) {
            return;
        }
        self.note_gone(folded, away);
        self.seen(nick, true, away.then(String::new));
    }

    /// What is known of it is told already.
    pub(super) fn note_gone(&mut self, folded: &str, away: bool) {
        let Some(rare) = &mut self.rare else { return };
        rare.gone.retain(|one| **one != *folded);
        if away {
            rare.gone.push(folded.into());
        }
    }

    /// 461: the first that was typed was none.
    pub(super) fn typed_userhost_refused(&mut self) {
        if let Some(rare) = &mut self.rare
            && let Some(at) = rare.userhosts.iter().position(|asked| asked.nicks.is_empty())
        {
            rare.userhosts.remove(at);
        }
    }

    /// The server does not answer a question; `false`: it was typed.
    pub(super) fn userhost_refused(&mut self) -> bool {
        if self.asks_for_host().is_some() {
            return false;
        }
        let first = self.rare.as_mut().and_then(|rare| rare.userhosts.pop_front());
        first.is_some_and(|asked| !asked.nicks.is_empty())
    }
}
