//! Wake-ups inside the process: who commits work for a queue rings its bell, so that an idle system answers in milliseconds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// One bell per queue and bridge; each has one listener.
#[derive(Default)]
pub(super) struct Bells(Mutex<HashMap<(Queue, String), Arc<Notify>>>);

/// Which queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Queue {
    Outbox,
    Inbox,
}

impl Bells {
    pub(super) fn of(&self, queue: Queue, bridge: &str) -> Arc<Notify> {
        let mut bells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bells.entry((queue, bridge.to_owned())).or_default().clone()
    }
}
