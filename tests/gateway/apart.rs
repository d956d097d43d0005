//! Two users in one room, one of them on a server of their own choice: what that server says stands in nobody else's archive, and nothing else in
//! theirs (decision 0036).

use std::sync::{Arc, Mutex};

use isthmus_testkit::postgres::Postgres;
use isthmus_testkit::xml::Element;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use super::house::House;
use super::rooms::{ROMEO, group};

const DOMAIN: &str = "irc.example.org";
const NET: &str = "net@irc.example.org";
const ROOM: &str = "#verona%net@irc.example.org";
const TYBALT: &str = "tybalt@example.org/street";
/// Each one's second client, which comes in later.
const LATER: [&str; 2] = ["romeo@example.org/cell", "tybalt@example.org/vault"];
const REACTIONS: &str = "urn:xmpp:reactions:0";
const COMMANDS: &str = "http://jabber.org/protocol/commands";

#[tokio::test]
async fn a_server_of_ones_own_forges_nobody_elses_history() {
    forges_nobody_elses_history("").await;
}

#[tokio::test]
async fn a_server_of_ones_own_forges_nobody_elses_history_on_postgresql() {
    let postgres = Postgres::start().await.expect("PostgreSQL starts");
    forges_nobody_elses_history(&format!("[database]\nurl = \"{}\"\n", postgres.url())).await;
}

async fn forges_nobody_elses_history(database: &str) {
    let (real, own) = (Script::start().await, Script::start().await);
    let keys = format!(
        "allow_private_networks = true\n[networks.net]\naddress = \"127.0.0.1\"\ntls_ports = []\nports = [{}]\n",
        real.port
    );
    let mut house = House::of(("irc", "irc"), DOMAIN, &keys, database).await;
    house.configure(TYBALT, &own.port.to_string()).await;
    house.join(ROMEO, ROOM, "romeo").await;
    house.join(TYBALT, ROOM, "tybalt").await;
    // Even under the id that a line has on the network itself.
    real.say("@msgid=m1 :juliet!j@h PRIVMSG #verona :said");
    let real_id = house.hears(ROMEO, "said").await;
    own.say("@msgid=m1 :juliet!j@h PRIVMSG #verona :forged");
    let forged_id = house.hears(TYBALT, "forged").await;
    assert_ne!(real_id, forged_id, "they are two lines");
    own.say(":juliet!j@h PRIVMSG #verona :forged without id");
    house.hears(TYBALT, "forged without id").await;
    real.say(":juliet!j@h PRIVMSG #verona :said without id");
    house.hears(ROMEO, "said without id").await;
    // What a user says stands where it was said.
    house.say(TYBALT, ROOM, "t1", "my own words");
    house.hears(TYBALT, "my own words").await;
    house.say(ROMEO, ROOM, "r1", "his own words");
    house.hears(ROMEO, "his own words").await;
    let romeos = ["said", "said without id", "his own words"];
    let tybalts = ["forged", "forged without id", "my own words"];
    assert_eq!(house.archive(ROMEO).await, romeos);
    assert_eq!(house.archive(TYBALT).await, tybalts);
    for (client, nick, lines) in [(LATER[0], "romeo", romeos), (LATER[1], "tybalt", tybalts)] {
        assert_eq!(house.shown(client, nick).await, lines, "{client}");
    }
    // Who is there cannot name a line of the network's.
    for (id, known) in [(&real_id, false), (&forged_id, true)] {
        house.send(&format!(
            "<message from='{TYBALT}' to='{ROOM}' type='groupchat' id='react'><reactions xmlns='{REACTIONS}' id='{id}'>\
             <reaction>y</reaction></reactions></message>"
        ));
        let answer = house.next("an answer", |s| s.attr("to") == Some(TYBALT) && s.attr("id") == Some("react")).await;
        assert_eq!(answer.has("reactions", REACTIONS) && answer.attr("type") != Some("error"), known, "{answer}");
        if !known {
            assert_eq!(answer.error().as_deref(), Some("cancel/item-not-found"), "{answer}");
        }
    }
    // Its withdrawals and reactions reach no line of the network's.
    own.say("@+draft/react=x;+reply=m1 :juliet!j@h TAGMSG #verona");
    let reacted = |s: &Element| s.attr("to") == Some(TYBALT) && s.has("reactions", REACTIONS);
    let reaction = house.next("the reaction", reacted).await;
    assert_eq!(reaction.get("reactions", REACTIONS).and_then(|r| r.attr("id")), Some(&*forged_id), "{reaction}");
    own.say(":juliet!j@h REDACT #verona m1");
    house
        .next("the withdrawal", |s| s.attr("to") == Some(TYBALT) && s.has("retract", "urn:xmpp:message-retract:1"))
        .await;
    assert_eq!(house.archive(ROMEO).await, romeos, "as it was");
    // The words of the forged line are gone, and what became of it stands there: two reactions and the withdrawal.
    let after = ["", "forged without id", "my own words", "", "", ""];
    assert_eq!(house.archive(TYBALT).await, after);

    // On the network itself both hear one line under one id; to what was said elsewhere there is no way.
    house.configure(TYBALT, &real.port.to_string()).await;
    let start = format!("<command xmlns='{COMMANDS}' node='reconnect' action='execute'/>");
    let done = house.ask(TYBALT, NET, "set", &start).await;
    assert_eq!(done.attr("type"), Some("result"), "{done}");
    real.joined(2).await;
    // Told behind his entry, and kept nowhere: when it is here, he is inside.
    real.say(":juliet!j@h TOPIC #verona :A public place");
    let subject = |s: &Element| group(TYBALT)(s) && s.child("subject").is_some_and(|s| s.text == "A public place");
    house.next("the subject", subject).await;
    real.say("@msgid=m2 :juliet!j@h PRIVMSG #verona :to both");
    assert_eq!(house.hears(ROMEO, "to both").await, house.hears(TYBALT, "to both").await);
    let all: Vec<&str> = after.into_iter().chain(["to both"]).collect();
    let romeos: Vec<&str> = romeos.into_iter().chain(["to both"]).collect();
    assert_eq!(house.archive(TYBALT).await, all, "what was heard on either server, in order of time");
    assert_eq!(house.archive(ROMEO).await, romeos);
    // Nobody's session runs: each finds all of theirs, and no more.
    let mut house = house.again().await;
    assert_eq!(house.archive(TYBALT).await, all);
    assert_eq!(house.archive(ROMEO).await, romeos);
    // It goes with their data.
    house.command(TYBALT, DOMAIN, "delete", ("sure", "true")).await;
    assert!(house.archive(TYBALT).await.is_empty());
    assert_eq!(house.archive(ROMEO).await, romeos);
    house.finish().await.expect("an orderly stop");
}

impl House {
    /// The user chooses this port for the network.
    async fn configure(&mut self, who: &str, port: &str) {
        self.command(who, NET, "configure", ("ports", port)).await;
    }

    /// A command with one form, of which this field is filled in.
    pub(crate) async fn command(&mut self, who: &str, at: &str, node: &str, (var, value): (&str, &str)) {
        let start = format!("<command xmlns='{COMMANDS}' node='{node}' action='execute'/>");
        let form = self.ask(who, at, "set", &start).await;
        let session = form.child("command").and_then(|c| c.attr("sessionid")).unwrap_or_else(|| panic!("{form}"));
        let x = format!("<x xmlns='jabber:x:data' type='submit'><field var='{var}'><value>{value}</value></field></x>");
        let end =
            format!("<command xmlns='{COMMANDS}' node='{node}' sessionid='{session}' action='complete'>{x}</command>");
        let done = self.ask(who, at, "set", &end).await;
        assert_eq!(done.child("command").and_then(|c| c.attr("status")), Some("completed"), "{done}");
    }

    /// Waits for words of the room; gives the room's id of them.
    async fn hears(&mut self, who: &str, words: &str) -> String {
        let heard = self.next(words, |s| group(who)(s) && s.body() == Some(words)).await;
        let id = heard.get("stanza-id", "urn:xmpp:sid:0").and_then(|id| id.attr("id"));
        id.unwrap_or_else(|| panic!("no id: {heard}")).to_owned()
    }

    /// All that the archive has for somebody.
    async fn archive(&mut self, who: &str) -> Vec<String> {
        self.page(who, ROOM, "").await.0
    }

    /// What is shown to who comes in.
    async fn shown(&mut self, who: &str, nick: &str) -> Vec<String> {
        self.knock(who, ROOM, nick);
        self.shown_until_subject(who).await
    }
}

/// A server that lets everybody in, and says what the test says.
struct Script {
    port: u16,
    clients: Arc<Mutex<Vec<UnboundedSender<String>>>>,
    joins: watch::Receiver<usize>,
}

impl Script {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let clients: Arc<Mutex<Vec<UnboundedSender<String>>>> = Arc::default();
        let known = clients.clone();
        let (join, joins) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (sender, lines) = unbounded_channel();
                known.lock().expect("nobody panics").push(sender.clone());
                tokio::spawn(serve(stream, sender, lines, join.clone()));
            }
        });
        Self { port, clients, joins }
    }

    /// So many were let in.
    async fn joined(&self, many: usize) {
        let joined = self.joins.clone().wait_for(|joins| *joins >= many).await.map(drop);
        assert!(joined.is_ok(), "nobody joins any more");
    }

    /// To everybody.
    fn say(&self, line: &str) {
        // Who has gone hears nothing more.
        self.clients.lock().expect("nobody panics").retain(|client| client.send(line.to_owned()).is_ok());
    }
}

async fn serve(
    stream: TcpStream,
    answer: UnboundedSender<String>,
    mut lines: UnboundedReceiver<String>,
    joins: watch::Sender<usize>,
) {
    let (reader, mut writer) = stream.into_split();
    let writing = tokio::spawn(async move {
        while let Some(line) = lines.recv().await {
            if writer.write_all(format!("{line}\r\n").as_bytes()).await.is_err() {
                return;
            }
        }
    });
    let (mut reader, mut nick) = (BufReader::new(reader).lines(), String::new());
    while let Ok(Some(line)) = reader.next_line().await {
        let (command, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let answers = match command {
            "CAP" if rest.starts_with("LS") => {
                vec![":irc.test CAP * LS :message-tags draft/message-redaction".to_owned()]
            }
            "CAP" if rest.starts_with("REQ") => vec![format!(":irc.test CAP * ACK {}", &rest[4..])],
            "NICK" => {
                rest.clone_into(&mut nick);
                Vec::new()
            }
            "USER" => vec![
                format!(":irc.test 001 {nick} :Welcome"),
                format!(":irc.test 005 {nick} CHANTYPES=# PREFIX=(ov)@+ :are supported"),
                format!(":irc.test 422 {nick} :No message of the day"),
            ],
            "JOIN" => vec![
                format!(":{nick}!u@h JOIN {rest}"),
                format!(":irc.test 353 {nick} = {rest} :{nick} juliet"),
                format!(":irc.test 366 {nick} {rest} :End of NAMES"),
            ],
            "PING" => vec![format!(":irc.test PONG irc.test {rest}")],
            "QUIT" => break,
            _ => Vec::new(),
        };
        for line in answers {
            drop(answer.send(line)); // the writer has ended: so does the reader, at the next line
        }
        if command == "JOIN" {
            joins.send_modify(|joins| *joins += 1);
        }
    }
    writing.abort();
}
