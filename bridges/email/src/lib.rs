//! The email bridge: an XMPP user writes to a mail address as to any contact, and the person there sees ordinary mail.
//!
//! | module | what |
//! |---|---|
//! | [`config`] | `bridges/email.toml` |
//! | [`address`] | mail addresses, contacts, JIDs |
//! | [`settings`], [`commands`] | what users can set and do |
//! | [`state`] | conversations, spellings, kept and held mails, usage |
//! | [`session`], [`outgoing`], [`talk`], [`meter`] | one user: deliveries, conversations, limits, what comes back |
//! | [`translate`] | pure: `outbound` (message → RFC 5322), `inbound` (RFC 5322 → message) |
//! | [`smtp`] | hands mail to the relay, one envelope per recipient |
//! | [`dkim`] | signs |
//! | [`alias`] | which local parts a user may have |
//! | [`unsubscribe`] | leaves a list by one click |
//! | [`envelope`] | bounce addresses that nobody else can make |
//! | [`notice`] | mails of the gateway's own: DSNs |
//! | [`listen`], `proto` | takes mail by LMTP and SMTP |
//! | [`intake`] | whom a mail is for, what each of them gets |
//! | [`auth`] | who a mail is really from: SPF, DKIM, DMARC, ARC, Authentication-Results |
//! | [`report`] | reads DSNs (RFC 3464) and MDNs (RFC 8098) |

mod address;
mod alias;
mod auth;
mod auth_results;
mod commands;
mod config;
mod dkim;
mod envelope;
#[doc(hidden)]
pub mod fuzzing;
mod intake;
mod listen;
mod meter;
mod notice;
mod outgoing;
mod proto;
mod report;
mod session;
mod settings;
mod smtp;
mod state;
mod talk;
mod translate;
mod unsubscribe;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use isthmus_bridge::{
    Addressing, Bridge, BridgeError, Call, Command, ConfigError, Contacts, DeliveryError, Finding, Host, Inbox, Kind,
    Lang, Profile, Registration, Section, SessionOf, Setting, Step, Text,
};
use tokio_util::sync::CancellationToken;

use crate::address::MailAddressing;
use crate::config::Config;

/// The kind `email`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Email;

impl Kind for Email {
    fn name(&self) -> &str {
        "email"
    }

    fn build(&self, config: Section<'_>) -> Result<Arc<dyn Bridge>, Vec<ConfigError>> {
        Ok(Arc::new(EmailBridge(Arc::new(Mail::new(config::read(config)?)))))
    }
}

/// What all sessions and the listener of one email bridge share.
#[derive(Debug)]
pub(crate) struct Mail {
    /// Its configuration.
    pub config: Config,
    /// Its addresses.
    pub addressing: MailAddressing,
    /// The way to the relay.
    pub relay: smtp::Relay,
    profile: Profile,
    settings: Vec<Setting>,
    commands: Vec<Command>,
    texts: Vec<(Lang, &'static str)>,
}

impl Mail {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            addressing: MailAddressing::new(&config.name),
            relay: smtp::Relay::new(config.relay.clone()),
            profile: profile(&config),
            settings: settings::all(),
            commands: commands::all(),
            texts: vec![
                (Lang::new("en"), include_str!("../texts/en.txt")),
                (Lang::new("fr"), include_str!("../texts/fr.txt")),
            ],
            config,
        }
    }
}

impl Mail {
    /// The mail with the signatures of all keys before it.
    pub(crate) fn signed(&self, mail: Vec<u8>) -> Vec<u8> {
        let mut signed = Vec::with_capacity(mail.len() + 1024);
        for signer in &self.config.dkim {
            match signer.sign(&mail) {
                Ok(field) => signed.extend_from_slice(field.as_bytes()),
                Err(error) => tracing::error!(?signer, %error, "a mail goes out without this signature"),
            }
        }
        signed.extend_from_slice(&mail);
        signed
    }
}

/// For how long a mail is tried.
pub(crate) const RETRY_FOR: Duration = Duration::from_secs(2 * 24 * 3600);
/// Time for one try of a mail: more than a relay takes that uses up the time of every command (RFC 5321, 4.5.3.2). A try that has no answer then is
/// one of which nobody knows the end.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(30 * 60);
/// Text of one outbound mail; longer ones belong in a file.
const MAX_TEXT: usize = 256 * 1024;

fn profile(config: &Config) -> Profile {
    let mut profile = Profile::held("smtp", config.title.clone());
    profile.registration = Registration::Required;
    profile.contacts = Contacts::AcceptAll;
    profile.contact_status = Some(Text::key("contact-status"));
    profile.max_text = MAX_TEXT;
    profile.max_recipients = config.limits.recipients;
    profile.join_setting = Some(settings::JOIN);
    profile.markers = true;
    profile.correction_prefix = "Correction: ";
    profile.replies = true;
    profile.files = true;
    profile.retry_for = RETRY_FOR;
    profile.notice_after = Some(Duration::from_secs(3600));
    profile.answer_within = ANSWER_WITHIN;
    profile.inbound_per_hour = config.limits.contact_per_hour;
    profile
}

struct EmailBridge(Arc<Mail>);

#[async_trait]
impl Bridge for EmailBridge {
    fn profile(&self) -> &Profile {
        &self.0.profile
    }

    fn addressing(&self) -> &dyn Addressing {
        &self.0.addressing
    }

    async fn session(&self, of: SessionOf, inbox: Inbox, host: Host) -> Result<(), BridgeError> {
        session::run(self.0.clone(), of, inbox, host).await
    }

    async fn serve(&self, host: Host, stop: CancellationToken) -> Result<(), BridgeError> {
        listen::serve(self.0.clone(), host, stop).await
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
        let mut findings = self.0.relay.probe().await;
        findings.extend(listen::probe(&self.0).await);
        findings
    }
}
