//! The link against real Prosody and real ejabberd.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use isthmus::xmpp::link::{
    BadStanza, Endpoint, Lane, LinkConfig, LinkEnd, LinkError, LinkHandle, LinkState, Permit, Receive, Refusal,
    Rendered, Stanza, start,
};
use isthmus_testkit::server::{Flavour, Options, XmppServer, secret};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const ECHO: &str = "echo.localhost";
const MAIL: &str = "email.localhost";
/// Who waits this long waits for ever.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
enum Event {
    Stanza(Stanza),
    Malformed(BadStanza),
    State(LinkState),
}

struct Recorder(mpsc::UnboundedSender<Event>);

impl Receive for Recorder {
    fn on_stanza(&self, stanza: Stanza, _permit: Permit) {
        let _ = self.0.send(Event::Stanza(stanza));
    }

    fn on_malformed(&self, stanza: BadStanza) {
        let _ = self.0.send(Event::Malformed(stanza));
    }

    fn on_state(&self, state: &LinkState) {
        let _ = self.0.send(Event::State(state.clone()));
    }
}

pub(crate) struct Link {
    pub(crate) handle: LinkHandle,
    stop: CancellationToken,
    life: JoinHandle<LinkEnd>,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Link {
    pub(crate) fn start(server: &XmppServer, domain: &str, secret: &str) -> Self {
        let address = server.component();
        let endpoint = Endpoint::Tcp { host: address.ip().to_string(), port: address.port() };
        let mut config = LinkConfig::new(domain, endpoint, secret.into());
        config.backoff.first = Duration::from_millis(50);
        config.backoff.longest = Duration::from_secs(1);
        let (sender, events) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let (handle, life) = start(config, Arc::new(Recorder(sender)), stop.clone());
        Self { handle, stop, life: tokio::spawn(life), events }
    }

    async fn event(&mut self) -> Result<Event> {
        let event = tokio::time::timeout(PATIENCE, self.events.recv()).await.context("no event in time")?;
        event.context("the link is gone")
    }

    pub(crate) async fn attached(&mut self) -> Result<u64> {
        loop {
            if let Event::State(LinkState::Attached { epoch }) = self.event().await? {
                return Ok(epoch);
            }
        }
    }

    async fn down(&mut self) -> Result<LinkError> {
        loop {
            if let Event::State(LinkState::Down { reason, .. }) = self.event().await? {
                return Ok(reason);
            }
        }
    }

    async fn stanza(&mut self) -> Result<Stanza> {
        loop {
            match self.event().await? {
                Event::Stanza(stanza) => return Ok(stanza),
                Event::State(LinkState::Down { reason, .. }) => bail!("the stream ended: {reason}"),
                _ => {}
            }
        }
    }

    async fn malformed(&mut self) -> Result<BadStanza> {
        loop {
            if let Event::Malformed(stanza) = self.event().await? {
                return Ok(stanza);
            }
        }
    }

    async fn batch(&self, epoch: u64, count: usize, to: &str) -> Result<()> {
        let domain = self.handle.domain();
        let stanzas: Vec<_> = (0..count)
            .map(|number| format!("<message from='x@{domain}' to='{to}' id='{number}'><body>hello</body></message>"))
            .map(|xml| Rendered::parse(xml.as_bytes()))
            .collect::<Result<_, _>>()?;
        tokio::time::timeout(PATIENCE, self.handle.batch(epoch, &stanzas)).await.context("no barrier in time")??;
        Ok(())
    }

    /// Ends it in order.
    pub(crate) async fn stopped(self) -> Result<()> {
        self.stop.cancel();
        self.end().await.map(drop)
    }

    async fn end(self) -> Result<LinkEnd> {
        Ok(tokio::time::timeout(PATIENCE, self.life).await.context("the link does not end")??)
    }
}

async fn refused_at_start(flavour: Flavour) -> Result<()> {
    let server = XmppServer::start(flavour, Options::default()).await?;
    let port = server.component().port().to_string();
    let link = Link::start(&server, ECHO, "wrong");
    let LinkEnd::Fatal(reason @ LinkError::NotAuthorized { .. }) = link.end().await? else {
        bail!("a wrong secret must end the link");
    };
    ensure!(reason.to_string().contains(&port) && reason.to_string().contains(ECHO), "{reason}");
    let link = Link::start(&server, "nobody.localhost", "any");
    let LinkEnd::Fatal(reason) = link.end().await? else { bail!("an unknown host must end the link") };
    match flavour {
        Flavour::Prosody => ensure!(matches!(reason, LinkError::HostUnknown { .. }), "{reason}"),
        // It says the same as of a wrong secret, so our text names both.
        Flavour::Ejabberd => ensure!(reason.to_string().contains("does not know the host"), "{reason}"),
    }
    ensure!(reason.to_string().contains("nobody.localhost"), "{reason}");
    Ok(())
}

#[tokio::test]
async fn prosody_refuses_a_wrong_secret_and_an_unknown_host_and_we_say_which() -> Result<()> {
    refused_at_start(Flavour::Prosody).await
}

#[tokio::test]
async fn ejabberd_refuses_a_wrong_secret_and_an_unknown_host_and_we_say_which() -> Result<()> {
    refused_at_start(Flavour::Ejabberd).await
}

#[tokio::test]
async fn a_second_component_on_prosody_meets_a_conflict_and_takes_over_when_the_first_goes() -> Result<()> {
    let server = XmppServer::prosody().await?;
    let mut first = Link::start(&server, ECHO, &secret(ECHO));
    first.attached().await?;
    let mut second = Link::start(&server, ECHO, &secret(ECHO));
    let reason = second.down().await?;
    assert_eq!(reason.to_string(), "another component is attached as echo.localhost");
    first.batch(1, 1, "alice@localhost").await.context("the first is not disturbed")?;
    first.stop.cancel();
    assert_eq!(first.end().await?, LinkEnd::Stopped);
    let epoch = second.attached().await?;
    second.batch(epoch, 1, "alice@localhost").await
}

async fn killed_and_restarted(flavour: Flavour) -> Result<()> {
    let mut server = XmppServer::start(flavour, Options::default()).await?;
    let mut link = Link::start(&server, ECHO, &secret(ECHO));
    assert_eq!(link.attached().await?, 1);
    link.batch(1, 500, "alice@localhost").await?;
    server.kill();
    let reason = link.down().await?;
    ensure!(!reason.needs_operator(), "{reason}");
    server.launch().await?;
    assert_eq!(link.attached().await?, 2);
    link.batch(2, 500, "alice@localhost").await?;
    server.stop().await?;
    link.down().await?;
    server.launch().await?;
    let epoch = link.attached().await?;
    link.batch(epoch, 1, "alice@localhost").await?;
    link.stop.cancel();
    assert_eq!(link.end().await?, LinkEnd::Stopped);
    Ok(())
}

#[tokio::test]
async fn the_link_comes_back_when_prosody_was_killed_or_stopped() -> Result<()> {
    killed_and_restarted(Flavour::Prosody).await
}

#[tokio::test]
async fn the_link_comes_back_when_ejabberd_was_killed_or_stopped() -> Result<()> {
    killed_and_restarted(Flavour::Ejabberd).await
}

/// Another component of the same server plays the remote user: a component may send what a client may not.
async fn nobody_knocks_it_over(flavour: Flavour) -> Result<()> {
    let server = XmppServer::start(flavour, Options::default()).await?;
    let mut link = Link::start(&server, ECHO, &secret(ECHO));
    let mut foe = Link::start(&server, MAIL, &secret(MAIL));
    link.attached().await?;
    foe.attached().await?;
    let attribute = "x".repeat(9 << 10);
    let nested = format!("{}{}", "<a xmlns='u'>".repeat(98), "</a>".repeat(98));
    let from_to = "from='foe@email.localhost/r' to='x@echo.localhost' id='1'";
    let bad = [
        format!("<presence {from_to} type='bogus'/>"),
        format!("<presence {from_to}><show>bored</show></presence>"),
        format!("<iq {from_to} type='get'/>"),
        format!("<iq {from_to} type='get'><a xmlns='u'/><b xmlns='u'/></iq>"),
    ];
    let odd = [
        format!("<message {from_to}><x xmlns='u' a='{attribute}'/><body>good</body></message>"),
        format!("<message {from_to}>{nested}<body>good</body></message>"),
        format!(
            "<message {from_to}><body>a&#x9;b ]]&gt; <![CDATA[<!-- no comment -->]]></body><p:q xmlns:p='u' p:r='s'/></message>"
        ),
    ];
    for stanza in bad.iter().chain(&odd) {
        foe.handle.send_raw(Lane::GATEWAY, stanza.as_bytes()).with_context(|| stanza[..60].to_owned())?;
        foe.handle.send_raw(
            Lane::GATEWAY,
            b"<message from='foe@email.localhost/r' to='x@echo.localhost' id='after'><body>after</body></message>",
        )?;
        loop {
            let stanza = link.stanza().await.with_context(|| format!("after {stanza:.90}"))?;
            if stanza.id() == Some("after") {
                break;
            }
            stanza.element()?;
        }
    }
    ensure!(link.handle.state().borrow().epoch() == Some(1), "the link lost its stream");
    ensure!(foe.handle.state().borrow().epoch() == Some(1), "the sender lost its stream");
    // What the server let through was answered.
    foe.handle.send_raw(Lane::GATEWAY, bad[0].as_bytes())?;
    match flavour {
        Flavour::Prosody => {
            assert_eq!(link.malformed().await?.refusal, Refusal::BadRequest);
            while foe.stanza().await?.type_() != Some("error") {}
        }
        // ejabberd reads stanzas typed and lets none of these through.
        Flavour::Ejabberd => {}
    }
    link.batch(1, 1, "alice@localhost").await
}

#[tokio::test]
async fn nobody_knocks_the_link_over_on_prosody() -> Result<()> {
    nobody_knocks_it_over(Flavour::Prosody).await
}

#[tokio::test]
async fn nobody_knocks_the_link_over_on_ejabberd() -> Result<()> {
    nobody_knocks_it_over(Flavour::Ejabberd).await
}

#[tokio::test]
async fn a_frozen_server_is_noticed_by_its_silence() -> Result<()> {
    let server = XmppServer::prosody().await?;
    let address = server.component();
    let endpoint = Endpoint::Tcp { host: address.ip().to_string(), port: address.port() };
    let mut config = LinkConfig::new(ECHO, endpoint, secret(ECHO).into());
    config.keepalive.idle = Duration::from_millis(200);
    config.keepalive.patience = Duration::from_secs(8);
    config.backoff.first = Duration::from_millis(50);
    config.keepalive.attach = Duration::from_secs(5);
    let (sender, events) = mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let (handle, life) = start(config, Arc::new(Recorder(sender)), stop.clone());
    let mut link = Link { handle, stop, life: tokio::spawn(life), events };
    link.attached().await?;
    // While it lives, its pings keep the stream up beyond idle and patience together.
    tokio::time::sleep(Duration::from_secs(10)).await;
    ensure!(link.handle.state().borrow().epoch() == Some(1), "a living server was given up");
    server.freeze()?;
    let reason = link.down().await?;
    server.thaw()?;
    ensure!(matches!(reason, LinkError::Silent { .. }), "{reason}");
    link.attached().await?;
    Ok(())
}
