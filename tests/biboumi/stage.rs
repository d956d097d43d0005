//! One gateway, whichever it is, with its XMPP server and a real IRC server; and what came out of it, step by step.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use isthmus_testkit::atheme::Atheme;
use isthmus_testkit::biboumi::Biboumi;
use isthmus_testkit::fake::{FakeXmpp, Seen};
use isthmus_testkit::inspircd::Inspircd;
use isthmus_testkit::irc::Person;
use isthmus_testkit::isthmus::{Isthmus, Setup};
use isthmus_testkit::ngircd::Ngircd;
use isthmus_testkit::xml::Element;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::normal;

/// The gateway's domain.
pub(crate) const GATEWAY: &str = "irc.localhost";
/// The network, by the name that users give it.
pub(crate) const NET: &str = "net@irc.localhost";
/// A user's first device.
pub(crate) const DESK: &str = "romeo@localhost/desk";
/// Their second one.
pub(crate) const PHONE: &str = "romeo@localhost/phone";
/// Another user.
pub(crate) const OTHER: &str = "benvolio@localhost/desk";

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Nothing more comes after so many looks in a row that found nothing, once a question that went the whole way has been answered. Looks are counted, not
/// time: where the machine stalls nobody looks, either.
const QUIET: usize = 24;
/// Between two of them.
const LOOK: Duration = Duration::from_millis(5);
/// Who answers such questions.
const SYNC: &str = "sync";

/// Which gateway is on stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Debian's.
    Biboumi,
    /// Ours.
    Ours,
}

/// What was heard in one step: by whom (a full or bare JID, or `irc nick`) from which address, in order.
#[derive(Debug, Default, Clone)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) heard: BTreeMap<(String, String), Vec<Element>>,
    pub(crate) lines: BTreeMap<String, Vec<String>>,
}

enum Gateway {
    Biboumi(Biboumi),
    Ours(Isthmus),
}

/// How a gateway is set up.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Plan {
    /// The gateway is the network.
    pub(crate) fixed: bool,
    /// `persistent_by_default`.
    pub(crate) persistent: bool,
    /// The network is InspIRCd (echo, labels, tags), not ngircd.
    pub(crate) inspircd: bool,
}

/// The network.
enum Ircd {
    Ngircd(Box<Ngircd>),
    Inspircd(Box<Inspircd>),
}

impl Ircd {
    fn port(&self) -> u16 {
        match self {
            Self::Ngircd(server) => server.plain().number(),
            Self::Inspircd(server) => server.plain().number(),
        }
    }
}

/// The stage of one play.
pub(crate) struct Stage {
    pub(crate) side: Side,
    pub(crate) steps: Vec<Step>,
    plan: Plan,
    xmpp: FakeXmpp,
    ircd: Ircd,
    gateway: Gateway,
    people: Vec<Person>,
    /// Devices whose connection to the network is up.
    connected: Vec<String>,
    pending: Vec<Element>,
    count: usize,
    answering: JoinHandle<()>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

impl Stage {
    /// Starts everything; both users have told the gateway of their network by its own form.
    pub(crate) async fn open(side: Side, plan: Plan) -> Result<Self> {
        Self::open_with(side, plan, "").await
    }

    /// The same; biboumi has these further lines in its configuration.
    pub(crate) async fn open_with(side: Side, plan: Plan, lines: &str) -> Result<Self> {
        let ircd = if plan.inspircd {
            Ircd::Inspircd(Box::new(Inspircd::start().await?))
        } else {
            Ircd::Ngircd(Box::new(Ngircd::start().await?))
        };
        let mut xmpp = FakeXmpp::start(&[GATEWAY]).await?;
        let gateway = match side {
            Side::Biboumi => {
                let fixed = if plan.fixed { "fixed_irc_server=127.0.0.1\n" } else { "" };
                let lines = format!("{fixed}persistent_by_default={}\n{lines}", plan.persistent);
                Gateway::Biboumi(Biboumi::start(GATEWAY, xmpp.address(), &lines)?)
            }
            Side::Ours => Gateway::Ours(ours(&xmpp, plan).start().await?),
        };
        xmpp.attached(GATEWAY).await?;
        let answering = answer_pings(ircd.port()).await?;
        let mut stage = Self {
            side,
            steps: Vec::new(),
            plan,
            xmpp,
            ircd,
            gateway,
            people: Vec::new(),
            connected: Vec::new(),
            pending: Vec::new(),
            count: 0,
            answering,
        };
        for user in [DESK, OTHER] {
            stage.configure(user).await?;
        }
        stage.steps.clear();
        Ok(stage)
    }

    /// biboumi goes, its data are taken over (twice), and Isthmus is in its place. Gives what both runs said.
    pub(crate) async fn change_over(&mut self, database: Option<&str>) -> Result<[serde_json::Value; 2]> {
        let Gateway::Biboumi(biboumi) = &mut self.gateway else { bail!("it is not biboumi") };
        biboumi.stop().await?;
        self.connected.clear();
        let mut isthmus = ours(&self.xmpp, self.plan).write()?;
        let configuration = biboumi.configuration().display().to_string();
        let file = biboumi.database().display().to_string();
        let words = ["import", "biboumi", database.unwrap_or(&file), &configuration, "--json"];
        let mut said = Vec::new();
        for _ in 0..2 {
            let output = isthmus.cli(&words).await?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            anyhow::ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
            said.push(serde_json::from_str(&text).with_context(|| text.clone())?);
        }
        isthmus.launch().await?;
        // Its data must not go before it has ended.
        let old = std::mem::replace(&mut self.gateway, Gateway::Ours(isthmus));
        drop(old);
        self.side = Side::Ours;
        self.xmpp.attached(GATEWAY).await?;
        said.try_into().map_err(|_| anyhow::anyhow!("two runs"))
    }

    /// The network's port, in clear.
    pub(crate) fn port(&self) -> u16 {
        self.ircd.port()
    }

    /// Whether the network is InspIRCd.
    pub(crate) fn is_inspircd(&self) -> bool {
        self.plan.inspircd
    }

    /// Services for the network, which is InspIRCd.
    pub(crate) async fn services(&self) -> Result<Atheme> {
        match &self.ircd {
            Ircd::Inspircd(server) => Atheme::start(server).await,
            Ircd::Ngircd(_) => bail!("no services link to ngircd here"),
        }
    }

    /// Our program, if it is on stage.
    pub(crate) fn isthmus(&self) -> Option<&Isthmus> {
        if let Gateway::Ours(isthmus) = &self.gateway { Some(isthmus) } else { None }
    }

    /// Waits for a line that this person hears.
    pub(crate) async fn hears(&mut self, who: usize, holds: &str) -> Result<String> {
        self.people[who].line(holds).await
    }

    /// Whoever the gateway's own address is a network's.
    pub(crate) fn network(&self) -> &'static str {
        if self.plan.fixed { GATEWAY } else { NET }
    }

    /// A room's address.
    pub(crate) fn room(&self, name: &str) -> String {
        if self.plan.fixed { format!("#{name}@{GATEWAY}") } else { format!("#{name}%{NET}") }
    }

    /// The address of somebody on the network.
    pub(crate) fn nick(&self, nick: &str) -> String {
        if self.plan.fixed { format!("{nick}@{GATEWAY}") } else { format!("{nick}%{NET}") }
    }

    /// Tells the gateway where the network is, by the form that it has for that.
    async fn configure(&mut self, user: &str) -> Result<()> {
        let (side, port, fixed) = (self.side, self.ircd.port(), self.plan.fixed);
        let node = if fixed { "server-configure" } else { "configure" };
        let network = self.network();
        let form = self.ask(user, network, "set", &command(node, "execute", None, "")).await?;
        let session = form.walk().find_map(|e| e.attr("sessionid")).context("no session")?.to_owned();
        let mut fields = field("ports", &[&port.to_string()]);
        if !fixed {
            fields += &field("address", &["127.0.0.1"]);
        }
        fields += &field("tls_ports", &[]);
        if side == Side::Biboumi {
            fields += &field("throttle_limit", &["-1"]);
        }
        let end = if side == Side::Ours { "complete" } else { "next" };
        let done = self.ask(user, network, "set", &command(node, end, Some(&session), &submit(&fields))).await?;
        anyhow::ensure!(done.attr("type") == Some("result"), "{done}");
        Ok(())
    }

    /// Somebody else on the network.
    pub(crate) async fn person(&mut self, nick: &str) -> Result<usize> {
        let mut person = Person::enter(self.ircd.port(), nick).await?;
        person.heard().await?;
        self.people.push(person);
        Ok(self.people.len() - 1)
    }

    /// What this person does on the network; done when it returns.
    pub(crate) async fn does(&mut self, who: usize, line: &str) -> Result<()> {
        let person = &mut self.people[who];
        person.send(line).await?;
        let heard = person.heard().await?;
        let nick = person.nick().to_owned();
        self.step().lines.entry(nick).or_default().extend(heard.iter().map(|l| normal::line(l)));
        Ok(())
    }

    /// This person has gone.
    pub(crate) fn forget(&mut self, who: usize) {
        self.people.remove(who);
    }

    /// From here on, what is heard belongs to this step.
    pub(crate) fn scene(&mut self, name: &str) {
        self.steps.push(Step { name: name.to_owned(), ..Step::default() });
    }

    fn step(&mut self) -> &mut Step {
        if self.steps.is_empty() {
            self.scene("at first");
        }
        self.steps.last_mut().expect("there is one")
    }

    /// Sends a stanza as it stands; `from` and, where there is none, an id are added.
    pub(crate) fn send(&mut self, from: &str, stanza: &str) -> Result<()> {
        self.count += 1;
        let (name, rest) = stanza[1..].split_at(stanza[1..].find([' ', '>', '/']).context("no element")?);
        let tag = rest.split('>').next().unwrap_or_default();
        let id = if tag.contains(" id='") { String::new() } else { format!(" id='s{}'", self.count) };
        self.xmpp.send(GATEWAY, format!("<{name} from='{from}'{id}{rest}"))
    }

    /// Sends a stanza as it stands, with the `from` that it has.
    pub(crate) fn send_as_is(&self, stanza: &str) -> Result<()> {
        self.xmpp.send(GATEWAY, stanza)
    }

    /// What has come to somebody since all was settled, in order.
    pub(crate) fn came(&mut self, who: &str) -> Vec<Element> {
        self.pump();
        self.pending.iter().filter(|stanza| stanza.attr("to") == Some(who)).cloned().collect()
    }

    /// Enters a room, and waits until that is complete.
    pub(crate) async fn join(&mut self, who: &str, room: &str, nick: &str) -> Result<()> {
        self.join_with(who, room, nick, "").await
    }

    /// The same, with something more in the join.
    pub(crate) async fn join_with(&mut self, who: &str, room: &str, nick: &str, inside: &str) -> Result<()> {
        let room = self.room(room);
        let x = format!("<x xmlns='http://jabber.org/protocol/muc'>{inside}</x>");
        self.send(who, &format!("<presence to='{room}/{nick}'>{x}</presence>"))?;
        self.expect(who, "the subject", |s| {
            s.name == "message" && s.child("subject").is_some() && s.attr("from").is_some_and(|f| f.starts_with(&room))
        })
        .await?;
        self.in_order(who, &room)?;
        self.is_connected(who);
        self.settle().await
    }

    /// XEP-0045 section 7.1: the others, then the user, then what was said, then the subject.
    fn in_order(&self, who: &str, room: &str) -> Result<()> {
        let here = |s: &&Element| s.attr("to") == Some(who) && s.attr("from").is_some_and(|f| f.starts_with(room));
        let rank = |s: &Element| match s.name.as_str() {
            "presence" => u8::from(s.walk().any(|e| e.attr("code") == Some("110"))),
            _ => 2 + u8::from(s.child("subject").is_some()),
        };
        let ranks: Vec<u8> = self.pending.iter().filter(here).map(rank).collect();
        anyhow::ensure!(ranks.is_sorted(), "{:?}: the join is out of order: {:#?}", self.side, self.pending);
        Ok(())
    }

    /// This device can be asked through the network from now on.
    pub(crate) fn is_connected(&mut self, who: &str) {
        if !self.connected.iter().any(|c| c == who) {
            self.connected.push(who.to_owned());
        }
    }

    /// None of this user's devices can be asked any more.
    pub(crate) fn is_gone(&mut self, who: &str) {
        self.connected.retain(|c| c != who);
    }

    /// Says something in a room.
    pub(crate) async fn say(&mut self, who: &str, room: &str, words: &str) -> Result<()> {
        let room = self.room(room);
        self.send(who, &format!("<message to='{room}' type='groupchat'><body>{words}</body></message>"))?;
        self.settle().await
    }

    /// Sends a question and gives its answer, which belongs to the step as well.
    pub(crate) async fn ask(&mut self, from: &str, to: &str, kind: &str, payload: &str) -> Result<Element> {
        self.count += 1;
        let id = format!("q{}", self.count);
        self.send(from, &format!("<iq to='{to}' type='{kind}' id='{id}'>{payload}</iq>"))?;
        let found = self.expect(from, payload, |s| s.name == "iq" && s.attr("id") == Some(&id)).await?;
        self.settle().await?;
        Ok(found)
    }

    /// Sends a question that may stay without an answer.
    pub(crate) async fn try_ask(&mut self, from: &str, to: &str, kind: &str, payload: &str) -> Result<()> {
        self.count += 1;
        let id = format!("q{}", self.count);
        self.send(from, &format!("<iq to='{to}' type='{kind}' id='{id}'>{payload}</iq>"))?;
        self.settle().await
    }

    /// Waits for a stanza to `who`; it belongs to the step.
    pub(crate) async fn expect(&mut self, who: &str, what: &str, is: impl Fn(&Element) -> bool) -> Result<Element> {
        let end = Instant::now() + PATIENCE;
        loop {
            self.pump();
            if let Some(found) = self.pending.iter().find(|s| s.attr("to") == Some(who) && is(s)) {
                return Ok(found.clone());
            }
            if Instant::now() > end {
                let seen: Vec<String> = self.pending.iter().map(ToString::to_string).collect();
                bail!("{:?}: {what} did not come to {who}; but:\n{}", self.side, seen.join("\n"));
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    /// Waits until all that was set off has come: the network has done what people told it, and a question that each connected device sends
    /// through it has been answered.
    pub(crate) async fn settle(&mut self) -> Result<()> {
        self.people_settle().await?;
        for who in self.connected.clone() {
            self.count += 1;
            let (id, sync) = (format!("sync{}", self.count), self.nick(SYNC));
            self.send(&who, &format!("<iq to='{sync}' type='get' id='{id}'><ping xmlns='urn:xmpp:ping'/></iq>"))?;
            self.expect(&who, "an answer through the network", |s| s.attr("id") == Some(&id)).await?;
            self.pending.retain(|s| s.attr("id") != Some(&id));
        }
        self.people_settle().await?;
        let mut quiet = 0;
        while quiet < QUIET {
            tokio::time::sleep(LOOK).await;
            let before = self.pending.len();
            self.pump();
            quiet = if self.pending.len() == before { quiet + 1 } else { 0 };
        }
        let pending = std::mem::take(&mut self.pending);
        for stanza in pending {
            let (to, from) = (stanza.attr("to").unwrap_or_default(), stanza.attr("from").unwrap_or_default());
            let from = from.split('/').next().unwrap_or_default();
            let key = (to.to_owned(), from.to_owned());
            self.step().heard.entry(key).or_default().push(normal::stanza(&stanza));
        }
        Ok(())
    }

    async fn people_settle(&mut self) -> Result<()> {
        let mut all = Vec::new();
        for person in &mut self.people {
            all.push((person.nick().to_owned(), person.heard().await?));
        }
        for (nick, lines) in all {
            self.step().lines.entry(nick).or_default().extend(lines.iter().map(|l| normal::line(l)));
        }
        Ok(())
    }

    fn pump(&mut self) {
        for seen in self.xmpp.drain() {
            let Seen::Stanza { element, .. } = seen else { continue };
            // A client answers what it is asked.
            if element.name == "iq" && element.attr("type") == Some("get") {
                let of = |name| element.attr(name).unwrap_or_default().to_owned();
                let (from, to, id) = (of("from"), of("to"), of("id"));
                let version = "<query xmlns='jabber:iq:version'><name>client</name><version>1</version></query>";
                let payload = if element.has("query", "jabber:iq:version") { version } else { "" };
                // It has gone away if this fails, and that shows elsewhere.
                let answer = format!("<iq type='result' from='{to}' to='{from}' id='{id}'>{payload}</iq>");
                let _ = self.xmpp.send(GATEWAY, answer);
            }
            self.pending.push(element);
        }
    }
}

/// Isthmus at this server.
fn ours(xmpp: &FakeXmpp, plan: Plan) -> Setup {
    // Where the gateway is the network biboumi has no field for its address: the name has to be one.
    let (fixed, name) = if plan.fixed { ("fixed_network = \"127.0.0.1\"\n", "127.0.0.1") } else { ("", "net") };
    let keys = format!(
        "allow_private_networks = true\npersistent_by_default = {}\n{fixed}[networks.\"{name}\"]\n\
         throttle = {{ burst = 1000, per_second = 1000.0 }}\n",
        plan.persistent
    );
    Setup::new(env!("CARGO_BIN_EXE_isthmus"), xmpp.address()).bridge("irc", "irc", GATEWAY, &keys)
}

/// A field of a form that is filled in.
pub(crate) fn field(name: &str, values: &[&str]) -> String {
    let values: String = values.iter().map(|v| format!("<value>{v}</value>")).collect();
    format!("<field var='{name}'>{values}</field>")
}

/// A form that is filled in.
pub(crate) fn submit(fields: &str) -> String {
    format!("<x xmlns='jabber:x:data' type='submit'>{fields}</x>")
}

/// One step of a command (XEP-0050).
pub(crate) fn command(node: &str, action: &str, session: Option<&str>, inside: &str) -> String {
    let session = session.map(|s| format!(" sessionid='{s}'")).unwrap_or_default();
    format!(
        "<command xmlns='http://jabber.org/protocol/commands' node='{node}' action='{action}'{session}>{inside}</command>"
    )
}

/// Somebody on the network who answers CTCP PING at once.
async fn answer_pings(port: u16) -> Result<JoinHandle<()>> {
    let (reader, mut writer) = TcpStream::connect(("127.0.0.1", port)).await?.into_split();
    let mut lines = BufReader::new(reader).lines();
    writer.write_all(format!("NICK {SYNC}\r\nUSER {SYNC} 0 * :{SYNC}\r\n").as_bytes()).await?;
    loop {
        let line = lines.next_line().await?.context("the server does not want sync")?;
        if line.contains(" 376 ") || line.contains(" 422 ") {
            break;
        }
    }
    Ok(tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            let answer = match (line.strip_prefix("PING "), line.split_once(":\u{1}PING ")) {
                (Some(token), _) => format!("PONG {token}\r\n"),
                (_, Some((head, rest))) => {
                    let nick = head.trim_start_matches(':').split('!').next().unwrap_or_default();
                    format!("NOTICE {nick} :\u{1}PING {}\u{1}\r\n", rest.trim_end_matches('\u{1}'))
                }
                _ => continue,
            };
            if writer.write_all(answer.as_bytes()).await.is_err() {
                break;
            }
        }
    }))
}
