//! What a network does not carry, said in words. Once, here, for all bridges.

use isthmus_bridge::{Abilities, Message, MessageRef, Resolved};

/// The setting that a bridge may declare: how a correction is told where the network has none. `redact`: withdrawn, and said anew; `substitute`:
/// `s/old/new/`; anything else: all of it, with the profile's prefix.
const CORRECTIONS: &str = "corrections";
/// Its value for `s/old/new/`.
const SUBSTITUTE: &str = "substitute";

/// The setting that a bridge may declare: how an answer is told where the network has none. `name`: after the nick of whoever is answered, as people
/// do in rooms; `plain`: the answer alone; anything else: after the words that it answers.
const REPLIES: &str = "replies";

/// The message that another one refers to, as far as it is known.
#[derive(Debug, Clone, Default)]
pub struct Meant {
    /// Its names on the network, in order of its parts; empty where the network has none for it.
    pub names: Vec<MessageRef>,
    /// Its words, where they are remembered.
    pub words: Option<String>,
    /// Who said it, where that has to be said: in a room.
    pub by: Option<String>,
}

/// What is left to do beside sending the message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Before {
    /// These are withdrawn first.
    pub withdraw: Vec<MessageRef>,
    /// The id by which the sender's client knows what is withdrawn.
    pub first: Option<String>,
}

/// A correction: carried as one, or told as the user wants it.
pub fn correction(message: &mut Message, meant: &Meant, can: Abilities, chosen: &Resolved, prefix: &str) -> Before {
    if can.corrections
        && let Some(first) = meant.names.first()
    {
        message.replaces = Some(first.clone());
        return Before::default();
    }
    match chosen.str(CORRECTIONS) {
        "redact" if can.retractions && !meant.names.is_empty() => {
            return Before { withdraw: meant.names.clone(), first: None };
        }
        SUBSTITUTE => {
            if let Some(short) = meant.words.as_deref().and_then(|old| substitution(old, &message.body)) {
                message.body = short;
                return Before::default();
            }
        }
        _ => {}
    }
    message.body.insert_str(0, prefix);
    Before::default()
}

/// An answer: carried as one, or told as the user wants it.
pub fn answer(message: &mut Message, meant: &Meant, can: Abilities, chosen: &Resolved) {
    if can.replies
        && let Some(first) = meant.names.first()
    {
        message.reply_to = Some(first.clone());
        return;
    }
    if message.quoted.is_none() {
        message.quoted.clone_from(&meant.words);
    }
    in_words(message, meant.by.as_deref(), chosen);
}

/// Whether answers are told after the nick of whoever is answered.
pub fn names(chosen: &Resolved) -> bool {
    chosen.str(REPLIES) == "name"
}

/// An answer that is told in words.
pub fn in_words(message: &mut Message, to: Option<&str>, chosen: &Resolved) {
    match (chosen.str(REPLIES), to) {
        ("name", Some(nick)) if !message.action && !calls(&message.body, nick) => {
            message.quoted = None;
            message.body.insert_str(0, &format!("{nick}: "));
        }
        ("name" | "plain", _) => message.quoted = None,
        _ => quote(message),
    }
}

/// Whether corrections are told as what changes in the words that were said: then these have to be known.
pub fn substitutes(chosen: &Resolved) -> bool {
    chosen.str(CORRECTIONS) == SUBSTITUTE
}

/// Whether words begin with this name already.
fn calls(words: &str, nick: &str) -> bool {
    words.strip_prefix(nick).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
}

/// The answered words as quoted text before the answer.
fn quote(message: &mut Message) {
    if let Some(quoted) = message.quoted.take() {
        let lines: String = quoted.lines().map(|l| format!("> {l}\n")).collect();
        if std::mem::take(&mut message.action) {
            // It is no longer the first line that is one.
            message.body.insert_str(0, "/me ");
        }
        message.body.insert_str(0, &lines);
    }
}

/// `s/old/new/`, as people correct each other where nothing else is to be had: the words that differ, if they say clearly which are meant.
fn substitution(old: &str, new: &str) -> Option<String> {
    if old.contains('\n') || new.contains('\n') {
        return None;
    }
    let (before, after): (Vec<&str>, Vec<&str>) = (old.split(' ').collect(), new.split(' ').collect());
    let same_start = before.iter().zip(&after).take_while(|(a, b)| a == b).count();
    let most = before.len().min(after.len()) - same_start;
    let same_end = before.iter().rev().zip(after.iter().rev()).take(most).take_while(|(a, b)| a == b).count();
    // What was put in between two words is shown with the word before it.
    let start = if same_start + same_end == before.len() { same_start.checked_sub(1)? } else { same_start };
    let (from, to) = (before[start..before.len() - same_end].join(" "), after[start..after.len() - same_end].join(" "));
    let clear = !from.is_empty() && old.matches(&from).count() == 1 && !from.contains('/') && !to.contains('/');
    let short = format!("s/{from}/{to}/");
    (clear && short.len() < new.len()).then_some(short)
}

#[cfg(test)]
mod tests {
    use super::*;
    use isthmus_bridge::Profile;
    use std::collections::BTreeMap;

    fn chosen(how: &str) -> Resolved {
        Resolved::new(BTreeMap::from([(CORRECTIONS, how.to_owned()), (REPLIES, how.to_owned())]))
    }

    fn meant(words: &str) -> Meant {
        let names = vec![MessageRef::foreign("net".into(), "f1".into())];
        Meant { names, words: Some(words.to_owned()), by: Some("juliet".to_owned()) }
    }

    #[test]
    fn words_that_differ_are_found() {
        for (old, new, short) in [
            ("we meet at five today", "we meet at six today", Some("s/five/six/")),
            ("a long sentence without an end", "a long sentence with an end", Some("s/without/with/")),
            (
                "bring the letter tomorrow morning",
                "bring the sealed letter tomorrow morning",
                Some("s/the/the sealed/"),
            ),
            ("the end of the the line", "the end of the line", None),
            ("yes", "no", None),
            ("one\ntwo", "one\nthree", None),
            ("it costs 1/2 of that and no more", "it costs 1/3 of that and no more", None),
        ] {
            assert_eq!(substitution(old, new).as_deref(), short, "{old:?} → {new:?}");
        }
    }

    #[test]
    fn a_correction_is_carried_or_told_as_the_user_wants() {
        let mut profile = Profile::live("x", "X");
        (profile.corrections, profile.retractions) = (true, true);
        let all = Abilities::of(&profile);
        let mut plain = all;
        plain.corrections = false;
        let told = |can, how: &str| {
            let mut message = Message::group("we meet at six today");
            let before = correction(&mut message, &meant("we meet at five today"), can, &chosen(how), "* ");
            (message.body, message.replaces.is_some(), before.withdraw.len())
        };
        assert_eq!(told(all, "line"), ("we meet at six today".to_owned(), true, 0));
        assert_eq!(told(plain, "line"), ("* we meet at six today".to_owned(), false, 0));
        assert_eq!(told(plain, ""), ("* we meet at six today".to_owned(), false, 0));
        assert_eq!(told(plain, "substitute"), ("s/five/six/".to_owned(), false, 0));
        assert_eq!(told(plain, "redact"), ("we meet at six today".to_owned(), false, 1));
        plain.retractions = false;
        assert_eq!(told(plain, "redact"), ("* we meet at six today".to_owned(), false, 0));
    }

    #[test]
    fn an_answer_is_carried_or_quotes_what_it_answers() {
        let mut profile = Profile::live("x", "X");
        profile.replies = true;
        let can = Abilities::of(&profile);
        let mut message = Message::group("yes");
        answer(&mut message, &meant("at five?"), can, &chosen("name"));
        assert!(message.reply_to.is_some() && message.body == "yes");
        let told = |how: &str, words: &str| {
            let mut message = Message::group(words);
            answer(&mut message, &Meant { names: Vec::new(), ..meant("at five?\ntoday?") }, can, &chosen(how));
            assert!(message.reply_to.is_none() && message.quoted.is_none());
            message.body
        };
        for how in ["quote", ""] {
            assert_eq!(told(how, "yes"), "> at five?\n> today?\nyes");
        }
        assert_eq!(told("name", "yes"), "juliet: yes");
        assert_eq!(told("name", "juliet, yes"), "juliet, yes");
        assert_eq!(told("name", "juliets"), "juliet: juliets");
        assert_eq!(told("plain", "yes"), "yes");
        // An action behind a quotation says itself that it is one.
        let mut message = Message::group("nods");
        message.action = true;
        answer(&mut message, &Meant { names: Vec::new(), ..meant("at five?") }, can, &chosen("quote"));
        assert_eq!((message.body.as_str(), message.action), ("> at five?\n/me nods", false));
        // In a conversation of two nobody has to be named.
        let mut message = Message::chat("yes");
        answer(&mut message, &Meant { names: Vec::new(), by: None, ..meant("at five?") }, can, &chosen("name"));
        assert_eq!(message.body, "yes");
    }
}
