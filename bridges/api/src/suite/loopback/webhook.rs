//! `POST /hooks/<name>/in` brings a message, `POST /hooks/<name>/status` what became of one.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::Value;

use super::Loopback;
use crate::address::{Address, Addressing, BareJid, ContactId, NetworkId};
use crate::bridge::Mode;
use crate::error::Refused;
use crate::host::{Host, Late, MessageRef};
use crate::inbound::{Event, Inbound};
use crate::message::{ForeignMessageId, Message, OnceKey};

pub(super) async fn answer(net: &Loopback, request: Request<Bytes>, host: &Host) -> Response<Bytes> {
    let status = if request.method() != Method::POST {
        StatusCode::METHOD_NOT_ALLOWED
    } else {
        let path = request.uri().path().rsplit('/').next().unwrap_or_default();
        match (path, serde_json::from_slice::<Value>(request.body())) {
            (_, Err(_)) => StatusCode::BAD_REQUEST,
            ("in", Ok(body)) => message(net, &body, host).await,
            ("status", Ok(body)) => report(net, &body, host).await,
            _ => StatusCode::NOT_FOUND,
        }
    };
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

/// `{"own": "+1…", "peer": "…", "body": "…", "id": "…"}`, or `to` (a bare JID) in place of `own`. 200 only after the commit.
async fn message(net: &Loopback, body: &Value, host: &Host) -> StatusCode {
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    let (Some(peer), Some(words), Some(id)) = (text("peer"), text("body"), text("id")) else {
        return StatusCode::BAD_REQUEST;
    };
    let Ok(from @ Address::Contact(_)) = net.names.parse(Some(peer), None) else { return StatusCode::BAD_REQUEST };
    let Address::Contact(contact) = &from else { return StatusCode::BAD_REQUEST };
    let users = match (text("to"), text("own")) {
        (Some(user), _) => vec![BareJid::from(user)],
        (None, Some(own)) => match host.route(&ContactId::from(own), contact).await {
            Ok(users) => users,
            Err(_) => return StatusCode::SERVICE_UNAVAILABLE,
        },
        (None, None) => return StatusCode::BAD_REQUEST,
    };
    let events: Vec<_> = users.into_iter().map(|user| event(user, &from, words, id, host)).collect();
    match net.profile.mode {
        _ if events.is_empty() => StatusCode::NOT_FOUND,
        Mode::Held => worst(host.accept(events).await),
        Mode::Live => {
            let taken = events.into_iter().all(|event| host.emit(event).is_ok());
            if taken { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
        }
    }
}

fn event(user: BareJid, from: &Address, words: &str, id: &str, host: &Host) -> Inbound {
    let once = OnceKey::new(format!("{id} {from:?} {user} {words}"));
    let mut event = Inbound::new(user, from.clone(), Event::Message(Box::new(Message::chat(words))));
    event.at = host.now();
    event.id = Some(ForeignMessageId::from(id));
    event.once = Some(once);
    event
}

/// The provider sends it again unless every recipient's copy is committed or refused for good.
fn worst(results: Vec<Result<(), Refused>>) -> StatusCode {
    if results.iter().any(|r| matches!(r, Err(Refused::Later(_) | Refused::Full(_)))) {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    if results.iter().any(Result::is_ok) { StatusCode::OK } else { StatusCode::FORBIDDEN }
}

/// `{"network": "…", "id": "…", "state": "delivered" | "displayed"}`.
async fn report(net: &Loopback, body: &Value, host: &Host) -> StatusCode {
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    let what = match text("state") {
        Some("delivered") => Late::Delivered,
        Some("displayed") => Late::Displayed,
        _ => return StatusCode::BAD_REQUEST,
    };
    let Some(id) = text("id") else { return StatusCode::BAD_REQUEST };
    let network = text("network").map_or_else(|| net.names.network(&Address::Gateway), NetworkId::from);
    match host.outcome(MessageRef::foreign(network, ForeignMessageId::from(id)), None, what).await {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
