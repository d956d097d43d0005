//! The administrator's side: what the control socket asks.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use isthmus_bridge::{Address, BareJid, DeliveryKey, Intent, Message, Outbound, Registration, Values};

use super::core::{Core, Served};
use crate::access::Tier;
use crate::admin::control::{
    ActRequest, Acted, BridgeStatus, ContactRow, Control, FindingRow, QueueRow, Records, Rotated, SendAnswer,
    SendRequest, Status, UserRow,
};
use crate::admin::records::{CONTACTS, contact};
use crate::args;
use crate::outbox::{Sender, Withdrawn};
use crate::router::{self, Party};
use crate::storage::fresh_id;
use crate::storage::people::Audit;
use crate::xmpp::commands::COMMAND_LINE;
use crate::xmpp::link::LinkState;

/// A running instance, as the command line sees it.
pub(super) struct Desk {
    core: Arc<Core>,
}

/// Rows of a listing, at most.
const ROWS: u32 = 10_000;

impl Desk {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    fn bridge(&self, name: &str) -> Result<Arc<Served>, String> {
        self.core.bridge(name).ok_or_else(|| {
            let known: Vec<String> = self.core.bridges().iter().map(|b| b.instance.name.to_string()).collect();
            format!("there is no bridge {name:?}: expected one of {}", known.join(", "))
        })
    }
}

impl Desk {
    async fn audit(&self, bridge: &str, act: &str, about: Option<&str>) -> Result<(), String> {
        let Some(served) = self.core.bridges().first().cloned() else { return Ok(()) };
        let line = Audit {
            at: 0,
            actor: COMMAND_LINE.to_owned(),
            bridge: bridge.to_owned(),
            act: act.to_owned(),
            about: about.map(str::to_owned),
            detail: None,
        };
        served.dialogues().people().audit(line).await.map_err(|e| format!("done, but not in the audit log: {e}"))
    }
}

fn user(jid: &str) -> Result<BareJid, String> {
    Party::parse(jid).map(|p| p.bare()).ok_or_else(|| format!("{jid:?} is not a JID"))
}

#[async_trait]
impl Records for Desk {
    async fn users(&self, bridge: Option<&str>) -> Result<Vec<UserRow>, String> {
        let mut rows = Vec::new();
        for served in self.core.bridges().iter().filter(|b| bridge.is_none_or(|n| n == &*b.instance.name)) {
            for (user, since) in served.persons().registered_since().await.map_err(|e| e.to_string())? {
                let own = served.persons().identities(&user).await.map_err(|e| e.to_string())?;
                rows.push(UserRow {
                    bridge: served.instance.name.to_string(),
                    user: user.to_string(),
                    own: own.first().map(ToString::to_string),
                    since: Some(since),
                });
            }
        }
        Ok(rows)
    }

    async fn user_remove(&self, bridge: &str, jid: &str) -> Result<(), String> {
        let served = self.bridge(bridge)?;
        let user = user(jid)?;
        if !served.persons().registered(&user) {
            return Err(format!("{user} is not registered with {bridge}"));
        }
        self.core.unregister(&served, &user).await?;
        self.audit(bridge, "users remove", Some(user.as_str())).await
    }

    async fn contacts(&self, bridge: Option<&str>, user: Option<&str>) -> Result<Vec<ContactRow>, String> {
        if let Some(name) = bridge {
            self.bridge(name)?;
        }
        let who = args![bridge.unwrap_or_default(), user.unwrap_or_default()];
        let rows = self.core.store.read(CONTACTS, who).await.map_err(|e| e.to_string())?;
        rows.iter().map(contact).collect::<Result<_, _>>().map_err(|e| e.to_string())
    }

    async fn queue(&self, bridge: Option<&str>) -> Result<Vec<QueueRow>, String> {
        if let Some(name) = bridge {
            self.bridge(name)?;
        }
        let items = self.core.outbox.list(bridge, None, ROWS).await.map_err(|e| e.to_string())?;
        Ok(items.into_iter().map(QueueRow::from).collect())
    }

    async fn queue_retry(&self, id: &str) -> Result<(), String> {
        match self.core.outbox.retry_now(&DeliveryKey::from(id), None).await {
            Ok(Withdrawn::Queued) => self.audit("", "queue retry", Some(id)).await,
            Ok(Withdrawn::TooLate) => Err(format!("{id} is not queued: it is being tried already, or cannot be read")),
            Ok(Withdrawn::Unknown) => Err(format!("there is nothing with the id {id:?} in the queue")),
            Err(e) => Err(e.to_string()),
        }
    }

    async fn queue_cancel(&self, id: &str) -> Result<(), String> {
        match self.core.outbox.cancel_by_key(&DeliveryKey::from(id), None, true).await {
            Ok(Withdrawn::Queued) => self.audit("", "queue cancel", Some(id)).await,
            Ok(Withdrawn::TooLate) => {
                Err(format!("{id} is being sent or has been sent, and cannot be cancelled any more"))
            }
            Ok(Withdrawn::Unknown) => Err(format!("there is nothing with the id {id:?} in the queue")),
            Err(e) => Err(e.to_string()),
        }
    }
}

#[async_trait]
impl Control for Desk {
    async fn status(&self) -> Result<Status, String> {
        let waiting: BTreeMap<String, i64> =
            self.core.outbox.waiting().await.map_err(|e| e.to_string())?.into_iter().collect();
        let bridges = self.core.bridges().iter().map(|served| status(served, &waiting)).collect();
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.core.started.elapsed().as_secs(),
            bridges,
        })
    }

    async fn check(&self) -> Result<Vec<FindingRow>, String> {
        let mut rows = Vec::new();
        for served in self.core.bridges().iter() {
            let name = &*served.instance.name;
            let state = served.link().state().borrow().clone();
            rows.push(match state {
                LinkState::Attached { .. } => {
                    FindingRow::good(Some(name), format!("attached to the XMPP server as {}", served.instance.domain))
                }
                LinkState::Down { reason, .. } => FindingRow::fault(
                    Some(name),
                    format!("not attached as {}: {reason}", served.instance.domain),
                    "look at the XMPP server and its log; the gateway goes on trying",
                ),
                _ => FindingRow::warning(
                    Some(name),
                    format!("still attaching as {}", served.instance.domain),
                    "ask again in a few seconds",
                ),
            });
            rows.extend(crate::admin::grants::findings(name, &served.instance.domain, &served.privileges.all()));
            rows.extend(served.instance.bridge.probe().await.into_iter().map(|f| FindingRow::of(name, f)));
            if served.profile().files {
                rows.extend(self.core.check_upload(served).await);
            }
        }
        Ok(rows)
    }

    async fn user_add(&self, bridge: &str, jid: &str, values: BTreeMap<String, String>) -> Result<(), String> {
        let served = self.bridge(bridge)?;
        let user = user(jid)?;
        let mut filled = Values::new();
        for (key, value) in values {
            filled.set(key, value);
        }
        self.core.register_for(&served, &user, filled).await?;
        self.audit(bridge, "users add", Some(user.as_str())).await
    }

    async fn user_act(&self, request: ActRequest) -> Result<Acted, String> {
        let served = self.bridge(&request.bridge)?;
        let user = user(&request.user)?;
        let (bridge, act) = (request.bridge.clone(), format!("act for: {}", request.command));
        self.audit(&bridge, &act, Some(user.as_str())).await?;
        let (acted, effects) = Box::pin(self.core.act_for(&served, user, request)).await?;
        self.core.carry_out(&served, effects);
        Ok(acted)
    }

    async fn send(&self, request: SendRequest) -> Result<SendAnswer, String> {
        let served = self.bridge(&request.bridge)?;
        let user = user(&request.user)?;
        self.audit(&request.bridge, "send as", Some(user.as_str())).await?;
        if served.access().tier(&user) < Tier::User {
            return Err(format!("the access rules do not let {user} send through {}", request.bridge));
        }
        if served.profile().registration == Registration::Required && !served.persons().registered(&user) {
            return Err(format!("{user} is not registered with {}", request.bridge));
        }
        served.limiter().take(&user, 1, std::time::Instant::now()).map_err(|over| {
            format!(
                "{user} is over a quota of {} messages; it passes in {} s",
                over.limit,
                over.passes_in.as_secs() + 1
            )
        })?;
        let settings = served.persons().resolved(&user, &Address::Gateway);
        let address =
            served.instance.bridge.addressing().prompt_for(&request.to, &settings).map_err(|e| e.to_string())?;
        if !matches!(address, Address::Contact(_) | Address::Room(_)) {
            return Err(format!("{:?} is nobody whom a message could be sent to", request.to));
        }
        let to = router::jid(served.instance.bridge.addressing(), &served.instance.domain, &address)
            .ok_or_else(|| format!("{:?} cannot be written as a JID", request.to))?;
        let mut message = Message::chat(request.text);
        message.subject = request.subject;
        let key = DeliveryKey::new(fresh_id());
        let mut event = Outbound::new(key.clone(), user.clone(), address, Intent::Send(Box::new(message)));
        event.at = self.core.now_millis();
        if served.profile().mode == isthmus_bridge::Mode::Live {
            return self.core.send_live(&served, event).await;
        }
        let words = match &event.intent {
            Intent::Send(message) => message.body.len(),
            _ => 0,
        };
        if let Err(error) = self.core.has_room(&served, &user, words).await {
            let lang = isthmus_bridge::Lang::default();
            return Err(error
                .text
                .map_or_else(|| error.condition.to_owned(), |text| self.core.words(&served, &text, &lang)));
        }
        let sender = Sender::new(request.bridge, user.to_string(), to);
        self.core.outbox.accept(sender, event).await.map_err(|e| e.to_string())?;
        Ok(SendAnswer { id: Some(key.to_string()), state: "accepted".to_owned() })
    }

    async fn level(&self, level: &str) -> Result<(), String> {
        self.core.set_level(level)?;
        self.audit("", &format!("log-level {level}"), None).await
    }

    async fn rotate_key(&self) -> Result<Rotated, String> {
        let rotated = self.core.rotate_key().await?;
        self.audit("", &format!("rotate-key {}", rotated.id), None).await?;
        Ok(rotated)
    }

    async fn reload(&self) -> Result<(), String> {
        self.core.request_reload()?;
        self.audit("", "reload", None).await
    }

    async fn stop(&self) -> Result<(), String> {
        self.audit("", "stop", None).await?;
        self.core.outside.stop.cancel();
        Ok(())
    }
}

fn status(served: &Served, waiting: &BTreeMap<String, i64>) -> BridgeStatus {
    let state = served.link().state().borrow().clone();
    let name = served.instance.name.to_string();
    BridgeStatus {
        kind: served.kind.clone(),
        domain: served.instance.domain.to_string(),
        attached: matches!(state, LinkState::Attached { .. }),
        detail: match state {
            LinkState::Down { reason, .. } => Some(reason.to_string()),
            _ => None,
        },
        sessions: served.sessions().len() as u64,
        waiting: waiting.get(&name).copied().and_then(|n| u64::try_from(n).ok()).unwrap_or_default(),
        name,
    }
}

impl From<crate::outbox::QueueItem> for QueueRow {
    fn from(item: crate::outbox::QueueItem) -> Self {
        Self {
            id: item.key,
            bridge: item.bridge,
            user: item.user,
            to: vec![item.to],
            state: item.state.to_owned(),
            attempts: u32::try_from(item.tries).unwrap_or_default(),
            at: item.accepted,
            next: Some(item.due),
            reason: item.reason.map(|text| text.to_string()),
        }
    }
}
