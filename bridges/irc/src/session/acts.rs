//! What is done to a message that is there already: reactions (`+draft/react`), withdrawals (`draft/message-redaction`); and what the core is told of which of them this connection carries.

use std::time::SystemTime;

use isthmus_bridge::{
    Abilities, Address, Delivery, DeliveryKey, Event, ForeignMessageId, Host, Inbound, Intent, Message, MessageRef,
    Origin, Outbound,
};

use super::answers::What;
use super::chat::{msgid, reply_tag};
use super::speak::{LEAST_LINE, To};
use super::{Session, unsupported, view};
use crate::proto::caps::Caps;
use crate::proto::line::Line;
use crate::proto::write;
use crate::settings;
use crate::translate::{encoding, formatting};

/// Bytes of one reaction; what is longer is none.
const MAX_REACTION: usize = 64;
/// Steps of one change of reactions that are sent.
const MAX_STEPS: usize = 10;
/// Withdrawals that wait to be told.
const MAX_WITHDRAWN: usize = 100;

/// Something that is done to a message.
pub(super) enum Act {
    React { add: Vec<String>, remove: Vec<String> },
    Retract { reason: Option<String> },
    Mark { at: Option<SystemTime> },
}

impl Act {
    pub(super) fn of(intent: &Intent) -> Option<Self> {
        match intent {
            Intent::React { add, remove, .. } => Some(Self::React { add: add.clone(), remove: remove.clone() }),
            Intent::Retract { reason, .. } => Some(Self::Retract { reason: reason.clone() }),
            Intent::Mark { at, .. } => Some(Self::Mark { at: *at }),
            _ => None,
        }
    }
}

/// A message that somebody has withdrawn.
#[derive(Debug)]
pub(super) struct Withdrawn {
    /// The room or the nick's own address.
    place: Address,
    by: String,
    event: Inbound,
}

impl Session {
    // From the user.

    /// Whether the event speaks of another message, whose name on the network has to be looked up.
    pub(super) fn needs_looking_up(&self, event: &Outbound) -> bool {
        match &event.intent {
            Intent::Send(message) => message.reply_to.is_some() || self.is_for_paste(event),
            Intent::React { .. } | Intent::Retract { .. } => true,
            _ => false,
        }
    }

    /// Finds what the network calls the message that an event is about.
    pub(super) async fn look_up(&mut self, delivery: &mut Delivery) {
        let of = match &delivery.event.intent {
            Intent::Send(message) => message.reply_to.as_ref(),
            Intent::React { of, .. } | Intent::Retract { of, .. } => Some(of),
            _ => None,
        };
        if let Some(of) = of.cloned() {
            let found = match &of {
                MessageRef::Foreign { network, id } if *network == self.of.network => vec![id.clone()],
                MessageRef::Foreign { .. } => Vec::new(),
                of => match self.host.find(of).await {
                    Ok(known) => known.map(|known| known.ids).unwrap_or_default(),
                    Err(error) => {
                        tracing::warn!(user = %self.of.user, network = %self.of.network, %error, "a message could not be looked up");
                        Vec::new()
                    }
                },
            };
            self.rare().about = found;
        }
        if self.is_for_paste(&delivery.event)
            && let Intent::Send(message) = &mut delivery.event.intent
        {
            paste(&self.host.clone(), &delivery.event.user.clone(), message).await;
        }
    }

    /// Whether a text is to become a link: the user wants that, and it makes too many lines.
    fn is_for_paste(&self, event: &Outbound) -> bool {
        let (Intent::Send(message), Some(to)) = (&event.intent, event.to.first()) else { return false };
        let most = || usize::try_from(self.settings.number(settings::MAX_LINES)).unwrap_or(5).max(1);
        let body = message.body.as_str();
        (body.len() > LEAST_LINE || body.bytes().fold(0, |found, b| found | u8::from(b == b'\n')) != 0)
            && self.settings.str(settings::LONG_TEXTS) == settings::PASTE
            && !self.says_in_one(message)
            && self.lines_of(&to.address, message) > most()
    }

    /// Does it, or says that it cannot be done here.
    pub(super) fn act(&mut self, to: To, act: Act, delivery: Box<Delivery>) {
        let Delivery { event, ticket, .. } = *delivery;
        match act {
            Act::React { add, remove } => self.react(&to, (add, remove), &event.key, ticket),
            Act::Retract { reason } => self.withdraw(&to, reason.as_deref(), &event.key, ticket),
            Act::Mark { at } => {
                if let Some(at) = at {
                    self.mark(&to.name, at);
                }
                ticket.sent(None);
            }
        }
    }

    fn reacts_by_tag(&self) -> bool {
        let takes =
            |l: &super::Link| l.takes_tag("draft/react") && (l.takes_tag("reply") || l.takes_tag("draft/reply"));
        self.link.as_ref().is_some_and(|l| takes(l))
    }

    /// One line for each step.
    fn react(
        &mut self,
        to: &To,
        (add, remove): (Vec<String>, Vec<String>),
        key: &DeliveryKey,
        ticket: isthmus_bridge::Ticket,
    ) {
        let Some(id) = self.about().first().cloned().filter(|_| self.reacts_by_tag()) else {
            return ticket.sent(None);
        };
        let good = |one: &&String| !one.is_empty() && one.len() <= MAX_REACTION;
        let (add, remove): (Vec<String>, Vec<String>) =
            (add.iter().filter(good).cloned().collect(), remove.iter().filter(good).cloned().collect());
        let steps = remove.iter().map(|r| ("+draft/unreact", r)).chain(add.iter().map(|r| ("+draft/react", r)));
        let mut lines: Vec<Vec<u8>> = steps
            .take(MAX_STEPS)
            .map(|(tag, reaction)| {
                let tags = [("+reply", id.as_str()), ("+draft/reply", id.as_str()), (tag, reaction.as_str())];
                write::tags(&tags, &to.name)
            })
            .collect();
        let last = lines.pop();
        lines.into_iter().for_each(|line| self.send(line));
        match last {
            Some(last) if self.has_cap(Caps::LABELS) => {
                let target = self.fold(&to.name);
                self.send_for(last, What::React { target }, ticket);
            }
            last => {
                last.into_iter().for_each(|line| self.send(line));
                ticket.sent(None);
            }
        }
        // The server's copy would say the same again; which of them is kept is the core's affair (a step counts once).
        if to.room.is_some() {
            let of = MessageRef::foreign(self.of.network.clone(), id);
            self.tell_own(to, key, Event::Reacted { of, add, remove });
        }
    }

    fn withdraw(&mut self, to: &To, reason: Option<&str>, key: &DeliveryKey, ticket: isthmus_bridge::Ticket) {
        if !self.has_cap(Caps::REDACTION) {
            return ticket.failed(unsupported());
        }
        let mut ids = std::mem::take(&mut self.rare().about);
        let Some(last) = ids.pop() else {
            let text = isthmus_bridge::Text::key("message-unknown");
            return ticket.failed(isthmus_bridge::DeliveryError::new(isthmus_bridge::Failure::NoSuchRecipient, text));
        };
        let line = |id: &ForeignMessageId| match reason.filter(|r| !r.trim().is_empty()) {
            Some(reason) => self.worded(&["REDACT", &to.name, id.as_str()], reason, 0),
            None => write::line("REDACT", &[&to.name, id.as_str()]),
        };
        let (others, redacts) = (ids.iter().map(line).collect::<Vec<_>>(), line(&last));
        others.into_iter().for_each(|line| self.send(line));
        let target = self.fold(&to.name);
        if self.has_cap(Caps::ECHO) {
            return self.send_for(redacts, What::Redact { target, id: last }, ticket);
        }
        self.send(redacts);
        ticket.sent(None);
        if to.room.is_some() {
            let of = MessageRef::foreign(self.of.network.clone(), last);
            self.tell_own(to, key, Event::Retracted { of, by: None, reason: reason.map(str::to_owned) });
        }
    }

    /// What the user has done in a room, for the others of their clients.
    fn tell_own(&mut self, to: &To, key: &DeliveryKey, event: Event) {
        let Some(room) = self.room(&to.name) else { return };
        let own = view(&room.view).nick().to_owned();
        let mut inbound = Inbound::new(self.of.user.clone(), room.occupant(&own), event);
        inbound.at = self.host.now();
        inbound.echo_of = Some((key.clone(), 0));
        self.push(inbound);
    }

    /// Says what this connection carries.
    pub(super) fn tell_abilities(&self) {
        if !self.is_up() {
            return;
        }
        let mut now = Abilities::of(&self.shared.profile);
        let takes = |name: &str| self.link.as_ref().is_some_and(|l| l.takes_tag(name));
        now.typing = takes("typing");
        now.replies = takes("reply") || takes("draft/reply");
        now.reactions = self.reacts_by_tag();
        now.retractions = self.has_cap(Caps::REDACTION);
        now.markers = self.has_cap(Caps::READ_MARKER);
        self.host.able(&self.of, now);
    }

    // From the network.

    /// A reaction, with words or without; `true`: there was one.
    pub(super) fn on_reaction(&mut self, line: &Line<'_>, target: &str, in_room: bool) -> bool {
        let (tag, on) = match (line.tag("+draft/react"), line.tag("+draft/unreact")) {
            (Some(tag), _) => (tag, true),
            (None, Some(tag)) => (tag, false),
            (None, None) => return false,
        };
        let reaction = encoding::clean(&tag).trim().to_owned();
        let Some(of) = reply_tag(line).filter(|_| !reaction.is_empty() && reaction.len() <= MAX_REACTION) else {
            return false;
        };
        let nick = line.source.nick();
        let from = if in_room {
            let Some(room) = self.room(target) else { return true };
            room.occupant(nick)
        } else if self.is_own(nick) {
            return true;
        } else {
            self.talk_address(nick)
        };
        let (add, remove) = if on { (vec![reaction], Vec::new()) } else { (Vec::new(), vec![reaction]) };
        let of = MessageRef::foreign(self.of.network.clone(), of);
        let mut inbound = Inbound::new(self.of.user.clone(), from, Event::Reacted { of, add, remove });
        (inbound.at, inbound.id) = (self.time_of(line), msgid(line));
        self.push(inbound);
        if self.label != 0 {
            self.answered(self.label);
        }
        true
    }

    /// `REDACT <target> <msgid> [<reason>]`.
    pub(super) fn on_redact(&mut self, line: &Line<'_>) {
        let (by, target, id) = (line.source.nick(), line.param(0), line.param(1));
        let Some(link) = &self.link else { return };
        if id.is_empty() {
            return;
        }
        let in_room = link.server.is_channel(target);
        let own = self.is_own(by);
        let folded = self.fold(target);
        let ours = if own && !self.backlog { self.redacted(&folded, id) } else { None };
        let place = if in_room {
            let Some(room) = self.room(target) else { return };
            room.address()
        } else if own {
            return;
        } else {
            self.talk_address(by)
        };
        let reason = Some(formatting::from_irc(line.param(2), false).into_owned()).filter(|r| !r.is_empty());
        let of = MessageRef::foreign(self.of.network.clone(), ForeignMessageId::new(id));
        let event = Event::Retracted { of, by: None, reason };
        let mut event = Inbound::new(self.of.user.clone(), place.clone(), event);
        event.at = self.time_of(line);
        event.echo_of = ours.map(|key| (key, 0));
        if self.backlog {
            event.origin = Origin::Backlog;
        }
        event.apart = self.is_apart(); // it is told later, on another connection perhaps
        if self.rare().withdrawn.len() < MAX_WITHDRAWN {
            self.rare().withdrawn.push(Withdrawn { place, by: by.to_owned(), event });
        }
    }

    /// Who withdraws their own words speaks for themselves; somebody else's words are withdrawn by the room.
    pub(super) async fn tell_withdrawn(&mut self) {
        let all = self.rare.as_mut().map(|r| std::mem::take(&mut r.withdrawn)).unwrap_or_default();
        for Withdrawn { place, by, mut event } in all {
            if let (Address::Room(room), Event::Retracted { of, by: moderator, .. }) = (&place, &mut event.event) {
                let author = self.host.find(of).await.ok().flatten();
                let who = Address::Occupant { room: room.clone(), nick: by.clone() };
                let others = match author {
                    Some(known) if known.key.is_some() => !(known.user == self.of.user && self.is_own(&by)),
                    Some(known) => match &known.address {
                        Address::Occupant { nick, .. } => self.people.fold(nick) != self.people.fold(&by),
                        _ => false,
                    },
                    None => false,
                };
                if others {
                    *moderator = Some(who);
                } else {
                    event.from = who;
                }
            }
            self.push(event);
        }
    }
}

/// Puts a text where it can be read (an upload service, or the gateway's own place), and its beginning and the address in its place. Without such a
/// place it stays as it is.
async fn paste(host: &Host, user: &isthmus_bridge::BareJid, message: &mut Message) {
    let media = isthmus_bridge::Media::new(
        Some("message.txt".to_owned()),
        "text/plain; charset=utf-8",
        Some(message.body.len() as u64),
    );
    let Ok(kept) = host.keep_for(user, message.body.clone().into(), media).await else { return };
    if let Ok(Some(url)) = host.publish(user, &kept).await {
        let first = message.body.lines().find(|l| !l.trim().is_empty()).unwrap_or_default();
        let first: String = first.chars().take(80).collect();
        message.body = format!("{} … {url}", first.trim());
    }
}
