//! What all parts of a running gateway share, and how each of them speaks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use isthmus_bridge::{
    Abilities, Address, BareJid, BridgeError, ConfigError, Host, Lang, LinkState, NetworkId, Profile, RoomId,
    SessionOf, Text,
};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};
use url::Url;

use super::answers::Answers;
use super::asides::Asides;
use super::dialogue::Dialogues;
use super::files::FileDesk;
use super::guest::Guest;
use super::live::{Aim, Live, Origin};
use super::messages::lang;
use super::pending::{Pending, Talks};
use super::ports::Ports;
use super::presence::{Languages, Online};
use super::privileges::Privileges;
use super::rooms::{Farewells, Listings, Speakers};
use super::seats::{Room, Seats, State};
use crate::access::{Limiter, Pace, Policy, Quotas, Rule, Tier};
use crate::admin::outside::Outside;
use crate::archive::apart::log;
use crate::archive::{Archive, Retention};
use crate::config::{Limits, RosterWay};
use crate::hash::Map;
use crate::inbox::{Inbox, Rendered};
use crate::outbox::Outbox;
use crate::registry::Instance;
use crate::registry::sessions::Sessions;
use crate::rooms::occupancy::Occupancy;
use crate::router;
use crate::storage::people::{Persons, Picture};
use crate::storage::{MacMaker, Seal, Store, fresh_id};
use crate::texts::Texts;
use crate::xmpp::disco::{self, Info};
use crate::xmpp::errors::StanzaError;
use crate::xmpp::link::{Kind, Lane, LinkHandle, NotSent, Refusal, Stanza};
use crate::xmpp::{ns, xml::Xml};

/// Presences that nobody waits for.
pub(super) const PRESENCE: Lane = Lane(1);

/// Own messages of live sessions that may be on their way at a time.
const OWN: usize = 256;

/// The gateway.
pub(super) struct Core {
    /// How contact lists reach rosters.
    pub(super) roster_way: RosterWay,
    pub(super) limits: Limits,
    /// How long what was said in rooms is kept, and what messages are called.
    pub(super) retention: Retention,
    pub(super) public_url: Option<Url>,
    pub(super) store: Store,
    pub(super) seal: Arc<Seal>,
    pub(super) texts: ArcSwap<Texts>,
    pub(super) outbox: Outbox,
    pub(super) inbox: Inbox,
    pub(super) files: FileDesk,
    pub(super) ports: Arc<Ports>,
    /// Outbound events that wait, by bridge; counted now and then.
    pub(super) waiting: ArcSwap<Vec<(String, i64)>>,
    pub(super) online: Online,
    pub(super) languages: Languages,
    pub(super) answers: Answers,
    pub(super) pending: Arc<Pending>,
    /// XEP-0157 fields of disco#info.
    pub(super) contact: Vec<disco::Field>,
    pub(super) bridges: ArcSwap<Vec<Arc<Served>>>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) started: Instant,
    pub(super) outside: Outside,
    /// The log's filter now.
    pub(super) log_level: Mutex<String>,
}

/// One bridge of a running gateway.
pub(super) struct Served {
    pub(super) instance: Instance,
    /// What the configuration says, and with the rules that administrators gave by command before its own.
    configured: ArcSwap<Policy>,
    access: ArcSwap<Policy>,
    limiter: ArcSwap<Limiter>,
    pub(super) counters: Counters,
    parts: OnceLock<Parts>,
    /// `kind = "…"` of the configuration.
    pub(super) kind: String,
    /// What is known of the sessions from outside.
    seats: Seats,
    pub(super) public_url: Option<Url>,
    pub(super) seal: Arc<Seal>,
    /// Makes occupants' ids.
    occupants: MacMaker,
    persons: Arc<Persons>,
    /// Which resources are inside which room.
    pub(super) occupancy: Occupancy,
    /// What happens to messages after they were said.
    pub(super) asides: Asides,
    /// What was said to the gateway by chat and is not done yet.
    pub(super) talks: Talks,
    /// Lists of a network's rooms that users page through.
    pub(super) listings: Listings,
    pub(super) speakers: Speakers,
    /// Since when the link is down; `None` while it is up, and before it was up first.
    down_since: Mutex<Option<Instant>>,
    /// It is down now.
    pub(super) down: AtomicBool,
    /// Who was put out of a room meanwhile, and is to be told.
    pub(super) farewells: Farewells,
    shown: Mutex<Map<(BareJid, Address), Shown>>,
    /// What the servers let us do for their users.
    pub(super) privileges: Privileges,
    /// Who fills rosters has this, so that nothing is put there twice.
    pub(super) roster_turn: tokio::sync::Mutex<()>,
    /// Own messages of live sessions that are on their way, and whose turn it is.
    pub(super) own_turns: Arc<tokio::sync::Semaphore>,
    pub(super) own_order: tokio::sync::Mutex<()>,
    /// The gateway's own picture.
    pub(super) face: Option<Picture>,
    /// How fast contacts may write.
    pub(super) pace: Pace,
    caps: [OnceLock<String>; 5],
    /// Rooms of an XMPP server that the gateway is in.
    guests: Vec<Arc<Guest>>,
}

/// What can only be made once the bridge has its place in the gateway.
pub(super) struct Parts {
    pub(super) link: LinkHandle,
    pub(super) sessions: Sessions,
    pub(super) host: Host,
    pub(super) live: Arc<Live>,
    pub(super) dialogues: Dialogues,
    pub(super) archive: Archive,
}

/// What a contact shows to a user, where the network tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) available: bool,
    pub(super) away: bool,
    pub(super) status: Option<Text>,
}

/// Figures for metrics.
#[derive(Debug, Default)]
pub(super) struct Counters {
    stanzas_in: AtomicU64,
    stanzas_out: AtomicU64,
    refused: AtomicU64,
    not_sent: AtomicU64,
}

impl Counters {
    pub(super) fn stanzas_in(&self) {
        self.stanzas_in.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn sent(&self) {
        self.stanzas_out.fetch_add(1, Ordering::Relaxed);
    }

    /// A stanza that nobody keeps was not sent.
    pub(super) fn lost(&self, why: &NotSent, bridge: &str) {
        self.not_sent.fetch_add(1, Ordering::Relaxed);
        match why {
            NotSent::Detached => debug!(bridge, "a stanza was not sent: not attached"),
            e => warn!(bridge, error = %e, "a stanza was not sent"),
        }
    }

    /// Stanzas in, out, refused, not sent.
    pub(super) fn read(&self) -> [u64; 4] {
        [&self.stanzas_in, &self.stanzas_out, &self.refused, &self.not_sent].map(|c| c.load(Ordering::Relaxed))
    }
}

impl Served {
    /// Whether there is no stream to the XMPP server now, after there was one.
    pub(super) fn is_down(&self) -> bool {
        self.down.load(Ordering::Relaxed)
    }

    /// Since when the link is down; taken when it is up again.
    pub(super) fn down_since(&self) -> MutexGuard<'_, Option<Instant>> {
        // A single assignment happens under this lock.
        self.down_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn new(
        core: &Core,
        instance: Instance,
        kind: String,
        access: Policy,
        limiter: Limiter,
        persons: Arc<Persons>,
        face: Option<Picture>,
    ) -> Self {
        let guests = instance.bridge.guest_in().into_iter().map(Guest::new).collect();
        let pace = Pace::new(instance.bridge.profile().inbound_per_hour);
        let occupants = core.seal.maker(&format!("bridge/{}/occupant", instance.name));
        Self {
            instance,
            occupants,
            configured: ArcSwap::from_pointee(access.clone()),
            access: ArcSwap::from_pointee(access),
            limiter: ArcSwap::from_pointee(limiter),
            counters: Counters::default(),
            parts: OnceLock::new(),
            seats: Seats::default(),
            public_url: core.public_url.clone(),
            seal: core.seal.clone(),
            kind,
            persons,
            occupancy: Occupancy::default(),
            asides: Asides::default(),
            talks: Talks::default(),
            listings: Listings::default(),
            speakers: Speakers::default(),
            down_since: Mutex::new(None),
            down: AtomicBool::new(false),
            farewells: Farewells::default(),
            shown: Mutex::default(),
            privileges: Privileges::default(),
            roster_turn: tokio::sync::Mutex::default(),
            own_turns: Arc::new(tokio::sync::Semaphore::new(OWN)),
            own_order: tokio::sync::Mutex::default(),
            face,
            pace,
            caps: Default::default(),
            guests,
        }
    }

    /// From now on the bridge can be reached.
    pub(super) fn open(&self, parts: Parts) {
        // Called once, before any task of the bridge starts.
        drop(self.parts.set(parts));
    }

    fn parts(&self) -> &Parts {
        self.parts.get().expect("the parts are set before the link's task starts")
    }

    pub(super) fn link(&self) -> &LinkHandle {
        &self.parts().link
    }

    pub(super) fn sessions(&self) -> &Sessions {
        &self.parts().sessions
    }

    pub(super) fn host(&self) -> &Host {
        &self.parts().host
    }

    pub(super) fn live(&self) -> &Arc<Live> {
        &self.parts().live
    }

    /// Tiers on this bridge.
    pub(super) fn access(&self) -> Arc<Policy> {
        self.access.load_full()
    }

    /// What somebody may do on this bridge. A room that the gateway is a guest of is a user by the bridge's own configuration.
    pub(super) fn tier(&self, user: &BareJid) -> Tier {
        if self.guest(user).is_some() { Tier::User } else { self.access.load().tier(user) }
    }

    /// The room of this address, where the gateway is a guest of it.
    pub(super) fn guest(&self, room: &BareJid) -> Option<Arc<Guest>> {
        self.guests.iter().find(|guest| guest.room == *room).cloned()
    }

    /// All of them.
    pub(super) fn guests(&self) -> &[Arc<Guest>] {
        &self.guests
    }

    /// What users send over this bridge, counted.
    pub(super) fn limiter(&self) -> Arc<Limiter> {
        self.limiter.load_full()
    }

    /// A reload: the bridge goes on, under these rules. What was counted is kept where the quotas are the same.
    pub(super) fn govern(&self, access: Policy, quotas: Quotas) {
        let given = self.given();
        self.configured.store(Arc::new(access));
        self.rule(given);
        if self.limiter().quotas() != quotas {
            self.limiter.store(Arc::new(Limiter::new(quotas)));
        }
    }

    /// The rules that administrators gave by command.
    pub(super) fn given(&self) -> Vec<Rule> {
        let (all, configured) = (self.access.load(), self.configured.load());
        all.rules[..all.rules.len().saturating_sub(configured.rules.len())].to_vec()
    }

    /// These are the rules that administrators gave by command; they come before those of the configuration.
    pub(super) fn rule(&self, mut given: Vec<Rule>) {
        let configured = self.configured.load();
        given.extend(configured.rules.iter().cloned());
        self.access.store(Arc::new(Policy { rules: given, ..configured.as_ref().clone() }));
    }

    /// What was said in the bridge's rooms.
    pub(super) fn archive(&self) -> &Archive {
        &self.parts().archive
    }

    pub(super) fn dialogues(&self) -> &Dialogues {
        &self.parts().dialogues
    }

    /// Whether a user is connected to a network, and if not, how it stands where that is known.
    pub(super) fn connected(&self, of: &SessionOf, words: &dyn Fn(&Text) -> String) -> (bool, Option<Text>) {
        match self.seats.state(of) {
            State::Up => (true, None),
            State::Other(state) => (false, Some(state_text(&state, words))),
            State::Unknown => (false, None),
        }
    }

    /// A connection stands so from now on; gives whether it stood otherwise before.
    pub(super) fn stands(&self, of: &SessionOf, state: &LinkState) -> bool {
        self.seats.stands(of, state)
    }

    /// The sessions whose connections have been reported, for administrators.
    pub(super) fn session_states(&self, words: &dyn Fn(&Text) -> String) -> Vec<(SessionOf, Text)> {
        let text = |state| match state {
            State::Other(state) => state_text(&state, words),
            _ => state_text(&LinkState::Up, words),
        };
        let states = self.seats.states().into_iter().filter(|(of, state)| self.counts(of, state));
        let mut all: Vec<_> = states.map(|(of, state)| (of, text(state))).collect();
        all.sort_by(|a, b| (&a.0.user, &a.0.network).cmp(&(&b.0.user, &b.0.network)));
        all
    }

    pub(super) fn persons(&self) -> &Persons {
        &self.persons
    }

    pub(super) fn profile(&self) -> &Profile {
        self.instance.bridge.profile()
    }

    pub(super) fn network(&self, at: &Address) -> NetworkId {
        self.instance.bridge.addressing().network(at)
    }

    /// The JID of an address.
    pub(super) fn jid(&self, at: &Address) -> Option<String> {
        router::jid(self.instance.bridge.addressing(), &self.instance.domain, at)
    }

    /// An address as people of the far network write it; `None` for the gateway.
    pub(super) fn spoken(&self, at: &Address) -> Option<String> {
        self.instance.bridge.addressing().format(at).local
    }

    pub(super) fn info(&self, at: &Address, name: &str, contact: &[disco::Field]) -> Info {
        let directory = !self.instance.bridge.directory().is_empty();
        disco::info(at, self.profile(), directory, name, contact)
    }

    /// The verification string of an address's capabilities, without its name: caps are shared by all contacts, and so by all networks (XEP-0115
    /// section 5.1 takes the identity's name into the string, so disco#info under the caps node must give the same name, the bridge's title).
    pub(super) fn caps(&self, at: &Address) -> &str {
        let kind = match at {
            Address::Gateway => 0,
            Address::Network(_) => 1,
            Address::Contact(_) => 2,
            Address::Room(_) => 3,
            _ => 4,
        };
        self.caps[kind].get_or_init(|| disco::verification(&self.info(at, &self.profile().title, &[])))
    }

    pub(super) fn shown(&self, user: &BareJid, at: &Address) -> Option<Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).get(&(user.clone(), at.clone())).cloned()
    }

    /// Keeps what a contact shows; gives whether it changed.
    pub(super) fn show(&self, user: &BareJid, at: &Address, shown: Shown) -> bool {
        let mut all = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert((user.clone(), at.clone()), shown.clone()) != Some(shown)
    }

    /// Whoever wrote to somebody has them among the contacts. Only a convenience: a failure is logged.
    pub(super) async fn met(&self, user: &BareJid, at: &Address) {
        if matches!(at, Address::Contact(_))
            && let Err(e) = self.persons().met(user, at).await
        {
            warn!(bridge = %self.instance.name, error = %e, "a contact could not be recorded");
        }
    }

    /// A room as one session sees it; made when first asked for.
    pub(super) fn room(&self, of: &SessionOf, room: &RoomId) -> Room {
        self.seats.room(of, room)
    }

    /// The same, if it was ever asked for.
    pub(super) fn known_room(&self, of: &SessionOf, room: &RoomId) -> Option<Room> {
        self.seats.known_room(of, room)
    }

    /// Under which name it is kept what a session hears in a room now.
    pub(super) fn log_of(&self, of: &SessionOf, room: &RoomId) -> RoomId {
        let view = self.known_room(of, room);
        let apart = view.is_some_and(|view| view.lock().unwrap_or_else(PoisonError::into_inner).apart);
        log(room, &of.user, apart).into_owned()
    }

    /// The rooms that a session has a view of.
    pub(super) fn rooms_of(&self, of: &SessionOf) -> Vec<RoomId> {
        self.seats.rooms_of(of)
    }

    /// A session says what its connection carries.
    pub(super) fn is_able(&self, of: &SessionOf, now: Abilities) {
        self.seats.is_able(of, now);
    }

    /// What a session carries.
    pub(super) fn abilities(&self, of: &SessionOf) -> Abilities {
        let all = Abilities::of(self.profile());
        self.seats.able(of).map_or(all, |said| said.and(all))
    }

    /// Drops the states of connections whose sessions have ended: they are up no more.
    pub(super) fn forget_states(&self) {
        self.seats.forget_states(|of, state| self.counts(of, state));
    }

    /// Whether the state of a connection is worth showing: it is down, or its session is there.
    fn counts(&self, of: &SessionOf, state: &State) -> bool {
        self.may_run(of) && (*state != State::Up || self.sessions().has(of) || self.guest(&of.user).is_some())
    }

    /// A session has ended: what its views say is of no use any more.
    pub(super) fn outside(&self, of: &SessionOf) {
        self.seats.outside(of);
    }

    /// Drops the views of rooms that the session is outside of and does not hold.
    pub(super) fn forget_rooms(&self) {
        self.seats.forget_rooms();
    }

    /// An occupant's id (XEP-0421): the same for the same person in the same room, and nobody else can make it.
    pub(super) fn occupant_id(&self, room: &RoomId, who: &str) -> String {
        hex::encode(&self.occupants.mac(&[room.as_str().as_bytes(), b"\0", who.as_bytes()])[..16])
    }

    /// A session's turn at the link: the same number for the same session.
    pub(super) fn lane(&self, of: &SessionOf) -> Lane {
        Lane(crate::hash::one((&of.user, &of.network)) >> 8 | 1 << 60)
    }

    /// Answers a stanza whose addresses make no sense.
    pub(super) fn refuse(&self, stanza: &Stanza, why: Refusal) {
        self.counters.refused();
        if let Err(e) = self.link().refuse(stanza, why) {
            debug!(bridge = %self.instance.name, error = %e, "a refusal was not sent");
        }
    }
}

/// How a connection stands; `words` are those of its reason in the reader's language.
fn state_text(state: &LinkState, words: &dyn Fn(&Text) -> String) -> Text {
    match state {
        LinkState::Connecting => Text::key("state.connecting"),
        LinkState::Up => Text::key("state.up"),
        LinkState::Down { reason, .. } => Text::key("state.down").with("reason", words(reason)),
        LinkState::NeedsLogin { reason } => Text::key("state.needs-login").with("reason", words(reason)),
        _ => Text::key("state.unknown"),
    }
}

impl Core {
    /// The log's filter.
    pub(super) fn level(&self) -> String {
        self.log_level.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the log's filter.
    pub(super) fn set_level(&self, filter: &str) -> Result<(), String> {
        (self.outside.level)(filter)?;
        filter.clone_into(&mut self.log_level.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }

    /// Asks for a reload. A configuration with faults is not taken, and whoever asked sees them.
    pub(super) fn request_reload(&self) -> Result<String, String> {
        let lines = |errors: Vec<ConfigError>| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let config = (self.outside.load)().map_err(lines)?;
        self.outside.reload.notify_one();
        Ok(format!("{} bridges", config.bridges.len()))
    }

    pub(super) fn bridges(&self) -> Arc<Vec<Arc<Served>>> {
        self.bridges.load_full()
    }

    pub(super) fn bridge(&self, name: &str) -> Option<Arc<Served>> {
        self.bridges.load().iter().find(|b| &*b.instance.name == name).cloned()
    }

    /// Now, for spans of time.
    pub(super) fn instant(&self) -> Instant {
        self.store.clock().instant()
    }

    pub(super) fn now(&self) -> SystemTime {
        UNIX_EPOCH + std::time::Duration::from_millis(self.now_millis())
    }

    pub(super) fn now_millis(&self) -> u64 {
        u64::try_from(self.store.clock().now()).unwrap_or_default()
    }

    /// Words of a bridge (or the core) in a language.
    pub(super) fn words(&self, served: &Served, text: &Text, lang: &Lang) -> String {
        self.texts.load().render(&served.instance.name, text, lang)
    }

    /// Writes a stanza that nobody has to keep: what cannot be sent now is gone.
    pub(super) fn send(&self, served: &Served, stanza: &Rendered) {
        self.written(served, served.link().send_to_person(&stanza.xml));
    }

    pub(super) fn send_text(&self, served: &Served, xml: &str) {
        self.written(served, served.link().send_to_person(xml.as_bytes()));
    }

    /// Writes a stanza when its lane has room for it.
    pub(super) async fn send_patiently(&self, served: &Served, lane: Lane, xml: &[u8]) {
        let sent = match crate::xmpp::link::Rendered::parse(xml) {
            Err(guard) => Err(guard.into()),
            Ok(stanza) => loop {
                match served.link().send_rendered(lane, &stanza) {
                    Err(NotSent::Full) => served.link().room(lane).await,
                    sent => break sent,
                }
            },
        };
        self.written(served, sent);
    }

    pub(super) fn written(&self, served: &Served, result: Result<(), NotSent>) {
        match result {
            Ok(()) => served.counters.sent(),
            Err(e) => served.counters.lost(&e, &served.instance.name),
        }
    }

    /// Answers a stanza with an error, where one is allowed (RFC 6120 section 8.3.1: never to an error or a result).
    pub(super) fn answer_error(&self, served: &Served, stanza: &Stanza, error: &StanzaError) {
        served.counters.refused();
        let answers = match stanza.kind() {
            Kind::Iq => matches!(stanza.type_(), Some("get" | "set")),
            Kind::Message | Kind::Presence => stanza.type_() != Some("error"),
        };
        let (Some(from), Some(to)) = (stanza.to(), stanza.from()) else { return };
        if !answers || error.text.as_ref().is_some_and(|text| self.told_in_room(served, stanza, text)) {
            return;
        }
        let mut xml = Xml::stanza(stanza.kind().name());
        xml.attr("type", "error").attr("from", from).attr("to", to).attr_opt("id", stanza.id());
        if error.text.is_some() {
            xml.attr_opt("xml:lang", self.spoken(served, stanza).as_deref());
        }
        if stanza.kind() == Kind::Presence && stanza.child("x", ns::MUC).is_some() {
            xml.empty("x", ns::MUC); // clients find out by it that a join failed (XEP-0045 section 7.2)
        }
        let lang = lang(stanza);
        if stanza.kind() == Kind::Presence {
            error.write_coded(&mut xml, |text| self.words(served, text, &lang));
        } else {
            error.write(&mut xml, |text| self.words(served, text, &lang));
        }
        self.send_text(served, &xml.finish());
    }

    /// The language of an answer's words, for who has asked in a language (RFC 6120 section 8.1.5).
    pub(super) fn spoken(&self, served: &Served, stanza: &Stanza) -> Option<String> {
        let asked = stanza.lang()?;
        Some(self.texts.load().spoken(&served.instance.name, &Lang::from(asked)))
    }

    /// The language of words that are said after the stanza is gone, where it asked in one: English too is said where it was asked for.
    pub(super) fn spoken_late(&self, served: &Served, asked: &Lang) -> Option<String> {
        asked.is_said().then(|| self.texts.load().spoken(&served.instance.name, asked))
    }

    /// The same answer for a stanza that is gone already.
    pub(super) fn error_to(&self, served: &Served, origin: &Origin, error: &StanzaError) {
        let mut xml = Xml::stanza(origin.element);
        xml.attr("type", "error")
            .attr("from", &origin.to)
            .attr("to", &origin.from)
            .attr_opt("id", origin.id.as_deref());
        if error.text.is_some() {
            xml.attr_opt("xml:lang", self.spoken_late(served, &origin.lang).as_deref());
        }
        if matches!(origin.aim, Aim::Rename) {
            xml.empty("x", ns::MUC); // XEP-0045 section 7.6
            error.write_coded(&mut xml, |text| self.words(served, text, &origin.lang));
        } else {
            error.write(&mut xml, |text| self.words(served, text, &origin.lang));
        }
        self.send_text(served, &xml.finish());
    }

    /// A chat message from an address of ours: the dialogue's lines, notes.
    pub(super) fn note(&self, served: &Served, from: &str, to: &str, words: &str) {
        let mut xml = Xml::stanza("message");
        xml.attr("type", "chat").attr("from", from).attr("to", to).attr("id", &fresh_id()).leaf("body", "", words);
        self.send_text(served, &xml.finish());
    }

    /// Runs what all sessions of a bridge share, again and again until the gateway stops.
    pub(super) async fn serve(self: Arc<Self>, served: Arc<Served>, stop: CancellationToken) {
        use futures_util::FutureExt;
        let mut wait = std::time::Duration::from_secs(1);
        while !stop.is_cancelled() {
            let run = served.instance.bridge.serve(served.host().clone(), stop.clone());
            let began = Instant::now();
            match std::panic::AssertUnwindSafe(run).catch_unwind().await {
                Ok(Ok(())) if stop.is_cancelled() => return,
                Ok(Ok(())) => warn!(bridge = %served.instance.name, "the bridge's service ended by itself"),
                Ok(Err(BridgeError::Operator(what))) => {
                    tracing::error!(bridge = %served.instance.name, "{what}");
                }
                Ok(Err(e)) => warn!(bridge = %served.instance.name, error = %e, "the bridge's service failed"),
                Err(_panic) => tracing::error!(bridge = %served.instance.name, "the bridge's service panicked"),
            }
            if began.elapsed() > std::time::Duration::from_secs(60) {
                wait = std::time::Duration::from_secs(1);
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => return,
            }
            wait = (wait * 2).min(std::time::Duration::from_secs(60));
        }
    }
}
