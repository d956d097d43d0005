//! The list of occupants for who comes in: others first, their own presence last, then the subject (XEP-0045 section 7.2). A large room's is
//! written in pieces, so that it delays nobody else.

use std::sync::Arc;

use isthmus_bridge::room::RoomView;
use isthmus_bridge::{RoomId, SessionOf};

use super::history::waits_for_history;
use super::{Rooms, look, member};
use crate::archive::Line;
use crate::gateway::core::{Core, Served};
use crate::rooms::occupancy::{History, Phase, Place, Stay, lock};
use crate::rooms::show::{self, Whose};
use crate::xmpp::link::{Fragment, NotSent};

/// Bytes of presences that are written at a time.
const PIECE: usize = 60 << 10;

/// How far a list of occupants has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Done,
    More,
    /// The session's lane is full.
    Full,
}

impl Rooms<'_> {
    /// Tells all resources that come in who is inside. What does not fit into one piece is left to a task, one a resource.
    pub(super) fn list(&self, of: &SessionOf, stay: &mut Stay, view: &RoomView) {
        for at in 0..stay.inside.len() {
            if matches!(&stay.inside[at].place, Place::Arriving(a) if a.running) {
                continue;
            }
            if !waits_for_history(stay, at) && self.piece(of, stay, view, at) == Progress::Done {
                continue;
            }
            let resource = &mut stay.inside[at];
            let Place::Arriving(arrival) = &mut resource.place else { continue };
            arrival.running = true;
            let (core, served) = (self.core.clone(), self.served.clone());
            // What is said from here on waits behind the list: of what was said before, all is fetched.
            let before = arrival.until.take().map_or_else(|| self.served.archive().next_id(), String::from);
            self.core.tasks.spawn(rest(core, served, of.clone(), stay.room.clone(), resource.jid.clone(), before));
        }
    }

    /// Writes one piece for one resource.
    fn piece(&self, of: &SessionOf, stay: &mut Stay, view: &RoomView, at: usize) -> Progress {
        let resource = &stay.inside[at];
        let Place::Arriving(arrival) = &resource.place else { return Progress::Done };
        let (members, subject) = stay.known(view);
        let from = arrival.after.as_deref().map_or(0, |key| members.partition_point(|m| m.person.key() <= key));
        let rest = &members[from..];
        let (to, mut count) = (&*resource.jid, 0);
        let result = self.staged(of, &stay.room, &stay.jid, &view.modes, |stage| {
            self.served.link().write(self.served.lane(of), |w| {
                while count < rest.len() && w.written() < PIECE {
                    if !stay.is_own(rest[count].nick()) {
                        show::present(w, stage, to, &rest[count], Whose::Other, None);
                    }
                    count += 1;
                }
                if count < rest.len() {
                    return;
                }
                let own = members.iter().find(|m| stay.is_own(m.nick())).cloned();
                let own = own.unwrap_or_else(|| member(view, &stay.nick));
                let whose = Whose::Own { entering: true, renamed: *arrival.nick != *stay.nick };
                show::present(w, stage, to, &own, whose, None);
                if let History::Ready(lines) = &arrival.history {
                    for line in lines.iter().filter(|line| line.gone.is_none()) {
                        let from = line.nick.as_deref().map(|nick| stage.occupant(nick));
                        let payload = line.payload.as_deref().map(Fragment::read);
                        let line = past(line, from.as_deref().unwrap_or(stage.jid), payload.as_ref());
                        show::line(w, stage.jid, to, &line);
                    }
                }
                show::subject(w, stage, to, subject, None);
                for message in &arrival.backlog {
                    w.rendered(message);
                }
            })
        });
        let (done, last) = (count == rest.len(), count.checked_sub(1).map(|i| rest[i].person.key().into()));
        match result {
            Err(NotSent::Full) => return Progress::Full,
            // Without a stream there is nobody to tell: they are told when it is back.
            Err(NotSent::Detached) => stay.falls_behind(at, self.core.now()),
            Err(e) => self.served.counters.lost(&e, &self.served.instance.name),
            Ok(()) => {
                self.served.counters.sent();
                if !done {
                    if let Place::Arriving(arrival) = &mut stay.inside[at].place {
                        arrival.after = last;
                    }
                    return Progress::More;
                }
            }
        }
        stay.inside[at].place = Place::Inside;
        Progress::Done
    }
}

/// A line of the archive, as it was.
pub(super) fn past<'a>(line: &'a Line, from: &'a str, payload: Option<&'a Fragment>) -> show::Line<'a> {
    show::Line {
        from,
        id: &line.id,
        stanza_id: &line.id,
        body: &line.body,
        thread: line.thread.as_deref(),
        payload,
        occupant_id: line.occupant.as_deref(),
        kept: None,
        at: Some(line.at),
    }
}

/// What was said before, then the pieces that are not written yet.
async fn rest(core: Arc<Core>, served: Arc<Served>, of: SessionOf, room: RoomId, full: Arc<str>, before: String) {
    core.rooms(&served).fetch_history(&of, &room, &full, &before).await;
    loop {
        match next(&core, &served, &of, &room, &full) {
            Progress::Done => return,
            Progress::More => tokio::task::yield_now().await,
            Progress::Full => {
                tokio::select! {
                    () = served.link().room(served.lane(&of)) => tokio::task::yield_now().await,
                    () = core.stop.cancelled() => return,
                }
            }
        }
    }
}

fn next(core: &Arc<Core>, served: &Arc<Served>, of: &SessionOf, room: &RoomId, full: &str) -> Progress {
    let Some(stays) = served.occupancy.of(of) else { return Progress::Done };
    let mut stays = lock(&stays);
    let Some((stay, at)) = stays.with(room, full) else { return Progress::Done };
    if !matches!(stay.phase, Phase::Inside | Phase::Held(_)) {
        return Progress::Done;
    }
    let view = served.room(of, room);
    let view = look(&view);
    core.rooms(served).piece(of, stay, &view, at)
}
