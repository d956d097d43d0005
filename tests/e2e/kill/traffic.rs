//! Those who write: XMPP users, and a mail server that hands over by LMTP.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use isthmus_testkit::server::XmppServer;
use isthmus_testkit::slix::SlixClient;
use isthmus_testkit::smtp::SmtpClient;
use isthmus_testkit::xml::Element;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

use crate::ledger::Ledger;
use crate::{DOMAIN, USERS};

#[path = "../register.rs"]
mod register;

/// How long a ping may take before the batch that it covers counts as not accepted.
const PING: Duration = Duration::from_secs(5);

/// Messages that one ping covers.
struct Batch {
    ping: String,
    tokens: Vec<String>,
    since: Instant,
}

/// An XMPP user who writes to mail contacts and notes what comes.
pub(crate) struct User {
    client: SlixClient,
    dice: StdRng,
    ledger: Arc<Mutex<Ledger>>,
    batch: Option<Batch>,
}

impl User {
    /// Logs in, registers the local part as alias, and has every message mailed at once.
    pub(crate) async fn register(
        server: &XmppServer,
        jid: &str,
        seed: u64,
        ledger: Arc<Mutex<Ledger>>,
    ) -> Result<Self> {
        let mut client = SlixClient::online(server, &format!("{jid}/kill")).await?;
        let alias = jid.split('@').next().unwrap_or_default();
        register::register(&mut client, DOMAIN, alias).await?;
        register::configure(&mut client, DOMAIN, &[("join_seconds", "0")]).await?;
        Ok(Self { client, dice: StdRng::seed_from_u64(seed), ledger, batch: None })
    }

    pub(crate) fn bare(&self) -> &str {
        self.client.bare()
    }

    /// Writes and listens until told to stop; reconnects when the server comes back.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<Self> {
        while !stop.is_cancelled() || self.batch.is_some() {
            if self.step(stop.is_cancelled()).await.is_err() {
                self.batch = None; // what it covered was perhaps never taken by the server
                self.come_back().await?;
            }
        }
        Ok(self)
    }

    /// Notes what comes for this long.
    pub(crate) async fn listen(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            match self.client.find_within(left, |_| true).await {
                Ok(Some(stanza)) => self.note(&stanza),
                Ok(None) => break,
                Err(_) => self.come_back().await?,
            }
        }
        Ok(())
    }

    /// Notes every message of the archive (XEP-0313).
    pub(crate) async fn read_archive(&mut self) -> Result<()> {
        let mut after = String::new();
        loop {
            let page = format!(
                "<query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><max>50</max>{after}</set></query>"
            );
            let own = self.bare().to_owned();
            let done = self.client.ask(&own, "set", &page).await?;
            for stanza in self.client.drain() {
                let copy = stanza.walk().skip(1).find(|element| element.name == "message").cloned();
                if let (Some(copy), true) = (copy, stanza.has("result", "urn:xmpp:mam:2")) {
                    self.ledger.lock().unwrap().message(&own, &copy, true);
                } else {
                    self.note(&stanza);
                }
            }
            let fin = done.child("fin");
            let last = fin.and_then(|fin| fin.child("set")).and_then(|set| set.child("last"));
            match (fin.and_then(|fin| fin.attr("complete")), last) {
                (None | Some("false"), Some(last)) => after = format!("<after>{}</after>", last.text),
                _ => return Ok(()),
            }
        }
    }

    async fn step(&mut self, stopping: bool) -> Result<()> {
        if self.batch.as_ref().is_some_and(|batch| batch.since.elapsed() > PING) {
            self.batch = None;
        }
        if self.batch.is_none() && !stopping {
            self.send().await?;
        }
        let wait = Duration::from_millis(self.dice.random_range(1..30));
        while let Some(stanza) = self.client.find_within(wait, |_| true).await? {
            self.note(&stanza);
        }
        Ok(())
    }

    /// A few messages and a ping, written at once: nothing can come between them on the way to the gateway.
    async fn send(&mut self) -> Result<()> {
        let mut text = String::new();
        let mut tokens = Vec::new();
        for _ in 0..self.dice.random_range(1..=4) {
            let token = format!("out-{:016x}", self.dice.random::<u64>());
            let id = format!("m-{token}");
            let name = match self.dice.random_range(0..20) {
                0 => "refused",
                1 => "cut",
                2..6 => "slow",
                _ => "carol",
            };
            let number = self.dice.random_range(0..5);
            text += &format!(
                "<message type='chat' to='{name}{number}\\40outside.test@{DOMAIN}' id='{id}'><body>about {token}</body></message>"
            );
            self.ledger.lock().unwrap().sent(&token, self.client.bare(), &id);
            tokens.push(token);
        }
        let ping = format!("p-{}", tokens[0]);
        text += &format!("<iq type='get' to='{DOMAIN}' id='{ping}'><ping xmlns='urn:xmpp:ping'/></iq>");
        self.batch = Some(Batch { ping, tokens, since: Instant::now() });
        self.client.send(text).await
    }

    fn note(&mut self, stanza: &Element) {
        if stanza.name == "message" {
            self.ledger.lock().unwrap().message(self.client.bare(), stanza, false);
        }
        if stanza.name == "iq"
            && let Some(batch) = self.batch.take_if(|batch| stanza.attr("id") == Some(&batch.ping))
            && stanza.attr("type") == Some("result")
        {
            for token in &batch.tokens {
                self.ledger.lock().unwrap().accepted(token);
            }
        }
    }

    /// The server may go away again while it is being logged in to.
    async fn come_back(&mut self) -> Result<()> {
        for _ in 0..20 {
            self.client.reconnect().await?;
            if self.client.available().await.is_ok() {
                return Ok(());
            }
        }
        bail!("{} cannot come back", self.bare())
    }
}

/// A mail server's queue: each mail is tried until it is answered, with the same content.
pub(crate) struct Lmtp {
    address: SocketAddr,
    dice: StdRng,
    ledger: Arc<Mutex<Ledger>>,
    /// Between two mails, at most: milliseconds.
    pause: u64,
    connection: Option<SmtpClient>,
}

impl Lmtp {
    pub(crate) fn new(address: SocketAddr, seed: u64, pause: u64, ledger: Arc<Mutex<Ledger>>) -> Self {
        Self { address, dice: StdRng::seed_from_u64(!seed), ledger, pause, connection: None }
    }

    pub(crate) async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let token = format!("in-{:016x}", self.dice.random::<u64>());
            let sender = format!("sender{}@outside.test", self.dice.random_range(0..50));
            let mut users = USERS.to_vec();
            if self.dice.random_ratio(2, 3) {
                users.remove(self.dice.random_range(0..users.len()));
            }
            while !users.is_empty() && !stop.is_cancelled() {
                if self.hand_over(&token, &sender, &mut users).await.is_err() {
                    self.connection = None;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            let pause = Duration::from_millis(self.dice.random_range(0..self.pause));
            tokio::time::sleep(pause).await;
        }
    }

    /// One try; users who were answered 250 are taken off the list. An error: nobody knows, try all that are left again.
    async fn hand_over(&mut self, token: &str, sender: &str, users: &mut Vec<&str>) -> Result<()> {
        let client = match &mut self.connection {
            Some(client) => client,
            None => self.connection.insert(SmtpClient::hello(self.address, true).await?),
        };
        let to: Vec<String> = users.iter().map(|jid| jid.replace("@localhost", "@gw.test")).collect();
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        let text = format!(
            "From: {sender}\r\nTo: {}\r\nSubject: {token}\r\nMessage-ID: <{token}@outside.test>\r\n\
             Date: Sun, 22 Nov 2026 12:00:00 +0000\r\n\r\nabout {token}\r\n",
            to.join(", ")
        );
        let replies = client.mail(sender, &to, &text, true).await?;
        if replies.len() != users.len() {
            bail!("{replies:?}");
        }
        let mut left = Vec::new();
        for (user, reply) in users.iter().zip(replies) {
            match reply.code {
                250 => self.ledger.lock().unwrap().took(token, user, sender),
                400..500 => left.push(*user),
                // A mail server would bounce it; this traffic gives no reason to refuse, so a refusal is a fault.
                _ => panic!("{token} refused for {user}: {reply:?}"),
            }
        }
        *users = left;
        if !users.is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }
}
