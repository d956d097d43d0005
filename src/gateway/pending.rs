//! What takes long and commits nothing: questions, commands, searches.
//!
//! Such a stanza gives its permit back at once, so that whoever asks much, or asks what answers slowly, does not keep the link from reading
//! for everybody else. How much of it there is has bounds of its own, of each sender and of all.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use isthmus_bridge::{BareJid, Lang, Text};
use tokio::sync::oneshot;

use super::core::{Core, Served};
use super::messages::lang;
use super::receive::Heard;
use crate::hash::Map;
use crate::router::Party;
use crate::xmpp::errors::StanzaError;
use crate::xmpp::link::Permit;

/// Of one sender at a time: a client that comes back asks after each of its rooms.
const OF_ONE: usize = 256;
/// Of all. Beyond, permits are kept, and the link reads no faster than is answered.
const OF_ALL: usize = 2048;
/// A stanza beyond this many octets keeps its permit in any case: what many of them hold is bounded by these.
const SMALL: usize = 16 << 10;
/// How long what is read behind a command waits for it: most commands are done by then, and what comes next may depend on them.
const IN_ORDER: Duration = Duration::from_millis(500);

/// How much is asked and not answered yet.
#[derive(Default)]
pub(super) struct Pending(Mutex<Count>);

#[derive(Default)]
struct Count {
    all: usize,
    of: Map<BareJid, usize>,
}

/// One question that is not answered yet; dropped, it is.
pub(super) struct Question {
    pending: Arc<Pending>,
    who: BareJid,
    _permit: Option<Permit>,
}

impl Pending {
    /// A stanza becomes a question, and gives its permit back unless there are too many.
    ///
    /// # Errors
    /// Its sender asks too much at a time.
    pub(super) fn begin(self: &Arc<Self>, heard: &mut Heard) -> Result<Question, StanzaError> {
        let who = heard.from.bare();
        let mut count = self.lock();
        let of_one = count.of.entry(who.clone()).or_default();
        if *of_one >= OF_ONE {
            return Err(StanzaError::resource_constraint().with(Text::key("error.busy")));
        }
        *of_one += 1;
        count.all += 1;
        let keeps = count.all > OF_ALL || heard.stanza.size() > SMALL;
        let permit = heard.permit.take_if(|_| keeps);
        drop(count);
        heard.permit = None;
        Ok(Question { pending: self.clone(), who, _permit: permit })
    }

    /// Questions of one sender that are under way.
    pub(super) fn of(&self, who: &BareJid) -> usize {
        self.lock().of.get(who).copied().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Count> {
        // Both numbers are changed together, and nothing in between can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        let mut count = self.pending.lock();
        count.all = count.all.saturating_sub(1);
        if let Some(of_one) = count.of.get_mut(&self.who) {
            *of_one = of_one.saturating_sub(1);
            if *of_one == 0 {
                count.of.remove(&self.who);
            }
        }
    }
}

/// What was said to the gateway by chat and is not done yet, of each sender in its order; an entry exists while one of them is being done.
#[derive(Default)]
pub(super) struct Talks(Mutex<Map<BareJid, VecDeque<Talk>>>);

struct Talk {
    from: Party,
    words: String,
    lang: Lang,
    _question: Question,
}

impl Talks {
    fn lock(&self) -> MutexGuard<'_, Map<BareJid, VecDeque<Talk>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One sender's talks are being done. However that ends, the next one is not put behind what nobody does.
struct Turn {
    served: Arc<Served>,
    who: BareJid,
}

impl Turn {
    /// The next one; `None`: there is none, and the entry is gone.
    fn next(&self) -> Option<Talk> {
        let mut talks = self.served.talks.lock();
        let next = talks.get_mut(&self.who).and_then(VecDeque::pop_front);
        if next.is_none() {
            talks.remove(&self.who);
        }
        next
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // After an orderly end the entry is gone, and one of this name belongs to the next turn.
        if std::thread::panicking() {
            self.served.talks.lock().remove(&self.who);
        }
    }
}

impl Core {
    /// A text to the gateway's own address. Ends when it is done, or takes longer than what comes behind it shall wait; where that is a crowd, at
    /// once.
    pub(super) async fn talk(self: &Arc<Self>, served: &Arc<Served>, heard: &mut Heard, words: String, crowded: bool) {
        let lang = lang(&heard.stanza);
        let question = match self.pending.begin(heard) {
            Ok(question) => question,
            Err(error) => return self.answer_error(served, &heard.stanza, &error),
        };
        let talk = Talk { from: heard.from.clone(), words, lang, _question: question };
        let who = heard.from.bare();
        {
            let mut talks = served.talks.lock();
            if let Some(waiting) = talks.get_mut(&who) {
                waiting.push_back(talk);
                return;
            }
            talks.insert(who.clone(), VecDeque::new());
        }
        let (done, first) = oneshot::channel::<()>();
        let (core, turn) = (self.clone(), Turn { served: served.clone(), who });
        self.tasks.spawn(async move {
            core.chat(&turn.served, &talk.from, &talk.words, &talk.lang).await;
            drop((talk, done));
            while let Some(talk) = turn.next() {
                core.chat(&turn.served, &talk.from, &talk.words, &talk.lang).await;
            }
        });
        if crowded {
            return;
        }
        // Both ends of the wait are good ones.
        let _ = tokio::time::timeout(IN_ORDER, first).await;
    }
}
