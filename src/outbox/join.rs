//! Pure: which queued messages of a lane become one event.
//!
//! Law: the joined event has the first one's key and names the others; what has once been given to a bridge as one stays one.

use isthmus_bridge::{Intent, Message, Outbound};

/// Messages of one event, at most.
pub(crate) const MOST: usize = 50;

/// Whether an event may be joined with others at all: a plain message, nothing attached, nothing it answers or replaces.
pub(crate) fn joinable(event: &Outbound) -> bool {
    let Intent::Send(message) = &event.intent else { return false };
    message.files.is_empty()
        && message.reply_to.is_none()
        && message.quoted.is_none()
        && message.replaces.is_none()
        && !message.action
}

/// How many of `queued` (in order, the first included) become one: at least 1. Those accepted up to `window` ms after the first, of the
/// same thread and identity, together no longer than `max_text` bytes; a new subject begins a new one.
pub(crate) fn together(queued: &[(i64, &Outbound)], window: i64, max_text: usize) -> usize {
    let Some((accepted, first)) = queued.first() else { return 0 };
    if window <= 0 || !joinable(first) {
        return 1;
    }
    let Some(before) = text(first) else { return 1 };
    let mut bytes = before.body.len();
    let mut count = 1;
    for (at, event) in queued[1..].iter().take(MOST - 1) {
        let Some(message) = text(event) else { break };
        bytes += message.body.len() + 1;
        let fits = *at <= accepted + window
            && joinable(event)
            && event.own == first.own
            && event.to == first.to
            && message.kind == before.kind
            && message.thread == before.thread
            && !begins_subject(message)
            && bytes <= max_text;
        if !fits {
            break;
        }
        count += 1;
    }
    count
}

/// One event of several: bodies one below the other.
pub(crate) fn joined(events: Vec<Outbound>) -> Option<Outbound> {
    let mut events = events.into_iter();
    let mut first = events.next()?;
    for next in events {
        first.joined.push(next.key);
        if let (Intent::Send(all), Intent::Send(more)) = (&mut first.intent, next.intent) {
            all.body.push('\n');
            all.body.push_str(&more.body);
        }
    }
    Some(first)
}

fn text(event: &Outbound) -> Option<&Message> {
    match &event.intent {
        Intent::Send(message) => Some(message),
        _ => None,
    }
}

/// A subject of its own, or a first line `Subject: …`, begins a new message.
fn begins_subject(message: &Message) -> bool {
    message.subject.is_some() || message.body.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("subject:"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use isthmus_bridge::{Address, File, FileSource, Media};

    fn event(key: &str, body: &str, change: impl Fn(&mut Message)) -> Outbound {
        let mut message = Message::chat(body);
        change(&mut message);
        let to = Address::Contact("alice@example.net".into());
        Outbound::new(key.into(), "juliet@example.org".into(), to, Intent::Send(Box::new(message)))
    }

    #[test]
    fn what_is_joined() {
        let plain = event("a", "one", |_| ());
        let file = event("f", "see", |m| m.files.push(File::new(FileSource::Missing, Media::default())));
        let subject = event("s", "x", |m| m.subject = Some("new".into()));
        let subject_line = event("l", "Subject: new\nx", |_| ());
        let thread = event("t", "x", |m| m.thread = Some("t".into()));
        type Case<'a> = (&'a str, Vec<(i64, &'a Outbound)>, i64, usize, usize);
        let table: [Case<'_>; 9] = [
            ("within the window", vec![(0, &plain), (10, &plain), (30, &plain)], 30, 100, 3),
            ("not after it", vec![(0, &plain), (10, &plain), (31, &plain)], 30, 100, 2),
            ("never without a window", vec![(0, &plain), (0, &plain)], 0, 100, 1),
            ("no files", vec![(0, &plain), (1, &file), (2, &plain)], 30, 100, 1),
            ("nothing behind a file", vec![(0, &file), (1, &plain)], 30, 100, 1),
            ("a new subject begins", vec![(0, &plain), (1, &subject)], 30, 100, 1),
            ("so does a subject line", vec![(0, &plain), (1, &subject_line)], 30, 100, 1),
            ("what follows it joins it", vec![(0, &subject), (1, &plain)], 30, 100, 2),
            ("another thread", vec![(0, &plain), (1, &thread)], 30, 100, 1),
        ];
        for (what, queued, window, max, expected) in table {
            assert_eq!(together(&queued, window, max), expected, "{what}");
        }
        assert_eq!(together(&[(0, &plain), (1, &plain), (2, &plain)], 30, 8), 2, "no longer than the network takes");
    }

    #[test]
    fn the_first_gives_its_key() {
        let one = joined(vec![event("a", "one", |_| ()), event("b", "two", |_| ())]).unwrap();
        let Intent::Send(message) = &one.intent else { panic!("a message") };
        assert_eq!((one.key.as_str(), message.body.as_str()), ("a", "one\ntwo"));
        assert_eq!(one.joined, ["b".into()]);
    }
}
