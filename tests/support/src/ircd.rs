//! An IRC server that a test makes up: it lets everybody in, tells the test every line, and says what the test says, byte for byte.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

/// How long a line may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The server, in clear, at a port of loopback; stops when dropped.
#[derive(Debug)]
pub struct Ircd {
    port: u16,
    heard: UnboundedReceiver<Heard>,
    seen: Vec<Heard>,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// A line that somebody sent.
#[derive(Debug, Clone)]
pub struct Heard {
    /// When they had connected.
    pub connected: Instant,
    /// Under which nick.
    pub nick: String,
    /// It; what is not UTF-8 is replaced.
    pub line: String,
}

#[derive(Debug)]
struct Shared {
    caps: String,
    /// Who is in every room: a line of names each.
    names: Vec<Vec<u8>>,
    /// By nick; nothing: the connection is to be closed.
    clients: Mutex<HashMap<String, UnboundedSender<Option<Vec<u8>>>>>,
    heard: UnboundedSender<Heard>,
}

impl Ircd {
    /// With these capabilities, and in each room these people beside who enters: one line of names (353) each.
    pub async fn start(caps: &str, names: &[&[u8]]) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let (sender, heard) = unbounded_channel();
        let names = names.iter().map(|names| names.to_vec()).collect();
        let shared = Arc::new(Shared { caps: caps.to_owned(), names, clients: Mutex::default(), heard: sender });
        let serving = shared.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().talk(stream));
            }
        });
        Ok(Self { port, heard, seen: Vec::new(), shared, task })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The keys of a bridge whose network `net` is this server.
    pub fn network(&self) -> String {
        format!("[networks.net]\naddress = \"127.0.0.1\"\ntls_ports = []\nports = [{}]\n", self.port)
    }

    /// The next line that holds this; what it passes over stays for later calls.
    pub async fn line(&mut self, holds: &str) -> Result<Heard> {
        if let Some(at) = self.seen.iter().position(|heard| heard.line.contains(holds)) {
            return Ok(self.seen.remove(at));
        }
        loop {
            let next = tokio::time::timeout(PATIENCE, self.heard.recv()).await;
            let Ok(Some(heard)) = next else { bail!("nobody has said {holds:?}; but: {:#?}", self.seen) };
            if heard.line.contains(holds) {
                return Ok(heard);
            }
            self.seen.push(heard);
        }
    }

    /// Says a line to who is connected under this nick.
    pub fn say(&self, nick: &str, line: &[u8]) -> Result<()> {
        self.tell(nick, Some([line, b"\r\n"].concat()))
    }

    /// Closes somebody's connection.
    pub fn close(&self, nick: &str) -> Result<()> {
        self.tell(nick, None)
    }

    fn tell(&self, nick: &str, what: Option<Vec<u8>>) -> Result<()> {
        let clients = self.shared.lock();
        let client = clients.get(nick).with_context(|| format!("{nick} is not connected"))?;
        client.send(what).ok().with_context(|| format!("{nick} has gone"))
    }
}

impl Drop for Ircd {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, UnboundedSender<Option<Vec<u8>>>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn talk(self: Arc<Self>, stream: TcpStream) {
        let connected = Instant::now();
        let (reader, mut writer) = stream.into_split();
        let (sender, mut lines) = unbounded_channel::<Option<Vec<u8>>>();
        let writing = tokio::spawn(async move {
            while let Some(Some(bytes)) = lines.recv().await {
                if writer.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        });
        let (mut reader, mut bytes, mut nick) = (BufReader::new(reader), Vec::new(), String::new());
        while !writing.is_finished() && reader.read_until(b'\n', &mut bytes).await.is_ok_and(|read| read > 0) {
            let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            bytes.clear();
            if let Some(new) = line.strip_prefix("NICK ") {
                self.lock().remove(&nick);
                new.clone_into(&mut nick);
                self.lock().insert(nick.clone(), sender.clone());
            }
            let answer = self.answer(&nick, &line);
            // Neither minds whether the other has gone.
            let _ = self.heard.send(Heard { connected, nick: nick.clone(), line });
            if !answer.is_empty() {
                let _ = sender.send(Some(answer));
            }
        }
        if self.lock().get(&nick).is_some_and(|known| known.same_channel(&sender)) {
            self.lock().remove(&nick);
        }
    }

    fn answer(&self, nick: &str, line: &str) -> Vec<u8> {
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        let welcome = format!(
            ":irc.test 001 {nick} :Welcome\r\n:irc.test 005 {nick} CHANTYPES=# PREFIX=(ov)@+ :are supported\r\n\
             :irc.test 422 {nick} :No message of the day\r\n"
        );
        let text = match command {
            "CAP" if rest.starts_with("LS") => format!(":irc.test CAP * LS :{}\r\n", self.caps),
            "CAP" if rest.starts_with("REQ") => format!(":irc.test CAP * ACK {}\r\n", &rest["REQ ".len()..]),
            "CAP" if rest == "END" => welcome,
            "PING" => format!(":irc.test PONG irc.test {rest}\r\n"),
            "PART" => format!(":{nick}!u@host.test PART {rest}\r\n"),
            "JOIN" => return self.admit(nick, rest.split(' ').next().unwrap_or(rest)),
            _ => String::new(),
        };
        text.into_bytes()
    }

    fn admit(&self, nick: &str, rooms: &str) -> Vec<u8> {
        let mut all = Vec::new();
        for room in rooms.split(',') {
            all.extend(format!(":{nick}!u@host.test JOIN {room}\r\n").bytes());
            for names in self.names.iter().map(Vec::as_slice).chain([nick.as_bytes()]) {
                all.extend(format!(":irc.test 353 {nick} = {room} :").bytes());
                all.extend_from_slice(names);
                all.extend_from_slice(b"\r\n");
            }
            all.extend(format!(":irc.test 366 {nick} {room} :End of NAMES\r\n").bytes());
        }
        all
    }
}
