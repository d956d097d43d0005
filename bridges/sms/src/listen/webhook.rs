//! A provider's call: is it theirs, what does it say, and an answer only after all of it is committed.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use isthmus_bridge::Host;
use tracing::{debug, warn};
use url::Url;

use super::{incoming, reports};
use crate::Texts;
use crate::config::Provider;
use crate::provider::auth::{self, Called};
use crate::provider::hook::{self, Told};
use crate::provider::spec::Webhook;

/// Bytes of a call, at most: texts are short, media come as addresses.
const LARGEST: usize = 1 << 20;

/// Why an event of a call was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// The provider is to come again: the store is away.
    Later,
    /// Nobody has that number.
    Unknown,
    /// For good.
    Never,
    /// It cannot be read.
    Unreadable,
}

impl NotTaken {
    fn status(self) -> StatusCode {
        match self {
            Self::Later => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unknown => StatusCode::NOT_FOUND,
            Self::Never => StatusCode::FORBIDDEN,
            Self::Unreadable => StatusCode::BAD_REQUEST,
        }
    }
}

/// Answers a call.
pub(crate) async fn answer(texts: &Texts, request: Request<Bytes>, host: &Host) -> Response<Bytes> {
    let path = request.uri().path().to_owned();
    let own = format!("/hooks/{}/", host.name());
    let path = path.strip_prefix(&own).unwrap_or_else(|| path.trim_start_matches('/'));
    let mut steps = path.splitn(3, '/');
    let (name, step, rest) =
        (steps.next().unwrap_or_default(), steps.next().unwrap_or_default(), steps.next().unwrap_or_default());
    let provider = texts.config.providers.iter().find(|p| p.name == name);
    let Some((provider, hook)) = provider.and_then(|p| Some((p, p.spec.webhooks.iter().find(|h| h.path == step)?)))
    else {
        return plain(StatusCode::NOT_FOUND);
    };
    if !hook.methods.contains(request.method()) {
        return plain(StatusCode::METHOD_NOT_ALLOWED);
    }
    if request.body().len() > LARGEST {
        return plain(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let rest = unescaped(rest);
    if let Err(doubt) = believed(provider, hook, &request, &rest, host) {
        // One line, and nothing of what it said.
        warn!(provider = provider.name, webhook = hook.path, doubt, "a webhook was refused");
        return plain(StatusCode::FORBIDDEN);
    }
    let query = request.uri().query().unwrap_or_default();
    match hook::read(hook, &provider.fillings(), request.headers(), query, request.body()) {
        Ok(told) => take(texts, provider, hook, told, host).await,
        Err(fault) => {
            warn!(provider = provider.name, webhook = hook.path, fault, "a webhook cannot be read");
            plain(StatusCode::BAD_REQUEST)
        }
    }
}

fn believed(
    provider: &Provider,
    hook: &Webhook,
    request: &Request<Bytes>,
    rest: &str,
    host: &Host,
) -> Result<(), auth::Doubt> {
    let whole = host.public_url().and_then(|public| {
        let target = request.uri().path_and_query().map_or(request.uri().path(), |p| p.as_str());
        Url::parse(&format!("{}{target}", public.as_str().trim_end_matches('/'))).ok()
    });
    let called = Called {
        method: request.method(),
        url: whole.as_ref(),
        rest,
        query: request.uri().query().unwrap_or_default(),
        headers: request.headers(),
        body: request.body(),
        peer: auth::peer(request.extensions().get::<SocketAddr>().copied(), request.headers()),
    };
    auth::believed(&hook.auth, &provider.fillings(), &called, host.now())
}

async fn take(texts: &Texts, provider: &Provider, hook: &Webhook, told: Vec<Told>, host: &Host) -> Response<Bytes> {
    let mut worst: Option<NotTaken> = None;
    for one in told {
        let taken = match one {
            Told::Message(heard) => incoming::take(texts, provider, *heard, host).await,
            Told::Report(report) => reports::take(texts, provider, report, host).await,
        };
        // The call as a whole comes again; what was taken of it is then a copy.
        match (taken, worst) {
            (Err(NotTaken::Later), _) => worst = Some(NotTaken::Later),
            (Err(why), None) => worst = Some(why),
            _ => {}
        }
    }
    if let Some(why) = worst {
        debug!(provider = provider.name, webhook = hook.path, ?why, "a webhook was not taken");
        return plain(why.status());
    }
    let mut response = Response::new(Bytes::from(hook.reply.body.clone()));
    *response.status_mut() = hook.reply.status;
    if !hook.reply.body.is_empty() {
        response.headers_mut().insert(CONTENT_TYPE, hook.reply.media_type.clone());
    }
    response
}

fn plain(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// `%XX` of a path, undone.
fn unescaped(text: &str) -> String {
    let plus = text.replace('+', "%2B");
    let pairs = url::form_urlencoded::parse(plus.as_bytes()).next();
    pairs
        .map(|(name, value)| if value.is_empty() { name.into_owned() } else { format!("{name}={value}") })
        .unwrap_or_default()
}
