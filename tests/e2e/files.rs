//! Uploading to Prosody's http_file_share and to ejabberd's mod_http_upload.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use isthmus::files::{IqError, IqSender, NotUploaded, Uploader};
use isthmus::xmpp::link::{
    BadStanza, Endpoint, Kind, Lane, LinkConfig, LinkHandle, LinkState, Permit, Receive, Stanza, start,
};
use isthmus_bridge::Media;
use isthmus_testkit::server::{Flavour, Options, XmppServer, secret};
use minidom::Element;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

const ECHO: &str = "echo.localhost";

/// Hands answers to who asked.
#[derive(Default)]
struct Answers(Mutex<HashMap<String, oneshot::Sender<Stanza>>>);

impl Receive for Answers {
    fn on_stanza(&self, stanza: Stanza, _permit: Permit) {
        let id = stanza.id().unwrap_or_default().to_owned();
        if stanza.kind() == Kind::Iq
            && let Some(waiting) = self.0.lock().expect("no panic").remove(&id)
        {
            let _ = waiting.send(stanza);
        }
    }

    fn on_malformed(&self, _stanza: BadStanza) {}

    fn on_state(&self, _state: &LinkState) {}
}

struct Asker {
    answers: Arc<Answers>,
    handle: LinkHandle,
}

#[async_trait]
impl IqSender for Asker {
    async fn iq(&self, to: &str, payload: Element) -> Result<Element, IqError> {
        let id = format!("q{}", self.answers.0.lock().expect("no panic").len());
        let (sender, answer) = oneshot::channel();
        self.answers.0.lock().expect("no panic").insert(id.clone(), sender);
        self.handle
            .write(Lane::GATEWAY, |w| {
                w.iq(ECHO, to, "get", &id).element(&payload);
            })
            .map_err(|_| IqError::Detached)?;
        let answer = tokio::time::timeout(Duration::from_secs(30), answer).await.map_err(|_| IqError::TimedOut)?;
        let answer = answer.map_err(|_| IqError::Detached)?;
        if answer.type_() == Some("error") {
            return Err(IqError::Refused { condition: "error".to_owned(), text: None });
        }
        answer.children().next().and_then(|child| child.element().ok()).ok_or(IqError::Empty)
    }
}

async fn uploads(flavour: Flavour) -> Result<()> {
    let server = XmppServer::start(flavour, Options::default()).await?;
    let address = server.component();
    let endpoint = Endpoint::Tcp { host: address.ip().to_string(), port: address.port() };
    let answers = Arc::new(Answers::default());
    let stop = CancellationToken::new();
    let (handle, life) = start(LinkConfig::new(ECHO, endpoint, secret(ECHO).into()), answers.clone(), stop.clone());
    let life = tokio::spawn(life);
    let mut state = handle.state();
    tokio::time::timeout(Duration::from_secs(60), state.wait_for(|state| state.epoch().is_some())).await??;
    let asker = Asker { answers, handle };

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let found = Uploader::new(None, &["localhost".to_owned()], &tls).map_err(anyhow::Error::msg)?;
    let body = Bytes::from(vec![b'x'; 100_000]);
    let media = Media::new(Some("ein Bild ü.png".to_owned()), "image/png", None);
    let url = found.upload(&asker, body.clone(), &media).await?;
    let client = reqwest::Client::builder().tls_backend_preconfigured(tls.clone()).no_proxy().build()?;
    let answer = client.get(url.clone()).send().await?;
    ensure!(answer.status() == 200, "{url}: {}", answer.status());
    ensure!(answer.bytes().await? == body, "{url} holds something else");

    let too_large = found.upload(&asker, Bytes::from(vec![0; (16 << 20) + 1]), &media).await;
    ensure!(
        matches!(too_large, Err(NotUploaded::TooLarge { limit: 16_777_216, .. } | NotUploaded::NoSlot { .. })),
        "{too_large:?}"
    );
    let named = Uploader::new(Some(server.upload_domain()), &[], &tls).map_err(anyhow::Error::msg)?;
    named.probe(&asker).await.context("a slot from the service named in the configuration")?;
    let wrong = Uploader::new(Some("localhost".to_owned()), &[], &tls).map_err(anyhow::Error::msg)?;
    let refused = wrong.upload(&asker, body, &media).await;
    ensure!(matches!(refused, Err(NotUploaded::NoSlot { .. })), "{refused:?}");
    stop.cancel();
    assert_eq!(life.await?, isthmus::xmpp::link::LinkEnd::Stopped);
    Ok(())
}

#[tokio::test]
async fn a_file_is_uploaded_to_prosody_and_read_back() -> Result<()> {
    uploads(Flavour::Prosody).await
}

#[tokio::test]
async fn a_file_is_uploaded_to_ejabberd_and_read_back() -> Result<()> {
    uploads(Flavour::Ejabberd).await
}
