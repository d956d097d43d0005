//! Privileged entities (XEP-0356) as Prosody 0.12 (`urn:xmpp:privilege:2`) and ejabberd 23.01 (`urn:xmpp:privilege:1`) speak it, and roster items,
//! by privilege or by XEP-0144. Pure.

use std::collections::BTreeMap;

use minidom::Element;

use super::link::Stanza;
use super::ns;
use super::xml::Xml;

/// The version of the protocol that a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `urn:xmpp:privilege:1`. A privileged message reaches neither the user's other devices nor their archive on ejabberd before 23.10.
    One,
    /// `urn:xmpp:privilege:2`.
    Two,
}

impl Version {
    const ALL: [Self; 2] = [Self::Two, Self::One];

    /// Its namespace.
    pub fn ns(self) -> &'static str {
        match self {
            Self::One => "urn:xmpp:privilege:1",
            Self::Two => "urn:xmpp:privilege:2",
        }
    }
}

/// What a server lets us do for its own users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants {
    /// How it has to be asked.
    pub version: Version,
    /// Rosters may be read.
    pub roster_get: bool,
    /// Rosters may be written.
    pub roster_set: bool,
    /// The server grants that, and fails at it: found out by trying.
    pub roster_fails: bool,
    /// Messages may be sent in users' names.
    pub message: bool,
    /// Users' presence is told to us: `managed_entity` or `roster`.
    pub presence: Option<String>,
    /// Iqs in users' names, by the namespace of their payload: get, set.
    pub iq: BTreeMap<String, (bool, bool)>,
}

impl Grants {
    /// Whether an iq with a payload of this namespace may be sent in a user's name.
    pub fn iq(&self, namespace: &str, set: bool) -> bool {
        self.iq.get(namespace).is_some_and(|(get, may_set)| if set { *may_set } else { *get })
    }

    /// In words for the operator.
    pub fn words(&self) -> Vec<String> {
        let mut all = Vec::new();
        match (self.roster_get, self.roster_set) {
            (true, true) => all.push("roster: both".to_owned()),
            (true, false) => all.push("roster: get".to_owned()),
            (false, true) => all.push("roster: set".to_owned()),
            _ => {}
        }
        if self.message {
            all.push("message: outgoing".to_owned());
        }
        all.extend(self.presence.iter().map(|p| format!("presence: {p}")));
        for (namespace, rights) in &self.iq {
            let kind = match rights {
                (true, true) => "both",
                (true, false) => "get",
                _ => "set",
            };
            all.push(format!("iq {namespace}: {kind}"));
        }
        all
    }
}

/// What a server's message says of privileges; `None` where it says nothing of them. The caller looks at who sent it.
pub fn advertised(stanza: &Stanza) -> Option<Grants> {
    let version = Version::ALL.into_iter().find(|v| stanza.child("privilege", v.ns()).is_some())?;
    let element = stanza.child("privilege", version.ns())?.element().ok()?;
    if element.children().all(|c| c.name() != "perm") {
        return None; // a forwarded answer
    }
    let mut grants = Grants {
        version,
        roster_get: false,
        roster_set: false,
        roster_fails: false,
        message: false,
        presence: None,
        iq: BTreeMap::new(),
    };
    for perm in element.children().filter(|c| c.name() == "perm") {
        let kind = perm.attr("type").unwrap_or("none");
        match perm.attr("access") {
            Some("roster") => {
                grants.roster_get = matches!(kind, "get" | "both");
                grants.roster_set = matches!(kind, "set" | "both");
            }
            Some("message") => grants.message = kind == "outgoing",
            Some("presence") => grants.presence = (kind != "none").then(|| kind.to_owned()),
            Some("iq") => namespaces(perm, &mut grants.iq),
            _ => {}
        }
    }
    Some(grants)
}

/// COMPAT(Prosody 0.12): its second `<namespace/>` stands within the first one, the third within the second.
fn namespaces(element: &Element, iq: &mut BTreeMap<String, (bool, bool)>) {
    for child in element.children().filter(|c| c.name() == "namespace") {
        if let (Some(ns), Some(kind)) = (child.attr("ns"), child.attr("type")) {
            iq.insert(ns.to_owned(), (matches!(kind, "get" | "both"), matches!(kind, "set" | "both")));
        }
        namespaces(child, iq);
    }
}

/// A message in a user's name: `inner` is a finished `<message/>` from the user's bare JID, without a namespace of its own.
pub fn message(version: Version, from: &str, server: &str, id: &str, inner: &str) -> String {
    let mut xml = Xml::stanza("message");
    xml.attr("from", from).attr("to", server).attr("id", id);
    xml.open("privilege", version.ns()).open("forwarded", ns::FORWARD).finished(&client(inner));
    xml.finish()
}

/// A copy of what the user sent (XEP-0280) for one of their devices, as a message from their bare JID.
pub fn sent_copy(user: &str, device: &str, id: &str, inner: &str) -> String {
    let mut xml = Xml::stanza("message");
    xml.attr("from", user).attr("to", device).attr("type", "chat").attr("id", id);
    xml.open("sent", ns::CARBONS).open("forwarded", ns::FORWARD).finished(&client(inner));
    xml.finish()
}

/// A finished stanza of ours, as it stands within another element.
fn client(stanza: &str) -> String {
    let end = stanza.find([' ', '>', '/']).unwrap_or(stanza.len());
    format!("{} xmlns='{}'{}", &stanza[..end], ns::CLIENT, &stanza[end..])
}

/// The payload of an iq that asks for another one in the user's name. The outer iq is of the same type, and goes to the user's bare JID.
pub fn iq(kind: &str, user: &str, id: &str, payload: &Element) -> Element {
    let mut inner = Element::bare("iq", ns::CLIENT);
    for (name, value) in [("type", kind), ("from", user), ("to", user), ("id", id)] {
        super::forms::set(&mut inner, name, value);
    }
    inner.append_child(payload.clone());
    let mut outer = Element::bare("privileged_iq", Version::Two.ns());
    outer.append_child(inner);
    outer
}

/// The iq within the answer to [`iq`].
pub fn answered(answer: &Element) -> Option<&Element> {
    answer.get_child("forwarded", ns::FORWARD)?.children().find(|c| c.name() == "iq")
}

/// XEP-0402: what publishes a room among one's bookmarks.
pub fn bookmark(room: &str, autojoin: bool, nick: Option<&str>) -> Element {
    use super::forms::set;
    let mut conference = Element::bare("conference", ns::BOOKMARKS);
    set(&mut conference, "autojoin", if autojoin { "true" } else { "false" });
    if let Some(nick) = nick {
        let mut element = Element::bare("nick", ns::BOOKMARKS);
        element.append_text_node(super::forms::printable(nick));
        conference.append_child(element);
    }
    published(ns::BOOKMARKS, room, conference)
}

/// XEP-0490: what publishes that a room is read up to the message of that id.
pub fn displayed(room: &str, id: &str) -> Element {
    use super::forms::set;
    let mut stanza_id = Element::bare("stanza-id", ns::SID);
    set(&mut stanza_id, "by", room);
    set(&mut stanza_id, "id", id);
    let mut displayed = Element::bare("displayed", ns::MDS);
    displayed.append_child(stanza_id);
    published(ns::MDS, room, displayed)
}

/// An item of a node that only its owner reads, and keeps (XEP-0223).
fn published(node: &str, id: &str, payload: Element) -> Element {
    use super::forms::set;
    let mut item = Element::bare("item", ns::PUBSUB);
    set(&mut item, "id", id);
    item.append_child(payload);
    let mut publish = Element::bare("publish", ns::PUBSUB);
    set(&mut publish, "node", node);
    publish.append_child(item);
    let mut form = Element::bare("x", ns::DATA);
    set(&mut form, "type", "submit");
    let fields = [
        ("FORM_TYPE", "http://jabber.org/protocol/pubsub#publish-options"),
        ("pubsub#persist_items", "true"),
        ("pubsub#max_items", "max"),
        ("pubsub#send_last_published_item", "never"),
        ("pubsub#access_model", "whitelist"),
    ];
    for (var, value) in fields {
        let mut field = Element::bare("field", ns::DATA);
        set(&mut field, "var", var);
        let mut element = Element::bare("value", ns::DATA);
        element.append_text_node(value);
        field.append_child(element);
        form.append_child(field);
    }
    let mut options = Element::bare("publish-options", ns::PUBSUB);
    options.append_child(form);
    let mut pubsub = Element::bare("pubsub", ns::PUBSUB);
    pubsub.append_child(publish);
    pubsub.append_child(options);
    pubsub
}

/// A contact as it is to stand in a roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item<'a> {
    /// Its bare JID.
    pub jid: &'a str,
    /// Its name.
    pub name: Option<&'a str>,
    /// Its groups.
    pub groups: &'a [String],
}

impl Item<'_> {
    fn element(&self, ns: &str) -> Element {
        let mut item = Element::bare("item", ns);
        super::forms::set(&mut item, "jid", self.jid);
        if let Some(name) = self.name {
            super::forms::set(&mut item, "name", name);
        }
        for group in self.groups {
            let mut element = Element::bare("group", ns);
            element.append_text_node(super::forms::printable(group));
            item.append_child(element);
        }
        item
    }

    /// `jabber:iq:roster` that puts it there, subscribed both ways.
    pub fn put(&self) -> Element {
        let mut query = Element::bare("query", ns::ROSTER);
        let mut item = self.element(ns::ROSTER);
        super::forms::set(&mut item, "subscription", "both");
        query.append_child(item);
        query
    }

    /// `jabber:iq:roster` that takes it away.
    pub fn take(&self) -> Element {
        let mut query = Element::bare("query", ns::ROSTER);
        let mut item = Element::bare("item", ns::ROSTER);
        super::forms::set(&mut item, "jid", self.jid);
        super::forms::set(&mut item, "subscription", "remove");
        query.append_child(item);
        query
    }
}

/// XEP-0144: what the user's client is asked to do with these contacts (`add`, `delete`, `modify`).
pub fn exchange(action: &str, items: &[Item<'_>]) -> Element {
    let mut x = Element::bare("x", ns::ROSTERX);
    for item in items {
        let mut element = item.element(ns::ROSTERX);
        super::forms::set(&mut element, "action", action);
        x.append_child(element);
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prosodys_nested_namespaces_are_all_found() {
        let stanza = Stanza::of(
            "<message from='example.org' to='gw.example.org'><privilege xmlns='urn:xmpp:privilege:2'>\
             <perm access='roster' type='both'/><perm access='message' type='outgoing'/><perm access='presence' type='roster'/>\
             <perm access='iq'><namespace ns='urn:xmpp:blocking' type='get'><namespace ns='urn:x' type='both'/></namespace></perm>\
             </privilege></message>",
        );
        let grants = advertised(&stanza).expect("an advert");
        assert!(grants.roster_get && grants.roster_set && grants.message);
        assert!(
            grants.iq("urn:xmpp:blocking", false) && !grants.iq("urn:xmpp:blocking", true) && grants.iq("urn:x", true)
        );
        assert_eq!(grants.presence.as_deref(), Some("roster"));
    }

    #[test]
    fn ejabberds_advert_grants_no_iqs() {
        let stanza = Stanza::of(
            "<message from='example.org' to='gw.example.org'><privilege xmlns='urn:xmpp:privilege:1'>\
             <perm access='roster' type='get'/><perm access='message' type='none'/></privilege></message>",
        );
        let grants = advertised(&stanza).expect("an advert");
        assert_eq!((grants.version, grants.words()), (Version::One, vec!["roster: get".to_owned()]));
    }

    #[test]
    fn a_message_in_a_users_name_is_one_of_jabber_client() {
        let inner = "<message from='a@x' to='b@gw.x' id='1'><body>hi</body></message>";
        let text = message(Version::Two, "gw.x", "x", "o", inner);
        assert_eq!(
            text,
            "<message from='gw.x' to='x' id='o'><privilege xmlns='urn:xmpp:privilege:2'><forwarded xmlns='urn:xmpp:forward:0'>\
             <message xmlns='jabber:client' from='a@x' to='b@gw.x' id='1'><body>hi</body></message></forwarded></privilege></message>"
        );
    }

    #[test]
    fn items_have_names_and_groups() {
        let groups = ["Friends".to_owned()];
        let item = Item { jid: "b@gw.x", name: Some("Ben"), groups: &groups };
        let text = String::from(&item.put());
        for part in ["jid='b@gw.x'", "name='Ben'", "subscription='both'", "<group>Friends</group>"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let text = String::from(&exchange("add", &[item]));
        assert!(text.contains("action='add'") && text.contains("http://jabber.org/protocol/rosterx"), "{text}");
    }
}
