//! The link's life: attach, read and write until the stream ends, wait, attach again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::Receive;
use super::answer;
use super::attach::{self, Attached};
use super::config::LinkConfig;
use super::error::{LinkEnd, LinkError, LinkState};
use super::handle::{LinkHandle, Shared};
use super::lanes::Lane;
use super::permit::Counter;
use super::scan::{Frame, Framer};
use super::stanza::{Kind, Stanza, TopLevel};
use super::write::halves;

/// A stream that lived this long was a good one: the next wait is the shortest again.
const GOOD: Duration = Duration::from_secs(5);
/// How long the last words may take.
const GOODBYE: Duration = Duration::from_secs(5);
/// How long the server's reason is waited for when writing has failed.
const REASON: Duration = Duration::from_secs(1);
/// The longest wait for the return of a trial ping before another is sent.
const LONGEST_TRIAL: Duration = Duration::from_secs(30);
/// A write buffer that grew beyond this is given back.
const KEEP: usize = 1 << 20;
/// Write buffers that grew beyond this are given back when nothing was written for [`QUIET`].
const KEEP_QUIET: usize = 16 << 10;
/// How long a quiet link keeps what a burst needed.
const QUIET: Duration = Duration::from_secs(1);

/// Runs the link until it is stopped or cannot start.
pub(super) async fn run(
    config: LinkConfig,
    handle: LinkHandle,
    receive: Arc<dyn Receive>,
    stop: CancellationToken,
) -> LinkEnd {
    let shared = Arc::clone(handle.shared());
    drop(handle);
    let mut life = Life {
        counter: Counter::new(config.limits.uncommitted),
        config,
        shared,
        receive,
        stop,
        epoch: 0,
        misrouted: AtomicBool::new(false),
    };
    let mut failures = 0;
    loop {
        life.say(LinkState::Connecting);
        let stop = life.stop.clone();
        let attempt = tokio::select! {
            biased;
            () = stop.cancelled() => Err(LinkError::Stopped),
            attempt = attach::attach(&life.config) => attempt,
        };
        let reason = match attempt {
            Ok(attached) => {
                let since = Instant::now();
                let reason = life.stream(attached).await;
                failures = if since.elapsed() >= GOOD { 0 } else { failures };
                reason
            }
            Err(reason) => reason,
        };
        if reason == LinkError::Stopped {
            life.say(LinkState::Down { reason, retry_at: None });
            return LinkEnd::Stopped;
        }
        if life.epoch == 0 && reason.needs_operator() {
            error!(domain = %life.config.domain, %reason, "cannot attach");
            life.say(LinkState::Down { reason: reason.clone(), retry_at: None });
            return LinkEnd::Fatal(reason);
        }
        let wait = life.config.backoff.wait(failures, rand::random());
        failures = failures.saturating_add(1);
        warn!(domain = %life.config.domain, %reason, retry_in = ?wait, "not attached");
        life.say(LinkState::Down { reason, retry_at: Some(SystemTime::now() + wait) });
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

struct Life {
    config: LinkConfig,
    shared: Arc<Shared>,
    receive: Arc<dyn Receive>,
    stop: CancellationToken,
    counter: Arc<Counter>,
    epoch: u64,
    /// The server has sent something for another domain; said once.
    misrouted: AtomicBool,
}

impl Life {
    fn say(&self, state: LinkState) {
        self.shared.set_state(state.clone());
        if catch_unwind(AssertUnwindSafe(|| self.receive.on_state(&state))).is_err() {
            error!(domain = %self.config.domain, "the receiver panicked on a change of state");
        }
    }

    /// One stream from the handshake to its end.
    async fn stream(&mut self, attached: Attached) -> LinkError {
        self.epoch += 1;
        self.shared.attached(self.epoch);
        info!(domain = %self.config.domain, server = %self.config.endpoint, epoch = self.epoch, "attached");
        self.say(LinkState::Attached { epoch: self.epoch });
        let Attached { connection, framer } = attached;
        let (read, write) = tokio::io::split(connection);
        let (pulse, closing) = (Pulse::new(), Closing::default());
        let reason = {
            let mut reader = pin!(self.read(read, framer, &pulse));
            let mut writer = pin!(self.write(write, &closing));
            let minder = pin!(self.mind(&pulse));
            let first = tokio::select! {
                reason = &mut reader => First::Read(reason),
                reason = &mut writer => First::Wrote(reason),
                reason = minder => First::Said(reason),
                () = self.stop.cancelled() => First::Said(LinkError::Stopped),
            };
            match first {
                // The server may have said why before it hung up, and we found the broken pipe first.
                First::Wrote(broken) => match tokio::time::timeout(REASON, reader).await {
                    Ok(Ok(reason)) if reason != LinkError::Closed => reason,
                    _ => broken,
                },
                First::Read(Ok(reason)) => {
                    closing.with("</stream:stream>".to_owned());
                    let _ = tokio::time::timeout(REASON, writer).await;
                    reason
                }
                First::Read(Err(fault)) => {
                    closing.with(format!(
                        "<stream:error><{} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>",
                        fault.condition
                    ));
                    let _ = tokio::time::timeout(REASON, writer).await;
                    attach::forbidden(fault)
                }
                First::Said(reason) => {
                    closing.with("</stream:stream>".to_owned());
                    let patience = if reason == LinkError::Stopped { GOODBYE } else { REASON };
                    let _ = tokio::time::timeout(patience, writer).await;
                    reason
                }
            }
        };
        self.shared.detached(&reason);
        reason
    }

    /// Reads until the stream ends, or something in it ends our trust.
    async fn read<R: AsyncRead + Unpin>(
        &self,
        mut from: R,
        mut framer: Framer,
        pulse: &Pulse,
    ) -> Result<LinkError, super::error::StreamFault> {
        loop {
            while let Some(frame) = framer.next()? {
                if let Some(reason) = self.on_frame(frame) {
                    return Ok(reason);
                }
                if self.counter.is_full() {
                    pulse.pause(true);
                    self.counter.room().await;
                    pulse.pause(false);
                }
            }
            match from.read_buf(framer.space()).await {
                Ok(0) => return Ok(LinkError::Closed),
                Ok(_) => {
                    framer.appended();
                    pulse.beat();
                }
                Err(error) => return Ok(LinkError::broken(&error)),
            }
            // The socket may always be readable: the writer and the rest of the runtime get their turn.
            tokio::task::yield_now().await;
        }
    }

    /// Some: the stream is over.
    fn on_frame(&self, frame: Frame) -> Option<LinkError> {
        match frame {
            Frame::Top(TopLevel::Stanza(stanza)) => self.on_stanza(stanza),
            Frame::Bad(bad) => {
                debug!(domain = %self.config.domain, why = bad.why, kind = ?bad.kind, "refused a stanza");
                if let Err(error) = answer::refuse(&self.shared, &bad) {
                    debug!(domain = %self.config.domain, %error, "no answer to a refused stanza");
                }
                self.guarded(|receive| receive.on_malformed(bad));
            }
            Frame::Top(TopLevel::StreamError(condition, text)) => {
                return Some(attach::stream_error(&self.config, condition, text));
            }
            Frame::End => return Some(LinkError::Closed),
            Frame::Top(TopLevel::Other(name)) => debug!(?name, "ignored a top-level element"),
            Frame::Top(TopLevel::Handshake) | Frame::Header(_) => {}
        }
        None
    }

    fn on_stanza(&self, stanza: Stanza) {
        if stanza.kind() == Kind::Iq {
            let mut out = self.shared.lock();
            let was_ready = out.barriers.is_ready();
            let ours = out.barriers.on_stanza(&stanza);
            let found = !was_ready && out.barriers.is_ready();
            drop(out);
            if found {
                self.shared.notify_changed();
            }
            if ours {
                return;
            }
        }
        if !is_of(stanza.to().unwrap_or_default(), &self.config.domain) && !self.misrouted.swap(true, Ordering::Relaxed)
        {
            // COMPAT(ejabberd): by default every component of a listener gets what is for any of the listener's hosts,
            // and barriers get lost among them.
            error!(
                domain = %self.config.domain, to = ?stanza.to(),
                "the server sends us stanzas for another domain; ejabberd needs `global_routes: false` at this listener"
            );
        }
        let permit = self.counter.take();
        self.guarded(|receive| receive.on_stanza(stanza, permit));
    }

    /// A panic over one stanza must not end the stream: whoever sent it could send it again.
    fn guarded(&self, f: impl FnOnce(&dyn Receive)) {
        if catch_unwind(AssertUnwindSafe(|| f(&*self.receive))).is_err() {
            error!(domain = %self.config.domain, "the receiver panicked over a stanza, which is lost");
        }
    }

    /// Writes what is there, in one go, each time that there is something.
    async fn write<W: AsyncWrite + Unpin>(&self, mut to: W, closing: &Closing) -> LinkError {
        let mut buffer = Vec::new();
        let mut grown = false;
        loop {
            if !self.shared.take(&mut buffer) {
                if let Some(goodbye) = closing.words() {
                    let _ = to.write_all(goodbye.as_bytes()).await;
                    let _ = to.shutdown().await;
                    return LinkError::Closed;
                }
                tokio::select! {
                    () = self.shared.flush.notified() => {}
                    () = closing.token.cancelled() => continue,
                    () = tokio::time::sleep(QUIET), if grown => {
                        buffer = Vec::new();
                        self.shared.lock().output.give_back();
                        grown = false;
                        continue;
                    }
                }
                // Let those who are about to write do so first: one write for all of them.
                tokio::task::yield_now().await;
                continue;
            }
            let written = match to.write_all(&buffer).await {
                Ok(()) => to.flush().await,
                Err(error) => Err(error),
            };
            if let Err(error) = written {
                return LinkError::broken(&error);
            }
            grown |= buffer.capacity() > KEEP_QUIET;
            if buffer.capacity() > KEEP {
                buffer = Vec::new();
            }
        }
    }

    /// Finds the barrier's address, and finds out when the server is not there any more.
    async fn mind(&self, pulse: &Pulse) -> LinkError {
        let keepalive = self.config.keepalive;
        let (mut next_trial, mut trial_wait) = (Instant::now(), keepalive.trial);
        let mut pinged_at: Option<Instant> = None;
        loop {
            let now = Instant::now();
            let last = pulse.last(now);
            if now >= last + keepalive.idle + keepalive.patience {
                return LinkError::Silent { seconds: (now - last).as_secs() };
            }
            let ready = self.shared.lock().barriers.is_ready();
            if !ready && now >= next_trial {
                self.shared.ping(|barriers, domain| barriers.trial(domain));
                next_trial = now + trial_wait;
                trial_wait = (trial_wait * 2).min(LONGEST_TRIAL);
            }
            if now >= last + keepalive.idle && pinged_at.is_none_or(|at| at < last) {
                self.shared.ping(|barriers, domain| barriers.keepalive(domain));
                pinged_at = Some(now);
            }
            let unanswered = pinged_at.is_some_and(|at| at >= last);
            let silence = last + keepalive.idle + if unanswered { keepalive.patience } else { Duration::ZERO };
            let wake = if ready { silence } else { silence.min(next_trial) };
            tokio::time::sleep_until(wake.max(now + Duration::from_millis(1))).await;
        }
    }
}

/// Whether an address is in a domain.
fn is_of(jid: &str, domain: &str) -> bool {
    // A room or a contact, as written: nearly all.
    if let Some(b'@') = jid.strip_suffix(domain).and_then(|before| before.as_bytes().last())
        && memchr::memchr(b'/', jid.as_bytes()).is_none()
    {
        return true;
    }
    let bare = halves(b'/', jid).map_or(jid, |(bare, _)| bare);
    halves(b'@', bare).map_or(bare, |(_, host)| host).eq_ignore_ascii_case(domain)
}

/// Who ended the stream.
enum First {
    Read(Result<LinkError, super::error::StreamFault>),
    Wrote(LinkError),
    Said(LinkError),
}

impl Shared {
    /// Writes one of the link's own pings, whatever waits in the lanes.
    fn ping(&self, make: impl FnOnce(&mut super::barrier::Barriers, &str) -> Vec<u8>) {
        let ping = make(&mut self.lock().barriers, &self.domain);
        // A full lane or a lost stream: then there is something else to notice.
        let _ = self.append(Lane::LINK, |buffer| {
            buffer.extend_from_slice(&ping);
            Ok(())
        });
    }
}

/// When the server was last heard.
struct Pulse {
    last: Mutex<Instant>,
    paused: AtomicBool,
}

impl Pulse {
    fn new() -> Self {
        Self { last: Mutex::new(Instant::now()), paused: AtomicBool::new(false) }
    }

    fn beat(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// While we do not read, silence says nothing.
    fn pause(&self, paused: bool) {
        self.beat();
        self.paused.store(paused, Ordering::Release);
    }

    fn last(&self, now: Instant) -> Instant {
        if self.paused.load(Ordering::Acquire) {
            now
        } else {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
}

/// What the writer is to say last.
#[derive(Default)]
struct Closing {
    token: CancellationToken,
    words: OnceLock<String>,
}

impl Closing {
    fn with(&self, words: String) {
        let _ = self.words.set(words); // the first reason counts
        self.token.cancel();
    }

    fn words(&self) -> Option<&str> {
        self.words.get().map(String::as_str)
    }
}
