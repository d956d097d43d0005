//! The life of a connection: ports in order, loss, trying again, leaving.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use isthmus_bridge::{Change, DeliveryError, Failure, LinkState, Text};
use rand::Rng;
use tokio::time::{Instant, timeout};

use super::Session;
use super::few::Few;
use super::link::{self, Link, Phase};
use super::speak::take_asked;
use crate::certificate::Certificate;
use crate::connect::{Connected, NoConnection, Target, dial};
use crate::proto::throttle::Bucket;
use crate::proto::write;
use crate::settings;
use crate::tls::Check;
use crate::translate::formatting;

/// The first and the longest wait before a lost connection is tried again.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(600));
/// A connection that held for this long was a good one: the waits begin anew.
const GOOD: Duration = Duration::from_secs(60);
/// Where the bridge remembers that a network has spoken TLS.
pub(super) const SPACE_TLS: &str = "spoke-tls";

/// Where the bridge keeps what servers say of strict transport security.
pub(super) const SPACE_STS: &str = "sts";

/// The connection being made; boxed, so that a session that has one is no larger for it.
pub(super) type Dialing = Pin<Box<dyn Future<Output = Result<Connected, NoConnection>> + Send>>;

/// One round through the ports.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) host: String,
    pub(super) left: VecDeque<(u16, bool)>,
    pub(super) now: (u16, bool),
    pub(super) last: Option<NoConnection>,
}

impl Session {
    /// Begins a round through the ports, unless a connection is there or being made.
    pub(super) fn connect(&mut self) {
        if self.link.is_some() || self.attempt.is_some() {
            return;
        }
        self.retry_at = None;
        if let Some(network) = self.not_allowed() {
            let text = Text::key("network-not-allowed").with("network", network);
            return self.give_up(&DeliveryError::new(Failure::Forbidden, text));
        }
        // The nick has to be free.
        self.shared.networks.cut(&self.of);
        self.choose_network();
        if !self.network.remembered.load(Ordering::Relaxed) {
            self.rare().asks_trust = true;
            return;
        }
        let ports = settings::ports(&self.settings);
        let spoke_tls = self.network.spoke_tls.load(Ordering::Relaxed);
        let may_be_heard = self.may_be_heard();
        // Whoever has chosen ports in clear and no others has not fallen back to them.
        let wants_clear = ports.plain_by_choice && !ports.all.iter().any(|(_, tls)| *tls);
        let mut left: VecDeque<(u16, bool)> = ports.all.into();
        // A network that once spoke TLS never falls back, and no secret goes over a port that nobody chose.
        left.retain(|(_, tls)| *tls || if spoke_tls { wants_clear } else { may_be_heard });
        let host = self.server_host();
        if let Some(policy) = self.network.policy().filter(|p| p.host == host && p.until > self.host.now()) {
            left = VecDeque::from([(policy.port, true)]);
        }
        self.attempt = Some(Box::new(Attempt { host, left, now: (0, false), last: None }));
        self.reports.push(LinkState::Connecting);
        self.next_port();
    }

    /// Whether a connection in clear gives nothing away, or was chosen all the same.
    fn may_be_heard(&self) -> bool {
        // Whoever pins a certificate wants to talk to whom it belongs, and to nobody in clear.
        settings::ports(&self.settings).plain_by_choice
            || !(self.has_secret() || self.settings.get(settings::FINGERPRINT).is_some())
    }

    /// The settings are others now, and a connection may be coming about in clear that they would not have allowed: it ends before it tells a secret.
    pub(super) fn guard_secrets(&mut self) {
        if self.may_be_heard() {
            return;
        }
        if let Some(attempt) = &mut self.attempt {
            attempt.left.retain(|(_, tls)| *tls);
            if !attempt.now.1 && self.dialing.take().is_some() {
                self.next_port();
            }
        } else if self.link.as_ref().is_some_and(|l| !l.tls && l.phase == Phase::Registering) {
            drop(self.end_link(Some("Not in clear")));
            self.connect();
        }
    }

    /// Whether something would be sent that nobody may overhear.
    fn has_secret(&self) -> bool {
        // Services have many names and commands; these two lines tell them nothing.
        let harmless = |line: &str| {
            let word = line.trim_start_matches('/').split(' ').next().unwrap_or_default();
            word.is_empty() || word.eq_ignore_ascii_case("MODE") || word.eq_ignore_ascii_case("AWAY")
        };
        [settings::PASS, settings::SASL_PASSWORD, settings::WEBIRC].iter().any(|key| self.secret(key).is_some())
            || self.secret(settings::COMMANDS).is_some_and(|commands| !commands.lines().all(harmless))
    }

    pub(super) fn next_port(&mut self) {
        let Some(attempt) = &mut self.attempt else { return };
        let Some((port, tls)) = attempt.left.pop_front() else { return self.no_port_left() };
        attempt.now = (port, tls);
        let host = attempt.host.clone();
        let check = Check::of(self.settings.bool(settings::VERIFY), self.settings.str(settings::FINGERPRINT));
        let target = Target {
            host: host.clone(),
            port,
            tls: tls.then_some(check),
            certificate: self.certificate.clone(),
            allow_private: self.shared.config.allow_private_networks,
            bind: match self.shared.config.user_addresses {
                Some(prefix) => Some(crate::listen::own_address(&self.host, &self.of.user, prefix).into()),
                None => self.shared.config.bind,
            },
            ident: self.shared.config.identd.map(|_| (self.shared.idents.clone(), self.ident())),
        };
        self.dialing = Some(Box::pin(dial(target, self.network.clone())));
        self.progress(
            Text::key(if tls { "connecting-tls" } else { "connecting-plain" }).with("host", host).with("port", port),
        );
    }

    /// Tells how the connection comes about; not again and again while a broken one is tried, nor where nobody asked for it: after a restart, for rooms
    /// that are kept up without any client.
    pub(super) fn progress(&mut self, text: Text) {
        if !self.is_quiet() {
            self.notice(text);
        }
    }

    /// Whether a connection comes about without words.
    pub(super) fn is_quiet(&self) -> bool {
        let for_nobody = self.absent || (self.stays && self.rooms.is_empty());
        self.failures > 0 || (for_nobody && self.waiting.is_empty())
    }

    fn no_port_left(&mut self) {
        let Some(attempt) = self.attempt.take() else { return };
        let error = match &attempt.last {
            Some(last) => last.error(&attempt.host),
            None => {
                let spoke_tls = self.network.spoke_tls.load(Ordering::Relaxed);
                let text = Text::key(if spoke_tls { "encrypted-before" } else { "no-safe-port" });
                DeliveryError::new(Failure::Unreachable, text.with("host", &attempt.host))
            }
        };
        self.give_up(&error);
    }

    /// What waited for the connection fails; what is to come back is tried again later.
    pub(super) fn give_up(&mut self, error: &DeliveryError) {
        self.fail_waiting(error);
        self.refuse_joins(error);
        self.fail_pending(error);
        let coming_back = self.coming_back();
        let retry_at = coming_back.then(|| self.schedule(Duration::ZERO));
        self.reports.push(LinkState::Down { reason: error.text.clone(), retry_at });
    }

    pub(super) fn fail_waiting(&mut self, error: &DeliveryError) {
        std::mem::take(&mut self.waiting).into_iter().for_each(|(waiting, _)| waiting.fail(error));
    }

    /// Whether the session wants its connection back by itself.
    fn coming_back(&self) -> bool {
        !self.rooms.is_empty() || (self.stays && self.host.persistent(&self.of))
    }

    /// Sets the time of the next try, not before `least`; gives it as the core's clock has it.
    fn schedule(&mut self, least: Duration) -> SystemTime {
        // Whoever was told to wait comes back later than the others who were, not all at once.
        let least = least.mul_f64(rand::rng().random_range(1.0..1.25));
        let wait = backoff(self.failures, rand::rng().random_range(0.75..1.25)).max(least);
        self.failures += 1;
        self.retry_at = Some(Instant::now() + wait);
        self.host.now() + wait
    }

    pub(super) async fn on_dialed(&mut self, result: Result<Connected, NoConnection>) {
        let Some((now, host)) = self.attempt.as_ref().map(|a| (a.now, a.host.clone())) else { return };
        match result {
            Ok(connected) => self.begin(connected, now).await,
            Err(error) => {
                tracing::debug!(user = %self.of.user, network = %self.of.network, port = now.0, %error, "no connection");
                self.progress(error.text(&host));
                let refused = matches!(error, NoConnection::Certificate(_));
                let in_clear = settings::ports(&self.settings).plain_by_choice;
                if let Some(attempt) = &mut self.attempt {
                    if refused && !in_clear {
                        // Whoever stands in between wants us to go on in clear.
                        attempt.left.retain(|(_, tls)| *tls);
                    }
                    // An unknown host says more than what a later port says, and a certificate more than a closed port.
                    match &attempt.last {
                        Some(_) if !refused => {}
                        _ => attempt.last = Some(error),
                    }
                }
                self.next_port();
            }
        }
    }

    /// Connected: says who we are.
    async fn begin(&mut self, connected: Connected, (port, tls): (u16, bool)) {
        let most = self.shared.config.connections_per_network;
        // Whatever server it is: an address of the network's counts.
        let Some(place) = self.shared.networks.get(&self.of.network).enter(most) else {
            self.attempt = None;
            return self.give_up(&DeliveryError::temporary(Failure::Full, Text::key("too-many-connections")));
        };
        if tls && !self.network.spoke_tls.swap(true, Ordering::Relaxed) {
            self.keep_trust(|key| Change::put(SPACE_TLS, key, "1"));
        }
        let now = Instant::now();
        let ends = (connected.local, connected.peer);
        // The registration itself is not throttled: servers expect it at once.
        let bucket = Bucket::new(settings::rate(&self.settings), now);
        let mut link = Box::new(Link::new(connected, (port, tls), bucket, place, now));
        let nick = self.wished_nick();
        if let Some(password) = self.secret(settings::WEBIRC) {
            let (name, address) = crate::listen::webirc(&self.host, &self.of.user, self.shared.config.webirc_prefix);
            // The first line of all (IRCv3 WEBIRC).
            link.now(&write::line("WEBIRC", &[password, "isthmus", &name, &address.to_string()]));
        }
        link.now(&write::line("CAP", &["LS", "302"]));
        if let Some(pass) = self.secret(settings::PASS) {
            link.now(&write::line("PASS", &[pass]));
        }
        link.now(&write::line("NICK", &[&nick]));
        // Where servers ask, the answer and the name said here are one.
        let user = if link.ident.is_some() { self.ident() } else { self.user_name() };
        let real = self.settings.get(settings::REALNAME).unwrap_or(&nick);
        link.now(&write::text("USER", &[&user, "0", "*"], real.as_bytes()));
        link.nick = nick;
        self.link = Some(link);
        self.attempt = None;
        self.progress(Text::key(if tls { "connected-tls" } else { "connected-plain" }));
        tracing::debug!(user = %self.of.user, network = %self.of.network, port, tls, ?ends, "connected");
    }

    fn ident(&self) -> String {
        crate::listen::ident(&self.host, &self.of.user)
    }

    /// The nick to ask for: the setting, else what a client asked for, else the user's own name.
    pub(super) fn wished_nick(&mut self) -> String {
        let local = self.of.user.as_str().split('@').next().unwrap_or_default().to_owned();
        let wish = match self.settings.get(settings::NICK) {
            Some(set) => set,
            None if !self.wish.is_empty() => &self.wish,
            None => &local,
        };
        let nick = valid_nick(wish);
        self.wish.clone_from(&nick);
        nick
    }

    /// USER's first word: the setting, else the user's local part, else their nick.
    fn user_name(&self) -> String {
        let local = self.of.user.as_str().split('@').next().unwrap_or_default();
        let name = self.settings.get(settings::USERNAME).unwrap_or(local);
        let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).take(10).collect();
        if name.is_empty() { "user".to_owned() } else { name }
    }

    /// The stream has ended.
    pub(super) fn on_over(&mut self, result: std::io::Result<()>) {
        // Lines that waited for the core were said all the same; what they tell waits on.
        let held = self.link.as_mut().map(|l| std::mem::take(&mut l.held)).unwrap_or_default();
        for line in held.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
            self.on_text(line);
        }
        let told = self.link.as_mut().and_then(|l| l.error.take());
        let reason = match (told, result) {
            (Some(words), _) => Text::plain(formatting::from_irc(&words, false).into_owned()),
            (None, Ok(())) => Text::key("closed"),
            // COMPAT(ircds): many end TLS without saying so.
            (None, Err(e)) if e.kind() == std::io::ErrorKind::UnexpectedEof => Text::key("closed"),
            (None, Err(e)) => Text::key("broken").with("why", e.to_string().split(" (os").next().unwrap_or_default()),
        };
        self.lost(reason);
    }

    /// The connection is gone, and it was not our wish.
    pub(super) fn lost(&mut self, reason: Text) {
        let Some(mut link) = self.link.take() else { return };
        let registering = link.phase == Phase::Registering;
        if !registering && link.began.elapsed() >= GOOD {
            (self.failures, self.told_break) = (0, false);
        }
        self.forget_link(&mut link);
        let words = plain(&reason);
        let least = least_wait(&words);
        let error = DeliveryError::temporary(Failure::Unreachable, Text::key("link-lost").with("why", &words));
        self.fail_pending(&error);
        self.fail_waiting(&error);
        self.refuse_joins(&error);
        let coming_back = self.coming_back();
        if coming_back && !registering {
            self.misses_private();
        }
        // An end for good is news, however often it broke before.
        if !self.told_break || !coming_back {
            self.told_break = coming_back;
            let key = if registering { "refused-by-server" } else { "link-lost" };
            self.notice(Text::key(key).with("why", &words));
        }
        let retry_at = coming_back.then(|| self.schedule(least));
        self.lose_rooms(&reason, coming_back);
        self.reports.push(LinkState::Down { reason, retry_at });
    }

    /// What was on its way over a connection that is gone.
    fn forget_link(&mut self, link: &mut Link) {
        let unsent = DeliveryError::temporary(Failure::Unreachable, Text::key("not-connected"));
        let mut whole = None;
        for said in link.queue.drain(..).filter_map(|q| q.said) {
            if said.part == 0 {
                whole = Some(said.key.clone());
            }
            let Some(ticket) = said.ticket else { continue };
            if whole.as_ref() == Some(&said.key) {
                ticket.failed(unsent.clone());
            } else {
                // Its first lines are out.
                ticket.failed(DeliveryError::uncertain(Text::key("maybe-lost")));
            }
        }
        for said in link.said.drain(..) {
            if let Some(ticket) = said.ticket {
                ticket.failed(DeliveryError::uncertain(Text::key("maybe-lost")));
            }
        }
        let typists = link.again.as_mut().map(|again| again.typists.take()).unwrap_or_default();
        self.nobody_types(typists);
        self.nobody_is_seen();
        self.talks = Few::default();
        if let Some(rare) = &mut self.rare {
            rare.aways.clear();
        }
        self.forget_partings();
    }

    /// Says QUIT; what was on its way is answered. The connection is closed unless somebody keeps what is given back.
    pub(super) fn end_link(&mut self, words: Option<&str>) -> Option<Box<Link>> {
        let line = self.worded(&["QUIT"], words.unwrap_or_default(), 0);
        let mut link = self.link.take()?;
        take_asked(&mut link);
        link.now(&line);
        // Written to the end in the background would need a task; a connection that takes a line at once is the rule.
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let _ = link.poll_write(&mut cx);
        self.forget_link(&mut link);
        Some(link)
    }

    /// Nobody needs the connection any more.
    pub(super) fn close(&mut self, words: &str) {
        if let Some(link) = self.end_link(Some(words)) {
            self.shared.networks.part(self.of.clone(), link.part());
        }
        self.retry_at = None;
        self.attempt = None;
        self.dialing = None;
        self.stays = false;
        (self.failures, self.told_break) = (0, false);
        self.unneeded = false;
        // Whoever comes back says anew whether they are there.
        (self.away, self.absent) = (None, false);
        self.reports.push(LinkState::Down { reason: Text::key("left-network"), retry_at: None });
    }

    /// The session ends: QUIT, and every view is left.
    pub(super) async fn leave(&mut self) {
        let gone = DeliveryError::temporary(Failure::Unreachable, Text::key("gateway-stops"));
        self.save_rooms();
        if let Some(mut link) = self.link.take() {
            take_asked(&mut link);
            link.now(&write::text("QUIT", &[], b"Gateway shutdown"));
            let written = std::future::poll_fn(|cx| link.poll_write(cx));
            // A server that does not read gets no farewell.
            let _ = timeout(Duration::from_secs(2), written).await;
            self.forget_link(&mut link);
        }
        self.fail_pending(&gone);
        self.refuse_joins(&gone);
        self.fail_waiting(&gone);
        for (_, room) in self.rooms.drain() {
            super::view(&room.view).left(None);
        }
        self.tell().await;
    }

    /// By command: out of the network, and not back.
    pub(super) async fn disconnect(&mut self, words: &str) {
        let error = DeliveryError::new(Failure::Unreachable, Text::key("disconnected-by-command"));
        self.refuse_all(&error);
        self.close(words);
        self.rooms.clear();
        self.save_rooms();
        self.notice(Text::key("disconnected-by-command"));
        self.tell().await;
    }

    /// By command: out, and in again at once.
    pub(super) async fn reconnect(&mut self) {
        drop(self.end_link(Some("Reconnecting")));
        // The next connection numbers its questions anew: no answer there is to one that was asked here.
        self.fail_pending(&DeliveryError::temporary(Failure::Unreachable, Text::key("not-connected")));
        self.lose_rooms(&Text::key("reconnecting"), true);
        (self.failures, self.told_break) = (0, false);
        self.connect();
        self.tell().await;
    }

    /// What is due on the connection.
    pub(super) fn look_after_link(&mut self, now: Instant) {
        self.turn(now);
        let deaf = self.is_deaf();
        let Some(link) = &mut self.link else { return };
        if deaf {
            // Who does not listen cannot say that nothing was said: its time begins when we read again.
            (link.heard, link.pinged) = (now, false);
            return;
        }
        match link.phase {
            Phase::Registering if link.welcomed && now >= link.began + link::WELCOMED => return self.on_ready_to_go(),
            Phase::Registering if now >= link.began + link::WELCOME => return self.lost(Text::key("no-welcome")),
            Phase::Settling(until) if now >= until => return self.settle_in_time(now),
            _ => {}
        }
        if link.pinged && now >= link.heard + link::SILENCE + link::ANSWER {
            return self.lost(Text::key("ping-timeout"));
        }
        if !link.pinged && now >= link.heard + link::SILENCE {
            link.pinged = true;
            // It has its time to answer from now on, also where it was us who slept (a suspended machine).
            link.heard = now.checked_sub(link::SILENCE).unwrap_or(link.heard);
            link.now(b"PING :isthmus\r\n");
        }
        let idle = link.phase == Phase::Up && self.rooms.is_empty() && now >= self.used + super::IDLE;
        if idle && !self.host.persistent(&self.of) {
            self.close("Idle");
        } else if idle {
            self.used = now;
            self.nobody_is_here();
        }
    }

    /// A line in its turn; dropped where there is no connection.
    pub(super) fn send(&mut self, line: Vec<u8>) {
        if let Some(link) = &mut self.link {
            link.later(line);
        }
    }

    /// Registered, and the services have had their time.
    pub(super) fn is_up(&self) -> bool {
        self.link.as_ref().is_some_and(|l| l.phase == Phase::Up)
    }

    /// What is kept of the network and of the user's rooms on it.
    pub(super) async fn restore(&mut self) {
        self.restore_trust().await;
        match Certificate::load(&self.host, &self.of.user, &self.of.network).await {
            Ok(own) => self.certificate = own,
            Err(error) => {
                tracing::warn!(user = %self.of.user, network = %self.of.network, %error, "a certificate could not be read");
            }
        }
        self.restore_rooms().await;
    }
}

/// 2 s, 4 s … 10 min, times a random part.
fn backoff(failures: u32, jitter: f64) -> Duration {
    BACKOFF.0.saturating_mul(1 << failures.min(16)).mul_f64(jitter).clamp(BACKOFF.0, BACKOFF.1)
}

/// Some farewells say that coming back soon makes it worse.
fn least_wait(words: &str) -> Duration {
    let words = words.to_lowercase();
    let says = |all: &[&str]| all.iter().any(|word| words.contains(word));
    if says(&["k-line", "g-line", "z-line", "d-line", "klined", "glined", "zlined", "banned", "akill"]) {
        BACKOFF.1
    } else if says(&["too fast", "throttl", "too many", "flood"]) {
        Duration::from_secs(60)
    } else {
        Duration::ZERO
    }
}

/// A text of ours inside another one: its words where it has some, else its key.
pub(super) fn plain(text: &Text) -> String {
    match text {
        Text::Key { name, args } => {
            args.iter().find(|(key, _)| key == "why").map_or_else(|| name.replace('-', " "), |(_, why)| why.clone())
        }
        other => other.to_string(),
    }
}

/// A nick that a server may take (RFC 2812 section 2.3.1, and letters of any script, which some take).
pub(crate) fn valid_nick(wish: &str) -> String {
    let good = |c: char| c.is_alphanumeric() || "[]\\`_^{|}-".contains(c);
    let mut nick: String = wish.trim().chars().map(|c| if good(c) { c } else { '_' }).take(30).collect();
    if nick.starts_with(|c: char| c.is_numeric() || c == '-') {
        nick.insert(0, '_');
    }
    if nick.is_empty() { "user".to_owned() } else { nick }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nicks_are_made_valid() {
        let cases = [
            ("Ann", "Ann"),
            ("an other\r\nnick", "an_other__nick"),
            ("1st", "_1st"),
            ("-x", "_-x"),
            ("", "user"),
            ("a!b@c", "a_b_c"),
            ("[x]", "[x]"),
        ];
        for (wish, nick) in cases {
            assert_eq!(valid_nick(wish), nick);
        }
    }

    #[test]
    fn waits_grow_and_are_bounded() {
        assert_eq!(backoff(0, 1.0), Duration::from_secs(2));
        assert_eq!(backoff(3, 1.0), Duration::from_secs(16));
        assert_eq!(backoff(40, 1.0), Duration::from_secs(600));
        assert_eq!(backoff(0, 0.75), Duration::from_secs(2));
        assert_eq!(backoff(40, 1.25), Duration::from_secs(600));
        assert_eq!(backoff(3, 1.25), Duration::from_secs(20));
        assert_eq!(least_wait("Closing Link: x (K-Lined)"), Duration::from_secs(600));
        assert_eq!(least_wait("Trying to reconnect too fast."), Duration::from_secs(60));
        assert_eq!(least_wait("Ping timeout"), Duration::ZERO);
    }
}
