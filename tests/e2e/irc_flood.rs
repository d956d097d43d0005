//! A room that is flooded at a steady pace, and somebody else on the same gateway who notices nothing of it. Both servers are scripted: no real IRC
//! server lets anybody do that, and no real client reads that fast.

use std::sync::Arc;
use std::time::Duration;

use isthmus_testkit::fake::{FakeXmpp, Seen};
use isthmus_testkit::isthmus::Setup;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, sleep, sleep_until};

const DOMAIN: &str = "irc.localhost";
const ROMEO: &str = "romeo@localhost/desk";
const OTHER: &str = "benvolio@localhost/desk";
/// Lines of the flood, and how many there are in a second.
const LINES: usize = 30_000;
const A_SECOND: usize = 10_000;
/// What the program may take for it beyond what it had: buffers, and rows on their way to the disk.
const MIB: u64 = 64;
/// All of it, on however slow a machine.
const PATIENCE: Duration = Duration::from_secs(240);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_lines_a_second_are_all_told_and_disturb_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let begin = Arc::new(Notify::new());
    tokio::spawn(serve(listener, begin.clone(), Pace { lines: LINES, a_second: A_SECOND }));
    let mut xmpp = FakeXmpp::start(&[DOMAIN]).await.unwrap();
    let keys = format!(
        "allow_private_networks = true\n[networks.net]\naddress = \"127.0.0.1\"\ntls_ports = []\nports = [{port}]\n"
    );
    let setup = Setup::new(env!("CARGO_BIN_EXE_isthmus"), xmpp.address());
    let gateway = setup.bridge("irc", "irc", DOMAIN, &keys).start().await.unwrap();
    xmpp.attached(DOMAIN).await.unwrap();
    for (user, room) in [(ROMEO, "#flood"), (OTHER, "#calm")] {
        let nick = user.split('@').next().unwrap();
        let x = "<x xmlns='http://jabber.org/protocol/muc'/>";
        xmpp.send(DOMAIN, format!("<presence from='{user}' to='{room}%net@{DOMAIN}/{nick}'>{x}</presence>")).unwrap();
        xmpp.stanza("the subject", |s| s.attr("to") == Some(user) && s.child("subject").is_some()).await.unwrap();
    }
    let before = memory(gateway.pid().unwrap(), "VmRSS");
    let began = Instant::now();
    begin.notify_one();

    let (mut told, mut asked, mut answered, mut slowest) = (0, 0, 0, Duration::ZERO);
    let mut asked_at = began;
    while told < LINES || answered < asked {
        assert!(began.elapsed() < PATIENCE, "{told} of {LINES} lines, {answered} of {asked} answers");
        // One question at a time, as somebody talks.
        if asked == answered && told < LINES {
            (asked, asked_at) = (asked + 1, Instant::now());
            let words = format!("<body>question {asked}</body>");
            let message = format!("<message from='{OTHER}' to='#calm%net@{DOMAIN}' type='groupchat'>{words}</message>");
            xmpp.send(DOMAIN, message).unwrap();
        }
        for seen in xmpp.drain() {
            let Seen::Stanza { element, .. } = seen else { continue };
            let (to, body) = (element.attr("to").unwrap_or_default(), element.body().unwrap_or_default());
            if to == ROMEO && body.starts_with("line ") {
                assert_eq!(body, format!("line {told}"), "in order, and none is missing");
                told += 1;
            } else if to == OTHER && body == format!("answer to question {asked}") {
                answered += 1;
                slowest = slowest.max(asked_at.elapsed());
            }
        }
        sleep(Duration::from_millis(5)).await;
    }
    let took = began.elapsed();
    let grown = memory(gateway.pid().unwrap(), "VmHWM").saturating_sub(before);
    println!(
        "{LINES} lines in {:.1} s; {} KiB more at the most; {answered} answers to the other, the slowest after {} ms",
        took.as_secs_f64(),
        grown / 1024,
        slowest.as_millis()
    );
    assert!(answered > 0, "the other was heard");
    assert!(grown < MIB << 20, "{} MiB more", grown >> 20);
}

/// A line of `/proc/<pid>/status`, in bytes.
fn memory(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap() * 1024
}

/// What is said in `#flood`.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) lines: usize,
    pub(crate) a_second: usize,
}

pub(crate) async fn serve(listener: TcpListener, begin: Arc<Notify>, pace: Pace) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(talk(stream, begin.clone(), pace));
    }
}

/// One client: what a small server says to it; in `#flood` the flood, in `#calm` an answer to each line.
async fn talk(stream: TcpStream, begin: Arc<Notify>, pace: Pace) {
    let (reader, writer) = stream.into_split();
    let writer = Arc::new(Mutex::new(writer));
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
            "USER" => format!(
                ":irc.test 001 {nick} :Welcome\r\n:irc.test 005 {nick} CHANTYPES=# PREFIX=(ov)@+ :are supported\r\n\
                 :irc.test 422 {nick} :No message of the day\r\n"
            ),
            "JOIN" => {
                if rest.starts_with("#flood") {
                    tokio::spawn(flood(writer.clone(), begin.clone(), pace));
                }
                format!(
                    ":{nick}!u@h JOIN {rest}\r\n:irc.test 353 {nick} = {rest} :{nick} juliet\r\n\
                     :irc.test 366 {nick} {rest} :End of NAMES\r\n"
                )
            }
            "PING" => format!(":irc.test PONG irc.test {rest}\r\n"),
            "PRIVMSG" => {
                let (room, words) = rest.split_once(" :").unwrap_or((rest, ""));
                format!(":juliet!j@h PRIVMSG {room} :answer to {words}\r\n")
            }
            _ => continue,
        };
        if writer.lock().await.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// So many lines a second, a hundredth at a time; slower where the other end does not read.
async fn flood(writer: Arc<Mutex<OwnedWriteHalf>>, begin: Arc<Notify>, pace: Pace) {
    begin.notified().await;
    let (began, at_once) = (Instant::now(), pace.a_second / 100);
    for first in (0..pace.lines).step_by(at_once) {
        let lines: String =
            (first..first + at_once).map(|n| format!(":juliet!j@h PRIVMSG #flood :line {n}\r\n")).collect();
        if writer.lock().await.write_all(lines.as_bytes()).await.is_err() {
            return;
        }
        sleep_until(began + Duration::from_millis(10) * u32::try_from(first / at_once + 1).unwrap_or(u32::MAX)).await;
    }
}
