//! What a user has sent today, against the daily limits. Reserved before sending, given back where nothing was sent.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use isthmus_bridge::{BareJid, DeliveryError, Failure, Gateway, Text};

use crate::config::Limits;
use crate::session::store_away;
use crate::state::{self, Usage};

/// One user's counter. A user has one session, so there is one counter.
#[derive(Debug)]
pub(crate) struct Meter {
    user: BareJid,
    limits: Limits,
    /// Day and what was used on it; `None` until it is first asked.
    today: Mutex<Option<(u64, Usage)>>,
}

impl Meter {
    /// Of this user.
    pub(crate) fn new(user: BareJid, limits: Limits) -> Self {
        Self { user, limits, today: Mutex::new(None) }
    }

    /// Takes a mail of this many envelopes into account; over a limit nothing is taken, and the sender hears when it passes.
    pub(crate) async fn take(&self, host: &dyn Gateway, recipients: u64, size: u64) -> Result<(), DeliveryError> {
        let day = state::day(host.now());
        if !self.knows(day) {
            let used = state::usage(host, &self.user).await.map_err(store_away)?;
            let mut today = self.lock();
            if today.is_none_or(|(d, _)| d != day) {
                *today = Some((day, used));
            }
        }
        let more = Usage { messages: 1, recipients, bytes: size.saturating_mul(recipients) };
        let next = {
            let mut today = self.lock();
            let (_, used) = today.get_or_insert((day, Usage::default()));
            let next = used.plus(&more);
            let limits = &self.limits;
            let over = [
                (next.messages, limits.messages_per_day, "mails"),
                (next.recipients, limits.recipients_per_day, "recipients"),
                (next.bytes / 1024, limits.bytes_per_day / 1024, "KiB"),
            ];
            if let Some((_, limit, what)) = over.into_iter().find(|(used, limit, _)| used > limit) {
                let (hours, minutes) = until_midnight(host.now());
                let text = Text::key("over-daily-limit").with("limit", limit).with("what", what);
                let text = text.with("hours", hours).with("minutes", minutes);
                return Err(DeliveryError::new(Failure::OverQuota, text));
            }
            *used = next;
            next
        };
        host.store(vec![state::used(host.now(), &self.user, &next)]).await.map_err(store_away)
    }

    /// Nothing was sent after all.
    pub(crate) async fn give_back(&self, host: &dyn Gateway, recipients: u64, size: u64) {
        let less = Usage { messages: 1, recipients, bytes: size.saturating_mul(recipients) };
        let next = {
            let mut today = self.lock();
            let Some((_, used)) = today.as_mut() else { return };
            *used = used.minus(&less);
            *used
        };
        // Lost, it counts against the user until midnight; nothing worse.
        let _ = host.store(vec![state::used(host.now(), &self.user, &next)]).await;
    }

    fn knows(&self, day: u64) -> bool {
        self.lock().is_some_and(|(d, _)| d == day)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(u64, Usage)>> {
        self.today.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hours and minutes until the limits start anew (midnight UTC).
pub(crate) fn until_midnight(now: SystemTime) -> (u64, u64) {
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() % 86_400;
    let left = 86_400 - seconds;
    (left / 3600, left % 3600 / 60)
}
