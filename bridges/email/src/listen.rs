//! Takes mail by LMTP (RFC 2033) and SMTP (RFC 5321): sockets, TLS, and every bound that concerns time and number.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use isthmus_bridge::{BridgeError, Finding, Host};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::Mail;
use crate::auth::Peer;
use crate::config::Bind;
use crate::intake::{Intake, Recipient};
use crate::proto::{Dialect, Limits, Rcpt, Reply, Server, Turn};

/// Time for the octets of one mail.
const MAIL_TIME: Duration = Duration::from_secs(30 * 60);
/// Time for one SMTP connection; our own server (LMTP) keeps its connections.
const SMTP_TIME: Duration = Duration::from_secs(2 * 3600);
/// Time for what happens after the final dot. Postfix waits 600 s.
const SETTLE_TIME: Duration = Duration::from_secs(300);
/// Time for a TLS handshake.
const TLS_TIME: Duration = Duration::from_secs(30);
/// Time for connections to end when the gateway stops.
const STOP_TIME: Duration = Duration::from_secs(10);
/// Octets of unfinished mails over all connections, at least.
const MIN_BUDGET: usize = 256 << 20;
/// The budget is counted in pieces of this size.
const PIECE: usize = 64 << 10;
/// Recipients of one mail on a listener. Outbound limits do not hold here: a list may send to everybody at once.
const RECIPIENTS: usize = 1000;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Listens until `stop`.
pub(crate) async fn serve(mail: Arc<Mail>, host: Host, stop: CancellationToken) -> Result<(), BridgeError> {
    let config = &mail.config.listen;
    let mut sockets = Vec::new();
    for (bind, dialect) in [(&config.lmtp, Dialect::Lmtp), (&config.smtp, Dialect::Smtp)] {
        if let Some(bind) = bind {
            sockets.push((open(bind).await?, dialect));
            info!(%bind, ?dialect, "listening for mail");
            if let (Bind::Tcp(at), Dialect::Lmtp) = (bind, dialect)
                && !is_loopback(at)
            {
                warn!(%bind, "LMTP has no login: whoever reaches this address can deliver in anybody's name");
            }
        }
    }
    if sockets.is_empty() {
        stop.cancelled().await;
        return Ok(());
    }
    let tls = match &config.tls {
        Some((cert, key)) => Some(acceptor(cert, key).map_err(BridgeError::Operator)?),
        None => None,
    };
    let intake = Intake::new(mail.clone(), host).map_err(BridgeError::Operator)?;
    let door = Arc::new(Door::new(&mail, intake, tls));
    let mut loops = JoinSet::new();
    for (socket, dialect) in sockets {
        loops.spawn(accept(socket, dialect, door.clone(), stop.clone()));
    }
    while let Some(ended) = loops.join_next().await {
        ended.map_err(|fault| BridgeError::Operator(format!("a listener failed: {fault}")))?;
    }
    Ok(())
}

/// Whether the configured addresses can be listened on.
pub(crate) async fn probe(mail: &Mail) -> Vec<Finding> {
    let config = &mail.config.listen;
    let mut findings = Vec::new();
    if let Some((cert, key)) = &config.tls
        && let Err(fault) = acceptor(cert, key)
    {
        findings.push(Finding::fault(fault, "set tls_cert and tls_key of [listen] to readable PEM files"));
    }
    for bind in [&config.lmtp, &config.smtp].into_iter().flatten() {
        findings.push(match open(bind).await {
            Ok(_) => Finding::good(format!("mail can be taken at {bind}")),
            Err(BridgeError::Io(e)) if e.kind() == io::ErrorKind::AddrInUse => {
                let remedy =
                    "if this gateway is running that is as it should be; else choose another address in [listen]";
                Finding::warning(format!("something listens at {bind} already"), remedy)
            }
            Err(fault) => Finding::fault(fault.to_string(), "choose another address in [listen]"),
        });
    }
    if config.lmtp.is_none() && config.smtp.is_none() {
        findings.push(Finding::warning("no mail is taken: neither lmtp nor smtp is set", "set lmtp in [listen]"));
    }
    findings
}

fn is_loopback(at: &str) -> bool {
    let host = at.rsplit_once(':').map_or(at, |(host, _)| host).trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

async fn open(bind: &Bind) -> Result<Socket, BridgeError> {
    match bind {
        Bind::Tcp(at) => Ok(Socket::Tcp(TcpListener::bind(at.as_str()).await?)),
        Bind::Unix(path) => {
            // What a killed process left behind is taken away; a socket that somebody answers is not.
            if UnixStream::connect(path).await.is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused) {
                std::fs::remove_file(path)?;
            }
            let socket = UnixListener::bind(path)?;
            open_to_all(path)?;
            Ok(Socket::Unix(socket))
        }
    }
}

/// The mail server runs as somebody else; the folder says who may come near, as with Dovecot's LMTP socket.
fn open_to_all(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))
}

fn acceptor(cert: &Path, key: &Path) -> Result<TlsAcceptor, String> {
    let unreadable = |path: &Path, e: &dyn std::fmt::Display| format!("{} cannot be read: {e}", path.display());
    let certs: Vec<_> = CertificateDer::pem_file_iter(cert)
        .and_then(|certs| certs.collect::<Result<_, _>>())
        .map_err(|e| unreadable(cert, &e))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|e| unreadable(key, &e))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|b| b.with_no_client_auth().with_single_cert(certs, key))
        .map_err(|e| format!("{} does not fit its key: {e}", cert.display()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// What all connections share.
struct Door {
    intake: Intake,
    tls: Option<TlsAcceptor>,
    limits: Limits,
    hello: String,
    idle: Duration,
    /// Connections of one listener: strangers (SMTP) must not keep our own server (LMTP) out.
    connections: usize,
    budget: Arc<Semaphore>,
    per_address: usize,
    addresses: Mutex<HashMap<IpAddr, usize>>,
}

impl Door {
    fn new(mail: &Mail, intake: Intake, tls: Option<TlsAcceptor>) -> Self {
        let config = &mail.config;
        let message = usize::try_from(config.limits.max_size).unwrap_or(usize::MAX / 8);
        let limits = Limits { message, recipients: RECIPIENTS, ..Limits::default() };
        let budget = message.saturating_mul(4).max(MIN_BUDGET) / PIECE;
        Self {
            intake,
            tls,
            limits,
            hello: config.listen.hello.clone(),
            idle: config.listen.idle,
            connections: config.listen.connections,
            budget: Arc::new(Semaphore::new(budget.min(Semaphore::MAX_PERMITS))),
            per_address: (config.listen.connections / 4).max(10),
            addresses: Mutex::new(HashMap::new()),
        }
    }

    /// Counts a connection of this address; `None` where it has too many.
    fn enter(self: &Arc<Self>, ip: IpAddr) -> Option<Visit> {
        let ip = subscriber(ip);
        let mut addresses = self.addresses.lock().ok()?;
        let count = addresses.entry(ip).or_default();
        if *count >= self.per_address {
            return None;
        }
        *count += 1;
        Some(Visit { door: self.clone(), ip })
    }
}

/// Who is behind an address: one gets a whole /64 of IPv6 (RFC 6177).
fn subscriber(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => (u128::from(v6) & !u128::from(u64::MAX)).to_be_bytes().into(),
    }
}

/// One connection of an address, until dropped.
struct Visit {
    door: Arc<Door>,
    ip: IpAddr,
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Ok(mut addresses) = self.door.addresses.lock()
            && let Some(count) = addresses.get_mut(&self.ip)
        {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&self.ip);
            }
        }
    }
}

async fn accept(socket: Socket, dialect: Dialect, door: Arc<Door>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    let places = Arc::new(Semaphore::new(door.connections));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next() => {
                if let Err(fault) = ended {
                    tracing::error!(error = %fault, "a mail connection failed");
                }
                continue;
            }
            accepted = next(&socket) => accepted,
        };
        let (stream, ip) = match accepted {
            Ok(accepted) => accepted,
            Err(fault) => {
                // Out of file descriptors, mostly: it will pass.
                warn!(error = %fault, "a mail connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        let peer = match (dialect, ip) {
            (Dialect::Smtp, Some(ip)) => Peer::Direct { ip, helo: String::new() },
            _ => Peer::Mta,
        };
        let place = places.clone().try_acquire_owned().ok();
        let visit = if let (Peer::Direct { ip, .. }, Some(_)) = (&peer, &place) { door.enter(*ip) } else { None };
        let refused = place.is_none() || matches!(peer, Peer::Direct { .. }) && visit.is_none();
        let (door, stop) = (door.clone(), stop.clone());
        connections.spawn(async move {
            let _held = (place, visit);
            if refused {
                turn_away(stream).await;
            } else if let Err(fault) = Connection::new(stream, dialect, peer, door).run(stop).await {
                debug!(error = %fault, "a mail connection broke");
            }
        });
    }
    let _ = tokio::time::timeout(STOP_TIME, async { while connections.join_next().await.is_some() {} }).await;
}

async fn next(socket: &Socket) -> io::Result<(Box<dyn Stream>, Option<IpAddr>)> {
    match socket {
        Socket::Tcp(listener) => {
            let (stream, from): (TcpStream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok((Box::new(stream), Some(from.ip().to_canonical())))
        }
        Socket::Unix(listener) => Ok((Box::new(listener.accept().await?.0), None)),
    }
}

async fn turn_away(mut stream: Box<dyn Stream>) {
    let line = format!("{}\r\n", Reply::new(421, "4.7.0", "too many connections, try again later"));
    let _ = tokio::time::timeout(Duration::from_secs(2), stream.write_all(line.as_bytes())).await;
}

struct Connection {
    stream: Option<Box<dyn Stream>>,
    peer: Peer,
    dialect: Dialect,
    door: Arc<Door>,
    server: Server<Recipient>,
    input: BytesMut,
    opened: Instant,
    /// Since when the client owes us the rest of a command, or of a mail.
    since: Instant,
    /// Our share of the budget for unfinished mails.
    share: Vec<OwnedSemaphorePermit>,
}

impl Connection {
    fn new(stream: Box<dyn Stream>, dialect: Dialect, peer: Peer, door: Arc<Door>) -> Self {
        let server = Server::new(dialect, door.limits, door.hello.clone(), door.tls.is_some());
        let now = Instant::now();
        Self {
            stream: Some(stream),
            peer,
            dialect,
            door,
            server,
            input: BytesMut::new(),
            opened: now,
            since: now,
            share: Vec::new(),
        }
    }

    async fn run(mut self, stop: CancellationToken) -> io::Result<()> {
        loop {
            let turn = self.server.turn(&mut self.input);
            self.write().await?;
            match turn {
                Turn::Read => {
                    if !self.read(&stop).await? {
                        return Ok(());
                    }
                }
                Turn::Rcpt(to) => {
                    let verdict = match self.door.intake.recipient(&to, &self.peer).await {
                        Ok(recipient) => Rcpt::Taken(recipient),
                        Err(reply) => Rcpt::Refused(reply),
                    };
                    self.server.recipient(verdict);
                }
                Turn::Mail(envelope, mail) => self.on_mail(envelope, mail).await,
                Turn::StartTls => self.on_tls().await?,
                Turn::Close => {
                    if let Some(stream) = &mut self.stream {
                        let _ = tokio::time::timeout(Duration::from_secs(5), stream.shutdown()).await;
                    }
                    return Ok(());
                }
            }
        }
    }

    async fn write(&mut self) -> io::Result<()> {
        let out = self.server.output();
        if out.is_empty() {
            return Ok(());
        }
        self.since = Instant::now();
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let write = async {
            stream.write_all(&out).await?;
            stream.flush().await
        };
        // A client that sends and never reads holds its answers only.
        timeout_at(self.since + self.door.idle, write).await.map_err(|_| io::ErrorKind::TimedOut)?
    }

    /// Reads on; `false` at the end. A client that drips is cut off when its command, or its mail, takes too long as a whole.
    async fn read(&mut self, stop: &CancellationToken) -> io::Result<bool> {
        if !self.afford() {
            self.server.end(&Reply::new(421, "4.3.1", "too many big mails at once, try again later"));
            return Ok(true);
        }
        let whole = if self.server.in_mail() { MAIL_TIME } else { self.door.idle };
        let mut deadline = (self.since + whole).min(Instant::now() + self.door.idle);
        if self.dialect == Dialect::Smtp {
            deadline = deadline.min(self.opened + SMTP_TIME);
        }
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        self.input.reserve(8 << 10);
        let read = tokio::select! {
            read = timeout_at(deadline, stream.read_buf(&mut self.input)) => read,
            () = stop.cancelled() => {
                self.server.end(&Reply::new(421, "4.3.2", "going down, try again later"));
                return Ok(true);
            }
        };
        match read {
            Ok(read) => Ok(read? > 0),
            Err(_) => {
                self.server.end(&Reply::new(421, "4.4.2", "too slow"));
                Ok(true)
            }
        }
    }

    /// Takes from the budget what the mail so far needs; `false` if there is not enough.
    fn afford(&mut self) -> bool {
        let needed = self.server.held().div_ceil(PIECE);
        if needed == 0 {
            self.share.clear();
        }
        while self.share.len() < needed {
            match self.door.budget.clone().try_acquire_owned() {
                Ok(piece) => self.share.push(piece),
                Err(_) => return false,
            }
        }
        true
    }

    async fn on_mail(&mut self, envelope: crate::proto::Envelope<Recipient>, mail: Vec<u8>) {
        if let Peer::Direct { helo, .. } = &mut self.peer {
            *helo = envelope.helo.clone();
        }
        let count = envelope.recipients.len();
        let work = self.door.intake.mail(envelope, mail, &self.peer);
        let replies = match tokio::time::timeout(SETTLE_TIME, work).await {
            Ok(replies) => replies,
            Err(_) => {
                warn!("a mail was not settled in time; its sender will try again");
                vec![Reply::new(451, "4.3.0", "not settled in time, try again later"); count]
            }
        };
        self.share.clear();
        match self.dialect {
            Dialect::Lmtp => self.server.settled(&replies),
            Dialect::Smtp => self.server.settled(&[one_for_all(replies)]),
        }
    }

    async fn on_tls(&mut self) -> io::Result<()> {
        let (Some(tls), Some(stream)) = (&self.door.tls, self.stream.take()) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let secured =
            tokio::time::timeout(TLS_TIME, tls.accept(stream)).await.map_err(|_| io::ErrorKind::TimedOut)??;
        self.stream = Some(Box::new(secured));
        self.input.clear();
        self.since = Instant::now();
        self.server.secured();
        Ok(())
    }
}

/// SMTP has one answer for all recipients. Where one is to be tried again all are: who has the mail already will not get it twice.
fn one_for_all(replies: Vec<Reply>) -> Reply {
    let rank = |r: &Reply| {
        if r.is_temporary() {
            0
        } else if r.is_positive() {
            1
        } else {
            2
        }
    };
    replies.into_iter().min_by_key(rank).unwrap_or_else(|| Reply::new(451, "4.3.0", "not settled, try again later"))
}

#[cfg(test)]
#[path = "listen_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "listen_doubt_tests.rs"]
mod doubt;

#[cfg(test)]
#[path = "listen_e2e.rs"]
mod e2e;
