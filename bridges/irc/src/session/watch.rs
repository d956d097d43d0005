//! Nicks on the user's roster: watched by MONITOR where the server has it, and away by extended-monitor; else asked for by ISON.

use isthmus_bridge::{Address, Event, Text};

use super::Session;
use crate::address::{contact_id, split};
use crate::proto::line::Line;
use crate::proto::write;
use crate::translate::formatting;

/// Nicks that are known to be there, at most.
const MAX_ONLINE: usize = 1_000;
/// Bytes of nicks in one MONITOR line.
const LINE: usize = 400;

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
        let nicks: Vec<String> = contacts
            .iter()
            .filter(|(id, _)| here(id.as_str()))
            .map(|(id, _)| split(id.as_str()).0.to_owned())
            .collect();
        let Some(link) = &mut self.link else { return };
        let most = usize::from(link.server.monitor);
        if most == 0 {
            return self.ask_for(nicks);
        }
        let mut line = String::new();
        for nick in nicks.iter().filter(|n| !n.contains([' ', ','])).take(most) {
            if line.len() + nick.len() > LINE {
                link.later(write::line("MONITOR", &["+", &line]));
                line.clear();
            }
            if !line.is_empty() {
                line.push(',');
            }
            line.push_str(nick);
        }
        if !line.is_empty() {
            link.later(write::line("MONITOR", &["+", &line]));
        }
    }

    /// The user has put somebody on their roster, or has taken them off.
    pub(super) fn watch_one(&mut self, nick: &str, on: bool) {
        let good = contact_id(nick, &self.of.network).is_some();
        if let Some(link) = &mut self.link
            && link.server.monitor > 0
            && good
        {
            link.later(write::line("MONITOR", &[if on { "+" } else { "-" }, nick]));
        }
        if !on {
            let folded = self.fold(nick);
            self.rare().online.retain(|known| *known != folded);
        }
        if good && self.link.as_ref().is_some_and(|l| l.server.monitor == 0) {
            let mut asked: Vec<String> = self
                .rare
                .iter()
                .flat_map(|r| &r.asked)
                .filter(|known| !self.same(known, nick))
                .map(|n| n.to_string())
                .collect();
            if on {
                asked.push(nick.to_owned());
            }
            self.ask_for(asked);
        }
    }

    fn same(&self, one: &str, other: &str) -> bool {
        self.people.fold(one) == self.people.fold(other)
    }

    /// Without MONITOR the server is asked: now, and whenever it asks whether we are there ([`ask_again`](Self::ask_again)). As many as fit into
    /// one line.
    fn ask_for(&mut self, nicks: Vec<String>) {
        let mut length = 0;
        let fitting = nicks.into_iter().filter(|n| !n.contains(' ')).take_while(|n| {
            length += n.len() + 1;
            length < LINE
        });
        let asked: Vec<Box<str>> = fitting.map(Into::into).collect();
        if asked.is_empty() && self.rare.is_none() {
            return;
        }
        self.rare().asked = asked;
        self.ask_again();
    }

    /// Who of the contacts is there?
    pub(super) fn ask_again(&mut self) {
        let Some(asked) = self.rare.as_ref().map(|r| &r.asked).filter(|a| !a.is_empty()) else { return };
        let line = write::line("ISON", &asked.iter().map(|n| &**n).collect::<Vec<_>>());
        if let Some(link) = &mut self.link {
            link.sometime(line);
        }
    }

    /// 303: these are there, and of those that were asked for nobody else; `false`: we did not ask.
    pub(super) fn on_are_on(&mut self, line: &Line<'_>) -> bool {
        let Some(asked) = self.rare.as_ref().map(|r| r.asked.clone()).filter(|a| !a.is_empty()) else { return false };
        let there: Vec<Box<str>> = line.last().split(' ').filter(|n| !n.is_empty()).map(|n| self.fold(n)).collect();
        for nick in asked {
            let folded = self.fold(&nick);
            let (is, was) = (there.contains(&folded), self.rare().online.contains(&folded));
            if is && !was {
                self.rare().online.push(folded);
                self.seen(&nick, true, None);
            } else if was && !is {
                self.rare().online.retain(|known| *known != folded);
                self.seen(&nick, false, None);
            }
        }
        true
    }

    /// Somebody leaves the network whom a server without MONITOR would not tell us about.
    pub(super) fn watched_quits(&mut self, nick: &str) {
        let folded = self.fold(nick);
        let Some(rare) = self.rare.as_mut().filter(|r| !r.asked.is_empty()) else { return };
        let before = rare.online.len();
        rare.online.retain(|known| *known != folded);
        if rare.online.len() != before {
            self.seen(nick, false, None);
        }
    }

    /// 730, 731: who of them is there now, who is not.
    pub(super) fn on_monitor(&mut self, line: &Line<'_>, available: bool) {
        let nicks: Vec<String> =
            line.param(1).split(',').map(|t| t.split('!').next().unwrap_or_default().to_owned()).collect();
        for nick in nicks {
            let folded = self.fold(&nick);
            self.rare().online.retain(|known| *known != folded);
            if available && self.rare().online.len() < MAX_ONLINE {
                self.rare().online.push(folded);
            } else if !available {
                self.regain(&nick);
            }
            self.seen(&nick, available, None);
        }
    }

    /// AWAY of somebody who is watched.
    pub(super) fn on_watched_away(&mut self, nick: &str, words: &str) {
        let folded = self.fold(nick);
        if self.rare.as_ref().is_some_and(|r| r.online.contains(&folded)) {
            let words = formatting::from_irc(words, false).into_owned();
            self.seen(nick, true, Some(words).filter(|w| !w.is_empty()));
        }
    }

    /// Without a connection nobody is seen.
    pub(super) fn nobody_is_seen(&mut self) {
        for nick in self.rare.as_mut().map(|r| std::mem::take(&mut r.online)).unwrap_or_default() {
            self.seen(&nick, false, None);
        }
    }

    fn seen(&mut self, nick: &str, available: bool, away: Option<String>) {
        let Some(contact) = contact_id(nick, &self.of.network) else { return };
        let presence = Event::Presence { available, away: away.is_some(), status: away.map(Text::plain), nick: None };
        self.emit(Address::Contact(contact), presence);
    }
}
