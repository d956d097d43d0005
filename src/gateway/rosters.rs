//! Contact lists of networks in users' rosters: by privilege (XEP-0356) where the server grants it, else by asking the user's clients (XEP-0144), else by
//! subscription requests, which every client understands.

use std::sync::Arc;

use isthmus_bridge::{Address, BareJid, Listed, StoreError};
use tracing::{debug, info, warn};

use super::answers::Unanswered;
use super::core::{Core, Served};
use super::presence::simple;
use super::privileges::{PATIENCE, domain};
use crate::access::Tier;
use crate::config::RosterWay;
use crate::storage::fresh_id;
use crate::storage::people::{Contact, Subscription};
use crate::xmpp::privilege::{Item, Version, exchange};
use crate::xmpp::xml::Xml;
use crate::xmpp::{link::Lane, ns};

/// Contacts in one message of XEP-0144.
const TOGETHER: usize = 50;

/// A contact that is to stand in a roster.
struct Waiting {
    at: Address,
    jid: String,
    contact: Contact,
}

impl Waiting {
    fn item(&self) -> Item<'_> {
        Item { jid: &self.jid, name: self.contact.name.as_deref(), groups: &self.contact.groups }
    }
}

/// What XEP-0144 calls it (section 3): who is subscribed stands in the roster already, and gets another name or other groups.
fn action(contact: &Contact) -> &'static str {
    if contact.sees == Subscription::Yes || contact.seen == Subscription::Yes { "modify" } else { "add" }
}

/// Whether the server will refuse the next one too, which is remembered until the next attach.
fn refused(served: &Served, user: &BareJid, error: &Unanswered) -> bool {
    match error {
        Unanswered::Error { condition, .. } if matches!(condition.as_str(), "forbidden" | "not-allowed") => {
            served.privileges.revoke(domain(user));
            true
        }
        // COMPAT(ejabberd 23.01): mod_roster looks for its options at the component's domain and falls over that there are none.
        Unanswered::Error { condition, .. } if condition == "internal-server-error" => {
            served.privileges.fails_at_rosters(domain(user));
            true
        }
        _ => false,
    }
}

impl Core {
    /// The network's contact list of a user.
    pub(super) async fn take_list(
        self: &Arc<Self>,
        served: &Arc<Served>,
        user: &BareJid,
        list: Vec<Listed>,
    ) -> Result<(), StoreError> {
        let gone = served.persons().take_list(user, list).await?;
        let (core, served, user) = (self.clone(), served.clone(), user.clone());
        self.tasks.spawn(async move {
            core.out_of_roster(&served, &user, &gone).await;
            core.fill_roster(&served, &user).await;
        });
        Ok(())
    }

    /// Brings what waits into the rosters: of the users of one server, or of all.
    pub(super) async fn fill_rosters(&self, served: &Arc<Served>, server: Option<&str>) {
        for user in served.persons().everybody() {
            if server.is_none_or(|server| server == domain(&user)) {
                self.fill_roster(served, &user).await;
            }
        }
    }

    /// What the network lists and the roster does not have yet.
    async fn fill_roster(&self, served: &Arc<Served>, user: &BareJid) {
        let _turn = served.roster_turn.lock().await;
        if self.roster_way == RosterWay::Off || served.access().tier(user) < Tier::Receive {
            return;
        }
        let mut waiting: Vec<Waiting> = Vec::new();
        for (at, contact) in served.persons().subscriptions(user) {
            if contact.listed
                && !contact.rostered
                && let Some(jid) = served.jid(&at)
            {
                waiting.push(Waiting { at, jid, contact });
            }
        }
        if waiting.is_empty() || served.link().state().borrow().epoch().is_none() {
            return;
        }
        if self.roster_way == RosterWay::Auto {
            let granted = self.grants_for(served, user).await.is_some_and(|g| g.roster_set);
            while granted && let Some(next) = waiting.last() {
                match self.put(served, user, next).await {
                    Ok(()) => drop(waiting.pop()),
                    Err(e) if refused(served, user, &e) => break,
                    Err(e) => {
                        warn!(bridge = %served.instance.name, %user, error = %e, "a contact could not be put into a roster; at the next attach again");
                        return;
                    }
                }
            }
        }
        if waiting.is_empty() {
            return;
        }
        let (there, new): (Vec<Waiting>, Vec<Waiting>) =
            waiting.into_iter().partition(|one| action(&one.contact) == "modify");
        for (action, some) in [("add", new), ("modify", there)] {
            let asked = !some.is_empty()
                && matches!(self.roster_way, RosterWay::Auto | RosterWay::Exchange)
                && self.suggest(served, user, action, &some).await;
            for one in some {
                // A client that was asked adds the contact, subscribes, and needs no second question.
                if !asked && one.contact.seen == Subscription::None {
                    self.ask_to_subscribe(served, user, &one.at, one.contact.name.as_deref());
                }
                self.stands(served, user, &one.at, false).await;
            }
        }
    }

    /// By privilege; the contact is subscribed both ways, as the roster says, and shows itself.
    async fn put(&self, served: &Arc<Served>, user: &BareJid, one: &Waiting) -> Result<(), Unanswered> {
        self.ask(served, &served.instance.domain, user.as_str(), "set", &one.item().put(), PATIENCE).await?;
        if served.privileges.of(domain(user)).is_some_and(|g| g.version == Version::One) {
            // COMPAT(ejabberd): takes name and groups, and leaves the subscription as it is.
            self.stands(served, user, &one.at, false).await;
            self.ask_to_subscribe(served, user, &one.at, one.contact.name.as_deref());
            return Ok(());
        }
        self.stands(served, user, &one.at, true).await;
        self.show(served, &one.at, user.as_str());
        self.send(served, &simple(&one.jid, user.as_str(), "probe", None));
        Ok(())
    }

    async fn stands(&self, served: &Served, user: &BareJid, at: &Address, subscribed: bool) {
        if let Err(e) = served.persons().rostered(user, at, subscribed).await {
            warn!(bridge = %served.instance.name, error = %e, "what stands in a roster could not be recorded");
        }
    }

    /// XEP-0144, to the devices that say they know it. Gives whether there is one.
    async fn suggest(&self, served: &Served, user: &BareJid, action: &str, all: &[Waiting]) -> bool {
        let mut told = false;
        for device in self.online.of(user) {
            if !self.features(served, &device).await.contains(ns::ROSTERX) {
                continue;
            }
            for some in all.chunks(TOGETHER) {
                let items: Vec<Item<'_>> = some.iter().map(Waiting::item).collect();
                let mut xml = Xml::stanza("message");
                xml.attr("from", &served.instance.domain).attr("to", &device).attr("id", &fresh_id());
                xml.element(&exchange(action, &items));
                self.send_text(served, &xml.finish());
            }
            told = true;
        }
        told
    }

    /// A contact that the user added by command: into the roster where we may, else as a request.
    pub(super) fn added(self: &Arc<Self>, served: &Arc<Served>, user: BareJid, at: Address, name: Option<String>) {
        let (core, served) = (self.clone(), served.clone());
        self.tasks.spawn(async move {
            let granted = core.roster_way == RosterWay::Auto && core.grants_for(&served, &user).await.is_some_and(|g| g.roster_set);
            if granted
                && let (Some(jid), Some(contact)) = (served.jid(&at), served.persons().contact(&user, &at))
            {
                let one = Waiting { at: at.clone(), jid, contact };
                match core.put(&served, &user, &one).await {
                    Ok(()) => return,
                    Err(e) if refused(&served, &user, &e) => {}
                    Err(e) => info!(bridge = %served.instance.name, %user, error = %e, "a contact could not be put into a roster"),
                }
            }
            let known = served.persons().contact(&user, &at);
            if matches!(core.roster_way, RosterWay::Auto | RosterWay::Exchange)
                && let (Some(jid), Some(contact)) = (served.jid(&at), known)
            {
                let action = action(&contact);
                let one = Waiting { at: at.clone(), jid, contact };
                if core.suggest(&served, &user, action, &[one]).await {
                    return;
                }
            }
            core.ask_to_subscribe(&served, &user, &at, name.as_deref());
        });
    }

    /// A subscription request from the contact, which brings it into the roster of who grants it.
    fn ask_to_subscribe(&self, served: &Served, user: &BareJid, at: &Address, name: Option<&str>) {
        let Some(from) = served.jid(at) else { return };
        let mut xml = Xml::stanza("presence");
        xml.attr("from", &from).attr("to", user.as_str()).attr("type", "subscribe");
        if let Some(name) = name {
            xml.leaf("nick", ns::NICK, name);
        }
        self.send_text(served, &xml.finish());
    }

    /// Contacts that are none any more.
    pub(super) async fn out_of_roster(&self, served: &Arc<Served>, user: &BareJid, gone: &[Address]) {
        if gone.is_empty() {
            return;
        }
        let granted = self.grants_for(served, user).await.is_some_and(|g| g.roster_set);
        let mut left = Vec::new();
        for at in gone {
            let Some(jid) = served.jid(at) else { continue };
            let one = Waiting { at: at.clone(), jid, contact: Contact::default() };
            self.send(served, &simple(&one.jid, user.as_str(), "unavailable", None));
            let taken = granted
                && self
                    .ask(served, &served.instance.domain, user.as_str(), "set", &one.item().take(), PATIENCE)
                    .await
                    .is_ok();
            if !taken {
                left.push(one);
            }
        }
        if left.is_empty()
            || (self.roster_way != RosterWay::Subscribe && self.suggest(served, user, "delete", &left).await)
        {
            return;
        }
        for one in left {
            self.part(served, user, &one.at);
        }
    }

    /// What the resource can do, as its disco#info says; asked once for each of its capabilities.
    pub(super) async fn features(&self, served: &Served, full: &str) -> Arc<std::collections::HashSet<String>> {
        if let Some(known) = self.online.features(full) {
            return known;
        }
        let query = minidom::Element::bare("query", ns::DISCO_INFO);
        let answer = self.ask(served, &served.instance.domain, full, "get", &query, PATIENCE).await;
        let answer =
            answer.inspect_err(|e| debug!(full, error = %e, "a client does not say what it can do")).ok().flatten();
        let vars = answer
            .iter()
            .flat_map(|query| query.children())
            .filter(|c| c.name() == "feature")
            .filter_map(|c| c.attr("var"));
        let all: Arc<std::collections::HashSet<String>> = Arc::new(vars.map(str::to_owned).take(512).collect());
        self.online.knows(full, all.clone());
        all
    }

    /// Sends a stanza behind those that users wait for.
    pub(super) fn send_behind(&self, served: &Served, xml: &str) {
        self.written(served, served.link().send_raw(Lane(1), xml.as_bytes()));
    }
}
