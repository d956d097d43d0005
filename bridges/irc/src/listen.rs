//! The ident protocol (RFC 1413): a server asks who owns a connection of ours, and gets a stable name that tells nothing about the user.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use isthmus_bridge::{BareJid, BridgeError, Host};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use url::Url;

/// A question is one short line (RFC 1413 section 5).
const MAX_QUESTION: u64 = 512;
/// For the question and its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// A server may ask before the connection is known here: so long is it looked for.
const LOOKS: u32 = 20;
const BETWEEN: Duration = Duration::from_millis(50);
/// Questions at once.
const AT_ONCE: usize = 64;

const NO_USER: &str = " : ERROR : NO-USER\r\n";

/// Whose connections are whose.
#[derive(Debug, Default)]
pub(crate) struct Idents(Mutex<HashMap<(u16, SocketAddr), String>>);

/// A connection that is known until this is dropped.
#[derive(Debug)]
pub(crate) struct Known {
    idents: Arc<Idents>,
    ends: (u16, SocketAddr),
}

impl Drop for Known {
    fn drop(&mut self) {
        self.idents.lock().remove(&self.ends);
    }
}

impl Idents {
    /// This connection is of the user with this name.
    pub(crate) fn learn(self: &Arc<Self>, local: SocketAddr, peer: SocketAddr, name: String) -> Known {
        let ends = (local.port(), peer);
        self.lock().insert(ends, name);
        Known { idents: self.clone(), ends }
    }

    /// The answer to `ours , theirs` from this address.
    fn answer(&self, question: &str, from: IpAddr) -> String {
        let mut ports = question.split(',').map(|p| p.trim().parse::<u16>().ok().filter(|p| *p != 0));
        let (Some(Some(ours)), Some(Some(theirs)), None) = (ports.next(), ports.next(), ports.next()) else {
            return "0 , 0 : ERROR : INVALID-PORT\r\n".to_owned();
        };
        match self.lock().get(&(ours, SocketAddr::new(from.to_canonical(), theirs))) {
            Some(name) => format!("{ours} , {theirs} : USERID : UNIX : {name}\r\n"),
            None => format!("{ours} , {theirs}{NO_USER}"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(u16, SocketAddr), String>> {
        // Every change is a single insert or remove.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A user's name towards servers: the same for ever, and nothing can be read from it.
pub(crate) fn ident(host: &Host, user: &BareJid) -> String {
    hex::encode(&host.mac("ident", user.as_str().as_bytes())[..4])
}

/// What WEBIRC tells of a user: a host name and an address, the same for ever.
pub(crate) fn webirc(host: &Host, user: &BareJid, prefix: Ipv6Addr) -> (String, Ipv6Addr) {
    let mac = host.mac("webirc", user.as_str().as_bytes());
    let mut octets = prefix.octets();
    octets[8..].copy_from_slice(&mac[..8]);
    let domain = user.as_str().split('@').next_back().unwrap_or_default();
    // Hosts are ASCII on IRC: what is not stands there as in DNS (`xn--`, RFC 5891).
    let ascii = Url::parse(&format!("http://{domain}/")).ok().and_then(|url| url.host_str().map(str::to_owned));
    let domain: String = ascii
        .as_deref()
        .unwrap_or(domain)
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || ".-".contains(*c))
        .take(40)
        .collect();
    (format!("{}.{domain}", hex::encode(&mac[..4])), octets.into())
}

/// The address from which a user's connections come: below the prefix, the same for ever. The machine must have all of them
/// (`ip -6 route add local 2001:db8:1::/64 dev lo`).
pub(crate) fn own_address(host: &Host, user: &BareJid, (prefix, length): (Ipv6Addr, u8)) -> Ipv6Addr {
    let mac = host.mac("address", user.as_str().as_bytes());
    let mut own = [0; 16];
    own.copy_from_slice(&mac[..16]);
    let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
    let bits = (u128::from(prefix) & mask) | (u128::from_be_bytes(own) & !mask);
    bits.into()
}

/// `2001:db8:1::/64`.
pub(crate) fn prefix(text: &str) -> Option<(Ipv6Addr, u8)> {
    let (address, length) = text.split_once('/')?;
    Some((address.parse().ok()?, length.parse().ok().filter(|l| *l <= 128)?))
}

/// Answers until `stop`.
pub(crate) async fn serve(bind: SocketAddr, idents: Arc<Idents>, stop: CancellationToken) -> Result<(), BridgeError> {
    let listener = TcpListener::bind(bind)
        .await
        .map_err(|e| BridgeError::Operator(format!("identd = \"{bind}\": cannot listen there: {e}")))?;
    run(listener, idents, stop).await
}

async fn run(listener: TcpListener, idents: Arc<Idents>, stop: CancellationToken) -> Result<(), BridgeError> {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut asking = JoinSet::new();
    loop {
        while asking.try_join_next().is_some() {}
        let (stream, from) = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, perhaps: it passes.
                    tracing::warn!(%error, "an ident question could not be taken");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    continue;
                }
            },
        };
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let idents = idents.clone();
        asking.spawn(async move {
            // Whoever does not ask in time gets no answer.
            let _ = timeout(PATIENCE, answer(stream, from.ip(), &idents)).await;
            drop(place);
        });
    }
}

async fn answer(stream: TcpStream, from: IpAddr, idents: &Idents) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut question = Vec::new();
    BufReader::new(reader.take(MAX_QUESTION)).read_until(b'\n', &mut question).await?;
    let question = String::from_utf8_lossy(&question);
    let mut answer = idents.answer(&question, from);
    for _ in 0..LOOKS {
        if !answer.ends_with(NO_USER) {
            break;
        }
        tokio::time::sleep(BETWEEN).await;
        answer = idents.answer(&question, from);
    }
    writer.write_all(answer.as_bytes()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_other_end_of_a_connection_gets_its_name() {
        let idents = Arc::new(Idents::default());
        let (local, peer): (SocketAddr, SocketAddr) =
            ("10.0.0.1:4000".parse().expect("good"), "192.0.2.1:6667".parse().expect("good"));
        let known = idents.learn(local, peer, "abcd".to_owned());
        let ask = |question: &str, from: &str| idents.answer(question, from.parse().expect("an address"));
        assert_eq!(ask("4000, 6667\r\n", "192.0.2.1"), "4000 , 6667 : USERID : UNIX : abcd\r\n");
        assert_eq!(ask(" 4000 , 6667 ", "::ffff:192.0.2.1"), "4000 , 6667 : USERID : UNIX : abcd\r\n");
        assert_eq!(ask("4000,6667", "192.0.2.2"), "4000 , 6667 : ERROR : NO-USER\r\n");
        assert_eq!(ask("4000,6697", "192.0.2.1"), "4000 , 6697 : ERROR : NO-USER\r\n");
        for nonsense in ["", "x,y", "1", "0,1", "1,2,3", "70000,1", "\u{fffd}"] {
            assert_eq!(ask(nonsense, "192.0.2.1"), "0 , 0 : ERROR : INVALID-PORT\r\n", "{nonsense}");
        }
        drop(known);
        assert_eq!(ask("4000,6667", "192.0.2.1"), "4000 , 6667 : ERROR : NO-USER\r\n");
    }

    #[tokio::test]
    async fn questions_are_answered_on_a_socket_until_the_stop() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let at = listener.local_addr().expect("bound");
        let (idents, stop) = (Arc::new(Idents::default()), CancellationToken::new());
        let _known = idents.learn(
            "127.0.0.1:4000".parse().expect("good"),
            "127.0.0.1:6667".parse().expect("good"),
            "abcd".into(),
        );
        let running = tokio::spawn(run(listener, idents, stop.clone()));
        let mut stream = TcpStream::connect(at).await.expect("connects");
        stream.write_all(b"4000, 6667\r\n").await.expect("asks");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("is answered");
        assert_eq!(answer, "4000 , 6667 : USERID : UNIX : abcd\r\n");
        stop.cancel();
        running.await.expect("no panic").expect("ends in order");
    }

    #[test]
    fn a_domain_of_any_script_is_told_in_ascii() {
        let host = isthmus_bridge::suite::FakeHost::new("irc").host();
        for (user, domain) in [
            ("romeo@bücher.example", ".xn--bcher-kva.example"),
            ("romeo@例え.テスト", ".xn--r8jz45g.xn--zckzah"),
            ("romeo@verona.example", ".verona.example"),
        ] {
            let (name, _) = webirc(&host, &BareJid::from(user), Ipv6Addr::LOCALHOST);
            assert!(name.ends_with(domain), "{user}: {name}");
        }
    }
}
