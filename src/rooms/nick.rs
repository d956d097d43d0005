//! Nicks as resources. What resourceprep (RFC 7622) does not let through as it is becomes `_`, with a short stable hash behind it, so that two
//! such nicks do not become one and the nick is found again among those inside.

use std::borrow::Cow;

use isthmus_bridge::room::RoomView;
use jid::ResourcePart;
use sha2::{Digest, Sha256};

/// The resource that stands for a nick.
pub fn spell(nick: &str) -> Cow<'_, str> {
    if is_resource(nick) {
        return Cow::Borrowed(nick);
    }
    let mut spelled: String =
        nick.chars().map(|c| if is_resource(c.encode_utf8(&mut [0; 4])) { c } else { '_' }).collect();
    if !is_resource(&spelled) {
        // Each character may stand in a resource, but not all of them together: too many, or in two directions of writing.
        spelled = spelled.chars().take(100).map(|c| if c.is_ascii() { c } else { '_' }).collect();
    }
    let hash = Sha256::digest(nick.as_bytes());
    spelled.push('_');
    spelled.push_str(&hex::encode(&hash[..3]));
    Cow::Owned(spelled)
}

/// Whether a resource may be one that [`spell`] has made.
pub fn may_be_spelled(resource: &str) -> bool {
    let hash = resource.rsplit_once('_').map(|(_, hash)| hash);
    hash.is_some_and(|hash| hash.len() == 6 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The nick that a resource stands for, as the view has it; the resource itself where nobody inside is spelled so.
pub fn meant<'a>(view: &'a RoomView, resource: &'a str) -> &'a str {
    if !may_be_spelled(resource) || view.named(resource).is_some() {
        return resource;
    }
    view.members().iter().map(|m| m.nick()).find(|nick| spell(nick) == resource).unwrap_or(resource)
}

/// Whether a text is a resource that the server leaves as it is.
pub fn is_resource(text: &str) -> bool {
    if text.is_empty() || text.len() > 1023 {
        return false;
    }
    text.bytes().all(|b| (0x21..=0x7E).contains(&b)) || ResourcePart::new(text).is_ok_and(|part| part.as_str() == text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use isthmus_bridge::room::{People, Rank};

    #[test]
    fn most_nicks_are_resources_and_the_rest_is_found_again() {
        for nick in ["alice", "[x]`^|", "Zoë", "日本"] {
            assert_eq!(spell(nick), nick);
        }
        let people = People::default();
        let mut view = RoomView::default();
        view.entering("me");
        for nick in ["a\u{FFFD}b", "a\u{200B}b", "ﬁsh", "e\u{301}"] {
            let spelled = spell(nick);
            assert!(is_resource(&spelled) && spelled != nick, "{nick:?} became {spelled:?}");
            view.arrive(people.intern(nick), Rank::NONE);
        }
        view.entered();
        for member in view.members() {
            assert_eq!(meant(&view, &spell(member.nick())), member.nick());
        }
        assert_ne!(spell("a\u{FFFD}b"), spell("a\u{FFFE}b"));
        assert_eq!(meant(&view, "nobody_123abc"), "nobody_123abc");
        assert!(is_resource(&spell(&"x".repeat(2000))));
    }
}
