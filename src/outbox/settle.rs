//! What an outcome does to the rows: legs are ended, tried again, or given up, and the sender is told in the same commit.

use isthmus_bridge::{
    Address, ContactId, DeliveryError, Failure, Intent, Leg, Outbound, Outcome, Profile, Retry, Sent, StoreError, Text,
};

use super::json::to_json;
use super::policy::{self, Situation, Verdict};
use super::rows::{self, STARTED, Stored, stored};
use super::{Core, News, Telling, late};
use crate::args;
use crate::inbox;
use crate::storage::{Tx, fresh_id};

/// The name of a recipient's leg: none where the event has a single recipient.
pub(crate) fn leg_of(event: &Outbound, to: &Address) -> Option<ContactId> {
    if event.to.len() < 2 {
        return None;
    }
    Some(match to {
        Address::Contact(contact) => contact.clone(),
        Address::Room(room) => ContactId::new(room.as_str()),
        other => ContactId::new(format!("{other:?}")),
    })
}

/// Records the outcome of an attempt. An answer to an attempt that is not the current one changes nothing.
pub(crate) async fn settle(
    tx: &mut Tx,
    core: &Core,
    (key, attempt): (&str, u32),
    outcome: &Outcome,
    told: &mut bool,
) -> Result<(), StoreError> {
    let members = rows::load(tx, stored!("WHERE head = $1 ORDER BY seq"), args![key]).await?;
    let current = |first: &&Stored| {
        first.key == key && first.ticket() == attempt && matches!(first.state, rows::CLAIMED | STARTED)
    };
    if members.first().filter(current).is_none() {
        return Ok(());
    }
    conclude(tx, core, &members, outcome, told).await
}

/// The process that had begun to send this event is gone.
pub(crate) async fn abandoned(tx: &mut Tx, core: &Core, first: &Stored, told: &mut bool) -> Result<(), StoreError> {
    let head = first.head.as_ref().unwrap_or(&first.key);
    let members = rows::load(tx, stored!("WHERE head = $1 ORDER BY seq"), args![head]).await?;
    conclude(tx, core, &members, &Outcome::Dropped, told).await
}

/// The session could not take it. It is offered again soon, for as long as the bridge's profile allows.
pub(crate) async fn given_back(
    tx: &mut Tx,
    core: &Core,
    key: &str,
    attempt: u32,
    told: &mut bool,
) -> Result<(), StoreError> {
    let members = rows::load(tx, stored!("WHERE head = $1 ORDER BY seq"), args![key]).await?;
    let Some(first) = members.first().filter(|first| first.key == key && first.ticket() == attempt) else {
        return Ok(());
    };
    let now = tx.now();
    let profile = profile_of(core, first);
    if now < policy::until(&profile, first.accepted) {
        let pause = ((now - first.accepted) / 4).clamp(1000, 60_000);
        return rows::requeue(tx, first, now + pause).await;
    }
    let error = DeliveryError::temporary(Failure::TimedOut, Text::key("error.never-taken"));
    let legs = vec![Leg::failed(None, error)];
    conclude(tx, core, &members, &Outcome::Legs(legs), told).await
}

fn profile_of(core: &Core, first: &Stored) -> Profile {
    let mut profile = core.carry.profile(&first.bridge).unwrap_or_else(|| Profile::held("", ""));
    // A second report that something did not arrive is better than none.
    profile.idempotent |= matches!(first.event.intent, Intent::Undelivered { .. });
    profile
}

/// What is known of the legs after an outcome.
#[derive(Default)]
struct Tally {
    finished: Vec<Leg>,
    news: Vec<News>,
    again: Vec<(i64, DeliveryError)>,
    /// Something of it may be on its way: what was joined stays joined, and nothing is withdrawn any more.
    fixed: bool,
}

async fn conclude(
    tx: &mut Tx,
    core: &Core,
    members: &[Stored],
    outcome: &Outcome,
    told: &mut bool,
) -> Result<(), StoreError> {
    let Some(first) = members.first() else { return Ok(()) };
    let profile = profile_of(core, first);
    let unexplained = i64::from(matches!(outcome, Outcome::Dropped));
    let at = Situation {
        accepted: first.accepted,
        now: tx.now(),
        tries: first.tries,
        ends: first.ends + unexplained,
        noticed: first.noticed,
    };
    let mut tally = tally(&profile, at, first, outcome);
    if tally.again.is_empty() {
        end(tx, core, members, &tally.finished, told).await?;
    } else {
        again(tx, &profile, at, first, &mut tally).await?;
    }
    for member in members {
        for news in &tally.news {
            tell(tx, core, (member.sender.as_ref(), &member.event, member.accepted), news, told).await?;
        }
    }
    Ok(())
}

fn tally(profile: &Profile, at: Situation, first: &Stored, outcome: &Outcome) -> Tally {
    let mut tally = Tally { finished: first.legs.clone(), ..Tally::default() };
    for to in rows::open_legs(first, &first.event) {
        let name = leg_of(&first.event, &to.address);
        let leg = answer_for(first, name.as_ref(), outcome);
        let error = match leg.result {
            Ok(()) => {
                tally.fixed = true;
                tally.finished.push(Leg::sent(name, leg.ids));
                continue;
            }
            Err(error) => error,
        };
        tally.fixed |= error.sent == Sent::Maybe;
        let told = match policy::judge(profile, at, &error) {
            Verdict::Retry(due) => {
                tally.again.push((due, error));
                continue;
            }
            Verdict::Fail => News::Failed { leg: name.clone(), error: error.clone() },
            Verdict::Uncertain => News::MaybeSent { leg: name.clone() },
            Verdict::Quarantine => News::Quarantined,
        };
        if !tally.news.contains(&told) {
            tally.news.push(told);
        }
        tally.finished.push(Leg::failed(name, error));
    }
    tally
}

/// The bridge's answer for one recipient: by name, or the one that speaks for all. No answer means that nobody knows.
fn answer_for(first: &Stored, name: Option<&ContactId>, outcome: &Outcome) -> Leg {
    let legs = match outcome {
        Outcome::Legs(legs) => legs.as_slice(),
        _ => &[], // dropped: nobody knows
    };
    let named = legs.iter().find(|leg| name.is_some() && leg.to.as_ref() == name);
    let for_all = || legs.iter().find(|leg| leg.to.is_none());
    let single = || legs.first().filter(|_| name.is_none() || (legs.len() == 1 && first.event.to.len() == 1));
    if let Some(leg) = named.or_else(for_all).or_else(single) {
        return leg.clone();
    }
    let words = Text::key("error.unknown-end");
    Leg::failed(
        None,
        match first.state {
            STARTED => DeliveryError::uncertain(words).with_retry(Retry::ByPolicy),
            _ => DeliveryError::temporary(Failure::Unknown, words),
        },
    )
}

/// Some legs are tried again: the event goes back into the queue with what is finished written down.
async fn again(
    tx: &mut Tx,
    profile: &Profile,
    at: Situation,
    first: &Stored,
    tally: &mut Tally,
) -> Result<(), StoreError> {
    let Some((due, error)) = tally.again.iter().min_by_key(|(due, _)| *due).cloned() else { return Ok(()) };
    let notice = policy::notice_due(profile, at);
    if notice {
        let until = policy::until(profile, first.accepted);
        tally.news.push(News::StillTrying { error: error.clone(), until });
    }
    let legs = to_json(&tally.finished)?;
    let sql = "UPDATE outbox SET state = 0, attempt = attempt + 1, tries = tries + 1, ends = $1, due = $2, reason = $3, legs = $4, \
               noticed = $5, fixed = CASE WHEN $6 = 1 THEN 1 ELSE fixed END WHERE head = $7";
    let head = first.head.as_ref().unwrap_or(&first.key);
    let values = args![at.ends, due, to_json(&error.text)?, legs, notice || first.noticed, tally.fixed, head];
    tx.execute(sql, values).await?;
    Ok(())
}

/// Every leg has ended: the event leaves the queue for the message map.
async fn end(tx: &mut Tx, core: &Core, members: &[Stored], legs: &[Leg], told: &mut bool) -> Result<(), StoreError> {
    let Some(first) = members.first() else { return Ok(()) };
    tx.execute("DELETE FROM outbox WHERE head = $1", args![&first.key]).await?;
    if matches!(first.event.intent, Intent::Send(_)) {
        late::remember(tx, core, members, legs, told).await?;
    }
    Ok(())
}

/// Puts news into words and the words into the inbox.
pub(crate) async fn tell(
    tx: &mut Tx,
    core: &Core,
    (sender, event, accepted): (Option<&super::Sender>, &Outbound, i64),
    news: &News,
    told: &mut bool,
) -> Result<(), StoreError> {
    let Some(sender) = sender else {
        if let News::Failed { error, .. } = news {
            tracing::warn!(key = %event.key, %error, "an event of the gateway's own was not delivered");
        }
        return Ok(());
    };
    let (id, online) = (fresh_id(), core.carry.is_online(&sender.from_full));
    let telling = Telling { sender, event, news, accepted, now: tx.now(), online, id: &id };
    for stanza in core.tell.tell(&telling) {
        inbox::append_in(tx, &sender.bridge, event.user.as_str(), &stanza).await?;
        *told = true;
    }
    Ok(())
}
