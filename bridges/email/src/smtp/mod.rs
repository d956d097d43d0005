//! Hands mail to the relay (RFC 5321, or LMTP to a local MTA): a few pooled connections, one envelope per recipient.
//!
//! The protocol is spoken here and not by lettre's transport, because a delivery has to know exactly how far it came, each recipient needs
//! its own outcome, and DSN parameters, LMTP and a clean STARTTLS are wanted (`docs/decisions/`).

mod reply;
mod tls;
mod wire;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use isthmus_bridge::{DeliveryError, Failure, Finding, Text, Ticket};
use tokio::sync::{OnceCell, Semaphore};
use tracing::{error, warn};

use crate::address::Mailbox;
use crate::config::{self, Security};
use reply::{Fault, Stage};
use wire::Connection;

/// An idle connection is kept for this long; servers close earlier than they say.
const KEEP_IDLE: Duration = Duration::from_secs(20);
/// A mail waits for a connection for this long; then it is put off like one that the relay was away for.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Transactions over one connection.
const MAX_SERVED: u32 = 100;

/// From whom, to whom. One recipient, so that one refusal does not stop the others.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    /// The bounce address; `None` for the null sender of DSNs and notices.
    pub sender: Option<String>,
    /// The recipient.
    pub to: Mailbox,
    /// ENVID (RFC 3461); of `[a-z0-9]`.
    pub id: Option<String>,
    /// The mail itself needs SMTPUTF8 (it names such addresses in its header).
    pub utf8: bool,
}

/// The moment before the first byte that can deliver, told to the core once per delivery.
pub(crate) struct Start<'t> {
    ticket: Option<&'t Ticket>,
    lost: bool,
}

impl<'t> Start<'t> {
    /// Of this delivery.
    pub(crate) fn of(ticket: &'t Ticket) -> Self {
        Self { ticket: Some(ticket), lost: false }
    }

    /// A mail that the core does not know of.
    pub(crate) fn unasked() -> Self {
        Self { ticket: None, lost: false }
    }

    /// The core did not let it start: nothing was sent, and the ticket is to be dropped.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    async fn now(&mut self) -> Result<(), DeliveryError> {
        let Some(ticket) = self.ticket else { return Ok(()) };
        if ticket.starting().await.is_err() {
            self.lost = true;
            return Err(DeliveryError::temporary(Failure::Unreachable, Text::key("store-away")));
        }
        self.ticket = None;
        Ok(())
    }
}

/// The way to the relay.
#[derive(Debug)]
pub(crate) struct Relay {
    config: config::Relay,
    idle: Mutex<Vec<(Instant, Connection)>>,
    room: Semaphore,
    tls: OnceCell<Arc<rustls::ClientConfig>>,
    /// When it was found to be away, or silent, last.
    missed: Mutex<Option<tokio::time::Instant>>,
}

impl Relay {
    /// Opens nothing yet.
    pub(crate) fn new(config: config::Relay) -> Self {
        Self {
            room: Semaphore::new(config.connections),
            idle: Mutex::default(),
            tls: OnceCell::new(),
            missed: Mutex::default(),
            config,
        }
    }

    /// Hands a mail over. `Ok` are the relay's words. Calls `start` before content leaves.
    pub(crate) async fn send(
        &self,
        envelope: &Envelope,
        mail: &[u8],
        start: &mut Start<'_>,
    ) -> Result<String, DeliveryError> {
        let away = || DeliveryError::temporary(Failure::Unreachable, Text::key("relay-away"));
        let asked = tokio::time::Instant::now();
        let _room = match tokio::time::timeout(MAX_WAIT, self.room.acquire()).await {
            Ok(Ok(room)) => room,
            Ok(Err(_)) => return Err(away()),
            Err(_) => return Err(DeliveryError::temporary(Failure::TimedOut, Text::key("relay-slow"))),
        };
        // Somebody has found out meanwhile that the relay is away: all who wait do not find it out one after the other.
        if self.missed.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|missed| missed > asked) {
            return Err(away());
        }
        let mut connection = match self.pooled() {
            Some(connection) => connection,
            None => self.open().await?,
        };
        let mut opened = connection.served == 0;
        loop {
            match begin(&mut connection, envelope, mail).await {
                Ok(()) => break,
                // The server has closed a connection that was idle: nothing was said on it about this mail.
                Err(Refusal::Fault(Stage::Mail, fault)) if !opened && fault.is_fatal() => {
                    connection = self.open().await?;
                    opened = true;
                }
                Err(refusal) => return Err(self.give_up(connection, refusal).await),
            }
        }
        if let Err(error) = start.now().await {
            connection.quit().await;
            return Err(error);
        }
        match deliver(&mut connection, mail, self.config.final_timeout).await {
            Ok(words) => {
                self.keep(connection).await;
                Ok(words)
            }
            Err(refusal) => Err(self.give_up(connection, refusal).await),
        }
    }

    /// Is it there, does it take mail from us?
    pub(crate) async fn probe(&self) -> Vec<Finding> {
        let place = format!("{}:{}", self.config.host, self.config.port);
        let opened = match self.tls().await {
            Ok(tls) => Connection::open(&self.config, tls.as_ref()).await,
            Err(fault) => Err((Stage::Tls, fault)),
        };
        let (stage, fault) = match opened {
            Ok(connection) => {
                let mut findings = vec![Finding::good(format!("the mail relay {place} answers and lets us in"))];
                if !connection.abilities.utf8 {
                    findings.push(Finding::warning(
                        format!("the mail relay {place} has no SMTPUTF8"),
                        "addresses such as 用户@example.org cannot be written to; switch SMTPUTF8 on at the relay",
                    ));
                }
                connection.quit().await;
                return findings;
            }
            Err(failed) => failed,
        };
        let (what, remedy) = match stage {
            Stage::Tls => ("cannot be reached by TLS", "check smtp.security, smtp.ca_file and the relay's certificate"),
            Stage::Login => ("does not accept our login", "check smtp.username and smtp.password"),
            _ => ("cannot be reached", "check smtp.host and smtp.port, and that the relay is running"),
        };
        vec![Finding::fault(format!("the mail relay {place} {what}: {fault}"), remedy)]
    }

    fn pooled(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(since, _)| since.elapsed() < KEEP_IDLE);
        idle.pop().map(|(_, connection)| connection)
    }

    async fn keep(&self, mut connection: Connection) {
        connection.served += 1;
        if connection.served >= MAX_SERVED || !connection.is_quiet() {
            connection.quit().await;
            return;
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), connection));
    }

    async fn open(&self) -> Result<Connection, DeliveryError> {
        let opened = match self.tls().await {
            Ok(tls) => Connection::open(&self.config, tls.as_ref()).await,
            Err(fault) => Err((Stage::Tls, fault)),
        };
        opened.map_err(|(stage, fault)| {
            let (host, port) = (&self.config.host, self.config.port);
            match stage {
                Stage::Tls | Stage::Login => error!(%host, port, ?stage, %fault, "the mail relay does not let us in"),
                _ => warn!(%host, port, %fault, "the mail relay cannot be reached"),
            }
            self.miss();
            fault.at(stage)
        })
    }

    async fn tls(&self) -> Result<Option<Arc<rustls::ClientConfig>>, Fault> {
        if self.config.security == Security::None {
            return Ok(None);
        }
        self.tls.get_or_try_init(|| tls::client(&self.config)).await.cloned().map(Some)
    }

    /// After a refusal the connection is as good as before; after anything else it is closed.
    async fn give_up(&self, mut connection: Connection, refusal: Refusal) -> DeliveryError {
        match refusal {
            Refusal::Never(error) => {
                self.keep(connection).await;
                error
            }
            Refusal::Fault(stage, fault) => {
                let usable = !fault.is_fatal() && connection.command("RSET").await.is_ok();
                if usable {
                    self.keep(connection).await;
                }
                if matches!(fault, Fault::TimedOut) {
                    self.miss();
                }
                fault.at(stage)
            }
        }
    }

    fn miss(&self) {
        *self.missed.lock().unwrap_or_else(PoisonError::into_inner) = Some(tokio::time::Instant::now());
    }
}

/// Why a transaction did not come through.
enum Refusal {
    /// The server's, or the connection's.
    Fault(Stage, Fault),
    /// This server cannot take this mail; nothing was said to it.
    Never(DeliveryError),
}

/// MAIL and RCPT: what the server says about the envelope.
async fn begin(connection: &mut Connection, envelope: &Envelope, mail: &[u8]) -> Result<(), Refusal> {
    let able = connection.abilities.clone();
    let utf8 = envelope.utf8 || !envelope.to.is_ascii();
    if utf8 && !able.utf8 {
        return Err(Refusal::Never(DeliveryError::new(Failure::Unsupported, Text::key("no-smtputf8"))));
    }
    if !mail.is_ascii() && !able.eight_bit {
        return Err(Refusal::Never(DeliveryError::new(Failure::Unsupported, Text::key("no-8bitmime"))));
    }
    if let Some(limit) = able.size.filter(|limit| mail.len() as u64 > *limit) {
        let text = Text::key("too-big").with("limit", limit / 1024);
        return Err(Refusal::Never(DeliveryError::new(Failure::TooLong { limit }, text)));
    }
    let mut from = format!("MAIL FROM:<{}>", envelope.sender.as_deref().unwrap_or_default());
    if able.size.is_some() {
        from.push_str(&format!(" SIZE={}", mail.len()));
    }
    if !mail.is_ascii() {
        from.push_str(" BODY=8BITMIME");
    }
    if utf8 {
        from.push_str(" SMTPUTF8");
    }
    if able.dsn {
        from.push_str(" RET=HDRS");
        if let Some(id) = &envelope.id {
            from.push_str(&format!(" ENVID={}", xtext(id)));
        }
    }
    let mut to = format!("RCPT TO:<{}>", envelope.to);
    if able.dsn {
        match &envelope.sender {
            Some(_) => to.push_str(" NOTIFY=FAILURE,DELAY"),
            None => to.push_str(" NOTIFY=NEVER"),
        }
        if envelope.to.is_ascii() {
            to.push_str(&format!(" ORCPT=rfc822;{}", xtext(&envelope.to.to_string())));
        }
    }
    connection.command(&from).await.map_err(|f| Refusal::Fault(Stage::Mail, f))?;
    connection.command(&to).await.map_err(|f| Refusal::Fault(Stage::Rcpt, f))?;
    Ok(())
}

/// DATA and the content.
async fn deliver(connection: &mut Connection, mail: &[u8], patience: Duration) -> Result<String, Refusal> {
    let go = connection.command("DATA").await.map_err(|f| Refusal::Fault(Stage::Data, f))?;
    if go.code != 354 {
        return Err(Refusal::Fault(Stage::Data, Fault::Garbled(go.code.to_string())));
    }
    connection.content(mail).await.map_err(|f| Refusal::Fault(Stage::Data, f))?;
    let taken = connection.finish(patience).await.map_err(|f| Refusal::Fault(Stage::End, f))?;
    Ok(taken.words())
}

/// RFC 3461, 4.
fn xtext(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'!'..=b'~' if byte != b'+' && byte != b'=' => out.push(char::from(byte)),
            _ => out.push_str(&format!("+{byte:02X}")),
        }
    }
    out
}
