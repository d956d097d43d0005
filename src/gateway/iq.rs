//! Questions: each family by its namespace, everything else `service-unavailable`.

use std::sync::Arc;

use isthmus_bridge::{Address, BadAddress, Lang, Text};
use minidom::Element;

use super::core::{Core, Served};
use super::messages::lang;
use super::receive::Heard;
use crate::access::Tier;
use crate::xmpp::commands::Effect;
use crate::xmpp::errors::StanzaError;
use crate::xmpp::link::{Child, Lane};
use crate::xmpp::xml::Xml;
use crate::xmpp::{disco, ns, reply};

/// An answer: its payload, or why there is none.
pub(super) type Answer = Result<Write, StanzaError>;

/// What writes an answer's payload.
type Write = Box<dyn FnOnce(&mut Xml) + Send>;

/// A question whose answer may take long.
enum Long {
    /// A command, or the registration form.
    Dialogue,
    Search,
    /// Of a room or somebody in it.
    Room,
}

/// Words an answer's writer as such.
pub(super) fn with(write: impl FnOnce(&mut Xml) + Send + 'static) -> Answer {
    Ok(Box::new(write))
}

impl Core {
    /// One iq stanza. What may take long is answered from a task of its own.
    pub(super) async fn iq(self: &Arc<Self>, served: &Arc<Served>, heard: Heard) {
        match heard.stanza.type_() {
            Some("get" | "set") => {}
            _ => return self.answers.take(&heard),
        }
        let Some(payload) = heard.stanza.children().find(|c| c.ns() != ns::CLIENT) else {
            return self.answer_error(served, &heard.stanza, &StanzaError::bad_request());
        };
        if self.may(served, &heard.from) < Tier::Receive {
            let error = StanzaError::forbidden().with(Text::key("error.not-allowed-here"));
            return self.answer_error(served, &heard.stanza, &error);
        }
        let is_search = || {
            let searched = heard.at == Address::Gateway && !served.instance.bridge.directory().is_empty();
            searched && payload.is("query", ns::SEARCH)
        };
        if matches!(payload.ns(), ns::COMMANDS | ns::REGISTER) {
            self.answer_apart(served, heard, Long::Dialogue);
        } else if is_search() {
            self.answer_apart(served, heard, Long::Search);
        } else if served.profile().rooms && self.rooms(served).answers(&heard, &payload) {
            self.answer_apart(served, heard, Long::Room);
        } else {
            let answer = self.known(served, &heard, &payload).await;
            self.answer(served, &heard, answer);
        }
    }

    /// Answers from a task of its own.
    fn answer_apart(self: &Arc<Self>, served: &Arc<Served>, mut heard: Heard, long: Long) {
        let question = match self.pending.begin(&mut heard) {
            Ok(question) => question,
            Err(error) => return self.answer_error(served, &heard.stanza, &error),
        };
        let (core, served) = (self.clone(), served.clone());
        self.tasks.spawn(async move {
            let _under_way = question;
            let (answer, effects) = match long {
                Long::Dialogue => match core.dialogue(&served, &heard).await {
                    Ok((payload, effects)) => (with(move |xml| write_payload(xml, payload.as_ref())), effects),
                    Err(error) => (Err(error), Vec::new()),
                },
                Long::Search => match heard.stanza.child("query", ns::SEARCH) {
                    Some(payload) => {
                        let get = heard.stanza.type_() == Some("get");
                        (core.search(&served, &heard, &payload, get).await, Vec::new())
                    }
                    None => (Err(StanzaError::bad_request()), Vec::new()),
                },
                Long::Room => (core.rooms(&served).answer(&heard).await, Vec::new()),
            };
            core.answer_patiently(&served, &heard, answer).await;
            core.carry_out(&served, effects);
        });
    }

    fn answer(&self, served: &Served, heard: &Heard, answer: Answer) {
        match answer {
            Ok(write) => {
                let xml = self.result(served, heard, write);
                self.send_text(served, &xml);
            }
            Err(error) => self.answer_error(served, &heard.stanza, &error),
        }
    }

    /// An answer that may stand behind a page of the archive in its asker's lane: it waits until there is room.
    async fn answer_patiently(&self, served: &Served, heard: &Heard, answer: Answer) {
        match answer {
            Ok(write) => {
                let xml = self.result(served, heard, write);
                self.send_patiently(served, Lane::of_person(heard.from.full()), xml.as_bytes()).await;
            }
            Err(error) => self.answer_error(served, &heard.stanza, &error),
        }
    }

    fn result(&self, served: &Served, heard: &Heard, write: Write) -> String {
        let mut xml = reply::result(heard.to.full(), heard.from.full(), heard.stanza.id().unwrap_or_default());
        xml.attr_opt("xml:lang", self.spoken(served, &heard.stanza).as_deref());
        write(&mut xml);
        xml.finish()
    }

    /// The families that the core answers by itself.
    async fn known(&self, served: &Arc<Served>, heard: &Heard, payload: &Child<'_>) -> Answer {
        let get = heard.stanza.type_() == Some("get");
        match (payload.name(), payload.ns()) {
            ("ping", ns::PING) if get => with(|_| {}),
            ("query", ns::DISCO_INFO) if get => self.info(served, heard, payload),
            ("query", ns::DISCO_ITEMS) if get => self.items(served, heard, payload).await,
            ("query", ns::VERSION) if get => with(reply::version),
            ("time", ns::TIME) if get => {
                let now = self.now();
                with(move |xml| reply::time(xml, now, "+00:00"))
            }
            ("query", ns::LAST) if get => {
                let seconds =
                    if matches!(heard.at, Address::Contact(_)) { 0 } else { self.started.elapsed().as_secs() };
                with(move |xml| reply::last(xml, seconds))
            }
            ("vCard", ns::VCARD) if get => self.vcard(served, heard).await,
            ("vcard", ns::VCARD4) if get => self.vcard4(served, heard).await,
            ("pubsub", ns::PUBSUB) if get => self.pubsub(served, heard, payload).await,
            ("query", ns::GATEWAY) if heard.at == Address::Gateway => self.prompt(served, heard, payload, get),
            (
                "ping" | "query" | "time" | "vCard" | "vcard" | "pubsub",
                ns::PING
                | ns::DISCO_INFO
                | ns::DISCO_ITEMS
                | ns::VERSION
                | ns::TIME
                | ns::VCARD
                | ns::VCARD4
                | ns::PUBSUB,
            ) => Err(StanzaError::not_allowed()),
            _ => Err(StanzaError::service_unavailable()),
        }
    }

    fn info(&self, served: &Served, heard: &Heard, payload: &Child<'_>) -> Answer {
        let node = payload.attr("node").map(std::borrow::Cow::into_owned);
        if let Some(node) = &node {
            let caps = format!("{}#{}", disco::CAPS_NODE, served.caps(&heard.at));
            if *node != caps {
                let element = self.commands_info(served, heard, node, &lang(&heard.stanza))?;
                let element = element.ok_or_else(StanzaError::item_not_found)?;
                return with(move |xml| {
                    xml.element(&element);
                });
            }
        }
        // Under the node of the capabilities stands what was hashed, which is the same for all contacts (XEP-0115 section 5.1).
        let info = match &node {
            Some(_) => served.info(&heard.at, &served.profile().title, &[]),
            None => served.info(&heard.at, &self.name_of(served, heard), &self.contact),
        };
        with(move |xml| disco::write_info(xml, node.as_deref(), &info))
    }

    async fn items(&self, served: &Arc<Served>, heard: &Heard, payload: &Child<'_>) -> Answer {
        let node = payload.attr("node").map(std::borrow::Cow::into_owned);
        match node.as_deref() {
            None => {
                let nodes = self.nodes(served, heard).await;
                with(move |xml| {
                    xml.open("query", ns::DISCO_ITEMS);
                    for (jid, node) in &nodes {
                        xml.open("item", "").attr("jid", jid).attr("node", node).close();
                    }
                    xml.close();
                })
            }
            Some(node) => {
                let element = self
                    .commands_items(served, heard, node, &lang(&heard.stanza))
                    .ok_or_else(StanzaError::item_not_found)?;
                with(move |xml| {
                    xml.element(&element);
                })
            }
        }
    }

    /// XEP-0100 section 6.3.
    fn prompt(&self, served: &Served, heard: &Heard, payload: &Child<'_>, get: bool) -> Answer {
        let lang = lang(&heard.stanza);
        if get {
            let description = self.words_or(served, "prompt.description", &lang);
            let prompt = self.words_or(served, "prompt.prompt", &lang);
            return with(move |xml| reply::prompt(xml, &description, &prompt));
        }
        let element = payload.element().map_err(|_| StanzaError::bad_request())?;
        let typed = element.get_child("prompt", ns::GATEWAY).map(minidom::Element::text).unwrap_or_default();
        if typed.trim().is_empty() {
            return Err(StanzaError::bad_request().with(Text::key("error.prompt-empty")));
        }
        let settings = served.persons().resolved(&heard.from.bare(), &Address::Gateway);
        let address = served.instance.bridge.addressing().prompt_for(typed.trim(), &settings).map_err(|bad| {
            let words = match &bad {
                BadAddress::Malformed(words) | BadAddress::Unknown(words) => words.clone(),
                _ => bad.to_string(),
            };
            StanzaError::not_acceptable().with(words)
        })?;
        let jid = served.jid(&address).ok_or_else(StanzaError::not_acceptable)?;
        with(move |xml| reply::prompted(xml, &jid))
    }

    /// The bridge's words of this key, else the core's.
    fn words_or(&self, served: &Served, key: &'static str, lang: &Lang) -> String {
        self.words(served, &Text::key(key), lang)
    }

    /// What an address is called.
    pub(super) fn name_of(&self, served: &Served, heard: &Heard) -> String {
        if let Address::Occupant { nick, .. } = &heard.at {
            return nick.clone();
        }
        let name = served.persons().contact(&heard.from.bare(), &heard.at).and_then(|c| c.name);
        name.or_else(|| served.spoken(&heard.at)).unwrap_or_else(|| served.profile().title.clone())
    }

    /// Commands and registration, which the bridge takes part in.
    async fn dialogue(
        &self,
        served: &Arc<Served>,
        heard: &Heard,
    ) -> Result<(Option<Element>, Vec<Effect>), StanzaError> {
        let payload = heard.stanza.children().find(|c| c.ns() != ns::CLIENT).ok_or_else(StanzaError::bad_request)?;
        let element = payload.element().map_err(|_| StanzaError::bad_request())?;
        let get = heard.stanza.type_() == Some("get");
        self.run_dialogue(served, heard, &element, get, &lang(&heard.stanza)).await
    }
}

fn write_payload(xml: &mut Xml, payload: Option<&Element>) {
    if let Some(element) = payload {
        xml.element(element);
    }
}
