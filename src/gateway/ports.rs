//! The durable queues' view of the gateway: whom to hand events to, how to write, how to put things into words.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use isthmus_bridge::{
    Address, BareJid, Delivery, Event, FileSource, Inbound, Message, NetworkId, Profile, SessionOf, Text, Work,
};
use tokio::sync::watch;
use tracing::{error, warn};

use super::core::{Core, Served};
use super::{guest, privileges};
use crate::archive::names::Place;
use crate::inbox::{Later, Prepare, Rendered, Wire, WireLost};
use crate::outbox::{Carry, Tell, Telling};
use crate::translate::inbound::{Scene, SharedFile};
use crate::translate::{inbound, news};
use crate::xmpp::link::{self, BatchLost, LinkError, LinkState};

/// Set up before the gateway itself, which the queues are a part of.
pub(super) struct Ports {
    core: OnceLock<Weak<Core>>,
    streams: Mutex<HashMap<String, watch::Sender<Option<u64>>>>,
}

impl Ports {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { core: OnceLock::new(), streams: Mutex::default() })
    }

    /// From now on the queues reach the gateway.
    pub(super) fn open(&self, core: &Arc<Core>) {
        // Called once; a second call would mean the same gateway.
        drop(self.core.set(Arc::downgrade(core)));
    }

    /// The stream that a bridge's domain is attached by changed.
    pub(super) fn link_state(&self, bridge: &str, state: &LinkState) {
        self.stream(bridge).send_replace(state.epoch());
    }

    fn stream(&self, bridge: &str) -> watch::Sender<Option<u64>> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.entry(bridge.to_owned()).or_insert_with(|| watch::Sender::new(None)).clone()
    }

    fn served(&self, bridge: &str) -> Option<(Arc<Core>, Arc<Served>)> {
        let core = self.core.get()?.upgrade()?;
        let served = core.bridge(bridge)?;
        Some((core, served))
    }
}

impl Carry for Ports {
    fn carry(&self, bridge: &str, of: SessionOf, delivery: Box<Delivery>) -> Result<(), Box<Delivery>> {
        let Some((_core, served)) = self.served(bridge) else { return Err(delivery) };
        served.sessions().push(&of, Work::Deliver(delivery)).map_err(|work| match work {
            Work::Deliver(delivery) => delivery,
            // `push` gives back what it was given.
            _ => unreachable!("a delivery was pushed"),
        })
    }

    fn profile(&self, bridge: &str) -> Option<Profile> {
        self.served(bridge).map(|(_, served)| served.profile().clone())
    }

    fn network(&self, bridge: &str, address: &Address) -> NetworkId {
        self.served(bridge).map_or_else(|| NetworkId::from(bridge), |(_, served)| served.network(address))
    }

    fn join_window(&self, bridge: &str, user: &BareJid, at: &Address) -> Duration {
        let Some((_, served)) = self.served(bridge) else { return Duration::ZERO };
        let Some(key) = served.profile().join_setting else { return Duration::ZERO };
        Duration::from_secs(u64::try_from(served.persons().resolved(user, at).number(key)).unwrap_or_default())
    }

    fn is_online(&self, full_jid: &str) -> bool {
        let Some(core) = self.core.get().and_then(Weak::upgrade) else { return false };
        let user = BareJid::new(full_jid.split('/').next().unwrap_or(full_jid));
        let domain = privileges::domain(&user);
        // COMPAT(ejabberd 23.01): what XEP-0356 tells of presence has no end where a stream ends without a word.
        let by_privilege = |served: &Arc<Served>| served.privileges.of(domain).is_some_and(|g| g.presence.is_some());
        core.online.is(full_jid) && !core.bridges().iter().any(by_privilege)
    }
}

impl Tell for Ports {
    fn tell(&self, about: &Telling<'_>) -> Vec<Rendered> {
        let Some((core, served)) = self.served(&about.sender.bridge) else { return Vec::new() };
        let words = news::Words {
            render: &|text, lang| core.words(&served, text, lang),
            spoken: &|lang| core.spoken_late(&served, lang),
        };
        news::stanzas(about, &served.instance.domain, &words)
    }
}

#[async_trait]
impl Prepare for Ports {
    async fn prepare(&self, bridge: &str, row: &str, event: &Inbound) -> Result<Vec<Rendered>, Later> {
        let Some((core, served)) = self.served(bridge) else {
            return Err(Later { after: Duration::from_secs(60), why: "the bridge is not configured".to_owned() });
        };
        core.prepare(&served, row, event).await
    }
}

impl Core {
    /// The stanzas of a held event: files are uploaded or served first. Every stanza of them can be sent.
    async fn prepare(&self, served: &Arc<Served>, row: &str, event: &Inbound) -> Result<Vec<Rendered>, Later> {
        let Some(event) = self.for_guest(served, row, event)? else { return Ok(Vec::new()) };
        let event = &event;
        let mut files = Vec::new();
        if let Event::Message(message) | Event::Sent(message) = &event.event {
            for file in &message.files {
                let url = match &file.source {
                    FileSource::Url(url) => Some(url.to_string()),
                    FileSource::Blob(id) => self.publish(served, &event.to, id, &file.media).await?,
                    _ => None,
                };
                files.push(SharedFile { url, media: file.media.clone() });
            }
        }
        if matches!(event.event, Event::Message(_) | Event::Sent(_)) {
            served.met(&event.to, &event.from).await;
            let own = matches!(event.event, Event::Sent(_));
            if let Event::Message(message) | Event::Sent(message) = &event.event {
                // The first stanza of a row has the row's id.
                served.persons().talked(&event.to, &event.from, own, &message.body, Some(row));
            }
        }
        if let Event::Sent(message) = &event.event {
            let limit = self.limits.max_stanza;
            let mut stanzas = self.own_message(served, row, event, message, &files).await?;
            stanzas.retain(|stanza| sendable(stanza, limit));
            return Ok(stanzas);
        }
        let referenced = self.referenced(served, event).await;
        let whole = self.whole_set(served, event, referenced.as_ref()).await?;
        let event = whole.as_ref().unwrap_or(event);
        let stanzas = self.render(served, row, event, &files, referenced.as_ref());
        let limit = self.limits.max_stanza;
        if stanzas.iter().all(|stanza| sendable(stanza, limit)) {
            return Ok(stanzas);
        }
        Ok(self.shortened(served, row, event, &files, referenced.as_ref(), limit))
    }

    /// A step of reactions as the whole set that it makes (XEP-0444). A second try finds the same set.
    async fn whole_set(
        &self,
        served: &Served,
        event: &Inbound,
        referenced: Option<&(String, String)>,
    ) -> Result<Option<Inbound>, Later> {
        let (Event::Reacted { of, add, remove }, Some((id, _))) = (&event.event, referenced) else { return Ok(None) };
        let place = Place::Talk(event.to.clone(), event.from.clone());
        let who = served.jid(&event.from).unwrap_or_default();
        let all = served.archive().react_by(&place, id, &who, add.clone(), remove.clone()).await;
        let add = all.map_err(|e| Later { after: Duration::from_secs(5), why: e.to_string() })?;
        let mut whole = event.clone();
        whole.event = Event::Reacted { of: of.clone(), add, remove: Vec::new() };
        Ok(Some(whole))
    }

    fn render(
        &self,
        served: &Served,
        row: &str,
        event: &Inbound,
        files: &[SharedFile],
        referenced: Option<&(String, String)>,
    ) -> Vec<Rendered> {
        let from = match served.guest(&event.to) {
            Some(_) => Some(guest::jid(served)),
            None => served.jid(&event.from),
        };
        let from = from.unwrap_or_else(|| served.instance.domain.to_string());
        let lang = self.languages.of(&event.to);
        let scene = Scene {
            from: &from,
            to: event.to.as_str(),
            domain: &served.instance.domain,
            id: row,
            words: &|text| self.words(served, text, &lang),
            jid: &|address| served.jid(address),
            referenced: referenced.map(|(id, author)| (id.as_str(), author.as_str())),
            now: self.now(),
            direct: false,
        };
        inbound::stanzas(&scene, event, files)
    }

    /// The server's limit holds for every stanza: the text is cut, and says so; what else is too long is left out.
    fn shortened(
        &self,
        served: &Served,
        row: &str,
        event: &Inbound,
        files: &[SharedFile],
        referenced: Option<&(String, String)>,
        limit: usize,
    ) -> Vec<Rendered> {
        warn!(bridge = %served.instance.name, row, "an event was too large for the server and is cut");
        let mut cut = event.clone();
        if let Event::Message(message) = &mut cut.event {
            let note = self.words(served, &Text::key("note.cut"), &self.languages.of(&event.to));
            let mut short = Message::chat(shorten(&message.body, limit / 8));
            short.body.push_str("\n\n");
            short.body.push_str(&note);
            short.kind = message.kind;
            short.subject = message.subject.as_deref().map(|s| shorten(s, 1024));
            short.thread = message.thread.clone().filter(|t| t.len() < 1024);
            short.nick = message.nick.as_deref().map(|n| shorten(n, 256));
            short.warning.clone_from(&message.warning);
            **message = short;
        }
        let mut stanzas = self.render(served, row, &cut, files, referenced);
        stanzas.retain(|stanza| {
            let keep = sendable(stanza, limit);
            if !keep {
                error!(bridge = %served.instance.name, row, size = stanza.xml.len(), "a stanza cannot be sent and is left out");
            }
            keep
        });
        stanzas
    }
}

/// At most this many bytes, cut at a character.
fn shorten(text: &str, bytes: usize) -> String {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

fn sendable(stanza: &Rendered, limit: usize) -> bool {
    stanza.xml.len() <= limit && link::Rendered::parse(&stanza.xml).is_ok()
}

#[async_trait]
impl Wire for Ports {
    fn attached(&self, bridge: &str) -> watch::Receiver<Option<u64>> {
        self.stream(bridge).subscribe()
    }

    async fn send(&self, bridge: &str, epoch: u64, batch: &[Rendered]) -> Result<(), WireLost> {
        let Some((_, served)) = self.served(bridge) else { return Err(WireLost::NotWritten) };
        let mut stanzas = Vec::with_capacity(batch.len());
        for stanza in batch {
            match link::Rendered::parse(&stanza.xml) {
                Ok(parsed) => stanzas.push(parsed),
                Err(e) => error!(bridge, id = %stanza.id, error = %e, "a stored stanza is no stanza and is left out"),
            }
        }
        loop {
            match served.link().batch(epoch, &stanzas).await {
                Ok(()) => return Ok(()),
                Err(BatchLost::StreamEnded { reason: LinkError::Stopped, .. }) => return Err(WireLost::NotWritten),
                Err(BatchLost::StreamEnded { .. }) => return Err(WireLost::Ended),
                Err(BatchLost::Refused { index, why }) => {
                    error!(bridge, error = %why, "a stored stanza may not be sent and is left out");
                    stanzas.remove(index);
                }
            }
        }
    }
}
