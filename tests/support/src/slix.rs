//! An XMPP client that we did not write: slixmpp, in a Python process.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use quick_xml::escape::escape;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::mpsc;

use crate::process::{Folder, Process, python};
use crate::server::{XmppServer, password};
use crate::xml::Element;

/// How long anything expected may take.
pub const WITHIN: Duration = Duration::from_secs(60);

/// A client that is logged in.
#[derive(Debug)]
pub struct SlixClient {
    jid: String,
    orders: ChildStdin,
    events: mpsc::UnboundedReceiver<Value>,
    waiting: VecDeque<Element>,
    connected: bool,
    python: PathBuf,
    port: u16,
    _process: Process,
    _folder: Folder,
}

impl SlixClient {
    /// Logs in as a full JID and returns when the session stands. No presence is sent yet.
    pub async fn login(server: &XmppServer, jid: &str) -> Result<Self> {
        let python = python("slixmpp").await?;
        let (process, orders, events, folder) = spawn(&python, jid, server.c2s().port())?;
        let (jid, port, waiting) = (jid.to_owned(), server.c2s().port(), VecDeque::new());
        let mut client =
            Self { jid, python, port, orders, events, waiting, connected: false, _process: process, _folder: folder };
        client.session(WITHIN).await?;
        Ok(client)
    }

    /// The same, with an initial presence whose reflection was seen.
    pub async fn online(server: &XmppServer, jid: &str) -> Result<Self> {
        let mut client = Self::login(server, jid).await?;
        client.available().await?;
        Ok(client)
    }

    /// The full JID.
    pub fn jid(&self) -> &str {
        &self.jid
    }

    /// The bare JID.
    pub fn bare(&self) -> &str {
        self.jid.split('/').next().unwrap_or_default()
    }

    /// Whether the session stands, as far as events were looked at.
    pub fn connected(&self) -> bool {
        self.connected
    }

    /// Asks for the roster (else a server pushes nothing about subscriptions), sends the initial presence and waits for its reflection.
    pub async fn available(&mut self) -> Result<()> {
        let bare = self.bare().to_owned();
        self.ask(&bare, "get", "<query xmlns='jabber:iq:roster'/>").await?;
        let own = self.jid.clone();
        self.send("<presence/>").await?;
        self.find("own presence", |s| s.name == "presence" && s.attr("from") == Some(&own)).await.map(drop)
    }

    /// Sends a stanza as it stands.
    pub async fn send(&mut self, xml: impl AsRef<str>) -> Result<()> {
        self.order(json!({ "do": "send", "xml": xml.as_ref() })).await
    }

    /// Sends a chat message and yields its id.
    pub async fn message(&mut self, to: &str, body: &str) -> Result<String> {
        let id = new_id();
        let (to, body) = (escape(to), escape(body));
        self.send(format!("<message type='chat' to='{to}' id='{id}'><body>{body}</body></message>")).await?;
        Ok(id)
    }

    /// Sends an IQ (`get` or `set`; the id is made) and waits for its answer, result or error.
    pub async fn ask(&mut self, to: &str, kind: &str, payload: &str) -> Result<Element> {
        let id = self.begin_ask(to, kind, payload).await?;
        self.answer(&id).await
    }

    /// Sends an IQ and yields its id; [`answer`](Self::answer) waits for the answer.
    pub async fn begin_ask(&mut self, to: &str, kind: &str, payload: &str) -> Result<String> {
        let id = new_id();
        self.send(format!("<iq type='{kind}' to='{}' id='{id}'>{payload}</iq>", escape(to))).await?;
        Ok(id)
    }

    /// Waits for the answer to the IQ of this id.
    pub async fn answer(&mut self, id: &str) -> Result<Element> {
        let is = |s: &Element| {
            s.name == "iq" && s.attr("id") == Some(id) && matches!(s.attr("type"), Some("result" | "error"))
        };
        self.find(&format!("an answer to iq {id}"), is).await
    }

    /// XEP-0199.
    pub async fn ping(&mut self, to: &str) -> Result<Element> {
        self.ask(to, "get", "<ping xmlns='urn:xmpp:ping'/>").await
    }

    /// The next stanza that fulfils `is`; those passed over stay for later calls, in order. Fails after [`WITHIN`] with `what`.
    pub async fn find(&mut self, what: &str, is: impl FnMut(&Element) -> bool) -> Result<Element> {
        match self.find_within(WITHIN, is).await? {
            Some(found) => Ok(found),
            None => {
                let seen: Vec<String> = self.waiting.iter().map(Element::to_string).collect();
                bail!("{}: {what}: not seen; but:\n{}", self.jid, seen.join("\n"))
            }
        }
    }

    /// The same; `None` if it does not come in time. An error if the connection ends.
    pub async fn find_within(
        &mut self,
        within: Duration,
        mut is: impl FnMut(&Element) -> bool,
    ) -> Result<Option<Element>> {
        if let Some(index) = self.waiting.iter().position(&mut is) {
            return Ok(self.waiting.remove(index));
        }
        let end = tokio::time::Instant::now() + within;
        loop {
            let Ok(event) = tokio::time::timeout_at(end, self.next()).await else { return Ok(None) };
            match event? {
                Some(stanza) if is(&stanza) => return Ok(Some(stanza)),
                Some(stanza) => self.waiting.push_back(stanza),
                None if !self.connected => bail!("{}: the connection ended", self.jid),
                None => {}
            }
        }
    }

    /// Waits for a message of this body.
    pub async fn body(&mut self, body: &str) -> Result<Element> {
        self.find(&format!("a message {body:?}"), |s| s.name == "message" && s.body() == Some(body)).await
    }

    /// Everything that has arrived and was not asked for, without waiting.
    pub fn drain(&mut self) -> Vec<Element> {
        while let Ok(event) = self.events.try_recv() {
            if let Some(stanza) = self.take(&event).unwrap_or(None) {
                self.waiting.push_back(stanza);
            }
        }
        self.waiting.drain(..).collect()
    }

    /// From now on its disco#info names this feature.
    pub async fn feature(&mut self, var: &str) -> Result<()> {
        self.order(json!({ "do": "feature", "var": var })).await
    }

    /// From now on it knows no pings (XEP-0199): who asks gets `feature-not-implemented`.
    pub async fn know_no_pings(&mut self) -> Result<()> {
        self.order(json!({ "do": "pings", "how": "unknown" })).await
    }

    /// From now on it answers no questions.
    pub async fn fall_silent(&mut self) -> Result<()> {
        self.order(json!({ "do": "pings", "how": "silent" })).await
    }

    /// Ends the session; [`reconnect`](Self::reconnect) begins a new one.
    pub async fn disconnect(&mut self) -> Result<()> {
        self.order(json!({ "do": "disconnect" })).await?;
        while self.connected {
            self.keep_next().await?;
        }
        Ok(())
    }

    /// Logs in again, in a process of its own; returns when the session stands. What waited stays. A login that the server breaks
    /// off is tried again.
    pub async fn reconnect(&mut self) -> Result<()> {
        self.waiting = self.drain().into();
        let end = tokio::time::Instant::now() + WITHIN;
        loop {
            // A client that meets a server on its way down or up may wait for ever on a login that nobody answers.
            let (process, orders, events, folder) = spawn(&self.python, &self.jid, self.port)?;
            (self._process, self.orders, self.events, self._folder) = (process, orders, events, folder);
            match self.session(WITHIN / 4).await {
                Err(error) if tokio::time::Instant::now() > end => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
                Ok(()) => return Ok(()),
            }
        }
    }

    async fn session(&mut self, within: Duration) -> Result<()> {
        self.connected = false;
        while !self.connected {
            let event =
                tokio::time::timeout(within, self.events.recv()).await.context("the XMPP client says nothing")?;
            let event = event.context("the Python process has ended")?;
            if event["event"] == "disconnected" {
                bail!("{}: the server ended the login", self.jid);
            }
            let stanza = self.take(&event)?;
            self.waiting.extend(stanza);
        }
        Ok(())
    }

    async fn keep_next(&mut self) -> Result<()> {
        let next = tokio::time::timeout(WITHIN, self.next()).await.context("the XMPP client says nothing")??;
        self.waiting.extend(next);
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<Element>> {
        let event = self.events.recv().await.context("the Python process has ended")?;
        self.take(&event)
    }

    fn take(&mut self, event: &Value) -> Result<Option<Element>> {
        match event["event"].as_str() {
            Some("stanza") => Element::parse(event["xml"].as_str().unwrap_or_default()).map(Some),
            Some("session") => {
                self.connected = true;
                self.jid = event["jid"].as_str().unwrap_or_default().to_owned();
                Ok(None)
            }
            Some("disconnected") => {
                self.connected = false;
                Ok(None)
            }
            _ => bail!("{}: {event}", self.jid),
        }
    }

    async fn order(&mut self, order: Value) -> Result<()> {
        let line = format!("{order}\n");
        self.orders.write_all(line.as_bytes()).await.context("the Python process has ended")?;
        Ok(self.orders.flush().await?)
    }
}

type Started = (Process, ChildStdin, mpsc::UnboundedReceiver<Value>, Folder);

/// Starts the Python side for this JID at this port of 127.0.0.1.
fn spawn(python: &Path, jid: &str, port: u16) -> Result<Started> {
    let folder = Folder::new("slix")?;
    let log = folder.join("log");
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("py/client.py"));
    let bare = jid.split('/').next().unwrap_or(jid);
    command.args([jid, &password(bare), "127.0.0.1", &port.to_string()]);
    let errors = std::fs::File::create(&log)?;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
    let mut process = Process::adopt("slixmpp", &mut command, &log)?;
    let orders = ChildStdin::from_std(process.child().stdin.take().context("no input")?)?;
    let output = ChildStdout::from_std(process.child().stdout.take().context("no output")?)?;
    let (sender, events) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if serde_json::from_str(&line).is_ok_and(|event| sender.send(event).is_err()) {
                break;
            }
        }
    });
    Ok((process, orders, events, folder))
}

fn new_id() -> String {
    format!("t{:016x}", rand::random::<u64>())
}
