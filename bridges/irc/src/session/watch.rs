//! Nicks on the user's roster: watched by MONITOR where the server has it and has place for them, and away by extended-monitor; else asked for by ISON.

use std::time::Duration;

use isthmus_bridge::{Address, Event, Text};
use tokio::time::Instant;

use super::Session;
use crate::address::{contact_id, split};
use crate::proto::line::Line;
use crate::proto::write;
use crate::translate::formatting;

/// Nicks that are known to be there, at most.
const MAX_ONLINE: usize = 1_000;
/// Nicks that are asked for by ISON, at most.
const MAX_ASKED: usize = 1_000;
/// Bytes of nicks in one line of MONITOR or ISON.
const LINE: usize = 400;
/// An ISON that was not answered for this time never will be. It may have waited for its turn for long.
const LOST: Duration = Duration::from_secs(300);

/// An ISON whose answer has not come; answers come in the order of the questions, and do not say what they answer.
#[derive(Debug)]
pub(super) struct Ison {
    /// Contacts; nobody: it was typed by hand.
    nicks: Vec<Box<str>>,
    at: Instant,
}

impl Session {
    /// Asks the server to tell when the user's contacts come and go.
    pub(super) async fn watch_contacts(&mut self) {
        self.watch = false;
        let contacts = match self.host.contacts(&self.of.user).await {
            Ok(contacts) => contacts,
            Err(error) => {
                tracing::warn!(user = %self.of.user, network = %self.of.network, %error, "contacts could not be read");
                return;
            }
        };
        let here = |id: &str| split(id).1 == self.of.network.as_str();
        let nicks = contacts.iter().filter(|(id, _)| here(id.as_str())).map(|(id, _)| split(id.as_str()).0);
        let mut nicks: Vec<Box<str>> = nicks.filter(|nick| !nick.contains([' ', ','])).map(Into::into).collect();
        let others = nicks.split_off(nicks.len().min(self.places()));
        let Some(link) = &mut self.link else { return };
        for some in in_lines(&nicks) {
            link.later(write::line("MONITOR", &["+", &some.join(",")]));
        }
        if nicks.is_empty() && others.is_empty() && self.rare.is_none() {
            return;
        }
        self.rare().monitored = nicks;
        self.rare().asked = others;
        self.rare().asked.truncate(MAX_ASKED);
        self.ask_all();
    }

    /// Contacts for whom the server's MONITOR list has place; a nick of our own that we wait for stands in it, too.
    fn places(&self) -> usize {
        self.link.as_ref().map_or(0, |l| usize::from(l.server.monitor).saturating_sub(usize::from(l.nick != self.wish)))
    }

    /// The user has put somebody on their roster, or has taken them off.
    pub(super) fn watch_one(&mut self, nick: &str, on: bool) {
        let (folded, places) = (self.fold(nick), self.places());
        if !on {
            let people = self.people.clone();
            let rare = self.rare();
            let mut all = rare.monitored.iter().chain(&rare.asked);
            // Of two spellings of one nick the other one is watched on.
            if !all.any(|known| **known != *nick && people.fold(known) == *folded) {
                rare.online.retain(|known| *known != folded);
                self.note_gone(&folded, false);
            }
        }
        if contact_id(nick, &self.of.network).is_none() {
            return;
        }
        let Some(link) = &mut self.link else { return };
        let rare = self.rare.get_or_insert_default();
        let place = rare.monitored.iter().position(|known| **known == *nick);
        if let (Some(place), false) = (place, on) {
            rare.monitored.swap_remove(place);
            // The server knows two spellings of one nick as one.
            if !rare.monitored.iter().any(|known| self.people.fold(known) == *folded) {
                link.later(write::line("MONITOR", &["-", nick]));
            }
            return;
        }
        rare.asked.retain(|known| **known != *nick);
        if !on {
            return;
        }
        if place.is_some() || rare.monitored.len() < places {
            if place.is_none() {
                rare.monitored.push(nick.into());
            }
            return link.later(write::line("MONITOR", &["+", nick]));
        }
        if rare.asked.len() < MAX_ASKED {
            rare.asked.push(nick.into());
        }
        self.ask_all();
    }

    /// 734: the server's list has no place for these after all.
    pub(super) fn on_monitor_full(&mut self, line: &Line<'_>) {
        let mut any = false;
        for nick in line.param(2).split(',') {
            let folded = self.fold(nick);
            let Some(rare) = &mut self.rare else { break };
            let is = |known: &mut Box<str>| self.people.fold(known) == *folded;
            for contact in rare.monitored.extract_if(.., is) {
                if rare.asked.len() < MAX_ASKED {
                    rare.asked.push(contact);
                }
                any = true;
            }
        }
        if any { self.ask_all() } else { self.show_error(line) }
    }

    /// Whom the server does not watch it is asked for: now, and whenever it asks whether we are there.
    fn ask_all(&mut self) {
        let (Some(link), Some(rare)) = (&mut self.link, &mut self.rare) else { return };
        for nicks in in_lines(&rare.asked) {
            link.sometime(write::line("ISON", &nicks.iter().map(|n| &**n).collect::<Vec<_>>()));
            rare.isons.push_back(Ison { nicks: nicks.to_vec(), at: Instant::now() });
        }
    }

    /// Who of the contacts is there? Not asked again before the answer has come.
    pub(super) fn ask_again(&mut self) {
        self.ask_of_watched();
        self.forget_lost_isons();
        if self.rare.as_ref().is_some_and(|rare| rare.isons.iter().all(|ison| ison.nicks.is_empty())) {
            self.ask_all();
        }
    }

    fn forget_lost_isons(&mut self) {
        let now = Instant::now();
        if let Some(rare) = &mut self.rare {
            while rare.isons.pop_front_if(|ison| ison.at + LOST <= now).is_some() {}
        }
    }

    /// ISON is typed by hand: it goes out before those of ours that wait.
    pub(super) fn types_ison(&mut self) {
        let waits = |q: &&super::link::Queued| q.quiet && q.line.starts_with(b"ISON ");
        let waiting = self.link.as_ref().map_or(0, |l| l.queue.iter().filter(waits).count());
        let isons = &mut self.rare().isons;
        isons.insert(isons.len().saturating_sub(waiting), Ison { nicks: Vec::new(), at: Instant::now() });
    }

    /// 461: the first that was typed was none.
    pub(super) fn typed_ison_refused(&mut self) {
        if let Some(rare) = &mut self.rare
            && let Some(at) = rare.isons.iter().position(|ison| ison.nicks.is_empty())
        {
            rare.isons.remove(at);
        }
    }

    /// 303: these are there, and of those that were asked for nobody else; `false`: the user has asked by hand.
    pub(super) fn on_are_on(&mut self, line: &Line<'_>) -> bool {
        self.forget_lost_isons();
        let Some(rare) = &mut self.rare else { return false };
        let Some(Ison { nicks: asked, .. }) = rare.isons.pop_front().filter(|i| !i.nicks.is_empty()) else {
            return false;
        };
        let there: Vec<Box<str>> = line.last().split(' ').filter(|n| !n.is_empty()).map(|n| self.fold(n)).collect();
        let here: Vec<Box<str>> = asked.iter().filter(|nick| there.contains(&self.fold(nick))).cloned().collect();
        for nick in asked {
            let folded = self.fold(&nick);
            let (is, was) = (there.contains(&folded), self.rare().online.contains(&folded));
            if is && !was {
                self.note_gone(&folded, false);
                self.rare().online.push(folded);
                self.seen(&nick, true, None);
            } else if was && !is {
                self.rare().online.retain(|known| *known != folded);
                self.note_gone(&folded, false);
                self.seen(&nick, false, None);
            }
        }
        self.ask_whether_away(&here);
        true
    }

    /// Somebody leaves the network whom a server without MONITOR would not tell us about.
    pub(super) fn watched_quits(&mut self, nick: &str) {
        let folded = self.fold(nick);
        let people = self.people.clone();
        let monitored = |rare: &super::Rare| rare.monitored.iter().any(|known| people.fold(known) == *folded);
        let Some(rare) = self.rare.as_mut().filter(|r| !r.asked.is_empty() && !monitored(r)) else { return };
        let before = rare.online.len();
        rare.online.retain(|known| *known != folded);
        if rare.online.len() != before {
            self.note_gone(&folded, false);
            self.seen(nick, false, None);
        }
    }

    /// 730, 731: who of them is there now, who is not.
    pub(super) fn on_monitor(&mut self, line: &Line<'_>, available: bool) {
        let nicks: Vec<String> =
            line.param(1).split(',').map(|t| t.split('!').next().unwrap_or_default().to_owned()).collect();
        let watched = self.watched();
        let mut come = Vec::new();
        for nick in nicks {
            let folded = self.fold(&nick);
            self.rare().online.retain(|known| *known != folded);
            self.note_gone(&folded, false);
            if available && watched.contains(&folded) {
                come.push(nick.as_str().into());
            }
            if available && self.rare().online.len() < MAX_ONLINE {
                self.rare().online.push(folded);
            } else if !available {
                self.regain(&nick);
            }
            self.seen(&nick, available, None);
        }
        self.ask_whether_away(&come);
    }

    /// Folded nicks of those whom the server watches for us.
    pub(super) fn watched(&self) -> Vec<Box<str>> {
        self.rare.iter().flat_map(|rare| &rare.monitored).map(|nick| self.fold(nick)).collect()
    }

    /// AWAY of somebody who is watched.
    pub(super) fn on_watched_away(&mut self, nick: &str, words: &str) {
        let folded = self.fold(nick);
        if self.rare.as_ref().is_some_and(|r| r.online.contains(&folded)) {
            let words = formatting::from_irc(words, false).into_owned();
            self.note_gone(&folded, !words.is_empty());
            self.seen(nick, true, Some(words).filter(|w| !w.is_empty()));
        }
    }

    /// Without a connection nobody is seen.
    pub(super) fn nobody_is_seen(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.isons.clear();
            rare.userhosts.clear();
            rare.gone.clear();
        }
        for nick in self.rare.as_mut().map(|r| std::mem::take(&mut r.online)).unwrap_or_default() {
            self.seen(&nick, false, None);
        }
    }

    /// Under the addresses that the user has for this nick: a server spells it in its own way, and takes several for one.
    pub(super) fn seen(&mut self, nick: &str, available: bool, away: Option<String>) {
        let folded = self.fold(nick);
        let known = self.rare.iter().flat_map(|r| r.monitored.iter().chain(&r.asked));
        let known = known.filter(|known| self.people.fold(known) == *folded).map(|known| &**known);
        let mut contacts: Vec<_> = known.filter_map(|nick| contact_id(nick, &self.of.network)).collect();
        if contacts.is_empty() {
            contacts.extend(contact_id(nick, &self.of.network));
        }
        let presence = Event::Presence {
            available,
            away: away.is_some(),
            status: away.filter(|words| !words.is_empty()).map(Text::plain),
            nick: None,
        };
        for contact in contacts {
            self.emit(Address::Contact(contact), presence.clone());
        }
    }
}

/// As many at a time as fit into one line.
fn in_lines(nicks: &[Box<str>]) -> impl Iterator<Item = &[Box<str>]> {
    let mut rest = nicks;
    std::iter::from_fn(move || {
        let mut length = 0;
        let fitting = rest.iter().take_while(|nick| {
            length += nick.len() + 1;
            length <= LINE
        });
        // One that is too long alone goes alone.
        let some = fitting.count().max(1).min(rest.len());
        let (first, others) = rest.split_at(some);
        rest = others;
        (!first.is_empty()).then_some(first)
    })
}
