//! What a change of the access rules means for those who are here: who may use the gateway no more is told once and taken out of everything; who may
//! again is shown what they could not see.

use std::sync::Arc;

use isthmus_bridge::{Address, BareJid, SessionOf, Text};
use tracing::info;

use super::core::{Core, PRESENCE, Served};
use super::presence::simple;
use super::running::keep_up_of;
use crate::access::{Policy, Tier};
use crate::storage::people::Subscription;

impl Core {
    /// The rules were these before; from now on those of [`Served::access`] hold. Does its work in the background.
    pub(super) fn rights_changed(self: &Arc<Self>, served: &Arc<Served>, before: Arc<Policy>) {
        let (core, served) = (self.clone(), served.clone());
        self.tasks.spawn(async move { core.apply_rights(&served, &before).await });
    }

    async fn apply_rights(self: &Arc<Self>, served: &Arc<Served>, before: &Policy) {
        let mut users = served.sessions().users();
        users.extend(served.persons().everybody());
        users.sort();
        users.dedup();
        for user in users {
            // A room that the gateway is a guest of is no user whom a rule could meet.
            if served.guest(&user).is_some() {
                continue;
            }
            let (was, is) = (before.tier(&user), served.tier(&user));
            if was == is {
                continue;
            }
            if is < Tier::User && was >= Tier::User {
                self.turn_out(served, &user, is);
            }
            if is == Tier::Blocked {
                self.hide_from(served, &user);
            } else if was == Tier::Blocked {
                self.appear_to(served, &user);
            }
            if is >= Tier::User && was < Tier::User {
                keep_up_of(served, &user).await;
            }
            served.link().room(PRESENCE).await;
        }
    }

    /// Ends what a user has running. They are told why, once: in the rooms they are taken out of, and by a message.
    fn turn_out(self: &Arc<Self>, served: &Arc<Served>, user: &BareJid, is: Tier) {
        let why = Text::key(if is == Tier::Blocked { "note.turned-out" } else { "note.may-only-receive" });
        let words = self.words(served, &why, &self.languages.of(user));
        self.note(served, &served.instance.domain, user.as_str(), &words);
        self.rooms(served).turn_out(user, &why);
        let all = served.sessions().of(user);
        info!(bridge = %served.instance.name, %user, tier = is.name(), sessions = all.len(), "the access rules end what a user has running");
        for of in all {
            served.sessions().dismiss(&of);
            served.outside(&of);
        }
    }

    /// Whoever may see nothing any more sees everybody leave.
    fn hide_from(&self, served: &Served, user: &BareJid) {
        for from in seen_by(served, user).filter_map(|at| served.jid(&at)) {
            self.send(served, &simple(&from, user.as_str(), "unavailable", None));
        }
    }

    fn appear_to(&self, served: &Served, user: &BareJid) {
        for at in seen_by(served, user) {
            self.show(served, &at, user.as_str());
        }
    }
}

/// The addresses whose presence a user is subscribed to.
fn seen_by(served: &Served, user: &BareJid) -> impl Iterator<Item = Address> {
    let all = served.persons().subscriptions(user).into_iter();
    all.filter(|(_, contact)| contact.sees == Subscription::Yes).map(|(at, _)| at)
}

impl Served {
    /// Whether a session may run for this user.
    pub(super) fn may_run(&self, of: &SessionOf) -> bool {
        self.tier(&of.user) >= Tier::User
    }
}
