//! The receiving side.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::ServerConfig;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Stream;

/// A mail as it came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mail {
    /// Envelope sender, without brackets.
    pub from: String,
    /// What followed it (`SIZE=…`, `RET=…`, `ENVID=…`).
    pub from_parameters: String,
    /// Envelope recipients that were taken, with what followed each.
    pub to: Vec<(String, String)>,
    /// Header and body, dots undone, line ends CRLF.
    pub data: String,
    /// Whether it came over TLS.
    pub tls: bool,
    /// The decoded user name of AUTH, if there was one.
    pub user: Option<String>,
}

impl Mail {
    /// The value of a header field (unfolded, the first of that name).
    pub fn header(&self, name: &str) -> Option<String> {
        let head = self.data.split("\r\n\r\n").next()?.replace("\r\n ", " ").replace("\r\n\t", " ");
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }
}

/// A point at which the script decides.
#[derive(Debug, Clone, Copy)]
pub enum Stage<'a> {
    /// Before the greeting.
    Connect,
    /// EHLO, HELO or LHLO.
    Hello,
    /// AUTH with this user and password.
    Auth(&'a str, &'a str),
    /// MAIL with this sender.
    From(&'a str),
    /// RCPT with this recipient.
    To(&'a str),
    /// DATA, before the 354.
    Data,
    /// After the final dot; under LMTP once for each recipient.
    Body(&'a Mail, &'a str),
    /// QUIT.
    Quit,
}

/// What the server does at a stage.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Act {
    /// What a good server does.
    #[default]
    Take,
    /// This reply line instead (a refusal, usually).
    Say(String),
    /// Closes the connection without a word.
    Cut,
    /// Takes the mail, then closes the connection without a word: the sender cannot know. At [`Stage::Body`] only.
    TakeAndCut,
    /// As [`Act::Take`], after this time.
    After(Duration),
    /// Never answers.
    Hang,
}

impl Act {
    /// `Say` of a string.
    pub fn say(line: impl Into<String>) -> Self {
        Self::Say(line.into())
    }
}

/// What is offered at EHLO.
#[derive(Debug, Clone)]
pub struct Features {
    /// LMTP instead of SMTP: LHLO, and one reply for each recipient after the dot.
    pub lmtp: bool,
    /// STARTTLS with this certificate.
    pub tls: Option<Arc<ServerConfig>>,
    /// AUTH PLAIN and LOGIN (any password unless the script refuses); MAIL before AUTH is refused with 530.
    pub auth: bool,
    /// Further keywords.
    pub keywords: Vec<String>,
}

impl Default for Features {
    fn default() -> Self {
        let keywords = ["PIPELINING", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES", "SIZE 20971520"];
        Self { lmtp: false, tls: None, auth: false, keywords: keywords.map(str::to_owned).to_vec() }
    }
}

type Script = Arc<dyn Fn(Stage<'_>) -> Act + Send + Sync>;

struct Shared {
    features: Features,
    script: Mutex<Script>,
    mails: watch::Sender<Vec<Mail>>,
}

/// The server; stops when dropped.
pub struct FakeSmtp {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: Option<JoinSet<()>>,
}

impl std::fmt::Debug for FakeSmtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeSmtp").field("address", &self.address).finish_non_exhaustive()
    }
}

impl FakeSmtp {
    /// Listens on a free port.
    pub async fn start(features: Features) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let script: Script = Arc::new(|_| Act::Take);
        let shared = Arc::new(Shared { features, script: Mutex::new(script), mails: watch::Sender::default() });
        let mut server = Self { address, shared, tasks: None };
        server.serve(listener);
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on this decides.
    pub fn script(&self, script: impl Fn(Stage<'_>) -> Act + Send + Sync + 'static) {
        *self.shared.script.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(script);
    }

    /// Everything taken so far, in order.
    pub fn mails(&self) -> Vec<Mail> {
        self.shared.mails.borrow().clone()
    }

    /// Waits until `count` mails were taken in all; yields all. Fails after 60 s.
    pub async fn wait_for(&self, count: usize) -> Result<Vec<Mail>> {
        let mut mails = self.shared.mails.subscribe();
        let all = tokio::time::timeout(Duration::from_secs(60), mails.wait_for(|mails| mails.len() >= count)).await;
        let seen = self.shared.mails.borrow().len();
        Ok(all.with_context(|| format!("{count} mails expected, {seen} came"))??.clone())
    }

    /// Ends every connection and stops listening.
    pub fn go_down(&mut self) {
        self.tasks = None;
    }

    /// Listens again on the same port.
    pub async fn come_up(&mut self) -> Result<()> {
        let within = Duration::from_secs(30);
        let listener =
            crate::wait::until("the port again", within, || async { Ok(TcpListener::bind(self.address).await?) });
        let listener = listener.await?;
        self.serve(listener);
        Ok(())
    }

    fn serve(&mut self, listener: TcpListener) {
        let shared = self.shared.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let session = Session::new(shared.clone(), stream);
                connections.spawn(async move {
                    // A connection that breaks is the client's affair; the test looks at `mails`.
                    let _ = session.run().await;
                });
            }
        });
        self.tasks = Some(tasks);
    }
}

struct Session {
    shared: Arc<Shared>,
    stream: BufStream<Box<dyn Stream>>,
    mail: Mail,
    tls: bool,
    user: Option<String>,
}

/// Whether the connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Go,
    End,
}

impl Session {
    fn new(shared: Arc<Shared>, stream: TcpStream) -> Self {
        let stream: Box<dyn Stream> = Box::new(stream);
        Self { shared, stream: BufStream::new(stream), mail: Mail::default(), tls: false, user: None }
    }

    async fn run(mut self) -> Result<()> {
        if self.answer(Stage::Connect, "220 fake.test ready").await? == Flow::End {
            return Ok(());
        }
        while let Some(line) = self.line().await? {
            let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
            let flow = match verb.to_ascii_uppercase().as_str() {
                "EHLO" | "LHLO" | "HELO" => self.on_hello().await?,
                "STARTTLS" if self.shared.features.tls.is_some() => {
                    self = self.on_starttls().await?;
                    Flow::Go
                }
                "AUTH" if self.shared.features.auth => self.on_auth(rest).await?,
                "MAIL" => self.on_mail(rest).await?,
                "RCPT" => self.on_rcpt(rest).await?,
                "DATA" => self.on_data().await?,
                "RSET" => {
                    self.mail = Mail::default();
                    self.say("250 2.0.0 ok").await?
                }
                "NOOP" => self.say("250 2.0.0 ok").await?,
                "QUIT" => {
                    self.answer(Stage::Quit, "221 2.0.0 bye").await?;
                    Flow::End
                }
                _ => self.say("502 5.5.1 what?").await?,
            };
            if flow == Flow::End {
                break;
            }
        }
        Ok(())
    }

    async fn on_hello(&mut self) -> Result<Flow> {
        let mut words = vec!["fake.test".to_owned()];
        words.extend(self.shared.features.keywords.iter().cloned());
        if self.shared.features.tls.is_some() && !self.tls {
            words.push("STARTTLS".to_owned());
        }
        if self.shared.features.auth {
            words.push("AUTH PLAIN LOGIN".to_owned());
        }
        let last = words.len() - 1;
        let lines: Vec<String> =
            words.iter().enumerate().map(|(i, w)| format!("250{}{w}", if i == last { ' ' } else { '-' })).collect();
        self.answer(Stage::Hello, &lines.join("\r\n")).await
    }

    async fn on_starttls(mut self) -> Result<Self> {
        self.say("220 2.0.0 go ahead").await?;
        let config = self.shared.features.tls.clone().context("no certificate")?;
        let plain = self.stream.into_inner();
        let stream: Box<dyn Stream> = Box::new(tokio_rustls::TlsAcceptor::from(config).accept(plain).await?);
        Ok(Self { stream: BufStream::new(stream), tls: true, mail: Mail::default(), ..self })
    }

    async fn on_auth(&mut self, rest: &str) -> Result<Flow> {
        let (mechanism, initial) = rest.split_once(' ').unwrap_or((rest, ""));
        let mut initial = initial.to_owned();
        let (user, password) = if mechanism.eq_ignore_ascii_case("PLAIN") {
            if initial.is_empty() {
                self.say("334 ").await?;
                initial = self.line().await?.context("no answer")?;
            }
            let words = decode(&initial);
            let mut words = words.split('\0').skip(1);
            (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned())
        } else {
            self.say("334 VXNlcm5hbWU6").await?;
            let user = decode(&self.line().await?.context("no user")?);
            self.say("334 UGFzc3dvcmQ6").await?;
            (user, decode(&self.line().await?.context("no password")?))
        };
        let act = self.shared.decide(Stage::Auth(&user, &password));
        if matches!(act, Act::Take | Act::After(_)) {
            self.user = Some(user);
        }
        self.act(act, "235 2.7.0 welcome").await
    }

    async fn on_mail(&mut self, rest: &str) -> Result<Flow> {
        if self.shared.features.auth && self.user.is_none() {
            return self.say("530 5.7.0 authentication required").await;
        }
        let (from, from_parameters) = address(rest);
        self.mail = Mail { from, from_parameters, tls: self.tls, user: self.user.clone(), ..Mail::default() };
        let act = self.shared.decide(Stage::From(&self.mail.from));
        self.act(act, "250 2.1.0 ok").await
    }

    async fn on_rcpt(&mut self, rest: &str) -> Result<Flow> {
        let recipient = address(rest);
        let act = self.shared.decide(Stage::To(&recipient.0));
        if matches!(act, Act::Take | Act::After(_)) {
            self.mail.to.push(recipient);
        }
        self.act(act, "250 2.1.5 ok").await
    }

    async fn on_data(&mut self) -> Result<Flow> {
        if self.mail.to.is_empty() {
            return self.say("554 5.5.1 no valid recipients").await;
        }
        match self.shared.decide(Stage::Data) {
            Act::Take => self.say("354 go on").await?,
            other => return self.act(other, "354 go on").await,
        };
        loop {
            let line = self.line().await?.context("cut off in the data")?;
            if line == "." {
                break;
            }
            self.mail.data += line.strip_prefix('.').unwrap_or(&line);
            self.mail.data += "\r\n";
        }
        let mail = std::mem::take(&mut self.mail);
        let asked = if self.shared.features.lmtp { mail.to.len() } else { 1 };
        let acts: Vec<Act> = mail.to[..asked].iter().map(|to| self.shared.decide(Stage::Body(&mail, &to.0))).collect();
        if acts.iter().any(|act| matches!(act, Act::Take | Act::After(_) | Act::TakeAndCut)) {
            self.shared.mails.send_modify(|mails| mails.push(mail));
        }
        for act in acts {
            if self.act(act, "250 2.0.0 taken").await? == Flow::End {
                return Ok(Flow::End);
            }
        }
        Ok(Flow::Go)
    }

    async fn answer(&mut self, stage: Stage<'_>, good: &str) -> Result<Flow> {
        let act = self.shared.decide(stage);
        self.act(act, good).await
    }

    async fn act(&mut self, act: Act, good: &str) -> Result<Flow> {
        match act {
            Act::Take => self.say(good).await,
            Act::Say(line) => self.say(&line).await,
            Act::Cut | Act::TakeAndCut => Ok(Flow::End),
            Act::After(time) => {
                tokio::time::sleep(time).await;
                self.say(good).await
            }
            Act::Hang => std::future::pending().await,
        }
    }

    async fn say(&mut self, line: &str) -> Result<Flow> {
        self.stream.write_all(format!("{line}\r\n").as_bytes()).await?;
        self.stream.flush().await?;
        Ok(Flow::Go)
    }

    async fn line(&mut self) -> Result<Option<String>> {
        let mut line = Vec::new();
        if self.stream.read_until(b'\n', &mut line).await? == 0 {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&line);
        Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

impl Shared {
    fn decide(&self, stage: Stage<'_>) -> Act {
        let script = self.script.lock().unwrap_or_else(PoisonError::into_inner).clone();
        script(stage)
    }
}

/// `FROM:<a@b> SIZE=3` → (`a@b`, `SIZE=3`).
fn address(rest: &str) -> (String, String) {
    let after = rest.split_once('<').map_or("", |(_, after)| after);
    let (address, parameters) = after.split_once('>').unwrap_or((after, ""));
    (address.to_owned(), parameters.trim().to_owned())
}

/// Base64 (standard alphabet) to text.
fn decode(text: &str) -> String {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let (mut bits, mut count, mut out) = (0u32, 0, Vec::new());
    for six in text.bytes().filter_map(value) {
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::{SmtpClient, send};

    const TEXT: &str = "Subject: hello\r\n  you\r\nTo: x@y.test\r\n\r\n.dot\r\nend\r\n";

    #[tokio::test]
    async fn a_mail_is_recorded_as_it_was_sent() {
        let server = FakeSmtp::start(Features::default()).await.unwrap();
        let replies = send(server.address(), false, "a@b.test", &["x@y.test"], TEXT).await.unwrap();
        assert_eq!(replies[0].code, 250);
        let mail = &server.wait_for(1).await.unwrap()[0];
        assert_eq!((mail.from.as_str(), mail.to[0].0.as_str()), ("a@b.test", "x@y.test"));
        assert_eq!(mail.data, TEXT);
        assert_eq!(mail.header("subject").as_deref(), Some("hello  you"));
    }

    #[tokio::test]
    async fn lmtp_answers_for_each_recipient_and_the_script_decides() {
        let server = FakeSmtp::start(Features { lmtp: true, ..Features::default() }).await.unwrap();
        server.script(|stage| match stage {
            Stage::To("bad@y.test") => Act::say("550 5.1.1 no such user"),
            Stage::Body(_, "later@y.test") => Act::say("451 4.2.0 later"),
            _ => Act::Take,
        });
        let to = ["x@y.test", "bad@y.test", "later@y.test"];
        let replies = send(server.address(), true, "", &to, TEXT).await.unwrap();
        assert_eq!(replies.iter().map(|reply| reply.code).collect::<Vec<_>>(), [250, 550, 451]);
    }

    #[tokio::test]
    async fn a_cut_after_the_dot_leaves_the_mail_taken() {
        let server = FakeSmtp::start(Features::default()).await.unwrap();
        server.script(|stage| if matches!(stage, Stage::Body(..)) { Act::TakeAndCut } else { Act::Take });
        assert!(send(server.address(), false, "a@b.test", &["x@y.test"], TEXT).await.is_err());
        assert_eq!(server.mails().len(), 1);
    }

    #[tokio::test]
    async fn starttls_and_auth_are_demanded_and_recorded() {
        let folder = crate::process::Folder::new("smtp").unwrap();
        let certificate = crate::certificate::Certificate::make(&folder).await.unwrap();
        let features = Features { tls: Some(certificate.server().unwrap()), auth: true, ..Features::default() };
        let server = FakeSmtp::start(features).await.unwrap();
        let client = SmtpClient::hello(server.address(), false).await.unwrap();
        let mut client = client.starttls(certificate.client().unwrap()).await.unwrap();
        client.expect("MAIL FROM:<a@b.test>", 530).await.unwrap();
        client.expect("AUTH PLAIN AHVzZXIAc2VjcmV0", 235).await.unwrap();
        let replies = client.mail("a@b.test", &["x@y.test"], TEXT, false).await.unwrap();
        assert!(replies[0].is_ok());
        let mail = &server.mails()[0];
        assert!(mail.tls);
        assert_eq!(mail.user.as_deref(), Some("user"));
    }
}
