//! Connections that stay up without any client, and are needed by nobody for longer than the administrator allows (`idle_after`).
//!
//! Users whose rooms are not kept up are out with their last client: the core sees to that. So what is measured here is how long none of the user's
//! programs has been in a room of the connection, or wanted anything of it. The beginning of that time is kept with the rooms, so that a restart of
//! the gateway does not start it anew.

use std::time::{Duration, SystemTime};

use isthmus_bridge::{DeliveryError, Failure, Text};

use super::Session;

impl Session {
    /// One of the user's programs wants something.
    pub(super) fn is_heard(&mut self) {
        if let Some(rare) = &mut self.rare
            && rare.alone.take().is_some()
        {
            self.save_rooms();
        }
    }

    /// Since when nobody has been heard, as it is kept: in seconds of the epoch.
    pub(super) fn alone_since(&self) -> Option<u64> {
        let since = self.rare.as_ref()?.alone?;
        since.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs())
    }

    /// As it was kept. Without a limit it is forgotten.
    pub(super) fn was_alone(&mut self, since: Option<u64>) {
        let since = since.and_then(|s| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(s)));
        if let (Some(since), Some(_)) = (since, self.shared.config.idle_after) {
            self.rare().alone = Some(since);
        }
    }

    /// Closes a connection that nobody has needed for too long.
    pub(super) fn look_after_idle(&mut self) {
        let Some(most) = self.shared.config.idle_after else { return };
        let connects = self.link.is_some() || self.attempt.is_some() || self.retry_at.is_some();
        if !connects || !self.waiting.is_empty() || self.rooms.values().any(|r| !r.unattended) {
            return self.is_heard();
        }
        let now = self.host.now();
        let Some(since) = self.rare.as_ref().and_then(|r| r.alone) else {
            self.rare().alone = Some(now);
            return self.save_rooms();
        };
        // A clock that was set back is no time that has passed.
        if now.duration_since(since).unwrap_or_default() < most {
            return;
        }
        tracing::info!(user = %self.of.user, network = %self.of.network, "a connection that nobody needed was closed (idle_after)");
        let hours = most.as_secs() / 3_600;
        let text = match hours % 24 {
            0 => Text::key("idle-too-long-days").with("count", hours / 24),
            _ => Text::key("idle-too-long-hours").with("count", hours),
        };
        let text = text.with("network", &self.of.network);
        self.refuse_all(&DeliveryError::new(Failure::Unreachable, text.clone()));
        self.close("Idle for too long");
        self.rooms.clear();
        self.rare().alone = None;
        self.save_rooms();
        self.notice(text);
    }
}
