//! Parts of a longer text, put together where the provider leaves that to us. Each is on disk before the provider is answered; what does not come
//! in time is marked as missing, and a crash loses none.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use isthmus_bridge::{ContactId, Host, StoreError};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::incoming::{self, Letter};
use super::webhook::NotTaken;
use crate::Texts;
use crate::carry::foreign;
use crate::provider::auth::sha256_hex;
use crate::state::{self, KeptPart};
use crate::translate::number::Number;

/// How often sets whose time is over are looked for.
const SWEEP: Duration = Duration::from_secs(5);

/// Keeps a part, and delivers the text when it is whole.
pub(crate) async fn take(texts: &Texts, host: &Host, of: &str, part: KeptPart) -> Result<(), NotTaken> {
    let later = |_: StoreError| NotTaken::Later;
    if state::part_done(host.as_ref(), &part.once).await.map_err(later)? {
        return Ok(());
    }
    // One of another length with the same reference is another text.
    let set = sha256_hex(format!("{} {} {} {} {of}", part.provider, part.own, part.from, part.count).as_bytes());
    host.store(vec![state::keep_part(&set, &part)]).await.map_err(later)?;
    let all = state::parts(host.as_ref()).await.map_err(later)?;
    let own: Vec<_> = all.into_iter().filter(|(key, _)| key.starts_with(&set)).collect();
    if own.len() as u64 == u64::from(part.count) {
        return finish(texts, host, own).await;
    }
    Ok(())
}

/// Delivers what there is of a text. What nobody can have is dropped, so that it does not wait for ever.
async fn finish(texts: &Texts, host: &Host, parts: Vec<(String, KeptPart)>) -> Result<(), NotTaken> {
    let Some(letter) = joined(&parts) else { return Ok(()) };
    let result = incoming::deliver(texts, None, letter, host).await;
    if result != Err(NotTaken::Later) {
        host.store(state::parts_done(host.now(), &parts)).await.map_err(|_| NotTaken::Later)?;
    }
    result
}

/// The text of these parts, in order, with a mark where one is missing.
fn joined(parts: &[(String, KeptPart)]) -> Option<Letter> {
    let by_number: BTreeMap<u32, &KeptPart> = parts.iter().map(|(_, part)| (part.number, part)).collect();
    let first = by_number.values().next()?;
    let mut text = String::new();
    for number in 1..=first.count {
        match by_number.get(&number) {
            Some(part) => text.push_str(&part.text),
            None => text.push_str("[…]"),
        }
    }
    let marks: Vec<&str> = by_number.values().map(|part| part.once.as_str()).collect();
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(first.at)).unwrap_or(SystemTime::UNIX_EPOCH);
    Some(Letter {
        data: None,
        own: ContactId::from(first.own.as_str()),
        from: Number::of(&ContactId::from(first.from.as_str())),
        spelled: first.spelled.clone(),
        text,
        id: first.id.as_ref().map(|id| foreign(&first.provider, id)),
        at,
        media: Vec::new(),
        once: sha256_hex(marks.join(" ").as_bytes()),
    })
}

/// Delivers what does not become whole in time; until `stop`.
pub(crate) async fn sweep(texts: &Texts, host: &Host, stop: &CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP.min(texts.config.parts_wait)) => {}
        }
        if let Err(error) = over(texts, host).await {
            warn!(%error, "parts of texts could not be looked through");
        }
    }
}

async fn over(texts: &Texts, host: &Host) -> Result<(), StoreError> {
    let mut sets: BTreeMap<String, Vec<(String, KeptPart)>> = BTreeMap::new();
    for (key, part) in state::parts(host.as_ref()).await? {
        let set = key.split(' ').next().unwrap_or_default().to_owned();
        sets.entry(set).or_default().push((key, part));
    }
    let now = state::seconds(host.now());
    for (_, parts) in sets {
        let newest = parts.iter().map(|(_, part)| part.came).max().unwrap_or(0);
        let whole = parts.first().is_some_and(|(_, part)| parts.len() as u64 == u64::from(part.count));
        if whole || now.saturating_sub(newest) >= texts.config.parts_wait.as_secs() {
            if !whole {
                info!(parts = parts.len(), "a text is delivered without the parts that did not come");
            }
            // What the store did not take is tried at the next turn.
            let _ = finish(texts, host, parts).await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_part_whose_time_is_out_of_all_bounds_is_no_panic() {
        let part = KeptPart {
            provider: "one".into(),
            own: "+4930123456".into(),
            from: "+4930654321".into(),
            spelled: "+4930654321".into(),
            count: 2,
            number: 1,
            text: "half".into(),
            once: "1".into(),
            id: None,
            at: u64::MAX,
            came: 0,
        };
        let letter = joined(&[("key".to_owned(), part)]).expect("a text");
        assert_eq!((letter.text.as_str(), letter.at), ("half[…]", SystemTime::UNIX_EPOCH));
    }
}
