//! Commands and registration, by form and by chat: the way from a stanza to the engine, and what the rest of the core does for it.

use std::sync::{Arc, Weak};
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use isthmus_bridge::{Address, BareJid, DeliveryKey, Lang, SessionOf, StoreError, Text, Values, Work};
use minidom::Element;

use super::core::{Core, Served};
use super::presence::simple;
use super::receive::Heard;
use crate::access::{Pattern, Tier};
use crate::admin::control::Rotated;
use crate::inbox::Rendered;
use crate::outbox::Withdrawn;
use crate::router::Party;
use crate::storage::fresh_id;
use crate::storage::people::{People, Subscription, reseal};
use crate::texts::Texts;
use crate::xmpp::chat::Chat;
use crate::xmpp::commands::{Adhoc, BridgeRef, Caller, Desk, Effect, Link, Office, Waiting, at_the_command_line};
use crate::xmpp::errors::StanzaError;
use crate::xmpp::link::LinkState;
use crate::xmpp::register::Register;
use crate::xmpp::{forms, ns, privilege, xml::Xml};

/// The three ways to a bridge's commands.
pub(super) struct Dialogues {
    adhoc: Adhoc,
    chat: Chat,
    register: Register,
    people: People,
    desk: Desk,
}

impl Dialogues {
    pub(super) fn desk(&self) -> &Desk {
        &self.desk
    }

    pub(super) fn people(&self) -> &People {
        &self.people
    }

    pub(super) fn new(people: People, texts: Texts, office: Arc<dyn Office>) -> Self {
        let desk = Desk { people: people.clone(), texts, office };
        let (adhoc, chat) = (Adhoc::new(desk.clone()), Chat::new(desk.clone()));
        Self { people, adhoc, chat, register: Register::new(desk.clone()), desk }
    }
}

pub(super) fn reference(served: &Served) -> BridgeRef {
    BridgeRef { instance: served.instance.clone(), host: served.host().clone() }
}

impl Core {
    /// A text to the gateway's own address, answered by chat.
    pub(super) async fn chat(self: &Arc<Self>, served: &Arc<Served>, from: &Party, text: &str, lang: &Lang) {
        // Boxed, like the other ways in: a command's future is large, and few of them run.
        let bridge = reference(served);
        let answer = Box::pin(served.dialogues().chat.on_message(&bridge, from, text, lang, false)).await;
        let Some((lines, effects)) = answer else { return };
        for line in lines {
            self.note(served, &served.instance.domain, from.full(), &line);
        }
        self.carry_out(served, effects);
    }

    /// `jabber:iq:register` or a command: the answer's payload, and what changed.
    pub(super) async fn run_dialogue(
        &self,
        served: &Arc<Served>,
        heard: &Heard,
        payload: &Element,
        get: bool,
        lang: &Lang,
    ) -> Result<(Option<Element>, Vec<Effect>), StanzaError> {
        let bridge = reference(served);
        if payload.is("query", ns::REGISTER) {
            if heard.at != Address::Gateway {
                return Err(StanzaError::service_unavailable());
            }
            return Box::pin(served.dialogues().register.handle(&bridge, &heard.from, !get, payload, lang)).await;
        }
        if !payload.is("command", ns::COMMANDS) || get {
            return Err(StanzaError::bad_request());
        }
        let answer =
            Box::pin(served.dialogues().adhoc.handle_iq(&bridge, &heard.from, &heard.at, payload, lang)).await?;
        let (answer, effects) = answer;
        Ok((Some(answer), effects))
    }

    pub(super) fn commands_info(
        &self,
        served: &Served,
        heard: &Heard,
        node: &str,
        lang: &Lang,
    ) -> Result<Option<Element>, StanzaError> {
        served.dialogues().adhoc.disco_info(&reference(served), &heard.from, &heard.at, node, lang)
    }

    pub(super) fn commands_items(&self, served: &Served, heard: &Heard, node: &str, lang: &Lang) -> Option<Element> {
        let jid = served.jid(&heard.at)?;
        (node == ns::COMMANDS)
            .then(|| served.dialogues().adhoc.disco_items(&reference(served), &heard.from, &heard.at, &jid, lang))
    }

    /// A new key for secrets at rest; what is sealed is sealed again.
    pub(super) async fn rotate_key(&self) -> Result<Rotated, String> {
        let id = self.seal.renew().map_err(|e| e.to_string())?;
        let all = reseal(&self.store, &self.seal).await.map_err(|e| e.to_string())?;
        for served in self.bridges().iter() {
            served.dialogues().people().resealed(&all).await.map_err(|e| e.to_string())?;
        }
        Ok(Rotated { id, sealed: all.done, damaged: all.damaged })
    }

    /// Registers a user with these values, as if they had sent the form themselves.
    pub(super) async fn register_for(
        self: &Arc<Self>,
        served: &Arc<Served>,
        user: &BareJid,
        values: Values,
    ) -> Result<(), String> {
        let mut query = Element::bare("query", ns::REGISTER);
        query.append_child(submit(&values));
        self.as_user(served, user, query).await
    }

    /// Removes a user, as if they had asked for it (XEP-0077 section 3.2).
    pub(super) async fn unregister(self: &Arc<Self>, served: &Arc<Served>, user: &BareJid) -> Result<(), String> {
        let mut query = Element::bare("query", ns::REGISTER);
        query.append_child(Element::bare("remove", ns::REGISTER));
        self.as_user(served, user, query).await
    }

    async fn as_user(self: &Arc<Self>, served: &Arc<Served>, user: &BareJid, query: Element) -> Result<(), String> {
        let party = Party::parse(user.as_str()).ok_or("not a JID")?;
        let lang = Lang::default();
        let bridge = reference(served);
        let mut caller = Caller::new(party.bare(), Address::Gateway, lang.clone());
        // Who is at the command line is an administrator; which one is not known.
        if let Some(admin) = served.access().admins.first() {
            caller.by = admin.clone();
        }
        let done = served.dialogues().register.handle_for(&bridge, caller, true, &query);
        match Box::pin(at_the_command_line(done)).await {
            Ok((_, effects)) => {
                self.carry_out(served, effects);
                Ok(())
            }
            Err(error) => Err(error
                .text
                .as_ref()
                .map_or_else(|| error.condition.to_owned(), |text| self.words(served, text, &lang))),
        }
    }

    /// What a command changed, for everybody to see.
    pub(super) fn carry_out(self: &Arc<Self>, served: &Arc<Served>, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Registered(user) => self.registered(served, &user),
                Effect::Unregistered(user, addresses) => self.unregistered(served, &user, addresses),
                Effect::ContactAdded(user, at, name) => self.added(served, user, at, name),
                Effect::ContactRemoved(user, at) => {
                    let (core, served) = (self.clone(), served.clone());
                    self.tasks.spawn(async move { core.out_of_roster(&served, &user, &[at]).await });
                }
                Effect::Blocked(user, at, true) => {
                    if let Some(from) = served.jid(&at) {
                        self.send(served, &simple(&from, user.as_str(), "unavailable", None));
                    }
                }
                Effect::Blocked(user, at, false) => {
                    if served.persons().contact(&user, &at).is_some_and(|c| c.sees == Subscription::Yes) {
                        self.show(served, &at, user.as_str());
                    }
                }
                Effect::SettingsChanged(user, at) => {
                    let of = SessionOf::new(user, served.network(&at));
                    if served.profile().rooms {
                        self.rooms(served).record(&of);
                    }
                    served.sessions().tell(&of, Work::SettingsChanged(at));
                }
            }
        }
    }

    /// XEP-0100 section 4.1.1, steps 9 and 10: the gateway asks for the user's presence, and shows its own to who may see it.
    fn registered(&self, served: &Arc<Served>, user: &BareJid) {
        self.send(served, &simple(&served.instance.domain, user.as_str(), "subscribe", None));
        self.show(served, &Address::Gateway, user.as_str());
    }

    /// XEP-0100 section 4.3.1: unsubscribe, unsubscribed and unavailable from every contact and the gateway.
    fn unregistered(&self, served: &Arc<Served>, user: &BareJid, mut addresses: Vec<Address>) {
        if !addresses.contains(&Address::Gateway) {
            addresses.push(Address::Gateway);
        }
        for at in addresses {
            self.part(served, user, &at);
        }
        for of in served.sessions().of(user) {
            served.sessions().dismiss(&of);
        }
    }

    pub(super) fn part(&self, served: &Arc<Served>, user: &BareJid, at: &Address) {
        let Some(from) = served.jid(at) else { return };
        for kind in ["unsubscribe", "unsubscribed", "unavailable"] {
            self.send(served, &simple(&from, user.as_str(), kind, None));
        }
    }
}

/// A form, filled in (XEP-0004).
fn submit(values: &Values) -> Element {
    let mut form = Element::bare("x", ns::DATA);
    forms::set(&mut form, "type", "submit");
    for (key, all) in values.iter() {
        let mut field = Element::bare("field", ns::DATA);
        forms::set(&mut field, "var", key);
        for value in all {
            let mut element = Element::bare("value", ns::DATA);
            element.append_text_node(value.as_str());
            field.append_child(element);
        }
        form.append_child(field);
    }
    form
}

/// What the gateway does for the commands of one bridge.
pub(super) struct Clerk {
    core: Weak<Core>,
    served: Weak<Served>,
}

impl Clerk {
    pub(super) fn new(core: Weak<Core>, served: Weak<Served>) -> Self {
        Self { core, served }
    }

    fn here(&self) -> Result<(Arc<Core>, Arc<Served>), StoreError> {
        let stops = || StoreError::Unavailable("the gateway stops".to_owned());
        Ok((self.core.upgrade().ok_or_else(stops)?, self.served.upgrade().ok_or_else(stops)?))
    }
}

/// Rows of a listing for people, at most.
const ROWS: u32 = 100;

#[async_trait]
impl Office for Clerk {
    fn is_admin(&self, user: &BareJid) -> bool {
        self.served.upgrade().is_some_and(|served| served.access().tier(user) == Tier::Admin)
    }

    fn blocks(&self, user: &BareJid, at: &Address) -> bool {
        self.served.upgrade().is_some_and(|served| served.privileges.blocked(user, at))
    }

    async fn waiting(&self, bridge: &str, user: Option<&BareJid>) -> Result<Vec<Waiting>, StoreError> {
        let (core, served) = self.here()?;
        let items = core.outbox.list(Some(bridge), user, ROWS).await?;
        let time = |millis: i64| UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or_default());
        Ok(items
            .into_iter()
            .map(|item| Waiting {
                key: DeliveryKey::new(item.key),
                user: BareJid::new(item.user),
                to: spoken(&served, &item.to),
                since: time(item.accepted),
                tries: u32::try_from(item.tries).unwrap_or_default(),
                reason: item.reason,
                next: Some(time(item.due)),
            })
            .collect())
    }

    async fn cancel(&self, _bridge: &str, user: Option<&BareJid>, key: &DeliveryKey) -> Result<bool, StoreError> {
        // Who cancels somebody else's message tells them; who cancels their own knows.
        let told = user.is_none();
        Ok(self.here()?.0.outbox.cancel_by_key(key, user, told).await? == Withdrawn::Queued)
    }

    async fn retry(&self, _bridge: &str, user: Option<&BareJid>, key: &DeliveryKey) -> Result<bool, StoreError> {
        Ok(self.here()?.0.outbox.retry_now(key, user).await? == Withdrawn::Queued)
    }

    async fn usage(&self, _bridge: &str, user: &BareJid) -> Result<Vec<(Text, Text)>, StoreError> {
        let (core, served) = self.here()?;
        core.usage_of(&served, user).await
    }

    async fn forget(&self, bridge: &str, user: &BareJid) -> Result<(), StoreError> {
        let (core, served) = self.here()?;
        core.outbox.forget(bridge, user).await?;
        served.archive().forget(user).await?;
        core.forget_files(&served, user, false).await
    }

    async fn links(&self, _bridge: &str, lang: &Lang) -> Vec<Link> {
        let Ok((core, served)) = self.here() else { return Vec::new() };
        let state = match served.link().state().borrow().clone() {
            LinkState::Attached { .. } => Text::key("state.attached"),
            LinkState::Down { reason, .. } => Text::key("state.down").with("reason", reason),
            _ => Text::key("state.connecting"),
        };
        let mut all = vec![Link { of: served.instance.domain.to_string(), state }];
        all.extend(
            served
                .session_states(&|reason| core.words(&served, reason, lang))
                .into_iter()
                .map(|(of, state)| Link { of: format!("{} ({})", of.user, of.network), state }),
        );
        all
    }

    async fn announce(&self, bridge: &str, to: &[BareJid], words: &str) -> Result<usize, StoreError> {
        let (core, served) = self.here()?;
        for user in to {
            let id = fresh_id();
            let mut xml = Xml::stanza("message");
            xml.attr("type", "headline")
                .attr("from", &served.instance.domain)
                .attr("to", user.as_str())
                .attr("id", &id);
            xml.leaf("body", "", words).empty("store", ns::HINTS);
            let stanza = Rendered {
                from: served.instance.domain.to_string(),
                to: user.to_string(),
                id,
                xml: xml.finish().into_bytes(),
            };
            core.inbox.append(bridge, user, stanza).await?;
        }
        Ok(to.len())
    }

    fn tier(&self, user: &BareJid) -> Tier {
        self.served.upgrade().map_or(Tier::Blocked, |served| served.tier(user))
    }

    async fn rules(&self) -> Result<Vec<(String, Tier, bool)>, StoreError> {
        let (_, served) = self.here()?;
        let given = served.given().len();
        let all = served.access();
        Ok(all.rules.iter().enumerate().map(|(n, rule)| (rule.pattern.to_string(), rule.tier, n < given)).collect())
    }

    async fn set_rule(&self, pattern: &Pattern, tier: Option<Tier>) -> Result<bool, StoreError> {
        let (core, served) = self.here()?;
        let changed = served.persons().set_rule(pattern, tier).await?;
        let before = served.access();
        served.rule(served.persons().rules().await?);
        core.rights_changed(&served, before);
        Ok(changed)
    }

    fn log_level(&self) -> String {
        self.core.upgrade().map(|core| core.level()).unwrap_or_default()
    }

    fn set_log_level(&self, filter: &str) -> Result<(), String> {
        self.core.upgrade().ok_or("the gateway stops")?.set_level(filter)
    }

    fn may_bookmark(&self, user: &BareJid) -> bool {
        self.served.upgrade().is_some_and(|served| served.may_publish(user))
    }

    async fn bookmark(&self, user: &BareJid, room: &Address, autojoin: bool, nick: Option<&str>) -> Result<(), String> {
        let (core, served) = self.here().map_err(|e| e.to_string())?;
        let jid = served.jid(room).ok_or("no JID can spell that room")?;
        let payload = privilege::bookmark(&jid, autojoin, nick);
        core.ask_as(&served, user, "set", &payload).await.map(drop).map_err(|e| e.to_string())
    }

    async fn rotate_key(&self) -> Result<Rotated, String> {
        let (core, _) = self.here().map_err(|e| e.to_string())?;
        core.rotate_key().await
    }

    async fn forget_exports(&self, user: &BareJid) -> Result<(), StoreError> {
        let (core, served) = self.here()?;
        core.forget_files(&served, user, true).await
    }

    fn largest_answer(&self) -> usize {
        self.core.upgrade().map_or(10_000, |core| core.limits.max_stanza)
    }

    fn largest_file(&self) -> u64 {
        self.core.upgrade().map_or(0, |core| core.files.largest())
    }

    async fn hand_out(&self, user: &BareJid, name: &str, body: Vec<u8>) -> Option<String> {
        let (core, served) = self.here().ok()?;
        let media = isthmus_bridge::Media::new(Some(name.to_owned()), "application/json", Some(body.len() as u64));
        let size = body.len() as u64;
        let id = core.keep(body.into(), media.clone()).await.ok()?;
        core.owns(&served, user, &id, size, true).await;
        core.publish(&served, user, &id, &media).await.ok()?
    }

    fn version(&self) -> String {
        crate::version().to_string()
    }

    async fn reload(&self) -> Result<String, String> {
        let core = self.core.upgrade().ok_or("the gateway stops")?;
        core.request_reload()
    }
}

/// An address as people write it, from the JID that a message was sent to.
fn spoken(served: &Served, jid: &str) -> String {
    let at = Party::parse(jid).and_then(|p| crate::router::address(served.instance.bridge.addressing(), &p).ok());
    at.and_then(|at| served.spoken(&at)).unwrap_or_else(|| jid.to_owned())
}
