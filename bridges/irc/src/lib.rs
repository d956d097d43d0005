//! The IRC bridge: rooms are channels, contacts are nicks, one connection for each user and network.
//!
//! | module | what |
//! |---|---|
//! | [`config`], [`settings`] | `bridges/irc.toml`; what users can set for a network or a room |
//! | [`address`] | networks, rooms, nicks ↔ local parts, as biboumi has them |
//! | [`network`] | what all users of one network share: persons, resolved addresses, what is known of its TLS |
//! | [`certificate`] | a user's own certificate, for logins |
//! | [`connect`], [`tls`] | ports in order, guarded addresses, TCP and TLS |
//! | [`session`] | one user on one network: the task, what comes, what goes |
//! | [`translate`] | pure: encodings, formatting, splitting |
//! | `proto` | lines, capabilities, SASL, modes, flood control, without I/O |
//! | [`commands`] | commands and forms |
//! | [`listen`] | the ident protocol |
//! | `biboumi` | what biboumi has kept, taken over |

mod address;
mod biboumi;
mod certificate;
mod commands;
mod config;
mod connect;
#[doc(hidden)]
pub mod fuzzing;
mod listen;
mod network;
mod proto;
mod session;
mod settings;
mod tls;
mod translate;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use isthmus_bridge::{
    Addressing, Bridge, BridgeError, Call, Command, ConfigError, Contacts, DeliveryError, Host, Import, Inbox, Kind,
    Lang, Profile, Section, SessionOf, Setting, Step, StoreError,
};
use tokio_util::sync::CancellationToken;

use crate::address::IrcAddressing;
use crate::config::Config;
use crate::listen::Idents;
use crate::network::Networks;

/// The kind `irc`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Irc;

impl Kind for Irc {
    fn name(&self) -> &str {
        "irc"
    }

    fn build(&self, config: Section<'_>) -> Result<Arc<dyn Bridge>, Vec<ConfigError>> {
        Ok(Arc::new(IrcBridge(Arc::new(Shared::new(config::read(config)?)))))
    }

    fn imports(&self) -> &[&dyn Import] {
        &[&biboumi::Biboumi]
    }
}

/// What all sessions of one IRC bridge share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) addressing: IrcAddressing,
    pub(crate) networks: Networks,
    /// Names by which servers may know our connections.
    pub(crate) idents: Arc<Idents>,
    profile: Profile,
    settings: Vec<Setting>,
    commands: Vec<Command>,
    texts: Vec<(Lang, &'static str)>,
}

impl Shared {
    fn new(config: Config) -> Self {
        Self {
            addressing: IrcAddressing::new(config.fixed_network.as_deref(), &config.name, &config.room_prefixes),
            networks: Networks::default(),
            idents: Arc::default(),
            profile: profile(&config),
            settings: settings::all(&config),
            commands: commands::all(config.fixed_network.is_some()),
            texts: vec![
                (Lang::new("en"), include_str!("../texts/en.txt")),
                (Lang::new("fr"), include_str!("../texts/fr.txt")),
            ],
            config,
        }
    }
}

/// Text of one message; what does not fit into the lines that the user allows is refused later, with the number of lines.
const MAX_TEXT: usize = 32 * 1024;

fn profile(config: &Config) -> Profile {
    let mut profile = Profile::live("irc", config.title.clone());
    profile.rooms = true;
    profile.networks = config.fixed_network.is_none();
    profile.contacts = Contacts::Watched;
    profile.max_text = MAX_TEXT;
    profile.typing = true;
    // What a server lacks of these each connection says (`Gateway::able`).
    profile.reactions = true;
    profile.retractions = true;
    profile.replies = true;
    profile.markers = true;
    profile.correction_prefix = "* ";
    // A join waits for the connection: three ports, a login, the lines of the network's services.
    profile.answer_within = Duration::from_secs(115);
    profile
}

struct IrcBridge(Arc<Shared>);

#[async_trait]
impl Bridge for IrcBridge {
    fn profile(&self) -> &Profile {
        &self.0.profile
    }

    fn addressing(&self) -> &dyn Addressing {
        &self.0.addressing
    }

    // Written out: an `async fn` would hold what it is given twice, in every session.
    fn session<'a, 'async_trait>(
        &'a self,
        of: SessionOf,
        inbox: Inbox,
        host: Host,
    ) -> Pin<Box<dyn Future<Output = Result<(), BridgeError>> + Send + 'async_trait>>
    where
        'a: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(session::run(self.0.clone(), of, inbox, host))
    }

    async fn serve(&self, _host: Host, stop: CancellationToken) -> Result<(), BridgeError> {
        match self.0.config.identd {
            Some(bind) => listen::serve(bind, self.0.idents.clone(), stop).await,
            None => {
                stop.cancelled().await;
                Ok(())
            }
        }
    }

    async fn kept(&self, host: &Host) -> Result<Vec<SessionOf>, StoreError> {
        session::kept(host).await
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
}
