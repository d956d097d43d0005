//! The registration: capabilities, strict transport security, login, nick, the welcome, the network's services.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use isthmus_bridge::{Change, DeliveryError, Failure, LinkState, Text};
use tokio::time::Instant;

use super::life::{Attempt, SPACE_STS, valid_nick};
use super::link::Phase;
use super::rooms::Room;
use super::table::Table;
use super::{Session, Waiting};
use crate::network::Policy;
use crate::proto::caps::{Caps, Next};
use crate::proto::line::Line;
use crate::proto::sasl::{Login, Mechanism};
use crate::proto::throttle::Rate;
use crate::proto::write;
use crate::settings;

/// How long rooms wait for the network's services after the on-connect commands.
const SETTLE: Duration = Duration::from_secs(3);
/// Said in [`settings::FALLBACK_NICKS`]: where the nick is in use, no other one is taken.
const NO_NICKS: &str = "-";
/// Asked behind the on-connect commands: whatever services say before the answer is no answer to these (they greet everybody).
const COMMANDED: &str = "isthmus-commands";

impl Session {
    pub(super) fn on_cap(&mut self, line: &Line<'_>) {
        if self.upgraded(line) {
            return;
        }
        let with_sasl = self.logs_in();
        let Some(link) = &mut self.link else { return };
        // `CAP <nick or *> <verb> …`
        match link.cap.on_cap(line.params().get(1..).unwrap_or_default(), with_sasl) {
            Next::Wait => {}
            Next::Request(lines) => {
                for names in lines {
                    link.now(&write::text("CAP", &["REQ"], names.as_bytes()));
                }
            }
            Next::Settled => self.log_in(),
        }
        self.tell_abilities();
    }

    /// Strict transport security (IRCv3 `sts`): a server that names a port for TLS is spoken to there and nowhere else. What it says over TLS
    /// counts for as long as it says, from the end of the connection on.
    fn upgraded(&mut self, line: &Line<'_>) -> bool {
        if !matches!(line.param(1), "LS" | "NEW") {
            return false;
        }
        let Some(policy) = line.last().split(' ').find_map(|cap| cap.strip_prefix("sts=")) else { return false };
        let Some(link) = &self.link else { return false };
        let value = |key: &str| policy.split(',').find_map(|part| part.strip_prefix(key)?.parse::<u64>().ok());
        if link.tls {
            if let Some(seconds) = value("duration=") {
                self.keep_policy(link.port, seconds);
            }
            return false;
        }
        let port = value("port=").and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0);
        let Some(port) = port.filter(|_| link.phase == Phase::Registering) else { return false };
        // What it says in clear is believed when TLS is there (`sts`, "must first establish a secure connection").
        drop(self.end_link(Some("Upgrading to TLS")));
        let host = self.server_host();
        self.progress(Text::key("sts").with("host", &host));
        let left = VecDeque::from([(port, true)]);
        self.attempt = Some(Box::new(Attempt { host, left, now: (0, false), last: None }));
        self.next_port();
        true
    }

    /// Until then this host is spoken to by TLS alone, at this port; no time at all takes that back.
    fn keep_policy(&mut self, port: u16, seconds: u64) {
        let (host, now) = (self.server_host(), self.host.now());
        // A century is as good as for ever, and no time overflows.
        let until = now + Duration::from_secs(seconds.min(100 * 365 * 86_400));
        let policy = (seconds > 0).then(|| Policy { host: host.clone(), port, until });
        if self.network.policy() == policy {
            return;
        }
        self.keep_trust(|key| match &policy {
            Some(policy) => {
                let at = until.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
                let value = serde_json::json!({"host": policy.host, "port": port, "until": at}).to_string();
                Change::put(SPACE_STS, key, value).until(until)
            }
            None => Change::remove(SPACE_STS, key),
        });
        self.network.keep_policy(policy);
    }

    /// Whether the user has set how to log in.
    fn logs_in(&self) -> bool {
        self.secret(settings::SASL_PASSWORD).is_some() || self.settings.str(settings::SASL_MECHANISM) == "EXTERNAL"
    }

    fn log_in(&mut self) {
        let wanted = self.logs_in();
        let password = self.secret(settings::SASL_PASSWORD).unwrap_or_default().to_owned();
        let away = self.shown_away().map(str::to_owned);
        let Some(link) = &mut self.link else { return };
        if link.phase != Phase::Registering {
            return;
        }
        // Who is away already enters the network so (`draft/pre-away`).
        if let Some(away) = away.filter(|_| link.cap.active.has(Caps::PRE_AWAY)) {
            link.now(&write::text("AWAY", &[], away.as_bytes()));
        }
        if !wanted {
            return link.now(&write::line("CAP", &["END"]));
        }
        if !link.cap.active.has(Caps::SASL) {
            return self.no_login();
        }
        // While somebody else has the nick, the account is still the user's.
        let account = self.settings.get(settings::SASL_ACCOUNT).unwrap_or(&self.wish);
        let mechanism = Mechanism::choose(self.settings.str(settings::SASL_MECHANISM), &link.cap.mechanisms);
        let login = Login::new(mechanism, account, &password);
        link.now(&write::line("AUTHENTICATE", &[login.mechanism().name()]));
        link.login = Some(Box::new(login));
    }

    pub(super) fn on_authenticate(&mut self, line: &Line<'_>) {
        let nonce = hex::encode(rand::random::<[u8; 16]>());
        let Some(link) = &mut self.link else { return };
        let Some(login) = &mut link.login else { return };
        match login.on_challenge(line.param(0), &nonce) {
            Ok(lines) => lines.iter().for_each(|words| link.now(&write::line("AUTHENTICATE", &[words]))),
            Err(_) => self.login_failed(Text::key("sasl-nonsense")),
        }
    }

    /// 900: logged in; 903: and done.
    pub(super) fn on_logged_in(&mut self, done: bool) {
        let Some(link) = &mut self.link else { return };
        if done && link.login.as_ref().is_some_and(|login| !login.may_end()) {
            return self.login_failed(Text::key("sasl-nonsense"));
        }
        if done && link.login.take().is_some() && link.phase == Phase::Registering {
            link.logged_in = true;
            link.now(&write::line("CAP", &["END"]));
        }
        self.settled();
    }

    /// A failed login stops before any room is entered: the user would stand there unprotected.
    pub(super) fn login_failed(&mut self, reason: Text) {
        if self.link.as_ref().is_none_or(|l| l.phase != Phase::Registering) {
            return;
        }
        let error = DeliveryError::new(Failure::BadCredentials, reason.clone());
        self.notice(reason.clone());
        drop(self.end_link(Some("login failed")));
        self.refuse_joins(&error);
        let kept = self.keep_for_login();
        self.refuse_all(&error);
        self.rooms = kept;
        self.reports.push(LinkState::NeedsLogin { reason });
    }

    /// Rooms that the user wants kept wait for a login that succeeds: with another password, or by the user's next wish.
    fn keep_for_login(&mut self) -> Table<Box<Room>> {
        let (mut kept, mut others) = (Table::default(), Table::default());
        for (folded, room) in self.rooms.drain() {
            let stays = room.coming_back && room.settings.bool(settings::PERSISTENT);
            (if stays { &mut kept } else { &mut others }).insert(folded, room);
        }
        self.rooms = others;
        kept
    }

    /// The server offers no login: for good, or while its services are away. Rooms to which the user is coming back wait for these.
    fn no_login(&mut self) {
        let reason = Text::key("no-sasl");
        if self.rooms.values().any(|r| r.coming_back) { self.lost(reason) } else { self.login_failed(reason) }
    }

    /// 432, 433, 436, 437 during the registration.
    pub(super) fn on_nick_refused(&mut self, line: &Line<'_>) {
        let persistent = self.host.persistent(&self.of) || self.rooms.values().any(|r| r.coming_back);
        let mut others: Vec<String> = self
            .settings
            .str(settings::FALLBACK_NICKS)
            .split([' ', ','])
            .filter(|n| !n.is_empty() && *n != NO_NICKS)
            .map(valid_nick)
            .collect();
        if persistent && self.settings.str(settings::FALLBACK_NICKS).trim() != NO_NICKS {
            others.extend((1..4).map(|n| format!("{}{}", self.wish, "_".repeat(n))));
            // Where these are too long, or are cut to the nick that is in use: as long as the wish, and as what every server takes (RFC 2812
            // section 1.2.1).
            let short: String = self.wish.chars().take(9).collect();
            others.extend([&self.wish, &short].into_iter().flat_map(|nick| (1..4).map(|n| ending(nick, n))));
        }
        let Some(link) = &mut self.link else { return };
        if line.command == "432" {
            // Some networks take ASCII only, or shorter ones.
            let ascii: String = self.wish.chars().map(|c| if c.is_ascii() { c } else { '_' }).take(9).collect();
            if ascii != link.nick && link.fallback == 0 {
                others = vec![ascii];
            }
        }
        if let Some(next) = others.get(usize::from(link.fallback)) {
            link.fallback += 1;
            link.nick.clone_from(next);
            return link.now(&write::line("NICK", &[next]));
        }
        let failure = if line.command == "432" { Failure::Rejected } else { Failure::Conflict };
        let text =
            Text::key(if line.command == "432" { "nick-refused" } else { "nick-in-use" }).with("nick", &link.nick);
        if self.rooms.values().any(|r| r.coming_back) {
            return self.lost(text); // the user's own ghost, most likely: it goes in time
        }
        let error = DeliveryError::new(failure, text).with_code(line.command);
        drop(self.end_link(Some("nick")));
        self.refuse_all(&error);
    }

    /// The connection cannot be made as it is wanted, and trying again would not help.
    pub(super) fn refuse_all(&mut self, error: &DeliveryError) {
        self.fail_waiting(error);
        self.refuse_joins(error);
        self.lose_rooms(&error.text, false);
        self.fail_pending(error);
        self.reports.push(LinkState::Down { reason: error.text.clone(), retry_at: None });
    }

    pub(super) fn on_welcome(&mut self, line: &Line<'_>) {
        let Some(link) = &mut self.link else { return };
        // The rest of the welcome has its time from here on.
        (link.welcomed, link.began) = (true, Instant::now());
        if !line.param(0).is_empty() {
            line.param(0).clone_into(&mut link.nick);
        }
        let words = line.words(1);
        self.server_text(&words);
    }

    pub(super) fn on_isupport(&mut self, line: &Line<'_>) {
        let words = line.params();
        let Some(link) = &mut self.link else { return };
        Arc::make_mut(&mut link.server).learn(words.get(1..words.len().saturating_sub(1)).unwrap_or_default());
        if link.server.safe_rate {
            link.bucket.set(Rate::UNLIMITED);
        }
    }

    /// The welcome is over (376 or 422): commands for the network's services, then the rooms.
    pub(super) fn on_ready_to_go(&mut self) {
        let commands = self.secret(settings::COMMANDS).unwrap_or_default().to_owned();
        let logs_in = self.logs_in();
        let Some(link) = &mut self.link else { return };
        let motd = link.motd.take().unwrap_or_default();
        if link.phase != Phase::Registering {
            return self.server_text(motd.trim_end()); // asked for by hand
        }
        if logs_in && !link.logged_in {
            return self.no_login(); // it does not even know CAP
        }
        let lines: Vec<Vec<u8>> = commands.lines().filter_map(settings::command).collect();
        let now = Instant::now();
        link.began = now;
        link.phase = if lines.is_empty() { Phase::Up } else { Phase::Settling(now + SETTLE) };
        let any = !lines.is_empty();
        lines.into_iter().for_each(|line| link.later(line));
        if any {
            link.later(write::line("PING", &[COMMANDED]));
        }
        link.server = self.network.share(&link.server);
        let people = self.network.people(link.server.casemapping);
        self.people = people;
        self.refold_rooms();
        self.show_motd(&motd);
        self.used = now;
        self.reports.push(LinkState::Up);
        if self.link.as_ref().is_some_and(|l| l.phase == Phase::Up) {
            self.up();
        }
    }

    fn show_motd(&mut self, motd: &str) {
        if !motd.is_empty() && !self.is_quiet() {
            self.server_text(motd.trim_end());
        }
    }

    /// The server has heard everything that was sent before a PING.
    pub(super) fn on_pong(&mut self, line: &Line<'_>) {
        if let Some(link) = &mut self.link
            && matches!(link.phase, Phase::Settling(_))
            && line.last() == COMMANDED
        {
            link.commanded = true;
        }
    }

    /// The services have had their time, as soon as all commands are out.
    pub(super) fn settle_in_time(&mut self, now: Instant) {
        match &mut self.link {
            Some(link) if !link.queue.is_empty() => link.phase = Phase::Settling(now + SETTLE),
            _ => self.settled(),
        }
    }

    /// The services have answered, or had their time.
    pub(super) fn settled(&mut self) {
        if let Some(link) = &mut self.link
            && matches!(link.phase, Phase::Settling(_))
        {
            link.phase = Phase::Up;
            self.up();
        }
    }

    /// In order: rooms are entered, what waited goes out.
    fn up(&mut self) {
        self.tell_abilities();
        self.stays = true;
        if self.rooms.is_empty() && self.host.persistent(&self.of) {
            self.save_rooms();
        }
        if let Some(away) = self.shown_away() {
            self.send(self.away_line(away));
        }
        self.watch = true;
        self.ask_for_talks();
        self.watch_wish();
        self.enter_rooms();
        for (waiting, _) in std::mem::take(&mut self.waiting) {
            match waiting {
                Waiting::Words(delivery) => self.on_delivery(delivery),
                Waiting::Question(ask) => self.on_question(ask),
            }
        }
    }

    /// With another nick than the wished one, the server tells when that is free.
    fn watch_wish(&mut self) {
        let wish = self.wish.clone();
        if let Some(link) = &mut self.link
            && link.nick != wish
            && link.server.monitor > 0
        {
            link.later(write::line("MONITOR", &["+", &wish]));
        }
    }

    /// Somebody has given up a nick: ours, perhaps.
    pub(super) fn regain(&mut self, free: &str) {
        let wish = self.wish.clone();
        if let Some(link) = &mut self.link
            && link.phase == Phase::Up
            && self.people.fold(free) == self.people.fold(&wish)
            && link.nick != wish
        {
            link.later(write::line("NICK", &[&wish]));
        }
    }
}

/// The nick with so many `_` in the place of its last letters.
fn ending(nick: &str, n: usize) -> String {
    let kept = nick.chars().count().saturating_sub(n).max(1);
    nick.chars().take(kept).chain(std::iter::repeat_n('_', n)).collect()
}
