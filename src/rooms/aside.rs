//! What stands beside or instead of words in a room's message: an answer, a correction, reactions, a withdrawal, a mark. In a room they name a
//! message by the room's id of it (XEP-0359), but for corrections, which name the stanza's own id.

use minidom::Element;

use crate::translate::outbound::{FASTEN, RETRACT_0};
use crate::xmpp::link::Fragment;
use crate::xmpp::ns;

/// XEP-0425.
pub const MODERATE: &str = "urn:xmpp:message-moderate:1";
/// XEP-0425 before its version 0.3, which was built upon XEP-0422.
pub const MODERATE_0: &str = "urn:xmpp:message-moderate:0";

/// What a moderator wants withdrawn, and why.
pub fn moderation(wish: &Element) -> Option<(String, Option<String>)> {
    // COMPAT(clients before XEP-0425 0.3): the wish is wrapped.
    let (moderate, space, retract) = match wish.is("apply-to", FASTEN) {
        true => (wish.get_child("moderate", MODERATE_0)?, MODERATE_0, RETRACT_0),
        false => (wish, MODERATE, ns::RETRACT),
    };
    moderate.get_child("retract", retract)?;
    let reason = moderate.get_child("reason", space).map(Element::text).filter(|r| !r.is_empty());
    Some((wish.attr("id")?.to_owned(), reason))
}

/// XEP-0461: this answers the message of that id.
pub fn reply(author: &str, id: &str) -> Fragment {
    Fragment::build(|w| {
        w.open("reply", Some(ns::REPLY)).attr("to", author).attr("id", id).close();
    })
}

/// XEP-0308: this replaces the message of that id.
pub fn replace(id: &str) -> Fragment {
    Fragment::build(|w| {
        w.open("replace", Some(ns::CORRECT)).attr("id", id).close();
    })
}

/// XEP-0444: all reactions that somebody has set to the message of that id.
pub fn reactions(id: &str, all: &[String]) -> Fragment {
    Fragment::build(|w| {
        w.open("reactions", Some(ns::REACTIONS)).attr("id", id);
        for reaction in all {
            w.leaf("reaction", None, reaction);
        }
        w.close();
        w.open("store", Some(ns::HINTS)).close();
    })
}

/// XEP-0333: somebody has read up to the message of that id.
pub fn displayed(id: &str) -> Fragment {
    Fragment::build(|w| {
        w.open("displayed", Some(ns::MARKERS)).attr("id", id).close();
    })
}

/// XEP-0424: the message of that id is withdrawn; by whom (XEP-0425), if not by its author. The body beside it is for clients that do not know
/// this, where `fallback` says so.
pub fn retract(id: &str, by: Option<&str>, reason: Option<&str>, fallback: bool) -> Fragment {
    Fragment::build(|w| {
        w.open("retract", Some(ns::RETRACT)).attr("id", id);
        if let Some(by) = by {
            w.open("moderated", Some(MODERATE)).attr("by", by).close();
        }
        if let Some(reason) = reason {
            w.leaf("reason", None, reason);
        }
        w.close();
        if let Some(by) = by {
            // COMPAT(clients before XEP-0425 0.3)
            w.open("apply-to", Some(FASTEN)).attr("id", id).open("moderated", Some(MODERATE_0)).attr("by", by);
            w.open("retract", Some(RETRACT_0)).close();
            if let Some(reason) = reason {
                w.leaf("reason", None, reason);
            }
            w.close().close();
        }
        if fallback {
            w.open("fallback", Some(ns::FALLBACK)).attr("for", ns::RETRACT).close();
        }
        w.open("store", Some(ns::HINTS)).close();
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asides_are_written_as_their_xeps_say() {
        let text = |f: Fragment| String::from_utf8_lossy(f.as_bytes()).into_owned();
        assert_eq!(text(reply("r@h/a'b", "s1")), "<reply xmlns='urn:xmpp:reply:0' to='r@h/a&apos;b' id='s1'/>");
        assert_eq!(text(replace("s1")), "<replace xmlns='urn:xmpp:message-correct:0' id='s1'/>");
        assert_eq!(
            text(reactions("s1", &["👍".to_owned(), "<".to_owned()])),
            "<reactions xmlns='urn:xmpp:reactions:0' id='s1'><reaction>👍</reaction><reaction>&lt;</reaction></reactions>\
             <store xmlns='urn:xmpp:hints'/>"
        );
        assert_eq!(
            text(retract("s1", Some("r@h/op"), Some("spam"), true)),
            "<retract xmlns='urn:xmpp:message-retract:1' id='s1'><moderated xmlns='urn:xmpp:message-moderate:1' by='r@h/op'/>\
             <reason>spam</reason></retract><apply-to xmlns='urn:xmpp:fasten:0' id='s1'>\
             <moderated xmlns='urn:xmpp:message-moderate:0' by='r@h/op'><retract xmlns='urn:xmpp:message-retract:0'/>\
             <reason>spam</reason></moderated></apply-to><fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:message-retract:1'/>\
             <store xmlns='urn:xmpp:hints'/>"
        );
    }
}
