//! `accept` and `block`: who may write.

use isthmus_bridge::{Address, Call, ContactId, DeliveryError, Gateway, Refused, Step, Text};

use super::{CONTACT, choose, contact_of};
use crate::session::store_away;
use crate::state;

/// Lets a stranger write, and delivers what they sent.
pub(super) async fn accept(call: &Call, host: &dyn Gateway) -> Result<Step, DeliveryError> {
    let Some(contact) = contact_of(call) else { return ask(call, host).await };
    let mut changes = vec![state::accept(&call.user, &contact)];
    let mut count = 0_u32;
    for (mail, taken_away) in state::held(host, &call.user, Some(&contact)).await.map_err(store_away)? {
        let place = state::release(host, &call.user, &mail).await.map_err(store_away)?;
        let results = host.accept(mail.events).await;
        // What the core refuses for good is gone, as it would be had it come now; what it cannot take now stays held.
        if results.iter().all(|r| !matches!(r, Err(Refused::Later(_) | Refused::Full(_)))) {
            changes.push(taken_away);
            // At once, for the next one may go into the same conversation.
            host.store(place).await.map_err(store_away)?;
            count += 1;
        }
    }
    host.store(changes).await.map_err(store_away)?;
    Ok(Step::done(Text::key("accepted").with("address", &contact).with("count", count)))
}

/// Nothing more from them; what is held is thrown away.
pub(super) async fn block(call: &Call, host: &dyn Gateway) -> Result<Step, DeliveryError> {
    let Some(contact) = contact_of(call) else { return ask(call, host).await };
    host.block(&call.user, &Address::Contact(contact.clone()), true).await.map_err(store_away)?;
    let held = state::held(host, &call.user, Some(&contact)).await.map_err(store_away)?;
    host.store(held.into_iter().map(|(_, taken_away)| taken_away).collect()).await.map_err(store_away)?;
    Ok(Step::done(Text::key("blocked").with("address", &contact)))
}

/// Whom? Those whose mail is held.
async fn ask(call: &Call, host: &dyn Gateway) -> Result<Step, DeliveryError> {
    let held = state::held(host, &call.user, None).await.map_err(store_away)?;
    let mut who: Vec<ContactId> = held.into_iter().map(|(mail, _)| mail.from).collect();
    who.sort();
    who.dedup();
    if who.is_empty() {
        return Ok(Step::done(Text::key("nobody-waits")));
    }
    let choices = who.iter().map(|c| (c.to_string(), Text::plain(c.as_str()))).collect();
    Ok(choose("strangers.title", CONTACT, choices))
}
