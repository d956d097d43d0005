//! Rooms of a network by a part of their names (XEP-0055): for networks whose whole list is too long to be paged through.

use isthmus_bridge::query::Part;
use isthmus_bridge::{Address, Query, Text};

use super::Rooms;
use crate::access::Tier;
use crate::gateway::iq::{Answer, with};
use crate::gateway::messages::lang;
use crate::gateway::receive::Heard;
use crate::xmpp::errors::StanzaError;
use crate::xmpp::link::Child;
use crate::xmpp::{forms, ns};

/// XEP-0055.
pub(super) const SEARCH: &str = "jabber:iq:search";
/// Rooms that are shown, at most.
const MOST: usize = 500;

impl Rooms<'_> {
    /// The form, or what was found by it.
    pub(super) async fn search(&self, heard: &Heard, payload: &Child<'_>, get: bool) -> Answer {
        if self.core.may(self.served, &heard.from) < Tier::User {
            return Err(StanzaError::forbidden().with(Text::key("error.not-allowed-here")));
        }
        let lang = lang(&heard.stanza);
        let say = |key: &'static str| self.core.words(self.served, &Text::key(key), &lang);
        if get {
            let (about, label) = (say("search.about"), say("search.name"));
            return with(move |xml| {
                xml.open("query", SEARCH).leaf("instructions", "", &about);
                xml.open("x", ns::DATA).attr("type", "form").leaf("instructions", "", &about);
                xml.open("field", "").attr("type", "hidden").attr("var", "FORM_TYPE").leaf("value", "", SEARCH).close();
                xml.open("field", "").attr("type", "text-single").attr("var", "name").attr("label", &label);
                xml.empty("required", "");
            });
        }
        let wanted = super::ask::element(payload)?;
        let form = wanted.get_child("x", ns::DATA).and_then(|x| forms::from_xml(x).ok());
        let name = form.as_ref().and_then(|form| form.get("name")).map(str::trim).filter(|name| !name.is_empty());
        let name = name.ok_or_else(StanzaError::bad_request)?.to_owned();
        self.core.admit(self.served, heard)?;
        let of = self.session(heard);
        let parts = self.question_anew(&of, Query::Rooms { filter: Some(name) }).await?;
        let labels = [("jid", say("search.address")), ("name", say("search.name")), ("users", say("search.users"))];
        let served = self.served.clone();
        with(move |xml| {
            xml.open("query", SEARCH).open("x", ns::DATA).attr("type", "result");
            xml.open("field", "").attr("type", "hidden").attr("var", "FORM_TYPE").leaf("value", "", SEARCH).close();
            xml.open("reported", "");
            for (var, label) in &labels {
                let kind = if *var == "jid" { "jid-single" } else { "text-single" };
                xml.open("field", "").attr("var", var).attr("label", label).attr("type", kind).close();
            }
            xml.close();
            for part in parts.into_iter().take(MOST) {
                let Part::Room { room, occupants, .. } = part else { continue };
                let at = Address::Room(room);
                let (Some(jid), Some(name)) = (served.jid(&at), served.spoken(&at)) else { continue };
                let users = occupants.map(|n| n.to_string()).unwrap_or_default();
                xml.open("item", "");
                for (var, value) in [("jid", &jid), ("name", &name), ("users", &users)] {
                    xml.open("field", "").attr("var", var).leaf("value", "", value).close();
                }
                xml.close();
            }
        })
    }
}
