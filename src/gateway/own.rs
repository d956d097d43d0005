//! What a user said by other means than this gateway, made known on their devices as sent by them.
//!
//! By a privileged message where the server speaks `urn:xmpp:privilege:2` (carbons and archive see to the rest); as copies of XEP-0280 to each known
//! device where it speaks version 1, whose privileged messages reach no other device on ejabberd before 23.10; else as words from the contact that
//! say whose they are. **A privileged message comes back to us as if the user had sent it**: its id is on disk before it is sent, and who comes with
//! it is not heard.

use std::sync::Arc;

use isthmus_bridge::{Event, Full, Inbound, Message, Text};
use tracing::{debug, warn};

use super::core::{Core, Served};
use super::privileges::domain;
use super::receive::Heard;
use crate::inbox::{Later, Rendered};
use crate::translate::inbound::{self, Scene, SharedFile};
use crate::xmpp::link::Kind;
use crate::xmpp::privilege::{self, Version};

impl Core {
    /// Whether a stanza is a message that we made known in its sender's name, and that comes back. From memory.
    pub(super) fn comes_back(&self, served: &Served, heard: &Heard) -> bool {
        if heard.stanza.kind() != Kind::Message || heard.from.is_full() || heard.stanza.type_() == Some("error") {
            return false;
        }
        let Some(id) = heard.stanza.id() else { return false };
        let back = served.persons().returns(&heard.from.bare(), id);
        if back {
            debug!(bridge = %served.instance.name, id, "a message made known in its user's name came back");
        }
        back
    }

    /// The stanzas that make an own message known. `id`: what their ids begin with; the same at every call for a held row.
    pub(super) async fn own_message(
        &self,
        served: &Served,
        id: &str,
        event: &Inbound,
        message: &Message,
        files: &[SharedFile],
    ) -> Result<Vec<Rendered>, Later> {
        let user = &event.to;
        let Some(contact) = served.jid(&event.from) else { return Ok(Vec::new()) };
        let granted = self.grants_for(served, user).await.filter(|g| g.message);
        let Some(grants) = granted else { return Ok(self.said_elsewhere(served, id, event, message, files)) };
        let inner = self.as_said(served, user.as_str(), &contact, id, event, message, files);
        let (from, server) = (&*served.instance.domain, domain(user));
        let mut all = Vec::new();
        match grants.version {
            Version::Two => {
                let ids: Vec<String> = inner.iter().map(|one| one.id.clone()).collect();
                let later = |e: isthmus_bridge::StoreError| Later {
                    after: std::time::Duration::from_secs(10),
                    why: e.to_string(),
                };
                served.persons().will_return(user, &ids).await.map_err(later)?;
                all.extend(inner.iter().map(|one| wrap(Version::Two, from, server, format!("{}-o", one.id), one)));
            }
            Version::One => {
                for (n, device) in self.online.of(user).iter().enumerate() {
                    for one in &inner {
                        let id = format!("{}-c{n}", one.id);
                        let xml = privilege::sent_copy(user.as_str(), device, &id, &String::from_utf8_lossy(&one.xml));
                        let copy = Rendered {
                            from: user.to_string(),
                            to: device.clone(),
                            id: id.clone(),
                            xml: xml.into_bytes(),
                        };
                        all.push(wrap(Version::One, from, server, format!("{id}-o"), &copy));
                    }
                }
            }
        }
        Ok(all)
    }

    /// The message as its user said it.
    #[allow(clippy::too_many_arguments, reason = "the parts of one scene")]
    fn as_said(
        &self,
        served: &Served,
        from: &str,
        to: &str,
        id: &str,
        event: &Inbound,
        message: &Message,
        files: &[SharedFile],
    ) -> Vec<Rendered> {
        let lang = self.languages.of(&event.to);
        let scene = Scene {
            from,
            to,
            domain: &served.instance.domain,
            id,
            words: &|text| self.words(served, text, &lang),
            jid: &|address| served.jid(address),
            referenced: None,
            now: self.now(),
            direct: false,
        };
        let mut said = event.clone();
        said.event = Event::Message(Box::new(message.clone()));
        inbound::stanzas(&scene, &said, files)
    }

    /// Without the privilege: from the contact, with words that say who said it.
    fn said_elsewhere(
        &self,
        served: &Served,
        id: &str,
        event: &Inbound,
        message: &Message,
        files: &[SharedFile],
    ) -> Vec<Rendered> {
        let Some(contact) = served.jid(&event.from) else { return Vec::new() };
        let mut marked = message.clone();
        let prefix = self.words(served, &Text::key("own.elsewhere"), &self.languages.of(&event.to));
        marked.put_before(&format!("{prefix} "));
        self.as_said(served, &contact, event.to.as_str(), id, event, &marked, files)
    }

    /// An own message of a live bridge: committed and sent behind the caller's back, in order.
    pub(super) fn tell_own(self: &Arc<Self>, served: &Arc<Served>, event: Inbound) -> Result<(), Full> {
        let Ok(permit) = served.own_turns.clone().try_acquire_owned() else { return Err(Full) };
        let (core, served) = (self.clone(), served.clone());
        self.tasks.spawn(async move {
            let _permit = permit;
            let _turn = served.own_order.lock().await; // fair: whoever asks first is served first
            let Event::Sent(message) = &event.event else { return };
            match core.own_message(&served, &crate::storage::fresh_id(), &event, message, &[]).await {
                Ok(all) => all.iter().for_each(|stanza| core.send(&served, stanza)),
                Err(e) => warn!(bridge = %served.instance.name, error = %e, "what a user said elsewhere could not be shown to them"),
            }
        });
        Ok(())
    }
}

fn wrap(version: Version, from: &str, server: &str, id: String, inner: &Rendered) -> Rendered {
    let xml = privilege::message(version, from, server, &id, &String::from_utf8_lossy(&inner.xml));
    Rendered { from: from.to_owned(), to: server.to_owned(), id, xml: xml.into_bytes() }
}
