//! A session driven by hand.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{FakeHost, PATIENCE};
use crate::address::{Address, BareJid};
use crate::bridge::Bridge;
use crate::command::{Action, Call, Step};
use crate::error::{BridgeError, DeliveryError};
use crate::host::{Host, SessionOf};
use crate::inbox::{Ask, InboxSender, Work, inbox};
use crate::message::{DeliveryKey, Message};
use crate::outbound::{Intent, Outbound};
use crate::query::{Part, Query, Reply, ReplySink};
use crate::settings::Values;
use crate::ticket::{Leg, Outcome};

/// One session of a bridge, running.
pub struct Session {
    bridge: Arc<dyn Bridge>,
    host: Arc<FakeHost>,
    of: SessionOf,
    inbox: InboxSender,
    stop: CancellationToken,
    task: JoinHandle<Result<(), BridgeError>>,
}

impl Session {
    /// Starts the session that serves `at` for this user.
    pub fn start(bridge: &Arc<dyn Bridge>, host: &Arc<FakeHost>, user: &str, at: &Address) -> Self {
        let of = SessionOf::new(BareJid::from(user), host.network_of(at));
        let stop = CancellationToken::new();
        let (sender, inbox) = inbox(stop.clone());
        let (running, given, session_of) = (bridge.clone(), host.host(), of.clone());
        let task = tokio::spawn(async move { running.session(session_of, inbox, given).await });
        Self { bridge: bridge.clone(), host: host.clone(), of, inbox: sender, stop, task }
    }

    /// Whose session it is.
    pub fn of(&self) -> &SessionOf {
        &self.of
    }

    /// Its inbox.
    pub fn inbox(&self) -> &InboxSender {
        &self.inbox
    }

    /// Queues an event of the session's user; panics if the inbox does not take it.
    pub fn send(&self, to: Address, intent: Intent) -> DeliveryKey {
        self.send_event(self.host.outbound(&self.of.user, to, intent))
    }

    /// Queues an event as it stands.
    pub fn send_event(&self, event: Outbound) -> DeliveryKey {
        let key = event.key.clone();
        let work = Work::Deliver(Box::new(self.host.delivery(event)));
        assert!(self.inbox.push(work).is_ok(), "the inbox does not take the work: full, or the session has ended");
        key
    }

    /// Queues an event and waits for its legs; panics if the ticket is dropped.
    pub async fn deliver(&self, to: Address, intent: Intent) -> Vec<Leg> {
        let key = self.send(to, intent);
        match self.host.outcome_of(&key).await {
            Outcome::Legs(legs) => legs,
            Outcome::Dropped => panic!("the ticket of {key} was dropped"),
        }
    }

    /// Says something and waits until it is handed over; the first failed leg is the error.
    pub async fn say(&self, to: Address, body: &str) -> Result<Vec<Leg>, DeliveryError> {
        let legs = self.deliver(to, Intent::Send(Box::new(Message::chat(body)))).await;
        match legs.iter().find_map(|leg| leg.result.clone().err()) {
            Some(error) => Err(error),
            None => Ok(legs),
        }
    }

    /// Asks and waits for the whole answer: its parts, and how it ended.
    pub async fn ask(&self, query: Query) -> (Vec<Part>, Result<(), DeliveryError>) {
        let (reply, answer) = reply();
        let taken = self.inbox.push(Work::Ask(Box::new(Ask::new(query, reply))));
        assert!(taken.is_ok(), "the inbox does not take the question");
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => answer,
            _ => panic!("no answer within {} s", PATIENCE.as_secs()),
        }
    }

    /// Changes the user's setting at an address, and tells the session as the core does.
    pub async fn set(&self, at: &Address, key: &str, value: Option<&str>) {
        let changes = vec![(key.to_owned(), value.map(str::to_owned))];
        let host: Host = self.host.host();
        if let Err(e) = host.set(&self.of.user, at, changes).await {
            panic!("the setting {key} was not taken: {e}");
        }
        assert!(self.inbox.push(Work::SettingsChanged(at.clone())).is_ok(), "the inbox does not take the change");
    }

    /// Runs a command of the bridge to its end, one set of values a form; panics if it asks for more or ends early.
    pub async fn command(&self, node: &str, at: Address, forms: Vec<Values>) -> Result<Step, DeliveryError> {
        run_command(&*self.bridge, &self.host.host(), Call::start(node, self.of.user.clone(), at), forms).await
    }

    /// The session has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Fires the stop token and waits for the session to return.
    pub async fn stop(self) -> Result<(), BridgeError> {
        self.stop.cancel();
        self.ended().await
    }

    /// Waits until the session ends by itself; panics where it does, or when it never ends.
    pub async fn ended(self) -> Result<(), BridgeError> {
        let abort = self.task.abort_handle();
        match tokio::time::timeout(PATIENCE, self.task).await {
            Ok(Ok(result)) => result,
            Ok(Err(e)) => panic!("the session of {:?} panicked: {e}", self.of),
            Err(_) => {
                abort.abort();
                panic!("the session of {:?} did not end within {} s", self.of, PATIENCE.as_secs())
            }
        }
    }
}

/// Runs a command to its end, as a person would who fills in one set of values a form.
pub async fn run_command(
    bridge: &dyn Bridge,
    host: &Host,
    start: Call,
    forms: Vec<Values>,
) -> Result<Step, DeliveryError> {
    let mut step = bridge.step(start.clone(), host).await?;
    for values in forms {
        let Step::Ask { state, last, .. } = step else {
            panic!("{} ended before the values {values:?} were asked for: {step:?}", start.node)
        };
        let mut call = start.clone();
        call.action = if last { Action::Complete } else { Action::Next };
        (call.state, call.values) = (state, values);
        step = bridge.step(call, host).await?;
    }
    Ok(step)
}

type Answer = (Vec<Part>, Result<(), DeliveryError>);

/// A reply, and its whole answer once it has ended.
pub fn reply() -> (Reply, oneshot::Receiver<Answer>) {
    let (sender, receiver) = oneshot::channel();
    (Reply::new(Box::new(Collector { parts: Vec::new(), end: Mutex::new(Some(sender)) })), receiver)
}

struct Collector {
    parts: Vec<Part>,
    end: Mutex<Option<oneshot::Sender<Answer>>>,
}

impl ReplySink for Collector {
    fn part(&mut self, part: Part) {
        self.parts.push(part);
    }

    fn end(&mut self, result: Result<(), DeliveryError>) {
        if let Some(sender) = self.end.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            // Whoever asked may be gone.
            let _ = sender.send((std::mem::take(&mut self.parts), result));
        }
    }
}
