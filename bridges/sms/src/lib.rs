//! The SMS bridge: an XMPP user writes to a phone number as to any contact, and answers come back in the same chat.
//!
//! | module | what |
//! |---|---|
//! | [`config`] | `bridges/sms.toml` |
//! | [`address`] | numbers, short codes, names of senders; JIDs |
//! | [`translate`] | pure: alphabets, segments, folding, countries, numbers |
//! | [`provider`] | provider files: requests, answers, webhooks and their authentication |
//! | [`session`], [`outgoing`], [`carry`] | one user's messages; a text to a provider |
//! | [`listen`] | webhooks: texts, parts, media, opt-outs, reports |
//! | [`limits`] | what a user may send, and has sent |
//! | [`settings`], [`commands`], [`verbs`] | what users and administrators can set and do |
//! | [`state`] | what is kept |

mod address;
mod carry;
mod commands;
mod config;
mod limits;
mod listen;
mod outgoing;
mod provider;
mod session;
mod settings;
mod state;
mod translate;
mod verbs;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use isthmus_bridge::{
    Addressing, BareJid, Bridge, BridgeError, Call, Command, ConfigError, Contacts, DeliveryError, Finding, Host,
    Inbox, Kind, Lang, NetworkId, Profile, Registration, Section, SessionOf, Setting, Step, Taken, Text, Verb,
};
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::address::NumberAddressing;
use crate::config::Config;
use crate::limits::Meter;
use crate::provider::client::Http;
use crate::translate::number::Shortened;

/// The kind `sms`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sms;

impl Kind for Sms {
    fn name(&self) -> &str {
        "sms"
    }

    fn build(&self, config: Section<'_>) -> Result<Arc<dyn Bridge>, Vec<ConfigError>> {
        Ok(Arc::new(SmsBridge(Arc::new(Texts::new(config::read(config)?)))))
    }

    fn verbs(&self) -> &[Verb] {
        verbs::ALL
    }
}

/// What all sessions and webhooks of one bridge share.
#[derive(Debug)]
pub(crate) struct Texts {
    /// Its configuration.
    pub config: Config,
    /// Its one network.
    pub network: NetworkId,
    /// Its addresses.
    pub addressing: NumberAddressing,
    /// The way to the providers.
    pub http: Http,
    /// What is used of the limits.
    pub meter: Meter,
    /// What is declared.
    pub profile: Profile,
    settings: Vec<Setting>,
    commands: Vec<Command>,
    texts: [(Lang, &'static str); 2],
}

impl Texts {
    fn new(config: Config) -> Self {
        Self {
            network: NetworkId::from(config.name.as_str()),
            addressing: NumberAddressing::new(&config.name, config.plan.clone()),
            http: Http::new(config.timeout),
            meter: Meter::default(),
            profile: profile(&config),
            settings: settings::all(),
            commands: commands::all(),
            texts: [
                (Lang::new("en"), include_str!("../texts/en.txt")),
                (Lang::new("fr"), include_str!("../texts/fr.txt")),
            ],
            config,
        }
    }
}

fn profile(config: &Config) -> Profile {
    let mut profile = Profile::held("sms", config.title.clone());
    profile.registration = Registration::Required;
    profile.contacts = Contacts::AcceptAll;
    profile.contact_status = Some(Text::key("contact-status"));
    // The bound that people meet is the one of segments, which says how many it would be.
    profile.max_text = 64 * 1024;
    profile.max_recipients = config.limits.recipients;
    profile.receipts = config.providers.iter().any(|p| p.spec.webhooks.iter().any(|w| w.report.is_some()));
    profile.files = true;
    profile.reactions = true; // as texts, by setting
    profile.idempotent = !config.providers.is_empty() && config.providers.iter().all(|p| p.spec.answer.idempotent);
    profile.retry_for = config.max_age;
    profile.notice_after = Some(Duration::from_secs(3600).min(config.max_age / 2));
    // Pictures, the time in which recipients are begun with, and the last of them, with all its tries at all providers.
    let providers = u32::try_from(config.providers.len()).unwrap_or(u32::MAX).max(1);
    profile.answer_within = outgoing::PICTURES + outgoing::BEGIN + carry::longest(config.timeout) * providers + SLACK;
    profile.inbound_per_hour = config.limits.contact_per_hour;
    profile
}

/// What the store may take.
const SLACK: Duration = Duration::from_secs(60);

struct SmsBridge(Arc<Texts>);

#[async_trait]
impl Bridge for SmsBridge {
    fn profile(&self) -> &Profile {
        &self.0.profile
    }

    fn addressing(&self) -> &dyn Addressing {
        &self.0.addressing
    }

    async fn session(&self, of: SessionOf, inbox: Inbox, host: Host) -> Result<(), BridgeError> {
        session::run(self.0.clone(), of, inbox, host).await
    }

    /// Numbers that the configuration gives to users become theirs; parts of texts are watched.
    async fn serve(&self, host: Host, stop: CancellationToken) -> Result<(), BridgeError> {
        for own in &self.0.config.numbers {
            let Some(user) = &own.user else { continue };
            match host.claim(user, &own.number).await {
                Ok(()) => host.enrol(user).await?,
                Err(Taken::Store(error)) => return Err(error.into()),
                Err(_) => {
                    error!(number = %Shortened(own.number.as_str()), %user, "the number belongs or belonged to another user and is never re-assigned")
                }
            }
        }
        listen::parts::sweep(&self.0, &host, &stop).await;
        Ok(())
    }

    fn guest_in(&self) -> Vec<BareJid> {
        let mut rooms: Vec<BareJid> = self.0.config.numbers.iter().filter_map(|n| n.room.clone()).collect();
        rooms.sort();
        rooms.dedup();
        rooms
    }

    async fn webhook(&self, request: Request<Bytes>, host: &Host) -> Response<Bytes> {
        listen::webhook::answer(&self.0, request, host).await
    }

    fn settings(&self) -> &[Setting] {
        &self.0.settings
    }

    fn commands(&self) -> &[Command] {
        &self.0.commands
    }

    async fn step(&self, call: Call, host: &Host) -> Result<Step, DeliveryError> {
        commands::step(&self.0, call, host).await
    }

    fn texts(&self) -> &[(Lang, &str)] {
        &self.0.texts
    }

    async fn probe(&self) -> Vec<Finding> {
        self.0.probe().await
    }
}

impl Texts {
    /// Whether the providers' hosts answer at all; no text is sent.
    async fn probe(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for provider in &self.config.providers {
            let with = provider.fillings();
            let url = provider.spec.send.url.url(&with).and_then(|url| url::Url::parse(&url).ok());
            let Some((host, port)) = url.as_ref().and_then(|u| Some((u.host_str()?, u.port_or_known_default()?)))
            else {
                // An address that holds the recipient's number is known when there is one.
                findings.push(Finding::good(format!("{}: the provider file is in order", provider.name)));
                continue;
            };
            let reached =
                tokio::time::timeout(Duration::from_secs(10), tokio::net::TcpStream::connect((host, port))).await;
            findings.push(match reached {
                Ok(Ok(_)) => Finding::good(format!("{}: {host}:{port} answers", provider.name)),
                Ok(Err(e)) => Finding::fault(
                    format!("{}: {host}:{port}: {e}", provider.name),
                    "look at its url under [credentials], and at the network",
                ),
                Err(_) => Finding::fault(
                    format!("{}: {host}:{port} does not answer", provider.name),
                    "look at its url under [credentials], and at the network",
                ),
            });
        }
        if self.config.numbers.is_empty() && !self.config.claim {
            findings.push(Finding::warning(
                "there is no number that a text could come from",
                "add [[numbers]], or claim = true",
            ));
        }
        findings
    }
}
