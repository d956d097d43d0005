//! Two servers for tests: one that plays a script line by line, and one that does what a small ircd does.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex as AsyncMutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::proto::line::Line;

const PATIENCE: Duration = Duration::from_secs(20);

/// A port at which the test itself is the server.
pub(super) struct Stage {
    listener: TcpListener,
    pub(super) port: u16,
}

impl Stage {
    pub(super) async fn open() -> Self {
        Self::at(std::net::Ipv4Addr::LOCALHOST, 0).await
    }

    /// At this port of this address of loopback.
    pub(super) async fn at(address: std::net::Ipv4Addr, port: u16) -> Self {
        let listener = TcpListener::bind((address, port)).await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        Self { listener, port }
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> Client {
        let (stream, _) = timeout(PATIENCE, self.listener.accept()).await.expect("nobody connects").expect("accepts");
        Client::of(stream)
    }

    /// The next connection, registered under the nick that it asks for, with these words in 005.
    pub(super) async fn welcome(&self, isupport: &str) -> Client {
        let mut client = self.accept().await;
        client.register("", isupport).await;
        client
    }
}

/// The other end of a connection of ours.
pub(super) struct Client {
    lines: UnboundedReceiver<Vec<u8>>,
    writer: Arc<AsyncMutex<OwnedWriteHalf>>,
    /// Reads, and answers whether words have come.
    reading: JoinHandle<()>,
    /// Until the test itself does that.
    answers: Arc<AtomicBool>,
    pub(super) nick: String,
    /// What was read and not waited for.
    pub(super) seen: Vec<String>,
    /// Capabilities that were asked for and granted.
    pub(super) granted: String,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

/// Hands on what is read. Whether words have come is answered at once, as any server would do: no test waits for that.
async fn read(
    reader: OwnedReadHalf,
    writer: Arc<AsyncMutex<OwnedWriteHalf>>,
    lines: UnboundedSender<Vec<u8>>,
    answers: Arc<AtomicBool>,
) {
    let mut reader = BufReader::new(reader);
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes).await.is_ok_and(|n| n > 0) {
        let line = std::mem::take(&mut bytes);
        let sent = match line.strip_prefix(b"PING :said-").filter(|_| answers.load(Ordering::Relaxed)) {
            Some(number) => {
                let answer = [b":irc.test PONG irc.test :said-", number].concat();
                writer.lock().await.write_all(&answer).await.is_ok()
            }
            None => lines.send(line).is_ok(),
        };
        if !sent {
            return;
        }
    }
}

impl Client {
    fn of(stream: TcpStream) -> Self {
        let (reader, writer) = stream.into_split();
        let (sender, lines) = unbounded_channel();
        let writer = Arc::new(AsyncMutex::new(writer));
        let answers = Arc::new(AtomicBool::new(true));
        let reading = tokio::spawn(read(reader, writer.clone(), sender, answers.clone()));
        Self { lines, writer, reading, answers, nick: String::new(), seen: Vec::new(), granted: String::new() }
    }

    /// Whether words have come is the test's to say from now on.
    pub(super) fn is_slow(&self) {
        self.answers.store(false, Ordering::Relaxed);
    }

    pub(super) async fn send(&mut self, line: &str) {
        self.raw(format!("{line}\r\n").as_bytes()).await;
    }

    pub(super) async fn raw(&mut self, bytes: &[u8]) {
        self.writer.lock().await.write_all(bytes).await.expect("written");
    }

    /// The next line; `None` at the end of the stream.
    pub(super) async fn line(&mut self) -> Option<String> {
        let read = timeout(PATIENCE, self.lines.recv()).await;
        let bytes = read.unwrap_or_else(|_| panic!("no line; before: {:?}", self.seen))?;
        Some(String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned())
    }

    /// The next line as it came, without its end.
    pub(super) async fn bytes(&mut self) -> Vec<u8> {
        let read = timeout(PATIENCE, self.lines.recv()).await.ok().flatten();
        let bytes = read.unwrap_or_else(|| panic!("no line; before: {:?}", self.seen));
        bytes.trim_ascii_end().to_vec()
    }

    /// Reads until a line begins so.
    pub(super) async fn expect(&mut self, begins: &str) -> String {
        loop {
            let line = self
                .line()
                .await
                .unwrap_or_else(|| panic!("the stream ended before {begins}; before: {:?}", self.seen));
            if line.starts_with(begins) {
                return line;
            }
            self.seen.push(line);
        }
    }

    /// Reads until a line holds this.
    pub(super) async fn holding(&mut self, part: &str) -> String {
        loop {
            let line =
                self.line().await.unwrap_or_else(|| panic!("the stream ended before {part}; before: {:?}", self.seen));
            if line.contains(part) {
                return line;
            }
            self.seen.push(line);
        }
    }

    /// Reads until the stream ends.
    pub(super) async fn ended(&mut self) {
        while let Some(line) = self.line().await {
            self.seen.push(line);
        }
    }

    /// Plays the registration; these capabilities are offered and granted.
    pub(super) async fn register(&mut self, caps: &str, isupport: &str) {
        self.expect("CAP LS 302").await;
        let nick = self.expect("NICK ").await;
        self.nick = nick["NICK ".len()..].to_owned();
        self.expect("USER ").await;
        self.send(&format!(":irc.test CAP * LS :{caps}")).await;
        if !caps.is_empty() {
            let asked = self.expect("CAP REQ :").await;
            self.granted = asked["CAP REQ :".len()..].to_owned();
            self.send(&format!(":irc.test CAP * ACK :{}", self.granted)).await;
        }
        self.expect("CAP END").await;
        let nick = self.nick.clone();
        self.send(&format!(":irc.test 001 {nick} :Welcome {nick}")).await;
        self.send(&format!(":irc.test 005 {nick} CHANTYPES=# {isupport} :are supported by this server")).await;
        self.send(&format!(":irc.test 376 {nick} :End of MOTD")).await;
    }

    /// Answers a JOIN with these names.
    pub(super) async fn admit(&mut self, room: &str, names: &str) {
        self.expect(&format!("JOIN {room}")).await;
        let nick = self.nick.clone();
        self.send(&format!(":{nick}!u@host.test JOIN {room}")).await;
        self.send(&format!(":irc.test 353 {nick} = {room} :{names}")).await;
        self.send(&format!(":irc.test 366 {nick} {room} :End of NAMES")).await;
    }

    /// Resets the connection (RST), in the middle of whatever there is.
    pub(super) fn reset(self) {
        let writer = self.writer.try_lock().expect("nobody writes");
        writer.as_ref().set_zero_linger().expect("a socket");
    }
}

/// A small ircd: rooms, messages with echo and ids, modes, lists.
pub(super) struct Ircd {
    pub(super) port: u16,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    clients: BTreeMap<u64, (String, UnboundedSender<String>)>,
    rooms: BTreeMap<String, Vec<u64>>,
    next: u64,
}

impl Drop for Ircd {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Ircd {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        let ircd = Self { port, state, task };
        ircd.state.lock().expect("nobody panics").clients.insert(0, ("alice".to_owned(), unbounded_channel().0));
        ircd
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) {
    let (reader, mut writer) = stream.into_split();
    let (sender, mut lines) = unbounded_channel::<String>();
    let id = {
        let mut state = state.lock().expect("nobody panics");
        state.next += 1;
        let id = state.next;
        state.clients.insert(id, (String::new(), sender));
        id
    };
    let writing = tokio::spawn(async move {
        while let Some(line) = lines.recv().await {
            if writer.write_all(format!("{line}\r\n").as_bytes()).await.is_err() {
                return;
            }
        }
    });
    let mut reader = BufReader::new(reader.take(1 << 30));
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes).await.is_ok_and(|n| n > 0) {
        let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        bytes.clear();
        assert!(text.len() <= 510, "a line of {} bytes", text.len());
        if let Some(line) = Line::parse(&text) {
            state.lock().expect("nobody panics").on_line(id, &line);
        }
    }
    state.lock().expect("nobody panics").quit(id);
    writing.abort();
}

impl State {
    fn nick(&self, id: u64) -> String {
        self.clients.get(&id).map(|c| c.0.clone()).unwrap_or_default()
    }

    fn tell(&self, id: u64, line: String) {
        if let Some((_, sender)) = self.clients.get(&id) {
            let _ = sender.send(line);
        }
    }

    fn number(&self, id: u64, number: &str, rest: &str) {
        self.tell(id, format!(":irc.test {number} {} {rest}", self.nick(id)));
    }

    fn to_room(&self, room: &str, line: &str) {
        for id in self.rooms.get(room).into_iter().flatten() {
            self.tell(*id, line.to_owned());
        }
    }

    fn quit(&mut self, id: u64) {
        let source = format!("{}!u@host.test", self.nick(id));
        for (room, inside) in &mut self.rooms {
            if inside.contains(&id) {
                inside.retain(|other| *other != id);
                for other in inside.iter() {
                    if let Some((_, sender)) = self.clients.get(other) {
                        let _ = sender.send(format!(":{source} QUIT :from {room}"));
                    }
                }
            }
        }
        self.clients.remove(&id);
    }

    fn on_line(&mut self, id: u64, line: &Line<'_>) {
        let (nick, first) = (self.nick(id), line.param(0).to_lowercase());
        let source = format!("{nick}!u@host.test");
        let inside = self.rooms.get(&first).is_some_and(|r| r.contains(&id));
        match line.command {
            "CAP" if first == "ls" => {
                self.tell(id, ":irc.test CAP * LS :multi-prefix echo-message server-time message-tags".to_owned())
            }
            "CAP" if first == "req" => self.tell(id, format!(":irc.test CAP * ACK :{}", line.last())),
            "CAP" => {
                self.number(id, "001", ":Welcome");
                self.number(id, "005", "CHANTYPES=# PREFIX=(ov)@+ CHANMODES=b,k,l,imnst :are supported");
                self.number(id, "422", ":no MOTD");
            }
            "NICK" => {
                if !nick.is_empty() {
                    self.tell(id, format!(":{source} NICK {}", line.param(0)));
                }
                if let Some(client) = self.clients.get_mut(&id) {
                    client.0 = line.param(0).to_owned();
                }
            }
            "JOIN" => {
                let room = first;
                self.rooms.entry(room.clone()).or_default().push(id);
                self.to_room(&room, &format!(":{source} JOIN {room}"));
                let names: Vec<String> = self.rooms[&room].iter().map(|i| self.nick(*i)).collect();
                self.number(id, "353", &format!("= {room} :@{}", names.join(" ")));
                self.number(id, "366", &format!("{room} :End"));
            }
            "PRIVMSG" => {
                let words = format!("@msgid={id}-{:p} :{source} PRIVMSG {first} :{}", line, line.last());
                if first.starts_with('#') && !inside {
                    self.number(id, "404", &format!("{first} :Cannot send to channel"));
                } else if first.starts_with('#') {
                    self.to_room(&first, &words);
                } else if let Some(to) =
                    self.clients.iter().find(|(_, c)| c.0.eq_ignore_ascii_case(&first)).map(|(to, _)| *to)
                {
                    self.tell(id, words.clone());
                    self.tell(to, words);
                } else {
                    self.number(id, "401", &format!("{first} :No such nick"));
                }
            }
            "PART" if inside => {
                self.to_room(&first, &format!(":{source} PART {first} :{}", line.param(1)));
                self.rooms.get_mut(&first).expect("inside").retain(|other| *other != id);
            }
            "TOPIC" if inside => self.to_room(&first, &format!(":{source} TOPIC {first} :{}", line.last())),
            "MODE" if line.params().len() == 1 => self.number(id, "324", &format!("{first} +nt")),
            "MODE" if line.param(1) == "b" => self.number(id, "368", &format!("{first} :End of bans")),
            "MODE" if inside => self.to_room(&first, &format!(":{source} MODE {first} {}", line.words(1))),
            "INVITE" => self.number(id, "341", &format!("{} {}", line.param(0), line.param(1))),
            "LIST" => {
                self.number(id, "322", "#lounge 3 :The lounge");
                self.number(id, "323", ":End of LIST");
            }
            "WHOIS" => self.number(id, "318", &format!("{} :End of WHOIS", line.param(0))),
            "PING" => self.tell(id, format!(":irc.test PONG irc.test :{}", line.last())),
            "USER" | "AWAY" | "NOTICE" | "QUIT" | "NAMES" => {}
            "TOPIC" | "PART" => self.number(id, "442", &format!("{first} :You're not on that channel")),
            other => self.number(id, "421", &format!("{other} :Unknown command")),
        }
    }
}
