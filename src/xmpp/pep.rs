//! What a contact or the gateway shows of itself: vCards (XEP-0054, XEP-0292), pictures (XEP-0153, XEP-0084), nicks (XEP-0172), and the small
//! personal eventing service (XEP-0163) that has them. Pure.

use base64::Engine as _;

use super::ns;
use super::xml::Xml;
use crate::storage::people::Picture;

/// The node of XEP-0292.
pub const VCARD4_NODE: &str = "urn:xmpp:vcard4";

/// Somebody, as shown to one user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Face {
    /// Their name.
    pub name: String,
    /// Their address as people of the network write it.
    pub address: Option<String>,
    /// What they are, in one sentence.
    pub about: String,
    /// Their picture.
    pub picture: Option<Picture>,
}

/// The nodes that have an item.
pub fn nodes(face: &Face) -> Vec<&'static str> {
    let mut all = vec![VCARD4_NODE, ns::NICK];
    if face.picture.is_some() {
        all.extend([ns::AVATAR_METADATA, ns::AVATAR_DATA]);
    }
    all
}

/// XEP-0054, with the picture of XEP-0153.
pub fn vcard(xml: &mut Xml, face: &Face) {
    xml.open("vCard", ns::VCARD).leaf("FN", "", &face.name).leaf("NICKNAME", "", &face.name);
    if !face.about.is_empty() {
        xml.leaf("DESC", "", &face.about);
    }
    if let Some(address) = &face.address {
        xml.leaf("JABBERID", "", address);
    }
    if let Some(picture) = &face.picture {
        xml.open("PHOTO", "").leaf("TYPE", "", &picture.media_type).leaf("BINVAL", "", &base64(picture)).close();
    }
    xml.close();
}

/// XEP-0292.
pub fn vcard4(xml: &mut Xml, face: &Face) {
    let leaf = |xml: &mut Xml, name: &'static str, kind: &'static str, words: &str| {
        xml.open(name, "").leaf(kind, "", words).close();
    };
    xml.open("vcard", ns::VCARD4);
    leaf(xml, "fn", "text", &face.name);
    leaf(xml, "nickname", "text", &face.name);
    if !face.about.is_empty() {
        leaf(xml, "note", "text", &face.about);
    }
    if let Some(picture) = &face.picture {
        leaf(xml, "photo", "uri", &format!("data:{};base64,{}", picture.media_type, base64(picture)));
    }
    xml.close();
}

/// XEP-0153: what a presence says of the picture.
pub fn update(xml: &mut Xml, hash: Option<&str>) {
    xml.open("x", ns::VCARD_UPDATE);
    match hash {
        Some(hash) => xml.leaf("photo", "", hash),
        None => xml.empty("photo", ""),
    };
    xml.close();
}

/// The items of a node (XEP-0060 section 6.5); gives whether there is such a node with an item that was asked for.
pub fn items(xml: &mut Xml, face: &Face, node: &str, wanted: Option<&str>) -> bool {
    let id = match (node, &face.picture) {
        (ns::AVATAR_METADATA | ns::AVATAR_DATA, Some(picture)) => picture.hash.as_str(),
        (VCARD4_NODE | ns::NICK, _) => "current",
        _ => return false,
    };
    if wanted.is_some_and(|wanted| wanted != id) {
        return false;
    }
    xml.open("pubsub", ns::PUBSUB);
    write_items(xml, face, node, id);
    xml.close();
    true
}

/// The event that tells of the picture, or that there is none any more (XEP-0084 section 4.2).
pub fn event(from: &str, to: &str, id: &str, picture: Option<&Picture>) -> String {
    let face = Face { picture: picture.cloned(), ..Face::default() };
    let mut xml = Xml::stanza("message");
    xml.attr("type", "headline").attr("from", from).attr("to", to).attr("id", id);
    xml.open("event", ns::PUBSUB_EVENT);
    write_items(&mut xml, &face, ns::AVATAR_METADATA, picture.map_or("none", |p| &p.hash));
    xml.finish()
}

fn write_items(xml: &mut Xml, face: &Face, node: &str, id: &str) {
    xml.open("items", "").attr("node", node).open("item", "").attr("id", id);
    match (node, &face.picture) {
        (ns::AVATAR_DATA, Some(picture)) => {
            xml.leaf("data", ns::AVATAR_DATA, &base64(picture));
        }
        (ns::AVATAR_METADATA, picture) => {
            xml.open("metadata", ns::AVATAR_METADATA);
            if let Some(picture) = picture {
                let size = picture.body.len().to_string();
                xml.open("info", "").attr("id", &picture.hash).attr("type", &picture.media_type);
                xml.attr("bytes", &size).close();
            }
            xml.close();
        }
        (VCARD4_NODE, _) => vcard4(xml, face),
        _ => {
            xml.leaf("nick", ns::NICK, &face.name);
        }
    }
    xml.close().close();
}

fn base64(picture: &Picture) -> String {
    base64::engine::general_purpose::STANDARD.encode(&picture.body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face() -> Face {
        let picture = Picture { hash: "abc".to_owned(), media_type: "image/png".to_owned(), body: b"picture".to_vec() };
        Face { name: "Ann".to_owned(), address: None, about: String::new(), picture: Some(picture) }
    }

    fn written(write: impl FnOnce(&mut Xml)) -> String {
        let mut xml = Xml::stanza("iq");
        write(&mut xml);
        xml.finish()
    }

    #[test]
    fn a_picture_is_in_vcard_and_nodes() {
        let text = written(|xml| vcard(xml, &face()));
        assert!(text.contains("<PHOTO><TYPE>image/png</TYPE><BINVAL>cGljdHVyZQ==</BINVAL></PHOTO>"), "{text}");
        let text = written(|xml| assert!(items(xml, &face(), ns::AVATAR_METADATA, None)));
        assert!(text.contains("<info id='abc' type='image/png' bytes='7'/>"), "{text}");
        let text = written(|xml| assert!(items(xml, &face(), ns::AVATAR_DATA, Some("abc"))));
        assert!(text.contains("<data xmlns='urn:xmpp:avatar:data'>cGljdHVyZQ==</data>"), "{text}");
        assert!(!items(&mut Xml::stanza("iq"), &face(), ns::AVATAR_DATA, Some("other")));
    }

    #[test]
    fn without_a_picture_there_is_no_node_and_the_event_is_empty() {
        let none = Face { picture: None, ..face() };
        assert!(!items(&mut Xml::stanza("iq"), &none, ns::AVATAR_METADATA, None));
        assert!(event("a@x", "b@y/z", "1", None).contains("<metadata xmlns='urn:xmpp:avatar:metadata'/>"));
        assert!(written(|xml| update(xml, None)).contains("<photo/>"));
    }
}
