//! One connection: what was read and not understood yet, what waits to be written, and how fast it may go.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use isthmus_bridge::{DeliveryKey, ForeignMessageId, RoomId, Ticket};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, timeout};

use super::batch::Batch;
use super::few::Few;
use super::typing::{Typing, Typist};
use super::who::Asked;
use crate::connect::{Connected, Io};
use crate::listen::Known;
use crate::network::Place;
use crate::proto::caps::{Caps, Negotiation};
use crate::proto::isupport::Isupport;
use crate::proto::reader::LineReader;
use crate::proto::sasl::Login;
use crate::proto::throttle::Bucket;
use crate::proto::write;

/// A server that says nothing for this time is asked.
pub(crate) const SILENCE: Duration = Duration::from_secs(80);
/// A server lets us in within this time.
pub(crate) const WELCOME: Duration = Duration::from_secs(60);
/// One that has welcomed us and tells no end of it has said all that it will: a bouncer that is connected to nowhere, for one.
pub(crate) const WELCOMED: Duration = Duration::from_secs(20);
/// And when it does not answer, it is gone: within two minutes.
pub(crate) const ANSWER: Duration = Duration::from_secs(30);
/// How long a server has after our QUIT to close.
const PARTING: Duration = Duration::from_secs(5);
/// What may wait to be written: beyond it the peer does not read.
const MAX_OUT: usize = 256 * 1024;

thread_local! {
    /// One read buffer for each worker: a connection keeps only its partial line.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; 64 * 1024].into_boxed_slice());
}

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Until the server has said all of its welcome.
    Registering,
    /// Commands for the network's services are under way; rooms wait for them until then.
    Settling(Instant),
    /// In order.
    Up,
}

/// A line that waits for its turn.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) line: Vec<u8>,
    /// What it says, where it is a user's message.
    pub(crate) said: Option<Box<Said>>,
    /// Nobody waits for it: everything else goes first.
    pub(crate) quiet: bool,
    /// It counts as this many lines more: a batch goes out as one.
    pub(crate) more: u32,
}

/// A user's words on their way: one line of a message.
#[derive(Debug)]
pub(crate) struct Said {
    /// Folded name of the room or nick.
    pub(crate) target: Box<str>,
    /// The room, if it is one.
    pub(crate) room: Option<RoomId>,
    /// The words as they were sent.
    pub(crate) text: Box<str>,
    pub(crate) action: bool,
    pub(crate) key: DeliveryKey,
    pub(crate) part: u16,
    /// The label that the server repeats with its answer; 0: none.
    pub(crate) label: u32,
    /// It is a whole message of many lines.
    pub(crate) batch: bool,
    /// With the last line only.
    pub(crate) ticket: Option<Ticket>,
    /// Ids of the lines before it.
    pub(crate) ids: Vec<ForeignMessageId>,
    /// Unless something else is heard by then, it is as it is.
    pub(crate) until: Instant,
    /// The server has been asked since whether it has come so far.
    pub(crate) asked: bool,
}

/// A label as it is written; nothing where there is none.
pub(crate) fn label(number: u32, line: Vec<u8>) -> Vec<u8> {
    if number == 0 { line } else { write::tagged(&[("label", &number.to_string())], line) }
}

/// One connection.
pub(crate) struct Link {
    wire: Box<dyn Io>,
    pub(crate) reader: LineReader,
    out: Vec<u8>,
    written: usize,
    /// TLS may still hold some of what was written.
    unflushed: bool,
    pub(crate) queue: VecDeque<Queued>,
    pub(crate) bucket: Bucket,
    pub(crate) phase: Phase,
    pub(crate) nick: String,
    /// Our own `user@host` as others see it.
    pub(crate) host: Option<Box<str>>,
    pub(crate) server: Arc<Isupport>,
    pub(crate) cap: Negotiation,
    /// Labels given so far; or, where there are none, questions whether words have come.
    pub(crate) labels: u32,
    /// Batches of the server's that are open.
    #[allow(clippy::box_collection, reason = "8 bytes instead of 24 in every idle connection")]
    pub(crate) batches: Option<Box<Vec<Batch>>>,
    pub(crate) login: Option<Box<Login>>,
    /// Rooms whose people are asked about.
    pub(crate) whos: Few<Asked>,
    /// Words that were sent, and whose end is not known.
    pub(crate) said: VecDeque<Box<Said>>,
    /// Complete lines that wait until the core has room.
    pub(crate) held: Vec<u8>,
    #[allow(clippy::box_collection, reason = "8 bytes instead of 24 in every idle connection")]
    pub(crate) motd: Option<Box<String>>,
    pub(crate) heard: Instant,
    /// It has been asked since.
    pub(crate) pinged: bool,
    /// A login by SASL has succeeded.
    pub(crate) logged_in: bool,
    /// The server has welcomed us (001).
    pub(crate) welcomed: bool,
    /// The server has had all of the on-connect commands.
    pub(crate) commanded: bool,
    /// Since when it is what it is: being registered, or in order.
    pub(crate) began: Instant,
    pub(crate) port: u16,
    pub(crate) tls: bool,
    /// The next fallback nick.
    pub(crate) fallback: u8,
    /// Why the server said it closes.
    pub(crate) error: Option<Box<str>>,
    /// When CTCP may be answered again, and who is typing; nothing where none of it ever was.
    pub(crate) again: Option<Box<Again>>,
    /// Who asks by the ident protocol is answered while this lives.
    pub(crate) ident: Option<Box<Known>>,
    pub(crate) _place: Place,
}

/// What most connections never see, and what is done now and then at most.
#[derive(Debug, Default)]
pub(crate) struct Again {
    pub(crate) ctcp: Option<Instant>,
    /// Who is typing to the user, or in a room.
    pub(crate) typists: Few<Typist>,
    /// Where the user is.
    pub(crate) typing: Few<Typing>,
}

/// What became of a look at the connection.
#[derive(Debug)]
pub(crate) enum Looked {
    /// Bytes were read and are in the buffer of this worker.
    Read(usize),
    /// It is over.
    Over(io::Result<()>),
}

impl Link {
    pub(crate) fn new(
        connected: Connected,
        (port, tls): (u16, bool),
        bucket: Bucket,
        place: Place,
        now: Instant,
    ) -> Self {
        Self {
            wire: connected.wire,
            reader: LineReader::default(),
            out: Vec::new(),
            written: 0,
            unflushed: false,
            queue: VecDeque::new(),
            bucket,
            phase: Phase::Registering,
            nick: String::new(),
            host: None,
            server: Arc::default(),
            cap: Negotiation::default(),
            labels: 0,
            batches: None,
            login: None,
            whos: Few::default(),
            said: VecDeque::new(),
            held: Vec::new(),
            motd: None,
            heard: now,
            pinged: false,
            logged_in: false,
            welcomed: false,
            commanded: false,
            began: now,
            port,
            tls,
            fallback: 0,
            error: None,
            again: None,
            ident: connected.known,
            _place: place,
        }
    }

    /// A line that waits for nothing: an answer to PING, a part of the registration.
    pub(crate) fn now(&mut self, line: &[u8]) {
        self.out.extend_from_slice(line);
    }

    /// A line in its turn.
    pub(crate) fn later(&mut self, line: Vec<u8>) {
        self.enqueue(Queued { line, said: None, quiet: false, more: 0 });
    }

    /// A line for which nobody waits: after a return to many rooms it must not stand before the user's words.
    pub(crate) fn sometime(&mut self, line: Vec<u8>) {
        self.queue.push_back(Queued { line, said: None, quiet: true, more: 0 });
    }

    /// In its turn, before what nobody waits for.
    pub(crate) fn enqueue(&mut self, queued: Queued) {
        if self.queue.capacity() == 0 {
            self.queue.reserve(8); // so that it grows once for what comes together
        }
        if self.queue.back().is_none_or(|last| !last.quiet) {
            return self.queue.push_back(queued);
        }
        let at = self.queue.iter().rposition(|q| !q.quiet).map_or(0, |last| last + 1);
        self.queue.insert(at, queued);
    }

    /// Moves the lines whose turn it is to the output; gives the words among them.
    pub(crate) fn turn(&mut self, now: Instant, mut wrote: impl FnMut(Box<Said>)) {
        while let Some(next) = self.queue.front() {
            if self.bucket.take(now).is_err() {
                return;
            }
            if self.out.capacity() == 0 {
                self.out.reserve(next.line.len() * self.queue.len().min(16)); // so that it grows once
            }
            if next.more > 0 {
                self.bucket.spend(next.more, now);
            }
            self.out.extend_from_slice(&next.line);
            if let Some(said) = self.queue.pop_front().and_then(|q| q.said) {
                wrote(said);
            }
        }
        if self.queue.capacity() > 0 {
            self.queue = VecDeque::new(); // an idle connection keeps no buffer
        }
    }

    /// Whether a client's tag (named without its `+`) passes this server: it may deny some, or all but some (CLIENTTAGDENY).
    pub(crate) fn takes_tag(&self, name: &str) -> bool {
        let denied = &self.server.denied_tags;
        let is = |entry: &str| denied.split(',').any(|one| one == entry);
        self.cap.active.has(Caps::TAGS) && if is("*") { is(&format!("-{name}")) } else { !is(name) }
    }

    /// A label for the next line; 0 where the server does not repeat them.
    pub(crate) fn label(&mut self) -> u32 {
        if !self.cap.active.has(Caps::LABELS) || !self.cap.active.has(Caps::BATCH) {
            return 0;
        }
        self.labels = self.labels.wrapping_add(1).max(1);
        self.labels
    }

    /// When the next line may go.
    pub(crate) fn next_turn(&self, now: Instant) -> Option<Instant> {
        // Until the welcome nothing of it goes out.
        if self.queue.is_empty() || self.phase == Phase::Registering {
            return None;
        }
        // A copy, so that asking takes no token.
        let mut bucket = self.bucket;
        Some(bucket.take(now).err().unwrap_or(now))
    }

    /// When what waits for its turn has gone out.
    pub(crate) fn drained(&self, now: Instant) -> Instant {
        let lines = self.queue.iter().map(|queued| 1 + queued.more).sum();
        self.bucket.end_of(lines, now)
    }

    /// Writes what there is to write, reads what there is to read (unless `deaf`). One read at a time, so that nobody else waits long.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, deaf: bool) -> Poll<Looked> {
        if let Poll::Ready(Err(e)) = self.poll_write(cx) {
            return Poll::Ready(Looked::Over(Err(e)));
        }
        if deaf {
            return Poll::Pending;
        }
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            match Pin::new(&mut self.wire).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => Poll::Ready(Looked::Over(Ok(()))),
                Poll::Ready(Ok(())) => Poll::Ready(Looked::Read(buffer.filled().len())),
                Poll::Ready(Err(e)) => Poll::Ready(Looked::Over(Err(e))),
                Poll::Pending => Poll::Pending,
            }
        })
    }

    /// Writes the rest and hears the server out until it closes. One that takes lines slowly (the penalties of InspIRCd) forgets those that it has not
    /// come to when we close, QUIT and its words among them.
    pub(crate) fn part(self) -> impl Future<Output = ()> + Send + 'static {
        let Self { mut wire, out, written, .. } = self;
        let over = async move {
            wire.write_all(&out[written..]).await?;
            drop(out);
            wire.flush().await?;
            let mut rest = [0; 1024];
            while wire.read(&mut rest).await? > 0 {}
            Ok::<_, io::Error>(())
        };
        async move {
            // However it ends, it is over.
            let _ = timeout(PARTING, over).await;
        }
    }

    /// Writes all of the output; `Ready` when nothing is left.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.out.len() - self.written > MAX_OUT {
            return Poll::Ready(Err(io::Error::other("the server does not read")));
        }
        while self.written < self.out.len() {
            match Pin::new(&mut self.wire).poll_write(cx, &self.out[self.written..]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => {
                    self.written += n;
                    self.unflushed = true;
                }
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Pending => return Poll::Pending,
            }
        }
        self.written = 0;
        if self.out.capacity() > 0 {
            self.out = Vec::new(); // an idle connection keeps no buffer
        }
        if self.unflushed {
            match Pin::new(&mut self.wire).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                other => return other,
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Does something with the bytes that [`Link::poll`] has just read on this thread.
pub(crate) fn with_read<T>(read: usize, take: impl FnOnce(&[u8]) -> T) -> T {
    BUFFER.with_borrow(|buffer| take(&buffer[..read]))
}
