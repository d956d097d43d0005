//! `name%network` is a person, `#name%network` a room, the network's name alone the network. Without `%` the first network is meant.

use crate::address::{Address, Addressing, BadAddress, ContactId, NetworkId, Parts, RoomId};

/// Local parts of Loopback.
#[derive(Debug)]
pub(super) struct Names {
    /// Never empty.
    pub(super) networks: Vec<NetworkId>,
}

impl Names {
    fn first(&self) -> NetworkId {
        self.networks.first().cloned().unwrap_or_else(|| NetworkId::from("loop"))
    }

    fn known(&self, name: &str) -> Option<&NetworkId> {
        self.networks.iter().find(|n| n.as_str() == name)
    }
}

impl Addressing for Names {
    fn parse(&self, local: Option<&str>, resource: Option<&str>) -> Result<Address, BadAddress> {
        let Some(local) = local else { return Ok(Address::Gateway) };
        if let Some(network) = self.known(local) {
            return Ok(Address::Network(network.clone()));
        }
        let (name, network) = match local.rsplit_once('%') {
            Some((name, network)) => {
                let known = self.known(network);
                (name, known.ok_or_else(|| BadAddress::Unknown(format!("there is no network {network}")))?.clone())
            }
            None => (local, self.first()),
        };
        let bare = name.strip_prefix('#').unwrap_or(name);
        if bare.is_empty() || bare.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return Err(BadAddress::Malformed("a name without spaces is expected".to_owned()));
        }
        let full = format!("{name}%{network}");
        Ok(match (name.starts_with('#'), resource.filter(|r| !r.is_empty())) {
            (false, _) => Address::Contact(ContactId::from(full)),
            (true, None) => Address::Room(RoomId::from(full)),
            (true, Some(nick)) => Address::Occupant { room: RoomId::from(full), nick: nick.to_owned() },
        })
    }

    fn format(&self, address: &Address) -> Parts {
        match address {
            Address::Gateway => Parts::gateway(),
            Address::Network(network) => Parts::local(network.as_str()),
            Address::Contact(contact) => Parts::local(contact.as_str()),
            Address::Room(room) => Parts::local(room.as_str()),
            Address::Occupant { room, nick } => Parts::occupant(room.as_str(), nick.as_str()),
        }
    }

    fn person(&self, room: &RoomId, nick: &str) -> Option<ContactId> {
        let network = self.network(&Address::Room(room.clone()));
        Some(ContactId::new(format!("{}%{network}", nick.to_ascii_lowercase())))
    }

    fn network(&self, address: &Address) -> NetworkId {
        let id = match address {
            Address::Gateway => return self.first(),
            Address::Network(network) => return network.clone(),
            Address::Contact(contact) => contact.as_str(),
            Address::Room(room) | Address::Occupant { room, .. } => room.as_str(),
        };
        id.rsplit_once('%').map_or_else(|| self.first(), |(_, network)| NetworkId::from(network))
    }
}

/// The name of a person or room, without its network.
pub(super) fn name_of(id: &str) -> &str {
    id.rsplit_once('%').map_or(id, |(name, _)| name)
}
