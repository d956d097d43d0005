//! `isthmus import biboumi`: what stands in biboumi's database (version 9, SQLite or PostgreSQL) and in its configuration, in our words.

mod configuration;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use isthmus_bridge::{
    Address, Addressing, BareJid, Change, Converted, Import, ImportReader, Imported, RoomId, SourceTable,
};

use crate::session::KEPT_ROOMS;
use crate::settings;

/// The program.
pub(crate) struct Biboumi;

const COMMANDS: &str = "after_connection_commands_";
const GLOBAL: &str = "globaloptions_";
const SERVERS: &str = "ircserveroptions_";
const CHANNELS: &str = "ircchanneloptions_";
const ROSTER: &str = "roster";
const LINES: &str = "muclogline_";

/// The length of a history in a channel's or a server's options has no field in any of biboumi's forms: it always holds the default.
const NO_FIELD: &[&str] = &["maxhistorylength_"];

const TABLES: &[SourceTable] = &[
    SourceTable { name: COMMANDS, columns: &["fk_", "afterconnectioncommand_"], ignored: &["id_"], order: &["id_"] },
    SourceTable {
        name: GLOBAL,
        columns: &["owner_", "maxhistorylength_", "recordhistory_", "persistent_"],
        ignored: &["id_"],
        order: &["id_"],
    },
    SourceTable {
        name: SERVERS,
        columns: &[
            "id_",
            "owner_",
            "server_",
            "pass_",
            "tlsports_",
            "ports_",
            "username_",
            "realname_",
            "verifycert_",
            "trustedfingerprint_",
            "encodingout_",
            "encodingin_",
            "address_",
            "nick_",
            "saslpassword_",
            "throttlelimit_",
        ],
        ignored: NO_FIELD,
        order: &["id_"],
    },
    SourceTable {
        name: CHANNELS,
        columns: &["owner_", "server_", "channel_", "encodingout_", "encodingin_", "persistent_", "recordhistory_"],
        ignored: &["id_", "maxhistorylength_"],
        order: &["id_"],
    },
    SourceTable { name: ROSTER, columns: &["local", "remote"], ignored: &[], order: &["local", "remote"] },
    SourceTable {
        name: LINES,
        columns: &["owner_", "ircservername_", "ircchanname_", "date_", "nick_", "body_", "uuid_"],
        ignored: &["id_"],
        order: &["ircservername_", "ircchanname_", "id_"],
    },
];

impl Import for Biboumi {
    fn program(&self) -> &'static str {
        "biboumi"
    }

    fn about(&self) -> &'static str {
        "Take over settings, contacts, rooms and archives from biboumi 9"
    }

    fn tables(&self) -> &'static [SourceTable] {
        TABLES
    }

    fn reader<'a>(&self, addressing: &'a dyn Addressing) -> Box<dyn ImportReader + 'a> {
        Box::new(Reader { addressing, commands: HashMap::new(), nicks: HashMap::new(), rooms: BTreeMap::new() })
    }

    fn configuration(&self, text: &str) -> Result<Converted, String> {
        configuration::convert(text)
    }
}

struct Reader<'a> {
    addressing: &'a dyn Addressing,
    /// Lines for the network's services, by the row of the options that they belong to.
    commands: HashMap<String, Vec<String>>,
    /// The nicks that are known, by user and network.
    nicks: HashMap<(BareJid, String), String>,
    /// Persistent rooms, by user and network.
    rooms: BTreeMap<(BareJid, String), Vec<RoomId>>,
}

impl ImportReader for Reader<'_> {
    fn row(&mut self, table: &str, row: &[Option<String>], take: &mut Vec<Imported>) {
        match table {
            COMMANDS => self.command(row),
            GLOBAL => global(row, take),
            SERVERS => self.server(row, take),
            CHANNELS => self.channel(row, take),
            ROSTER => self.contact(row, take),
            LINES => self.line(row, take),
            _ => {}
        }
    }

    fn end(&mut self, take: &mut Vec<Imported>) {
        for (_, lines) in self.commands.drain() {
            lost(take, format!("{} commands after connecting", lines.len()), "they belong to no server's options");
        }
        // Rooms that were kept up are entered again by themselves, where it is known as whom.
        for ((user, network), rooms) in std::mem::take(&mut self.rooms) {
            let Some(nick) = self.nicks.get(&(user.clone(), network.clone())) else { continue };
            let all: Vec<_> =
                rooms.iter().map(|r| serde_json::json!({"room": r.as_str(), "nick": nick, "key": null})).collect();
            let change =
                Change::put(KEPT_ROOMS, format!("{user} {network}"), serde_json::Value::Array(all).to_string());
            take.push(Imported::State(change.of(user)));
        }
    }
}

impl Reader<'_> {
    fn command(&mut self, row: &[Option<String>]) {
        if let (Some(of), Some(line)) = (text(row, 0), text(row, 1)) {
            self.commands.entry(of.to_owned()).or_default().push(line.to_owned());
        }
    }

    fn server(&mut self, row: &[Option<String>], take: &mut Vec<Imported>) {
        let commands = text(row, 0).and_then(|id| self.commands.remove(id)).unwrap_or_default();
        let (Some(user), Some(server)) = (jid(row, 1), text(row, 2)) else {
            return lost(take, "a server's options".to_owned(), "they name no user or no server");
        };
        let Some((at, network)) = self.network(server) else {
            return lost(take, format!("{user}: options of the server {server}"), NOT_HERE);
        };
        let who = format!("{user}: {server}: ");
        let mut set = |key: &'static str, value: Option<String>| {
            if let Some(value) = value {
                take.push(Imported::Setting { user: user.clone(), at: at.clone(), key, value });
            }
        };
        let plain = |n: usize| text(row, n).map(str::to_owned);
        set(settings::PASS, plain(3));
        set(settings::TLS_PORTS, ports(row, 4, "6697;6670"));
        set(settings::PORTS, ports(row, 5, "6667"));
        set(settings::USERNAME, plain(6));
        set(settings::REALNAME, plain(7));
        set(settings::VERIFY, flag(row, 8).filter(|on| !on).map(|on| on.to_string()));
        set(settings::ENCODING_IN, plain(11).filter(|label| is_encoding(label)));
        set(settings::ADDRESS, plain(12));
        set(settings::NICK, plain(13));
        set(settings::SASL_PASSWORD, plain(14));
        set(settings::COMMANDS, Some(commands.join("\n")).filter(|all| !all.is_empty()));
        set(
            settings::THROTTLE,
            number(row, 15)
                .filter(|n| *n != 10)
                .map(|n| if n < 0 { "1 0".to_owned() } else { format!("{} 1", n.max(1)) }),
        );
        let fingerprint = text(row, 9).map(|words| words.replace([':', ' '], "").to_lowercase());
        match fingerprint {
            Some(sha256) if sha256.len() == 64 => set(settings::FINGERPRINT, Some(sha256)),
            Some(_) => lost(
                take,
                who.clone() + "the fingerprint of a certificate",
                "it is SHA-1; SHA-256 is needed, see the setting fingerprint",
            ),
            None => {}
        }
        encodings(row, 10, 11, &who, take);
        if let Some(nick) = text(row, 13) {
            self.nicks.insert((user, network), nick.to_owned());
        }
    }

    fn channel(&mut self, row: &[Option<String>], take: &mut Vec<Imported>) {
        let (Some(user), Some(server), Some(channel)) = (jid(row, 0), text(row, 1), text(row, 2)) else {
            return lost(take, "a channel's options".to_owned(), "they name no user, no server or no channel");
        };
        let Some((room, network)) = self.room(channel, server) else {
            return lost(take, format!("{user}: options of the channel {channel} on {server}"), NOT_HERE);
        };
        let at = Address::Room(room.clone());
        let mut set = |key: &'static str, value: Option<String>| {
            if let Some(value) = value {
                take.push(Imported::Setting { user: user.clone(), at: at.clone(), key, value });
            }
        };
        set(settings::ENCODING_IN, text(row, 4).filter(|label| is_encoding(label)).map(str::to_owned));
        // biboumi keeps `false` for whoever has not asked for more, and the user's own global choice stands over it.
        let persistent = flag(row, 5) == Some(true);
        set(settings::PERSISTENT, persistent.then(|| "true".to_owned()));
        set(settings::RECORD, flag(row, 6).map(|on| on.to_string()));
        encodings(row, 3, 4, &format!("{user}: {channel} on {server}: "), take);
        if persistent {
            self.rooms.entry((user, network)).or_default().push(room);
        }
    }

    fn contact(&mut self, row: &[Option<String>], take: &mut Vec<Imported>) {
        let (Some(local), Some(user)) = (text(row, 0), jid(row, 1)) else {
            return lost(take, "a contact".to_owned(), "it names no user or no address");
        };
        let name = local.split('/').next().unwrap_or_default().rsplit_once('@').map(|(name, _)| name);
        match self.addressing.parse(name, None) {
            Ok(at) => take.push(Imported::Contact { user, at }),
            Err(_) => lost(take, format!("{user}: the contact {local}"), NOT_HERE),
        }
    }

    fn line(&mut self, row: &[Option<String>], take: &mut Vec<Imported>) {
        let (Some(user), Some(server), Some(channel)) = (jid(row, 0), text(row, 1), text(row, 2)) else {
            return lost(take, "a line of an archive".to_owned(), "it names no user, no server or no channel");
        };
        let (Some((room, _)), Some(at)) = (self.room(channel, server), time(row, 3)) else {
            return lost(take, format!("{user}: a line of {channel} on {server}"), NOT_HERE);
        };
        let (Some(nick), Some(name)) = (text(row, 4), text(row, 6)) else {
            return lost(take, format!("{user}: a line of {channel} on {server}"), "it has no nick or no id");
        };
        let body = row.get(5).cloned().flatten().unwrap_or_default();
        take.push(Imported::Line { user, room, at, nick: nick.to_owned(), body, name: name.to_owned() });
    }

    /// Where a network's settings stand, and its name. With a fixed network that is the gateway.
    fn network(&self, server: &str) -> Option<(Address, String)> {
        let fixed = self.fixed();
        match (self.addressing.parse(Some(server), None), fixed) {
            (_, Some(network)) => (network == server.to_lowercase()).then_some((Address::Gateway, network)),
            (Ok(at @ Address::Network(_)), None) => {
                let network = self.addressing.network(&at).to_string();
                Some((at, network))
            }
            _ => None,
        }
    }

    fn room(&self, channel: &str, server: &str) -> Option<(RoomId, String)> {
        let (_, network) = self.network(server)?;
        let local = if self.fixed().is_some() { channel.to_owned() } else { format!("{channel}%{server}") };
        match self.addressing.parse(Some(&local), None) {
            Ok(Address::Room(room)) => Some((room, network)),
            _ => None,
        }
    }

    /// The name of the only network, if there is only one: then a host name is a nick.
    fn fixed(&self) -> Option<String> {
        match self.addressing.parse(Some("irc.example.org"), None) {
            Ok(at @ Address::Contact(_)) => Some(self.addressing.network(&at).to_string()),
            _ => None,
        }
    }
}

const NOT_HERE: &str = "no such address is possible with this configuration";

fn global(row: &[Option<String>], take: &mut Vec<Imported>) {
    let Some(user) = jid(row, 0) else { return lost(take, "a user's options".to_owned(), "they name no user") };
    let mut set = |key: &'static str, value: Option<String>| {
        if let Some(value) = value {
            take.push(Imported::Setting { user: user.clone(), at: Address::Gateway, key, value });
        }
    };
    set(settings::MAX_HISTORY, number(row, 1).filter(|n| *n != 20).map(|n| n.clamp(0, 10_000).to_string()));
    set(settings::RECORD, flag(row, 2).filter(|on| !on).map(|on| on.to_string()));
    set(settings::PERSISTENT, flag(row, 3).map(|on| on.to_string()));
}

/// biboumi has never used the one, and the other may be a name that nobody knows.
fn encodings(row: &[Option<String>], out: usize, into: usize, who: &str, take: &mut Vec<Imported>) {
    if text(row, out).is_some_and(|label| !label.eq_ignore_ascii_case("utf-8")) {
        lost(
            take,
            format!("{who}the encoding for what is sent"),
            "biboumi has never used it, and it would be used now",
        );
    }
    if text(row, into).is_some_and(|label| !is_encoding(label)) {
        lost(take, format!("{who}the encoding of what is received"), "no encoding has this name");
    }
}

fn lost(take: &mut Vec<Imported>, what: String, why: &'static str) {
    take.push(Imported::Lost { what, why });
}

fn is_encoding(label: &str) -> bool {
    encoding_rs::Encoding::for_label(label.trim().as_bytes()).is_some()
}

fn text(row: &[Option<String>], n: usize) -> Option<&str> {
    row.get(n)?.as_deref().filter(|t| !t.is_empty())
}

fn jid(row: &[Option<String>], n: usize) -> Option<BareJid> {
    let bare = text(row, n)?.split('/').next().unwrap_or_default();
    (!bare.is_empty()).then(|| BareJid::from(bare))
}

fn number(row: &[Option<String>], n: usize) -> Option<i64> {
    text(row, n)?.trim().parse().ok()
}

/// SQLite has 0 and 1, PostgreSQL has words; anything else is "unset".
fn flag(row: &[Option<String>], n: usize) -> Option<bool> {
    match text(row, n)? {
        "1" | "t" | "true" => Some(true),
        "0" | "f" | "false" => Some(false),
        _ => None,
    }
}

/// `6697;6670`; nothing where it is biboumi's default, which is ours.
fn ports(row: &[Option<String>], n: usize, default: &str) -> Option<String> {
    let ports = row.get(n)?.as_deref()?;
    (ports != default).then(|| ports.split(';').filter(|p| !p.is_empty()).collect::<Vec<_>>().join(", "))
}

/// Seconds since the epoch.
fn time(row: &[Option<String>], n: usize) -> Option<SystemTime> {
    let seconds = number(row, n).and_then(|n| u64::try_from(n).ok())?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests;
