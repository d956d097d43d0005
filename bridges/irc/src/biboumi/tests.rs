use isthmus_bridge::suite;

use super::*;
use crate::address::IrcAddressing;

fn row(values: &[&str]) -> Vec<Option<String>> {
    values.iter().map(|v| Some((*v).to_owned()).filter(|v| v != "NULL")).collect()
}

fn read(fixed: Option<&str>, rows: &[(&str, &[&str])]) -> Vec<Imported> {
    let addressing = IrcAddressing::new(fixed, "irc", crate::address::USUAL_PREFIXES);
    let mut reader = Biboumi.reader(&addressing);
    let mut take = Vec::new();
    for (table, values) in rows {
        reader.row(table, &row(values), &mut take);
    }
    reader.end(&mut take);
    take
}

fn settings_of(all: &[Imported]) -> Vec<(Address, &'static str, String)> {
    let settings = all.iter().filter_map(|i| match i {
        Imported::Setting { at, key, value, .. } => Some((at.clone(), *key, value.clone())),
        _ => None,
    });
    settings.collect()
}

fn lost_of(all: &[Imported]) -> Vec<&str> {
    all.iter().filter_map(|i| if let Imported::Lost { what, .. } = i { Some(what.as_str()) } else { None }).collect()
}

const SERVER: &[&str] = &[
    "7",
    "romeo@example.org",
    "irc.net",
    "",
    "6697",
    "",
    "",
    "Romeo M.",
    "0",
    "ab:cd",
    "latin9",
    "koi8-r",
    "127.0.0.1",
    "Romeo",
    "hush",
    "-1",
];

#[test]
fn a_servers_options_are_settings_of_the_network() {
    let rows: &[(&str, &[&str])] = &[(COMMANDS, &["7", "PRIVMSG a :b"]), (COMMANDS, &["7", "AWAY"]), (SERVERS, SERVER)];
    let all = read(None, rows);
    let net = Address::Network("irc.net".into());
    let expected = [
        (settings::TLS_PORTS, "6697"),
        (settings::PORTS, ""),
        (settings::REALNAME, "Romeo M."),
        (settings::VERIFY, "false"),
        (settings::ENCODING_IN, "koi8-r"),
        (settings::ADDRESS, "127.0.0.1"),
        (settings::NICK, "Romeo"),
        (settings::SASL_PASSWORD, "hush"),
        (settings::COMMANDS, "PRIVMSG a :b\nAWAY"),
        (settings::THROTTLE, "1 0"),
    ];
    let expected: Vec<_> = expected.iter().map(|(k, v)| (net.clone(), *k, (*v).to_owned())).collect();
    assert_eq!(settings_of(&all), expected);
    let lost = lost_of(&all);
    assert_eq!(lost.len(), 2, "a fingerprint and an encoding: {lost:?}");
    assert!(!format!("{all:?}").contains("ab:cd"));
}

#[test]
fn persistent_rooms_with_a_known_nick_are_entered_again() {
    let channel: &[&str] = &["romeo@example.org", "irc.net", "#Verona", "", "", "1", "NULL"];
    let other: &[&str] = &["ann@example.org", "irc.net", "#verona", "", "", "1", "0"];
    let all = read(None, &[(SERVERS, SERVER), (CHANNELS, channel), (CHANNELS, other)]);
    let states: Vec<&Change> =
        all.iter().filter_map(|i| if let Imported::State(change) = i { Some(change) } else { None }).collect();
    let [change] = states.as_slice() else { panic!("{states:?}") };
    assert_eq!(change.key, "romeo@example.org irc.net");
    let value = String::from_utf8(change.value.clone().unwrap_or_default()).unwrap_or_default();
    assert!(value.contains("#verona%irc.net") && value.contains("\"Romeo\""), "{value}");
    let room = Address::Room(RoomId::new("#verona%irc.net"));
    let chosen = settings_of(&all);
    assert!(chosen.contains(&(room.clone(), settings::RECORD, "false".to_owned())));
    assert_eq!(chosen.iter().filter(|(at, key, _)| *at == room && *key == settings::PERSISTENT).count(), 2);
}

#[test]
fn with_a_fixed_network_the_settings_are_the_gateways_and_others_are_told() {
    let lines: &[&str] = &["romeo@example.org", "irc.net", "#verona", "1700000000", "ann", "hi", "u1"];
    let strange: &[&str] = &["romeo@example.org", "other.net", "#verona", "1700000000", "ann", "hi", "u2"];
    let all = read(Some("irc.net"), &[(SERVERS, SERVER), (LINES, lines), (LINES, strange)]);
    assert!(settings_of(&all).iter().all(|(at, ..)| *at == Address::Gateway));
    assert!(all.iter().any(|i| matches!(i, Imported::Line { room, .. } if room.as_str() == "#verona%irc.net")));
    assert!(lost_of(&all).iter().any(|what| what.contains("other.net")));
}

#[test]
fn contacts_are_the_gateway_networks_and_nicks() {
    let of = |local| read(None, &[(ROSTER, &[local, "romeo@example.org"])]);
    for (local, at) in [
        ("irc.example.org", Address::Gateway),
        ("irc.net@irc.example.org", Address::Network("irc.net".into())),
        ("ann%irc.net@irc.example.org", Address::Contact("ann%irc.net".into())),
    ] {
        assert_eq!(of(local), [Imported::Contact { user: "romeo@example.org".into(), at }]);
    }
}

#[test]
fn a_configuration_becomes_a_bridges_file() {
    let text = "hostname=irc.example.org\npassword=a\"b\nadmin=a@b:c@d\nfixed_irc_server=localhost\nwebirc_password=w\n\
                realname_customization=false\nidentd_port=1113\noutgoing_bind=192.0.2.1\npersistent_by_default=true\nlog_level=3\nnew=1\n";
    let to = configuration::convert(text).expect("good");
    assert_eq!((to.domain.as_str(), to.secret.as_str()), ("irc.example.org", "a\"b"));
    assert_eq!(to.admins, ["a@b", "c@d"]);
    let wanted = [
        "fixed_network = \"localhost\"",
        "allow_private_networks = true",
        "bind = \"192.0.2.1\"",
        "identd = \"0.0.0.0:1113\"",
        "persistent_by_default = true",
        "[defaults]\nwebirc_password = \"w\"",
        "[locks]\nusername = \"\"\nrealname = \"\"",
    ];
    for lines in wanted {
        assert!(to.lines.contains(lines), "{lines} in {}", to.lines);
    }
    assert_eq!(to.notes.len(), 2, "{:?}", to.notes);
    assert!(configuration::convert("{}").is_err());
    assert!(configuration::convert("a=b").is_err(), "it has neither hostname nor password");
    // What it makes is what the bridge reads.
    let keys = serde_json::json!({"fixed_network": "localhost", "allow_private_networks": true, "bind": "192.0.2.1", "identd": "0.0.0.0:1113",
        "persistent_by_default": true});
    assert!(crate::config::read(suite::section("irc", "irc.example.org", keys)).is_ok());
}
