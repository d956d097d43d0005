//! What a server says of itself in 005 (RPL_ISUPPORT), as far as it matters here.

use isthmus_bridge::room::{Fold, Rank};

/// How a network compares names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Casemapping {
    /// `{}|^` are the lower case of `[]\~` (RFC 1459 section 2.2).
    #[default]
    Rfc1459,
    /// The same without `^` and `~`.
    Strict,
    /// Letters only.
    Ascii,
}

impl Casemapping {
    /// Its folding.
    pub(crate) fn fold(self) -> Fold {
        match self {
            Self::Rfc1459 => rfc1459,
            Self::Strict => strict,
            Self::Ascii => isthmus_bridge::room::ascii_fold,
        }
    }

    /// 0, 1 or 2.
    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

fn rfc1459(name: &str) -> String {
    name.chars().map(|c| if c == '~' { '^' } else { lower(c) }).collect()
}

fn strict(name: &str) -> String {
    name.chars().map(lower).collect()
}

fn lower(c: char) -> char {
    match c {
        '[' => '{',
        ']' => '}',
        '\\' => '|',
        c => c.to_ascii_lowercase(),
    }
}

/// What takes a parameter (CHANMODES).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ModeKind {
    /// A list: with a parameter; without one it asks for the list.
    List,
    /// Always with a parameter.
    Always,
    /// With a parameter when it is set.
    WhenSet,
    /// Never with a parameter.
    Never,
    /// A member's rank: always with a nick.
    Rank,
}

/// The limits and letters of one server. Small: most servers differ from the default in few of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Isupport {
    pub(crate) casemapping: Casemapping,
    /// Mode letter and its prefix, highest first.
    prefixes: Box<[(u8, u8)]>,
    chanmodes: Box<str>,
    /// What channels begin with on this server.
    pub(crate) chantypes: Box<str>,
    /// Prefixes to which one may speak to (`@#chan`).
    statusmsg: Box<str>,
    pub(crate) network: Option<Box<str>>,
    pub(crate) nick_len: u16,
    pub(crate) topic_len: u16,
    pub(crate) kick_len: u16,
    pub(crate) away_len: u16,
    pub(crate) monitor: u16,
    /// The server does not mind how fast lines come.
    pub(crate) safe_rate: bool,
    /// WHO takes a list of fields (WHOX).
    pub(crate) whox: bool,
    /// By this letter WHO marks programs (IRCv3 bot mode).
    pub(crate) bot: Option<u8>,
    /// Only UTF-8 is taken (IRCv3 UTF8ONLY).
    pub(crate) utf8_only: bool,
    /// Clients' tags that do not pass, as the server writes them (CLIENTTAGDENY).
    pub(crate) denied_tags: Box<str>,
    /// Lines that one CHATHISTORY gives, at most; 0: no bound.
    pub(crate) history: u16,
}

impl Default for Isupport {
    fn default() -> Self {
        Self {
            casemapping: Casemapping::default(),
            prefixes: Box::new([(b'q', b'~'), (b'a', b'&'), (b'o', b'@'), (b'h', b'%'), (b'v', b'+')]),
            chanmodes: "beI,k,l,imnpst".into(),
            chantypes: "#&".into(),
            statusmsg: "".into(),
            network: None,
            nick_len: 0,
            topic_len: 0,
            kick_len: 0,
            away_len: 0,
            monitor: 0,
            safe_rate: false,
            whox: false,
            bot: None,
            utf8_only: false,
            denied_tags: "".into(),
            history: 0,
        }
    }
}

impl Isupport {
    /// Takes the words of one 005 line (without the nick and without the closing words).
    pub(crate) fn learn(&mut self, words: &[&str]) {
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            match key {
                "CASEMAPPING" => {
                    self.casemapping = match value {
                        "ascii" => Casemapping::Ascii,
                        "rfc1459-strict" | "strict-rfc1459" => Casemapping::Strict,
                        _ => Casemapping::Rfc1459,
                    };
                }
                "PREFIX" => self.learn_prefixes(value),
                "CHANMODES" if value.matches(',').count() >= 3 => self.chanmodes = value.into(),
                "CHANTYPES" => self.chantypes = value.into(),
                "STATUSMSG" => self.statusmsg = value.into(),
                "NETWORK" => self.network = Some(value.replace("\\x20", " ").into()),
                "NICKLEN" => self.nick_len = value.parse().unwrap_or(0),
                "TOPICLEN" => self.topic_len = value.parse().unwrap_or(0),
                "KICKLEN" => self.kick_len = value.parse().unwrap_or(0),
                "AWAYLEN" => self.away_len = value.parse().unwrap_or(0),
                "MONITOR" => self.monitor = value.parse().unwrap_or(100),
                "SAFERATE" => self.safe_rate = true,
                "CLIENTTAGDENY" => self.denied_tags = value.into(),
                "WHOX" => self.whox = true,
                "BOT" => self.bot = value.bytes().next(),
                "UTF8ONLY" => self.utf8_only = true,
                "CHATHISTORY" | "draft/CHATHISTORY" => self.history = value.parse().unwrap_or(0),
                _ => {}
            }
        }
    }

    fn learn_prefixes(&mut self, value: &str) {
        let Some((modes, prefixes)) = value.strip_prefix('(').and_then(|v| v.split_once(')')) else { return };
        if modes.len() == prefixes.len() && value.is_ascii() {
            self.prefixes = modes.bytes().zip(prefixes.bytes()).collect();
        }
    }

    /// Whether that is a channel.
    pub(crate) fn is_channel(&self, target: &str) -> bool {
        target.chars().next().is_some_and(|c| self.chantypes.contains(c))
    }

    /// `@#chan` → `#chan`: who speaks to the moderators only still speaks in the room.
    pub(crate) fn without_status<'a>(&self, target: &'a str) -> &'a str {
        let stripped = target.trim_start_matches(|c| self.statusmsg.contains(c));
        if self.is_channel(stripped) { stripped } else { target }
    }

    /// `@+nick` → rank and `nick`.
    pub(crate) fn rank_of<'a>(&self, name: &'a str) -> (Rank, &'a str) {
        let (mut rank, mut rest) = (Rank::NONE, name);
        while let Some(first) = rest.bytes().next() {
            let Some((mode, _)) = self.prefixes.iter().find(|(_, p)| *p == first) else { break };
            rank = rank | self.rank(*mode);
            rest = &rest[1..];
        }
        (rank, rest)
    }

    /// The rank of a mode letter.
    pub(crate) fn rank(&self, mode: u8) -> Rank {
        match mode {
            b'q' => Rank::OWNER,
            b'a' => Rank::ADMIN,
            b'o' => Rank::MODERATOR,
            b'h' => Rank::HALF,
            b'v' => Rank::VOICE,
            // Letters that some servers have above `o` (founder, IRC operator) or below it.
            other => {
                let place = |m: u8| self.prefixes.iter().position(|(mode, _)| *mode == m);
                if place(other) < place(b'o') { Rank::OWNER } else { Rank::VOICE }
            }
        }
    }

    /// Whether members can have this rank here.
    pub(crate) fn has_rank(&self, mode: char) -> bool {
        self.prefixes.iter().any(|(m, _)| char::from(*m) == mode)
    }

    /// The letters of ranks, highest first.
    pub(crate) fn ranks(&self) -> impl Iterator<Item = char> + '_ {
        self.prefixes.iter().map(|(mode, _)| char::from(*mode))
    }

    /// What a channel's mode takes.
    pub(crate) fn kind(&self, mode: char) -> ModeKind {
        if self.has_rank(mode) {
            return ModeKind::Rank;
        }
        let kinds = [ModeKind::List, ModeKind::Always, ModeKind::WhenSet];
        let mut parts = self.chanmodes.split(',');
        kinds
            .into_iter()
            .find(|_| parts.next().is_some_and(|letters| letters.contains(mode)))
            .unwrap_or(ModeKind::Never)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_compare_as_the_network_says() {
        let cases = [
            (Casemapping::Rfc1459, "A[]\\~É", "a{}|^É"),
            (Casemapping::Strict, "A[]\\~", "a{}|~"),
            (Casemapping::Ascii, "A[]\\~", "a[]\\~"),
        ];
        for (mapping, name, folded) in cases {
            assert_eq!(mapping.fold()(name), folded);
        }
    }

    #[test]
    fn ranks_come_from_prefix() {
        let mut server = Isupport::default();
        server.learn(&["PREFIX=(Yov)!@+", "CASEMAPPING=ascii", "CHANTYPES=#", "STATUSMSG=@+", "NETWORK=Test\\x20Net"]);
        assert_eq!(server.rank_of("@+ann"), (Rank::MODERATOR | Rank::VOICE, "ann"));
        assert_eq!(server.rank_of("!ann").0, Rank::OWNER);
        assert_eq!(server.rank_of("ann"), (Rank::NONE, "ann"));
        assert!(!server.has_rank('h') && server.has_rank('o'));
        assert_eq!(server.without_status("@#c"), "#c");
        assert_eq!(server.without_status("#c"), "#c");
        assert!(server.is_channel("#c") && !server.is_channel("&c"));
        assert_eq!(server.network.as_deref(), Some("Test Net"));
        for (mode, kind) in [
            ('b', ModeKind::List),
            ('k', ModeKind::Always),
            ('l', ModeKind::WhenSet),
            ('m', ModeKind::Never),
            ('o', ModeKind::Rank),
        ] {
            assert_eq!(server.kind(mode), kind, "{mode}");
        }
    }

    #[test]
    fn nonsense_changes_nothing() {
        let mut server = Isupport::default();
        server.learn(&["PREFIX=(ov)@", "PREFIX=", "PREFIX=(é)+", "CHANMODES=x", "=", "", "-"]);
        assert_eq!(server, Isupport::default());
    }
}
