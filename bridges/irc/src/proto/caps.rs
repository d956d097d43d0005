//! Capability negotiation (IRCv3 `CAP`, version 302): which are wanted, which are there.

/// What a connection can have, as flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Caps(u32);

macro_rules! caps {
    ($($flag:ident = $bit:literal, $name:literal;)*) => {
        impl Caps {
            $(pub(crate) const $flag: Self = Self(1 << $bit);)*
        }
        /// What is asked for where it is offered, and its flag.
        const WANTED: &[(&str, Caps)] = &[$(($name, Caps::$flag)),*];
    };
}

caps! {
    MULTI_PREFIX = 0, "multi-prefix";
    SERVER_TIME = 1, "server-time";
    ECHO = 2, "echo-message";
    TAGS = 3, "message-tags";
    BATCH = 4, "batch";
    ACCOUNT_TAG = 5, "account-tag";
    EXTENDED_JOIN = 6, "extended-join";
    ACCOUNT_NOTIFY = 7, "account-notify";
    AWAY_NOTIFY = 8, "away-notify";
    CHGHOST = 9, "chghost";
    SETNAME = 10, "setname";
    USERHOST = 11, "userhost-in-names";
    INVITE_NOTIFY = 12, "invite-notify";
    CAP_NOTIFY = 13, "cap-notify";
    STANDARD_REPLIES = 14, "standard-replies";
    SASL = 15, "sasl";
    EXTENDED_MONITOR = 16, "extended-monitor";
    PRE_AWAY = 17, "draft/pre-away";
    LABELS = 18, "labeled-response";
    MULTILINE = 19, "draft/multiline";
    REDACTION = 20, "draft/message-redaction";
    HISTORY = 21, "draft/chathistory";
    READ_MARKER = 22, "draft/read-marker";
    RENAME = 23, "draft/channel-rename";
    SELF = 24, "znc.in/self-message";
}

impl Caps {
    /// All of these are there.
    pub(crate) fn has(self, caps: Self) -> bool {
        self.0 & caps.0 == caps.0
    }

    fn set(&mut self, caps: Self, on: bool) {
        if on {
            self.0 |= caps.0;
        } else {
            self.0 &= !caps.0;
        }
    }

    fn of(name: &str) -> Option<Self> {
        WANTED.iter().find(|(known, _)| *known == name).map(|(_, flag)| *flag)
    }
}

/// The state of the negotiation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Negotiation {
    /// Offered and wanted.
    offered: Caps,
    /// In force.
    pub(crate) active: Caps,
    /// The value of `sasl`: its mechanisms, where the server names them.
    pub(crate) mechanisms: Box<str>,
    /// Bytes and lines of one message (`draft/multiline`), at most; 0: no bound.
    pub(crate) multiline: (u32, u32),
    /// It is a bouncer, which is in rooms for all of the user's programs.
    bouncer: bool,
    /// Requests that are not answered.
    open: u8,
    listed: bool,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing yet.
    Wait,
    /// Send these names with `CAP REQ`.
    Request(Vec<String>),
    /// The first negotiation is over: log in, or end it with `CAP END`.
    Settled,
}

impl Negotiation {
    /// A `CAP` line's parameters after the nick: `LS * :…`, `ACK :…`.
    pub(crate) fn on_cap(&mut self, params: &[&str], with_sasl: bool) -> Next {
        let (verb, more) = match params {
            [verb, "*", _, ..] => (*verb, true),
            [verb, ..] => (*verb, false),
            [] => return Next::Wait,
        };
        let names = params.last().copied().unwrap_or_default().split(' ').filter(|n| !n.is_empty());
        match verb.to_ascii_uppercase().as_str() {
            "LS" => {
                names.for_each(|name| self.offer(name));
                if more { Next::Wait } else { self.request(with_sasl) }
            }
            "NEW" => {
                names.for_each(|name| self.offer(name));
                // A login is not repeated on a running connection.
                self.request(false)
            }
            "DEL" => {
                names.filter_map(Caps::of).for_each(|cap| {
                    self.active.set(cap, false);
                    self.offered.set(cap, false);
                });
                Next::Wait
            }
            "ACK" => {
                for name in names {
                    let (name, on) = name.strip_prefix('-').map_or((name, true), |name| (name, false));
                    if let Some(cap) = Caps::of(name) {
                        self.active.set(cap, on);
                    }
                }
                self.answered()
            }
            "NAK" => self.answered(),
            _ => Next::Wait,
        }
    }

    fn offer(&mut self, name: &str) {
        let (name, value) = name.split_once('=').unwrap_or((name, ""));
        match name {
            "sasl" => self.mechanisms = value.into(),
            "draft/multiline" => {
                let number = |key: &str| {
                    value.split(',').find_map(|part| part.strip_prefix(key)?.parse().ok()).unwrap_or_default()
                };
                self.multiline = (number("max-bytes="), number("max-lines="));
            }
            _ => {}
        }
        self.bouncer |= name.starts_with("soju.im/") || name.starts_with("znc.in/");
        if let Some(cap) = Caps::of(name) {
            self.offered.set(cap, true);
        }
    }

    /// Whether that is a bouncer.
    pub(crate) fn is_bouncer(&self) -> bool {
        self.bouncer
    }

    fn request(&mut self, with_sasl: bool) -> Next {
        let mut lines: Vec<String> = Vec::new();
        for (name, cap) in WANTED {
            let wanted = self.offered.has(*cap) && !self.active.has(*cap) && (*cap != Caps::SASL || with_sasl);
            if !wanted {
                continue;
            }
            match lines.last_mut().filter(|line| line.len() + name.len() < 300) {
                Some(line) => *line = format!("{line} {name}"),
                None => lines.push((*name).to_owned()),
            }
        }
        self.open = lines.len() as u8;
        if lines.is_empty() {
            let first = !self.listed;
            self.listed = true;
            return if first { Next::Settled } else { Next::Wait };
        }
        Next::Request(lines)
    }

    fn answered(&mut self) -> Next {
        self.open = self.open.saturating_sub(1);
        if self.open > 0 || self.listed {
            return Next::Wait;
        }
        self.listed = true;
        Next::Settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_and_wanted_is_asked_for() {
        let mut cap = Negotiation::default();
        assert_eq!(cap.on_cap(&["LS", "*", "multi-prefix sasl=PLAIN,EXTERNAL unknown"], true), Next::Wait);
        let Next::Request(lines) = cap.on_cap(&["LS", "server-time sts=port=6697"], true) else { panic!("a request") };
        assert_eq!(lines, ["multi-prefix server-time sasl"]);
        assert_eq!(&*cap.mechanisms, "PLAIN,EXTERNAL");
        assert_eq!(cap.on_cap(&["ACK", "multi-prefix server-time sasl "], true), Next::Settled);
        assert!(cap.active.has(Caps::MULTI_PREFIX) && cap.active.has(Caps::SASL) && !cap.active.has(Caps::ECHO));
        let Next::Request(later) = cap.on_cap(&["NEW", "echo-message"], true) else { panic!("a request") };
        assert_eq!(later, ["echo-message"]);
        assert_eq!(cap.on_cap(&["ACK", "echo-message"], true), Next::Wait);
        assert_eq!(cap.on_cap(&["DEL", "echo-message"], true), Next::Wait);
        assert!(!cap.active.has(Caps::ECHO));
    }

    #[test]
    fn nothing_offered_or_all_refused_settles_it() {
        assert_eq!(Negotiation::default().on_cap(&["LS", ""], true), Next::Settled);
        let mut cap = Negotiation::default();
        assert!(matches!(cap.on_cap(&["LS", "multi-prefix sasl"], false), Next::Request(l) if l == ["multi-prefix"]));
        assert_eq!(cap.on_cap(&["NAK", "multi-prefix"], false), Next::Settled);
        assert_eq!(cap.on_cap(&[], false), Next::Wait);
    }
}
