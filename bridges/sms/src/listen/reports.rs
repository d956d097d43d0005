//! Delivery reports, in whatever order they come.

use isthmus_bridge::{DeliveryError, Event, ForeignMessageId, Host, Inbound, Late, MessageRef, OnceKey, Text};
use tracing::debug;

use super::webhook::NotTaken;
use crate::Texts;
use crate::carry::foreign;
use crate::config::Provider;
use crate::provider::answer::explained;
use crate::provider::hook::{Reported, State};
use crate::state;

/// It failed, as was told.
const FAILED: u8 = 1;
/// It is on the phone, as was told.
const DELIVERED: u8 = 2;

/// Hands a report on. The core keeps one that comes before the text's own answer, and lets states only rise: of `delivered` and `failed` the first
/// wins, but that `delivered` after `failed` makes a receipt; then a note says so.
pub(crate) async fn take(texts: &Texts, provider: &Provider, report: Reported, host: &Host) -> Result<(), NotTaken> {
    let id = foreign(&provider.name, &report.id);
    let later = |_| NotTaken::Later;
    let of = MessageRef::foreign(texts.network.clone(), ForeignMessageId::from(id.as_str()));
    let known = host.find(&of).await.map_err(later)?;
    // Only a message to several has legs with names; to one of them the core knows it by the id alone.
    let to = report.to.as_deref().and_then(|to| texts.config.plan.heard(to, provider.spec.numbers.in_digits));
    let group = state::is_group(host.as_ref(), &id).await.map_err(later)?;
    let leg = to.filter(|_| group).map(|number| number.contact());
    let mark = match &leg {
        Some(leg) => format!("{id} {leg}"),
        None => id.clone(),
    };
    let told = state::told(host.as_ref(), &mark).await.map_err(later)?;
    let what = match report.state {
        State::Pending => return Ok(()),
        State::Delivered => Late::Delivered,
        State::Displayed => Late::Displayed,
        State::Failed if told == DELIVERED => return Ok(()),
        State::Failed => Late::Failed(failure(provider, &report)),
    };
    let now_told = if report.state == State::Failed { FAILED } else { DELIVERED };
    host.outcome(of.clone(), leg, what).await.map_err(|error| {
        debug!(%error, "a report waits for the store");
        NotTaken::Later
    })?;
    if let (FAILED, DELIVERED, Some(known)) = (told, now_told, known) {
        let text = Text::key("delivered-after-all");
        let notice = Event::Notice { text, about: Some(of), actions: Vec::new() };
        let mut event = Inbound::new(known.user, known.address, notice);
        event.at = host.now();
        event.once = Some(OnceKey::new(format!("after-all {mark}")));
        if host.accept(vec![event]).await.iter().any(Result::is_err) {
            return Err(NotTaken::Later);
        }
    }
    if told < now_told {
        host.store(vec![state::tell(host.now(), &mark, now_told)]).await.map_err(later)?;
    }
    Ok(())
}

/// The provider's code in words.
fn failure(provider: &Provider, report: &Reported) -> DeliveryError {
    match (&report.code, &report.words) {
        (Some(code), words) if code != "0" => explained(&provider.spec, code, words.as_deref()),
        (_, Some(words)) if !words.trim().is_empty() => explained(&provider.spec, "-", Some(words)),
        _ => explained(&provider.spec, "-", None),
    }
}
