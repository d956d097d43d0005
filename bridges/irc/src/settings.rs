//! Settings of the bridge, by their keys. Where biboumi has the field, its name is biboumi's.

use std::time::Duration;

use isthmus_bridge::{Resolved, Scope, Setting, SettingKind};

use crate::config::Config;
use crate::proto::throttle::Rate;
use crate::proto::write;

pub(crate) const ADDRESS: &str = "address";
pub(crate) const TLS_PORTS: &str = "tls_ports";
pub(crate) const PORTS: &str = "ports";
pub(crate) const VERIFY: &str = "verify_cert";
pub(crate) const FINGERPRINT: &str = "fingerprint";
pub(crate) const THROTTLE: &str = "throttle";
pub(crate) const NICK: &str = "nick";
pub(crate) const FALLBACK_NICKS: &str = "fallback_nicks";
pub(crate) const USERNAME: &str = "username";
pub(crate) const REALNAME: &str = "realname";
pub(crate) const PASS: &str = "pass";
pub(crate) const SASL_MECHANISM: &str = "sasl_mechanism";
pub(crate) const SASL_ACCOUNT: &str = "sasl_account";
pub(crate) const SASL_PASSWORD: &str = "sasl_password";
pub(crate) const COMMANDS: &str = "after_connect_commands";
pub(crate) const ENCODING_IN: &str = "encoding_in";
pub(crate) const ENCODING_OUT: &str = "encoding_out";
pub(crate) const FORMATTING: &str = "formatting";
pub(crate) const SEND_FORMATTING: &str = "send_formatting";
pub(crate) const MAX_LINES: &str = "max_lines";
pub(crate) const LONG_TEXTS: &str = "long_texts";
/// Read by the core: how corrections and answers are told, and whether reactions are told in words, where the network has none.
const CORRECTIONS: &str = "corrections";
const REPLIES: &str = "replies";
const REACTIONS: &str = "reactions";
pub(crate) const IGNORE: &str = "ignore";
pub(crate) const AWAY: &str = "away";
pub(crate) const KEY: &str = "key";
pub(crate) const WEBIRC: &str = "webirc_password";
pub(crate) const PERSISTENT: &str = "persistent";
pub(crate) const RECORD: &str = "record_history";
pub(crate) const MAX_HISTORY: &str = "max_history_length";

/// [`FORMATTING`]: XEP-0393.
pub(crate) const STYLING: &str = "styling";
/// [`FORMATTING`]: XEP-0394.
pub(crate) const MARKUP: &str = "markup";
/// [`FORMATTING`]: XEP-0071 too.
pub(crate) const XHTML: &str = "xhtml";

/// [`LONG_TEXTS`]: always line by line.
pub(crate) const LINES: &str = "lines";
/// [`LONG_TEXTS`]: a link to the text, where it makes too many lines.
pub(crate) const PASTE: &str = "paste";
/// [`PORTS`] where nobody chose: plain text as a last resort, and nothing secret over it.
pub(crate) const IMPLICIT_PORTS: &str = "6667 (no secrets)";

/// How the user wants things, whatever the network: biboumi's form `global-configure`.
pub(crate) const OF_USER: &[&str] = &[
    FORMATTING,
    SEND_FORMATTING,
    MAX_LINES,
    LONG_TEXTS,
    CORRECTIONS,
    REPLIES,
    REACTIONS,
    IGNORE,
    AWAY,
    PERSISTENT,
    RECORD,
    MAX_HISTORY,
];
/// How to connect, and as whom: biboumi's form `server-configure`.
pub(crate) const OF_SERVER: &[&str] = &[
    ADDRESS,
    TLS_PORTS,
    PORTS,
    VERIFY,
    FINGERPRINT,
    NICK,
    FALLBACK_NICKS,
    USERNAME,
    REALNAME,
    PASS,
    SASL_MECHANISM,
    SASL_ACCOUNT,
    SASL_PASSWORD,
    COMMANDS,
    THROTTLE,
    ENCODING_IN,
    ENCODING_OUT,
    WEBIRC,
    MAX_HISTORY,
];

/// Settings that a user sets, by key; `None`: not any more.
pub(crate) type Choices = Vec<(String, Option<String>)>;

/// What a room has of its own.
pub(crate) const OF_ROOM: &[&str] = &[
    ENCODING_IN,
    ENCODING_OUT,
    FORMATTING,
    SEND_FORMATTING,
    CORRECTIONS,
    REPLIES,
    REACTIONS,
    KEY,
    PERSISTENT,
    RECORD,
    MAX_HISTORY,
];

/// All of them, with the defaults that the section names.
pub(crate) fn all(config: &Config) -> Vec<Setting> {
    use Scope::{Gateway, Network, Room};
    const NET: &[Scope] = &[Gateway, Network];
    const ALL: &[Scope] = &[Gateway, Network, Room];
    // With a fixed network its settings are the gateway's: there is no other address to set them at.
    let one_net: &'static [Scope] = if config.fixed_network.is_some() { NET } else { &[Network] };
    let yes = |on: bool| if on { "true" } else { "false" };
    // A setting's default lives as long as the program; this one is made once for each bridge that is built.
    let history: &'static str = config.history.max_on_join.to_string().leak();
    vec![
        Setting::new(ADDRESS, SettingKind::Line, one_net, ""),
        Setting::new(TLS_PORTS, SettingKind::Line, one_net, "6697, 6670"),
        Setting::new(PORTS, SettingKind::Line, one_net, IMPLICIT_PORTS),
        Setting::new(VERIFY, SettingKind::Bool, one_net, "true").formerly("verify_certificate"),
        Setting::new(FINGERPRINT, SettingKind::Line, one_net, "")
            .expecting("a SHA-256 in hexadecimal, with or without colons", |it| crate::tls::sha256(it).is_some()),
        Setting::new(NICK, SettingKind::Line, NET, ""),
        Setting::new(FALLBACK_NICKS, SettingKind::Line, NET, ""),
        Setting::new(USERNAME, SettingKind::Line, NET, ""),
        Setting::new(REALNAME, SettingKind::Line, NET, ""),
        Setting::new(PASS, SettingKind::Secret, one_net, ""),
        Setting::new(
            SASL_MECHANISM,
            SettingKind::Choice(&[
                ("auto", "The best that the server has"),
                ("PLAIN", "PLAIN"),
                ("EXTERNAL", "EXTERNAL (own certificate)"),
                ("SCRAM-SHA-256", "SCRAM-SHA-256"),
            ]),
            one_net,
            "auto",
        ),
        Setting::new(SASL_ACCOUNT, SettingKind::Line, one_net, ""),
        Setting::new(SASL_PASSWORD, SettingKind::Secret, one_net, ""),
        Setting::new(COMMANDS, SettingKind::Lines, one_net, "").expecting("lines of at most 510 octets each", |it| {
            it.lines().all(|l| l.trim().is_empty() || command(l).is_some())
        }),
        Setting::new(THROTTLE, SettingKind::Line, one_net, "10 1").admin_only(),
        Setting::new(ENCODING_IN, SettingKind::Line, ALL, "windows-1252"),
        Setting::new(ENCODING_OUT, SettingKind::Line, ALL, "utf-8"),
        Setting::new(
            FORMATTING,
            SettingKind::Choice(&[
                (STYLING, "Message styling (*bold*)"),
                (MARKUP, "Markup beside the text (XEP-0394)"),
                (XHTML, "Markup and XHTML beside the text, with colours (XEP-0071)"),
                ("plain", "Plain text"),
            ]),
            ALL,
            STYLING,
        ),
        Setting::new(SEND_FORMATTING, SettingKind::Bool, ALL, "false"),
        Setting::new(MAX_LINES, SettingKind::Number { min: 1, max: 100 }, NET, "5"),
        Setting::new(
            LONG_TEXTS,
            SettingKind::Choice(&[
                ("multiline", "One message where the network can, else lines"),
                (LINES, "Lines"),
                (PASTE, "One message where the network can, else lines, else a link to the text"),
            ]),
            NET,
            "multiline",
        ),
        Setting::new(
            CORRECTIONS,
            SettingKind::Choice(&[
                ("line", "* and the whole message"),
                ("substitute", "s/old/new/"),
                ("redact", "Withdraw the old message where the network can, and send the new one"),
            ]),
            ALL,
            "line",
        ),
        Setting::new(
            REPLIES,
            SettingKind::Choice(&[
                ("quote", "The words that are answered, then the answer"),
                ("name", "Who is answered, then the answer"),
                ("plain", "The answer alone"),
            ]),
            ALL,
            "quote",
        ),
        Setting::new(REACTIONS, SettingKind::Bool, ALL, "false"),
        Setting::new(IGNORE, SettingKind::Lines, NET, ""),
        Setting::new(AWAY, SettingKind::Bool, NET, "true"),
        Setting::new(WEBIRC, SettingKind::Secret, one_net, "").admin_only(),
        Setting::new(KEY, SettingKind::Secret, &[Room], ""),
        Setting::new(PERSISTENT, SettingKind::Bool, ALL, yes(config.persistent_by_default)),
        Setting::new(RECORD, SettingKind::Bool, ALL, yes(config.history.record)),
        Setting::new(MAX_HISTORY, SettingKind::Number { min: 0, max: 10_000 }, ALL, history),
    ]
}

/// One of [`COMMANDS`] as it is sent; `None` where it is no line.
pub(crate) fn command(line: &str) -> Option<Vec<u8>> {
    write::raw(line.trim_start_matches('/'))
}

/// Where to connect, in order: port, and whether by TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ports {
    /// In the order in which they are tried.
    pub(crate) all: Vec<(u16, bool)>,
    /// Whether somebody chose the plain ones, so that a password may go over them.
    pub(crate) plain_by_choice: bool,
}

/// The ports of a network: TLS first.
pub(crate) fn ports(settings: &Resolved) -> Ports {
    let numbers = |text: &str| -> Vec<u16> {
        let words = text.split(|c: char| !c.is_ascii_digit());
        words.filter_map(|w| w.parse().ok()).filter(|n| *n != 0).take(16).collect()
    };
    let plain = settings.str(PORTS);
    let mut all: Vec<(u16, bool)> = numbers(settings.str(TLS_PORTS)).into_iter().map(|port| (port, true)).collect();
    all.extend(numbers(plain).into_iter().map(|port| (port, false)));
    Ports { all, plain_by_choice: plain != IMPLICIT_PORTS }
}

/// `10 1` or `{"burst": 10, "per_second": 1.0}` (as the configuration's table arrives). Nonsense is the default; no rate is no bound.
pub(crate) fn rate(settings: &Resolved) -> Rate {
    let text = settings.str(THROTTLE).trim();
    let json = serde_json::from_str::<serde_json::Value>(text).ok().filter(serde_json::Value::is_object);
    let (burst, per_second) = match json {
        Some(table) => (table["burst"].as_f64(), table["per_second"].as_f64()),
        None => {
            let mut words = text.split([' ', ',']).filter(|w| !w.is_empty());
            let mut next = || words.next().and_then(|w| w.parse::<f64>().ok());
            (next(), next())
        }
    };
    let sound = |n: f64| n.is_finite() && (0.0..=1e6).contains(&n);
    let burst = burst.filter(|n| sound(*n)).unwrap_or(10.0).max(1.0);
    match per_second.filter(|n| sound(*n)).unwrap_or(1.0) {
        0.0 => Rate::UNLIMITED,
        per_second => Rate { burst: burst as u32, every: Duration::from_secs_f64((1.0 / per_second).min(3600.0)) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(key: &'static str, value: &str) -> Resolved {
        Resolved::new([(key, value.to_owned())].into())
    }

    #[test]
    fn ports_are_tried_with_tls_first() {
        let defaults = Resolved::new([(TLS_PORTS, "6697, 6670".to_owned()), (PORTS, IMPLICIT_PORTS.to_owned())].into());
        let ports = ports(&defaults);
        assert_eq!(ports.all, [(6697, true), (6670, true), (6667, false)]);
        assert!(!ports.plain_by_choice);
        let chosen = super::ports(&with(PORTS, "6667; 7000 0 99999 x"));
        assert_eq!((chosen.all, chosen.plain_by_choice), (vec![(6667, false), (7000, false)], true));
        assert!(super::ports(&with(PORTS, "")).all.is_empty(), "an empty list means never");
    }

    #[test]
    fn what_the_section_names_is_what_holds_where_nobody_has_set_anything() {
        let default = |keys: serde_json::Value, key: &str| {
            let bridge = isthmus_bridge::suite::build(&crate::Irc, keys).expect("good keys");
            bridge.settings().iter().find(|s| s.key == key).map(|s| s.default.to_owned())
        };
        let set = serde_json::json!({"history": {"max_on_join": 3, "record": false}, "persistent_by_default": true});
        for (key, named, else_) in [(MAX_HISTORY, "3", "20"), (RECORD, "false", "true"), (PERSISTENT, "true", "false")]
        {
            assert_eq!(default(set.clone(), key).as_deref(), Some(named), "{key}");
            assert_eq!(default(serde_json::json!({}), key).as_deref(), Some(else_), "{key}");
        }
    }

    #[test]
    fn with_a_fixed_network_two_forms_hold_all_settings_of_the_gateway() {
        let keys = serde_json::json!({"fixed_network": "localhost"});
        let bridge = isthmus_bridge::suite::build(&crate::Irc, keys).expect("good keys");
        let all = bridge.settings().iter().filter(|s| s.scopes.contains(&Scope::Gateway)).map(|s| s.key);
        let mut all: Vec<&str> = all.collect();
        let mut shown: Vec<&str> = bridge.commands().iter().filter_map(|c| c.settings).flatten().copied().collect();
        all.sort_unstable();
        shown.sort_unstable();
        shown.dedup(); // one stands in both forms, as it does with biboumi
        assert_eq!(all, shown);
    }

    #[test]
    fn lines_that_no_server_would_take_whole_are_refused_by_the_form() {
        let bridge = isthmus_bridge::suite::build(&crate::Irc, serde_json::json!({})).expect("good keys");
        let commands = bridge.settings().iter().find(|s| s.key == COMMANDS).expect("there is one");
        let rule = commands.rule.expect("it has a rule");
        let longest = "x".repeat(510);
        for good in ["MODE romeo +x\n\nPRIVMSG Q :hello\n", &format!("AWAY\n/{longest}")] {
            assert!((rule.holds)(good), "{good}");
        }
        for bad in [format!("AWAY\n{longest}x"), "AWAY\nMODE\0".to_owned()] {
            assert!(!(rule.holds)(&bad), "{bad}");
        }
    }

    #[test]
    fn where_nobody_says_otherwise_ten_lines_go_at_once_and_then_one_a_second() {
        let bridge = isthmus_bridge::suite::build(&crate::Irc, serde_json::json!({})).expect("good keys");
        let throttle = bridge.settings().iter().find(|s| s.key == THROTTLE).expect("there is one");
        assert_eq!(throttle.default, "10 1");
        let rate = rate(&with(THROTTLE, throttle.default));
        assert_eq!(rate, Rate { burst: 10, every: Duration::from_secs(1) });
    }

    #[test]
    fn what_a_room_has_of_its_own_is_what_can_be_set_there() {
        let bridge = isthmus_bridge::suite::build(&crate::Irc, serde_json::json!({})).expect("good keys");
        let all = bridge.settings().iter().filter(|s| s.scopes.contains(&Scope::Room)).map(|s| s.key);
        assert_eq!(all.collect::<Vec<_>>(), OF_ROOM);
    }

    #[test]
    fn a_rate_is_read_from_either_spelling() {
        let cases = [
            ("10 1", Rate { burst: 10, every: Duration::from_secs(1) }),
            (r#"{"burst":5,"per_second":2.0}"#, Rate { burst: 5, every: Duration::from_millis(500) }),
            ("3, 0.5", Rate { burst: 3, every: Duration::from_secs(2) }),
            ("1000 0", Rate::UNLIMITED),
            ("nonsense", Rate { burst: 10, every: Duration::from_secs(1) }),
            ("-1 NaN", Rate { burst: 10, every: Duration::from_secs(1) }),
        ];
        for (text, expected) in cases {
            assert_eq!(rate(&with(THROTTLE, text)), expected, "{text}");
        }
    }
}
