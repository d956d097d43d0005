//! Service discovery (XEP-0030), its extension forms (XEP-0128), contact addresses (XEP-0157) and entity capabilities (XEP-0115).

use std::borrow::Cow;

use base64::Engine as _;
use isthmus_bridge::{Address, Profile, Registration};
use sha1::{Digest, Sha1};

use super::{ns, xml::Xml};
use crate::rooms::info as rooms;

/// What disco#info says of an entity.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Info {
    /// Category, type, name.
    pub identities: Vec<(&'static str, String, String)>,
    /// Features served, no more.
    pub features: Vec<&'static str>,
    /// Extension forms: `FORM_TYPE`, then fields.
    pub forms: Vec<(&'static str, Vec<Field>)>,
}

/// A field of an extension form: its name and values.
pub type Field = (Cow<'static, str>, Vec<String>);

/// The form of what a network knows of somebody (XEP-0128): as many fields as it has words for.
pub const ABOUT: &str = "urn:isthmus:about:0";

/// What an address of a bridge is and serves. `name` is its name for people.
/// `directory`: whether the bridge's network can be searched for people.
pub fn info(address: &Address, profile: &Profile, directory: bool, name: &str, contact: &[Field]) -> Info {
    let mut info = Info::default();
    let mut features =
        vec![ns::DISCO_INFO, ns::DISCO_ITEMS, ns::PING, ns::VERSION, ns::TIME, ns::LAST, ns::VCARD, ns::CAPS];
    match address {
        Address::Gateway => {
            info.identities.push(("gateway", profile.gateway_type.to_owned(), name.to_owned()));
            info.identities.push(("pubsub", "pep".to_owned(), name.to_owned()));
            features.extend([ns::GATEWAY, ns::COMMANDS, ns::ADDRESS]);
            features.extend(PEP);
            if directory {
                features.push(ns::SEARCH);
            }
            if profile.registration != Registration::None {
                features.push(ns::REGISTER);
            }
            if !contact.is_empty() {
                info.forms.push(("http://jabber.org/network/serverinfo", contact.to_vec()));
            }
            if profile.rooms {
                rooms::network(&mut info, profile, name);
                if profile.networks {
                    // Rooms are searched for at the networks; the gateway is none of them.
                    info.features.retain(|feature| *feature != ns::SEARCH);
                }
            }
        }
        Address::Contact(_) => {
            info.identities.push(("account", "registered".to_owned(), name.to_owned()));
            info.identities.push(("pubsub", "pep".to_owned(), name.to_owned()));
            features.extend(PEP);
            features.extend(carried(profile));
        }
        Address::Occupant { .. } => {
            info.identities.push(("account", "registered".to_owned(), name.to_owned()));
            features.extend(carried(profile));
        }
        _ => {
            info.identities.push(("gateway", profile.gateway_type.to_owned(), name.to_owned()));
            features.push(ns::COMMANDS);
            if profile.rooms && matches!(address, Address::Network(_)) {
                rooms::network(&mut info, profile, name);
            }
        }
    }
    info.features.extend(features);
    info.features.sort_unstable();
    info.features.dedup();
    info
}

/// The small eventing service on contacts and the gateway (XEP-0163): items are read, and pictures told of.
const PEP: [&str; 5] = [
    ns::PUBSUB,
    "http://jabber.org/protocol/pubsub#retrieve-items",
    "http://jabber.org/protocol/pubsub#filtered-notifications",
    "http://jabber.org/protocol/pubsub#access-presence",
    ns::VCARD4,
];

/// What can be sent to a contact and arrives as what it is.
fn carried(profile: &Profile) -> Vec<&'static str> {
    let mut features = vec![ns::COMMANDS];
    let optional = [
        (profile.receipts, ns::RECEIPTS),
        (profile.typing, ns::CHATSTATES),
        (profile.markers, ns::MARKERS),
        (profile.reactions, ns::REACTIONS),
        (profile.retractions, ns::RETRACT),
        (profile.files, ns::OOB),
        (profile.files, ns::SFS),
        (profile.max_recipients > 1, ns::ADDRESS),
    ];
    features.extend(optional.into_iter().filter(|(on, _)| *on).map(|(_, feature)| feature));
    // Both are understood whether or not the network knows them: what it does not know is degraded, and said so.
    features.extend([ns::CORRECT, ns::REPLY]);
    features
}

/// Writes the `<query/>`.
pub fn write_info(xml: &mut Xml, node: Option<&str>, info: &Info) {
    xml.open("query", ns::DISCO_INFO).attr_opt("node", node);
    for (category, kind, name) in &info.identities {
        xml.open("identity", "").attr("category", category).attr("type", kind).attr("name", name).close();
    }
    for feature in &info.features {
        xml.open("feature", "").attr("var", feature).close();
    }
    for (form_type, fields) in &info.forms {
        xml.open("x", ns::DATA).attr("type", "result");
        xml.open("field", "").attr("var", "FORM_TYPE").attr("type", "hidden").leaf("value", "", form_type).close();
        for (var, values) in fields {
            let kind = match *form_type {
                rooms::ROOMINFO => "text-single",
                ABOUT if values.len() == 1 => "text-single",
                ABOUT => "text-multi",
                _ => "list-multi",
            };
            xml.open("field", "").attr("var", var).attr("type", kind);
            for value in values {
                xml.leaf("value", "", value);
            }
            xml.close();
        }
        xml.close();
    }
    xml.close();
}

/// The verification string (XEP-0115 section 5.1), SHA-1.
pub fn verification(info: &Info) -> String {
    let mut text = String::new();
    let mut identities: Vec<String> = info.identities.iter().map(|(c, t, n)| format!("{c}/{t}//{n}<")).collect();
    identities.sort_unstable();
    text.extend(identities);
    let mut features = info.features.clone();
    features.sort_unstable();
    for feature in features {
        text.push_str(feature);
        text.push('<');
    }
    let mut forms = info.forms.clone();
    forms.sort_unstable_by_key(|(form_type, _)| *form_type);
    for (form_type, mut fields) in forms {
        text.push_str(form_type);
        text.push('<');
        fields.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        for (var, mut values) in fields {
            text.push_str(&var);
            text.push('<');
            values.sort_unstable();
            for value in values {
                text.push_str(&value);
                text.push('<');
            }
        }
    }
    base64::engine::general_purpose::STANDARD.encode(Sha1::digest(text.as_bytes()))
}

/// The `node` of our capabilities: the program's own address (XEP-0115 section 4).
pub const CAPS_NODE: &str = "https://isthmus.example.org";

/// Writes `<c/>` into a presence.
pub fn write_caps(xml: &mut Xml, ver: &str) {
    xml.open("c", ns::CAPS).attr("hash", "sha-1").attr("node", CAPS_NODE).attr("ver", ver).close();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verification_string_of_the_specification() {
        // XEP-0115 section 5.2.
        let info = Info {
            identities: vec![("client", "pc".to_owned(), "Exodus 0.9.1".to_owned())],
            features: vec![ns::DISCO_INFO, ns::DISCO_ITEMS, ns::MUC, ns::CAPS],
            forms: Vec::new(),
        };
        assert_eq!(verification(&info), "QgayPKawpkPSDYmwT/WM94uAlu0=");
    }

    #[test]
    fn announces_what_is_served_and_no_more() {
        let profile = Profile::live("echo", "Echo");
        let gateway = info(&Address::Gateway, &profile, false, "Echo", &[]);
        assert_eq!(gateway.identities[0], ("gateway", "echo".to_owned(), "Echo".to_owned()));
        assert!(!gateway.features.contains(&ns::REGISTER), "nothing to register");
        let contact = info(&Address::Contact("bob".into()), &profile, false, "bob", &[]);
        assert!(!contact.features.contains(&ns::RECEIPTS), "no receipts from a network without delivery reports");
    }
}
