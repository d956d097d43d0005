//! STOP, START, HELP: who does not want texts from a number of ours does not get any.

use isthmus_bridge::{Host, StoreError, Text};
use tracing::info;

use super::incoming::Letter;
use crate::Texts;
use crate::carry::{self, Sending};
use crate::state;
use crate::translate::number::{Number, Shortened};

/// What a text asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Stop,
    Start,
    Help,
}

/// The whole text is the word: "please stop by" is none.
fn asked(texts: &Texts, letter: &Letter) -> Option<Asked> {
    let word = letter.text.trim().trim_end_matches(['.', '!']).to_uppercase();
    let words = &texts.config.keywords;
    if words.stop.contains(&word) {
        Some(Asked::Stop)
    } else if words.start.contains(&word) {
        Some(Asked::Start)
    } else if words.help.contains(&word) {
        Some(Asked::Help)
    } else {
        None
    }
}

/// Enters it in the register, once: a copy that comes later, after another word, changes nothing. The words go to the user all the same, with a line
/// that says what they mean.
pub(crate) async fn heed(texts: &Texts, host: &Host, letter: &Letter) -> Result<Option<Text>, StoreError> {
    let peer = letter.from.contact();
    let asked = match asked(texts, letter) {
        Some(asked @ (Asked::Stop | Asked::Start)) => asked,
        _ => return Ok(None),
    };
    // Of a text without an id nobody knows whether it is a copy, and a STOP counts more than a copy of one.
    let known = match letter.id.is_some() {
        true => state::heeded(host.as_ref(), &letter.once).await?,
        false => None,
    };
    let told = match known {
        Some(told) => told,
        None => {
            let (told, change) = match asked {
                Asked::Stop => {
                    info!(peer = %Shortened(peer.as_str()), own = %Shortened(letter.own.as_str()), "opted out");
                    (true, state::opt_out(host.now(), &letter.own, &peer, letter.text.trim()))
                }
                _ => {
                    let was = state::opted_out(host.as_ref(), &letter.own, &peer).await?;
                    (was, state::opt_in(&letter.own, &peer))
                }
            };
            host.store(vec![change, state::heed(host.now(), &letter.once, told)]).await?;
            told
        }
    };
    let key = if asked == Asked::Stop { "told.stop" } else { "told.start" };
    Ok(told.then(|| Text::key(key).with("number", &peer)))
}

/// Answers the word where the administrator has words for that: once, and without another try.
pub(crate) async fn reply(texts: &Texts, host: &Host, letter: &Letter) {
    let words = &texts.config.keywords;
    let text = match asked(texts, letter) {
        Some(Asked::Stop) => &words.stop_reply,
        Some(Asked::Start) => &words.start_reply,
        Some(Asked::Help) => &words.help_reply,
        None => return,
    };
    let (Some(text), Number::Full(_)) = (text, &letter.from) else { return };
    // A copy of the call, or a loop between two machines, is not answered again.
    let mark = format!("{} {} {text}", letter.own, letter.from);
    match state::load::<bool>(host.as_ref(), "replied", &mark).await {
        Ok(None) => {}
        _ => return,
    }
    let change = state::put("replied", &mark, &true).until(host.now() + state::DAY);
    if host.store(vec![change]).await.is_err() {
        return;
    }
    let key = letter.once.get(..24).unwrap_or(&letter.once).to_owned();
    let sending =
        Sending { key, own: letter.own.clone(), to: vec![letter.from.clone()], text: text.clone(), media: Vec::new() };
    let nobody = isthmus_bridge::BareJid::from("");
    if let Err(error) = carry::carry(texts, host, &nobody, &sending, 0).await {
        info!(failure = ?error.failure, "an answer to a keyword was not taken");
    }
}
