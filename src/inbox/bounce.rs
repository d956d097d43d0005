//! What the server took and gave back, and what cannot be sent at all.

use isthmus_bridge::{DeliveryError, Event, Failure, Inbound, Intent, Outbound, StoreError, Text};

use super::Returned;
use super::delay::{bare_of, domain_of};
use super::rows::{self, KEPT, QUARANTINED};
use crate::args;
use crate::outbox::json::from_json;
use crate::outbox::report;
use crate::storage::{Tx, fresh_id};

/// Pauses before a stanza that came back is sent again, in minutes; the last one repeats.
const PAUSES: [i64; 6] = [1, 5, 15, 30, 60, 120];

/// An error for one of our stanzas. Gives whether it was one.
pub(crate) async fn returned(tx: &mut Tx, bridge: &str, error: &Returned) -> Result<bool, StoreError> {
    let sql = "SELECT s.message, s.n, s.recipient, i.state, i.notice, i.event, i.received, i.tries \
               FROM stanzas s JOIN inbox i ON i.id = s.message WHERE s.bridge = $1 AND s.id = $2 ORDER BY i.seq DESC LIMIT 1";
    let Some(row) = tx.fetch_one(sql, args![bridge, &error.id]).await? else { return Ok(false) };
    let (id, n, to, state) = (row.text(0)?, row.int(1)?, row.text(2)?, row.int(3)?);
    let from = bare_of(&error.from);
    if from != bare_of(&to) && from != domain_of(&to) {
        return Ok(false); // ids are unguessable, but a contact may have told one on
    }
    if state == QUARANTINED {
        return Ok(true);
    }
    let (received, tries) = (row.int(6)?, row.int(7)?);
    let pause = PAUSES[usize::try_from(tries).unwrap_or(0).min(PAUSES.len() - 1)] * 60_000;
    let due = tx.now() + pause;
    if is_temporary(error) && due < received + KEPT {
        // Its siblings that did not come back are not sent again, unless they wait for it already.
        if state != rows::PREPARED {
            tx.execute("UPDATE stanzas SET open = 0 WHERE message = $1", args![&id]).await?;
        }
        tx.execute("UPDATE stanzas SET open = 1 WHERE message = $1 AND n = $2", args![&id, n]).await?;
        let sql = "UPDATE inbox SET state = 1, due = $1, tries = tries + 1, reason = $2, changed = $3 WHERE id = $4";
        let now = tx.now();
        tx.execute(sql, args![due, describe(error), now, &id]).await?;
        return Ok(true);
    }
    if !row.flag(4)? {
        undelivered(tx, bridge, row.opt_text(5)?, failure(error)).await?;
    }
    rows::remove(tx, &id).await?;
    Ok(true)
}

/// A row that ends streams, or that cannot be prepared: it stays for the operator, and the bridge is told.
pub(crate) async fn quarantine(tx: &mut Tx, bridge: &str, id: &str, why: &str) -> Result<(), StoreError> {
    let sql = "SELECT notice, event FROM inbox WHERE id = $1 AND state <> $2";
    let Some(row) = tx.fetch_one(sql, args![id, QUARANTINED]).await? else { return Ok(()) };
    let now = tx.now();
    let sql = "UPDATE inbox SET state = $1, reason = $2, changed = $3 WHERE id = $4";
    tx.execute(sql, args![QUARANTINED, why, now, id]).await?;
    if !row.flag(0)? {
        let error = DeliveryError::new(Failure::Rejected, Text::key("error.inbox-quarantined"));
        undelivered(tx, bridge, row.opt_text(1)?, error).await?;
    }
    Ok(())
}

/// Tells the bridge, by an event in the outbox, that an event of its did not reach the person.
async fn undelivered(tx: &mut Tx, bridge: &str, event: Option<String>, error: DeliveryError) -> Result<(), StoreError> {
    let Ok(event) = from_json::<Inbound>(&event.unwrap_or_default()) else {
        tracing::error!(bridge, "an inbound event that came back cannot be read; nobody can be told");
        return Ok(());
    };
    let said = match event.event {
        Event::Message(message) => Some(message),
        _ => None,
    };
    let intent = Intent::Undelivered { of: event.id, once: event.once, said, error };
    let mut report_event = Outbound::new(fresh_id().into(), event.to, event.from, intent);
    report_event.at = u64::try_from(tx.now()).unwrap_or(0);
    report(tx, bridge, &report_event).await
}

/// Passes by itself: the error says so, or another server was not reached.
fn is_temporary(error: &Returned) -> bool {
    error.kind == "wait" || error.condition.starts_with("remote-server-")
}

fn failure(error: &Returned) -> DeliveryError {
    let failure = match error.condition.as_str() {
        "item-not-found" | "gone" | "jid-malformed" => Failure::NoSuchRecipient,
        "forbidden" | "not-allowed" | "policy-violation" | "not-authorized" => Failure::Forbidden,
        "resource-constraint" => Failure::OverQuota,
        "recipient-unavailable" | "service-unavailable" => Failure::Unreachable,
        condition if condition.starts_with("remote-server-") => Failure::Unreachable,
        _ => Failure::Rejected,
    };
    let words = match &error.text {
        Some(text) => Text::plain(text.clone()),
        None => Text::key("error.inbox-returned").with("condition", &error.condition),
    };
    DeliveryError::new(failure, words).with_code(error.condition.clone())
}

fn describe(error: &Returned) -> String {
    match &error.text {
        Some(text) => format!("{}: {text}", error.condition),
        None => error.condition.clone(),
    }
}
