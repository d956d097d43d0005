//! A scripted XMPP server for components (XEP-0114).
//!
//! It checks the handshake, routes between its components as Prosody does (so a ping from a component to its own domain comes
//! back), closes the stream on what Prosody closes it on, records every stanza, and misbehaves on request.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sha1::{Digest, Sha1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::server::secret;
use crate::xml::{Element, Frame, Framer};

const WITHIN: Duration = Duration::from_secs(30);

/// What a component that opens a stream meets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Attach {
    /// The handshake is checked.
    #[default]
    Check,
    /// The stream error of this condition, after the handshake came.
    Refuse(&'static str),
    /// Nothing at all is said.
    Silent,
    /// The connection is closed at once.
    Cut,
}

/// How the server behaves; may be changed at any time.
#[derive(Debug, Clone)]
pub struct Rules {
    /// For new streams.
    pub attach: Attach,
    /// Whether stanzas from a component to one of our components' domains are delivered (barrier pings are such).
    pub route: bool,
    /// Closes the stream on a stanza without `to`, or with a `from` outside the component's domain.
    pub strict: bool,
    /// A connection that has sent this many bytes after its handshake is cut there; the rest is not seen. Set it back to `None` to let
    /// the next connection live.
    pub cut_after: Option<usize>,
    /// Whether anything is read from components; `false`: their writes pile up.
    pub reading: bool,
    /// Whether a second connection of one component throws the first out (else the second gets `conflict`).
    pub kick_old: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { attach: Attach::Check, route: true, strict: true, cut_after: None, reading: true, kick_old: false }
    }
}

/// What was seen, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A component attached; connections are counted from 1.
    Attached {
        /// Its domain.
        domain: String,
        /// Which connection.
        connection: usize,
    },
    /// A stanza came that was not for one of our components, or routing is off.
    Stanza {
        /// The component's domain.
        domain: String,
        /// Which connection.
        connection: usize,
        /// It.
        element: Element,
        /// Its bytes.
        raw: String,
    },
    /// A connection ended after it had attached.
    Detached {
        /// The component's domain.
        domain: String,
        /// Which connection.
        connection: usize,
        /// It had closed its stream (`</stream:stream>`).
        closed: bool,
    },
}

#[derive(Debug)]
enum Order {
    Write(Vec<u8>),
    Close,
}

#[derive(Debug)]
struct Shared {
    domains: Vec<String>,
    rules: watch::Sender<Rules>,
    attached: Mutex<HashMap<String, (usize, mpsc::UnboundedSender<Order>)>>,
    connections: Mutex<usize>,
    seen: mpsc::UnboundedSender<Seen>,
}

/// The server; stops when dropped.
#[derive(Debug)]
pub struct FakeXmpp {
    address: SocketAddr,
    shared: Arc<Shared>,
    seen: mpsc::UnboundedReceiver<Seen>,
    waiting: VecDeque<Seen>,
    tasks: Option<JoinSet<()>>,
}

impl FakeXmpp {
    /// Listens for components of these domains; the secrets are [`secret`]`(domain)`.
    pub async fn start(domains: &[&str]) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (seen, receiver) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
            rules: watch::Sender::new(Rules::default()),
            attached: Mutex::default(),
            connections: Mutex::default(),
            seen,
        });
        let mut server = Self { address, shared, seen: receiver, waiting: VecDeque::new(), tasks: None };
        server.serve(listener);
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the rules.
    pub fn rules(&self, change: impl FnOnce(&mut Rules)) {
        self.shared.rules.send_modify(change);
    }

    /// Ends every connection and stops listening, as a server that went down.
    pub fn go_down(&mut self) {
        self.tasks = None;
        self.shared.attached.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Listens again on the same port.
    pub async fn come_up(&mut self) -> Result<()> {
        let listener =
            crate::wait::until("the port again", WITHIN, || async { Ok(TcpListener::bind(self.address).await?) });
        let listener = listener.await?;
        self.serve(listener);
        Ok(())
    }

    /// Writes to the component of `domain` as it stands. An error if it is not attached.
    pub fn send(&self, domain: &str, raw: impl Into<Vec<u8>>) -> Result<()> {
        self.shared.order(domain, Order::Write(raw.into()))
    }

    /// Sends a stream error and closes.
    pub fn stream_error(&self, domain: &str, condition: &str) -> Result<()> {
        self.send(domain, stream_error(condition))?;
        self.cut(domain)
    }

    /// Closes the connection of `domain` after what was written before.
    pub fn cut(&self, domain: &str) -> Result<()> {
        self.shared.order(domain, Order::Close)
    }

    /// The next thing seen that `pick` yields a value for; what it passes over stays for later calls, in order. Fails after 30 s with `what`.
    pub async fn find<T>(&mut self, what: &str, mut pick: impl FnMut(&Seen) -> Option<T>) -> Result<T> {
        for index in 0..self.waiting.len() {
            if let Some(found) = pick(&self.waiting[index]) {
                self.waiting.remove(index);
                return Ok(found);
            }
        }
        let end = tokio::time::Instant::now() + WITHIN;
        loop {
            let next = tokio::time::timeout_at(end, self.seen.recv()).await;
            let Ok(Some(next)) = next else { bail!("{what}: not seen; but: {:#?}", self.waiting) };
            match pick(&next) {
                Some(found) => return Ok(found),
                None => self.waiting.push_back(next),
            }
        }
    }

    /// Waits until the component of `domain` attaches; yields the connection's number.
    pub async fn attached(&mut self, domain: &str) -> Result<usize> {
        let what = format!("{domain} attached");
        self.find(&what, |seen| match seen {
            Seen::Attached { domain: found, connection } if found == domain => Some(*connection),
            _ => None,
        })
        .await
    }

    /// Waits until the component of `domain` is gone; yields whether it has closed its stream.
    pub async fn detached(&mut self, domain: &str) -> Result<bool> {
        let what = format!("{domain} detached");
        self.find(&what, |seen| match seen {
            Seen::Detached { domain: found, closed, .. } if found == domain => Some(*closed),
            _ => None,
        })
        .await
    }

    /// Waits for a stanza that fulfils `is`.
    pub async fn stanza(&mut self, what: &str, mut is: impl FnMut(&Element) -> bool) -> Result<Element> {
        self.find(what, |seen| match seen {
            Seen::Stanza { element, .. } if is(element) => Some(element.clone()),
            _ => None,
        })
        .await
    }

    /// Sends an IQ (the id is made) to a component as if from `from` and waits for the answer.
    pub async fn ask(&mut self, from: &str, to: &str, kind: &str, payload: &str) -> Result<Element> {
        let id = format!("ask-{:016x}", rand::random::<u64>());
        let domain = to.split('/').next().unwrap_or_default().rsplit('@').next().unwrap_or_default().to_owned();
        self.send(&domain, format!("<iq type='{kind}' from='{from}' to='{to}' id='{id}'>{payload}</iq>"))?;
        let what = format!("an answer to {payload}");
        self.stanza(&what, |stanza| stanza.name == "iq" && stanza.attr("id") == Some(&id)).await
    }

    /// Everything seen and not yet asked for, without waiting.
    pub fn drain(&mut self) -> Vec<Seen> {
        while let Ok(next) = self.seen.try_recv() {
            self.waiting.push_back(next);
        }
        self.waiting.drain(..).collect()
    }

    fn serve(&mut self, listener: TcpListener) {
        let shared = self.shared.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let shared = shared.clone();
                connections.spawn(async move { shared.connection(stream).await });
            }
        });
        self.tasks = Some(tasks);
    }
}

impl Shared {
    fn order(&self, domain: &str, order: Order) -> Result<()> {
        let attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, writer) = attached.get(domain).with_context(|| format!("{domain} is not attached"))?;
        writer.send(order).ok().with_context(|| format!("the connection of {domain} has ended"))
    }

    async fn connection(self: Arc<Self>, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let (reader, writer) = stream.into_split();
        let (orders, receiver) = mpsc::unbounded_channel();
        let writing = write_all(writer, receiver);
        let reading = async {
            // A fault of the component's stream ends the connection; the test sees `Detached`.
            let _ = self.read(reader, orders).await;
        };
        tokio::join!(writing, reading);
    }

    async fn read(&self, mut reader: OwnedReadHalf, orders: mpsc::UnboundedSender<Order>) -> Result<()> {
        let attach = self.rules.borrow().attach.clone();
        match attach {
            Attach::Cut => return Ok(()),
            Attach::Silent => {
                while reader.read(&mut [0; 4096]).await? > 0 {}
                return Ok(());
            }
            _ => {}
        }
        let mut inbound = Inbound::new(reader, self.rules.subscribe());
        let Some((domain, connection)) = self.greet(&mut inbound, &orders, &attach).await? else { return Ok(()) };
        let result = self.stanzas(&mut inbound, &orders, &domain, connection).await;
        let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        if attached.get(&domain).is_some_and(|(current, _)| *current == connection) {
            attached.remove(&domain);
        }
        drop(attached);
        let closed = matches!(result, Ok(true));
        let _ = self.seen.send(Seen::Detached { domain, connection, closed });
        let _ = orders.send(Order::Close);
        result.map(drop)
    }

    /// Stream header and handshake. `None`: refused, and said so.
    async fn greet(
        &self,
        inbound: &mut Inbound,
        orders: &mpsc::UnboundedSender<Order>,
        attach: &Attach,
    ) -> Result<Option<(String, usize)>> {
        let Some(Frame::Open(header)) = inbound.next().await? else { bail!("no stream header") };
        let domain = header.attr("to").unwrap_or_default().to_owned();
        let id = format!("{:016x}", rand::random::<u64>());
        let refuse = |condition: &str| {
            let _ = orders.send(Order::Write(stream_error(condition).into()));
            let _ = orders.send(Order::Close);
            Ok(None)
        };
        let answer = format!(
            "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' \
             xmlns:stream='http://etherx.jabber.org/streams' from='{domain}' id='{id}' xml:lang='en'>"
        );
        let _ = orders.send(Order::Write(answer.into()));
        if !self.domains.contains(&domain) {
            return refuse("host-unknown");
        }
        let Some(Frame::Stanza(handshake, _)) = inbound.next().await? else { bail!("no handshake") };
        if let Attach::Refuse(condition) = attach {
            return refuse(condition);
        }
        let expected = hex::encode(Sha1::digest(format!("{id}{}", secret(&domain))));
        if handshake.name != "handshake" || handshake.text != expected {
            return refuse("not-authorized");
        }
        let connection = {
            let mut count = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
            *count += 1;
            *count
        };
        {
            let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, older)) = attached.get(&domain) {
                if !self.rules.borrow().kick_old {
                    return refuse("conflict");
                }
                let _ = older.send(Order::Write(stream_error("conflict").into()));
                let _ = older.send(Order::Close);
            }
            let _ = orders.send(Order::Write(b"<handshake/>".to_vec()));
            attached.insert(domain.clone(), (connection, orders.clone()));
        }
        let _ = self.seen.send(Seen::Attached { domain: domain.clone(), connection });
        inbound.count = Some(0);
        Ok(Some((domain, connection)))
    }

    /// Until the end; whether the component has closed its stream.
    async fn stanzas(
        &self,
        inbound: &mut Inbound,
        orders: &mpsc::UnboundedSender<Order>,
        domain: &str,
        connection: usize,
    ) -> Result<bool> {
        while let Some(frame) = inbound.next().await? {
            let Frame::Stanza(element, raw) = frame else { return Ok(matches!(frame, Frame::Close)) };
            if element.ns == "http://etherx.jabber.org/streams" {
                return Ok(false);
            }
            let rules = self.rules.borrow().clone();
            if rules.strict
                && let Some(condition) = fault(&element, domain)
            {
                let _ = orders.send(Order::Write(stream_error(condition).into()));
                return Ok(false);
            }
            let target = element.attr("to").unwrap_or_default();
            let host = target.split('/').next().unwrap_or_default().rsplit('@').next().unwrap_or_default();
            if rules.route && self.order(host, Order::Write(raw.clone().into_bytes())).is_ok() {
                continue;
            }
            let _ = self.seen.send(Seen::Stanza { domain: domain.to_owned(), connection, element, raw });
        }
        Ok(false)
    }
}

impl Drop for FakeXmpp {
    fn drop(&mut self) {
        self.go_down();
    }
}

/// What Prosody closes a component's stream for.
fn fault(stanza: &Element, domain: &str) -> Option<&'static str> {
    let from = stanza.attr("from").unwrap_or_default();
    let host = from.split('/').next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    if !matches!(stanza.name.as_str(), "message" | "presence" | "iq") || stanza.ns != "jabber:component:accept" {
        return Some("unsupported-stanza-type");
    }
    if host != domain {
        return Some("invalid-from");
    }
    stanza.attr("to").is_none().then_some("improper-addressing")
}

fn stream_error(condition: &str) -> String {
    format!("<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>")
}

async fn write_all(mut writer: OwnedWriteHalf, mut orders: mpsc::UnboundedReceiver<Order>) {
    while let Some(order) = orders.recv().await {
        match order {
            Order::Write(bytes) if writer.write_all(&bytes).await.is_ok() => {}
            _ => break,
        }
    }
    let _ = writer.shutdown().await;
}

/// Reads frames under the rules.
struct Inbound {
    reader: OwnedReadHalf,
    rules: watch::Receiver<Rules>,
    framer: Framer,
    ready: VecDeque<Frame>,
    /// Bytes since the handshake.
    count: Option<usize>,
}

impl Inbound {
    fn new(reader: OwnedReadHalf, rules: watch::Receiver<Rules>) -> Self {
        Self { reader, rules, framer: Framer::default(), ready: VecDeque::new(), count: None }
    }

    async fn next(&mut self) -> Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Ok(Some(frame));
            }
            self.rules.wait_for(|rules| rules.reading).await?;
            let mut buffer = [0; 16 * 1024];
            let mut room = buffer.len();
            let limit = if self.count.is_some() { self.rules.borrow().cut_after } else { None };
            if let (Some(limit), Some(count)) = (limit, self.count) {
                room = room.min(limit.saturating_sub(count));
            }
            if room == 0 {
                return Ok(None);
            }
            let read = self.reader.read(&mut buffer[..room]).await?;
            if read == 0 {
                return Ok(None);
            }
            self.count = self.count.map(|count| count + read);
            self.ready.extend(self.framer.push(&buffer[..read])?);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn attach(server: &FakeXmpp, domain: &str, secret: &str) -> (TcpStream, String) {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        let header = format!(
            "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='{domain}'>"
        );
        stream.write_all(header.as_bytes()).await.unwrap();
        let seen = until(&mut stream, ">").await;
        let seen = if seen.contains("id='") { seen } else { seen + &until(&mut stream, "id='").await };
        let id = seen.split("id='").nth(1).unwrap_or_default().split('\'').next().unwrap_or_default().to_owned();
        let digest = hex::encode(Sha1::digest(format!("{id}{secret}")));
        stream.write_all(format!("<handshake>{digest}</handshake>").as_bytes()).await.unwrap();
        let answer = until(&mut stream, ">").await;
        (stream, answer)
    }

    async fn until(stream: &mut TcpStream, end: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(end) {
            let mut buffer = [0; 1024];
            let read = stream.read(&mut buffer).await.unwrap();
            assert_ne!(read, 0, "the stream ended after {seen}");
            seen += std::str::from_utf8(&buffer[..read]).unwrap();
        }
        seen
    }

    #[tokio::test]
    async fn a_right_secret_attaches_and_a_wrong_one_does_not() {
        let mut server = FakeXmpp::start(&["a.test"]).await.unwrap();
        let (_, answer) = attach(&server, "a.test", "wrong").await;
        assert!(answer.contains("not-authorized"), "{answer}");
        let (_stream, answer) = attach(&server, "a.test", &secret("a.test")).await;
        assert_eq!(answer, "<handshake/>");
        assert_eq!(server.attached("a.test").await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_ping_to_the_own_domain_comes_back() {
        let mut server = FakeXmpp::start(&["a.test"]).await.unwrap();
        let (mut stream, _) = attach(&server, "a.test", &secret("a.test")).await;
        server.attached("a.test").await.unwrap();
        let ping = "<iq type='get' from='b1@a.test' to='a.test' id='p'><ping xmlns='urn:xmpp:ping'/></iq>";
        stream.write_all(ping.as_bytes()).await.unwrap();
        assert_eq!(until(&mut stream, "</iq>").await, ping);
    }

    #[tokio::test]
    async fn a_stanza_that_prosody_would_not_take_ends_the_stream() {
        let mut server = FakeXmpp::start(&["a.test"]).await.unwrap();
        let (mut stream, _) = attach(&server, "a.test", &secret("a.test")).await;
        stream.write_all(b"<message from='x@b.test' to='c.test'/>").await.unwrap();
        let answer = until(&mut stream, "</stream:stream>").await;
        assert!(answer.contains("invalid-from"), "{answer}");
        let gone = |seen: &Seen| matches!(seen, Seen::Detached { .. }).then_some(());
        server.find("the end", gone).await.unwrap();
    }

    #[tokio::test]
    async fn a_connection_is_cut_at_the_byte_asked_for() {
        let mut server = FakeXmpp::start(&["a.test"]).await.unwrap();
        server.rules(|rules| rules.cut_after = Some(60));
        let (mut stream, _) = attach(&server, "a.test", &secret("a.test")).await;
        let one = "<presence from='a.test' to='u@b.test/1'/>"; // 41 bytes
        stream.write_all(one.repeat(2).as_bytes()).await.unwrap();
        let gone = |seen: &Seen| matches!(seen, Seen::Detached { .. }).then_some(());
        server.find("the end", gone).await.unwrap();
        let stanzas = server.drain().into_iter().filter(|seen| matches!(seen, Seen::Stanza { .. })).count();
        assert_eq!(stanzas, 1);
    }
}
