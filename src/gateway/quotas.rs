//! Whether there is room: sessions and storage, for a user and for all; and what `usage` says of it.

use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use isthmus_bridge::{BareJid, BlobId, Event, FileSource, Inbound, Lang, Refused, SessionOf, StoreError, Text};
use tracing::warn;

use super::core::{Core, Served};
use crate::access::{Full, Verdict};
use crate::translate::stamp::stamp;
use crate::xmpp::errors::StanzaError;

/// What an event takes beside its words, about.
const FRAME: u64 = 512;

impl Core {
    /// The refusal of a new session that would be one more than may be, over all bridges. Sessions of held bridges count, but are never refused: their
    /// messages wait on disk, and one session serves them all.
    pub(super) fn too_many_sessions(&self, user: &BareJid, served: &Served, of: &SessionOf) -> Option<StanzaError> {
        let (own, total) = (self.limits.sessions_per_user as usize, self.limits.total_sessions as usize);
        if (own == 0 && total == 0) || served.sessions().of(user).contains(of) {
            return None;
        }
        let full = |key: &'static str, limit: usize| {
            Some(StanzaError::resource_constraint().with(Text::key(key).with("limit", limit)))
        };
        if own > 0 && self.sessions_of(user) >= own {
            return full("error.sessions", own);
        }
        if total > 0 && self.bridges().iter().map(|b| b.sessions().len()).sum::<usize>() >= total {
            return full("error.total-sessions", total);
        }
        None
    }

    fn sessions_of(&self, user: &BareJid) -> usize {
        self.bridges().iter().map(|b| b.sessions().of(user).len()).sum()
    }

    /// Takes room for so many bytes of words of a user's.
    pub(super) async fn has_room(&self, served: &Served, user: &BareJid, words: usize) -> Result<(), StanzaError> {
        let bytes = FRAME.saturating_add(words as u64);
        match self.room_for(served, user, bytes).await {
            Ok(None) => Ok(()),
            Ok(Some(full)) => Err(StanzaError::resource_constraint().with(full_text(&full))),
            Err(e) => Err(StanzaError::from(&e)),
        }
    }

    async fn room_for(&self, served: &Served, user: &BareJid, bytes: u64) -> Result<Option<Full>, StoreError> {
        let limiter = served.limiter();
        loop {
            match limiter.storage().take(user, bytes, Instant::now()) {
                Verdict::Fits => return Ok(None),
                Verdict::Full(full) => return Ok(Some(full)),
                Verdict::Stale => {
                    let held = served.persons().held(served.profile().retry_for, self.files.keep_for()).await?;
                    limiter.storage().renew(held, Instant::now());
                }
            }
        }
    }

    /// Whether what comes for a user may be kept for them. The network tries again later.
    pub(super) async fn admits(&self, served: &Served, event: &Inbound) -> Result<(), Refused> {
        let (Event::Message(message) | Event::Sent(message)) = &event.event else { return Ok(()) };
        let files: u64 = message.files.iter().filter_map(|file| file.media.size).sum();
        let bytes = FRAME.saturating_add(message.body.len() as u64).saturating_add(files);
        let room = self.expects(served, &event.to, bytes).await;
        // A second copy needs none.
        if let (Err(Refused::Full(_)), Some(once)) = (&room, &event.once)
            && self.inbox.knows(&served.instance.name, &event.to, once).await.unwrap_or(false)
        {
            return Ok(());
        }
        room
    }

    /// The same for an event of which only the size is known yet. What it takes is counted twice when it comes; before anybody is refused, what is
    /// kept is read again.
    pub(super) async fn expects(&self, served: &Served, user: &BareJid, bytes: u64) -> Result<(), Refused> {
        match self.room_for(served, user, bytes).await {
            Ok(None) => Ok(()),
            Ok(Some(full)) => {
                let words = self.words(served, &full_text(&full), &Lang::default());
                warn!(bridge = %served.instance.name, %user, used = full.used, limit = full.limit, "no room for what came");
                Err(Refused::Full(words))
            }
            Err(e) => Err(Refused::Later(e.to_string())),
        }
    }

    /// The files of an event that was accepted are kept for its user.
    pub(super) async fn own_files(&self, served: &Served, event: &Inbound) {
        let (Event::Message(message) | Event::Sent(message)) = &event.event else { return };
        for file in &message.files {
            if let FileSource::Blob(id) = &file.source {
                self.owns(served, &event.to, id, file.media.size.unwrap_or_default(), false).await;
            }
        }
    }

    /// A file is kept for a user. Only a count: a failure is logged.
    pub(super) async fn owns(&self, served: &Served, user: &BareJid, id: &BlobId, size: u64, export: bool) {
        if let Err(e) = served.persons().owns_file(user, id, size, export).await {
            warn!(bridge = %served.instance.name, error = %e, "whose a file is could not be recorded");
        }
    }

    /// The files of a user who goes; or their exports, before the next one.
    pub(super) async fn forget_files(&self, served: &Served, user: &BareJid, exports: bool) -> Result<(), StoreError> {
        for id in served.persons().disown_files(user, exports).await? {
            self.files.remove(&id).await;
        }
        Ok(())
    }

    /// Recorded conversations make room for what waits.
    pub(super) async fn make_room(&self, served: &Arc<Served>) -> Result<(), StoreError> {
        served.persons().sweep_files(self.files.keep_for()).await?;
        let limit = served.limiter().quotas().storage.user;
        if limit == 0 {
            return Ok(());
        }
        let held = served.persons().held(served.profile().retry_for, self.files.keep_for()).await?;
        served.persons().make_room(limit, &held).await
    }

    /// What a user has used of which limits, for people.
    pub(super) async fn usage_of(&self, served: &Served, user: &BareJid) -> Result<Vec<(Text, Text)>, StoreError> {
        let waiting = self.outbox.list(Some(&served.instance.name), Some(user), 10_000).await?.len();
        let mut lines = vec![(Text::key("used.waiting"), Text::plain(waiting.to_string()))];
        let quotas = served.limiter().quotas();
        let (minute, day) = served.limiter().used(user, Instant::now());
        for (key, used, limit) in
            [("used.minute", minute, quotas.user.per_minute), ("used.day", day, quotas.user.per_day)]
        {
            if limit > 0 {
                lines.push((Text::key(key), of(used.to_string(), limit.to_string())));
            }
        }
        served.persons().flush_talks().await?;
        let held = served.persons().held(served.profile().retry_for, self.files.keep_for()).await?;
        let held = held.iter().find(|held| held.user == *user).map_or(0, |held| held.bytes);
        let kept = held.saturating_add(served.persons().recorded(user).await?);
        let kept = match quotas.storage.user {
            0 => Text::plain(bytes(kept)),
            limit => of(bytes(kept), bytes(limit)),
        };
        lines.push((Text::key("used.storage"), kept));
        let sessions = self.sessions_of(user).to_string();
        let sessions = match self.limits.sessions_per_user {
            0 => Text::plain(sessions),
            limit => of(sessions, limit.to_string()),
        };
        lines.push((Text::key("used.sessions"), sessions));
        Ok(lines)
    }
}

fn of(used: String, limit: String) -> Text {
    Text::key("used.of").with("used", used).with("limit", limit)
}

/// There is no room: how much is used of what, and when it passes.
fn full_text(full: &Full) -> Text {
    let key = match (full.total, full.ends) {
        (false, Some(_)) => "error.storage-full",
        (false, None) => "error.storage-full-open",
        (true, Some(_)) => "error.total-storage-full",
        (true, None) => "error.total-storage-full-open",
    };
    let text = Text::key(key).with("used", bytes(full.used)).with("limit", bytes(full.limit));
    match full.ends.and_then(|at| u64::try_from(at).ok()) {
        Some(at) => text.with("until", stamp(UNIX_EPOCH + Duration::from_millis(at))),
        None => text,
    }
}

/// A size as the configuration writes it.
fn bytes(size: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut number = size as f64;
    let mut unit = "B";
    for next in UNITS {
        if number < 1024.0 {
            break;
        }
        (number, unit) = (number / 1024.0, next);
    }
    if unit == "B" || number.fract() < 0.05 { format!("{number:.0} {unit}") } else { format!("{number:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        let table = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (50 << 20, "50 MiB"),
            (3 << 40, "3 TiB"),
        ];
        for (size, words) in table {
            assert_eq!(bytes(size), words);
        }
    }
}
