//! The gateway behind its HTTP listener.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use isthmus_bridge::Media;
use tokio::net::TcpListener;
use tracing::{error, info, warn};

use super::core::{Core, Served};
use crate::config::Config;
use crate::http::{self, Behind, Certificate, Page, Readiness};
use crate::xmpp::link::LinkState;

/// How long to wait before an address that is taken is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// What stands behind the listener.
struct Front(Arc<Core>);

impl Core {
    /// Serves until the gateway stops, where a listener is configured. Messages are carried without it too, so an address that is taken is
    /// told to the operator and tried again.
    pub(super) fn serve_http(self: &Arc<Self>, config: &Config) {
        let Some(address) = config.http.listen else { return };
        let (core, stop) = (self.clone(), self.stop.clone());
        let certificate = config.http.tls.clone();
        self.tasks.spawn(async move {
            let listener = tokio::select! {
                listener = listen(address) => listener,
                () = stop.cancelled() => return,
            };
            // Read when the configuration was, too: it has gone bad since then, which is rare enough to end here.
            let certificate = match certificate.map(|(chain, key)| Certificate::open(&chain, &key)).transpose() {
                Ok(certificate) => certificate,
                Err(e) => return error!("http.certificate: {e}; nothing is served until the next start"),
            };
            http::serve(listener, certificate, Arc::new(Front(core)), stop).await;
        });
    }

    /// Counts what waits, for the figures, which are read without waiting for the store.
    pub(super) async fn count_waiting(&self) {
        match self.outbox.waiting().await {
            Ok(waiting) => self.waiting.store(Arc::new(waiting)),
            Err(e) => warn!(error = %e, "the queue could not be counted"),
        }
    }

    fn waits(&self, bridge: &str) -> i64 {
        self.waiting.load().iter().find(|(name, _)| name == bridge).map_or(0, |(_, count)| *count)
    }
}

async fn listen(address: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                info!(%address, "HTTP");
                return listener;
            }
            Err(e) => {
                error!("http.listen: cannot listen on {address}: {e}; choose another address, or \"off\"; trying again")
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn is_attached(served: &Served) -> bool {
    served.link().state().borrow().epoch().is_some()
}

#[async_trait]
impl Behind for Front {
    fn readiness(&self) -> Vec<Readiness> {
        let readiness = |served: &Arc<Served>| {
            let state = match served.link().state().borrow().clone() {
                LinkState::Attached { .. } => "attached".to_owned(),
                LinkState::Down { reason, .. } => reason.to_string(),
                _ => "connecting".to_owned(),
            };
            Readiness { bridge: served.instance.name.to_string(), ready: is_attached(served), state }
        };
        self.0.bridges().iter().map(readiness).collect()
    }

    fn figures(&self, page: &mut Page) {
        let bridges = self.0.bridges();
        page.gauge("isthmus_uptime_seconds", "Seconds since the start.").value(&[], self.0.started.elapsed().as_secs());
        let mut attached = page.gauge("isthmus_attached", "1 while the bridge is attached to the XMPP server.");
        for served in bridges.iter() {
            attached.value(&[("bridge", &served.instance.name)], u8::from(is_attached(served)));
        }
        let mut sessions = page.gauge("isthmus_sessions", "Sessions that run.");
        for served in bridges.iter() {
            sessions.value(&[("bridge", &served.instance.name)], served.sessions().len());
        }
        let mut waiting = page.gauge("isthmus_outbox_waiting", "Messages that wait to be sent.");
        for served in bridges.iter() {
            waiting.value(&[("bridge", &served.instance.name)], self.0.waits(&served.instance.name));
        }
        let mut delays = page.histogram(
            "isthmus_archive_commit_delay_seconds",
            "From the delivery of the oldest line of a commit to its end, of what was said in rooms. Promised: 1.",
        );
        let delay = |served: &Served| served.archive().delay();
        for served in bridges.iter() {
            let delay = delay(served);
            delays.steps(&[("bridge", &served.instance.name)], delay.steps(), delay.count(), delay.sum.as_secs_f64());
        }
        let mut longest =
            page.gauge("isthmus_archive_commit_delay_longest_seconds", "The longest of these delays since the start.");
        for served in bridges.iter() {
            longest.value(&[("bridge", &served.instance.name)], delay(served).longest.as_secs_f64());
        }
        let families = [
            ("isthmus_stanzas_received_total", "Stanzas from the XMPP server."),
            ("isthmus_stanzas_sent_total", "Stanzas to the XMPP server, without those of the durable inbox."),
            ("isthmus_stanzas_refused_total", "Stanzas answered with an error."),
            ("isthmus_stanzas_not_sent_total", "Stanzas that could not be written and that nobody keeps."),
        ];
        for (index, (name, help)) in families.into_iter().enumerate() {
            let mut family = page.counter(name, help);
            for served in bridges.iter() {
                family.value(&[("bridge", &served.instance.name)], served.counters.read()[index]);
            }
        }
    }

    async fn hook(&self, bridge: &str, request: ::http::Request<Bytes>) -> Option<::http::Response<Bytes>> {
        let served = self.0.bridge(bridge)?;
        Some(served.instance.bridge.webhook(request, served.host()).await)
    }

    async fn file(&self, token: &str) -> Option<(Bytes, Media)> {
        self.0.files.open(token, self.0.now()).await
    }
}
