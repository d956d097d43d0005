//! One user's presence on one network of Loopback.

use std::time::Duration;

use super::address::name_of;
use super::{Loopback, emit, people};
use crate::address::{Address, ContactId, RoomId};
use crate::bridge::{Abilities, Mode};
use crate::error::{BridgeError, DeliveryError, Failure, Refused};
use crate::host::{Change, Host, Late, LinkState, MessageRef, SessionOf};
use crate::inbound::{Event, Inbound, RoomChange};
use crate::inbox::{Ask, Inbox, Work};
use crate::message::{DeliveryKey, ForeignMessageId, Message, OnceKey};
use crate::outbound::{Delivery, Intent, Outbound};
use crate::query::{Part, ProbeKind, Query, Reply};
use crate::settings::Values;
use crate::text::Text;
use crate::ticket::{Leg, Ticket};

/// What a `slow` contact takes.
const SLOW: Duration = Duration::from_secs(10);
/// The number of an event's first try.
const FIRST: u32 = 0;
/// What a `flood` contact sends.
const FLOOD: usize = 100_000;

pub(super) async fn run(net: &Loopback, of: SessionOf, mut inbox: Inbox, host: Host) -> Result<(), BridgeError> {
    host.report(&of, LinkState::Connecting).await;
    host.report(&of, LinkState::Up).await;
    let mut session = Session { net, of, host, end: None, lost: Vec::new() };
    while let Some(work) = inbox.recv().await {
        match work {
            Work::Deliver(delivery) => session.on_delivery(*delivery).await,
            Work::Ask(ask) => session.on_question(*ask),
            Work::SettingsChanged(at) => session.on_settings(at).await,
        }
        if let Some(end) = session.end.take() {
            net.rooms.leave_all(net, &session.of).await;
            return end;
        }
    }
    net.rooms.leave_all(net, &session.of).await;
    Ok(())
}

struct Session<'a> {
    net: &'a Loopback,
    of: SessionOf,
    host: Host,
    /// Set when the session is to return.
    end: Option<Result<(), BridgeError>>,
    /// Rooms to enter again when the link is mended, with the nick there.
    lost: Vec<(RoomId, String)>,
}

impl Session<'_> {
    async fn on_delivery(&mut self, Delivery { event, ticket, .. }: Delivery) {
        let to = event.to.first().map_or(Address::Gateway, |r| r.address.clone());
        match to {
            Address::Contact(_) => self.carry(event, ticket).await,
            Address::Room(_) | Address::Occupant { .. } => self.to_room(to, event, ticket).await,
            Address::Gateway | Address::Network(_) => self.for_network(to, event, ticket).await,
        }
    }

    async fn to_room(&self, to: Address, event: Outbound, ticket: Ticket) {
        if ticket.starting().await.is_err() {
            return;
        }
        match self.net.rooms.on_intent(self.net, &self.of, &self.host, to, event).await {
            Ok(ids) => ticket.done(vec![Leg::sent(None, ids)]),
            Err(error) => ticket.failed(error),
        }
    }

    async fn for_network(&mut self, to: Address, event: Outbound, ticket: Ticket) {
        if ticket.starting().await.is_err() {
            return;
        }
        match event.intent {
            Intent::Raw { line } if line == "break" => {
                self.lost = self.net.rooms.lose_all(self.net, &self.of, true).await;
                ticket.sent(None);
            }
            Intent::Raw { line } if line == "mend" => {
                self.enter_again().await;
                ticket.sent(None);
            }
            Intent::Raw { line } if line == "read" => {
                for (room, nick, id) in self.net.rooms.said_to(&self.of) {
                    let of = MessageRef::foreign(self.of.network.clone(), id);
                    self.emit_from(Address::Occupant { room, nick }, Event::Marked { of }).await;
                }
                ticket.sent(None);
            }
            Intent::Raw { line } if line == "lose" => {
                self.net.rooms.lose_all(self.net, &self.of, false).await;
                ticket.sent(None);
            }
            Intent::Raw { line } if matches!(&*line, "moderate" | "unmoderate" | "known") => {
                self.net.rooms.moderate(self.net, &self.of, &line).await;
                ticket.sent(None);
            }
            Intent::Raw { line } if matches!(&*line, "plain" | "uncorrected" | "rich") => {
                let mut can = Abilities::of(&self.net.profile);
                match &*line {
                    "plain" => {
                        (can.reactions, can.corrections, can.retractions, can.replies) = (false, false, false, false);
                    }
                    "uncorrected" => can.corrections = false,
                    _ => {}
                }
                self.host.able(&self.of, can);
                ticket.sent(None);
            }
            Intent::Raw { line } => {
                let notice = Event::Notice { text: Text::plain(line), about: None, actions: Vec::new() };
                self.emit_from(to, notice).await;
                ticket.sent(None);
            }
            Intent::Presence { away, .. } => {
                self.net.rooms.away(self.net, &self.of, away).await;
                ticket.sent(None);
            }
            Intent::Undelivered { of, once, .. } => {
                let name = once.map(|o| o.to_string()).or(of.map(|o| o.to_string())).unwrap_or_default();
                match self.host.store(vec![Change::put("undelivered", name, "")]).await {
                    Ok(()) => ticket.sent(None),
                    Err(e) => ticket.failed(DeliveryError::temporary(Failure::Unreachable, e.to_string())),
                }
            }
            _ => ticket.failed(unsupported()),
        }
    }

    /// Into the rooms of before; nobody waits for a ticket.
    async fn enter_again(&mut self) {
        for (room, nick) in std::mem::take(&mut self.lost) {
            let at = Address::Room(room);
            let intent = Intent::Join { nick, password: None };
            let event = Outbound::new(DeliveryKey::new("again"), self.of.user.clone(), at.clone(), intent);
            if let Err(error) = self.net.rooms.on_intent(self.net, &self.of, &self.host, at.clone(), event).await {
                self.emit_from(at, Event::Room(RoomChange::Refused { error, redirect: None })).await;
            }
        }
    }

    async fn carry(&mut self, event: Outbound, ticket: Ticket) {
        let contacts: Vec<ContactId> = event
            .to
            .iter()
            .filter_map(|r| match &r.address {
                Address::Contact(contact) => Some(contact.clone()),
                _ => None,
            })
            .collect();
        if contacts.iter().any(|c| name_of(c.as_str()) == "drop-ticket") {
            return;
        }
        if ticket.starting().await.is_err() {
            return;
        }
        let single = contacts.len() == 1;
        let mut legs = Vec::new();
        for contact in contacts {
            let name = name_of(contact.as_str());
            if name == "lose-ticket" {
                return;
            }
            self.misbehave(name, &contact).await;
            let to = (!single).then(|| contact.clone());
            legs.push(match self.to_contact(&contact, &event).await {
                Ok(ids) => Leg::sent(to, ids),
                Err(error) => Leg::failed(to, error),
            });
        }
        let delivered: Vec<_> = legs.iter().filter(|l| l.result.is_ok()).flat_map(|l| l.ids.clone()).collect();
        ticket.done(legs);
        for id in delivered {
            self.report_delivered(id).await;
        }
    }

    /// The switches that the supervisor's tests use.
    async fn misbehave(&mut self, name: &str, contact: &ContactId) {
        match name {
            "panic" => panic!("loopback was told to panic"),
            "hang" => std::future::pending().await,
            "flood" => self.flood(contact),
            "slow" => tokio::time::sleep(SLOW).await,
            "end" => self.end = Some(Ok(())),
            "fail" => self.end = Some(Err(BridgeError::Operator("loopback was told to fail".to_owned()))),
            _ => {}
        }
    }

    fn flood(&self, contact: &ContactId) {
        for i in 0..FLOOD {
            let message = Event::Message(Box::new(Message::chat(format!("flood {i}"))));
            // A bridge with a fault: takes no heed of Full.
            let _ = self.host.emit(Inbound::new(self.of.user.clone(), Address::Contact(contact.clone()), message));
        }
    }

    /// Hands an event to one contact, and gives the ids under which it went.
    async fn to_contact(&self, contact: &ContactId, event: &Outbound) -> Result<Vec<ForeignMessageId>, DeliveryError> {
        let name = name_of(contact.as_str());
        match name {
            "refuse" => {
                let text = Text::key("no-such-contact").with("name", name);
                return Err(DeliveryError::new(Failure::NoSuchRecipient, text).with_code("404"));
            }
            "later" if event.attempt > FIRST => {}
            "busy" | "later" => {
                return Err(DeliveryError::temporary(Failure::Unreachable, Text::key("busy").with("name", name)));
            }
            "unsure" => return Err(DeliveryError::uncertain(Text::key("lost").with("name", name))),
            _ => {}
        }
        let id = ForeignMessageId::new(format!("{}-{name}", event.key));
        if name == "early" {
            self.report_delivered(id.clone()).await;
        }
        let from = Address::Contact(contact.clone());
        if let Intent::Send(message) = &event.intent
            && let Some((from, told)) = people::told(&self.host, &self.of, contact, message).await
        {
            self.answer(from, told, &id).await?;
            return Ok(vec![id]);
        }
        match mirror(&event.intent) {
            Some(said) => self.answer(from, said, &id).await?,
            None => match &event.intent {
                Intent::Subscribe { .. } => self.answer_subscription(from, contact.as_str().starts_with("shy")).await,
                Intent::Unsubscribe | Intent::Block | Intent::Unblock | Intent::Presence { .. } => {}
                _ => return Err(unsupported()),
            },
        }
        Ok(vec![id])
    }

    async fn answer(&self, from: Address, said: Event, id: &ForeignMessageId) -> Result<(), DeliveryError> {
        let mut event = self.inbound(from, said);
        event.id = Some(ForeignMessageId::new(format!("re-{id}")));
        if self.net.profile.mode == Mode::Live {
            emit(&self.host, event).await;
            return Ok(());
        }
        event.once = Some(OnceKey::new(format!("re-{id}")));
        match self.host.accept(vec![event]).await.pop() {
            Some(Ok(())) => Ok(()),
            Some(Err(Refused::Never(error))) => Err(error),
            _ => Err(DeliveryError::temporary(Failure::Unreachable, Text::key("busy").with("name", "store"))),
        }
    }

    async fn answer_subscription(&self, from: Address, shy: bool) {
        if shy {
            let reason = Some(Text::key("shy"));
            return self.emit_from(from, Event::SubscribeAnswered { accepted: false, reason }).await;
        }
        self.emit_from(from.clone(), Event::SubscribeAnswered { accepted: true, reason: None }).await;
        let status = Some(Text::key("status"));
        self.emit_from(from, Event::Presence { available: true, away: false, status, nick: None }).await;
    }

    async fn report_delivered(&self, id: ForeignMessageId) {
        // A receipt that the store does not take is only a receipt.
        let _ = self.host.outcome(MessageRef::foreign(self.of.network.clone(), id), None, Late::Delivered).await;
    }

    /// Shows what is in force now, so that tests see the levels at work.
    async fn on_settings(&self, at: Address) {
        let now = self.host.resolved(&self.of.user, &at);
        let text = Text::key("settings-now").with("nick", now.str("nick")).with("encoding", now.str("encoding"));
        self.emit_from(at, Event::Notice { text, about: None, actions: Vec::new() }).await;
    }

    fn on_question(&self, Ask { query, reply, .. }: Ask) {
        match query {
            Query::Rooms { filter } => self.net.rooms.list(self.net, &self.of.network, filter.as_deref(), reply),
            Query::About(who) => self.about(&who, reply),
            Query::Probe { what, .. } => probe(what, reply),
            Query::Affiliates { room, list } => self.net.rooms.affiliates(&room, &list, reply),
            Query::RoomConfig(room) => self.net.rooms.config(&room, reply),
            Query::Search(values) => people::search(&self.of.network, &values, reply),
        }
    }

    fn about(&self, who: &Address, mut reply: Reply) {
        let name = match who {
            Address::Contact(contact) => name_of(contact.as_str()),
            Address::Occupant { nick, .. } => nick,
            _ => return reply.failed(unsupported()),
        };
        if name == "refuse" {
            let text = Text::key("no-such-contact").with("name", name);
            return reply.failed(DeliveryError::new(Failure::NoSuchRecipient, text));
        }
        let facts = Values::new().with("nick", name).with("host", format!("{name}@loop.invalid"));
        reply.part(Part::Facts(facts));
        reply.part(Part::Facts(Values::new().with("idle", "42")));
        reply.done();
    }

    fn inbound(&self, from: Address, event: Event) -> Inbound {
        let mut event = Inbound::new(self.of.user.clone(), from, event);
        event.at = self.host.now();
        event
    }

    async fn emit_from(&self, from: Address, event: Event) {
        emit(&self.host, self.inbound(from, event)).await;
    }
}

/// What a contact does in answer to the same done to them.
fn mirror(intent: &Intent) -> Option<Event> {
    Some(match intent.clone() {
        Intent::Send(message) => Event::Message(message),
        Intent::Mark { of: Some(of), .. } => Event::Marked { of },
        Intent::Typing { on } => Event::Typing { on, private: true },
        Intent::React { of, add, remove } => Event::Reacted { of, add, remove },
        Intent::Retract { of, reason } => Event::Retracted { of, by: None, reason },
        _ => return None,
    })
}

fn probe(what: ProbeKind, mut reply: Reply) {
    reply.part(match what {
        ProbeKind::Ping => Part::RoundTrip(Duration::from_millis(3)),
        ProbeKind::Version => Part::Words(Text::plain("loopback 1")),
        ProbeKind::Time => Part::Words(Text::plain("noon")),
        ProbeKind::Last => Part::Words(Text::plain("just now")),
    });
    reply.done();
}

pub(super) fn unsupported() -> DeliveryError {
    DeliveryError::new(Failure::Unsupported, Text::key("unsupported"))
}
