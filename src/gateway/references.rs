//! Stanza ids ↔ messages of the network: what answers, corrections, reactions, withdrawals and marks refer to. For held bridges the queues
//! know, for live ones the archive's names.

use std::sync::Arc;
use std::time::SystemTime;

use isthmus_bridge::{
    Abilities, Address, BareJid, DeliveryKey, Event, Inbound, Intent, Known, Message, MessageRef, Outbound, SessionOf,
    Text,
};
use tracing::{debug, warn};

use super::core::{Core, Served};
use super::live::{Aim, Reacting};
use super::messages::{lang, sender_of};
use super::receive::Heard;
use super::rooms::origin;
use crate::access::Tier;
use crate::archive::names::{Name, Place, difference};
use crate::archive::query::Question;
use crate::rooms::time_of;
use crate::storage::fresh_id;
use crate::translate::degrade::{self, Before, Meant};
use crate::translate::outbound::{self, Said};
use crate::xmpp::errors::StanzaError;
use crate::xmpp::ns;

/// The setting that a bridge may declare: reactions are said in words where the network has none.
const REACTIONS: &str = "reactions";
/// Characters of a message by which people know it again.
const GIST: usize = 40;
/// Of words that are quoted because the client did not: so many lines, and so many characters of them.
const QUOTED_LINES: usize = 4;
const QUOTED: usize = 200;

/// Whose the message is that a user wants to withdraw or to correct.
#[derive(Debug)]
pub(super) enum Authored {
    /// The user's.
    Own(MessageRef),
    /// It was said to the user.
    ByAnother,
    /// Nobody knows it, or it was said to somebody else.
    Unknown,
}

/// What a stanza refers to, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What it answers, reacts to, withdraws or marks: all parts.
    meant: Vec<Name>,
    /// What it corrects: all parts.
    replaced: Vec<Name>,
    /// The words of the first.
    words: Option<String>,
    /// Who said it, in a room.
    by: Option<String>,
    /// When it was said, by the network's clock.
    at: Option<SystemTime>,
}

/// Who does something in a place.
struct Actor {
    of: SessionOf,
    place: Place,
    /// An occupant's id, or a JID.
    who: String,
    can: Abilities,
}

impl Core {
    /// A message to a live bridge that names another one. What it names is looked up first; whatever the sender says later waits behind.
    pub(super) async fn referring(self: &Arc<Self>, served: &Arc<Served>, heard: &Heard) {
        if heard.stanza.type_() == Some("error") || matches!(heard.at, Address::Gateway | Address::Network(_)) {
            return self.live_message(served, heard, &Found::default());
        }
        let found = match self.look_up(served, heard).await {
            Ok(found) => found,
            Err(e) => {
                warn!(bridge = %served.instance.name, error = %e, "a reference could not be looked up");
                Found::default()
            }
        };
        let done = match outbound::message(&heard.stanza, served.profile()) {
            outbound::Heard::React(id, all) => self.react(served, heard, &id, all, &found).await,
            outbound::Heard::Retract(_, reason) => self.withdraw(served, heard, reason.as_deref(), &found),
            outbound::Heard::Mark(id) => self.mark(served, heard, &id, &found),
            _ => return self.live_message(served, heard, &found),
        };
        if let Err(error) = done {
            self.answer_error(served, &heard.stanza, &error);
        }
    }

    async fn look_up(&self, served: &Served, heard: &Heard) -> Result<Found, isthmus_bridge::StoreError> {
        let (archive, user) = (served.archive(), heard.from.bare());
        let place = place_of(served, heard);
        let mut found = Found::default();
        for child in heard.stanza.children() {
            let Some(id) = child.attr("id") else { continue };
            if child.is("replace", ns::CORRECT) {
                // XEP-0308 names the stanza's own id.
                found.replaced = archive.by_client(&place, &user, &id).await?;
                continue;
            }
            if !matches!(child.ns(), ns::REPLY | ns::REACTIONS | ns::RETRACT | ns::MARKERS | outbound::FASTEN) {
                continue;
            }
            found.meant = archive.by_id(&place, &id).await?;
            if found.meant.is_empty() {
                found.meant = archive.by_client(&place, &user, &id).await?;
            }
            let mut there = false;
            if let (Place::Room(_), Address::Room(room)) = (&place, &heard.at) {
                let question = Question { ids: vec![id.into_owned()], max: 1, ..Question::default() };
                let lines = archive.find(room, &user, &question).await?.lines;
                let line = lines.into_iter().next();
                found.at = line.as_ref().map(|line| line.at);
                // Where nothing is kept nobody knows that it is gone: a client may give an id anew.
                there = line.as_ref().is_none_or(|line| line.gone.is_none());
                if let Some(line) = line {
                    (found.words, found.by) = (Some(line.body).filter(|body| !body.is_empty()), line.nick);
                }
                found.by = found.by.or_else(|| {
                    // What is not kept is named by the client (XEP-0461 section 3): the author's JID in the room.
                    let author = child.attr("to")?;
                    let (room, nick) = author.split_once('/')?;
                    (room == heard.to.bare().as_str()).then(|| nick.to_owned())
                });
            } else if child.is("reply", ns::REPLY) {
                found.words = self.words_of(served, &user, &heard.at, &id).await;
            }
            // What was said in its place is what there is of it.
            let own = found.meant.first().filter(|name| name.writer.as_ref() == Some(&user));
            if let Some(first) = own.and_then(|name| name.client.clone())
                && matches!(child.ns(), ns::RETRACT | outbound::FASTEN)
                && !there
            {
                found.meant = archive.by_client(&place, &user, &first).await?;
            }
        }
        Ok(found)
    }

    /// Who sends a stanza into a room or to somebody; in a room only who is inside.
    fn actor(self: &Arc<Self>, served: &Arc<Served>, heard: &Heard) -> Result<Actor, StanzaError> {
        let of = SessionOf::new(heard.from.bare(), served.network(&heard.at));
        let place = place_of(served, heard);
        let who = match (&place, &heard.at) {
            (Place::Room(_), Address::Room(room)) => self.rooms(served).own_occupant_id(&of, heard, room)?,
            _ => of.user.to_string(),
        };
        let can = served.abilities(&of);
        Ok(Actor { of, place, who, can })
    }

    /// XEP-0444 gives the whole set, networks think in steps: what is sent is the difference.
    async fn react(
        self: &Arc<Self>,
        served: &Arc<Served>,
        heard: &Heard,
        id: &str,
        all: Vec<String>,
        found: &Found,
    ) -> Result<(), StanzaError> {
        let Actor { of, place, who, can } = self.actor(served, heard)?;
        let in_words = in_words(served, &of.user, &heard.at);
        let name = found.meant.first();
        let foreign = name.and_then(|name| name.foreign.clone()).filter(|_| can.reactions);
        if !can.reactions && !in_words {
            return Ok(());
        }
        if foreign.is_none() && !in_words {
            return Err(StanzaError::item_not_found());
        }
        self.admit(served, heard)?;
        let id = name.map_or(id, |name| &name.id);
        let before = served.archive().react(&place, id, &who, all.clone()).await;
        let before = before.map_err(|e| StanzaError::from(&e))?;
        let (add, remove) = difference(&before, &all);
        let intent = match foreign {
            _ if add.is_empty() && remove.is_empty() => return Ok(()),
            Some(id) => Intent::React { of: MessageRef::foreign(of.network.clone(), id), add, remove },
            None if add.is_empty() => return Ok(()),
            None => Intent::Send(Box::new(self.reaction_in_words(served, heard, &add, found.words.as_deref()))),
        };
        let aim = Aim::React(Box::new(Reacting { place, id: id.to_owned(), who, before }));
        self.wish(served, heard, &of, intent, aim)
    }

    fn reaction_in_words(&self, served: &Served, heard: &Heard, add: &[String], to: Option<&str>) -> Message {
        let group = heard.stanza.type_() == Some("groupchat");
        let text = match to {
            Some(words) => {
                let gist: String = words.chars().take(GIST).collect::<String>().replace('\n', " ");
                let more = if words.chars().count() > GIST { "…" } else { "" };
                Text::key("say.reacts-to").with("words", format!("{gist}{more}"))
            }
            None => Text::key("say.reacts"),
        };
        let words = self.words(served, &text.with("reactions", add.join(" ")), &lang(&heard.stanza));
        let mut message = if group { Message::group(words) } else { Message::chat(words) };
        message.action = served.profile().mode == isthmus_bridge::Mode::Live;
        message
    }

    /// XEP-0424: what the network can withdraw it does, else the sender is told.
    fn withdraw(
        self: &Arc<Self>,
        served: &Arc<Served>,
        heard: &Heard,
        reason: Option<&str>,
        found: &Found,
    ) -> Result<(), StanzaError> {
        let Actor { of, place, can, .. } = self.actor(served, heard)?;
        let Some(first) = found.meant.first() else {
            self.not_withdrawn(served, heard);
            return Ok(());
        };
        if first.writer.as_ref() != Some(&of.user) {
            // Of another's words only a moderator disposes (XEP-0425), and asks by iq.
            return Err(StanzaError::forbidden().with(Text::key("error.not-yours")));
        }
        let names: Vec<_> = found.meant.iter().filter_map(|part| part.foreign.clone()).collect();
        if !can.retractions || names.len() != found.meant.len() {
            self.not_withdrawn(served, heard);
            return Ok(());
        }
        self.admit(served, heard)?;
        debug!(bridge = %served.instance.name, parts = names.len(), in_room = matches!(place, Place::Room(_)), "a message is withdrawn");
        for name in names {
            let of_part = MessageRef::foreign(of.network.clone(), name);
            let intent = Intent::Retract { of: of_part, reason: reason.map(str::to_owned) };
            self.wish(served, heard, &of, intent, Aim::Withdraw)?;
        }
        Ok(())
    }

    /// XEP-0333: nobody waits for the outcome of a mark.
    fn mark(self: &Arc<Self>, served: &Arc<Served>, heard: &Heard, id: &str, found: &Found) -> Result<(), StanzaError> {
        let Ok(Actor { of, can, .. }) = self.actor(served, heard) else { return Ok(()) };
        if !can.markers || self.may(served, &heard.from) < Tier::User {
            return Ok(());
        }
        let name = found.meant.first();
        // The network's own time where it is known: its clock need not be ours. What only the client says is not later than now.
        let known = found.at.or_else(|| name.and_then(|name| name.at));
        let at = known.unwrap_or_else(|| time_of(id).map_or_else(|| self.now(), |at| at.min(self.now())));
        let of_it = name.and_then(|name| name.foreign.clone()).map(|id| MessageRef::foreign(of.network.clone(), id));
        self.rooms(served).wish_quietly(&of, heard.at.clone(), Intent::Mark { of: of_it, at: Some(at) }, Aim::Nothing);
        Ok(())
    }

    /// Hands a wish to a live session; in a room its reflection will have the id of the stanza.
    fn wish(
        self: &Arc<Self>,
        served: &Arc<Served>,
        heard: &Heard,
        of: &SessionOf,
        intent: Intent,
        aim: Aim,
    ) -> Result<(), StanzaError> {
        let rooms = self.rooms(served);
        match &heard.at {
            Address::Room(room) => rooms.wish_inside(heard, of, room, intent, aim),
            at => rooms.wish(of, at.clone(), intent, origin(heard, of.clone(), aim)).map(drop),
        }
    }

    /// The message as a live network carries it, and what is to be done before.
    pub(super) fn carried(
        &self,
        served: &Served,
        heard: &Heard,
        of: &SessionOf,
        said: Said,
        found: &Found,
    ) -> (Box<Message>, Before) {
        let Said { mut message, answers, corrects, .. } = said;
        if answers.is_none() && corrects.is_none() {
            return (message, Before::default());
        }
        let can = served.abilities(of);
        let meant = |parts: &[Name], words: Option<String>, by: Option<String>| Meant {
            names: parts
                .iter()
                .filter_map(|part| Some(MessageRef::foreign(of.network.clone(), part.foreign.clone()?)))
                .collect(),
            words,
            by,
        };
        let mut before = Before::default();
        let chosen = served.persons().resolved(&of.user, &heard.at);
        // Who is answered was named in the words that are corrected.
        let named = degrade::names(&chosen);
        if answers.is_some() && named {
            let meant = meant(&found.meant, found.words.clone(), found.by.clone());
            degrade::answer(&mut message, &meant, can, &chosen);
        }
        if let Some(id) = corrects {
            let words = found.replaced.first().and_then(|name| name.words.as_deref()).map(str::to_owned);
            let prefix = served.profile().correction_prefix;
            before = degrade::correction(&mut message, &meant(&found.replaced, words, None), can, &chosen, prefix);
            before.first = Some(id).filter(|_| !before.withdraw.is_empty());
        }
        if answers.is_some() && !named {
            let meant = meant(&found.meant, found.words.clone(), found.by.clone());
            degrade::answer(&mut message, &meant, can, &chosen);
        }
        (message, before)
    }

    /// Withdraws what a correction replaces, where the user wants it so.
    pub(super) fn withdraw_first(
        self: &Arc<Self>,
        served: &Arc<Served>,
        heard: &Heard,
        of: &SessionOf,
        before: Before,
    ) {
        if let (Some(first), Some(id)) = (&before.first, heard.stanza.id()) {
            served.archive().says_anew(&place_of(served, heard), &heard.from.bare(), id, first);
        }
        for name in before.withdraw {
            let intent = Intent::Retract { of: name, reason: None };
            self.rooms(served).wish_quietly(of, heard.at.clone(), intent, Aim::Nothing);
        }
    }

    /// A reaction to a message of a held bridge: carried, said in words where the user wants that, or nothing.
    pub(super) async fn react_held(&self, served: &Arc<Served>, heard: &Heard, id: &str, all: Vec<String>) {
        let user = heard.from.bare();
        let in_words = in_words(served, &user, &heard.at);
        let carried = served.profile().reactions;
        if !carried && !in_words {
            return;
        }
        if let Err(error) = self.admit(served, heard) {
            return self.answer_error(served, &heard.stanza, &error);
        }
        let of = if carried { self.reference(served, &user, id).await } else { None };
        let place = Place::Talk(user.clone(), heard.at.clone());
        let before = match served.archive().react(&place, id, user.as_str(), all.clone()).await {
            Ok(before) => before,
            Err(e) => return self.answer_error(served, &heard.stanza, &StanzaError::from(&e)),
        };
        let (add, remove) = difference(&before, &all);
        let intent = match of {
            _ if add.is_empty() && remove.is_empty() => return,
            Some(of) => Intent::React { of, add, remove },
            None if add.is_empty() || !in_words => return,
            None => Intent::Send(Box::new(self.reaction_in_words(served, heard, &add, None))),
        };
        self.enqueue(served, heard, user, intent).await;
    }

    /// A mark for a held bridge that carries them.
    pub(super) async fn mark_held(&self, served: &Arc<Served>, heard: &Heard, id: &str) {
        let user = heard.from.bare();
        if !served.profile().markers || self.may(served, &heard.from) < Tier::User {
            return;
        }
        if let Some(of) = self.reference(served, &user, id).await {
            self.enqueue(served, heard, user, Intent::Mark { of: Some(of), at: Some(self.now()) }).await;
        }
    }

    pub(super) async fn enqueue(&self, served: &Arc<Served>, heard: &Heard, user: BareJid, intent: Intent) {
        let mut event = Outbound::new(DeliveryKey::new(fresh_id()), user, heard.at.clone(), intent);
        event.lang = lang(&heard.stanza);
        event.at = self.now_millis();
        let sender = sender_of(&served.instance.name, heard, None);
        if let Err(e) = self.outbox.accept(sender, event).await {
            self.answer_error(served, &heard.stanza, &StanzaError::from(&e));
        }
    }

    /// What was said in a conversation by the stanza of this id, as an answer quotes it where the client does not: a few lines of it.
    pub(super) async fn words_of(&self, served: &Served, user: &BareJid, at: &Address, id: &str) -> Option<String> {
        let words = served.persons().said_by(user, at, id).await;
        let words =
            words.inspect_err(|e| warn!(error = %e, "what an answer answers could not be looked up")).ok()??;
        let mut short: String = words.trim().lines().take(QUOTED_LINES).collect::<Vec<_>>().join("\n");
        if let Some((end, _)) = short.char_indices().nth(QUOTED) {
            short.truncate(end);
        }
        if short.len() < words.trim().len() {
            short.push('…');
        }
        Some(short)
    }

    /// The message that a stanza id of this user's conversation means.
    pub(super) async fn reference(&self, served: &Served, user: &BareJid, stanza_id: &str) -> Option<MessageRef> {
        name_of(served, self.known_message(served, user, stanza_id).await?)
    }

    /// The same, for what only its author may do to it: the user's own, said to the same address.
    pub(super) async fn own_reference(&self, served: &Served, heard: &Heard, stanza_id: &str) -> Authored {
        match self.known_message(served, &heard.from.bare(), stanza_id).await {
            Some(known) if known.key.is_none() => Authored::ByAnother,
            Some(known) if known.address == heard.at => name_of(served, known).map_or(Authored::Unknown, Authored::Own),
            _ => Authored::Unknown,
        }
    }

    async fn known_message(&self, served: &Served, user: &BareJid, stanza_id: &str) -> Option<Known> {
        let known = self.outbox.by_stanza(&served.instance.name, user, stanza_id).await;
        known.inspect_err(|e| warn!(error = %e, "a reference could not be looked up")).ok().flatten()
    }

    /// The stanza id, and its author's JID, of the message that an event refers to.
    pub(super) async fn referenced(&self, served: &Served, event: &Inbound) -> Option<(String, String)> {
        let of = reference(event)?;
        let found = self.outbox.stanza_of(&served.instance.name, of).await;
        let found = found.inspect_err(|e| warn!(error = %e, "a reference could not be looked up")).ok().flatten()?;
        let author = if found.outbound { event.to.to_string() } else { served.jid(&event.from)? };
        Some((found.id, author))
    }
}

/// What the network calls a message, else its key.
fn name_of(served: &Served, known: Known) -> Option<MessageRef> {
    let network = served.network(&known.address);
    match (known.ids.into_iter().next(), known.key) {
        (Some(id), _) => Some(MessageRef::foreign(network, id)),
        (None, Some(key)) => Some(MessageRef::Key(key)),
        (None, None) => None,
    }
}

/// Whether a user wants reactions said in words where the network has none.
fn in_words(served: &Served, user: &BareJid, at: &Address) -> bool {
    served.persons().resolved(user, at).bool(REACTIONS)
}

/// The message that an event refers to.
pub(super) fn reference(event: &Inbound) -> Option<&MessageRef> {
    match &event.event {
        Event::Message(message) => message.replaces.as_ref().or(message.reply_to.as_ref()),
        Event::Marked { of } | Event::Reacted { of, .. } | Event::Retracted { of, .. } => Some(of),
        Event::Notice { about, .. } => about.as_ref(),
        _ => None,
    }
}

/// Where a stanza is said: in the room for all to hear, or between its sender and somebody.
fn place_of(served: &Served, heard: &Heard) -> Place {
    match &heard.at {
        Address::Room(room) if served.profile().rooms => {
            let of = SessionOf::new(heard.from.bare(), served.network(&heard.at));
            Place::Room(served.log_of(&of, room))
        }
        at => Place::Talk(heard.from.bare(), at.clone()),
    }
}
