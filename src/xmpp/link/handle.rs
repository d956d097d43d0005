//! Writing to the server from anywhere in the gateway.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use minidom::Element;
use tokio::sync::{Notify, watch};

use super::answer::{self, Refusal};
use super::barrier::{Barriers, Return};
use super::config::{Limits, LinkConfig};
use super::error::{BatchLost, LinkError, LinkState, NotSent};
use super::lanes::{Lane, Output};
use super::render::{self, Rendered};
use super::stanza::{JABBER_CLIENT, Stanza};
use super::write::{self, StanzaWriter};

/// A link to write to. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LinkHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) domain: String,
    pub(super) limits: Limits,
    state: watch::Sender<LinkState>,
    out: Mutex<Out>,
    /// The writer has something to do.
    pub(super) flush: Notify,
    /// A lane has room, a barrier address was found, or the stream ended.
    changed: Notify,
}

/// All that the writers and the link's task share.
#[derive(Debug)]
pub(super) struct Out {
    pub(super) output: Output,
    pub(super) barriers: Barriers,
    /// The stream that may be written to.
    epoch: Option<u64>,
    /// Why the last stream ended.
    ended: LinkError,
    /// The writer knows that there is something to do.
    scheduled: bool,
}

impl LinkHandle {
    pub(super) fn new(config: &LinkConfig) -> Self {
        let out = Out {
            output: Output::default(),
            barriers: Barriers::default(),
            epoch: None,
            ended: LinkError::Closed,
            scheduled: false,
        };
        let shared = Shared {
            domain: config.domain.clone(),
            limits: config.limits,
            state: watch::Sender::new(LinkState::Connecting),
            out: Mutex::new(out),
            flush: Notify::new(),
            changed: Notify::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The domain that the link attaches as.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.shared.domain
    }

    /// The hot path: `f` writes stanzas straight into the output buffer, under a short lock. All or nothing of what it
    /// writes is sent.
    ///
    /// # Errors
    /// No stream, no room in the lane, or a guard: then nothing was written.
    pub fn write<R>(&self, lane: Lane, f: impl FnOnce(&mut StanzaWriter<'_>) -> R) -> Result<R, NotSent> {
        self.shared.write(lane, f)
    }

    /// Writes a stanza that is a tree in `jabber:client`; what is nested in foreign elements stays as it is.
    ///
    /// # Errors
    /// As [`LinkHandle::write`].
    pub fn send_element(&self, lane: Lane, element: &Element) -> Result<(), NotSent> {
        let (from, to) = render::stanza_addresses(element)?;
        write::addresses(from, to, &self.shared.domain)?;
        let max = self.shared.limits.max_out;
        self.shared.append(lane, |buffer| {
            let start = buffer.len();
            render::element(buffer, element, JABBER_CLIENT);
            write::size(buffer.len() - start, max)
        })
    }

    /// Writes a stanza rendered before.
    ///
    /// # Errors
    /// As [`LinkHandle::write`].
    pub fn send_rendered(&self, lane: Lane, stanza: &Rendered) -> Result<(), NotSent> {
        self.write(lane, |writer| {
            writer.rendered(stanza);
        })
    }

    /// Reads, checks and writes a stanza that is text already, without a declaration of the stream's namespace.
    ///
    /// # Errors
    /// As [`LinkHandle::write`]; [`NotSent::Guard`] also for what is no stanza.
    pub fn send_raw(&self, lane: Lane, xml: &[u8]) -> Result<(), NotSent> {
        self.send_rendered(lane, &Rendered::parse(xml)?)
    }

    /// As [`send_raw`](Self::send_raw), in the lane of whom it is for.
    ///
    /// # Errors
    /// As [`LinkHandle::send_raw`].
    pub fn send_to_person(&self, xml: &[u8]) -> Result<(), NotSent> {
        let stanza = Rendered::parse(xml)?;
        self.send_rendered(Lane::of_person(stanza.to()), &stanza)
    }

    /// Answers a stanza with an error where RFC 6120 section 8.3 allows one; else does nothing.
    ///
    /// # Errors
    /// As [`LinkHandle::write`].
    pub fn refuse(&self, stanza: &Stanza, why: Refusal) -> Result<(), NotSent> {
        answer::refuse_stanza(&self.shared, stanza, why)
    }

    /// Writes the stanzas in order, then waits until the server has taken them all: an XEP-0199 ping behind them has
    /// come back on the same stream. There is no time limit: a late answer is no loss (architecture section 3).
    ///
    /// # Errors
    /// The stream of this epoch ended before, or has ended: send again on a later one. A stanza that violates a guard
    /// is named and then nothing was written.
    pub async fn batch(&self, epoch: u64, stanzas: &[Rendered]) -> Result<(), BatchLost> {
        for (index, stanza) in stanzas.iter().enumerate() {
            write::addresses(stanza.from(), stanza.to(), &self.shared.domain)
                .and_then(|()| write::size(stanza.as_bytes().len(), self.shared.limits.max_out))
                .map_err(|why| BatchLost::Refused { index, why })?;
        }
        let answer = loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(answer) = self.shared.start_batch(epoch, stanzas)? {
                break answer;
            }
            changed.await;
        };
        match answer.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(BatchLost::StreamEnded { epoch, reason }),
            // The link's task is gone altogether.
            Err(_) => Err(BatchLost::StreamEnded { epoch, reason: LinkError::Stopped }),
        }
    }

    /// Ends when the lane may be written to again after [`NotSent::Full`], or when there is no stream any more.
    pub async fn room(&self, lane: Lane) {
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.shared.has_room(lane) {
                return;
            }
            changed.await;
        }
    }

    /// The link's state, now and as it changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<LinkState> {
        self.shared.state.subscribe()
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Shared {
    pub(super) fn write<R>(&self, lane: Lane, f: impl FnOnce(&mut StanzaWriter<'_>) -> R) -> Result<R, NotSent> {
        self.append(lane, |buffer| {
            let mut writer = StanzaWriter::new(buffer, &self.domain, self.limits.max_out);
            let result = f(&mut writer);
            writer.finish().map(|()| result)
        })
    }

    /// Lets `f` append to the buffer; takes back what it wrote when it fails.
    pub(super) fn append<R>(
        &self,
        lane: Lane,
        f: impl FnOnce(&mut Vec<u8>) -> Result<R, super::error::Guard>,
    ) -> Result<R, NotSent> {
        let mut out = self.lock();
        if out.epoch.is_none() {
            return Err(NotSent::Detached);
        }
        if out.output.is_full(lane, self.limits.lane) {
            return Err(NotSent::Full);
        }
        let start = out.output.buffer().len();
        let result = match f(out.output.buffer()) {
            Ok(result) => result,
            Err(guard) => {
                out.output.buffer().truncate(start);
                return Err(guard.into());
            }
        };
        out.output.written(lane, start);
        self.schedule(out);
        Ok(result)
    }

    /// Wakes the writer, once for all that is written before it runs.
    fn schedule(&self, mut out: MutexGuard<'_, Out>) {
        let wake = !std::mem::replace(&mut out.scheduled, true);
        drop(out);
        if wake {
            self.flush.notify_one();
        }
    }

    /// Takes what is to be written now into `buffer`. False: there is nothing, and the next write wakes the writer.
    pub(super) fn take(&self, buffer: &mut Vec<u8>) -> bool {
        let mut out = self.lock();
        let congested = out.output.is_congested();
        out.output.take(buffer);
        out.scheduled = !buffer.is_empty();
        let some = out.scheduled;
        drop(out);
        if congested {
            self.changed.notify_waiters();
        }
        some
    }

    fn has_room(&self, lane: Lane) -> bool {
        let out = self.lock();
        out.epoch.is_none() || !out.output.is_full(lane, self.limits.lane / 2)
    }

    /// None: not yet, wait for a change.
    fn start_batch(&self, epoch: u64, stanzas: &[Rendered]) -> Result<Option<Return>, BatchLost> {
        let mut out = self.lock();
        if out.epoch != Some(epoch) {
            return Err(BatchLost::StreamEnded { epoch, reason: out.ended.clone() });
        }
        if out.output.waiting(Lane::BATCHES) >= self.limits.lane {
            return Ok(None);
        }
        let Out { output, barriers, .. } = &mut *out;
        let Some((ping, answer)) = barriers.start(&self.domain) else { return Ok(None) };
        for piece in stanzas.iter().map(Rendered::as_bytes).chain([ping.as_slice()]) {
            let start = output.buffer().len();
            output.buffer().extend_from_slice(piece);
            output.written(Lane::BATCHES, start);
        }
        self.schedule(out);
        Ok(Some(answer))
    }

    /// A new stream may be written to.
    pub(super) fn attached(&self, epoch: u64) {
        let mut out = self.lock();
        out.output.clear();
        out.barriers = Barriers::default();
        out.epoch = Some(epoch);
        out.scheduled = false;
    }

    /// The stream is over: what waited for it is lost, and who waits for a barrier learns so.
    pub(super) fn detached(&self, reason: &LinkError) {
        let mut out = self.lock();
        out.output.clear();
        out.epoch = None;
        out.ended = reason.clone();
        let waiting = std::mem::take(&mut out.barriers);
        drop(out);
        waiting.lost(reason);
        self.changed.notify_waiters();
    }

    pub(super) fn set_state(&self, state: LinkState) {
        self.state.send_replace(state);
    }

    /// For who changed something that a batch may be waiting for.
    pub(super) fn notify_changed(&self) {
        self.changed.notify_waiters();
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Out> {
        // A panic in a closure leaves the buffer whole (see `StanzaWriter`'s Drop), so poison means nothing here.
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
