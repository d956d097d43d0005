//! Lists of roles and affiliations, and wishes to change them (XEP-0045 sections 8, 9 and 10).

use isthmus_bridge::room::{Member, RoomView};
use minidom::Element;

use super::rank::{self, Item};
use super::show::Stage;
use crate::xmpp::xml::Xml;

/// XEP-0045 section 9.
pub const ADMIN: &str = "http://jabber.org/protocol/muc#admin";
/// XEP-0045 section 10.
pub const OWNER: &str = "http://jabber.org/protocol/muc#owner";

/// Which list is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum List {
    /// Those of this role.
    Role(String),
    /// Those of this affiliation.
    Affiliation(String),
}

/// A wish to change what somebody is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// By nick.
    pub nick: Option<String>,
    /// By address, or by a mask as the list of bans has it.
    pub jid: Option<String>,
    /// The role to have.
    pub role: Option<String>,
    /// The affiliation to have.
    pub affiliation: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

/// Reads a question for a list.
pub fn asked(query: &Element) -> Option<List> {
    let item = query.get_child("item", ADMIN)?;
    let affiliation = item.attr("affiliation").map(|a| List::Affiliation(a.to_owned()));
    let list = affiliation.or_else(|| item.attr("role").map(|r| List::Role(r.to_owned())))?;
    let known = match &list {
        List::Affiliation(name) => ["owner", "admin", "member", "outcast", "none"].contains(&&**name),
        List::Role(name) => ["moderator", "participant", "visitor"].contains(&&**name),
    };
    known.then_some(list)
}

/// Reads wishes; `None` where one of them says nothing that can be done.
pub fn wishes(query: &Element) -> Option<Vec<Wish>> {
    let mut all = Vec::new();
    for item in query.children().filter(|c| c.is("item", ADMIN)) {
        let text = |name| item.attr(name).map(str::to_owned).filter(|v: &String| !v.is_empty());
        let wish = Wish {
            nick: text("nick"),
            jid: text("jid"),
            role: text("role"),
            affiliation: text("affiliation"),
            reason: item.get_child("reason", ADMIN).map(Element::text).filter(|r| !r.is_empty()),
        };
        if (wish.nick.is_none() && wish.jid.is_none()) || (wish.role.is_none() && wish.affiliation.is_none()) {
            return None;
        }
        let role = wish.role.as_deref().unwrap_or("none");
        let affiliation = wish.affiliation.as_deref().unwrap_or("none");
        if !["moderator", "participant", "visitor", "none"].contains(&role)
            || !["owner", "admin", "member", "outcast", "none"].contains(&affiliation)
        {
            return None;
        }
        all.push(wish);
    }
    (!all.is_empty()).then_some(all)
}

/// Who of those inside is on a list.
pub fn listed<'a>(view: &'a RoomView, list: &List) -> Vec<(&'a Member, Item)> {
    let moderated = rank::modes(&view.modes).moderated;
    let all = view.members().iter().map(|m| (m, rank::item(m.rank, moderated)));
    all.filter(|(_, item)| match list {
        List::Role(role) => item.role == role,
        List::Affiliation(affiliation) => item.affiliation == affiliation,
    })
    .collect()
}

/// Writes somebody of a list.
pub fn write(xml: &mut Xml, stage: &Stage<'_>, member: &Member, item: Item) {
    xml.open("item", "").attr("affiliation", item.affiliation).attr("role", item.role).attr("nick", member.nick());
    xml.attr_opt("jid", (stage.person)(member.nick()).as_deref()).close();
}

#[cfg(test)]
mod tests {
    use super::*;
    use isthmus_bridge::room::{People, Rank};

    fn query(inner: &str) -> Element {
        format!("<query xmlns='{ADMIN}'>{inner}</query>").parse().expect("XML")
    }

    #[test]
    fn lists_and_wishes_are_read_and_nonsense_is_refused() {
        assert_eq!(asked(&query("<item affiliation='outcast'/>")), Some(List::Affiliation("outcast".to_owned())));
        assert_eq!(asked(&query("<item role='moderator'/>")), Some(List::Role("moderator".to_owned())));
        for nonsense in ["", "<item/>", "<item role='king'/>"] {
            assert_eq!(asked(&query(nonsense)), None, "{nonsense}");
        }
        let all = wishes(&query(
            "<item nick='a' role='none'><reason>why</reason></item><item jid='m@x' affiliation='none'/>",
        ));
        let all = all.expect("two wishes");
        assert_eq!((all[0].nick.as_deref(), all[0].reason.as_deref()), (Some("a"), Some("why")));
        assert_eq!((all[1].jid.as_deref(), all[1].affiliation.as_deref()), (Some("m@x"), Some("none")));
        for nonsense in ["", "<item nick='a'/>", "<item role='none'/>", "<item nick='a' role='king'/>"] {
            assert_eq!(wishes(&query(nonsense)), None, "{nonsense}");
        }
    }

    #[test]
    fn those_inside_are_listed_by_what_they_may() {
        let people = People::default();
        let mut view = RoomView::default();
        view.entering("a");
        for (nick, rank) in [("a", Rank::OWNER), ("b", Rank::MODERATOR), ("c", Rank::VOICE), ("d", Rank::NONE)] {
            view.arrive(people.intern(nick), rank);
        }
        view.entered();
        let nicks = |list: List| -> String { listed(&view, &list).iter().map(|(m, _)| m.nick()).collect() };
        assert_eq!(nicks(List::Role("moderator".to_owned())), "ab");
        assert_eq!(nicks(List::Affiliation("member".to_owned())), "c");
        assert_eq!(nicks(List::Affiliation("none".to_owned())), "d");
    }
}
