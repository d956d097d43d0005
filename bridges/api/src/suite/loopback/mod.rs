//! Loopback: a network in memory that exercises every capability of the contract. Persons answer with what they were told, rooms reflect.
//!
//! | key of its section | meaning |
//! |---|---|
//! | `mode` | `live` (as it is left out) or `held`; held it has no rooms, and persons answer through `accept` |
//! | `networks` | names of its networks; `["loop"]` |
//! | `registration` | whether users must register (a number, then a code "texted" to it: see [`texted_code`]) |
//! | `contacts` | who may see persons' presence: `ask` them (as it is left out), `accept`, `refuse` |
//! | `ponders` | whether there is a command `ponder`, which never answers |
//! | `listed` | rooms in the directory of each network, beyond those that somebody is in |
//!
//! A room called `#crowd<n>` has n persons in it before anybody enters, `#locked` wants the password `open`, `#moved` sends to `#verona`; who enters
//! any as `odd` is called `o\u{FFFD}d` there, which no JID can spell. The raw lines `break` and `mend` cut the session's link and restore it, `lose`
//! cuts it for good; `moderate` lets only the voiced speak in the rooms of the session, `unmoderate` everybody, and `known` has the session learn of it
//! late; `read`: another program of the user's has read what was said; after `plain` a connection carries no reactions, corrections, retractions and
//! replies, after `uncorrected` all but corrections, after `rich` all of them again. Some persons misbehave, or do something else than answer, when
//! they get a message:
//!
//! | contact | what the session does |
//! |---|---|
//! | `panic` | panics |
//! | `hang` | never comes back, not even when it is told to stop |
//! | `flood` | emits 100,000 messages and takes no heed of [`Full`](crate::Full) |
//! | `drop-ticket` | drops the ticket before `starting` |
//! | `lose-ticket` | drops the ticket after `starting` |
//! | `slow` | answers after 10 s of tokio's clock |
//! | `refuse` | fails for good: [`NoSuchRecipient`](crate::Failure::NoSuchRecipient) |
//! | `busy` | fails for now: [`Unreachable`](crate::Failure::Unreachable), to be tried again |
//! | `later` | fails like `busy` at the first try, and then carries |
//! | `unsure` | fails uncertainly |
//! | `early` | reports delivery before the ticket is answered |
//! | `elsewhere` | says that the user said `elsewhere: …` to it by other means ([`Event::Sent`](crate::Event::Sent)) |
//! | `roster` | takes the words for the user's contact list: `ann=Ann Smith/Friends,Work; ben` |
//! | `shy` | lets nobody see its presence |
//! | `face` | shows a picture; told `none`, none |
//! | `file` | answers with a file of their own |
//! | `fetch` | follows the link of a file, and says how that went |
//! | `end` | carries the message, then the session returns `Ok` |
//! | `fail` | carries the message, then the session returns an error |

mod address;
mod people;
mod rooms;
mod session;
mod steps;
mod webhook;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use self::address::Names;
use self::rooms::Rooms;
pub use self::steps::texted_code;
use crate::address::{Addressing, NetworkId};
use crate::bridge::{Bridge, Contacts, Finding, Kind, Profile, Registration};
use crate::command::{Audience, Call, Command, Place, Step};
use crate::error::{BridgeError, DeliveryError};
use crate::host::{Host, SessionOf};
use crate::inbox::Inbox;
use crate::room::People;
use crate::section::{ConfigError, Section};
use crate::settings::{Scope, Setting, SettingKind};
use crate::text::{Lang, Text};

/// `kind = "loopback"`.
#[derive(Debug, Clone, Copy, Default)]
pub struct LoopbackKind;

impl Kind for LoopbackKind {
    fn name(&self) -> &str {
        "loopback"
    }

    fn build(&self, mut config: Section<'_>) -> Result<Arc<dyn Bridge>, Vec<ConfigError>> {
        let table = &mut config.table;
        let held = table.choice("mode", &["live", "held"]) == Some("held");
        let names = table.strings("networks").unwrap_or_else(|| vec!["loop".to_owned()]);
        let registration = table.bool("registration").unwrap_or(false);
        let ponders = table.bool("ponders").unwrap_or(false);
        let contacts = match table.choice("contacts", &["ask", "accept", "refuse"]) {
            Some("accept") => Contacts::AcceptAll,
            Some("refuse") => Contacts::Refuse(Text::key("no-presence")),
            _ => Contacts::Ask,
        };
        let listed = table.integer("listed", 0, 1_000_000).unwrap_or(0);
        if names.is_empty() {
            table.fault("networks", "expected at least one name");
        }
        let faults = config.table.finish();
        if !faults.is_empty() {
            return Err(faults);
        }
        let networks: Vec<_> = names.into_iter().map(NetworkId::from).collect();
        Ok(Arc::new(Loopback {
            profile: Profile { contacts, ..profile(held, registration) },
            settings: settings(),
            commands: commands(registration, ponders),
            people: networks.iter().map(|n| (n.clone(), People::default())).collect(),
            names: Names { networks },
            rooms: Rooms::default(),
            listed: u64::try_from(listed).unwrap_or(0),
            texts: [(Lang::new("en"), include_str!("en.txt")), (Lang::new("fr"), include_str!("fr.txt"))],
        }))
    }
}

/// The bridge. Made by [`LoopbackKind`].
struct Loopback {
    profile: Profile,
    settings: Vec<Setting>,
    commands: Vec<Command>,
    names: Names,
    people: HashMap<NetworkId, People>,
    rooms: Rooms,
    listed: u64,
    texts: [(Lang, &'static str); 2],
}

fn profile(held: bool, registration: bool) -> Profile {
    let base = if held { Profile::held("loopback", "Loopback") } else { Profile::live("loopback", "Loopback") };
    Profile {
        rooms: !held,
        networks: true,
        registration: if registration { Registration::Required } else { Registration::None },
        contacts: Contacts::Ask,
        contact_status: Some(Text::key("status")),
        max_recipients: 10,
        receipts: true,
        typing: true,
        markers: true,
        reactions: true,
        corrections: true,
        retractions: true,
        replies: true,
        files: true,
        idempotent: false,
        ..base
    }
}

fn settings() -> Vec<Setting> {
    use Scope::{Contact, Gateway, Network, Room};
    vec![
        Setting::new("nick", SettingKind::Line, &[Gateway, Network, Room], ""),
        Setting::new(
            "encoding",
            SettingKind::Choice(&[("utf-8", "UTF-8"), ("latin-1", "Latin 1")]),
            &[Gateway, Network, Room],
            "utf-8",
        ),
        Setting::new("signature", SettingKind::Bool, &[Gateway, Contact], "false"),
        Setting::new("record_history", SettingKind::Bool, &[Gateway, Network, Room], "true"),
        Setting::new("max_history_length", SettingKind::Number { min: 0, max: 1_000 }, &[Gateway, Network, Room], "20"),
        Setting::new(
            "corrections",
            SettingKind::Choice(&[
                ("line", "the new words"),
                ("substitute", "s/old/new/"),
                ("redact", "withdraw, say anew"),
            ]),
            &[Gateway, Network, Room, Contact],
            "line",
        ),
        Setting::new(
            "replies",
            SettingKind::Choice(&[
                ("quote", "after the words"),
                ("name", "after the nick"),
                ("plain", "the answer alone"),
            ]),
            &[Gateway, Network, Room, Contact],
            "quote",
        ),
        Setting::new("reactions", SettingKind::Bool, &[Gateway, Network, Room, Contact], "false"),
        Setting::new("password", SettingKind::Secret, &[Network], ""),
        Setting::new("limit", SettingKind::Number { min: 1, max: 1_000 }, &[Gateway], "60").admin_only(),
    ]
}

fn commands(registration: bool, ponders: bool) -> Vec<Command> {
    let mut all = vec![
        Command::new("who", &[Place::Room], Audience::Anyone),
        Command::new("survey", &[Place::Gateway, Place::Contact], Audience::Anyone),
    ];
    if registration {
        all.push(Command::new("register", &[Place::Gateway], Audience::Anyone));
    }
    if ponders {
        all.push(Command::new("ponder", &[Place::Gateway], Audience::Anyone));
    }
    all
}

#[async_trait]
impl Bridge for Loopback {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn addressing(&self) -> &dyn Addressing {
        &self.names
    }

    async fn session(&self, of: SessionOf, inbox: Inbox, host: Host) -> Result<(), BridgeError> {
        session::run(self, of, inbox, host).await
    }

    async fn webhook(&self, request: http::Request<Bytes>, host: &Host) -> http::Response<Bytes> {
        webhook::answer(self, request, host).await
    }

    fn settings(&self) -> &[Setting] {
        &self.settings
    }

    fn commands(&self) -> &[Command] {
        &self.commands
    }

    async fn step(&self, call: Call, host: &Host) -> Result<Step, DeliveryError> {
        steps::step(self, call, host).await
    }

    fn directory(&self) -> &[&'static str] {
        &["nick"]
    }

    fn texts(&self) -> &[(Lang, &str)] {
        &self.texts
    }

    async fn probe(&self) -> Vec<Finding> {
        vec![Finding::good("Loopback is where it always is.")]
    }
}

/// Emits, and waits while there is no room: what a session with a socket does by not reading it.
async fn emit(host: &Host, event: crate::Inbound) {
    while host.emit(event.clone()).is_err() {
        host.ready().await;
    }
}
