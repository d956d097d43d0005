//! Roles, affiliations, bans, and a room's configuration (XEP-0045 sections 8 to 10).

use isthmus_bridge::query::Part;
use isthmus_bridge::{Address, Call, Field, Form, Intent, Note, Query, RoomId, SessionOf, Text, Values, Work};
use minidom::Element;

use super::ask::facts;
use super::{Rooms, look};
use crate::gateway::iq::{Answer, with};
use crate::gateway::messages::lang;
use crate::gateway::receive::Heard;
use crate::rooms::admin::{self, List, Wish};
use crate::rooms::{form, fresh_stanza_id, nick};
use crate::router::{self, Party};
use crate::storage::fresh_id;
use crate::xmpp::commands::configure;
use crate::xmpp::errors::StanzaError;
use crate::xmpp::{forms, ns};

impl Rooms<'_> {
    /// A list of roles or affiliations, from the view; the list of bans, from the network.
    pub(super) async fn lists(&self, heard: &Heard, room: &RoomId, query: &Element) -> Answer {
        let of = self.session(heard);
        let list = admin::asked(query).ok_or_else(StanzaError::bad_request)?;
        self.must_be_inside(heard, &of, room)?;
        if list == List::Affiliation("outcast".to_owned()) {
            let query = Query::Affiliates { room: room.clone(), list: "outcast".to_owned() };
            let parts = self.question(&of, query).await?;
            return with(move |xml| {
                xml.open("query", admin::ADMIN);
                for part in parts {
                    let Part::Affiliate { who, nick, note } = part else { continue };
                    xml.open("item", "").attr("affiliation", "outcast").attr("jid", &who);
                    xml.attr_opt("nick", nick.as_deref());
                    if let Some(note) = &note {
                        xml.leaf("reason", "", note);
                    }
                    xml.close();
                }
                xml.close();
            });
        }
        let mut xml = crate::xmpp::xml::Xml::stanza("query");
        xml.attr("xmlns", admin::ADMIN);
        if let Some(view) = self.served.known_room(&of, room) {
            let view = look(&view);
            let jid = self.served.jid(&heard.at).unwrap_or_default();
            self.staged(&of, room, &jid, &view.modes, |stage| {
                for (member, item) in admin::listed(&view, &list) {
                    admin::write(&mut xml, stage, member, item);
                }
            });
        }
        let text = xml.finish();
        with(move |xml| {
            xml.finished(&text);
        })
    }

    /// Wishes to change what somebody is, one after the other; the first that fails ends it.
    pub(super) async fn changes(&self, heard: &Heard, room: &RoomId, query: &Element) -> Answer {
        let of = self.session(heard);
        let wishes = admin::wishes(query).ok_or_else(StanzaError::bad_request)?;
        self.must_be_inside(heard, &of, room)?;
        let intents: Result<Vec<Intent>, StanzaError> =
            wishes.into_iter().map(|wish| self.intent(&of, room, wish)).collect();
        for intent in intents? {
            self.done(heard, &of, room, intent).await?;
        }
        with(|_| {})
    }

    fn must_be_inside(&self, heard: &Heard, of: &SessionOf, room: &RoomId) -> Result<(), StanzaError> {
        let outside = || StanzaError::forbidden().with(Text::key("error.room-not-inside"));
        self.insider(heard, of, room).map(drop).ok_or_else(outside)
    }

    fn intent(&self, of: &SessionOf, room: &RoomId, wish: Wish) -> Result<Intent, StanzaError> {
        let Wish { nick, jid, role, affiliation, reason } = wish;
        let who = match (&nick, &jid) {
            (Some(nick), _) => Some(self.occupant(of, room, nick).ok_or_else(StanzaError::item_not_found)?),
            (None, Some(jid)) => self.address(of, jid)?,
            (None, None) => None,
        };
        let Some(who) = who else {
            // A mask as the network writes it stands in the list of bans and nowhere else.
            let mask = jid.ok_or_else(StanzaError::bad_request)?;
            return match affiliation.as_deref() {
                Some("outcast") => Ok(Intent::Ban { mask, on: true, reason }),
                Some("none") => Ok(Intent::Ban { mask, on: false, reason }),
                _ => Err(StanzaError::item_not_found()),
            };
        };
        Ok(match (role.as_deref(), affiliation) {
            (Some("none"), None) => Intent::Remove { who, reason },
            (_, affiliation) => Intent::SetRole { who, role, affiliation, reason },
        })
    }

    fn occupant(&self, of: &SessionOf, room: &RoomId, asked: &str) -> Option<Address> {
        let view = self.served.known_room(of, room)?;
        let view = look(&view);
        let asked = nick::meant(&view, asked);
        let found =
            view.named(asked).or_else(|| view.members().iter().find(|m| m.nick().eq_ignore_ascii_case(asked)))?;
        Some(Address::Occupant { room: room.clone(), nick: found.nick().to_owned() })
    }

    /// The person behind one of our own JIDs; who has the same name on another network is somebody else.
    fn address(&self, of: &SessionOf, jid: &str) -> Result<Option<Address>, StanzaError> {
        let party = Party::parse(jid).filter(|party| party.domain() == &*self.served.instance.domain);
        let address = party.and_then(|p| router::address(self.served.instance.bridge.addressing(), &p).ok());
        let person = address.filter(|a| matches!(a, Address::Contact(_) | Address::Occupant { .. }));
        match person {
            Some(person) if !self.is_on(of, &person) => Err(StanzaError::item_not_found()),
            person => Ok(person.map(|person| self.meant(of, person))),
        }
    }

    /// Who is meant by a JID that has another spelling than the nick.
    pub(super) fn meant(&self, of: &SessionOf, person: Address) -> Address {
        let Address::Occupant { room, nick } = person else { return person };
        let nick = match self.served.known_room(of, &room) {
            Some(view) => nick::meant(&look(&view), &nick).to_owned(),
            None => nick,
        };
        Address::Occupant { room, nick }
    }

    /// Whether an address is on the network of this session.
    pub(super) fn is_on(&self, of: &SessionOf, address: &Address) -> bool {
        self.served.network(address) == of.network
    }

    /// The form: the room's own configuration for who is inside, the user's settings for it for everybody.
    pub(super) async fn configuration(&self, heard: &Heard, room: &RoomId) -> Answer {
        let of = self.session(heard);
        let config = self.config(heard, &of, room).await;
        let mut fields = form::fields(&config);
        fields.extend(self.settings(heard));
        let lang = lang(&heard.stanza);
        let form = Form::new(Text::key("command.configure"), fields);
        let element = forms::to_xml(&form, Some(form::ROOMCONFIG), &|text| self.core.words(self.served, text, &lang));
        with(move |xml| {
            xml.open("query", admin::OWNER).element(&element).close();
        })
    }

    /// The form, filled in. A room of the far network cannot be destroyed from here.
    pub(super) async fn configure(&self, heard: &Heard, room: &RoomId, query: &Element) -> Answer {
        if query.get_child("destroy", admin::OWNER).is_some() {
            return Err(StanzaError::not_allowed());
        }
        let x = query.get_child("x", ns::DATA).ok_or_else(StanzaError::bad_request)?;
        if x.attr("type") == Some("cancel") {
            return with(|_| {});
        }
        let given = forms::from_xml(x).map_err(|_| StanzaError::bad_request())?;
        let of = self.session(heard);
        let settings = Form::new(Text::key("command.configure"), self.settings(heard));
        let checked = forms::check(&settings, &given).or_else(|again| forms::but_numbers(&again, &given));
        let settings = checked.map_err(|again| {
            let wrong = again.fields.into_iter().find_map(|f| f.error);
            let error = StanzaError::not_acceptable();
            wrong.map_or(error.clone(), |words| error.with(words))
        })?;
        let config = self.config(heard, &of, room).await;
        let answers = form::answers(&config, &given);
        if !answers.is_empty() {
            self.done(heard, &of, room, Intent::SetRoomConfig { values: answers }).await?;
        }
        self.keep(heard, &of, settings).await?;
        with(|_| {})
    }

    /// What the network says of the room; nothing where it cannot be asked.
    async fn config(&self, heard: &Heard, of: &SessionOf, room: &RoomId) -> Values {
        if self.insider(heard, of, room).is_none() {
            return Values::new();
        }
        self.question(of, Query::RoomConfig(room.clone())).await.map(facts).unwrap_or_default()
    }

    /// The user's settings for the room.
    fn settings(&self, heard: &Heard) -> Vec<Field> {
        let persons = self.served.persons();
        let user = heard.from.bare();
        let admin = self.served.access().admins.contains(&user);
        let call = Call::start("configure", user, heard.at.clone());
        let offered = persons.scheme().at(crate::settings::scope(&heard.at), admin);
        offered.map(|setting| configure::field(persons, &call, setting)).collect()
    }

    /// Keeps the user's settings. A number that is none falls back to the default, and who asked is told.
    async fn keep(&self, heard: &Heard, of: &SessionOf, values: Values) -> Result<(), StanzaError> {
        let persons = self.served.persons();
        let admin = self.served.access().admins.contains(&of.user);
        let mut call = Call::start("configure", of.user.clone(), heard.at.clone());
        call.values = values;
        let offered: Vec<_> = persons.scheme().at(crate::settings::scope(&heard.at), admin).collect();
        let (call, notes) = configure::with_sound_numbers(persons, &call, &offered);
        let changes = configure::changes(persons, &call, &offered);
        if !changes.is_empty() {
            persons.set(&of.user, &heard.at, changes).await.map_err(|e| StanzaError::from(&e))?;
            self.record(of);
            self.served.sessions().tell(of, Work::SettingsChanged(heard.at.clone()));
        }
        self.warn(heard, of, &notes);
        Ok(())
    }

    /// The answer to the form has no place for words: the room says them, to who has sent it.
    fn warn(&self, heard: &Heard, of: &SessionOf, notes: &[Note]) {
        let (Address::Room(room), Some(jid)) = (&heard.at, self.served.jid(&heard.at)) else { return };
        let kind = self.insider(heard, of, room).map(|_| "groupchat");
        let lang = lang(&heard.stanza);
        for note in notes {
            let (Note::Info(text) | Note::Warn(text) | Note::Error(text)) = note else { continue };
            let words = self.core.words(self.served, text, &lang);
            self.tell_one(of, |w| {
                w.message(&jid, heard.from.full(), kind, Some(&fresh_id())).leaf("body", None, &words);
                if kind.is_some() {
                    w.open("stanza-id", Some(ns::SID))
                        .attr("by", &jid)
                        .attr("id", &fresh_stanza_id(self.core.now()))
                        .close();
                }
            });
        }
    }
}
