//! The bridge's section of the configuration: `bridges/irc.toml`. What holds for one network (`[networks.x]`, `[defaults]`, `[locks]`) are
//! settings ([`crate::settings`]), which the core reads.

use std::net::SocketAddr;
use std::time::Duration;

use isthmus_bridge::{ConfigError, Section};

/// All of it, checked.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The bridge's name.
    pub(crate) name: String,
    /// Name for people, in service discovery.
    pub(crate) title: String,
    /// Fixed-network mode: the only network.
    pub(crate) fixed_network: Option<String>,
    /// What rooms' names begin with.
    pub(crate) room_prefixes: String,
    /// Whether loopback, private and link-local addresses may be connected to.
    pub(crate) allow_private_networks: bool,
    /// Whether connections and rooms are kept up without any client, unless the user says otherwise.
    pub(crate) persistent_by_default: bool,
    /// Where to answer the ident protocol (RFC 1413).
    pub(crate) identd: Option<SocketAddr>,
    /// Names of networks that may be used; empty: any.
    pub(crate) allowed_networks: Vec<String>,
    /// Sessions with a connection to one network, at most; 0: no bound.
    pub(crate) connections_per_network: usize,
    /// Rooms of one user on all networks, at most.
    pub(crate) rooms_per_user: usize,
    /// A connection whose user has not been heard for so long is closed; `None`: never.
    pub(crate) idle_after: Option<Duration>,
    /// The local address to connect from.
    pub(crate) bind: Option<std::net::IpAddr>,
    /// Each user's connections come from an address of their own below this prefix.
    pub(crate) user_addresses: Option<(std::net::Ipv6Addr, u8)>,
    /// The first half of the addresses that WEBIRC tells of users.
    pub(crate) webirc_prefix: std::net::Ipv6Addr,
    /// What rooms keep.
    pub(crate) history: History,
}

/// Defaults for what rooms keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct History {
    /// Whether messages are archived.
    pub(crate) record: bool,
    /// Messages that are shown on entering, at most.
    pub(crate) max_on_join: u32,
}

/// Reads the section; every fault at once.
pub(crate) fn read(section: Section<'_>) -> Result<Config, Vec<ConfigError>> {
    let Section { name, mut table, .. } = section;
    let host = |v: &serde_json::Value| {
        let name = v.as_str()?.trim().to_lowercase();
        let good = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "._-:[]".contains(c));
        good.then_some(name)
    };
    let title = table.string("title").unwrap_or_else(|| "IRC".to_owned());
    let fixed_network = table.read("fixed_network", "a host name such as \"irc.libera.chat\"", host);
    let room_prefixes = table.read("room_prefixes", "some of \"#&+!\", such as \"#&\"", |v| {
        let prefixes = v.as_str()?;
        let good = !prefixes.is_empty() && prefixes.chars().all(|c| crate::address::ROOM_PREFIXES.contains(&c));
        good.then(|| prefixes.to_owned())
    });
    let allow_private_networks = table.bool("allow_private_networks").unwrap_or(false);
    let persistent_by_default = table.bool("persistent_by_default").unwrap_or(false);
    let identd = table.read("identd", "an address with a port such as \"0.0.0.0:113\"", |v| v.as_str()?.parse().ok());
    let allowed_networks = table
        .read("allowed_networks", "a list of networks' names", |v| v.as_array()?.iter().map(host).collect())
        .unwrap_or_default();
    let count = |n: Option<i64>, or: usize| n.and_then(|n| usize::try_from(n).ok()).unwrap_or(or);
    let connections_per_network = count(table.integer("connections_per_network", 0, 1_000_000), 0);
    let rooms_per_user = count(table.integer("rooms_per_user", 1, 10_000), 500);
    let idle_after =
        table.read("idle_after", "a time such as \"30d\" or \"12h\"; \"0\" for never", |v| idle(v.as_str()?));
    let bind = table.read("bind", "an IP address of this machine", |v| v.as_str()?.parse().ok());
    let user_addresses = table
        .read("user_addresses", "an IPv6 prefix such as \"2001:db8:1::/64\"", |v| crate::listen::prefix(v.as_str()?));
    let expected = "an IPv6 address whose first 64 bits are the prefix, such as \"fd69:7368:6d75:7300::\"";
    let webirc_prefix = table.read("webirc_prefix", expected, |v| v.as_str()?.parse().ok());
    let mut history = History { record: true, max_on_join: 20 };
    if let Some(mut inner) = table.table("history") {
        history.record = inner.bool("record").unwrap_or(history.record);
        let max = inner.integer("max_on_join", 0, 10_000).and_then(|n| u32::try_from(n).ok());
        history.max_on_join = max.unwrap_or(history.max_on_join);
        table.close(inner);
    }
    let errors = table.finish();
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(Config {
        name: name.to_owned(),
        title,
        fixed_network,
        room_prefixes: room_prefixes.unwrap_or_else(|| crate::address::USUAL_PREFIXES.to_owned()),
        allow_private_networks,
        persistent_by_default,
        identd,
        allowed_networks,
        connections_per_network,
        rooms_per_user,
        idle_after: idle_after.flatten(),
        bind,
        user_addresses,
        // Unique local addresses (RFC 4193) belong to nobody outside.
        webirc_prefix: webirc_prefix.unwrap_or(std::net::Ipv6Addr::new(0xfd69, 0x7368, 0x6d75, 0x7300, 0, 0, 0, 0)),
        history,
    })
}

/// A time from an hour to ten years; `None` in it for never.
fn idle(words: &str) -> Option<Option<Duration>> {
    const HOURS: std::ops::RangeInclusive<u64> = 1..=10 * 365 * 24;
    if words == "0" {
        return Some(None);
    }
    let (count, hours) = match (words.strip_suffix('d'), words.strip_suffix('h')) {
        (Some(days), _) => (days, 24),
        (None, Some(hours)) => (hours, 1),
        (None, None) => return None,
    };
    let hours = count.parse::<u64>().ok()?.checked_mul(hours).filter(|hours| HOURS.contains(hours))?;
    Some(Some(Duration::from_secs(hours * 3_600)))
}

#[cfg(test)]
impl Config {
    /// As read from these keys.
    pub(crate) fn of(keys: serde_json::Value) -> Self {
        read(isthmus_bridge::suite::section("irc", "irc.example", keys)).expect("keys that build")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_key_has_its_place_and_a_fault_its_name() {
        let config = Config::of(json!({
            "fixed_network": "IRC.example.net", "allow_private_networks": true, "persistent_by_default": true,
            "identd": "127.0.0.1:113", "history": {"record": false, "max_on_join": 3}, "rooms_per_user": 5,
        }));
        assert_eq!(config.fixed_network.as_deref(), Some("irc.example.net"));
        assert_eq!(config.history, History { record: false, max_on_join: 3 });
        assert_eq!((config.rooms_per_user, config.connections_per_network), (5, 0));
        assert_eq!(config.idle_after, None);
        let idle = |words: &str| Config::of(json!({ "idle_after": words })).idle_after.map(|time| time.as_secs());
        assert_eq!((idle("30d"), idle("12h"), idle("0")), (Some(2_592_000), Some(43_200), None));
        for wrong in ["", "d", "0d", "-1d", "30", "1.5d", "99999999999999999999d", "400000d"] {
            let keys = json!({ "idle_after": wrong });
            let faults = read(isthmus_bridge::suite::section("irc", "irc.example", keys)).expect_err(wrong);
            assert_eq!(faults[0].key, "idle_after");
        }
        let keys = json!({"identd": "nowhere", "history": {"max_on_join": -1}, "allow_private_network": true});
        let faults = read(isthmus_bridge::suite::section("irc", "irc.example", keys)).expect_err("three faults");
        let keys: Vec<&str> = faults.iter().map(|f| f.key.as_str()).collect();
        assert_eq!(keys, ["identd", "history.max_on_join", "allow_private_network"]);
    }
}
