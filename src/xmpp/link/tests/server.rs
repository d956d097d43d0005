//! A component server of few words, whose every move the test decides.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::config::{Backoff, Endpoint, Keepalive, LinkConfig};
use super::super::error::{LinkEnd, LinkState};
use super::super::permit::Permit;
use super::super::scan::BadStanza;
use super::super::stanza::Stanza;
use super::super::{LinkHandle, Receive, start};
use super::HEADER;

/// Nothing here takes long; who waits this long waits for ever.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(result) => result,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

pub(super) struct Server {
    listener: TcpListener,
}

impl Server {
    pub(super) async fn bind() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.expect("a free port") }
    }

    pub(super) fn config(&self) -> LinkConfig {
        let port = self.listener.local_addr().expect("bound").port();
        let endpoint = Endpoint::Tcp { host: "127.0.0.1".into(), port };
        let mut config = LinkConfig::new("gw.localhost", endpoint, "s3cret".into());
        config.backoff = Backoff { first: Duration::from_millis(1), longest: Duration::from_millis(20) };
        config.keepalive = Keepalive { attach: PATIENCE, ..Keepalive::default() };
        config
    }

    /// The next connection, before anything is said.
    pub(super) async fn connection(&self) -> Peer {
        let (stream, _) = soon("a connection", self.listener.accept()).await.expect("accepted");
        Peer { stream, read: Vec::new() }
    }

    /// The next connection, after the handshake.
    pub(super) async fn attached(&self) -> Peer {
        let mut peer = self.connection().await;
        peer.greeted().await;
        peer.say("<handshake/>").await;
        peer
    }
}

pub(super) struct Peer {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Peer {
    /// Reads the component's header and handshake.
    pub(super) async fn greeted(&mut self) -> String {
        let opening = self.until("to='gw.localhost'>").await;
        assert!(opening.contains("xmlns='jabber:component:accept'"), "{opening}");
        self.say(HEADER).await;
        self.until("</handshake>").await
    }

    pub(super) async fn say(&mut self, what: &str) {
        self.stream.write_all(what.as_bytes()).await.expect("the component reads");
    }

    /// All that came up to and with `end`.
    pub(super) async fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = memchr::memmem::find(&self.read, end.as_bytes()) {
                let rest = self.read.split_off(at + end.len());
                return String::from_utf8(std::mem::replace(&mut self.read, rest)).expect("UTF-8");
            }
            let read = soon(end, self.stream.read_buf(&mut self.read)).await.expect("no error");
            let so_far = String::from_utf8_lossy(&self.read).into_owned();
            assert!(read > 0, "the component hung up; waited for {end}, got {so_far}");
        }
    }

    /// All that comes until the component hangs up.
    pub(super) async fn rest(&mut self) -> String {
        while soon("the end", self.stream.read_buf(&mut self.read)).await.unwrap_or(0) > 0 {}
        String::from_utf8(std::mem::take(&mut self.read)).expect("UTF-8")
    }

    /// The next ping, with what came before it.
    pub(super) async fn ping(&mut self) -> (String, String) {
        let all = self.until("<ping xmlns='urn:xmpp:ping'/></iq>").await;
        let at = all.rfind("<iq ").expect("a ping is an iq");
        (all[..at].to_owned(), all[at..].to_owned())
    }

    /// Routes the next ping back, as a server does.
    pub(super) async fn route_ping(&mut self) -> String {
        let (before, ping) = self.ping().await;
        self.say(&ping).await;
        before
    }
}

#[derive(Debug)]
pub(super) enum Event {
    Stanza(Stanza, Permit),
    Malformed(BadStanza),
    State(LinkState),
}

struct Recorder {
    events: mpsc::UnboundedSender<Event>,
    panic_on: Mutex<Option<&'static str>>,
}

impl Receive for Recorder {
    fn on_stanza(&self, stanza: Stanza, permit: Permit) {
        let panic_on = *self.panic_on.lock().expect("no panic while locked");
        assert!(panic_on.is_none() || stanza.id() != panic_on, "on purpose");
        let _ = self.events.send(Event::Stanza(stanza, permit));
    }

    fn on_malformed(&self, stanza: BadStanza) {
        let _ = self.events.send(Event::Malformed(stanza));
    }

    fn on_state(&self, state: &LinkState) {
        let _ = self.events.send(Event::State(state.clone()));
    }
}

/// A running link and what it reports.
pub(super) struct Link {
    pub(super) handle: LinkHandle,
    pub(super) stop: CancellationToken,
    events: mpsc::UnboundedReceiver<Event>,
    recorder: Arc<Recorder>,
    life: JoinHandle<LinkEnd>,
}

impl Link {
    pub(super) fn start(config: LinkConfig) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let recorder = Arc::new(Recorder { events: sender, panic_on: Mutex::new(None) });
        let stop = CancellationToken::new();
        let (handle, life) = start(config, recorder.clone(), stop.clone());
        Self { handle, stop, events, recorder, life: tokio::spawn(life) }
    }

    pub(super) fn panic_on(&self, id: &'static str) {
        *self.recorder.panic_on.lock().expect("no panic while locked") = Some(id);
    }

    pub(super) async fn event(&mut self) -> Event {
        soon("an event", self.events.recv()).await.expect("the link lives")
    }

    pub(super) fn has_event(&self) -> bool {
        !self.events.is_empty()
    }

    pub(super) async fn stanza(&mut self) -> (Stanza, Permit) {
        loop {
            if let Event::Stanza(stanza, permit) = self.event().await {
                return (stanza, permit);
            }
        }
    }

    pub(super) async fn malformed(&mut self) -> BadStanza {
        loop {
            if let Event::Malformed(bad) = self.event().await {
                return bad;
            }
        }
    }

    /// The number of the next stream.
    pub(super) async fn attached(&mut self) -> u64 {
        loop {
            if let Event::State(LinkState::Attached { epoch }) = self.event().await {
                return epoch;
            }
        }
    }

    /// Why the link went down next.
    pub(super) async fn down(&mut self) -> LinkState {
        loop {
            if let Event::State(state @ LinkState::Down { .. }) = self.event().await {
                return state;
            }
        }
    }

    pub(super) async fn end(self) -> LinkEnd {
        soon("the link's end", self.life).await.expect("the link's task must not panic")
    }
}
