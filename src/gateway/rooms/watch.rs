//! What time does to rooms: held ones are given up, resources that are gone without a word are found out, sessions that ended leave nobody
//! behind; and the orderly stop.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use isthmus_bridge::{BareJid, RoomId, SessionOf, Text};
use minidom::Element;
use tracing::info;

use super::enter::is_gone;
use super::{Rooms, look};
use crate::gateway::answers::Unanswered;
use crate::gateway::core::{Core, Served};
use crate::rooms::occupancy::{Arrival, Behind, Phase, Place, Stay, lock};
use crate::rooms::show::{self, Gone};
use crate::xmpp::errors::StanzaError;
use crate::xmpp::link::NotSent;
use crate::xmpp::ns;

/// A resource that has been silent for so long is asked whether it is there.
const SILENT: Duration = Duration::from_secs(15 * 60);
/// Resources that are asked within one second, at most.
const ASKED: usize = 20;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Unanswered questions after which nobody is there.
const SILENCES: u8 = 2;

/// A resource to be asked.
struct Doubt {
    of: SessionOf,
    room: RoomId,
    jid: Arc<str>,
    full: Arc<str>,
}

impl Rooms<'_> {
    /// Called every second.
    pub(in crate::gateway) fn tick(&self) {
        if !self.served.profile().rooms {
            return;
        }
        let (now, attached) = (self.core.instant(), !self.served.is_down());
        let mut doubts = Vec::new();
        for (of, stays) in self.served.occupancy.all() {
            let mut stays = lock(&stays);
            let over: Vec<RoomId> = stays
                .list
                .iter()
                .filter(|stay| matches!(&stay.phase, Phase::Held(held) if held.until <= now))
                .map(|stay| stay.room.clone())
                .collect();
            for room in over {
                self.give_up(&of, &mut stays, &room, &Text::key("note.room-given-up"));
            }
            if !self.served.sessions().runs(&of) {
                self.ended(&of, &mut stays.list);
            }
            for stay in &mut stays.list {
                doubt(&of, stay, now, &mut doubts);
                if attached && stay.has_missed() {
                    self.catch_up(&of, stay);
                }
            }
        }
        for doubt in doubts {
            let (core, served) = (self.core.clone(), self.served.clone());
            self.core.tasks.spawn(ask(core, served, doubt));
        }
    }

    /// A session that ended by itself has left its rooms; the next join starts another one.
    fn ended(&self, of: &SessionOf, list: &mut Vec<Stay>) {
        list.retain_mut(|stay| {
            // A join is answered by its ticket.
            if matches!(stay.phase, Phase::Entering) {
                return true;
            }
            self.put_out(of, stay, &Text::key("note.room-session-ended"));
            false
        });
        self.served.outside(of);
    }

    /// The user may not be in rooms any more: their resources are put out with the reason. Their sessions are ended by the caller.
    pub(in crate::gateway) fn turn_out(&self, user: &BareJid, why: &Text) {
        for (of, stays) in self.served.occupancy.of_user(user) {
            for mut stay in std::mem::take(&mut lock(&stays).list) {
                self.refuse(stay.turn_away(), &StanzaError::forbidden().with(why.clone()));
                self.put_out(&of, &mut stay, why);
            }
        }
    }

    /// The stream to the XMPP server broke: what happens in rooms from now on reaches nobody, and they are told afterwards.
    /// `unseen`: what was written in this time before it may not have arrived.
    pub(in crate::gateway) fn stream_broke(&self, unseen: Duration) {
        self.served.farewells.begin();
        let since = self.core.now().checked_sub(unseen).unwrap_or(SystemTime::UNIX_EPOCH);
        for (of, stays) in self.served.occupancy.all() {
            for stay in &mut lock(&stays).list {
                if let Some(view) = self.served.known_room(&of, &stay.room) {
                    stay.breaks(since, &look(&view));
                }
            }
        }
    }

    /// Resources that were inside while the stream was broken, and are there still, get the room as it is: who has left, who is inside, what was said.
    fn catch_up(&self, of: &SessionOf, stay: &mut Stay) {
        if !matches!(stay.phase, Phase::Inside) {
            return; // the room's own link is broken, too: later
        }
        let Some(view) = self.served.known_room(of, &stay.room) else { return };
        let view = look(&view);
        let mut any = false;
        while let Some(Behind { at, since, until, gone }) = stay.next_behind(&view) {
            let to = stay.inside[at].jid.clone();
            let told = self.staged(of, &stay.room, &stay.jid, "", |stage| {
                self.served.link().write(self.served.lane(of), |w| {
                    for member in &gone {
                        show::absent(w, stage, &to, member.nick(), &Gone::default());
                    }
                })
            });
            match told {
                Err(NotSent::Full | NotSent::Detached) => {
                    stay.inside[at].behind = true;
                    break;
                }
                sent => self.core.written(self.served, sent),
            }
            let history = self.missed_since(of, &stay.room, since);
            let arrival = Arrival { nick: stay.nick.to_string(), history, until, ..Arrival::default() };
            stay.inside[at].place = Place::Arriving(Box::new(arrival));
            any = true;
        }
        if any {
            self.list(of, stay, &view);
        }
    }

    /// After a reattach nobody knows who went while the link was down: all are asked who were not heard since it went down. Who was put out meanwhile
    /// learns of it now.
    pub(in crate::gateway) fn stream_is_back(&self, down: Instant) {
        let next = self.served.archive().next_id();
        for (_, stays) in self.served.occupancy.all() {
            for stay in &mut lock(&stays).list {
                stay.is_back(down, &next);
            }
        }
        self.say_farewells();
    }

    /// The orderly stop: whoever is inside learns that the service goes (332).
    pub(in crate::gateway) async fn close(&self) {
        let all = self.served.occupancy.drain();
        if all.is_empty() {
            return;
        }
        info!(bridge = %self.served.instance.name, sessions = all.len(), "closing rooms");
        for (of, list) in all {
            for stay in &list {
                self.say_goodbye(&of, stay).await;
            }
        }
    }

    async fn say_goodbye(&self, of: &SessionOf, stay: &Stay) {
        let gone = Gone { own: true, service: Some("332"), ..Gone::default() };
        let lane = self.served.lane(of);
        loop {
            let sent = self.staged(of, &stay.room, &stay.jid, "", |stage| {
                self.served.link().write(lane, |w| {
                    for resource in &stay.inside {
                        show::absent(w, stage, &resource.jid, &stay.nick, &gone);
                    }
                })
            });
            match sent {
                Err(NotSent::Full) => self.served.link().room(lane).await,
                Err(e) => return self.served.counters.lost(&e, &self.served.instance.name),
                Ok(()) => return self.served.counters.sent(),
            }
        }
    }
}

fn doubt(of: &SessionOf, stay: &mut Stay, now: Instant, doubts: &mut Vec<Doubt>) {
    for resource in &mut stay.inside {
        let silent = resource.heard.is_none_or(|heard| now.duration_since(heard) >= SILENT);
        if !silent || resource.asked || doubts.len() >= ASKED {
            continue;
        }
        resource.asked = true;
        doubts.push(Doubt {
            of: of.clone(),
            room: stay.room.clone(),
            jid: stay.jid.clone(),
            full: resource.jid.clone(),
        });
    }
}

/// Asks one resource (XEP-0199). Who cannot be asked because the link is down stays in doubt.
async fn ask(core: Arc<Core>, served: Arc<Served>, doubt: Doubt) {
    let ping = Element::bare("ping", ns::PING);
    let answer = core.ask(&served, &doubt.jid, &doubt.full, "get", &ping, PATIENCE).await;
    let gone = matches!(&answer, Err(Unanswered::Error { condition, .. }) if is_gone(condition));
    let mut silences = 0;
    if let Some(stays) = served.occupancy.of(&doubt.of)
        && let Some((stay, at)) = lock(&stays).with(&doubt.room, &doubt.full)
    {
        let resource = &mut stay.inside[at];
        resource.asked = false;
        match answer {
            Err(Unanswered::Silence) => resource.silences += 1,
            Err(Unanswered::NotSent) => {}
            _ => resource.heard(core.instant()),
        }
        silences = resource.silences;
    }
    if gone || silences >= SILENCES {
        let bare = doubt.full.split('/').next().unwrap_or_default();
        core.rooms(&served).evict(&doubt.full, &BareJid::from(bare));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rooms::occupancy::Place;

    #[test]
    fn so_many_are_asked_within_a_second_and_all_in_the_end() {
        let of = SessionOf::new("juliet@example.org".into(), "net".into());
        let entered = Instant::now();
        let mut stays = ["#verona", "#mantua"].map(|room| Stay::new(room.into(), room, "juliet", Phase::Inside));
        for n in 0..50 {
            let full = format!("juliet@example.org/{n}").into();
            stays[n % 2].admit(&full, Place::Arriving(Box::default()), entered);
        }
        let mut second = |now: Instant| {
            let mut doubts = Vec::new();
            stays.iter_mut().for_each(|stay| doubt(&of, stay, now, &mut doubts));
            doubts.into_iter().map(|doubt| doubt.full).collect::<Vec<_>>()
        };
        assert!(second(entered + SILENT - Duration::from_secs(1)).is_empty(), "they were heard a moment ago");
        let mut asked = Vec::new();
        for expected in [ASKED, ASKED, 10, 0] {
            let now = second(entered + SILENT);
            assert_eq!(now.len(), expected);
            asked.extend(now);
        }
        asked.sort();
        asked.dedup();
        assert_eq!(asked.len(), 50, "each of them once");
    }
}
