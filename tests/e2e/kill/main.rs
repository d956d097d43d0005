//! SIGKILL at random points under two-way mail traffic, and nothing that was promised is lost.
//!
//! Two XMPP users write to mail contacts, a mail server hands mail for them over by LMTP, and meanwhile the gateway is killed, now while
//! it works, now while it starts; Prosody is killed too, ejabberd (whose offline store is written behind) is stopped in order.
//! `KILLS` says how often (20), `SEED` makes the same choices again, `KEEP` names a folder for what the gateway leaves when a promise is broken, `PROGRAM` another
//! build of the gateway. The books are in `ledger.rs`; what counts as a promise:
//!
//! - outbound: a message and a ping that the same client sends in one breath; the ping is answered by the gateway;
//! - inbound: 250 after the final dot, for each recipient.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a test")]

mod ledger;
mod traffic;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use isthmus_testkit::isthmus::{Isthmus, Setup};
use isthmus_testkit::ports::Port;
use isthmus_testkit::server::{Flavour, Options, XmppServer};
use isthmus_testkit::smtp::{Act, FakeSmtp, Features, Stage};
use ledger::Ledger;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;
use traffic::{Lmtp, User};

const USERS: [&str; 2] = ["alice@localhost", "bob@localhost"];
const DOMAIN: &str = "email.localhost";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_under_traffic_loses_nothing_with_prosody() {
    run(Flavour::Prosody, number("KILLS", 20)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_under_traffic_loses_nothing_with_ejabberd() {
    run(Flavour::Ejabberd, number("KILLS", 20)).await.unwrap();
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn run(flavour: Flavour, kills: u64) -> Result<()> {
    let seed = number("SEED", 0x5eed);
    let begun = Instant::now();
    let ledger: Arc<Mutex<Ledger>> = Arc::default();
    let mut world = World::start(flavour, seed).await?;
    let stop = CancellationToken::new();
    let mut users = Vec::new();
    for (index, jid) in USERS.iter().enumerate() {
        let user = User::register(&world.server, jid, seed + index as u64, ledger.clone()).await?;
        users.push(tokio::spawn(user.run(stop.clone())));
    }
    let lmtp = Lmtp::new(world.lmtp.address(), seed, 100, ledger.clone());
    let sender = tokio::spawn(lmtp.run(stop.clone()));
    for kill in 1..=kills {
        world.break_something().await.with_context(|| format!("after kill {kill} of {kills}, seed {seed}"))?;
    }
    world.mend().await?;
    stop.cancel();
    sender.await?;
    let mut rest = Vec::new();
    for user in users {
        rest.push(user.await??);
    }
    settle(&world, &mut rest, &ledger).await?;
    let summary = ledger.lock().unwrap().close();
    let server = if flavour == Flavour::Prosody { "Prosody" } else { "ejabberd" };
    println!(
        "{server}, seed {seed}: gateway killed {} times ({} while starting), {server} {} times, {} s\n{summary}",
        world.kills,
        world.early,
        world.server_kills,
        begun.elapsed().as_secs()
    );
    if !summary.broken.is_empty() {
        world.keep(&summary.broken)?;
    }
    let some: Vec<String> = summary.broken.iter().take(30).cloned().collect();
    assert!(summary.broken.is_empty(), "{} promises broken, among them:\n{}", summary.broken.len(), some.join("\n"));
    assert!(summary.accepted > kills as usize && summary.mails > kills as usize, "hardly any traffic");
    Ok(())
}

/// Waits until every promise is kept, or nothing more comes; looks into archives at the end.
async fn settle(world: &World, users: &mut [User], ledger: &Mutex<Ledger>) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(180);
    loop {
        for user in users.iter_mut() {
            user.listen(Duration::from_millis(300)).await?;
        }
        ledger.lock().unwrap().relayed(&world.relay.mails());
        if ledger.lock().unwrap().open() == 0 {
            break;
        }
        if Instant::now() > end {
            break;
        }
    }
    for user in users.iter_mut() {
        // Late copies and late notices would break a promise too.
        user.listen(Duration::from_secs(3)).await?;
        if ledger.lock().unwrap().missing_for(user.bare()) {
            user.read_archive().await?;
        }
    }
    ledger.lock().unwrap().relayed(&world.relay.mails());
    Ok(())
}

struct World {
    server: XmppServer,
    relay: FakeSmtp,
    lmtp: Port,
    gateway: Isthmus,
    dice: StdRng,
    kills: usize,
    early: usize,
    server_kills: usize,
}

impl World {
    async fn start(flavour: Flavour, seed: u64) -> Result<Self> {
        // ejabberd's archive in Mnesia needs the longer for a message the more are there (50 ms at 2,000). Its sessions then have many seconds of messages
        // in their own queues, and what stands there is lost when it is stopped, in order or not: a loss of its own, and not the one looked for here.
        let options = Options { archive: flavour == Flavour::Prosody, ..Options::default() };
        let server = XmppServer::start(flavour, options).await?;
        let relay = FakeSmtp::start(Features::default()).await?;
        relay.script(misbehave);
        let lmtp = Port::take()?;
        let keys = format!(
            "mail_domain = \"gw.test\"\n[access]\nmessages_per_minute = 1000000\nmessages_per_day = 1000000\n\
             total_messages_per_minute = 1000000\ntotal_messages_per_day = 1000000\n\
             [smtp]\nhost = \"127.0.0.1\"\nport = {}\n[listen]\nlmtp = \"{}\"\n\
             [limits]\nmessages_per_day = 1000000\nrecipients_per_day = 1000000\nbytes_per_day = 1000000000\ncontact_per_hour = 1000000\n",
            relay.address().port(),
            lmtp.address()
        );
        let program = std::env::var("PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_isthmus").to_owned());
        let setup = Setup::new(&program, server.component());
        let gateway = setup.bridge("email", "email", DOMAIN, &keys).start().await?;
        let dice = StdRng::seed_from_u64(seed);
        Ok(Self { server, relay, lmtp, gateway, dice, kills: 0, early: 0, server_kills: 0 })
    }

    /// Lets traffic run for a random time, then kills the gateway; now and then the server before or after it.
    async fn break_something(&mut self) -> Result<()> {
        self.pause(50, 1500).await;
        if self.dice.random_ratio(1, 6) {
            self.break_server().await?;
        }
        self.gateway.kill();
        self.kills += 1;
        self.pause(0, 300).await;
        self.gateway.spawn()?;
        if self.dice.random_ratio(1, 4) {
            self.pause(0, 400).await;
            self.gateway.kill();
            self.kills += 1;
            self.early += 1;
            self.gateway.spawn()?;
        }
        // Usually it attaches before the next kill; sometimes the next kill comes while it still delivers what was left.
        if self.dice.random_ratio(3, 4) {
            self.gateway.ready().await?;
        }
        Ok(())
    }

    async fn break_server(&mut self) -> Result<()> {
        self.server_kills += 1;
        match self.server.flavour() {
            Flavour::Prosody => self.server.kill(),
            Flavour::Ejabberd => self.server.stop().await?,
        }
        self.pause(0, 500).await;
        self.server.launch().await
    }

    /// Copies the gateway's and the server's folder (logs, database) to where `KEEP` says, with the list of what was broken.
    fn keep(&self, broken: &[String]) -> Result<()> {
        if let Some(to) = std::env::var_os("KEEP") {
            std::fs::create_dir_all(&to)?;
            let copy = std::process::Command::new("cp")
                .arg("-a")
                .args([self.gateway.folder(), self.server.folder()])
                .arg(&to)
                .status()?;
            anyhow::ensure!(copy.success(), "the folders cannot be kept");
            std::fs::write(std::path::Path::new(&to).join("broken"), broken.join("\n"))?;
        }
        Ok(())
    }

    async fn mend(&mut self) -> Result<()> {
        self.gateway.ready().await
    }

    async fn pause(&mut self, from: u64, to: u64) {
        let time = self.dice.random_range(from..=to);
        tokio::time::sleep(Duration::from_millis(time)).await;
    }
}

/// A relay as they are: mostly it takes mail, sometimes slowly; it refuses some for good, and some connections break after the dot. Which mail meets
/// what depends on its recipient, which the traffic chooses.
fn misbehave(stage: Stage<'_>) -> Act {
    match stage {
        Stage::To(to) if to.starts_with("refused") => Act::say("550 5.1.1 no such user"),
        Stage::Body(mail, _) if mail.to.iter().any(|to| to.0.starts_with("cut")) => Act::TakeAndCut,
        Stage::Body(mail, _) if mail.to.iter().any(|to| to.0.starts_with("slow")) => {
            Act::After(Duration::from_millis(80))
        }
        _ => Act::Take,
    }
}
