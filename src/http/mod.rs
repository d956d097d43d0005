//! What the gateway says over HTTP: whether it lives and is ready, its figures, the bridges' webhooks, files.
//!
//! | path | what |
//! |---|---|
//! | `/live` | 200 while the process answers |
//! | `/ready` | 200 when every bridge is attached, else 503; one line for each |
//! | `/metrics` | Prometheus text format |
//! | `/hooks/<bridge>/…` | handed to the bridge as it came, with who called (`SocketAddr`) among its extensions |
//! | `/files/<token>/<name>` | a kept file, while its link is good |
//!
//! It listens on loopback by default, behind a proxy that speaks TLS and passes on `/hooks/` and `/files/` only, or with a certificate of its own.

mod file;
mod listen;
pub mod metrics;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Router, http};
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use isthmus_bridge::Media;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::debug;

pub use listen::Certificate;
pub use metrics::Page;

/// Largest body of a webhook, in bytes.
const LARGEST_HOOK: usize = 4 << 20;
/// How long a webhook's body may take to arrive, and a bridge to answer.
const PATIENCE: Duration = Duration::from_secs(30);
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Whether one bridge can do its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// The bridge's name in the configuration.
    pub bridge: String,
    /// It is attached and works.
    pub ready: bool,
    /// In what state it is, in words for the operator, without secrets.
    pub state: String,
}

/// What stands behind the listener. Implemented by the gateway.
#[async_trait]
pub trait Behind: Send + Sync + 'static {
    /// Each bridge's state.
    fn readiness(&self) -> Vec<Readiness>;

    /// Writes all figures.
    fn figures(&self, page: &mut Page);

    /// A request under `/hooks/<bridge>/`, its path unchanged; none when there is no such bridge.
    async fn hook(&self, bridge: &str, request: http::Request<Bytes>) -> Option<http::Response<Bytes>>;

    /// The file that a token stands for, while its link is good.
    async fn file(&self, token: &str) -> Option<(Bytes, Media)>;
}

/// Serves until `stop`, by TLS where there is a certificate; requests under way are finished.
pub async fn serve(
    listener: TcpListener,
    certificate: Option<Certificate>,
    behind: Arc<dyn Behind>,
    stop: CancellationToken,
) {
    listen::run(listener, certificate, router(behind), stop).await;
}

/// The routes, for [`serve`] and for tests.
pub fn router(behind: Arc<dyn Behind>) -> Router {
    Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(figures))
        .route("/hooks/{bridge}", any(hook))
        .route("/hooks/{bridge}/", any(hook))
        .route("/hooks/{bridge}/{*rest}", any(hook))
        .route("/files/{token}/{name}", get(file))
        .with_state(behind)
}

async fn live() -> Response {
    ([(CONTENT_TYPE, TEXT)], "alive\n").into_response()
}

async fn ready(State(behind): State<Arc<dyn Behind>>) -> Response {
    let bridges = behind.readiness();
    let status = if bridges.iter().all(|one| one.ready) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let lines = bridges.iter().map(|one| format!("{}: {}\n", one.bridge, one.state.escape_debug()));
    (status, [(CONTENT_TYPE, TEXT), (CACHE_CONTROL, HeaderValue::from_static("no-store"))], lines.collect::<String>())
        .into_response()
}

async fn figures(State(behind): State<Arc<dyn Behind>>) -> Response {
    let mut page = Page::default();
    behind.figures(&mut page);
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(CONTENT_TYPE, content_type)], page.into_text()).into_response()
}

/// Path parameters of a hook; the rest is left where it stands, in the request's own path.
#[derive(serde::Deserialize)]
struct Hook {
    bridge: String,
}

async fn hook(State(behind): State<Arc<dyn Behind>>, Path(Hook { bridge }): Path<Hook>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    if let Some(ConnectInfo(peer)) = parts.extensions.get::<ConnectInfo<SocketAddr>>().copied() {
        parts.extensions.insert(peer);
    }
    let body = match tokio::time::timeout(PATIENCE, to_bytes(body, LARGEST_HOOK)).await {
        Ok(Ok(body)) => body,
        // The body was too large or broke off.
        Ok(Err(error)) => {
            debug!(bridge, %error, "a webhook's body was not taken");
            return StatusCode::PAYLOAD_TOO_LARGE.into_response();
        }
        Err(_) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    let request = http::Request::from_parts(parts, body);
    match tokio::time::timeout(PATIENCE, behind.hook(&bridge, request)).await {
        Ok(Some(response)) => response.map(Body::from),
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(_) => StatusCode::GATEWAY_TIMEOUT.into_response(),
    }
}

async fn file(
    State(behind): State<Arc<dyn Behind>>,
    Path((token, name)): Path<(String, String)>,
    request: Request,
) -> Response {
    if !matches!(*request.method(), http::Method::GET | http::Method::HEAD) {
        return (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET, HEAD")]).into_response();
    }
    match behind.file(&token).await {
        Some((body, media)) => file::response(body, &media, &name),
        // Nothing about why: a link that never was and one whose time is over look the same.
        None => (StatusCode::NOT_FOUND, [(CONTENT_TYPE, TEXT)], "no such file\n").into_response(),
    }
}

#[cfg(test)]
mod tests;
