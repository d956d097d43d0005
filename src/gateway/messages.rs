//! Messages from XMPP users: to a live bridge at once, to a held one through the outbox, to the gateway itself as a dialogue.

use std::sync::Arc;
use std::time::Instant;

use isthmus_bridge::{
    Abilities, Address, Delivery, DeliveryKey, Intent, Lang, MessageKind, Outbound, Recipient, Registration, SessionOf,
    Text, Ticket, Work,
};
use tracing::{debug, warn};

use super::core::{Core, Served};
use super::live::{Aim, LONGEST, NOWHERE};
use super::receive::{Asked, Heard};
use super::references::{Authored, Found};
use super::rooms::origin;
use crate::access::{Over, Tier};
use crate::inbox::Returned;
use crate::outbox::{Sender, StanzaKind, Withdrawn};
use crate::router::{self, Party};
use crate::storage::fresh_id;
use crate::translate::degrade::{self, Meant};
use crate::translate::outbound::{self, Said};
use crate::xmpp::errors::{ErrorType, StanzaError};
use crate::xmpp::link::Stanza;

impl Core {
    /// A message to a contact of a live bridge. Does not wait.
    pub(super) fn live_message(self: &Arc<Self>, served: &Arc<Served>, heard: &Heard, found: &Found) {
        if served.profile().rooms && self.rooms(served).directly_invited(heard) {
            return;
        }
        if served.profile().rooms && matches!(heard.at, Address::Room(_) | Address::Occupant { .. }) {
            return self.rooms(served).message(heard, found);
        }
        let meant = outbound::message(&heard.stanza, served.profile());
        let intent = match meant {
            outbound::Heard::Nothing | outbound::Heard::Returned(_) => return, // errors of live bridges are not retried
            outbound::Heard::Refused(error) => return self.answer_error(served, &heard.stanza, &error),
            outbound::Heard::Typing(on) => Intent::Typing { on },
            outbound::Heard::Said(said) => {
                match self.admit(served, heard).and_then(|()| self.said_to(served, heard, said, found)) {
                    Ok(intent) => intent,
                    Err(error) => return self.answer_error(served, &heard.stanza, &error),
                }
            }
            // These name a message, and have gone another way.
            outbound::Heard::Mark(_) | outbound::Heard::React(..) | outbound::Heard::Retract(..) => return,
        };
        let quiet = matches!(intent, Intent::Typing { .. });
        if quiet && self.may(served, &heard.from) < Tier::User {
            return;
        }
        let user = heard.from.bare();
        let of = SessionOf::new(user.clone(), served.instance.bridge.addressing().network(&heard.at));
        if let Some(error) = self.too_many_sessions(&user, served, &of) {
            return self.answer_error(served, &heard.stanza, &error);
        }
        let key = DeliveryKey::new(fresh_id());
        let mut event = Outbound::new(key.clone(), user, heard.at.clone(), intent);
        event.lang = lang(&heard.stanza);
        event.at = self.now_millis();
        let mut origin = origin(heard, of.clone(), Aim::Say);
        if let Intent::Send(message) = &event.intent {
            origin.said = Some((heard.at.clone(), message.body.as_str().into()));
        }
        let deadline = tokio::time::Instant::now() + served.profile().answer_within.min(LONGEST);
        let place = if quiet { NOWHERE } else { served.live().expect(key.clone(), origin, deadline) };
        if let Intent::Send(message) = &event.intent {
            served.persons().talked(&event.user, &heard.at, true, &message.body, heard.stanza.id());
        }
        let ticket = Ticket::new(key.clone(), place, served.live().clone());
        if let Err(back) = served.sessions().push(&of, Work::Deliver(Box::new(Delivery::new(event, ticket)))) {
            // Forgotten first: dropping the work answers its ticket, and the sender shall get one error, this one.
            if let Some(origin) = served.live().forget(place, &key) {
                let busy = StanzaError::resource_constraint().with(Text::key("error.busy"));
                self.error_to(served, &origin, &busy);
            }
            drop(back);
        }
    }

    /// A message to a contact of a held bridge: gives the commit that accepts it, or answers at once.
    pub(super) fn held_message(self: &Arc<Self>, served: &Arc<Served>, heard: Heard) -> Option<Asked> {
        let meant = outbound::message(&heard.stanza, served.profile());
        let (core, served) = (self.clone(), served.clone());
        match meant {
            outbound::Heard::Nothing | outbound::Heard::Typing(_) => None,
            outbound::Heard::Refused(error) => {
                self.answer_error(&served, &heard.stanza, &error);
                None
            }
            outbound::Heard::Returned(returned) => {
                Some(Asked { commit: Box::pin(async move { core.returned(&served, returned).await }), alone: false })
            }
            outbound::Heard::Retract(id, reason) => Some(Asked {
                commit: Box::pin(async move { core.retract(&served, heard, &id, reason).await }),
                alone: true,
            }),
            outbound::Heard::React(id, all) => Some(Asked {
                commit: Box::pin(async move { core.react_held(&served, &heard, &id, all).await }),
                alone: true,
            }),
            outbound::Heard::Mark(id) => {
                Some(Asked { commit: Box::pin(async move { core.mark_held(&served, &heard, &id).await }), alone: true })
            }
            outbound::Heard::Said(said) => {
                if let Err(error) = self.admit(&served, &heard) {
                    self.answer_error(&served, &heard.stanza, &error);
                    return None;
                }
                let alone = said.answers.is_some() || said.corrects.is_some();
                Some(Asked { commit: Box::pin(async move { core.say(&served, heard, said).await }), alone })
            }
        }
    }

    /// Commits a message to the outbox; a correction of one that still waits changes that one instead.
    pub(super) async fn say(&self, served: &Arc<Served>, heard: Heard, said: Said) {
        let name = &served.instance.name;
        let sender = sender_of(name, &heard, Some(&said));
        let user = heard.from.bare();
        let recipients = match recipients(served, &heard, &said) {
            Ok(recipients) => recipients,
            Err(error) => return self.answer_error(served, &heard.stanza, &error),
        };
        let Said { mut message, answers, corrects, .. } = said;
        if let Some(id) = &answers {
            message.reply_to = self.reference(served, &user, id).await;
        }
        let in_words = answers.is_some() && (message.reply_to.is_none() || !served.profile().replies);
        if let Some(id) = answers.as_deref().filter(|_| in_words && message.quoted.is_none()) {
            message.quoted = self.words_of(served, &user, &heard.at, id).await;
        }
        let chosen = served.persons().resolved(&user, &heard.at);
        if let Some(id) = &corrects {
            let mut corrected = message.clone();
            if in_words {
                degrade::in_words(&mut corrected, None, &chosen);
            }
            match self.outbox.replace(name, &user, &heard.at, id, *corrected).await {
                Ok(Withdrawn::Queued) => return debug!(bridge = %name, "a queued message was corrected"),
                Ok(_) => {
                    let names = match self.own_reference(served, &heard, id).await {
                        Authored::Own(name) => vec![name],
                        Authored::ByAnother | Authored::Unknown => Vec::new(),
                    };
                    let meant = Meant { names, ..Meant::default() };
                    let can = Abilities::of(served.profile());
                    // What is gone cannot be withdrawn first by a queue: `redact` is for live networks.
                    drop(degrade::correction(&mut message, &meant, can, &chosen, served.profile().correction_prefix));
                }
                Err(e) => return self.answer_error(served, &heard.stanza, &StanzaError::from(&e)),
            }
        }
        if in_words {
            message.reply_to = None;
            degrade::in_words(&mut message, None, &chosen);
        }
        let mut event = Outbound::new(DeliveryKey::new(fresh_id()), user, heard.at.clone(), Intent::Send(message));
        event.to = recipients;
        event.lang = lang(&heard.stanza);
        event.at = self.now_millis();
        let user = event.user.clone();
        let words = match &event.intent {
            Intent::Send(message) => message.body.clone(),
            _ => String::new(),
        };
        if let Err(error) = self.has_room(served, &user, words.len()).await {
            return self.answer_error(served, &heard.stanza, &error);
        }
        if let Err(e) = self.outbox.accept(sender, event).await {
            warn!(bridge = %name, error = %e, "a message was not accepted");
            self.answer_error(served, &heard.stanza, &StanzaError::from(&e));
            return;
        }
        served.persons().talked(&user, &heard.at, true, &words, heard.stanza.id());
        served.met(&user, &heard.at).await;
    }

    /// XEP-0424: what still waits is cancelled; what is gone stays gone, and its sender is told.
    async fn retract(&self, served: &Arc<Served>, heard: Heard, id: &str, reason: Option<String>) {
        let user = heard.from.bare();
        match self.outbox.cancel(&served.instance.name, &user, &heard.at, id).await {
            Ok(Withdrawn::Queued) => debug!(bridge = %served.instance.name, "a queued message was withdrawn"),
            Ok(_) => match self.own_reference(served, &heard, id).await {
                Authored::Own(of) if served.profile().retractions => {
                    self.enqueue(served, &heard, user, Intent::Retract { of, reason }).await;
                }
                Authored::ByAnother => {
                    let error = StanzaError::forbidden().with(Text::key("error.not-yours"));
                    self.answer_error(served, &heard.stanza, &error);
                }
                Authored::Own(_) | Authored::Unknown => self.not_withdrawn(served, &heard),
            },
            Err(e) => self.answer_error(served, &heard.stanza, &StanzaError::from(&e)),
        }
    }

    pub(super) fn not_withdrawn(&self, served: &Arc<Served>, heard: &Heard) {
        let words = self.words(served, &Text::key("note.not-withdrawn"), &lang(&heard.stanza));
        self.note(served, heard.to.full(), heard.from.full(), &words);
    }

    /// The server gives one of ours back.
    pub(super) async fn returned(&self, served: &Arc<Served>, returned: Returned) {
        if let Err(e) = self.inbox.returned(&served.instance.name, returned).await {
            warn!(bridge = %served.instance.name, error = %e, "a bounced message could not be booked");
        }
    }

    /// A message to the gateway's own address: a dialogue (help, register, …). Nothing else is read there.
    pub(super) async fn gateway_message(self: &Arc<Self>, served: &Arc<Served>, heard: &mut Heard, crowded: bool) {
        if heard.stanza.type_() != Some("error") && self.advertised(served, heard) {
            return;
        }
        if heard.stanza.type_() == Some("error") {
            let condition = outbound::error_of(&heard.stanza).condition;
            if heard.from.local().is_none() && matches!(&*condition, "forbidden" | "not-allowed") {
                served.privileges.revoke(heard.from.domain());
            }
            if let Some(id) = heard.stanza.id() {
                let error = outbound::message(&heard.stanza, served.profile());
                if let outbound::Heard::Returned(returned) = error {
                    debug!(bridge = %served.instance.name, id, "a notice came back");
                    self.returned(served, returned).await;
                }
            }
            return;
        }
        // A message that names its recipients by XEP-0033 is addressed to the gateway only as the carrier.
        let meant = outbound::message(&heard.stanza, served.profile());
        if let outbound::Heard::Said(said) = meant
            && !said.addresses.is_empty()
        {
            return match self.admit(served, heard) {
                Ok(()) => self.say_to_many(served, heard, said).await,
                Err(error) => self.answer_error(served, &heard.stanza, &error),
            };
        }
        let Some(body) = heard.stanza.body().filter(|b| !b.trim().is_empty()) else { return };
        if self.may(served, &heard.from) < Tier::User {
            return self.answer_error(served, &heard.stanza, &forbidden());
        }
        if served.profile().rooms && !served.profile().networks {
            // The gateway is the network too: what is not marked as a command is a line for it.
            return match body.trim_start().strip_prefix('!').map(str::to_owned) {
                Some(command) => self.talk(served, heard, command, crowded).await,
                None => self.live_message(served, heard, &Found::default()),
            };
        }
        let words = body.into_owned();
        self.talk(served, heard, words, crowded).await;
    }

    async fn say_to_many(&self, served: &Arc<Served>, heard: &Heard, said: Said) {
        let sender = sender_of(&served.instance.name, heard, Some(&said));
        let recipients = match recipients(served, heard, &said) {
            Ok(recipients) => recipients,
            Err(error) => return self.answer_error(served, &heard.stanza, &error),
        };
        if let Err(error) = self.has_room(served, &heard.from.bare(), said.message.body.len()).await {
            return self.answer_error(served, &heard.stanza, &error);
        }
        let mut event = Outbound::new(
            DeliveryKey::new(fresh_id()),
            heard.from.bare(),
            heard.at.clone(),
            Intent::Send(said.message),
        );
        event.to = recipients;
        event.lang = lang(&heard.stanza);
        event.at = self.now_millis();
        if let Err(e) = self.outbox.accept(sender, event).await {
            self.answer_error(served, &heard.stanza, &StanzaError::from(&e));
        }
    }

    /// Whether this sender may send to this address now: tier, registration, blocks, quota.
    pub(super) fn admit(&self, served: &Arc<Served>, heard: &Heard) -> Result<(), StanzaError> {
        if self.may(served, &heard.from) < Tier::User {
            return Err(forbidden());
        }
        let user = heard.from.bare();
        if served.profile().registration == Registration::Required && !served.host().registered(&user) {
            return Err(StanzaError::registration_required()
                .with(Text::key("error.not-registered").with("gateway", &served.instance.domain)));
        }
        if matches!(heard.at, Address::Contact(_)) && served.host().blocked(&user, &heard.at) {
            // XEP-0191 section 3.3: a message to somebody whom one has blocked.
            return Err(StanzaError::not_acceptable().with(Text::key("error.blocked-by-you")));
        }
        let limiter = served.limiter();
        if limiter.is_open() {
            return Ok(());
        }
        limiter.take(&user, 1, Instant::now()).map_err(|over| over_quota(&over))
    }

    /// Words for somebody; to a network itself, a line in its own language.
    fn said_to(
        self: &Arc<Self>,
        served: &Arc<Served>,
        heard: &Heard,
        said: Said,
        found: &Found,
    ) -> Result<Intent, StanzaError> {
        let to_network = matches!(heard.at, Address::Network(_) | Address::Gateway) && served.profile().rooms;
        if !to_network {
            let of = SessionOf::new(heard.from.bare(), served.network(&heard.at));
            let (message, before) = self.carried(served, heard, &of, said, found);
            self.withdraw_first(served, heard, &of, before);
            return Ok(Intent::Send(message));
        }
        let line = heard.stanza.body().unwrap_or_default().trim_end_matches('\n').to_owned();
        if line.contains(['\r', '\n', '\0']) {
            return Err(StanzaError::not_acceptable().with(Text::key("error.one-line")));
        }
        Ok(Intent::Raw { line })
    }

    /// What the access rules make of a sender on this bridge.
    pub(super) fn may(&self, served: &Served, from: &Party) -> Tier {
        served.tier(&from.bare())
    }
}

fn forbidden() -> StanzaError {
    StanzaError::forbidden().with(Text::key("error.not-allowed-here"))
}

/// A quota is told with the time at which it passes.
fn over_quota(over: &Over) -> StanzaError {
    let text = Text::key("error.quota").with("limit", over.limit).with("seconds", over.passes_in.as_secs() + 1);
    StanzaError::new(ErrorType::Wait, "policy-violation").with(text)
}

/// The language of a stanza's texts; [unsaid](Lang::unsaid), which reads as English, where it does not say.
pub(super) fn lang(stanza: &Stanza) -> Lang {
    stanza.lang().map_or_else(Lang::unsaid, Lang::from)
}

pub(super) fn sender_of(bridge: &str, heard: &Heard, said: Option<&Said>) -> Sender {
    let message = said.map(|said| &said.message);
    Sender {
        bridge: bridge.to_owned(),
        from_full: heard.from.full().to_owned(),
        to: heard.to.full().to_owned(),
        stanza_id: heard.stanza.id().map(str::to_owned),
        kind: match message.map(|m| m.kind) {
            Some(MessageKind::Group) => StanzaKind::Groupchat,
            Some(MessageKind::Normal) => StanzaKind::Normal,
            _ => StanzaKind::Chat,
        },
        lang: heard.stanza.lang().map(str::to_owned),
        wants_receipt: said.is_some_and(|s| s.wants_receipt),
        wants_marker: said.is_some_and(|s| s.wants_marker),
        thread: message.and_then(|m| m.thread.clone()),
    }
}

/// The address written to, and those of XEP-0033; each of them must be a contact of this bridge.
fn recipients(served: &Served, heard: &Heard, said: &Said) -> Result<Vec<Recipient>, StanzaError> {
    let mut all = Vec::with_capacity(1 + said.addresses.len());
    if heard.at != Address::Gateway {
        all.push(Recipient::to(heard.at.clone()));
    }
    for (kind, jid) in &said.addresses {
        let elsewhere =
            || StanzaError::not_acceptable().with(Text::key("error.address-elsewhere").with("address", jid));
        let party = Party::parse(jid)
            .ok_or_else(|| StanzaError::jid_malformed().with(Text::key("error.not-a-jid").with("jid", jid)))?;
        if party.domain() != &*served.instance.domain {
            return Err(elsewhere());
        }
        // A national number is completed by the sender's country, as in the `to` of a stanza.
        let settings = || served.persons().resolved(&heard.from.bare(), &Address::Gateway);
        match router::address_for(served.instance.bridge.addressing(), &party, &settings) {
            Ok(address @ Address::Contact(_)) if !all.iter().any(|r| r.address == address) => {
                all.push(Recipient::new(address, *kind))
            }
            Ok(Address::Contact(_)) => {}
            Ok(_) => return Err(elsewhere()),
            Err(bad) => return Err(StanzaError::from(&bad)),
        }
    }
    let limit = served.profile().max_recipients;
    if all.len() > limit {
        return Err(StanzaError::not_acceptable().with(Text::key("error.too-many-addresses").with("limit", limit)));
    }
    Ok(all)
}
