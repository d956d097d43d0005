//! Servers of a user's own choice.
//!
//! What all sessions on one network share (who is who, whether it speaks TLS, its policies) is what its servers say. A user may set another server for a
//! network: what that one says counts for this user alone, or one user could tell the others who somebody is, or lock them out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use isthmus_bridge::{Address, BareJid, Change, Resolved};
use tokio::time::Instant;

use super::Session;
use super::life::{SPACE_STS, SPACE_TLS};
use crate::network::Policy;
use crate::proto::isupport::Casemapping;
use crate::settings;

/// How long a connection waits before it asks the store again.
const STORE_AWAY: Duration = Duration::from_secs(5);

impl Session {
    /// The server that the settings name, where the administrator's settings name another one. TLS ports and plain ones of the same host that are
    /// among the administrator's are no other server.
    fn own_server(&self) -> Option<Box<str>> {
        let common = self.common();
        let (own, usual) = (settings::ports(&self.settings).all, settings::ports(&common).all);
        let same = self.host_of(&self.settings) == self.host_of(&common) && own.iter().all(|port| usual.contains(port));
        (!same).then(|| format!("{} {own:?}", self.host_of(&self.settings)).into())
    }

    /// What is in force on the network for somebody who has chosen nothing.
    fn common(&self) -> Arc<Resolved> {
        self.host.resolved(&BareJid::from(""), &Address::Network(self.of.network.clone()))
    }

    /// Whether the server is the user's own choice: what it says counts for them alone.
    pub(super) fn is_apart(&self) -> bool {
        self.rare.as_ref().is_some_and(|r| r.own_server.is_some())
    }

    /// A secret for the server. One that an administrator has set is for the network's, and not told to a server of the user's own choice.
    pub(super) fn secret(&self, key: &str) -> Option<&str> {
        let set = self.settings.get(key)?;
        (!self.is_apart() || self.common().get(key) != Some(set)).then_some(set)
    }

    /// The host that settings name, in the form in which two names of one host are equal.
    fn host_of(&self, settings: &Resolved) -> String {
        self.named_host(settings).trim_end_matches('.').to_ascii_lowercase()
    }

    /// The server's name or address, as the settings in force spell it.
    pub(super) fn server_host(&self) -> String {
        self.named_host(&self.settings).to_owned()
    }

    fn named_host<'a>(&'a self, settings: &'a Resolved) -> &'a str {
        settings.get(settings::ADDRESS).unwrap_or(self.of.network.as_str()).trim()
    }

    /// Where the administrator names the networks that may be used: what is asked for and is not among them, the network or a server of the user's
    /// own choice, which is as good as another network.
    pub(super) fn not_allowed(&self) -> Option<String> {
        let allowed = &self.shared.config.allowed_networks;
        let named = |name: &str| allowed.iter().any(|one| one == name);
        if allowed.is_empty() {
            return None;
        }
        if !named(self.of.network.as_str()) {
            return Some(self.of.network.as_str().to_owned());
        }
        let own = self.host_of(&self.settings);
        (own != self.host_of(&self.common()) && !named(&own)).then_some(own)
    }

    /// Before a connection: what is shared with others, or with nobody.
    pub(super) fn choose_network(&mut self) {
        let own = self.own_server();
        if self.rare.as_ref().and_then(|r| r.own_server.as_ref()) == own.as_ref() {
            return;
        }
        self.network = if own.is_some() { Arc::default() } else { self.shared.networks.get(&self.of.network) };
        self.people = self.network.people(Casemapping::Ascii);
        self.refold_rooms();
        self.rare().own_server = own;
    }

    /// Under which name it is kept how the server is spoken to.
    fn trust(&self) -> String {
        match self.rare.as_ref().and_then(|r| r.own_server.as_deref()) {
            Some(server) => format!("{} {} {server}", self.of.network, self.of.user),
            None => self.of.network.as_str().to_owned(),
        }
    }

    /// Keeps, or forgets, how the server is spoken to.
    pub(super) fn keep_trust(&mut self, change: impl FnOnce(String) -> Change) {
        let change = change(self.trust());
        self.changes.push(if self.is_apart() { change.of(self.of.user.clone()) } else { change });
    }

    /// What is kept of how the server is spoken to; `false`: nobody can say now.
    pub(super) async fn restore_trust(&mut self) -> bool {
        self.choose_network();
        if self.network.remembered.load(Ordering::Relaxed) {
            return true;
        }
        let key = self.trust();
        let (tls, policy) = (self.host.load(SPACE_TLS, &key).await, self.host.load(SPACE_STS, &key).await);
        let (Ok(tls), Ok(policy)) = (tls, policy) else { return false };
        if tls.is_some() {
            self.network.spoke_tls.store(true, Ordering::Relaxed);
        }
        if self.network.policy().is_none()
            && let Some(kept) = policy
        {
            self.network.keep_policy(Policy::read(&kept));
        }
        self.network.remembered.store(true, Ordering::Relaxed);
        true
    }

    /// The same for a connection that waits for it. While the store is away there is none: it could be one in clear.
    pub(super) async fn learn_trust(&mut self) {
        self.rare().asks_trust = false;
        if self.restore_trust().await {
            self.connect();
        } else {
            self.retry_at = Some(Instant::now() + STORE_AWAY);
        }
    }
}
