//! A mail's way from the last octet to the answer: read it, find out who it is from, and give it to each recipient.
//!
//! | module | what |
//! |---|---|
//! | [`recipient`] | whom a `RCPT TO` means |
//! | [`pace`] | how many an hour |
//! | [`compose`] | a mail and a user → events and what is remembered |
//! | [`mixed`] | one answer for recipients that fare differently |
//! | [`forward`] | mail for administrators, passed on by mail |
//! | [`reports`] | bounces and dispositions → outcomes of what was sent |

mod compose;
mod forward;
mod mixed;
mod pace;
mod recipient;
mod reports;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use isthmus_bridge::{BareJid, Change, DeliveryError, Failure, File, FileSource, Host, Inbound, Media, Refused};
use tokio::sync::Semaphore;
use tracing::{error, info, warn};

use crate::Mail as Bridge;
use crate::address::Mailbox;
use crate::auth::{Checker, Peer, Policy, Standing, Verdict};
use crate::config::SpamAction;
use crate::proto::{Envelope, Reply};
use crate::report::{self, Report};
use crate::translate::inbound::{self, Mail, Person};
use crate::translate::mime::{self, Part};

pub(crate) use recipient::Recipient;

/// Mails that are taken apart at the same time.
const READERS: usize = 4;
/// Time for taking one apart. It is linear work on a bounded mail; this is for a fault of ours.
const READ_TIME: Duration = Duration::from_secs(60);
/// A mail that came through so many servers goes round in circles (RFC 5321 section 6.3 asks for a bound of at least 100 between all servers;
/// behind our own server nothing sound comes near this).
const MAX_HOPS: usize = 50;

/// Takes mails in.
pub(crate) struct Intake {
    bridge: Arc<Bridge>,
    host: Host,
    checker: Checker,
    readers: Arc<Semaphore>,
    pace: pace::Pace,
}

/// What becomes of a mail for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// Committed, or known already.
    Taken,
    /// Stopped by policy: refused where that hurts nobody (SMTP), dropped behind our own server (LMTP), whose bounce would hit a forged sender.
    Stopped(Reply),
    /// Refused: one of the three refusals that LMTP may make too (unknown, over quota, over size), or try again.
    Refused(Reply),
}

/// A mail and all that was found out about it.
struct Letter {
    raw: Bytes,
    mail: Mail,
    /// What it reports, if it is a report.
    report: Option<Report>,
    /// Envelope sender; `None` for reports.
    sender: Option<Mailbox>,
    /// Who the users see it from.
    from: Person,
    verdict: Verdict,
    spam: bool,
    quarantined: bool,
}

/// What a recipient is about to get.
#[derive(Default)]
struct Plan {
    events: Vec<Inbound>,
    before: Vec<Change>,
    after: Vec<Change>,
}

impl Letter {
    /// Whether it may well be from somebody else than it says.
    fn is_doubtful(&self) -> bool {
        matches!(self.verdict.standing, Standing::Failed(_) | Standing::Unfinished)
    }

    /// Whether its domain wants it kept away: what comes back of it goes to somebody who has not sent it.
    fn is_disowned(&self) -> bool {
        matches!(self.verdict.standing, Standing::Failed(Policy::Quarantine | Policy::Reject))
    }
}

impl Intake {
    /// For this bridge.
    pub(crate) fn new(bridge: Arc<Bridge>, host: Host) -> Result<Self, String> {
        let checker = Checker::new(&bridge.config.auth, &bridge.config.listen.hello)?;
        let pace = pace::Pace::new(bridge.config.limits.contact_per_hour);
        Ok(Self { bridge, host, checker, readers: Arc::new(Semaphore::new(READERS)), pace })
    }

    /// Answers a `RCPT TO`.
    pub(crate) async fn recipient(&self, to: &str, peer: &Peer) -> Result<Recipient, Reply> {
        recipient::resolve(&self.bridge.config, self.host.as_ref(), to, peer).await
    }

    /// Takes a mail; one answer for each recipient, in order. A positive one means that it is committed.
    pub(crate) async fn mail(&self, envelope: Envelope<Recipient>, raw: Vec<u8>, peer: &Peer) -> Vec<Reply> {
        let count = envelope.recipients.len();
        let raw = Bytes::from(raw);
        let (letter, fates) = match self.letter(&envelope.from, raw, peer).await {
            Ok(letter) => {
                let mut fates = self.deliver(&letter, &envelope.recipients).await;
                fates = self.forward(&letter, &envelope.recipients, fates).await;
                if matches!(peer, Peer::Direct { .. }) {
                    fates = self.reconcile(&letter, &envelope.recipients, fates).await;
                }
                (Some(letter), fates)
            }
            Err(fate) => (None, vec![fate; count]),
        };
        let id = letter.as_ref().and_then(|l| l.mail.id.as_deref()).unwrap_or("");
        fates.into_iter().map(|fate| answer(fate, peer, &envelope.from, id)).collect()
    }

    /// Reads a mail and judges it; what stops it for everybody is an error.
    async fn letter(&self, return_path: &str, raw: Bytes, peer: &Peer) -> Result<Letter, Fate> {
        let (mail, report) = self.read(raw.clone()).await?;
        if mail.hops > MAX_HOPS {
            return Err(Fate::Stopped(Reply::new(554, "5.4.6", "this mail goes round in circles")));
        }
        let sender = Mailbox::parse(return_path).ok();
        // RFC 5322 wants a From; where there is none the envelope says who sent it. With neither there is nobody to show it from.
        let from = match (&mail.from, &sender) {
            (Some(from), _) => from.clone(),
            (None, Some(sender)) => Person { mailbox: sender.clone(), name: None },
            (None, None) => {
                return Err(Fate::Stopped(Reply::new(554, "5.6.0", "this mail says nowhere who it is from")));
            }
        };
        let spam = self.is_spam(&raw);
        if spam && self.bridge.config.spam.action != SpamAction::Mark {
            return match self.bridge.config.spam.action {
                SpamAction::Refuse => Err(Fate::Stopped(Reply::new(550, "5.7.1", "this looks like spam"))),
                _ => {
                    info!(id = mail.id.as_deref().unwrap_or(""), "spam was dropped");
                    Err(Fate::Taken)
                }
            };
        }
        let direct = matches!(peer, Peer::Direct { .. });
        if !mail.author_is_sound && direct {
            // RFC 5322 section 3.6 wants one From; with several domains in it nothing says which of them would have to vouch for the mail (RFC 7489,
            // 6.6.1).
            return Err(Fate::Stopped(Reply::new(
                550,
                "5.7.1",
                "this mail does not name one author domain in one From",
            )));
        }
        let mut verdict = self.checker.check(raw.clone(), peer, return_path, &from.mailbox).await;
        if !mail.author_is_sound {
            verdict.standing = verdict.standing.without_author();
        }
        if verdict.standing == Standing::Unfinished && direct {
            info!(from = %from.mailbox, verdict = %verdict.words, "a mail's sender could not be checked; it is put off");
            return Err(Fate::Refused(Reply::new(451, "4.7.0", "the sender cannot be checked now, try again later")));
        }
        let mut quarantined = false;
        if verdict.standing == Standing::Failed(Policy::Reject) {
            if direct {
                let words = format!("the domain of {} wants such mail refused (DMARC)", from.mailbox);
                return Err(Fate::Stopped(Reply::new(550, "5.7.1", words)));
            }
            quarantined = true;
        }
        Ok(Letter { raw, mail, report, sender, from, verdict, spam, quarantined })
    }

    /// Takes a mail apart, off the threads that serve connections. One that cannot be read is shown as a file.
    async fn read(&self, raw: Bytes) -> Result<(Mail, Option<Report>), Fate> {
        let later = |words: &str| Fate::Refused(Reply::new(451, "4.3.0", words));
        let permit = match tokio::time::timeout(READ_TIME, self.readers.clone().acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            _ => return Err(later("busy, try again later")),
        };
        let whole = raw.clone();
        let work = tokio::task::spawn_blocking(move || {
            let read = (inbound::read(&raw), report::read(&raw));
            drop(permit);
            read
        });
        match tokio::time::timeout(READ_TIME, work).await {
            Ok(Ok(read)) => Ok(read),
            Ok(Err(fault)) => {
                error!(error = %fault, octets = whole.len(), "a mail could not be read; it is delivered as a file");
                Ok((inbound::unreadable(&whole), None))
            }
            Err(_) => {
                error!(octets = whole.len(), "a mail took too long to read; it is delivered as a file");
                Ok((inbound::unreadable(&whole), None))
            }
        }
    }

    fn is_spam(&self, raw: &[u8]) -> bool {
        let part = Part::read(raw);
        let marks = |(name, begin): &(String, String)| {
            part.all(name).iter().any(|v| v.trim().get(..begin.len()).is_some_and(|v| v.eq_ignore_ascii_case(begin)))
        };
        self.bridge.config.spam.headers.iter().any(marks)
    }

    async fn deliver(&self, letter: &Letter, recipients: &[Recipient]) -> Vec<Fate> {
        let mut fates: Vec<Option<Fate>> = Vec::with_capacity(recipients.len());
        let mut plans: Vec<(usize, Plan)> = Vec::new();
        let mut files: Option<Result<Vec<File>, Fate>> = None;
        for (at, recipient) in recipients.iter().enumerate() {
            let (users, to) = match recipient {
                Recipient::Forged => {
                    info!(
                        id = letter.mail.id.as_deref().unwrap_or(""),
                        "mail to a bounce address that was never made here was dropped"
                    );
                    fates.push(Some(Fate::Taken));
                    continue;
                }
                Recipient::Bounce(bounce) => {
                    let done = self.bounced(letter, bounce).await;
                    match done {
                        reports::Done::Fate(fate) => fates.push(Some(fate)),
                        reports::Done::Ordinary(user, to) => {
                            fates.push(None);
                            self.prepare(letter, &[user], &to, at, &mut files, &mut plans, &mut fates).await;
                        }
                    }
                    continue;
                }
                Recipient::User { user, address } => {
                    if let Some(fate) = self.reported(letter, user).await {
                        fates.push(Some(fate));
                        continue;
                    }
                    (vec![user.clone()], address)
                }
                // Whatever it looks like: who complains (RFC 5965) or asks is heard.
                Recipient::Administrators(address) => (self.host.admins(), address),
            };
            fates.push(None);
            self.prepare(letter, &users, to, at, &mut files, &mut plans, &mut fates).await;
            if users.is_empty() {
                // Administrators by mail only: passed on below.
                merge(&mut fates[at], Fate::Taken);
            }
        }
        self.commit(plans, &mut fates).await;
        let lost = || Fate::Refused(Reply::new(451, "4.3.0", "not settled, try again later"));
        fates.into_iter().map(|f| f.unwrap_or_else(lost)).collect()
    }

    /// Plans what these users get; what keeps a mail from them becomes the fate of the recipient.
    #[allow(clippy::too_many_arguments)] // the accumulators of one loop
    async fn prepare(
        &self,
        letter: &Letter,
        users: &[BareJid],
        to: &Mailbox,
        at: usize,
        files: &mut Option<Result<Vec<File>, Fate>>,
        plans: &mut Vec<(usize, Plan)>,
        fates: &mut [Option<Fate>],
    ) {
        for user in users {
            let planned = match self.admit(letter, user).await {
                Err(fate) => Err(fate),
                Ok((from, gate)) => match self.settled_before(letter, user).await {
                    Some(settled) => settled.map(|()| Plan::default()),
                    None => {
                        // Kept once for all recipients, and only when somebody gets them.
                        if files.is_none() {
                            *files = Some(self.keep(letter).await);
                        }
                        match files.as_ref() {
                            Some(Ok(files)) => self.plan(letter, user, to, files, from, gate).await,
                            Some(Err(fate)) => Err(fate.clone()),
                            None => Ok(Plan::default()),
                        }
                    }
                },
            };
            match planned {
                Ok(plan) => plans.push((at, plan)),
                Err(fate) => merge(&mut fates[at], fate),
            }
        }
    }

    /// What becomes of a mail with files for a user who has it already, or has no room for it: known before its files are kept.
    async fn settled_before(&self, letter: &Letter, user: &BareJid) -> Option<Result<(), Fate>> {
        let files = &letter.mail.files;
        if files.is_empty() {
            return None;
        }
        let size = files.iter().map(|file| file.octets.len() as u64).sum();
        match self.host.expects(user, &compose::once(letter, user), size).await {
            Ok(true) => None,
            Ok(false) => Some(Ok(())),
            Err(refused) => Some(Err(refusal(refused))),
        }
    }

    /// Stores the files of a mail; one that is too big for the store is only named.
    async fn keep(&self, letter: &Letter) -> Result<Vec<File>, Fate> {
        let mut files = Vec::new();
        for file in &letter.mail.files {
            let size = u64::try_from(file.octets.len()).ok();
            let media = Media::new(file.name.clone(), file.media_type.clone(), size);
            let source = match self.host.keep(file.octets.clone(), media.clone()).await {
                Ok(blob) => FileSource::Blob(blob),
                Err(Refused::Never(_)) => FileSource::Missing,
                Err(refused) => {
                    warn!(error = %refused, "the files of a mail could not be kept");
                    return Err(Fate::Refused(Reply::new(452, "4.3.1", "no room now, try again later")));
                }
            };
            files.push(File::new(source, media));
        }
        Ok(files)
    }

    /// Commits what was planned: what the user can ask for later first, then the messages, then what the next mail needs to know.
    async fn commit(&self, plans: Vec<(usize, Plan)>, fates: &mut [Option<Fate>]) {
        if plans.is_empty() {
            return;
        }
        let (mut before, mut after, mut events, mut owners) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (at, plan) in plans {
            before.extend(plan.before);
            after.extend(plan.after);
            if plan.events.is_empty() {
                owners.push((at, None));
            }
            for (n, event) in plan.events.into_iter().enumerate() {
                // The first event is the mail; what follows are notes on it.
                if n == 0 {
                    owners.push((at, Some(events.len())));
                }
                events.push(event);
            }
        }
        if !before.is_empty()
            && let Err(fault) = self.host.store(before).await
        {
            warn!(error = %fault, "mail could not be stored; its sender will try again");
            for (at, _) in owners {
                merge(&mut fates[at], Fate::Refused(Reply::new(451, "4.3.0", "storage is away, try again later")));
            }
            return;
        }
        let results = if events.is_empty() { Vec::new() } else { self.host.accept(events).await };
        for (at, event) in owners {
            let fate = match event.map(|n| results.get(n)) {
                None | Some(Some(Ok(()))) => Fate::Taken,
                Some(Some(Err(refused))) => refusal(refused.clone()),
                Some(None) => Fate::Refused(Reply::new(451, "4.3.0", "not settled, try again later")),
            };
            merge(&mut fates[at], fate);
        }
        if !after.is_empty()
            && let Err(fault) = self.host.store(after).await
        {
            // The mail itself is safe; its conversation is only less well known.
            warn!(error = %fault, "the conversation of a mail could not be stored");
        }
    }
}

/// One fate out of those of several users that a recipient stands for (administrators): something to be tried again before all, else served
/// when one of them is.
fn merge(fate: &mut Option<Fate>, with: Fate) {
    let rank = |f: &Fate| match f {
        Fate::Stopped(_) => 0,
        Fate::Refused(reply) if !reply.is_temporary() => 1,
        Fate::Taken => 2,
        Fate::Refused(_) => 3,
    };
    match fate {
        Some(old) if rank(old) >= rank(&with) => {}
        _ => *fate = Some(with),
    }
}

fn refusal(refused: Refused) -> Fate {
    let error = match refused {
        Refused::Never(error) => error,
        Refused::Full(_) => {
            return Fate::Refused(Reply::new(452, "4.2.2", "the mailbox is over its quota, try again later"));
        }
        refused => {
            warn!(reason = %refused, "mail was not taken; its sender will try again");
            return Fate::Refused(Reply::new(451, "4.3.0", "storage is away, try again later"));
        }
    };
    let words = |error: &DeliveryError| mime::one_line(&error.text.to_string());
    match error.failure {
        Failure::OverQuota | Failure::Full => Fate::Refused(Reply::new(552, "5.2.2", "the mailbox is over its quota")),
        Failure::TooLong { .. } => Fate::Refused(Reply::new(552, "5.3.4", "the mail is too big")),
        Failure::NoSuchRecipient | Failure::NotRegistered => {
            Fate::Refused(Reply::new(550, "5.1.1", "no such person here"))
        }
        Failure::Throttled { .. } => {
            Fate::Refused(Reply::new(452, "4.2.2", "too many mails within the hour, try again later"))
        }
        _ => Fate::Stopped(Reply::new(550, "5.7.1", words(&error))),
    }
}

fn answer(fate: Fate, peer: &Peer, sender: &str, id: &str) -> Reply {
    match fate {
        Fate::Taken => Reply::new(250, "2.0.0", "taken"),
        Fate::Refused(reply) => reply,
        Fate::Stopped(reply) if matches!(peer, Peer::Direct { .. }) => reply,
        Fate::Stopped(reply) => {
            // RFC 5321 section 6.2: better a line here than a bounce to somebody who sent nothing.
            info!(%reply, sender = %mime::one_line(sender), id = %mime::one_line(id), "mail was stopped by policy and dropped");
            Reply::new(250, "2.0.0", "taken")
        }
    }
}
