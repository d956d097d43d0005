//! A real Kannel (bearerbox and smsbox) in front of a phone network that speaks the protocol of its fake SMSC.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::task::JoinHandle;

use crate::httpd::unescape;
use crate::ports::Port;
use crate::process::{Folder, Process, program};
use crate::wait::{START, until};

/// Name and password of the gateway at `sendsms`.
pub const USER: (&str, &str) = ("gw", "pw");

/// A running Kannel.
#[derive(Debug)]
pub struct Kannel {
    bearerbox: Option<Process>,
    smsbox: Option<Process>,
    admin: Port,
    sendsms: Port,
    smsc: Port,
    folder: Folder,
    phones: Phones,
}

impl Kannel {
    /// Starts it; texts from phones are handed to `get_url` (Kannel's own escapes in it).
    pub async fn start(get_url: &str) -> Result<Self> {
        let (admin, boxes) = (Port::take()?, Port::take()?);
        let (sendsms, smsc) = (Port::take()?, Port::take()?);
        let folder = Folder::new("kannel")?;
        folder.write("kannel.conf", conf(&folder, [&admin, &boxes, &sendsms, &smsc], get_url))?;
        let phones = Phones::new(smsc.address());
        let mut kannel = Self { bearerbox: None, smsbox: None, admin, sendsms, smsc, folder, phones };
        kannel.launch(boxes.address()).await?;
        Ok(kannel)
    }

    async fn launch(&mut self, boxes: SocketAddr) -> Result<()> {
        let mut command = Command::new(program("bearerbox", "kannel", &[])?);
        command.arg(self.folder.join("kannel.conf"));
        let mut bearerbox = Process::spawn("bearerbox", &mut command, &self.folder.join("bearerbox.out"))?;
        let smsc = self.smsc.address();
        until("bearerbox ready", START, || {
            let alive = bearerbox.check();
            async move {
                alive?;
                TcpStream::connect(boxes).await?;
                // The fake SMSC takes one connection at a time, and the phones' is to be it.
                TcpStream::connect(smsc).await?;
                Ok(())
            }
        })
        .await?;
        self.bearerbox = Some(bearerbox);
        self.start_smsbox().await?;
        self.phones.connect().await
    }

    /// Where texts are handed in.
    pub fn sendsms(&self) -> String {
        format!("http://{}/cgi-bin/sendsms", self.sendsms.address())
    }

    /// The phones.
    pub fn phones(&self) -> &Phones {
        &self.phones
    }

    /// Ends smsbox, as a provider that is down.
    pub fn stop_smsbox(&mut self) {
        self.smsbox = None;
    }

    /// Starts it again.
    pub async fn start_smsbox(&mut self) -> Result<()> {
        let mut command = Command::new(program("smsbox", "kannel", &[])?);
        command.arg(self.folder.join("kannel.conf"));
        self.smsbox = Some(Process::spawn("smsbox", &mut command, &self.folder.join("smsbox.out"))?);
        let (admin, sendsms) = (self.admin.address(), self.sendsms.address());
        until("smsbox ready", START, || async move {
            // It answers (without a name it has to refuse), and bearerbox knows it: before that texts are refused.
            let answer = get(sendsms, "/cgi-bin/sendsms").await?;
            ensure!(answer.contains(" 403 "), "{answer}");
            let status = get(admin, "/status.txt?password=adm").await?;
            ensure!(status.contains("smsbox:") && status.contains("on-line"), "{status}");
            Ok(())
        })
        .await
    }
}

async fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn conf(folder: &Folder, [admin, boxes, sendsms, smsc]: [&Port; 4], get_url: &str) -> String {
    let path = folder.path().display();
    let (user, password) = USER;
    format!(
        "group = core
admin-port = {admin}
admin-interface = 127.0.0.1
admin-password = adm
smsbox-port = {boxes}
smsbox-interface = 127.0.0.1
box-allow-ip = 127.0.0.1
box-deny-ip = \"*.*.*.*\"
log-file = {path}/bearerbox.log
log-level = 1
dlr-storage = internal

group = smsc
smsc = fake
smsc-id = FAKE
port = {smsc}
connect-allow-ip = 127.0.0.1

group = smsbox
bearerbox-host = 127.0.0.1
bearerbox-port = {boxes}
sendsms-port = {sendsms}
sendsms-interface = 127.0.0.1
log-file = {path}/smsbox.log
log-level = 1
mo-recode = true

group = sendsms-user
username = {user}
password = {password}
max-messages = 10
concatenation = true

group = sms-service
keyword = default
catch-all = true
max-messages = 0
get-url = \"{get_url}\"
"
    )
}

/// A text that reached a phone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// From whom.
    pub from: String,
    /// Whose phone.
    pub to: String,
    /// Its words, put together from its parts.
    pub text: String,
    /// How many parts it came in.
    pub parts: u32,
    /// It came in UCS-2.
    pub ucs2: bool,
}

/// All phones of the network.
#[derive(Debug)]
pub struct Phones {
    smsc: SocketAddr,
    arrived: Arc<Mutex<Vec<Arrived>>>,
    writer: tokio::sync::Mutex<Option<OwnedWriteHalf>>,
    reader: Option<JoinHandle<()>>,
}

impl Phones {
    fn new(smsc: SocketAddr) -> Self {
        Self { smsc, arrived: Arc::default(), writer: tokio::sync::Mutex::default(), reader: None }
    }

    async fn connect(&mut self) -> Result<()> {
        let (reader, writer) = TcpStream::connect(self.smsc).await?.into_split();
        *self.writer.lock().await = Some(writer);
        let arrived = self.arrived.clone();
        self.reader = Some(tokio::spawn(async move {
            let mut lines = BufReader::new(reader).split(b'\n');
            let mut parts: BTreeMap<(String, String, u8), BTreeMap<u8, Piece>> = BTreeMap::new();
            while let Ok(Some(line)) = lines.next_segment().await {
                let Some(piece) = Piece::read(&String::from_utf8_lossy(&line)) else { continue };
                let whole = match piece.part {
                    None => vec![piece],
                    Some((of, count, number)) => {
                        let key = (piece.from.clone(), piece.to.clone(), of);
                        let set = parts.entry(key.clone()).or_default();
                        set.insert(number, piece);
                        if set.len() < usize::from(count) {
                            continue;
                        }
                        parts.remove(&key).unwrap_or_default().into_values().collect()
                    }
                };
                let text = Arrived {
                    from: whole[0].from.clone(),
                    to: whole[0].to.clone(),
                    ucs2: whole[0].ucs2,
                    parts: u32::try_from(whole.len()).unwrap_or(u32::MAX),
                    text: words(&whole),
                };
                arrived.lock().unwrap_or_else(PoisonError::into_inner).push(text);
            }
        }));
        Ok(())
    }

    /// A phone sends a text, in UCS-2 where it has to.
    pub async fn send(&self, from: &str, to: &str, text: &str) -> Result<()> {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("%{b:02x}")).collect::<String>();
        let line = if text.is_ascii() && !text.contains(['%', '+']) {
            format!("{from} {to} text {text}\n")
        } else {
            let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
            format!("{from} {to} ucs2 {}\n", hex(&bytes))
        };
        let mut writer = self.writer.lock().await;
        let writer = writer.as_mut().context("no connection to the SMSC")?;
        writer.write_all(line.as_bytes()).await.context("the SMSC has gone")
    }

    /// A message of eight bits.
    pub async fn send_data(&self, from: &str, to: &str, data: &[u8]) -> Result<()> {
        let hex: String = data.iter().map(|b| format!("%{b:02x}")).collect();
        let mut writer = self.writer.lock().await;
        let writer = writer.as_mut().context("no connection to the SMSC")?;
        writer.write_all(format!("{from} {to} data {hex}\n").as_bytes()).await.context("the SMSC has gone")
    }

    /// Everything that has reached a phone.
    pub fn arrived(&self) -> Vec<Arrived> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a text; so long that a second try after a pause counts, too.
    pub async fn received(&self, what: &str, is: impl Fn(&Arrived) -> bool) -> Result<Arrived> {
        until(what, Duration::from_secs(120), || async {
            let all = self.arrived();
            match all.iter().find(|a| is(a)) {
                Some(found) => Ok(found.clone()),
                None => bail!("only {all:?}"),
            }
        })
        .await
    }
}

impl Drop for Phones {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.abort();
        }
    }
}

/// One line of the SMSC: a text or a part of one.
#[derive(Debug)]
struct Piece {
    from: String,
    to: String,
    ucs2: bool,
    bytes: Vec<u8>,
    /// Reference, count, number (TS 23.040, 9.2.3.24.1).
    part: Option<(u8, u8, u8)>,
}

impl Piece {
    /// `from to text words`, `from to ucs-2 %..`, `from to udh %.. data|ucs-2 %..`
    fn read(line: &str) -> Option<Self> {
        let mut words = line.splitn(4, ' ');
        let (from, to, kind, mut rest) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let (mut kind, mut part) = (kind, None);
        if kind == "udh" {
            let (header, after) = rest.split_once(' ')?;
            let header = unescape(header);
            if let [5, 0, 3, of, count, number] = header.as_slice() {
                part = Some((*of, *count, *number));
            }
            (kind, rest) = after.split_once(' ')?;
        }
        let bytes = if kind == "text" { rest.as_bytes().to_vec() } else { unescape(rest) };
        // Of a part the SMSC does not say in which alphabet it is; letters of GSM-7 are no such control characters.
        let ucs2 = kind.starts_with("ucs") || (kind == "data" && bytes.iter().any(|b| *b < 0x0a));
        Some(Self { from: from.to_owned(), to: to.to_owned(), ucs2, bytes, part })
    }
}

fn words(pieces: &[Piece]) -> String {
    let bytes: Vec<u8> = pieces.iter().flat_map(|p| p.bytes.iter().copied()).collect();
    if pieces.iter().any(|p| p.ucs2) {
        let units: Vec<u16> = bytes.chunks_exact(2).map(|two| u16::from_be_bytes([two[0], two[1]])).collect();
        return String::from_utf16_lossy(&units);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_smsc() {
        let read = |line: &str| Piece::read(line).map(|p| (words(std::slice::from_ref(&p)), p.part));
        assert_eq!(read("+1 +2 text hello there"), Some(("hello there".to_owned(), None)));
        assert_eq!(read("+1 +2 ucs-2 %04%16%045"), Some(("\u{416}\u{435}".to_owned(), None)));
        assert_eq!(read("+1 +2 udh %05%00%03%02%02%01 data long+lon"), Some(("long lon".to_owned(), Some((2, 2, 1)))));
        assert_eq!(read("nonsense"), None);
    }
}
