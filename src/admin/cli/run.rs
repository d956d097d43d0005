//! `isthmus run`: signals, service manager, logs around the gateway.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::output::Output;
use super::{Exit, Place, RunArgs, log};
use crate::admin::outside::{GatewayEnd, Outside, SetLevel};
use crate::config::{self, Config};
use crate::gateway;

pub(super) fn run(place: &Place, args: RunArgs, out: &mut Output) -> Exit {
    let config = match place.load_or_say(out) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let format = args.log_format.map_or(config.log.format, Into::into);
    let variable = config::environment().ok().and_then(|e| e.into_iter().find(|(k, _)| k == "ISTHMUS_LOG"));
    let level = args.log_level.or(variable.map(|(_, v)| v)).unwrap_or_else(|| config.log.level.clone());
    let level = match log::start(format, &level) {
        Ok(level) => level,
        Err(sentence) => return out.failed(sentence, Exit::Usage),
    };
    // One thread: a message passes through the link, the core and a session, and between threads each of these steps is a wake-up that
    // costs more than the step (docs/decisions/0028-one-thread.md). Files, mails and databases are worked on by threads of their own.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return out.failed(format!("the program cannot start its threads: {e}"), Exit::Fault),
    };
    let exit = runtime.block_on(gateway(place.clone(), config, level));
    // A blocking call that hangs (a name look-up) must not hold the process.
    runtime.shutdown_timeout(Duration::from_secs(5));
    exit
}

async fn gateway(place: Place, config: Config, level: SetLevel) -> Exit {
    let stop = CancellationToken::new();
    let outside = Outside {
        stop: stop.clone(),
        reload: Arc::new(Notify::new()),
        load: Arc::new(move || place.load()),
        level,
        clock: crate::storage::Clock::system(),
        ready: Arc::new(|| notify(&[NotifyState::Ready])),
    };
    let signals = match Signals::new() {
        Ok(signals) => signals,
        Err(e) => return end(&GatewayEnd::Failed(format!("signals cannot be received: {e}"))),
    };
    info!(version = crate::version(), bridges = config.bridges.len(), "isthmus starts");
    let watchdog = tokio::spawn(watchdog());
    let reload = Arc::clone(&outside.reload);
    let ended = tokio::select! {
        ended = gateway::run(config, outside) => Some(ended),
        () = signals.listen(stop, reload) => None,
    };
    watchdog.abort();
    notify(&[NotifyState::Stopping]);
    match ended {
        Some(Ok(())) => {
            info!("isthmus has stopped in order");
            Exit::Good
        }
        Some(Err(why)) => end(&why),
        None => {
            warn!("a second signal: isthmus stops at once; what is in its queues stays there");
            Exit::Fault
        }
    }
}

fn end(why: &GatewayEnd) -> Exit {
    error!("{why}");
    match why {
        GatewayEnd::Attach(_) => Exit::Attach,
        GatewayEnd::Claim(crate::admin::control::ClaimError::Running(_)) => Exit::Instance,
        GatewayEnd::Storage(_) => Exit::Storage,
        GatewayEnd::Claim(_) | GatewayEnd::Failed(_) => Exit::Fault,
    }
}

struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Returns at the second request to stop: the person does not want to wait.
    async fn listen(mut self, stop: CancellationToken, reload: Arc<Notify>) {
        loop {
            let stopping = tokio::select! {
                _ = self.interrupt.recv() => true,
                _ = self.terminate.recv() => true,
                _ = self.hang_up.recv() => false,
            };
            match stopping {
                false => reload.notify_one(),
                true if stop.is_cancelled() => return,
                true => {
                    info!("isthmus stops");
                    notify(&[NotifyState::Stopping]);
                    stop.cancel();
                }
            }
        }
    }
}

/// Tells systemd, in half the time that it asks for, that the runtime still turns (sd_watchdog_enabled(3)).
async fn watchdog() {
    let Some(within) = sd_notify::watchdog_enabled() else { return };
    let mut every = tokio::time::interval(within / 2);
    loop {
        every.tick().await;
        notify(&[NotifyState::Watchdog]);
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "the service manager could not be told");
    }
}
