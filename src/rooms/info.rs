//! What disco says of a room (XEP-0045 section 6, XEP-0128).

use isthmus_bridge::Profile;

use super::aside::{MODERATE, MODERATE_0};
use super::page;
use super::rank::Modes;
use super::show::{HATS, OCCUPANT_ID};
use crate::archive::query;
use crate::xmpp::disco::Info;
use crate::xmpp::ns;

/// The form of what is known of a room.
pub const ROOMINFO: &str = "http://jabber.org/protocol/muc#roominfo";
/// The node under which somebody asks for the nick that they have, or would have (XEP-0045 section 7.12).
pub const OWN_NICK: &str = "x-roomuser-item";

/// What is known of a room.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// Its name for people.
    pub name: String,
    /// Its modes.
    pub modes: Modes,
    /// Its subject.
    pub subject: Option<String>,
    /// What this user hears there is kept.
    pub recorded: bool,
    /// How many are inside; told to who is inside.
    pub occupants: Option<usize>,
}

/// Identity, features and form of a room. It is never called members-only: clients take a members-only room that is not anonymous for a
/// private group and switch encryption on.
pub fn info(profile: &Profile, known: &Known) -> Info {
    let Known { name, modes, subject, recorded, occupants } = known;
    let mut info = Info::default();
    info.identities.push(("conference", profile.rooms_type.to_owned(), name.clone()));
    let or = |is, yes, no| if is { yes } else { no };
    info.features = vec![
        ns::COMMANDS,
        ns::DISCO_INFO,
        ns::DISCO_ITEMS,
        ns::LAST,
        ns::MUC,
        ns::PING,
        ns::SID,
        ns::TIME,
        ns::VCARD,
        ns::VERSION,
        HATS,
        OCCUPANT_ID,
        "http://jabber.org/protocol/muc#self-ping-optimization",
        "http://jabber.org/protocol/muc#stable_id",
        "muc_nonanonymous",
        "muc_open",
        "muc_persistent",
        or(modes.password, "muc_passwordprotected", "muc_unsecured"),
        or(modes.moderated, "muc_moderated", "muc_unmoderated"),
        or(modes.hidden, "muc_hidden", "muc_public"),
    ];
    if profile.retractions {
        info.features.extend([MODERATE, MODERATE_0]);
    }
    if *recorded {
        info.features.extend([query::MAM, query::EXTENDED]);
    }
    info.features.sort_unstable();
    let mut fields = Vec::new();
    if let Some(subject) = subject.as_ref().filter(|s| !s.is_empty()) {
        fields.push(("muc#roominfo_subject".into(), vec![subject.clone()]));
    }
    if let Some(occupants) = occupants {
        fields.push(("muc#roominfo_occupants".into(), vec![occupants.to_string()]));
    }
    info.forms.push((ROOMINFO, fields));
    info
}

/// What a network of rooms adds to its own identity.
pub fn network(info: &mut Info, profile: &Profile, name: &str) {
    info.identities.push(("conference", profile.rooms_type.to_owned(), name.to_owned()));
    info.features.extend([ns::MUC, page::RSM, "jabber:iq:search"]);
    info.features.sort_unstable();
    info.features.dedup();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_says_what_it_is_and_never_that_it_is_for_members_only() {
        let profile = Profile::live("test", "Test");
        let known = Known { name: "#verona".to_owned(), occupants: Some(3), ..Known::default() };
        let room = info(&profile, &known);
        assert!(
            ["muc_open", "muc_nonanonymous", "muc_unsecured", "muc_public"].iter().all(|f| room.features.contains(f))
        );
        assert_eq!(room.forms, [(ROOMINFO, vec![("muc#roominfo_occupants".into(), vec!["3".to_owned()])])]);
        let modes = Modes { moderated: true, password: true, hidden: true };
        let room = info(&profile, &Known { modes, subject: Some("x".to_owned()), ..Known::default() });
        for feature in ["muc_moderated", "muc_passwordprotected", "muc_hidden"] {
            assert!(room.features.contains(&feature), "{feature}");
        }
        assert!(!room.features.contains(&"muc_membersonly"));
    }
}
