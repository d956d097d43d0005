//! One user on one network: one task that owns the connection, reads its inbox and keeps the rooms.
//!
//! | file | what |
//! |---|---|
//! | `link` | the connection: reading, writing, turns |
//! | `life` | connecting, loss, trying again |
//! | `register` | registration, login, the welcome |
//! | `dispatch` | a line from the server → who handles it |
//! | `rooms` | joins, in any stage |
//! | `leaving` | the ways out of a room, and rooms that nobody wants |
//! | `members` | who is inside, modes, subjects |
//! | `apart` | servers of one user's own choice |
//! | `chat` | words in both directions |
//! | `speak` | the user's own words, on their way and back |
//! | `acts` | reactions, withdrawals |
//! | `marks` | how far the user has read |
//! | `batch` | lines that belong together |
//! | `history` | what was said while the connection was broken |
//! | `few` | lists that are mostly empty |
//! | `gone` | whether contacts are away |
//! | `idle` | connections that nobody needs for too long |
//! | `orders` | what the user wants of rooms and people |
//! | `answers` | what waits for the server's answer; numerics |
//! | `typing` | who is typing |
//! | `watch` | nicks on the roster |
//! | `who` | how people were before we came |
//! | `queries` | questions of the core |

mod acts;
mod answers;
mod apart;
mod bans;
mod batch;
mod chat;
mod dispatch;
mod few;
mod gone;
mod history;
mod idle;
mod leaving;
mod life;
mod link;
mod marks;
mod members;
mod orders;
mod queries;
mod register;
mod rooms;
mod speak;
mod table;
mod typed;
mod typing;
mod watch;
mod who;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, SystemTime};

use isthmus_bridge::room::{People, RoomView};
use isthmus_bridge::{
    Address, Ask, BridgeError, Change, Delivery, DeliveryError, Event, Failure, ForeignMessageId, Host, Inbound, Inbox,
    LinkState, Resolved, RoomId, SessionOf, Text, Work,
};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};

use self::answers::Pending;
use self::few::Few;
use self::leaving::Unwanted;
use self::life::{Attempt, Dialing};
use self::link::{Link, Looked, Phase};
use self::rooms::Room;
pub(crate) use self::rooms::{SPACE as KEPT_ROOMS, kept};
use self::table::Table;
use crate::Shared;
use crate::certificate::Certificate;
use crate::connect::{Connected, NoConnection};
use crate::network::Network;
use crate::proto::isupport::Casemapping;

/// How long words and questions wait for a connection.
const WAIT: Duration = Duration::from_secs(100);
/// A session without anything to do ends after this time; until then it costs next to nothing.
const LINGER: Duration = Duration::from_secs(60);
/// A connection that only private messages need is closed after this time without one.
const IDLE: Duration = Duration::from_secs(15 * 60);
/// Lines that are kept while the core has no room: enough to go on hearing PING for a while.
const MAX_HELD: usize = 64 * 1024;
/// Events that wait for the core; beyond them no work is taken.
const MAX_EVENTS: usize = 1_000;
/// Lines that wait for their turn; beyond them no work is taken.
const MAX_QUEUE: usize = 2_000;

/// Where commands reach a running session.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    orders: Mutex<Orders>,
    /// Rooms of the session, for the bound of all of its user's.
    rooms: AtomicU32,
}

#[derive(Debug, Default)]
struct Orders {
    #[allow(clippy::box_collection, reason = "8 bytes instead of 24 in every session")]
    waiting: Option<Box<Vec<Order>>>,
    /// The session, where it waits.
    session: Option<Waker>,
}

/// What a command wants of a session.
#[derive(Debug)]
pub(crate) enum Order {
    /// Leave the network, with these words.
    Disconnect(String),
    /// Leave it and come back.
    Reconnect,
    /// Show this certificate from now on, or none.
    Certificate(Option<Arc<Certificate>>),
    /// Say how things stand.
    Tell(oneshot::Sender<Status>),
    /// Ask the server.
    Ask(Box<Ask>),
}

/// How things stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) host: String,
    /// Port, TLS, since when; `None` where there is no connection.
    pub(crate) link: Option<(u16, bool, SystemTime)>,
    pub(crate) nick: String,
    pub(crate) rooms: Vec<RoomId>,
}

impl Desk {
    /// Hands an order to the session.
    pub(crate) fn order(&self, order: Order) {
        let session = {
            let mut orders = self.lock();
            orders.waiting.get_or_insert_default().push(order);
            orders.session.take()
        };
        if let Some(session) = session {
            session.wake();
        }
    }

    /// Ready when there are orders.
    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut orders = self.lock();
        if orders.waiting.is_some() {
            return Poll::Ready(());
        }
        match &mut orders.session {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    fn take(&self) -> Vec<Order> {
        self.lock().waiting.take().map(|orders| *orders).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rooms in which the session is, or wants to be.
    pub(crate) fn rooms(&self) -> usize {
        self.rooms.load(Ordering::Relaxed) as usize
    }
}

/// Until the core stops it, or nothing is left to do. What it holds stands in a box from the beginning, so that the task is small.
pub(crate) fn run(
    shared: Arc<Shared>,
    of: SessionOf,
    mut inbox: Inbox,
    host: Host,
) -> impl Future<Output = Result<(), BridgeError>> + Send + 'static {
    let mut session = Box::new(Session::new(shared, of, host));
    async move {
        session.shared.networks.open(&session.of, session.desk.clone());
        Box::pin(session.restore()).await;
        session.serve(&mut inbox).await;
        session.shared.networks.close(&session.of, &session.desk);
        Ok(())
    }
}

/// One user on one network.
pub(crate) struct Session {
    shared: Arc<Shared>,
    of: SessionOf,
    host: Host,
    desk: Arc<Desk>,
    network: Arc<Network>,
    people: Arc<People>,
    /// In force for the network.
    settings: Arc<Resolved>,
    link: Option<Box<Link>>,
    /// The attempt that is under way: which ports are left, and the connection being made.
    attempt: Option<Box<Attempt>>,
    /// The user's own, shown to the server.
    certificate: Option<Arc<Certificate>>,
    dialing: Option<Dialing>,
    /// When the lost connection is tried again.
    retry_at: Option<Instant>,
    failures: u32,
    /// The nick that the user wants here.
    wish: String,
    /// By folded name.
    rooms: Table<Box<Room>>,
    /// Rooms that we are in, or were, without anybody wanting it: folded name, and why. One entry for each PART that is not answered.
    unasked: Few<(Box<str>, Unwanted)>,
    /// What waits for the connection.
    waiting: Vec<(Waiting, Instant)>,
    pending: Vec<Pending>,
    /// Private conversations that began in a room: folded nick → room.
    talks: Few<(Box<str>, RoomId)>,
    /// Words for the server while the user is away.
    away: Option<Box<str>>,
    events: VecDeque<Inbound>,
    reports: Few<LinkState>,
    changes: Few<Change>,
    /// When the connection was last needed by somebody.
    used: Instant,
    /// The user has been told of the break.
    told_break: bool,
    /// The contacts are to be watched.
    watch: bool,
    /// Rooms of this session stand in the store.
    saved: bool,
    /// Of the line that is being handled: the label that it answers (0: none), and whether it was said before.
    label: u32,
    backlog: bool,
    /// They are away because no client of theirs is there.
    absent: bool,
    /// It has been connected, and has not been ended since: where the user wants that, it comes back.
    stays: bool,
    /// The last room is left, and nothing else has asked for the connection since.
    unneeded: bool,
    /// It is one of very many: the rooms that it concerns are counted and told together.
    folds: bool,
    /// What most sessions never need.
    rare: Option<Box<Rare>>,
}

/// What most sessions never need: it has no place in those.
#[derive(Debug, Default)]
pub(crate) struct Rare {
    /// Rooms that the line concerns that is being handled, where it is one of very many.
    touched: Vec<RoomId>,
    /// Of the event that is being handled: what the network calls the message that it is about.
    about: Vec<ForeignMessageId>,
    /// Messages that somebody has withdrawn, until it is known who wrote them.
    withdrawn: Vec<acts::Withdrawn>,
    /// What is said of somebody who is away, once.
    aways: Vec<chat::Away>,
    /// Folded nicks of watched contacts who are there.
    online: Vec<Box<str>>,
    /// Those of them who are away; and questions about it that are not answered.
    gone: Vec<Box<str>>,
    userhosts: VecDeque<gone::Userhost>,
    /// The network gives messages names: what is heard twice is known again.
    names_messages: bool,
    /// A connection waits until it is known how the server was spoken to before.
    asks_trust: bool,
    /// When somebody last said something in private; what is missing of that.
    private_heard: Option<SystemTime>,
    missed: history::Missed,
    /// Up to when private conversations are read: folded nicks.
    read: Vec<(Box<str>, Option<SystemTime>)>,
    /// Since when nobody has been heard, where that is bounded.
    alone: Option<SystemTime>,
    /// What was typed last of some commands, and when: the session asks by them, too.
    typed: Vec<(&'static str, Instant)>,
    /// AWAY was typed by hand, and is not answered yet.
    typed_away: bool,
    /// When the server has refused a list, which it may end all the same.
    list_refused: Option<Instant>,
    /// The nick that NICK was typed for by hand, until it is answered.
    typed_nick: Option<Box<str>>,
    /// The server that the user has chosen for themself, as the settings name it.
    own_server: Option<Box<str>>,
    /// Nicks of contacts that the server watches (MONITOR), as the user has them.
    monitored: Vec<Box<str>>,
    /// Nicks of contacts that are asked about again and again, where it does not.
    asked: Vec<Box<str>>,
    /// Questions for them that are not answered.
    isons: VecDeque<watch::Ison>,
    /// Of the contacts who are there, with whom the next look at who is away begins.
    asked_from: usize,
    /// Rooms of a bouncer to which the user was invited.
    invited: Vec<Box<str>>,
    /// Rooms that have moved, and what the user has set for them.
    moved: Vec<(RoomId, crate::settings::Choices)>,
    /// The latest bans.
    bans: Vec<members::Ban>,
}

/// What waits for a connection that is being made.
enum Waiting {
    Words(Box<Delivery>),
    Question(Box<Ask>),
}

impl Waiting {
    fn fail(self, error: &DeliveryError) {
        match self {
            Self::Words(delivery) => delivery.ticket.failed(error.clone()),
            Self::Question(ask) => ask.reply.failed(error.clone()),
        }
    }
}

/// What is still to be done of what has happened.
enum Woke {
    /// Nothing but to look after what is due.
    Done,
    Dialed(Box<Result<Connected, NoConnection>>),
    /// Something has to be looked up or committed first.
    Later(Box<Delivery>),
    Order,
    Stop,
}

/// What a session waits with, beside its connection and its inbox.
struct Waits {
    timer: Pin<Box<Sleep>>,
    /// For the core to have room again, where it had none.
    room: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// The connection is looked at before the inbox.
    lines_first: bool,
}

impl Session {
    fn new(shared: Arc<Shared>, of: SessionOf, host: Host) -> Self {
        let network = shared.networks.get(&of.network);
        let settings = host.resolved(&of.user, &Address::Network(of.network.clone()));
        Self {
            // The mapping that takes least for the same, until the server says what its own is.
            people: network.people(Casemapping::Ascii),
            shared,
            of,
            host,
            desk: Arc::default(),
            network,
            settings,
            link: None,
            attempt: None,
            certificate: None,
            dialing: None,
            retry_at: None,
            failures: 0,
            wish: String::new(),
            rooms: Table::default(),
            unasked: Few::default(),
            waiting: Vec::new(),
            pending: Vec::new(),
            talks: Few::default(),
            away: None,
            events: VecDeque::new(),
            reports: Few::default(),
            changes: Few::default(),
            used: Instant::now(),
            told_break: false,
            watch: false,
            saved: false,
            label: 0,
            backlog: false,
            absent: false,
            stays: false,
            unneeded: false,
            folds: false,
            rare: None,
        }
    }

    async fn serve(&mut self, inbox: &mut Inbox) {
        let mut waits = Waits { timer: Box::pin(sleep_until(Instant::now() + LINGER)), room: None, lines_first: false };
        loop {
            let now = Instant::now();
            self.look_after(now);
            self.desk.rooms.store(u32::try_from(self.rooms.len()).unwrap_or(u32::MAX), Ordering::Relaxed);
            if self.rare.as_ref().is_some_and(|r| r.asks_trust) {
                Box::pin(self.learn_trust()).await;
            }
            if !self.reports.is_empty()
                || !self.changes.is_empty()
                || self.rare.as_ref().is_some_and(|r| !r.withdrawn.is_empty() || !r.moved.is_empty())
            {
                Box::pin(self.tell()).await;
            }
            if self.watch {
                Box::pin(self.watch_contacts()).await;
            }
            if self.is_over(now) {
                return;
            }
            let deadline = self.deadline(now);
            if deadline < waits.timer.deadline() || waits.timer.is_elapsed() {
                waits.timer.as_mut().reset(deadline);
            }
            match poll_fn(|cx| self.poll_wakes(cx, &mut waits, inbox)).await {
                Woke::Done => {}
                Woke::Dialed(result) => Box::pin(self.on_dialed(*result)).await,
                Woke::Later(delivery) => Box::pin(self.on_later(delivery)).await,
                Woke::Order => Box::pin(self.on_orders()).await,
                Woke::Stop => break,
            }
        }
        Box::pin(self.leave()).await;
    }

    /// Whatever happens first. What needs no waiting is done here: a future for each source, made anew for each turn as `select!` does, costs
    /// more than the turn, and stands in every idle session's task.
    fn poll_wakes(&mut self, cx: &mut Context<'_>, waits: &mut Waits, inbox: &mut Inbox) -> Poll<Woke> {
        // In turn: neither a flood of lines nor one of work has the session for itself.
        waits.lines_first = !waits.lines_first;
        for lines in [waits.lines_first, !waits.lines_first] {
            let woke = if lines { self.poll_connection(cx) } else { self.poll_work(cx, inbox) };
            if woke.is_ready() {
                return woke;
            }
        }
        if self.desk.poll(cx).is_ready() {
            return Poll::Ready(Woke::Order);
        }
        if self.events.is_empty() {
            waits.room = None;
        } else {
            let host = &self.host;
            let room = waits.room.get_or_insert_with(|| {
                let host = host.clone();
                Box::pin(async move { host.ready().await })
            });
            if room.as_mut().poll(cx).is_ready() {
                waits.room = None;
                self.on_ready();
                return Poll::Ready(Woke::Done);
            }
        }
        waits.timer.as_mut().poll(cx).map(|()| Woke::Done)
    }

    /// Work, a bounded part of it in one go.
    fn poll_work(&mut self, cx: &mut Context<'_>, inbox: &mut Inbox) -> Poll<Woke> {
        if !self.takes_work() {
            return inbox.poll_stopped(cx).map(|()| Woke::Stop);
        }
        let Some(work) = ready!(inbox.poll_recv(cx)) else { return Poll::Ready(Woke::Stop) };
        let mut later = self.on_work(work);
        for _ in 1..64 {
            if later.is_some() || !self.takes_work() {
                break;
            }
            let Some(work) = inbox.try_recv() else { break };
            later = self.on_work(work);
        }
        Poll::Ready(later.map_or(Woke::Done, Woke::Later))
    }

    fn poll_connection(&mut self, cx: &mut Context<'_>) -> Poll<Woke> {
        if let Some(dialing) = &mut self.dialing {
            return match dialing.as_mut().poll(cx) {
                Poll::Ready(result) => {
                    self.dialing = None;
                    Poll::Ready(Woke::Dialed(Box::new(result)))
                }
                Poll::Pending => Poll::Pending,
            };
        }
        let deaf = self.is_deaf();
        let Some(link) = &mut self.link else { return Poll::Pending };
        match link.poll(cx, deaf) {
            Poll::Ready(Looked::Read(read)) => {
                link.heard = Instant::now();
                link.pinged = false;
                let mut reader = std::mem::take(&mut link.reader);
                link::with_read(read, |bytes| reader.feed(bytes, |line| self.on_bytes(line)));
                if let Some(link) = &mut self.link {
                    link.reader = reader;
                }
                Poll::Ready(Woke::Done)
            }
            Poll::Ready(Looked::Over(result)) => {
                self.on_over(result);
                Poll::Ready(Woke::Done)
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// So much waits for the core that nothing more is read of the server.
    fn is_deaf(&self) -> bool {
        !self.events.is_empty() && self.link.as_ref().is_some_and(|l| l.held.len() > MAX_HELD)
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// What the network calls the message that the event is about.
    fn about(&self) -> &[ForeignMessageId] {
        self.rare.as_ref().map_or(&[], |r| &r.about)
    }

    fn takes_work(&self) -> bool {
        self.events.len() < MAX_EVENTS && self.link.as_ref().is_none_or(|l| l.queue.len() < MAX_QUEUE)
    }

    /// One piece of work; gives it back if something has to be looked up or committed first.
    fn on_work(&mut self, work: Work) -> Option<Box<Delivery>> {
        self.used = Instant::now();
        match work {
            Work::Deliver(delivery) => {
                if !delivery.ticket.starts_at_once() || self.needs_looking_up(&delivery.event) {
                    return Some(delivery);
                }
                self.deliver(delivery);
            }
            Work::Ask(ask) => self.on_question(ask),
            Work::SettingsChanged(at) => self.on_settings(&at),
            _ => {}
        }
        None
    }

    async fn on_later(&mut self, mut delivery: Box<Delivery>) {
        if delivery.ticket.starting().await.is_err() {
            return; // another attempt owns it
        }
        if self.needs_looking_up(&delivery.event) {
            self.look_up(&mut delivery).await;
        }
        self.deliver(delivery);
    }

    fn deliver(&mut self, delivery: Box<Delivery>) {
        self.is_heard();
        self.somebody_is_here();
        self.on_delivery(delivery);
        if let Some(rare) = &mut self.rare {
            rare.about.clear();
        }
    }

    fn on_settings(&mut self, _at: &Address) {
        let before = self.settings.clone();
        let away = self.shown_away().map(str::to_owned);
        self.settings = self.host.resolved(&self.of.user, &Address::Network(self.of.network.clone()));
        for room in self.rooms.values_mut() {
            room.settings = self.host.resolved(&self.of.user, &Address::Room(room.id.clone()));
        }
        let real_name = self.settings.get(crate::settings::REALNAME).unwrap_or(&self.wish).to_owned();
        if real_name != before.get(crate::settings::REALNAME).unwrap_or(&self.wish)
            && self.has_cap(crate::proto::caps::Caps::SETNAME)
        {
            self.send(crate::proto::write::text("SETNAME", &[], real_name.as_bytes()));
        }
        self.away_changed(away.as_deref());
        self.tell_abilities();
        self.guard_secrets();
        let rate = crate::settings::rate(&self.settings);
        if let Some(link) = &mut self.link
            && !link.server.safe_rate
        {
            link.bucket.set(rate);
        }
    }

    async fn on_orders(&mut self) {
        for order in self.desk.take() {
            match order {
                Order::Disconnect(words) => self.disconnect(&words).await,
                Order::Reconnect => self.reconnect().await,
                Order::Certificate(own) => self.certificate = own,
                Order::Ask(ask) => self.on_question(ask),
                Order::Tell(back) => drop(back.send(self.status())),
            }
        }
    }

    fn status(&self) -> Status {
        let link = self.link.as_ref().filter(|l| l.phase != Phase::Registering);
        let inside = self.rooms.values().filter(|r| r.is_inside()).map(|r| r.id.clone());
        Status {
            host: self.server_host(),
            link: link.map(|l| (l.port, l.tls, self.host.now() - l.began.elapsed())),
            nick: self.link.as_ref().map_or_else(|| self.wish.clone(), |l| l.nick.clone()),
            rooms: inside.collect(),
        }
    }

    /// The core has room again: what waited goes first, then the lines that were kept.
    fn on_ready(&mut self) {
        while let Some(event) = self.events.pop_front() {
            if self.host.offer(&event).is_err() {
                self.events.push_front(event);
                return;
            }
        }
        let held = self.link.as_mut().map(|l| std::mem::take(&mut l.held)).unwrap_or_default();
        for line in held.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
            self.on_bytes(line);
        }
    }

    // To the core.

    /// What happened at an address, now.
    fn emit(&mut self, from: Address, event: Event) {
        let mut inbound = Inbound::new(self.of.user.clone(), from, event);
        inbound.at = self.host.now();
        self.push(inbound);
    }

    fn push(&mut self, mut inbound: Inbound) {
        inbound.apart |= self.is_apart();
        if !self.events.is_empty() || self.host.offer(&inbound).is_err() {
            self.events.push_back(inbound);
        }
    }

    fn network_address(&self) -> Address {
        Address::Network(self.of.network.clone())
    }

    /// Words of ours or of the server's, from the network's address.
    fn notice(&mut self, text: Text) {
        self.notice_from(self.network_address(), text);
    }

    fn notice_from(&mut self, from: Address, text: Text) {
        self.emit(from, Event::Notice { text, about: None, actions: Vec::new() });
    }

    /// What can only be told with an `.await`: states of the connection, small state that is kept.
    async fn tell(&mut self) {
        for state in self.reports.take() {
            self.host.report(&self.of, state).await;
        }
        if self.rare.as_ref().is_some_and(|r| !r.withdrawn.is_empty()) {
            Box::pin(self.tell_withdrawn()).await;
        }
        if self.rare.as_ref().is_some_and(|r| !r.moved.is_empty()) {
            Box::pin(self.move_settings()).await;
        }
        if !self.changes.is_empty() {
            let changes = self.changes.take();
            if let Err(error) = self.host.store(changes).await {
                tracing::warn!(user = %self.of.user, network = %self.of.network, %error, "what a session keeps could not be stored");
            }
        }
    }

    // Time.

    /// Nothing is connected, nothing waits, and nobody wanted anything for a while.
    fn is_over(&self, now: Instant) -> bool {
        self.link.is_none()
            && self.attempt.is_none()
            && self.retry_at.is_none()
            && self.waiting.is_empty()
            && self.events.is_empty()
            && now >= self.used + LINGER
    }

    /// When to look again, whatever happens.
    fn deadline(&self, now: Instant) -> Instant {
        let mut next = now + LINGER;
        let mut at = |time: Option<Instant>| next = time.map_or(next, |t| t.min(next));
        at(self.retry_at);
        at(self.waiting.iter().map(|(_, until)| *until).min());
        at(self.pending.iter().map(|p| p.until).min());
        at(self.unasked.iter().map(|(_, why)| why.until()).min());
        at(self.rooms.values().filter_map(|room| room.deadline()).min());
        match &self.link {
            Some(link) => {
                at(link.next_turn(now));
                at(link.said.front().map(|s| s.until));
                at(self.next_typing());
                at(Some(link.heard + link::SILENCE + if link.pinged { link::ANSWER } else { Duration::ZERO }));
                match link.phase {
                    _ if self.is_deaf() => {} // none of these counts meanwhile
                    Phase::Registering => {
                        at(Some(link.began + if link.welcomed { link::WELCOMED } else { link::WELCOME }));
                    }
                    Phase::Settling(until) => at(Some(until)),
                    Phase::Up => at(Some(self.used + IDLE).filter(|_| self.rooms.is_empty())),
                }
            }
            None => at(Some(self.used + LINGER).filter(|t| *t > now)),
        }
        next
    }

    /// Everything that is due.
    fn look_after(&mut self, now: Instant) {
        self.look_after_link(now);
        self.look_after_words(now);
        self.look_after_typing(now);
        self.look_after_pending(now);
        self.look_after_rooms(now);
        self.look_after_idle();
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.connect();
        }
        let (late, still): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(_, until)| *until <= now);
        self.waiting = still;
        let error = DeliveryError::new(Failure::TimedOut, Text::key("no-answer"));
        late.into_iter().for_each(|(waiting, _)| waiting.fail(&error));
        self.close_if_unneeded();
    }

    /// A line of bytes from the server. While the core has no room, lines are kept, and only PING is answered.
    fn on_bytes(&mut self, bytes: &[u8]) {
        if self.events.is_empty() {
            self.on_text(bytes);
            return;
        }
        let Some(link) = &mut self.link else { return };
        if let Some(words) = ping(bytes) {
            let mut answer = b"PONG ".to_vec();
            answer.extend_from_slice(words);
            answer.extend_from_slice(b"\r\n");
            link.now(&answer);
        } else {
            link.held.extend_from_slice(bytes);
            link.held.push(b'\n');
        }
    }
}

/// What is to be answered, where a line is PING: with tags and a source before it or without, in letters of any size.
fn ping(line: &[u8]) -> Option<&[u8]> {
    let mut rest = line;
    for mark in *b"@:" {
        if rest.first() == Some(&mark) {
            rest = rest[rest.iter().position(|b| *b == b' ')?..].trim_ascii_start();
        }
    }
    let (command, words) = rest.split_at_checked(5)?;
    command.eq_ignore_ascii_case(b"PING ").then_some(words)
}

/// A view's lock; a panic elsewhere leaves a view whole enough to be left.
fn view(view: &Mutex<RoomView>) -> std::sync::MutexGuard<'_, RoomView> {
    view.lock().unwrap_or_else(PoisonError::into_inner)
}

/// There is no such thing on IRC.
fn unsupported() -> DeliveryError {
    DeliveryError::new(Failure::Unsupported, Text::key("unsupported"))
}

#[cfg(test)]
mod tests;
