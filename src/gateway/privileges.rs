//! What the servers let us do for their users (XEP-0356): told at each attach, gone with each stream, taken back when the server refuses.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use isthmus_bridge::{Address, BareJid};
use minidom::Element;
use tracing::{debug, info, warn};

use super::answers::Unanswered;
use super::core::{Core, Served};
use super::receive::Heard;
use crate::access::Tier;
use crate::router::{self, Party};
use crate::storage::fresh_id;
use crate::xmpp::ns;
use crate::xmpp::privilege::{self, Grants};

/// Both servers tell of their grants right after the attach; whoever needs one waits until then.
const TOLD_WITHIN: Duration = Duration::from_secs(2);
/// How long a server may think about something that we ask in a user's name.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// How often the users' own block lists are read.
pub(super) const BLOCKS: Duration = Duration::from_secs(15 * 60);

/// The grants that hold for one bridge's domain.
#[derive(Debug, Default)]
pub(super) struct Privileges(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    attached: Option<Instant>,
    grants: HashMap<String, Grants>,
    /// Whom users have blocked at their own server (XEP-0191).
    blocked: HashMap<BareJid, HashSet<Address>>,
}

impl Privileges {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under this lock is a single assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new stream: nothing is granted until the server says so.
    pub(super) fn attached(&self) {
        let mut state = self.lock();
        state.attached = Some(Instant::now());
    }

    /// The stream is gone, and with it all grants.
    pub(super) fn detached(&self) {
        let mut state = self.lock();
        state.attached = None;
        state.grants.clear();
    }

    fn grant(&self, domain: &str, grants: Grants) {
        self.lock().grants.insert(domain.to_owned(), grants);
    }

    /// The server does not grant it any more, whatever it said: on ejabberd the end of any connection of a component takes the grants from all.
    pub(super) fn revoke(&self, domain: &str) {
        if self.lock().grants.remove(domain).is_some() {
            warn!(
                domain,
                "the server refuses what it had granted (XEP-0356); until the next attach this counts as not granted"
            );
        }
    }

    /// The server grants rosters and fails at writing them.
    pub(super) fn fails_at_rosters(&self, domain: &str) {
        if let Some(grants) = self.lock().grants.get_mut(domain)
            && grants.roster_set
        {
            (grants.roster_set, grants.roster_fails) = (false, true);
            warn!(
                domain,
                "the server grants rosters and fails at writing them; contacts go there by exchange or subscription requests"
            );
        }
    }

    /// What is granted for users of this domain.
    pub(super) fn of(&self, domain: &str) -> Option<Grants> {
        self.lock().grants.get(domain).cloned()
    }

    /// All that is granted, by the server that grants it.
    pub(super) fn all(&self) -> Vec<(String, Grants)> {
        let mut all: Vec<_> =
            self.lock().grants.iter().map(|(domain, grants)| (domain.clone(), grants.clone())).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    fn still_to_wait(&self) -> Option<Duration> {
        let since = self.lock().attached?.elapsed();
        TOLD_WITHIN.checked_sub(since).filter(|rest| !rest.is_zero())
    }

    /// Whether the user has blocked this address at their own server.
    pub(super) fn blocked(&self, user: &BareJid, at: &Address) -> bool {
        let state = self.lock();
        !state.blocked.is_empty()
            && state.blocked.get(user).is_some_and(|all| all.contains(at) || all.contains(&Address::Gateway))
    }
}

/// The domain of a user's server.
pub(super) fn domain(user: &BareJid) -> &str {
    user.as_str().split_once('@').map_or(user.as_str(), |(_, domain)| domain)
}

impl Served {
    /// Whether the user's server lets us publish in their name (XEP-0060 within XEP-0356).
    pub(super) fn may_publish(&self, user: &BareJid) -> bool {
        self.privileges.of(domain(user)).is_some_and(|g| g.iq(ns::PUBSUB, true))
    }
}

impl Core {
    /// A message that may be a server's word on privileges; gives whether it was. Only servers whose users are local are believed.
    pub(super) fn advertised(self: &Arc<Self>, served: &Arc<Served>, heard: &Heard) -> bool {
        let Some(grants) = privilege::advertised(&heard.stanza) else { return false };
        let server = heard.from.full();
        if heard.from.local().is_some() || !served.access().domains.iter().any(|d| d == server) {
            debug!(bridge = %served.instance.name, from = server, "a word on privileges from somebody who has none to give");
            return true;
        }
        info!(bridge = %served.instance.name, server, grants = grants.words().join(", "), "the server grants privileges");
        served.privileges.grant(server, grants);
        let (core, served, server) = (self.clone(), served.clone(), server.to_owned());
        self.tasks.spawn(async move {
            core.fill_rosters(&served, Some(&server)).await;
            core.read_blocks(&served, &server).await;
        });
        true
    }

    /// What is granted for a user; right after an attach the server has a moment to say so.
    pub(super) async fn grants_for(&self, served: &Served, user: &BareJid) -> Option<Grants> {
        let domain = domain(user);
        if let Some(grants) = served.privileges.of(domain) {
            return Some(grants);
        }
        // Nobody else's server can grant anything, so nobody waits for it.
        if !served.access().domains.iter().any(|d| d == domain) {
            return None;
        }
        if let Some(rest) = served.privileges.still_to_wait() {
            tokio::time::sleep(rest).await;
        }
        served.privileges.of(domain)
    }

    /// Asks something of a server in the name of one of its users. The caller has looked at the grants.
    pub(super) async fn ask_as(
        &self,
        served: &Served,
        user: &BareJid,
        kind: &'static str,
        payload: &Element,
    ) -> Result<Option<Element>, Unanswered> {
        let outer = privilege::iq(kind, user.as_str(), &fresh_id(), payload);
        let answer = self.ask(served, &served.instance.domain, user.as_str(), kind, &outer, PATIENCE).await?;
        let answer = answer.ok_or(Unanswered::Silence)?;
        let Some(inner) = privilege::answered(&answer) else { return Err(Unanswered::Silence) };
        if inner.attr("type") == Some("result") {
            return Ok(inner.children().next().cloned());
        }
        let error = inner.children().find(|c| c.name() == "error");
        let condition = error
            .and_then(|e| e.children().find(|c| c.has_ns(ns::STANZAS)))
            .map_or("undefined-condition", |c| c.name());
        Err(Unanswered::Error { condition: condition.to_owned(), text: None })
    }

    /// Reads the block lists of the users of a server, where it lets us (XEP-0191).
    pub(super) async fn read_blocks(&self, served: &Arc<Served>, server: &str) {
        if !served.privileges.of(server).is_some_and(|g| g.iq(ns::BLOCKING, false)) {
            return;
        }
        for user in served.persons().everybody() {
            if domain(&user) != server || served.access().tier(&user) < Tier::Receive {
                continue;
            }
            match self.ask_as(served, &user, "get", &Element::bare("blocklist", ns::BLOCKING)).await {
                Ok(Some(list)) => {
                    let all: HashSet<Address> =
                        list.children().filter_map(|item| ours(served, item.attr("jid")?)).collect();
                    let mut state = served.privileges.lock();
                    if all.is_empty() {
                        state.blocked.remove(&user);
                    } else {
                        state.blocked.insert(user, all);
                    }
                }
                Ok(None) => {}
                Err(e) => debug!(bridge = %served.instance.name, %user, error = %e, "a block list could not be read"),
            }
        }
    }

    /// The same for all servers; every 15 minutes.
    pub(super) async fn read_all_blocks(&self, served: &Arc<Served>) {
        let servers: Vec<String> = served.privileges.lock().grants.keys().cloned().collect();
        for server in servers {
            self.read_blocks(served, &server).await;
        }
    }
}

/// The address that an entry of a block list means, where it is one of this bridge.
fn ours(served: &Served, jid: &str) -> Option<Address> {
    let party = Party::parse(jid)?;
    if party.domain() != &*served.instance.domain {
        return None;
    }
    router::address(served.instance.bridge.addressing(), &party).ok()
}
