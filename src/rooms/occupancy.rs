//! Which full JIDs of a user are inside which room. An entry exists while somebody of them is, or wants to be; it costs a few hundred bytes.
//!
//! A user is one occupant of a room, however many of their resources are inside: the session holds the occupant, this holds the resources.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use isthmus_bridge::room::{Member, RoomView, Subject};
use isthmus_bridge::{BareJid, DeliveryKey, Lang, RoomId, SessionOf};

use crate::archive::Line;
use crate::hash::Map;
use crate::xmpp::link::{Fragment, Rendered};

/// How long a room is held for its users while the link to its network is broken.
pub const HELD: Duration = Duration::from_secs(600);
/// Messages of one user whose reflection has not come yet, at most: beyond them the oldest comes back under another id.
const REFLECTIONS: usize = 256;
/// What is kept for a resource that still gets the list of occupants, in messages.
const BACKLOG: usize = 1_000;

/// The resources of all users of one bridge.
#[derive(Debug, Default)]
pub struct Occupancy(Mutex<Map<SessionOf, Arc<Mutex<Stays>>>>);

/// One user's rooms on one network.
#[derive(Debug, Default)]
pub struct Stays {
    /// The rooms, each once.
    pub list: Vec<Stay>,
    /// What the network knows of the user's being away; nothing where nobody is.
    away: Option<Box<Away>>,
}

/// What a user's resources say of being away.
#[derive(Debug, Default)]
struct Away {
    /// The network has been told, with these words.
    told: Option<Option<Box<str>>>,
    /// Resources and their words, who spoke last at the end.
    says: Vec<(Arc<str>, Box<str>)>,
}

/// One room with resources of a user in it.
#[derive(Debug)]
pub struct Stay {
    /// Which room.
    pub room: RoomId,
    /// Its JID.
    pub jid: Arc<str>,
    /// The user's nick as their resources know it.
    pub nick: Box<str>,
    /// Where the occupant is.
    pub phase: Phase,
    /// The resources.
    pub inside: Vec<Resource>,
    /// The nick that a resource has asked for since.
    pub wanted: Option<Box<str>>,
    /// The room was shown as one where only the voiced speak.
    pub moderated: bool,
    /// Those whose role is another since are being shown anew, up to the occupant of this key.
    pub reshown: Option<Box<str>>,
    /// What a resource has said here; nothing in a room where nobody did.
    talk: Option<Box<Talk>>,
    /// The stream to the XMPP server broke, and not everybody has been told what happened meanwhile.
    missed: Option<Box<Missed>>,
}

/// What those knew who were inside when the stream broke.
#[derive(Debug)]
struct Missed {
    since: SystemTime,
    /// What was said up to here in the archive: what came later was told at once. None: the stream is not back.
    until: Option<Box<str>>,
    /// Who was inside, in order of key; nobody where that were too many to keep.
    members: Vec<Member>,
}

/// What a resource has missed.
#[derive(Debug)]
pub struct Behind {
    /// Its place in [`Stay::inside`].
    pub at: usize,
    /// Since when.
    pub since: SystemTime,
    /// Up to which id of the archive; none: all that there is now.
    pub until: Option<Box<str>>,
    /// Who was inside before and is not.
    pub gone: Vec<Member>,
}

/// Members that are kept while the stream is broken, at most: so many users can be in a large room.
const MISSED: usize = 2_000;

#[derive(Debug, Default)]
struct Talk {
    /// The message whose parts come back now, and the id of its first.
    head: Option<(DeliveryKey, Box<str>)>,
    sent: VecDeque<Sent>,
    /// The id of a line that could not be written yet: it is told again, and is the same line.
    stamped: Option<String>,
}

/// Where the occupant behind some resources is.
#[derive(Debug)]
pub enum Phase {
    /// On the way in.
    Entering,
    /// In the room.
    Inside,
    /// The link to the network broke: the room is held until then.
    Held(Box<Held>),
    /// On the way out: no resource is left, and the network does not know it yet.
    Leaving,
}

/// What the resources of a held room know.
#[derive(Debug)]
pub struct Held {
    /// Until when.
    pub until: Instant,
    /// Who was inside, in order of key.
    pub members: Vec<Member>,
    /// The subject.
    pub subject: Subject,
}

/// One resource of a user in a room.
#[derive(Debug)]
pub struct Resource {
    /// Its full JID.
    pub jid: Arc<str>,
    /// How far it has come.
    pub place: Place,
    /// When it last said something here; `None`: to be asked whether it is there.
    pub heard: Option<Instant>,
    /// How often it did not answer.
    pub silences: u8,
    /// It is being asked.
    pub asked: bool,
    /// It says that nobody sits before it.
    pub away: bool,
    /// It was inside when the stream broke, and has not been told what happened meanwhile.
    pub behind: bool,
}

/// How far a resource has come.
#[derive(Debug)]
pub enum Place {
    /// Waits for the occupant to be inside.
    Waiting(Box<Knock>),
    /// Is being told who is inside.
    Arriving(Box<Arrival>),
    /// Inside.
    Inside,
}

/// A join that is not answered yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Knock {
    /// The nick asked for.
    pub nick: String,
    /// The JID that the presence was sent to.
    pub to: String,
    /// Its id.
    pub id: Option<String>,
    /// Its language.
    pub lang: Lang,
    /// What it wants to see of what was said before.
    pub history: History,
}

/// What was said before, for who comes in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum History {
    /// Nothing.
    #[default]
    None,
    /// The last lines, to be fetched.
    Wanted {
        /// So many, at most.
        most: usize,
        /// None older than this.
        since: Option<SystemTime>,
        /// Characters of all their stanzas, at most.
        chars: Option<usize>,
    },
    /// These.
    Ready(Vec<Line>),
}

/// A list of occupants that is being written.
#[derive(Debug, Default)]
pub struct Arrival {
    /// The nick asked for.
    pub nick: String,
    /// The key of the last occupant that was written.
    pub after: Option<Box<str>>,
    /// Messages meanwhile, for after the subject.
    pub backlog: VecDeque<Rendered>,
    /// A task writes the rest.
    pub running: bool,
    /// What is told between own presence and subject.
    pub history: History,
    /// Nothing of it is newer than this id of the archive; none: all that there is now.
    pub until: Option<Box<str>>,
}

#[derive(Debug)]
struct Sent {
    key: DeliveryKey,
    id: Option<Arc<str>>,
    kept: Option<Fragment>,
}

impl Occupancy {
    /// The rooms of a session, if it has any.
    pub fn of(&self, of: &SessionOf) -> Option<Arc<Mutex<Stays>>> {
        self.lock().get(of).cloned()
    }

    /// The rooms of a session; made where there were none.
    pub fn open(&self, of: &SessionOf) -> Arc<Mutex<Stays>> {
        self.lock().entry(of.clone()).or_default().clone()
    }

    /// All sessions with rooms.
    pub fn all(&self) -> Vec<(SessionOf, Arc<Mutex<Stays>>)> {
        self.lock().iter().map(|(of, stays)| (of.clone(), stays.clone())).collect()
    }

    /// A user's sessions with rooms.
    pub fn of_user(&self, user: &BareJid) -> Vec<(SessionOf, Arc<Mutex<Stays>>)> {
        let all = self.lock();
        all.iter().filter(|(of, _)| of.user == *user).map(|(of, stays)| (of.clone(), stays.clone())).collect()
    }

    /// Forgets sessions without rooms.
    pub fn prune(&self) {
        let mut all = self.lock();
        // Who holds another copy may be about to enter a room: such an entry stays until the next time.
        all.retain(|_, stays| Arc::strong_count(stays) > 1 || !lock(stays).list.is_empty());
        if all.len() * 4 < all.capacity() {
            all.shrink_to_fit();
        }
    }

    /// Takes everything out.
    pub fn drain(&self) -> Vec<(SessionOf, Vec<Stay>)> {
        let all = std::mem::take(&mut *self.lock());
        all.into_iter().map(|(of, stays)| (of, std::mem::take(&mut lock(&stays).list))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Map<SessionOf, Arc<Mutex<Stays>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lock of one session's rooms. A panic under it leaves each stay whole: every change is one assignment.
pub fn lock(stays: &Mutex<Stays>) -> MutexGuard<'_, Stays> {
    stays.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stays {
    /// The stay in a room.
    pub fn get(&mut self, room: &RoomId) -> Option<&mut Stay> {
        self.list.iter_mut().find(|stay| stay.room == *room)
    }

    /// Where a resource is inside, or wants to be.
    pub fn with<'a>(&'a mut self, room: &RoomId, full: &str) -> Option<(&'a mut Stay, usize)> {
        let stay = self.get(room)?;
        let at = stay.position(full)?;
        Some((stay, at))
    }

    /// Ends a stay.
    pub fn end(&mut self, room: &RoomId) -> Option<Stay> {
        let at = self.list.iter().position(|stay| stay.room == *room)?;
        Some(self.list.swap_remove(at))
    }

    /// Whether a resource is in any room but this.
    pub fn is_elsewhere(&self, room: Option<&RoomId>, full: &str) -> bool {
        self.list.iter().any(|stay| Some(&stay.room) != room && stay.position(full).is_some())
    }

    /// All resources in any of the rooms, each once.
    pub fn resources(&self) -> Vec<Box<str>> {
        let mut all: Vec<&str> = self.list.iter().flat_map(|stay| stay.inside.iter().map(|r| &*r.jid)).collect();
        all.sort_unstable();
        all.dedup();
        all.into_iter().map(Into::into).collect()
    }

    /// The resources in this room.
    pub fn resources_in(&self, room: &RoomId) -> Vec<Box<str>> {
        let stay = self.list.iter().find(|stay| stay.room == *room);
        stay.iter().flat_map(|stay| &stay.inside).map(|r| (&*r.jid).into()).collect()
    }

    /// A resource says whether it is away, and with which words.
    pub fn says(&mut self, full: &Arc<str>, away: bool, words: Option<&str>) {
        for resource in self.list.iter_mut().flat_map(|stay| &mut stay.inside).filter(|r| r.jid == *full) {
            resource.away = away;
        }
        if let Some(all) = &mut self.away {
            all.says.retain(|(jid, _)| jid != full);
        }
        if let Some(words) = words.filter(|_| away) {
            self.away.get_or_insert_default().says.push((full.clone(), words.into()));
        }
    }

    /// Whether the network is to be told that the user is away, with which words, or back; `None` where that is no news. Where no resource is left
    /// there is none, and the next one speaks for itself.
    pub fn away_news(&mut self) -> Option<(bool, Option<String>)> {
        let Some(away) = self.all_away() else {
            self.away = None;
            return None;
        };
        if !away && self.away.is_none() {
            return None;
        }
        let list = &self.list;
        let all = self.away.get_or_insert_default();
        all.says.retain(|(jid, _)| list.iter().any(|stay| stay.position(jid).is_some()));
        let now = away.then(|| all.says.last().map(|(_, words)| words.clone()));
        let news = (now != all.told).then(|| (away, now.clone().flatten().map(String::from)));
        all.told = now;
        if all.told.is_none() && all.says.is_empty() {
            self.away = None;
        }
        news
    }

    /// Whether all resources in any of the rooms say that they are away; `None` where there are none.
    fn all_away(&self) -> Option<bool> {
        let mut resources = self.list.iter().flat_map(|stay| &stay.inside).peekable();
        resources.peek()?;
        Some(resources.all(|r| r.away))
    }
}

impl Stay {
    /// The stream to the XMPP server is broken: who is inside learns nothing until it is mended.
    pub fn breaks(&mut self, now: SystemTime, view: &RoomView) {
        if !self.is_known() {
            return;
        }
        for resource in &mut self.inside {
            resource.behind |= !matches!(resource.place, Place::Waiting(_));
        }
        let (members, _) = self.known(view);
        let members = if members.len() <= MISSED { members.to_vec() } else { Vec::new() };
        match &mut self.missed {
            // Once more, before everybody knows of the last time: who came meanwhile is known to some.
            Some(missed) => {
                let key = |m: &Member| m.person.key().to_owned();
                missed.members.extend(members);
                missed.members.sort_by_cached_key(key);
                missed.members.dedup_by(|a, b| a.person.key() == b.person.key());
                missed.until = None;
            }
            none => *none = Some(Box::new(Missed { since: now, until: None, members })),
        }
    }

    /// Whether somebody here may have to be told what happened while the stream was broken.
    pub fn has_missed(&self) -> bool {
        self.missed.is_some()
    }

    /// A resource could not be told who is inside, for the stream is broken: it is told when that is mended.
    pub fn falls_behind(&mut self, at: usize, now: SystemTime) {
        self.inside[at].behind = true;
        self.missed.get_or_insert_with(|| Box::new(Missed { since: now, until: None, members: Vec::new() }));
    }

    /// The stream is back: who was not heard since it went is to be asked whether they are there, and what is said from this id on is told at once.
    pub fn is_back(&mut self, down: Instant, next_id: &str) {
        self.doubt_since(down);
        if let Some(missed) = &mut self.missed {
            missed.until = Some(next_id.into());
        }
    }

    /// A resource that is behind and has been heard since.
    pub fn next_behind(&mut self, view: &RoomView) -> Option<Behind> {
        let missed = self.missed.as_ref()?;
        if !self.inside.iter().any(|resource| resource.behind) {
            self.missed = None;
            return None;
        }
        let until = missed.until.clone();
        let at = self.inside.iter().position(|r| r.behind && r.is_inside() && r.heard.is_some())?;
        self.inside[at].behind = false;
        let is_here = |m: &Member| view.members().binary_search_by(|known| known.person.key().cmp(m.person.key()));
        let gone = missed.members.iter().filter(|m| is_here(m).is_err()).cloned().collect();
        Some(Behind { at, since: missed.since, until, gone })
    }

    /// Who was not heard since then is to be asked whether they are there.
    pub fn doubt_since(&mut self, down: Instant) {
        for resource in &mut self.inside {
            resource.heard = resource.heard.filter(|heard| *heard > down);
        }
    }

    /// A stay without resources.
    pub fn new(room: RoomId, jid: &str, nick: &str, phase: Phase) -> Self {
        Self {
            room,
            jid: jid.into(),
            nick: nick.into(),
            phase,
            inside: Vec::with_capacity(1),
            wanted: None,
            moderated: false,
            reshown: None,
            talk: None,
            missed: None,
        }
    }

    /// The place of a resource in [`inside`](Self::inside).
    pub fn position(&self, full: &str) -> Option<usize> {
        self.inside.iter().position(|r| *r.jid == *full)
    }

    /// The room's list of occupants is known.
    pub fn is_known(&self) -> bool {
        matches!(self.phase, Phase::Inside | Phase::Held(_))
    }

    /// Whether a nick that the network names is the user's own.
    pub fn is_own(&self, nick: &str) -> bool {
        self.nick.eq_ignore_ascii_case(nick)
    }

    /// A resource takes this place, in place of an earlier one of it.
    pub fn admit(&mut self, full: &Arc<str>, place: Place, now: Instant) -> usize {
        match self.position(full) {
            Some(at) => {
                let resource = &mut self.inside[at];
                match (&mut resource.place, place) {
                    // The task that writes its list goes on from the beginning.
                    (Place::Arriving(old), Place::Arriving(new)) => {
                        (old.nick, old.after, old.history) = (new.nick, None, new.history);
                    }
                    (old, new) => *old = new,
                }
                resource.behind = false;
                resource.heard(now);
                at
            }
            None => {
                let jid = full.clone();
                self.inside.push(Resource {
                    jid,
                    place,
                    heard: Some(now),
                    silences: 0,
                    asked: false,
                    away: false,
                    behind: false,
                });
                self.inside.len() - 1
            }
        }
    }

    /// The joins that wait, taken out with their resources.
    pub fn turn_away(&mut self) -> Vec<(Arc<str>, Knock)> {
        let mut away = Vec::new();
        for resource in std::mem::take(&mut self.inside) {
            match resource.place {
                Place::Waiting(knock) => away.push((resource.jid, *knock)),
                _ => self.inside.push(resource),
            }
        }
        away
    }

    /// The resources that wait are told from now on who is inside; gives whether there were any.
    pub fn let_in(&mut self) -> bool {
        let mut some = false;
        for resource in &mut self.inside {
            if let Place::Waiting(knock) = &mut resource.place {
                let (nick, history) = (std::mem::take(&mut knock.nick), std::mem::take(&mut knock.history));
                resource.place = Place::Arriving(Box::new(Arrival { nick, history, ..Arrival::default() }));
                some = true;
            }
        }
        some
    }

    /// A resource has sent a message into the room under this id.
    pub fn sends(&mut self, key: DeliveryKey, id: Option<Arc<str>>, kept: Option<Fragment>) {
        if id.is_none() && kept.is_none() {
            return;
        }
        let sent = &mut self.talk.get_or_insert_default().sent;
        if sent.len() >= REFLECTIONS {
            sent.pop_front();
        }
        sent.push_back(Sent { key, id, kept });
    }

    /// The client's id of a message, and what is kept of its stanza; given once, for the first part of the reflection.
    pub fn reflects(&self, key: &DeliveryKey) -> Option<(Option<&Arc<str>>, Option<&Fragment>)> {
        let sent = &self.talk.as_ref()?.sent;
        sent.iter().find(|s| s.key == *key).map(|s| (s.id.as_ref(), s.kept.as_ref()))
    }

    /// The reflection was sent, or will never come.
    pub fn reflected(&mut self, key: &DeliveryKey) {
        let Some(sent) = self.talk.as_mut().map(|talk| &mut talk.sent) else { return };
        if let Some(at) = sent.iter().position(|s| s.key == *key) {
            sent.remove(at);
        }
        if sent.is_empty() {
            *sent = VecDeque::new();
        }
    }

    /// A line with this id could not be written yet: it comes again.
    pub fn stamp(&mut self, id: String) {
        self.talk.get_or_insert_default().stamped = Some(id);
    }

    /// The id of the line that comes again.
    pub fn take_stamp(&mut self) -> Option<String> {
        self.talk.as_mut()?.stamped.take()
    }

    /// The id of the first part of a message of which this is a part: of one's own, where the network has split it.
    pub fn head(&mut self, echo: Option<&(DeliveryKey, u16)>, id: &str) -> String {
        let Some((key, part)) = echo else { return id.to_owned() };
        let first = &mut self.talk.get_or_insert_default().head;
        if *part > 0
            && let Some((known, head)) = first
            && known == key
        {
            return head.to_string();
        }
        *first = Some((key.clone(), id.into()));
        id.to_owned()
    }

    /// Who is inside, and the subject, as this stay's resources are to know it.
    pub fn known<'a>(&'a self, view: &'a RoomView) -> (&'a [Member], &'a Subject) {
        match &self.phase {
            Phase::Held(held) => (&held.members, &held.subject),
            _ => (view.members(), &view.subject),
        }
    }
}

impl Resource {
    /// It has just said something.
    pub fn heard(&mut self, now: Instant) {
        self.heard = Some(now);
        self.silences = 0;
    }

    /// Whether messages of the room reach it now.
    pub fn is_inside(&self) -> bool {
        matches!(self.place, Place::Inside)
    }

    /// Keeps a message for after the list of occupants.
    pub fn later(&mut self, message: &Rendered) {
        if let Place::Arriving(arrival) = &mut self.place {
            if arrival.backlog.len() >= BACKLOG {
                arrival.backlog.pop_front();
            }
            arrival.backlog.push_back(message.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BALCONY: &str = "juliet@example.org/balcony";
    const CHAMBER: &str = "juliet@example.org/chamber";

    fn stay() -> Stay {
        Stay::new("#verona".into(), "#verona@gw.example", "Juliet", Phase::Entering)
    }

    fn waiting(nick: &str) -> Place {
        let (to, history) = (String::new(), History::None);
        Place::Waiting(Box::new(Knock { nick: nick.to_owned(), to, id: None, lang: Lang::default(), history }))
    }

    #[test]
    fn who_entered_after_the_link_came_back_is_not_in_doubt() {
        let mut stay = stay();
        let before = Instant::now();
        let (down, after) = (before + Duration::from_secs(1), before + Duration::from_secs(2));
        stay.admit(&BALCONY.into(), waiting("a"), before);
        stay.admit(&CHAMBER.into(), waiting("a"), after);
        stay.doubt_since(down);
        assert_eq!(stay.inside.iter().map(|resource| resource.heard).collect::<Vec<_>>(), [None, Some(after)]);
    }

    #[test]
    fn who_was_inside_when_the_stream_broke_learns_once_who_has_left_since() {
        let people = isthmus_bridge::room::People::default();
        let view = |nicks: &[&str]| {
            let mut view = RoomView::default();
            view.entering("juliet");
            nicks.iter().for_each(|nick| view.arrive(people.intern(nick), isthmus_bridge::room::Rank::NONE));
            view.entered();
            view
        };
        let (before, now) = (view(&["juliet", "paris", "romeo"]), view(&["juliet", "nurse", "romeo"]));
        let mut stay = Stay::new("#verona".into(), "#verona@gw.example", "juliet", Phase::Inside);
        stay.admit(&BALCONY.into(), Place::Inside, Instant::now());
        assert!(stay.next_behind(&before).is_none(), "nothing broke");
        stay.breaks(SystemTime::UNIX_EPOCH, &before);
        stay.breaks(SystemTime::now(), &now); // a try to come back has failed
        stay.is_back(Instant::now(), "id1");
        assert!(stay.next_behind(&now).is_none(), "nobody knows whether they are there");
        stay.inside[0].heard(Instant::now());
        let behind = stay.next_behind(&view(&["juliet", "romeo"])).expect("they are");
        assert_eq!((behind.at, behind.since, behind.until.as_deref()), (0, SystemTime::UNIX_EPOCH, Some("id1")));
        // Nurse came and went between the two breaks.
        assert_eq!(behind.gone.iter().map(Member::nick).collect::<Vec<_>>(), ["nurse", "paris"]);
        assert!(stay.next_behind(&now).is_none() && stay.missed.is_none(), "once");
        // Who enters anew gets everything anyway.
        stay.breaks(SystemTime::UNIX_EPOCH, &now);
        stay.admit(&BALCONY.into(), Place::Inside, Instant::now());
        stay.is_back(Instant::now(), "id2");
        assert!(stay.next_behind(&now).is_none());
    }

    #[test]
    fn resources_wait_are_let_in_or_turned_away() {
        let mut stay = stay();
        stay.admit(&BALCONY.into(), waiting("a"), Instant::now());
        stay.admit(&CHAMBER.into(), waiting("b"), Instant::now());
        stay.admit(&BALCONY.into(), waiting("c"), Instant::now());
        assert_eq!(stay.inside.len(), 2, "a resource is inside once");
        let mut second = self::stay();
        second.admit(&BALCONY.into(), waiting("c"), Instant::now());
        assert!(stay.let_in() && !stay.let_in());
        assert!(matches!(&stay.inside[0].place, Place::Arriving(a) if a.nick == "c"));
        assert!(stay.turn_away().is_empty());
        assert_eq!(second.turn_away()[0].1.nick, "c");
        assert!(second.inside.is_empty());
    }

    #[test]
    fn a_reflection_finds_the_id_of_its_client() {
        let mut stay = stay();
        stay.sends("k1".into(), Some("m1".into()), None);
        stay.sends("k2".into(), None, None);
        assert_eq!(stay.reflects(&"k1".into()).and_then(|(id, _)| id.map(|id| &**id)), Some("m1"));
        assert!(stay.reflects(&"k2".into()).is_none());
        stay.reflected(&"k1".into());
        assert!(stay.reflects(&"k1".into()).is_none());
        for n in 0..2 * REFLECTIONS {
            stay.sends(format!("k{n}").into(), Some("m".into()), None);
        }
        assert_eq!(stay.talk.expect("words").sent.len(), REFLECTIONS);
    }

    #[test]
    fn a_session_without_rooms_is_forgotten() {
        let occupancy = Occupancy::default();
        let of = SessionOf::new("juliet@example.org".into(), "net".into());
        let stays = occupancy.open(&of);
        lock(&stays).list.push(stay());
        drop(stays);
        occupancy.prune();
        let stays = occupancy.of(&of).expect("somebody is in a room");
        lock(&stays).end(&"#verona".into());
        occupancy.prune();
        assert!(occupancy.of(&of).is_some(), "somebody holds it");
        drop(stays);
        occupancy.prune();
        assert!(occupancy.of(&of).is_none());
    }

    #[test]
    fn the_user_is_away_when_all_resources_are() {
        let mut stays = Stays::default();
        assert_eq!(stays.all_away(), None);
        let mut one = stay();
        one.admit(&BALCONY.into(), Place::Inside, Instant::now());
        one.admit(&CHAMBER.into(), Place::Inside, Instant::now());
        stays.list.push(one);
        stays.list[0].inside[0].away = true;
        assert_eq!(stays.all_away(), Some(false));
        stays.list[0].inside[1].away = true;
        assert_eq!((stays.all_away(), stays.resources().len()), (Some(true), 2));
    }

    #[test]
    fn a_user_is_away_with_the_words_of_who_is_away_and_each_news_is_told_once() {
        let (balcony, chamber): (Arc<str>, Arc<str>) = (BALCONY.into(), CHAMBER.into());
        let mut stays = Stays::default();
        assert_eq!(stays.away_news(), None);
        let mut one = stay();
        one.admit(&balcony, Place::Inside, Instant::now());
        one.admit(&chamber, Place::Inside, Instant::now());
        stays.list.push(one);
        stays.says(&balcony, true, Some("asleep"));
        assert_eq!(stays.away_news(), None, "the other is there");
        // Who is left is away, and has said why.
        stays.list[0].inside.retain(|r| r.jid == balcony);
        assert_eq!(stays.away_news(), Some((true, Some("asleep".to_owned()))));
        assert_eq!(stays.away_news(), None);
        stays.says(&balcony, true, Some("at church"));
        assert_eq!(stays.away_news(), Some((true, Some("at church".to_owned()))));
        stays.says(&balcony, true, None);
        assert_eq!(stays.away_news(), Some((true, None)));
        stays.says(&balcony, false, Some("here"));
        assert_eq!(stays.away_news(), Some((false, None)));
        assert!(stays.away.is_none(), "it costs nothing any more");
        // The last one takes it along: whoever comes next says it anew.
        stays.says(&balcony, true, None);
        assert_eq!(stays.away_news(), Some((true, None)));
        let left = std::mem::take(&mut stays.list[0].inside);
        assert_eq!(stays.away_news(), None);
        stays.list[0].inside = left;
        assert_eq!(stays.away_news(), Some((true, None)));
    }
}
