//! Ad-hoc commands (XEP-0050): sessions, actions and their errors, and what disco says of commands.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use isthmus_bridge::{Address, Lang, Note, Table, Text, Values};
use minidom::Element;
use minidom::rxml::{Namespace, NcName};
use sha2::Sha256;
use tokio::time::Instant;

use super::dialogue::{Dialogue, Said, Turn};
use super::{BridgeRef, Caller, Desk, Effect, own};
use crate::router::Party;
use crate::xmpp::errors::{ErrorType, StanzaError};
use crate::xmpp::{forms, ns};

/// A session ends when nothing happened in it for this long.
pub const IDLE: Duration = Duration::from_secs(600);
/// Sessions that a user may have open; a further one ends the oldest.
const PER_USER: usize = 8;
/// Sessions of everybody.
const TOTAL: usize = 4096;

/// The actions of a requester.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Execute,
    Next,
    Prev,
    Complete,
    Cancel,
}

struct Session {
    from: String,
    user: String,
    bridge: Arc<str>,
    at: Address,
    node: String,
    lang: Lang,
    /// Absent while a step is under way.
    dialogue: Option<Dialogue>,
    expires: Instant,
}

/// The ad-hoc commands of all bridges.
pub struct Adhoc {
    desk: Desk,
    /// Tells session ids that were once ours from invented ones; made anew at every start.
    key: [u8; 32],
    sessions: Mutex<HashMap<String, Session>>,
}

/// A request, read.
struct Request<'a> {
    node: &'a str,
    session: Option<&'a str>,
    action: Action,
    form: Option<Values>,
}

impl Adhoc {
    /// No session is open.
    pub fn new(desk: Desk) -> Self {
        Self { desk, key: rand::random(), sessions: Mutex::default() }
    }

    /// What it runs on.
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Answers an `<iq type='set'/>` whose payload is `<command/>`. The effects are to be carried out after the answer has been sent.
    ///
    /// # Errors
    /// Exactly those of XEP-0050, section 4.4.
    pub async fn handle_iq(
        &self,
        bridge: &BridgeRef,
        from: &Party,
        at: &Address,
        payload: &Element,
        lang: &Lang,
    ) -> Result<(Element, Vec<Effect>), StanzaError> {
        let request = read(payload)?;
        // xml:lang on the command means the same as on the iq (XEP-0050, 3.7).
        let lang = payload.attr_ns(&Namespace::XML, "lang").map_or_else(|| lang.clone(), Lang::new);
        match request.session {
            None => self.begin(bridge, from, at, &request, lang).await,
            Some(id) => self.go_on(bridge, from, at, &request, id).await,
        }
    }

    async fn begin(
        &self,
        bridge: &BridgeRef,
        from: &Party,
        at: &Address,
        request: &Request<'_>,
        lang: Lang,
    ) -> Result<(Element, Vec<Effect>), StanzaError> {
        if request.action != Action::Execute {
            return Err(bad("bad-action"));
        }
        if matches!(at, Address::Occupant { .. }) {
            // Nobody is commanded inside a room: there are no commands here at all, rather than not this one.
            return Err(StanzaError::new(ErrorType::Cancel, "feature-not-implemented"));
        }
        let caller = Caller::new(from.bare(), at.clone(), lang.clone());
        let command = self.desk.find(bridge, request.node).ok_or_else(StanzaError::item_not_found)?;
        if super::place(at).is_none_or(|place| !command.places.contains(&place)) {
            return Err(StanzaError::item_not_found());
        }
        if !self.desk.may(bridge, &caller, &command) {
            return Err(forbidden(&command));
        }
        let (dialogue, turn) = Dialogue::start(&self.desk, bridge, command, caller).await;
        let id = self.new_id(from.full());
        if dialogue.form().is_some() {
            let session = Session {
                from: from.full().to_owned(),
                user: from.bare().to_string(),
                bridge: bridge.instance.name.clone(),
                at: at.clone(),
                node: request.node.to_owned(),
                lang: lang.clone(),
                dialogue: Some(dialogue),
                expires: Instant::now() + IDLE,
            };
            self.put(id.clone(), session)?;
        }
        Ok((self.answer(bridge, request.node, &id, &lang, &turn), turn.effects))
    }

    async fn go_on(
        &self,
        bridge: &BridgeRef,
        from: &Party,
        at: &Address,
        request: &Request<'_>,
        id: &str,
    ) -> Result<(Element, Vec<Effect>), StanzaError> {
        let (mut dialogue, lang) = self.take(bridge, from, at, request, id)?;
        if !dialogue.is_allowed(&self.desk) {
            self.lock().remove(id);
            return Err(forbidden(dialogue.command()));
        }
        let action = match request.action {
            // The default that the answer named in <actions execute='…'/>.
            // COMPAT(biboumi): its last pages offer `next`, and scripts send what they have always sent.
            Action::Execute | Action::Next if dialogue.last() => Action::Complete,
            Action::Execute => Action::Next,
            action => action,
        };
        let turn = match action {
            Action::Cancel => {
                self.lock().remove(id);
                return Ok((command(request.node, id, "canceled", &lang), Vec::new()));
            }
            Action::Prev => match dialogue.back() {
                Some(said) => Turn { said, effects: Vec::new() },
                None => return Err(self.refuse(id, dialogue, "bad-action")),
            },
            Action::Complete if !dialogue.last() => return Err(self.refuse(id, dialogue, "bad-action")),
            _ => {
                let given = match &request.form {
                    Some(given) => given.clone(),
                    // No form at all: right where every field has its value already.
                    None if dialogue.form().is_some_and(|f| forms::check(f, &Values::new()).is_err()) => {
                        return Err(self.refuse(id, dialogue, "bad-payload"));
                    }
                    None => Values::new(),
                };
                dialogue.answer(&self.desk, &given).await
            }
        };
        let answer = self.answer(bridge, request.node, id, &lang, &turn);
        self.give_back(id, dialogue);
        Ok((answer, turn.effects))
    }

    /// Takes the dialogue of a session for one step.
    fn take(
        &self,
        bridge: &BridgeRef,
        from: &Party,
        at: &Address,
        request: &Request<'_>,
        id: &str,
    ) -> Result<(Dialogue, Lang), StanzaError> {
        let mut sessions = self.lock();
        let now = Instant::now();
        sessions.retain(|_, s| s.expires > now);
        let Some(session) = sessions.get_mut(id) else {
            // One that we gave to this very JID has ended; any other is no session id at all.
            return Err(if self.was_ours(id, from.full()) {
                StanzaError::not_allowed().specific("session-expired", ns::COMMANDS)
            } else {
                bad("bad-sessionid")
            });
        };
        let theirs = session.from == from.full()
            && session.bridge == bridge.instance.name
            && session.at == *at
            && session.node == request.node;
        if !theirs {
            return Err(bad("bad-sessionid"));
        }
        session.expires = now + IDLE;
        match session.dialogue.take() {
            Some(dialogue) => Ok((dialogue, session.lang.clone())),
            // The step before is still under way.
            None => Err(StanzaError::new(ErrorType::Wait, "unexpected-request")),
        }
    }

    /// Keeps the session as it was and says why the request was refused.
    fn refuse(&self, id: &str, dialogue: Dialogue, condition: &'static str) -> StanzaError {
        self.give_back(id, dialogue);
        bad(condition)
    }

    fn give_back(&self, id: &str, dialogue: Dialogue) {
        let mut sessions = self.lock();
        if dialogue.form().is_none() {
            sessions.remove(id);
        } else if let Some(session) = sessions.get_mut(id) {
            session.dialogue = Some(dialogue);
        }
    }

    fn put(&self, id: String, session: Session) -> Result<(), StanzaError> {
        let mut sessions = self.lock();
        let now = Instant::now();
        sessions.retain(|_, s| s.expires > now);
        let mut theirs: Vec<_> =
            sessions.iter().filter(|(_, s)| s.user == session.user).map(|(id, s)| (s.expires, id.clone())).collect();
        theirs.sort();
        for (_, id) in theirs.iter().take((theirs.len() + 1).saturating_sub(PER_USER)) {
            sessions.remove(id);
        }
        if sessions.len() >= TOTAL {
            return Err(StanzaError::resource_constraint());
        }
        sessions.insert(id, session);
        Ok(())
    }

    fn new_id(&self, from: &str) -> String {
        let nonce: [u8; 16] = rand::random();
        format!("{}{}", hex::encode(nonce), self.tag(&nonce, from))
    }

    fn was_ours(&self, id: &str, from: &str) -> bool {
        let nonce = id.get(..32).and_then(|head| hex::decode(head).ok());
        nonce.is_some_and(|nonce| id.get(32..) == Some(&*self.tag(&nonce, from)))
    }

    fn tag(&self, nonce: &[u8], from: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(nonce);
        mac.update(from.as_bytes());
        hex::encode(&mac.finalize().into_bytes()[..16])
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, bridge: &BridgeRef, node: &str, id: &str, lang: &Lang, turn: &Turn) -> Element {
        let say = |text: &Text| self.desk.say(bridge, text, lang);
        match &turn.said {
            Said::Ask { form, back, last } => {
                let mut answer = command(node, id, "executing", lang);
                answer.append_child(actions(*back, *last));
                answer.append_child(forms::to_xml(form, None, &say));
                for field in &form.fields {
                    if let Some(error) = &field.error {
                        answer.append_child(note("error", &format!("{}: {}", say(&field.label), say(error))));
                    }
                }
                answer
            }
            Said::Done { notes, table, .. } => {
                let mut answer = command(node, id, "completed", lang);
                if let Some(table) = table {
                    let fits = fitting(table, self.desk.office.largest_answer(), node == own::HISTORY);
                    answer.append_child(forms::table_to_xml(&fits, None, &say));
                    if fits.rows.len() < table.rows.len() {
                        let words = Text::key("command.cut").with("shown", fits.rows.len());
                        answer.append_child(note("warn", &say(&words.with("all", table.rows.len()))));
                    }
                }
                for one in notes {
                    let (kind, text) = match one {
                        Note::Warn(text) => ("warn", text),
                        Note::Error(text) => ("error", text),
                        Note::Info(text) => ("info", text),
                        _ => continue,
                    };
                    answer.append_child(note(kind, &say(text)));
                }
                answer
            }
        }
    }

    /// The `<query/>` of disco#items for the node of commands; `jid` is the address asked, as it stands in `to`.
    pub fn disco_items(&self, bridge: &BridgeRef, from: &Party, at: &Address, jid: &str, lang: &Lang) -> Element {
        let mut query = Element::bare("query", ns::DISCO_ITEMS);
        forms::set(&mut query, "node", ns::COMMANDS);
        let caller = Caller::new(from.bare(), at.clone(), lang.clone());
        for offered in self.desk.offered(bridge, &caller) {
            let mut item = Element::bare("item", ns::DISCO_ITEMS);
            forms::set(&mut item, "jid", jid);
            forms::set(&mut item, "node", offered.node);
            forms::set(&mut item, "name", self.desk.say(bridge, &offered.name, lang));
            query.append_child(item);
        }
        query
    }

    /// The `<query/>` of disco#info for a node: that of commands, or a command. `None`: not a node of commands.
    ///
    /// # Errors
    /// `forbidden` for a command that is not the requester's (XEP-0050, 2.2).
    pub fn disco_info(
        &self,
        bridge: &BridgeRef,
        from: &Party,
        at: &Address,
        node: &str,
        lang: &Lang,
    ) -> Result<Option<Element>, StanzaError> {
        let (kind, name) = if node == ns::COMMANDS {
            ("command-list", self.desk.texts.core("commands.title", lang))
        } else {
            let here = |c: &isthmus_bridge::Command| super::place(at).is_some_and(|place| c.places.contains(&place));
            let Some(found) = self.desk.find(bridge, node).filter(here) else { return Ok(None) };
            if !self.desk.may(bridge, &Caller::new(from.bare(), at.clone(), lang.clone()), &found) {
                return Err(forbidden(&found));
            }
            ("command-node", self.desk.say(bridge, &found.name, lang))
        };
        let mut query = Element::bare("query", ns::DISCO_INFO);
        forms::set(&mut query, "node", node);
        let mut identity = Element::bare("identity", ns::DISCO_INFO);
        forms::set(&mut identity, "category", "automation");
        forms::set(&mut identity, "type", kind);
        forms::set(&mut identity, "name", name);
        query.append_child(identity);
        for var in [ns::COMMANDS, ns::DATA] {
            let mut feature = Element::bare("feature", ns::DISCO_INFO);
            forms::set(&mut feature, "var", var);
            query.append_child(feature);
        }
        Ok(Some(query))
    }
}

fn read(payload: &Element) -> Result<Request<'_>, StanzaError> {
    let node = payload.attr("node").filter(|n| !n.is_empty()).ok_or_else(StanzaError::bad_request)?;
    let action = match payload.attr("action") {
        None | Some("execute") => Action::Execute,
        Some("next") => Action::Next,
        Some("prev") => Action::Prev,
        Some("complete") => Action::Complete,
        Some("cancel") => Action::Cancel,
        Some(_) => return Err(bad("malformed-action")),
    };
    let session = payload.attr("sessionid");
    if session == Some("") {
        return Err(bad("bad-sessionid"));
    }
    let x = payload.get_child("x", ns::DATA);
    let form = x.map(forms::from_xml).transpose().map_err(|_| bad("bad-payload"))?;
    Ok(Request { node, session, action, form })
}

/// `modify/bad-request` with XEP-0050's own condition.
fn bad(condition: &'static str) -> StanzaError {
    StanzaError::bad_request().specific(condition, ns::COMMANDS)
}

/// XEP-0050, 4.4 has `cancel`; whoever only has to register is told so.
fn forbidden(command: &isthmus_bridge::Command) -> StanzaError {
    let error = StanzaError::new(ErrorType::Cancel, "forbidden");
    match command.audience {
        isthmus_bridge::Audience::Registered => error.with(Text::key("command.register-first")),
        _ => error.with(Text::key("command.forbidden")),
    }
}

fn command(node: &str, id: &str, status: &'static str, lang: &Lang) -> Element {
    let mut command = Element::bare("command", ns::COMMANDS);
    forms::set(&mut command, "node", node);
    forms::set(&mut command, "sessionid", id);
    forms::set(&mut command, "status", status);
    if !lang.as_str().is_empty() {
        let name = NcName::try_from("lang").expect("a literal without colon or blank");
        command.attrs_mut().insert(Namespace::XML, name, lang.as_str().to_owned());
    }
    command
}

fn actions(back: bool, last: bool) -> Element {
    let mut actions = Element::bare("actions", ns::COMMANDS);
    forms::set(&mut actions, "execute", if last { "complete" } else { "next" });
    if back {
        actions.append_child(Element::bare("prev", ns::COMMANDS));
    }
    actions.append_child(Element::bare(if last { "complete" } else { "next" }, ns::COMMANDS));
    actions
}

fn note(kind: &'static str, words: &str) -> Element {
    let mut note = Element::bare("note", ns::COMMANDS);
    forms::set(&mut note, "type", kind);
    note.append_text_node(forms::printable(words));
    note
}
/// As many rows as an answer of this size takes, from the first on or up to the last: the server would cut the stream at a larger one.
fn fitting(table: &Table, limit: usize, newest: bool) -> Table {
    let escaped = |byte: u8| if matches!(byte, b'&' | b'<' | b'>' | b'"' | b'\'') { 6 } else { 1 };
    let cell = |(at, cell): (usize, &String)| {
        let name = table.columns.get(at).map_or(0, |(name, _)| name.len());
        cell.bytes().map(escaped).sum::<usize>() + name + 50
    };
    let size = |row: &Vec<String>| row.iter().enumerate().map(cell).sum::<usize>() + 20;
    // The rest is for titles and notes.
    let room = limit / 4 * 3;
    let mut used = 0;
    let mut fits = |row: &&Vec<String>| {
        used += size(row);
        used <= room
    };
    let mut made = table.clone();
    made.rows = if newest {
        let mut rows: Vec<_> = table.rows.iter().rev().take_while(|row| fits(row)).cloned().collect();
        rows.reverse();
        rows
    } else {
        table.rows.iter().take_while(|row| fits(row)).cloned().collect()
    };
    made
}
