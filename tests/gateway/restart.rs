//! What comes back by itself when the gateway is started again.

use std::time::{Duration, Instant};

use isthmus_testkit::xml::Element;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::house::House;
use super::rooms::codes;

const IRC: &str = "irc.example.org";
const USERS: u32 = 8;
/// A far network sees so much time between two connections that nobody asked for.
const APART: Duration = Duration::from_millis(250);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_brings_persistent_users_back_into_their_rooms_one_by_one() {
    let (port, mut entered) = ircd().await;
    let keys = format!(
        "allow_private_networks = true\npersistent_by_default = true\n[networks.net]\naddress = \"127.0.0.1\"\n\
         tls_ports = []\nports = [{port}]\n"
    );
    let mut house = House::of(("irc", "irc"), IRC, &keys, "").await;
    for user in 0..USERS {
        let (who, room) = (format!("user{user}@example.org/desk"), format!("#verona%net@{IRC}"));
        house.knock(&who, &room, &format!("user{user}"));
        let own = |s: &Element| s.attr("to") == Some(&*who) && codes(s).contains(&"110");
        house.next("own presence", own).await;
        entered.recv().await.expect("the server lives");
    }
    let house = house.again().await;
    let mut back = Vec::new();
    for before in 0..USERS {
        let wait = tokio::time::timeout(Duration::from_secs(60), entered.recv()).await;
        let (at, nick) = wait.unwrap_or_else(|_| panic!("only {back:?} came back")).expect("the server lives");
        // Nobody may be earlier than their turn; how much later they are is the machine's affair.
        let least = APART * before;
        assert!(at - house.began >= least, "{nick}, behind {back:?}, {:?} after the start", at - house.began);
        back.push(nick);
    }
    back.sort();
    assert_eq!(back, (0..USERS).map(|user| format!("user{user}")).collect::<Vec<_>>());
    house.finish().await.expect("an orderly stop");
}

/// What a small IRC server says; who has entered a room is told, with the time at which they connected.
async fn ircd() -> (u16, UnboundedReceiver<(Instant, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let (entered, all) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(stream, Instant::now(), entered.clone()));
        }
    });
    (port, all)
}

async fn talk(stream: TcpStream, began: Instant, entered: UnboundedSender<(Instant, String)>) {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    let mut nick = String::new();
    while let Ok(Some(line)) = lines.next_line().await {
        let (command, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let answer = match command {
            "CAP" if rest.starts_with("LS") => ":irc.test CAP * LS :\r\n".to_owned(),
            "NICK" => {
                rest.clone_into(&mut nick);
                continue;
            }
            "USER" => format!(":irc.test 001 {nick} :Welcome\r\n:irc.test 422 {nick} :No message of the day\r\n"),
            "JOIN" => {
                // The test may be over.
                let _ = entered.send((began, nick.clone()));
                format!(
                    ":{nick}!u@h JOIN {rest}\r\n:irc.test 353 {nick} = {rest} :{nick}\r\n:irc.test 366 {nick} {rest} :End\r\n"
                )
            }
            _ => continue,
        };
        if writer.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}
