//! Nicks on the user's roster: watched by MONITOR where the server has it, and away by extended-monitor.

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
