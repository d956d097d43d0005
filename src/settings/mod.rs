//! Settings in force for a user at an address: pure; what people chose comes from `storage::people`.
//!
//! Room (or contact) > network > user > `[networks.x]` > `[defaults]` > built in; what the administrator locked wins over all of it.

use std::collections::{BTreeMap, HashMap};

use isthmus_bridge::{Address, ConfigError, NetworkId, Resolved, Rule, Scope, Setting, SettingKind, Text};

/// Values by key.
pub type Chosen = BTreeMap<String, String>;

/// A bridge's settings with what the administrator said of them.
#[derive(Debug, Clone, Default)]
pub struct Scheme {
    settings: Vec<Setting>,
    defaults: Chosen,
    networks: HashMap<NetworkId, Chosen>,
    locks: Chosen,
}

impl Scheme {
    /// The declared settings, with nothing said by the administrator.
    pub fn new(settings: &[Setting]) -> Self {
        Self { settings: settings.to_vec(), ..Self::default() }
    }

    /// Takes the administrator's `[defaults]`; a key or value that is not of the declared settings is a fault.
    pub fn defaults(&mut self, values: Chosen) -> Result<(), Vec<ConfigError>> {
        self.defaults = self.checked("defaults", values)?;
        Ok(())
    }

    /// Takes `[networks.<name>]`.
    pub fn network(&mut self, network: NetworkId, values: Chosen) -> Result<(), Vec<ConfigError>> {
        let values = self.checked(&format!("networks.{network}"), values)?;
        self.networks.insert(network, values);
        Ok(())
    }

    /// Takes the administrator's locks: values that nobody overrides.
    pub fn locks(&mut self, values: Chosen) -> Result<(), Vec<ConfigError>> {
        self.locks = self.checked("locks", values)?;
        Ok(())
    }

    /// The declared settings.
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// A setting by its key, or by the one that it had before.
    pub fn setting(&self, key: &str) -> Option<&Setting> {
        let by_key = self.settings.iter().find(|s| s.key == key);
        by_key.or_else(|| self.settings.iter().find(|s| s.formerly == Some(key)))
    }

    /// Whether the administrator has locked it.
    pub fn locked(&self, key: &str) -> bool {
        self.locks.contains_key(key)
    }

    /// The settings that may be set at this scope, by an administrator or by a user.
    pub fn at(&self, scope: Scope, admin: bool) -> impl Iterator<Item = &Setting> {
        self.settings
            .iter()
            .filter(move |s| s.scopes.contains(&scope) && (admin || !(s.admin_only || self.locked(s.key))))
    }

    /// What is in force. `layers` are the user's choices from the widest address to the narrowest.
    pub fn resolve<'a>(&self, network: &NetworkId, layers: impl IntoIterator<Item = &'a Chosen>) -> Resolved {
        let layers: Vec<&Chosen> = layers.into_iter().collect();
        let values = self.settings.iter().map(|s| (s.key, self.value(s, network, &layers).to_owned())).collect();
        Resolved::new(values)
    }

    fn value<'a>(&'a self, setting: &'a Setting, network: &NetworkId, layers: &[&'a Chosen]) -> &'a str {
        let key = setting.key;
        let of = |chosen: &'a Chosen| chosen.get(key).map(String::as_str);
        of(&self.locks)
            .or_else(|| layers.iter().rev().find_map(|chosen| chosen.get(key).map(String::as_str)))
            .or_else(|| self.networks.get(network).and_then(of))
            .or_else(|| of(&self.defaults))
            .unwrap_or(setting.default)
    }

    fn checked(&self, table: &str, values: Chosen) -> Result<Chosen, Vec<ConfigError>> {
        let mut faults = Vec::new();
        let mut good = Chosen::new();
        for (key, value) in &values {
            let fault = |what: String| ConfigError::new(format!("{table}.{key}"), what);
            let Some(setting) = self.setting(key) else {
                faults.push(fault("is not a setting of this bridge".to_owned()));
                continue;
            };
            match check(setting, value) {
                _ if setting.key != key && values.contains_key(setting.key) => {
                    faults.push(fault(format!("is called {} today, which is there too", setting.key)));
                }
                Ok(value) => drop(good.insert(setting.key.to_owned(), value)),
                Err(_) => {
                    let expected =
                        setting.rule.map_or_else(|| expected(&setting.kind), |rule| rule.expected.to_owned());
                    faults.push(fault(format!("expected {expected}")));
                }
            }
        }
        if faults.is_empty() { Ok(good) } else { Err(faults) }
    }
}

/// Where the address's settings are kept, from the widest to the narrowest; an occupant's are the room's.
pub fn levels(at: &Address, network: &NetworkId) -> Vec<Address> {
    let mut levels = vec![Address::Gateway];
    if *at != Address::Gateway {
        levels.push(Address::Network(network.clone()));
    }
    match at {
        Address::Contact(_) | Address::Room(_) => levels.push(at.clone()),
        Address::Occupant { room, .. } => levels.push(Address::Room(room.clone())),
        _ => {}
    }
    levels
}

/// The scope of what is set at an address.
pub fn scope(at: &Address) -> Scope {
    match at {
        Address::Network(_) => Scope::Network,
        Address::Contact(_) => Scope::Contact,
        Address::Room(_) | Address::Occupant { .. } => Scope::Room,
        _ => Scope::Gateway,
    }
}

/// A value in its one spelling, or what is wrong with it.
pub fn check(setting: &Setting, value: &str) -> Result<String, Text> {
    keeps(setting.rule, setting.key, spelled(&setting.kind, value)?)
}

/// A value of a field that keeps the rule of it; an empty one keeps any.
pub fn keeps(rule: Option<Rule>, key: &str, value: String) -> Result<String, Text> {
    match rule {
        Some(rule) if !value.is_empty() && !(rule.holds)(&value) => Err(Text::key(format!("expected.{key}"))),
        _ => Ok(value),
    }
}

fn spelled(kind: &SettingKind, value: &str) -> Result<String, Text> {
    match kind {
        SettingKind::Bool => match value.trim().to_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Ok("true".to_owned()),
            "0" | "false" | "no" | "off" => Ok("false".to_owned()),
            _ => Err(Text::key("form.not-bool")),
        },
        SettingKind::Number { min, max } => number(value, *min, *max),
        SettingKind::Line if value.contains(['\n', '\r']) => Err(Text::key("form.not-line")),
        SettingKind::Choice(choices) => match choices.iter().find(|(v, _)| *v == value) {
            Some((value, _)) => Ok((*value).to_owned()),
            None => Err(Text::key("form.not-choice")),
        },
        _ => Ok(value.to_owned()),
    }
}

/// A whole number in this range, in its one spelling.
pub fn number(value: &str, min: i64, max: i64) -> Result<String, Text> {
    match value.trim().parse::<i64>() {
        Ok(n) if (min..=max).contains(&n) => Ok(n.to_string()),
        _ => Err(Text::key("form.not-number").with("min", min).with("max", max)),
    }
}

/// Completes "expected …" in a fault of the configuration.
fn expected(kind: &SettingKind) -> String {
    match kind {
        SettingKind::Bool => "true or false".to_owned(),
        SettingKind::Number { min, max } => format!("a whole number from {min} to {max}"),
        SettingKind::Line => "one line of text".to_owned(),
        SettingKind::Choice(choices) => {
            let all: Vec<String> = choices.iter().map(|(value, _)| format!("{value:?}")).collect();
            format!("one of {}", all.join(", "))
        }
        _ => "text".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isthmus_bridge::RoomId;

    const EVERYWHERE: &[Scope] = &[Scope::Gateway, Scope::Network, Scope::Room, Scope::Contact];

    fn chosen(value: &str) -> Chosen {
        Chosen::from([("k".to_owned(), value.to_owned())])
    }

    fn scheme() -> Scheme {
        let kind = SettingKind::Number { min: 0, max: 9 };
        Scheme::new(&[
            Setting::new("k", kind, EVERYWHERE, "0"),
            Setting::new(
                "c",
                SettingKind::Choice(&[("quote", "as a quote"), ("plain", "nothing")]),
                EVERYWHERE,
                "plain",
            )
            .admin_only(),
            Setting::new("a", SettingKind::Line, EVERYWHERE, "").admin_only(),
        ])
    }

    #[test]
    fn the_narrower_choice_wins_and_a_lock_wins_over_all() {
        let net = NetworkId::new("libera");
        let mut scheme = scheme();
        let (user, network, room) = (chosen("3"), chosen("4"), chosen("5"));
        assert_eq!(scheme.resolve(&net, []).str("k"), "0", "built in");
        scheme.defaults(chosen("1")).expect("good");
        assert_eq!(scheme.resolve(&net, []).str("k"), "1", "[defaults]");
        scheme.network(net.clone(), chosen("2")).expect("good");
        assert_eq!(scheme.resolve(&net, []).str("k"), "2", "[networks.libera]");
        assert_eq!(scheme.resolve(&NetworkId::new("oftc"), []).str("k"), "1", "another network");
        assert_eq!(scheme.resolve(&net, [&user]).str("k"), "3", "user");
        assert_eq!(scheme.resolve(&net, [&user, &network]).str("k"), "4", "network");
        assert_eq!(scheme.resolve(&net, [&user, &network, &room]).str("k"), "5", "room");
        assert_eq!(
            scheme.resolve(&net, [&user, &network, &Chosen::new()]).str("k"),
            "4",
            "nothing chosen for the room"
        );
        scheme.locks(chosen("9")).expect("good");
        assert_eq!(scheme.resolve(&net, [&user, &network, &room]).str("k"), "9", "lock");
    }

    #[test]
    fn a_wrong_default_of_the_administrator_names_its_key() {
        let wrong = [("k", "ten"), ("c", "name"), ("z", "1")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let faults = scheme().defaults(Chosen::from(wrong));
        let faults: Vec<String> = faults.expect_err("all are wrong").iter().map(ToString::to_string).collect();
        assert_eq!(
            faults,
            [
                "defaults.c: expected one of \"quote\", \"plain\"",
                "defaults.k: expected a whole number from 0 to 9",
                "defaults.z: is not a setting of this bridge"
            ]
        );
    }

    #[test]
    fn what_a_setting_was_called_before_still_names_it() {
        let mut scheme = Scheme::new(&[Setting::new("new", SettingKind::Bool, EVERYWHERE, "true").formerly("old")]);
        scheme.defaults(Chosen::from([("old".into(), "no".into())])).expect("a name of earlier versions");
        assert_eq!(scheme.resolve(&NetworkId::new("libera"), []).str("new"), "false");
        let both = Chosen::from([("old".into(), "no".into()), ("new".into(), "yes".into())]);
        let faults = scheme.defaults(both).expect_err("which of them?");
        assert_eq!(
            faults.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["defaults.old: is called new today, which is there too"]
        );
    }

    #[test]
    fn a_value_is_what_its_setting_expects() {
        let word = |word: &str| word == "good";
        let mut scheme =
            Scheme::new(&[Setting::new("k", SettingKind::Line, EVERYWHERE, "").expecting("a good word", word)]);
        for good in ["", "good"] {
            scheme.locks(chosen(good)).expect(good);
        }
        let faults = scheme.network("net".into(), chosen("bad")).expect_err("it is not");
        assert_eq!(faults[0].to_string(), "networks.net.k: expected a good word");
        assert_eq!(check(&scheme.settings()[0], "bad"), Err(Text::key("expected.k")));
    }

    #[test]
    fn users_are_not_offered_what_is_locked_or_the_administrators() {
        let mut scheme = scheme();
        let keys = |s: &Scheme, admin| s.at(Scope::Room, admin).map(|s| s.key).collect::<Vec<_>>();
        assert_eq!(keys(&scheme, false), ["k"]);
        assert_eq!(keys(&scheme, true), ["k", "c", "a"]);
        scheme.locks(chosen("1")).expect("good");
        assert!(keys(&scheme, false).is_empty());
    }

    #[test]
    fn an_occupant_has_the_rooms_settings() {
        let room = RoomId::new("#rust%libera");
        let at = Address::Occupant { room: room.clone(), nick: "ann".into() };
        let net = NetworkId::new("libera");
        let expected = [Address::Gateway, Address::Network(net.clone()), Address::Room(room)];
        assert_eq!(levels(&at, &net), expected);
        assert_eq!(levels(&Address::Gateway, &net), [Address::Gateway]);
    }
}
